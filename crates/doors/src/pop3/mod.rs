//! POP3 (RFC 1939), as a server.
//!
//! With CAPA and PIPELINING and RESP-CODES (2449), STLS (2595), AUTH PLAIN (5034), AUTH-RESP-CODE (3206), UIDL and TOP. A message is sent byte for byte
//! as it is stored; it is deleted at QUIT and at no other time. What is in a mailbox is the shell's knowledge: each question is an [`Ask`].

mod command;
mod limits;
mod listing;
mod login;
mod mailbox;
mod reply;
mod retrieve;
mod session;
mod top;

pub use limits::{AUTH_LINE_BYTES, COMMAND_LINE_BYTES, Limits};
pub use mailbox::{BadUidl, Entry, Extent, Listed};
pub use reply::{Reason, Refusal, greeting_of_refusal};
pub use retrieve::Flow;
pub use session::{Answer, Ask, Config, Output, Session};
