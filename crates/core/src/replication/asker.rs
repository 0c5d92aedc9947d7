//! The server that began a comparison: walks down along the nodes that differ, names its cells in the
//! leaves at the end, takes what the other has of them and gives what it lacks.
//!
//! One question is under way at a time; an answer to another one is passed over, so that doubled and
//! late messages do no harm. A lost one ends the comparison, and the next turn begins a new one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use grapevine_model::{
    CellDigest, CellKey, CompareStep, ComparedWith, SpaceId, Update, VersionVector,
};

use crate::registry::database::Database;
use crate::replication::compare::{Course, Joint, PART_BYTES, octets, weight, with};
use crate::replication::digest::{
    CHILDREN, Leaves, compared, digest_of, levels_for, node_of, place_of,
};
use crate::replication::scrub::{Cursor, Walked};
use crate::server::Server;
use crate::tables::Damaged;

/// Nodes in one question: 128 KiB of digests in the answer.
pub(super) const MOST_NODES: usize = 1_024;
/// Leaves looked into in one comparison; what differs in others is left to the next.
const MOST_LEAVES: usize = 16_384;
/// Cells named in one message: 512 KiB.
pub(super) const MOST_NAMED: usize = 32_768;
/// Depth of a mailbox's comparison: its cells are on disk and not counted before.
const MAILBOX_LEVELS: u8 = 2;

/// What it waits for.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The digests below these nodes.
    Nodes(u8, Vec<u32>),
    /// Its own walk over the leaves that differ.
    Listing,
    /// What the other has in the leaves named.
    Differ,
    /// That the other has taken in what it lacked.
    Done,
}

/// A comparison that this server began.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(super) space: SpaceId,
    pub(super) asked: Option<u64>,
    pub(super) view: ComparedWith,
    pub(super) touched_ms: u64,
    /// Something was left for another comparison.
    pub(super) more: bool,
    levels: u8,
    leaves: Leaves,
    /// Where the walk that counts the digests is; none at its end, and for a registry, which keeps them.
    survey: Option<Cursor>,
    /// Where the walk over the leaves that differ is.
    cursor: Option<Cursor>,
    begun: bool,
    /// What this server had when it began.
    base: VersionVector,
    stage: Stage,
    /// An answer that came before the survey's end.
    early: Option<(u8, Vec<u32>, Vec<u64>)>,
    questions: VecDeque<(u8, Vec<u32>)>,
    differ: BTreeSet<u32>,
    listed: BTreeMap<u64, (u64, CellKey)>,
    parts: VecDeque<(Vec<u32>, Vec<CellDigest>)>,
}

impl Asker {
    pub(super) fn walks(&self) -> bool {
        self.survey.is_some() || self.cursor.is_some()
    }
}

impl Server {
    pub(super) fn begin_asking(&mut self, joint: Joint, space: &SpaceId, asked: Option<u64>) {
        let Some(state) = self.spaces.get(space) else {
            return;
        };
        let damaged = !state.damaged.is_empty();
        let base = state.row.vector.clone();
        let whole = match space {
            SpaceId::Registry(registry) => self.databases.get(registry).map(|database| {
                // What could not be read differs, even where the rest is the same.
                (database.compared(), database.digest() ^ u64::from(damaged))
            }),
            SpaceId::Mailbox(_) => None,
        };
        let levels = whole.map_or(MAILBOX_LEVELS, |(cells, _)| levels_for(cells));
        let mut asker = Asker {
            space: space.clone(),
            asked,
            view: with(joint.0.clone()),
            touched_ms: self.now.mono_ms,
            more: false,
            levels,
            leaves: Leaves::default(),
            survey: whole.is_none().then(|| Cursor::start(space)),
            cursor: None,
            begun: false,
            base,
            stage: Stage::Nodes(0, vec![0]),
            early: None,
            questions: VecDeque::new(),
            differ: BTreeSet::new(),
            listed: BTreeMap::new(),
            parts: VecDeque::new(),
        };
        if let Some((cells, digest)) = whole {
            self.asker_begins(&joint, &mut asker, cells, digest);
        }
        self.compares.asking.insert(joint, asker);
    }

    fn asker_begins(&mut self, joint: &Joint, asker: &mut Asker, cells: u64, digest: u64) {
        asker.begun = true;
        let levels = asker.levels;
        let step = CompareStep::Begin {
            cells,
            digest,
            levels,
        };
        self.asker_says(joint, asker, step);
    }

    fn asker_says(&mut self, joint: &Joint, asker: &mut Asker, step: CompareStep) {
        asker.view.bytes += octets(&step);
        asker.touched_ms = self.now.mono_ms;
        let space = asker.space.clone();
        self.send_step(joint, &space, step);
    }

    /// The next slice of its walk.
    pub(super) fn asker_walks(
        &mut self,
        joint: &Joint,
        asker: &mut Asker,
    ) -> Result<Course, Damaged> {
        if let Some(mut cursor) = asker.survey.take() {
            asker.touched_ms = self.now.mono_ms;
            let leaves = &mut asker.leaves;
            let walked = self.walk(&asker.space, &mut cursor, &mut |key, cell| {
                leaves.put(key, cell);
            })?;
            if walked == Walked::Further {
                asker.survey = Some(cursor);
            } else if !asker.begun {
                let (cells, whole) = (asker.leaves.cells(), asker.leaves.whole());
                let damaged = self.is_damaged(&asker.space);
                self.asker_begins(joint, asker, cells, whole ^ u64::from(damaged));
            } else if let Some((level, nodes, digests)) = asker.early.take() {
                return Ok(self.asker_descends(joint, asker, level, nodes, digests));
            }
            return Ok(Course::GoesOn);
        }
        let Some(mut cursor) = asker.cursor.take() else {
            return Ok(Course::GoesOn);
        };
        asker.touched_ms = self.now.mono_ms;
        let (levels, differ, listed) = (asker.levels, &asker.differ, &mut asker.listed);
        let walked = self.walk(&asker.space, &mut cursor, &mut |key, cell| {
            let place = place_of(key);
            if compared(cell) && differ.contains(&node_of(place, levels)) {
                listed.insert(place, (digest_of(key, cell), key.clone()));
            }
        })?;
        if walked == Walked::Further {
            asker.cursor = Some(cursor);
            return Ok(Course::GoesOn);
        }
        self.cut_into_parts(asker);
        asker.stage = Stage::Done;
        Ok(match self.asker_names(joint, asker) {
            true => Course::GoesOn,
            false => Course::Ended,
        })
    }

    fn is_damaged(&self, space: &SpaceId) -> bool {
        self.spaces
            .get(space)
            .is_some_and(|state| !state.damaged.is_empty())
    }

    /// The leaves with their cells, as many in a part as one message takes.
    fn cut_into_parts(&self, asker: &mut Asker) {
        let mut cells: BTreeMap<u32, Vec<CellDigest>> = asker
            .differ
            .iter()
            .map(|leaf| (*leaf, Vec::new()))
            .collect();
        for (place, (digest, _)) in &asker.listed {
            let (place, digest) = (*place, *digest);
            if let Some(leaf) = cells.get_mut(&node_of(place, asker.levels)) {
                leaf.push(CellDigest { place, digest });
            }
        }
        // What could not be read is named with a digest that no cell has.
        let damaged = self.spaces.get(&asker.space).map(|s| &s.damaged);
        for key in damaged.into_iter().flatten() {
            let place = place_of(key);
            let leaf = cells.entry(node_of(place, asker.levels)).or_default();
            leaf.retain(|cell| cell.place != place);
            leaf.push(CellDigest { place, digest: 0 });
        }
        let (mut nodes, mut part) = (Vec::new(), Vec::new());
        for (leaf, mut named) in cells {
            if part.len() + named.len() > MOST_NAMED || nodes.len() >= MOST_NODES * 2 {
                asker
                    .parts
                    .push_back((std::mem::take(&mut nodes), std::mem::take(&mut part)));
            }
            if named.len() > MOST_NAMED {
                // So full that no message takes it: somebody has sought such keys.
                asker.more = true;
                continue;
            }
            named.sort();
            nodes.push(leaf);
            part.extend(named);
        }
        if !nodes.is_empty() {
            asker.parts.push_back((nodes, part));
        }
    }

    /// Names the next part; false when there is none.
    fn asker_names(&mut self, joint: &Joint, asker: &mut Asker) -> bool {
        let Some((nodes, cells)) = asker.parts.pop_front() else {
            return false;
        };
        asker.stage = Stage::Differ;
        self.asker_says(joint, asker, CompareStep::Leaves { nodes, cells });
        true
    }

    pub(super) fn asker_takes(
        &mut self,
        joint: &Joint,
        asker: &mut Asker,
        step: CompareStep,
    ) -> Result<Course, Damaged> {
        match step {
            CompareStep::Equal if asker.begun && !self.is_damaged(&asker.space) => {
                return Ok(Course::Ended);
            }
            CompareStep::Later(why) => {
                asker.view.failure = Some(why);
                return Ok(Course::Ended);
            }
            CompareStep::Digests {
                level,
                nodes,
                digests,
            } if matches!(&asker.stage, Stage::Nodes(l, n) if *l == level && *n == nodes)
                && digests.len() == nodes.len() * CHILDREN =>
            {
                if asker.survey.is_some() {
                    asker.early = Some((level, nodes, digests));
                } else {
                    return Ok(self.asker_descends(joint, asker, level, nodes, digests));
                }
            }
            CompareStep::Differ {
                places,
                updates,
                wanted,
                vector,
            } if asker.stage == Stage::Differ => {
                asker.view.differed += places;
                let base = asker.base.clone();
                let space = asker.space.clone();
                asker.more |= (updates.len() + wanted.len()) as u64 != places;
                let (healed, newer) = self.heal(&joint.0, &space, updates, &vector, &base)?;
                asker.view.healed_here += healed;
                let given = self.cells_to_give(asker, &wanted, newer, &vector)?;
                if given.is_empty() {
                    if !self.asker_names(joint, asker) {
                        return Ok(Course::Ended);
                    }
                } else {
                    self.send_bodies_of(&joint.0, &given);
                    asker.stage = Stage::Done;
                    let vector = self.vector_of(&space);
                    let updates = given;
                    self.asker_says(joint, asker, CompareStep::Cells { updates, vector });
                }
            }
            CompareStep::Done { healed } if asker.stage == Stage::Done && !asker.walks() => {
                asker.view.healed_there += healed;
                if !self.asker_names(joint, asker) {
                    return Ok(Course::Ended);
                }
            }
            // Doubled, late, or of a newer release.
            CompareStep::Equal
            | CompareStep::Digests { .. }
            | CompareStep::Differ { .. }
            | CompareStep::Done { .. }
            | CompareStep::Begin { .. }
            | CompareStep::Ask { .. }
            | CompareStep::Leaves { .. }
            | CompareStep::Cells { .. } => {}
        }
        Ok(Course::GoesOn)
    }

    fn asker_descends(
        &mut self,
        joint: &Joint,
        asker: &mut Asker,
        level: u8,
        nodes: Vec<u32>,
        digests: Vec<u64>,
    ) -> Course {
        let below = level.saturating_add(1);
        let mut found = Vec::new();
        for (node, theirs) in nodes.iter().zip(digests.chunks(CHILDREN)) {
            let leaves = self.leaves(&asker.space, &asker.leaves);
            let Some(ours) = leaves.children(asker.levels, level, *node) else {
                continue;
            };
            for ((child, ours), theirs) in (0u32..).zip(ours).zip(theirs) {
                if ours != *theirs {
                    found.push(node.saturating_mul(CHILDREN as u32).saturating_add(child));
                }
            }
        }
        if below >= asker.levels {
            let room = MOST_LEAVES.saturating_sub(asker.differ.len());
            asker.more |= found.len() > room;
            asker.differ.extend(found.into_iter().take(room));
        } else {
            for part in found.chunks(MOST_NODES) {
                asker.questions.push_back((below, part.to_vec()));
            }
        }
        if let Some((level, nodes)) = asker.questions.pop_front() {
            asker.stage = Stage::Nodes(level, nodes.clone());
            self.asker_says(joint, asker, CompareStep::Ask { level, nodes });
        } else if asker.differ.is_empty() && !self.is_damaged(&asker.space) {
            // What differed has come meanwhile.
            return Course::Ended;
        } else {
            let space = asker.space.clone();
            asker.stage = Stage::Listing;
            asker.cursor = Some(Cursor::start(&space));
        }
        Course::GoesOn
    }

    /// The digests of a space: a registry keeps them, a mailbox's were counted for this comparison.
    pub(super) fn leaves<'a>(&'a self, space: &SpaceId, counted: &'a Leaves) -> &'a Leaves {
        match space {
            SpaceId::Registry(registry) => self.databases.get(registry).map(Database::leaves),
            SpaceId::Mailbox(_) => None,
        }
        .unwrap_or(counted)
    }

    /// What the other wants, and what is newer here, as far as the other ought to have it and as
    /// much as goes into one message.
    fn cells_to_give(
        &self,
        asker: &mut Asker,
        wanted: &[u64],
        newer: Vec<Update>,
        theirs: &VersionVector,
    ) -> Result<Vec<Update>, Damaged> {
        let mut given = Vec::new();
        let mut bytes = 0;
        let mut found = newer;
        for place in wanted {
            if let Some((_, key)) = asker.listed.get(place)
                && let Some(cell) = self.cell(&asker.space, key)?
            {
                let key = key.clone();
                found.push(Update { key, cell });
            }
        }
        for update in found {
            bytes += weight(&update);
            if bytes > PART_BYTES {
                asker.more = true;
                break;
            }
            if theirs.covers(update.cell.dot) {
                given.push(update);
            }
        }
        Ok(given)
    }

    pub(super) fn vector_of(&self, space: &SpaceId) -> VersionVector {
        self.spaces
            .get(space)
            .map(|state| state.row.vector.clone())
            .unwrap_or_default()
    }
}
