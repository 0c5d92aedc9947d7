//! What is not done, as problem details (RFC 9457): the refusal's kind, its status, and why.
//!
//! Must never say more than the refusal does.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grapevine_model::{ErrorKind, Refusal};
use serde_json::{Value, json};

/// Something that was not done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    why: String,
}

/// When a client may try again what was not possible just now.
const RETRY_AFTER_SECONDS: &str = "1";

impl Problem {
    /// The request can't be right.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Refusal::invalid(why).into()
    }

    /// A status that HTTP has and the core has not.
    pub(super) fn of_http(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            kind: "invalid",
            why: why.into(),
        }
    }

    /// The entry is no longer as the client has seen it.
    pub(super) fn changed() -> Self {
        Self {
            status: StatusCode::PRECONDITION_FAILED,
            kind: "changed",
            why:
                "the entry is no longer as you have seen it, and nothing was changed: read it again"
                    .to_owned(),
        }
    }

    /// Of a limit that is not about one request's size: it may be asked again when others have ended.
    pub(super) fn into_too_many(self) -> Self {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                kind: "too-many",
                ..self
            },
            _ => self,
        }
    }

    /// As it is written.
    pub(super) fn json(&self) -> Value {
        json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.why,
            "kind": self.kind,
        })
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, kind) = match refusal.kind {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            ErrorKind::NotAuthenticated => (StatusCode::UNAUTHORIZED, "not-authenticated"),
            ErrorKind::NotAllowed => (StatusCode::FORBIDDEN, "not-allowed"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            // Asked, and no answer came in time: it may have been done.
            ErrorKind::Unknown => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self {
            status,
            kind,
            why: refusal.why,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"grapevine\", charset=\"UTF-8\""),
            );
        }
        let later = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if later.contains(&self.status) {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from_static(RETRY_AFTER_SECONDS),
            );
        }
        response
    }
}
