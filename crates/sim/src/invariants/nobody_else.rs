//! A message is seen by those it is for, and by nobody else: of a moderated list by nobody before an
//! owner's yes. And its length is what was sent.

use grapevine_model::{ListedMessage, Name};

use crate::oracle::Oracle;

/// What it is called.
pub const NAME: &str = "delivered to nobody else";

/// A message is listed in somebody's mailbox.
pub(crate) fn listed(oracle: &Oracle, owner: &Name, listed: &ListedMessage) -> Option<String> {
    let id = listed.message;
    let added = listed.list.as_ref().map_or(0, |list| list.header().len());
    match oracle.sent.get(&id) {
        // What a list adds is counted; the body is as it was sent.
        Some(sent) if sent.body.len != listed.len.saturating_sub(added as u64) => Some(format!(
            "{id} has {} octets, not {}",
            listed.len, sent.body.len
        )),
        Some(sent) if !sent.may.contains(owner) && !oracle.is_let_in(sent, id, owner) => {
            Some(format!("{id} was for {:?}", sent.recipients))
        }
        Some(_) => None,
        // Servers number reports, and what clients submit without an id.
        None if oracle.nameless || !id.origin.is_client() => None,
        None => Some(format!("nobody has sent {id}")),
    }
}
