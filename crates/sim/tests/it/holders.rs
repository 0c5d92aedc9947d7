//! P4 and P10: holders change on a running system, and nothing that was acknowledged is lost.

use grapevine_model::{Reply, Request, ServerName};
use grapevine_sim::{Cut, Outcome, registry_name};

use crate::bench::{Bench, list_add, list_remove, no, servers, written, yes};

fn add(node: usize) -> Request {
    Request::HolderAdd {
        registry: registry_name("pa"),
        server: servers(&[node]).remove(0),
    }
}

fn remove(node: usize) -> Request {
    Request::HolderRemove {
        registry: registry_name("pa"),
        server: servers(&[node]).remove(0),
    }
}

fn ready(bench: &mut Bench, node: usize) -> Vec<ServerName> {
    let registry = registry_name("pa");
    match bench.operator(node, Request::RegistryShow { registry }) {
        Outcome::Done(Reply::Registry(view)) => view.ready,
        other => panic!("{other:?}"),
    }
}

#[test]
fn holders_changed_while_clients_write_and_a_partition_comes_lose_nothing() {
    let mut bench = Bench::new(4);
    bench.registry("pa", &[0, 1]);
    let people: Vec<String> = (0..12).map(|number| format!("u{number}@pa")).collect();
    bench.person("reg@pa", &[0, 1]);
    for person in &people {
        bench.person(person, &[0, 1]);
    }
    bench.group("club@pa", "reg@pa", &["u11@pa"]);
    bench.pass_s(5);
    // Two come while somebody writes at each server.
    written(&bench.operator(0, add(2)));
    for (node, person) in people.iter().take(4).enumerate() {
        written(&bench.ask(node, "reg@pa", list_add("club@pa", person)));
    }
    written(&bench.operator(3, add(3)));
    bench.until("all four have it", |bench| ready(bench, 1).len() == 4);
    // One is asked to go, and cannot hand over: it is cut off with one of the new ones.
    bench.cluster.network.cut(&[0, 2], &[1, 3], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.operator(2, remove(1)));
    written(&bench.ask(1, "reg@pa", list_add("club@pa", "u4@pa")));
    written(&bench.ask(3, "reg@pa", list_add("club@pa", "u5@pa")));
    written(&bench.ask(0, "reg@pa", list_add("club@pa", "u6@pa")));
    written(&bench.ask(1, "reg@pa", list_remove("club@pa", "u11@pa")));
    let (first, _) = bench.send(1, "u0@pa", &["club@pa"]);
    bench.cluster.network.heal();
    written(&bench.ask(1, "reg@pa", list_add("club@pa", "u7@pa")));
    bench.pass_s(30);
    // The other one of the beginning goes too: nobody is left who had it at first.
    written(&bench.operator(1, remove(0)));
    written(&bench.ask(0, "reg@pa", list_add("club@pa", "u8@pa")));
    bench.until("the first two have handed it over", |bench| {
        (0..2).all(|node| {
            let registries = bench.status(node).registries;
            registries.iter().all(|(r, _, _)| r.as_str() != "pa")
        })
    });
    bench.until("the mail has come", |bench| {
        bench.inbox(2, "u0@pa").contains(&first)
    });
    for node in 0..2 {
        bench.cluster.crash(node);
    }
    bench.pass_s(10);
    for node in 2..4 {
        for person in people.iter().take(9) {
            assert_eq!(bench.check(node, "club@pa", person), yes(), "{person}");
        }
        assert_eq!(bench.check(node, "club@pa", "u11@pa"), no());
    }
    assert_eq!(
        written(&bench.ask(2, "reg@pa", list_add("club@pa", "u9@pa"))),
        2
    );
    bench.assert_clean();
}
