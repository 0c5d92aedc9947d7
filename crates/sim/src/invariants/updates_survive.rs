//! An acknowledged update survives: in the end each value is that of the acknowledged write with
//! the greatest stamp, or of a write whose outcome nobody knows; and every server says the same.
//!
//! Excused are writes acknowledged with one copy by a machine whose disk was lost since; and, where
//! holders are away for longer than the retention, a removal that an addition of another server stands
//! against.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::invariants::removed_stays_removed::OUT;
use crate::oracle::{Key, Oracle, Write, WriteFate};
use crate::view::FinalView;

/// What it is called.
pub const NAME: &str = "acknowledged updates survive";

/// In the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView, cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for (key, answers) in &view.values {
        let writes = oracle.writes.get(key).map_or(&[][..], Vec::as_slice);
        let allowed = allowed(key, writes, cluster, view);
        let mut said = BTreeSet::new();
        for (node, value) in answers {
            if !allowed.contains(value) {
                found.push(format!(
                    "{key:?} is {value:?} at node {node}, not one of {allowed:?}"
                ));
            }
            said.insert(value);
        }
        if said.len() > 1 {
            found.push(format!("{key:?} differs: {answers:?}"));
        }
    }
    found
}

fn allowed(key: &Key, writes: &[Write], cluster: &Cluster, view: &FinalView) -> BTreeSet<String> {
    let stamp = |write: &Write| match write.fate {
        WriteFate::Done { stamp, .. } => Some(stamp),
        WriteFate::Unknown | WriteFate::Refused | WriteFate::Nothing => None,
    };
    let greatest = writes
        .iter()
        .filter(|write| write.must_survive(cluster))
        .max_by_key(|write| stamp(write));
    let mut allowed = BTreeSet::new();
    match greatest {
        Some(write) => allowed.insert(write.value.clone()),
        None => allowed.insert(view.first_value(key)),
    };
    for write in writes {
        let perhaps = match write.fate {
            // A request that was passed on and doubled on the way finds itself done already: then
            // nobody knows its stamp.
            WriteFate::Unknown | WriteFate::Nothing => true,
            // Excused above: it may have survived all the same.
            WriteFate::Done { stamp: at, .. } => {
                !write.must_survive(cluster)
                    && greatest
                        .and_then(stamp)
                        .is_none_or(|greatest| at > greatest)
                    || greatest
                        .filter(|removal| removal.value == OUT)
                        .and_then(stamp)
                        .is_some_and(|removal| cluster.absences().excuse(write, removal))
            }
            WriteFate::Refused => false,
        };
        if perhaps {
            allowed.insert(write.value.clone());
        }
    }
    allowed
}
