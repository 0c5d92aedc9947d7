//! The life of a disk: noticing that it was set back, and beginning a new one.
//!
//! Guards that an origin's times are used once. The shell says when a folder was brought back from a
//! backup; a disk that was rolled back beneath it (a virtual machine's snapshot) shows when another
//! server has a write of this origin that it does not know itself. Then it takes a new origin,
//! and what it has lost comes back to it like any other server's writes.
//!
//! Two servers that run with one name (the old folder and its copy) do no harm to the data: their
//! origins differ. The one whose origin in `gv` was replaced stops taking requests.

use std::collections::BTreeMap;

use grapevine_model::{Hlc, OriginId, ServerName, SpaceId, Stamp};

use crate::codec;
use crate::server::{META_ORIGIN, Server};
use crate::tables::{Damaged, Table};

/// New origins that one run takes at the word of others: a disk is set back once, a liar would
/// have it done for ever.
const MOST_REBORN: u32 = 3;

/// `Meta` key of the last write of this disk in spaces that were forgotten since.
const META_WRITTEN: &[u8] = b"written";

/// What is known of how far origins have written.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// The last write of each origin that is in any space here.
    last: BTreeMap<OriginId, Hlc>,
    /// This server's own entry in each vector when it started.
    resumed: BTreeMap<SpaceId, Hlc>,
    /// The last write of this disk when the server started.
    at_start: Hlc,
    /// The first that this run has given out.
    first_given: Option<Hlc>,
    reborn: u32,
    /// Whether `gv` has named this server's origin since it took it.
    pub(crate) described: bool,
    /// Another server has taken this one's name.
    pub(crate) displaced: bool,
}

impl Origins {
    /// A space is no more.
    pub(crate) fn forget(&mut self, space: &SpaceId) {
        self.resumed.remove(space);
    }
}

impl Server {
    /// The spaces are loaded: how far had this server come?
    pub(crate) fn origins_at_start(&mut self) -> Result<(), Damaged> {
        let own = self.clock.origin();
        if let Some(bytes) = self.ledger.get(Table::Meta, META_WRITTEN)? {
            let written: Stamp = codec::decode(&bytes)?;
            self.origins.last.insert(written.origin, written.time);
        }
        let spaces: Vec<SpaceId> = self.spaces.keys().cloned().collect();
        for space in spaces {
            self.note_origins(&space);
            if let Some(state) = self.spaces.get(&space) {
                let resumed = state.row.vector.get(own);
                self.origins.resumed.insert(space, resumed);
            }
        }
        self.origins.at_start = self.origins.last.get(&own).copied().unwrap_or_default();
        Ok(())
    }

    /// This server writes, and this is the first dot of it.
    pub(crate) fn note_given(&mut self, dot: Stamp) {
        let first = self.origins.first_given.get_or_insert(dot.time);
        *first = (*first).min(dot.time);
    }

    /// A space is forgotten, and with it perhaps the last write of this disk.
    pub(crate) fn remember_written(&mut self) {
        let origin = self.clock.origin();
        if let Some(time) = self.origins.last.get(&origin).copied() {
            let written = Stamp { time, origin };
            self.ledger
                .put(Table::Meta, META_WRITTEN.to_vec(), codec::encode(&written));
        }
    }

    /// Whether a push of a server's own writes leaves out one that is known here: its disk was set
    /// back. It is told so at once, and its push raises no vector.
    pub(crate) fn was_set_back(
        &mut self,
        from: &ServerName,
        known: Hlc,
        previous: Stamp,
        dots: &[Stamp],
    ) -> bool {
        let own = self.peers.get(from).and_then(|peer| peer.origin);
        let contradicts = own == Some(previous.origin)
            && previous.time < known
            && dots.last().is_some_and(|last| last.time > known)
            && !dots.iter().any(|dot| dot.time == known);
        if contradicts {
            self.send_beat(from);
        }
        contradicts
    }

    /// A space's vector may have been raised.
    pub(crate) fn note_origins(&mut self, space: &SpaceId) {
        let Some(state) = self.spaces.get(space) else {
            return;
        };
        for (origin, time) in state.row.vector.iter() {
            let last = self.origins.last.entry(origin).or_default();
            *last = (*last).max(time);
        }
    }

    /// The last write of another server's disk that is here.
    pub(crate) fn last_of(&self, server: &ServerName) -> Option<Stamp> {
        let origin = self.peers.get(server)?.origin?;
        let time = *self.origins.last.get(&origin)?;
        Some(Stamp { time, origin })
    }

    /// Another server says up to where it has what this disk wrote.
    pub(crate) fn take_seen(&mut self, from: &ServerName, seen: Stamp) -> Result<(), Damaged> {
        let own = self.clock.origin();
        let last = self.origins.last.get(&own).copied().unwrap_or_default();
        let first = self.origins.first_given.unwrap_or(Hlc(u64::MAX));
        // Neither from before this start, nor given out since.
        let foreign = seen.time > self.origins.at_start && (seen.time > last || seen.time < first);
        if seen.origin != own || !foreign || seen.time.wall_ms() > self.drift_limit_ms() {
            return Ok(());
        }
        if self.origins.reborn >= MOST_REBORN {
            self.alarm(format!(
                "{from} says again and again that this server's disk was set back; it is not believed any more"
            ));
            return Ok(());
        }
        self.origins.reborn += 1;
        self.alarm(format!(
            "this server's disk was set back: {from} has writes of it that it does not know itself; it goes on under a new origin and fetches what it lost"
        ));
        self.be_reborn(own)
    }

    /// A new origin; what the old one wrote since this disk was set back is fetched from others.
    fn be_reborn(&mut self, old: OriginId) -> Result<(), Damaged> {
        let origin = OriginId::server(self.random_u128() as u64);
        self.clock.be_reborn(origin);
        self.origins.described = false;
        self.origins.at_start = Hlc(0);
        self.origins.first_given = None;
        self.ledger
            .put(Table::Meta, META_ORIGIN.to_vec(), codec::encode(&origin));
        let spaces: Vec<SpaceId> = self.spaces.keys().cloned().collect();
        for space in spaces {
            let resumed = self
                .origins
                .resumed
                .get(&space)
                .copied()
                .unwrap_or_default();
            if let Some(state) = self.spaces.get_mut(&space)
                && state.row.vector.get(old) > resumed
            {
                // Written over the gap, before anybody said so: it is here, but not all below it.
                state.row.vector.set_back(old, resumed);
                self.save_space(&space);
            }
        }
        self.gv_changed = true;
        Ok(())
    }

    /// `gv` names an origin for this server. Whether it is the one to go on.
    pub(crate) fn named_in_gv(&mut self, named: OriginId) -> bool {
        let own = self.clock.origin();
        if named == own {
            self.origins.described = true;
            self.origins.displaced = false;
        } else if self.origins.described && named != self.config.info.origin {
            if !self.origins.displaced {
                self.origins.displaced = true;
                self.alarm(
                    "another server has been started under this server's name (from a copy of this folder?): this one takes no more requests; stop one of the two".into(),
                );
            }
            return false;
        }
        true
    }
}
