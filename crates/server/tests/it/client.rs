//! The client's commands against a pair: what they do, say and exit with, also when a server is
//! killed under them.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::grapevine::{Grapevine, program, stderr, wait_for};

/// A person at a terminal, with a configuration folder of its own.
pub(crate) struct Person<'a> {
    grapevine: &'a Grapevine,
    pub(crate) config: PathBuf,
}

impl<'a> Person<'a> {
    pub(crate) fn at(grapevine: &'a Grapevine) -> Self {
        Self {
            grapevine,
            config: grapevine.dir.join("person"),
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = program();
        command
            .args(args)
            .env("GRAPEVINE_CONFIG", &self.config)
            .env_remove("GRAPEVINE_AS")
            .env_remove("GRAPEVINE_PASSWORD_FILE")
            .current_dir(self.grapevine.dir.parent().unwrap());
        command
    }

    /// Runs with the servers of cluster.json.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let dir = self.grapevine.dir.to_str().unwrap();
        self.command(&[args, &["--dir", dir]].concat())
            .output()
            .unwrap()
    }

    /// Must be done.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            stderr(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["--json"]].concat())).unwrap()
    }

    /// What a command prints as JSON, however it ends; null when it prints none.
    pub(crate) fn run_json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.run(args).stdout).unwrap_or(Value::Null)
    }

    pub(crate) fn exit(&self, args: &[&str]) -> i32 {
        self.run(args).status.code().unwrap()
    }

    pub(crate) fn send(&self, args: &[&str], input: &[u8]) -> Output {
        let dir = self.grapevine.dir.to_str().unwrap();
        let mut child = self
            .command(&[&["send"], args, &["--dir", dir]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn inbox(&self, who: &str) -> Vec<String> {
        let listing = self.json(&["inbox", "--as", who]);
        let messages = listing["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["message"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn wait_for_mail(&self, who: &str, messages: usize) -> Vec<String> {
        // The next listing may be another server's, which has not got so far.
        let mut inbox = Vec::new();
        wait_for("mail", || {
            inbox = self.inbox(who);
            inbox.len() >= messages
        });
        inbox
    }
}

pub(crate) const REGISTRAR: &str = "registrar@pa.example";
pub(crate) const BIRRELL: &str = "birrell@pa.example";
pub(crate) const NEEDHAM: &str = "needham@pa.example";
const CSL: &str = "csl^@pa.example";

/// Everything that an administrator and a member do with a group, each exit code on the way.
pub(crate) fn administer(person: &Person<'_>, group: &str) {
    person.done(&[
        "group", "create", group, "--owner", BIRRELL, "--as", REGISTRAR,
    ]);
    assert_eq!(
        person.exit(&["group", "create", group, "--as", REGISTRAR]),
        1,
        "created twice"
    );
    person.done(&["group", "add", group, NEEDHAM, "*@ms", "--as", BIRRELL]);
    assert_eq!(
        person.exit(&["group", "add", group, BIRRELL, "--as", NEEDHAM]),
        3
    );
    assert_eq!(person.exit(&["group", "check", group, NEEDHAM]), 0);
    assert_eq!(person.exit(&["group", "check", group, BIRRELL]), 1);
    assert_eq!(
        person.exit(&["group", "check", "nobody@pa.example", BIRRELL]),
        4
    );
    let members = person.json(&["group", "members", group, "--as", NEEDHAM]);
    assert_eq!(members, serde_json::json!(["*@ms", NEEDHAM]));
    person.done(&[
        "group",
        "friends",
        group,
        "--add",
        "*@pa.example",
        "--as",
        BIRRELL,
    ]);
    person.done(&["group", "join", group, "--as", BIRRELL]);
    assert_eq!(person.exit(&["group", "check", group, BIRRELL]), 0);
    person.done(&["group", "leave", group, "--as", NEEDHAM]);
    assert_eq!(person.exit(&["group", "check", group, NEEDHAM]), 1);
    let view = person.json(&["group", "show", group, "--as", NEEDHAM]);
    assert_eq!(view["kind"], "group");
    assert_eq!(view["owners"], serde_json::json!([BIRRELL]));
    person.done(&["group", "delete", group, "--as", REGISTRAR]);
    assert_eq!(person.exit(&["group", "show", group, "--as", NEEDHAM]), 4);
}

#[test]
fn administration_goes_on_at_whichever_server_is_left() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    administer(&person, CSL);
    grapevine.kill(0);
    administer(&person, "csl2^@pa.example");
    let status = person.json(&["status"]);
    assert_eq!(status["servers"][0]["up"], false);
    assert_eq!(status["servers"][1]["up"], true);
    let text = person.done(&["status"]);
    assert!(
        text.contains("DOWN") && text.contains("only one copy"),
        "{text}"
    );
}

#[test]
fn a_password_is_changed_and_only_the_new_one_counts_also_with_a_server_dead() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let file = grapevine.dir.join("passwords/new");
    let new = file.to_str().unwrap();
    for (server, password) in ["a better horse", "yet another horse"]
        .into_iter()
        .enumerate()
    {
        fs::write(&file, format!("{password}\n")).unwrap();
        let change = ["individual", "passwd", NEEDHAM, "--new-password-file", new];
        person.done(&[&change[..], &["--as", REGISTRAR]].concat());
        let with_new = ["inbox", "--as", NEEDHAM, "--password-file", new];
        person.done(&with_new);
        assert_eq!(
            person.exit(&["inbox", "--as", NEEDHAM]),
            3,
            "the old one counts"
        );
        if server == 0 {
            grapevine.kill(1);
        }
    }
    fs::write(&file, "short\n").unwrap();
    let change = ["individual", "passwd", NEEDHAM, "--new-password-file", new];
    let refused = person.run(&[&change[..], &["--as", REGISTRAR]].concat());
    assert_ne!(refused.status.code(), Some(0));
    assert!(stderr(&refused).contains('8'), "{}", stderr(&refused));
    assert!(!stderr(&refused).contains("short"), "{}", stderr(&refused));
}

#[test]
fn a_message_is_sent_traced_read_byte_for_byte_and_deleted_with_a_server_dead() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let exact: Vec<u8> = [
        b"Subject: odd\r\n\r\n\0\xff\n.\nno end".to_vec(),
        vec![b'x'; 70_000],
    ]
    .concat();
    let sent = person.send(&["--as", BIRRELL, NEEDHAM, "--as-is"], &exact);
    assert!(sent.status.success(), "{}", stderr(&sent));
    let said = String::from_utf8(sent.stdout).unwrap();
    let id = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(person.wait_for_mail(NEEDHAM, 1), std::slice::from_ref(&id));
    let deposited = || {
        let trace = person.run_json(&["trace", &id, "--json", "--as", NEEDHAM]);
        trace["recipients"][0]["state"] == "deposited"
    };
    wait_for("the trace to say so", deposited);
    assert_eq!(person.exit(&["trace", &"0".repeat(32), "--as", NEEDHAM]), 4);
    let nobody = person.send(&["--as", BIRRELL, "nobody@pa.example"], b"x");
    assert_eq!(nobody.status.code(), Some(4), "{}", stderr(&nobody));
    let forged = person.send(&["--as", BIRRELL, "--from", NEEDHAM, NEEDHAM], b"x");
    assert_eq!(forged.status.code(), Some(3), "{}", stderr(&forged));
    grapevine.kill(0);
    // It may have been in one inbox only when that server died: its deputy delivers it then.
    let mut read = None;
    wait_for("it to be in the inbox of the other server", || {
        let tried = person.run(&["read", &id, "--raw", "--delete", "--as", NEEDHAM]);
        let is_read = tried.status.success();
        read = Some(tried);
        is_read
    });
    assert_eq!(read.unwrap().stdout, exact);
    assert!(person.inbox(NEEDHAM).is_empty());
    assert_eq!(person.exit(&["read", "--as", NEEDHAM]), 4);
}

#[test]
fn send_t_stands_in_for_sendmail() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let input = b"To: Roger <needham@pa.example>\nBcc: birrell@pa.example\nSubject: lunch\n\nat one\n.\nnot this\n";
    let sent = person.send(&["-t", "--as", BIRRELL], input);
    assert!(sent.status.success(), "{}", stderr(&sent));
    assert!(sent.stdout.is_empty());
    let sent = person.send(&["-t", "-oi", "-oem", "--as", BIRRELL], input);
    assert!(sent.status.success(), "{}", stderr(&sent));
    person.wait_for_mail(NEEDHAM, 2);
    person.wait_for_mail(BIRRELL, 2);
    let raw = |n| person.done(&["read", n, "--raw", "--as", NEEDHAM]);
    let (first, second) = (raw("1"), raw("2"));
    assert!(first.ends_with("\r\n\r\nat one\r\n"), "{first}");
    assert!(second.ends_with("\r\n.\r\nnot this\r\n"), "{second}");
    for message in [&first, &second] {
        assert!(!message.contains("Bcc"), "{message}");
        for field in ["Date: ", "From: birrell@pa.example", "Message-ID: "] {
            assert!(message.contains(field), "{field} in {message}");
        }
    }
    let shown = person.done(&["read", "1", "--as", NEEDHAM]);
    assert!(
        shown.contains("Subject: lunch") && shown.contains("at one"),
        "{shown}"
    );
}

#[test]
fn an_import_that_a_kill_interrupts_and_that_is_run_again_doubles_and_loses_nothing() {
    const MESSAGES: usize = 1_000;
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let file = grapevine.dir.join("old.mbox");
    let mut mbox = String::new();
    for n in 0..MESSAGES {
        mbox.push_str(&format!(
            "From x@y Mon Jan {:2} 10:00:00 2024\nSubject: {n}\n\n{}\n\n",
            1 + n % 28,
            "body ".repeat(n)
        ));
    }
    fs::write(&file, &mbox).unwrap();
    let import = ["import", "mbox", file.to_str().unwrap(), "--as", NEEDHAM];
    let dir = grapevine.dir.to_str().unwrap();
    let mut child = person
        .command(&[&import[..], &["--dir", dir]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("some of it", || person.inbox(NEEDHAM).len() > 20);
    grapevine.kill(0);
    assert!(child.wait().unwrap().success());
    assert_eq!(person.json(&import)["accepted"], MESSAGES);
    let ids = person.wait_for_mail(NEEDHAM, MESSAGES);
    assert_eq!(ids.len(), MESSAGES);
    let last = person.done(&["read", &ids[MESSAGES - 1], "--raw", "--as", NEEDHAM]);
    assert!(mbox.contains(&last));
}

#[test]
fn a_login_is_tried_then_remembered_and_any_server_suffices_afterwards() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let server = grapevine.doors(0)["rpc"].clone();
    let login = |password: &str, more: &[&str]| {
        let file = grapevine.dir.join("passwords").join(password);
        let args = ["login", BIRRELL, "--server", &server, "--password-file"];
        let args = [&args[..], &[file.to_str().unwrap()], more].concat();
        person.command(&args).output().unwrap()
    };
    let wrong_pin = login("birrell", &["--pin", &"0".repeat(64)]);
    assert_eq!(wrong_pin.status.code(), Some(1), "{}", stderr(&wrong_pin));
    let keys = person.json(&["status", "--keys"]);
    let fingerprint = keys[0]["fingerprint"].as_str().unwrap();
    assert!(
        stderr(&wrong_pin).contains(fingerprint),
        "{}",
        stderr(&wrong_pin)
    );
    let first = login("needham", &[]);
    assert_eq!(first.status.code(), Some(3), "{}", stderr(&first));
    assert!(stderr(&first).contains(fingerprint), "{}", stderr(&first));
    let right = login("birrell", &["--pin", fingerprint]);
    assert!(right.status.success(), "{}", stderr(&right));
    grapevine.kill(0);
    let inbox = person.command(&["inbox", "--json"]).output().unwrap();
    assert!(inbox.status.success(), "{}", stderr(&inbox));
    grapevine.kill(1);
    let inbox = person.command(&["inbox"]).output().unwrap();
    assert_eq!(inbox.status.code(), Some(5), "{}", stderr(&inbox));
}

#[test]
fn the_operator_of_a_machine_needs_no_password() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let folder = grapevine.dir.join("s1");
    let operator = ["--operator", folder.to_str().unwrap()];
    let status = person.command(&[&["status", "--json"], &operator[..]].concat());
    let status = { status }.output().unwrap();
    let value: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(value["servers"].as_array().unwrap().len(), 2, "{value}");
    let show = ["individual", "show", BIRRELL];
    let shown = person
        .command(&[&show[..], &operator[..]].concat())
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert_eq!(
        person.exit(&["individual", "show", BIRRELL]),
        2,
        "nobody was asked for"
    );
}
