//! Forgetting deletions: a tombstone goes when every present holder has it, never by a timer alone.
//!
//! Guards P4 and checklist 10 and 40; docs/reaping.md is the specification, and
//! `core/tests/it/reap_model.rs` its model. A tombstone is *stable* when every
//! present holder of its space has it on disk, and this one has all that they
//! had written when they said so: then no older value is held by any of them,
//! and one that is still on its way is recognised, because the vector covers it.

use std::collections::BTreeMap;

use grapevine_model::{
    Cell, CellKey, Field, Hlc, Incarnation, Merge, MessageId, ServerName, SpaceId, Stamp, Update,
    VersionVector,
};

use crate::codec::{self, Identity};
use crate::peers::Peer;
use crate::replication::push::{Change, Over};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Tombstones looked at in one sweep: a few milliseconds of work. The next sweep goes on from there.
const MOST_LOOKED_AT: usize = 1_000;
/// What is left of one dead entry forgotten in one sweep; its tombstone goes with the last of it.
const MOST_OF_AN_ENTRY: usize = 1_000;
/// A silence is written down when it has grown by so many parts of the retention.
const SILENCE_STEPS: u64 = 100;
/// A mailbox's horizon is moved in steps of so many parts of the retention: each step is a write.
const HORIZON_STEPS: u64 = 30;
/// `Meta` key prefix of how long a server has been silent.
const META_SILENT: &[u8] = b"silent/";
/// The planted mistake forgets tombstones after so long.
const PLANTED_AGE_MS: u64 = 2_000;

/// What a row of `Tombstones` is about.
const DEAD: u8 = b'T';
/// A value whose entry was not alive when it came.
const STRAY: u8 = b'S';

/// How far a space is on the way to forgetting what its vector covers now.
#[derive(Debug)]
pub(crate) struct Round {
    /// What the present holders are to have.
    frontier: VersionVector,
    /// What they had when each had said so, and what this server must have too; and who they were.
    goal: Option<(VersionVector, Vec<ServerName>)>,
}

fn silent_key(server: &ServerName) -> Vec<u8> {
    [META_SILENT, server.as_str().as_bytes()].concat()
}

/// The key of a mailbox's horizon: messages up to it are not deposited any more if they are unknown.
pub(crate) fn horizon_key() -> CellKey {
    CellKey {
        item: 0,
        field: Field::Forgotten.number(),
        element: Vec::new(),
    }
}

impl Server {
    // Who is present.

    /// A peer of whom it is read how long it had been silent.
    pub(crate) fn stranger(&self, server: &ServerName) -> Peer {
        let saved = self.ledger.get(Table::Meta, &silent_key(server));
        let silent = saved.ok().flatten();
        let silent_ms = silent.and_then(|bytes| codec::decode(&bytes).ok());
        Peer {
            silent_before_ms: silent_ms.unwrap_or(0),
            silence_saved_ms: silent_ms.unwrap_or(0),
            ..Peer::default()
        }
    }

    /// A server has been heard.
    pub(crate) fn end_silence(&mut self, server: &ServerName) {
        if let Some(peer) = self.peers.get_mut(server) {
            peer.silent_before_ms = 0;
            if std::mem::take(&mut peer.silence_saved_ms) > 0 {
                self.ledger.delete_lazily(Table::Meta, silent_key(server));
            }
        }
    }

    /// Writes down how long servers have been silent, so that a restart does not forget it. Only
    /// time in which this server ran counts, by the clock that never jumps.
    fn save_silences(&mut self) {
        let step_ms = (self.config.times.retention_ms / SILENCE_STEPS).max(1);
        let (now_ms, started_ms) = (self.now.mono_ms, self.started_ms);
        for (server, peer) in &mut self.peers {
            let silent_ms = peer.whole_silence_ms(now_ms, started_ms);
            if silent_ms >= peer.silence_saved_ms.saturating_add(step_ms) {
                peer.silence_saved_ms = silent_ms;
                self.ledger
                    .put_lazily(Table::Meta, silent_key(server), codec::encode(&silent_ms));
            }
        }
    }

    /// The other holders of a space that are waited for: those heard within the retention.
    fn present(&self, space: &SpaceId) -> Vec<ServerName> {
        let (now_ms, started_ms) = (self.now.mono_ms, self.started_ms);
        let mut partners = self.partners(space);
        partners.retain(|server| {
            self.peers.get(server).is_some_and(|peer| {
                peer.whole_silence_ms(now_ms, started_ms) < self.config.times.retention_ms
            })
        });
        partners
    }

    // What is marked.

    /// A cell was written: does it wait to be forgotten?
    pub(crate) fn mark_for_reaping(&mut self, space: &SpaceId, key: &CellKey, cell: &Cell) {
        let Some(kind) = self.waits_to_be_forgotten(space, key, cell) else {
            return;
        };
        self.tombstones.kept += u64::from(kind == DEAD);
        let mut row = vec![kind];
        row.extend(codec::bare_cell_key(key));
        self.ledger
            .put(Table::Tombstones, codec::dot_key(space, cell.dot), row);
    }

    /// As what a cell waits to be forgotten, if it does.
    pub(super) fn waits_to_be_forgotten(
        &self,
        space: &SpaceId,
        key: &CellKey,
        cell: &Cell,
    ) -> Option<u8> {
        match (&cell.value, space) {
            (None, _) => Some(DEAD),
            (Some(_), SpaceId::Registry(registry)) => {
                let database = self.databases.get(registry);
                let lives = database.is_none_or(|database| database.lives(key.item));
                (!lives).then_some(STRAY)
            }
            (Some(_), SpaceId::Mailbox(_)) => None,
        }
    }

    /// A cell is replaced or forgotten: nothing is looked up by its dot any more.
    pub(crate) fn drop_dot(&mut self, space: &SpaceId, old: &Cell) {
        let dot = codec::dot_key(space, old.dot);
        self.ledger.delete(Table::Dots, dot.clone());
        self.ledger.delete(Table::Tombstones, dot);
        if old.value.is_none() {
            self.tombstones.kept = self.tombstones.kept.saturating_sub(1);
        }
    }

    /// A row goes with its whole space.
    pub(crate) fn tombstone_is_dropped(&mut self, row: &[u8]) {
        if row.first() == Some(&DEAD) {
            self.tombstones.kept = self.tombstones.kept.saturating_sub(1);
        }
    }

    /// At the start: what was forgotten, and how many tombstones are kept.
    pub(crate) fn load_floors(&mut self) -> Result<(), Damaged> {
        for (key, value) in self.all_rows(Table::Floors, &[], &[u8::MAX; 300])? {
            let floor = codec::decode(&value)?;
            if let Some(state) = self.spaces.get_mut(&codec::space_of(&key)?) {
                state.floor = floor;
            }
        }
        let mut kept = 0;
        self.each_row(Table::Tombstones, &[], &[u8::MAX; 300], |_, row| {
            kept += u64::from(row.first() == Some(&DEAD));
            Ok(())
        })?;
        self.tombstones.kept = kept;
        Ok(())
    }

    // What is recognised.

    /// Whether an update that comes in is an old one: this server has had it, and what it has now is
    /// what came of it, be it that all is forgotten. An entry once created and gone is never created
    /// again, by whatever later edit of it.
    pub(crate) fn is_forgotten(&self, space: &SpaceId, update: &Update) -> Result<bool, Damaged> {
        let Some(state) = self.spaces.get(space) else {
            return Ok(false);
        };
        let refresh = state.refresh.as_ref();
        if refresh.is_some_and(|refresh| refresh.has_decided(update.cell.dot)) {
            return Ok(true);
        }
        if state.floor.is_empty() {
            return Ok(false);
        }
        if state.row.vector.covers(update.cell.dot) {
            return Ok(true);
        }
        if self.cell(space, &update.key)?.is_some() {
            return Ok(false);
        }
        let created = match (&update.cell.value, space) {
            (Some(value), SpaceId::Registry(_)) if update.key.field == Field::Identity.number() => {
                Identity::read(value).ok().map(|i| i.created)
            }
            (Some(_) | None, SpaceId::Registry(_) | SpaceId::Mailbox(_)) => None,
        };
        Ok(created.is_some_and(|created| state.row.vector.covers(created)))
    }

    /// Whether a value is so old that a deletion forgotten here may have beaten it.
    pub(crate) fn is_late(&self, space: &SpaceId, cell: &Cell) -> bool {
        let floor = self.spaces.get(space).map(|state| &state.floor);
        let last = floor.and_then(|floor| floor.iter().map(|(_, time)| time).max());
        cell.value.is_some() && last.is_some_and(|last| cell.stamp.time <= last)
    }

    /// What is to be written again under a dot of this server, so that it travels to all, when an
    /// update unknown so far has come in. Some may have forgotten a deletion that beats it, and some
    /// not: a value that is taken late asks the others, and a deletion that beats it answers.
    pub(crate) fn to_repeat(
        &self,
        space: &SpaceId,
        update: &Update,
        news: Merge,
    ) -> Result<Option<Stamp>, Damaged> {
        let Some(state) = self.spaces.get(space) else {
            return Ok(None);
        };
        let known = state.row.vector.covers(update.cell.dot);
        if known || update.cell.value.is_none() {
            return Ok(None);
        }
        Ok(match news {
            Merge::Taken => self.is_late(space, &update.cell).then_some(update.cell.dot),
            Merge::Kept => self
                .cell(space, &update.key)?
                .filter(|present| present.value.is_none() && state.row.vector.covers(present.dot))
                .map(|present| present.dot),
        })
    }

    /// Whether a mailbox may have had this message and forgotten that its owner deleted it.
    pub(crate) fn before_horizon(
        &mut self,
        space: &SpaceId,
        message: MessageId,
    ) -> Result<bool, Damaged> {
        let Some(state) = self.spaces.get(space) else {
            return Ok(false);
        };
        // Read once: each deposit asks.
        let horizon = match state.horizon {
            Some(known) => known,
            None => {
                let found = self.horizon(space)?;
                let found = found.map_or(Hlc(0), |(horizon, _)| horizon);
                if let Some(state) = self.spaces.get_mut(space) {
                    state.horizon = Some(found);
                }
                found
            }
        };
        Ok(horizon > Hlc(0) && message.time <= horizon)
    }

    /// Whether a message is so old that a mailbox's other sites may have a horizon beyond it, and one of
    /// them has not said what it has, or has more than this server. A site that has only just become one
    /// has no horizon yet, and a deputy may try there what was delivered and deleted long ago. Those who
    /// have not said it are asked.
    pub(crate) fn is_behind(&mut self, space: &SpaceId, message: MessageId) -> bool {
        let times = &self.config.times;
        let kept_ms = times.retention_ms.max(times.give_up_ms);
        // Half of it, by the fastest clock in contact: clocks differ, and to ask costs a round trip.
        let before = self.fastest_clock_ms().saturating_sub(kept_ms / 2);
        if message.time.wall_ms() >= before {
            return false;
        }
        let present = self.present(space);
        let Some(state) = self.spaces.get(space) else {
            return false;
        };
        let has_all_of = |server: &&ServerName| {
            let has = state.have.get(*server);
            has.is_some_and(|has| state.row.vector.covers_all(has))
        };
        let ahead = present.iter().filter(|server| !has_all_of(server));
        let ahead: Vec<ServerName> = ahead.cloned().collect();
        for server in &ahead {
            if self.is_up(server) {
                self.offer(server, space);
            }
        }
        !ahead.is_empty()
    }

    /// A mailbox's horizon, and the dot that brought it.
    fn horizon(&self, space: &SpaceId) -> Result<Option<(Hlc, Stamp)>, Damaged> {
        let Some(cell) = self.cell(space, &horizon_key())? else {
            return Ok(None);
        };
        let horizon = cell.value.as_deref().map(codec::decode).transpose()?;
        Ok(horizon.map(|horizon| (horizon, cell.dot)))
    }

    // Forgetting.

    /// Looks at some tombstones, in turn, and forgets those that are stable.
    pub(crate) fn reap(&mut self) -> Result<(), Damaged> {
        self.save_silences();
        let mut from = self.reap_after.clone();
        from.push(0);
        let rows = self
            .ledger
            .scan(Table::Tombstones, &from, &[u8::MAX; 300], MOST_LOOKED_AT)?;
        self.reap_after = match rows.last() {
            Some((last, _)) if rows.len() == MOST_LOOKED_AT => last.clone(),
            Some(_) | None => Vec::new(),
        };
        let mut by_space: BTreeMap<SpaceId, Vec<(Stamp, Vec<u8>)>> = BTreeMap::new();
        for (dot, row) in rows {
            let prefix = dot.len().saturating_sub(16);
            let space = codec::space_of(dot.get(..prefix).unwrap_or_default())?;
            let rows = by_space.entry(space).or_default();
            rows.push((codec::read_dot(&dot)?, row));
        }
        for (space, rows) in by_space {
            self.reap_space(&space, rows)?;
        }
        Ok(())
    }

    fn reap_space(&mut self, space: &SpaceId, rows: Vec<(Stamp, Vec<u8>)>) -> Result<(), Damaged> {
        let belongs = self.belongs_here(space);
        if !belongs || !self.spaces.get(space).is_some_and(|s| s.is_whole()) {
            return Ok(());
        }
        // What is kept apart here may be what was deleted: the vector says less than it seems to.
        if self.quarantine.stops_in(space) {
            return Ok(());
        }
        let stable = if self.planted_reap_on_timer {
            let age = self.now.wall_ms.saturating_sub(PLANTED_AGE_MS);
            let origins = rows.iter().map(|(dot, _)| (dot.origin, Hlc::at_ms(age)));
            Some(origins.collect())
        } else {
            self.stable(space)
        };
        let Some(stable) = stable else {
            return Ok(());
        };
        let mut forgotten = Vec::new();
        let mut old_messages = Hlc(0);
        let (now_ms, least_ms) = (self.now.wall_ms, self.config.times.tombstone_ms);
        let is_due = |dot: Stamp| {
            stable.covers(dot) && dot.time.wall_ms().saturating_add(least_ms) <= now_ms
        };
        for (dot, row) in rows.into_iter().filter(|(dot, _)| is_due(*dot)) {
            let key = codec::read_cell_key(row.get(1..).unwrap_or_default())?;
            match self.cell(space, &key)? {
                Some(cell) if cell.dot == dot => match space {
                    SpaceId::Registry(_) => {
                        self.reap_entry(space, &stable, key, cell, &mut forgotten);
                    }
                    SpaceId::Mailbox(_) if key.field == Field::Message.number() => {
                        let message = MessageId::from_u128(key.item);
                        match self.horizon(space)? {
                            Some((horizon, dot))
                                if message.time <= horizon && stable.covers(dot) =>
                            {
                                forgotten.push((key, cell));
                            }
                            Some((horizon, _)) if message.time <= horizon => {}
                            Some(_) | None if self.is_old(message, &cell) => {
                                old_messages = old_messages.max(message.time);
                            }
                            Some(_) | None => {}
                        }
                    }
                    SpaceId::Mailbox(_) => forgotten.push((key, cell)),
                },
                // It was replaced since.
                Some(_) | None => self
                    .ledger
                    .delete(Table::Tombstones, codec::dot_key(space, dot)),
            }
        }
        self.forget_all(space, forgotten);
        self.move_horizon(space, old_messages)
    }

    /// What goes with one marked cell of a registry: of a dead entry everything, its death last.
    fn reap_entry(
        &mut self,
        space: &SpaceId,
        stable: &VersionVector,
        key: CellKey,
        cell: Cell,
        forgotten: &mut Vec<(CellKey, Cell)>,
    ) {
        let SpaceId::Registry(registry) = space else {
            return;
        };
        let Some(database) = self.databases.get(registry) else {
            return;
        };
        if key.field != Field::Identity.number() {
            if cell.value.is_none() || !database.lives(key.item) {
                forgotten.push((key, cell));
            } else {
                // Its entry came after it.
                self.ledger
                    .delete(Table::Tombstones, codec::dot_key(space, cell.dot));
            }
            return;
        }
        let mut others = database.item(key.item).filter(|(other, _)| **other != key);
        let some: Vec<(CellKey, Cell)> = others
            .by_ref()
            .take(MOST_OF_AN_ENTRY)
            .filter(|(_, cell)| stable.covers(cell.dot))
            .map(|(key, cell)| (key.clone(), cell.clone()))
            .collect();
        let all = database.item(key.item).count() == some.len() + 1;
        forgotten.extend(some);
        if all {
            forgotten.push((key, cell));
        }
    }

    /// Forgets cells, and remembers that it did: whoever's vector does not cover them all must not
    /// bring back what they ended.
    fn forget_all(&mut self, space: &SpaceId, cells: Vec<(CellKey, Cell)>) {
        if cells.is_empty() {
            return;
        }
        // What is written over a forgotten cell must exceed it, after a restart too.
        self.tick(Hlc(0));
        for (key, cell) in &cells {
            self.forget_cell(space, key, cell);
            if !self.planted_reap_on_timer
                && let Some(state) = self.spaces.get_mut(space)
            {
                state.floor.raise(cell.dot.origin, cell.dot.time);
            }
        }
        self.save_floor(space);
    }

    pub(crate) fn save_floor(&mut self, space: &SpaceId) {
        if let Some(state) = self.spaces.get(space) {
            self.ledger.put(
                Table::Floors,
                codec::space_prefix(space),
                codec::encode(&state.floor),
            );
        }
    }

    /// Takes a cell off the disk and out of memory.
    pub(crate) fn forget_cell(&mut self, space: &SpaceId, key: &CellKey, cell: &Cell) {
        if let SpaceId::Registry(registry) = space
            && let Some(database) = self.databases.get_mut(registry)
        {
            database.forget(key);
            if cell.value.is_some() {
                self.closures.get_mut().forget_all();
                self.watches.touch(registry, Incarnation(key.item));
                self.zone_field_changed(key.field);
            }
        }
        self.ledger
            .delete(Table::Cells, codec::cell_key(space, key));
        self.drop_dot(space, cell);
        self.tombstones.reaped = self.tombstones.reaped.saturating_add(1);
    }

    /// What is stable in a space; none while a round is under way. Asks those who have not said
    /// what they have.
    fn stable(&mut self, space: &SpaceId) -> Option<VersionVector> {
        let present = self.present(space);
        let state = self.spaces.get_mut(space)?;
        let ours = state.row.vector.clone();
        let round = state.round.get_or_insert_with(|| {
            Box::new(Round {
                frontier: ours.clone(),
                goal: None,
            })
        });
        if round.goal.is_none() {
            let said: Vec<Option<&VersionVector>> = present
                .iter()
                .map(|server| {
                    let has = state.have.get(server);
                    has.filter(|has| has.covers_all(&round.frontier))
                })
                .collect();
            if said.iter().all(Option::is_some) {
                let mut goal = round.frontier.clone();
                said.into_iter().flatten().for_each(|has| goal.join(has));
                round.goal = Some((goal, present.clone()));
            } else {
                let silent: Vec<ServerName> = present
                    .iter()
                    .zip(said)
                    .filter(|(_, said)| said.is_none())
                    .map(|(server, _)| server.clone())
                    .collect();
                for server in silent {
                    if self.is_up(&server) {
                        self.offer(&server, space);
                    }
                }
                return None;
            }
        }
        let (goal, asked) = round.goal.as_ref()?;
        if present.iter().any(|server| !asked.contains(server)) {
            // Somebody has come back meanwhile, and is waited for too.
            state.round = None;
            return None;
        }
        if !ours.covers_all(goal) {
            return None;
        }
        // The next round begins with what is here now.
        let ended = state.round.replace(Box::new(Round {
            frontier: ours,
            goal: None,
        }));
        ended.map(|round| round.frontier)
    }

    // Mailboxes.

    /// Whether a deleted message is so old that nobody should still be delivering it: with a short
    /// retention too, a message is tried for as long as messages are.
    fn is_old(&self, message: MessageId, tombstone: &Cell) -> bool {
        let times = &self.config.times;
        let kept_ms = times.retention_ms.max(times.give_up_ms);
        let before = self.now.wall_ms.saturating_sub(kept_ms);
        message.time.wall_ms() < before && tombstone.stamp.time.wall_ms() < before
    }

    /// Deposits are no later writes: a message is deposited under its own old stamp, perhaps by a
    /// custodian that was away for months. So before a mailbox forgets that a message was deleted,
    /// all its sites agree not to take unknown messages as old as that any more.
    fn move_horizon(&mut self, space: &SpaceId, wanted: Hlc) -> Result<(), Damaged> {
        if wanted == Hlc(0) {
            return Ok(());
        }
        let step_ms = self.config.times.retention_ms / HORIZON_STEPS;
        let due = match self.horizon(space)? {
            Some((present, _)) => wanted.wall_ms() > present.wall_ms().saturating_add(step_ms),
            None => true,
        };
        if due {
            let change = Change {
                key: horizon_key(),
                over: Over::Whatever,
                value: Some(codec::encode(&wanted)),
                // The later horizon wins, whoever moved it first.
                stamp: Some(Stamp {
                    time: wanted,
                    origin: self.clock.origin(),
                }),
            };
            self.write(space, vec![change])?;
        }
        Ok(())
    }
}
