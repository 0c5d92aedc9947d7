//! Guessing: no door tells, by an answer or by work that it does, whether there is such a name; and a ticket that was touched is none.

use crate::attacks::{Line, bind, counted, ldap_answer, plain, unharmed};
use crate::grapevine::Grapevine;
use crate::http_client::Client;
use crate::matrix::World;
use crate::wire::Smtp;

const KNOWN: &str = "needham@pa.example";
const UNKNOWN: &str = "nobodyy@pa.example";
const ELSEWHERE: &str = "needham@no.such.example";
const WRONG: &str = "not the password";

/// Passwords that were checked at the first server so far: each is one slow hash.
fn checked(grapevine: &Grapevine) -> u64 {
    counted(grapevine, "grapevine_inputs_total", "kind=\"verified\"")
}

/// A door's answer to a wrong password.
type Guess = fn(&Grapevine, &str) -> String;

const DOORS: &[(&str, Guess)] = &[
    ("submission", |grapevine, name| {
        let mut smtp = Smtp::stranger(grapevine, 0);
        format!("{:?}", smtp.log_in(name, WRONG))
    }),
    ("pop3s", |grapevine, name| {
        let mut pop = Line::tls(grapevine, &grapevine.doors(0)["pop3s"]);
        pop.line();
        let user = pop.ask(&format!("USER {name}"));
        format!("{user} {}", pop.ask(&format!("PASS {WRONG}")))
    }),
    ("imaps", |grapevine, name| {
        let mut imap = Line::tls(grapevine, &grapevine.doors(0)["imaps"]);
        imap.line();
        imap.ask(&format!("a LOGIN {name} \"{WRONG}\""))
    }),
    ("sieve", |grapevine, name| {
        let mut sieve = Line::clear(&grapevine.doors(0)["sieve"]);
        sieve.until("OK");
        sieve.ask("STARTTLS");
        let mut sieve = sieve.upgrade(grapevine);
        sieve.until("OK");
        sieve.ask(&format!(
            "AUTHENTICATE \"PLAIN\" \"{}\"",
            plain(name, WRONG)
        ))
    }),
    ("ldaps", |grapevine, name| {
        let mut line = Line::tls(grapevine, &grapevine.doors(0)["ldaps"]);
        line.say(bind(1, name, WRONG));
        format!("{:?}", ldap_answer(&mut line))
    }),
    ("http", |grapevine, name| {
        let client = Client::stranger(grapevine, 0).with(name, WRONG);
        let answer = client.get("/api/v1/individuals/birrell@pa.example");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        format!("{} {body}", answer.status)
    }),
];

#[test]
fn no_door_tells_a_wrong_password_from_an_unknown_name_and_each_costs_one_hash() {
    let grapevine = Grapevine::up(1);
    for (door, guess) in DOORS {
        let mut answers = Vec::new();
        for name in [KNOWN, UNKNOWN] {
            let before = checked(&grapevine);
            let answer = guess(&grapevine, name).replace(name, "NAME");
            assert!(!answer.contains(WRONG), "{door}: {answer}");
            // Work that anybody could measure is counted, so that no clock is needed here.
            answers.push((answer, checked(&grapevine) - before));
        }
        assert_eq!(answers[0], answers[1], "{door}");
        assert_eq!(answers[0].1, 1, "{door}: {}", answers[0].0);
    }
    // A registry that nobody holds is public knowledge (`gv` and DNS say so); the words are the same all the same.
    let (_, guess) = DOORS[0];
    assert_eq!(
        guess(&grapevine, KNOWN).replace(KNOWN, "NAME"),
        guess(&grapevine, ELSEWHERE).replace(ELSEWHERE, "NAME")
    );
    // The right one is taken meanwhile, from where it always was.
    Smtp::submission(&grapevine, 0, "birrell");
    unharmed(&grapevine);
}

#[test]
fn mail_doors_tell_names_only_to_who_hands_in_mail_for_them_and_not_many() {
    let grapevine = Grapevine::up(1);
    let mut answers = Vec::new();
    for name in [KNOWN, UNKNOWN] {
        let mut smtp = Smtp::receiving(&grapevine, 0);
        let said = [
            smtp.command(&format!("VRFY {name}")),
            smtp.command(&format!("EXPN {name}")),
            smtp.command(&format!("RCPT TO:<{name}>")),
        ];
        let mut stranger = Smtp::stranger(&grapevine, 0);
        let before_login = [
            stranger.command(&format!("VRFY {name}")),
            stranger.command(&format!("EXPN {name}")),
            stranger.command(&format!("MAIL FROM:<{name}>")),
            stranger.command(&format!("RCPT TO:<{name}>")),
        ];
        answers.push(format!("{said:?} {before_login:?}").replace(name, "NAME"));
    }
    assert_eq!(answers[0], answers[1]);
    // SMTP must say at RCPT who is not here; but to nobody a thousand times: errors end a session.
    let mut smtp = Smtp::receiving(&grapevine, 0);
    assert_eq!(smtp.command("MAIL FROM:<x@far.example>").code, 250);
    let mut tried = 0;
    while smtp
        .command(&format!("RCPT TO:<guess{tried}@pa.example>"))
        .code
        == 550
    {
        tried += 1;
        assert!(tried < 200, "a harvest");
    }
    unharmed(&grapevine);
}

#[test]
fn a_ticket_that_was_touched_is_none_at_any_door() {
    let world = World::new();
    let grapevine = &world.grapevine;
    let ticket = world.ticket(world.person("needham"));
    let ask = |ticket: &str| {
        let client = Client::stranger(grapevine, 0).with_ticket(ticket);
        client.get("/api/v1/individuals/birrell@pa.example").status
    };
    assert_eq!(ask(&ticket), 200);
    let step = ticket.len() / 12;
    for at in (0..ticket.len()).step_by(step.max(1)) {
        let mut bytes = ticket.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let touched = String::from_utf8(bytes).unwrap();
        assert_ne!(ask(&touched), 200, "at {at}");
    }
    for touched in [
        ticket[..ticket.len() - 1].to_owned(),
        format!("{ticket}A"),
        format!("{ticket}.{ticket}"),
        ticket.replace("gvt1_", "gvt2_"),
        ticket.to_uppercase(),
        String::new(),
        "gvt1_.".to_owned(),
    ] {
        assert_ne!(ask(&touched), 200, "{touched}");
    }
    // As a password it serves him for whom it was made, and nobody else; touched, not even him.
    let touched = ticket.replace("gvt1_", "gvt1_A");
    for (name, password) in [
        ("birrell@pa.example", ticket.as_str()),
        ("registrar@pa.example", &ticket),
        (KNOWN, &touched),
    ] {
        let mut imap = Line::tls(grapevine, &grapevine.doors(0)["imaps"]);
        imap.line();
        let answer = imap.ask(&format!("a LOGIN {name} \"{password}\""));
        assert!(answer.starts_with("a NO"), "{name}: {answer}");
    }
    unharmed(grapevine);
}
