//! A copy that was away too long is fetched anew.
//!
//! Guards P4 and checklist 40: what was deleted and forgotten meanwhile must not
//! come back from an old copy, and what only the old copy has must not be lost.
//! The old copy stays while a whole one is fetched beside it; then whatever the
//! other one has had and has no more is dropped here. What the other one has
//! never had is kept, and travels by the ordinary sessions.

use std::collections::BTreeSet;

use grapevine_model::{
    Cell, CellKey, Merge, PeerMessage, Rule, ServerName, SpaceId, Update, VersionVector,
};

use crate::codec;
use crate::replication::anti_entropy::PAGE_BYTES;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Without a part for so many beats, a copy is begun again, perhaps from somebody else.
const PATIENCE_BEATS: u64 = 5;

/// A whole copy under way.
#[derive(Debug)]
pub(crate) struct Refresh {
    from: ServerName,
    /// How far the copy has come.
    reached: VersionVector,
    /// Digests of the keys that it has.
    keys: BTreeSet<u128>,
    heard_ms: u64,
    /// Whether the old copy answers no questions meanwhile. Where each side has forgotten what the
    /// other lacks (a partition longer than the retention), neither is the better one, and both go
    /// on answering.
    pub(crate) stale: bool,
}

/// A part of a copy, as it comes in.
pub(crate) struct CopyPart {
    pub(crate) base: VersionVector,
    pub(crate) progress: VersionVector,
    pub(crate) complete: bool,
    pub(crate) floor: VersionVector,
    /// What the sender has.
    pub(crate) vector: VersionVector,
    pub(crate) updates: Vec<Update>,
}

fn digest_of(key: &CellKey) -> u128 {
    let hash = blake3::hash(&codec::bare_cell_key(key));
    let mut first = [0; 16];
    first.copy_from_slice(hash.as_bytes().split_at(16).0);
    u128::from_be_bytes(first)
}

impl Server {
    /// A partner lacks deletions that are forgotten here: no session will tell it of them, so it is
    /// told to fetch the whole. Says whether that is so.
    pub(crate) fn demand_refresh(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        theirs: &VersionVector,
    ) -> bool {
        let Some(state) = self.spaces.get(space) else {
            return false;
        };
        if theirs.covers_all(&state.floor) || self.planted_no_refresh {
            return false;
        }
        let (space, floor) = (space.clone(), state.floor.clone());
        self.send(from, PeerMessage::Refresh { space, floor });
        true
    }

    pub(crate) fn take_refresh(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        floor: &VersionVector,
    ) {
        let patience_ms = self.config.times.beat_ms.saturating_mul(PATIENCE_BEATS);
        if !self.belongs_here(space) {
            return;
        }
        let now_ms = self.now.mono_ms;
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        if state.row.vector.covers_all(floor) {
            return;
        }
        let goes_on = state
            .refresh
            .as_ref()
            .is_some_and(|refresh| now_ms < refresh.heard_ms.saturating_add(patience_ms));
        if goes_on {
            return;
        }
        let has_ours = state
            .have
            .get(from)
            .is_some_and(|has| has.covers_all(&state.floor));
        let stale = has_ours || state.floor.is_empty();
        let first = state.refresh.is_none();
        state.refresh = Some(Refresh {
            from: from.clone(),
            reached: VersionVector::default(),
            keys: BTreeSet::new(),
            heard_ms: now_ms,
            stale,
        });
        if first && state.row.ready {
            self.note_info(
                format!("{space}: this copy was away too long; it is fetched anew from {from}"),
                None,
            );
        }
        self.send(
            from,
            PeerMessage::Fetch {
                space: space.clone(),
                known: VersionVector::default(),
            },
        );
    }

    pub(crate) fn take_fetch(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        known: VersionVector,
    ) -> Result<(), Damaged> {
        let whole = self.spaces.get(space).is_some_and(|s| s.is_whole());
        if !whole || !self.may_share(from, space) {
            return Ok(());
        }
        let (updates, progress, complete) = self.missing(space, &known, PAGE_BYTES)?;
        let state = self.spaces.get(space);
        let (floor, vector) = state
            .map(|state| (state.floor.clone(), state.row.vector.clone()))
            .unwrap_or_default();
        self.send(
            from,
            PeerMessage::Copy {
                space: space.clone(),
                from: known,
                progress,
                complete,
                floor,
                vector,
                updates,
            },
        );
        Ok(())
    }

    pub(crate) fn take_copy(
        &mut self,
        from: &ServerName,
        space: SpaceId,
        part: CopyPart,
    ) -> Result<(), Damaged> {
        let expected = self
            .spaces
            .get(&space)
            .and_then(|state| state.refresh.as_ref())
            .is_some_and(|refresh| refresh.from == *from && refresh.reached == part.base);
        if !expected || !self.admit(&space, &part.updates) {
            return Ok(());
        }
        let keys: Vec<u128> = part.updates.iter().map(|u| digest_of(&u.key)).collect();
        let updates = self.sift(from, &space, part.updates);
        let lacking = self.lacking_bodies(&space, &updates)?;
        if !lacking.is_empty() {
            // The bodies come first on the same connection, then the part again.
            self.send(from, PeerMessage::Need { messages: lacking });
            let now = self.now.mono_ms;
            let again = self.spaces.get_mut(&space).is_some_and(|state| {
                let asked = Some((part.base.clone(), now));
                let known = state.needed.as_ref().map(|(base, _)| base);
                let again = known != Some(&part.base);
                state.needed = asked;
                again
            });
            if again {
                let known = part.base;
                self.send(from, PeerMessage::Fetch { space, known });
            }
            return Ok(());
        }
        self.merge_copy(&space, &updates, &part.vector)?;
        let now_ms = self.now.mono_ms;
        let Some(refresh) = self
            .spaces
            .get_mut(&space)
            .and_then(|state| state.refresh.as_mut())
        else {
            return Ok(());
        };
        refresh.keys.extend(keys);
        refresh.reached = part.progress;
        refresh.heard_ms = now_ms;
        if part.complete {
            return self.end_refresh(from, &space, &part.floor);
        }
        let known = refresh.reached.clone();
        self.send(from, PeerMessage::Fetch { space, known });
        Ok(())
    }

    /// Takes in a part of a copy. What the other one has had of this copy and replaced or ended is
    /// ended here too, though it may be the greater one: the deletion between the two is forgotten.
    fn merge_copy(
        &mut self,
        space: &SpaceId,
        updates: &[Update],
        theirs: &VersionVector,
    ) -> Result<(), Damaged> {
        let registry = matches!(space, SpaceId::Registry(_));
        let ours = self.spaces.get(space).map(|s| s.row.vector.clone());
        let ours = ours.unwrap_or_default();
        let mut news = Vec::with_capacity(updates.len());
        for update in updates {
            let (key, cell) = (&update.key, &update.cell);
            let present = self.cell(space, key)?.filter(|present| {
                let same = (present.stamp, &present.value) == (cell.stamp, &cell.value);
                let dead = Rule::of(key.field) == Rule::DeathIsFinal && present.value.is_none();
                registry && !same && !dead && theirs.covers(present.dot)
            });
            let Some(present) = present else {
                news.push(update.clone());
                continue;
            };
            // What each has had and ended stands at neither.
            let had = ours.covers(cell.dot);
            if had || present.merge_in(key.field, cell) == Merge::Kept {
                self.forget_cell(space, key, &present);
            }
            if !had {
                self.merge_cell(space, key, cell)?;
            }
        }
        self.merge_all(space, &news)
    }

    /// The copy is whole: what the other one has had and has no more goes here too.
    fn end_refresh(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        floor: &VersionVector,
    ) -> Result<(), Damaged> {
        let Some(refresh) = self
            .spaces
            .get_mut(space)
            .and_then(|state| state.refresh.take())
        else {
            return Ok(());
        };
        // What is written over a dropped cell must exceed it, after a restart too.
        self.tick(grapevine_model::Hlc(0));
        let mut floors = floor.clone();
        if let Some(state) = self.spaces.get(space) {
            floors.join(&state.floor);
        }
        let last_forgotten = floors.iter().map(|(_, time)| time).max();
        let mut late = Vec::new();
        let prefix = codec::space_prefix(space);
        let until = codec::after_prefix(&prefix);
        for (key, value) in self.all_rows(Table::Cells, &prefix, &until)? {
            let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
            let cell: Cell = codec::decode(&value)?;
            if refresh.keys.contains(&digest_of(&key)) {
                continue;
            }
            if !refresh.reached.covers(cell.dot) {
                if cell.value.is_some() && last_forgotten.is_some_and(|l| cell.stamp.time <= l) {
                    late.push(cell.dot);
                }
            } else {
                if let SpaceId::Mailbox(inbox) = space {
                    let gone = Cell {
                        value: None,
                        ..cell.clone()
                    };
                    self.mailbox_cell_changes(*inbox, &key, Some(&cell), &gone)?;
                }
                self.forget_cell(space, &key, &cell);
            }
        }
        // Others may still have a deletion that beats what only this copy has: they are asked.
        self.write_again(space, late)?;
        let mut reached = refresh.reached;
        self.quarantine.hold_back(space, &mut reached);
        if let Some(state) = self.spaces.get_mut(space) {
            state.row.vector.join(&reached);
            state.floor.join(floor);
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
            self.watches.touch_all(registry);
        }
        self.note_info(format!("{space} fetched from {from}"), None);
        self.say_have(from, space);
        Ok(())
    }
}
