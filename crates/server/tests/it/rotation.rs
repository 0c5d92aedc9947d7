//! Servers change their keys while they are used, as real processes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;

use crate::grapevine::{Grapevine, program, run, stderr, wait_for};

/// Both servers' keys as the cluster file has them.
fn keys(grapevine: &Grapevine) -> Vec<String> {
    let cluster = grapevine.cluster();
    let servers = cluster["servers"].as_array().unwrap();
    let key = |server: &Value| server["public_key"].as_str().unwrap().to_owned();
    servers.iter().map(key).collect()
}

fn rotate(dir: &Path, how: &str) {
    let dir = dir.to_str().unwrap();
    let output = run(&["rotate-key", how, "--dir", dir]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Sends a message and asks a question, as a person's programs do: a new process each time.
fn use_it(dir: &Path) -> Result<(), String> {
    let dir = dir.to_str().unwrap();
    let mut send = program();
    send.args(["send", "--dir", dir, "--as", "birrell@pa.example"])
        .args(["--subject", "hello", "needham@pa.example"]);
    for mut command in [send, {
        let mut check = program();
        check.args([
            "individual",
            "show",
            "needham@pa.example",
            "--dir",
            dir,
            "--as",
            "birrell@pa.example",
        ]);
        check
    }] {
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(stderr(&output));
        }
    }
    Ok(())
}

#[test]
fn a_pair_changes_both_keys_under_load_and_nothing_fails() {
    let mut grapevine = Grapevine::up(2);
    let dir = grapevine.dir.clone();
    let before = keys(&grapevine);
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let users: Vec<_> = (0..2)
        .map(|_| {
            let (stop, done, dir) = (Arc::clone(&stop), Arc::clone(&done), dir.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    use_it(&dir)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for server in ["s1", "s2"] {
        rotate(&dir.join(server), "--soon");
    }
    wait_for("both keys to be changed", || {
        keys(&grapevine)
            .iter()
            .zip(&before)
            .all(|(now, before)| now != before)
    });
    let so_far = done.load(Ordering::Relaxed);
    wait_for("some more to be done after it", || {
        done.load(Ordering::Relaxed) > so_far + 4 || users.iter().any(|user| user.is_finished())
    });
    stop.store(true, Ordering::Relaxed);
    for user in users {
        user.join().unwrap().unwrap();
    }
    for server in ["s1", "s2"] {
        let folder = dir.join(server);
        assert!(!folder.join("server.next.key").exists());
        assert!(!folder.join("server.partial").exists());
    }
    grapevine.expect_no_errors();
    assert!(grapevine.stop().success());
    // And from the folders again.
    let again = Grapevine::up_in(&dir, 2);
    use_it(&dir).unwrap();
    again.expect_no_errors();
}

#[test]
fn a_server_killed_in_the_middle_of_its_change_ends_it_after_its_start() {
    let mut grapevine = Grapevine::up(2);
    let dir = grapevine.dir.clone();
    let before = keys(&grapevine);
    rotate(&dir.join("s2"), "--soon");
    assert!(
        dir.join("s2/server.next.key").exists(),
        "begun, and not yet done"
    );
    grapevine.kill(1);
    use_it(&dir).unwrap();
    assert!(grapevine.stop().success());
    // Stopped between the two files: the key is in its place, its certificate is the old one's.
    fs::copy(dir.join("s2/server.next.key"), dir.join("s2/server.key")).unwrap();
    let again = Grapevine::up_in(&dir, 2);
    wait_for("the change to be over", || {
        !dir.join("s2/server.next.key").exists() && keys(&again)[1] != before[1]
    });
    assert_eq!(keys(&again)[0], before[0]);
    use_it(&dir).unwrap();
    wait_for("both to hear each other by the new key", || {
        let output = run(&["status", "--json", "--dir", dir.to_str().unwrap()]);
        output.status.success()
    });
    again.expect_no_errors();
}

#[test]
fn a_folder_whose_key_is_on_record_no_more_says_what_to_do() {
    let mut grapevine = Grapevine::up(2);
    let dir = grapevine.dir.clone();
    let before = keys(&grapevine);
    let kept: Vec<_> = ["server.key", "server.crt"]
        .map(|file| {
            (
                dir.join("s2").join(file),
                fs::read(dir.join("s2").join(file)).unwrap(),
            )
        })
        .into();
    rotate(&dir.join("s2"), "--stolen");
    wait_for("the key to be changed", || keys(&grapevine)[1] != before[1]);
    wait_for("the open connection by the old key to be cut", || {
        grapevine.logs().contains("its key is no longer on record")
    });
    assert!(grapevine.stop().success());
    for (path, content) in kept {
        fs::write(path, content).unwrap();
    }
    let again = Grapevine::up_in(&dir, 2);
    wait_for("it to be said", || {
        again
            .logs()
            .contains("has no such key on record for this server")
    });
    assert!(
        again.logs().contains("docs/operations.md"),
        "{}",
        again.logs()
    );
}
