//! Distribution lists: pages, nesting, cycles, other registries.

use grapevine_model::{
    AlonePolicy, EntryChange, ErrorKind, GroupList, ListCopy, PolicyChange, Reply, Request,
    Speaker, Unsubscribe,
};

use crate::harness::{Cluster, add, name, server};

#[test]
fn a_list_of_many_pages_reaches_every_member_once() {
    let mut cluster = Cluster::new(2);
    let members: Vec<String> = (0..1_700).map(|n| format!("m{n}@pa")).collect();
    for member in &members {
        cluster.individual(member);
    }
    cluster.group(
        "all^@pa",
        &members.iter().map(String::as_str).collect::<Vec<_>>(),
        &[],
    );
    let message = cluster.submit("s1", "birrell@pa", &["all^@pa"], "hello all");
    cluster.pass(60_000);
    for member in &members {
        assert_eq!(cluster.inbox("s2", member), [message], "{member}");
    }
    cluster.assert_settled();
}

#[test]
fn nested_lists_and_their_cycles_give_one_copy() {
    let mut cluster = Cluster::new(2);
    cluster.group("b^@pa", &["needham@pa"], &[]);
    cluster.group("a^@pa", &["b^@pa", "needham@pa", "birrell@pa"], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("b^@pa", GroupList::Members, "a^@pa"),
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("b^@pa", GroupList::Members, "b^@pa"),
    );
    let message = cluster.submit("s2", "birrell@pa", &["a^@pa"], "hello");
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [message]);
    assert!(cluster.reports.is_empty());
    cluster.assert_settled();
}

#[test]
fn a_group_of_a_registry_held_elsewhere_is_handed_over() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec!["s2".parse().unwrap(), "s3".parse().unwrap()],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    cluster.group("list^@es", &["hertz@es", "needham@pa"], &[]);
    cluster.group("both^@pa", &["list^@es", "needham@pa"], &[]);
    cluster.pass(2_000);
    let message = cluster.submit("s1", "birrell@pa", &["both^@pa"], "hello");
    cluster.pass(20_000);
    assert_eq!(
        cluster.inbox("s1", "hertz@es"),
        [message],
        "listed through a server that holds neither"
    );
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
    cluster.assert_settled();
}

/// `n@es`, of a registry at all three servers as `pa` is, and `g^@pa`, which has him and others.
fn two_registries() -> Cluster {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: ["s1", "s2", "s3"].map(server).to_vec(),
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("n@es");
    cluster.group("g^@pa", &["n@es", "needham@pa"], &[]);
    cluster
}

fn sites(who: &str, sites: &[&str]) -> Request {
    Request::Change {
        name: name(who),
        change: EntryChange::Sites(sites.iter().copied().map(server).collect()),
    }
}

#[test]
fn a_copy_under_way_follows_the_mailbox_of_a_member_of_another_registry() {
    let mut cluster = two_registries();
    cluster.ok("s1", Speaker::Operator, sites("n@es", &["s1", "s3"]));
    cluster.ok("s1", Speaker::Operator, sites("needham@pa", &["s1", "s2"]));
    cluster.pass(5_000);
    cluster.kill("s3");
    let message = cluster.submit("s1", "birrell@pa", &["g^@pa"], "hello");
    cluster.pass(10_000);
    // Its second copy is still to be made where there is nobody any more.
    cluster.ok("s1", Speaker::Operator, sites("n@es", &["s1", "s2"]));
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s2", "n@es"), [message]);
    assert_eq!(cluster.inbox("s1", "n@es"), [message]);
    cluster.assert_settled();
}

#[test]
fn a_mailbox_sent_astray_by_a_server_that_was_behind_is_brought_back() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: ["s2", "s3"].map(server).to_vec(),
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("n@es");
    cluster.ok("s2", Speaker::Operator, sites("n@es", &["s1", "s2"]));
    cluster.pass(10_000);
    // The first server learns where the mailbox is, and remembers it for a minute.
    let first = cluster.submit("s1", "birrell@pa", &["n@es"], "hello");
    cluster.pass(500);
    cluster.ok("s2", Speaker::Operator, sites("n@es", &["s1", "s3"]));
    let second = cluster.submit("s1", "birrell@pa", &["n@es"], "where are you?");
    cluster.kill("s1");
    cluster.pass(60_000);
    for at in ["s2", "s3"] {
        assert_eq!(cluster.inbox(at, "n@es"), [first, second], "at {at}");
    }
}

#[test]
fn a_list_that_may_still_be_refused_is_not_expanded() {
    let mut cluster = Cluster::new(4);
    for (registry, holder) in [("es", "s1"), ("zz", "s3")] {
        let create = Request::RegistryCreate {
            registry: registry.parse().unwrap(),
            holders: vec![server(holder)],
            registrars: vec![name("registrar@pa")],
        };
        cluster.ok("s1", Speaker::Operator, create);
    }
    cluster.pass(2_000);
    let change = PolicyChange::Alone(AlonePolicy::Refuse);
    let registry = "es".parse().unwrap();
    let policy = Request::RegistryPolicy { registry, change };
    cluster.ok("s1", Speaker::Operator, policy);
    cluster.group("far^@zz", &["needham@pa"], &[]);
    cluster.group("near^@es", &["far^@zz"], &[]);
    cluster.pass(5_000);
    // The list's holder is handed the message, and finds no second disk for it in time.
    cluster.part("s1", "s2");
    cluster.part("s1", "s3");
    let message = cluster.submit("s4", "birrell@pa", &["near^@es"], "hello");
    cluster.pass(10_000);
    cluster.broken.clear();
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [message]);
    assert!(cluster.reports.is_empty(), "{:?}", cluster.reports);
    cluster.assert_settled();
}

#[test]
fn owners_of_a_list_are_reached_by_its_owners_address() {
    let mut cluster = Cluster::new(2);
    cluster.group("csl^@pa", &[], &["needham@pa"]);
    cluster.group("lone^@pa", &[], &[]);
    let message = cluster.submit("s1", "birrell@pa", &["owners-csl^@pa"], "hello");
    let to_registrars = cluster.submit("s1", "birrell@pa", &["owners-lone^@pa"], "hello");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [message]);
    assert_eq!(cluster.inbox("s2", "registrar@pa"), [to_registrars]);
    cluster.assert_settled();
}

/// What the newest message in an inbox says of its list, and its size as read.
fn newest(cluster: &mut Cluster, at: &str, who: &str) -> (Option<ListCopy>, u64) {
    let request = Request::InboxList { name: name(who) };
    let Reply::Inbox(listing) = cluster.ok(at, Speaker::Operator, request) else {
        panic!("no inbox")
    };
    let last = listing.messages.last().unwrap();
    (last.list.clone(), last.len)
}

fn unsubscribe(list: &str, token: &Unsubscribe) -> Request {
    Request::Change {
        name: name(list),
        change: EntryChange::Unsubscribe(token.clone()),
    }
}

#[test]
fn a_members_copy_says_of_which_list_it_is_and_its_token_takes_him_out_and_nobody_else() {
    let mut cluster = Cluster::new(2);
    cluster.group("csl^@pa", &["needham@pa", "birrell@pa"], &[]);
    cluster.group("other^@pa", &["needham@pa"], &[]);
    cluster.submit("s1", "birrell@pa", &["csl^@pa"], "hello");
    cluster.pass(3_000);
    let (copy, size) = newest(&mut cluster, "s1", "needham@pa");
    assert_eq!(
        newest(&mut cluster, "s2", "needham@pa"),
        (copy.clone(), size)
    );
    let copy = copy.unwrap();
    assert_eq!(copy.list, name("csl^@pa"));
    assert_eq!(size, 5 + copy.header().len() as u64, "as it is read");
    let token = copy.unsubscribe.unwrap();

    // Of another list, of another member, made up.
    let (others, _) = newest(&mut cluster, "s1", "birrell@pa");
    let others = others.unwrap().unsubscribe.unwrap();
    let mixed = Unsubscribe {
        member: token.member,
        ..others
    };
    for (list, wrong) in [("other^@pa", &token), ("csl^@pa", &mixed)] {
        let refused = cluster.refused("s1", Speaker::Anonymous, unsubscribe(list, wrong));
        assert_eq!(refused, ErrorKind::NotAllowed);
    }
    cluster.ok("s2", Speaker::Anonymous, unsubscribe("csl^@pa", &token));
    // Twice is once.
    cluster.ok("s1", Speaker::Anonymous, unsubscribe("csl^@pa", &token));
    let members = |list: &str| Request::Members {
        group: name(list),
        list: GroupList::Members,
        after: None,
        limit: 10,
    };
    for (list, expected) in [("csl^@pa", "birrell@pa"), ("other^@pa", "needham@pa")] {
        let Reply::Members { members, .. } = cluster.ok("s1", Speaker::Operator, members(list))
        else {
            panic!("no members")
        };
        let members: Vec<String> = members.iter().map(ToString::to_string).collect();
        assert_eq!(members, [expected]);
    }
}

#[test]
fn a_token_of_one_who_is_gone_is_nothing_to_whoever_has_his_name_now() {
    let mut cluster = Cluster::new(2);
    cluster.group("csl^@pa", &["needham@pa"], &[]);
    cluster.submit("s1", "birrell@pa", &["csl^@pa"], "hello");
    cluster.pass(3_000);
    let token = newest(&mut cluster, "s1", "needham@pa").0.unwrap();
    let token = token.unsubscribe.unwrap();
    let gone = Request::Delete {
        name: name("needham@pa"),
    };
    cluster.ok("s1", Speaker::Operator, gone);
    cluster.individual("needham@pa");
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("csl^@pa", GroupList::Members, "needham@pa"),
    );
    cluster.ok("s1", Speaker::Anonymous, unsubscribe("csl^@pa", &token));
    let message = cluster.submit("s1", "birrell@pa", &["csl^@pa"], "still there?");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [message]);
}

#[test]
fn a_direct_copy_says_nothing_of_lists_and_what_fails_of_a_list_its_owners_hear() {
    let mut cluster = Cluster::new(2);
    cluster.group(
        "csl^@pa",
        &["birrell@pa", "gone@outside.example"],
        &["needham@pa"],
    );
    let direct = cluster.submit("s1", "birrell@pa", &["needham@pa"], "to you");
    cluster.pass(2_000);
    assert_eq!(newest(&mut cluster, "s1", "needham@pa"), (None, 6));
    cluster.submit("s1", "birrell@pa", &["csl^@pa"], "hello");
    cluster.pass(5_000);
    let report = &cluster.reports[0];
    let to = report.submission.envelope.recipients[0].name.clone();
    assert_eq!(to, name("owners-csl^@pa"), "not the sender");
    assert_eq!(report.lines[0].name, name("gone@outside.example"));
    let id = report.submission.id.unwrap();
    let mut inbox = cluster.inbox("s2", "needham@pa");
    inbox.sort();
    assert_eq!(inbox, [direct, id]);
    cluster.assert_settled();
}

#[test]
fn lists_go_on_while_the_only_other_site_is_away() {
    let mut cluster = Cluster::new(2);
    cluster.group("csl^@pa", &["birrell@pa", "needham@pa"], &["needham@pa"]);
    cluster.pass(5_000);
    cluster.alarms_expected = true;
    cluster.kill("s2");
    cluster.pass(20_000);
    // More than are under way at once, and none of them gets its second copy.
    let sent: Vec<_> = (0..12)
        .map(|n| cluster.submit("s1", "birrell@pa", &["csl^@pa"], &format!("message {n}")))
        .collect();
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), sent);
}
