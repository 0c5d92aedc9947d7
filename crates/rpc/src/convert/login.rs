//! Logins, tickets and app passwords.

use std::net::IpAddr;

use grapevine_model::{
    AppPassword, AppPasswordView, Authenticated, Hlc, LoginNews, LoginOutcome, MAX_LABEL_BYTES,
    OriginId, Source, Stamp, Ticket,
};

use super::{Wire, incarnation, incarnation_bytes, name, need, server, token_digest};
use crate::v1;
use crate::wire::WireError;

/// Longest id of an app password in octets: newer ones may be longer than ours.
const MAX_APP_ID_BYTES: usize = 64;
/// Longest dialogue of SCRAM in octets: a door's own limit on a login's lines is about as long.
const MAX_SCRAM_BYTES: usize = 16_384;
/// The stamp of no credentials at all: nothing that carries it is ever vouched for.
const NO_CREDENTIALS: Stamp = Stamp {
    time: Hlc(0),
    origin: OriginId(0),
};
/// The source that is this very machine.
const LOCAL: &[u8] = &[1];

pub(super) fn source_bytes(source: Source) -> Vec<u8> {
    match source {
        Source::Unknown => Vec::new(),
        Source::Local => LOCAL.to_vec(),
        Source::Address(IpAddr::V4(address)) => address.octets().to_vec(),
        Source::Address(IpAddr::V6(address)) => address.octets().to_vec(),
    }
}

/// What can't be read is unknown, as from an older server.
pub(super) fn source(bytes: &[u8]) -> Source {
    if bytes == LOCAL {
        return Source::Local;
    }
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(octets), _) => Source::of(IpAddr::from(octets)),
        (_, Ok(octets)) => Source::of(IpAddr::from(octets)),
        (Err(_), Err(_)) => Source::Unknown,
    }
}

/// The id of an app password.
pub(super) fn app_id(id: String) -> Wire<String> {
    if id.len() > MAX_APP_ID_BYTES {
        Err(WireError::invalid("the id of an app password is too long"))
    } else {
        Ok(id)
    }
}

/// The label of an app password.
pub(super) fn label(text: String) -> Wire<String> {
    if text.len() > MAX_LABEL_BYTES {
        let why = format!("a label has at most {MAX_LABEL_BYTES} octets");
        Err(WireError::invalid(why))
    } else {
        Ok(text)
    }
}

/// What both sides of a dialogue of SCRAM said.
pub(super) fn scram_text(said: String) -> Wire<String> {
    if said.len() > MAX_SCRAM_BYTES {
        Err(WireError::invalid("a dialogue of SCRAM is not so long"))
    } else {
        Ok(said)
    }
}

/// A salt, proof or signature of SCRAM-SHA-256.
pub(super) fn scram_bytes<const N: usize>(bytes: Vec<u8>) -> Wire<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| WireError::invalid(format!("{N} bytes are wanted of SCRAM")))
}

impl From<&Authenticated> for v1::Individual {
    fn from(who: &Authenticated) -> Self {
        Self {
            name: who.name.to_string(),
            incarnation: incarnation_bytes(who.incarnation),
            credentials: Some((&who.credentials).into()),
            app_password: who.app_password.clone(),
        }
    }
}

impl TryFrom<v1::Individual> for Authenticated {
    type Error = WireError;

    fn try_from(who: v1::Individual) -> Wire<Self> {
        Ok(Self {
            name: name(&who.name)?,
            incarnation: incarnation(&who.incarnation)?,
            credentials: who.credentials.map_or(NO_CREDENTIALS, Into::into),
            app_password: who.app_password.map(app_id).transpose()?,
        })
    }
}

impl From<&AppPassword> for v1::AppPassword {
    fn from(app: &AppPassword) -> Self {
        Self {
            id: app.id.clone(),
            label: app.label.clone(),
            digest: app.digest.to_vec(),
            created_ms: app.created_ms,
            expires_ms: app.expires_ms,
        }
    }
}

impl TryFrom<v1::AppPassword> for AppPassword {
    type Error = WireError;

    fn try_from(app: v1::AppPassword) -> Wire<Self> {
        let digest = token_digest(app.digest)?;
        Ok(Self {
            id: app_id(app.id)?,
            label: label(app.label)?,
            digest: digest
                .try_into()
                .map_err(|_| WireError::invalid("a digest has 32 bytes"))?,
            created_ms: app.created_ms,
            expires_ms: app.expires_ms,
        })
    }
}

impl From<&AppPasswordView> for v1::AppPassword {
    fn from(app: &AppPasswordView) -> Self {
        Self {
            id: app.id.clone(),
            label: app.label.clone(),
            digest: Vec::new(),
            created_ms: app.created_ms,
            expires_ms: app.expires_ms,
        }
    }
}

impl TryFrom<v1::AppPassword> for AppPasswordView {
    type Error = WireError;

    fn try_from(app: v1::AppPassword) -> Wire<Self> {
        Ok(Self {
            id: app_id(app.id)?,
            label: label(app.label)?,
            created_ms: app.created_ms,
            expires_ms: app.expires_ms,
        })
    }
}

impl From<&LoginNews> for v1::Login {
    fn from(news: &LoginNews) -> Self {
        Self {
            name: news.name.to_string(),
            source: source_bytes(news.source),
            right: news.outcome == LoginOutcome::Right,
        }
    }
}

impl TryFrom<v1::Login> for LoginNews {
    type Error = WireError;

    fn try_from(login: v1::Login) -> Wire<Self> {
        Ok(Self {
            name: name(&login.name)?,
            source: source(&login.source),
            outcome: if login.right {
                LoginOutcome::Right
            } else {
                LoginOutcome::Wrong
            },
        })
    }
}

impl From<&Ticket> for v1::TicketClaims {
    fn from(ticket: &Ticket) -> Self {
        Self {
            grapevine: incarnation_bytes(ticket.grapevine),
            issuer: ticket.issuer.to_string(),
            name: ticket.who.name.to_string(),
            incarnation: incarnation_bytes(ticket.who.incarnation),
            credentials: Some((&ticket.who.credentials).into()),
            proved_ms: ticket.proved_ms,
            issued_ms: ticket.issued_ms,
            expires_ms: ticket.expires_ms,
        }
    }
}

impl TryFrom<v1::TicketClaims> for Ticket {
    type Error = WireError;

    fn try_from(claims: v1::TicketClaims) -> Wire<Self> {
        Ok(Self {
            grapevine: incarnation(&claims.grapevine)?,
            issuer: server(&claims.issuer)?,
            who: Authenticated {
                name: name(&claims.name)?,
                incarnation: incarnation(&claims.incarnation)?,
                credentials: need(claims.credentials, "the stamp of the credentials")?.into(),
                app_password: None,
            },
            proved_ms: claims.proved_ms,
            issued_ms: claims.issued_ms,
            expires_ms: claims.expires_ms,
        })
    }
}
