//! Founders: operators who create registries, fill them, delete them and create them again, at
//! whichever server they reach, on all sides of a partition; and the demands of the end.
//!
//! What an entry belongs to is asked before and after it is made, at the same server: it is known
//! only when both answers agree.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{Incarnation, Name, RegistryName, Reply, Request, ServerName, Speaker};

use crate::client::{Stage, any_server};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::invariants::registries_do_not_mix;
use crate::oracle::{Entered, WriteFate};
use crate::world::{name, registry_name};

/// The registries that come and go.
const PASSING: [&str; 2] = ["come", "gone"];
/// Of a thousand operations these are creations, up to the next number deletions, and the rest entries.
const CREATE_BELOW: u64 = 250;
const DELETE_BELOW: u64 = 370;

/// An operator.
#[derive(Debug)]
pub(crate) struct Founder {
    me: ActorIndex,
    dice: Dice,
    server: NodeIndex,
    job: Option<(CallId, Job)>,
    working: bool,
    pace_us: u64,
    entries: u64,
}

#[derive(Debug)]
enum Job {
    /// Of its life in the oracle.
    Create(RegistryName, u32),
    Delete(RegistryName),
    /// Which registry is it now?
    Before(RegistryName),
    Enter(RegistryName, Incarnation, Entered),
    After(RegistryName, Incarnation, Entered),
}

impl Founder {
    pub(crate) fn new(me: ActorIndex, dice: Dice, pace_us: u64) -> Self {
        Self {
            me,
            dice,
            server: 0,
            job: None,
            working: true,
            pace_us,
            entries: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, stage: &mut Stage<'_>) {
        if !self.working || self.job.is_some() {
            return;
        }
        if self.dice.chance(300) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        let which = self.dice.index(PASSING.len());
        let registry = registry_name(PASSING[which]);
        let disks_lost = stage.cluster.disks_lost();
        match self.dice.below(1_000) {
            0..CREATE_BELOW => {
                let holders = self.holders(stage.cluster);
                let create = Request::RegistryCreate {
                    registry: registry.clone(),
                    holders,
                    registrars: Vec::new(),
                };
                self.ask(stage, create, Job::Create(registry, disks_lost));
            }
            CREATE_BELOW..DELETE_BELOW => {
                let known = stage.oracle.founded.entry(registry.clone()).or_default();
                known.deletions += 1;
                let delete = Request::RegistryDelete {
                    registry: registry.clone(),
                };
                self.ask(stage, delete, Job::Delete(registry));
            }
            _ => {
                let show = show(registry.group());
                self.ask(stage, show, Job::Before(registry));
            }
        }
    }

    /// Two or three servers, or all.
    fn holders(&mut self, cluster: &Cluster) -> Vec<ServerName> {
        let mut holders: Vec<ServerName> = cluster
            .nodes()
            .iter()
            .filter(|node| !node.gone)
            .map(|node| node.name.clone())
            .collect();
        if self.dice.chance(200) {
            return Vec::new();
        }
        self.dice.shuffle(&mut holders);
        holders.truncate(self.dice.between(2, 3) as usize);
        holders
    }

    fn ask(&mut self, stage: &mut Stage<'_>, request: Request, job: Job) {
        let ask = Ask::Request(request);
        let call = stage
            .cluster
            .call(self.me, self.server, Speaker::Operator, ask);
        self.job = Some((call, job));
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, stage: &mut Stage<'_>, call: CallId, outcome: &Outcome) {
        let Some((_, job)) = self.job.take_if(|(own, _)| *own == call) else {
            return;
        };
        match job {
            Job::Create(registry, disks_lost) => {
                let fate = WriteFate::of(outcome, stage.cluster.now_us());
                let known = stage.oracle.founded.entry(registry).or_default();
                if let WriteFate::Done { copies, .. } = fate {
                    known.creations.push((copies, disks_lost));
                }
            }
            Job::Delete(registry) => {
                if outcome.is_surely_not_done()
                    && let Some(known) = stage.oracle.founded.get_mut(&registry)
                {
                    known.deletions -= 1;
                }
            }
            Job::Before(registry) => {
                if let Some(of) = incarnation(outcome) {
                    self.entries += 1;
                    let simple = format!("e{}-{}", self.me, self.entries);
                    let entry = Entered {
                        name: name(&format!("{simple}@{registry}")),
                        of: None,
                        disks_lost: stage.cluster.disks_lost(),
                        fate: WriteFate::Unknown,
                    };
                    let create = Request::GroupCreate {
                        name: entry.name.clone(),
                        remark: simple,
                        owners: Vec::new(),
                    };
                    self.ask(stage, create, Job::Enter(registry, of, entry));
                }
            }
            Job::Enter(registry, of, mut entry) => {
                entry.fate = WriteFate::of(outcome, stage.cluster.now_us());
                let group = registry.group();
                self.ask(stage, show(group), Job::After(registry, of, entry));
            }
            Job::After(registry, of, mut entry) => {
                entry.of = incarnation(outcome).filter(|after| *after == of);
                let known = stage.oracle.founded.entry(registry).or_default();
                known.entries.push(entry);
            }
        }
        if self.job.is_some() {
            return;
        }
        if matches!(outcome, Outcome::NotSent | Outcome::Unknown) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        if self.working {
            let pause_us = self.dice.between(self.pace_us / 10, self.pace_us * 2);
            stage.cluster.wake_in(self.me, pause_us);
        }
    }
}

fn show(name: Name) -> Request {
    Request::Show { name }
}

fn incarnation(outcome: &Outcome) -> Option<Incarnation> {
    match outcome {
        Outcome::Done(Reply::Entry(entry)) => Some(entry.incarnation),
        _ => None,
    }
}

/// Asks every server for everything, when all is at rest.
pub(crate) fn at_end(stage: &mut Stage<'_>) {
    let nodes = stage.cluster.up();
    let founded = std::mem::take(&mut stage.oracle.founded);
    for (registry, known) in &founded {
        let shown = shown(stage.cluster, &nodes, &registry.group());
        let lives: BTreeSet<Option<Incarnation>> = shown.values().map(incarnation).collect();
        let now = lives.first().copied().flatten();
        let mut found = registries_do_not_mix::named(registry, known, &shown, stage.cluster);
        if lives.len() == 1 {
            for entry in &known.entries {
                let shown = self::shown(stage.cluster, &nodes, &entry.name);
                found.extend(registries_do_not_mix::entry(
                    entry,
                    now,
                    &shown,
                    stage.cluster,
                ));
            }
        }
        for what in found {
            stage.cluster.violation(registries_do_not_mix::NAME, what);
        }
    }
    stage.oracle.founded = founded;
}

fn shown(cluster: &mut Cluster, nodes: &[NodeIndex], name: &Name) -> BTreeMap<NodeIndex, Outcome> {
    let asks = nodes
        .iter()
        .map(|node| (*node, Speaker::Operator, show(name.clone())));
    let outcomes = cluster.ask_all(asks.collect());
    nodes.iter().copied().zip(outcomes).collect()
}
