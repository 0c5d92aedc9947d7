//! The IMAP session: bytes in; responses and questions out.
//!
//! It must never let a password pass without TLS, act on bytes that came in clear before TLS, say that something is done before the shell has said so, or
//! move a sequence number without telling. Commands are worked on one after another, so what a client pipelines is answered in order. What is kept of
//! a client's bytes is bounded: see [`Session::wants_bytes`].

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::append::Appending;
use super::command::{By, Command, Echo};
use super::deflate::Deflate;
use super::fetch::Fetching;
use super::folders::{Listing, Then};
use super::input::wipe;
use super::limits::{SILENCE_BEFORE_LOGIN_MS, SILENCE_MS};
use super::login::Scram;
use super::names::Spelling;
use super::search::Searching;
use super::select::Selecting;
use super::sets::Ranges;
use super::telling::Telling;
use super::types::{Answer, Ask, Config, FolderId, Output, Refusal};
use super::view::{Stored, View};
use crate::inbox::{Inbox, Residue};
use crate::line::Skip;
use crate::sasl::channel::Channel;
use crate::sasl::scram::First;
use crate::text::push_safe;
use crate::{OUTBOX_BYTES, READ_BYTES};

/// One client's session.
pub struct Session {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) open: Option<Open>,
    pub(super) running: Option<Running>,
    pub(super) logged_in: bool,
    pub(super) selected: Option<View>,
    pub(super) enabled: Enabled,
    /// What the last search kept: UIDs.
    pub(super) saved: Ranges,
    pub(super) channel: Channel,
    pub(super) failed_logins: u32,
    pub(super) queued_bytes: usize,
    pub(super) ending: Ending,
    pub(super) outbox: VecDeque<Output>,
    /// The command that is coming in, its literals in place.
    pub(super) command: Zeroizing<Vec<u8>>,
    idle_commands: u32,
    pub(super) errors: u32,
    pub(super) skip: Skip,
    pub(super) inbox: Inbox,
    /// What passes the connection is compressed.
    pub(super) deflate: Option<Box<Deflate>>,
    /// Whether what was just worked on held a login.
    pub(super) residue: Residue,
}

/// What the client has turned on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enabled {
    pub(super) condstore: bool,
    pub(super) qresync: bool,
    pub(super) utf8: bool,
    pub(super) rev2: bool,
}

/// What the next bytes are.
pub(super) enum Phase {
    Command,
    /// Octets of a literal in a command.
    Literal {
        left: usize,
    },
    /// A message of APPEND.
    Message(Box<Appending>),
    /// Octets that nobody wants: of a message that was refused when it was on its way.
    Unwanted {
        left: u64,
    },
    /// The line behind such a message.
    AfterUnwanted,
    AuthResponse {
        tag: String,
    },
    Scram {
        tag: String,
        scram: Scram,
    },
    Idle {
        tag: String,
    },
    StartingTls,
    /// The yes to COMPRESS is on its way, as the last thing that is said in clear.
    StartingDeflate,
    Closed,
}

/// The open question.
pub(super) enum Open {
    Login {
        tag: String,
    },
    ScramBegin {
        tag: String,
        first: First,
    },
    ScramFinish {
        tag: String,
    },
    Folders(Then),
    Select(Selecting),
    /// What is new in the selected folder, and what is said after it.
    Refresh(Box<Afterwards>),
    /// A change of folders: done, or not.
    Simple {
        tag: String,
        done: &'static str,
    },
    Store {
        tag: String,
        stored: Stored,
        echo: Echo,
        by: By,
    },
    Expunge {
        tag: String,
        then: AfterExpunge,
    },
    Placed {
        tag: String,
        verb: Placing,
        to: FolderId,
    },
    Created {
        tag: String,
    },
    Quota {
        tag: String,
        root: Option<String>,
    },
    Deleted {
        tag: String,
        folder: FolderId,
    },
    Seen(Box<Afterwards>),
    Body(Box<Running>),
}

/// What happens after a refresh.
#[derive(Debug)]
pub(super) struct Afterwards {
    /// Written at the end; empty in IDLE.
    pub(super) last: Vec<u8>,
    pub(super) expunges: Expunges,
    /// What this session has stored, which the client need not be told.
    pub(super) stored: Option<Stored>,
    /// Flags of these UIDs are told whether or not they have changed.
    pub(super) shown: Option<Ranges>,
    /// In the place of `last`: the tag and the text of a yes that says the highest mod-sequence.
    pub(super) highest: Option<(String, &'static str)>,
}

/// Whether EXPUNGE may be said now (RFC 9051 section 7.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expunges {
    Told,
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterExpunge {
    Tell,
    Close,
}

/// Why messages are put somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    Copy,
    Move,
    Append,
}

/// A command that goes on for more than one step.
pub(super) enum Running {
    Tell(Telling),
    Fetch(Box<Fetching>),
    Search(Box<Searching>),
    List(Box<Listing>),
    Numbers(Numbers),
}

/// A long line of numbers.
pub(super) struct Numbers {
    pub(super) rest: std::vec::IntoIter<u32>,
    /// What ends the line, and the command.
    pub(super) last: Vec<u8>,
    pub(super) expunges: Expunges,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
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
            running: None,
            logged_in: false,
            selected: None,
            enabled: Enabled::default(),
            saved: Ranges::default(),
            channel: Channel::default(),
            failed_logins: 0,
            queued_bytes: 0,
            ending: Ending::Not,
            outbox: VecDeque::new(),
            command: Zeroizing::new(Vec::new()),
            idle_commands: 0,
            errors: 0,
            skip: Skip::Off,
            inbox: Inbox::default(),
            deflate: None,
            residue: Residue::Keep,
        };
        let mut greeting = b"* OK [CAPABILITY ".to_vec();
        greeting.extend_from_slice(session.capabilities().as_bytes());
        greeting.extend_from_slice(b"] ");
        push_safe(&mut greeting, &session.config.hostname);
        greeting.extend_from_slice(b" IMAP Grapevine\r\n");
        session.write(|out| out.extend_from_slice(&greeting));
        session
    }

    /// Whether the shell should read from the client now. While it is false, leave the bytes where they are: that is what bounds memory.
    pub fn wants_bytes(&self) -> bool {
        self.outbox.is_empty()
            && self.running.is_none()
            && self.can_work()
            && self.ending != Ending::ClientDone
            && !self
                .deflate
                .as_ref()
                .is_some_and(|deflate| deflate.has_unflushed())
    }

    /// Hands in bytes from the client, at most [`READ_BYTES`] at a time. In clear and after [`Output::StartTls`] they are dropped: whatever
    /// was sent ahead of the handshake could have been put there by anybody.
    pub fn receive(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            return;
        }
        if let Some(deflate) = &mut self.deflate {
            // A shell that goes on reading against `wants_bytes` is stopped here, too.
            if deflate.held_bytes() + bytes.len() > 2 * READ_BYTES {
                self.close();
            } else {
                deflate.receive(bytes);
                self.pump();
            }
        } else if self.inbox.is_empty() {
            let taken = self.work(bytes);
            self.keep(bytes.get(taken..).unwrap_or_default());
        } else {
            self.keep(bytes);
            self.pump();
        }
    }

    /// The next thing to do; `None` until something is handed in.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if self.outbox.is_empty() {
                if matches!(self.phase, Phase::StartingDeflate) {
                    self.start_deflate();
                }
                self.pump();
            }
            if let Some(flushed) = self.flush_deflate() {
                return Some(Output::Send(flushed));
            }
            let output = self.outbox.pop_front()?;
            self.queued_bytes = self.queued_bytes.saturating_sub(weight(&output));
            match (output, &mut self.deflate) {
                (Output::Send(bytes), Some(deflate)) => {
                    let ready = deflate.deflate(&bytes);
                    if !ready.is_empty() {
                        return Some(Output::Send(ready));
                    }
                }
                (output, _) => return Some(output),
            }
        }
    }

    /// Answers the open question; ignored when there is none, or when it is answered with a body.
    pub fn answer(&mut self, answer: Answer) {
        match self.open.take_if(|open| !matches!(open, Open::Body(_))) {
            None | Some(Open::Body(_)) => return,
            Some(Open::Login { tag }) => self.login_answered(&tag, answer),
            Some(Open::ScramBegin { tag, first }) => self.scram_begun(tag, first, answer),
            Some(Open::ScramFinish { tag }) => self.scram_finished(tag, answer),
            Some(Open::Folders(then)) => self.folders_answered(then, answer),
            Some(Open::Select(selecting)) => self.select_answered(selecting, answer),
            Some(Open::Refresh(ending)) => self.refreshed(*ending, answer),
            Some(Open::Simple { tag, done }) => match answer {
                Answer::Yes => self.complete(&tag, done),
                other => self.refused(&tag, other),
            },
            Some(Open::Store {
                tag,
                stored,
                echo,
                by,
            }) => {
                self.store_answered(tag, stored, echo, by, answer);
            }
            Some(Open::Expunge { tag, then }) => self.expunge_answered(tag, then, answer),
            Some(Open::Placed { tag, verb, to }) => self.placed(&tag, verb, to, answer),
            Some(Open::Created { tag }) => self.created(&tag, answer),
            Some(Open::Quota { tag, root }) => self.quota_answered(&tag, root, answer),
            Some(Open::Deleted { tag, folder }) => self.deleted(&tag, folder, answer),
            Some(Open::Seen(ending)) => self.seen_answered(*ending, answer),
        }
        self.pump();
    }

    /// The selected folder may have changed. In IDLE that is looked after at once, else with the next command that allows it.
    pub fn mailbox_changed(&mut self) {
        if let Some(view) = &mut self.selected {
            view.stale = true;
        }
        self.pump();
    }

    /// Which folder is selected: that changes in it are of interest.
    pub fn watches(&self) -> Option<FolderId> {
        self.selected.as_ref().map(|view| view.folder)
    }

    /// Whether the client waits for news.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle { .. })
    }

    /// The handshake is done: the session starts again, without a greeting (RFC 9051 section 6.2.1).
    pub fn tls_started(&mut self) {
        if matches!(self.phase, Phase::StartingTls) {
            self.config.tls = crate::Tls::Active;
            self.phase = Phase::Command;
            self.idle_commands = 0;
            self.errors = 0;
            self.skip = Skip::Off;
            self.inbox.clear();
        }
    }

    /// What a login by SCRAM can be bound to: before the client's first command in the channel.
    pub fn channel_known(&mut self, channel: Channel) {
        self.channel = channel;
    }

    /// The client sends no more. What it has sent is worked on; then comes [`Output::Close`]. A message that was not complete is forgotten.
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
            Phase::StartingTls => self.close(),
            _ if self.open.is_some() || self.running.is_some() => self.close(),
            _ => self.bye("[UNAVAILABLE] Silent for too long, closing"),
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
        if self.logged_in {
            SILENCE_MS
        } else {
            SILENCE_BEFORE_LOGIN_MS
        }
    }

    /// Bytes held for the client: input not worked on, and outputs not taken. (The folder's rows are the shell's own data.)
    pub fn held_bytes(&self) -> usize {
        let body = match &self.open {
            Some(Open::Body(running)) => running.held_bytes(),
            _ => self.running.as_ref().map_or(0, Running::held_bytes),
        };
        let deflated = self
            .deflate
            .as_ref()
            .map_or(0, |deflate| deflate.held_bytes());
        self.inbox.len() + deflated + self.queued_bytes + self.command.len() + body
    }

    pub(super) fn can_work(&self) -> bool {
        !matches!(
            self.phase,
            Phase::StartingTls | Phase::StartingDeflate | Phase::Closed
        ) && self.open.is_none()
            && self.queued_bytes < OUTBOX_BYTES
    }

    /// Bytes that have to wait. A shell that goes on reading against [`Session::wants_bytes`] is stopped here.
    fn keep(&mut self, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed | Phase::StartingTls) {
            return;
        }
        if self.inbox.is_empty() || self.inbox.len() + bytes.len() <= 2 * READ_BYTES {
            self.inbox.append(bytes);
        } else {
            self.close();
        }
    }

    pub(super) fn pump(&mut self) {
        self.pump_inbox();
        while self.inflate_more() {
            self.pump_inbox();
        }
    }

    pub(super) fn pump_inbox(&mut self) {
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
            if let Some(running) = self.running.take() {
                self.step_running(running);
                continue;
            }
            if self.ending == Ending::ShuttingDown {
                self.bye("[UNAVAILABLE] Server is shutting down, try again or at another server");
                break;
            }
            if matches!(self.phase, Phase::Idle { .. })
                && self.selected.as_ref().is_some_and(|view| view.stale)
            {
                self.refresh(Vec::new(), Expunges::Told);
                continue;
            }
            let taken = self.step(rest);
            if taken == 0 {
                // A step may have changed the phase without needing a byte.
                if self.open.is_some() || self.running.is_some() {
                    continue;
                }
                if self.ending == Ending::ClientDone
                    && self.deflate.as_ref().is_none_or(|deflate| deflate.is_dry())
                {
                    self.close();
                }
                break;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        input.len() - rest.len()
    }

    fn step_running(&mut self, running: Running) {
        match running {
            Running::Tell(telling) => self.tell(telling),
            Running::Fetch(fetching) => self.fetch_on(fetching),
            Running::Search(searching) => self.search_on(searching),
            Running::List(listing) => self.list_on(listing),
            Running::Numbers(numbers) => self.numbers_on(numbers),
        }
    }

    pub(super) fn run(&mut self, tag: String, command: Command) {
        match command {
            Command::Capability => {
                if self.count_idle() {
                    let line = format!("* CAPABILITY {}\r\n", self.capabilities());
                    self.write(|out| out.extend_from_slice(line.as_bytes()));
                    self.complete(&tag, "CAPABILITY completed");
                }
            }
            Command::Id => {
                if self.count_idle() {
                    self.write(|out| out.extend_from_slice(b"* ID (\"name\" \"Grapevine\")\r\n"));
                    self.complete(&tag, "ID completed");
                }
            }
            Command::Noop | Command::Check => {
                if self.count_idle() {
                    self.done_fresh(&tag, "completed");
                }
            }
            Command::Logout => {
                self.write(|out| out.extend_from_slice(b"* BYE Bye\r\n"));
                self.complete(&tag, "LOGOUT completed");
                self.close();
            }
            Command::StartTls => self.start_tls(&tag),
            Command::Authenticate { mechanism, initial } => {
                self.authenticate(tag, &mechanism, initial.as_deref());
            }
            Command::Login { name, password } => self.login(tag, &name, &password),
            other if !self.logged_in => {
                drop(other);
                self.fault(Some(&tag), "Log in first");
            }
            Command::Enable(wanted) => self.enable(&tag, &wanted),
            Command::Namespace => {
                self.write(|out| out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"));
                self.complete(&tag, "NAMESPACE completed");
            }
            Command::Select {
                path,
                access,
                options,
            } => self.select(tag, path, access, options),
            Command::Create { path, special_use } => self.create(tag, path, special_use),
            Command::Delete(path) => self.ask_folders(Then::Delete { tag, path }),
            Command::Rename { from, to } => self.ask_folders(Then::Rename { tag, from, to }),
            Command::Subscribe(path) => self.subscribe(tag, path),
            Command::Unsubscribe(path) => {
                self.ask(
                    Ask::Unsubscribe(path),
                    Open::Simple {
                        tag,
                        done: "UNSUBSCRIBE completed",
                    },
                );
            }
            Command::List(list) => self.list(tag, list),
            Command::Status { path, items } => self.ask_folders(Then::Status { tag, path, items }),
            Command::GetQuota(root) if root.is_empty() => {
                self.ask(Ask::Quota, Open::Quota { tag, root: None });
            }
            Command::GetQuota(_) => {
                self.no(&tag, "[NONEXISTENT] There is one quota, of the empty name")
            }
            Command::GetQuotaRoot(path) => self.ask(
                Ask::Quota,
                Open::Quota {
                    tag,
                    root: Some(path),
                },
            ),
            Command::SetQuota => self.no(&tag, "[NOPERM] Quotas are the registry's owners' to set"),
            Command::Idle => {
                self.write(|out| out.extend_from_slice(b"+ idling\r\n"));
                self.phase = Phase::Idle { tag };
            }
            Command::Compress(algorithm) => self.compress(&tag, &algorithm),
            other => self.run_selected(tag, other),
        }
    }

    /// Commands that need a selected folder.
    fn run_selected(&mut self, tag: String, command: Command) {
        if self.selected.is_none() {
            return self.fault(Some(&tag), "Select a folder first");
        }
        match command {
            Command::Close => self.close_folder(tag),
            Command::Unselect => {
                self.selected = None;
                self.saved = Ranges::default();
                self.complete(&tag, "UNSELECT completed");
            }
            Command::Expunge(set) => self.expunge(tag, set.as_ref()),
            Command::Search { search, by } => self.search(tag, search, by),
            Command::Sort { sorted, by } => self.sort(tag, sorted, by),
            Command::Thread { threaded, by } => self.thread(tag, threaded, by),
            Command::Fetch { fetch, by } => self.fetch(tag, fetch, by),
            Command::Store(store) => self.store(tag, store),
            Command::Copy { set, path, by } => self.copy(tag, &set, path, by, Placing::Copy),
            Command::Move { set, path, by } => self.copy(tag, &set, path, by, Placing::Move),
            _ => self.fault(Some(&tag), "Command not known"),
        }
    }

    pub(super) fn spelling(&self) -> Spelling {
        if self.enabled.utf8 || self.enabled.rev2 {
            Spelling::Utf8
        } else {
            Spelling::Utf7
        }
    }

    pub(super) fn count_idle(&mut self) -> bool {
        if !self.logged_in {
            self.idle_commands += 1;
        }
        let goes_on = self.idle_commands <= self.config.limits.idle_commands;
        if !goes_on {
            self.bye("Too many commands without a login, closing");
        }
        goes_on
    }

    /// `tag OK text`, without looking for news.
    pub(super) fn complete(&mut self, tag: &str, text: &str) {
        self.tagged(tag, "OK", text);
    }

    pub(super) fn no(&mut self, tag: &str, text: &str) {
        self.tagged(tag, "NO", text);
    }

    pub(super) fn refused(&mut self, tag: &str, answer: Answer) {
        match answer {
            Answer::No(refusal) => self.refuse(tag, &refusal),
            // Not an answer to this question: a fault of the shell's, and no yes.
            _ => self.no(tag, "[SERVERBUG] Something is wrong here"),
        }
    }

    pub(super) fn refuse(&mut self, tag: &str, refusal: &Refusal) {
        let mut text = format!("[{}] ", refusal.code());
        crate::text::push_safe_str(&mut text, &refusal.text);
        self.no(tag, &text);
    }

    fn tagged(&mut self, tag: &str, word: &str, text: &str) {
        self.write(|out| {
            for part in [tag, " ", word, " ", text, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        });
    }

    /// A wrong command: it is answered, and counted.
    pub(super) fn fault(&mut self, tag: Option<&str>, why: &str) {
        self.tagged(tag.unwrap_or("*"), "BAD", why);
        self.errors += 1;
        if self.errors >= self.config.limits.errors {
            self.bye("Too many errors, closing");
        }
    }

    pub(super) fn bye(&mut self, why: &str) {
        if !matches!(self.phase, Phase::Closed) {
            self.tagged("*", "BYE", why);
            self.close();
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, open: Open) {
        self.open = Some(open);
        self.push(Output::Ask(ask));
    }

    /// Responses that follow each other leave in one write.
    pub(super) fn write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if !matches!(self.outbox.back(), Some(Output::Send(_))) {
            self.outbox.push_back(Output::Send(Vec::new()));
        }
        if let Some(Output::Send(out)) = self.outbox.back_mut() {
            let before = out.len();
            fill(out);
            self.queued_bytes += out.len() - before;
        }
    }

    pub(super) fn room(&self) -> usize {
        OUTBOX_BYTES.saturating_sub(self.queued_bytes)
    }

    pub(super) fn close(&mut self) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.push(Output::Close);
        self.phase = Phase::Closed;
        self.open = None;
        self.running = None;
        wipe(&mut self.command);
        self.inbox.clear();
        if let Some(deflate) = &mut self.deflate {
            deflate.forget_input();
        }
    }

    pub(super) fn push(&mut self, output: Output) {
        if !matches!(self.phase, Phase::Closed) {
            self.queued_bytes += weight(&output);
            self.outbox.push_back(output);
        }
    }

    pub(super) fn command_so_far(&self) -> &[u8] {
        &self.command
    }
}

impl Running {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Fetch(fetching) => fetching.held_bytes(),
            Self::Search(searching) => searching.held_bytes(),
            // What they say is made step by step of the shell's data.
            Self::Tell(_) | Self::List(_) | Self::Numbers(_) => 0,
        }
    }
}

/// What an output counts for in the bound on outputs.
fn weight(output: &Output) -> usize {
    match output {
        Output::Send(bytes) | Output::BodyChunk(bytes) => bytes.len(),
        Output::StartTls
        | Output::Ask(_)
        | Output::BodyStart { .. }
        | Output::BodyEnd
        | Output::BodyAbort
        | Output::Close => 0,
    }
}
