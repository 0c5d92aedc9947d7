//! What is compared of a cell, and where it stands in the comparison.
//!
//! The one place that says which cells take part: the living. A tombstone may be forgotten at one
//! holder before the other, so it is no part of any digest; it comes to light, and wins, where a
//! living cell stands against it (a member that was removed does not come back). What lives is
//! therefore equal at two holders exactly when their digests are (64 bits).

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

/// The digests of all leaves of a copy, at the depth of one comparison.
#[derive(Debug)]
pub(crate) struct Leaves {
    levels: u8,
    digests: Vec<u64>,
    pub(crate) cells: u64,
}

impl Leaves {
    pub(crate) fn new(levels: u8) -> Self {
        let levels = levels.clamp(1, COMPARE_LEVELS);
        Self {
            levels,
            digests: vec![0; 1 << (levels * COMPARE_LEVEL_BITS)],
            cells: 0,
        }
    }

    pub(crate) fn count(&mut self, key: &CellKey, cell: &Cell) {
        if compared(cell) {
            self.cells += 1;
            let leaf = node_of(place_of(key), self.levels) as usize;
            if let Some(digest) = self.digests.get_mut(leaf) {
                *digest ^= digest_of(key, cell);
            }
        }
    }

    /// XOR over all.
    pub(crate) fn whole(&self) -> u64 {
        self.digests.iter().fold(0, |all, digest| all ^ digest)
    }

    /// The digests of the children of a node; none for a node that is not there.
    pub(crate) fn children(&self, level: u8, node: u32) -> Option<[u64; CHILDREN]> {
        let below = self.levels.checked_sub(level)?.checked_sub(1)?;
        let each = 1usize << (below * COMPARE_LEVEL_BITS);
        let first = (node as usize).checked_mul(each * CHILDREN)?;
        let part = self
            .digests
            .get(first..first.checked_add(each * CHILDREN)?)?;
        let mut children = [0; CHILDREN];
        for (child, leaves) in children.iter_mut().zip(part.chunks(each)) {
            *child = leaves.iter().fold(0, |all, digest| all ^ digest);
        }
        Some(children)
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

    #[test]
    fn the_children_of_a_node_make_up_its_digest_at_every_level() {
        for levels in 1..=COMPARE_LEVELS {
            let mut leaves = Leaves::new(levels);
            for number in 0..200 {
                let (key, cell) = cell(number, 5, Some(number));
                leaves.count(&key, &cell);
            }
            let xor = |part: [u64; CHILDREN]| part.iter().fold(0, |all, digest| all ^ digest);
            assert_eq!(leaves.children(0, 0).map(xor), Some(leaves.whole()));
            for level in 1..levels {
                let parents = 1u32 << ((level - 1) * COMPARE_LEVEL_BITS);
                for parent in 0..parents {
                    let children = leaves.children(level - 1, parent).unwrap();
                    for (number, digest) in (0u32..).zip(children) {
                        let node = parent * CHILDREN as u32 + number;
                        assert_eq!(leaves.children(level, node).map(xor), Some(digest));
                    }
                }
            }
            assert_eq!(leaves.children(levels, 0), None);
            assert_eq!(leaves.children(0, 1), None);
        }
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
