//! List fan-out: the members of groups, page by page, in a queue of its own.
//!
//! Guards P1, P6 and P7 for lists of any size. A group under expansion is a row with a check-point;
//! what is before the check-point stands in page rows (one for each page and destination) or is done.
//! A page and the check-point behind it are written in one commit, so a crash goes on where it was, and
//! a page's row goes when its last copy is on its two sites. Memory holds the pages under way, never
//! the list; a turn takes one page, so nobody else's mail waits for more than that.
//!
//! It must never move a check-point over members that no row stands for.

mod operator;

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    DepositFor, DepositOutcome, EntryKind, GroupList, Incarnation, Member, MessageId, Name, Notify,
    ServerName, SpaceId, Stamp,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::delivery::custody::{LEAST_TRIED, OfList, Pending, Stage};
use crate::delivery::steer::{INBOX_COPIES, MOST_HOPS};
use crate::mailbox::Deposited;
use crate::registry::directory::Held;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Members taken from a group in one turn: some milliseconds, which is what a new message may have
/// to wait for.
const PAGE: usize = 256;
/// Pages under way at once, over all messages: enough to hide the way to another server and its disk,
/// few enough that the memory for them does not count.
const MOST_FLYING: usize = 16;
/// Recipients of one message that are followed one by one at once (forwarded, nested, in registries
/// held elsewhere, refused): those beyond wait in a page.
const MOST_SINGLE: usize = 1_000;
/// Members of a list that is nested deeper than forwardings may follow each other can still be reached.
const LAST_HOP: u8 = MOST_HOPS - 1;
/// Others wait so long for room among those that are followed one by one.
const ROOM_MS: u64 = 1_000;

/// A group under expansion, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct GroupRow {
    group: Name,
    incarnation: Incarnation,
    notify: Notify,
    hops: u8,
    /// The check-point: members up to this key stand in pages or are done.
    after: Option<String>,
}

/// Recipients that have the same inbox sites, or that are to be followed one by one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PageRow {
    group: Name,
    /// Of the group.
    incarnation: Incarnation,
    notify: Notify,
    hops: u8,
    sites: Vec<ServerName>,
    inboxes: Vec<(Incarnation, Name)>,
    others: Vec<Pending>,
}

impl GroupRow {
    /// A page of it, with nobody in it yet.
    fn page(&self) -> PageRow {
        PageRow {
            group: self.group.clone(),
            incarnation: self.incarnation,
            notify: self.notify,
            hops: self.hops,
            sites: Vec::new(),
            inboxes: Vec::new(),
            others: Vec::new(),
        }
    }
}

impl PageRow {
    /// Somebody of it, to be followed by himself.
    fn single(&self, name: Name) -> Pending {
        Pending {
            name,
            notify: self.notify,
            original: None,
            hops: self.hops.saturating_add(1).min(LAST_HOP),
            stage: Stage::Steer,
            meant: None,
            list: Some(OfList {
                list: self.group.clone(),
                incarnation: self.incarnation,
                member: None,
            }),
        }
    }
}

/// What is in memory of the lists of one message.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    /// Groups under expansion; the newest goes first, so that there are never many.
    groups: BTreeSet<u64>,
    pages: BTreeMap<u64, Page>,
    next: u64,
    /// Whether its groups wait in the queue.
    queued: bool,
    /// Since when this server has tried, monotonic.
    since_ms: u64,
}

#[derive(Debug, Default)]
struct Page {
    attempts: u32,
    due_ms: u64,
    reason: String,
    /// Who of it still lacks a copy, while it is under way.
    left: Option<BTreeSet<Incarnation>>,
    /// How many recipients it had when it was last read.
    count: usize,
    /// How many copies each needs.
    copies: usize,
}

/// A deposit of a page under way: of which page, and the dot of its cell if it was made here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flying {
    page: u64,
    dot: Option<Stamp>,
}

/// What is due in the queue of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// The next page of the newest group of a message.
    Groups,
    /// A page that waits, or whose answers are late.
    Page(u64),
}

/// The lists' part of a server.
#[derive(Debug, Default)]
pub(crate) struct Fanouts {
    of: BTreeMap<MessageId, Fanout>,
    /// By due time, then by turn.
    due: BTreeSet<(u64, u64, MessageId, Item)>,
    turn: u64,
    flying: BTreeMap<(Incarnation, MessageId), Flying>,
    /// Pages under way.
    pages: usize,
    /// Messages whose groups wait until a page has landed.
    parked: BTreeSet<MessageId>,
}

impl Fanouts {
    /// When something is due.
    pub(crate) fn due_ms(&self) -> u64 {
        self.due.first().map_or(u64::MAX, |(due_ms, ..)| *due_ms)
    }

    /// Whether lists of a message are under way.
    pub(crate) fn has(&self, message: MessageId) -> bool {
        self.of.contains_key(&message)
    }

    /// Recipients in pages, and groups that have more.
    pub(crate) fn waiting(&self) -> u64 {
        let of = |fanout: &Fanout| {
            let pages: usize = fanout.pages.values().map(|page| page.count).sum();
            (pages + fanout.groups.len()) as u64
        };
        self.of.values().map(of).sum()
    }

    fn queue(&mut self, due_ms: u64, message: MessageId, item: Item) {
        self.turn += 1;
        self.due.insert((due_ms, self.turn, message, item));
    }

    /// There is room for another page.
    fn one_flies_less(&mut self, now_ms: u64) {
        self.pages = self.pages.saturating_sub(1);
        self.wake_parked(now_ms);
    }

    /// One of those that wait for room: whoever finds some left wakes the next, so that a place that
    /// is free does not wake them all.
    fn wake_parked(&mut self, now_ms: u64) {
        if self.pages < MOST_FLYING
            && let Some(parked) = self.parked.pop_first()
        {
            self.queue_groups(now_ms, parked);
        }
    }

    fn queue_groups(&mut self, now_ms: u64, message: MessageId) {
        if let Some(fanout) = self.of.get_mut(&message)
            && !fanout.queued
            && !fanout.groups.is_empty()
        {
            fanout.queued = true;
            self.queue(now_ms, message, Item::Groups);
        }
    }
}

fn group_key(message: MessageId, number: u64) -> Vec<u8> {
    row_key(message, b'G', number)
}

fn page_key(message: MessageId, number: u64) -> Vec<u8> {
    row_key(message, b'P', number)
}

fn row_key(message: MessageId, kind: u8, number: u64) -> Vec<u8> {
    let mut key = message.to_bytes().to_vec();
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn read_key(key: &[u8]) -> Option<(MessageId, u8, u64)> {
    let (id, rest) = key.split_first_chunk::<16>()?;
    let (kind, number) = rest.split_first()?;
    let number: [u8; 8] = number.try_into().ok()?;
    Some((
        MessageId::from_bytes(*id),
        *kind,
        u64::from_be_bytes(number),
    ))
}

impl Server {
    /// What was under way when the server stopped.
    pub(crate) fn load_fanouts(&mut self) -> Result<(), Damaged> {
        let now = self.now.mono_ms;
        for (key, _) in self.all_rows(Table::Fanout, &[], &[u8::MAX; 26])? {
            let Some((message, kind, number)) = read_key(&key) else {
                return Err(Damaged("the key of a page of a list".into()));
            };
            if !self.custodies.contains_key(&message) {
                self.ledger.delete_lazily(Table::Fanout, key);
                continue;
            }
            let fanout = self.fanouts.of.entry(message).or_default();
            fanout.since_ms = now;
            fanout.next = fanout.next.max(number + 1);
            if kind == b'G' {
                fanout.groups.insert(number);
            } else {
                let page = Page {
                    due_ms: now,
                    ..Page::default()
                };
                fanout.pages.insert(number, page);
                self.fanouts.queue(now, message, Item::Page(number));
            }
            self.fanouts.queue_groups(now, message);
        }
        Ok(())
    }

    /// Begins with a group held here, durably with the next commit.
    pub(crate) fn begin_group(
        &mut self,
        message: MessageId,
        pending: &Pending,
        group: &Name,
        incarnation: Incarnation,
        after: Option<String>,
    ) {
        let now = self.now.mono_ms;
        let row = GroupRow {
            group: group.clone(),
            incarnation,
            // RFC 3461 5.2.7.3: what the sender wants to hear of a list is not asked of its members.
            notify: Notify {
                success: false,
                ..pending.notify
            },
            hops: pending.hops,
            after,
        };
        let fanout = self.fanouts.of.entry(message).or_insert_with(|| Fanout {
            since_ms: now,
            ..Fanout::default()
        });
        let number = fanout.next;
        fanout.next += 1;
        fanout.groups.insert(number);
        self.ledger.put(
            Table::Fanout,
            group_key(message, number),
            codec::encode(&row),
        );
        self.fanouts.queue_groups(now, message);
    }

    /// One step with one list. Others' work comes between two steps.
    pub(crate) fn fan_out(&mut self) -> Result<(), Damaged> {
        let now = self.now.mono_ms;
        let Some(first) = self.fanouts.due.first().copied() else {
            return Ok(());
        };
        if first.0 > now {
            return Ok(());
        }
        self.fanouts.due.remove(&first);
        let (due_ms, _, message, item) = first;
        if self.holds.contains(&message) {
            self.hold_lists(message, item);
            return Ok(());
        }
        match item {
            Item::Groups => self.take_page_of_group(message),
            Item::Page(number) => {
                let page = self.fanouts.of.get(&message);
                let page = page.and_then(|fanout| fanout.pages.get(&number));
                if page.is_some_and(|page| page.due_ms == due_ms) {
                    return self.try_page(message, number);
                }
                Ok(())
            }
        }
    }

    /// The next members of the newest group of a message; then the next group, or message, has its turn,
    /// however this one ended.
    fn take_page_of_group(&mut self, message: MessageId) -> Result<(), Damaged> {
        let taken = self.take_members(message);
        let now = self.now.mono_ms;
        // What can't be read waits for somebody to look at it.
        if taken.is_ok() && !self.fanouts.parked.contains(&message) {
            self.fanouts.queue_groups(now, message);
        }
        self.fanouts.wake_parked(now);
        taken
    }

    fn take_members(&mut self, message: MessageId) -> Result<(), Damaged> {
        let full = self.fanouts.pages >= MOST_FLYING;
        let Some(fanout) = self.fanouts.of.get_mut(&message) else {
            return Ok(());
        };
        fanout.queued = false;
        let Some(number) = fanout.groups.last().copied() else {
            return Ok(());
        };
        if full {
            self.fanouts.parked.insert(message);
            return Ok(());
        }
        let since_ms = fanout.since_ms;
        let key = group_key(message, number);
        let Some(bytes) = self.ledger.get(Table::Fanout, &key)? else {
            return Err(Damaged(format!("a list of {message} has no row")));
        };
        let mut row: GroupRow = codec::decode(&bytes)?;
        self.have_list_key(row.group.registry())?;
        let meant = Some(row.incarnation);
        let back = |row: &GroupRow, stage| Pending {
            name: row.group.clone(),
            notify: row.notify,
            original: None,
            hops: row.hops,
            stage,
            meant,
            list: None,
        };
        if self.is_too_old(message, since_ms) {
            let why = "given up before all of the list was reached".to_owned();
            let failed = back(&row, Stage::Failed("4.4.7".into(), why));
            self.end_group(message, number);
            return self.follow_singly(message, &row.page(), vec![failed]);
        }
        let held = self.held(row.group.registry());
        let database = self.database(row.group.registry());
        let Some(database) = database.filter(|_| held == Held::Here) else {
            // Held elsewhere by now: whoever holds it goes on, from the beginning.
            let again = back(&row, Stage::Steer);
            self.end_group(message, number);
            return self.follow_singly(message, &row.page(), vec![again]);
        };
        let entry = database.entry(row.incarnation);
        let Some(entry) = entry.filter(|entry| entry.kind() == EntryKind::Group) else {
            let why = format!("there is no group {} any more", row.group);
            let failed = back(&row, Stage::Failed("5.1.1".into(), why));
            self.end_group(message, number);
            return self.follow_singly(message, &row.page(), vec![failed]);
        };
        let page: Vec<(Member, Option<Incarnation>)> = entry
            .members(GroupList::Members, row.after.as_deref())
            .take(PAGE)
            .map(|(member, listed)| (member, listed.incarnation))
            .collect();
        let last = page.last().map(|(member, _)| member.key());
        let more = page.len() == PAGE;
        let (pages, others) = self.sort_out(&row, page);
        if more {
            row.after = last;
            self.ledger.put(Table::Fanout, key, codec::encode(&row));
        } else {
            self.end_group(message, number);
        }
        // All of them stand before the first is under way: what has landed at once ends nothing.
        let pages = pages.into_iter().map(|(sites, inboxes)| PageRow {
            sites,
            inboxes,
            ..row.page()
        });
        let pages: Vec<(u64, PageRow)> = pages
            .map(|page| (self.new_page(message, &page), page))
            .collect();
        for (number, page) in pages {
            self.fly(message, number, &page)?;
        }
        self.follow_singly(message, &row.page(), others)?;
        self.end_fanout_if_done(message);
        Ok(())
    }

    fn end_group(&mut self, message: MessageId, number: u64) {
        self.ledger
            .delete(Table::Fanout, group_key(message, number));
        if let Some(fanout) = self.fanouts.of.get_mut(&message) {
            fanout.groups.remove(&number);
        }
    }

    /// Members by their inbox sites, and those that need a look of their own.
    #[expect(
        clippy::type_complexity,
        reason = "said once, and taken apart where it is asked for"
    )]
    fn sort_out(
        &self,
        row: &GroupRow,
        page: Vec<(Member, Option<Incarnation>)>,
    ) -> (
        BTreeMap<Vec<ServerName>, Vec<(Incarnation, Name)>>,
        Vec<Pending>,
    ) {
        let mut pages: BTreeMap<Vec<ServerName>, Vec<(Incarnation, Name)>> = BTreeMap::new();
        let mut others = Vec::new();
        for (member, meant) in page {
            let listed = match member {
                Member::Name(listed) => listed,
                // A wildcard opens doors; it is no address.
                Member::Anyone | Member::AnyoneIn(_) => continue,
            };
            let here = self.database(listed.registry());
            let single = |name: Name, is: Option<Incarnation>| {
                let mut single = row.page().single(name);
                if let Some(list) = &mut single.list {
                    list.member = meant;
                }
                single.meant = is;
                single
            };
            let Some(database) = here else {
                // Its holders know who is meant.
                others.push(single(listed, meant));
                continue;
            };
            let Some(meant) = meant else {
                others.extend(
                    self.called_now(&listed, None)
                        .map(|name| single(name, None)),
                );
                continue;
            };
            // Under its present name; a dangling member is somebody else now.
            let Some(entry) = database.standing(meant) else {
                continue;
            };
            let Some(name) = entry.name() else { continue };
            let sites = entry.sites();
            let plain = entry.kind() == EntryKind::Individual
                && !sites.is_empty()
                && entry.forward().is_empty()
                // All mail of its registry goes elsewhere.
                && self.routed_whole(&name).is_none();
            if plain {
                pages.entry(sites).or_default().push((meant, name));
            } else {
                others.push(single(name, None));
            }
        }
        (pages, others)
    }

    /// Writes a page, to be sent off or to wait. Gives its number.
    fn new_page(&mut self, message: MessageId, row: &PageRow) -> u64 {
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

    fn save_page(&mut self, message: MessageId, number: u64, row: &PageRow) {
        self.ledger
            .put(Table::Fanout, page_key(message, number), codec::encode(row));
    }

    /// Follows these one by one, as far as there is room; the others wait in a page.
    fn follow_singly(
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
    fn take_room(&mut self, message: MessageId, mut others: Vec<Pending>) -> Vec<Pending> {
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
    fn try_page(&mut self, message: MessageId, number: u64) -> Result<(), Damaged> {
        let key = page_key(message, number);
        let Some(bytes) = self.ledger.get(Table::Fanout, &key)? else {
            self.land_page(message, number);
            return Ok(());
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
            self.fanouts.one_flies_less(self.now.mono_ms);
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
        // Where the registry is held here it says where they are now.
        let mut moved: BTreeMap<Vec<ServerName>, Vec<(Incarnation, Name)>> = BTreeMap::new();
        let empty = PageRow {
            inboxes: Vec::new(),
            ..row.clone()
        };
        let single = |name| empty.single(name);
        if let Some(database) = self.database(row.group.registry()) {
            let mut stay = Vec::with_capacity(row.inboxes.len());
            for (inbox, name) in row.inboxes.drain(..) {
                if name.registry() != row.group.registry() {
                    stay.push((inbox, name));
                    continue;
                }
                // Who is no more is left out, as one who left the list is.
                let Some(entry) = database.entry(inbox) else {
                    continue;
                };
                let sites = entry.sites();
                if sites.is_empty() || !entry.forward().is_empty() {
                    others.push(single(name));
                } else if sites == row.sites {
                    stay.push((inbox, name));
                } else {
                    moved.entry(sites).or_default().push((inbox, name));
                }
            }
            row.inboxes = stay;
        }
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
    fn fly(&mut self, message: MessageId, number: u64, row: &PageRow) -> Result<(), Damaged> {
        let Some(body) = self.custodies.get(&message).map(|c| c.row.record.body) else {
            return Ok(());
        };
        let copies = INBOX_COPIES.min(row.sites.len());
        let fanout = self.fanouts.of.get_mut(&message);
        let Some(page) = fanout.and_then(|fanout| fanout.pages.get_mut(&number)) else {
            return Ok(());
        };
        page.count = row.inboxes.len() + row.others.len();
        page.copies = copies;
        let attempts = page.attempts;
        page.attempts = attempts.saturating_add(1);
        let here = row.sites.contains(&self.config.server) && !self.disk_nearly_full;
        let up: Vec<&ServerName> = row.sites.iter().filter(|s| self.is_up(s)).collect();
        let turn = attempts as usize % up.len().max(1);
        let there = up.get(turn).map(|site| (*site).clone());
        let mut left: BTreeSet<Incarnation> = row.inboxes.iter().map(|(inbox, _)| *inbox).collect();
        let mut reason = "its copies are being made";
        let stamp = self.list_stamp(&row.group, row.incarnation);
        let (mut full, mut uncopied) = (Vec::new(), Vec::new());
        if here {
            for (inbox, name) in &row.inboxes {
                if self.may_be_forgotten(*inbox, message)? {
                    reason = crate::mailbox::TOO_OLD;
                    continue;
                }
                let list = Some(stamp.copy(Some(*inbox)));
                match self.deposit((*inbox, name, &row.sites), message, body, list)? {
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
                    // What becomes of it then is its registry's policy: not the list's business.
                    Deposited::Full(_) => {
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
            for (inbox, _) in &row.inboxes {
                self.fanouts.flying.insert((*inbox, message), flying);
            }
            let inboxes = row.inboxes.iter().map(|(inbox, name)| DepositFor {
                inbox: *inbox,
                name: name.clone(),
                sites: row.sites.clone(),
                list: Some(stamp.copy(Some(*inbox))),
            });
            let inboxes: Vec<DepositFor> = inboxes.collect();
            self.deposits
                .entry((site, message))
                .or_default()
                .extend(inboxes);
        } else {
            let pause_ms = self.page_pause_ms(attempts);
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
            self.fanouts.pages += 1;
        }
        let patience_ms = self.config.times.second_copy_ms + self.page_pause_ms(attempts);
        self.page_waits(message, number, patience_ms, reason);
        Ok(())
    }

    fn has_copies(&self, inbox: Incarnation, dot: Stamp, needed: usize) -> bool {
        let space = Self::mailbox_space(inbox);
        let copies = self
            .spaces
            .get(&space)
            .map_or(1, |state| state.copies(dot, &self.partners(&space)));
        usize::from(copies) >= needed || self.planted_one_copy
    }

    fn page_pause_ms(&mut self, attempts: u32) -> u64 {
        let times = self.config.times;
        let doubled = times.retry_first_ms.saturating_mul(1 << attempts.min(20));
        let pause = doubled.min(times.retry_most_ms).max(1);
        pause.saturating_add(self.random_below(pause / 4 + 1))
    }

    fn page_waits(&mut self, message: MessageId, number: u64, pause_ms: u64, reason: &str) {
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
        let (attempts, reason) = match outcome {
            DepositOutcome::Stored { copies } if usize::from(*copies) >= page.copies || planted => {
                self.land(inbox, message);
                return true;
            }
            // Asked again when the page is.
            DepositOutcome::Stored { .. } => return true,
            DepositOutcome::NotHere => (
                page.attempts,
                format!("{from} is no inbox site of some of them any more; asking again"),
            ),
            DepositOutcome::Later(why) => (page.attempts, why.clone()),
            DepositOutcome::OverQuota { .. } => {
                self.leave_page(inbox, message, flying.page);
                return true;
            }
        };
        if page.reason != reason {
            let pause_ms = self.page_pause_ms(attempts);
            self.page_waits(message, flying.page, pause_ms, &reason);
        }
        true
    }

    /// Somebody of a page is followed by himself from now on.
    fn leave_page(&mut self, inbox: Incarnation, message: MessageId, number: u64) {
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

    fn land(&mut self, inbox: Incarnation, message: MessageId) {
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
    fn land_page(&mut self, message: MessageId, number: u64) {
        let now = self.now.mono_ms;
        let Some(fanout) = self.fanouts.of.get_mut(&message) else {
            return;
        };
        let Some(page) = fanout.pages.remove(&number) else {
            return;
        };
        if page.left.is_some() {
            self.fanouts.one_flies_less(now);
        }
        // It may come back in a crash: then it is deposited again, which changes nothing.
        self.ledger
            .delete_lazily(Table::Fanout, page_key(message, number));
        self.remember_outcomes(message, page.count as u64);
        self.end_fanout_if_done(message);
    }

    fn end_fanout_if_done(&mut self, message: MessageId) {
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

    fn is_too_old(&self, message: MessageId, since_ms: u64) -> bool {
        let give_up_ms = self.config.times.give_up_ms;
        let tried_ms = self.now.mono_ms.saturating_sub(since_ms);
        self.custodies.get(&message).is_some_and(|custody| {
            let accepted_ms = custody.row.record.accepted_ms;
            self.now.wall_ms.saturating_sub(accepted_ms) > give_up_ms
                && tried_ms > give_up_ms / LEAST_TRIED
        })
    }
}
