//! A registry as DNS shows it: the names that publish connect sites, and nothing else.
//!
//! A snapshot, made by the core and read by the DNS door without asking it. Whoever publishes no
//! connect site does not appear, so that a list of people can't be read off by guessing names.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connect::{Place, SiteDoor};
use crate::id::ServerName;
use crate::name::{Name, RegistryName};

/// One registry's published names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Which registry.
    pub registry: RegistryName,
    /// Whether what is here may be answered from: it is complete, and not cut off for too long.
    pub sound: bool,
    /// The names, by their folded simple part; aliases too.
    pub names: BTreeMap<String, Arc<ZoneName>>,
    /// The servers that answer for it by DNS, and where.
    pub servers: Vec<(ServerName, Place)>,
    /// Rises with each change; what a zone's SOA shows.
    pub serial: u32,
    /// When it was made, by the clock that leases are measured with.
    pub made_ms: u64,
}

/// A published name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneName {
    /// Free text of the individual; of a group none is shown.
    pub remark: String,
    /// Its sites, or its members'.
    pub sites: Vec<Arc<ZoneSite>>,
    /// Whether members of registries that are not held here may have more.
    pub partial: bool,
}

/// A published connect site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSite {
    /// Whose it is.
    pub name: Name,
    /// Which protocol.
    pub door: SiteDoor,
    /// Where.
    pub place: Place,
    /// As RFC 2782 has it.
    pub priority: u16,
    /// As RFC 2782 has it.
    pub weight: u16,
    /// When its lease ends, by the clock that leases are measured with; none without a lease.
    pub until_ms: Option<u64>,
}
