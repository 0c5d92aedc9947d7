//! Deletions that were written before there was an index of them (`Table::Tombstones`) are found once,
//! page by page after the start, and wait like all others to be forgotten.
//!
//! Whether that was done is written down with the last page; if the server stops before, it is done
//! again, which changes nothing.

use grapevine_model::{Cell, SpaceId};

use crate::codec;
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

/// `Meta` key: every deletion here is in the index.
const META_INDEXED: &[u8] = b"tombstones-indexed";
/// Between two pages. Nothing waits for this: what is forgotten later is forgotten all the same.
const PAUSE_MS: u64 = 20;

/// The spaces that are still to be looked through.
#[derive(Debug, Default)]
pub(crate) struct Indexing {
    spaces: Vec<SpaceId>,
    /// The row that the next page begins with, where a space is begun.
    next_row: Option<Vec<u8>>,
}

impl Server {
    /// At the start: looks through a folder that was not looked through yet.
    pub(crate) fn begin_indexing(&mut self) -> Result<(), Damaged> {
        if self.ledger.get(Table::Meta, META_INDEXED)?.is_none() {
            self.indexing = Some(Indexing {
                spaces: self.spaces.keys().cloned().collect(),
                next_row: None,
            });
            self.timer(PAUSE_MS, Timer::Index);
        }
        Ok(())
    }

    /// Looks through the next rows, as many as one turn may take.
    pub(crate) fn index_on(&mut self) -> Result<(), Damaged> {
        let Some(mut indexing) = self.indexing.take() else {
            return Ok(());
        };
        let mut left = self.config.rows_a_turn.max(1);
        while left > 0 {
            let Some(space) = indexing.spaces.last().cloned() else {
                self.ledger
                    .put(Table::Meta, META_INDEXED.to_vec(), Vec::new());
                return Ok(());
            };
            let prefix = codec::space_prefix(&space);
            let until = codec::after_prefix(&prefix);
            let from = indexing.next_row.take().unwrap_or_else(|| prefix.clone());
            let rows = self.ledger.scan(Table::Cells, &from, &until, left)?;
            match rows.last() {
                Some((last, _)) if rows.len() == left => {
                    indexing.next_row = Some([last.as_slice(), &[0]].concat());
                }
                Some(_) | None => {
                    indexing.spaces.pop();
                }
            }
            // A space without rows is work too.
            left = left.saturating_sub(rows.len().max(1));
            for (row, value) in rows {
                let key = codec::read_cell_key(row.get(prefix.len()..).unwrap_or_default())?;
                // A row that can't be read is looked after elsewhere.
                let Ok(cell) = codec::decode::<Cell>(&value) else {
                    continue;
                };
                if self.waits_to_be_forgotten(&space, &key, &cell).is_none() {
                    continue;
                }
                let dot = codec::dot_key(&space, cell.dot);
                if self.ledger.get(Table::Tombstones, &dot)?.is_none() {
                    self.mark_for_reaping(&space, &key, &cell);
                }
            }
        }
        self.indexing = Some(indexing);
        self.timer(PAUSE_MS, Timer::Index);
        Ok(())
    }
}
