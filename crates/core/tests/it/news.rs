//! Read your writes, answers that say as of when, and what a registry's policy makes of a cut-off
//! holder.

use grapevine_core::Start;
use grapevine_model::{
    AlonePolicy, Check, ErrorKind, GroupList, Hlc, OriginId, PolicyChange, Reply, Request, Seen,
    Speaker, StalePolicy, Stamp,
};

use crate::harness::{Cluster, add, name, server};

fn check(group: &str, who: &str) -> Request {
    Request::Check {
        group: name(group),
        list: GroupList::Members,
        who: name(who),
    }
}

fn seen(reply: Reply) -> Vec<Seen> {
    match reply {
        Reply::Written(written) => written.seen,
        other => panic!("{other:?}"),
    }
}

fn policy(change: PolicyChange) -> Request {
    Request::RegistryPolicy {
        registry: "pa".parse().unwrap(),
        change,
    }
}

#[test]
fn an_acknowledged_change_is_read_at_any_server_with_its_token_or_not_at_all() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &[], &[]);
    cluster.pass(2_000);
    cluster.kill("s2");
    let token = seen(cluster.ok(
        "s1",
        Speaker::Operator,
        add("club@pa", GroupList::Members, "birrell@pa"),
    ));
    assert_eq!(token.len(), 1);
    assert_eq!(token[0].registry.as_str(), "pa");
    // The other comes back and hears nobody.
    cluster.kill("s1");
    cluster.start("s2", Start::Resume);
    let old = cluster.ask("s2", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert_eq!(
        old,
        Ok(Reply::Check(Check::No)),
        "without a token it is as s2 knows it"
    );
    let none = cluster.ask_after(
        "s2",
        Speaker::Operator,
        check("club@pa", "birrell@pa"),
        &token,
    );
    assert_eq!(none.unwrap_err().kind, ErrorKind::Unavailable);
    // With the other in reach it fetches what is missing before it answers.
    cluster.start("s1", Start::Resume);
    cluster.pass(1_500);
    let now = cluster.ask_after(
        "s2",
        Speaker::Operator,
        check("club@pa", "birrell@pa"),
        &token,
    );
    assert_eq!(now, Ok(Reply::Check(Check::Yes)));
}

#[test]
fn a_change_that_changed_nothing_gives_tokens_too() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &["birrell@pa"], &[]);
    let again = seen(cluster.ok(
        "s2",
        Speaker::Operator,
        add("club@pa", GroupList::Members, "birrell@pa"),
    ));
    assert!(!again.is_empty());
    let read = cluster.ask_after(
        "s1",
        Speaker::Operator,
        check("club@pa", "birrell@pa"),
        &again,
    );
    assert_eq!(read, Ok(Reply::Check(Check::Yes)));
}

#[test]
fn a_made_up_token_is_unavailable_and_moves_no_clock() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &[], &[]);
    let next_year = Seen {
        registry: "pa".parse().unwrap(),
        stamp: Stamp {
            time: Hlc::at_ms(cluster.now.wall_ms + 365 * 24 * 3_600_000),
            origin: OriginId(77),
        },
    };
    let refused = cluster.ask_after(
        "s1",
        Speaker::Operator,
        check("club@pa", "birrell@pa"),
        &[next_year],
    );
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unavailable);
    let token = seen(cluster.ok(
        "s1",
        Speaker::Operator,
        add("club@pa", GroupList::Members, "birrell@pa"),
    ));
    assert!(token[0].stamp.time.wall_ms() <= cluster.now.wall_ms + 60_000);
}

#[test]
fn an_answer_says_as_of_when_and_since_when_its_holder_is_cut_off() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &[], &[]);
    cluster.pass(2_000);
    cluster.ok("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    let as_of = cluster.as_of.clone().unwrap();
    assert_eq!((as_of.server, as_of.cut_off_since_ms), (server("s1"), None));
    assert_eq!(as_of.at_ms, cluster.now.wall_ms);
    let lost_ms = cluster.now.wall_ms;
    cluster.kill("s2");
    cluster.pass(60_000);
    cluster.ok("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    let as_of = cluster.as_of.clone().unwrap();
    let since_ms = as_of.cut_off_since_ms.unwrap();
    assert!(
        lost_ms.abs_diff(since_ms) <= 1_500,
        "{since_ms} and {lost_ms}"
    );
    assert_eq!(as_of.unheard, [server("s2")]);
}

#[test]
fn of_three_holders_the_one_that_is_cut_off_is_and_the_two_are_not() {
    let mut cluster = Cluster::new(3);
    cluster.group("club@pa", &[], &[]);
    cluster.pass(2_000);
    cluster.kill("s3");
    cluster.pass(10_000);
    cluster.ok("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    let as_of = cluster.as_of.clone().unwrap();
    assert_eq!(as_of.cut_off_since_ms, None);
    assert_eq!(as_of.unheard, [server("s3")]);
    cluster.kill("s2");
    cluster.pass(10_000);
    cluster.ok("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert!(cluster.as_of.clone().unwrap().cut_off_since_ms.is_some());
}

#[test]
fn a_cut_off_holder_answers_as_its_registrys_policy_says() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &["birrell@pa"], &[]);
    let registrar = cluster.login("registrar@pa");
    let stranger = cluster.login("birrell@pa");
    let refuse = policy(PolicyChange::Stale(StalePolicy::Refuse));
    assert_eq!(
        cluster.refused("s1", stranger, refuse.clone()),
        ErrorKind::NotAllowed
    );
    cluster.ok(
        "s1",
        registrar.clone(),
        policy(PolicyChange::Stale(StalePolicy::AnswerForMs(30_000))),
    );
    cluster.pass(2_000);
    cluster.kill("s2");
    cluster.pass(10_000);
    let asked = cluster.ask("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert_eq!(asked, Ok(Reply::Check(Check::Yes)));
    cluster.pass(30_000);
    let late = cluster.refused("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert_eq!(late, ErrorKind::Unavailable);
    let login = Request::Authenticate {
        name: name("birrell@pa"),
        password: grapevine_model::Secret("birrell@pa".into()),
        source: grapevine_model::Source::Local,
    };
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, login),
        ErrorKind::Unavailable
    );
    // `gv` is not `pa`: the policy can be changed while the holder is cut off.
    cluster.ok(
        "s1",
        Speaker::Operator,
        policy(PolicyChange::Stale(StalePolicy::Answer)),
    );
    let asked = cluster.ask("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert_eq!(asked, Ok(Reply::Check(Check::Yes)));
    cluster.ok("s1", Speaker::Operator, refuse);
    let refused = cluster.refused("s1", Speaker::Operator, check("club@pa", "birrell@pa"));
    assert_eq!(refused, ErrorKind::Unavailable);
}

#[test]
fn a_registry_that_refuses_alone_takes_no_change_and_no_mail_with_one_copy() {
    let mut cluster = Cluster::new(2);
    cluster.group("club@pa", &[], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        policy(PolicyChange::Alone(AlonePolicy::Refuse)),
    );
    cluster.pass(2_000);
    cluster.kill("s2");
    let change = add("club@pa", GroupList::Members, "birrell@pa");
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, change.clone()),
        ErrorKind::Unavailable
    );
    let birrell = Speaker::Operator;
    let id = cluster.begin_submit(
        "s1",
        birrell,
        Some("birrell@pa"),
        &["needham@pa"],
        "text",
        None,
    );
    cluster.pass(10_000);
    let sent = cluster.replies.remove(&id).unwrap();
    assert_eq!(sent.unwrap_err().kind, ErrorKind::Unavailable);
    cluster.ok(
        "s1",
        Speaker::Operator,
        policy(PolicyChange::Alone(AlonePolicy::Accept)),
    );
    assert!(matches!(
        cluster.ok("s1", Speaker::Operator, change),
        Reply::Written(written) if written.copies == 1
    ));
}

#[test]
fn registrars_choose_holders_among_the_servers_offered_to_them() {
    let mut cluster = Cluster::new(3);
    let registry = || "es".parse().unwrap();
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::RegistryCreate {
            registry: registry(),
            holders: vec![server("s1")],
            registrars: vec![name("birrell@pa")],
        },
    );
    let birrell = cluster.login("birrell@pa");
    let offer = |which: &str| Request::RegistryPolicy {
        registry: "es".parse().unwrap(),
        change: PolicyChange::Offer(server(which)),
    };
    assert_eq!(
        cluster.refused("s1", birrell.clone(), offer("s2")),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", Speaker::Operator, offer("s2"));
    let hold = |which: &str| Request::HolderAdd {
        registry: "es".parse().unwrap(),
        server: server(which),
    };
    assert_eq!(
        cluster.refused("s1", birrell.clone(), hold("s3")),
        ErrorKind::NotAllowed
    );
    // Nor by the back door, as a member of the group that names the holders.
    let back_door = add("es@gv", GroupList::Members, "s3@gv");
    assert_eq!(
        cluster.refused("s1", birrell.clone(), back_door),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", birrell.clone(), hold("s2"));
    cluster.ok("s1", Speaker::Operator, hold("s3"));
    let show = Request::RegistryShow {
        registry: registry(),
    };
    let Reply::Registry(view) = cluster.ok("s1", Speaker::Anonymous, show) else {
        panic!()
    };
    assert_eq!(view.policy.offered, [server("s2")]);
    assert_eq!(view.holders, [server("s1"), server("s2"), server("s3")]);
    assert_eq!(view.registrars.len(), 1);
}

#[test]
fn the_last_holder_that_has_it_all_can_not_be_removed_while_the_others_fetch() {
    let mut cluster = Cluster::new(3);
    let of = |which: &str| ("es".parse().unwrap(), server(which));
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::RegistryCreate {
            registry: "es".parse().unwrap(),
            holders: vec![server("s1")],
            registrars: vec![name("registrar@pa")],
        },
    );
    cluster.pass(2_000);
    cluster.kill("s3");
    let (registry, server) = of("s3");
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::HolderAdd { registry, server },
    );
    let (registry, server) = of("s1");
    let remove = Request::HolderRemove { registry, server };
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, remove.clone()),
        ErrorKind::Conflict
    );
    cluster.start("s3", Start::Resume);
    cluster.pass(10_000);
    cluster.ok("s1", Speaker::Operator, remove);
    cluster.pass(20_000);
    let show = Request::RegistryShow {
        registry: "es".parse().unwrap(),
    };
    let Reply::Registry(view) = cluster.ok("s2", Speaker::Anonymous, show) else {
        panic!()
    };
    assert_eq!(
        (&view.holders, &view.ready),
        (&vec![of("s3").1], &vec![of("s3").1])
    );
}
