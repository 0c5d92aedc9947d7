//! Word to a sender whose message waits for long (RFC 3464, `Action: delayed`): once a message.
//!
//! Must never tell of a report (it has no return path) nor of a list's members: what a list lacks is not
//! its posters' business. That the sender was told is written in the commit that accepts the notice, and
//! the deputy hears it, so that neither a restart nor a take-over tells it again.

use grapevine_model::{MessageId, PeerMessage, ReportReason, ReportTells};

use crate::codec::{self, DeputyRow};
use crate::delivery::custody::{Custody, Pending, Stage};
use crate::delivery::report::REPORT_WITHIN_MS;
use crate::effect::{Effect, ReportKind, ReportLine, ReportOrder};
use crate::server::Server;
use crate::tables::Table;

/// Nobody is told before this server has itself tried for a sixteenth of the time (a quarter of an hour of
/// four hours): after a take-over, or an outage of its own, most recipients are served soon.
const LEAST_TRIED: u64 = 16;
/// Whoever has a message in custody beside the server that took it over tells its sender within this.
const OTHERS_TURN_MS: u64 = 2 * 60_000;
/// Notices ordered in one beat at most: each reads a body, and after a long outage many are due.
const MOST_NOTICES: usize = 100;

/// Whether the sender of a message in custody here has heard that it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DelayNotice {
    /// It will, when the time is over.
    Due,
    /// A notice is being made; ordered again if nothing comes of it until then, monotonic.
    Ordered(u64),
    /// It has, or there is nothing to tell.
    Settled,
}

impl Server {
    /// Once a beat: orders a notice about each message that has waited long enough.
    pub(crate) fn tell_of_delays(&mut self) {
        let late: Vec<MessageId> = (self.custodies.iter())
            // What a person looks at is told of when it is released.
            .filter(|(message, custody)| {
                self.waits_for_long(custody) && !self.holds.contains(message)
            })
            .map(|(message, _)| *message)
            .take(MOST_NOTICES)
            .collect();
        for message in late {
            self.order_delay_notice(message);
        }
    }

    fn waits_for_long(&self, custody: &Custody) -> bool {
        let delay_ms = self.config.times.delay_notice_ms;
        let (mono_ms, wall_ms) = (self.now.mono_ms, self.now.wall_ms);
        let due = match custody.delay {
            DelayNotice::Due => true,
            DelayNotice::Ordered(until_ms) => until_ms <= mono_ms,
            DelayNotice::Settled => false,
        };
        // Who took it over leaves that to the other, who is back and goes on with it too.
        let other = custody
            .taken_from
            .as_ref()
            .is_some_and(|other| self.is_up(other));
        let late_ms = if other {
            delay_ms.saturating_add(OTHERS_TURN_MS)
        } else {
            delay_ms
        };
        due && delay_ms != 0
            && custody.promised
            && wall_ms.saturating_sub(custody.row.record.accepted_ms) >= late_ms
            && mono_ms.saturating_sub(custody.since_ms) >= delay_ms / LEAST_TRIED
    }

    fn order_delay_notice(&mut self, message: MessageId) {
        let Some(custody) = self.custodies.get(&message) else {
            return;
        };
        let (mut lines, mut keys) = (Vec::new(), Vec::new());
        for (key, pending) in &custody.row.pending {
            let readable = custody.trying.get(key).is_some_and(|t| t.readable);
            if is_to_be_told(pending) && !readable {
                let waiting = self.waiting_recipient(custody, key);
                lines.push(ReportLine {
                    name: pending.name.clone(),
                    original: pending.original.clone(),
                    delivered: false,
                    status: "4.0.0".into(),
                    reason: waiting.map_or_else(String::new, |waiting| waiting.reason),
                    remote: None,
                    note: None,
                });
                keys.push(key.clone());
            }
        }
        let record = custody.row.record.clone();
        let to = record.envelope.return_path.clone();
        let state = match to {
            Some(_) if !keys.is_empty() => {
                DelayNotice::Ordered(self.now.mono_ms.saturating_add(REPORT_WITHIN_MS))
            }
            Some(_) | None => DelayNotice::Settled,
        };
        if let Some(custody) = self.custodies.get_mut(&message) {
            custody.delay = state;
        }
        let (Some(to), DelayNotice::Ordered(_)) = (to, state) else {
            return;
        };
        let told = ReportReason {
            about: message,
            recipients: keys,
            told: ReportTells::Delay,
        };
        let submission = self.report_submission(to, record.body, told);
        let retry_until_ms = (record.accepted_ms).saturating_add(self.config.times.give_up_ms);
        self.note_info("waits for long: its sender is told".into(), Some(message));
        self.ledger.emit(Effect::Report(Box::new(ReportOrder {
            submission,
            about: message,
            // RFC 3461 6.2: the whole message comes back with failures only.
            full: false,
            envelope_id: record.envelope.envelope_id,
            accepted_ms: record.accepted_ms,
            lines,
            kind: ReportKind::Delay { retry_until_ms },
        })));
    }

    /// The notice is accepted, in the commit that is being made: nobody makes another.
    pub(crate) fn delay_was_told(&mut self, message: MessageId) {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        custody.settle_delay();
        self.saving.insert(message);
        // Whoever keeps it, or goes on with it by now: they are few, and it is said once.
        let peers: Vec<_> = self.peers.keys().cloned().collect();
        for peer in peers {
            self.send(&peer, PeerMessage::DelayTold { message });
        }
    }

    /// Another server has told a message's sender that it waits.
    pub(crate) fn take_delay_told(&mut self, message: MessageId) {
        if let Some(custody) = self.custodies.get_mut(&message) {
            custody.settle_delay();
            self.saving.insert(message);
        }
        let mut rows = Vec::new();
        for ((custodian, _), held) in (self.deputies.iter_mut()).filter(|((_, m), _)| *m == message)
        {
            for recipient in &mut held.record.envelope.recipients {
                recipient.notify.delay = false;
            }
            let row = codec::encode::<DeputyRow>(&held.record);
            rows.push((codec::deputy_key(custodian, message), row));
        }
        for (key, row) in rows {
            self.ledger.put(Table::Deputies, key, row);
        }
    }
}

impl Custody {
    /// Nobody tells of any of its recipients, nor of whomever they lead to: once a message.
    fn settle_delay(&mut self) {
        self.delay = DelayNotice::Settled;
        for pending in self.row.pending.values_mut() {
            pending.notify.delay = false;
        }
        for recipient in &mut self.row.record.envelope.recipients {
            recipient.notify.delay = false;
        }
        self.touch();
    }
}

/// Whether the sender is to hear that this recipient waits.
fn is_to_be_told(pending: &Pending) -> bool {
    let of_a_list = pending.list.is_some() || pending.meant.is_some();
    pending.stage == Stage::Steer && pending.notify.delay && !of_a_list
}
