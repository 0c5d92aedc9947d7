//! The keys of `grapevine.toml` about what is kept, and for how long.

use serde::Deserialize;

/// The keys of `[storage]`.
pub(crate) const STORAGE_KEYS: &[&str] = &["over_quota_hours"];

/// A person who is told that the inbox is full tidies up within a day, or is away for longer than
/// senders ought to wait without a word.
const DEFAULT_OVER_QUOTA_HOURS: u64 = 24;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Mail for a full inbox is tried for so long, then reported.
    pub(crate) over_quota_hours: u64,
}

/// The table as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct StorageTable {
    over_quota_hours: Option<u64>,
}

impl StorageTable {
    /// With defaults.
    pub(crate) fn check(self) -> Storage {
        Storage {
            over_quota_hours: self.over_quota_hours.unwrap_or(DEFAULT_OVER_QUOTA_HOURS),
        }
    }
}
