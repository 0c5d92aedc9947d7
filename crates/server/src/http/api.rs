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
    EntryChange, ErrorKind, GroupList, InboxListing, MAX_SEEN, MessageId, Name, PolicyChange,
    Refusal, RegistryName, Reply, Request as Ask, Secret, Seen, Since, Source, WatchTarget,
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::bodies;
use super::credentials::{Way, identity};
use super::events;
use super::openapi::document;
use super::operations::{OPERATIONS, Op, Operation, Verb};
use super::problem::Problem;
use super::render;
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
}

impl Api {
    /// The routes of all operations.
    pub(crate) fn router(self) -> Router {
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
        if operation.body.is_some() {
            call.body = Some(read_body(&call.parts.headers, body).await?);
        }
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
            _ => self.ask(who, &call).await,
        }
    }

    async fn ask(&self, who: (Identity, Source), call: &Call) -> Result<Response, Problem> {
        let ask = call.request()?;
        let wrote_to = written_to(&ask);
        let (who, source) = who;
        let answered = self.calls.answer(&who, source, ask, call.seen()?).await;
        let (answer, as_of) = answered;
        let reply = answer?;
        let seen = match (&reply, wrote_to) {
            (Reply::Written(written), Some(registry)) => {
                written.stamp.map(|stamp| Seen { registry, stamp })
            }
            _ => None,
        };
        let mut response = render::reply(call, &reply)?;
        let headers = response.headers_mut();
        if let Some(as_of) = as_of {
            headers.extend(render::as_of(&as_of));
        }
        if let Some(seen) = seen
            && let Ok(value) = HeaderValue::try_from(seen.to_string())
        {
            headers.insert(render::SEEN, value);
        }
        Ok(response)
    }

    async fn watch(
        &self,
        who: (Identity, Source),
        target: WatchTarget,
        since: Since,
    ) -> Result<Response, Problem> {
        let stop = self.stop.clone();
        events::stream(self.calls.clone(), who, target, since, stop).await
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
        if !messages.iter().any(|listed| listed.message == message) {
            return Err(Refusal::not_found(format!("{message} in the inbox of {owner}")).into());
        }
        let body = self.calls.core.read_body(message, &sites).await?;
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
    body: Option<bytes::Bytes>,
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

    fn after(&self) -> Option<String> {
        self.parameter("after").map(str::to_owned)
    }

    fn list(&self, text: &str) -> Result<GroupList, Problem> {
        match text {
            "members" => Ok(GroupList::Members),
            "owners" => Ok(GroupList::Owners),
            "friends" => Ok(GroupList::Friends),
            _ => Err(Problem::invalid("a list is members, owners or friends")),
        }
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = self.body.as_ref().map_or(&[][..], |body| body.as_ref());
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

    /// What the core is asked.
    fn request(&self) -> Result<Ask, Problem> {
        let change = |change| -> Result<Ask, Problem> {
            Ok(Ask::Change {
                name: self.param("name")?,
                change,
            })
        };
        Ok(match self.operation.op {
            Op::Registries => Ask::RegistryList,
            Op::RegistryCreate => {
                let new: bodies::NewRegistry = self.json()?;
                Ask::RegistryCreate {
                    registry: new.registry,
                    holders: new.holders,
                    registrars: new.registrars,
                }
            }
            Op::Registry => Ask::RegistryShow {
                registry: self.param("registry")?,
            },
            Op::RegistryDelete => Ask::RegistryDelete {
                registry: self.param("registry")?,
            },
            Op::RegistryEntries => Ask::Entries {
                registry: self.param("registry")?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::RegistryPolicy => Ask::RegistryPolicy {
                registry: self.param("registry")?,
                change: match self.json()? {
                    bodies::Policy::Alone(policy) => PolicyChange::Alone(policy),
                    bodies::Policy::Stale(policy) => PolicyChange::Stale(policy),
                    bodies::Policy::Offer(server) => PolicyChange::Offer(server),
                    bodies::Policy::Withdraw(server) => PolicyChange::Withdraw(server),
                },
            },
            Op::HolderAdd => Ask::HolderAdd {
                registry: self.param("registry")?,
                server: self.param("server")?,
            },
            Op::HolderRemove => Ask::HolderRemove {
                registry: self.param("registry")?,
                server: self.param("server")?,
            },
            Op::IndividualCreate => {
                let new: bodies::NewIndividual = self.json()?;
                Ask::IndividualCreate {
                    name: new.name,
                    password: new.password.map(|password| Secret(password.0)),
                    sites: new.sites,
                }
            }
            Op::GroupCreate => {
                let new: bodies::NewGroup = self.json()?;
                Ask::GroupCreate {
                    name: new.name,
                    remark: new.remark,
                    owners: new.owners,
                }
            }
            Op::Individual | Op::Group => Ask::Show {
                name: self.param("name")?,
            },
            Op::IndividualDelete | Op::GroupDelete => Ask::Delete {
                name: self.param("name")?,
            },
            Op::SetPassword => {
                let new: bodies::NewPassword = self.json()?;
                change(EntryChange::Password(Secret(new.password.0)))?
            }
            Op::SetIndividualRemark | Op::SetGroupRemark => {
                change(EntryChange::Remark(self.json::<bodies::Remark>()?.remark))?
            }
            Op::SetSites => change(EntryChange::Sites(self.json::<bodies::Sites>()?.sites))?,
            Op::SetForward => change(EntryChange::Forward(
                self.json::<bodies::Forward>()?.forward,
            ))?,
            Op::AliasAdd => change(EntryChange::AliasAdd(self.param("alias")?))?,
            Op::AliasRemove => change(EntryChange::AliasRemove(self.param("alias")?))?,
            Op::List => Ask::Members {
                group: self.param("name")?,
                list: self.list(&self.param::<String>("list")?)?,
                after: self.after(),
                limit: self.limit()?,
            },
            Op::ListAdd | Op::ListRemove => {
                let list = self.list(&self.param::<String>("list")?)?;
                let member = self.param("member")?;
                change(match self.operation.op {
                    Op::ListAdd => EntryChange::ListAdd(list, member),
                    _ => EntryChange::ListRemove(list, member),
                })?
            }
            Op::Check => Ask::Check {
                group: self.param("name")?,
                list: self.list(self.parameter("list").unwrap_or("members"))?,
                who: self
                    .parameter("who")
                    .ok_or_else(|| Problem::invalid("who? give ?who=NAME"))?
                    .parse()
                    .map_err(|error| Problem::invalid(format!("who: {error}")))?,
            },
            Op::Checks => {
                let checks: bodies::Checks = self.json()?;
                Ask::CheckMany {
                    group: self.param("name")?,
                    list: checks.list,
                    who: checks.who,
                }
            }
            Op::Join => {
                let bodies::Empty {} = self.json()?;
                change(EntryChange::Join)?
            }
            Op::Leave => {
                let bodies::Empty {} = self.json()?;
                change(EntryChange::Leave)?
            }
            Op::Login => Ask::TicketCreate {
                life_ms: self.json::<bodies::Login>()?.life_ms,
            },
            Op::Servers => Ask::Servers,
            Op::Status => Ask::Status,
            Op::Trace => Ask::Trace {
                message: self.param("message")?,
            },
            Op::Inbox => Ask::InboxList {
                name: self.param("name")?,
            },
            Op::InboxDelete => Ask::InboxDelete {
                name: self.param("name")?,
                messages: vec![self.param("message")?],
            },
            Op::Document
            | Op::RegistryWatch
            | Op::IndividualWatch
            | Op::GroupWatch
            | Op::InboxRead => {
                return Err(Refusal::new(ErrorKind::Internal, "this is no single question").into());
            }
        })
    }
}

/// The registry that a change is written to.
fn written_to(ask: &Ask) -> Option<RegistryName> {
    match ask {
        Ask::IndividualCreate { name, .. }
        | Ask::GroupCreate { name, .. }
        | Ask::Delete { name }
        | Ask::Change { name, .. } => Some(name.registry().clone()),
        Ask::RegistryCreate { .. }
        | Ask::RegistryDelete { .. }
        | Ask::RegistryPolicy { .. }
        | Ask::HolderAdd { .. }
        | Ask::HolderRemove { .. } => Some(RegistryName::gv()),
        _ => None,
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
