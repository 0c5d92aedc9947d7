//! What the doors of a workstation ask is asked of whichever server answers, in the name of who has logged in on that connection.
//!
//! Must never let in whom a server has refused, nor anybody without a password: other people of this machine can connect too. While no
//! server can be reached, who was right last may hand in mail, and nothing else. Must never say yes to a message that is neither at a
//! server nor on this machine's disk.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_core::Staged;
use grapevine_model::{
    Door, ErrorKind, FolderId, Incarnation, MailPlace, MailboxAnswer, MailboxAsk, MessageId, Name,
    Refusal, Reply, Request, ScramPolicy, Secret, Speaker, Submission,
};
use grapevine_user::{FinishedBody, GrapevineUser, KeepError, Login, StagedBody, SubmitError};
use tokio::sync::watch;

use super::Agent;
use super::account::Account;
use super::reading;
use crate::body_source::{BodySource, blocking};
use crate::doors::{Backend, BodyStage, DoorContext, SharedContext, Wanted};

/// What is said at a mailbox while no server can be reached.
const NO_SERVER: &str =
    "no server can be reached now; mail can still be sent, and is kept here until one can";

/// The servers behind the doors, for one connection.
#[derive(Clone)]
pub(super) struct Servers {
    agent: Arc<Agent>,
    door: Option<Door>,
    session: Arc<Session>,
}

/// What is known of one connection.
#[derive(Default)]
struct Session {
    login: Mutex<Option<LoggedIn>>,
    /// Where the mails stand that were shown: in the folder that is open.
    places: Mutex<BTreeMap<MessageId, MailPlace>>,
    bodies: Mutex<HashMap<u64, FinishedBody>>,
    next_body: AtomicU64,
}

#[derive(Clone)]
struct LoggedIn {
    user: GrapevineUser,
    account: Arc<Account>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self {
            agent,
            door: None,
            session: Arc::default(),
        }
    }

    fn logged_in(&self) -> Result<LoggedIn, Refusal> {
        locked(&self.session.login)
            .clone()
            .ok_or_else(|| Refusal::new(ErrorKind::NotAuthenticated, "log in first"))
    }

    async fn log_in(&self, name: Name, password: Secret) -> Result<Reply, Refusal> {
        let account = self.agent.account(&name).map_err(|error| disk(&error))?;
        let user = &self.agent.user;
        let request = Request::Authenticate {
            name: name.clone(),
            password: password.clone(),
            source: grapevine_model::Source::Unknown,
        };
        let who = match user.call(request).await {
            Ok(Reply::Authenticated(who)) => {
                let (account, password) = (Arc::clone(&account), password.clone());
                let (who, learned) = blocking(move || {
                    let learned = account.learned(&password, &who);
                    (who, learned)
                })
                .await?;
                if let Err(error) = learned {
                    // Reading goes on; for sending, a place to keep it is missed soon enough.
                    tracing::error!(%error, "the agent's folder can't be used: nothing can be kept while no server answers");
                }
                who
            }
            Ok(_) => return Err(odd()),
            Err(refusal) => match refusal.kind {
                ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => {
                    self.log_in_alone(&account, &password, refusal).await?
                }
                ErrorKind::NotAuthenticated => {
                    let account = Arc::clone(&account);
                    blocking(move || account.refused(&password))
                        .await?
                        .map_err(|error| disk(&error))?;
                    return Err(refusal);
                }
                ErrorKind::Invalid
                | ErrorKind::NotAllowed
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::TooLarge => return Err(refusal),
            },
        };
        let login = Login {
            name: who.name.clone(),
            password,
        };
        *locked(&self.session.login) = Some(LoggedIn {
            user: user.with_login(Some(login)),
            account,
        });
        Ok(Reply::Authenticated(who))
    }

    /// While no server can be asked: for sending, the last that a server has taken counts.
    async fn log_in_alone(
        &self,
        account: &Arc<Account>,
        password: &Secret,
        unavailable: Refusal,
    ) -> Result<grapevine_model::Authenticated, Refusal> {
        if self.door != Some(Door::Submission) {
            return Err(Refusal::unavailable(NO_SERVER));
        }
        let (account, password) = (Arc::clone(account), password.clone());
        let (who, is_known) = blocking(move || {
            let who = account.was_right(&password);
            (who, account.is_known())
        })
        .await?;
        match (who, is_known) {
            (Some(who), _) => Ok(who),
            // Whether it is right can't be asked; but it is not the one that was. It costs as much time as a wrong one.
            (None, true) => Err(Refusal::new(
                ErrorKind::NotAuthenticated,
                "no server can be asked now, and this is not the password that was right last",
            )),
            (None, false) => Err(unavailable),
        }
    }

    /// A question about names: while nobody can be asked, what is well-formed passes, and who is not there is told of later.
    async fn ask_or_pass(&self, request: Request) -> Result<Reply, Refusal> {
        let LoggedIn { user, account } = self.logged_in()?;
        let own = account.name().clone();
        match user.call(request.clone()).await {
            Err(refusal) if is_unreachable(&refusal) => match request {
                Request::CheckRecipient { .. } => Ok(Reply::Ok),
                Request::MaySendAs { name } if name == own => Ok(Reply::Ok),
                _ => Err(Refusal::unavailable(
                    "no server can be asked now whether you may send as somebody else; send as yourself, or try again later",
                )),
            },
            answer => answer,
        }
    }

    async fn ask_mailbox(&self, name: Name, ask: MailboxAsk) -> Result<Reply, Refusal> {
        let opens = matches!(
            &ask,
            MailboxAsk::View {
                since: None,
                after: 0,
                ..
            }
        );
        let reply = self.logged_in()?.user.mailbox(&name, ask).await?;
        if let MailboxAnswer::View(view) = &reply.answer {
            let mut places = locked(&self.session.places);
            if opens {
                places.clear();
            }
            let shown = view.rows.iter().map(|row| (row.message, row.uid));
            places.extend(shown.map(|(message, uid)| {
                let folder = FolderId(view.folder.0);
                (message, MailPlace { folder, uid })
            }));
        }
        Ok(Reply::Mailbox(reply))
    }

    fn take_body(&self, staged: Staged) -> Result<FinishedBody, Refusal> {
        let taken = locked(&self.session.bodies).remove(&staged.token);
        taken.ok_or_else(|| Refusal::new(ErrorKind::Internal, "the message is not here any more"))
    }

    /// No server has it for certain: it is kept here, under the same id.
    async fn keep(
        &self,
        account: Arc<Account>,
        submission: Submission,
        body: FinishedBody,
    ) -> Result<Reply, Refusal> {
        let Submission {
            id: Some(id),
            envelope,
            ..
        } = submission
        else {
            return Err(Refusal::new(ErrorKind::Internal, "the message has no id"));
        };
        let Some(vault) = account.open_vaults().pop() else {
            return Err(Refusal::unavailable(NO_SERVER));
        };
        let recipients = envelope.recipients.len();
        let kept = {
            let account = Arc::clone(&account);
            blocking(move || vault.outbox.keep(id, account.name(), &envelope, body)).await?
        };
        match kept {
            Ok(()) => {
                tracing::info!(message = %id, recipients, "no server can be reached: kept in the outbox");
                account.wake.notify_one();
                Ok(Reply::Accepted {
                    message: id,
                    copies: 0,
                })
            }
            Err(full @ KeepError::Full(_)) => Err(Refusal::unavailable(format!(
                "no server can be reached, and {full}"
            ))),
            Err(KeepError::Disk(error)) => Err(disk(&error)),
        }
    }
}

impl Backend for Servers {
    type Stage = AgentStage;

    fn for_connection(context: &SharedContext<Self>, door: Door) -> SharedContext<Self> {
        Arc::new(DoorContext {
            core: Self {
                agent: Arc::clone(&context.core.agent),
                door: Some(door),
                session: Arc::default(),
            },
            hostname: context.hostname.clone(),
            limits: context.limits,
            posix: context.posix.clone(),
            networks: Vec::new(),
            tls: None,
            shutdown: context.shutdown.clone(),
            tracker: context.tracker.clone(),
        })
    }

    async fn request(&self, _speaker: Speaker, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::Authenticate { name, password, .. } => self.log_in(name, password).await,
            // Every ask shows the password to a server anew.
            Request::Vouch { .. } => Ok(Reply::Ok),
            Request::Mailbox { name, ask } => self.ask_mailbox(name, ask).await,
            Request::CheckRecipient { .. } | Request::MaySendAs { .. } => {
                self.ask_or_pass(request).await
            }
            other => self.logged_in()?.user.call(other).await,
        }
    }

    fn scram(&self) -> ScramPolicy {
        // The password itself is needed, to ask a server with it.
        ScramPolicy::Off
    }

    fn stage(&self) -> AgentStage {
        let vault = match self.logged_in() {
            Ok(LoggedIn { account, .. }) => account.open_vaults().pop(),
            Err(_) => None,
        };
        AgentStage {
            staged: vault.map(|vault| vault.outbox.stage()),
            session: Arc::clone(&self.session),
        }
    }

    fn discard(&self, staged: Staged) {
        locked(&self.session.bodies).remove(&staged.token);
    }

    async fn submit(&self, submission: Submission, staged: Staged) -> Result<Reply, Refusal> {
        let body = self.take_body(staged)?;
        let LoggedIn { user, account } = self.logged_in()?;
        let Some(id) = submission.id else {
            return Err(Refusal::new(ErrorKind::Internal, "the message has no id"));
        };
        let names = account.open_vaults().pop().map(|vault| vault.names);
        if let Some(names) = names {
            let used = submission.envelope.recipients.iter();
            names.used(used.map(|one| &one.name));
        }
        let tried = user
            .submit_measured(id, &submission.envelope, &body.source(), body.info())
            .await;
        match tried {
            Ok(accepted) => Ok(Reply::Accepted {
                message: accepted.message,
                copies: accepted.copies,
            }),
            // It may be at a server already: the same id makes it the same message.
            Err(SubmitError::Refused(refusal)) if is_unreachable(&refusal) => {
                self.keep(account, submission, body).await
            }
            Err(SubmitError::Refused(refusal)) => Err(refusal),
            Err(SubmitError::Body(error)) => Err(disk(&error)),
        }
    }

    async fn append(
        &self,
        _speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> Result<Reply, Refusal> {
        let body = self.take_body(staged)?;
        let Request::Mailbox { name, ask } = request else {
            return Err(odd());
        };
        let user = self.logged_in()?.user;
        match user.append(&name, ask, &body.source()).await {
            Ok(reply) => Ok(Reply::Mailbox(reply)),
            Err(SubmitError::Refused(refusal)) => Err(refusal),
            Err(SubmitError::Body(error)) => Err(disk(&error)),
        }
    }

    fn mailbox_changes(&self, _mailbox: Incarnation) -> watch::Receiver<u64> {
        match (self.door, self.logged_in()) {
            (Some(Door::Imap), Ok(LoggedIn { user, .. })) => user.mailbox_news(),
            // Nobody else waits for news.
            _ => watch::channel(0).1,
        }
    }

    async fn read_body(&self, wanted: Wanted<'_>) -> Result<BodySource, Refusal> {
        let LoggedIn { user, account } = self.logged_in()?;
        let place = locked(&self.session.places).get(&wanted.mail).copied();
        reading::open(user, account.name().clone(), wanted.mail, place).await
    }
}

/// A body that a mail program sends, on its way to a server or into the outbox.
pub(super) struct AgentStage {
    staged: Option<StagedBody>,
    session: Arc<Session>,
}

impl BodyStage for AgentStage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.staged {
            Some(staged) => staged.write(bytes),
            None => Err(io::Error::other("nobody is logged in")),
        }
    }

    fn finish(self) -> io::Result<Staged> {
        let Some(staged) = self.staged else {
            return Err(io::Error::other("nobody is logged in"));
        };
        let finished = staged.finish()?;
        let staged = Staged {
            token: self.session.next_body.fetch_add(1, Ordering::Relaxed),
            body: finished.info(),
        };
        locked(&self.session.bodies).insert(staged.token, finished);
        Ok(staged)
    }
}

/// Whether a refusal says that nobody could be asked, or may have been.
pub(super) fn is_unreachable(refusal: &Refusal) -> bool {
    match refusal.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => true,
        ErrorKind::Invalid
        | ErrorKind::NotAuthenticated
        | ErrorKind::NotAllowed
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::TooLarge => false,
    }
}

fn disk(error: &io::Error) -> Refusal {
    tracing::error!(%error, "the agent's folder can't be used");
    Refusal::unavailable(format!("this machine's disk fails the agent: {error}"))
}

fn odd() -> Refusal {
    tracing::error!("a server gave an answer to another question");
    Refusal::new(
        ErrorKind::Internal,
        "a server gave an answer to another question",
    )
}
