//! A door: takes connections and runs each in a task of its own until it is over or the server stops.
//!
//! Must never stop taking connections because one failed, nor spin when none can be taken. A connection that can't be taken is told so
//! where the protocol allows it.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::{Tls, imap, ldap, managesieve, pop3, smtp};
use grapevine_model::Door;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::backend::Backend;
use super::drive::{Broken, Dialogue, Outcome, Pace, drive};
use super::imap::Imap;
use super::ldap::Ldap;
use super::managesieve::ManageSieve;
use super::pop3::Pop3;
use super::slots::{Full, Slot, Slots};
use super::smtp::Smtp;
use super::{DoorContext, SharedContext};

/// The label of the exported value (RFC 9266 section 2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// The first pause after a connection could not be taken (no more files, mostly); it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest: connections that end make room at any time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long, and how much, is read from a client after the end, so that what was said last reaches it and is not overtaken by a reset.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 256 * 1024;

/// A protocol's own part of a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Smtp(smtp::Kind),
    Pop3,
    Imap,
    Ldap,
    Sieve,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the first byte.
    Tls,
    /// When the client asks for it.
    Clear,
    /// Never: the client is on this machine.
    Never,
}

/// What a door is; none for those that are not of this module.
fn service(door: Door) -> Option<(Service, Start)> {
    match door {
        Door::Smtp => Some((Service::Smtp(smtp::Kind::Receiving), Start::Clear)),
        Door::Submission => Some((Service::Smtp(smtp::Kind::Submission), Start::Clear)),
        Door::Submissions => Some((Service::Smtp(smtp::Kind::Submission), Start::Tls)),
        Door::Pop3 => Some((Service::Pop3, Start::Clear)),
        Door::Pop3s => Some((Service::Pop3, Start::Tls)),
        Door::Imap => Some((Service::Imap, Start::Clear)),
        Door::Imaps => Some((Service::Imap, Start::Tls)),
        Door::Ldap => Some((Service::Ldap, Start::Clear)),
        Door::Ldaps => Some((Service::Ldap, Start::Tls)),
        Door::Sieve => Some((Service::Sieve, Start::Clear)),
        Door::Lmtp => Some((Service::Smtp(smtp::Kind::Lmtp), Start::Clear)),
        Door::Rpc | Door::Http | Door::Https | Door::Dns => None,
    }
}

/// Serves a door until the server stops. What is under way then has its grace, in the context's tracker.
pub(crate) async fn run_door<B: Backend>(
    door: Door,
    listener: TcpListener,
    context: SharedContext<B>,
) {
    let Some((service, start)) = service(door) else {
        tracing::error!(door = door.as_str(), "not a door for mail programs");
        return;
    };
    take_all(door, (service, start), listener, context).await;
}

/// The same for programs of this machine, without TLS: the listener must be bound to the loopback address.
pub(crate) async fn run_local_door<B: Backend>(
    door: Door,
    listener: TcpListener,
    context: SharedContext<B>,
) {
    let is_local = (listener.local_addr()).is_ok_and(|address| address.ip().is_loopback());
    match service(door) {
        Some((service, _)) if is_local => {
            take_all(door, (service, Start::Never), listener, context).await;
        }
        _ => tracing::error!(
            door = door.as_str(),
            "not a door for mail programs of this machine"
        ),
    }
}

async fn take_all<B: Backend>(
    door: Door,
    (service, start): (Service, Start),
    listener: TcpListener,
    context: SharedContext<B>,
) {
    let slots = Slots::new(context.limits.connections, context.limits.per_client);
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            () = context.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client was quicker to go than we to come.
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                tracing::warn!(door = door.as_str(), %error, "can't take connections; trying again");
                tokio::select! {
                    () = context.shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        match slots.take(peer.ip()) {
            Ok(slot) => {
                // Answers are written in one piece; waiting to fill packets would only cost time.
                let _ = stream.set_nodelay(true);
                let connection = Connection {
                    door,
                    service,
                    start,
                    peer,
                    context: B::for_connection(&context, door),
                    slot,
                };
                context.tracker.spawn(connection.run(stream));
            }
            Err(full) => turn_away(door, service, start, stream, peer, full, &context.hostname),
        }
    }
}

/// The same on a socket of this machine.
pub(crate) async fn run_socket<B: Backend>(
    door: Door,
    listener: UnixListener,
    context: SharedContext<B>,
) {
    let Some((service, start)) = service(door) else {
        tracing::error!(door = door.as_str(), "not a door for mail programs");
        return;
    };
    // All clients are this machine.
    let slots = Slots::new(context.limits.connections, context.limits.connections);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    loop {
        let accepted = tokio::select! {
            () = context.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match (accepted, slots.take(peer.ip())) {
            (Ok((stream, _)), Ok(slot)) => {
                let connection = Connection {
                    door,
                    service,
                    start,
                    peer,
                    context: B::for_connection(&context, door),
                    slot,
                };
                context.tracker.spawn(connection.run(stream));
            }
            // Who finds the door full finds it closed, and comes again.
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                tracing::warn!(door = door.as_str(), %error, "can't take connections; trying again");
                tokio::select! {
                    () = context.shutdown.cancelled() => return,
                    () = tokio::time::sleep(LONGEST_PAUSE) => {}
                }
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Says why and closes, without a task and without waiting: a new connection has room for one line.
fn turn_away(
    door: Door,
    service: Service,
    start: Start,
    stream: TcpStream,
    peer: SocketAddr,
    full: Full,
    hostname: &str,
) {
    metrics::counter!("grapevine_door_turned_away_total", "door" => door.as_str(), "full" => full.as_str())
        .increment(1);
    tracing::debug!(door = door.as_str(), %peer, full = full.as_str(), "too many connections");
    let greeting = match (start, service) {
        (Start::Tls, _) => return,
        (Start::Clear | Start::Never, Service::Smtp(_)) => smtp::greeting_of_refusal(hostname),
        (Start::Clear | Start::Never, Service::Pop3) => pop3::greeting_of_refusal(),
        (Start::Clear | Start::Never, Service::Imap) => imap::greeting_of_refusal(),
        (Start::Clear | Start::Never, Service::Ldap) => ldap::notice_of_refusal(),
        (Start::Clear | Start::Never, Service::Sieve) => managesieve::greeting_of_refusal(),
    };
    if let Ok(mut stream) = stream.into_std() {
        // It is non-blocking; what doesn't go out at once is not worth waiting for.
        let _ = stream.write(&greeting);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}

/// One connection, from its first byte to its last.
struct Connection<B> {
    door: Door,
    service: Service,
    start: Start,
    peer: SocketAddr,
    context: Arc<DoorContext<B>>,
    slot: Slot,
}

/// How a connection ended, where it did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took too long")]
    HandshakeTime,
    #[error("it lasted too long")]
    Cut,
}

impl<B: Backend> Connection<B> {
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: S) {
        let door = self.door.as_str();
        metrics::counter!("grapevine_door_connections_total", "door" => door).increment(1);
        let _open = OpenConnection::new(door);
        let context = Arc::clone(&self.context);
        let served = tokio::select! {
            served = self.serve(stream) => served,
            () = time_is_up(&context) => Err(Failure::Cut),
        };
        match served {
            Ok(()) => {}
            Err(Failure::Broken(Broken::Stuck)) => {
                tracing::error!(door, peer = %self.peer, "a session neither asks nor wants bytes; closed");
            }
            // Clients go away all the time.
            Err(failure) => {
                tracing::debug!(door, peer = %self.peer, %failure, "a connection broke off")
            }
        }
        drop(self.slot);
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        stream: S,
    ) -> Result<(), Failure> {
        let tls = match self.start {
            Start::Tls => Tls::Active,
            Start::Clear => Tls::Offered,
            Start::Never => Tls::Local,
        };
        match self.service {
            Service::Smtp(kind) => {
                let peer = self.peer.ip();
                let dialogue = Smtp::new(Arc::clone(&self.context), self.door, kind, peer, tls);
                self.converse(stream, dialogue).await
            }
            Service::Pop3 => {
                let dialogue = Pop3::new(
                    Arc::clone(&self.context),
                    self.door,
                    grapevine_model::Source::of(self.peer.ip()),
                    tls,
                );
                self.converse(stream, dialogue).await
            }
            Service::Imap => {
                let dialogue = Imap::new(
                    Arc::clone(&self.context),
                    self.door,
                    grapevine_model::Source::of(self.peer.ip()),
                    tls,
                );
                self.converse(stream, dialogue).await
            }
            Service::Sieve => {
                let dialogue = ManageSieve::new(
                    Arc::clone(&self.context),
                    self.door,
                    grapevine_model::Source::of(self.peer.ip()),
                    tls,
                );
                self.converse(stream, dialogue).await
            }
            Service::Ldap => {
                let dialogue = Ldap::new(
                    Arc::clone(&self.context),
                    self.door,
                    grapevine_model::Source::of(self.peer.ip()),
                    tls,
                );
                self.converse(stream, dialogue).await
            }
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send, D: Dialogue>(
        &self,
        mut stream: S,
        mut dialogue: D,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let limits = &self.context.limits;
        let pace = Pace {
            write: limits.write,
            stranger_until: now + limits.stranger,
            until: now + limits.session,
            shutdown: &self.context.shutdown,
        };
        if self.start != Start::Tls {
            match drive(&mut stream, &mut dialogue, &pace).await? {
                Outcome::Closed => return Ok(part(stream).await?),
                Outcome::StartTls => {}
            }
        }
        let (mut stream, channel) = self.shake_hands(stream).await?;
        dialogue.channel_known(channel);
        if self.start == Start::Clear {
            dialogue.tls_started();
        }
        match drive(&mut stream, &mut dialogue, &pace).await? {
            Outcome::Closed => Ok(part(stream).await?),
            // The session offers TLS once.
            Outcome::StartTls => Err(Broken::Stuck.into()),
        }
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(TlsStream<S>, Channel), Failure> {
        let Some(tls) = &self.context.tls else {
            // No session offers it here.
            return Err(Broken::Stuck.into());
        };
        let front = tls.current();
        let acceptor = TlsAcceptor::from(front.config);
        let shaken = timeout(self.context.limits.handshake, acceptor.accept(stream)).await;
        let failed = match shaken {
            Ok(Ok(stream)) => {
                let channel = Channel {
                    exporter: exporter(&stream),
                    end_point: front.end_point,
                };
                return Ok((stream, channel));
            }
            Ok(Err(error)) => Failure::Handshake(error),
            Err(_) => Failure::HandshakeTime,
        };
        metrics::counter!("grapevine_door_handshakes_failed_total", "door" => self.door.as_str())
            .increment(1);
        Err(failed)
    }
}

/// What RFC 9266 has both ends export. In TLS 1.2 the value is only bound to the handshake where both have the extended master
/// secret, and rustls does not tell that: none there.
fn exporter<S>(stream: &TlsStream<S>) -> Option<[u8; 32]> {
    let (_, connection) = stream.get_ref();
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
        .ok()
}

/// The hard end: a while after the session's own limit, or after the order to stop.
async fn time_is_up<B>(context: &DoorContext<B>) {
    let limits = &context.limits;
    tokio::select! {
        () = tokio::time::sleep(limits.session + limits.grace) => {}
        () = async {
            context.shutdown.cancelled().await;
            tokio::time::sleep(limits.grace).await;
        } => {}
    }
}

/// Ends a connection so that what was written last arrives.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<(), Broken> {
    let goodbye = async {
        stream.shutdown().await?;
        let mut left = (&mut stream).take(LINGER_BYTES);
        tokio::io::copy(&mut left, &mut tokio::io::sink()).await?;
        Ok::<(), io::Error>(())
    };
    // All was said; how the client takes it is its own affair.
    let _ = timeout(LINGER, goodbye).await;
    Ok(())
}

/// Counts a connection as open while it lives.
struct OpenConnection(metrics::Gauge);

impl OpenConnection {
    fn new(door: &'static str) -> Self {
        let gauge = metrics::gauge!("grapevine_door_connections", "door" => door);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
