//! Many entries in one request: what an import brings and what became of it.
//!
//! An import only ever adds and sets, and what is there already is left as it is, so that doing
//! it again changes nothing: that is how one that was interrupted is resumed.

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::field::EntryKind;
use crate::id::ServerName;
use crate::name::{Member, Name};
use crate::request::{Secret, Written};

/// Entries in one import at most: their commit stays a short one, and others' requests get in between.
pub const MAX_IMPORTED_ENTRIES: usize = 500;
/// Names, members and sites in the lists of one import at most, all entries together.
pub const MAX_IMPORTED_ITEMS: usize = 2_000;

/// One entry as it is to be. What is absent or empty is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedEntry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
    /// An individual's password, as Argon2id hash in PHC form; set only where there is none.
    pub password: Option<Secret>,
    /// Free text.
    pub remark: Option<String>,
    /// A new individual's ordered inbox sites; empty for two servers chosen by the registry's holder.
    pub sites: Vec<ServerName>,
    /// Where an individual's mail goes instead, all of it.
    pub forward: Vec<Name>,
    /// An individual's further names, to be added.
    pub aliases: Vec<Name>,
    /// A group's members, to be added.
    pub members: Vec<Member>,
    /// A group's owners, to be added.
    pub owners: Vec<Member>,
    /// A group's friends, to be added.
    pub friends: Vec<Member>,
}

impl ImportedEntry {
    /// An entry of which nothing is said but that it is there.
    pub fn new(name: Name, kind: EntryKind) -> Self {
        Self {
            name,
            kind,
            password: None,
            remark: None,
            sites: Vec::new(),
            forward: Vec::new(),
            aliases: Vec::new(),
            members: Vec::new(),
            owners: Vec::new(),
            friends: Vec::new(),
        }
    }

    /// How many items its lists have.
    pub fn items(&self) -> usize {
        self.sites.len()
            + self.forward.len()
            + self.aliases.len()
            + self.members.len()
            + self.owners.len()
            + self.friends.len()
    }
}

/// What was done for one entry of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportDone {
    /// It was not there.
    Created,
    /// It was there, and something was added or set.
    Changed,
    /// It was so already.
    Unchanged,
    /// Nothing.
    Refused,
}

/// What became of one entry of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOutcome {
    /// What was done.
    pub done: ImportDone,
    /// What of it was not taken, and why: members that do not exist, names that are in use.
    pub left_out: Vec<Refusal>,
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The last write, and on how many servers' disks it is.
    pub written: Written,
    /// One an entry, in their order.
    pub outcomes: Vec<ImportOutcome>,
}
