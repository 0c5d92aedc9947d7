//! The store against a map in memory: any mixture of batches, scans and reopens.

use std::collections::BTreeMap;

use grapevine_store::{Durability, Op, Store, Table, Tables};
use proptest::prelude::*;

use crate::help::{message, open, read_body, stage};

const TABLES: [Table; 3] = [Table::Meta, Table::Cells, Table::Messages];

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Change>, Durability),
    Scan {
        table: Table,
        from: Vec<u8>,
        until: Vec<u8>,
        limit: usize,
    },
    Reopen,
}

#[derive(Debug, Clone)]
enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    Adopt(u64, Vec<u8>),
    Drop(u64),
}

#[derive(Default)]
struct Model {
    tables: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    bodies: BTreeMap<u64, Vec<u8>>,
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(TABLES.to_vec())
}

/// Few keys, so that they meet; of different lengths, so that some are prefixes of others.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 127, 255]), 1..4)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    (
        any::<u8>(),
        prop::sample::select(vec![0_usize, 5, 3_000, 70_000]),
    )
        .prop_map(|(b, len)| vec![b; len])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (table(), key(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(t, k, v)| Change::Put(t, k, v)),
        2 => (table(), key()).prop_map(|(t, k)| Change::Delete(t, k)),
        1 => (0..4_u64, body()).prop_map(|(n, b)| Change::Adopt(n, b)),
        1 => (0..4_u64).prop_map(Change::Drop),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let durability = prop::sample::select(vec![Durability::Synced, Durability::Lazy]);
    prop_oneof![
        8 => (prop::collection::vec(change(), 0..8), durability).prop_map(|(c, d)| Step::Commit(c, d)),
        4 => (table(), prop_oneof![Just(vec![]), key()], prop_oneof![Just(vec![]), key()], 0..10_usize)
            .prop_map(|(table, from, until, limit)| Step::Scan { table, from, until, limit }),
        1 => Just(Step::Reopen),
    ]
}

impl Model {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(t, k, v) => {
                self.tables.insert((t, k), v);
            }
            Change::Delete(t, k) => {
                self.tables.remove(&(t, k));
            }
            Change::Adopt(n, bytes) => {
                self.bodies.insert(n, bytes);
            }
            Change::Drop(n) => {
                self.bodies.remove(&n);
            }
        }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = self
            .tables
            .iter()
            .filter(|((t, k), _)| *t == table && &**k >= from && &**k < until);
        pairs
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .take(limit)
            .collect()
    }

    fn check(&self, store: &Store) {
        let view = store.view();
        for table in TABLES {
            assert_eq!(
                view.scan(table, &[], &[255; 8], 10_000).unwrap(),
                self.scan(table, &[], &[255; 8], 10_000)
            );
        }
        for ((table, key), value) in &self.tables {
            assert_eq!(view.get(*table, key).unwrap().as_ref(), Some(value));
        }
        for n in 0..4 {
            assert_eq!(read_body(store, n).as_ref(), self.bodies.get(&n));
        }
    }
}

fn op(store: &Store, change: &Change) -> Op {
    match change.clone() {
        Change::Put(table, key, value) => Op::Put { table, key, value },
        Change::Delete(table, key) => Op::Delete { table, key },
        Change::Adopt(n, bytes) => Op::AdoptBody {
            staged: stage(store, &bytes).token,
            message: message(n),
        },
        Change::Drop(n) => Op::DropBody {
            message: message(n),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map(steps in prop::collection::vec(step(), 1..50)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Commit(changes, durability) => {
                    let ops = changes.iter().map(|change| op(&store, change)).collect();
                    // Not waited for: several meet in one group.
                    store.commit(ops, durability, |outcome| outcome.unwrap());
                    changes.into_iter().for_each(|change| model.apply(change));
                }
                Step::Scan { table, from, until, limit } => {
                    store.commit_and_wait(vec![], Durability::Lazy).unwrap();
                    let found = store.view().scan(table, &from, &until, limit).unwrap();
                    prop_assert_eq!(found, model.scan(table, &from, &until, limit));
                }
                Step::Reopen => {
                    drop(store);
                    store = open(dir.path());
                    model.check(&store);
                }
            }
        }
        store.commit_and_wait(vec![], Durability::Synced).unwrap();
        model.check(&store);
        prop_assert_eq!(store.verify(), vec![]);
        prop_assert_eq!(store.failure(), None);
    }
}
