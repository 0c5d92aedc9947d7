//! LMTP as a server (RFC 2033): an answer for each recipient, and nothing that is SMTP's alone.

use grapevine_doors::Tls;
use grapevine_doors::smtp::Kind;

use crate::script::play;
use crate::smtp_client::Client;

fn greeted() -> Client {
    let mut client = Client::new(Kind::Lmtp, Tls::Offered);
    client.feed(b"LHLO b.example\r\n");
    client
}

#[test]
fn each_recipient_has_an_answer_after_the_message() {
    let mut client = Client::new(Kind::Lmtp, Tls::Unavailable);
    play(
        &mut client,
        "S: 220 s1.example LMTP Grapevine
         C: EHLO b.example
         S: 500 5.5.1 This is LMTP: LHLO first
         C: MAIL FROM:<a@b.example>
         S: 503 5.5.1 EHLO first
         C: LHLO b.example
         S: 250-s1.example
         S: 250-PIPELINING
         S: 250-SIZE 104857600
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-ENHANCEDSTATUSCODES
         S: 250-DSN
         S: 250 HELP
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<birrell@pa.example>
         C: RCPT TO:<nobody@pa.example>
         C: RCPT TO:<needham@pa.example>
         C: DATA
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 550 5.1.1 No such mailbox
         S: 250 2.1.5 Recipient OK
         S: 354 End with <CRLF>.<CRLF>
         C: Subject: x
         C:
         C: hello
         C: .
         S: 250 2.0.0 Accepted as 17.s1
         S: 250 2.0.0 Accepted as 17.s1
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<birrell@pa.example>
         C: DATA
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 354 End with <CRLF>.<CRLF>
         C: again
         C: .
         S: 250 2.0.0 Accepted as 17.s1
         C: QUIT
         S: 221 2.0.0 Bye",
    );
    assert_eq!(client.envelopes()[0].trace.protocol(), "LMTP");
}

#[test]
fn a_refused_message_is_refused_to_each_recipient_and_a_failure_is_for_now_to_each() {
    let mut client = greeted();
    let before = client.sent().lines().count();
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<x@pa>\r\nRCPT TO:<y@pa>\r\nDATA\r\n");
    client.feed(b"a\nb\r\n.\r\n");
    // The disk is full for thirteen octets.
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<x@pa>\r\nRCPT TO:<y@pa>\r\nDATA\r\n");
    client.feed(b"12345678901\r\n.\r\n");
    let sent = client.sent();
    let lines: Vec<&str> = sent.lines().skip(before).collect();
    let codes: Vec<&str> = lines.iter().map(|line| &line[..3]).collect();
    assert_eq!(
        codes,
        [
            "250", "250", "250", "354", "550", "550", "250", "250", "250", "354", "452", "452"
        ],
        "{sent}"
    );
}

#[test]
fn neither_logins_nor_chunks_belong_here() {
    let mut client = greeted();
    client.feed(b"AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=\r\n");
    assert!(client.last_line().starts_with("502 "));
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<x@pa>\r\nBDAT 6 LAST\r\nRSET\r\n");
    assert!(client.last_line().starts_with("502 "), "{}", client.sent());
    assert!(client.bodies().is_empty());
    // And LHLO is nothing at the doors of SMTP.
    let mut smtp = Client::new(Kind::Receiving, Tls::Offered);
    smtp.feed(b"LHLO b.example\r\n");
    assert_eq!(smtp.last_line(), "500 5.5.1 Command not known");
}

#[test]
fn a_message_that_goes_in_a_circle_is_refused() {
    for kind in [Kind::Lmtp, Kind::Receiving] {
        let hello = if kind == Kind::Lmtp { "LHLO" } else { "EHLO" };
        for (hops, code) in [(100, "250 "), (101, "554 5.4.6")] {
            let mut client = Client::new(kind, Tls::Offered);
            client.feed(format!("{hello} b.example\r\n").as_bytes());
            client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<x@pa>\r\nDATA\r\n");
            let header = "Received: from a by b; now\r\n".repeat(hops);
            client.feed(format!("{header}\r\nReceived: in the body\r\n.\r\n").as_bytes());
            assert!(
                client.last_line().starts_with(code),
                "{hops}: {}",
                client.last_line()
            );
        }
    }
}
