//! One search under way: what is asked of the server behind the door, entry by entry, and what is written.
//!
//! It holds one page of entries and one answer at a time, and stops at its limits with a result that says so. Whatever can't be asked ends it
//! with `unavailable` or `busy`: an answer is whole, or it says that it is not.

use std::collections::{BTreeSet, VecDeque};

use grapevine_model::{
    Check, Depth, EntryKind, EntryView, ErrorKind, GroupList, Member, MemberKind, Name, Refusal,
    RegistryName, Reply, Request,
};

use super::dn::{self, Place, place};
use super::evaluate::{Fact, Known, Lack, Lookup, Truth, evaluate, lookups};
use super::filter::Filter;
use super::limits::{ENTRIES, GROUPS, LOOKED_AT, PAGE_ENTRIES, SEARCH_MS, VALUES};
use super::message::{Code, Outcome, Scope, Search, put_entry};
use super::outcomes::{no_such_object, odd, only, refused, too_many_groups, too_much_to_look_at};
use super::schema::{Attribute, Found, Posix, Wanted};
use super::within::{self, Within};

/// Entries, and members, asked for at a time.
const PAGE: u32 = 500;
/// Entries looked up by name at a time: one turn of the server for all of them. With everything at its limit
/// an entry has about 70 KiB, so these are hardly more than a page.
const SHOWN_AT_ONCE: usize = 16;

/// A search under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: i32,
    pub(super) search: Search,
    /// Entries of one page, where pages were asked for.
    pub(super) page: Option<usize>,
    wanted: Wanted,
    registry: RegistryName,
    lookups: VecDeque<Task>,
    /// Entries to be looked at, each with what the lookup that found it has told.
    queue: VecDeque<(Found, Option<Fact>)>,
    scan: Scan,
    /// The group whose people are being looked up.
    within: Option<Within>,
    seen: BTreeSet<u128>,
    current: Option<Candidate>,
    asked: Option<Asked>,
    sent: usize,
    sent_in_page: usize,
    looked_at: usize,
    until_ms: u64,
    /// Whether the registry is known to be there.
    registry_seen: bool,
}

/// Something to be looked up.
#[derive(Clone, Debug)]
enum Task {
    /// The base itself, which must be there.
    Base(Place),
    /// The registry's own entry.
    Registry,
    Lookup(Lookup),
    /// A group that somebody is in.
    GroupOf(Fact),
    /// The further groups of somebody.
    MoreGroups(Name, String),
    /// The further lists of the group that is being walked.
    Within,
}

/// Looking at all entries.
#[derive(Clone, Debug)]
enum Scan {
    Off,
    After(Option<String>),
}

/// The question that is open.
#[derive(Debug)]
enum Asked {
    Base(Place),
    Registry,
    /// Entries by their names, each with what finding it tells.
    Shows(Vec<Option<Fact>>),
    /// The entry of a number.
    Number,
    Entries,
    Groups(Name),
    Within,
    Fact(Fact),
    InAGroup,
    Members,
    Owners,
    MemberOf,
}

/// An entry that may fit.
#[derive(Debug)]
struct Candidate {
    found: Found,
    known: Known,
    members: Listed,
    owners: Listed,
    groups: Listed,
    fits: bool,
}

/// A list that is fetched in pages.
#[derive(Debug, Default)]
struct Listed {
    dns: Vec<String>,
    simple: Vec<String>,
    after: Option<String>,
    whole: bool,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Step {
    /// Something was written or done: go on.
    On,
    /// Ask these, all at once.
    Ask(Vec<Request>),
    /// The page is full, and there may be more.
    PageFull,
    /// The end.
    Done(Outcome),
}

/// The request for the groups, of all registries, that somebody is in by closure.
fn groups_of(who: &Name, after: Option<String>) -> Request {
    Request::MemberOf {
        name: who.clone(),
        list: GroupList::Members,
        depth: Depth::Nested,
        after,
        limit: PAGE,
    }
}

/// A page of groups out of its reply.
fn groups_in(reply: Reply) -> Option<(Vec<Name>, Option<String>)> {
    let Reply::Members { members, next, .. } = reply else {
        return None;
    };
    let names = members.into_iter().filter_map(|member| match member {
        Member::Name(name) => Some(name),
        Member::Anyone | Member::AnyoneIn(_) => None,
    });
    Some((names.collect(), next))
}

impl Running {
    /// Begins a search below a registry or at an entry.
    pub(super) fn begin(
        id: i32,
        search: Search,
        page: Option<usize>,
        now_ms: u64,
    ) -> Result<Self, Outcome> {
        let base = place(&search.base).map_err(|_| {
            Outcome::new(Code::InvalidDnSyntax, "the base is no distinguished name")
        })?;
        let mut tasks = VecDeque::new();
        let mut scan = Scan::Off;
        let registry = match &base {
            Place::Root => {
                return Err(Outcome::new(
                    Code::UnwillingToPerform,
                    "begin at a registry, such as dc=pa,dc=example",
                ));
            }
            Place::Nothing(_) => return Err(no_such_object(&search.base)),
            Place::Individual(name) | Place::Group(name) => {
                tasks.push_back(Task::Base(base.clone()));
                name.registry().clone()
            }
            Place::Registry(registry) => {
                match search.scope {
                    Scope::Base => tasks.push_back(Task::Base(base.clone())),
                    Scope::One | Scope::Subtree => {
                        let itself = Found::Registry(registry.clone());
                        let fits = evaluate(
                            &search.filter,
                            &itself,
                            &Known::default(),
                            &Posix::default(),
                        );
                        if search.scope == Scope::Subtree && fits == Ok(Truth::True) {
                            tasks.push_back(Task::Registry);
                        }
                        match lookups(&search.filter, registry) {
                            Some(found) => tasks.extend(found.into_iter().map(Task::Lookup)),
                            None => scan = Scan::After(None),
                        }
                    }
                }
                registry.clone()
            }
        };
        let limit_ms = match search.time_limit_s {
            0 => SEARCH_MS,
            seconds => SEARCH_MS.min(u64::from(seconds) * 1000),
        };
        Ok(Self {
            id,
            wanted: Wanted::of(&search.attributes),
            page: page.map(|size| size.min(PAGE_ENTRIES)),
            search,
            registry,
            lookups: tasks,
            queue: VecDeque::new(),
            scan,
            within: None,
            seen: BTreeSet::new(),
            current: None,
            asked: None,
            sent: 0,
            sent_in_page: 0,
            looked_at: 0,
            until_ms: now_ms.saturating_add(limit_ms),
            registry_seen: false,
        })
    }

    /// The next page is asked for, under another id.
    pub(super) fn go_on(&mut self, id: i32, page: usize, now_ms: u64) {
        let limit_ms = self.until_limit();
        self.id = id;
        self.page = Some(page.min(PAGE_ENTRIES));
        self.sent_in_page = 0;
        self.until_ms = now_ms.saturating_add(limit_ms);
    }

    fn until_limit(&self) -> u64 {
        match self.search.time_limit_s {
            0 => SEARCH_MS,
            seconds => SEARCH_MS.min(u64::from(seconds) * 1000),
        }
    }

    /// Works on: until something has to be asked, an entry is written, or it ends.
    pub(super) fn step(&mut self, posix: &Posix, now_ms: u64, out: &mut Vec<u8>) -> Step {
        if now_ms > self.until_ms {
            return Step::Done(Outcome::new(Code::TimeLimitExceeded, ""));
        }
        if let Some(candidate) = self.current.take() {
            return self.examine(candidate, posix, out);
        }
        if self.page.is_some_and(|page| self.sent_in_page >= page) {
            return if self.is_exhausted() {
                Step::Done(Outcome::success())
            } else {
                Step::PageFull
            };
        }
        if let Some((found, fact)) = self.queue.pop_front() {
            self.current = Some(Candidate {
                found,
                known: Known {
                    facts: fact.map(|fact| (fact, true)).into_iter().collect(),
                    in_a_group: None,
                },
                members: Listed::default(),
                owners: Listed::default(),
                groups: Listed::default(),
                fits: false,
            });
            return Step::On;
        }
        match self.lookups.pop_front() {
            Some(task) => self.look_up(task),
            None => self.scan(),
        }
    }

    fn is_exhausted(&self) -> bool {
        self.queue.is_empty() && self.lookups.is_empty() && matches!(self.scan, Scan::Off)
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Step {
        self.asked = Some(asked);
        Step::Ask(vec![request])
    }

    /// Looks up an entry, and with it those that are to be looked up next.
    fn show(&mut self, first: Task) -> Step {
        let (mut requests, mut facts) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(task) = next {
            let (name, fact) = match task {
                Task::Lookup(Lookup::Name(name)) => (name, None),
                Task::GroupOf(fact) => (fact.group.clone(), Some(fact)),
                other => {
                    self.lookups.push_front(other);
                    break;
                }
            };
            requests.push(Request::Show { name });
            facts.push(fact);
            next = match requests.len() < SHOWN_AT_ONCE {
                true => self.lookups.pop_front(),
                false => None,
            };
        }
        self.asked = Some(Asked::Shows(facts));
        Step::Ask(requests)
    }

    fn show_registry(&mut self, asked: Asked) -> Step {
        let registry = self.registry.clone();
        self.ask(asked, Request::RegistryShow { registry })
    }

    fn look_up(&mut self, task: Task) -> Step {
        match task {
            Task::Base(Place::Individual(name)) => {
                let asked = Asked::Base(Place::Individual(name.clone()));
                self.ask(asked, Request::Show { name })
            }
            Task::Base(Place::Group(name)) => {
                let asked = Asked::Base(Place::Group(name.clone()));
                self.ask(asked, Request::Show { name })
            }
            Task::Base(place @ (Place::Root | Place::Registry(_) | Place::Nothing(_))) => {
                self.show_registry(Asked::Base(place))
            }
            Task::Registry => self.show_registry(Asked::Registry),
            show @ (Task::Lookup(Lookup::Name(_)) | Task::GroupOf(_)) => self.show(show),
            Task::Lookup(Lookup::Number(number)) => {
                let registry = self.registry.clone();
                self.ask(Asked::Number, Request::EntryOfNumber { registry, number })
            }
            Task::Lookup(Lookup::Groups(who)) => self.ask_groups(who, None),
            Task::MoreGroups(who, after) => self.ask_groups(who, Some(after)),
            Task::Lookup(Lookup::Within(group)) => match self.within {
                // One at a time: a filter may name several.
                Some(_) => {
                    self.lookups.push_back(Task::Lookup(Lookup::Within(group)));
                    Step::On
                }
                None => {
                    self.within = Some(Within::of(group, self.registry.clone()));
                    self.lookups.push_front(Task::Within);
                    Step::On
                }
            },
            Task::Within => match self.within.as_ref().and_then(|within| within.next(PAGE)) {
                Some(request) => self.ask(Asked::Within, request),
                None => {
                    self.within = None;
                    Step::On
                }
            },
        }
    }

    fn ask_groups(&mut self, who: Name, after: Option<String>) -> Step {
        let request = groups_of(&who, after);
        self.ask(Asked::Groups(who), request)
    }

    fn scan(&mut self) -> Step {
        match &self.scan {
            Scan::Off if self.registry_seen || self.sent > 0 => Step::Done(Outcome::success()),
            // Nothing was found: in a registry that is there, or in none?
            Scan::Off => self.show_registry(Asked::Base(Place::Registry(self.registry.clone()))),
            Scan::After(_) if self.looked_at >= LOOKED_AT => Step::Done(too_much_to_look_at()),
            Scan::After(after) => {
                let request = Request::Entries {
                    registry: self.registry.clone(),
                    after: after.clone(),
                    limit: PAGE,
                };
                self.ask(Asked::Entries, request)
            }
        }
    }

    /// Whether a candidate fits, and if so what is to be written of it.
    fn examine(&mut self, mut candidate: Candidate, posix: &Posix, out: &mut Vec<u8>) -> Step {
        if !candidate.fits {
            match evaluate(
                &self.search.filter,
                &candidate.found,
                &candidate.known,
                posix,
            ) {
                Ok(Truth::True) => candidate.fits = true,
                Ok(Truth::False | Truth::Undefined) => return Step::On,
                Err(Lack::Fact(fact)) => {
                    let request = Request::Check {
                        group: fact.group.clone(),
                        list: fact.list,
                        who: fact.who.clone(),
                    };
                    self.current = Some(candidate);
                    return self.ask(Asked::Fact(fact), request);
                }
                Err(Lack::Groups) => return self.ask_own_groups(candidate, Asked::InAGroup),
            }
        }
        let limit = match (self.search.size_limit, self.page) {
            (0, Some(_)) => usize::MAX,
            (0, None) => ENTRIES,
            (asked, Some(_)) => asked,
            (asked, None) => asked.min(ENTRIES),
        };
        if self.sent >= limit {
            return Step::Done(Outcome::new(Code::SizeLimitExceeded, ""));
        }
        let wants = |attribute| self.wanted.has(attribute) && !self.search.types_only;
        if let Found::Entry(view) = &candidate.found {
            let group = view.name.clone();
            let is_group = view.kind == EntryKind::Group;
            let members = wants(Attribute::Member) || wants(Attribute::MemberUid);
            if is_group && members && !candidate.members.whole {
                if view.members > VALUES as u64 {
                    return Step::Done(Outcome::new(
                        Code::AdminLimitExceeded,
                        format!("{group} has too many members to be shown in one entry"),
                    ));
                }
                let after = candidate.members.after.take();
                self.current = Some(candidate);
                return self.ask_list(Asked::Members, group, GroupList::Members, after);
            }
            if is_group && wants(Attribute::Owner) && !candidate.owners.whole {
                let after = candidate.owners.after.take();
                self.current = Some(candidate);
                return self.ask_list(Asked::Owners, group, GroupList::Owners, after);
            }
            if wants(Attribute::MemberOf) && !candidate.groups.whole {
                return self.ask_own_groups(candidate, Asked::MemberOf);
            }
        }
        self.write(&candidate, posix, out);
        self.sent += 1;
        self.sent_in_page += 1;
        Step::On
    }

    fn ask_list(
        &mut self,
        asked: Asked,
        group: Name,
        list: GroupList,
        after: Option<String>,
    ) -> Step {
        let request = Request::Members {
            group,
            list,
            after,
            limit: PAGE,
        };
        self.ask(asked, request)
    }

    fn ask_own_groups(&mut self, mut candidate: Candidate, asked: Asked) -> Step {
        let request = match &candidate.found {
            Found::Entry(view) => groups_of(&view.name, candidate.groups.after.take()),
            // A registry is in no group, and is not asked about.
            Found::Registry(_) => return Step::Done(odd()),
        };
        self.current = Some(candidate);
        self.ask(asked, request)
    }

    fn write(&self, candidate: &Candidate, posix: &Posix, out: &mut Vec<u8>) {
        let attributes = self.wanted.iter().filter_map(|attribute| {
            let values = match attribute {
                Attribute::Member => candidate.members.dns.clone(),
                Attribute::MemberUid => candidate.members.simple.clone(),
                Attribute::Owner => candidate.owners.dns.clone(),
                Attribute::MemberOf => candidate.groups.dns.clone(),
                _ => candidate.found.values(attribute, posix),
            };
            if self.search.types_only {
                let listed = matches!(
                    attribute,
                    Attribute::Member
                        | Attribute::MemberUid
                        | Attribute::Owner
                        | Attribute::MemberOf
                );
                (!values.is_empty() || listed && has_list(&candidate.found, attribute))
                    .then(|| (attribute.name(), Vec::new()))
            } else {
                (!values.is_empty()).then(|| (attribute.name(), values))
            }
        });
        put_entry(out, self.id, &candidate.found.dn(), attributes);
    }

    /// Takes the answers to what was asked, in the order of the questions.
    pub(super) fn answer(&mut self, results: Vec<Result<Reply, Refusal>>) -> Result<(), Outcome> {
        match self.asked.take() {
            Some(Asked::Shows(facts)) if facts.len() == results.len() => {
                let mut shown = facts.into_iter().zip(results);
                shown.try_for_each(|(fact, result)| self.shown(fact, result))
            }
            Some(asked) => self.answer_one(asked, only(results).ok_or_else(odd)?),
            None => Err(odd()),
        }
    }

    /// An entry that was looked up, if it is there.
    fn shown(&mut self, fact: Option<Fact>, result: Result<Reply, Refusal>) -> Result<(), Outcome> {
        match result {
            Ok(Reply::Entry(view)) => {
                self.registry_seen = true;
                self.put(view, fact);
                Ok(())
            }
            Ok(_) => Err(odd()),
            Err(refusal) if refusal.kind == ErrorKind::NotFound => Ok(()),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    fn answer_one(&mut self, asked: Asked, result: Result<Reply, Refusal>) -> Result<(), Outcome> {
        match (asked, result) {
            (Asked::Base(Place::Registry(_)), Ok(Reply::Registry(view))) => {
                self.registry_seen = true;
                if self.search.scope == Scope::Base {
                    self.queue.push_back((Found::Registry(view.registry), None));
                }
            }
            (Asked::Registry, Ok(Reply::Registry(view))) => {
                self.registry_seen = true;
                self.queue.push_back((Found::Registry(view.registry), None));
            }
            (Asked::Base(place), Ok(Reply::Entry(view))) => {
                // An alias, or a group asked for as a person, is no name of it in the tree.
                if !is_at(&view, &place) {
                    return Err(no_such_object(&self.search.base));
                }
                self.registry_seen = true;
                match self.search.scope {
                    Scope::Base | Scope::Subtree => {
                        self.queue.push_back((Found::Entry(view), None));
                    }
                    // Nothing is below an entry.
                    Scope::One => {}
                }
            }
            (Asked::Base(_) | Asked::Registry, Err(refusal))
                if refusal.kind == ErrorKind::NotFound =>
            {
                return Err(no_such_object(&self.search.base));
            }
            (Asked::Number, result) => self.shown(None, result)?,
            (Asked::Entries, Ok(Reply::Entries { entries, next })) => {
                self.registry_seen = true;
                self.looked_at += entries.len();
                // Some may have been found by a lookup that then turned out not to be enough.
                let seen = &self.seen;
                let new = entries
                    .into_iter()
                    .filter(|view| !seen.contains(&view.incarnation.0));
                self.queue
                    .extend(new.map(|view| (Found::Entry(Box::new(view)), None)));
                self.scan = match next {
                    Some(next) => Scan::After(Some(next)),
                    None => Scan::Off,
                };
            }
            (Asked::Entries, Err(refusal)) if refusal.kind == ErrorKind::NotFound => {
                return Err(no_such_object(&self.search.base));
            }
            (Asked::Groups(who), Ok(reply)) => {
                let (groups, next) = groups_in(reply).ok_or_else(odd)?;
                self.looked_at += groups.len();
                if self.looked_at > GROUPS {
                    return Err(too_many_groups());
                }
                let here = groups
                    .into_iter()
                    .filter(|group| *group.registry() == self.registry);
                self.lookups.extend(here.map(|group| {
                    Task::GroupOf(Fact {
                        group,
                        list: GroupList::Members,
                        who: who.clone(),
                    })
                }));
                if let Some(next) = next {
                    self.lookups.push_back(Task::MoreGroups(who, next));
                }
            }
            (
                Asked::Within,
                Ok(Reply::Members {
                    members,
                    kinds,
                    next,
                }),
            ) => {
                self.looked_at += members.len();
                if self.looked_at > LOOKED_AT {
                    return Err(too_much_to_look_at());
                }
                let within = self.within.as_mut().ok_or_else(odd)?;
                match within.take(members, kinds, next)? {
                    within::Found::Some(names) => {
                        // The next page when these are done: so no more than a page is held.
                        self.lookups.push_front(Task::Within);
                        for name in names.into_iter().rev() {
                            self.lookups.push_front(Task::Lookup(Lookup::Name(name)));
                        }
                    }
                    within::Found::Everybody => {
                        self.within = None;
                        self.scan = Scan::After(None);
                    }
                }
            }
            (Asked::Within, Err(refusal)) if refusal.kind == ErrorKind::NotFound => {
                if let Some(within) = &mut self.within {
                    within.gone();
                }
                self.lookups.push_front(Task::Within);
            }
            // Who is not there is in no group.
            (Asked::Groups(_), Err(refusal)) if refusal.kind == ErrorKind::NotFound => {}
            (Asked::Fact(fact), Ok(Reply::Check(check))) => {
                if let Some(candidate) = &mut self.current {
                    candidate.known.facts.insert(fact, check == Check::Yes);
                }
            }
            // There is no such group, so he is not in it.
            (Asked::Fact(fact), Err(refusal)) if refusal.kind == ErrorKind::NotFound => {
                if let Some(candidate) = &mut self.current {
                    candidate.known.facts.insert(fact, false);
                }
            }
            (asked, Ok(reply)) => return self.answer_for_candidate(asked, reply),
            // It went away while its lists were read.
            (Asked::Members | Asked::Owners | Asked::MemberOf | Asked::InAGroup, Err(refusal))
                if refusal.kind == ErrorKind::NotFound =>
            {
                self.current = None
            }
            (_, Err(refusal)) => return Err(refused(&refusal)),
        }
        Ok(())
    }

    fn answer_for_candidate(&mut self, asked: Asked, reply: Reply) -> Result<(), Outcome> {
        let Some(candidate) = &mut self.current else {
            return Err(odd());
        };
        match (asked, reply) {
            (
                asked @ (Asked::Members | Asked::Owners),
                Reply::Members {
                    members,
                    kinds,
                    next,
                },
            ) => {
                let list = match asked {
                    Asked::Owners => &mut candidate.owners,
                    _ => &mut candidate.members,
                };
                list.add(&self.registry, members, kinds);
                list.page_ends(next)?;
            }
            (Asked::MemberOf, reply) => {
                let (groups, next) = groups_in(reply).ok_or_else(odd)?;
                candidate.groups.dns.extend(groups.iter().map(dn::of_group));
                if candidate.groups.dns.len() > GROUPS {
                    return Err(too_many_groups());
                }
                candidate.groups.page_ends(next)?;
            }
            (Asked::InAGroup, reply) => {
                let (groups, _) = groups_in(reply).ok_or_else(odd)?;
                candidate.known.in_a_group = Some(!groups.is_empty());
                candidate.groups = Listed::default();
            }
            _ => return Err(odd()),
        }
        Ok(())
    }

    /// An entry that a lookup found, unless another one has found it already.
    fn put(&mut self, view: Box<EntryView>, fact: Option<Fact>) {
        if self.seen.insert(view.incarnation.0) {
            self.queue.push_back((Found::Entry(view), fact));
        }
    }
}

/// Whether an entry has that place in the tree.
pub(super) fn is_at(view: &EntryView, place: &Place) -> bool {
    match (place, view.kind) {
        (Place::Individual(name), EntryKind::Individual)
        | (Place::Group(name), EntryKind::Group) => *name == view.name,
        _ => false,
    }
}

/// Whether an entry has values of such a list.
fn has_list(found: &Found, attribute: Attribute) -> bool {
    match (found, attribute) {
        (Found::Entry(view), Attribute::Member | Attribute::MemberUid) => view.members > 0,
        (Found::Entry(view), Attribute::Owner) => {
            view.kind == EntryKind::Group && !view.owners.is_empty()
        }
        _ => false,
    }
}

impl Listed {
    /// People and groups have names here; outside addresses and wildcards have none, and are no members that a directory can show.
    fn add(&mut self, registry: &RegistryName, members: Vec<Member>, kinds: Vec<MemberKind>) {
        let kinds = kinds
            .into_iter()
            .chain(std::iter::repeat(MemberKind::Individual));
        for (member, kind) in members.into_iter().zip(kinds) {
            match (member, kind) {
                (Member::Name(name), MemberKind::Individual) => {
                    self.dns.push(dn::of_individual(&name));
                    if name.registry() == registry {
                        self.simple.push(name.simple().to_owned());
                    }
                }
                (Member::Name(name), MemberKind::Group) => self.dns.push(dn::of_group(&name)),
                (Member::Name(_), MemberKind::Outside)
                | (Member::Anyone | Member::AnyoneIn(_), _) => {}
            }
        }
    }

    fn page_ends(&mut self, next: Option<String>) -> Result<(), Outcome> {
        if self.dns.len() > VALUES {
            return Err(Outcome::new(
                Code::AdminLimitExceeded,
                "an entry has too many values to be shown",
            ));
        }
        self.whole = next.is_none();
        self.after = next;
        Ok(())
    }
}

/// The filter that programs read the schema with.
pub(super) fn asks_for_schema(filter: &Filter) -> bool {
    match filter {
        Filter::Equal(Attribute::ObjectClass, class) => class.eq_ignore_ascii_case("subschema"),
        _ => false,
    }
}

/// A filter that everything fits, for the root DSE's readers.
pub(super) fn asks_for_everything(filter: &Filter) -> bool {
    match filter {
        Filter::Present(Attribute::ObjectClass) => true,
        Filter::And(all) => all.iter().all(asks_for_everything),
        _ => false,
    }
}
