//! Bodies on their way in: streamed to disk as they come, hashed as they come, owned by nobody yet.
//!
//! Must never hold more than [`INLINE_BODY_MAX_BYTES`] and a write buffer of a body in memory. What is
//! not adopted by a commit leaves no file behind: dropped, discarded, or cleared when the store next opens.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::index::{BodyRow, Place};

/// Bodies up to this size are kept in the batch that adopts them: one sync for all that wait. Larger ones get a
/// file, whose own sync and folder entry are then the smaller part of their cost.
pub const INLINE_BODY_MAX_BYTES: usize = 64 * 1024;

/// Writes to a spool file are gathered to this size: bodies arrive line by line.
const SPOOL_BUFFER_BYTES: usize = 64 * 1024;

/// A finished body that waits for its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Names it in `Op::AdoptBody` and `Store::discard`. Not meaningful after a restart.
    pub token: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its BLAKE3 digest.
    pub digest: [u8; 32],
}

/// A body being received. Dropped unfinished, it leaves nothing.
pub struct Stage {
    spool: Arc<Spool>,
    token: u64,
    len_bytes: u64,
    hasher: Box<blake3::Hasher>,
    content: Incoming,
}

enum Incoming {
    Memory(Vec<u8>),
    // Writer before file: on drop the last buffer goes out before the file is removed.
    File(BufWriter<File>, SpoolFile),
    /// A write failed, so what is here is not the body.
    Failed,
}

impl Stage {
    /// Appends to the body. After an error the stage is of no more use.
    ///
    /// # Errors
    /// Whatever the file system says; `StorageFull` when the disk is.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.append(bytes);
        if written.is_err() {
            self.content = Incoming::Failed;
            return written;
        }
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the body. A large one is synced here, on the caller's thread: in the committer's, everybody's
    /// commits would wait for one large message to reach the disk.
    ///
    /// # Errors
    /// Whatever the file system says, or that an earlier write failed.
    pub fn finish(mut self) -> io::Result<Staged> {
        let content = match std::mem::replace(&mut self.content, Incoming::Failed) {
            Incoming::Memory(bytes) => StagedContent::Inline(bytes.into()),
            Incoming::File(writer, spool_file) => {
                let file = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                file.sync_data()?;
                StagedContent::File(spool_file)
            }
            Incoming::Failed => {
                return Err(io::Error::other("a part of the body could not be written"));
            }
        };
        let staged = Staged {
            token: self.token,
            len: self.len_bytes,
            digest: *self.hasher.finalize().as_bytes(),
        };
        self.spool.put(StagedBody { staged, content });
        Ok(staged)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.content {
            Incoming::Memory(held) if held.len() + bytes.len() <= INLINE_BODY_MAX_BYTES => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            Incoming::Memory(held) => {
                let held = std::mem::take(held);
                let (file, spool_file) = SpoolFile::create(&self.spool.dir, self.token)?;
                let mut writer = BufWriter::with_capacity(SPOOL_BUFFER_BYTES, file);
                let written = writer
                    .write_all(&held)
                    .and_then(|()| writer.write_all(bytes));
                self.content = Incoming::File(writer, spool_file);
                written
            }
            Incoming::File(writer, _) => writer.write_all(bytes),
            Incoming::Failed => Err(io::Error::other(
                "an earlier part of the body could not be written",
            )),
        }
    }
}

/// All bodies that wait for their commit.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    next_token: AtomicU64,
    waiting: Mutex<HashMap<u64, StagedBody>>,
}

impl Spool {
    pub(crate) fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            dir,
            next_token: AtomicU64::new(1),
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn stage(self: &Arc<Self>) -> Stage {
        Stage {
            spool: Arc::clone(self),
            token: self.next_token.fetch_add(1, Ordering::Relaxed),
            len_bytes: 0,
            hasher: Box::default(),
            content: Incoming::Memory(Vec::new()),
        }
    }

    pub(crate) fn put(&self, body: StagedBody) {
        self.waiting().insert(body.staged.token, body);
    }

    /// Takes a body out: it is the caller's, and nobody else can discard it any more.
    pub(crate) fn take(&self, token: u64) -> Option<StagedBody> {
        self.waiting().remove(&token)
    }

    /// Gives a look at a body that waits.
    pub(crate) fn peek<T>(&self, token: u64, look: impl FnOnce(&StagedBody) -> T) -> Option<T> {
        self.waiting().get(&token).map(look)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, StagedBody>> {
        // Nothing that holds it can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A finished body and what it holds. Dropped, its file is removed.
#[derive(Debug)]
pub(crate) struct StagedBody {
    pub(crate) staged: Staged,
    pub(crate) content: StagedContent,
}

/// Where a staged body is.
#[derive(Debug)]
pub(crate) enum StagedContent {
    /// In memory.
    Inline(Arc<[u8]>),
    /// In a file that was synced.
    File(SpoolFile),
}

impl StagedBody {
    /// The index row it will have, on that day.
    pub(crate) fn row(&self, day: u32) -> BodyRow {
        BodyRow {
            place: match self.content {
                StagedContent::Inline(_) => Place::Inline,
                StagedContent::File(_) => Place::File,
            },
            len_bytes: self.staged.len,
            digest: self.staged.digest,
            day,
        }
    }
}

/// A file in the spool, removed when dropped.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    path: PathBuf,
}

impl SpoolFile {
    fn create(dir: &Path, token: u64) -> io::Result<(File, Self)> {
        let path = dir.join(format!("{token}.part"));
        let file = File::create_new(&path)?;
        Ok((file, Self { path }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the file to its place, where it is no longer the spool's.
    pub(crate) fn move_to(&self, target: &Path) -> io::Result<()> {
        // The drop that follows finds nothing at the old name.
        fs::rename(&self.path, target)
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "could not remove a file from the spool; the next start will");
            }
            _ => {}
        }
    }
}
