//! The other servers: one connection, one bounded queue each. A message that can't go is dropped:
//! the core asks again.

use bytes::Bytes;
use grapevine_model::{MessageId, PeerMessage, Refusal, ServerInfo, ServerName};

use crate::body_source::BodySource;

/// The connections with the other servers.
#[derive(Clone)]
pub(crate) struct Peers {
    marker: Bytes,
}

impl Peers {
    /// Keeps connections with these servers and no others.
    pub(crate) fn update(&self, servers: Vec<ServerInfo>) {
        let _ = servers;
    }
    /// Says something to a server; may be lost.
    pub(crate) fn send(&self, to: &ServerName, message: PeerMessage) {
        let _ = (to, message);
    }
    /// Reads a body from one of these servers.
    pub(crate) async fn read_body(
        &self,
        message: MessageId,
        sites: &[ServerName],
    ) -> Result<BodySource, Refusal> {
        let _ = (message, sites);
        Err(Refusal::unavailable("no other server has been reached"))
    }
}
