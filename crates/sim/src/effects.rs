//! Carrying out what the cores want done.
//!
//! Must do each effect as soon as it is given, in the order given: holding back what depends on a
//! commit is the core's promise (the barrier), and a crash right after an effect is how it is
//! tested here.

use grapevine_core::{Effect, NoteLevel, ReportKind, ReportOrder, Staged};
use grapevine_model::{BodyInfo, PeerMessage, Refusal, Reply, RequestId, Secret, ServerName};

use crate::cluster::{Cluster, OrderedReport};
use crate::event::{CallId, Event, NodeIndex, Outcome};
use crate::kinds;
use crate::node::{Doom, Fate, Moment, Step};

/// More effects than this from one input are a loop.
const MAX_EFFECTS: usize = 200_000;

/// What a person must act on, and what runs do to servers on purpose.
const EXPECTED_ERRORS: [&str; 2] = [
    "the disk is nearly full",
    "was created earlier, on the other",
];

/// What stands before the password in a simulated hash.
const HASH_PREFIX: &str = "hash:";

/// The simulated hash of a password.
pub fn hash(password: &str) -> Secret {
    Secret(format!("{HASH_PREFIX}{password}"))
}

/// Whether an effect is what the doom of a machine waits for.
fn fits(moment: Moment, effect: &Effect) -> bool {
    match (moment, effect) {
        (Moment::Accepted, Effect::Reply { result, .. }) => {
            matches!(result, Ok(Reply::Accepted { copies, .. }) if *copies >= 2)
        }
        (Moment::Written, Effect::Reply { result, .. }) => {
            matches!(result, Ok(Reply::Written(written)) if written.copies >= 2)
        }
        (Moment::Step(step), effect) => step_of(effect) == Some(step),
        (Moment::Sent, Effect::Send { .. })
        | (Moment::Commit, Effect::Commit { .. })
        | (Moment::Nth(0), _) => true,
        (
            Moment::Accepted | Moment::Written | Moment::Sent | Moment::Commit | Moment::Nth(_),
            _,
        ) => false,
    }
}

/// Which step of a message's way an effect is, if it is one.
fn step_of(effect: &Effect) -> Option<Step> {
    let message = match effect {
        Effect::Send { message, .. } => message,
        Effect::HandOver(_) => return Some(Step::Outside),
        Effect::Report(_) => return Some(Step::Report),
        _ => return None,
    };
    match message {
        PeerMessage::Body { .. } => Some(Step::Body),
        PeerMessage::Custody(_) => Some(Step::Custody),
        PeerMessage::CustodyHeld { .. } => Some(Step::Held),
        PeerMessage::Hand(_) => Some(Step::Hand),
        PeerMessage::Handed { .. } => Some(Step::Handed),
        PeerMessage::Deposit { .. } => Some(Step::Deposit),
        PeerMessage::Deposited { .. } => Some(Step::Deposited),
        PeerMessage::CustodyEnded { .. } => Some(Step::Ended),
        PeerMessage::Pushes(_) => Some(Step::Push),
        _ => None,
    }
}

impl Cluster {
    /// Carries out all effects that wait, and plans the next timer.
    pub(crate) fn perform(&mut self, node: NodeIndex) {
        for _ in 0..MAX_EFFECTS {
            let Some(server) = &mut self.nodes[node].server else {
                return;
            };
            let Some(effect) = server.poll_effect() else {
                self.plan_timer(node);
                return;
            };
            let doom = self.nodes[node].doom;
            let fate = doom.filter(|doom| fits(doom.after, &effect));
            self.nodes[node].effects += 1;
            if let Some(Doom {
                after: Moment::Nth(left),
                ..
            }) = &mut self.nodes[node].doom
            {
                *left = left.saturating_sub(1);
            }
            self.effect(node, effect);
            if let Some(doom) = fate {
                self.nodes[node].doom = None;
                self.befall(node, doom.fate);
                return;
            }
        }
        self.violation("effects end", format!("node {node} has no end of effects"));
        self.crash(node);
    }

    fn befall(&mut self, node: NodeIndex, fate: Fate) {
        match fate {
            Fate::Crash => self.crash(node),
            Fate::Destroy => self.destroy(node),
            Fate::Blackout => self.blackout(),
        }
    }

    /// Everybody's power goes at one moment.
    pub fn blackout(&mut self) {
        self.coverage.reach("event blackout");
        for node in self.up() {
            self.crash(node);
        }
    }

    fn plan_timer(&mut self, node: NodeIndex) {
        let now_us = self.now_us();
        let machine = &mut self.nodes[node];
        let Some(server) = &machine.server else {
            return;
        };
        let due_us = machine.clock.true_us(server.next_timeout()).max(now_us + 1);
        if machine.timer_us.is_none_or(|planned| due_us < planned) {
            machine.timer_us = Some(due_us);
            let life = machine.life;
            self.queue.plan(due_us, Event::Timer { node, life });
        }
    }

    fn effect(&mut self, node: NodeIndex, effect: Effect) {
        let now_us = self.now_us();
        if self.trace.is_verbose() {
            self.trace_effect(node, &effect);
        }
        let life = self.nodes[node].life;
        self.coverage.reach(kinds::effect(&effect));
        match effect {
            Effect::Commit { seq, ops, awaited } => {
                if let Some(meter) = &mut self.meter {
                    meter.commits(node, seq, &ops);
                }
                self.trace.number(seq);
                for op in &ops {
                    self.trace_op(op);
                }
                let disk = &mut self.nodes[node].disk;
                match disk.begin(now_us, seq, ops, awaited, &mut self.dice) {
                    Ok(at_us) => self.queue.plan(at_us, Event::Disk { node, life }),
                    Err(unknown) => {
                        let what = format!("node {node}, commit {seq}: token {}", unknown.0);
                        self.violation("a commit adopts only staged bodies", what);
                        self.crash(node);
                    }
                }
            }
            Effect::Send { to, message } => self.send(node, &to, message),
            Effect::Reply { id, result, .. } => self.reply(node, id, result),
            Effect::Verify {
                ticket,
                hash,
                password,
                // Nothing in the simulation logs in so.
                scram: _,
            } => {
                let right = hash.is_some_and(|hash| {
                    hash.0.strip_prefix(HASH_PREFIX) == Some(password.0.as_str())
                });
                let at_us = now_us + self.dice.between(1_000, 60_000);
                let event = Event::Verified {
                    node,
                    life,
                    ticket,
                    right,
                };
                self.queue.plan(at_us, event);
            }
            // No client of the simulation asks for one.
            Effect::Sign { id, ticket } => {
                let reply = Reply::Ticket {
                    ticket: Secret(String::new()),
                    expires_ms: ticket.expires_ms,
                };
                self.reply(node, id, Ok(reply));
            }
            Effect::MakeKey => {
                let fresh = self.dice.bytes32().to_vec();
                self.nodes[node].next_key.get_or_insert(fresh);
                self.tell_keys(node);
            }
            Effect::UseKey(key) => {
                if self.nodes[node].next_key.as_ref() == Some(&key) {
                    self.nodes[node].next_key = None;
                    self.nodes[node].info.public_key = key;
                }
                self.tell_keys(node);
            }
            Effect::Report(order) => self.compose(node, *order),
            Effect::Filter(order) => self.run_filter(node, *order),
            Effect::HandOver(order) => {
                if self.nodes[node].disk.body(order.message) != Some(order.body) {
                    let what = format!("node {node} has no body for {}", order.message);
                    self.violation("what is handed over is there", what);
                }
                let at_us = now_us + self.dice.between(1_000, 500_000);
                self.queue
                    .plan(at_us, Event::HandOver { node, life, order });
            }
            Effect::Discard { staged } => self.nodes[node].disk.discard(staged),
            Effect::Servers(servers) => {
                self.nodes[node].known = servers
                    .into_iter()
                    .map(|server| {
                        let keys = server.keys().map(<[u8]>::to_vec).collect();
                        (server.name, keys)
                    })
                    .collect();
            }
            // No simulated server has a DNS door.
            Effect::Scram(_) | Effect::Zone(_) | Effect::ZoneGone(_) => {}
            // A simulated mail program asks in its own time.
            Effect::MailboxChanged(_) => {}
            Effect::Note(note) => {
                let expected = self.errors_expected
                    || EXPECTED_ERRORS.iter().any(|text| note.text.contains(text));
                if note.level == NoteLevel::Error && !expected {
                    let name = self.nodes[node].name.clone();
                    self.violation("no ERROR in the log", format!("{name}: {}", note.text));
                }
            }
        }
    }

    fn send(&mut self, node: NodeIndex, to: &ServerName, message: PeerMessage) {
        if let PeerMessage::Beat(beat) = &message {
            self.nodes[node].origin = Some(beat.origin);
        }
        let Some(to) = self.find(to) else {
            return;
        };
        let body = match &message {
            PeerMessage::Body { message, body } => {
                let Some(here) = self.nodes[node].disk.body(*message) else {
                    self.say(|| format!("node {node} has no body to send"));
                    return;
                };
                if here != *body {
                    let what = format!("node {node} sends another body for {message}");
                    self.violation("bytes out are bytes in", what);
                }
                Some(here)
            }
            _ => None,
        };
        self.coverage.reach(kinds::message(kinds::inner(&message)));
        if !self.nodes[to].is_up() {
            return;
        }
        if let Some(meter) = &mut self.meter {
            meter.sent(node, to, &message);
        }
        let now_us = self.now_us();
        let [first, second] = self.network.arrivals(now_us, node, to, &mut self.dice);
        self.trace.number(first.unwrap_or(1));
        match (first, second) {
            (None, _) => self.coverage.reach("event message lost"),
            (Some(_), Some(_)) => self.coverage.reach("event message doubled"),
            (Some(_), None) => {}
        }
        if let Some(at_us) = second {
            let message = message.clone();
            self.arrive(at_us, node, to, message, body);
        }
        if let Some(at_us) = first {
            self.arrive(at_us, node, to, message, body);
        }
    }

    fn arrive(
        &mut self,
        at_us: u64,
        from: NodeIndex,
        to: NodeIndex,
        message: PeerMessage,
        body: Option<BodyInfo>,
    ) {
        // A connection ends with the process at its other end.
        let event = Event::Peer {
            to,
            life: self.nodes[to].life,
            from,
            message,
            body,
        };
        self.queue.plan(at_us, event);
    }

    fn reply(&mut self, node: NodeIndex, id: RequestId, result: Result<Reply, Refusal>) {
        self.trace.number(id.0 ^ u64::from(result.is_ok()));
        if let (Ok(Reply::Accepted { message, .. }), Some(meter)) = (&result, &mut self.meter) {
            meter.accepted(*message);
        }
        if let Err(refusal) = &result {
            self.coverage.reach(kinds::refusal(&refusal.kind));
        }
        if let Some(place) = self.composing.remove(&id) {
            self.say(|| format!("node {node}: its report {place}: {result:?}"));
            if let (Ok(Reply::Accepted { message, .. }), Some(report)) =
                (result, self.reports.get_mut(place))
            {
                report.report = message;
                report.accepted = true;
            }
            return;
        }
        let call = CallId(id.0);
        if self
            .call_nodes
            .get(&call)
            .is_some_and(|asked| *asked != node)
        {
            let what = format!("node {node} answers call {}, asked of another", id.0);
            self.violation("an answer comes from whom was asked", what);
        }
        if self.dice.chance(self.client_loss_permille) {
            return;
        }
        let outcome = match result {
            Ok(reply) => Outcome::Done(reply),
            Err(refusal) => Outcome::Refused(refusal),
        };
        let at_us = self.now_us() + self.network.latency_us(&mut self.dice);
        self.queue.plan(at_us, Event::Answer { call, outcome });
    }

    fn compose(&mut self, node: NodeIndex, order: ReportOrder) {
        // Ids of the shell's own submissions: far above any client's call.
        let id = RequestId((1 << 62) | self.dice.below(1 << 61));
        let mut submission = order.submission;
        submission.body = self.new_body();
        let to = submission.envelope.recipients.iter();
        let (waits, names) = match order.kind {
            ReportKind::Delay { .. } => {
                let names = order.lines.iter().map(|line| line.name.clone());
                (true, names.collect())
            }
            ReportKind::Delivery | ReportKind::Held { .. } => (false, Vec::new()),
        };
        let report = OrderedReport {
            report: submission.id.unwrap_or(order.about),
            about: order.about,
            failed: order
                .lines
                .iter()
                .filter(|line| !line.delivered && !waits)
                .map(|line| (line.name.clone(), line.reason.clone()))
                .collect(),
            delayed: names,
            to: to.map(|recipient| recipient.name.clone()).collect(),
            accepted: false,
        };
        self.composing.insert(id, self.reports.len());
        self.reports.push(report);
        let life = self.nodes[node].life;
        let staged: Staged = self.nodes[node].disk.stage(submission.body);
        let at_us = self.now_us() + self.dice.between(200, 20_000);
        let event = Event::Composed {
            node,
            life,
            id,
            submission: Box::new(submission),
            staged,
        };
        self.queue.plan(at_us, event);
    }

    fn trace_op(&mut self, op: &grapevine_core::Op) {
        use grapevine_core::Op;
        match op {
            Op::Put { table, key, value } => {
                self.trace.number(*table as u64);
                self.trace.bytes(key);
                self.trace.bytes(value);
            }
            Op::Delete { table, key } => {
                self.trace.number(100 + *table as u64);
                self.trace.bytes(key);
            }
            Op::AdoptBody { message, .. } => self.trace.bytes(&message.to_bytes()),
            Op::DropBody { message } => {
                self.trace.number(200);
                self.trace.bytes(&message.to_bytes());
            }
        }
    }

    fn trace_effect(&mut self, node: NodeIndex, effect: &Effect) {
        let name = self.nodes[node].name.clone();
        self.say(|| match effect {
            Effect::Commit { seq, ops, awaited } => {
                format!(
                    "{name} commit {seq} of {} ops, awaited {awaited}",
                    ops.len()
                )
            }
            Effect::Note(note) => format!("{name} {:?}: {}", note.level, note.text),
            Effect::Servers(servers) => {
                let names: Vec<_> = servers.iter().map(|server| &server.name).collect();
                format!("{name} servers {names:?}")
            }
            other => format!("{name} -> {other:?}"),
        });
    }
}
