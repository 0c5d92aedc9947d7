//! The core's view of its store: tables of ordered keys, read synchronously.
//!
//! What is read here is durable; what the core has changed and the store has
//! not yet made durable lies over it in the `Ledger`. An error is damage and
//! never stands for absence (P7).

use grapevine_model::MessageId;

/// The store's tables, a closed list: the numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about this server: its name, its origin, its clock's bound.
    Meta = 0,
    /// Cells by space and key.
    Cells = 1,
    /// Keys of cells by space and dot: what anti-entropy reads.
    Dots = 2,
    /// Version vectors by space.
    Vectors = 3,
    /// Messages whose body is here, with their reference counts.
    Messages = 4,
    /// Messages in this server's custody.
    Custody = 5,
    /// Messages that this server is the deputy for.
    Deputies = 6,
    /// Bodies that nothing refers to yet, or any more.
    Orphans = 7,
    /// What became of messages, for `trace`, for some days.
    History = 8,
    /// Undeliverable reports, kept for the operator.
    DeadLetters = 9,
    /// Keys of cells that may be forgotten one day, by space and dot.
    Tombstones = 12,
    /// Up to where deletions are forgotten, by space.
    Floors = 13,
    /// Groups under expansion and pages of their members, by message.
    Fanout = 23,
    /// Groups expanded, by message.
    Passed = 24,
    /// Copies kept after delivery, by message.
    Retained = 26,
    /// Messages that an operator holds back.
    Holds = 28,
    /// Outside recipients of messages that need nothing more: nobody hands it to them again.
    OutsideDone = 20,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 17] = [
        Self::Meta,
        Self::Cells,
        Self::Dots,
        Self::Vectors,
        Self::Messages,
        Self::Custody,
        Self::Deputies,
        Self::Orphans,
        Self::History,
        Self::DeadLetters,
        Self::Tombstones,
        Self::Floors,
        Self::Fanout,
        Self::Passed,
        Self::Retained,
        Self::Holds,
        Self::OutsideDone,
    ];
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// Removes a value, if there is one.
    Delete {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
    },
    /// Makes a staged body durable under the message's id.
    AdoptBody {
        /// The shell's token of the staged body.
        staged: u64,
        /// The message.
        message: MessageId,
    },
    /// Removes a body, if it is there.
    DropBody {
        /// The message.
        message: MessageId,
    },
}

/// The store can't read what it once wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is damaged: {0}")]
pub struct Damaged(pub String);

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Synchronous reading of what is durable.
pub trait Tables {
    /// The value under a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged>;

    /// At most `limit` rows with `from <= key < until`, in order.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged>;
}
