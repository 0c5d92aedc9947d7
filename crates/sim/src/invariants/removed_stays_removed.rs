//! A removed member never returns by itself: once a removal is acknowledged, and nobody has asked
//! to add that member again since, the server that removed it never calls it a member.
//!
//! Excused, where holders are away for longer than the retention, is an addition that the remover may
//! never have heard of: it stands when its removal is forgotten.

use grapevine_model::{Check, Reply};

use crate::event::{NodeIndex, Outcome};
use crate::oracle::{Absences, Write, WriteFate};

/// What it is called.
pub const NAME: &str = "a removed member stays removed";

/// A server has answered whether somebody is a member; it was asked then, and these are the writes
/// of that membership up to now. `origin` is the one that the server writes with.
pub(crate) fn checked(
    question: &str,
    writes: &[Write],
    asked_us: u64,
    node: NodeIndex,
    origin: Option<grapevine_model::OriginId>,
    outcome: &Outcome,
    absences: Absences,
) -> Option<String> {
    if *outcome != Outcome::Done(Reply::Check(Check::Yes)) {
        return None;
    }
    let last_add = writes
        .iter()
        .rposition(|write| write.value == IN && write.fate != WriteFate::Refused);
    let removed = writes
        .iter()
        .skip(last_add.map_or(0, |last| last + 1))
        .find(|write| {
            let here = match write.fate {
                WriteFate::Done { stamp, at_us, .. } => {
                    at_us < asked_us && Some(stamp.origin) == origin
                }
                WriteFate::Unknown | WriteFate::Refused | WriteFate::Nothing => false,
            };
            write.value == OUT && here
        })?;
    // An add that was asked for before the removal, at another server, may have the greater stamp.
    let rival = writes.iter().any(|write| {
        if let WriteFate::Done { stamp: removal, .. } = removed.fate
            && absences.excuse(write, removal)
        {
            return true;
        }
        write.value == IN
            && match write.fate {
                WriteFate::Done { stamp, .. } => match removed.fate {
                    WriteFate::Done { stamp: removal, .. } => stamp > removal,
                    WriteFate::Unknown | WriteFate::Refused | WriteFate::Nothing => true,
                },
                WriteFate::Unknown | WriteFate::Nothing => true,
                WriteFate::Refused => false,
            }
    });
    (!rival).then(|| format!("{question}: yes at node {node}, which has removed it"))
}

/// The value of a membership that is.
pub const IN: &str = "in";
/// The value of a membership that is not.
pub const OUT: &str = "out";
