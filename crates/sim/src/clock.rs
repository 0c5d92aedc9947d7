//! Each machine's clocks: one that only ever goes forward and begins anew at a crash, and one that
//! is wrong by minutes and jumps.
//!
//! No two wall clocks are ever further apart than the core's allowed drift: beyond it updates are
//! quarantined by design, and nothing could be demanded of the run.

use grapevine_model::Now;

/// The true time at which every run begins, milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// A wall clock is wrong by at most this, so that two of them (and what they once said) stay
/// within `Times::drift_ms` (two hours) of each other.
pub const MAX_SKEW_MS: i64 = 45 * 60_000;

/// The clocks of one machine.
#[derive(Debug, Clone)]
pub struct Clock {
    skew_ms: i64,
    started_us: u64,
}

impl Clock {
    /// A machine's clocks, its wall clock wrong by so much.
    pub fn new(skew_ms: i64) -> Self {
        Self {
            skew_ms: skew_ms.clamp(-MAX_SKEW_MS, MAX_SKEW_MS),
            started_us: 0,
        }
    }

    /// The server starts: its monotonic clock begins at zero.
    pub fn start(&mut self, true_us: u64) {
        self.started_us = true_us;
    }

    /// Somebody sets the wall clock.
    pub fn jump(&mut self, by_ms: i64) {
        self.skew_ms = (self.skew_ms + by_ms).clamp(-MAX_SKEW_MS, MAX_SKEW_MS);
    }

    /// By how much the wall clock is wrong.
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// What the machine believes.
    pub fn now(&self, true_us: u64) -> Now {
        Now {
            mono_ms: true_us.saturating_sub(self.started_us) / 1000,
            wall_ms: (EPOCH_MS + true_us / 1000).saturating_add_signed(self.skew_ms),
        }
    }

    /// The true time at which the monotonic clock will show this.
    pub fn true_us(&self, mono_ms: u64) -> u64 {
        self.started_us.saturating_add(mono_ms.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_and_not_the_other() {
        let mut clock = Clock::new(1_000);
        clock.start(5_000_000);
        let before = clock.now(8_000_000);
        clock.jump(-60_000);
        let after = clock.now(8_000_000);
        assert_eq!((before.mono_ms, after.mono_ms), (3_000, 3_000));
        assert_eq!(before.wall_ms - after.wall_ms, 60_000);
        assert_eq!(clock.true_us(3_000), 8_000_000);
    }
}
