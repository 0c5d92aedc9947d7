//! Bodies on their way to the archive, and killed on it. The archive is a folder here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use grapevine_store::{
    ArchiveRule, ArchiveSums, Body, Candidate, INLINE_BODY_MAX_BYTES, Op, Store, Table,
};

use crate::help::{
    adopt, child, child_task, commit, content, files_below, message, open, put, read_body,
    tell_parent,
};

/// Everything that is not in the archive.
const ALL: ArchiveRule = ArchiveRule {
    before_day: u32::MAX,
    larger_than_bytes: None,
};
const ROWS: usize = 100;

fn found(store: &Store, rule: &ArchiveRule) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.archivable(after, ROWS, rule).unwrap();
        all.extend(page.found);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// The whole way of some bodies.
fn move_all(store: &Store, archive: &Path, candidates: Vec<Candidate>) {
    store.intend_to_archive(candidates.clone()).unwrap();
    for candidate in &candidates {
        let Some(Body::Here(mut body)) = store.find_body(candidate.message).unwrap() else {
            continue;
        };
        let object = archive.join(&candidate.body.object);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        let mut file = fs::File::create(object).unwrap();
        std::io::copy(&mut body, &mut file).unwrap();
    }
    store.moved_to_archive(candidates).unwrap();
}

/// Rids the archive of what no row needs.
fn sweep(store: &Store, archive: &Path) {
    let names = store.archive_rubbish(None, 10_000).unwrap();
    for name in &names {
        if !store.is_archived_as(name).unwrap() {
            let _ = fs::remove_file(archive.join(name));
        }
    }
    store.removed_from_archive(names).unwrap();
}

/// All of a body, here or in the archive.
fn read_anywhere(store: &Store, archive: &Path, n: u64) -> Option<Vec<u8>> {
    match store.find_body(message(n)).expect("no damage")? {
        Body::Here(_) => read_body(store, n),
        Body::Archived(body) => {
            let bytes = fs::read(archive.join(&body.object)).expect("the object is there");
            assert_eq!(bytes.len() as u64, body.len_bytes);
            assert_eq!(*blake3::hash(&bytes).as_bytes(), body.digest);
            Some(bytes)
        }
    }
}

fn sums(bodies: u64, bytes: u64) -> ArchiveSums {
    ArchiveSums { bodies, bytes }
}

#[test]
fn what_came_long_ago_or_is_large_goes_and_what_was_fetched_stays() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let large = INLINE_BODY_MAX_BYTES + 1;
    for (day, n, len) in [(100, 1, 500), (100, 2, 600), (150, 3, large), (150, 4, 700)] {
        store.set_today(day);
        let op = adopt(&store, n, &content(n, len));
        commit(&store, vec![op]);
    }
    store.touch(message(2));
    let rule = ArchiveRule {
        before_day: 120,
        larger_than_bytes: Some(10_000),
    };
    // Noted with the next batch, whoever's that is.
    commit(&store, vec![put(Table::Meta, "k", "v")]);
    let names = |all: Vec<Candidate>| all.iter().map(|c| c.message).collect::<Vec<_>>();
    // What is large goes on the day after it came, so that its delivery is over.
    assert_eq!(names(found(&store, &rule)), [message(1)]);
    store.set_today(151);
    let going = found(&store, &rule);
    assert_eq!(names(going.clone()), [message(1), message(3)]);
    move_all(&store, archive.path(), going);
    assert!(found(&store, &rule).is_empty());
    assert_eq!(files_below(&dir.path().join("bodies")).len(), 0);
    assert_eq!(store.archive_sums().unwrap(), sums(2, 500 + large as u64));
    drop(store);
    let store = open(dir.path());
    for (n, len) in [(1, 500), (2, 600), (3, large), (4, 700)] {
        let bytes = read_anywhere(&store, archive.path(), n).unwrap();
        assert_eq!(bytes, content(n, len));
    }
    assert!(store.body(message(1)).is_err(), "it is not here");
    assert!(store.archive_rubbish(None, 10).unwrap().is_empty());
    assert_eq!(store.verify(), vec![]);
}

#[test]
fn what_is_dropped_replaced_or_fetched_on_its_way_does_not_go() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.set_today(10);
    for n in 1..=4 {
        let op = adopt(&store, n, &content(n, 300));
        commit(&store, vec![op]);
    }
    let going = found(&store, &ALL);
    store.intend_to_archive(going.clone()).unwrap();
    commit(
        &store,
        vec![Op::DropBody {
            message: message(1),
        }],
    );
    let other = adopt(&store, 2, &content(99, 300));
    commit(&store, vec![other]);
    store.set_today(11);
    store.touch(message(3));
    commit(&store, vec![put(Table::Meta, "k", "v")]);
    store.moved_to_archive(going.clone()).unwrap();
    assert!(store.find_body(message(1)).unwrap().is_none());
    assert_eq!(read_body(&store, 2).unwrap(), content(99, 300));
    assert_eq!(read_body(&store, 3).unwrap(), content(3, 300));
    assert!(matches!(
        store.find_body(message(4)).unwrap(),
        Some(Body::Archived(_))
    ));
    assert_eq!(store.archive_sums().unwrap(), sums(1, 300));
    let mut rubbish = store.archive_rubbish(None, 10).unwrap();
    let mut left: Vec<String> = going[..3].iter().map(|c| c.body.object.clone()).collect();
    rubbish.sort();
    left.sort();
    assert_eq!(rubbish, left);
    sweep(&store, archive.path());
    assert!(store.archive_rubbish(None, 10).unwrap().is_empty());
}

#[test]
fn the_object_of_a_body_that_nobody_refers_to_is_removed_and_never_one_in_use() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.set_today(10);
    for n in 1..=3 {
        let op = adopt(&store, n, &content(n, 300));
        commit(&store, vec![op]);
    }
    move_all(&store, archive.path(), found(&store, &ALL));
    commit(
        &store,
        vec![Op::DropBody {
            message: message(1),
        }],
    );
    // The same body again: it is here, and its object is rubbish.
    let again = adopt(&store, 2, &content(2, 300));
    commit(&store, vec![again]);
    assert_eq!(read_body(&store, 2).unwrap(), content(2, 300));
    assert_eq!(store.archive_rubbish(None, 10).unwrap().len(), 2);
    drop(store);
    let store = open(dir.path());
    sweep(&store, archive.path());
    assert_eq!(files_below(archive.path()).len(), 1);
    assert_eq!(store.archive_sums().unwrap(), sums(1, 300));
    // To the archive, dropped, brought back and there again: what is swept between is not what is in use.
    move_all(&store, archive.path(), found(&store, &ALL));
    sweep(&store, archive.path());
    for n in [2, 3] {
        let bytes = read_anywhere(&store, archive.path(), n).unwrap();
        assert_eq!(bytes, content(n, 300));
    }
}

#[test]
fn a_store_keeps_the_name_of_its_part_of_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.archive_id(7).unwrap(), 7);
    assert_eq!(store.archive_id(8).unwrap(), 7);
    drop(store);
    assert_eq!(open(dir.path()).archive_id(9).unwrap(), 7);
}

/// Kills in an ordinary run.
const KILLS: u64 = 60;
/// Kills on the same files.
const KILLS_PER_FOLDER: u64 = 15;
/// The longest a child may live once it has opened its store.
const LIFE_MAX_US: u64 = 60_000;
/// A child that takes longer to open the store is stuck.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Body n - WINDOW is dropped when body n comes.
const WINDOW: u64 = 15;

fn body_of(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(4) {
        INLINE_BODY_MAX_BYTES + 1 + (n as usize * 991) % 50_000
    } else {
        (n as usize * 37) % 5_000
    };
    content(n, len)
}

#[test]
fn a_store_killed_at_any_step_of_a_move_loses_nothing_and_forgets_no_object() {
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut random = seed | 1;
    let mut dir = tempfile::tempdir().unwrap();
    let (mut next, mut archived) = (0, 0);
    for round in 0..KILLS {
        if round.is_multiple_of(KILLS_PER_FOLDER) {
            dir = tempfile::tempdir().unwrap();
            next = 0;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Duration::from_micros(random % LIFE_MAX_US);
        let acked = live_and_die(dir.path(), next, life);
        let story = format!("seed {seed}, round {round}");
        next = next.max(acked);
        archived += check(dir.path(), &mut next, &story);
    }
    assert!(archived > KILLS, "only {archived} were seen in the archive");
}

/// Gives the first number that was not acknowledged.
fn live_and_die(dir: &Path, first: u64, life: Duration) -> u64 {
    let mut process = child("archive::child_that_moves", dir, first)
        .spawn()
        .unwrap();
    let out = process.stdout.take().unwrap();
    let (has_opened, opened) = sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut next = first;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line == "open" {
                has_opened.send(()).unwrap();
            } else if let Some(n) = line.strip_prefix("ack ") {
                next = n.parse::<u64>().map_or(next, |n| n + 1);
            }
        }
        next
    });
    opened
        .recv_timeout(OPEN_MAX)
        .expect("the child opens the store");
    // Its output ends when it does; otherwise its time is over then.
    let _ended = opened.recv_timeout(life);
    process.kill().unwrap();
    process.wait().unwrap();
    reader.join().unwrap()
}

/// Checks what is there after a kill; gives how many bodies are in the archive.
fn check(dir: &Path, next: &mut u64, story: &str) -> u64 {
    let archive = dir.join("archive");
    let store = open(&dir.join("store"));
    // One more may be there that was not acknowledged.
    while store.find_body(message(*next)).unwrap().is_some() {
        *next += 1;
    }
    let mut archived = 0;
    for n in next.saturating_sub(WINDOW)..*next {
        let bytes = read_anywhere(&store, &archive, n);
        assert_eq!(bytes, Some(body_of(n)), "{story}: body {n}");
        let body = store.find_body(message(n)).unwrap();
        archived += u64::from(matches!(body, Some(Body::Archived(_))));
    }
    let rubbish = store.archive_rubbish(None, 10_000).unwrap();
    for path in files_below(&archive) {
        let object = path.strip_prefix(&archive).unwrap().to_str().unwrap();
        assert!(
            rubbish.iter().any(|name| name == object) || store.is_archived_as(object).unwrap(),
            "{story}: {object} is forgotten in the archive"
        );
    }
    assert_eq!(store.archive_sums().unwrap().bodies, archived, "{story}");
    assert_eq!(store.verify(), vec![], "{story}");
    archived
}

#[test]
#[ignore = "only as a child process of another test"]
fn child_that_moves() {
    let Some((dir, first)) = child_task() else {
        return;
    };
    let archive = dir.join("archive");
    fs::create_dir_all(&archive).unwrap();
    let store = open(&dir.join("store"));
    store.set_today(10);
    tell_parent("open");
    for n in first.. {
        let mut ops = vec![adopt(&store, n, &body_of(n))];
        if let Some(old) = n.checked_sub(WINDOW) {
            ops.push(Op::DropBody {
                message: message(old),
            });
        }
        commit(&store, ops);
        tell_parent(&format!("ack {n}"));
        match n % 3 {
            0 => move_all(&store, &archive, found(&store, &ALL)),
            1 => sweep(&store, &archive),
            _ => {}
        }
    }
}
