//! Other mail systems, as servers meet them: one that is well, one that refuses, one that is fickle and
//! goes away for a while.
//!
//! Must be no kinder than the internet: it may have taken a message of which the sender never hears, and
//! it keeps whatever it is handed, twice if it is handed twice.

use std::collections::BTreeMap;

use grapevine_core::{HandOver, HandOverOutcome, HandedOver, Outside, Reached};
use grapevine_model::{MessageId, Name};

use crate::dice::Dice;

/// The domains outside: all is taken, all is refused, anything may happen.
pub const DOMAINS: [&str; 3] = ["well.example", "closed.example", "fickle.example"];
/// The one name that no domain outside has.
const NOBODY: &str = "nobody";

/// A fickle destination may think so long about a message: longer than RFC 5321 lets a sender wait
/// for most answers.
const LATEST_ANSWER_US: u64 = 90_000_000;

/// How a domain outside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It takes what comes.
    Well,
    /// It takes nothing, for good.
    Closed,
    /// It takes nothing now (greylisting, a full disk).
    Later,
    /// It can't be reached.
    Gone,
    /// Each time one of these, by chance.
    Fickle,
}

/// All other mail systems.
#[derive(Debug)]
pub struct OutsideWorld {
    moods: BTreeMap<String, Mood>,
    /// How often each message was taken for each recipient.
    pub taken: BTreeMap<(MessageId, Name), u32>,
    /// How often it was taken, or refused, and the sender never heard of that.
    pub unheard: BTreeMap<(MessageId, Name), u32>,
}

impl Default for OutsideWorld {
    fn default() -> Self {
        let moods = [Mood::Well, Mood::Closed, Mood::Fickle];
        Self {
            moods: DOMAINS.map(str::to_owned).into_iter().zip(moods).collect(),
            taken: BTreeMap::new(),
            unheard: BTreeMap::new(),
        }
    }
}

impl OutsideWorld {
    /// A domain changes.
    pub fn set(&mut self, domain: &str, mood: Mood) {
        self.moods.insert(domain.to_owned(), mood);
    }

    /// When a destination answers, from now on, in microseconds, and whether it does so twice.
    pub(crate) fn answers_after(&self, order: &HandOver, dice: &mut Dice) -> (u64, Option<u64>) {
        let domain = order.recipients.first().map(|r| r.name.registry().as_str());
        let mood = domain.and_then(|domain| self.moods.get(domain));
        if mood != Some(&Mood::Fickle) {
            return (dice.between(1_000, 500_000), None);
        }
        let first_us = match dice.chance(200) {
            true => dice.between(500_000, LATEST_ANSWER_US),
            false => dice.between(1_000, 500_000),
        };
        let again = dice.chance(100);
        (
            first_us,
            again.then(|| first_us + dice.between(1, 5_000_000)),
        )
    }

    /// Nothing is fickle or gone any more.
    pub fn heal(&mut self) {
        for mood in self.moods.values_mut() {
            match mood {
                Mood::Fickle | Mood::Gone | Mood::Later => *mood = Mood::Well,
                Mood::Well | Mood::Closed => {}
            }
        }
    }

    /// A message comes in.
    pub(crate) fn receive(&mut self, order: &HandOver, dice: &mut Dice) -> HandedOver {
        let domain = order.recipients.first().map(|r| r.name.registry().as_str());
        let mood = domain.and_then(|domain| self.moods.get(domain)).copied();
        let mood = match mood {
            Some(Mood::Fickle) => match dice.below(10) {
                0..4 => Mood::Well,
                4..6 => Mood::Later,
                // It takes it, and the connection breaks before it can say so.
                6 => {
                    for one in &order.recipients {
                        self.answer(order.message, one, Mood::Well);
                        let place = (order.message, one.name.clone());
                        *self.unheard.entry(place).or_default() += 1;
                    }
                    Mood::Gone
                }
                _ => Mood::Gone,
            },
            Some(mood) => mood,
            None => Mood::Gone,
        };
        let (reached, outcomes) = match mood {
            Mood::Gone | Mood::Fickle => (Reached::No("no answer".into()), Vec::new()),
            Mood::Well | Mood::Closed | Mood::Later => {
                let each = order.recipients.iter();
                let outcomes = each.map(|one| self.answer(order.message, one, mood));
                (Reached::Yes, outcomes.collect())
            }
        };
        HandedOver {
            id: order.id,
            reached,
            outcomes,
        }
    }

    fn answer(&mut self, message: MessageId, one: &Outside, mood: Mood) -> HandOverOutcome {
        let by = "mx.example".to_owned();
        if mood == Mood::Later {
            return HandOverOutcome::Later("451 4.7.1 greylisted".into());
        }
        if mood == Mood::Closed || one.name.folded() == NOBODY {
            return HandOverOutcome::Refused {
                status: "5.1.1".into(),
                by: Some(by),
                reason: "550 5.1.1 no such user".into(),
            };
        }
        let place = (message, one.name.clone());
        *self.taken.entry(place).or_default() += 1;
        HandOverOutcome::Taken {
            by,
            reply: "250 2.0.0 taken".into(),
            reports: false,
        }
    }
}
