//! Answering: a port on which TLS handshakes go on side by side.
//!
//! No caller can stop the port: a handshake that fails or takes too long, garbage,
//! or too many connections cost that caller its connection and nobody else
//! anything. What a connection has proved goes with each of its requests as
//! [`PeerIdentity`].

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use grapevine_model::ServerName;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use crate::tls::{TrustedKeys, peer_of};
use crate::v1::grapevine_server::{Grapevine, GrapevineServer};
use crate::v1::peers_server::{Peers, PeersServer};
use crate::watched::{Watched, watch_key};
use crate::wire::MAX_DECODED_BYTES;

/// Most connections at once: beyond them a caller is hung up on, so that it goes to another
/// server at once. Each costs a few file descriptors and some tens of kilobytes.
pub const MAX_CONNECTIONS: usize = 4_096;
/// Most handshakes at once: each costs about a millisecond of computing.
pub const MAX_HANDSHAKES: usize = 256;
/// Longest handshake: two round trips on the slowest path that is of any use.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes done that wait for the server to take them.
const ACCEPTED_QUEUE: usize = 64;
/// Rest after an error of `accept`, which mostly says that file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Time for calls under way to end after the shutdown began; then connections are cut.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Time for what was cut to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);
/// Between two keep-alives to a caller, and for its answer: as callers do it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Most streams of one connection at once.
const MAX_STREAMS: u32 = 256;

/// In the extensions of each request: the server that the connection has proved to be, as
/// recorded when it was made; none for a client. A connection whose key was taken off the records since
/// is cut within [`crate::KEY_CHECK`]: whoever acts on this asks the records too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    server: Option<ServerName>,
    address: IpAddr,
}

impl PeerIdentity {
    /// Who made a request; nobody in particular if it came over anything but [`serve`].
    pub fn of<T>(request: &tonic::Request<T>) -> Option<ServerName> {
        request
            .extensions()
            .get::<Self>()
            .and_then(|identity| identity.server.clone())
    }

    /// Where a request came from; none if it came over anything but [`serve`].
    pub fn address_of<T>(request: &tonic::Request<T>) -> Option<IpAddr> {
        let identity = request.extensions().get::<Self>()?;
        Some(identity.address)
    }
}

/// The servers' own settings of HTTP/2, for services to be added to.
pub fn server_builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(MAX_STREAMS)
}

/// The client's service with this crate's limits.
pub fn grapevine_server<S: Grapevine>(service: S) -> GrapevineServer<S> {
    GrapevineServer::new(service)
        .max_decoding_message_size(MAX_DECODED_BYTES)
        .max_encoding_message_size(MAX_DECODED_BYTES)
}

/// The servers' service with this crate's limits.
pub fn peers_server<S: Peers>(service: S) -> PeersServer<S> {
    PeersServer::new(service)
        .max_decoding_message_size(MAX_DECODED_BYTES)
        .max_encoding_message_size(MAX_DECODED_BYTES)
}

/// Serves until `shutdown` is done: then takes no new connection, lets calls under way end for
/// some seconds, cuts what is left, and returns.
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    trusted: Arc<dyn TrustedKeys>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    // Also when this future is dropped.
    let (_stopping, _cut) = (stopping.clone().drop_guard(), cut.clone().drop_guard());
    let (accepted, incoming) = mpsc::channel(ACCEPTED_QUEUE);
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        trusted,
        accepted,
        cut: cut.clone(),
        stopping: stopping.clone(),
    });
    let accepting = tokio::spawn(accept(listener, door));
    let served = router.serve_with_incoming_shutdown(
        ReceiverStream::new(incoming),
        stopping.clone().cancelled_owned(),
    );
    let cutting = async {
        shutdown.await;
        stopping.cancel();
        sleep(SHUTDOWN_GRACE).await;
        cut.cancel();
        sleep(CUT_GRACE).await;
    };
    let result = tokio::select! {
        result = served => result,
        () = cutting => Ok(()),
    };
    stopping.cancel();
    // The listener is closed when this is over, so that the address can be bound again.
    let _ended = accepting.await;
    result
}

/// What the accept loop and its handshakes share.
struct Door {
    acceptor: TlsAcceptor,
    trusted: Arc<dyn TrustedKeys>,
    accepted: mpsc::Sender<io::Result<PeerStream>>,
    cut: CancellationToken,
    stopping: CancellationToken,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let stopping = door.stopping.clone();
    let accepting = async {
        loop {
            // Beyond the bound, callers wait in the kernel's queue; a handshake ends in time.
            let Ok(handshake) = handshakes.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, from)) => (stream, from.ip()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            match connections.clone().try_acquire_owned() {
                Ok(connection) => {
                    tokio::spawn(door.clone().shake_hands(stream, connection, handshake));
                }
                Err(_) => tracing::warn!("hung up: {MAX_CONNECTIONS} connections are open"),
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopping.cancelled() => {}
    }
}

impl Door {
    async fn shake_hands(
        self: Arc<Self>,
        (stream, address): (TcpStream, IpAddr),
        connection: OwnedSemaphorePermit,
        handshake: OwnedSemaphorePermit,
    ) {
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE_TIMEOUT, self.shaken(stream)) => shaken,
            () = self.stopping.cancelled() => return,
        };
        drop(handshake);
        let (stream, proved) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
            Err(_) => return tracing::debug!("a handshake took too long"),
        };
        let (stream, connection_cut) = Watched::new(stream, &self.cut);
        let server = proved.map(|(server, key)| {
            let trusted = Arc::clone(&self.trusted);
            watch_key(connection_cut, trusted, key, server.clone());
            server
        });
        let stream = PeerStream {
            stream,
            identity: PeerIdentity { server, address },
            _connection: connection,
        };
        // An error: the server no longer takes any.
        let _closed = self.accepted.send(Ok(stream)).await;
    }

    async fn shaken(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<(ServerName, Vec<u8>)>)> {
        stream.set_nodelay(true)?;
        let stream = self.acceptor.accept(stream).await?;
        let proved = peer_of(&stream, &*self.trusted);
        if proved.is_none() && stream.get_ref().1.peer_certificates().is_some() {
            // The record went away during the handshake: a server, but none of ours, is no client.
            return Err(io::Error::other("the key is no longer on record"));
        }
        Ok((stream, proved))
    }
}

/// A connection that has shaken hands.
struct PeerStream {
    stream: Watched<TlsStream<TcpStream>>,
    identity: PeerIdentity,
    _connection: OwnedSemaphorePermit,
}

impl Connected for PeerStream {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.identity.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
