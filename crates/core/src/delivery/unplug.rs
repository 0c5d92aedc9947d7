//! "Is it safe to unplug?": what is on one server's disk alone, and what would wait
//! for another one to take over.
//!
//! Guards P9. It never says "safe" of what it does not know: a copy counts when its
//! holder has said since its last silence that it has it.

use grapevine_model::{Name, Refusal, RegistryName, ServerName, SpaceId, UnplugView};

use crate::replication::space::Space;
use crate::server::Server;

/// Owners of endangered mailboxes named in one answer at most.
const MOST_NAMED: usize = 20;

impl Server {
    pub(super) fn unplug(&self, server: &ServerName) -> Result<UnplugView, Refusal> {
        let me = *server == self.config.server;
        if !me && !self.servers.contains_key(server) {
            return Err(Refusal::not_found(server));
        }
        let mut view = UnplugView {
            itself: me,
            take_over_ms: self.config.times.take_over_ms,
            ..UnplugView::default()
        };
        match me {
            true => self.unplug_me(&mut view),
            false => self.unplug_other(server, &mut view),
        }
        Ok(view)
    }

    fn unplug_me(&self, view: &mut UnplugView) {
        for custody in self.custodies.values() {
            let second = custody.deputy.as_ref().filter(|_| custody.held);
            match second.is_some_and(|deputy| self.is_up(deputy)) {
                true => view.messages_delayed += 1,
                false => view.messages_alone += 1,
            }
        }
        for (space, state) in &self.spaces {
            if self.is_elsewhere(space, state) {
                continue;
            }
            match space {
                SpaceId::Registry(registry) => view.registries_alone.push(registry.clone()),
                SpaceId::Mailbox(_) => {
                    view.mailboxes_alone += 1;
                    if view.mailboxes_of.len() < MOST_NAMED {
                        view.mailboxes_of.extend(state.row.owner.clone());
                    }
                }
            }
        }
    }

    /// Whether another server that is heard has all of a space that is here.
    fn is_elsewhere(&self, space: &SpaceId, state: &Space) -> bool {
        let empty = state.row.vector.is_empty();
        empty
            || self.partners(space).iter().any(|partner| {
                let agrees = || self.peers.get(partner).is_some_and(|p| p.behind == 0);
                let said = || {
                    let have = state.have.get(partner);
                    have.is_some_and(|have| have.covers_all(&state.row.vector))
                };
                self.is_up(partner) && (said() || agrees())
            })
    }

    fn unplug_other(&self, server: &ServerName, view: &mut UnplugView) {
        let kept = self.deputies.keys().filter(|(of, _)| of == server);
        view.messages_taken_over = kept.count() as u64;
        for custody in self.custodies.values() {
            let waits = custody.row.pending.values();
            let waits = waits.filter(|pending| self.only_at(&pending.name, server));
            view.recipients_waiting += waits.count() as u64;
        }
        // It is silent: what is known here is all that there is to say.
        let known: Vec<RegistryName> = self
            .holdings
            .iter()
            .filter(|(_, holders)| holders.iter().all(|holder| holder == server))
            .map(|(registry, _)| registry.clone())
            .collect();
        view.registries_alone = known;
    }

    /// Whether somebody whose registry is held here has its inbox at that server only.
    fn only_at(&self, name: &Name, server: &ServerName) -> bool {
        self.entry(&name.without_detail()).is_some_and(|entry| {
            let sites = entry.sites();
            !sites.is_empty() && sites.iter().all(|site| site == server)
        })
    }
}
