//! A message in this server's custody: who still waits for it, and why.
//!
//! Guards P1: the row goes only when every recipient is done or reported. The
//! row keeps what must not be forgotten (who is left, how far an expansion has
//! come); attempts and due times begin anew after a restart.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    CustodyRecord, EnvelopeRecipient, Incarnation, MessageId, Name, Notify, PeerMessage, ServerName,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::config::Alone;
use crate::delivery::delay::DelayNotice;
use crate::registry::directory::Memo;
use crate::registry::request::{Job, ReplyTo};
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

/// A message is given up when its time is over, but never before this server itself has tried for
/// a quarter of that time: the date of acceptance is another clock's.
pub(crate) const LEAST_TRIED: u64 = 4;

/// A recipient that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) name: Name,
    pub(crate) notify: Notify,
    pub(crate) original: Option<String>,
    /// Forwardings and expansions that led here.
    pub(crate) hops: u8,
    pub(crate) stage: Stage,
    /// What the name meant where a list led here.
    pub(crate) meant: Option<Incarnation>,
    /// The list that led here, last.
    pub(crate) list: Option<OfList>,
}

/// By which list somebody gets a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfList {
    pub(crate) list: Name,
    pub(crate) incarnation: Incarnation,
    /// The member, where it is known who that is; his mail may be forwarded to others.
    pub(crate) member: Option<Incarnation>,
}

/// What a waiting recipient waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// To be resolved and deposited.
    Steer,
    /// Failed for good: a report is to be made (status, reason).
    Failed(String, String),
    /// Delivered, and the sender wants to hear it.
    Delivered,
    /// Another mail system has spoken, and the sender is to hear it.
    Outside(OutsideEnd),
}

/// What another mail system said of a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OutsideEnd {
    /// No, for good.
    Refused {
        status: String,
        /// Which machine.
        by: String,
        /// Its words.
        reason: String,
    },
    /// Yes, and it sends no reports of success.
    Relayed {
        /// Which machine.
        by: String,
    },
}

impl Pending {
    pub(crate) fn of(recipient: &EnvelopeRecipient) -> Self {
        Self {
            name: recipient.name.clone(),
            notify: recipient.notify,
            original: recipient.original.clone(),
            hops: 0,
            stage: Stage::Steer,
            meant: recipient.meant,
            list: None,
        }
    }

    /// Under which it waits: a name, and who else but its present owner was meant by it.
    pub(crate) fn key(&self) -> String {
        recipient_key(&self.name, self.meant)
    }
}

/// The key of a recipient: two lists may mean different people by one name.
pub(crate) fn recipient_key(name: &Name, meant: Option<Incarnation>) -> String {
    // With its detail: what that means is for another mail system to say, if it is theirs.
    let key = name.key();
    match meant {
        Some(meant) => format!("{key} {meant}"),
        None => key,
    }
}

/// What is only in memory about a waiting recipient.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trying {
    pub(crate) attempts: u32,
    /// Of these, those since something has changed: the pauses grow with them.
    in_vain: u32,
    /// When it is tried next, monotonic.
    pub(crate) due_ms: u64,
    pub(crate) reason: String,
    /// An answer is awaited: parked, or asked of a site.
    pub(crate) under_way: bool,
    /// A report about it is being composed; ordered anew if nothing comes of it until then.
    pub(crate) reporting_until_ms: u64,
    /// The inbox that a deposit under way is for.
    pub(crate) inbox: Option<Incarnation>,
    /// It can be read already; a second copy is still to be made.
    pub(crate) readable: bool,
    /// Servers that it was handed to and that may have it by now.
    pub(crate) handed_to: BTreeSet<ServerName>,
}

/// The stored part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CustodyRow {
    pub(crate) record: CustodyRecord,
    pub(crate) pending: BTreeMap<String, Pending>,
    /// Individuals forwarded for this message: each once. Groups stand in rows of their own (`Passed`).
    pub(crate) passed: BTreeSet<Incarnation>,
}

/// A message in custody.
#[derive(Debug)]
pub(crate) struct Custody {
    pub(crate) row: CustodyRow,
    pub(crate) trying: BTreeMap<String, Trying>,
    pub(crate) deputy: Option<ServerName>,
    /// The deputy has it durably.
    pub(crate) held: bool,
    /// Servers that were asked to be the deputy and did not answer in time.
    pub(crate) silent: BTreeSet<ServerName>,
    /// Servers known to have the body.
    bodies: BTreeSet<ServerName>,
    /// Since when this server has tried, monotonic: a clock that jumps ends nobody's patience.
    pub(crate) since_ms: u64,
    /// What becomes of it when no second disk can be reached.
    pub(crate) alone: Alone,
    /// Taken into custody by this process, from a client: nobody else can have handed it over.
    pub(crate) fresh: bool,
    /// The server whose silence made this one take over.
    pub(crate) taken_from: Option<ServerName>,
    /// An outside recipient waits for the yes.
    pub(crate) awaits_yes: bool,
    /// How often this process has tried to hand it to a recipient outside.
    pub(crate) tried_outside: BTreeMap<String, u32>,
    /// Whether somebody was told that it is in custody here: from then on it can't be refused.
    pub(crate) promised: bool,
    /// Who waits for the yes.
    pub(crate) waiting: Vec<ReplyTo>,
    /// Recipients handed over by another custodian, to be confirmed with the yes.
    pub(crate) handed_by: Vec<(ServerName, Vec<String>)>,
    /// Whether its sender has heard that it waits.
    pub(crate) delay: DelayNotice,
    /// The reports that tell of its end: it is over when each of them is on a second disk, or delivered.
    pub(crate) reported_by: Vec<MessageId>,
    /// Whom another mail system refused, and nobody but this server knows it yet: told when the reports are safe.
    untold: Vec<String>,
    /// The message that this one reports on.
    pub(crate) about: Option<MessageId>,
    /// The row has changed since it was last written.
    dirty: bool,
}

impl Custody {
    pub(crate) fn new(row: CustodyRow, since_ms: u64) -> Self {
        let trying = row
            .pending
            .keys()
            .map(|key| (key.clone(), Trying::default()))
            .collect();
        Self {
            row,
            trying,
            deputy: None,
            held: false,
            silent: BTreeSet::new(),
            bodies: BTreeSet::new(),
            alone: Alone::Accept,
            promised: true,
            fresh: false,
            taken_from: None,
            awaits_yes: false,
            tried_outside: BTreeMap::new(),
            since_ms,
            waiting: Vec::new(),
            handed_by: Vec::new(),
            delay: DelayNotice::Due,
            reported_by: Vec::new(),
            untold: Vec::new(),
            about: None,
            dirty: true,
        }
    }

    pub(crate) fn has_body(&self, server: &ServerName) -> bool {
        self.bodies.contains(server)
    }

    pub(crate) fn got_body(&mut self, server: &ServerName) {
        self.bodies.insert(server.clone());
    }

    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }
}

impl Server {
    /// Takes custody of a message whose body is here and counted by the caller.
    pub(crate) fn take_custody(&mut self, row: CustodyRow) -> Result<(), Damaged> {
        let message = row.record.message;
        self.refer(message)?;
        let custody = Custody::new(row, self.now.mono_ms);
        self.custodies.insert(message, custody);
        self.save_custody(message);
        self.wake(message);
        Ok(())
    }

    /// Writes the row if it has changed.
    pub(crate) fn save_custody(&mut self, message: MessageId) {
        if let Some(custody) = self.custodies.get_mut(&message)
            && std::mem::take(&mut custody.dirty)
        {
            let value = codec::encode(&custody.row);
            self.ledger
                .put(Table::Custody, message.to_bytes().to_vec(), value);
        }
    }

    /// All recipients of a message that wait for nothing in particular are due now. What was in vain
    /// before says nothing any more: the pauses begin anew.
    pub(crate) fn wake(&mut self, message: MessageId) {
        let now = self.now.mono_ms;
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        for (key, trying) in &mut custody.trying {
            trying.due_ms = now;
            trying.under_way = false;
            trying.in_vain = 0;
            self.due.insert((now, message, key.clone()));
        }
    }

    /// Tries what is due.
    pub(crate) fn work(&mut self) -> Result<(), Damaged> {
        /// Recipients tried in one turn: other inputs are not kept waiting.
        const MOST_TRIED: usize = 2_000;
        for _ in 0..MOST_TRIED {
            let Some(first) = self
                .due
                .first()
                .filter(|(due_ms, _, _)| *due_ms <= self.now.mono_ms)
                .cloned()
            else {
                break;
            };
            self.due.remove(&first);
            let (_, message, key) = first;
            if self.holds.contains(&message) {
                // Woken when it is released.
                continue;
            }
            let give_up_ms = self.config.times.give_up_ms;
            let is_late = self.is_late_mail(message);
            let Some(custody) = self.custodies.get_mut(&message) else {
                continue;
            };
            if !custody.promised && custody.alone == Alone::Refuse && !custody.held {
                // Not yet accepted, from a client or from another custodian: nothing is delivered, and
                // no list passed, before the yes is sure.
                continue;
            }
            let Some(trying) = custody.trying.get_mut(&key) else {
                continue;
            };
            if trying.under_way || trying.due_ms > self.now.mono_ms {
                continue;
            }
            trying.under_way = true;
            trying.attempts = trying.attempts.saturating_add(1);
            trying.in_vain = trying.in_vain.saturating_add(1);
            // An answer that is lost must not hold it for ever.
            let reason = trying.reason.clone();
            let pause = self.pause_ms(message, &key);
            self.again(message, &key, pause);
            let stage = self
                .custodies
                .get(&message)
                .and_then(|c| c.row.pending.get(&key))
                .map(|p| p.stage.clone());
            // What is being handed over is told of when that has ended.
            let too_old = is_late && !self.relay.is_busy(message, &key);
            match stage {
                Some(Stage::Steer) if too_old => {
                    let reason = if reason.is_empty() {
                        "no inbox site could be reached".into()
                    } else {
                        reason
                    };
                    self.count_failure(message, &key, "4.4.7", &reason)?;
                    self.recipient_failed(
                        message,
                        &key,
                        "4.4.7",
                        format!("given up after {} hours: {reason}", give_up_ms / 3_600_000),
                    )?;
                }
                Some(Stage::Steer) => {
                    self.runnable
                        .push_back((Job::Steer { message, key }, Memo::new()));
                }
                Some(Stage::Failed(..) | Stage::Delivered | Stage::Outside(_)) => {
                    self.to_report.insert(message);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the time of a message that this server has custody of is over. The date of its acceptance is that of another
    /// clock perhaps, or of this one before it was set back: so its own patience counts as well, both ways.
    fn is_late_mail(&self, message: MessageId) -> bool {
        let custody = self.custodies.get(&message);
        custody.is_some_and(|custody| self.is_too_old(message, custody.since_ms))
    }

    /// The same for a part of it that has been tried since then, on the clock that never goes back.
    pub(super) fn is_too_old(&self, message: MessageId, since_ms: u64) -> bool {
        let give_up_ms = self.config.times.give_up_ms;
        let tried_ms = self.now.mono_ms.saturating_sub(since_ms);
        self.custodies.get(&message).is_some_and(|custody| {
            let accepted_ms = custody.row.record.accepted_ms;
            let waited_ms = self.now.wall_ms.saturating_sub(accepted_ms);
            tried_ms > give_up_ms / LEAST_TRIED && waited_ms.max(tried_ms) > give_up_ms
        })
    }

    /// The next pause of a recipient: doubling, with jitter.
    fn pause_ms(&mut self, message: MessageId, key: &str) -> u64 {
        let in_vain = self
            .custodies
            .get(&message)
            .and_then(|c| c.trying.get(key))
            .map_or(1, |t| t.in_vain);
        let times = self.config.times;
        let doubled = times
            .retry_first_ms
            .saturating_mul(1u64 << in_vain.min(20).saturating_sub(1));
        let pause = doubled.min(times.retry_most_ms).max(1);
        pause.saturating_add(self.random_below(pause / 4 + 1))
    }

    /// A recipient is tried again after a pause, whatever comes of what is under way.
    fn again(&mut self, message: MessageId, key: &str, pause_ms: u64) {
        let due_ms = self
            .now
            .mono_ms
            .saturating_add(pause_ms.max(self.config.times.ask_ms));
        if let Some(trying) = self
            .custodies
            .get_mut(&message)
            .and_then(|c| c.trying.get_mut(key))
        {
            trying.due_ms = due_ms;
            self.due.insert((due_ms, message, key.to_owned()));
            self.timer_at(due_ms, Timer::Work);
        }
        if let Some(trying) = self
            .custodies
            .get_mut(&message)
            .and_then(|c| c.trying.get_mut(key))
        {
            // Under way only until then.
            trying.under_way = false;
        }
    }

    /// A recipient can't be served now.
    pub(crate) fn recipient_waits(&mut self, message: MessageId, key: &str, reason: String) {
        if let Some(trying) = self
            .custodies
            .get_mut(&message)
            .and_then(|c| c.trying.get_mut(key))
        {
            trying.reason = reason;
            trying.inbox = None;
        }
        let pause = self.pause_ms(message, key);
        let due_ms = self.now.mono_ms.saturating_add(pause);
        if let Some(trying) = self
            .custodies
            .get_mut(&message)
            .and_then(|c| c.trying.get_mut(key))
        {
            trying.due_ms = due_ms;
            self.due.insert((due_ms, message, key.to_owned()));
            self.timer_at(due_ms, Timer::Work);
        }
    }

    /// Adds a recipient that a forwarding or an expansion led to.
    pub(crate) fn add_pending(&mut self, message: MessageId, pending: Pending) {
        let now = self.now.mono_ms;
        let key = pending.key();
        if let Some(custody) = self.custodies.get_mut(&message)
            && !custody.row.pending.contains_key(&key)
        {
            custody.row.pending.insert(key.clone(), pending);
            custody.trying.insert(
                key.clone(),
                Trying {
                    due_ms: now,
                    ..Trying::default()
                },
            );
            custody.touch();
            self.due.insert((now, message, key));
            self.timer_at(now, Timer::Work);
        }
    }

    /// A recipient needs nothing more.
    pub(crate) fn recipient_done(
        &mut self,
        message: MessageId,
        key: &str,
        how: &str,
        reason: String,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        let Some(pending) = custody.row.pending.remove(key) else {
            return Ok(());
        };
        if let Some(trying) = custody.trying.remove(key) {
            // What rested for long is not looked at any more.
            self.due.remove(&(trying.due_ms, message, key.to_owned()));
        }
        custody.touch();
        match pending.stage {
            // Whoever hears it hands over no more, and reports no more: the report must be safe first.
            Stage::Outside(OutsideEnd::Refused { .. }) => custody.untold.push(key.to_owned()),
            Stage::Outside(OutsideEnd::Relayed { .. }) => {
                self.outside_is_done(message, key);
                self.tell_outside_done(message, vec![key.to_owned()]);
            }
            Stage::Steer | Stage::Failed(..) | Stage::Delivered => {}
        }
        self.remember_outcome(message, &pending.name, how, reason);
        self.end_custody_if_done(message)
    }

    /// A recipient was served; the sender hears of it if it wanted to.
    pub(crate) fn recipient_delivered(
        &mut self,
        message: MessageId,
        key: &str,
        at: &str,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        let wants = custody.row.record.envelope.return_path.is_some();
        match custody.row.pending.get_mut(key) {
            Some(pending) if pending.notify.success && wants => {
                if pending.stage == Stage::Delivered {
                    return Ok(());
                }
                pending.stage = Stage::Delivered;
                custody.touch();
                self.to_report.insert(message);
                Ok(())
            }
            Some(_) => self.recipient_done(message, key, "deposited", at.to_owned()),
            None => Ok(()),
        }
    }

    /// Custody ends when nobody waits any more; the deputy is told.
    pub(crate) fn end_custody_if_done(&mut self, message: MessageId) -> Result<(), Damaged> {
        let are_reports_safe = self.tell_refused(message);
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        if !custody.row.pending.is_empty() || self.fanouts.has(message) {
            self.saving.insert(message);
            return Ok(());
        }
        if !custody.waiting.is_empty() {
            // The yes has not been given: it is given first.
            self.saving.insert(message);
            return Ok(());
        }
        if !are_reports_safe {
            // A report is on this disk only. Until it is on a second one, the deputy could have to explain.
            self.saving.insert(message);
            return Ok(());
        }
        let (deputy, about) = (custody.deputy.clone(), custody.about);
        let record = custody.row.record.clone();
        let Some(custody) = self.custodies.remove(&message) else {
            return Ok(());
        };
        // Done before a second disk had it.
        let promised = custody.promised || !custody.handed_by.is_empty();
        for (server, recipients) in custody.handed_by {
            self.say_handed(&server, message, recipients);
        }
        self.saving.remove(&message);
        self.ledger
            .delete_lazily(Table::Custody, message.to_bytes().to_vec());
        if promised {
            self.retain(record)?;
        } else {
            self.release(message)?;
        }
        self.forget_hold(message);
        if let Some(deputy) = deputy {
            self.ended.entry(deputy).or_default().push(message);
        }
        // A report on it, delivered: reports are never reported on, so this goes no deeper.
        match about {
            Some(about) => self.end_custody_if_done(about),
            None => Ok(()),
        }
    }

    /// Tells who else drives this message whom other mail systems refused, once all reports of it are on a second disk.
    /// Says whether they are.
    fn tell_refused(&mut self, message: MessageId) -> bool {
        let Some(custody) = self.custodies.get(&message) else {
            return true;
        };
        let unsafe_yet = |report: &MessageId| self.custodies.get(report).is_some_and(|c| !c.held);
        if custody.reported_by.iter().any(unsafe_yet) {
            return false;
        }
        let Some(custody) = self.custodies.get_mut(&message) else {
            return true;
        };
        let refused = std::mem::take(&mut custody.untold);
        for key in &refused {
            self.outside_is_done(message, key);
        }
        self.tell_outside_done(message, refused);
        true
    }

    /// Writes what changed and tells deputies what has ended, once a turn.
    pub(crate) fn settle(&mut self) -> Result<(), Damaged> {
        for message in std::mem::take(&mut self.to_report) {
            self.order_report(message)?;
            self.saving.insert(message);
        }
        for message in std::mem::take(&mut self.saving) {
            self.end_custody_if_done(message)?;
            self.save_custody(message);
        }
        self.saving.clear();
        let origin = self.clock.origin();
        for (deputy, messages) in std::mem::take(&mut self.ended) {
            self.send(&deputy, PeerMessage::CustodyEnded { origin, messages });
        }
        Ok(())
    }
}
