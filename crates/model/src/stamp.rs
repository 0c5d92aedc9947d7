//! Time as replication sees it: hybrid logical clock values and stamps.
//!
//! Stamps are totally ordered; the clock that makes them is in the core.

use std::fmt;
use std::str::FromStr;

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

/// As clients hand it around: 32 hexadecimal digits, the time first, so that texts sort as stamps.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.time.0, self.origin.0)
    }
}

/// The text was no stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stamp is 32 hexadecimal digits, as a change prints it with --json")]
pub struct StampError;

impl FromStr for Stamp {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Self, StampError> {
        let text = text.trim();
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(StampError);
        }
        let bits = u128::from_str_radix(text, 16).map_err(|_| StampError)?;
        Ok(Self {
            time: Hlc((bits >> 64) as u64),
            origin: OriginId(bits as u64),
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_comes_back_from_its_text_and_texts_sort_as_stamps(a in any::<(u64, u64)>(), b in any::<(u64, u64)>()) {
            let stamp = |(time, origin)| Stamp { time: Hlc(time), origin: OriginId(origin) };
            let (a, b) = (stamp(a), stamp(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn no_text_is_taken_for_a_stamp_by_mistake(text in "\\PC{0,40}") {
            if let Ok(stamp) = text.parse::<Stamp>() {
                prop_assert_eq!(stamp.to_string(), text.trim().to_ascii_lowercase());
            }
        }
    }
}
