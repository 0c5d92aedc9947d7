//! Blocks of numbers: who may give out which, and which ones still count.
//!
//! Numbers (UIDs) are one row for a whole mailbox, cut into blocks. A block is opened by one life of one server's
//! disk, higher than every block that it knows, in a slot of that server's own: so two servers never give one number
//! to two mails, whoever hears whom. Must never let a block be gone on with by another life of a disk, which may not
//! know what the former one gave out.
//!
//! A number is *void* when a higher block was opened by somebody who did not know it: there mail programs may have
//! seen higher numbers already, and it would appear late. Everybody sees that from the cells alone.
//! `blocks_test.rs` searches all that can happen, at small sizes.

use std::collections::BTreeMap;

use grapevine_model::{OriginId, ServerName};

use super::cells::BlockRow;

/// Servers that number in one mailbox, each in every so manyth block: more than a mailbox has sites.
pub(crate) const SLOTS: u32 = 8;
/// Numbers in a block, the first of which is never given out. Each take-over begins a block, and 131,072 rounds of
/// blocks outlast one every five minutes for a year.
pub(crate) const NUMBERS_A_BLOCK: u32 = 1 << 12;
/// Highest block: its numbers are the last ones of 32 bits.
const LAST_BLOCK: u32 = u32::MAX / NUMBERS_A_BLOCK;
/// A life that opens its first block in a mailbox skips up to so many rounds: a former life of the same disk may have
/// opened blocks of which nobody knows, and it would open the same one with this probability at most. 64 lives fit.
pub(crate) const LIFE_ROUNDS: u32 = 2_048;

/// The blocks of a mailbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    known: BTreeMap<u32, BlockRow>,
    /// From where on numbers in a block, counted within it, are void; blocks that are not bounded are not here.
    bounds: BTreeMap<u32, u32>,
    /// Planted mistake: nothing is void.
    late_kept: bool,
}

/// A number taken apart.
pub(crate) fn parts(uid: u32) -> (u32, u32) {
    (uid / NUMBERS_A_BLOCK, uid % NUMBERS_A_BLOCK)
}

impl Blocks {
    /// A block is as it says now. Gives whether other numbers may be void than before.
    pub(crate) fn learn(&mut self, block: u32, row: BlockRow) -> bool {
        if block > LAST_BLOCK {
            return false;
        }
        let before = self.known.insert(block, row);
        let row = self.known.get(&block);
        let same = |old: &BlockRow| row.is_some_and(|r| r.prev == old.prev && r.less == old.less);
        let news = !before.as_ref().is_some_and(same);
        if news {
            self.bound();
        }
        news
    }

    fn bound(&mut self) {
        let mut bounds = BTreeMap::new();
        let mut at_most = |block: u32, bound: u32| {
            let present = bounds.entry(block).or_insert(bound);
            *present = bound.min(*present);
        };
        for (higher, row) in &self.known {
            let from = match row.prev {
                Some((prev, known)) if prev < *higher => {
                    at_most(prev, known);
                    prev.saturating_add(1)
                }
                // What can't be so is taken for "knew nothing".
                Some(_) | None => 0,
            };
            // It knew none between.
            for (block, _) in self.known.range(from..*higher) {
                at_most(*block, 0);
            }
            for (block, known) in &row.less {
                at_most(*block, *known);
            }
        }
        self.bounds = bounds;
    }

    /// Whether a number still counts.
    pub(crate) fn counts(&self, uid: u32) -> bool {
        let (block, number) = parts(uid);
        number > 0
            && self.known.contains_key(&block)
            && (self.late_kept || self.bounds.get(&block).is_none_or(|bound| number < *bound))
    }

    pub(super) fn keep_late(&mut self) {
        self.late_kept = true;
    }

    /// The highest block.
    pub(crate) fn highest(&self) -> Option<(u32, &BlockRow)> {
        let last = self.known.last_key_value();
        last.map(|(block, row)| (*block, row))
    }

    /// Which of a mailbox's sites shows it and numbers in it, as far as one of them knows.
    pub(crate) fn numberer<'a>(
        &'a self,
        sites: &'a [ServerName],
        is_heard: impl Fn(&ServerName) -> bool,
    ) -> Option<&'a ServerName> {
        let owner = self.highest().map(|(_, row)| &row.server);
        let owner = owner.filter(|owner| sites.contains(owner));
        let mut order = owner.into_iter().chain(sites);
        order.find(|site| is_heard(site))
    }

    /// The slot of a site: the one that it has had, or the lowest that nobody has had, where those before it among the
    /// sites come first. None if it is no site, or there are more sites than slots.
    pub(crate) fn slot_of(&self, who: &ServerName, sites: &[ServerName]) -> Option<u32> {
        let mut had: BTreeMap<&ServerName, u32> = BTreeMap::new();
        for (block, row) in &self.known {
            had.insert(&row.server, block % SLOTS);
        }
        if let Some(slot) = had.get(who) {
            return Some(*slot);
        }
        for site in sites {
            if had.contains_key(site) {
                continue;
            }
            let is_free = |slot: &u32| !had.values().any(|other| other == slot);
            // Those who are gone from the sites give theirs up when there is no other.
            let of_others = (had.iter()).find(|(other, _)| !sites.contains(other));
            let slot = (0..SLOTS)
                .find(is_free)
                .or(of_others.map(|(_, slot)| *slot))?;
            if site == who {
                return Some(slot);
            }
            had.insert(site, slot);
        }
        None
    }

    /// The block in which this life may go on numbering, and the next number in it.
    pub(crate) fn own(&self, life: OriginId) -> Option<(u32, u32)> {
        let (block, row) = self.highest()?;
        let has_room = (1..NUMBERS_A_BLOCK).contains(&row.next);
        (row.owner == life && has_room).then_some((block, row.next))
    }

    /// What a server would do that forgets that another life of its disk opened it.
    pub(crate) fn own_of(&self, server: &ServerName) -> Option<(u32, u32)> {
        let (block, row) = self.highest()?;
        (row.server == *server && row.next < NUMBERS_A_BLOCK).then_some((block, row.next))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    /// A new block for a life of a site's disk, above `floor` too, a number that was shown. `known_of` says up to where the numbers of a block are surely
    /// known to it; `draw` gives a random number below another. None when the numbers are used up.
    pub(crate) fn open(
        &self,
        (life, server, slot): (OriginId, &ServerName, u32),
        floor: u32,
        known_of: impl Fn(u32) -> u32,
        draw: impl FnOnce(u32) -> u32,
    ) -> Option<(u32, BlockRow)> {
        let prev = self.highest().map(|(block, _)| (block, known_of(block)));
        let above_floor = if floor > 1 { parts(floor).0 + 1 } else { 0 };
        let above = prev.map_or(0, |(block, _)| block + 1).max(above_floor);
        let mut round = above / SLOTS;
        if round * SLOTS + slot < above {
            round += 1;
        }
        let is_first = !self.known.values().any(|row| row.owner == life);
        if is_first {
            round = round.saturating_add(draw(LIFE_ROUNDS));
        }
        let block = round.checked_mul(SLOTS)?.checked_add(slot)?;
        let less = self
            .known
            .keys()
            .filter(|block| prev.is_some_and(|(prev, _)| **block < prev));
        let less = less.filter_map(|block| {
            let known = known_of(*block);
            let bound = self.bounds.get(block).copied().unwrap_or(NUMBERS_A_BLOCK);
            (known < bound).then_some((*block, known))
        });
        let row = BlockRow {
            owner: life,
            server: server.clone(),
            next: 1,
            prev,
            less: less.collect(),
        };
        (block <= LAST_BLOCK).then_some((block, row))
    }

    /// Up to where numbers of a block were given out, as its owner said.
    pub(crate) fn next_in(&self, block: u32) -> u32 {
        self.known.get(&block).map_or(0, |row| row.next)
    }

    /// The row of a block.
    pub(crate) fn row(&self, block: u32) -> Option<&BlockRow> {
        self.known.get(&block)
    }
}

#[cfg(test)]
#[path = "blocks_test.rs"]
mod search;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn life(of: u64) -> OriginId {
        OriginId(of)
    }

    /// Opens a block and gives out so many numbers in it.
    fn opened(blocks: &mut Blocks, who: (u64, &str), slot: u32, given: u32) -> u32 {
        let known = blocks.clone();
        let (block, row) = blocks
            .open(
                (life(who.0), &server(who.1), slot),
                0,
                |b| known.next_in(b),
                |_| 0,
            )
            .unwrap();
        blocks.learn(
            block,
            BlockRow {
                next: 1 + given,
                ..row
            },
        );
        block
    }

    #[test]
    fn a_new_block_is_in_its_servers_slot_above_all_that_are_known() {
        let mut blocks = Blocks::default();
        assert_eq!(opened(&mut blocks, (1, "a"), 0, 5), 0);
        assert_eq!(opened(&mut blocks, (2, "b"), 1, 5), 1);
        assert_eq!(opened(&mut blocks, (1, "a"), 0, 5), 8);
        assert_eq!(opened(&mut blocks, (1, "a"), 0, 5), 16);
        assert_eq!(opened(&mut blocks, (2, "b"), 1, 5), 17);
        assert!(blocks.counts(3) && blocks.counts(8 * NUMBERS_A_BLOCK + 5));
    }

    #[test]
    fn a_number_that_a_higher_block_did_not_know_is_void() {
        let mut here = Blocks::default();
        opened(&mut here, (1, "a"), 0, 5);
        let mut there = here.clone();
        opened(&mut there, (2, "b"), 1, 3);
        // Meanwhile three more are given out here.
        let row = here.row(0).unwrap().clone();
        here.learn(
            0,
            BlockRow {
                next: 9,
                ..row.clone()
            },
        );
        there.learn(0, BlockRow { next: 9, ..row });
        assert!(there.counts(5) && !there.counts(6) && !there.counts(8));
        assert!(there.counts(NUMBERS_A_BLOCK + 1));
    }

    #[test]
    fn a_block_that_a_higher_one_did_not_know_is_void_and_so_is_what_it_did_not_know() {
        let mut here = Blocks::default();
        opened(&mut here, (1, "a"), 0, 5);
        let mut there = here.clone();
        let unknown = opened(&mut there, (2, "b"), 1, 3);
        let row = here.row(0).unwrap().clone();
        here.learn(0, BlockRow { next: 9, ..row });
        let above = opened(&mut here, (1, "a"), 0, 2);
        assert!(unknown < above);
        here.learn(unknown, there.row(unknown).unwrap().clone());
        assert!(
            !here.counts(unknown * NUMBERS_A_BLOCK + 1),
            "opened without knowing it"
        );
        assert!(
            here.counts(5) && !here.counts(6),
            "seen there beside higher ones"
        );
        assert!(here.counts(above * NUMBERS_A_BLOCK + 2));
    }

    #[test]
    fn no_other_life_goes_on_in_a_block() {
        let mut blocks = Blocks::default();
        opened(&mut blocks, (1, "a"), 0, 5);
        assert_eq!(blocks.own(life(1)), Some((0, 6)));
        assert_eq!(blocks.own(life(9)), None, "the same server, another disk");
    }

    #[test]
    fn slots_stay_with_those_who_have_them_and_are_no_one_elses() {
        let mut blocks = Blocks::default();
        let (a, b, c) = (server("a"), server("b"), server("c"));
        let first = [a.clone(), b.clone()];
        assert_eq!(blocks.slot_of(&b, &first), Some(1));
        opened(&mut blocks, (1, "a"), 0, 1);
        let moved = [b.clone(), c.clone()];
        assert_eq!(
            blocks.slot_of(&b, &moved),
            Some(1),
            "not that of the first site"
        );
        assert_eq!(blocks.slot_of(&c, &moved), Some(2));
        assert_eq!(blocks.slot_of(&server("d"), &moved), None);
    }

    #[test]
    fn numbers_that_are_used_up_are_said_to_be() {
        let mut blocks = Blocks::default();
        let row = BlockRow {
            owner: life(1),
            server: server("a"),
            next: NUMBERS_A_BLOCK,
            prev: None,
            less: Vec::new(),
        };
        blocks.learn(LAST_BLOCK - 7, row);
        let (a, known) = (server("a"), |_| 1);
        assert!(blocks.open((life(1), &a, 7), 0, known, |_| 0).is_some());
        assert!(blocks.open((life(1), &a, 0), 0, known, |_| 0).is_none());
    }
}
