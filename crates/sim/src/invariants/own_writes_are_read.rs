//! Read your writes: whoever hands in the token of an acknowledged change is answered, by any server,
//! with that change or a newer one, or with "unavailable".
//!
//! Excused, where holders are away for longer than the retention, is an addition that stands against a
//! forgotten removal.

use grapevine_model::{Check, Reply, Stamp};

use crate::event::Outcome;
use crate::invariants::removed_stays_removed::{IN, OUT};
use crate::oracle::{Absences, Write, WriteFate};

/// What it is called.
pub const NAME: &str = "own writes are read";

/// Somebody whose write has this stamp has asked, with its token, whether somebody is a member;
/// these are the writes of that membership up to now.
pub(crate) fn checked(
    question: &str,
    writes: &[Write],
    stamp: Stamp,
    outcome: &Outcome,
    absences: Absences,
) -> Option<String> {
    let is = match outcome {
        Outcome::Done(Reply::Check(Check::Yes)) => IN,
        Outcome::Done(Reply::Check(Check::No)) => OUT,
        Outcome::Done(_) | Outcome::Refused(_) | Outcome::NotSent | Outcome::Unknown => {
            return None;
        }
    };
    let own =
        |write: &&Write| matches!(write.fate, WriteFate::Done { stamp: of, .. } if of == stamp);
    let wanted = writes.iter().find(own)?;
    // Somebody else may have written it again since, or be about to.
    let rival = writes.iter().any(|write| {
        wanted.value == OUT && absences.excuse(write, stamp)
            || match write.fate {
                WriteFate::Done { stamp: of, .. } => of > stamp,
                WriteFate::Unknown => true,
                WriteFate::Nothing | WriteFate::Refused => false,
            }
    });
    (wanted.value != is && !rival).then(|| {
        format!(
            "{question}: {is} in answer to the token of {stamp:?}, which wrote {}",
            wanted.value
        )
    })
}
