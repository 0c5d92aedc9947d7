//! The operators: they switch machines on again, rebuild those whose disk was lost, retire servers
//! and let new ones in, with the requests that a person would use, until each is done.

use std::collections::VecDeque;

use grapevine_model::{ErrorKind, Reply, Request, ServerInfo, Speaker};

use crate::client::any_server;
use crate::clock::EPOCH_MS;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::faults::Job;
use crate::node::Fate;
use crate::world::server_name;

/// Between two tries of a request.
const AGAIN_US: u64 = 1_000_000;
/// A token holds this long.
const TOKEN_MS: u64 = 30 * 24 * 3_600_000;

/// The operators of all machines.
#[derive(Debug)]
pub(crate) struct Keeper {
    me: ActorIndex,
    dice: Dice,
    /// Machines to be switched on again, and when.
    restarts: Vec<(u64, NodeIndex)>,
    /// What is to be done, one after the other.
    tasks: VecDeque<Task>,
    call: Option<CallId>,
    due_us: u64,
}

/// A step that is asked for until it is done.
#[derive(Debug, Clone)]
enum Task {
    /// A lost server is struck off.
    Retire(NodeIndex),
    /// A server that is well is asked to go: asked itself, for one that the others can't hear they
    /// would hold for lost.
    Leave(NodeIndex),
    /// A lost server that was heard a moment ago is not yet held for lost: then retire it again.
    Forgotten(NodeIndex),
    /// A token, and with it the machine in; by a server of our choice each time.
    Token(NodeIndex, Vec<u8>),
    Join(NodeIndex, NodeIndex, Vec<u8>),
    /// Wait until the retired server has taken its leave of the others, then switch it off.
    Drain(NodeIndex),
}

impl Keeper {
    /// Operators with nothing to do.
    pub(crate) fn new(me: ActorIndex, dice: Dice) -> Self {
        Self {
            me,
            dice,
            restarts: Vec::new(),
            tasks: VecDeque::new(),
            call: None,
            due_us: 0,
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.restarts.is_empty() && self.tasks.is_empty()
    }

    /// Looks after what has fallen since the last time.
    pub(crate) fn look(&mut self, cluster: &mut Cluster) {
        for (node, fate) in cluster.take_fallen() {
            let now_us = cluster.now_us();
            // One that was let in and fell before its first commit was on its disk has nothing to begin with again.
            let is_blank = cluster.nodes()[node].disk.is_blank();
            match fate {
                Fate::Crash | Fate::Blackout if !is_blank => {
                    let after_us = self.dice.between(200_000, 20_000_000);
                    self.restarts.push((now_us + after_us, node));
                    cluster.wake_in(self.me, after_us);
                }
                Fate::Crash | Fate::Blackout | Fate::Destroy => {
                    self.restarts.retain(|(_, restarted)| *restarted != node);
                    self.rebuild(cluster, node);
                    self.due_us = now_us + self.dice.between(500_000, 25_000_000);
                    cluster.wake_in(self.me, self.due_us - now_us);
                }
            }
        }
    }

    /// An operator is to do something.
    pub(crate) fn order(&mut self, cluster: &mut Cluster, job: Job) {
        match job {
            Job::Retire(node) => {
                self.tasks.push_back(Task::Leave(node));
                self.tasks.push_back(Task::Drain(node));
            }
            Job::Grow => self.new_machine(cluster),
        }
        cluster.wake_in(self.me, 1);
    }

    /// Everything is to be in order soon.
    pub(crate) fn hurry(&mut self, cluster: &mut Cluster) {
        self.look(cluster);
        for (_, node) in std::mem::take(&mut self.restarts) {
            cluster.restart(node);
        }
        self.due_us = cluster.now_us();
        cluster.wake_in(self.me, 1);
    }

    fn rebuild(&mut self, cluster: &mut Cluster, node: NodeIndex) {
        let living = cluster.nodes().iter().filter(|node| !node.gone).count();
        match self.dice.below(3) {
            0 if living > 2 => {
                self.forget(node);
                self.token(node);
            }
            1 if living > 2 => {
                cluster.node_mut(node).gone = true;
                self.forget(node);
            }
            _ => {
                cluster.node_mut(node).gone = true;
                self.new_machine(cluster);
                self.forget(node);
            }
        }
    }

    fn forget(&mut self, node: NodeIndex) {
        self.tasks.push_back(Task::Retire(node));
        self.tasks.push_back(Task::Forgotten(node));
    }

    fn new_machine(&mut self, cluster: &mut Cluster) {
        let number = cluster.nodes().len() + 1;
        let machine = cluster.add_machine(server_name(number));
        self.token(machine);
    }

    fn token(&mut self, machine: NodeIndex) {
        let digest = self.dice.bytes32().to_vec();
        self.tasks.push_back(Task::Token(machine, digest));
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, cluster: &mut Cluster) {
        let now_us = cluster.now_us();
        let (due, later) = std::mem::take(&mut self.restarts)
            .into_iter()
            .partition(|(at_us, _)| *at_us <= now_us);
        self.restarts = later;
        let due: Vec<(u64, NodeIndex)> = due;
        for (_, node) in due {
            cluster.restart(node);
        }
        if self.call.is_none() && self.due_us <= now_us {
            self.begin(cluster);
        }
    }

    fn begin(&mut self, cluster: &mut Cluster) {
        let Some(task) = self.tasks.front().cloned() else {
            return;
        };
        let (node, speaker, request) = match task {
            Task::Retire(node) => {
                let server = cluster.nodes()[node].name.clone();
                (
                    self.helper(cluster, node),
                    Speaker::Operator,
                    Request::Retire { server },
                )
            }
            Task::Leave(node) => {
                let server = cluster.nodes()[node].name.clone();
                (node, Speaker::Operator, Request::Retire { server })
            }
            Task::Token(machine, digest) => {
                let request = Request::TokenCreate {
                    digest,
                    expires_ms: EPOCH_MS + TOKEN_MS,
                };
                (self.helper(cluster, machine), Speaker::Operator, request)
            }
            Task::Join(machine, through, digest) => {
                let server: ServerInfo = cluster.nodes()[machine].info.clone();
                (
                    through,
                    Speaker::Anonymous,
                    Request::Join { digest, server },
                )
            }
            Task::Forgotten(node) | Task::Drain(node) => (
                self.helper(cluster, node),
                Speaker::Operator,
                Request::Servers,
            ),
        };
        self.call = Some(cluster.call(self.me, node, speaker, Ask::Request(request)));
    }

    fn helper(&mut self, cluster: &Cluster, not: NodeIndex) -> NodeIndex {
        for _ in 0..20 {
            let node = any_server(cluster, &mut self.dice);
            if node != not && cluster.nodes()[node].is_up() {
                return node;
            }
        }
        any_server(cluster, &mut self.dice)
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, cluster: &mut Cluster, call: CallId, outcome: Outcome) {
        if self.call != Some(call) {
            return;
        }
        self.call = None;
        match (self.tasks.front().cloned(), outcome) {
            (Some(Task::Retire(_) | Task::Leave(_)), Outcome::Done(_)) => {
                self.tasks.pop_front();
            }
            // The answer to an earlier try was lost.
            (Some(Task::Retire(_) | Task::Leave(_)), outcome)
                if outcome.refusal() == Some(ErrorKind::NotFound) =>
            {
                self.tasks.pop_front();
            }
            (Some(Task::Token(machine, digest)), Outcome::Done(_)) => {
                // Through the server that gave the token, or another: it is replicated.
                let through = self.helper(cluster, machine);
                self.tasks.pop_front();
                self.tasks.push_front(Task::Join(machine, through, digest));
            }
            (Some(Task::Join(machine, ..)), Outcome::Done(Reply::Welcome(welcome))) => {
                self.tasks.pop_front();
                cluster.join(machine, welcome);
            }
            (Some(Task::Join(machine, _, digest)), _) => {
                let through = self.helper(cluster, machine);
                self.tasks.pop_front();
                self.tasks.push_front(Task::Join(machine, through, digest));
            }
            (Some(Task::Forgotten(node)), Outcome::Done(Reply::Servers(servers))) => {
                let name = &cluster.nodes()[node].name;
                if servers.iter().any(|server| server.name == *name) {
                    self.tasks.push_front(Task::Retire(node));
                } else {
                    self.tasks.pop_front();
                }
            }
            // It may have left long ago: whether it has is what the next task finds out.
            (Some(Task::Leave(_)), Outcome::Refused(_)) => {
                self.tasks.pop_front();
            }
            (Some(Task::Drain(node)), Outcome::Done(Reply::Servers(servers))) => {
                let name = &cluster.nodes()[node].name;
                if !servers.iter().any(|server| server.name == *name) {
                    self.tasks.pop_front();
                    cluster.node_mut(node).gone = true;
                    cluster.crash(node);
                    cluster.take_fallen();
                } else if self.dice.chance(100) {
                    self.tasks.push_front(Task::Leave(node));
                }
            }
            _ => {}
        }
        cluster.wake_in(self.me, AGAIN_US);
    }
}
