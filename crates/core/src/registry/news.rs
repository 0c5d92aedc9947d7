//! Read your writes: a request waits, for a short time, for what its client has seen.
//!
//! A token names a write. Where it is not here, the partners are asked for it at once; if it does
//! not come within `Times::news_ms`, the request goes to another holder, and if none has it the
//! answer is "unavailable", never an older one. Tokens come from clients: they are compared, never
//! taken in as times.

use std::collections::BTreeMap;

use grapevine_model::{
    ErrorKind, PeerMessage, Refusal, RegistryName, Request, Seen, ServerName, SpaceId, Stamp,
    VersionVector,
};

use crate::registry::directory::Memo;
use crate::registry::nature::about;
use crate::registry::request::{Job, ReplyTo};
use crate::server::{Server, Timer};

/// Requests that wait for news at one time; more are told to come back.
const MOST_WAITING: usize = 10_000;
/// Partners are asked for the same registry's news again after so long at the earliest: what they
/// write meanwhile they push.
const PULL_AGAIN_MS: u64 = 50;

/// A job that waits for a write to come.
#[derive(Debug)]
pub(crate) struct Waiting {
    registry: RegistryName,
    job: Job,
    memo: Memo,
}

/// The jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct News {
    waiting: BTreeMap<u64, Waiting>,
    pulled_ms: BTreeMap<RegistryName, u64>,
}

impl Server {
    /// The first registry held here in which something that the client has seen is missing, of those
    /// that the request reads.
    pub(crate) fn lacks(&self, memo: &Memo, request: &Request) -> Option<RegistryName> {
        let everywhere = match request {
            // About this server, or before there is anything to see.
            Request::Status | Request::Trace { .. } | Request::Queue(_) | Request::Join { .. } => {
                return None;
            }
            // Memberships lead through any registry.
            Request::Check { .. }
            | Request::CheckMany { .. }
            | Request::MemberOf { .. }
            | Request::Find { .. }
            | Request::CheckRecipient { .. }
            | Request::MaySendAs { .. } => true,
            _ => false,
        };
        let named = match request {
            Request::InboxList { name }
            | Request::InboxDelete { name, .. }
            | Request::Mailbox { name, .. }
            | Request::Sieve { name, .. } => Some(name.registry()),
            other => about(other),
        };
        // What `gv` says of registries and registrars counts for every request.
        let reads = |registry: &RegistryName| {
            everywhere || registry.as_str() == "gv" || named == Some(registry)
        };
        self.first_lacking(memo, reads)
    }

    /// The same for a question of another server.
    pub(crate) fn first_lacking(
        &self,
        memo: &Memo,
        reads: impl Fn(&RegistryName) -> bool,
    ) -> Option<RegistryName> {
        if self.planted_token_ignored {
            return None;
        }
        let lacking = memo.seen().iter().find(|seen| {
            reads(&seen.registry)
                && self.database(&seen.registry).is_some()
                && !self.covers(&seen.registry, seen.stamp)
        });
        lacking.map(|seen| seen.registry.clone())
    }

    fn covers(&self, registry: &RegistryName, stamp: Stamp) -> bool {
        self.is_of_an_earlier(registry, stamp)
            || self
                .vector(registry)
                .is_some_and(|vector| vector.covers(stamp))
    }

    fn vector(&self, registry: &RegistryName) -> Option<&VersionVector> {
        let space = SpaceId::Registry(registry.clone());
        self.spaces.get(&space).map(|state| &state.row.vector)
    }

    /// Tokens for all that this server has of a registry from the servers that now are.
    pub(crate) fn seen_of(&self, registry: &RegistryName) -> Vec<Seen> {
        let Some(vector) = self.vector(registry) else {
            return Vec::new();
        };
        let now = |origin| {
            origin == self.clock.origin() || self.servers.values().any(|s| s.origin == origin)
        };
        let of = |(origin, time)| Seen {
            registry: registry.clone(),
            stamp: Stamp { time, origin },
        };
        let tokens = vector.iter().filter(|(origin, _)| now(*origin)).map(of);
        tokens.take(grapevine_model::MAX_SEEN).collect()
    }

    /// Parks a job until what it lacks has come, and asks for it.
    pub(crate) fn await_news(&mut self, registry: RegistryName, job: Job, memo: Memo) {
        let space = SpaceId::Registry(registry.clone());
        let partners: Vec<ServerName> = (self.partners(&space).into_iter())
            .filter(|partner| self.is_up(partner))
            .collect();
        if partners.is_empty() || self.news.waiting.len() >= MOST_WAITING {
            self.no_news(Waiting {
                registry,
                job,
                memo,
            });
            return;
        }
        let now_ms = self.now.mono_ms;
        let pulled_ms = self.news.pulled_ms.get(&registry).copied();
        if pulled_ms.is_none_or(|at_ms| now_ms >= at_ms.saturating_add(PULL_AGAIN_MS)) {
            self.news.pulled_ms.insert(registry.clone(), now_ms);
            let known = self.vector(&registry).cloned().unwrap_or_default();
            for partner in partners {
                let (space, known) = (space.clone(), known.clone());
                self.send(&partner, PeerMessage::Pull { space, known });
            }
        }
        let id = self.next_id();
        self.timer(self.config.times.news_ms, Timer::News(id));
        self.news.waiting.insert(
            id,
            Waiting {
                registry,
                job,
                memo,
            },
        );
    }

    /// A registry has grown: who has got what he waited for?
    pub(crate) fn news_of(&mut self, registry: &RegistryName) {
        let here: Vec<u64> = (self.news.waiting.iter())
            .filter(|(_, waiting)| {
                waiting.registry == *registry
                    && self
                        .first_lacking(&waiting.memo, |r| r == registry)
                        .is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in here {
            if let Some(waiting) = self.news.waiting.remove(&id) {
                self.runnable.push_back((waiting.job, waiting.memo));
            }
        }
    }

    pub(crate) fn news_are_late(&mut self, id: u64) {
        if let Some(waiting) = self.news.waiting.remove(&id) {
            self.no_news(waiting);
        }
    }

    /// It did not come: another holder may have it.
    fn no_news(&mut self, waiting: Waiting) {
        let Waiting {
            registry,
            job,
            memo,
        } = waiting;
        match job {
            Job::Request {
                to: to @ ReplyTo::Client(_),
                speaker,
                request,
            } => {
                let mut others = self.holders_to_ask(&registry);
                others.retain(|server| *server != self.config.server && self.is_up(server));
                // First those that are known to have it.
                let space = SpaceId::Registry(registry.clone());
                let has = |server: &ServerName| {
                    let have = self.spaces.get(&space).and_then(|s| s.have.get(server));
                    let mut tokens = memo.seen().iter().filter(|seen| seen.registry == registry);
                    have.is_some_and(|have| tokens.all(|seen| have.covers(seen.stamp)))
                };
                others.sort_by_key(|server| !has(server));
                if others.is_empty() {
                    self.reply(to, Err(older(&registry)));
                } else {
                    let so_far = (memo.seen().to_vec(), memo.has_nothing().to_vec());
                    self.pass_on(to, speaker, request, so_far, others);
                }
            }
            Job::Request { to, .. } => self.reply(to, Err(older(&registry))),
            Job::Question { from, id, .. } => {
                let answer = grapevine_model::Answer::Unavailable;
                self.send(&from, PeerMessage::Answered { id, answer });
            }
            // None of these carries a token.
            Job::Submit { .. }
            | Job::Steer { .. }
            | Job::FollowSites { .. }
            | Job::Refill { .. } => {}
        }
    }
}

fn older(registry: &RegistryName) -> Refusal {
    Refusal::new(
        ErrorKind::Unavailable,
        format!(
            "a change of {registry} that you have seen done has not come here, and no holder that has it can be reached now; try again later"
        ),
    )
}
