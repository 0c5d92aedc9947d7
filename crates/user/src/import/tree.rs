//! mbox files in a folder, one for each folder of a mailbox, as an export writes them.
//!
//! `Archive.2024.mbox` is `Archive/2024`; what the export noted of a folder counts more than its file's name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use grapevine_model::{FolderPath, SpecialUse};

use super::notes::{self, MAILBOX_FILE, MailboxNotes};
use super::{Found, Mbox, names};
use crate::transform::Transform;

/// The end of their names.
pub(crate) const MBOX_END: &str = ".mbox";

/// The messages of all mbox files in a folder.
pub struct MboxTree {
    files: std::vec::IntoIter<(PathBuf, FolderPath)>,
    open: Option<Mbox>,
    transform: Transform,
    /// The folders that are there, which may be empty.
    pub made: Vec<(FolderPath, Option<SpecialUse>)>,
    /// Paths that were subscribed to.
    pub subscribed: Vec<FolderPath>,
}

impl MboxTree {
    /// Lists a folder; it must hold such a file.
    pub fn open(dir: impl AsRef<Path>, transform: Transform) -> io::Result<Self> {
        let dir = dir.as_ref();
        let notes: Option<MailboxNotes> = notes::read(&dir.join(MAILBOX_FILE))?;
        let notes = notes.unwrap_or_default();
        let (mut files, mut made) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some(stem) = name
                .strip_suffix(MBOX_END)
                .filter(|stem| !stem.starts_with('.'))
            else {
                continue;
            };
            let noted = notes.folders.get(stem);
            let path = match noted {
                Some(noted) => noted.path.clone(),
                None if names::is_inbox(stem) => FolderPath::inbox(),
                None => names::from_file_name(stem),
            };
            made.push((path.clone(), noted.and_then(|noted| noted.special_use)));
            files.push((entry.path(), path));
        }
        if files.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a folder without mbox files (NAME.mbox); is it a Maildir?",
            ));
        }
        files.sort();
        made.sort();
        Ok(Self {
            files: files.into_iter(),
            open: None,
            transform,
            made,
            subscribed: notes.subscribed,
        })
    }
}

impl Iterator for MboxTree {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.open.as_mut().and_then(Iterator::next) {
                return Some(found);
            }
            let (file, path) = self.files.next()?;
            match Mbox::open(&file, path, self.transform) {
                Ok(mbox) => self.open = Some(mbox),
                Err(error) => {
                    let why = format!("{}: {error}", file.display());
                    return Some(Err(io::Error::new(error.kind(), why)));
                }
            }
        }
    }
}
