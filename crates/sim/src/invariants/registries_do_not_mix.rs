//! P4 for registries that come and go: every server says the same of them; entries of one that is no
//! more, or has not got the name, are nowhere; acknowledged ones of the one that is are everywhere.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{ErrorKind, Incarnation, RegistryName, Reply};

use crate::cluster::Cluster;
use crate::event::{NodeIndex, Outcome};
use crate::oracle::{Entered, Founded, WriteFate};

/// What it is called.
pub const NAME: &str = "a registry created again is another one";

type Shown = BTreeMap<NodeIndex, Outcome>;

/// What a name is, as told; an error is no answer.
fn told(outcome: &Outcome) -> Result<Option<Incarnation>, String> {
    match outcome {
        Outcome::Done(Reply::Entry(entry)) => Ok(Some(entry.incarnation)),
        other if other.refusal() == Some(ErrorKind::NotFound) => Ok(None),
        other => Err(format!("{other:?}")),
    }
}

/// In the end: what the servers say of a registry's name.
pub(crate) fn named(
    registry: &RegistryName,
    known: &Founded,
    shown: &Shown,
    cluster: &Cluster,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut said = BTreeSet::new();
    for (node, outcome) in shown {
        match told(outcome) {
            Ok(incarnation) => {
                said.insert(incarnation);
            }
            Err(what) => found.push(format!("{registry} at node {node}: {what}")),
        }
    }
    if said.len() > 1 {
        found.push(format!("{registry} is not one registry: {shown:?}"));
    }
    let lost = cluster.disks_lost();
    let stands = |(copies, disks_lost): &(u8, u32)| *copies >= 2 || *disks_lost == lost;
    if said.contains(&None) && known.deletions == 0 && known.creations.iter().any(stands) {
        found.push(format!(
            "{registry} was created, never deleted, and is gone"
        ));
    }
    found
}

/// In the end: what the servers say of an entry, when they call the registry `now`.
pub(crate) fn entry(
    entry: &Entered,
    now: Option<Incarnation>,
    shown: &Shown,
    cluster: &Cluster,
) -> Vec<String> {
    let mut found = Vec::new();
    let name = &entry.name;
    let mut said = BTreeSet::new();
    for (node, outcome) in shown {
        match told(outcome) {
            Ok(incarnation) => {
                said.insert(incarnation);
            }
            Err(what) => found.push(format!("{name} at node {node}: {what}")),
        }
    }
    if said.len() > 1 {
        found.push(format!("{name} is not the same everywhere: {shown:?}"));
    }
    let there = said.iter().any(Option::is_some);
    let acknowledged = match entry.fate {
        WriteFate::Done { copies, .. } => copies >= 2 || cluster.disks_lost() == entry.disks_lost,
        WriteFate::Unknown | WriteFate::Refused | WriteFate::Nothing => false,
    };
    match entry.of {
        Some(of) if Some(of) == now => {
            if acknowledged && said.contains(&None) {
                found.push(format!("{name} was acknowledged and is gone: {shown:?}"));
            }
        }
        Some(_) if there => {
            found.push(format!(
                "{name} is of another registry, and there: {shown:?}"
            ));
        }
        Some(_) | None => {}
    }
    found
}
