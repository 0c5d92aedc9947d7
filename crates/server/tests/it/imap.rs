//! IMAP at a pair of real servers, by Python's imaplib and by curl: what one server takes is there at both, under one number.
//!
//! Without Python or curl the tests are passed over with a word; the gate has both.

use std::process::{Command, Output};

use crate::grapevine::Grapevine;
use crate::mail_clients::{Site, is_here};
use crate::mail_programs::birrell_at;

/// Reads PORT, CA, NAME, PASSWORD and the like from its environment; each test is a function of it.
const SCRIPT: &str = include_str!("imap.py");

fn python(grapevine: &Grapevine, server: usize, what: &str, more: &[(&str, &str)]) -> Output {
    let site = birrell_at(grapevine, server);
    let doors = grapevine.doors(server);
    let port = |door: &str| doors[door].rsplit_once(':').unwrap().1.to_owned();
    let Site {
        ca,
        name,
        password,
        submissions,
        ..
    } = site;
    Command::new("python3")
        .args(["-c", SCRIPT, what])
        .env("IMAP", port("imap"))
        .env("IMAPS", port("imaps"))
        .env("SUBMISSIONS", submissions.to_string())
        .env("CA", ca)
        .env("NAME", name)
        .env("PASSWORD", password)
        .envs(more.iter().copied())
        .output()
        .unwrap()
}

fn done(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn a_mail_program_works_in_one_mailbox_at_both_servers() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    done(python(&grapevine, 0, "no_password_in_clear", &[]));
    let first = done(python(&grapevine, 0, "work", &[]));
    // What was left there is there at the other server, number by number.
    let second = done(python(&grapevine, 1, "look", &[]));
    assert!(
        first.ends_with(&second),
        "first:\n{first}\nsecond:\n{second}"
    );
    if is_here("curl") {
        let site = birrell_at(&grapevine, 1);
        let port = grapevine.doors(1)["imaps"]
            .rsplit_once(':')
            .unwrap()
            .1
            .to_owned();
        let got = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(&site.ca)
            .arg("--user")
            .arg(format!("{}:{}", site.name, site.password))
            .arg(format!(
                "imaps://localhost:{port}/Archive;UID=1:*;SECTION=HEADER.FIELDS%20(SUBJECT)"
            ))
            .output()
            .unwrap();
        let got = String::from_utf8_lossy(&got.stdout).into_owned();
        // Of several messages it shows the first.
        assert!(got.contains("Subject: kept"), "{got}");
    }
    grapevine.expect_no_errors();
}

#[test]
fn an_idle_program_hears_of_a_message_that_came_in_at_the_other_server() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let other = birrell_at(&grapevine, 1).submissions.to_string();
    for server in [0, 1] {
        done(python(&grapevine, server, "idle", &[("OTHER", &other)]));
    }
    grapevine.expect_no_errors();
}

#[test]
fn when_a_server_is_killed_the_other_one_shows_the_same_messages_under_the_same_numbers() {
    if !is_here("python3") {
        return;
    }
    let grapevine = Grapevine::up(2);
    let before = done(python(&grapevine, 0, "fill", &[]));
    grapevine.kill(0);
    let after = done(python(&grapevine, 1, "look", &[]));
    assert_eq!(before, after);
    // The one that is left goes on, and its numbers are new ones.
    let more = done(python(&grapevine, 1, "fill", &[]));
    assert!(more.starts_with(before.lines().next().unwrap()), "{more}");
    assert_eq!(more.lines().count(), before.lines().count() + 20, "{more}");
}
