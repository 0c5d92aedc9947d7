//! Bringing old mail in: an mbox file or a Maildir becomes messages to submit, or mails for folders.
//!
//! Whatever is found has an id that follows from the target's name and its
//! content, for a mail in a folder also from that folder, so that an import that was cut off, or run twice, or run on the
//! grown file a year later, doubles nothing. Bodies stay in their files and are
//! read when they are sent (P8: as they are, but for what the caller asks).

mod date;
pub(crate) mod flags;
pub mod journal;
pub mod maildir;
pub mod mbox;
pub(crate) mod names;
pub(crate) mod notes;
mod tree;

use std::collections::HashMap;
use std::io::{self, Read};

use grapevine_model::{BodyInfo, Flag, FolderPath, Hlc, MessageId, Name, OriginId};

use crate::body::BodySource;

pub use journal::Journal;
pub use maildir::Maildir;
pub use mbox::Mbox;
pub use names::{below, fitting};
pub use tree::MboxTree;

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
    /// In which folder.
    pub folder: FolderPath,
    /// With which flags.
    pub flags: Vec<Flag>,
    /// Which mail it is an export of.
    pub original: Option<MessageId>,
}

/// A message that is ready to be submitted.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Its id, the same each time.
    pub id: MessageId,
    /// Length and digest of its content.
    pub info: BodyInfo,
}

/// A mail for a folder, as it is known again.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The origin of its id, the same each time; the time is when it is first brought.
    pub origin: OriginId,
    /// Length and digest of its content.
    pub info: BodyInfo,
    /// Its date for mail programs, if anything tells.
    pub date_ms: Option<u64>,
    /// Its flags.
    pub flags: Vec<Flag>,
}

/// Gives messages their ids: one for the whole of an import.
#[derive(Debug)]
pub struct Numbering {
    target: Name,
    now_ms: u64,
    /// How often each content has been seen: two equal messages in one mailbox are two messages.
    seen: HashMap<(Option<FolderPath>, [u8; 32]), u32>,
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
        let turn = self.seen.entry((None, info.digest)).or_default();
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

    /// How a mail for a folder is known again: by the target, the folder, the content, and how many there were like it.
    /// Reads the mail once; blocks.
    pub fn identify(&mut self, found: &Found) -> io::Result<Identified> {
        let info = found.body.measure()?;
        let head = header(found)?;
        let origin = self.origin(&found.folder, info);
        let mut flags = found.flags.clone();
        if found.original.is_none() && flags.is_empty() {
            flags = flags::of_header(&head);
        }
        Ok(Identified {
            origin,
            info,
            date_ms: found.arrived_ms.or_else(|| date::header_date_ms(&head)),
            flags,
        })
    }

    /// The same of a mail that was measured elsewhere.
    pub fn origin(&mut self, folder: &FolderPath, info: BodyInfo) -> OriginId {
        let key = (Some(folder.clone()), info.digest);
        let turn = self.seen.entry(key).or_default();
        let mut hasher =
            blake3::Hasher::new_derive_key("grapevine import 2026-11 mail in a folder");
        for text in [self.target.key().as_str(), folder.as_str()] {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&info.digest);
        hasher.update(&turn.to_be_bytes());
        *turn = turn.saturating_add(1);
        let mut bits = [0; 8];
        hasher.finalize_xof().fill(&mut bits);
        OriginId::client(u64::from_be_bytes(bits))
    }

    fn header_date_ms(&self, found: &Found) -> io::Result<Option<u64>> {
        Ok(date::header_date_ms(&header(found)?))
    }
}

fn header(found: &Found) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let body = found.body.open()?;
    body.take(MAX_HEADER_BYTES).read_to_end(&mut head)?;
    Ok(head)
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
            folder: FolderPath::inbox(),
            flags: Vec::new(),
            original: None,
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
    fn a_mail_in_a_folder_is_known_by_target_folder_content_and_turn() {
        let mut there = found("Status: RO\n\nhello\n", None);
        let first = numbering("birrell@pa.example").identify(&there).unwrap();
        let mut numbering = numbering("Birrell@PA.example");
        let again = numbering.identify(&there).unwrap();
        assert_eq!(first.origin, again.origin);
        assert_eq!(first.flags, ["\\Seen".parse().unwrap()]);
        let second = numbering.identify(&there).unwrap();
        there.folder = "Archive".parse().unwrap();
        let elsewhere = numbering.identify(&there).unwrap();
        assert!(first.origin != second.origin && first.origin != elsewhere.origin);
        assert!(first.origin.is_client());
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
