//! The invariants, one file each. Some look at every answer, some at the end, some at both.

pub mod delivered_or_explained;
pub mod denied_has_no_effect;
pub mod holders_converge;
pub mod leases;
pub mod mailboxes_converge;
pub mod nobody_else;
pub mod numbers;
pub mod one_copy;
pub mod one_name_one_entry;
pub mod own_writes_are_read;
pub mod queues_end;
pub mod quotas;
pub mod refilled;
pub mod registries_do_not_mix;
pub mod removed_stays_removed;
pub mod stamps_rise;
pub mod unknown_is_never_empty;
pub mod updates_survive;
pub mod watchers_miss_nothing;

use crate::cluster::{Cluster, Violation};
use crate::oracle::Oracle;
use crate::view::FinalView;

/// Everything that must hold in the end.
pub(crate) fn at_end(oracle: &Oracle, view: &FinalView, cluster: &Cluster) -> Vec<Violation> {
    let found = [
        (
            delivered_or_explained::NAME,
            delivered_or_explained::at_end(oracle, view, cluster),
        ),
        (
            denied_has_no_effect::NAME,
            denied_has_no_effect::at_end(view),
        ),
        (holders_converge::NAME, holders_converge::at_end(view)),
        (
            mailboxes_converge::NAME,
            mailboxes_converge::at_end(oracle, view, cluster),
        ),
        (one_copy::NAME, one_copy::at_end(oracle, view, cluster)),
        (one_name_one_entry::NAME, one_name_one_entry::at_end(view)),
        (queues_end::NAME, queues_end::at_end(view, cluster)),
        (refilled::NAME, refilled::at_end(oracle, view)),
        (
            updates_survive::NAME,
            updates_survive::at_end(oracle, view, cluster),
        ),
    ];
    let at_us = cluster.now_us();
    found
        .into_iter()
        .flat_map(|(invariant, found)| found.into_iter().map(move |what| (invariant, what)))
        .map(|(invariant, what)| Violation {
            at_us,
            invariant,
            what,
        })
        .collect()
}
