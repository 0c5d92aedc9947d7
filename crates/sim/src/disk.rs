//! A server's disk: what the core reads, what survives a crash, what a fire leaves (nothing).
//!
//! Commits become visible and then durable in order, whole or not at all, after a delay. A crash
//! loses what was not synced, but for a prefix that happened to be written already. Must never
//! report a commit before it is durable: the core's promises rest on that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_core::{Damaged, Op, Row, Staged, Table, Tables};
use grapevine_model::{BodyInfo, MessageId, OriginId};

use crate::dice::Dice;

/// So long may a commit that nobody waits for stay unwritten.
const LINGER_US: u64 = 100_000;

/// How fast a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSpeed {
    /// As one expects.
    Usual,
    /// As a dying one does.
    Slow,
}

/// One machine's disk.
#[derive(Debug)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
    waiting: VecDeque<Pending>,
    work: Work,
    linger_until_us: Option<u64>,
    speed: DiskSpeed,
}

/// What the core reads through.
#[derive(Debug)]
struct View(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    visible: Layer,
    durable: Layer,
    staged: BTreeMap<u64, BodyInfo>,
    next_token: u64,
    damaged: BTreeSet<(Table, Vec<u8>)>,
}

/// A key or a value: what is visible and what is durable have one copy of it together.
type Octets = Arc<[u8]>;

/// Numbers of tables, and of none yet.
const TABLES: usize = 32;

#[derive(Debug, Default, Clone)]
struct Layer {
    tables: [BTreeMap<Octets, Octets>; TABLES],
    bodies: BTreeMap<MessageId, BodyInfo>,
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    rows: Vec<Change>,
    adopted: Vec<(MessageId, BodyInfo)>,
    dropped: Vec<MessageId>,
}

/// A row's new value, or none.
#[derive(Debug)]
struct Change {
    table: Table,
    key: Octets,
    value: Option<Octets>,
}

/// What the disk is doing with the first so many that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Idle,
    Writing { count: usize, until_us: u64 },
    Syncing { count: usize, until_us: u64 },
}

/// A commit that names a staged body which is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownToken(pub u64);

impl Default for Disk {
    fn default() -> Self {
        Self {
            content: Arc::default(),
            waiting: VecDeque::new(),
            work: Work::Idle,
            linger_until_us: None,
            speed: DiskSpeed::Usual,
        }
    }
}

impl Disk {
    /// The core's view of it.
    pub fn tables(&self) -> Box<dyn Tables + Send> {
        Box::new(View(Arc::clone(&self.content)))
    }

    /// Makes it fast or slow.
    pub fn set_speed(&mut self, speed: DiskSpeed) {
        self.speed = speed;
    }

    /// Takes in a body.
    pub fn stage(&mut self, body: BodyInfo) -> Staged {
        let mut content = self.content();
        content.next_token += 1;
        let token = content.next_token;
        content.staged.insert(token, body);
        Staged { token, body }
    }

    /// Forgets a staged body.
    pub fn discard(&mut self, token: u64) {
        self.content().staged.remove(&token);
    }

    /// Staged bodies that nobody has adopted or discarded.
    pub fn staged(&self) -> usize {
        self.content().staged.len()
    }

    /// The body of a message, if it is here (or on its way to the platters).
    pub fn body(&self, message: MessageId) -> Option<BodyInfo> {
        let visible = self.content().visible.bodies.get(&message).copied();
        visible.or_else(|| {
            let mut adopted = self.waiting.iter().flat_map(|pending| &pending.adopted);
            adopted
                .find(|(adopted, _)| *adopted == message)
                .map(|(_, body)| *body)
        })
    }

    /// The messages whose bodies are durable here.
    pub fn bodies(&self) -> Vec<MessageId> {
        self.content().durable.bodies.keys().copied().collect()
    }

    /// Writes the durable rows of another disk that begin so, as if they had been restored from it.
    pub(crate) fn copy_rows(&mut self, from: &Self, tables: &[Table], prefix: &[u8]) {
        let theirs = from.content();
        let mut ours = self.content();
        let Content {
            visible, durable, ..
        } = &mut *ours;
        for table in tables {
            for layer in [&mut *visible, &mut *durable] {
                let rows = theirs.durable.tables[*table as usize].iter();
                let rows = rows.filter(|(key, _)| key.starts_with(prefix));
                let rows = rows.map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
                layer.tables[*table as usize].extend(rows);
            }
        }
    }

    /// Writes an origin in the place where another disk has its own.
    pub(crate) fn copy_origin(&mut self, from: &Self, origin: OriginId) {
        const KEY: &[u8] = b"origin";
        let theirs = from.content();
        let version = theirs.durable.tables[Table::Meta as usize].get(KEY);
        let version = version.and_then(|row| row.first().copied()).unwrap_or(0);
        let row = postcard::to_extend(&origin, vec![version]).unwrap_or_default();
        let mut ours = self.content();
        let Content {
            visible, durable, ..
        } = &mut *ours;
        for layer in [visible, durable] {
            let rows = &mut layer.tables[Table::Meta as usize];
            rows.insert(KEY.into(), row.as_slice().into());
        }
    }

    /// All durable rows of a table.
    pub fn rows(&self, table: Table) -> Vec<Row> {
        self.content().durable.tables[table as usize]
            .iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    /// Makes a row unreadable.
    pub fn damage(&mut self, table: Table, key: Vec<u8>) {
        self.content().damaged.insert((table, key));
    }

    /// Loses a row silently, as a sector that was never written: reading it finds nothing, or what
    /// stood there before.
    pub fn lose(&mut self, table: Table, key: &[u8], before: Option<Vec<u8>>) {
        let mut content = self.content();
        let Content {
            visible, durable, ..
        } = &mut *content;
        for layer in [visible, durable] {
            let rows = &mut layer.tables[table as usize];
            match &before {
                Some(value) => rows.insert(key.into(), value.as_slice().into()),
                None => rows.remove(key),
            };
        }
    }

    /// Takes a commit. Ask `advance` at the time given.
    pub fn begin(
        &mut self,
        now_us: u64,
        seq: u64,
        ops: Vec<Op>,
        awaited: bool,
        dice: &mut Dice,
    ) -> Result<u64, UnknownToken> {
        let pending = self.content().take(seq, ops)?;
        self.waiting.push_back(pending);
        if self.work != Work::Idle {
            // It is looked at when the work at hand is done; an awaited one must not linger then.
            if awaited {
                self.linger_until_us = Some(now_us);
            }
        } else if awaited {
            self.start(now_us, dice);
        }
        if self.linger_until_us.is_none() && self.work == Work::Idle {
            self.linger_until_us = Some(now_us + LINGER_US);
        }
        Ok(self.next_us().unwrap_or(now_us))
    }

    /// Does what is due; says which commits are now durable, and when to ask again.
    pub fn advance(&mut self, now_us: u64, dice: &mut Dice) -> (Vec<u64>, Option<u64>) {
        let mut durable = Vec::new();
        loop {
            match self.work {
                Work::Idle if self.waiting.is_empty() => break,
                Work::Idle => match self.linger_until_us {
                    Some(until) if until <= now_us => self.start(now_us, dice),
                    Some(_) => break,
                    None => self.linger_until_us = Some(now_us + LINGER_US),
                },
                Work::Writing { count, until_us } if until_us <= now_us => {
                    let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
                    for pending in self.waiting.iter().take(count) {
                        content.visible.apply(pending);
                    }
                    drop(content);
                    let until_us = until_us + self.delay_us(dice);
                    self.work = Work::Syncing { count, until_us };
                }
                Work::Syncing { count, until_us } if until_us <= now_us => {
                    for pending in self.waiting.drain(..count.min(self.waiting.len())) {
                        let mut content =
                            self.content.lock().unwrap_or_else(PoisonError::into_inner);
                        content.durable.apply(&pending);
                        durable.push(pending.seq);
                    }
                    self.work = Work::Idle;
                }
                Work::Writing { .. } | Work::Syncing { .. } => break,
            }
        }
        (durable, self.next_us())
    }

    /// The power goes: what was not synced is gone, but for a prefix that was being written.
    pub fn crash(&mut self, dice: &mut Dice) {
        let written = match self.work {
            Work::Idle => 0,
            Work::Writing { count, .. } | Work::Syncing { count, .. } => count,
        };
        let kept = dice.index(written + 1);
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        for pending in self.waiting.iter().take(kept) {
            content.durable.apply(pending);
        }
        content.visible = content.durable.clone();
        content.staged.clear();
        drop(content);
        self.waiting.clear();
        self.work = Work::Idle;
        self.linger_until_us = None;
    }

    /// The disk is gone for good; a new one is in its place.
    pub fn destroy(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing was ever written on it.
    pub fn is_blank(&self) -> bool {
        let content = self.content();
        content.durable.tables.iter().all(BTreeMap::is_empty)
    }

    fn start(&mut self, now_us: u64, dice: &mut Dice) {
        self.linger_until_us = None;
        self.work = Work::Writing {
            count: self.waiting.len(),
            until_us: now_us + self.delay_us(dice),
        };
    }

    fn next_us(&self) -> Option<u64> {
        match self.work {
            Work::Idle if self.waiting.is_empty() => None,
            Work::Idle => self.linger_until_us,
            Work::Writing { until_us, .. } | Work::Syncing { until_us, .. } => Some(until_us),
        }
    }

    fn delay_us(&self, dice: &mut Dice) -> u64 {
        match self.speed {
            DiskSpeed::Usual => dice.between(50, 600),
            DiskSpeed::Slow => dice.between(5_000, 700_000),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Takes a commit, with its staged bodies: they belong to it from here on.
    fn take(&mut self, seq: u64, ops: Vec<Op>) -> Result<Pending, UnknownToken> {
        let mut pending = Pending {
            seq,
            rows: Vec::with_capacity(ops.len()),
            adopted: Vec::new(),
            dropped: Vec::new(),
        };
        for op in ops {
            match op {
                Op::Put { table, key, value } => pending.rows.push(Change {
                    table,
                    key: key.into(),
                    value: Some(value.into()),
                }),
                Op::Delete { table, key } => pending.rows.push(Change {
                    table,
                    key: key.into(),
                    value: None,
                }),
                Op::AdoptBody { staged, message } => {
                    let body = self.staged.remove(&staged).ok_or(UnknownToken(staged))?;
                    // What came before in the same commit is undone by it.
                    pending.dropped.retain(|dropped| *dropped != message);
                    pending.adopted.push((message, body));
                }
                Op::DropBody { message } => {
                    pending.adopted.retain(|(adopted, _)| *adopted != message);
                    pending.dropped.push(message);
                }
            }
        }
        Ok(pending)
    }
}

impl Layer {
    fn apply(&mut self, pending: &Pending) {
        for row in &pending.rows {
            let rows = &mut self.tables[row.table as usize];
            match &row.value {
                Some(value) => rows.insert(Arc::clone(&row.key), Arc::clone(value)),
                None => rows.remove(&row.key),
            };
        }
        self.bodies.extend(pending.adopted.iter().copied());
        for message in &pending.dropped {
            self.bodies.remove(message);
        }
    }
}

impl Tables for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        let content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !content.damaged.is_empty() && content.damaged.contains(&(table, key.to_vec())) {
            return Err(Damaged(format!("a row of {table:?}")));
        }
        let value = content.visible.tables[table as usize].get(key);
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        if from >= until {
            return Ok(Vec::new());
        }
        let content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = (
            std::ops::Bound::Included(from),
            std::ops::Bound::Excluded(until),
        );
        let mut rows = Vec::new();
        for (key, value) in content.visible.tables[table as usize]
            .range::<[u8], _>(bounds)
            .take(limit)
        {
            if !content.damaged.is_empty() && content.damaged.contains(&(table, key.to_vec())) {
                return Err(Damaged(format!("a row of {table:?}")));
            }
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn put(key: u8) -> Vec<Op> {
        vec![Op::Put {
            table: Table::Meta,
            key: vec![key],
            value: vec![],
        }]
    }

    fn keys(disk: &Disk) -> Vec<u8> {
        disk.rows(Table::Meta)
            .iter()
            .map(|(key, _)| key[0])
            .collect()
    }

    #[test]
    fn a_crash_leaves_a_prefix_that_holds_all_that_was_reported_durable() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut disk = Disk::default();
            let mut reported = 0;
            let mut now_us = 0;
            for seq in 1..=20 {
                let awaited = dice.chance(500);
                disk.begin(now_us, seq, put(seq as u8), awaited, &mut dice)
                    .unwrap();
                now_us += dice.between(0, 400);
                reported += disk.advance(now_us, &mut dice).0.len();
            }
            disk.crash(&mut dice);
            let kept = keys(&disk);
            assert!(kept.len() >= reported);
            assert_eq!(kept, (1..=kept.len() as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_commit_that_nobody_waits_for_becomes_durable_all_the_same() {
        let mut dice = Dice::new(1);
        let mut disk = Disk::default();
        let mut next = Some(disk.begin(0, 1, put(1), false, &mut dice).unwrap());
        let mut durable = Vec::new();
        while let Some(at) = next {
            let (done, then) = disk.advance(at, &mut dice);
            durable.extend(done);
            next = then;
        }
        assert_eq!(durable, [1]);
    }

    #[test]
    fn a_body_is_adopted_once() {
        let mut dice = Dice::new(1);
        let mut disk = Disk::default();
        let staged = disk.stage(BodyInfo {
            len: 1,
            digest: [0; 32],
        });
        let adopt = vec![Op::AdoptBody {
            staged: staged.token,
            message: MessageId::from_u128(1),
        }];
        assert!(disk.begin(0, 1, adopt.clone(), true, &mut dice).is_ok());
        assert!(disk.body(MessageId::from_u128(1)).is_some());
        assert_eq!(
            disk.begin(0, 2, adopt, true, &mut dice),
            Err(UnknownToken(staged.token))
        );
    }
}
