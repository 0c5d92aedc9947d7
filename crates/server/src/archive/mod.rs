//! The archive: where bodies go that are old or large, and whence they come back when somebody reads them.
//!
//! A folder, or a service that speaks S3. Must never give out a body whose digest is wrong, never hold up anything but
//! the reading of what is there, and never say that a body is gone because the archive does not answer. Credentials
//! are read from a file or the environment, and printed nowhere.

mod mover;
mod place;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use grapevine_model::{BodyInfo, ErrorKind, MessageId, Refusal};
use grapevine_store::{ArchivedBody, BodyReader};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::body_source::{BodySource, REMOTE_CHUNKS_MAX, blocking};

pub(crate) use mover::move_bodies;

/// An object is begun to be read, or is removed, within this. A person waits for the first.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// And goes on within this.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// An object of the largest size is written within this, or its way is begun again later.
const WRITE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Bodies read from the archive at one time: one that answers slowly must not gather readers without end.
const READERS_MAX: usize = 64;
/// What of a body is in memory while it is written: the least that S3 takes as a part is 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// The archive of a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn ObjectStore>,
    /// This server's own part: no other one reads, writes or removes there.
    prefix: Path,
    readers: Arc<Semaphore>,
    state: Mutex<State>,
    wrong: AtomicU64,
}

#[derive(Default)]
struct State {
    away_since: Option<Instant>,
    why: String,
}

/// Why an object could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The archive does not answer, or refuses.
    #[error("the archive does not answer as it should: {0}")]
    Away(String),
    /// It says that there is no such object.
    #[error("the archive says that it has no such object")]
    Missing,
    /// What came back is not what was brought there.
    #[error("the archive gives other octets than it was given")]
    Wrong,
    /// This server's own disk.
    #[error("{0}")]
    Disk(String),
}

impl Archive {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                prefix,
                readers: Arc::new(Semaphore::new(READERS_MAX)),
                state: Mutex::default(),
                wrong: AtomicU64::new(0),
            }),
        }
    }

    /// What a person should know of it, if anything.
    pub(crate) fn alarm(&self) -> Option<String> {
        let state = self.shared.state();
        if let Some(since) = state.away_since {
            let minutes = since.elapsed().as_secs() / 60;
            return Some(format!(
                "the archive has not answered for {minutes} min: what is there can't be read now ({})",
                state.why
            ));
        }
        drop(state);
        match self.wrong() {
            0 => None,
            wrong => Some(format!(
                "the archive has {wrong} times given other octets than it was given, or nothing; none were served"
            )),
        }
    }

    /// How often it gave something else than it was given, or nothing, since this server's start.
    pub(crate) fn wrong(&self) -> u64 {
        self.shared.wrong.load(Ordering::Relaxed)
    }

    /// Opens a body that is there.
    ///
    /// # Errors
    /// It can't be read now: never that it is gone.
    pub(crate) async fn read(
        &self,
        message: MessageId,
        body: ArchivedBody,
    ) -> Result<BodySource, Refusal> {
        let Ok(permit) = Arc::clone(&self.shared.readers).try_acquire_owned() else {
            return Err(Refusal::unavailable(
                "too many messages are being read from the archive; try again in a moment",
            ));
        };
        let mut object = match self.find(&body.object).await {
            Ok(object) => object,
            Err(error) => {
                self.note(message, &error);
                return Err(not_now(&error));
            }
        };
        metrics::counter!("grapevine_archive_reads_total").increment(1);
        let info = BodyInfo {
            len: body.len_bytes,
            digest: body.digest,
        };
        let (sender, chunks) = mpsc::channel(REMOTE_CHUNKS_MAX);
        let archive = self.clone();
        tokio::spawn(async move {
            let permit: OwnedSemaphorePermit = permit;
            let checked = check(&mut object, info, |chunk| sender.send(Ok(chunk))).await;
            if let Err(error) = checked {
                archive.note(message, &error);
                // The reader may have gone away.
                let _ = sender.send(Err(not_now(&error))).await;
            }
            drop(permit);
        });
        Ok(BodySource::remote(info, chunks))
    }

    /// Brings a body there, and reads it back.
    pub(crate) async fn bring(
        &self,
        reader: BodyReader,
        body: &ArchivedBody,
    ) -> Result<(), ArchiveError> {
        let written = tokio::time::timeout(WRITE_LIMIT, self.write(reader, &body.object)).await;
        written.map_err(|_| ArchiveError::Away("a body was not written in time".into()))??;
        // Not by its word: by its octets.
        let mut object = self.find(&body.object).await?;
        let info = BodyInfo {
            len: body.len_bytes,
            digest: body.digest,
        };
        check(&mut object, info, |_| std::future::ready(Ok::<_, ()>(()))).await
    }

    /// Removes an object, if it is there.
    pub(crate) async fn remove(&self, object: &str) -> Result<(), ArchiveError> {
        let path = self.path(object);
        match tokio::time::timeout(OPEN_LIMIT, self.shared.store.delete(&path)).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(away(&error)),
            Err(_) => Err(ArchiveError::Away("no answer in time".into())),
        }
    }

    /// It has answered as it should.
    pub(crate) fn answers(&self) {
        let mut state = self.shared.state();
        if state.away_since.take().is_some() {
            tracing::info!("the archive answers again");
        }
    }

    /// It has not; told once.
    pub(crate) fn is_away(&self, error: &ArchiveError) {
        let mut state = self.shared.state();
        state.why = error.to_string();
        if state.away_since.is_none() {
            state.away_since = Some(Instant::now());
            tracing::error!(%error, "the archive can't be used; what is there can't be read now, everything else goes on");
        }
    }

    fn note(&self, message: MessageId, error: &ArchiveError) {
        match error {
            ArchiveError::Away(_) => self.is_away(error),
            ArchiveError::Wrong | ArchiveError::Missing => {
                self.shared.wrong.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("grapevine_archive_wrong_total").increment(1);
                tracing::error!(%message, %error, "a body in the archive can't be read; it is not served");
            }
            ArchiveError::Disk(_) => tracing::error!(%message, %error, "a body can't be read"),
        }
    }

    fn path(&self, object: &str) -> Path {
        object
            .split('/')
            .fold(self.shared.prefix.clone(), |path, part| path.join(part))
    }

    async fn find(&self, object: &str) -> Result<Object, ArchiveError> {
        let path = self.path(object);
        match tokio::time::timeout(OPEN_LIMIT, self.shared.store.get(&path)).await {
            Ok(Ok(found)) => {
                self.answers();
                Ok(found.into_stream())
            }
            Ok(Err(object_store::Error::NotFound { .. })) => Err(ArchiveError::Missing),
            Ok(Err(error)) => Err(away(&error)),
            Err(_) => Err(ArchiveError::Away("no answer in time".into())),
        }
    }

    async fn write(&self, reader: BodyReader, object: &str) -> Result<(), ArchiveError> {
        let store = Arc::clone(&self.shared.store);
        let mut writer = BufWriter::with_capacity(store, self.path(object), PART_BYTES);
        let mut source = BodySource::local(reader);
        let written = async {
            while let Some(chunk) = source.chunk().await.map_err(disk)? {
                writer.put(chunk).await.map_err(|error| away(&error))?;
            }
            Ok(())
        };
        if let Err(error) = written.await {
            // What was begun is of no use, and is named in the store's rubbish anyway.
            let _ = writer.abort().await;
            return Err(error);
        }
        let closed = writer.shutdown().await;
        closed.map_err(|error| ArchiveError::Away(short(&error.to_string())))
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that holds it can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Object = futures_util::stream::BoxStream<'static, object_store::Result<Bytes>>;

/// Reads an object to its end, hands its chunks on, the last one only when the digest of all is right.
async fn check<E, F: Future<Output = Result<(), E>>>(
    object: &mut Object,
    body: BodyInfo,
    mut give: impl FnMut(Bytes) -> F,
) -> Result<(), ArchiveError> {
    let mut hasher = blake3::Hasher::new();
    let mut left = body.len;
    if left == 0 && *hasher.finalize().as_bytes() != body.digest {
        return Err(ArchiveError::Wrong);
    }
    while left > 0 {
        let chunk = match tokio::time::timeout(SILENCE_LIMIT, object.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => return Err(away(&error)),
            Ok(None) => return Err(ArchiveError::Wrong),
            Err(_) => return Err(ArchiveError::Away("it stopped in the middle".into())),
        };
        hasher.update(&chunk);
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or(ArchiveError::Wrong)?;
        if left == 0 && *hasher.finalize().as_bytes() != body.digest {
            return Err(ArchiveError::Wrong);
        }
        if give(chunk).await.is_err() {
            // Nobody reads it any more.
            return Ok(());
        }
    }
    Ok(())
}

/// Never with the request's headers: they have a signature.
fn away(error: &object_store::Error) -> ArchiveError {
    ArchiveError::Away(short(&error.to_string()))
}

fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn disk(refusal: Refusal) -> ArchiveError {
    ArchiveError::Disk(refusal.why)
}

fn not_now(error: &ArchiveError) -> Refusal {
    Refusal::new(
        ErrorKind::Unavailable,
        format!("the message is in the archive and can't be read now: {error}; try again later"),
    )
}

/// Today, in days since 1970.
pub(crate) fn day_of(wall_ms: u64) -> u32 {
    u32::try_from(wall_ms / (24 * 3_600_000)).unwrap_or(u32::MAX)
}

/// Runs a step of the store's away from the async threads.
async fn step<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    blocking(work).await.ok()
}

#[cfg(test)]
mod tests;
