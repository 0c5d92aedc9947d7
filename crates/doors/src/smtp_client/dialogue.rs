//! The conversation with one server: greeting, TLS, login, then one message after another.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grapevine_model::Secret;
use zeroize::Zeroizing;

use super::content::LineEnds;
use super::extensions::Extensions;
use super::limits::{
    BODY_SILENCE_MS, COMMAND_SILENCE_MS, DATA_SILENCE_MS, FINAL_SILENCE_MS, QUIT_SILENCE_MS,
};
use super::mail::{Mail, Outcome};
use super::reply::{Class, Read, Reader, Said};
use crate::dot::DotEncoder;
use crate::inbox::{Inbox, Residue};

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP: one answer to a message.
    Smtp,
    /// LMTP: after a message, an answer for each recipient.
    Lmtp,
}

/// Whether TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// No; or it is on from the first byte.
    Never,
    /// Where it is offered.
    IfOffered,
    /// Or nothing is handed over.
    Required,
}

/// What a conversation starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which protocol.
    pub protocol: Protocol,
    /// What this server calls itself.
    pub hostname: String,
    /// What the other is called in explanations.
    pub server: String,
    /// Whether TLS is asked for.
    pub starttls: StartTls,
    /// Whether TLS is on from the first byte.
    pub tls: bool,
    /// With which name and password.
    pub login: Option<(String, Secret)>,
}

/// What the shell must do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Do the TLS handshake as its client, then [`Client::tls_started`]; bytes that were read and not handed in are thrown away.
    StartTls,
    /// A message may be begun, or the conversation ended with [`Client::quit`].
    Ready,
    /// The next piece of the body, with [`Client::body`] or [`Client::body_end`].
    BodyWanted,
    /// What became of each recipient of the message, in order.
    Done(Vec<Outcome>),
    /// It came to nothing, and why; [`Output::Close`] follows.
    Failed(Failure),
    /// Write what is to be written, and close. Nothing follows.
    Close,
}

/// Why a conversation came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What can be done about it.
    pub fault: Fault,
    /// For a person.
    pub why: String,
    /// A message was under way, and no recipient had an answer yet.
    pub undecided: bool,
    /// All of the message had been said: it may have been taken.
    pub said_all: bool,
}

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another machine, or the same later, may be better.
    Server,
    /// No TLS, and the route requires it.
    Tls,
    /// The name or password is not taken: a person must act.
    Login,
}

/// A reply that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Plain,
    LoginName,
    LoginPassword,
    LoginEnd,
    Mail,
    Rcpt(usize),
    Data,
    /// After the final dot, for these recipients.
    Final(Whose),
    Rset,
    Quit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    All,
    One(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Replies are awaited.
    Talking,
    Handshake,
    Ready,
    Body,
    Closed,
}

/// The message under way.
struct Transaction {
    mail: Mail,
    outcomes: Vec<Option<Outcome>>,
    accepted: Vec<usize>,
    encoder: DotEncoder,
    ends: LineEnds,
}

/// One conversation.
pub struct Client {
    config: Config,
    phase: Phase,
    offers: Extensions,
    awaited: VecDeque<Expect>,
    transaction: Option<Transaction>,
    outbox: VecDeque<Output>,
    reader: Reader,
    inbox: Inbox,
}

impl Client {
    /// A conversation; the server speaks first.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Talking,
            offers: Extensions::default(),
            awaited: VecDeque::from([Expect::Greeting]),
            transaction: None,
            outbox: VecDeque::new(),
            reader: Reader::default(),
            inbox: Inbox::default(),
        }
    }

    /// The next thing to do; `None` until something is handed in.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Hands in bytes from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Handshake | Phase::Closed) {
            return;
        }
        self.inbox.append(bytes);
        while !matches!(self.phase, Phase::Handshake | Phase::Closed) {
            let read = self.reader.read(self.inbox.as_slice());
            match read {
                Read::Incomplete => break,
                Read::Line { taken } => self.inbox.consume(taken, Residue::Keep),
                Read::Whole { taken, said, lines } => {
                    self.inbox.consume(taken, Residue::Keep);
                    self.said(&said, &lines);
                }
                Read::Garbage(why) => {
                    self.fail(Fault::Server, format!("{} sent {why}", self.config.server));
                }
            }
        }
    }

    /// The server sends no more.
    pub fn eof(&mut self) {
        let why = format!("{} closed the connection", self.config.server);
        self.broken(why);
    }

    /// The server was silent for [`Client::silence_ms`].
    pub fn timed_out(&mut self) {
        let why = format!("{} was silent for too long", self.config.server);
        self.broken(why);
    }

    /// The connection broke, and why.
    pub fn broken(&mut self, why: String) {
        if matches!(self.awaited.front(), Some(Expect::Quit)) {
            self.close();
        }
        self.fail(Fault::Server, why);
    }

    /// The handshake is done: the conversation begins again (RFC 3207 4.2).
    pub fn tls_started(&mut self) {
        if self.phase == Phase::Handshake {
            self.config.tls = true;
            self.phase = Phase::Talking;
            self.offers = Extensions::default();
            self.hello();
        }
    }

    /// How long the server may be silent now, in milliseconds; for a write, how long it may take nothing.
    pub fn silence_ms(&self) -> u64 {
        match (self.phase, self.awaited.front()) {
            (Phase::Body, _) => BODY_SILENCE_MS,
            (_, Some(Expect::Final(_))) => FINAL_SILENCE_MS,
            (_, Some(Expect::Data)) => DATA_SILENCE_MS,
            (_, Some(Expect::Quit)) => QUIT_SILENCE_MS,
            _ => COMMAND_SILENCE_MS,
        }
    }

    /// Whether a message is under way.
    pub fn is_busy(&self) -> bool {
        self.transaction.is_some()
    }

    /// Begins a message; only after [`Output::Ready`].
    pub fn begin(&mut self, mail: Mail) {
        if self.phase != Phase::Ready {
            let why = "this server began a message at the wrong moment".to_owned();
            let later = Outcome::Later(why);
            let outcomes = vec![later; mail.recipients.len()];
            self.outbox.push_back(Output::Done(outcomes));
            return;
        }
        if let Some(obstacle) = mail.obstacle(&self.config.server, &self.offers) {
            let outcomes = vec![obstacle; mail.recipients.len()];
            self.outbox.push_back(Output::Done(outcomes));
            self.outbox.push_back(Output::Ready);
            return;
        }
        self.phase = Phase::Talking;
        let mut commands = mail.mail_command(&self.offers);
        self.awaited.push_back(Expect::Mail);
        if self.offers.pipelining {
            for (at, rcpt) in mail.recipients.iter().enumerate() {
                commands.push_str(&rcpt.command(&self.offers));
                self.awaited.push_back(Expect::Rcpt(at));
            }
        }
        self.transaction = Some(Transaction {
            outcomes: vec![None; mail.recipients.len()],
            mail,
            accepted: Vec::new(),
            encoder: DotEncoder::default(),
            ends: LineEnds::default(),
        });
        self.send(commands.as_bytes());
    }

    /// A piece of the body, after [`Output::BodyWanted`].
    pub fn body(&mut self, piece: &[u8]) {
        let Some(transaction) = self
            .transaction
            .as_mut()
            .filter(|_| self.phase == Phase::Body)
        else {
            return;
        };
        let (mut right, mut stuffed) = (Vec::with_capacity(piece.len()), Vec::new());
        transaction.ends.mend(piece, &mut right);
        transaction.encoder.encode(&right, &mut stuffed);
        self.outbox.push_back(Output::Send(stuffed));
        self.outbox.push_back(Output::BodyWanted);
    }

    /// All of the body was given.
    pub fn body_end(&mut self) {
        let Some(transaction) = self
            .transaction
            .as_mut()
            .filter(|_| self.phase == Phase::Body)
        else {
            return;
        };
        let (mut right, mut stuffed) = (Vec::new(), Vec::new());
        transaction.ends.end(&mut right);
        transaction.encoder.encode(&right, &mut stuffed);
        std::mem::take(&mut transaction.encoder).finish(&mut stuffed);
        match self.config.protocol {
            Protocol::Smtp => self.awaited.push_back(Expect::Final(Whose::All)),
            Protocol::Lmtp => {
                let accepted = transaction.accepted.iter();
                let each = accepted.map(|at| Expect::Final(Whose::One(*at)));
                self.awaited.extend(each);
            }
        }
        self.phase = Phase::Talking;
        self.outbox.push_back(Output::Send(stuffed));
    }

    /// Ends the conversation politely.
    pub fn quit(&mut self) {
        if self.phase == Phase::Ready {
            self.phase = Phase::Talking;
            self.command("QUIT\r\n", Expect::Quit);
        } else {
            self.close();
        }
    }

    fn said(&mut self, said: &Said, lines: &[String]) {
        let Some(expected) = self.awaited.pop_front() else {
            // Nothing was asked: it is going away.
            self.fail(Fault::Server, self.words(said));
            return;
        };
        if said.code == 421 && expected != Expect::Quit {
            // A clear word, also after the final dot: nothing was taken.
            self.decide(Whose::All, &Outcome::Later(self.words(said)));
            self.fail(Fault::Server, self.words(said));
            return;
        }
        match (expected, said.class()) {
            (Expect::Greeting, Class::Yes) => self.hello(),
            (Expect::Ehlo | Expect::Helo, Class::Yes) => {
                self.offers = Extensions::of(lines);
                self.greeted();
            }
            (Expect::Ehlo, Class::No) if self.config.protocol == Protocol::Smtp => {
                let hello = format!("HELO {}\r\n", self.config.hostname);
                self.command(&hello, Expect::Helo);
            }
            (Expect::Greeting | Expect::Ehlo | Expect::Helo, _) => {
                self.fail(Fault::Server, self.words(said));
            }
            (Expect::StartTls, Class::Yes) => self.start_tls(),
            (Expect::StartTls, _) if self.config.starttls == StartTls::IfOffered => self.login(),
            (Expect::StartTls, _) => self.fail(Fault::Tls, self.words(said)),
            (Expect::Plain | Expect::LoginEnd, Class::Yes) => self.ready(),
            (Expect::LoginName, Class::More) => {
                let name = self.config.login.as_ref().map(|login| login.0.clone());
                self.answer_login(&name.unwrap_or_default(), Expect::LoginPassword);
            }
            (Expect::LoginPassword, Class::More) => {
                let password = self.config.login.as_ref().map(|login| login.1.0.clone());
                let password = Zeroizing::new(password.unwrap_or_default());
                self.answer_login(&password, Expect::LoginEnd);
            }
            (
                Expect::Plain | Expect::LoginName | Expect::LoginPassword | Expect::LoginEnd,
                class,
            ) => {
                let fault = match class {
                    Class::Later => Fault::Server,
                    Class::Yes | Class::More | Class::No => Fault::Login,
                };
                self.fail(fault, self.words(said));
            }
            (Expect::Mail, class) => self.mail_answered(class, said),
            (Expect::Rcpt(at), class) => self.rcpt_answered(at, class, said),
            (Expect::Data, Class::More) => {
                self.phase = Phase::Body;
                self.outbox.push_back(Output::BodyWanted);
            }
            (Expect::Data, _) => {
                self.decide(Whose::All, &Outcome::of(said));
                self.reset();
            }
            (Expect::Final(whose), class) => {
                let outcome = match class {
                    Class::Yes => Outcome::Taken {
                        said: said.clone(),
                        reports: self.offers.dsn,
                    },
                    Class::More | Class::Later | Class::No => Outcome::of(said),
                };
                self.decide(whose, &outcome);
                if self.awaited.is_empty() {
                    self.done();
                    self.ready();
                }
            }
            (Expect::Rset, Class::Yes) => self.ready(),
            (Expect::Rset, _) => self.fail(Fault::Server, self.words(said)),
            (Expect::Quit, _) => self.close(),
        }
    }

    fn hello(&mut self) {
        let verb = match self.config.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let hello = format!("{verb} {}\r\n", self.config.hostname);
        self.command(&hello, Expect::Ehlo);
    }

    fn greeted(&mut self) {
        match (self.config.tls, self.config.starttls, self.offers.starttls) {
            (true, _, _) | (false, StartTls::Never, _) | (false, StartTls::IfOffered, false) => {
                self.login();
            }
            (false, StartTls::IfOffered | StartTls::Required, true) => {
                self.command("STARTTLS\r\n", Expect::StartTls);
            }
            (false, StartTls::Required, false) => {
                let why = format!(
                    "{} offers no TLS, which its route requires",
                    self.config.server
                );
                self.fail(Fault::Tls, why);
            }
        }
    }

    fn start_tls(&mut self) {
        if !self.inbox.is_empty() || self.reader.is_inside() {
            // Put there by somebody in between, to be read as said inside TLS.
            let why = format!("{} said more before TLS than it may", self.config.server);
            self.fail(Fault::Tls, why);
            return;
        }
        self.phase = Phase::Handshake;
        self.outbox.push_back(Output::StartTls);
    }

    fn login(&mut self) {
        let Some((name, password)) = &self.config.login else {
            self.ready();
            return;
        };
        if !self.config.tls {
            let why = "no password goes out without TLS".to_owned();
            self.fail(Fault::Tls, why);
        } else if self.offers.plain {
            let clear = Zeroizing::new(format!("\0{name}\0{}", password.0));
            let coded = Zeroizing::new(STANDARD.encode(clear.as_bytes()));
            let command = Zeroizing::new(format!("AUTH PLAIN {}\r\n", *coded));
            self.command(&command, Expect::Plain);
        } else if self.offers.login {
            self.command("AUTH LOGIN\r\n", Expect::LoginName);
        } else {
            let why = format!(
                "{} offers no login that is known here (PLAIN or LOGIN)",
                self.config.server
            );
            self.fail(Fault::Login, why);
        }
    }

    fn answer_login(&mut self, text: &str, then: Expect) {
        let line = Zeroizing::new(format!("{}\r\n", STANDARD.encode(text)));
        self.command(&line, then);
    }

    fn mail_answered(&mut self, class: Class, said: &Said) {
        if class != Class::Yes {
            self.decide(Whose::All, &Outcome::of(said));
            // What was sent with it is answered too; all of it no.
            if self.awaited.is_empty() {
                self.reset();
            }
            return;
        }
        if self.awaited.is_empty() {
            self.next_rcpt(0);
        }
    }

    fn next_rcpt(&mut self, at: usize) {
        let transaction = self.transaction.as_ref();
        let rcpt = transaction.and_then(|transaction| transaction.mail.recipients.get(at));
        match rcpt.map(|rcpt| rcpt.command(&self.offers)) {
            Some(command) => self.command(&command, Expect::Rcpt(at)),
            None => self.all_answered(),
        }
    }

    fn rcpt_answered(&mut self, at: usize, class: Class, said: &Said) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let undecided = transaction.outcomes.get(at).is_some_and(Option::is_none);
        match class {
            // MAIL was refused: this is no answer to the recipient.
            _ if !undecided => {}
            Class::Yes => transaction.accepted.push(at),
            Class::More | Class::Later | Class::No => {
                self.decide(Whose::One(at), &Outcome::of_rcpt(said));
            }
        }
        if self.offers.pipelining {
            if self.awaited.is_empty() {
                self.all_answered();
            }
        } else {
            self.next_rcpt(at + 1);
        }
    }

    fn all_answered(&mut self) {
        let nobody = (self.transaction.as_ref()).is_none_or(|under_way| {
            under_way.accepted.is_empty() || under_way.outcomes.iter().all(Option::is_some)
        });
        if nobody {
            self.reset();
        } else {
            self.command("DATA\r\n", Expect::Data);
        }
    }

    fn decide(&mut self, whose: Whose, outcome: &Outcome) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match whose {
            Whose::All => {
                for undecided in transaction.outcomes.iter_mut().filter(|o| o.is_none()) {
                    *undecided = Some(outcome.clone());
                }
            }
            Whose::One(at) => {
                if let Some(undecided) = transaction.outcomes.get_mut(at) {
                    undecided.get_or_insert(outcome.clone());
                }
            }
        }
    }

    /// Gives up what is left of the message, and is ready for the next.
    fn reset(&mut self) {
        self.done();
        self.command("RSET\r\n", Expect::Rset);
    }

    fn done(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            let unheard = || Outcome::Later(format!("no word from {}", self.config.server));
            let outcomes = transaction.outcomes.into_iter();
            let outcomes = outcomes.map(|outcome| outcome.unwrap_or_else(unheard));
            self.outbox.push_back(Output::Done(outcomes.collect()));
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.outbox.push_back(Output::Ready);
    }

    fn command(&mut self, line: &str, expected: Expect) {
        self.awaited.push_back(expected);
        self.send(line.as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        self.outbox.push_back(Output::Send(bytes.to_vec()));
    }

    fn words(&self, said: &Said) -> String {
        format!("{} said: {said}", self.config.server)
    }

    fn fail(&mut self, fault: Fault, why: String) {
        if self.phase == Phase::Closed {
            return;
        }
        let said_all = matches!(self.awaited.front(), Some(Expect::Final(_)));
        let reason = if said_all {
            format!("{why}, after it had heard all of the message: it may come twice")
        } else {
            why.clone()
        };
        let undecided = (self.transaction.as_ref())
            .is_some_and(|under_way| under_way.outcomes.iter().all(Option::is_none));
        self.decide(Whose::All, &Outcome::Later(reason));
        self.done();
        self.outbox.push_back(Output::Failed(Failure {
            fault,
            why,
            undecided,
            said_all,
        }));
        self.close();
    }

    fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.awaited.clear();
            self.inbox.clear();
            self.outbox.push_back(Output::Close);
        }
    }
}
