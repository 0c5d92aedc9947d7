//! What a server keeps: quotas at the doors, and bodies in an archive that comes and goes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bad_machines::Second;
use crate::client::Person;
use crate::grapevine::{Grapevine, wait_for};
use crate::wire::Smtp;

const FROM: &str = "birrell@pa.example";
const TO: &str = "needham@pa.example";

fn mail(subject: &str, bytes: usize) -> Vec<u8> {
    let mut text = format!("From: {FROM}\r\nTo: {TO}\r\nSubject: {subject}\r\n\r\n");
    while text.len() < bytes {
        text.push_str("An exercise in distributed computing, and more of it.\r\n");
    }
    text.into_bytes()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_full_inbox_is_said_at_the_door_as_its_registry_wants() {
    let grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let registrar = ["--as", "registrar@pa.example"];
    let as_registrar = |args: &[&str]| person.done(&[args, &registrar].concat());
    as_registrar(&["individual", "quota", TO, "--messages", "1"]);
    wait_for("the quota at the second server", || {
        person
            .run_json(&["individual", "show", TO, "--json", "--as", TO])
            .to_string()
            .contains("\"messages\":1")
    });
    // Each in a session of its own: a door shuts on a client that is refused again and again.
    let hand_in = |subject: &str| {
        Smtp::submission(&grapevine, 1, "birrell").data(FROM, TO, &mail(subject, 100))
    };
    assert_eq!(hand_in("fits").code, 250);
    wait_for("the inbox to be full", || {
        let reply = hand_in("more");
        (reply.code == 452)
            .then(|| assert!(reply.text.contains("4.2.2"), "{reply:?}"))
            .is_some()
    });
    as_registrar(&["registry", "policy", "pa.example", "--over-quota", "refuse"]);
    wait_for("the registry's word to be known", || {
        let reply = hand_in("more");
        (reply.code == 552)
            .then(|| assert!(reply.text.contains("5.2.2"), "{reply:?}"))
            .is_some()
    });
    // Either server's inbox is listed, and the message comes to one after the other.
    wait_for("the message to be counted in the inbox", || {
        let listing = person.json(&["inbox", "--as", TO]);
        listing["quota"]["messages"] == 1 && listing["usage"]["octets"].as_u64().unwrap() > 100
    });
    // Mailboxes are counted in rounds, some at a time.
    wait_for("the full inbox to be counted", || {
        person.done(&["status"]).contains("inboxes are full")
    });
    as_registrar(&["individual", "quota", TO, "--unlimited"]);
    wait_for("room", || hand_in("room").code == 250);
    grapevine.expect_no_errors();
}

#[test]
fn mail_goes_to_an_archive_is_read_from_it_and_waits_while_that_is_away() {
    let mut grapevine = Grapevine::up(2);
    let person = Person::at(&grapevine);
    let archive = grapevine.dir.join("archive");
    fs::create_dir(&archive).unwrap();
    Second::stopped(&grapevine);
    let file = grapevine.dir.join("s2/grapevine.toml");
    let text = fs::read_to_string(&file).unwrap();
    let more = format!(
        "\n[archive]\nurl = \"file://{}\"\nafter_days = 0\nevery_seconds = 1\n",
        archive.display()
    );
    fs::write(&file, text + &more).unwrap();
    let second = Second::started(&grapevine, &[]);
    for (subject, bytes) in [("small", 500), ("large", 300_000)] {
        let sent = person.send(&["--as", FROM, "-s", subject, TO], &mail(subject, bytes));
        assert!(sent.status.success(), "{sent:?}");
    }
    wait_for("both to be in the archive", || files(&archive).len() == 2);
    // From here on only the second server is there.
    grapevine.kill(0);
    wait_for("both to be read", || {
        let read = |n: &str| person.run(&["read", n, "--raw", "--as", TO]).stdout;
        let (one, two) = (read("1"), read("2"));
        one.len() > 500 && two.len() > 300_000
    });
    let gone = grapevine.dir.join("archive.away");
    fs::rename(&archive, &gone).unwrap();
    let refused = person.run(&["read", "1", "--raw", "--as", TO]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    // Everything else goes on.
    assert_eq!(
        person.json(&["inbox", "--as", TO])["messages"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let sent = person.send(
        &["--as", FROM, "-s", "meanwhile", TO],
        &mail("meanwhile", 500),
    );
    assert!(sent.status.success(), "{sent:?}");
    fs::rename(&gone, &archive).unwrap();
    wait_for("it to be read again", || {
        person
            .run(&["read", "1", "--raw", "--as", TO])
            .status
            .success()
    });
    for n in 0..3 {
        wait_for(&format!("message {n} to be deleted"), || {
            person
                .run(&["read", "1", "--raw", "--delete", "--as", TO])
                .status
                .success()
        });
    }
    second.stop();
    grapevine.stop();
}
