//! Old mail for somebody else: delivered to its inbox, as mail is.
//!
//! Each message is submitted under an id that follows from the target and its
//! content, so that running an import again doubles nothing, also after a kill in
//! its middle. What can't be taken is named; the rest goes on.

use std::io::{self, IsTerminal, Write};

use futures_util::stream::{FuturesUnordered, StreamExt};
use grapevine_model::{Envelope, ErrorKind, Name, ReturnContent};
use grapevine_user::import::{Found, Numbered, Numbering};
use grapevine_user::{GrapevineUser, SubmitError, wall_ms};
use serde_json::json;
use tokio::sync::mpsc;

use super::Messages;
use crate::cli::output::{count, print_json};
use crate::cli::session::Session;
use crate::out::{Failure, complain, say};

/// Messages under way at once: enough for their waits for two disks to overlap.
const AT_ONCE: usize = 16;
/// Messages measured ahead of those.
const AHEAD: usize = 32;
/// Progress is written once per so many messages.
const PROGRESS_EVERY: u64 = 50;
/// Failures that are named one by one; after them only the sum.
const NAMED_FAILURES: u64 = 20;

type Measured = io::Result<(Found, io::Result<Numbered>)>;

/// Delivers messages to somebody's inbox.
pub(super) async fn run(
    session: &Session,
    target: Name,
    messages: Messages,
) -> Result<(), Failure> {
    let speaker = session.user.login().map(|login| login.name);
    let envelope = Envelope {
        // Should one be undeliverable after all, whoever imports it hears of it.
        return_path: Some(speaker.unwrap_or_else(|| target.clone())),
        recipients: vec![target.clone().into()],
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    let (measured, queue) = mpsc::channel(AHEAD);
    let numbering = Numbering::new(target.clone(), wall_ms());
    let measuring = tokio::task::spawn_blocking(move || measure(messages, numbering, &measured));
    let sums = submit_all(&session.user, &envelope, queue).await;
    // It has ended, or ends at once: nobody takes what it measures.
    let _ended = measuring.await;
    let sums = sums?;
    if session.json {
        print_json(&json!({
            "to": target,
            "accepted": sums.accepted,
            "failed": sums.failed,
        }));
    } else {
        say(format_args!(
            "{} for {target}",
            count(sums.accepted, "message", "messages")
        ));
    }
    match sums.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format_args!(
            "{} could not be imported",
            count(failed, "message", "messages")
        ))),
    }
}

/// Reads each message once, in order, since ids depend on it. Blocks.
fn measure(messages: Messages, mut numbering: Numbering, to: &mpsc::Sender<Measured>) {
    for found in messages {
        let measured = found.map(|found| {
            let numbered = numbering.number(&found);
            (found, numbered)
        });
        let broken = measured.is_err();
        if to.blocking_send(measured).is_err() || broken {
            return;
        }
    }
}

#[derive(Default)]
struct Sums {
    accepted: u64,
    failed: u64,
}

impl Sums {
    fn fail(&mut self, place: &str, why: impl std::fmt::Display) {
        self.failed += 1;
        if self.failed <= NAMED_FAILURES {
            complain(format_args!("{place}: {why}"));
        }
    }

    fn progress(&self) {
        let done = self.accepted + self.failed;
        if done.is_multiple_of(PROGRESS_EVERY) && io::stderr().is_terminal() {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{done} messages").and_then(|()| stderr.flush());
        }
    }
}

async fn submit_all(
    user: &GrapevineUser,
    envelope: &Envelope,
    mut queue: mpsc::Receiver<Measured>,
) -> Result<Sums, Failure> {
    let mut sums = Sums::default();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            next = queue.recv(), if open && under_way.len() < AT_ONCE => match next {
                Some(Ok((found, Ok(numbered)))) => under_way.push(async move {
                    let result = user
                        .submit_measured(numbered.id, envelope, &found.body, numbered.info)
                        .await;
                    (found.place, result)
                }),
                Some(Ok((found, Err(error)))) => sums.fail(&found.place, error),
                Some(Err(error)) => return Err(stopped(&sums, "what can't be read", Failure::new(error))),
                None => open = false,
            },
            Some((place, result)) = under_way.next() => match result {
                Ok(_) => sums.accepted += 1,
                Err(SubmitError::Refused(refusal)) => match refusal.kind {
                    ErrorKind::TooLarge | ErrorKind::Conflict => sums.fail(&place, refusal),
                    // What is wrong with one is wrong with all, or gets better with time.
                    ErrorKind::Invalid
                    | ErrorKind::NotAuthenticated
                    | ErrorKind::NotAllowed
                    | ErrorKind::NotFound
                    | ErrorKind::Unavailable
                    | ErrorKind::Unknown
                    | ErrorKind::Internal => return Err(stopped(&sums, &place, refusal.into())),
                },
                Err(error @ SubmitError::Body(_)) => sums.fail(&place, error),
            },
        }
        sums.progress();
    }
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr().lock(), "\r");
    }
    Ok(sums)
}

fn stopped(sums: &Sums, place: &str, failure: Failure) -> Failure {
    Failure {
        exit: failure.exit,
        why: format!(
            "stopped at {place} after {}: {}; run it again later, it doubles nothing",
            count(sums.accepted, "message", "messages"),
            failure.why
        ),
    }
}
