//! Where a mailbox lives: its sites stand in the mailbox itself and follow the
//! registry of its owner.
//!
//! A site that holds that registry follows at once; one that does not asks a
//! holder now and then. A server that is no site any more hands the mailbox over
//! and forgets it only when the others have everything.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Cell, CellKey, Field, Incarnation, Name, RegistryName, Resolution, ServerName, SpaceId, Update,
};

use crate::codec;
use crate::delivery::steer::INBOX_COPIES;
use crate::registry::directory::{Held, Memo};
use crate::registry::request::{Job, Stop};
use crate::replication::push::{Change, Over};
use crate::replication::space::Space;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Mailboxes whose registry is held elsewhere asked about in one sweep.
const ASKED_A_SWEEP: usize = 50;

/// Mailboxes looked at for that: a millisecond or two, however many there are.
const LOOKED_AT_A_SWEEP: usize = 20_000;

/// Mailboxes compared with their owners' entries in one sweep: some milliseconds.
const FOLLOWED_A_SWEEP: usize = 4_096;

/// What is known of where mailboxes ought to be, besides their rows.
#[derive(Debug, Default)]
pub(crate) struct Sitings {
    /// The last mailbox whose sites were asked about.
    asked: Option<Incarnation>,
    /// Mailboxes here whose owners are no more, as holders elsewhere said.
    ownerless: BTreeSet<Incarnation>,
    /// Mailboxes whose sites were written by somebody who did not know what their registry, held
    /// here, says.
    astray: BTreeSet<Incarnation>,
    /// Whether all mailboxes were looked at since the start.
    all_checked: bool,
    /// Mailboxes that come back to this server, and who has given all that it has of them.
    pub(super) regaining: BTreeMap<Incarnation, BTreeSet<ServerName>>,
}

/// The value of a `Sites` cell: the owner's name, and the ordered sites.
type Place = (Name, Vec<ServerName>);

pub(super) fn sites_key() -> CellKey {
    CellKey {
        item: 0,
        field: Field::Sites.number(),
        element: Vec::new(),
    }
}

impl Server {
    /// Makes sure that the mailbox is here and knows its sites. Gives what is to be written of it, with whatever else is.
    pub(super) fn open_mailbox(
        &mut self,
        inbox: Incarnation,
        owner: &Name,
        sites: &[ServerName],
    ) -> Result<Vec<Change>, Damaged> {
        let space = Self::mailbox_space(inbox);
        if !self.spaces.contains_key(&space) && self.held(owner.registry()) == Held::Elsewhere {
            // Its quota is known a round trip later.
            let owner = owner.clone();
            self.runnable
                .push_back((Job::FollowSites { inbox, owner }, Memo::new()));
        }
        let over = match self.spaces.contains_key(&space) {
            true => Over::Whatever,
            false => Over::Nothing,
        };
        self.open_space(&space, true);
        let state = self.spaces.get(&space);
        if state.is_none_or(|state| state.row.sites == sites) {
            return Ok(Vec::new());
        }
        // The registry's word, where it is held here: what the caller knows may be old.
        let said = self.database(owner.registry()).and_then(|d| d.entry(inbox));
        let said = said.map(|entry| entry.sites()).filter(|s| !s.is_empty());
        let sites = said.unwrap_or_else(|| sites.to_vec());
        let state = self.spaces.get_mut(&space);
        let Some(state) = state.filter(|state| state.row.sites != sites) else {
            return Ok(Vec::new());
        };
        state.row.sites.clone_from(&sites);
        state.row.owner = Some(owner.clone());
        let place = codec::encode(&(owner.clone(), sites));
        self.save_space(&space);
        Ok(vec![Change {
            over,
            ..Change::put(sites_key(), place)
        }])
    }

    /// The sites of a mailbox are these from now on.
    pub(crate) fn set_sites(
        &mut self,
        inbox: Incarnation,
        owner: &Name,
        sites: &[ServerName],
    ) -> Result<(), Damaged> {
        let space = Self::mailbox_space(inbox);
        let regaining = self.is_regaining(&space)?;
        if let Some(state) = self.spaces.get_mut(&space) {
            state.row.sites = sites.to_vec();
            state.row.owner = Some(owner.clone());
            if regaining {
                // Nothing is written in it yet. Its registry is asked again when it is here.
                self.sitings.astray.insert(inbox);
                self.save_space(&space);
                return Ok(());
            }
            let change = Change::put(sites_key(), codec::encode(&(owner.clone(), sites.to_vec())));
            self.write(&space, vec![change])?;
            self.save_space(&space);
        }
        Ok(())
    }

    /// A mailbox unknown here is taken in when its own sites name this server.
    pub(crate) fn admit_mailbox(&mut self, space: &SpaceId, updates: &[Update]) -> bool {
        let sites = updates
            .iter()
            .find(|u| u.key == sites_key())
            .and_then(|u| codec::decode::<Place>(u.cell.value.as_ref()?).ok());
        match sites {
            Some((_, sites)) if sites.contains(&self.config.server) => {
                self.open_space(space, false);
                if let SpaceId::Mailbox(inbox) = space {
                    self.sitings.astray.insert(*inbox);
                }
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whoever has nothing of a mailbox takes it in when it is told that it is one of its sites: that
    /// comes first, wherever it stands in the order of writes.
    pub(crate) fn introduce(
        &self,
        space: &SpaceId,
        updates: &mut Vec<Update>,
    ) -> Result<(), Damaged> {
        let key = sites_key();
        if matches!(space, SpaceId::Mailbox(_))
            && !updates.iter().any(|update| update.key == key)
            && let Some(cell) = self.cell(space, &key)?
        {
            updates.insert(0, Update { key, cell });
        }
        Ok(())
    }

    /// The `Sites` cell of a mailbox is about to be replaced.
    pub(super) fn sites_cell_changes(&mut self, inbox: Incarnation, new: &Cell) {
        let space = Self::mailbox_space(inbox);
        let place = new
            .value
            .as_ref()
            .and_then(|value| codec::decode::<Place>(value).ok());
        if let Some((owner, sites)) = place
            && let Some(state) = self.spaces.get_mut(&space)
        {
            state.row.owner = Some(owner);
            state.row.sites = sites;
            self.save_space(&space);
            if self.moved_by_registry(inbox).is_some() {
                self.sitings.astray.insert(inbox);
            }
        }
    }

    /// A cell of a registry was replaced: where it says whose mailbox is where, that mailbox follows at the end of the turn.
    pub(crate) fn sites_may_change(&mut self, registry: &RegistryName, key: &CellKey) {
        let says = [Field::Identity.number(), Field::InboxSite.number()].contains(&key.field);
        let inbox = Incarnation(key.item);
        if says && self.spaces.contains_key(&Self::mailbox_space(inbox)) {
            let moved = self.moved.entry(registry.clone()).or_default();
            moved.insert(inbox);
        }
    }

    /// Where a mailbox ought to be, and under what name, if the registry of its owner is held here and
    /// says something else than the mailbox does.
    fn moved_by_registry(&self, inbox: Incarnation) -> Option<(Name, Vec<ServerName>)> {
        let row = &self.spaces.get(&Self::mailbox_space(inbox))?.row;
        let entry = self
            .database(row.owner.as_ref()?.registry())?
            .entry(inbox)?;
        let (sites, owner) = (entry.sites(), entry.name()?);
        // A new name of the owner counts too: its old one may become somebody else's.
        let moved = sites != row.sites || row.owner.as_ref() != Some(&owner);
        (moved && !sites.is_empty()).then_some((owner, sites))
    }

    /// Moves mailboxes back whose sites were written by a server that was behind. Once a sweep and not
    /// at once, so that two holders of which one is behind don't contradict each other all the time.
    pub(crate) fn follow_astray(&mut self) -> Result<(), Damaged> {
        if !std::mem::replace(&mut self.sitings.all_checked, true) {
            let all = self.spaces.keys().filter_map(|space| match space {
                SpaceId::Mailbox(inbox) => Some(*inbox),
                SpaceId::Registry(_) => None,
            });
            self.sitings.astray.extend(all);
        }
        let mut later = Vec::new();
        for _ in 0..FOLLOWED_A_SWEEP {
            let Some(inbox) = self.sitings.astray.pop_first() else {
                break;
            };
            if self.is_regaining(&Self::mailbox_space(inbox))? {
                later.push(inbox);
                self.sitings.regaining.entry(inbox).or_default();
                continue;
            }
            if let Some((owner, sites)) = self.moved_by_registry(inbox) {
                self.move_mailbox(inbox, &owner, &sites)?;
            }
        }
        self.regain_on();
        Ok(())
    }

    /// Follows the inbox sites of a registry held here; call when it may have changed.
    pub(crate) fn follow_sites(&mut self, registry: &RegistryName) -> Result<(), Damaged> {
        // While it is fetched, what has changed waits.
        if self.database(registry).is_none() {
            return Ok(());
        }
        for inbox in self.moved.remove(registry).unwrap_or_default() {
            if let Some((owner, sites)) = self.moved_by_registry(inbox) {
                self.move_mailbox(inbox, &owner, &sites)?;
            }
        }
        Ok(())
    }

    /// A mailbox has other sites now: they are told, and fetch what they lack.
    fn move_mailbox(
        &mut self,
        inbox: Incarnation,
        owner: &Name,
        sites: &[ServerName],
    ) -> Result<(), Damaged> {
        self.set_sites(inbox, owner, sites)?;
        for site in sites {
            if self.peers.contains_key(site) {
                self.offer(site, &Self::mailbox_space(inbox));
            }
        }
        Ok(())
    }

    /// Asks about some mailboxes whose owners' registries are held elsewhere, in turn.
    pub(crate) fn ask_about_sites(&mut self) {
        let after = self.sitings.asked.take();
        let elsewhere = |(space, state): (&SpaceId, &Space)| {
            let SpaceId::Mailbox(inbox) = space else {
                return None;
            };
            let owner = state.row.owner.as_ref()?;
            (self.held(owner.registry()) == Held::Elsewhere).then(|| (*inbox, owner.clone()))
        };
        let from = SpaceId::Mailbox(after.unwrap_or(Incarnation(0)));
        let beyond = (std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded);
        let mut asked: Vec<(Incarnation, Name)> = Vec::new();
        for (at, (space, state)) in self.spaces.range(beyond).enumerate() {
            asked.extend(elsewhere((space, state)));
            if asked.len() == ASKED_A_SWEEP || at == LOOKED_AT_A_SWEEP {
                self.sitings.asked = match space {
                    SpaceId::Mailbox(inbox) => Some(*inbox),
                    SpaceId::Registry(_) => None,
                };
                break;
            }
        }
        for (inbox, owner) in asked {
            // What is remembered of it may be what is to be checked.
            self.forget_hint(&owner);
            self.runnable
                .push_back((Job::FollowSites { inbox, owner }, Memo::new()));
        }
    }

    /// No registry moves the mailboxes of those who are no more: a retiring server does.
    pub(super) fn give_away_ownerless(&mut self, space: &SpaceId) -> Result<bool, Damaged> {
        let state = self.spaces.get(space);
        let owner = state.and_then(|state| state.row.owner.clone());
        let (SpaceId::Mailbox(inbox), Some(state), Some(owner)) = (space, state, owner) else {
            return Ok(false);
        };
        if !state.row.sites.contains(&self.config.server) || !self.is_ownerless(space) {
            return Ok(false);
        }
        let mut sites = state.row.sites.clone();
        sites.retain(|site| *site != self.config.server);
        let more = self.other_sites(&owner, &sites);
        let lacking = INBOX_COPIES.saturating_sub(sites.len());
        sites.extend(more.into_iter().take(lacking));
        if !sites.is_empty() {
            self.move_mailbox(*inbox, &owner, &sites)?;
        }
        Ok(true)
    }

    /// Whether a mailbox's owner is no more, so that no registry moves it any longer.
    fn is_ownerless(&self, space: &SpaceId) -> bool {
        let SpaceId::Mailbox(inbox) = space else {
            return false;
        };
        let Some(owner) = self.spaces.get(space).and_then(|s| s.row.owner.as_ref()) else {
            return true;
        };
        match self.database(owner.registry()) {
            Some(database) => database.entry(*inbox).is_none(),
            None => self.sitings.ownerless.contains(inbox),
        }
    }

    /// Follows one mailbox's sites by asking.
    pub(crate) fn follow_sites_of(
        &mut self,
        memo: &Memo,
        inbox: Incarnation,
        owner: &Name,
    ) -> Result<(), Stop> {
        let living = match self.resolve(memo, owner)? {
            Resolution::Individual {
                name,
                incarnation,
                sites,
                quota,
                ..
            } if incarnation == inbox => Some((name, sites, quota)),
            Resolution::Individual { .. } | Resolution::Group { .. } | Resolution::NoSuch => None,
        };
        let Some((name, sites, quota)) = living else {
            self.sitings.ownerless.insert(inbox);
            return Ok(());
        };
        self.sitings.ownerless.remove(&inbox);
        let space = Self::mailbox_space(inbox);
        if let Some(state) = self.spaces.get_mut(&space)
            && state.row.quota != quota
        {
            state.row.quota = quota;
            self.save_space(&space);
        }
        let known = self
            .spaces
            .get(&Self::mailbox_space(inbox))
            .map(|s| s.row.sites != sites || s.row.owner.as_ref() != Some(&name));
        if !sites.is_empty() && known == Some(true) {
            self.move_mailbox(inbox, &name, &sites)?;
        }
        Ok(())
    }

    /// Whether a space was only to be fetched, and nothing of it has come: not even where its sites are.
    fn is_bare(&self, space: &SpaceId) -> Result<bool, Damaged> {
        let fetched = self.spaces.get(space).is_none_or(|state| state.row.ready);
        let prefix = codec::space_prefix(space);
        let until = codec::after_prefix(&prefix);
        let first = || self.ledger.scan(Table::Cells, &prefix, &until, 1);
        Ok(!fetched && first()?.is_empty())
    }

    /// A space that this server has and no longer belongs to: dropped when two of its servers (or all there are) have
    /// everything, and have said so since it is leaving. What they had before that they may have handed over themselves.
    /// Gives whether it is still to be offered to them.
    pub(super) fn hand_over(&mut self, space: &SpaceId) -> Result<bool, Damaged> {
        if matches!(space, SpaceId::Registry(r) if !self.holdings.contains_key(r)) {
            self.drop_space(space)?;
            return Ok(false);
        }
        if self.is_bare(space)? {
            self.drop_space(space)?;
            return Ok(false);
        }
        // Also what was on its way back to this server: it has written nothing in it, so its sites have it all. What is
        // said of its sites may be old: they bring it again, if this server is one of them after all.
        if let Some(state) = self.spaces.get_mut(space)
            && !std::mem::replace(&mut state.leaving, true)
        {
            state.have.clear();
        }
        let partners = self.partners(space);
        let Some(state) = self.spaces.get(space) else {
            return Ok(false);
        };
        let has = |p: &&ServerName| state.have.get(p).map(|h| h.covers_all(&state.row.vector));
        let whole = partners.iter().filter(|p| has(p) == Some(true)).count();
        let enough = whole > 0 && whole >= partners.len().min(2);
        if !enough && !self.mistakes.dropped_early {
            return Ok(true);
        }
        self.drop_space(space)?;
        self.note_info(format!("{space} is handed over"), None);
        Ok(false)
    }
}
