//! A shell for a POP3 session, without sockets: answers by rule, records what happened, and checks what must hold at every step.

use grapevine_doors::pop3::{
    Answer, Ask, Config, Entry, Extent, Flow, Limits, Listed, Output, Reason, Refusal, Session,
};
use grapevine_doors::{READ_BYTES, Tls};

use crate::script::Scripted;

/// What happened; neighbouring sends are one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(Vec<u8>),
    TlsStarted,
    Asked(Ask),
    Closed,
}

/// What the shell's store holds under a unique id, and how it gives it.
pub(crate) struct Stored {
    pub(crate) uidl: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) fails_after: Option<usize>,
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) events: Vec<Event>,
    pub(crate) most_held_bytes: usize,
    pub(crate) stored: Vec<Stored>,
    pub(crate) piece_bytes: usize,
    pub(crate) given_bytes: usize,
    tls: Tls,
    /// A good password, or a proof of one, was shown.
    proved: bool,
}

pub(crate) fn config(tls: Tls) -> Config {
    Config {
        hostname: "s1.example".into(),
        tls,
        scram: grapevine_model::ScramPolicy::Off,
        limits: Limits::default(),
    }
}

pub(crate) fn stored(uidl: &'static str, body: &[u8]) -> Stored {
    Stored {
        uidl,
        body: body.to_vec(),
        fails_after: None,
    }
}

impl Client {
    pub(crate) fn new(tls: Tls) -> Self {
        Self::with(
            tls,
            vec![
                stored("1.s1", b"A: 1\r\n\r\n.one\r\ntwo\r\n"),
                stored("2.s1", b"B: 2\r\n\r\nno end"),
                stored("3.s1", b""),
            ],
        )
    }

    pub(crate) fn with(tls: Tls, stored: Vec<Stored>) -> Self {
        Self::configured(config(tls), stored)
    }

    pub(crate) fn configured(config: Config, stored: Vec<Stored>) -> Self {
        let tls = config.tls;
        let session = Session::new(config);
        let mut client = Self {
            session,
            events: Vec::new(),
            most_held_bytes: 0,
            stored,
            piece_bytes: 1000,
            given_bytes: 0,
            tls,
            proved: false,
        };
        client.drain();
        client
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(READ_BYTES) {
            assert!(
                self.session.wants_bytes() || self.is_closed(),
                "a session at rest reads or is closed"
            );
            self.session.receive(piece);
            self.drain();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.events.last() == Some(&Event::Closed)
    }

    pub(crate) fn eof(&mut self) {
        self.session.eof();
        self.drain();
    }

    pub(crate) fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent_bytes()).into_owned()
    }

    pub(crate) fn sent_bytes(&self) -> Vec<u8> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::Sent(bytes) = event {
                    Some(bytes.as_slice())
                } else {
                    None
                }
            })
            .collect::<Vec<_>>()
            .concat()
    }

    pub(crate) fn last_line(&self) -> String {
        self.sent().lines().last().unwrap_or_default().to_owned()
    }

    pub(crate) fn asked(&self) -> Vec<&Ask> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::Asked(ask) = event {
                    Some(ask)
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn drain(&mut self) {
        self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
        while let Some(output) = self.session.poll() {
            assert!(!self.is_closed(), "nothing follows Close");
            match output {
                Output::Send(bytes) => self.record_sent(bytes),
                Output::StartTls => self.start_tls(),
                Output::Close => self.events.push(Event::Closed),
                Output::Ask(ask) => {
                    assert!(!self.session.wants_bytes(), "a question is open");
                    assert_eq!(
                        self.session.poll(),
                        None,
                        "nothing is done while a question is open"
                    );
                    self.answer(&ask);
                    // A body's outputs were taken on the way, so the question stands before them.
                    if !matches!(ask, Ask::Body { .. }) {
                        self.events.push(Event::Asked(ask));
                    }
                }
            }
        }
    }

    fn start_tls(&mut self) {
        assert_eq!(self.tls, Tls::Offered);
        self.events.push(Event::TlsStarted);
        self.session.receive(b"RSET\r\nQUIT\r\n");
        assert_eq!(self.session.poll(), None, "bytes in clear are not heard");
        self.tls = Tls::Active;
        self.session.tls_started();
    }

    fn answer(&mut self, ask: &Ask) {
        match ask {
            Ask::Authenticate(credentials) => {
                assert_eq!(self.tls, Tls::Active, "no password without TLS");
                self.proved |= matches!(credentials.password.expose(), "sesame" | "partly");
                let answer = match credentials.password.expose() {
                    "sesame" => Answer::Mailbox(
                        self.stored
                            .iter()
                            .map(|stored| Entry::new(stored.uidl, size(&stored.body)).unwrap())
                            .collect::<Vec<_>>()
                            .into(),
                    ),
                    "partly" => Answer::Mailbox(Listed {
                        entries: Vec::new(),
                        extent: Extent::Partial,
                    }),
                    "busy" => Answer::No(Refusal::new(Reason::InUse, "Mailbox is in use")),
                    "later" => Answer::No(Refusal::try_later("No inbox site can be reached")),
                    _ => Answer::No(Refusal::bad_credentials()),
                };
                self.session.answer(answer);
            }
            Ask::ScramBegin { .. } => {
                assert_eq!(self.tls, Tls::Active, "no login without TLS");
                self.session
                    .answer(Answer::Challenge(crate::scram::challenge()));
            }
            Ask::ScramFinish(proof) => {
                self.proved |= proof.proof == crate::scram::PROOF;
                let answer = if proof.proof == crate::scram::PROOF {
                    Answer::Proved {
                        signature: crate::scram::SIGNATURE,
                        listed: Listed::default(),
                    }
                } else {
                    Answer::No(Refusal::bad_credentials())
                };
                self.session.answer(answer);
            }
            Ask::Delete { uidls } => {
                assert!(self.proved, "nothing is deleted for who has not logged in");
                let failing = uidls.iter().any(|uidl| uidl == "2.s1");
                let answer = if failing {
                    Answer::No(Refusal::try_later("Some messages were not deleted"))
                } else {
                    Answer::Deleted
                };
                self.session.answer(answer);
            }
            Ask::Body { uidl, .. } => {
                assert!(self.proved, "nothing is read by who has not logged in");
                self.events.push(Event::Asked(Ask::Body {
                    uidl: uidl.clone(),
                    top_lines: None,
                }));
                self.give_body(uidl);
            }
        }
    }

    fn give_body(&mut self, uidl: &str) {
        let stored = self
            .stored
            .iter()
            .find(|stored| stored.uidl == uidl)
            .expect("only what was listed is asked for");
        let (body, fails_after) = (stored.body.clone(), stored.fails_after);
        let whole = fails_after.unwrap_or(body.len());
        self.given_bytes = 0;
        for piece in body[..whole].chunks(self.piece_bytes) {
            self.given_bytes += piece.len();
            let flow = self.session.body_chunk(piece);
            self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
            if flow == Flow::Enough {
                return;
            }
            while let Some(output) = self.session.poll() {
                let Output::Send(bytes) = output else {
                    panic!("{output:?} inside a body")
                };
                self.record_sent(bytes);
            }
        }
        match fails_after {
            Some(_) => self.session.body_failed(),
            None => self.session.body_end(),
        }
    }

    fn record_sent(&mut self, bytes: Vec<u8>) {
        assert!(!bytes.is_empty());
        match self.events.last_mut() {
            Some(Event::Sent(sent)) => sent.extend(bytes),
            _ => self.events.push(Event::Sent(bytes)),
        }
    }
}

fn size(body: &[u8]) -> u64 {
    let end = if body.is_empty() || body.ends_with(b"\r\n") {
        0
    } else {
        2
    };
    body.len() as u64 + end
}

impl Scripted for Client {
    fn say(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn heard(&self) -> String {
        self.sent()
    }
}

/// A session that has logged in.
pub(crate) fn logged_in(stored: Vec<Stored>) -> Client {
    let mut client = Client::with(Tls::Active, stored);
    client.feed(b"USER birrell@pa.example\r\nPASS sesame\r\n");
    assert!(client.last_line().starts_with("+OK "));
    client
}
