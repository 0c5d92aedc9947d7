//! Quotas: counted with each change, looked at where a message comes in, told to both sides.

use grapevine_model::{
    EntryChange, MessageId, OverQuotaPolicy, PolicyChange, Quota, RegistryName, Reply, Request,
    Speaker, Usage,
};

use crate::harness::{Cluster, OVER_QUOTA_MS, name, server};

fn octets(most: u64) -> Quota {
    Quota {
        octets: Some(most),
        messages: None,
    }
}

fn set_quota(cluster: &mut Cluster, who: &str, quota: Quota) {
    let change = EntryChange::Quota(quota);
    let request = Request::Change {
        name: name(who),
        change,
    };
    let registrar = Speaker::Operator;
    cluster.ok("s1", registrar, request);
    cluster.pass(1_000);
}

fn policy(cluster: &mut Cluster, change: PolicyChange) {
    let registry = "pa".parse::<RegistryName>().unwrap();
    let request = Request::RegistryPolicy { registry, change };
    cluster.ok("s1", Speaker::Operator, request);
    cluster.pass(1_000);
}

fn usage(cluster: &mut Cluster, at: &str, who: &str) -> Usage {
    let request = Request::InboxList { name: name(who) };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Inbox(listing) => {
            let counted = listing
                .messages
                .iter()
                .fold(Usage::default(), |sum, listed| {
                    sum.plus(Usage::of(listed.len))
                });
            assert_eq!(listing.usage, counted, "the count is not what is there");
            listing.usage
        }
        other => panic!("{other:?}"),
    }
}

fn delete(cluster: &mut Cluster, at: &str, who: &str, message: MessageId) {
    let request = Request::InboxDelete {
        name: name(who),
        messages: vec![message],
    };
    cluster.ok(at, Speaker::Operator, request);
    cluster.pass(1_000);
}

/// What a server that has the message in custody says of a recipient: its state and reason.
fn waiting(cluster: &mut Cluster, message: MessageId) -> Option<(String, String)> {
    match cluster.ok("s1", Speaker::Operator, Request::Trace { message }) {
        Reply::Trace(trace) => trace
            .recipients
            .first()
            .map(|r| (r.state.clone(), r.reason.clone())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_waits_with_its_reason_and_comes_in_when_there_is_room() {
    let mut cluster = Cluster::new(2);
    set_quota(&mut cluster, "needham@pa", octets(12));
    let first = cluster.submit("s1", "birrell@pa", &["needham@pa"], "12345");
    let second = cluster.submit("s1", "birrell@pa", &["needham@pa"], "67890");
    let third = cluster.submit("s1", "birrell@pa", &["needham@pa", "birrell@pa"], "abcde");
    cluster.pass(5_000);
    for at in ["s1", "s2"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [first, second]);
        // Nobody else waits for it.
        assert_eq!(cluster.inbox(at, "birrell@pa"), [third]);
        let full = Usage {
            octets: 10,
            messages: 2,
        };
        assert_eq!(usage(&mut cluster, at, "needham@pa"), full);
    }
    let (state, reason) = waiting(&mut cluster, third).unwrap();
    assert_eq!(
        (&*state, &*reason),
        ("waiting", "the inbox of needham@pa is full")
    );
    delete(&mut cluster, "s2", "needham@pa", first);
    cluster.pass(60_000);
    for at in ["s1", "s2"] {
        assert_eq!(cluster.inbox(at, "needham@pa"), [second, third]);
    }
    assert!(cluster.reports.is_empty());
    cluster.assert_settled();
}

#[test]
fn what_does_not_fit_for_the_stated_time_is_reported_and_for_no_shorter_one() {
    let mut cluster = Cluster::new(2);
    set_quota(&mut cluster, "needham@pa", octets(4));
    cluster.submit("s2", "birrell@pa", &["needham@pa"], "12345");
    cluster.pass(OVER_QUOTA_MS - 60_000);
    assert!(cluster.reports.is_empty());
    // Looked at when it is tried, which is a quarter of an hour later at most.
    cluster.pass(OVER_QUOTA_MS + 20 * 60_000);
    let lines: Vec<_> = cluster.reports.iter().flat_map(|r| &r.lines).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].status, "5.2.2");
    assert_eq!(lines[0].reason, "the inbox of needham@pa is full");
    cluster.assert_settled();
}

#[test]
fn a_registry_that_refuses_has_it_said_at_the_door_and_reported_at_once() {
    let mut cluster = Cluster::new(2);
    let door = |cluster: &mut Cluster| {
        let name = name("needham@pa");
        cluster.ok("s1", Speaker::Anonymous, Request::CheckRecipient { name })
    };
    assert_eq!(door(&mut cluster), Reply::Ok);
    set_quota(&mut cluster, "needham@pa", octets(5));
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "12345");
    cluster.pass(1_000);
    assert_eq!(
        door(&mut cluster),
        Reply::RecipientFull(OverQuotaPolicy::Later)
    );
    policy(
        &mut cluster,
        PolicyChange::OverQuota(OverQuotaPolicy::Refuse),
    );
    assert_eq!(
        door(&mut cluster),
        Reply::RecipientFull(OverQuotaPolicy::Refuse)
    );
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "67890");
    cluster.pass(5_000);
    assert_eq!(cluster.reports.len(), 1);
    assert_eq!(cluster.reports[0].lines[0].status, "5.2.2");
    cluster.assert_settled();
}

#[test]
fn the_count_survives_a_restart_and_is_the_same_at_every_site() {
    let mut cluster = Cluster::new(2);
    for n in 0..5 {
        cluster.submit("s1", "birrell@pa", &["needham@pa"], &"x".repeat(n * 100));
    }
    cluster.pass(2_000);
    let before = usage(&mut cluster, "s2", "needham@pa");
    assert_eq!((before.octets, before.messages), (1_000, 5));
    cluster.kill("s2");
    cluster.start("s2", grapevine_core::Start::Resume);
    cluster.pass(5_000);
    assert_eq!(usage(&mut cluster, "s2", "needham@pa"), before);
    let oldest = cluster.inbox("s2", "needham@pa")[0];
    delete(&mut cluster, "s2", "needham@pa", oldest);
    for at in ["s1", "s2"] {
        assert_eq!(usage(&mut cluster, at, "needham@pa").messages, 4);
    }
}

#[test]
fn both_sides_of_a_silence_fill_an_inbox_once_each_and_no_more() {
    let mut cluster = Cluster::new(2);
    set_quota(&mut cluster, "needham@pa", octets(10));
    cluster.cut.insert(server("s2"));
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        for text in ["12345", "67890", "abcde"] {
            cluster.submit(
                at,
                "birrell@pa",
                &["needham@pa"],
                &format!("{text}{at}")[..5],
            );
        }
        cluster.pass(1_000);
        assert_eq!(usage(&mut cluster, at, "needham@pa").octets, 10);
    }
    cluster.cut.clear();
    cluster.pass(20_000);
    for at in ["s1", "s2"] {
        // The stated bound: its quota, times its sites.
        assert_eq!(usage(&mut cluster, at, "needham@pa").octets, 20);
    }
}

#[test]
fn the_quota_of_a_registry_counts_all_its_inboxes_at_a_server() {
    let mut cluster = Cluster::new(2);
    policy(&mut cluster, PolicyChange::Quota(octets(9)));
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "12345");
    cluster.pass(1_000);
    let waits = cluster.submit("s1", "needham@pa", &["birrell@pa"], "67890");
    cluster.pass(5_000);
    assert!(cluster.inbox("s1", "birrell@pa").is_empty());
    let (_, reason) = waiting(&mut cluster, waits).unwrap();
    assert_eq!(reason, "the inboxes of pa together are full");
    policy(&mut cluster, PolicyChange::Quota(Quota::default()));
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [waits]);
    cluster.assert_settled();
}

#[test]
fn an_inbox_site_that_does_not_hold_the_registry_keeps_to_the_quota_too() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s1")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    let sites = EntryChange::Sites(vec![server("s2"), server("s3")]);
    let request = Request::Change {
        name: name("hertz@es"),
        change: sites,
    };
    cluster.ok("s1", Speaker::Operator, request);
    set_quota(&mut cluster, "hertz@es", octets(5));
    let first = cluster.submit("s2", "birrell@pa", &["hertz@es"], "12345");
    cluster.pass(3_000);
    cluster.submit("s2", "birrell@pa", &["hertz@es"], "67890");
    cluster.pass(5_000);
    for at in ["s2", "s3"] {
        assert_eq!(cluster.inbox(at, "hertz@es"), [first]);
    }
}

#[test]
fn how_much_is_held_is_shown_to_its_owner_and_his_registrars_only() {
    let mut cluster = Cluster::new(2);
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "12345");
    cluster.pass(1_000);
    for (who, shown) in [
        ("needham@pa", Some(Usage::of(5))),
        ("registrar@pa", Some(Usage::of(5))),
        ("birrell@pa", None),
    ] {
        let speaker = cluster.login(who);
        let name = name("needham@pa");
        match cluster.ok("s1", speaker, Request::Show { name }) {
            Reply::Entry(view) => assert_eq!(view.usage, shown, "{who}"),
            other => panic!("{other:?}"),
        }
    }
}
