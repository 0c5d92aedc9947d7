//! A registry that is deleted and created again is another one, whoever was away meanwhile.

use grapevine_model::{AsideChange, ErrorKind, Incarnation, Reply, Request};
use grapevine_sim::{Cut, Outcome, registry_name};

use crate::bench::{Bench, list_add, name_of, servers, written};

/// `es` at the first two of three servers, with a list and two people.
fn three() -> Bench {
    let mut bench = Bench::new(3);
    bench.registry("es", &[0, 1]);
    bench.person("reg@es", &[0, 1]);
    bench.person("old@es", &[0, 1]);
    bench.group("club@es", "reg@es", &["reg@es"]);
    bench.pass_s(5);
    bench
}

fn create(holders: &[usize]) -> Request {
    Request::RegistryCreate {
        registry: registry_name("es"),
        holders: servers(holders),
        registrars: Vec::new(),
    }
}

fn delete() -> Request {
    Request::RegistryDelete {
        registry: registry_name("es"),
    }
}

fn person(name: &str) -> Request {
    Request::IndividualCreate {
        name: name_of(name),
        password: None,
        sites: Vec::new(),
    }
}

fn shown(bench: &mut Bench, node: usize, name: &str) -> Outcome {
    let show = Request::Show {
        name: name_of(name),
    };
    bench.operator(node, show)
}

fn is_there(bench: &mut Bench, node: usize, name: &str) -> bool {
    matches!(shown(bench, node, name), Outcome::Done(Reply::Entry(_)))
}

fn is_gone(bench: &mut Bench, node: usize, name: &str) -> bool {
    shown(bench, node, name).refusal() == Some(ErrorKind::NotFound)
}

fn digests_agree(bench: &mut Bench, nodes: [usize; 2]) -> bool {
    let digest = |bench: &mut Bench, node| {
        let registries = bench.status(node).registries;
        registries.into_iter().find(|(r, _, _)| r.as_str() == "es")
    };
    let first = digest(bench, nodes[0]);
    first.is_some() && first == digest(bench, nodes[1])
}

#[test]
fn a_registry_created_again_while_a_holder_was_cut_off_gets_none_of_its_old_entries() {
    let mut bench = three();
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.operator(0, delete()));
    bench.pass_s(2);
    written(&bench.operator(0, create(&[0, 1])));
    written(&bench.operator(0, person("new@es")));
    // Who hears of none of this goes on with the old one.
    written(&bench.operator(1, person("stale@es")));
    written(&bench.operator(1, list_add("club@es", "old@es")));
    bench.cluster.network.heal();
    bench.pass_s(40);
    for node in 0..3 {
        for name in ["old@es", "stale@es", "club@es", "reg@es"] {
            assert!(is_gone(&mut bench, node, name), "{name} at node {node}");
        }
        assert!(is_there(&mut bench, node, "new@es"), "at node {node}");
    }
    assert!(digests_agree(&mut bench, [0, 1]));
    // And it lives: both holders take changes, on two disks.
    assert_eq!(written(&bench.operator(1, person("newer@es"))), 2);
    bench.assert_clean();
}

#[test]
fn a_registry_created_again_while_a_holder_was_down_gets_none_of_its_old_entries() {
    let mut bench = three();
    bench.cluster.crash(1);
    written(&bench.operator(0, delete()));
    written(&bench.operator(0, create(&[0, 1])));
    written(&bench.operator(0, person("new@es")));
    bench.pass_s(20);
    bench.cluster.restart(1);
    bench.until("both holders have the new one", |bench| {
        digests_agree(bench, [0, 1]) && is_there(bench, 1, "new@es")
    });
    bench.pass_s(20);
    for node in 0..3 {
        for name in ["old@es", "club@es", "reg@es"] {
            assert!(is_gone(&mut bench, node, name), "{name} at node {node}");
        }
    }
    for node in 0..3 {
        bench.cluster.crash(node);
        bench.pass_s(2);
        bench.cluster.restart(node);
    }
    bench.until("the same after restarts", |bench| {
        digests_agree(bench, [0, 1]) && is_there(bench, 2, "new@es") && is_gone(bench, 2, "old@es")
    });
    bench.assert_clean();
}

#[test]
fn a_registry_created_again_elsewhere_is_not_filled_by_a_holder_of_the_old_one() {
    let mut bench = three();
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.operator(0, delete()));
    written(&bench.operator(0, create(&[2])));
    bench.until("it is there", |bench| {
        bench.operator(2, person("new@es")).refusal().is_none()
    });
    written(&bench.operator(1, person("stale@es")));
    bench.cluster.network.heal();
    bench.pass_s(40);
    for node in 0..3 {
        assert!(is_there(&mut bench, node, "new@es"), "at node {node}");
        for name in ["old@es", "stale@es", "club@es"] {
            assert!(is_gone(&mut bench, node, name), "{name} at node {node}");
        }
    }
    for node in [0, 1] {
        let registries = bench.status(node).registries;
        assert!(
            registries.iter().all(|(r, _, _)| r.as_str() != "es"),
            "node {node} keeps a copy that it should not have"
        );
    }
    bench.assert_clean();
}

/// Two registries of one name, each with somebody in it.
fn both_sides() -> Bench {
    let mut bench = Bench::new(3);
    // An operator is told to act.
    bench.cluster.expect_errors();
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.operator(0, create(&[0, 1])));
    bench.pass_s(3);
    written(&bench.operator(1, create(&[0, 1])));
    written(&bench.operator(0, person("first@es")));
    written(&bench.operator(1, person("second@es")));
    bench.cluster.network.heal();
    bench.until("all agree that the earlier has the name", |bench| {
        (0..3).all(|node| is_there(bench, node, "first@es") && is_gone(bench, node, "second@es"))
    });
    bench.pass_s(20);
    assert!(digests_agree(&mut bench, [0, 1]));
    bench
}

fn aside(bench: &mut Bench) -> Incarnation {
    let conflicts = Request::Conflicts {
        registry: registry_name("gv"),
        after: None,
        limit: 10,
    };
    match bench.operator(2, conflicts) {
        Outcome::Done(Reply::Conflicts { conflicts, .. }) => {
            assert_eq!(conflicts.len(), 1);
            conflicts[0].aside
        }
        other => panic!("{other:?}"),
    }
}

fn settle(incarnation: Incarnation, change: AsideChange) -> Request {
    Request::Aside {
        name: name_of("es@gv"),
        incarnation,
        change,
    }
}

#[test]
fn of_two_registries_of_one_name_the_later_is_kept_apart_until_it_has_a_name_of_its_own() {
    let mut bench = both_sides();
    // Before it is settled, the one that has the name is not given up.
    let refused = bench.operator(0, delete()).refusal();
    assert_eq!(refused, Some(ErrorKind::Conflict));
    for node in 0..3 {
        bench.cluster.crash(node);
        bench.pass_s(1);
        bench.cluster.restart(node);
    }
    bench.pass_s(10);
    let incarnation = aside(&mut bench);
    let rename = AsideChange::Rename(name_of("es2@gv"));
    written(&bench.operator(2, settle(incarnation, rename)));
    bench.until("the later one is there under its own name", |bench| {
        (0..3).all(|node| {
            is_there(bench, node, "second@es2")
                && is_gone(bench, node, "first@es2")
                && is_there(bench, node, "first@es")
                && is_gone(bench, node, "second@es")
        })
    });
    assert_eq!(written(&bench.operator(0, person("third@es2"))), 2);
    bench.assert_clean();
}

#[test]
fn of_two_registries_of_one_name_the_later_goes_when_it_is_deleted() {
    let mut bench = both_sides();
    let incarnation = aside(&mut bench);
    written(&bench.operator(2, settle(incarnation, AsideChange::Delete)));
    bench.pass_s(20);
    for node in 0..3 {
        assert!(is_there(&mut bench, node, "first@es"));
        assert!(is_gone(&mut bench, node, "second@es"));
    }
    written(&bench.operator(0, delete()));
    bench.pass_s(20);
    for node in 0..3 {
        assert!(is_gone(&mut bench, node, "first@es"));
        assert!(is_gone(&mut bench, node, "second@es"));
    }
    bench.assert_clean();
}
