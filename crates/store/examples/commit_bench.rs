//! Durable writes a second: 1, 16 and 64 writers, 4 KiB bodies with a row each, every write durable before the next
//! of the same writer. Prints a table; measures, judges nothing.
//!
//! `cargo run -p grapevine-store --release --example commit_bench [FOLDER] [SECONDS]`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for people who measure"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grapevine_store::{Durability, MessageId, Op, Options, Store, Table};

const WRITERS: [usize; 3] = [1, 16, 64];
const BODY_BYTES: usize = 4 * 1024;
const SECONDS: u64 = 5;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .map_or_else(|| PathBuf::from("commit_bench.store"), PathBuf::from);
    let seconds = args.next().and_then(|n| n.parse().ok()).unwrap_or(SECONDS);
    println!("| writers | writes a second | p50 ms | p99 ms | commits a sync | mean sync ms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for writers in WRITERS {
        let _ = std::fs::remove_dir_all(&dir);
        measure(&dir, writers, Duration::from_secs(seconds));
    }
    let opening = Instant::now();
    drop(Store::open(&dir, &Options::default()).unwrap());
    println!("\nreopened in {:.3} s", opening.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&dir).unwrap();
}

fn measure(dir: &std::path::Path, writers: usize, how_long: Duration) {
    let store = Store::open(dir, &Options::default()).unwrap();
    let next = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut times_us: Vec<u64> = std::thread::scope(|scope| {
        let write = || write_until(&store, &next, &over);
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        let started = Instant::now();
        while started.elapsed() < how_long {
            std::thread::park_timeout(how_long.saturating_sub(started.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    times_us.sort_unstable();
    let stats = store.stats().read();
    let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!(
        "| {writers} | {:.0} | {:.2} | {:.2} | {:.1} | {:.2} |",
        times_us.len() as f64 / how_long.as_secs_f64(),
        at(0.5),
        at(0.99),
        stats.commits as f64 / stats.syncs as f64,
        stats.sync_time_us as f64 / stats.syncs as f64 / 1_000.0,
    );
}

/// Writes until told to end; gives the time of each write.
fn write_until(store: &Store, next: &AtomicU64, over: &AtomicBool) -> Vec<u64> {
    let mut body = vec![0; BODY_BYTES];
    let mut times_us = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let n = next.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new()
            .update(&n.to_be_bytes())
            .finalize_xof()
            .fill(&mut body);
        let started = Instant::now();
        let mut stage = store.stage();
        stage.write(&body).unwrap();
        let staged = stage.finish().unwrap().token;
        let message = MessageId::from_bytes(u128::from(n).to_be_bytes());
        let row = Op::Put {
            table: Table::Messages,
            key: n.to_be_bytes().to_vec(),
            value: vec![1; 200],
        };
        let batch = vec![row, Op::AdoptBody { staged, message }];
        store.commit_and_wait(batch, Durability::Synced).unwrap();
        times_us.push(started.elapsed().as_micros() as u64);
    }
    times_us
}
