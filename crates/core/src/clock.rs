//! The hybrid logical clock: stamps that never go back, over restarts too.
//!
//! Guards checklist 35: the machine's clock only pushes it forward. A persisted
//! bound lies ahead of every stamp given out; after a restart the clock goes on
//! from the bound.

use grapevine_model::{Hlc, Now, OriginId, Stamp};

/// The bound is moved so far ahead that it is rarely written.
const BOUND_AHEAD_MS: u64 = 10_000;

/// Gives out stamps of one origin.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: OriginId,
    last: Hlc,
    bound: Hlc,
    /// Planted fault: stamps are the wall clock's.
    pub(crate) wall_only: bool,
}

/// A stamp, and the bound that must be durable before it is seen, when that moved.
pub(crate) struct Tick {
    pub(crate) time: Hlc,
    pub(crate) new_bound: Option<Hlc>,
}

impl Clock {
    /// Goes on from the persisted bound.
    pub(crate) fn resume(origin: OriginId, bound: Hlc) -> Self {
        Self {
            origin,
            last: bound,
            bound,
            wall_only: false,
        }
    }

    pub(crate) fn origin(&self) -> OriginId {
        self.origin
    }

    /// The disk was set back: a new life begins, later than all that was seen of the old one.
    pub(crate) fn be_reborn(&mut self, origin: OriginId) {
        self.origin = origin;
    }

    /// A time greater than all before and than `at_least`.
    pub(crate) fn tick(&mut self, now: Now, at_least: Hlc) -> Tick {
        let wall = Hlc::at_ms(now.wall_ms);
        self.last = self.last.next().max(wall).max(at_least.next());
        let new_bound = (self.last >= self.bound).then(|| {
            self.bound = Hlc::at_ms(self.last.wall_ms() + BOUND_AHEAD_MS);
            self.bound
        });
        Tick {
            time: self.last,
            new_bound,
        }
    }

    /// A remote stamp was taken in: later ones of ours exceed it.
    pub(crate) fn observe(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stamps_rise_over_restarts_whatever_the_wall_clock_does(walls in proptest::collection::vec((0u64..100_000, any::<bool>()), 1..60)) {
            let origin = OriginId(1);
            let (mut clock, mut durable, mut last) = (Clock::resume(origin, Hlc(0)), Hlc(0), Hlc(0));
            for (wall_ms, restart) in walls {
                if restart {
                    clock = Clock::resume(origin, durable);
                }
                let tick = clock.tick(Now { mono_ms: 0, wall_ms }, Hlc(0));
                durable = tick.new_bound.unwrap_or(durable);
                prop_assert!(tick.time > last && tick.time < durable);
                last = tick.time;
            }
        }
    }
}
