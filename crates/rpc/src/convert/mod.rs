//! Between the schema and Grapevine's words: `From<&Word>` for what goes out,
//! `TryFrom` for what comes in.
//!
//! Here bytes become valid values or an error: every limit of the model is checked,
//! every name parsed, and nothing panics on what a peer sends. What a newer release
//! may have added is `WireError::Newer`, so that it can be passed over.

mod bulk;
mod cell;
mod compare;
mod connect;
mod login;
mod mailbox;
mod message;
mod peer;
mod queue;
mod registry;
mod reply;
mod request;
mod service;
mod sieve;
mod storage;
mod view;
mod watch;

use std::str::FromStr;

use grapevine_model::{Incarnation, MessageId, Name, RegistryName, ServerName};

use crate::wire::WireError;

pub use service::{
    AppendHead, Call, Caller, Credentials, ReadBodyRequest, SubmitHead, decode_append_head,
    decode_call, decode_call_after, decode_read_body, decode_reply, decode_reply_as_of,
    decode_submit_head, decode_watch_mailbox, encode_append_head, encode_call, encode_call_after,
    encode_read_body, encode_reply, encode_reply_as_of, encode_submit_head, encode_watch_mailbox,
};

type Wire<T> = Result<T, WireError>;

/// Octets of an id or an incarnation.
const ID_BYTES: usize = 16;
/// Octets of a BLAKE3 digest.
const DIGEST_BYTES: usize = 32;

/// A field that must be there.
fn need<T>(value: Option<T>, what: &'static str) -> Wire<T> {
    value.ok_or_else(|| WireError::invalid(format!("{what} is missing")))
}

/// A choice that must be there; if it is not, a newer release has made another one.
fn chosen<T>(value: Option<T>, what: &'static str) -> Wire<T> {
    value.ok_or(WireError::Newer(what))
}

/// A value of one of the schema's enumerations; one that is not there is a newer release's.
fn enumerated<E: TryFrom<i32>>(number: i32, what: &'static str) -> Wire<E> {
    E::try_from(number).map_err(|_| WireError::Newer(what))
}

/// A text that parses: a name, a registry, a server, a member.
fn parsed<T>(text: &str) -> Wire<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| WireError::invalid(error.to_string()))
}

fn optional<T>(text: Option<&String>) -> Wire<Option<T>>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.map(|text| parsed(text)).transpose()
}

fn all_parsed<T>(texts: &[String]) -> Wire<Vec<T>>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    texts.iter().map(|text| parsed(text)).collect()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// All of a list, or the first error.
fn all<P, T>(values: Vec<P>) -> Wire<Vec<T>>
where
    T: TryFrom<P, Error = WireError>,
{
    values.into_iter().map(T::try_from).collect()
}

fn number(bytes: &[u8]) -> Wire<u128> {
    <[u8; ID_BYTES]>::try_from(bytes)
        .map(u128::from_be_bytes)
        .map_err(|_| WireError::invalid("an id has 16 bytes"))
}

fn message_id(bytes: &[u8]) -> Wire<MessageId> {
    number(bytes).map(MessageId::from_u128)
}

fn message_ids(list: &[Vec<u8>]) -> Wire<Vec<MessageId>> {
    list.iter().map(|bytes| message_id(bytes)).collect()
}

fn incarnation(bytes: &[u8]) -> Wire<Incarnation> {
    number(bytes).map(Incarnation)
}

fn id_bytes(id: MessageId) -> Vec<u8> {
    id.to_bytes().to_vec()
}

fn ids_bytes(ids: &[MessageId]) -> Vec<Vec<u8>> {
    ids.iter().map(|id| id_bytes(*id)).collect()
}

fn incarnation_bytes(incarnation: Incarnation) -> Vec<u8> {
    incarnation.0.to_be_bytes().to_vec()
}

/// A count of copies or levels.
fn small(count: u32) -> Wire<u8> {
    u8::try_from(count).map_err(|_| WireError::invalid("a count above 255"))
}

/// The digest of a secret, as tokens have it.
fn token_digest(bytes: Vec<u8>) -> Wire<Vec<u8>> {
    if bytes.len() == DIGEST_BYTES {
        Ok(bytes)
    } else {
        Err(WireError::invalid("a digest has 32 bytes"))
    }
}

fn name(text: &str) -> Wire<Name> {
    parsed(text)
}

fn server(text: &str) -> Wire<ServerName> {
    parsed(text)
}

fn registry(text: &str) -> Wire<RegistryName> {
    parsed(text)
}
