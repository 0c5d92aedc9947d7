//! Own writes, and their push to the other servers of the space at once.
//!
//! Guards P2 for updates: the reply waits for a second disk (see `waiters`).
//! A new stamp always exceeds the cell's present one, so a slow clock can't
//! lose an update (checklist 35).

use grapevine_model::{
    Cell, CellKey, Field, Hlc, MessageId, PeerMessage, ServerName, SpaceId, Stamp, Update,
};

use crate::server::Server;
use crate::tables::Damaged;

/// A change of one cell.
pub(crate) struct Change {
    pub(crate) key: CellKey,
    /// None deletes.
    pub(crate) value: Option<Vec<u8>>,
    /// The stamp that decides the merge; none for a new one (which is the dot too).
    pub(crate) stamp: Option<Stamp>,
}

impl Change {
    pub(crate) fn put(key: CellKey, value: Vec<u8>) -> Self {
        Self {
            key,
            value: Some(value),
            stamp: None,
        }
    }

    pub(crate) fn delete(key: CellKey) -> Self {
        Self {
            key,
            value: None,
            stamp: None,
        }
    }
}

/// Updates in one push at most; a longer change goes by a session.
const MOST_PUSHED: usize = 1_000;

impl Server {
    /// The next time of this server's clock, its bound made durable with the batch.
    pub(crate) fn tick(&mut self, at_least: Hlc) -> Hlc {
        let tick = self.clock.tick(self.now, at_least);
        if let Some(bound) = tick.new_bound {
            self.save_clock(bound);
        }
        tick.time
    }

    /// Makes changes to a space held here and pushes them. Gives the last dot, if anything changed.
    pub(crate) fn write(
        &mut self,
        space: &SpaceId,
        changes: Vec<Change>,
    ) -> Result<Option<Stamp>, Damaged> {
        let origin = self.clock.origin();
        let Some(state) = self.spaces.get(space) else {
            return Ok(None);
        };
        let previous = Stamp {
            time: state.row.vector.get(origin),
            origin,
        };
        let mut updates = Vec::with_capacity(changes.len());
        for change in changes {
            let present = self.cell(space, &change.key)?;
            let floor = present.as_ref().map_or(Hlc(0), |cell| cell.stamp.time);
            let mut dot = Stamp {
                time: self.tick(floor),
                origin,
            };
            if self.clock.wall_only && change.stamp.is_none() {
                dot.time = Hlc::at_ms(self.now.wall_ms);
            }
            let cell = Cell {
                stamp: change.stamp.unwrap_or(dot),
                dot,
                value: change.value,
            };
            if self.merge_cell(space, &change.key, &cell)? == grapevine_model::Merge::Taken {
                updates.push(Update {
                    key: change.key,
                    cell,
                });
            }
        }
        let Some(last) = updates.last().map(|update| update.cell.dot) else {
            return Ok(None);
        };
        if let Some(first) = updates.first() {
            self.note_given(first.cell.dot);
        }
        if let Some(state) = self.spaces.get_mut(space) {
            state.row.vector.raise(origin, last.time);
        }
        self.save_space(space);
        self.push(space, previous, updates);
        Ok(Some(last))
    }

    pub(crate) fn push(&mut self, space: &SpaceId, previous: Stamp, updates: Vec<Update>) {
        if updates.len() > MOST_PUSHED {
            for partner in self.partners(space) {
                self.offer(&partner, space);
            }
            return;
        }
        let context = self.spaces.get(space).map(|state| state.row.vector.clone());
        let context = context.unwrap_or_default();
        for partner in self.partners(space) {
            if self.is_up(&partner) {
                self.send_bodies_of(&partner, &updates);
                let (space, updates) = (space.clone(), updates.clone());
                let context = context.clone();
                self.send(
                    &partner,
                    PeerMessage::Push {
                        space,
                        previous,
                        context,
                        updates,
                    },
                );
            }
        }
    }

    /// The bodies that go with updates of a mailbox, before them, where the other may lack them.
    pub(crate) fn send_bodies_of(&mut self, to: &ServerName, updates: &[Update]) {
        for update in updates {
            if update.key.field == Field::Message.number() && update.cell.value.is_some() {
                let message = MessageId::from_u128(update.key.item);
                if !self.custodies.get(&message).is_some_and(|c| c.has_body(to)) {
                    self.send_body(to, message);
                }
            }
        }
    }
}
