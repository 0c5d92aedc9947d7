//! What clients ask of a server, and what it answers.
//!
//! A server evaluates each request itself, for the speaker that it has itself
//! authenticated (P8); a request for a registry held elsewhere is passed to a
//! holder with its speaker.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::bulk::{Imported, ImportedEntry};
use crate::cell::SpaceId;
use crate::cluster::{KeyWait, ServerInfo};
use crate::compare::CompareView;
use crate::connect::{Located, SiteDoor, SiteOffer};
use crate::entry::{AsideChange, Conflict, Dangling, Depth, PostingRule, Quota, Usage};
use crate::field::EntryKind;
use crate::id::{Incarnation, MessageId, ServerName};
use crate::list_copy::{ListCopy, Unsubscribe};
use crate::login::{AppPassword, AppPasswordView, Authenticated, Source};
use crate::mailbox::{MailboxAsk, MailboxReply};
use crate::moderation::{HeldPost, Verdict};
use crate::name::{Member, Name, RegistryName};
use crate::policy::{OverQuotaPolicy, PolicyChange, RegistryPolicy};
use crate::queue::{QueueAnswer, QueueAsk};
use crate::seen::Seen;
use crate::sieve::{SieveAsk, SieveReply};
use crate::stamp::Stamp;
use crate::status::{ServerStatus, Trace};
use crate::suspension::Suspended;
use crate::watch::{Changes, Since, WatchTarget};

/// Who speaks, as the shell or a peer has authenticated it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Speaker {
    /// Nobody in particular.
    Anonymous,
    /// An individual whose password was right.
    Individual {
        /// Its name.
        name: Name,
        /// What the name meant then.
        incarnation: Incarnation,
    },
    /// The operator of this server's machine (the admin socket's file permissions decided).
    Operator,
    /// A server of this Grapevine, on its own behalf.
    Server(ServerName),
    /// A machine in a network from which the operator lets mail go out to anywhere. Nobody in
    /// particular otherwise.
    Neighbour,
}

impl Speaker {
    /// Whether nobody has said who he is: nothing is granted to such a one but what is everybody's.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Anonymous | Self::Neighbour => true,
            Self::Individual { .. } | Self::Operator | Self::Server(_) => false,
        }
    }
}

/// A password or a ticket on its way to be checked, or a password's hash: never printed, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A list of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupList {
    /// Who gets the mail and whom the door opens for.
    Members,
    /// Who may change the group.
    Owners,
    /// Who may join it.
    Friends,
}

/// One change of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryChange {
    /// A new password, as Argon2id hash in PHC form.
    Password(Secret),
    /// One more app password, made by a server: a client can't choose one.
    AppPasswordAdd(AppPassword),
    /// One fewer, by its id.
    AppPasswordRemove(String),
    /// Free text.
    Remark(String),
    /// The ordered inbox sites.
    Sites(Vec<ServerName>),
    /// Where mail goes instead; empty for nowhere else.
    Forward(Vec<Name>),
    /// The places where a protocol is spoken, instead of those given before; empty for nowhere.
    ConnectSites {
        /// Which protocol.
        door: SiteDoor,
        /// Where.
        sites: Vec<SiteOffer>,
        /// For how long unless it is said again; none for good.
        lease_ms: Option<u64>,
    },
    /// A further simple name.
    AliasAdd(Name),
    /// One fewer.
    AliasRemove(Name),
    /// Another simple name; the old one leads here until somebody else gets it.
    Rename(Name),
    /// A former name leads here no longer.
    FormerRemove(Name),
    /// How much its inbox may hold.
    Quota(Quota),
    /// Who may post to the group.
    Posting(PostingRule),
    /// A message that a moderated group holds goes on, or back.
    Judge {
        /// Which message.
        message: MessageId,
        /// Where to.
        verdict: Verdict,
    },
    /// Somebody leaves a group by the token in a copy that he got; nothing else is asked of him.
    Unsubscribe(Unsubscribe),
    /// Copies go to an outside member again who was suspended.
    Resume(Name),
    /// One more in a list of a group.
    ListAdd(GroupList, Member),
    /// One fewer.
    ListRemove(GroupList, Member),
    /// The speaker joins a group.
    Join,
    /// The speaker leaves a group.
    Leave,
}

/// Everything a client can ask that is no message body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Is this the password of that individual?
    Authenticate {
        /// Who.
        name: Name,
        /// The password.
        password: Secret,
        /// From where.
        source: Source,
    },
    /// Salt and iterations for a login by SCRAM-SHA-256. For servers, whose doors hold the dialogue.
    ScramBegin {
        /// Who, whether or not there is such a name.
        name: Name,
    },
    /// Is this a proof of the password? For servers: what was said must contain a server's nonce.
    ScramFinish {
        /// Who.
        name: Name,
        /// From where.
        source: Source,
        /// What was said by both sides (RFC 5802 section 3, AuthMessage).
        said: String,
        /// The client's proof.
        proof: [u8; 32],
    },
    /// Is what somebody proved before still so? For servers, about tickets and open sessions.
    Vouch {
        /// What was proved.
        who: Authenticated,
    },
    /// A ticket for the individual that speaks.
    TicketCreate {
        /// How long it is to serve; none for as long as the server grants.
        life_ms: Option<u64>,
    },
    /// A new app password, to be shown once.
    AppPasswordCreate {
        /// Whose.
        name: Name,
        /// What it is for.
        label: String,
        /// Until when, milliseconds since 1970; none for until it is removed.
        expires_ms: Option<u64>,
    },
    /// The app passwords of an individual, without their secrets.
    AppPasswords {
        /// Whose.
        name: Name,
    },
    /// A new registry.
    RegistryCreate {
        /// Its name.
        registry: RegistryName,
        /// Its holders; empty for every server that is not being retired.
        holders: Vec<ServerName>,
        /// Its registrars.
        registrars: Vec<Name>,
    },
    /// A registry, with all its entries, is no more.
    RegistryDelete {
        /// Which.
        registry: RegistryName,
    },
    /// The registries.
    RegistryList,
    /// One registry.
    RegistryShow {
        /// Which.
        registry: RegistryName,
    },
    /// Compare a registry held here with the other holders' copies, cell by cell, and mend what
    /// differs.
    Compare {
        /// Which.
        registry: RegistryName,
    },
    /// Which holders of a registry have a change durably, or all that the asked one has?
    RegistrySeen {
        /// Which registry.
        registry: RegistryName,
        /// The change, as `Written` named it; none for everything up to now.
        stamp: Option<Stamp>,
    },
    /// One holder more.
    HolderAdd {
        /// Of which registry.
        registry: RegistryName,
        /// The server.
        server: ServerName,
    },
    /// One holder fewer.
    HolderRemove {
        /// Of which registry.
        registry: RegistryName,
        /// The server.
        server: ServerName,
    },
    /// What is decided about a registry's copies is changed.
    RegistryPolicy {
        /// Of which registry.
        registry: RegistryName,
        /// How.
        change: PolicyChange,
    },
    /// A new individual.
    IndividualCreate {
        /// Its name.
        name: Name,
        /// Its password's hash; without one nobody can log in as it.
        password: Option<Secret>,
        /// Its inbox sites; empty for two servers chosen by the registry's holder.
        sites: Vec<ServerName>,
    },
    /// A new group.
    GroupCreate {
        /// Its name.
        name: Name,
        /// Free text.
        remark: String,
        /// Its owners.
        owners: Vec<Member>,
    },
    /// Many entries of one registry are to be there.
    Import {
        /// Of which registry.
        registry: RegistryName,
        /// The entries.
        entries: Vec<ImportedEntry>,
    },
    /// An entry is no more.
    Delete {
        /// Which.
        name: Name,
    },
    /// An entry is changed.
    Change {
        /// Which.
        name: Name,
        /// How.
        change: EntryChange,
    },
    /// An entry, without its secrets.
    Show {
        /// Which.
        name: Name,
    },
    /// Is somebody in a list of a group, over nested groups and registries?
    Check {
        /// The group.
        group: Name,
        /// Which of its lists.
        list: GroupList,
        /// Who.
        who: Name,
    },
    /// The same for many at once, at most `MAX_CHECKS`.
    CheckMany {
        /// The group.
        group: Name,
        /// Which of its lists.
        list: GroupList,
        /// Who.
        who: Vec<Name>,
    },
    /// The next page of a list of a group.
    Members {
        /// The group.
        group: Name,
        /// Which of its lists.
        list: GroupList,
        /// After this member's key; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// What a moderated group holds for its owners.
    Held {
        /// The group.
        group: Name,
    },
    /// The next page of a registry's entries, in order of their names.
    Entries {
        /// Which registry.
        registry: RegistryName,
        /// After this simple name, folded; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// The next page of the groups, of all registries, that a name is in.
    MemberOf {
        /// Who.
        name: Name,
        /// In which of their lists.
        list: GroupList,
        /// Directly, or by closure.
        depth: Depth,
        /// After this group's key; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// The entry whose number for POSIX systems this is.
    EntryOfNumber {
        /// In which registry.
        registry: RegistryName,
        /// The number.
        number: u32,
    },
    /// The next changes, at once or when there are some. Asked again with the token of its answer,
    /// it is a stream that no server has to remember.
    Watch {
        /// Of what.
        target: WatchTarget,
        /// From where on.
        since: Since,
        /// Milliseconds to wait while nothing changes; the server may wait less.
        wait_ms: u32,
    },
    /// The next page of the entries of a registry that stand aside.
    Conflicts {
        /// Which registry.
        registry: RegistryName,
        /// After this simple name; none for the first page.
        after: Option<String>,
        /// How many at most; the server may give fewer.
        limit: u32,
    },
    /// An entry that stands aside is deleted or renamed.
    Aside {
        /// The name that it claims.
        name: Name,
        /// Which of those that claim it.
        incarnation: Incarnation,
        /// What becomes of it.
        change: AsideChange,
    },
    /// The next page of the members of a registry's groups that point at nobody.
    Dangling {
        /// Which registry.
        registry: RegistryName,
        /// Where the page before ended; none for the first page.
        after: Option<String>,
        /// How many members are looked at, at most; the server may look at fewer.
        limit: u32,
    },
    /// Those of such a page that surely point at nobody are removed.
    DanglingRemove {
        /// Which registry.
        registry: RegistryName,
        /// Where the page before ended; none for the first page.
        after: Option<String>,
        /// As with `Dangling`.
        limit: u32,
    },
    /// Where is a service now? An individual's live sites, or those of a group's members.
    Find {
        /// The individual or group.
        name: Name,
        /// Only where this protocol is spoken.
        door: Option<SiteDoor>,
        /// The version of the last answer: if that still holds, only this is said.
        known: Option<u64>,
    },
    /// Would a message be taken for this recipient?
    CheckRecipient {
        /// Who.
        name: Name,
    },
    /// May the speaker send as this name?
    MaySendAs {
        /// The return path that it gives.
        name: Name,
    },
    /// A secret, known here by its BLAKE3, that lets one server in until then.
    TokenCreate {
        /// BLAKE3 of the secret, 32 bytes.
        digest: Vec<u8>,
        /// Milliseconds since 1970.
        expires_ms: u64,
    },
    /// A new server comes in by a token.
    Join {
        /// BLAKE3 of the secret.
        digest: Vec<u8>,
        /// The server as it wants to be recorded.
        server: ServerInfo,
    },
    /// A server is to be relieved of all it has, and leaves.
    Retire {
        /// Which.
        server: ServerName,
    },
    /// The server that is asked is to make itself a new key, and to use it when this is waited for.
    RotateKey {
        /// For whom it waits.
        wait: KeyWait,
    },
    /// The servers of this Grapevine.
    Servers,
    /// How this server is.
    Status,
    /// What this server knows of a message.
    Trace {
        /// Which.
        message: MessageId,
    },
    /// About mail that waits; answered by the server asked, about itself.
    Queue(QueueAsk),
    /// The messages in an inbox.
    InboxList {
        /// Whose.
        name: Name,
    },
    /// Messages read and to be deleted.
    InboxDelete {
        /// Whose.
        name: Name,
        /// Which.
        messages: Vec<MessageId>,
    },
    /// What a mail program does in a mailbox.
    Mailbox {
        /// Whose.
        name: Name,
        /// What.
        ask: MailboxAsk,
    },
    /// The filters of a mailbox.
    Sieve {
        /// Whose.
        name: Name,
        /// What.
        ask: SieveAsk,
    },
}

/// The answer to a request that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// A change is durable.
    Written(Written),
    /// What became of an import.
    Imported(Imported),
    /// The password was right.
    Authenticated(Authenticated),
    /// A ticket.
    Ticket {
        /// Its text, which is the secret.
        ticket: Secret,
        /// Until when it serves, milliseconds since 1970.
        expires_ms: u64,
    },
    /// How to prove a password by SCRAM-SHA-256.
    ScramChallenge {
        /// The salt.
        salt: [u8; 16],
        /// The iterations of PBKDF2.
        iterations: u32,
    },
    /// The proof was right.
    ScramProved {
        /// Who.
        who: Authenticated,
        /// The server's own proof that it knows the password's verifier.
        signature: [u8; 32],
    },
    /// A new app password.
    AppPassword {
        /// It itself: it is told this once.
        password: Secret,
        /// Its id, by which it is listed and removed.
        id: String,
    },
    /// App passwords.
    AppPasswords(Vec<AppPasswordView>),
    /// The registries.
    Registries(Vec<RegistryName>),
    /// One registry.
    Registry(RegistryView),
    /// What comparing a registry brought to light.
    Compared(CompareView),
    /// Who has a change.
    Seen(SeenView),
    /// An entry.
    Entry(Box<EntryView>),
    /// Yes or no; "can't tell" is a refusal of kind unavailable.
    Check(Check),
    /// The same for many, in the order of the question; none where it can't be told now.
    Checks(Vec<Option<Check>>),
    /// A page of members, and the key after which the next page begins.
    Members {
        /// In order of their keys.
        members: Vec<Member>,
        /// What each of them was when it was added; shorter where an older server answers.
        kinds: Vec<MemberKind>,
        /// None on the last page.
        next: Option<String>,
    },
    /// What a moderated group holds, the oldest first.
    Held(Vec<HeldPost>),
    /// A page of entries, and the name after which the next page begins.
    Entries {
        /// In order of their folded names.
        entries: Vec<EntryView>,
        /// None on the last page.
        next: Option<String>,
    },
    /// The next changes; none when waiting was in vain.
    Changes(Changes),
    /// A page of entries that stand aside.
    Conflicts {
        /// In order of their names.
        conflicts: Vec<Conflict>,
        /// None on the last page.
        next: Option<String>,
    },
    /// A page of members that point at nobody.
    Dangling {
        /// In no particular order.
        dangling: Vec<Dangling>,
        /// How many were looked at.
        seen: u32,
        /// None on the last page.
        next: Option<String>,
    },
    /// Where a service is now.
    Located(Located),
    /// As the version that was handed in said.
    Unchanged,
    /// Yes.
    Ok,
    /// There is such a recipient, and its inbox is full.
    RecipientFull(OverQuotaPolicy),
    /// A new server is in.
    Welcome(Welcome),
    /// The servers.
    Servers(Vec<ServerInfo>),
    /// How this server is.
    Status(Box<ServerStatus>),
    /// What this server knows of a message.
    Trace(Box<Trace>),
    /// About mail that waits.
    Queue(QueueAnswer),
    /// The messages in an inbox.
    Inbox(InboxListing),
    /// About a mailbox.
    Mailbox(MailboxReply),
    /// About the filters of a mailbox.
    Sieve(SieveReply),
    /// A message is accepted: it will be delivered or explained.
    Accepted {
        /// Its id.
        message: MessageId,
        /// On how many servers' disks it is.
        copies: u8,
    },
}

/// What a member of a group was when it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// An individual of this Grapevine.
    Individual,
    /// A group of this Grapevine.
    Group,
    /// An outside address, or a wildcard.
    Outside,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// It is a member.
    Yes,
    /// It is surely none.
    No,
}

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its stamp (none if nothing had to change).
    pub stamp: Option<Stamp>,
    /// On how many servers' disks it is.
    pub copies: u8,
    /// Tokens: hand them in to be answered, by any server, with this write or newer.
    pub seen: Vec<Seen>,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryView {
    /// Its name.
    pub registry: RegistryName,
    /// The servers that hold it.
    pub holders: Vec<ServerName>,
    /// Who administers it.
    pub registrars: Vec<Member>,
    /// Living entries; none where the answering server does not hold it.
    pub entries: Option<u64>,
    /// Of the holders, those that have fetched it whole: the others are not asked yet.
    pub ready: Vec<ServerName>,
    /// What is decided about its copies.
    pub policy: RegistryPolicy,
}

/// Who has a change durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenView {
    /// Of which registry.
    pub registry: RegistryName,
    /// Its holders.
    pub holders: Vec<(ServerName, HolderSays)>,
}

/// Whether a holder has a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HolderSays {
    /// On its disk, it said a moment ago.
    Has,
    /// It answers, and has not got it yet.
    Lacks,
    /// It did not answer: unknown.
    Silent,
}

/// An entry, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// When it was created, milliseconds since 1970 by the clock of the server that did it.
    pub created_ms: u64,
    /// Its number for POSIX systems, drawn from its incarnation; none where an earlier entry of its registry has that number.
    pub number: Option<u32>,
    /// Free text.
    pub remark: String,
    /// Ordered inbox sites.
    pub sites: Vec<ServerName>,
    /// Where mail goes instead.
    pub forward: Vec<Name>,
    /// Further names.
    pub aliases: Vec<Name>,
    /// `door host:port`.
    pub connect_sites: Vec<String>,
    /// How many members.
    pub members: u64,
    /// Owners, the first hundred.
    pub owners: Vec<Member>,
    /// Friends, the first hundred.
    pub friends: Vec<Member>,
    /// Whether it stands aside because an earlier entry has the name.
    pub conflict: bool,
    /// Names that it had and that still lead to it.
    pub former: Vec<Name>,
    /// How much its inbox may hold.
    pub quota: Quota,
    /// How much it holds; none where the answering server has not got the inbox, or who asks may not know.
    pub usage: Option<Usage>,
    /// Who may post to it.
    pub posting: PostingRule,
    /// Its outside members to whom nothing is sent, the first hundred; for its owners and registrars.
    pub suspended: Vec<Suspended>,
    /// Other entries that stand aside because this one has the name.
    pub aside: u32,
}

/// What a new server starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// All servers, itself included.
    pub servers: Vec<ServerInfo>,
    /// The registries that it holds from now on.
    pub holds: Vec<RegistryName>,
}

/// One message of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMessage {
    /// Its id.
    pub message: MessageId,
    /// Under which id its body is kept: another message's, where this is a copy.
    pub body: MessageId,
    /// Its size in octets, as it is read.
    pub len: u64,
    /// When it was deposited, milliseconds since 1970.
    pub deposited_ms: u64,
    /// By which list it came: its header fields are read in front of the body.
    pub list: Option<ListCopy>,
}

/// The messages in an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxListing {
    /// Whose.
    pub incarnation: Incarnation,
    /// In order of their ids.
    pub messages: Vec<ListedMessage>,
    /// Inbox sites that hold this mailbox and that this server is, as first.
    pub sites: Vec<ServerName>,
    /// Whether a site that could not be reached may have more.
    pub partial: bool,
    /// What the site that answers holds of it.
    pub usage: Usage,
    /// How much it may hold, as that site knows.
    pub quota: Quota,
}

/// A space by its name for a person.
impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(registry) => write!(f, "registry {registry}"),
            Self::Mailbox(incarnation) => write!(f, "mailbox {incarnation}"),
        }
    }
}
