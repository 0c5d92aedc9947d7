//! The mailbox as it was at the login: numbers never move while the session lasts.
//!
//! A mark is a wish; nothing is deleted before QUIT (RFC 1939 section 6).

use super::command::Number;
use super::reply::{DELETED_ALREADY, NO_SUCH_MESSAGE, Reply};

/// The longest unique id (RFC 1939 section 7).
const UIDL_BYTES: usize = 70;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    uidl: String,
    size_bytes: u64,
    marked: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Kept,
    Deleted,
}

/// What is in a mailbox, as far as can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The messages, in order.
    pub entries: Vec<Entry>,
    /// Whether these are all.
    pub extent: Extent,
}

/// How much of a mailbox is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// A place that can't be reached now may have more.
    Partial,
}

impl From<Vec<Entry>> for Listed {
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            extent: Extent::Whole,
        }
    }
}

/// A unique id that POP3 can't carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a unique id is 1 to 70 printable ASCII characters without spaces")]
pub struct BadUidl;

/// All messages, and the totals of those not marked.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    entries: Vec<Entry>,
    kept: u64,
    kept_bytes: u64,
}

impl Entry {
    /// A message with its unique id and its size: the octets that are sent, stuffing not counted, a missing last CRLF counted.
    ///
    /// # Errors
    /// [`BadUidl`] when the id is not what RFC 1939 allows.
    pub fn new(uidl: impl Into<String>, size_bytes: u64) -> Result<Self, BadUidl> {
        let uidl = uidl.into();
        let good = (1..=UIDL_BYTES).contains(&uidl.len())
            && uidl.bytes().all(|byte| byte.is_ascii_graphic());
        if good {
            Ok(Self {
                uidl,
                size_bytes,
                marked: Mark::Kept,
            })
        } else {
            Err(BadUidl)
        }
    }

    pub(super) fn uidl(&self) -> &str {
        &self.uidl
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Mailbox {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let mut mailbox = Self {
            entries,
            kept: 0,
            kept_bytes: 0,
        };
        mailbox.keep_all();
        mailbox
    }

    /// How many, and how many bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.kept, self.kept_bytes)
    }

    /// The message of this number, if it is there and not marked.
    pub(super) fn get(&self, number: Number) -> Result<&Entry, Reply> {
        match self.entries.get(number.index()) {
            None => Err(NO_SUCH_MESSAGE),
            Some(Entry {
                marked: Mark::Deleted,
                ..
            }) => Err(DELETED_ALREADY),
            Some(entry) => Ok(entry),
        }
    }

    pub(super) fn mark(&mut self, number: Number) -> Result<(), Reply> {
        self.get(number)?;
        if let Some(entry) = self.entries.get_mut(number.index()) {
            entry.marked = Mark::Deleted;
            self.kept -= 1;
            self.kept_bytes = self.kept_bytes.saturating_sub(entry.size_bytes);
        }
        Ok(())
    }

    pub(super) fn keep_all(&mut self) {
        (self.kept, self.kept_bytes) = (0, 0);
        for entry in &mut self.entries {
            entry.marked = Mark::Kept;
            self.kept += 1;
            self.kept_bytes = self.kept_bytes.saturating_add(entry.size_bytes);
        }
    }

    /// The first unmarked message at or after `index`, with its own index.
    pub(super) fn kept_from(&self, index: usize) -> Option<(usize, &Entry)> {
        let rest = self.entries.get(index..)?;
        let offset = rest.iter().position(|entry| entry.marked == Mark::Kept)?;
        Some((index + offset, rest.get(offset)?))
    }

    /// The ids to delete.
    pub(super) fn marked(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|entry| entry.marked == Mark::Deleted)
            .map(|entry| entry.uidl.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_id_is_what_the_rfc_allows() {
        assert!(Entry::new("17.s1", 1).is_ok());
        for uidl in ["", "a b", "a\r\n", "\u{e9}", &"x".repeat(71)] {
            assert_eq!(Entry::new(uidl, 1), Err(BadUidl), "{uidl:?}");
        }
    }
}
