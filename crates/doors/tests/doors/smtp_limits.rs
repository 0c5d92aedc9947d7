//! Limits, ends and bad input of SMTP.

use grapevine_doors::smtp::{
    AUTH_LINE_BYTES, Answer, Ask, COMMAND_LINE_BYTES, Config, Kind, Limits, Output, Session,
};
use grapevine_doors::{READ_BYTES, Tls};

use crate::smtp_client::{Client, Event, by_name, config, receiving, submission};

fn limited(limits: Limits) -> Client {
    let mut client = Client::with(
        Config {
            limits,
            ..config(Kind::Receiving, Tls::Offered)
        },
        Box::new(by_name),
    );
    client.feed(b"EHLO b.example\r\n");
    client
}

const ENVELOPE: &[u8] = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<needham@pa.example>\r\n";

#[test]
fn a_line_that_is_too_long_is_refused_once_and_dropped() {
    let mut client = receiving();
    let mut line = b"NOOP ".to_vec();
    line.resize(COMMAND_LINE_BYTES - 2, b'x');
    client.feed(&[&line[..], b"\r\n"].concat());
    assert_eq!(
        client.last_line(),
        "250 2.0.0 OK",
        "the longest line is taken"
    );
    line.resize(5 * COMMAND_LINE_BYTES, b'x');
    let before = client.sent().len();
    client.feed(&line);
    assert_eq!(
        &client.sent()[before..],
        "500 5.5.6 Line too long\r\n",
        "before its end comes"
    );
    client.feed(b"x\r\nNOOP\r\n");
    assert_eq!(
        &client.sent()[before..],
        "500 5.5.6 Line too long\r\n250 2.0.0 OK\r\n"
    );
}

#[test]
fn a_line_of_auth_may_be_longer() {
    let mut client = Client::new(Kind::Submission, Tls::Active);
    client.feed(b"EHLO a.example\r\n");
    let response = "A".repeat(AUTH_LINE_BYTES - 13);
    client.feed(format!("AUTH PLAIN {response}\r\n").as_bytes());
    assert_eq!(
        client.last_line(),
        "501 5.5.2 Authentication response cannot be read"
    );
    client.feed(format!("AUTH PLAIN A{response}\r\n").as_bytes());
    assert_eq!(client.last_line(), "500 5.5.6 Line too long");
    client.feed(b"AUTH PLAIN\r\n");
    client.feed(&vec![b'A'; AUTH_LINE_BYTES + 1]);
    assert_eq!(client.last_line(), "500 5.5.6 Line too long");
    client.feed(b"\r\nNOOP\r\n");
    assert_eq!(client.last_line(), "250 2.0.0 OK", "the exchange is over");
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    for line in [
        &b"NOOP \0\r\n"[..],
        b"NOOP \xff\xfe\r\n",
        b"NOOP\tx\r\n",
        b"\x16\x03\x01\x02\r\n",
        b"NOOP \x7f\r\n",
        b"NOOP \xc2\x85\r\n",
    ] {
        let mut client = receiving();
        client.feed(line);
        assert_eq!(
            client.last_line(),
            "500 5.5.2 A command is printable UTF-8 text"
        );
    }
}

#[test]
fn ten_errors_end_the_session() {
    let mut client = receiving();
    client.feed(b"FOO\r\n".repeat(9).as_slice());
    assert!(!client.is_closed());
    client.feed(b"FOO\r\nMAIL FROM:<a@b>\r\n");
    assert!(
        client
            .sent()
            .ends_with("500 5.5.1 Command not known\r\n421 4.7.0 Too many errors, closing\r\n")
    );
    assert!(client.is_closed() && client.asked().is_empty());
}

#[test]
fn a_stranger_who_tries_names_is_shown_out_and_a_sender_with_old_names_is_not() {
    let mut client = limited(Limits {
        refused_recipients: 3,
        ..Limits::default()
    });
    let message = "MAIL FROM:<a@b>\r\nRCPT TO:<no@x>\r\nRCPT TO:<no@y>\r\nRCPT TO:<later@x>\r\nRCPT TO:<c@x>\r\nDATA\r\nhello\r\n.\r\n";
    // A message that is taken makes up for what was refused; what is put off does not count.
    client.feed(message.repeat(4).as_bytes());
    assert!(!client.is_closed(), "{}", client.sent());
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<no@x>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@y>\r\nRCPT TO:<no@z>\r\nRCPT TO:<c@x>\r\n");
    assert_eq!(
        client.last_line(),
        "421 4.7.0 Too many recipients that are not here, closing"
    );
    assert!(client.is_closed());
}

#[test]
fn idling_strangers_are_shown_out_and_friends_are_not() {
    let mut stranger = receiving();
    stranger.feed(b"NOOP\r\n".repeat(300).as_slice());
    assert_eq!(
        stranger.last_line(),
        "421 4.7.0 Too many commands without a message, closing"
    );
    let mut friend = submission();
    friend.feed(b"NOOP\r\n".repeat(300).as_slice());
    assert!(!friend.is_closed());
}

#[test]
fn a_browser_is_shown_out_at_once() {
    let mut client = receiving();
    client.feed(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n");
    assert!(client.is_closed() && client.asked().is_empty());
}

#[test]
fn one_recipient_too_many_is_refused_and_the_others_stay() {
    let mut client = limited(Limits {
        recipients: 2,
        ..Limits::default()
    });
    client.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@x>\r\nRCPT TO:<no@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n.\r\n");
    assert!(client.sent().contains("452 4.5.3 Too many recipients"));
    let addresses: Vec<_> = client.envelopes()[0]
        .recipients
        .iter()
        .map(|to| to.address.clone())
        .collect();
    assert_eq!(addresses, ["a@x", "b@x"]);
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_end() {
    let mut client = limited(Limits {
        message_bytes: 10,
        ..Limits::default()
    });
    client.feed(&[ENVELOPE, b"DATA\r\n12345678\r\n.\r\n"].concat());
    assert_eq!(
        client.last_line(),
        "250 2.0.0 Accepted as 17.s1",
        "as long as the limit is well"
    );
    client.feed(&[ENVELOPE, b"DATA\r\n123456789\r\n.\r\nNOOP\r\n"].concat());
    assert!(
        client
            .sent()
            .ends_with("552 5.3.4 Message is larger than this server takes\r\n250 2.0.0 OK\r\n")
    );
    assert_eq!(
        client
            .events
            .iter()
            .filter(|event| **event == Event::BodyAborted)
            .count(),
        1
    );
}

#[test]
fn a_message_without_end_is_cut_off() {
    let mut client = limited(Limits {
        message_bytes: 10,
        ..Limits::default()
    });
    client.feed(&[ENVELOPE, b"DATA\r\n"].concat());
    for _ in 0..80 {
        client.feed(&[b'x'; 1024]);
    }
    assert_eq!(
        client.last_line(),
        "552 5.3.4 Message is larger than this server takes"
    );
    assert!(client.is_closed());
}

#[test]
fn a_chunk_over_the_limit_is_refused_before_it_comes() {
    let mut client = limited(Limits {
        message_bytes: 10,
        ..Limits::default()
    });
    client.feed(&[ENVELOPE, b"BDAT 8\r\n12345678BDAT 3 LAST\r\n123NOOP\r\n"].concat());
    assert!(client.sent().ends_with("8 octets received\r\n552 5.3.4 Message is larger than this server takes\r\n250 2.0.0 OK\r\n"));
    client.feed(&[ENVELOPE, b"BDAT 18446744073709551615 LAST\r\n"].concat());
    assert_eq!(
        client.last_line(),
        "552 5.3.4 Message is larger than this server takes"
    );
    assert!(client.is_closed(), "what would come is not worth reading");
}

#[test]
fn a_large_message_takes_bounded_memory() {
    let mut client = submission();
    client.feed(
        &[
            &ENVELOPE[..0],
            b"MAIL FROM:<birrell@pa.example>\r\nRCPT TO:<needham@pa.example>\r\nDATA\r\n",
        ]
        .concat(),
    );
    let line = [&[b'x'; 76][..], b"\r\n"].concat().repeat(READ_BYTES / 78);
    let mut most = 0;
    for _ in 0..200 {
        client.session.receive(&line);
        most = most.max(client.session.held_bytes());
        while client.session.poll().is_some() {}
    }
    assert!(most <= 2 * READ_BYTES, "{most}");
    client.session.receive(b".\r\n");
    let size_bytes = 200 * line.len() as u64;
    assert_eq!(
        client.session.poll(),
        Some(Output::Ask(Ask::Accept { size_bytes }))
    );
}

#[test]
fn a_flood_of_pipelined_commands_takes_bounded_memory() {
    let mut session = Session::new(Config {
        limits: Limits {
            idle_commands: u32::MAX,
            ..Limits::default()
        },
        ..config(Kind::Receiving, Tls::Offered)
    });
    while session.poll().is_some() {}
    let flood = b"EHLO b\r\n".repeat(READ_BYTES / 8);
    session.receive(&flood);
    assert!(
        session.held_bytes() <= 3 * READ_BYTES,
        "{}",
        session.held_bytes()
    );
    let mut replies = 0;
    while let Some(output) = session.poll() {
        let Output::Send(bytes) = output else {
            panic!("{output:?}")
        };
        assert!(session.held_bytes() <= 3 * READ_BYTES);
        replies += String::from_utf8(bytes)
            .unwrap()
            .matches("250 HELP")
            .count();
    }
    assert_eq!(replies, READ_BYTES / 8, "all of them are answered");
    assert!(session.wants_bytes());
}

#[test]
fn a_shell_that_reads_on_during_a_question_is_stopped() {
    let mut session = Session::new(config(Kind::Receiving, Tls::Offered));
    session.receive(b"EHLO b\r\nMAIL FROM:<a@b>\r\n");
    while session.poll().is_some() {}
    for _ in 0..4 {
        assert!(!session.wants_bytes());
        session.receive(&vec![b'x'; READ_BYTES]);
        assert!(session.held_bytes() <= 3 * READ_BYTES);
    }
    let mut last = None;
    while let Some(output) = session.poll() {
        last = Some(output);
    }
    assert_eq!(last, Some(Output::Close));
    session.answer(Answer::Yes);
    assert_eq!(session.poll(), None);
}

#[test]
fn silence_ends_the_session_and_the_body() {
    let mut client = receiving();
    let idle_ms = client.session.silence_ms();
    client.feed(&[ENVELOPE, b"DATA\r\nhalf"].concat());
    assert!(client.session.silence_ms() < idle_ms);
    client.session.timed_out();
    client.drain();
    assert_eq!(client.last_line(), "421 4.4.2 Silent for too long, closing");
    assert!(client.is_closed() && client.events.contains(&Event::BodyAborted));
}

#[test]
fn the_end_of_input_ends_the_body_and_the_session() {
    let mut client = receiving();
    client.feed(&[ENVELOPE, b"DATA\r\nhalf\r\n."].concat());
    client.eof();
    assert!(client.is_closed() && client.events.contains(&Event::BodyAborted));
    let mut client = receiving();
    client.feed(&[ENVELOPE, b"BDAT 4\r\nhalf"].concat());
    client.eof();
    assert!(client.is_closed() && client.events.contains(&Event::BodyAborted));
}

#[test]
fn what_came_before_the_end_of_input_is_worked_on() {
    let mut session = Session::new(config(Kind::Receiving, Tls::Offered));
    session.receive(&[b"EHLO b\r\n", ENVELOPE, b"DATA\r\nx\r\n.\r\nQUIT\r\n"].concat());
    session.eof();
    let mut accepted = false;
    let mut last = None;
    while let Some(output) = session.poll() {
        match &output {
            Output::Ask(ask) => {
                accepted |= *ask == Ask::Accept { size_bytes: 3 };
                session.answer(Answer::Yes);
            }
            _ => last = Some(output),
        }
    }
    assert!(accepted);
    assert_eq!(last, Some(Output::Close));
}

#[test]
fn a_shutdown_waits_for_the_body_and_its_answer() {
    let mut client = receiving();
    client.feed(&[ENVELOPE, b"DATA\r\nhalf"].concat());
    client.session.shut_down();
    client.drain();
    assert!(!client.is_closed() && client.session.wants_bytes());
    client.feed(b"\r\n.\r\nNOOP\r\n");
    assert!(client.sent().ends_with("250 2.0.0 Accepted as 17.s1\r\n421 4.3.2 Server is shutting down, try again or at another server\r\n"));
    assert!(client.is_closed());
}

#[test]
fn after_the_end_nothing_is_heard() {
    let mut client = receiving();
    client.feed(b"QUIT\r\nNOOP\r\n");
    client.session.receive(b"NOOP\r\n");
    client.session.timed_out();
    client.session.shut_down();
    client.session.answer(Answer::Yes);
    client.session.eof();
    assert_eq!(client.session.poll(), None);
    assert!(!client.session.wants_bytes());
    assert_eq!(client.session.held_bytes(), 0);
}

#[test]
fn an_answer_of_the_shell_cannot_forge_a_reply() {
    let rule = |ask: &Ask| match ask {
        Ask::Accept { .. } => Answer::Accepted {
            id: "1\r\n250 2.0.0 forged\r\n".into(),
        },
        _ => Answer::Yes,
    };
    let mut client = Client::with(config(Kind::Receiving, Tls::Offered), Box::new(rule));
    client.feed(&[b"EHLO b\r\n", ENVELOPE, b"DATA\r\n.\r\n"].concat());
    assert_eq!(
        client.last_line(),
        "250 2.0.0 Accepted as 1??250 2.0.0 forged??"
    );
}
