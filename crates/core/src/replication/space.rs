//! A replicated space at this server: its vector, its partners, its cells on disk.
//!
//! Guards P4. The vector is raised only by what closes without a gap: own
//! writes, pushes that follow the last known write, and finished sessions.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Cell, CellKey, Hlc, Incarnation, Merge, RegistryName, ServerName, SpaceId, Stamp, Update,
    Usage, VersionVector,
};

use crate::codec::{self, SpaceRow};
use crate::few::Few;
use crate::mailbox::cells::body_of_cell;
use crate::registry::database::claimed_name;
use crate::replication::reap::Round;
use crate::replication::refresh::Refresh;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Digests of shared spaces are compared in so many buckets: what differs is found in one round
/// trip and names one sixty-fourth of the spaces.
pub(crate) const BUCKETS: usize = 64;

/// What this server knows of a space.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) row: SpaceRow,
    /// What partners said that they have, durably.
    pub(crate) have: Few<ServerName, VersionVector>,
    /// It does not belong here any more: what partners said before that is forgotten.
    pub(crate) leaving: bool,
    /// How far a session with a partner has come, beyond the vector.
    pub(crate) progress: BTreeMap<ServerName, VersionVector>,
    /// Partners whose pages are waited for.
    pub(crate) pulling: BTreeMap<ServerName, Pulling>,
    /// When a page that others follow went to a partner last.
    pub(crate) paged_ms: BTreeMap<ServerName, u64>,
    /// For which page bodies were asked for, and when: the page is asked for again once.
    pub(crate) needed: Option<(VersionVector, u64)>,
    /// Cells whose rows here could not be read, until a partner has given them back.
    pub(crate) damaged: BTreeSet<CellKey>,
    /// With whom its digest is counted, and which digest.
    pub(crate) counted: (Box<[ServerName]>, u64),
    /// A mailbox's horizon (see `reap`), zero for none; none while it is not read.
    pub(crate) horizon: Option<Hlc>,
    /// Whether its owner has a filter; none while it is not read.
    pub(crate) has_filter: Option<bool>,
    /// In which bucket of digests it is.
    pub(crate) bucket: u8,
    /// With which registry's sum its usage is counted, and how much.
    pub(crate) usage_counted: Option<(RegistryName, Usage)>,
    /// Everything forgotten here is covered by it: who does not cover it has to fetch anew.
    pub(crate) floor: VersionVector,
    /// What is about to be stable.
    pub(crate) round: Option<Box<Round>>,
    /// A whole copy under way, after a long absence.
    pub(crate) refresh: Option<Box<Refresh>>,
}

/// A session with a partner, as the one that fetches sees it.
#[derive(Debug)]
pub(crate) struct Pulling {
    /// When it was asked for a page last.
    pub(crate) since_ms: u64,
    /// There was a reason to ask again meanwhile.
    pub(crate) again: bool,
}

impl Space {
    /// A space as its row says.
    pub(crate) fn new(space: &SpaceId, row: SpaceRow) -> Self {
        Self {
            row,
            bucket: bucket(space),
            ..Self::default()
        }
    }

    /// Whether questions about it can be answered from here.
    pub(crate) fn is_whole(&self) -> bool {
        self.row.ready && !self.refresh.as_ref().is_some_and(|refresh| refresh.stale)
    }

    /// How many partners are known to have a write.
    pub(crate) fn copies(&self, dot: Stamp, partners: &[ServerName]) -> u8 {
        let others = partners
            .iter()
            .filter(|p| self.have.get(*p).is_some_and(|h| h.covers(dot)));
        1u8.saturating_add(others.count().min(200) as u8)
    }
}

/// The bucket of a space.
fn bucket(space: &SpaceId) -> u8 {
    let hash = blake3::hash(&codec::space_prefix(space));
    hash.as_bytes().first().copied().unwrap_or(0) % BUCKETS as u8
}

fn space_digest(space: &SpaceId, vector: &VersionVector) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&codec::space_prefix(space));
    hasher.update(&vector.digest().to_be_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

impl Server {
    /// The other servers that a space is shared with.
    pub(crate) fn partners(&self, space: &SpaceId) -> Vec<ServerName> {
        let mut partners = match space {
            SpaceId::Registry(registry) => self.holders(registry),
            SpaceId::Mailbox(_) => self
                .spaces
                .get(space)
                .map(|s| s.row.sites.clone())
                .unwrap_or_default(),
        };
        partners.retain(|server| *server != self.config.server);
        partners
    }

    /// Whether this server ought to have the space: a server that has left it only hands it over.
    pub(crate) fn belongs_here(&self, space: &SpaceId) -> bool {
        match space {
            SpaceId::Registry(registry) => self.holders(registry).contains(&self.config.server),
            SpaceId::Mailbox(_) => self
                .spaces
                .get(space)
                .is_some_and(|s| s.row.sites.contains(&self.config.server)),
        }
    }

    /// Counts a space's digest with its partners anew; call after each change of vector or partners.
    pub(crate) fn count_space(&mut self, space: &SpaceId) {
        let mut partners = match self.belongs_here(space) {
            true => self.partners(space),
            false => Vec::new(),
        };
        partners.sort();
        partners.dedup();
        let Some(state) = self.spaces.get_mut(space) else {
            return;
        };
        // What is not fetched yet differs from what is, even where there is nothing in it.
        let digest = space_digest(space, &state.row.vector) ^ u64::from(!state.row.ready);
        let bucket = usize::from(state.bucket);
        let before = std::mem::replace(&mut state.counted.1, digest);
        let digests = &mut self.digests;
        let mut count = |partners: &[ServerName], digest: u64| {
            for partner in partners {
                if !digests.contains_key(partner) {
                    digests.insert(partner.clone(), vec![0; BUCKETS]);
                }
                let slot = digests.get_mut(partner).and_then(|b| b.get_mut(bucket));
                if let Some(slot) = slot {
                    *slot ^= digest;
                }
            }
        };
        if *state.counted.0 == *partners {
            count(&partners, before ^ digest);
            return;
        }
        count(&state.counted.0, before);
        count(&partners, digest);
        state.counted.0 = partners.into_boxed_slice();
    }

    /// A space's row changed: it is written at the end of the turn, once, with whatever else changes in it until then.
    pub(crate) fn save_space(&mut self, space: &SpaceId) {
        self.note_origins(space);
        self.count_usage(space);
        if !self.unsaved.contains(space) {
            self.unsaved.insert(space.clone());
        }
    }

    /// Writes the rows of the spaces that changed in this turn, and counts their digests.
    pub(crate) fn save_spaces(&mut self) {
        for space in std::mem::take(&mut self.unsaved) {
            let Some(state) = self.spaces.get_mut(&space) else {
                continue;
            };
            // What waits for its damaged cells was fetched: they are found again at each start.
            let fetched = matches!(space, SpaceId::Registry(_)) && !state.damaged.is_empty();
            let ready = state.row.ready;
            state.row.ready |= fetched;
            let row = codec::encode_space_row(&state.row);
            state.row.ready = ready;
            self.ledger
                .put(Table::Vectors, codec::space_prefix(&space), row);
            self.count_space(&space);
        }
    }

    /// Makes sure that a space is known here.
    pub(crate) fn open_space(&mut self, space: &SpaceId, ready: bool) {
        if !self.spaces.contains_key(space) {
            let row = SpaceRow {
                ready,
                usage: Some(Usage::default()),
                ..SpaceRow::default()
            };
            let state = Space {
                // There is nothing in it yet.
                horizon: Some(Hlc(0)),
                ..Space::new(space, row)
            };
            self.spaces.insert(space.clone(), state);
            if let SpaceId::Registry(registry) = space {
                self.databases
                    .entry(registry.clone())
                    .or_insert_with(|| crate::registry::database::Database::new(registry.clone()));
                self.copy_begins(registry);
                self.closures.get_mut().forget_all();
            }
            self.save_space(space);
        }
    }

    /// The present cell of a key.
    pub(crate) fn cell(&self, space: &SpaceId, key: &CellKey) -> Result<Option<Cell>, Damaged> {
        match space {
            SpaceId::Registry(registry) => Ok(self
                .databases
                .get(registry)
                .and_then(|db| db.cell(key))
                .cloned()),
            SpaceId::Mailbox(_) => self
                .ledger
                .get(Table::Cells, &codec::cell_key(space, key))?
                .map(|bytes| codec::decode(&bytes))
                .transpose(),
        }
    }

    /// Merges one cell into a space: disk, memory, indexes. The vector is the caller's.
    pub(crate) fn merge_cell(
        &mut self,
        space: &SpaceId,
        key: &CellKey,
        cell: &Cell,
    ) -> Result<Merge, Damaged> {
        let present = match space {
            // Its database looks for itself.
            SpaceId::Registry(_) => Ok(None),
            SpaceId::Mailbox(_) => self.cell(space, key),
        };
        self.merge_over(space, key, cell, present)
    }

    /// The same, over what was read of a mailbox already.
    pub(crate) fn merge_over(
        &mut self,
        space: &SpaceId,
        key: &CellKey,
        cell: &Cell,
        present: Result<Option<Cell>, Damaged>,
    ) -> Result<Merge, Damaged> {
        let replaced = match space {
            SpaceId::Registry(registry) => {
                let Some(database) = self.databases.get_mut(registry) else {
                    return Ok(Merge::Kept);
                };
                let old = database.cell(key).cloned();
                match database.merge(key, cell) {
                    (Merge::Kept, _) => return Ok(Merge::Kept),
                    (Merge::Taken, replaced) => {
                        if !self.planted_closure_kept {
                            let named = [Some(cell), old.as_ref()].into_iter().flatten();
                            let claimants = named
                                .filter_map(|cell| claimed_name(key, cell))
                                .map(|name| database.claimants(&name))
                                .max();
                            let closures = self.closures.get_mut();
                            closures.cell_changes(
                                registry,
                                key,
                                old.as_ref(),
                                cell,
                                claimants.unwrap_or(0),
                            );
                        }
                        self.watches.touch(registry, Incarnation(key.item));
                        self.sites_may_change(registry, key);
                        replaced
                    }
                }
            }
            SpaceId::Mailbox(incarnation) => {
                // A row that can't be read gives way to what a partner has; a reference to its body
                // may remain, which keeps the body longer and never loses it.
                let old = match present {
                    Ok(old) => old,
                    Err(_) => {
                        self.usage_is_unknown(space);
                        None
                    }
                };
                if old
                    .as_ref()
                    .is_some_and(|old| old.merge_in(key.field, cell) == Merge::Kept)
                {
                    return Ok(Merge::Kept);
                }
                self.mailbox_cell_changes(*incarnation, key, old.as_ref(), cell)?;
                old
            }
        };
        if let Some(old) = replaced {
            self.drop_dot(space, &old);
        }
        self.put_cell(space, key, cell);
        if matches!(space, SpaceId::Registry(r) if r.as_str() == "gv") {
            self.gv_changed = true;
        }
        if matches!(space, SpaceId::Registry(_)) {
            self.zone_field_changed(key.field);
        }
        Ok(Merge::Taken)
    }

    /// Writes a cell and its dot as they are.
    pub(crate) fn put_cell(&mut self, space: &SpaceId, key: &CellKey, cell: &Cell) {
        if let SpaceId::Registry(registry) = space
            && let Some(database) = self.databases.get_mut(registry)
        {
            database.set_dot(key, cell.dot);
        }
        self.ledger.put(
            Table::Cells,
            codec::cell_key(space, key),
            codec::encode(cell),
        );
        self.ledger.put(
            Table::Dots,
            codec::dot_key(space, cell.dot),
            codec::bare_cell_key(key),
        );
        self.mark_for_reaping(space, key, cell);
    }

    /// The updates of a space that a vector does not cover, at most `limit` octets of them, and the
    /// vector that covers them too. None remain when the last part is true.
    pub(crate) fn missing(
        &self,
        space: &SpaceId,
        known: &VersionVector,
        limit_bytes: usize,
    ) -> Result<(Vec<Update>, VersionVector, bool), Damaged> {
        /// Rows of the dot index read at a time.
        const ROWS: usize = 256;
        let Some(state) = self.spaces.get(space) else {
            return Ok((Vec::new(), known.clone(), true));
        };
        let (mut updates, mut progress, mut bytes) = (Vec::new(), known.clone(), 0usize);
        for (origin, last) in state.row.vector.iter() {
            let mut from = Stamp {
                time: known.get(origin).next(),
                origin,
            };
            loop {
                let until = Stamp {
                    time: last.next(),
                    origin,
                };
                let rows = self.ledger.scan(
                    Table::Dots,
                    &codec::dot_key(space, from),
                    &codec::dot_key(space, until),
                    ROWS,
                )?;
                let full = rows.len() == ROWS;
                for (dot, key) in rows {
                    let dot = codec::read_dot(&dot)?;
                    let key = codec::read_cell_key(&key)?;
                    if bytes >= limit_bytes {
                        return Ok((updates, progress, false));
                    }
                    if let Some(cell) = self.cell(space, &key)? {
                        bytes += 80 + key.element.len() + cell.value.as_ref().map_or(0, Vec::len);
                        if key.field == grapevine_model::Field::Message.number()
                            && cell.value.is_some()
                        {
                            bytes += MESSAGE_WEIGHT_BYTES;
                        }
                        updates.push(Update { key, cell });
                    }
                    progress.raise(origin, dot.time);
                    from.time = dot.time.next();
                }
                if !full {
                    break;
                }
            }
            progress.raise(origin, last);
        }
        Ok((updates, progress, true))
    }

    /// Forgets a space and all its rows.
    pub(crate) fn drop_space(&mut self, space: &SpaceId) -> Result<(), Damaged> {
        self.remember_left(space)?;
        if let SpaceId::Mailbox(inbox) = space {
            self.mailboxes.forget(*inbox);
            self.filters.forget(*inbox);
        }
        let prefix = codec::space_prefix(space);
        let until = codec::after_prefix(&prefix);
        for table in [Table::Cells, Table::Dots, Table::Tombstones] {
            for (key, value) in self.ledger.scan(table, &prefix, &until, usize::MAX >> 1)? {
                if table == Table::Cells && matches!(space, SpaceId::Mailbox(_)) {
                    let cell: Cell = codec::decode(&value)?;
                    let cell_key =
                        codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                    if cell.value.is_some()
                        && cell_key.field == grapevine_model::Field::Message.number()
                    {
                        let message = grapevine_model::MessageId::from_u128(cell_key.item);
                        let body = body_of_cell(message, cell.value.as_ref());
                        self.release(body.unwrap_or(message))?;
                    }
                }
                if table == Table::Tombstones {
                    self.tombstone_is_dropped(&value);
                }
                self.ledger.delete(table, key);
            }
        }
        self.remember_written();
        self.nothing_left_of(space);
        self.ledger.delete(Table::Floors, prefix.clone());
        self.ledger.delete(Table::Vectors, prefix);
        if let Some(state) = self.spaces.get_mut(space) {
            let usage = state.usage_counted.take();
            let bucket = usize::from(state.bucket);
            let (partners, digest) = std::mem::take(&mut state.counted);
            self.uncount_usage(usage);
            for partner in &partners {
                if let Some(slot) = self
                    .digests
                    .get_mut(partner)
                    .and_then(|b| b.get_mut(bucket))
                {
                    *slot ^= digest;
                }
            }
        }
        self.spaces.remove(space);
        if let SpaceId::Registry(registry) = space {
            self.databases.remove(registry);
            self.moved.remove(registry);
            self.closures.get_mut().forget_all();
            self.watches.touch_all(registry);
        }
        Ok(())
    }

    /// The mailbox of an incarnation, as a space.
    pub(crate) fn mailbox_space(incarnation: Incarnation) -> SpaceId {
        SpaceId::Mailbox(incarnation)
    }
}

/// A message in a page of a mailbox may bring its body along; so few fit in one page that their
/// bodies do not flood the link.
const MESSAGE_WEIGHT_BYTES: usize = 8 * 1024;
