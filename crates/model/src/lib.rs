//! Grapevine's words as types: names, stamps, cells, messages, requests and
//! what servers say to each other.
//!
//! Nothing here does I/O, reads a clock or draws a random number. A value that
//! exists is valid: parsing is the only way in.

mod bulk;
mod cell;
mod cluster;
mod compare;
pub mod connect;
mod entry;
mod error;
mod field;
mod id;
mod list_copy;
mod login;
mod mailbox;
mod message;
mod moderation;
pub mod name;
mod nature;
mod peer;
mod policy;
mod queue;
mod request;
mod seen;
mod sieve;
mod stamp;
mod status;
mod suspension;
mod watch;
mod zone;

pub use bulk::{
    ImportDone, ImportOutcome, Imported, ImportedEntry, MAX_IMPORTED_ENTRIES, MAX_IMPORTED_ITEMS,
};
pub use cell::{Cell, CellKey, Merge, Rule, SpaceId, VersionVector};
pub use cluster::{Door, KeyWait, ServerInfo, ServerRole};
pub use compare::{
    COMPARE_LEVEL_BITS, COMPARE_LEVELS, CellDigest, CompareCounts, CompareStep, CompareView,
    ComparedWith,
};
pub use connect::{
    FoundSite, Host, Located, MAX_FOUND_SITES, MAX_NOTE_BYTES, Place, SiteDoor, SiteError,
    SiteNote, SiteOffer,
};
pub use entry::{AsideChange, Conflict, Dangle, Dangling, Depth, Life, PostingRule, Quota, Usage};
pub use error::{ErrorKind, Refusal};
pub use field::{EntryKind, Field};
pub use id::{
    Incarnation, MessageId, MessageIdError, OriginId, RequestId, ServerName, ServerNameError,
};
pub use list_copy::{ListCopy, UNSUBSCRIBE_PROOF_BYTES, Unsubscribe};
pub use login::{
    APP_PASSWORD_PREFIX, AppPassword, AppPasswordView, Authenticated, LoginNews, LoginOutcome,
    MAX_LABEL_BYTES, Source, TICKET_PREFIX, Ticket,
};
pub use mailbox::{
    CopiedMail, Extent, Flag, FlagChange, FlagError, FlaggedMail, FolderId, FolderPath,
    FolderPathError, FolderView, INBOX, MAX_FLAG_BYTES, MAX_FLAGS_A_MAIL, MAX_FOLDER_LEVELS,
    MAX_FOLDER_PATH_BYTES, MAX_FOLDERS, MAX_MAILS_AN_ASK, MAX_ROWS_A_PAGE, MailPlace, MailRow,
    MailboxAnswer, MailboxAsk, MailboxReply, MailboxView, Mark, SpecialUse,
};
pub use message::{
    BodyInfo, Envelope, EnvelopeRecipient, MailboxEntry, Notify, ReportReason, ReportTells,
    ReturnContent, Submission,
};
pub use moderation::{HeldPost, MAX_VERDICT_BYTES, Verdict};
pub use name::{Member, Name, NameError, RegistryName};
pub use peer::{
    Answer, Beat, CustodyRecord, DepositEnvelope, DepositFor, DepositOutcome, PeerMessage,
    Question, Resolution, SpacePush, Update,
};
pub use policy::{
    AlonePolicy, OverQuotaPolicy, PolicyChange, RegistryPolicy, ScramPolicy, StalePolicy,
};
pub use queue::{
    DeadLetter, DeadLetterChange, DestinationView, MAX_QUEUE_PAGE, QueueAnswer, QueueAsk,
    QueueChange, QueueItem, UnplugView,
};
pub use request::{
    Check, EntryChange, EntryView, GroupList, HolderSays, InboxListing, ListedMessage, MemberKind,
    RegistryView, Reply, Request, Secret, SeenView, Speaker, Welcome, Written,
};
pub use seen::{AsOf, MAX_SEEN, Seen, SeenError};
pub use sieve::{
    MAX_SCRIPT_BYTES, MAX_SCRIPT_NAME_BYTES, MAX_SCRIPTS, ScriptName, ScriptNameError, ScriptText,
    ScriptTextError, ScriptView, SieveAsk, SieveReply,
};
pub use stamp::{Hlc, Now, Stamp, StampError};
pub use status::{
    PeerView, QueueView, ServerStatus, StorageView, TombstoneView, Trace, TraceRecipient,
};
pub use suspension::Suspended;
pub use watch::{
    Changes, Course, Happened, MAX_TOKEN_CHARS, ResumeToken, ResumeTokenError, Since, WatchEvent,
    WatchTarget,
};
pub use zone::{Zone, ZoneName, ZoneSite};

/// Longest value of one cell, in bytes: a remark or a public key fits many times over, and one
/// cell can never fill a peer's message.
pub const MAX_CELL_VALUE_BYTES: usize = 16 * 1024;
/// Longest element of one cell, in bytes: a name (254) or a connect site.
pub const MAX_CELL_ELEMENT_BYTES: usize = 512;
/// Most names in one question for many memberships: its answer is worked out in one go.
pub const MAX_CHECKS: usize = 1_000;
/// Most recipients of one envelope; RFC 5321 4.5.3.1.8 asks for 100 at least.
pub const MAX_RECIPIENTS: usize = 1_000;
/// Largest message body in bytes that any door takes.
pub const MAX_MESSAGE_BYTES: u64 = 100 * 1024 * 1024;
