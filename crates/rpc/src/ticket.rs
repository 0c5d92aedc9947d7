//! Tickets as text: `gvt1_`, the claims, a dot, a server's signature over them, in base64url.
//!
//! Any server can check one with nothing but the issuer's public key, which stands in `gv`: there is no
//! secret that servers share. A signature that is right says only that a server of this key has made the
//! ticket; whether it is still worth something is the core's to say. Never panics, whatever the text.

use data_encoding::BASE64URL_NOPAD;
use grapevine_model::{Secret, TICKET_PREFIX, Ticket};
use prost::Message;

use crate::tls::{Identity, IdentityError, verify_by_key};
use crate::v1;

/// What stands before the claims when they are signed: so that no signature made for anything else,
/// a handshake of TLS for one, is ever one of a ticket.
const CONTEXT: &[u8] = b"grapevine-ticket-1\0";
/// Longest text of a ticket in octets: two names of 254, and as much again for the rest.
const MAX_TEXT_BYTES: usize = 1_024;

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text is no ticket's.
    #[error("this is no ticket")]
    Malformed,
    /// No server of that name has a key on record.
    #[error("its issuer is no server of this Grapevine")]
    UnknownIssuer,
    /// The signature is not the issuer's.
    #[error("its signature is not its issuer's")]
    BadSignature,
}

/// Whether a text means to be a ticket.
pub fn is_ticket(text: &str) -> bool {
    text.starts_with(TICKET_PREFIX)
}

/// Signs a ticket: its text, which is as good as a password while it lasts.
///
/// # Errors
/// The key can't sign.
pub fn sign_ticket(ticket: &Ticket, identity: &Identity) -> Result<Secret, IdentityError> {
    let claims = v1::TicketClaims::from(ticket).encode_to_vec();
    let signature = identity.sign(&signed_bytes(&claims))?;
    Ok(Secret(format!(
        "{TICKET_PREFIX}{}.{}",
        BASE64URL_NOPAD.encode(&claims),
        BASE64URL_NOPAD.encode(&signature)
    )))
}

/// Reads a ticket that one of its issuer's keys, as `keys_of` knows them (SubjectPublicKeyInfo, DER), has signed.
///
/// # Errors
/// It is none, or its issuer is unknown or has not signed it.
pub fn open_ticket(
    text: &str,
    keys_of: impl FnOnce(&grapevine_model::ServerName) -> Vec<Vec<u8>>,
) -> Result<Ticket, TicketError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TicketError::Malformed);
    }
    let (claims, signature) = text
        .strip_prefix(TICKET_PREFIX)
        .and_then(|rest| rest.split_once('.'))
        .ok_or(TicketError::Malformed)?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes());
    let (Ok(claims), Ok(signature)) = (decode(claims), decode(signature)) else {
        return Err(TicketError::Malformed);
    };
    let ticket = v1::TicketClaims::decode(claims.as_slice())
        .ok()
        .and_then(|claims| Ticket::try_from(claims).ok())
        .ok_or(TicketError::Malformed)?;
    let keys = keys_of(&ticket.issuer);
    if keys.is_empty() {
        return Err(TicketError::UnknownIssuer);
    }
    let signed = signed_bytes(&claims);
    // A server has a few keys while it changes from one to the next.
    if !keys
        .iter()
        .any(|key| verify_by_key(key, &signed, &signature))
    {
        return Err(TicketError::BadSignature);
    }
    Ok(ticket)
}

fn signed_bytes(claims: &[u8]) -> Vec<u8> {
    [CONTEXT, claims].concat()
}
