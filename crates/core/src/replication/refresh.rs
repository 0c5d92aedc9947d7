//! A copy that was away too long is fetched anew.
//!
//! Guards P4 and checklist 40: what was deleted and forgotten meanwhile must not
//! come back from an old copy, and what only the old copy has must not be lost.
//! The old copy stays while a whole one is fetched beside it; then whatever the
//! other one has had and has no more is dropped here (`refresh_end`). What the other
//! one has never had is kept, and travels by the ordinary sessions.

use std::collections::BTreeSet;

use grapevine_model::{
    CellKey, Merge, PeerMessage, Rule, ServerName, SpaceId, Stamp, Update, VersionVector,
};

use crate::codec;
use crate::replication::anti_entropy::PAGE_BYTES;
use crate::replication::refresh_end::Ending;
use crate::server::Server;
use crate::tables::Damaged;

/// Without a part for so many beats, a copy is begun again, perhaps from somebody else.
const PATIENCE_BEATS: u64 = 5;

/// A whole copy under way.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(super) from: ServerName,
    /// How far the copy has come.
    pub(super) reached: VersionVector,
    /// Digests of the keys that it has.
    pub(super) keys: BTreeSet<u128>,
    heard_ms: u64,
    /// What its vector did not cover when it was told to fetch it.
    asked: VersionVector,
    /// The copy is whole, and what is not in it goes, page by page.
    pub(super) ending: Option<Ending>,
    /// Whether the old copy answers no questions meanwhile. Where each side has forgotten what the
    /// other lacks (a partition longer than the retention), neither is the better one, and both go
    /// on answering.
    pub(crate) stale: bool,
}

impl Refresh {
    /// Whether what is to be of a write is decided: the copy is whole, and its sender has had it.
    pub(crate) fn has_decided(&self, dot: Stamp) -> bool {
        self.ending.is_some() && self.reached.covers(dot)
    }
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

pub(super) fn digest_of(key: &CellKey) -> u128 {
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
            if matches!(space, SpaceId::Mailbox(_)) {
                // Nothing of it is here yet: its first part says whether it is this server's.
                let space = space.clone();
                let known = VersionVector::default();
                self.send(from, PeerMessage::Fetch { space, known });
            }
            return;
        }
        let now_ms = self.now.mono_ms;
        // Nobody has forgotten a deletion of the future: a copy that waited for that would wait for ever.
        let most_ms = (self.now.wall_ms).saturating_add(self.config.times.drift_ms);
        let of_the_future = floor.iter().any(|(_, time)| time.wall_ms() > most_ms);
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        if of_the_future || state.row.vector.covers_all(floor) {
            return;
        }
        let goes_on = state.refresh.as_ref().is_some_and(|refresh| {
            refresh.ending.is_some() || now_ms < refresh.heard_ms.saturating_add(patience_ms)
        });
        if goes_on {
            return;
        }
        let has_ours = state
            .have
            .get(from)
            .is_some_and(|has| has.covers_all(&state.floor));
        let stale = has_ours || state.floor.is_empty();
        let first = state.refresh.is_none();
        state.refresh = Some(Box::new(Refresh {
            from: from.clone(),
            reached: VersionVector::default(),
            keys: BTreeSet::new(),
            heard_ms: now_ms,
            asked: floor.clone(),
            ending: None,
            stale,
        }));
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

    /// A copy whose parts do not come any more, while a session with somebody who had not forgotten
    /// anything has brought all of it, is not waited for: nobody would ask for it again.
    pub(crate) fn end_needless_refreshes(&mut self) {
        let patience_ms = self.config.times.beat_ms.saturating_mul(PATIENCE_BEATS);
        let now_ms = self.now.mono_ms;
        for state in self.spaces.values_mut() {
            let needless = state.refresh.as_ref().is_some_and(|refresh| {
                refresh.ending.is_none()
                    && now_ms >= refresh.heard_ms.saturating_add(patience_ms)
                    && state.row.ready
                    && state.row.vector.covers_all(&refresh.asked)
            });
            if needless {
                state.refresh = None;
                // It answers again, and says so.
                self.gv_changed = true;
                self.mend_needed = true;
            }
        }
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
        let (mut updates, progress, complete) = self.missing(space, &known, PAGE_BYTES)?;
        if known.is_empty() {
            self.introduce(space, &mut updates)?;
        }
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
        let first = part.base.is_empty() && !self.belongs_here(&space);
        if first && self.admit_mailbox(&space, &part.updates) {
            let now_ms = self.now.mono_ms;
            if let Some(state) = self.spaces.get_mut(&space)
                && state.refresh.is_none()
            {
                state.refresh = Some(Box::new(Refresh {
                    from: from.clone(),
                    reached: VersionVector::default(),
                    keys: BTreeSet::new(),
                    heard_ms: now_ms,
                    asked: part.floor.clone(),
                    ending: None,
                    stale: true,
                }));
            }
        }
        let expected = self
            .spaces
            .get(&space)
            .and_then(|state| state.refresh.as_ref())
            .is_some_and(|refresh| {
                refresh.from == *from && refresh.reached == part.base && refresh.ending.is_none()
            });
        if !expected || !self.admit(&space, &part.updates) {
            return Ok(());
        }
        let keys: Vec<u128> = part.updates.iter().map(|u| digest_of(&u.key)).collect();
        let updates = self.sift(from, &space, part.updates);
        let lacking = self.lacking_bodies(&space, &updates)?;
        if !lacking.is_empty() {
            // The bodies come first on the same connection, then the part again.
            self.need_bodies(from, lacking);
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
            refresh.ending = Some(Ending::new(&space, part.floor));
            self.begin_end(space);
            return Ok(());
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
}
