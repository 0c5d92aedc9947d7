//! What a list costs two cores, with tables and a network that cost next to nothing: time, rows and octets for each recipient, and
//! the memory that a mailbox takes while nothing happens to it.
//!
//! No socket and no disk: what is measured here is the core's own work. Prints `key=value` lines, one a line. It is a benchmark: it judges
//! nothing, and no gate runs it.
//!
//! ```text
//! cargo bench -p grapevine-core --bench lists -- [--members N]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    dead_code,
    reason = "a benchmark measures time, stops at the first thing that it did not expect, and prints what it found"
)]

#[path = "../tests/it/asking.rs"]
mod asking;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "../tests/it/others.rs"]
mod others;

use std::collections::BTreeMap;
use std::time::Instant;

use grapevine_core::{Effect, Op, Start, Table};
use grapevine_model::{EntryKind, ImportedEntry, PeerMessage, Reply, Request, Speaker};

use crate::harness::{Cluster, name, recover, server};

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Entries, or members, of one import.
const IMPORTED: usize = 500;
/// Members whose copies are looked at, for what is written and sent; more would only be more of the same.
const LOOKED_AT: usize = 4_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments
        .iter()
        .position(|argument| argument == "--members");
    let members = at.map_or(50_000, |at| arguments[at + 1].parse().unwrap());
    what_it_takes(LOOKED_AT);
    how_long_it_takes(members);
}

/// A pair with one list of so many individuals.
fn filled(members: usize) -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.keep_effects = false;
    let all: Vec<String> = (0..members).map(|n| format!("member{n}@pa")).collect();
    for page in all.chunks(IMPORTED) {
        let entries = page
            .iter()
            .map(|member| entry(member, EntryKind::Individual));
        import(&mut cluster, entries.collect());
    }
    for page in all.chunks(IMPORTED) {
        let members = page.iter().map(|member| member.parse().unwrap());
        let group = ImportedEntry {
            members: members.collect(),
            ..entry("all^@pa", EntryKind::Group)
        };
        import(&mut cluster, vec![group]);
    }
    cluster.pass(3_000);
    cluster
}

fn entry(who: &str, kind: EntryKind) -> ImportedEntry {
    ImportedEntry::new(name(who), kind)
}

fn import(cluster: &mut Cluster, entries: Vec<ImportedEntry>) {
    let registry = "pa".parse().unwrap();
    let request = Request::Import { registry, entries };
    let Reply::Imported(imported) = cluster.ok("s1", Speaker::Operator, request) else {
        panic!("not imported")
    };
    assert!(imported.outcomes.iter().all(|o| o.left_out.is_empty()));
}

/// One message to the list, until all is settled.
fn send(cluster: &mut Cluster, text: &str) {
    cluster.submit("s1", "birrell@pa", &["all^@pa"], text);
    cluster.pass(3_000);
    cluster.assert_settled();
}

const ROUNDS: [(&str, &str); 2] = [
    ("new_mailboxes", "the first message"),
    ("mailboxes_there", "the second"),
];

/// Rows, octets, commits and words between servers.
fn what_it_takes(members: usize) {
    let mut cluster = filled(members);
    for (what, text) in ROUNDS {
        cluster.effects.clear();
        cluster.keep_effects = true;
        send(&mut cluster, text);
        cluster.keep_effects = false;
        let mut rows: BTreeMap<(String, Table), (usize, usize)> = BTreeMap::new();
        let (mut commits, mut words, mut pushed) = (0, 0, 0);
        for (at, effect) in &cluster.effects {
            match effect {
                Effect::Commit { ops, .. } => {
                    commits += 1;
                    for op in ops {
                        let (table, octets) = match op {
                            Op::Put { table, key, value } => (*table, key.len() + value.len()),
                            Op::Delete { table, key } => (*table, key.len()),
                            Op::AdoptBody { .. } | Op::DropBody { .. } => continue,
                        };
                        let sum = rows.entry((at.to_string(), table)).or_default();
                        sum.0 += 1;
                        sum.1 += octets;
                    }
                }
                Effect::Send { message, .. } if !matches!(message, PeerMessage::Beat(_)) => {
                    words += 1;
                    if let PeerMessage::Pushes(pushes) = message {
                        pushed += pushes.len();
                    }
                }
                _ => {}
            }
        }
        let each = |sum: usize| sum as f64 / members as f64;
        for at in ["s1", "s2"] {
            let of = rows.iter().filter(|((server, _), _)| server == at);
            let (count, octets) = of.fold((0, 0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1));
            println!("{what}_{at}_rows_each={:.2}", each(count));
            println!("{what}_{at}_octets_each={:.0}", each(octets));
        }
        for ((at, table), (count, octets)) in rows.iter().filter(|(_, sum)| each(sum.0) > 0.1) {
            let (count, octets) = (each(*count), each(*octets));
            println!("{what}_{at}_{table:?}_each={count:.2} rows, {octets:.0} octets");
        }
        println!("{what}_commits={commits}");
        println!("{what}_words_between_servers={words}");
        println!("{what}_pushes_each={:.2}", each(pushed));
    }
}

/// Time, and memory.
fn how_long_it_takes(members: usize) {
    let mut cluster = filled(members);
    let registry_only = idle_bytes(&cluster);
    for (what, text) in ROUNDS {
        let (begun, busy) = (Instant::now(), busy_ms());
        send(&mut cluster, text);
        let (took, busy) = (begun.elapsed(), busy_ms() - busy);
        println!("{what}_per_s={:.0}", members as f64 / took.as_secs_f64());
        println!(
            "{what}_processor_ns_each={}",
            busy * 1_000_000 / members as u64
        );
    }
    let with_mailboxes = idle_bytes(&cluster);
    println!("idle_octets_of_a_member={}", registry_only / members as u64);
    println!(
        "idle_octets_of_a_mailbox={}",
        with_mailboxes.saturating_sub(registry_only) / members as u64
    );
}

/// What another server that starts from the first one's disk takes in memory.
fn idle_bytes(cluster: &Cluster) -> u64 {
    let disk = cluster.nodes[&server("s1")].disk.clone();
    let before = resident_bytes();
    let another = recover("s1", Start::Resume, disk, cluster.now).unwrap();
    let grown = resident_bytes().saturating_sub(before);
    // It stays: what it gave back would hide what the next one takes.
    std::mem::forget(another);
    grown
}

/// What the system says that this process has had of its processors, in steps of ten.
fn busy_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields
        .map(|ticks| ticks.parse::<u64>().unwrap_or_default() * 10)
        .sum()
}

/// What the system says that this process has in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
