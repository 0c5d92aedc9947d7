//! An inbox whose sites have all lost their disks is filled again from the copies that others kept
//! after delivery: what was written to it directly, and was not deleted.

use crate::oracle::Oracle;
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "an inbox that lost all its sites is filled again";

/// In the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView) -> Vec<String> {
    let mut found = Vec::new();
    let Some(loss) = &oracle.sites_lost else {
        return found;
    };
    for owner in &loss.owners {
        let Some(listings) = view.inboxes.get(owner) else {
            continue;
        };
        let deleted = oracle.mailboxes.get(owner);
        for (id, _) in loss.kept.iter().filter(|(_, to)| to == owner) {
            let Some(sent) = oracle.sent.get(id) else {
                continue;
            };
            let direct = sent.must.contains(owner);
            let gone = deleted.is_some_and(|mailbox| mailbox.perhaps_deleted.contains(id));
            if !direct || gone || sent.accepted.is_none() {
                continue;
            }
            for (node, listing) in listings {
                if !listing.messages.iter().any(|listed| listed.message == *id) {
                    found.push(format!(
                        "{owner}: node {node} lacks {id}, of which a copy was kept"
                    ));
                }
            }
        }
    }
    found
}
