//! `/unsubscribe/LIST/TOKEN`: a member leaves a list by the token in a copy that he got (RFC 8058), without a login.
//!
//! Only POST does it: mail programs and scanners follow links, so GET shows a button and changes nothing. What the body says is
//! not looked at, and nothing is told but whether he has left.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use grapevine_model::{
    EntryChange, ErrorKind, Name, Refusal, Reply, Request as Ask, Speaker, Unsubscribe,
};

use crate::core_task::CoreHandle;

/// Its routes.
pub(super) fn router(core: CoreHandle) -> Router {
    Router::new()
        .route("/unsubscribe/{list}/{token}", get(ask).post(leave))
        .with_state(core)
}

/// A page with a button: the address is where it posts to.
async fn ask(Path((list, token)): Path<(String, String)>) -> Response {
    match read(&list, &token) {
        None => page(StatusCode::NOT_FOUND, "There is no such list or token."),
        Some((list, _)) => page(
            StatusCode::OK,
            &format!(
                "<form method=\"post\"><p>Leave the list {}?</p><button>Leave</button></form>",
                escaped(&list.to_string())
            ),
        ),
    }
}

async fn leave(
    State(core): State<CoreHandle>,
    Path((list, token)): Path<(String, String)>,
) -> Response {
    let Some((list, token)) = read(&list, &token) else {
        return page(StatusCode::NOT_FOUND, "There is no such list or token.");
    };
    let shown = escaped(&list.to_string());
    let change = Ask::Change {
        name: list,
        change: EntryChange::Unsubscribe(token),
    };
    match core.request(Speaker::Anonymous, change).await {
        Ok(Reply::Written(_)) => page(StatusCode::OK, &format!("You have left the list {shown}.")),
        Ok(_) => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something is wrong here.",
        ),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    match refusal.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown => page(
            StatusCode::SERVICE_UNAVAILABLE,
            "This can't be done now. Please try again later.",
        ),
        ErrorKind::Internal => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something is wrong here.",
        ),
        ErrorKind::Invalid
        | ErrorKind::NotAuthenticated
        | ErrorKind::NotAllowed
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::TooLarge => page(StatusCode::FORBIDDEN, "There is no such list or token."),
    }
}

fn read(list: &str, token: &str) -> Option<(Name, Unsubscribe)> {
    Some((list.parse().ok()?, Unsubscribe::from_token(token)?))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn page(status: StatusCode, body: &str) -> Response {
    let html =
        format!("<!doctype html><meta charset=\"utf-8\"><title>Mailing list</title><body>{body}\n");
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The token stands in the address.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    );
    response
}
