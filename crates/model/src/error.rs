//! What a caller is told when something is not done, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What to do next; the command line's exit codes follow it (interface.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request can't be right: mend it.
    Invalid,
    /// Name or password are wrong, or not given where they must be.
    NotAuthenticated,
    /// The speaker may not do this.
    NotAllowed,
    /// No such name.
    NotFound,
    /// It exists already, or stands against something newer.
    Conflict,
    /// Too much: a limit or a quota.
    TooLarge,
    /// Not now, or not here: try again, or another server. Nothing was changed.
    Unavailable,
    /// It may have been done and may not: ask before trying again.
    Unknown,
    /// A fault of this server: try another one.
    Internal,
}

/// A request that was not done, and why, in one line for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// What to do next.
    pub kind: ErrorKind,
    /// Why, for a person; never holds a secret.
    pub why: String,
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(kind: ErrorKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
        }
    }
    /// Mend the request.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, why)
    }
    /// The speaker may not.
    pub fn not_allowed(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotAllowed, why)
    }
    /// No such name.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("no such name: {what}"))
    }
    /// Exists already.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, why)
    }
    /// Not now.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
