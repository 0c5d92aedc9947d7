//! Is somebody in a list: the walk over nested groups within the registries held here, remembered in
//! `closures`, and the questions for one and for many that are answered from it.
//!
//! Guards P5 and P7. Cycles end, and what is visited is bounded; a walk that was cut short, and a
//! registry that may not be read now, make the answer "can't tell", never no.

use std::collections::BTreeSet;

use grapevine_model::{
    Answer, Check, EntryKind, ErrorKind, GroupList, Incarnation, MAX_CHECKS, Name, Question,
    Refusal, Reply, Resolution,
};

use crate::registry::access::listed;
use crate::registry::closures::{Reach, Sought};
use crate::registry::directory::{Eval, Held, Hint, MOST_QUESTIONS, Memo, Need};
use crate::registry::request::{Outcome, Stop};
use crate::server::Server;

impl Server {
    /// As far as the registries held here tell: is somebody in a list of a group?
    pub(crate) fn level(
        &self,
        (group, meant): (&Name, Option<Incarnation>),
        list: GroupList,
        who: &Name,
        as_whom: Option<Incarnation>,
    ) -> Answer {
        let here = |found, elsewhere| Answer::Level { found, elsewhere };
        // What was not fetched whole, or may not be read now, says nothing about what a name meant.
        if self.may_read(group.registry()).is_err() {
            return Answer::Unavailable;
        }
        let Some(group) = &self.meant_now(group.clone(), meant) else {
            return here(false, Vec::new());
        };
        let Some(root) = self.living(group) else {
            return here(false, Vec::new());
        };
        let key = (root, list);
        if let Some(reach) = self.closures.borrow().reach(key)
            && let Some(found) = reach.answers.get(&Sought::new(who, as_whom))
            && self.all_readable(reach)
        {
            let elsewhere = if *found {
                Vec::new()
            } else {
                reach.elsewhere.clone()
            };
            return here(*found, elsewhere);
        }
        self.level_afresh(group, key, who, as_whom)
    }

    /// The same where no answer is remembered; what the list reaches may be.
    fn level_afresh(
        &self,
        group: &Name,
        key: (Incarnation, GroupList),
        who: &Name,
        as_whom: Option<Incarnation>,
    ) -> Answer {
        let known = self.closures.borrow().reach(key).is_some();
        if !known {
            let reach = self.follow(group, key.1);
            if reach.cut_short {
                // Not to be remembered: another time it may be whole.
                return match self.listed_in(&reach, who, as_whom) {
                    true => Answer::Level {
                        found: true,
                        elsewhere: Vec::new(),
                    },
                    false => Answer::Unavailable,
                };
            }
            self.closures.borrow_mut().remember(key, reach);
        }
        let (found, elsewhere) = {
            let closures = self.closures.borrow();
            let Some(reach) = closures.reach(key) else {
                return Answer::Unavailable;
            };
            if !self.all_readable(reach) {
                return match self.listed_in(&self.follow(group, key.1), who, as_whom) {
                    true => Answer::Level {
                        found: true,
                        elsewhere: Vec::new(),
                    },
                    false => Answer::Unavailable,
                };
            }
            let found = self.listed_in(reach, who, as_whom);
            let elsewhere = if found {
                Vec::new()
            } else {
                reach.elsewhere.clone()
            };
            (found, elsewhere)
        };
        let sought = Sought::new(who, as_whom);
        self.closures.borrow_mut().found(key, sought, found);
        Answer::Level { found, elsewhere }
    }

    fn all_readable(&self, reach: &Reach) -> bool {
        (reach.registries.iter()).all(|registry| self.may_read(registry).is_ok())
    }

    fn listed_in(&self, reach: &Reach, who: &Name, as_whom: Option<Incarnation>) -> bool {
        reach.groups.iter().any(|(registry, group, list)| {
            self.database(registry)
                .and_then(|database| database.entry(*group))
                .is_some_and(|entry| listed(&entry, *list, who, as_whom))
        })
    }

    /// Follows a list to all groups that it reaches within the registries held here.
    fn follow(&self, group: &Name, list: GroupList) -> Reach {
        let mut reach = Reach::default();
        let mut visited = BTreeSet::new();
        let mut elsewhere = BTreeSet::new();
        let mut frontier = vec![(group.clone(), list)];
        while let Some((group, list)) = frontier.pop() {
            if visited.len() >= self.config.closure_groups {
                reach.cut_short = true;
                break;
            }
            if !visited.insert((group.clone(), list)) {
                continue;
            }
            reach.names.insert(group.clone());
            if self.may_read(group.registry()).is_err() {
                reach.cut_short = true;
                continue;
            }
            let Some(entry) = self.entry(&group).filter(|e| e.kind() == EntryKind::Group) else {
                continue;
            };
            reach.registries.insert(group.registry().clone());
            reach
                .groups
                .push((group.registry().clone(), entry.incarnation, list));
            for nested in entry.nested(list) {
                let Ok(nested) = nested.parse::<Name>() else {
                    continue;
                };
                // The membership points at the incarnation that the name meant then.
                let listed = entry.listed(list, &nested.key());
                let meant = listed.and_then(|listed| listed.incarnation);
                match self.held(nested.registry()) {
                    Held::Here => {
                        reach.names.insert(nested.clone());
                        reach.meant.extend(meant);
                        let now = self.meant_now(nested, meant);
                        frontier.extend(now.map(|group| (group, GroupList::Members)));
                    }
                    Held::Elsewhere => {
                        elsewhere.insert((nested, meant));
                    }
                    Held::Unknown => {}
                }
            }
        }
        reach.elsewhere = elsewhere.into_iter().collect();
        reach
    }

    /// A group held here under its present name: the one that was meant, where that is known.
    fn meant_now(&self, group: Name, meant: Option<Incarnation>) -> Option<Name> {
        match meant {
            Some(_) => self.called_now(&group, meant),
            None => Some(group),
        }
    }

    /// What a holder of another registry has said lately, unless the client has seen something newer.
    pub(crate) fn told(&self, memo: &Memo, question: &Question) -> Option<Answer> {
        let closures = self.closures.borrow();
        let newer = memo
            .seen()
            .iter()
            .any(|seen| self.database(&seen.registry).is_none());
        let told = closures.told(question, self.now.mono_ms);
        told.filter(|_| !newer).cloned()
    }

    /// A holder of another registry has answered.
    pub(crate) fn remember_told(&mut self, question: Question, answer: Answer) {
        let now_ms = self.now.mono_ms;
        let until_ms = now_ms.saturating_add(self.config.times.closure_ms);
        self.closures
            .get_mut()
            .tell(question, answer, now_ms, until_ms);
    }

    /// What a name means in a registry held here.
    fn living(&self, name: &Name) -> Option<Incarnation> {
        self.entry(name).map(|entry| entry.incarnation)
    }

    /// What somebody's name means now, or meant `closure_ms` ago at most.
    fn as_whom(&self, memo: &Memo, who: &Name) -> Eval<Option<Incarnation>> {
        if self.held(who.registry()) == Held::Here {
            return Ok(self.living(who));
        }
        let times = self.config.times;
        let young = |hint: &Hint| {
            hint.until_ms.saturating_add(times.closure_ms)
                > self.now.mono_ms.saturating_add(times.hint_ms)
        };
        let question = Question::Resolve(who.clone());
        let stale = self.hints.get(who).is_some_and(|hint| !young(hint));
        if stale
            && memo.get(&question).is_none()
            && self.holdings.contains_key(who.registry())
            && !self.planted_hint_trusted
        {
            return Err(Need::Ask(Box::new(question)));
        }
        Ok(match self.resolve(memo, who)? {
            Resolution::Individual { incarnation, .. } | Resolution::Group { incarnation, .. } => {
                Some(incarnation)
            }
            Resolution::NoSuch => None,
        })
    }

    /// Is each of these in a list of a group held here?
    pub(crate) fn check_many(
        &mut self,
        memo: &Memo,
        group: &Name,
        list: GroupList,
        who: &[Name],
    ) -> Result<Outcome, Stop> {
        if who.len() > MAX_CHECKS {
            let why = format!("at most {MAX_CHECKS} names in one question");
            return Ok(Err(Refusal::new(ErrorKind::TooLarge, why)).into());
        }
        // The group is found once, and not again for each.
        let Some(root) = self.living(group) else {
            return Ok(Err(Refusal::not_found(group)).into());
        };
        let is_readable = self.may_read(group.registry()).is_ok();
        let mut answers = Vec::with_capacity(who.len());
        for who in who {
            if is_readable && let Some(check) = self.remembered(memo, (root, list), who) {
                answers.push(Some(check));
                continue;
            }
            answers.push(match self.check(memo, group, list, who) {
                Ok(check) => Some(check),
                Err(Need::Ask(_)) if memo.len() >= MOST_QUESTIONS => None,
                Err(Need::Unavailable(_)) => None,
                Err(need @ (Need::Ask(_) | Need::News(_))) => return Err(Stop::Need(need)),
            });
        }
        Ok(Ok(Reply::Checks(answers)).into())
    }

    /// What `check` says of a list of a group that may be read here, if that is remembered and nobody else has to be asked.
    fn remembered(&self, memo: &Memo, key: (Incarnation, GroupList), who: &Name) -> Option<Check> {
        let as_whom = self.as_whom(memo, who).ok()?;
        if self.gives_nothing(who, as_whom) {
            return Some(Check::No);
        }
        let closures = self.closures.borrow();
        let reach = closures.reach(key)?;
        match reach.answers.get(&Sought::new(who, as_whom))? {
            _ if !self.all_readable(reach) => None,
            true => Some(Check::Yes),
            false => reach.elsewhere.is_empty().then_some(Check::No),
        }
    }

    /// Is somebody in a list of a group held here, over nested groups and registries?
    pub(crate) fn check(
        &self,
        memo: &Memo,
        group: &Name,
        list: GroupList,
        who: &Name,
    ) -> Eval<Check> {
        let incarnation = self.as_whom(memo, who)?;
        let yes = self.is_in(memo, group, list, who, incarnation)?;
        Ok(if yes { Check::Yes } else { Check::No })
    }
}
