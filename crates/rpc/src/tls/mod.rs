//! Mutual TLS in which keys are trusted, not names.
//!
//! A server's certificate is nothing but the envelope that TLS wants around its
//! public key: names and dates in it are never looked at, and no authority signs
//! it. What counts is that the other side proves (by its signature over the
//! handshake) that it has the private key to a SubjectPublicKeyInfo which `gv`
//! records for a server, or which a join token or cluster file pins. There is no
//! session resumption: a resumed session would outlive the record of its key.
//!
//! TLS 1.3 only, ALPN `h2`, provider aws-lc-rs named here and never taken from
//! the process.

mod current;
mod identity;
mod signature;
mod verify;

use std::sync::Arc;

use grapevine_model::ServerName;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::server::TlsStream;

pub use current::CurrentIdentity;
pub use identity::{Identity, IdentityError};
pub use signature::verify_by_key;
pub use verify::key_of;
use verify::{AnyKnownClient, ExpectedServer};

/// The keys that are recorded for servers. Asked at every handshake, so it must answer from
/// memory.
pub trait TrustedKeys: Send + Sync {
    /// The server for which this key (SubjectPublicKeyInfo, DER) is recorded.
    fn server_of(&self, spki: &[u8]) -> Option<ServerName>;
}

/// Which key a server must prove to be taken for the one that was called.
#[derive(Clone)]
pub enum KeyExpectation {
    /// Exactly this one (SubjectPublicKeyInfo, DER).
    Exactly(Vec<u8>),
    /// That of any server on record.
    Any(Arc<dyn TrustedKeys>),
    /// One with this [`key_pin`], for the first contact: from a join token or a cluster file.
    Pinned([u8; 32]),
}

/// BLAKE3 of a key (SubjectPublicKeyInfo, DER): what a join token or a cluster file carries.
pub fn key_pin(spki: &[u8]) -> [u8; 32] {
    *blake3::hash(spki).as_bytes()
}

/// How a server with one key for good answers.
///
/// # Errors
/// The key can't be used.
pub fn server_config(
    identity: &Identity,
    trusted: Arc<dyn TrustedKeys>,
) -> Result<ServerConfig, rustls::Error> {
    changing_server_config(&CurrentIdentity::new(identity.clone())?, trusted)
}

/// How a server answers: it proves its key of the moment; a caller may prove one too, and if it does, the key
/// must be on record, else the handshake is refused.
///
/// # Errors
/// TLS can't be set up so.
pub fn changing_server_config(
    identity: &CurrentIdentity,
    trusted: Arc<dyn TrustedKeys>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyKnownClient::new(&provider, trusted)))
        .with_cert_resolver(Arc::new(identity.clone()));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// How a caller calls: as a server (with its identity) or as a client (without), and which key
/// the called one must prove.
///
/// # Errors
/// The key can't be used.
pub fn client_config(
    identity: Option<&Identity>,
    expect: KeyExpectation,
) -> Result<ClientConfig, rustls::Error> {
    let identity = identity.cloned().map(CurrentIdentity::new).transpose()?;
    changing_client_config(identity.as_ref(), expect)
}

/// The same for a server whose key changes: each connection is made with the one of the moment.
///
/// # Errors
/// TLS can't be set up so.
pub fn changing_client_config(
    identity: Option<&CurrentIdentity>,
    expect: KeyExpectation,
) -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ExpectedServer::new(&provider, expect)));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The server that a finished handshake has proved the caller to be, with the key that it has proved;
/// none for a client.
pub fn peer_of<IO>(
    stream: &TlsStream<IO>,
    trusted: &dyn TrustedKeys,
) -> Option<(ServerName, Vec<u8>)> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let key = key_of(leaf).ok()?;
    Some((trusted.server_of(&key)?, key))
}

const ALPN_H2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
