//! The servers as this user sees them: nearest first, failed ones last.
//!
//! It only orders; it never leaves a server out, since a wrong guess about a
//! server's health may cost time and must not cost an answer.

use std::time::{Duration, Instant};

use grapevine_model::{Door, ServerInfo, ServerName};

use crate::remembered::{KnownGrapevine, KnownServer};
use crate::trust::ServerKey;

/// A server that failed is tried last for so long; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A new measure counts one part, what was known before counts three.
const LATENCY_WEIGHT: u32 = 4;
/// Doublings of the pause after which it surely is the longest.
const MAX_DOUBLINGS: u32 = 6;

/// Other addresses that are remembered of a server: the oldest is forgotten for a new one.
const MAX_OTHER_ADDRESSES: usize = 8;

/// A server with how it has been behaving.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub(crate) name: ServerName,
    pub(crate) key: ServerKey,
    /// Other keys that are its own: the next one, and those before.
    more_keys: Vec<ServerKey>,
    pub(crate) address: String,
    also_at: Vec<String>,
    latency: Option<Duration>,
    /// Failures in a row.
    failures: u32,
    /// Due to be looked at again then; none while it is well.
    pause_until: Option<Instant>,
}

impl Ranked {
    /// All keys that it may prove, the one in use first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ServerKey> {
        std::iter::once(&self.key).chain(&self.more_keys)
    }

    /// Whether a key is its own.
    pub(crate) fn has(&self, key: &ServerKey) -> bool {
        self.keys().any(|own| own == key)
    }
}

/// All servers of one Grapevine.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    servers: Vec<Ranked>,
}

impl Roster {
    /// From what is remembered.
    pub(crate) fn from_known(known: &KnownGrapevine) -> Self {
        Self {
            servers: known
                .servers
                .iter()
                .map(|server| Ranked {
                    name: server.name.clone(),
                    key: server.key.clone(),
                    more_keys: server.more_keys.clone(),
                    address: server.address.clone(),
                    also_at: server.also_at.clone(),
                    latency: server.latency_us.map(Duration::from_micros),
                    failures: 0,
                    pause_until: None,
                })
                .collect(),
        }
    }

    /// What to remember.
    pub(crate) fn to_known(&self) -> KnownGrapevine {
        KnownGrapevine {
            servers: self
                .servers
                .iter()
                .map(|server| KnownServer {
                    name: server.name.clone(),
                    key: server.key.clone(),
                    more_keys: server.more_keys.clone(),
                    address: server.address.clone(),
                    also_at: server.also_at.clone(),
                    latency_us: server
                        .latency
                        .and_then(|latency| u64::try_from(latency.as_micros()).ok()),
                })
                .collect(),
        }
    }

    /// Takes over what a trusted server says the servers are. An empty or doorless list is not
    /// believed: somebody has just answered.
    pub(crate) fn replace(&mut self, infos: &[ServerInfo]) -> bool {
        let told: Vec<Ranked> = infos
            .iter()
            .filter_map(|info| {
                let address = info.doors.get(&Door::Rpc)?.clone();
                let key = ServerKey::new(info.public_key.clone());
                let mut server = Ranked {
                    name: info.name.clone(),
                    key,
                    more_keys: info.more_keys.iter().cloned().map(ServerKey::new).collect(),
                    address,
                    also_at: Vec::new(),
                    latency: None,
                    failures: 0,
                    pause_until: None,
                };
                let known = |known: &&Ranked| known.keys().any(|key| server.has(key));
                if let Some(known) = self.servers.iter().find(known) {
                    server.also_at = known.also_at.clone();
                    server.latency = known.latency;
                    server.failures = known.failures;
                    server.pause_until = known.pause_until;
                }
                Some(server)
            })
            .collect();
        let believed = !told.is_empty();
        if believed {
            self.servers = told;
        }
        believed
    }

    /// All of them, in the order in which to try: the well ones nearest first, those never
    /// measured after them, then the failed ones, the one that failed least first.
    pub(crate) fn in_order(&self) -> Vec<Ranked> {
        let mut servers = self.servers.clone();
        servers.sort_by_key(|server| {
            (
                server.failures,
                server.latency.unwrap_or(Duration::MAX),
                server.name.clone(),
            )
        });
        servers
    }

    /// Failed servers whose pause is over; each is given once, until it fails again.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Ranked> {
        let mut due = Vec::new();
        for server in &mut self.servers {
            if server.pause_until.is_some_and(|until| until <= now) {
                server.pause_until = now.checked_add(LONGEST_PAUSE);
                due.push(server.clone());
            }
        }
        due
    }

    /// It was met at this address, which need not be the one that the servers name.
    pub(crate) fn met_at(&mut self, key: &ServerKey, address: &str) {
        if let Some(server) = self.find(key)
            && server.address != address
            && !server.also_at.iter().any(|other| other == address)
        {
            server.also_at.push(address.to_owned());
            let over = server.also_at.len().saturating_sub(MAX_OTHER_ADDRESSES);
            server.also_at.drain(..over);
        }
    }

    /// It answered, after so long.
    pub(crate) fn well(&mut self, key: &ServerKey, latency: Option<Duration>) {
        if let Some(server) = self.find(key) {
            server.failures = 0;
            server.pause_until = None;
            if let Some(new) = latency {
                server.latency = Some(match server.latency {
                    Some(old) => (old * (LATENCY_WEIGHT - 1)).saturating_add(new) / LATENCY_WEIGHT,
                    None => new,
                });
            }
        }
    }

    /// It did not answer, or not usefully.
    pub(crate) fn failed(&mut self, key: &ServerKey, now: Instant) {
        if let Some(server) = self.find(key) {
            let doublings = server.failures.min(MAX_DOUBLINGS);
            server.failures = server.failures.saturating_add(1);
            let pause = FIRST_PAUSE
                .saturating_mul(1 << doublings)
                .min(LONGEST_PAUSE);
            server.pause_until = now.checked_add(pause);
        }
    }

    fn find(&mut self, key: &ServerKey) -> Option<&mut Ranked> {
        self.servers.iter_mut().find(|server| server.has(key))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use grapevine_model::{OriginId, ServerRole};

    fn info(name: &str, key: u8) -> ServerInfo {
        ServerInfo {
            name: name.parse().unwrap(),
            public_key: vec![key],
            more_keys: Vec::new(),
            origin: OriginId(u64::from(key)),
            role: ServerRole::Full,
            doors: [(Door::Rpc, format!("{name}:1"))].into(),
        }
    }

    fn roster() -> Roster {
        let mut roster = Roster::default();
        assert!(roster.replace(&[info("s1", 1), info("s2", 2), info("s3", 3)]));
        roster
    }

    #[test]
    fn a_server_that_changes_its_key_is_the_same_one() {
        let (mut roster, now) = (roster(), Instant::now());
        let named = |present, more: &[u8]| ServerInfo {
            more_keys: more.iter().map(|key| vec![*key]).collect(),
            ..info("s1", present)
        };
        roster.well(&key(1), Some(Duration::from_millis(3)));
        assert!(roster.replace(&[named(1, &[9]), info("s2", 2)]));
        let first = roster.in_order().remove(0);
        assert!(first.has(&key(1)) && first.has(&key(9)) && first.latency.is_some());
        assert!(roster.replace(&[named(9, &[1]), info("s2", 2)]));
        roster.failed(&key(1), now);
        assert_eq!(order(&roster), ["s2", "s1"], "known by either key");
        let known = roster.to_known();
        let again = Roster::from_known(&known).in_order();
        assert!(
            again
                .iter()
                .any(|server| server.has(&key(9)) && server.has(&key(1)))
        );
        assert!(roster.replace(&[named(9, &[]), info("s2", 2)]));
        assert!(!roster.in_order().iter().any(|server| server.has(&key(1))));
    }

    fn order(roster: &Roster) -> Vec<String> {
        let names = roster.in_order().into_iter();
        names.map(|server| server.name.to_string()).collect()
    }

    fn key(key: u8) -> ServerKey {
        ServerKey::new(vec![key])
    }

    #[test]
    fn nearest_comes_first_and_failed_comes_last_but_never_drops_out() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.well(&key(2), Some(Duration::from_millis(1)));
        roster.well(&key(1), Some(Duration::from_millis(9)));
        assert_eq!(order(&roster), ["s2", "s1", "s3"]);
        roster.failed(&key(2), now);
        assert_eq!(order(&roster), ["s1", "s3", "s2"]);
        roster.well(&key(2), None);
        assert_eq!(order(&roster), ["s2", "s1", "s3"]);
    }

    #[test]
    fn a_failed_server_is_looked_at_again_after_a_pause_that_doubles() {
        let (mut roster, now) = (roster(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        roster.failed(&key(1), now);
        assert!(roster.due(after(999)).is_empty());
        assert_eq!(roster.due(after(1_000)).len(), 1);
        assert!(roster.due(after(1_001)).is_empty(), "looked at twice");
        roster.failed(&key(1), now);
        assert!(roster.due(after(1_999)).is_empty());
        assert_eq!(roster.due(after(2_000)).len(), 1);
        for _ in 0..100 {
            roster.failed(&key(1), now);
        }
        assert_eq!(roster.due(after(60_000)).len(), 1);
    }

    #[test]
    fn a_new_list_keeps_what_is_known_of_the_same_keys_and_an_empty_one_is_not_believed() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.failed(&key(1), now);
        assert!(!roster.replace(&[]));
        assert!(roster.replace(&[info("s1", 1), info("s2", 9)]));
        assert_eq!(order(&roster), ["s2", "s1"]);
        roster.met_at(&key(1), "localhost:1");
        roster.met_at(&key(1), "s1:1");
        assert!(roster.replace(&[info("s1", 1), info("s2", 9)]));
        let known = roster.to_known();
        assert_eq!(known.servers.len(), 2);
        assert!(known.has_address("localhost:1"));
        assert_eq!(known.servers.first().unwrap().also_at, ["localhost:1"]);
        assert_eq!(order(&Roster::from_known(&known)), ["s1", "s2"]);
    }
}
