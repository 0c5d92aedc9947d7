//! Who waits for a second copy of a write, and what happens when it is there.

use grapevine_model::{
    ImportOutcome, Imported, Incarnation, MailboxReply, MessageId, Refusal, Reply, ServerName,
    SpaceId, Stamp, Written,
};

use crate::registry::request::ReplyTo;
use crate::server::{Server, Timer};

/// What happens when a write is on two disks, or when waiting has lasted long enough.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    /// A client hears that its write is durable, on how many disks.
    Written(ReplyTo, Written),
    /// An importer hears what became of its entries.
    Imported(ReplyTo, Written, Vec<ImportOutcome>),
    /// A mail program hears what became of a change.
    Mailbox(ReplyTo, Box<MailboxReply>),
    /// A recipient of a message in custody here may be done.
    Recipient(MessageId, String),
    /// A custodian hears of its deposit.
    Deposited(ServerName, MessageId, Incarnation),
}

/// A write that somebody waits for.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) space: SpaceId,
    pub(crate) dot: Stamp,
    pub(crate) then: Then,
}

impl Server {
    /// Goes on at once if the write has its copies or none can be had now; otherwise later.
    pub(crate) fn when_copied(&mut self, space: SpaceId, dot: Stamp, then: Then) {
        let partners = self.partners(&space);
        let copies = self
            .spaces
            .get(&space)
            .map_or(1, |s| s.copies(dot, &partners));
        let waiter = Waiter { space, dot, then };
        if copies >= 2 || !self.any_may_copy(&partners) {
            self.copied(waiter.then, copies);
            return;
        }
        let id = self.next_id();
        self.waiting
            .entry(waiter.space.clone())
            .or_default()
            .insert(id);
        self.waiters.insert(id, waiter);
        self.timer(self.config.times.second_copy_ms, Timer::Waiter(id));
    }

    /// A partner has more of a space: whose wait is over?
    pub(crate) fn check_waiters(&mut self, space: &SpaceId) {
        let Some(ids) = self.waiting.get(space) else {
            return;
        };
        let partners = self.partners(space);
        let Some(state) = self.spaces.get(space) else {
            return;
        };
        let done: Vec<(u64, u8)> = ids
            .iter()
            .filter_map(|id| {
                let copies = state.copies(self.waiters.get(id)?.dot, &partners);
                (copies >= 2).then_some((*id, copies))
            })
            .collect();
        for (id, copies) in done {
            if let Some(waiter) = self.remove_waiter(id) {
                self.copied(waiter.then, copies);
            }
        }
    }

    pub(crate) fn waiter_is_due(&mut self, id: u64) {
        if let Some(waiter) = self.remove_waiter(id) {
            let partners = self.partners(&waiter.space);
            let copies = self
                .spaces
                .get(&waiter.space)
                .map_or(1, |s| s.copies(waiter.dot, &partners));
            self.copied(waiter.then, copies);
        }
    }

    /// A registry is no more: nobody will copy what was written to it.
    pub(crate) fn end_waiters(&mut self, space: &SpaceId, refusal: &Refusal) {
        let ids: Vec<u64> = self
            .waiting
            .get(space)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for id in ids {
            let Some(waiter) = self.remove_waiter(id) else {
                continue;
            };
            match waiter.then {
                Then::Written(to, _) | Then::Imported(to, ..) => {
                    self.reply(to, Err(refusal.clone()));
                }
                // These are of mailboxes.
                Then::Recipient(..) | Then::Deposited(..) | Then::Mailbox(..) => {}
            }
        }
    }

    fn remove_waiter(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        if let Some(ids) = self.waiting.get_mut(&waiter.space) {
            ids.remove(&id);
            if ids.is_empty() {
                self.waiting.remove(&waiter.space);
            }
        }
        Some(waiter)
    }

    /// Goes on after a write.
    pub(crate) fn copied(&mut self, then: Then, copies: u8) {
        match then {
            Then::Written(to, written) => {
                self.reply(to, Ok(Reply::Written(Written { copies, ..written })));
            }
            Then::Imported(to, written, outcomes) => {
                let written = Written { copies, ..written };
                let imported = Imported { written, outcomes };
                self.reply(to, Ok(Reply::Imported(imported)));
            }
            Then::Mailbox(to, reply) => {
                let reply = MailboxReply { copies, ..*reply };
                self.reply(to, Ok(Reply::Mailbox(reply)));
            }
            Then::Recipient(message, key) => self.recipient_copied(message, &key, copies),
            Then::Deposited(custodian, message, inbox) => {
                self.tell_deposited(&custodian, message, inbox, copies);
            }
        }
    }
}
