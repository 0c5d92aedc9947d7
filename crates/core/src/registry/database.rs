//! One registry in memory: its cells and the indexes over them.
//!
//! Everything here follows from the cells, so replicas with equal cells answer
//! alike. Unknown fields are kept. Two entries of one name: the earlier creation
//! keeps it, the other answers nothing (checklist 14).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use grapevine_model::{
    Cell, CellKey, EntryKind, Field, GroupList, Incarnation, Member, Merge, Name, RegistryName,
    ServerName, Stamp,
};

use crate::codec::{self, Identity, Listed};
use crate::registry::numbers;
use crate::replication::digest::{compared, digest_of};

/// Names of entries that are gone, remembered for those who watch; only what this process has seen go.
const MOST_FORMER: usize = 10_000;

/// A registry held by this server.
#[derive(Debug)]
pub(crate) struct Database {
    registry: RegistryName,
    cells: BTreeMap<CellKey, Cell>,
    /// Folded simple name (of entries and aliases) to those who claim it, the earliest first.
    names: BTreeMap<String, BTreeSet<(Stamp, Incarnation)>>,
    /// Nested groups by group and list: what a membership walk follows.
    nested: BTreeMap<(Incarnation, u16), BTreeSet<String>>,
    /// How many members each group has, so that to say so costs the same for any number.
    member_counts: BTreeMap<Incarnation, u64>,
    /// The numbers that incarnations make for POSIX systems, of living entries.
    numbers: BTreeSet<(u32, Incarnation)>,
    /// What died entries were called, the latest in any order.
    former: BTreeMap<Incarnation, String>,
    living: u64,
    /// Cells that are compared, and the XOR of their digests.
    compared: u64,
    digest: u64,
}

impl Database {
    pub(crate) fn new(registry: RegistryName) -> Self {
        Self {
            registry,
            cells: BTreeMap::new(),
            names: BTreeMap::new(),
            nested: BTreeMap::new(),
            member_counts: BTreeMap::new(),
            numbers: BTreeSet::new(),
            former: BTreeMap::new(),
            living: 0,
            compared: 0,
            digest: 0,
        }
    }

    /// Living entries.
    pub(crate) fn living(&self) -> u64 {
        self.living
    }

    /// How many cells are compared with other holders' (see `replication::digest`).
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// Equal at two holders exactly when their living cells are (64 bits).
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn cell(&self, key: &CellKey) -> Option<&Cell> {
        self.cells.get(key)
    }

    /// Merges a cell; says whether it was taken, and the dot that it replaced.
    pub(crate) fn merge(&mut self, key: &CellKey, cell: &Cell) -> (Merge, Option<Stamp>) {
        let old = self.cells.get(key);
        if old.is_some_and(|old| old.merge(cell) == Merge::Kept) {
            return (Merge::Kept, None);
        }
        let old = old.cloned();
        if let Some(old) = &old {
            self.uncount(key, old);
            self.unindex(key, old);
            self.remember_name(key, old, cell);
        }
        self.digest ^= digest_of(key, cell);
        self.compared += u64::from(compared(cell));
        self.index(key, cell);
        self.cells.insert(key.clone(), cell.clone());
        (Merge::Taken, old.map(|old| old.dot))
    }

    fn remember_name(&mut self, key: &CellKey, old: &Cell, new: &Cell) {
        if key.field != Field::Identity.number() || new.value.is_some() {
            return;
        }
        let identity = old.value.as_ref().map(|v| codec::decode::<Identity>(v));
        if let Some(Ok(identity)) = identity {
            if self.former.len() >= MOST_FORMER {
                self.former.pop_first();
            }
            self.former.insert(Incarnation(key.item), identity.simple);
        }
    }

    /// What an entry that is gone was called, if this process has seen it go.
    pub(crate) fn former_name(&self, incarnation: Incarnation) -> Option<Name> {
        let simple = self.former.get(&incarnation)?;
        Name::new(simple, self.registry.clone()).ok()
    }

    /// The cells after a key, of one entry or of all, in order.
    pub(crate) fn cells_after(
        &self,
        entry: Option<Incarnation>,
        after: Option<&CellKey>,
    ) -> impl Iterator<Item = (&CellKey, &Cell)> {
        let from = match (after, entry) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(entry)) => Bound::Included(CellKey {
                item: entry.0,
                field: 0,
                element: Vec::new(),
            }),
            (None, None) => Bound::Unbounded,
        };
        self.cells
            .range((from, Bound::Unbounded))
            .take_while(move |(key, _)| entry.is_none_or(|entry| entry.0 == key.item))
    }

    fn uncount(&mut self, key: &CellKey, cell: &Cell) {
        self.digest ^= digest_of(key, cell);
        self.compared -= u64::from(compared(cell));
    }

    /// A cell was written again under another dot.
    pub(crate) fn set_dot(&mut self, key: &CellKey, dot: Stamp) {
        if let Some(cell) = self.cells.get_mut(key) {
            cell.dot = dot;
        }
    }

    fn index(&mut self, key: &CellKey, cell: &Cell) {
        let incarnation = Incarnation(key.item);
        if is_member(key, cell) {
            *self.member_counts.entry(incarnation).or_default() += 1;
        }
        if let Some((name, created)) = claimed(key, cell) {
            self.names
                .entry(name)
                .or_default()
                .insert((created, incarnation));
            if key.field == Field::Identity.number() {
                self.living += 1;
                self.numbers
                    .insert((numbers::drawn(incarnation), incarnation));
            }
        }
        if let Some(group) = nested_group(key, cell) {
            self.nested
                .entry((incarnation, key.field))
                .or_default()
                .insert(group);
        }
    }

    fn unindex(&mut self, key: &CellKey, cell: &Cell) {
        let incarnation = Incarnation(key.item);
        if is_member(key, cell)
            && let Some(count) = self.member_counts.get_mut(&incarnation)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.member_counts.remove(&incarnation);
            }
        }
        if let Some((name, created)) = claimed(key, cell) {
            if key.field == Field::Identity.number() {
                self.living -= 1;
                self.numbers
                    .remove(&(numbers::drawn(incarnation), incarnation));
            }
            if let Some(claims) = self.names.get_mut(&name) {
                claims.remove(&(created, incarnation));
                if claims.is_empty() {
                    self.names.remove(&name);
                }
            }
        }
        if let Some(group) = nested_group(key, cell)
            && let Some(groups) = self.nested.get_mut(&(incarnation, key.field))
        {
            groups.remove(&group);
            if groups.is_empty() {
                self.nested.remove(&(incarnation, key.field));
            }
        }
    }

    /// The entry that has a name (or an alias), alive.
    pub(crate) fn find(&self, folded: &str) -> Option<Entry<'_>> {
        self.names
            .get(folded)?
            .iter()
            .find_map(|(_, incarnation)| self.entry(*incarnation))
    }

    /// Whether an entry is the one that its name stands for.
    pub(crate) fn has_its_name(&self, entry: &Entry<'_>) -> bool {
        self.find(&entry.identity.simple.to_lowercase())
            .is_some_and(|found| found.incarnation == entry.incarnation)
    }

    /// An entry, alive, whether or not its name stands for it.
    pub(crate) fn entry(&self, incarnation: Incarnation) -> Option<Entry<'_>> {
        let value = self
            .cells
            .get(&single(incarnation, Field::Identity))?
            .value
            .as_ref()?;
        let identity = codec::decode::<Identity>(value).ok()?;
        Some(Entry {
            database: self,
            incarnation,
            identity,
        })
    }

    /// The entries that their names stand for, in order of their folded names, after one of these.
    pub(crate) fn entries_after(&self, after: Option<&str>) -> impl Iterator<Item = Entry<'_>> {
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Unbounded,
        };
        self.names
            .range::<str, _>((from, Bound::Unbounded))
            .filter_map(|(name, _)| {
                self.find(name)
                    .filter(|entry| entry.identity.simple.to_lowercase() == *name)
            })
    }

    /// The entry that has a number for POSIX systems: of several that drew it, the earliest.
    pub(crate) fn entry_of_number(&self, number: u32) -> Option<Entry<'_>> {
        self.numbers
            .range((number, Incarnation(0))..=(number, Incarnation(u128::MAX)))
            .filter_map(|(_, incarnation)| self.entry(*incarnation))
            .min_by_key(|entry| (entry.identity.created, entry.incarnation))
    }

    /// All living entries, in order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.names.iter().flat_map(move |(name, claims)| {
            claims.iter().filter_map(move |(_, incarnation)| {
                self.entry(*incarnation)
                    .filter(|e| e.identity.simple.to_lowercase() == *name)
            })
        })
    }
}

fn is_member(key: &CellKey, cell: &Cell) -> bool {
    key.field == Field::Member.number() && cell.value.is_some()
}

/// The name that a cell claims, and since when.
fn claimed(key: &CellKey, cell: &Cell) -> Option<(String, Stamp)> {
    let value = cell.value.as_ref()?;
    if key.field == Field::Identity.number() {
        let identity = codec::decode::<Identity>(value).ok()?;
        Some((identity.simple.to_lowercase(), identity.created))
    } else if key.field == Field::Alias.number() {
        Some((String::from_utf8(key.element.clone()).ok()?, cell.stamp))
    } else {
        None
    }
}

fn nested_group(key: &CellKey, cell: &Cell) -> Option<String> {
    let listed = [Field::Member, Field::Owner, Field::Friend];
    listed.iter().find(|field| field.number() == key.field)?;
    let listed = codec::decode::<Listed>(cell.value.as_ref()?).ok()?;
    listed
        .group
        .then(|| String::from_utf8(key.element.clone()).ok())
        .flatten()
}

/// The key of a single-valued field.
pub(crate) fn single(incarnation: Incarnation, field: Field) -> CellKey {
    CellKey {
        item: incarnation.0,
        field: field.number(),
        element: Vec::new(),
    }
}

/// The key of one item of a list field.
pub(crate) fn element(
    incarnation: Incarnation,
    field: Field,
    element: impl Into<Vec<u8>>,
) -> CellKey {
    CellKey {
        item: incarnation.0,
        field: field.number(),
        element: element.into(),
    }
}

/// The field of a list of a group.
pub(crate) fn list_field(list: GroupList) -> Field {
    match list {
        GroupList::Members => Field::Member,
        GroupList::Owners => Field::Owner,
        GroupList::Friends => Field::Friend,
    }
}

/// A living entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    database: &'a Database,
    pub(crate) incarnation: Incarnation,
    pub(crate) identity: Identity,
}

impl<'a> Entry<'a> {
    /// Its name in the spelling first given.
    pub(crate) fn name(&self) -> Option<Name> {
        Name::new(&self.identity.simple, self.database.registry.clone()).ok()
    }

    pub(crate) fn kind(&self) -> EntryKind {
        self.identity.kind
    }

    /// A single-valued field.
    pub(crate) fn single(&self, field: Field) -> Option<&'a [u8]> {
        self.database
            .cells
            .get(&single(self.incarnation, field))?
            .value
            .as_deref()
    }

    /// A list field from the element after `after`, in order: element and value.
    pub(crate) fn list(
        &self,
        field: Field,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let from = match after {
            Some(after) => Bound::Excluded(element(self.incarnation, field, after)),
            None => Bound::Included(element(self.incarnation, field, [])),
        };
        let until = CellKey {
            item: self.incarnation.0,
            field: field.number() + 1,
            element: Vec::new(),
        };
        self.database
            .cells
            .range((from, Bound::Excluded(until)))
            .filter_map(|(key, cell)| Some((key.element.as_slice(), cell.value.as_deref()?)))
    }

    /// One item of a list of a group.
    pub(crate) fn listed(&self, list: GroupList, member: &str) -> Option<Listed> {
        let key = element(self.incarnation, list_field(list), member);
        codec::decode(self.database.cells.get(&key)?.value.as_ref()?).ok()
    }

    /// The items of a list of a group after a key.
    pub(crate) fn members(
        &self,
        list: GroupList,
        after: Option<&str>,
    ) -> impl Iterator<Item = (Member, Listed)> + use<'a> {
        self.list(list_field(list), after.map(str::as_bytes))
            .filter_map(|(_, value)| {
                let listed = codec::decode::<Listed>(value).ok()?;
                Some((listed.spelling.parse().ok()?, listed))
            })
    }

    /// The keys of the nested groups of a list.
    pub(crate) fn nested(&self, list: GroupList) -> impl Iterator<Item = &'a String> + use<'a> {
        self.database
            .nested
            .get(&(self.incarnation, list_field(list).number()))
            .into_iter()
            .flatten()
    }

    /// Ordered inbox sites.
    pub(crate) fn sites(&self) -> Vec<ServerName> {
        let mut sites: Vec<(u32, ServerName)> = self
            .list(Field::InboxSite, None)
            .filter_map(|(server, order)| {
                let server = std::str::from_utf8(server).ok()?.parse().ok()?;
                Some((codec::decode(order).ok()?, server))
            })
            .collect();
        sites.sort();
        sites.into_iter().map(|(_, server)| server).collect()
    }

    /// Where its mail goes instead.
    pub(crate) fn forward(&self) -> Vec<Name> {
        self.list(Field::Forward, None)
            .filter_map(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok())
            .collect()
    }

    /// Further names.
    pub(crate) fn aliases(&self) -> Vec<Name> {
        self.list(Field::Alias, None)
            .filter_map(|(_, value)| {
                Name::new(
                    std::str::from_utf8(value).ok()?,
                    self.database.registry.clone(),
                )
                .ok()
            })
            .collect()
    }

    /// Its number for POSIX systems, unless an earlier entry has that.
    pub(crate) fn posix_number(&self) -> Option<u32> {
        let number = numbers::drawn(self.incarnation);
        let has_it = self.database.entry_of_number(number)?;
        (has_it.incarnation == self.incarnation).then_some(number)
    }

    /// How many members it has.
    pub(crate) fn member_count(&self) -> u64 {
        let counts = &self.database.member_counts;
        counts.get(&self.incarnation).copied().unwrap_or_default()
    }
}
