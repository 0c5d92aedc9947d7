//! The server that is asked in a comparison: gives digests of its own copy, and for the leaves that
//! differ what it has of them; takes in what it lacks.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    COMPARE_LEVELS, Cell, CellDigest, CellKey, CompareStep, SpaceId, Update, VersionVector,
};

use crate::replication::asker::{MOST_NAMED, MOST_NODES};
use crate::replication::compare::{Joint, MOST_ANSWERING, PART_BYTES, weight};
use crate::replication::digest::{CHILDREN, Leaves, digest_of, node_of, place_of};
use crate::replication::scrub::{Cursor, Walked};
use crate::server::Server;
use crate::tables::Damaged;

/// A comparison that another server began.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(super) space: SpaceId,
    pub(super) touched_ms: u64,
    levels: u8,
    leaves: Leaves,
    /// Where the walk that counts the digests is; none at its end.
    survey: Option<Cursor>,
    /// The asker's cells and digest.
    whole: (u64, u64),
    /// What this server had when it began.
    base: VersionVector,
    listing: Option<Listing>,
}

/// A walk over the leaves that the asker has named.
#[derive(Debug)]
struct Listing {
    cursor: Cursor,
    nodes: BTreeSet<u32>,
    theirs: BTreeMap<u64, u64>,
    ours: BTreeMap<u64, (CellKey, Cell)>,
}

impl Answerer {
    pub(super) fn walks(&self) -> bool {
        self.survey.is_some() || self.listing.is_some()
    }
}

impl Server {
    pub(super) fn answerer_takes(
        &mut self,
        joint: Joint,
        space: SpaceId,
        step: CompareStep,
    ) -> Result<(), Damaged> {
        if let CompareStep::Begin {
            cells,
            digest,
            levels,
        } = step
        {
            self.answerer_begins(joint, space, (cells, digest), levels);
            return Ok(());
        }
        let Some(mut answerer) = self.compares.answering.remove(&joint) else {
            return Ok(());
        };
        if answerer.space != space {
            self.compares.answering.insert(joint, answerer);
            return Ok(());
        }
        answerer.touched_ms = self.now.mono_ms;
        match step {
            CompareStep::Ask { level, nodes }
                if answerer.survey.is_none() && nodes.len() <= MOST_NODES =>
            {
                self.answer_digests(&joint, &answerer, level, nodes);
            }
            CompareStep::Leaves { nodes, cells }
                if !answerer.walks() && cells.len() <= MOST_NAMED =>
            {
                answerer.listing = Some(Listing {
                    cursor: Cursor::start(&space),
                    nodes: nodes.into_iter().collect(),
                    theirs: cells
                        .into_iter()
                        .map(|CellDigest { place, digest }| (place, digest))
                        .collect(),
                    ours: BTreeMap::new(),
                });
            }
            CompareStep::Cells { updates, vector } => {
                let base = answerer.base.clone();
                let (healed, _) = self.heal(&joint.0, &space, updates, &vector, &base)?;
                self.send_step(&joint, &space, CompareStep::Done { healed });
            }
            // The asker has ended it.
            CompareStep::Equal => return Ok(()),
            // Doubled, late, or too much.
            CompareStep::Ask { .. }
            | CompareStep::Leaves { .. }
            | CompareStep::Begin { .. }
            | CompareStep::Later(_)
            | CompareStep::Digests { .. }
            | CompareStep::Differ { .. }
            | CompareStep::Done { .. } => {}
        }
        self.compares.answering.insert(joint, answerer);
        Ok(())
    }

    fn answerer_begins(&mut self, joint: Joint, space: SpaceId, whole: (u64, u64), levels: u8) {
        let shared = self.partners(&space).contains(&joint.0);
        let ready = self
            .spaces
            .get(&space)
            .is_some_and(|state| state.row.ready && state.damaged.is_empty());
        if !shared || !ready {
            let why = format!("{} has no whole copy of it to compare", self.config.server);
            self.send_step(&joint, &space, CompareStep::Later(why));
            return;
        }
        let same = match &space {
            SpaceId::Registry(registry) => self
                .databases
                .get(registry)
                .is_some_and(|database| (database.compared(), database.digest()) == whole),
            SpaceId::Mailbox(_) => false,
        };
        if same || self.planted_compare_trusts {
            self.send_step(&joint, &space, CompareStep::Equal);
            return;
        }
        if self.compares.answering.len() >= MOST_ANSWERING {
            let why = format!("{} is busy comparing", self.config.server);
            self.send_step(&joint, &space, CompareStep::Later(why));
            return;
        }
        let answerer = Answerer {
            touched_ms: self.now.mono_ms,
            levels: levels.clamp(1, COMPARE_LEVELS),
            leaves: Leaves::default(),
            survey: match &space {
                // It keeps them.
                SpaceId::Registry(_) => None,
                SpaceId::Mailbox(_) => Some(Cursor::start(&space)),
            },
            whole,
            base: self.vector_of(&space),
            listing: None,
            space,
        };
        if answerer.survey.is_none() {
            self.answer_digests(&joint, &answerer, 0, vec![0]);
        }
        self.compares.answering.insert(joint, answerer);
    }

    /// The next slice of its walk; false when the comparison is at its end.
    pub(super) fn answerer_walks(
        &mut self,
        joint: &Joint,
        answerer: &mut Answerer,
    ) -> Result<bool, Damaged> {
        answerer.touched_ms = self.now.mono_ms;
        if let Some(mut cursor) = answerer.survey.take() {
            let leaves = &mut answerer.leaves;
            let walked = self.walk(&answerer.space, &mut cursor, &mut |key, cell| {
                leaves.put(key, cell);
            })?;
            if walked == Walked::Further {
                answerer.survey = Some(cursor);
            } else if (answerer.leaves.cells(), answerer.leaves.whole()) == answerer.whole {
                let space = answerer.space.clone();
                self.send_step(joint, &space, CompareStep::Equal);
                return Ok(false);
            } else {
                self.answer_digests(joint, answerer, 0, vec![0]);
            }
            return Ok(true);
        }
        let Some(mut listing) = answerer.listing.take() else {
            return Ok(true);
        };
        let Listing {
            cursor,
            nodes,
            ours,
            ..
        } = &mut listing;
        let levels = answerer.levels;
        let walked = self.walk(&answerer.space, cursor, &mut |key, cell| {
            let place = place_of(key);
            if nodes.contains(&node_of(place, levels)) {
                ours.insert(place, (key.clone(), cell.clone()));
            }
        })?;
        if walked == Walked::Further {
            answerer.listing = Some(listing);
        } else {
            self.answer_differ(joint, &answerer.space, listing);
        }
        Ok(true)
    }

    fn answer_digests(&mut self, joint: &Joint, answerer: &Answerer, level: u8, nodes: Vec<u32>) {
        let mut digests = Vec::with_capacity(nodes.len() * CHILDREN);
        for node in &nodes {
            let leaves = self.leaves(&answerer.space, &answerer.leaves);
            let Some(children) = leaves.children(answerer.levels, level, *node) else {
                return;
            };
            digests.extend(children);
        }
        let space = answerer.space.clone();
        let step = CompareStep::Digests {
            level,
            nodes,
            digests,
        };
        self.send_step(joint, &space, step);
    }

    fn answer_differ(&mut self, joint: &Joint, space: &SpaceId, listing: Listing) {
        let Listing { theirs, ours, .. } = listing;
        let (mut places, mut bytes) = (0u64, 0);
        let (mut updates, mut wanted) = (Vec::new(), Vec::new());
        for (place, (key, cell)) in &ours {
            let digest = digest_of(key, cell);
            let differs = match theirs.get(place) {
                Some(theirs) => *theirs != digest,
                // A tombstone stands against nothing.
                None => digest != 0,
            };
            if differs {
                places += 1;
                let (key, cell) = (key.clone(), cell.clone());
                let update = Update { key, cell };
                bytes += weight(&update);
                if bytes <= PART_BYTES {
                    updates.push(update);
                }
            }
        }
        for place in theirs.keys().filter(|place| !ours.contains_key(*place)) {
            places += 1;
            wanted.push(*place);
        }
        self.send_bodies_of(&joint.0, &updates);
        let vector = self.vector_of(space);
        let step = CompareStep::Differ {
            places,
            updates,
            wanted,
            vector,
        };
        self.send_step(joint, space, step);
    }
}
