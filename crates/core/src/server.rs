//! `Server`: the state machine that the shell and the simulator drive.

use grapevine_model::Now;

use crate::config::{Config, Start};
use crate::effect::{Effect, Input};
use crate::tables::{Damaged, Tables};

/// One server: registration server and message server.
pub struct Server {
    config: Config,
    tables: Box<dyn Tables + Send>,
}

impl Server {
    /// Starts from what the store has (bounded by the size of the registries held and of the
    /// pending work). `seed` is 32 random bytes.
    pub fn recover(
        config: Config,
        start: Start,
        tables: Box<dyn Tables + Send>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, Damaged> {
        let _ = (start, seed, now);
        Ok(Self { config, tables })
    }

    /// Takes one input. Effects, if any, wait in `poll_effect`; changes wait for `flush`.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input, &self.config, &self.tables);
    }

    /// Does what is due. Call at `next_timeout`, or later.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// When, in monotonic milliseconds, `handle_timeout` wants to be called.
    pub fn next_timeout(&self) -> u64 {
        0
    }

    /// Closes the batch: all changes since the last flush become one commit (group commit: take
    /// many inputs, then flush once).
    pub fn flush(&mut self) {}

    /// The next thing to do. Effects that depend on a change come out after its `Committed`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }
}
