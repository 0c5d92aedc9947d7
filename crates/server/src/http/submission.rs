//! A message handed in by HTTP: the body as it is, streamed to the disk; the envelope in the query.
//!
//! Must never take a message from nobody, nor hold a connection for a client that sends nothing.

use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use grapevine_model::{
    Envelope, EnvelopeRecipient, ErrorKind, MAX_RECIPIENTS, Name, Refusal, Reply, ReturnContent,
    Speaker, Submission,
};

use super::api::{Api, Call};
use super::problem::Problem;
use super::render;
use crate::client_calls::Identity;
use crate::intake::Intake;

/// A client that is silent for so long in the middle of a message has gone.
const CHUNK_LIMIT: Duration = Duration::from_secs(60);

/// Takes a message.
pub(super) async fn take(
    api: &Api,
    who: Identity,
    call: &Call,
    body: Body,
) -> Result<Response, Problem> {
    let said = call.parts.headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = said.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("message/rfc822") {
        return Err(Problem::of_http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the message as it is, with Content-Type: message/rfc822",
        ));
    }
    let speaker = who.speaker();
    let own = match &speaker {
        Speaker::Individual { name, .. } => Some(name.clone()),
        Speaker::Operator | Speaker::Server(_) => None,
        Speaker::Anonymous | Speaker::Neighbour => {
            let why = "who hands in a message says who it is: give a name and a password";
            return Err(Refusal::new(ErrorKind::NotAuthenticated, why).into());
        }
    };
    let envelope = Envelope {
        return_path: call.parsed("from")?.or(own),
        recipients: recipients(call)?,
        content: ReturnContent::default(),
        envelope_id: None,
    };
    let id = call.parsed("id")?;
    let mut intake = Intake::new(&api.calls.core, api.message_bytes);
    let mut chunks = body.into_data_stream();
    loop {
        match tokio::time::timeout(CHUNK_LIMIT, chunks.next()).await {
            Ok(Some(Ok(chunk))) => intake = intake.take(chunk).await?,
            Ok(Some(Err(_))) => return Err(Problem::invalid("the message broke off")),
            Ok(None) => break,
            Err(_) => {
                return Err(Problem::of_http(
                    StatusCode::REQUEST_TIMEOUT,
                    "the message did not go on",
                ));
            }
        }
    }
    let held = intake.finish().await?;
    let Some(staged) = held.release() else {
        return Err(Refusal::new(ErrorKind::Internal, "a staged body is not there").into());
    };
    let submission = Submission {
        id,
        speaker,
        envelope,
        body: staged.body,
        reports: None,
    };
    let reply: Reply = api.calls.core.submit(submission, staged).await?;
    render::reply(call, &reply)
}

/// Whom it is for: names with commas between them, which no name has inside.
fn recipients(call: &Call) -> Result<Vec<EnvelopeRecipient>, Problem> {
    let given = call.parameter("to").unwrap_or("");
    let mut recipients = Vec::new();
    for text in given.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        let name: Name = text
            .parse()
            .map_err(|error| Problem::invalid(format!("to: {text}: {error}")))?;
        recipients.push(EnvelopeRecipient::from(name));
    }
    if recipients.is_empty() {
        return Err(Problem::invalid("to whom? give ?to=NAME,NAME"));
    }
    if recipients.len() > MAX_RECIPIENTS {
        let why = format!("at most {MAX_RECIPIENTS} recipients");
        return Err(Refusal::new(ErrorKind::TooLarge, why).into());
    }
    Ok(recipients)
}
