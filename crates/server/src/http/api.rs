//! The API: from a request by HTTP to one request to the core, and back.
//!
//! Must never decide what somebody may do, nor keep an answer: all of them are private, and none may
//! be cached without being asked for again.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use grapevine_model::{
    ErrorKind, GroupList, InboxListing, MAX_SEEN, MessageId, Name, Refusal, RegistryName, Reply,
    Request as Ask, Seen, Since, Source, WatchTarget,
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize as _;

use super::asks::written_to;
use super::conditions::{Condition, Turns};
use super::credentials::{Way, identity};
use super::events;
use super::openapi::document;
use super::operations::{OPERATIONS, Op, Operation, Takes, Verb};
use super::problem::Problem;
use super::render;
use super::submission;
use crate::body_source::BodySource;
use crate::client_calls::{ClientCalls, Identity};

/// A longer body is none of ours: ten thousand names to be checked fit.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A client that does not finish its body within this has gone.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Entries and members in a page, when nothing is said.
const PAGE: u32 = 100;

/// What all operations share.
#[derive(Clone)]
pub(crate) struct Api {
    /// Who calls, and what it asks.
    pub(crate) calls: ClientCalls,
    /// Ends what waits for changes.
    pub(crate) stop: CancellationToken,
    /// How long a message may be.
    pub(crate) message_bytes: u64,
    /// Who changes which entry.
    pub(crate) turns: Turns,
}

impl Api {
    /// The routes of all operations.
    pub(crate) fn router(self) -> Router {
        let core = self.calls.core.clone();
        let api = Arc::new(self);
        let mut router = Router::new();
        for operation in OPERATIONS {
            let filter = match operation.verb {
                Verb::Get => MethodFilter::GET,
                Verb::Post => MethodFilter::POST,
                Verb::Put => MethodFilter::PUT,
                Verb::Delete => MethodFilter::DELETE,
            };
            let api = Arc::clone(&api);
            let handler = move |request: Request| {
                let api = Arc::clone(&api);
                async move {
                    let answered = api.answer(operation, request).await;
                    private(answered.unwrap_or_else(IntoResponse::into_response))
                }
            };
            router = router.route(operation.path, on(filter, handler));
        }
        router
            .merge(super::unsubscribe::router(core))
            .fallback(async || {
                Problem::of_http(
                    StatusCode::NOT_FOUND,
                    "there is nothing here: see /api/v1/openapi.json",
                )
            })
            .method_not_allowed_fallback(async || {
                Problem::of_http(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this is not done here: see /api/v1/openapi.json",
                )
            })
    }

    async fn answer(
        &self,
        operation: &'static Operation,
        request: Request,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let mut call = Call::read(operation, parts).await?;
        if operation.op == Op::Document {
            return Ok(render::json(document(), &call.parts.headers, None));
        }
        let way = *call
            .parts
            .extensions
            .get::<Way>()
            .ok_or_else(|| Problem::from(Refusal::new(ErrorKind::Internal, "no connection")))?;
        let who = identity(&self.calls, &call.parts.headers, way).await?;
        let who = (who, way.source());
        let body = match operation.takes {
            Takes::Json(_) => {
                call.body = Some(Wiped(read_body(&call.parts.headers, body).await?));
                Body::empty()
            }
            Takes::Nothing | Takes::Message => body,
        };
        match operation.op {
            Op::RegistryWatch => {
                let target = WatchTarget::Registry(call.param("registry")?);
                self.watch(who, target, call.since()?).await
            }
            Op::IndividualWatch | Op::GroupWatch => {
                let target = WatchTarget::Entry(call.param("name")?);
                self.watch(who, target, call.since()?).await
            }
            Op::InboxRead => self.read_message(who, &call).await,
            Op::Submit => submission::take(self, who.0, &call, body).await,
            _ => self.ask(who, &call).await,
        }
    }

    async fn ask(&self, who: (Identity, Source), call: &Call) -> Result<Response, Problem> {
        let ask = call.request()?;
        let wrote_to = written_to(&ask);
        let (who, source) = who;
        let condition = Condition::of(&call.parts.headers)?;
        let _turn = match call.operation.changes_an_entry() {
            true => self.turns.of(&call.param("name")?).await,
            false if condition != Condition::None => {
                return Err(Problem::invalid(
                    "If-Match is for changes of one individual or group",
                ));
            }
            false => None,
        };
        if call.operation.changes_either_kind() || condition != Condition::None {
            self.is_as_said(&who, source, call, &condition).await?;
        }
        let answered = self.calls.answer(&who, source, ask, call.seen()?).await;
        let (answer, as_of) = answered;
        let reply = answer?;
        let mut response = render::reply(call, &reply)?;
        let headers = response.headers_mut();
        if let Some(as_of) = as_of {
            headers.extend(render::as_of(&as_of));
        }
        if let Some(seen) = seen_after(&reply, wrote_to)
            && let Ok(value) = HeaderValue::try_from(seen)
        {
            headers.insert(render::SEEN, value);
        }
        Ok(response)
    }

    /// Whether an entry is what the path and the condition say. The core does some things with entries of either kind
    /// alike, and who says "individual" is not to delete a group by it.
    async fn is_as_said(
        &self,
        who: &Identity,
        source: Source,
        call: &Call,
        condition: &Condition,
    ) -> Result<(), Problem> {
        let ask = Ask::Show {
            name: call.param("name")?,
        };
        let shown = self.calls.answer(who, source, ask, call.seen()?).await.0?;
        render::of_its_kind(call, &shown)?;
        condition.check(&render::tag_of_entry(&shown).unwrap_or_default())
    }

    async fn watch(
        &self,
        who: (Identity, Source),
        target: WatchTarget,
        since: Since,
    ) -> Result<Response, Problem> {
        let stop = self.stop.clone();
        events::stream(self.calls.clone(), who, target, since, stop)
            .await
            .map_err(Problem::into_too_many)
    }

    async fn read_message(
        &self,
        who: (Identity, Source),
        call: &Call,
    ) -> Result<Response, Problem> {
        let owner: Name = call.param("name")?;
        let message: MessageId = call.param("message")?;
        let ask = Ask::InboxList {
            name: owner.clone(),
        };
        let Reply::Inbox(InboxListing {
            messages, sites, ..
        }) = self
            .calls
            .answer(&who.0, who.1, ask, call.seen()?)
            .await
            .0?
        else {
            return Err(Refusal::new(ErrorKind::Internal, "the inbox was not listed").into());
        };
        let Some(listed) = messages.iter().find(|listed| listed.message == message) else {
            return Err(Refusal::not_found(format!("{message} in the inbox of {owner}")).into());
        };
        let body = self.calls.core.read_body(listed.body, &sites).await?;
        let body = body.after(listed.list.as_ref());
        let length = HeaderValue::from(body.len_bytes());
        let chunks = futures_util::stream::unfold(Some(body), next_chunk);
        let mut response = Response::new(Body::from_stream(chunks));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length);
        // Never shown in place by a browser: it is what some stranger has written.
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("message/rfc822"),
        );
        headers.insert(
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment"),
        );
        Ok(response)
    }
}

type Chunk = Result<bytes::Bytes, Refusal>;

async fn next_chunk(body: Option<BodySource>) -> Option<(Chunk, Option<BodySource>)> {
    let mut body = body?;
    match body.chunk().await {
        Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
        Ok(None) => None,
        Err(refusal) => Some((Err(refusal), None)),
    }
}

/// What a client hands in later to be answered with its change, or newer.
fn seen_after(reply: &Reply, wrote_to: Option<RegistryName>) -> Option<String> {
    let written = match reply {
        Reply::Written(written) => written,
        Reply::Imported(imported) => &imported.written,
        _ => return None,
    };
    if written.seen.is_empty() {
        let (registry, stamp) = (wrote_to?, written.stamp?);
        return Some(Seen { registry, stamp }.to_string());
    }
    let tokens: Vec<String> = written.seen.iter().map(ToString::to_string).collect();
    Some(tokens.join(", "))
}

/// What holds for every answer.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // It may be kept by who asked, and must be asked for again: with its ETag that is cheap.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// One call, as far as it is read.
pub(super) struct Call {
    pub(super) operation: &'static Operation,
    pub(super) parts: Parts,
    params: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Option<Wiped>,
}

/// A body, which may hold a password: wiped when it is dropped, as far as it is this call's alone.
struct Wiped(bytes::Bytes);

impl Drop for Wiped {
    fn drop(&mut self) {
        if let Ok(mut body) = std::mem::take(&mut self.0).try_into_mut() {
            body.zeroize();
        }
    }
}

impl Call {
    async fn read(operation: &'static Operation, mut parts: Parts) -> Result<Self, Problem> {
        // Decoded here, once.
        let params = RawPathParams::from_request_parts(&mut parts, &())
            .await
            .map_err(|_| Problem::invalid("the path is not UTF-8"))?
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::invalid("the query is not understood"))?;
        for (at, (key, _)) in query.iter().enumerate() {
            if !operation.query.contains(&key.as_str()) {
                return Err(Problem::invalid(format!("unknown parameter: {key}")));
            }
            if query.iter().take(at).any(|(other, _)| other == key) {
                return Err(Problem::invalid(format!("{key} is given twice")));
            }
        }
        Ok(Self {
            operation,
            parts,
            params,
            query,
            body: None,
        })
    }

    /// A part of the path.
    pub(super) fn param<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
    ) -> Result<T, Problem> {
        let text = self.params.iter().find(|(known, _)| known == key);
        let text = text.map_or("", |(_, value)| value.as_str());
        text.parse()
            .map_err(|error: T::Err| Problem::invalid(format!("{key}: {error}")))
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter of the query that is no plain text.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, Problem> {
        self.parameter(key)
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| Problem::invalid(format!("{key}: {error}")))
            })
            .transpose()
    }

    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.parameter("limit") {
            None => Ok(PAGE),
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| Problem::invalid("limit: a number from 1 on")),
        }
    }

    pub(super) fn after(&self) -> Option<String> {
        self.parameter("after").map(str::to_owned)
    }

    pub(super) fn list(&self, text: &str) -> Result<GroupList, Problem> {
        match text {
            "members" => Ok(GroupList::Members),
            "owners" => Ok(GroupList::Owners),
            "friends" => Ok(GroupList::Friends),
            _ => Err(Problem::invalid("a list is members, owners or friends")),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = self.body.as_ref().map_or(&[][..], |body| body.0.as_ref());
        serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body: {error}")))
    }

    /// Where a watch goes on: as a browser says it when it connects again, or as asked.
    fn since(&self) -> Result<Since, Problem> {
        if let Some(last) = self.parts.headers.get("last-event-id") {
            let token = last
                .to_str()
                .map_err(|_| Problem::invalid("Last-Event-ID is no token"))?;
            return Ok(Since::Token(token.to_owned()));
        }
        Ok(match self.parameter("since") {
            None | Some("now") => Since::Now,
            Some("beginning") => Since::Beginning,
            Some(token) => Since::Token(token.to_owned()),
        })
    }

    /// What the client has seen done.
    fn seen(&self) -> Result<Vec<Seen>, Problem> {
        let mut seen = Vec::new();
        for value in self.parts.headers.get_all(render::SEEN) {
            let text = value
                .to_str()
                .map_err(|_| Problem::invalid("Grapevine-Seen is no token"))?;
            for token in text.split(',').map(str::trim).filter(|t| !t.is_empty()) {
                let token = token
                    .parse()
                    .map_err(|error| Problem::invalid(format!("Grapevine-Seen: {error}")))?;
                seen.push(token);
            }
        }
        if seen.len() > MAX_SEEN {
            return Err(Problem::invalid(format!("at most {MAX_SEEN} tokens")));
        }
        Ok(seen)
    }
}

/// A body: JSON, and said to be (a form of another site can't say so).
async fn read_body(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Problem> {
    let said = headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = said.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::of_http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with Content-Type: application/json",
        ));
    }
    let too_long = || {
        let why = format!("a body of more than {MAX_BODY_BYTES} octets");
        Problem::from(Refusal::new(ErrorKind::TooLarge, why))
    };
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY_LIMIT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_long()),
        Err(_) => Err(Problem::of_http(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come to its end in time",
        )),
    }
}

/// Marks each request of a connection with the way it has come.
pub(super) fn coming(router: Router, way: Way) -> Router {
    router.layer(Extension(way))
}
