//! A Maildir: one file a message, in `cur` and `new`.
//!
//! Files are taken in the order of their names, which begin with the second of
//! arrival. `tmp` and names that begin with a dot are left alone; so are messages
//! flagged as trashed (`T`), which their owner has thrown away. Nothing is
//! written: the folder stays as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::body::BodySource;
use crate::import::Found;
use crate::transform::Transform;

/// The messages of a Maildir.
#[derive(Debug)]
pub struct Maildir {
    files: std::vec::IntoIter<PathBuf>,
    transform: Transform,
    /// Messages flagged as trashed, which are left out.
    pub trashed: usize,
}

impl Maildir {
    /// Lists a folder; it must hold `cur` or `new`.
    pub fn open(path: impl AsRef<Path>, transform: Transform) -> io::Result<Self> {
        let path = path.as_ref();
        let mut files = Vec::new();
        let mut trashed = 0;
        let mut parts = 0;
        for part in ["cur", "new"] {
            let entries = match fs::read_dir(path.join(part)) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            parts += 1;
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with('.') || !fs::metadata(entry.path())?.is_file() {
                    continue;
                }
                if is_trashed(&name) {
                    trashed += 1;
                    continue;
                }
                files.push(entry.path());
            }
        }
        if parts == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no Maildir: it has neither \"cur\" nor \"new\"",
            ));
        }
        files.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
        Ok(Self {
            files: files.into_iter(),
            transform,
            trashed,
        })
    }

    /// How many messages are still to come.
    pub fn remaining(&self) -> usize {
        self.files.len()
    }

    fn found(&self, path: PathBuf) -> io::Result<Found> {
        let metadata = fs::metadata(&path)?;
        let arrived_ms = seconds_of(&path).or_else(|| {
            let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(since.as_millis()).ok()
        });
        Ok(Found {
            place: path.display().to_string(),
            body: BodySource::File {
                path,
                start: 0,
                len: metadata.len(),
                transform: self.transform,
            },
            arrived_ms,
        })
    }
}

impl Iterator for Maildir {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.files.next()?;
        Some(self.found(path))
    }
}

/// Whether the flags after `:2,` hold a `T`.
fn is_trashed(name: &str) -> bool {
    name.rsplit_once(":2,")
        .is_some_and(|(_, flags)| flags.contains('T'))
}

/// The second of arrival that a name begins with, in milliseconds.
fn seconds_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (seconds, _) = name.split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn cur_and_new_come_in_order_of_arrival_and_the_rest_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("new/300.c", "third\n"),
            ("cur/100.a:2,S", "first"),
            ("cur/200.b:2,", ""),
            ("cur/250.t:2,ST", "thrown away"),
            ("cur/.hidden", "no"),
            ("tmp/50.x", "half writ"),
            ("cur/odd name", "\0no date\r\n"),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir(folder.path().join("cur/400.folder")).unwrap();
        let maildir = Maildir::open(folder.path(), Transform::default()).unwrap();
        assert_eq!((maildir.remaining(), maildir.trashed), (4, 1));
        let found: Vec<_> = maildir
            .map(|found| {
                let found = found.unwrap();
                let mut body = String::new();
                found
                    .body
                    .open()
                    .unwrap()
                    .read_to_string(&mut body)
                    .unwrap();
                (body, found.arrived_ms)
            })
            .collect();
        let (dated, last) = found.split_at(3);
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
    }

    #[test]
    fn what_is_no_maildir_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Maildir::open(folder.path(), Transform::default()).unwrap_err();
        assert!(refused.to_string().contains("no Maildir"));
    }
}
