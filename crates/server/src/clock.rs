//! The machine's clocks, read in one place: the core gets the time as an argument.

use std::sync::LazyLock;
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

/// For tests only: how far this process's calendar is off, in milliseconds, ahead (`3600000`) or behind (`-3600000`).
const TEST_OFFSET_VARIABLE: &str = "GRAPEVINE_TEST_CLOCK_OFFSET_MS";

static TEST_OFFSET_MS: LazyLock<i64> = LazyLock::new(|| {
    std::env::var(TEST_OFFSET_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
});

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
        .saturating_add_signed(*TEST_OFFSET_MS)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
