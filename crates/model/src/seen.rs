//! What a client has seen (read your writes), and as of when an answer is.
//!
//! A token is not a right: whoever makes one up only asks for something newer than there is, and is
//! told "unavailable".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{OriginId, ServerName};
use crate::name::RegistryName;
use crate::stamp::{Hlc, Stamp};

/// Most tokens that go with one request: a client has written to a few registries, each at a few
/// servers, since it last saw them agree. Of more, the newest count.
pub const MAX_SEEN: usize = 64;
/// Hexadecimal digits of a time, and of an origin.
const DIGITS: usize = 16;

/// A token: a write to a registry that its bearer has seen done. Its text is
/// `REGISTRY:TIMEORIGIN`, both in 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seen {
    /// Where.
    pub registry: RegistryName,
    /// Which write, and so all that its origin wrote there before.
    pub stamp: Stamp,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is written REGISTRY: and 32 hexadecimal digits, as a change gave it")]
pub struct SeenError;

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { time, origin } = self.stamp;
        write!(f, "{}:{:016x}{:016x}", self.registry, time.0, origin.0)
    }
}

impl FromStr for Seen {
    type Err = SeenError;

    fn from_str(text: &str) -> Result<Self, SeenError> {
        let (registry, stamp) = text.rsplit_once(':').ok_or(SeenError)?;
        if stamp.len() != 2 * DIGITS || !stamp.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SeenError);
        }
        let (time, origin) = stamp.split_at_checked(DIGITS).ok_or(SeenError)?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| SeenError);
        Ok(Self {
            registry: registry.parse().map_err(|_| SeenError)?,
            stamp: Stamp {
                time: Hlc(number(time)?),
                origin: OriginId(number(origin)?),
            },
        })
    }
}

impl TryFrom<String> for Seen {
    type Error = SeenError;

    fn try_from(text: String) -> Result<Self, SeenError> {
        text.parse()
    }
}

impl From<Seen> for String {
    fn from(seen: Seen) -> Self {
        seen.to_string()
    }
}

/// As of when a server has read a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// The holder that read.
    pub server: ServerName,
    /// When, by its clock: milliseconds since 1970.
    pub at_ms: u64,
    /// Since when it has been cut off from the majority of the holders (milliseconds since 1970);
    /// none if it is not. What they have written since may be missing.
    pub cut_off_since_ms: Option<u64>,
    /// The other holders that it does not hear now: what only they have may be missing.
    pub unheard: Vec<ServerName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written_and_nothing_else_is_one() {
        let seen = Seen {
            registry: "pa.example".parse().unwrap(),
            stamp: Stamp {
                time: Hlc(0x17),
                origin: OriginId(u64::MAX),
            },
        };
        let text = seen.to_string();
        assert_eq!(text, "pa.example:0000000000000017ffffffffffffffff");
        assert_eq!(text.parse(), Ok(seen));
        let wrong = [
            "",
            "pa",
            "pa:17",
            ":0000000000000017ffffffffffffffff",
            "pa:+000000000000017ffffffffffffffff",
            "pa:0000000000000017fffffffffffffffff",
            "pa:000000000000001ë7fffffffffffffff",
        ];
        for text in wrong {
            assert_eq!(text.parse::<Seen>(), Err(SeenError), "{text}");
        }
    }
}
