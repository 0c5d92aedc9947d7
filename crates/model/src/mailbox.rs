//! What a mail program asks of a mailbox, and what it is told: folders, flags, numbers.
//!
//! A mailbox is shown by one *numberer* at a time, among its sites; numbers (the UIDs of IMAP) are one row for
//! the whole mailbox. docs/mailboxes.md says what becomes of all that when two sites could not hear each other.
//! A flag, a path or a list of mails that exists here is within its limits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::{Quota, Usage};
use crate::id::{MessageId, ServerName};
use crate::list_copy::ListCopy;
use crate::message::BodyInfo;

/// Mails in one request at most: what is written for them is one commit, some tens of milliseconds.
pub const MAX_MAILS_AN_ASK: usize = 2_000;
/// Rows in one page of a view at most: below a MiB in a message between servers.
pub const MAX_ROWS_A_PAGE: usize = 5_000;
/// Folders of one mailbox: five times what anybody was seen to have; more would make a listing slow for everyone.
pub const MAX_FOLDERS: usize = 5_000;
/// Octets of a folder's path: it is the element of a cell.
pub const MAX_FOLDER_PATH_BYTES: usize = 500;
/// Levels of a folder's path.
pub const MAX_FOLDER_LEVELS: usize = 32;
/// Flags of one mail: each is a cell of its own.
pub const MAX_FLAGS_A_MAIL: usize = 100;
/// Octets of a flag.
pub const MAX_FLAG_BYTES: usize = 100;
/// The path of the folder where mail arrives, in the only spelling that it is kept in.
pub const INBOX: &str = "INBOX";

/// A folder, whatever it is called: drawn like a message's id when it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FolderId(pub u128);

impl FolderId {
    /// Where mail arrives. It is always there.
    pub const INBOX: Self = Self(0);
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Debug for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a folder stands: levels with `/` between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderPath(Arc<str>);

/// Why a text is no path of a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderPathError {
    /// A level of it is empty, or all of it.
    #[error("a folder's name, and each level of it, has a character at least")]
    Empty,
    /// It is too long.
    #[error(
        "a folder's name has at most {MAX_FOLDER_PATH_BYTES} octets and {MAX_FOLDER_LEVELS} levels"
    )]
    TooLong,
    /// It can't be shown, or means something else where folders are listed.
    #[error(
        "a folder's name has no control characters, no `*` and `%`, and does not begin with `#`"
    )]
    Character,
}

impl FolderPath {
    /// The path of the folder where mail arrives.
    pub fn inbox() -> Self {
        Self(INBOX.into())
    }

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is where mail arrives.
    pub fn is_inbox(&self) -> bool {
        *self.0 == *INBOX
    }

    /// Its path when the folder `from`, which it is or lies below, becomes `to`; none if it is neither.
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Result<Self, FolderPathError>> {
        let rest = self.0.strip_prefix(from.as_str())?;
        match rest.is_empty() || rest.starts_with('/') {
            true => Some(format!("{to}{rest}").parse()),
            false => None,
        }
    }
}

impl FromStr for FolderPath {
    type Err = FolderPathError;

    fn from_str(text: &str) -> Result<Self, FolderPathError> {
        if text.len() > MAX_FOLDER_PATH_BYTES {
            return Err(FolderPathError::TooLong);
        }
        if text.starts_with('#') || text.chars().any(|c| c.is_control() || "*%".contains(c)) {
            return Err(FolderPathError::Character);
        }
        let levels = text.split('/');
        if levels.clone().any(str::is_empty) {
            return Err(FolderPathError::Empty);
        }
        if levels.count() > MAX_FOLDER_LEVELS {
            return Err(FolderPathError::TooLong);
        }
        // INBOX is one folder in whatever case, and so is what lies below it (RFC 9051 5.1).
        let (first, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
        Ok(Self(match first.eq_ignore_ascii_case(INBOX) {
            true => format!("{INBOX}{rest}").into(),
            false => text.into(),
        }))
    }
}
impl TryFrom<String> for FolderPath {
    type Error = FolderPathError;
    fn try_from(text: String) -> Result<Self, FolderPathError> {
        text.parse()
    }
}
impl From<FolderPath> for String {
    fn from(path: FolderPath) -> String {
        path.as_str().to_owned()
    }
}
impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A flag or keyword of a mail, as it was spelt first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Flag(Arc<str>);

/// Why a text is no flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a flag is one of \\Seen, \\Answered, \\Flagged, \\Deleted, \\Draft, or a keyword of at most {MAX_FLAG_BYTES} plain characters"
)]
pub struct FlagError;

impl Flag {
    /// The flags that the protocol itself knows (RFC 9051 2.3.2).
    pub const SYSTEM: [&'static str; 5] =
        ["\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"];

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is compared: flags that differ in case only are one.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Whether the mail was read.
    pub fn is_seen(&self) -> bool {
        *self.0 == *"\\Seen"
    }
}

impl FromStr for Flag {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let system = (Self::SYSTEM.iter()).find(|known| known.eq_ignore_ascii_case(text));
        if let Some(known) = system {
            return Ok(Self((*known).into()));
        }
        let plain = |octet: u8| octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet);
        let is_keyword = (1..=MAX_FLAG_BYTES).contains(&text.len()) && text.bytes().all(plain);
        is_keyword.then(|| Self(text.into())).ok_or(FlagError)
    }
}
impl TryFrom<String> for Flag {
    type Error = FlagError;
    fn try_from(text: String) -> Result<Self, FlagError> {
        text.parse()
    }
}
impl From<Flag> for String {
    fn from(flag: Flag) -> String {
        flag.as_str().to_owned()
    }
}
impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a folder is for (RFC 6154, RFC 8457).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Important`
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

/// Where a mail stands: in which folder, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailPlace {
    /// Which folder.
    pub folder: FolderId,
    /// Its number (the UID of IMAP).
    pub uid: u32,
}

/// A moment of a view (the MODSEQ of IMAP): greater for each of its changes. One of another numberer, or from before
/// the view was loaded, is recognised, and everything counts as changed since.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Mark(pub u64);

/// How flags are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagChange {
    /// These too.
    Add,
    /// Not these any more.
    Remove,
    /// Just these.
    Replace,
}

/// What is asked of a mailbox by its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailboxAsk {
    /// All folders, with counts, and what is subscribed to.
    Folders,
    /// How much it holds, and may hold.
    Usage,
    /// A new folder.
    CreateFolder {
        /// Where. Levels above it need not be there.
        path: FolderPath,
        /// What for.
        special_use: Option<SpecialUse>,
    },
    /// A folder is no more, nor the mails that are in it.
    DeleteFolder {
        /// Which; not INBOX.
        folder: FolderId,
    },
    /// A folder is called otherwise, and what lies below it too. Of INBOX, the mails go to a new folder.
    RenameFolder {
        /// Which.
        folder: FolderId,
        /// How.
        to: FolderPath,
    },
    /// A path is shown to mail programs that show just what was chosen.
    Subscribe {
        /// Which, whether or not there is such a folder.
        path: FolderPath,
    },
    /// It is not, any more.
    Unsubscribe {
        /// Which.
        path: FolderPath,
    },
    /// The mails of a folder, or what has changed since.
    View {
        /// Which.
        folder: FolderId,
        /// The mark of the last answer; none for all mails.
        since: Option<Mark>,
        /// After this number, the end of the page before; 0 for the first page.
        after: u32,
    },
    /// Flags are changed.
    ChangeFlags {
        /// In which folder.
        folder: FolderId,
        /// Of which mails, at most `MAX_MAILS_AN_ASK`.
        mails: Vec<MessageId>,
        /// How.
        change: FlagChange,
        /// Which flags.
        flags: Vec<Flag>,
        /// Only of mails that have not changed since; none for all of them.
        unchanged_since: Option<Mark>,
    },
    /// Mails are no more.
    Expunge {
        /// In which folder.
        folder: FolderId,
        /// Which, at most `MAX_MAILS_AN_ASK`.
        mails: Vec<MessageId>,
    },
    /// Further mails with the same bodies.
    Copy {
        /// From which folder.
        from: FolderId,
        /// Which, at most `MAX_MAILS_AN_ASK`; all or none are copied.
        mails: Vec<MessageId>,
        /// To which folder.
        to: FolderId,
    },
    /// Mails go to another folder.
    Move {
        /// From which folder.
        from: FolderId,
        /// Which, at most `MAX_MAILS_AN_ASK`.
        mails: Vec<MessageId>,
        /// To which folder.
        to: FolderId,
    },
    /// A new mail. Its body is at the server where it came in.
    Append {
        /// To which folder.
        folder: FolderId,
        /// Its id.
        message: MessageId,
        /// Measure of its body.
        body: BodyInfo,
        /// Its flags.
        flags: Vec<Flag>,
        /// Its date for the mail program, milliseconds since 1970; none for now.
        date_ms: Option<u64>,
    },
}

impl MailboxAsk {
    /// Whether doing it twice, or not knowing whether it was done, makes a difference.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Folders | Self::Usage | Self::View { .. } => false,
            Self::CreateFolder { .. }
            | Self::DeleteFolder { .. }
            | Self::RenameFolder { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::ChangeFlags { .. }
            | Self::Expunge { .. }
            | Self::Copy { .. }
            | Self::Move { .. }
            | Self::Append { .. } => true,
        }
    }
}

/// An answer about a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxReply {
    /// Whose view it is from.
    pub by: ServerName,
    /// Whether a site that could not be reached may have more.
    pub partial: bool,
    /// On how many servers' disks it is: the change, or the numbers that are shown; 0 where nothing was written.
    pub copies: u8,
    /// What.
    pub answer: MailboxAnswer,
}

/// What is told of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailboxAnswer {
    /// All folders.
    Folders {
        /// In order of their paths.
        folders: Vec<FolderView>,
        /// Paths subscribed to, in order; some may be of folders that are not there.
        subscribed: Vec<FolderPath>,
    },
    /// The new folder, or the folder renamed.
    Folder(FolderView),
    /// How much it holds and may hold, as whoever shows it counts.
    Usage {
        /// Held.
        usage: Usage,
        /// At most.
        quota: Quota,
    },
    /// It is done.
    Done,
    /// Mails of a folder.
    View(MailboxView),
    /// Flags were changed, or left because the mail had changed since.
    Flagged {
        /// The mails as they are now, that are there.
        mails: Vec<FlaggedMail>,
        /// Those that had changed since, by their numbers.
        kept: Vec<u32>,
    },
    /// These are no more.
    Expunged {
        /// By their numbers, in order.
        numbers: Vec<u32>,
        /// The moment after it.
        mark: Mark,
    },
    /// Mails are in another folder, by `Copy` or `Move`.
    Copied {
        /// The other folder's UIDVALIDITY.
        uid_validity: u32,
        /// In the order of their old numbers.
        mails: Vec<CopiedMail>,
        /// The moment after it.
        mark: Mark,
    },
    /// A mail was appended.
    Appended {
        /// Its folder's UIDVALIDITY.
        uid_validity: u32,
        /// Its number.
        uid: u32,
    },
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderView {
    /// Which.
    pub folder: FolderId,
    /// Where.
    pub path: FolderPath,
    /// What for.
    pub special_use: Option<SpecialUse>,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The next mail's number is this or greater.
    pub uid_next: u32,
    /// Mails in it.
    pub messages: u32,
    /// Mails without `\Seen`.
    pub unseen: u32,
    /// Mails with `\Deleted`.
    pub deleted: u32,
    /// Octets in all.
    pub size: u64,
    /// The moment of its last change.
    pub mark: Mark,
}

/// Mails of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    /// Which folder.
    pub folder: FolderId,
    /// Whether the rows are all mails, or what has changed.
    pub extent: Extent,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The next mail's number is this or greater.
    pub uid_next: u32,
    /// This moment. Where there are several pages, that of the first one is to be handed in next time.
    pub mark: Mark,
    /// In order of their numbers.
    pub rows: Vec<MailRow>,
    /// Of changes: numbers that are no more, in order. On the first page.
    pub vanished: Vec<u32>,
    /// After which number the next page begins; none on the last one.
    pub next: Option<u32>,
}

/// What the rows of a view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// All mails: a number that is not among them is no more.
    All,
    /// What is new or has changed since the mark that was handed in.
    Changes,
}

/// A mail of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRow {
    /// Its number.
    pub uid: u32,
    /// Its id.
    pub message: MessageId,
    /// Under which id its body is kept: another mail's, where this is a copy.
    pub body: MessageId,
    /// Octets, as it is read.
    pub len: u64,
    /// Its date for the mail program, milliseconds since 1970.
    pub date_ms: u64,
    /// The moment of its last change.
    pub mark: Mark,
    /// In order, folded.
    pub flags: Vec<Flag>,
    /// By which list it came: its header fields are read in front of the body.
    pub list: Option<ListCopy>,
}

/// A mail whose flags were asked to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlaggedMail {
    /// Its number.
    pub uid: u32,
    /// Its id.
    pub message: MessageId,
    /// The moment of its last change.
    pub mark: Mark,
    /// As they are now.
    pub flags: Vec<Flag>,
}

/// A mail in another folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedMail {
    /// Its number where it came from.
    pub from_uid: u32,
    /// Its number where it is.
    pub uid: u32,
    /// Its id now; the old one where it was moved.
    pub message: MessageId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FolderPath {
        text.parse().unwrap()
    }

    #[test]
    fn inbox_is_one_folder_in_whatever_case() {
        assert!(path("inBox").is_inbox());
        assert_eq!(path("inbox/x").as_str(), "INBOX/x");
        assert_eq!(path("Inboxes").as_str(), "Inboxes");
    }

    #[test]
    fn a_path_that_cant_be_listed_is_none() {
        for bad in [
            "", "/", "a/", "/a", "a//b", "a*", "50%", "#news", "a\rb", "a\0",
        ] {
            assert!(bad.parse::<FolderPath>().is_err(), "{bad:?}");
        }
        assert!(
            "x".repeat(MAX_FOLDER_PATH_BYTES)
                .parse::<FolderPath>()
                .is_ok()
        );
        assert!(
            "x".repeat(MAX_FOLDER_PATH_BYTES + 1)
                .parse::<FolderPath>()
                .is_err()
        );
        assert!(
            "x/".repeat(MAX_FOLDER_LEVELS)
                .parse::<FolderPath>()
                .is_err()
        );
        assert_eq!(
            path("Entwürfe/läuft & mehr").as_str(),
            "Entwürfe/läuft & mehr"
        );
    }

    #[test]
    fn what_lies_below_a_folder_moves_with_it_and_nothing_else_does() {
        let (from, to) = (path("a"), path("x/y"));
        assert_eq!(path("a").moved(&from, &to), Some(Ok(path("x/y"))));
        assert_eq!(path("a/b").moved(&from, &to), Some(Ok(path("x/y/b"))));
        assert_eq!(path("ab").moved(&from, &to), None);
        let long = path(&"l".repeat(490));
        assert!(path("a/b/cdefghijkl").moved(&from, &long).unwrap().is_err());
    }

    #[test]
    fn a_system_flag_has_one_spelling_and_an_unknown_one_is_none() {
        assert_eq!("\\sEEn".parse::<Flag>().unwrap().as_str(), "\\Seen");
        assert_eq!("$Forwarded".parse::<Flag>().unwrap().folded(), "$forwarded");
        for bad in ["", "\\Recent", "\\*", "a b", "a(", "a]", "ä", "a\\b"] {
            assert!(bad.parse::<Flag>().is_err(), "{bad:?}");
        }
        assert!("k".repeat(MAX_FLAG_BYTES).parse::<Flag>().is_ok());
        assert!("k".repeat(MAX_FLAG_BYTES + 1).parse::<Flag>().is_err());
    }
}
