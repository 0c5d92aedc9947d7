//! What requests bring as JSON. Unknown keys are refused: a misspelt one would be silently left out.

use grapevine_model::{
    AlonePolicy, EntryKind, GroupList, ImportedEntry, Member, MessageId, Name, OverQuotaPolicy,
    Place, PostingRule, QueueChange, RegistryName, ScramPolicy, Secret, ServerName, SiteNote,
    SiteOffer, StalePolicy,
};
use serde::Deserialize;

/// A password in a body.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Password(pub(super) Secret);

/// For how long a ticket is to serve.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) life_ms: Option<u64>,
}

/// What is to be done about mail that waits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueChanged {
    pub(super) change: QueueChange,
}

/// To whom a dead letter goes after all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resubmit {
    pub(super) to: Option<Name>,
}

/// Which copies that are kept after delivery are delivered once more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    pub(super) message: Option<MessageId>,
    pub(super) since_ms: Option<u64>,
    pub(super) of: Option<Name>,
    pub(super) to: Option<Name>,
    pub(super) after: Option<MessageId>,
}

/// Nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

/// A registry to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRegistry {
    pub(super) registry: RegistryName,
    #[serde(default)]
    pub(super) holders: Vec<ServerName>,
    #[serde(default)]
    pub(super) registrars: Vec<Name>,
}

/// One change of a registry's policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Policy {
    Alone(AlonePolicy),
    Stale(StalePolicy),
    Scram(ScramPolicy),
    Quota(Quota),
    OverQuota(OverQuotaPolicy),
    CatchAll(Option<Name>),
    Offer(ServerName),
    Withdraw(ServerName),
}

/// An individual to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewIndividual {
    pub(super) name: Name,
    pub(super) password: Option<Password>,
    #[serde(default)]
    pub(super) sites: Vec<ServerName>,
}

/// A group to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    pub(super) name: Name,
    #[serde(default)]
    pub(super) remark: String,
    #[serde(default)]
    pub(super) owners: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    pub(super) password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remark {
    pub(super) remark: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sites {
    pub(super) sites: Vec<ServerName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forward {
    pub(super) forward: Vec<Name>,
}

/// Many questions about one list of one group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checks {
    #[serde(default = "members")]
    pub(super) list: GroupList,
    pub(super) who: Vec<Name>,
}

/// Another name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewName {
    pub(super) name: Name,
}

/// How much an inbox may hold; what is absent is without a limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quota {
    pub(super) octets: Option<u64>,
    pub(super) messages: Option<u64>,
}

impl From<Quota> for grapevine_model::Quota {
    fn from(quota: Quota) -> Self {
        Self {
            octets: quota.octets,
            messages: quota.messages,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posting {
    pub(super) posting: PostingRule,
}

/// Why a held message goes back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rejection {
    #[serde(default)]
    pub(super) reason: String,
}

/// An app password to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAppPassword {
    pub(super) label: String,
    pub(super) expires_ms: Option<u64>,
}

/// Where a protocol is spoken, and for how long that is good unless it is said again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) sites: Vec<Site>,
    pub(super) lease_ms: Option<u64>,
}

/// One place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    site: Place,
    #[serde(default)]
    priority: u16,
    #[serde(default)]
    weight: u16,
    #[serde(default)]
    note: SiteNote,
}

impl From<Site> for SiteOffer {
    fn from(site: Site) -> Self {
        Self {
            place: site.site,
            priority: site.priority,
            weight: site.weight,
            note: site.note,
        }
    }
}

/// One entry of an import. Passwords come as hashes: to hash five hundred is the importer's work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Imported {
    name: Name,
    kind: EntryKind,
    password_hash: Option<Password>,
    remark: Option<String>,
    #[serde(default)]
    sites: Vec<ServerName>,
    #[serde(default)]
    forward: Vec<Name>,
    #[serde(default)]
    aliases: Vec<Name>,
    #[serde(default)]
    members: Vec<Member>,
    #[serde(default)]
    owners: Vec<Member>,
    #[serde(default)]
    friends: Vec<Member>,
}

impl From<Imported> for ImportedEntry {
    fn from(entry: Imported) -> Self {
        Self {
            name: entry.name,
            kind: entry.kind,
            password: entry.password_hash.map(|hash| hash.0),
            remark: entry.remark,
            sites: entry.sites,
            forward: entry.forward,
            aliases: entry.aliases,
            members: entry.members,
            owners: entry.owners,
            friends: entry.friends,
        }
    }
}

fn members() -> GroupList {
    GroupList::Members
}
