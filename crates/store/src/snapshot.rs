//! What is committed at one moment, read while commits go on: for backups.
//!
//! All tables and the index of bodies are of the same commit. The bodies themselves are read later, by their ids: one that was
//! dropped meanwhile is gone. Must never show half of a batch.

use std::sync::Arc;

use crate::committer::Inner;
use crate::contract::{Damaged, MessageId, Row, Table};
use crate::engine::{Moment, Part};
use crate::index::BodyRow;

/// Rows read at a time.
const ROWS_A_PAGE: usize = 2_000;
/// And bytes, about: a page is one message to whoever makes the backup.
const BYTES_A_PAGE: usize = 256 * 1024;

/// A moment of a store.
pub struct Snapshot {
    inner: Arc<Inner>,
    moment: Moment,
}

/// A body that a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBody {
    /// Its message.
    pub message: MessageId,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Its BLAKE3 digest.
    pub digest: [u8; 32],
}

impl Snapshot {
    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        let moment = inner.engine.moment();
        Self { inner, moment }
    }

    /// The next rows of a table, in order of their keys, after a key; none at its end.
    ///
    /// # Errors
    /// [`Damaged`], when they can't be read.
    pub fn rows(&self, table: Table, after: Option<&[u8]>) -> Result<Vec<Row>, Damaged> {
        self.page(table.into(), after)
    }

    /// The next bodies that there are, in order of their ids, wherever they are; none at the end.
    ///
    /// # Errors
    /// [`Damaged`], when the index can't be read.
    pub fn bodies(&self, after: Option<MessageId>) -> Result<Vec<KeptBody>, Damaged> {
        let after = after.map(MessageId::to_bytes);
        let page = self.page(Part::Bodies, after.as_ref().map(<[u8; 16]>::as_slice))?;
        let bodies = page.into_iter().map(|(key, value)| {
            let id = <[u8; 16]>::try_from(key.as_slice())
                .map_err(|_| Damaged("a body's key is no message id".to_owned()))?;
            let message = MessageId::from_bytes(id);
            let row = BodyRow::decode(message, &value)?;
            Ok(KeptBody {
                message,
                len_bytes: row.len_bytes,
                digest: row.digest,
            })
        });
        bodies.collect()
    }

    fn page(&self, part: Part, after: Option<&[u8]>) -> Result<Vec<Row>, Damaged> {
        let from = match after {
            Some(after) => [after, &[0]].concat(),
            None => Vec::new(),
        };
        let most = (ROWS_A_PAGE, BYTES_A_PAGE);
        self.inner.engine.scan_at(&self.moment, part, &from, most)
    }
}
