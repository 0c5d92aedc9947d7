//! The thread that owns the core: takes inputs in batches, carries out effects.
//!
//! Guards group commit (many inputs, one flush) and fail-stop: when a commit can't be written,
//! memory and disk differ, so the server stops and the others take over. It must never wait for the
//! network, and the committer must never wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grapevine_core::{Config, Damaged, Effect, Input, Note, NoteLevel, ScramOrder, Server, Start};
use grapevine_model::{AsOf, Reply, RequestId, Secret, ServerName, ServerStatus, Usage};
use grapevine_rpc::tls::IdentityError;
use grapevine_store::{CommitError, Durability, Store};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::clock::Clock;
use crate::core_task::{Answer, AnswerAsOf, CoreHandle, ToCore};
use crate::dns::ZoneBoard;
use crate::keys::KeyRing;
use crate::password_cache::Passwords;
use crate::passwords::scram_keys;
use crate::peers::Peers;
use crate::relay::Relayer;
use crate::{filters, reports};

/// Inputs handled before their changes are committed together: enough for group commit, few enough
/// that the first does not wait long for the last.
const BATCH_MAX_INPUTS: usize = 256;
/// Answers that are owed; beyond this many, those that nobody waits for any more are looked for.
const ANSWERS_TIDY: usize = 10_000;
/// At the end the last commits are waited for this long, so that their replies still go out.
const LAST_COMMITS_LIMIT: Duration = Duration::from_secs(5);

/// All that the core's thread needs.
pub(crate) struct CoreParts {
    /// Who the server is.
    pub(crate) config: Config,
    /// How its folder began.
    pub(crate) start: Start,
    /// A handle, for inputs that follow from effects.
    pub(crate) handle: CoreHandle,
    /// What reaches it.
    pub(crate) inputs: mpsc::Receiver<ToCore>,
    /// This server's keys.
    pub(crate) keys: KeyRing,
    /// The other servers.
    pub(crate) peers: Peers,
    /// Checks passwords.
    pub(crate) passwords: Passwords,
    /// What the DNS door answers from.
    pub(crate) zones: ZoneBoard,
    /// Hands messages over to other mail systems.
    pub(crate) relayer: Relayer,
    /// Ends the thread.
    pub(crate) stop: CancellationToken,
    /// Is cancelled by the thread when the server can't go on.
    pub(crate) failed: CancellationToken,
    /// The clock.
    pub(crate) clock: Clock,
}

/// Why the core's thread did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// What the store has can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The system refused something.
    #[error("{0}")]
    System(String),
}

/// Starts the thread; returns when the core has recovered.
pub(crate) async fn start(parts: CoreParts) -> Result<JoinHandle<()>, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| StartError::System(format!("no random bytes: {error}")))?;
    let runtime = Handle::current();
    let (recovered, told) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("core".to_owned())
        .spawn(move || {
            let _guard = FailWithPanic(parts.failed.clone());
            let tables = Box::new(parts.handle.store().view());
            let now = parts.clock.now();
            #[cfg(feature = "planted-mistakes")]
            let forgetful = crate::planted::Forgetful::asked(&parts.config);
            let core = Server::recover(parts.config, parts.start, tables, seed, now);
            match core {
                Err(damage) => {
                    // Nobody listens only when the whole server is gone.
                    let _ = recovered.send(Err(damage));
                }
                Ok(mut core) => {
                    let _ = recovered.send(Ok(()));
                    core.handle(now, parts.keys.told());
                    let core_loop = CoreLoop {
                        core,
                        store: Arc::clone(parts.handle.store()),
                        server: parts.handle.server().clone(),
                        handle: parts.handle,
                        keys: parts.keys,
                        peers: parts.peers,
                        passwords: parts.passwords,
                        zones: parts.zones,
                        relayer: parts.relayer,
                        failed: parts.failed,
                        clock: parts.clock,
                        runtime,
                        commits: Arc::default(),
                        reported: 0,
                        answers: HashMap::new(),
                        next_request: 1,
                        #[cfg(feature = "planted-mistakes")]
                        forgetful,
                    };
                    core_loop.run(parts.inputs, &parts.stop);
                }
            }
        })
        .map_err(|error| StartError::System(format!("no thread for the core: {error}")))?;
    match told.await {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(damage)) => Err(damage.into()),
        Err(_) => Err(StartError::System("the core's thread ended".to_owned())),
    }
}

/// A server whose core has ended in a panic must not go on looking alive.
struct FailWithPanic(CancellationToken);

impl Drop for FailWithPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the core has ended in a panic; this server stops, and the others take over: please report this"
            );
            self.0.cancel();
        }
    }
}

/// What the committer's thread tells the core's, without ever waiting.
#[derive(Default)]
struct Commits {
    /// Everything up to this one is durable: commits are answered in order.
    durable: AtomicU64,
    changed: Notify,
}

struct CoreLoop {
    core: Server,
    store: Arc<Store>,
    server: ServerName,
    handle: CoreHandle,
    keys: KeyRing,
    peers: Peers,
    passwords: Passwords,
    zones: ZoneBoard,
    relayer: Relayer,
    failed: CancellationToken,
    clock: Clock,
    runtime: Handle,
    commits: Arc<Commits>,
    /// Commits up to this one were reported to the core; the last one issued is `issued`.
    reported: u64,
    answers: HashMap<RequestId, oneshot::Sender<AnswerAsOf>>,
    next_request: u64,
    #[cfg(feature = "planted-mistakes")]
    forgetful: Option<crate::planted::Forgetful>,
}

/// Why the loop woke up.
enum Wake {
    Message(Option<Box<ToCore>>),
    Committed,
    Due,
    Stop,
}

impl CoreLoop {
    fn run(mut self, mut inputs: mpsc::Receiver<ToCore>, stop: &CancellationToken) {
        // What recovery itself decided.
        let mut issued = self.settle();
        loop {
            let wake = self.sleep(&mut inputs, stop);
            let stopping = match wake {
                Wake::Stop | Wake::Message(None) => true,
                Wake::Message(Some(first)) => {
                    self.take(*first);
                    false
                }
                Wake::Committed | Wake::Due => false,
            };
            let mut taken = 1;
            while taken < BATCH_MAX_INPUTS {
                let Ok(message) = inputs.try_recv() else {
                    break;
                };
                self.take(message);
                taken += 1;
            }
            self.report_commits();
            let now = self.clock.now();
            if now.mono_ms >= self.core.next_timeout() {
                self.core.handle_timeout(now);
            }
            issued = issued.max(self.settle());
            if stopping || self.failed.is_cancelled() {
                break;
            }
        }
        self.finish(issued);
    }

    /// Waits until there is something to do.
    fn sleep(&self, inputs: &mut mpsc::Receiver<ToCore>, stop: &CancellationToken) -> Wake {
        let due = self.clock.at(self.core.next_timeout());
        let commits = Arc::clone(&self.commits);
        self.runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => Wake::Stop,
                () = commits.changed.notified() => Wake::Committed,
                message = inputs.recv() => Wake::Message(message.map(Box::new)),
                () = tokio::time::sleep_until(due.into()) => Wake::Due,
            }
        })
    }

    fn take(&mut self, message: ToCore) {
        let now = self.clock.now();
        let input = match message {
            ToCore::Input(input) => {
                metrics::counter!("grapevine_inputs_total", "kind" => kind_of(&input)).increment(1);
                input
            }
            ToCore::Request {
                speaker,
                request,
                seen,
                answer,
            } => {
                metrics::counter!("grapevine_inputs_total", "kind" => "request").increment(1);
                Input::Request {
                    id: self.expect(answer),
                    speaker,
                    request,
                    seen,
                }
            }
            ToCore::Issue {
                who,
                proved_ms,
                life_ms,
                answer,
            } => {
                metrics::counter!("grapevine_inputs_total", "kind" => "issue").increment(1);
                Input::Issue {
                    id: self.expect(answer),
                    who,
                    proved_ms,
                    life_ms,
                }
            }
            ToCore::Ticket { ticket, answer } => {
                metrics::counter!("grapevine_inputs_total", "kind" => "ticket").increment(1);
                Input::Ticket {
                    id: self.expect(answer),
                    ticket,
                }
            }
            ToCore::Append {
                speaker,
                request,
                staged,
                answer,
            } => {
                metrics::counter!("grapevine_inputs_total", "kind" => "append").increment(1);
                Input::Append {
                    id: self.expect(answer),
                    speaker,
                    request: *request,
                    staged,
                }
            }
            ToCore::Submit {
                submission,
                staged,
                answer,
            } => {
                metrics::counter!("grapevine_inputs_total", "kind" => "submit").increment(1);
                Input::Submit {
                    id: self.expect(answer),
                    submission: *submission,
                    staged,
                }
            }
        };
        self.core.handle(now, input);
    }

    fn expect(&mut self, answer: oneshot::Sender<AnswerAsOf>) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        if self.answers.len() >= ANSWERS_TIDY {
            self.answers.retain(|_, answer| !answer.is_closed());
        }
        self.answers.insert(id, answer);
        id
    }

    fn report_commits(&mut self) {
        let durable = self.commits.durable.load(Ordering::Acquire);
        while self.reported < durable {
            self.reported += 1;
            let seq = self.reported;
            self.core.handle(self.clock.now(), Input::Committed { seq });
        }
    }

    /// Closes the batch and carries out all effects. Gives the last commit issued, or 0.
    fn settle(&mut self) -> u64 {
        let mut issued = 0;
        loop {
            self.core.flush();
            let mut verified = Vec::new();
            while let Some(effect) = self.core.poll_effect() {
                self.carry_out(effect, &mut issued, &mut verified);
            }
            if verified.is_empty() {
                return issued;
            }
            let now = self.clock.now();
            for input in verified {
                self.core.handle(now, input);
            }
        }
    }

    /// Carries out an effect. Passwords that were known to be right come back as inputs.
    fn carry_out(&mut self, effect: Effect, issued: &mut u64, verified: &mut Vec<Input>) {
        match effect {
            Effect::Commit { seq, ops, awaited } => {
                *issued = seq;
                // The first commit after a start says where the core's numbers begin.
                if self.reported == 0 {
                    self.reported = seq.saturating_sub(1);
                }
                self.commit(seq, ops, awaited);
            }
            Effect::Send { to, message } => self.peers.send(&to, message),
            Effect::Reply { id, result, as_of } => self.reply(id, result, as_of),
            Effect::Verify {
                ticket,
                hash,
                password,
                scram,
            } => verified.extend(self.verify(ticket, hash, password, scram)),
            Effect::Sign { id, ticket } => {
                let signed = self.peers.sign(&ticket);
                self.reply(id, signed, None);
            }
            Effect::MakeKey => self.change_keys(KeyRing::make_next),
            Effect::UseKey(key) => self.change_keys(move |keys| keys.use_next(&key)),
            Effect::Report(order) => {
                let handle = self.handle.clone();
                self.runtime.spawn(reports::hand_in(handle, *order));
            }
            Effect::Filter(order) => {
                let handle = self.handle.clone();
                self.runtime.spawn(filters::run(handle, *order));
            }
            Effect::HandOver(order) => {
                let (relayer, handle) = (self.relayer.clone(), self.handle.clone());
                self.runtime.spawn(relayer.hand_over(handle, *order));
            }
            Effect::Discard { staged } => self.store.discard(staged),
            Effect::Servers(servers) => self.peers.update(servers),
            Effect::Scram(policy) => self.handle.offer_scram(policy),
            Effect::Zone(zone) => self.zones.show(&zone),
            Effect::ZoneGone(registry) => self.zones.hide(&registry),
            Effect::MailboxChanged(mailbox) => self.handle.mailboxes().changed(mailbox),
            Effect::Note(note) => log(&self.server, &note),
        }
    }

    fn commit(&self, seq: u64, ops: Vec<grapevine_core::Op>, awaited: bool) {
        let durability = if awaited {
            Durability::Synced
        } else {
            Durability::Deferred
        };
        let commits = Arc::clone(&self.commits);
        let failed = self.failed.clone();
        let done = move |outcome| match outcome {
            Ok(()) => {
                commits.durable.fetch_max(seq, Ordering::Release);
                commits.changed.notify_one();
            }
            Err(CommitError::Closed) => {}
            Err(error) => {
                // Once: what follows fails for the same reason.
                if !failed.is_cancelled() {
                    tracing::error!(%error, seq, "a commit could not be written; this server stops, and the others take over");
                }
                failed.cancel();
                commits.changed.notify_one();
            }
        };
        #[cfg(feature = "planted-mistakes")]
        if let Some(forgetful) = &self.forgetful {
            let store = Arc::clone(&self.store);
            return forgetful.write(Box::new(move || store.commit(ops, durability, done)));
        }
        self.store.commit(ops, durability, done);
    }

    fn reply(&mut self, id: RequestId, mut result: Answer, as_of: Option<AsOf>) {
        if let Ok(Reply::Status(status)) = &mut result
            && status.server == self.server
        {
            self.add_archive(status);
        }
        if let Ok(Reply::Accepted { copies, .. }) = &result {
            metrics::counter!("grapevine_accepted_total", "copies" => copies.to_string())
                .increment(1);
        }
        if let Some(answer) = self.answers.remove(&id) {
            // Who asked may have gone away.
            let _ = answer.send((result, as_of));
        }
    }

    /// What only the shell knows of this server.
    fn add_archive(&self, status: &mut ServerStatus) {
        match self.store.archive_sums() {
            Ok(sums) => {
                status.storage.archived = Usage {
                    octets: sums.bytes,
                    messages: sums.bodies,
                };
            }
            Err(damage) => status.alarms.push(damage.to_string()),
        }
        let alarm = self.handle.archive().and_then(Archive::alarm);
        status.alarms.extend(alarm);
    }

    /// Checks a password: elsewhere, as it takes its time; one that was right before under the same hash
    /// is right at once.
    fn verify(
        &self,
        ticket: u64,
        hash: Option<Secret>,
        password: Secret,
        order: Option<ScramOrder>,
    ) -> Option<Input> {
        if order.is_none() && self.passwords.knows(hash.as_ref(), &password) {
            return Some(Input::Verified {
                ticket,
                right: true,
                rehashed: None,
                scram: None,
            });
        }
        let (handle, passwords) = (self.handle.clone(), self.passwords.clone());
        self.runtime.spawn(async move {
            let (right, rehashed) = passwords.check_and_rehash(hash, password.clone()).await;
            let scram = match order {
                Some(order) if right => {
                    let made = passwords.hashed(move || scram_keys(&password, &order));
                    made.await.ok()
                }
                Some(_) | None => None,
            };
            let verified = Input::Verified {
                ticket,
                right,
                rehashed,
                scram,
            };
            handle.input(verified).await;
        });
        None
    }

    /// Changes the folder's keys away from this thread, and tells the core what is there then.
    fn change_keys(
        &self,
        change: impl FnOnce(&KeyRing) -> Result<(), IdentityError> + Send + 'static,
    ) {
        let (keys, handle) = (self.keys.clone(), self.handle.clone());
        self.runtime.spawn(async move {
            let changing = keys.clone();
            match tokio::task::spawn_blocking(move || change(&changing)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "this server's key could not be changed"),
                Err(error) => tracing::error!(%error, "this server's key could not be changed"),
            }
            handle.input(keys.told()).await;
        });
    }

    /// Waits for the last commits, so that whoever was to be told still is.
    fn finish(mut self, mut issued: u64) {
        let until = Instant::now() + LAST_COMMITS_LIMIT;
        while self.commits.durable.load(Ordering::Acquire) < issued
            && !self.failed.is_cancelled()
            && Instant::now() < until
        {
            let commits = Arc::clone(&self.commits);
            // Whether it was notified or too late, the loop's condition looks.
            let _ = self.runtime.block_on(async {
                tokio::time::timeout_at(until.into(), commits.changed.notified()).await
            });
            self.report_commits();
            issued = issued.max(self.settle());
        }
    }
}

fn kind_of(input: &Input) -> &'static str {
    match input {
        Input::Peer { .. } => "peer",
        Input::PeerLost { .. } => "peer_lost",
        Input::Request { .. } => "request",
        Input::Submit { .. } => "submit",
        Input::Append { .. } => "append",
        Input::Verified { .. } => "verified",
        Input::Issue { .. } => "issue",
        Input::Ticket { .. } => "ticket",
        Input::HandedOver(_) => "handed_over",
        Input::Filtered(_) => "filtered",
        Input::Committed { .. } => "committed",
        Input::DiskRoom(_) => "disk",
        Input::Leaving => "leaving",
        Input::Keys { .. } => "keys",
    }
}

fn log(server: &ServerName, note: &Note) {
    let message = note.message.map(|message| message.to_string());
    let text = &note.text;
    let level = match note.level {
        NoteLevel::Error => "error",
        NoteLevel::Warn => "warn",
        NoteLevel::Info => "info",
    };
    metrics::counter!("grapevine_notes_total", "level" => level).increment(1);
    match note.level {
        NoteLevel::Error => tracing::error!(%server, message_id = message, "{text}"),
        NoteLevel::Warn => tracing::warn!(%server, message_id = message, "{text}"),
        NoteLevel::Info => tracing::info!(%server, message_id = message, "{text}"),
    }
}
