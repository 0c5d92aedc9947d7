//! Members of registries held elsewhere: the entry that was listed, not whoever has its name now.

use grapevine_model::{Check, Depth, EntryChange, GroupList, Reply, Request, Speaker};

use crate::harness::{Cluster, add, name, remove, server};
use crate::memberships::{groups, member_of};

/// `es` at the first server alone; `g^@pa`, at both, has a list and a person of it.
fn world() -> Cluster {
    let mut cluster = Cluster::new(2);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s1")],
        registrars: vec![name("birrell@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.individual("n@es");
    cluster.group("far^@es", &["birrell@pa"], &[]);
    cluster.group("g^@pa", &["far^@es", "n@es"], &[]);
    cluster.pass(2_000);
    cluster
}

fn change(cluster: &mut Cluster, who: &str, change: EntryChange) {
    let name = name(who);
    cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
}

fn delete(cluster: &mut Cluster, who: &str) {
    let gone = Request::Delete { name: name(who) };
    cluster.ok("s1", Speaker::Operator, gone);
}

fn is_member(cluster: &mut Cluster, who: &str) -> Vec<bool> {
    // What was remembered of another registry's holder is forgotten by now.
    cluster.pass(5_000);
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name(who),
    };
    ["s1", "s2"]
        .into_iter()
        .map(|at| cluster.ok(at, Speaker::Operator, check.clone()) == Reply::Check(Check::Yes))
        .collect()
}

#[test]
fn a_list_elsewhere_that_was_created_again_gives_no_right() {
    let mut cluster = world();
    assert_eq!(is_member(&mut cluster, "birrell@pa"), [true, true]);
    delete(&mut cluster, "far^@es");
    cluster.group("far^@es", &["needham@pa"], &[]);
    assert_eq!(is_member(&mut cluster, "needham@pa"), [false, false]);
    assert_eq!(is_member(&mut cluster, "birrell@pa"), [false, false]);
}

#[test]
fn a_list_elsewhere_that_was_renamed_gives_its_right_under_its_new_name() {
    let mut cluster = world();
    change(&mut cluster, "far^@es", EntryChange::Rename(name("f^@es")));
    cluster.group("far^@es", &["needham@pa"], &[]);
    assert_eq!(is_member(&mut cluster, "birrell@pa"), [true, true]);
    assert_eq!(is_member(&mut cluster, "needham@pa"), [false, false]);
}

#[test]
fn a_person_elsewhere_keeps_memberships_under_a_new_name_and_the_old_name_brings_none() {
    let mut cluster = world();
    change(&mut cluster, "n@es", EntryChange::Rename(name("m@es")));
    assert_eq!(is_member(&mut cluster, "m@es"), [true, true]);
    cluster.individual("n@es");
    assert_eq!(is_member(&mut cluster, "m@es"), [true, true]);
    assert_eq!(is_member(&mut cluster, "n@es"), [false, false]);
    for at in ["s1", "s2"] {
        let of = |who: &str| member_of(who, GroupList::Members, Depth::Direct);
        assert_eq!(groups(&mut cluster, at, of("m@es")), ["g^@pa"], "{at}");
        assert!(groups(&mut cluster, at, of("n@es")).is_empty(), "{at}");
    }
    // Taken out by either name's bearer, each for himself.
    let new = add("g^@pa", GroupList::Members, "n@es");
    cluster.ok("s2", Speaker::Operator, new);
    assert_eq!(is_member(&mut cluster, "n@es"), [true, true]);
    assert_eq!(is_member(&mut cluster, "m@es"), [true, true]);
    let old = remove("g^@pa", GroupList::Members, "m@es");
    cluster.ok("s2", Speaker::Operator, old);
    assert_eq!(is_member(&mut cluster, "m@es"), [false, false]);
    assert_eq!(is_member(&mut cluster, "n@es"), [true, true]);
    cluster.assert_settled();
}

#[test]
fn mail_for_a_list_goes_to_whom_it_meant_and_to_nobody_else() {
    let mut cluster = world();
    let first = cluster.submit("s2", "needham@pa", &["g^@pa"], "to all");
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "n@es"), [first]);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [first]);
    delete(&mut cluster, "n@es");
    delete(&mut cluster, "far^@es");
    cluster.individual("n@es");
    cluster.group("far^@es", &["birrell@pa"], &[]);
    cluster.pass(5_000);
    cluster.submit("s2", "needham@pa", &["g^@pa"], "again");
    cluster.pass(60_000);
    assert!(cluster.inbox("s1", "n@es").is_empty());
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [first]);
    assert!(cluster.reports.is_empty(), "{:?}", cluster.reports);
    cluster.assert_settled();
}

#[test]
fn mail_for_a_list_follows_a_rename_elsewhere() {
    let mut cluster = world();
    change(&mut cluster, "n@es", EntryChange::Rename(name("m@es")));
    cluster.individual("n@es");
    cluster.pass(5_000);
    let message = cluster.submit("s2", "needham@pa", &["g^@pa"], "to all");
    // Whoever has the name gets what is written to him.
    let direct = cluster.submit("s2", "needham@pa", &["n@es"], "to n");
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "m@es"), [message]);
    assert_eq!(cluster.inbox("s1", "n@es"), [direct]);
    assert!(cluster.reports.is_empty(), "{:?}", cluster.reports);
    cluster.assert_settled();
}

#[test]
fn a_list_and_its_sender_may_mean_two_by_one_name() {
    let mut cluster = world();
    change(&mut cluster, "n@es", EntryChange::Rename(name("m@es")));
    cluster.individual("n@es");
    cluster.pass(5_000);
    let both = cluster.submit("s2", "needham@pa", &["g^@pa", "n@es"], "to both");
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "m@es"), [both]);
    assert_eq!(cluster.inbox("s1", "n@es"), [both]);
    // No `add` by a client says what a name meant.
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "n@es"),
    );
    cluster.assert_settled();
}
