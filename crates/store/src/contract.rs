//! The words this crate shares with the core. The only place that names where they come from.
// ponytail: local stand-ins until crates/core/src/tables.rs and crates/model/src/id.rs are there.

/// Tables of the store, a closed list; the number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about this server.
    Meta = 0,
    /// Registry cells.
    Cells = 1,
    /// Cells by dot.
    Dots = 2,
    /// Version vectors.
    Vectors = 3,
    /// Messages.
    Messages = 4,
    /// Custody records.
    Custody = 5,
    /// Recipients.
    Recipients = 6,
    /// Seen message ids.
    Seen = 7,
    /// History.
    History = 8,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 9] = [
        Table::Meta,
        Table::Cells,
        Table::Dots,
        Table::Vectors,
        Table::Messages,
        Table::Custody,
        Table::Recipients,
        Table::Seen,
        Table::History,
    ];
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// Where.
        table: Table,
        /// Key.
        key: Vec<u8>,
        /// Value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Where.
        table: Table,
        /// Key.
        key: Vec<u8>,
    },
    /// Gives a staged body its message.
    AdoptBody {
        /// Token of the staged body.
        staged: u64,
        /// Its message.
        message: MessageId,
    },
    /// Drops the body of a message.
    DropBody {
        /// Its message.
        message: MessageId,
    },
}

#[allow(clippy::type_complexity)]
/// Synchronous read view of what is durable. Errors are damage, never absence.
pub trait Tables {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged>;
    /// The first `limit` pairs of `from..until`, ascending.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Damaged>;
}

/// What was stored can't be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged: {0}")]
pub struct Damaged(pub String);

/// Names a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
