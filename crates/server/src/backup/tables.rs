//! A backup's rows, read as a store's: by key, in order, a piece at a time.

use std::cell::RefCell;
use std::rc::Rc;

use grapevine_core::{Damaged, Row, Table, Tables};

use super::manifest::{Chunk, Manifest};
use super::rows;
use super::vault::{Digest, Vault};

type Piece = Rc<Vec<Row>>;

/// The tables of a backup.
pub(crate) struct BackupTables<'a> {
    vault: &'a Vault,
    manifest: &'a Manifest,
    /// The piece that was read last: what is read in order reads it often.
    last: RefCell<Option<(Digest, Piece)>>,
}

impl<'a> BackupTables<'a> {
    /// Of this backup.
    pub(crate) fn of(vault: &'a Vault, manifest: &'a Manifest) -> Self {
        Self {
            vault,
            manifest,
            last: RefCell::default(),
        }
    }

    fn piece(&self, chunk: &Chunk) -> Result<Piece, Damaged> {
        let digest = chunk.object.digest;
        if let Some((last, piece)) = &*self.last.borrow()
            && *last == digest
        {
            return Ok(Rc::clone(piece));
        }
        let read = self.vault.get(&digest).and_then(|bytes| rows::read(&bytes));
        let piece = Rc::new(read.map_err(|error| Damaged(error.to_string()))?);
        *self.last.borrow_mut() = Some((digest, Rc::clone(&piece)));
        Ok(piece)
    }
}

impl Tables for BackupTables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        let until = [key, &[0]].concat();
        let found = self.scan(table, key, &until, 1)?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        let mut found = Vec::new();
        let Some(chunks) = self.manifest.tables.get(&(table as u8)) else {
            return Ok(found);
        };
        let after = chunks.partition_point(|chunk| chunk.first.as_slice() <= from);
        for chunk in chunks.iter().skip(after.saturating_sub(1)) {
            if chunk.first.as_slice() >= until || found.len() >= limit {
                break;
            }
            let piece = self.piece(chunk)?;
            let inside = piece
                .iter()
                .filter(|(key, _)| key.as_slice() >= from && key.as_slice() < until);
            found.extend(inside.take(limit - found.len()).cloned());
        }
        Ok(found)
    }
}
