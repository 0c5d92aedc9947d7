//! What a registry's registrars, and the owners of `gv`, have decided about its copies.
//!
//! Stored in `R@gv`, so every server knows it.

use serde::{Deserialize, Serialize};

use crate::entry::Quota;
use crate::id::ServerName;
use crate::name::Name;

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

/// May the people of this registry log in by SCRAM-SHA-256 at the doors for mail programs?
///
/// What is kept for it can be attacked by whoever has stolen a disk, at the price of PBKDF2, not of
/// Argon2id: hence no, unless a registry wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScramPolicy {
    /// No: nothing is kept for it.
    #[default]
    Off,
    /// Yes.
    On,
}

/// What becomes of mail for an inbox that is full?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverQuotaPolicy {
    /// It waits: 452 at the door, then tried again for a time, then reported.
    #[default]
    Later,
    /// It is refused: 552 at the door, or reported at once.
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
    /// SCRAM or not.
    Scram(ScramPolicy),
    /// How much all its inboxes together may hold at one server.
    Quota(Quota),
    /// What becomes of mail for a full inbox.
    OverQuota(OverQuotaPolicy),
    /// Who gets mail for names that it does not have; nobody: it is refused.
    CatchAll(Option<Name>),
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
    /// SCRAM or not.
    pub scram: ScramPolicy,
    /// How much all its inboxes together may hold at one server.
    pub quota: Quota,
    /// What becomes of mail for a full inbox.
    pub over_quota: OverQuotaPolicy,
    /// Who gets mail for names that it does not have.
    pub catch_all: Option<Name>,
    /// The servers offered to its registrars; none named: all.
    pub offered: Vec<ServerName>,
}
