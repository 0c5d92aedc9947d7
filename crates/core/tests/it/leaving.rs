//! A server that is stopped in order, and the queue by destination.

use grapevine_core::{Input, Start};
use grapevine_model::{
    DestinationView, EntryChange, ErrorKind, PeerMessage, QueueAnswer, QueueAsk, Reply, Request,
    Speaker,
};

use crate::harness::{Cluster, name, server};

fn sites(cluster: &mut Cluster, who: &str, sites: &[&str]) {
    let sites = sites.iter().map(|site| server(site)).collect();
    let change = Request::Change {
        name: name(who),
        change: EntryChange::Sites(sites),
    };
    cluster.ok("s1", Speaker::Operator, change);
}

#[test]
fn a_server_that_is_stopped_in_order_leaves_its_messages_to_their_deputies_at_once() {
    let mut cluster = Cluster::new(4);
    cluster.individual("away@pa");
    sites(&mut cluster, "away@pa", &["s3", "s4"]);
    cluster.pass(2_000);
    // The custodian alone does not reach the sites.
    cluster.kill("s3");
    cluster.kill("s4");
    let message = cluster.submit("s1", "birrell@pa", &["away@pa"], "hello");
    cluster.pass(2_000);
    cluster.input(&server("s1"), Input::Leaving);
    cluster.pump();
    let told = cluster.effects.iter().any(|(at, effect)| {
        let left = matches!(effect, grapevine_core::Effect::Send { to, message }
            if *to == server("s2") && matches!(message.bare(), PeerMessage::CustodyLeft { .. }));
        left && *at == server("s1")
    });
    assert!(told);
    cluster.kill("s1");
    let before_ms = cluster.now.mono_ms;
    cluster.start("s3", Start::Resume);
    cluster.start("s4", Start::Resume);
    while !cluster.inbox("s3", "away@pa").contains(&message) {
        cluster.pass(200);
        assert!(
            cluster.now.mono_ms < before_ms + 8_000,
            "not after 15 seconds of silence"
        );
    }
    cluster.start("s1", Start::Resume);
    cluster.pass(90_000);
    assert_eq!(cluster.inbox("s4", "away@pa"), [message], "once");
    assert!(cluster.reports.is_empty());
    cluster.assert_settled();
}

#[test]
fn a_word_of_leaving_from_an_earlier_life_or_of_others_messages_changes_nothing() {
    let mut cluster = Cluster::new(4);
    cluster.individual("away@pa");
    sites(&mut cluster, "away@pa", &["s3", "s4"]);
    cluster.pass(2_000);
    cluster.kill("s3");
    cluster.kill("s4");
    let message = cluster.submit("s1", "birrell@pa", &["away@pa"], "hello");
    cluster.pass(2_000);
    let status = |cluster: &mut Cluster| match cluster.ok("s2", Speaker::Operator, Request::Status)
    {
        Reply::Status(status) => (status.queue.messages, status.queue.deputy_for),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(&mut cluster), (0, 1));
    let left = PeerMessage::CustodyLeft {
        origin: grapevine_model::OriginId(7),
        messages: vec![message],
    };
    for from in ["s1", "s3"] {
        let from = server(from);
        let input = Input::Peer {
            from,
            message: left.clone(),
            staged: None,
        };
        cluster.input(&server("s2"), input);
        cluster.pump();
        assert_eq!(status(&mut cluster), (0, 1));
    }
}

fn destinations(cluster: &mut Cluster) -> Vec<DestinationView> {
    let ask = Request::Queue(QueueAsk::Destinations);
    match cluster.ok("s1", Speaker::Operator, ask) {
        Reply::Queue(QueueAnswer::Destinations(all)) => all,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_queue_by_destination_says_how_much_waits_where_and_why() {
    let mut cluster = Cluster::new(2);
    cluster.open_to_the_world();
    assert_eq!(destinations(&mut cluster), []);
    cluster.silent.insert("far.example".parse().unwrap());
    cluster.later.insert(name("busy@near.example"));
    let to = [
        "ann@far.example",
        "bob@far.example",
        "busy@near.example",
        "carl@near.example",
    ];
    cluster.submit("s1", "birrell@pa", &to, "one");
    cluster.submit(
        "s1",
        "birrell@pa",
        &["ann@far.example", "needham@pa"],
        "two",
    );
    cluster.pass(5_000);
    let all = destinations(&mut cluster);
    let places: Vec<_> = all.iter().map(|view| view.destination.as_str()).collect();
    assert_eq!(places, ["far.example", "near.example"], "{all:?}");
    assert_eq!((all[0].messages, all[0].recipients), (2, 3));
    assert!(
        all[0].failures > 0 && all[0].reason.contains("no answer"),
        "{all:?}"
    );
    assert!(all[0].next_ms.is_some_and(|ms| ms > 1_000), "{all:?}");
    assert_eq!(
        (all[1].messages, all[1].recipients, all[1].failures),
        (1, 1, 0)
    );
    assert!(all[1].reason.contains("greylisted"), "{all:?}");
    let birrell = cluster.login("birrell@pa");
    let refused = cluster.refused("s1", birrell, Request::Queue(QueueAsk::Destinations));
    assert_eq!(refused, ErrorKind::NotAllowed);

    cluster.silent.clear();
    cluster.later.clear();
    cluster.pass(10 * 60_000);
    assert_eq!(destinations(&mut cluster), []);
    let taken = cluster.handed.iter().flat_map(|order| &order.recipients);
    assert!(taken.count() >= 5);
}

/// What a server has of a registry: the digest that it shows.
fn digest(cluster: &mut Cluster, at: &str, registry: &str) -> Option<u64> {
    let Reply::Status(status) = cluster.ok(at, Speaker::Operator, Request::Status) else {
        panic!("no status")
    };
    let mut held = status.registries.into_iter();
    held.find(|(name, ..)| name.as_str() == registry)
        .map(|(_, _, digest)| digest)
}

#[test]
fn a_server_leaves_a_registry_that_goes_on_changing_and_takes_no_more_of_it() {
    let mut cluster = Cluster::new(4);
    cluster.individual("ann@pa");
    cluster.pass(3_000);
    // Two holders must have all that it has; it reaches one.
    cluster.part("s4", "s2");
    cluster.part("s4", "s3");
    let registry = "pa".parse().unwrap();
    let leave = Request::HolderRemove {
        registry,
        server: server("s4"),
    };
    cluster.ok("s1", Speaker::Operator, leave);
    cluster.pass(5_000);
    let before = digest(&mut cluster, "s4", "pa");
    assert!(before.is_some(), "it has not handed it over");
    for n in 0..20 {
        let change = Request::Change {
            name: name("ann@pa"),
            change: EntryChange::Remark(format!("in room {n}")),
        };
        cluster.ok("s1", Speaker::Operator, change);
        cluster.pass(500);
    }
    assert_ne!(digest(&mut cluster, "s1", "pa"), before);
    assert_eq!(
        digest(&mut cluster, "s4", "pa"),
        before,
        "what holders write is theirs"
    );
    cluster.broken.clear();
    cluster.pass(10_000);
    assert_eq!(digest(&mut cluster, "s4", "pa"), None);
    cluster.assert_settled();
}
