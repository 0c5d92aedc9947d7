//! A login at a door: one question to the core, and a pause after each wrong password.
//!
//! Must never tell an unknown name from a wrong password, by its words or by its time (the core spends the same on both).

use std::time::Duration;

use data_encoding::BASE64_NOPAD;
use grapevine_core::app_password_may;
use grapevine_doors::sasl::Credentials;
use grapevine_doors::sasl::scram::{Challenge, Proof};
use grapevine_model::{
    Authenticated, Door, ErrorKind, Name, Refusal, Reply, Request, Secret, Source, Speaker,
};
use tokio::time::{Instant, sleep, timeout};

use super::backend::Backend;

/// After so many doublings the pause stays as it is; sessions are closed long before.
const DOUBLINGS_MAX: u32 = 5;

/// Random octets of a server's nonce: as many as clients send.
const NONCE_BYTES: usize = 18;

/// An open session asks again after this whether its login still holds.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The logins of one session.
pub(super) struct Logins {
    door: Door,
    source: Source,
    pause: Duration,
    failed: u32,
    held: Held,
}

/// The session's login.
enum Held {
    /// Nobody has logged in.
    Nobody,
    /// Somebody has, and it was so at that time.
    Somebody(Box<Authenticated>, Instant),
    /// Somebody had, and it has ended.
    Ended,
}

/// Why somebody is not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginFailure {
    /// Name or password is wrong.
    Wrong,
    /// It can't be told now.
    NotNow,
}

impl Logins {
    pub(super) fn new(door: Door, source: Source, pause: Duration) -> Self {
        Self {
            door,
            source,
            pause,
            failed: 0,
            held: Held::Nobody,
        }
    }

    /// Asks whether these are right. The name comes back as its entry spells it.
    pub(super) async fn try_login<B: Backend>(
        &mut self,
        core: &B,
        credentials: Credentials,
        limit: Duration,
    ) -> Result<(Name, Speaker), LoginFailure> {
        let outcome = ask(core, self.source, credentials, limit).await;
        let who = self.ended(outcome).await?;
        let name = who.name.clone();
        Ok((name, self.hold(who)))
    }

    /// How a password of this name is to be proved.
    pub(super) async fn scram_begin<B: Backend>(
        &self,
        core: &B,
        name: &str,
        limit: Duration,
    ) -> Result<Challenge, LoginFailure> {
        // What is no name is nobody's.
        let name: Name = name.parse().map_err(|_| LoginFailure::Wrong)?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| LoginFailure::NotNow)?;
        let begin = Request::ScramBegin { name };
        match answered(core, Speaker::Operator, begin, limit).await? {
            Reply::ScramChallenge { salt, iterations } => Ok(Challenge {
                nonce: BASE64_NOPAD.encode(&nonce),
                salt,
                iterations,
            }),
            other => Err(odd(&other)),
        }
    }

    /// Asks whether a proof is right; gives who speaks now, and the server's own proof.
    pub(super) async fn scram_finish<B: Backend>(
        &mut self,
        core: &B,
        proof: Proof,
        limit: Duration,
    ) -> Result<(Speaker, [u8; 32]), LoginFailure> {
        let name: Name = proof.name.parse().map_err(|_| LoginFailure::Wrong)?;
        let finish = Request::ScramFinish {
            name,
            source: self.source,
            said: proof.said,
            proof: proof.proof,
        };
        let outcome = match answered(core, Speaker::Operator, finish, limit).await {
            Ok(Reply::ScramProved { who, signature }) => Ok((who, signature)),
            Ok(other) => Err(odd(&other)),
            Err(failure) => Err(failure),
        };
        let (who, signature) = self.ended(outcome).await?;
        Ok((self.hold(who), signature))
    }

    /// Whether who has logged in may ask this by the password that he has given.
    pub(super) fn may(&self, request: &Request) -> Result<(), Refusal> {
        match &self.held {
            Held::Somebody(who, _) if who.app_password.is_some() => app_password_may(request),
            Held::Nobody | Held::Somebody(..) | Held::Ended => Ok(()),
        }
    }

    fn hold(&mut self, who: Authenticated) -> Speaker {
        let speaker = Speaker::Individual {
            name: who.name.clone(),
            incarnation: who.incarnation,
        };
        self.held = Held::Somebody(Box::new(who), Instant::now());
        speaker
    }

    /// Counts how a login ended, and pauses after a wrong one.
    async fn ended<T>(&mut self, outcome: Result<T, LoginFailure>) -> Result<T, LoginFailure> {
        let word = match &outcome {
            Ok(_) => "right",
            Err(LoginFailure::Wrong) => "wrong",
            Err(LoginFailure::NotNow) => "not-now",
        };
        metrics::counter!("grapevine_logins_total", "door" => self.door.as_str(), "outcome" => word)
            .increment(1);
        if matches!(outcome, Err(LoginFailure::Wrong)) {
            let pause = self.pause * 2_u32.pow(self.failed.min(DOUBLINGS_MAX));
            self.failed += 1;
            sleep(pause).await;
        }
        outcome
    }

    /// Whether the session's login still holds: credentials that were changed since, or an individual
    /// that is no more, end it. What can't be told now leaves it as it is, until it can.
    pub(super) async fn still_hold<B: Backend>(&mut self, core: &B, limit: Duration) -> bool {
        let (who, asked) = match &mut self.held {
            Held::Nobody => return true,
            Held::Ended => return false,
            Held::Somebody(who, asked) => (who, asked),
        };
        if asked.elapsed() < ASK_AGAIN {
            return true;
        }
        *asked = Instant::now();
        let vouch = Request::Vouch {
            who: (**who).clone(),
        };
        let answer = timeout(limit, core.request(Speaker::Operator, vouch)).await;
        let ended = matches!(
            answer,
            Ok(Err(Refusal {
                kind: ErrorKind::NotAuthenticated,
                ..
            }))
        );
        if ended {
            metrics::counter!("grapevine_logins_ended_total", "door" => self.door.as_str())
                .increment(1);
            self.held = Held::Ended;
        }
        !ended
    }
}

async fn ask<B: Backend>(
    core: &B,
    source: Source,
    credentials: Credentials,
    limit: Duration,
) -> Result<Authenticated, LoginFailure> {
    // What is no name is nobody's.
    let name: Name = credentials.name.parse().map_err(|_| LoginFailure::Wrong)?;
    let request = Request::Authenticate {
        name,
        password: Secret(credentials.password.expose().to_owned()),
        source,
    };
    match answered(core, Speaker::Anonymous, request, limit).await? {
        Reply::Authenticated(who) => Ok(who),
        other => Err(odd(&other)),
    }
}

async fn answered<B: Backend>(
    core: &B,
    speaker: Speaker,
    request: Request,
    limit: Duration,
) -> Result<Reply, LoginFailure> {
    match timeout(limit, core.request(speaker, request)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(refusal)) => match refusal.kind {
            ErrorKind::NotAuthenticated
            | ErrorKind::NotAllowed
            | ErrorKind::NotFound
            | ErrorKind::Invalid => Err(LoginFailure::Wrong),
            ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Unavailable
            | ErrorKind::Unknown
            | ErrorKind::Internal => Err(LoginFailure::NotNow),
        },
        Err(_) => Err(LoginFailure::NotNow),
    }
}

fn odd(reply: &Reply) -> LoginFailure {
    tracing::error!(?reply, "the core gave an answer to another question");
    LoginFailure::NotNow
}
