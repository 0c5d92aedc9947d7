//! P1 and P2: what was accepted is in the mailbox of each recipient, or was seen there; or else its
//! sender has a report that names the recipient.
//!
//! Excused is only what was accepted with one copy before a disk was lost.

use std::collections::BTreeSet;

use grapevine_model::{MessageId, Name};

use crate::cluster::Cluster;
use crate::oracle::{Oracle, Sent};
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "accepted is delivered or explained";

/// In the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView, cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for (id, sent) in &oracle.sent {
        let Some(accepted) = sent.accepted else {
            continue;
        };
        let lost_since = cluster.disks_lost() != accepted.disks_lost;
        if accepted.copies < 2 && lost_since {
            continue;
        }
        let reported = reported(oracle, view, cluster, *id, sent);
        for recipient in sent.never.difference(&reported) {
            found.push(format!(
                "{id}: nobody was told that there is no {recipient}"
            ));
        }
        for recipient in sent.outside.difference(&reported) {
            let place = (*id, recipient.clone());
            if !cluster.outside.taken.contains_key(&place) {
                found.push(format!("{id}: {recipient} outside never got it"));
            }
        }
        for recipient in &sent.must {
            let delivered = has(oracle, view, recipient, *id);
            if !delivered && !reported.contains(recipient) {
                let copies = accepted.copies;
                found.push(format!(
                    "{id} for {recipient}, accepted by node {} with {copies} copies at {} us",
                    accepted.node, accepted.at_us
                ));
            }
            if !delivered && reported.contains(recipient) && view.patience.is_endless() {
                found.push(format!(
                    "{id}: {recipient} is there, yet reported unreachable"
                ));
            }
        }
    }
    found
}

/// The recipients that reports in the sender's hands, or among the dead letters, name.
fn reported(
    oracle: &Oracle,
    view: &FinalView,
    cluster: &Cluster,
    id: MessageId,
    sent: &Sent,
) -> BTreeSet<Name> {
    let about = cluster.reports.iter().filter(|report| report.about == id);
    let arrived = about.filter(|report| {
        // What fails of a list is told to its owners.
        let owners = report.to.iter().any(|to| to.group_of_owners().is_some());
        let told = oracle.mailboxes.keys().chain(view.inboxes.keys());
        has(oracle, view, &sent.from, report.report)
            || (owners
                && told
                    .into_iter()
                    .any(|who| has(oracle, view, who, report.report)))
            || (report.accepted && (report.to.is_empty() || view.dead_letters > 0))
    });
    let failed = arrived.flat_map(|report| report.failed.iter().map(|(name, _)| name));
    failed
        .flat_map(|name| {
            let people = oracle.closures.get(name).into_iter().flatten();
            people.cloned().chain([name.without_detail(), name.clone()])
        })
        .collect()
}

fn has(oracle: &Oracle, view: &FinalView, owner: &Name, id: MessageId) -> bool {
    let seen = |name: &Name| {
        oracle
            .mailboxes
            .get(name)
            .is_some_and(|mailbox| mailbox.seen.contains(&id))
    };
    let there = view.inboxes.get(owner).is_some_and(|listings| {
        let mut messages = listings.iter().flat_map(|(_, listing)| &listing.messages);
        messages.any(|listed| listed.message == id)
    });
    seen(owner) || there
}
