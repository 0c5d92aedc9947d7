//! A registry's snapshot made ready to be asked: names to nodes, nodes to records.
//!
//! Only what publishes connect sites is here. What can't be written as a host's name in DNS
//! (`csl^`, UTF-8) is left out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use grapevine_model::{Host, Name, SiteDoor, Zone, ZoneName};

use super::record::{Soa, WireName};

/// Records of one kind at one name; the rest is left out (the registry's members are not).
pub(super) const MOST_RECORDS: usize = 500;

/// The registries that are answered for.
#[derive(Debug, Default)]
pub struct Zones {
    by_name: HashMap<String, Arc<ServedZone>>,
}

impl Zones {
    /// The same with a zone more, or another state of it.
    pub fn with(&self, zone: ServedZone) -> Self {
        let mut by_name = self.by_name.clone();
        by_name.insert(zone.name.clone(), Arc::new(zone));
        Self { by_name }
    }

    /// The same without a zone.
    pub fn without(&self, registry: &str) -> Self {
        let mut by_name = self.by_name.clone();
        by_name.remove(registry);
        Self { by_name }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<ServedZone>> {
        self.by_name.get(name)
    }
}

/// A registry as a zone.
#[derive(Debug)]
pub struct ServedZone {
    pub(super) name: String,
    pub(super) sound: bool,
    pub(super) serial: u32,
    pub(super) soa: Soa,
    pub(super) servers: Vec<NameServer>,
    nodes: HashMap<String, Arc<Node>>,
    /// Names between the zone and a node, which exist and have nothing (RFC 8020).
    between: HashSet<String>,
    /// When it was made, by the lease clock, and by the shell's.
    made_ms: u64,
    installed_ms: u64,
}

/// One who answers for a zone.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) target: WireName,
    /// Its address, where the target is a name of this zone's.
    pub(super) glue: Option<(String, IpAddr)>,
}

/// What is published under a name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) text: String,
    pub(super) sites: Vec<NodeSite>,
    pub(super) partial: bool,
}

/// A connect site.
#[derive(Debug)]
pub(super) struct NodeSite {
    pub(super) door: SiteDoor,
    /// Priority, weight, port.
    pub(super) numbers: [u16; 3],
    /// The machine's name, or its owner's where only an address is known.
    pub(super) target: Option<WireName>,
    pub(super) address: Option<IpAddr>,
    pub(super) until_ms: Option<u64>,
}

/// What a name in a zone is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The zone itself.
    Apex,
    /// A name server that only has an address.
    Glue(IpAddr),
    /// A published name.
    Name(&'a Arc<Node>),
    /// A service, `_protocol._tcp`, of a name.
    Service(&'a Arc<Node>, &'a str),
    /// It exists and has nothing.
    Between,
    /// There is no such name.
    Nothing,
}

impl ServedZone {
    /// Makes a snapshot ready. `installed_ms` is the shell's monotonic clock.
    pub fn new(zone: &Zone, installed_ms: u64) -> Self {
        let name = zone.registry.as_str().to_owned();
        let mut nodes = HashMap::new();
        let mut between = HashSet::new();
        // Groups share their members' nodes by the snapshot, aliases share one node.
        let mut made: HashMap<*const ZoneName, Arc<Node>> = HashMap::new();
        for (simple, published) in &zone.names {
            if !is_host(simple) {
                continue;
            }
            let node = made
                .entry(Arc::as_ptr(published))
                .or_insert_with(|| Arc::new(Node::new(published)));
            nodes.insert(simple.clone(), Arc::clone(node));
            note_between(&mut between, simple);
        }
        let mut servers = Vec::new();
        for (server, place) in &zone.servers {
            let (target, glue) = match &place.host {
                Host::Name(host) => (host.to_string(), None),
                Host::Address(address) => {
                    let gv = zone.registry.as_str() == "gv";
                    let inside = if gv {
                        server.to_string()
                    } else {
                        format!("{server}.gv")
                    };
                    (format!("{inside}.{name}"), Some((inside, *address)))
                }
            };
            if let Some(target) = WireName::new(&target) {
                if let Some((inside, _)) = &glue {
                    note_between(&mut between, inside);
                }
                servers.push(NameServer { target, glue });
            }
        }
        // A registry's name is a name in DNS by its own rules, so these can be written.
        let apex = WireName::new(&name);
        let mailbox = WireName::new(&format!("hostmaster.{name}")).or_else(|| apex.clone());
        let server = servers.first().map(|server| server.target.clone());
        Self {
            sound: zone.sound,
            soa: Soa {
                server: server.or(apex).unwrap_or_else(WireName::root),
                mailbox: mailbox.unwrap_or_else(WireName::root),
            },
            name,
            serial: zone.serial,
            servers,
            nodes,
            between,
            made_ms: zone.made_ms,
            installed_ms,
        }
    }

    /// The lease clock, as far as this snapshot knows it.
    pub(super) fn lease_now_ms(&self, now_ms: u64) -> u64 {
        self.made_ms
            .saturating_add(now_ms.saturating_sub(self.installed_ms))
    }

    /// How old the snapshot is.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.installed_ms)
    }

    /// What a name is, relative to the zone.
    pub(super) fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        if name.is_empty() {
            return Found::Apex;
        }
        if let Some(node) = self.nodes.get(name) {
            // `_imap._tcp` may be an entry's very name.
            return match name.split_once('.').filter(|_| name.starts_with('_')) {
                Some((service, _)) => Found::Service(node, service.trim_start_matches('_')),
                None => Found::Name(node),
            };
        }
        let glue = self.servers.iter().filter_map(|s| s.glue.as_ref());
        if let Some((_, address)) = glue.clone().find(|(inside, _)| inside == name) {
            return Found::Glue(*address);
        }
        let mut labels = name.splitn(3, '.');
        let (first, second) = (labels.next().unwrap_or(""), labels.next());
        let rest = labels.next();
        match (first.strip_prefix('_'), second, rest) {
            (Some(service), Some("_tcp"), rest) => {
                // Of a name, or the service that the zone has under its own name.
                let of = self.nodes.get(rest.unwrap_or(service));
                match of {
                    Some(node) if !service.is_empty() => Found::Service(node, service),
                    _ => self.nothing(name),
                }
            }
            (Some("tcp"), None, _) if !self.nodes.is_empty() => Found::Between,
            (Some("tcp"), Some(_), _) => match name.split_once('.') {
                Some((_, of)) if self.nodes.contains_key(of) => Found::Between,
                _ => self.nothing(name),
            },
            _ => self.nothing(name),
        }
    }

    fn nothing(&self, name: &str) -> Found<'_> {
        if self.between.contains(name) {
            Found::Between
        } else {
            Found::Nothing
        }
    }
}

impl Node {
    fn new(published: &ZoneName) -> Self {
        let sites = published.sites.iter().map(|site| {
            let (target, address) = match &site.place.host {
                Host::Name(host) => (WireName::new(host), None),
                Host::Address(address) => (dns_name(&site.name), Some(*address)),
            };
            NodeSite {
                door: site.door.clone(),
                numbers: [site.priority, site.weight, site.place.port.get()],
                target,
                address,
                until_ms: site.until_ms,
            }
        });
        Self {
            text: published.remark.clone(),
            sites: sites.take(MOST_RECORDS).collect(),
            partial: published.partial,
        }
    }
}

/// A name as DNS writes it, if it can.
fn dns_name(name: &Name) -> Option<WireName> {
    let simple = name.folded();
    is_host(simple)
        .then(|| WireName::new(&format!("{simple}.{}", name.registry())))
        .flatten()
}

fn is_host(simple: &str) -> bool {
    simple.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    })
}

fn note_between(between: &mut HashSet<String>, name: &str) {
    let mut rest = name;
    while let Some((_, above)) = rest.split_once('.') {
        between.insert(above.to_owned());
        rest = above;
    }
}
