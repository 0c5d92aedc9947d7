//! Cells: everything that is replicated, registries and mailboxes alike.
//!
//! Merge keeps the greater stamp, cell by cell, so it is commutative,
//! associative and idempotent (P4); the laws are tested below.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::field::Field;
use crate::id::{Incarnation, OriginId};
use crate::name::RegistryName;
use crate::stamp::{Hlc, Stamp};

/// What is replicated as a whole, between its own set of servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpaceId {
    /// A registry, between its holders.
    Registry(RegistryName),
    /// The mailbox of an individual, between its inbox sites.
    Mailbox(Incarnation),
}

/// Where a cell stands in its space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellKey {
    /// The entry's incarnation, or the message's id.
    pub item: u128,
    /// Which field (see `Field`); unknown numbers are kept and passed on.
    pub field: u16,
    /// Which item of a list field; empty for a single-valued one.
    pub element: Vec<u8>,
}

/// One replicated value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What decides the merge.
    pub stamp: Stamp,
    /// Which write brought it: what version vectors count. Equal to `stamp` in registries, but for what
    /// clears expired leases away.
    pub dot: Stamp,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The incoming cell won.
    Taken,
    /// The present one is as new or newer.
    Kept,
}

/// What decides between two cells of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The greater stamp wins.
    Latest,
    /// A tombstone beats any value: what is never created twice can't come back by a later edit.
    DeathIsFinal,
}

impl Rule {
    /// The rule of a field. An incarnation is created once, so the death of its identity is final; so is a folder's.
    pub fn of(field: u16) -> Self {
        if field == Field::Identity.number() || field == Field::Folder.number() {
            Self::DeathIsFinal
        } else {
            Self::Latest
        }
    }
}

impl Cell {
    /// Whether `self` must give way to `incoming`, in a field.
    ///
    /// Either way the cells of a key are totally ordered and the greater one stays, so that merging
    /// is commutative, associative and idempotent.
    pub fn merge_in(&self, field: u16, incoming: &Self) -> Merge {
        match (
            Rule::of(field),
            self.value.is_some(),
            incoming.value.is_some(),
        ) {
            (Rule::DeathIsFinal, true, false) => Merge::Taken,
            (Rule::DeathIsFinal, false, true) => Merge::Kept,
            (Rule::DeathIsFinal | Rule::Latest, _, _) => self.merge(incoming),
        }
    }

    /// Whether `self` must give way to `incoming`.
    ///
    /// Equal stamps with different values cannot come from an honest writer; the greater value
    /// wins then, so that replicas still agree.
    pub fn merge(&self, incoming: &Self) -> Merge {
        let (mine, theirs) = ((self.stamp, &self.value), (incoming.stamp, &incoming.value));
        if theirs > mine {
            Merge::Taken
        } else {
            Merge::Kept
        }
    }
}

/// For each origin, up to which dot all its writes to a space are known.
///
/// Every mailbox has some, and most know one or two origins: so it is a sorted slice of just its length, not a map whose smallest node
/// has room for eleven. Written as the map that it means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionVector(Box<[(OriginId, Hlc)]>);

impl VersionVector {
    fn place(&self, origin: OriginId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&origin, |(of, _)| *of)
    }

    /// The last known write of an origin; zero when there is none.
    pub fn get(&self, origin: OriginId) -> Hlc {
        let found = self.place(origin).ok().and_then(|at| self.0.get(at));
        found.map(|(_, time)| *time).unwrap_or_default()
    }

    /// Whether a write is covered.
    pub fn covers(&self, dot: Stamp) -> bool {
        self.get(dot.origin) >= dot.time
    }

    /// Whether everything in `other` is covered.
    pub fn covers_all(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(origin, time)| self.get(*origin) >= *time)
    }

    /// Raises one origin, never lowers it.
    pub fn raise(&mut self, origin: OriginId, time: Hlc) {
        match self.place(origin) {
            Ok(at) => {
                if let Some((_, known)) = self.0.get_mut(at) {
                    *known = (*known).max(time);
                }
            }
            Err(at) => {
                let (before, after) = self.0.split_at(at.min(self.0.len()));
                let mut all = Vec::with_capacity(self.0.len() + 1);
                all.extend_from_slice(before);
                all.push((origin, time));
                all.extend_from_slice(after);
                self.0 = all.into_boxed_slice();
            }
        }
    }

    /// Forgets what is known of an origin beyond a time. Only for a disk that was set back: what
    /// it wrote later is to be fetched again.
    pub fn set_back(&mut self, origin: OriginId, time: Hlc) {
        let Ok(at) = self.place(origin) else {
            return;
        };
        if self.get(origin) > time {
            if time == Hlc::default() {
                let others = self.iter().filter(|(of, _)| *of != origin);
                self.0 = others.collect();
            } else if let Some((_, known)) = self.0.get_mut(at) {
                *known = time;
            }
        }
    }

    /// Raises every origin to the greater of the two.
    pub fn join(&mut self, other: &Self) {
        for (origin, time) in &other.0 {
            self.raise(*origin, *time);
        }
    }

    /// The origins and their last known writes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (OriginId, Hlc)> + '_ {
        self.0.iter().copied()
    }

    /// How many origins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A digest that is equal exactly when the vectors are (64 bits of BLAKE3).
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for (origin, time) in &self.0 {
            hasher.update(&origin.0.to_be_bytes());
            hasher.update(&time.0.to_be_bytes());
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_be_bytes(first)
    }
}

impl FromIterator<(OriginId, Hlc)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (OriginId, Hlc)>>(pairs: I) -> Self {
        let mut known = BTreeMap::new();
        for (origin, time) in pairs {
            let last: &mut Hlc = known.entry(origin).or_default();
            *last = time.max(*last);
        }
        Self(known.into_iter().collect())
    }
}

impl Serialize for VersionVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for VersionVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = BTreeMap::<OriginId, Hlc>::deserialize(deserializer)?;
        Ok(Self(known.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell() -> impl Strategy<Value = Cell> {
        (0u64..4, 0u64..3, proptest::option::of(0u8..3)).prop_map(|(time, origin, value)| {
            let stamp = Stamp {
                time: Hlc(time),
                origin: OriginId(origin),
            };
            Cell {
                stamp,
                dot: stamp,
                value: value.map(|v| vec![v]),
            }
        })
    }

    fn merged(a: &Cell, b: &Cell) -> Cell {
        match a.merge(b) {
            Merge::Taken => b.clone(),
            Merge::Kept => a.clone(),
        }
    }

    proptest! {
        #[test]
        fn merge_with_a_final_death_is_commutative_associative_and_idempotent(a in cell(), b in cell(), c in cell()) {
            let merged = |a: &Cell, b: &Cell| match a.merge_in(Field::Identity.number(), b) {
                Merge::Taken => b.clone(),
                Merge::Kept => a.clone(),
            };
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&a, &b).value.is_none(), a.value.is_none() || b.value.is_none());
        }

        #[test]
        fn merge_is_commutative_associative_and_idempotent(a in cell(), b in cell(), c in cell()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a);
        }

        #[test]
        fn joined_vectors_cover_both(a in proptest::collection::vec((0u64..4, 0u64..9), 0..6), b in proptest::collection::vec((0u64..4, 0u64..9), 0..6)) {
            let vector = |v: Vec<(u64, u64)>| v.into_iter().map(|(o, t)| (OriginId(o), Hlc(t))).collect::<VersionVector>();
            let (a, b) = (vector(a), vector(b));
            let mut both = a.clone();
            both.join(&b);
            prop_assert!(both.covers_all(&a) && both.covers_all(&b));
            let mut other = b.clone();
            other.join(&a);
            prop_assert_eq!(both.digest(), other.digest());
        }
    }
}
