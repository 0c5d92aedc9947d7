//! Services in a run: an instance of each registry that registers, renews, moves, goes and lets its
//! lease end, and looks at the pools that it is in; and the demands of the end.
//!
//! It does one thing at a time. A place that it has given up it never takes again, so that whoever is
//! found there is known to be found by mistake.

use std::collections::BTreeSet;

use grapevine_model::{EntryChange, Name, Place, Reply, Request, SiteDoor, SiteOffer, Speaker};

use crate::client::{Stage, any_server};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::invariants::leases::{self, Look, Registration};
use crate::oracle::{Oracle, WriteFate};
use crate::world::{Person, Service, World};

/// The lease that the end is judged with.
const LAST_LEASE_MS: u64 = 30_000;
/// Within so long every server in contact finds what was registered at one of them.
const SEEN_BY_ALL_MS: u64 = 3_000;
/// So long after its end a lease may be found where all clocks are known to agree: a beat and its
/// journey.
const FASTEST_CLOCK_MS: u64 = 2_000;
/// Clocks that agree as well as this see a lease end together (docs/dns.md).
const AGREE_US: u64 = 60_000_000;

/// A client that works for an instance.
#[derive(Debug)]
pub(crate) struct Instance {
    me: ActorIndex,
    service: Service,
    dice: Dice,
    server: NodeIndex,
    job: Option<(CallId, Job)>,
    working: bool,
    pace_us: u64,
    /// The place it has now; they are numbered.
    port: u16,
}

#[derive(Debug)]
enum Job {
    /// Which of its registrations.
    Register(usize),
    Find {
        pool: Name,
        asked_us: u64,
        node: NodeIndex,
    },
}

impl Instance {
    pub(crate) fn new(me: ActorIndex, service: Service, dice: Dice, pace_us: u64) -> Self {
        Self {
            me,
            service,
            dice,
            server: 0,
            job: None,
            working: true,
            pace_us,
            port: 1_000,
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
        let lease_ms = self.dice.between(1_000, 15_000);
        let job = match self.dice.below(100) {
            0..30 => self.register(stage, Some(lease_ms)),
            30..38 => {
                self.port += 1;
                self.register(stage, Some(lease_ms))
            }
            38..43 => {
                let job = self.register(stage, None);
                self.port += 1;
                job
            }
            _ => {
                let services = &stage.world.services;
                let service = self.dice.pick(services).unwrap_or(&self.service);
                self.find(stage, service.pool.clone())
            }
        };
        self.job = Some(job);
    }

    fn register(&self, stage: &mut Stage<'_>, lease_ms: Option<u64>) -> (CallId, Job) {
        let place = place(&self.service.instance, self.port);
        let (request, registration) = registration(stage.cluster, &self.service, place, lease_ms);
        let ask = Ask::Request(request);
        let speaker = self.service.instance.speaker();
        let call = stage.cluster.call(self.me, self.server, speaker, ask);
        let name = self.service.instance.name.clone();
        let all = stage.oracle.registrations.entry(name).or_default();
        all.push(registration);
        (call, Job::Register(all.len() - 1))
    }

    fn find(&self, stage: &mut Stage<'_>, pool: Name) -> (CallId, Job) {
        let ask = Ask::Request(find(&pool));
        let speaker = Speaker::Anonymous;
        let call = stage.cluster.call(self.me, self.server, speaker, ask);
        let job = Job::Find {
            pool,
            asked_us: stage.cluster.now_us(),
            node: self.server,
        };
        (call, job)
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, stage: &mut Stage<'_>, call: CallId, outcome: &Outcome) {
        let Some((_, job)) = self.job.take_if(|(own, _)| *own == call) else {
            return;
        };
        match job {
            Job::Register(number) => {
                let name = &self.service.instance.name;
                registered(stage.oracle, stage.cluster, name, number, outcome);
                if outcome.refusal().is_some() {
                    // P7, for changes: who has the right is refused only where nobody can tell.
                    let service = &self.service;
                    let what = format!("{} registers: {outcome:?}", service.instance.name);
                    let kind = outcome.refusal();
                    let found = kind.and_then(|kind| {
                        crate::invariants::unknown_is_never_empty::refused(&what, kind)
                    });
                    if let Some(what) = found {
                        stage.cluster.violation(leases::NAME, what);
                    }
                }
            }
            Job::Find {
                pool,
                asked_us,
                node,
            } => {
                let found = judge(
                    stage.oracle,
                    stage.cluster,
                    stage.world,
                    (&pool, node, asked_us),
                    outcome,
                );
                for (invariant, what) in found {
                    stage.cluster.violation(invariant, what);
                }
            }
        }
        if matches!(outcome, Outcome::NotSent | Outcome::Unknown) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        if self.working {
            // Now and then it is silent for so long that its lease ends.
            let pause_us = if self.dice.chance(50) {
                self.dice.between(5_000_000, 25_000_000)
            } else {
                self.dice.between(self.pace_us / 10, self.pace_us * 2)
            };
            stage.cluster.wake_in(self.me, pause_us);
        }
    }
}

/// When all is healed and at rest: every server finds what is registered at one of them, and, when
/// the lease has ended, none does.
pub(crate) fn at_end(cluster: &mut Cluster, oracle: &mut Oracle, world: &World, dice: &mut Dice) {
    let up = cluster.up();
    let mut given = Vec::new();
    for service in &world.services {
        let Some(node) = dice.pick(&up).copied() else {
            return;
        };
        let name = &service.instance.name;
        // No instance has got so far in the run.
        let place = place(&service.instance, 60_000);
        let (request, registration) =
            registration(cluster, service, place.clone(), Some(LAST_LEASE_MS));
        let all = oracle.registrations.entry(name.clone()).or_default();
        all.push(registration);
        let number = all.len() - 1;
        let outcome = cluster.ask(node, service.instance.speaker(), request);
        registered(oracle, cluster, name, number, &outcome);
        if !matches!(outcome, Outcome::Done(Reply::Written(_))) {
            let what = format!("in the end node {node} does not register {name}: {outcome:?}");
            cluster.violation(leases::NAME, what);
        }
        given.push((name.clone(), place));
    }
    cluster.run_for(SEEN_BY_ALL_MS);
    let agree = cluster.clocks_differ_us() < AGREE_US;
    let sure = SEEN_BY_ALL_MS * 2 * 1_000 + cluster.clocks_differ_us() < LAST_LEASE_MS * 1_000;
    for (pool, node, found) in look_everywhere(cluster, oracle, world) {
        let members = world.members_of(&pool);
        for (name, place) in given.iter().filter(|(name, _)| members.contains(name)) {
            if sure && !found.contains(place) {
                let what =
                    format!("{name} is registered, and node {node} finds {found:?} in {pool}");
                cluster.violation(leases::NAME, what);
            }
        }
    }
    cluster.run_for(LAST_LEASE_MS + FASTEST_CLOCK_MS);
    for (pool, node, found) in look_everywhere(cluster, oracle, world) {
        for (name, place) in &given {
            if agree && found.contains(place) {
                let what = format!("{name}'s lease has ended, and node {node} finds it in {pool}");
                cluster.violation(leases::NAME, what);
            }
        }
    }
}

/// What every server finds in every pool; whatever is wrong with an answer is noted.
fn look_everywhere(
    cluster: &mut Cluster,
    oracle: &Oracle,
    world: &World,
) -> Vec<(Name, NodeIndex, BTreeSet<Place>)> {
    let mut asks = Vec::new();
    for service in &world.services {
        for node in cluster.up() {
            asks.push((node, service.pool.clone()));
        }
    }
    let asked_us = cluster.now_us();
    let requests = asks
        .iter()
        .map(|(node, pool)| (*node, Speaker::Anonymous, find(pool)));
    let outcomes = cluster.ask_all(requests.collect());
    let mut all = Vec::new();
    for ((node, pool), outcome) in asks.into_iter().zip(outcomes) {
        for (invariant, what) in judge(oracle, cluster, world, (&pool, node, asked_us), &outcome) {
            cluster.violation(invariant, what);
        }
        match outcome {
            Outcome::Done(Reply::Located(located)) if !located.partial => {
                let places = located.sites.into_iter().map(|site| site.offer.place);
                all.push((pool, node, places.collect()));
            }
            other => {
                let what = format!("in the end node {node} can't find all of {pool}: {other:?}");
                cluster.violation(leases::NAME, what);
            }
        }
    }
    all
}

fn judge(
    oracle: &Oracle,
    cluster: &Cluster,
    world: &World,
    (pool, node, asked_us): (&Name, NodeIndex, u64),
    outcome: &Outcome,
) -> Vec<(&'static str, String)> {
    let members = world.members_of(pool);
    let lasting: BTreeSet<Name> = world
        .services
        .iter()
        .map(|service| service.printer.clone())
        .filter(|printer| members.contains(printer))
        .collect();
    let registry = world.registry(pool.registry());
    let holds = registry.is_some_and(|r| r.holders.contains(&cluster.nodes()[node].name));
    let look = Look {
        question: format!("{pool} at node {node}"),
        asked_us,
        answered_us: cluster.now_us(),
        // Whoever holds the pool's registry answers by what it has itself; another passes the question on.
        origin: (cluster.nodes()[node].origin).filter(|_| !world.holders_move && holds),
        spread_us: cluster.clocks_differ_us(),
        lasting: &lasting,
    };
    let instances = world
        .services
        .iter()
        .map(|service| &service.instance.name)
        .filter(|name| members.contains(*name))
        .map(|name| {
            let all = oracle.registrations.get(name);
            (name, all.map_or(&[][..], Vec::as_slice))
        });
    leases::looked(&look, instances, outcome)
}

fn registration(
    cluster: &Cluster,
    service: &Service,
    place: Place,
    lease_ms: Option<u64>,
) -> (Request, Registration) {
    let registration = Registration {
        place: lease_ms.map(|_| place.clone()),
        lease_us: lease_ms.unwrap_or(0) * 1_000,
        asked_us: cluster.now_us(),
        ended_us: None,
        fate: WriteFate::Unknown,
    };
    let offers = lease_ms.map(|_| offer(place)).into_iter().collect();
    (
        sites(&service.instance.name, offers, lease_ms),
        registration,
    )
}

fn registered(
    oracle: &mut Oracle,
    cluster: &Cluster,
    name: &Name,
    number: usize,
    outcome: &Outcome,
) {
    let all = oracle.registrations.get_mut(name);
    if let Some(registration) = all.and_then(|all| all.get_mut(number)) {
        registration.ended_us = Some(cluster.now_us());
        registration.fate = WriteFate::of(outcome, cluster.now_us());
    }
}

/// The request that says where an individual is.
pub(crate) fn sites(name: &Name, sites: Vec<SiteOffer>, lease_ms: Option<u64>) -> Request {
    Request::Change {
        name: name.clone(),
        change: EntryChange::ConnectSites {
            door: SiteDoor::any(),
            sites,
            lease_ms,
        },
    }
}

/// A place of an individual.
#[expect(
    clippy::expect_used,
    reason = "the simulator's own places are literals"
)]
pub(crate) fn place(person: &Person, port: u16) -> Place {
    let host = person.name.registry();
    let text = format!("{host}.example:{port}");
    text.parse().expect("a place of the simulator")
}

/// The offer of a place.
pub(crate) fn offer(place: Place) -> SiteOffer {
    SiteOffer {
        place,
        priority: 0,
        weight: 0,
        note: grapevine_model::SiteNote::default(),
    }
}

fn find(pool: &Name) -> Request {
    Request::Find {
        name: pool.clone(),
        door: None,
        known: None,
    }
}
