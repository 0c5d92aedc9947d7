//! What the core has changed and the store has not yet made durable.
//!
//! Guards the barrier rule: an effect that may depend on a change is held back
//! until the commit that carries the change is durable. Changes whose loss is
//! harmless (`put_lazily`) hold nothing back and wait for company.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::effect::Effect;
use crate::tables::{Damaged, Op, Row, Table, Tables};

/// How long lazy changes wait for a commit that somebody needs.
const LAZY_MS: u64 = 200;
/// A lazy batch of so many changes is written without waiting.
const LAZY_OPS: usize = 512;

/// A key, shared by what is pending and by the list of what a commit carries.
type Key = Arc<[u8]>;

/// A change that is not known to be durable.
struct Pending {
    commit: u64,
    at: usize,
    value: Option<Vec<u8>>,
}

/// The store as the core sees it, with its own pending changes on top.
pub(crate) struct Ledger {
    tables: Box<dyn Tables + Send>,
    /// Newest pending value by place, with the commit that carries it and where it stands in that.
    pending: BTreeMap<Table, BTreeMap<Key, Pending>>,
    /// Places by commit, to be cleared when it is durable.
    places: VecDeque<(u64, Vec<(Table, Key)>)>,
    batch: Vec<Op>,
    /// The places that the batch changes, each once.
    changed: Vec<(Table, Key)>,
    batch_awaited: bool,
    batch_since_ms: u64,
    next_seq: u64,
    durable_seq: u64,
    /// The last commit that somebody waits for.
    gate: u64,
    fresh: Vec<Effect>,
    held: VecDeque<(u64, Effect)>,
    ready: VecDeque<Effect>,
    /// Planted fault: nothing is held back.
    pub(crate) no_barrier: bool,
}

impl Ledger {
    pub(crate) fn new(tables: Box<dyn Tables + Send>) -> Self {
        Self {
            tables,
            pending: BTreeMap::new(),
            places: VecDeque::new(),
            batch: Vec::new(),
            changed: Vec::new(),
            batch_awaited: false,
            batch_since_ms: 0,
            next_seq: 1,
            durable_seq: 0,
            gate: 0,
            fresh: Vec::new(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            no_barrier: false,
        }
    }

    /// Writes a value; effects from now on wait for it.
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.batch_awaited = true;
        self.put_lazily(table, key, value);
    }

    /// Writes a value that may be lost in a crash without harm.
    pub(crate) fn put_lazily(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.note(table, key, Some(value));
    }

    /// Removes a value; effects from now on wait for it.
    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.batch_awaited = true;
        self.delete_lazily(table, key);
    }

    /// Removes a value that may come back in a crash without harm.
    pub(crate) fn delete_lazily(&mut self, table: Table, key: Vec<u8>) {
        self.note(table, key, None);
    }

    /// Adopts or drops a body.
    pub(crate) fn body(&mut self, op: Op) {
        self.batch_awaited |= matches!(op, Op::AdoptBody { .. });
        self.batch.push(op);
    }

    /// A place that is changed again before the batch is closed is written once.
    fn note(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        let op = |key: Vec<u8>, value: Option<Vec<u8>>| match value {
            Some(value) => Op::Put { table, key, value },
            None => Op::Delete { table, key },
        };
        let here = Pending {
            commit: self.next_seq,
            at: self.batch.len(),
            value: value.clone(),
        };
        let of_table = self.pending.entry(table).or_default();
        match of_table.get_mut(key.as_slice()) {
            Some(pending) if pending.commit == self.next_seq => {
                pending.value.clone_from(&value);
                if let Some(earlier) = self.batch.get_mut(pending.at) {
                    *earlier = op(key, value);
                }
                return;
            }
            Some(pending) => {
                *pending = here;
                self.changed.push((table, Key::from(key.as_slice())));
            }
            None => {
                let shared = Key::from(key.as_slice());
                self.changed.push((table, Arc::clone(&shared)));
                of_table.insert(shared, here);
            }
        }
        self.batch.push(op(key, value));
    }

    /// Something to do once all changes so far are durable.
    pub(crate) fn emit(&mut self, effect: Effect) {
        self.fresh.push(effect);
    }

    /// Something to do that depends on no change.
    pub(crate) fn emit_now(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    /// Closes the batch.
    pub(crate) fn flush(&mut self, mono_ms: u64) {
        let lazy = !self.batch_awaited && self.batch.len() < LAZY_OPS;
        if self.batch.is_empty() {
            self.batch_since_ms = mono_ms;
        } else if !lazy || mono_ms >= self.batch_since_ms.saturating_add(LAZY_MS) {
            let seq = self.next_seq;
            self.next_seq += 1;
            if self.batch_awaited {
                self.gate = seq;
            }
            let ops = std::mem::take(&mut self.batch);
            let places = std::mem::take(&mut self.changed);
            self.places.push_back((seq, places));
            let awaited = std::mem::take(&mut self.batch_awaited);
            self.ready.push_back(Effect::Commit { seq, ops, awaited });
            self.batch_since_ms = mono_ms;
        }
        for effect in self.fresh.drain(..) {
            if self.gate <= self.durable_seq || self.no_barrier {
                self.ready.push_back(effect);
            } else {
                self.held.push_back((self.gate, effect));
            }
        }
    }

    /// When lazy changes want to be written, if there are any.
    pub(crate) fn lazy_due_ms(&self) -> Option<u64> {
        (!self.batch.is_empty()).then(|| self.batch_since_ms.saturating_add(LAZY_MS))
    }

    /// A commit is durable: what waited for it may leave.
    pub(crate) fn committed(&mut self, seq: u64) {
        self.durable_seq = self.durable_seq.max(seq);
        while self.places.front().is_some_and(|(first, _)| *first <= seq) {
            let Some((_, places)) = self.places.pop_front() else {
                break;
            };
            for (table, key) in places {
                let Some(of_table) = self.pending.get_mut(&table) else {
                    continue;
                };
                if of_table
                    .get(&key)
                    .is_some_and(|pending| pending.commit <= seq)
                {
                    of_table.remove(&key);
                }
            }
        }
        while self
            .held
            .front()
            .is_some_and(|(gate, _)| *gate <= self.durable_seq)
        {
            if let Some((_, effect)) = self.held.pop_front() {
                self.ready.push_back(effect);
            }
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }

    /// The value, pending or durable.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        let pending = self.pending.get(&table).and_then(|all| all.get(key));
        match pending {
            Some(pending) => Ok(pending.value.clone()),
            None => self.tables.get(table, key),
        }
    }

    /// At most `limit` rows with `from <= key < until`, pending or durable, in order.
    ///
    /// Costs as much as what it gives and the deletions in between, however much is pending behind them.
    pub(crate) fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        let mut found = Vec::new();
        if from >= until || limit == 0 {
            return Ok(found);
        }
        let bounds = (Bound::Included(from), Bound::Excluded(until));
        let mut over = self
            .pending
            .get(&table)
            .into_iter()
            .flat_map(|all| all.range::<[u8], _>(bounds))
            .map(|(key, pending)| (&**key, &pending.value))
            .peekable();
        let (mut from, mut asked) = (from.to_vec(), limit);
        loop {
            let rows = self.tables.scan(table, &from, until, asked)?;
            let last = rows.last().filter(|_| rows.len() >= asked);
            let last = last.map(|(key, _)| key.clone());
            for (key, value) in rows {
                while let Some((before, value)) =
                    over.next_if(|(pending, _)| *pending < key.as_slice())
                {
                    found.extend(value.clone().map(|value| (before.to_vec(), value)));
                    if found.len() >= limit {
                        return Ok(found);
                    }
                }
                match over.next_if(|(pending, _)| *pending == key.as_slice()) {
                    Some((_, value)) => found.extend(value.clone().map(|value| (key, value))),
                    None => found.push((key, value)),
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            let Some(last) = last else { break };
            // Deletions hid some of them: more each time, so that many cost few looks.
            from = last;
            from.push(0);
            asked = asked.saturating_mul(2);
        }
        let rest = over.filter_map(|(key, value)| Some((key.to_vec(), value.clone()?)));
        found.extend(rest.take(limit - found.len()));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;
    impl Tables for Empty {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
            Ok(None)
        }
        fn scan(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, Damaged> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn nothing_leaves_before_its_change_is_durable() {
        let mut ledger = Ledger::new(Box::new(Empty));
        ledger.put(Table::Meta, vec![1], vec![2]);
        ledger.emit(Effect::Discard { staged: 7 });
        ledger.flush(0);
        assert!(matches!(
            ledger.poll(),
            Some(Effect::Commit {
                seq: 1,
                awaited: true,
                ..
            })
        ));
        assert_eq!(ledger.poll(), None);
        assert_eq!(ledger.get(Table::Meta, &[1]), Ok(Some(vec![2])));
        ledger.committed(1);
        assert_eq!(ledger.poll(), Some(Effect::Discard { staged: 7 }));
    }

    #[test]
    fn a_lazy_change_holds_nothing_back_and_is_written_in_time() {
        let mut ledger = Ledger::new(Box::new(Empty));
        ledger.flush(1_000);
        ledger.put_lazily(Table::Meta, vec![1], vec![2]);
        ledger.emit(Effect::Discard { staged: 7 });
        ledger.flush(1_001);
        assert_eq!(ledger.poll(), Some(Effect::Discard { staged: 7 }));
        assert_eq!(ledger.poll(), None);
        ledger.flush(1_000 + LAZY_MS);
        assert!(matches!(
            ledger.poll(),
            Some(Effect::Commit { awaited: false, .. })
        ));
    }

    #[test]
    fn a_place_changed_twice_in_a_batch_is_written_once_as_it_is_last() {
        let mut ledger = Ledger::new(Box::new(Empty));
        ledger.put(Table::Meta, vec![1], vec![2]);
        ledger.put(Table::Meta, vec![2], vec![2]);
        ledger.delete(Table::Meta, vec![1]);
        ledger.flush(0);
        let (key, value) = (vec![2], vec![2]);
        let (table, gone) = (Table::Meta, vec![1]);
        let expected = vec![
            Op::Delete { table, key: gone },
            Op::Put { table, key, value },
        ];
        assert!(matches!(ledger.poll(), Some(Effect::Commit { ops, .. }) if ops == expected));
        ledger.put(Table::Meta, vec![1], vec![3]);
        ledger.committed(1);
        assert_eq!(ledger.get(Table::Meta, &[1]), Ok(Some(vec![3])));
        assert_eq!(
            ledger.get(Table::Meta, &[2]),
            Ok(None),
            "durable: the store's"
        );
    }

    #[test]
    fn a_scan_sees_pending_writes_and_deletions() {
        let mut ledger = Ledger::new(Box::new(Empty));
        ledger.put(Table::Dots, vec![1], vec![1]);
        ledger.put(Table::Dots, vec![2], vec![2]);
        ledger.delete(Table::Dots, vec![1]);
        assert_eq!(
            ledger.scan(Table::Dots, &[0], &[9], 10),
            Ok(vec![(vec![2], vec![2])])
        );
    }

    /// Rows of a table that was filled before.
    struct Filled(Vec<u8>);
    impl Tables for Filled {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
            Ok(None)
        }
        fn scan(
            &self,
            _: Table,
            from: &[u8],
            until: &[u8],
            limit: usize,
        ) -> Result<Vec<Row>, Damaged> {
            let rows = self.0.iter().map(|key| vec![*key]);
            let rows = rows.filter(|key| from <= key.as_slice() && key.as_slice() < until);
            Ok(rows.take(limit).map(|key| (key, vec![0])).collect())
        }
    }

    proptest::proptest! {
        #[test]
        fn a_scan_is_the_table_with_what_is_pending_over_it(
            durable in proptest::collection::btree_set(0u8..40, 0..30),
            pending in proptest::collection::btree_map(0u8..40, proptest::bool::ANY, 0..30),
            from in 0u8..40,
            until in 0u8..40,
            limit in 0usize..12,
        ) {
            let mut rows: BTreeMap<u8, u8> = durable.iter().map(|key| (*key, 0)).collect();
            let mut ledger = Ledger::new(Box::new(Filled(durable.into_iter().collect())));
            for (key, there) in pending {
                if there {
                    rows.insert(key, 1);
                    ledger.put(Table::Dots, vec![key], vec![1]);
                } else {
                    rows.remove(&key);
                    ledger.delete(Table::Dots, vec![key]);
                }
            }
            let expected: Vec<Row> = rows
                .into_iter()
                .filter(|(key, _)| from <= *key && *key < until)
                .take(limit)
                .map(|(key, value)| (vec![key], vec![value]))
                .collect();
            proptest::prop_assert_eq!(ledger.scan(Table::Dots, &[from], &[until], limit), Ok(expected));
        }
    }
}
