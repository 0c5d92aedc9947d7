//! Somebody between a client and a server, before TLS is on: what he puts in is not heard, and nobody can be made to log in in clear or by a
//! weaker mechanism.

use crate::attacks::{Line, bind, ldap, ldap_answer, plain, tlv, unharmed};
use crate::grapevine::Grapevine;

const WHO: &str = "needham@pa.example";
/// LDAP's result codes.
const AUTH_METHOD_NOT_SUPPORTED: u8 = 7;
const CONFIDENTIALITY_REQUIRED: u8 = 13;
const SUCCESS: u8 = 0;

/// A door, what begins TLS there with something after it in the same packet, how its yes begins, what is asked when TLS is on, and how
/// the first answer begins if nothing that came before was heard.
const INJECTED: &[(&str, &str, &str, &str, &str)] = &[
    (
        "smtp",
        "EHLO client.example\r\nSTARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@far.example>\r\n",
        "220 2.0.0",
        "MAIL FROM:<a@far.example>",
        "503 5.5.1 EHLO first",
    ),
    (
        "submission",
        "EHLO client.example\r\nSTARTTLS\r\nEHLO evil.example\r\n",
        "220 2.0.0",
        "MAIL FROM:<a@far.example>",
        "503 5.5.1 EHLO first",
    ),
    (
        "pop3",
        "STLS\r\nUSER needham@pa.example\r\n",
        "+OK Ready",
        "PASS x",
        "-ERR USER first",
    ),
    ("imap", "a STARTTLS\r\nb NOOP\r\n", "a OK", "c NOOP", "c OK"),
    (
        "sieve",
        "STARTTLS\r\nNOOP \"evil\"\r\n",
        "OK",
        "NOOP \"good\"",
        "OK (TAG \"good\")",
    ),
];

#[test]
fn what_is_put_in_before_tls_is_heard_at_no_door() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    for (door, packet, yes, asked, answered) in INJECTED {
        let mut line = Line::clear(&doors[*door]);
        if *door == "sieve" {
            line.until("OK");
        } else {
            line.line();
        }
        line.say(packet);
        let said = line.until(yes);
        assert!(said.last().unwrap().starts_with(yes), "{door}: {said:?}");
        let mut line = line.upgrade(&grapevine);
        if *door == "sieve" {
            // Its capabilities come unasked.
            let said = line.until("OK").concat();
            assert!(!said.contains("evil"), "{said}");
        }
        let answer = line.ask(asked);
        assert!(answer.starts_with(answered), "{door}: {answer}");
    }
    // LDAP: StartTLS and a search of the root in one packet.
    let mut line = Line::clear(&doors["ldap"]);
    let starttls = ldap(1, &tlv(0x77, &tlv(0x80, b"1.3.6.1.4.1.1466.20037")));
    let search = [
        tlv(0x04, b""),
        tlv(0x0a, &[0]),
        tlv(0x0a, &[0]),
        tlv(0x02, &[0]),
        tlv(0x02, &[0]),
        tlv(0x01, &[0]),
        tlv(0x87, b"objectClass"),
        tlv(0x30, b""),
    ];
    let search = ldap(2, &tlv(0x63, &search.concat()));
    line.say([starttls, search].concat());
    assert_eq!(ldap_answer(&mut line), Some((1, 0x78, SUCCESS)));
    let mut line = line.upgrade(&grapevine);
    line.say(bind(3, "", ""));
    assert_eq!(
        ldap_answer(&mut line),
        Some((3, 0x61, SUCCESS)),
        "and nothing before it"
    );
    unharmed(&grapevine);
}

#[test]
fn no_door_takes_a_password_in_clear_not_even_the_right_one() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let password = grapevine.password("needham");
    let coded = plain(WHO, &password);
    let mut smtp = Line::clear(&doors["submission"]);
    smtp.line();
    smtp.say("EHLO client.example\r\n");
    let offered = smtp.until("250 ").join("\n");
    assert!(!offered.contains("AUTH"), "{offered}");
    let answer = smtp.ask(&format!("AUTH PLAIN {coded}"));
    assert!(answer.starts_with('5'), "{answer}");
    let answer = smtp.ask(&format!("MAIL FROM:<{WHO}>"));
    assert!(answer.starts_with("530"), "{answer}");

    let mut pop = Line::clear(&doors["pop3"]);
    pop.line();
    let user = pop.ask(&format!("USER {WHO}"));
    let pass = pop.ask(&format!("PASS {password}"));
    assert!(user.starts_with("-ERR") && pass.starts_with("-ERR"));
    assert!(pop.ask("STAT").starts_with("-ERR"));

    let mut imap = Line::clear(&doors["imap"]);
    let greeting = imap.line();
    assert!(!greeting.contains("AUTH="), "{greeting}");
    assert!(greeting.contains("LOGINDISABLED"), "{greeting}");
    for command in [
        format!("a LOGIN {WHO} {password}"),
        format!("a AUTHENTICATE PLAIN {coded}"),
    ] {
        let answer = imap.ask(&command);
        assert!(
            answer.starts_with("a NO") || answer.starts_with("a BAD"),
            "{answer}"
        );
    }
    let answer = imap.ask("b SELECT INBOX");
    assert!(
        !answer.starts_with("b OK") && !answer.starts_with('*'),
        "{answer}"
    );

    let mut sieve = Line::clear(&doors["sieve"]);
    let offered = sieve.until("OK").join("\n");
    assert!(offered.contains("\"SASL\" \"\""), "{offered}");
    let answer = sieve.ask(&format!("AUTHENTICATE \"PLAIN\" \"{coded}\""));
    assert!(answer.starts_with("NO (ENCRYPT-NEEDED)"), "{answer}");
    assert!(sieve.ask("LISTSCRIPTS").starts_with("NO"));

    let mut line = Line::clear(&doors["ldap"]);
    line.say(bind(1, WHO, &password));
    let answer = ldap_answer(&mut line).unwrap();
    assert_eq!(answer, (1, 0x61, CONFIDENTIALITY_REQUIRED));
    unharmed(&grapevine);
}

#[test]
fn no_weaker_mechanism_and_no_empty_password_lets_anybody_in() {
    let grapevine = Grapevine::up(1);
    let doors = grapevine.doors(0);
    let empty = plain(WHO, "");
    let none = plain("", "");
    let other = data_encoding::BASE64.encode(
        format!(
            "{WHO}\0birrell@pa.example\0{}",
            grapevine.password("birrell")
        )
        .as_bytes(),
    );
    let mechanisms: Vec<String> = [
        "CRAM-MD5",
        "DIGEST-MD5",
        "NTLM",
        "GSSAPI",
        "ANONYMOUS bmVlZGhhbQ==",
        "EXTERNAL bmVlZGhhbUBwYS5leGFtcGxl",
        "EXTERNAL =",
        "XOAUTH2 bmVlZGhhbQ==",
        "OAUTHBEARER bmVlZGhhbQ==",
        "PLAIN =",
        "PLAIN",
    ]
    .iter()
    .map(|one| (*one).to_owned())
    .chain([&empty, &none, &other].map(|coded| format!("PLAIN {coded}")))
    .collect();
    for mechanism in &mechanisms {
        let mut smtp = Line::tls(&grapevine, &doors["submissions"]);
        smtp.line();
        smtp.say("EHLO client.example\r\n");
        smtp.until("250 ");
        let mut answer = smtp.ask(&format!("AUTH {mechanism}"));
        if answer.starts_with("334") {
            answer = smtp.ask("");
        }
        assert!(answer.starts_with('5'), "{mechanism}: {answer}");
        let answer = smtp.ask(&format!("MAIL FROM:<{WHO}>"));
        assert!(answer.starts_with("530"), "{mechanism}: {answer}");

        let mut pop = Line::tls(&grapevine, &doors["pop3s"]);
        pop.line();
        let mut answer = pop.ask(&format!("AUTH {mechanism}"));
        if answer.starts_with('+') && !answer.starts_with("+OK") {
            answer = pop.ask("");
        }
        assert!(answer.starts_with("-ERR"), "{mechanism}: {answer}");
        assert!(pop.ask("STAT").starts_with("-ERR"), "{mechanism}");

        let mut imap = Line::tls(&grapevine, &doors["imaps"]);
        imap.line();
        let mut answer = imap.ask(&format!("a AUTHENTICATE {mechanism}"));
        if answer.starts_with('+') {
            answer = imap.ask("");
        }
        assert!(
            answer.starts_with("a NO") || answer.starts_with("a BAD"),
            "{mechanism}: {answer}"
        );
        assert!(!imap.ask("b SELECT INBOX").starts_with("b OK"));
    }
    let mut pop = Line::tls(&grapevine, &doors["pop3s"]);
    pop.line();
    let answer = pop.ask(&format!("APOP {WHO} c4c9334bac560ecc979e58001b3e22fb"));
    assert!(answer.starts_with("-ERR"), "{answer}");
    assert!(pop.ask("STAT").starts_with("-ERR"));

    // LDAP: a name without a password asks for nothing (RFC 4513 5.1.2), and must not pass for a login; nor SASL EXTERNAL.
    let mut line = Line::tls(&grapevine, &doors["ldaps"]);
    line.say(bind(1, "uid=needham,dc=pa,dc=example", ""));
    let (_, tag, code) = ldap_answer(&mut line).unwrap();
    assert!(tag == 0x61 && code != SUCCESS, "{code}");
    let sasl = |name: &str| {
        let body = [
            tlv(0x02, &[3]),
            tlv(0x04, b""),
            tlv(0xa3, &tlv(0x04, name.as_bytes())),
        ];
        ldap(2, &tlv(0x60, &body.concat()))
    };
    for name in ["EXTERNAL", "ANONYMOUS", "CRAM-MD5"] {
        let mut line = Line::tls(&grapevine, &doors["ldaps"]);
        line.say(sasl(name));
        let answer = ldap_answer(&mut line).unwrap();
        assert_eq!(answer, (2, 0x61, AUTH_METHOD_NOT_SUPPORTED), "{name}");
    }
    unharmed(&grapevine);
}
