//! What operators see and do about mail that waits: the queue, dead letters, and
//! what depends on one server alone.
//!
//! Guards P9: every waiting recipient has a reason and a next time.

use serde::{Deserialize, Serialize};

use crate::id::{MessageId, ServerName};
use crate::name::{Name, RegistryName};
use crate::status::TraceRecipient;

/// Rows of the queue or of the dead letters in one answer at most.
pub const MAX_QUEUE_PAGE: u32 = 500;

/// What is asked of one server about its own queue: each has its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueAsk {
    /// The next page of the recipients that wait here.
    List {
        /// Of one message only.
        message: Option<MessageId>,
        /// After this, the end of the page before; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// Something is done about a message that waits here.
    Change {
        /// Which; none for every one.
        message: Option<MessageId>,
        /// What.
        change: QueueChange,
    },
    /// The next page of the dead letters kept here.
    DeadLetters {
        /// After this, the end of the page before; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// Something is done about the dead letters of a message.
    DeadLetter {
        /// Which message.
        message: MessageId,
        /// What.
        change: DeadLetterChange,
    },
    /// Copies kept after delivery are delivered once more.
    Replay {
        /// Which; none for all that match.
        message: Option<MessageId>,
        /// Those whose delivery ended then or later, milliseconds since 1970.
        since_ms: u64,
        /// Those that were for this one, and to nobody else.
        of: Option<Name>,
        /// To whom instead.
        to: Option<Name>,
        /// After this, the end of the answer before.
        after: Option<MessageId>,
    },
    /// Which other mail systems is there mail for, and how are they?
    Destinations,
    /// What would be lost, and what delayed, if that server died now?
    Unplug {
        /// Which server; the one that is asked knows more of itself than of others.
        server: ServerName,
    },
}

impl QueueAsk {
    /// Whether it changes something.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Change { .. } | Self::DeadLetter { .. } | Self::Replay { .. } => true,
            Self::List { .. }
            | Self::DeadLetters { .. }
            | Self::Destinations
            | Self::Unplug { .. } => false,
        }
    }
}

/// What can be done about a message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueChange {
    /// Try all its recipients now.
    Retry,
    /// Try none of them until it is released; it is not given up meanwhile.
    Hold,
    /// Try again what was held.
    Release,
    /// Give it up now, and explain that to its sender.
    Refuse,
    /// Give it up now, and say nothing.
    Drop,
}

/// What can be done about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLetterChange {
    /// Deliver it after all: to whom it was for, or to somebody else.
    Resubmit {
        /// To whom instead.
        to: Option<Name>,
    },
    /// Forget it.
    Drop,
}

/// A recipient that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueItem {
    /// Its place in the queue, the same order at every server: a page can begin after it.
    pub place: String,
    /// Of which message.
    pub message: MessageId,
    /// Who, and why, and when next.
    pub recipient: TraceRecipient,
    /// Where reports go.
    pub return_path: Option<Name>,
    /// Milliseconds since 1970 when the message was accepted.
    pub accepted_ms: u64,
    /// Octets of the body.
    pub len: u64,
    /// The message is held by an operator.
    pub held: bool,
    /// The server that has the second copy, once it has.
    pub deputy: Option<ServerName>,
}

/// A report that led nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place, the same order at every server: a page can begin after it.
    pub place: String,
    /// The message.
    pub message: MessageId,
    /// For whom it was.
    pub name: Name,
    /// Why it could not be delivered.
    pub reason: String,
    /// Milliseconds since 1970 when it was given up.
    pub since_ms: u64,
    /// Octets of the body.
    pub len: u64,
}

/// Another mail system that there is mail for at one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationView {
    /// A domain, or the place of a route.
    pub destination: String,
    /// Messages for it.
    pub messages: u64,
    /// Their recipients there.
    pub recipients: u64,
    /// Messages that are being handed over.
    pub under_way: u64,
    /// How often in a row it could not be reached.
    pub failures: u32,
    /// Milliseconds until something is tried there; none while something is under way.
    pub next_ms: Option<u64>,
    /// Why it could not be reached, or why its first recipient waits.
    pub reason: String,
}

/// What one server knows of what depends on one server alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnplugView {
    /// It speaks of itself: then, and only then, the other fields of loss say all.
    pub itself: bool,
    /// Messages accepted whose only copy is there: lost with it.
    pub messages_alone: u64,
    /// Registries with changes that no other holder is known to have: those are lost with it.
    pub registries_alone: Vec<RegistryName>,
    /// Mailboxes with something that no other site is known to have: that is lost with it.
    pub mailboxes_alone: u64,
    /// Owners of some of these.
    pub mailboxes_of: Vec<Name>,
    /// Messages in its custody that another one takes over: they wait for that.
    pub messages_delayed: u64,
    /// Messages of its custody that the server which answers would take over.
    pub messages_taken_over: u64,
    /// Recipients that wait here for that server, and could not be served without it.
    pub recipients_waiting: u64,
    /// Milliseconds of silence after which messages are taken over.
    pub take_over_ms: u64,
}

impl UnplugView {
    /// Whether nothing that this view tells of would be lost.
    #[must_use]
    pub fn loses_nothing(&self) -> bool {
        self.messages_alone == 0 && self.registries_alone.is_empty() && self.mailboxes_alone == 0
    }
}

/// What a server answers to a [`QueueAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueAnswer {
    /// A page of the queue.
    Items {
        /// The recipients, by message.
        items: Vec<QueueItem>,
        /// Where the next page begins; none after the last.
        next: Option<String>,
    },
    /// So many messages or dead letters were changed.
    Changed(u64),
    /// Copies were sent on their way.
    Replayed {
        /// How many.
        replayed: u64,
        /// Where the next answer begins; none after the last.
        next: Option<MessageId>,
    },
    /// A page of dead letters.
    DeadLetters {
        /// The letters.
        letters: Vec<DeadLetter>,
        /// Where the next page begins; none after the last.
        next: Option<String>,
    },
    /// The other mail systems, those with the most recipients first.
    Destinations(Vec<DestinationView>),
    /// What would be lost.
    Unplug(UnplugView),
}
