//! Names that change hands: rename, two creations of one name, members that point at nobody.

use grapevine_core::Start;
use grapevine_model::{
    AsideChange, Check, Conflict, Dangle, Dangling, EntryChange, EntryView, ErrorKind, GroupList,
    Incarnation, Quota, Reply, Request, Secret, Source, Speaker,
};

use crate::harness::{Cluster, add, name, remove};

fn change(who: &str, change: EntryChange) -> Request {
    Request::Change {
        name: name(who),
        change,
    }
}

fn rename(who: &str, to: &str) -> Request {
    change(who, EntryChange::Rename(name(to)))
}

fn view(cluster: &mut Cluster, at: &str, who: &str) -> EntryView {
    match cluster.ok(at, Speaker::Operator, Request::Show { name: name(who) }) {
        Reply::Entry(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn check(cluster: &mut Cluster, at: &str, group: &str, who: &str) -> Check {
    let request = Request::Check {
        group: name(group),
        list: GroupList::Members,
        who: name(who),
    };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Check(check) => check,
        other => panic!("{other:?}"),
    }
}

fn members(cluster: &mut Cluster, at: &str, group: &str) -> Vec<String> {
    let request = Request::Members {
        group: name(group),
        list: GroupList::Members,
        after: None,
        limit: 100,
    };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Members { members, .. } => members.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_renamed_individual_keeps_mail_login_and_memberships() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &["needham@pa"], &["needham@pa"]);
    let early = cluster.submit("s1", "birrell@pa", &["needham@pa"], "before");
    cluster.pass(2_000);
    let session = cluster.login("needham@pa");
    let before = view(&mut cluster, "s1", "needham@pa");
    let registrar = cluster.login("registrar@pa");
    cluster.ok("s2", registrar, rename("needham@pa", "Roger@pa"));
    cluster.pass(2_000);
    for at in ["s1", "s2"] {
        let after = view(&mut cluster, at, "needham@pa");
        assert_eq!(after.name.to_string(), "Roger@pa");
        assert_eq!(after.incarnation, before.incarnation);
        assert_eq!(after.created_ms, before.created_ms);
        assert_eq!(after.former, [name("needham@pa")]);
        assert_eq!(check(&mut cluster, at, "g^@pa", "roger@pa"), Check::Yes);
        assert_eq!(check(&mut cluster, at, "g^@pa", "needham@pa"), Check::Yes);
        assert_eq!(members(&mut cluster, at, "g^@pa"), ["Roger@pa"]);
    }
    let to = ["needham@pa", "roger@pa", "g^@pa"];
    let late = cluster.submit("s2", "birrell@pa", &to, "after");
    cluster.pass(3_000);
    for who in ["needham@pa", "roger@pa"] {
        assert_eq!(cluster.inbox("s1", who), [early, late], "{who}, once each");
    }
    // The old session, and a new login by the old name: both are the same individual.
    let owner = add("g^@pa", GroupList::Members, "birrell@pa");
    cluster.ok("s1", session, owner);
    let login = Request::Authenticate {
        name: name("needham@pa"),
        password: Secret("needham@pa".into()),
        source: Source::Local,
    };
    match cluster.ok("s1", Speaker::Anonymous, login) {
        Reply::Authenticated(a) => assert_eq!(a.name.to_string(), "Roger@pa"),
        other => panic!("{other:?}"),
    }
    // Removed by the new name, though listed by the old one.
    cluster.ok(
        "s2",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "roger@pa"),
    );
    cluster.pass(2_000);
    assert_eq!(members(&mut cluster, "s1", "g^@pa"), ["birrell@pa"]);
    assert_eq!(check(&mut cluster, "s1", "g^@pa", "needham@pa"), Check::No);
    cluster.assert_settled();
}

#[test]
fn an_old_name_given_to_another_never_leads_back() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &["needham@pa"], &[]);
    cluster.ok("s1", Speaker::Operator, rename("needham@pa", "roger@pa"));
    cluster.individual("needham@pa");
    cluster.pass(2_000);
    assert_eq!(check(&mut cluster, "s2", "g^@pa", "roger@pa"), Check::Yes);
    assert_eq!(check(&mut cluster, "s2", "g^@pa", "needham@pa"), Check::No);
    assert_eq!(members(&mut cluster, "s2", "g^@pa"), ["roger@pa"]);
    let message = cluster.submit("s1", "birrell@pa", &["g^@pa"], "to the list");
    let to_new = cluster.submit("s1", "birrell@pa", &["needham@pa"], "to the new one");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "roger@pa"), [message]);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [to_new]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Delete {
            name: name("needham@pa"),
        },
    );
    cluster.pass(2_000);
    let gone = Request::Show {
        name: name("needham@pa"),
    };
    assert_eq!(
        cluster.refused("s2", Speaker::Operator, gone),
        ErrorKind::NotFound
    );
    assert!(view(&mut cluster, "s2", "roger@pa").former.is_empty());
}

#[test]
fn a_rename_is_refused_where_it_would_mix_two() {
    let mut cluster = Cluster::new(2);
    for (from, to, kind) in [
        ("needham@pa", "birrell@pa", ErrorKind::Conflict),
        ("needham@pa", "needham@es", ErrorKind::Invalid),
        ("needham@pa", "owners-x@pa", ErrorKind::Invalid),
        ("nobody@pa", "x@pa", ErrorKind::NotFound),
        ("pa@gv", "es@gv", ErrorKind::NotAllowed),
    ] {
        let result = cluster.refused("s1", Speaker::Operator, rename(from, to));
        assert_eq!(result, kind, "{from} to {to}");
    }
    let own = cluster.login("needham@pa");
    assert_eq!(
        cluster.refused("s1", own, rename("needham@pa", "x@pa")),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", Speaker::Operator, rename("needham@pa", "NEEDHAM@pa"));
    cluster.pass(1_000);
    let respelled = view(&mut cluster, "s2", "needham@pa");
    assert_eq!(respelled.name.to_string(), "NEEDHAM@pa");
    assert!(respelled.former.is_empty());
    cluster.ok("s1", Speaker::Operator, rename("needham@pa", "roger@pa"));
    let forget = EntryChange::FormerRemove(name("needham@pa"));
    cluster.ok("s1", Speaker::Operator, change("roger@pa", forget));
    let show = Request::Show {
        name: name("needham@pa"),
    };
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, show),
        ErrorKind::NotFound
    );
}

#[test]
fn a_quota_is_set_by_registrars_and_shown() {
    let mut cluster = Cluster::new(2);
    let quota = Quota {
        octets: Some(1 << 30),
        messages: None,
    };
    let set = change("needham@pa", EntryChange::Quota(quota));
    let own = cluster.login("needham@pa");
    assert_eq!(
        cluster.refused("s1", own, set.clone()),
        ErrorKind::NotAllowed
    );
    let registrar = cluster.login("registrar@pa");
    cluster.ok("s1", registrar, set);
    cluster.pass(1_000);
    assert_eq!(view(&mut cluster, "s2", "needham@pa").quota, quota);
}

/// Two individuals of one name, created on two sides of a partition; each was made a member of a
/// group of its own on its side. Gives the incarnations: who has the name, who stands aside.
fn two_of_one_name() -> (Cluster, Speaker, Incarnation, Incarnation) {
    let mut cluster = Cluster::new(2);
    cluster.group("first^@pa", &[], &[]);
    cluster.group("second^@pa", &[], &[]);
    cluster.pass(2_000);
    cluster.kill("s2");
    cluster.individual("smith@pa");
    let members = GroupList::Members;
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("first^@pa", members, "smith@pa"),
    );
    let holder = view(&mut cluster, "s1", "smith@pa").incarnation;
    cluster.pass(1_000);
    cluster.kill("s1");
    cluster.start("s2", Start::Resume);
    cluster.pass(3_000);
    let create = Request::IndividualCreate {
        name: name("smith@pa"),
        password: Some(Secret("hash of other".into())),
        sites: Vec::new(),
    };
    cluster.ok("s2", Speaker::Operator, create);
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("second^@pa", members, "smith@pa"),
    );
    let aside = view(&mut cluster, "s2", "smith@pa").incarnation;
    let session = Speaker::Individual {
        name: name("smith@pa"),
        incarnation: aside,
    };
    cluster.start("s1", Start::Resume);
    cluster.pass(5_000);
    (cluster, session, holder, aside)
}

fn conflicts(cluster: &mut Cluster, at: &str) -> Vec<Conflict> {
    let request = Request::Conflicts {
        registry: "pa".parse().unwrap(),
        after: None,
        limit: 10,
    };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Conflicts {
            conflicts,
            next: None,
        } => conflicts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_creations_the_earlier_keeps_the_name_and_the_other_answers_nothing() {
    let (mut cluster, session, holder, aside) = two_of_one_name();
    for at in ["s1", "s2"] {
        let shown = view(&mut cluster, at, "smith@pa");
        assert_eq!((shown.incarnation, shown.aside), (holder, 1));
        let listed = conflicts(&mut cluster, at);
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].holder, listed[0].aside), (holder, aside));
        // Log in as either: only the holder's password is right.
        for (password, right) in [("smith@pa", true), ("other", false)] {
            let login = Request::Authenticate {
                name: name("smith@pa"),
                password: Secret(password.into()),
                source: Source::Local,
            };
            assert_eq!(cluster.ask(at, Speaker::Anonymous, login).is_ok(), right);
        }
        assert_eq!(check(&mut cluster, at, "first^@pa", "smith@pa"), Check::Yes);
        assert_eq!(check(&mut cluster, at, "second^@pa", "smith@pa"), Check::No);
        // Who logged in before the two sides met is let in nowhere.
        let inbox = Request::InboxList {
            name: name("smith@pa"),
        };
        assert_eq!(
            cluster.refused(at, session.clone(), inbox),
            ErrorKind::NotAllowed
        );
    }
    let to = ["second^@pa", "smith@pa"];
    let message = cluster.submit("s2", "birrell@pa", &to, "for the one who has the name");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "smith@pa"), [message]);
    cluster.assert_settled();
}

#[test]
fn a_list_with_one_that_stands_aside_gives_it_nothing() {
    let (mut cluster, session, _, _) = two_of_one_name();
    cluster.group("owned^@pa", &[], &["birrell@pa"]);
    let by_aside = add("second^@pa", GroupList::Owners, "birrell@pa");
    assert_eq!(
        cluster.refused("s2", session, by_aside),
        ErrorKind::NotAllowed
    );
    let message = cluster.submit("s1", "birrell@pa", &["second^@pa"], "to nobody");
    cluster.pass(3_000);
    assert!(!cluster.inbox("s1", "smith@pa").contains(&message));
}

#[test]
fn a_registrar_settles_a_conflict_by_renaming_or_deleting_the_one_aside() {
    for rename_it in [true, false] {
        let (mut cluster, _, holder, aside) = two_of_one_name();
        let settle = |change| Request::Aside {
            name: name("smith@pa"),
            incarnation: aside,
            change,
        };
        let stranger = cluster.login("birrell@pa");
        assert_eq!(
            cluster.refused("s1", stranger, settle(AsideChange::Delete)),
            ErrorKind::NotAllowed
        );
        let delete = Request::Delete {
            name: name("smith@pa"),
        };
        assert_eq!(
            cluster.refused("s1", Speaker::Operator, delete),
            ErrorKind::Conflict,
            "the name would go to one that nobody has chosen"
        );
        let registrar = cluster.login("registrar@pa");
        let change = match rename_it {
            true => AsideChange::Rename(name("smythe@pa")),
            false => AsideChange::Delete,
        };
        cluster.ok("s2", registrar, settle(change.clone()));
        cluster.pass(2_000);
        assert!(conflicts(&mut cluster, "s1").is_empty());
        assert_eq!(view(&mut cluster, "s1", "smith@pa").incarnation, holder);
        if rename_it {
            let renamed = view(&mut cluster, "s1", "smythe@pa");
            assert_eq!(renamed.incarnation, aside);
            let is = check(&mut cluster, "s1", "second^@pa", "smythe@pa");
            assert_eq!(is, Check::Yes, "as its owner had listed this very one");
        }
        assert_eq!(
            cluster.refused("s1", Speaker::Operator, settle(change)),
            ErrorKind::NotFound,
            "only what stands aside is settled so"
        );
        cluster.assert_settled();
    }
}

fn dangling(cluster: &mut Cluster, at: &str) -> Vec<Dangling> {
    let request = Request::Dangling {
        registry: "pa".parse().unwrap(),
        after: None,
        limit: 500,
    };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Dangling {
            dangling,
            next: None,
            ..
        } => dangling,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_that_point_at_nobody_are_listed_and_cleaned_and_unknown_ones_stay() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec!["s3".parse().unwrap()],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    for who in ["a@pa", "b@pa", "x@es", "y@es"] {
        cluster.individual(who);
    }
    cluster.pass(2_000);
    let all = ["a@pa", "b@pa", "x@es", "y@es", "birrell@pa", "*@es"];
    cluster.group("g^@pa", &all, &["a@pa"]);
    for who in ["a@pa", "b@pa", "x@es"] {
        cluster.ok("s1", Speaker::Operator, Request::Delete { name: name(who) });
    }
    cluster.individual("b@pa");
    cluster.pass(2_000);
    let shown = |found: Vec<Dangling>| -> Vec<String> {
        let mut lines: Vec<String> = found
            .iter()
            .map(|d| format!("{:?} {} {:?}", d.list, d.member, d.why))
            .collect();
        lines.sort();
        lines
    };
    let expected = [
        "Members a@pa Gone",
        "Members b@pa Another",
        "Members x@es Gone",
        "Owners a@pa Gone",
    ];
    assert_eq!(shown(dangling(&mut cluster, "s2")), expected);
    cluster.kill("s3");
    let found = dangling(&mut cluster, "s1");
    let unknown = found.iter().filter(|d| d.why == Dangle::Unknown).count();
    assert_eq!((found.len(), unknown), (5, 2), "x and y can't be told");
    let clean = Request::DanglingRemove {
        registry: "pa".parse().unwrap(),
        after: None,
        limit: 500,
    };
    let stranger = cluster.login("birrell@pa");
    assert_eq!(
        cluster.refused("s1", stranger, clean.clone()),
        ErrorKind::NotAllowed
    );
    cluster.ok("s1", Speaker::Operator, clean.clone());
    let left = ["*@es", "birrell@pa", "x@es", "y@es"];
    assert_eq!(members(&mut cluster, "s1", "g^@pa"), left);
    cluster.start("s3", Start::Resume);
    cluster.pass(5_000);
    cluster.ok("s2", Speaker::Operator, clean);
    let left = ["*@es", "birrell@pa", "y@es"];
    assert_eq!(members(&mut cluster, "s2", "g^@pa"), left);
    assert!(dangling(&mut cluster, "s1").is_empty());
}
