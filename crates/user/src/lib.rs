//! GrapevineUser: finds the servers, fails over, loses nothing and doubles nothing.
//!
//! From one server's address it finds all, asks the nearest that is well, and turns
//! to the next when one fails in the middle of anything. It trusts keys, not
//! addresses (`trust`). What a lost answer means is said in `call` and `submit`.

mod body;
pub mod bulk;
mod call;
pub mod export;
mod folders;
pub mod import;
mod inbox;
mod keyring;
mod link;
mod mailbox;
mod names;
mod nearest;
mod outbox;
mod patience;
mod remembered;
mod roster;
mod sealed;
mod seen;
mod settle;
mod submit;
mod transform;
mod trust;
mod user;
mod watch;

pub use body::{BodySource, Reopen};
pub use call::Answered;
pub use folders::{FolderMails, Folders, NewMail};
pub use grapevine_rpc::is_ticket;
pub use inbox::{ListFields, ReadError};
pub use keyring::{KeyRing, Opened, Standing};
pub use names::{KnownName, NameBook};
pub use nearest::{Nearest, probe, random_below, rfc2782_order};
pub use outbox::{
    Delivered, FinishedBody, KeepError, Outbox, OutboxLimits, Outgoing, OutgoingState, StagedBody,
    make_private,
};
pub use patience::Patience;
pub use remembered::{KnownGrapevine, KnownServer, Remembered, write_private};
pub use sealed::{DataKey, SealedReader, SealedWriter};
pub use submit::{Accepted, SubmitError, new_message_id, wall_ms};
pub use transform::{LineEnds, Quoting, Transform};
pub use trust::{Fingerprint, FingerprintError, ServerKey};
pub use user::{ConnectError, FirstContact, GrapevineUser, Login, Notice, Pin, Seed, Seeds};
pub use watch::Watch;
