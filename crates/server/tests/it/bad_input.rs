//! What clients do wrong, by mistake or on purpose: each gets a clear answer, nobody else notices, nothing is lost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::grapevine::{Grapevine, get, program, stderr, wait_for};
use crate::mail_source::Noise;
use crate::wire::{Pop, Reply, Smtp};

const FROM: &str = "birrell@pa.example";
const TO: &str = "needham@pa.example";
const MESSAGE: &[u8] = b"Subject: in order\r\n\r\nNothing wrong with this.\r\n";
/// What a door says to garbage, if anything, it says at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(200);
/// Messages that are sent while garbage flies.
const MESSAGES: usize = 60;

#[track_caller]
fn assert_reply(reply: &Reply, code: u16, part: &str) {
    assert_eq!(reply.code, code, "{reply:?}");
    assert!(reply.text.contains(part), "{part:?} in {reply:?}");
}

/// Its servers run, and none has panicked or called for a person.
fn assert_unharmed(grapevine: &Grapevine) {
    for server in 0..2 {
        kill(grapevine.pid(server), None::<Signal>).unwrap();
        let http = grapevine.doors(server)["http"].clone();
        assert_eq!(get(&http, "/readyz").unwrap().0, 200);
    }
    grapevine.expect_no_errors();
}

#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let grapevine = Grapevine::up(2);
    let mut answers = Vec::new();
    for name in [TO, "nobody@pa.example"] {
        let mut smtp = Smtp::stranger(&grapevine, 0);
        let smtp = smtp.log_in(name, "wrong");
        assert_reply(&smtp, 535, "5.7.8");
        let mut pop = Pop::stranger(&grapevine, 1);
        pop.command(&format!("USER {name}"));
        let pop = pop.command("PASS wrong");
        assert!(pop.starts_with("-ERR [AUTH]"), "{pop}");
        let file = grapevine.dir.join("wrong");
        fs::write(&file, "wrong\n").unwrap();
        let api = program()
            .args(["inbox", "--as", name, "--dir"])
            .arg(&grapevine.dir)
            .arg("--password-file")
            .arg(&file)
            .output()
            .unwrap();
        let said = stderr(&api);
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(!said.contains("wrong\n"), "{said}");
        answers.push((smtp, pop, api.status.code(), said.replace(name, "NAME")));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].2, Some(3), "{answers:?}");
    // The right one is still taken.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    assert_reply(&smtp.data(FROM, TO, MESSAGE), 250, "2.0.0");
    assert_unharmed(&grapevine);
}

#[test]
fn recipients_are_answered_one_by_one_and_the_good_ones_get_the_message() {
    let grapevine = Grapevine::up(2);
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    // All in one write, as a pipelining client does it.
    let commands = [
        (format!("MAIL FROM:<{FROM}>"), 250),
        ("RCPT TO:<nobody@pa.example>".to_owned(), 550),
        (format!("RCPT TO:<{TO}>"), 250),
        ("RCPT TO:<who@no.such.registry>".to_owned(), 550),
        ("RCPT TO:<@@>".to_owned(), 501),
        (format!("RCPT TO:<{}@pa.example>", "x".repeat(300)), 501),
        (format!("RCPT TO:<{FROM}>"), 250),
        ("DATA".to_owned(), 354),
    ];
    let all: String = commands.iter().map(|(c, _)| format!("{c}\r\n")).collect();
    smtp.write(all.as_bytes());
    for (command, code) in &commands {
        let reply = smtp.reply();
        assert_eq!(reply.code, *code, "{command}: {reply:?}");
    }
    smtp.write(&[MESSAGE, b".\r\n"].concat());
    assert_eq!(smtp.reply().code, 250);
    // With no good one there is no message.
    for (command, code) in [
        (format!("MAIL FROM:<{FROM}>"), 250),
        ("RCPT TO:<nobody@pa.example>".to_owned(), 550),
        ("DATA".to_owned(), 554),
    ] {
        assert_eq!(smtp.command(&command).code, code, "{command}");
    }
    // Nor may anybody speak for somebody else.
    smtp.command("RSET");
    assert_reply(&smtp.command(&format!("MAIL FROM:<{TO}>")), 553, "5.7.1");
    // A stranger gets in what is for here, and nothing else.
    let mut receiving = Smtp::receiving(&grapevine, 1);
    for (command, code) in [
        ("MAIL FROM:<who@elsewhere.example>", 250),
        ("RCPT TO:<somebody@elsewhere.example>", 550),
        ("RCPT TO:<nobody@pa.example>", 550),
        ("RCPT TO:<needham@pa.example>", 250),
    ] {
        assert_eq!(receiving.command(command).code, code, "{command}");
    }
    for (server, simple) in [(1, "needham"), (1, "birrell")] {
        wait_for("the message", || {
            Pop::open(&grapevine, server, simple).count() == 1
        });
    }
    assert_unharmed(&grapevine);
}

#[test]
fn over_long_lines_and_bare_line_ends_are_refused_and_the_session_goes_on() {
    let grapevine = Grapevine::up(2);
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let long = "x".repeat(100_000);
    assert_reply(&smtp.command(&format!("NOOP {long}")), 500, "5.5.6");
    assert_reply(
        &smtp.command(&format!("MAIL FROM:<{long}@pa.example>")),
        500,
        "5.5.6",
    );
    smtp.write(b"NOOP\nNOOP\r\n");
    assert_reply(&smtp.reply(), 500, "CRLF");
    assert_reply(
        &smtp.data(
            FROM,
            TO,
            b"Subject: smuggled\r\n\r\nx\n.\nMAIL FROM:<a@b.c>\r\n",
        ),
        550,
        "CR or LF alone",
    );
    assert_reply(&smtp.data(FROM, TO, MESSAGE), 250, "2.0.0");
    let mut pop = Pop::stranger(&grapevine, 1);
    let refused = pop.command(&format!("USER {long}"));
    assert!(refused.starts_with("-ERR"), "{refused}");
    wait_for("the one message in order", || {
        Pop::open(&grapevine, 1, "needham").count() == 1
    });
    assert_unharmed(&grapevine);
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_comes_or_at_its_end() {
    const LIMIT_BYTES: usize = 1024 * 1024;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    drop(Grapevine::up_in(&dir, 2));
    for server in ["s1", "s2"] {
        let file = dir.join(server).join("grapevine.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n[limits]\nmessage_mib = 1\n")).unwrap();
    }
    let grapevine = Grapevine::up_in(&dir, 2);
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    // Declared: before a byte of it is sent.
    let declared = smtp.command(&format!("MAIL FROM:<{FROM}> SIZE={}", LIMIT_BYTES + 1));
    assert_reply(&declared, 552, "5.3.4");
    let declared = smtp.command(&format!("MAIL FROM:<{FROM}> SIZE=99999999999999999999"));
    assert!(matches!(declared.code, 501 | 552), "{declared:?}");
    // Not declared: it is read to its end, and the session goes on.
    let line = Noise::new(1).line();
    let large = line.repeat(LIMIT_BYTES * 3 / 2 / line.len());
    assert_reply(&smtp.data(FROM, TO, &large), 552, "5.3.4");
    // A chunk says its size beforehand: it is refused before a byte of it is sent.
    let announced = format!(
        "MAIL FROM:<{FROM}>\r\nRCPT TO:<{TO}>\r\nBDAT {} LAST\r\n",
        large.len()
    );
    smtp.write(announced.as_bytes());
    assert_reply(&smtp.reply(), 250, "2.1.0");
    assert_reply(&smtp.reply(), 250, "2.1.5");
    assert_reply(&smtp.reply(), 552, "5.3.4");
    // What just fits is taken.
    let fits = line.repeat(LIMIT_BYTES / line.len());
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    assert_reply(&smtp.data(FROM, TO, &fits), 250, "2.0.0");
    // By the other way in, too.
    let folder = dir.join("import");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::write(folder.join("new/large"), &large).unwrap();
    fs::write(folder.join("new/small"), MESSAGE).unwrap();
    let import = program()
        .args(["import", "maildir"])
        .arg(&folder)
        .args(["--as", TO, "--password-file"])
        .arg(dir.join("passwords/needham"))
        .arg("--dir")
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(import.status.code(), Some(1));
    let said = stderr(&import);
    assert!(said.contains("new/large"), "{said}");
    wait_for("what fits", || {
        Pop::open(&grapevine, 1, "needham").count() == 2
    });
    assert_unharmed(&grapevine);
}

#[test]
fn mail_flows_while_garbage_is_thrown_at_every_port() {
    let grapevine = Grapevine::up(2);
    let done = AtomicBool::new(false);
    let doors: Vec<String> = (0..2)
        .flat_map(|server| grapevine.doors(server).into_values())
        .collect();
    std::thread::scope(|scope| {
        let done = &done;
        for half in doors.chunks(doors.len().div_ceil(2)) {
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    for at in half {
                        throw(at, round);
                    }
                    round += 1;
                }
            });
        }
        let mut smtp = [
            Smtp::submission(&grapevine, 0, "birrell"),
            Smtp::submission(&grapevine, 1, "birrell"),
        ];
        for n in 0..MESSAGES {
            let message = format!("Subject: {n}\r\n\r\nWhile garbage flies.\r\n");
            let reply = smtp[n % 2].data(FROM, TO, message.as_bytes());
            assert_eq!(reply.code, 250, "{reply:?}");
        }
        for server in [1, 0] {
            wait_for("all messages", || {
                Pop::open(&grapevine, server, "needham").count() >= MESSAGES
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    let mut subjects: Vec<usize> = Pop::open(&grapevine, 0, "needham")
        .all()
        .iter()
        .map(|message| {
            let text = String::from_utf8_lossy(message);
            let (_, after) = text.split_once("Subject: ").unwrap();
            after.lines().next().unwrap().parse().unwrap()
        })
        .collect();
    subjects.sort_unstable();
    assert_eq!(subjects, (0..MESSAGES).collect::<Vec<_>>());
    assert_unharmed(&grapevine);
}

/// Something else each round; every error is the server's good right.
fn throw(at: &str, round: u64) {
    let Ok(mut stream) = TcpStream::connect(at) else {
        return;
    };
    stream.set_write_timeout(Some(ANSWER_LIMIT)).unwrap();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
    let mut noise = Noise::new(round);
    let text = noise.line().repeat(1 + round as usize % 50);
    let bytes = match round % 6 {
        0 => text,
        1 => data_encoding::BASE64
            .decode(&noise.line()[..76])
            .unwrap()
            .repeat(400),
        2 => vec![0; 20_000],
        3 => [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            text,
        ]
        .concat(),
        4 => [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0".to_vec(),
            text,
        ]
        .concat(),
        _ => b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; 512]);
}
