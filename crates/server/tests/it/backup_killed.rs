//! Backups and restores whose process is killed in the middle: what was whole before stays whole, and the next run ends the work.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::backup::{TAFT, fill, grapevine, json, subjects, text};
use crate::grapevine::{program, wait_for};
use crate::pair::{Process, init};

/// Mails before the first backup, and after it.
const BEFORE: usize = 100;
const AFTER: usize = 500;
const OCTETS: usize = 3_000;

fn spawn(args: &[&str]) -> Child {
    program()
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a process when something is so; whether that came before its end.
fn kill_when(mut child: Child, is_so: impl Fn() -> bool) -> bool {
    let mut ended = false;
    wait_for("the moment of the kill", || {
        ended = child.try_wait().unwrap().is_some();
        ended || is_so()
    });
    if !ended {
        child.kill().unwrap();
    }
    // A process that ends by itself at this very moment was not killed.
    child.wait().unwrap().code().is_none()
}

fn objects(vault: &Path) -> usize {
    let shelves = fs::read_dir(vault.join("objects")).unwrap();
    shelves
        .map(|shelf| fs::read_dir(shelf.unwrap().path()).map_or(0, Iterator::count))
        .sum()
}

#[test]
fn a_backup_and_a_restore_that_are_killed_are_gone_on_with_and_what_was_whole_stays_so() {
    let temp = tempfile::tempdir().unwrap();
    let server = Process::serve(&init(&temp));
    let dir = server.dir.clone();
    fill(&dir, TAFT, "before", BEFORE, OCTETS);
    let vault = temp.path().join("backups");
    let backup = ["backup", "--dir", text(&dir), "--to", text(&vault)];
    let first = json(&backup);
    assert_eq!(first["messages"], BEFORE, "{first}");
    fill(&dir, TAFT, "after", AFTER, OCTETS);

    let verify = ["backup", "verify", text(&vault)];
    let mut killed = 0;
    // At its beginning, and further on each time.
    for more in [1, 60, 200] {
        let there = objects(&vault);
        if kill_when(spawn(&backup), || objects(&vault) >= there + more) {
            killed += 1;
            // It counts for nothing, and the one before it is what it was.
            let whole = json(&verify);
            assert_eq!(whole["taken"], first["taken"]);
            assert_eq!(whole["damaged"].as_array().unwrap().len(), 0, "{whole}");
        }
    }
    assert!(killed > 0, "no backup was killed in the middle");
    let last = json(&backup);
    assert_eq!(last["messages"], BEFORE + AFTER, "{last}");
    let written = last["written"]["objects"].as_u64().unwrap();
    assert!(
        usize::try_from(written).unwrap() < AFTER,
        "what the killed ones wrote is not written again: {last}"
    );
    assert_eq!(json(&verify)["damaged"].as_array().unwrap().len(), 0);

    let all = subjects(&dir, TAFT);
    assert_eq!(all.len(), BEFORE + AFTER);
    drop(server);
    let into = temp.path().join("into");
    let restore = ["restore", "server", "--from", text(&vault)];
    let restore = [&restore[..], &["--into", text(&into)]].concat();
    let unfinished = into.join("restore.unfinished");
    let store = into.join("store");
    assert!(
        kill_when(spawn(&restore), || unfinished.exists() && store.exists()),
        "no restore was killed in the middle"
    );
    assert!(!into.join("server.json").exists(), "it is no server yet");
    json(&restore);
    assert!(!unfinished.exists());
    // The old server's folder is gone, and the new one is where it was.
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&into, &dir).unwrap();
    let server = Process::serve(&dir);
    assert_eq!(subjects(&dir, TAFT), all);
    assert_eq!(grapevine(&verify).status.code(), Some(0));
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
}
