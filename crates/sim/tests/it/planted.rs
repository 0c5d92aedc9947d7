//! The simulator sees: each planted mistake is found within so many seeds, about twice what it took
//! when this was written. A mistake that takes longer to find means that a fault or an invariant
//! has lost its edge.

use grapevine_core::Planted;
use grapevine_sim::{Verbosity, run};

fn is_found(planted: Planted, within: u64) {
    is_found_from(planted, 0, within);
}

fn is_found_from(planted: Planted, first: u64, within: u64) {
    let violates = |seed| {
        !run(seed, Some(planted), Verbosity::Silent)
            .violations
            .is_empty()
    };
    assert!(
        (first..first + within).any(violates),
        "{planted:?} was not found in {within} seeds"
    );
}

#[test]
fn a_reply_before_it_is_durable_is_found() {
    is_found(Planted::ReplyBeforeDurable, 80);
}

#[test]
fn a_yes_before_the_deputys_is_found() {
    is_found(Planted::AcceptBeforeDeputy, 40);
}

#[test]
fn stamps_of_the_wall_clock_are_found() {
    is_found(Planted::WallClockStamps, 5);
}

#[test]
fn deposits_that_forget_are_found() {
    is_found(Planted::DedupForgotten, 5);
}

#[test]
fn a_vector_raised_over_a_gap_is_found() {
    is_found(Planted::VectorOverGap, 5);
}

#[test]
fn a_deputy_that_never_takes_over_is_found() {
    is_found(Planted::NoTakeOver, 20);
}

#[test]
fn a_hint_believed_for_ever_is_found() {
    is_found(Planted::HintTrusted, 5);
}

#[test]
fn an_unknown_taken_for_a_no_is_found() {
    // One in twenty: a directory must be cut off at the right moment, and somebody ask about it then.
    is_found(Planted::UnknownIsNo, 120);
}

#[test]
fn custody_that_ends_with_one_copy_is_found() {
    is_found(Planted::OneCopyIsEnough, 80);
}

#[test]
fn a_check_point_ahead_of_its_page_is_found() {
    is_found(Planted::CheckpointEarly, 5);
}

#[test]
fn a_nested_list_taken_for_empty_is_found() {
    is_found(Planted::SublistEmpty, 15);
}

#[test]
fn a_missing_access_check_is_found() {
    is_found(Planted::NoAccessCheck, 5);
}

#[test]
fn a_token_that_is_not_looked_at_is_found() {
    is_found(Planted::TokenIgnored, 40);
}

#[test]
fn a_membership_remembered_for_ever_is_found() {
    is_found(Planted::ClosureKept, 10);
}

#[test]
fn a_lease_that_is_ignored_is_found() {
    is_found(Planted::LeaseIgnored, 15);
}

#[test]
fn a_name_that_means_two_is_found() {
    // One seed in a hundred has what it takes: a registrar who creates a name on both sides of a cut.
    is_found_from(Planted::LaterHasTheName, 170, 60);
}

#[test]
fn a_watch_that_goes_on_from_a_time_is_found() {
    is_found(Planted::WatchByTime, 25);
}

#[test]
fn a_message_that_is_taken_for_delivered_when_it_is_handed_over_is_found() {
    is_found(Planted::HandedIsDelivered, 5);
}

#[test]
fn what_a_registry_once_was_taken_for_what_it_is_is_found() {
    // Seeds in which a registry is created again while a holder is away.
    is_found_from(Planted::OldLivesTaken, 40, 30);
}

#[test]
fn traffic_moved_before_the_data_is_found() {
    is_found(Planted::TrafficFirst, 10);
}

#[test]
fn what_is_dropped_before_others_have_it_is_found() {
    is_found(Planted::DroppedEarly, 30);
}

#[test]
fn a_moderated_list_that_asks_nobody_is_found() {
    is_found(Planted::ModerationSkipped, 10);
}

#[test]
fn a_deleted_message_that_still_counts_is_found() {
    is_found(Planted::UsageDrifts, 5);
}

#[test]
fn a_rename_that_forgets_the_old_name_is_found() {
    is_found(Planted::RenameForgets, 10);
}

#[test]
fn every_planted_mistake_has_its_test() {
    // A new one is to be added above.
    // Two of them have theirs in `reaping`, one in `outside`; that of one queue for all is the core's (`classes`),
    // and so are those of numbers (`mailboxes`). That of flags is real servers' (`grapevine-torture --planted flags-dropped`).
    assert_eq!(Planted::ALL.len(), 32);
}
