//! The alphabet of the core: what goes in and what comes out.
//!
//! One enum of inputs is at once the simulator's alphabet, the fuzzer's and the
//! replay log's. **Barrier rule: nothing that was computed from a change leaves
//! before that change is durable.** `Server` holds such effects back itself, so
//! the shell may carry out whatever it is given at once.

use std::collections::BTreeSet;

use grapevine_model::{
    AsOf, Authenticated, BodyInfo, Flag, FolderPath, HeldPost, Incarnation, MessageId, Name,
    PeerMessage, Refusal, RegistryName, Reply, Request, RequestId, ScramPolicy, ScriptText, Secret,
    Seen, ServerInfo, ServerName, Speaker, Submission, Ticket, Zone,
};

use crate::delivery::routes::{HandOver, HandedOver};
use crate::registry::scram::{ScramKeys, ScramOrder};
use crate::tables::Op;

/// A body that the shell has received and measured, and holds under a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// The shell's token.
    pub token: u64,
    /// The measure, taken by the shell itself.
    pub body: BodyInfo,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A server said something; TLS has proved that it is this one.
    Peer {
        /// Who.
        from: ServerName,
        /// What.
        message: PeerMessage,
        /// The body that came with a `Body` message.
        staged: Option<Staged>,
    },
    /// The connection to a server was refused or broke.
    PeerLost {
        /// Which.
        server: ServerName,
    },
    /// A client asks.
    Request {
        /// Joins request and reply.
        id: RequestId,
        /// Who, as the shell has authenticated it.
        speaker: Speaker,
        /// What.
        request: Request,
        /// What the client has seen: it is not to be answered with less.
        seen: Vec<Seen>,
    },
    /// A client, or the shell with a report it has composed, hands in a message.
    Submit {
        /// Joins submission and reply.
        id: RequestId,
        /// The message.
        submission: Submission,
        /// Its body.
        staged: Staged,
    },
    /// A mail program hands in a mail for a folder: a `MailboxAsk::Append` whose body was received
    /// here. The body is kept under the ask's id until the mail is in its folder, wherever that is done.
    Append {
        /// Joins request and reply.
        id: RequestId,
        /// Who, as the shell has authenticated it.
        speaker: Speaker,
        /// The `Request::Mailbox`.
        request: Request,
        /// Its body.
        staged: Staged,
    },
    /// A password was checked.
    Verified {
        /// The effect's ticket.
        ticket: u64,
        /// Whether it was right.
        right: bool,
        /// Its hash made anew, where it was right and the old one was cheaper than is asked for now.
        rehashed: Option<Secret>,
        /// What SCRAM checks it by, where it was right and this was ordered.
        scram: Option<ScramKeys>,
    },
    /// Somebody who has just proved to be this individual wants a ticket.
    Issue {
        /// Joins request and answer.
        id: RequestId,
        /// Who.
        who: Authenticated,
        /// When the password was given, milliseconds since 1970; none for just now.
        proved_ms: Option<u64>,
        /// How long it is to serve; none for as long as is granted.
        life_ms: Option<u64>,
    },
    /// A client shows a ticket that its issuer has signed, as the shell has checked.
    Ticket {
        /// Joins request and reply.
        id: RequestId,
        /// The ticket.
        ticket: Ticket,
    },
    /// These are the keys in the server's folder, durably: at the start, and whenever they have changed.
    /// Without a next key after `MakeKey`: none could be made.
    Keys {
        /// The one that it proves (SubjectPublicKeyInfo, DER).
        present: Vec<u8>,
        /// The one that it is going to prove.
        next: Option<Vec<u8>>,
    },
    /// What became of a message that was to be handed over to another mail system. Comes once for
    /// each `HandOver` that this process was given, whatever happens.
    HandedOver(HandedOver),
    /// What a filter wants of a message. Comes once for each `Filter` that this process was given.
    Filtered(Box<Filtered>),
    /// A commit is durable.
    Committed {
        /// Which.
        seq: u64,
    },
    /// The server is about to be stopped in order: whoever has second copies goes on at once.
    Leaving,
    /// How much room the disk has.
    DiskRoom(DiskRoom),
}

/// How much room the disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskRoom {
    /// For everything.
    Enough,
    /// Not for what only may be kept: copies after delivery go, so that mail need not be refused.
    Low,
    /// For what is here: new messages and changes are refused.
    NearlyFull,
}

/// The shell is to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write all of it or none of it; report `Committed` when it is durable. Commits are written
    /// in order. If it can't be written the shell stops the server: memory and disk would differ.
    Commit {
        /// Rises by one with each commit.
        seq: u64,
        /// In order.
        ops: Vec<Op>,
        /// Whether somebody waits: without a waiter it may ride along with the next one.
        awaited: bool,
    },
    /// Say this to a server; may be lost.
    Send {
        /// Whom.
        to: ServerName,
        /// What. With `PeerMessage::Body` goes the body of that message.
        message: PeerMessage,
    },
    /// Answer a request or submission.
    Reply {
        /// Which.
        id: RequestId,
        /// What.
        result: Result<Reply, Refusal>,
        /// As of when, if a registry was read for it.
        as_of: Option<AsOf>,
    },
    /// Check a password against a hash, away from the core: it is meant to be slow.
    Verify {
        /// For `Verified`.
        ticket: u64,
        /// The hash (PHC); none when there is no such individual: then spend the same time and
        /// say no.
        hash: Option<Secret>,
        /// The password.
        password: Secret,
        /// What else is to be made of it, if it is right.
        scram: Option<ScramOrder>,
    },
    /// Sign this ticket with the server's key, and answer the request with it.
    Sign {
        /// Which request.
        id: RequestId,
        /// The ticket.
        ticket: Ticket,
    },
    /// Make a next key if there is none, durably, and report `Keys`.
    MakeKey,
    /// Prove this key, the next one, from now on, durably, and report `Keys`.
    UseKey(Vec<u8>),
    /// Compose a report (RFC 3464) and hand it in as `submission`, with its body.
    Report(Box<ReportOrder>),
    /// Run the filter of a mailbox's owner over a message that is about to be put into it, and report `Filtered`.
    Filter(Box<FilterOrder>),
    /// Hand a message over to another mail system, and report `HandedOver`.
    HandOver(Box<HandOver>),
    /// A staged body is not wanted.
    Discard {
        /// Its token.
        staged: u64,
    },
    /// The servers to keep connections with have changed.
    Servers(Vec<ServerInfo>),
    /// Whether the doors offer SCRAM from now on. Off at first.
    Scram(ScramPolicy),
    /// A registry as the DNS door is to show it from now on.
    Zone(Box<Zone>),
    /// A registry that is not held here any more.
    ZoneGone(RegistryName),
    /// Something in a mailbox has changed here that a client of this server has looked at lately (`MailboxAsk::View`
    /// or `Folders`): who waits for it asks for the view since his mark. Comes some times a second at most.
    /// A server that is no site of the mailbox hears nothing of it.
    MailboxChanged(Incarnation),
    /// Something that an operator would tell as a story, or must act on.
    Note(Note),
}

/// A filter that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterOrder {
    /// For `Filtered`.
    pub ticket: u64,
    /// Whose mailbox it is.
    pub inbox: Incarnation,
    /// The message, whose body is here.
    pub message: MessageId,
    /// Measure of its body.
    pub body: BodyInfo,
    /// The script.
    pub script: ScriptText,
    /// Where reports about the message go; none for reports, and where nobody has said it.
    pub return_path: Option<Name>,
    /// The recipient as he was addressed.
    pub recipient: Name,
    /// All his names, first what he is called.
    pub own: Vec<Name>,
    /// How it came.
    pub way: FilterWay,
    /// The folders of the mailbox, beside the inbox.
    pub folders: BTreeSet<String>,
}

/// How a message came to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterWay {
    /// Somebody named its owner.
    Direct,
    /// By a list.
    List,
}

/// What a filter wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The effect's ticket.
    pub ticket: u64,
    /// Where the message is to be; nowhere: it is discarded.
    pub places: Vec<FilterPlace>,
    /// What is to be sent, each with its body staged.
    pub out: Vec<FilterOut>,
    /// Why the message is refused, if it is: then there are no places.
    pub rejected: Option<String>,
    /// What did not go as its owner may have thought; no content of the message.
    pub notes: Vec<String>,
}

/// A place for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPlace {
    /// In which folder.
    pub path: FolderPath,
    /// With which flags.
    pub flags: Vec<Flag>,
    /// What to do where there is no such folder.
    pub if_missing: MissingFolder,
}

impl FilterPlace {
    /// Where a message is without a filter.
    pub fn inbox() -> Self {
        Self {
            path: FolderPath::inbox(),
            flags: Vec::new(),
            if_missing: MissingFolder::Inbox,
        }
    }
}

/// What to do where there is no such folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingFolder {
    /// It goes to the inbox.
    Inbox,
    /// The folder is made.
    Create,
}

/// Something that a filter sends. Its id is `filter_message_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterOut {
    /// The number of the action, in the script's order.
    pub number: u32,
    /// To whom.
    pub to: Name,
    /// What.
    pub kind: OutKind,
    /// Its body.
    pub staged: Staged,
}

/// What a filter sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutKind {
    /// The message itself.
    Redirect,
    /// An answer of somebody who is away, unless its receiver has got it lately.
    Answer {
        /// Which answer.
        handle: String,
        /// For how many days it is not sent again.
        days: u64,
    },
}

/// What a report is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOrder {
    /// The submission without its body: id, envelope, what it reports.
    pub submission: Submission,
    /// The message reported on, whose header (or all of it) is to come back.
    pub about: MessageId,
    /// Whether the whole message is to come back.
    pub full: bool,
    /// The sender's own name for the submission.
    pub envelope_id: Option<String>,
    /// When the message was accepted, milliseconds since 1970.
    pub accepted_ms: u64,
    /// The recipients with what became of them.
    pub lines: Vec<ReportLine>,
    /// What it is about.
    pub kind: ReportKind,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportKind {
    /// What became of a message, for its sender (RFC 3464).
    Delivery,
    /// That a message waits, for its sender (RFC 3464, `Action: delayed`).
    Delay {
        /// Until when it is tried, milliseconds since 1970.
        retry_until_ms: u64,
    },
    /// That a message waits for the word of a moderated group's owners, for them.
    Held {
        /// The group.
        group: Name,
        /// The message.
        post: HeldPost,
    },
}

/// One recipient in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLine {
    /// Who.
    pub name: Name,
    /// The original recipient as the sender gave it, in xtext.
    pub original: Option<String>,
    /// Whether it was delivered (a report of success) or not.
    pub delivered: bool,
    /// RFC 3463 status.
    pub status: String,
    /// Why, for a person.
    pub reason: String,
    /// The other mail system whose words the reason is, if they are such.
    pub remote: Option<String>,
    /// What else whoever hears of it should know, for a person.
    pub note: Option<String>,
}

/// What is logged, once, by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How urgent.
    pub level: NoteLevel,
    /// What happened, in one line; no secrets, no bodies.
    pub text: String,
    /// The message concerned, if one is.
    pub message: Option<MessageId>,
}

/// How urgent a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteLevel {
    /// A person must act. Fails every test and simulation that did not expect it.
    Error,
    /// Odd, but working.
    Warn,
    /// A story: accepted, deposited, took over.
    Info,
}
