//! The permission table of docs/access.md as a matrix: every request and every change of an entry,
//! by every kind of speaker, at a holder and passed on by a server that is none. What is refused
//! changes nothing on any disk.
//!
//! A new request or change does not compile here before it has a row, and fails before it has a
//! sample. It must never have a row that everybody may by way of "anything else".

use std::collections::BTreeSet;
use std::fmt::Debug;

use grapevine_core::Table;
use grapevine_model::{
    EntryChange, ErrorKind, GroupList, Name, PolicyChange, Request, Speaker, WatchTarget,
};

use crate::harness::{Cluster, server};
use crate::matrix_samples::{cast, samples};

/// Everybody there is, in the order of the cast.
pub(crate) const ALL: &[&str] = &[
    "nobody",
    "stranger",
    "member",
    "friend",
    "owner",
    "registrar",
    "registrar elsewhere",
    "founder",
    "itself",
    // Was registrar, owner, friend and member, and is deleted: a login that was left open.
    "ghost",
    // Whoever has the ghost's name now.
    "namesake",
    "server",
    "operator",
];
/// Whoever has a machine of the Grapevine in hand has its disk, too.
const SYSTEM: &[&str] = &["server", "operator"];
const LIVING: &[&str] = &[
    "stranger",
    "member",
    "friend",
    "owner",
    "registrar",
    "registrar elsewhere",
    "founder",
    "itself",
    "namesake",
];

/// Whose right it is.
enum Right {
    Everybody,
    LoggedIn,
    /// Logged in, and still there: what goes on for longer looks again.
    Living,
    /// These, and the system.
    Only(&'static [&'static str]),
    /// These, and not even the system: it has no self that could do it, or there is another way.
    Exactly(&'static [&'static str]),
}

impl Right {
    fn has(&self, role: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::LoggedIn => role != "nobody",
            Self::Living => role != "nobody" && role != "ghost",
            Self::Only(roles) => roles.contains(&role) || SYSTEM.contains(&role),
            Self::Exactly(roles) => roles.contains(&role),
        }
    }
}

/// The right to each change of an entry.
fn right_to_change(name: &Name, change: &EntryChange) -> Right {
    match change {
        EntryChange::Password(_)
        | EntryChange::Forward(_)
        | EntryChange::ConnectSites { .. }
        | EntryChange::AppPasswordRemove(_) => Right::Only(&["registrar", "itself"]),
        EntryChange::AppPasswordAdd(_) => Right::Only(&["itself"]),
        EntryChange::Sites(_)
        | EntryChange::AliasAdd(_)
        | EntryChange::AliasRemove(_)
        | EntryChange::Rename(_)
        | EntryChange::FormerRemove(_)
        | EntryChange::Quota(_) => Right::Only(&["registrar"]),
        // The holders of a registry are changed by their own requests.
        EntryChange::ListAdd(GroupList::Members, _)
        | EntryChange::ListRemove(GroupList::Members, _)
            if name.registry().as_str() == "gv" =>
        {
            Right::Exactly(&["server"])
        }
        // Oneself: friends come, whoever is there goes.
        EntryChange::ListAdd(GroupList::Members, who) if who.to_string() == "friend@pa" => {
            Right::Only(&["owner", "friend"])
        }
        EntryChange::ListRemove(GroupList::Members, who) if who.to_string() == "member@pa" => {
            Right::Only(&["owner", "member"])
        }
        // The ghost's membership is nobody's; its namesake may take the name off the list.
        EntryChange::ListRemove(GroupList::Members, who) if who.to_string() == "ghost@pa" => {
            Right::Only(&["owner", "namesake"])
        }
        EntryChange::Remark(_)
        | EntryChange::Resume(_)
        | EntryChange::Posting(_)
        | EntryChange::ListAdd(..)
        | EntryChange::ListRemove(..) => match name.to_string().as_str() {
            "g^@es" => Right::Only(&["owner"]),
            // Registrars are the owners of `R@gv`, which has no registrars above them.
            "es@gv" => Right::Only(&["registrar"]),
            "gv@gv" => Right::Only(&["founder"]),
            // A group without owners, and individuals.
            "lone^@es" | "n@es" => Right::Only(&["registrar"]),
            other => panic!("no row for {other}"),
        },
        // Of a group with owners the registrars may too: somebody must, when all owners are away.
        EntryChange::Judge { .. } => Right::Only(&["owner", "registrar"]),
        // The token is the right, and the sample's is none.
        EntryChange::Unsubscribe(_) => Right::Exactly(&[]),
        EntryChange::Join => Right::Exactly(&["friend", "owner"]),
        EntryChange::Leave => Right::Exactly(LIVING),
    }
}

/// The right to each request about the registry `es` and what is in it.
fn right(request: &Request) -> Right {
    match request {
        Request::Change { name, change } => right_to_change(name, change),
        Request::RegistryList
        | Request::RegistryShow { .. }
        | Request::RegistrySeen { .. }
        | Request::Check { .. }
        | Request::CheckMany { .. }
        | Request::CheckRecipient { .. }
        | Request::Find { .. }
        | Request::Servers
        | Request::Status => Right::Everybody,
        // The password is the right.
        Request::Authenticate { .. } => Right::Everybody,
        // Nobody: a server makes these, and the core refuses them for what they are.
        Request::TicketCreate { .. } | Request::AppPasswordCreate { .. } => Right::Everybody,
        Request::Show { .. }
        | Request::Members { .. }
        | Request::Entries { .. }
        | Request::EntryOfNumber { .. }
        | Request::MemberOf { .. } => Right::LoggedIn,
        Request::Watch { target, .. } => match target {
            WatchTarget::Entry(_) => Right::Living,
            WatchTarget::Registry(_) => Right::Only(&["registrar"]),
        },
        // `gv` and `ms` have their own requests.
        Request::IndividualCreate { name, .. }
        | Request::GroupCreate { name, .. }
        | Request::Delete { name }
            if name.registry().is_system() =>
        {
            Right::Exactly(&[])
        }
        Request::IndividualCreate { .. }
        | Request::GroupCreate { .. }
        | Request::Delete { .. }
        | Request::Import { .. }
        | Request::Conflicts { .. }
        | Request::Aside { .. }
        | Request::Dangling { .. }
        | Request::DanglingRemove { .. } => Right::Only(&["registrar"]),
        Request::RegistryPolicy {
            change: PolicyChange::Offer(_) | PolicyChange::Withdraw(_) | PolicyChange::Quota(_),
            ..
        } => Right::Only(&["founder"]),
        Request::RegistryPolicy {
            change:
                PolicyChange::Alone(_)
                | PolicyChange::Stale(_)
                | PolicyChange::Scram(_)
                | PolicyChange::CatchAll(_)
                | PolicyChange::OverQuota(_),
            ..
        }
        | Request::HolderAdd { .. }
        | Request::HolderRemove { .. }
        | Request::Compare { .. } => Right::Only(&["registrar", "founder"]),
        Request::RegistryCreate { .. }
        | Request::RegistryDelete { .. }
        | Request::TokenCreate { .. }
        | Request::Queue(_)
        | Request::Retire { .. } => Right::Only(&["founder"]),
        Request::Held { .. } => Right::Only(&["owner", "registrar"]),
        Request::AppPasswords { .. } => Right::Only(&["registrar", "itself"]),
        Request::MaySendAs { .. }
        | Request::InboxList { .. }
        | Request::InboxDelete { .. }
        | Request::Mailbox { .. }
        | Request::Sieve { .. } => Right::Only(&["itself"]),
        Request::Vouch { .. } | Request::ScramBegin { .. } | Request::ScramFinish { .. } => {
            Right::Only(&[])
        }
        // The operator of that very server.
        Request::RotateKey { .. } => Right::Exactly(&["operator"]),
        // The token is the right, and the sample's is none.
        Request::Join { .. } => Right::Exactly(&[]),
        // From a member to `n@es`.
        Request::Trace { .. } => Right::Only(&["member", "itself", "registrar", "founder"]),
    }
}

/// How it ends for the first who may.
fn end(request: &Request) -> Result<(), ErrorKind> {
    match request {
        Request::TicketCreate { .. } | Request::AppPasswordCreate { .. } => Err(ErrorKind::Invalid),
        // No registry of the matrix has it on.
        Request::ScramBegin { .. } | Request::ScramFinish { .. } => {
            Err(ErrorKind::NotAuthenticated)
        }
        Request::Change {
            change: EntryChange::Judge { .. },
            ..
        }
        | Request::EntryOfNumber { .. }
        | Request::Aside { .. }
        | Request::Retire { .. } => Err(ErrorKind::NotFound),
        _ => Ok(()),
    }
}

/// What a refusal for want of a right looks like: of messages nobody else learns that they exist.
fn is_refused(request: &Request, kind: ErrorKind) -> bool {
    match request {
        Request::Trace { .. } => kind == ErrorKind::NotFound,
        // That nobody wants it is said as a wrong password is.
        Request::ScramBegin { .. } | Request::ScramFinish { .. } => kind == ErrorKind::NotAllowed,
        _ => matches!(kind, ErrorKind::NotAllowed | ErrorKind::NotAuthenticated),
    }
}

type Disk = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// All that is on the disks of both servers but their clocks.
fn disks(cluster: &Cluster) -> Vec<Disk> {
    ["s1", "s2"]
        .into_iter()
        .map(|at| {
            let rows = cluster.nodes[&server(at)].disk.0.lock().unwrap();
            rows.iter()
                .filter(|((table, _), _)| *table != Table::Meta)
                .map(|((table, key), value)| (*table, key.clone(), value.clone()))
                .collect()
        })
        .collect()
}

/// Tries one request by everybody, in a world of its own.
fn try_row(request: &Request) {
    let (mut cluster, speakers) = cast();
    let (may, may_not): (Vec<(&str, Speaker)>, Vec<_>) = speakers
        .into_iter()
        .partition(|(role, _)| right(request).has(role));
    let before = disks(&cluster);
    for (role, speaker) in may_not {
        for at in ["s1", "s2"] {
            let kind = cluster.refused(at, speaker.clone(), request.clone());
            assert!(
                is_refused(request, kind),
                "{role} at {at}: {request:?}: {kind:?}"
            );
        }
    }
    assert!(
        disks(&cluster) == before,
        "was refused, and yet wrote: {request:?}"
    );
    let mut first = true;
    for (role, speaker) in may {
        // Done once, it may well be refused as done, but not for want of a right.
        for at in ["s1", "s2"] {
            let result = cluster.ask(at, speaker.clone(), request.clone());
            let kind = result.map(|_| ()).map_err(|refusal| refusal.kind);
            if first {
                assert_eq!(kind, end(request), "{role} at {at}: {request:?}");
            }
            // A server that has nothing of a message says so to everybody.
            let hidden = matches!(request, Request::Trace { .. }) && at == "s2";
            assert!(
                hidden || kind.is_ok() || kind.is_err_and(|kind| !is_refused(request, kind)),
                "{role} at {at}: {request:?}: {kind:?}"
            );
            first = false;
        }
    }
}

#[test]
fn each_may_ask_what_the_table_says_and_no_more() {
    let samples = samples();
    let requests = samples
        .iter()
        .filter(|request| !matches!(request, Request::Change { .. }));
    for request in requests {
        try_row(request);
    }
}

#[test]
fn each_may_change_what_the_table_says_and_no_more() {
    let samples = samples();
    let changes = samples
        .iter()
        .filter(|request| matches!(request, Request::Change { .. }));
    for request in changes {
        try_row(request);
    }
}

/// The variants of an enum, as its source says.
fn variants(of: &str) -> BTreeSet<String> {
    let source = include_str!("../../../model/src/request.rs");
    let (_, rest) = source.split_once(&format!("pub enum {of} {{\n")).unwrap();
    let (inside, _) = rest.split_once("\n}\n").unwrap();
    inside
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(variant)
        .collect()
}

/// The name of a variant, at the beginning of its text.
fn variant(text: &str) -> String {
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

fn shown(value: &impl Debug) -> String {
    variant(&format!("{value:?}"))
}

#[test]
fn every_request_and_every_change_has_a_sample() {
    let samples = samples();
    let requests: BTreeSet<String> = samples.iter().map(shown).collect();
    assert_eq!(requests, variants("Request"));
    let changes: BTreeSet<String> = samples
        .iter()
        .filter_map(|request| match request {
            Request::Change { change, .. } => Some(shown(change)),
            _ => None,
        })
        .collect();
    assert_eq!(changes, variants("EntryChange"));
}
