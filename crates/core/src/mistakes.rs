//! Mistakes that tests plant, as the code that makes them sees them; in earnest none is made.
//!
//! Must never be set but by a test: without the feature there is nothing that sets it.

/// Which mistakes are made; `planted.rs` says what each breaks.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mistakes {
    pub(crate) dropped_early: bool,
    pub(crate) moderation_skipped: bool,
    pub(crate) usage_drifts: bool,
    pub(crate) rename_forgets: bool,
    pub(crate) block_reused: bool,
    pub(crate) late_numbers_kept: bool,
    pub(crate) flags_dropped: bool,
}

impl Mistakes {
    /// Makes one of them.
    #[cfg(feature = "planted-faults")]
    pub(crate) fn plant(&mut self, planted: crate::planted::Planted) {
        use crate::planted::Planted;
        self.dropped_early = planted == Planted::DroppedEarly;
        self.moderation_skipped = planted == Planted::ModerationSkipped;
        self.usage_drifts = planted == Planted::UsageDrifts;
        self.rename_forgets = planted == Planted::RenameForgets;
        self.block_reused = planted == Planted::BlockReused;
        self.late_numbers_kept = planted == Planted::LateNumbersKept;
        self.flags_dropped = planted == Planted::FlagsDropped;
    }
}
