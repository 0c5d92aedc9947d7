//! Ways in which a second message, or a command, has been smuggled inside a first one, or into TLS.

use grapevine_doors::smtp::{Ask, Kind};
use grapevine_doors::{Tls, pop3};

use crate::pop3_client;
use crate::smtp_client::{Client, Event, receiving, submission};

const FORGED: &str =
    "MAIL FROM:<forged@pa.example>\r\nRCPT TO:<victim@pa.example>\r\nDATA\r\nforged\r\n.\r\n";

/// Sends a message that holds `fake_end` and, after it, a whole second message; then the true end.
fn smuggle(mut client: Client, fake_end: &str) {
    client.feed(b"MAIL FROM:<a@pa.example>\r\nRCPT TO:<b@pa.example>\r\nDATA\r\n");
    let inside = FORGED.trim_end_matches("\r\n.\r\n");
    client.feed(format!("first{fake_end}{inside}\r\n.\r\nNOOP\r\n").as_bytes());
    let senders = client
        .asked()
        .iter()
        .filter(|ask| matches!(ask, Ask::Sender(_)))
        .count();
    assert_eq!(senders, 1, "{fake_end:?} let a second message in");
    assert!(
        client.sent().ends_with(
            "550 5.6.0 Message has a CR or LF alone; lines end with CRLF\r\n250 2.0.0 OK\r\n"
        ),
        "{fake_end:?} was not refused: {}",
        client.sent()
    );
    assert_eq!(
        client
            .events
            .iter()
            .filter(|event| **event == Event::BodyAborted)
            .count(),
        1
    );
    assert!(
        !client
            .asked()
            .iter()
            .any(|ask| matches!(ask, Ask::Accept { .. }))
    );
}

macro_rules! fake_ends {
    ($($name:ident: $end:expr;)*) => {$(
        #[test]
        fn $name() {
            smuggle(receiving(), $end);
            smuggle(submission(), $end);
        }
    )*};
}

fake_ends! {
    lf_dot_lf_is_no_end: "\n.\n";
    lf_dot_crlf_is_no_end: "\n.\r\n";
    crlf_dot_lf_is_no_end: "\r\n.\n";
    cr_dot_cr_is_no_end: "\r.\r";
    cr_dot_crlf_is_no_end: "\r.\r\n";
    crlf_dot_cr_is_no_end: "\r\n.\r";
    cr_dot_lf_is_no_end: "\r.\n";
    cr_cr_lf_dot_crlf_is_no_clean_end: "\r\n.\r\r\n";
    lf_cr_dot_crlf_is_no_end: "\n\r.\r\n";
    crlf_dot_cr_x_is_no_end: "\r\n.\rx\n";
}

#[test]
fn crlf_nul_dot_crlf_is_data() {
    let mut client = receiving();
    client
        .feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n\0.\r\nMAIL FROM:<e@f>\r\n.\r\n");
    assert_eq!(client.bodies(), [b"x\r\n\0.\r\nMAIL FROM:<e@f>\r\n"]);
}

#[test]
fn a_cr_before_the_true_end_is_refused_but_ends() {
    let mut client = receiving();
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\r\n.\r\nNOOP\r\n");
    assert!(client.sent().contains("550 5.6.0"));
    assert_eq!(client.last_line(), "250 2.0.0 OK");
}

#[test]
fn a_bare_line_end_hides_no_command() {
    for line in [
        &b"NOOP\nMAIL FROM:<a@b>\r\n"[..],
        b"NOOP\rMAIL FROM:<a@b>\r\n",
        b"NOOP\r\rMAIL FROM:<a@b>\r\n",
        b"\nMAIL FROM:<a@b>\r\n",
    ] {
        let mut client = receiving();
        client.feed(line);
        client.feed(b"NOOP\r\n");
        assert!(
            client.sent().ends_with(
                "500 5.5.2 Lines end with CRLF, never with CR or LF alone\r\n250 2.0.0 OK\r\n"
            ),
            "{}",
            client.sent()
        );
        assert!(client.asked().is_empty());
    }
}

#[test]
fn commands_sent_ahead_of_tls_are_dropped() {
    let mut client = Client::new(Kind::Receiving, Tls::Offered);
    client.feed(b"EHLO b\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@b.example>\r\nRSET\r\n");
    assert_eq!(client.last_line(), "220 2.0.0 Ready to start TLS");
    assert_eq!(
        client
            .events
            .iter()
            .filter(|event| **event == Event::TlsStarted)
            .count(),
        1
    );
    client.feed(b"MAIL FROM:<a@b>\r\n");
    assert_eq!(
        client.last_line(),
        "503 5.5.1 EHLO first",
        "nothing said before counts"
    );
    assert!(client.asked().is_empty());
    client.feed(b"EHLO b\r\nSTARTTLS\r\n");
    assert_eq!(client.last_line(), "503 5.5.1 TLS is on already");
}

#[test]
fn half_a_command_before_tls_does_not_join_what_comes_after() {
    let mut client = Client::new(Kind::Receiving, Tls::Offered);
    client.feed(b"STARTTLS\r\nNOOP ");
    client.feed(b"HELO b\r\n");
    assert_eq!(client.last_line(), "250 s1.example");
}

#[test]
fn a_message_begun_before_tls_is_given_up() {
    let mut client = receiving();
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 2\r\nhiSTARTTLS\r\n");
    assert!(client.events.contains(&Event::BodyAborted));
    client.feed(b"EHLO b\r\nBDAT 0 LAST\r\n");
    assert_eq!(client.last_line(), "503 5.5.1 MAIL first");
}

#[test]
fn pop3_commands_sent_ahead_of_tls_are_dropped() {
    let mut client = pop3_client::Client::new(Tls::Offered);
    client.feed(b"STLS\r\nUSER evil\r\nPASS sesame\r\n");
    assert!(client.sent().ends_with("+OK Ready to start TLS\r\n"));
    client.feed(b"PASS sesame\r\n");
    assert_eq!(client.last_line(), "-ERR USER first");
    assert!(
        !client
            .events
            .iter()
            .any(|event| matches!(event, pop3_client::Event::Asked(pop3::Ask::Authenticate(_))))
    );
}
