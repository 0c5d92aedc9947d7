//! The POP3 session: bytes in; replies and questions out.
//!
//! It must never delete but at QUIT, act on bytes that came in clear before TLS, or let a password pass without TLS. While a question is open
//! nothing behind it is worked on, so replies are in the order of commands. What is kept of a client's bytes is bounded: see
//! [`Session::wants_bytes`].

use std::collections::VecDeque;

use grapevine_model::ScramPolicy;

use super::command::{self, Command};
use super::limits::{
    AUTH_LINE_BYTES, COMMAND_LINE_BYTES, Limits, SILENCE_BEFORE_LOGIN_MS, SILENCE_MS,
};
use super::listing::Column;
use super::mailbox::{Listed, Mailbox};
use super::reply::{self, Refusal, Reply};
use super::retrieve::Retrieval;
use crate::inbox::{Inbox, Residue};
use crate::line::{Skip, Split, split};
use crate::sasl::Credentials;
use crate::sasl::channel::Channel;
use crate::sasl::scram::{Challenge, Challenged, First, Proof, Variant};
use crate::text::push_safe;
use crate::{OUTBOX_BYTES, READ_BYTES, Tls};

/// What a session starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name, for the greeting.
    pub hostname: String,
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
    /// Find the answer, and give it as the question says.
    Ask(Ask),
    /// Write what is to be written, let the mailbox go, and close. Nothing follows.
    Close,
}

/// A question to the shell. One is open at a time.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Are these right, and what is in the mailbox? [`Answer::Mailbox`] or [`Answer::No`].
    Authenticate(Credentials),
    /// How is a password of this name to be proved? [`Answer::Challenge`] or [`Answer::No`].
    ScramBegin {
        /// As the client wrote it.
        name: String,
    },
    /// Is this proof right, and what is in the mailbox? [`Answer::Proved`] or [`Answer::No`].
    ScramFinish(Proof),
    /// The bytes of a message, by [`Session::body_chunk`] and [`Session::body_end`], or [`Session::body_failed`].
    Body {
        /// Which.
        uidl: String,
        /// With TOP: the header and so many lines are wanted. The session does the cutting; this is for a shell that can read less.
        top_lines: Option<u32>,
    },
    /// Delete these; the client quits. [`Answer::Deleted`] when it is durable for all, or [`Answer::No`].
    Delete {
        /// Which.
        uidls: Vec<String>,
    },
}

/// The shell's answer to [`Ask::Authenticate`] and [`Ask::Delete`].
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Logged in; these are the messages, in order.
    Mailbox(Listed),
    /// How to prove the password.
    Challenge(Challenge),
    /// The proof is right; these are the messages, in order.
    Proved {
        /// The server's own proof.
        signature: [u8; 32],
        /// The messages.
        listed: Listed,
    },
    /// Deleted.
    Deleted,
    /// No.
    No(Refusal),
}

/// One client's session.
pub struct Session {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) open: Option<Open>,
    pub(super) user: Option<String>,
    pub(super) mailbox: Option<Mailbox>,
    /// What a login by SCRAM can be bound to.
    pub(super) channel: Channel,
    pub(super) failed_logins: u32,
    pub(super) queued_bytes: usize,
    outbox: VecDeque<Output>,
    idle_commands: u32,
    errors: u32,
    ending: Ending,
    skip: Skip,
    inbox: Inbox,
    /// Whether what was just worked on held a login.
    residue: Residue,
}

/// What comes next.
pub(super) enum Phase {
    Command,
    AuthResponse,
    Scram(Scram),
    /// Rows are still to be written; no bytes are wanted before.
    Listing {
        column: Column,
        next: usize,
    },
    StartingTls,
    Closed,
}

/// What the next line of a login by SCRAM is.
pub(super) enum Scram {
    First(Variant),
    Proof(Challenged),
    /// Nothing: the proof was right, and the mailbox opens.
    End(Listed),
}

/// The open question.
pub(super) enum Open {
    Login,
    ScramBegin(First),
    ScramFinish,
    Body(Box<Retrieval>),
    Delete,
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
            user: None,
            mailbox: None,
            channel: Channel::default(),
            failed_logins: 0,
            queued_bytes: 0,
            outbox: VecDeque::new(),
            idle_commands: 0,
            errors: 0,
            ending: Ending::Not,
            skip: Skip::Off,
            inbox: Inbox::default(),
            residue: Residue::Keep,
        };
        let mut greeting = b"+OK ".to_vec();
        push_safe(&mut greeting, &session.config.hostname);
        greeting.extend_from_slice(b" POP3 Grapevine\r\n");
        session.write(|out| out.extend_from_slice(&greeting));
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

    /// Answers the open question; ignored when there is none, or when it is answered with a body.
    pub fn answer(&mut self, answer: Answer) {
        match self.open.take_if(|open| !matches!(open, Open::Body(_))) {
            None | Some(Open::Body(_)) => return,
            Some(Open::Login) => self.login_answered(answer),
            Some(Open::ScramBegin(first)) => self.scram_begun(first, answer),
            Some(Open::ScramFinish) => self.scram_finished(answer),
            Some(Open::Delete) => self.delete_answered(answer),
        }
        self.pump();
    }

    /// The handshake is done: the session starts again, without a greeting (RFC 2595 section 4).
    pub fn tls_started(&mut self) {
        if matches!(self.phase, Phase::StartingTls) {
            self.config.tls = Tls::Active;
            self.phase = Phase::Command;
            self.user = None;
        }
    }

    /// What of the TLS that is on a login can be bound to; before the client's first command in it.
    pub fn channel_known(&mut self, channel: Channel) {
        self.channel = channel;
    }

    /// The client sends no more. What it has sent is worked on; then comes [`Output::Close`]. Without QUIT nothing is deleted.
    pub fn eof(&mut self) {
        if matches!(self.phase, Phase::StartingTls) {
            self.close();
        }
        self.ending = Ending::ClientDone;
        self.pump();
    }

    /// The client was silent for [`Session::silence_ms`].
    pub fn timed_out(&mut self) {
        match (&self.phase, &self.open) {
            // In the middle of a handshake or of a message nothing can be said.
            (Phase::StartingTls, _) | (_, Some(Open::Body(_))) | (Phase::Listing { .. }, _) => {
                self.close()
            }
            (Phase::Command | Phase::AuthResponse | Phase::Scram(_) | Phase::Closed, _) => {
                self.close_with(reply::SILENT)
            }
        }
    }

    /// The server stops: closes as soon as no question is under way.
    pub fn shut_down(&mut self) {
        if self.ending == Ending::Not {
            self.ending = Ending::ShuttingDown;
        }
        self.pump();
    }

    /// How long the client may be silent now, in milliseconds; the shell keeps the time, and pauses it while a question is open.
    pub fn silence_ms(&self) -> u64 {
        if self.mailbox.is_some() {
            SILENCE_MS
        } else {
            SILENCE_BEFORE_LOGIN_MS
        }
    }

    /// Bytes held for the client: input not worked on, and outputs not taken. (The mailbox's list is the shell's own data.)
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.queued_bytes
    }

    fn can_work(&self) -> bool {
        let reading = match self.phase {
            Phase::Command | Phase::AuthResponse | Phase::Scram(_) | Phase::Listing { .. } => true,
            Phase::StartingTls | Phase::Closed => false,
        };
        reading && self.open.is_none() && self.queued_bytes < OUTBOX_BYTES
    }

    /// Bytes that have to wait. A shell that goes on reading against [`Session::wants_bytes`] is stopped here.
    fn keep(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            return;
        }
        if self.inbox.is_empty() || self.inbox.len() + bytes.len() <= 2 * READ_BYTES {
            self.inbox.append(bytes);
        } else if matches!(self.open, Some(Open::Body(_))) {
            self.close();
        } else {
            self.close_with(reply::TOO_MUCH_INPUT);
        }
    }

    pub(super) fn pump(&mut self) {
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
            if let Phase::Listing { column, next } = self.phase {
                self.step_listing(column, next);
                continue;
            }
            if self.ending == Ending::ShuttingDown {
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

    /// One line. 0: more bytes are needed.
    fn step(&mut self, input: &[u8]) -> usize {
        if self.skip != Skip::Off {
            return self.skip.skip(input);
        }
        let limit = match self.phase {
            Phase::AuthResponse | Phase::Scram(_) => AUTH_LINE_BYTES,
            _ if command::is_auth(input) => AUTH_LINE_BYTES,
            _ => COMMAND_LINE_BYTES,
        };
        if limit == AUTH_LINE_BYTES || command::is_secret(input) {
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
            Phase::AuthResponse => self.auth_response(line),
            Phase::Scram(scram) => self.scram_line(scram, line),
            Phase::Command => match command::parse(line) {
                Ok(command) => self.command(command),
                Err(why) => self.fault(why),
            },
            other @ (Phase::Listing { .. } | Phase::StartingTls | Phase::Closed) => {
                self.phase = other
            }
        }
    }

    fn command(&mut self, command: Command<'_>) {
        match command {
            Command::Capa => self.capa(),
            Command::Stls => self.stls(),
            Command::User(name) => self.user(name),
            Command::Pass(password) => self.pass(password),
            Command::AuthPlain(initial) => self.auth_plain(initial),
            Command::AuthScram(variant, initial) => self.auth_scram(variant, initial),
            Command::Stat => self.stat(),
            Command::List(number) => self.list(Column::Size, number),
            Command::Uidl(number) => self.list(Column::Uidl, number),
            Command::Retr(number) => self.retrieve(number, None),
            Command::Top(number, lines) => self.retrieve(number, Some(lines)),
            Command::Dele(number) => self.on_mailbox(|mailbox| mailbox.mark(number)),
            Command::Rset => self.on_mailbox(|mailbox| {
                mailbox.keep_all();
                Ok(())
            }),
            Command::Noop => self.on_mailbox(|_| Ok(())),
            Command::Quit => self.quit(),
        }
    }

    fn on_mailbox(&mut self, action: impl FnOnce(&mut Mailbox) -> Result<(), Reply>) {
        match self.mailbox.as_mut().map(action) {
            None => self.fault(reply::LOGIN_FIRST),
            Some(Ok(())) => self.reply(reply::OK),
            Some(Err(why)) => self.refuse_message(why),
        }
    }

    fn stls(&mut self) {
        match (self.config.tls, &self.mailbox) {
            (Tls::Unavailable | Tls::Local, _) => self.fault(reply::NOT_OFFERED),
            (Tls::Active, _) => self.fault(reply::TLS_ALREADY),
            (Tls::Offered, Some(_)) => self.fault(reply::LOGIN_ALREADY),
            (Tls::Offered, None) => {
                self.reply(reply::READY_FOR_TLS);
                self.push(Output::StartTls);
                self.phase = Phase::StartingTls;
            }
        }
    }

    fn quit(&mut self) {
        let uidls = self
            .mailbox
            .as_ref()
            .map(Mailbox::marked)
            .unwrap_or_default();
        if uidls.is_empty() {
            self.close_with(reply::BYE);
        } else {
            self.ask(Ask::Delete { uidls }, Open::Delete);
        }
    }

    /// The session ends in either case (RFC 1939 section 6).
    fn delete_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Deleted | Answer::Mailbox(_) | Answer::Challenge(_) | Answer::Proved { .. } => {
                self.close_with(reply::BYE)
            }
            Answer::No(refusal) => {
                self.write(|out| refusal.write(out));
                self.close();
            }
        }
    }

    pub(super) fn count_idle(&mut self) -> bool {
        if self.mailbox.is_none() {
            self.idle_commands += 1;
        }
        let goes_on = self.idle_commands <= self.config.limits.idle_commands;
        if !goes_on {
            self.close_with(reply::TOO_MANY_IDLE);
        }
        goes_on
    }

    /// A wrong command: it is answered, and counted.
    pub(super) fn fault(&mut self, why: Reply) {
        self.reply(why);
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
        self.push(Output::Close);
        self.phase = Phase::Closed;
        self.open = None;
        self.inbox.clear();
    }

    fn push(&mut self, output: Output) {
        self.queued_bytes += weight(&output);
        self.outbox.push_back(output);
    }
}

/// What an output counts for in the bound on outputs.
fn weight(output: &Output) -> usize {
    match output {
        Output::Send(bytes) => bytes.len(),
        Output::StartTls | Output::Ask(_) | Output::Close => 0,
    }
}
