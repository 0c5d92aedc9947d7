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
        // What was in a mailbox whose sites are all lost is judged by another invariant.
        let lost = oracle.sites_lost.as_ref();
        let lost = lost.filter(|lost| accepted.at_us < lost.at_us);
        let is_lost = |who: &Name| lost.is_some_and(|lost| lost.owners.contains(who));
        if is_lost(&sent.from) {
            // Its reports may be lost with it.
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
        let lists = sent
            .forums
            .iter()
            .filter_map(|forum| oracle.forums.get(forum));
        let members = lists.flat_map(|(members, _)| members);
        for recipient in sent.either.iter().chain(members) {
            let delivered = has(oracle, view, recipient, *id);
            if !delivered && !reported.contains(recipient) && !is_lost(recipient) {
                found.push(format!(
                    "{id}: {recipient} did not get it, and nobody was told"
                ));
            }
            let judged = oracle.judged.get(id).copied().unwrap_or_default();
            let let_in = judged.surely_yes && !judged.perhaps_no;
            if let_in
                && !delivered
                && !is_lost(recipient)
                && view.patience.is_endless()
                && !sent.either.contains(recipient)
            {
                found.push(format!(
                    "{id}: an owner's yes did not bring it to {recipient}"
                ));
            }
        }
        for recipient in sent.must.iter().filter(|recipient| !is_lost(recipient)) {
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
            let plain = name.without_detail();
            let first = oracle.other_names.get(&plain).cloned();
            people.cloned().chain(first).chain([plain, name.clone()])
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
