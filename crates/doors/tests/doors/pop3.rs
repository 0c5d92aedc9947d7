//! A transcript of each verb, and limits, ends and bad input of POP3.

use grapevine_doors::pop3::{AUTH_LINE_BYTES, Answer, Ask, COMMAND_LINE_BYTES, Flow};
use grapevine_doors::{READ_BYTES, Tls};

use crate::pop3_client::{Client, Event, Stored, logged_in, stored};
use crate::script::play;

fn three() -> Client {
    let mut client = Client::new(Tls::Active);
    client.feed(b"USER birrell@pa.example\r\nPASS sesame\r\n");
    client
}

#[test]
fn a_session_goes_from_greeting_to_quit() {
    let mut client = Client::new(Tls::Offered);
    play(
        &mut client,
        "S: +OK s1.example POP3 Grapevine
         C: CAPA
         S: +OK Capabilities follow
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: STLS
         S: EXPIRE NEVER
         S: IMPLEMENTATION Grapevine
         S: .
         C: USER birrell@pa.example
         S: -ERR STLS first: no password without encryption
         C: AUTH PLAIN AGEAc2VzYW1l
         S: -ERR STLS first: no password without encryption
         C: STLS
         S: +OK Ready to start TLS
         C: CAPA
         S: +OK Capabilities follow
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: USER
         S: SASL PLAIN
         S: EXPIRE NEVER
         S: IMPLEMENTATION Grapevine
         S: .
         C: USER birrell@pa.example
         C: PASS sesame
         C: STAT
         C: LIST
         C: UIDL
         C: RETR 1
         C: DELE 1
         C: QUIT
         S: +OK Password, please
         S: +OK 3 messages (35 octets)
         S: +OK 3 35
         S: +OK 3 messages (35 octets)
         S: 1 19
         S: 2 16
         S: 3 0
         S: .
         S: +OK 3 messages (35 octets)
         S: 1 1.s1
         S: 2 2.s1
         S: 3 3.s1
         S: .
         S: +OK 19 octets
         S: A: 1
         S:
         S: ..one
         S: two
         S: .
         S: +OK
         S: +OK Bye",
    );
    assert!(client.is_closed());
    assert!(client.asked().contains(&&Ask::Delete {
        uidls: vec!["1.s1".into()]
    }));
}

#[test]
fn a_message_without_a_last_line_end_gets_one_and_an_empty_one_stays_empty() {
    play(
        &mut three(),
        "C: RETR 2
         C: RETR 3
         S: +OK 16 octets
         S: B: 2
         S:
         S: no end
         S: .
         S: +OK 0 octets
         S: .",
    );
}

#[test]
fn top_cuts_and_stops_the_shell() {
    let mut client = three();
    play(
        &mut client,
        "C: TOP 1 0
         C: TOP 1 1
         C: TOP 1 99
         S: +OK Top of message follows
         S: A: 1
         S:
         S: .
         S: +OK Top of message follows
         S: A: 1
         S:
         S: ..one
         S: .
         S: +OK Top of message follows
         S: A: 1
         S:
         S: ..one
         S: two
         S: .",
    );
    let mut client = logged_in(vec![stored(
        "1.s1",
        &[b"A: 1\r\n\r\n", b"x\r\n".repeat(100_000).as_slice()].concat(),
    )]);
    client.feed(b"TOP 1 2\r\nNOOP\r\n");
    assert_eq!(client.given_bytes, 1000, "the rest is not read");
    assert!(
        client
            .sent()
            .ends_with("A: 1\r\n\r\nx\r\nx\r\n.\r\n+OK\r\n")
    );
}

#[test]
fn marks_count_until_rset() {
    play(
        &mut three(),
        "C: DELE 1
         C: DELE 1
         C: RETR 1
         C: STAT
         C: LIST
         C: LIST 1
         C: UIDL 2
         C: LIST 2
         C: RSET
         C: STAT
         C: NOOP
         C: QUIT
         S: +OK
         S: -ERR Message is marked as deleted
         S: -ERR Message is marked as deleted
         S: +OK 2 16
         S: +OK 2 messages (16 octets)
         S: 2 16
         S: 3 0
         S: .
         S: -ERR Message is marked as deleted
         S: +OK 2 2.s1
         S: +OK 2 16
         S: +OK
         S: +OK 3 35
         S: +OK
         S: +OK Bye",
    );
}

#[test]
fn nothing_is_deleted_without_quit() {
    let mut ended = three();
    ended.feed(b"DELE 1\r\n");
    ended.eof();
    let mut silent = three();
    silent.feed(b"DELE 1\r\n");
    silent.session.timed_out();
    silent.drain();
    let mut stopped = three();
    stopped.feed(b"DELE 1\r\n");
    stopped.session.shut_down();
    stopped.drain();
    let mut wrong = three();
    wrong.feed(b"DELE 1\r\n");
    wrong.feed(b"FOO\r\n".repeat(10).as_slice());
    for client in [ended, silent, stopped, wrong] {
        assert!(client.is_closed());
        assert!(
            !client
                .asked()
                .iter()
                .any(|ask| matches!(ask, Ask::Delete { .. }))
        );
    }
}

#[test]
fn a_deletion_that_failed_is_told() {
    let mut client = three();
    client.feed(b"DELE 2\r\nQUIT\r\n");
    assert_eq!(
        client.last_line(),
        "-ERR [SYS/TEMP] Some messages were not deleted"
    );
    assert!(client.is_closed());
}

#[test]
fn refused_logins_say_why_in_codes() {
    let mut client = Client::new(Tls::Active);
    play(
        &mut client,
        "C: PASS sesame
         S: -ERR USER first
         C: USER a
         C: PASS busy
         S: +OK Password, please
         S: -ERR [IN-USE] Mailbox is in use
         C: AUTH PLAIN AGEAbGF0ZXI=
         S: -ERR [SYS/TEMP] No inbox site can be reached
         C: AUTH PLAIN
         S: +
         C: *
         S: -ERR Authentication cancelled
         C: AUTH PLAIN AGE=
         S: -ERR Authentication response cannot be read
         C: AUTH PLAIN eABhAGI=
         S: -ERR [AUTH] Acting for another name is not supported
         C: AUTH LOGIN
         S: -ERR Mechanism not offered; PLAIN is
         C: AUTH PLAIN
         C: AGEAeA==
         S: +
         S: -ERR [AUTH] Name or password is wrong
         C: AUTH PLAIN
         C: AGEAc2VzYW1l
         S: +
         S: +OK 3 messages (35 octets)
         C: USER b
         S: -ERR Logged in already",
    );
}

#[test]
fn a_mailbox_of_which_a_site_is_missing_is_said_to_be_partial_at_the_login() {
    let mut client = Client::new(Tls::Active);
    client.feed(b"USER a\r\nPASS partly\r\nSTAT\r\n");
    let sent = client.sent();
    assert!(
        sent.ends_with(
            "+OK 0 messages (0 octets); a server cannot be reached now, and may have more\r\n\
             +OK 0 0\r\n"
        ),
        "{sent}"
    );
    let whole = three();
    assert!(!whole.sent().contains("cannot be reached"));
}

#[test]
fn the_third_wrong_password_ends_the_session() {
    let mut client = Client::new(Tls::Active);
    client.feed(
        b"USER a\r\nPASS x\r\nUSER a\r\nPASS y\r\nUSER a\r\nPASS z\r\nUSER a\r\nPASS sesame\r\n",
    );
    assert!(client.sent().ends_with(
        "-ERR [AUTH] Name or password is wrong\r\n-ERR Too many failed logins, closing\r\n"
    ));
    assert_eq!(client.asked().len(), 3);
    assert!(client.is_closed());
}

#[test]
fn a_password_may_hold_spaces() {
    let mut client = Client::new(Tls::Active);
    client.feed(b"USER a\r\nPASS  two words \r\n");
    let [Ask::Authenticate(credentials)] = client.asked()[..] else {
        panic!()
    };
    assert_eq!(credentials.password.expose(), " two words ");
}

#[test]
fn a_mailbox_is_closed_before_the_login() {
    for line in [
        "STAT", "LIST", "UIDL", "RETR 1", "TOP 1 1", "DELE 1", "RSET", "NOOP",
    ] {
        let mut client = Client::new(Tls::Active);
        client.feed(format!("{line}\r\n").as_bytes());
        assert_eq!(client.last_line(), "-ERR Log in first", "{line}");
    }
    let mut client = Client::new(Tls::Unavailable);
    play(
        &mut client,
        "C: STLS
         C: USER a
         C: AUTH PLAIN AGEAc2VzYW1l
         S: -ERR Not offered here
         S: -ERR Not offered here
         S: -ERR Not offered here",
    );
}

#[test]
fn wrong_numbers_and_commands_are_refused() {
    play(
        &mut three(),
        "C: RETR 4
         C: RETR 0
         C: RETR
         C: TOP 1
         C: LIST 99999999999
         C: FOO
         C: STLS
         C: AUTH PLAIN
         S: -ERR No such message
         S: -ERR Wrong or missing argument
         S: -ERR Wrong or missing argument
         S: -ERR Wrong or missing argument
         S: -ERR No such message
         S: -ERR Command not known
         S: -ERR TLS is on already
         S: -ERR Logged in already",
    );
}

#[test]
fn bad_lines_are_refused_once() {
    for (line, why) in [
        (
            &b"NOOP\nQUIT\r\n"[..],
            "-ERR Lines end with CRLF, never with CR or LF alone",
        ),
        (
            b"NOOP\rQUIT\r\n",
            "-ERR Lines end with CRLF, never with CR or LF alone",
        ),
        (b"NOOP \0\r\n", "-ERR A command is printable UTF-8 text"),
        (b"NOOP \xff\r\n", "-ERR A command is printable UTF-8 text"),
        (
            &[&vec![b'x'; COMMAND_LINE_BYTES][..], b"\r\n"].concat(),
            "-ERR Line too long",
        ),
        (
            &[b"AUTH ", &vec![b'x'; AUTH_LINE_BYTES][..], b"\r\n"].concat(),
            "-ERR Line too long",
        ),
    ] {
        let mut client = three();
        let before = client.sent().len();
        client.feed(&[line, b"NOOP\r\n"].concat());
        assert_eq!(&client.sent()[before..], format!("{why}\r\n+OK\r\n"));
    }
}

#[test]
fn errors_and_idling_end_the_session() {
    let mut wrong = Client::new(Tls::Active);
    wrong.feed(b"FOO\r\n".repeat(11).as_slice());
    assert_eq!(wrong.last_line(), "-ERR Too many errors, closing");
    for line in ["CAPA\r\n", "USER a\r\n"] {
        let mut idle = Client::new(Tls::Active);
        idle.feed(line.repeat(101).as_bytes());
        assert_eq!(
            idle.last_line(),
            "-ERR Too many commands without a login, closing"
        );
        assert!(idle.is_closed());
    }
}

#[test]
fn any_bytes_are_sent_as_they_are_stored() {
    let body = b"A: 1\n\nbare\n.\r\n.dot\r\n\0\xff\r\r\n\n.\n..\r\n";
    for piece_bytes in 1..=body.len() {
        let mut client = logged_in(vec![stored("1.s1", body)]);
        client.piece_bytes = piece_bytes;
        let before = client.sent_bytes().len();
        client.feed(b"RETR 1\r\n");
        let expected = [
            &format!("+OK {} octets\r\n", body.len()).into_bytes()[..],
            b"A: 1\n\nbare\n.\r\n..dot\r\n\0\xff\r\r\n\n.\n..\r\n.\r\n",
        ]
        .concat();
        assert_eq!(
            &client.sent_bytes()[before..],
            expected.as_slice(),
            "in pieces of {piece_bytes}"
        );
    }
}

#[test]
fn a_body_that_fails_at_once_is_an_error_and_later_is_a_broken_connection() {
    let mut at_once = logged_in(vec![Stored {
        fails_after: Some(0),
        ..stored("1.s1", b"abc")
    }]);
    at_once.feed(b"RETR 1\r\nNOOP\r\n");
    assert!(at_once.sent().ends_with(
        "-ERR [SYS/TEMP] Message cannot be read now, try again or at another server\r\n+OK\r\n"
    ));
    let mut later = logged_in(vec![Stored {
        fails_after: Some(2),
        ..stored("1.s1", b"abc")
    }]);
    later.feed(b"RETR 1\r\nNOOP\r\n");
    assert!(
        later.sent().ends_with("+OK 5 octets\r\nab"),
        "not ended as if it were whole"
    );
    assert!(later.is_closed());
}

#[test]
fn a_large_message_and_a_large_mailbox_take_bounded_memory() {
    let mut client = logged_in(vec![stored("1.s1", &b".\r\n".repeat(1_000_000))]);
    client.piece_bytes = READ_BYTES;
    client.feed(b"RETR 1\r\n");
    assert_eq!(client.sent().matches("\r\n..").count(), 1_000_000);
    assert!(
        client.most_held_bytes <= 3 * READ_BYTES,
        "{}",
        client.most_held_bytes
    );

    let many = (0..20_000)
        .map(|_| stored("0123456789012345678901234567890123456789", b""))
        .collect();
    let mut client = logged_in(many);
    client.feed(b"UIDL\r\nLIST\r\nNOOP\r\n");
    assert_eq!(client.sent().matches(" 0123456789").count(), 20_000);
    assert!(client.sent().ends_with("20000 0\r\n.\r\n+OK\r\n"));
    assert!(
        client.most_held_bytes <= 3 * READ_BYTES,
        "{}",
        client.most_held_bytes
    );
}

#[test]
fn a_flood_of_listings_takes_bounded_memory() {
    let mut client = three();
    client.feed(&b"UIDL\r\n".repeat(20_000));
    assert_eq!(client.sent().matches("3 3.s1\r\n.\r\n").count(), 20_000);
    assert!(
        client.most_held_bytes <= 3 * READ_BYTES,
        "{}",
        client.most_held_bytes
    );
}

#[test]
fn a_body_for_nobody_is_not_wanted() {
    let mut client = three();
    assert_eq!(client.session.body_chunk(b"x"), Flow::Enough);
    client.session.body_end();
    client.session.body_failed();
    client.session.answer(Answer::Deleted);
    assert_eq!(client.session.poll(), None);
}

#[test]
fn after_the_end_nothing_is_heard() {
    let mut client = three();
    client.feed(b"QUIT\r\nNOOP\r\n");
    assert_eq!(client.events.last(), Some(&Event::Closed));
    client.session.receive(b"NOOP\r\n");
    client.session.timed_out();
    client.session.shut_down();
    client.session.eof();
    assert_eq!(client.session.poll(), None);
    assert!(!client.session.wants_bytes());
    assert_eq!(client.session.held_bytes(), 0);
}

#[test]
fn silence_is_told_but_not_inside_a_message() {
    let mut client = Client::new(Tls::Active);
    let before_ms = client.session.silence_ms();
    client.feed(b"USER a\r\nPASS sesame\r\n");
    assert!(client.session.silence_ms() >= 600_000 && before_ms < 600_000);
    client.session.timed_out();
    client.drain();
    assert_eq!(
        client.last_line(),
        "-ERR [SYS/TEMP] Silent for too long, closing"
    );

    let mut client = three();
    client.session.receive(b"RETR 1\r\n");
    while client.session.poll().is_some() {}
    assert_eq!(client.session.body_chunk(b"A: 1\r\n"), Flow::More);
    client.session.timed_out();
    assert_eq!(client.session.body_chunk(b"B: 1\r\n"), Flow::Enough);
}
