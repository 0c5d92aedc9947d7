//! Movers: operators who give a registry another holder on a running system, and take one away when
//! the others have it all, while clients write and everything goes wrong.
//!
//! They do what the manual says: first another holder, then one fewer, and never fewer than two that
//! are ready.

use grapevine_model::{RegistryName, Reply, Request, ServerName, Speaker};

use crate::client::{Stage, any_server};
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};

/// Ready holders that remain.
const LEAST_READY: usize = 2;
/// A registry is moved so often in a run: each time one holder comes and one goes.
const MOVES: u32 = 2;

/// An operator of one registry.
#[derive(Debug)]
pub(crate) struct Mover {
    me: ActorIndex,
    registry: RegistryName,
    dice: Dice,
    server: NodeIndex,
    call: Option<(CallId, Step)>,
    /// Comes, and goes.
    adding: Option<ServerName>,
    removing: Option<ServerName>,
    moves: u32,
    working: bool,
    pace_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Look,
    Add,
    Remove,
}

impl Mover {
    pub(crate) fn new(me: ActorIndex, registry: RegistryName, dice: Dice, pace_us: u64) -> Self {
        Self {
            me,
            registry,
            dice,
            server: 0,
            call: None,
            adding: None,
            removing: None,
            moves: 0,
            working: true,
            pace_us,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Its time has come.
    pub(crate) fn woken(&mut self, stage: &mut Stage<'_>) {
        if !self.working || self.call.is_some() || self.moves >= MOVES {
            return;
        }
        if self.dice.chance(300) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        let registry = self.registry.clone();
        self.ask(stage, Request::RegistryShow { registry }, Step::Look);
    }

    fn ask(&mut self, stage: &mut Stage<'_>, request: Request, step: Step) {
        let ask = Ask::Request(request);
        let call = stage
            .cluster
            .call(self.me, self.server, Speaker::Operator, ask);
        self.call = Some((call, step));
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, stage: &mut Stage<'_>, call: CallId, outcome: &Outcome) {
        let Some((_, step)) = self.call.take_if(|(own, _)| *own == call) else {
            return;
        };
        match (step, outcome) {
            (Step::Look, Outcome::Done(Reply::Registry(view))) if self.working => {
                self.looked(stage, &view.holders, &view.ready);
            }
            (Step::Remove, Outcome::Done(_)) => {
                (self.adding, self.removing) = (None, None);
                self.moves += 1;
            }
            // It is looked at again.
            _ => {}
        }
        if self.call.is_some() {
            return;
        }
        if matches!(outcome, Outcome::NotSent | Outcome::Unknown) {
            self.server = any_server(stage.cluster, &mut self.dice);
        }
        if self.working {
            let pause_us = self.dice.between(self.pace_us, self.pace_us * 8);
            stage.cluster.wake_in(self.me, pause_us);
        }
    }

    fn looked(&mut self, stage: &mut Stage<'_>, holders: &[ServerName], ready: &[ServerName]) {
        let registry = self.registry.clone();
        let others: Vec<ServerName> = stage
            .cluster
            .nodes()
            .iter()
            .filter(|node| !node.gone && !holders.contains(&node.name))
            .map(|node| node.name.clone())
            .collect();
        if self.adding.is_none() {
            self.adding = self.dice.pick(&others).cloned();
            self.removing = self.dice.pick(holders).cloned();
        }
        let (Some(server), Some(gone)) = (self.adding.clone(), self.removing.clone()) else {
            return;
        };
        if !holders.contains(&server) {
            let usable = others.contains(&server);
            if usable {
                self.ask(stage, Request::HolderAdd { registry, server }, Step::Add);
            } else {
                (self.adding, self.removing) = (None, None);
            }
            return;
        }
        let remain = ready.iter().filter(|holder| **holder != gone).count();
        if !holders.contains(&gone) {
            (self.adding, self.removing) = (None, None);
            self.moves += 1;
        } else if remain >= LEAST_READY {
            let server = gone;
            self.ask(
                stage,
                Request::HolderRemove { registry, server },
                Step::Remove,
            );
        }
    }
}
