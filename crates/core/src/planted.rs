//! Mistakes that can be switched on in tests only, to show that the simulator sees them.
//! Each names the promise that it breaks.

use crate::server::Server;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Planted {
    /// Effects leave before their change is durable (P1, P2).
    ReplyBeforeDurable,
    /// The yes does not wait for the deputy (P2).
    AcceptBeforeDeputy,
    /// Stamps are the wall clock's, whatever the cell has (P4).
    WallClockStamps,
    /// A deposit ignores what the mailbox remembers (at most one copy seen).
    DedupForgotten,
    /// A push that leaves a gap raises the vector all the same (P4).
    VectorOverGap,
    /// The deputy never takes over (P1).
    NoTakeOver,
    /// A remembered `no such name` is believed for ever (P1).
    HintTrusted,
    /// A membership that can't be asked is taken for a no (P7).
    UnknownIsNo,
    /// Custody ends with the first copy in a mailbox (P2).
    OneCopyIsEnough,
    /// The check-point of a list moves before its page is written (P1).
    CheckpointEarly,
    /// A nested list that can't be read is taken for empty (P7).
    SublistEmpty,
    /// A list, or what a leaving server hands over, is done with in one go, before anybody else's turn (none waits behind another).
    OneQueue,
    /// Tombstones are forgotten after some seconds, whoever has them (P4).
    ReapOnTimer,
    /// A server that comes back after a long absence goes on with its old copy (P4).
    RefreshSkipped,
    /// Access is not checked for changes to lists (P5, P8).
    NoAccessCheck,
    /// What a client has seen is not looked at (read your writes).
    TokenIgnored,
    /// A remembered membership is not forgotten when the group changes (P5).
    ClosureKept,
    /// A lease that has ended is taken for one that lasts (92).
    LeaseIgnored,
    /// Copies of which nobody says that they differ are taken for equal (P4).
    CompareTrusts,
    /// Of two creations of one name, one server of three lets the later one have it (P4).
    LaterHasTheName,
    /// A watch goes on from a time, whoever has written before it (a watcher misses nothing).
    WatchByTime,
    /// An outside recipient is done when the shell has been told to hand the message over (P1).
    HandedIsDelivered,
    /// Whom another server has handed the message to is not asked (no needless second copy outside).
    OutsideNotAsked,
    /// What a registry of the same name once was is taken for what it is (P4).
    OldLivesTaken,
    /// A holder is asked before it has fetched anything, and may be left as the only one (P4).
    TrafficFirst,
    /// What a server leaves it drops before the others have it (P1, P4).
    DroppedEarly,
    /// A moderated list asks nobody (P8).
    ModerationSkipped,
    /// A deleted message still counts (quotas).
    UsageDrifts,
    /// Who is renamed is not found by his old name any more (P1).
    RenameForgets,
    /// A server goes on with the numbers of a block that another life of its disk opened (no number for two mails).
    BlockReused,
    /// Numbers count although mail programs may have seen higher ones before (no number appears late).
    LateNumbersKept,
    /// Who gets a flag from another site throws it away, and says that he has it (P4).
    FlagsDropped,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::ReplyBeforeDurable,
        Self::AcceptBeforeDeputy,
        Self::WallClockStamps,
        Self::DedupForgotten,
        Self::VectorOverGap,
        Self::NoTakeOver,
        Self::HintTrusted,
        Self::UnknownIsNo,
        Self::OneCopyIsEnough,
        Self::CheckpointEarly,
        Self::SublistEmpty,
        Self::OneQueue,
        Self::ReapOnTimer,
        Self::RefreshSkipped,
        Self::NoAccessCheck,
        Self::TokenIgnored,
        Self::ClosureKept,
        Self::LeaseIgnored,
        Self::CompareTrusts,
        Self::LaterHasTheName,
        Self::WatchByTime,
        Self::HandedIsDelivered,
        Self::OutsideNotAsked,
        Self::OldLivesTaken,
        Self::TrafficFirst,
        Self::DroppedEarly,
        Self::ModerationSkipped,
        Self::UsageDrifts,
        Self::RenameForgets,
        Self::BlockReused,
        Self::LateNumbersKept,
        Self::FlagsDropped,
    ];
}

impl Server {
    /// Switches on what the configuration says.
    pub(crate) fn plant(&mut self) {
        match self.config.planted {
            None => {}
            Some(Planted::ReplyBeforeDurable) => self.ledger.no_barrier = true,
            Some(Planted::AcceptBeforeDeputy) => self.planted_accept_before_deputy = true,
            Some(Planted::WallClockStamps) => self.clock.wall_only = true,
            Some(Planted::DedupForgotten) => self.planted_dedup_forgotten = true,
            Some(Planted::VectorOverGap) => self.planted_vector_over_gap = true,
            Some(Planted::NoTakeOver) => self.planted_no_take_over = true,
            Some(Planted::HintTrusted) => self.planted_hint_trusted = true,
            Some(Planted::UnknownIsNo) => self.planted_unknown_is_no = true,
            Some(Planted::OneCopyIsEnough) => self.planted_one_copy = true,
            Some(Planted::CheckpointEarly) => self.planted_checkpoint_early = true,
            Some(Planted::SublistEmpty) => self.planted_sublist_empty = true,
            Some(Planted::OneQueue) => self.planted_one_queue = true,
            Some(Planted::ReapOnTimer) => self.planted_reap_on_timer = true,
            Some(Planted::RefreshSkipped) => self.planted_no_refresh = true,
            Some(Planted::NoAccessCheck) => self.planted_no_access_check = true,
            Some(Planted::TokenIgnored) => self.planted_token_ignored = true,
            Some(Planted::ClosureKept) => self.planted_closure_kept = true,
            Some(Planted::LeaseIgnored) => self.planted_lease_ignored = true,
            Some(Planted::LaterHasTheName) => self.planted_later_has_the_name = true,
            Some(Planted::HandedIsDelivered) => self.planted_handed_is_delivered = true,
            Some(Planted::OutsideNotAsked) => self.planted_outside_not_asked = true,
            Some(Planted::OldLivesTaken) => self.planted_old_lives = true,
            Some(Planted::TrafficFirst) => self.planted_traffic_first = true,
            Some(Planted::CompareTrusts) => self.planted_compare_trusts = true,
            Some(Planted::WatchByTime) => self.planted_watch_by_time = true,
            Some(planted) => self.mistakes.plant(planted),
        }
    }
}
