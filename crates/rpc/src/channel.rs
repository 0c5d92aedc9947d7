//! Calling a server: a channel over TLS that proves whom it has reached.
//!
//! A channel connects when it is first used and again after its connection is
//! lost, each time with the whole check of the other side's key. A path that
//! swallows everything is noticed by keep-alives, within their two times.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName as TlsName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::tls::{TrustedKeys, key_of};
use crate::v1::grapevine_client::GrapevineClient;
use crate::v1::peers_client::PeersClient;
use crate::watched::{Watched, watch_key};
use crate::wire::MAX_DECODED_BYTES;

/// How long a caller waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// Between two keep-alives, also when nothing else is under way.
    pub keep_alive: Duration,
    /// For the answer to a keep-alive; then the connection is lost.
    pub keep_alive_answer: Duration,
}

impl Default for Timeouts {
    /// A server that is there connects in milliseconds; a dropped path is noticed in 10 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            keep_alive: Duration::from_secs(5),
            keep_alive_answer: Duration::from_secs(5),
        }
    }
}

/// A channel to `host:port`. Nothing is sent yet: that nobody is there, or somebody else, is the
/// error of the first call.
///
/// # Errors
/// The address is none.
pub fn connect(
    address: &str,
    config: ClientConfig,
    timeouts: Timeouts,
) -> Result<Channel, tonic::transport::Error> {
    open(address, config, timeouts, None)
}

/// The same between servers: a connection is cut when the other side's key is no longer on record.
///
/// # Errors
/// The address is none.
pub fn connect_watched(
    address: &str,
    config: ClientConfig,
    timeouts: Timeouts,
    trusted: Arc<dyn TrustedKeys>,
) -> Result<Channel, tonic::transport::Error> {
    open(address, config, timeouts, Some(trusted))
}

fn open(
    address: &str,
    config: ClientConfig,
    timeouts: Timeouts,
    trusted: Option<Arc<dyn TrustedKeys>>,
) -> Result<Channel, tonic::transport::Error> {
    // The scheme is that of the connection as tonic sees it, which has no part in the TLS below.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(timeouts.connect)
        .http2_keep_alive_interval(timeouts.keep_alive)
        .keep_alive_timeout(timeouts.keep_alive_answer)
        .keep_alive_while_idle(true);
    let connector = TlsConnector::from(Arc::new(config));
    let name = tls_name(address);
    let address: Arc<str> = address.into();
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (connector, name, address) = (connector.clone(), name.clone(), address.clone());
            let trusted = trusted.clone();
            async move {
                let stream = TcpStream::connect(&*address).await?;
                stream.set_nodelay(true)?;
                let stream = connector.connect(name, stream).await?;
                let leaf = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first);
                let key = leaf.and_then(|leaf| key_of(leaf).ok());
                let (stream, connection) = Watched::new(stream, &CancellationToken::new());
                if let (Some(trusted), Some(key)) = (trusted, key)
                    && let Some(server) = trusted.server_of(&key)
                {
                    watch_key(connection, trusted, key, server);
                }
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        })),
    )
}

/// The client's service on a channel, with this crate's limits.
pub fn grapevine_client(channel: Channel) -> GrapevineClient<Channel> {
    GrapevineClient::new(channel)
        .max_decoding_message_size(MAX_DECODED_BYTES)
        .max_encoding_message_size(MAX_DECODED_BYTES)
}

/// The servers' service on a channel, with this crate's limits.
pub fn peers_client(channel: Channel) -> PeersClient<Channel> {
    PeersClient::new(channel)
        .max_decoding_message_size(MAX_DECODED_BYTES)
        .max_encoding_message_size(MAX_DECODED_BYTES)
}

/// TLS wants a name for the other side; nobody sends or checks it here.
fn tls_name(address: &str) -> TlsName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    TlsName::try_from(host.trim_matches(['[', ']']))
        .map(|name| name.to_owned())
        .unwrap_or(TlsName::IpAddress(
            std::net::IpAddr::from([127, 0, 0, 1]).into(),
        ))
}
