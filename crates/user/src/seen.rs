//! What this person has seen done, by registry: sent along, so that whichever server answers next
//! answers with at least that.
//!
//! It must never grow without bound, and never ask for what can't come: a token is forgotten when it
//! is `KEPT` old, or when the server that wrote is no longer of the Grapevine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_model::{Hlc, MAX_SEEN, OriginId, RegistryName, Seen, ServerInfo, Stamp};

/// Tokens are sent for so long. By then the holders have agreed, or have been parted for a day: then
/// an older answer, which says that it is old, is better than none.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// The newest write seen, of each registry and each writing disk.
#[derive(Debug, Default)]
pub(crate) struct SeenBefore {
    newest: BTreeMap<(RegistryName, OriginId), Hlc>,
    /// Remembered from an earlier run: perhaps of another Grapevine.
    remembered: BTreeSet<Seen>,
}

impl SeenBefore {
    /// A change is done.
    pub(crate) fn note(&mut self, seen: &[Seen]) {
        for Seen { registry, stamp } in seen {
            let newest = self
                .newest
                .entry((registry.clone(), stamp.origin))
                .or_default();
            *newest = stamp.time.max(*newest);
        }
    }

    /// From an earlier run.
    pub(crate) fn remember(&mut self, seen: impl IntoIterator<Item = Seen>) {
        self.remembered.extend(seen);
    }

    /// The servers are these: what is remembered of their disks is of this Grapevine.
    pub(crate) fn learn(&mut self, infos: &[ServerInfo]) {
        let origins: BTreeSet<OriginId> = infos.iter().map(|info| info.origin).collect();
        let mine: Vec<Seen> = (self.remembered.iter())
            .filter(|seen| origins.contains(&seen.stamp.origin))
            .cloned()
            .collect();
        self.note(&mine);
        self.remembered.retain(|seen| !mine.contains(seen));
    }

    /// What to send along: the newest, and no more than a request may carry.
    pub(crate) fn tokens(&mut self, wall_ms: u64) -> Vec<Seen> {
        let kept_ms = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = wall_ms.saturating_sub(kept_ms);
        self.newest.retain(|_, time| time.wall_ms() >= oldest_ms);
        let mut tokens: Vec<Seen> = (self.newest.iter())
            .map(|((registry, origin), time)| Seen {
                registry: registry.clone(),
                stamp: Stamp {
                    time: *time,
                    origin: *origin,
                },
            })
            .collect();
        tokens.sort_by_key(|seen| std::cmp::Reverse(seen.stamp.time));
        tokens.truncate(MAX_SEEN);
        tokens
    }

    /// It has seen nothing.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(registry: &str, ms: u64, origin: u64) -> Seen {
        Seen {
            registry: registry.parse().unwrap(),
            stamp: Stamp {
                time: Hlc::at_ms(ms),
                origin: OriginId(origin),
            },
        }
    }

    #[test]
    fn the_newest_of_each_disk_is_sent_and_what_is_a_day_old_is_forgotten() {
        let mut before = SeenBefore::default();
        before.note(&[seen("pa", 10, 1), seen("pa", 5, 1), seen("pa", 7, 2)]);
        assert_eq!(before.tokens(20), [seen("pa", 10, 1), seen("pa", 7, 2)]);
        let day_ms = 24 * 3_600_000;
        assert_eq!(before.tokens(8 + day_ms), [seen("pa", 10, 1)]);
        let many: Vec<Seen> = (0..200).map(|n| seen("pa", 100 + n, n)).collect();
        before.note(&many);
        let tokens = before.tokens(20);
        assert_eq!(tokens.len(), MAX_SEEN);
        assert_eq!(tokens[0], seen("pa", 299, 199));
    }
}
