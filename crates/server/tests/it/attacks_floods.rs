//! Connections that are many, slow, or break off in the middle: others are served, and nothing half done is left.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::attacks::{Before, Line, MESSAGE, from_address, unharmed};
use crate::grapevine::{Grapevine, wait_for};
use crate::wire::{Pop, Smtp};

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";
/// What the test configures: few, so that they are soon used up.
const PER_ADDRESS: usize = 12;
const AT_A_DOOR: usize = 30;

fn small_doors() -> (Grapevine, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    Grapevine::up_in(&dir, 1).stop();
    let file = dir.join("s1/grapevine.toml");
    let text = fs::read_to_string(&file).unwrap();
    let limits =
        format!("\n[limits]\nconnections = {AT_A_DOOR}\nconnections_per_address = {PER_ADDRESS}\n");
    fs::write(&file, text + &limits).unwrap();
    (Grapevine::up_in(&dir, 1), temp)
}

/// The doors that take TCP, with a beginning that is never ended.
const BEGINNINGS: &[(&str, &[u8])] = &[
    ("smtp", b"EHLO client"),
    ("submission", b"EHL"),
    ("submissions", b"\x16\x03\x01"),
    ("pop3", b"USER need"),
    ("pop3s", b"\x16\x03\x01\x02\x00\x01"),
    ("imap", b"a LOGIN {3"),
    ("imaps", b"\x16"),
    ("ldap", b"\x30\x84\x00\x00\x01"),
    ("ldaps", b"\x16\x03"),
    ("sieve", b"AUTHENTICATE \"PLA"),
    ("http", b"GET / HTTP/1.1\r\nHost"),
    ("dns", b"\x01"),
    ("rpc", b"\x16\x03\x01\x02"),
];

#[test]
fn slow_and_many_connections_of_one_address_take_no_place_from_others() {
    let (grapevine, _temp) = small_doors();
    let doors = grapevine.doors(0);
    let before = Before::of(&grapevine);
    let mut held: Vec<TcpStream> = Vec::new();
    for (door, beginning) in BEGINNINGS {
        let Some(at) = doors.get(*door) else {
            continue;
        };
        for _ in 0..PER_ADDRESS + 5 {
            let mut stream = from_address([127, 0, 0, 2], at);
            let _ = stream.write_all(beginning);
            held.push(stream);
        }
    }
    // A letter now and then: each is progress, and none is an end.
    for _ in 0..3 {
        for stream in &mut held {
            let _ = stream.write_all(b"x");
        }
    }
    // Whoever has his share is told so where the protocol can say it, or finds the door shut.
    for (door, says) in [
        ("smtp", "421"),
        ("submission", "421"),
        ("pop3", "-ERR"),
        ("imap", "* BYE"),
        ("sieve", "BYE"),
    ] {
        let mut more = from_address([127, 0, 0, 2], &doors[door]);
        let mut said = [0; 512];
        let length = more.read(&mut said).unwrap_or(0);
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        assert!(said.starts_with(says), "{door}: {said:?}");
    }
    // Everybody else is served at each door.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data(BIRRELL, NEEDHAM, MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    let mut receiving = Smtp::receiving(&grapevine, 0);
    let reply = receiving.data("x@far.example", NEEDHAM, MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the messages", || {
        Pop::open(&grapevine, 0, "needham").count() == 2
    });
    let mut imap = Line::tls(&grapevine, &doors["imaps"]);
    assert!(imap.line().starts_with("* OK"));
    let mut sieve = Line::clear(&doors["sieve"]);
    assert!(sieve.until("OK").last().unwrap().starts_with("OK"));
    before.bounded(&grapevine, "slow connections");
    unharmed(&grapevine);
    // When they go there is room again, and at once.
    drop(held);
    wait_for("room", || {
        let mut stream = from_address([127, 0, 0, 2], &doors["smtp"]);
        let mut said = [0; 3];
        stream.read_exact(&mut said).is_ok() && said == *b"220"
    });
}

#[test]
fn a_flood_from_everywhere_fills_a_door_and_not_the_server() {
    let (grapevine, _temp) = small_doors();
    let doors = grapevine.doors(0);
    let before = Before::of(&grapevine);
    // Many addresses, each within its share: the one door is full, and says so.
    let mut held: Vec<TcpStream> = Vec::new();
    for address in 2..=6 {
        for _ in 0..PER_ADDRESS - 2 {
            held.push(from_address([127, 0, 0, address], &doors["smtp"]));
        }
    }
    let mut greeted = 0;
    for stream in &mut held {
        let mut said = [0; 3];
        greeted += usize::from(stream.read_exact(&mut said).is_ok() && said == *b"220");
    }
    assert_eq!(greeted, AT_A_DOOR);
    // The other doors are as they were, and so are those who are in.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data(BIRRELL, NEEDHAM, MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the message", || {
        Pop::open(&grapevine, 0, "needham").count() == 1
    });
    // Come and go, a thousand times, without a word.
    for n in 0..1_000_u32 {
        let last = 10 + u8::try_from(n % 200).unwrap();
        drop(from_address([127, 0, 0, last], &doors["imap"]));
    }
    before.bounded(&grapevine, "a flood");
    drop(held);
    wait_for("room", || {
        let mut stream = from_address([127, 0, 0, 2], &doors["smtp"]);
        let mut said = [0; 3];
        stream.read_exact(&mut said).is_ok() && said == *b"220"
    });
    unharmed(&grapevine);
}

/// Octets below a folder: what is staged and forgotten would stay there.
fn octets_below(dir: &std::path::Path) -> u64 {
    let mut all = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        all += match path.is_dir() {
            true => octets_below(&path),
            false => entry.metadata().map_or(0, |file| file.len()),
        };
    }
    all
}

#[test]
fn what_breaks_off_in_the_middle_leaves_nothing_in_mailboxes_or_on_disk() {
    const LENGTH: usize = 2 * 1024 * 1024;
    const TIMES: usize = 12;
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let bodies = grapevine.dir.join("s1").join("store");
    let password = grapevine.password("needham");
    let half = vec![b'x'; LENGTH / 2];
    let staged_before = octets_below(&bodies);
    for n in 0..TIMES {
        // APPEND, DATA and BDAT, each broken off inside.
        let mut imap = Line::tls(&grapevine, &doors["imaps"]);
        imap.line();
        imap.say(format!("l LOGIN {NEEDHAM} {password}\r\n"));
        imap.until("l ");
        let answer = imap.ask(&format!("a APPEND INBOX {{{LENGTH}}}"));
        assert!(answer.starts_with('+'), "{answer}");
        imap.patience(Duration::from_secs(30));
        assert!(imap.say(&half));
        let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
        let body = if n % 2 == 0 {
            "DATA\r\n".to_owned()
        } else {
            format!("BDAT {LENGTH} LAST\r\n")
        };
        smtp.write(format!("MAIL FROM:<{BIRRELL}>\r\nRCPT TO:<{NEEDHAM}>\r\n{body}").as_bytes());
        assert_eq!((smtp.reply().code, smtp.reply().code), (250, 250));
        smtp.write(&half);
    }
    // Several messages of one APPEND: all or none (RFC 3502).
    let mut imap = Line::tls(&grapevine, &doors["imaps"]);
    imap.line();
    imap.say(format!("l LOGIN {NEEDHAM} {password}\r\n"));
    imap.until("l ");
    imap.say("a APPEND INBOX {5+}\r\nhello {5+}\r\nhello {500+}\r\nhe");
    drop(imap);
    // What is in order gets through, and is all there is.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data(BIRRELL, NEEDHAM, MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the whole one, and no other", || {
        Pop::open(&grapevine, 0, "needham").count() == 1
    });
    wait_for("what was staged to be gone", || {
        octets_below(&bodies) < staged_before + LENGTH as u64
    });
    assert_eq!(Pop::open(&grapevine, 0, "needham").count(), 1);
    unharmed(&grapevine);
}
