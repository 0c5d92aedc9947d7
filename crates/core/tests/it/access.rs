//! Who may do what: the table of data-model.md, tried by everybody.

use grapevine_model::{Check, EntryChange, ErrorKind, GroupList, Reply, Request, Secret, Speaker};

use crate::harness::{Cluster, add, name, remove};

/// One registrar of another registry, an owner, a friend, a member, a stranger, and nobody.
fn cast() -> (Cluster, Vec<(&'static str, Speaker)>) {
    let mut cluster = Cluster::new(2);
    for who in ["owner@pa", "friend@pa", "member@pa", "stranger@pa"] {
        cluster.individual(who);
    }
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: Vec::new(),
        registrars: vec![name("birrell@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.group("g^@pa", &["member@pa"], &["owner@pa"]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g^@pa", GroupList::Friends, "friend@pa"),
    );
    cluster.pass(2_000);
    let mut speakers = Vec::new();
    for (role, who) in [
        ("registrar", "registrar@pa"),
        ("other registrar", "birrell@pa"),
        ("owner", "owner@pa"),
        ("friend", "friend@pa"),
        ("member", "member@pa"),
        ("stranger", "stranger@pa"),
    ] {
        speakers.push((role, cluster.login(who)));
    }
    speakers.push(("anonymous", Speaker::Anonymous));
    (cluster, speakers)
}

#[test]
fn each_may_do_what_the_table_says_and_no_more() {
    let (mut cluster, speakers) = cast();
    let change = |who: &str, change| Request::Change {
        name: name(who),
        change,
    };
    let password = |who: &str| change(who, EntryChange::Password(Secret("hash of x".into())));
    let table: Vec<(&str, Request, &[&str])> = vec![
        (
            "add a member",
            add("g^@pa", GroupList::Members, "needham@pa"),
            &["owner"],
        ),
        (
            "remove a member",
            remove("g^@pa", GroupList::Members, "needham@pa"),
            &["owner"],
        ),
        (
            "add an owner",
            add("g^@pa", GroupList::Owners, "needham@pa"),
            &["owner"],
        ),
        (
            "remove an owner",
            remove("g^@pa", GroupList::Owners, "needham@pa"),
            &["owner"],
        ),
        (
            "add a friend",
            add("g^@pa", GroupList::Friends, "needham@pa"),
            &["owner"],
        ),
        (
            "remark",
            change("g^@pa", EntryChange::Remark("r".into())),
            &["owner"],
        ),
        (
            "leave",
            change("g^@pa", EntryChange::Leave),
            &[
                "registrar",
                "other registrar",
                "owner",
                "friend",
                "member",
                "stranger",
            ],
        ),
        (
            "join",
            change("g^@pa", EntryChange::Join),
            &["owner", "friend"],
        ),
        ("another's password", password("needham@pa"), &["registrar"]),
        (
            "another's forwarding",
            change("needham@pa", EntryChange::Forward(Vec::new())),
            &["registrar"],
        ),
        (
            "another's sites",
            change(
                "needham@pa",
                EntryChange::Sites(vec!["s1".parse().unwrap()]),
            ),
            &["registrar"],
        ),
        (
            "an alias",
            change("needham@pa", EntryChange::AliasAdd(name("roger@pa"))),
            &["registrar"],
        ),
        (
            "a registry",
            Request::RegistryCreate {
                registry: "sf".parse().unwrap(),
                holders: Vec::new(),
                registrars: Vec::new(),
            },
            &["registrar"],
        ),
        (
            "a token",
            Request::TokenCreate {
                digest: vec![0; 32],
                expires_ms: 1,
            },
            &["registrar"],
        ),
        (
            "retire a server",
            Request::Retire {
                server: "nosuch".parse().unwrap(),
            },
            &["registrar"],
        ),
        (
            "read another's inbox",
            Request::InboxList {
                name: name("needham@pa"),
            },
            &[],
        ),
        (
            "empty another's inbox",
            Request::InboxDelete {
                name: name("needham@pa"),
                messages: Vec::new(),
            },
            &[],
        ),
    ];
    for (what, request, allowed) in table {
        for (role, speaker) in &speakers {
            for at in ["s1", "s2"] {
                let result = cluster.ask(at, speaker.clone(), request.clone());
                let denied = matches!(&result, Err(r) if matches!(r.kind, ErrorKind::NotAllowed | ErrorKind::NotAuthenticated));
                assert_eq!(
                    !denied,
                    allowed.contains(role),
                    "{role} at {at}: {what}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn a_registrar_has_no_power_in_another_registry() {
    let (mut cluster, speakers) = cast();
    let (_, es) = &speakers[1];
    let create = |who: &str| Request::IndividualCreate {
        name: name(who),
        password: None,
        sites: Vec::new(),
    };
    assert_eq!(
        cluster.refused("s2", es.clone(), create("x@pa")),
        ErrorKind::NotAllowed
    );
    cluster.ok("s2", es.clone(), create("x@es"));
    assert_eq!(
        cluster.refused(
            "s2",
            es.clone(),
            Request::Delete {
                name: name("needham@pa")
            }
        ),
        ErrorKind::NotAllowed
    );
    cluster.ok("s2", es.clone(), Request::Delete { name: name("x@es") });
    let holder = |registry: &str| Request::HolderRemove {
        registry: registry.parse().unwrap(),
        server: "s2".parse().unwrap(),
    };
    assert_eq!(
        cluster.refused("s1", es.clone(), holder("pa")),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", es.clone(), holder("es"));
}

#[test]
fn a_name_used_again_inherits_nothing() {
    let (mut cluster, _) = cast();
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name("member@pa"),
    };
    assert_eq!(
        cluster.ok("s2", Speaker::Operator, check.clone()),
        Reply::Check(Check::Yes)
    );
    let old = cluster.login("member@pa");
    let message = cluster.submit("s1", "birrell@pa", &["member@pa"], "for the first one");
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Delete {
            name: name("member@pa"),
        },
    );
    cluster.individual("member@pa");
    cluster.pass(2_000);
    assert_eq!(
        cluster.ok("s2", Speaker::Operator, check),
        Reply::Check(Check::No)
    );
    assert!(!cluster.inbox("s2", "member@pa").contains(&message));
    assert_eq!(
        cluster.refused(
            "s1",
            old,
            Request::InboxList {
                name: name("member@pa")
            }
        ),
        ErrorKind::NotAllowed
    );
}

#[test]
fn closure_follows_nested_groups_wildcards_and_cycles() {
    let (mut cluster, _) = cast();
    cluster.group("inner^@pa", &["needham@pa"], &[]);
    cluster.group("outer^@pa", &["inner^@pa"], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("inner^@pa", GroupList::Members, "outer^@pa"),
    );
    cluster.group("everybody^@pa", &["*@pa"], &[]);
    let check = |group: &str, who: &str| Request::Check {
        group: name(group),
        list: GroupList::Members,
        who: name(who),
    };
    for (group, who, is) in [
        ("outer^@pa", "needham@pa", Check::Yes),
        ("outer^@pa", "stranger@pa", Check::No),
        ("everybody^@pa", "stranger@pa", Check::Yes),
        ("everybody^@pa", "nosuch@pa", Check::No),
    ] {
        assert_eq!(
            cluster.ok("s2", Speaker::Operator, check(group, who)),
            Reply::Check(is),
            "{who} in {group}"
        );
    }
}

#[test]
fn wrong_passwords_and_unknown_names_get_the_same_answer() {
    let mut cluster = Cluster::new(2);
    let login = |who: &str, password: &str| Request::Authenticate {
        name: name(who),
        password: Secret(password.into()),
        source: grapevine_model::Source::Local,
    };
    let answers: Vec<_> = [
        ("birrell@pa", "wrong"),
        ("nobody@pa", "x"),
        ("x@elsewhere", "x"),
    ]
    .into_iter()
    .map(|(who, password)| {
        cluster
            .ask("s2", Speaker::Anonymous, login(who, password))
            .unwrap_err()
    })
    .collect();
    assert!(
        answers
            .iter()
            .all(|a| *a == answers[0] && a.kind == ErrorKind::NotAuthenticated)
    );
    let asked = cluster
        .effects
        .iter()
        .filter(|(_, e)| matches!(e, grapevine_core::Effect::Verify { .. }))
        .count();
    assert!(asked >= 3, "each was checked, at the same cost");
}
