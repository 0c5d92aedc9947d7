//! One compare under way (RFC 4511 section 4.10).
//!
//! Whether somebody is a member is one question, over nested groups and registries, and never costs more for a large group.

use grapevine_model::{Check, ErrorKind, GroupList, Name, Refusal, Reply, Request};

use super::dn::{Place, place};
use super::evaluate::{Asserted, Fact, Known, Lack, Truth, asserted, equal};
use super::message::{Code, Outcome};
use super::outcomes::{no_such_object, odd, refused};
use super::schema::{Attribute, Found, Posix, attribute};
use super::search::is_at;

/// A compare under way.
#[derive(Debug)]
pub(super) struct Comparing {
    base: String,
    place: Place,
    attribute: Attribute,
    value: String,
    found: Option<Found>,
    asked: Option<Fact>,
    known: Known,
}

/// How it goes on.
#[derive(Debug)]
pub(super) enum Next {
    Ask(Request),
    Done(Outcome),
}

impl Comparing {
    /// Begins; gives the first question.
    pub(super) fn begin(
        name: &str,
        described: &str,
        value: &[u8],
    ) -> Result<(Self, Request), Outcome> {
        let Some(attribute) = attribute(described) else {
            return Err(Outcome::new(
                Code::UndefinedAttributeType,
                "no such attribute here",
            ));
        };
        let value = std::str::from_utf8(value)
            .map_err(|_| Outcome::new(Code::InvalidAttributeSyntax, "the value is no text"))?;
        let place = place(name)
            .map_err(|_| Outcome::new(Code::InvalidDnSyntax, "it is no distinguished name"))?;
        let mut comparing = Self {
            base: name.to_owned(),
            place,
            attribute,
            value: value.to_owned(),
            found: None,
            asked: None,
            known: Known::default(),
        };
        let request = comparing.first()?;
        Ok((comparing, request))
    }

    fn first(&mut self) -> Result<Request, Outcome> {
        let list = match self.attribute {
            Attribute::Member | Attribute::MemberUid => Some(GroupList::Members),
            Attribute::Owner => Some(GroupList::Owners),
            _ => None,
        };
        match (&self.place, list) {
            // The question of access: it needs no look at the entry.
            (Place::Group(group), Some(list)) => {
                let who = match self.attribute {
                    Attribute::MemberUid => Name::new(&self.value, group.registry().clone()).ok(),
                    _ => match place(&self.value) {
                        Ok(Place::Individual(name) | Place::Group(name)) => Some(name),
                        Ok(Place::Root | Place::Registry(_) | Place::Nothing(_)) => None,
                        Err(_) => {
                            return Err(Outcome::new(
                                Code::InvalidAttributeSyntax,
                                "the value is no distinguished name",
                            ));
                        }
                    },
                };
                let Some(who) = who else {
                    return Err(Outcome::new(Code::CompareFalse, ""));
                };
                let fact = Fact {
                    group: group.clone(),
                    list,
                    who,
                };
                Ok(self.check(fact))
            }
            (Place::Individual(name) | Place::Group(name), _) => {
                Ok(Request::Show { name: name.clone() })
            }
            (Place::Registry(registry), _) => Ok(Request::RegistryShow {
                registry: registry.clone(),
            }),
            (Place::Root | Place::Nothing(_), _) => Err(no_such_object(&self.base)),
        }
    }

    fn check(&mut self, fact: Fact) -> Request {
        let request = Request::Check {
            group: fact.group.clone(),
            list: fact.list,
            who: fact.who.clone(),
        };
        self.asked = Some(fact);
        request
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, result: Result<Reply, Refusal>, posix: &Posix) -> Next {
        match (self.asked.take(), result) {
            (Some(fact), Ok(Reply::Check(check))) => {
                if self.found.is_none() {
                    return Next::Done(truth(match check {
                        Check::Yes => Truth::True,
                        Check::No => Truth::False,
                    }));
                }
                self.known.facts.insert(fact, check == Check::Yes);
            }
            (Some(fact), Err(refusal))
                if refusal.kind == ErrorKind::NotFound && self.found.is_some() =>
            {
                self.known.facts.insert(fact, false);
            }
            (None, Ok(Reply::Entry(view))) if is_at(&view, &self.place) => {
                self.found = Some(Found::Entry(view));
            }
            (None, Ok(Reply::Entry(_))) => return Next::Done(no_such_object(&self.base)),
            (None, Ok(Reply::Registry(view))) => {
                self.found = Some(Found::Registry(view.registry));
            }
            (_, Err(refusal)) if refusal.kind == ErrorKind::NotFound => {
                return Next::Done(no_such_object(&self.base));
            }
            (_, Err(refusal)) => return Next::Done(refused(&refusal)),
            (_, Ok(_)) => return Next::Done(odd()),
        }
        self.compare(posix)
    }

    fn compare(&mut self, posix: &Posix) -> Next {
        let Some(found) = &self.found else {
            return Next::Done(odd());
        };
        let plain = matches!(
            asserted(self.attribute, &self.value, found),
            Asserted::Plain
        );
        if plain && found.values(self.attribute, posix).is_empty() {
            return Next::Done(Outcome::new(Code::NoSuchAttribute, ""));
        }
        match equal(self.attribute, &self.value, found, &self.known, posix) {
            Ok(is) => Next::Done(truth(is)),
            Err(Lack::Fact(fact)) => Next::Ask(self.check(fact)),
            // An equality never asks for all groups.
            Err(Lack::Groups) => Next::Done(odd()),
        }
    }
}

fn truth(is: Truth) -> Outcome {
    match is {
        Truth::True => Outcome::new(Code::CompareTrue, ""),
        Truth::False => Outcome::new(Code::CompareFalse, ""),
        Truth::Undefined => Outcome::new(
            Code::InvalidAttributeSyntax,
            "the value is none of this attribute",
        ),
    }
}
