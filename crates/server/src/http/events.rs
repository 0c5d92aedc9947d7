//! A watch as server-sent events. The id of an event is the token of its batch, and only the last
//! event of a batch has one: a browser that connects again has seen all that its Last-Event-ID says.

use std::convert::Infallible;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use grapevine_model::{Changes, Course, ErrorKind, Refusal, Reply, Since, Source, WatchTarget};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::cli::watch::event_json;
use crate::client_calls::{ClientCalls, Identity};
use crate::core_task::Answer;
use crate::watching::follow;

/// The stream, or why there is none: the first batch is waited for, and comes at once.
pub(super) async fn stream(
    calls: ClientCalls,
    who: (Identity, Source),
    target: WatchTarget,
    since: Since,
    stop: CancellationToken,
) -> Result<Response, Problem> {
    let mut answers = follow(calls, who, target, since, stop);
    let first = match answers.recv().await {
        Some(Ok(first)) => Ok(first),
        Some(Err(refusal)) => return Err(refusal.into()),
        None => return Err(Refusal::unavailable("the watch did not begin").into()),
    };
    let batches = stream::once(async { first }).chain(ReceiverStream::new(answers));
    let events = batches
        .flat_map(|answer| stream::iter(events_of(answer).into_iter().map(Ok::<_, Infallible>)));
    Ok(Sse::new(events).into_response())
}

fn events_of(answer: Answer) -> Vec<Event> {
    match answer {
        Ok(Reply::Changes(changes)) => batch(&changes),
        Ok(_) => vec![problem(Refusal::new(
            ErrorKind::Internal,
            "an answer of another kind",
        ))],
        Err(refusal) => vec![problem(refusal)],
    }
}

fn problem(refusal: Refusal) -> Event {
    let text = Problem::from(refusal).json().to_string();
    Event::default().event("problem").data(text)
}

fn batch(changes: &Changes) -> Vec<Event> {
    let mut events = Vec::with_capacity(changes.events.len() + 2);
    if let Course::StartsOver { why } = &changes.course {
        let text = json!({ "why": why }).to_string();
        events.push(Event::default().event("start-over").data(text));
    }
    for event in &changes.events {
        // JSON has no line ends of its own, so nothing in it can be an event's end.
        events.push(Event::default().data(event_json(event).to_string()));
    }
    // Alone it tells the client where it is, and that the stream lives.
    events.push(
        Event::default()
            .event("token")
            .id(changes.token.clone())
            .data("{}"),
    );
    events
}
