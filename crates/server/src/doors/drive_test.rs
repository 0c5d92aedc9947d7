//! The driver's time limits, on a clock that jumps: no socket, no sleeping.

use std::time::Duration;

use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::{Tls, pop3};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::drive::{Broken, Dialogue, Outcome, Pace, Step, drive};

/// A session that answers nothing by itself: what the driver does with time is seen without a server.
struct Plain {
    session: pop3::Session,
    mailbox_open: bool,
}

impl Plain {
    fn new() -> Self {
        Self {
            session: pop3::Session::new(pop3::Config {
                hostname: "s1.example".into(),
                tls: Tls::Active,
                scram: grapevine_model::ScramPolicy::Off,
                limits: pop3::Limits::default(),
            }),
            mailbox_open: false,
        }
    }
}

impl Dialogue for Plain {
    fn poll(&mut self) -> Option<Step> {
        Some(match self.session.poll()? {
            pop3::Output::Send(bytes) => Step::Send(bytes),
            pop3::Output::Ask(_) => Step::Work,
            pop3::Output::StartTls => Step::StartTls,
            pop3::Output::Close => Step::Close,
        })
    }
    async fn work(&mut self) {
        // A slow server: the client's silence is not counted meanwhile.
        tokio::time::sleep(Duration::from_secs(90)).await;
        self.mailbox_open = true;
        self.session
            .answer(pop3::Answer::Mailbox(Vec::new().into()));
    }
    fn wants_bytes(&self) -> bool {
        self.session.wants_bytes()
    }
    fn receive(&mut self, bytes: &[u8]) {
        self.session.receive(bytes);
    }
    fn eof(&mut self) {
        self.session.eof();
    }
    fn timed_out(&mut self) {
        self.session.timed_out();
    }
    fn shut_down(&mut self) {
        self.session.shut_down();
    }
    fn silence(&self) -> Duration {
        Duration::from_millis(self.session.silence_ms())
    }
    fn tls_started(&mut self) {
        self.session.tls_started();
    }
    fn channel_known(&mut self, channel: Channel) {
        self.session.channel_known(channel);
    }
    fn is_stranger(&self) -> bool {
        !self.mailbox_open
    }
}

/// Runs a session against a script; gives what the client read, how long it took, and how it ended.
async fn run(
    script: impl AsyncFnOnce(&mut DuplexStream),
) -> (String, Duration, Result<Outcome, Broken>) {
    let (mut server, mut client) = duplex(64 * 1024);
    let started = Instant::now();
    let shutdown = CancellationToken::new();
    let driven = tokio::spawn(async move {
        let pace = Pace {
            write: Duration::from_secs(180),
            stranger_until: started + Duration::from_secs(300),
            until: started + Duration::from_secs(3600),
            shutdown: &shutdown,
        };
        let outcome = drive(&mut server, &mut Plain::new(), &pace).await;
        (outcome, started.elapsed())
    });
    script(&mut client).await;
    let mut read = String::new();
    client.read_to_string(&mut read).await.unwrap();
    let (outcome, took) = driven.await.unwrap();
    (read, took, outcome)
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_told_and_closed() {
    let (read, took, outcome) = run(async |_| {}).await;
    assert!(read.contains("-ERR [SYS/TEMP] Silent"), "{read}");
    assert_eq!(took.as_secs(), 60);
    assert!(matches!(outcome, Ok(Outcome::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_bytes_without_logging_in_is_closed_after_five_minutes() {
    let (read, took, _) = run(async |client| {
        for _ in 0..20 {
            // The server may have closed already.
            let _ = client.write_all(b"X").await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    })
    .await;
    assert!(read.contains("Silent"), "{read}");
    assert_eq!(took.as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_answer_is_not_the_clients() {
    let (read, took, _) = run(async |client| {
        client.write_all(b"USER a\r\nPASS b\r\n").await.unwrap();
    })
    .await;
    assert!(read.contains("+OK 0 messages"), "{read}");
    // 90 s for the answer, then ten minutes of silence.
    assert_eq!(took.as_secs(), 690);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_an_end_however_busy_it_is() {
    let (read, took, _) = run(async |client| {
        client.write_all(b"USER a\r\nPASS b\r\n").await.unwrap();
        for _ in 0..100 {
            let _ = client.write_all(b"NOOP\r\n").await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    assert!(read.ends_with("closing\r\n"), "{read}");
    assert_eq!(took.as_secs(), 3600);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_makes_no_progress_ends_the_connection() {
    let (mut server, _client) = duplex(64);
    let started = Instant::now();
    let pace = Pace {
        write: Duration::from_secs(180),
        stranger_until: started + Duration::from_secs(300),
        until: started + Duration::from_secs(3600),
        shutdown: &CancellationToken::new(),
    };
    let mut session = Plain::new();
    session.receive(&b"CAPA\r\n".repeat(10));
    let outcome = drive(&mut server, &mut session, &pace).await;
    assert!(matches!(outcome, Err(Broken::NotReading)), "{outcome:?}");
    assert_eq!(started.elapsed().as_secs(), 180);
}
