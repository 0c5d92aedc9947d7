//! An HTTP door: takes connections, inside TLS or in clear, and serves HTTP/1.1 on each until it is
//! over, too old, or the server stops.
//!
//! Must never let one client have all connections, nor wait for one that sends its header a letter at
//! a time.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::coming;
use super::credentials::{Cover, Way};
use crate::doors::{Slot, Slots, tls};

/// A header (and the next request on an open connection) is waited for so long.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// A header is at most so long: a token of a watch and a few tens of headers.
const HEADER_BYTES: usize = 128 * 1024;
/// Header lines at most.
const HEADER_LINES: usize = 64;
/// The TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A whole connection: longer than a watch lasts; a client that takes nothing is cut then.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The rest of a connection when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// A pause when no connection can be taken (no more files, mostly).
const PAUSE: Duration = Duration::from_millis(100);

/// What clients may use up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Connections in all.
    pub(crate) connections: usize,
    /// From one address.
    pub(crate) per_client: usize,
}

/// Serves until the server stops; inside TLS where a certificate is given.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<tls::Reloadable>,
    limits: HttpLimits,
    (stop, tracker): (CancellationToken, TaskTracker),
) {
    let slots = Slots::new(limits.connections, limits.per_client);
    let door = if tls.is_some() { "https" } else { "http" };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(door, %error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.take(peer.ip()) else {
            metrics::counter!("grapevine_door_turned_away_total", "door" => door).increment(1);
            continue;
        };
        let cover = if tls.is_some() {
            Cover::Tls
        } else {
            Cover::Clear
        };
        let router = coming(router.clone(), Way { peer, cover });
        let connection = converse(stream, router, tls.clone(), stop.clone(), slot);
        tracker.spawn(async move {
            if let Err(why) = connection.await {
                // Clients go away all the time.
                tracing::debug!(door, %peer, why, "a connection broke off");
            }
        });
    }
}

async fn converse(
    stream: TcpStream,
    router: Router,
    tls: Option<tls::Reloadable>,
    stop: CancellationToken,
    _slot: Slot,
) -> Result<(), String> {
    // Answers are written in one piece; waiting to fill packets would only cost time.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(stream, router, stop).await,
        Some(tls) => {
            let shaking = TlsAcceptor::from(tls.current().config).accept(stream);
            match tokio::time::timeout(HANDSHAKE_LIMIT, shaking).await {
                Ok(Ok(stream)) => http(stream, router, stop).await,
                Ok(Err(error)) => Err(format!("the TLS handshake failed: {error}")),
                Err(_) => Err("the TLS handshake took too long".to_owned()),
            }
        }
    }
}

async fn http<S>(stream: S, router: Router, stop: CancellationToken) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_LINES);
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(CONNECTION_LIMIT) => return Err("it lasted too long".to_owned()),
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return Err("the server stops".to_owned()),
            }
        }
    };
    ended.map_err(|error| error.to_string())
}
