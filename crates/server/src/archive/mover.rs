//! The task that takes bodies to the archive, and rids the archive of what nobody needs.
//!
//! One step after the other, each durable: a kill between two loses nothing (see the store's `archive`). Must never
//! move and remove at the same time: an object that is about to be rubbish may be about to be needed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grapevine_model::ServerName;
use grapevine_store::{ArchiveRule, Body, Candidate, Store};
use tokio_util::sync::CancellationToken;

use super::{Archive, ArchiveError, day_of, place, step};
use crate::clock::wall_ms;
use crate::config_storage::ArchiveConfig;

/// Rows of the index looked at in one go.
const ROWS: usize = 2_000;
/// Between two of these: a walk of a million messages takes some minutes and leaves the disk to others.
const PAUSE: Duration = Duration::from_millis(200);
/// Bodies that are on their way together: they share two commits.
const TOGETHER: usize = 16;
/// Objects removed between two commits.
const REMOVED_TOGETHER: usize = 100;
/// An archive that did not answer is tried again after so long.
const AWAY_PAUSE: Duration = Duration::from_secs(30);
/// An upload that was given up may still end at the service: its object is removed after this.
const STRAY_PAUSE: Duration = Duration::from_secs(15 * 60);

impl Archive {
    /// The archive of this configuration.
    ///
    /// # Errors
    /// One line that says what is wrong; no secret is in it.
    pub(crate) fn open(
        config: &ArchiveConfig,
        server: &ServerName,
        store: &Store,
    ) -> Result<Self, String> {
        let proposed = getrandom::u64().map_err(|error| format!("no random bits: {error}"))?;
        let id = store
            .archive_id(proposed)
            .map_err(|error| error.to_string())?;
        place::open(config, server, id)
    }
}

/// Moves what is old or large, until it is told to stop.
pub(crate) async fn move_bodies(
    archive: Archive,
    store: Arc<Store>,
    config: ArchiveConfig,
    stop: CancellationToken,
) {
    let mover = Mover {
        archive,
        store,
        config,
    };
    let mut strays = Strays::default();
    loop {
        let pause = tokio::select! {
            () = stop.cancelled() => return,
            walked = mover.walk(&mut strays, &stop) => match walked {
                Ok(()) => {
                    Duration::from_secs(mover.config.every_seconds)
                }
                Err(error) => {
                    mover.archive.is_away(&error);
                    AWAY_PAUSE.min(Duration::from_secs(mover.config.every_seconds.max(1)))
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Objects that an upload which was given up may still make.
pub(super) type Strays = BTreeMap<String, Instant>;

pub(super) struct Mover {
    pub(super) archive: Archive,
    pub(super) store: Arc<Store>,
    pub(super) config: ArchiveConfig,
}

impl Mover {
    /// One walk over all bodies.
    pub(super) async fn walk(
        &self,
        strays: &mut Strays,
        stop: &CancellationToken,
    ) -> Result<(), ArchiveError> {
        self.sweep(strays).await?;
        let mut after = None;
        loop {
            let today = day_of(wall_ms());
            self.store.set_today(today);
            let rule = ArchiveRule {
                before_day: match self.config.after_days {
                    0 => today.saturating_add(1),
                    days => today.saturating_sub(days),
                },
                larger_than_bytes: self.config.larger_than_bytes,
            };
            let store = Arc::clone(&self.store);
            let page = step(move || store.archivable(after, ROWS, &rule)).await;
            let page = match page {
                Some(Ok(page)) => page,
                Some(Err(damaged)) => return Err(ArchiveError::Disk(damaged.0)),
                // The server is stopping.
                None => return Ok(()),
            };
            let moved = !page.found.is_empty();
            for together in page.found.chunks(TOGETHER) {
                self.take(together.to_vec(), strays).await?;
            }
            if moved {
                self.sweep(strays).await?;
            }
            after = page.next;
            if after.is_none() || stop.is_cancelled() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes some bodies there. What could not be taken stays here, and is tried with the next walk.
    async fn take(
        &self,
        candidates: Vec<Candidate>,
        strays: &mut Strays,
    ) -> Result<(), ArchiveError> {
        let (store, intended) = (Arc::clone(&self.store), candidates.clone());
        committed(step(move || store.intend_to_archive(intended)).await)?;
        let mut there = Vec::new();
        let mut failed = None;
        for candidate in candidates {
            match self.bring(&candidate).await {
                Ok(()) => {
                    self.archive.answers();
                    there.push(candidate);
                }
                // Dropped meanwhile, or damaged: that is told where it is read.
                Err(ArchiveError::Disk(why)) => {
                    tracing::warn!(message = %candidate.message, why, "a body stays on this disk");
                }
                Err(error) => {
                    strays.insert(candidate.body.object, Instant::now());
                    failed = Some(error);
                    break;
                }
            }
        }
        if !there.is_empty() {
            let moved = there.len() as u64;
            let bytes: u64 = there.iter().map(|c| c.body.len_bytes).sum();
            let store = Arc::clone(&self.store);
            committed(step(move || store.moved_to_archive(there)).await)?;
            metrics::counter!("grapevine_archive_moved_total").increment(moved);
            tracing::debug!(moved, bytes, "bodies have gone to the archive");
        }
        failed.map_or(Ok(()), Err)
    }

    async fn bring(&self, candidate: &Candidate) -> Result<(), ArchiveError> {
        let found = self.store.find_body(candidate.message);
        match found {
            Ok(Some(Body::Here(reader))) if reader.digest() == candidate.body.digest => {
                self.archive.bring(reader, &candidate.body).await
            }
            Ok(Some(_) | None) => Err(ArchiveError::Disk("it has changed meanwhile".into())),
            Err(damaged) => Err(ArchiveError::Disk(damaged.0)),
        }
    }

    /// Removes what nobody needs.
    async fn sweep(&self, strays: &mut Strays) -> Result<(), ArchiveError> {
        strays.retain(|_, since| since.elapsed() < STRAY_PAUSE);
        let mut after: Option<String> = None;
        loop {
            let names = self
                .store
                .archive_rubbish(after.as_deref(), REMOVED_TOGETHER)
                .map_err(|damaged| ArchiveError::Disk(damaged.0))?;
            let Some(last) = names.last().cloned() else {
                return Ok(());
            };
            let mut gone = Vec::new();
            let mut failed = None;
            for name in names {
                if strays.contains_key(&name) {
                    continue;
                }
                let removed = match self.store.is_archived_as(&name) {
                    Ok(true) => Ok(()),
                    Ok(false) => self.archive.remove(&name).await,
                    Err(damaged) => Err(ArchiveError::Disk(damaged.0)),
                };
                match removed {
                    Ok(()) => gone.push(name),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if !gone.is_empty() {
                metrics::counter!("grapevine_archive_removed_total").increment(gone.len() as u64);
                let store = Arc::clone(&self.store);
                committed(step(move || store.removed_from_archive(gone)).await)?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
            after = Some(last);
        }
    }
}

/// A step that is not durable was not made.
fn committed(step: Option<Result<(), grapevine_store::CommitError>>) -> Result<(), ArchiveError> {
    match step {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(ArchiveError::Disk(error.to_string())),
        None => Err(ArchiveError::Disk("this server is stopping".into())),
    }
}
