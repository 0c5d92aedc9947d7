//! Outside members of lists whose addresses are dead: suspended after some days, never removed.

use grapevine_core::{FAILURES_STALE_DAYS, SUSPEND_AFTER_DAYS};
use grapevine_model::{EntryChange, ErrorKind, Reply, Request, Speaker, Suspended};

use crate::harness::{Cluster, add, name, remove, server};

const DAY_MS: u64 = 24 * 3_600_000;
const DEAD: &str = "dead@outside.example";

/// A list with two members outside, one of them refused with a status.
fn list(status: &str) -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.open_to_the_world();
    let members = ["birrell@pa", "alive@outside.example", DEAD];
    cluster.group("csl^@pa", &members, &["needham@pa"]);
    cluster.refuses.insert(name(DEAD), status.into());
    cluster.pass(2_000);
    cluster
}

fn later(cluster: &mut Cluster, days: u64) {
    cluster.now.mono_ms += days * DAY_MS;
    cluster.now.wall_ms += days * DAY_MS;
    cluster.pass(5_000);
}

/// Posts, and says to whom outside it went.
fn post(cluster: &mut Cluster, at: &str) -> Vec<String> {
    cluster.handed.clear();
    cluster.submit(at, "birrell@pa", &["csl^@pa"], "hello");
    cluster.pass(10_000);
    let orders = cluster.handed.iter();
    let mut to: Vec<String> = orders
        .flat_map(|order| order.recipients.iter().map(|to| to.name.to_string()))
        .collect();
    to.sort();
    to
}

fn suspended(cluster: &mut Cluster, at: &str, speaker: Speaker) -> Vec<Suspended> {
    let show = Request::Show {
        name: name("csl^@pa"),
    };
    match cluster.ok(at, speaker, show) {
        Reply::Entry(view) => view.suspended,
        other => panic!("{other:?}"),
    }
}

fn resume() -> Request {
    Request::Change {
        name: name("csl^@pa"),
        change: EntryChange::Resume(name(DEAD)),
    }
}

#[test]
fn nothing_is_sent_to_an_outside_member_who_failed_on_five_days_until_an_owner_says_so() {
    let mut cluster = list("5.1.1");
    for day in 0..SUSPEND_AFTER_DAYS {
        for again in 0..2 {
            let suspended = day + 1 == SUSPEND_AFTER_DAYS && again == 1;
            let to = post(&mut cluster, "s1");
            assert_eq!(
                to.contains(&DEAD.to_owned()),
                !suspended,
                "day {day}, {to:?}"
            );
            assert!(to.contains(&"alive@outside.example".to_owned()));
        }
        later(&mut cluster, 1);
    }
    let lines = cluster.reports.iter().flat_map(|order| &order.lines);
    let told: Vec<_> = lines.filter(|line| line.note.is_some()).cloned().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let to = |order: &&grapevine_core::ReportOrder| order.lines.contains(&told[0]);
    let report = cluster.reports.iter().find(to).unwrap();
    let recipient = &report.submission.envelope.recipients[0].name;
    assert_eq!(*recipient, name("owners-csl^@pa"));
    assert!(
        told[0]
            .note
            .as_ref()
            .unwrap()
            .contains("group resume csl^@pa dead@outside.example")
    );

    let owner = cluster.login("needham@pa");
    let birrell = cluster.login("birrell@pa");
    for at in ["s1", "s2"] {
        let shown = suspended(&mut cluster, at, owner.clone());
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].member, name(DEAD));
        assert!(shown[0].reason.contains("550"), "{shown:?}");
        assert_eq!(suspended(&mut cluster, at, birrell.clone()), []);
    }
    let refused = cluster.refused("s2", birrell, resume());
    assert_eq!(refused, ErrorKind::NotAllowed);
    cluster.ok("s2", owner.clone(), resume());
    cluster.pass(2_000);
    assert_eq!(suspended(&mut cluster, "s1", owner.clone()), []);
    assert!(post(&mut cluster, "s1").contains(&DEAD.to_owned()));
    later(&mut cluster, 1);
    assert!(
        post(&mut cluster, "s1").contains(&DEAD.to_owned()),
        "it is counted from the beginning"
    );
    cluster.ok("s1", owner, resume());
}

#[test]
fn failures_that_are_old_or_of_the_message_suspend_nobody() {
    for (status, pause) in [
        ("5.7.1", 1),
        ("5.3.4", 1),
        ("5.1.1", FAILURES_STALE_DAYS + 1),
    ] {
        let mut cluster = list(status);
        for _ in 0..SUSPEND_AFTER_DAYS + 2 {
            assert!(
                post(&mut cluster, "s1").contains(&DEAD.to_owned()),
                "{status}"
            );
            later(&mut cluster, pause);
        }
        assert_eq!(suspended(&mut cluster, "s1", Speaker::Operator), []);
    }
}

#[test]
fn holders_that_counted_apart_have_counted_both_and_who_comes_again_begins_anew() {
    let mut cluster = list("5.1.1");
    cluster.cut.insert(server("s2"));
    for day in 0..SUSPEND_AFTER_DAYS - 1 {
        let at = if day % 2 == 0 { "s1" } else { "s2" };
        assert!(
            post(&mut cluster, at).contains(&DEAD.to_owned()),
            "day {day}"
        );
        later(&mut cluster, 1);
    }
    cluster.cut.clear();
    cluster.pass(20_000);
    post(&mut cluster, "s2");
    cluster.pass(5_000);
    for at in ["s1", "s2"] {
        assert_eq!(
            suspended(&mut cluster, at, Speaker::Operator).len(),
            1,
            "{at}"
        );
    }
    let members = grapevine_model::GroupList::Members;
    cluster.ok("s1", Speaker::Operator, remove("csl^@pa", members, DEAD));
    cluster.ok("s1", Speaker::Operator, add("csl^@pa", members, DEAD));
    cluster.pass(2_000);
    assert_eq!(suspended(&mut cluster, "s2", Speaker::Operator), []);
    assert!(post(&mut cluster, "s2").contains(&DEAD.to_owned()));
}
