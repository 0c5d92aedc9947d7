//! The round: every space here is looked after in turn, some of them each step, so that no turn grows with how many there are.
//!
//! It is the queue of bulk work at an inbox site: what a server that leaves hands over, what no registry moves any
//! more, what must be counted. A step is short, hands over a few mailboxes at most, and others' work comes between two steps.
//!
//! It must never forget a space: whoever comes while a round is under way is in this one or in the next.

use std::ops::Bound;

use grapevine_model::{ServerRole, SpaceId};

use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// Spaces looked at in one step: a millisecond.
const LOOKED_AT_A_STEP: usize = 4_096;
/// Spaces handed over in one step: each of them makes others ask and be answered, with up to half a MiB a page.
const HANDED_A_STEP: usize = 100;
/// Mailboxes counted anew in one step, where an older release or a damaged row left no count.
const COUNTED_A_STEP: usize = 20;
/// From one step to the next: at most so many steps a second, or the hand-over would fill the other servers' inputs.
const STEP_MS: u64 = 20;

/// How far a round has come.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// A round is under way; after this space it goes on.
    under_way: bool,
    after: Option<SpaceId>,
    /// Mailboxes without room that this round has met, and that the last whole one met.
    full: u64,
    pub(crate) full_mailboxes: u64,
}

impl Server {
    /// Begins a round, unless one is under way.
    pub(crate) fn begin_round(&mut self) -> Result<(), Damaged> {
        if self.rounds.under_way {
            return Ok(());
        }
        self.rounds.under_way = true;
        self.rounds.after = None;
        self.rounds.full = 0;
        self.go_round()
    }

    /// A step of a round.
    pub(crate) fn go_round(&mut self) -> Result<(), Damaged> {
        let retiring = self.role() == ServerRole::Retiring;
        let first = (self.rounds.after.take()).map_or(Bound::Unbounded, Bound::Excluded);
        let mut staying = Vec::new();
        let (mut uncounted, mut leaving, mut last) = (Vec::new(), Vec::new(), None::<SpaceId>);
        let spaces = self.spaces.range((first, Bound::Unbounded));
        for (at, (space, state)) in spaces.enumerate() {
            let enough = at == LOOKED_AT_A_STEP || leaving.len() == HANDED_A_STEP;
            if enough && !self.planted_one_queue {
                self.rounds.after = last;
                break;
            }
            last = Some(space.clone());
            let is_mailbox = matches!(space, SpaceId::Mailbox(_));
            if is_mailbox && state.row.usage.is_none() && uncounted.len() < COUNTED_A_STEP {
                uncounted.push(space.clone());
            }
            self.rounds.full += u64::from(self.has_no_room(space, state));
            let system = matches!(space, SpaceId::Registry(r) if r.is_system());
            if !system && (retiring || !self.belongs_here(space)) {
                leaving.push(space.clone());
            } else if state.leaving {
                staying.push(space.clone());
            }
        }
        for space in staying {
            if let Some(state) = self.spaces.get_mut(&space) {
                state.leaving = false;
            }
        }
        for space in uncounted {
            self.usage_of(&space)?;
        }
        let mut offered = Vec::new();
        for space in leaving {
            if retiring {
                self.give_away_ownerless(&space)?;
            }
            if !self.belongs_here(&space) {
                if self.hand_over(&space)? {
                    offered.push(space);
                }
            } else if let Some(state) = self.spaces.get_mut(&space) {
                state.leaving = false;
            }
        }
        self.offer_all(&offered);
        if self.rounds.after.is_some() {
            self.timer(STEP_MS, Timer::Round);
        } else {
            self.rounds.under_way = false;
            self.rounds.full_mailboxes = self.rounds.full;
        }
        Ok(())
    }
}
