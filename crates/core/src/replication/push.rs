//! Own writes, and their push to the other servers of the space at once.
//!
//! Guards P2 for updates: the reply waits for a second disk (see `waiters`).
//! A new stamp always exceeds the cell's present one, so a slow clock can't
//! lose an update (checklist 35).

use std::collections::BTreeMap;

use grapevine_model::{
    Cell, CellKey, Field, Hlc, MessageId, PeerMessage, ServerName, SpaceId, SpacePush, Stamp,
    Update, VersionVector,
};

use crate::mailbox::cells::body_of_cell;
use crate::replication::compare::weight;
use crate::server::Server;
use crate::tables::Damaged;

/// A change of one cell.
pub(crate) struct Change {
    pub(crate) key: CellKey,
    /// None deletes.
    pub(crate) value: Option<Vec<u8>>,
    /// The stamp that decides the merge; none for a new one (which is the dot too).
    pub(crate) stamp: Option<Stamp>,
    pub(crate) over: Over,
}

/// What a change is written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Whatever is there.
    Whatever,
    /// Nothing: it was looked for.
    Nothing,
}

impl Change {
    pub(crate) fn put(key: CellKey, value: Vec<u8>) -> Self {
        Self {
            key,
            value: Some(value),
            stamp: None,
            over: Over::Whatever,
        }
    }

    pub(crate) fn delete(key: CellKey) -> Self {
        Self {
            key,
            value: None,
            stamp: None,
            over: Over::Whatever,
        }
    }
}

/// Updates in one push at most.
const MOST_PUSHED: usize = 1_000;
/// Octets of updates in one push, about: well below what a frame may have.
const PUSHED_BYTES: usize = 512 * 1024;
/// Updates of one change that are pushed, in several pushes: a whole import. More go by a session.
const MOST_IN_PUSHES: usize = 16_000;
/// Pushes or acknowledgements that go together at most: the cells of a page of a list, well below
/// what one message between servers may hold.
const MOST_TOGETHER: usize = 500;

/// A body that went with a push so lately does not go again with the next one.
const BODY_MS: u64 = 30_000;
/// Bodies remembered for that at most.
const MOST_BODIES: usize = 10_000;

/// What a turn says about spaces, by server: sent together, for a page of a list changes hundreds.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    pushes: BTreeMap<ServerName, Vec<SpacePush>>,
    haves: BTreeMap<ServerName, BTreeMap<SpaceId, VersionVector>>,
    /// Bodies that went with pushes lately, and when: a list's goes with the first of them.
    bodies: BTreeMap<(ServerName, MessageId), u64>,
}

impl Pushes {
    /// A space is no more: what was said of it in this turn must not be said of its successor.
    pub(crate) fn forget(&mut self, space: &SpaceId) {
        for pushes in self.pushes.values_mut() {
            pushes.retain(|push| push.space != *space);
        }
        for haves in self.haves.values_mut() {
            haves.remove(space);
        }
    }

    pub(crate) fn have(&mut self, to: &ServerName, space: &SpaceId, vector: VersionVector) {
        let haves = self.haves.entry(to.clone()).or_default();
        haves.insert(space.clone(), vector);
    }

    /// Whether a body is to go with a push: a receiver that lacks it all the same says so.
    fn is_first_with(&mut self, to: &ServerName, message: MessageId, now_ms: u64) -> bool {
        if self.bodies.len() >= MOST_BODIES {
            self.bodies.retain(|_, at_ms| now_ms < *at_ms + BODY_MS);
            if self.bodies.len() >= MOST_BODIES {
                self.bodies.clear();
            }
        }
        let sent = self.bodies.insert((to.clone(), message), now_ms);
        sent.is_none_or(|at_ms| now_ms >= at_ms + BODY_MS)
    }

    /// What was on its way to a server may not have come.
    pub(crate) fn lost(&mut self, server: &ServerName) {
        self.bodies.retain(|(to, _), _| to != server);
    }
}

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
            let present = match change.over {
                Over::Whatever => self.cell(space, &change.key)?,
                Over::Nothing => None,
            };
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
            if self.merge_over(space, &change.key, &cell, Ok(present))?
                == grapevine_model::Merge::Taken
            {
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
        if updates.len() > MOST_IN_PUSHES {
            for partner in self.partners(space) {
                self.offer(&partner, space);
            }
            return;
        }
        let context = self.spaces.get(space).map(|state| state.row.vector.clone());
        let context = context.unwrap_or_default();
        let partners = self.partners(space);
        let up: Vec<_> = partners.iter().filter(|p| self.is_up(p)).collect();
        let mut previous = previous;
        for updates in in_pushes(updates) {
            let last = updates.last().map(|update| update.cell.dot);
            for partner in &up {
                self.send_bodies_of(partner, &updates);
                let push = SpacePush {
                    space: space.clone(),
                    previous,
                    context: context.clone(),
                    updates: updates.clone(),
                };
                let pushes = self.pushes.pushes.entry((*partner).clone()).or_default();
                pushes.push(push);
            }
            // Each follows the one before it.
            previous = last.unwrap_or(previous);
        }
    }

    /// Sends what this turn has to say about spaces.
    pub(crate) fn send_pushes(&mut self) {
        for (to, mut pushes) in std::mem::take(&mut self.pushes.pushes) {
            while !pushes.is_empty() {
                let more = pushes.split_off(fitting(&pushes));
                let together = match pushes.pop() {
                    Some(SpacePush {
                        space,
                        previous,
                        context,
                        updates,
                    }) if pushes.is_empty() => PeerMessage::Push {
                        space,
                        previous,
                        context,
                        updates,
                    },
                    last => {
                        pushes.extend(last);
                        PeerMessage::Pushes(pushes)
                    }
                };
                self.send(&to, together);
                pushes = more;
            }
        }
        for (to, haves) in std::mem::take(&mut self.pushes.haves) {
            let mut haves: Vec<(SpaceId, VersionVector)> = haves.into_iter().collect();
            while !haves.is_empty() {
                let more = haves.split_off(haves.len().min(MOST_TOGETHER));
                let together = match haves.pop() {
                    Some((space, vector)) if haves.is_empty() => {
                        PeerMessage::Have { space, vector }
                    }
                    last => {
                        haves.extend(last);
                        PeerMessage::Haves(haves)
                    }
                };
                self.send(&to, together);
                haves = more;
            }
        }
    }

    /// The bodies that go with updates of a mailbox, before them, where the other may lack them.
    pub(crate) fn send_bodies_of(&mut self, to: &ServerName, updates: &[Update]) {
        for update in updates {
            if update.key.field == Field::Message.number() && update.cell.value.is_some() {
                let message = MessageId::from_u128(update.key.item);
                let body = body_of_cell(message, update.cell.value.as_ref());
                let message = body.unwrap_or(message);
                let known = self.custodies.get(&message).is_some_and(|c| c.has_body(to));
                if !known && self.pushes.is_first_with(to, message, self.now.mono_ms) {
                    self.send_body(to, message);
                }
            }
        }
    }
}

/// How many of these pushes go together in one message: one at least.
fn fitting(pushes: &[SpacePush]) -> usize {
    let mut bytes = 0usize;
    let fit = pushes.iter().take(MOST_TOGETHER).take_while(|push| {
        bytes += push.updates.iter().map(weight).sum::<usize>();
        bytes <= PUSHED_BYTES
    });
    fit.count().clamp(1, pushes.len().max(1))
}

/// Updates in their order, in pieces of which each fits in one push.
fn in_pushes(updates: Vec<Update>) -> Vec<Vec<Update>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for update in updates {
        bytes += weight(&update);
        if !piece.is_empty() && (piece.len() >= MOST_PUSHED || bytes > PUSHED_BYTES) {
            pieces.push(std::mem::take(&mut piece));
            bytes = weight(&update);
        }
        piece.push(update);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}
