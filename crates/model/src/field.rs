//! The fields of entries and messages, by their numbers on the wire and on disk.
//!
//! A number is never used for another meaning. Cells with a number that this
//! release does not know are kept and passed on (mixed versions, checklist 42).

use serde::{Deserialize, Serialize};

/// A field of an entry (below 1,000) or of a message in a mailbox (from 1,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Field {
    /// What the entry is and how it is called; its tombstone is the entry's death.
    Identity = 1,
    /// Free text.
    Remark = 2,
    /// The password's Argon2id hash (PHC string).
    Password = 3,
    /// One inbox site an element (server); the value is its order.
    InboxSite = 4,
    /// One alias an element (folded simple name of the same registry).
    Alias = 5,
    /// One forwarding address an element.
    Forward = 6,
    /// One connect site an element (`door host:port`); the value says how it is to be preferred and
    /// until when it is leased, and is empty for a server's own doors.
    ConnectSite = 7,
    /// One member an element; the value points at its incarnation.
    Member = 8,
    /// One owner an element.
    Owner = 9,
    /// One friend an element.
    Friend = 10,
    /// Who may post.
    Posting = 11,
    /// A server's public key (SubjectPublicKeyInfo, DER).
    PublicKey = 12,
    /// A server's roles.
    Roles = 13,
    /// One join token an element (BLAKE3 of the secret); the value says until when.
    JoinToken = 14,
    /// The life of the disk that a server now writes with (its origin id).
    Origin = 15,
    /// That a server is being retired.
    Retiring = 16,
    /// One server an element that held the registry from its creation.
    FirstHolder = 17,
    /// One name an element that the entry has had (folded simple name); the value is its spelling.
    FormerName = 18,
    /// How much the inbox may hold.
    Quota = 19,
    /// Whether an update or a message of a registry may be taken alone.
    Alone = 30,
    /// Whether a cut-off holder of a registry answers.
    Stale = 31,
    /// One server an element that is offered to a registry's registrars as a holder.
    Offered = 32,
    /// One server an element that has fetched the whole registry since it became a holder.
    FetchedHolder = 33,
    /// Up to which message time a mailbox has forgotten what it once expunged (item 0).
    Forgotten = 45,
    /// That the password was changed by a person: its stamp is what tickets and sessions hang on.
    Credentials = 50,
    /// One app password an element (its id).
    AppPassword = 51,
    /// Whether a registry lets in by SCRAM, and the secret that its challenges are made with.
    Scram = 52,
    /// What SCRAM checks an individual's password by.
    ScramVerifier = 53,
    /// One of a server's keys an element (SubjectPublicKeyInfo, DER); the value says whether it comes, is
    /// in use or is going, and since when.
    ServerKey = 65,
    /// One message an element that waits for the owners of a moderated group.
    HeldPost = 85,
    /// One message an element of which an owner has said yes or no, until it would have gone back.
    Verdict = 86,
    /// One secret an element (its number), by which a registry proves tokens of its lists (item 0).
    ListKey = 87,
    /// How much all inboxes of a registry together may hold at one server.
    RegistryQuota = 90,
    /// What becomes of mail for a registry's full inboxes.
    OverQuota = 91,
    /// One day an element on which a list's copy for an outside member failed: the member's key, NUL, the day.
    FailedDay = 321,
    /// One outside member an element of a list, to whom nothing is sent.
    Suspended = 322,
    /// Who gets mail for names that a registry does not have.
    CatchAll = 320,
    /// That a message is in the mailbox; the tombstone is its expunge.
    Message = 1000,
    /// A mailbox's ordered sites, kept in the mailbox itself (item 0).
    Sites = 1001,
    /// In which folder a message is; no cell or a tombstone: in INBOX.
    Placed = 1002,
    /// One flag an element of a message (folded); the value is its spelling.
    Flag = 1003,
    /// A message's number, and in which folder it has it.
    Uid = 1004,
    /// One block of numbers an element (item 0): who numbers in it, and how far he has come.
    UidBlock = 1005,
    /// One server an element of a folder: above which number all those are that it knows to have gone from there.
    UidNext = 1006,
    /// That there is a folder; the tombstone is its deletion, and final.
    Folder = 1010,
    /// A folder's path.
    FolderName = 1011,
    /// One path an element that is subscribed to (item 0).
    Subscribed = 1012,
    /// One filter script of the mailbox's owner an element (its name; item 0); the value is its text.
    Script = 1020,
    /// The name of the script that is run (item 0).
    ActiveScript = 1021,
    /// One answer of an absence an element (a digest of to whom and which; item 0); the value says when it was sent
    /// and until when none is sent again.
    Answered = 1022,
}

impl Field {
    /// The number.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A person, a program or a server: has credentials and places where it is found.
    Individual,
    /// A distribution list, an access list and a service pool in one.
    Group,
}
