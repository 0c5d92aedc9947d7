//! Names: `simple@registry`, which is a mail address as it stands.
//!
//! Guards checklist line 1: a `Name` that exists obeys the syntax and the
//! limits of RFC 5321 4.5.3.1 (and RFC 6531 for UTF-8), compares without regard
//! to case, and keeps the spelling first given.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest simple name in octets (RFC 5321 4.5.3.1.1).
pub const MAX_SIMPLE_BYTES: usize = 64;
/// Longest name in octets (RFC 5321 4.5.3.1.3, less the angle brackets).
pub const MAX_NAME_BYTES: usize = 254;
/// Longest DNS label in octets (RFC 1035 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No `@` between simple name and registry.
    #[error("a name is written simple@registry")]
    NoRegistry,
    /// The simple name is empty or longer than 64 octets.
    #[error("the simple name must have 1 to {MAX_SIMPLE_BYTES} octets")]
    SimpleLength,
    /// The simple name is not a dot-atom.
    #[error("the simple name has a character or a dot where none may stand")]
    SimpleSyntax,
    /// The registry is not 1 to n DNS labels.
    #[error("the registry must be DNS labels (letters, digits, hyphens inside) joined by dots")]
    RegistrySyntax,
    /// The whole is too long.
    #[error("a name has at most {MAX_NAME_BYTES} octets")]
    TooLong,
}

/// The unit of administration and of replication: 1 to n DNS labels, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryName(Arc<str>);

impl RegistryName {
    /// The registry of registries and servers.
    pub fn gv() -> Self {
        Self("gv".into())
    }

    /// The registry of message servers and of the mail system's own names.
    pub fn ms() -> Self {
        Self("ms".into())
    }

    /// Whether it is `gv` or `ms`, which every server holds and nobody may delete.
    pub fn is_system(&self) -> bool {
        matches!(self.as_str(), "gv" | "ms")
    }

    /// Its text, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group `R@gv` that names its holders and registrars.
    pub fn group(&self) -> Name {
        Name::unchecked(self.as_str(), Self::gv())
    }
}

impl FromStr for RegistryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| NameError::RegistrySyntax)?
        };
        if ascii.len() > MAX_NAME_BYTES - 2 {
            return Err(NameError::TooLong);
        }
        if ascii.split('.').all(is_label) {
            Ok(Self(ascii.into()))
        } else {
            Err(NameError::RegistrySyntax)
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A name `simple@registry`: of an individual, a group, a server, or an outside mail address.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    spelling: Arc<str>,
    folded: Arc<str>,
    registry: RegistryName,
}

impl Name {
    /// Joins a simple name, checked, with a registry.
    pub fn new(simple: &str, registry: RegistryName) -> Result<Self, NameError> {
        if simple.is_empty() || simple.len() > MAX_SIMPLE_BYTES {
            return Err(NameError::SimpleLength);
        }
        if !simple.split('.').all(is_atom) {
            return Err(NameError::SimpleSyntax);
        }
        if simple.len() + 1 + registry.as_str().len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        Ok(Self::unchecked(simple, registry))
    }

    fn unchecked(simple: &str, registry: RegistryName) -> Self {
        let spelling: Arc<str> = simple.into();
        let lower = simple.to_lowercase();
        let folded = if *lower == *simple {
            spelling.clone()
        } else {
            lower.into()
        };
        Self {
            spelling,
            folded,
            registry,
        }
    }

    /// The part before the `@`, as first given.
    pub fn simple(&self) -> &str {
        &self.spelling
    }

    /// The part before the `@`, lower case: what is compared.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The registry.
    pub fn registry(&self) -> &RegistryName {
        &self.registry
    }

    /// The name without `+detail`: what `simple+detail@registry` is delivered to.
    pub fn without_detail(&self) -> Self {
        match self.spelling.split_once('+') {
            Some((simple, _)) if !simple.is_empty() => {
                Self::unchecked(simple, self.registry.clone())
            }
            _ => self.clone(),
        }
    }

    /// The lower-case text `simple@registry`: the same for all spellings.
    pub fn key(&self) -> String {
        format!("{}@{}", self.folded, self.registry)
    }

    /// For `owners-X@R`: the group `X@R`.
    pub fn group_of_owners(&self) -> Option<Self> {
        let simple = self
            .spelling
            .get(..7)
            .filter(|p| p.eq_ignore_ascii_case("owners-"))
            .and(self.spelling.get(7..))?;
        Self::new(simple, self.registry.clone()).ok()
    }

    /// Whether a person or a list may be created under it: `+` begins a detail and `owners-` an
    /// owners' address, so neither may stand in a name of its own.
    pub fn may_be_created(&self) -> bool {
        !self.spelling.contains('+') && self.group_of_owners().is_none()
    }
}

fn is_atom(atom: &str) -> bool {
    !atom.is_empty()
        && atom.chars().all(|c| {
            c.is_ascii_alphanumeric()
                || "!#$%&'*+-/=?^_`{|}~".contains(c)
                || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
        })
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (simple, registry) = text.rsplit_once('@').ok_or(NameError::NoRegistry)?;
        Self::new(simple, registry.parse()?)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded && self.registry == other.registry
    }
}
impl Eq for Name {}
impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.registry
            .cmp(&other.registry)
            .then_with(|| self.folded.cmp(&other.folded))
    }
}
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
        self.registry.hash(state);
    }
}

/// What may stand in a list of a group: a name, or a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Member {
    /// `*`: anybody at all.
    Anyone,
    /// `*@registry`: every individual of a registry.
    AnyoneIn(RegistryName),
    /// An individual, a group, or an outside mail address.
    Name(Name),
}

impl Member {
    /// The lower-case text: the element of the cell.
    pub fn key(&self) -> String {
        match self {
            Self::Anyone => "*".into(),
            Self::AnyoneIn(registry) => format!("*@{registry}"),
            Self::Name(name) => name.key(),
        }
    }
}

impl FromStr for Member {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "*" => Ok(Self::Anyone),
            _ => match text.strip_prefix("*@") {
                Some(registry) => Ok(Self::AnyoneIn(registry.parse()?)),
                None => Ok(Self::Name(text.parse()?)),
            },
        }
    }
}

impl From<Name> for Member {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.spelling, self.registry)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::AnyoneIn(registry) => write!(f, "*@{registry}"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

macro_rules! text_serde {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )*};
}
text_serde!(RegistryName, Name, Member);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_is_ignored_and_the_spelling_kept() {
        let name: Name = "Birrell@PA.example".parse().unwrap();
        assert_eq!(name, "birrell@pa.example".parse().unwrap());
        assert_eq!(name.to_string(), "Birrell@pa.example");
        assert_eq!(name.key(), "birrell@pa.example");
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        let long = format!("{}@pa", "a".repeat(65));
        for (text, why) in [
            ("birrell", NameError::NoRegistry),
            ("@pa", NameError::SimpleLength),
            (long.as_str(), NameError::SimpleLength),
            (".a@pa", NameError::SimpleSyntax),
            ("a..b@pa", NameError::SimpleSyntax),
            ("a b@pa", NameError::SimpleSyntax),
            ("a\r\nb@pa", NameError::SimpleSyntax),
            ("a@", NameError::RegistrySyntax),
            ("a@-pa", NameError::RegistrySyntax),
            ("a@pa..b", NameError::RegistrySyntax),
            ("a@pa/../b", NameError::RegistrySyntax),
        ] {
            assert_eq!(text.parse::<Name>(), Err(why), "{text:?}");
        }
        let registry = ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(".");
        assert_eq!(
            format!("{}@{registry}", "x".repeat(64)).parse::<Name>(),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn lists_utf8_details_and_owners_are_names() {
        assert_eq!("csl^@pa".parse::<Name>().unwrap().simple(), "csl^");
        assert_eq!(
            "Jörg@pa".parse::<Name>().unwrap(),
            "jörg@pa".parse().unwrap()
        );
        assert_eq!(
            "a+b@pa".parse::<Name>().unwrap().without_detail(),
            "a@pa".parse().unwrap()
        );
        assert_eq!(
            "owners-csl^@pa".parse::<Name>().unwrap().group_of_owners(),
            "csl^@pa".parse().ok()
        );
        assert!(!"a+b@pa".parse::<Name>().unwrap().may_be_created());
    }

    proptest! {
        #[test]
        fn what_parses_prints_itself(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
            }
            if let Ok(member) = text.parse::<Member>() {
                prop_assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
            }
        }
    }
}
