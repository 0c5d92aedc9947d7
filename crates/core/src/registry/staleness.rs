//! As of when a holder answers, and whether it may while it is cut off.
//!
//! A holder is cut off when it does not hear a majority of its registry's holders, itself counted:
//! of two that are parted each is, of three that lose one only that one is. Contact counts as kept
//! for `Times::silent_ms` after the last word.

use grapevine_model::{AsOf, Refusal, RegistryName, ServerName, StalePolicy};

use crate::server::Server;

impl Server {
    /// As of when this server reads a registry that it holds.
    pub(crate) fn as_of(&self, registry: &RegistryName) -> Option<AsOf> {
        self.database(registry)?;
        let unheard: Vec<ServerName> = (self.holders(registry).into_iter())
            .filter(|server| *server != self.config.server && !self.is_up(server))
            .collect();
        let ago_ms = self
            .cut_off_mono_ms(registry)
            .map(|since| self.now.mono_ms.saturating_sub(since));
        Some(AsOf {
            server: self.config.server.clone(),
            at_ms: self.now.wall_ms,
            cut_off_since_ms: ago_ms.map(|ago| self.now.wall_ms.saturating_sub(ago)),
            unheard,
        })
    }

    /// Since when a majority of the holders is not heard, if that is so.
    fn cut_off_mono_ms(&self, registry: &RegistryName) -> Option<u64> {
        let holders = self.holders(registry);
        // So many others and this one are a majority.
        let needed = holders.len() / 2;
        let others = || holders.iter().filter(|s| **s != self.config.server);
        if others().filter(|s| self.is_up(s)).count() >= needed {
            return None;
        }
        let mut heard: Vec<u64> = others()
            .map(|server| {
                let heard_ms = self.peers.get(server).and_then(|peer| peer.heard_ms);
                heard_ms.unwrap_or(self.started_ms)
            })
            .collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        heard.get(needed.checked_sub(1)?).copied()
    }

    /// Whether a registry held here may be read now, by its staleness policy.
    pub(crate) fn may_read(&self, registry: &RegistryName) -> Result<(), Refusal> {
        let limit_ms = match self.policy(registry).stale {
            StalePolicy::Answer => return Ok(()),
            StalePolicy::AnswerForMs(limit_ms) => limit_ms,
            StalePolicy::Refuse => 0,
        };
        match self.cut_off_mono_ms(registry) {
            Some(since) if self.now.mono_ms.saturating_sub(since) >= limit_ms => {
                Err(Refusal::unavailable(format!(
                    "this server is cut off from most holders of {registry}, whose policy is not to answer then; try another server, or later"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}
