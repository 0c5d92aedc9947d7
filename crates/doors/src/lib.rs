//! The standard protocols as state machines over bytes: bytes in; bytes and requests out.
//!
//! Nothing here may touch a socket, a clock, a disk, a random source or TLS: the shell does that, and tells the session what happened.
//! A session never panics on what a peer sends, holds a bounded amount of memory, and what it does never depends on how the bytes
//! were cut into packets.
//!
//! All sessions ([`smtp::Session`], [`pop3::Session`], [`ldap::Session`]) are driven alike:
//!
//! ```text
//! loop {
//!     while let Some(output) = session.poll() { carry it out; an Ask is remembered }
//!     if an Ask is open      { session.answer(..) }                  // then poll again
//!     if session.wants_bytes() { read at most READ_BYTES; session.receive(&bytes), or eof(), or timed_out() }
//! }
//! ```

mod hops;
mod inbox;
mod line;
mod text;
mod via;

pub mod dns;
pub mod dot;
pub mod imap;
pub mod ldap;
pub mod managesieve;
pub mod pop3;
pub mod sasl;
pub mod sieve;
pub mod smtp;
pub mod smtp_client;

pub use via::Via;

/// How many bytes the shell should read at a time. A session keeps at most one read (what follows an open question), so this bounds it;
/// 64 KiB keeps the cost of a system call small beside the bytes it brings.
pub const READ_BYTES: usize = 64 * 1024;

/// Where a session stops working until the shell has taken its outputs: some tens of kilobytes of answers keep a pipelining client busy.
pub(crate) const OUTBOX_BYTES: usize = 64 * 1024;

/// How far TLS is on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not on, and the client can't turn it on.
    Unavailable,
    /// Not on; STARTTLS or STLS is offered.
    Offered,
    /// Not on, and not needed: the client is a program on this machine, and what it says never leaves it.
    Local,
    /// On (from the first byte, or after STARTTLS/STLS).
    Active,
}
