//! Who looks at mailboxes here: the shell hears when one of these has changed, so that nobody has to ask in vain.
//!
//! Must never say it more often than some times a second, nor of a mailbox that nobody has looked at.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::Incarnation;

use crate::effect::Effect;
use crate::server::{Server, Timer};

/// Between two words about one mailbox.
const QUIET_MS: u64 = 100;
/// Whoever looked so long ago looks no more: mail programs come back every half an hour.
const LOOKS_MS: u64 = 35 * 60_000;
/// Mailboxes looked at: ten times the clients that a server is made for. Of more, those looked at longest ago hear nothing.
const MOST_WATCHED: usize = 10_000;

/// The mailboxes that clients of this server have looked at.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    looked: BTreeMap<Incarnation, Look>,
    changed: BTreeSet<Incarnation>,
}

#[derive(Debug, Default)]
struct Look {
    at_ms: u64,
    told_ms: Option<u64>,
}

impl Watched {
    /// A client of this server looks at a mailbox.
    pub(super) fn looks(&mut self, inbox: Incarnation, now_ms: u64) {
        if self.looked.len() >= MOST_WATCHED && !self.looked.contains_key(&inbox) {
            let oldest = self.looked.iter().min_by_key(|(_, look)| look.at_ms);
            if let Some(oldest) = oldest.map(|(inbox, _)| *inbox) {
                self.looked.remove(&oldest);
            }
        }
        self.looked.entry(inbox).or_default().at_ms = now_ms;
    }

    pub(super) fn changes(&mut self, inbox: Incarnation) {
        if self.looked.contains_key(&inbox) {
            self.changed.insert(inbox);
        }
    }

    pub(super) fn forget(&mut self, now_ms: u64) {
        (self.looked).retain(|_, look| now_ms.saturating_sub(look.at_ms) < LOOKS_MS);
    }
}

impl Server {
    /// Tells the shell of mailboxes that have changed, each in its time.
    pub(crate) fn tell_watchers(&mut self) {
        let now_ms = self.now.mono_ms;
        let watched = &mut self.mailboxes.watched;
        let (mut told, mut later) = (Vec::new(), None::<u64>);
        let Watched { looked, changed } = watched;
        changed.retain(|inbox| {
            let Some(look) = looked.get_mut(inbox) else {
                return false;
            };
            let due_ms = look
                .told_ms
                .map_or(0, |told_ms| told_ms.saturating_add(QUIET_MS));
            if due_ms > now_ms {
                later = Some(later.map_or(due_ms, |first| first.min(due_ms)));
                return true;
            }
            look.told_ms = Some(now_ms);
            told.push(*inbox);
            false
        });
        for inbox in told {
            self.ledger.emit(Effect::MailboxChanged(inbox));
        }
        if let Some(due_ms) = later {
            self.timer_at(due_ms, Timer::Watched);
        }
    }
}
