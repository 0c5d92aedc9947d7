//! Cells that a server lost for good has left here, and nobody can complete any more.
//!
//! Guards P4. A push over a gap brings a cell but does not raise the vector, and what the vector
//! does not cover is not passed on: the gap's owner is asked for the rest. When that server is gone
//! for good, whoever has such a cell writes it again: the same stamp and value, so that no merge
//! comes out differently, under a dot of its own, which travels as any other. Not before it has the
//! space whole: what an unfinished session has brought is beyond the vector, too.

use std::collections::BTreeSet;

use grapevine_model::{Hlc, OriginId, SpaceId, Stamp, Update};

use crate::codec;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Cells of one space written again in one turn at most; the rest come with the next.
const MOST_ADOPTED: usize = 500;

impl Server {
    /// Writes again what lost servers have left in the spaces held here.
    pub(crate) fn adopt_stranded(&mut self) -> Result<(), Damaged> {
        let mut living: BTreeSet<OriginId> = self.servers.values().map(|s| s.origin).collect();
        living.insert(self.clock.origin());
        let spaces: Vec<SpaceId> = self.spaces.keys().cloned().collect();
        for space in spaces {
            if self.is_fetched_first(&space)? {
                continue;
            }
            let stranded = self.stranded(&space, &living)?;
            if !stranded.is_empty() {
                self.write_again(&space, stranded)?;
            }
        }
        Ok(())
    }

    /// Whether this is the life of a server that is there, or may come back.
    pub(crate) fn is_of_a_server(&self, origin: OriginId) -> bool {
        origin == self.clock.origin() || self.servers.values().any(|s| s.origin == origin)
    }

    /// Whether a space is being fetched and may hold older writes of this server's, which it has not yet again: a
    /// write of its own would say by the vector that it has them.
    pub(super) fn is_fetched_first(&self, space: &SpaceId) -> Result<bool, Damaged> {
        Ok(match space {
            SpaceId::Registry(_) => self.spaces.get(space).is_some_and(|s| !s.row.ready),
            SpaceId::Mailbox(_) => self.is_regaining(space)?,
        })
    }

    /// The dots beyond the vector of origins that write no more.
    fn stranded(
        &self,
        space: &SpaceId,
        living: &BTreeSet<OriginId>,
    ) -> Result<Vec<Stamp>, Damaged> {
        let mut stranded = Vec::new();
        let Some(state) = self.spaces.get(space) else {
            return Ok(stranded);
        };
        let mut from = codec::space_prefix(space);
        let until = codec::after_prefix(&from);
        while let Some((key, _)) = self.ledger.scan(Table::Dots, &from, &until, 1)?.pop() {
            let origin = codec::read_dot(&key)?.origin;
            let last = Stamp {
                time: Hlc(u64::MAX),
                origin,
            };
            let mut after = codec::dot_key(space, last);
            after.push(0);
            if !living.contains(&origin) {
                let first = Stamp {
                    time: state.row.vector.get(origin).next(),
                    origin,
                };
                let first = codec::dot_key(space, first);
                let room = MOST_ADOPTED.saturating_sub(stranded.len());
                for (key, _) in self.ledger.scan(Table::Dots, &first, &after, room)? {
                    stranded.push(codec::read_dot(&key)?);
                }
            }
            from = after;
        }
        Ok(stranded)
    }

    /// The same stamps and values under dots of this server.
    pub(super) fn write_again(
        &mut self,
        space: &SpaceId,
        stranded: Vec<Stamp>,
    ) -> Result<(), Damaged> {
        let origin = self.clock.origin();
        let Some(state) = self.spaces.get(space) else {
            return Ok(());
        };
        let previous = Stamp {
            time: state.row.vector.get(origin),
            origin,
        };
        let mut updates = Vec::with_capacity(stranded.len());
        for old in stranded {
            let old = codec::dot_key(space, old);
            let Some(key) = self.ledger.get(Table::Dots, &old)? else {
                continue;
            };
            self.ledger.delete(Table::Dots, old.clone());
            self.ledger.delete(Table::Tombstones, old);
            let key = codec::read_cell_key(&key)?;
            let Some(mut cell) = self.cell(space, &key)? else {
                continue;
            };
            if cell.value.is_none() {
                // It is counted again below.
                self.tombstones.kept = self.tombstones.kept.saturating_sub(1);
            }
            cell.dot = Stamp {
                time: self.tick(Hlc(0)),
                origin,
            };
            self.put_cell(space, &key, &cell);
            updates.push(Update { key, cell });
        }
        let Some(last) = updates.last().map(|update| update.cell.dot) else {
            return Ok(());
        };
        if let Some(first) = updates.first() {
            self.note_given(first.cell.dot);
        }
        if let Some(state) = self.spaces.get_mut(space) {
            state.row.vector.raise(origin, last.time);
        }
        self.save_space(space);
        self.push(space, previous, updates);
        Ok(())
    }
}
