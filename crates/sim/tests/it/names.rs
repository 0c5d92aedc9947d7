//! P3, P4, P5 and P7, one story each.

use grapevine_model::{EntryChange, ErrorKind, GroupList, Reply, Request};
use grapevine_sim::{Cut, Doom, Fate, Moment, Outcome, hash};

use crate::bench::{Bench, list_add, list_remove, name_of, no, written, yes};

fn three() -> Bench {
    let mut bench = Bench::new(3);
    bench.registry("pa", &[0, 1]);
    bench.registry("es", &[2]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.person("bob@es", &[2, 1]);
    bench.group("club@pa", "ann@pa", &["ann@pa"]);
    bench.group("far@es", "bob@es", &["bob@es"]);
    bench.pass_s(5);
    bench
}

#[test]
fn both_sides_of_a_partition_edit_a_list_and_agree_afterwards() {
    let mut bench = three();
    bench.cluster.network.cut(&[0], &[1, 2], Cut::BothWays);
    bench.pass_s(10);
    assert_eq!(
        written(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa"))),
        1
    );
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "ann@pa")));
    bench.cluster.network.heal();
    bench.until("all agree", |bench| {
        (0..3).all(|node| {
            bench.check(node, "club@pa", "reg@pa") == yes()
                && bench.check(node, "club@pa", "ann@pa") == no()
        })
    });
    let digest = |bench: &mut Bench, node| {
        let status = bench.status(node);
        status
            .registries
            .into_iter()
            .find(|(r, _, _)| r.as_str() == "pa")
    };
    assert_eq!(digest(&mut bench, 0), digest(&mut bench, 1));
    bench.assert_clean();
}

#[test]
fn a_removed_member_never_returns_with_a_server_that_was_away() {
    let mut bench = three();
    bench.cluster.crash(1);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "ann@pa")));
    bench.pass_s(60);
    bench.cluster.restart(1);
    bench.until("the other holder knows", |bench| {
        bench.check(1, "club@pa", "ann@pa") == no()
    });
    bench.pass_s(20);
    for node in 0..3 {
        assert_eq!(bench.check(node, "club@pa", "ann@pa"), no());
    }
    bench.assert_clean();
}

#[test]
fn a_list_that_cannot_be_asked_is_unavailable_and_not_a_no() {
    let mut bench = three();
    written(&bench.operator(0, list_add("club@pa", "far@es")));
    bench.pass_s(3);
    assert_eq!(bench.check(0, "club@pa", "bob@es"), yes());
    bench.cluster.crash(2);
    // What it said a moment ago is believed for `Times::closure_ms`.
    bench.pass_s(3);
    let cut_off = bench.check(0, "club@pa", "bob@es");
    assert_eq!(
        cut_off.refusal(),
        Some(ErrorKind::Unavailable),
        "{cut_off:?}"
    );
    // What can be told without the far list is told.
    assert_eq!(bench.check(0, "club@pa", "ann@pa"), yes());
    bench.cluster.restart(2);
    bench.until("it can be asked again", |bench| {
        bench.check(0, "club@pa", "bob@es") == yes()
    });
    bench.assert_clean();
}

#[test]
fn a_change_acknowledged_by_two_survives_the_disk_of_the_one_that_said_yes() {
    let mut bench = three();
    let doom = Doom {
        after: Moment::Written,
        fate: Fate::Destroy,
    };
    bench.cluster.doom(0, Some(doom));
    assert_eq!(
        written(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa"))),
        2
    );
    assert!(!bench.cluster.nodes()[0].is_up());
    assert_eq!(bench.check(1, "club@pa", "reg@pa"), yes());
    bench.assert_clean();
}

#[test]
fn a_password_changed_on_one_side_holds_on_both_afterwards() {
    let mut bench = three();
    bench.cluster.network.cut(&[0], &[1, 2], Cut::BothWays);
    bench.pass_s(10);
    let change = Request::Change {
        name: name_of("ann@pa"),
        change: EntryChange::Password(hash("new")),
    };
    written(&bench.ask(0, "ann@pa", change));
    assert!(matches!(
        bench.login(0, "ann@pa", "new"),
        Outcome::Done(Reply::Authenticated(_))
    ));
    assert!(matches!(
        bench.login(1, "ann@pa", "pw"),
        Outcome::Done(Reply::Authenticated(_))
    ));
    bench.cluster.network.heal();
    bench.until("the new one holds everywhere", |bench| {
        (0..3).all(|node| {
            matches!(
                bench.login(node, "ann@pa", "new"),
                Outcome::Done(Reply::Authenticated(_))
            ) && bench.login(node, "ann@pa", "pw").refusal() == Some(ErrorKind::NotAuthenticated)
        })
    });
    bench.assert_clean();
}

#[test]
fn a_clock_set_back_loses_no_update() {
    let mut bench = three();
    written(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa")));
    bench.cluster.jump(0, -30 * 60_000);
    bench.cluster.jump(1, -30 * 60_000);
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "reg@pa")));
    bench.until("the removal stands", |bench| {
        (0..3).all(|node| bench.check(node, "club@pa", "reg@pa") == no())
    });
    bench.assert_clean();
}

#[test]
fn a_registrar_has_no_power_in_another_registry_and_a_stranger_none_at_all() {
    let mut bench = three();
    let grab = Request::Change {
        name: name_of("club@pa"),
        change: EntryChange::ListAdd(GroupList::Owners, name_of("bob@es").into()),
    };
    for node in 0..3 {
        let refused = bench.ask(node, "bob@es", grab.clone()).refusal();
        assert_eq!(refused, Some(ErrorKind::NotAllowed), "at node {node}");
        let steal = Request::InboxList {
            name: name_of("ann@pa"),
        };
        let refused = bench.ask(node, "bob@es", steal).refusal();
        assert_eq!(refused, Some(ErrorKind::NotAllowed), "at node {node}");
    }
    bench.assert_clean();
}

#[test]
fn every_server_answers_for_a_registry_that_it_does_not_hold() {
    let mut bench = three();
    assert_eq!(
        written(&bench.ask(2, "ann@pa", list_add("club@pa", "bob@es"))),
        2
    );
    for node in 0..3 {
        assert_eq!(
            bench.check(node, "club@pa", "bob@es"),
            yes(),
            "at node {node}"
        );
        assert_eq!(
            bench.check(node, "far@es", "ann@pa"),
            no(),
            "at node {node}"
        );
    }
    bench.assert_clean();
}
