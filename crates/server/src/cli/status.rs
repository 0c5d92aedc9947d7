//! `grapevine status`: all servers at once, and whether their copies agree.
//!
//! A server that does not answer is shown as down, never left out; what it would
//! have said about a registry is unknown, never "agrees".

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_model::{
    PeerView, RegistryName, Reply, Request, ServerName, ServerRole, ServerStatus,
};
use serde_json::{Value, json};

use super::Globals;
use super::output::{Table, print_json, printable, size, span};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// A server that takes longer is shown as down.
const LIMIT: Duration = Duration::from_secs(2);

/// How the servers are.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Print the servers' addresses and the fingerprints of their keys, and ask nothing more.
    #[arg(long)]
    keys: bool,
}

/// One server's answer.
struct Answer {
    server: ServerName,
    status: Result<ServerStatus, String>,
}

/// What all answers say about one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RegistryState {
    entries: u64,
    digests: BTreeMap<ServerName, u64>,
}

/// Whether copies agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreement {
    Yes,
    No,
}

impl RegistryState {
    fn agreement(&self) -> Agreement {
        let mut digests = self.digests.values();
        let first = digests.next();
        match digests.all(|digest| Some(digest) == first) {
            true => Agreement::Yes,
            false => Agreement::No,
        }
    }
}

/// Asks and prints.
pub(super) async fn run(args: StatusArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Anybody).await?;
    if args.keys {
        print_keys(&session);
        return Ok(());
    }
    let answers = ask(&session).await?;
    let registries = registries(&answers);
    if session.json {
        print_json(&as_json(&answers, &registries));
    } else {
        print(&answers, &registries);
    }
    if answers.iter().all(|answer| answer.status.is_err()) {
        return Err(Failure::unavailable("no server answers"));
    }
    Ok(())
}

/// What `grapevine login --pin` and a first contact's note are compared with.
fn print_keys(session: &Session) {
    let mut servers = session.user.servers();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    if session.json {
        let servers = servers.iter().map(|server| {
            json!({
                "server": server.name,
                "address": server.address,
                "fingerprint": server.key.fingerprint().to_string(),
            })
        });
        print_json(&servers.collect());
        return;
    }
    let mut table = Table::new(&["server", "address", "fingerprint of its key"]);
    for server in servers {
        table.row([
            server.name.to_string(),
            server.address,
            server.key.fingerprint().to_string(),
        ]);
    }
    table.print();
}

async fn ask(session: &Session) -> Result<Vec<Answer>, Failure> {
    let answers = session.user.ask_each(&Request::Status, LIMIT).await;
    let mut answers: Vec<Answer> = answers
        .into_iter()
        .map(|(server, answer)| Answer {
            server,
            status: match answer {
                Ok(Reply::Status(status)) => Ok(*status),
                Ok(_) => Err(odd().why),
                Err(refusal) => Err(refusal.why),
            },
        })
        .collect();
    answers.sort_by(|a, b| a.server.cmp(&b.server));
    if answers.is_empty() {
        return Err(Failure::unavailable("no server is known"));
    }
    Ok(answers)
}

fn registries(answers: &[Answer]) -> BTreeMap<RegistryName, RegistryState> {
    let mut all: BTreeMap<RegistryName, RegistryState> = BTreeMap::new();
    for status in answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok())
    {
        for (registry, entries, digest) in &status.registries {
            let state = all.entry(registry.clone()).or_insert(RegistryState {
                entries: 0,
                digests: BTreeMap::new(),
            });
            state.entries = state.entries.max(*entries);
            state.digests.insert(status.server.clone(), *digest);
        }
    }
    all
}

fn print(answers: &[Answer], registries: &BTreeMap<RegistryName, RegistryState>) {
    let mut table = Table::new(&[
        "server",
        "is",
        "role",
        "registries",
        "mailboxes",
        "mail",
        "queue",
        "oldest",
        "deputy for",
        "peers up",
        "behind",
        "alarms",
    ]);
    for answer in answers {
        let server = answer.server.to_string();
        match &answer.status {
            Ok(status) => {
                let up = status.peers.iter().filter(|peer| peer.up).count();
                let queue = &status.queue;
                table.row([
                    server,
                    "up".to_owned(),
                    role(status.role).to_owned(),
                    match status.fetching.len() {
                        0 => status.registries.len().to_string(),
                        fetching => format!("{} (+{fetching} to come)", status.registries.len()),
                    },
                    status.mailboxes.to_string(),
                    size(status.storage.mail.octets),
                    queue.messages.to_string(),
                    match queue.messages {
                        0 => "-".to_owned(),
                        _ => span(queue.oldest_ms),
                    },
                    queue.deputy_for.to_string(),
                    format!("{up}/{}", status.peers.len()),
                    status
                        .peers
                        .iter()
                        .map(|peer| peer.behind)
                        .max()
                        .unwrap_or(0)
                        .to_string(),
                    status.alarms.len().to_string(),
                ]);
            }
            Err(_) => table.row([server, "DOWN".to_owned()]),
        }
    }
    table.print();
    for answer in answers {
        match &answer.status {
            Ok(status) => {
                for alarm in alarms(status) {
                    say(format_args!("{}: {}", answer.server, printable(&alarm)));
                }
            }
            Err(why) => say(format_args!("{}: {}", answer.server, printable(why))),
        }
    }
    say("");
    let mut table = Table::new(&["registry", "entries", "held by", "copies agree"]);
    for (registry, state) in registries {
        let holders: Vec<String> = state.digests.keys().map(ServerName::to_string).collect();
        table.row([
            registry.to_string(),
            state.entries.to_string(),
            holders.join(", "),
            agree(state).to_owned(),
        ]);
    }
    table.print();
}

fn agree(state: &RegistryState) -> &'static str {
    match (state.agreement(), state.digests.len()) {
        (Agreement::Yes, 1) => "only one copy",
        (Agreement::Yes, _) => "yes",
        (Agreement::No, _) => "NO (they are catching up, or cut off)",
    }
}

/// What a person should know: what the server says, and what its numbers say.
fn alarms(status: &ServerStatus) -> Vec<String> {
    let mut alarms = status.alarms.clone();
    let queue = &status.queue;
    if queue.without_deputy > 0 {
        alarms.push(format!(
            "{} accepted messages have no second copy yet",
            queue.without_deputy
        ));
    }
    if status.compare.quarantined > 0 {
        alarms.push(format!(
            "{} updates are kept apart: {}",
            status.compare.quarantined,
            status.compare.quarantine.join("; ")
        ));
    }
    if status.storage.disk_nearly_full {
        alarms
            .push("the disk is nearly full now: no new messages and changes are taken".to_owned());
    }
    if status.storage.full_mailboxes > 0 {
        alarms.push(format!(
            "{} inboxes are full",
            status.storage.full_mailboxes
        ));
    }
    if queue.dead_letters > 0 {
        alarms.push(format!("{} dead letters", queue.dead_letters));
    }
    alarms
}

fn role(role: ServerRole) -> &'static str {
    match role {
        ServerRole::Full => "full",
        ServerRole::Retiring => "retiring",
    }
}

fn as_json(answers: &[Answer], registries: &BTreeMap<RegistryName, RegistryState>) -> Value {
    let servers: Vec<Value> = answers
        .iter()
        .map(|answer| match &answer.status {
            Ok(status) => server_json(status),
            Err(why) => json!({ "server": answer.server, "up": false, "why": why }),
        })
        .collect();
    let registries: Vec<Value> = registries
        .iter()
        .map(|(registry, state)| {
            json!({
                "registry": registry,
                "entries": state.entries,
                "holders": state.digests.keys().collect::<Vec<_>>(),
                "agree": state.agreement() == Agreement::Yes,
            })
        })
        .collect();
    json!({ "servers": servers, "registries": registries })
}

pub(crate) fn server_json(status: &ServerStatus) -> Value {
    let registries: Vec<Value> = status
        .registries
        .iter()
        .map(|(registry, entries, digest)| {
            json!({ "registry": registry, "entries": entries, "digest": format!("{digest:016x}") })
        })
        .collect();
    let peers: Vec<Value> = status.peers.iter().map(peer_json).collect();
    json!({
        "server": status.server,
        "up": true,
        "role": role(status.role),
        "registries": registries,
        "fetching": status.fetching,
        "mailboxes": status.mailboxes,
        "queue": status.queue,
        "peers": peers,
        "alarms": status.alarms,
        "compare": status.compare,
        "tombstones": status.tombstones,
        "storage": status.storage,
    })
}

fn peer_json(peer: &PeerView) -> Value {
    json!({
        "server": peer.server,
        "up": peer.up,
        "silent_ms": peer.silent_ms,
        "behind": peer.behind,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use grapevine_model::QueueView;

    fn answer(server: &str, digest: Option<u64>) -> Answer {
        let name: ServerName = server.parse().unwrap();
        Answer {
            server: name.clone(),
            status: digest
                .map(|digest| ServerStatus {
                    server: name,
                    role: ServerRole::Full,
                    registries: vec![("pa.example".parse().unwrap(), 3, digest)],
                    mailboxes: 2,
                    queue: QueueView::default(),
                    peers: Vec::new(),
                    alarms: Vec::new(),
                    fetching: Vec::new(),
                    compare: Default::default(),
                    tombstones: grapevine_model::TombstoneView::default(),
                    storage: Default::default(),
                })
                .ok_or_else(|| "connection refused".to_owned()),
        }
    }

    #[test]
    fn copies_agree_only_where_all_digests_are_equal_and_a_lone_copy_is_called_so() {
        for (digests, expected) in [
            (&[Some(7), Some(7)][..], "yes"),
            (&[Some(7), Some(8)], "NO (they are catching up, or cut off)"),
            (&[Some(7), None], "only one copy"),
        ] {
            let answers: Vec<Answer> = digests
                .iter()
                .zip(["s1", "s2"])
                .map(|(digest, server)| answer(server, *digest))
                .collect();
            let registries = registries(&answers);
            let state = registries.values().next().unwrap();
            assert_eq!(agree(state), expected);
        }
    }

    #[test]
    fn a_server_that_is_down_stands_in_the_json_with_its_reason() {
        let answers = [answer("s1", Some(7)), answer("s2", None)];
        let value = as_json(&answers, &registries(&answers));
        assert_eq!(value["servers"][0]["up"], true);
        assert_eq!(value["servers"][1]["up"], false);
        assert_eq!(value["servers"][1]["why"], "connection refused");
        assert_eq!(value["registries"][0]["agree"], true);
    }
}
