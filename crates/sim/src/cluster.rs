//! The cluster: machines, network and virtual time, and the loop that drives the cores.
//!
//! It plays the shell for every server and must carry out effects exactly as `effect.rs` says, no
//! kinder: what a real shell may not rely on is not given here.

use std::collections::BTreeMap;

use grapevine_core::{
    Config, DiskRoom, DomainPattern, HandOver, Input, NextHop, Planted, Route, RoutedNames, Routes,
    Server, Start, Times,
};
use grapevine_model::{
    BodyInfo, MessageId, Name, Request, RequestId, ServerName, Speaker, Submission, Welcome,
};

use crate::clock::{Clock, MAX_SKEW_MS};
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, Event, NodeIndex, Occurrence, Outcome};
use crate::kinds;
use crate::meter::{self, Meter};
use crate::network::{Network, Weather};
use crate::node::{Doom, Fate, Node};
use crate::oracle::Absences;
use crate::outside::OutsideWorld;
use crate::queue::Queue;
use crate::trace::Trace;

/// So long does a client wait before it holds an outcome for unknown: longer than a server needs
/// to ask two others in vain.
pub const CLIENT_PATIENCE_US: u64 = 12_000_000;

/// A clock that is wrong by seconds is wrong by at most this.
const SECONDS_SKEW_MS: u64 = 10_000;

/// A timer that is called more often in one second never rests.
const MAX_TIMER_CALLS_A_SECOND: u32 = 2_000;
/// Each input may ask for so many calls of its own: a burst of mail is no timer that never rests.
const CALLS_AN_INPUT: u32 = 4;

/// The actor that `Cluster::ask` acts for.
pub(crate) const NOBODY: ActorIndex = usize::MAX;

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// All chance comes from it.
    pub seed: u64,
    /// How patient the servers are.
    pub times: Times,
    /// Where mail for other systems goes.
    pub routes: Routes,
    /// What servers do when alone.
    pub alone: grapevine_core::Alone,
    /// Rows that servers look at in one turn of long work.
    pub rows_a_turn: usize,
    /// A mistake to be found.
    pub planted: Option<Planted>,
    /// Whether clocks are wrong.
    pub skewed: Skew,
    /// Whether lines are kept.
    pub verbose: Verbosity,
}

/// Whether the machines' wall clocks are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// All are right.
    None,
    /// Each is wrong by up to ten seconds, as clocks are that nobody looks after.
    Seconds,
    /// Each is wrong by up to three quarters of an hour.
    Minutes,
}

/// Whether the trace keeps its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// The hash only.
    Silent,
    /// All lines.
    Lines,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, in microseconds of the run.
    pub at_us: u64,
    /// Which invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// A report that a core has ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedReport {
    /// The report's own id.
    pub report: MessageId,
    /// The message reported on.
    pub about: MessageId,
    /// The recipients that it says were not reached, with the reason.
    pub failed: Vec<(Name, String)>,
    /// The recipients that it says go on waiting.
    pub delayed: Vec<Name>,
    /// Where it goes; none ends in the dead letters.
    pub to: Vec<Name>,
    /// Whether the core said that it is accepted; it may be, too, when it could not say so any more.
    pub accepted: bool,
}

/// A cluster.
pub struct Cluster {
    pub(crate) options: Options,
    pub(crate) queue: Queue<Event>,
    pub(crate) nodes: Vec<Node>,
    /// The network between them.
    pub network: Network,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) calls: BTreeMap<CallId, ActorIndex>,
    pub(crate) call_nodes: BTreeMap<CallId, NodeIndex>,
    next_call: u64,
    /// Places in `reports` by the shell's own submissions.
    pub(crate) composing: BTreeMap<RequestId, usize>,
    /// The reports ordered so far.
    pub reports: Vec<OrderedReport>,
    /// What was found so far.
    pub violations: Vec<Violation>,
    /// The bodies of all messages by digest: who sent what.
    pub events: u64,
    pub(crate) errors_expected: bool,
    pub(crate) fallen: Vec<(NodeIndex, Fate)>,
    pub(crate) client_loss_permille: u64,
    /// The other mail systems.
    pub outside: OutsideWorld,
    /// The least and the greatest by which a wall clock was wrong so far.
    skews_ms: Option<(i64, i64)>,
    /// The newest machine of each name.
    by_name: BTreeMap<ServerName, NodeIndex>,
    /// What was reached so far.
    pub coverage: Coverage,
    /// What it costs, where that is wanted.
    pub meter: Option<Box<Meter>>,
}

/// Mail for everybody else goes out.
pub fn everywhere() -> Routes {
    Routes(vec![Route {
        domain: DomainPattern::Any,
        names: RoutedNames::Unknown,
        next: NextHop::Exchangers,
        at_once: 2,
    }])
}

impl Cluster {
    /// A cluster without machines.
    pub fn new(options: Options) -> Self {
        let trace = match options.verbose {
            Verbosity::Silent => Trace::default(),
            Verbosity::Lines => Trace::verbose(),
        };
        Self {
            queue: Queue::default(),
            nodes: Vec::new(),
            network: Network::new(Weather::FAIR),
            dice: Dice::new(options.seed).fork(1),
            trace,
            calls: BTreeMap::new(),
            call_nodes: BTreeMap::new(),
            next_call: 0,
            composing: BTreeMap::new(),
            reports: Vec::new(),
            violations: Vec::new(),
            events: 0,
            errors_expected: false,
            fallen: Vec::new(),
            client_loss_permille: 0,
            outside: OutsideWorld::default(),
            skews_ms: None,
            by_name: BTreeMap::new(),
            coverage: Coverage::default(),
            meter: None,
            options,
        }
    }

    /// The time in microseconds since the run began.
    pub fn now_us(&self) -> u64 {
        self.queue.now_us()
    }

    /// The machines.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One machine.
    pub fn node_mut(&mut self, node: NodeIndex) -> &mut Node {
        &mut self.nodes[node]
    }

    /// The machine of a server's name, the newest if there were several.
    pub fn find(&self, name: &ServerName) -> Option<NodeIndex> {
        self.by_name.get(name).copied()
    }

    /// The machines that run.
    pub fn up(&self) -> Vec<NodeIndex> {
        (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_up())
            .collect()
    }

    /// Whether cuts and silences may last longer than the servers' retention.
    pub fn absences(&self) -> Absences {
        if self.options.times.retention_ms < Times::default().retention_ms {
            Absences::Long
        } else {
            Absences::Short
        }
    }

    /// How many disks were lost for good, on all machines.
    pub fn disks_lost(&self) -> u32 {
        self.nodes.iter().map(|node| node.disks_lost).sum()
    }

    /// ERROR notes are no violations from here on: the fault at hand is one that a person must see.
    pub fn expect_errors(&mut self) {
        self.errors_expected = true;
    }

    /// So many in a thousand answers to clients are lost.
    pub fn set_client_loss(&mut self, permille: u64) {
        self.client_loss_permille = permille;
    }

    /// The hash of everything that has happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The trace's lines since the last call.
    pub fn take_lines(&mut self) -> String {
        self.trace.take_lines()
    }

    /// Adds a line of the user's to the trace.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        let now_us = self.now_us();
        self.trace.line(now_us, line);
    }

    /// Notes a violation.
    pub fn violation(&mut self, invariant: &'static str, what: String) {
        self.say(|| format!("VIOLATION {invariant}: {what}"));
        self.violations.push(Violation {
            at_us: self.now_us(),
            invariant,
            what,
        });
    }

    /// A new machine, not yet started.
    pub fn add_machine(&mut self, name: ServerName) -> NodeIndex {
        let skew_ms = match self.options.skewed {
            Skew::None => 0,
            Skew::Seconds => self.dice.below(2 * SECONDS_SKEW_MS) as i64 - SECONDS_SKEW_MS as i64,
            Skew::Minutes => self.dice.below(2 * MAX_SKEW_MS.unsigned_abs()) as i64 - MAX_SKEW_MS,
        };
        self.note_skew(skew_ms);
        let node = Node::new(name, Clock::new(skew_ms), &mut self.dice);
        self.by_name.insert(node.name.clone(), self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Starts the first server.
    pub fn found(&mut self, node: NodeIndex, owners: Vec<Name>) {
        self.start(node, Start::Found { owners });
    }

    /// Starts a server that was let in.
    pub fn join(&mut self, node: NodeIndex, welcome: Welcome) {
        self.start(node, Start::Join(welcome));
    }

    /// Starts a server that has stopped, from its disk.
    pub fn restart(&mut self, node: NodeIndex) {
        if !self.nodes[node].is_up() && !self.nodes[node].disk.is_blank() {
            self.start(node, Start::Resume);
        }
    }

    fn start(&mut self, index: NodeIndex, start: Start) {
        let now_us = self.now_us();
        let node = &mut self.nodes[index];
        node.clock.start(now_us);
        let config = Config {
            server: node.name.clone(),
            info: node.info.clone(),
            times: self.options.times,
            alone: self.options.alone,
            rows_a_turn: self.options.rows_a_turn,
            closure_groups: grapevine_core::CLOSURE_GROUPS,
            routes: self.options.routes.clone(),
            planted: self.options.planted,
        };
        let seed = self.dice.bytes32();
        let now = node.clock.now(now_us);
        let started = Server::recover(config, start, node.disk.tables(), seed, now);
        let name = node.name.clone();
        self.trace.line(now_us, || format!("{name} starts"));
        match started {
            Ok(mut server) => {
                self.coverage.reach("event start from disk");
                let keys = self.keys_of(index);
                self.coverage.reach(kinds::input(&keys));
                server.handle(now, keys);
                self.nodes[index].server = Some(server);
                self.flush(index);
            }
            Err(damaged) => {
                self.coverage.reach("event start refused");
                let what = format!("{name} does not start: {damaged}");
                if self.errors_expected {
                    self.say(|| what);
                } else {
                    self.violation("a server starts from its own disk", what);
                }
            }
        }
    }

    /// A machine's power goes.
    pub fn crash(&mut self, node: NodeIndex) {
        if !self.nodes[node].is_up() {
            return;
        }
        let now_us = self.now_us();
        let name = self.nodes[node].name.clone();
        self.trace.line(now_us, || format!("{name} CRASHES"));
        self.coverage.reach("event crash");
        if let Some(meter) = &mut self.meter {
            meter.crashed(node);
        }
        self.nodes[node].stop();
        self.nodes[node].disk.crash(&mut self.dice);
        self.tell_peers_of_loss(node);
        self.fallen.push((node, Fate::Crash));
    }

    /// A machine's disk is lost for good, with what it last sent.
    pub fn destroy(&mut self, node: NodeIndex) {
        let now_us = self.now_us();
        let name = self.nodes[node].name.clone();
        self.trace.line(now_us, || format!("{name} is DESTROYED"));
        self.coverage.reach("event disk lost");
        self.nodes[node].stop();
        self.nodes[node].disk.destroy();
        self.nodes[node].disks_lost += 1;
        let mut dice = self.dice.fork(now_us);
        self.nodes[node].renew(&mut dice);
        self.queue
            .retain(|event| !matches!(event, Event::Peer { from, .. } if *from == node));
        self.tell_peers_of_loss(node);
        self.fallen.push((node, Fate::Destroy));
    }

    /// The machines that fell since the last call.
    pub fn take_fallen(&mut self) -> Vec<(NodeIndex, Fate)> {
        std::mem::take(&mut self.fallen)
    }

    /// A fault that waits for its moment.
    pub fn doom(&mut self, node: NodeIndex, doom: Option<Doom>) {
        self.nodes[node].doom = doom;
    }

    fn note_skew(&mut self, skew_ms: i64) {
        let (least, greatest) = self.skews_ms.unwrap_or((skew_ms, skew_ms));
        self.skews_ms = Some((least.min(skew_ms), greatest.max(skew_ms)));
    }

    /// By how much any two wall clocks have differed so far, at whatever time.
    pub fn clocks_differ_us(&self) -> u64 {
        self.skews_ms
            .map_or(0, |(least, greatest)| greatest.abs_diff(least) * 1_000)
    }

    /// The wall clock of a machine jumps.
    pub fn jump(&mut self, node: NodeIndex, by_ms: i64) {
        self.say(|| format!("the clock of {node} jumps by {by_ms} ms"));
        self.coverage.reach("event clock jump");
        self.nodes[node].clock.jump(by_ms);
        self.note_skew(self.nodes[node].clock.skew_ms());
    }

    /// Tells a server of its disk's space.
    pub fn disk_nearly_full(&mut self, node: NodeIndex, full: bool) {
        let room = match full {
            true => DiskRoom::NearlyFull,
            false => DiskRoom::Enough,
        };
        self.feed(node, Input::DiskRoom(room));
    }

    /// A client calls a server; its actor hears of the end.
    pub fn call(
        &mut self,
        actor: ActorIndex,
        node: NodeIndex,
        speaker: Speaker,
        ask: Ask,
    ) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.calls.insert(call, actor);
        self.call_nodes.insert(call, node);
        let now_us = self.now_us();
        let arrives_us = now_us + self.network.latency_us(&mut self.dice);
        let event = Event::Call {
            node,
            call,
            speaker,
            ask,
        };
        self.queue.plan(arrives_us, event);
        self.queue
            .plan(now_us + CLIENT_PATIENCE_US, Event::Impatient { call });
        call
    }

    /// Wakes an actor after a time.
    pub fn wake_in(&mut self, actor: ActorIndex, after_us: u64) {
        self.queue
            .plan(self.now_us() + after_us, Event::Wake { actor });
    }

    /// A request, and nothing else to attend to until it has ended: for scripts and scenarios.
    pub fn ask(&mut self, node: NodeIndex, speaker: Speaker, request: Request) -> Outcome {
        let call = self.call(NOBODY, node, speaker, Ask::Request(request));
        self.await_call(call)
    }

    /// A submission, as `ask`.
    pub fn submit(&mut self, node: NodeIndex, submission: Submission) -> Outcome {
        let speaker = submission.speaker.clone();
        let call = self.call(NOBODY, node, speaker, Ask::Submit(Box::new(submission)));
        self.await_call(call)
    }

    /// Many requests at once, each answered in its place; nothing else is attended to.
    pub fn ask_all(&mut self, asks: Vec<(NodeIndex, Speaker, Request)>) -> Vec<Outcome> {
        let calls: Vec<CallId> = asks
            .into_iter()
            .map(|(node, speaker, request)| self.call(NOBODY, node, speaker, Ask::Request(request)))
            .collect();
        let mut outcomes: BTreeMap<CallId, Outcome> = BTreeMap::new();
        while outcomes.len() < calls.len() {
            match self.step() {
                Some(Occurrence::Ended { call, outcome, .. }) => {
                    outcomes.insert(call, outcome);
                }
                Some(Occurrence::Quiet | Occurrence::Woken { .. }) => {}
                None => break,
            }
        }
        let ended = |call| outcomes.remove(&call).unwrap_or(Outcome::Unknown);
        calls.into_iter().map(ended).collect()
    }

    /// Runs until a call has ended.
    pub fn await_call(&mut self, awaited: CallId) -> Outcome {
        while let Some(occurrence) = self.step() {
            if let Occurrence::Ended { call, outcome, .. } = occurrence
                && call == awaited
            {
                return outcome;
            }
        }
        Outcome::Unknown
    }

    /// Runs for a time, attending to nobody.
    pub fn run_for(&mut self, for_ms: u64) {
        let until_us = self.now_us() + for_ms * 1000;
        while self.queue.next_us().is_some_and(|next| next <= until_us) {
            self.step();
        }
        self.queue.pass_until(until_us);
    }

    /// A body that nobody has sent before.
    pub fn new_body(&mut self) -> BodyInfo {
        BodyInfo {
            len: self.dice.between(1, 100_000),
            digest: self.dice.bytes32(),
        }
    }

    /// Goes on to the next event. None when nothing is left to happen.
    pub fn step(&mut self) -> Option<Occurrence> {
        let event = self.queue.pop()?;
        self.events += 1;
        let now_us = self.now_us();
        self.trace.number(now_us);
        match event {
            Event::Peer {
                to,
                life,
                from,
                message,
                body,
            } => {
                if self.nodes[to].life == life {
                    self.peer(to, from, message, body);
                }
            }
            Event::PeerLost { to, life, lost } => {
                if self.nodes[to].life == life {
                    let server = self.nodes[lost].name.clone();
                    self.feed(to, Input::PeerLost { server });
                }
            }
            Event::Timer { node, life } => self.timer(node, life),
            Event::Flush { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].flush_planned {
                    self.flush(node);
                }
            }
            Event::Disk { node, life } => {
                if self.nodes[node].life == life {
                    self.disk(node);
                }
            }
            Event::Verified {
                node,
                life,
                ticket,
                right,
            } => {
                if self.nodes[node].life == life {
                    self.feed(
                        node,
                        Input::Verified {
                            ticket,
                            right,
                            rehashed: None,
                            scram: None,
                        },
                    );
                }
            }
            Event::HandOver { node, life, order } => self.hand_over(node, life, &order),
            Event::HandedOver { node, life, handed } => {
                if self.nodes[node].life == life {
                    self.feed(node, Input::HandedOver(handed));
                }
            }
            Event::Composed {
                node,
                life,
                id,
                submission,
                staged,
            } => {
                if self.nodes[node].life == life {
                    let submission = *submission;
                    let input = Input::Submit {
                        id,
                        submission,
                        staged,
                    };
                    self.feed(node, input);
                }
            }
            Event::Shell { node, life, input } => {
                if self.nodes[node].life == life {
                    self.feed(node, *input);
                }
            }
            Event::Call {
                node,
                call,
                speaker,
                ask,
            } => self.client_call(node, call, speaker, ask),
            Event::Answer { call, outcome } => return Some(self.end_call(call, outcome)),
            Event::Impatient { call } => return Some(self.end_call(call, Outcome::Unknown)),
            Event::Wake { actor } => return Some(Occurrence::Woken { actor }),
        }
        Some(Occurrence::Quiet)
    }

    fn end_call(&mut self, call: CallId, outcome: Outcome) -> Occurrence {
        self.call_nodes.remove(&call);
        match self.calls.remove(&call) {
            Some(actor) => {
                self.say(|| format!("call {} ends: {outcome:?}", call.0));
                Occurrence::Ended {
                    actor,
                    call,
                    outcome,
                }
            }
            None => Occurrence::Quiet,
        }
    }

    fn client_call(&mut self, node: NodeIndex, call: CallId, speaker: Speaker, ask: Ask) {
        let name = self.nodes[node].name.clone();
        self.say(|| format!("{name} <- call {} {speaker:?} {ask:?}", call.0));
        if !self.nodes[node].is_up() {
            // Half of the dead refuse at once, the others just say nothing.
            if self.dice.chance(500) {
                let at_us = self.now_us() + self.network.latency_us(&mut self.dice);
                let outcome = Outcome::NotSent;
                self.queue.plan(at_us, Event::Answer { call, outcome });
            }
            return;
        }
        let id = RequestId(call.0);
        let input = match ask {
            Ask::Request(request) => Input::Request {
                id,
                speaker,
                request,
                seen: Vec::new(),
            },
            Ask::After(seen, request) => Input::Request {
                id,
                speaker,
                request,
                seen,
            },
            Ask::Append(request, body) => {
                let staged = self.nodes[node].disk.stage(body);
                Input::Append {
                    id,
                    speaker,
                    request,
                    staged,
                }
            }
            Ask::Submit(submission) => {
                let staged = self.nodes[node].disk.stage(submission.body);
                Input::Submit {
                    id,
                    submission: *submission,
                    staged,
                }
            }
        };
        self.feed(node, input);
    }

    /// A message reaches another mail system. A sender that has died meanwhile may have said all of
    /// it, and never hears the answer.
    fn hand_over(&mut self, node: NodeIndex, life: u64, order: &HandOver) {
        const SAID_ALL_PERMILLE: u64 = 300;
        let alive = self.nodes[node].life == life;
        if !alive && !self.dice.chance(SAID_ALL_PERMILLE) {
            return;
        }
        let (after_us, again_us) = self.outside.answers_after(order, &mut self.dice);
        let handed = self.outside.receive(order, &mut self.dice);
        let now_us = self.now_us();
        if let Some(again_us) = again_us {
            let handed = handed.clone();
            let again = Event::HandedOver { node, life, handed };
            self.queue.plan(now_us + again_us, again);
        }
        let answer = Event::HandedOver { node, life, handed };
        self.queue.plan(now_us + after_us, answer);
    }

    /// The core hears what keys are in the folder.
    pub(crate) fn tell_keys(&mut self, node: NodeIndex) {
        let keys = self.keys_of(node);
        self.feed(node, keys);
    }

    fn keys_of(&self, node: NodeIndex) -> Input {
        Input::Keys {
            present: self.nodes[node].info.public_key.clone(),
            next: self.nodes[node].next_key.clone(),
        }
    }

    fn peer(
        &mut self,
        to: NodeIndex,
        from: NodeIndex,
        message: grapevine_model::PeerMessage,
        body: Option<BodyInfo>,
    ) {
        let sender = self.nodes[from].name.clone();
        let key = self.nodes[from].info.public_key.clone();
        let proved = &self.nodes[to].info.public_key;
        let expected = self.nodes[from].known.get(&self.nodes[to].name);
        if expected.is_some_and(|keys| !keys.contains(proved)) {
            let name = self.nodes[to].name.clone();
            self.say(|| format!("{sender} does not take {name} for itself"));
            return;
        }
        let receiver = &mut self.nodes[to];
        if !receiver.is_up() {
            return;
        }
        let name = receiver.name.clone();
        if !receiver
            .known
            .get(&sender)
            .is_some_and(|keys| keys.contains(&key))
        {
            self.say(|| format!("{name} lets {sender} not in"));
            return;
        }
        let staged = body.map(|body| receiver.disk.stage(body));
        self.say(|| format!("{name} <- {sender} {message:?}"));
        let input = Input::Peer {
            from: sender,
            message,
            staged,
        };
        self.feed(to, input);
    }

    fn timer(&mut self, node: NodeIndex, life: u64) {
        let now_us = self.now_us();
        let machine = &mut self.nodes[node];
        if machine.life != life || machine.timer_us.is_none_or(|due| due > now_us) {
            return;
        }
        machine.timer_us = None;
        let second = now_us / 1_000_000;
        let (counted, calls) = machine.timer_calls;
        machine.timer_calls = if counted == second {
            (second, calls + 1)
        } else {
            (second, 1)
        };
        if machine.timer_calls.1 == MAX_TIMER_CALLS_A_SECOND {
            let name = machine.name.clone();
            let next = machine.server.as_ref().map(grapevine_core::Server::next_is);
            self.violation(
                "a timer rests",
                format!("{name} wants to be called all the time: {next:?}"),
            );
        }
        let machine = &mut self.nodes[node];
        let now = machine.clock.now(now_us);
        if let Some(server) = &mut machine.server {
            let begun = meter::stopwatch(self.meter.as_deref());
            server.handle_timeout(now);
            if let Some(meter) = &mut self.meter {
                meter.worked(node, begun);
            }
            self.after_input(node);
        }
    }

    /// Gives a server an input.
    pub(crate) fn feed(&mut self, node: NodeIndex, input: Input) {
        let now_us = self.now_us();
        let machine = &mut self.nodes[node];
        let now = machine.clock.now(now_us);
        machine.timer_calls.1 = machine.timer_calls.1.saturating_sub(CALLS_AN_INPUT);
        if let Some(server) = &mut machine.server {
            self.coverage.reach(kinds::input(&input));
            if let Input::Request { request, .. } | Input::Append { request, .. } = &input {
                self.coverage.reach(kinds::request(request));
            }
            let begun = meter::stopwatch(self.meter.as_deref());
            server.handle(now, input);
            if let Some(meter) = &mut self.meter {
                meter.worked(node, begun);
            }
            self.after_input(node);
        }
    }

    fn after_input(&mut self, node: NodeIndex) {
        // A busy shell takes several inputs before it flushes.
        if self.dice.chance(750) {
            self.flush(node);
            return;
        }
        let machine = &mut self.nodes[node];
        if !machine.flush_planned {
            machine.flush_planned = true;
            let life = machine.life;
            let at_us = self.now_us() + self.dice.between(50, 3_000);
            self.queue.plan(at_us, Event::Flush { node, life });
        }
        self.perform(node);
    }

    fn flush(&mut self, node: NodeIndex) {
        let machine = &mut self.nodes[node];
        machine.flush_planned = false;
        if let Some(server) = &mut machine.server {
            let begun = meter::stopwatch(self.meter.as_deref());
            server.flush();
            if let Some(meter) = &mut self.meter {
                meter.worked(node, begun);
            }
            self.perform(node);
        }
    }

    fn disk(&mut self, node: NodeIndex) {
        let now_us = self.now_us();
        let machine = &mut self.nodes[node];
        let life = machine.life;
        let (durable, next_us) = machine.disk.advance(now_us, &mut self.dice);
        if let Some(next_us) = next_us {
            self.queue.plan(next_us, Event::Disk { node, life });
        }
        if let Some(meter) = &mut self.meter {
            meter.synced(node, now_us, &durable);
        }
        for seq in durable {
            if self.nodes[node].life == life {
                self.feed(node, Input::Committed { seq });
            }
        }
    }

    fn tell_peers_of_loss(&mut self, lost: NodeIndex) {
        for to in self.up() {
            if self.network.is_cut(lost, to) || self.dice.chance(500) {
                continue;
            }
            let life = self.nodes[to].life;
            let at_us = self.now_us() + self.network.latency_us(&mut self.dice);
            self.queue.plan(at_us, Event::PeerLost { to, life, lost });
        }
    }
}
