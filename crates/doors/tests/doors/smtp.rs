//! A transcript of each verb, and what a shell sees of it.

use grapevine_doors::Tls;
use grapevine_doors::smtp::{Ask, BodyKind, Kind, Notify, Return};

use crate::script::play;
use crate::smtp_client::{Client, Event, receiving, submission};

#[test]
fn a_submission_goes_from_greeting_to_yes() {
    let mut client = Client::new(Kind::Submission, Tls::Offered);
    play(
        &mut client,
        "S: 220 s1.example ESMTP Grapevine
         C: EHLO a.example
         S: 250-s1.example
         S: 250-PIPELINING
         S: 250-SIZE 104857600
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-ENHANCEDSTATUSCODES
         S: 250-DSN
         S: 250-STARTTLS
         S: 250 HELP
         C: AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=
         S: 538 5.7.11 STARTTLS first: no password without encryption
         C: MAIL FROM:<birrell@pa.example>
         S: 530 5.7.0 STARTTLS first, then log in
         C: STARTTLS
         S: 220 2.0.0 Ready to start TLS
         C: AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=
         S: 503 5.5.1 EHLO first
         C: EHLO a.example
         S: 250-s1.example
         S: 250-PIPELINING
         S: 250-SIZE 104857600
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-ENHANCEDSTATUSCODES
         S: 250-DSN
         S: 250-AUTH PLAIN LOGIN
         S: 250 HELP
         C: MAIL FROM:<birrell@pa.example>
         S: 530 5.7.0 Log in first
         C: AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=
         S: 235 2.7.0 Authentication successful
         C: MAIL FROM:<birrell@pa.example> SIZE=30 BODY=8BITMIME
         C: RCPT TO:<needham@pa.example>
         C: RCPT TO:<nobody@pa.example>
         C: RCPT TO:<later@far.example>
         C: DATA
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 550 5.1.1 No such mailbox
         S: 451 4.3.0 Registry cannot be reached
         S: 354 End with <CRLF>.<CRLF>
         C: Subject: x
         C:
         C: ..stuffed
         C: .
         C: QUIT
         S: 250 2.0.0 Accepted as 17.s1
         S: 221 2.0.0 Bye",
    );
    assert!(client.is_closed());
    assert_eq!(client.bodies(), [b"Subject: x\r\n\r\n.stuffed\r\n"]);
    let envelope = client.envelopes()[0];
    assert_eq!(envelope.sender.address, "birrell@pa.example");
    assert_eq!(envelope.sender.body, BodyKind::EightBit);
    assert_eq!(envelope.sender.declared_bytes, Some(30));
    assert_eq!(
        envelope
            .recipients
            .iter()
            .map(|to| to.address.as_str())
            .collect::<Vec<_>>(),
        ["needham@pa.example"]
    );
    assert_eq!(
        envelope.authenticated.as_deref(),
        Some("birrell@pa.example")
    );
    assert_eq!(
        envelope
            .trace
            .received("17.s1", "Mon, 23 Nov 2026 04:00:00 +0000"),
        "Received: from a.example (192.0.2.9)\r\n\tby s1.example with ESMTPSA id 17.s1;\r\n\tMon, 23 Nov 2026 04:00:00 +0000\r\n"
    );
}

#[test]
fn another_system_hands_in_mail_for_local_names_only() {
    let mut client = receiving();
    play(
        &mut client,
        "C: MAIL FROM:<>
         S: 250 2.1.0 Sender OK
         C: RCPT TO:<far@elsewhere.example>
         S: 550 5.7.1 Relaying denied: not a name of this system
         C: DATA
         S: 554 5.5.1 No recipient was accepted
         C: RCPT TO:<Postmaster>
         S: 250 2.1.5 Recipient OK
         C: DATA
         S: 354 End with <CRLF>.<CRLF>
         C: .
         S: 250 2.0.0 Accepted as 17.s1
         C: AUTH PLAIN AGEAYg==
         S: 502 5.5.1 Not offered here",
    );
    assert!(client.bodies().is_empty(), "an empty body has no pieces");
    let envelope = client.envelopes()[0];
    assert_eq!(
        (
            envelope.sender.address.as_str(),
            envelope.authenticated.as_deref()
        ),
        ("", None)
    );
    assert_eq!(envelope.trace.protocol(), "ESMTP");
}

#[test]
fn auth_login_asks_for_name_and_password() {
    let mut client = Client::new(Kind::Submission, Tls::Active);
    client.feed(b"EHLO a.example\r\n");
    play(
        &mut client,
        "C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: YmlycmVsbA==
         S: 334 UGFzc3dvcmQ6
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: AUTH LOGIN YmlycmVsbA==
         S: 334 UGFzc3dvcmQ6
         C: c2VzYW1l
         S: 235 2.7.0 Authentication successful
         C: AUTH LOGIN
         S: 503 5.5.1 Logged in already",
    );
    let [Ask::Authenticate(credentials)] = client.asked()[..] else {
        panic!()
    };
    assert_eq!(
        (credentials.name.as_str(), credentials.password.expose()),
        ("birrell", "sesame")
    );
}

#[test]
fn auth_plain_is_told_what_is_wrong_with_it() {
    let mut client = Client::new(Kind::Submission, Tls::Active);
    client.feed(b"EHLO a.example\r\n");
    play(
        &mut client,
        "C: AUTH PLAIN
         S: 334
         C: not base64
         S: 501 5.5.2 Authentication response cannot be read
         C: AUTH CRAM-MD5
         S: 504 5.5.4 Mechanism not offered; PLAIN and LOGIN are
         C: AUTH PLAIN eABhAGI=
         S: 535 5.7.8 Acting for another name is not supported
         C: AUTH PLAIN AGEAbGF0ZXI=
         S: 454 4.7.0 Cannot check logins now, try again or at another server
         C: AUTH PLAIN AGEAYg==
         S: 535 5.7.8 Name or password is wrong",
    );
}

#[test]
fn the_third_wrong_password_ends_the_session() {
    let mut client = Client::new(Kind::Submission, Tls::Active);
    client.feed(b"EHLO a.example\r\n");
    play(
        &mut client,
        "C: AUTH PLAIN AGEAYg==
         C: AUTH PLAIN AGEAYg==
         C: AUTH PLAIN AGEAYg==
         C: AUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=
         S: 535 5.7.8 Name or password is wrong
         S: 535 5.7.8 Name or password is wrong
         S: 535 5.7.8 Name or password is wrong
         S: 421 4.7.0 Too many failed logins, closing",
    );
    assert!(client.is_closed());
    assert_eq!(client.asked().len(), 3, "the right one came too late");
}

#[test]
fn small_verbs_answer() {
    play(
        &mut receiving(),
        "C: NOOP
         C: NOOP with words
         C: VRFY birrell
         C: HELP
         C: RSET
         C: EXPN list
         C: HELO b.example
         C: helo b.example
         S: 250 2.0.0 OK
         S: 250 2.0.0 OK
         S: 252 2.0.0 Cannot verify, but will take a message for it and try
         S: 214 2.0.0 See RFC 5321, RFC 6409
         S: 250 2.0.0 OK
         S: 500 5.5.1 Command not known
         S: 250 s1.example
         S: 250 s1.example",
    );
}

#[test]
fn commands_out_of_order_are_refused() {
    let mut client = Client::new(Kind::Receiving, Tls::Unavailable);
    play(
        &mut client,
        "C: MAIL FROM:<a@b>
         S: 503 5.5.1 EHLO first
         C: HELO b.example
         S: 250 s1.example
         C: RCPT TO:<a@b>
         S: 503 5.5.1 MAIL first
         C: DATA
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<a@b>
         S: 250 2.1.0 Sender OK
         C: MAIL FROM:<a@b>
         S: 503 5.5.1 A message is under way; RSET gives it up
         C: RSET
         S: 250 2.0.0 OK
         C: RCPT TO:<a@b>
         S: 503 5.5.1 MAIL first
         C: STARTTLS
         S: 502 5.5.1 Not offered here",
    );
}

#[test]
fn a_refused_sender_has_no_message() {
    play(
        &mut submission(),
        "C: MAIL FROM:<not-mine@pa.example>
         C: RCPT TO:<needham@pa.example>
         C: DATA
         S: 553 5.7.1 Sender address is not yours to use
         S: 503 5.5.1 MAIL first
         S: 503 5.5.1 MAIL first",
    );
}

#[test]
fn a_no_to_the_message_is_told_and_the_session_goes_on() {
    play(
        &mut submission(),
        "C: MAIL FROM:<birrell@pa.example>
         C: RCPT TO:<needham@pa.example>
         C: BDAT 13 LAST
         C: 12345678901
         C: MAIL FROM:<birrell@pa.example>
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 452 4.3.1 Server has no room now, try again or at another server
         S: 250 2.1.0 Sender OK",
    );
}

#[test]
fn bdat_carries_any_bytes_in_chunks() {
    let mut client = submission();
    client.feed(b"MAIL FROM:<birrell@pa.example>\r\nRCPT TO:<needham@pa.example>\r\n");
    client.feed(b"BDAT 9\r\na\nb\r.\r\n\0\xffBDAT 0\r\nBDAT 5 LAST\r\n\r\n.\r\nNOOP\r\n");
    assert_eq!(client.bodies(), [b"a\nb\r.\r\n\0\xff\r\n.\r\n"]);
    assert!(client.sent().ends_with(
        "250 2.0.0 9 octets received\r\n250 2.0.0 0 octets received\r\n250 2.0.0 Accepted as 17.s1\r\n250 2.0.0 OK\r\n"
    ));
    assert!(client.asked().contains(&&Ask::Accept { size_bytes: 14 }));
}

#[test]
fn an_empty_last_chunk_ends_a_message() {
    let mut client = submission();
    client.feed(b"MAIL FROM:<birrell@pa.example>\r\nRCPT TO:<needham@pa.example>\r\nBDAT 2\r\nhiBDAT 0 LAST\r\n");
    assert_eq!(client.last_line(), "250 2.0.0 Accepted as 17.s1");
    assert_eq!(client.bodies(), [b"hi"]);
}

#[test]
fn data_and_bdat_do_not_mix() {
    let mut client = submission();
    play(
        &mut client,
        "C: MAIL FROM:<birrell@pa.example>
         C: RCPT TO:<needham@pa.example>
         C: BDAT 4
         C: ab
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 250 2.0.0 4 octets received
         C: DATA
         S: 503 5.5.1 BDAT is under way; end it with BDAT ... LAST or RSET
         C: RCPT TO:<more@pa.example>
         S: 503 5.5.1 BDAT is under way; end it with BDAT ... LAST or RSET
         C: MAIL FROM:<birrell@pa.example>
         S: 503 5.5.1 A message is under way; RSET gives it up
         C: RSET
         S: 250 2.0.0 OK
         C: BDAT 4 LAST
         C: ab
         S: 503 5.5.1 MAIL first",
    );
    assert!(client.events.contains(&Event::BodyAborted));
    assert!(
        !client
            .asked()
            .iter()
            .any(|ask| matches!(ask, Ask::Accept { .. }))
    );
}

#[test]
fn a_chunk_that_is_refused_is_not_read_as_commands() {
    let mut client = receiving();
    client.feed(b"BDAT 28 LAST\r\nMAIL FROM:<evil@b.example>\r\nNOOP\r\n");
    assert!(
        client
            .sent()
            .ends_with("503 5.5.1 MAIL first\r\n250 2.0.0 OK\r\n")
    );
    assert!(client.asked().is_empty());
}

#[test]
fn a_chunk_of_unreadable_length_ends_the_session() {
    let mut client = receiving();
    client.feed(b"BDAT x LAST\r\nMAIL FROM:<evil@b.example>\r\n");
    assert!(client.last_line().starts_with("501 5.5.4 Syntax: BDAT"));
    assert!(client.is_closed() && client.asked().is_empty());
}

#[test]
fn dsn_parameters_reach_the_shell() {
    let mut client = submission();
    client.feed(b"MAIL FROM:<birrell@pa.example> RET=HDRS ENVID=QQ314159\r\n");
    client.feed(b"RCPT TO:<needham@pa.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;n+2Bx@pa.example\r\nDATA\r\n.\r\n");
    let envelope = client.envelopes()[0];
    assert_eq!(
        (envelope.sender.ret, envelope.sender.envelope_id.as_deref()),
        (Some(Return::Headers), Some("QQ314159"))
    );
    let recipient = &envelope.recipients[0];
    assert_eq!(
        recipient.notify,
        Some(Notify::On {
            success: true,
            failure: true,
            delay: false
        })
    );
    assert_eq!(recipient.original.as_deref(), Some("rfc822;n+x@pa.example"));
}

#[test]
fn addresses_in_utf8_need_smtputf8() {
    let mut client = submission();
    play(
        &mut client,
        "C: MAIL FROM:<jos\u{e9}@pa.example>
         S: 553 5.6.7 An address that is not ASCII needs MAIL ... SMTPUTF8
         C: MAIL FROM:<birrell@pa.example>
         C: RCPT TO:<jos\u{e9}@pa.example>
         S: 250 2.1.0 Sender OK
         S: 553 5.6.7 An address that is not ASCII needs MAIL ... SMTPUTF8
         C: RSET
         C: MAIL FROM:<jos\u{e9}@pa.example> SMTPUTF8
         C: RCPT TO:<ren\u{e9}@pa.example>
         C: DATA
         S: 250 2.0.0 OK
         S: 250 2.1.0 Sender OK
         S: 250 2.1.5 Recipient OK
         S: 354 End with <CRLF>.<CRLF>",
    );
    assert_eq!(client.envelopes()[0].trace.protocol(), "UTF8SMTPSA");
}

#[test]
fn wrong_parameters_are_told_apart() {
    play(
        &mut receiving(),
        "C: MAIL FROM:<a@b> FOO=1
         S: 555 5.5.4 A parameter is not known
         C: MAIL FROM:<a@b> SIZE=x
         S: 501 5.5.4 A parameter has a wrong value, or is given twice
         C: MAIL FROM:<a@b> SIZE=104857601
         S: 552 5.3.4 Message is larger than this server takes
         C: MAIL FROM:<a@@b>
         S: 501 5.1.7 Sender address cannot be read
         C: MAIL FROM:<a@b>
         S: 250 2.1.0 Sender OK
         C: RCPT TO:<a b@c>
         S: 501 5.1.3 Recipient address cannot be read
         C: RCPT TO:<a@b> NOTIFY=x
         S: 501 5.5.4 A parameter has a wrong value, or is given twice
         C: EHLO
         S: 501 5.5.4 Syntax: EHLO name-or-[address]",
    );
}

#[test]
fn a_new_hello_forgets_the_message() {
    let mut client = receiving();
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nHELO x\r\nDATA\r\n");
    assert_eq!(client.last_line(), "503 5.5.1 MAIL first");
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut client = receiving();
    let before = client.events.len();
    client.session.answer(grapevine_doors::smtp::Answer::Yes);
    client.drain();
    assert_eq!(client.events.len(), before);
}
