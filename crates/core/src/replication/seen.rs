//! "Has everyone got this?": which holders of a registry have a change on their disks.
//!
//! Guards checklist 39 and P7: each holder is asked anew, and one that does not
//! answer is called silent, never taken for one that has it or lacks it. What a
//! holder once said is not believed again: it may have lost its disk since.

use std::collections::BTreeMap;

use grapevine_model::{
    HolderSays, Refusal, RegistryName, Reply, SeenView, ServerName, SpaceId, Stamp, VersionVector,
};

use crate::registry::request::{Outcome, ReplyTo};
use crate::server::{Server, Timer};

/// Questions of this kind that may be under way at one time: each costs a message to every holder.
const MOST_SEEN_ASKS: usize = 1_000;

/// A question under way.
#[derive(Debug)]
pub(crate) struct SeenAsk {
    to: ReplyTo,
    registry: RegistryName,
    target: VersionVector,
    /// What the holders asked have said since: whether they have it all.
    said: BTreeMap<ServerName, Option<HolderSays>>,
}

impl Server {
    /// Asks the other holders; the registry is held here, whole.
    pub(crate) fn who_has_seen(
        &mut self,
        to: &ReplyTo,
        registry: &RegistryName,
        stamp: Option<Stamp>,
    ) -> Outcome {
        let space = SpaceId::Registry(registry.clone());
        let Some(state) = self.spaces.get(&space) else {
            return Err(Refusal::unavailable(format!(
                "{registry} is not here: ask another server"
            )))
            .into();
        };
        if self.seen_asks.len() >= MOST_SEEN_ASKS {
            return Err(Refusal::unavailable(
                "too many ask this at once; try again later",
            ))
            .into();
        }
        let target = match stamp {
            Some(stamp) => [(stamp.origin, stamp.time)].into_iter().collect(),
            None => state.row.vector.clone(),
        };
        let partners = self.partners(&space);
        let said = partners.iter().map(|p| (p.clone(), None)).collect();
        let id = self.next_id();
        for partner in &partners {
            if self.is_up(partner) {
                self.offer(partner, &space);
            }
        }
        let ask = SeenAsk {
            to: to.clone(),
            registry: registry.clone(),
            target,
            said,
        };
        self.seen_asks.insert(id, ask);
        self.timer(self.config.times.ask_ms, Timer::Seen(id));
        self.end_seen_asks();
        Outcome::Later
    }

    /// A holder has just said what it has of a space.
    pub(crate) fn seen_by(&mut self, from: &ServerName, space: &SpaceId, has: &VersionVector) {
        let SpaceId::Registry(registry) = space else {
            return;
        };
        for ask in self.seen_asks.values_mut() {
            if ask.registry == *registry
                && let Some(said) = ask.said.get_mut(from)
            {
                *said = Some(if has.covers_all(&ask.target) {
                    HolderSays::Has
                } else {
                    HolderSays::Lacks
                });
            }
        }
        self.end_seen_asks();
    }

    /// Answers those who need not wait any longer: who has not got it may get it in a moment.
    fn end_seen_asks(&mut self) {
        let ended: Vec<u64> = self
            .seen_asks
            .iter()
            .filter(|(_, ask)| {
                ask.said
                    .iter()
                    .all(|(server, said)| *said == Some(HolderSays::Has) || !self.is_up(server))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.seen_ask_is_due(id);
        }
    }

    pub(crate) fn seen_ask_is_due(&mut self, id: u64) {
        let Some(ask) = self.seen_asks.remove(&id) else {
            return;
        };
        let space = SpaceId::Registry(ask.registry.clone());
        let mine = self
            .spaces
            .get(&space)
            .is_some_and(|state| state.row.vector.covers_all(&ask.target));
        let mine = if mine {
            HolderSays::Has
        } else {
            HolderSays::Lacks
        };
        let others = ask.said.into_iter().map(|(server, said)| {
            let said = said.unwrap_or(HolderSays::Silent);
            (server, said)
        });
        let mut holders = vec![(self.config.server.clone(), mine)];
        holders.extend(others);
        holders.sort_by(|a, b| a.0.cmp(&b.0));
        let view = SeenView {
            registry: ask.registry,
            holders,
        };
        self.reply(ask.to, Ok(Reply::Seen(view)));
    }
}
