//! Counters of a store, for metrics. Plain atomics: reading them never waits for a commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of sync times; the last bucket, beyond them, has none.
pub const SYNC_TIME_BUCKETS_US: [u64; 10] = [
    250, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
];

/// Live counters.
#[derive(Debug, Default)]
pub struct StoreStats {
    commits: AtomicU64,
    failed_commits: AtomicU64,
    batches: AtomicU64,
    syncs: AtomicU64,
    written_bytes: AtomicU64,
    sync_time_us: AtomicU64,
    sync_time_counts: [AtomicU64; SYNC_TIME_BUCKETS_US.len() + 1],
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsReading {
    /// Batches of the caller that were committed.
    pub commits: u64,
    /// Batches of the caller that were not.
    pub failed_commits: u64,
    /// Batches written to the engine: each holds all that waited.
    pub batches: u64,
    /// Of those, how many were synced.
    pub syncs: u64,
    /// Bytes of keys and values written, bodies in files not included.
    pub written_bytes: u64,
    /// Time spent in synced writes, all together.
    pub sync_time_us: u64,
    /// How many synced writes fell into each of [`SYNC_TIME_BUCKETS_US`], and beyond.
    pub sync_time_counts: [u64; SYNC_TIME_BUCKETS_US.len() + 1],
}

impl StoreStats {
    /// All counters now.
    pub fn read(&self) -> StatsReading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsReading {
            commits: get(&self.commits),
            failed_commits: get(&self.failed_commits),
            batches: get(&self.batches),
            syncs: get(&self.syncs),
            written_bytes: get(&self.written_bytes),
            sync_time_us: get(&self.sync_time_us),
            sync_time_counts: self.sync_time_counts.each_ref().map(get),
        }
    }

    pub(crate) fn count_batch(&self, commits: usize, bytes: u64) {
        add(&self.commits, commits as u64);
        add(&self.batches, 1);
        add(&self.written_bytes, bytes);
    }

    pub(crate) fn count_failed(&self) {
        add(&self.failed_commits, 1);
    }

    pub(crate) fn count_sync(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_TIME_BUCKETS_US.partition_point(|&bound_us| bound_us < took_us);
        add(&self.syncs, 1);
        add(&self.sync_time_us, took_us);
        if let Some(count) = self.sync_time_counts.get(bucket) {
            add(count, 1);
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
