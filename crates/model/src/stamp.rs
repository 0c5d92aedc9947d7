//! Time as replication sees it: hybrid logical clock values and stamps.
//!
//! Stamps are totally ordered; the clock that makes them is in the core.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::OriginId;

/// A hybrid clock value: 48 bits of milliseconds since 1970, 16 bits of count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first value of a millisecond.
    pub fn at_ms(wall_ms: u64) -> Self {
        Self(wall_ms << 16)
    }

    /// Its milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next value; the count runs over into the milliseconds.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall_ms(), self.0 & 0xffff)
    }
}

/// When, and by whom: totally ordered, never given out twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub time: Hlc,
    /// By whom.
    pub origin: OriginId,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.time, self.origin)
    }
}

/// The time, as an argument: what the machine's clocks say at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Milliseconds that never go back while a server runs: for time-outs.
    pub mono_ms: u64,
    /// Milliseconds since 1970 as this machine believes: for stamps and dates; may jump.
    pub wall_ms: u64,
}
