//! Many memberships in one question.
//!
//! Guards P7: what can't be told of one name is said of that name, and the others are answered.

use grapevine_model::{Check, ErrorKind, GroupList, MAX_CHECKS, Name, Refusal, Reply, Resolution};

use crate::registry::directory::{Eval, MOST_QUESTIONS, Memo, Need};
use crate::registry::request::{Outcome, Stop};
use crate::server::Server;

impl Server {
    /// Is each of these in a list of a group held here?
    pub(crate) fn check_many(
        &mut self,
        memo: &Memo,
        group: &Name,
        list: GroupList,
        who: &[Name],
    ) -> Result<Outcome, Stop> {
        if who.len() > MAX_CHECKS {
            let why = format!("at most {MAX_CHECKS} names in one question");
            return Ok(Err(Refusal::new(ErrorKind::TooLarge, why)).into());
        }
        if self.entry(group).is_none() {
            return Ok(Err(Refusal::not_found(group)).into());
        }
        let mut answers = Vec::with_capacity(who.len());
        for who in who {
            answers.push(match self.check(memo, group, list, who) {
                Ok(check) => Some(check),
                Err(Need::Ask(_)) if memo.len() >= MOST_QUESTIONS => None,
                Err(Need::Unavailable(_)) => None,
                Err(need @ (Need::Ask(_) | Need::News(_))) => return Err(Stop::Need(need)),
            });
        }
        Ok(Ok(Reply::Checks(answers)).into())
    }

    /// Is somebody in a list of a group held here, over nested groups and registries?
    pub(crate) fn check(
        &self,
        memo: &Memo,
        group: &Name,
        list: GroupList,
        who: &Name,
    ) -> Eval<Check> {
        let incarnation = match self.resolve(memo, who)? {
            Resolution::Individual { incarnation, .. } | Resolution::Group { incarnation, .. } => {
                Some(incarnation)
            }
            Resolution::NoSuch => None,
        };
        let yes = self.is_in(memo, group, list, who, incarnation)?;
        Ok(if yes { Check::Yes } else { Check::No })
    }
}
