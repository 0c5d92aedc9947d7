//! SMTP's questions, answered by the core: who logs in, who may send as whom and to whom, and the message itself.
//!
//! Must never say yes to a message that the core has not accepted, nor hold a body in memory beyond what the store keeps there: it goes
//! to the store piece by piece.
//!
//! A `Received:` field is put before each message; its id is the message's. `Return-Path:` is left to final delivery (RFC 5321 4.4), and
//! nothing else is touched (P8).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::Tls;
use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::smtp::{
    Answer, Ask, Code, Config, Envelope, Kind, Limits, Output, Refusal, Session,
};
use grapevine_model::{Door, ErrorKind, OverQuotaPolicy, Reply, Request, Source, Speaker};
use tokio::time::timeout;

use super::DoorContext;
use super::backend::Backend;
use super::drive::{Dialogue, Step};
use super::envelope::{self, NoName};
use super::incoming::{Incoming, Lost};
use super::login::{LoginFailure, Logins};

/// An SMTP session with what answers it.
pub(super) struct Smtp<B: Backend> {
    session: Session,
    context: Arc<DoorContext<B>>,
    door: Door,
    kind: Kind,
    logins: Logins,
    speaker: Speaker,
    job: Option<Job>,
    incoming: Option<Incoming<B::Stage>>,
}

/// What has to wait for something.
enum Job {
    Ask(Ask),
    /// A piece of a body that goes to a file.
    Piece(Vec<u8>),
}

impl<B: Backend> Smtp<B> {
    pub(super) fn new(
        context: Arc<DoorContext<B>>,
        door: Door,
        kind: Kind,
        peer: IpAddr,
        tls: Tls,
    ) -> Self {
        let client = client_text(peer);
        // At the submission doors only a login counts.
        let near = kind != Kind::Submission && context.networks.iter().any(|one| one.has(peer));
        let session = Session::new(Config {
            kind,
            hostname: context.hostname.clone(),
            client,
            tls,
            scram: context.core.scram(),
            limits: Limits {
                message_bytes: context.limits.message_bytes,
                recipients: grapevine_model::MAX_RECIPIENTS,
                ..Limits::default()
            },
        });
        Self {
            session,
            logins: Logins::new(door, Source::of(peer), context.limits.wrong_password),
            context,
            door,
            kind,
            speaker: if near {
                Speaker::Neighbour
            } else {
                Speaker::Anonymous
            },
            job: None,
            incoming: None,
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        let login = matches!(
            ask,
            Ask::Authenticate(_) | Ask::ScramBegin { .. } | Ask::ScramFinish(_)
        );
        if !login && !self.logins.still_hold(core, limit).await {
            self.speaker = Speaker::Anonymous;
            return Answer::No(Refusal::bad_credentials());
        }
        match ask {
            Ask::Authenticate(credentials) => {
                match self.logins.try_login(core, credentials, limit).await {
                    Ok((_, speaker)) => {
                        self.speaker = speaker;
                        Answer::Yes
                    }
                    Err(failure) => Answer::No(failed(failure)),
                }
            }
            Ask::ScramBegin { name } => match self.logins.scram_begin(core, &name, limit).await {
                Ok(challenge) => Answer::Challenge(challenge),
                Err(failure) => Answer::No(failed(failure)),
            },
            Ask::ScramFinish(proof) => match self.logins.scram_finish(core, proof, limit).await {
                Ok((speaker, signature)) => {
                    self.speaker = speaker;
                    Answer::Proved { signature }
                }
                Err(failure) => Answer::No(failed(failure)),
            },
            Ask::Sender(sender) => yes_or(self.may_send_as(&sender.address).await),
            Ask::Recipient(recipient) => yes_or(self.may_send_to(&recipient.address).await),
            Ask::Accept { size_bytes: _ } => self.accept().await,
        }
    }

    async fn may_send_as(&self, address: &str) -> Result<(), Refusal> {
        let name = match (envelope::return_path(address), self.kind) {
            (Ok(None), Kind::Receiving | Kind::Lmtp) => return Ok(()),
            (Ok(None), Kind::Submission) => {
                return Err(refusal(
                    Code::MailboxUnavailable,
                    7,
                    1,
                    "A submission has a sender",
                ));
            }
            (Ok(Some(name)), _) => name,
            (Err(NoName(why)), _) => {
                return Err(refusal(
                    Code::BadMailbox,
                    1,
                    7,
                    &format!("No report could be sent there: {why}"),
                ));
            }
        };
        match self.kind {
            // Nobody's to check: it is what a stranger says.
            Kind::Receiving | Kind::Lmtp => Ok(()),
            Kind::Submission => match self.ask(Request::MaySendAs { name }).await {
                Ok(Reply::Ok) => Ok(()),
                Ok(other) => Err(odd(&other)),
                Err(no) => Err(match no.kind {
                    ErrorKind::NotAllowed | ErrorKind::NotFound | ErrorKind::NotAuthenticated => {
                        Refusal::not_your_address()
                    }
                    ErrorKind::Invalid => refusal(Code::BadMailbox, 1, 7, &no.why),
                    ErrorKind::Conflict
                    | ErrorKind::TooLarge
                    | ErrorKind::Unavailable
                    | ErrorKind::Unknown
                    | ErrorKind::Internal => not_now(&no),
                }),
            },
        }
    }

    async fn may_send_to(&self, address: &str) -> Result<(), Refusal> {
        let name = match envelope::recipient(address, &self.speaker) {
            Ok(name) => name,
            Err(NoName(why)) => return Err(refusal(Code::BadMailbox, 1, 3, &why)),
        };
        match self.ask(Request::CheckRecipient { name }).await {
            Ok(Reply::Ok) => Ok(()),
            Ok(Reply::RecipientFull(OverQuotaPolicy::Later)) => Err(Refusal::mailbox_full()),
            Ok(Reply::RecipientFull(OverQuotaPolicy::Refuse)) => Err(Refusal::mailbox_stays_full()),
            Ok(other) => Err(odd(&other)),
            Err(no) => Err(match no.kind {
                ErrorKind::NotFound => Refusal::no_such_mailbox(),
                // Not a name of this system, or a group that this sender may not post to.
                ErrorKind::NotAllowed | ErrorKind::NotAuthenticated => {
                    refusal(Code::MailboxUnavailable, 7, 1, &no.why)
                }
                ErrorKind::Invalid => refusal(Code::BadMailbox, 1, 3, &no.why),
                ErrorKind::TooLarge => Refusal::mailbox_full(),
                // X.4.3: the directory can't be asked.
                ErrorKind::Unavailable => refusal(Code::LocalError, 4, 3, &no.why),
                ErrorKind::Conflict | ErrorKind::Unknown | ErrorKind::Internal => not_now(&no),
            }),
        }
    }

    async fn accept(&mut self) -> Answer {
        let accepted = self.hand_in().await;
        let outcome = if accepted.is_ok() {
            "accepted"
        } else {
            "refused"
        };
        metrics::counter!("grapevine_messages_total", "door" => self.door.as_str(), "outcome" => outcome)
            .increment(1);
        match accepted {
            Ok(id) => Answer::Accepted { id },
            Err(no) => Answer::No(no),
        }
    }

    /// What the client is told of the message.
    async fn hand_in(&mut self) -> Result<String, Refusal> {
        let incoming = self.incoming.take().ok_or_else(|| {
            tracing::error!("a body ended that had not begun");
            Refusal::try_later("Something is wrong here, try again or at another server")
        })?;
        let core = &self.context.core;
        let finished = incoming.finish(core, self.speaker.clone()).await;
        let (submission, staged) = finished.map_err(lost)?;
        let answer = timeout(self.context.limits.accept, core.submit(submission, staged)).await;
        match answer {
            // At no server yet: on this machine.
            Ok(Ok(Reply::Accepted { message, copies: 0 })) => Ok(format!(
                "{message}, kept in this machine's outbox until a server can be reached"
            )),
            Ok(Ok(Reply::Accepted { message, copies })) if copies <= 1 => {
                Ok(format!("{message}, one copy so far"))
            }
            Ok(Ok(Reply::Accepted { message, .. })) => Ok(message.to_string()),
            Ok(Ok(other)) => Err(odd(&other)),
            Ok(Err(no)) => Err(match no.kind {
                ErrorKind::NotFound => refusal(Code::MailboxUnavailable, 1, 1, &no.why),
                ErrorKind::NotAllowed | ErrorKind::NotAuthenticated => {
                    refusal(Code::MailboxUnavailable, 7, 1, &no.why)
                }
                ErrorKind::Invalid => refusal(Code::Failed, 6, 0, &no.why),
                ErrorKind::TooLarge => refusal(Code::TooLarge, 3, 4, &no.why),
                ErrorKind::Unavailable
                | ErrorKind::Conflict
                | ErrorKind::Unknown
                | ErrorKind::Internal => not_now(&no),
            }),
            Err(_) => Err(Refusal::try_later(
                "No answer in time, try again or at another server",
            )),
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, grapevine_model::Refusal> {
        let asked = self.context.core.request(self.speaker.clone(), request);
        match timeout(self.context.limits.ask, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(grapevine_model::Refusal::unavailable("no answer in time")),
        }
    }

    fn begin(&mut self, envelope: &Envelope) {
        let stage = self.context.core.stage();
        self.incoming = Some(Incoming::begin(stage, envelope, &self.speaker));
    }
}

impl<B: Backend> Dialogue for Smtp<B> {
    fn poll(&mut self) -> Option<Step> {
        loop {
            match self.session.poll()? {
                Output::Send(bytes) => return Some(Step::Send(bytes)),
                Output::StartTls => return Some(Step::StartTls),
                Output::Ask(ask) => {
                    self.job = Some(Job::Ask(ask));
                    return Some(Step::Work);
                }
                Output::BodyStart(envelope) => self.begin(&envelope),
                Output::BodyChunk(piece) => {
                    let Some(incoming) = &mut self.incoming else {
                        continue;
                    };
                    if incoming.fits_in_memory(piece.len()) {
                        incoming.take(&piece);
                    } else {
                        self.job = Some(Job::Piece(piece));
                        return Some(Step::Work);
                    }
                }
                Output::BodyAbort => self.incoming = None,
                Output::Close => {
                    self.incoming = None;
                    return Some(Step::Close);
                }
            }
        }
    }

    async fn work(&mut self) {
        match self.job.take() {
            Some(Job::Ask(ask)) => {
                let answer = self.answer(ask).await;
                self.session.answer(answer);
            }
            Some(Job::Piece(piece)) => {
                if let Some(incoming) = self.incoming.take() {
                    self.incoming = Some(incoming.take_large(piece).await);
                }
            }
            None => {}
        }
    }

    fn wants_bytes(&self) -> bool {
        self.session.wants_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.session.receive(bytes);
    }

    fn eof(&mut self) {
        self.session.eof();
    }

    fn timed_out(&mut self) {
        self.session.timed_out();
    }

    fn shut_down(&mut self) {
        self.session.shut_down();
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(self.session.silence_ms())
    }

    fn tls_started(&mut self) {
        self.session.tls_started();
    }

    fn channel_known(&mut self, channel: Channel) {
        self.session.channel_known(channel);
    }

    fn is_stranger(&self) -> bool {
        match self.kind {
            Kind::Submission => self.speaker == Speaker::Anonymous,
            Kind::Receiving | Kind::Lmtp => false,
        }
    }
}

fn yes_or(answer: Result<(), Refusal>) -> Answer {
    match answer {
        Ok(()) => Answer::Yes,
        Err(no) => Answer::No(no),
    }
}

fn refusal(code: Code, subject: u16, detail: u16, why: &str) -> Refusal {
    Refusal::new(code, subject, detail, why)
}

fn not_now(no: &grapevine_model::Refusal) -> Refusal {
    Refusal::try_later(no.why.clone())
}

/// A body that could not be kept.
fn lost(lost: Lost) -> Refusal {
    match lost {
        Lost::DiskFull => Refusal::storage_full(),
        Lost::Broken => {
            Refusal::try_later("The message can't be stored now, try again or at another server")
        }
    }
}

/// An answer to another question: a fault of ours.
fn odd(reply: &Reply) -> Refusal {
    tracing::error!(?reply, "the core gave an answer to another question");
    Refusal::try_later("Something is wrong here, try again or at another server")
}

fn failed(failure: LoginFailure) -> Refusal {
    match failure {
        LoginFailure::Wrong => Refusal::bad_credentials(),
        LoginFailure::NotNow => Refusal::auth_unavailable(),
    }
}

/// As RFC 5321 4.1.3 writes addresses.
fn client_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}
