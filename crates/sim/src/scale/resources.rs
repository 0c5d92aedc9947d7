//! What the machine that runs the model says of this process: processor time and memory.
//!
//! Must never be read by anything that a run depends on.

use std::time::{Duration, Instant};

/// Real time and processor time of this thread since a beginning.
#[derive(Debug)]
pub(super) struct Spent {
    begun: Instant,
    processor: Option<Duration>,
}

impl Spent {
    /// From now on.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a core costs is measured in real time; nothing of a run depends on it"
    )]
    pub(super) fn from_now() -> Self {
        Self {
            begun: Instant::now(),
            processor: processor(),
        }
    }

    /// The part of the time in which this thread had a processor: with it, what was measured by the clock becomes processor time.
    pub(super) fn share(&self) -> f64 {
        let real = self.begun.elapsed().as_secs_f64().max(1e-9);
        match (self.processor, processor()) {
            (Some(before), Some(now)) => (now.saturating_sub(before).as_secs_f64() / real).min(1.0),
            (None, _) | (_, None) => 1.0,
        }
    }
}

/// The processor time of this thread, where the system says it.
fn processor() -> Option<Duration> {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(said.split(' ').next()?.parse().ok()?))
}

/// The memory of this process; zero where the system does not say it.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
