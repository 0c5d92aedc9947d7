//! The published schema, its conversions to and from Grapevine's words, and mutual TLS by recorded keys.
//!
//! The border between servers: bytes of a peer or a client become a valid value of
//! `grapevine-model`, or an error, never a panic. Which request leads where is not
//! decided here, and nothing behind this crate sees a generated type.

mod channel;
mod convert;
mod listen;
mod ticket;
pub mod tls;
mod watched;
mod wire;

pub use channel::{Timeouts, connect, connect_watched, grapevine_client, peers_client};
pub use convert::{
    AppendHead, Call, Caller, Credentials, ReadBodyRequest, SubmitHead, decode_append_head,
    decode_call, decode_call_after, decode_read_body, decode_reply, decode_reply_as_of,
    decode_submit_head, decode_watch_mailbox, encode_append_head, encode_call, encode_call_after,
    encode_read_body, encode_reply, encode_reply_as_of, encode_submit_head, encode_watch_mailbox,
};
pub use listen::{
    MAX_CONNECTIONS, MAX_HANDSHAKES, PeerIdentity, grapevine_server, peers_server, serve,
    server_builder,
};
pub use ticket::{TicketError, is_ticket, open_ticket, sign_ticket};
pub use watched::KEY_CHECK;
pub use wire::{
    Frame, MAX_CHUNK_BYTES, MAX_DECODED_BYTES, MAX_INLINE_BODY_BYTES, WireError, decode_frame,
    decode_peer, encode_body, encode_chunk, encode_peer,
};

/// The messages and services as generated from `proto/grapevine/v1`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all)]

    tonic::include_proto!("grapevine.v1");

    /// Passwords travel in these: nothing of them is ever printed.
    macro_rules! secret_debug {
        ($($type:ty),*) => {$(
            impl std::fmt::Debug for $type {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(concat!(stringify!($type), " { .. }"))
                }
            }
        )*};
    }
    secret_debug!(
        Credentials,
        Authenticate,
        CallerTicket,
        Ticket,
        NewAppPassword,
        EntryChange,
        entry_change::Change,
        IndividualCreate
    );
}
