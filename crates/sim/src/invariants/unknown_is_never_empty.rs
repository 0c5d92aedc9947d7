//! P7: about what never changes there is one right answer, or none; never a wrong one.

use grapevine_model::{Check, ErrorKind, Reply};

use crate::event::Outcome;

/// What it is called.
pub const NAME: &str = "unknown is never empty and never a yes";

/// Whether a member of a list that never changes is called one.
pub(crate) fn checked(question: &str, truth: Check, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done(Reply::Check(said)) if *said == truth => None,
        Outcome::Done(reply) => Some(format!("{question}: {reply:?}, in truth {truth:?}")),
        Outcome::Refused(refusal) => refused(question, refusal.kind),
        Outcome::NotSent | Outcome::Unknown => None,
    }
}

/// A name that is there, or a right that somebody has, can be unavailable but not absent.
pub(crate) fn refused(question: &str, kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Unknown => None,
        ErrorKind::Invalid
        | ErrorKind::NotAuthenticated
        | ErrorKind::NotAllowed
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::TooLarge
        | ErrorKind::Internal => Some(format!("{question}: refused as {kind:?}")),
    }
}
