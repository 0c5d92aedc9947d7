//! How a server is, and what it knows of a message: what operators and senders look at.

use serde::{Deserialize, Serialize};

use crate::cluster::ServerRole;
use crate::compare::CompareCounts;
use crate::entry::Usage;
use crate::id::{MessageId, ServerName};
use crate::message::BodyInfo;
use crate::name::{Name, RegistryName};

/// A queue of pending work, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueView {
    /// Messages in custody here.
    pub messages: u64,
    /// Recipients that wait.
    pub recipients: u64,
    /// Messages whose second copy is held here for another custodian.
    pub deputy_for: u64,
    /// Messages in custody here that have no deputy.
    pub without_deputy: u64,
    /// Undeliverable reports kept for the operator.
    pub dead_letters: u64,
    /// Age of the oldest in milliseconds.
    pub oldest_ms: u64,
}

/// How a server sees another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Who.
    pub server: ServerName,
    /// Whether it is heard.
    pub up: bool,
    /// Milliseconds since it was last heard; none if never.
    pub silent_ms: Option<u64>,
    /// Shared spaces whose vectors differed at the last comparison.
    pub behind: u64,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Itself.
    pub server: ServerName,
    /// What it does.
    pub role: ServerRole,
    /// The registries it holds, with living entries and a digest equal at all holders that agree.
    pub registries: Vec<(RegistryName, u64, u64)>,
    /// Mailboxes it holds, and a digest over their vectors.
    pub mailboxes: u64,
    /// Pending work.
    pub queue: QueueView,
    /// The others.
    pub peers: Vec<PeerView>,
    /// What a person should know.
    pub alarms: Vec<String>,
    /// Registries that it ought to hold and has not yet fetched.
    pub fetching: Vec<RegistryName>,
    /// What was compared and mended, and what is kept apart.
    pub compare: CompareCounts,
    /// What is remembered of deletions.
    pub tombstones: TombstoneView,
    /// What it keeps, and how much room there is.
    pub storage: StorageView,
}

/// What a server keeps, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageView {
    /// In its mailboxes; a message in two of them counts twice.
    pub mail: Usage,
    /// Mailboxes in which nothing more fits.
    pub full_mailboxes: u64,
    /// Whether the disk is nearly full, so that no new messages and changes are taken.
    pub disk_nearly_full: bool,
    /// Delivered messages of which a copy is kept for some days.
    pub retained: Usage,
    /// Bodies that are in the archive.
    pub archived: Usage,
    /// Objects that the archive still has to be rid of.
    pub archive_to_remove: u64,
    /// Numbers of mails (UIDs) that were given anew since this server's start, as they had become void.
    pub uids_reissued: u64,
}

/// What a server remembers of deletions, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TombstoneView {
    /// Tombstones kept until every present holder has them.
    pub kept: u64,
    /// Cells forgotten since this server's start.
    pub reaped: u64,
    /// Spaces fetched anew since this server's start, after a long absence.
    pub refreshed: u64,
}

/// What a server knows of one recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecipient {
    /// Who.
    pub name: Name,
    /// What became of it: `waiting`, `deposited`, `expanded`, `forwarded`, `reported`.
    pub state: String,
    /// Why it waits, or where it went.
    pub reason: String,
    /// Milliseconds until it is tried again.
    pub next_ms: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a server knows of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Which.
    pub message: MessageId,
    /// Who answers.
    pub server: ServerName,
    /// Its role for this message: `custodian`, `deputy`, `inbox site`, `done`.
    pub roles: Vec<String>,
    /// The other server that has it in custody.
    pub partner: Option<ServerName>,
    /// Where reports go.
    pub return_path: Option<Name>,
    /// Measure of its body, if it is here.
    pub body: Option<BodyInfo>,
    /// References to the body on this server.
    pub references: u32,
    /// Its recipients, as far as this server knows.
    pub recipients: Vec<TraceRecipient>,
}
