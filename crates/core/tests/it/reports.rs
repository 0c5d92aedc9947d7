//! Reports to senders: as safe as the mail that they explain, and not put off by a clock.

use grapevine_core::{Effect, Times};
use grapevine_model::{EntryChange, MessageId, PeerMessage, Request, Speaker};

use crate::harness::{Cluster, name, server, times};

/// Where in the order of effects a server said something.
fn said(cluster: &Cluster, what: impl Fn(&PeerMessage) -> bool) -> usize {
    let is = |effect: &Effect| matches!(effect, Effect::Send { message, .. } if what(message));
    let mut all = cluster.effects.iter();
    all.position(|(_, effect)| is(effect)).unwrap()
}

#[test]
fn custody_ends_at_the_deputy_when_the_report_is_on_a_second_disk() {
    let mut cluster = Cluster::new(3);
    cluster.open_to_the_world();
    let away = "away@outside.example";
    cluster.refuses.insert(name(away), "5.1.1".into());
    cluster.pass(5_000);
    cluster.effects.clear();
    let failed: MessageId = cluster.submit("s1", "birrell@pa", &[away], "hello");
    cluster.pass(5_000);
    assert_eq!(cluster.reports.len(), 1);
    let report = cluster.reports[0].submission.id.unwrap();
    let held = said(
        &cluster,
        |m| matches!(m, PeerMessage::CustodyHeld { message, .. } if *message == report),
    );
    let ended = said(
        &cluster,
        |m| matches!(m, PeerMessage::CustodyEnded { messages, .. } if messages.contains(&failed)),
    );
    assert!(held < ended, "{held} {ended}");
    cluster.assert_settled();
}

#[test]
fn a_clock_that_is_set_back_puts_no_report_off() {
    let mut cluster = Cluster::with(
        3,
        Times {
            give_up_ms: 10 * 60_000,
            ..times()
        },
    );
    cluster.individual("away@pa");
    let change = EntryChange::Sites(vec![server("s3")]);
    let who = name("away@pa");
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Change { name: who, change },
    );
    cluster.pass(3_000);
    cluster.keep_effects = false;
    cluster.alarms_expected = true;
    cluster.kill("s3");
    let message = cluster.submit("s1", "birrell@pa", &["away@pa"], "hello");
    cluster.pass(3_000);
    // An hour, where ten minutes are all that is tried.
    cluster.now.wall_ms -= 3_600_000;
    cluster.pass(9 * 60_000);
    assert!(cluster.reports.is_empty(), "not before its time");
    // When it is next tried.
    cluster.pass(30 * 60_000);
    let told: Vec<MessageId> = cluster.reports.iter().map(|order| order.about).collect();
    assert_eq!(told, [message]);
}
