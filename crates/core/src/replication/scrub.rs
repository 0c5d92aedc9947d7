//! What the disk has against what is known: a slice at a time, beside other work.
//!
//! Guards checklist 34. Finds rows of cells that are damaged or missing, and dots that no longer
//! name their cell, and writes them anew where memory has them; what only a partner can have is
//! left to the comparison that follows.

use grapevine_model::{Cell, CellKey, SpaceId};

use crate::codec;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Cells of a registry walked over in one turn: about a millisecond, so that mail hardly waits.
const SLICE_CELLS: usize = 4_096;
/// Rows read from disk in one turn.
const SLICE_ROWS: usize = 512;

/// How far a walk over a space has come.
#[derive(Debug, Clone)]
pub(crate) enum Cursor {
    /// Over a registry in memory: after this key.
    Memory(Option<CellKey>),
    /// Over rows on disk: from this key.
    Disk(Vec<u8>),
}

impl Cursor {
    pub(crate) fn start(space: &SpaceId) -> Self {
        match space {
            SpaceId::Registry(_) => Self::Memory(None),
            SpaceId::Mailbox(_) => Self::Disk(codec::space_prefix(space)),
        }
    }
}

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    Further,
    ToTheEnd,
}

/// A check of one space's rows under way.
#[derive(Debug)]
pub(crate) struct Scrub {
    pub(crate) space: SpaceId,
    /// The request that waits for it.
    pub(crate) asked: Option<u64>,
    cursor: Cursor,
    rebuilt: u64,
}

impl Scrub {
    pub(crate) fn new(space: SpaceId, asked: Option<u64>) -> Self {
        let cursor = Cursor::start(&space);
        Self {
            space,
            asked,
            cursor,
            rebuilt: 0,
        }
    }
}

impl Server {
    /// The next cells of a space that can be read, in order of their keys.
    pub(crate) fn walk(
        &self,
        space: &SpaceId,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(&CellKey, &Cell),
    ) -> Result<Walked, Damaged> {
        match cursor {
            Cursor::Memory(after) => {
                let SpaceId::Registry(registry) = space else {
                    return Ok(Walked::ToTheEnd);
                };
                let Some(database) = self.databases.get(registry) else {
                    return Ok(Walked::ToTheEnd);
                };
                let (mut seen, mut last) = (0, None);
                for (key, cell) in database.cells_after(None, after.as_ref()).take(SLICE_CELLS) {
                    // What is left of a dead entry is no part of a comparison: it may be forgotten
                    // at one holder before the other.
                    if cell.value.is_none() || database.lives(key.item) {
                        each(key, cell);
                    }
                    seen += 1;
                    last = Some(key);
                }
                *after = last.cloned();
                Ok(walked(seen, SLICE_CELLS))
            }
            Cursor::Disk(from) => {
                let rows = self.next_rows(space, from)?;
                for (key, cell) in &rows {
                    if let Ok(cell) = cell {
                        each(key, cell);
                    }
                }
                Ok(walked(rows.len(), SLICE_ROWS))
            }
        }
    }

    /// The next rows of a space's cells; an error for a value that can't be read.
    #[expect(clippy::type_complexity, reason = "a row, read as far as it can be")]
    fn next_rows(
        &self,
        space: &SpaceId,
        from: &mut Vec<u8>,
    ) -> Result<Vec<(CellKey, Result<Cell, Damaged>)>, Damaged> {
        let prefix = codec::space_prefix(space);
        let until = codec::after_prefix(&prefix);
        let rows = self.ledger.scan(Table::Cells, from, &until, SLICE_ROWS)?;
        if let Some((last, _)) = rows.last() {
            from.clone_from(last);
            from.push(0);
        }
        rows.into_iter()
            .map(|(key, value)| {
                let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                Ok((key, codec::decode(&value)))
            })
            .collect()
    }

    /// Goes on with a check. Gives how many rows were written anew when it is at its end.
    pub(crate) fn scrub_on(&mut self, scrub: &mut Scrub) -> Result<Option<u64>, Damaged> {
        let space = scrub.space.clone();
        let (walked, found) = match &mut scrub.cursor {
            Cursor::Memory(after) => {
                // Two rows are looked up for each.
                let mut found = Vec::new();
                let mut few = after.clone();
                let mut count = 0;
                if let SpaceId::Registry(registry) = &space
                    && let Some(database) = self.databases.get(registry)
                {
                    for (key, cell) in database.cells_after(None, after.as_ref()).take(SLICE_ROWS) {
                        count += 1;
                        few = Some(key.clone());
                        let row = self
                            .ledger
                            .get(Table::Cells, &codec::cell_key(&space, key))?;
                        let same = row.is_some_and(|row| codec::decode(&row).as_ref() == Ok(cell));
                        if !same || !self.has_dot(&space, key, cell)? {
                            found.push((key.clone(), cell.clone()));
                        }
                    }
                }
                *after = few;
                (self::walked(count, SLICE_ROWS), found)
            }
            Cursor::Disk(from) => {
                let rows = self.next_rows(&space, from)?;
                let walked = self::walked(rows.len(), SLICE_ROWS);
                let mut found = Vec::new();
                for (key, cell) in rows {
                    match cell {
                        Ok(cell) if !self.has_dot(&space, &key, &cell)? => found.push((key, cell)),
                        Ok(_) => {}
                        Err(_) => {
                            if let Some(state) = self.spaces.get_mut(&space) {
                                state.damaged.insert(key);
                            }
                        }
                    }
                }
                (walked, found)
            }
        };
        for (key, cell) in found {
            scrub.rebuilt += 1;
            self.put_cell(&space, &key, &cell);
        }
        Ok((walked == Walked::ToTheEnd).then_some(scrub.rebuilt))
    }

    fn has_dot(&self, space: &SpaceId, key: &CellKey, cell: &Cell) -> Result<bool, Damaged> {
        let named = self
            .ledger
            .get(Table::Dots, &codec::dot_key(space, cell.dot))?;
        Ok(named.is_some_and(|named| named == codec::bare_cell_key(key)))
    }

    /// Registries some of whose cells could not be read at the start answer nothing until another
    /// holder has given these back: what is unknown is no "no".
    pub(crate) fn quarantine_damaged(&mut self) -> Result<(), Damaged> {
        let damaged: Vec<(SpaceId, usize)> = self
            .spaces
            .iter()
            .filter(|(_, state)| !state.damaged.is_empty())
            .map(|(space, state)| (space.clone(), state.damaged.len()))
            .collect();
        for (space, cells) in damaged {
            if self.partners(&space).is_empty() {
                return Err(Damaged(format!(
                    "{space}: {cells} cells can't be read, and no other server holds it; bring back a backup"
                )));
            }
            self.alarm(format!(
                "{space}: {cells} cells on this disk can't be read; it answers again when another holder has given them back; look at the disk"
            ));
            let Some(state) = self.spaces.get_mut(&space) else {
                continue;
            };
            if state.row.ready {
                state.row.ready = false;
                self.compare_soon(&space);
            } else {
                // It was being fetched: all of it is fetched anew.
                let keys = std::mem::take(&mut state.damaged);
                state.row.vector = Default::default();
                for key in keys {
                    self.ledger
                        .delete(Table::Cells, codec::cell_key(&space, &key));
                }
                self.save_space(&space);
            }
        }
        Ok(())
    }

    /// A partner's copy was compared with this one to the end: what could not be read is back, or
    /// nobody has it.
    pub(crate) fn damage_is_mended(&mut self, space: &SpaceId) {
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        let keys = std::mem::take(&mut state.damaged);
        if keys.is_empty() {
            return;
        }
        let mut lost = 0u64;
        for key in keys {
            let row = codec::cell_key(space, &key);
            let readable = matches!(self.ledger.get(Table::Cells, &row), Ok(Some(bytes)) if codec::decode::<Cell>(&bytes).is_ok());
            if !readable {
                lost += 1;
                self.ledger.delete(Table::Cells, row);
            }
        }
        if let Some(state) = self.spaces.get_mut(space)
            && matches!(space, SpaceId::Registry(_))
        {
            state.row.ready = true;
            self.gv_changed = true;
            self.mend_needed = true;
        }
        self.usage_is_unknown(space);
        self.save_space(space);
        self.note_info(
            format!("{space}: the damaged cells are back ({lost} of them nobody has any more)"),
            None,
        );
    }
}

fn walked(seen: usize, slice: usize) -> Walked {
    if seen < slice {
        Walked::ToTheEnd
    } else {
        Walked::Further
    }
}
