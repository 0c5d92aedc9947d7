//! Comparing copies cell by cell: which spaces, when, with whom, and what came of it.
//!
//! Guards checklist 33 and 34: equal vectors are a promise, and a disk, or a mistake of ours, may
//! break it. Every space is checked and compared once in `compare_ms`, and on demand; what differs is
//! exchanged by `asker` and `answerer`, healed on both sides, counted, and an alarm raised. It must
//! never hold up mail (walks are spread over turns), nor bring back what was deleted: a cell that is
//! wholly absent here is taken only from who knows all that is known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use grapevine_model::{
    Cell, CompareCounts, CompareStep, CompareView, ComparedWith, Merge, PeerMessage, Refusal,
    RegistryName, Reply, ServerName, SpaceId, Speaker, Update, VersionVector,
};

use crate::registry::directory::Memo;
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::answerer::Answerer;
use crate::replication::asker::Asker;
use crate::replication::scrub::Scrub;
use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// Spaces that wait for their turn; more are planned when these are done.
const MOST_WAITING: usize = 64;
/// Comparisons under way that this server began; each may hold the digests of a large registry.
const MOST_ASKING: usize = 8;
/// Comparisons under way that others began.
pub(super) const MOST_ANSWERING: usize = 16;
/// Requests that wait for a comparison.
const MOST_ASKED: usize = 16;
/// Walks go on after so long: as much time as they take is left for other work.
const PAUSE_MS: u64 = 1;
/// Cells of one answer, in octets: as a page of anti-entropy.
pub(super) const PART_BYTES: usize = 512 * 1024;

/// A comparison, by the other server and the asker's number.
pub(super) type Joint = (ServerName, u64);

/// Everything about comparisons.
#[derive(Debug, Default)]
pub(crate) struct Compares {
    pub(super) asking: BTreeMap<Joint, Asker>,
    pub(super) answering: BTreeMap<Joint, Answerer>,
    waiting: VecDeque<(SpaceId, Option<u64>)>,
    scrub: Option<Scrub>,
    asked: BTreeMap<u64, Asked>,
    counts: CompareCounts,
    /// The space planned last.
    cursor: Option<SpaceId>,
    /// Milliseconds times spaces that are owed to the plan.
    owed: u64,
    armed: bool,
}

/// A request that waits.
#[derive(Debug)]
struct Asked {
    to: ReplyTo,
    view: CompareView,
    open: BTreeSet<Joint>,
    scrubbed: bool,
}

impl Server {
    pub(crate) fn compare_counts(&self) -> CompareCounts {
        CompareCounts {
            quarantined: self.quarantine.len(),
            quarantine: self.quarantine.shown(self.now.wall_ms),
            ..self.compares.counts.clone()
        }
    }

    /// Plans as many spaces as the time since the last call is worth, each in its turn.
    pub(crate) fn plan_compares(&mut self, passed_ms: u64) {
        self.forget_silent();
        let period = self.config.times.compare_ms.max(1);
        let spaces = self.spaces.len() as u64;
        self.compares.owed = self
            .compares
            .owed
            .saturating_add(passed_ms.saturating_mul(spaces))
            .min(period.saturating_mul(spaces.max(1)));
        while self.compares.owed >= period && self.compares.waiting.len() < MOST_WAITING {
            self.compares.owed -= period;
            let next = match &self.compares.cursor {
                Some(last) => {
                    let after = (
                        std::ops::Bound::Excluded(last.clone()),
                        std::ops::Bound::Unbounded,
                    );
                    self.spaces.range(after).next()
                }
                None => None,
            };
            let next = next.or_else(|| self.spaces.first_key_value());
            let Some(space) = next.map(|(space, _)| space.clone()) else {
                break;
            };
            self.compares.cursor = Some(space.clone());
            self.compares.waiting.push_back((space, None));
        }
        // Damage waits for no plan.
        let damaged: Vec<SpaceId> = self
            .spaces
            .iter()
            .filter(|(_, state)| !state.damaged.is_empty())
            .map(|(space, _)| space.clone())
            .collect();
        for space in damaged {
            self.compare_soon(&space);
        }
        self.arm();
    }

    /// A space is compared next.
    pub(crate) fn compare_soon(&mut self, space: &SpaceId) {
        let under_way = self.compares.asking.values().any(|a| a.space == *space)
            || self
                .compares
                .scrub
                .as_ref()
                .is_some_and(|s| s.space == *space)
            || self.compares.waiting.iter().any(|(s, _)| s == space);
        if !under_way {
            self.compares.waiting.push_front((space.clone(), None));
            self.arm();
        }
    }

    /// `Request::Compare`.
    pub(crate) fn compare_on_demand(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        registry: &RegistryName,
    ) -> Result<Outcome, Stop> {
        if !self.is_registrar(memo, speaker, registry)? && !self.is_founder(memo, speaker)? {
            let why = format!("only a registrar of {registry} or an owner of gv@gv may do this");
            return Ok(Err(Refusal::not_allowed(why)).into());
        }
        if self.compares.asked.len() >= MOST_ASKED {
            let why = "this server is busy comparing; try again later";
            return Ok(Err(Refusal::unavailable(why)).into());
        }
        let id = self.next_id();
        let cells = self.databases.get(registry).map_or(0, |d| d.compared());
        let asked = Asked {
            to: to.clone(),
            view: CompareView {
                registry: registry.clone(),
                server: self.config.server.clone(),
                cells,
                rebuilt: 0,
                with: Vec::new(),
            },
            open: BTreeSet::new(),
            scrubbed: false,
        };
        self.compares.asked.insert(id, asked);
        let space = SpaceId::Registry(registry.clone());
        self.begin_compares(&space, Some(id))?;
        self.compares.waiting.push_front((space, Some(id)));
        self.arm();
        Ok(Outcome::Later)
    }

    /// Goes on with every walk under way, a slice each.
    pub(crate) fn walk_on(&mut self) -> Result<(), Damaged> {
        self.compares.armed = false;
        let asking: Vec<Joint> = self.compares.asking.keys().cloned().collect();
        for joint in asking {
            if let Some(mut asker) = self.compares.asking.remove(&joint) {
                if asker.walks() && self.asker_walks(&joint, &mut asker)? == Course::Ended {
                    self.asker_ends(&joint, asker);
                } else {
                    self.compares.asking.insert(joint, asker);
                }
            }
        }
        let answering: Vec<Joint> = self.compares.answering.keys().cloned().collect();
        for joint in answering {
            if let Some(mut answerer) = self.compares.answering.remove(&joint)
                && (!answerer.walks() || self.answerer_walks(&joint, &mut answerer)?)
            {
                self.compares.answering.insert(joint, answerer);
            }
        }
        if self.compares.scrub.is_none()
            && self.compares.asking.len() < MOST_ASKING
            && let Some((space, asked)) = self.compares.waiting.pop_front()
        {
            self.compares.scrub = Some(Scrub::new(space, asked));
        }
        if let Some(mut scrub) = self.compares.scrub.take() {
            match self.scrub_on(&mut scrub)? {
                None => self.compares.scrub = Some(scrub),
                Some(rebuilt) => self.scrubbed(scrub, rebuilt)?,
            }
        }
        self.arm();
        Ok(())
    }

    fn scrubbed(&mut self, scrub: Scrub, rebuilt: u64) -> Result<(), Damaged> {
        self.compares.counts.rebuilt += rebuilt;
        if rebuilt > 0 {
            self.alarm(format!(
                "{}: {rebuilt} rows of this disk were damaged or missing and are written anew; look at the disk",
                scrub.space
            ));
        }
        match scrub.asked {
            Some(id) => {
                if let Some(asked) = self.compares.asked.get_mut(&id) {
                    asked.scrubbed = true;
                    asked.view.rebuilt = rebuilt;
                }
                self.asked_is_done(id);
                Ok(())
            }
            None => self.begin_compares(&scrub.space, None),
        }
    }

    /// Begins to compare a space with its partners: all of them when somebody asks or when damage is
    /// to be mended, else those that do not begin with this server themselves.
    fn begin_compares(&mut self, space: &SpaceId, asked: Option<u64>) -> Result<(), Damaged> {
        let Some(state) = self.spaces.get(space) else {
            return Ok(());
        };
        let damaged = !state.damaged.is_empty();
        let vector = state.row.vector.clone();
        for partner in self.partners(space) {
            let in_turn = self.config.server < partner
                && self
                    .spaces
                    .get(space)
                    .is_some_and(|s| s.have.get(&partner).is_none_or(|have| *have == vector));
            if self.is_up(&partner) && (asked.is_some() || damaged || in_turn) {
                let joint = (partner.clone(), self.next_id());
                if let Some(asked) = asked.and_then(|id| self.compares.asked.get_mut(&id)) {
                    asked.open.insert(joint.clone());
                }
                self.begin_asking(joint, space, asked);
            } else if let Some(asked) = asked.and_then(|id| self.compares.asked.get_mut(&id)) {
                let mut with = with(partner);
                with.failure = Some("this server can't be reached now".into());
                asked.view.with.push(with);
            }
        }
        Ok(())
    }

    /// A comparison that this server began has ended.
    pub(super) fn asker_ends(&mut self, joint: &Joint, asker: Asker) {
        let Asker {
            space,
            asked,
            view,
            more,
            ..
        } = asker;
        let healed = view.healed_here;
        match &view.failure {
            None => {
                self.compares.counts.compared += 1;
                self.send_step(joint, &space, CompareStep::Equal);
                if !more {
                    self.damage_is_mended(&space);
                }
            }
            Some(why) => self.note_info(
                format!("{space} was not compared with {}: {why}", joint.0),
                None,
            ),
        }
        self.compares.counts.differed += view.differed;
        if more && healed + view.healed_there > 0 {
            // As much as fits into one comparison is healed; the next one begins where it left off.
            self.compare_soon(&space);
        }
        if let Some(id) = asked {
            if let Some(asked) = self.compares.asked.get_mut(&id) {
                asked.open.remove(joint);
                asked.view.with.push(view);
            }
            self.asked_is_done(id);
        }
    }

    fn asked_is_done(&mut self, id: u64) {
        let done = self
            .compares
            .asked
            .get(&id)
            .is_some_and(|asked| asked.scrubbed && asked.open.is_empty());
        if done && let Some(mut asked) = self.compares.asked.remove(&id) {
            asked.view.with.sort_by(|a, b| a.server.cmp(&b.server));
            self.reply(asked.to, Ok(Reply::Compared(asked.view)));
        }
    }

    pub(crate) fn take_compare(
        &mut self,
        from: &ServerName,
        id: u64,
        space: SpaceId,
        step: CompareStep,
    ) -> Result<(), Damaged> {
        let joint = (from.clone(), id);
        if let Some(mut asker) = self.compares.asking.remove(&joint) {
            if asker.space == space {
                asker.touched_ms = self.now.mono_ms;
                asker.view.bytes += octets(&step);
                if self.asker_takes(&joint, &mut asker, step)? == Course::Ended {
                    self.asker_ends(&joint, asker);
                    self.arm();
                    return Ok(());
                }
            }
            self.compares.asking.insert(joint, asker);
        } else {
            self.answerer_takes(joint, space, step)?;
        }
        self.arm();
        Ok(())
    }

    pub(super) fn send_step(&mut self, joint: &Joint, space: &SpaceId, step: CompareStep) {
        let (to, id) = joint;
        let (space, id) = (space.clone(), *id);
        self.send(to, PeerMessage::Compare { id, space, step });
    }

    /// Takes in cells of a partner whose vector is `theirs`; `base` is what this server had when the
    /// comparison began. Gives how many were lacking here although the vector covers them, and
    /// what is newer here.
    pub(super) fn heal(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        updates: Vec<Update>,
        theirs: &VersionVector,
        base: &VersionVector,
    ) -> Result<(u64, Vec<Update>), Damaged> {
        let informed = theirs.covers_all(base);
        let (mut healed, mut newer) = (0, Vec::new());
        for update in self.sift(from, space, updates) {
            let covered = self
                .spaces
                .get(space)
                .is_some_and(|state| state.row.vector.covers(update.cell.dot));
            if !covered {
                // On its way by itself.
                continue;
            }
            let present = self.cell(space, &update.key).unwrap_or_default();
            let floor = self.spaces.get(space).map(|state| &state.floor);
            let has_forgotten = floor.is_some_and(|floor| !floor.is_empty());
            match &present {
                Some(present)
                    if present.merge_in(update.key.field, &update.cell) == Merge::Kept =>
                {
                    if !same(present, &update.cell) {
                        newer.push(Update {
                            key: update.key,
                            cell: present.clone(),
                        });
                    }
                    continue;
                }
                // It may have been deleted here, and the deletion forgotten: only who knows as much
                // as this server can say that it was not.
                Some(_) | None if !informed && (present.is_none() || has_forgotten) => continue,
                Some(_) | None => {}
            }
            let lacking = self.lacking_bodies(space, std::slice::from_ref(&update))?;
            if lacking.is_empty()
                && self.merge_cell(space, &update.key, &update.cell)? == Merge::Taken
            {
                self.clock.observe(update.cell.stamp);
                self.clock.observe(update.cell.dot);
                healed += 1;
            }
        }
        if healed > 0 {
            self.space_changed(space);
            if let SpaceId::Registry(registry) = space {
                self.copy_was_mended(registry);
            }
            self.compares.counts.healed += healed;
            self.alarm(format!(
                "{space}: {healed} cells here were damaged, missing or different, and are taken from {from}; look at this disk"
            ));
        }
        Ok((healed, newer))
    }

    /// A partner is lost: what was begun with it is not ended.
    pub(crate) fn compare_lost(&mut self, server: &ServerName) {
        let lost = |joint: &Joint| joint.0 == *server;
        self.give_up(lost, "the connection was lost");
    }

    /// A space is no more.
    pub(crate) fn compare_dropped(&mut self, space: &SpaceId) {
        let asking = self.compares.asking.iter();
        let mut joints: BTreeSet<Joint> = asking
            .filter(|(_, asker)| asker.space == *space)
            .map(|(joint, _)| joint.clone())
            .collect();
        let answering = self.compares.answering.iter();
        joints.extend(
            answering
                .filter(|(_, answerer)| answerer.space == *space)
                .map(|(joint, _)| joint.clone()),
        );
        self.give_up(|joint| joints.contains(joint), "it is no more");
    }

    fn forget_silent(&mut self) {
        let limit_ms = self.config.times.compare_silent_ms;
        let now_ms = self.now.mono_ms;
        self.compares
            .answering
            .retain(|_, answerer| now_ms.saturating_sub(answerer.touched_ms) < limit_ms);
        let silent: BTreeSet<Joint> = self
            .compares
            .asking
            .iter()
            .filter(|(_, asker)| now_ms.saturating_sub(asker.touched_ms) >= limit_ms)
            .map(|(joint, _)| joint.clone())
            .collect();
        self.give_up(|joint| silent.contains(joint), "it did not answer in time");
    }

    fn give_up(&mut self, which: impl Fn(&Joint) -> bool, why: &str) {
        self.compares.answering.retain(|joint, _| !which(joint));
        let joints: Vec<Joint> = self
            .compares
            .asking
            .keys()
            .filter(|joint| which(joint))
            .cloned()
            .collect();
        for joint in joints {
            if let Some(mut asker) = self.compares.asking.remove(&joint) {
                asker.view.failure = Some(why.to_owned());
                self.asker_ends(&joint, asker);
            }
        }
    }

    fn arm(&mut self) {
        let compares = &self.compares;
        let busy = compares.scrub.is_some()
            || (!compares.waiting.is_empty() && compares.asking.len() < MOST_ASKING)
            || compares.asking.values().any(Asker::walks)
            || compares.answering.values().any(Answerer::walks);
        if busy && !compares.armed {
            self.compares.armed = true;
            self.timer(PAUSE_MS, Timer::Compare);
        }
    }
}

/// Whether a comparison goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    GoesOn,
    Ended,
}

/// Whether two cells decide merges alike; their dots may differ.
fn same(a: &Cell, b: &Cell) -> bool {
    (a.stamp, &a.value) == (b.stamp, &b.value)
}

/// Nothing found with a partner, yet.
pub(super) fn with(server: ServerName) -> ComparedWith {
    ComparedWith {
        server,
        differed: 0,
        healed_here: 0,
        healed_there: 0,
        bytes: 0,
        failure: None,
    }
}

/// What an update weighs in a message, about.
pub(super) fn weight(update: &Update) -> usize {
    let value = update.cell.value.as_ref().map_or(0, Vec::len);
    48 + update.key.element.len() + value
}

/// What a step weighs, about: its digests, keys and cells.
pub(super) fn octets(step: &CompareStep) -> u64 {
    let updates = |list: &[Update]| list.iter().map(weight).sum::<usize>();
    let octets = match step {
        CompareStep::Begin { .. } => 17,
        CompareStep::Equal => 1,
        CompareStep::Later(why) => why.len(),
        CompareStep::Digests { nodes, digests, .. } => 4 * nodes.len() + 8 * digests.len(),
        CompareStep::Ask { nodes, .. } => 4 * nodes.len(),
        CompareStep::Leaves { nodes, cells } => 4 * nodes.len() + 16 * cells.len(),
        CompareStep::Differ {
            updates: list,
            wanted,
            vector,
            ..
        } => updates(list) + 8 * wanted.len() + 16 * vector.len(),
        CompareStep::Cells {
            updates: list,
            vector,
        } => updates(list) + 16 * vector.len(),
        CompareStep::Done { .. } => 8,
    };
    octets as u64
}
