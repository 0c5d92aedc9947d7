//! What a registry's registrars, and the owners of `gv`, have decided about its copies.
//!
//! Stored in `R@gv`, so every server knows it.

use serde::{Deserialize, Serialize};

use crate::id::ServerName;

/// May a server take an update or a message of this registry with one copy, when no second server
/// can be reached?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlonePolicy {
    /// As the server's own configuration says.
    #[default]
    Default,
    /// Yes; the second copy follows.
    Accept,
    /// No.
    Refuse,
}

/// Does a holder that is cut off from the majority of the holders answer questions?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StalePolicy {
    /// Yes, and it says that it is cut off.
    #[default]
    Answer,
    /// For so many milliseconds after contact was lost.
    AnswerForMs(u64),
    /// No: unavailable, at once.
    Refuse,
}

/// One change of a registry's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyChange {
    /// One copy or two.
    Alone(AlonePolicy),
    /// How old an answer may be.
    Stale(StalePolicy),
    /// One more server among which the registrars may choose holders.
    Offer(ServerName),
    /// One fewer. With none left, all are offered.
    Withdraw(ServerName),
}

/// A registry's policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RegistryPolicy {
    /// One copy or two.
    pub alone: AlonePolicy,
    /// How old an answer may be.
    pub stale: StalePolicy,
    /// The servers offered to its registrars; none named: all.
    pub offered: Vec<ServerName>,
}
