//! What the clients know: the truth that the servers are held against.
//!
//! A request that was not answered is unknown, neither done nor undone. Must learn nothing but what clients were told, and how
//! many machines were lost.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use grapevine_model::Stamp;

use crate::folders::Folders;
use crate::world::password_of;

/// Stands before a message's token, in its first line.
pub(crate) const TOKEN_FIELD: &str = "X-Torture: ";

/// Violations that are told at once.
const MOST_TOLD: usize = 30;

/// What became of a message that somebody handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody knows, or not yet.
    Unknown,
    /// Surely not taken.
    Refused,
    /// Taken.
    Accepted(Yes),
}

/// A yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Yes {
    /// On how many disks, as it was said; none where the protocol does not say.
    pub(crate) copies: Option<u8>,
    /// How many machines had been lost when it was asked for.
    pub(crate) lost_before: u32,
}

impl Yes {
    /// Whether it stands for two disks, or for one that was not lost since.
    pub(crate) fn must_survive(self, lost: u32) -> bool {
        lost == self.lost_before || self.copies.is_some_and(|copies| copies >= 2)
    }
}

/// A message that somebody has handed in.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Who.
    pub(crate) from: String,
    /// The individuals who must get it, if it is accepted.
    pub(crate) must: BTreeSet<String>,
    /// Recipients that do not exist: reported, if it is accepted for them.
    pub(crate) ghosts: BTreeSet<String>,
    /// BLAKE3 of all that was handed in.
    pub(crate) digest: [u8; 32],
    /// What became of it.
    pub(crate) fate: Fate,
    /// When it was asked for.
    pub(crate) asked: Instant,
}

/// What a person has seen of an inbox.
#[derive(Debug, Default)]
struct Inbox {
    /// Which message stood under an id.
    ids: BTreeMap<String, String>,
    /// Under which id a message was seen.
    tokens: BTreeMap<String, String>,
    deleted: BTreeMap<String, Yes>,
    perhaps_deleted: BTreeSet<String>,
}

/// What is written in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Is this one in that group: `in` or `out`.
    Member(String, String),
    /// The password of an individual.
    Password(String),
}

/// One attempt to write.
#[derive(Debug, Clone)]
struct Write {
    value: String,
    fate: WriteFate,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFate {
    /// Nobody knows, or not yet.
    Unknown,
    /// Surely not done.
    Refused,
    /// Done, under this stamp; none if it was so already.
    Done(Option<Stamp>, Yes),
}

/// A stored message as a reader finds it.
pub(crate) struct Found<'a> {
    /// Its id in the inbox.
    pub(crate) id: &'a str,
    /// Its bytes; none where only the listing was looked at.
    pub(crate) bytes: Option<&'a [u8]>,
}

/// The oracle.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    messages: BTreeMap<String, Message>,
    inboxes: BTreeMap<String, Inbox>,
    writes: BTreeMap<Key, Vec<Write>>,
    /// Message and recipient that somebody was told will not be reached.
    reported: BTreeSet<(String, String)>,
    /// What mail programs were told of their folders.
    pub(crate) folders: Folders,
    /// How many machines were lost for good.
    pub(crate) lost: u32,
    /// What was found.
    pub(crate) violations: Vec<String>,
}

/// The token of a message of ours: what stands before its first line is what the way added.
pub(crate) fn token_of(bytes: &[u8]) -> Option<(String, &[u8])> {
    let at = bytes
        .windows(TOKEN_FIELD.len())
        .position(|at| at == TOKEN_FIELD.as_bytes())?;
    let ours = bytes.get(at..)?;
    let line = ours
        .get(TOKEN_FIELD.len()..)?
        .split(|byte| *byte == b'\r')
        .next()?;
    Some((String::from_utf8_lossy(line).into_owned(), ours))
}

/// Whether this is a report, and about what: the tokens, recipients and actions in it.
fn report_of(bytes: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("multipart/report") {
        return None;
    }
    let (token, _) = token_of(bytes)?;
    let mut named = Vec::new();
    let mut recipient = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Final-Recipient: rfc822; ") {
            recipient = Some(name.trim().to_ascii_lowercase());
        } else if let Some(action) = line.strip_prefix("Action: ")
            && let Some(recipient) = recipient.take()
        {
            named.push((recipient, action.trim().to_owned()));
        }
    }
    Some((token, named))
}

impl Oracle {
    /// Notes a violation; the same one once.
    pub(crate) fn violation(&mut self, what: String) {
        if !self.violations.contains(&what) {
            match self.violations.len().cmp(&MOST_TOLD) {
                Ordering::Less => eprintln_now(&format!("VIOLATION {what}")),
                Ordering::Equal => eprintln_now("VIOLATION and more: the report has all"),
                Ordering::Greater => {}
            }
            self.violations.push(what);
        }
    }

    /// A message is about to be handed in.
    pub(crate) fn sends(&mut self, token: &str, message: Message) {
        self.messages.insert(token.to_owned(), message);
    }

    /// What became of it, and for whom it was taken if not for all.
    pub(crate) fn sent(
        &mut self,
        token: &str,
        fate: Fate,
        only: Option<(BTreeSet<String>, BTreeSet<String>)>,
    ) {
        if let Some(message) = self.messages.get_mut(token) {
            message.fate = fate;
            if let Some((must, ghosts)) = only {
                message.must = must;
                message.ghosts = ghosts;
            }
        }
    }

    /// Somebody has looked at a message in an inbox. Says whether it is a good one of ours, by its token.
    pub(crate) fn found(&mut self, owner: &str, found: &Found<'_>) -> Option<String> {
        let Some(bytes) = found.bytes else {
            return self.inboxes.get(owner)?.ids.get(found.id).cloned();
        };
        if let Some((token, named)) = report_of(bytes) {
            self.reported(owner, &token, &named);
            return None;
        }
        let Some((token, ours)) = token_of(bytes) else {
            let begin = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)).into_owned();
            self.violation(format!("{owner} has a message that nobody sent: {begin:?}"));
            return None;
        };
        let before = bytes.len() - ours.len();
        let trace = String::from_utf8_lossy(bytes.get(..before).unwrap_or_default()).into_owned();
        let Some(message) = self.messages.get(&token) else {
            self.violation(format!("{owner} has {token:?}, which nobody sent"));
            return None;
        };
        let mut wrong = Vec::new();
        if message.digest != *blake3::hash(ours).as_bytes() {
            wrong.push(format!(
                "{owner}: {token} is not byte for byte what was sent"
            ));
        }
        if !trace.lines().all(is_trace) {
            wrong.push(format!("{owner}: before {token} stands {trace:?}"));
        }
        if !message.must.contains(owner) {
            wrong.push(format!("{owner} has {token}, which is not for him"));
        }
        if message.fate == Fate::Refused {
            wrong.push(format!("{owner} has {token}, which was refused"));
        }
        let inbox = self.inboxes.entry(owner.to_owned()).or_default();
        match inbox.ids.insert(found.id.to_owned(), token.clone()) {
            Some(before) if before != token => wrong.push(format!(
                "{owner}: the id {} meant {before}, and means {token}",
                found.id
            )),
            Some(_) | None => {}
        }
        match inbox.tokens.insert(token.clone(), found.id.to_owned()) {
            Some(before) if before != found.id => wrong.push(format!(
                "{owner} has {token} twice: as {before} and as {}",
                found.id
            )),
            Some(_) | None => {}
        }
        let is_good = wrong.is_empty();
        wrong.into_iter().for_each(|what| self.violation(what));
        is_good.then_some(token)
    }

    fn reported(&mut self, owner: &str, token: &str, named: &[(String, String)]) {
        let Some(message) = self.messages.get(token) else {
            return self.violation(format!(
                "{owner} has a report about {token:?}, which nobody sent"
            ));
        };
        let mut wrong = Vec::new();
        for (recipient, action) in named {
            if !action.starts_with("failed") {
                continue;
            }
            self.reported.insert((token.to_owned(), recipient.clone()));
            if !message.ghosts.contains(recipient) {
                wrong.push(format!(
                    "{owner} is told that {token} can't reach {recipient}, who exists"
                ));
            }
        }
        if message.from != owner {
            wrong.push(format!(
                "{owner} has a report about {token}, which {} sent",
                message.from
            ));
        }
        wrong.into_iter().for_each(|what| self.violation(what));
    }

    /// Messages are about to be deleted.
    pub(crate) fn deletes(&mut self, owner: &str, tokens: &[String]) {
        let inbox = self.inboxes.entry(owner.to_owned()).or_default();
        inbox.perhaps_deleted.extend(tokens.iter().cloned());
    }

    /// They were.
    pub(crate) fn deleted(&mut self, owner: &str, tokens: &[String], yes: Yes) {
        let inbox = self.inboxes.entry(owner.to_owned()).or_default();
        for token in tokens {
            inbox.deleted.entry(token.clone()).or_insert(yes);
        }
    }

    /// Something is about to be written: names the attempt.
    pub(crate) fn writes(&mut self, key: &Key, value: &str) -> usize {
        let writes = self.writes.entry(key.clone()).or_default();
        writes.push(Write {
            value: value.to_owned(),
            fate: WriteFate::Unknown,
        });
        writes.len() - 1
    }

    /// What became of it.
    pub(crate) fn written(&mut self, key: &Key, attempt: usize, fate: WriteFate) {
        let write = self
            .writes
            .get_mut(key)
            .and_then(|writes| writes.get_mut(attempt));
        if let Some(write) = write {
            write.fate = fate;
        }
    }

    /// All keys that were written.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.writes.keys().cloned().collect()
    }

    /// All values that a key was to have, and whether it may have each now.
    pub(crate) fn values(&self, key: &Key) -> Vec<(String, bool)> {
        let writes = self.writes.get(key).map(Vec::as_slice).unwrap_or_default();
        let last = writes
            .iter()
            .filter_map(|write| match write.fate {
                WriteFate::Done(Some(stamp), yes) if yes.must_survive(self.lost) => Some(stamp),
                WriteFate::Done(..) | WriteFate::Unknown | WriteFate::Refused => None,
            })
            .max();
        // Who writes a key has seen what he wrote before: a change that was made outdates an older word that nothing had to be done.
        let changed_at = writes.iter().rposition(|write| {
            matches!(write.fate, WriteFate::Done(Some(_), yes) if yes.must_survive(self.lost))
        });
        let mut values: BTreeMap<String, bool> = BTreeMap::new();
        for (at, write) in writes.iter().enumerate() {
            let may = match write.fate {
                WriteFate::Refused => false,
                WriteFate::Unknown => true,
                WriteFate::Done(None, _) => changed_at.is_none_or(|changed_at| at > changed_at),
                WriteFate::Done(Some(stamp), _) => last.is_none_or(|last| stamp >= last),
            };
            *values.entry(write.value.clone()).or_default() |= may;
        }
        let at_first = match key {
            Key::Member(..) => "out".to_owned(),
            Key::Password(whose) => password_of(whose),
        };
        *values.entry(at_first).or_default() |= last.is_none();
        values.into_iter().collect()
    }

    /// What stands at one server, which is asked alone, of what was written.
    pub(crate) fn stands(&mut self, server: &str, key: &Key, value: &str) {
        let values = self.values(key);
        let may = values.iter().any(|(known, may)| *may && known == value);
        if !may {
            let writes = self.writes.get(key).map(Vec::len).unwrap_or_default();
            let fates: Vec<_> = self.writes.get(key).into_iter().flatten().collect();
            let story: Vec<_> = fates.iter().rev().take(4).rev().collect();
            self.violation(format!(
                "{server}: {key:?} is {value:?} after {writes} writes, the last of them {story:?}"
            ));
        }
    }

    /// Everything that one server has of an inbox, after everything has healed.
    pub(crate) fn settled(&mut self, server: &str, owner: &str, tokens: &BTreeSet<String>) {
        let empty = Inbox::default();
        let inbox = self.inboxes.get(owner).unwrap_or(&empty);
        let mut wrong = Vec::new();
        for (token, message) in &self.messages {
            let is_here = tokens.contains(token);
            let deleted = inbox.deleted.get(token);
            if is_here {
                if deleted.is_some_and(|yes| yes.must_survive(self.lost)) {
                    wrong.push(format!(
                        "{server}: {owner} has {token} again, which was deleted"
                    ));
                }
                continue;
            }
            let Fate::Accepted(yes) = message.fate else {
                continue;
            };
            let explained = self.reported.contains(&(token.clone(), owner.to_owned()));
            if message.must.contains(owner)
                && yes.must_survive(self.lost)
                && deleted.is_none()
                && !inbox.perhaps_deleted.contains(token)
                && !explained
            {
                wrong.push(format!(
                    "{server}: {owner} lacks {token}, accepted ({:?} copies) {:.0?} ago",
                    yes.copies,
                    message.asked.elapsed()
                ));
            }
        }
        wrong.into_iter().for_each(|what| self.violation(what));
    }

    /// Every accepted message to nobody must have been explained, when everything has settled and reports were read.
    pub(crate) fn explained(&mut self) {
        let lacking: Vec<String> = self
            .messages
            .iter()
            .filter(|(_, message)| {
                matches!(message.fate, Fate::Accepted(yes) if yes.must_survive(self.lost))
            })
            .flat_map(|(token, message)| {
                let unexplained = message
                    .ghosts
                    .iter()
                    .filter(|ghost| !self.reported.contains(&(token.clone(), (*ghost).clone())));
                unexplained.map(move |ghost| {
                    format!("{} was never told that {token} can't reach {ghost}", message.from)
                })
            })
            .collect();
        lacking.into_iter().for_each(|what| self.violation(what));
    }

    /// Messages by fate: accepted, of them on one disk, unknown, refused.
    pub(crate) fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for message in self.messages.values() {
            match message.fate {
                Fate::Accepted(yes) => {
                    counts[0] += 1;
                    counts[1] += usize::from(yes.copies == Some(1));
                }
                Fate::Unknown => counts[2] += 1,
                Fate::Refused => counts[3] += 1,
            }
        }
        counts
    }

    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let all = self.writes.values().flatten();
        all.filter(|write| matches!(write.fate, WriteFate::Done(..)))
            .count()
    }
}

/// A line that a server may put before a message: of `Received:`, or of the fields that a list adds.
fn is_trace(line: &str) -> bool {
    let begin = line.to_ascii_lowercase();
    ["received: ", "list-", "\t", " ", "precedence: ", "sender: "]
        .iter()
        .any(|known| begin.starts_with(known))
}

/// Says something at once: a run may be cut short.
#[expect(clippy::print_stderr, reason = "a violation is told when it is found")]
fn eprintln_now(what: &str) {
    eprintln!("{what}");
}

#[cfg(test)]
#[path = "oracle_test.rs"]
mod tests;
