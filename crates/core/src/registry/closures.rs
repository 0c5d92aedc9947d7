//! Closures that are remembered: which groups a list reaches here, and who was found in it.
//!
//! Guards P5 and P7: an answer is forgotten in the same turn in which a cell that it was worked out
//! from changes, and all of them when what is held here changes. What another registry's holder said
//! is believed for `Times::closure_ms`, and no longer. Nothing here is durable.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Answer, Cell, CellKey, Field, GroupList, Incarnation, Member, Name, Question, RegistryName,
};

use crate::registry::database::{claimed_name, list_field, listed_cell, nested_group};

/// Groups in all remembered closures together; beyond this all are forgotten. 40 MB at most.
const MOST_GROUPS: usize = 500_000;
/// Remembered answers; beyond this all are forgotten. 40 MB at most.
const MOST_ANSWERS: usize = 200_000;
/// Remembered answers of other registries' holders.
const MOST_TOLD: usize = 50_000;

/// A list of a group.
type Key = (Incarnation, GroupList);

/// The groups that a list reaches within the registries held here.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// All groups reached, the first included.
    pub(crate) groups: Vec<(RegistryName, Incarnation, GroupList)>,
    /// Names that were looked up on the way, found or not.
    pub(crate) names: BTreeSet<Name>,
    /// What nested names meant when they were listed, reached or not.
    pub(crate) meant: BTreeSet<Incarnation>,
    /// The registries of the groups.
    pub(crate) registries: BTreeSet<RegistryName>,
    /// Nested groups held by other servers, and what their names meant.
    pub(crate) elsewhere: Vec<(Name, Option<Incarnation>)>,
    /// There is more: over the limit, or in a registry that may not be read now.
    pub(crate) cut_short: bool,
    /// Who was looked for, and whether he was found.
    pub(crate) answers: BTreeMap<Sought, bool>,
}

/// Who is looked for: an entry, whichever of its names was said, or an outside address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sought {
    Entry(Incarnation),
    Outside(Name),
}

impl Sought {
    pub(crate) fn new(who: &Name, as_whom: Option<Incarnation>) -> Self {
        as_whom.map_or_else(|| Self::Outside(who.clone()), Self::Entry)
    }
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Closures {
    reached: BTreeMap<Key, Reach>,
    by_group: BTreeMap<Incarnation, BTreeSet<Key>>,
    by_name: BTreeMap<Name, BTreeSet<Key>>,
    groups: usize,
    answers: usize,
    told: BTreeMap<Question, (Answer, u64)>,
}

impl Closures {
    /// What a list reaches, if it is remembered.
    pub(crate) fn reach(&self, key: Key) -> Option<&Reach> {
        self.reached.get(&key)
    }

    /// Remembers what a list reaches.
    pub(crate) fn remember(&mut self, key: Key, reach: Reach) {
        if self.groups.saturating_add(reach.groups.len()) > MOST_GROUPS {
            self.forget_all();
        }
        self.forget(key);
        self.groups += reach.groups.len();
        for group in depends_on(&reach) {
            self.by_group.entry(group).or_default().insert(key);
        }
        for name in &reach.names {
            self.by_name.entry(name.clone()).or_default().insert(key);
        }
        self.reached.insert(key, reach);
    }

    /// Remembers whether somebody was found.
    pub(crate) fn found(&mut self, key: Key, sought: Sought, yes: bool) {
        if self.answers >= MOST_ANSWERS {
            for reach in self.reached.values_mut() {
                reach.answers.clear();
            }
            self.answers = 0;
        }
        if let Some(reach) = self.reached.get_mut(&key) {
            let before = reach.answers.insert(sought, yes);
            self.answers += usize::from(before.is_none());
        }
    }

    /// A cell of a registry held here has changed; so many entries have or had the name that it gives.
    pub(crate) fn cell_changes(
        &mut self,
        registry: &RegistryName,
        key: &CellKey,
        old: Option<&Cell>,
        new: &Cell,
        claimants: usize,
    ) {
        let incarnation = Incarnation(key.item);
        let lists = [GroupList::Members, GroupList::Owners, GroupList::Friends];
        let in_list = lists
            .iter()
            .any(|list| list_field(*list).number() == key.field);
        if in_list {
            let keys = self.by_group.get(&incarnation).cloned().unwrap_or_default();
            let group = is_group(key, new) || old.is_some_and(|old| is_group(key, old));
            let named = std::str::from_utf8(&key.element)
                .ok()
                .and_then(|text| text.parse::<Member>().ok());
            // Whoever was or is meant, by whichever of his names he was looked for.
            let cells = old.into_iter().chain([new]);
            let meant = cells.filter_map(|cell| listed_cell(key, cell)?.incarnation);
            let meant: Vec<Sought> = meant.map(Sought::Entry).collect();
            for of in keys {
                match &named {
                    _ if group => self.forget(of),
                    Some(Member::Name(who)) => {
                        self.forget_answer(of, &Sought::Outside(who.clone()));
                        for sought in &meant {
                            self.forget_answer(of, sought);
                        }
                    }
                    // A wildcard is about many.
                    Some(Member::Anyone | Member::AnyoneIn(_)) | None => self.forget_answers(of),
                }
            }
            return;
        }
        let naming = [Field::Identity, Field::Alias, Field::FormerName];
        let naming = naming.iter().any(|field| field.number() == key.field);
        // Born, dead, renamed: whatever else an entry is, it may be reached differently now.
        for of in self.by_group.get(&incarnation).cloned().unwrap_or_default() {
            self.forget(of);
        }
        if !naming {
            return;
        }
        let Some(claimed) = claimed_name(key, new).filter(|_| old.is_none() && claimants <= 1)
        else {
            // A name that goes, or that another entry has or had: what it means may depend on both.
            if old.is_some() || claimants > 1 {
                self.forget_all();
            }
            return;
        };
        let Ok(name) = Name::new(&claimed, registry.clone()) else {
            return;
        };
        for of in self.by_name.get(&name).cloned().unwrap_or_default() {
            self.forget(of);
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(reach) = self.reached.remove(&key) else {
            return;
        };
        self.groups = self.groups.saturating_sub(reach.groups.len());
        self.answers = self.answers.saturating_sub(reach.answers.len());
        for group in depends_on(&reach) {
            drop_from(&mut self.by_group, &group, key);
        }
        for name in &reach.names {
            drop_from(&mut self.by_name, name, key);
        }
    }

    fn forget_answer(&mut self, key: Key, sought: &Sought) {
        if let Some(reach) = self.reached.get_mut(&key)
            && reach.answers.remove(sought).is_some()
        {
            self.answers = self.answers.saturating_sub(1);
        }
    }

    fn forget_answers(&mut self, key: Key) {
        if let Some(reach) = self.reached.get_mut(&key) {
            self.answers = self.answers.saturating_sub(reach.answers.len());
            reach.answers.clear();
        }
    }

    /// What is held here has changed, or who holds what.
    pub(crate) fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// What a holder of another registry said, if that is young enough.
    pub(crate) fn told(&self, question: &Question, now_ms: u64) -> Option<&Answer> {
        let (answer, until_ms) = self.told.get(question)?;
        (now_ms < *until_ms).then_some(answer)
    }

    /// A holder of another registry has said this.
    pub(crate) fn tell(&mut self, question: Question, answer: Answer, now_ms: u64, until_ms: u64) {
        if self.told.len() >= MOST_TOLD {
            self.told.retain(|_, (_, until_ms)| now_ms < *until_ms);
            if self.told.len() >= MOST_TOLD {
                self.told.clear();
            }
        }
        self.told.insert(question, (answer, until_ms));
    }
}

fn is_group(key: &CellKey, cell: &Cell) -> bool {
    listed_cell(key, cell).is_some_and(|listed| nested_group(key, &listed).is_some())
}

fn depends_on(reach: &Reach) -> impl Iterator<Item = Incarnation> {
    let groups = reach.groups.iter().map(|(_, group, _)| *group);
    groups.chain(reach.meant.iter().copied())
}

fn drop_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Key>>, at: &K, key: Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}
