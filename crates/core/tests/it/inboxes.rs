//! Inbox sites in their order, changed while mail comes, and owners who are deleted meanwhile.

use std::collections::BTreeSet;

use grapevine_core::{Effect, Start};
use grapevine_model::{EntryChange, MessageId, PeerMessage, PolicyChange, Request, Speaker};

use crate::harness::{Cluster, name, server};

fn sites(cluster: &mut Cluster, who: &str, sites: &[&str]) {
    let sites = sites.iter().map(|site| server(site)).collect();
    let change = Request::Change {
        name: name(who),
        change: EntryChange::Sites(sites),
    };
    cluster.ok("s1", Speaker::Operator, change);
}

/// The servers that were asked to put a message into an inbox, in order.
fn asked(cluster: &Cluster, which: MessageId) -> Vec<String> {
    let sent = cluster
        .effects
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Send { to, message } => match message.bare() {
                PeerMessage::Deposit { message, .. } if *message == which => Some(to.to_string()),
                _ => None,
            },
            _ => None,
        });
    sent.collect()
}

#[test]
fn mail_goes_to_the_preferred_site_first_and_to_the_next_when_that_is_down() {
    let mut cluster = Cluster::new(4);
    cluster.individual("ann@pa");
    for order in [["s3", "s2"], ["s2", "s3"], ["s4", "s2"]] {
        sites(&mut cluster, "ann@pa", &order);
        cluster.pass(5_000);
        let message = cluster.submit("s1", "birrell@pa", &["ann@pa"], &format!("to {order:?}"));
        cluster.pass(3_000);
        let first = asked(&cluster, message);
        assert_eq!(
            first.first().map(String::as_str),
            Some(order[0]),
            "{first:?}"
        );
        assert!(
            !first.contains(&order[1].to_owned()),
            "the first copies it: {first:?}"
        );
        assert!(cluster.inbox(order[1], "ann@pa").contains(&message));
    }
    // The preferred one is down: the next has it before anybody has waited for long.
    cluster.kill("s4");
    let message = cluster.submit("s1", "birrell@pa", &["ann@pa"], "down");
    cluster.pass(2_000);
    assert!(cluster.inbox("s2", "ann@pa").contains(&message));
    assert_eq!(
        asked(&cluster, message).first().map(String::as_str),
        Some("s2")
    );
    cluster.start("s4", Start::Resume);
    cluster.pass(60_000);
    assert!(
        cluster.inbox("s4", "ann@pa").contains(&message),
        "and back where it belongs"
    );
    cluster.assert_settled();
}

#[test]
fn an_inbox_that_moves_while_mail_comes_in_loses_nothing_and_settles() {
    let mut cluster = Cluster::new(4);
    cluster.individual("ann@pa");
    sites(&mut cluster, "ann@pa", &["s1", "s2"]);
    cluster.pass(5_000);
    let mut sent = BTreeSet::new();
    let steps: [&[&str]; 4] = [&["s2", "s3"], &["s3", "s4"], &["s4", "s1"], &["s3", "s4"]];
    for (step, places) in steps.into_iter().enumerate() {
        for n in 0..12 {
            let at = ["s1", "s2", "s3", "s4"][n % 4];
            let text = format!("{step} {n}");
            sent.insert(cluster.submit(at, "birrell@pa", &["ann@pa"], &text));
            if n == 4 {
                sites(&mut cluster, "ann@pa", places);
            }
            cluster.pass(150);
        }
    }
    cluster.pass(120_000);
    for at in ["s3", "s4"] {
        let there: BTreeSet<MessageId> = cluster.inbox(at, "ann@pa").into_iter().collect();
        assert_eq!(there, sent, "{at}");
    }
    assert!(cluster.reports.is_empty(), "{:?}", cluster.reports);
    // At rest: nobody hands it to anybody any more, and who is no site has none of it.
    let before = cluster.effects.len();
    cluster.pass(60_000);
    let still = cluster.effects[before..].iter().any(|(_, effect)| {
        matches!(effect, Effect::Send { message, .. } if matches!(
            message.bare(),
            PeerMessage::Deposit { .. } | PeerMessage::Body { .. } | PeerMessage::Page { .. }
        ))
    });
    assert!(!still, "a mailbox goes to and fro");
    cluster.assert_settled();
    for away in ["s1", "s2"] {
        let status = cluster.ok(away, Speaker::Operator, Request::Status);
        let grapevine_model::Reply::Status(status) = status else {
            panic!("{status:?}")
        };
        assert_eq!(status.storage.mail.messages, 0, "{away}");
    }
}

#[test]
fn mail_under_way_to_somebody_who_is_deleted_comes_back_or_goes_to_who_catches_it() {
    for caught in [false, true] {
        let mut cluster = Cluster::new(4);
        cluster.individual("ann@pa");
        sites(&mut cluster, "ann@pa", &["s3", "s4"]);
        cluster.pass(3_000);
        cluster.kill("s3");
        cluster.kill("s4");
        let message = cluster.submit("s1", "birrell@pa", &["ann@pa"], "hello");
        cluster.pass(5_000);
        assert!(cluster.reports.is_empty());
        if caught {
            let policy = Request::RegistryPolicy {
                registry: "pa".parse().unwrap(),
                change: PolicyChange::CatchAll(Some(name("needham@pa"))),
            };
            sites(&mut cluster, "needham@pa", &["s1", "s2"]);
            cluster.ok("s1", Speaker::Operator, policy);
        }
        sites(&mut cluster, "birrell@pa", &["s1", "s2"]);
        let delete = Request::Delete {
            name: name("ann@pa"),
        };
        cluster.ok("s1", Speaker::Operator, delete);
        cluster.pass(30_000);
        if caught {
            assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
            assert!(cluster.reports.is_empty());
        } else {
            assert_eq!(cluster.reports.len(), 1);
            let report = &cluster.reports[0];
            assert_eq!(report.about, message);
            assert_eq!(report.lines[0].status, "5.1.1");
            assert_eq!(cluster.inbox("s1", "birrell@pa").len(), 1);
        }
        cluster.start("s3", Start::Resume);
        cluster.start("s4", Start::Resume);
        cluster.pass(60_000);
        // Somebody else gets the name: nothing of it is his.
        cluster.individual("ann@pa");
        cluster.pass(30_000);
        assert_eq!(cluster.inbox("s1", "ann@pa"), []);
        cluster.assert_settled();
    }
}
