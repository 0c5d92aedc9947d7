//! Who is called what in one registry: its living entries, each read once from its cell, and the names that
//! they claim or had.
//!
//! Every question begins with a name, so nothing is decoded or folded again to answer one. It follows from the
//! cells and must never say more than they do: which of several claimants a name stands for is `database`'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use grapevine_model::{EntryKind, Incarnation, Stamp};

use crate::codec::Identity;

/// A living entry's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) kind: EntryKind,
    /// When it was created.
    pub(crate) created: Stamp,
    /// When it was given its name: of two that have one name the earlier keeps it.
    pub(crate) named: Stamp,
    simple: Arc<str>,
    /// Mostly the same text: shared then, and with the index of names.
    folded: Arc<str>,
}

impl Known {
    fn new(identity: &Identity) -> Self {
        let simple: Arc<str> = identity.simple.as_str().into();
        let lower = identity.simple.to_lowercase();
        let folded = if *lower == *simple {
            Arc::clone(&simple)
        } else {
            lower.into()
        };
        Self {
            kind: identity.kind,
            created: identity.created,
            named: identity.named,
            simple,
            folded,
        }
    }

    /// The simple name as first given.
    pub(crate) fn simple(&self) -> &str {
        &self.simple
    }

    /// The simple name, lower case.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// As its cell has it.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            kind: self.kind,
            simple: self.simple.to_string(),
            created: self.created,
            named: self.named,
        }
    }
}

/// Those who claim a name, the earliest first: one, as good as always, so no more room than for that.
#[derive(Debug, Default)]
struct Claims(Vec<(Stamp, Incarnation)>);

impl Claims {
    fn insert(&mut self, claim: (Stamp, Incarnation)) {
        if let Err(place) = self.0.binary_search(&claim) {
            self.0.reserve_exact(1);
            self.0.insert(place, claim);
        }
    }

    fn remove(&mut self, claim: (Stamp, Incarnation)) {
        if let Ok(place) = self.0.binary_search(&claim) {
            self.0.remove(place);
        }
    }
}

type Names = BTreeMap<Arc<str>, Claims>;

/// The index of one registry.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    known: BTreeMap<Incarnation, Known>,
    /// Folded simple names, of entries and aliases.
    names: Names,
    /// Names that more than one claims.
    contested: BTreeSet<Arc<str>>,
    /// Folded former names.
    had: Names,
}

impl Roll {
    /// An entry lives under a name.
    pub(crate) fn born(&mut self, incarnation: Incarnation, identity: &Identity) {
        let known = Known::new(identity);
        self.claim(Arc::clone(&known.folded), known.named, incarnation);
        self.known.insert(incarnation, known);
    }

    /// It does not any more, or not under that name.
    pub(crate) fn gone(&mut self, incarnation: Incarnation) -> Option<Known> {
        let known = self.known.remove(&incarnation)?;
        self.disclaim(&known.folded, known.named, incarnation);
        Some(known)
    }

    /// An entry has a further name.
    pub(crate) fn aliased(&mut self, name: &str, since: Stamp, incarnation: Incarnation) {
        self.claim(name.into(), since, incarnation);
    }

    /// It has not any more.
    pub(crate) fn unaliased(&mut self, name: &str, since: Stamp, incarnation: Incarnation) {
        self.disclaim(name, since, incarnation);
    }

    /// An entry had a name.
    pub(crate) fn had_name(&mut self, name: &str, since: Stamp, incarnation: Incarnation) {
        let had = self.had.entry(name.into()).or_default();
        had.insert((since, incarnation));
    }

    /// That is forgotten.
    pub(crate) fn had_not(&mut self, name: &str, since: Stamp, incarnation: Incarnation) {
        if let Some(had) = self.had.get_mut(name) {
            had.remove((since, incarnation));
            if had.0.is_empty() {
                self.had.remove(name);
            }
        }
    }

    fn claim(&mut self, name: Arc<str>, since: Stamp, incarnation: Incarnation) {
        let claims = self.names.entry(Arc::clone(&name)).or_default();
        claims.insert((since, incarnation));
        if claims.0.len() > 1 {
            self.contested.insert(name);
        }
    }

    fn disclaim(&mut self, name: &str, since: Stamp, incarnation: Incarnation) {
        if let Some(claims) = self.names.get_mut(name) {
            claims.remove((since, incarnation));
            if claims.0.len() < 2 {
                self.contested.remove(name);
            }
            if claims.0.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// How many live.
    pub(crate) fn living(&self) -> u64 {
        self.known.len() as u64
    }

    /// A living entry.
    pub(crate) fn known(&self, incarnation: Incarnation) -> Option<&Known> {
        self.known.get(&incarnation)
    }

    /// Those who claim a name now, living or not, the earliest first.
    pub(crate) fn claimants(&self, folded: &str) -> impl Iterator<Item = Incarnation> + '_ {
        claims(&self.names, folded)
    }

    /// Those who had a name, the latest last.
    pub(crate) fn had(&self, folded: &str) -> impl DoubleEndedIterator<Item = Incarnation> + '_ {
        claims(&self.had, folded)
    }

    /// Whether more than one claims a name.
    pub(crate) fn is_contested(&self, folded: &str) -> bool {
        self.contested.contains(folded)
    }

    /// How many claim or had a name.
    pub(crate) fn count(&self, folded: &str) -> usize {
        let count = |names: &Names| names.get(folded).map_or(0, |claims| claims.0.len());
        count(&self.names).saturating_add(count(&self.had))
    }

    /// The names that somebody has now, in order, after one of them.
    pub(crate) fn names_after(&self, after: Option<&str>) -> impl Iterator<Item = &str> {
        self.names
            .range::<str, _>((beyond(after), Bound::Unbounded))
            .map(|(name, _)| &**name)
    }

    /// The names that more than one claims, in order, after one of them.
    pub(crate) fn contested_after(&self, after: &str) -> impl Iterator<Item = &str> {
        self.contested
            .range::<str, _>((beyond(Some(after)), Bound::Unbounded))
            .map(|name| &**name)
    }
}

fn beyond(after: Option<&str>) -> Bound<&str> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

fn claims<'a>(
    names: &'a Names,
    folded: &str,
) -> impl DoubleEndedIterator<Item = Incarnation> + use<'a> {
    let claims = names.get(folded).map(|claims| claims.0.as_slice());
    claims
        .unwrap_or_default()
        .iter()
        .map(|(_, incarnation)| *incarnation)
}

#[cfg(test)]
mod tests {
    use grapevine_model::{Hlc, OriginId};

    use super::*;

    fn stamp(time: u64) -> Stamp {
        Stamp {
            time: Hlc(time),
            origin: OriginId(1),
        }
    }

    fn identity(simple: &str, named: u64) -> Identity {
        Identity {
            kind: EntryKind::Individual,
            simple: simple.into(),
            created: stamp(1),
            named: stamp(named),
        }
    }

    #[test]
    fn the_earlier_claim_comes_first_and_a_name_is_contested_while_two_claim_it() {
        let mut roll = Roll::default();
        let (early, late) = (Incarnation(9), Incarnation(3));
        roll.born(late, &identity("Birrell", 7));
        roll.born(early, &identity("birrell", 5));
        assert_eq!(roll.claimants("birrell").collect::<Vec<_>>(), [early, late]);
        assert_eq!(roll.contested_after("").collect::<Vec<_>>(), ["birrell"]);
        assert_eq!(roll.known(late).map(Known::simple), Some("Birrell"));
        assert_eq!(roll.known(late).map(Known::folded), Some("birrell"));
        assert!(roll.gone(early).is_some() && roll.gone(early).is_none());
        assert_eq!(roll.claimants("birrell").collect::<Vec<_>>(), [late]);
        assert_eq!(roll.contested_after("").count(), 0);
        assert_eq!((roll.living(), roll.count("birrell")), (1, 1));
    }

    #[test]
    fn nothing_is_left_of_names_that_nobody_has() {
        let mut roll = Roll::default();
        roll.born(Incarnation(1), &identity("a", 1));
        roll.aliased("b", stamp(2), Incarnation(1));
        roll.had_name("c", stamp(3), Incarnation(1));
        assert_eq!(roll.names_after(None).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(roll.names_after(Some("a")).collect::<Vec<_>>(), ["b"]);
        roll.gone(Incarnation(1));
        roll.unaliased("b", stamp(2), Incarnation(1));
        roll.had_not("c", stamp(3), Incarnation(1));
        assert!(roll.names.is_empty() && roll.had.is_empty() && roll.known.is_empty());
    }
}
