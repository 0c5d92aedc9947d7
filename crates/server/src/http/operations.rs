//! Every operation of the API, once: the routes and the OpenAPI document are both made of this table,
//! so neither can have one that the other has not.

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// JSON of this schema.
    Json(&'static str),
    /// Server-sent events.
    Events,
    /// A message, RFC 5322.
    Message,
}

/// Which operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Document,
    Login,
    Registries,
    RegistryCreate,
    Registry,
    RegistryDelete,
    RegistryEntries,
    RegistryWatch,
    RegistryPolicy,
    HolderAdd,
    HolderRemove,
    IndividualCreate,
    Individual,
    IndividualDelete,
    IndividualWatch,
    SetPassword,
    SetIndividualRemark,
    SetSites,
    SetForward,
    AliasAdd,
    AliasRemove,
    GroupCreate,
    Group,
    GroupDelete,
    GroupWatch,
    SetGroupRemark,
    List,
    ListAdd,
    ListRemove,
    Check,
    Checks,
    Join,
    Leave,
    Servers,
    Status,
    Trace,
    Inbox,
    InboxRead,
    InboxDelete,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) op: Op,
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// The parameters of the query.
    pub(super) query: &'static [&'static str],
    /// The schema of the body.
    pub(super) body: Option<&'static str>,
    pub(super) gives: Gives,
}

const fn operation(
    op: Op,
    verb: Verb,
    path: &'static str,
    summary: &'static str,
    gives: Gives,
) -> Operation {
    Operation {
        op,
        verb,
        path,
        summary,
        query: &[],
        body: None,
        gives,
    }
}

impl Operation {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
    const fn body(self, schema: &'static str) -> Self {
        Self {
            body: Some(schema),
            ..self
        }
    }
}

use Gives::{Events, Json, Message};
use Verb::{Delete, Get, Post, Put};

const WRITTEN: Gives = Json("Written");

/// All of them.
#[rustfmt::skip]
pub(super) static OPERATIONS: &[Operation] = &[
    operation(Op::Document, Get, "/api/v1/openapi.json", "This document", Json("Document")),
    operation(Op::Login, Post, "/api/v1/login", "A ticket for who calls, to be said as a bearer token; dead when the credentials change", Json("Ticket")).body("Login"),
    operation(Op::Registries, Get, "/api/v1/registries", "The registries", Json("Registries")),
    operation(Op::RegistryCreate, Post, "/api/v1/registries", "Create a registry", WRITTEN).body("NewRegistry"),
    operation(Op::Registry, Get, "/api/v1/registries/{registry}", "One registry", Json("Registry")),
    operation(Op::RegistryDelete, Delete, "/api/v1/registries/{registry}", "Delete a registry with all its entries", WRITTEN),
    operation(Op::RegistryEntries, Get, "/api/v1/registries/{registry}/entries", "Its entries, by name, in pages", Json("Entries")).query(&["after", "limit"]),
    operation(Op::RegistryWatch, Get, "/api/v1/registries/{registry}/watch", "What changes in it, as it comes; for its registrars", Events).query(&["since"]),
    operation(Op::RegistryPolicy, Post, "/api/v1/registries/{registry}/policy", "Change what is decided about its copies", WRITTEN).body("Policy"),
    operation(Op::HolderAdd, Put, "/api/v1/registries/{registry}/holders/{server}", "One holder more", WRITTEN),
    operation(Op::HolderRemove, Delete, "/api/v1/registries/{registry}/holders/{server}", "One holder fewer", WRITTEN),
    operation(Op::IndividualCreate, Post, "/api/v1/individuals", "Create an individual", WRITTEN).body("NewIndividual"),
    operation(Op::Individual, Get, "/api/v1/individuals/{name}", "One individual", Json("Entry")),
    operation(Op::IndividualDelete, Delete, "/api/v1/individuals/{name}", "Delete an individual", WRITTEN),
    operation(Op::IndividualWatch, Get, "/api/v1/individuals/{name}/watch", "What changes in it, as it comes", Events).query(&["since"]),
    operation(Op::SetPassword, Put, "/api/v1/individuals/{name}/password", "Set a password", WRITTEN).body("NewPassword"),
    operation(Op::SetIndividualRemark, Put, "/api/v1/individuals/{name}/remark", "Set the remark", WRITTEN).body("Remark"),
    operation(Op::SetSites, Put, "/api/v1/individuals/{name}/sites", "Set the servers of the inbox, the first one first", WRITTEN).body("Sites"),
    operation(Op::SetForward, Put, "/api/v1/individuals/{name}/forward", "Set where mail goes instead; empty for nowhere else", WRITTEN).body("Forward"),
    operation(Op::AliasAdd, Put, "/api/v1/individuals/{name}/aliases/{alias}", "One more name", WRITTEN),
    operation(Op::AliasRemove, Delete, "/api/v1/individuals/{name}/aliases/{alias}", "One name fewer", WRITTEN),
    operation(Op::GroupCreate, Post, "/api/v1/groups", "Create a group", WRITTEN).body("NewGroup"),
    operation(Op::Group, Get, "/api/v1/groups/{name}", "One group", Json("Entry")),
    operation(Op::GroupDelete, Delete, "/api/v1/groups/{name}", "Delete a group", WRITTEN),
    operation(Op::GroupWatch, Get, "/api/v1/groups/{name}/watch", "What changes in it, as it comes", Events).query(&["since"]),
    operation(Op::SetGroupRemark, Put, "/api/v1/groups/{name}/remark", "Set the remark", WRITTEN).body("Remark"),
    operation(Op::List, Get, "/api/v1/groups/{name}/lists/{list}", "Its members, owners or friends, in pages", Json("Members")).query(&["after", "limit"]),
    operation(Op::ListAdd, Put, "/api/v1/groups/{name}/lists/{list}/{member}", "One more in a list: a name, *@registry or *", WRITTEN),
    operation(Op::ListRemove, Delete, "/api/v1/groups/{name}/lists/{list}/{member}", "One fewer", WRITTEN),
    operation(Op::Check, Get, "/api/v1/groups/{name}/check", "Is somebody in a list, over nested groups and registries? Can't tell is 503", Json("Check")).query(&["who", "list"]),
    operation(Op::Checks, Post, "/api/v1/groups/{name}/checks", "The same for many; null where it can't be told", Json("CheckAnswers")).body("Checks"),
    operation(Op::Join, Post, "/api/v1/groups/{name}/join", "Join a group whose friend you are", WRITTEN).body("Empty"),
    operation(Op::Leave, Post, "/api/v1/groups/{name}/leave", "Leave a group", WRITTEN).body("Empty"),
    operation(Op::Servers, Get, "/api/v1/servers", "The servers", Json("Servers")),
    operation(Op::Status, Get, "/api/v1/status", "How this server is", Json("Status")),
    operation(Op::Trace, Get, "/api/v1/messages/{message}", "What this server knows of a message", Json("Trace")),
    operation(Op::Inbox, Get, "/api/v1/inboxes/{name}", "The messages in an inbox", Json("Inbox")),
    operation(Op::InboxRead, Get, "/api/v1/inboxes/{name}/{message}", "A message, as it was deposited", Message),
    operation(Op::InboxDelete, Delete, "/api/v1/inboxes/{name}/{message}", "Delete a message", WRITTEN),
];
