//! SMTP (RFC 5321), as a server: submission by individuals, and receiving from other systems.
//!
//! With STARTTLS (3207), AUTH PLAIN and LOGIN (4954), PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), CHUNKING (3030),
//! ENHANCEDSTATUSCODES (2034) and DSN (3461). Who may send as whom, and to whom, is the shell's decision: each question is an [`Ask`].
//!
//! The parsing is our own and not `smtp-proto`'s: that one takes a bare LF for the end of a command, drops parameters' bytes that it cannot
//! decode, and knows a dozen commands that are not offered here. This door's promise is strictness.

mod address;
mod body;
mod command;
mod envelope;
mod limits;
mod login;
mod parameters;
mod reply;
mod session;
mod transaction;

pub use envelope::{BodyKind, Envelope, Notify, Recipient, Return, Sender, Trace};
pub use limits::{AUTH_LINE_BYTES, COMMAND_LINE_BYTES, Limits};
pub use reply::{Code, Refusal, greeting_of_refusal};
pub use session::{Answer, Ask, Config, Kind, Output, Session};
