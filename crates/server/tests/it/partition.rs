//! Three real servers whose network is cut: both sides go on, and afterwards all copies are equal, by
//! the rules of docs/failure-model.md. The time from the healing to equal digests is printed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::grapevine::wait_for;
use crate::http::{done, refused};
use crate::http_client::Client;
use crate::machines::{Machines, PASSWORD, REGISTRAR};

/// All copies are equal so soon after the network is whole again: a lost connection is tried anew every
/// two seconds at least, and this machine may be busy with other things.
const EQUAL_WITHIN: Duration = Duration::from_secs(20);
const REGISTRY: &str = "/api/v1/registries/pa.example";
const CLUB: &str = "/api/v1/groups/club^@pa.example";

fn individual(simple: &str) -> String {
    format!("/api/v1/individuals/{simple}@pa.example")
}

fn group(simple: &str) -> String {
    format!("/api/v1/groups/{simple}@pa.example")
}

fn member(group: &str, list: &str, simple: &str) -> String {
    format!("{group}/lists/{list}/{simple}@pa.example")
}

fn add(client: &Client, group: &str, list: &str, simple: &str) {
    done(&client.put(&member(group, list, simple), None));
}

fn remove(client: &Client, group: &str, list: &str, simple: &str) {
    done(&client.delete(&member(group, list, simple)));
}

fn remark(client: &Client, entry: &str, text: &str) {
    let body = json!({ "remark": text }).to_string();
    done(&client.put(&format!("{entry}/remark"), Some(&body)));
}

fn set_password(client: &Client, simple: &str, password: &str) {
    let body = json!({ "password": password }).to_string();
    done(&client.put(&format!("{}/password", individual(simple)), Some(&body)));
}

fn create(client: &Client, simple: &str, password: &str) {
    let name = format!("{simple}@pa.example");
    let body = json!({ "name": name, "password": password }).to_string();
    done(&client.post("/api/v1/individuals", &body));
}

fn create_group(client: &Client, name: &str) {
    done(&client.post("/api/v1/groups", &json!({ "name": name }).to_string()));
}

fn list(client: &Client, group: &str, list: &str) -> Vec<String> {
    let page = done(&client.get(&format!("{group}/lists/{list}")));
    let members = page["members"].as_array().unwrap().iter();
    let simple = |member: &Value| {
        member
            .as_str()
            .unwrap()
            .split('@')
            .next()
            .unwrap()
            .to_owned()
    };
    members.map(simple).collect()
}

fn is_in(client: &Client, group: &str, simple: &str) -> bool {
    let path = format!("{group}/check?who={simple}@pa.example");
    done(&client.get(&path))["answer"].as_bool().unwrap()
}

/// The first password of everybody.
fn first(simple: &str) -> String {
    format!("the first of {simple}")
}

fn second(simple: &str) -> String {
    format!("the second of {simple}")
}

/// A registry that refuses where it has no second disk or is cut off.
fn strict_registry(machines: &Machines) {
    let create = [
        "registry",
        "create",
        "strict.example",
        "--registrar",
        REGISTRAR,
    ];
    machines.operator(0, &create);
    let policy = ["--alone", "refuse", "--stale", "refuse"];
    machines.operator(
        0,
        &[&["registry", "policy", "strict.example"], &policy[..]].concat(),
    );
}

#[test]
fn both_sides_of_a_cut_network_edit_the_same_names_and_agree_by_the_written_rules() {
    let machines = Machines::up(3);
    let tickets: Vec<String> = (0..3)
        .map(|machine| machines.log_in(machine, REGISTRAR, PASSWORD).unwrap())
        .collect();
    // Each by another server's signature.
    let registrar = |machine: usize| machines.by(machine, &tickets[(machine + 1) % 3]);
    wait_for("the registrar's tickets to be good everywhere", || {
        (0..3).all(|machine| registrar(machine).get(REGISTRY).status == 200)
    });
    let people = [
        "ada", "bob", "carol", "leaver", "joiner", "owner", "gone", "again",
    ];
    for simple in people {
        create(&registrar(0), simple, &first(simple));
    }
    for name in ["dave", "eve", "frank"] {
        let body = json!([{ "name": format!("{name}@pa.example"), "kind": "individual" }]);
        done(&registrar(0).post(&format!("{REGISTRY}/import"), &body.to_string()));
    }
    for name in ["club^", "old^", "doors^"] {
        // Owned by nobody: the registrar's.
        create_group(&registrar(0), &format!("{name}@pa.example"));
    }
    for simple in ["ada", "bob", "leaver"] {
        add(&registrar(0), CLUB, "members", simple);
    }
    add(&registrar(0), CLUB, "friends", "joiner");
    for owner in ["taft", "owner"] {
        add(&registrar(0), CLUB, "owners", owner);
    }
    add(&registrar(0), &group("old^"), "members", "ada");
    strict_registry(&machines);
    create_group(&registrar(0), "safe^@strict.example");
    let safe = "/api/v1/groups/safe^@strict.example";
    add(&registrar(0), safe, "members", "ada");
    machines.wait_for_equal_digests();
    let ticket = |machine, simple: &str| {
        let name = format!("{simple}@pa.example");
        machines.log_in(machine, &name, &first(simple)).unwrap()
    };
    let [ada, bob, carol, leaver, joiner, owner] =
        ["ada", "bob", "carol", "leaver", "joiner", "owner"].map(|simple| ticket(2, simple));

    machines.cut(&[0]);
    let (small, large, third) = (registrar(0), registrar(1), registrar(2));

    // The one that is cut off says so; tickets that others signed are good.
    let answer = machines.by(0, &ada).get(CLUB);
    done(&answer);
    assert_ne!(answer.header("grapevine-cut-off-since"), "");
    assert_ne!(answer.header("grapevine-as-of"), "");
    for machine in [1, 2] {
        let answer = machines.by(machine, &ada).get(CLUB);
        done(&answer);
        assert_eq!(answer.header("grapevine-cut-off-since"), "");
    }
    // Where the registry says so it answers nothing and takes nothing; the majority does.
    for refusal in [
        small.get(&format!("{safe}/check?who=ada@pa.example")),
        small.get(safe),
        small.put(&member(safe, "members", "bob"), None),
    ] {
        refused(&refusal, 503, "unavailable");
    }
    assert!(is_in(&large, safe, "ada"));
    add(&large, safe, "members", "carol");

    // The small side first.
    add(&small, CLUB, "members", "carol");
    remove(&small, CLUB, "members", "ada");
    done(&machines.by(0, &leaver).post(&format!("{CLUB}/leave"), "{}"));
    add(&small, CLUB, "owners", "ada");
    remark(&small, CLUB, "of the small side");
    set_password(&small, "bob", &second("bob"));
    create(&small, "dup", "of the small side");
    done(&small.delete(&group("old^")));
    create_group(&small, "old^@pa.example");
    add(&small, CLUB, "members", "eve");
    remove(&small, CLUB, "members", "eve");
    add(&small, CLUB, "members", "frank");
    remark(&small, &individual("gone"), "edited where nobody knew");
    done(&small.delete(&individual("again")));
    create(&small, "again", &second("again"));

    // Then the large one.
    add(&large, CLUB, "members", "dave");
    remove(&large, CLUB, "members", "bob");
    done(&machines.by(2, &joiner).post(&format!("{CLUB}/join"), "{}"));
    done(
        &machines
            .by(1, &owner)
            .delete(&member(CLUB, "owners", "owner")),
    );
    remark(&large, CLUB, "of the large side");
    set_password(&large, "carol", &second("carol"));
    create(&large, "dup", "of the large side");
    add(&third, &group("doors^"), "members", "dup");
    assert!(
        is_in(&third, &group("doors^"), "dup"),
        "it is somebody there"
    );
    add(&large, &group("old^"), "members", "bob");
    add(&third, CLUB, "members", "eve");
    add(&third, CLUB, "members", "frank");
    remove(&third, CLUB, "members", "frank");
    done(&large.delete(&individual("gone")));
    remark(&large, &individual("again"), "to the one before");
    // What was done here can't be read there: unavailable, never an older answer.
    let written = large.put(&member(CLUB, "friends", "dave"), None);
    done(&written);
    let seen = [("Grapevine-Seen", written.header("grapevine-seen"))];
    refused(&small.ask("GET", CLUB, &seen, None), 503, "unavailable");
    // Each side knows its own passwords; what one can't hear it can't act on.
    assert!(
        machines
            .log_in(0, "bob@pa.example", &second("bob"))
            .is_some()
    );
    assert!(
        machines
            .log_in(1, "bob@pa.example", &first("bob"))
            .is_some()
    );
    assert_eq!(machines.by(1, &bob).get(CLUB).status, 200);
    assert_eq!(machines.by(0, &carol).get(CLUB).status, 200);
    assert_eq!(machines.by(2, &carol).get(CLUB).status, 401);

    let took = machines.heal(&[0]);
    eprintln!("equal digests {} ms after the healing", took.as_millis());
    assert!(took < EQUAL_WITHIN, "{took:?}");

    for machine in 0..3 {
        let registrar = registrar(machine);
        let club = list(&registrar, CLUB, "members");
        assert_eq!(club, ["carol", "dave", "eve", "joiner"], "at {machine}");
        assert_eq!(list(&registrar, CLUB, "owners"), ["ada", "taft"]);
        let shown = done(&registrar.get(CLUB));
        assert_eq!(shown["remark"], "of the large side");
        assert_eq!(list(&registrar, safe, "members"), ["ada", "carol"]);
        // The new one has nothing of the old one.
        assert!(list(&registrar, &group("old^"), "members").is_empty());
        refused(&registrar.get(&individual("gone")), 404, "not-found");
        let again = done(&registrar.get(&individual("again")));
        assert!(
            again["remark"].as_str().unwrap_or_default().is_empty(),
            "{again}"
        );
        // Whose name it is, and what became of the other one.
        let conflicts = done(&registrar.get(&format!("{REGISTRY}/conflicts")));
        let aside = conflicts["conflicts"].as_array().unwrap();
        assert_eq!(aside.len(), 1, "{conflicts}");
        assert_eq!(aside[0]["name"], "dup@pa.example", "{conflicts}");
        assert!(!is_in(&registrar, &group("doors^"), "dup"));
        for (name, password, good) in [
            ("dup", "of the small side".to_owned(), true),
            ("dup", "of the large side".to_owned(), false),
            ("bob", second("bob"), true),
            ("bob", first("bob"), false),
            ("carol", second("carol"), true),
            ("again", second("again"), true),
            ("again", first("again"), false),
        ] {
            let name = format!("{name}@pa.example");
            let ticket = machines.log_in(machine, &name, &password);
            assert_eq!(ticket.is_some(), good, "{name} at {machine}: {password}");
        }
        for (who, ticket, status) in [
            ("ada", &ada, 200),
            ("bob", &bob, 401),
            ("carol", &carol, 401),
        ] {
            let answer = machines.by(machine, ticket).get(CLUB);
            assert_eq!(answer.status, status, "{who} at {machine}");
        }
        // Nothing was hidden by digests that are equal by chance.
        let compared = machines.operator(machine, &["compare"]);
        for view in compared.as_array().unwrap() {
            for with in view["with"].as_array().unwrap() {
                assert_eq!(with["differed"], 0, "{view}");
                assert_eq!(with["failure"], Value::Null, "{view}");
            }
        }
    }
    // Power went to whom it was given: over there, too.
    add(&machines.by(1, &ada), CLUB, "members", "bob");
    let late = machines
        .by(2, &owner)
        .put(&member(CLUB, "members", "ada"), None);
    refused(&late, 403, "not-allowed");
    // The conflict is settled once, for all.
    let conflicts = done(&registrar(2).get(&format!("{REGISTRY}/conflicts")));
    let aside = conflicts["conflicts"][0]["aside"]
        .as_str()
        .unwrap()
        .to_owned();
    done(&registrar(2).delete(&format!("/api/v1/conflicts/dup@pa.example/{aside}")));
    machines.wait_for_equal_digests();
    for machine in 0..3 {
        let conflicts = done(&registrar(machine).get(&format!("{REGISTRY}/conflicts")));
        assert_eq!(conflicts["conflicts"], json!([]));
    }
    machines.expect_no_errors();
}

#[test]
fn three_servers_that_are_each_alone_agree_when_the_network_is_back_however_often_it_goes() {
    const ROUNDS: usize = 3;
    let machines = Machines::up(3);
    let ticket = machines.log_in(0, REGISTRAR, PASSWORD).unwrap();
    let registrar = |machine: usize| machines.by(machine, &ticket);
    create_group(&registrar(0), "club^@pa.example");
    machines.wait_for_equal_digests();
    let mut wanted = Vec::new();
    for round in 0..ROUNDS {
        machines.cut(&[0, 1, 2]);
        for machine in 0..3 {
            let name = format!("m{round}{machine}");
            create(&registrar(machine), &name, &first(&name));
            add(&registrar(machine), CLUB, "members", &name);
            wanted.push(name);
        }
        // One at a time, and each is whole with those that are there already.
        let first = machines.heal_some(&[0, 1]);
        let last = machines.heal(&[2]);
        eprintln!(
            "equal digests {} ms after two are back, {} ms after the third is",
            first.as_millis(),
            last.as_millis()
        );
        assert!(first.max(last) < EQUAL_WITHIN, "{first:?} {last:?}");
        for machine in 0..3 {
            assert_eq!(
                list(&registrar(machine), CLUB, "members"),
                wanted,
                "at {machine}"
            );
        }
    }
    machines.expect_no_errors();
}
