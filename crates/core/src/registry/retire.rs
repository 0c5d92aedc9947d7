//! A server is retired: others take what it holds, and it takes its leave.
//!
//! Guards P10: the registries and mailboxes of a server that goes, or is gone,
//! get other servers before it is forgotten; a living one leaves only when it has
//! handed everything over.

use std::collections::VecDeque;

use grapevine_model::{
    EntryKind, Field, Incarnation, Name, Refusal, RegistryName, ServerName, ServerRole, SpaceId,
};

use crate::codec;
use crate::registry::database::{Entry, element, single};
use crate::registry::servers::{LEAST_HOLDERS, META_RETIRED, gv, holder, no_holder};
use crate::replication::push::Change;
use crate::server::{Server, Timer};
use crate::tables::{Damaged, Table};

/// Entries looked at in one step: some milliseconds.
const LOOKED_AT_A_STEP: usize = 4_096;
/// Individuals that get other inbox sites in one step: each of them moves a mailbox.
const MOVED_A_STEP: usize = 100;
/// From one step to the next: what comes of one is under way before the next.
const STEP_MS: u64 = 20;

/// How far the present walk over the registries has come.
#[derive(Debug, Default)]
pub(crate) struct Mending {
    /// Those that are still to be walked; the first one goes on after this name.
    registries: VecDeque<RegistryName>,
    after: Option<String>,
}

impl Server {
    /// Does this server's part after servers came, went or changed roles: some entries a step, and others' work in between.
    pub(crate) fn mend(&mut self) -> Result<(), Damaged> {
        self.mending = Mending {
            registries: self.databases.keys().cloned().collect(),
            after: None,
        };
        self.mend_on()
    }

    /// A step of that.
    pub(crate) fn mend_on(&mut self) -> Result<(), Damaged> {
        let (mut looked_at, mut moved) = (0, 0);
        while let Some(registry) = self.mending.registries.front().cloned() {
            let enough = looked_at >= LOOKED_AT_A_STEP || moved >= MOVED_A_STEP;
            if enough && !self.planted_one_queue {
                self.timer(STEP_MS, Timer::Mend);
                break;
            }
            let first_up = self
                .holders(&registry)
                .into_iter()
                .find(|s| self.is_full(s) && (self.is_up(s) || *s == self.config.server));
            let mine = first_up.as_ref() == Some(&self.config.server) && !registry.is_system();
            let after = self.mending.after.take();
            let database = self.database(&registry).filter(|_| mine);
            let Some(database) = database else {
                self.mending.registries.pop_front();
                continue;
            };
            let (mut wanting, mut last) = (Vec::new(), None);
            let mut entries = database.entries_from(after.as_deref()).peekable();
            while let Some(entry) = entries.next() {
                looked_at += 1;
                let sites = match entry.kind() {
                    EntryKind::Individual => entry.sites(),
                    EntryKind::Group => Vec::new(),
                };
                let lacks = sites.len() < LEAST_HOLDERS && !sites.is_empty();
                if (lacks || sites.iter().any(|s| !self.is_full(s)))
                    && let Some(name) = entry.name()
                {
                    wanting.push((entry.incarnation, name, sites));
                }
                let enough = looked_at >= LOOKED_AT_A_STEP || wanting.len() >= MOVED_A_STEP;
                // Between two names: several may claim one.
                let next = entries.peek().map(Entry::folded);
                if enough && next.is_some_and(|next| next != entry.folded()) {
                    last = Some(entry.folded().to_owned());
                    break;
                }
            }
            drop(entries);
            moved += wanting.len();
            let changes = self.better_sites(wanting);
            match last {
                Some(last) => self.mending.after = Some(last),
                None => {
                    self.mending.registries.pop_front();
                }
            }
            if !changes.is_empty() {
                let space = SpaceId::Registry(registry);
                self.write(&space, changes)?;
                self.space_changed(&space);
            }
        }
        Ok(())
    }

    /// What gives these individuals inbox sites that take mail, as many as there should be.
    fn better_sites(&self, wanting: Vec<(Incarnation, Name, Vec<ServerName>)>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (incarnation, name, sites) in wanting {
            let mut better: Vec<ServerName> =
                sites.iter().filter(|s| self.is_full(s)).cloned().collect();
            let more: Vec<ServerName> = self.other_sites(&name, &better);
            better.extend(
                more.into_iter()
                    .take(LEAST_HOLDERS.saturating_sub(better.len())),
            );
            if better.is_empty() || better == sites {
                continue;
            }
            for (order, site) in better.iter().enumerate() {
                let order = u32::try_from(order).unwrap_or(u32::MAX);
                changes.push(Change::put(
                    element(incarnation, Field::InboxSite, site.as_str()),
                    codec::encode(&order),
                ));
            }
            for gone in sites.iter().filter(|s| !better.contains(s)) {
                changes.push(Change::delete(element(
                    incarnation,
                    Field::InboxSite,
                    gone.as_str(),
                )));
            }
        }
        changes
    }

    pub(crate) fn other_sites(&self, name: &Name, have: &[ServerName]) -> Vec<ServerName> {
        let mut others: Vec<ServerName> = self
            .servers
            .keys()
            .filter(|s| self.is_full(s) && !have.contains(s))
            .cloned()
            .collect();
        if !others.is_empty() {
            let hash = blake3::hash(name.key().as_bytes());
            let turn = usize::from(hash.as_bytes().first().copied().unwrap_or(0)) % others.len();
            others.rotate_left(turn);
        }
        others
    }

    pub(super) fn prepare_retire(&self, server: &ServerName) -> Result<Vec<Change>, Refusal> {
        let incarnation = self.server_incarnation(server)?;
        let others: Vec<&ServerName> = self
            .servers
            .keys()
            .filter(|s| *s != server && self.is_full(s))
            .collect();
        if others.is_empty() {
            return Err(Refusal::conflict(format!(
                "{server} is the only server: let another one in first"
            )));
        }
        let mut changes = vec![Change::put(
            single(incarnation, Field::Retiring),
            Vec::new(),
        )];
        let gone = *server != self.config.server && !self.is_up(server);
        for (registry, holders) in &self.holdings {
            if !holders.contains(server) || (registry.is_system() && !gone) {
                continue;
            }
            let group = self.group_of(registry)?.incarnation;
            let remain: Vec<&ServerName> = holders
                .iter()
                .filter(|s| *s != server && self.is_full(s))
                .collect();
            for new in others
                .iter()
                .filter(|s| !remain.contains(*s))
                .take(LEAST_HOLDERS.saturating_sub(remain.len()))
            {
                changes.push(holder(group, new, Some(self.server_incarnation(new)?)));
            }
            changes.extend(no_holder(group, server));
        }
        if gone {
            // Its disk is lost or it never comes back: nothing can be fetched from it.
            changes.push(Change::delete(single(incarnation, Field::Identity)));
        }
        Ok(changes)
    }

    /// `gv` and `ms` are at every server. A removal that somebody wrote who was cut off when the server's successor joined
    /// under the same name is the later word of the two, and means the one that is gone: the successor is named again.
    pub(crate) fn name_all_holders(&mut self) -> Result<(), Damaged> {
        let me = &self.config.server;
        let holders = self.holders(&RegistryName::gv());
        let first_up = (holders.iter()).find(|s| self.is_full(s) && (self.is_up(s) || *s == me));
        if first_up != Some(me) || self.retired {
            return Ok(());
        }
        let mut changes = Vec::new();
        for registry in [RegistryName::gv(), RegistryName::ms()] {
            let Ok(group) = self.group_of(&registry) else {
                continue;
            };
            let holders = self.holders(&registry);
            let unnamed = self.servers.keys().filter(|s| !holders.contains(s));
            for server in unnamed.filter(|s| self.is_full(s)) {
                let incarnation = self.server_incarnation(server).ok();
                changes.push(holder(group.incarnation, server, incarnation));
            }
        }
        if !changes.is_empty() {
            self.write(&gv(), changes)?;
            self.gv_changed = true;
        }
        Ok(())
    }

    /// A retiring server that has handed everything over takes its leave.
    pub(crate) fn leave_when_empty(&mut self) -> Result<(), Damaged> {
        let holds = self
            .spaces
            .keys()
            .any(|s| !matches!(s, SpaceId::Registry(r) if r.is_system()));
        if self.retired
            || self.role() != ServerRole::Retiring
            || holds
            || !self.custodies.is_empty()
            || !self.deputies.is_empty()
        {
            return Ok(());
        }
        let me = self.config.server.clone();
        let Some(incarnation) = me
            .name()
            .and_then(|name| self.entry(&name))
            .map(|e| e.incarnation)
        else {
            return Ok(());
        };
        let mut changes = vec![Change::delete(single(incarnation, Field::Identity))];
        for registry in [RegistryName::gv(), RegistryName::ms()] {
            if let Ok(group) = self.group_of(&registry) {
                changes.extend(no_holder(group.incarnation, &me));
            }
        }
        self.write(&gv(), changes)?;
        self.retired = true;
        self.ledger
            .put(Table::Meta, META_RETIRED.to_vec(), Vec::new());
        self.note_info(
            "retired: everything is handed over, and this server may be switched off".into(),
            None,
        );
        Ok(())
    }
}
