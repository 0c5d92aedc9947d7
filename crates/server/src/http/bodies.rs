//! What requests bring as JSON. Unknown keys are refused: a misspelt one would be silently left out.

use grapevine_model::{
    AlonePolicy, GroupList, Member, Name, RegistryName, ServerName, StalePolicy,
};
use serde::Deserialize;

/// A password in a body; never printed.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Password(pub(super) String);

/// For how long a ticket is to serve.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) life_ms: Option<u64>,
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

fn members() -> GroupList {
    GroupList::Members
}
