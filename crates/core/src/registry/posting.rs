//! Who may post to a group: its rule, evaluated at the door for direct recipients
//! and again where the group is expanded, nested ones included.
//!
//! Guards P7: where it can't be told, the recipient is deferred, never let in and
//! never refused. The holder of the group's registry is the truth; a remembered
//! rule may be old, so it never refuses anybody by itself.

use grapevine_model::{
    Answer, GroupList, Incarnation, Name, PostingRule, Question, Refusal, Resolution, Speaker,
};

use crate::registry::directory::{Eval, Held, Memo, Need};
use crate::server::Server;

impl Server {
    /// Whether somebody may post to a group (in the spelling of its entry).
    pub(crate) fn may_post(
        &self,
        memo: &Memo,
        poster: &Speaker,
        group: &Name,
    ) -> Eval<Result<(), Refusal>> {
        let (rule, meant) = self.posting_rule(memo, group)?;
        let (who, incarnation) = match (poster, &rule) {
            // What is not an owner's is taken, and held: see `delivery::held`.
            (Speaker::Operator | Speaker::Server(_), _)
            | (_, PostingRule::Anyone | PostingRule::Moderated) => {
                return Ok(Ok(()));
            }
            (Speaker::Anonymous | Speaker::Neighbour, _) => return Ok(Err(refused(group, &rule))),
            (Speaker::Individual { name, incarnation }, _) => (name, Some(*incarnation)),
        };
        let is = |group: &Name, list| self.is_in(memo, group, list, who, incarnation);
        let by_rule = match &rule {
            PostingRule::Anyone | PostingRule::Authenticated | PostingRule::Moderated => Ok(true),
            PostingRule::Members => is(group, GroupList::Members),
            PostingRule::Group(other) => {
                let list = GroupList::Members;
                self.is_in_meant(memo, (other, meant), list, (who, incarnation))
            }
            PostingRule::Owners => Ok(false),
        };
        // An owner may even if it can't be told whether he is a member.
        match by_rule {
            Ok(true) => return Ok(Ok(())),
            Ok(false) | Err(Need::Unavailable(_)) => {}
            Err(need @ (Need::Ask(_) | Need::News(_))) => return Err(need),
        }
        let owner = match self.held(group.registry()) {
            Held::Here => self.is_owner(memo, poster, group)?,
            Held::Elsewhere | Held::Unknown => is(group, GroupList::Owners)?,
        };
        if owner {
            return Ok(Ok(()));
        }
        by_rule.map(|_| Err(refused(group, &rule)))
    }

    /// The rule, and which entry it means where it names a group.
    fn posting_rule(&self, memo: &Memo, group: &Name) -> Eval<(PostingRule, Option<Incarnation>)> {
        if self.held(group.registry()) == Held::Here {
            let entry = self.entry(group);
            return Ok(entry
                .map(|entry| (entry.posting(), entry.posting_meant()))
                .unwrap_or_default());
        }
        let question = Question::Resolve(group.clone());
        match memo.get(&question) {
            Some(Answer::Resolved(Resolution::Group {
                posting,
                posting_meant,
                ..
            })) => Ok((posting.clone(), *posting_meant)),
            // No group any more: whoever delivers will say so.
            Some(Answer::Resolved(_)) => Ok((PostingRule::Anyone, None)),
            Some(_) => Err(Need::Unavailable(format!(
                "no holder of {} can be asked who may post to {group}",
                group.registry()
            ))),
            None => match self.resolve(memo, group)? {
                Resolution::Group {
                    posting: PostingRule::Anyone,
                    ..
                } => Ok((PostingRule::Anyone, None)),
                _ => Err(Need::Ask(Box::new(question))),
            },
        }
    }
}

fn refused(group: &Name, rule: &PostingRule) -> Refusal {
    let who = match rule {
        PostingRule::Anyone | PostingRule::Moderated => "anybody".to_owned(),
        PostingRule::Authenticated => "those who have logged in".to_owned(),
        PostingRule::Members => "its members".to_owned(),
        PostingRule::Owners => "its owners".to_owned(),
        PostingRule::Group(other) => format!("members of {other}"),
    };
    Refusal::not_allowed(format!("only {who} may post to {group}"))
}
