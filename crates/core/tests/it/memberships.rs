//! Which groups somebody is in, in reverse, over registries that may be out of reach.

use grapevine_model::{Depth, ErrorKind, GroupList, Reply, Request, Speaker};

use crate::harness::{Cluster, add, name, remove};

pub(crate) fn member_of(who: &str, list: GroupList, depth: Depth) -> Request {
    Request::MemberOf {
        name: name(who),
        list,
        depth,
        after: None,
        limit: 100,
    }
}

pub(crate) fn groups(cluster: &mut Cluster, at: &str, request: Request) -> Vec<String> {
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Members {
            members,
            next: None,
            ..
        } => members.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// Three servers; `pa` on all of them, `es` on the third alone.
fn two_registries() -> Cluster {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec!["s3".parse().unwrap()],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.group("inner^@pa", &["needham@pa"], &["birrell@pa"]);
    cluster.group("outer^@es", &["inner^@pa"], &[]);
    cluster.group("all^@es", &["*@pa"], &[]);
    cluster.pass(2_000);
    cluster
}

#[test]
fn the_groups_of_a_member_are_found_in_every_registry() {
    let mut cluster = two_registries();
    for at in ["s1", "s2", "s3"] {
        let direct = member_of("needham@pa", GroupList::Members, Depth::Direct);
        assert_eq!(groups(&mut cluster, at, direct), ["all^@es", "inner^@pa"]);
        let nested = member_of("needham@pa", GroupList::Members, Depth::Nested);
        assert_eq!(
            groups(&mut cluster, at, nested),
            ["all^@es", "inner^@pa", "outer^@es"]
        );
        let owned = member_of("birrell@pa", GroupList::Owners, Depth::Direct);
        assert_eq!(groups(&mut cluster, at, owned), ["inner^@pa"]);
    }
    cluster.ok(
        "s2",
        Speaker::Operator,
        remove("inner^@pa", GroupList::Members, "needham@pa"),
    );
    cluster.pass(2_000);
    let nested = member_of("needham@pa", GroupList::Members, Depth::Nested);
    assert_eq!(groups(&mut cluster, "s1", nested), ["all^@es"]);
}

#[test]
fn memberships_end_over_cycles_and_come_in_pages() {
    let mut cluster = two_registries();
    cluster.ok(
        "s3",
        Speaker::Operator,
        add("inner^@pa", GroupList::Members, "outer^@es"),
    );
    let mut request = member_of("needham@pa", GroupList::Members, Depth::Nested);
    let mut found = Vec::new();
    loop {
        if let Request::MemberOf { limit, .. } = &mut request {
            *limit = 1;
        }
        let Reply::Members { members, next, .. } =
            cluster.ok("s2", Speaker::Operator, request.clone())
        else {
            panic!("no page")
        };
        assert_eq!(members.len(), 1);
        found.extend(members.iter().map(ToString::to_string));
        match (next, &mut request) {
            (Some(next), Request::MemberOf { after, .. }) => *after = Some(next),
            _ => break,
        }
    }
    assert_eq!(found, ["all^@es", "inner^@pa", "outer^@es"]);
}

#[test]
fn a_registry_out_of_reach_is_never_a_shorter_list() {
    let mut cluster = two_registries();
    cluster.kill("s3");
    let request = member_of("needham@pa", GroupList::Members, Depth::Direct);
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, request),
        ErrorKind::Unavailable
    );
    cluster.start("s3", grapevine_core::Start::Resume);
    cluster.pass(5_000);
    let request = member_of("needham@pa", GroupList::Members, Depth::Direct);
    assert_eq!(
        groups(&mut cluster, "s1", request),
        ["all^@es", "inner^@pa"],
        "and after a restart the index is as it was"
    );
}

#[test]
fn memberships_are_for_those_who_have_logged_in() {
    let mut cluster = two_registries();
    let request = member_of("needham@pa", GroupList::Members, Depth::Direct);
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, request),
        ErrorKind::NotAuthenticated
    );
    let nobody = member_of("nobody@pa", GroupList::Members, Depth::Direct);
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, nobody),
        ErrorKind::NotFound
    );
}

#[test]
fn memberships_are_read_with_the_clients_own_writes_and_say_as_of_when() {
    let mut cluster = two_registries();
    let request = || member_of("needham@pa", GroupList::Members, Depth::Direct);
    let add = add("outer^@es", GroupList::Members, "needham@pa");
    let token = match cluster.ok("s3", Speaker::Operator, add) {
        Reply::Written(written) => written.seen,
        other => panic!("{other:?}"),
    };
    assert_eq!(token[0].registry.as_str(), "es");
    let made_up = grapevine_model::Seen {
        registry: "pa".parse().unwrap(),
        stamp: grapevine_model::Stamp {
            time: grapevine_model::Hlc::at_ms(cluster.now.wall_ms + 3_600_000),
            origin: token[0].stamp.origin,
        },
    };
    // Memberships lead through every registry: one in which something is missing makes it wait.
    let lacking = cluster.ask_after("s3", Speaker::Operator, request(), &[made_up]);
    assert_eq!(lacking.unwrap_err().kind, ErrorKind::Unavailable);
    for at in ["s1", "s3"] {
        match cluster.ask_after(at, Speaker::Operator, request(), &token) {
            Ok(Reply::Members { members, .. }) => {
                assert!(members.contains(&"outer^@es".parse().unwrap()), "{at}");
            }
            other => panic!("{other:?}"),
        }
        assert!(cluster.as_of.is_some(), "{at}");
    }
}

#[test]
fn a_cut_off_holder_that_may_not_answer_gives_no_shorter_list_of_memberships() {
    let mut cluster = Cluster::new(2);
    cluster.group("club^@pa", &["needham@pa"], &[]);
    let refuse = Request::RegistryPolicy {
        registry: "pa".parse().unwrap(),
        change: grapevine_model::PolicyChange::Stale(grapevine_model::StalePolicy::Refuse),
    };
    cluster.ok("s1", Speaker::Operator, refuse);
    cluster.pass(2_000);
    let request = || member_of("needham@pa", GroupList::Members, Depth::Direct);
    assert_eq!(groups(&mut cluster, "s1", request()), ["club^@pa"]);
    cluster.kill("s2");
    cluster.pass(60_000);
    let refused = cluster.ask("s1", Speaker::Operator, request());
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Unavailable);
}
