//! What servers say to each other. One-way messages: the network may lose,
//! double and reorder them, and every protocol here survives that.

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, CellKey, SpaceId, VersionVector};
use crate::compare::CompareStep;
use crate::connect::FoundSite;
use crate::entry::{Life, PostingRule, Quota};
use crate::error::Refusal;
use crate::id::{Incarnation, MessageId, OriginId, ServerName};
use crate::list_copy::ListCopy;
use crate::login::LoginNews;
use crate::message::{BodyInfo, Envelope};
use crate::name::{Member, Name, RegistryName};
use crate::policy::OverQuotaPolicy;
use crate::request::{GroupList, Reply, Request, Speaker};
use crate::seen::{AsOf, Seen};
use crate::stamp::{Hlc, Stamp};

/// A replicated cell with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Where.
    pub key: CellKey,
    /// What.
    pub cell: Cell,
}

/// New writes of one origin to one space, which follow its write `previous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpacePush {
    /// Which space.
    pub space: SpaceId,
    /// The origin, and its last write to the space before these.
    pub previous: Stamp,
    /// What the writer had: whoever lacks some of it fetches that first.
    pub context: VersionVector,
    /// In order of their dots.
    pub updates: Vec<Update>,
}

/// "I am here", once a second, with what is needed to notice a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The life of the sender's disk.
    pub origin: OriginId,
    /// The sender's wall clock: leases end by the fastest one in contact.
    pub time: Hlc,
    /// Messages in its custody.
    pub pending: u64,
    /// Whether it takes new custody (not retiring, disk not nearly full).
    pub accepts: bool,
    /// Digests over the vectors of the spaces that the two share, by bucket.
    pub digests: Vec<u64>,
    /// The last write of the receiver's disk that the sender has; none if it has none. Who hears
    /// of a write of its own that it does not know was set back, and takes a new origin.
    pub seen: Option<Stamp>,
    /// Where its rpc door is reached: told to whoever is not heard, as it may look for it elsewhere.
    pub at: Option<String>,
}

/// A message in custody, as the deputy keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodyRecord {
    /// Which.
    pub message: MessageId,
    /// Who answers for it.
    pub custodian: ServerName,
    /// The life of the custodian's disk then.
    pub origin: OriginId,
    /// Measure of its body.
    pub body: BodyInfo,
    /// From and for whom.
    pub envelope: Envelope,
    /// Milliseconds since 1970 when it was accepted.
    pub accepted_ms: u64,
    /// Who handed it in, as the server that took it has authenticated: who may post to a group is
    /// judged by it, never by what the message says.
    pub poster: Speaker,
}

/// An inbox that a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositFor {
    /// Whose.
    pub inbox: Incarnation,
    /// Its owner's name.
    pub name: Name,
    /// Its ordered sites as the sender knows them.
    pub sites: Vec<ServerName>,
    /// By which list it comes, if by one.
    pub list: Option<ListCopy>,
    /// What a filter of the mailbox may know. None from a server of an older release.
    pub envelope: Option<DepositEnvelope>,
}

/// The envelope of a message, as far as it concerns one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositEnvelope {
    /// Where reports go; none for reports themselves.
    pub return_path: Option<Name>,
    /// The recipient as he was addressed, with a detail if he was.
    pub recipient: Name,
}

/// What became of one recipient at an inbox site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DepositOutcome {
    /// In the mailbox (now or already), durable on so many sites.
    Stored {
        /// Sites known to have it.
        copies: u8,
    },
    /// This server is no inbox site of it.
    NotHere,
    /// There is no room in the mailbox.
    OverQuota {
        /// Why, for a person.
        why: String,
        /// Whether it is worth another try.
        policy: OverQuotaPolicy,
    },
    /// Not now.
    Later(String),
    /// Its owner's filter refuses the message.
    Rejected {
        /// His words, for the sender.
        why: String,
    },
}

/// A question about a name, to a holder of its registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    /// What is this name, and where does its mail go?
    Resolve(Name),
    /// Is somebody in a list of a group, as far as the holders of its registry can tell? The
    /// asker walks on through the groups elsewhere itself, so that cycles end.
    IsIn {
        /// The group.
        group: Name,
        /// What the group's name meant where it was listed: another one of that name is none. None
        /// where it was not listed, or by an older release.
        meant: Option<Incarnation>,
        /// Which list.
        list: GroupList,
        /// Who.
        who: Name,
        /// What the name means, if known.
        incarnation: Option<Incarnation>,
    },
    /// Which groups of a registry list one of these, in order of their keys?
    ListedIn {
        /// The registry.
        registry: RegistryName,
        /// In which list.
        list: GroupList,
        /// Whom: names with what they mean, if known, or wildcards.
        who: Vec<(Member, Option<Incarnation>)>,
        /// After this group's key.
        after: Option<String>,
    },
    /// What became of these entries?
    Living {
        /// Of which registry.
        registry: RegistryName,
        /// Which.
        incarnations: Vec<Incarnation>,
    },
    /// Where are the live sites of this individual, or of this group's members, as far as the
    /// holders of its registry can tell? The asker walks on through the others itself.
    Sites {
        /// The member of a pool.
        name: Name,
        /// What the name meant when it became a member: another entry of that name is none.
        incarnation: Incarnation,
    },
}

impl Question {
    /// The registry whose holders can answer.
    pub fn registry(&self) -> &RegistryName {
        match self {
            Self::Resolve(name) => name.registry(),
            Self::IsIn { group, .. } => group.registry(),
            Self::ListedIn { registry, .. } | Self::Living { registry, .. } => registry,
            Self::Sites { name, .. } => name.registry(),
        }
    }
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// An individual.
    Individual {
        /// In the spelling of its entry.
        name: Name,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Ordered inbox sites.
        sites: Vec<ServerName>,
        /// Where its mail goes instead, if anywhere.
        forward: Vec<Name>,
        /// How much its inbox may hold.
        quota: Quota,
        /// When this incarnation was made; an older release does not say.
        created_ms: Option<u64>,
    },
    /// A group.
    Group {
        /// In the spelling of its entry.
        name: Name,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Who may post to it.
        posting: PostingRule,
        /// Which entry the rule means, where it names a group.
        posting_meant: Option<Incarnation>,
    },
    /// A holder of the registry says that there is no such name.
    NoSuch,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the name is.
    Resolved(Resolution),
    /// As far as one registry reaches.
    Level {
        /// Surely in it.
        found: bool,
        /// Nested groups of other registries, which may know more, with what their names meant.
        elsewhere: Vec<(Name, Option<Incarnation>)>,
    },
    /// Groups with their incarnations, and the key after which there are more.
    Groups {
        /// In order of their keys.
        groups: Vec<(Name, Incarnation)>,
        /// None when these are all.
        next: Option<String>,
    },
    /// What became of each, in the order of the question.
    Lives(Vec<Life>),
    /// Live sites, as far as one registry reaches.
    Sites {
        /// Those found.
        found: Vec<FoundSite>,
        /// Members of other registries, with what their names meant.
        elsewhere: Vec<(Name, Incarnation)>,
    },
    /// Can't tell: not a holder, or a nested group could not be asked.
    Unavailable,
}

/// All that one server says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// I am here.
    Beat(Beat),
    /// A message whose second copy you have is held back by an operator, or is so no more.
    CustodyHold {
        /// Which.
        message: MessageId,
        /// Whether.
        held: bool,
    },
    /// The sender of this message has heard that it waits: nobody is to tell it again.
    DelayTold {
        /// Which.
        message: MessageId,
    },
    /// I am about to stop in order: go on with these, whose second copy you have.
    CustodyLeft {
        /// The life of the custodian's disk.
        origin: OriginId,
        /// Which.
        messages: Vec<MessageId>,
    },
    /// A message about registries, with what they are to the sender: one that was deleted and created
    /// again is another one. Older releases send the message alone.
    About {
        /// Which is which.
        lives: Vec<(RegistryName, Incarnation)>,
        /// The message.
        message: Box<PeerMessage>,
    },
    /// The vectors of my spaces in a bucket whose digests differ.
    Vectors(Vec<(SpaceId, VersionVector)>),
    /// Send me what I lack of a space, beyond this vector.
    Pull {
        /// Which space.
        space: SpaceId,
        /// What I have.
        known: VersionVector,
    },
    /// New writes of one origin, which follow its write `previous`.
    Push {
        /// Which space.
        space: SpaceId,
        /// The origin, and its last write to the space before these.
        previous: Stamp,
        /// What the writer had: whoever lacks some of it fetches that first.
        context: VersionVector,
        /// In order of their dots.
        updates: Vec<Update>,
    },
    /// Several pushes at once: what a page of a list changes in as many mailboxes.
    Pushes(Vec<SpacePush>),
    /// The answer to a pull.
    Page {
        /// Which space.
        space: SpaceId,
        /// The `known` of the pull that it answers.
        from: VersionVector,
        /// What the receiver has when it has this too and had `from`.
        progress: VersionVector,
        /// Whether nothing remains at this moment.
        complete: bool,
        /// In no particular order.
        updates: Vec<Update>,
    },
    /// What I have of a space, durably.
    Have {
        /// Which space.
        space: SpaceId,
        /// Up to where.
        vector: VersionVector,
    },
    /// What I have of several spaces, durably.
    Haves(Vec<(SpaceId, VersionVector)>),
    /// A step of a comparison of two copies.
    Compare {
        /// Joins the steps of one comparison.
        id: u64,
        /// Which space.
        space: SpaceId,
        /// What.
        step: CompareStep,
    },
    /// Your copy lacks deletions that are forgotten here: fetch it whole, or it would bring back
    /// what is gone.
    Refresh {
        /// Which space.
        space: SpaceId,
        /// What your vector does not cover.
        floor: VersionVector,
    },
    /// Send me a whole copy of a space, beyond this vector of earlier parts of it.
    Fetch {
        /// Which space.
        space: SpaceId,
        /// Empty for the first part.
        known: VersionVector,
    },
    /// A part of a whole copy.
    Copy {
        /// Which space.
        space: SpaceId,
        /// The `known` of the fetch that it answers.
        from: VersionVector,
        /// What the receiver has of the copy with this part.
        progress: VersionVector,
        /// Whether nothing remains at this moment.
        complete: bool,
        /// What the sender has forgotten deletions up to.
        floor: VersionVector,
        /// What the sender has.
        vector: VersionVector,
        /// In no particular order.
        updates: Vec<Update>,
    },
    /// I lack these bodies for what you sent.
    Need {
        /// Which.
        messages: Vec<MessageId>,
    },
    /// A body comes with this message.
    Body {
        /// Whose body.
        message: MessageId,
        /// Its measure.
        body: BodyInfo,
    },
    /// Be the deputy for this message.
    Custody(CustodyRecord),
    /// I am.
    CustodyHeld {
        /// For which message.
        message: MessageId,
        /// How many recipients the record here has: a custodian whose record has grown since is not answered by it. None
        /// from an older release.
        recipients: Option<u32>,
    },
    /// Custody has ended.
    CustodyEnded {
        /// The life of the custodian's disk.
        origin: OriginId,
        /// Of which messages.
        messages: Vec<MessageId>,
    },
    /// Are these still in your custody?
    CustodyAsk {
        /// The life of the custodian's disk, as the deputy knows it.
        origin: OriginId,
        /// Which.
        messages: Vec<MessageId>,
    },
    /// Put this message into these inboxes.
    Deposit {
        /// Which.
        message: MessageId,
        /// Its measure.
        body: BodyInfo,
        /// The inboxes.
        inboxes: Vec<DepositFor>,
    },
    /// What became of a deposit.
    Deposited {
        /// Which.
        message: MessageId,
        /// By inbox.
        outcomes: Vec<(Incarnation, DepositOutcome)>,
    },
    /// Take over the delivery to these recipients (nested groups of a registry that you hold).
    Hand(CustodyRecord),
    /// Taken over, durably.
    Handed {
        /// Which message.
        message: MessageId,
        /// The keys of the recipients taken over.
        recipients: Vec<String>,
    },
    /// I am about to hand these messages to other mail systems: to whom have you, or has somebody
    /// whom you have heard? Answered for each, if only with nobody.
    OutsideAsk {
        /// Which.
        messages: Vec<MessageId>,
    },
    /// These outside recipients of a message need nothing more: another mail system has said yes,
    /// or the sender has a report. Nobody is to hand it to them again.
    OutsideDone {
        /// Which message.
        message: MessageId,
        /// The keys of the recipients.
        recipients: Vec<String>,
    },
    /// A question.
    Ask {
        /// Joins question and answer.
        id: u64,
        /// What.
        question: Question,
        /// What the client for whom it is asked has seen.
        seen: Vec<Seen>,
    },
    /// Its answer.
    Answered {
        /// Of which question.
        id: u64,
        /// What.
        answer: Answer,
    },
    /// Logins that ended here, for your counts.
    Logins(Vec<LoginNews>),
    /// A client's request for a registry or mailbox that you hold.
    Forward {
        /// Joins request and reply.
        id: u64,
        /// Who asks, as the sender has authenticated it.
        speaker: Speaker,
        /// What.
        request: Request,
        /// What the client has seen: an older answer is none.
        seen: Vec<Seen>,
        /// Sites of the mailbox that it is about at which nothing was ever put into it, as they themselves have said on the way.
        nothing_at: Vec<ServerName>,
    },
    /// Its reply.
    Forwarded {
        /// Of which request.
        id: u64,
        /// What.
        result: Result<Reply, Refusal>,
        /// As of when.
        as_of: Option<AsOf>,
    },
}

impl PeerMessage {
    /// The message without what it says of the registries that it is about.
    pub fn bare(&self) -> &Self {
        match self {
            Self::About { message, .. } => message,
            other => other,
        }
    }
}
