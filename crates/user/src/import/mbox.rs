//! mbox files (RFC 4155 and its relatives): where each message begins and ends.
//!
//! A message begins at a line `From `, followed by something that holds a clock
//! time and a year, at the file's start or after an empty line; the empty line
//! belongs to the file, not to the message before. A line `From ` without a date
//! is text, except as the file's first: many programs write mboxes without
//! quoting, and a split message is worse than two in one. Length fields
//! (mboxcl) are not looked at: nobody keeps them true.
//! The file is read once, in bounded memory, whatever is in it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use std::collections::BTreeMap;

use grapevine_model::{FolderPath, MessageId};

use super::notes::{self, MboxNote};
use crate::body::{BodySource, CHUNK_BYTES};
use crate::import::{Found, date};
use crate::transform::{Quoting, Transform};

/// As much of a line as is looked at; a `From ` line has a tenth of it.
const MAX_FROM_LINE_BYTES: usize = 1024;
const SEPARATOR: &[u8] = b"From ";
/// What an export of ours puts behind a mail's id in a `From ` line.
pub(crate) const ID_DOMAIN: &str = "@grapevine";

/// The messages of an mbox file, in its order.
pub struct Mbox<R = BufReader<File>> {
    lines: R,
    path: PathBuf,
    folder: FolderPath,
    transform: Transform,
    /// What an export of ours says of its mails.
    notes: BTreeMap<MessageId, MboxNote>,
    offset: u64,
    /// The message being read: where it begins, and what its `From ` line says.
    open: Option<Open>,
    begun: bool,
}

struct Open {
    start: u64,
    arrived_ms: Option<u64>,
    original: Option<MessageId>,
}

/// A line as far as it matters.
struct Line {
    head: Vec<u8>,
    len: u64,
}

impl Line {
    fn is_blank(&self) -> bool {
        matches!(self.head.as_slice(), b"\n" | b"\r\n")
    }
}

impl Mbox {
    /// Opens a file, whose messages are of this folder. It must begin with a `From ` line, or be empty.
    pub fn open(
        path: impl AsRef<Path>,
        folder: FolderPath,
        transform: Transform,
    ) -> io::Result<Self> {
        let path = path.as_ref();
        let file = BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
        let mut mbox = Self::new(file, path, transform);
        mbox.folder = folder;
        mbox.notes = notes::mbox_notes(path)?;
        Ok(mbox)
    }
}

impl<R: BufRead> Mbox<R> {
    fn new(lines: R, path: &Path, transform: Transform) -> Self {
        Self {
            lines,
            path: path.to_owned(),
            folder: FolderPath::inbox(),
            transform,
            notes: BTreeMap::new(),
            offset: 0,
            open: None,
            begun: false,
        }
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line {
            head: Vec::new(),
            len: 0,
        };
        loop {
            let buffer = self.lines.fill_buf()?;
            if buffer.is_empty() {
                return Ok((line.len > 0).then_some(line));
            }
            let end = buffer.iter().position(|octet| *octet == b'\n');
            let used = end.map_or(buffer.len(), |at| at + 1);
            let room = MAX_FROM_LINE_BYTES.saturating_sub(line.head.len());
            line.head
                .extend(buffer.iter().take(used.min(room)).copied());
            line.len += used as u64;
            self.lines.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }

    fn found(&self, open: &Open, end: u64) -> Found {
        let note = open.original.and_then(|id| self.notes.get(&id));
        let added = note.is_some_and(|note| note.unended);
        let mut transform = self.transform;
        if note.is_some() {
            // What is written here is always quoted so.
            transform.quoting = Quoting::Mboxrd;
        }
        Found {
            place: format!("{}, octet {}", self.path.display(), open.start),
            body: BodySource::File {
                path: self.path.clone(),
                start: open.start,
                len: end
                    .saturating_sub(open.start)
                    .saturating_sub(u64::from(added)),
                transform,
            },
            arrived_ms: note.map(|note| note.date_ms).or(open.arrived_ms),
            folder: self.folder.clone(),
            flags: note.map(|note| note.flags.clone()).unwrap_or_default(),
            original: note.map(|note| note.id),
        }
    }

    fn next_message(&mut self) -> io::Result<Option<Found>> {
        // Length of the blank line just read: it is the message's own unless a separator follows.
        let mut blank = 0;
        loop {
            let Some(line) = self.line()? else {
                let end = self.offset.saturating_sub(blank);
                return Ok(self.open.take().map(|open| self.found(&open, end)));
            };
            let at = self.offset;
            self.offset += line.len;
            if !self.begun {
                if line.is_blank() {
                    continue;
                }
                if !line.head.starts_with(SEPARATOR) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "this is no mbox file: it does not begin with \"From \"",
                    ));
                }
                self.begun = true;
                self.open = Some(opened(&line, self.offset));
                continue;
            }
            let first = self.open.as_ref().is_some_and(|open| open.start == at);
            if (blank > 0 || first) && is_separator(&line) {
                let next = opened(&line, self.offset);
                let done = self.open.replace(next);
                if let Some(open) = done {
                    return Ok(Some(self.found(&open, at.saturating_sub(blank))));
                }
            }
            blank = if line.is_blank() { line.len } else { 0 };
        }
    }
}

fn opened(line: &Line, start: u64) -> Open {
    Open {
        start,
        arrived_ms: date::from_line_date_ms(&line.head),
        original: id_in(&line.head),
    }
}

/// The id in a `From ` line of an export of ours.
fn id_in(line: &[u8]) -> Option<MessageId> {
    let line = std::str::from_utf8(line).ok()?;
    let sender = line.strip_prefix("From ")?.split(' ').next()?;
    sender.strip_suffix(ID_DOMAIN)?.parse().ok()
}

fn is_separator(line: &Line) -> bool {
    line.head.starts_with(SEPARATOR) && date::from_line_date_ms(&line.head).is_some()
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_message().transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transform::LineEnds;
    use std::io::Read;

    const FROM: &str = "From birrell@pa Thu Jan  1 00:00:00 2004";

    fn bodies_with(file: &[u8], transform: Transform) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mbox");
        std::fs::write(&path, file).unwrap();
        Mbox::open(&path, FolderPath::inbox(), transform)
            .unwrap()
            .map(|found| {
                let found = found.unwrap();
                let mut body = Vec::new();
                found.body.open().unwrap().read_to_end(&mut body).unwrap();
                assert_eq!(found.body.measure().unwrap().len, body.len() as u64);
                body
            })
            .collect()
    }

    fn bodies(file: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
        bodies_with(file.as_ref(), Transform::default())
    }

    #[test]
    fn messages_come_out_as_they_stand_between_their_separators() {
        assert_eq!(
            bodies(format!("{FROM}\nA: 1\n\none\n\n{FROM}\nA: 2\n\ntwo\n\n")),
            [&b"A: 1\n\none\n"[..], b"A: 2\n\ntwo\n"]
        );
    }

    #[test]
    fn the_last_line_may_lack_its_end_and_its_blank_line() {
        assert_eq!(bodies(format!("{FROM}\nA: 1\n\none")), [b"A: 1\n\none"]);
        assert_eq!(bodies(format!("{FROM}\nA: 1\n\none\n")), [b"A: 1\n\none\n"]);
        assert_eq!(bodies(FROM), [b""]);
        assert!(bodies("").is_empty());
        assert!(bodies("\n\n").is_empty());
    }

    #[test]
    fn crlf_files_keep_their_line_ends() {
        assert_eq!(
            bodies(format!(
                "{FROM}\r\nA: 1\r\n\r\none\r\n\r\n{FROM}\r\nA: 2\r\n\r\n\r\n"
            )),
            [&b"A: 1\r\n\r\none\r\n"[..], b"A: 2\r\n\r\n"]
        );
    }

    #[test]
    fn nuls_eight_bit_and_endless_lines_are_content() {
        let mut file = format!("{FROM}\n\n").into_bytes();
        let mut content = vec![0, 0xff, b'\r'];
        content.extend(std::iter::repeat_n(b'x', 300_000));
        content.extend(b"\n\0\n");
        file.extend(&content);
        let mut expected = b"\n".to_vec();
        expected.extend(content);
        assert_eq!(bodies(file), [expected]);
    }

    #[test]
    fn empty_messages_are_messages() {
        assert_eq!(
            bodies(format!("{FROM}\n{FROM}\n\n{FROM}\n\n\n{FROM}\nA: 1\n")),
            [&b""[..], b"", b"\n", b"A: 1\n"]
        );
    }

    #[test]
    fn a_from_line_in_the_text_splits_only_with_a_date_and_after_a_blank_line() {
        let file = format!("{FROM}\nA: 1\n\nFrom the start\n{FROM}\n\nFrom here on\n>From there\n");
        assert_eq!(
            bodies(&file),
            [
                format!("A: 1\n\nFrom the start\n{FROM}\n\nFrom here on\n>From there\n")
                    .into_bytes()
            ]
        );
        let unquoted = Transform {
            quoting: Quoting::Mboxrd,
            line_ends: LineEnds::AsIs,
        };
        let out = bodies_with(file.as_bytes(), unquoted);
        assert!(out.concat().ends_with(b"From here on\nFrom there\n"));
    }

    #[test]
    fn what_is_no_mbox_is_refused() {
        let file = &b"Subject: x\n\nbody\n"[..];
        let mut mbox = Mbox::new(file, Path::new("x"), Transform::default());
        assert!(
            mbox.next()
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("no mbox")
        );
    }

    #[test]
    fn the_from_line_dates_a_message() {
        let file = format!("{FROM}\n\nx\n");
        let mut mbox = Mbox::new(file.as_bytes(), Path::new("x"), Transform::default());
        let found = mbox.next().unwrap().unwrap();
        assert_eq!(found.arrived_ms, Some(1_072_915_200_000));
    }
}
