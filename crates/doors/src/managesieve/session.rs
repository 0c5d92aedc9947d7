//! The ManageSieve session: bytes in; answers and questions out.
//!
//! It must never act on bytes that came in clear before TLS, let a password pass without TLS, or pass on a script that can't be run. While a
//! question is open nothing behind it is worked on. What is kept of a client's bytes is bounded: see [`Session::wants_bytes`].

use std::collections::VecDeque;

use grapevine_model::{ErrorKind, Refusal, ScriptName, ScriptText, SieveAsk, SieveReply};

use super::command::{self, Argument, Line, Read};
use super::limits::{DROPPED_BYTES, Limits, SILENCE_BEFORE_LOGIN_MS, SILENCE_MS};
use super::reply;
use crate::sasl::{Credentials, SaslError, decode_plain};
use crate::sieve::Script;
use crate::{OUTBOX_BYTES, READ_BYTES, Tls};

/// What a session starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name, for the greeting.
    pub hostname: String,
    /// How far TLS is.
    pub tls: Tls,
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
    /// Write what is to be written, and close. Nothing follows.
    Close,
}

/// A question to the shell. One is open at a time.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Are these right? [`Answer::LoggedIn`] or [`Answer::NoLogin`].
    Authenticate(Credentials),
    /// About the scripts of who has logged in: [`Answer::Told`], [`Answer::Done`] or [`Answer::No`].
    Scripts(SieveAsk),
}

/// The shell's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// He is who he says.
    LoggedIn,
    /// He is not, or it can't be told now.
    NoLogin(Failure),
    /// What was asked.
    Told(SieveReply),
    /// It is done.
    Done,
    /// It is not.
    No(Refusal),
}

/// Why somebody is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Wrong name or password.
    Wrong,
    /// It can't be told now.
    NotNow,
}

/// One client's session.
pub struct Session {
    config: Config,
    phase: Phase,
    open: Option<Open>,
    is_logged_in: bool,
    failed_logins: u32,
    errors: u32,
    idle_commands: u32,
    ending: Ending,
    outbox: VecDeque<Output>,
    queued_bytes: usize,
    inbox: Vec<u8>,
    /// Not before so much is there is it worth another look.
    worth: usize,
    dropping: Dropping,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Command,
    AuthResponse,
    StartingTls,
    Closed,
}

/// The open question.
enum Open {
    Login,
    Scripts(What),
}

/// What was asked, as far as its answer's form depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Delete,
    Rename,
    /// A script of so many octets.
    Space(u64),
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Not,
    ClientDone,
    ShuttingDown,
}

/// What of the input is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropping {
    Nothing,
    /// So many octets, then the rest of the line.
    Octets(u64),
    /// Up to and with the next CRLF.
    Line,
}

impl Session {
    /// A new session; its greeting is the first output.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            config,
            phase: Phase::Command,
            open: None,
            is_logged_in: false,
            failed_logins: 0,
            errors: 0,
            idle_commands: 0,
            ending: Ending::Not,
            outbox: VecDeque::new(),
            queued_bytes: 0,
            inbox: Vec::new(),
            worth: 0,
            dropping: Dropping::Nothing,
        };
        session.greet();
        session
    }

    fn greet(&mut self) {
        let tls = self.config.tls;
        let text = format!("{} ManageSieve Grapevine", self.config.hostname);
        self.write(|out| {
            reply::capabilities(out, tls);
            reply::status(out, "OK", None, &text);
        });
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
        if self.inbox.len() + bytes.len() > 2 * READ_BYTES {
            // Against `wants_bytes`.
            self.close_with("too much input");
            return;
        }
        self.inbox.extend_from_slice(bytes);
        self.pump();
    }

    /// The next thing to do; `None` until something is handed in.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outbox.is_empty() {
            self.pump();
        }
        let output = self.outbox.pop_front()?;
        if let Output::Send(bytes) = &output {
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes.len());
        }
        Some(output)
    }

    /// Answers the open question; ignored when there is none.
    pub fn answer(&mut self, answer: Answer) {
        match self.open.take() {
            None => return,
            Some(Open::Login) => self.login_answered(answer),
            Some(Open::Scripts(what)) => self.scripts_answered(what, answer),
        }
        self.pump();
    }

    /// The handshake is done: the client hears again what can be done (RFC 5804 2.2).
    pub fn tls_started(&mut self) {
        if self.phase == Phase::StartingTls {
            self.config.tls = Tls::Active;
            self.phase = Phase::Command;
            self.greet();
        }
    }

    /// The client sends no more. What it has sent is worked on; then comes [`Output::Close`].
    pub fn eof(&mut self) {
        if self.phase == Phase::StartingTls {
            self.close();
        }
        self.ending = Ending::ClientDone;
        self.pump();
    }

    /// The client was silent for [`Session::silence_ms`].
    pub fn timed_out(&mut self) {
        match self.phase {
            Phase::StartingTls => self.close(),
            Phase::Command | Phase::AuthResponse | Phase::Closed => {
                self.close_with("silent for too long")
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
        match self.is_logged_in {
            true => SILENCE_MS,
            false => SILENCE_BEFORE_LOGIN_MS,
        }
    }

    /// Whether nobody has logged in.
    pub fn is_stranger(&self) -> bool {
        !self.is_logged_in
    }

    /// Bytes held for the client: input not worked on, and outputs not taken.
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.queued_bytes
    }

    fn can_work(&self) -> bool {
        let is_reading = match self.phase {
            Phase::Command | Phase::AuthResponse => true,
            Phase::StartingTls | Phase::Closed => false,
        };
        is_reading && self.open.is_none() && self.queued_bytes < OUTBOX_BYTES
    }

    fn pump(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut taken = 0;
        while self.can_work() {
            if self.ending == Ending::ShuttingDown {
                self.close_with("this server is stopping; try another one");
                break;
            }
            let rest = inbox.get(taken..).unwrap_or_default();
            match self.step(rest) {
                Some(more) => taken += more,
                None if self.ending == Ending::ClientDone => {
                    self.close();
                    break;
                }
                None => break,
            }
        }
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            wipe(&mut inbox);
            inbox.clear();
        } else if taken > 0 {
            // Passwords go by here.
            wipe(inbox.get_mut(..taken).unwrap_or_default());
            inbox.drain(..taken);
            self.worth = 0;
        }
        self.inbox = inbox;
    }

    /// Works on what stands at the start; how much of it is done with, or none if more is needed.
    fn step(&mut self, rest: &[u8]) -> Option<usize> {
        match self.dropping {
            Dropping::Octets(left) => {
                let dropped = (rest.len() as u64).min(left);
                self.dropping = match left - dropped {
                    0 => Dropping::Line,
                    left => Dropping::Octets(left),
                };
                return (dropped > 0).then_some(dropped as usize);
            }
            Dropping::Line => {
                return match memchr::memmem::find(rest, b"\r\n") {
                    Some(end) => {
                        self.dropping = Dropping::Nothing;
                        Some(end + 2)
                    }
                    // The CR may be half of the end.
                    None => Some(rest.len().saturating_sub(1)).filter(|dropped| *dropped > 0),
                };
            }
            Dropping::Nothing => {}
        }
        if rest.is_empty() || rest.len() < self.worth {
            return None;
        }
        match command::read(rest) {
            Read::Whole(line, taken) => {
                self.line(line);
                Some(taken)
            }
            Read::Incomplete(worth) => {
                self.worth = worth;
                None
            }
            Read::TooLong(len, taken) if len > DROPPED_BYTES => {
                self.close_with("that is too much");
                Some(taken)
            }
            Read::TooLong(len, taken) => {
                self.dropping = Dropping::Octets(len);
                let text = format!(
                    "a script has at most {} octets",
                    grapevine_model::MAX_SCRIPT_BYTES
                );
                self.no(Some("QUOTA/MAXSIZE"), &text);
                self.count_error();
                Some(taken)
            }
            Read::Bad(why, taken) => {
                self.dropping = Dropping::Line;
                self.fault(why);
                Some(taken)
            }
        }
    }

    fn line(&mut self, line: Line) {
        if self.phase == Phase::AuthResponse {
            self.phase = Phase::Command;
            return match (line.word.as_str(), line.arguments.as_slice()) {
                ("", [Argument::Text(text)]) => self.auth_response(text),
                _ => self.fault("a string is expected here"),
            };
        }
        let mut arguments = line.arguments.into_iter();
        let arguments = (arguments.next(), arguments.next(), arguments.next());
        match (line.word.as_str(), arguments) {
            ("CAPABILITY", (None, ..)) => {
                let tls = self.config.tls;
                if self.count_idle() {
                    self.write(|out| reply::capabilities(out, tls));
                    self.ok("");
                }
            }
            ("NOOP", (None, ..)) if self.count_idle() => self.ok("done"),
            ("NOOP", (Some(Argument::Text(tag)), None, _)) => {
                if self.count_idle() {
                    self.write(|out| {
                        out.extend_from_slice(b"OK (TAG ");
                        reply::string(out, &tag);
                        out.extend_from_slice(b") \"done\"\r\n");
                    });
                }
            }
            ("LOGOUT", (None, ..)) => {
                self.ok("good-bye");
                self.close();
            }
            ("STARTTLS", (None, ..)) => match self.config.tls {
                Tls::Offered => {
                    self.ok("begin TLS now");
                    self.phase = Phase::StartingTls;
                    self.outbox.push_back(Output::StartTls);
                }
                Tls::Active => self.fault("TLS is on already"),
                Tls::Unavailable | Tls::Local => self.fault("TLS can't be had here"),
            },
            ("AUTHENTICATE", (Some(Argument::Text(mechanism)), response, None)) => {
                self.authenticate(&mechanism, response);
            }
            ("UNAUTHENTICATE", (None, ..)) if self.is_logged_in => {
                self.is_logged_in = false;
                self.ok("");
            }
            ("CHECKSCRIPT", (Some(Argument::Text(script)), None, _)) if self.is_logged_in => {
                match Script::compile(script.as_bytes()) {
                    Ok(_) => self.ok(""),
                    Err(mistake) => self.no(None, &mistake.to_string()),
                }
            }
            ("PUTSCRIPT", (Some(Argument::Text(script)), Some(Argument::Text(text)), None))
                if self.is_logged_in =>
            {
                self.put(&script, text)
            }
            ("HAVESPACE", (Some(Argument::Text(script)), Some(Argument::Number(len)), None))
                if self.is_logged_in =>
            {
                let ask = |script| SieveAsk::HaveSpace { script, len };
                self.ask_about(&script, What::Space(len), ask);
            }
            ("LISTSCRIPTS", (None, ..)) if self.is_logged_in => {
                self.ask(Ask::Scripts(SieveAsk::List), Open::Scripts(What::Other));
            }
            ("SETACTIVE", (Some(Argument::Text(script)), None, _)) if self.is_logged_in => {
                match script.is_empty() {
                    true => self.ask(
                        Ask::Scripts(SieveAsk::Activate(None)),
                        Open::Scripts(What::Other),
                    ),
                    false => {
                        let ask = |script| SieveAsk::Activate(Some(script));
                        self.ask_about(&script, What::Other, ask);
                    }
                }
            }
            ("GETSCRIPT", (Some(Argument::Text(script)), None, _)) if self.is_logged_in => {
                self.ask_about(&script, What::Other, SieveAsk::Get);
            }
            ("DELETESCRIPT", (Some(Argument::Text(script)), None, _)) if self.is_logged_in => {
                self.ask_about(&script, What::Delete, SieveAsk::Delete);
            }
            ("RENAMESCRIPT", (Some(Argument::Text(script)), Some(Argument::Text(to)), None))
                if self.is_logged_in =>
            {
                match to.parse::<ScriptName>() {
                    Ok(to) => {
                        let ask = |script| SieveAsk::Rename { script, to };
                        self.ask_about(&script, What::Rename, ask);
                    }
                    Err(why) => self.no(None, &why.to_string()),
                }
            }
            (
                "UNAUTHENTICATE" | "CHECKSCRIPT" | "PUTSCRIPT" | "HAVESPACE" | "LISTSCRIPTS"
                | "SETACTIVE" | "GETSCRIPT" | "DELETESCRIPT" | "RENAMESCRIPT",
                _,
            ) if !self.is_logged_in => self.fault("log in first"),
            (
                "CAPABILITY" | "NOOP" | "LOGOUT" | "STARTTLS" | "AUTHENTICATE" | "UNAUTHENTICATE"
                | "CHECKSCRIPT" | "PUTSCRIPT" | "HAVESPACE" | "LISTSCRIPTS" | "SETACTIVE"
                | "GETSCRIPT" | "DELETESCRIPT" | "RENAMESCRIPT",
                _,
            ) => {
                // A NOOP that was one too many has closed the session.
                if self.phase != Phase::Closed {
                    self.fault("these are not the arguments of that command");
                }
            }
            _ => self.fault("no such command"),
        }
    }

    fn put(&mut self, script: &str, text: String) {
        let script = match script.parse::<ScriptName>() {
            Ok(script) => script,
            Err(why) => return self.no(None, &why.to_string()),
        };
        if let Err(mistake) = Script::compile(text.as_bytes()) {
            return self.no(None, &mistake.to_string());
        }
        let len = text.len() as u64;
        match ScriptText::try_from(text) {
            Ok(text) => self.ask(
                Ask::Scripts(SieveAsk::Put { script, text }),
                Open::Scripts(What::Space(len)),
            ),
            Err(why) => self.no(Some("QUOTA/MAXSIZE"), &why.to_string()),
        }
    }

    fn ask_about(&mut self, script: &str, what: What, ask: impl FnOnce(ScriptName) -> SieveAsk) {
        match script.parse::<ScriptName>() {
            Ok(script) => self.ask(Ask::Scripts(ask(script)), Open::Scripts(what)),
            Err(why) => self.no(None, &why.to_string()),
        }
    }

    fn authenticate(&mut self, mechanism: &str, response: Option<Argument>) {
        if self.is_logged_in {
            return self.fault("you are logged in already");
        }
        if !matches!(self.config.tls, Tls::Active | Tls::Local) {
            self.no(Some("ENCRYPT-NEEDED"), "no password before STARTTLS");
            return self.count_error();
        }
        if !mechanism.eq_ignore_ascii_case("PLAIN") {
            return self.fault("this mechanism is not offered; PLAIN is");
        }
        match response {
            Some(Argument::Text(response)) => self.auth_response(&response),
            Some(Argument::Number(_)) => self.fault("a response is a string"),
            None => {
                self.phase = Phase::AuthResponse;
                self.write(|out| out.extend_from_slice(b"\"\"\r\n"));
            }
        }
    }

    fn auth_response(&mut self, response: &str) {
        if response == "*" {
            return self.fault("the login was given up");
        }
        match decode_plain(response.as_bytes()) {
            Ok(credentials) => self.ask(Ask::Authenticate(credentials), Open::Login),
            Err(SaslError::OtherIdentity) => {
                self.fault("acting for another name is not supported");
            }
            Err(SaslError::Malformed | SaslError::Downgraded) => {
                self.fault("this response can't be read");
            }
        }
    }

    fn login_answered(&mut self, answer: Answer) {
        match answer {
            Answer::LoggedIn => {
                self.is_logged_in = true;
                self.ok("logged in");
            }
            Answer::NoLogin(Failure::Wrong) => {
                self.no(None, "wrong name or password");
                self.failed_logins += 1;
                if self.failed_logins >= self.config.limits.auth_tries {
                    self.close_with("too many tries");
                }
            }
            // Not the client's fault, so not counted. An answer to another question is no yes.
            Answer::NoLogin(Failure::NotNow) | Answer::Told(_) | Answer::Done | Answer::No(_) => {
                let text = "logins can't be checked now; try again, or at another server";
                self.no(Some("TRYLATER"), text);
            }
        }
    }

    fn scripts_answered(&mut self, what: What, answer: Answer) {
        match answer {
            Answer::Told(SieveReply::Scripts(views)) => {
                self.write(|out| reply::scripts(out, &views));
                self.ok("");
            }
            Answer::Told(SieveReply::Text(text)) => {
                self.write(|out| {
                    let text = text.as_str();
                    out.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
                    out.extend_from_slice(text.as_bytes());
                    out.extend_from_slice(b"\r\n");
                });
                self.ok("");
            }
            Answer::Told(SieveReply::Fits) | Answer::Done => self.ok(""),
            Answer::No(refusal) => {
                let code = match (refusal.kind, what) {
                    (ErrorKind::NotFound, _) => Some("NONEXISTENT"),
                    (ErrorKind::Conflict, What::Delete) => Some("ACTIVE"),
                    (ErrorKind::Conflict, What::Rename) => Some("ALREADYEXISTS"),
                    (ErrorKind::TooLarge, What::Space(len))
                        if len > grapevine_model::MAX_SCRIPT_BYTES as u64 =>
                    {
                        Some("QUOTA/MAXSIZE")
                    }
                    (ErrorKind::TooLarge, _) => Some("QUOTA/MAXSCRIPTS"),
                    (ErrorKind::Unavailable | ErrorKind::Unknown, _) => Some("TRYLATER"),
                    (
                        ErrorKind::Conflict
                        | ErrorKind::Invalid
                        | ErrorKind::NotAuthenticated
                        | ErrorKind::NotAllowed
                        | ErrorKind::Internal,
                        _,
                    ) => None,
                };
                self.no(code, &refusal.why);
            }
            Answer::LoggedIn | Answer::NoLogin(_) => {
                self.no(Some("TRYLATER"), "something is wrong here; try again");
            }
        }
    }

    fn ask(&mut self, ask: Ask, open: Open) {
        self.open = Some(open);
        self.outbox.push_back(Output::Ask(ask));
    }

    fn ok(&mut self, text: &str) {
        self.write(|out| reply::status(out, "OK", None, text));
    }

    fn no(&mut self, code: Option<&str>, text: &str) {
        self.write(|out| reply::status(out, "NO", code, text));
    }

    /// A command that is wrong in form or order.
    fn fault(&mut self, why: &str) {
        self.no(None, why);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.config.limits.errors {
            self.close_with("too many errors");
        }
    }

    /// Counts a command that leads nowhere; whether it may be answered.
    fn count_idle(&mut self) -> bool {
        if !self.is_logged_in {
            self.idle_commands += 1;
            if self.idle_commands > self.config.limits.idle_commands {
                self.close_with("too many commands without a login");
                return false;
            }
        }
        true
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.phase == Phase::Closed {
            return;
        }
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.queued_bytes += bytes.len();
        self.outbox.push_back(Output::Send(bytes));
    }

    fn close_with(&mut self, text: &str) {
        self.write(|out| reply::status(out, "BYE", None, text));
        self.close();
    }

    fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.open = None;
            self.outbox.push_back(Output::Close);
        }
    }
}

fn wipe(bytes: &mut [u8]) {
    use zeroize::Zeroize as _;
    bytes.zeroize();
}
