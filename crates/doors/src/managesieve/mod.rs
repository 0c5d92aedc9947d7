//! ManageSieve (RFC 5804), as a server: a mailbox's owner puts, lists and activates his filters.
//!
//! STARTTLS, and no password before it; PLAIN. A script is looked at before it is put: what could not be run is refused with line and column.
//! Where scripts are is the shell's knowledge: each question is an [`Ask`].

mod command;
mod limits;
mod reply;
mod session;

pub use limits::Limits;
pub use reply::greeting_of_refusal;
pub use session::{Answer, Ask, Config, Failure, Output, Session};
