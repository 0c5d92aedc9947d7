//! Moderated groups: what waits for their owners, and what these say of it.

use serde::{Deserialize, Serialize};

use crate::id::MessageId;
use crate::name::Name;

/// Longest reason for a refusal in octets: it is told to the sender.
pub const MAX_VERDICT_BYTES: usize = 500;

/// A message to a moderated group that waits for an owner's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPost {
    /// Which.
    pub message: MessageId,
    /// Its return path; none for a report.
    pub from: Option<Name>,
    /// Its length in octets.
    pub octets: u64,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Until when somebody may say yes; then it goes back to its sender.
    pub expires_ms: u64,
}

/// What an owner says of a held message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It goes on as if it had been posted now.
    Approve,
    /// It goes back to its sender, with this reason.
    Reject(String),
}
