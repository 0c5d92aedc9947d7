//! Updates that may not be taken in: kept apart one by one, so that nothing else waits for them.
//!
//! Guards checklist 33 and P4. A stamp too far ahead of this clock would drag it along and win every
//! merge until then; a cell over the limits would not fit where it has to go. The vector is never
//! raised past such an update, so it is asked for again when it may come in.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{CellKey, Hlc, OriginId, ServerName, SpaceId, Update, VersionVector};

use crate::server::Server;
use crate::tables::Damaged;

/// Updates kept apart at most; of more, only the vector's stop is remembered.
const MOST_KEPT: usize = 1_000;
/// Of these, so many are described in `status`.
const MOST_SHOWN: usize = 20;
/// Origins with a stop, over all spaces, at most: more come from a peer that makes them up.
const MOST_STOPS: usize = 10_000;
/// What lies behind an update kept apart is fetched again so rarely: a page a minute costs nothing.
const ASK_AGAIN_MS: u64 = 60_000;

/// What is kept apart.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Of a cell over the limits only the key's beginning and the stamps: it can't come in, and a
    /// thousand of them would fill the memory.
    kept: BTreeMap<(SpaceId, CellKey), Kept>,
    /// By space and origin: the first update kept apart, and when the rest was last asked for.
    stops: BTreeMap<(SpaceId, OriginId), (Hlc, u64)>,
}

#[derive(Debug)]
struct Kept {
    update: Update,
    from: ServerName,
    why: Why,
}

/// Why an update is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Ahead,
    Oversize,
}

impl Quarantine {
    /// How many updates are kept apart.
    pub(crate) fn len(&self) -> u64 {
        self.kept.len() as u64
    }

    /// The first of them, for a person: no values.
    pub(crate) fn shown(&self, wall_ms: u64) -> Vec<String> {
        let shown = self.kept.iter().take(MOST_SHOWN);
        shown
            .map(|((space, key), kept)| {
                let why = match kept.why {
                    Why::Ahead => format!(
                        "stamped {} s ahead of this clock",
                        kept.furthest_ms().saturating_sub(wall_ms) / 1_000
                    ),
                    Why::Oversize => "over the limit of a cell".to_owned(),
                };
                format!("{space}: field {} from {}: {why}", key.field, kept.from)
            })
            .collect()
    }

    /// Whether anything of a space is kept apart.
    pub(crate) fn stops_in(&self, space: &SpaceId) -> bool {
        let all = (space.clone(), OriginId(0))..=(space.clone(), OriginId(u64::MAX));
        self.stops.range(all).next().is_some()
    }

    /// Lowers a promise to before the first update of each origin that is kept apart.
    pub(crate) fn hold_back(&self, space: &SpaceId, promised: &mut VersionVector) {
        let all = (space.clone(), OriginId(0))..=(space.clone(), OriginId(u64::MAX));
        for ((_, origin), (first, _)) in self.stops.range(all) {
            promised.set_back(*origin, Hlc(first.0.saturating_sub(1)));
        }
    }

    /// Whether everything that a partner has more lies behind updates kept apart, and was asked for
    /// a short while ago.
    pub(crate) fn only_behind(
        &mut self,
        space: &SpaceId,
        ours: &VersionVector,
        theirs: &VersionVector,
        now_ms: u64,
    ) -> bool {
        let lacking: Vec<OriginId> = theirs
            .iter()
            .filter(|(origin, time)| ours.get(*origin) < *time)
            .map(|(origin, _)| origin)
            .collect();
        let mut fresh = !lacking.is_empty();
        for origin in &lacking {
            let stop = self.stops.get(&(space.clone(), *origin));
            fresh &= stop.is_some_and(|(_, asked_ms)| now_ms < asked_ms + ASK_AGAIN_MS);
        }
        if !fresh {
            for origin in lacking {
                if let Some((_, asked_ms)) = self.stops.get_mut(&(space.clone(), origin)) {
                    *asked_ms = now_ms;
                }
            }
        }
        fresh
    }

    fn keep(&mut self, space: &SpaceId, kept: Kept, now_ms: u64) -> bool {
        let dot = kept.update.cell.dot;
        let room = self.stops.len() < MOST_STOPS;
        let stop = (space.clone(), dot.origin);
        if room || self.stops.contains_key(&stop) {
            let stop = self.stops.entry(stop).or_insert((dot.time, now_ms));
            stop.0 = stop.0.min(dot.time);
        }
        let place = (space.clone(), kept.update.key.clone());
        let known = self.kept.get(&place).map(|known| &known.update.cell);
        let news = known != Some(&kept.update.cell);
        if self.kept.len() < MOST_KEPT || known.is_some() {
            self.kept.insert(place, kept);
        }
        news
    }

    /// A cell over the limits that its writer has replaced is no trouble any more.
    fn forget_replaced(&mut self, space: &SpaceId, update: &Update) {
        if self.kept.is_empty() {
            return;
        }
        let place = (space.clone(), update.key.clone());
        let replaced = self.kept.get(&place).is_some_and(|kept| {
            kept.why == Why::Oversize && kept.update.cell.stamp < update.cell.stamp
        });
        if replaced {
            self.kept.remove(&place);
        }
    }

    /// A space is no more.
    pub(crate) fn forget(&mut self, space: &SpaceId) {
        self.kept.retain(|(kept, _), _| kept != space);
        self.stops.retain(|(kept, _), _| kept != space);
    }

    /// Takes out what may come in now.
    fn ripe(&mut self, limit_ms: u64) -> (Vec<(SpaceId, Update)>, BTreeSet<SpaceId>) {
        let places: Vec<(SpaceId, CellKey)> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.why == Why::Ahead && kept.furthest_ms() <= limit_ms)
            .map(|(place, _)| place.clone())
            .collect();
        let mut passed = BTreeSet::new();
        self.stops.retain(|(space, _), (first, _)| {
            // One of an oversize cell has an ordinary time: it is set again when the cell comes.
            let stands = first.wall_ms() > limit_ms;
            if !stands {
                passed.insert(space.clone());
            }
            stands
        });
        let updates = places
            .into_iter()
            .filter_map(|place| {
                let kept = self.kept.remove(&place)?;
                Some((place.0, kept.update))
            })
            .collect();
        (updates, passed)
    }
}

impl Kept {
    fn furthest_ms(&self) -> u64 {
        let cell = &self.update.cell;
        cell.stamp.time.wall_ms().max(cell.dot.time.wall_ms())
    }
}

impl Server {
    /// The updates that may be taken in; the others are kept apart, with an alarm.
    pub(crate) fn sift(
        &mut self,
        from: &ServerName,
        space: &SpaceId,
        updates: Vec<Update>,
    ) -> Vec<Update> {
        let limit_ms = self.drift_limit_ms();
        let now_ms = self.now.mono_ms;
        let mut good = Vec::with_capacity(updates.len());
        let mut news = None;
        for update in updates {
            let Some(why) = objection(&update, limit_ms) else {
                self.quarantine.forget_replaced(space, &update);
                good.push(update);
                continue;
            };
            let kept = Kept {
                update: match why {
                    Why::Ahead => update,
                    Why::Oversize => remembered(update),
                },
                from: from.clone(),
                why,
            };
            let ahead_ms = kept.furthest_ms().saturating_sub(self.now.wall_ms);
            if self.quarantine.keep(space, kept, now_ms) {
                news = Some((why, ahead_ms));
            }
        }
        match news {
            None => {}
            Some((Why::Ahead, ahead_ms)) => self.alarm(format!(
                "{space}: an update from {from} is stamped {} s ahead of this clock and is kept apart until then; check the clocks of both machines",
                ahead_ms / 1_000
            )),
            Some((Why::Oversize, _)) => self.alarm(format!(
                "{space}: {from} sent a cell over the limit; it is kept apart"
            )),
        }
        good
    }

    /// Takes in what the clock has come near enough to.
    pub(crate) fn release_quarantined(&mut self) -> Result<(), Damaged> {
        let (updates, passed) = self.quarantine.ripe(self.drift_limit_ms());
        for space in passed {
            if let Some(state) = self.spaces.get_mut(&space) {
                // A session under way may have gone past the stop: it begins anew.
                state.progress.clear();
            }
        }
        for (space, update) in updates {
            if self.spaces.contains_key(&space)
                && self
                    .lacking_bodies(&space, std::slice::from_ref(&update))?
                    .is_empty()
            {
                self.note_info(
                    format!("{space}: an update that was kept apart is taken in"),
                    None,
                );
                self.merge_all(&space, &[update])?;
            }
        }
        Ok(())
    }

    /// Stamps beyond this are not taken in.
    pub(crate) fn drift_limit_ms(&self) -> u64 {
        self.now.wall_ms.saturating_add(self.config.times.drift_ms)
    }
}

/// What is remembered of a cell over the limits.
fn remembered(mut update: Update) -> Update {
    let element = &mut update.key.element;
    element.truncate(grapevine_model::MAX_CELL_ELEMENT_BYTES);
    element.shrink_to_fit();
    update.cell.value = None;
    update
}

fn objection(update: &Update, limit_ms: u64) -> Option<Why> {
    let Update { key, cell } = update;
    let ahead = cell.stamp.time.wall_ms() > limit_ms || cell.dot.time.wall_ms() > limit_ms;
    if key.element.len() > grapevine_model::MAX_CELL_ELEMENT_BYTES
        || cell
            .value
            .as_ref()
            .is_some_and(|value| value.len() > grapevine_model::MAX_CELL_VALUE_BYTES)
    {
        Some(Why::Oversize)
    } else if ahead {
        Some(Why::Ahead)
    } else {
        None
    }
}
