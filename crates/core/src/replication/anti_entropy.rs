//! Taking in what other servers write, and noticing what was missed.
//!
//! Guards P4 and checklist 30-36: pushes that follow the last known write raise
//! the vector, others only merge and start a session; a session's vector is
//! joined when its last page is in. Stamps too far ahead are kept apart (see `quarantine`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use grapevine_model::{
    Field, Hlc, MessageId, PeerMessage, ServerName, SpaceId, Stamp, Update, VersionVector,
};

use crate::mailbox::cells::body_of;
use crate::replication::space::Pulling;
use crate::server::Server;
use crate::tables::Damaged;

/// A page of a session holds about so many octets of cells.
pub(crate) const PAGE_BYTES: usize = 512 * 1024;
/// Spaces named in one message at most; the rest come with the next beats.
const MOST_VECTORS: usize = 512;
/// Spaces looked at for that at most: some milliseconds, however many mailboxes there are.
const MOST_LOOKED_AT: usize = 65_536;

impl Server {
    /// A partner's digests differ from ours: name our vectors in those buckets.
    pub(crate) fn compare_digests(&mut self, from: &ServerName, theirs: &[u64]) {
        let none = Vec::new();
        let ours = self.digests.get(from).unwrap_or(&none);
        let differ: Vec<bool> = (0..crate::replication::space::BUCKETS)
            .map(|b| ours.get(b).copied().unwrap_or(0) != theirs.get(b).copied().unwrap_or(0))
            .collect();
        let behind = differ.iter().filter(|differs| **differs).count() as u64;
        if behind > 0 {
            let (vectors, next) = self.vectors_in(from, &differ);
            if let Some(peer) = self.peers.get_mut(from) {
                peer.compared = next;
            }
            self.send(from, PeerMessage::Vectors(vectors));
        }
        if let Some(peer) = self.peers.get_mut(from) {
            peer.behind = behind;
        }
    }

    /// The vectors of some spaces shared with a partner, in these buckets; and with which space the next look goes on, so that
    /// none is passed over for ever and no beat walks over them all.
    fn vectors_in(
        &self,
        from: &ServerName,
        buckets: &[bool],
    ) -> (Vec<(SpaceId, VersionVector)>, Option<SpaceId>) {
        let first = self.peers.get(from).and_then(|peer| peer.compared.clone());
        let first = first.map_or(Bound::Unbounded, Bound::Included);
        let mut vectors = Vec::new();
        let spaces = self.spaces.range((first, Bound::Unbounded));
        for (at, (space, state)) in spaces.enumerate() {
            if vectors.len() >= MOST_VECTORS || at >= MOST_LOOKED_AT {
                return (vectors, Some(space.clone()));
            }
            let in_one = buckets.get(usize::from(state.bucket)) == Some(&true);
            // It is counted with whom it is shared.
            if in_one && state.counted.0.contains(from) {
                vectors.push((space.clone(), state.row.vector.clone()));
            }
        }
        (vectors, None)
    }

    /// Names our vector of one space to a partner: it fetches what it lacks and says what it has.
    pub(crate) fn offer(&mut self, to: &ServerName, space: &SpaceId) {
        if let Some(state) = self.spaces.get(space) {
            let vectors = vec![(space.clone(), state.row.vector.clone())];
            self.send(to, PeerMessage::Vectors(vectors));
        }
    }

    /// The same for the mailboxes of a page of a list.
    pub(crate) fn offer_all(&mut self, spaces: &[SpaceId]) {
        let mut offers: BTreeMap<ServerName, Vec<(SpaceId, VersionVector)>> = BTreeMap::new();
        for space in spaces {
            let Some(vector) = self.spaces.get(space).map(|state| state.row.vector.clone()) else {
                continue;
            };
            for partner in self.partners(space) {
                let offered = offers.entry(partner).or_default();
                offered.push((space.clone(), vector.clone()));
            }
        }
        for (partner, offered) in offers {
            for vectors in offered.chunks(MOST_VECTORS) {
                self.send(&partner, PeerMessage::Vectors(vectors.to_vec()));
            }
        }
    }

    pub(crate) fn take_vectors(
        &mut self,
        from: &ServerName,
        vectors: Vec<(SpaceId, VersionVector)>,
    ) -> Result<(), Damaged> {
        for (space, theirs) in vectors.into_iter().take(MOST_VECTORS) {
            if !self.may_share(from, &space) {
                continue;
            }
            let Some(state) = self.spaces.get(&space) else {
                self.send(
                    from,
                    PeerMessage::Pull {
                        space,
                        known: VersionVector::default(),
                    },
                );
                continue;
            };
            let ours = state.row.vector.clone();
            let now_ms = self.now.mono_ms;
            let lacks = !ours.covers_all(&theirs)
                && !self.quarantine.only_behind(&space, &ours, &theirs, now_ms);
            if lacks || !self.spaces.get(&space).is_some_and(|state| state.row.ready) {
                self.pull(from, &space);
            } else {
                self.pushes.have(from, &space, ours.clone());
            }
            self.note_have(from, &space, theirs.clone());
            if !self.demand_refresh(from, &space, &theirs)
                && !theirs.covers_all(&ours)
                && !self.session_goes_on(from, &space)
            {
                self.send_page(from, &space, theirs)?;
            }
        }
        Ok(())
    }

    /// Begins a session with a partner, unless one is under way: two would bring everything twice.
    /// One that is silent for two beats has lost a page, and goes on where it was.
    fn pull(&mut self, from: &ServerName, space: &SpaceId) {
        let now_ms = self.now.mono_ms;
        let silent_ms = self.config.times.beat_ms.saturating_mul(2);
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        if let Some(pulling) = state.pulling.get_mut(from)
            && now_ms < pulling.since_ms.saturating_add(silent_ms)
        {
            pulling.again = true;
            return;
        }
        let pulling = Pulling {
            since_ms: now_ms,
            again: false,
        };
        state.pulling.insert(from.clone(), pulling);
        let mut known = state.row.vector.clone();
        if let Some(session) = state.progress.get(from) {
            known.join(session);
        }
        let space = space.clone();
        self.send(from, PeerMessage::Pull { space, known });
    }

    /// Whether a partner has lately been sent a page after which it asks for the next one itself.
    fn session_goes_on(&self, with: &ServerName, space: &SpaceId) -> bool {
        let state = self.spaces.get(space);
        let paged_ms = state.and_then(|state| state.paged_ms.get(with));
        paged_ms
            .is_some_and(|at_ms| self.now.mono_ms < at_ms.saturating_add(self.config.times.beat_ms))
    }

    /// Whether a page of a registry is nothing to this server, which is leaving it: what a holder has stays with the holder.
    /// Else it would have to be shown again that two of them have that too, and a busy registry would never be left.
    fn takes_no_more(&self, from: &ServerName, space: &SpaceId) -> bool {
        matches!(space, SpaceId::Registry(_))
            && self.spaces.get(space).is_some_and(|state| state.leaving)
            && !self.belongs_here(space)
            && self.partners(space).contains(from)
    }

    /// Whether a server may read and write a space with us: it must be one of its servers (or have
    /// been, and be handing over), or we must be.
    pub(crate) fn may_share(&self, from: &ServerName, space: &SpaceId) -> bool {
        match space {
            SpaceId::Registry(registry) => {
                self.databases.contains_key(registry) && self.servers.contains_key(from)
                    || self.holders(registry).contains(&self.config.server)
            }
            SpaceId::Mailbox(_) => true,
        }
    }

    pub(crate) fn take_pull(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        known: VersionVector,
    ) -> Result<(), Damaged> {
        if self.spaces.contains_key(space) {
            if known.is_empty() {
                self.has_no_more(space, from)?;
            }
            self.note_have(from, space, known.clone());
            if !self.demand_refresh(from, space, &known) {
                self.send_page(from, space, known)?;
            }
        }
        Ok(())
    }

    fn send_page(
        &mut self,
        to: &ServerName,
        space: &SpaceId,
        from: VersionVector,
    ) -> Result<(), Damaged> {
        let ready = self.spaces.get(space).is_some_and(|s| s.row.ready);
        if !ready && matches!(space, SpaceId::Registry(_)) {
            // Not fetched whole: another holder answers, or we do later.
            return Ok(());
        }
        let (mut updates, progress, complete) = self.missing(space, &from, PAGE_BYTES)?;
        if from.is_empty() {
            self.introduce(space, &mut updates)?;
        }
        let now_ms = self.now.mono_ms;
        if let Some(state) = self.spaces.get_mut(space) {
            if complete {
                state.paged_ms.remove(to);
            } else {
                state.paged_ms.insert(to.clone(), now_ms);
            }
        }
        let space = space.clone();
        self.send(
            to,
            PeerMessage::Page {
                space,
                from,
                progress,
                complete,
                updates,
            },
        );
        Ok(())
    }

    /// A push: raises the vector only if it follows what is known.
    pub(crate) fn take_push(
        &mut self,
        from: &ServerName,
        space: SpaceId,
        previous: Stamp,
        context: &VersionVector,
        updates: Vec<Update>,
    ) -> Result<(), Damaged> {
        if !self.admit(&space, &updates) {
            return Ok(());
        }
        let dots: Vec<Stamp> = updates.iter().map(|update| update.cell.dot).collect();
        let last = dots.last().copied();
        let updates = self.sift(from, &space, updates);
        let lacking = self.lacking_bodies(&space, &updates)?;
        if !lacking.is_empty() {
            self.need_bodies(from, lacking);
            return Ok(());
        }
        let follows = self.planted_vector_over_gap || self.follows(&space, previous, context);
        // What does not follow is not even merged: a value that the vector does not cover could be
        // deleted here, its deletion forgotten, and the value come again as if it were new.
        if follows {
            self.merge_all(&space, &updates)?;
        }
        let known = self
            .spaces
            .get(&space)
            .map_or(Hlc(0), |s| s.row.vector.get(previous.origin));
        if self.was_set_back(from, known, previous, &dots) {
            return Ok(());
        }
        let regaining = self.is_regaining(&space)?;
        let (quarantine, Some(state)) = (&self.quarantine, self.spaces.get_mut(&space)) else {
            return Ok(());
        };
        if let Some(last) = last.filter(|last| follows && last.origin == previous.origin) {
            let mut reached = VersionVector::default();
            reached.raise(last.origin, last.time);
            quarantine.hold_back(&space, &mut reached);
            state.row.vector.join(&reached);
            let from_the_first = previous.time.0 == 0 && matches!(space, SpaceId::Mailbox(_));
            state.row.ready |= from_the_first && !regaining;
            self.save_space(&space);
            self.say_have(from, &space);
        } else {
            self.pull(from, &space);
        }
        Ok(())
    }

    /// Whether everything that the writer of a push had seen is here, but for what is kept apart:
    /// a deletion must not be known, and forgotten, before what it deleted is.
    fn follows(&self, space: &SpaceId, previous: Stamp, context: &VersionVector) -> bool {
        let Some(state) = self.spaces.get(space) else {
            return false;
        };
        let mut seen = context.clone();
        seen.set_back(previous.origin, previous.time);
        self.quarantine.hold_back(space, &mut seen);
        state.row.vector.covers(previous) && state.row.vector.covers_all(&seen)
    }

    /// A page of a session.
    pub(crate) fn take_page(
        &mut self,
        from: &ServerName,
        space: SpaceId,
        base: VersionVector,
        progress: VersionVector,
        complete: bool,
        updates: Vec<Update>,
    ) -> Result<(), Damaged> {
        if !self.admit(&space, &updates) || self.takes_no_more(from, &space) {
            return Ok(());
        }
        let updates = self.sift(from, &space, updates);
        let lacking = self.lacking_bodies(&space, &updates)?;
        if !lacking.is_empty() {
            self.need_bodies(from, lacking);
            // The bodies come first on the same connection, then the page again; if they do not,
            // the next beat begins anew.
            let (now, beat_ms) = (self.now.mono_ms, self.config.times.beat_ms);
            if let Some(state) = self.spaces.get_mut(&space)
                && !state
                    .needed
                    .as_ref()
                    .is_some_and(|(known, at)| *known == base && now < at + beat_ms)
            {
                state.needed = Some((base.clone(), now));
                self.send(from, PeerMessage::Pull { space, known: base });
            }
            return Ok(());
        }
        self.merge_all(&space, &updates)?;
        let (own, own_needed) = (self.clock.origin(), self.own_needed(&space)?);
        let Some(state) = self.spaces.get_mut(&space) else {
            return Ok(());
        };
        let mut reached = state.row.vector.clone();
        if let Some(session) = state.progress.get(from) {
            reached.join(session);
        }
        if !reached.covers_all(&base) {
            // Of another session, or after a lost page: what it brought is merged; begin again.
            state.progress.remove(from);
            let known = state.row.vector.clone();
            self.send(from, PeerMessage::Pull { space, known });
            return Ok(());
        }
        if !complete && reached.covers_all(&progress) && !progress.is_empty() {
            // A page of a second session, or one again: the first goes on by itself.
            return Ok(());
        }
        reached.join(&progress);
        if complete {
            state.progress.remove(from);
            let again = state.pulling.remove(from).is_some_and(|p| p.again);
            self.quarantine.hold_back(&space, &mut reached);
            state.row.vector.join(&reached);
            let enough = state.row.vector.get(own) >= own_needed;
            let whole = state.damaged.is_empty() && enough;
            let fetched = whole && !std::mem::replace(&mut state.row.ready, true);
            self.save_space(&space);
            if !enough {
                self.has_no_more(&space, from)?;
            }
            if let SpaceId::Registry(registry) = &space {
                // Earlier pages merged what the vector covers only now.
                self.watches.touch_all(registry);
            }
            if fetched {
                self.regained(&space)?;
                // It may have been this server's turn to mend it all along.
                self.mend_needed = true;
                self.note_info(format!("{space} fetched from {from}"), None);
                self.gv_changed = true;
                self.closures.get_mut().forget_all();
            }
            self.say_have(from, &space);
            if again {
                self.pull(from, &space);
            }
        } else {
            state.progress.insert(from.clone(), reached.clone());
            let pulling = Pulling {
                since_ms: self.now.mono_ms,
                again: state.pulling.remove(from).is_some_and(|p| p.again),
            };
            state.pulling.insert(from.clone(), pulling);
            self.send(
                from,
                PeerMessage::Pull {
                    space,
                    known: reached,
                },
            );
        }
        Ok(())
    }

    /// Whether updates may come in at all: the space is ours.
    pub(super) fn admit(&mut self, space: &SpaceId, updates: &[Update]) -> bool {
        if self.spaces.contains_key(space) {
            return true;
        }
        match space {
            SpaceId::Registry(_) => {
                if self.belongs_here(space) {
                    self.open_space(space, false);
                }
                self.spaces.contains_key(space)
            }
            SpaceId::Mailbox(_) => self.admit_mailbox(space, updates),
        }
    }

    /// The messages among updates whose bodies are not here.
    pub(super) fn lacking_bodies(
        &self,
        space: &SpaceId,
        updates: &[Update],
    ) -> Result<Vec<MessageId>, Damaged> {
        let mut lacking = Vec::new();
        if matches!(space, SpaceId::Registry(_)) {
            return Ok(lacking);
        }
        for update in updates {
            let Some(value) = &update.cell.value else {
                continue;
            };
            if update.key.field != Field::Message.number() {
                continue;
            }
            let Ok(message) = body_of(MessageId::from_u128(update.key.item), value) else {
                continue;
            };
            if self.message_row(message)?.is_some() {
                continue;
            }
            let present = self.cell(space, &update.key)?;
            if present.is_none_or(|p| p.merge(&update.cell) == grapevine_model::Merge::Taken) {
                lacking.push(message);
            }
        }
        Ok(lacking)
    }

    pub(super) fn merge_all(&mut self, space: &SpaceId, updates: &[Update]) -> Result<(), Damaged> {
        let mut again = BTreeSet::new();
        for update in updates {
            self.clock.observe(update.cell.stamp);
            self.clock.observe(update.cell.dot);
            if self.is_forgotten(space, update)? {
                continue;
            }
            if self.mistakes.flags_dropped && update.key.field == Field::Flag.number() {
                continue;
            }
            let news = self.merge_cell(space, &update.key, &update.cell)?;
            again.extend(self.to_repeat(space, update, news)?);
        }
        if !self.is_fetched_first(space)? {
            self.write_again(space, again.into_iter().collect())?;
        }
        self.space_changed(space);
        Ok(())
    }

    /// Tells a partner what we durably have.
    pub(crate) fn say_have(&mut self, to: &ServerName, space: &SpaceId) {
        if let Some(state) = self.spaces.get(space) {
            let vector = state.row.vector.clone();
            self.pushes.have(to, space, vector);
        }
    }

    pub(crate) fn note_have(&mut self, from: &ServerName, space: &SpaceId, vector: VersionVector) {
        self.seen_by(from, space, &vector);
        self.has_more(space, from, &vector);
        if let Some(state) = self.spaces.get_mut(space) {
            // Replaced, not joined: a partner that lost its disk has less than before.
            state.have.insert(from.clone(), vector);
            self.check_waiters(space);
            self.check_pages(space);
        }
    }
}
