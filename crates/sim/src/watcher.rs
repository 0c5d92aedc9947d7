//! A watcher: it follows a registry from whichever server answers, and keeps what it was told.
//!
//! It goes on with the token of its last batch and nothing else. Of two values of one field the one
//! with the greater stamp counts, as batches of different servers come in any order. Must never look
//! at anything but its batches: in the end what it knows is held against what is there.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Changes, Course, Happened, Incarnation, RegistryName, Reply, Request, Since, Speaker, Stamp,
    WatchTarget,
};

use crate::client::any_server;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};

/// It waits for a change so long at most, in virtual time.
const WAIT_MS: u32 = 3_000;
/// Batches of one catching-up in the end; more would be a server that never comes to an end.
const MOST_BATCHES: usize = 1_000;

/// A field of an entry, or an item of one of its lists.
type Place = (Incarnation, String, String);

/// What a watcher was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The latest of each: its value, none where it was removed.
    pub told: BTreeMap<Place, (Stamp, Option<String>)>,
    /// Entries that are no more: an incarnation never returns.
    pub gone: BTreeSet<Incarnation>,
}

impl Known {
    /// Takes a batch in.
    pub fn take(&mut self, changes: &Changes) {
        if matches!(changes.course, Course::StartsOver { .. }) {
            *self = Self::default();
        }
        for event in &changes.events {
            let (field, item, value) = match &event.what {
                Happened::Created { kind } => ("", String::new(), Some(format!("{kind:?}"))),
                Happened::Deleted => {
                    self.gone.insert(event.incarnation);
                    continue;
                }
                Happened::Set { field, value } => {
                    (field.as_str(), String::new(), Some(value.clone()))
                }
                Happened::Cleared { field } => (field.as_str(), String::new(), None),
                Happened::Added { list, item } => {
                    (list.as_str(), item.clone(), Some(String::new()))
                }
                Happened::Removed { list, item } => (list.as_str(), item.clone(), None),
            };
            let place = (event.incarnation, field.to_owned(), item.to_lowercase());
            let newer = self
                .told
                .get(&place)
                .is_none_or(|(stamp, _)| *stamp < event.stamp);
            if newer {
                self.told.insert(place, (event.stamp, value));
            }
        }
    }

    /// What is there, by it.
    pub fn standing(&self) -> BTreeMap<&Place, (Stamp, &str)> {
        self.told
            .iter()
            .filter(|((incarnation, ..), _)| !self.gone.contains(incarnation))
            .filter_map(|(place, (stamp, value))| Some((place, (*stamp, value.as_deref()?))))
            .collect()
    }
}

/// A watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    me: ActorIndex,
    registry: RegistryName,
    speaker: Speaker,
    dice: Dice,
    server: NodeIndex,
    since: Since,
    known: Known,
    call: Option<CallId>,
    working: bool,
}

impl Watcher {
    /// One that follows a registry from its beginning, as its registrar.
    pub(crate) fn new(
        me: ActorIndex,
        registry: RegistryName,
        speaker: Speaker,
        dice: Dice,
    ) -> Self {
        Self {
            me,
            registry,
            speaker,
            dice,
            server: 0,
            since: Since::Beginning,
            known: Known::default(),
            call: None,
            working: true,
        }
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    /// It begins nothing more.
    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, cluster: &mut Cluster) {
        if !self.working || self.call.is_some() {
            return;
        }
        // Any server may go on with what another one began.
        if self.dice.chance(400) {
            self.server = any_server(cluster, &mut self.dice);
        }
        let wait_ms = if self.dice.chance(500) { WAIT_MS } else { 0 };
        let request = watch(&self.registry, &self.since, wait_ms);
        let ask = Ask::Request(request);
        self.call = Some(cluster.call(self.me, self.server, self.speaker.clone(), ask));
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, cluster: &mut Cluster, call: CallId, outcome: &Outcome) {
        if self.call != Some(call) {
            return;
        }
        self.call = None;
        match outcome {
            Outcome::Done(Reply::Changes(changes)) => {
                self.known.take(changes);
                self.since = Since::Token(changes.token.clone());
            }
            // Nothing was told: it is asked again, at another server perhaps.
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::NotSent | Outcome::Unknown => {
                self.server = any_server(cluster, &mut self.dice);
            }
        }
        if self.working {
            let pause_us = self.dice.between(100_000, 3_000_000);
            cluster.wake_in(self.me, pause_us);
        }
    }

    /// What it knows after going on at this server until nothing more comes, and what somebody
    /// knows who begins there now; or why that can't be told.
    pub(crate) fn catch_up(
        &self,
        cluster: &mut Cluster,
        node: NodeIndex,
    ) -> Result<(Known, Known), String> {
        let resumed = self.read_all(cluster, node, self.known.clone(), self.since.clone())?;
        let fresh = self.read_all(cluster, node, Known::default(), Since::Beginning)?;
        Ok((resumed, fresh))
    }

    fn read_all(
        &self,
        cluster: &mut Cluster,
        node: NodeIndex,
        mut known: Known,
        mut since: Since,
    ) -> Result<Known, String> {
        for _ in 0..MOST_BATCHES {
            let request = watch(&self.registry, &since, 0);
            match cluster.ask(node, self.speaker.clone(), request) {
                Outcome::Done(Reply::Changes(changes)) => {
                    known.take(&changes);
                    if !changes.more {
                        return Ok(known);
                    }
                    since = Since::Token(changes.token);
                }
                other => return Err(format!("node {node} answers a watch with {other:?}")),
            }
        }
        Err(format!("node {node} has always more to tell"))
    }

    /// What it follows.
    pub(crate) fn registry(&self) -> &RegistryName {
        &self.registry
    }
}

fn watch(registry: &RegistryName, since: &Since, wait_ms: u32) -> Request {
    Request::Watch {
        target: WatchTarget::Registry(registry.clone()),
        since: since.clone(),
        wait_ms,
    }
}
