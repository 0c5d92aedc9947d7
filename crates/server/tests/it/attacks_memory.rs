//! Small input that asks for much: literals of 4 GB, a hundred thousand commands, answers that nobody reads, nests without end, bombs. Each is
//! refused or bounded, and the server's memory stays where it was.

use std::time::{Duration, Instant};

use crate::attacks::{Before, Line, MESSAGE, bind, ldap, ldap_answer, plain, tlv, unharmed};
use crate::grapevine::{Grapevine, LIMIT, wait_for};
use crate::http_client::Client;
use crate::wire::{Pop, Smtp};

const BIRRELL: &str = "birrell@pa.example";
const NEEDHAM: &str = "needham@pa.example";
/// Commands in a row.
const COMMANDS: usize = 100_000;
/// A write that does not go through in this time is one that the server does not take.
const PUSH: Duration = Duration::from_millis(500);

fn imap(grapevine: &Grapevine) -> Line {
    let mut imap = Line::tls(grapevine, &grapevine.doors(0)["imaps"]);
    imap.line();
    let password = grapevine.password("needham");
    imap.say(format!("l LOGIN {NEEDHAM} {password}\r\n"));
    let said = imap.until("l ");
    assert!(said.last().unwrap().starts_with("l OK"), "{said:?}");
    imap
}

fn sieve(grapevine: &Grapevine) -> Line {
    let mut sieve = Line::clear(&grapevine.doors(0)["sieve"]);
    sieve.until("OK");
    sieve.ask("STARTTLS");
    let mut sieve = sieve.upgrade(grapevine);
    sieve.until("OK");
    let coded = plain(NEEDHAM, &grapevine.password("needham"));
    let answer = sieve.ask(&format!("AUTHENTICATE \"PLAIN\" \"{coded}\""));
    assert!(answer.starts_with("OK"), "{answer}");
    sieve
}

#[test]
fn a_length_that_nobody_has_is_refused_before_a_byte_of_it_is_kept() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let before = Before::of(&grapevine);
    // IMAP before the login, after it, and for a message.
    for length in ["4294967295", "18446744073709551615", "99999999999999999999"] {
        for command in ["LOGIN", "LOGIN needham@pa.example", "AUTHENTICATE"] {
            let mut stranger = Line::tls(&grapevine, &doors["imaps"]);
            stranger.line();
            let answer = stranger.ask(&format!("a {command} {{{length}}}"));
            assert!(!answer.starts_with('+'), "{command} {length}: {answer}");
            let mut stranger = Line::tls(&grapevine, &doors["imaps"]);
            stranger.line();
            stranger.say(format!("a {command} {{{length}+}}\r\n"));
            let answer = stranger.line();
            assert!(
                answer.is_empty() || answer.starts_with("a ") || answer.starts_with("* B"),
                "{answer}"
            );
        }
        for command in ["APPEND INBOX", "CREATE", "SEARCH TEXT", "SELECT"] {
            // A number that is none ends the connection: where its literal would end is not known.
            let answer = imap(&grapevine).ask(&format!("b {command} {{{length}}}"));
            assert!(
                answer.starts_with("b NO")
                    || answer.starts_with("b BAD")
                    || answer.starts_with("* BYE"),
                "{command} {length}: {answer}"
            );
        }
        // ManageSieve: more than a script is refused at once, and much more ends the connection.
        let mut scripts = sieve(&grapevine);
        scripts.say(format!("PUTSCRIPT \"a\" {{{length}+}}\r\n"));
        let answer = scripts.line();
        assert!(!answer.starts_with("OK"), "{length}: {answer}");
    }
    // LDAP: a message of 4 GB, one whose length does not end, one inside another.
    for bytes in [
        &b"\x30\x84\xff\xff\xff\xff\x02\x01\x01"[..],
        b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x30\x80\x02\x01\x01\x60\x80",
        b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x30\x0c\x02\x01\x01\x60\x84\xff\xff\xff\xff\x02\x01\x03",
    ] {
        let mut line = Line::tls(&grapevine, &doors["ldaps"]);
        line.say(bytes);
        line.half_close();
        let begun = Instant::now();
        if let Some((_, tag, code)) = ldap_answer(&mut line) {
            // A notice of disconnection, or a protocol error.
            assert!(tag == 0x78 || code == 2, "{bytes:02x?}: {tag:02x} {code}");
        }
        assert!(begun.elapsed() < LIMIT);
    }
    // SMTP: what is too large is refused by its number.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    for size in ["4294967295", "18446744073709551615", "99999999999999999999"] {
        let reply = smtp.command(&format!("MAIL FROM:<{BIRRELL}> SIZE={size}"));
        assert_eq!(reply.code, 552, "{reply:?}");
    }
    assert_eq!(smtp.command(&format!("MAIL FROM:<{BIRRELL}>")).code, 250);
    assert_eq!(smtp.command(&format!("RCPT TO:<{NEEDHAM}>")).code, 250);
    let reply = smtp.command("BDAT 18446744073709551615 LAST");
    assert!(reply.code >= 500, "{reply:?}");
    // HTTP.
    let client = Client::of(&grapevine, 0, "registrar");
    for length in ["4294967296", "18446744073709551615", "99999999999999999999"] {
        let headers = [
            ("Content-Length", length),
            ("Content-Type", "application/json"),
        ];
        let status = client.ask("POST", "/api/v1/groups", &headers, None).status;
        assert!((400..500).contains(&status), "{length}: {status}");
    }
    before.bounded(&grapevine, "lengths");
    unharmed(&grapevine);
}

#[test]
fn a_hundred_thousand_commands_and_nobody_who_reads_cost_a_bounded_amount() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let mut smtp = Line::clear(&doors["smtp"]);
    smtp.until("220 ");
    let mut pop = Line::tls(&grapevine, &doors["pop3s"]);
    pop.line();
    pop.ask(&format!("USER {NEEDHAM}"));
    let answer = pop.ask(&format!("PASS {}", grapevine.password("needham")));
    assert!(answer.starts_with("+OK"), "{answer}");
    let mut directory = Line::tls(&grapevine, &doors["ldaps"]);
    directory.say(bind(1, NEEDHAM, &grapevine.password("needham")));
    assert_eq!(ldap_answer(&mut directory), Some((1, 0x61, 0)));
    let search = [
        tlv(0x04, b"dc=pa,dc=example"),
        tlv(0x0a, &[2]),
        tlv(0x0a, &[0]),
        tlv(0x02, &[0]),
        tlv(0x02, &[0]),
        tlv(0x01, &[0]),
        tlv(0x87, b"objectClass"),
        tlv(0x30, b""),
    ];
    let search = ldap(2, &tlv(0x63, &search.concat()));
    let floods: Vec<(&str, Line, Vec<u8>)> = vec![
        ("smtp", smtp, b"NOOP\r\n".to_vec()),
        ("pop3s", pop, b"UIDL\r\n".to_vec()),
        ("imaps", imap(&grapevine), b"a LIST \"\" *\r\n".to_vec()),
        ("sieve", sieve(&grapevine), b"CAPABILITY\r\n".to_vec()),
        ("ldaps", directory, search),
        (
            "http",
            Line::clear(&doors["http"]),
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
    ];
    let before = Before::of(&grapevine);
    let mut open = Vec::new();
    for (door, mut line, command) in floods {
        line.patience(PUSH);
        let many = command.repeat(1_000);
        let mut said = 0;
        // Until all is said, or the server takes no more.
        while said < COMMANDS && line.say(&many) {
            said += 1_000;
        }
        before.bounded(&grapevine, door);
        open.push(line);
    }
    // The same door serves others while they wait.
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    let reply = smtp.data(BIRRELL, NEEDHAM, MESSAGE);
    assert_eq!(reply.code, 250, "{reply:?}");
    wait_for("the message", || {
        Pop::open(&grapevine, 0, "needham").count() == 1
    });
    drop(open);
    unharmed(&grapevine);
}

#[test]
fn a_large_message_that_is_asked_for_and_never_read_is_not_held() {
    const MIB: usize = 1024 * 1024;
    let grapevine = Grapevine::up(1);
    let line = format!("{}\r\n", "y".repeat(998));
    let large = [
        b"Subject: large\r\n\r\n",
        line.repeat(12 * MIB / 1_000).as_bytes(),
    ]
    .concat();
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    assert_eq!(smtp.bdat(BIRRELL, NEEDHAM, &large).code, 250);
    wait_for("the message", || {
        Pop::open(&grapevine, 0, "needham").count() == 1
    });
    let before = Before::of(&grapevine);
    let mut open = Vec::new();
    for n in 0..16 {
        let mut reader = imap(&grapevine);
        reader.say("s SELECT INBOX\r\n");
        reader.until("s ");
        let commands: String = (0..200)
            .map(|at| match n % 4 {
                0 => format!("f{at} FETCH 1 BODY.PEEK[]\r\n"),
                1 => format!("f{at} FETCH 1 (BODY.PEEK[TEXT] BODY.PEEK[1] BINARY.PEEK[1])\r\n"),
                2 => format!("f{at} FETCH 1 BODY.PEEK[]<1.11000000>\r\n"),
                _ => format!("f{at} SEARCH TEXT nothing{at}\r\n"),
            })
            .collect();
        reader.patience(PUSH);
        reader.say(commands);
        // A little is read, so that it is under way.
        reader.octets(if n % 4 == 3 { 1 } else { 1_000 });
        open.push(reader);
    }
    before.bounded(&grapevine, "unread answers");
    // Half a FETCH, and the client is gone.
    drop(open);
    // Half a FETCH, and the server is killed: what it held is there when it is back.
    let mut reader = imap(&grapevine);
    reader.say("s SELECT INBOX\r\nf FETCH 1 BODY.PEEK[]\r\n");
    reader.until("s ");
    reader.octets(10_000);
    unharmed(&grapevine);
    let dir = grapevine.dir.clone();
    grapevine.kill(0);
    assert!(reader.octets(u64::MAX).len() < large.len());
    let http = {
        let server = crate::pair::Process::serve(&dir.join("s1"));
        wait_for("the message to be whole", || {
            let mut reader = Pop::open(&grapevine, 0, "needham");
            reader
                .all()
                .first()
                .is_some_and(|message| message.ends_with(&large[large.len() - 4 * MIB..]))
        });
        server
    };
    drop(http);
}

#[test]
fn nests_and_bombs_are_told_apart_from_mail_at_a_bounded_cost() {
    let grapevine = Grapevine::up(1);
    let mut reader = imap(&grapevine);
    let mut scripts = sieve(&grapevine);
    let before = Before::of(&grapevine);
    // Search keys in search keys.
    for keys in [
        "NOT ".repeat(5_000) + "ALL",
        "(".repeat(5_000) + "ALL" + &")".repeat(5_000),
        "OR ".repeat(3_000) + &"ALL ".repeat(3_001),
        "TEXT x ".repeat(5_000).trim_end().to_owned(),
        format!("UID {}", "1:*,".repeat(5_000) + "1"),
    ] {
        let answer = reader.ask(&format!("a SEARCH {keys}"));
        assert!(!answer.is_empty(), "{keys:.40}");
    }
    reader.say("z NOOP\r\n");
    reader.until("z ");
    // Filters of LDAP in filters, and a filter in pieces.
    let nested = |depth: usize| {
        let mut filter = tlv(0x87, b"cn");
        for _ in 0..depth {
            filter = tlv(0xa2, &filter);
        }
        filter
    };
    let many = tlv(0xa0, &tlv(0x87, b"cn").repeat(10_000));
    let stars = [tlv(0x04, b"cn"), tlv(0x30, &tlv(0x81, b"a").repeat(5_000))];
    for filter in [
        nested(1_000),
        nested(10_000),
        many,
        tlv(0xa4, &stars.concat()),
    ] {
        let mut directory = Line::tls(&grapevine, &grapevine.doors(0)["ldaps"]);
        directory.say(bind(1, NEEDHAM, &grapevine.password("needham")));
        assert_eq!(ldap_answer(&mut directory), Some((1, 0x61, 0)));
        let search = [
            tlv(0x04, b"dc=pa,dc=example"),
            tlv(0x0a, &[2]),
            tlv(0x0a, &[0]),
            tlv(0x02, &[0]),
            tlv(0x02, &[0]),
            tlv(0x01, &[0]),
            filter,
            tlv(0x30, b""),
        ];
        directory.say(ldap(2, &tlv(0x63, &search.concat())));
        if let Some((_, tag, code)) = ldap_answer(&mut directory) {
            assert!(matches!(tag, 0x65 | 0x78) && code != 0, "{tag:02x} {code}");
        }
    }
    // Parts in parts, headers without end, and many parts.
    let mut parts = String::from("Subject: parts\r\n");
    for n in 0..4_000 {
        parts += &format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    }
    let flat = format!(
        "Subject: flat\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\nx\r\n".repeat(50_000)
    );
    let rfc822 = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000) + "Subject: x\r\n\r\n";
    let head = "X: y\r\n".repeat(100_000) + "\r\nbody\r\n";
    let to = format!("To: {}x@y\r\n\r\nbody\r\n", "a@b, ".repeat(100_000));
    let coded = format!(
        "Subject: {}\r\n\r\nbody\r\n",
        "=?utf-8?B?QUFB?= ".repeat(50_000)
    );
    let references = format!("References: {}\r\n\r\nbody\r\n", "<a@b> ".repeat(50_000));
    let bombs = [parts, flat, rfc822, head, to, coded, references];
    let mut smtp = Smtp::submission(&grapevine, 0, "birrell");
    for bomb in &bombs {
        let reply = smtp.bdat(BIRRELL, NEEDHAM, bomb.as_bytes());
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    wait_for("all of it", || {
        Pop::open(&grapevine, 0, "needham").count() == bombs.len()
    });
    reader.say("s SELECT INBOX\r\n");
    reader.until("s ");
    for command in [
        "FETCH 1:* BODYSTRUCTURE",
        "FETCH 1:* ENVELOPE",
        "FETCH 1:* BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1]",
        "FETCH 1:* BINARY.PEEK[1.1.1]",
        "SORT (SUBJECT) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
        "SEARCH HEADER X y SUBJECT AAA",
    ] {
        reader.say(format!("f {command}\r\n"));
        let mut octets = 0;
        loop {
            let line = reader.line();
            octets += line.len();
            assert!(!line.is_empty() || octets > 0, "{command}");
            if line.starts_with("f ") {
                assert!(
                    line.starts_with("f OK") || line.starts_with("f NO"),
                    "{command}: {line}"
                );
                break;
            }
            assert!(octets < 64 * 1024 * 1024, "{command}");
        }
        before.bounded(&grapevine, command);
    }
    // Filters that loop in themselves, and that double what they hold.
    let nested = "if true {".repeat(5_000) + &"}".repeat(5_000);
    let tests = "if ".to_owned() + &"not ".repeat(5_000) + "true { keep; }";
    for script in [nested, tests] {
        scripts.say(format!(
            "PUTSCRIPT \"main\" {{{}+}}\r\n{script}\r\n",
            script.len()
        ));
        let answer = scripts.line();
        assert!(answer.starts_with("NO"), "{answer}");
    }
    let doubling = "require \"variables\"; set \"a\" \"aaaaaaaaaaaaaaaa\";".to_owned()
        + &"set \"a\" \"${a}${a}${a}${a}\";".repeat(200)
        + "if header :matches \"subject\" \"*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b\" { discard; }";
    scripts.say(format!(
        "PUTSCRIPT \"main\" {{{}+}}\r\n{doubling}\r\n",
        doubling.len()
    ));
    let answer = scripts.line();
    assert!(answer.starts_with("OK"), "{answer}");
    assert!(scripts.ask("SETACTIVE \"main\"").starts_with("OK"));
    let long = format!("Subject: {}\r\n\r\nbody\r\n", "a".repeat(60_000));
    assert_eq!(smtp.bdat(BIRRELL, NEEDHAM, long.as_bytes()).code, 250);
    wait_for("the message, filter or not", || {
        Pop::open(&grapevine, 0, "needham").count() == bombs.len() + 1
    });
    before.bounded(&grapevine, "filters");
    unharmed(&grapevine);
}

#[test]
fn nothing_is_unpacked_for_a_stranger() {
    // 10 MiB of zeros in gzip are some ten kilobytes: whoever unpacks what strangers send is a bomb's victim.
    let grapevine = Grapevine::up(1);
    let before = Before::of(&grapevine);
    let client = Client::of(&grapevine, 0, "registrar");
    // A gzip header and a stored block: nobody may look inside.
    let gzip = "\x1f\x08\x00\x00\x00\x00\x00\x00\x03{}";
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip, gzip"] {
        let headers = [
            ("Content-Encoding", coding),
            ("Content-Type", "application/json"),
        ];
        let status = client
            .ask("POST", "/api/v1/groups", &headers, Some(gzip))
            .status;
        assert!(matches!(status, 400 | 415 | 422), "{coding}: {status}");
    }
    let mut stranger = Line::tls(&grapevine, &grapevine.doors(0)["imaps"]);
    stranger.line();
    assert!(stranger.ask("a COMPRESS DEFLATE").starts_with("a BAD"));
    before.bounded(&grapevine, "codings");
    unharmed(&grapevine);
}
