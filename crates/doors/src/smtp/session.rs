//! The SMTP session: bytes in; replies, body pieces and questions out.
//!
//! It must never take a recipient, a sender or a message without the shell's yes, act on bytes that came in clear before TLS, or let a password
//! pass without TLS. While a question is open nothing behind it is worked on, so replies are in the order of commands. What is kept of a
//! client's bytes is bounded: see [`Session::wants_bytes`].

use std::collections::VecDeque;

use grapevine_model::ScramPolicy;

use super::body::Body;
use super::command::{self, Command, Fault, Mechanism};
use super::envelope::{Envelope, Recipient, Sender};
use super::limits::{
    AUTH_LINE_BYTES, BODY_SILENCE_MS, COMMAND_LINE_BYTES, COMMAND_SILENCE_MS, Limits,
};
use super::login::Login;
use super::reply::{self, Refusal, Reply};
use crate::inbox::{Inbox, Residue};
use crate::line::{Skip, Split, split};
use crate::sasl::Credentials;
use crate::sasl::channel::Channel;
use crate::sasl::scram::{Challenge, First, Proof, Variant};
use crate::text::push_safe;
use crate::{OUTBOX_BYTES, READ_BYTES, Tls};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Individuals hand in mail: nothing without a login.
    Submission,
    /// Other systems hand in mail for names of this one: no logins.
    Receiving,
    /// The same by LMTP (RFC 2033), from a mail server beside this one: after a message, an answer for each recipient.
    Lmtp,
}

/// What a session starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the session is for.
    pub kind: Kind,
    /// The server's name, for the greeting and the trace header.
    pub hostname: String,
    /// The client's network address, for the trace header.
    pub client: String,
    /// How far TLS is.
    pub tls: Tls,
    /// Whether SCRAM-SHA-256 is offered.
    pub scram: ScramPolicy,
    /// What the client may use up.
    pub limits: Limits,
}

/// What the shell must do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Flush, drop whatever was read but not handed in, do the TLS handshake as its server, then [`Session::tls_started`].
    StartTls,
    /// Find the answer, and give it with [`Session::answer`].
    Ask(Ask),
    /// A body begins; it belongs to this envelope.
    BodyStart(Box<Envelope>),
    /// The next bytes of the body, as the client meant them (stuffing removed).
    BodyChunk(Vec<u8>),
    /// The body that began will not be accepted: forget it.
    BodyAbort,
    /// Write what is to be written, and close. Nothing follows.
    Close,
}

/// A question to the shell. One is open at a time.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Are these right? [`Answer::Yes`] or [`Answer::No`].
    Authenticate(Credentials),
    /// How is a password of this name to be proved? [`Answer::Challenge`] or [`Answer::No`].
    ScramBegin {
        /// As the client wrote it.
        name: String,
    },
    /// Is this proof right? [`Answer::Proved`] or [`Answer::No`].
    ScramFinish(Proof),
    /// May this sender be used (by who has logged in)? [`Answer::Yes`] or [`Answer::No`]. The address is empty for the null path.
    Sender(Sender),
    /// May the message go to this one? [`Answer::Yes`] or [`Answer::No`].
    Recipient(Recipient),
    /// The body is complete: is the message durable? [`Answer::Accepted`] or [`Answer::No`]. No [`Output::BodyAbort`] follows.
    Accept {
        /// The length of the body.
        size_bytes: u64,
    },
}

/// The shell's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// Yes, and this is the message's id.
    Accepted {
        /// Told to the client.
        id: String,
    },
    /// How to prove the password.
    Challenge(Challenge),
    /// The proof is right.
    Proved {
        /// The server's own.
        signature: [u8; 32],
    },
    /// No.
    No(Refusal),
}

/// One client's session.
pub struct Session {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) open: Option<Open>,
    pub(super) hello: Hello,
    pub(super) identity: Option<String>,
    /// What a login by SCRAM can be bound to.
    pub(super) channel: Channel,
    pub(super) transaction: Option<(Sender, Vec<Recipient>)>,
    pub(super) body: Body,
    /// Recipients of the message under way; each has an answer by LMTP.
    pub(super) answers_owed: usize,
    pub(super) failed_logins: u32,
    pub(super) idle_commands: u32,
    pub(super) refused_recipients: u32,
    pub(super) outbox: VecDeque<Output>,
    pub(super) queued_bytes: usize,
    errors: u32,
    ending: Ending,
    skip: Skip,
    inbox: Inbox,
    /// Whether what was just worked on held a login.
    residue: Residue,
}

/// What the next bytes are.
pub(super) enum Phase {
    Command,
    Login(Login),
    StartingTls,
    Body,
    Closed,
}

/// The open question, and what its answer is about.
pub(super) enum Open {
    Authenticate { name: String },
    ScramBegin(First),
    ScramFinish { name: String },
    Sender(Sender),
    Recipient(Recipient),
    Accept,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    None,
    Helo(String),
    Ehlo(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Not,
    /// The client sends no more; what it sent is still worked on.
    ClientDone,
    /// The server wants to stop.
    ShuttingDown,
}

impl Session {
    /// A new session; its greeting is the first output.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            config,
            phase: Phase::Command,
            open: None,
            hello: Hello::None,
            identity: None,
            channel: Channel::default(),
            transaction: None,
            body: Body::None,
            answers_owed: 0,
            failed_logins: 0,
            idle_commands: 0,
            refused_recipients: 0,
            outbox: VecDeque::new(),
            queued_bytes: 0,
            errors: 0,
            ending: Ending::Not,
            skip: Skip::Off,
            inbox: Inbox::default(),
            residue: Residue::Keep,
        };
        let mut greeting = b"220 ".to_vec();
        push_safe(&mut greeting, &session.config.hostname);
        let greets: &[u8] = match session.config.kind {
            Kind::Submission | Kind::Receiving => b" ESMTP Grapevine\r\n",
            Kind::Lmtp => b" LMTP Grapevine\r\n",
        };
        greeting.extend_from_slice(greets);
        session.send(&greeting);
        session
    }

    /// Whether the shell should read from the client now. While it is false, leave the bytes where they are: that is what bounds memory.
    pub fn wants_bytes(&self) -> bool {
        self.outbox.is_empty() && self.can_work() && self.ending != Ending::ClientDone
    }

    /// Hands in bytes from the client, at most [`READ_BYTES`] at a time. In clear and after [`Output::StartTls`] they are dropped: whatever
    /// was sent ahead of the handshake could have been put there by anybody.
    pub fn receive(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            return;
        }
        if self.inbox.is_empty() {
            let taken = self.work(bytes);
            self.keep(bytes.get(taken..).unwrap_or_default());
        } else {
            self.keep(bytes);
            self.pump();
        }
    }

    /// The next thing to do; `None` until something is handed in.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outbox.is_empty() {
            self.pump();
        }
        let output = self.outbox.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(weight(&output));
        Some(output)
    }

    /// Answers the open question; ignored when there is none.
    pub fn answer(&mut self, answer: Answer) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match self.open.take() {
            None => return,
            Some(Open::Authenticate { name }) => self.authenticated(name, answer),
            Some(Open::ScramBegin(first)) => self.scram_begun(first, answer),
            Some(Open::ScramFinish { name }) => self.scram_finished(name, answer),
            Some(Open::Sender(sender)) => self.sender_answered(sender, answer),
            Some(Open::Recipient(recipient)) => self.recipient_answered(recipient, answer),
            Some(Open::Accept) => self.accept_answered(answer),
        }
        self.pump();
    }

    /// The handshake is done: the session starts again, without a greeting (RFC 3207 4.2).
    pub fn tls_started(&mut self) {
        if matches!(self.phase, Phase::StartingTls) {
            self.config.tls = Tls::Active;
            self.phase = Phase::Command;
            self.hello = Hello::None;
            self.identity = None;
        }
    }

    /// What of the TLS that is on a login can be bound to; before the client's first command in it.
    pub fn channel_known(&mut self, channel: Channel) {
        self.channel = channel;
    }

    /// The client sends no more. What it has sent is worked on; then comes [`Output::Close`].
    pub fn eof(&mut self) {
        if matches!(self.phase, Phase::StartingTls) {
            self.close();
        }
        self.ending = Ending::ClientDone;
        self.pump();
    }

    /// The client was silent for [`Session::silence_ms`].
    pub fn timed_out(&mut self) {
        match self.phase {
            // In the middle of a handshake nothing can be said.
            Phase::StartingTls => self.close(),
            Phase::Command | Phase::Login(_) | Phase::Body | Phase::Closed => {
                self.close_with(reply::SILENT)
            }
        }
    }

    /// The server stops: closes as soon as no body and no question is under way.
    pub fn shut_down(&mut self) {
        if self.ending == Ending::Not {
            self.ending = Ending::ShuttingDown;
        }
        self.pump();
    }

    /// How long the client may be silent now, in milliseconds; the shell keeps the time, and pauses it while a question is open.
    pub fn silence_ms(&self) -> u64 {
        match self.phase {
            Phase::Body => BODY_SILENCE_MS,
            Phase::Command | Phase::Login(_) | Phase::StartingTls | Phase::Closed => {
                COMMAND_SILENCE_MS
            }
        }
    }

    /// Bytes held for the client: input not worked on, and outputs not taken.
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.queued_bytes
    }

    fn can_work(&self) -> bool {
        let reading = match self.phase {
            Phase::Command | Phase::Login(_) | Phase::Body => true,
            Phase::StartingTls | Phase::Closed => false,
        };
        reading && self.open.is_none() && self.queued_bytes < OUTBOX_BYTES
    }

    /// Bytes that have to wait. A shell that goes on reading against [`Session::wants_bytes`] is stopped here.
    fn keep(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            return;
        }
        if !self.inbox.is_empty() && self.inbox.len() + bytes.len() > 2 * READ_BYTES {
            self.close_with(reply::TOO_MUCH_INPUT);
        } else {
            self.inbox.append(bytes);
        }
    }

    fn pump(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let taken = self.work(inbox.as_slice());
        inbox.consume(taken, std::mem::replace(&mut self.residue, Residue::Keep));
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            inbox.clear();
        }
        self.inbox = inbox;
    }

    /// Works on `input` as far as it can; returns how much is done with.
    fn work(&mut self, input: &[u8]) -> usize {
        let mut rest = input;
        while self.can_work() {
            if self.ending == Ending::ShuttingDown
                && matches!(self.body, Body::None)
                && !matches!(self.phase, Phase::Body)
            {
                self.close_with(reply::SHUTTING_DOWN);
                break;
            }
            let taken = self.step(rest);
            if taken == 0 {
                if self.ending == Ending::ClientDone {
                    self.close();
                }
                break;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        input.len() - rest.len()
    }

    /// One line, or one piece of a body. 0: more bytes are needed.
    fn step(&mut self, input: &[u8]) -> usize {
        if matches!(self.phase, Phase::Body) {
            return self.step_body(input);
        }
        if self.skip != Skip::Off {
            return self.skip.skip(input);
        }
        let limit = match self.phase {
            Phase::Login(_) => AUTH_LINE_BYTES,
            _ if command::is_auth(input) => AUTH_LINE_BYTES,
            _ => COMMAND_LINE_BYTES,
        };
        if limit == AUTH_LINE_BYTES {
            self.residue = Residue::Wipe;
        }
        match split(input, limit) {
            Split::Line { line, taken } => {
                self.line(line);
                taken
            }
            Split::Incomplete => 0,
            Split::BareLineEnd => self.skip_line(reply::BARE_LINE_END, input),
            Split::TooLong => self.skip_line(reply::LINE_TOO_LONG, input),
        }
    }

    fn skip_line(&mut self, why: Reply, input: &[u8]) -> usize {
        self.phase = Phase::Command;
        self.skip = Skip::Inside;
        self.fault(why);
        self.skip.skip(input)
    }

    fn line(&mut self, line: &[u8]) {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Login(login) => self.login_line(login, line),
            Phase::Command => match command::parse(line) {
                Ok(command) => self.command(command),
                Err(Fault::Refuse(why)) => self.fault(why),
                Err(Fault::Close(why)) => {
                    self.reply(why);
                    self.close();
                }
            },
            other @ (Phase::StartingTls | Phase::Body | Phase::Closed) => self.phase = other,
        }
    }

    fn command(&mut self, command: Command<'_>) {
        match command {
            Command::Ehlo(name) => self.hello(Hello::Ehlo(name.to_owned())),
            Command::Helo(name) => self.hello(Hello::Helo(name.to_owned())),
            Command::Lhlo(name) => match self.config.kind {
                Kind::Lmtp => self.greet(Hello::Ehlo(name.to_owned())),
                Kind::Submission | Kind::Receiving => self.fault(reply::UNKNOWN),
            },
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Mail(sender) => self.mail(sender),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Bdat { chunk_bytes, place } => self.bdat(chunk_bytes, place),
            Command::Rset => {
                self.forget_transaction();
                self.idle(reply::OK);
            }
            Command::Noop => self.idle(reply::OK),
            Command::Vrfy => self.idle(reply::VRFY),
            Command::Help => self.idle(reply::HELP),
            Command::Quit => {
                self.reply(reply::BYE);
                self.close();
            }
        }
    }

    fn hello(&mut self, hello: Hello) {
        match self.config.kind {
            Kind::Submission | Kind::Receiving => self.greet(hello),
            // RFC 2033 4.1: so that nobody takes the one protocol for the other.
            Kind::Lmtp => self.fault(reply::LHLO_ONLY),
        }
    }

    fn greet(&mut self, hello: Hello) {
        self.forget_transaction();
        if !self.count_idle() {
            return;
        }
        let mut lines: Vec<&str> = Vec::new();
        let size = format!("SIZE {}", self.config.limits.message_bytes);
        if matches!(hello, Hello::Ehlo(_)) {
            lines.extend(["PIPELINING", &size, "8BITMIME", "SMTPUTF8"]);
            if self.config.kind != Kind::Lmtp {
                lines.push("CHUNKING");
            }
            lines.extend(["ENHANCEDSTATUSCODES", "DSN"]);
            match (self.config.tls, self.config.kind) {
                (Tls::Offered, _) => lines.push("STARTTLS"),
                (Tls::Active | Tls::Local, Kind::Submission) => lines.push(
                    match (self.offers(Variant::Plus), self.offers(Variant::Plain)) {
                        (true, _) => "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN",
                        (false, true) => "AUTH SCRAM-SHA-256 PLAIN LOGIN",
                        (false, false) => "AUTH PLAIN LOGIN",
                    },
                ),
                (Tls::Active | Tls::Local, Kind::Receiving | Kind::Lmtp)
                | (Tls::Unavailable, _) => {}
            }
            lines.push("HELP");
        }
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(if lines.is_empty() { b"250 " } else { b"250-" });
        push_safe(&mut out, &self.config.hostname);
        out.extend_from_slice(b"\r\n");
        let last = lines.len().saturating_sub(1);
        for (index, line) in lines.into_iter().enumerate() {
            out.extend_from_slice(if index == last { b"250 " } else { b"250-" });
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        self.hello = hello;
        self.send(&out);
    }

    fn start_tls(&mut self) {
        match self.config.tls {
            Tls::Unavailable | Tls::Local => self.fault(reply::NOT_OFFERED),
            Tls::Active => self.fault(reply::TLS_ALREADY),
            Tls::Offered => {
                self.forget_transaction();
                self.reply(reply::READY_FOR_TLS);
                self.push(Output::StartTls);
                self.phase = Phase::StartingTls;
            }
        }
    }

    fn auth(&mut self, mechanism: Mechanism, initial: Option<&str>) {
        match (self.config.kind, self.config.tls, &self.hello) {
            (Kind::Receiving | Kind::Lmtp, _, _) => self.fault(reply::NOT_OFFERED),
            (Kind::Submission, Tls::Unavailable | Tls::Offered, _) => {
                self.fault(reply::AUTH_NEEDS_TLS)
            }
            (Kind::Submission, Tls::Active | Tls::Local, Hello::None) => {
                self.fault(reply::HELLO_FIRST)
            }
            (Kind::Submission, Tls::Active | Tls::Local, _) if self.identity.is_some() => {
                self.fault(reply::AUTH_ALREADY)
            }
            (Kind::Submission, Tls::Active | Tls::Local, _) => self.login(mechanism, initial),
        }
    }

    /// A command that leads nowhere: it is answered, and counted.
    fn idle(&mut self, answer: Reply) {
        if self.count_idle() {
            self.reply(answer);
        }
    }

    fn count_idle(&mut self) -> bool {
        if self.identity.is_none() {
            self.idle_commands += 1;
        }
        let goes_on = self.idle_commands <= self.config.limits.idle_commands;
        if !goes_on {
            self.close_with(reply::TOO_MANY_IDLE);
        }
        goes_on
    }

    /// The answer to a whole message: by LMTP once for each recipient.
    pub(super) fn answer_message(&mut self, fill: impl Fn(&mut Vec<u8>)) {
        let times = match self.config.kind {
            Kind::Submission | Kind::Receiving => 1,
            Kind::Lmtp => std::mem::take(&mut self.answers_owed).max(1),
        };
        for _ in 0..times {
            self.write(&fill);
        }
    }

    /// A wrong command: it is answered, and counted.
    pub(super) fn fault(&mut self, why: Reply) {
        self.reply(why);
        self.count_fault();
    }

    /// A message that is refused for what it is.
    pub(super) fn fault_of_message(&mut self, why: Reply) {
        self.answer_message(|out| why.write(out));
        self.count_fault();
    }

    fn count_fault(&mut self) {
        self.errors += 1;
        if self.errors >= self.config.limits.errors {
            self.close_with(reply::TOO_MANY_ERRORS);
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, open: Open) {
        self.open = Some(open);
        self.push(Output::Ask(ask));
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        self.write(|out| reply.write(out));
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.write(|out| refusal.write(out));
    }

    /// Replies that follow each other leave in one write.
    pub(super) fn write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.outbox.back(), Some(Output::Send(_))) {
            self.outbox.push_back(Output::Send(Vec::new()));
        }
        if let Some(Output::Send(out)) = self.outbox.back_mut() {
            let before = out.len();
            fill(out);
            self.queued_bytes += out.len() - before;
        }
    }

    pub(super) fn close_with(&mut self, why: Reply) {
        if !matches!(self.phase, Phase::Closed) {
            self.reply(why);
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.abort_body();
        self.push(Output::Close);
        self.phase = Phase::Closed;
        self.open = None;
        self.inbox.clear();
    }

    pub(super) fn push(&mut self, output: Output) {
        self.queued_bytes += weight(&output);
        self.outbox.push_back(output);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }
}

/// What an output counts for in the bound on outputs.
fn weight(output: &Output) -> usize {
    match output {
        Output::Send(bytes) | Output::BodyChunk(bytes) => bytes.len(),
        Output::StartTls
        | Output::Ask(_)
        | Output::BodyStart(_)
        | Output::BodyAbort
        | Output::Close => 0,
    }
}
