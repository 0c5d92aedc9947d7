//! Everybody in a group, by closure, as a search by `memberOf` looks them up: the group's list, the lists of the groups in it, and so on.
//!
//! It only says who can be in; whether somebody is, the search asks of each. So it must never leave anybody out: where a list lets in
//! everybody, it says so, and everything is looked at.

use std::collections::{BTreeSet, VecDeque};

use grapevine_model::{GroupList, Member, MemberKind, Name, RegistryName, Request};

use super::limits::GROUPS;
use super::message::{Code, Outcome};

/// A walk under way.
#[derive(Debug)]
pub(super) struct Within {
    registry: RegistryName,
    /// Groups whose lists are still to be read, each from there on.
    unread: VecDeque<(Name, Option<String>)>,
    seen: BTreeSet<Name>,
}

/// What a page of a list came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These can be in, of the registry that is searched.
    Some(Vec<Name>),
    /// Everybody of it can be.
    Everybody,
}

impl Within {
    /// Of a group, as far as its people are of that registry.
    pub(super) fn of(group: Name, registry: RegistryName) -> Self {
        Self {
            registry,
            unread: VecDeque::from([(group.clone(), None)]),
            seen: BTreeSet::from([group]),
        }
    }

    /// The next page of a list to be asked for; none at the end.
    pub(super) fn next(&self, limit: u32) -> Option<Request> {
        let (group, after) = self.unread.front()?;
        Some(Request::Members {
            group: group.clone(),
            list: GroupList::Members,
            after: after.clone(),
            limit,
        })
    }

    /// The group that was asked about is not there.
    pub(super) fn gone(&mut self) {
        self.unread.pop_front();
    }

    /// Takes the page.
    pub(super) fn take(
        &mut self,
        members: Vec<Member>,
        kinds: Vec<MemberKind>,
        next: Option<String>,
    ) -> Result<Found, Outcome> {
        if let Some((group, _)) = self.unread.pop_front()
            && next.is_some()
        {
            self.unread.push_front((group, next));
        }
        let kinds = kinds
            .into_iter()
            .chain(std::iter::repeat(MemberKind::Individual));
        let mut found = Vec::new();
        for (member, kind) in members.into_iter().zip(kinds) {
            let name = match member {
                Member::Anyone => return Ok(Found::Everybody),
                Member::AnyoneIn(registry) if registry == self.registry => {
                    return Ok(Found::Everybody);
                }
                Member::AnyoneIn(_) => continue,
                Member::Name(name) => name,
            };
            if kind == MemberKind::Group && self.seen.insert(name.clone()) {
                if self.seen.len() > GROUPS {
                    return Err(Outcome::new(
                        Code::AdminLimitExceeded,
                        "too many groups in one another",
                    ));
                }
                self.unread.push_back((name.clone(), None));
            }
            // A group in the group is in it, too.
            if *name.registry() == self.registry {
                found.push(name);
            }
        }
        Ok(Found::Some(found))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn within() -> Within {
        Within::of("g^@pa".parse().unwrap(), "pa".parse().unwrap())
    }

    fn members(names: &[&str]) -> Vec<Member> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn asked(within: &Within) -> Option<(String, Option<String>)> {
        match within.next(10)? {
            Request::Members { group, after, .. } => Some((group.to_string(), after)),
            _ => None,
        }
    }

    #[test]
    fn groups_in_groups_are_read_once_and_each_list_to_its_end() {
        let mut within = within();
        assert_eq!(asked(&within), Some(("g^@pa".into(), None)));
        let kinds = vec![MemberKind::Individual, MemberKind::Group];
        let found = within.take(members(&["a@pa", "h^@es"]), kinds, Some("h^@es".into()));
        assert_eq!(found.unwrap(), Found::Some(vec!["a@pa".parse().unwrap()]));
        assert_eq!(asked(&within), Some(("g^@pa".into(), Some("h^@es".into()))));
        let found = within.take(members(&["b@es"]), vec![MemberKind::Individual], None);
        assert_eq!(
            found.unwrap(),
            Found::Some(Vec::new()),
            "of another registry"
        );
        assert_eq!(asked(&within), Some(("h^@es".into(), None)));
        // A cycle, and a group of this registry in one of another.
        let kinds = vec![MemberKind::Group, MemberKind::Group];
        let found = within.take(members(&["g^@pa", "i^@pa"]), kinds, None);
        let both = vec!["g^@pa".parse().unwrap(), "i^@pa".parse().unwrap()];
        assert_eq!(found.unwrap(), Found::Some(both));
        assert_eq!(asked(&within), Some(("i^@pa".into(), None)));
        within.gone();
        assert_eq!(asked(&within), None);
    }

    #[test]
    fn who_lets_in_everybody_says_so() {
        for (wildcard, found) in [
            ("*", Found::Everybody),
            ("*@pa", Found::Everybody),
            ("*@es", Found::Some(Vec::new())),
        ] {
            let taken = within().take(members(&[wildcard]), vec![MemberKind::Outside], None);
            assert_eq!(taken.unwrap(), found, "{wildcard}");
        }
    }
}
