//! What a mailbox is said to hold is what is in it: quotas count what is there, after whatever came
//! from whichever side.

use grapevine_model::{InboxListing, Usage};

/// What it is called.
pub const NAME: &str = "what is counted is what is there";

/// A listing has come.
pub(crate) fn listed(listing: &InboxListing) -> Option<String> {
    if listing.partial {
        return None;
    }
    // What a list adds when it is read takes no room.
    let each = listing.messages.iter().map(|listed| {
        let added = listed.list.as_ref().map_or(0, |list| list.header().len());
        Usage::of(listed.len.saturating_sub(added as u64))
    });
    let sum = each.fold(Usage::default(), Usage::plus);
    let counted = listing.usage;
    (counted != sum).then(|| format!("{counted:?} is counted, {sum:?} is there"))
}
