//! A copy kept after delivery, for some days: what an inbox site that lost its disk is filled from when its
//! partners are lost too, and what an operator can replay.
//!
//! Kept by the custodian, as a row of its own that refers to the body. Must never keep anybody waiting: it is written
//! and removed lazily, goes by its age, and goes before the disk is so full that mail is refused.

use std::collections::BTreeMap;

use grapevine_model::{CustodyRecord, MessageId, OriginId, ServerName, Usage};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Rows looked at in one sweep: of a million, each is looked at every three hours, which is how much longer than
/// stated one may stay.
const LOOKED_AT_A_SWEEP: usize = 500;
/// Rows that go in one sweep when the disk has little room: fewer would not keep up with what comes.
const GO_A_SWEEP: usize = 2_000;
/// Recipients remembered of one message: more were handed over by so many servers only by mistake.
const MOST_RECIPIENTS: usize = grapevine_model::MAX_RECIPIENTS;

pub(crate) const META_RETAINED: &[u8] = b"retained";

/// The value of a `Retained` row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetainedRow {
    /// The message as it was in custody.
    pub(crate) record: CustodyRecord,
    /// When its delivery ended, milliseconds since 1970.
    pub(crate) ended_ms: u64,
    /// The lives of all servers' disks then: one that has another life now may have lost it.
    pub(crate) lives: BTreeMap<ServerName, OriginId>,
}

/// The retained copies' part of a server.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// How much is kept.
    pub(crate) usage: Usage,
    /// After which row the next look begins.
    after: Vec<u8>,
    /// The disk has little room: the oldest go.
    pub(crate) give_way: bool,
}

impl Server {
    /// What is kept, as it was when the server last ran.
    pub(crate) fn load_retained(&mut self) -> Result<(), Damaged> {
        if let Some(bytes) = self.ledger.get(Table::Meta, META_RETAINED)? {
            self.retained.usage = codec::decode(&bytes)?;
        }
        Ok(())
    }

    pub(crate) fn retained_row(&self, message: MessageId) -> Result<Option<RetainedRow>, Damaged> {
        self.ledger
            .get(Table::Retained, &message.to_bytes())?
            .map(|bytes| codec::decode(&bytes))
            .transpose()
    }

    /// The custody of a message has ended. Its reference to the body is this row's from here on, or goes.
    pub(crate) fn retain(&mut self, record: CustodyRecord) -> Result<(), Damaged> {
        let message = record.message;
        if self.config.times.retain_ms == 0 || self.disk_nearly_full || self.retired {
            return self.release(message);
        }
        let lives = self.disk_lives();
        let row = match self.retained_row(message)? {
            None => {
                self.count_retained(|usage| usage.plus(Usage::of(record.body.len)));
                RetainedRow {
                    record,
                    ended_ms: self.now.wall_ms,
                    lives,
                }
            }
            // A part of it was here before, or it was replayed: that row has its reference already.
            Some(mut row) => {
                self.release(message)?;
                let known = &mut row.record.envelope.recipients;
                for recipient in record.envelope.recipients {
                    if known.len() < MOST_RECIPIENTS && !known.contains(&recipient) {
                        known.push(recipient);
                    }
                }
                row.lives = lives;
                row
            }
        };
        self.save_retained(message, &row);
        Ok(())
    }

    pub(crate) fn save_retained(&mut self, message: MessageId, row: &RetainedRow) {
        self.ledger.put_lazily(
            Table::Retained,
            message.to_bytes().to_vec(),
            codec::encode(row),
        );
    }

    /// The lives of all servers' disks now, as far as they are heard; this one's own too.
    pub(crate) fn disk_lives(&self) -> BTreeMap<ServerName, OriginId> {
        let heard = self.peers.iter();
        let heard = heard.filter_map(|(server, peer)| Some((server.clone(), peer.origin?)));
        let me = (self.config.server.clone(), self.clock.origin());
        heard.chain([me]).collect()
    }

    /// Rows whose time is over go, some in each sweep; the oldest go at once when the disk has little room, and all of
    /// them when this server leaves.
    pub(crate) fn forget_retained(&mut self) -> Result<(), Damaged> {
        let leaving = self.role() == grapevine_model::ServerRole::Retiring;
        let pressed = self.retained.give_way || leaving;
        let (from, limit) = match pressed {
            true => (Vec::new(), GO_A_SWEEP),
            false => (std::mem::take(&mut self.retained.after), LOOKED_AT_A_SWEEP),
        };
        let rows = self
            .ledger
            .scan(Table::Retained, &from, &[u8::MAX; 17], limit)?;
        if rows.len() == limit
            && let Some((last, _)) = rows.last()
        {
            self.retained.after = last.clone();
            self.retained.after.push(0);
        }
        for (key, value) in rows {
            // It ended after it was written: most rows need not be read.
            let id = <[u8; 16]>::try_from(key.as_slice());
            let written_ms = id.map_or(0, |id| MessageId::from_bytes(id).time.wall_ms());
            let age_ms = self.now.wall_ms.saturating_sub(written_ms);
            if age_ms <= self.config.times.retain_ms && !pressed {
                continue;
            }
            // A row that can't be read is worth nothing to anybody.
            let row = codec::decode::<RetainedRow>(&value).ok();
            let over = row.as_ref().is_none_or(|row| {
                let age_ms = self.now.wall_ms.saturating_sub(row.ended_ms);
                age_ms > self.config.times.retain_ms
            });
            if over || pressed {
                self.drop_retained(key, row.as_ref())?;
            }
        }
        Ok(())
    }

    fn drop_retained(&mut self, key: Vec<u8>, row: Option<&RetainedRow>) -> Result<(), Damaged> {
        if let Ok(id) = <[u8; 16]>::try_from(key.as_slice()) {
            let message = MessageId::from_bytes(id);
            self.refills.forget(message);
            self.release(message)?;
        }
        let len = row.map_or(0, |row| row.record.body.len);
        self.count_retained(|usage| usage.minus(Usage::of(len)));
        self.ledger.delete_lazily(Table::Retained, key);
        Ok(())
    }

    fn count_retained(&mut self, change: impl FnOnce(Usage) -> Usage) {
        self.retained.usage = change(self.retained.usage);
        let value = codec::encode(&self.retained.usage);
        self.ledger
            .put_lazily(Table::Meta, META_RETAINED.to_vec(), value);
    }
}
