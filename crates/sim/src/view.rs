//! What a run looks like in the end: asked of every server, and read from every disk.
//!
//! Gathered when everything is healed and at rest; it changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_core::Table;
use grapevine_model::{
    Cell, Check, EntryView, ErrorKind, Field, GroupList, InboxListing, Name, RegistryName, Reply,
    Request, Secret, ServerStatus, Speaker, Stamp,
};

use crate::cluster::Cluster;
use crate::event::{NodeIndex, Outcome};
use crate::invariants::removed_stays_removed::{IN, OUT};
use crate::oracle::{Key, Oracle};
use crate::world::{Person, World, name};

/// Whether the servers of a run give messages up while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Never in a run: nothing that exists may be reported as unreachable.
    Endless,
    /// After minutes: a report is as good as a delivery.
    Minutes,
}

impl Patience {
    /// Whether nothing is given up.
    pub fn is_endless(self) -> bool {
        self == Self::Endless
    }
}

/// A cell's key on disk, and what counts in its merge.
pub(crate) type StoredCell = (Vec<u8>, Option<(Stamp, Option<Vec<u8>>)>);

/// The end of a run.
#[derive(Debug)]
pub struct FinalView {
    /// Whether messages could be given up.
    pub patience: Patience,
    /// How each server says it is.
    pub statuses: Vec<(NodeIndex, ServerStatus)>,
    /// Each mailbox as each server lists it.
    pub inboxes: BTreeMap<Name, Vec<(NodeIndex, InboxListing)>>,
    /// Each value that was written in the run, as each server tells it.
    pub values: BTreeMap<Key, Vec<(NodeIndex, String)>>,
    /// Each registry's cells as each holder's disk has them.
    pub registry_cells: BTreeMap<RegistryName, Vec<(NodeIndex, Vec<StoredCell>)>>,
    /// What each server shows under names that change hands.
    pub twins: BTreeMap<Name, Vec<(NodeIndex, Option<EntryView>)>>,
    /// What is there that nobody with a right has made.
    pub traces_of_mallory: Vec<String>,
    /// Reports that could not be delivered, on all servers.
    pub dead_letters: u64,
    /// Whether such reports had to be expected.
    pub dead_letters_expected: bool,
    /// What was still going on when the time for liveness had passed.
    pub not_quiet: Option<String>,
    first_passwords: BTreeMap<Name, String>,
}

impl FinalView {
    /// The value that something had before the run.
    pub fn first_value(&self, key: &Key) -> String {
        match key {
            Key::Member { .. } => OUT.to_owned(),
            Key::Password(name) => self.first_passwords.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// Asks and reads everything.
pub fn gather(
    cluster: &mut Cluster,
    world: &World,
    oracle: &Oracle,
    others: &[Person],
    patience: Patience,
    not_quiet: Option<String>,
) -> FinalView {
    let statuses = statuses(cluster);
    let everybody: Vec<Person> = world
        .everybody()
        .into_iter()
        .chain(others)
        .cloned()
        .collect();
    let inboxes = inboxes(cluster, &everybody);
    let first_passwords = everybody
        .iter()
        .map(|person| (person.name.clone(), person.password.clone()))
        .collect();
    FinalView {
        patience,
        inboxes,
        values: values(cluster, world, oracle, &first_passwords),
        registry_cells: registry_cells(cluster, &statuses),
        twins: twins(cluster, world),
        traces_of_mallory: traces_of_mallory(cluster),
        dead_letters: statuses
            .iter()
            .map(|(_, status)| status.queue.dead_letters)
            .sum(),
        dead_letters_expected: !patience.is_endless(),
        statuses,
        not_quiet,
        first_passwords,
    }
}

/// How each server that runs says it is.
pub fn statuses(cluster: &mut Cluster) -> Vec<(NodeIndex, ServerStatus)> {
    let nodes = cluster.up();
    let asks = nodes
        .iter()
        .map(|node| (*node, Speaker::Operator, Request::Status));
    let outcomes = cluster.ask_all(asks.collect());
    nodes
        .into_iter()
        .zip(outcomes)
        .filter_map(|(node, outcome)| match outcome {
            Outcome::Done(Reply::Status(status)) => Some((node, *status)),
            _ => None,
        })
        .collect()
}

fn inboxes(
    cluster: &mut Cluster,
    everybody: &[Person],
) -> BTreeMap<Name, Vec<(NodeIndex, InboxListing)>> {
    let mut asks = Vec::new();
    for person in everybody {
        for node in cluster.up() {
            let list = Request::InboxList {
                name: person.name.clone(),
            };
            asks.push((node, person.speaker(), list));
        }
    }
    let outcomes = cluster.ask_all(asks.clone());
    let mut inboxes: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    for ((node, _, request), outcome) in asks.into_iter().zip(outcomes) {
        let Request::InboxList { name } = request else {
            continue;
        };
        let listings = inboxes.entry(name.clone()).or_default();
        match outcome {
            Outcome::Done(Reply::Inbox(listing)) => listings.push((node, listing)),
            other => {
                cluster.violation(
                    "every server lists every mailbox in the end",
                    format!("{name} at node {node}: {other:?}"),
                );
            }
        }
    }
    inboxes
}

fn values(
    cluster: &mut Cluster,
    world: &World,
    oracle: &Oracle,
    first_passwords: &BTreeMap<Name, String>,
) -> BTreeMap<Key, Vec<(NodeIndex, String)>> {
    let mut asks = Vec::new();
    let mut wanted = Vec::new();
    let mallory = world.registries.iter().map(|registry| Key::Member {
        group: registry.club.clone(),
        who: world.mallory.name.clone(),
    });
    for key in oracle.writes.keys().cloned().chain(mallory) {
        for node in cluster.up() {
            match &key {
                Key::Member { group, who } => {
                    asks.push((
                        node,
                        Speaker::Operator,
                        Request::Check {
                            group: group.clone(),
                            list: GroupList::Members,
                            who: who.clone(),
                        },
                    ));
                    wanted.push((key.clone(), node, String::new()));
                }
                Key::Password(name) => {
                    let writes = oracle.writes.get(&key).into_iter().flatten();
                    let mut tried: Vec<String> = writes.map(|write| write.value.clone()).collect();
                    tried.extend(first_passwords.get(name).cloned());
                    tried.dedup();
                    for password in tried {
                        asks.push((
                            node,
                            Speaker::Anonymous,
                            Request::Authenticate {
                                name: name.clone(),
                                password: Secret(password.clone()),
                                source: grapevine_model::Source::Local,
                            },
                        ));
                        wanted.push((key.clone(), node, password));
                    }
                }
            }
        }
    }
    let outcomes = cluster.ask_all(asks);
    let mut values: BTreeMap<Key, Vec<(NodeIndex, String)>> = BTreeMap::new();
    for ((key, node, password), outcome) in wanted.into_iter().zip(outcomes) {
        let value = match (&key, outcome) {
            (Key::Member { .. }, Outcome::Done(Reply::Check(Check::Yes))) => IN.to_owned(),
            (Key::Member { .. }, Outcome::Done(Reply::Check(Check::No))) => OUT.to_owned(),
            (Key::Password(_), Outcome::Done(Reply::Authenticated(_))) => password,
            (Key::Password(_), other)
                if other.refusal() == Some(grapevine_model::ErrorKind::NotAuthenticated) =>
            {
                continue;
            }
            (_, other) => format!("{other:?}"),
        };
        values.entry(key).or_default().push((node, value));
    }
    values
}

fn registry_cells(
    cluster: &Cluster,
    statuses: &[(NodeIndex, ServerStatus)],
) -> BTreeMap<RegistryName, Vec<(NodeIndex, Vec<StoredCell>)>> {
    let mut cells: BTreeMap<RegistryName, Vec<_>> = BTreeMap::new();
    for (node, status) in statuses {
        let rows = cluster.nodes()[*node].disk.rows(Table::Cells);
        for (registry, _, _) in &status.registries {
            let prefix = registry_prefix(registry);
            let own = rows
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(key, value)| (key.clone(), stored(value)));
            let own = living(prefix.len(), own.collect());
            cells
                .entry(registry.clone())
                .or_default()
                .push((*node, own));
        }
    }
    cells
}

/// What counts of a registry's cells: one holder may have forgotten a deletion before another, and
/// what is left of a dead entry.
fn living(prefix: usize, cells: Vec<StoredCell>) -> Vec<StoredCell> {
    let item = |key: &[u8]| key.get(prefix..prefix + 16).map(<[u8]>::to_vec);
    let identity = Field::Identity.number().to_be_bytes();
    let is_value = |cell: &StoredCell| !matches!(cell.1, Some((_, None)));
    let alive: BTreeSet<_> = cells
        .iter()
        .filter(|cell| is_value(cell) && cell.0.get(prefix + 16..) == Some(&identity[..]))
        .map(|(key, _)| item(key))
        .chain([Some(vec![0; 16])])
        .collect();
    let counts = |cell: &StoredCell| is_value(cell) && alive.contains(&item(&cell.0));
    cells.into_iter().filter(counts).collect()
}

/// Stamp and value of a stored cell; none if it can't be read. Its dot may differ from server to
/// server: that says who brought it.
fn stored(value: &[u8]) -> Option<(Stamp, Option<Vec<u8>>)> {
    let (_version, cell) = value.split_first()?;
    let cell: Cell = postcard::from_bytes(cell).ok()?;
    Some((cell.stamp, cell.value))
}

/// What the keys of a registry's cells begin with on disk.
fn registry_prefix(registry: &RegistryName) -> Vec<u8> {
    let text = registry.as_str().as_bytes();
    let mut prefix = vec![b'R', text.len().min(255) as u8];
    prefix.extend_from_slice(text);
    prefix
}

fn twins(
    cluster: &mut Cluster,
    world: &World,
) -> BTreeMap<Name, Vec<(NodeIndex, Option<EntryView>)>> {
    let mut asks = Vec::new();
    for name in world.registries.iter().flat_map(|registry| &registry.twins) {
        for node in cluster.up() {
            let show = Request::Show { name: name.clone() };
            asks.push((node, Speaker::Operator, show));
        }
    }
    let outcomes = cluster.ask_all(asks.clone());
    let mut twins: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    for ((node, _, request), outcome) in asks.into_iter().zip(outcomes) {
        let Request::Show { name } = request else {
            continue;
        };
        let view = match outcome {
            Outcome::Done(Reply::Entry(view)) => Some(*view),
            other if other.refusal() == Some(ErrorKind::NotFound) => None,
            other => {
                cluster.violation(
                    "every server shows every entry in the end",
                    format!("{name} at node {node}: {other:?}"),
                );
                continue;
            }
        };
        twins.entry(name).or_default().push((node, view));
    }
    twins
}

fn traces_of_mallory(cluster: &mut Cluster) -> Vec<String> {
    let mut asks = Vec::new();
    for node in cluster.up() {
        for evil in EVIL_NAMES {
            asks.push((node, Speaker::Operator, Request::Show { name: name(evil) }));
        }
    }
    let outcomes = cluster.ask_all(asks.clone());
    let mut traces = Vec::new();
    for ((node, _, request), outcome) in asks.into_iter().zip(outcomes) {
        if let Outcome::Done(reply) = outcome {
            traces.push(format!("node {node}, {request:?}: {reply:?}"));
        }
    }
    traces
}

/// What mallory tries to create.
pub(crate) const EVIL_NAMES: [&str; 4] = ["evil@pa", "evil@es", "evil^@pa", "evil@gv"];
