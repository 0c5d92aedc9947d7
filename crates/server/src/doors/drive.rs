//! Drives one session over one connection: bytes between socket and session, time limits, the order to stop.
//!
//! Must never read while the session wants no bytes (that is what bounds memory and holds a fast client back), never act on bytes that
//! came in clear before a handshake (the session drops them, and the driver keeps none of its own), and never wait without a limit.

use std::future::Future;
use std::io;
use std::time::Duration;

use grapevine_doors::READ_BYTES;
use grapevine_doors::sasl::channel::Channel;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize as _;

/// What a read begins with; it grows to [`READ_BYTES`] for a client that sends much, so an idle one costs little.
const FIRST_READ_BYTES: usize = 4 * 1024;
/// Answers are gathered to this size, then written: a client that reads slowly holds the session back here.
const WRITE_BYTES: usize = 64 * 1024;

/// A session with what answers its questions.
pub(super) trait Dialogue: Send {
    /// The next thing to do; none until bytes come.
    fn poll(&mut self) -> Option<Step>;
    /// Does what [`Step::Work`] announced; limits its own time.
    fn work(&mut self) -> impl Future<Output = ()> + Send;
    /// Comes to its end when the session has something to say though nobody has asked: then [`Dialogue::heard`]. Cancel-safe.
    fn news(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
    /// There are news.
    fn heard(&mut self) {}
    /// As the session's.
    fn wants_bytes(&self) -> bool;
    /// As the session's.
    fn receive(&mut self, bytes: &[u8]);
    /// As the session's.
    fn eof(&mut self);
    /// As the session's.
    fn timed_out(&mut self);
    /// As the session's.
    fn shut_down(&mut self);
    /// As the session's.
    fn silence(&self) -> Duration;
    /// As the session's.
    fn tls_started(&mut self);
    /// As the session's, where it takes logins that are bound to the channel.
    fn channel_known(&mut self, channel: Channel);
    /// Whether nobody has logged in where nothing is done without.
    fn is_stranger(&self) -> bool;
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write this.
    Send(Vec<u8>),
    /// Call [`Dialogue::work`].
    Work,
    /// Shake hands, then go on.
    StartTls,
    /// The end.
    Close,
}

/// How far a drive came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Shake hands on the same connection, and drive on.
    StartTls,
    /// All is said.
    Closed,
}

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client takes nothing of what is written to it.
    #[error("the client does not read")]
    NotReading,
    /// The session neither has something to do nor wants bytes: a fault of ours.
    #[error("the session is stuck")]
    Stuck,
}

/// The time limits of one connection.
pub(super) struct Pace<'a> {
    /// Without progress of a write.
    pub(super) write: Duration,
    /// When a stranger has to go.
    pub(super) stranger_until: Instant,
    /// When the connection ends whatever happens.
    pub(super) until: Instant,
    /// The order to stop.
    pub(super) shutdown: &'a CancellationToken,
}

/// Drives a session until it closes or wants TLS.
pub(super) async fn drive<S, D>(
    stream: &mut S,
    dialogue: &mut D,
    pace: &Pace<'_>,
) -> Result<Outcome, Broken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    D: Dialogue,
{
    let mut reading = ReadBuffer::new();
    let mut writing = Writer {
        pending: Vec::new(),
        limit: pace.write,
    };
    let mut told_to_stop = false;
    // Since when the client is silent: news for it are no word of its own.
    let mut rest_since: Option<Instant> = None;
    loop {
        if !told_to_stop && pace.shutdown.is_cancelled() {
            told_to_stop = true;
            dialogue.shut_down();
        }
        match dialogue.poll() {
            Some(Step::Send(bytes)) => writing.put(stream, bytes).await?,
            Some(Step::Work) => dialogue.work().await,
            Some(Step::StartTls) => {
                writing.flush(stream).await?;
                return Ok(Outcome::StartTls);
            }
            Some(Step::Close) => {
                writing.flush(stream).await?;
                return Ok(Outcome::Closed);
            }
            None if dialogue.wants_bytes() => {
                writing.flush(stream).await?;
                let now = Instant::now();
                if rest_since.is_none() {
                    rest_since = Some(now);
                }
                let mut until = pace
                    .until
                    .min(rest_since.unwrap_or(now) + dialogue.silence());
                if dialogue.is_stranger() {
                    until = until.min(pace.stranger_until);
                }
                // All are cancel-safe: a read that is dropped has taken nothing.
                tokio::select! {
                    () = pace.shutdown.cancelled(), if !told_to_stop => {}
                    () = dialogue.news() => dialogue.heard(),
                    read = timeout_at(until, reading.read(stream)) => match read {
                        Err(_) => dialogue.timed_out(),
                        Ok(Ok([])) => dialogue.eof(),
                        Ok(Ok(bytes)) => {
                            rest_since = None;
                            dialogue.receive(bytes);
                        }
                        // TLS that ends without a goodbye; nothing depends on it, for every command has its own end.
                        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => dialogue.eof(),
                        Ok(Err(error)) => return Err(error.into()),
                    }
                }
            }
            None => return Err(Broken::Stuck),
        }
    }
}

/// Answers on their way.
struct Writer {
    pending: Vec<u8>,
    limit: Duration,
}

impl Writer {
    async fn put<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        bytes: Vec<u8>,
    ) -> Result<(), Broken> {
        if self.pending.is_empty() {
            self.pending = bytes;
        } else {
            self.pending.extend_from_slice(&bytes);
        }
        if self.pending.len() >= WRITE_BYTES {
            self.write(stream).await?;
        }
        Ok(())
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Result<(), Broken> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write(stream).await?;
        match timeout(self.limit, stream.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(Broken::NotReading),
        }
    }

    /// The limit is on progress, not on the whole: a slow client may take its time.
    async fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Result<(), Broken> {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let written = match timeout(self.limit, stream.write(rest)).await {
                Ok(written) => written?,
                Err(_) => return Err(Broken::NotReading),
            };
            if written == 0 {
                return Err(Broken::Io(io::ErrorKind::WriteZero.into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        self.pending = Vec::new();
        Ok(())
    }
}

/// A read's room: as large as what the client sends at a time. Passwords pass through it, so it is wiped before it is given back.
struct ReadBuffer {
    bytes: Vec<u8>,
}

impl ReadBuffer {
    fn new() -> Self {
        Self {
            bytes: vec![0; FIRST_READ_BYTES],
        }
    }

    /// The next bytes; none at the end.
    async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<&[u8]> {
        let read = stream.read(&mut self.bytes).await?;
        let room = self.bytes.len();
        if read == room && room < READ_BYTES {
            // A copy that a larger room leaves behind would stay.
            let mut larger = vec![0; READ_BYTES.min(room * 4)];
            std::mem::swap(&mut self.bytes, &mut larger);
            if let Some(begun) = self.bytes.get_mut(..room) {
                begun.copy_from_slice(&larger);
            }
            larger.zeroize();
        } else if read <= FIRST_READ_BYTES / 4 && room > FIRST_READ_BYTES {
            let mut smaller = vec![0; FIRST_READ_BYTES];
            if let Some(used) = self.bytes.get(..FIRST_READ_BYTES) {
                smaller.copy_from_slice(used);
            }
            std::mem::swap(&mut self.bytes, &mut smaller);
            smaller.zeroize();
        }
        Ok(self.bytes.get(..read).unwrap_or_default())
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
