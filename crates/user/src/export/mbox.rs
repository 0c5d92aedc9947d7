//! mbox files, one a folder, in mboxrd's quoting; what mbox has no place for stands beside each in lines of JSON.
//!
//! `From <id>@grapevine DATE` begins a mail. The line of JSON is written after the mail is durable, and says up to where the
//! file is whole: what a kill has left behind it is cut off by the next run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use grapevine_model::{Flag, FolderPath, MessageId, SpecialUse};
use mail_parser::DateTime;

use super::maildir::make_private;
use super::{Leaving, Present};
use crate::import::mbox::ID_DOMAIN;
use crate::import::names::to_file_name;
use crate::import::notes::{self, FolderNotes, MAILBOX_FILE, MailboxNotes, MboxNote};
use crate::remembered::write_private;

/// The end of the files' names.
const MBOX_END: &str = ".mbox";
/// Written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// mbox files that grow.
#[derive(Debug)]
pub struct MboxOut {
    dir: PathBuf,
    notes: MailboxNotes,
    files: BTreeMap<FolderPath, Mbox>,
    there: BTreeMap<MessageId, FolderPath>,
    drafts: std::cell::Cell<u64>,
}

#[derive(Debug)]
struct Mbox {
    file: File,
    lines: File,
    notes: BTreeMap<MessageId, MboxNote>,
    end: u64,
}

impl MboxOut {
    /// Opens a folder, made if it is not there; lists what it has.
    ///
    /// # Errors
    /// It is something else, or can't be read or written.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        make_private(&dir)?;
        let notes = notes::read::<MailboxNotes>(&dir.join(MAILBOX_FILE))?;
        let is_empty = fs::read_dir(&dir)?.next().is_none();
        if notes.is_none() && !is_empty {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the folder holds something that no export has written; choose another one",
            ));
        }
        let mut out = Self {
            dir,
            notes: notes.unwrap_or_default(),
            files: BTreeMap::new(),
            there: BTreeMap::new(),
            drafts: std::cell::Cell::new(0),
        };
        out.write_notes()?;
        let known: Vec<FolderPath> = out
            .notes
            .folders
            .values()
            .map(|notes| notes.path.clone())
            .collect();
        for path in known {
            out.folder(&path, None)?;
        }
        for entry in fs::read_dir(&out.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".draft") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(out)
    }

    pub(super) fn folder(
        &mut self,
        path: &FolderPath,
        special_use: Option<SpecialUse>,
    ) -> io::Result<()> {
        let name = to_file_name(path);
        let noted = self.notes.folders.get(&name);
        let known_use = noted.and_then(|noted| noted.special_use);
        if noted.is_none() || (special_use.is_some() && known_use != special_use) {
            let notes = FolderNotes {
                path: path.clone(),
                special_use,
                flags: BTreeMap::new(),
            };
            self.notes.folders.insert(name.clone(), notes);
            self.write_notes()?;
        }
        if !self.files.contains_key(path) {
            let mbox = Mbox::open(&self.dir.join(format!("{name}{MBOX_END}")))?;
            self.there
                .extend(mbox.notes.keys().map(|id| (*id, path.clone())));
            self.files.insert(path.clone(), mbox);
        }
        Ok(())
    }

    pub(super) fn subscribed(&mut self, paths: &[FolderPath]) -> io::Result<()> {
        self.notes.subscribed = paths.to_vec();
        self.write_notes()
    }

    fn write_notes(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.notes).map_err(io::Error::other)?;
        write_private(&self.dir.join(MAILBOX_FILE), &text)
    }

    pub(super) fn look(&mut self, mail: &Leaving) -> io::Result<Present> {
        let file = self
            .there
            .get(&mail.id)
            .and_then(|path| self.files.get_mut(path));
        let Some(file) = file else {
            return Ok(Present::No);
        };
        let Some(note) = file.notes.get(&mail.id).cloned() else {
            return Ok(Present::No);
        };
        let set = |flags: &[Flag]| flags.iter().cloned().collect::<BTreeSet<_>>();
        if set(&note.flags) == set(&mail.flags) {
            return Ok(Present::Yes);
        }
        file.note(MboxNote {
            flags: mail.flags.clone(),
            ..note
        })?;
        Ok(Present::Followed)
    }

    pub(super) fn draft(&self) -> io::Result<PathBuf> {
        let number = self.drafts.get();
        self.drafts.set(number + 1);
        let name = format!(".{}.{number}.draft", std::process::id());
        Ok(self.dir.join(name))
    }

    pub(super) fn take(&mut self, mail: &Leaving, draft: &Path) -> io::Result<()> {
        self.folder(&mail.folder, None)?;
        let Some(mbox) = self.files.get_mut(&mail.folder) else {
            return Err(io::Error::other("a file is gone"));
        };
        mbox.add(
            mail,
            BufReader::with_capacity(CHUNK_BYTES, File::open(draft)?),
        )?;
        self.there.insert(mail.id, mail.folder.clone());
        fs::remove_file(draft)
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        for mbox in self.files.values() {
            mbox.file.sync_data()?;
            mbox.lines.sync_data()?;
        }
        File::open(&self.dir)?.sync_all()
    }
}

impl Mbox {
    fn open(path: &Path) -> io::Result<Self> {
        let notes = notes::mbox_notes(path)?;
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
        };
        let mut file = open(path)?;
        let end = notes.values().map(|note| note.end).max().unwrap_or(0);
        let len = file.metadata()?.len();
        if len < end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: shorter than what was written to it", path.display()),
            ));
        }
        // What an interrupted run has begun.
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        let mut lines = open(&notes::mbox_notes_file(path))?;
        let text = io::read_to_string(&mut lines)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        lines.set_len(whole as u64)?;
        lines.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            lines,
            notes,
            end,
        })
    }

    fn add(&mut self, mail: &Leaving, mut body: impl BufRead) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, &self.file);
        let (id, date) = (mail.id, asctime(mail.date_ms));
        let first = format!("From {id}{ID_DOMAIN} {date}\n");
        out.write_all(first.as_bytes())?;
        let mut len = first.len() as u64;
        let (mut last, mut at_start) = (b'\n', true);
        // A line longer than the buffer comes in pieces.
        loop {
            let mut head = Vec::new();
            let piece = body.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            let end = memchr_newline(piece).map_or(piece.len(), |at| at + 1);
            let mut line = piece.get(..end).unwrap_or_default();
            if at_start {
                // Whether it begins with `>...>From ` may be known only with what follows.
                let is_open = end == piece.len() && line.last() != Some(&b'\n');
                if is_open {
                    head = line.to_vec();
                    body.consume(end);
                    read_line_start(&mut body, &mut head)?;
                    line = &head;
                }
                if is_from(line) {
                    out.write_all(b">")?;
                    len += 1;
                }
            }
            out.write_all(line)?;
            len += line.len() as u64;
            last = line.last().copied().unwrap_or(last);
            at_start = last == b'\n';
            if head.is_empty() {
                body.consume(end);
            }
        }
        let unended = last != b'\n';
        let after: &[u8] = if unended { b"\n\n" } else { b"\n" };
        out.write_all(after)?;
        len += after.len() as u64;
        out.flush()?;
        drop(out);
        self.file.sync_data()?;
        self.end += len;
        self.note(MboxNote {
            id: mail.id,
            flags: mail.flags.clone(),
            date_ms: mail.date_ms,
            end: self.end,
            unended,
        })
    }

    fn note(&mut self, note: MboxNote) -> io::Result<()> {
        let mut line = serde_json::to_vec(&note).map_err(io::Error::other)?;
        line.push(b'\n');
        self.lines.write_all(&line)?;
        self.notes.insert(note.id, note);
        Ok(())
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|octet| *octet == b'\n')
}

/// Reads on to the end of a line, as far as it matters for how it begins.
fn read_line_start(body: &mut impl BufRead, head: &mut Vec<u8>) -> io::Result<()> {
    while may_be_from(head) {
        let piece = body.fill_buf()?;
        let Some(octet) = piece.first().copied() else {
            return Ok(());
        };
        head.push(octet);
        body.consume(1);
        if octet == b'\n' {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether more octets decide whether a line begins with `From ` behind any number of `>`.
fn may_be_from(line: &[u8]) -> bool {
    let rest = line
        .iter()
        .position(|octet| *octet != b'>')
        .unwrap_or(line.len());
    let rest = line.get(rest..).unwrap_or_default();
    rest.len() < 5 && b"From ".starts_with(rest)
}

fn is_from(line: &[u8]) -> bool {
    let rest = line
        .iter()
        .position(|octet| *octet != b'>')
        .unwrap_or(line.len());
    line.get(rest..).unwrap_or_default().starts_with(b"From ")
}

/// As asctime(3) writes it, in UTC.
fn asctime(ms: u64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = i64::try_from(ms / 1_000).unwrap_or_default();
    let at = DateTime::from_timestamp(seconds);
    let day = DAYS.get(usize::from(at.day_of_week())).unwrap_or(&"Thu");
    let month = usize::from(at.month.saturating_sub(1));
    let month = MONTHS.get(month).unwrap_or(&"Jan");
    format!(
        "{day} {month} {:2} {:02}:{:02}:{:02} {:04}",
        at.day, at.hour, at.minute, at.second, at.year
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Out;
    use super::*;
    use crate::import::MboxTree;
    use crate::transform::Transform;
    use grapevine_model::{Hlc, OriginId};
    use std::io::Read;

    fn mail(n: u64, folder: &str, flags: &[&str]) -> Leaving {
        Leaving {
            id: MessageId {
                time: Hlc::at_ms(n),
                origin: OriginId::client(n),
            },
            folder: folder.parse().unwrap(),
            date_ms: 1_700_000_000_123 + n,
            flags: flags.iter().map(|flag| flag.parse().unwrap()).collect(),
        }
    }

    fn put(dir: &Path, mails: &[(Leaving, Vec<u8>)]) -> Vec<Present> {
        let mut out = Out::Mbox(MboxOut::open(dir).unwrap());
        let put = mails.iter().map(|(mail, body)| {
            let present = out.look(mail).unwrap();
            if present == Present::No {
                let draft = out.draft().unwrap();
                fs::write(&draft, body).unwrap();
                out.take(mail, &draft).unwrap();
            }
            present
        });
        let put = put.collect();
        out.finish().unwrap();
        put
    }

    fn back(dir: &Path) -> Vec<(Leaving, Vec<u8>)> {
        let tree = MboxTree::open(dir, Transform::default()).unwrap();
        let mut all: Vec<_> = tree
            .map(|found| {
                let found = found.unwrap();
                let mut body = Vec::new();
                found.body.open().unwrap().read_to_end(&mut body).unwrap();
                let mail = Leaving {
                    id: found.original.unwrap(),
                    folder: found.folder,
                    date_ms: found.arrived_ms.unwrap(),
                    flags: found.flags,
                };
                (mail, body)
            })
            .collect();
        all.sort_by_key(|(mail, _)| mail.id);
        all
    }

    #[test]
    fn whatever_a_mail_holds_comes_back_octet_for_octet() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("out");
        let long = [vec![b'>'; CHUNK_BYTES - 2], b"From x\n".to_vec()].concat();
        let bodies: Vec<&[u8]> = vec![
            b"Subject: x\n\nFrom me Thu Jan  1 00:00:00 2004\n>From you\n>>From\n",
            b"no end",
            b"",
            b"\n",
            b"crlf\r\n\r\nFrom x\r\n",
            b"\0\xff\r\rFrom ",
            &long,
            b"ends so\n\n\n",
        ];
        let mut mails: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| {
                let folder = if n % 2 == 0 { "INBOX" } else { "Archive/2024" };
                (mail(n as u64, folder, &["\\Seen", "$x"]), body.to_vec())
            })
            .collect();
        assert_eq!(put(&dir, &mails), vec![Present::No; mails.len()]);
        assert_eq!(back(&dir), mails);
        assert_eq!(put(&dir, &mails), vec![Present::Yes; mails.len()]);
        mails[0].0.flags.clear();
        mails.push((mail(99, "INBOX", &[]), b"new\n".to_vec()));
        let put = put(&dir, &mails);
        assert_eq!(
            (put[0], put[mails.len() - 1]),
            (Present::Followed, Present::No)
        );
        assert_eq!(back(&dir), mails);
    }

    #[test]
    fn what_a_kill_leaves_half_written_is_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("out");
        let mut mails = vec![(mail(1, "INBOX", &[]), b"one\n".to_vec())];
        put(&dir, &mails);
        for (file, half) in [
            ("INBOX.mbox", "From half@x Thu"),
            ("INBOX.mbox.grapevine.jsonl", "{\"id\":\"00"),
        ] {
            let mut file = OpenOptions::new()
                .append(true)
                .open(dir.join(file))
                .unwrap();
            file.write_all(half.as_bytes()).unwrap();
        }
        mails.push((mail(2, "INBOX", &[]), b"two\n".to_vec()));
        assert_eq!(put(&dir, &mails), [Present::Yes, Present::No]);
        assert_eq!(back(&dir), mails);
    }

    #[test]
    fn dates_are_written_as_programs_read_them() {
        assert_eq!(asctime(1_072_915_200_000), "Thu Jan  1 00:00:00 2004");
    }
}
