//! Where mail goes that is not for a mailbox here: the routes, and what the shell is told to hand over.
//!
//! Must never send on what a registry of this Grapevine knows, unless a route says so of that very
//! registry: a route for everybody else's domains is not for ours.

use std::fmt;
use std::str::FromStr;

use grapevine_model::{
    BodyInfo, ListCopy, MessageId, Name, NameError, Notify, RegistryName, ReturnContent,
};

use crate::registry::directory::Held;
use crate::server::Server;

/// Which domains a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// `*`: every domain that is no registry of this Grapevine.
    Any,
    /// `*.domain`: all below a domain, without it.
    Below(RegistryName),
    /// One domain: the only pattern that a registry of this Grapevine can match.
    Exactly(RegistryName),
}

impl DomainPattern {
    /// Whether a domain of others is meant.
    fn is_of(&self, domain: &RegistryName) -> bool {
        match self {
            Self::Any => true,
            Self::Below(above) => domain
                .as_str()
                .strip_suffix(above.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
            Self::Exactly(one) => one == domain,
        }
    }
}

impl FromStr for DomainPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match (text, text.strip_prefix("*.")) {
            ("*", _) => Ok(Self::Any),
            (_, Some(above)) => Ok(Self::Below(above.parse()?)),
            (_, None) => Ok(Self::Exactly(text.parse()?)),
        }
    }
}

/// Which names of a registry of this Grapevine a route for exactly this registry takes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoutedNames {
    /// Those that the registry does not have: the domain is split between two mail systems.
    #[default]
    Unknown,
    /// All of them: the registry receives nothing yet.
    All,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// To the mail exchangers that DNS names for the domain.
    Exchangers,
    /// To one place, as the shell knows it; here its name for people.
    Place(String),
    /// Nowhere for now: the mail is kept.
    Hold,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For which domains.
    pub domain: DomainPattern,
    /// If that is a registry of this Grapevine: for which of its names.
    pub names: RoutedNames,
    /// Where to.
    pub next: NextHop,
    /// Messages that are handed to one destination at one time.
    pub at_once: usize,
}

/// All routes, in order: the first that is for a domain counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub Vec<Route>);

impl Routes {
    fn first(&self, is_meant: impl Fn(&Route) -> bool) -> Option<(usize, &Route)> {
        self.0.iter().enumerate().find(|(_, route)| is_meant(route))
    }

    /// For a domain that is no registry of this Grapevine.
    fn outside(&self, domain: &RegistryName) -> Option<Destination> {
        self.first(|route| route.domain.is_of(domain))
            .map(|(at, route)| route.destination(at, domain))
    }

    /// For names of a registry of this Grapevine.
    fn of_registry(&self, registry: &RegistryName, names: RoutedNames) -> Option<Destination> {
        if registry.is_system() {
            return None;
        }
        let exactly = DomainPattern::Exactly(registry.clone());
        self.first(|route| route.domain == exactly)
            .filter(|(_, route)| names == RoutedNames::Unknown || route.names == names)
            .map(|(at, route)| route.destination(at, registry))
    }

    pub(crate) fn get(&self, destination: &Destination) -> Option<&Route> {
        self.0.get(destination.route)
    }
}

impl Route {
    fn destination(&self, route: usize, domain: &RegistryName) -> Destination {
        let domain = match self.next {
            NextHop::Exchangers => Some(domain.clone()),
            NextHop::Place(_) | NextHop::Hold => None,
        };
        Destination { route, domain }
    }
}

/// Another mail system, with a queue of its own: a domain's exchangers, or the place of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The place of its route among the routes.
    pub route: usize,
    /// The domain, where the route leads to its exchangers.
    pub domain: Option<RegistryName>,
}

/// A recipient outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The address.
    pub name: Name,
    /// When the sender wants to hear of it.
    pub notify: Notify,
    /// The original recipient as the sender gave it, in xtext.
    pub original: Option<String>,
}

/// A message to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// Joins it with its `HandedOver`.
    pub id: u64,
    /// To whom.
    pub destination: Destination,
    /// Which message.
    pub message: MessageId,
    /// Measure of its body, which is on this server's disk.
    pub body: BodyInfo,
    /// Where reports go.
    pub return_path: Option<Name>,
    /// What comes back with a report.
    pub content: ReturnContent,
    /// The sender's own name for the submission, in xtext.
    pub envelope_id: Option<String>,
    /// For whom, at least one.
    pub recipients: Vec<Outside>,
    /// By which list it goes to all of them, if by one.
    pub list: Option<ListCopy>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// Of which `HandOver`.
    pub id: u64,
    /// Whether the destination spoke.
    pub reached: Reached,
    /// By recipient, in the order of the `HandOver`. One without a word is tried again.
    pub outcomes: Vec<HandOverOutcome>,
}

/// Whether a destination spoke: one that doesn't is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It took part in the conversation, whatever it said of the message.
    Yes,
    /// It can't be reached, or takes nothing from anybody, and why.
    No(String),
}

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOverOutcome {
    /// The other system has said yes: it answers for the message.
    Taken {
        /// Which machine.
        by: String,
        /// Its words.
        reply: String,
        /// It understands what reports the sender wants, and sees to them.
        reports: bool,
    },
    /// For good.
    Refused {
        /// RFC 3463 status.
        status: String,
        /// The machine whose words they are; none where this server itself says it.
        by: Option<String>,
        /// Its words, or why.
        reason: String,
    },
    /// Not now, and why.
    Later(String),
}

impl Server {
    /// Where all mail for a registry of this Grapevine goes that receives nothing yet.
    pub(crate) fn routed_whole(&self, name: &Name) -> Option<Destination> {
        match self.held(name.registry()) {
            Held::Here | Held::Elsewhere => {
                (self.config.routes).of_registry(name.registry(), RoutedNames::All)
            }
            Held::Unknown => None,
        }
    }

    /// Where mail goes for a name that is not, or not of, a registry of this Grapevine; the caller
    /// knows that.
    pub(crate) fn routed(&self, name: &Name) -> Option<Destination> {
        let registry = name.registry();
        match self.held(registry) {
            Held::Here | Held::Elsewhere => {
                (self.config.routes).of_registry(registry, RoutedNames::Unknown)
            }
            Held::Unknown => self.config.routes.outside(registry),
        }
    }

    /// What people call a destination.
    pub(crate) fn called(&self, destination: &Destination) -> String {
        let next = self.config.routes.get(destination).map(|route| &route.next);
        match (&destination.domain, next) {
            (Some(domain), _) => domain.to_string(),
            (None, Some(NextHop::Place(place))) => place.clone(),
            (None, Some(NextHop::Hold | NextHop::Exchangers) | None) => "no place".into(),
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(above) => write!(f, "*.{above}"),
            Self::Exactly(domain) => domain.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn route(domain: &str, names: RoutedNames, next: NextHop) -> Route {
        Route {
            domain: domain.parse().unwrap(),
            names,
            next,
            at_once: 1,
        }
    }

    fn place(of: &str) -> NextHop {
        NextHop::Place(of.into())
    }

    #[test]
    fn the_first_route_for_a_domain_counts() {
        let routes = Routes(vec![
            route("*.far.example", RoutedNames::Unknown, place("far")),
            route("es.example", RoutedNames::Unknown, NextHop::Hold),
            route("*", RoutedNames::Unknown, NextHop::Exchangers),
        ]);
        let to = |domain: &str| {
            let to = routes.outside(&domain.parse().unwrap()).unwrap();
            (to.route, to.domain.map(|domain| domain.to_string()))
        };
        assert_eq!(to("a.far.example"), (0, None));
        assert_eq!(to("a.b.FAR.example"), (0, None));
        assert_eq!(to("far.example"), (2, Some("far.example".into())));
        assert_eq!(to("nearfar.example"), (2, Some("nearfar.example".into())));
        assert_eq!(to("es.example"), (1, None));
    }

    #[test]
    fn a_route_for_all_others_takes_nothing_from_a_registry() {
        let pa: RegistryName = "pa.example".parse().unwrap();
        let of = |routes: Vec<Route>, names| Routes(routes).of_registry(&pa, names).is_some();
        for pattern in ["*", "*.example"] {
            let routes = vec![route(pattern, RoutedNames::All, place("old"))];
            assert!(!of(routes.clone(), RoutedNames::Unknown), "{pattern}");
            assert!(!of(routes, RoutedNames::All), "{pattern}");
        }
        let split = vec![route("PA.example", RoutedNames::Unknown, place("old"))];
        assert!(of(split.clone(), RoutedNames::Unknown));
        assert!(!of(split, RoutedNames::All));
        let away = vec![route("pa.example", RoutedNames::All, place("old"))];
        assert!(of(away.clone(), RoutedNames::Unknown) && of(away, RoutedNames::All));
        let gv = Routes(vec![route("gv", RoutedNames::All, place("old"))]);
        assert_eq!(gv.of_registry(&RegistryName::gv(), RoutedNames::All), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "*.", "**", "a.*", "*a", ".a", "*.*"] {
            assert!(text.parse::<DomainPattern>().is_err(), "{text}");
        }
    }
}
