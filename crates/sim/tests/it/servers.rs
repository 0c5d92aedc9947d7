//! P3 and P10: servers come and go, and nothing is lost.

use grapevine_model::{RegistryName, Reply, Request};
use grapevine_sim::{Outcome, admit, server_name};

use crate::bench::{Bench, list_add, name_of, written, yes};

fn three() -> Bench {
    let mut bench = Bench::new(3);
    bench.registry("pa", &[0, 1]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.person("bob@pa", &[1, 2]);
    bench.group("club@pa", "ann@pa", &["ann@pa"]);
    bench.pass_s(5);
    bench
}

#[test]
fn with_any_one_server_gone_everything_goes_on() {
    for gone in 0..3 {
        let mut bench = three();
        bench.cluster.crash(gone);
        bench.pass_s(6);
        for node in (0..3).filter(|node| *node != gone) {
            let (id, copies) = bench.send(node, "ann@pa", &["ann@pa", "bob@pa"]);
            assert_eq!(copies, 2, "node {node} without {gone}");
            bench.until("it is there", |bench| {
                bench.inbox(node, "ann@pa").contains(&id)
                    && bench.inbox(node, "bob@pa").contains(&id)
            });
            let login = bench.login(node, "ann@pa", "pw");
            assert!(
                matches!(login, Outcome::Done(Reply::Authenticated(_))),
                "{login:?}"
            );
            written(&bench.ask(node, "ann@pa", list_add("club@pa", "bob@pa")));
            assert_eq!(bench.check(node, "club@pa", "bob@pa"), yes());
        }
        bench.cluster.restart(gone);
        bench.until_at_rest();
        bench.assert_clean();
    }
}

#[test]
fn a_lost_server_is_replaced_by_a_new_one_and_all_its_content_is_copied_again() {
    let mut bench = three();
    let (id, _) = bench.send(0, "ann@pa", &["ann@pa", "bob@pa"]);
    bench.until_at_rest();
    bench.cluster.destroy(1);
    bench.cluster.node_mut(1).gone = true;
    bench.pass_s(10);
    let retire = Request::Retire {
        server: server_name(2),
    };
    let retired = bench.operator(0, retire);
    assert!(matches!(retired, Outcome::Done(_)), "{retired:?}");
    let machine = bench.cluster.add_machine(server_name(4));
    admit(&mut bench.cluster, 0, machine, &mut bench.dice).unwrap();
    let add = Request::HolderAdd {
        registry: grapevine_sim::registry_name("pa"),
        server: server_name(4),
    };
    written(&bench.operator(0, add));
    bench.until("the new one holds the registry", |bench| {
        let status = bench.status(machine);
        status.fetching.is_empty() && status.registries.iter().any(|(r, _, _)| r.as_str() == "pa")
    });
    bench.pass_s(30);
    let show = Request::Show {
        name: name_of("ann@pa"),
    };
    let Outcome::Done(Reply::Entry(entry)) = bench.operator(machine, show) else {
        panic!("the new server does not know ann");
    };
    assert!(!entry.sites.contains(&server_name(2)), "{:?}", entry.sites);
    // Now the last of the old holders goes, too: what the new one has copied must do.
    bench.cluster.crash(0);
    bench.pass_s(6);
    assert_eq!(bench.check(machine, "club@pa", "ann@pa"), yes());
    assert_eq!(bench.inbox(machine, "bob@pa"), [id]);
    bench.assert_clean();
}

#[test]
fn a_rebuilt_server_under_its_old_name_gets_its_content_back() {
    let mut bench = three();
    let (id, _) = bench.send(0, "ann@pa", &["ann@pa", "bob@pa"]);
    bench.until_at_rest();
    bench.cluster.destroy(1);
    bench.pass_s(10);
    let retire = Request::Retire {
        server: server_name(2),
    };
    let retired = bench.operator(0, retire);
    assert!(matches!(retired, Outcome::Done(_)), "{retired:?}");
    bench.pass_s(3);
    admit(&mut bench.cluster, 0, 1, &mut bench.dice).unwrap();
    let add = Request::HolderAdd {
        registry: grapevine_sim::registry_name("pa"),
        server: server_name(2),
    };
    bench.until("it is a holder again", |bench| {
        matches!(bench.operator(1, add.clone()), Outcome::Done(_))
    });
    bench.until("the registry is back", |bench| {
        let status = bench.status(1);
        status.fetching.is_empty() && status.registries.iter().any(|(r, _, _)| r.as_str() == "pa")
    });
    bench.pass_s(30);
    bench.cluster.crash(0);
    bench.cluster.crash(2);
    bench.pass_s(6);
    assert_eq!(bench.check(1, "club@pa", "ann@pa"), yes());
    assert_eq!(bench.inbox(1, "ann@pa"), [id]);
    assert_eq!(bench.inbox(1, "bob@pa"), [id]);
    bench.assert_clean();
}

#[test]
fn a_retired_server_leaves_nothing_behind() {
    let mut bench = three();
    let (id, _) = bench.send(0, "ann@pa", &["bob@pa"]);
    bench.until_at_rest();
    let retire = Request::Retire {
        server: server_name(2),
    };
    let retired = bench.operator(0, retire);
    assert!(matches!(retired, Outcome::Done(_)), "{retired:?}");
    bench.until("it has nothing left", |bench| {
        let status = bench.status(1);
        // What describes the Grapevine itself stays with it, out of date and of no use to anybody.
        let own = |(registry, _, _): &(RegistryName, u64, u64)| registry.is_system();
        status.mailboxes == 0 && status.queue.messages == 0 && status.registries.iter().all(own)
    });
    bench.cluster.crash(1);
    bench.cluster.node_mut(1).gone = true;
    bench.pass_s(6);
    for node in [0, 2] {
        assert_eq!(bench.inbox(node, "bob@pa"), [id], "at node {node}");
        assert_eq!(
            bench.check(node, "club@pa", "ann@pa"),
            yes(),
            "at node {node}"
        );
    }
    bench.assert_clean();
}
