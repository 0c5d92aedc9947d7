//! The sender hears once that its message waits for long.

use grapevine_core::{ReportKind, ReportOrder, Start};
use grapevine_model::{EntryChange, MessageId, Request, Speaker};

use crate::harness::{Cluster, name, server, times};

/// Instead of four hours: passed beat by beat.
const DELAY_MS: u64 = 10 * 60_000;

/// Mail for two whose inbox sites are down.
fn waiting(text: &str) -> (Cluster, MessageId) {
    let times = grapevine_core::Times {
        delay_notice_ms: DELAY_MS,
        ..times()
    };
    let mut cluster = Cluster::with(4, times);
    cluster.individual("away@pa");
    cluster.individual("far@pa");
    for (who, sites) in [
        ("away@pa", vec!["s3", "s4"]),
        ("far@pa", vec!["s3", "s4"]),
        ("birrell@pa", vec!["s1", "s2"]),
    ] {
        let sites = sites.into_iter().map(server).collect();
        let change = EntryChange::Sites(sites);
        let name = name(who);
        cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
    }
    // One copy of two is mail that can be read: no delay.
    let change = EntryChange::Sites(vec![server("s2"), server("s3")]);
    let name = name("needham@pa");
    cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
    cluster.group("csl^@pa", &["away@pa"], &["needham@pa"]);
    cluster.pass(3_000);
    cluster.kill("s3");
    cluster.kill("s4");
    cluster.keep_effects = false;
    let to = ["away@pa", "far@pa", "needham@pa"];
    let message = cluster.submit("s1", "birrell@pa", &to, text);
    cluster.pass(3_000);
    (cluster, message)
}

fn notices(cluster: &Cluster) -> Vec<&ReportOrder> {
    let orders = cluster.reports.iter();
    orders
        .filter(|order| matches!(order.kind, ReportKind::Delay { .. }))
        .collect()
}

#[test]
fn a_sender_hears_once_that_a_message_waits_for_whom_why_and_until_when() {
    let (mut cluster, message) = waiting("hello");
    let accepted_ms = cluster.now.wall_ms - 3_000;
    cluster.pass(DELAY_MS - 10_000);
    assert!(cluster.reports.is_empty(), "not before its time");
    cluster.pass(15_000);
    let told = notices(&cluster);
    assert_eq!(told.len(), 1, "one for all of them");
    assert_eq!((told[0].about, told[0].full), (message, false));
    let until_ms = accepted_ms + 5 * 24 * 3_600_000;
    let kind = &told[0].kind;
    assert!(
        matches!(kind, ReportKind::Delay { retry_until_ms } if retry_until_ms.abs_diff(until_ms) < 1_000),
        "{kind:?}"
    );
    let names: Vec<_> = told[0].lines.iter().map(|l| l.name.clone()).collect();
    assert_eq!(names, [name("away@pa"), name("far@pa")], "not who has it");
    assert!(told[0].lines.iter().all(|l| l.reason.contains("s3")));
    assert_eq!(cluster.inbox("s1", "birrell@pa").len(), 1);

    cluster.pass(2 * DELAY_MS);
    assert_eq!(cluster.reports.len(), 1, "once");
    cluster.start("s3", Start::Resume);
    cluster.start("s4", Start::Resume);
    cluster.pass(20 * 60_000);
    assert_eq!(
        cluster.inbox("s3", "away@pa"),
        [message],
        "and still goes on"
    );
    cluster.pass(60_000);
    assert_eq!(cluster.reports.len(), 1);
    cluster.assert_settled();
}

#[test]
fn who_takes_over_or_starts_again_does_not_tell_of_a_delay_that_was_told() {
    let (mut cluster, _) = waiting("hello");
    cluster.pass(DELAY_MS + 5_000);
    assert_eq!(notices(&cluster).len(), 1);
    cluster.kill("s1");
    cluster.pass(30_000);
    cluster.pass(DELAY_MS);
    assert_eq!(notices(&cluster).len(), 1, "the deputy has heard of it");
    cluster.kill("s2");
    cluster.start("s2", Start::Resume);
    cluster.pass(DELAY_MS);
    cluster.start("s1", Start::Resume);
    cluster.pass(DELAY_MS);
    assert_eq!(notices(&cluster).len(), 1, "it is on the disks");
}

#[test]
fn who_takes_over_later_than_that_tries_first_and_tells_then() {
    let (mut cluster, _) = waiting("hello");
    cluster.pass(DELAY_MS - 15_000);
    cluster.kill("s1");
    cluster.pass(40_000);
    assert!(notices(&cluster).is_empty(), "it has not tried itself yet");
    cluster.pass(30_000);
    assert_eq!(notices(&cluster).len(), 1);
    let names = notices(&cluster)[0].lines.iter().map(|l| l.name.clone());
    let names: Vec<_> = names.collect();
    assert_eq!(names, [name("away@pa"), name("far@pa")], "not who has it");
}

#[test]
fn of_two_that_go_on_with_a_message_one_tells_its_sender() {
    let (mut cluster, _) = waiting("hello");
    cluster.kill("s1");
    cluster.pass(30_000);
    cluster.start("s1", Start::Resume);
    cluster.pass(2 * DELAY_MS);
    assert_eq!(notices(&cluster).len(), 1);
}

#[test]
fn nobody_is_told_of_delays_of_reports_of_a_lists_members_or_where_never_is_configured() {
    let (mut cluster, _) = waiting("hello");
    cluster.submit("s1", "birrell@pa", &["csl^@pa"], "to the list");
    let request = cluster.begin_submit(
        "s1",
        Speaker::Operator,
        None,
        &["away@pa"],
        "a report",
        None,
    );
    cluster.result(request).unwrap();
    cluster.pass(2 * DELAY_MS);
    assert_eq!(notices(&cluster).len(), 1, "of the first message only");

    cluster.times.delay_notice_ms = 0;
    cluster.start("s1", Start::Resume);
    cluster.start("s2", Start::Resume);
    cluster.pass(60_000);
    cluster.reports.clear();
    cluster.submit("s1", "birrell@pa", &["away@pa"], "again");
    cluster.pass(5 * DELAY_MS);
    assert!(notices(&cluster).is_empty());
}

#[test]
fn what_an_operator_holds_is_told_of_after_its_release() {
    use grapevine_model::{QueueAsk, QueueChange};
    let (mut cluster, message) = waiting("hello");
    let steer = |change| {
        let message = Some(message);
        Request::Queue(QueueAsk::Change { message, change })
    };
    cluster.ok("s1", Speaker::Operator, steer(QueueChange::Hold));
    cluster.pass(2 * DELAY_MS);
    assert!(cluster.reports.is_empty());
    cluster.ok("s1", Speaker::Operator, steer(QueueChange::Release));
    cluster.pass(5_000);
    assert_eq!(notices(&cluster).len(), 1);
}
