//! Watching: what is asked, what is told, and the token by which a watch goes on at any server.
//!
//! A token is a promise about what its bearer has been told. It gives no right: whoever shows it is
//! asked again who he is and what he may see.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::cell::VersionVector;
use crate::field::EntryKind;
use crate::id::{Incarnation, OriginId};
use crate::name::{Name, RegistryName};
use crate::stamp::Stamp;

/// Longest token as text: the vector of a registry that two thousand server lives have written to.
pub const MAX_TOKEN_CHARS: usize = 64 * 1024;
/// The first octet of a token.
const TOKEN_VERSION: u8 = 2;
/// Octets of BLAKE3 at its end, so that a mangled token is noticed and not taken for another one.
const CHECK_BYTES: usize = 4;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WatchTarget {
    /// All entries of a registry; for its registrars.
    Registry(RegistryName),
    /// One individual or group.
    Entry(Name),
}

impl WatchTarget {
    /// The registry whose holders can tell.
    pub fn registry(&self) -> &RegistryName {
        match self {
            Self::Registry(registry) => registry,
            Self::Entry(name) => name.registry(),
        }
    }
}

impl fmt::Display for WatchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(registry) => write!(f, "{registry}"),
            Self::Entry(name) => write!(f, "{name}"),
        }
    }
}

/// From where on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// What changes from now on.
    Now,
    /// First all that is there, then what changes.
    Beginning,
    /// What changed since a [`ResumeToken`] was given out, as text.
    Token(String),
}

/// What has happened to an entry. Values are the latest: what lay between may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// It is there, under this name.
    Created {
        /// What it is.
        kind: EntryKind,
    },
    /// It is no more.
    Deleted,
    /// A field has this value.
    Set {
        /// Which (`remark`, ...).
        field: String,
        /// The value.
        value: String,
    },
    /// A field has no value.
    Cleared {
        /// Which.
        field: String,
    },
    /// One more in a list.
    Added {
        /// Which (`members`, `owners`, `friends`, `sites`, `aliases`, `forward`, ...).
        list: String,
        /// What.
        item: String,
    },
    /// One fewer.
    Removed {
        /// Which.
        list: String,
        /// What.
        item: String,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The entry's name; none where an entry is gone and its name with it.
    pub name: Option<Name>,
    /// The entry.
    pub incarnation: Incarnation,
    /// The stamp of the write.
    pub stamp: Stamp,
    /// What.
    pub what: Happened,
}

/// How a batch follows on what came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Course {
    /// It goes on.
    Continues,
    /// What came before counts for nothing: forget it; all that is there follows.
    StartsOver {
        /// Why, for a person.
        why: String,
    },
}

/// A batch of events: every change up to the token is in it or in one before it, some perhaps twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// How it follows.
    pub course: Course,
    /// In the order of their stamps within the batch.
    pub events: Vec<WatchEvent>,
    /// Where to go on, at any server.
    pub token: String,
    /// Whether more is there already.
    pub more: bool,
}

/// Up to where a watch has been told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeToken {
    /// Which life of the registry: the incarnation of `R@gv`.
    pub life: Incarnation,
    /// The entry that the watched name meant; none for a registry.
    pub entry: Option<Incarnation>,
    /// The writes that are told, all of them.
    pub vector: VersionVector,
    /// Where telling what is there has come to (the key of a cell); none when all was told.
    pub cursor: Option<Vec<u8>>,
    /// The servers that have told it, by their disks' lives, and when each had last mended its copy by
    /// then: what a copy lacked, the vector does not say.
    pub mended: BTreeMap<OriginId, u64>,
    /// Of whom its bearer was told more by others than the last server knew. Written behind the rest, which servers of
    /// before it read alone.
    #[serde(skip)]
    pub ahead: VersionVector,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no token of a watch, or it was changed on its way; watch without one")]
pub struct ResumeTokenError;

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_extend(self, vec![TOKEN_VERSION]).map_err(|_| fmt::Error)?;
        if !self.ahead.is_empty() {
            bytes = postcard::to_extend(&self.ahead, bytes).map_err(|_| fmt::Error)?;
        }
        let check = blake3::hash(&bytes);
        bytes.extend(check.as_bytes().iter().take(CHECK_BYTES));
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for ResumeToken {
    type Err = ResumeTokenError;

    fn from_str(text: &str) -> Result<Self, ResumeTokenError> {
        if text.len() > MAX_TOKEN_CHARS {
            return Err(ResumeTokenError);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| ResumeTokenError)?;
        let (body, check) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .ok_or(ResumeTokenError)?;
        let right = blake3::hash(body);
        if !right.as_bytes().starts_with(check) {
            return Err(ResumeTokenError);
        }
        match body.split_first() {
            Some((&TOKEN_VERSION, rest)) => {
                let (mut token, behind): (Self, &[u8]) =
                    postcard::take_from_bytes(rest).map_err(|_| ResumeTokenError)?;
                if !behind.is_empty() {
                    token.ahead = postcard::from_bytes(behind).map_err(|_| ResumeTokenError)?;
                }
                Ok(token)
            }
            Some(_) | None => Err(ResumeTokenError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Hlc;
    use proptest::prelude::*;

    fn token(
        life: u128,
        entry: Option<u128>,
        pairs: Vec<(u64, u64)>,
        cursor: Option<Vec<u8>>,
    ) -> ResumeToken {
        ResumeToken {
            life: Incarnation(life),
            entry: entry.map(Incarnation),
            vector: pairs.iter().map(|(o, t)| (OriginId(*o), Hlc(*t))).collect(),
            cursor,
            mended: pairs.iter().map(|(o, n)| (OriginId(*o), *n)).collect(),
            ahead: pairs.iter().map(|(o, t)| (OriginId(*t), Hlc(*o))).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_token_comes_back_from_its_text(
            life: u128, entry: Option<u128>, pairs: Vec<(u64, u64)>, cursor: Option<Vec<u8>>
        ) {
            let token = token(life, entry, pairs, cursor);
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn a_changed_token_is_none(life: u128, pairs: Vec<(u64, u64)>, at: proptest::sample::Index, with in "[A-Za-z0-9_-]") {
            let text = token(life, None, pairs, None).to_string();
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != text);
            prop_assert_eq!(changed.parse::<ResumeToken>(), Err(ResumeTokenError));
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in "\\PC{0,80}", bytes: Vec<u8>) {
            let _ = text.parse::<ResumeToken>();
            let _ = BASE64URL_NOPAD.encode(&bytes).parse::<ResumeToken>();
        }
    }
}
