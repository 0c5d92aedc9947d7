//! The queue as an operator sees and steers it: what waits here, why, until when;
//! retried, held, released, given up.
//!
//! Guards P9. A hold is kept on both disks that have the message, so that neither a
//! restart nor a deputy that takes over delivers what a person wants to look at
//! first. Nothing is given up unasked while it is held (P1).

use grapevine_model::{
    MAX_QUEUE_PAGE, MessageId, Name, Notify, PeerMessage, QueueAnswer, QueueAsk, QueueChange,
    QueueItem, Refusal, Reply, ServerName, Speaker, TraceRecipient,
};

use crate::delivery::custody::{Custody, Pending, Stage};
use crate::registry::directory::Memo;
use crate::registry::request::{Outcome, Stop};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Sorts behind every name: where a message's lists stand in the queue.
const AFTER_NAMES: char = '\u{10ffff}';

impl Server {
    /// About mail that waits here: for operators, and for those who look after the whole Grapevine.
    pub(crate) fn queue(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        ask: &QueueAsk,
    ) -> Result<Outcome, Stop> {
        if !self.is_founder(memo, speaker)? {
            return Ok(Err(Refusal::not_allowed(
                "the queue is for operators and for the owners of gv; a sender can trace its message",
            ))
            .into());
        }
        let answer = match ask {
            QueueAsk::List {
                message,
                after,
                limit,
            } => self.queue_page(*message, after.as_deref(), *limit),
            QueueAsk::Change { message, change } => self.queue_change(*message, *change)?,
            QueueAsk::DeadLetters { after, limit } => {
                self.dead_letter_page(after.as_deref(), *limit)?
            }
            QueueAsk::DeadLetter { message, change } => {
                self.dead_letter_change(*message, change)?
            }
            QueueAsk::Replay {
                message,
                since_ms,
                of,
                to,
                after,
            } => self.replay(*message, (*since_ms, of.as_ref()), to.as_ref(), *after)?,
            QueueAsk::Destinations => Ok(QueueAnswer::Destinations(self.destinations())),
            QueueAsk::Unplug { server } => self.unplug(server).map(QueueAnswer::Unplug),
        };
        Ok(answer.map(Reply::Queue).into())
    }

    fn queue_page(
        &self,
        only: Option<MessageId>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueueAnswer, Refusal> {
        let limit = limit.clamp(1, MAX_QUEUE_PAGE) as usize;
        let (from, mut after_key) = match after.map(read_place).transpose()? {
            Some((message, key)) => (message, Some(key)),
            None => (only.unwrap_or(MessageId::from_u128(0)), None),
        };
        let mut items = Vec::new();
        for (message, custody) in self.custodies.range(from..) {
            if only.is_some_and(|only| only != *message) {
                break;
            }
            let single = custody.row.pending.keys().cloned();
            let single = single.map(|key| (self.waiting_recipient(custody, &key), key));
            let lists = self.waiting_lists(*message).into_iter().enumerate();
            let lists = lists.map(|(at, list)| (Some(list), format!("{AFTER_NAMES}{at:04}")));
            for (recipient, key) in single.chain(lists) {
                if after_key.as_ref().is_some_and(|after| key <= *after) {
                    continue;
                }
                if items.len() == limit {
                    let next = items.last().map(|last: &QueueItem| last.place.clone());
                    return Ok(QueueAnswer::Items { items, next });
                }
                items.extend(recipient.map(|of| self.queue_item(*message, custody, &key, of)));
            }
            after_key = None;
        }
        Ok(QueueAnswer::Items { items, next: None })
    }

    fn queue_item(
        &self,
        message: MessageId,
        custody: &Custody,
        key: &str,
        recipient: TraceRecipient,
    ) -> QueueItem {
        let record = &custody.row.record;
        QueueItem {
            place: place(message, key),
            message,
            recipient,
            return_path: record.envelope.return_path.clone(),
            accepted_ms: record.accepted_ms,
            len: record.body.len,
            held: self.holds.contains(&message),
            deputy: custody.deputy.clone().filter(|_| custody.held),
        }
    }

    fn queue_change(
        &mut self,
        message: Option<MessageId>,
        change: QueueChange,
    ) -> Result<Result<QueueAnswer, Refusal>, Damaged> {
        let messages: Vec<MessageId> = match (message, change) {
            (Some(message), _) => self
                .custodies
                .get(&message)
                // Nobody waits for what is only kept until its report is safe.
                .filter(|custody| !custody.row.pending.is_empty() || self.fanouts.has(message))
                .map(|_| message)
                .into_iter()
                .collect(),
            (None, QueueChange::Retry | QueueChange::Release) => {
                self.custodies.keys().copied().collect()
            }
            (None, QueueChange::Hold | QueueChange::Refuse | QueueChange::Drop) => {
                return Ok(Err(Refusal::invalid(
                    "name the message: only retry and release are done for all at once",
                )));
            }
        };
        let mut changed = 0u64;
        for message in messages {
            let done = match change {
                QueueChange::Retry => {
                    let tried = !self.holds.contains(&message);
                    if tried {
                        self.wake(message);
                        self.retry_lists(message);
                    }
                    tried
                }
                QueueChange::Hold => self.set_hold(message, true),
                QueueChange::Release => self.set_hold(message, false),
                QueueChange::Refuse | QueueChange::Drop => {
                    self.give_up_now(message, change)?;
                    true
                }
            };
            changed = changed.saturating_add(u64::from(done));
        }
        self.work()?;
        Ok(Ok(QueueAnswer::Changed(changed)))
    }

    /// Holds or releases a message in custody here; false if it was so before.
    fn set_hold(&mut self, message: MessageId, held: bool) -> bool {
        let changed = match held {
            true => self.holds.insert(message),
            false => self.holds.remove(&message),
        };
        if !changed {
            return false;
        }
        self.save_hold(message);
        let text = if held { "held" } else { "released" };
        self.note_info(format!("{text} by an operator"), Some(message));
        let deputy = self.custodies.get(&message).and_then(|c| c.deputy.clone());
        if let Some(deputy) = deputy {
            self.tell_hold(&deputy, message);
        }
        if !held {
            self.wake(message);
        }
        true
    }

    fn save_hold(&mut self, message: MessageId) {
        let key = message.to_bytes().to_vec();
        match self.holds.contains(&message) {
            true => self.ledger.put(Table::Holds, key, Vec::new()),
            false => self.ledger.delete(Table::Holds, key),
        }
    }

    /// A deputy learns whether what it keeps is held.
    pub(crate) fn tell_hold(&mut self, deputy: &ServerName, message: MessageId) {
        let held = self.holds.contains(&message);
        self.send(deputy, PeerMessage::CustodyHold { message, held });
    }

    /// The custodian of a message that this server is the deputy for says whether it is held.
    pub(crate) fn take_custody_hold(&mut self, from: &ServerName, message: MessageId, held: bool) {
        let is_deputy = self.deputies.contains_key(&(from.clone(), message));
        // In custody here too: its own operators decide.
        if !is_deputy || self.custodies.contains_key(&message) {
            return;
        }
        let changed = match held {
            true => self.holds.insert(message),
            false => self.holds.remove(&message),
        };
        if changed {
            self.save_hold(message);
        }
    }

    /// Nothing is held of a message that is no more in custody here, nor kept for another.
    pub(crate) fn forget_hold(&mut self, message: MessageId) {
        if !self.holds.contains(&message)
            || self.custodies.contains_key(&message)
            || self.deputies.keys().any(|(_, kept)| *kept == message)
        {
            return;
        }
        if self.holds.remove(&message) {
            self.ledger
                .delete_lazily(Table::Holds, message.to_bytes().to_vec());
        }
    }

    /// Somebody whom a list led to, or the list itself, is to be explained to the sender.
    fn add_failed(&mut self, message: MessageId, name: Name, status: &str, why: &str) {
        let failed = Pending {
            name,
            notify: Notify {
                success: false,
                failure: true,
                delay: false,
            },
            original: None,
            hops: 1,
            stage: Stage::Failed(status.into(), why.into()),
            meant: None,
            list: None,
        };
        self.add_pending(message, failed);
        self.to_report.insert(message);
    }

    fn give_up_now(&mut self, message: MessageId, change: QueueChange) -> Result<(), Damaged> {
        self.set_hold(message, false);
        let waiting: Vec<String> = match self.custodies.get(&message) {
            Some(custody) => custody
                .row
                .pending
                .iter()
                .filter(|(_, pending)| pending.stage == Stage::Steer)
                .map(|(key, _)| key.clone())
                .collect(),
            None => return Ok(()),
        };
        let why = "refused by the operators of the mail service";
        for list in self.drop_lists(message)? {
            if change == QueueChange::Refuse {
                self.add_failed(message, list, "5.7.0", why);
            }
        }
        for key in waiting {
            if change == QueueChange::Refuse {
                self.recipient_failed(message, &key, "5.7.0", why.into())?;
            } else {
                self.recipient_done(message, &key, "dropped", "by an operator".into())?;
            }
        }
        Ok(())
    }
}

/// Where a recipient stands in the queue.
fn place(message: MessageId, key: &str) -> String {
    format!("{message}/{key}")
}

fn read_place(text: &str) -> Result<(MessageId, String), Refusal> {
    let read = text.split_once('/').and_then(|(message, key)| {
        let message: MessageId = message.parse().ok()?;
        Some((message, key.to_owned()))
    });
    read.ok_or_else(|| Refusal::invalid("this is not where a page of the queue has ended"))
}
