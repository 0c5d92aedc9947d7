//! A watcher that goes on at any server misses no change that stands at the end: what it was told and
//! what somebody is told who begins there now are the same.
//!
//! Where a disk was lost, what only that disk had may have been told to one and not to the other.

use crate::event::NodeIndex;
use crate::watcher::Known;

/// What it is called.
pub const NAME: &str = "a watcher misses nothing";

/// A watcher has gone on at a server, and another one has begun there.
pub(crate) fn at_end(
    registry: &str,
    node: NodeIndex,
    (resumed, fresh): (&Known, &Known),
    disks_lost: u32,
) -> Vec<String> {
    let (standing, there) = (resumed.standing(), fresh.standing());
    let mut found = Vec::new();
    for (place, (stamp, value)) in &there {
        let told = resumed.told.get(*place);
        let gone = resumed.gone.contains(&place.0);
        let missed = match told {
            None => true,
            Some((known, _)) if known < stamp => true,
            Some((known, said)) if known == stamp => said.as_deref() != Some(*value),
            // Of a write that is nowhere any more.
            Some(_) => disks_lost == 0,
        };
        if missed || (gone && disks_lost == 0) {
            found.push(format!(
                "{registry} at node {node}: {place:?} is {value:?} since {stamp:?}, and the watcher knows {told:?}"
            ));
        }
    }
    if disks_lost == 0 {
        for (place, said) in &standing {
            if !there.contains_key(place) {
                found.push(format!(
                    "{registry} at node {node}: {place:?} is no more, and the watcher knows {said:?}"
                ));
            }
        }
    }
    found
}
