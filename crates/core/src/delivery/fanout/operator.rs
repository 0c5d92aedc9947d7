//! Lists under way as people see and steer them: shown, held, retried, given up.

use std::collections::BTreeSet;

use grapevine_model::{MessageId, Name, TraceRecipient};

use super::{GroupRow, Item, PageRow, group_key, page_key};
use crate::codec;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Pages looked at for one answer; a list may have thousands.
const MOST_SHOWN: usize = 50;
/// So long after its release a held list goes on at the latest.
const HELD_MS: u64 = 5_000;

impl Server {
    /// What waits of a message's lists: the list, how many of it, why, and how long still.
    pub(in crate::delivery) fn waiting_lists(&self, message: MessageId) -> Vec<TraceRecipient> {
        let Some(fanout) = self.fanouts.of.get(&message) else {
            return Vec::new();
        };
        let state = match self.holds.contains(&message) {
            true => "held",
            false => "expanding",
        };
        let mut waiting = Vec::new();
        for number in fanout.groups.iter().take(MOST_SHOWN) {
            let row = self.ledger.get(Table::Fanout, &group_key(message, *number));
            if let Ok(Some(bytes)) = row
                && let Ok(row) = codec::decode::<GroupRow>(&bytes)
            {
                let how_far = row.after.map(|after| format!("after {after}"));
                waiting.push(TraceRecipient {
                    name: row.group,
                    state: state.into(),
                    reason: how_far.unwrap_or_default(),
                    next_ms: Some(0),
                    attempts: 0,
                });
            }
        }
        for (number, page) in fanout.pages.iter().take(MOST_SHOWN) {
            let row = self.ledger.get(Table::Fanout, &page_key(message, *number));
            if let Ok(Some(bytes)) = row
                && let Ok(row) = codec::decode::<PageRow>(&bytes)
            {
                let count = page.left.as_ref().map_or(row.inboxes.len(), BTreeSet::len);
                let count = count + row.others.len();
                waiting.push(TraceRecipient {
                    name: row.group,
                    state: state.into(),
                    reason: format!("{count} of its members: {}", page.reason),
                    next_ms: Some(page.due_ms.saturating_sub(self.now.mono_ms)),
                    attempts: page.attempts,
                });
            }
        }
        waiting
    }

    /// An operator holds the message: looked at again in a moment.
    pub(super) fn hold_lists(&mut self, message: MessageId, item: Item) {
        match item {
            Item::Groups => {
                let later_ms = self.now.mono_ms.saturating_add(HELD_MS);
                self.fanouts.queue(later_ms, message, item);
            }
            Item::Page(number) => {
                self.page_waits(message, number, HELD_MS, "held by an operator");
            }
        }
    }

    /// Pages that wait are tried now.
    pub(in crate::delivery) fn retry_lists(&mut self, message: MessageId) {
        let Some(fanout) = self.fanouts.of.get(&message) else {
            return;
        };
        let waiting = fanout.pages.iter().filter(|(_, page)| page.left.is_none());
        let waiting: Vec<(u64, String)> = waiting
            .map(|(number, page)| (*number, page.reason.clone()))
            .collect();
        for (number, reason) in waiting {
            self.page_waits(message, number, 0, &reason);
        }
    }

    /// Gives up what is left of a message's lists, and says which they were.
    pub(in crate::delivery) fn drop_lists(
        &mut self,
        message: MessageId,
    ) -> Result<BTreeSet<Name>, Damaged> {
        let mut lists = BTreeSet::new();
        let Some(fanout) = self.fanouts.of.get(&message) else {
            return Ok(lists);
        };
        let groups: Vec<u64> = fanout.groups.iter().copied().collect();
        let pages: Vec<u64> = fanout.pages.keys().copied().collect();
        for number in groups {
            let key = group_key(message, number);
            if let Some(bytes) = self.ledger.get(Table::Fanout, &key)? {
                lists.insert(codec::decode::<GroupRow>(&bytes)?.group);
            }
            self.end_group(message, number);
        }
        for number in pages {
            let key = page_key(message, number);
            if let Some(bytes) = self.ledger.get(Table::Fanout, &key)? {
                lists.insert(codec::decode::<PageRow>(&bytes)?.group);
            }
            self.ledger.delete(Table::Fanout, key);
            let now = self.now.mono_ms;
            let fanout = self.fanouts.of.get_mut(&message);
            let page = fanout.and_then(|fanout| fanout.pages.remove(&number));
            if let Some(page) = page {
                self.fanouts.leave_place(page.in_place, now);
            }
        }
        self.end_fanout_if_done(message);
        Ok(lists)
    }
}
