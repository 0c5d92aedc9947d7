//! Connect sites of individuals: set by the individual or a registrar, leased, and cleared away.
//!
//! A lease ends by the lease clock (the fastest clock among the servers in contact, within a
//! minute), so all readers in contact see it end together. A renewal overwrites one cell. An expired
//! site is found by nobody; its cell is removed later, under a stamp that any renewal exceeds.

use grapevine_model::{
    ErrorKind, Field, Hlc, Incarnation, Place, Refusal, RegistryName, ServerName, SiteDoor,
    SiteNote, SiteOffer, SpaceId, Stamp,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::registry::database::{Entry, element};
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Most connect sites of one individual, over all doors: an instance is one process.
const MAX_CONNECT_SITES: usize = 32;
/// Shorter leases would be renewed more often than servers beat.
const SHORTEST_LEASE_MS: u64 = 1_000;
/// Longer ones are as good as none: what is to stay that long needs no lease.
const LONGEST_LEASE_MS: u64 = 7 * 24 * 3_600_000;
/// A clock of another server that is farther ahead than this is not followed: it is wrong.
pub(crate) const MOST_AHEAD_MS: u64 = 60_000;
/// An expired site's cell is kept for so long: a service that comes back overwrites it.
const EXPIRED_KEPT_MS: u64 = 10 * 60_000;
/// Expired cells removed at one time: bounds a commit after a long silence.
const MOST_REMOVED: usize = 500;

/// The value of a `ConnectSite` cell; a server's own doors have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SiteValue {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    /// When the lease ends, by the lease clock.
    pub(crate) until_ms: Option<u64>,
    pub(crate) note: String,
}

/// A connect site as its cell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) door: SiteDoor,
    pub(crate) offer: SiteOffer,
    pub(crate) until_ms: Option<u64>,
}

impl Site {
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| until_ms > now_ms)
    }
}

/// When a stored site's lease ends.
pub(crate) fn leased_until(value: &[u8]) -> Option<u64> {
    codec::decode::<SiteValue>(value).ok()?.until_ms
}

/// The connect sites of an entry, in order of their cells. One that can't be read is none.
pub(crate) fn sites_of<'a>(entry: &Entry<'a>) -> impl Iterator<Item = Site> + use<'a> {
    entry
        .list(Field::ConnectSite, None)
        .filter_map(|(element, value)| {
            let (door, place) = std::str::from_utf8(element).ok()?.split_once(' ')?;
            let plain = SiteValue {
                priority: 0,
                weight: 0,
                until_ms: None,
                note: String::new(),
            };
            let value = if value.is_empty() {
                plain
            } else {
                codec::decode(value).ok()?
            };
            Some(Site {
                door: door.parse().ok()?,
                offer: SiteOffer {
                    place: place.parse().ok()?,
                    priority: value.priority,
                    weight: value.weight,
                    note: value.note.parse::<SiteNote>().unwrap_or_default(),
                },
                until_ms: value.until_ms,
            })
        })
}

fn site_element(door: &SiteDoor, place: &Place) -> String {
    format!("{door} {place}")
}

impl Server {
    /// The clock that leases are measured with: this machine's, or that of the fastest server in
    /// contact, so that all of them agree whether a lease has ended.
    pub(crate) fn fastest_clock_ms(&self) -> u64 {
        let ahead = self
            .peers
            .iter()
            .filter(|(server, _)| self.is_up(server))
            .map(|(_, peer)| peer.ahead_ms)
            .max();
        self.now.wall_ms.saturating_add(ahead.unwrap_or(0))
    }

    /// Changes that give an individual these places at a door, instead of those it has there.
    pub(crate) fn connect_changes(
        &self,
        entry: &Entry<'_>,
        door: &SiteDoor,
        sites: &[SiteOffer],
        lease_ms: Option<u64>,
    ) -> Result<Vec<Change>, Refusal> {
        if lease_ms.is_some_and(|ms| !(SHORTEST_LEASE_MS..=LONGEST_LEASE_MS).contains(&ms)) {
            return Err(Refusal::invalid("a lease lasts from one second to a week"));
        }
        let now_ms = self.fastest_clock_ms();
        let is_given = |site: &Site| sites.iter().any(|s| s.place == site.offer.place);
        let (here, others): (Vec<Site>, Vec<Site>) =
            sites_of(entry).partition(|site| site.door == *door);
        let living = others.iter().filter(|site| site.is_live(now_ms)).count();
        if living + sites.len() > MAX_CONNECT_SITES {
            return Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("at most {MAX_CONNECT_SITES} connect sites of one individual"),
            ));
        }
        let until_ms = lease_ms.map(|ms| now_ms.saturating_add(ms));
        let key = |place: &Place| {
            element(
                entry.incarnation,
                Field::ConnectSite,
                site_element(door, place),
            )
        };
        let mut changes = Vec::with_capacity(sites.len());
        for site in sites {
            let value = codec::encode(&SiteValue {
                priority: site.priority,
                weight: site.weight,
                until_ms,
                note: site.note.to_string(),
            });
            let present = entry
                .list(Field::ConnectSite, None)
                .any(|(e, v)| e == site_element(door, &site.place).as_bytes() && v == value);
            if !present {
                changes.push(Change::put(key(&site.place), value));
            }
        }
        let gone = here.iter().filter(|site| !is_given(site));
        changes.extend(gone.map(|site| Change::delete(key(&site.offer.place))));
        Ok(changes)
    }

    /// Removes the cells of sites whose lease has long ended; one holder does it for all.
    pub(crate) fn remove_expired_sites(&mut self) -> Result<(), Damaged> {
        let before_ms = self.fastest_clock_ms().saturating_sub(EXPIRED_KEPT_MS);
        let registries: Vec<RegistryName> = self.databases.keys().cloned().collect();
        for registry in registries {
            let first_up: Option<ServerName> = self
                .holders(&registry)
                .into_iter()
                .find(|s| *s == self.config.server || self.is_up(s));
            if first_up.as_ref() != Some(&self.config.server) {
                continue;
            }
            let Some(database) = self.database(&registry) else {
                continue;
            };
            let origin = self.clock.origin();
            let changes: Vec<Change> = database
                .expired(before_ms)
                .take(MOST_REMOVED)
                .filter_map(|key| {
                    // Just above the cell that has expired: whoever renewed it elsewhere, unseen
                    // from here, did so later and keeps it.
                    let time: Hlc = database.cell(key)?.stamp.time.next();
                    let mut change = Change::delete(key.clone());
                    change.stamp = Some(Stamp { time, origin });
                    Some(change)
                })
                .collect();
            if !changes.is_empty() {
                self.write(&SpaceId::Registry(registry), changes)?;
            }
        }
        Ok(())
    }

    /// The live sites of an individual held here. A server's doors live as long as it is heard.
    pub(crate) fn live_sites(&self, entry: &Entry<'_>) -> Vec<Site> {
        let now_ms = self.fastest_clock_ms();
        let server = entry
            .name()
            .and_then(|name| ServerName::of(&name))
            .is_some_and(|server| server != self.config.server && !self.is_up(&server));
        if server {
            return Vec::new();
        }
        sites_of(entry)
            .filter(|site| site.is_live(now_ms) || self.planted_lease_ignored)
            .collect()
    }

    /// The same, as an entry's view shows them.
    pub(crate) fn shown_sites(&self, entry: &Entry<'_>) -> Vec<String> {
        self.live_sites(entry)
            .into_iter()
            .map(|site| format!("{} {}", site.door, site.offer.place))
            .collect()
    }

    /// Whether an entry is meant by who recorded this incarnation of it.
    pub(crate) fn is_meant(entry: &Entry<'_>, meant: Option<Incarnation>) -> bool {
        meant.is_none_or(|meant| meant == entry.incarnation)
    }
}
