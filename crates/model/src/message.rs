//! Messages: the envelope, the body's measure, what a mailbox keeps of one.
//!
//! Bodies themselves never stand in these types: the shell streams them to disk
//! and hands in length and digest (P8: nothing is assumed about content).

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, MessageId};
use crate::list_copy::ListCopy;
use crate::name::Name;
use crate::request::Speaker;

/// Length and BLAKE3 digest of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// Octets.
    pub len: u64,
    /// BLAKE3 of all octets.
    pub digest: [u8; 32],
}

/// When the sender wants a report about a recipient (RFC 3461 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it can't be delivered.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            success: false,
            failure: true,
            delay: true,
        }
    }
}

/// What of the message comes back with a report (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReturnContent {
    /// The header only.
    #[default]
    Headers,
    /// The whole message.
    Full,
}

/// One recipient of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeRecipient {
    /// Who it is for.
    pub name: Name,
    /// When the sender wants to hear of it.
    pub notify: Notify,
    /// The original recipient as the sender gave it (RFC 3461 4.2), still in xtext.
    pub original: Option<String>,
    /// What the name meant where a list led here: for nobody else. None where a person gave the
    /// name, or a server of an older release handed it over.
    pub meant: Option<Incarnation>,
}

impl From<Name> for EnvelopeRecipient {
    fn from(name: Name) -> Self {
        Self {
            name,
            notify: Notify::default(),
            original: None,
            meant: None,
        }
    }
}

/// Who a message is from and for: all that delivery looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where reports go; none for reports themselves (the null return path).
    pub return_path: Option<Name>,
    /// At least one.
    pub recipients: Vec<EnvelopeRecipient>,
    /// What comes back with a report.
    pub content: ReturnContent,
    /// The sender's name for this submission (RFC 3461 4.4), still in xtext.
    pub envelope_id: Option<String>,
}

/// A message handed to a server, its body staged beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The id that GrapevineUser gave it, so that a retry is the same message.
    pub id: Option<MessageId>,
    /// Who hands it in, as authenticated.
    pub speaker: Speaker,
    /// From and for whom.
    pub envelope: Envelope,
    /// Measure of its body.
    pub body: BodyInfo,
    /// The report that it is, if it is one: ends those recipients' custody in the same commit.
    pub reports: Option<ReportReason>,
}

/// Which recipients of which message a report answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportReason {
    /// The message reported on.
    pub about: MessageId,
    /// The keys of the recipients it reports.
    pub recipients: Vec<String>,
    /// What it tells of them.
    pub told: ReportTells,
}

/// What a report tells of its recipients, and so what it changes when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportTells {
    /// Their end: nobody waits for them any more.
    End,
    /// That they wait: they go on waiting, and that is told once.
    Delay,
}

/// What a mailbox keeps of a message: the value of its `Message` cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxEntry {
    /// Measure of the body.
    pub body: BodyInfo,
    /// Milliseconds since 1970 when it was first deposited.
    pub deposited_ms: u64,
    /// By which list it came, if by one.
    pub list: Option<ListCopy>,
    /// Whose body it is read from, if it is a copy made within the mailbox.
    pub source: Option<MessageId>,
}

impl MailboxEntry {
    /// How many octets a reader gets.
    pub fn len(&self) -> u64 {
        let header = self.list.as_ref().map_or(0, |list| list.header().len());
        self.body.len.saturating_add(header as u64)
    }

    /// Whether a reader gets nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
