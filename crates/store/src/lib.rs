//! The durable store under the core: tables, message bodies, group commit, recovery.
//!
//! It does what the core's commits say and never decides anything itself. It must never call a commit
//! done that a power cut could undo, never show half of a batch, and never take damage for absence:
//! whatever can't be read back as it was written is an error.
//!
//! On disk, in the store's folder:
//!
//! | name | what |
//! | --- | --- |
//! | `FORMAT` | version of this layout, written before anything else |
//! | `LOCK` | held by the one process that has the store open; says its pid |
//! | `WITNESS` | number of the last commit that was acknowledged as durable |
//! | `tables/` | the engine's files: a partition for each table, for the body index, and for small bodies |
//! | `bodies/xx/` | large bodies, one file each |
//! | `spool/` | bodies being received, and intents of renames in flight |

mod archive;
mod body;
mod committer;
mod contract;
mod engine;
mod error;
mod folder;
mod group;
mod index;
mod journal_check;
mod options;
mod recovery;
mod snapshot;
mod stage;
mod stats;
mod store;
mod verify;
mod witness;

pub use archive::{ArchiveRule, ArchiveSums, ArchivedBody, Candidate, Candidates};
pub use body::BodyReader;
pub use committer::Durability;
pub use contract::{Damaged, MessageId, Op, Row, Table, Tables};
pub use error::{CommitError, OpenError};
pub use options::Options;
pub use snapshot::{KeptBody, Snapshot};
pub use stage::{INLINE_BODY_MAX_BYTES, Stage, Staged};
pub use stats::{SYNC_TIME_BUCKETS_US, StatsReading, StoreStats};
pub use store::{Body, Store, StoreView};
pub use verify::Damage;
