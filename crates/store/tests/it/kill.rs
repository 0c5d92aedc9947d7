//! Killed at any instant, hundreds of times, on the same files: what was acknowledged is there, nothing is half there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use grapevine_store::{Durability, INLINE_BODY_MAX_BYTES, Op, Store, Table, Tables};

use crate::help::{
    adopt, child, child_task, content, files_below, message, open, put, read_body, tell_parent,
};

/// Kills in an ordinary run; `GRAPEVINE_KILLS` asks for another number.
const KILLS: u64 = 200;
/// Kills on the same files. Then new ones, so that the making of a store is killed too, and the journal stays short
/// enough for the time a test may take.
const KILLS_PER_FOLDER: u64 = 20;
/// Batch n removes what batch n - WINDOW put.
const WINDOW: u64 = 20;
/// The longest a child may live.
const LIFE_MAX_US: u64 = 60_000;
/// A child that takes longer to open the store is stuck.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Commits of a child that wait at once.
const IN_FLIGHT_MAX: u64 = 8;

/// The number after the last batch.
const NEXT: &[u8] = b"next";

fn is_large(n: u64) -> bool {
    n.is_multiple_of(5)
}

fn body_of(n: u64) -> Vec<u8> {
    let len = if is_large(n) {
        INLINE_BODY_MAX_BYTES + 1 + (n as usize * 997) % 200_000
    } else {
        (n as usize * 37) % 5_000
    };
    content(n, len)
}

fn batch(store: &Store, n: u64) -> Vec<Op> {
    let mut ops = vec![
        put(Table::Meta, NEXT, (n + 1).to_be_bytes()),
        put(Table::Cells, n.to_be_bytes(), content(n, 50)),
        adopt(store, n, &body_of(n)),
        put(Table::Messages, n.to_be_bytes(), content(n, 500)),
    ];
    if let Some(old) = n.checked_sub(WINDOW) {
        let key = old.to_be_bytes().to_vec();
        ops.push(Op::Delete {
            table: Table::Cells,
            key: key.clone(),
        });
        ops.push(Op::DropBody {
            message: message(old),
        });
        ops.push(Op::Delete {
            table: Table::Messages,
            key,
        });
    }
    ops
}

#[test]
fn a_store_killed_at_any_instant_keeps_all_it_acknowledged_and_nothing_half() {
    let kills = std::env::var("GRAPEVINE_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(KILLS);
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut random = seed | 1;
    let mut dir = tempfile::tempdir().unwrap();
    let mut first_new = 0;
    let mut with_progress = 0;
    for round in 0..kills {
        if round.is_multiple_of(KILLS_PER_FOLDER) {
            dir = tempfile::tempdir().unwrap();
            first_new = 0;
        }
        // Xorshift: any instant will do, and no dependency is needed for it.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let counted = if round % 4 == 0 {
            Counted::FromStart
        } else {
            Counted::FromOpen
        };
        let acked = live_and_die(
            dir.path(),
            first_new,
            counted,
            Duration::from_micros(random % LIFE_MAX_US),
        );
        let next = check(
            dir.path(),
            first_new,
            acked,
            &format!("seed {seed}, round {round}"),
        );
        with_progress += u64::from(next > first_new);
        first_new = next;
    }
    // Otherwise the children were killed before they did anything, and nothing was shown.
    assert!(
        with_progress * 4 > kills,
        "only {with_progress} of {kills} children wrote anything"
    );
}

/// From when a child's life is counted.
#[derive(Clone, Copy)]
enum Counted {
    /// From its start: it dies while it recovers what the one before it left.
    FromStart,
    /// From when it has opened the store: it dies while it writes.
    FromOpen,
}

/// Runs a child for a while and kills it. Gives the first number that was not acknowledged.
fn live_and_die(dir: &Path, first_new: u64, counted: Counted, life: Duration) -> u64 {
    let mut process = child("kill::child_that_writes", dir, first_new)
        .spawn()
        .unwrap();
    let out = process.stdout.take().unwrap();
    let (has_opened, opened) = sync_channel(1);
    let (sender, last_acked) = sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut last = None;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line == "open" {
                has_opened.send(()).unwrap();
            } else if let Some(n) = line.strip_prefix("ack ") {
                // The last line may be cut short.
                last = n.parse::<u64>().ok().or(last);
            }
        }
        sender.send(last).unwrap();
    });
    match counted {
        Counted::FromStart => {}
        Counted::FromOpen => opened
            .recv_timeout(OPEN_MAX)
            .expect("the child opens the store"),
    }
    let ended_by_itself = last_acked.recv_timeout(life).is_ok();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!ended_by_itself, "the child ended before it was killed");
    let last = last_acked.recv().unwrap();
    reader.join().unwrap();
    last.map_or(first_new, |last| last + 1)
}

/// Checks what is there after a kill; gives the number of the next batch.
fn check(dir: &Path, first_new: u64, acked_until: u64, story: &str) -> u64 {
    let store = open(dir);
    let view = store.view();
    // Written by each batch, so it says how many there are; the checks below say that they are whole.
    let next = view.get(Table::Meta, NEXT).unwrap();
    let until = next.map_or(0, |next| u64::from_be_bytes(next.try_into().unwrap()));
    assert!(until >= first_new, "{story}: {until} after {first_new}");
    assert!(
        until >= acked_until,
        "{story}: acknowledged until {acked_until}, there until {until}"
    );
    let from = until.saturating_sub(WINDOW);
    let mut files = 0;
    for n in from.saturating_sub(WINDOW)..until + 2 * IN_FLIGHT_MAX {
        let there = (from..until).contains(&n);
        let expected = |bytes: Vec<u8>| there.then_some(bytes);
        let key = n.to_be_bytes();
        assert_eq!(
            view.get(Table::Cells, &key).unwrap(),
            expected(content(n, 50)),
            "{story}: cell {n}"
        );
        assert_eq!(
            view.get(Table::Messages, &key).unwrap(),
            expected(content(n, 500)),
            "{story}: message {n}"
        );
        assert_eq!(
            read_body(&store, n),
            expected(body_of(n)),
            "{story}: body {n}"
        );
        files += usize::from(there && is_large(n));
    }
    assert_eq!(
        files_below(&dir.join("bodies")).len(),
        files,
        "{story}: body files"
    );
    assert_eq!(files_below(&dir.join("spool")).len(), 0, "{story}: spool");
    until
}

#[test]
#[ignore = "only as a child process of another test"]
fn child_that_writes() {
    let Some((dir, first)) = child_task() else {
        return;
    };
    let store = open(&dir);
    tell_parent("open");
    let waiting = Arc::new((Mutex::new(0_u64), Condvar::new()));
    for n in first.. {
        let ops = batch(&store, n);
        let mut count = waiting.0.lock().unwrap();
        while *count >= IN_FLIGHT_MAX {
            count = waiting.1.wait(count).unwrap();
        }
        *count += 1;
        drop(count);
        let waiting = Arc::clone(&waiting);
        let durability = if n % 7 == 3 {
            Durability::Lazy
        } else {
            Durability::Synced
        };
        store.commit(ops, durability, move |outcome| {
            outcome.unwrap();
            if durability == Durability::Synced {
                tell_parent(&format!("ack {n}"));
            }
            *waiting.0.lock().unwrap() -= 1;
            waiting.1.notify_one();
        });
    }
}
