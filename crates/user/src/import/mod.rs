//! Bringing old mail in: an mbox file or a Maildir becomes messages to submit.
//!
//! Whatever is found has an id that follows from the target's name and its
//! content alone, so that an import that was cut off, or run twice, or run on the
//! grown file a year later, doubles nothing. Bodies stay in their files and are
//! read when they are sent (P8: as they are, but for what the caller asks).

mod date;
pub mod maildir;
pub mod mbox;

use std::collections::HashMap;
use std::io::{self, Read};

use grapevine_model::{BodyInfo, Hlc, MessageId, Name, OriginId};

use crate::body::BodySource;

pub use maildir::Maildir;
pub use mbox::Mbox;

/// A header longer than this is not searched for its date: real ones have a tenth of it.
const MAX_HEADER_BYTES: u64 = 256 * 1024;

/// A message found in a file or folder.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it stands, for a person: a file name, with an offset in an mbox.
    pub place: String,
    /// Its content.
    pub body: BodySource,
    /// When it arrived there, in milliseconds since 1970, if the place tells.
    pub arrived_ms: Option<u64>,
}

/// A message that is ready to be submitted.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Its id, the same each time.
    pub id: MessageId,
    /// Length and digest of its content.
    pub info: BodyInfo,
}

/// Gives messages their ids: one for the whole of an import.
#[derive(Debug)]
pub struct Numbering {
    target: Name,
    now_ms: u64,
    /// How often each content has been seen: two equal messages in one mailbox are two messages.
    seen: HashMap<[u8; 32], u32>,
}

impl Numbering {
    /// For messages that are going to this name, at this time.
    pub fn new(target: Name, now_ms: u64) -> Self {
        Self {
            target,
            now_ms,
            seen: HashMap::new(),
        }
    }

    /// The id of a message. Its time is the message's `Date`, or else when it arrived where it was
    /// found, or else the beginning of 1970; never in the future. Reads the message once; blocks.
    pub fn number(&mut self, found: &Found) -> io::Result<Numbered> {
        let info = found.body.measure()?;
        let dated = self.header_date_ms(found)?;
        let time_ms = [dated, found.arrived_ms]
            .into_iter()
            .flatten()
            .find(|ms| *ms <= self.now_ms)
            .unwrap_or(0);
        let turn = self.seen.entry(info.digest).or_default();
        let mut hasher = blake3::Hasher::new_derive_key("grapevine import 2026-11 message id");
        hasher.update(self.target.key().as_bytes());
        hasher.update(&[0]);
        hasher.update(&info.digest);
        hasher.update(&turn.to_be_bytes());
        *turn = turn.saturating_add(1);
        let mut bits = [0; 8];
        hasher.finalize_xof().fill(&mut bits);
        Ok(Numbered {
            id: MessageId {
                time: Hlc::at_ms(time_ms),
                origin: OriginId::client(u64::from_be_bytes(bits)),
            },
            info,
        })
    }

    fn header_date_ms(&self, found: &Found) -> io::Result<Option<u64>> {
        let mut head = Vec::new();
        found
            .body
            .open()?
            .take(MAX_HEADER_BYTES)
            .read_to_end(&mut head)?;
        Ok(date::header_date_ms(&head))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(content: &str, arrived_ms: Option<u64>) -> Found {
        Found {
            place: "test".into(),
            body: BodySource::bytes(content.as_bytes()),
            arrived_ms,
        }
    }

    fn numbering(target: &str) -> Numbering {
        Numbering::new(target.parse().unwrap(), 1_700_000_000_000)
    }

    #[test]
    fn ids_are_the_same_each_time_and_differ_by_target_content_and_turn() {
        let message = found("Date: Thu, 1 Jan 2004 00:00:00 +0000\n\nhello\n", None);
        let mut first = numbering("birrell@pa.example");
        let a = first.number(&message).unwrap().id;
        let again = first.number(&message).unwrap().id;
        let mut second = numbering("Birrell@PA.example");
        assert_eq!(a, second.number(&message).unwrap().id);
        assert_eq!(again, second.number(&message).unwrap().id);
        assert_ne!(a, again);
        let other = numbering("needham@pa.example").number(&message).unwrap().id;
        assert_ne!(a, other);
        assert!(a.origin.is_client());
        assert_eq!(a.time.wall_ms(), 1_072_915_200_000);
    }

    #[test]
    fn a_message_without_a_date_or_from_the_future_takes_the_next_best_time() {
        let at = |content: &str, arrived| {
            numbering("birrell@pa.example")
                .number(&found(content, arrived))
                .unwrap()
                .id
                .time
                .wall_ms()
        };
        assert_eq!(at("", Some(5_000)), 5_000);
        assert_eq!(at("\n\nbody", None), 0);
        assert_eq!(
            at("Date: Thu, 1 Jan 2099 00:00:00 +0000\n\n", Some(7_000)),
            7_000
        );
        assert_eq!(at("Date: Thu, 1 Jan 2099 00:00:00 +0000\n\n", None), 0);
        assert_eq!(
            at("Subject: x\n\nDate: Thu, 1 Jan 2004 00:00:00 +0000\n", None),
            0
        );
    }
}
