//! The relay's queue by destination: how much there is for each other mail system, and how that one is.
//!
//! Reads what is in memory only, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{DestinationView, MAX_QUEUE_PAGE, MessageId, Name, Resolution};

use crate::delivery::custody::Stage;
use crate::delivery::routes::Destination;
use crate::registry::directory::Held;
use crate::server::Server;

#[derive(Default)]
struct Waiting {
    messages: BTreeSet<MessageId>,
    recipients: u64,
    /// The first that is tried: when, and why it waits.
    next: Option<(u64, String)>,
}

impl Server {
    /// All destinations that something waits for here; of very many those with the most recipients.
    pub(super) fn destinations(&self) -> Vec<DestinationView> {
        let mut waiting: BTreeMap<Destination, Waiting> = BTreeMap::new();
        for (message, custody) in &self.custodies {
            for (key, pending) in &custody.row.pending {
                let Some(destination) = self.leads_outside(&pending.stage, &pending.name) else {
                    continue;
                };
                let of = waiting.entry(destination).or_default();
                of.messages.insert(*message);
                of.recipients += 1;
                let trying = custody.trying.get(key);
                let due_ms = trying.map_or(0, |trying| trying.due_ms);
                if of.next.as_ref().is_none_or(|(first, _)| due_ms < *first) {
                    let reason = trying.map(|trying| trying.reason.clone());
                    of.next = Some((due_ms, reason.unwrap_or_default()));
                }
            }
        }
        let mut views: Vec<DestinationView> = waiting
            .into_iter()
            .map(|(destination, of)| self.destination_view(&destination, of))
            .collect();
        views.sort_by(|a, b| {
            let order = b.recipients.cmp(&a.recipients);
            order.then_with(|| a.destination.cmp(&b.destination))
        });
        views.truncate(MAX_QUEUE_PAGE as usize);
        views
    }

    fn destination_view(&self, destination: &Destination, of: Waiting) -> DestinationView {
        let state = self.relay.state_of(destination);
        let (under_way, failures, again_ms, why) = state.unwrap_or((0, 0, 0, ""));
        let (due_ms, reason) = of.next.unwrap_or_default();
        let next_ms = due_ms.max(again_ms).saturating_sub(self.now.mono_ms);
        DestinationView {
            destination: self.called(destination),
            messages: of.messages.len() as u64,
            recipients: of.recipients,
            under_way: under_way as u64,
            failures,
            next_ms: (under_way == 0).then_some(next_ms),
            reason: if why.is_empty() {
                reason
            } else {
                why.to_owned()
            },
        }
    }

    /// Where a recipient that waits is handed over, if to another mail system.
    fn leads_outside(&self, stage: &Stage, name: &Name) -> Option<Destination> {
        if *stage != Stage::Steer {
            return None;
        }
        let plain = name.without_detail();
        let unknown = match self.held(name.registry()) {
            Held::Unknown => true,
            Held::Here => self.resolve_here(&plain) == Resolution::NoSuch,
            Held::Elsewhere => false,
        };
        let routed = || if unknown { self.routed(&plain) } else { None };
        self.routed_whole(name).or_else(routed)
    }
}
