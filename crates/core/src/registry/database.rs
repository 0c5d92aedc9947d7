//! One registry in memory: its cells and the indexes over them.
//!
//! Everything here follows from the cells, so replicas with equal cells answer
//! alike. Unknown fields are kept. Two entries of one name: the earlier creation
//! keeps it, the other stands aside and answers nothing (checklist 14). A former
//! name leads to its entry as long as nobody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use grapevine_model::{
    Cell, CellKey, EntryKind, Field, GroupList, Incarnation, Member, Merge, Name, RegistryName,
    ServerName, Stamp,
};

use crate::codec::{self, Identity, Listed};
use crate::registry::connect::leased_until;
use crate::registry::listed_in::{ListedIn, Whom};
use crate::registry::numbers;
use crate::registry::roll::{Known, Roll};
use crate::replication::digest::{Leaves, compared, digest_of, place_of};

/// Names of entries that are gone, remembered for those who watch; only what this process has seen go.
const MOST_FORMER: usize = 10_000;

/// A registry held by this server.
#[derive(Debug)]
pub(crate) struct Database {
    registry: RegistryName,
    pub(super) cells: BTreeMap<CellKey, Cell>,
    /// Living entries, and who claims which name.
    roll: Roll,
    /// Who is listed in which groups.
    pub(super) listed_in: ListedIn,
    /// Nested groups by group and list: what a membership walk follows.
    nested: BTreeMap<(Incarnation, u16), BTreeSet<String>>,
    /// How many members each group has, so that to say so costs the same for any number.
    member_counts: BTreeMap<Incarnation, u64>,
    /// The numbers that incarnations make for POSIX systems, of living entries.
    numbers: BTreeSet<(u32, Incarnation)>,
    /// What died entries were called, the latest in any order.
    former: BTreeMap<Incarnation, String>,
    /// Who has connect sites, and how many cells of them.
    sited: BTreeMap<Incarnation, u64>,
    /// Leased connect sites by the end of their lease.
    leases: BTreeSet<(u64, CellKey)>,
    /// Groups.
    groups: BTreeSet<Incarnation>,
    /// Digests of the cells that are compared.
    pub(super) leaves: Leaves,
}

impl Database {
    pub(crate) fn new(registry: RegistryName) -> Self {
        Self {
            registry,
            cells: BTreeMap::new(),
            roll: Roll::default(),
            listed_in: ListedIn::default(),
            nested: BTreeMap::new(),
            member_counts: BTreeMap::new(),
            numbers: BTreeSet::new(),
            former: BTreeMap::new(),
            sited: BTreeMap::new(),
            leases: BTreeSet::new(),
            groups: BTreeSet::new(),
            leaves: Leaves::default(),
        }
    }

    /// Living entries.
    pub(crate) fn living(&self) -> u64 {
        self.roll.living()
    }

    /// How many cells are compared with other holders' (see `replication::digest`).
    pub(crate) fn compared(&self) -> u64 {
        self.leaves.cells()
    }

    /// Equal at two holders exactly when their living cells are (64 bits).
    pub(crate) fn digest(&self) -> u64 {
        self.leaves.whole()
    }

    /// Digests of all parts of what is compared.
    pub(crate) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    pub(crate) fn cell(&self, key: &CellKey) -> Option<&Cell> {
        self.cells.get(key)
    }

    /// Merges a cell; says whether it was taken, and the cell that it replaced.
    pub(crate) fn merge(&mut self, key: &CellKey, cell: &Cell) -> (Merge, Option<Cell>) {
        let old = self.cells.get(key);
        if old.is_some_and(|old| old.merge_in(key.field, cell) == Merge::Kept) {
            return (Merge::Kept, None);
        }
        (Merge::Taken, self.replace(key, Some(cell)))
    }

    /// Forgets a cell.
    pub(crate) fn forget(&mut self, key: &CellKey) -> Option<Cell> {
        self.replace(key, None)
    }

    /// Puts a cell in another's place, or none; indexes and digest follow.
    fn replace(&mut self, key: &CellKey, cell: Option<&Cell>) -> Option<Cell> {
        let identity = key.field == Field::Identity.number();
        let lived = self.lives(key.item);
        let old = self.cells.get(key).cloned();
        if let Some(old) = &old {
            if counts(old, lived) {
                self.leaves.take(key, old);
            }
            self.unindex(key, old);
            if let Some(cell) = cell {
                self.remember_name(key, old, cell);
            }
        }
        match cell {
            Some(cell) => {
                self.index(key, cell);
                self.cells.insert(key.clone(), cell.clone());
            }
            None => {
                self.cells.remove(key);
            }
        }
        let lives = self.lives(key.item);
        if identity && lived != lives {
            let others: Vec<(u64, u64)> = self
                .item(key.item)
                .filter(|(other, cell)| *other != key && counts(cell, true))
                .map(|(other, cell)| (place_of(other), digest_of(other, cell)))
                .collect();
            for (place, digest) in others {
                match lives {
                    true => self.leaves.put_digest(place, digest),
                    false => self.leaves.take_digest(place, digest),
                }
            }
        }
        if let Some(cell) = cell
            && counts(cell, lives)
        {
            self.leaves.put(key, cell);
        }
        old
    }

    /// Whether an item is alive: the registry's own fields (item 0) always are.
    pub(crate) fn lives(&self, item: u128) -> bool {
        item == 0
            || self
                .cells
                .get(&single(Incarnation(item), Field::Identity))
                .is_some_and(|cell| cell.value.is_some())
    }

    /// All cells of an item.
    pub(crate) fn item(&self, item: u128) -> impl Iterator<Item = (&CellKey, &Cell)> {
        let first = CellKey {
            item,
            field: 0,
            element: Vec::new(),
        };
        self.cells
            .range(first..)
            .take_while(move |(key, _)| key.item == item)
    }

    fn remember_name(&mut self, key: &CellKey, old: &Cell, new: &Cell) {
        if key.field != Field::Identity.number() || new.value.is_some() {
            return;
        }
        let identity = old.value.as_ref().map(|v| Identity::read(v));
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

    /// A cell was written again under another dot.
    pub(crate) fn set_dot(&mut self, key: &CellKey, dot: Stamp) {
        if let Some(cell) = self.cells.get_mut(key) {
            cell.dot = dot;
        }
    }

    fn index(&mut self, key: &CellKey, cell: &Cell) {
        if let Some(listed) = self.index_all_but_whom(key, cell) {
            self.listed_in.insert(key, &listed);
        }
    }

    /// Indexes a cell; whom it lists, if it lists somebody, is left to be said to `listed_in`.
    pub(super) fn index_all_but_whom(&mut self, key: &CellKey, cell: &Cell) -> Option<Listed> {
        let incarnation = Incarnation(key.item);
        if is_member(key, cell) {
            *self.member_counts.entry(incarnation).or_default() += 1;
        }
        match claim(key, cell) {
            Some(Claim::Identity(identity)) => {
                self.roll.born(incarnation, &identity);
                self.numbers
                    .insert((numbers::drawn(incarnation), incarnation));
                if identity.kind == EntryKind::Group {
                    self.groups.insert(incarnation);
                }
            }
            Some(Claim::Alias(name, since)) => self.roll.aliased(name, since, incarnation),
            Some(Claim::Former(name, since)) => self.roll.had_name(name, since, incarnation),
            None => {}
        }
        if let Some(value) = site_value(key, cell) {
            *self.sited.entry(incarnation).or_default() += 1;
            if let Some(until_ms) = leased_until(value) {
                self.leases.insert((until_ms, key.clone()));
            }
        }
        let listed = listed_cell(key, cell)?;
        if let Some(group) = nested_group(key, &listed) {
            self.nested
                .entry((incarnation, key.field))
                .or_default()
                .insert(group);
        }
        Some(listed)
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
        match claim(key, cell) {
            Some(Claim::Identity(_)) => {
                self.roll.gone(incarnation);
                self.numbers
                    .remove(&(numbers::drawn(incarnation), incarnation));
                self.groups.remove(&incarnation);
            }
            Some(Claim::Alias(name, since)) => self.roll.unaliased(name, since, incarnation),
            Some(Claim::Former(name, since)) => self.roll.had_not(name, since, incarnation),
            None => {}
        }
        if let Some(listed) = listed_cell(key, cell) {
            self.listed_in.remove(key, &listed);
            if let Some(group) = nested_group(key, &listed)
                && let Some(groups) = self.nested.get_mut(&(incarnation, key.field))
            {
                groups.remove(&group);
                if groups.is_empty() {
                    self.nested.remove(&(incarnation, key.field));
                }
            }
        }
        if let Some(value) = site_value(key, cell) {
            if let Some(cells) = self.sited.get_mut(&incarnation) {
                *cells -= 1;
                if *cells == 0 {
                    self.sited.remove(&incarnation);
                }
            }
            if let Some(until_ms) = leased_until(value) {
                self.leases.remove(&(until_ms, key.clone()));
            }
        }
    }

    /// The entry that has a name, an alias or, if nobody has it now, had the name last.
    pub(crate) fn find(&self, folded: &str) -> Option<Entry<'_>> {
        self.find_present(folded).or_else(|| {
            let had = self.roll.had(folded).rev();
            had.filter_map(|incarnation| self.entry(incarnation))
                .find(|entry| self.is_first(entry))
        })
    }

    /// The entry that has a name or an alias now.
    pub(crate) fn find_present(&self, folded: &str) -> Option<Entry<'_>> {
        (self.roll.claimants(folded))
            .filter_map(|incarnation| self.entry(incarnation))
            // The alias of one that stands aside answers nothing either.
            .find(|entry| entry.folded() == folded || self.is_first(entry))
    }

    /// Whether nobody living claimed an entry's name before it.
    fn is_first(&self, entry: &Entry<'_>) -> bool {
        (self.roll.claimants(entry.folded())).find(|who| self.roll.known(*who).is_some())
            == Some(entry.incarnation)
    }

    /// How many entries, living or not, have or had a name.
    pub(crate) fn claimants(&self, folded: &str) -> usize {
        self.roll.count(folded)
    }

    /// Whether an entry is the one that its name stands for.
    pub(crate) fn has_its_name(&self, entry: &Entry<'_>) -> bool {
        !self.roll.is_contested(entry.folded())
            || self
                .find_present(entry.folded())
                .is_some_and(|found| found.incarnation == entry.incarnation)
    }

    /// An entry, alive, if its name stands for it.
    pub(crate) fn standing(&self, incarnation: Incarnation) -> Option<Entry<'_>> {
        self.entry(incarnation)
            .filter(|entry| self.has_its_name(entry))
    }

    /// Whether an entry was here once and has been deleted.
    pub(crate) fn is_deleted(&self, incarnation: Incarnation) -> bool {
        self.cells
            .get(&single(incarnation, Field::Identity))
            .is_some_and(|cell| cell.value.is_none())
    }

    /// The names after one that more than one claims, each with those of them that stand aside.
    pub(crate) fn contested<'a>(
        &'a self,
        after: &str,
    ) -> impl Iterator<Item = (&'a str, Vec<Entry<'a>>)> {
        (self.roll.contested_after(after)).map(|name| (name, self.aside(name)))
    }

    /// The entries that stand aside because another has their name.
    pub(crate) fn aside(&self, folded: &str) -> Vec<Entry<'_>> {
        (self.roll.claimants(folded))
            .filter_map(|incarnation| self.entry(incarnation))
            .filter(|entry| entry.folded() == folded && !self.has_its_name(entry))
            .collect()
    }

    /// Those who had a name that nobody has now, whoever is found by it.
    pub(crate) fn had(&self, folded: &str) -> Vec<Incarnation> {
        self.roll.had(folded).collect()
    }

    /// The groups that list somebody, and in which field.
    pub(crate) fn lists(&self, whom: Whom) -> impl Iterator<Item = (Entry<'_>, u16)> {
        self.listed_in
            .lists(whom)
            .filter_map(|(group, field)| Some((self.standing(group)?, field)))
    }

    /// An entry, alive, whether or not its name stands for it.
    pub(crate) fn entry(&self, incarnation: Incarnation) -> Option<Entry<'_>> {
        Some(Entry {
            database: self,
            incarnation,
            identity: self.roll.known(incarnation)?,
        })
    }

    /// The entries that their names stand for, in order of their folded names, after one of these.
    pub(crate) fn entries_after(&self, after: Option<&str>) -> impl Iterator<Item = Entry<'_>> {
        (self.roll.names_after(after))
            .filter_map(|name| self.find(name).filter(|entry| entry.folded() == name))
    }

    /// The entry that has a number for POSIX systems: of several that drew it, the earliest.
    pub(crate) fn entry_of_number(&self, number: u32) -> Option<Entry<'_>> {
        self.numbers
            .range((number, Incarnation(0))..=(number, Incarnation(u128::MAX)))
            .filter_map(|(_, incarnation)| self.entry(*incarnation))
            .min_by_key(|entry| (entry.identity.created, entry.incarnation))
    }

    /// Living individuals that have connect sites, expired ones included.
    pub(crate) fn sited(&self) -> impl Iterator<Item = Entry<'_>> {
        self.sited.keys().filter_map(|who| self.entry(*who))
    }

    /// How many have connect sites.
    pub(crate) fn sited_count(&self) -> usize {
        self.sited.len()
    }

    /// Living groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Entry<'_>> {
        self.groups.iter().filter_map(|group| self.entry(*group))
    }

    /// Connect sites whose leases ended before a time, the longest ended first.
    pub(crate) fn expired(&self, before_ms: u64) -> impl Iterator<Item = &CellKey> {
        self.leases
            .iter()
            .take_while(move |(until_ms, _)| *until_ms < before_ms)
            .map(|(_, key)| key)
    }

    /// All living entries, in order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries_from(None)
    }

    /// The same, after a name.
    pub(crate) fn entries_from(&self, after: Option<&str>) -> impl Iterator<Item = Entry<'_>> {
        self.roll.names_after(after).flat_map(move |name| {
            (self.roll.claimants(name))
                .filter_map(move |who| self.entry(who).filter(|e| e.folded() == name))
        })
    }
}

fn is_member(key: &CellKey, cell: &Cell) -> bool {
    key.field == Field::Member.number() && cell.value.is_some()
}

/// What a cell says about a name, and since when.
enum Claim<'a> {
    /// It is the entry's own.
    Identity(Identity),
    /// It is an alias.
    Alias(&'a str, Stamp),
    /// It was the entry's.
    Former(&'a str, Stamp),
}

fn claim<'a>(key: &'a CellKey, cell: &Cell) -> Option<Claim<'a>> {
    let value = cell.value.as_ref()?;
    let element = || std::str::from_utf8(&key.element).ok();
    if key.field == Field::Identity.number() {
        Identity::read(value).ok().map(Claim::Identity)
    } else if key.field == Field::Alias.number() {
        Some(Claim::Alias(element()?, cell.stamp))
    } else if key.field == Field::FormerName.number() {
        Some(Claim::Former(element()?, cell.stamp))
    } else {
        None
    }
}

/// Whether a cell counts when two copies are compared, its item being alive or not (`Database::lives`):
/// one holder may have forgotten a tombstone, or what is left of a dead entry, before another does.
pub(crate) fn counts(cell: &Cell, lives: bool) -> bool {
    lives && compared(cell)
}

/// The name that a cell gives to its entry, now or formerly.
pub(crate) fn claimed_name(key: &CellKey, cell: &Cell) -> Option<String> {
    match claim(key, cell)? {
        Claim::Identity(identity) => Some(identity.simple.to_lowercase()),
        Claim::Alias(name, _) | Claim::Former(name, _) => Some(name.to_owned()),
    }
}

/// What a cell of a list of a group says.
pub(crate) fn listed_cell(key: &CellKey, cell: &Cell) -> Option<Listed> {
    list_of(key.field)?;
    codec::decode(cell.value.as_ref()?).ok()
}

pub(crate) fn nested_group(key: &CellKey, listed: &Listed) -> Option<String> {
    listed
        .group
        .then(|| String::from_utf8(key.element.clone()).ok())
        .flatten()
}

/// The value of a connect site.
fn site_value<'a>(key: &CellKey, cell: &'a Cell) -> Option<&'a [u8]> {
    (key.field == Field::ConnectSite.number())
        .then_some(cell.value.as_deref())
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

/// The list that a field is.
pub(crate) fn list_of(field: u16) -> Option<GroupList> {
    [GroupList::Members, GroupList::Owners, GroupList::Friends]
        .into_iter()
        .find(|list| list_field(*list).number() == field)
}

/// A living entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    database: &'a Database,
    pub(crate) incarnation: Incarnation,
    pub(crate) identity: &'a Known,
}

impl<'a> Entry<'a> {
    /// Its name in the spelling first given.
    pub(crate) fn name(&self) -> Option<Name> {
        Name::new(self.identity.simple(), self.database.registry.clone()).ok()
    }

    /// Its simple name, lower case.
    pub(crate) fn folded(&self) -> &'a str {
        self.identity.folded()
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

    /// The cell of one item of a field, living or deleted.
    pub(crate) fn cell(&self, field: Field, item: &[u8]) -> Option<&'a Cell> {
        self.database
            .cells
            .get(&element(self.incarnation, field, item))
    }

    /// The field of each of its cells, in order, from one field on.
    pub(crate) fn fields_from(&self, field: u16) -> impl Iterator<Item = u16> + use<'a> {
        let item = self.incarnation.0;
        let first = CellKey {
            item,
            field,
            element: Vec::new(),
        };
        (self.database.cells.range(first..))
            .take_while(move |(key, _)| key.item == item)
            .map(|(key, _)| key.field)
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

    /// Whether a list of a group has an entry, under whatever name.
    pub(crate) fn lists(&self, list: GroupList, incarnation: Incarnation) -> bool {
        self.times_listed(list, incarnation) > 0
    }

    /// Under how many names a list of a group has an entry.
    pub(crate) fn times_listed(&self, list: GroupList, incarnation: Incarnation) -> usize {
        let (field, whom) = (list_field(list).number(), Whom::entry(incarnation));
        self.database.listed_in.times(self.incarnation, field, whom)
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

    /// Names that it had and that still lead to it.
    pub(crate) fn former(&self) -> Vec<Name> {
        self.list(Field::FormerName, None)
            .filter(|(element, _)| {
                let led = std::str::from_utf8(element)
                    .ok()
                    .filter(|folded| self.database.find_present(folded).is_none())
                    .and_then(|folded| self.database.find(folded));
                led.is_some_and(|entry| entry.incarnation == self.incarnation)
            })
            .filter_map(|(_, value)| {
                let simple = std::str::from_utf8(value).ok()?;
                Name::new(simple, self.database.registry.clone()).ok()
            })
            .collect()
    }
}
