//! What came before the body that it needs: kept for a moment, and taken up when the body is here.
//!
//! Bodies and what is said of them may overtake each other. Without this, each word that comes too
//! early asks for the body once more, each question brings the body and all the words again, and
//! one large message on a slow line becomes dozens. It must never be the only place where a
//! message is: whoever said it says it again later.

use std::collections::BTreeMap;

use grapevine_model::{MessageId, PeerMessage, ServerName};

use crate::server::Server;
use crate::tables::Damaged;

/// Bodies asked for, and sent for, in one such message at most.
pub(super) const MOST_BODIES: usize = 64;
/// Words kept at once, over all messages: others are said again by their servers.
const MOST_KEPT: usize = 4_096;
/// A body that was asked for is not asked for again of the same server before this: it is on its
/// way, or the connection has ended.
const ASK_AGAIN_MS: u64 = 5_000;
/// What is kept longer has been said again by then.
const KEEP_MS: u64 = 60_000;

/// What waits for one body.
#[derive(Debug, Default)]
struct Waiting {
    said: Vec<(ServerName, PeerMessage)>,
    /// Of whom it was asked, and when (monotonic).
    asked: BTreeMap<ServerName, u64>,
}

/// What waits for bodies.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    of: BTreeMap<MessageId, Waiting>,
    kept: usize,
}

impl Server {
    /// Keeps what needs a body that is not here, and asks for the body unless that was done.
    pub(crate) fn await_body(&mut self, from: &ServerName, message: MessageId, said: PeerMessage) {
        let waiting = self.awaited.of.entry(message).or_default();
        let known = waiting
            .said
            .iter()
            .any(|(by, what)| by == from && *what == said);
        if !known && self.awaited.kept < MOST_KEPT {
            waiting.said.push((from.clone(), said));
            self.awaited.kept += 1;
        }
        self.need_bodies(from, vec![message]);
    }

    /// Asks for bodies, but for those that are on their way already: a list's message is in many mailboxes, and each of
    /// them says what it lacks.
    pub(crate) fn need_bodies(&mut self, from: &ServerName, mut messages: Vec<MessageId>) {
        let now = self.now.mono_ms;
        let recent = |asked: &u64| now.saturating_sub(*asked) < ASK_AGAIN_MS;
        messages.retain(|message| {
            let waiting = self.awaited.of.entry(*message).or_default();
            let is_asked = waiting.asked.get(from).is_some_and(recent);
            if !is_asked {
                waiting.asked.insert(from.clone(), now);
            }
            !is_asked
        });
        for messages in messages.chunks(MOST_BODIES) {
            let messages = messages.to_vec();
            self.send(from, PeerMessage::Need { messages });
        }
    }

    /// One id never stands for two bodies: the first is kept.
    pub(crate) fn another_body(&mut self, from: &ServerName, message: MessageId) {
        self.alarm(format!(
            "{from} has another body under the id {message}; not taken"
        ));
    }

    /// A body has come: what needed it is taken up.
    pub(crate) fn body_came(&mut self, message: MessageId) -> Result<(), Damaged> {
        let Some(waiting) = self.awaited.of.remove(&message) else {
            return Ok(());
        };
        self.awaited.kept = self.awaited.kept.saturating_sub(waiting.said.len());
        for (from, said) in waiting.said {
            self.take(&from, said, None)?;
        }
        Ok(())
    }

    /// Once a second: what has waited too long is dropped.
    pub(crate) fn forget_awaited(&mut self) {
        let now = self.now.mono_ms;
        let awaited = &mut self.awaited;
        awaited.of.retain(|_, waiting| {
            let last = waiting.asked.values().max().copied().unwrap_or_default();
            let stays = now.saturating_sub(last) < KEEP_MS;
            if !stays {
                awaited.kept = awaited.kept.saturating_sub(waiting.said.len());
            }
            stays
        });
    }
}
