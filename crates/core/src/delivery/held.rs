//! Messages to moderated groups, held until an owner says yes or no.
//!
//! Guards P1 and P6: what is held is in custody like any message, on two disks; that it waits, and what
//! is said of it, stands in the group's entry, which all holders of its registry have. So any of them
//! takes the word, and whoever has custody hears it. Silence is never a yes: what nobody has
//! approved goes back to its sender when its time is over.

use grapevine_model::{
    Field, HeldPost, MAX_VERDICT_BYTES, MessageId, Name, PostingRule, Refusal, RegistryName, Reply,
    SpaceId, Speaker, Verdict,
};

use crate::codec;
use crate::registry::change::Checked;
use crate::registry::database::{Entry, element};
use crate::registry::directory::{Eval, Memo};
use crate::registry::request::Stop;
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Messages that one group holds at most: strangers can post, and somebody must read them all.
const MOST_HELD: usize = 500;
/// A verdict is kept for so long after its message would have gone back: a deputy that takes the
/// message over then does not ask once more.
const KEPT_MS: u64 = 24 * 3_600_000;
/// Cells of a group that are forgotten at a time.
const MOST_FORGOTTEN: usize = 100;

/// What a posting rule makes of a message.
pub(crate) enum Moderated {
    /// It goes on.
    Goes,
    /// It waits.
    Waits,
    /// It goes back.
    Back(String),
}

fn read_post(value: &[u8]) -> Option<HeldPost> {
    codec::decode(value).ok()
}

/// The words of a verdict with their end.
type Word = (Verdict, u64);

impl Server {
    /// Whether a message to a group held here may go on.
    pub(crate) fn moderate(
        &mut self,
        memo: &Memo,
        message: MessageId,
        poster: &Speaker,
        group: &Name,
    ) -> Result<Moderated, Stop> {
        let Some(entry) = self.entry(group) else {
            return Ok(Moderated::Goes);
        };
        if entry.posting() != PostingRule::Moderated
            || matches!(poster, Speaker::Operator | Speaker::Server(_))
        {
            return Ok(Moderated::Goes);
        }
        let key = message.to_bytes();
        if let Some(word) = entry
            .cell(Field::Verdict, &key)
            .and_then(|c| c.value.as_ref())
        {
            let (verdict, _): Word = codec::decode(word)?;
            return Ok(match verdict {
                Verdict::Approve => Moderated::Goes,
                Verdict::Reject(why) if why.is_empty() => {
                    Moderated::Back(format!("an owner of {group} has refused it"))
                }
                Verdict::Reject(why) => {
                    Moderated::Back(format!("an owner of {group} has refused it: {why}"))
                }
            });
        }
        if self.is_owner(memo, poster, group)? {
            return Ok(Moderated::Goes);
        }
        let known = entry.cell(Field::HeldPost, &key);
        if known.is_some_and(|cell| cell.value.is_some()) {
            return Ok(Moderated::Waits);
        }
        if entry.list(Field::HeldPost, None).count() >= MOST_HELD {
            return Ok(Moderated::Back(format!(
                "too many messages wait for the owners of {group}"
            )));
        }
        let mut changes = expired(&entry, self.now.wall_ms);
        let (incarnation, group) = (entry.incarnation, entry.name().unwrap_or(group.clone()));
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(Moderated::Waits);
        };
        let record = &custody.row.record;
        let post = HeldPost {
            message,
            from: record.envelope.return_path.clone(),
            octets: record.body.len,
            since_ms: self.now.wall_ms,
            expires_ms: record
                .accepted_ms
                .saturating_add(self.config.times.give_up_ms),
        };
        let space = SpaceId::Registry(group.registry().clone());
        changes.push(Change::put(
            element(incarnation, Field::HeldPost, key),
            codec::encode(&post),
        ));
        self.write(&space, changes)?;
        self.space_changed(&space);
        self.note_info(format!("held for the owners of {group}"), Some(message));
        self.notify_owners(&group, &post);
        Ok(Moderated::Waits)
    }

    /// A verdict may have come in a registry: what waits for its groups is looked at again.
    pub(crate) fn wake_held(&mut self, registry: &RegistryName) {
        let waiting: Vec<(MessageId, String)> = self
            .held_posts
            .iter()
            .filter(|(_, of)| *of == registry)
            .map(|(key, _)| key.clone())
            .collect();
        let now = self.now.mono_ms;
        for (message, key) in waiting {
            let custody = self.custodies.get_mut(&message);
            match custody.and_then(|custody| custody.trying.get_mut(&key)) {
                Some(trying) => {
                    trying.due_ms = now;
                    trying.under_way = false;
                    self.due.insert((now, message, key));
                }
                None => {
                    self.held_posts.remove(&(message, key));
                }
            }
        }
    }

    /// An approved message has all the time that one has which is posted now.
    pub(crate) fn posted_now(&mut self, message: MessageId) -> Result<(), Damaged> {
        let (now, wall_ms) = (self.now.mono_ms, self.now.wall_ms);
        if let Some(custody) = self.custodies.get_mut(&message) {
            custody.row.record.accepted_ms = wall_ms;
            custody.since_ms = now;
            custody.touch();
            self.saving.insert(message);
            // The deputy counts by the same date.
            self.find_deputy(message)?;
        }
        Ok(())
    }

    /// Whether somebody may say yes or no: the owners, and the registrars of the registry.
    pub(crate) fn may_judge(&self, memo: &Memo, speaker: &Speaker, group: &Name) -> Eval<bool> {
        Ok(self.is_owner(memo, speaker, group)?
            || self.is_registrar(memo, speaker, group.registry())?)
    }

    /// What a group holds, for its owners.
    pub(crate) fn held_posts(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        group: &Name,
    ) -> Checked<Reply> {
        let Some(entry) = self.entry(group) else {
            return Ok(Err(Refusal::not_found(group)));
        };
        if !self.may_judge(memo, speaker, group)? {
            return Ok(Err(Refusal::not_allowed(format!(
                "only its owners may see what {group} holds"
            ))));
        }
        let posts = entry.list(Field::HeldPost, None);
        let now_ms = self.now.wall_ms;
        let posts = posts.filter_map(|(_, value)| read_post(value));
        let mut posts: Vec<HeldPost> = posts.filter(|post| post.expires_ms > now_ms).collect();
        posts.sort_by_key(|post| (post.since_ms, post.message));
        posts.truncate(MOST_HELD);
        Ok(Ok(Reply::Held(posts)))
    }

    /// What says yes or no of a held message.
    pub(crate) fn judge_changes(
        &self,
        entry: &Entry<'_>,
        message: MessageId,
        verdict: &Verdict,
    ) -> Result<Vec<Change>, Refusal> {
        if let Verdict::Reject(why) = verdict
            && why.len() > MAX_VERDICT_BYTES
        {
            return Err(Refusal::new(
                grapevine_model::ErrorKind::TooLarge,
                format!("a reason has at most {MAX_VERDICT_BYTES} octets"),
            ));
        }
        let key = message.to_bytes();
        let held = entry.cell(Field::HeldPost, &key);
        let post = held.and_then(|cell| read_post(cell.value.as_ref()?));
        let said = entry.cell(Field::Verdict, &key);
        let said = said.and_then(|cell| codec::decode::<Word>(cell.value.as_ref()?).ok());
        match (post, said) {
            (Some(post), _) => Ok(vec![
                Change::delete(element(entry.incarnation, Field::HeldPost, key)),
                Change::put(
                    element(entry.incarnation, Field::Verdict, key),
                    codec::encode(&(verdict.clone(), post.expires_ms)),
                ),
            ]),
            // Said already, by this very call perhaps.
            (None, Some((before, _))) if before == *verdict => Ok(Vec::new()),
            (None, Some(_)) => Err(Refusal::conflict(format!(
                "another word has been said of {message} already"
            ))),
            (None, None) => Err(Refusal::not_found(format!("held message {message}"))),
        }
    }
}

/// What a group need not remember any more: looked at when it gets something new to hold.
fn expired(entry: &Entry<'_>, now_ms: u64) -> Vec<Change> {
    let posts = entry.list(Field::HeldPost, None).filter(|(_, value)| {
        read_post(value).is_none_or(|post| post.expires_ms.saturating_add(KEPT_MS) < now_ms)
    });
    let posts = posts.map(|(key, _)| (Field::HeldPost, key));
    let words = entry.list(Field::Verdict, None).filter(|(_, value)| {
        let word = codec::decode::<Word>(value);
        word.is_ok_and(|(_, end_ms)| end_ms.saturating_add(KEPT_MS) < now_ms)
    });
    let words = words.map(|(key, _)| (Field::Verdict, key));
    let all = posts.chain(words).take(MOST_FORGOTTEN);
    all.map(|(field, key)| Change::delete(element(entry.incarnation, field, key)))
        .collect()
}
