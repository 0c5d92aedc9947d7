//! `watch` on real processes: told at once, and without a gap when its server is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{Person, REGISTRAR};
use crate::grapevine::Grapevine;

const GROUP: &str = "watched^@pa.example";

struct Watching {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Watching {
    fn begin(person: &Person<'_>, grapevine: &Grapevine, args: &[&str]) -> Self {
        let dir = grapevine.dir.to_str().unwrap();
        let common = ["--as", REGISTRAR, "--json", "--dir", dir];
        let mut child = person
            .command(&[args, &common].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    /// Waits until this member was added.
    fn wait_for(&mut self, member: &str) {
        while self.next().expect("the watch goes on")["item"] != member {}
    }

    /// Ctrl-C: the token.
    fn end(mut self) -> String {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let mut token = None;
        while let Some(line) = self.next() {
            token = line["token"].as_str().map(str::to_owned);
        }
        assert!(self.child.wait().unwrap().success());
        token.expect("the last line has the token")
    }
}

#[test]
fn a_watch_misses_nothing_when_its_server_is_killed() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    person.done(&["group", "create", GROUP, "--as", REGISTRAR]);
    let add = |n: usize| {
        let member = format!("m{n}@outside.example");
        person.done(&["group", "add", GROUP, &member, "--as", REGISTRAR]);
        member
    };
    let mut watching = Watching::begin(
        &person,
        &grapevine,
        &["group", "watch", GROUP, "--from-beginning"],
    );
    assert_eq!(watching.next().unwrap()["event"], "start-over");
    assert_eq!(watching.next().unwrap()["event"], "created");
    watching.wait_for(&add(0));
    grapevine.kill(0);
    for n in 1..5 {
        watching.wait_for(&add(n));
    }
    let token = watching.end();
    // What happened in between is told afterwards, and what was told is not told again.
    let between = add(5);
    let dir = grapevine.dir.to_str().unwrap();
    let mut again = Watching::begin(
        &person,
        &grapevine,
        &["group", "watch", GROUP, "--since", &token, "--once"],
    );
    let told = again.next().unwrap();
    assert_eq!(told["item"], between.as_str(), "{dir}");
    assert!(again.next().unwrap()["token"].is_string());
    assert!(again.child.wait().unwrap().success());
    // All of the registry, for its registrars.
    let mut registry = Watching::begin(
        &person,
        &grapevine,
        &[
            "registry",
            "watch",
            "pa.example",
            "--from-beginning",
            "--once",
        ],
    );
    let mut created = Vec::new();
    while let Some(line) = registry.next() {
        if line["event"] == "created" {
            created.push(line["name"].as_str().unwrap().to_owned());
        }
    }
    created.sort();
    assert_eq!(
        created,
        ["birrell@pa.example", "needham@pa.example", REGISTRAR, GROUP]
    );
    assert_eq!(
        person.exit(&[
            "registry",
            "watch",
            "pa.example",
            "--as",
            "needham@pa.example"
        ]),
        3
    );
    assert_eq!(
        person.exit(&["group", "watch", "none^@pa.example", "--as", REGISTRAR]),
        4
    );
    assert_eq!(
        person.exit(&["group", "watch", GROUP, "--since", "x", "--as", REGISTRAR]),
        1
    );
}
