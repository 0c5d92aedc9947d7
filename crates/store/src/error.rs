//! What can go wrong, sorted by what the caller has to do about it.

use std::io;
use std::path::PathBuf;

/// A store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or this one) has it open. Stop that one first.
    #[error("{} is in use by {}", dir.display(), holder_text(*holder))]
    InUse {
        /// The store's folder.
        dir: PathBuf,
        /// The pid that holds it, where it could be read.
        holder: Option<u32>,
    },
    /// The folder has store files but no format version: not a store, or one that lost its first file.
    #[error("{} has store files but no FORMAT file: it is not a whole Grapevine store", dir.display())]
    NotAStore {
        /// The folder.
        dir: PathBuf,
    },
    /// Written by a newer version of this program, or by another.
    #[error("the store has the format {found:?}, this version reads {supported:?}")]
    UnknownFormat {
        /// What the file says.
        found: String,
        /// What would be read.
        supported: String,
    },
    /// What was acknowledged is not all there. Nothing was thrown away: restore, or replace the server.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The file system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// A batch was not committed. Unless it is `Refused`, whether it will be there after a restart is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk is full. The store takes nothing more until it is opened again with space.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The disk or the engine failed. The store takes nothing more until it is opened again.
    #[error("the store has failed: {0}")]
    Broken(String),
    /// The batch can't be stored; nothing of it was, and the store goes on.
    #[error("the batch was refused: {0}")]
    Refused(String),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl CommitError {
    /// Sorts an input/output error.
    pub(crate) fn from_io(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {error}");
        if is_full(error) {
            Self::Full(text)
        } else {
            Self::Broken(text)
        }
    }
}

/// Whether an error says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// For `map_err`: an [`OpenError::Io`] that says what was tried.
pub(crate) fn open_io(what: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.into();
    move |source| OpenError::Io { what, source }
}

fn holder_text(holder: Option<u32>) -> String {
    match holder {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
