//! What servers tell each other about recipients outside, so that nobody hands over twice.
//!
//! A mailbox here knows what it has; another mail system may not. So it is written down, and told to
//! the deputy, whom a message was handed to; and before anything is handed over that another server may
//! have handed over too, the others are asked. What remains: a server that dies, or is cut off, between
//! the other system's yes and the moment when somebody else has heard of it. That message comes twice
//! and is not lost (RFC 5321 4.5.3.2.6 knows the same gap).

use std::collections::BTreeSet;

use grapevine_model::{Hlc, MessageId, OriginId, PeerMessage, ServerName};

use crate::codec;
use crate::delivery::custody::{OutsideEnd, Stage};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// After a start, and after a take-over, servers that are not heard are waited for so long: one that
/// was out at the same time may know more.
const RETURN_WAIT_MS: u64 = 20_000;
/// Messages in one question, and recipients in one answer, at most.
const MOST_NAMED: usize = 1_000;

/// The others were asked what they know of a message.
#[derive(Debug)]
pub(crate) struct Asked {
    since_ms: u64,
    /// Whom.
    whom: BTreeSet<ServerName>,
    /// Who has not answered.
    awaited: BTreeSet<ServerName>,
    /// All have: what they said counts until then.
    heard_until_ms: u64,
}

/// Whether a message may be handed over now.
pub(crate) enum MayRelay {
    Now,
    /// Look again after so many milliseconds.
    Wait(u64),
}

impl Server {
    /// The key of a row about an outside recipient.
    fn outside_key(message: MessageId, key: &str) -> Vec<u8> {
        let mut row = message.to_bytes().to_vec();
        row.extend_from_slice(key.as_bytes());
        row
    }

    pub(crate) fn is_outside_done(&self, message: MessageId, key: &str) -> Result<bool, Damaged> {
        let row = Self::outside_key(message, key);
        Ok(self.ledger.get(Table::OutsideDone, &row)?.is_some() && !self.planted_outside_not_asked)
    }

    /// Writes down that an outside recipient needs nothing more.
    pub(crate) fn outside_is_done(&mut self, message: MessageId, key: &str) {
        let row = Self::outside_key(message, key);
        self.ledger.put(Table::OutsideDone, row, codec::encode(&()));
    }

    /// Tells those who may hand it over too.
    pub(crate) fn tell_outside_done(&mut self, message: MessageId, recipients: Vec<String>) {
        if recipients.is_empty() {
            return;
        }
        let mut whom = self.relay.told.get(&message).cloned().unwrap_or_default();
        if let Some(custody) = self.custodies.get(&message) {
            whom.extend(custody.deputy.clone());
            whom.extend(custody.taken_from.clone());
        } else {
            self.relay.told.remove(&message);
        }
        for server in whom {
            let recipients = recipients.clone();
            self.send(
                &server,
                PeerMessage::OutsideDone {
                    message,
                    recipients,
                },
            );
        }
    }

    /// Whether somebody else may have handed a message to this recipient, and is still to be heard.
    pub(crate) fn may_relay(&mut self, message: MessageId, key: &str) -> MayRelay {
        let Some(custody) = self.custodies.get(&message) else {
            return MayRelay::Now;
        };
        let first = custody.fresh && !custody.tried_outside.contains_key(key);
        if first || self.planted_outside_not_asked {
            return MayRelay::Now;
        }
        let (fresh, since_ms) = (custody.fresh, custody.since_ms);
        let now = self.now.mono_ms;
        let ask_ms = self.config.times.ask_ms;
        let up: BTreeSet<ServerName> = (self.peers.keys())
            .filter(|server| self.is_up(server))
            .cloned()
            .collect();
        let missing = up.len() < self.peers.len();
        let asked = match self.relay.asked.get_mut(&message) {
            Some(asked) if asked.heard_until_ms > now => return MayRelay::Now,
            Some(asked) if asked.heard_until_ms == 0 => asked,
            Some(_) | None => {
                let asked = Asked {
                    since_ms: now,
                    whom: BTreeSet::new(),
                    awaited: BTreeSet::new(),
                    heard_until_ms: 0,
                };
                self.relay.asked.insert(message, asked);
                return self.may_relay(message, key);
            }
        };
        let new: Vec<ServerName> = up.difference(&asked.whom).cloned().collect();
        if !new.is_empty() {
            asked.since_ms = now;
            asked.whom.extend(new.iter().cloned());
            asked.awaited.extend(new.iter().cloned());
            for server in new {
                let messages = vec![message];
                self.send(&server, PeerMessage::OutsideAsk { messages });
            }
            return MayRelay::Wait(ask_ms);
        }
        let silent = asked.awaited.intersection(&up).next().is_some();
        let late = now >= asked.since_ms.saturating_add(ask_ms);
        let missed = !fresh && missing && now < since_ms.saturating_add(RETURN_WAIT_MS);
        if (silent && !late) || missed {
            return MayRelay::Wait(ask_ms);
        }
        asked.heard_until_ms = now.saturating_add(ask_ms);
        MayRelay::Now
    }

    /// Another server is about to hand messages over.
    pub(crate) fn take_outside_ask(
        &mut self,
        from: &ServerName,
        messages: Vec<MessageId>,
    ) -> Result<(), Damaged> {
        for message in messages.into_iter().take(MOST_NAMED) {
            let recipients = self.outside_done_of(message)?;
            if self.custodies.contains_key(&message) {
                // It drives the delivery too: it is told of what comes.
                let told = self.relay.told.entry(message).or_default();
                told.insert(from.clone());
            }
            self.send(
                from,
                PeerMessage::OutsideDone {
                    message,
                    recipients,
                },
            );
        }
        Ok(())
    }

    fn outside_done_of(&self, message: MessageId) -> Result<Vec<String>, Damaged> {
        let prefix = message.to_bytes().to_vec();
        let rows = self.ledger.scan(
            Table::OutsideDone,
            &prefix,
            &codec::after_prefix(&prefix),
            MOST_NAMED,
        )?;
        let keys = rows.into_iter().filter_map(|(row, _)| {
            let key = row.get(prefix.len()..)?.to_vec();
            String::from_utf8(key).ok()
        });
        Ok(keys.collect())
    }

    /// Another server says which outside recipients need nothing more.
    pub(crate) fn take_outside_done(
        &mut self,
        from: &ServerName,
        message: MessageId,
        recipients: Vec<String>,
    ) -> Result<(), Damaged> {
        let deputy = (self.deputies.keys()).any(|(_, held)| *held == message);
        let custody = self.custodies.contains_key(&message);
        // Nothing is written for what is not known here: a row a message is a bound.
        if deputy || custody {
            for key in recipients.into_iter().take(MOST_NAMED) {
                if !self.is_outside_done(message, &key)? {
                    self.outside_is_done(message, &key);
                }
                if !self.relay.is_busy(message, &key) {
                    let by = format!("by {from}");
                    self.recipient_done(message, &key, "handed over", by)?;
                }
            }
        }
        if let Some(asked) = self.relay.asked.get_mut(&message)
            && asked.awaited.remove(from)
            && asked.awaited.is_empty()
        {
            self.wake(message);
        }
        Ok(())
    }

    /// The other system has taken the message for this recipient.
    pub(crate) fn recipient_relayed(
        &mut self,
        message: MessageId,
        key: &str,
        by: &str,
        reply: &str,
        reports: bool,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        let wants = custody.row.record.envelope.return_path.is_some() && !reports;
        match custody.row.pending.get_mut(key) {
            Some(pending) if pending.notify.success && wants => {
                pending.stage = Stage::Outside(OutsideEnd::Relayed { by: by.to_owned() });
                custody.touch();
                self.to_report.insert(message);
                Ok(())
            }
            Some(_) => {
                let whereto = format!("to {by}, which said: {reply}");
                self.recipient_done(message, key, "handed over", whereto)
            }
            None => Ok(()),
        }
    }

    /// The other system, or this one on the way to it, says no for good.
    pub(crate) fn recipient_refused(
        &mut self,
        message: MessageId,
        key: &str,
        status: String,
        by: Option<String>,
        reason: String,
    ) {
        // What this server says itself is of the message, but for a domain that takes no mail.
        if (by.is_some() || status.starts_with("5.1."))
            && let Err(damaged) = self.count_failure(message, key, &status, &reason)
        {
            self.damaged(damaged);
        }
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        let Some(pending) = custody.row.pending.get_mut(key) else {
            return;
        };
        pending.stage = match by {
            Some(by) => Stage::Outside(OutsideEnd::Refused { status, by, reason }),
            None => Stage::Failed(status, reason),
        };
        custody.touch();
        self.to_report.insert(message);
    }

    /// Forgets what is older than anybody could still want to hand over, a few at a time.
    pub(crate) fn forget_outside_done(&mut self) -> Result<(), Damaged> {
        const MOST_FORGOTTEN: usize = 200;
        let times = self.config.times;
        let kept_ms = times.give_up_ms.saturating_mul(2);
        let kept_ms = kept_ms.saturating_add(times.history_ms);
        let until = MessageId {
            time: Hlc::at_ms(self.now.wall_ms.saturating_sub(kept_ms)),
            origin: OriginId(0),
        };
        let old = (Table::OutsideDone, &[0; 16], &until.to_bytes());
        for (row, _) in self.ledger.scan(old.0, old.1, old.2, MOST_FORGOTTEN)? {
            self.ledger.delete_lazily(Table::OutsideDone, row);
        }
        (self.relay).forget_failures(self.now.mono_ms, times.outside_most_ms);
        self.wake_to_leave();
        let custodies = &self.custodies;
        self.relay.asked.retain(|m, _| custodies.contains_key(m));
        self.relay.told.retain(|m, _| custodies.contains_key(m));
        Ok(())
    }
}
