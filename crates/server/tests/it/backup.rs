//! Backups of running servers: incremental, checked, torn; a server that is brought back from one beside a peer that went on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::grapevine::{program, stderr, wait_for};
use crate::pair::{Process, as_operator, init, join, token};

pub(crate) fn grapevine(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

pub(crate) fn json(args: &[&str]) -> Value {
    let said = grapevine(&[args, &["--json"]].concat());
    assert!(said.status.success(), "{args:?}: {}", stderr(&said));
    serde_json::from_slice(&said.stdout).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Puts so many mails into somebody's mailbox, as the operator of a server.
pub(crate) fn fill(dir: &Path, who: &str, name: &str, mails: usize, octets: usize) {
    let kept = dir.parent().unwrap().join(name);
    for n in 0..mails {
        let body = format!("Subject: {name} {n}\r\n\r\n{}", "x".repeat(octets));
        let file = format!("{}.{n}:2,S", 1_700_000_000 + n);
        crate::export::put(&kept, "Archive", &file, 1_700_000_000_000, body.as_bytes());
    }
    as_operator(dir, &["import", "maildir", text(&kept), "--to", who]);
}

/// The subjects in a mailbox, sorted.
pub(crate) fn subjects(dir: &Path, who: &str) -> Vec<String> {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    as_operator(dir, &["export", "maildir", text(&out), "--of", who]);
    let mails = crate::export::mails(&out);
    let mut subjects: Vec<String> = mails
        .iter()
        .map(|(_, _, _, octets)| {
            let text = String::from_utf8_lossy(octets).into_owned();
            text.lines().next().unwrap().to_owned()
        })
        .collect();
    subjects.sort();
    subjects
}

pub(crate) const TAFT: &str = "taft@pa.example";
const CLUB: &str = "club@pa.example";

#[test]
fn a_running_server_is_backed_up_incrementally_and_damage_and_torn_backups_are_seen() {
    let temp = tempfile::tempdir().unwrap();
    let server = Process::serve(&init(&temp));
    let dir = server.dir.clone();
    fill(&dir, TAFT, "first", 60, 3_000);
    // A large one is in a file of its own.
    fill(&dir, TAFT, "large", 1, 700_000);
    let vault = temp.path().join("backups");
    let backup = ["backup", "--dir", text(&dir), "--to", text(&vault)];
    let first = json(&backup);
    assert_eq!(first["messages"], 61, "{first}");
    let again = json(&backup);
    let octets = |backup: &Value| backup["written"]["octets"].as_u64().unwrap();
    assert!(octets(&first) > 800_000, "{first}");
    // Nothing but what the server noted meanwhile.
    assert!(octets(&again) < octets(&first) / 10, "{again}");
    fill(&dir, TAFT, "second", 10, 3_000);
    let third = json(&backup);
    assert_eq!(third["messages"], 71, "{third}");
    assert!(octets(&third) < octets(&first) / 2, "{third}");
    let verify = ["backup", "verify", text(&vault)];
    assert_eq!(json(&verify)["damaged"].as_array().unwrap().len(), 0);
    let listed = json(&["backup", "list", text(&vault)]);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3, "{listed}");
    // For its owner's eyes alone.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&vault), 0o700);
    let (object, _) = an_object(&vault);
    assert_eq!(mode(&object), 0o600);
    // The first one goes, and the others are what they were.
    let prune = ["backup", "prune", text(&vault), "--keep", "2"];
    let said = json(&[&prune[..], &["--dry-run"]].concat());
    assert_eq!(
        said["removed"],
        serde_json::json!([first["taken"]]),
        "{said}"
    );
    assert_eq!(json(&["backup", "list", text(&vault)]), listed);
    let done = json(&prune);
    assert_eq!(
        (&done["removed"], &done["objects"]),
        (&said["removed"], &said["objects"])
    );
    assert_eq!(json(&verify)["damaged"].as_array().unwrap().len(), 0);
    let at = again["taken"].to_string();
    let second = json(&[&verify[..], &["--at", &at]].concat());
    assert_eq!(second["damaged"].as_array().unwrap().len(), 0, "{second}");
    assert_eq!(grapevine(&prune[..3]).status.code(), Some(2));
    // A backup whose list is torn does not count; the one before it does.
    let mut lists: Vec<_> = fs::read_dir(vault.join("manifests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    lists.sort();
    let whole = fs::read(&lists[1]).unwrap();
    fs::write(&lists[1], &whole[..whole.len() / 2]).unwrap();
    let listed = json(&["backup", "list", text(&vault)]);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["torn"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(grapevine(&prune).status.code(), Some(1));
    assert_eq!(json(&verify)["messages"], 61);
    // A damaged object is seen, and nothing is restored from it.
    let (object, bytes) = an_object(&vault);
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    fs::write(&object, damaged).unwrap();
    assert_eq!(grapevine(&verify).status.code(), Some(1));
    let into = temp.path().join("into");
    let restore = [
        "restore",
        "server",
        "--from",
        text(&vault),
        "--into",
        text(&into),
    ];
    assert_eq!(grapevine(&restore).status.code(), Some(1));
    assert!(!into.join("server.json").exists());
    fs::write(&object, bytes).unwrap();
    // Begun anew after that; and a folder that holds a server is left alone.
    json(&restore);
    assert_eq!(grapevine(&restore).status.code(), Some(2));
    assert_eq!(
        grapevine(&["backup", "verify", text(&into)]).status.code(),
        Some(4)
    );
    let not_empty = ["backup", "--dir", text(&dir), "--to", text(&into)];
    assert_eq!(grapevine(&not_empty).status.code(), Some(1));
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
}

/// A large object of a backup, with its octets.
fn an_object(vault: &Path) -> (std::path::PathBuf, Vec<u8>) {
    for shelf in fs::read_dir(vault.join("objects")).unwrap() {
        for object in fs::read_dir(shelf.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            if bytes.len() > 600_000 {
                return (path, bytes);
            }
        }
    }
    panic!("no large object");
}

#[test]
fn a_message_and_a_mailbox_are_put_back_where_they_were_and_nothing_else_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    let server = Process::serve(&init(&temp));
    let dir = server.dir.clone();
    let kept = temp.path().join("kept");
    for n in 0..6 {
        let folder = ["", "Archive.2024"][n % 2];
        let file = format!("{}.{n}:2,{}", 1_700_000_000 + n, ["S", "FRa"][n % 2]);
        let body = format!("Subject: {n}\r\n\r\nbody {n}\r\n");
        let ms = 1_700_000_000_000 + n as u64;
        crate::export::put(&kept, folder, &file, ms, body.as_bytes());
    }
    fs::write(kept.join(".Archive.2024/dovecot-keywords"), "0 Work\n").unwrap();
    as_operator(&dir, &["import", "maildir", text(&kept), "--to", TAFT]);
    let out = |name: &str| {
        let out = temp.path().join(name);
        as_operator(&dir, &["export", "maildir", text(&out), "--of", TAFT]);
        crate::export::mails(&out)
    };
    let before = out("before");
    assert_eq!(before.len(), 6);
    let vault = temp.path().join("backups");
    json(&["backup", "--dir", text(&dir), "--to", text(&vault)]);
    let ids: Vec<String> = as_operator(&dir, &["inbox", TAFT])["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    // Two are deleted, and one comes.
    for id in &ids[..2] {
        as_operator(&dir, &["read", id, "--delete", "--raw", "--of", TAFT]);
    }
    fill(&dir, TAFT, "later", 1, 100);
    let from = ["--from", text(&vault), "--dir", text(&dir)];
    let message = [&["restore", "message", &ids[0], "--of", TAFT], &from[..]].concat();
    let mailbox = [&["restore", "mailbox", TAFT], &from[..]].concat();
    let said = json(&[&mailbox[..], &["--dry-run"]].concat());
    assert_eq!(said["missing"].as_array().unwrap().len(), 2, "{said}");
    assert_eq!(said["restored"], 0, "{said}");
    assert_eq!(out("deleted").len(), 5);
    assert_eq!(json(&message)["restored"], 1);
    assert_eq!(out("one").len(), 6);
    let rest = json(&mailbox);
    assert_eq!(
        (&rest["restored"], &rest["already"]),
        (&1.into(), &5.into()),
        "{rest}"
    );
    let again = json(&mailbox);
    assert_eq!(
        (&again["restored"], &again["already"]),
        (&0.into(), &6.into()),
        "{again}"
    );
    // All that was, as it was, and what came since.
    let after = out("after");
    assert_eq!(after.len(), 7);
    assert!(before.iter().all(|mail| after.contains(mail)), "{after:?}");
    let nobody = [&["restore", "mailbox", "nobody@pa.example"], &from[..]].concat();
    assert_eq!(grapevine(&nobody).status.code(), Some(4));
    let none = [
        "restore",
        "message",
        "00000000000100008000000000000001",
        "--of",
        TAFT,
    ];
    assert_eq!(
        grapevine(&[&none[..], &from[..]].concat()).status.code(),
        Some(4)
    );
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
}

#[test]
fn a_server_that_is_restored_from_a_backup_catches_up_and_brings_nothing_back() {
    let temp = tempfile::tempdir().unwrap();
    let first = Process::serve(&init(&temp));
    let token = token(&first.dir);
    let (dir, joined) = join(&temp, &token, "s2");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let second = Process::serve(&dir);
    let one = first.dir.clone();
    as_operator(&one, &["group", "create", CLUB]);
    as_operator(&one, &["group", "add", CLUB, "stays@example.org"]);
    as_operator(&one, &["group", "add", CLUB, "goes@example.org"]);
    as_operator(
        &one,
        &[
            "individual",
            "create",
            "lampson@pa.example",
            "--no-password",
        ],
    );
    fill(&one, "lampson@pa.example", "before", 30, 500);
    wait_for("s2 to have it", || {
        members(&dir).contains("goes@") && subjects(&dir, "lampson@pa.example").len() == 30
    });
    let vault = temp.path().join("backups");
    json(&["backup", "--dir", text(&dir), "--to", text(&vault)]);
    // Life goes on after the backup, at both; then the second machine is lost.
    as_operator(&dir, &["group", "remove", CLUB, "goes@example.org"]);
    as_operator(&dir, &["group", "add", CLUB, "came@example.org"]);
    fill(&dir, "lampson@pa.example", "after", 5, 500);
    let inbox = as_operator(&one, &["inbox", "lampson@pa.example"]);
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 0, "{inbox}");
    wait_for("s1 to have it", || {
        members(&one).contains("came@") && subjects(&one, "lampson@pa.example").len() == 35
    });
    drop(second);
    fs::remove_dir_all(&dir).unwrap();
    json(&[
        "restore",
        "server",
        "--from",
        text(&vault),
        "--into",
        text(&dir),
    ]);
    let second = Process::serve(&dir);
    assert!(
        second.log().contains("brought back from a backup"),
        "{}",
        second.log()
    );
    wait_for("s2 to have what it forgot", || {
        members(&dir) == members(&one)
            && subjects(&dir, "lampson@pa.example") == subjects(&one, "lampson@pa.example")
    });
    let there = members(&dir);
    assert!(
        there.contains("stays@") && there.contains("came@"),
        "{there}"
    );
    assert!(!there.contains("goes@"), "{there}");
    assert_eq!(subjects(&dir, "lampson@pa.example").len(), 35);
    as_operator(&dir, &["group", "add", CLUB, "second@example.org"]);
    as_operator(&one, &["group", "add", CLUB, "first@example.org"]);
    wait_for("both to have both", || {
        [&one, &dir].iter().all(|dir| {
            let there = members(dir);
            there.contains("second@") && there.contains("first@")
        })
    });
    for process in [first, second] {
        assert!(!process.log().contains("\"ERROR\""), "{}", process.log());
    }
}

fn members(dir: &Path) -> String {
    as_operator(dir, &["group", "members", CLUB]).to_string()
}
