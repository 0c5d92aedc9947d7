//! The LDAP session: bytes in; answers and questions out.
//!
//! It must never look at a password without TLS, show a stranger more than the root DSE, change anything, act on bytes that came in clear before
//! TLS, or give part of an answer as the whole. Requests are worked on one after another, in their order; what is kept of a client's bytes
//! is bounded: see [`Session::wants_bytes`].

use grapevine_model::{Name, Refusal, Reply, Request, Speaker};

use super::ber::{self, Frame};
use super::comparing::{Comparing, Next};
use super::dn::{self, Place, place};
use super::limits::{MESSAGE_BYTES, SILENCE_BEFORE_LOGIN_MS, SILENCE_MS, WRONG_PASSWORDS};
use super::message::{
    BIND_DONE, COMPARE_DONE, Code, Control, Message, Operation, Outcome, PAGED_RESULTS, Paging,
    Proof, STARTTLS, Scope, Search, Unreadable, WHO_AM_I, notice_of_disconnection, parse,
    put_entry, put_extended, put_result, put_search_done,
};
use super::outcomes::{odd, only, refused};
use super::schema::Posix;
use super::search::{Running, Step, asks_for_everything, asks_for_schema};
use super::subschema::SUBSCHEMA;
use crate::inbox::{Inbox, Residue};
use crate::sasl::Credentials;
use crate::{OUTBOX_BYTES, READ_BYTES, Tls};

/// What a session starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far TLS is.
    pub tls: Tls,
    /// What entries are given for POSIX systems.
    pub posix: Posix,
}

/// What the shell must do, in this order.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, made and taken apart at once"
)]
#[derive(Debug, PartialEq)]
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
#[derive(Debug, PartialEq)]
pub enum Ask {
    /// Are these right? [`Session::logged_in`].
    Authenticate(Credentials),
    /// [`Session::answer`], when all are answered. They don't depend on each other: ask them at once.
    Requests {
        /// Who asks.
        speaker: Speaker,
        /// What.
        requests: Vec<Request>,
    },
}

/// Whether somebody is logged in.
#[derive(Debug)]
pub enum Login {
    /// He is, with his name as its entry spells it.
    Yes(Name, Speaker),
    /// Name or password is wrong.
    Wrong,
    /// It can't be told now.
    NotNow,
}

/// One client's session.
pub struct Session {
    config: Config,
    phase: Phase,
    who: Option<(Name, Speaker)>,
    open: Option<Open>,
    ask: Option<Ask>,
    running: Option<Box<Running>>,
    /// A search in pages whose next page has not been asked for yet: one for each session, and none of another one's.
    paged: Option<(u64, Box<Running>)>,
    next_cookie: u64,
    wrong_passwords: u32,
    client_done: bool,
    shutting_down: bool,
    now_ms: u64,
    out: Vec<u8>,
    inbox: Inbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is written goes out, then the handshake.
    StartTls,
    Shaking,
    /// What is written goes out, then the end.
    Closing,
    Closed,
}

/// Who waits for the open question.
enum Open {
    Bind(i32),
    Search,
    Compare(i32, Box<Comparing>),
    RootDse(i32, Box<Search>),
}

impl Session {
    /// A new session; nothing is said before the client speaks.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Open,
            who: None,
            open: None,
            ask: None,
            running: None,
            paged: None,
            next_cookie: 1,
            wrong_passwords: 0,
            client_done: false,
            shutting_down: false,
            now_ms: 0,
            out: Vec::new(),
            inbox: Inbox::default(),
        }
    }

    /// Tells the session how late it is, in milliseconds from any beginning: searches have time limits.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Whether the shell should read from the client now. While it is false, leave the bytes where they are: that is what bounds memory.
    pub fn wants_bytes(&self) -> bool {
        self.out.is_empty() && self.can_work() && self.running.is_none() && !self.client_done
    }

    /// Hands in bytes from the client, at most [`READ_BYTES`] at a time. In clear and after [`Output::StartTls`] they are dropped.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.phase != Phase::Open {
            return;
        }
        if self.inbox.len().saturating_add(bytes.len()) > MESSAGE_BYTES + 2 * READ_BYTES {
            self.disconnect(Code::Busy, "too much is sent ahead of the answers");
            return;
        }
        self.inbox.append(bytes);
        self.pump();
    }

    /// The next thing to do; `None` until something is handed in.
    pub fn poll(&mut self) -> Option<Output> {
        self.pump();
        // What is written waits for the answer, so that a batch goes out in one piece.
        if self.out.len() < OUTBOX_BYTES
            && let Some(ask) = self.ask.take()
        {
            return Some(Output::Ask(ask));
        }
        if !self.out.is_empty() {
            return Some(Output::Send(std::mem::take(&mut self.out)));
        }
        match self.phase {
            Phase::StartTls => {
                self.phase = Phase::Shaking;
                Some(Output::StartTls)
            }
            Phase::Closing => {
                self.phase = Phase::Closed;
                Some(Output::Close)
            }
            Phase::Open | Phase::Shaking | Phase::Closed => None,
        }
    }

    /// Answers [`Ask::Authenticate`].
    pub fn logged_in(&mut self, login: Login) {
        let Some(Open::Bind(id)) = self.open.take_if(|open| matches!(open, Open::Bind(_))) else {
            return;
        };
        let outcome = match login {
            Login::Yes(name, speaker) => {
                self.who = Some((name, speaker));
                Outcome::success()
            }
            Login::Wrong => {
                self.wrong_passwords += 1;
                Outcome::new(Code::InvalidCredentials, "")
            }
            Login::NotNow => Outcome::new(
                Code::Unavailable,
                "logins can't be checked now, try again or at another server",
            ),
        };
        self.result(id, BIND_DONE, &outcome);
        if self.wrong_passwords >= WRONG_PASSWORDS {
            self.disconnect(Code::UnwillingToPerform, "too many wrong passwords");
        }
        self.pump();
    }

    /// Answers [`Ask::Requests`], in their order.
    pub fn answer(&mut self, results: Vec<Result<Reply, Refusal>>) {
        match self.open.take_if(|open| !matches!(open, Open::Bind(_))) {
            None | Some(Open::Bind(_)) => return,
            Some(Open::Search) => {
                if let Some(mut running) = self.running.take() {
                    match running.answer(results) {
                        Ok(()) => self.running = Some(running),
                        Err(outcome) => self.search_ends(&running, &outcome),
                    }
                }
            }
            Some(Open::Compare(id, mut comparing)) => {
                let next = match only(results) {
                    Some(result) => comparing.answer(result, &self.config.posix),
                    None => Next::Done(odd()),
                };
                self.compare_on(id, comparing, next);
            }
            Some(Open::RootDse(id, search)) => self.root_dse(id, &search, only(results)),
        }
        self.pump();
    }

    /// The handshake is done: the session starts again.
    pub fn tls_started(&mut self) {
        if self.phase == Phase::Shaking {
            self.config.tls = Tls::Active;
            self.phase = Phase::Open;
            self.who = None;
            self.paged = None;
        }
    }

    /// The client sends no more. What it has sent is worked on; then comes [`Output::Close`].
    pub fn eof(&mut self) {
        self.client_done = true;
        if matches!(self.phase, Phase::StartTls | Phase::Shaking) {
            self.phase = Phase::Closing;
        }
        self.pump();
    }

    /// The proof that somebody logged in with holds no more; nothing is answered in his name.
    pub fn login_ended(&mut self) {
        self.open = None;
        self.disconnect(
            Code::UnwillingToPerform,
            "this login has ended: the credentials were changed, or the name is no more",
        );
    }

    /// The client was silent for [`Session::silence_ms`].
    pub fn timed_out(&mut self) {
        self.disconnect(Code::Busy, "nothing was asked for a long time");
    }

    /// The server stops: closes as soon as no question is under way.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
        self.pump();
    }

    /// How long the client may be silent now, in milliseconds; the shell keeps the time, and pauses it while a question is open.
    pub fn silence_ms(&self) -> u64 {
        if self.who.is_some() {
            SILENCE_MS
        } else {
            SILENCE_BEFORE_LOGIN_MS
        }
    }

    /// Whether somebody has logged in.
    pub fn is_stranger(&self) -> bool {
        self.who.is_none()
    }

    /// Bytes held for the client: input not worked on, and output not taken.
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.out.len()
    }

    fn can_work(&self) -> bool {
        self.phase == Phase::Open
            && self.open.is_none()
            && self.ask.is_none()
            && self.out.len() < OUTBOX_BYTES
    }

    fn pump(&mut self) {
        while self.can_work() {
            if let Some(running) = self.running.take() {
                self.search_on(running);
                continue;
            }
            if self.shutting_down {
                self.disconnect(Code::Unavailable, "this server stops; use another one");
                return;
            }
            let inbox = std::mem::take(&mut self.inbox);
            let (taken, residue) = self.message(inbox.as_slice());
            self.inbox = inbox;
            self.inbox.consume(taken, residue);
            if self.phase != Phase::Open {
                self.inbox.clear();
                return;
            }
            if taken == 0 {
                if self.client_done && self.can_work() {
                    self.phase = Phase::Closing;
                    self.inbox.clear();
                }
                return;
            }
        }
    }

    /// Works on one message. How many octets it had; 0: more are needed.
    fn message(&mut self, bytes: &[u8]) -> (usize, Residue) {
        let (content, taken) = match ber::frame(bytes, ber::SEQUENCE, MESSAGE_BYTES) {
            Frame::Incomplete => return (0, Residue::Keep),
            Frame::Whole { content, taken } => (content, taken),
            Frame::TooLong => {
                self.disconnect(Code::ProtocolError, "a message is too long");
                return (0, Residue::Keep);
            }
            Frame::Malformed => {
                self.disconnect(Code::ProtocolError, "this is not LDAP");
                return (0, Residue::Keep);
            }
        };
        match parse(content) {
            Ok(message) => {
                let residue = match &message.operation {
                    Operation::Bind { .. } => Residue::Wipe,
                    Operation::Unbind
                    | Operation::Search(_)
                    | Operation::Compare { .. }
                    | Operation::Change(_)
                    | Operation::Abandon
                    | Operation::Extended { .. } => Residue::Keep,
                };
                self.operation(message);
                (taken, residue)
            }
            Err(Unreadable::Request {
                id,
                response: Some(response),
                code,
                why,
            }) => {
                self.result(id, response, &Outcome::new(code, why));
                // Perhaps it was a password.
                (taken, Residue::Wipe)
            }
            Err(Unreadable::NoMessage | Unreadable::Request { response: None, .. }) => {
                self.disconnect(Code::ProtocolError, "a message can't be read");
                (taken, Residue::Wipe)
            }
        }
    }

    fn operation(&mut self, message: Message<'_>) {
        let Message {
            id,
            operation,
            controls,
        } = message;
        let paging = match paging(&controls, &operation) {
            Ok(paging) => paging,
            Err(outcome) => return self.refuse(id, &operation, &outcome),
        };
        match operation {
            Operation::Bind { version, name, by } => self.bind(id, version, name, &by),
            Operation::Unbind => self.phase = Phase::Closing,
            // What it would end is done already: one request after another.
            Operation::Abandon => {}
            Operation::Change(response) => {
                let outcome = Outcome::new(
                    Code::UnwillingToPerform,
                    "this directory is read-only; changes are made with grapevine",
                );
                self.result(id, response, &outcome);
            }
            Operation::Extended { name } => self.extended(id, name),
            Operation::Search(search) => self.search(id, *search, paging),
            Operation::Compare {
                name,
                attribute,
                value,
            } => match &self.who {
                None => self.result(id, COMPARE_DONE, &log_in_first()),
                Some(_) => {
                    let next = Comparing::begin(name, attribute, value);
                    match next {
                        Ok((comparing, request)) => {
                            self.ask(Open::Compare(id, Box::new(comparing)), request);
                        }
                        Err(outcome) => self.result(id, COMPARE_DONE, &outcome),
                    }
                }
            },
        }
    }

    /// Says no to a request as its kind has it.
    fn refuse(&mut self, id: i32, operation: &Operation<'_>, outcome: &Outcome) {
        match operation {
            Operation::Bind { .. } => self.result(id, BIND_DONE, outcome),
            Operation::Search(_) => put_search_done(&mut self.out, id, outcome, None),
            Operation::Compare { .. } => self.result(id, COMPARE_DONE, outcome),
            Operation::Change(response) => self.result(id, *response, outcome),
            Operation::Extended { .. } => put_extended(&mut self.out, id, outcome, None, None),
            // RFC 4511 4.1.11: what has no response is done all the same.
            Operation::Unbind => self.phase = Phase::Closing,
            Operation::Abandon => {}
        }
    }

    fn bind(&mut self, id: i32, version: i32, name: &str, by: &Proof<'_>) {
        // Whatever comes of it, who was logged in is so no longer (RFC 4511 4.2.1).
        self.who = None;
        self.paged = None;
        let refused = |code, why: &str| Some(Outcome::new(code, why));
        let outcome = match (version, by) {
            (3, Proof::Simple(password)) => match (name.is_empty(), password.is_empty()) {
                (true, true) => Some(Outcome::success()),
                // RFC 4513 5.1.2: a program that forgot to ask for the password must not believe that it was right.
                (false, true) => refused(Code::UnwillingToPerform, "a password is needed"),
                (_, false) if !matches!(self.config.tls, Tls::Active | Tls::Local) => refused(
                    Code::ConfidentialityRequired,
                    "TLS first: this password has been seen on the way, change it",
                ),
                (_, false) => match credentials(name, password) {
                    Some(credentials) => {
                        self.open = Some(Open::Bind(id));
                        self.ask = Some(Ask::Authenticate(credentials));
                        None
                    }
                    None => refused(Code::InvalidCredentials, ""),
                },
            },
            (3, Proof::Other) => refused(Code::AuthMethodNotSupported, "simple binds only"),
            _ => refused(Code::ProtocolError, "LDAP version 3 only"),
        };
        if let Some(outcome) = outcome {
            self.result(id, BIND_DONE, &outcome);
        }
    }

    fn extended(&mut self, id: i32, name: &str) {
        match (name, self.config.tls) {
            (STARTTLS, Tls::Offered) => {
                put_extended(&mut self.out, id, &Outcome::success(), Some(STARTTLS), None);
                self.phase = Phase::StartTls;
            }
            (STARTTLS, Tls::Active) => {
                let outcome = Outcome::new(Code::OperationsError, "TLS is on already");
                put_extended(&mut self.out, id, &outcome, Some(STARTTLS), None);
            }
            (STARTTLS, Tls::Unavailable | Tls::Local) => {
                let outcome = Outcome::new(Code::ProtocolError, "TLS is not offered here");
                put_extended(&mut self.out, id, &outcome, Some(STARTTLS), None);
            }
            (WHO_AM_I, _) => {
                let who = match &self.who {
                    Some((name, _)) => format!("dn:{}", dn::of_individual(name)),
                    None => String::new(),
                };
                put_extended(&mut self.out, id, &Outcome::success(), None, Some(&who));
            }
            (_, _) => {
                let outcome = Outcome::new(Code::ProtocolError, "no such extended operation");
                put_extended(&mut self.out, id, &outcome, None, None);
            }
        }
    }

    fn search(&mut self, id: i32, search: Search, paging: Option<Paging>) {
        if search.scope == Scope::Base && place(&search.base) == Ok(Place::Root) {
            self.ask(Open::RootDse(id, Box::new(search)), Request::RegistryList);
            return;
        }
        if self.who.is_none() {
            put_search_done(&mut self.out, id, &log_in_first(), None);
            return;
        }
        if search.scope == Scope::Base && search.base.eq_ignore_ascii_case(SUBSCHEMA) {
            return self.subschema(id, &search, paging.map(|_| &[][..]));
        }
        let begun = match paging {
            None => Running::begin(id, search, None, self.now_ms),
            Some(paging) if paging.cookie.is_empty() => {
                // RFC 2696: a size of zero asks how many there are, which is not known.
                Running::begin(id, search, Some(paging.size.max(1)), self.now_ms)
            }
            Some(paging) => match self.paged.take() {
                Some((cookie, mut running))
                    if cookie.to_be_bytes() == paging.cookie.as_slice()
                        && running.search == search =>
                {
                    if paging.size == 0 {
                        // It is given up.
                        put_search_done(&mut self.out, id, &Outcome::success(), Some(&[]));
                        return;
                    }
                    running.go_on(id, paging.size, self.now_ms);
                    self.running = Some(running);
                    return;
                }
                _ => Err(Outcome::new(
                    Code::UnwillingToPerform,
                    "the cookie is of no search that waits here",
                )),
            },
        };
        match begun {
            Ok(running) => self.running = Some(Box::new(running)),
            Err(outcome) => put_search_done(&mut self.out, id, &outcome, None),
        }
    }

    fn search_on(&mut self, mut running: Box<Running>) {
        match running.step(&self.config.posix, self.now_ms, &mut self.out) {
            Step::On => self.running = Some(running),
            Step::Ask(requests) => {
                self.running = Some(running);
                self.ask_all(Open::Search, requests);
            }
            Step::PageFull => {
                let cookie = self.next_cookie;
                self.next_cookie += 1;
                put_search_done(
                    &mut self.out,
                    running.id,
                    &Outcome::success(),
                    Some(&cookie.to_be_bytes()),
                );
                self.paged = Some((cookie, running));
            }
            Step::Done(outcome) => self.search_ends(&running, &outcome),
        }
    }

    fn search_ends(&mut self, running: &Running, outcome: &Outcome) {
        let cookie = running.page.map(|_| &[][..]);
        put_search_done(&mut self.out, running.id, outcome, cookie);
    }

    fn compare_on(&mut self, id: i32, comparing: Box<Comparing>, next: Next) {
        match next {
            Next::Ask(request) => self.ask(Open::Compare(id, comparing), request),
            Next::Done(outcome) => self.result(id, COMPARE_DONE, &outcome),
        }
    }

    fn root_dse(&mut self, id: i32, search: &Search, result: Option<Result<Reply, Refusal>>) {
        let outcome = match result {
            Some(Ok(Reply::Registries(registries))) => {
                if asks_for_everything(&search.filter) {
                    let contexts = registries.iter().map(dn::of_registry).collect();
                    let attributes = super::root::attributes(contexts, &search.attributes)
                        .into_iter()
                        .map(|(name, values)| {
                            let values = if search.types_only {
                                Vec::new()
                            } else {
                                values
                            };
                            (name, values)
                        });
                    put_entry(&mut self.out, id, "", attributes);
                }
                Outcome::success()
            }
            Some(Err(refusal)) => refused(&refusal),
            Some(Ok(_)) | None => odd(),
        };
        put_search_done(&mut self.out, id, &outcome, None);
    }

    fn subschema(&mut self, id: i32, search: &Search, cookie: Option<&[u8]>) {
        if asks_for_everything(&search.filter) || asks_for_schema(&search.filter) {
            let attributes = super::subschema::attributes(&search.attributes)
                .into_iter()
                .map(|(name, values)| match search.types_only {
                    true => (name, Vec::new()),
                    false => (name, values),
                });
            put_entry(&mut self.out, id, SUBSCHEMA, attributes);
        }
        put_search_done(&mut self.out, id, &Outcome::success(), cookie);
    }

    fn ask(&mut self, open: Open, request: Request) {
        self.ask_all(open, vec![request]);
    }

    fn ask_all(&mut self, open: Open, requests: Vec<Request>) {
        let speaker = match &self.who {
            Some((_, speaker)) => speaker.clone(),
            None => Speaker::Anonymous,
        };
        self.open = Some(open);
        self.ask = Some(Ask::Requests { speaker, requests });
    }

    fn result(&mut self, id: i32, tag: u8, outcome: &Outcome) {
        put_result(&mut self.out, id, tag, outcome);
    }

    fn disconnect(&mut self, code: Code, why: &str) {
        if matches!(self.phase, Phase::Open) {
            self.out
                .extend_from_slice(&notice_of_disconnection(code, why));
        }
        if self.phase != Phase::Closed {
            self.phase = Phase::Closing;
        }
        self.running = None;
        self.paged = None;
        self.inbox.clear();
    }
}

fn log_in_first() -> Outcome {
    Outcome::new(Code::InsufficientAccessRights, "log in first")
}

/// Whom a bind names: by his place in the tree, or by his name as mail has it. What is neither is handed on as it is, and is nobody's.
fn credentials(name: &str, password: &[u8]) -> Option<Credentials> {
    let password = std::str::from_utf8(password).ok()?;
    let name = match place(name) {
        Ok(Place::Individual(name)) => name.to_string(),
        Ok(Place::Root | Place::Registry(_) | Place::Group(_) | Place::Nothing(_)) | Err(_) => {
            name.to_owned()
        }
    };
    Credentials::new(&name, password).ok()
}

/// The paged results control of a search; a critical control that is not known, or not for this, is refused.
fn paging(controls: &[Control<'_>], operation: &Operation<'_>) -> Result<Option<Paging>, Outcome> {
    let mut found = None;
    for control in controls {
        let for_this = control.name == PAGED_RESULTS && matches!(operation, Operation::Search(_));
        if for_this && found.is_none() {
            let paging = control.paging().map_err(|_| {
                Outcome::new(
                    Code::ProtocolError,
                    "the paged results control can't be read",
                )
            })?;
            found = Some(paging);
        } else if for_this || control.critical {
            return Err(Outcome::new(
                Code::UnavailableCriticalExtension,
                "a critical control is not known here",
            ));
        }
    }
    Ok(found)
}
