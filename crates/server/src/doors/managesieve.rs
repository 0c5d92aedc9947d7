//! ManageSieve's questions, answered by the core: who logs in, and what becomes of his scripts.
//!
//! Must never tell an unknown name from a wrong password, nor let an app password change a filter: that could send mail on for ever.

use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::Tls;
use grapevine_doors::managesieve::{Answer, Ask, Config, Failure, Limits, Output, Session};
use grapevine_doors::sasl::Credentials;
use grapevine_doors::sasl::channel::Channel;
use grapevine_model::{Door, ErrorKind, Name, Refusal, Reply, Request, SieveAsk, Source, Speaker};
use tokio::time::timeout;

use super::DoorContext;
use super::backend::Backend;
use super::drive::{Dialogue, Step};
use super::login::{LoginFailure, Logins};

/// A ManageSieve session with what answers it.
pub(super) struct ManageSieve<B> {
    session: Session,
    context: Arc<DoorContext<B>>,
    logins: Logins,
    who: Option<(Name, Speaker)>,
    ask: Option<Ask>,
}

impl<B: Backend> ManageSieve<B> {
    pub(super) fn new(context: Arc<DoorContext<B>>, door: Door, source: Source, tls: Tls) -> Self {
        let session = Session::new(Config {
            hostname: context.hostname.clone(),
            tls,
            limits: Limits::default(),
        });
        Self {
            session,
            logins: Logins::new(door, source, context.limits.wrong_password),
            context,
            who: None,
            ask: None,
        }
    }

    async fn log_in(&mut self, credentials: Credentials) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        match self.logins.try_login(core, credentials, limit).await {
            Ok(who) => {
                self.who = Some(who);
                Answer::LoggedIn
            }
            Err(LoginFailure::Wrong) => Answer::NoLogin(Failure::Wrong),
            Err(LoginFailure::NotNow) => Answer::NoLogin(Failure::NotNow),
        }
    }

    async fn scripts(&mut self, ask: SieveAsk) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        if !self.logins.still_hold(core, limit).await {
            self.who = None;
        }
        let Some((name, speaker)) = self.who.clone() else {
            let why = "the login has ended: its password was changed";
            return Answer::No(Refusal::new(ErrorKind::NotAuthenticated, why));
        };
        let request = Request::Sieve { name, ask };
        if let Err(refusal) = self.logins.may(&request) {
            return Answer::No(refusal);
        }
        match timeout(limit, core.request(speaker, request)).await {
            Ok(Ok(Reply::Sieve(reply))) => Answer::Told(reply),
            Ok(Ok(Reply::Ok | Reply::Written(_))) => Answer::Done,
            Ok(Ok(other)) => {
                tracing::error!(?other, "the core gave an answer to another question");
                Answer::No(Refusal::unavailable("something is wrong here"))
            }
            Ok(Err(refusal)) => Answer::No(refusal),
            Err(_) => Answer::No(Refusal::unavailable("no answer in time")),
        }
    }
}

impl<B: Backend> Dialogue for ManageSieve<B> {
    fn poll(&mut self) -> Option<Step> {
        Some(match self.session.poll()? {
            Output::Send(bytes) => Step::Send(bytes),
            Output::StartTls => Step::StartTls,
            Output::Ask(ask) => {
                self.ask = Some(ask);
                Step::Work
            }
            Output::Close => Step::Close,
        })
    }

    async fn work(&mut self) {
        let answer = match self.ask.take() {
            Some(Ask::Authenticate(credentials)) => self.log_in(credentials).await,
            Some(Ask::Scripts(ask)) => self.scripts(ask).await,
            None => return,
        };
        self.session.answer(answer);
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

    /// Its one mechanism is not bound to the channel.
    fn channel_known(&mut self, _: Channel) {}

    fn is_stranger(&self) -> bool {
        self.session.is_stranger()
    }
}
