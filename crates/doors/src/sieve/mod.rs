//! Sieve: filters that people write for their own mailboxes (RFC 5228).
//!
//! Pure: a script is text in, [`Script::compile`] says what is wrong with it or gives what can be run, and [`Script::run`] says what is to be
//! done with a message, from its header, size and envelope. Nothing here does it, asks a clock, or remembers.
//!
//! It must never lose a message by a mistake of a script (then the message is kept in the inbox), never let a script cost more than
//! [`limits`] say, and never send anything to a list, a robot or in a circle.

mod arguments;
mod compile;
mod conditions;
mod encoded;
mod evaluate;
mod flags;
mod header;
mod lexer;
pub mod limits;
mod matching;
mod mistake;
mod redirect;
mod run;
mod script;
mod syntax;
mod text;
mod vacation;

pub use compile::EXTENSIONS;
pub use header::Header;
pub use mistake::{Mistake, Position};
pub use redirect::guard;
pub use run::{Action, IfMissing, Message, Outcome, Way};
pub use script::Script;
pub use vacation::{Answer, Sent};
