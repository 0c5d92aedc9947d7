//! The relay: outside recipients wait in a queue for each destination, and are handed over from there.
//!
//! Guards P1 for recipients outside: one is done when the other system has said yes, or the sender
//! has a report. A destination that does not answer is asked by one message at a time, with longer and
//! longer pauses, and holds up nobody else. Nothing goes out before the sender has heard yes.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{ListCopy, MessageId, Name, ServerName, ServerRole};

use crate::delivery::custody::Stage;
use crate::delivery::relay_news::{Asked, MayRelay};
use crate::delivery::report::owners_of;
use crate::delivery::routes::{
    Destination, HandOver, HandOverOutcome, HandedOver, NextHop, Outside, Reached,
};
use crate::effect::Effect;
use crate::server::Server;
use crate::tables::Damaged;

/// Hand-overs under way at one time, to all destinations: each is a connection and a body being read.
const MOST_AT_ONCE: usize = 100;
/// Recipients of one hand-over: every server takes 100 (RFC 5321 4.5.3.1.8).
const MOST_RECIPIENTS: usize = 100;
/// A hand-over ends well within this, by the shell's own limits: until then it is not looked at again.
const HAND_OVER_MS: u64 = 6 * 3_600_000;

/// Outside recipients on their way.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    queues: BTreeMap<Destination, Queue>,
    /// Those where something may have its turn now.
    ready: BTreeSet<Destination>,
    under_way: BTreeMap<u64, UnderWay>,
    /// Those that wait in a queue or are under way: they are not put there twice.
    busy: BTreeSet<(MessageId, String)>,
    /// This server is being retired, and has looked at what rests.
    leaves: bool,
    /// Messages of which the others were asked what they know.
    pub(crate) asked: BTreeMap<MessageId, Asked>,
    /// Servers that deliver a message too, and are told of each recipient outside that is done.
    pub(crate) told: BTreeMap<MessageId, BTreeSet<ServerName>>,
}

/// What waits for one destination.
#[derive(Debug, Default)]
struct Queue {
    /// For their turn; the oldest message comes first.
    waiting: BTreeMap<MessageId, BTreeSet<String>>,
    under_way: usize,
    /// In a row.
    failures: u32,
    /// Nothing is tried before this, monotonic.
    again_ms: u64,
    reason: String,
}

/// A hand-over that the shell has.
#[derive(Debug)]
struct UnderWay {
    destination: Destination,
    message: MessageId,
    keys: Vec<String>,
}

impl Relay {
    /// Forgets what was wrong with destinations that nobody has written to for long.
    pub(crate) fn forget_failures(&mut self, now_ms: u64, after_ms: u64) {
        self.queues.retain(|_, queue| {
            let idle = queue.waiting.is_empty() && queue.under_way == 0;
            !idle || queue.again_ms.saturating_add(after_ms) > now_ms
        });
    }

    /// How a destination is: hand-overs under way, failures in a row, when it is tried again, and why.
    pub(crate) fn state_of(&self, destination: &Destination) -> Option<(usize, u32, u64, &str)> {
        let queue = self.queues.get(destination)?;
        let reason = if queue.failures > 0 {
            queue.reason.as_str()
        } else {
            ""
        };
        Some((queue.under_way, queue.failures, queue.again_ms, reason))
    }

    /// Whether a recipient waits for its turn or is being handed over.
    pub(crate) fn is_busy(&self, message: MessageId, key: &str) -> bool {
        self.busy.contains(&(message, key.to_owned()))
    }
}

impl Server {
    /// An outside recipient is due: it is put off, or gets in line.
    pub(crate) fn relay(
        &mut self,
        message: MessageId,
        key: &str,
        destination: Destination,
    ) -> Result<(), Damaged> {
        let place = self.called(&destination);
        if self.relay.is_busy(message, key) {
            self.recipient_rests(message, key, HAND_OVER_MS, format!("its turn at {place}"));
            return Ok(());
        }
        if self.is_outside_done(message, key)? {
            let why = "another server has seen to it".to_owned();
            return self.recipient_done(message, key, "handed over", why);
        }
        if let Some(other) = self.goes_on_without_me() {
            // Taken over before this server leaves; told of when it has it.
            let pause_ms = self.config.times.ask_ms;
            let why = format!("this server is being retired; {other} goes on with it");
            self.recipient_rests(message, key, pause_ms, why);
            self.hand_to_server(message, key, other);
            return Ok(());
        }
        let held =
            (self.config.routes.get(&destination)).is_none_or(|route| route.next == NextHop::Hold);
        if held {
            let pause_ms = self.config.times.outside_most_ms;
            self.recipient_rests(message, key, pause_ms, "held, as its route says".into());
            return Ok(());
        }
        if let Some(custody) = self.custodies.get_mut(&message)
            && !custody.promised
        {
            // Woken by the yes.
            custody.awaits_yes = true;
            let pause_ms = self.config.times.second_copy_ms;
            self.recipient_rests(message, key, pause_ms, "the sender has no yes yet".into());
            return Ok(());
        }
        let now = self.now.mono_ms;
        if let Some(queue) = self.relay.queues.get(&destination)
            && queue.again_ms > now
        {
            let (wait_ms, reason) = (queue.again_ms - now, queue.reason.clone());
            self.recipient_rests(message, key, wait_ms, reason);
            return Ok(());
        }
        if let MayRelay::Wait(wait_ms) = self.may_relay(message, key) {
            let why = "asking the other servers whether they have handed it over".to_owned();
            self.recipient_rests(message, key, wait_ms, why);
            return Ok(());
        }
        self.relay.busy.insert((message, key.to_owned()));
        self.relay.ready.insert(destination.clone());
        let queue = self.relay.queues.entry(destination).or_default();
        let keys = queue.waiting.entry(message).or_default();
        keys.insert(key.to_owned());
        self.recipient_rests(message, key, HAND_OVER_MS, format!("its turn at {place}"));
        Ok(())
    }

    /// Who goes on with what waits for other systems when this server is being retired.
    fn goes_on_without_me(&self) -> Option<ServerName> {
        if self.role() != ServerRole::Retiring {
            return None;
        }
        let mut others = self.peers.iter();
        let (other, _) = others.find(|(server, peer)| peer.accepts && self.is_up(server))?;
        Some(other.clone())
    }

    /// What rests for long is looked at when this server begins to leave.
    pub(crate) fn wake_to_leave(&mut self) {
        let leaves = self.role() == ServerRole::Retiring;
        if std::mem::replace(&mut self.relay.leaves, leaves) != leaves && leaves {
            let messages: Vec<MessageId> = self.custodies.keys().copied().collect();
            for message in messages {
                self.wake(message);
            }
        }
    }

    /// Tells the shell to hand over what has its turn now.
    pub(crate) fn hand_outside(&mut self) {
        for destination in std::mem::take(&mut self.relay.ready) {
            if self.relay.under_way.len() >= MOST_AT_ONCE {
                self.relay.ready.insert(destination);
                continue;
            }
            let most = match self.config.routes.get(&destination) {
                Some(route) => route.at_once.max(1),
                None => 1,
            };
            while self.relay.under_way.len() < MOST_AT_ONCE {
                let Some(queue) = self.relay.queues.get_mut(&destination) else {
                    break;
                };
                // Of one that was silent the last time, one message finds out.
                let most = if queue.failures > 0 { 1 } else { most };
                if queue.under_way >= most {
                    break;
                }
                let Some((message, keys)) = queue.take() else {
                    break;
                };
                self.hand_to(&destination, message, keys);
            }
            match self.relay.queues.get(&destination) {
                Some(queue) if queue.is_forgettable() => {
                    self.relay.queues.remove(&destination);
                }
                Some(queue) if !queue.waiting.is_empty() && queue.under_way == 0 => {
                    self.relay.ready.insert(destination);
                }
                // What ends there makes room.
                Some(_) | None => {}
            }
        }
    }

    fn hand_to(&mut self, destination: &Destination, message: MessageId, keys: Vec<String>) {
        if self.holds.contains(&message) {
            // By an operator, while it waited for its turn.
            for key in keys {
                self.relay.busy.remove(&(message, key.clone()));
                let pause_ms = self.config.times.outside_first_ms;
                self.recipient_rests(message, &key, pause_ms, "by an operator".into());
            }
            return;
        }
        // What a list sends is from its owners, and says which list it is: each list's by itself.
        let custody = self.custodies.get(&message);
        let of = |key: &String| custody?.row.pending.get(key)?.list.as_ref();
        let list = keys.first().and_then(of).cloned();
        let (keys, others): (Vec<String>, Vec<String>) = keys
            .into_iter()
            .partition(|key| of(key).map(|of| &of.list) == list.as_ref().map(|of| &of.list));
        if !others.is_empty()
            && let Some(queue) = self.relay.queues.get_mut(destination)
        {
            queue.waiting.entry(message).or_default().extend(others);
            self.relay.ready.insert(destination.clone());
        }
        let stamp = list.map(|of| self.list_stamp(&of.list, of.incarnation).copy(None));
        let custody = self.custodies.get(&message);
        let pending = custody.map(|custody| &custody.row.pending);
        let (mut recipients, mut there) = (Vec::new(), Vec::new());
        for key in keys {
            match pending.and_then(|pending| pending.get(&key)) {
                Some(pending) if pending.stage == Stage::Steer => {
                    recipients.push(Outside {
                        name: pending.name.clone(),
                        notify: pending.notify,
                        original: pending.original.clone(),
                    });
                    there.push(key);
                }
                // Seen to meanwhile.
                Some(_) | None => {
                    self.relay.busy.remove(&(message, key));
                }
            }
        }
        let Some(record) = custody.map(|custody| custody.row.record.clone()) else {
            return;
        };
        if recipients.is_empty() {
            return;
        }
        let id = self.next_id();
        if let Some(queue) = self.relay.queues.get_mut(destination) {
            queue.under_way += 1;
        }
        if let Some(custody) = self.custodies.get_mut(&message) {
            for key in &there {
                *custody.tried_outside.entry(key.clone()).or_default() += 1;
            }
        }
        let under_way = UnderWay {
            destination: destination.clone(),
            message,
            keys: there.clone(),
        };
        self.relay.under_way.insert(id, under_way);
        self.ledger.emit(Effect::HandOver(Box::new(HandOver {
            id,
            destination: destination.clone(),
            message,
            body: record.body,
            return_path: return_path(record.envelope.return_path, stamp.as_ref()),
            content: record.envelope.content,
            envelope_id: record.envelope.envelope_id,
            recipients,
            list: stamp,
        })));
        if self.planted_handed_is_delivered {
            for key in there {
                let why = "planted".to_owned();
                if let Err(damaged) = self.recipient_done(message, &key, "handed over", why) {
                    self.damaged(damaged);
                }
            }
        }
    }

    /// The shell says what became of a hand-over.
    pub(crate) fn take_handed_over(&mut self, handed: HandedOver) -> Result<(), Damaged> {
        let Some(under_way) = self.relay.under_way.remove(&handed.id) else {
            return Ok(());
        };
        self.note_reached(&under_way.destination, handed.reached);
        self.relay.ready.insert(under_way.destination);
        let message = under_way.message;
        let mut outcomes = handed.outcomes.into_iter();
        let mut done = Vec::new();
        for key in under_way.keys {
            self.relay.busy.remove(&(message, key.clone()));
            match outcomes.next() {
                Some(HandOverOutcome::Taken { by, reply, reports }) => {
                    self.outside_is_done(message, &key);
                    done.push(key.clone());
                    self.recipient_relayed(message, &key, &by, &reply, reports)?;
                }
                Some(HandOverOutcome::Refused { status, by, reason }) => {
                    self.recipient_refused(message, &key, status, by, reason);
                }
                Some(HandOverOutcome::Later(why)) => self.recipient_again(message, &key, why),
                None => self.recipient_again(message, &key, "no word of it".into()),
            }
        }
        self.tell_outside_done(message, done);
        Ok(())
    }

    /// A destination spoke, or did not.
    fn note_reached(&mut self, destination: &Destination, reached: Reached) {
        let now = self.now.mono_ms;
        let Some(queue) = self.relay.queues.get_mut(destination) else {
            return;
        };
        queue.under_way = queue.under_way.saturating_sub(1);
        let why = match reached {
            Reached::Yes => {
                queue.failures = 0;
                queue.again_ms = 0;
                return;
            }
            Reached::No(why) => why,
        };
        // Those that failed beside each other are one failure.
        if queue.again_ms <= now {
            queue.failures = queue.failures.saturating_add(1);
        }
        let failures = queue.failures;
        let waiting = std::mem::take(&mut queue.waiting);
        let pause_ms = self.outside_pause_ms(failures);
        if let Some(queue) = self.relay.queues.get_mut(destination) {
            queue.again_ms = now.saturating_add(pause_ms);
            queue.reason.clone_from(&why);
        }
        for (message, keys) in waiting {
            for key in keys {
                self.relay.busy.remove(&(message, key.clone()));
                self.recipient_rests(message, &key, pause_ms, why.clone());
            }
        }
    }

    /// A recipient that can't be served now, though its destination spoke.
    fn recipient_again(&mut self, message: MessageId, key: &str, why: String) {
        let tries = (self.custodies.get(&message))
            .and_then(|custody| custody.tried_outside.get(key))
            .map_or(1, |tries| *tries);
        let pause_ms = self.outside_pause_ms(tries);
        self.recipient_rests(message, key, pause_ms, why);
    }

    /// Doubling, with jitter.
    fn outside_pause_ms(&mut self, failures: u32) -> u64 {
        let times = self.config.times;
        let doubled = times
            .outside_first_ms
            .saturating_mul(1u64 << failures.min(20).saturating_sub(1));
        let pause = doubled.min(times.outside_most_ms).max(1);
        pause.saturating_add(self.random_below(pause / 4 + 1))
    }

    /// A recipient is looked at again after a time, for this reason.
    fn recipient_rests(&mut self, message: MessageId, key: &str, pause_ms: u64, reason: String) {
        let due_ms = self.now.mono_ms.saturating_add(pause_ms.max(1));
        let trying = self.custodies.get_mut(&message);
        if let Some(trying) = trying.and_then(|custody| custody.trying.get_mut(key)) {
            let before = std::mem::replace(&mut trying.due_ms, due_ms);
            trying.reason = reason;
            trying.inbox = None;
            trying.under_way = false;
            // A rest may be long, and its end is looked at once.
            self.due.remove(&(before, message, key.to_owned()));
            self.due.insert((due_ms, message, key.to_owned()));
        }
    }
}

impl Queue {
    /// The oldest message, with as many of its recipients as go in one piece.
    fn take(&mut self) -> Option<(MessageId, Vec<String>)> {
        let mut first = self.waiting.first_entry()?;
        let message = *first.key();
        let keys: Vec<String> = first.get().iter().take(MOST_RECIPIENTS).cloned().collect();
        for key in &keys {
            first.get_mut().remove(key);
        }
        if first.get().is_empty() {
            first.remove();
        }
        Some((message, keys))
    }

    fn is_forgettable(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0 && self.failures == 0
    }
}

/// Where another system reports to: of a list to its owners, who can mend it. A report has none anyway.
fn return_path(sender: Option<Name>, list: Option<&ListCopy>) -> Option<Name> {
    let owners = list.and_then(|list| owners_of(&list.list));
    sender.map(|sender| owners.unwrap_or(sender))
}
