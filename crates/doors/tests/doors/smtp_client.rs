//! A shell for an SMTP session, without sockets: answers by rule, records what happened, and checks what must hold at every step.

use grapevine_doors::smtp::{
    Answer, Ask, Config, Envelope, Kind, Limits, Output, Refusal, Session,
};
use grapevine_doors::{READ_BYTES, Tls};

use crate::script::Scripted;

/// What happened, merged: neighbouring sends are one, pieces of a body are one, and a body that was given up is nothing but given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(String),
    TlsStarted,
    Asked(Ask),
    BodyStarted(Box<Envelope>),
    Body(Vec<u8>),
    BodyAborted,
    Closed,
}

pub(crate) type Rule = Box<dyn FnMut(&Ask) -> Answer>;

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) events: Vec<Event>,
    pub(crate) most_held_bytes: usize,
    kind: Kind,
    tls: Tls,
    rule: Rule,
    body: Option<u64>,
    permitted: usize,
}

pub(crate) fn config(kind: Kind, tls: Tls) -> Config {
    Config {
        kind,
        hostname: "s1.example".into(),
        client: "192.0.2.9".into(),
        tls,
        scram: grapevine_model::ScramPolicy::Off,
        limits: Limits::default(),
    }
}

/// The rule of most tests: what an address or a password begins with decides.
pub(crate) fn by_name(ask: &Ask) -> Answer {
    match ask {
        Ask::Authenticate(credentials) => match credentials.password.expose() {
            "sesame" => Answer::Yes,
            "later" => Answer::No(Refusal::auth_unavailable()),
            _ => Answer::No(Refusal::bad_credentials()),
        },
        Ask::ScramBegin { name } if name.starts_with("later") => {
            Answer::No(Refusal::auth_unavailable())
        }
        Ask::ScramBegin { .. } => Answer::Challenge(crate::scram::challenge()),
        Ask::ScramFinish(proof) if proof.proof == crate::scram::PROOF => Answer::Proved {
            signature: crate::scram::SIGNATURE,
        },
        Ask::ScramFinish(_) => Answer::No(Refusal::bad_credentials()),
        Ask::Sender(sender) => address(&sender.address, Refusal::not_your_address()),
        Ask::Recipient(recipient) => address(&recipient.address, Refusal::no_such_mailbox()),
        Ask::Accept { size_bytes: 13 } => Answer::No(Refusal::storage_full()),
        Ask::Accept { .. } => Answer::Accepted { id: "17.s1".into() },
    }
}

fn address(address: &str, no: Refusal) -> Answer {
    if address.starts_with("no") {
        Answer::No(no)
    } else if address.starts_with("later") {
        Answer::No(Refusal::try_later("Registry cannot be reached"))
    } else if address.starts_with("far") {
        Answer::No(Refusal::no_relay())
    } else {
        Answer::Yes
    }
}

impl Client {
    pub(crate) fn new(kind: Kind, tls: Tls) -> Self {
        Self::with(config(kind, tls), Box::new(by_name))
    }

    pub(crate) fn with(config: Config, rule: Rule) -> Self {
        let (kind, tls) = (config.kind, config.tls);
        let session = Session::new(config);
        let mut client = Self {
            session,
            events: Vec::new(),
            most_held_bytes: 0,
            kind,
            tls,
            rule,
            body: None,
            permitted: 0,
        };
        client.drain();
        client
    }

    /// As a shell does: reads only when it should.
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

    pub(crate) fn drain(&mut self) {
        self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
        while let Some(output) = self.session.poll() {
            assert!(!self.is_closed(), "nothing follows Close");
            self.check(&output);
            let answer = match &output {
                Output::Ask(ask) => Some((self.rule)(ask)),
                _ => None,
            };
            if let (Output::Ask(Ask::Recipient(_)), Some(Answer::Yes | Answer::Accepted { .. })) =
                (&output, &answer)
            {
                self.permitted += 1;
            }
            self.record(output);
            if let Some(answer) = answer {
                assert!(!self.session.wants_bytes(), "a question is open");
                assert_eq!(
                    self.session.poll(),
                    None,
                    "nothing is done while a question is open"
                );
                self.session.answer(answer);
            } else if self.events.last() == Some(&Event::TlsStarted) {
                assert!(!self.session.wants_bytes());
                self.session.receive(b"RSET\r\nQUIT\r\n");
                assert_eq!(self.session.poll(), None, "bytes in clear are not heard");
                self.tls = Tls::Active;
                self.session.tls_started();
            }
        }
    }

    pub(crate) fn eof(&mut self) {
        self.session.eof();
        self.drain();
    }

    pub(crate) fn sent(&self) -> String {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::Sent(text) = event {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect()
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

    pub(crate) fn bodies(&self) -> Vec<&[u8]> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::Body(bytes) = event {
                    Some(bytes.as_slice())
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn envelopes(&self) -> Vec<&Envelope> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::BodyStarted(envelope) = event {
                    Some(&**envelope)
                } else {
                    None
                }
            })
            .collect()
    }

    /// The last lines, without their ends.
    pub(crate) fn last_line(&self) -> String {
        self.sent().lines().last().unwrap_or_default().to_owned()
    }

    /// What holds for every output, whatever the client does.
    fn check(&mut self, output: &Output) {
        match output {
            Output::Send(bytes) => {
                assert!(bytes.ends_with(b"\r\n"));
                for line in bytes[..bytes.len() - 2].split(|byte| *byte == b'\n') {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    assert!(
                        line.len() <= 510 && line.iter().all(|byte| (0x20..0x7f).contains(byte)),
                        "{}",
                        line.escape_ascii()
                    );
                    assert!(
                        line.len() >= 4
                            && line[..3].iter().all(u8::is_ascii_digit)
                            && matches!(line[3], b' ' | b'-')
                    );
                }
            }
            Output::StartTls => assert_eq!(self.tls, Tls::Offered),
            Output::Ask(Ask::Authenticate(_) | Ask::ScramBegin { .. } | Ask::ScramFinish(_)) => {
                assert_eq!((self.tls, self.kind), (Tls::Active, Kind::Submission))
            }
            Output::Ask(Ask::Sender(_)) => self.permitted = 0,
            Output::Ask(Ask::Recipient(_)) => assert_eq!(self.body, None),
            Output::Ask(Ask::Accept { size_bytes }) => {
                assert_eq!(self.body.take(), Some(*size_bytes))
            }
            Output::BodyStart(envelope) => {
                assert!(self.body.replace(0).is_none(), "one body at a time");
                assert!(
                    !envelope.recipients.is_empty() && envelope.recipients.len() <= self.permitted
                );
                assert_eq!(
                    envelope.authenticated.is_some(),
                    self.kind == Kind::Submission
                );
                if self.kind == Kind::Submission {
                    assert_eq!(self.tls, Tls::Active);
                }
            }
            Output::BodyChunk(bytes) => {
                assert!(!bytes.is_empty());
                *self.body.as_mut().expect("a body is under way") += bytes.len() as u64;
            }
            Output::BodyAbort => assert!(self.body.take().is_some(), "a body was under way"),
            Output::Close => assert_eq!(self.body, None, "a body is given up before the end"),
        }
    }

    fn record(&mut self, output: Output) {
        match (output, self.events.last_mut()) {
            (Output::Send(bytes), Some(Event::Sent(text))) => {
                text.push_str(&String::from_utf8(bytes).unwrap())
            }
            (Output::Send(bytes), _) => self
                .events
                .push(Event::Sent(String::from_utf8(bytes).unwrap())),
            (Output::BodyChunk(bytes), Some(Event::Body(body))) => body.extend(bytes),
            (Output::BodyChunk(bytes), _) => {
                match self.events.iter_mut().rev().find_map(|event| match event {
                    Event::Body(body) => Some(Some(body)),
                    Event::BodyStarted(_) => Some(None),
                    _ => None,
                }) {
                    // Between the chunks of BDAT there are replies.
                    Some(Some(body)) => body.extend(bytes),
                    _ => self.events.push(Event::Body(bytes)),
                }
            }
            (Output::BodyAbort, _) => {
                let start = self
                    .events
                    .iter()
                    .rposition(|event| matches!(event, Event::BodyStarted(_)))
                    .unwrap();
                if let Some(body) = self.events[start..]
                    .iter()
                    .position(|event| matches!(event, Event::Body(_)))
                {
                    self.events.remove(start + body);
                    self.merge_sent(start + body);
                }
                self.events.push(Event::BodyAborted);
            }
            (Output::StartTls, _) => self.events.push(Event::TlsStarted),
            (Output::Ask(ask), _) => self.events.push(Event::Asked(ask)),
            (Output::BodyStart(envelope), _) => self.events.push(Event::BodyStarted(envelope)),
            (Output::Close, _) => self.events.push(Event::Closed),
        }
    }

    fn merge_sent(&mut self, at: usize) {
        if at > 0
            && let [Event::Sent(_), Event::Sent(_)] =
                &self.events[at - 1..(at + 1).min(self.events.len())]
            && let Event::Sent(second) = self.events.remove(at)
            && let Event::Sent(first) = &mut self.events[at - 1]
        {
            first.push_str(&second);
        }
    }
}

impl Scripted for Client {
    fn say(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn heard(&self) -> String {
        self.sent()
    }
}

/// A session that has logged in and said EHLO.
pub(crate) fn submission() -> Client {
    let mut client = Client::new(Kind::Submission, Tls::Active);
    client.feed(b"EHLO a.example\r\nAUTH PLAIN AGJpcnJlbGxAcGEuZXhhbXBsZQBzZXNhbWU=\r\n");
    assert_eq!(client.last_line(), "235 2.7.0 Authentication successful");
    client
}

/// A session of another system that has said EHLO.
pub(crate) fn receiving() -> Client {
    let mut client = Client::new(Kind::Receiving, Tls::Offered);
    client.feed(b"EHLO b.example\r\n");
    client
}
