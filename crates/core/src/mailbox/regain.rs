//! A mailbox that comes back to a site which it had left.
//!
//! Guards P4: a vector says that this server has all that it ever wrote, up to a time. What it wrote
//! before it dropped the mailbox it has not. So where a server wrote in a mailbox that it drops, it
//! remembers until when; and when it is a site again it fetches the mailbox before it writes in it,
//! from somebody who has all that. Meanwhile the other sites take what comes. When every other server
//! has said that it has no more, what is missing is lost, and it goes on without.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use grapevine_model::{Hlc, Incarnation, Name, ServerName, SpaceId, VersionVector};

use crate::codec;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// `Meta` key prefix of the mailboxes that this server wrote in, and left: until when it wrote.
const META_LEFT: &[u8] = b"left/";

/// Why nothing is put into a mailbox for now.
pub(crate) const REGAINING: &str =
    "the mailbox is coming back to this server, and is fetched first";

fn left_key(space: &SpaceId) -> Vec<u8> {
    [META_LEFT, &codec::space_prefix(space)].concat()
}

impl Server {
    /// A mailbox is about to be dropped.
    pub(crate) fn remember_left(&mut self, space: &SpaceId) -> Result<(), Damaged> {
        let own = self.clock.origin();
        let state = self.spaces.get(space);
        let last = state.map_or(Hlc(0), |state| state.row.vector.get(own));
        // Dropped before it was regained: what was written before counts on.
        let last = last.max(self.left_at(space)?.unwrap_or(Hlc(0)));
        if last > Hlc(0) && matches!(space, SpaceId::Mailbox(_)) {
            self.ledger
                .put(Table::Meta, left_key(space), codec::encode(&last));
        }
        if let SpaceId::Mailbox(inbox) = space {
            self.sitings.regaining.remove(inbox);
        }
        Ok(())
    }

    fn left_at(&self, space: &SpaceId) -> Result<Option<Hlc>, Damaged> {
        if !matches!(space, SpaceId::Mailbox(_)) {
            return Ok(None);
        }
        let row = self.ledger.get(Table::Meta, &left_key(space))?;
        row.map(|bytes| codec::decode(&bytes)).transpose()
    }

    /// Whether this server is to fetch a mailbox, because it was here before.
    pub(crate) fn is_regaining(&self, space: &SpaceId) -> Result<bool, Damaged> {
        let ready = self.spaces.get(space).is_some_and(|s| s.row.ready);
        Ok(!ready && self.left_at(space)?.is_some())
    }

    /// Until when a session must bring what this server wrote itself, before it is enough.
    pub(crate) fn own_needed(&self, space: &SpaceId) -> Result<Hlc, Damaged> {
        Ok(match self.is_regaining(space)? {
            true => self.left_at(space)?.unwrap_or(Hlc(0)),
            false => Hlc(0),
        })
    }

    /// All of it is here again.
    pub(crate) fn regained(&mut self, space: &SpaceId) -> Result<(), Damaged> {
        if let SpaceId::Mailbox(inbox) = space {
            self.sitings.regaining.remove(inbox);
        }
        if self.left_at(space)?.is_some() {
            self.ledger.delete(Table::Meta, left_key(space));
        }
        Ok(())
    }

    /// A server has given all that it has of a mailbox, and it was not enough.
    pub(crate) fn has_no_more(
        &mut self,
        space: &SpaceId,
        from: &ServerName,
    ) -> Result<(), Damaged> {
        let SpaceId::Mailbox(inbox) = space else {
            return Ok(());
        };
        if !self.is_regaining(space)? {
            return Ok(());
        }
        let asked = self.sitings.regaining.entry(*inbox).or_default();
        asked.insert(from.clone());
        let me = &self.config.server;
        let all = (self.servers.keys()).all(|server| server == me || asked.contains(server));
        if all {
            if let Some(state) = self.spaces.get_mut(space) {
                state.row.ready = true;
            }
            self.save_space(space);
            self.regained(space)?;
            self.note_info(format!("{space}: nobody has more of it"), None);
            // Its sites may have stood in what is lost; by them the others let it in.
            let row = self.spaces.get(space).map(|state| &state.row);
            let place = row.and_then(|row| Some((row.owner.clone()?, row.sites.clone())));
            if let Some((owner, sites)) = place.filter(|(_, sites)| !sites.is_empty()) {
                self.set_sites(*inbox, &owner, &sites)?;
            }
        }
        Ok(())
    }

    /// A server says what it has of a mailbox. If that is more of what this server wrote than is here, its word that it had no
    /// more is outdated: it was a new site itself, and has fetched the mailbox since.
    pub(crate) fn has_more(&mut self, space: &SpaceId, from: &ServerName, theirs: &VersionVector) {
        let own = self.clock.origin();
        let here = self
            .spaces
            .get(space)
            .map(|state| state.row.vector.get(own));
        if let SpaceId::Mailbox(inbox) = space
            && let Some(asked) = self.sitings.regaining.get_mut(inbox)
            && here.is_some_and(|here| theirs.get(own) > here)
        {
            asked.remove(from);
        }
    }

    /// Asks for mailboxes that come back, of those who have not answered.
    pub(crate) fn regain_on(&mut self) {
        let mut offers: Vec<(ServerName, SpaceId)> = Vec::new();
        for (inbox, asked) in &self.sitings.regaining {
            let others = self.servers.keys().filter(|s| !asked.contains(*s));
            let up = others.filter(|server| self.is_up(server)).cloned();
            offers.extend(up.map(|server| (server, Self::mailbox_space(*inbox))));
        }
        for (server, space) in offers {
            self.offer(&server, &space);
        }
    }

    /// Whether a mailbox has to be fetched before anything is put into it; then that begins.
    pub(crate) fn must_regain(
        &mut self,
        inbox: Incarnation,
        owner: &Name,
        sites: &[ServerName],
    ) -> Result<bool, Damaged> {
        let space = Self::mailbox_space(inbox);
        if !self.is_regaining(&space)? {
            return Ok(false);
        }
        if !self.spaces.contains_key(&space) {
            self.open_space(&space, false);
            if let Some(state) = self.spaces.get_mut(&space) {
                state.row.sites = sites.to_vec();
                state.row.owner = Some(owner.clone());
            }
            self.save_space(&space);
        }
        if let Entry::Vacant(vacant) = self.sitings.regaining.entry(inbox) {
            vacant.insert(BTreeSet::new());
            self.regain_on();
        }
        Ok(true)
    }
}
