//! Who waits for changes of which mailbox, at this server.
//!
//! Must never hold back the core: telling is counting up a number. Who is slow sees the last number only, and that is enough: he asks what is new.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use grapevine_model::Incarnation;
use tokio::sync::watch;

/// So many mailboxes are kept before those that nobody waits for any more are let go.
const TIDY: usize = 1_024;

/// The mailboxes that somebody has open here.
#[derive(Default)]
pub(crate) struct MailboxWatch {
    watched: Mutex<BTreeMap<Incarnation, watch::Sender<u64>>>,
}

impl MailboxWatch {
    /// To be told of changes of a mailbox.
    pub(crate) fn watch(&self, mailbox: Incarnation) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() >= TIDY {
            watched.retain(|_, sender| sender.receiver_count() > 0);
        }
        let sender = watched
            .entry(mailbox)
            .or_insert_with(|| watch::channel(0).0);
        sender.subscribe()
    }

    /// Something has changed in it.
    pub(crate) fn changed(&self, mailbox: Incarnation) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = watched.get(&mailbox) else {
            return;
        };
        if sender.receiver_count() == 0 {
            watched.remove(&mailbox);
        } else {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_hears_of_his_mailbox_alone() {
        let watching = MailboxWatch::default();
        let mut mine = watching.watch(Incarnation(1));
        let other = watching.watch(Incarnation(2));
        watching.changed(Incarnation(1));
        watching.changed(Incarnation(3));
        assert!(mine.has_changed().unwrap());
        assert!(!other.has_changed().unwrap());
        mine.mark_unchanged();
        drop(mine);
        watching.changed(Incarnation(1));
        assert_eq!(watching.watched.lock().unwrap().len(), 1);
    }
}
