//! The body index: for each message that has a body, where it is, how long, and its digest.
//!
//! A row is the only thing that makes a body exist: a file no row names is rubbish, a row whose file is
//! missing is damage.

use crate::contract::{Damaged, MessageId};

/// Version of the rows' encoding, their first byte. Since 2 they end with a day.
const ROW_VERSION: u8 = 2;
const ROW_VERSION_WITHOUT_DAY: u8 = 1;
const PLACE_INLINE: u8 = 0;
const PLACE_FILE: u8 = 1;
const PLACE_ARCHIVED: u8 = 2;

/// Where a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the partition of small bodies.
    Inline,
    /// In a file of its own.
    File,
    /// Not here: in the archive, under the name that its file would have.
    Archived,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyRow {
    /// Where it is.
    pub(crate) place: Place,
    /// Its length.
    pub(crate) len_bytes: u64,
    /// Its BLAKE3 digest.
    pub(crate) digest: [u8; 32],
    /// The day on which it came or was last fetched; 0 where that is not known.
    pub(crate) day: u32,
}

impl BodyRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let place = match self.place {
            Place::Inline => PLACE_INLINE,
            Place::File => PLACE_FILE,
            Place::Archived => PLACE_ARCHIVED,
        };
        let mut out = vec![ROW_VERSION, place];
        out.extend_from_slice(&self.len_bytes.to_be_bytes());
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.day.to_be_bytes());
        out
    }

    pub(crate) fn decode(message: MessageId, row: &[u8]) -> Result<Self, Damaged> {
        Self::decode_parts(row).ok_or_else(|| {
            Damaged(format!(
                "the index row of the body of {message} is unreadable"
            ))
        })
    }

    fn decode_parts(row: &[u8]) -> Option<Self> {
        let (&[version, place], rest) = row.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (day, rest) = match version {
            ROW_VERSION_WITHOUT_DAY => (0, rest),
            ROW_VERSION => {
                let (day, rest) = rest.split_first_chunk()?;
                (u32::from_be_bytes(*day), rest)
            }
            _ => return None,
        };
        let place = match place {
            PLACE_INLINE => Place::Inline,
            PLACE_FILE => Place::File,
            PLACE_ARCHIVED => Place::Archived,
            _ => return None,
        };
        rest.is_empty().then_some(Self {
            place,
            len_bytes: u64::from_be_bytes(*len),
            digest: *digest,
            day,
        })
    }

    /// Whether it is the same body, wherever it is.
    pub(crate) fn is_same_body(&self, other: &Self) -> bool {
        (self.len_bytes, self.digest) == (other.len_bytes, other.digest)
    }

    /// The name that a file of it has, or an object.
    pub(crate) fn named(&self, message: MessageId) -> BodyFile {
        BodyFile::new(message, &self.digest)
    }

    /// The file it is in, where it is in one.
    pub(crate) fn file(&self, message: MessageId) -> Option<BodyFile> {
        match self.place {
            Place::Inline | Place::Archived => None,
            Place::File => Some(BodyFile::new(message, &self.digest)),
        }
    }
}

/// The name of a large body's file: its message and the start of its digest. So a body that replaces another
/// of the same message never overwrites it before the batch that says so is durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BodyFile {
    name: String,
    message: MessageId,
}

/// Hex digits of the digest in a name: enough to tell two bodies of one message apart.
const NAME_DIGEST_DIGITS: usize = 16;
/// Hex digits of a message id.
const NAME_ID_DIGITS: usize = 32;

impl BodyFile {
    fn new(message: MessageId, digest: &[u8; 32]) -> Self {
        let digest = blake3::Hash::from_bytes(*digest).to_hex();
        let digest = digest.get(..NAME_DIGEST_DIGITS).unwrap_or_default();
        Self {
            name: format!("{message}-{digest}"),
            message,
        }
    }

    /// Reads a file name back; `None` for a name this store does not give.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (id, digest) = name.split_once('-')?;
        let is_hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !is_hex(id, NAME_ID_DIGITS) || !is_hex(digest, NAME_DIGEST_DIGITS) {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            message: MessageId::from_bytes(u128::from_str_radix(id, 16).ok()?.to_be_bytes()),
        })
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The message it was a body of.
    pub(crate) fn message(&self) -> MessageId {
        self.message
    }

    /// The folder below `bodies/`. From the digest's digits: ids that follow each other share their start.
    pub(crate) fn shelf(&self) -> &str {
        let at = NAME_ID_DIGITS + 1;
        self.name.get(at..at + 2).unwrap_or("00")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_file_name_reads_back() {
        let message = MessageId::from_bytes([0xa7; 16]);
        let file = BodyFile::new(message, blake3::hash(b"x").as_bytes());
        assert_eq!(BodyFile::parse(file.name()), Some(file.clone()));
        assert_eq!(file.message(), message);
        assert_eq!(BodyFile::parse("../../etc/passwd"), None);
    }

    #[test]
    fn a_row_reads_back_and_a_cut_row_is_damage() {
        let message = MessageId::from_bytes([1; 16]);
        for place in [Place::Inline, Place::File, Place::Archived] {
            let row = BodyRow {
                place,
                len_bytes: 77,
                digest: [9; 32],
                day: 20_000,
            };
            let bytes = row.encode();
            assert_eq!(BodyRow::decode(message, &bytes), Ok(row));
            let mut old = bytes.clone();
            old.truncate(bytes.len() - 4);
            old[0] = ROW_VERSION_WITHOUT_DAY;
            let of_old = BodyRow { day: 0, ..row };
            assert_eq!(BodyRow::decode(message, &old), Ok(of_old));
            for cut in 0..bytes.len() {
                assert!(BodyRow::decode(message, bytes.get(..cut).unwrap_or_default()).is_err());
            }
        }
    }
}
