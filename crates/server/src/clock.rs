//! The machine's clocks, read in one place: the core gets the time as an argument.

use std::time::{Duration, Instant, SystemTime};

use grapevine_model::Now;

/// Where monotonic milliseconds begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// What both clocks say.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono_ms: millis(self.start.elapsed()),
            wall_ms: wall_ms(),
        }
    }

    /// The moment of a monotonic time.
    pub(crate) fn at(&self, mono_ms: u64) -> Instant {
        self.start + Duration::from_millis(mono_ms.min(FAR_MS))
    }
}

/// Further ahead than any time-out, and near enough that an `Instant` can hold it.
const FAR_MS: u64 = 365 * 24 * 3_600_000;

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
