//! Answers as JSON, the same that the command line prints with `--json`.

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grapevine_model::{
    AsOf, Check, EntryKind, ErrorKind, Name, QueueAnswer, Refusal, Reply, ServerInfo,
};
use serde_json::{Value, json};

use super::api::Call;
use super::problem::Problem;
use crate::cli::mailbox::listing_json;
use crate::cli::names::{conflict_json, dangling_json};
use crate::cli::output::written_json;
use crate::cli::queue::{dead_letter_json, item_json};
use crate::cli::service::site_json;
use crate::cli::status::server_json;
use crate::cli::view::{entry_json, registry_json, seen_json};

/// What a client has seen done: handed out with each change, handed in with later questions.
pub(super) const SEEN: HeaderName = HeaderName::from_static("grapevine-seen");
/// As of when an answer is: milliseconds since 1970, by the clock of the server named.
const AS_OF: HeaderName = HeaderName::from_static("grapevine-as-of");
/// Since when the answering holder is cut off from most of the others.
const CUT_OFF: HeaderName = HeaderName::from_static("grapevine-cut-off-since");

/// A reply.
pub(super) fn reply(call: &Call, reply: &Reply) -> Result<Response, Problem> {
    let headers = &call.parts.headers;
    let value = match reply {
        Reply::Written(written) => written_json(written),
        Reply::Ticket { ticket, expires_ms } => {
            json!({ "ticket": ticket.0, "expires_ms": expires_ms })
        }
        Reply::Ok => json!({ "done": true }),
        Reply::AppPassword { password, id } => json!({ "id": id, "password": password.0 }),
        Reply::AppPasswords(passwords) => json!(passwords),
        Reply::Compared(view) => json!(view),
        Reply::Imported(imported) => json!({
            "outcomes": imported.outcomes,
            "copies": imported.written.copies,
        }),
        Reply::Accepted { message, copies } => json!({ "message": message, "copies": copies }),
        Reply::Unchanged => return Ok(StatusCode::NOT_MODIFIED.into_response()),
        Reply::Located(located) => {
            let sites: Vec<Value> = located.sites.iter().map(|s| site_json(s, None)).collect();
            json!({
                "name": call.param::<Name>("name")?,
                "sites": sites,
                "partial": located.partial,
                "version": located.version,
            })
        }
        Reply::Held(posts) => json!(posts),
        Reply::Conflicts { conflicts, next } => {
            let conflicts: Vec<Value> = conflicts.iter().map(conflict_json).collect();
            let value = json!({ "conflicts": conflicts, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Dangling { dangling, next, .. } => {
            let dangling: Vec<Value> = dangling.iter().map(dangling_json).collect();
            let value = json!({ "dangling": dangling, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Registries(registries) => json!(registries),
        Reply::Seen(view) => seen_json(view),
        Reply::Registry(view) => registry_json(view),
        Reply::Entry(view) => {
            of_its_kind(call, reply)?;
            entry_json(view)
        }
        Reply::Check(check) => json!({ "answer": *check == Check::Yes }),
        Reply::Checks(checks) => {
            let answer = |check: &Option<Check>| check.map(|check| check == Check::Yes);
            json!({ "answers": checks.iter().map(answer).collect::<Vec<_>>() })
        }
        Reply::Members { members, next, .. } => {
            let value = json!({ "members": members, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Entries { entries, next } => {
            let entries: Vec<Value> = entries.iter().map(entry_json).collect();
            let value = json!({ "entries": entries, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Servers(servers) => servers.iter().map(info_json).collect(),
        Reply::Status(status) => server_json(status),
        Reply::Trace(trace) => json!(trace),
        Reply::Queue(QueueAnswer::Items { items, next }) => {
            let items: Vec<Value> = items.iter().map(item_json).collect();
            let value = json!({ "waiting": items, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Queue(QueueAnswer::DeadLetters { letters, next }) => {
            let letters: Vec<Value> = letters.iter().map(dead_letter_json).collect();
            let value = json!({ "dead_letters": letters, "next": next });
            return Ok(json(value, headers, link(call, next.as_deref())?));
        }
        Reply::Queue(QueueAnswer::Changed(number)) => json!({ "changed": number }),
        Reply::Queue(QueueAnswer::Replayed { replayed, next }) => {
            json!({ "replayed": replayed, "next": next })
        }
        Reply::Queue(QueueAnswer::Destinations(all)) => json!({ "destinations": all }),
        Reply::Queue(QueueAnswer::Unplug(view)) => json!(view),
        Reply::Inbox(listing) => listing_json(&call.param("name")?, listing),
        other => {
            tracing::error!(
                operation = call.operation.path,
                ?other,
                "an answer of another kind"
            );
            return Err(Refusal::new(ErrorKind::Internal, "an answer of another kind").into());
        }
    };
    Ok(json(value, headers, None))
}

/// Not found, where an entry is of another kind than the path says.
pub(super) fn of_its_kind(call: &Call, reply: &Reply) -> Result<(), Problem> {
    match (reply, call.operation.kind()) {
        (Reply::Entry(view), Some(kind)) if view.kind != kind => {
            let (name, is) = match view.kind {
                EntryKind::Individual => (&view.name, "an individual"),
                EntryKind::Group => (&view.name, "a group"),
            };
            let why = format!("{name} is {is}");
            Err(Refusal::new(ErrorKind::NotFound, why).into())
        }
        _ => Ok(()),
    }
}

/// The tag of an entry as its own path shows it; none for another reply.
pub(super) fn tag_of_entry(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Entry(view) => Some(tag_of(&format!("{}\n", entry_json(view)))),
        _ => None,
    }
}

fn tag_of(text: &str) -> String {
    format!("\"{}\"", blake3::hash(text.as_bytes()).to_hex())
}

/// JSON with its tag; if the client has it already, only that.
pub(super) fn json(value: Value, headers: &HeaderMap, link: Option<HeaderValue>) -> Response {
    let text = format!("{value}\n");
    let tag = tag_of(&text);
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|given| given.trim().trim_start_matches("W/"))
        .any(|given| given == tag || given == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (kind, text).into_response()
    };
    let out = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        out.insert(header::ETAG, tag);
    }
    if let Some(link) = link {
        out.insert(header::LINK, link);
    }
    response
}

/// Where the next page is (RFC 8288).
fn link(call: &Call, next: Option<&str>) -> Result<Option<HeaderValue>, Problem> {
    let Some(next) = next else { return Ok(None) };
    let path = call.parts.uri.path();
    let limit = call.limit()?;
    let mut link = format!("<{path}?after={}&limit={limit}", percent(next));
    for kept in ["list", "depth"] {
        if let Some(value) = call.parameter(kept) {
            link += &format!("&{kept}={}", percent(value));
        }
    }
    link += ">; rel=\"next\"";
    Ok(HeaderValue::try_from(link).ok())
}

/// All but unreserved characters (RFC 3986 2.3) as octets.
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut coded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            // To a string it can't fail.
            let _ = write!(coded, "%{byte:02X}");
        }
    }
    coded
}

fn info_json(info: &ServerInfo) -> Value {
    let doors: serde_json::Map<String, Value> = info
        .doors
        .iter()
        .map(|(door, at)| (door.as_str().to_owned(), json!(at)))
        .collect();
    json!({
        "name": info.name,
        "role": info.role,
        "public_key": data_encoding::BASE64.encode(&info.public_key),
        "doors": doors,
    })
}

/// As of when, as headers.
pub(super) fn as_of(as_of: &AsOf) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("{}; server={}", as_of.at_ms, as_of.server);
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(AS_OF, value);
    }
    if let Some(since_ms) = as_of.cut_off_since_ms {
        headers.insert(CUT_OFF, HeaderValue::from(since_ms));
    }
    headers
}
