//! Copies kept after delivery: how long, what comes back from them, and what does not.

use grapevine_core::{DiskRoom, Input, Start};
use grapevine_model::{
    EntryChange, MessageId, QueueAnswer, QueueAsk, Reply, Request, ServerName, Speaker, Usage,
    Welcome,
};

use crate::harness::{Cluster, Memory, name, server};

/// Longer than a copy is kept, in steps that a cluster survives.
const KEPT_MS: u64 = 2 * 24 * 3_600_000;

fn retained(cluster: &mut Cluster, at: &str) -> Usage {
    match cluster.ok(at, Speaker::Operator, Request::Status) {
        Reply::Status(status) => status.storage.retained,
        other => panic!("{other:?}"),
    }
}

fn replay(cluster: &mut Cluster, at: &str, message: Option<MessageId>, to: Option<&str>) -> u64 {
    let ask = QueueAsk::Replay {
        message,
        since_ms: 0,
        of: None,
        to: to.map(name),
        after: None,
    };
    match cluster.ok(at, Speaker::Operator, Request::Queue(ask)) {
        Reply::Queue(QueueAnswer::Replayed { replayed, .. }) => replayed,
        other => panic!("{other:?}"),
    }
}

fn sites(cluster: &mut Cluster, who: &str, at: &[&str]) {
    let sites = at.iter().map(|at| server(at)).collect();
    let request = Request::Change {
        name: name(who),
        change: EntryChange::Sites(sites),
    };
    cluster.ok("s1", Speaker::Operator, request);
    cluster.pass(3_000);
}

fn delete(cluster: &mut Cluster, at: &str, who: &str, message: MessageId) {
    let request = Request::InboxDelete {
        name: name(who),
        messages: vec![message],
    };
    cluster.ok(at, Speaker::Operator, request);
    cluster.pass(2_000);
}

/// A server begins with an empty disk in the place of one that was lost.
pub(crate) fn lose_disk(cluster: &mut Cluster, at: &str) {
    cluster.kill(at);
    let node = cluster.nodes.get_mut(&server(at)).unwrap();
    node.disk = Memory::default();
    node.bodies.clear();
    let witness: ServerName = cluster
        .nodes
        .iter()
        .find(|(_, node)| node.alive)
        .map(|(server, _)| server.clone())
        .unwrap();
    let servers = match cluster.ok(witness.as_str(), Speaker::Operator, Request::Servers) {
        Reply::Servers(servers) => servers,
        other => panic!("{other:?}"),
    };
    let holds = vec![
        "gv".parse().unwrap(),
        "ms".parse().unwrap(),
        "pa".parse().unwrap(),
    ];
    cluster.start(at, Start::Join(Welcome { servers, holds }));
}

#[test]
fn a_copy_is_kept_for_its_time_and_goes_with_its_body() {
    let mut cluster = Cluster::new(3);
    sites(&mut cluster, "needham@pa", &["s1", "s2"]);
    let message = cluster.submit("s3", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(3_000);
    assert_eq!(retained(&mut cluster, "s3"), Usage::of(5));
    assert_eq!(retained(&mut cluster, "s1"), Usage::default());
    delete(&mut cluster, "s1", "needham@pa", message);
    let has_body =
        |cluster: &Cluster, at: &str| cluster.nodes[&server(at)].bodies.contains_key(&message);
    cluster.pass(20 * 60_000);
    assert!(has_body(&cluster, "s3") && !has_body(&cluster, "s1"));
    // Counted over a restart too.
    cluster.kill("s3");
    cluster.start("s3", Start::Resume);
    assert_eq!(retained(&mut cluster, "s3"), Usage::of(5));
    cluster.now.wall_ms += KEPT_MS;
    cluster.pass(20 * 60_000);
    assert_eq!(retained(&mut cluster, "s3"), Usage::default());
    assert!(!has_body(&cluster, "s3"));
    assert_eq!(replay(&mut cluster, "s3", Some(message), None), 0);
}

#[test]
fn copies_go_when_the_disk_has_little_room_and_no_mail_is_refused() {
    let mut cluster = Cluster::new(3);
    sites(&mut cluster, "needham@pa", &["s1", "s2"]);
    for text in ["one", "two", "three"] {
        cluster.submit("s3", "birrell@pa", &["needham@pa"], text);
    }
    cluster.pass(3_000);
    assert_eq!(retained(&mut cluster, "s3").messages, 3);
    cluster.input(&server("s3"), Input::DiskRoom(DiskRoom::Low));
    cluster.pass(20 * 60_000);
    assert_eq!(retained(&mut cluster, "s3"), Usage::default());
    assert!(cluster.nodes[&server("s3")].bodies.is_empty());
    assert_eq!(cluster.inbox("s1", "needham@pa").len(), 3, "mail stays");
    cluster.submit("s3", "birrell@pa", &["needham@pa"], "four");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "needham@pa").len(), 4, "mail is taken");
    cluster.pass(20 * 60_000);
    assert_eq!(retained(&mut cluster, "s3"), Usage::default());
    cluster.input(&server("s3"), Input::DiskRoom(DiskRoom::Enough));
    cluster.submit("s3", "birrell@pa", &["needham@pa"], "five");
    cluster.pass(20 * 60_000);
    assert_eq!(retained(&mut cluster, "s3").messages, 1, "kept again");
}

#[test]
fn an_inbox_whose_sites_all_lost_their_disks_is_filled_from_what_others_kept() {
    let mut cluster = Cluster::new(3);
    sites(&mut cluster, "needham@pa", &["s1", "s2"]);
    let first = cluster.submit("s3", "birrell@pa", &["needham@pa"], "one");
    let second = cluster.submit("s3", "birrell@pa", &["needham@pa"], "two");
    cluster.pass(5_000);
    cluster.alarms_expected = true;
    for at in ["s1", "s2"] {
        lose_disk(&mut cluster, at);
    }
    cluster.pass(120_000);
    for at in ["s1", "s2"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [first, second], "{at}");
    }
    assert!(cluster.reports.is_empty());
}

#[test]
fn an_inbox_whose_sites_are_lost_and_not_replaced_is_filled_at_its_new_ones() {
    let mut cluster = Cluster::new(4);
    sites(&mut cluster, "needham@pa", &["s2", "s3"]);
    let first = cluster.submit("s4", "birrell@pa", &["needham@pa"], "one");
    let second = cluster.submit("s4", "birrell@pa", &["needham@pa"], "two");
    cluster.pass(5_000);
    cluster.alarms_expected = true;
    for at in ["s2", "s3"] {
        cluster.kill(at);
    }
    cluster.pass(20_000);
    for at in ["s2", "s3"] {
        let lost = Request::Retire { server: server(at) };
        cluster.ok("s1", Speaker::Operator, lost);
        cluster.pass(5_000);
    }
    cluster.pass(180_000);
    for at in ["s1", "s4"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [first, second], "{at}");
    }
    assert!(cluster.reports.is_empty());
}

#[test]
fn with_one_site_left_nothing_deleted_comes_back_and_nothing_is_doubled() {
    let mut cluster = Cluster::new(3);
    sites(&mut cluster, "needham@pa", &["s1", "s2"]);
    let deleted = cluster.submit("s3", "birrell@pa", &["needham@pa"], "one");
    let kept = cluster.submit("s3", "birrell@pa", &["needham@pa"], "two");
    cluster.pass(5_000);
    delete(&mut cluster, "s2", "needham@pa", deleted);
    cluster.alarms_expected = true;
    lose_disk(&mut cluster, "s1");
    for _ in 0..60 {
        cluster.pass(2_000);
        for at in ["s1", "s2"] {
            assert!(!cluster.inbox(at, "needham@pa").contains(&deleted), "{at}");
        }
    }
    for at in ["s1", "s2"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [kept]);
    }
    // An operator's replay is no way around it either.
    assert_eq!(replay(&mut cluster, "s3", None, None), 2);
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [kept]);
    }
    assert!(cluster.reports.is_empty());
}

#[test]
fn an_operator_replays_a_message_to_somebody_else_and_nobody_is_told_of_failures() {
    let mut cluster = Cluster::new(2);
    let message = cluster.submit("s1", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(3_000);
    assert_eq!(
        replay(&mut cluster, "s1", Some(message), Some("registrar@pa")),
        1
    );
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s2", "registrar@pa"), [message]);
    assert_eq!(
        replay(&mut cluster, "s1", Some(message), Some("nobody@pa")),
        1
    );
    cluster.pass(10_000);
    assert!(cluster.reports.is_empty());
    assert_eq!(retained(&mut cluster, "s1"), Usage::of(5), "still one copy");
    cluster.assert_settled();
}

#[test]
fn a_list_is_replayed_by_an_operator_and_reaches_only_who_lacks_it() {
    let mut cluster = Cluster::new(3);
    sites(&mut cluster, "needham@pa", &["s1", "s2"]);
    sites(&mut cluster, "birrell@pa", &["s1", "s2"]);
    cluster.group("list^@pa", &["needham@pa", "birrell@pa"], &[]);
    cluster.pass(2_000);
    let message = cluster.submit("s3", "birrell@pa", &["list^@pa"], "hello");
    cluster.pass(5_000);
    delete(&mut cluster, "s1", "birrell@pa", message);
    assert_eq!(replay(&mut cluster, "s3", Some(message), None), 1);
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
    assert!(cluster.inbox("s1", "birrell@pa").is_empty());
    cluster.assert_settled();
}

#[test]
fn only_operators_replay() {
    let mut cluster = Cluster::new(2);
    let message = cluster.submit("s1", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(3_000);
    let speaker = cluster.login("needham@pa");
    let ask = QueueAsk::Replay {
        message: Some(message),
        since_ms: 0,
        of: None,
        to: Some(name("needham@pa")),
        after: None,
    };
    let kind = cluster.refused("s1", speaker, Request::Queue(ask));
    assert_eq!(kind, grapevine_model::ErrorKind::NotAllowed);
}
