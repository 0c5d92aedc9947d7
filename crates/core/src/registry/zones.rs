//! The registries held here as DNS shows them: snapshots for the DNS door, which asks nobody.
//!
//! Made anew soon after something in them changed, and now and then without. Guards that only
//! those appear who publish connect sites, and that a copy which isn't whole, or has been cut off
//! from all others for long, says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grapevine_model::{
    Door, EntryKind, Field, GroupList, Incarnation, Name, RegistryName, ServerName, SpaceId, Zone,
    ZoneName, ZoneSite,
};

use crate::effect::Effect;
use crate::registry::connect::sites_of;
use crate::registry::database::{Database, Entry};
use crate::registry::directory::Held;
use crate::server::{Server, Timer};

/// Snapshots are at least so far apart: a resolver that asks again within this sees the change.
const LEAST_PAUSE_MS: u64 = 100;
/// For so many publishing individuals the pause grows by a millisecond: making snapshots stays a
/// small part of the core's time.
const SITED_PER_MS: u64 = 50;
/// A holder that has heard no other one for so long answers no more (the order of SOA EXPIRE);
/// leased sites have long expired by then.
const MOST_ALONE_MS: u64 = 24 * 3_600_000;
/// Nested groups that are followed for one name.
const MOST_NESTED: usize = 1_000;

/// Snapshots under way.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    /// A snapshot is due, its timer runs.
    waiting: bool,
    /// Registries that the shell has snapshots of.
    shown: BTreeSet<RegistryName>,
    /// How many snapshots were made.
    made: u32,
}

/// What is published under one name, before groups are resolved.
type Published = BTreeMap<(RegistryName, Incarnation), Arc<Vec<Arc<ZoneSite>>>>;

impl Server {
    fn has_dns(&self) -> bool {
        self.config.info.doors.contains_key(&Door::Dns)
    }

    /// A field of a registry has changed: if DNS shows it, a snapshot follows.
    pub(crate) fn zone_field_changed(&mut self, field: u16) {
        let shown = [
            Field::Identity,
            Field::Remark,
            Field::Alias,
            Field::ConnectSite,
            Field::Member,
        ];
        if shown.iter().any(|shown| shown.number() == field) {
            self.zones_are_due();
        }
    }

    /// A snapshot is to be made soon.
    pub(crate) fn zones_are_due(&mut self) {
        if self.has_dns() && !self.zones.waiting {
            self.zones.waiting = true;
            let sited: usize = self.databases.values().map(Database::sited_count).sum();
            let pause = LEAST_PAUSE_MS.saturating_add(sited as u64 / SITED_PER_MS);
            self.timer(pause, Timer::Zones);
        }
    }

    /// Makes the snapshots and hands them to the shell.
    pub(crate) fn show_zones(&mut self) {
        self.zones.waiting = false;
        self.zones.made = self.zones.made.wrapping_add(1);
        let mine: BTreeSet<RegistryName> = if self.retired {
            BTreeSet::new()
        } else {
            self.holdings
                .iter()
                .filter(|(_, holders)| holders.contains(&self.config.server))
                .map(|(registry, _)| registry.clone())
                .collect()
        };
        let published = self.published();
        for registry in &mine {
            let zone = self.zone(registry, &published);
            self.ledger.emit(Effect::Zone(Box::new(zone)));
        }
        let gone: Vec<RegistryName> = self.zones.shown.difference(&mine).cloned().collect();
        for registry in gone {
            self.ledger.emit(Effect::ZoneGone(registry));
        }
        self.zones.shown = mine;
    }

    /// All individuals held here that publish something.
    fn published(&self) -> Published {
        let mut published = Published::new();
        for (registry, database) in &self.databases {
            if self.held(registry) != Held::Here {
                continue;
            }
            for entry in database.sited().filter(|e| database.has_its_name(e)) {
                let sites = self.zone_sites(&entry);
                if !sites.is_empty() {
                    published.insert((registry.clone(), entry.incarnation), Arc::new(sites));
                }
            }
        }
        published
    }

    fn zone_sites(&self, entry: &Entry<'_>) -> Vec<Arc<ZoneSite>> {
        let Some(name) = entry.name() else {
            return Vec::new();
        };
        let silent = ServerName::of(&name)
            .is_some_and(|server| server != self.config.server && !self.is_up(&server));
        if silent || entry.kind() != EntryKind::Individual {
            return Vec::new();
        }
        let now_ms = self.fastest_clock_ms();
        sites_of(entry)
            .filter(|site| site.is_live(now_ms))
            .map(|site| {
                Arc::new(ZoneSite {
                    name: name.clone(),
                    door: site.door,
                    place: site.offer.place,
                    priority: site.offer.priority,
                    weight: site.offer.weight,
                    until_ms: site.until_ms,
                })
            })
            .collect()
    }

    fn zone(&self, registry: &RegistryName, published: &Published) -> Zone {
        let mut zone = Zone {
            registry: registry.clone(),
            sound: false,
            names: BTreeMap::new(),
            servers: self.name_servers(registry),
            serial: u32::try_from((self.now.wall_ms / 1_000) & u64::from(u32::MAX)).unwrap_or(0),
            made_ms: self.fastest_clock_ms(),
        };
        let Some(database) = self.database(registry) else {
            return zone;
        };
        zone.sound = self.in_touch(registry) && self.may_read(registry).is_ok();
        for entry in database.sited().filter(|e| database.has_its_name(e)) {
            let Some(sites) = published.get(&(registry.clone(), entry.incarnation)) else {
                continue;
            };
            let name = Arc::new(ZoneName {
                remark: entry
                    .single(Field::Remark)
                    .map(|remark| String::from_utf8_lossy(remark).into_owned())
                    .unwrap_or_default(),
                sites: sites.to_vec(),
                partial: false,
            });
            let aliases = entry.aliases();
            for alias in aliases.iter().map(Name::folded) {
                zone.names.insert(alias.to_owned(), Arc::clone(&name));
            }
            zone.names.insert(entry.folded().to_owned(), name);
        }
        for group in database.groups().filter(|e| database.has_its_name(e)) {
            let (sites, partial) = self.pool(&group, published);
            if !sites.is_empty() || partial {
                let name = ZoneName {
                    remark: String::new(),
                    sites,
                    partial,
                };
                zone.names.insert(group.folded().to_owned(), Arc::new(name));
            }
        }
        zone
    }

    /// The published sites of a group's members, and whether some are of registries elsewhere.
    fn pool(&self, group: &Entry<'_>, published: &Published) -> (Vec<Arc<ZoneSite>>, bool) {
        let mut sites = Vec::new();
        let mut partial = false;
        let mut visited = BTreeSet::new();
        let mut frontier = vec![group.clone()];
        while let Some(group) = frontier.pop() {
            if !visited.insert(group.incarnation) || visited.len() > MOST_NESTED {
                continue;
            }
            // Whichever is less: its members, or those who publish at all.
            let few = group
                .members(GroupList::Members, None)
                .take(published.len() + 1)
                .count()
                <= published.len();
            if few {
                for (member, listed) in group.members(GroupList::Members, None) {
                    let (grapevine_model::Member::Name(name), Some(meant)) =
                        (member, listed.incarnation)
                    else {
                        continue;
                    };
                    match published.get(&(name.registry().clone(), meant)) {
                        Some(its) => sites.extend(its.iter().cloned()),
                        None => partial |= self.held(name.registry()) == Held::Elsewhere,
                    }
                }
            } else {
                for ((_, incarnation), its) in published {
                    let listed = its
                        .first()
                        .and_then(|site| group.listed(GroupList::Members, &site.name.key()));
                    if listed.is_some_and(|listed| listed.incarnation == Some(*incarnation)) {
                        sites.extend(its.iter().cloned());
                    }
                }
            }
            for nested in group.nested(GroupList::Members) {
                let Ok(nested) = nested.parse::<Name>() else {
                    continue;
                };
                let meant = group
                    .listed(GroupList::Members, &nested.key())
                    .and_then(|listed| listed.incarnation);
                let nested = self.entry(&nested).filter(|e| Self::is_meant(e, meant));
                frontier.extend(nested.filter(|e| e.kind() == EntryKind::Group));
            }
        }
        (sites, partial)
    }

    /// Whether another holder was heard lately, or there is none.
    fn in_touch(&self, registry: &RegistryName) -> bool {
        let partners = self.partners(&SpaceId::Registry(registry.clone()));
        partners.is_empty()
            || partners.iter().any(|partner| {
                self.peers.get(partner).is_some_and(|peer| {
                    peer.silent_ms(self.now.mono_ms, self.started_ms) < MOST_ALONE_MS
                })
            })
    }

    /// Holders with a DNS door.
    fn name_servers(&self, registry: &RegistryName) -> Vec<(ServerName, grapevine_model::Place)> {
        self.holders(registry)
            .into_iter()
            .filter_map(|server| {
                let place = self.servers.get(&server)?.doors.get(&Door::Dns)?;
                Some((server, place.parse().ok()?))
            })
            .collect()
    }
}
