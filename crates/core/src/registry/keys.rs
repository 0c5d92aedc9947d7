//! The keys of this server: when a new one is made, announced, used, and the old one struck off.
//!
//! Guards that nobody is cut off by a change of key: a key is used only when every server that can be
//! reached has it on record (and those that cannot have had months to come back), and the old one stays
//! on record until the tickets that it signed have ended. Must never count on a private key that the
//! shell does not have: what is in the folder is the truth, and `gv` follows it.

use std::collections::BTreeMap;

use grapevine_model::{
    ErrorKind, Field, KeyWait, Refusal, RegistryName, ServerName, Speaker, Stamp, Written,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::effect::Effect;
use crate::registry::database::{Entry, element};
use crate::registry::request::{Outcome, ReplyTo};
use crate::registry::servers::gv;
use crate::replication::push::Change;
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::Damaged;

/// Keys beside the present one that count: a next one, and former ones that are not yet struck off.
pub(super) const MOST_MORE_KEYS: usize = 8;
/// Before a server that has just started changes its key, it has heard who is there.
const SETTLED_MS: u64 = 10_000;
/// However long an absent server was waited for by the clock on the wall, the server has itself run so
/// long before it goes on without it: a clock that jumped is no reason.
const RUN_MS: u64 = 24 * 3_600_000;
/// What the shell was told to do and has not reported is said again after so long.
const AGAIN_MS: u64 = 60_000;
/// A former key stays on record so much longer than a ticket serves: clocks differ.
const FORMER_SLACK_MS: u64 = 10 * 60_000;

/// What a key is to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Next,
    InUse,
    Former,
}

/// A key's row in `gv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeyRow {
    stage: Stage,
    /// Milliseconds since 1970.
    since_ms: u64,
    wait: KeyWait,
}

/// What the shell has said of this server's keys.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys {
    /// Whether it has said anything.
    told: bool,
    next: Option<Vec<u8>>,
    /// What it was asked to do, and when that is said again.
    ordered: Option<u64>,
    /// Operators who wait for a new key to be on record.
    asked: Vec<(ReplyTo, KeyWait)>,
}

impl Server {
    /// An operator wants a new key.
    pub(crate) fn rotate_key(&mut self, to: &ReplyTo, speaker: &Speaker, wait: KeyWait) -> Outcome {
        if *speaker != Speaker::Operator {
            return Err(Refusal::not_allowed(
                "a server's key is changed through its admin socket, on its own machine",
            ))
            .into();
        }
        if self.keys_entry().is_none() {
            return Err(Refusal::unavailable(
                "this server can't change its key now: it has left, or has not yet fetched the registration database",
            ))
            .into();
        }
        self.own_keys.asked.push((to.clone(), wait));
        if self.own_keys.next.is_none() {
            self.own_keys.ordered = Some(self.now.mono_ms.saturating_add(AGAIN_MS));
            self.ledger.emit(Effect::MakeKey);
        } else if let Err(damaged) = self.tend_keys() {
            self.damaged(damaged);
        }
        Outcome::Later
    }

    /// The shell has these keys.
    pub(crate) fn take_keys(
        &mut self,
        present: Vec<u8>,
        next: Option<Vec<u8>>,
    ) -> Result<(), Damaged> {
        if next.is_none() {
            for (to, _) in std::mem::take(&mut self.own_keys.asked) {
                let why = "the new key could not be made: this server's log says why";
                self.reply(to, Err(Refusal::new(ErrorKind::Internal, why)));
            }
        }
        self.config.info.public_key = present;
        self.own_keys.told = true;
        self.own_keys.next = next;
        self.own_keys.ordered = None;
        self.describe_myself()?;
        self.tend_keys()
    }

    /// Brings `gv` up to what the shell has, and does what is due.
    pub(crate) fn tend_keys(&mut self) -> Result<(), Damaged> {
        let Some(rows) = self.keys_entry().map(|entry| key_rows(&entry)) else {
            return Ok(());
        };
        self.record_keys(&rows)?;
        let now_ms = self.now.wall_ms;
        let Some(rows) = self.keys_entry().map(|entry| key_rows(&entry)) else {
            return Ok(());
        };
        let again = |ordered: Option<u64>, mono_ms| ordered.is_none_or(|at_ms| at_ms <= mono_ms);
        if !again(self.own_keys.ordered, self.now.mono_ms) {
            return Ok(());
        }
        let order = match self.own_keys.next.clone() {
            None => {
                let age_ms = rows
                    .get(&self.config.info.public_key)
                    .map(|row| now_ms.saturating_sub(row.since_ms));
                let due = self.config.times.key_ms;
                (due > 0 && age_ms.is_some_and(|age_ms| age_ms >= due)).then_some(Effect::MakeKey)
            }
            Some(next) => match rows.get(&next) {
                Some(row) if self.may_use(&next, *row) => Some(Effect::UseKey(next)),
                Some(_) | None => None,
            },
        };
        if let Some(order) = order {
            self.own_keys.ordered = Some(self.now.mono_ms.saturating_add(AGAIN_MS));
            self.ledger.emit(order);
        }
        Ok(())
    }

    /// This server's own entry, if its keys are to be looked after.
    fn keys_entry(&self) -> Option<Entry<'_>> {
        let tended = self.own_keys.told && !self.retired && !self.origins.displaced;
        let name = self.config.server.name().filter(|_| tended)?;
        self.entry(&name)
    }

    fn record_keys(&mut self, rows: &BTreeMap<Vec<u8>, KeyRow>) -> Result<(), Damaged> {
        let Some(incarnation) = self.keys_entry().map(|entry| entry.incarnation) else {
            return Ok(());
        };
        let now_ms = self.now.wall_ms;
        let present = self.config.info.public_key.clone();
        let next = self.own_keys.next.clone();
        let asked = std::mem::take(&mut self.own_keys.asked);
        let asked_wait = asked.iter().map(|(_, wait)| *wait).max();
        // What the key in use waited for before it was used.
        let waited = rows
            .get(&present)
            .map_or(KeyWait::Everybody, |row| row.wait);
        let mut changes = Vec::new();
        let mut put = |key: &[u8], row: KeyRow| {
            let key = element(incarnation, Field::ServerKey, key);
            changes.push(Change::put(key, codec::encode(&row)));
        };
        let begun = |stage, wait| KeyRow {
            stage,
            since_ms: now_ms,
            wait,
        };
        if rows.get(&present).map(|row| row.stage) != Some(Stage::InUse) {
            put(&present, begun(Stage::InUse, waited));
        }
        if let Some(next) = &next {
            match rows.get(next) {
                Some(row) if row.stage == Stage::Next => {
                    let wait = asked_wait.map_or(row.wait, |wait| wait.max(row.wait));
                    if wait != row.wait {
                        put(next, KeyRow { wait, ..*row });
                    }
                }
                Some(_) | None => {
                    let wait = asked_wait.unwrap_or(KeyWait::Everybody);
                    put(next, begun(Stage::Next, wait));
                }
            }
        }
        let former_ms = self.config.times.ticket_ms.saturating_add(FORMER_SLACK_MS);
        let mut gone = Vec::new();
        for (key, row) in rows {
            if *key == present || Some(key) == next.as_ref() {
                continue;
            }
            match row.stage {
                // Its private half was in another folder than this one.
                Stage::Next => gone.push(key),
                Stage::InUse if waited == KeyWait::Nobody => gone.push(key),
                Stage::InUse => put(key, begun(Stage::Former, row.wait)),
                Stage::Former if now_ms.saturating_sub(row.since_ms) >= former_ms => gone.push(key),
                Stage::Former => {}
            }
        }
        changes.extend(
            gone.into_iter()
                .map(|key| Change::delete(element(incarnation, Field::ServerKey, key.as_slice()))),
        );
        let mut dot = None;
        if !changes.is_empty() {
            dot = self.write(&gv(), changes)?;
            self.gv_changed = true;
        }
        self.answer_asked(asked, dot);
        Ok(())
    }

    /// Who asked for the key hears when it is on record at a second server, if there is one.
    fn answer_asked(&mut self, asked: Vec<(ReplyTo, KeyWait)>, dot: Option<Stamp>) {
        for (to, _) in asked {
            let written = Written {
                stamp: dot,
                copies: 1,
                seen: Vec::new(),
            };
            let then = Then::Written(to, written);
            match dot {
                Some(dot) => self.when_copied(gv(), dot, then),
                None => self.copied(then, 1),
            }
        }
    }

    /// Whether whoever is waited for knows the new key.
    fn may_use(&mut self, next: &[u8], row: KeyRow) -> bool {
        let run_ms = self.now.mono_ms.saturating_sub(self.started_ms);
        let waited_ms = self.now.wall_ms.saturating_sub(row.since_ms);
        let (lacking, absent) = self.lacking(next);
        for server in &lacking {
            self.offer(server, &gv());
        }
        let announced = match row.wait {
            KeyWait::Everybody => waited_ms >= self.config.times.key_notice_ms,
            KeyWait::Servers | KeyWait::Nobody => true,
        };
        let waited = match row.wait {
            KeyWait::Everybody | KeyWait::Servers => {
                waited_ms >= self.config.times.key_absent_ms && run_ms >= RUN_MS
            }
            KeyWait::Nobody => true,
        };
        run_ms >= SETTLED_MS && announced && lacking.is_empty() && (waited || absent.is_empty())
    }

    /// The other servers that are not known to have a key's row on disk: those that are up, and the rest.
    fn lacking(&self, key: &[u8]) -> (Vec<ServerName>, Vec<ServerName>) {
        let dot = self.keys_entry().and_then(|entry| {
            let key = element(entry.incarnation, Field::ServerKey, key);
            let database = self.database(&RegistryName::gv())?;
            Some(database.cell(&key)?.dot)
        });
        let have = self.spaces.get(&gv()).map(|space| &space.have);
        let has = |server: &ServerName| {
            let have = have.and_then(|have| have.get(server));
            dot.zip(have).is_some_and(|(dot, have)| have.covers(dot))
        };
        self.servers
            .keys()
            .filter(|server| **server != self.config.server && !has(server))
            .cloned()
            .partition(|server| self.is_up(server))
    }
}

/// All rows of a server's entry; one that can't be read is as good as an old key's.
fn key_rows(entry: &Entry<'_>) -> BTreeMap<Vec<u8>, KeyRow> {
    let old = KeyRow {
        stage: Stage::Former,
        since_ms: 0,
        wait: KeyWait::Everybody,
    };
    entry
        .list(Field::ServerKey, None)
        .map(|(key, value)| (key.to_vec(), codec::decode(value).unwrap_or(old)))
        .collect()
}
