//! Messages that wait on the workstation until a server can be reached: sealed, synced, and handed in exactly once.
//!
//! A message has its id before the first server is tried, and keeps it here: whatever is killed and whenever, it is handed in again under
//! the same id, and the servers take an id once. Must never say that a message is kept before it is on disk, never forget one that no
//! server has taken, and never drop one in silence: what the servers refuse stays here, with the reason, until somebody has dealt with it.
//!
//! A message is two files: `ID.body` and `ID.head`. The head is written last and goes first, so a body without one is nobody's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_model::{BodyInfo, Envelope, ErrorKind, MessageId, Name, Refusal};
use serde::{Deserialize, Serialize};

use crate::body::{BodySource, Reopen};
use crate::sealed::{DataKey, SealedReader, SealedWriter};
use crate::submit::{SubmitError, wall_ms};
use crate::user::GrapevineUser;

/// Messages that wait at most: a week of a busy person.
const MESSAGES_MAX: usize = 1_000;
/// Their bodies together: a tenth of what a small notebook has free.
const BYTES_MAX: u64 = 1 << 30;
/// Bodies up to this size stay in memory until it is known whether a server takes them.
const INLINE_BYTES: usize = 64 * 1024;
/// A head has an envelope of at most some thousand recipients.
const HEAD_BYTES_MAX: u64 = 16 << 20;
const HEAD: &str = "head";
const BODY: &str = "body";
/// What is being written.
const PART: &str = "part";
const LOCK: &str = "lock";

/// What may wait.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Messages.
    pub messages: usize,
    /// Octets of their bodies.
    pub bytes: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            messages: MESSAGES_MAX,
            bytes: BYTES_MAX,
        }
    }
}

/// A message that waits, or that the servers have refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Its id, at whichever server and however often it is handed in.
    pub id: MessageId,
    /// Who hands it in.
    pub sender: Name,
    /// From and for whom.
    pub envelope: Envelope,
    /// Its body's measure.
    pub body: BodyInfo,
    /// Since when it is here, milliseconds since 1970.
    pub kept_ms: u64,
    /// How it stands.
    pub state: OutgoingState,
}

/// How a message in the outbox stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutgoingState {
    /// It is handed in as soon as a server can be reached.
    Waiting {
        /// Why the last try was in vain.
        why: Option<String>,
    },
    /// The servers do not take it.
    Refused {
        /// Why.
        why: String,
        /// When, milliseconds since 1970.
        at_ms: u64,
        /// The message that tells its sender, once it has an id; the same whenever it is tried.
        told_by: Option<MessageId>,
        /// Whether a server has taken that message.
        told: bool,
    },
}

/// Why a message is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is no more room.
    #[error(
        "the outbox of this machine is full ({0}); it empties itself when a server can be reached"
    )]
    Full(String),
    /// The disk.
    #[error("the message can't be kept on this machine: {0}")]
    Disk(#[from] io::Error),
}

/// What came of a try to hand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// Nothing waits.
    Nothing,
    /// A server has it.
    Accepted(MessageId),
    /// The servers refuse it.
    Refused(MessageId, Refusal),
    /// No server can be reached now.
    Unreachable(String),
    /// The servers do not take the login.
    LoginRefused(String),
}

/// The outbox of one person, under one key. One process at a time has it open.
#[derive(Debug)]
pub struct Outbox {
    dir: PathBuf,
    key: DataKey,
    limits: OutboxLimits,
    held: Mutex<BTreeMap<MessageId, Outgoing>>,
    damaged: Vec<String>,
    next_part: AtomicU64,
    _lock: File,
}

impl Outbox {
    /// Opens the folder, or makes it. What was half written when a process was killed goes: nobody was told that it was kept.
    ///
    /// # Errors
    /// Another process has it open; the disk.
    pub fn open(dir: &Path, key: DataKey, limits: OutboxLimits) -> io::Result<Self> {
        make_private(dir)?;
        let lock = File::create(dir.join(LOCK))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process has this outbox open"))?;
        let (mut held, mut damaged, mut bodies) = (BTreeMap::new(), Vec::new(), Vec::new());
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(PART) => fs::remove_file(&path)?,
                Some(BODY) => bodies.push(path),
                Some(HEAD) => match read_head(&path, &key) {
                    Ok(head) => {
                        held.insert(head.id, head);
                    }
                    Err(error) => damaged.push(format!("{}: {error}", path.display())),
                },
                _ => {}
            }
        }
        for body in bodies {
            if !body.with_extension(HEAD).exists() {
                fs::remove_file(&body)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            key,
            limits,
            held: Mutex::new(held),
            damaged,
            next_part: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Files that can't be read: what they were is not known, and they are left where they are.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// All messages, the oldest first.
    pub fn list(&self) -> Vec<Outgoing> {
        let mut all: Vec<Outgoing> = self.held().values().cloned().collect();
        all.sort_by_key(|one| (one.kept_ms, one.id));
        all
    }

    /// Whether any message waits to be handed in, or to be told of.
    pub fn has_work(&self) -> bool {
        self.held().values().any(|one| match &one.state {
            OutgoingState::Waiting { .. } => true,
            OutgoingState::Refused { told, .. } => !told,
        })
    }

    /// A body on its way: sealed where it is too large for memory.
    pub fn stage(&self) -> StagedBody {
        let number = self.next_part.fetch_add(1, Ordering::Relaxed);
        StagedBody {
            part: self.dir.join(format!("{number}.{PART}")),
            key: self.key.clone(),
            hasher: Box::default(),
            len: 0,
            content: Content::Memory(Vec::new()),
        }
    }

    /// Keeps a message; when this returns it is on disk. Blocks.
    ///
    /// # Errors
    /// It is not kept: there is no room, or the disk fails.
    pub fn keep(
        &self,
        id: MessageId,
        sender: &Name,
        envelope: &Envelope,
        body: FinishedBody,
    ) -> Result<(), KeepError> {
        // One at a time: what is counted as room stays so.
        let mut held = self.held();
        if held.contains_key(&id) {
            return Ok(());
        }
        let used: u64 = held.values().map(|one| one.body.len).sum();
        if held.len() >= self.limits.messages {
            let why = format!("{} messages wait in it", held.len());
            return Err(KeepError::Full(why));
        }
        if used.saturating_add(body.info.len) > self.limits.bytes {
            let why = format!("{used} of {} octets are used", self.limits.bytes);
            return Err(KeepError::Full(why));
        }
        let head = Outgoing {
            id,
            sender: sender.clone(),
            envelope: envelope.clone(),
            body: body.info,
            kept_ms: wall_ms(),
            state: OutgoingState::Waiting { why: None },
        };
        let at = self.file(id, BODY);
        match &body.content {
            Finished::Memory(bytes) => {
                let part = self.dir.join(format!("{id}.{BODY}.{PART}"));
                let mut writer = sealed_file(&part, &self.key, BODY)?;
                writer.write_all(bytes)?;
                finish_file(writer)?;
                fs::rename(&part, &at)?;
            }
            Finished::File(part) => fs::rename(&part.0, &at)?,
        }
        self.write_head(&head)?;
        held.insert(id, head);
        Ok(())
    }

    /// Takes a message out: it is not handed in any more. Says whether it was there.
    ///
    /// # Errors
    /// The disk; then it is still there.
    pub fn remove(&self, id: MessageId) -> io::Result<bool> {
        let mut held = self.held();
        if !held.contains_key(&id) {
            return Ok(false);
        }
        fs::remove_file(self.file(id, HEAD))?;
        self.sync_folder()?;
        held.remove(&id);
        drop(held);
        // Without its head it is nobody's: the next start would remove it too.
        let _ = fs::remove_file(self.file(id, BODY));
        Ok(true)
    }

    /// Tries a refused message again, as if it had just come. Says whether there is one.
    ///
    /// # Errors
    /// The disk.
    pub fn retry(&self, id: MessageId) -> io::Result<bool> {
        self.change(id, |one| one.state = OutgoingState::Waiting { why: None })
    }

    /// The body of a message that is here.
    pub fn body(&self, id: MessageId) -> BodySource {
        BodySource::Other(Arc::new(SealedBody {
            path: self.file(id, BODY),
            key: self.key.clone(),
        }))
    }

    /// Hands in the message that waits longest, after those that this call was told to pass over; if a server takes it, it is here no more.
    pub async fn deliver_next(
        self: &Arc<Self>,
        user: &GrapevineUser,
        passed_over: &[MessageId],
    ) -> io::Result<Delivered> {
        let next = self.list().into_iter().find(|one| {
            matches!(one.state, OutgoingState::Waiting { .. }) && !passed_over.contains(&one.id)
        });
        let Some(next) = next else {
            return Ok(Delivered::Nothing);
        };
        let body = self.body(next.id);
        let outcome = user
            .submit_measured(next.id, &next.envelope, &body, next.body)
            .await;
        let id = next.id;
        match outcome {
            Ok(_) => {
                self.away(move |outbox| outbox.remove(id)).await?;
                Ok(Delivered::Accepted(id))
            }
            Err(SubmitError::Refused(refusal)) => match refusal.kind {
                ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => {
                    self.note(id, &refusal.why);
                    Ok(Delivered::Unreachable(refusal.why))
                }
                ErrorKind::NotAuthenticated => {
                    self.note(id, &refusal.why);
                    Ok(Delivered::LoginRefused(refusal.why))
                }
                ErrorKind::Invalid
                | ErrorKind::NotAllowed
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::TooLarge => {
                    let why = refusal.why.clone();
                    self.away(move |outbox| outbox.refused(id, why)).await?;
                    Ok(Delivered::Refused(id, refusal))
                }
            },
            Err(SubmitError::Body(error)) => {
                // It can't be read any more: that is told as a refusal is.
                let why = format!("its text can't be read back from this machine's disk: {error}");
                let refusal = Refusal::new(ErrorKind::Invalid, why.clone());
                self.away(move |outbox| outbox.refused(id, why)).await?;
                Ok(Delivered::Refused(id, refusal))
            }
        }
    }

    /// The message that tells a sender of a refusal has this id from now on; one that it has already stays.
    ///
    /// # Errors
    /// The disk.
    pub fn told_by(&self, id: MessageId, report: MessageId) -> io::Result<()> {
        self.change(id, |one| {
            if let OutgoingState::Refused { told_by, .. } = &mut one.state {
                told_by.get_or_insert(report);
            }
        })
        .map(|_| ())
    }

    /// Its sender has been told.
    ///
    /// # Errors
    /// The disk.
    pub fn told(&self, id: MessageId) -> io::Result<()> {
        self.change(id, |one| {
            if let OutgoingState::Refused { told, .. } = &mut one.state {
                *told = true;
            }
        })
        .map(|_| ())
    }

    fn refused(&self, id: MessageId, why: String) -> io::Result<bool> {
        self.change(id, |one| {
            one.state = OutgoingState::Refused {
                why,
                at_ms: wall_ms(),
                told_by: None,
                told: false,
            };
        })
    }

    /// For those who look; it is not worth a write.
    fn note(&self, id: MessageId, reason: &str) {
        if let Some(Outgoing {
            state: OutgoingState::Waiting { why },
            ..
        }) = self.held().get_mut(&id)
        {
            *why = Some(reason.to_owned());
        }
    }

    fn change(&self, id: MessageId, change: impl FnOnce(&mut Outgoing)) -> io::Result<bool> {
        let mut held = self.held();
        let Some(one) = held.get(&id) else {
            return Ok(false);
        };
        let mut changed = one.clone();
        change(&mut changed);
        self.write_head(&changed)?;
        held.insert(id, changed);
        Ok(true)
    }

    async fn away<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let outbox = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&outbox))
            .await
            .map_err(io::Error::other)?
    }

    fn write_head(&self, head: &Outgoing) -> io::Result<()> {
        let part = self.dir.join(format!("{}.{HEAD}.{PART}", head.id));
        let mut writer = sealed_file(&part, &self.key, HEAD)?;
        serde_json::to_writer(&mut writer, head)?;
        finish_file(writer)?;
        fs::rename(&part, self.file(head.id, HEAD))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn file(&self, id: MessageId, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<MessageId, Outgoing>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder for its owner's eyes only.
///
/// # Errors
/// It can't be made, or is somebody else's.
pub fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// A new sealed file for its owner's eyes only.
pub(crate) fn sealed_file(
    path: &Path,
    key: &DataKey,
    purpose: &str,
) -> io::Result<SealedWriter<BufWriter<File>>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    SealedWriter::begin(BufWriter::new(file), key, purpose)
}

/// Ends it; it is on disk then.
pub(crate) fn finish_file(writer: SealedWriter<BufWriter<File>>) -> io::Result<()> {
    let file = writer.finish()?.into_inner();
    file.map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn read_head(path: &Path, key: &DataKey) -> io::Result<Outgoing> {
    let file = File::open(path)?.take(HEAD_BYTES_MAX);
    let reader = SealedReader::begin(io::BufReader::new(file), key, HEAD)?;
    Ok(serde_json::from_reader(reader)?)
}

/// A body that is sealed in a file.
#[derive(Debug)]
struct SealedBody {
    path: PathBuf,
    key: DataKey,
}

impl Reopen for SealedBody {
    fn reopen(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = io::BufReader::new(File::open(&self.path)?);
        Ok(Box::new(SealedReader::begin(file, &self.key, BODY)?))
    }
}

/// A body that comes in. Dropped unfinished, it leaves nothing.
pub struct StagedBody {
    part: PathBuf,
    key: DataKey,
    hasher: Box<blake3::Hasher>,
    len: u64,
    content: Content,
}

enum Content {
    Memory(Vec<u8>),
    // Writer before file: on drop the last buffer goes out before the file is removed.
    File(Box<SealedWriter<BufWriter<File>>>, PartFile),
    /// A write failed: what is here is not the body.
    Failed,
}

/// A file that is removed when it is dropped; after it was moved there is nothing at its name.
#[derive(Debug)]
struct PartFile(PathBuf);

impl Drop for PartFile {
    fn drop(&mut self) {
        // The next start removes what stays.
        let _ = fs::remove_file(&self.0);
    }
}

impl StagedBody {
    /// Appends to it. After an error it is of no more use. Blocks where it is too large for memory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.append(bytes);
        if written.is_err() {
            self.content = Content::Failed;
            return written;
        }
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Content::Memory(held) = &mut self.content {
            if held.len() + bytes.len() <= INLINE_BYTES {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let file = PartFile(self.part.clone());
            let mut writer = Box::new(sealed_file(&self.part, &self.key, BODY)?);
            writer.write_all(held)?;
            self.content = Content::File(writer, file);
        }
        match &mut self.content {
            Content::File(writer, _) => writer.write_all(bytes),
            Content::Memory(_) | Content::Failed => Err(io::Error::other(
                "an earlier part of the body was not written",
            )),
        }
    }

    /// Ends it: a large one is on disk now.
    ///
    /// # Errors
    /// Whatever the file system says, or that an earlier write failed.
    pub fn finish(self) -> io::Result<FinishedBody> {
        let content = match self.content {
            Content::Memory(bytes) => Finished::Memory(bytes.into()),
            Content::File(writer, part) => {
                finish_file(*writer)?;
                Finished::File(part)
            }
            Content::Failed => {
                return Err(io::Error::other("a part of the body was not written"));
            }
        };
        Ok(FinishedBody {
            info: BodyInfo {
                len: self.len,
                digest: *self.hasher.finalize().as_bytes(),
            },
            key: self.key,
            content,
        })
    }
}

/// A body that has come whole. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct FinishedBody {
    info: BodyInfo,
    key: DataKey,
    content: Finished,
}

#[derive(Debug)]
enum Finished {
    Memory(Arc<[u8]>),
    File(PartFile),
}

impl FinishedBody {
    /// Its measure.
    pub fn info(&self) -> BodyInfo {
        self.info
    }

    /// To be read, as long as this is held.
    pub fn source(&self) -> BodySource {
        match &self.content {
            Finished::Memory(bytes) => BodySource::Bytes(Arc::clone(bytes)),
            Finished::File(part) => BodySource::Other(Arc::new(SealedBody {
                path: part.0.clone(),
                key: self.key.clone(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{EnvelopeRecipient, ReturnContent};

    use super::*;
    use crate::submit::new_message_id;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn envelope() -> Envelope {
        Envelope {
            return_path: Some(name("birrell@pa.example")),
            recipients: vec![EnvelopeRecipient::from(name("needham@pa.example"))],
            content: ReturnContent::Headers,
            envelope_id: None,
        }
    }

    fn body(outbox: &Outbox, bytes: &[u8]) -> FinishedBody {
        let mut staged = outbox.stage();
        for piece in bytes.chunks(10_000) {
            staged.write(piece).unwrap();
        }
        staged.finish().unwrap()
    }

    fn text(source: &BodySource) -> Vec<u8> {
        let mut read = Vec::new();
        source.open().unwrap().read_to_end(&mut read).unwrap();
        read
    }

    fn files(dir: &Path) -> usize {
        let all = fs::read_dir(dir).unwrap();
        all.filter(|file| file.as_ref().unwrap().file_name() != LOCK)
            .count()
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_can_be_read_with_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (key, limits) = (DataKey::random().unwrap(), OutboxLimits::default());
        let sender = name("birrell@pa.example");
        let mut kept = Vec::new();
        {
            let outbox = Outbox::open(folder.path(), key.clone(), limits).unwrap();
            assert!(
                Outbox::open(folder.path(), key.clone(), limits).is_err(),
                "it is open"
            );
            for bytes in [b"a small one".to_vec(), vec![b'x'; 300_000]] {
                let id = new_message_id().unwrap();
                let body = body(&outbox, &bytes);
                assert_eq!(text(&body.source()), bytes);
                outbox.keep(id, &sender, &envelope(), body).unwrap();
                kept.push((id, bytes));
            }
            // One that is never finished, and one that is finished and not kept.
            let mut staged = outbox.stage();
            staged.write(&vec![0; 200_000]).unwrap();
            drop(staged);
            drop(body(&outbox, &vec![1; 200_000]));
            assert_eq!(files(folder.path()), 4);
        }
        for file in fs::read_dir(folder.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            for secret in [&b"a small one"[..], b"needham", b"xxxxxxxx"] {
                assert!(!bytes.windows(secret.len()).any(|part| part == secret));
            }
        }
        let outbox = Outbox::open(folder.path(), key, limits).unwrap();
        for (id, bytes) in &kept {
            assert_eq!(text(&outbox.body(*id)), *bytes);
        }
        assert_eq!(outbox.list().len(), 2);
        drop(outbox);
        let other = Outbox::open(folder.path(), DataKey::random().unwrap(), limits).unwrap();
        assert_eq!((other.list().len(), other.damaged().len()), (0, 2));
        assert_eq!(files(folder.path()), 4, "what can't be read stays");
    }

    #[test]
    fn a_body_without_a_head_was_never_kept_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (key, limits) = (DataKey::random().unwrap(), OutboxLimits::default());
        let outbox = Outbox::open(folder.path(), key.clone(), limits).unwrap();
        let id = new_message_id().unwrap();
        let sender = name("birrell@pa.example");
        outbox
            .keep(id, &sender, &envelope(), body(&outbox, b"text"))
            .unwrap();
        drop(outbox);
        // As a kill between the two files leaves it.
        fs::remove_file(folder.path().join(format!("{id}.head"))).unwrap();
        fs::write(folder.path().join("7.part"), "half").unwrap();
        let outbox = Outbox::open(folder.path(), key, limits).unwrap();
        assert!(outbox.list().is_empty() && outbox.damaged().is_empty());
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_full_outbox_says_so_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let limits = OutboxLimits {
            messages: 2,
            bytes: 1_000,
        };
        let outbox = Outbox::open(folder.path(), DataKey::random().unwrap(), limits).unwrap();
        let sender = name("birrell@pa.example");
        let keep = |bytes: &[u8]| {
            let id = new_message_id().unwrap();
            outbox
                .keep(id, &sender, &envelope(), body(&outbox, bytes))
                .map(|()| id)
        };
        let first = keep(&[1; 600]).unwrap();
        let error = keep(&[1; 600]).unwrap_err();
        assert!(error.to_string().contains("600 of 1000 octets"), "{error}");
        keep(&[1; 400]).unwrap();
        let error = keep(&[]).unwrap_err();
        assert!(error.to_string().contains("2 messages wait"), "{error}");
        assert!(outbox.remove(first).unwrap() && !outbox.remove(first).unwrap());
        keep(&[]).unwrap();
    }
}
