//! Grapevine's servers as a pure state machine: no socket, no clock, no disk,
//! no randomness of its own.
//!
//! [`Server`] takes inputs with the time and gives effects; what it remembers
//! goes through [`Tables`] and [`Op`]. A whole cluster of them runs in one test
//! process with every fault that the simulator can think of.

mod clock;
mod codec;
mod config;
mod delivery;
mod effect;
mod few;
mod ledger;
mod mailbox;
mod mistakes;
mod peers;
#[cfg(feature = "planted-faults")]
mod planted;
mod registry;
mod replication;
mod rows;
mod server;
mod tables;

pub use config::{Alone, CLOSURE_GROUPS, Config, ROWS_A_TURN, Start, Times};
pub use delivery::routes::{
    Destination, DomainPattern, HandOver, HandOverOutcome, HandedOver, NextHop, Outside, Reached,
    Route, RoutedNames, Routes,
};
pub use delivery::suspend::{FAILURES_STALE_DAYS, SUSPEND_AFTER_DAYS};
pub use effect::{
    DiskRoom, Effect, FilterOrder, FilterOut, FilterPlace, FilterWay, Filtered, Input,
    MissingFolder, Note, NoteLevel, OutKind, ReportKind, ReportLine, ReportOrder, Staged,
};
pub use mailbox::filter::filter_message_id;
pub use mailbox::kept::{KeptMail, KeptMailbox, kept_mailbox};
#[cfg(feature = "planted-faults")]
pub use planted::Planted;
pub use registry::login::app_password_may;
pub use registry::scram::{SCRAM_ITERATIONS, ScramKeys, ScramOrder};
pub use server::Server;
pub use tables::{Damaged, Op, Row, Table, Tables};
