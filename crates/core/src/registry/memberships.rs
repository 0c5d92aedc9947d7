//! Which groups somebody is in, over all registries: the reverse of a membership.
//!
//! Guards P7: a registry that can't be asked makes the whole answer unavailable,
//! never a shorter list. The lists of groups held here come from the reverse index
//! (`listed_in`); holders of the others are asked, in pages.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Answer, Depth, EntryKind, ErrorKind, GroupList, Incarnation, Life, Member, MemberKind, Name,
    Question, Refusal, RegistryName, Reply, Resolution, Speaker,
};

use crate::codec::{self, Listed};
use crate::registry::database::{element, list_field};
use crate::registry::directory::{Eval, Held, MOST_QUESTIONS, Memo, Need};
use crate::registry::listed_in::Whom;
use crate::replication::push::Change;
use crate::server::Server;

/// Groups in one answer between servers: with the longest names a few hundred KiB.
const PAGE: usize = 500;
/// Names in one question.
const MOST_ASKED_ABOUT: usize = 500;
/// Groups that somebody may be in for the question to be answered: all of them are found anew for
/// every page, so that nothing is kept between pages.
const MOST_GROUPS: usize = 10_000;
/// Most groups in one reply to a client.
const MAX_PAGE: usize = 1_000;

/// Somebody, and what the name means.
type Who = (Member, Option<Incarnation>);
/// Groups by their keys.
type Groups = BTreeMap<String, (Name, Incarnation)>;

impl Server {
    /// A page of the groups that a name is in, for whoever is logged in.
    pub(crate) fn member_of(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        who: &Name,
        (list, depth): (GroupList, Depth),
        (after, limit): (Option<&str>, u32),
    ) -> Eval<Result<Reply, Refusal>> {
        if speaker.is_nobody() {
            return Ok(Err(Refusal::new(
                ErrorKind::NotAuthenticated,
                "log in first",
            )));
        }
        let who = match self.resolve(memo, who)? {
            Resolution::Individual {
                name, incarnation, ..
            }
            | Resolution::Group {
                name, incarnation, ..
            } => (name, Some(incarnation)),
            Resolution::NoSuch if self.held(who.registry()) == Held::Unknown => (who.clone(), None),
            Resolution::NoSuch => return Ok(Err(Refusal::not_found(who))),
        };
        let found = match self.groups_of(memo, who, list, depth)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let limit = usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE);
        let mut page: Vec<(&String, &(Name, Incarnation))> = found
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit + 1)
            .collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|(key, _)| (*key).clone());
        let kinds = vec![MemberKind::Group; page.len()];
        let members = page
            .into_iter()
            .map(|(_, (name, _))| Member::Name(name.clone()))
            .collect();
        Ok(Ok(Reply::Members {
            members,
            kinds,
            next,
        }))
    }

    fn groups_of(
        &self,
        memo: &Memo,
        (name, incarnation): (Name, Option<Incarnation>),
        list: GroupList,
        depth: Depth,
    ) -> Eval<Result<Groups, Refusal>> {
        let mut first: Vec<Who> = vec![(Member::Anyone, None)];
        if incarnation.is_some() {
            first.push((Member::AnyoneIn(name.registry().clone()), None));
        }
        first.push((Member::Name(name), incarnation));
        let mut all_who = first.clone();
        let mut above = Groups::new();
        if depth == Depth::Nested {
            let mut frontier = first;
            while !frontier.is_empty() {
                let step = self.listing(memo, GroupList::Members, &frontier)?;
                let new = step.into_iter().filter(|(key, _)| !above.contains_key(key));
                let new: Groups = new.collect();
                frontier = new.values().map(as_who).collect();
                above.extend(new);
                if above.len() > MOST_GROUPS {
                    return Ok(Err(too_many()));
                }
            }
            if list == GroupList::Members {
                return Ok(Ok(above));
            }
            all_who.extend(above.values().map(as_who));
        }
        let found = self.listing(memo, list, &all_who)?;
        Ok(if found.len() > MOST_GROUPS {
            Err(too_many())
        } else {
            Ok(found)
        })
    }

    /// The groups of all registries that list one of these.
    fn listing(&self, memo: &Memo, list: GroupList, who: &[Who]) -> Eval<Groups> {
        let mut found = Groups::new();
        for part in who.chunks(MOST_ASKED_ABOUT) {
            for registry in self.holdings.keys() {
                let mut after = None;
                loop {
                    let page = match self.held(registry) {
                        Held::Here => self.listing_here(registry, list, part, after.as_deref()),
                        Held::Elsewhere | Held::Unknown => {
                            let question = Question::ListedIn {
                                registry: registry.clone(),
                                list,
                                who: part.to_vec(),
                                after,
                            };
                            match memo.get(&question) {
                                Some(answer) => answer.clone(),
                                None if memo.len() >= MOST_QUESTIONS => Answer::Unavailable,
                                None => return Err(Need::Ask(Box::new(question))),
                            }
                        }
                    };
                    let Answer::Groups { groups, next } = page else {
                        return Err(Need::Unavailable(format!(
                            "no holder of {registry} can be asked for its groups"
                        )));
                    };
                    found.extend(
                        groups
                            .into_iter()
                            .map(|(name, is)| (name.key(), (name, is))),
                    );
                    match next {
                        // Only onwards, whatever a holder says.
                        Some(next) if found.len() <= MOST_GROUPS => after = Some(next),
                        Some(_) | None => break,
                    }
                }
            }
        }
        Ok(found)
    }

    /// The groups of a registry held here that list one of these, a page of them.
    pub(crate) fn listing_here(
        &self,
        registry: &RegistryName,
        list: GroupList,
        who: &[Who],
        after: Option<&str>,
    ) -> Answer {
        let Some(database) = self.database(registry) else {
            return Answer::Unavailable;
        };
        // A holder that may not answer while it is cut off knows too few groups, perhaps.
        if who.len() > MOST_ASKED_ABOUT || self.may_read(registry).is_err() {
            return Answer::Unavailable;
        }
        let field = list_field(list).number();
        let mut found = Groups::new();
        let mut more = false;
        for (member, incarnation) in who {
            let whom = match incarnation {
                Some(incarnation) => Whom::entry(*incarnation),
                None => Whom::key(member.key().as_bytes()),
            };
            for (group, _) in database.lists(whom).filter(|(_, is)| *is == field) {
                let Some(name) = group.name().filter(|_| group.kind() == EntryKind::Group) else {
                    continue;
                };
                let key = name.key();
                if after.is_some_and(|after| key.as_str() <= after) {
                    continue;
                }
                found.insert(key, (name, group.incarnation));
                if found.len() > PAGE {
                    found.pop_last();
                    more = true;
                }
            }
        }
        let next = found.last_key_value().filter(|_| more);
        Answer::Groups {
            next: next.map(|(key, _)| key.clone()),
            groups: found.into_values().collect(),
        }
    }

    /// What a listed name is called now: its entry may have been renamed, and the name be another
    /// one's. None when it surely means nobody any more.
    pub(crate) fn called_now(&self, member: &Name, meant: Option<Incarnation>) -> Option<Name> {
        let Some(database) = self.database(member.registry()) else {
            return Some(member.clone());
        };
        match meant {
            Some(meant) => database.standing(meant)?.name(),
            // It meant nobody when it was listed, and does not mean a later one.
            None => database
                .find(member.folded())
                .is_none()
                .then(|| member.clone()),
        }
    }

    /// A listed member under its present name, as far as that is known here.
    pub(crate) fn shown(&self, member: Member, meant: Option<Incarnation>) -> Member {
        match member {
            Member::Name(name) => {
                let now = meant.and_then(|_| self.called_now(&name, meant));
                Member::Name(now.unwrap_or(name))
            }
            Member::Anyone | Member::AnyoneIn(_) => member,
        }
    }

    /// What puts somebody into a list of a group. Whoever was listed by that name before he was renamed stays, under his
    /// present name.
    pub(crate) fn enlist(
        &self,
        memo: &Memo,
        (group, list): (&Name, GroupList),
        key: &str,
        listed: &Listed,
    ) -> Eval<Vec<Change>> {
        let Some(entry) = self.entry(group) else {
            return Ok(Vec::new());
        };
        let put = |key: &str, listed: &Listed| {
            let key = element(entry.incarnation, list_field(list), key);
            Change::put(key, codec::encode(listed))
        };
        let before = entry.listed(list, key);
        if before.as_ref() == Some(listed) {
            return Ok(Vec::new());
        }
        let mut changes = vec![put(key, listed)];
        let Some((before, meant, name)) = before.and_then(|before| {
            let meant = before.incarnation?;
            let name: Name = before.spelling.parse().ok()?;
            (listed.incarnation != Some(meant)).then_some((before, meant, name))
        }) else {
            return Ok(changes);
        };
        if self.held(name.registry()) == Held::Unknown {
            return Ok(changes);
        }
        match self.life_of(memo, name.registry(), meant)? {
            Some(Life::Lives(now)) if now.key() != key => {
                let spelling = now.to_string();
                changes.push(put(&now.key(), &Listed { spelling, ..before }));
            }
            Some(Life::Gone | Life::Aside | Life::Absent) => {}
            Some(Life::Lives(_) | Life::Unheard) | None => {
                let why =
                    format!("nobody can tell now whom the group lists as {name}; try again later");
                return Err(Need::Unavailable(why));
            }
        }
        Ok(changes)
    }

    /// Which elements of a group's list stand for somebody: under this name, or under another name
    /// of the same entry.
    pub(crate) fn elements_for(
        &self,
        group: &Name,
        list: GroupList,
        member: &Member,
        meant: Option<Incarnation>,
    ) -> Vec<String> {
        let key = member.key();
        let Some(entry) = self.entry(group) else {
            return Vec::new();
        };
        let there = entry.listed(list, &key);
        let meant: BTreeSet<Incarnation> = there
            .as_ref()
            .and_then(|listed| listed.incarnation)
            .into_iter()
            .chain(meant)
            .collect();
        let others = meant.iter().any(|is| {
            let itself = there.as_ref().is_some_and(|l| l.incarnation == Some(*is));
            entry.times_listed(list, *is) > usize::from(itself)
        });
        let mut elements: Vec<String> = there.map(|_| key.clone()).into_iter().collect();
        if others {
            // Rare: only then the whole list is looked through.
            let same = entry
                .members(list, None)
                .filter(|(_, listed)| listed.incarnation.is_some_and(|is| meant.contains(&is)))
                .map(|(listed, _)| listed.key())
                .filter(|other| *other != key);
            elements.extend(same);
        }
        elements
    }
}

fn as_who((name, incarnation): &(Name, Incarnation)) -> Who {
    (Member::Name(name.clone()), Some(*incarnation))
}

fn too_many() -> Refusal {
    Refusal::new(
        ErrorKind::TooLarge,
        format!("in more than {MOST_GROUPS} groups: ask with `check` for one of them"),
    )
}
