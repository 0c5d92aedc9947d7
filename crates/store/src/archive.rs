//! Bodies that are kept elsewhere: which may go, the steps of their way there, and what is left to be removed.
//!
//! The store moves nothing itself; whoever does says each step here, and each is one batch. Promises: a body is here
//! until its copy elsewhere was checked, so a kill between any two steps loses nothing; an object is named in the
//! *rubbish* before it is made, and whenever no row needs it any more, so none is forgotten there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::committer::Inner;
use crate::contract::{Damaged, MessageId};
use crate::engine::Part;
use crate::index::{BodyFile, BodyRow, Place};

/// Where the sums stand in the house partition.
pub(crate) const SUMS_KEY: &[u8] = b"grapevine.archive.sums";
/// Where this store's own part of the archive is named.
pub(crate) const ID_KEY: &[u8] = b"grapevine.archive.id";
/// Fetched bodies that wait to be noted. Beyond this many some are not noted, and go to the archive sooner than they need.
const TOUCHED_MAX: usize = 10_000;
/// Fetched bodies noted in one batch.
pub(crate) const TOUCHED_PAGE: usize = 256;

/// A body that is in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedBody {
    /// The object's name, within this store's own part of the archive.
    pub object: String,
    /// Length in bytes.
    pub len_bytes: u64,
    /// BLAKE3 digest of all of it.
    pub digest: [u8; 32],
}

/// A body that may go to the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Whose body.
    pub message: MessageId,
    /// What it will be there.
    pub body: ArchivedBody,
    pub(crate) row: BodyRow,
}

/// Which bodies go. Days are counted by whoever sets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveRule {
    /// Those that came, or were last fetched, before this day.
    pub before_day: u32,
    /// And those that are larger than this and did not come today.
    pub larger_than_bytes: Option<u64>,
}

/// A page of what may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Those found.
    pub found: Vec<Candidate>,
    /// Where to go on; none at the end.
    pub next: Option<MessageId>,
}

/// What is in the archive and what it is still to be rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveSums {
    /// Bodies there.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ArchiveSums {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = self.bodies.to_be_bytes().to_vec();
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (bodies, rest) = row.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        rest.is_empty().then_some(Self {
            bodies: u64::from_be_bytes(*bodies),
            bytes: u64::from_be_bytes(*bytes),
        })
    }
}

/// One step of a move.
#[derive(Debug)]
pub(crate) enum Step {
    /// Objects of these names are about to be made.
    Intend(Vec<Candidate>),
    /// Their copies were checked: what is here goes.
    Moved(Vec<Candidate>),
    /// There are no objects of these names any more.
    Removed(Vec<String>),
    /// This store's own part of the archive is called so.
    Name(u64),
}

/// What day it is, and what was fetched.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    today: AtomicU32,
    touched: Mutex<BTreeSet<MessageId>>,
}

impl Fetched {
    pub(crate) fn today(&self) -> u32 {
        self.today.load(Ordering::Relaxed)
    }

    pub(crate) fn set_today(&self, day: u32) {
        self.today.store(day, Ordering::Relaxed);
    }

    pub(crate) fn touch(&self, message: MessageId) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() < TOUCHED_MAX {
            touched.insert(message);
        }
    }

    pub(crate) fn take_touched(&self) -> Vec<MessageId> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        while taken.len() < TOUCHED_PAGE
            && let Some(message) = touched.pop_first()
        {
            taken.push(message);
        }
        taken
    }
}

/// The object of a body: the name of its file, on its shelf.
pub(crate) fn object_of(file: &BodyFile) -> String {
    format!("{}/{}", file.shelf(), file.name())
}

pub(crate) fn archived(message: MessageId, row: &BodyRow) -> ArchivedBody {
    ArchivedBody {
        object: object_of(&row.named(message)),
        len_bytes: row.len_bytes,
        digest: row.digest,
    }
}

/// Bodies that may go, from a page of the index.
pub(crate) fn candidates(
    inner: &Inner,
    after: Option<MessageId>,
    rows: usize,
    rule: &ArchiveRule,
) -> Result<Candidates, Damaged> {
    let from = match after {
        None => Vec::new(),
        Some(message) => {
            let mut from = message.to_bytes().to_vec();
            from.push(0);
            from
        }
    };
    let page = inner.engine.scan(Part::Bodies, &from, None, rows)?;
    let today = inner.fetched.today();
    let mut candidates = Candidates {
        found: Vec::new(),
        next: None,
    };
    let full = page.len() >= rows;
    for (key, value) in page {
        let Ok(id) = <[u8; 16]>::try_from(key.as_slice()) else {
            continue;
        };
        let message = MessageId::from_bytes(id);
        candidates.next = full.then_some(message);
        // What can't be read is the doctor's.
        let Ok(row) = BodyRow::decode(message, &value) else {
            continue;
        };
        match row.place {
            Place::Archived => continue,
            Place::Inline | Place::File if row.day == 0 => {
                // Of an older release: its time begins now.
                inner.fetched.touch(message);
                continue;
            }
            Place::Inline | Place::File => {}
        }
        let large = rule
            .larger_than_bytes
            .is_some_and(|most| row.len_bytes > most && row.day < today);
        if row.day < rule.before_day || large {
            candidates.found.push(Candidate {
                message,
                body: archived(message, &row),
                row,
            });
        }
    }
    Ok(candidates)
}

/// Objects that are to be removed, unless one of a row: at most `limit`, after a name.
pub(crate) fn rubbish(
    inner: &Inner,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Damaged> {
    let mut from = Vec::new();
    if let Some(after) = after {
        from.extend_from_slice(after.as_bytes());
        from.push(0);
    }
    let page = inner
        .engine
        .scan(Part::ArchiveRubbish, &from, None, limit)?;
    Ok(page
        .into_iter()
        .filter_map(|(name, _)| String::from_utf8(name).ok())
        .collect())
}

/// Whether a row needs this object. A name that this store does not give belongs to nobody.
pub(crate) fn is_needed(inner: &Inner, object: &str) -> Result<bool, Damaged> {
    let Some(file) = object.rsplit('/').next().and_then(BodyFile::parse) else {
        return Ok(false);
    };
    let message = file.message();
    let Some(row) = inner.engine.get(Part::Bodies, &message.to_bytes())? else {
        return Ok(false);
    };
    let row = BodyRow::decode(message, &row)?;
    Ok(row.place == Place::Archived && row.named(message) == file)
}
