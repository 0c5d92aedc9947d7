//! What a power cut does to the journal: its un-synced end is missing, or has holes. And what only damage can do.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use grapevine_store::{Durability, OpenError, Options, Store, Table, Tables};

use crate::help::{adopt, commit, content, copy_folder, open, put, read_body};

const SYNCED: u64 = 5;
const LAZY: u64 = 12;

struct Torn {
    /// A copy of a store with synced and then lazy commits, as it was while open.
    _dir: tempfile::TempDir,
    copy: PathBuf,
    journal: String,
    synced_len: u64,
    len: u64,
}

fn put_batch(store: &Store, n: u64, durability: Durability) {
    let ops = vec![
        put(Table::Cells, n.to_be_bytes(), content(n, 900)),
        put(Table::Messages, n.to_be_bytes(), content(n, 30)),
        adopt(store, n, &content(n, 2_000)),
    ];
    store.commit_and_wait(ops, durability).unwrap();
}

fn torn_store() -> Torn {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live);
    for n in 0..SYNCED {
        put_batch(&store, n, Durability::Synced);
    }
    drop(store);
    // Opening cuts off what the engine had allocated ahead, so the length is that of the content.
    let store = open(&live);
    commit(&store, vec![]);
    let journal = "0.jnl".to_owned();
    let path = live.join("tables").join(&journal);
    let synced_len = path.metadata().unwrap().len();
    for n in SYNCED..SYNCED + LAZY {
        put_batch(&store, n, Durability::Lazy);
    }
    let len = path.metadata().unwrap().len();
    assert!(len > synced_len + LAZY * 2_900);
    let copy = dir.path().join("copy");
    copy_folder(&live, &copy);
    drop(store);
    Torn {
        _dir: dir,
        copy,
        journal,
        synced_len,
        len,
    }
}

impl Torn {
    fn with(&self, to: &Path, spoil: impl FnOnce(&mut std::fs::File)) -> Result<Store, OpenError> {
        let _ = std::fs::remove_dir_all(to);
        copy_folder(&self.copy, to);
        let journal = to.join("tables").join(&self.journal);
        spoil(&mut OpenOptions::new().write(true).open(journal).unwrap());
        Store::open(to, &Options::default())
    }
}

/// Gives how many batches are there: the first so many, each whole.
fn whole_prefix(store: &Store) -> u64 {
    let view = store.view();
    let there = |n: u64| view.get(Table::Cells, &n.to_be_bytes()).unwrap().is_some();
    let until = (0..).find(|n| !there(*n)).unwrap();
    for n in 0..SYNCED + LAZY {
        let expected = |bytes: Vec<u8>| (n < until).then_some(bytes);
        assert_eq!(
            view.get(Table::Cells, &n.to_be_bytes()).unwrap(),
            expected(content(n, 900))
        );
        assert_eq!(
            view.get(Table::Messages, &n.to_be_bytes()).unwrap(),
            expected(content(n, 30))
        );
        assert_eq!(read_body(store, n), expected(content(n, 2_000)));
    }
    until
}

#[test]
fn lazy_commits_lost_in_a_power_cut_are_missing_from_the_end_and_never_torn() {
    let torn = torn_store();
    let dir = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let cuts = (torn.synced_len..torn.len)
        .step_by(1_237)
        .chain([torn.len - 1, torn.len]);
    for cut in cuts {
        let store = torn
            .with(dir.path(), |journal| journal.set_len(cut).unwrap())
            .unwrap();
        let there = whole_prefix(&store);
        assert!(there >= SYNCED);
        seen.insert(there);
        // And it goes on.
        put_batch(&store, there, Durability::Synced);
        drop(store);
        assert_eq!(whole_prefix(&open(dir.path())), there + 1);
    }
    assert!(
        seen.contains(&SYNCED) && seen.contains(&(SYNCED + LAZY)),
        "{seen:?}"
    );
}

#[test]
fn a_page_that_was_never_written_costs_only_what_was_not_acknowledged() {
    let torn = torn_store();
    let dir = tempfile::tempdir().unwrap();
    for hole in (torn.synced_len..torn.len - 600).step_by(4_099) {
        let store = torn.with(dir.path(), |journal| {
            journal.seek(SeekFrom::Start(hole)).unwrap();
            journal.write_all(&[0; 512]).unwrap();
        });
        let there = whole_prefix(&store.unwrap());
        assert!((SYNCED..SYNCED + LAZY).contains(&there), "{there}");
    }
}

#[test]
fn an_acknowledged_commit_that_is_missing_is_damage_and_nothing_is_thrown_away() {
    let torn = torn_store();
    let dir = tempfile::tempdir().unwrap();
    for cut in [torn.synced_len - 1, torn.synced_len / 2, 1, 0] {
        let refused = torn.with(dir.path(), |journal| journal.set_len(cut).unwrap());
        assert!(
            matches!(refused, Err(OpenError::Damaged(_))),
            "cut at {cut}"
        );
        let journal = dir.path().join("tables").join(&torn.journal);
        let torn_copy = journal.with_extension("jnl.torn");
        let kept = [journal, torn_copy]
            .iter()
            .filter_map(|path| Some(path.metadata().ok()?.len()))
            .max();
        assert_eq!(kept, Some(cut));
    }
}
