//! Distribution lists: pages, nesting, cycles, other registries.

use grapevine_model::{GroupList, Request, Speaker};

use crate::harness::{Cluster, add, name};

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
