//! The doors over real sockets, with a fake server behind them.

use std::time::Duration;

use grapevine_model::{Door, Hlc, MessageId, Notify, OriginId, Speaker};
use tokio::io::AsyncWriteExt as _;

use super::client::{Doors, plain, wait_until};
use super::fake::PASSWORD;
use super::{DoorLimits, tls};

fn id(time: u64) -> MessageId {
    MessageId {
        time: Hlc(time),
        origin: OriginId(1),
    }
}

/// The message without the field that the door put before it.
fn without_trace(body: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(body.get(..400.min(body.len())).unwrap());
    assert!(text.starts_with("Received: from "), "{text}");
    let mut at = 0;
    for _ in 0..3 {
        at += body[at..]
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .unwrap()
            + 2;
    }
    &body[at..]
}

#[tokio::test]
async fn a_message_submitted_after_starttls_reaches_the_core_with_a_trace_field() {
    let doors = Doors::open().await;
    let mut client = doors.connect(Door::Submission).await;
    client.expect("220 s1.example").await;
    client.ask("EHLO client.example", "250 HELP").await;
    client
        .ask(&plain("birrell@pa.example", PASSWORD), "538 ")
        .await;
    client.ask("STARTTLS", "220 ").await;
    let mut client = doors.start_tls(client).await;
    client.ask("EHLO client.example", "250 HELP").await;
    client
        .ask(&plain("birrell@pa.example", PASSWORD), "235 ")
        .await;
    client
        .send(
            "MAIL FROM:<birrell@pa.example> RET=FULL ENVID=a+2Bb\r\n\
             RCPT TO:<needham@pa.example> NOTIFY=NEVER ORCPT=rfc822;n+2Bx@y\r\n\
             RCPT TO:<Needham@PA.example>\r\nDATA\r\n",
        )
        .await;
    for code in ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354 "] {
        client.expect(code).await;
    }
    client.send("Subject: x\r\n\r\n..dots\r\n\r\n.\r\n").await;
    let accepted = client.expect("250 2.0.0 Accepted as ").await;
    client.ask("QUIT", "221 ").await;

    let messages = doors.fake.messages();
    let [message] = messages.as_slice() else {
        panic!("{} messages", messages.len());
    };
    let submission = &message.submission;
    assert_eq!(
        without_trace(&message.body),
        b"Subject: x\r\n\r\n.dots\r\n\r\n"
    );
    let trace = String::from_utf8_lossy(&message.body);
    let id = submission.id.unwrap().to_string();
    assert!(accepted.ends_with(&id), "{accepted}");
    assert!(
        trace.contains(&format!("by s1.example with ESMTPSA id {id};")),
        "{trace}"
    );
    assert!(
        trace.contains("from client.example ([127.0.0.1])"),
        "{trace}"
    );
    assert!(
        matches!(&submission.speaker, Speaker::Individual { name, .. } if name.folded() == "birrell")
    );
    let envelope = &submission.envelope;
    assert_eq!(envelope.envelope_id.as_deref(), Some("a+2Bb"));
    let [recipient] = envelope.recipients.as_slice() else {
        panic!("given twice, once in the envelope: {envelope:?}");
    };
    assert_eq!(recipient.original.as_deref(), Some("rfc822;n+2Bx@y"));
    assert_ne!(recipient.notify, Notify::default());
}

#[tokio::test]
async fn what_is_sent_ahead_of_the_handshake_is_never_acted_on() {
    let doors = Doors::open().await;
    let mut client = doors.connect(Door::Submission).await;
    client.expect("220 ").await;
    client.ask("EHLO x", "250 HELP").await;
    client
        .send("STARTTLS\r\nEHLO evil\r\nRSET\r\nNOOP\r\n")
        .await;
    client.expect("220 ").await;
    let mut client = doors.start_tls(client).await;
    // Its answer is the first that comes.
    client
        .ask("MAIL FROM:<birrell@pa.example>", "503 5.5.1 EHLO first")
        .await;

    let mut client = doors.connect(Door::Pop3).await;
    client.expect("+OK ").await;
    client.send("STLS\r\nCAPA\r\nUSER evil\r\n").await;
    client.expect("+OK ").await;
    let mut client = doors.start_tls(client).await;
    client.ask("PASS x", "-ERR USER first").await;
}

#[tokio::test]
async fn recipients_are_answered_one_by_one_and_strangers_are_not_relayed_for() {
    let doors = Doors::open().await;
    let mut client = doors.connect(Door::Smtp).await;
    client.expect("220 ").await;
    client.ask("EHLO there.example", "250 HELP").await;
    client
        .ask(&plain("birrell@pa.example", PASSWORD), "502 ")
        .await;
    client
        .ask("MAIL FROM:<\"a b\"@there.example>", "553 5.1.7")
        .await;
    client
        .ask("MAIL FROM:<anybody@there.example>", "250 ")
        .await;
    for (recipient, code) in [
        ("nobody@pa.example", "550 5.1.1"),
        ("needham@pa.example", "250 2.1.5"),
        ("needham@elsewhere.example", "550 5.7.1"),
        ("posters-only@pa.example", "550 5.7.1 members only"),
        ("away@pa.example", "451 4.4.3"),
        ("full@pa.example", "452 4.2.2"),
        ("\"x y\"@pa.example", "553 5.1.3"),
        ("postmaster", "550 5.7.1"),
    ] {
        client.ask(&format!("RCPT TO:<{recipient}>"), code).await;
    }
    client.ask("DATA", "354 ").await;
    client.ask("\r\n.", "250 ").await;
    client.ask("MAIL FROM:<>", "250 ").await;
    let messages = doors.fake.messages();
    let envelope = &messages[0].submission.envelope;
    assert_eq!(envelope.recipients.len(), 1);
    assert_eq!(messages[0].submission.speaker, Speaker::Anonymous);
    assert_eq!(without_trace(&messages[0].body), b"\r\n");
}

#[tokio::test]
async fn the_sender_of_a_submission_is_who_has_logged_in() {
    let doors = Doors::open().await;
    let mut client = doors.submission().await;
    client
        .ask("MAIL FROM:<needham@pa.example>", "553 5.7.1")
        .await;
    client.ask("MAIL FROM:<>", "550 5.7.1").await;
    client.ask("MAIL FROM:<birrell@pa.example>", "250 ").await;
}

#[tokio::test]
async fn a_large_message_of_any_bytes_arrives_as_it_was_and_leaves_no_file() {
    let doors = Doors::open().await;
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut client = doors.submission().await;
    client
        .ask("MAIL FROM:<birrell@pa.example> BODY=8BITMIME", "250 ")
        .await;
    client.ask("RCPT TO:<needham@pa.example>", "250 ").await;
    for chunk in body.chunks(1_000_000) {
        client.send(format!("BDAT {}\r\n", chunk.len())).await;
        client.send(chunk).await;
        client.expect("250 ").await;
    }
    client.ask("BDAT 0 LAST", "250 2.0.0 Accepted").await;
    assert!(
        without_trace(&doors.fake.messages()[0].body) == body,
        "other bytes"
    );
    assert_eq!(doors.fake.spooled(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_in_a_body_leaves_nothing() {
    let doors = Doors::open().await;
    let mut client = doors.submission().await;
    client.ask("MAIL FROM:<birrell@pa.example>", "250 ").await;
    client.ask("RCPT TO:<needham@pa.example>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.send(b"0123456789abcde\r\n".repeat(20_000)).await;
    wait_until(|| doors.fake.spooled() == 1).await;
    drop(client);
    doors.wait_for_connections(0).await;
    wait_until(|| doors.fake.spooled() == 0).await;
    assert!(doors.fake.messages().is_empty());
}

#[tokio::test]
async fn messages_come_out_byte_for_byte_and_go_at_quit_only() {
    let doors = Doors::open().await;
    let odd: Vec<u8> = b"Subject: \xff\0\r\n\r\n.\r\n..\r\nbare \n and \r, no end".to_vec();
    let long = b"x".repeat(300_000);
    doors.fake.put(id(1), odd.clone());
    doors.fake.put(id(2), long.clone());
    doors.fake.put(id(3), "");

    let mut client = doors.inbox().await;
    client
        .ask("STAT", &format!("+OK 3 {}", odd.len() + long.len()))
        .await;
    client.ask("UIDL 2", &format!("+OK 2 {}", id(2))).await;
    for (number, body) in [(1, odd.as_slice()), (2, long.as_slice())] {
        client.ask(&format!("RETR {number}"), "+OK ").await;
        let mut sent = client.until(b"\r\n.\r\n").await;
        if number == 1 {
            // Stuffing, as the RFC has it.
            let text = String::from_utf8_lossy(&sent).replace("\r\n..", "\r\n.");
            assert_eq!(text, String::from_utf8_lossy(body));
            continue;
        }
        sent.truncate(body.len());
        assert!(sent == body, "message {number}");
    }
    client.ask("RETR 3", "+OK 0 octets").await;
    client.expect(".").await;
    client.ask("TOP 1 1", "+OK").await;
    assert_eq!(
        client.until(b"\r\n.\r\n").await,
        b"Subject: \xff\0\r\n\r\n.."
    );
    client.ask("DELE 1", "+OK").await;
    drop(client);
    doors.wait_for_connections(0).await;
    assert_eq!(doors.fake.messages().len(), 3, "no QUIT, no deletion");

    let mut client = doors.inbox().await;
    client.send("DELE 1\r\nDELE 3\r\nQUIT\r\n").await;
    client.rest().await;
    assert_eq!(doors.fake.messages().len(), 1);
}

#[tokio::test]
async fn a_message_that_breaks_off_is_not_ended_as_if_it_were_whole() {
    let doors = Doors::open().await;
    doors.fake.put_broken(id(1), b"line\r\n".repeat(50_000));
    let mut client = doors.inbox().await;
    client.ask("RETR 1", "+OK ").await;
    let sent = client.rest().await;
    assert!(!sent.windows(5).any(|window| window == b"\r\n.\r\n"));
    assert_eq!(sent.len(), 150_000);
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_are_answered_alike() {
    let doors = Doors::open().await;
    let mut answers = Vec::new();
    for (name, password) in [
        ("birrell@pa.example", "wrong"),
        ("nobody@pa.example", PASSWORD),
        ("no name", PASSWORD),
    ] {
        let mut client = doors.connect_tls(Door::Submissions).await;
        client.expect("220 ").await;
        client.ask("EHLO x", "250 HELP").await;
        let smtp = client.ask(&plain(name, password), "535 5.7.8").await;
        let mut client = doors.connect_tls(Door::Pop3s).await;
        client.expect("+OK ").await;
        client.ask(&format!("USER {name}"), "+OK").await;
        let pop3 = client.ask(&format!("PASS {password}"), "-ERR [AUTH]").await;
        answers.push((smtp, pop3));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    let mut client = doors.connect_tls(Door::Pop3s).await;
    client.expect("+OK ").await;
    client.ask("USER away@pa.example", "+OK").await;
    client.ask("PASS x", "-ERR [SYS/TEMP]").await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_without_end() {
    let doors = Doors::open_with(DoorLimits {
        ask: Duration::from_millis(50),
        ..DoorLimits::default()
    })
    .await;
    let mut client = doors.connect(Door::Smtp).await;
    client.expect("220 ").await;
    client.ask("HELO x", "250 ").await;
    client.ask("MAIL FROM:<a@b.example>", "250 ").await;
    client.ask("RCPT TO:<never@pa.example>", "451 4.4.3").await;
    client.ask("RCPT TO:<needham@pa.example>", "250 ").await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_let_go() {
    let doors = Doors::open_with(DoorLimits {
        write: Duration::from_millis(200),
        ..DoorLimits::default()
    })
    .await;
    doors.fake.put(id(1), vec![b'x'; 64 * 1024 * 1024]);
    let mut client = doors.inbox().await;
    client.send("RETR 1\r\n").await;
    // It is there all the time, and takes nothing.
    doors.wait_for_connections(0).await;
    drop(client);
}

#[tokio::test]
async fn a_stop_lets_a_message_under_way_come_to_its_end() {
    let doors = Doors::open().await;
    let mut sending = doors.submission().await;
    sending.ask("MAIL FROM:<birrell@pa.example>", "250 ").await;
    sending.ask("RCPT TO:<needham@pa.example>", "250 ").await;
    sending.ask("DATA", "354 ").await;
    let mut idle = doors.connect(Door::Smtp).await;
    idle.expect("220 ").await;
    let idle_inbox = doors.inbox().await;

    doors.shutdown.cancel();
    idle.expect("421 4.3.2").await;
    assert!(
        idle_inbox
            .rest()
            .await
            .starts_with(b"-ERR [SYS/TEMP] Server is shutting down")
    );
    sending
        .ask("Subject: last\r\n\r\nx\r\n.", "250 2.0.0")
        .await;
    sending.expect("421 4.3.2").await;
    drop((idle, sending));
    doors.wait_until_closed().await;
    assert_eq!(doors.fake.messages().len(), 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client_that_never_ends() {
    let doors = Doors::open_with(DoorLimits {
        grace: Duration::from_millis(100),
        ..DoorLimits::default()
    })
    .await;
    let mut sending = doors.submission().await;
    sending.ask("MAIL FROM:<birrell@pa.example>", "250 ").await;
    sending.ask("RCPT TO:<needham@pa.example>", "250 ").await;
    sending.ask("DATA", "354 ").await;
    doors.shutdown.cancel();
    doors.wait_until_closed().await;
    assert!(doors.fake.messages().is_empty());
    drop(sending);
}

#[tokio::test]
async fn the_hundred_and_first_connection_of_a_client_is_turned_away() {
    let doors = Doors::open().await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut client = doors.connect(Door::Smtp).await;
        client.expect("220 ").await;
        held.push(client);
    }
    let mut client = doors.connect(Door::Smtp).await;
    client
        .expect("421 s1.example 4.7.0 Too many connections")
        .await;
    assert!(client.rest().await.is_empty(), "and closed");
    // Another door has places of its own.
    doors.connect(Door::Pop3).await.expect("+OK ").await;
    doors.wait_for_connections(100).await;
    held.pop();
    doors.wait_for_connections(99).await;
    doors.connect(Door::Smtp).await.expect("220 ").await;
}

#[tokio::test]
async fn garbage_at_every_door_does_no_harm() {
    let doors = Doors::open().await;
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend_from_slice(&noise[..500]);
    for door in [
        Door::Smtp,
        Door::Submission,
        Door::Submissions,
        Door::Pop3,
        Door::Pop3s,
    ] {
        for bytes in [
            noise.as_slice(),
            hello.as_slice(),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"\0",
            b"",
        ] {
            let mut client = doors.connect(door).await;
            // The door may close while we talk.
            let _ = client.stream.write_all(bytes).await;
            let _ = client.stream.shutdown().await;
            client.rest().await;
        }
    }
    doors.wait_for_connections(0).await;
    doors.submission().await.ask("NOOP", "250 ").await;
    doors.inbox().await.ask("NOOP", "+OK").await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_seen_by_the_next_connection() {
    let doors = Doors::open().await;
    let mut before = doors.connect_tls(Door::Submissions).await;
    before.expect("220 ").await;
    let first = before.stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let made = tls::self_made(doors.fake.dir(), doors.fake.dir(), &[]).unwrap();
    doors
        .tls
        .replace(tls::load(&made.chain, &made.key).unwrap());
    let mut after = doors.connect_tls(Door::Submissions).await;
    after.expect("220 ").await;
    let second = after.stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(first, second);
    before.ask("NOOP", "250 ").await;
}
