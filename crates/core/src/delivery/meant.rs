//! Whom a list means: the entry that was listed, not whoever has its name now.
//!
//! Guards P7 where the member's registry is held elsewhere: nothing is left out unless its holders
//! say that whom the list meant is no more; where they can't be asked the recipient waits.

use grapevine_model::{Answer, Incarnation, Life, MessageId, Question, RegistryName, Resolution};

use crate::delivery::custody::{Pending, Stage};
use crate::registry::directory::{Eval, Held, Memo, Need};
use crate::registry::request::Stop;
use crate::server::Server;

/// An entry of which no holder knows anything is taken for gone when it was asked for so often: its
/// tombstone may be forgotten, and its creation, which a holder knew once, may only be late.
const LEAST_ASKED: u32 = 3;

impl Server {
    /// Whether a recipient's name still means whom its list meant. If not, the recipient is led on
    /// to its present name, left out, or waits.
    pub(super) fn is_still_meant(
        &mut self,
        memo: &Memo,
        message: MessageId,
        key: &str,
        pending: &Pending,
        resolution: &Resolution,
    ) -> Result<bool, Stop> {
        let Some(meant) = pending.meant else {
            return Ok(true);
        };
        let is = match resolution {
            Resolution::Individual { incarnation, .. } | Resolution::Group { incarnation, .. } => {
                Some(*incarnation)
            }
            Resolution::NoSuch => None,
        };
        let registry = pending.name.registry();
        if is == Some(meant) || self.held(registry) == Held::Unknown {
            return Ok(true);
        }
        let asked = self.custodies.get(&message).and_then(|c| c.trying.get(key));
        let asked = asked.map_or(0, |trying| trying.attempts);
        match self.life_of(memo, registry, meant)? {
            // What was believed of the name is old.
            Some(Life::Lives(now)) if now == pending.name.without_detail() => {
                self.forget_hint(&now);
                self.recipient_waits(message, key, format!("asking again who {now} is"));
            }
            Some(Life::Lives(now)) => {
                let why = format!("it is called {now}");
                let next = Pending {
                    name: now,
                    stage: Stage::Steer,
                    ..pending.clone()
                };
                self.add_pending(message, next);
                self.recipient_done(message, key, "renamed", why)?;
            }
            Some(Life::Gone | Life::Aside) => {
                let why = "whom the list meant is no more".into();
                self.recipient_done(message, key, "left out", why)?;
            }
            Some(Life::Absent) if asked >= LEAST_ASKED => {
                let why = "whom the list meant is not known any more".into();
                self.recipient_done(message, key, "left out", why)?;
            }
            Some(Life::Absent | Life::Unheard) | None => {
                let why = format!("it can't be told whom the list means by {}", pending.name);
                self.recipient_waits(message, key, why);
            }
        }
        Ok(false)
    }

    /// What became of an entry, as a holder of its registry says; none where none can be asked.
    pub(crate) fn life_of(
        &self,
        memo: &Memo,
        registry: &RegistryName,
        meant: Incarnation,
    ) -> Eval<Option<Life>> {
        let answer = match self.held(registry) {
            Held::Here => self.lives_here(registry, &[meant]),
            Held::Unknown => Answer::Unavailable,
            Held::Elsewhere => {
                let question = Question::Living {
                    registry: registry.clone(),
                    incarnations: vec![meant],
                };
                match memo.get(&question) {
                    Some(answer) => answer.clone(),
                    None => return Err(Need::Ask(Box::new(question))),
                }
            }
        };
        Ok(match answer {
            Answer::Lives(lives) => lives.into_iter().next(),
            Answer::Unavailable
            | Answer::Resolved(_)
            | Answer::Level { .. }
            | Answer::Groups { .. }
            | Answer::Sites { .. } => None,
        })
    }
}
