//! POP3's questions, answered by the core: who logs in, what is in the inbox, a message's bytes, what to delete.
//!
//! Must never tell an unknown name from a wrong password, nor end a message that broke off as if it were whole.
//!
//! A message's size is that of its bytes as they are stored. Only for one that does not end with a CRLF are two more sent than were said
//! (the protocol can't end it otherwise): knowing better would cost reading every body at each login.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::Tls;
use grapevine_doors::pop3::{
    Answer, Ask, Config, Entry, Extent, Flow, Limits, Listed, Output, Reason, Refusal, Session,
};
use grapevine_doors::sasl::Credentials;
use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::sasl::scram::Proof;
use grapevine_model::{
    Door, ErrorKind, ListCopy, MessageId, Name, Reply, Request, ServerName, Source, Speaker,
};
use tokio::time::timeout;

use super::DoorContext;
use super::backend::{Backend, Wanted};
use super::drive::{Dialogue, Step};
use super::login::{LoginFailure, Logins};
use crate::body_source::BodySource;

/// A POP3 session with what answers it.
pub(super) struct Pop3<B> {
    session: Session,
    context: Arc<DoorContext<B>>,
    door: Door,
    logins: Logins,
    mailbox: Option<Mailbox>,
    ask: Option<Ask>,
    body: Option<BodySource>,
}

/// Whose inbox is open, and which servers hold it.
struct Mailbox {
    name: Name,
    speaker: Speaker,
    sites: Vec<ServerName>,
    /// Where the bodies of copies are kept: under other ids.
    bodies: BTreeMap<MessageId, MessageId>,
    /// What lists add to messages of theirs.
    lists: BTreeMap<MessageId, ListCopy>,
}

impl<B: Backend> Pop3<B> {
    pub(super) fn new(context: Arc<DoorContext<B>>, door: Door, source: Source, tls: Tls) -> Self {
        let session = Session::new(Config {
            hostname: context.hostname.clone(),
            tls,
            scram: context.core.scram(),
            limits: Limits::default(),
        });
        Self {
            session,
            logins: Logins::new(door, source, context.limits.wrong_password),
            context,
            door,
            mailbox: None,
            ask: None,
            body: None,
        }
    }

    async fn log_in(&mut self, credentials: Credentials) -> Answer {
        let authenticated = self
            .logins
            .try_login(&self.context.core, credentials, self.context.limits.ask)
            .await;
        match authenticated {
            Ok((name, speaker)) => match self.open_mailbox(name, speaker).await {
                Ok(listed) => Answer::Mailbox(listed),
                Err(refusal) => Answer::No(refusal),
            },
            Err(failure) => Answer::No(failed(failure)),
        }
    }

    async fn scram_finish(&mut self, proof: Proof) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        let (speaker, signature) = match self.logins.scram_finish(core, proof, limit).await {
            Ok(proved) => proved,
            Err(failure) => return Answer::No(failed(failure)),
        };
        let Speaker::Individual { name, .. } = &speaker else {
            return Answer::No(failed(LoginFailure::NotNow));
        };
        match self.open_mailbox(name.clone(), speaker.clone()).await {
            Ok(listed) => Answer::Proved { signature, listed },
            Err(refusal) => Answer::No(refusal),
        }
    }

    async fn open_mailbox(&mut self, name: Name, speaker: Speaker) -> Result<Listed, Refusal> {
        let listed = self
            .request(speaker.clone(), Request::InboxList { name: name.clone() })
            .await;
        match listed {
            Ok(Reply::Inbox(listing)) => {
                let mut extent = Extent::Whole;
                if listing.partial {
                    extent = Extent::Partial;
                    tracing::debug!(%name, "an inbox site can't be reached: the listing may lack messages");
                    metrics::counter!("grapevine_pop3_partial_listings_total").increment(1);
                }
                let entries = listing
                    .messages
                    .iter()
                    .filter_map(|listed| Entry::new(listed.message.to_string(), listed.len).ok())
                    .collect();
                let bodies = listing.messages.iter();
                let bodies = bodies.map(|listed| (listed.message, listed.body));
                let bodies = bodies.filter(|(message, body)| message != body).collect();
                let lists = listing.messages.into_iter();
                let lists = lists.filter_map(|listed| Some((listed.message, listed.list?)));
                self.mailbox = Some(Mailbox {
                    name,
                    speaker,
                    sites: listing.sites,
                    bodies,
                    lists: lists.collect(),
                });
                Ok(Listed { entries, extent })
            }
            Ok(other) => Err(odd(&other)),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    async fn open_body(&mut self, uidl: &str) -> Option<BodySource> {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        if !self.logins.still_hold(core, limit).await {
            self.mailbox = None;
            return None;
        }
        let message: MessageId = uidl.parse().ok()?;
        let sites = self
            .mailbox
            .as_ref()
            .map(|held| held.sites.as_slice())
            .unwrap_or_default();
        let bodies = self.mailbox.as_ref().map(|held| &held.bodies);
        let body = bodies.and_then(|bodies| bodies.get(&message)).copied();
        let opened = timeout(
            self.context.limits.ask,
            self.context.core.read_body(Wanted {
                mail: message,
                body: body.unwrap_or(message),
                sites,
            }),
        )
        .await;
        match opened {
            Ok(Ok(body)) => {
                let held = self.mailbox.as_ref();
                Some(body.after(held.and_then(|held| held.lists.get(&message))))
            }
            Ok(Err(refusal)) => {
                tracing::warn!(%message, %refusal, "a listed message can't be read");
                None
            }
            Err(_) => None,
        }
    }

    async fn delete(&mut self, uidls: &[String]) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        if !self.logins.still_hold(core, limit).await {
            return Answer::No(Refusal::bad_credentials());
        }
        let Some(mailbox) = &self.mailbox else {
            return Answer::No(Refusal::try_later("No mailbox is open"));
        };
        let request = Request::InboxDelete {
            name: mailbox.name.clone(),
            messages: uidls.iter().filter_map(|uidl| uidl.parse().ok()).collect(),
        };
        match self.request(mailbox.speaker.clone(), request).await {
            Ok(Reply::Ok | Reply::Written(_)) => Answer::Deleted,
            Ok(other) => Answer::No(odd(&other)),
            Err(refusal) => Answer::No(refused(&refusal)),
        }
    }

    /// Hands one more piece of the body to the session.
    async fn pass_on(&mut self, mut body: BodySource) {
        match timeout(self.context.limits.ask, body.chunk()).await {
            Ok(Ok(Some(chunk))) => match self.session.body_chunk(&chunk) {
                Flow::More => self.body = Some(body),
                Flow::Enough => {}
            },
            Ok(Ok(None)) => {
                metrics::counter!("grapevine_pop3_messages_read_total", "door" => self.door.as_str())
                    .increment(1);
                self.session.body_end();
            }
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, "a message broke off while it was read");
                self.session.body_failed();
            }
            Err(_) => self.session.body_failed(),
        }
    }

    async fn request(
        &self,
        speaker: Speaker,
        request: Request,
    ) -> Result<Reply, grapevine_model::Refusal> {
        match timeout(
            self.context.limits.ask,
            self.context.core.request(speaker, request),
        )
        .await
        {
            Ok(answer) => answer,
            Err(_) => Err(grapevine_model::Refusal::unavailable("no answer in time")),
        }
    }
}

impl<B: Backend> Dialogue for Pop3<B> {
    fn poll(&mut self) -> Option<Step> {
        match self.session.poll() {
            Some(Output::Send(bytes)) => Some(Step::Send(bytes)),
            Some(Output::StartTls) => Some(Step::StartTls),
            Some(Output::Ask(ask)) => {
                self.ask = Some(ask);
                Some(Step::Work)
            }
            Some(Output::Close) => {
                self.body = None;
                Some(Step::Close)
            }
            // What the session made of the last piece has been taken: the next one.
            None => self.body.is_some().then_some(Step::Work),
        }
    }

    async fn work(&mut self) {
        match (self.ask.take(), self.body.take()) {
            (Some(Ask::Authenticate(credentials)), _) => {
                let answer = self.log_in(credentials).await;
                self.session.answer(answer);
            }
            (Some(Ask::ScramBegin { name }), _) => {
                let (core, limit) = (&self.context.core, self.context.limits.ask);
                let answer = match self.logins.scram_begin(core, &name, limit).await {
                    Ok(challenge) => Answer::Challenge(challenge),
                    Err(failure) => Answer::No(failed(failure)),
                };
                self.session.answer(answer);
            }
            (Some(Ask::ScramFinish(proof)), _) => {
                let answer = self.scram_finish(proof).await;
                self.session.answer(answer);
            }
            (Some(Ask::Body { uidl, top_lines: _ }), _) => match self.open_body(&uidl).await {
                Some(body) => self.pass_on(body).await,
                None => self.session.body_failed(),
            },
            (Some(Ask::Delete { uidls }), _) => {
                let answer = self.delete(&uidls).await;
                self.session.answer(answer);
            }
            (None, Some(body)) => self.pass_on(body).await,
            (None, None) => {}
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
        self.mailbox.is_none()
    }
}

fn refused(refusal: &grapevine_model::Refusal) -> Refusal {
    let reason = match refusal.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Conflict => Reason::Temporary,
        ErrorKind::Invalid
        | ErrorKind::NotAuthenticated
        | ErrorKind::NotAllowed
        | ErrorKind::NotFound
        | ErrorKind::TooLarge
        | ErrorKind::Internal => Reason::Permanent,
    };
    Refusal::new(reason, refusal.why.clone())
}

fn failed(failure: LoginFailure) -> Refusal {
    match failure {
        LoginFailure::Wrong => Refusal::bad_credentials(),
        LoginFailure::NotNow => {
            Refusal::try_later("Cannot check logins now, try again or at another server")
        }
    }
}

/// An answer to another question: a fault of ours.
fn odd(reply: &Reply) -> Refusal {
    tracing::error!(?reply, "the core gave an answer to another question");
    Refusal::try_later("Something is wrong here, try again or at another server")
}
