//! A list's outside members whose addresses are dead: no more is sent to them until an owner says so.

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// An outside member of a group to whom no copies are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// The address.
    pub member: Name,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// What the other system said last.
    pub reason: String,
}
