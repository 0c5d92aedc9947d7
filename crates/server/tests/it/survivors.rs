//! What goes on when a server moves, and when only one of three is left.

use std::fs;
use std::net::TcpListener;

use crate::bad_machines::Second;
use crate::client::{BIRRELL, NEEDHAM, Person, REGISTRAR};
use crate::grapevine::{Grapevine, stderr, wait_for};
use crate::services::{POOL, dig, find, pool, register, sites};
use crate::wire::{Pop, Smtp};

const GROUP: &str = "crew^@pa.example";

#[test]
fn the_last_of_three_servers_does_all_that_it_holds() {
    let grapevine = Grapevine::up(3);
    let person = Person::at(&grapevine);
    let holders = ["registry", "holders", "pa.example", "--add", "s3"];
    let dir = grapevine.dir.join("s3");
    let operator = ["--operator", dir.to_str().unwrap()];
    let added = person.command(&[&holders[..], &operator].concat()).output();
    assert!(added.unwrap().status.success());
    for who in [BIRRELL, NEEDHAM] {
        let sites = ["individual", "sites", who, "s1", "s2", "s3"];
        person.done(&[&sites[..], &["--as", REGISTRAR]].concat());
    }
    pool(&person);
    person.done(&register("imap1@pa.example", "127.0.0.1:1143"));
    person.done(&["group", "create", GROUP, "--as", REGISTRAR]);
    person.done(&["group", "add", GROUP, NEEDHAM, "--as", REGISTRAR]);
    let before = b"Subject: before\r\n\r\nwhile all were there\r\n";
    let reply = Smtp::submission(&grapevine, 0, "birrell").data(BIRRELL, NEEDHAM, before);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("everything to be at the third", || {
        Pop::open(&grapevine, 2, "needham").count() == 1
            && sites(&find(&person, &grapevine, 2, POOL)) == ["127.0.0.1:1143"]
            && person.exit(&["registry", "seen", "pa.example"]) == 0
    });

    grapevine.kill(0);
    grapevine.kill(1);

    // Resource location, by question and by DNS; a new instance, too.
    assert_eq!(
        person.done(&["service", "find", POOL]).trim(),
        "127.0.0.1:1143"
    );
    person.done(&register("imap2@pa.example", "127.0.0.1:2143"));
    let mut both = sites(&find(&person, &grapevine, 2, POOL));
    both.sort();
    assert_eq!(both, ["127.0.0.1:1143", "127.0.0.1:2143"]);
    // The zone is made anew a moment after the change.
    wait_for("both to be in the zone", || {
        let dns = dig(&grapevine, 2, &["+short", "SRV", "_imap._tcp.pa.example"]);
        dns.lines().count() == 2
    });
    // Access control, administration, logging in.
    assert_eq!(person.exit(&["group", "check", GROUP, NEEDHAM]), 0);
    assert_eq!(person.exit(&["group", "check", GROUP, BIRRELL]), 1);
    person.done(&["group", "add", GROUP, BIRRELL, "--as", REGISTRAR]);
    assert_eq!(person.exit(&["group", "check", GROUP, BIRRELL]), 0);
    // Mail to one and to the group; what came before is there.
    for to in [NEEDHAM, GROUP] {
        let reply = Smtp::submission(&grapevine, 2, "birrell").data(BIRRELL, to, before);
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    wait_for("the mail", || {
        Pop::open(&grapevine, 2, "needham").count() == 3
            && Pop::open(&grapevine, 2, "birrell").count() == 1
    });
}

/// The file with each door's port changed to a free one.
fn moved(file: &str) -> String {
    let line = |line: &str| match line.split_once(" = \"127.0.0.1:") {
        Some((door, _)) if ["rpc", "submission", "pop3"].contains(&door) => {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("{door} = \"{}\"\n", free.local_addr().unwrap())
        }
        Some(_) | None => format!("{line}\n"),
    };
    file.lines().map(line).collect()
}

#[test]
fn a_server_that_takes_another_address_is_found_there_by_servers_and_clients() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let first = grapevine.doors(0)["rpc"].clone();
    let password = grapevine.dir.join("passwords").join("registrar");
    // Somebody who was given the first server's address and remembers what he learns.
    let by_the_first = |args: &[&str]| {
        let who = ["--as", REGISTRAR, "--server", &first];
        let password = ["--password-file", password.to_str().unwrap()];
        let output = person.command(&[args, &who, &password].concat()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    };
    by_the_first(&["individual", "show", BIRRELL]);
    Second::stopped(&grapevine);
    let file = grapevine.dir.join("s2/grapevine.toml");
    let before = fs::read_to_string(&file).unwrap();
    let after = moved(&before);
    assert_ne!(before, after);
    fs::write(&file, after).unwrap();
    let second = Second::started(&grapevine, &[]);
    wait_for("the first server to hear it", || {
        let status = person.run_json(&["status", "--json", "--server", &first]);
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        servers.len() == 2 && servers.iter().all(|server| server["up"] == true)
    });
    // Any command through the first server learns where the second is now.
    by_the_first(&["individual", "show", BIRRELL]);
    grapevine.kill(0);
    by_the_first(&["individual", "show", BIRRELL]);
    by_the_first(&["group", "create", GROUP]);
    second.stop();
}
