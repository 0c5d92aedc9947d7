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
mod pages;

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    EntryKind, GroupList, Incarnation, Member, MessageId, Name, Notify, ServerName, Stamp,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::delivery::custody::{OfList, Pending, Stage};
use crate::delivery::steer::MOST_HOPS;
use crate::registry::directory::Held;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Members taken from a group in one turn: some milliseconds, which is what a new message may have
/// to wait for.
const PAGE: usize = 256;
/// Pages under way at once, over all messages: enough to hide the way to another server and its disk. It is how much may stand
/// before others' mail: at this server's disk, whose commits are one queue, and among the other's inputs.
const MOST_FLYING: usize = 4;
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
    /// Of these, those since something has changed: the pauses grow with them.
    in_vain: u32,
    due_ms: u64,
    reason: String,
    /// Who of it still lacks a copy, while it is under way.
    left: Option<BTreeSet<Incarnation>>,
    /// Whether it is one of those under way that others wait for.
    in_place: bool,
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
    /// Pages under way that can be expected to land: what waits for a site that is away keeps no place from others.
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

    /// A page is under way no more: there is room for another one, if it had a place.
    fn leave_place(&mut self, in_place: bool, now_ms: u64) {
        if in_place {
            self.pages = self.pages.saturating_sub(1);
            self.wake_parked(now_ms);
        }
    }

    /// One of those that wait for room: whoever finds some left wakes the next, so that a place that
    /// is free does not wake them all.
    fn wake_parked(&mut self, now_ms: u64) {
        while self.pages < MOST_FLYING
            && let Some(parked) = self.parked.pop_first()
        {
            // Whoever has nothing more to take must not keep the place from the next.
            if self.queue_groups(now_ms, parked) {
                return;
            }
        }
    }

    /// Whether there is something to take, and its turn comes.
    fn queue_groups(&mut self, now_ms: u64, message: MessageId) -> bool {
        let Some(fanout) = self.of.get_mut(&message) else {
            return false;
        };
        let has_turn = !fanout.queued && !fanout.groups.is_empty();
        if has_turn {
            fanout.queued = true;
            self.queue(now_ms, message, Item::Groups);
        }
        has_turn
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
            self.fanouts.wake_parked(now);
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
        let full = self.fanouts.pages >= MOST_FLYING && !self.planted_one_queue;
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
            self.unpass_group(message, row.incarnation);
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
        let page = (page.into_iter())
            .filter(|(member, meant)| meant.is_some() || !entry.is_suspended(&member.key()))
            .collect();
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
}
