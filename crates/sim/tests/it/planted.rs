//! The simulator sees: each planted mistake is found within so many seeds.

use grapevine_core::Planted;
use grapevine_sim::{Verbosity, run};

/// Within how many seeds a mistake is found: twice what it took when this was written, or more.
fn within(planted: Planted) -> u64 {
    match planted {
        Planted::ReplyBeforeDurable
        | Planted::AcceptBeforeDeputy
        | Planted::WallClockStamps
        | Planted::DedupForgotten
        | Planted::VectorOverGap
        | Planted::NoTakeOver
        | Planted::HintTrusted
        | Planted::UnknownIsNo
        | Planted::OneCopyIsEnough
        | Planted::NoAccessCheck => 50,
    }
}

#[test]
fn every_planted_mistake_is_found() {
    for planted in Planted::ALL {
        let found = (0..within(planted)).any(|seed| {
            !run(seed, Some(planted), Verbosity::Silent)
                .violations
                .is_empty()
        });
        assert!(
            found,
            "{planted:?} was not found in {} seeds",
            within(planted)
        );
    }
}
