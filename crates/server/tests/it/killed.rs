//! Each server of a pair killed in turn while mail flows, and one lost with its disk: nobody who
//! uses the other one notices (P1, P3), and afterwards all is equal (P4).

use std::collections::BTreeMap;
use std::fs;

use crate::client::{NEEDHAM, Person, REGISTRAR, administer};
use crate::grapevine::{Grapevine, program, stderr, wait_for};
use crate::pair::{Process, join, token};
use crate::wire::{Pop, Smtp};

/// Messages sent while one server is killed.
const FLOW: usize = 150;

fn message(round: &str, n: usize) -> Vec<u8> {
    format!("From: needham@pa.example\r\nSubject: {round} {n}\r\n\r\nbody of {round} {n}\r\n")
        .into_bytes()
}

/// Sends the flow through one server; every message must be accepted.
fn flow(grapevine: &Grapevine, server: usize, round: &str) {
    let mut smtp = Smtp::submission(grapevine, server, "needham");
    for n in 0..FLOW {
        let reply = smtp.data(NEEDHAM, "birrell@pa.example", &message(round, n));
        assert_eq!(reply.code, 250, "{round} {n}: {reply:?}");
    }
}

/// How often each body line is in an inbox, as one server shows it.
fn seen(grapevine: &Grapevine, server: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for message in Pop::open(grapevine, server, "birrell").all() {
        let text = String::from_utf8_lossy(&message).into_owned();
        let line = text
            .lines()
            .find(|line| line.starts_with("body of "))
            .unwrap();
        *seen.entry(line.to_owned()).or_default() += 1;
    }
    seen
}

fn expected(rounds: &[&str]) -> BTreeMap<String, usize> {
    let lines = rounds
        .iter()
        .flat_map(|round| (0..FLOW).map(move |n| format!("body of {round} {n}")));
    lines.map(|line| (line, 1)).collect()
}

/// Everything that a user and an administrator do, with one server gone.
fn every_verb(grapevine: &Grapevine, round: &str) {
    let person = Person::at(grapevine);
    administer(&person, &format!("{round}^@pa.example"));
    let password = grapevine.dir.join("passwords").join(round);
    fs::write(&password, "a horse of another colour\n").unwrap();
    let file = password.to_str().unwrap();
    let who = format!("{round}@pa.example");
    person.done(&[
        "individual",
        "create",
        &who,
        "--new-password-file",
        file,
        "--as",
        REGISTRAR,
    ]);
    person.done(&["inbox", "--as", &who, "--password-file", file]);
    fs::write(&password, "and of yet another one\n").unwrap();
    person.done(&[
        "individual",
        "passwd",
        &who,
        "--new-password-file",
        file,
        "--as",
        REGISTRAR,
    ]);
    person.done(&["inbox", "--as", &who, "--password-file", file]);
}

#[test]
fn each_server_killed_in_turn_while_mail_flows_loses_nothing_and_doubles_nothing() {
    let grapevine = Grapevine::up(2);
    let mut restarted = Vec::new();
    let rounds = ["first", "second"];
    for (victim, round) in rounds.iter().enumerate() {
        let survivor = 1 - victim;
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| flow(&grapevine, survivor, round));
            wait_for("mail to flow", || {
                Pop::open(&grapevine, survivor, "birrell").count() > victim * FLOW + 10
            });
            grapevine.kill(victim);
            every_verb(&grapevine, round);
            sending.join().unwrap();
        });
        assert_eq!(seen(&grapevine, survivor), expected(&rounds[..=victim]));
        restarted.push(Process::serve(
            &grapevine.dir.join(format!("s{}", victim + 1)),
        ));
        wait_for("the server that was dead to have caught up", || {
            Pop::open(&grapevine, victim, "birrell").count() == (victim + 1) * FLOW
        });
        for server in [0, 1] {
            assert_eq!(
                seen(&grapevine, server),
                expected(&rounds[..=victim]),
                "at s{}",
                server + 1
            );
        }
        assert_agreed(&grapevine);
    }
}

/// All servers are up and hold the same.
fn assert_agreed(grapevine: &Grapevine) {
    let person = Person::at(grapevine);
    wait_for("the registries to agree", || {
        let status = person.json(&["status"]);
        let up = status["servers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["up"] == true);
        up && status["registries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["agree"] == true)
    });
}

#[test]
fn a_server_lost_with_its_disk_is_replaced_and_nothing_is_lost() {
    let grapevine = Grapevine::up(2);
    flow(&grapevine, 1, "before");
    grapevine.kill(1);
    fs::remove_dir_all(grapevine.dir.join("s2")).unwrap();
    flow(&grapevine, 0, "alone");
    let temp = tempfile::tempdir().unwrap();
    let s1 = grapevine.dir.join("s1");
    let (dir, joined) = join(&temp, &token(&s1), "s3");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let new = Process::serve(&dir);
    let retired = program()
        .args(["retire", "s2", "--dir"])
        .arg(&s1)
        .output()
        .unwrap();
    assert!(retired.status.success(), "{}", stderr(&retired));
    let person = Person::at(&grapevine);
    wait_for("the new server to hold what the lost one held", || {
        let status = person.json(&["status"]);
        let servers = status["servers"].as_array().unwrap();
        let mailboxes = |name: &str| {
            servers
                .iter()
                .find(|s| s["server"] == name)
                .map(|s| s["mailboxes"].clone())
        };
        let all = status["registries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["agree"] == true);
        // Nothing in custody: every message is on two disks again.
        let idle = servers.iter().all(|s| s["queue"]["messages"] == 0);
        let even = servers
            .iter()
            .flat_map(|s| s["peers"].as_array().unwrap())
            .all(|p| p["behind"] == 0);
        servers.len() == 2 && all && idle && even && mailboxes("s3") == mailboxes("s1")
    });
    // And now without the server that had everything, by the new one's address alone.
    grapevine.kill(0);
    let text = fs::read_to_string(new.dir.join("grapevine.toml")).unwrap();
    let rpc = text
        .lines()
        .find_map(|line| line.strip_prefix("rpc = "))
        .unwrap();
    let rpc = rpc.trim_matches('"');
    let at_new = |args: &[&str], who: &str| {
        let file = grapevine.dir.join("passwords").join(who);
        let name = format!("{who}@pa.example");
        let output = program()
            .args(args)
            .args(["--as", &name, "--server", rpc, "--password-file"])
            .arg(file)
            .env("GRAPEVINE_CONFIG", temp.path().join("person"))
            .current_dir(temp.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let inbox: serde_json::Value =
        serde_json::from_str(&at_new(&["inbox", "--json"], "birrell")).unwrap();
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 2 * FLOW);
    let read = at_new(&["read", "1"], "birrell");
    assert!(read.contains("body of before"), "{read}");
    at_new(&["group", "create", "after^@pa.example"], "registrar");
}
