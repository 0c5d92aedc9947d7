//! The engine: ordered partitions of keys and values with atomic, durable batches. The only file that
//! names fjall, so that another engine can take its place.
//!
//! Must never panic on what is on disk: whatever fjall does with damaged files comes out as an error. Must
//! never make a batch visible before it is as durable as was asked.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::Readable as _;
use fjall::config::CompressionPolicy;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    PersistMode,
};

use crate::contract::{Damaged, Row, Table};
use crate::error::{CommitError, OpenError, is_full};
use crate::journal_check::check_journals;
use crate::options::Options;

/// The number of the last commit, in the house partition. Written with each batch.
const COMMIT_KEY: &[u8] = b"grapevine.commit";
/// With a partition's name after it: the partition was made, so its absence is a loss.
const PARTITION_KEY: &str = "grapevine.partition.";
/// The engine makes this file last when it creates a database.
const VERSION_FILE: &str = "version";
/// Values of this size and more are kept apart from the keys, or each compaction would copy all bodies again.
const SEPARATED_VALUE_BYTES: u32 = 2 * 1024;
/// With less space than this left, a failure in the background counts as a full disk. The engine does not
/// say what its workers failed with.
const FULL_DISK_BYTES: u64 = 1 << 20;

/// Memtables of one partition that may wait for their flush: the engine takes 4, and only then waits.
const SEALED_MEMTABLES_MAX: usize = 3;
/// Flushed runs of one partition that may wait for compaction; at 30 the engine stops.
const L0_RUNS_MAX: usize = 24;
/// A flush of a memtable takes well under a second; this long means that nobody does it any more.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(60);
const ROOM_WAIT_STEP: Duration = Duration::from_millis(1);

/// Longest key the engine can hold.
pub(crate) const MAX_KEY_BYTES: usize = u16::MAX as usize;
/// Longest value of a table: bodies have their own way in, and a batch is held in memory.
pub(crate) const MAX_VALUE_BYTES: usize = 16 << 20;

/// A partition: an ordered map of its own, batches cover all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The store's own facts.
    House,
    /// Index of bodies, by message id.
    Bodies,
    /// Small bodies, by message id.
    Inline,
    /// Names of body files to be removed.
    Trash,
    /// Names of objects that may be in the archive and that no row needs.
    ArchiveRubbish,
    /// A table of the core, by its number.
    Table(u8),
}

impl From<Table> for Part {
    fn from(table: Table) -> Self {
        Self::Table(table as u8)
    }
}

impl Part {
    /// All there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let tables = Table::ALL.iter().map(|table| Self::from(*table));
        let own = [
            Self::House,
            Self::Bodies,
            Self::Inline,
            Self::Trash,
            Self::ArchiveRubbish,
        ];
        own.into_iter().chain(tables)
    }

    /// Its name on disk.
    pub(crate) fn name(self) -> String {
        match self {
            Self::House => "house".to_owned(),
            Self::Bodies => "bodies".to_owned(),
            Self::Inline => "inline".to_owned(),
            Self::Trash => "trash".to_owned(),
            Self::ArchiveRubbish => "archive-rubbish".to_owned(),
            Self::Table(number) => format!("table-{number}"),
        }
    }
}

/// What becomes of a key.
#[derive(Debug)]
pub(crate) enum Change {
    /// It has this value.
    Put(Vec<u8>),
    /// It has these bytes, shared with whoever reads them now.
    PutShared(Arc<[u8]>),
    /// It is gone.
    Delete,
}

/// A batch: one change a key. The engine would let either win of two changes of a key in one batch.
pub(crate) type Changes = BTreeMap<(Part, Vec<u8>), Change>;

/// Whether a batch must survive a power cut when the write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It must.
    Yes,
    /// It survives the process only; the next synced batch makes it durable too.
    No,
}

/// What was committed at one moment. As long as it lives, compactions keep what it shows.
pub(crate) struct Moment(fjall::Snapshot);

/// An open engine.
pub(crate) struct Engine {
    db: Database,
    parts: BTreeMap<Part, Keyspace>,
    dir: PathBuf,
    options: Options,
}

impl Engine {
    /// Makes a new database with all partitions and closes it.
    pub(crate) fn create(dir: &Path, options: &Options) -> Result<(), OpenError> {
        guarded_open(|| {
            let db = builder(dir, options).open().map_err(open_error)?;
            let parts = open_parts(&db, options)?;
            mark_parts(&db, &parts)?;
            Ok(())
        })
    }

    /// Opens a database; gives the number of its last commit. Everything up to commit `witness` was acknowledged; none where that is not
    /// known.
    pub(crate) fn open(
        dir: &Path,
        options: &Options,
        witness: Option<u64>,
    ) -> Result<(Self, u64), OpenError> {
        if !dir.join(VERSION_FILE).exists() {
            return Err(OpenError::Damaged(format!(
                "{} has no version file",
                dir.display()
            )));
        }
        check_journals(dir, COMMIT_KEY, witness)?;
        let engine = guarded_open(|| {
            let db = builder(dir, options).open().map_err(open_error)?;
            let absent: Vec<Part> = Part::all()
                .filter(|part| !db.keyspace_exists(&part.name()))
                .collect();
            let parts = open_parts(&db, options)?;
            let engine = Self {
                db,
                parts,
                dir: dir.to_path_buf(),
                options: options.clone(),
            };
            engine.check_parts(&absent)?;
            Ok(engine)
        })?;
        let commit = engine.last_commit()?;
        if let Some(witness) = witness.filter(|witness| commit < *witness) {
            return Err(OpenError::Damaged(format!(
                "commit {witness} was acknowledged, the last one there is {commit}"
            )));
        }
        Ok((engine, commit))
    }

    /// The value of a key.
    pub(crate) fn get(&self, part: Part, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        guarded_read(part, || {
            let value = self.part(part)?.get(key).map_err(|e| damaged(part, &e))?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    /// The first `limit` rows of `from..until`, ascending; without `until`, to the end.
    pub(crate) fn scan(
        &self,
        part: Part,
        from: &[u8],
        until: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        if until.is_some_and(|until| from >= until) {
            return Ok(Vec::new());
        }
        guarded_read(part, || {
            let keyspace = self.part(part)?;
            let range = match until {
                Some(until) => keyspace.range(from..until),
                None => keyspace.range(from..),
            };
            range
                .take(limit)
                .map(|guard| {
                    let (key, value) = guard.into_inner().map_err(|e| damaged(part, &e))?;
                    Ok((key.to_vec(), value.to_vec()))
                })
                .collect()
        })
    }

    /// What is committed now, to be read later while commits go on.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.db.snapshot())
    }

    /// The first rows after `from` as they were at a moment, ascending: at most so many, and no more when they have
    /// so many bytes.
    pub(crate) fn scan_at(
        &self,
        moment: &Moment,
        part: Part,
        from: &[u8],
        (rows_max, bytes_max): (usize, usize),
    ) -> Result<Vec<Row>, Damaged> {
        guarded_read(part, || {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            for guard in moment.0.range(self.part(part)?, from..).take(rows_max) {
                let (key, value) = guard.into_inner().map_err(|e| damaged(part, &e))?;
                bytes += key.len() + value.len();
                rows.push((key.to_vec(), value.to_vec()));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// Writes a batch as commit number `commit`; gives the bytes of its keys and values.
    pub(crate) fn write(
        &self,
        changes: Changes,
        commit: u64,
        sync: Sync,
    ) -> Result<u64, CommitError> {
        let bytes = changes
            .iter()
            .map(|((_, key), change)| key.len() + change.len_bytes());
        let bytes = bytes.sum::<usize>() as u64;
        let touched: BTreeSet<Part> = changes.keys().map(|(part, _)| *part).collect();
        for part in touched {
            self.wait_for_room(part)?;
        }
        self.guarded_write(|| {
            let mut batch =
                fjall::OwnedWriteBatch::with_capacity(self.db.clone(), changes.len() + 1)
                    .durability(Some(persist_mode(sync)));
            for ((part, key), change) in changes {
                let keyspace = self.part(part).map_err(|e| CommitError::Broken(e.0))?;
                match change {
                    Change::Put(value) => batch.insert(keyspace, key, value),
                    Change::PutShared(value) => batch.insert(keyspace, key, &*value),
                    Change::Delete => batch.remove(keyspace, key),
                }
            }
            let house = self
                .part(Part::House)
                .map_err(|e| CommitError::Broken(e.0))?;
            batch.insert(house, COMMIT_KEY, commit.to_be_bytes());
            batch.commit().map_err(|e| self.commit_error(&e))
        })?;
        Ok(bytes)
    }

    /// Waits until the workers have caught up with a partition. The engine would wait by itself, but later,
    /// with more in memory, and for ever if its workers have failed meanwhile.
    fn wait_for_room(&self, part: Part) -> Result<(), CommitError> {
        let keyspace = self.part(part).map_err(|e| CommitError::Broken(e.0))?;
        let until = Instant::now() + ROOM_WAIT_MAX;
        loop {
            let sealed = keyspace.tree.sealed_memtable_count();
            let is_large = keyspace.tree.active_memtable().size() > 2 * self.memtable_bytes(part);
            if sealed < SEALED_MEMTABLES_MAX && is_large {
                // Both workers are busy with other things than taking it out of our way.
                self.guarded_write(|| {
                    let rotated = keyspace.rotate_memtable();
                    rotated.map(drop).map_err(|e| self.commit_error(&e))
                })?;
            } else if sealed < SEALED_MEMTABLES_MAX && keyspace.tree.l0_run_count() < L0_RUNS_MAX {
                return Ok(());
            }
            // Says so when a worker has failed.
            self.persist(PersistMode::Buffer)?;
            if Instant::now() > until {
                let name = part.name();
                return Err(CommitError::Broken(format!(
                    "the partition {name} was not flushed in time"
                )));
            }
            std::thread::park_timeout(ROOM_WAIT_STEP);
        }
    }

    fn memtable_bytes(&self, part: Part) -> u64 {
        match part {
            Part::Inline => self.options.body_memtable_bytes,
            Part::House | Part::Bodies | Part::Trash | Part::ArchiveRubbish | Part::Table(_) => {
                self.options.table_memtable_bytes
            }
        }
    }

    /// Makes all that was written durable.
    pub(crate) fn sync(&self) -> Result<(), CommitError> {
        self.persist(persist_mode(Sync::Yes))
    }

    fn persist(&self, mode: PersistMode) -> Result<(), CommitError> {
        self.guarded_write(|| self.db.persist(mode).map_err(|e| self.commit_error(&e)))
    }

    fn part(&self, part: Part) -> Result<&Keyspace, Damaged> {
        self.parts
            .get(&part)
            .ok_or_else(|| Damaged(format!("there is no partition {}", part.name())))
    }

    fn last_commit(&self) -> Result<u64, OpenError> {
        let value = self
            .get(Part::House, COMMIT_KEY)
            .map_err(|e| OpenError::Damaged(e.0))?;
        match value {
            None => Ok(0),
            Some(value) => <[u8; 8]>::try_from(value.as_slice())
                .map(u64::from_be_bytes)
                .map_err(|_| {
                    OpenError::Damaged("the number of the last commit is unreadable".to_owned())
                }),
        }
    }

    /// Partitions that are missing must be ones that never were: made by a later version of this program.
    fn check_parts(&self, absent: &[Part]) -> Result<(), OpenError> {
        for part in absent {
            let mark = self
                .get(Part::House, part_mark(*part).as_bytes())
                .map_err(|e| OpenError::Damaged(e.0))?;
            if mark.is_some() || *part == Part::House {
                return Err(OpenError::Damaged(format!(
                    "the partition {} is gone",
                    part.name()
                )));
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        mark_parts(&self.db, &self.parts)
    }

    fn guarded_write(
        &self,
        write: impl FnOnce() -> Result<(), CommitError>,
    ) -> Result<(), CommitError> {
        catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|panic| {
            Err(CommitError::Broken(format!(
                "the engine panicked: {}",
                panic_text(&*panic)
            )))
        })
    }

    fn commit_error(&self, error: &fjall::Error) -> CommitError {
        let text = error.to_string();
        let full = match io_cause(error) {
            Some(cause) => is_full(cause),
            None => fs4::available_space(&self.dir).is_ok_and(|free| free < FULL_DISK_BYTES),
        };
        if full {
            CommitError::Full(text)
        } else {
            CommitError::Broken(text)
        }
    }
}

impl Change {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Put(value) => value.len(),
            Self::PutShared(value) => value.len(),
            Self::Delete => 0,
        }
    }
}

fn builder(dir: &Path, options: &Options) -> fjall::DatabaseBuilder<Database> {
    Database::builder(dir)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journal_bytes)
        .max_cached_files(Some(options.open_files))
        .worker_threads(options.worker_threads)
        // Each batch says itself how durable it is.
        .manual_journal_persist(true)
        // The sync is what a commit waits for; and the journals' check reads them as they are.
        .journal_compression(CompressionType::None)
}

fn part_options(part: Part, options: &Options) -> KeyspaceCreateOptions {
    let defaults = KeyspaceCreateOptions::default();
    match part {
        Part::Inline => defaults
            .max_memtable_size(options.body_memtable_bytes)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .with_kv_separation(Some(
                KvSeparationOptions::default().separation_threshold(SEPARATED_VALUE_BYTES),
            )),
        Part::House | Part::Bodies | Part::Trash | Part::ArchiveRubbish | Part::Table(_) => {
            defaults.max_memtable_size(options.table_memtable_bytes)
        }
    }
}

fn open_parts(db: &Database, options: &Options) -> Result<BTreeMap<Part, Keyspace>, OpenError> {
    Part::all()
        .map(|part| {
            let keyspace = db
                .keyspace(&part.name(), || part_options(part, options))
                .map_err(open_error)?;
            Ok((part, keyspace))
        })
        .collect()
}

fn part_mark(part: Part) -> String {
    format!("{PARTITION_KEY}{}", part.name())
}

fn mark_parts(db: &Database, parts: &BTreeMap<Part, Keyspace>) -> Result<(), OpenError> {
    let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
    if let Some(house) = parts.get(&Part::House) {
        for part in parts.keys() {
            batch.insert(house, part_mark(*part).as_bytes(), Vec::new());
        }
    }
    batch.commit().map_err(open_error)
}

fn persist_mode(sync: Sync) -> PersistMode {
    match sync {
        Sync::Yes => PersistMode::SyncData,
        Sync::No => PersistMode::Buffer,
    }
}

fn guarded_open<T>(open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        Err(OpenError::Damaged(format!(
            "the engine panicked on the tables: {}",
            panic_text(&*panic)
        )))
    })
}

fn guarded_read<T>(part: Part, read: impl FnOnce() -> Result<T, Damaged>) -> Result<T, Damaged> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(Damaged(format!(
            "the engine panicked on the partition {}: {}",
            part.name(),
            panic_text(&*panic)
        )))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

fn damaged(part: Part, error: &fjall::Error) -> Damaged {
    Damaged(format!("partition {}: {error}", part.name()))
}

fn open_error(error: fjall::Error) -> OpenError {
    match error {
        // An end of file too soon is damage; anything else the file system says is the file system's.
        fjall::Error::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            OpenError::Io {
                what: "open the tables".to_owned(),
                source,
            }
        }
        other => OpenError::Damaged(format!("the tables: {other}")),
    }
}

fn io_cause(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(cause) => Some(cause),
        fjall::Error::Storage(fjall::LsmError::Io(cause)) => Some(cause),
        _ => None,
    }
}
