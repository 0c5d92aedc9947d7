//! A Maildir with folders, as Maildir++ has them: `cur` is INBOX, `.Archive.2024/cur` is `Archive/2024`.
//!
//! A mail's file is `SECONDS.G<id>.grapevine:2,FLAGS`, so that it is known again whatever its flags are, and its time is
//! the mail's date. Keywords have Dovecot's letters; what has no letter stands in `grapevine-folder.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use grapevine_model::{Flag, FolderPath, MessageId, SpecialUse};

use super::{Leaving, Present};
use crate::import::flags::{KEYWORDS_FILE, KEYWORDS_MAX, LETTERS, keywords};
use crate::import::maildir::ID_MARK;
use crate::import::names::to_file_name;
use crate::import::notes::{self, FOLDER_FILE, FolderNotes, MAILBOX_FILE, MailboxNotes};
use crate::remembered::write_private;

/// A Maildir that grows.
#[derive(Debug)]
pub struct MaildirOut {
    dir: PathBuf,
    folders: BTreeMap<FolderPath, Folder>,
    there: BTreeMap<MessageId, (FolderPath, String)>,
    drafts: std::cell::Cell<u64>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    keywords: Vec<Option<Flag>>,
    notes: FolderNotes,
    touched: bool,
    noted: bool,
}

impl MaildirOut {
    /// Opens a folder, made if it is not there; lists what it has. One that holds anything else is left alone.
    ///
    /// # Errors
    /// It is something else, or can't be read or written.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        make_private(&dir)?;
        let is_empty = fs::read_dir(&dir)?.next().is_none();
        if !is_empty && !dir.join("cur").is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the folder holds something that is no Maildir; choose another one",
            ));
        }
        let mut out = Self {
            dir: dir.clone(),
            folders: BTreeMap::new(),
            there: BTreeMap::new(),
            drafts: std::cell::Cell::new(0),
        };
        out.folder(&FolderPath::inbox(), None)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.')
                && let Some(notes) = notes::read::<FolderNotes>(&entry.path().join(FOLDER_FILE))?
            {
                out.folder(&notes.path, None)?;
            }
        }
        // What a run that was interrupted left behind.
        for entry in fs::read_dir(dir.join("tmp"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".grapevine") {
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
        if let Some(folder) = self.folders.get_mut(path) {
            if special_use.is_some() && folder.notes.special_use != special_use {
                folder.notes.special_use = special_use;
                folder.noted = true;
            }
            return Ok(());
        }
        let dir = match path.is_inbox() {
            true => self.dir.clone(),
            false => self.dir.join(format!(".{}", to_file_name(path))),
        };
        for part in ["cur", "new", "tmp"] {
            make_private(&dir.join(part))?;
        }
        let known = notes::read::<FolderNotes>(&dir.join(FOLDER_FILE))?;
        let fresh = known.is_none();
        let mut folder = Folder {
            keywords: keywords(&dir),
            notes: known.unwrap_or_else(|| FolderNotes {
                path: path.clone(),
                special_use,
                flags: BTreeMap::new(),
            }),
            touched: fresh,
            noted: fresh,
            dir,
        };
        if special_use.is_some() && folder.notes.special_use != special_use {
            folder.notes.special_use = special_use;
            folder.noted = true;
        }
        if fresh {
            // Without it the folder is nobody's after a kill.
            folder.write_notes()?;
            if !path.is_inbox() {
                File::create(folder.dir.join("maildirfolder"))?;
            }
        }
        for part in ["cur", "new"] {
            for entry in fs::read_dir(folder.dir.join(part))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if let Some(id) = id_in(&name) {
                    self.there
                        .insert(id, (path.clone(), format!("{part}/{name}")));
                }
            }
        }
        self.folders.insert(path.clone(), folder);
        Ok(())
    }

    pub(super) fn subscribed(&mut self, paths: &[FolderPath]) -> io::Result<()> {
        let notes = MailboxNotes {
            subscribed: paths.to_vec(),
            folders: BTreeMap::new(),
        };
        write_json(&self.dir.join(MAILBOX_FILE), &notes)
    }

    pub(super) fn look(&mut self, mail: &Leaving) -> io::Result<Present> {
        let Some((path, name)) = self.there.get(&mail.id).cloned() else {
            return Ok(Present::No);
        };
        let from = match self.folders.get(&path) {
            Some(folder) => folder.dir.join(&name),
            None => return Ok(Present::No),
        };
        let wanted = self.name_of(mail)?;
        let folder = self.known(&mail.folder)?;
        let to = folder.dir.join(&wanted);
        let is_noted = folder.note(mail);
        if from == to && !is_noted {
            return Ok(Present::Yes);
        }
        if from != to {
            fs::rename(&from, &to)?;
            folder.touched = true;
        }
        if let Some(before) = self.folders.get_mut(&path).filter(|_| path != mail.folder) {
            before.touched = true;
            before.noted |= before.notes.flags.remove(&mail.id).is_some();
        }
        self.there.insert(mail.id, (mail.folder.clone(), wanted));
        Ok(Present::Followed)
    }

    pub(super) fn draft(&self) -> io::Result<PathBuf> {
        let number = self.drafts.get();
        self.drafts.set(number + 1);
        let name = format!("{}.{number}.grapevine", std::process::id());
        Ok(self.dir.join("tmp").join(name))
    }

    pub(super) fn take(&mut self, mail: &Leaving, draft: &Path) -> io::Result<()> {
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(mail.date_ms));
        let file = File::options().write(true).open(draft)?;
        if let Some(at) = at {
            file.set_times(FileTimes::new().set_modified(at).set_accessed(at))?;
        }
        file.sync_data()?;
        let name = self.name_of(mail)?;
        let folder = self.known(&mail.folder)?;
        folder.note(mail);
        folder.touched = true;
        fs::rename(draft, folder.dir.join(&name))?;
        self.there.insert(mail.id, (mail.folder.clone(), name));
        Ok(())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        for folder in self.folders.values_mut() {
            if std::mem::take(&mut folder.noted) {
                folder.write_notes()?;
            }
            if std::mem::take(&mut folder.touched) {
                for part in ["cur", "new", "."] {
                    File::open(folder.dir.join(part))?.sync_all()?;
                }
            }
        }
        File::open(&self.dir)?.sync_all()
    }

    fn known(&mut self, path: &FolderPath) -> io::Result<&mut Folder> {
        self.folder(path, None)?;
        let folder = self.folders.get_mut(path);
        folder.ok_or_else(|| io::Error::other("a folder is gone"))
    }

    /// `cur/SECONDS.G<id>.grapevine:2,FLAGS`
    fn name_of(&mut self, mail: &Leaving) -> io::Result<String> {
        let folder = self.known(&mail.folder)?;
        let mut letters = BTreeSet::new();
        for flag in &mail.flags {
            letters.extend(folder.letter(flag)?);
        }
        let letters: String = letters.into_iter().collect();
        let (seconds, id) = (mail.date_ms / 1_000, mail.id);
        Ok(format!("cur/{seconds}.{ID_MARK}{id}.grapevine:2,{letters}"))
    }
}

impl Folder {
    /// The letter of a flag, a new one if there is one left.
    fn letter(&mut self, flag: &Flag) -> io::Result<Option<char>> {
        let system = LETTERS.iter().find(|(_, name)| *name == flag.as_str());
        if let Some((letter, _)) = system {
            return Ok(Some(*letter));
        }
        let known = |known: &Option<Flag>| known.as_ref() == Some(flag);
        let place = self.keywords.iter().position(known);
        let place = match place.or_else(|| self.keywords.iter().position(Option::is_none)) {
            Some(place) => place,
            None => return Ok(None),
        };
        if let Some(free) = self.keywords.get_mut(place)
            && free.is_none()
        {
            *free = Some(flag.clone());
            self.write_keywords()?;
        }
        Ok(u8::try_from(place)
            .ok()
            .and_then(|place| Some(char::from(b'a'.checked_add(place)?))))
    }

    /// Notes the flags that have no letter; whether that was news.
    fn note(&mut self, mail: &Leaving) -> bool {
        let lettered = |flag: &Flag| {
            LETTERS.iter().any(|(_, name)| *name == flag.as_str())
                || self.keywords.iter().flatten().any(|known| known == flag)
        };
        let rest: Vec<Flag> = mail
            .flags
            .iter()
            .filter(|flag| !lettered(flag))
            .cloned()
            .collect();
        let before = match rest.is_empty() {
            true => self.notes.flags.remove(&mail.id),
            false => self.notes.flags.insert(mail.id, rest.clone()),
        };
        let is_news = before.unwrap_or_default() != rest;
        self.noted |= is_news;
        is_news
    }

    fn write_keywords(&self) -> io::Result<()> {
        let mut text = String::new();
        for (number, flag) in self.keywords.iter().enumerate().take(KEYWORDS_MAX) {
            if let Some(flag) = flag {
                text.push_str(&format!("{number} {flag}\n"));
            }
        }
        // Before the first name that uses the letter.
        write_private(&self.dir.join(KEYWORDS_FILE), text.trim_end().as_bytes())
    }

    fn write_notes(&self) -> io::Result<()> {
        write_json(&self.dir.join(FOLDER_FILE), &self.notes)
    }
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    write_private(path, &text)
}

/// Makes a folder that nobody else on the machine can look into.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn id_in(name: &str) -> Option<MessageId> {
    let (_, rest) = name.split_once('.')?;
    let (unique, rest) = rest.split_once('.')?;
    let (_, id) = unique.split_once(ID_MARK)?;
    rest.starts_with("grapevine").then(|| id.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Out;
    use super::*;
    use crate::import::Maildir;
    use crate::transform::Transform;
    use grapevine_model::{Hlc, OriginId};

    pub(crate) fn mail(n: u64, folder: &str, flags: &[&str]) -> Leaving {
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

    fn put(out: &mut Out, mail: &Leaving) -> Present {
        let present = out.look(mail).unwrap();
        if present == Present::No {
            let draft = out.draft().unwrap();
            fs::write(&draft, format!("Subject: {}\n\n\0body", mail.id)).unwrap();
            out.take(mail, &draft).unwrap();
        }
        present
    }

    fn back(dir: &Path) -> Vec<Leaving> {
        let maildir = Maildir::open(dir, Transform::default()).unwrap();
        let mut all: Vec<Leaving> = maildir
            .map(|found| {
                let found = found.unwrap();
                let mut flags = found.flags;
                flags.sort();
                Leaving {
                    id: found.original.unwrap(),
                    folder: found.folder,
                    date_ms: found.arrived_ms.unwrap(),
                    flags,
                }
            })
            .collect();
        all.sort_by_key(|mail| mail.id);
        all
    }

    #[test]
    fn what_goes_out_comes_in_with_folder_flags_date_and_id() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("out");
        let many: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut mails = vec![
            mail(1, "INBOX", &["\\Flagged", "\\Seen"]),
            mail(2, "Archive/a.b", &["$Forwarded", "Work"]),
            mail(3, "Archive/a.b", &many),
            mail(4, &"ü".repeat(240), &[]),
        ];
        let mut out = Out::Maildir(MaildirOut::open(&dir).unwrap());
        for mail in &mails {
            assert_eq!(put(&mut out, mail), Present::No);
        }
        out.finish().unwrap();
        assert_eq!(back(&dir), mails);
        // Run again: nothing is written; then flags and a folder change, and follow.
        let mut out = Out::Maildir(MaildirOut::open(&dir).unwrap());
        for mail in &mails {
            assert_eq!(put(&mut out, mail), Present::Yes, "{mail:?}");
        }
        mails[0].flags = vec!["\\Answered".parse().unwrap()];
        mails[2].folder = FolderPath::inbox();
        for mail in [&mails[0], &mails[2]] {
            assert_eq!(put(&mut out, mail), Present::Followed);
        }
        out.finish().unwrap();
        assert_eq!(back(&dir), mails);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("thesis.tex"), "x").unwrap();
        assert!(MaildirOut::open(temp.path()).is_err());
    }
}
