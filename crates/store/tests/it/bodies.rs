//! Bodies: staged, adopted, read, dropped.

use std::io::Read;

use grapevine_store::{CommitError, Durability, INLINE_BODY_MAX_BYTES, Op, Store, Table, Tables};

use crate::help::{adopt, commit, content, files_below, message, open, put, read_body, stage};

/// Sizes around every border there is.
const SIZES: [usize; 6] = [
    0,
    1,
    4_096,
    INLINE_BODY_MAX_BYTES,
    INLINE_BODY_MAX_BYTES + 1,
    1_000_000,
];

fn body_files(dir: &std::path::Path) -> usize {
    files_below(&dir.join("bodies")).len()
}

fn spool_files(dir: &std::path::Path) -> usize {
    files_below(&dir.join("spool")).len()
}

#[test]
fn a_body_comes_back_byte_for_byte_before_and_after_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (n, len) in SIZES.into_iter().enumerate() {
        let bytes = content(n as u64, len);
        let op = adopt(&store, n as u64, &bytes);
        commit(&store, vec![op]);
    }
    let check = |store: &Store| {
        for (n, len) in SIZES.into_iter().enumerate() {
            let bytes = content(n as u64, len);
            let body = store.body(message(n as u64)).unwrap().unwrap();
            assert_eq!(body.len(), len as u64);
            assert_eq!(body.digest(), *blake3::hash(&bytes).as_bytes());
            assert_eq!(body.inline().is_some(), len <= INLINE_BODY_MAX_BYTES);
            assert_eq!(read_body(store, n as u64).unwrap(), bytes);
        }
        assert_eq!(store.verify(), vec![]);
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    check(&store);
    assert_eq!(body_files(dir.path()), 2);
    assert!(store.body(message(99)).unwrap().is_none());
}

#[test]
fn a_body_that_nobody_adopts_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let large = content(1, INLINE_BODY_MAX_BYTES * 2);
    let mut unfinished = store.stage();
    unfinished.write(&large).unwrap();
    assert_eq!(spool_files(dir.path()), 1);
    drop(unfinished);
    assert_eq!(spool_files(dir.path()), 0);
    let staged = stage(&store, &large);
    assert_eq!(spool_files(dir.path()), 1);
    let mut seen = Vec::new();
    store
        .staged_body(staged.token)
        .unwrap()
        .unwrap()
        .read_to_end(&mut seen)
        .unwrap();
    assert_eq!(seen, large);
    store.discard(staged.token);
    assert_eq!(spool_files(dir.path()), 0);
    assert!(store.staged_body(staged.token).unwrap().is_none());
}

#[test]
fn a_batch_with_a_body_that_is_not_staged_is_refused_whole_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let good = stage(&store, b"good");
    let batch = |token| {
        vec![
            put(Table::Messages, "m", "1"),
            Op::AdoptBody {
                staged: good.token,
                message: message(1),
            },
            Op::AdoptBody {
                staged: token,
                message: message(2),
            },
        ]
    };
    let refused = store.commit_and_wait(batch(777), Durability::Synced);
    assert!(matches!(refused, Err(CommitError::Refused(_))));
    assert_eq!(store.view().get(Table::Messages, b"m"), Ok(None));
    assert_eq!(read_body(&store, 1), None);
    // The good one is still staged.
    let other = stage(&store, b"other");
    commit(&store, batch(other.token));
    assert_eq!(read_body(&store, 1).unwrap(), b"good");
    assert_eq!(read_body(&store, 2).unwrap(), b"other");
}

#[test]
fn keys_the_engine_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for key in [Vec::new(), vec![1; 65_536]] {
        let refused = store.commit_and_wait(vec![put(Table::Meta, key, "v")], Durability::Synced);
        assert!(matches!(refused, Err(CommitError::Refused(_))));
    }
    commit(&store, vec![put(Table::Meta, vec![1; 65_535], "v")]);
    assert_eq!(
        store.view().get(Table::Meta, &[1; 65_535]),
        Ok(Some(b"v".to_vec()))
    );
}

#[test]
fn a_dropped_body_is_gone_and_its_reader_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (n, len) in [(1, 100), (2, 500_000)] {
        let bytes = content(n, len);
        let op = adopt(&store, n, &bytes);
        commit(&store, vec![op]);
        let mut reader = store.body(message(n)).unwrap().unwrap();
        let mut start = vec![0; 50];
        reader.read_exact(&mut start).unwrap();
        commit(
            &store,
            vec![Op::DropBody {
                message: message(n),
            }],
        );
        assert!(store.body(message(n)).unwrap().is_none());
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!([start, rest].concat(), bytes);
    }
    assert_eq!(body_files(dir.path()), 0);
    // A body that isn't there can be dropped again.
    commit(
        &store,
        vec![Op::DropBody {
            message: message(1),
        }],
    );
    drop(store);
    assert_eq!(open(dir.path()).verify(), vec![]);
}

#[test]
fn the_same_body_twice_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 200_000);
    for _ in 0..3 {
        let op = adopt(&store, 1, &bytes);
        commit(&store, vec![op]);
    }
    assert_eq!(read_body(&store, 1).unwrap(), bytes);
    assert_eq!((body_files(dir.path()), spool_files(dir.path())), (1, 0));
}

#[test]
fn bodies_dropped_replaced_and_adopted_again_in_one_batch_end_as_the_last_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b, small) = (content(1, 100_000), content(2, 100_000), content(3, 10));
    let op = adopt(&store, 1, &a);
    commit(&store, vec![op]);
    let drop_it = || Op::DropBody {
        message: message(1),
    };
    let batch = vec![
        drop_it(),
        adopt(&store, 1, &a),
        adopt(&store, 1, &b),
        drop_it(),
        adopt(&store, 1, &a),
    ];
    commit(&store, batch);
    assert_eq!(read_body(&store, 1).unwrap(), a);
    assert_eq!(body_files(dir.path()), 1);
    let batch = vec![adopt(&store, 1, &small), adopt(&store, 1, &b)];
    commit(&store, batch);
    assert_eq!(read_body(&store, 1).unwrap(), b);
    let op = adopt(&store, 1, &small);
    commit(&store, vec![op]);
    assert_eq!(read_body(&store, 1).unwrap(), small);
    assert_eq!((body_files(dir.path()), spool_files(dir.path())), (0, 0));
    assert_eq!(store.verify(), vec![]);
    drop(store);
    let store = open(dir.path());
    assert_eq!(read_body(&store, 1).unwrap(), small);
    assert_eq!(store.verify(), vec![]);
}

#[test]
fn a_body_dropped_lazily_and_brought_back_keeps_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 100_000);
    let op = adopt(&store, 1, &bytes);
    commit(&store, vec![op]);
    let drop_it = vec![Op::DropBody {
        message: message(1),
    }];
    store.commit_and_wait(drop_it, Durability::Lazy).unwrap();
    // Until the sync a power cut may bring the row back.
    assert_eq!(body_files(dir.path()), 1);
    let op = adopt(&store, 1, &bytes);
    store.commit_and_wait(vec![op], Durability::Lazy).unwrap();
    commit(&store, vec![]);
    assert_eq!(read_body(&store, 1).unwrap(), bytes);
    drop(store);
    let store = open(dir.path());
    assert_eq!(read_body(&store, 1).unwrap(), bytes);
    assert_eq!((body_files(dir.path()), spool_files(dir.path())), (1, 0));
}

#[test]
fn what_a_crash_left_in_the_spool_is_cleared_and_owned_bodies_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 100_000);
    let op = adopt(&store, 1, &bytes);
    commit(&store, vec![op]);
    drop(store);
    let owned = files_below(&dir.path().join("bodies")).remove(0);
    let name = owned.file_name().unwrap().to_str().unwrap().to_owned();
    let spool = dir.path().join("spool");
    std::fs::write(spool.join("7.part"), "half a body").unwrap();
    // A crash between the batch and the removal of its intent.
    std::fs::write(spool.join(format!("{name}.adopting")), "").unwrap();
    // A crash between the move and the batch.
    let orphan = format!("{}{}", "f".repeat(32), &name[32..]);
    std::fs::copy(&owned, owned.with_file_name(&orphan)).unwrap();
    std::fs::write(spool.join(format!("{orphan}.adopting")), "").unwrap();
    let store = open(dir.path());
    assert_eq!(spool_files(dir.path()), 0);
    assert_eq!(files_below(&dir.path().join("bodies")), vec![owned]);
    assert_eq!(read_body(&store, 1).unwrap(), bytes);
}
