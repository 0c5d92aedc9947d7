//! The words of comparing: how two servers find out in which cells their copies of a space
//! differ, although their vectors say that they do not, and what came of it.
//!
//! A cell has a *place*, 64 bits of BLAKE3 over its key, so that cells spread evenly whatever
//! their keys are (one group may have a million members). A *node* of level `l` stands for all
//! places whose first `4 * l` bits are its number; its digest is the XOR of the digests of its
//! cells. Who compares walks down from the root along the nodes that differ.

use serde::{Deserialize, Serialize};

use crate::cell::VersionVector;
use crate::id::ServerName;
use crate::name::RegistryName;
use crate::peer::Update;

/// Bits of a place that one level distinguishes: sixteen children a node.
pub const COMPARE_LEVEL_BITS: u8 = 4;
/// Deepest level: 65,536 leaves, some fifteen cells in each of a million.
pub const COMPARE_LEVELS: u8 = 4;

/// One cell, as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellDigest {
    /// 64 bits of BLAKE3 over its key.
    pub place: u64,
    /// 64 bits of BLAKE3 over its key, stamp and value.
    pub digest: u64,
}

/// One step of a comparison. Who began it (the asker) steers; the other answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompareStep {
    /// Asker: these are my cells; are yours the same?
    Begin {
        /// How many living cells.
        cells: u64,
        /// XOR over all of them.
        digest: u64,
        /// The level at which single cells will be named; both count digests for it.
        levels: u8,
    },
    /// The same.
    Equal,
    /// Not now, and why.
    Later(String),
    /// The digests of the sixteen children of each of these nodes, one node after the other.
    Digests {
        /// The level of the nodes; 0 is the root.
        level: u8,
        /// Which.
        nodes: Vec<u32>,
        /// Sixteen times as many.
        digests: Vec<u64>,
    },
    /// Asker: give me the digests of the children of these nodes.
    Ask {
        /// The level of the nodes.
        level: u8,
        /// Which.
        nodes: Vec<u32>,
    },
    /// Asker: these are my cells in these leaves, in order of their places.
    Leaves {
        /// Which, at the deepest level of this comparison.
        nodes: Vec<u32>,
        /// My cells in them.
        cells: Vec<CellDigest>,
    },
    /// What the other has of those that differ, and which it wants.
    Differ {
        /// Places that differ between the two.
        places: u64,
        /// What the other knows of them; a tombstone too.
        updates: Vec<Update>,
        /// Places of which the other has nothing.
        wanted: Vec<u64>,
        /// What the other has all of: whatever this covers and it lacks is a difference.
        vector: VersionVector,
    },
    /// Asker: what you wanted, and what is newer here.
    Cells {
        /// Cells of those leaves.
        updates: Vec<Update>,
        /// What the asker has all of.
        vector: VersionVector,
    },
    /// All taken in.
    Done {
        /// Cells that were mended at the other.
        healed: u64,
    },
}

/// What comparing a registry brought to light, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareView {
    /// Which registry.
    pub registry: RegistryName,
    /// Who compared its copy with the others'.
    pub server: ServerName,
    /// Living cells here.
    pub cells: u64,
    /// Rows of its own disk that were damaged or missing and were written anew.
    pub rebuilt: u64,
    /// With whom.
    pub with: Vec<ComparedWith>,
}

/// A comparison with one other holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedWith {
    /// Whom.
    pub server: ServerName,
    /// Cells that were not the same (a change on its way is one for a moment).
    pub differed: u64,
    /// Cells mended here.
    pub healed_here: u64,
    /// Cells mended there.
    pub healed_there: u64,
    /// Octets of digests, keys and cells that were exchanged.
    pub bytes: u64,
    /// Why it was not compared to its end, if it was not.
    pub failure: Option<String>,
}

/// What a server has counted since it started, and what it keeps apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompareCounts {
    /// Comparisons of one space with one server that came to an end.
    pub compared: u64,
    /// Cells that were not the same.
    pub differed: u64,
    /// Cells mended here, after whatever comparison.
    pub healed: u64,
    /// Rows of its own disk that were damaged or missing and were written anew.
    pub rebuilt: u64,
    /// Updates kept apart: stamped too far ahead, or over a limit.
    pub quarantined: u64,
    /// The first of these, one line each, for a person.
    pub quarantine: Vec<String>,
}
