//! What the session asks of the shell, and what it is told.

use grapevine_model::{MessageId, ScramPolicy};

use super::flags::{Change, Flags};
use super::limits::Limits;
use crate::Tls;
use crate::sasl::Credentials;
use crate::sasl::scram::{Challenge, Proof};

/// What a session starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name, for the greeting.
    pub hostname: String,
    /// How far TLS is.
    pub tls: Tls,
    /// Whether SCRAM-SHA-256 is offered.
    pub scram: ScramPolicy,
    /// What the client may use up.
    pub limits: Limits,
}

/// A folder's identity: nothing for INBOX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderId(pub u128);

/// A folder with its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Which.
    pub id: FolderId,
    /// Its path in UTF-8, `/` between levels; INBOX is `INBOX`.
    pub path: String,
    /// Never changes while the folder is there.
    pub uidvalidity: u32,
    /// Higher than every UID in it.
    pub uidnext: u32,
    /// How many.
    pub messages: u32,
    /// How many without `\Seen`.
    pub unseen: u32,
    /// How many with `\Deleted`.
    pub deleted: u32,
    /// Octets of all.
    pub size_bytes: u64,
    /// The highest mod-sequence.
    pub highest_modseq: u64,
    /// `\Sent`, say.
    pub special_use: Option<String>,
}

/// All folders of a mailbox, INBOX among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// In any order.
    pub folders: Vec<Folder>,
    /// Subscribed paths, whether or not there is such a folder.
    pub subscribed: Vec<String>,
}

/// A message in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its UID.
    pub uid: u32,
    /// Which message.
    pub mail: MessageId,
    /// Whose content it has: of copies the first. It is EMAILID.
    pub content: MessageId,
    /// Octets that a reader gets.
    pub size_bytes: u64,
    /// Internal date: milliseconds since 1970.
    pub date_ms: u64,
    /// Rises with each change.
    pub modseq: u64,
    /// Its flags.
    pub flags: Flags,
}

/// Whether news are all there is, or what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All rows.
    Whole,
    /// Rows that are new or have changed since the mark of the question.
    Since,
}

/// A folder as it is now, or what is new in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// All, or the changes.
    pub extent: Extent,
    /// By ascending UID.
    pub rows: Vec<Row>,
    /// UIDs that are not there any more; of a whole answer none.
    pub vanished: Vec<u32>,
    /// As the folder's.
    pub uidvalidity: u32,
    /// As the folder's.
    pub uidnext: u32,
    /// As the folder's.
    pub highest_modseq: u64,
    /// For the next question.
    pub mark: u64,
    /// Whether a site that could not be reached may have more.
    pub partial: bool,
}

/// A message of APPEND whose body has gone to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its flags.
    pub flags: Flags,
    /// Its internal date; none for now.
    pub date_ms: Option<u64>,
}

/// What the shell must do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Flush, drop whatever was read but not handed in, do the TLS handshake as its server, then `tls_started`.
    StartTls,
    /// Find the answer, and give it as the question says.
    Ask(Ask),
    /// A message begins: one more behind those that are staged.
    BodyStart {
        /// How long it will be.
        bytes: u64,
    },
    /// More of it.
    BodyChunk(Vec<u8>),
    /// All of it is there: keep it until [`Ask::Append`].
    BodyEnd,
    /// Forget all staged messages.
    BodyAbort,
    /// Write what is to be written, forget staged messages, and close. Nothing follows.
    Close,
}

/// A question to the shell. One is open at a time.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Are these right? [`Answer::Yes`] or [`Answer::No`].
    Authenticate(Credentials),
    /// How is a password of this name to be proved? [`Answer::Challenge`] or [`Answer::No`].
    ScramBegin {
        /// As the client wrote it.
        name: String,
    },
    /// Is this proof right? [`Answer::Proved`] or [`Answer::No`].
    ScramFinish(Proof),
    /// All folders. [`Answer::Folders`].
    Folders,
    /// Make a folder. [`Answer::Created`].
    Create {
        /// Its path.
        path: String,
        /// `\Sent`, say.
        special_use: Option<String>,
    },
    /// Delete a folder with its messages. [`Answer::Yes`].
    Delete(FolderId),
    /// Call folders otherwise, each with those below it; of INBOX, its messages go to a new folder. [`Answer::Yes`].
    Rename {
        /// Each with its new path.
        folders: Vec<(FolderId, String)>,
    },
    /// [`Answer::Yes`].
    Subscribe(String),
    /// [`Answer::Yes`].
    Unsubscribe(String),
    /// What is in a folder. [`Answer::News`].
    View {
        /// Which.
        folder: FolderId,
        /// Only what has changed since this mark, if that can be told.
        since: Option<u64>,
    },
    /// Change flags. [`Answer::Stored`].
    ChangeFlags {
        /// Where.
        folder: FolderId,
        /// Whose.
        mails: Vec<MessageId>,
        /// How.
        change: Change,
        /// Which.
        flags: Flags,
        /// Only of messages that have not changed since.
        unchanged_since: Option<u64>,
    },
    /// Remove messages for ever. [`Answer::Yes`].
    Expunge {
        /// Where.
        folder: FolderId,
        /// Which.
        mails: Vec<MessageId>,
    },
    /// Copy messages, all or none. [`Answer::Placed`].
    Copy {
        /// From where.
        from: FolderId,
        /// Which.
        mails: Vec<MessageId>,
        /// To where.
        to: FolderId,
    },
    /// Move messages. [`Answer::Placed`].
    Move {
        /// From where.
        from: FolderId,
        /// Which.
        mails: Vec<MessageId>,
        /// To where.
        to: FolderId,
    },
    /// Put the staged messages into a folder, all or none. [`Answer::Placed`].
    Append {
        /// Where.
        folder: FolderId,
        /// What belongs to each of them, in order.
        messages: Vec<Appended>,
    },
    /// The octets of a message from `start` on, by `body_chunk` and `body_end`, or `body_failed`.
    Body {
        /// Which.
        mail: MessageId,
        /// How many to leave out.
        start: u64,
    },
    /// How much the mailbox holds, and may hold. [`Answer::Quota`].
    Quota,
}

/// The shell's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; durable where something was changed.
    Yes,
    /// How to prove the password.
    Challenge(Challenge),
    /// The proof is right.
    Proved {
        /// The server's own proof.
        signature: [u8; 32],
    },
    /// The folder is there now.
    Created(FolderId),
    /// All folders.
    Folders(Folders),
    /// What is in a folder.
    News(News),
    /// Flags are changed, but for these messages, which have changed since.
    Stored {
        /// Their UIDs.
        modified: Vec<u32>,
    },
    /// Messages are in a folder.
    Placed {
        /// The folder's.
        uidvalidity: u32,
        /// Their old UIDs with the new ones; of appended messages the old one is 0. May lack some that were gone.
        uids: Vec<(u32, u32)>,
    },
    /// Usage and limits.
    Quota(Quota),
    /// No.
    No(Refusal),
}

/// What a mailbox holds, and may hold; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets held.
    pub used_bytes: u64,
    /// Octets at most.
    pub limit_bytes: Option<u64>,
    /// Messages held.
    pub used_messages: u64,
    /// Messages at most.
    pub limit_messages: Option<u64>,
}

/// Why the shell says no: decides the response code (RFC 5530).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `[AUTHENTICATIONFAILED]`: name or password is wrong.
    Credentials,
    /// `[UNAVAILABLE]`: trying again, or at another server, may help.
    Unavailable,
    /// `[NONEXISTENT]`: there is no such folder.
    NoSuchFolder,
    /// `[ALREADYEXISTS]`: there is such a folder.
    FolderExists,
    /// `[OVERQUOTA]`: the mailbox is full.
    Full,
    /// `[TOOBIG]`: the message is too long.
    TooBig,
    /// `[LIMIT]`: more than is done at once.
    Limit,
    /// `[CANNOT]`: it can never be done.
    Cannot,
    /// `[NOPERM]`: the login may not do it.
    NotAllowed,
}

/// The shell's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }

    /// One text for an unknown name and a wrong password.
    pub fn bad_credentials() -> Self {
        Self::new(Reason::Credentials, "Name or password is wrong")
    }

    /// Try again later.
    pub fn try_later(text: impl Into<String>) -> Self {
        Self::new(Reason::Unavailable, text)
    }

    pub(super) fn code(&self) -> &'static str {
        match self.reason {
            Reason::Credentials => "AUTHENTICATIONFAILED",
            Reason::Unavailable => "UNAVAILABLE",
            Reason::NoSuchFolder => "NONEXISTENT",
            Reason::FolderExists => "ALREADYEXISTS",
            Reason::Full => "OVERQUOTA",
            Reason::TooBig => "TOOBIG",
            Reason::Limit => "LIMIT",
            Reason::Cannot => "CANNOT",
            Reason::NotAllowed => "NOPERM",
        }
    }
}

/// Whether the session wants more of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Take the outputs, then hand in the next piece or the end.
    More,
    /// Nothing more of this body is wanted: stop reading it. It is ended already.
    Enough,
}

/// What to send to a connection that is not taken at all (too many sessions): send it and close.
pub fn greeting_of_refusal() -> Vec<u8> {
    b"* BYE [UNAVAILABLE] Too many connections, try again later or at another server\r\n".to_vec()
}
