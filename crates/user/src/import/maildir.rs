//! A Maildir and the folders in it: one file a message, in `cur` and `new`.
//!
//! Folders are those of Maildir++ (`.Archive.2024` beside `cur`), or folders within folders. Files are taken in the
//! order of their names, which begin with the second of arrival. `tmp` and names that begin with a dot are left alone.
//! Nothing is written: all stays as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use grapevine_model::{Flag, FolderPath, MessageId, SpecialUse};

use super::notes::{self, FOLDER_FILE, FolderNotes, MAILBOX_FILE, MailboxNotes};
use super::{flags, names};
use crate::body::BodySource;
use crate::import::Found;
use crate::transform::Transform;

/// Folders within folders within folders: no more levels than a mailbox has.
const DEEPEST: usize = grapevine_model::MAX_FOLDER_LEVELS;
/// What an export of ours puts into a file's name in front of a mail's id.
pub(crate) const ID_MARK: char = 'G';

/// The messages of a Maildir and of the folders in it.
#[derive(Debug)]
pub struct Maildir {
    folders: std::vec::IntoIter<Folder>,
    open: Option<Open>,
    transform: Transform,
    /// The folders that are there, which may be empty.
    pub made: Vec<(FolderPath, Option<SpecialUse>)>,
    /// Paths that were subscribed to.
    pub subscribed: Vec<FolderPath>,
    remaining: usize,
}

#[derive(Debug)]
struct Folder {
    path: FolderPath,
    files: Vec<PathBuf>,
    keywords: Vec<Option<Flag>>,
    notes: Option<FolderNotes>,
}

#[derive(Debug)]
struct Open {
    folder: Folder,
    files: std::vec::IntoIter<PathBuf>,
}

impl Maildir {
    /// Lists a folder; it, or one within it, must hold `cur` or `new`.
    pub fn open(path: impl AsRef<Path>, transform: Transform) -> io::Result<Self> {
        let path = path.as_ref();
        let mut folders = Vec::new();
        list(path, Vec::new(), &mut folders)?;
        if folders.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no Maildir: it has neither \"cur\" nor \"new\", nor has a folder in it",
            ));
        }
        folders.sort_by(|one, other| one.path.cmp(&other.path));
        let made = folders.iter().map(|folder| {
            let special_use = folder.notes.as_ref().and_then(|notes| notes.special_use);
            (folder.path.clone(), special_use)
        });
        let mailbox: Option<MailboxNotes> = notes::read(&path.join(MAILBOX_FILE))?;
        Ok(Self {
            made: made.collect(),
            subscribed: mailbox.unwrap_or_default().subscribed,
            remaining: folders.iter().map(|folder| folder.files.len()).sum(),
            folders: folders.into_iter(),
            open: None,
            transform,
        })
    }

    /// How many messages are still to come.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    fn found(&self, folder: &Folder, path: PathBuf) -> io::Result<Found> {
        let metadata = fs::metadata(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let modified = metadata.modified().ok();
        let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|since| u64::try_from(since.as_millis()).ok());
        let original = id_in(&name);
        let noted = original.and_then(|id| folder.notes.as_ref()?.flags.get(&id));
        let mut all = flags::of_name(&name, &folder.keywords);
        all.extend(noted.into_iter().flatten().cloned());
        Ok(Found {
            place: path.display().to_string(),
            arrived_ms: arrival(seconds_of(&name), modified),
            folder: folder.path.clone(),
            flags: all,
            original,
            body: BodySource::File {
                path,
                start: 0,
                len: metadata.len(),
                transform: self.transform,
            },
        })
    }
}

impl Iterator for Maildir {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mut open) = self.open.take()
                && let Some(path) = open.files.next()
            {
                self.remaining = self.remaining.saturating_sub(1);
                let found = self.found(&open.folder, path);
                self.open = Some(open);
                return Some(found);
            }
            let mut folder = self.folders.next()?;
            let files = std::mem::take(&mut folder.files).into_iter();
            self.open = Some(Open { folder, files });
        }
    }
}

/// Lists a folder and those within it. Their levels are those of the path.
fn list(dir: &Path, levels: Vec<String>, into: &mut Vec<Folder>) -> io::Result<()> {
    if levels.len() > DEEPEST {
        return Ok(());
    }
    if let Some(files) = files_of(dir)? {
        let notes: Option<FolderNotes> = notes::read(&dir.join(FOLDER_FILE))?;
        let named = || names::fitting(levels.iter().map(String::as_str));
        into.push(Folder {
            path: notes
                .as_ref()
                .map_or_else(named, |notes| notes.path.clone()),
            files,
            keywords: flags::keywords(dir),
            notes,
        });
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A link might lead anywhere, or round and round.
        if !entry.file_type()?.is_dir() || ["cur", "new", "tmp"].contains(&&*name) {
            continue;
        }
        let mut levels = levels.clone();
        match name.strip_prefix('.') {
            Some(name) => {
                let path = names::from_file_name(name);
                levels.extend(path.as_str().split('/').map(str::to_owned));
            }
            None => levels.push(name.into_owned()),
        }
        list(&entry.path(), levels, into)?;
    }
    Ok(())
}

/// The mails' files; none where it is no Maildir.
fn files_of(dir: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let (mut files, mut parts) = (Vec::new(), 0);
    for part in ["cur", "new"] {
        let entries = match fs::read_dir(dir.join(part)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        parts += 1;
        for entry in entries {
            let entry = entry?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && fs::metadata(entry.path())?.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
    Ok((parts > 0).then_some(files))
}

/// The second of arrival that a name begins with.
fn seconds_of(name: &str) -> Option<u64> {
    let (seconds, _) = name.split_once('.')?;
    seconds
        .parse::<u64>()
        .ok()
        .filter(|seconds| *seconds < 1 << 40)
}

/// When a mail arrived. Dovecot keeps that as the file's time, which a careless copy makes later; then the name counts.
fn arrival(seconds: Option<u64>, modified_ms: Option<u64>) -> Option<u64> {
    match (seconds, modified_ms) {
        (Some(seconds), Some(ms)) if ms / 1_000 <= seconds => Some(ms),
        (Some(seconds), Some(_) | None) => Some(seconds * 1_000),
        (None, ms) => ms,
    }
}

/// The id in a name that an export of ours has given: `SECONDS.M..G<id>.grapevine`.
fn id_in(name: &str) -> Option<MessageId> {
    let (_, rest) = name.split_once('.')?;
    let (unique, rest) = rest.split_once('.')?;
    if !rest.starts_with("grapevine") {
        return None;
    }
    let (_, id) = unique.split_once(ID_MARK)?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    fn put(folder: &Path, files: &[(&str, &str)]) {
        for (file, content) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn body(found: &Found) -> String {
        let mut body = String::new();
        found
            .body
            .open()
            .unwrap()
            .read_to_string(&mut body)
            .unwrap();
        body
    }

    #[test]
    fn cur_and_new_come_in_order_of_arrival_and_the_rest_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        put(
            folder.path(),
            &[
                ("new/300.c", "third\n"),
                ("cur/100.a:2,S", "first"),
                ("cur/200.b:2,", ""),
                ("cur/.hidden", "no"),
                ("tmp/50.x", "half writ"),
                ("cur/odd name", "\0no date\r\n"),
            ],
        );
        fs::create_dir(folder.path().join("cur/400.folder")).unwrap();
        let maildir = Maildir::open(folder.path(), Transform::default()).unwrap();
        assert_eq!(maildir.remaining(), 4);
        let found: Vec<_> = maildir.map(Result::unwrap).collect();
        let seen: Vec<_> = found
            .iter()
            .map(|found| (body(found), found.arrived_ms))
            .collect();
        let (dated, last) = seen.split_at(3);
        assert_eq!(
            dated,
            [
                ("first".to_owned(), Some(100_000)),
                (String::new(), Some(200_000)),
                ("third\n".to_owned(), Some(300_000)),
            ]
        );
        assert_eq!(last.first().unwrap().0, "\0no date\r\n");
        assert!(last.first().unwrap().1.unwrap() > 1_600_000_000_000);
        assert_eq!(found.first().unwrap().flags, ["\\Seen".parse().unwrap()]);
    }

    #[test]
    fn folders_of_either_layout_are_found_with_their_flags() {
        let folder = tempfile::tempdir().unwrap();
        put(
            folder.path(),
            &[
                ("cur/1.a:2,T", "inbox"),
                (".Archive.2024/cur/2.b:2,Fa", "archived"),
                (".Archive.2024/dovecot-keywords", "0 Work\n"),
                ("Lists/rust/new/3.c", "listed"),
                (".Empty/cur/.keep", ""),
            ],
        );
        let maildir = Maildir::open(folder.path(), Transform::default()).unwrap();
        let made: Vec<String> = maildir
            .made
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(made, ["Archive/2024", "Empty", "INBOX", "Lists/rust"]);
        let found: Vec<String> = maildir
            .map(|found| {
                let found = found.unwrap();
                let flags: Vec<&str> = found.flags.iter().map(Flag::as_str).collect();
                format!("{} {} {}", found.folder, body(&found), flags.join(","))
            })
            .collect();
        assert_eq!(
            found,
            [
                "Archive/2024 archived \\Flagged,Work",
                "INBOX inbox \\Deleted",
                "Lists/rust listed "
            ]
        );
    }

    #[test]
    fn a_date_is_the_files_unless_a_copy_made_it_later() {
        assert_eq!(arrival(Some(10), Some(9_999)), Some(9_999));
        assert_eq!(arrival(Some(10), Some(10_123)), Some(10_123));
        assert_eq!(arrival(Some(10), Some(99_000)), Some(10_000));
        assert_eq!(arrival(None, Some(5)), Some(5));
        assert_eq!(seconds_of("99999999999999999.x"), None);
    }

    #[test]
    fn what_is_no_maildir_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Maildir::open(folder.path(), Transform::default()).unwrap_err();
        assert!(refused.to_string().contains("no Maildir"));
    }
}
