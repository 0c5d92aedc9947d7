//! Mail that waits, dead letters, and what depends on one server: as an operator sees and
//! steers them.

use grapevine_core::Start;
use grapevine_model::{
    DeadLetter, DeadLetterChange, EntryChange, ErrorKind, MessageId, QueueAnswer, QueueAsk,
    QueueChange, QueueItem, Reply, Request, Speaker, UnplugView,
};

use crate::harness::{Cluster, name, server};

/// Mail for `away@pa`, whose only inbox site is the third server, which is down.
fn waiting() -> (Cluster, MessageId) {
    let mut cluster = Cluster::new(3);
    for who in ["away@pa", "far@pa"] {
        cluster.individual(who);
        let change = EntryChange::Sites(vec![server("s3")]);
        let name = name(who);
        cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
    }
    cluster.pass(3_000);
    cluster.kill("s3");
    let message = cluster.submit("s1", "birrell@pa", &["away@pa", "far@pa"], "hello");
    cluster.pass(3_000);
    (cluster, message)
}

fn ask(cluster: &mut Cluster, at: &str, ask: QueueAsk) -> QueueAnswer {
    match cluster.ok(at, Speaker::Operator, Request::Queue(ask)) {
        Reply::Queue(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn page(
    cluster: &mut Cluster,
    after: Option<String>,
    limit: u32,
) -> (Vec<QueueItem>, Option<String>) {
    let list = QueueAsk::List {
        message: None,
        after,
        limit,
    };
    match ask(cluster, "s1", list) {
        QueueAnswer::Items { items, next } => (items, next),
        other => panic!("{other:?}"),
    }
}

fn change(cluster: &mut Cluster, at: &str, message: MessageId, change: QueueChange) -> u64 {
    let message = Some(message);
    match ask(cluster, at, QueueAsk::Change { message, change }) {
        QueueAnswer::Changed(number) => number,
        other => panic!("{other:?}"),
    }
}

fn dead_letters(cluster: &mut Cluster) -> Vec<DeadLetter> {
    let list = QueueAsk::DeadLetters {
        after: None,
        limit: 10,
    };
    match ask(cluster, "s1", list) {
        QueueAnswer::DeadLetters { letters, next } => {
            assert_eq!(next, None);
            letters
        }
        other => panic!("{other:?}"),
    }
}

fn unplug(cluster: &mut Cluster, at: &str, which: &str) -> UnplugView {
    let server = server(which);
    match ask(cluster, at, QueueAsk::Unplug { server }) {
        QueueAnswer::Unplug(view) => view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_waits_is_listed_in_pages_with_its_reason_and_next_time() {
    let (mut cluster, message) = waiting();
    let (first, next) = page(&mut cluster, None, 1);
    assert_eq!(first.len(), 1);
    let (second, end) = page(&mut cluster, next, 1);
    assert_eq!((second.len(), end), (1, None));
    for (item, who) in [(&first[0], "away@pa"), (&second[0], "far@pa")] {
        assert_eq!((item.message, item.held), (message, false));
        assert_eq!(item.recipient.name, name(who));
        assert_eq!(item.recipient.state, "waiting");
        assert!(
            item.recipient.reason.contains("s3"),
            "{}",
            item.recipient.reason
        );
        assert!(item.recipient.next_ms.is_some() && item.recipient.attempts > 0);
        assert_eq!(item.return_path, Some(name("birrell@pa")));
        assert_eq!(item.deputy, Some(server("s2")));
    }
    let strange = QueueAsk::List {
        message: None,
        after: Some("nonsense".into()),
        limit: 1,
    };
    let refused = cluster.refused("s1", Speaker::Operator, Request::Queue(strange));
    assert_eq!(refused, ErrorKind::Invalid);
}

#[test]
fn what_is_retried_is_tried_at_once() {
    let (mut cluster, message) = waiting();
    // Long pauses by now.
    cluster.pass(3_600_000);
    let before = page(&mut cluster, None, 10).0[0].recipient.clone();
    cluster.start("s3", Start::Resume);
    assert_eq!(change(&mut cluster, "s1", message, QueueChange::Retry), 1);
    assert!(before.next_ms.unwrap() > 10_000, "{before:?}");
    cluster.pass(5_000);
    assert_eq!(cluster.inbox("s3", "away@pa"), [message]);
    assert_eq!(page(&mut cluster, None, 10).0, []);
    let of_nothing = change(&mut cluster, "s1", message, QueueChange::Retry);
    assert_eq!(of_nothing, 0);
}

#[test]
fn a_held_message_is_delivered_by_nobody_until_it_is_released() {
    let (mut cluster, message) = waiting();
    assert_eq!(change(&mut cluster, "s1", message, QueueChange::Hold), 1);
    assert_eq!(change(&mut cluster, "s1", message, QueueChange::Hold), 0);
    cluster.start("s3", Start::Resume);
    // Longer than anything is tried: what is held is not given up.
    let days = 8 * 24 * 3_600_000;
    cluster.now.mono_ms += days;
    cluster.now.wall_ms += days;
    cluster.pass(60_000);
    let (items, _) = page(&mut cluster, None, 10);
    assert!(items.iter().all(|i| i.held && i.recipient.state == "held"));
    assert!(items.iter().all(|i| i.recipient.next_ms.is_none()));
    assert_eq!((items.len(), cluster.reports.len()), (2, 0));
    // Over a restart, and at the deputy that takes over.
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s3", "away@pa"), []);
    cluster.kill("s1");
    cluster.pass(120_000);
    assert_eq!(cluster.inbox("s3", "away@pa"), []);
    assert_eq!(change(&mut cluster, "s2", message, QueueChange::Release), 1);
    cluster.pass(5_000);
    assert_eq!(cluster.inbox("s3", "away@pa"), [message]);
}

#[test]
fn a_refused_message_is_explained_to_its_sender_and_a_dropped_one_is_not() {
    for (what, reports) in [(QueueChange::Refuse, 1), (QueueChange::Drop, 0)] {
        let (mut cluster, message) = waiting();
        assert_eq!(change(&mut cluster, "s1", message, what), 1);
        cluster.pass(5_000);
        let (waiting, _) = page(&mut cluster, None, 10);
        assert!(waiting.iter().all(|item| item.message != message));
        assert_eq!(cluster.reports.len(), reports, "{what:?}");
        assert_eq!(cluster.inbox("s1", "birrell@pa").len(), reports);
        cluster.start("s3", Start::Resume);
        cluster.pass(60_000);
        assert_eq!(cluster.inbox("s3", "away@pa"), []);
        assert_eq!(page(&mut cluster, None, 10).0, []);
    }
}

#[test]
fn a_dead_letter_is_listed_and_delivered_after_all_or_forgotten() {
    let mut cluster = Cluster::new(2);
    let lost = ["nobody@pa"];
    let speaker = Speaker::Operator;
    let request = cluster.begin_submit("s1", speaker, None, &lost, "a bounce", None);
    cluster.result(request).unwrap();
    cluster.pass(5_000);
    let letters = dead_letters(&mut cluster);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].name, name("nobody@pa"));
    assert!(letters[0].reason.contains("nobody@pa"));
    let message = letters[0].message;

    // Again to nobody: it comes back.
    let resubmit = |to| QueueAsk::DeadLetter {
        message,
        change: DeadLetterChange::Resubmit { to },
    };
    assert_eq!(
        ask(&mut cluster, "s1", resubmit(None)),
        QueueAnswer::Changed(1)
    );
    cluster.pass(5_000);
    assert_eq!(dead_letters(&mut cluster).len(), 1);
    let to = Some(name("needham@pa"));
    assert_eq!(
        ask(&mut cluster, "s1", resubmit(to)),
        QueueAnswer::Changed(1)
    );
    cluster.pass(5_000);
    assert_eq!(dead_letters(&mut cluster), []);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [message]);
    let drop = QueueAsk::DeadLetter {
        message,
        change: DeadLetterChange::Drop,
    };
    assert_eq!(ask(&mut cluster, "s1", drop), QueueAnswer::Changed(0));
    cluster.assert_settled();
}

#[test]
fn unplugging_is_called_safe_only_when_everything_is_elsewhere_too() {
    let mut cluster = Cluster::new(2);
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(5_000);
    let view = unplug(&mut cluster, "s1", "s1");
    assert!(view.itself && view.loses_nothing(), "{view:?}");
    let of_the_other = unplug(&mut cluster, "s2", "s1");
    assert!(!of_the_other.itself);

    cluster.kill("s2");
    let view = unplug(&mut cluster, "s1", "s1");
    assert!(
        !view.loses_nothing(),
        "a copy that can't be reached is none: {view:?}"
    );
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "alone");
    let view = unplug(&mut cluster, "s1", "s1");
    assert_eq!(view.mailboxes_alone, 1, "{view:?}");
    assert_eq!(view.mailboxes_of, [name("needham@pa")]);

    cluster.start("s2", Start::Resume);
    cluster.pass(10_000);
    let view = unplug(&mut cluster, "s1", "s1");
    assert!(view.loses_nothing(), "{view:?}");
    let unknown = QueueAsk::Unplug {
        server: server("s9"),
    };
    let refused = cluster.refused("s1", Speaker::Operator, Request::Queue(unknown));
    assert_eq!(refused, ErrorKind::NotFound);
}

#[test]
fn a_server_says_which_messages_it_would_take_over_and_who_waits_for_another() {
    let (mut cluster, _) = waiting();
    let of_s3 = unplug(&mut cluster, "s1", "s3");
    assert_eq!((of_s3.recipients_waiting, of_s3.itself), (2, false));
    let of_s1 = unplug(&mut cluster, "s2", "s1");
    assert_eq!(of_s1.messages_taken_over, 1);
    let itself = unplug(&mut cluster, "s1", "s1");
    assert_eq!((itself.messages_delayed, itself.messages_alone), (1, 0));
}

#[test]
fn a_list_that_is_held_stops_goes_on_when_released_and_is_given_up_as_one() {
    for (what, copies, reports) in [
        (QueueChange::Release, 1, 0),
        (QueueChange::Refuse, 0, 1),
        (QueueChange::Drop, 0, 0),
    ] {
        let mut cluster = Cluster::new(3);
        for who in ["away@pa", "far@pa"] {
            cluster.individual(who);
            let change = EntryChange::Sites(vec![server("s3")]);
            let name = name(who);
            cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
        }
        cluster.group("list^@pa", &["away@pa", "far@pa"], &[]);
        cluster.pass(3_000);
        cluster.kill("s3");
        let message = cluster.submit("s1", "birrell@pa", &["list^@pa"], "to all");
        cluster.pass(3_000);
        let (items, _) = page(&mut cluster, None, 10);
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(items[0].recipient.name, name("list^@pa"));
        assert!(items[0].recipient.reason.starts_with("2 of its members"));

        assert_eq!(change(&mut cluster, "s1", message, QueueChange::Hold), 1);
        cluster.start("s3", Start::Resume);
        cluster.pass(60_000);
        assert_eq!(cluster.inbox("s3", "away@pa"), []);
        assert_eq!(page(&mut cluster, None, 10).0[0].recipient.state, "held");
        change(&mut cluster, "s1", message, what);
        cluster.pass(20_000);
        assert_eq!(cluster.inbox("s3", "away@pa").len(), copies, "{what:?}");
        assert_eq!(cluster.reports.len(), reports, "{what:?}");
        assert_eq!(page(&mut cluster, None, 10).0, []);
    }
}
