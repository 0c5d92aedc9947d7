//! P4 for mailboxes: after contact every inbox site lists the same messages, whole and complete,
//! and has their bodies as they were sent.

use std::collections::BTreeSet;

use grapevine_model::MessageId;

use crate::cluster::Cluster;
use crate::oracle::Oracle;
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "mailboxes converge";

/// In the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView, cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for (owner, listings) in &view.inboxes {
        let ids = |listing: &grapevine_model::InboxListing| -> BTreeSet<MessageId> {
            listing
                .messages
                .iter()
                .map(|listed| listed.message)
                .collect()
        };
        let all: BTreeSet<MessageId> = listings.iter().flat_map(|(_, l)| ids(l)).collect();
        if listings.is_empty() {
            found.push(format!("{owner}: nobody lists the mailbox"));
        }
        for (node, listing) in listings {
            let missing: Vec<_> = all.difference(&ids(listing)).copied().collect();
            if !missing.is_empty() {
                found.push(format!("{owner}: node {node} lacks {missing:?}"));
            }
            if listing.partial {
                found.push(format!(
                    "{owner}: node {node} still calls its listing partial"
                ));
            }
            if listing.sites.first() != Some(&cluster.nodes()[*node].name) {
                continue;
            }
            for listed in &listing.messages {
                let body = cluster.nodes()[*node].disk.body(listed.message);
                let sent = oracle.sent.get(&listed.message).map(|sent| sent.body);
                if body.is_none() || (sent.is_some() && body != sent) {
                    let id = listed.message;
                    found.push(format!(
                        "{owner}: node {node} lists {id}, its body is {body:?}"
                    ));
                }
            }
        }
    }
    found
}
