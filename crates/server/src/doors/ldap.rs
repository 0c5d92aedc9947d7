//! LDAP on a socket: the session of `grapevine-doors`, its questions answered by the core.
//!
//! Must never decide what the core decides: logins go the way of every door, and every question is put to the core for the one who asks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use grapevine_doors::Tls;
use grapevine_doors::ldap::{Ask, Config, Login, Output, Session};
use grapevine_doors::sasl::channel::Channel;
use grapevine_model::{Door, Refusal, Reply, Request, Source, Speaker};
use tokio::time::{Instant, timeout};

use super::DoorContext;
use super::backend::Backend;
use super::drive::{Dialogue, Step};
use super::login::{LoginFailure, Logins};

/// An LDAP session with what answers it.
pub(super) struct Ldap<B> {
    session: Session,
    context: Arc<DoorContext<B>>,
    door: Door,
    logins: Logins,
    ask: Option<Ask>,
    began: Instant,
}

impl<B: Backend> Ldap<B> {
    pub(super) fn new(context: Arc<DoorContext<B>>, door: Door, source: Source, tls: Tls) -> Self {
        let session = Session::new(Config {
            tls,
            posix: context.posix.clone(),
        });
        Self {
            session,
            logins: Logins::new(door, source, context.limits.wrong_password),
            context,
            door,
            ask: None,
            began: Instant::now(),
        }
    }

    fn tick(&mut self) {
        let ms = self.began.elapsed().as_millis();
        self.session.tick(u64::try_from(ms).unwrap_or(u64::MAX));
    }

    async fn request(&self, speaker: Speaker, request: Request) -> Result<Reply, Refusal> {
        metrics::counter!("grapevine_ldap_requests_total", "door" => self.door.as_str())
            .increment(1);
        let asked = self.context.core.request(speaker, request);
        match timeout(self.context.limits.ask, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::unavailable("no answer in time")),
        }
    }
}

impl<B: Backend> Dialogue for Ldap<B> {
    fn poll(&mut self) -> Option<Step> {
        match self.session.poll()? {
            Output::Send(bytes) => Some(Step::Send(bytes)),
            Output::StartTls => Some(Step::StartTls),
            Output::Ask(ask) => {
                self.ask = Some(ask);
                Some(Step::Work)
            }
            Output::Close => Some(Step::Close),
        }
    }

    async fn work(&mut self) {
        match self.ask.take() {
            Some(Ask::Authenticate(credentials)) => {
                let login = self
                    .logins
                    .try_login(&self.context.core, credentials, self.context.limits.ask)
                    .await;
                self.tick();
                self.session.logged_in(match login {
                    Ok((name, speaker)) => Login::Yes(name, speaker),
                    Err(LoginFailure::Wrong) => Login::Wrong,
                    Err(LoginFailure::NotNow) => Login::NotNow,
                });
            }
            Some(Ask::Requests { speaker, requests }) => {
                let (core, limit) = (&self.context.core, self.context.limits.ask);
                let stranger = speaker == Speaker::Anonymous;
                if !stranger && !self.logins.still_hold(core, limit).await {
                    self.session.login_ended();
                    return;
                }
                let asked = requests
                    .into_iter()
                    .map(|request| self.request(speaker.clone(), request));
                let results = join_all(asked).await;
                self.tick();
                self.session.answer(results);
            }
            None => {}
        }
    }

    fn wants_bytes(&self) -> bool {
        self.session.wants_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.tick();
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

    /// Simple binds only: there is nothing to bind to a channel.
    fn channel_known(&mut self, _channel: Channel) {}

    fn is_stranger(&self) -> bool {
        self.session.is_stranger()
    }
}
