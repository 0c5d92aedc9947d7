//! The end of some runs: all is at rest, and then all sites of somebody's mailbox lose their disks at
//! one moment. What others kept after delivery has to fill it again.
//!
//! Must leave each registry a holder: of names two disks are the promise, of delivered mail a third.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_core::Table;
use grapevine_model::{CustodyRecord, MessageId, Name, Reply, Request};

use crate::client::Stage;
use crate::dice::Dice;
use crate::event::{NodeIndex, Outcome};
use crate::oracle::SitesLost;
use crate::view;
use crate::world::Person;

/// Fewer servers could not hold what is lost and what fills it.
const LEAST_SERVERS: usize = 3;
/// The sites of a mailbox that can be lost together.
const SITES: usize = 2;

/// Loses all sites of somebody; false where nobody's can be lost.
pub(crate) fn lose_sites(stage: &mut Stage<'_>, dice: &mut Dice) -> bool {
    let up = stage.cluster.up();
    if up.len() < LEAST_SERVERS {
        return false;
    }
    let sites = sites_of_all(stage, &up);
    let holders = holders(stage);
    let candidates: Vec<BTreeSet<NodeIndex>> = sites
        .values()
        .filter(|sites| sites.len() == SITES && sites.iter().all(|site| up.contains(site)))
        .filter(|sites| holders.iter().all(|holders| !holders.is_subset(sites)))
        .cloned()
        .collect();
    let Some(lost) = dice.pick(&candidates).cloned() else {
        return false;
    };
    let owners = sites.iter().filter(|(_, sites)| sites.is_subset(&lost));
    let others = up.iter().filter(|node| !lost.contains(node));
    let kept = others.flat_map(|node| kept_by(stage, *node)).collect();
    stage.oracle.sites_lost = Some(SitesLost {
        at_us: stage.cluster.now_us(),
        owners: owners.map(|(owner, _)| owner.clone()).collect(),
        kept,
    });
    for node in lost {
        stage.cluster.destroy(node);
    }
    true
}

fn sites_of_all(stage: &mut Stage<'_>, up: &[NodeIndex]) -> BTreeMap<Name, BTreeSet<NodeIndex>> {
    let people: Vec<Person> = stage.world.everybody().into_iter().cloned().collect();
    let mut all = BTreeMap::new();
    for person in people {
        let name = person.name.clone();
        let list = Request::InboxList { name: name.clone() };
        let node = up.first().copied().unwrap_or(0);
        let outcome = stage.cluster.ask(node, person.speaker(), list);
        if let Outcome::Done(Reply::Inbox(listing)) = outcome {
            let sites = listing.sites.iter();
            let sites = sites.filter_map(|site| stage.cluster.find(site)).collect();
            all.insert(name, sites);
        }
    }
    all
}

/// Who holds each registry.
fn holders(stage: &mut Stage<'_>) -> Vec<BTreeSet<NodeIndex>> {
    let mut holders: BTreeMap<_, BTreeSet<NodeIndex>> = BTreeMap::new();
    for (node, status) in view::statuses(stage.cluster) {
        for (registry, _, _) in status.registries {
            holders.entry(registry).or_default().insert(node);
        }
    }
    holders.into_values().collect()
}

/// What a server has kept after delivery, and for whom.
fn kept_by(stage: &Stage<'_>, node: NodeIndex) -> Vec<(MessageId, Name)> {
    let mut kept = Vec::new();
    for (_, value) in stage.cluster.nodes()[node].disk.rows(Table::Retained) {
        // A row begins with its version, and with the message as it was in custody.
        let row = value.split_first().map(|(_, row)| row).unwrap_or_default();
        let Ok((record, _)) = postcard::take_from_bytes::<CustodyRecord>(row) else {
            continue;
        };
        let to = record.envelope.recipients.iter();
        kept.extend(to.map(|to| (record.message, to.name.without_detail())));
    }
    kept
}
