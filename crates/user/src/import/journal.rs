//! What an import into one mailbox has done so far, in a file of the person who imports.
//!
//! A mail's id is written here before it is first sent, so that a try after a kill is under the same id and doubles
//! nothing, whatever the servers can see of each other; and what was done stays done, so that mail that its owner has
//! expunged since does not come back. The file is a help: without it what is in the mailbox is still known by the origin
//! of its id, and nothing is doubled while all sites can be asked. A torn last line counts as not written.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use grapevine_model::{MessageId, OriginId};

/// What is known.
#[derive(Debug, Default)]
pub struct Journal {
    ids: HashMap<OriginId, MessageId>,
    done: HashSet<OriginId>,
    sources: HashMap<String, OriginId>,
    file: Option<File>,
}

impl Journal {
    /// Reads a file and goes on writing it; made if it is not there.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut journal = match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(path)?;
        // What a torn line says is spoilt, and the next one begins anew.
        file.write_all(b"#\n")?;
        journal.file = Some(file);
        Ok(journal)
    }

    fn read(text: &str) -> Self {
        let mut journal = Self::default();
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("begun"), Some(id), None) => {
                    if let Ok(id) = id.parse::<MessageId>() {
                        journal.ids.insert(id.origin, id);
                    }
                }
                (Some("done"), Some(id), None) => {
                    if let Ok(id) = id.parse::<MessageId>() {
                        journal.done.insert(id.origin);
                    }
                }
                (Some("from"), Some(source), Some(origin)) => {
                    if let Ok(origin) = u64::from_str_radix(origin, 16) {
                        journal.sources.insert(source.to_owned(), OriginId(origin));
                    }
                }
                _ => {}
            }
        }
        journal
    }

    /// Under which id a mail was sent before.
    pub fn id(&self, origin: OriginId) -> Option<MessageId> {
        self.ids.get(&origin).copied()
    }

    /// Whether it was taken.
    pub fn is_done(&self, origin: OriginId) -> bool {
        self.done.contains(&origin)
    }

    /// Which mail a place elsewhere holds, if that was found out before.
    pub fn source(&self, source: &str) -> Option<OriginId> {
        self.sources.get(source).copied()
    }

    /// A mail is about to be sent.
    ///
    /// # Errors
    /// It can't be written down: then it is not to be sent.
    pub fn begins(&mut self, id: MessageId) -> io::Result<()> {
        self.ids.insert(id.origin, id);
        self.write(&format!("begun {id}\n"))
    }

    /// A mail was taken.
    ///
    /// # Errors
    /// It can't be written down.
    pub fn ends(&mut self, id: MessageId) -> io::Result<()> {
        self.done.insert(id.origin);
        self.write(&format!("done {id}\n"))
    }

    /// A place elsewhere, a word without spaces, holds this mail.
    ///
    /// # Errors
    /// It can't be written down.
    pub fn comes_from(&mut self, source: &str, origin: OriginId) -> io::Result<()> {
        if self.sources.insert(source.to_owned(), origin) == Some(origin) {
            return Ok(());
        }
        self.write(&format!("from {source} {origin}\n"))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use grapevine_model::Hlc;

    #[test]
    fn what_was_begun_and_done_is_known_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imports/one");
        let id = |n: u64| MessageId {
            time: Hlc(n),
            origin: OriginId::client(n),
        };
        let mut journal = Journal::open(&path).unwrap();
        journal.begins(id(1)).unwrap();
        journal.begins(id(2)).unwrap();
        journal.ends(id(1)).unwrap();
        journal.comes_from("a:1:2", id(2).origin).unwrap();
        drop(journal);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(format!("done {}", id(2)).as_bytes())
            .unwrap();
        for _ in 0..2 {
            let journal = Journal::open(&path).unwrap();
            assert!(journal.is_done(id(1).origin));
            assert!(!journal.is_done(id(2).origin));
            assert_eq!(journal.id(id(2).origin), Some(id(2)));
            assert_eq!(journal.source("a:1:2"), Some(id(2).origin));
            assert_eq!(journal.source("a:1:3"), None);
        }
    }
}
