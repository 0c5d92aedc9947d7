//! The simulated cluster: network, clock and disks with faults, the oracle and the invariants.
//!
//! Whole clusters of the real cores run in one thread of virtual time, from a seed. First safety
//! under faults, then everything is healed and liveness is demanded. Must never depend on
//! anything but the seed: the same one gives the same trace, in one process and in two.
#![allow(
    clippy::indexing_slicing,
    reason = "a bench for tests: a wrong index is to stop the run, as in any test"
)]

mod client;
mod clock;
mod cluster;
mod coverage;
mod dice;
mod disk;
mod effects;
mod event;
mod faults;
mod filters;
mod founders;
pub mod invariants;
mod keeper;
pub mod kinds;
mod losses;
mod meter;
mod movers;
mod network;
mod node;
mod oracle;
mod outside;
mod queue;
mod reader;
mod run;
pub mod scale;
mod services;
mod stewards;
mod trace;
mod view;
mod watcher;
mod workload;
mod world;

pub use clock::{Clock, EPOCH_MS, MAX_SKEW_MS};
pub use cluster::{
    CLIENT_PATIENCE_US, Cluster, Options, OrderedReport, Skew, Verbosity, Violation, everywhere,
};
pub use coverage::{Coverage, EVENTS};
pub use dice::Dice;
pub use disk::{Disk, DiskSpeed, UnknownToken};
pub use effects::hash;
pub use event::{ActorIndex, Ask, CallId, NodeIndex, Occurrence, Outcome};
pub use meter::{Journey, Meter, ServerCost, Tally};
pub use network::{Cut, Network, Weather};
pub use node::{Doom, Fate, Moment, Node, Step};
pub use oracle::{Accepted, Deletion, Key, Mailbox, Oracle, Sent, Write, WriteFate, WriteId};
pub use outside::{DOMAINS, Mood, OutsideWorld};
pub use queue::Queue;
pub use run::{Report, run};
pub use trace::Trace;
pub use view::{FinalView, Patience, gather, statuses};
pub use watcher::Known;
pub use world::{
    Person, Registry, SetupFailed, World, admit, found, insist, name, populate, registry_name,
    server_name,
};
