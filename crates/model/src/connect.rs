//! Connect sites: where a live service is reached, and what clients are told of it.
//!
//! A site is a door (the protocol's label, or `any`) at a place (`host:port`), with the priority
//! and weight of RFC 2782. Parsing is the only way in: port 0, a host that is none, and a weight
//! above 65,535 do not exist here.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Longest label of a door: RFC 6335 5.1 gives service names 15 characters.
pub const MAX_DOOR_BYTES: usize = 15;
/// Longest host name in octets, without a final dot (RFC 1035 2.3.4).
const MAX_HOST_BYTES: usize = 253;
/// Longest health note in octets: a line of `service find`.
pub const MAX_NOTE_BYTES: usize = 200;
/// Sites that one answer names at most: a service is chosen among some, not read like a book.
pub const MAX_FOUND_SITES: usize = 1_000;

/// Why a text is no connect site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// The place.
    #[error("a place is written host:port, or [address]:port for IPv6")]
    Place,
    /// The port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// The host.
    #[error(
        "a host is an IP address, or a name of letters, digits and hyphens in labels of at most 63"
    )]
    Host,
    /// The door.
    #[error("a door is `any`, or a protocol's name: 1 to 15 letters, digits and hyphens inside")]
    Door,
    /// The note.
    #[error("a note is one line of at most 200 octets")]
    Note,
}

/// Which protocol is spoken at a site: its service name (RFC 6335), or `any` for whatever the
/// name stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteDoor(Arc<str>);

impl SiteDoor {
    /// Whatever the name stands for.
    pub fn any() -> Self {
        Self("any".into())
    }

    /// Its text, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether somebody who wants that protocol finds it here.
    pub fn serves(&self, wanted: &str) -> bool {
        &*self.0 == "any" || self.0.eq_ignore_ascii_case(wanted)
    }
}

impl FromStr for SiteDoor {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let good = !text.is_empty()
            && text.len() <= MAX_DOOR_BYTES
            && text.bytes().all(inside)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(SiteError::Door)
        }
    }
}

/// A machine: an address or a name in DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, lower case, without a final dot.
    Name(Arc<str>),
}

impl FromStr for Host {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // RFC 1123 2.1: what ends in a number is an address, and this one is none.
        let last_is_number = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > MAX_HOST_BYTES || !text.split('.').all(label) || last_is_number {
            return Err(SiteError::Host);
        }
        Ok(Self::Name(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A port of a machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    /// The machine.
    pub host: Host,
    /// The port.
    pub port: NonZeroU16,
}

impl FromStr for Place {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once("]:").ok_or(SiteError::Place)?;
                let address: Ipv6Addr = address.parse().map_err(|_| SiteError::Host)?;
                (Host::Address(address.into()), port)
            }
            None => {
                let (host, port) = text.rsplit_once(':').ok_or(SiteError::Place)?;
                if host.contains(':') {
                    return Err(SiteError::Place);
                }
                (host.parse()?, port)
            }
        };
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| port.parse().ok()).flatten();
        Ok(Self {
            host,
            port: port.ok_or(SiteError::Port)?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// One line about a service's health, for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteNote(Arc<str>);

impl SiteNote {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for SiteNote {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        if text.len() > MAX_NOTE_BYTES || text.chars().any(char::is_control) {
            return Err(SiteError::Note);
        }
        Ok(Self(text.into()))
    }
}

/// A place that an individual offers at a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteOffer {
    /// Where.
    pub place: Place,
    /// Lower ones are tried first (RFC 2782).
    pub priority: u16,
    /// Among equal priorities, the share (RFC 2782).
    pub weight: u16,
    /// How it is, for people.
    pub note: SiteNote,
}

/// A live place of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundSite {
    /// Whose it is.
    pub name: Name,
    /// Which protocol.
    pub door: SiteDoor,
    /// Where, and how it is to be preferred.
    #[serde(flatten)]
    pub offer: SiteOffer,
    /// Milliseconds until its lease ends unless it is renewed; none without a lease.
    pub lease_ms: Option<u64>,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The live sites, by priority.
    pub sites: Vec<FoundSite>,
    /// Whether a part of the pool could not be asked: there may be more.
    pub partial: bool,
    /// Equal as long as the sites are (leases aside): hand it in to be told only of changes.
    pub version: u64,
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = SiteError;
            fn try_from(text: String) -> Result<Self, SiteError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
text!(SiteDoor, Place, SiteNote);

impl fmt::Display for SiteDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for SiteNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_without_a_port_or_with_an_impossible_one_is_refused() {
        for (text, why) in [
            ("localhost", SiteError::Place),
            ("::1:80", SiteError::Place),
            ("host:0", SiteError::Port),
            ("host:65536", SiteError::Port),
            ("host:+80", SiteError::Port),
            ("host:", SiteError::Port),
            (":80", SiteError::Host),
            ("ho st:80", SiteError::Host),
            ("-host:80", SiteError::Host),
            ("a..b:80", SiteError::Host),
            ("1.2.3:80", SiteError::Host),
            ("1.2.3.400:80", SiteError::Host),
            ("[1.2.3.4]:80", SiteError::Host),
        ] {
            assert_eq!(text.parse::<Place>(), Err(why), "{text}");
        }
        let long = format!("{}:80", vec!["a".repeat(63); 4].join("."));
        assert_eq!(long.parse::<Place>(), Err(SiteError::Host));
    }

    #[test]
    fn hosts_are_folded_and_doors_serve_their_own_protocol_or_any() {
        for (text, shown) in [
            ("Mail.Example:25", "mail.example:25"),
            ("10.0.0.1:143", "10.0.0.1:143"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
        let imap: SiteDoor = "IMAP".parse().unwrap();
        assert!(imap.serves("imap") && !imap.serves("http") && SiteDoor::any().serves("http"));
        assert!("-x".parse::<SiteDoor>().is_err() && "a b".parse::<SiteDoor>().is_err());
        assert!("a\nb".parse::<SiteNote>().is_err());
    }

    proptest! {
        #[test]
        fn a_place_that_parses_prints_itself(text in "[\\[\\]a-f0-9:.%-]{0,24}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            }
        }
    }
}
