//! The end of a refresh: the copy from the other one is whole, and what is not in it goes here too.
//!
//! Page by page, so that a large space holds up nobody for long. The vector and the floor are raised
//! with the last page only: should the server stop before, the copy is fetched anew, and what has gone
//! already was deleted in any case. Until then whatever the other one has had counts as decided
//! (`Refresh::has_decided`), or a late page of somebody else could bring back what has just gone.

use std::collections::BTreeSet;

use grapevine_model::{Cell, CellKey, Hlc, SpaceId, Stamp, VersionVector};

use crate::codec;
use crate::replication::refresh::digest_of;
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

/// Between two pages: whatever else has come is attended to first.
const PAUSE_MS: u64 = 1;

/// The spaces whose refreshes are ending.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    spaces: BTreeSet<SpaceId>,
    armed: bool,
}

/// How far the end of one has come.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What the other one has forgotten.
    floor: VersionVector,
    /// The row that the next page begins with.
    next_row: Vec<u8>,
}

impl Ending {
    pub(super) fn new(space: &SpaceId, floor: VersionVector) -> Self {
        Self {
            floor,
            next_row: codec::space_prefix(space),
        }
    }
}

/// What becomes of one page of a space.
#[derive(Debug, Default)]
struct Verdict {
    rows: usize,
    last_row: Option<Vec<u8>>,
    gone: Vec<(CellKey, Cell)>,
    late: Vec<Stamp>,
}

impl Server {
    /// The copy of a space is whole.
    pub(super) fn begin_end(&mut self, space: SpaceId) {
        self.ends.spaces.insert(space);
        self.arm_ends();
    }

    fn arm_ends(&mut self) {
        if !self.ends.spaces.is_empty() && !self.ends.armed {
            self.ends.armed = true;
            self.timer(PAUSE_MS, Timer::RefreshEnds);
        }
    }

    /// Goes on with the ends of refreshes, for at most so many rows as one turn may take.
    pub(crate) fn end_refreshes(&mut self) -> Result<(), Damaged> {
        self.ends.armed = false;
        let mut left = self.config.rows_a_turn.max(1);
        while left > 0 {
            let Some(space) = self.ends.spaces.pop_first() else {
                break;
            };
            match self.end_page(&space, left) {
                // A space without rows is work too.
                Ok(rows) => left = left.saturating_sub(rows.max(1)),
                Err(damaged) => {
                    // Whoever has forgotten what this copy lacks asks for it again.
                    if let Some(state) = self.spaces.get_mut(&space) {
                        state.refresh = None;
                    }
                    self.arm_ends();
                    return Err(damaged);
                }
            }
        }
        self.arm_ends();
        Ok(())
    }

    /// The next page of one space, of at most so many rows; how many there were.
    fn end_page(&mut self, space: &SpaceId, most: usize) -> Result<usize, Damaged> {
        let Some(verdict) = self.judge_page(space, most)? else {
            return Ok(0);
        };
        let rows = verdict.rows;
        let more = rows == most;
        self.carry_out(space, verdict, more)?;
        if more {
            self.ends.spaces.insert(space.clone());
        } else {
            self.close_refresh(space);
        }
        Ok(rows)
    }

    /// What is to go of the next page of a space; none if no refresh of it is ending.
    fn judge_page(&self, space: &SpaceId, most: usize) -> Result<Option<Verdict>, Damaged> {
        let Some(state) = self.spaces.get(space) else {
            return Ok(None);
        };
        let Some(refresh) = &state.refresh else {
            return Ok(None);
        };
        let Some(ending) = &refresh.ending else {
            return Ok(None);
        };
        let floors = ending.floor.iter().chain(state.floor.iter());
        let last_forgotten = floors.map(|(_, time)| time).max();
        let prefix = codec::space_prefix(space);
        let until = codec::after_prefix(&prefix);
        let rows = self
            .ledger
            .scan(Table::Cells, &ending.next_row, &until, most)?;
        let mut verdict = Verdict {
            rows: rows.len(),
            last_row: rows.last().map(|(row, _)| row.clone()),
            ..Verdict::default()
        };
        for (row, value) in rows {
            let key = codec::read_cell_key(row.get(prefix.len()..).unwrap_or_default())?;
            let cell: Cell = codec::decode(&value)?;
            if refresh.keys.contains(&digest_of(&key)) {
                continue;
            }
            if refresh.reached.covers(cell.dot) {
                verdict.gone.push((key, cell));
            } else if cell.value.is_some()
                && last_forgotten.is_some_and(|last| cell.stamp.time <= last)
            {
                verdict.late.push(cell.dot);
            }
        }
        Ok(Some(verdict))
    }

    fn carry_out(&mut self, space: &SpaceId, verdict: Verdict, more: bool) -> Result<(), Damaged> {
        // What is written over a dropped cell must exceed it, after a restart too.
        self.tick(Hlc(0));
        for (key, cell) in verdict.gone {
            if let SpaceId::Mailbox(inbox) = space {
                let gone = Cell {
                    value: None,
                    ..cell.clone()
                };
                self.mailbox_cell_changes(*inbox, &key, Some(&cell), &gone)?;
            }
            self.forget_cell(space, &key, &cell);
        }
        // Others may still have a deletion that beats what only this copy has: they are asked.
        self.write_again(space, verdict.late)?;
        let state = self.spaces.get_mut(space);
        let refresh = state.and_then(|state| state.refresh.as_mut());
        if let (Some(ending), Some(mut next_row)) = (
            refresh.and_then(|refresh| refresh.ending.as_mut()),
            verdict.last_row.filter(|_| more),
        ) {
            next_row.push(0);
            ending.next_row = next_row;
        }
        Ok(())
    }

    /// All of it is as the other one has it, but for what only this copy had.
    fn close_refresh(&mut self, space: &SpaceId) {
        let Some((refresh, ending)) = self.spaces.get_mut(space).and_then(|state| {
            let mut refresh = state.refresh.take()?;
            let ending = refresh.ending.take()?;
            Some((refresh, ending))
        }) else {
            return;
        };
        let mut reached = refresh.reached;
        self.quarantine.hold_back(space, &mut reached);
        if let Some(state) = self.spaces.get_mut(space) {
            state.row.vector.join(&reached);
            state.floor.join(&ending.floor);
            state.row.ready = true;
            state.progress.clear();
            state.round = None;
        }
        self.save_floor(space);
        self.save_space(space);
        self.tombstones.refreshed = self.tombstones.refreshed.saturating_add(1);
        self.mend_needed = true;
        self.gv_changed = true;
        self.space_changed(space);
        if let SpaceId::Registry(registry) = space {
            // What went was told to nobody, and no vector will tell it.
            self.copy_was_mended(registry);
        }
        let from = refresh.from;
        self.note_info(format!("{space} fetched from {from}"), None);
        self.say_have(&from, space);
    }
}
