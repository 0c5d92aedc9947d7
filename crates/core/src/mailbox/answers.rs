//! Who was answered by an absence, with what, and until when not again (RFC 5230 4.2): cells of the mailbox, so that both sites know.
//!
//! Must not grow without bound: what is over goes when something new comes.

use grapevine_model::{Cell, CellKey, Field, Incarnation, MessageId, Name};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Answers looked at, whether they are over, when one is remembered: more are over then than come.
const LOOKED_AT: usize = 64;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The value of an `Answered` cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What was answered.
    pub(super) message: MessageId,
    pub(super) sent_ms: u64,
    pub(super) until_ms: u64,
}

impl Answer {
    pub(super) fn new(message: MessageId, now_ms: u64, days: u64) -> Self {
        Self {
            message,
            sent_ms: now_ms,
            until_ms: now_ms.saturating_add(days.saturating_mul(DAY_MS)),
        }
    }
}

/// To whom which answer: a digest, so that it is short, however long they are.
pub(super) fn answered_key(to: &Name, handle: &str) -> CellKey {
    let mut hasher = blake3::Hasher::new_derive_key("grapevine 2026-11-23 answered");
    hasher.update(to.key().as_bytes());
    hasher.update(&[0]);
    hasher.update(handle.as_bytes());
    let mut element = vec![0; 16];
    hasher.finalize_xof().fill(&mut element);
    CellKey {
        item: 0,
        field: Field::Answered.number(),
        element,
    }
}

impl Server {
    /// Remembers an answer, and forgets some that are over.
    pub(super) fn remember_answer(
        &mut self,
        inbox: Incarnation,
        key: CellKey,
        answer: &Answer,
    ) -> Result<(), Damaged> {
        let space = Self::mailbox_space(inbox);
        if !self.spaces.contains_key(&space) {
            return Ok(());
        }
        let prefix = codec::space_prefix(&space);
        // From the new one on: digests are spread evenly, so each comes to its turn.
        let from = codec::cell_key(&space, &key);
        let end = CellKey {
            element: vec![u8::MAX; 17],
            ..key.clone()
        };
        let until = codec::cell_key(&space, &end);
        let mut changes = Vec::new();
        for (row, value) in self.ledger.scan(Table::Cells, &from, &until, LOOKED_AT)? {
            let other = codec::read_cell_key(row.get(prefix.len()..).unwrap_or_default())?;
            let value = codec::decode::<Cell>(&value).ok().and_then(|c| c.value);
            let old = value.and_then(|value| codec::decode::<Answer>(&value).ok());
            if old.is_some_and(|old| old.until_ms <= self.now.wall_ms) && other != key {
                changes.push(Change::delete(other));
            }
        }
        changes.push(Change::put(key, codec::encode(answer)));
        self.write(&space, changes)?;
        Ok(())
    }
}
