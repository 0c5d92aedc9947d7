//! At most one copy is seen: no listing shows a message twice, and who has deleted a message never
//! sees it again at the server that said so, nor anywhere in the end. A server whose mailbox has been moved meanwhile
//! passes it on, perhaps to one that has not yet heard of the deletion.

use std::collections::BTreeSet;

use grapevine_model::InboxListing;

use crate::cluster::Cluster;
use crate::event::NodeIndex;
use crate::oracle::{Mailbox, Oracle};
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "at most one copy seen";

/// A listing that was asked for then has come from there.
pub(crate) fn listing(
    mailbox: &Mailbox,
    asked_us: u64,
    node: NodeIndex,
    listing: &InboxListing,
    cluster: &Cluster,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    let is_site = listing.sites.first() == Some(&cluster.nodes()[node].name);
    for listed in &listing.messages {
        if !ids.insert(listed.message) {
            found.push(format!("{} is listed twice", listed.message));
        }
        let Some(deletion) = mailbox.deleted.get(&listed.message) else {
            continue;
        };
        let same_disk = cluster.disks_lost() == deletion.disks_lost;
        if is_site
            && deletion.is_site
            && deletion.node == node
            && same_disk
            && deletion.moves == mailbox.moves
            && deletion.at_us < asked_us
        {
            found.push(format!("{} is back where it was deleted", listed.message));
        }
    }
    found
}

/// In the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView, cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for (owner, listings) in &view.inboxes {
        let Some(mailbox) = oracle.mailboxes.get(owner) else {
            continue;
        };
        // Deletions are lost with all the sites that knew of them.
        if oracle
            .sites_lost
            .as_ref()
            .is_some_and(|lost| lost.owners.contains(owner))
        {
            continue;
        }
        for (node, listing) in listings {
            for listed in &listing.messages {
                let Some(deletion) = mailbox.deleted.get(&listed.message) else {
                    continue;
                };
                let kept = cluster.disks_lost() == deletion.disks_lost;
                if deletion.copies >= 2 || kept {
                    let id = listed.message;
                    found.push(format!(
                        "{owner}, at node {node}: {id} was deleted and is back"
                    ));
                }
            }
        }
    }
    found
}
