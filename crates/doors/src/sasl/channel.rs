//! The TLS channel that a login by SCRAM can be bound to (RFC 5929 section 4, RFC 9266): who passes a login on from one channel into another is
//! found out.
//!
//! Must never hold a value of another connection. None of these values is a secret; what they guard is that both ends see the same ones.

/// What is known of one connection's TLS; nothing where there is no TLS yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// `tls-exporter`: 32 octets that only the two ends of this very connection can work out. TLS 1.3 only: before it they are not bound to
    /// the handshake without an extension that can't be asked for.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point`: the hash of the certificate that the client was shown. None where its signature names no hash.
    pub end_point: Option<Vec<u8>>,
}

impl Channel {
    /// The value of a type of binding (its name in IANA's registry).
    pub fn value(&self, kind: &str) -> Option<&[u8]> {
        match kind {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }

    /// Whether a login can be bound to it.
    pub fn can_bind(&self) -> bool {
        self.exporter.is_some() || self.end_point.is_some()
    }
}
