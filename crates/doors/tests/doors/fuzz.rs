//! Arbitrary bytes and arbitrary answers: no panic, bounded memory, and whatever the clients of these tests check at every output.
//!
//! An input's first three bytes choose the session, the answers and the size of the pieces (`0` means: the plain choice); the rest is what the
//! client sends. Seeds and finds are in `__fuzz__/*/corpus`, and every run of the tests replays them; `fuzz/README.md` says how to run for longer.

use grapevine_doors::smtp::{Answer, Ask, Config, Kind, Limits, Refusal};
use grapevine_doors::{READ_BYTES, Tls, pop3};

use crate::imap_client;
use crate::ldap_client;
use crate::pop3_client::{self, Stored};
use crate::smtp_client::{Client, by_name, config};

/// What may be held at most: one read, as much that waits, and a full outbox with the last reply or body piece on top.
pub(crate) const HELD_BYTES: usize = 4 * READ_BYTES;

/// A message of LDAP is held until it is whole.
const MESSAGE_BYTES_LDAP: usize = grapevine_doors::ldap::limits::MESSAGE_BYTES;

/// Few messages are large enough to meet the real limit, so it is small here.
const MESSAGE_BYTES: u64 = 300;

#[test]
fn smtp_sessions_survive_any_bytes() {
    bolero::check!(name = "smtp").for_each(|input: &[u8]| smtp(input));
}

#[test]
fn pop3_sessions_survive_any_bytes() {
    bolero::check!(name = "pop3").for_each(|input: &[u8]| pop3(input));
}

#[test]
fn imap_sessions_survive_any_bytes() {
    bolero::check!(name = "imap").for_each(|input: &[u8]| imap(input));
}

#[test]
fn ldap_sessions_survive_any_bytes() {
    bolero::check!(name = "ldap").for_each(|input: &[u8]| ldap(input));
}

#[test]
fn every_seed_gets_somewhere() {
    // The seeds must not rot: each is meant to reach a message, so that finds grow from there.
    for seed in [
        &include_bytes!("__fuzz__/smtp/corpus/submission")[..],
        include_bytes!("__fuzz__/smtp/corpus/bdat"),
    ] {
        let mut client = smtp_client(seed[0], b'0');
        client.feed(&seed[3..]);
        assert!(
            client
                .asked()
                .iter()
                .any(|ask| matches!(ask, Ask::Accept { .. })),
            "{}",
            client.sent()
        );
    }
    let seed = include_bytes!("__fuzz__/pop3/corpus/session");
    let mut client = pop3_client::Client::new(tls(seed[0]));
    client.feed(&seed[3..]);
    assert!(
        client
            .asked()
            .iter()
            .any(|ask| matches!(ask, pop3::Ask::Delete { .. })),
        "{}",
        client.sent()
    );
}

fn split(input: &[u8]) -> ([u8; 3], &[u8]) {
    match input {
        [session, answers, pieces, rest @ ..] => ([*session, *answers, *pieces], rest),
        _ => ([b'0'; 3], input),
    }
}

fn tls(choice: u8) -> Tls {
    match choice & 0b110 {
        0b000 => Tls::Active,
        0b010 => Tls::Offered,
        _ => Tls::Unavailable,
    }
}

fn pieces(choice: u8, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(if choice == b'0' {
        READ_BYTES
    } else {
        usize::from(choice).max(1)
    })
}

fn smtp_client(session: u8, answers: u8) -> Client {
    let kind = match (session & 1, session & 0b1000) {
        (0, _) => Kind::Submission,
        (_, 0) => Kind::Receiving,
        _ => Kind::Lmtp,
    };
    let limits = Limits {
        message_bytes: MESSAGE_BYTES,
        recipients: 3,
        ..Limits::default()
    };
    let mut dice = u32::from(answers);
    let rule = move |ask: &Ask| {
        dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        match (answers, dice >> 28) {
            (b'0', _) => by_name(ask),
            (_, 0) => Answer::No(Refusal::no_relay()),
            (_, 1) => Answer::No(Refusal::try_later("\r\n\0")),
            (_, 2) => Answer::Accepted {
                id: "\r\n250 x".into(),
            },
            _ => Answer::Yes,
        }
    };
    Client::with(
        Config {
            limits,
            scram: grapevine_model::ScramPolicy::On,
            ..config(kind, tls(session))
        },
        Box::new(rule),
    )
}

pub(crate) fn smtp(input: &[u8]) {
    let ([session, answers, size], bytes) = split(input);
    let mut client = smtp_client(session, answers);
    for piece in pieces(size, bytes) {
        client.feed(piece);
    }
    assert!(client.most_held_bytes <= HELD_BYTES);
    match answers % 3 {
        0 => client.eof(),
        1 => client.session.timed_out(),
        // A body may be under way, and is waited for.
        _ => {
            client.session.shut_down();
            client.drain();
            client.eof();
        }
    }
    client.drain();
    assert!(client.is_closed(), "every session ends");
    assert_eq!(client.session.held_bytes(), 0);
    // Where answers are by rule: nobody's mail is taken at the submission door but his who showed a password or a proof.
    let proved = |ask: &&Ask| match ask {
        Ask::Authenticate(credentials) => credentials.password.expose() == "sesame",
        Ask::ScramFinish(proof) => proof.proof == crate::scram::PROOF,
        _ => false,
    };
    if answers == b'0' && session & 1 == 0 {
        let asked = client.asked();
        let senders = asked.iter().position(|ask| matches!(ask, Ask::Sender(_)));
        let proof = asked.iter().position(proved);
        assert!(senders.is_none() || proof < senders && proof.is_some());
    }
}

pub(crate) fn pop3(input: &[u8]) {
    let ([session, answers, size], bytes) = split(input);
    let fails_after = (answers % 5 == 1).then(|| usize::from(answers) % 7);
    // What the client sent is a message too: the stuffing meets arbitrary bytes.
    let stored = vec![
        Stored {
            uidl: "1.s1",
            body: bytes.to_vec(),
            fails_after: None,
        },
        Stored {
            uidl: "2.s1",
            body: b"A: 1\r\n\r\n.\r\n".to_vec(),
            fails_after,
        },
    ];
    let mut client = pop3_client::Client::with(tls(session), stored);
    client.piece_bytes = usize::from(answers).max(1);
    for piece in pieces(size, bytes) {
        client.feed(piece);
    }
    assert!(client.most_held_bytes <= HELD_BYTES);
    match answers % 3 {
        0 => client.eof(),
        1 => client.session.timed_out(),
        _ => client.session.shut_down(),
    }
    client.drain();
    assert!(client.is_closed(), "every session ends");
    assert_eq!(client.session.held_bytes(), 0);
    let asked_to_delete = client
        .asked()
        .iter()
        .any(|ask| matches!(ask, pop3::Ask::Delete { .. }));
    let said_quit = bytes
        .windows(4)
        .any(|word| word.eq_ignore_ascii_case(b"QUIT"));
    assert!(said_quit || !asked_to_delete, "deleted without QUIT");
}

pub(crate) fn imap(input: &[u8]) {
    let ([session, answers, size], bytes) = split(input);
    let tls = tls(session);
    let mut client = imap_client::Client::new(tls);
    // What the client sent is a message too: the scanner meets arbitrary bytes.
    client.store.borrow_mut().deposit(0, bytes.to_vec(), &[]);
    client.store.borrow_mut().fails_after = (answers % 5 == 1).then(|| usize::from(answers) % 7);
    client.piece_bytes = usize::from(answers).max(1);
    if tls == Tls::Active && answers % 4 != 3 {
        // Beyond the login, and in a folder, there is more to find.
        client.feed(b"l LOGIN a@pa sesame\r\ns SELECT INBOX\r\n");
        client.feed(b"f FETCH 1:* (BODYSTRUCTURE ENVELOPE BODY.PEEK[1.2.MIME] BODY.PEEK[TEXT] BINARY.PEEK[1])\r\n");
        client
            .feed(b"t SEARCH OR TEXT x SENTSINCE 1-Jan-2000\r\nr THREAD REFERENCES UTF-8 ALL\r\n");
    }
    client.store.borrow_mut().down = answers % 7 == 2;
    if answers % 16 == 7 {
        // What follows is no DEFLATE, or one by chance.
        client.feed(b"z COMPRESS DEFLATE\r\n");
    }
    for piece in pieces(size, bytes) {
        client.feed(piece);
    }
    assert!(client.most_held_bytes <= crate::imap::HELD_BYTES);
    match answers % 3 {
        0 => client.eof(),
        1 => client.session.timed_out(),
        _ => {
            client.session.shut_down();
            client.drain();
            client.eof();
        }
    }
    client.drain();
    assert!(client.is_closed(), "every session ends");
    assert_eq!(client.session.held_bytes(), 0);
}

pub(crate) fn ldap(input: &[u8]) {
    let ([session, answers, size], bytes) = split(input);
    let mut client = ldap_client::Client::new(tls(session));
    if answers % 4 == 3 {
        client.mood = ldap_client::Mood::CutOff;
    }
    if answers % 2 == 0 {
        // Beyond the login there is more to find.
        client.feed(&ldap_client::bind(
            1,
            "p0@pa.example",
            ldap_client::PASSWORD,
        ));
    }
    for piece in pieces(size, bytes) {
        client.feed(piece);
    }
    assert!(client.held_most <= HELD_BYTES + MESSAGE_BYTES_LDAP);
    ldap_client::responses(&client.sent);
    match answers % 3 {
        0 => client.session.eof(),
        1 => client.session.timed_out(),
        _ => client.session.shut_down(),
    }
    client.drive();
    assert!(client.closed, "every session ends");
    assert_eq!(client.session.held_bytes(), 0);
}
