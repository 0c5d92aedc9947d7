//! Inboxes listed a moment ago, so that reading a hundred messages does not list the inbox a hundred
//! times.
//!
//! Must never give one speaker another one's listing, nor say that a message is *not* there: what is
//! missing from a remembered listing is asked for anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grapevine_model::{InboxListing, MessageId, Name, Speaker};

/// A right that was taken away ends within this.
const FRESH: Duration = Duration::from_secs(2);
/// Readers at work at the same time on one server, about.
const KEPT_MAX: usize = 64;

/// The listings.
#[derive(Default)]
pub(crate) struct RecentListings {
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    since: Instant,
    speaker: Speaker,
    owner: Name,
    listing: Arc<InboxListing>,
}

impl RecentListings {
    /// A fresh listing that has this message.
    pub(crate) fn with(
        &self,
        speaker: &Speaker,
        owner: &Name,
        message: MessageId,
    ) -> Option<Arc<InboxListing>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.since.elapsed() < FRESH);
        kept.iter()
            .find(|one| one.speaker == *speaker && one.owner == *owner)
            .filter(|one| has(&one.listing, message))
            .map(|one| Arc::clone(&one.listing))
    }

    /// Remembers a listing.
    pub(crate) fn keep(&self, speaker: Speaker, owner: Name, listing: Arc<InboxListing>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.speaker != speaker || one.owner != owner);
        kept.push_back(Kept {
            since: Instant::now(),
            speaker,
            owner,
            listing,
        });
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }
}

/// Whether a listing has a message: it is in order of the ids.
fn has(listing: &InboxListing, message: MessageId) -> bool {
    listing
        .messages
        .binary_search_by_key(&message, |listed| listed.message)
        .is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{Incarnation, ListedMessage};

    use super::*;

    #[test]
    fn a_listing_is_its_speakers_alone_and_never_denies_a_message() {
        let listings = RecentListings::default();
        let (one, two) = (MessageId::from_u128(1), MessageId::from_u128(2));
        let owner: Name = "needham@pa.example".parse().unwrap();
        let needham = Speaker::Individual {
            name: owner.clone(),
            incarnation: Incarnation(7),
        };
        let listing = Arc::new(InboxListing {
            incarnation: Incarnation(7),
            messages: vec![ListedMessage {
                message: one,
                body: one,
                len: 3,
                deposited_ms: 0,
                list: None,
            }],
            sites: Vec::new(),
            partial: false,
            usage: Default::default(),
            quota: Default::default(),
        });
        listings.keep(needham.clone(), owner.clone(), listing);
        assert!(listings.with(&needham, &owner, one).is_some());
        assert!(listings.with(&needham, &owner, two).is_none());
        assert!(listings.with(&Speaker::Anonymous, &owner, one).is_none());
        let other: Name = "birrell@pa.example".parse().unwrap();
        assert!(listings.with(&needham, &other, one).is_none());
    }
}
