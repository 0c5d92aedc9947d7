//! A run: a seed becomes a cluster, inhabitants, clients and faults; first safety is watched under
//! faults, then everything is healed and liveness is demanded, within a stated virtual time.

use grapevine_core::{Alone, Planted, ROWS_A_TURN, Times};
use grapevine_model::{
    Envelope, EnvelopeRecipient, Hlc, Incarnation, MessageId, OriginId, QueueAnswer, QueueAsk,
    Reply, Request, ReturnContent, Speaker, Submission,
};

use crate::client::{Client, Stage};
use crate::clock::EPOCH_MS;
use crate::cluster::{Cluster, Options, Skew, Verbosity, Violation, everywhere};
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::event::{ActorIndex, Occurrence, Outcome};
use crate::faults::{self, Plan};
use crate::founders::{self, Founder};
use crate::invariants;
use crate::keeper::Keeper;
use crate::losses;
use crate::movers::Mover;
use crate::oracle::{Accepted, Oracle, Sent};
use crate::reader::Reader;
use crate::services::{self, Instance};
use crate::stewards::Steward;
use crate::view::{self, Patience};
use crate::watcher::Watcher;
use crate::world::{self, Person, World};

/// The part of a run with faults and clients, in virtual time.
const SAFETY_US: u64 = 60_000_000;
/// After everything is healed, all must be at rest within this virtual time: a back-off of at most
/// `RETRY_MOST_MS`, a take-over, and some rounds of anti-entropy.
const LIVENESS_US: u64 = 300_000_000;
/// Between two looks whether all is at rest.
const LOOK_MS: u64 = 3_000;
/// Looks at rest in a row before it is believed.
const LOOKS_AT_REST: u32 = 3;
/// So many recipients that still wait are told of, with why.
const MOST_QUEUED_TOLD: u32 = 10;
/// The longest pause between two tries in a run: its time is short.
const RETRY_MOST_MS: u64 = 10_000;
/// After so long a sender hears that its message waits: some outages of a run are longer.
const DELAY_NOTICE_MS: u64 = 12_000;

/// The shortest retention in a run: shorter than cuts may last, longer than any pause of a server.
const SHORT_RETENTION_MS: u64 = 8_000;
/// After so long what is kept has been offered again.
const REFILLED_MS: u64 = 150_000;
/// In so many in a thousand of the runs in which nothing is given up, somebody's sites all lose their
/// disks in the end.
const SITES_LOST_PERMILLE: u64 = 0;
/// So many in a thousand of the runs that may have one have it.
const SHORT_RETENTION_PERMILLE: u64 = 700;

const KEEPER: ActorIndex = 1_000;
const FAULTS: ActorIndex = 1_001;
/// The instances of services act from this on.
const INSTANCES: ActorIndex = 2_000;
/// The watchers act from this on.
const WATCHERS: ActorIndex = 3_000;
/// Those who create and delete registries, from this on.
const FOUNDERS: ActorIndex = 5_000;
/// Those who change holders.
const MOVERS: ActorIndex = 6_000;
/// The stewards.
const STEWARDS: ActorIndex = 7_000;

/// The mail programs of somebody.
const READERS: ActorIndex = 8_000;
/// They do something about so often.
const READERS_PACE_US: u64 = 200_000;
/// In so many in a thousand of the runs there are some.
const READERS_PERMILLE: u64 = 500;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Events that were played.
    pub events: u64,
    /// Virtual time that passed, in microseconds.
    pub virtual_us: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Writes that were acknowledged.
    pub written: u64,
    /// Equal for two runs exactly when everything in them was.
    pub trace_hash: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// The trace, if it was wanted.
    pub lines: String,
    /// What was reached.
    pub coverage: Coverage,
}

/// Plays a seed.
pub fn run(seed: u64, planted: Option<Planted>, verbose: Verbosity) -> Report {
    let mut dice = Dice::new(seed).fork(2);
    let patience = if dice.chance(800) {
        Patience::Endless
    } else {
        Patience::Minutes
    };
    let options = Options {
        seed,
        times: times(patience, &mut dice),
        routes: everywhere(),
        rows_a_turn: if dice.chance(300) {
            ROWS_A_TURN
        } else {
            dice.between(1, 40) as usize
        },
        alone: if dice.chance(800) {
            Alone::Accept
        } else {
            Alone::Refuse
        },
        planted,
        // A message is too old by the clock of whoever has it: minutes to give up, and clocks that
        // are wrong by an hour, do not go together.
        skewed: match (patience, dice.below(10)) {
            (Patience::Endless, 0..5) => Skew::Minutes,
            (Patience::Endless, 5..8) => Skew::Seconds,
            (Patience::Endless | Patience::Minutes, _) => Skew::None,
        },
        verbose,
    };
    let mut cluster = Cluster::new(options);
    let servers = match dice.below(10) {
        0 => 2,
        1..6 => 3,
        6..9 => 4,
        _ => 5,
    };
    // Dice of their own: what else a seed does does not hang on them.
    let mut reading = Dice::new(seed).fork(6);
    let setup = world::found(&mut cluster, servers, &mut dice)
        .and_then(|()| world::populate(&mut cluster, &mut dice))
        .and_then(|world| {
            let reader = match reading.chance(READERS_PERMILLE) {
                true => Some(world::reader(&mut cluster, &mut reading)?),
                false => None,
            };
            Ok((world, reader))
        });
    match setup {
        Ok((world, reader)) => {
            let mut run = Run::new(seed, cluster, world, dice, patience);
            if let Some(person) = reader {
                let reader = Reader::new(READERS, person, reading, READERS_PACE_US);
                run.cluster.wake_in(READERS, 1);
                run.reader = Some(reader);
            }
            run.play(seed)
        }
        Err(failed) => {
            cluster.violation("the setup works", failed.0);
            report(seed, &mut cluster, &Oracle::default())
        }
    }
}

/// The servers' patience in a run.
fn times(patience: Patience, dice: &mut Dice) -> Times {
    Times {
        take_over_ms: dice.between(4_000, 15_000),
        retry_most_ms: RETRY_MOST_MS,
        outside_first_ms: 1_000,
        outside_most_ms: RETRY_MOST_MS,
        give_up_ms: match patience {
            Patience::Endless => 5 * 24 * 3_600_000,
            Patience::Minutes => dice.between(20_000, 60_000),
        },
        // Senders are told soon: a notice is no end, whatever becomes of it.
        delay_notice_ms: DELAY_NOTICE_MS,
        over_quota_ms: dice.between(5_000, 40_000),
        hint_ms: dice.between(1_000, 20_000),
        history_ms: 3_600_000,
        orphan_ms: 60_000,
        // Nothing is put back on a disk in a run: deletions may go as soon as they are stable. Where they
        // stay, a watcher has no reason to start over, and has to hear of everything.
        tombstone_ms: if dice.chance(500) {
            0
        } else {
            Times::default().tombstone_ms
        },
        // In some runs a holder that is cut off or down is soon away for too long. A mailbox whose
        // deletions are forgotten takes no message as old as they are: so where nothing is given up,
        // nobody is away for too long.
        retention_ms: if !patience.is_endless() && dice.chance(SHORT_RETENTION_PERMILLE) {
            dice.between(SHORT_RETENTION_MS, 4 * SHORT_RETENTION_MS)
        } else {
            Times::default().retention_ms
        },
        ..Times::default()
    }
}

struct Run {
    cluster: Cluster,
    world: World,
    oracle: Oracle,
    clients: Vec<Client>,
    instances: Vec<Instance>,
    watchers: Vec<Watcher>,
    founders: Vec<Founder>,
    movers: Vec<Mover>,
    stewards: Vec<Steward>,
    reader: Option<Reader>,
    keeper: Keeper,
    plan: Plan,
    dice: Dice,
    patience: Patience,
}

impl Run {
    fn new(
        seed: u64,
        mut cluster: Cluster,
        mut world: World,
        mut dice: Dice,
        patience: Patience,
    ) -> Self {
        let start_us = cluster.now_us();
        let nodes = cluster.nodes().len();
        let plan = faults::plan(&mut dice, nodes, start_us, SAFETY_US);
        for (at_us, _) in &plan {
            cluster.wake_in(FAULTS, at_us - start_us);
        }
        let pace_us = dice.between(100_000, 1_000_000);
        let people: Vec<Person> = world.everybody().into_iter().cloned().collect();
        let clients: Vec<Client> = people
            .into_iter()
            .enumerate()
            .map(|(me, person)| Client::new(me, person, dice.fork(100 + me as u64), pace_us))
            .collect();
        let instances: Vec<Instance> = world
            .services
            .iter()
            .enumerate()
            .map(|(number, service)| {
                let me = INSTANCES + number;
                let dice = dice.fork(1_000 + number as u64);
                Instance::new(me, service.clone(), dice, pace_us)
            })
            .collect();
        // Their own dice, so that what else a seed does stays as it was.
        let mut own = dice.fork(5);
        let count = if own.chance(600) { 2 } else { 0 };
        let founders: Vec<Founder> = (0..count)
            .map(|number| {
                let dice = own.fork(10 + number as u64);
                Founder::new(FOUNDERS + number, dice, pace_us)
            })
            .collect();
        let moved = nodes > 2 && own.chance(600);
        world.holders_move = moved;
        let movers: Vec<Mover> = world
            .registries
            .iter()
            .filter(|_| moved)
            .enumerate()
            .map(|(number, registry)| {
                let dice = own.fork(20 + number as u64);
                Mover::new(MOVERS + number, registry.name.clone(), dice, pace_us)
            })
            .collect();
        let stewards: Vec<Steward> = world
            .registries
            .iter()
            .enumerate()
            .map(|(number, registry)| {
                let dice = own.fork(30 + number as u64);
                Steward::new(STEWARDS + number, registry.clone(), dice, pace_us)
            })
            .collect();
        let actors = (0..clients.len()).chain(INSTANCES..INSTANCES + instances.len());
        for me in actors {
            cluster.wake_in(me, dice.below(pace_us));
        }
        let late = (FOUNDERS..FOUNDERS + founders.len()).chain(MOVERS..MOVERS + movers.len());
        let late = late.chain(STEWARDS..STEWARDS + stewards.len());
        for me in late {
            cluster.wake_in(me, own.below(pace_us));
        }
        // Dice of their own: what the clients want does not hang on how many watch.
        let mut watching = Dice::new(seed).fork(4);
        let watchers: Vec<Watcher> = world
            .registries
            .iter()
            .zip(WATCHERS..)
            .map(|(registry, me)| {
                let (name, speaker) = (registry.name.clone(), registry.registrar.speaker());
                Watcher::new(me, name, speaker, watching.fork(me as u64))
            })
            .collect();
        for (_, me) in watchers.iter().zip(WATCHERS..) {
            cluster.wake_in(me, watching.below(pace_us));
        }
        Self {
            watchers,
            oracle: Oracle::new(&world),
            keeper: Keeper::new(KEEPER, dice.fork(3)),
            cluster,
            world,
            clients,
            instances,
            founders,
            movers,
            stewards,
            reader: None,
            plan,
            dice,
            patience,
        }
    }

    fn play(mut self, seed: u64) -> Report {
        let until_us = self.cluster.now_us() + SAFETY_US;
        while self.cluster.now_us() < until_us && self.step() {}
        self.cluster.say(|| "HEAL".to_owned());
        self.plan.clear();
        faults::heal(&mut self.cluster);
        self.cluster.outside.heal();
        for client in &mut self.clients {
            client.stop();
        }
        for instance in &mut self.instances {
            instance.stop();
        }
        for watcher in &mut self.watchers {
            watcher.stop();
        }
        for founder in &mut self.founders {
            founder.stop();
        }
        for mover in &mut self.movers {
            mover.stop();
        }
        for steward in &mut self.stewards {
            steward.stop();
        }
        if let Some(reader) = &mut self.reader {
            reader.stop();
        }
        self.keeper.hurry(&mut self.cluster);
        let mut not_quiet = self.settle();
        let others = self.late_people();
        if not_quiet.is_none() && self.lose_sites() {
            not_quiet = self.settle();
            // Offers that were not taken are repeated after a minute.
            self.cluster.run_for(REFILLED_MS);
            not_quiet = not_quiet.or_else(|| self.settle());
        }
        if not_quiet.is_none() {
            self.last_mail(&others);
            not_quiet = self.settle();
        }
        if not_quiet.is_none() {
            services::at_end(
                &mut self.cluster,
                &mut self.oracle,
                &self.world,
                &mut self.dice,
            );
            founders::at_end(&mut Stage {
                cluster: &mut self.cluster,
                oracle: &mut self.oracle,
                world: &self.world,
            });
        }
        let view = view::gather(
            &mut self.cluster,
            &self.world,
            &self.oracle,
            &others,
            self.patience,
            not_quiet,
        );
        self.watchers_at_end();
        if let Some(reader) = &mut self.reader
            && view.not_quiet.is_none()
        {
            let strict = self.patience.is_endless() && self.cluster.disks_lost() == 0;
            reader.at_end(&mut self.cluster, strict);
        }
        let found = invariants::at_end(&self.oracle, &view, &self.cluster);
        for violation in found {
            self.cluster.violation(violation.invariant, violation.what);
        }
        report(seed, &mut self.cluster, &self.oracle)
    }

    fn step(&mut self) -> bool {
        let Some(occurrence) = self.cluster.step() else {
            return false;
        };
        let mut stage = Stage {
            cluster: &mut self.cluster,
            oracle: &mut self.oracle,
            world: &self.world,
        };
        match occurrence {
            Occurrence::Quiet => {}
            Occurrence::Woken { actor: FAULTS } => self.faults_due(),
            Occurrence::Woken { actor: KEEPER } => self.keeper.woken(&mut self.cluster),
            Occurrence::Woken { actor } if actor >= READERS => {
                if let Some(reader) = &mut self.reader {
                    reader.woken(&mut self.cluster);
                }
            }
            Occurrence::Woken { actor } if actor >= STEWARDS => {
                if let Some(steward) = self.stewards.get_mut(actor - STEWARDS) {
                    steward.woken(&mut stage);
                }
            }
            Occurrence::Woken { actor } if actor >= MOVERS => {
                if let Some(mover) = self.movers.get_mut(actor - MOVERS) {
                    mover.woken(&mut stage);
                }
            }
            Occurrence::Woken { actor } if actor >= FOUNDERS => {
                if let Some(founder) = self.founders.get_mut(actor - FOUNDERS) {
                    founder.woken(&mut stage);
                }
            }
            Occurrence::Woken { actor } if actor >= WATCHERS => {
                if let Some(watcher) = self.watchers.get_mut(actor - WATCHERS) {
                    watcher.woken(&mut self.cluster);
                }
            }
            Occurrence::Woken { actor } if actor >= INSTANCES => {
                if let Some(instance) = self.instances.get_mut(actor - INSTANCES) {
                    instance.woken(&mut stage);
                }
            }
            Occurrence::Woken { actor } => {
                if let Some(client) = self.clients.get_mut(actor) {
                    client.woken(&mut stage);
                }
            }
            Occurrence::Ended {
                actor: KEEPER,
                call,
                outcome,
            } => self.keeper.ended(&mut self.cluster, call, outcome),
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= READERS => {
                if let Some(reader) = &mut self.reader {
                    reader.ended(&mut self.cluster, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= STEWARDS => {
                if let Some(steward) = self.stewards.get_mut(actor - STEWARDS) {
                    steward.ended(&mut stage, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= MOVERS => {
                if let Some(mover) = self.movers.get_mut(actor - MOVERS) {
                    mover.ended(&mut stage, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= FOUNDERS => {
                if let Some(founder) = self.founders.get_mut(actor - FOUNDERS) {
                    founder.ended(&mut stage, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= WATCHERS => {
                if let Some(watcher) = self.watchers.get_mut(actor - WATCHERS) {
                    watcher.ended(&mut self.cluster, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } if actor >= INSTANCES => {
                if let Some(instance) = self.instances.get_mut(actor - INSTANCES) {
                    instance.ended(&mut stage, call, &outcome);
                }
            }
            Occurrence::Ended {
                actor,
                call,
                outcome,
            } => {
                if let Some(client) = self.clients.get_mut(actor) {
                    client.ended(&mut stage, call, &outcome);
                }
            }
        }
        self.keeper.look(&mut self.cluster);
        true
    }

    /// Every watcher goes on at every server that runs.
    fn watchers_at_end(&mut self) {
        use crate::invariants::watchers_miss_nothing::{NAME, at_end};
        let disks_lost = self.cluster.disks_lost();
        for watcher in &self.watchers {
            for node in self.cluster.up() {
                let registry = watcher.registry().as_str();
                let found = match watcher.catch_up(&mut self.cluster, node) {
                    Ok((resumed, fresh)) => at_end(registry, node, (&resumed, &fresh), disks_lost),
                    Err(why) => vec![format!("{registry}: {why}")],
                };
                for what in found {
                    self.cluster.violation(NAME, what);
                }
            }
        }
    }

    /// In some runs everybody's patience is tried once more.
    fn lose_sites(&mut self) -> bool {
        if !self.patience.is_endless() || !self.dice.chance(SITES_LOST_PERMILLE) {
            return false;
        }
        let mut stage = Stage {
            cluster: &mut self.cluster,
            oracle: &mut self.oracle,
            world: &self.world,
        };
        let lost = losses::lose_sites(&mut stage, &mut self.dice);
        if lost {
            self.keeper.hurry(&mut self.cluster);
        }
        lost
    }

    fn faults_due(&mut self) {
        let now_us = self.cluster.now_us();
        while self.plan.first().is_some_and(|(at_us, _)| *at_us <= now_us) {
            let (_, fault) = self.plan.remove(0);
            if let Some(job) = faults::strike(&mut self.cluster, &fault) {
                self.keeper.order(&mut self.cluster, job);
            }
        }
    }

    /// Waits until all is at rest; says what is not when the time is over.
    fn settle(&mut self) -> Option<String> {
        let until_us = self.cluster.now_us() + LIVENESS_US;
        while self.clients.iter().any(|client| !client.is_idle())
            || self.instances.iter().any(|instance| !instance.is_idle())
            || self.watchers.iter().any(|watcher| !watcher.is_idle())
            || self.founders.iter().any(|founder| !founder.is_idle())
            || self.movers.iter().any(|mover| !mover.is_idle())
            || self.stewards.iter().any(|steward| !steward.is_idle())
            || self.reader.as_ref().is_some_and(|reader| !reader.is_idle())
            || !self.keeper.is_idle()
        {
            if self.cluster.now_us() > until_us {
                return Some(format!("operators and clients: {:?}", self.keeper));
            }
            self.step();
        }
        let mut at_rest = 0;
        loop {
            for steward in &self.stewards {
                steward.approve_all(&mut Stage {
                    cluster: &mut self.cluster,
                    oracle: &mut self.oracle,
                    world: &self.world,
                });
            }
            let waiting = self.waiting();
            match waiting {
                None if at_rest + 1 >= LOOKS_AT_REST => return None,
                None => at_rest += 1,
                Some(waiting) if self.cluster.now_us() > until_us => {
                    return Some(waiting + &self.queued());
                }
                Some(_) => at_rest = 0,
            }
            self.cluster.run_for(LOOK_MS);
        }
    }

    /// What still goes on.
    fn waiting(&mut self) -> Option<String> {
        let statuses = view::statuses(&mut self.cluster);
        if statuses.len() < self.cluster.up().len() {
            return Some("a server does not say how it is".to_owned());
        }
        for (node, status) in &statuses {
            let queue = &status.queue;
            if queue.messages > 0 || queue.deputy_for > 0 {
                return Some(format!("node {node} has {queue:?}"));
            }
            if !status.fetching.is_empty() {
                return Some(format!("node {node} fetches {:?}", status.fetching));
            }
            for peer in &status.peers {
                let there = self
                    .cluster
                    .find(&peer.server)
                    .map(|peer| &self.cluster.nodes()[peer]);
                if there.is_some_and(|peer| peer.is_up()) && (!peer.up || peer.behind > 0) {
                    return Some(format!("node {node} sees {peer:?}"));
                }
            }
        }
        let mut digests = std::collections::BTreeMap::new();
        for (node, status) in &statuses {
            for (registry, _, digest) in &status.registries {
                let first = digests.entry(registry.clone()).or_insert(*digest);
                if first != digest {
                    return Some(format!("{registry} differs at node {node}"));
                }
            }
        }
        None
    }

    /// Why messages wait at each server, and until when.
    fn queued(&mut self) -> String {
        let list = |node| {
            let ask = QueueAsk::List {
                message: None,
                after: None,
                limit: MOST_QUEUED_TOLD,
            };
            (node, Speaker::Operator, Request::Queue(ask))
        };
        let nodes = self.cluster.up();
        let asks = nodes.iter().copied().map(list).collect();
        let mut text = String::new();
        for (node, outcome) in nodes.into_iter().zip(self.cluster.ask_all(asks)) {
            let Outcome::Done(Reply::Queue(QueueAnswer::Items { items, .. })) = outcome else {
                text += &format!("\n  node {node} does not tell its queue: {outcome:?}");
                continue;
            };
            for item in items {
                let (message, to) = (item.message, item.recipient);
                let next = to.next_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
                text += &format!(
                    "\n  node {node}, {message} for {}: {} ({}), tried {} times, next in {next}",
                    to.name, to.state, to.reason, to.attempts
                );
            }
        }
        text
    }

    /// The late individuals whose creation was acknowledged.
    fn late_people(&mut self) -> Vec<Person> {
        let names: Vec<_> = self.oracle.created.iter().cloned().collect();
        let Some(node) = self.cluster.up().first().copied() else {
            return Vec::new();
        };
        let mut people = Vec::new();
        for name in names {
            let show = Request::Show { name: name.clone() };
            let incarnation: Incarnation = match self.cluster.ask(node, Speaker::Operator, show) {
                Outcome::Done(Reply::Entry(entry)) => entry.incarnation,
                other => {
                    let what = format!("{name} was created and is not there: {other:?}");
                    self.cluster
                        .violation(invariants::updates_survive::NAME, what);
                    continue;
                }
            };
            people.push(Person {
                name,
                incarnation,
                password: String::new(),
            });
        }
        people
    }

    /// When all is well, every server takes a message for everybody.
    fn last_mail(&mut self, others: &[Person]) {
        let everybody: Vec<Person> = self
            .world
            .everybody()
            .into_iter()
            // Their mailboxes may be full.
            .filter(|person| !self.world.is_small(&person.name))
            .chain(others)
            .cloned()
            .collect();
        for node in self.cluster.up() {
            let Some(from) = self.dice.pick(&self.world.people).cloned() else {
                continue;
            };
            let body = self.cluster.new_body();
            let id = MessageId {
                time: Hlc::at_ms(EPOCH_MS + self.cluster.now_us() / 1000),
                origin: OriginId::client(self.dice.next()),
            };
            let names: std::collections::BTreeSet<_> =
                everybody.iter().map(|p| p.name.clone()).collect();
            let submission = Submission {
                id: Some(id),
                speaker: from.speaker(),
                envelope: Envelope {
                    return_path: Some(from.name.clone()),
                    recipients: names.iter().cloned().map(EnvelopeRecipient::from).collect(),
                    content: ReturnContent::Headers,
                    envelope_id: None,
                },
                body,
                reports: None,
            };
            self.oracle.sends(
                id,
                Sent {
                    body,
                    from: from.name.clone(),
                    recipients: names.iter().cloned().collect(),
                    must: names.clone(),
                    may: names,
                    outside: std::collections::BTreeSet::new(),
                    never: std::collections::BTreeSet::new(),
                    passing: false,
                    either: std::collections::BTreeSet::new(),
                    forums: std::collections::BTreeSet::new(),
                    accepted: None,
                },
            );
            match self.cluster.submit(node, submission) {
                Outcome::Done(Reply::Accepted { message, copies }) => {
                    let accepted = Accepted {
                        at_us: self.cluster.now_us(),
                        node,
                        copies,
                        disks_lost: self.cluster.disks_lost(),
                    };
                    self.oracle.accepted(message, accepted);
                }
                other => {
                    let what =
                        format!("node {node} does not take a message for everybody: {other:?}");
                    self.cluster.violation("all is well in the end", what);
                }
            }
        }
    }
}

fn report(seed: u64, cluster: &mut Cluster, oracle: &Oracle) -> Report {
    let mut violations = std::mem::take(&mut cluster.violations);
    violations.extend(oracle.violations.iter().cloned());
    let accepted = oracle.sent.values().filter(|sent| sent.accepted.is_some());
    let written = oracle
        .writes
        .values()
        .flatten()
        .filter(|write| matches!(write.fate, crate::oracle::WriteFate::Done { .. }));
    Report {
        seed,
        events: cluster.events,
        virtual_us: cluster.now_us(),
        accepted: accepted.count() as u64,
        written: written.count() as u64,
        trace_hash: cluster.trace_hash(),
        violations,
        lines: cluster.take_lines(),
        coverage: std::mem::take(&mut cluster.coverage),
    }
}
