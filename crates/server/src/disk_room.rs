//! How much room the disk has: looked at now and then, and told to the core when it changes.

use std::time::Duration;

use grapevine_core::{DiskRoom, Input};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::archive::day_of;
use crate::clock::wall_ms;
use crate::core_task::CoreHandle;

/// Free space is looked at this often: at a gigabit, a gigabyte fills in about as much time.
const PERIOD: Duration = Duration::from_secs(5);
/// With less free space than this, in percent of the reserve, copies after delivery go: mail is refused only when that does not help.
const LOW_PERCENT: u64 = 200;
/// There is room again when this much more than the bound is free, in percent.
const RELIEF_PERCENT: u64 = 120;

/// What this much free space is, after what it was before.
fn room(free_bytes: u64, reserve_bytes: u64, before: DiskRoom) -> DiskRoom {
    let below = |bound_bytes: u64, is_below: bool| {
        let percent = if is_below { RELIEF_PERCENT } else { 100 };
        free_bytes < bound_bytes.saturating_mul(percent) / 100
    };
    let low_bytes = reserve_bytes.saturating_mul(LOW_PERCENT) / 100;
    if below(reserve_bytes, before == DiskRoom::NearlyFull) {
        DiskRoom::NearlyFull
    } else if below(low_bytes, before != DiskRoom::Enough) {
        DiskRoom::Low
    } else {
        DiskRoom::Enough
    }
}

/// Tells the core how much room the disk has, when that changes.
pub(crate) async fn watch_disk(
    core: CoreHandle,
    mut reserve: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut before = DiskRoom::Enough;
    loop {
        core.store().set_today(day_of(wall_ms()));
        let reserve_bytes = *reserve.borrow_and_update();
        match core.store().free_bytes() {
            Ok(free_bytes) => {
                let now = room(free_bytes, reserve_bytes, before);
                if now != before {
                    tell(now, before, free_bytes, reserve_bytes);
                    before = now;
                    core.input(Input::DiskRoom(now)).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the free space can't be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
            _ = reserve.changed() => {}
        }
    }
}

fn tell(now: DiskRoom, before: DiskRoom, free_bytes: u64, reserve_bytes: u64) {
    match now {
        DiskRoom::NearlyFull => tracing::error!(
            free_bytes,
            reserve_bytes,
            "the disk is nearly full: new messages are refused until there is room"
        ),
        DiskRoom::Low if before == DiskRoom::Enough => tracing::warn!(
            free_bytes,
            reserve_bytes,
            "the disk has little room: copies kept after delivery go"
        ),
        DiskRoom::Low | DiskRoom::Enough => {
            tracing::info!(free_bytes, "there is room on the disk again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_before_mail_is_refused_and_room_must_be_ample_to_count_again() {
        use DiskRoom::{Enough, Low, NearlyFull};
        for (free, before, now) in [
            (200, Enough, Enough),
            (199, Enough, Low),
            (239, Low, Low),
            (240, Low, Enough),
            (100, Low, Low),
            (99, Low, NearlyFull),
            (99, Enough, NearlyFull),
            (119, NearlyFull, NearlyFull),
            (120, NearlyFull, Low),
            (239, NearlyFull, Low),
            (240, NearlyFull, Enough),
        ] {
            assert_eq!(room(free, 100, before), now, "{free} after {before:?}");
        }
        assert_eq!(room(0, 0, Enough), Enough, "no reserve, no bound");
        assert_eq!(room(u64::MAX, u64::MAX, Low), Enough);
    }
}
