//! Who calls: name and password, or a ticket, checked as at every other door.
//!
//! Must never take a password from a wire that others can read: inside TLS, or from this machine itself.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grapevine_model::{ErrorKind, Name, Refusal, Secret, Source, Speaker};
use zeroize::Zeroizing;

use super::problem::Problem;
use crate::client_calls::{ClientCalls, Identity};

/// Longest ticket (and so longest password, in whose place one may stand).
const MAX_TICKET_BYTES: usize = 1_024;

/// How a request has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// From where.
    pub(super) peer: SocketAddr,
    /// Inside TLS, or in clear.
    pub(super) cover: Cover,
}

impl Way {
    /// Where it comes from, for those who count wrong passwords.
    pub(super) fn source(self) -> Source {
        Source::of(self.peer.ip())
    }

    /// Whether nobody else can read what comes this way.
    fn is_private(self) -> bool {
        self.cover == Cover::Tls || self.peer.ip().to_canonical().is_loopback()
    }
}

/// Who else can read a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nobody.
    Tls,
    /// Whoever is on the way.
    Clear,
}

/// Who calls. Without credentials, nobody in particular.
pub(super) async fn identity(
    calls: &ClientCalls,
    headers: &HeaderMap,
    way: Way,
) -> Result<Identity, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(Identity::Speaker(Speaker::Anonymous));
    };
    if given.next().is_some() {
        return Err(Problem::invalid("one Authorization header, not two"));
    }
    if !way.is_private() {
        return Err(Problem::of_http(
            StatusCode::FORBIDDEN,
            "credentials only inside TLS: use the https door (and change this password)",
        ));
    }
    Ok(match credentials(value.as_bytes())? {
        Credentials::Password(name, password) => {
            calls.by_password(name, password, way.source()).await?
        }
        Credentials::Ticket(ticket) => calls.by_ticket(&ticket).await?,
    })
}

/// What is given.
enum Credentials {
    Password(Name, Secret),
    Ticket(Secret),
}

/// `Basic base64(name:password)` (RFC 7617), or `Bearer ticket` (RFC 6750).
fn credentials(value: &[u8]) -> Result<Credentials, Problem> {
    if let Some((scheme, ticket)) = value.split_at_checked(7)
        && scheme.eq_ignore_ascii_case(b"bearer ")
        && let Ok(ticket) = std::str::from_utf8(ticket.trim_ascii())
        && ticket.len() <= MAX_TICKET_BYTES
    {
        return Ok(Credentials::Ticket(Secret(ticket.to_owned())));
    }
    basic(value).map(|(name, password)| Credentials::Password(name, password))
}

/// `Basic base64(name:password)`.
fn basic(value: &[u8]) -> Result<(Name, Secret), Problem> {
    let unusable = || {
        Problem::from(Refusal::new(
            ErrorKind::NotAuthenticated,
            "the Authorization header is not understood: Basic with a name and a password, or Bearer with a ticket",
        ))
    };
    let (scheme, coded) = value.split_at_checked(6).ok_or_else(unusable)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(unusable());
    }
    let plain = Zeroizing::new(
        STANDARD
            .decode(coded.trim_ascii())
            .map_err(|_| unusable())?,
    );
    let plain = std::str::from_utf8(&plain).map_err(|_| unusable())?;
    let (name, password) = plain.split_once(':').ok_or_else(unusable)?;
    if password.len() > MAX_TICKET_BYTES {
        return Err(unusable());
    }
    let name = name.parse().map_err(|_| unusable())?;
    Ok((name, Secret(password.to_owned())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_taken_inside_tls_or_from_this_machine_only() {
        let way = |peer: &str, cover| Way {
            peer: peer.parse().unwrap(),
            cover,
        };
        for (peer, cover, private) in [
            ("192.0.2.7:5000", Cover::Clear, false),
            ("[2001:db8::7]:5000", Cover::Clear, false),
            ("[::ffff:192.0.2.7]:5000", Cover::Clear, false),
            ("192.0.2.7:5000", Cover::Tls, true),
            ("127.0.0.1:5000", Cover::Clear, true),
            ("[::1]:5000", Cover::Clear, true),
            ("[::ffff:127.0.0.1]:5000", Cover::Clear, true),
        ] {
            assert_eq!(way(peer, cover).is_private(), private, "{peer} {cover:?}");
        }
    }

    #[test]
    fn what_is_no_name_and_password_is_refused() {
        let coded = |plain: &str| format!("Basic {}", STANDARD.encode(plain));
        let (name, password) = basic(coded("birrell@pa.example:with:colons").as_bytes()).unwrap();
        assert_eq!(name.to_string(), "birrell@pa.example");
        assert_eq!(password.0, "with:colons");
        for wrong in [
            String::new(),
            "Basic".to_owned(),
            "Basic !!!".to_owned(),
            "Bearer abc".to_owned(),
            coded("no colon"),
            coded("no name:x"),
            coded(&format!("birrell@pa.example:{}", "x".repeat(2_000))),
        ] {
            assert!(basic(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
