//! Pages of lists on their way: sent off, waiting, answered, landed.
//!
//! A page's row goes only when each of its copies is where it has to be; what comes back in a crash
//! is deposited again, which changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    DepositEnvelope, DepositFor, DepositOutcome, Incarnation, MessageId, Name, ServerName, SpaceId,
    Stamp,
};

use super::{Fanout, Flying, Item, MOST_SINGLE, Page, PageRow, ROOM_MS, page_key};
use crate::codec;
use crate::delivery::custody::{Pending, Stage};
use crate::delivery::steer::INBOX_COPIES;
use crate::mailbox::{Deposited, Depositing, Waits};
use crate::server::Server;
use crate::tables::{Damaged, Table};

impl Server {
    /// Writes a page, to be sent off or to wait. Gives its number.
    pub(super) fn new_page(&mut self, message: MessageId, row: &PageRow) -> u64 {
        let now = self.now.mono_ms;
        let fanout = self.fanouts.of.entry(message).or_insert_with(|| Fanout {
            since_ms: now,
            ..Fanout::default()
        });
        let number = fanout.next;
        fanout.next += 1;
        fanout.pages.insert(number, Page::default());
        if !self.planted_checkpoint_early {
            self.save_page(message, number, row);
        }
        number
    }

    pub(super) fn save_page(&mut self, message: MessageId, number: u64, row: &PageRow) {
        self.ledger
            .put(Table::Fanout, page_key(message, number), codec::encode(row));
    }

    /// Follows these one by one, as far as there is room; the others wait in a page.
    pub(super) fn follow_singly(
        &mut self,
        message: MessageId,
        of: &PageRow,
        others: Vec<Pending>,
    ) -> Result<(), Damaged> {
        let waiting = self.take_room(message, others);
        if !waiting.is_empty() {
            let page = PageRow {
                inboxes: Vec::new(),
                others: waiting,
                ..of.clone()
            };
            let number = self.new_page(message, &page);
            self.page_waits(message, number, ROOM_MS, "others of the list come first");
        }
        self.end_fanout_if_done(message);
        Ok(())
    }

    /// Takes as many as there is room for among those followed one by one; gives the rest.
    pub(super) fn take_room(
        &mut self,
        message: MessageId,
        mut others: Vec<Pending>,
    ) -> Vec<Pending> {
        let followed = self.custodies.get(&message);
        let followed = followed.map_or(0, |custody| custody.row.pending.len());
        let room = MOST_SINGLE.saturating_sub(followed).min(others.len());
        let waiting = others.split_off(room);
        for pending in others {
            self.add_pending(message, pending);
        }
        if self.custodies.contains_key(&message) {
            self.saving.insert(message);
        }
        waiting
    }

    /// A page that waits is tried again, or one under way whose answers are late.
    pub(super) fn try_page(&mut self, message: MessageId, number: u64) -> Result<(), Damaged> {
        let key = page_key(message, number);
        let Some(bytes) = self.ledger.get(Table::Fanout, &key)? else {
            if self.planted_checkpoint_early {
                self.land_page(message, number);
                return Ok(());
            }
            return Err(Damaged(format!(
                "page {number} of the list message {message} is not done, and its row is gone"
            )));
        };
        let mut row: PageRow = codec::decode(&bytes)?;
        let Some(fanout) = self.fanouts.of.get_mut(&message) else {
            return Ok(());
        };
        let since_ms = fanout.since_ms;
        let Some(page) = fanout.pages.get_mut(&number) else {
            return Ok(());
        };
        let before = row.inboxes.len() + row.others.len();
        let reason = page.reason.clone();
        if let Some(left) = page.left.take() {
            for inbox in &left {
                self.fanouts.flying.remove(&(*inbox, message));
            }
            row.inboxes.retain(|(inbox, _)| left.contains(inbox));
            let in_place = std::mem::take(&mut page.in_place);
            self.fanouts.leave_place(in_place, self.now.mono_ms);
        }
        let mut others = std::mem::take(&mut row.others);
        if self.is_too_old(message, since_ms) {
            let why = format!("given up: {reason}");
            let inboxes = std::mem::take(&mut row.inboxes);
            let failed = inboxes.into_iter().map(|(_, name)| Pending {
                stage: Stage::Failed("4.4.7".into(), why.clone()),
                ..row.single(name)
            });
            others.extend(failed);
        }
        // A member's registry says where he is now, and how he is called.
        let mut moved: BTreeMap<Vec<ServerName>, Vec<(Incarnation, Name)>> = BTreeMap::new();
        let empty = PageRow {
            inboxes: Vec::new(),
            ..row.clone()
        };
        let mut stay = Vec::with_capacity(row.inboxes.len());
        for (inbox, name) in row.inboxes.drain(..) {
            let Some(database) = self.database(name.registry()) else {
                // It is not held here any more: its holders know.
                let meant = Some(inbox);
                others.push(Pending {
                    meant,
                    ..empty.single(name)
                });
                continue;
            };
            // Who is no more is left out, as one who left the list is.
            let Some((entry, name)) = database
                .entry(inbox)
                .and_then(|entry| entry.name().map(|name| (entry, name)))
            else {
                continue;
            };
            let sites = entry.sites();
            if sites.is_empty() || !entry.forward().is_empty() {
                others.push(empty.single(name));
            } else if sites == row.sites {
                stay.push((inbox, name));
            } else {
                moved.entry(sites).or_default().push((inbox, name));
            }
        }
        row.inboxes = stay;
        for (sites, inboxes) in moved {
            let page = PageRow {
                sites,
                inboxes,
                ..empty.clone()
            };
            let number = self.new_page(message, &page);
            self.fly(message, number, &page)?;
        }
        row.others = self.take_room(message, others);
        if row.inboxes.is_empty() && row.others.is_empty() {
            self.land_page(message, number);
            return Ok(());
        }
        if row.inboxes.len() + row.others.len() != before {
            self.save_page(message, number, &row);
        }
        if row.inboxes.is_empty() {
            self.page_waits(message, number, ROOM_MS, "others of the list come first");
            return Ok(());
        }
        self.fly(message, number, &row)
    }

    /// Sends a page to its destination, or puts it into the mailboxes here.
    pub(super) fn fly(
        &mut self,
        message: MessageId,
        number: u64,
        row: &PageRow,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        let body = custody.row.record.body;
        let return_path = custody.row.record.envelope.return_path.clone();
        let mut regaining = false;
        if row.sites.contains(&self.config.server) {
            for (inbox, name) in &row.inboxes {
                regaining |= self.must_regain(*inbox, name, &row.sites)?;
            }
        }
        let copies = INBOX_COPIES.min(row.sites.len());
        let fanout = self.fanouts.of.get_mut(&message);
        let Some(page) = fanout.and_then(|fanout| fanout.pages.get_mut(&number)) else {
            return Ok(());
        };
        page.count = row.inboxes.len() + row.others.len();
        page.copies = copies;
        let attempts = page.attempts;
        page.attempts = attempts.saturating_add(1);
        let in_vain = page.in_vain;
        page.in_vain = in_vain.saturating_add(1);
        let mine = row.sites.contains(&self.config.server);
        let here = mine && !self.disk_nearly_full && !regaining;
        let up: Vec<&ServerName> = row.sites.iter().filter(|s| self.is_up(s)).collect();
        let (first, enough_up) = (attempts == 0, up.len() >= copies);
        let turn = attempts as usize % up.len().max(1);
        let there = up.get(turn).map(|site| (*site).clone());
        // Who is on two nested lists may be in two pages: the one that is under way with him is waited for, and stands until he has it.
        let of_another = |inbox: Incarnation| {
            let flying = self.fanouts.flying.get(&(inbox, message));
            flying.is_some_and(|flying| flying.page != number)
        };
        let inboxes = row.inboxes.iter();
        let waited: Vec<&(Incarnation, Name)> =
            inboxes.filter(|(inbox, _)| !of_another(*inbox)).collect();
        let mut left: BTreeSet<Incarnation> = waited.iter().map(|(inbox, _)| *inbox).collect();
        let mut reason = "its copies are being made";
        let stamp = self.list_stamp(&row.group, row.incarnation);
        let (mut full, mut uncopied) = (Vec::new(), Vec::new());
        if here {
            for (inbox, name) in waited {
                let list = Some(stamp.copy(Some(*inbox)));
                let depositing = Depositing {
                    list,
                    envelope: None,
                    waits: Waits::Nobody,
                };
                match self.deposit((*inbox, name, &row.sites), message, body, depositing)? {
                    Deposited::Stored(dot) if !self.has_copies(*inbox, dot, copies) => {
                        let flying = Flying {
                            page: number,
                            dot: Some(dot),
                        };
                        self.fanouts.flying.insert((*inbox, message), flying);
                        uncopied.push(Self::mailbox_space(*inbox));
                    }
                    Deposited::Stored(_) | Deposited::Deleted => {
                        left.remove(inbox);
                    }
                    Deposited::TooOld => reason = crate::mailbox::TOO_OLD,
                    Deposited::Behind => reason = crate::mailbox::BEHIND,
                    // What becomes of it then is its registry's policy, or its owner's filter: not the list's business.
                    Deposited::Full(_) | Deposited::Filtering | Deposited::Busy => {
                        left.remove(inbox);
                        full.push(row.single(name.clone()));
                    }
                }
            }
            if attempts > 0 {
                // What was there before is pushed no more: the others say what they have of it.
                self.offer_all(&uncopied);
            }
            self.follow_singly(message, row, full)?;
        } else if let Some(site) = there {
            let flying = Flying {
                page: number,
                dot: None,
            };
            for (inbox, _) in &waited {
                self.fanouts.flying.insert((*inbox, message), flying);
            }
            let inboxes = waited.into_iter().map(|(inbox, name)| DepositFor {
                inbox: *inbox,
                name: name.clone(),
                sites: row.sites.clone(),
                list: Some(stamp.copy(Some(*inbox))),
                envelope: Some(DepositEnvelope {
                    return_path: return_path.clone(),
                    recipient: name.clone(),
                }),
            });
            let inboxes: Vec<DepositFor> = inboxes.collect();
            self.deposits
                .entry((site, message))
                .or_default()
                .extend(inboxes);
        } else {
            let pause_ms = self.page_pause_ms(in_vain);
            self.page_waits(message, number, pause_ms, "no inbox site can be reached");
            return Ok(());
        }
        if left.is_empty() && row.others.is_empty() {
            self.land_page(message, number);
            return Ok(());
        }
        let fanout = self.fanouts.of.get_mut(&message);
        if let Some(page) = fanout.and_then(|fanout| fanout.pages.get_mut(&number)) {
            page.left = Some(left);
            // On its first way, and while its copies can be made; what takes longer goes on beside the others.
            page.in_place = first && enough_up;
            self.fanouts.pages += usize::from(page.in_place);
        }
        let patience_ms = self.config.times.second_copy_ms + self.page_pause_ms(in_vain);
        self.page_waits(message, number, patience_ms, reason);
        Ok(())
    }

    pub(super) fn has_copies(&self, inbox: Incarnation, dot: Stamp, needed: usize) -> bool {
        let space = Self::mailbox_space(inbox);
        let copies = self
            .spaces
            .get(&space)
            .map_or(1, |state| state.copies(dot, &self.partners(&space)));
        usize::from(copies) >= needed || self.planted_one_copy
    }

    pub(super) fn page_pause_ms(&mut self, in_vain: u32) -> u64 {
        let times = self.config.times;
        let doubled = times.retry_first_ms.saturating_mul(1 << in_vain.min(20));
        let pause = doubled.min(times.retry_most_ms).max(1);
        pause.saturating_add(self.random_below(pause / 4 + 1))
    }

    pub(super) fn page_waits(
        &mut self,
        message: MessageId,
        number: u64,
        pause_ms: u64,
        reason: &str,
    ) {
        let due_ms = self.now.mono_ms.saturating_add(pause_ms);
        let fanout = self.fanouts.of.get_mut(&message);
        if let Some(page) = fanout.and_then(|fanout| fanout.pages.get_mut(&number)) {
            page.due_ms = due_ms;
            page.reason = reason.to_owned();
            self.fanouts.queue(due_ms, message, Item::Page(number));
        }
    }

    /// A partner has more of a mailbox: whose copy in a page is that?
    pub(crate) fn check_pages(&mut self, space: &SpaceId) {
        let SpaceId::Mailbox(inbox) = space else {
            return;
        };
        let (first, last) = (
            MessageId::from_bytes([0; 16]),
            MessageId::from_bytes([u8::MAX; 16]),
        );
        let flying = self.fanouts.flying.range((*inbox, first)..=(*inbox, last));
        let flying: Vec<(MessageId, Flying)> = flying
            .filter_map(|((_, message), flying)| {
                Some((*message, *flying)).filter(|_| flying.dot.is_some())
            })
            .collect();
        for (message, flying) in flying {
            let page = self.fanouts.of.get(&message);
            let page = page.and_then(|fanout| fanout.pages.get(&flying.page));
            let copies = page.map_or(0, |page| page.copies);
            if let Some(dot) = flying.dot
                && self.has_copies(*inbox, dot, copies)
            {
                self.land(*inbox, message);
            }
        }
    }

    /// An inbox site answers about a deposit; whether that was one of a page.
    pub(crate) fn page_deposited(
        &mut self,
        from: &ServerName,
        message: MessageId,
        inbox: Incarnation,
        outcome: &DepositOutcome,
    ) -> bool {
        let Some(flying) = self.fanouts.flying.get(&(inbox, message)).copied() else {
            return false;
        };
        let planted = self.planted_one_copy;
        let fanout = self.fanouts.of.get_mut(&message);
        let page = fanout.and_then(|fanout| fanout.pages.get_mut(&flying.page));
        let Some(page) = page else { return false };
        let (in_vain, reason) = match outcome {
            DepositOutcome::Stored { copies } if usize::from(*copies) >= page.copies || planted => {
                self.land(inbox, message);
                return true;
            }
            // Asked again when the page is.
            DepositOutcome::Stored { .. } => return true,
            DepositOutcome::NotHere => (
                page.in_vain,
                format!("{from} is no inbox site of some of them any more; asking again"),
            ),
            DepositOutcome::Later(why) => (page.in_vain, why.clone()),
            DepositOutcome::OverQuota { .. } | DepositOutcome::Rejected { .. } => {
                self.leave_page(inbox, message, flying.page);
                return true;
            }
        };
        if page.reason != reason {
            let pause_ms = self.page_pause_ms(in_vain);
            self.page_waits(message, flying.page, pause_ms, &reason);
        }
        true
    }

    /// Somebody of a page is followed by himself from now on.
    pub(super) fn leave_page(&mut self, inbox: Incarnation, message: MessageId, number: u64) {
        let row = self.ledger.get(Table::Fanout, &page_key(message, number));
        let Ok(Some(Ok(row))) = row.map(|bytes| bytes.map(|b| codec::decode::<PageRow>(&b))) else {
            return;
        };
        let name = row.inboxes.iter().find(|(of, _)| *of == inbox);
        let single = name.map(|(_, name)| row.single(name.clone()));
        // Without room it stays, and is asked again with the page.
        let waiting = self.take_room(message, single.into_iter().collect());
        if waiting.is_empty() {
            self.land(inbox, message);
        }
    }

    pub(super) fn land(&mut self, inbox: Incarnation, message: MessageId) {
        let Some(flying) = self.fanouts.flying.remove(&(inbox, message)) else {
            return;
        };
        let fanout = self.fanouts.of.get_mut(&message);
        let page = fanout.and_then(|fanout| fanout.pages.get_mut(&flying.page));
        let Some(left) = page.and_then(|page| page.left.as_mut()) else {
            return;
        };
        left.remove(&inbox);
        if left.is_empty() {
            self.land_page(message, flying.page);
        }
    }

    /// All of a page have their copies.
    pub(super) fn land_page(&mut self, message: MessageId, number: u64) {
        let now = self.now.mono_ms;
        let Some(fanout) = self.fanouts.of.get_mut(&message) else {
            return;
        };
        let Some(page) = fanout.pages.remove(&number) else {
            return;
        };
        self.fanouts.leave_place(page.in_place, now);
        // It may come back in a crash: then it is deposited again, which changes nothing.
        self.ledger
            .delete_lazily(Table::Fanout, page_key(message, number));
        self.remember_outcomes(message, page.count as u64);
        self.end_fanout_if_done(message);
    }

    pub(super) fn end_fanout_if_done(&mut self, message: MessageId) {
        let of = &mut self.fanouts.of;
        if of
            .get(&message)
            .is_some_and(|fanout| fanout.groups.is_empty() && fanout.pages.is_empty())
        {
            of.remove(&message);
            self.fanouts.parked.remove(&message);
            self.saving.insert(message);
        }
    }

    /// A server is heard again: whatever waits may go now, and the pauses begin anew.
    pub(crate) fn wake_all_pages(&mut self) {
        let now = self.now.mono_ms;
        let mut due = Vec::new();
        for (message, fanout) in &mut self.fanouts.of {
            for (number, page) in &mut fanout.pages {
                page.due_ms = now;
                page.in_vain = 0;
                due.push((*message, *number));
            }
        }
        for (message, number) in due {
            self.fanouts.queue(now, message, Item::Page(number));
        }
    }

    /// A site lacked the body: what was said to it is said again.
    pub(crate) fn wake_pages(&mut self, message: MessageId) {
        let now = self.now.mono_ms;
        let Some(fanout) = self.fanouts.of.get_mut(&message) else {
            return;
        };
        let mut due = Vec::new();
        for (number, page) in &mut fanout.pages {
            if page.left.is_some() {
                page.due_ms = now;
                // The same site once more: it has the body then.
                page.attempts = page.attempts.saturating_sub(1);
                due.push(*number);
            }
        }
        for number in due {
            self.fanouts.queue(now, message, Item::Page(number));
        }
    }
}
