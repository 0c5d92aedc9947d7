//! One size of the model, measured: idle, messages, updates, changes of `gv`, logins, a join, a list.
//!
//! Each phase is played by itself, and its beats are counted apart: they come whether something is done or not.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_model::{EntryChange, Request, Secret, Source, Speaker};

use crate::effects::hash;
use crate::event::Ask;
use crate::meter::{ServerCost, Tally};
use crate::network::Weather;
use crate::scale::model::{Deed, Ends, Model, STREAMS, Size};
use crate::scale::resources::{Spent, resident_bytes};
use crate::world::{SetupFailed, admit, insist, name, server_name};

/// Until what was begun is at rest, in virtual time.
const REST_US: u64 = 8_000_000;
/// With faults a server falls about so often, and comes back after some of it.
const FALL_US: u64 = 6_000_000;
/// Longest rest with faults: a deputy takes over, retries double their pauses.
const LONG_REST_US: u64 = 180_000_000;
/// A list is done when nothing of it moved for so long.
const LIST_STILL_US: u64 = 5_000_000;

/// Whether machines and network fail while messages are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Nothing fails.
    None,
    /// One message between servers in a hundred is lost, some come late or twice, and servers fall and come back.
    Some,
}

/// How much is done.
#[derive(Debug, Clone)]
pub struct Work {
    /// Messages handed in, for each server; as many updates, half as many logins.
    pub a_server: u64,
    /// Most of each, over all servers.
    pub most: u64,
    /// Virtual seconds in which nothing is done, and in which each of the rest is.
    pub seconds: u64,
    /// Members of a list that gets a message; none for no list.
    pub list: Option<u64>,
    /// Whether things fail.
    pub faults: Faults,
}

/// What one kind of work cost.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Which.
    pub what: &'static str,
    /// How often it was done; servers times seconds for doing nothing.
    pub operations: u64,
    /// How what was asked ended.
    pub ends: Ends,
    /// Virtual seconds.
    pub seconds: f64,
    /// All servers together.
    pub cost: ServerCost,
    /// By kind of message between servers.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// The processor time of all cores.
    pub processor: Duration,
    /// Second copies kept: the most at one server, and all.
    pub deputy: (u64, u64),
    /// Servers that one server spoke with: the most.
    pub spoke_with: usize,
    /// Messages of which not as many copies came as were to come.
    pub missing: u64,
    /// Microseconds until the last copy of each message was durable, in order.
    pub latency_us: Vec<u64>,
}

impl Phase {
    /// Messages between servers that are no beats, and their octets.
    pub fn said(&self) -> Tally {
        let mut said = self.cost.sent;
        if let Some(beats) = self.kinds.get("beat") {
            said.count -= beats.count;
            said.octets -= beats.octets;
        }
        said
    }

    /// A part of the whole for each operation.
    pub fn each(&self, whole: u64) -> f64 {
        whole as f64 / self.operations.max(1) as f64
    }
}

/// What one size costs.
#[derive(Debug, Clone)]
pub struct Costs {
    /// How large.
    pub size: Size,
    /// By kind of work.
    pub phases: Vec<Phase>,
    /// Memory of the whole process (cores and simulated disks) without names, and with them.
    pub memory: (u64, u64),
    /// Events that were played.
    pub events: u64,
    /// What must not be, and was.
    pub violations: Vec<String>,
    /// The trace, if it was wanted.
    pub lines: String,
}

impl Costs {
    /// What one operation adds to what the same time costs when nothing is done.
    pub fn added(&self, phase: &Phase, of: &dyn Fn(&Phase) -> f64) -> f64 {
        let idle = self.phase("idle");
        let background = idle.map_or(0.0, |idle| of(idle) / idle.seconds.max(1e-9));
        let added = of(phase) - background * phase.seconds;
        added.max(0.0) / phase.operations.max(1) as f64
    }

    /// A phase by its name.
    pub fn phase(&self, what: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.what == what)
    }
}

/// Makes a size and measures it.
pub fn measure(size: &Size, work: &Work) -> Result<Costs, SetupFailed> {
    let mut model = Model::new(size.clone())?;
    let empty = resident_bytes();
    model.populate()?;
    let full = resident_bytes();
    // The first mail of all makes mailboxes, of which some are asked about every now and then: that is no part of what follows.
    model.messages(work);
    let mut phases = vec![model.idle(work), model.messages(work)];
    phases.push(model.updates(work));
    phases.push(model.system_updates());
    phases.push(model.logins(work)?);
    if let Some(members) = work.list {
        phases.push(model.list(members)?);
    }
    phases.push(model.join()?);
    let said = |v: &crate::Violation| format!("{}: {}", v.invariant, v.what);
    let lines = model.cluster.take_lines();
    Ok(Costs {
        size: size.clone(),
        phases,
        memory: (empty, full),
        events: model.cluster.events,
        violations: model.cluster.violations.iter().map(said).collect(),
        lines,
    })
}

impl Model {
    fn operations(&self, work: &Work) -> u64 {
        (work.a_server * self.size.servers as u64)
            .min(work.most)
            .max(1)
    }

    /// Plays one kind of work and counts.
    fn phase(
        &mut self,
        what: &'static str,
        operations: u64,
        deeds: Vec<Deed>,
        for_us: u64,
    ) -> Phase {
        let begun_us = self.cluster.now_us();
        let mut ends = Ends::default();
        self.measure().journeys.clear();
        let spent = Spent::from_now();
        self.play(deeds, begun_us + for_us, &mut ends);
        self.counted(what, operations, ends, begun_us, &spent)
    }

    fn counted(
        &mut self,
        what: &'static str,
        operations: u64,
        ends: Ends,
        begun_us: u64,
        spent: &Spent,
    ) -> Phase {
        let seconds = (self.cluster.now_us() - begun_us) as f64 / 1e6;
        let meter = self.cluster.meter.get_or_insert_default();
        let cost = meter.sum();
        let most = meter.servers.values().map(|server| server.deputy_for).max();
        let spoke = meter.servers.values().map(|server| server.spoke_with.len());
        let missing = meter.journeys.values().filter(|journey| journey.lacks());
        let mut latency_us: Vec<u64> = (meter.journeys.values())
            .map(|journey| journey.last_us - journey.submitted_us)
            .collect();
        latency_us.sort_unstable();
        Phase {
            what,
            operations,
            ends,
            seconds,
            processor: cost.core.mul_f64(spent.share()),
            deputy: (most.unwrap_or(0), cost.deputy_for),
            kinds: meter.kinds.clone(),
            spoke_with: spoke.max().unwrap_or(0),
            missing: missing.count() as u64,
            latency_us,
            cost,
        }
    }

    fn idle(&mut self, work: &Work) -> Phase {
        let seconds = work.seconds * self.size.servers as u64;
        self.phase("idle", seconds, Vec::new(), work.seconds * 1_000_000)
    }

    /// Each from somebody to somebody, handed in anywhere.
    fn messages(&mut self, work: &Work) -> Phase {
        let operations = self.operations(work);
        let mut deeds = Vec::new();
        for at_us in self.times(operations, work.seconds) {
            let to = self.anybody();
            let (id, submission) = self.letter(at_us, vec![self.person(to)]);
            deeds.push(Deed {
                at_us,
                node: self.anywhere(),
                speaker: Speaker::Operator,
                ask: Ask::Submit(Box::new(submission)),
                follow: Some((id, 2.min(self.size.servers as u64))),
            });
        }
        match work.faults {
            Faults::None => self.phase(
                "message",
                operations,
                deeds,
                work.seconds * 1_000_000 + REST_US,
            ),
            Faults::Some => self.among_faults(operations, deeds, work.seconds),
        }
    }

    /// The same while things fail; at the end all is mended, and waited for.
    fn among_faults(&mut self, operations: u64, mut deeds: Vec<Deed>, seconds: u64) -> Phase {
        let begun_us = self.cluster.now_us();
        let mut ends = Ends::default();
        self.measure().journeys.clear();
        let spent = Spent::from_now();
        self.cluster.network.set_weather(Weather {
            tail_permille: 20,
            loss_permille: 10,
            double_permille: 5,
            ..Weather::FAIR
        });
        let until_us = begun_us + seconds * 1_000_000;
        while self.cluster.now_us() < until_us {
            let next_us = self.cluster.now_us() + FALL_US / 2;
            let later = deeds.iter().position(|deed| deed.at_us > next_us);
            let rest = later.map_or(Vec::new(), |at| deeds.split_off(at));
            let now = std::mem::replace(&mut deeds, rest);
            self.play(now, next_us, &mut ends);
            let down = (0..self.size.servers).find(|node| !self.cluster.nodes()[*node].is_up());
            match down {
                Some(node) => self.cluster.restart(node),
                None if self.size.servers > 2 => {
                    let node = self.anywhere();
                    self.cluster.crash(node);
                }
                None => {}
            }
        }
        for node in 0..self.size.servers {
            self.cluster.restart(node);
        }
        self.cluster.network.set_weather(STREAMS);
        self.play(deeds, until_us + REST_US, &mut ends);
        let lacks = |model: &Self| {
            let meter = model.cluster.meter.as_ref();
            meter.is_some_and(|m| m.journeys.values().any(|journey| journey.lacks()))
        };
        while lacks(self) && self.cluster.now_us() < until_us + LONG_REST_US {
            let next_us = self.cluster.now_us() + 1_000_000;
            self.pass_until(next_us, &mut ends);
        }
        self.counted("message", operations, ends, begun_us, &spent)
    }

    /// Each a remark of somebody, asked of any server.
    fn updates(&mut self, work: &Work) -> Phase {
        let operations = self.operations(work);
        let deeds = (self.times(operations, work.seconds).into_iter())
            .map(|at_us| {
                let who = self.anybody();
                let request = Request::Change {
                    name: self.person(who),
                    change: EntryChange::Remark(format!("as of {at_us}")),
                };
                self.deed(at_us, request)
            })
            .collect();
        self.phase(
            "update",
            operations,
            deeds,
            work.seconds * 1_000_000 + REST_US,
        )
    }

    /// Changes of `gv`, which all servers hold.
    fn system_updates(&mut self) -> Phase {
        const CHANGES: u64 = 4;
        let deeds = (self.times(CHANGES, CHANGES).into_iter())
            .map(|at_us| {
                let request = Request::Change {
                    name: name("r0@gv"),
                    change: EntryChange::Remark(format!("as of {at_us}")),
                };
                self.deed(at_us, request)
            })
            .collect();
        self.phase("gv update", CHANGES, deeds, CHANGES * 1_000_000 + REST_US)
    }

    /// Right passwords of some people.
    fn logins(&mut self, work: &Work) -> Result<Phase, SetupFailed> {
        const PEOPLE: u64 = 20;
        for who in 0..PEOPLE.min(self.size.present()) {
            let request = Request::Change {
                name: self.person(who),
                change: EntryChange::Password(hash("pw")),
            };
            insist(&mut self.cluster, 0, &Speaker::Operator, &request)?;
        }
        self.cluster.run_for(3_000);
        let operations = self.operations(work).div_ceil(2);
        let deeds = (self.times(operations, work.seconds).into_iter())
            .map(|at_us| {
                let who = at_us % PEOPLE.min(self.size.present());
                let request = Request::Authenticate {
                    name: self.person(who),
                    password: Secret("pw".to_owned()),
                    source: Source::Local,
                };
                Deed {
                    speaker: Speaker::Anonymous,
                    ..self.deed(at_us, request)
                }
            })
            .collect();
        let for_us = work.seconds * 1_000_000 + REST_US;
        Ok(self.phase("login", operations, deeds, for_us))
    }

    /// One more server, by the real requests, until it has all of `gv`.
    fn join(&mut self) -> Result<Phase, SetupFailed> {
        let machine = self.cluster.add_machine(server_name(self.size.servers + 1));
        let begun_us = self.cluster.now_us();
        self.measure();
        let spent = Spent::from_now();
        let mut dice = self.dice.fork(9);
        admit(&mut self.cluster, 0, machine, &mut dice)?;
        let mut ends = Ends::default();
        let until_us = self.cluster.now_us() + REST_US;
        self.pass_until(until_us, &mut ends);
        Ok(self.counted("join", 1, ends, begun_us, &spent))
    }

    /// One message to a list of so many.
    fn list(&mut self, members: u64) -> Result<Phase, SetupFailed> {
        let members = members.min(self.size.present());
        let list = name("all^@r0");
        let all: Vec<u64> = (0..members).collect();
        self.group(&list, &all)?;
        self.cluster.run_for(10_000);
        let begun_us = self.cluster.now_us();
        self.measure().journeys.clear();
        let spent = Spent::from_now();
        let (id, submission) = self.letter(begun_us, vec![list]);
        let copies = members * 2.min(self.size.servers as u64);
        let deed = Deed {
            at_us: begun_us,
            node: self.anywhere(),
            speaker: Speaker::Operator,
            ask: Ask::Submit(Box::new(submission)),
            follow: Some((id, copies)),
        };
        let mut ends = Ends::default();
        self.play(vec![deed], begun_us + 1_000_000, &mut ends);
        loop {
            let meter = self.cluster.meter.as_ref();
            let journey = meter.and_then(|meter| meter.journeys.get(&id.to_u128()));
            let last_us = journey.map_or(begun_us, |journey| journey.last_us);
            if self.cluster.now_us() > last_us + LIST_STILL_US {
                break;
            }
            let next_us = self.cluster.now_us() + 500_000;
            self.pass_until(next_us, &mut ends);
        }
        Ok(self.counted("list member", members, ends, begun_us, &spent))
    }

    fn deed(&mut self, at_us: u64, request: Request) -> Deed {
        Deed {
            at_us,
            node: self.anywhere(),
            speaker: Speaker::Operator,
            ask: Ask::Request(request),
            follow: None,
        }
    }

    /// Evenly over so many seconds from now on, a little beside it.
    fn times(&mut self, operations: u64, seconds: u64) -> Vec<u64> {
        let step_us = (seconds * 1_000_000 / operations.max(1)).max(1);
        let now_us = self.cluster.now_us();
        (0..operations)
            .map(|nth| now_us + nth * step_us + self.dice.below(step_us))
            .collect()
    }
}
