//! The steps of a comparison of two copies, and what came of it.

use grapevine_model::{
    COMPARE_LEVELS, CellDigest, CompareCounts, CompareStep, CompareView, ComparedWith,
};

use super::cell::{decode_updates, encode_updates};
use super::{Wire, all, chosen, need, registry, server};
use crate::v1;
use crate::wire::WireError;

impl From<&CompareStep> for v1::CompareStep {
    fn from(step: &CompareStep) -> Self {
        use v1::compare_step::Step as Wired;
        Self {
            step: Some(match step {
                CompareStep::Begin {
                    cells,
                    digest,
                    levels,
                } => Wired::Begin(v1::CompareBegin {
                    cells: *cells,
                    digest: *digest,
                    levels: (*levels).into(),
                }),
                CompareStep::Equal => Wired::Equal(v1::CompareNothing {}),
                CompareStep::Later(why) => Wired::Later(why.clone()),
                CompareStep::Digests {
                    level,
                    nodes,
                    digests,
                } => Wired::Digests(v1::CompareNodes {
                    level: (*level).into(),
                    nodes: nodes.clone(),
                    digests: digests.clone(),
                }),
                CompareStep::Ask { level, nodes } => Wired::Ask(v1::CompareNodes {
                    level: (*level).into(),
                    nodes: nodes.clone(),
                    digests: Vec::new(),
                }),
                CompareStep::Leaves { nodes, cells } => Wired::Leaves(v1::CompareLeaves {
                    nodes: nodes.clone(),
                    places: cells.iter().map(|cell| cell.place).collect(),
                    digests: cells.iter().map(|cell| cell.digest).collect(),
                }),
                CompareStep::Differ {
                    places,
                    updates,
                    wanted,
                    vector,
                } => Wired::Differ(v1::CompareDiffer {
                    places: *places,
                    updates: encode_updates(updates, None),
                    wanted: wanted.clone(),
                    vector: Some(vector.into()),
                }),
                CompareStep::Cells { updates, vector } => Wired::Cells(v1::CompareCells {
                    updates: encode_updates(updates, None),
                    vector: Some(vector.into()),
                }),
                CompareStep::Done { healed } => Wired::DoneHealed(*healed),
            }),
        }
    }
}

impl TryFrom<v1::CompareStep> for CompareStep {
    type Error = WireError;

    fn try_from(step: v1::CompareStep) -> Wire<Self> {
        use v1::compare_step::Step as Wired;
        Ok(match chosen(step.step, "step of a comparison")? {
            Wired::Begin(begin) => Self::Begin {
                cells: begin.cells,
                digest: begin.digest,
                levels: level(begin.levels)?,
            },
            Wired::Equal(_) => Self::Equal,
            Wired::Later(why) => Self::Later(why),
            Wired::Digests(of) => Self::Digests {
                level: level(of.level)?,
                nodes: of.nodes,
                digests: of.digests,
            },
            Wired::Ask(of) => Self::Ask {
                level: level(of.level)?,
                nodes: of.nodes,
            },
            Wired::Leaves(of) => {
                if of.places.len() != of.digests.len() {
                    return Err(WireError::invalid("as many digests as places"));
                }
                Self::Leaves {
                    nodes: of.nodes,
                    cells: of
                        .places
                        .into_iter()
                        .zip(of.digests)
                        .map(|(place, digest)| CellDigest { place, digest })
                        .collect(),
                }
            }
            Wired::Differ(of) => Self::Differ {
                places: of.places,
                updates: decode_updates(of.updates, None)?,
                wanted: of.wanted,
                vector: need(of.vector, "a vector")?.try_into()?,
            },
            Wired::Cells(of) => Self::Cells {
                updates: decode_updates(of.updates, None)?,
                vector: need(of.vector, "a vector")?.try_into()?,
            },
            Wired::DoneHealed(healed) => Self::Done { healed },
        })
    }
}

fn level(number: u32) -> Wire<u8> {
    u8::try_from(number)
        .ok()
        .filter(|level| *level <= COMPARE_LEVELS)
        .ok_or_else(|| WireError::invalid("a level that no comparison has"))
}

impl From<&CompareView> for v1::CompareView {
    fn from(view: &CompareView) -> Self {
        Self {
            registry: view.registry.to_string(),
            server: view.server.to_string(),
            cells: view.cells,
            rebuilt: view.rebuilt,
            with: view.with.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::CompareView> for CompareView {
    type Error = WireError;

    fn try_from(view: v1::CompareView) -> Wire<Self> {
        Ok(Self {
            registry: registry(&view.registry)?,
            server: server(&view.server)?,
            cells: view.cells,
            rebuilt: view.rebuilt,
            with: all(view.with)?,
        })
    }
}

impl From<&ComparedWith> for v1::ComparedWith {
    fn from(with: &ComparedWith) -> Self {
        Self {
            server: with.server.to_string(),
            differed: with.differed,
            healed_here: with.healed_here,
            healed_there: with.healed_there,
            bytes: with.bytes,
            failure: with.failure.clone(),
        }
    }
}

impl TryFrom<v1::ComparedWith> for ComparedWith {
    type Error = WireError;

    fn try_from(with: v1::ComparedWith) -> Wire<Self> {
        Ok(Self {
            server: server(&with.server)?,
            differed: with.differed,
            healed_here: with.healed_here,
            healed_there: with.healed_there,
            bytes: with.bytes,
            failure: with.failure,
        })
    }
}

impl From<&CompareCounts> for v1::CompareCounts {
    fn from(counts: &CompareCounts) -> Self {
        Self {
            compared: counts.compared,
            differed: counts.differed,
            healed: counts.healed,
            rebuilt: counts.rebuilt,
            quarantined: counts.quarantined,
            quarantine: counts.quarantine.clone(),
        }
    }
}

impl From<v1::CompareCounts> for CompareCounts {
    fn from(counts: v1::CompareCounts) -> Self {
        Self {
            compared: counts.compared,
            differed: counts.differed,
            healed: counts.healed,
            rebuilt: counts.rebuilt,
            quarantined: counts.quarantined,
            quarantine: counts.quarantine,
        }
    }
}
