//! Whether an entry fits a filter, and which entries can fit it at all.
//!
//! What the entry itself does not say (who is a member, over nested groups) is asked for: an evaluation that lacks an answer says which, and is
//! begun again with it. So nothing unknown is ever taken for no.

use std::collections::BTreeMap;

use grapevine_model::{EntryKind, GroupList, Name, RegistryName};

use super::dn::{Place, place};
use super::filter::{Filter, Substrings};
use super::schema::{Attribute, Found, Matching, Posix};

/// The three truths of RFC 4511 section 4.5.1.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Undefined,
}

/// A question about memberships: is `who` in a list of a group, by closure?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub(super) group: Name,
    pub(super) list: GroupList,
    pub(super) who: Name,
}

/// What an evaluation lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Fact(Fact),
    /// Whether it is in any group.
    Groups,
}

/// What was asked for one entry.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) facts: BTreeMap<Fact, bool>,
    pub(super) in_a_group: Option<bool>,
}

/// Evaluates a filter for an entry.
pub(super) fn evaluate(
    filter: &Filter,
    found: &Found,
    known: &Known,
    posix: &Posix,
) -> Result<Truth, Lack> {
    let values = |attribute: Attribute| found.values(attribute, posix);
    Ok(match filter {
        Filter::And(all) => joined(all, found, known, posix, Truth::False)?,
        Filter::Or(all) => joined(all, found, known, posix, Truth::True)?,
        Filter::Not(inner) => match evaluate(inner, found, known, posix)? {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Undefined => Truth::Undefined,
        },
        Filter::Equal(attribute, value) => equal(*attribute, value, found, known, posix)?,
        Filter::Present(attribute) => present(*attribute, found, known, posix)?,
        Filter::Substrings(attribute, parts) => match attribute.matching() {
            Matching::Text | Matching::Exact => {
                let fold = |text: &str| folded(text, attribute.matching());
                let parts = Substrings {
                    initial: parts.initial.as_deref().map(fold),
                    any: parts.any.iter().map(|part| fold(part)).collect(),
                    last: parts.last.as_deref().map(fold),
                };
                any(values(*attribute), |value| parts.fit(&fold(value)))
            }
            Matching::Number | Matching::Time | Matching::Dn => Truth::Undefined,
        },
        Filter::AtLeast(attribute, value) => {
            ordered(*attribute, value, values(*attribute), |found, asked| {
                found >= asked
            })
        }
        Filter::AtMost(attribute, value) => {
            ordered(*attribute, value, values(*attribute), |found, asked| {
                found <= asked
            })
        }
        Filter::Undefined => Truth::Undefined,
    })
}

/// And, or: `decisive` ends it whatever the others are.
fn joined(
    all: &[Filter],
    found: &Found,
    known: &Known,
    posix: &Posix,
    decisive: Truth,
) -> Result<Truth, Lack> {
    let (mut lacks, mut undefined) = (None, false);
    for filter in all {
        match evaluate(filter, found, known, posix) {
            Ok(truth) if truth == decisive => return Ok(decisive),
            Ok(Truth::Undefined) => undefined = true,
            Ok(Truth::True | Truth::False) => {}
            // Another one may decide without this answer.
            Err(lack) => lacks = lacks.or(Some(lack)),
        }
    }
    match (lacks, undefined, decisive) {
        (Some(lack), ..) => Err(lack),
        (None, true, _) => Ok(Truth::Undefined),
        (None, false, Truth::False) => Ok(Truth::True),
        (None, false, Truth::True | Truth::Undefined) => Ok(Truth::False),
    }
}

/// Whether a value is one of an attribute's. For members and groups this is the question of access: over nested groups.
pub(super) fn equal(
    attribute: Attribute,
    value: &str,
    found: &Found,
    known: &Known,
    posix: &Posix,
) -> Result<Truth, Lack> {
    match asserted(attribute, value, found) {
        Asserted::Fact(fact) => match known.facts.get(&fact) {
            Some(true) => Ok(Truth::True),
            Some(false) => Ok(Truth::False),
            None => Err(Lack::Fact(fact)),
        },
        Asserted::Is(truth) => Ok(truth),
        Asserted::Plain => {
            let matching = attribute.matching();
            let asked = folded(value, matching);
            Ok(match matching {
                Matching::Number if asked.parse::<i64>().is_err() => Truth::Undefined,
                Matching::Text
                | Matching::Exact
                | Matching::Number
                | Matching::Time
                | Matching::Dn => any(found.values(attribute, posix), |value| {
                    folded(value, matching) == asked
                }),
            })
        }
    }
}

/// What an equality comes to.
pub(super) enum Asserted {
    /// A question about memberships.
    Fact(Fact),
    /// Known already.
    Is(Truth),
    /// A comparison with the entry's values.
    Plain,
}

/// What an equality asks of an entry.
pub(super) fn asserted(attribute: Attribute, value: &str, found: &Found) -> Asserted {
    let list = match attribute {
        Attribute::Member | Attribute::MemberUid => Some(GroupList::Members),
        Attribute::Owner => Some(GroupList::Owners),
        Attribute::MemberOf => None,
        Attribute::EntryDn => {
            return Asserted::Is(match (place(value), place(&found.dn())) {
                (Ok(asked), Ok(is)) if asked == is => Truth::True,
                (Ok(_), Ok(_)) => Truth::False,
                (Err(_), _) | (_, Err(_)) => Truth::Undefined,
            });
        }
        _ => return Asserted::Plain,
    };
    let Found::Entry(view) = found else {
        return Asserted::Is(Truth::False);
    };
    let named = match attribute {
        Attribute::MemberUid => Ok(Name::new(value, view.name.registry().clone()).ok()),
        _ => named(value),
    };
    let Ok(named) = named else {
        return Asserted::Is(Truth::Undefined);
    };
    match (named, list, view.kind) {
        (Some(who), Some(list), EntryKind::Group) => Asserted::Fact(Fact {
            group: view.name.clone(),
            list,
            who,
        }),
        (Some(group), None, _) => Asserted::Fact(Fact {
            group,
            list: GroupList::Members,
            who: view.name.clone(),
        }),
        (None, ..) | (Some(_), Some(_), EntryKind::Individual) => Asserted::Is(Truth::False),
    }
}

/// Whom a distinguished name names.
fn named(value: &str) -> Result<Option<Name>, super::dn::NoName> {
    Ok(match place(value)? {
        Place::Individual(name) | Place::Group(name) => Some(name),
        Place::Root | Place::Registry(_) | Place::Nothing(_) => None,
    })
}

fn present(
    attribute: Attribute,
    found: &Found,
    known: &Known,
    posix: &Posix,
) -> Result<Truth, Lack> {
    let is = match (attribute, found) {
        (Attribute::Member | Attribute::MemberUid, Found::Entry(view)) => {
            view.kind == EntryKind::Group && view.members > 0
        }
        (Attribute::Owner, Found::Entry(view)) => !view.owners.is_empty(),
        (Attribute::MemberOf, Found::Entry(_)) => known.in_a_group.ok_or(Lack::Groups)?,
        _ => !found.values(attribute, posix).is_empty(),
    };
    Ok(if is { Truth::True } else { Truth::False })
}

fn any(values: Vec<String>, fits: impl Fn(&str) -> bool) -> Truth {
    if values.iter().any(|value| fits(value)) {
        Truth::True
    } else {
        Truth::False
    }
}

fn ordered(
    attribute: Attribute,
    asked: &str,
    values: Vec<String>,
    fits: impl Fn(&str, &str) -> bool,
) -> Truth {
    match attribute.matching() {
        Matching::Number => {
            let wide = |text: &str| Some(format!("{:020}", text.trim().parse::<u64>().ok()?));
            match wide(asked) {
                None => Truth::Undefined,
                Some(asked) => any(values, |value| {
                    wide(value).is_some_and(|value| fits(&value, &asked))
                }),
            }
        }
        Matching::Time => any(values, |value| fits(value, asked)),
        Matching::Text | Matching::Exact | Matching::Dn => Truth::Undefined,
    }
}

/// A value as it is compared.
fn folded(text: &str, matching: Matching) -> String {
    match matching {
        Matching::Text => {
            let mut folded = String::with_capacity(text.len());
            for word in text.split(' ').filter(|word| !word.is_empty()) {
                if !folded.is_empty() {
                    folded.push(' ');
                }
                folded.push_str(&word.to_lowercase());
            }
            folded
        }
        Matching::Number => text.trim().to_owned(),
        Matching::Exact | Matching::Time | Matching::Dn => text.to_owned(),
    }
}

impl Substrings {
    fn fit(&self, value: &str) -> bool {
        let Some(mut rest) = value.strip_prefix(self.initial.as_deref().unwrap_or_default()) else {
            return false;
        };
        for part in &self.any {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(self.last.as_deref().unwrap_or_default())
    }
}

/// Where the entries of a registry that can fit are found without looking at all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// By a name or an alias.
    Name(Name),
    /// By a number for POSIX systems.
    Number(u32),
    /// The groups that somebody is in.
    Groups(Name),
    /// Everybody in a group.
    Within(Name),
}

/// More than so many lookups cost as much as looking at everything.
const LOOKUPS: usize = 500;

/// The lookups that give every entry of a registry that can fit a filter; none where all have to be looked at.
pub(super) fn lookups(filter: &Filter, registry: &RegistryName) -> Option<Vec<Lookup>> {
    let here = |name: Option<Name>| {
        Some(
            name.filter(|name| name.registry() == registry)
                .map(Lookup::Name)
                .into_iter()
                .collect(),
        )
    };
    match filter {
        // The cheapest will do: the others are evaluated.
        Filter::And(all) => all
            .iter()
            .filter_map(|filter| lookups(filter, registry))
            .min_by_key(|lookups| lookups.iter().map(Lookup::cost).sum::<usize>()),
        Filter::Or(all) => {
            let mut union = Vec::new();
            for filter in all {
                union.extend(lookups(filter, registry)?);
                if union.len() > LOOKUPS {
                    return None;
                }
            }
            Some(union)
        }
        Filter::Equal(attribute, value) => {
            let simple = || Name::new(value.trim(), registry.clone()).ok();
            match attribute {
                Attribute::Uid | Attribute::Cn | Attribute::Sn => here(simple()),
                Attribute::Mail => here(value.trim().parse().ok()),
                Attribute::EntryDn => match place(value) {
                    // The registry itself is looked at besides.
                    Ok(Place::Individual(name) | Place::Group(name)) => here(Some(name)),
                    Ok(Place::Root | Place::Registry(_) | Place::Nothing(_)) | Err(_) => here(None),
                },
                Attribute::UidNumber | Attribute::GidNumber => {
                    let number = value.trim().parse().ok().map(Lookup::Number);
                    Some(number.into_iter().collect())
                }
                Attribute::Member => {
                    let who = named(value).ok().flatten().map(Lookup::Groups);
                    Some(who.into_iter().collect())
                }
                Attribute::MemberOf => {
                    let group = named(value).ok().flatten().map(Lookup::Within);
                    Some(group.into_iter().collect())
                }
                Attribute::MemberUid => Some(simple().map(Lookup::Groups).into_iter().collect()),
                _ => None,
            }
        }
        // Never true.
        Filter::Undefined => Some(Vec::new()),
        Filter::Not(_)
        | Filter::Substrings(..)
        | Filter::AtLeast(..)
        | Filter::AtMost(..)
        | Filter::Present(_) => None,
    }
}

impl Lookup {
    fn cost(&self) -> usize {
        match self {
            Self::Name(_) | Self::Number(_) => 1,
            Self::Groups(_) => 10,
            Self::Within(_) => 100,
        }
    }
}
