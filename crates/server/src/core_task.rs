//! `CoreHandle`: how every task of the shell talks to the one thread that owns the core.
//!
//! Must never wait without a limit, and never lose a staged body: one that is not handed to the core
//! is discarded, even when the caller goes away in the middle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grapevine_core::{Input, Staged};
use grapevine_model::{
    AsOf, Authenticated, BodyInfo, ErrorKind, MessageId, PeerMessage, Refusal, Reply, Request,
    ScramPolicy, Secret, Seen, ServerName, Speaker, Submission, Ticket,
};
use grapevine_store::{Body, Store};
use tokio::sync::{mpsc, oneshot};

use crate::archive::Archive;
use crate::body_source::BodySource;
use crate::mailbox_watch::MailboxWatch;
use crate::peers::Peers;

/// Inputs that may wait for the core; more wait in their senders, who then read no more from the network.
const INPUTS_MAX: usize = 1_024;
/// The core answers everything in seconds, if only with "unavailable". This is for a server that hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A handle on the core's thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CoreHandle {
    shared: Arc<Shared>,
}

struct Shared {
    inputs: mpsc::Sender<ToCore>,
    store: Arc<Store>,
    server: ServerName,
    hostname: String,
    peers: OnceLock<Peers>,
    /// Whether the doors offer SCRAM.
    scram: AtomicBool,
    mailboxes: MailboxWatch,
    archive: Option<Archive>,
}

/// What a client or peer is told.
pub(crate) type Answer = Result<Reply, Refusal>;
/// It, and as of when a registry was read for it.
pub(crate) type AnswerAsOf = (Answer, Option<AsOf>);

/// What reaches the core's thread.
pub(crate) enum ToCore {
    /// Goes in as it is.
    Input(Input),
    /// A client asks.
    Request {
        /// Who.
        speaker: Speaker,
        /// What.
        request: Request,
        /// What the client has seen.
        seen: Vec<Seen>,
        /// Where the answer goes.
        answer: oneshot::Sender<AnswerAsOf>,
    },
    /// A client that has just proved who it is wants a ticket.
    Issue {
        /// Who.
        who: Authenticated,
        /// When the password was given; none for just now.
        proved_ms: Option<u64>,
        /// For how long.
        life_ms: Option<u64>,
        /// Where the answer goes.
        answer: oneshot::Sender<AnswerAsOf>,
    },
    /// A client shows a ticket whose signature is right.
    Ticket {
        /// The ticket.
        ticket: Ticket,
        /// Where the answer goes.
        answer: oneshot::Sender<AnswerAsOf>,
    },
    /// A mail program hands in a mail for a folder.
    Append {
        /// Who.
        speaker: Speaker,
        /// The `MailboxAsk::Append`.
        request: Box<Request>,
        /// Its body.
        staged: Staged,
        /// Where the answer goes.
        answer: oneshot::Sender<AnswerAsOf>,
    },
    /// A client hands in a message.
    Submit {
        /// The message.
        submission: Box<Submission>,
        /// Its body.
        staged: Staged,
        /// Where the answer goes.
        answer: oneshot::Sender<AnswerAsOf>,
    },
}

/// A staged body that is the holder's to hand on; dropped, it is discarded.
pub(crate) struct HeldStage {
    store: Arc<Store>,
    staged: Option<Staged>,
}

impl CoreHandle {
    /// A handle, and the end that the core's thread reads.
    pub(crate) fn new(
        store: Arc<Store>,
        server: ServerName,
        hostname: String,
        archive: Option<Archive>,
    ) -> (Self, mpsc::Receiver<ToCore>) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let shared = Arc::new(Shared {
            inputs,
            store,
            server,
            hostname,
            peers: OnceLock::new(),
            scram: AtomicBool::new(false),
            mailboxes: MailboxWatch::default(),
            archive,
        });
        (Self { shared }, receiver)
    }

    /// Tells the handle of the peers, once.
    pub(crate) fn set_peers(&self, peers: Peers) {
        // A second time changes nothing.
        let _ = self.shared.peers.set(peers);
    }

    /// Asks the core.
    ///
    /// # Errors
    /// The core's refusal, or that the server is stopping.
    pub(crate) async fn request(&self, speaker: Speaker, request: Request) -> Answer {
        self.request_after(speaker, request, Vec::new()).await.0
    }

    /// Asks the core on behalf of a client that has seen this; says as of when the answer is.
    pub(crate) async fn request_after(
        &self,
        speaker: Speaker,
        request: Request,
        seen: Vec<Seen>,
    ) -> AnswerAsOf {
        if let Request::Authenticate { name, password, .. } = &request
            && grapevine_rpc::is_ticket(&password.0)
        {
            // In the place of a password, as mail programs have no other: it is that name's or no good.
            let answer = match self.check_ticket(password).await {
                Ok((who, _)) if who.name == *name => Ok(Reply::Authenticated(who)),
                Ok(_) => Err(not_a_ticket("this ticket is somebody else's")),
                Err(refusal) => Err(refusal),
            };
            return (answer, None);
        }
        self.ask(|answer| ToCore::Request {
            speaker,
            request,
            seen,
            answer,
        })
        .await
    }

    /// Whether the doors offer SCRAM now.
    pub(crate) fn scram(&self) -> ScramPolicy {
        if self.shared.scram.load(Ordering::Relaxed) {
            ScramPolicy::On
        } else {
            ScramPolicy::Off
        }
    }

    /// Sets it, as the core has said.
    pub(crate) fn offer_scram(&self, policy: ScramPolicy) {
        let on = policy == ScramPolicy::On;
        self.shared.scram.store(on, Ordering::Relaxed);
    }

    /// A ticket for somebody who has just proved who he is.
    ///
    /// # Errors
    /// The core's refusal, or that the server is stopping.
    pub(crate) async fn issue_ticket(
        &self,
        who: Authenticated,
        proved_ms: Option<u64>,
        life_ms: Option<u64>,
    ) -> Answer {
        self.ask(|answer| ToCore::Issue {
            who,
            proved_ms,
            life_ms,
            answer,
        })
        .await
        .0
    }

    /// Whose a ticket is, and when the password was given for it.
    ///
    /// # Errors
    /// It is none, its issuer has not signed it, or it is worth nothing any more.
    pub(crate) async fn check_ticket(
        &self,
        text: &Secret,
    ) -> Result<(Authenticated, u64), Refusal> {
        let Some(peers) = self.shared.peers.get() else {
            return Err(Refusal::unavailable("this server is starting"));
        };
        let ticket = grapevine_rpc::open_ticket(&text.0, |server| peers.keys_of(server))
            .map_err(|error| not_a_ticket(&error.to_string()))?;
        let proved_ms = ticket.proved_ms;
        match self
            .ask(|answer| ToCore::Ticket { ticket, answer })
            .await
            .0?
        {
            Reply::Authenticated(who) => Ok((who, proved_ms)),
            _ => Err(Refusal::new(
                ErrorKind::Internal,
                "the ticket was not checked",
            )),
        }
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<AnswerAsOf>) -> ToCore) -> AnswerAsOf {
        let (answer, answered) = oneshot::channel();
        match self.shared.inputs.send(message(answer)).await {
            Ok(()) => wait(answered).await,
            Err(_) => (Err(stopping()), None),
        }
    }

    /// Hands in a message whose body is staged. The staged body is the core's from here on.
    ///
    /// # Errors
    /// The core's refusal, or that the server is stopping.
    pub(crate) async fn submit(&self, submission: Submission, staged: Staged) -> Answer {
        let held = self.hold(staged);
        let permit = self.shared.inputs.reserve().await.map_err(|_| stopping())?;
        let (answer, answered) = oneshot::channel();
        permit.send(ToCore::Submit {
            submission: Box::new(submission),
            staged: held.release().unwrap_or(staged),
            answer,
        });
        wait(answered).await.0
    }

    /// Hands in a mail for a folder whose body is staged.
    ///
    /// # Errors
    /// The core's refusal, or that the server is stopping; the body is discarded then.
    pub(crate) async fn append(
        &self,
        speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> Answer {
        let held = self.hold(staged);
        let permit = self.shared.inputs.reserve().await.map_err(|_| stopping())?;
        let (answer, answered) = oneshot::channel();
        permit.send(ToCore::Append {
            speaker,
            request: Box::new(request),
            staged: held.release().unwrap_or(staged),
            answer,
        });
        wait(answered).await.0
    }

    /// Who waits for changes of mailboxes.
    pub(crate) fn mailboxes(&self) -> &MailboxWatch {
        &self.shared.mailboxes
    }

    /// Hands in an input that nobody waits for; the caller waits while the core is busy.
    pub(crate) async fn input(&self, input: Input) {
        // A core that has stopped needs no inputs.
        let _ = self.shared.inputs.send(ToCore::Input(input)).await;
    }

    /// Hands in what a server said, with the body that came with it; waits while the core is busy.
    pub(crate) async fn peer(
        &self,
        from: ServerName,
        message: PeerMessage,
        held: Option<HeldStage>,
    ) {
        // A core that has stopped needs no inputs; the body is discarded then.
        if let Ok(permit) = self.shared.inputs.reserve().await {
            permit.send(ToCore::Input(Input::Peer {
                from,
                message,
                staged: held.and_then(HeldStage::release),
            }));
        }
    }

    /// Makes sure that a staged body which is not handed on is discarded.
    pub(crate) fn hold(&self, staged: Staged) -> HeldStage {
        HeldStage {
            store: Arc::clone(&self.shared.store),
            staged: Some(staged),
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// This server's name in DNS.
    pub(crate) fn hostname(&self) -> &str {
        &self.shared.hostname
    }

    /// This server.
    pub(crate) fn server(&self) -> &ServerName {
        &self.shared.server
    }

    /// Opens a message's body: from this server's disk, or else from one of its inbox sites.
    ///
    /// # Errors
    /// Not found here and at no site that answers; damage.
    pub(crate) async fn read_body(
        &self,
        message: MessageId,
        sites: &[ServerName],
    ) -> Result<BodySource, Refusal> {
        let own = match self.open_body(message).await {
            Ok(Some(body)) => {
                self.shared.store.touch(message);
                return Ok(body);
            }
            Ok(None) => None,
            Err(refusal) => Some(refusal),
        };
        let elsewhere = match self.shared.peers.get() {
            Some(peers) => peers.read_body(message, sites).await,
            None => Err(Refusal::unavailable("this server is starting")),
        };
        // Its own reason says more than that nobody else has it.
        elsewhere.map_err(|refusal| own.unwrap_or(refusal))
    }

    /// Opens a body that this server has, on its disk or in its archive. None if it has none.
    ///
    /// # Errors
    /// It has one that can't be read now.
    pub(crate) async fn open_body(
        &self,
        message: MessageId,
    ) -> Result<Option<BodySource>, Refusal> {
        // Opening is a look at the index and at most one `open`; the reading is done elsewhere.
        match self.shared.store.find_body(message) {
            Ok(None) => Ok(None),
            Ok(Some(Body::Here(reader))) => Ok(Some(BodySource::local(reader))),
            Ok(Some(Body::Archived(body))) => match &self.shared.archive {
                Some(archive) => archive.read(message, body).await.map(Some),
                None => {
                    tracing::error!(%message, "a body is in the archive, and no archive is configured");
                    let why = "the message is in an archive that this server has no access to";
                    Err(Refusal::unavailable(why))
                }
            },
            Err(damage) => {
                tracing::error!(%message, %damage, "a body on this server's disk can't be read");
                Err(Refusal::unavailable("the message can't be read here now"))
            }
        }
    }

    /// The archive, if there is one.
    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.shared.archive.as_ref()
    }

    /// Inputs that wait for the core.
    pub(crate) fn waiting(&self) -> usize {
        INPUTS_MAX.saturating_sub(self.shared.inputs.capacity())
    }
}

impl HeldStage {
    /// Hands the body on: it is no longer this holder's to discard.
    pub(crate) fn release(mut self) -> Option<Staged> {
        self.staged.take()
    }
}

impl Drop for HeldStage {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.store.discard(staged.token);
        }
    }
}

/// The store's measure of a staged body in the core's words.
pub(crate) fn measured(staged: grapevine_store::Staged) -> Staged {
    Staged {
        token: staged.token,
        body: BodyInfo {
            len: staged.len,
            digest: staged.digest,
        },
    }
}

async fn wait(answered: oneshot::Receiver<AnswerAsOf>) -> AnswerAsOf {
    match tokio::time::timeout(ANSWER_LIMIT, answered).await {
        Ok(Ok(answer)) => answer,
        // It may have gone in before the core stopped.
        Ok(Err(_)) | Err(_) => {
            let why = "this server stopped before it answered: it may have been done and may not";
            (Err(Refusal::new(ErrorKind::Unknown, why)), None)
        }
    }
}

fn not_a_ticket(why: &str) -> Refusal {
    Refusal::new(ErrorKind::NotAuthenticated, format!("{why}: log in again"))
}

fn stopping() -> Refusal {
    Refusal::unavailable("this server is stopping")
}
