//! One machine: its disk and clocks, which stay, and the server process on it, which comes and goes.

use std::collections::BTreeMap;

use grapevine_core::Server;
use grapevine_model::{Door, OriginId, ServerInfo, ServerName, ServerRole};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::Disk;

/// A machine.
pub struct Node {
    /// The server's name.
    pub name: ServerName,
    /// Its key and doors.
    pub info: ServerInfo,
    /// The life of its disk, as it says in its beats.
    pub origin: Option<OriginId>,
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Clock,
    /// The server process, when it runs.
    pub(crate) server: Option<Server>,
    /// Counts the processes that ran here.
    pub(crate) life: u64,
    /// When the earliest planned timer event is due.
    pub(crate) timer_us: Option<u64>,
    /// Whether a flush is planned.
    pub(crate) flush_planned: bool,
    /// The servers it lets in, by their keys.
    pub(crate) known: BTreeMap<ServerName, Vec<Vec<u8>>>,
    /// The key that it is going to use, in its folder.
    pub(crate) next_key: Option<Vec<u8>>,
    /// What is to befall it at its next fitting effect.
    pub(crate) doom: Option<Doom>,
    /// Effects that its servers have ordered so far.
    pub effects: u64,
    /// Disks lost for good on this machine.
    pub disks_lost: u32,
    /// Whether its operator has given it up: it will not come back.
    pub gone: bool,
    /// Timer calls in the present second, to notice one that never rests.
    pub(crate) timer_calls: (u64, u32),
}

/// A fault that waits for the worst moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doom {
    /// Right after which effect.
    pub after: Moment,
    /// What happens.
    pub fate: Fate,
}

/// The moment after an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A yes to a submission went out, with two copies at least.
    Accepted,
    /// A yes to a change went out, with two copies at least.
    Written,
    /// Any message to another server went out.
    Sent,
    /// A commit was handed to the disk.
    Commit,
    /// This step of a message's way was taken.
    Step(Step),
    /// Any effect, after so many others.
    Nth(u32),
}

/// A step of a message's way from one server to another, or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A body went to another server.
    Body,
    /// A deputy was asked for.
    Custody,
    /// A deputy has said that it has it.
    Held,
    /// A recipient was handed to a holder of its registry.
    Hand,
    /// A holder has said that it has taken the recipient over.
    Handed,
    /// A deposit was asked for.
    Deposit,
    /// An inbox site has said what became of a deposit.
    Deposited,
    /// A deputy was told that all is done.
    Ended,
    /// A mailbox's news went to its other site.
    Push,
    /// A message was handed over to another mail system.
    Outside,
    /// A report was ordered.
    Report,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Body,
        Self::Custody,
        Self::Held,
        Self::Hand,
        Self::Handed,
        Self::Deposit,
        Self::Deposited,
        Self::Ended,
        Self::Push,
        Self::Outside,
        Self::Report,
    ];
}

/// What befalls a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its power goes.
    Crash,
    /// Everybody's power goes.
    Blackout,
    /// Its disk is lost for good.
    Destroy,
}

impl Node {
    /// A machine with a blank disk.
    pub(crate) fn new(name: ServerName, clock: Clock, dice: &mut Dice) -> Self {
        let info = new_info(&name, dice);
        Self {
            name,
            info,
            origin: None,
            disk: Disk::default(),
            clock,
            server: None,
            life: 0,
            timer_us: None,
            flush_planned: false,
            known: BTreeMap::new(),
            next_key: None,
            doom: None,
            effects: 0,
            disks_lost: 0,
            gone: false,
            timer_calls: (0, 0),
        }
    }

    /// Whether a server process runs on it.
    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// The process is gone.
    pub(crate) fn stop(&mut self) {
        self.server = None;
        self.life += 1;
        self.timer_us = None;
        self.flush_planned = false;
        self.doom = None;
    }

    /// A new key and a new origin: a disk that was never anybody's.
    pub(crate) fn renew(&mut self, dice: &mut Dice) {
        self.info = new_info(&self.name, dice);
        self.next_key = None;
    }
}

fn new_info(name: &ServerName, dice: &mut Dice) -> ServerInfo {
    ServerInfo {
        name: name.clone(),
        public_key: dice.bytes32().to_vec(),
        more_keys: Vec::new(),
        origin: OriginId::server(dice.next()),
        role: ServerRole::Full,
        doors: BTreeMap::from([(Door::Rpc, format!("{name}.example:4440"))]),
    }
}
