//! The store: opens a folder, takes commits, gives views and bodies.
//!
//! One process per folder. The folder is free again when the store *and* all its views are dropped.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crate::archive::{
    ArchiveRule, ArchiveSums, ArchivedBody, Candidate, Candidates, Fetched, ID_KEY, SUMS_KEY, Step,
    archived, candidates, is_needed, rubbish,
};
use crate::body::BodyReader;
use crate::committer::{Answer, Committer, Durability, Held, Inner, Job, Message};
use crate::contract::{Damaged, MessageId, Op, Row, Table, Tables};
use crate::engine::{Engine, MAX_KEY_BYTES, MAX_VALUE_BYTES, Part};
use crate::error::{CommitError, OpenError, open_io};
use crate::folder::{Folder, sync_folder};
use crate::group::Batch;
use crate::index::{BodyRow, Place};
use crate::options::Options;
use crate::recovery::clear_leftovers;
use crate::snapshot::Snapshot;
use crate::stage::{Spool, Stage, StagedBody, StagedContent};
use crate::stats::StoreStats;
use crate::verify::{Damage, verify};
use crate::witness::Witness;

/// How often a body is looked up again because it was replaced between its row and its file.
const BODY_LOOKUPS_MAX: usize = 8;

/// An open store. Clones are the same store; the last one dropped stops the committer, after all that waits.
#[derive(Clone)]
pub struct Store {
    running: Arc<Running>,
}

/// Where a body is read.
#[derive(Debug)]
pub enum Body {
    /// Here.
    Here(BodyReader),
    /// In the archive.
    Archived(ArchivedBody),
}

/// A read view of what is committed: each read sees the newest batch, whole. Cheap to clone.
#[derive(Clone)]
pub struct StoreView {
    inner: Arc<Inner>,
}

struct Running {
    inner: Arc<Inner>,
    sender: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a folder, making both where there is none, and repairs what a crash left behind.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing that was acknowledged is ever thrown away to make a store open.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        let options = options.clamped();
        let folder = Folder::new(dir.as_ref());
        let lock = folder.lock()?;
        folder.check_or_write_format()?;
        create_if_new(&folder, &options)?;
        let (witness, acknowledged) = Witness::open(&folder.witness())?;
        let (engine, commit) = Engine::open(&folder.tables(), &options, acknowledged)?;
        let own_changes = clear_leftovers(&folder, &engine)?;
        let inner = Arc::new(Inner {
            spool: Spool::new(folder.spool()),
            stats: StoreStats::default(),
            failure: OnceLock::new(),
            fetched: Fetched::default(),
            folder,
            engine,
            _lock: lock,
        });
        let committer = Committer {
            inner: Arc::clone(&inner),
            witness,
            commit,
            own_changes,
            // What a killed process wrote may be in the system's memory only.
            unsynced: true,
            leftovers: Vec::new(),
            held: Held::default(),
        };
        let (sender, thread) = committer
            .start()
            .map_err(open_io("start the committer's thread"))?;
        Ok(Self {
            running: Arc::new(Running {
                inner,
                sender,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Commits a batch: all of it or nothing. `done` is called on the committer's thread, in the order of the commits; it
    /// must be quick and must not commit. Blocks while too many commits wait.
    ///
    /// A staged body belongs to the batch from here on; discarding it no longer does anything.
    pub fn commit(
        &self,
        batch: Vec<Op>,
        durability: Durability,
        done: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) {
        let bytes = batch.iter().map(op_bytes).sum();
        let job = Job {
            batch: self.prepare(batch),
            bytes,
            durability,
            done: Answer::new(Box::new(done)),
        };
        // A store that is closing drops the job, and with that answers it.
        let _ = self.running.sender.send(Message::Commit(job));
    }

    /// Commits and waits for the answer. For tools and tests; never call it from `done`.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn commit_and_wait(
        &self,
        batch: Vec<Op>,
        durability: Durability,
    ) -> Result<(), CommitError> {
        let (sender, receiver) = sync_channel(1);
        self.commit(batch, durability, move |outcome| {
            let _ = sender.send(outcome);
        });
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// A view of what is committed.
    pub fn view(&self) -> StoreView {
        StoreView {
            inner: Arc::clone(&self.running.inner),
        }
    }

    /// What is committed now: all tables and the index of bodies, at one moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(Arc::clone(&self.running.inner))
    }

    /// Starts to take in a body.
    pub fn stage(&self) -> Stage {
        self.running.inner.spool.stage()
    }

    /// Forgets a staged body that no commit has taken. Does nothing for any other token.
    pub fn discard(&self, token: u64) {
        drop(self.running.inner.spool.take(token));
    }

    /// Reads a body that is staged and not committed yet.
    ///
    /// # Errors
    /// [`Damaged`], when its file can't be read.
    pub fn staged_body(&self, token: u64) -> Result<Option<BodyReader>, Damaged> {
        let opened = self.running.inner.spool.peek(token, open_staged);
        opened.transpose()
    }

    /// Opens the body of a message, or says where it is. `None` when it has none.
    ///
    /// # Errors
    /// [`Damaged`], when what is there is not what was stored.
    pub fn find_body(&self, message: MessageId) -> Result<Option<Body>, Damaged> {
        open_body(&self.running.inner, message)
    }

    /// The same, for what must be here.
    ///
    /// # Errors
    /// Also when it is in the archive.
    pub fn body(&self, message: MessageId) -> Result<Option<BodyReader>, Damaged> {
        body_here(&self.running.inner, message)
    }

    /// Says which day it is. What comes or is fetched is noted with it.
    pub fn set_today(&self, day: u32) {
        self.running.inner.fetched.set_today(day);
    }

    /// Notes that a body was fetched; with the next batch, and at no cost to anybody.
    pub fn touch(&self, message: MessageId) {
        self.running.inner.fetched.touch(message);
    }

    /// Bodies that may go to the archive, from so many rows of the index after a message.
    ///
    /// # Errors
    /// [`Damaged`], when the index can't be read.
    pub fn archivable(
        &self,
        after: Option<MessageId>,
        rows: usize,
        rule: &ArchiveRule,
    ) -> Result<Candidates, Damaged> {
        candidates(&self.running.inner, after, rows, rule)
    }

    /// Says that these are about to be copied to the archive. Waits until that is durable.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn intend_to_archive(&self, candidates: Vec<Candidate>) -> Result<(), CommitError> {
        self.step(Step::Intend(candidates))
    }

    /// Says that these are in the archive and were checked there: what is here goes, unless the body has changed
    /// meanwhile. Waits until that is durable.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn moved_to_archive(&self, candidates: Vec<Candidate>) -> Result<(), CommitError> {
        self.step(Step::Moved(candidates))
    }

    /// Objects that the archive is to be rid of, after a name.
    ///
    /// # Errors
    /// [`Damaged`], when that can't be read.
    pub fn archive_rubbish(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Damaged> {
        rubbish(&self.running.inner, after, limit)
    }

    /// Whether an object is the body of a message here.
    ///
    /// # Errors
    /// [`Damaged`], when that can't be told: then it is not to be removed.
    pub fn is_archived_as(&self, object: &str) -> Result<bool, Damaged> {
        is_needed(&self.running.inner, object)
    }

    /// Says that there are no objects of these names, or that they are needed after all.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn removed_from_archive(&self, objects: Vec<String>) -> Result<(), CommitError> {
        self.step(Step::Removed(objects))
    }

    /// What is in the archive.
    ///
    /// # Errors
    /// [`Damaged`], when that can't be read.
    pub fn archive_sums(&self) -> Result<ArchiveSums, Damaged> {
        let row = self.running.inner.engine.get(Part::House, SUMS_KEY)?;
        let sums = row.map(|row| {
            ArchiveSums::decode(&row).ok_or_else(|| Damaged("the archive's sums".to_owned()))
        });
        Ok(sums.transpose()?.unwrap_or_default())
    }

    /// What this store's own part of the archive is called: as at first, else as proposed. No two stores
    /// have one name, so none removes what another one needs.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn archive_id(&self, proposed: u64) -> Result<u64, CommitError> {
        let known = || {
            let row = self.running.inner.engine.get(Part::House, ID_KEY);
            row.map_err(|damaged| CommitError::Broken(damaged.0))
        };
        if known()?.is_none() {
            self.step(Step::Name(proposed))?;
        }
        match known()?.map(<[u8; 8]>::try_from) {
            Some(Ok(id)) => Ok(u64::from_be_bytes(id)),
            Some(Err(_)) | None => Err(CommitError::Broken(
                "the name of this store's part of the archive can't be read".to_owned(),
            )),
        }
    }

    fn step(&self, step: Step) -> Result<(), CommitError> {
        let batch = Batch {
            ops: Vec::new(),
            adopted: Vec::new(),
            steps: vec![step],
        };
        let (sender, receiver) = sync_channel(1);
        let done = move |outcome| {
            let _ = sender.send(outcome);
        };
        let job = Job {
            batch: Ok(batch),
            bytes: 0,
            durability: Durability::Synced,
            done: Answer::new(Box::new(done)),
        };
        let _ = self.running.sender.send(Message::Commit(job));
        receiver.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Why the store takes no more commits, if so.
    pub fn failure(&self) -> Option<CommitError> {
        self.running.inner.failure.get().cloned()
    }

    /// Counters.
    pub fn stats(&self) -> &StoreStats {
        &self.running.inner.stats
    }

    /// Space left for this process on the store's file system.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        fs4::available_space(self.running.inner.folder.path())
    }

    /// Reads everything there is and lists what is damaged. Takes as long as reading the disk does.
    pub fn verify(&self) -> Vec<Damage> {
        verify(&self.running.inner)
    }

    /// Stops the committer after all that waits, and syncs. Later commits are answered `Closed`; reads go on.
    pub fn close(&self) {
        self.running.stop();
    }

    /// Takes the staged bodies of a batch out of the spool, and refuses what could not be stored.
    fn prepare(&self, ops: Vec<Op>) -> Result<Batch, CommitError> {
        let spool = &self.running.inner.spool;
        let mut adopted = Vec::new();
        let checked = ops.iter().try_for_each(|op| match op {
            Op::Put { key, value, .. } => check_key(key).and_then(|()| check_value(value)),
            Op::Delete { key, .. } => check_key(key),
            Op::AdoptBody { staged, .. } => match spool.take(*staged) {
                Some(body) => {
                    adopted.push(body);
                    Ok(())
                }
                None => Err(CommitError::Refused(format!(
                    "no body is staged as {staged}"
                ))),
            },
            Op::DropBody { .. } => Ok(()),
        });
        match checked {
            Ok(()) => Ok(Batch {
                ops,
                adopted,
                steps: Vec::new(),
            }),
            Err(refusal) => {
                adopted.into_iter().for_each(|body| spool.put(body));
                Err(refusal)
            }
        }
    }
}

impl StoreView {
    /// As [`Store::body`].
    ///
    /// # Errors
    /// [`Damaged`], when what is there is not what was stored.
    pub fn body(&self, message: MessageId) -> Result<Option<BodyReader>, Damaged> {
        body_here(&self.inner, message)
    }
}

impl Tables for StoreView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        self.inner.engine.get(table.into(), key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        self.inner
            .engine
            .scan(table.into(), from, Some(until), limit)
    }
}

impl Running {
    fn stop(&self) {
        let thread = self.thread.lock().ok().and_then(|mut held| held.take());
        let Some(thread) = thread else { return };
        let _ = self.sender.send(Message::Stop);
        // The last store may be dropped by an answer, on the committer's own thread.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the tables of a new store. They appear whole, under their name, or not at all.
fn create_if_new(folder: &Folder, options: &Options) -> Result<(), OpenError> {
    let tables = folder.tables();
    if !tables.exists() {
        if folder.witness().exists() {
            return Err(OpenError::Damaged(
                "the folder of tables is gone".to_owned(),
            ));
        }
        let draft = folder.tables_in_the_making();
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(open_io("remove half-made tables")(error));
            }
            _ => {}
        }
        Engine::create(&draft, options)?;
        fs::rename(&draft, &tables).map_err(open_io("put new tables in place"))?;
        sync_folder(folder.path()).map_err(open_io("sync the store's folder"))?;
    }
    if folder.witness().exists() {
        Ok(())
    } else {
        Witness::create(folder.path())
    }
}

fn check_key(key: &[u8]) -> Result<(), CommitError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(CommitError::Refused(format!(
            "a key of {} bytes",
            key.len()
        )));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), CommitError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(CommitError::Refused(format!(
            "a value of {} bytes",
            value.len()
        )));
    }
    Ok(())
}

/// What an operation holds in memory, about.
fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key, .. } => key.len(),
        Op::AdoptBody { .. } => crate::stage::INLINE_BODY_MAX_BYTES,
        Op::DropBody { .. } => 0,
    }
}

fn open_staged(body: &StagedBody) -> Result<BodyReader, Damaged> {
    let name = format!("the staged body {}", body.staged.token);
    let row = body.row(0);
    match &body.content {
        StagedContent::Inline(bytes) => BodyReader::from_memory(&name, &row, Arc::clone(bytes)),
        StagedContent::File(file) => match File::open(file.path()) {
            Ok(file) => BodyReader::from_file(&name, &row, file),
            Err(error) => Err(Damaged(format!("{name}: {error}"))),
        },
    }
}

fn body_here(inner: &Inner, message: MessageId) -> Result<Option<BodyReader>, Damaged> {
    match open_body(inner, message)? {
        None => Ok(None),
        Some(Body::Here(reader)) => Ok(Some(reader)),
        Some(Body::Archived(_)) => Err(Damaged(format!("the body of {message} is in the archive"))),
    }
}

pub(crate) fn open_body(inner: &Inner, message: MessageId) -> Result<Option<Body>, Damaged> {
    let mut last_row = None;
    for _ in 0..BODY_LOOKUPS_MAX {
        let Some(bytes) = inner.engine.get(Part::Bodies, &message.to_bytes())? else {
            return Ok(None);
        };
        let row = BodyRow::decode(message, &bytes)?;
        if row.place == Place::Archived {
            return Ok(Some(Body::Archived(archived(message, &row))));
        }
        if let Some(reader) = open_row(inner, message, &row)? {
            return Ok(Some(Body::Here(reader)));
        }
        // Dropped or replaced since the row was read; if the row is still the same, it is a loss.
        if last_row == Some(row) {
            break;
        }
        last_row = Some(row);
    }
    Err(Damaged(format!("the body of {message} is gone")))
}

/// Opens what a row names; `None` when it isn't there.
fn open_row(
    inner: &Inner,
    message: MessageId,
    row: &BodyRow,
) -> Result<Option<BodyReader>, Damaged> {
    let name = format!("the body of {message}");
    match (row.place, row.file(message)) {
        (Place::File, Some(file)) => match File::open(inner.folder.body(&file)) {
            Ok(file) => BodyReader::from_file(&name, row, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Damaged(format!("{name}: {error}"))),
        },
        (Place::Inline | Place::File | Place::Archived, _) => {
            let bytes = inner.engine.get(Part::Inline, &message.to_bytes())?;
            match bytes {
                Some(bytes) => BodyReader::from_memory(&name, row, bytes.into()).map(Some),
                None => Ok(None),
            }
        }
    }
}
