//! Lists of any size: what a page costs, where it goes on after a crash, and who waits for whom.

use grapevine_core::{Effect, Op, Start, Table};
use grapevine_model::{
    EntryKind, ImportedEntry, Member, MessageId, PeerMessage, Reply, Request, ServerName, Speaker,
};

use crate::harness::{Cluster, name, server};

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

/// Individuals `{prefix}0@pa`..., at these sites (none: as the registry chooses).
fn individuals(cluster: &mut Cluster, prefix: &str, count: usize, sites: &[&str]) -> Vec<String> {
    let members: Vec<String> = (0..count).map(|n| format!("{prefix}{n}@pa")).collect();
    for page in members.chunks(500) {
        let entries = page.iter().map(|member| ImportedEntry {
            sites: sites.iter().map(|site| server(site)).collect(),
            ..entry(member, EntryKind::Individual)
        });
        import(cluster, entries.collect());
    }
    members
}

fn group(cluster: &mut Cluster, group: &str, members: &[String]) {
    let all: Vec<Member> = members.iter().map(|m| m.parse().unwrap()).collect();
    for page in all.chunks(1_000) {
        let entry = ImportedEntry {
            members: page.to_vec(),
            ..entry(group, EntryKind::Group)
        };
        import(cluster, vec![entry]);
    }
}

fn each_has_it_once(cluster: &mut Cluster, at: &str, members: &[String], message: MessageId) {
    for member in members {
        assert_eq!(cluster.inbox(at, member), [message], "{member}");
    }
}

fn written(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key, .. } => key.len(),
        Op::AdoptBody { .. } | Op::DropBody { .. } => 0,
    }
}

/// What a server had done until it said yes: effects, and octets written.
fn until_the_yes(members: usize) -> (usize, usize) {
    let mut cluster = Cluster::new(2);
    cluster.keep_effects = false;
    let all = individuals(&mut cluster, "m", members, &[]);
    group(&mut cluster, "all^@pa", &all);
    cluster.pass(3_000);
    let speaker = cluster.login("birrell@pa");
    cluster.keep_effects = true;
    let from = Some("birrell@pa");
    let request = cluster.begin_submit("s1", speaker, from, &["all^@pa"], "hello all", None);
    cluster.pump();
    assert!(matches!(
        cluster.result_now(request),
        Some(Ok(Reply::Accepted { copies: 2, .. }))
    ));
    let effects = cluster.effects.iter();
    let yes = effects
        .clone()
        .position(|(_, effect)| matches!(effect, Effect::Reply { .. }))
        .unwrap();
    let written = effects.clone().take(yes).map(|(_, effect)| match effect {
        Effect::Commit { ops, .. } => ops.iter().map(written).sum(),
        _ => 0,
    });
    (yes, written.sum())
}

#[test]
fn the_yes_costs_the_same_for_a_list_of_ten_and_of_thirty_thousand() {
    let (few, few_octets) = until_the_yes(10);
    let (many, many_octets) = until_the_yes(30_000);
    assert_eq!(few, many, "effects before the yes");
    assert!(
        many_octets.abs_diff(few_octets) < 64,
        "{few_octets} octets for ten, {many_octets} for thirty thousand"
    );
}

/// The octets that custody and its pages took at most in one commit, and in all.
fn custody_octets(cluster: &Cluster) -> (usize, usize) {
    let of_custody = |op: &&Op| match op {
        Op::Put { table, .. } | Op::Delete { table, .. } => {
            matches!(table, Table::Custody | Table::Fanout | Table::Passed)
        }
        Op::AdoptBody { .. } | Op::DropBody { .. } => false,
    };
    let commits = cluster
        .effects
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Commit { ops, .. } => Some(ops.iter().filter(of_custody).map(written).sum()),
            _ => None,
        });
    let commits: Vec<usize> = commits.collect();
    (commits.iter().copied().max().unwrap(), commits.iter().sum())
}

#[test]
fn what_custody_writes_for_a_page_does_not_grow_with_the_list() {
    let run = |members: usize| {
        let mut cluster = Cluster::new(2);
        let all = individuals(&mut cluster, "m", members, &[]);
        group(&mut cluster, "all^@pa", &all);
        cluster.effects.clear();
        let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
        cluster.pass(10_000);
        each_has_it_once(&mut cluster, "s2", &all, message);
        custody_octets(&cluster)
    };
    let (few_most, few_all) = run(1_000);
    let (many_most, many_all) = run(4_000);
    assert!(
        many_most < few_most + 1_024,
        "{few_most} and {many_most} in one commit"
    );
    assert!(
        many_all < few_all * 4 + 4_096,
        "{few_all} and {many_all} in all"
    );
}

#[test]
fn a_body_goes_once_to_each_destination_however_many_recipients_it_has_there() {
    let mut cluster = Cluster::new(4);
    let mut all = individuals(&mut cluster, "a", 700, &["s2", "s3"]);
    all.extend(individuals(&mut cluster, "b", 700, &["s3", "s4"]));
    all.extend(individuals(&mut cluster, "c", 300, &["s4"]));
    group(&mut cluster, "all^@pa", &all);
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
    cluster.pass(20_000);
    let bodies = cluster
        .effects
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Send {
                to,
                message: PeerMessage::Body { message: of, .. },
            } if *of == message => Some(to.clone()),
            _ => None,
        });
    let mut to: Vec<ServerName> = bodies.collect();
    to.sort();
    // From the custodian to each, and at most once more from an inbox site to its partner.
    for site in ["s2", "s3", "s4"] {
        let times = to.iter().filter(|s| **s == server(site)).count();
        assert!(
            (1..=2).contains(&times),
            "{site} got the body {times} times"
        );
    }
    assert_eq!(to.iter().filter(|s| **s == server("s2")).count(), 1);
    each_has_it_once(&mut cluster, "s3", &all[..1_400], message);
    each_has_it_once(&mut cluster, "s4", &all[700..], message);
    cluster.assert_settled();
}

#[test]
fn a_server_killed_in_the_middle_of_a_list_goes_on_where_it_was() {
    let mut cluster = Cluster::new(2);
    let all = individuals(&mut cluster, "m", 3_000, &["s2"]);
    group(&mut cluster, "all^@pa", &all);
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
    // Two pages later.
    cluster.pass(2);
    let deposits = |cluster: &Cluster| {
        let sent = cluster.effects.iter().map(|(_, effect)| match effect {
            Effect::Send {
                message: PeerMessage::Deposit { inboxes, .. },
                ..
            } => inboxes.len(),
            _ => 0,
        });
        sent.sum::<usize>()
    };
    let before = deposits(&cluster);
    assert!(before > 0 && before < 2_000, "in the middle: {before}");
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(10_000);
    each_has_it_once(&mut cluster, "s2", &all, message);
    // The deputy asks after a minute whether it is over.
    cluster.pass(65_000);
    let sent = deposits(&cluster);
    assert!(
        sent <= 3_000 + before,
        "not from the beginning again: {sent} after {before}"
    );
    cluster.assert_settled();
}

/// Copies of a message that a server has put into mailboxes, counting each time that one was written.
fn copies_written(cluster: &Cluster, at: &str, message: MessageId) -> usize {
    let id = message.to_bytes();
    let is_copy = |op: &&Op| match op {
        Op::Put { table, key, .. } => {
            *table == Table::Cells && key.windows(id.len()).any(|part| part == id)
        }
        Op::Delete { .. } | Op::AdoptBody { .. } | Op::DropBody { .. } => false,
    };
    let of_server = cluster.effects.iter().filter(|(of, _)| *of == server(at));
    of_server
        .map(|(_, effect)| match effect {
            Effect::Commit { ops, .. } => ops.iter().filter(is_copy).count(),
            _ => 0,
        })
        .sum()
}

/// The check-points are the custodian's: what it costs that the deputy has none is a question for each page, and no copy is written twice.
#[test]
fn a_deputy_that_begins_a_list_again_writes_only_the_copies_that_are_lacking() {
    const MEMBERS: usize = 3_000;
    let mut cluster = Cluster::new(3);
    let all = individuals(&mut cluster, "m", MEMBERS, &["s2", "s3"]);
    group(&mut cluster, "all^@pa", &all);
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
    cluster.pass(2);
    let before = copies_written(&cluster, "s2", message);
    assert!(before > 0 && before < MEMBERS, "in the middle: {before}");
    cluster.kill("s1");
    cluster.pass(60_000);
    each_has_it_once(&mut cluster, "s2", &all, message);
    each_has_it_once(&mut cluster, "s3", &all, message);
    for at in ["s2", "s3"] {
        assert_eq!(copies_written(&cluster, at, message), MEMBERS, "at {at}");
    }
    let (most, octets) = custody_octets(&cluster);
    assert!(most < 64 * 1024, "{most} octets of custody in one commit");
    assert!(octets < MEMBERS * 256, "{octets} octets of custody in all");
}

#[test]
fn members_whose_site_is_away_wait_in_pages_and_the_others_do_not() {
    let mut cluster = Cluster::new(3);
    let there = individuals(&mut cluster, "there", 2_000, &["s1", "s2"]);
    let away = individuals(&mut cluster, "away", 2_000, &["s3"]);
    group(
        &mut cluster,
        "all^@pa",
        &[away.clone(), there.clone()].concat(),
    );
    cluster.kill("s3");
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
    cluster.pass(5_000);
    each_has_it_once(&mut cluster, "s2", &there, message);
    let Reply::Status(status) = cluster.ok("s1", Speaker::Operator, Request::Status) else {
        panic!("no status")
    };
    assert_eq!((status.queue.messages, status.queue.recipients), (1, 2_000));
    let request = Request::Trace { message };
    let Reply::Trace(trace) = cluster.ok("s1", Speaker::Operator, request) else {
        panic!("no trace")
    };
    let waits =
        |r: &&grapevine_model::TraceRecipient| r.name == name("all^@pa") && r.next_ms > Some(0);
    assert!(trace.recipients.iter().any(|r| waits(&r)), "{trace:?}");
    cluster.start("s3", Start::Resume);
    cluster.pass(60_000);
    each_has_it_once(&mut cluster, "s3", &away, message);
    cluster.assert_settled();
}

/// Once, a page waited for its patience to end when a later one had taken over whoever stood in both.
#[test]
fn whoever_is_on_two_lists_holds_up_neither() {
    let mut cluster = Cluster::new(2);
    let all = individuals(&mut cluster, "m", 200, &[]);
    for inner in ["one^@pa", "two^@pa", "three^@pa"] {
        group(&mut cluster, inner, &all);
    }
    let lists = ["one^@pa", "two^@pa", "three^@pa"].map(str::to_owned);
    group(&mut cluster, "top^@pa", &lists);
    // All three are under way together, until the other inbox site is back.
    cluster.kill("s2");
    let message = cluster.submit("s1", "birrell@pa", &["top^@pa"], "hello all");
    cluster.pass(500);
    cluster.start("s2", Start::Resume);
    cluster.pass(1_500);
    each_has_it_once(&mut cluster, "s2", &all, message);
    let Reply::Status(status) = cluster.ok("s1", Speaker::Operator, Request::Status) else {
        panic!("no status")
    };
    assert_eq!((status.queue.messages, status.queue.recipients), (0, 0));
}

/// Once, when more groups waited than there was room for recipients, each waited for the others.
#[test]
fn more_nested_groups_than_there_is_room_for_do_not_wait_for_each_other() {
    let mut cluster = Cluster::new(2);
    cluster.keep_effects = false;
    let all = individuals(&mut cluster, "m", 100, &[]);
    let mut groups = Vec::new();
    for n in 0..2_300usize {
        let inner = format!("g{n}^@pa");
        group(&mut cluster, &inner, &[all[n % all.len()].clone()]);
        groups.push(inner);
    }
    group(&mut cluster, "top^@pa", &groups);
    let message = cluster.submit("s1", "birrell@pa", &["top^@pa"], "hello all");
    cluster.pass(30_000);
    each_has_it_once(&mut cluster, "s2", &all, message);
    cluster.assert_settled();
}
