//! SMTP (RFC 5321) and LMTP (RFC 2033), as a client: a message goes to another mail system, and each
//! recipient has an answer of its own.
//!
//! With STARTTLS (3207), AUTH PLAIN and LOGIN (4954), PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531) and
//! DSN (3461). It must never say that a message was taken when the server has not said so after the final dot, send a password without
//! TLS, believe what came in clear before TLS, nor send a line end that is not CRLF.
//!
//! Driven like the servers' sessions, but it speaks of messages: [`Client::poll`] until it gives [`Output::Ready`], then
//! [`Client::begin`], [`Client::body`] for each [`Output::BodyWanted`], and [`Client::body_end`]; [`Output::Done`] has the outcomes.

mod content;
mod dialogue;
mod extensions;
mod limits;
mod mail;
mod reply;

pub use content::{Content, ContentScan};
pub use dialogue::{Client, Config, Failure, Fault, Output, Protocol, StartTls};
pub use limits::REPLY_LINE_BYTES;
pub use mail::{Mail, Outcome, Rcpt};
pub use reply::Said;
