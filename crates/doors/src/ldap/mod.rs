//! LDAP version 3 (RFC 4510 to 4519), read-only: for programs that ask a directory who somebody is, whether the password is right, and what
//! groups somebody is in.
//!
//! Must never change anything, and never say "no such" or give half an answer where a holder could not be asked: that is `unavailable`.

mod ber;
mod comparing;
mod dn;
mod evaluate;
mod filter;
pub mod limits;
mod message;
mod outcomes;
mod root;
mod schema;
mod search;
mod session;
mod subschema;
mod within;

pub use schema::Posix;
pub use session::{Ask, Config, Login, Output, Session};

/// What a client is told for whom there is no room, before it says anything.
pub fn notice_of_refusal() -> Vec<u8> {
    message::notice_of_disconnection(
        message::Code::Busy,
        "too many connections, try again or at another server",
    )
}
