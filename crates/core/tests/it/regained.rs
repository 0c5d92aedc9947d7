//! A mailbox that comes back to a server which had it, and wrote in it.

use grapevine_core::Input;
use grapevine_model::{
    EntryChange, Hlc, Incarnation, MessageId, OriginId, PeerMessage, Reply, Request, SpaceId,
    Speaker, VersionVector,
};

use crate::harness::{Cluster, name, server};

const ANN: &str = "ann@pa";

fn sites(cluster: &mut Cluster, at: &str, sites: &[&str]) {
    let change = Request::Change {
        name: name(ANN),
        change: EntryChange::Sites(sites.iter().map(|site| server(site)).collect()),
    };
    cluster.ok(at, Speaker::Operator, change);
}

fn says(cluster: &mut Cluster, from: &str, message: PeerMessage) {
    let input = Input::Peer {
        from: server(from),
        message,
        staged: None,
    };
    cluster.input(&server("s1"), input);
    cluster.pump();
}

/// All that a server has of a mailbox: nothing.
fn nothing(inbox: Incarnation) -> PeerMessage {
    PeerMessage::Page {
        space: SpaceId::Mailbox(inbox),
        from: VersionVector::default(),
        progress: VersionVector::default(),
        complete: true,
        updates: Vec::new(),
    }
}

/// A mailbox in which the first server wrote, and which it has left and gets again while it hears nobody.
fn comes_back() -> (Cluster, Incarnation, OriginId, Vec<MessageId>) {
    let mut cluster = Cluster::new(3);
    cluster.individual(ANN);
    sites(&mut cluster, "s1", &["s1", "s2"]);
    cluster.pass(3_000);
    let old: Vec<MessageId> = ["one", "two"]
        .map(|text| cluster.submit("s1", "birrell@pa", &[ANN], text))
        .into();
    cluster.pass(3_000);
    let list = Request::InboxList { name: name(ANN) };
    let Reply::Inbox(listing) = cluster.ok("s1", Speaker::Operator, list) else {
        panic!("no inbox")
    };
    let origin = origin(&mut cluster);
    sites(&mut cluster, "s1", &["s2", "s3"]);
    cluster.pass(60_000);
    for other in ["s2", "s3"] {
        cluster.part("s1", other);
    }
    cluster.pass(10_000);
    sites(&mut cluster, "s1", &["s2", "s1"]);
    // It is wanted there, and so it is fetched first.
    cluster.submit("s1", "birrell@pa", &[ANN], "three");
    cluster.pass(2_000);
    (cluster, listing.incarnation, origin, old)
}

/// What the first server writes with.
fn origin(cluster: &mut Cluster) -> OriginId {
    let change = Request::Change {
        name: name(ANN),
        change: EntryChange::Remark("x".into()),
    };
    match cluster.ok("s1", Speaker::Operator, change) {
        Reply::Written(written) => written.stamp.map(|stamp| stamp.origin).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Whether the first server puts mail into the mailbox.
fn takes_mail(cluster: &mut Cluster) -> bool {
    cluster.pass(5_000);
    let list = Request::InboxList { name: name(ANN) };
    matches!(
        cluster.ask("s1", Speaker::Operator, list),
        Ok(Reply::Inbox(listing)) if !listing.messages.is_empty()
    )
}

#[test]
fn what_nobody_has_any_more_is_not_waited_for() {
    let (mut cluster, inbox, _, _) = comes_back();
    says(&mut cluster, "s2", nothing(inbox));
    assert!(!takes_mail(&mut cluster), "one has not answered yet");
    says(&mut cluster, "s3", nothing(inbox));
    assert!(takes_mail(&mut cluster), "all have answered");
}

#[test]
fn a_server_that_had_nothing_and_has_fetched_it_since_is_waited_for() {
    let (mut cluster, inbox, origin, old) = comes_back();
    says(&mut cluster, "s2", nothing(inbox));
    // It was a new site itself when it said so.
    let has = VersionVector::from_iter([(origin, Hlc::at_ms(1_800_000_000_000))]);
    let vector = PeerMessage::Have {
        space: SpaceId::Mailbox(inbox),
        vector: has,
    };
    says(&mut cluster, "s2", vector);
    says(&mut cluster, "s3", nothing(inbox));
    assert!(!takes_mail(&mut cluster), "the second has what is missing");
    cluster.broken.clear();
    cluster.pass(60_000);
    for at in ["s1", "s2"] {
        let there = cluster.inbox(at, ANN);
        assert!(
            old.iter().all(|message| there.contains(message)),
            "{at}: {there:?}"
        );
        assert_eq!(there.len(), 3, "{at}");
    }
}
