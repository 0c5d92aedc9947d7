//! The numberer: the site that shows a mailbox to mail programs, and gives its mails their numbers.
//!
//! It is the owner of the highest block, while it is a site and is heard; else the first site that is heard. Nothing is
//! numbered before somebody looks: a mailbox that no mail program opens has no cell more. While it is in memory, what
//! arrives is numbered at the end of the turn, in the commit of what arrived. Must never number from a mailbox that is
//! not whole here, and never below what it has shown.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Cell, CellKey, Field, FolderId, Hlc, Incarnation, MAX_MAILS_AN_ASK, Mark, MessageId,
    ServerName, SpaceId,
};

use super::blocks::{Blocks, NUMBERS_A_BLOCK, SLOTS, parts};
use super::cells::{self, BlockRow};
use super::view::{Arrivals, View};
use crate::codec;
use crate::registry::directory::Memo;
use crate::registry::request::Job;
use crate::replication::push::Change;
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

/// Mails numbered in one turn: some ten milliseconds, and more than one request can bring. Whoever opens a mailbox that has more waits, and nobody else does.
const NUMBERED_A_TURN: usize = 2 * MAX_MAILS_AN_ASK;
/// Requests that wait for numbers, of all mailboxes: a mail program has one, and opens again when it is told to come later.
const MOST_WAITING: usize = 1_000;
/// Left-over cells of dead mails removed in one go.
const TIDIED_A_TURN: usize = 1_000;
/// A view that nobody has asked for so long goes out of memory: mail programs come back every half an hour.
const UNUSED_MS: u64 = 35 * 60_000;
/// Mails of all views in memory: some hundred MiB. Above it the one that was asked for longest ago goes.
const MOST_IN_MEMORY: usize = 1_000_000;
/// Rounds of settling and writing in one turn: each writes what the one before has shown to be needed.
const MOST_ROUNDS: usize = 8;

/// Whether a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It is evaluated again.
    Yes,
    /// It is not, and nobody keeps it.
    TooMany,
}

/// The mailboxes that mail programs look at here.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    pub(super) views: BTreeMap<Incarnation, View>,
    touched: BTreeSet<Incarnation>,
    /// The greatest moment given out here, for whatever view.
    last_mark: u64,
    /// Numbers that were void, so that their mails got others.
    pub(crate) reissued: u64,
    pub(super) watched: super::watched::Watched,
    /// Mailboxes that are numbered over several turns, and who waits for that.
    numbering: BTreeMap<Incarnation, Vec<(Job, Memo)>>,
    /// Of them, those that have had their part of this turn.
    until_next_turn: BTreeSet<Incarnation>,
}

impl Mailboxes {
    /// A cell of a mailbox is now as it says.
    pub(super) fn learn(&mut self, inbox: Incarnation, key: &CellKey, new: &Cell) {
        if let Some(view) = self.views.get_mut(&inbox) {
            view.learn(key, new);
            self.touched.insert(inbox);
        }
        self.watched.changes(inbox);
    }

    /// A mailbox is here no more.
    pub(crate) fn forget(&mut self, inbox: Incarnation) {
        self.views.remove(&inbox);
        self.touched.remove(&inbox);
    }

    /// Whether a mailbox is being numbered: what is shown of it is the beginning.
    pub(super) fn is_numbering(&self, inbox: Incarnation) -> bool {
        self.numbering.contains_key(&inbox)
    }

    /// Evaluates a request again when a mailbox is numbered, unless too many wait.
    pub(super) fn wait_for_numbers(&mut self, inbox: Incarnation, job: Job, memo: Memo) -> Waits {
        let all: usize = self.numbering.values().map(Vec::len).sum();
        match self.numbering.get_mut(&inbox) {
            Some(waiting) if all < MOST_WAITING => {
                waiting.push((job, memo));
                Waits::Yes
            }
            Some(_) | None => Waits::TooMany,
        }
    }
}

impl Server {
    /// Reads a mailbox into memory, if it is not there.
    pub(super) fn load_view(&mut self, inbox: Incarnation) -> Result<(), Damaged> {
        let used_ms = self.now.mono_ms;
        if let Some(view) = self.mailboxes.views.get_mut(&inbox) {
            view.used_ms = used_ms;
            return Ok(());
        }
        let space = Self::mailbox_space(inbox);
        let prefix = codec::space_prefix(&space);
        let mut view = View::default();
        if self.mistakes.late_numbers_kept {
            view.blocks.keep_late();
        }
        let mut damaged = Vec::new();
        self.each_row(
            Table::Cells,
            &prefix,
            &codec::after_prefix(&prefix),
            |key, value| {
                let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                match codec::decode::<Cell>(&value) {
                    Ok(cell) => view.learn(&key, &cell),
                    Err(_) => damaged.push(key),
                }
                Ok(())
            },
        )?;
        if !damaged.is_empty()
            && let Some(state) = self.spaces.get_mut(&space)
        {
            // Another site may have them, and is asked.
            state.damaged.extend(damaged);
            self.compare_soon(&space);
        }
        let mark = self.next_mark(self.slot_in(inbox, &view.blocks));
        view.load(mark);
        view.used_ms = used_ms;
        self.mailboxes.views.insert(inbox, view);
        self.bound_views(inbox);
        Ok(())
    }

    /// Takes views out of memory that are too many, or that nobody asks for any more.
    fn bound_views(&mut self, but: Incarnation) {
        loop {
            let views = &self.mailboxes.views;
            let all: usize = views.values().map(View::weight).sum();
            let others = views.iter().filter(|(inbox, _)| **inbox != but);
            let oldest = others
                .min_by_key(|(_, view)| view.used_ms)
                .map(|(inbox, _)| *inbox);
            match oldest {
                Some(oldest) if all > MOST_IN_MEMORY => self.mailboxes.forget(oldest),
                Some(_) | None => return,
            }
        }
    }

    /// Once in a while: views that nobody has asked for go out of memory.
    pub(crate) fn forget_unused_views(&mut self) {
        let now_ms = self.now.mono_ms;
        let is_used = |view: &View| now_ms.saturating_sub(view.used_ms) < UNUSED_MS;
        self.mailboxes.views.retain(|_, view| is_used(view));
        self.mailboxes.watched.forget(now_ms);
    }

    /// A moment after all that this server has ever given out, the slot in its last three bits.
    fn next_mark(&mut self, slot: u32) -> Mark {
        let now = self.tick(Hlc(0)).wall_ms().saturating_mul(u64::from(SLOTS));
        let after = (self.mailboxes.last_mark / u64::from(SLOTS) + 1) * u64::from(SLOTS);
        self.mailboxes.last_mark = now.max(after);
        Mark(self.mailboxes.last_mark + u64::from(slot % SLOTS))
    }

    fn slot_in(&self, inbox: Incarnation, blocks: &Blocks) -> u32 {
        let state = self.spaces.get(&Self::mailbox_space(inbox));
        let sites = state.map(|state| state.row.sites.as_slice());
        let slot = blocks.slot_of(&self.config.server, sites.unwrap_or_default());
        slot.unwrap_or(SLOTS - 1)
    }

    /// The blocks of a mailbox here, without all the rest of it.
    fn blocks_of(&self, space: &SpaceId) -> Result<Blocks, Damaged> {
        let mut blocks = Blocks::default();
        let mut from = codec::cell_key(space, &cells::block_key(0));
        let until = codec::cell_key(space, &cells::block_key(u32::MAX));
        from.truncate(from.len().saturating_sub(4));
        let prefix = codec::space_prefix(space).len();
        self.each_row(Table::Cells, &from, &until, |key, value| {
            let key = codec::read_cell_key(key.get(prefix..).unwrap_or_default())?;
            let cell = codec::decode::<Cell>(&value)?;
            let row = cell.value.map(|value| codec::decode::<BlockRow>(&value));
            if let (Ok(block), Some(Ok(row))) = (cells::block_of(&key), row)
                && key.field == Field::UidBlock.number()
            {
                blocks.learn(block, row);
            }
            Ok(())
        })?;
        Ok(blocks)
    }

    /// Which site shows a mailbox, as far as this one knows.
    pub(super) fn numberer(
        &self,
        inbox: Incarnation,
        sites: &[ServerName],
    ) -> Result<Option<ServerName>, Damaged> {
        let is_heard = |site: &ServerName| *site == self.config.server || self.is_up(site);
        if let Some(view) = self.mailboxes.views.get(&inbox) {
            return Ok(view.blocks.numberer(sites, is_heard).cloned());
        }
        let blocks = self.blocks_of(&Self::mailbox_space(inbox))?;
        Ok(blocks.numberer(sites, is_heard).cloned())
    }

    /// Whether this server may write numbers in a mailbox now.
    fn numbers_in(&self, inbox: Incarnation) -> Result<bool, Damaged> {
        let Some(state) = self.spaces.get(&Self::mailbox_space(inbox)) else {
            return Ok(false);
        };
        let me = &self.config.server;
        let may = state.is_whole() && state.row.sites.contains(me) && !self.retired;
        Ok(may && self.numberer(inbox, &state.row.sites)?.as_ref() == Some(me))
    }

    /// At the end of a turn: what has come into mailboxes that are in memory is shown and numbered.
    pub(crate) fn tend_views(&mut self) {
        let next_turn = std::mem::take(&mut self.mailboxes.until_next_turn);
        for inbox in std::mem::take(&mut self.mailboxes.touched) {
            if next_turn.contains(&inbox) {
                self.mailboxes.touched.insert(inbox);
                continue;
            }
            if let Err(damaged) = self.tend_view(inbox) {
                self.damaged(damaged);
            }
        }
        self.mailboxes.until_next_turn.clear();
        // Whoever waits for a mailbox that went out of memory meanwhile opens it again.
        let (touched, views) = (&self.mailboxes.touched, &self.mailboxes.views);
        let goes_on = |inbox: &Incarnation| touched.contains(inbox) && views.contains_key(inbox);
        let all = std::mem::take(&mut self.mailboxes.numbering);
        let (on, done): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(inbox, _)| goes_on(inbox));
        self.mailboxes.numbering = on;
        self.runnable.extend(done.into_values().flatten());
        self.tell_watchers();
    }

    /// Shows what has come into a mailbox, and numbers it if that is this server's part.
    pub(super) fn tend_view(&mut self, inbox: Incarnation) -> Result<(), Damaged> {
        self.mailboxes.touched.remove(&inbox);
        for _ in 0..MOST_ROUNDS {
            let Some(view) = self.mailboxes.views.get(&inbox) else {
                return Ok(());
            };
            if view.is_touched() {
                let mark = self.next_mark(self.slot_in(inbox, &view.blocks));
                let arrivals = match self.mistakes.late_numbers_kept {
                    true => Arrivals::Anywhere,
                    false => Arrivals::AtTheEnd,
                };
                if let Some(view) = self.mailboxes.views.get_mut(&inbox) {
                    view.settle(mark, arrivals);
                }
            }
            if !self.numbers_in(inbox)? {
                break;
            }
            let changes = self.needed(inbox)?;
            if changes.is_empty() {
                break;
            }
            let much = changes.len() >= NUMBERED_A_TURN;
            let dot = self.write(&Self::mailbox_space(inbox), changes)?;
            if let Some(view) = self.mailboxes.views.get_mut(&inbox) {
                view.numbered = dot.or(view.numbered);
            }
            if much {
                // The rest is for the next turn, which comes at once.
                self.mailboxes.touched.insert(inbox);
                self.mailboxes.numbering.entry(inbox).or_default();
                self.mailboxes.until_next_turn.insert(inbox);
                self.timer(0, Timer::Watched);
                return Ok(());
            }
        }
        if self
            .mailboxes
            .views
            .get(&inbox)
            .is_some_and(|view| !view.is_touched())
        {
            self.mailboxes.touched.remove(&inbox);
        }
        Ok(())
    }

    /// What the numberer has to write of a mailbox.
    fn needed(&mut self, inbox: Incarnation) -> Result<Vec<Change>, Damaged> {
        let mut changes = Vec::new();
        let Some(view) = self.mailboxes.views.get(&inbox) else {
            return Ok(changes);
        };
        for (folder, row) in view.folders.unsaid() {
            changes.push(Change::put(cells::folder_key(folder), codec::encode(&row)));
        }
        for folder in view.folders.nameless() {
            changes.push(Change::delete(cells::folder_name_key(folder)));
        }
        for (folder, next) in view.unwitnessed() {
            let key = cells::uid_next_key(folder, &self.config.server);
            changes.push(Change::put(key, codec::encode(&next)));
        }
        for message in view.left_over.iter().take(TIDIED_A_TURN) {
            if let Some(mail) = view.mails.get(message) {
                changes.extend(other_cells(*message, mail));
            }
        }
        self.number(inbox, &mut changes)?;
        Ok(changes)
    }

    /// Gives numbers to the mails that have none, in the order of their ids, as those who sent them were.
    fn number(&mut self, inbox: Incarnation, changes: &mut Vec<Change>) -> Result<(), Damaged> {
        let Some(view) = self.mailboxes.views.get(&inbox) else {
            return Ok(());
        };
        let mut waiting: Vec<(MessageId, FolderId)> = Vec::new();
        // A number whose block has not come was shown all the same.
        let (mut reissued, mut floor) = (0, view.above_all);
        for message in view.unnumbered.iter().take(NUMBERED_A_TURN) {
            let Some(folder) = view.folder_of(*message) else {
                continue;
            };
            let had = view.mails.get(message).and_then(|mail| mail.uid);
            reissued += u64::from(had.is_some_and(|(of, _)| of == folder));
            // Where a cell says that higher ones were shown, it goes on above them.
            floor = view
                .shown
                .get(&folder)
                .map_or(floor, |shown| shown.next.max(floor));
            waiting.push((*message, folder));
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let mut blocks = view.blocks.clone();
        let mut opened: BTreeMap<u32, BlockRow> = BTreeMap::new();
        let mut numbered = Vec::new();
        for (message, folder) in waiting {
            let Some((block, next)) = self.next_number(inbox, floor, &mut blocks, &mut opened)?
            else {
                self.alarm(format!(
                    "the numbers of mailbox {inbox} are used up: its new mails are not shown by IMAP"
                ));
                break;
            };
            let uid = block * NUMBERS_A_BLOCK + next;
            numbered.push((message, (folder, uid)));
        }
        self.mailboxes.reissued = self.mailboxes.reissued.saturating_add(reissued);
        // The numbers before their block's word about them: who has that has all of them.
        for (message, row) in numbered {
            changes.push(Change::put(cells::uid_key(message), codec::encode(&row)));
        }
        for (block, row) in opened {
            changes.push(Change::put(cells::block_key(block), codec::encode(&row)));
        }
        Ok(())
    }

    /// The next number, as its block and place; the block's row is changed in both.
    fn next_number(
        &mut self,
        inbox: Incarnation,
        floor: u32,
        blocks: &mut Blocks,
        changed: &mut BTreeMap<u32, BlockRow>,
    ) -> Result<Option<(u32, u32)>, Damaged> {
        let life = self.clock.origin();
        let own = match self.mistakes.block_reused {
            true => blocks.own_of(&self.config.server),
            false => blocks.own(life),
        };
        let own = own.filter(|(block, next)| block * NUMBERS_A_BLOCK + next >= floor);
        let (block, row) =
            match own.and_then(|(block, _)| Some((block, blocks.row(block)?.clone()))) {
                Some(own) => own,
                None => {
                    let Some(opened) = self.open_block(inbox, floor, blocks)? else {
                        return Ok(None);
                    };
                    opened
                }
            };
        let number = row.next;
        let row = BlockRow {
            next: number + 1,
            ..row
        };
        blocks.learn(block, row.clone());
        changed.insert(block, row);
        Ok(Some((block, number)))
    }

    fn open_block(
        &mut self,
        inbox: Incarnation,
        floor: u32,
        blocks: &Blocks,
    ) -> Result<Option<(u32, BlockRow)>, Damaged> {
        let space = Self::mailbox_space(inbox);
        let state = self.spaces.get(&space);
        let sites = state
            .map(|state| state.row.sites.clone())
            .unwrap_or_default();
        let Some(slot) = blocks.slot_of(&self.config.server, &sites) else {
            return Ok(None);
        };
        let known = self.known_numbers(inbox, blocks)?;
        let draw = self.random_below(u64::from(super::blocks::LIFE_ROUNDS));
        let me = (self.clock.origin(), &self.config.server, slot);
        let opened = blocks.open(
            me,
            floor,
            |block| known.get(&block).copied().unwrap_or(0),
            |limit| (draw % u64::from(limit.max(1))) as u32,
        );
        Ok(opened)
    }

    /// Up to where the numbers of each block are here for sure: all that its owner wrote up to its last word about it,
    /// or what is there itself while that is still on its way.
    fn known_numbers(
        &self,
        inbox: Incarnation,
        blocks: &Blocks,
    ) -> Result<BTreeMap<u32, u32>, Damaged> {
        let space = Self::mailbox_space(inbox);
        let mut known: BTreeMap<u32, u32> = BTreeMap::new();
        let Some(state) = self.spaces.get(&space) else {
            return Ok(known);
        };
        let mut uncovered = BTreeSet::new();
        for block in blocks.all() {
            let cell = self.cell(&space, &cells::block_key(block))?;
            let here = cell.is_none_or(|cell| state.row.vector.covers(cell.dot));
            match here {
                true => {
                    known.insert(block, blocks.next_in(block));
                }
                false => {
                    uncovered.insert(block);
                }
            }
        }
        if uncovered.is_empty() {
            return Ok(known);
        }
        let Some(view) = self.mailboxes.views.get(&inbox) else {
            return Ok(known);
        };
        for (message, mail) in &view.mails {
            let Some((_, uid)) = mail.uid else { continue };
            let (block, number) = parts(uid);
            if !uncovered.contains(&block) {
                continue;
            }
            let cell = self.cell(&space, &cells::uid_key(*message))?;
            if cell.is_some_and(|cell| state.row.vector.covers(cell.dot)) {
                let up_to = known.entry(block).or_default();
                *up_to = (number + 1).max(*up_to);
            }
        }
        Ok(known)
    }
}

/// What goes with a mail that is no more.
pub(super) fn other_cells(message: MessageId, mail: &super::view::Mail) -> Vec<Change> {
    let mut changes = Vec::new();
    if mail.placed.is_some() {
        changes.push(Change::delete(cells::placed_key(message)));
    }
    if mail.uid.is_some() {
        changes.push(Change::delete(cells::uid_key(message)));
    }
    let flags = mail.flags.keys();
    changes.extend(flags.map(|folded| Change::delete(cells::flag_key(message, folded))));
    changes
}
