//! AUTH SCRAM-SHA-256 at both doors for mail programs, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::sasl::scram::Challenge;
use grapevine_doors::smtp::{Ask, Kind};
use grapevine_doors::{Tls, imap, pop3, smtp};
use grapevine_model::ScramPolicy;

use crate::script::{Scripted, play};
use crate::smtp_client::by_name;
use crate::{imap_client, pop3_client, smtp_client};

pub(crate) const PROOF: [u8; 32] = [7; 32];
pub(crate) const SIGNATURE: [u8; 32] = [9; 32];

pub(crate) fn challenge() -> Challenge {
    Challenge {
        nonce: "server".into(),
        salt: *b"0123456789abcdef",
        iterations: 4096,
    }
}

fn first() -> String {
    STANDARD.encode("n,,n=birrell@pa.example,r=client")
}

fn server_first() -> String {
    STANDARD.encode("r=clientserver,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096")
}

fn last(proof: [u8; 32]) -> String {
    let proof = STANDARD.encode(proof);
    STANDARD.encode(format!("c=biws,r=clientserver,p={proof}"))
}

fn server_last() -> String {
    STANDARD.encode(format!("v={}", STANDARD.encode(SIGNATURE)))
}

fn submission(scram: ScramPolicy) -> smtp_client::Client {
    let config = smtp::Config {
        scram,
        ..smtp_client::config(Kind::Submission, Tls::Active)
    };
    let mut client = smtp_client::Client::with(config, Box::new(by_name));
    client.feed(b"EHLO a.example\r\n");
    client
}

fn inbox(scram: ScramPolicy, tls: Tls) -> pop3_client::Client {
    let config = pop3::Config {
        scram,
        ..pop3_client::config(tls)
    };
    pop3_client::Client::configured(config, Vec::new())
}

fn script(client: &mut impl Scripted, text: &str) {
    let text = text
        .replace("FIRST", &first())
        .replace("CHALLENGE", &server_first())
        .replace("WRONG", &last([8; 32]))
        .replace("PROOF", &last(PROOF))
        .replace("SIGNATURE", &server_last());
    play(client, &text);
}

#[test]
fn smtp_lets_in_by_a_proof_and_shows_its_own() {
    let mut client = submission(ScramPolicy::On);
    assert!(
        client
            .heard()
            .contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n")
    );
    script(
        &mut client,
        "C: AUTH SCRAM-SHA-256
         S: 334
         C: FIRST
         S: 334 CHALLENGE
         C: WRONG
         S: 535 5.7.8 Name or password is wrong
         C: AUTH SCRAM-SHA-256 FIRST
         S: 334 CHALLENGE
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: AUTH SCRAM-SHA-256 FIRST
         S: 334 CHALLENGE
         C: PROOF
         S: 334 SIGNATURE
         C: 
         S: 235 2.7.0 Authentication successful
         C: MAIL FROM:<birrell@pa.example>
         S: 250 2.1.0 Sender OK",
    );
}

#[test]
fn smtp_takes_no_proof_of_another_dialogue_and_nobody_is_in_before_the_end() {
    let mut client = submission(ScramPolicy::On);
    let other = STANDARD.encode(format!("c=biws,r=clientother,p={}", STANDARD.encode(PROOF)));
    client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n{other}\r\n", first()).as_bytes());
    assert!(
        client.heard().trim_end().ends_with("cannot be read"),
        "{}",
        client.heard()
    );
    assert!(
        !client
            .asked()
            .iter()
            .any(|ask| matches!(ask, Ask::ScramFinish(_)))
    );
    client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n{}\r\n", first(), last(PROOF)).as_bytes());
    client.feed(b"*\r\nMAIL FROM:<birrell@pa.example>\r\n");
    assert!(client.heard().contains("530 5.7.0 Log in first"));
}

#[test]
fn imap_lets_in_by_a_proof_and_shows_its_own() {
    let config = |scram| imap::Config {
        hostname: "s1.example".into(),
        tls: Tls::Active,
        scram,
        limits: imap::Limits::default(),
    };
    let store = imap_client::Client::new(Tls::Active).store;
    let mut off = imap_client::Client::configured(config(ScramPolicy::Off), &store);
    assert!(!off.text().contains("SCRAM"));
    assert!(
        off.ask("a AUTHENTICATE SCRAM-SHA-256")
            .starts_with("a NO [CANNOT]")
    );
    let mut client = imap_client::Client::configured(config(ScramPolicy::On), &store);
    assert!(client.text().contains(" AUTH=PLAIN AUTH=SCRAM-SHA-256]"));
    script(
        &mut client,
        "C: a AUTHENTICATE SCRAM-SHA-256
         S: +
         C: FIRST
         S: + CHALLENGE
         C: WRONG
         S: a NO [AUTHENTICATIONFAILED] Name or password is wrong
         C: b AUTHENTICATE SCRAM-SHA-256 FIRST
         S: + CHALLENGE
         C: *
         S: b BAD Authentication cancelled
         C: c AUTHENTICATE SCRAM-SHA-256-PLUS FIRST
         S: c NO [CANNOT] Mechanism not offered; PLAIN is
         C: d AUTHENTICATE SCRAM-SHA-256 FIRST
         S: + CHALLENGE
         C: PROOF
         S: + SIGNATURE",
    );
    // Nobody is in before the end.
    client.sent.clear();
    client.feed(b"\r\ne SELECT INBOX\r\n");
    assert!(
        client.text().starts_with("d OK [CAPABILITY "),
        "{}",
        client.text()
    );
    assert!(
        client
            .text()
            .ends_with("e OK [READ-WRITE] SELECT completed\r\n")
    );
}

#[test]
fn pop3_lets_in_by_a_proof_and_shows_its_own() {
    let mut client = inbox(ScramPolicy::On, Tls::Active);
    script(
        &mut client,
        "C: CAPA
         S: +OK Capabilities follow
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: USER
         S: SASL SCRAM-SHA-256 PLAIN
         S: EXPIRE NEVER
         S: IMPLEMENTATION Grapevine
         S: .
         C: AUTH SCRAM-SHA-256
         S: +
         C: FIRST
         S: + CHALLENGE
         C: WRONG
         S: -ERR [AUTH] Name or password is wrong
         C: STAT
         S: -ERR Log in first
         C: AUTH SCRAM-SHA-256 FIRST
         S: + CHALLENGE
         C: PROOF
         S: + SIGNATURE
         C: 
         S: +OK 0 messages (0 octets)
         C: STAT
         S: +OK 0 0",
    );
}

#[test]
fn what_is_not_offered_is_refused_before_anything_is_asked() {
    let mut client = submission(ScramPolicy::Off);
    client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n", first()).as_bytes());
    assert!(
        client
            .heard()
            .contains("\r\n504 5.5.4 Mechanism not offered")
    );
    assert!(client.asked().is_empty());
    for (scram, tls) in [
        (ScramPolicy::Off, Tls::Active),
        (ScramPolicy::On, Tls::Offered),
        (ScramPolicy::On, Tls::Unavailable),
    ] {
        let mut client = inbox(scram, tls);
        client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n", first()).as_bytes());
        assert!(
            client.last_line().starts_with("-ERR "),
            "{scram:?}, {tls:?}"
        );
        assert!(client.asked().is_empty());
    }
}

fn channel() -> Channel {
    Channel {
        exporter: Some([5; 32]),
        end_point: None,
    }
}

fn bound_first() -> String {
    STANDARD.encode("p=tls-exporter,,n=birrell@pa.example,r=client")
}

fn bound_last(exporter: [u8; 32]) -> String {
    let bound = STANDARD.encode([&b"p=tls-exporter,,"[..], &exporter].concat());
    let proof = STANDARD.encode(PROOF);
    STANDARD.encode(format!("c={bound},r=clientserver,p={proof}"))
}

fn downgraded_first() -> String {
    STANDARD.encode("y,,n=birrell@pa.example,r=client")
}

#[test]
fn smtp_takes_a_proof_bound_to_its_own_channel_and_to_no_other() {
    let config = smtp::Config {
        scram: ScramPolicy::On,
        ..smtp_client::config(Kind::Submission, Tls::Active)
    };
    let mut client = smtp_client::Client::with(config, Box::new(by_name));
    client.session.channel_known(channel());
    client.feed(b"EHLO a.example\r\n");
    assert!(
        client
            .heard()
            .contains("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n"),
        "{}",
        client.heard()
    );
    client.feed(
        format!(
            "AUTH SCRAM-SHA-256-PLUS {}\r\n{}\r\n",
            bound_first(),
            bound_last([6; 32])
        )
        .as_bytes(),
    );
    assert!(client.heard().ends_with("cannot be read\r\n"));
    client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n", downgraded_first()).as_bytes());
    assert!(
        client
            .heard()
            .contains("535 5.7.8 Channel binding is offered")
    );
    assert!(
        !client
            .asked()
            .iter()
            .any(|ask| matches!(ask, Ask::ScramFinish(_))),
        "none of these is a login"
    );
    client.feed(
        format!(
            "AUTH SCRAM-SHA-256-PLUS {}\r\n{}\r\n\r\n",
            bound_first(),
            bound_last([5; 32])
        )
        .as_bytes(),
    );
    assert!(
        client
            .heard()
            .ends_with("235 2.7.0 Authentication successful\r\n")
    );
}

#[test]
fn pop3_takes_a_proof_bound_to_its_own_channel_and_to_no_other() {
    let mut client = inbox(ScramPolicy::On, Tls::Active);
    client.session.channel_known(channel());
    client.feed(b"CAPA\r\n");
    assert!(
        client
            .heard()
            .contains("SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN\r\n")
    );
    client.feed(
        format!(
            "AUTH SCRAM-SHA-256-PLUS {}\r\n{}\r\n",
            bound_first(),
            bound_last([6; 32])
        )
        .as_bytes(),
    );
    assert!(client.last_line().contains("cannot be read"));
    client.feed(format!("AUTH SCRAM-SHA-256 {}\r\n", downgraded_first()).as_bytes());
    assert!(
        client
            .last_line()
            .starts_with("-ERR [AUTH] Channel binding is offered")
    );
    client.feed(
        format!(
            "AUTH SCRAM-SHA-256-PLUS {}\r\n{}\r\n\r\n",
            bound_first(),
            bound_last([5; 32])
        )
        .as_bytes(),
    );
    assert!(client.last_line().starts_with("+OK 0 messages"));
}

#[test]
fn binding_is_not_offered_where_there_is_nothing_to_bind_to() {
    let mut client = submission(ScramPolicy::On);
    assert!(!client.heard().contains("PLUS"));
    client.feed(format!("AUTH SCRAM-SHA-256-PLUS {}\r\n", bound_first()).as_bytes());
    assert!(client.heard().contains("504 5.5.4 Mechanism not offered"));
    let mut client = inbox(ScramPolicy::On, Tls::Active);
    client.feed(format!("AUTH SCRAM-SHA-256-PLUS {}\r\n", bound_first()).as_bytes());
    assert!(client.last_line().starts_with("-ERR Mechanism not offered"));
    assert!(client.asked().is_empty());
}
