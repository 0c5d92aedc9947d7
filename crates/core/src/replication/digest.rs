//! What is compared of a cell, and where it stands in the comparison.
//!
//! The one place that says which cells take part: the living. A tombstone may be forgotten at one
//! holder before the other, so it is no part of any digest; it comes to light, and wins, where a
//! living cell stands against it (a member that was removed does not come back). What lives is
//! therefore equal at two holders exactly when their digests are (64 bits).

use std::collections::BTreeMap;

use grapevine_model::{COMPARE_LEVEL_BITS, COMPARE_LEVELS, Cell, CellKey};

use crate::codec;

/// Cells in a leaf, about, by which the depth of a comparison is chosen: few enough that naming
/// them all costs less than a level more.
const LEAF_CELLS: u64 = 16;

/// Children of a node.
pub(crate) const CHILDREN: usize = 1 << COMPARE_LEVEL_BITS;

/// Whether a cell takes part in digests.
pub(crate) fn compared(cell: &Cell) -> bool {
    cell.value.is_some()
}

/// Where a cell stands: its places are spread evenly whatever the keys are.
pub(crate) fn place_of(key: &CellKey) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&codec::bare_cell_key(key));
    first_bits(&hasher)
}

/// A cell's part in a digest: of key, stamp and value; nothing for one that takes no part.
pub(crate) fn digest_of(key: &CellKey, cell: &Cell) -> u64 {
    let Some(value) = cell.value.as_ref().filter(|_| compared(cell)) else {
        return 0;
    };
    let key = codec::bare_cell_key(key);
    let mut hasher = blake3::Hasher::new();
    // Lengths first: no two cells read as the same bytes.
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(&key);
    hasher.update(&cell.stamp.time.0.to_be_bytes());
    hasher.update(&cell.stamp.origin.0.to_be_bytes());
    hasher.update(value);
    first_bits(&hasher)
}

fn first_bits(hasher: &blake3::Hasher) -> u64 {
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

/// How deep a comparison of so many cells goes.
pub(crate) fn levels_for(cells: u64) -> u8 {
    (1..COMPARE_LEVELS)
        .find(|levels| LEAF_CELLS << (levels * COMPARE_LEVEL_BITS) >= cells)
        .unwrap_or(COMPARE_LEVELS)
}

/// The node of a level in which a place is.
pub(crate) fn node_of(place: u64, level: u8) -> u32 {
    let bits = u32::from(level.min(COMPARE_LEVELS)) * u32::from(COMPARE_LEVEL_BITS);
    place.checked_shr(u64::BITS - bits).unwrap_or(0) as u32
}

/// Leaves that are not empty, from which on they are kept in one row: half a MiB.
const MANY_LEAVES: usize = 16_384;

/// The digests of all leaves of a copy at the greatest depth, of which those of a lesser depth are made.
///
/// A registry keeps them up with each change, so that a comparison goes down at once to what differs;
/// of a mailbox they are counted when it is compared.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    cells: u64,
    whole: u64,
    finest: Finest,
}

/// By the leaf's node; what is empty is zero.
#[derive(Debug)]
enum Finest {
    Few(BTreeMap<u32, u64>),
    Many(Box<[u64]>),
}

impl Default for Finest {
    fn default() -> Self {
        Self::Few(BTreeMap::new())
    }
}

impl Leaves {
    /// How many cells are counted.
    pub(crate) fn cells(&self) -> u64 {
        self.cells
    }

    /// XOR over all.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// One cell more, if it takes part.
    pub(crate) fn put(&mut self, key: &CellKey, cell: &Cell) {
        if compared(cell) {
            self.put_digest(place_of(key), digest_of(key, cell));
        }
    }

    /// The same, of a cell whose place and digest are known.
    pub(crate) fn put_digest(&mut self, place: u64, digest: u64) {
        self.cells = self.cells.saturating_add(1);
        self.turn(place, digest);
    }

    /// One cell fewer, if it took part.
    pub(crate) fn take(&mut self, key: &CellKey, cell: &Cell) {
        if compared(cell) {
            self.take_digest(place_of(key), digest_of(key, cell));
        }
    }

    /// The same, of a cell whose place and digest are known.
    pub(crate) fn take_digest(&mut self, place: u64, digest: u64) {
        self.cells = self.cells.saturating_sub(1);
        self.turn(place, digest);
    }

    fn turn(&mut self, place: u64, digest: u64) {
        self.whole ^= digest;
        let leaf = node_of(place, COMPARE_LEVELS);
        match &mut self.finest {
            Finest::Few(few) => {
                let kept = few.entry(leaf).or_default();
                *kept ^= digest;
                if *kept == 0 {
                    few.remove(&leaf);
                }
                if few.len() >= MANY_LEAVES {
                    let mut many = vec![0; 1 << (COMPARE_LEVELS * COMPARE_LEVEL_BITS)];
                    for (leaf, digest) in few {
                        if let Some(kept) = many.get_mut(*leaf as usize) {
                            *kept = *digest;
                        }
                    }
                    self.finest = Finest::Many(many.into());
                }
            }
            Finest::Many(many) => {
                if let Some(kept) = many.get_mut(leaf as usize) {
                    *kept ^= digest;
                }
            }
        }
    }

    /// The digests of the children of a node in a comparison so deep; none for a node that is not there.
    pub(crate) fn children(&self, levels: u8, level: u8, node: u32) -> Option<[u64; CHILDREN]> {
        if level >= levels || levels > COMPARE_LEVELS || node >> (level * COMPARE_LEVEL_BITS) != 0 {
            return None;
        }
        // Leaves below each child.
        let each = 1u32 << ((COMPARE_LEVELS - level - 1) * COMPARE_LEVEL_BITS);
        let first = node * each * CHILDREN as u32;
        let mut children = [0; CHILDREN];
        match &self.finest {
            Finest::Few(few) => {
                for (leaf, digest) in few.range(first..=first + (each * CHILDREN as u32 - 1)) {
                    if let Some(child) = children.get_mut(((leaf - first) / each) as usize) {
                        *child ^= digest;
                    }
                }
            }
            Finest::Many(many) => {
                let part = many.get(first as usize..)?;
                for (child, leaves) in children.iter_mut().zip(part.chunks(each as usize)) {
                    *child = leaves.iter().fold(0, |all, digest| all ^ digest);
                }
            }
        }
        Some(children)
    }

    /// The leaves that are not empty.
    #[cfg(test)]
    pub(crate) fn all(&self) -> BTreeMap<u32, u64> {
        match &self.finest {
            Finest::Few(few) => few.clone(),
            Finest::Many(many) => (0u32..)
                .zip(many.iter().copied())
                .filter(|(_, digest)| *digest != 0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_model::{Hlc, OriginId, Stamp};

    use super::*;

    fn cell(number: u8, time: u64, value: Option<u8>) -> (CellKey, Cell) {
        let key = CellKey {
            item: u128::from(number),
            field: 8,
            element: vec![number],
        };
        let stamp = Stamp {
            time: Hlc(time),
            origin: OriginId(1),
        };
        let value = value.map(|v| vec![v]);
        (
            key,
            Cell {
                stamp,
                dot: stamp,
                value,
            },
        )
    }

    #[test]
    fn a_digest_sees_key_stamp_and_value_and_no_tombstone() {
        let (key, seen) = cell(1, 1, Some(1));
        for (other_key, other) in [
            cell(2, 1, Some(1)),
            cell(1, 2, Some(1)),
            cell(1, 1, Some(2)),
        ] {
            assert_ne!(digest_of(&key, &seen), digest_of(&other_key, &other));
        }
        let (key, dead) = cell(1, 1, None);
        assert_eq!(digest_of(&key, &dead), 0);
    }

    fn xor(part: [u64; CHILDREN]) -> u64 {
        part.iter().fold(0, |all, digest| all ^ digest)
    }

    #[test]
    fn the_children_of_a_node_make_up_its_digest_at_every_level() {
        for levels in 1..=COMPARE_LEVELS {
            let mut leaves = Leaves::default();
            for number in 0..200 {
                let (key, cell) = cell(number, 5, Some(number));
                leaves.put(&key, &cell);
            }
            assert_eq!(leaves.children(levels, 0, 0).map(xor), Some(leaves.whole()));
            for level in 1..levels {
                let parents = 1u32 << ((level - 1) * COMPARE_LEVEL_BITS);
                for parent in 0..parents {
                    let children = leaves.children(levels, level - 1, parent).unwrap();
                    for (number, digest) in (0u32..).zip(children) {
                        let node = parent * CHILDREN as u32 + number;
                        assert_eq!(leaves.children(levels, level, node).map(xor), Some(digest));
                    }
                }
            }
            assert_eq!(leaves.children(levels, levels, 0), None);
            assert_eq!(leaves.children(levels, 0, 1), None);
        }
        assert_eq!(Leaves::default().children(COMPARE_LEVELS + 1, 0, 0), None);
        assert_eq!(Leaves::default().children(4, 3, u32::MAX), None);
    }

    #[test]
    fn many_leaves_say_what_few_said_and_what_is_taken_leaves_nothing() {
        let mut leaves = Leaves::default();
        let (key, other) = cell(1, 1, Some(1));
        leaves.put(&key, &other);
        let few = leaves.children(4, 0, 0);
        // Each in a leaf of its own.
        let bits = u64::BITS - 16;
        for leaf in 0..MANY_LEAVES as u64 {
            leaves.put_digest(leaf << bits, leaf | 1 << 40);
        }
        assert!(matches!(leaves.finest, Finest::Many(_)));
        assert_eq!(leaves.children(4, 0, 0).map(xor), Some(leaves.whole()));
        for leaf in 0..MANY_LEAVES as u64 {
            leaves.turn(leaf << bits, leaf | 1 << 40);
        }
        assert_eq!(leaves.children(4, 0, 0), few);
        leaves.take(&key, &other);
        assert_eq!((leaves.whole(), leaves.all().len()), (0, 0));
    }

    #[test]
    fn a_million_cells_go_as_deep_as_it_goes_and_few_stay_shallow() {
        assert_eq!(levels_for(0), 1);
        assert_eq!(levels_for(256), 1);
        assert_eq!(levels_for(257), 2);
        assert_eq!(levels_for(1_000_000), 4);
        assert_eq!(levels_for(u64::MAX), 4);
    }
}
