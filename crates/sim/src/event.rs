//! What can happen next in a cluster, and what its users see of it.

use grapevine_core::{HandOver, HandedOver, Input, Staged};
use grapevine_model::{
    BodyInfo, ErrorKind, PeerMessage, Refusal, Reply, Request, RequestId, Seen, Speaker, Submission,
};

/// A place in `Cluster`'s list of machines.
pub type NodeIndex = usize;

/// Who is to be told of an answer.
pub type ActorIndex = usize;

/// One request or submission of a client, as long as its client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a client wants.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A request.
    Request(Request),
    /// A request of a client that has seen this.
    After(Vec<Seen>, Request),
    /// A message; its body goes with it.
    Submit(Box<Submission>),
    /// A mail for a folder, with its body.
    Append(Request, BodyInfo),
}

/// What a client knows in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is moved from its event to its client, and few are there at a time"
)]
pub enum Outcome {
    /// Done.
    Done(Reply),
    /// Refused.
    Refused(Refusal),
    /// The server could not be reached: surely nothing was done.
    NotSent,
    /// No answer in time: done or not.
    Unknown,
}

impl Outcome {
    /// Whether nothing was changed, for sure.
    pub fn is_surely_not_done(&self) -> bool {
        match self {
            Self::NotSent => true,
            Self::Refused(refusal) => match refusal.kind {
                ErrorKind::Unknown | ErrorKind::Internal => false,
                ErrorKind::Invalid
                | ErrorKind::NotAuthenticated
                | ErrorKind::NotAllowed
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::TooLarge
                | ErrorKind::Unavailable => true,
            },
            Self::Done(_) | Self::Unknown => false,
        }
    }

    /// The kind of the refusal, if it is one.
    pub fn refusal(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind),
            Self::Done(_) | Self::NotSent | Self::Unknown => None,
        }
    }
}

/// Something that falls due. `life` is that of the server process: what was meant for a process
/// that has died is not for its successor.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message from another server arrives.
    Peer {
        to: NodeIndex,
        life: u64,
        from: NodeIndex,
        message: PeerMessage,
        body: Option<BodyInfo>,
    },
    /// A connection is found to be broken.
    PeerLost {
        to: NodeIndex,
        life: u64,
        lost: NodeIndex,
    },
    /// The core's timer.
    Timer { node: NodeIndex, life: u64 },
    /// The shell closes its batch.
    Flush { node: NodeIndex, life: u64 },
    /// The disk may have got on.
    Disk { node: NodeIndex, life: u64 },
    /// A password has been checked.
    Verified {
        node: NodeIndex,
        life: u64,
        ticket: u64,
        right: bool,
    },
    /// A message reaches another mail system.
    HandOver {
        node: NodeIndex,
        life: u64,
        order: Box<HandOver>,
    },
    /// The other system has answered.
    HandedOver {
        node: NodeIndex,
        life: u64,
        handed: HandedOver,
    },
    /// The shell has composed a report.
    Composed {
        node: NodeIndex,
        life: u64,
        id: RequestId,
        submission: Box<Submission>,
        staged: Staged,
    },
    /// The shell has done something else that it was to do.
    Shell {
        node: NodeIndex,
        life: u64,
        input: Box<Input>,
    },
    /// A client's call reaches its server.
    Call {
        node: NodeIndex,
        call: CallId,
        speaker: Speaker,
        ask: Ask,
    },
    /// An answer reaches its client.
    Answer { call: CallId, outcome: Outcome },
    /// A client waits no longer.
    Impatient { call: CallId },
    /// An actor wants to act.
    Wake { actor: ActorIndex },
}

/// What the users of a cluster are told.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is moved from its event to its client, and few are there at a time"
)]
pub enum Occurrence {
    /// Nothing that concerns them.
    Quiet,
    /// A call has ended.
    Ended {
        /// Whose it was.
        actor: ActorIndex,
        /// Which.
        call: CallId,
        /// How.
        outcome: Outcome,
    },
    /// An actor's time has come.
    Woken {
        /// Whose.
        actor: ActorIndex,
    },
}
