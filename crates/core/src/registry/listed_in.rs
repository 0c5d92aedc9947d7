//! Who is listed where: for a member, owner or friend the groups of this registry
//! that list it.
//!
//! By what the name meant when it was listed, so that a rename changes nothing and
//! a name used again inherits nothing; by the name itself where it meant no entry
//! (outside addresses, wildcards). One row of 24 octets for each listed cell, in a
//! set without further allocations: a group of a million members is a million rows.
//! It follows from the cells and must never say more than they do.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{CellKey, Incarnation};

use crate::codec::Listed;

/// Whom (two halves), where (the number of a group's list), and the element's hash: the same entry
/// may stand in one list under two of its names.
pub(super) type Row = (u64, u64, u32, u32);

/// Whom a row is about: an incarnation, or the hash of a name without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whom(u64, u64);

impl Whom {
    /// An entry.
    pub(crate) fn entry(incarnation: Incarnation) -> Self {
        Self((incarnation.0 >> 64) as u64, incarnation.0 as u64)
    }

    /// A name that means no entry, or a wildcard, by its key.
    pub(crate) fn key(element: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(element);
        let mut bits = [0; 16];
        hasher.finalize_xof().fill(&mut bits);
        Self::entry(Incarnation(u128::from_be_bytes(bits)))
    }

    fn of(key: &CellKey, listed: &Listed) -> Self {
        match listed.incarnation {
            Some(incarnation) => Self::entry(incarnation),
            None => Self::key(&key.element),
        }
    }
}

/// The index of one registry.
#[derive(Debug, Default)]
pub(crate) struct ListedIn {
    /// The number of each list of a group; never given up, as groups are few beside their members.
    numbers: BTreeMap<(u128, u16), u32>,
    lists: Vec<(u128, u16)>,
    rows: BTreeSet<Row>,
}

impl ListedIn {
    /// A list has one more.
    pub(crate) fn insert(&mut self, key: &CellKey, listed: &Listed) {
        let row = self.row(key, listed);
        self.rows.insert(row);
    }

    /// The row of a cell, to be put in with many others.
    pub(super) fn row(&mut self, key: &CellKey, listed: &Listed) -> Row {
        let list = (key.item, key.field);
        let number = match self.numbers.get(&list) {
            Some(number) => *number,
            None => {
                // Four thousand million lists do not fit into any memory.
                let number = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
                self.numbers.insert(list, number);
                self.lists.push(list);
                number
            }
        };
        let whom = Whom::of(key, listed);
        (whom.0, whom.1, number, hash(&key.element))
    }

    /// Puts in many, in whatever order: at the start, when there is none yet.
    pub(super) fn fill(&mut self, mut rows: Vec<Row>) {
        debug_assert!(self.rows.is_empty(), "filled twice");
        // Sorted in place, so that the set is built from it as it is: leaf by leaf, each full.
        rows.sort_unstable();
        self.rows = rows.into_iter().collect();
    }

    /// A list has one fewer.
    pub(crate) fn remove(&mut self, key: &CellKey, listed: &Listed) {
        if let Some(number) = self.numbers.get(&(key.item, key.field)) {
            let whom = Whom::of(key, listed);
            self.rows
                .remove(&(whom.0, whom.1, *number, hash(&key.element)));
        }
    }

    /// Under how many names somebody stands in a list.
    pub(crate) fn times(&self, group: Incarnation, field: u16, whom: Whom) -> usize {
        self.numbers
            .get(&(group.0, field))
            .map_or(0, |number| self.within(whom, *number, *number).count())
    }

    /// The groups and fields that list somebody, in the order in which the lists began.
    pub(crate) fn lists(&self, whom: Whom) -> impl Iterator<Item = (Incarnation, u16)> + '_ {
        let mut last = None;
        self.within(whom, 0, u32::MAX).filter_map(move |row| {
            let number = row.2;
            if last.replace(number) == Some(number) {
                return None;
            }
            let (group, field) = self.lists.get(usize::try_from(number).ok()?)?;
            Some((Incarnation(*group), *field))
        })
    }

    fn within(&self, whom: Whom, from: u32, to: u32) -> impl Iterator<Item = &Row> {
        self.rows
            .range((whom.0, whom.1, from, 0)..=(whom.0, whom.1, to, u32::MAX))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn hash(element: &[u8]) -> u32 {
    let mut bits = [0; 4];
    blake3::Hasher::new()
        .update(element)
        .finalize_xof()
        .fill(&mut bits);
    u32::from_be_bytes(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_model::Field;

    fn cell(group: u128, member: &str, incarnation: Option<u128>) -> (CellKey, Listed) {
        (
            CellKey {
                item: group,
                field: Field::Member.number(),
                element: member.as_bytes().to_vec(),
            },
            Listed {
                spelling: member.into(),
                incarnation: incarnation.map(Incarnation),
                group: false,
            },
        )
    }

    #[test]
    fn a_row_goes_with_its_cell_and_not_with_another_name_of_the_same_entry() {
        let mut index = ListedIn::default();
        let rows = [
            cell(1, "a@pa", Some(7)),
            cell(1, "old@pa", Some(7)),
            cell(2, "a@pa", Some(7)),
            cell(2, "x@elsewhere", None),
        ];
        for (key, listed) in &rows {
            index.insert(key, listed);
            index.insert(key, listed);
        }
        assert_eq!(index.len(), 4);
        let groups = |index: &ListedIn, whom| {
            index
                .lists(whom)
                .map(|(group, _)| group.0)
                .collect::<Vec<_>>()
        };
        let seven = Whom::entry(Incarnation(7));
        assert_eq!(groups(&index, seven), [1, 2]);
        assert_eq!(groups(&index, Whom::key(b"x@elsewhere")), [2]);
        assert_eq!(groups(&index, Whom::key(b"a@pa")), Vec::<u128>::new());
        assert_eq!(
            index.times(Incarnation(1), Field::Member.number(), seven),
            2
        );
        let (key, listed) = &rows[1];
        index.remove(key, listed);
        assert_eq!(groups(&index, seven), [1, 2]);
        let (key, listed) = &rows[0];
        index.remove(key, listed);
        assert_eq!(groups(&index, seven), [2]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_row_has_24_octets() {
        assert_eq!(size_of::<Row>(), 24);
    }
}
