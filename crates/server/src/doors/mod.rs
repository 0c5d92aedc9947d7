//! The front doors: SMTP, POP3 and LDAP on sockets, around the sessions of `grapevine-doors`.
//!
//! Must never decide what the core decides (who may log in, send, receive, read), and never hold more for a client than the limits
//! below: connections, time, bytes. A door that is full says so; one that stops lets what is under way come to its end.

mod accept;
mod backend;
mod drive;
mod end_point;
mod envelope;
mod imap;
mod incoming;
mod ldap;
mod limits;
mod login;
mod managesieve;
mod pop3;
mod slots;
mod smtp;
pub(crate) mod tls;

#[cfg(test)]
mod client;
#[cfg(test)]
mod clients_test;
#[cfg(test)]
mod drive_test;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod sockets_test;

use std::sync::Arc;

use crate::routes::Network;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use accept::{run_door, run_local_door, run_socket};
pub(crate) use backend::{Backend, BodyStage, Wanted};
pub(crate) use limits::DoorLimits;
pub(crate) use slots::{Slot, Slots};

/// What the doors of a server share.
pub(crate) struct DoorContext<B> {
    /// The core: who may do what, and where messages go.
    pub(crate) core: B,
    /// What the server calls itself to clients.
    pub(crate) hostname: String,
    /// What clients may use up.
    pub(crate) limits: DoorLimits,
    /// What the directory says of people for POSIX systems.
    pub(crate) posix: grapevine_doors::ldap::Posix,
    /// Networks whose machines may send to anywhere without a login.
    pub(crate) networks: Vec<Network>,
    /// TLS with the front doors' certificate; none where all clients are on this machine.
    pub(crate) tls: Option<tls::Reloadable>,
    /// Stops all doors.
    pub(crate) shutdown: CancellationToken,
    /// Has every connection's task.
    pub(crate) tracker: TaskTracker,
}

/// How the doors hold their context.
pub(crate) type SharedContext<B> = Arc<DoorContext<B>>;
