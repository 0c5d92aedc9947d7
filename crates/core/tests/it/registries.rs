//! Registries and servers that come and go.

use grapevine_core::Table;
use grapevine_model::{Check, ErrorKind, GroupList, Reply, Request, Speaker};

use crate::harness::{Cluster, add, name, remove, server};

#[test]
fn a_change_is_on_two_disks_when_it_is_acknowledged() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &[], &[]);
    let reply = cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "needham@pa"),
    );
    assert!(matches!(reply, Reply::Written(w) if w.copies == 2));
    cluster.kill("s2");
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name("needham@pa"),
    };
    assert_eq!(
        cluster.ok("s1", Speaker::Operator, check),
        Reply::Check(Check::Yes)
    );
    let reply = cluster.ok(
        "s1",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "needham@pa"),
    );
    assert!(
        matches!(reply, Reply::Written(w) if w.copies == 1),
        "alone, and said so"
    );
}

/// How many cells of `es` a server has on its disk.
fn cells_of_es(cluster: &Cluster, at: &str) -> usize {
    let rows = cluster.nodes[&server(at)].disk.0.lock().unwrap();
    let mut keys = rows.keys().filter(|(table, _)| *table == Table::Cells);
    keys.by_ref()
        .filter(|(_, key)| key.starts_with(b"R\x02es"))
        .count()
}

#[test]
fn a_holder_that_leaves_believes_no_copy_of_which_it_has_not_heard_since() {
    let mut cluster = Cluster::new(4);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: ["s1", "s3", "s4"].map(server).to_vec(),
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    cluster.pass(10_000);
    for one in ["s1", "s3"] {
        for other in ["s2", "s4"] {
            cluster.part(one, other);
        }
    }
    cluster.pass(10_000);
    // On this side the third goes; on the other one, where it is believed to have everything, the
    // fourth.
    let gone = |holder: &str| Request::HolderRemove {
        registry: "es".parse().unwrap(),
        server: server(holder),
    };
    cluster.ok("s1", Speaker::Operator, gone("s3"));
    cluster.ok("s2", Speaker::Operator, gone("s4"));
    cluster.pass(60_000);
    assert!(
        cells_of_es(&cluster, "s4") > 0,
        "nobody has said that it has them"
    );
    cluster.broken.clear();
    cluster.pass(60_000);
    assert!(cells_of_es(&cluster, "s1") > 0);
    for at in ["s3", "s4"] {
        assert_eq!(cells_of_es(&cluster, at), 0, "{at} has handed it over");
    }
    cluster.assert_settled();
}

#[test]
fn both_sides_of_a_silence_are_equal_again_after_it() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.kill("s2");
    cluster.ok(
        "s1",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "birrell@pa"),
    );
    for n in 0..1_500 {
        cluster.individual(&format!("late{n}@pa"));
    }
    cluster.start("s2", grapevine_core::Start::Resume);
    cluster.pass(5_000);
    cluster.assert_settled();
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name("birrell@pa"),
    };
    assert_eq!(
        cluster.ok("s2", Speaker::Operator, check),
        Reply::Check(Check::No)
    );
}

#[test]
fn a_server_restarts_from_its_disk_with_all_it_knew() {
    let mut cluster = Cluster::new(1);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    let message = cluster.submit("s1", "birrell@pa", &["g^@pa"], "hello");
    cluster.start("s1", grapevine_core::Start::Resume);
    cluster.pass(1_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [message]);
    cluster.login("birrell@pa");
    cluster.assert_settled();
}

#[test]
fn a_new_server_takes_the_place_of_one_whose_disk_is_lost() {
    let mut cluster = Cluster::new(2);
    let message = cluster.submit("s2", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(3_000);
    cluster.kill("s2");
    cluster.nodes.remove(&server("s2"));
    cluster.pass(5_000);
    cluster.join("s3");
    cluster.pass(3_000);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Retire {
            server: server("s2"),
        },
    );
    cluster.pass(20_000);
    assert_eq!(cluster.inbox("s3", "needham@pa"), [message]);
    assert!(cluster.nodes[&server("s3")].bodies.contains_key(&message));
    let Reply::Servers(servers) = cluster.ok("s3", Speaker::Anonymous, Request::Servers) else {
        panic!()
    };
    let names: Vec<String> = servers.iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["s1", "s3"]);
    cluster.kill("s1");
    assert_eq!(
        cluster.inbox("s3", "needham@pa"),
        [message],
        "and then without s1"
    );
}

#[test]
fn a_living_server_that_is_retired_hands_everything_over() {
    let mut cluster = Cluster::new(3);
    let message = cluster.submit(
        "s2",
        "birrell@pa",
        &["needham@pa", "birrell@pa", "registrar@pa"],
        "hello",
    );
    cluster.pass(3_000);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Retire {
            server: server("s2"),
        },
    );
    cluster.pass(60_000);
    let Reply::Servers(servers) = cluster.ok("s1", Speaker::Anonymous, Request::Servers) else {
        panic!()
    };
    assert!(
        servers.iter().all(|s| s.name != server("s2")),
        "it has taken its leave"
    );
    cluster.kill("s2");
    for who in ["needham@pa", "birrell@pa", "registrar@pa"] {
        for at in ["s1", "s3"] {
            assert_eq!(cluster.inbox(at, who), [message], "{who} at {at}");
        }
    }
}

#[test]
fn a_token_lets_one_server_in_once() {
    let mut cluster = Cluster::new(2);
    let info = |n: &str| grapevine_model::ServerInfo {
        name: server(n),
        public_key: format!("another key of {n}").into_bytes(),
        more_keys: Vec::new(),
        origin: grapevine_model::OriginId(1),
        role: grapevine_model::ServerRole::Full,
        doors: Default::default(),
    };
    let join = |digest: u8, n: &str| Request::Join {
        digest: vec![digest; 32],
        server: info(n),
    };
    assert_eq!(
        cluster.refused("s2", Speaker::Anonymous, join(9, "s9")),
        ErrorKind::NotAllowed
    );
    let expires_ms = cluster.now.wall_ms + 10_000;
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::TokenCreate {
            digest: vec![9; 32],
            expires_ms,
        },
    );
    assert_eq!(
        cluster.refused("s2", Speaker::Anonymous, join(9, "s1")),
        ErrorKind::Conflict,
        "a name that is taken"
    );
    cluster.ok("s2", Speaker::Anonymous, join(9, "s9"));
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, join(9, "s8")),
        ErrorKind::NotAllowed,
        "used up"
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::TokenCreate {
            digest: vec![8; 32],
            expires_ms,
        },
    );
    cluster.pass(20_000);
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, join(8, "s8")),
        ErrorKind::NotAllowed,
        "too old"
    );
}

#[test]
fn a_registry_gets_a_holder_on_a_running_system_and_loses_one() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s1")],
        registrars: Vec::new(),
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    // s3 does not hold it and asks a holder.
    let show = Request::Show {
        name: name("hertz@es"),
    };
    cluster.ok("s3", Speaker::Operator, show.clone());
    cluster.ok(
        "s2",
        Speaker::Operator,
        Request::HolderAdd {
            registry: "es".parse().unwrap(),
            server: server("s3"),
        },
    );
    cluster.pass(5_000);
    cluster.ok(
        "s2",
        Speaker::Operator,
        Request::HolderRemove {
            registry: "es".parse().unwrap(),
            server: server("s1"),
        },
    );
    cluster.pass(20_000);
    cluster.kill("s1");
    cluster.ok("s3", Speaker::Operator, show.clone());
    cluster.kill("s3");
    assert_eq!(
        cluster.refused("s2", Speaker::Operator, show),
        ErrorKind::Unavailable,
        "never: no such name"
    );
}

#[test]
fn a_deleted_registry_is_gone_with_its_names() {
    let mut cluster = Cluster::new(2);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: Vec::new(),
        registrars: Vec::new(),
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    cluster.ok(
        "s2",
        Speaker::Operator,
        Request::RegistryDelete {
            registry: "es".parse().unwrap(),
        },
    );
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        assert_eq!(
            cluster.refused(
                at,
                Speaker::Operator,
                Request::Show {
                    name: name("hertz@es")
                }
            ),
            ErrorKind::NotFound
        );
    }
}

/// Found by the simulator: the removal of a server that is gone for good was written late, by somebody who had not heard that
/// another one had joined under its name, and put that one out of the registration database.
#[test]
fn the_late_removal_of_a_lost_server_does_not_put_out_its_successor_of_the_same_name() {
    let mut cluster = Cluster::new(3);
    cluster.kill("s3");
    cluster.nodes.remove(&server("s3"));
    cluster.pass(5_000);
    cluster.part("s1", "s2");
    cluster.pass(5_000);
    let lost = || Request::Retire {
        server: server("s3"),
    };
    cluster.alarms_expected = true;
    cluster.ok("s1", Speaker::Operator, lost());
    cluster.join("s3");
    cluster.part("s2", "s3");
    cluster.pass(5_000);
    cluster.ok("s2", Speaker::Operator, lost());
    cluster.pass(3_000);
    cluster.broken.clear();
    cluster.pass(30_000);
    for registry in ["gv", "ms"] {
        for at in ["s1", "s2", "s3"] {
            let show = Request::RegistryShow {
                registry: registry.parse().unwrap(),
            };
            let Reply::Registry(view) = cluster.ok(at, Speaker::Operator, show) else {
                panic!()
            };
            assert!(
                view.holders.contains(&server("s3")),
                "{registry} at {at}: {:?}",
                view.holders
            );
        }
    }
}

/// Found by the simulator: what a server wrote in a registry that it had left came to its holders when they waited for it
/// no more, and brought back who had been removed.
#[test]
fn a_server_that_has_left_a_registry_writes_no_more_in_it() {
    let mut cluster = Cluster::new(2);
    let far = || "far".parse().unwrap();
    let create = Request::RegistryCreate {
        registry: far(),
        holders: vec![server("s1"), server("s2")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(3_000);
    cluster.group("g^@far", &[], &[]);
    cluster.pass(3_000);
    // s1 hands its copy over only when s2 can be reached again.
    cluster.cut.insert(server("s2"));
    let leave = Request::HolderRemove {
        registry: far(),
        server: server("s1"),
    };
    cluster.ok("s1", Speaker::Operator, leave);
    cluster.pass(15_000);
    let join = || add("g^@far", GroupList::Members, "needham@pa");
    let refused = cluster.refused("s1", Speaker::Operator, join());
    assert_eq!(refused, ErrorKind::Unavailable);
    cluster.cut.clear();
    cluster.pass(10_000);
    cluster.ok("s1", Speaker::Operator, join());
    let check = Request::Check {
        group: name("g^@far"),
        list: GroupList::Members,
        who: name("needham@pa"),
    };
    assert_eq!(
        cluster.ok("s2", Speaker::Operator, check),
        Reply::Check(Check::Yes)
    );
}
