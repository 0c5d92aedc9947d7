//! What clients may use up at a door: the defaults, each with its reason.

use std::time::Duration;

use grapevine_model::MAX_MESSAGE_BYTES;

/// Connections of one door: each costs a file, and some tens of kilobytes when it works.
const CONNECTIONS: usize = 1_000;
/// Connections of one client's address: an office behind one address fits in; one client can't take the door for itself.
const PER_CLIENT: usize = 100;
/// How long a question to the core may take. The core answers within seconds, if only with "not now".
const ASK: Duration = Duration::from_secs(70);
/// How long the yes to a message may take: RFC 5321 4.5.3.2.6 has clients wait for 10 minutes.
const ACCEPT: Duration = Duration::from_secs(5 * 60);
/// How long a client may take nothing of what is written to it (RFC 5321 4.5.3.2.5: 3 minutes for a piece of data).
const WRITE: Duration = Duration::from_secs(3 * 60);
/// How long a TLS handshake may take: a few round trips over the slowest link.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long a client may take to log in where nothing is done without: a person typing a password fits in.
const STRANGER: Duration = Duration::from_secs(5 * 60);
/// How long a connection may last: 100 MiB at 64 kbit/s take 3 h 40 min.
const SESSION: Duration = Duration::from_secs(4 * 3600);
/// How long what is under way may go on when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long the answer to a wrong password is held back; it doubles with each in a session. Guessing over many connections is
/// bounded by their number.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// What the trace header may add to a message, so that what the client was promised (SIZE) fits what the core takes.
const TRACE_BYTES: u64 = 4 * 1024;

/// What clients may use up at the doors of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DoorLimits {
    /// Connections of one door.
    pub(crate) connections: usize,
    /// Connections of one client's address (IPv6: of its /64), at one door.
    pub(crate) per_client: usize,
    /// The longest message.
    pub(crate) message_bytes: u64,
    /// A question to the core.
    pub(crate) ask: Duration,
    /// The yes to a message.
    pub(crate) accept: Duration,
    /// A client that takes nothing of what is written.
    pub(crate) write: Duration,
    /// The TLS handshake.
    pub(crate) handshake: Duration,
    /// A client that has not logged in.
    pub(crate) stranger: Duration,
    /// A whole connection.
    pub(crate) session: Duration,
    /// The rest of a connection when the server stops.
    pub(crate) grace: Duration,
    /// The answer to the first wrong password of a session.
    pub(crate) wrong_password: Duration,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            per_client: PER_CLIENT,
            message_bytes: MAX_MESSAGE_BYTES - TRACE_BYTES,
            ask: ASK,
            accept: ACCEPT,
            write: WRITE,
            handshake: HANDSHAKE,
            stranger: STRANGER,
            session: SESSION,
            grace: GRACE,
            wrong_password: WRONG_PASSWORD,
        }
    }
}
