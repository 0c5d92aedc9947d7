//! What a server is told when it starts: who it is, its limits in time, and how its folder began.

use grapevine_model::{Name, ServerInfo, ServerName, Welcome};
use serde::{Deserialize, Serialize};

/// Rows of the store that work without a deadline looks at in one turn: some milliseconds, so that
/// nobody who asks something meanwhile notices.
pub const ROWS_A_TURN: usize = 500;
/// Groups that one closure may visit at one server: some tens of milliseconds, once, as what it reaches is remembered.
pub const CLOSURE_GROUPS: usize = 100_000;
use crate::delivery::routes::Routes;

/// Who a server is and how patient.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name, `S@gv`.
    pub server: ServerName,
    /// The server as it now is (key, doors): its entry in `gv` is kept equal to it.
    pub info: ServerInfo,
    /// How patient it is.
    pub times: Times,
    /// What an accepted message or update needs when no other server can be reached.
    pub alone: Alone,
    /// Rows of the store that long work looks at in one turn: `ROWS_A_TURN`, but in simulations.
    pub rows_a_turn: usize,
    /// Groups that one closure may visit here: `CLOSURE_GROUPS`, but in tests.
    pub closure_groups: usize,
    /// Where mail for other systems goes.
    pub routes: Routes,
    /// Mistakes planted for tests that must find them.
    #[cfg(feature = "planted-faults")]
    pub planted: Option<crate::planted::Planted>,
}

impl Config {
    /// A server as it is in earnest: patient as by default, no mistakes planted.
    pub fn new(info: ServerInfo, alone: Alone) -> Self {
        Self {
            server: info.name.clone(),
            info,
            times: Times::default(),
            alone,
            rows_a_turn: ROWS_A_TURN,
            closure_groups: CLOSURE_GROUPS,
            routes: Routes::default(),
            #[cfg(feature = "planted-faults")]
            planted: None,
        }
    }
}

/// What to do with a message when no second disk can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alone {
    /// Accept it with one copy, say so, and make the second as soon as possible.
    Accept,
    /// Refuse it for now.
    Refuse,
}

/// All time-outs and periods, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between two beats to each server.
    pub beat_ms: u64,
    /// Without a beat for so long, a server counts as down.
    pub silent_ms: u64,
    /// A deputy takes over when the custodian has been silent for so long.
    pub take_over_ms: u64,
    /// A yes waits so long for its second disk.
    pub second_copy_ms: u64,
    /// A question to another server is answered within this, or the next one is asked.
    pub ask_ms: u64,
    /// A request waits so long for what its client has seen, before it goes to another holder.
    pub news_ms: u64,
    /// What another registry's holder said of a membership is believed so long.
    pub closure_ms: u64,
    /// The first pause before a recipient is tried again; it doubles.
    pub retry_first_ms: u64,
    /// The longest pause.
    pub retry_most_ms: u64,
    /// The first pause before another mail system, or a recipient there, is tried again; it doubles.
    pub outside_first_ms: u64,
    /// The longest such pause.
    pub outside_most_ms: u64,
    /// A message is reported as undeliverable after so long.
    pub give_up_ms: u64,
    /// Its sender hears after so long that it waits; 0 for never.
    pub delay_notice_ms: u64,
    /// A recipient whose inbox is full is waited for so long.
    pub over_quota_ms: u64,
    /// A remembered answer about a name serves so long.
    pub hint_ms: u64,
    /// A stamp from another server may be so far ahead of this clock.
    pub drift_ms: u64,
    /// Every space is compared with each partner's copy once in so long.
    pub compare_ms: u64,
    /// A comparison that has not gone on for so long is given up.
    pub compare_silent_ms: u64,
    /// A ticket serves at most so long.
    pub ticket_ms: u64,
    /// A server's key that has been used so long is replaced; 0 for never.
    pub key_ms: u64,
    /// A new key is announced so long before it is used: clients learn it from any server.
    pub key_notice_ms: u64,
    /// A server that can't be reached is waited for so long before a key that it does not know is used.
    pub key_absent_ms: u64,
    /// What became of a message is remembered so long.
    pub history_ms: u64,
    /// A holder that is silent for so long is not waited for any more when deletions are forgotten;
    /// when it comes back it fetches its spaces anew.
    pub retention_ms: u64,
    /// A deletion is kept at least so long: two rounds of comparing, so that a disk that brings back an
    /// old value unnoticed is found out while the deletion is still known.
    pub tombstone_ms: u64,
    /// A copy of a message is kept so long after its delivery; 0 for not at all.
    pub retain_ms: u64,
    /// A body that nothing refers to is removed after so long.
    pub orphan_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            beat_ms: 1_000,
            silent_ms: 3_500,
            take_over_ms: 15_000,
            second_copy_ms: 2_000,
            ask_ms: 2_000,
            news_ms: 1_000,
            closure_ms: 2_000,
            retry_first_ms: 500,
            retry_most_ms: 15 * 60_000,
            outside_first_ms: 60_000,
            outside_most_ms: 3_600_000,
            give_up_ms: 5 * 24 * 3_600_000,
            delay_notice_ms: 4 * 3_600_000,
            over_quota_ms: 24 * 3_600_000,
            hint_ms: 60_000,
            drift_ms: 2 * 3_600_000,
            compare_ms: 6 * 3_600_000,
            compare_silent_ms: 30_000,
            ticket_ms: 8 * 3_600_000,
            key_ms: 90 * 24 * 3_600_000,
            key_notice_ms: 7 * 24 * 3_600_000,
            key_absent_ms: 90 * 24 * 3_600_000,
            history_ms: 2 * 24 * 3_600_000,
            retention_ms: 30 * 24 * 3_600_000,
            tombstone_ms: 12 * 3_600_000,
            retain_ms: 2 * 24 * 3_600_000,
            orphan_ms: 10 * 60_000,
        }
    }
}

/// How the data folder that a server starts with came to be.
#[derive(Debug, Clone)]
pub enum Start {
    /// It has one: go on.
    Resume,
    /// It founds a new Grapevine: `gv` and `ms` with itself in them.
    Found {
        /// The owners of `gv@gv`, to be created later.
        owners: Vec<Name>,
    },
    /// It has one, brought back from a backup: go on with it under a new origin, since the old
    /// one may have written what this folder has forgotten.
    Restored,
    /// It was let in by a token; it fetches everything from the servers named.
    Join(Welcome),
}
