//! Connections that wait for another message to the same machine.
//!
//! Must never keep one for long (it takes a place of somebody else's server), nor more of them than a few.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Place;
use super::connection::Connection;

/// A queue that goes on does so within this.
const KEPT: Duration = Duration::from_secs(5);
/// All together: each is a file.
const MOST_KEPT: usize = 100;

type Key = (usize, Place);

/// The connections.
#[derive(Clone, Default)]
pub(super) struct Pool {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    by_key: BTreeMap<(Key, u64), Connection>,
}

impl Pool {
    /// One to this machine, if there is one.
    pub(super) fn take(&self, key: &Key) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (key.clone(), 0);
        let found = kept.by_key.range(from..).next()?.0.clone();
        if found.0 != *key {
            return None;
        }
        kept.by_key.remove(&found)
    }

    /// Keeps one for a moment, then ends it.
    pub(super) fn keep(&self, key: Key, connection: Connection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_key.len() >= MOST_KEPT {
            drop(kept);
            tokio::spawn(connection.quit());
            return;
        }
        kept.last += 1;
        let place = (key, kept.last);
        kept.by_key.insert(place.clone(), connection);
        drop(kept);
        let pool = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            if let Some(connection) = pool.remove(&place) {
                connection.quit().await;
            }
        });
    }

    fn remove(&self, place: &(Key, u64)) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_key.remove(place)
    }
}
