//! What an operator may choose about a store. Nothing here changes what is on disk for good, except
//! the memtable sizes, which the engine remembers per partition from the day it was created.

/// Block cache of the tables. With the memtables empty this is nearly all the store keeps in memory, and
/// a whole idle server has 64 MiB.
const CACHE_BYTES: u64 = 16 << 20;
/// Memtable of one ordinary table: flushed to disk when full. Nine tables at worst, mostly a few busy ones.
const TABLE_MEMTABLE_BYTES: u64 = 4 << 20;
/// Memtable of small bodies: they are most of the bytes, and a flush syncs the journal while commits wait.
const BODY_MEMTABLE_BYTES: u64 = 16 << 20;
/// Bound on all journals, and so on the time a reopen takes to replay them.
const JOURNAL_BYTES: u64 = 128 << 20;
/// Below this the engine panics rather than opens.
const MIN_JOURNAL_BYTES: u64 = 64 << 20;
/// Threads that flush and compact: one so that neither waits for the other.
const WORKER_THREADS: usize = 2;
/// Table files kept open. The usual limit of a process is 1,024, and sockets want their part.
const OPEN_FILES: usize = 128;

/// Settings of a store; `Options::default()` is made for a server that idles in little memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Block cache, all tables together.
    pub cache_bytes: u64,
    /// Memtable of each table.
    pub table_memtable_bytes: u64,
    /// Memtable of small bodies.
    pub body_memtable_bytes: u64,
    /// Bound on all journals together; at least 64 MiB, smaller is taken as that.
    pub journal_bytes: u64,
    /// Threads for flushes and compactions; at least 1.
    pub worker_threads: usize,
    /// Table files kept open; at least 10.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            table_memtable_bytes: TABLE_MEMTABLE_BYTES,
            body_memtable_bytes: BODY_MEMTABLE_BYTES,
            journal_bytes: JOURNAL_BYTES,
            worker_threads: WORKER_THREADS,
            open_files: OPEN_FILES,
        }
    }
}

impl Options {
    /// The same, with what the engine would refuse raised to the least it takes.
    pub(crate) fn clamped(&self) -> Self {
        Self {
            journal_bytes: self.journal_bytes.max(MIN_JOURNAL_BYTES),
            worker_threads: self.worker_threads.max(1),
            open_files: self.open_files.max(10),
            ..self.clone()
        }
    }
}
