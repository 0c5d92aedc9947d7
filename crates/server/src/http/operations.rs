//! Every operation of the API, once: the routes and the OpenAPI document are both made of this table,
//! so neither can have one that the other has not.

use grapevine_model::EntryKind;

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

/// What comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// No body.
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
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
    RegistrySeen,
    HolderAdd,
    HolderRemove,
    Number,
    Conflicts,
    Dangling,
    DanglingRemove,
    Compare,
    Import,
    ConflictDelete,
    ConflictRename,
    IndividualCreate,
    Individual,
    IndividualDelete,
    IndividualWatch,
    RenameIndividual,
    IndividualFormerRemove,
    IndividualMemberOf,
    SetPassword,
    AppPasswords,
    AppPasswordCreate,
    AppPasswordRemove,
    SetQuota,
    ServiceRegister,
    ServiceDeregister,
    SetIndividualRemark,
    SetSites,
    SetForward,
    AliasAdd,
    AliasRemove,
    GroupCreate,
    Group,
    GroupDelete,
    GroupWatch,
    RenameGroup,
    GroupFormerRemove,
    GroupMemberOf,
    SetGroupRemark,
    SetPosting,
    Held,
    HeldApprove,
    HeldReject,
    Resume,
    List,
    ListAdd,
    ListRemove,
    Check,
    Checks,
    Join,
    Leave,
    ServiceFind,
    Servers,
    Retire,
    Status,
    Submit,
    Trace,
    Queue,
    QueueChange,
    QueueChangeAll,
    DeadLetters,
    DeadLetterResubmit,
    DeadLetterDrop,
    Replay,
    Destinations,
    Unplug,
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
    /// The body.
    pub(super) takes: Takes,
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
        takes: Takes::Nothing,
        gives,
    }
}

impl Operation {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
    const fn body(self, schema: &'static str) -> Self {
        Self {
            takes: Takes::Json(schema),
            ..self
        }
    }
    const fn message(self) -> Self {
        Self {
            takes: Takes::Message,
            ..self
        }
    }

    /// The kind of entry that its path names.
    pub(super) fn kind(&self) -> Option<EntryKind> {
        if self.path.starts_with("/api/v1/individuals/{name}") {
            Some(EntryKind::Individual)
        } else if self.path.starts_with("/api/v1/groups/{name}") {
            Some(EntryKind::Group)
        } else {
            None
        }
    }

    /// Whether it changes one entry, which its path names.
    pub(super) fn changes_an_entry(&self) -> bool {
        self.kind().is_some() && self.verb != Verb::Get && self.op != Op::Checks
    }

    /// Whether it is a change that the core makes of an entry of either kind.
    pub(super) fn changes_either_kind(&self) -> bool {
        matches!(
            self.op,
            Op::IndividualDelete
                | Op::GroupDelete
                | Op::RenameIndividual
                | Op::RenameGroup
                | Op::IndividualFormerRemove
                | Op::GroupFormerRemove
                | Op::SetIndividualRemark
                | Op::SetGroupRemark
        )
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
    operation(Op::RegistrySeen, Get, "/api/v1/registries/{registry}/seen", "Which of its holders have a change durably: the stamp or token that it gave; without it, all that this server has", Json("SeenBy")).query(&["stamp"]),
    operation(Op::HolderAdd, Put, "/api/v1/registries/{registry}/holders/{server}", "One holder more", WRITTEN),
    operation(Op::HolderRemove, Delete, "/api/v1/registries/{registry}/holders/{server}", "One holder fewer", WRITTEN),
    operation(Op::Number, Get, "/api/v1/registries/{registry}/numbers/{number}", "The entry whose number for POSIX systems this is", Json("Entry")),
    operation(Op::Conflicts, Get, "/api/v1/registries/{registry}/conflicts", "Entries that stand aside because an earlier one has their name", Json("Conflicts")).query(&["after", "limit"]),
    operation(Op::Dangling, Get, "/api/v1/registries/{registry}/dangling", "Members of its groups that point at nobody", Json("DanglingMembers")).query(&["after", "limit"]),
    operation(Op::DanglingRemove, Delete, "/api/v1/registries/{registry}/dangling", "Remove those of such a page that surely point at nobody", WRITTEN).query(&["after", "limit"]),
    operation(Op::Compare, Post, "/api/v1/registries/{registry}/compare", "Compare its copies cell by cell, and mend what differs", Json("Compared")).body("Empty"),
    operation(Op::Import, Post, "/api/v1/registries/{registry}/import", "Many entries are to be there: what is there is left, what is missing is added", Json("ImportOutcomes")).body("ImportEntries"),
    operation(Op::ConflictDelete, Delete, "/api/v1/conflicts/{name}/{incarnation}", "Delete an entry that stands aside", WRITTEN),
    operation(Op::ConflictRename, Post, "/api/v1/conflicts/{name}/{incarnation}/rename", "Give an entry that stands aside a name of its own", WRITTEN).body("NewName"),
    operation(Op::IndividualCreate, Post, "/api/v1/individuals", "Create an individual", WRITTEN).body("NewIndividual"),
    operation(Op::Individual, Get, "/api/v1/individuals/{name}", "One individual", Json("Entry")),
    operation(Op::IndividualDelete, Delete, "/api/v1/individuals/{name}", "Delete an individual", WRITTEN),
    operation(Op::IndividualWatch, Get, "/api/v1/individuals/{name}/watch", "What changes in it, as it comes", Events).query(&["since"]),
    operation(Op::RenameIndividual, Post, "/api/v1/individuals/{name}/rename", "Give it another name; the old one leads to it until somebody else gets that", WRITTEN).body("NewName"),
    operation(Op::IndividualFormerRemove, Delete, "/api/v1/individuals/{name}/former/{former}", "A former name leads to it no longer", WRITTEN),
    operation(Op::IndividualMemberOf, Get, "/api/v1/individuals/{name}/member-of", "The groups that it is in, of all registries; by closure unless depth is direct", Json("Members")).query(&["list", "depth", "after", "limit"]),
    operation(Op::SetPassword, Put, "/api/v1/individuals/{name}/password", "Set a password", WRITTEN).body("NewPassword"),
    operation(Op::AppPasswords, Get, "/api/v1/individuals/{name}/app-passwords", "Its app passwords, without their secrets", Json("AppPasswords")),
    operation(Op::AppPasswordCreate, Post, "/api/v1/individuals/{name}/app-passwords", "One more app password: it is told this once", Json("AppPassword")).body("NewAppPassword"),
    operation(Op::AppPasswordRemove, Delete, "/api/v1/individuals/{name}/app-passwords/{id}", "One app password fewer", WRITTEN),
    operation(Op::SetQuota, Put, "/api/v1/individuals/{name}/quota", "Set how much the inbox may hold; null for no limit", WRITTEN).body("Quota"),
    operation(Op::ServiceRegister, Put, "/api/v1/individuals/{name}/connect-sites/{door}", "Register the places where a protocol is spoken, in place of those before; say it again before the lease ends", WRITTEN).body("Service"),
    operation(Op::ServiceDeregister, Delete, "/api/v1/individuals/{name}/connect-sites/{door}", "It is spoken nowhere any more", WRITTEN),
    operation(Op::SetIndividualRemark, Put, "/api/v1/individuals/{name}/remark", "Set the remark", WRITTEN).body("Remark"),
    operation(Op::SetSites, Put, "/api/v1/individuals/{name}/sites", "Set the servers of the inbox, the first one first", WRITTEN).body("Sites"),
    operation(Op::SetForward, Put, "/api/v1/individuals/{name}/forward", "Set where mail goes instead; empty for nowhere else", WRITTEN).body("Forward"),
    operation(Op::AliasAdd, Put, "/api/v1/individuals/{name}/aliases/{alias}", "One more name", WRITTEN),
    operation(Op::AliasRemove, Delete, "/api/v1/individuals/{name}/aliases/{alias}", "One name fewer", WRITTEN),
    operation(Op::GroupCreate, Post, "/api/v1/groups", "Create a group", WRITTEN).body("NewGroup"),
    operation(Op::Group, Get, "/api/v1/groups/{name}", "One group", Json("Entry")),
    operation(Op::GroupDelete, Delete, "/api/v1/groups/{name}", "Delete a group", WRITTEN),
    operation(Op::GroupWatch, Get, "/api/v1/groups/{name}/watch", "What changes in it, as it comes", Events).query(&["since"]),
    operation(Op::RenameGroup, Post, "/api/v1/groups/{name}/rename", "Give it another name; the old one leads to it until somebody else gets that", WRITTEN).body("NewName"),
    operation(Op::GroupFormerRemove, Delete, "/api/v1/groups/{name}/former/{former}", "A former name leads to it no longer", WRITTEN),
    operation(Op::GroupMemberOf, Get, "/api/v1/groups/{name}/member-of", "The groups that it is in, of all registries; by closure unless depth is direct", Json("Members")).query(&["list", "depth", "after", "limit"]),
    operation(Op::SetPosting, Put, "/api/v1/groups/{name}/posting", "Set who may post to it", WRITTEN).body("Posting"),
    operation(Op::Held, Get, "/api/v1/groups/{name}/held", "What it holds for its owners, if it is moderated", Json("HeldPosts")),
    operation(Op::HeldApprove, Post, "/api/v1/groups/{name}/held/{message}/approve", "A held message goes on as if it had been posted now", WRITTEN).body("Empty"),
    operation(Op::HeldReject, Post, "/api/v1/groups/{name}/held/{message}/reject", "A held message goes back to its sender", WRITTEN).body("Rejection"),
    operation(Op::Resume, Delete, "/api/v1/groups/{name}/suspended/{member}", "Copies go to an outside member again whose address had failed", WRITTEN),
    operation(Op::SetGroupRemark, Put, "/api/v1/groups/{name}/remark", "Set the remark", WRITTEN).body("Remark"),
    operation(Op::List, Get, "/api/v1/groups/{name}/lists/{list}", "Its members, owners or friends, in pages", Json("Members")).query(&["after", "limit"]),
    operation(Op::ListAdd, Put, "/api/v1/groups/{name}/lists/{list}/{member}", "One more in a list: a name, *@registry or *", WRITTEN),
    operation(Op::ListRemove, Delete, "/api/v1/groups/{name}/lists/{list}/{member}", "One fewer", WRITTEN),
    operation(Op::Check, Get, "/api/v1/groups/{name}/check", "Is somebody in a list, over nested groups and registries? Can't tell is 503", Json("Check")).query(&["who", "list"]),
    operation(Op::Checks, Post, "/api/v1/groups/{name}/checks", "The same for many; null where it can't be told", Json("CheckAnswers")).body("Checks"),
    operation(Op::Join, Post, "/api/v1/groups/{name}/join", "Join a group whose friend you are", WRITTEN).body("Empty"),
    operation(Op::Leave, Post, "/api/v1/groups/{name}/leave", "Leave a group", WRITTEN).body("Empty"),
    operation(Op::ServiceFind, Get, "/api/v1/services/{name}", "Where a service is now: the live places of an instance, or of a pool; 304 if the version known still holds", Json("Located")).query(&["door", "known"]),
    operation(Op::Servers, Get, "/api/v1/servers", "The servers", Json("Servers")),
    operation(Op::Retire, Post, "/api/v1/servers/{server}/retire", "Relieve a server of all it has; then it leaves", WRITTEN).body("Empty"),
    operation(Op::Status, Get, "/api/v1/status", "How this server is", Json("Status")),
    operation(Op::Submit, Post, "/api/v1/messages", "Hand in a message for these recipients: it will be delivered, or explained to its sender. Under the same id it is the same message, however often it is sent", Json("Accepted")).query(&["to", "from", "id"]).message(),
    operation(Op::Trace, Get, "/api/v1/messages/{message}", "What this server knows of a message", Json("Trace")),
    operation(Op::Queue, Get, "/api/v1/queue", "The recipients that wait at this server, with reasons and next times; for operators and owners of gv", Json("Queue")).query(&["message", "after", "limit"]),
    operation(Op::QueueChangeAll, Post, "/api/v1/queue", "Retry or release all that waits at this server", Json("QueueChanged")).body("QueueChange"),
    operation(Op::QueueChange, Post, "/api/v1/queue/{message}", "Retry, hold, release, refuse or drop a message that waits at this server", Json("QueueChanged")).body("QueueChange"),
    operation(Op::DeadLetters, Get, "/api/v1/dead-letters", "Reports that led nowhere, kept at this server", Json("DeadLetters")).query(&["after", "limit"]),
    operation(Op::DeadLetterResubmit, Post, "/api/v1/dead-letters/{message}/resubmit", "Deliver a dead letter after all", Json("QueueChanged")).body("Resubmit"),
    operation(Op::DeadLetterDrop, Delete, "/api/v1/dead-letters/{message}", "Forget a dead letter", Json("QueueChanged")),
    operation(Op::Replay, Post, "/api/v1/replay", "Deliver copies once more that this server keeps after delivery: after next, as long as there is one", Json("Replayed")).body("Replay"),
    operation(Op::Destinations, Get, "/api/v1/destinations", "The other mail systems that there is mail for at this server, and how they are", Json("Destinations")),
    operation(Op::Unplug, Get, "/api/v1/servers/{server}/unplug", "What this server knows would be lost or delayed if that one died now", Json("Unplug")),
    operation(Op::Inbox, Get, "/api/v1/inboxes/{name}", "The messages in an inbox", Json("Inbox")),
    operation(Op::InboxRead, Get, "/api/v1/inboxes/{name}/{message}", "A message, as it was deposited", Message),
    operation(Op::InboxDelete, Delete, "/api/v1/inboxes/{name}/{message}", "Delete a message", WRITTEN),
];
