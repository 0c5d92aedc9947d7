//! Results that end a request, and how the server's refusals are said in LDAP.
//!
//! Must never tell more than who asks may know: a refusal's words are the server's own, its kind decides the code.

use grapevine_model::{ErrorKind, Refusal};

use super::dn::{self, Place, place};
use super::message::{Code, Outcome};

/// More than a search may look at.
pub(super) fn too_much_to_look_at() -> Outcome {
    Outcome::new(
        Code::AdminLimitExceeded,
        "too many entries would have to be looked at: ask by uid, cn, mail or member",
    )
}

/// More than an entry may show.
pub(super) fn too_many_groups() -> Outcome {
    Outcome::new(Code::AdminLimitExceeded, "in too many groups to be shown")
}

/// An answer to another question: a fault of ours.
pub(super) fn odd() -> Outcome {
    Outcome::new(Code::Other, "something is wrong here, try another server")
}

/// With how far the name leads, where that is said by the name itself.
pub(super) fn no_such_object(base: &str) -> Outcome {
    let matched = match place(base) {
        Ok(Place::Individual(name) | Place::Group(name)) => dn::of_registry(name.registry()),
        Ok(Place::Root | Place::Registry(_) | Place::Nothing(_)) | Err(_) => String::new(),
    };
    Outcome {
        matched,
        ..Outcome::new(Code::NoSuchObject, "")
    }
}

/// A refusal as LDAP says it.
pub(super) fn refused(refusal: &Refusal) -> Outcome {
    let code = match refusal.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown => Code::Unavailable,
        ErrorKind::Conflict => Code::Busy,
        ErrorKind::NotAuthenticated | ErrorKind::NotAllowed => Code::InsufficientAccessRights,
        ErrorKind::NotFound => Code::NoSuchObject,
        ErrorKind::TooLarge => Code::AdminLimitExceeded,
        ErrorKind::Invalid => Code::UnwillingToPerform,
        ErrorKind::Internal => Code::Other,
    };
    Outcome::new(code, refusal.why.clone())
}

/// The only one of them.
pub(super) fn only<T>(many: Vec<T>) -> Option<T> {
    <[T; 1]>::try_from(many).ok().map(|[one]| one)
}
