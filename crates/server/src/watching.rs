//! A watch as a stream: the core is asked again and again with the token of its last answer.
//!
//! Must never run ahead of a slow client: the next batch is asked for when the last one was taken.

use std::time::Duration;

use grapevine_model::{ErrorKind, Refusal, Reply, Request, Since, Source, Speaker, WatchTarget};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client_calls::{ClientCalls, Identity, Proved};
use crate::core_task::Answer;

/// The core waits so long for a change; then the client hears at least that the stream lives.
const WAIT_MS: u32 = 15_000;
/// Batches that are asked for ahead of the client.
const AHEAD: usize = 1;
/// A stream ends after so long, and its client shows its credentials anew when it goes on.
const STREAM_LIFE: Duration = Duration::from_secs(10 * 60);

/// The batches of a watch, the refusal that ends it last. Ends when the receiver is dropped, when the
/// server stops, and after ten minutes.
pub(crate) fn follow(
    calls: ClientCalls,
    (identity, source): (Identity, Source),
    target: WatchTarget,
    mut since: Since,
    stop: CancellationToken,
) -> mpsc::Receiver<Answer> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let batches = async move {
        // The first batch comes at once, if only to say where the watch begins.
        let mut wait_ms = 0;
        loop {
            let Ok(permit) = sender.reserve().await else {
                return;
            };
            let request = Request::Watch {
                target: target.clone(),
                since: since.clone(),
                wait_ms,
            };
            let answer = tokio::select! {
                answer = ask(&calls, (&identity, source), request) => answer,
                () = stop.cancelled() => Err(stopping()),
                () = sender.closed() => return,
            };
            let goes_on = match &answer {
                Ok(Reply::Changes(changes)) => {
                    since = Since::Token(changes.token.clone());
                    true
                }
                Ok(_) | Err(_) => false,
            };
            wait_ms = WAIT_MS;
            permit.send(answer);
            if !goes_on {
                return;
            }
        }
    };
    tokio::spawn(tokio::time::timeout(STREAM_LIFE, batches));
    receiver
}

/// Asks, if whoever watches still is who it has proved to be.
async fn ask(
    calls: &ClientCalls,
    (identity, source): (&Identity, Source),
    request: Request,
) -> Answer {
    if let Identity::Individual(Proved { who, .. }) = identity {
        let vouch = Request::Vouch { who: who.clone() };
        match calls.core.request(Speaker::Operator, vouch).await {
            Err(refusal) if refusal.kind == ErrorKind::NotAuthenticated => return Err(refusal),
            Ok(_) | Err(_) => {}
        }
    }
    calls.answer(identity, source, request, Vec::new()).await.0
}

/// What a waiting client is told when the server stops.
pub(crate) fn stopping() -> Refusal {
    Refusal::unavailable("this server is stopping: go on at another one")
}
