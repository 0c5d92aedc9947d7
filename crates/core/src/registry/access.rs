//! Who may do what: decided here, from the entry and the closure of memberships.
//!
//! Guards P5, P7, P8 and the table in data-model.md. A closure that could not be
//! followed to its end makes the answer `Unavailable`, never no and never yes.

use std::collections::BTreeSet;

use grapevine_model::{
    Answer, EntryChange, EntryKind, GroupList, Incarnation, Member, Name, Question, Refusal,
    RegistryName, Resolution, Speaker,
};

use crate::registry::directory::{Eval, Held, MOST_QUESTIONS, Memo, Need};
use crate::registry::policy::chooses_holders;
use crate::server::Server;

impl Server {
    /// Is somebody in a list of a group, over nested groups of all registries?
    pub(crate) fn is_in(
        &self,
        memo: &Memo,
        group: &Name,
        list: GroupList,
        who: &Name,
        incarnation: Option<Incarnation>,
    ) -> Eval<bool> {
        self.is_in_meant(memo, (group, None), list, (who, incarnation))
    }

    /// The same of the group that a name meant once: one that has the name now is another one.
    pub(crate) fn is_in_meant(
        &self,
        memo: &Memo,
        (group, meant): (&Name, Option<Incarnation>),
        list: GroupList,
        (who, incarnation): (&Name, Option<Incarnation>),
    ) -> Eval<bool> {
        if self.gives_nothing(who, incarnation) {
            return Ok(false);
        }
        // Most questions end with the first group, so there is nothing to keep for those.
        let mut visited = BTreeSet::new();
        let mut frontier = Vec::new();
        let mut first = Some((group.clone(), meant, list));
        let mut unknown = None;
        while let Some(next) = first.take().or_else(|| frontier.pop()) {
            if visited.contains(&next) {
                continue;
            }
            let (group, meant, list) = next;
            let answer = match self.held(group.registry()) {
                Held::Here => self.level((&group, meant), list, who, incarnation),
                Held::Unknown => continue,
                Held::Elsewhere => {
                    let who = who.clone();
                    let question = Question::IsIn {
                        group: group.clone(),
                        meant,
                        list,
                        who,
                        incarnation,
                    };
                    let known = memo.get(&question).cloned();
                    match known.or_else(|| self.told(memo, &question)) {
                        Some(answer) => answer,
                        None if memo.len() >= MOST_QUESTIONS => Answer::Unavailable,
                        None => return Err(Need::Ask(Box::new(question))),
                    }
                }
            };
            match answer {
                Answer::Level { found: true, .. } => return Ok(true),
                Answer::Level {
                    found: false,
                    elsewhere,
                } => {
                    // Every cycle leads through one of these.
                    if !elsewhere.is_empty() {
                        visited.insert((group, meant, list));
                    }
                    frontier.extend(
                        elsewhere
                            .into_iter()
                            .map(|(group, meant)| (group, meant, GroupList::Members)),
                    );
                }
                Answer::Unavailable
                | Answer::Resolved(_)
                | Answer::Groups { .. }
                | Answer::Lives(_)
                | Answer::Sites { .. } => unknown = Some(group),
            }
        }
        match unknown {
            Some(_) if self.planted_unknown_is_no => Ok(false),
            Some(group) => Err(Need::Unavailable(format!(
                "no holder of {} can be asked about {group}",
                group.registry()
            ))),
            None => Ok(false),
        }
    }

    /// Whether somebody's memberships give nothing: the entry is surely no more, or stands aside.
    pub(super) fn gives_nothing(&self, who: &Name, incarnation: Option<Incarnation>) -> bool {
        let (Some(database), Some(is)) = (self.database(who.registry()), incarnation) else {
            return false;
        };
        match database.entry(is) {
            Some(entry) => !database.has_its_name(&entry),
            // One that this holder has not heard of yet is judged by what lists it.
            None => database.is_deleted(is),
        }
    }

    /// Whether the speaker is in a list of a group.
    fn speaks_for(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        group: &Name,
        list: GroupList,
    ) -> Eval<bool> {
        match speaker {
            Speaker::Individual { name, incarnation } => {
                self.is_in(memo, group, list, name, Some(*incarnation))
            }
            Speaker::Operator | Speaker::Server(_) => Ok(true),
            Speaker::Anonymous | Speaker::Neighbour => Ok(false),
        }
    }

    /// A registrar of a registry: an owner of `R@gv`, of R only.
    pub(crate) fn is_registrar(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        registry: &RegistryName,
    ) -> Eval<bool> {
        self.speaks_for(memo, speaker, &registry.group(), GroupList::Owners)
    }

    /// An owner of `gv@gv`: may create registries, add and retire servers.
    pub(crate) fn is_founder(&self, memo: &Memo, speaker: &Speaker) -> Eval<bool> {
        self.is_registrar(memo, speaker, &RegistryName::gv())
    }

    /// Whether the speaker is this very individual, as it now is.
    pub(crate) fn is_self(&self, speaker: &Speaker, incarnation: Incarnation) -> bool {
        match speaker {
            Speaker::Individual {
                incarnation: speaking,
                ..
            } => *speaking == incarnation,
            Speaker::Operator | Speaker::Server(_) => true,
            Speaker::Anonymous | Speaker::Neighbour => false,
        }
    }

    /// Whether the speaker is an individual that is not surely gone: what is left of a login whose
    /// entry was deleted does nothing to the memberships of whoever has its name now.
    fn is_somebody(&self, speaker: &Speaker) -> bool {
        match speaker {
            Speaker::Individual { name, incarnation } => {
                !self.gives_nothing(name, Some(*incarnation))
            }
            Speaker::Anonymous | Speaker::Neighbour | Speaker::Operator | Speaker::Server(_) => {
                false
            }
        }
    }

    /// Whether the speaker may make this change to an entry held here.
    pub(crate) fn may_change(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
        change: &EntryChange,
    ) -> Eval<Result<(), Refusal>> {
        if self.planted_no_access_check {
            return Ok(Ok(()));
        }
        let Some(entry) = self.entry(name) else {
            return Ok(Err(Refusal::not_found(name)));
        };
        let registrar = || self.is_registrar(memo, speaker, name.registry());
        let allowed = match change {
            EntryChange::Password(_)
            | EntryChange::Forward(_)
            | EntryChange::ConnectSites { .. } => {
                self.is_self(speaker, entry.incarnation) || registrar()?
            }
            EntryChange::AppPasswordAdd(_) => self.is_self(speaker, entry.incarnation),
            EntryChange::AppPasswordRemove(_) => {
                self.is_self(speaker, entry.incarnation) || registrar()?
            }
            EntryChange::Sites(_)
            | EntryChange::AliasAdd(_)
            | EntryChange::AliasRemove(_)
            | EntryChange::Rename(_)
            | EntryChange::FormerRemove(_)
            | EntryChange::Quota(_) => registrar()?,
            EntryChange::Posting(_) | EntryChange::Resume(_) => {
                self.is_owner(memo, speaker, name)?
            }
            // The token is the right.
            EntryChange::Unsubscribe(_) => true,
            EntryChange::Judge { .. } => self.may_judge(memo, speaker, name)?,
            EntryChange::Remark(_) => match entry.kind() {
                EntryKind::Group => self.is_owner(memo, speaker, name)?,
                EntryKind::Individual => registrar()?,
            },
            EntryChange::ListAdd(list, _) | EntryChange::ListRemove(list, _)
                if chooses_holders(name, entry.kind(), *list)
                    && !matches!(speaker, Speaker::Server(_)) =>
            {
                return Ok(Err(Refusal::not_allowed(format!(
                    "the holders of a registry are changed by `grapevine registry holders`, not in {name}"
                ))));
            }
            EntryChange::ListAdd(GroupList::Members, Member::Name(who))
            | EntryChange::ListRemove(GroupList::Members, Member::Name(who))
                if matches!(speaker, Speaker::Individual { name, .. } if name == who) =>
            {
                let leaving = matches!(change, EntryChange::ListRemove(..));
                (leaving && self.is_somebody(speaker))
                    || self.is_owner(memo, speaker, name)?
                    || self.speaks_for(memo, speaker, name, GroupList::Friends)?
            }
            EntryChange::ListAdd(..) | EntryChange::ListRemove(..) => {
                self.is_owner(memo, speaker, name)?
            }
            EntryChange::Join => {
                self.is_somebody(speaker)
                    && (self.speaks_for(memo, speaker, name, GroupList::Friends)?
                        || self.is_owner(memo, speaker, name)?)
            }
            EntryChange::Leave => self.is_somebody(speaker),
        };
        Ok(if allowed {
            Ok(())
        } else {
            Err(Refusal::not_allowed(format!(
                "you may not make this change to {name}"
            )))
        })
    }

    /// An owner of a group; of a group without owners, the registrars.
    pub(crate) fn is_owner(&self, memo: &Memo, speaker: &Speaker, group: &Name) -> Eval<bool> {
        let owners = self
            .entry(group)
            .map_or(0, |e| e.members(GroupList::Owners, None).take(1).count());
        if owners == 0 {
            self.is_registrar(memo, speaker, group.registry())
        } else {
            self.speaks_for(memo, speaker, group, GroupList::Owners)
        }
    }

    /// Whether the speaker may give this return path: as itself, its aliases, or a group it owns.
    pub(crate) fn may_send_as(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
    ) -> Eval<Result<(), Refusal>> {
        let (speaking, incarnation) = match speaker {
            Speaker::Individual { name, incarnation } => (name, incarnation),
            Speaker::Operator | Speaker::Server(_) => return Ok(Ok(())),
            Speaker::Anonymous | Speaker::Neighbour => {
                return Ok(Err(Refusal::new(
                    grapevine_model::ErrorKind::NotAuthenticated,
                    "log in first",
                )));
            }
        };
        let plain = name.without_detail();
        let refused = || Refusal::not_allowed(format!("{speaking} may not send as {name}"));
        match self.resolve(memo, &plain)? {
            Resolution::Individual {
                incarnation: meant, ..
            } if meant == *incarnation => Ok(Ok(())),
            Resolution::Individual { .. } => Ok(Err(refused())),
            Resolution::Group { name: group, .. } => {
                let owner = self.is_in(
                    memo,
                    &group,
                    GroupList::Owners,
                    speaking,
                    Some(*incarnation),
                )?;
                Ok(if owner { Ok(()) } else { Err(refused()) })
            }
            Resolution::NoSuch => match plain.group_of_owners() {
                Some(group) => {
                    let owner = self.is_in(
                        memo,
                        &group,
                        GroupList::Owners,
                        speaking,
                        Some(*incarnation),
                    )?;
                    Ok(if owner { Ok(()) } else { Err(refused()) })
                }
                None => Ok(Err(refused())),
            },
        }
    }
}

/// Whether a list names somebody himself, by incarnation or by wildcard.
pub(super) fn listed(
    entry: &crate::registry::database::Entry<'_>,
    list: GroupList,
    who: &Name,
    incarnation: Option<Incarnation>,
) -> bool {
    let named = match incarnation {
        // Under whatever name it was listed. A membership recorded before its entry was known meant
        // nobody in particular, so it gives no right to a later one.
        Some(is) => entry.lists(list, is),
        // An outside address has no incarnation.
        None => entry
            .listed(list, &who.key())
            .is_some_and(|listed| listed.incarnation.is_none()),
    };
    named
        || entry.listed(list, &Member::Anyone.key()).is_some()
        || (incarnation.is_some()
            && entry
                .listed(list, &Member::AnyoneIn(who.registry().clone()).key())
                .is_some())
}
