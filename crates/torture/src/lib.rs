//! Real servers under random faults, and an oracle that accounts for everything that was acknowledged (P1 to P4, P7, P8).
//!
//! `plan` draws the faults from a seed, `machine` has the servers' processes, `relay` the network between them, `senders`,
//! `readers`, `changers`, `mail_programs` and `askers` are the clients, `oracle` and `folders` know what they were told, `check` holds the servers against it, `run` has
//! it all happen. Must know nothing of a server but what its clients and its operator are told.

mod askers;
mod changers;
mod check;
mod dice;
mod disk;
mod figures;
mod folders;
mod machine;
mod mail_programs;
mod oracle;
mod plan;
pub mod planted;
mod readers;
mod relay;
mod retire;
mod run;
mod senders;
mod wire;
mod wire_http;
mod wire_imap;
mod wire_ldap;
mod world;

use std::sync::mpsc::sync_channel;
use std::time::Duration;

pub use retire::Load;
pub use run::{Options, Report, STUCK, run};

/// Waits so long: for another process, which cannot be waited for in any other way.
pub(crate) fn pause(time: Duration) {
    let (_sender, never) = sync_channel::<()>(0);
    let _ = never.recv_timeout(time);
}
