//! Group commit: one sync for all that wait, answers in order, nothing torn.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use grapevine_store::{CommitError, Durability, Table, Tables};

use crate::help::{commit, open, put};

const THREADS: usize = 64;

#[test]
fn sixty_four_commits_that_wait_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.stats().read();
    // The answer to the first holds the committer until all others wait.
    let (entered, has_entered) = sync_channel(THREADS);
    let (release, released) = sync_channel::<()>(1);
    store.commit(
        vec![put(Table::Meta, "first", "")],
        Durability::Synced,
        move |outcome| {
            outcome.unwrap();
            entered.send(()).unwrap();
            let _ = released.recv();
        },
    );
    has_entered.recv().unwrap();
    let (sender, answers) = sync_channel(THREADS);
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (store, sender) = (store.clone(), sender.clone());
            scope.spawn(move || {
                let key = format!("key {n}");
                store.commit(
                    vec![put(Table::Cells, key, "v")],
                    Durability::Synced,
                    move |outcome| {
                        sender.send(outcome).unwrap();
                    },
                );
            });
        }
    });
    drop(release);
    for _ in 0..THREADS {
        assert_eq!(answers.recv().unwrap(), Ok(()));
    }
    let after = store.stats().read();
    assert_eq!(after.commits - before.commits, THREADS as u64 + 1);
    assert_eq!(after.batches - before.batches, 2);
    assert_eq!(after.syncs - before.syncs, 2);
    assert_eq!(after.sync_time_counts.iter().sum::<u64>(), after.syncs);
    let all = store
        .view()
        .scan(Table::Cells, b"", b"\xff", 1_000)
        .unwrap();
    assert_eq!(all.len(), THREADS);
}

#[test]
fn lazy_commits_alone_are_not_synced_and_ride_along_with_the_next_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..10 {
        let key = format!("{n}");
        store
            .commit_and_wait(vec![put(Table::Orphans, key, "v")], Durability::Lazy)
            .unwrap();
    }
    assert_eq!(store.stats().read().syncs, 0);
    assert_eq!(
        store
            .view()
            .scan(Table::Orphans, b"", b"\xff", 100)
            .unwrap()
            .len(),
        10
    );
    commit(&store, vec![put(Table::Orphans, "synced", "v")]);
    assert_eq!(store.stats().read().syncs, 1);
}

#[test]
fn answers_come_in_the_order_of_the_commits_and_later_ones_win() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..300_u64 {
        let order = Arc::clone(&order);
        let durability = if n % 3 == 0 {
            Durability::Synced
        } else {
            Durability::Lazy
        };
        let ops = vec![
            put(Table::Meta, "counter", n.to_be_bytes()),
            put(Table::History, n.to_be_bytes(), "v"),
        ];
        store.commit(ops, durability, move |outcome| {
            outcome.unwrap();
            order.lock().unwrap().push(n);
        });
    }
    store.close();
    assert_eq!(*order.lock().unwrap(), (0..300).collect::<Vec<_>>());
    let counter = store.view().get(Table::Meta, b"counter").unwrap().unwrap();
    assert_eq!(counter, 299_u64.to_be_bytes());
    assert_eq!(
        store.commit_and_wait(vec![], Durability::Synced),
        Err(CommitError::Closed)
    );
}

#[test]
fn a_deferred_commit_is_answered_with_the_sync_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (sender, answers) = sync_channel(THREADS);
    for (n, durability) in [Durability::Deferred, Durability::Lazy, Durability::Synced]
        .into_iter()
        .enumerate()
    {
        let sender = sender.clone();
        let key = format!("{n}");
        store.commit(
            vec![put(Table::History, key, "v")],
            durability,
            move |outcome| {
                sender.send((n, outcome)).unwrap();
            },
        );
    }
    let answered: Vec<_> = (0..3).map(|_| answers.recv().unwrap()).collect();
    assert_eq!(answered, [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    assert_eq!(store.stats().read().syncs, 1);
}

#[test]
fn a_deferred_commit_alone_is_synced_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit_and_wait(vec![put(Table::History, "a", "v")], Durability::Deferred)
        .unwrap();
    assert_eq!(store.stats().read().syncs, 1);
    // And closing does not let one wait.
    let (sender, answer) = sync_channel(1);
    store.commit(
        vec![put(Table::History, "b", "v")],
        Durability::Deferred,
        move |outcome| {
            sender.send(outcome).unwrap();
        },
    );
    store.close();
    assert_eq!(answer.recv().unwrap(), Ok(()));
    assert_eq!(store.stats().read().syncs, 2);
}

#[test]
fn an_answer_that_panics_stops_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(vec![put(Table::Meta, "a", "1")], Durability::Synced, |_| {
        panic!("caller's mistake")
    });
    commit(&store, vec![put(Table::Meta, "b", "2")]);
    assert_eq!(store.view().get(Table::Meta, b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(store.failure(), None);
}
