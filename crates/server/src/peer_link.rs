//! One server's outgoing connection: two lanes, so that what is small and urgent never waits behind
//! mail; back-off between attempts; the core is told of every loss.
//!
//! Must never keep what could not be sent for later: it would be stale, and the core asks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use grapevine_core::Input;
use grapevine_model::{BodyInfo, MessageId, PeerMessage, ServerName};
use grapevine_rpc::{
    MAX_CHUNK_BYTES, MAX_INLINE_BODY_BYTES, encode_body, encode_chunk, encode_peer, peers_client,
    v1::PeerFrame,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::body_source::BodySource;
use crate::core_task::CoreHandle;
use crate::peers::Queue;

/// Pause after the first loss: a server that was restarted is back at once.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause: a server that comes back is found within this, or when it calls by itself.
const BACK_OFF_MOST: Duration = Duration::from_secs(2);
/// What TLS says when the other side does not know our key (RFC 8446, section 6.2).
const KEY_REFUSED: &str = "AccessDenied";
/// A server that was just let in may not be on record everywhere: after so long it is a mistake.
const REFUSED_TOLD: Duration = Duration::from_secs(15);
/// Longest wait for an answer to the opening of a lane.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// Frames handed to the connection ahead of time: at 256 KiB each, few.
const FRAMES_AHEAD: usize = 8;

/// Which of the two streams a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Beats, questions, updates of registries: small, and somebody waits.
    Quick,
    /// Bodies and whatever has to stay in order with them.
    Mail,
}

/// The sending ends of both lanes.
pub(crate) struct Queues {
    quick: Queue,
    mail: Queue,
}

/// The receiving ends of both lanes.
pub(crate) struct QueueEnds {
    quick: mpsc::Receiver<PeerMessage>,
    mail: mpsc::Receiver<PeerMessage>,
}

/// The connection to one server.
pub(crate) struct Link {
    /// Whom to tell, and where bodies are.
    pub(crate) core: CoreHandle,
    /// The other server.
    pub(crate) server: ServerName,
    /// Connects by itself when it is used.
    pub(crate) channel: Channel,
    /// Ends it.
    pub(crate) gone: CancellationToken,
    /// Is notified when the server has called: it is back, and what it missed can go to it at once.
    pub(crate) called: Arc<Notify>,
}

impl Lane {
    /// The lane of a message.
    pub(crate) fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::About { message, .. } => Self::of(message),
            PeerMessage::Beat(_)
            | PeerMessage::Vectors(_)
            | PeerMessage::Pull { .. }
            | PeerMessage::Push { .. }
            | PeerMessage::Have { .. }
            | PeerMessage::Refresh { .. }
            | PeerMessage::Fetch { .. }
            | PeerMessage::Ask { .. }
            | PeerMessage::Answered { .. }
            | PeerMessage::Logins(_)
            | PeerMessage::Forward { .. }
            | PeerMessage::Forwarded { .. } => Self::Quick,
            // Behind the bodies of the cells that it brings.
            PeerMessage::Pushes(_)
            | PeerMessage::Haves(_)
            | PeerMessage::Compare { .. }
            | PeerMessage::Page { .. }
            | PeerMessage::Copy { .. }
            | PeerMessage::Need { .. }
            | PeerMessage::Body { .. }
            | PeerMessage::Custody(_)
            | PeerMessage::CustodyHeld { .. }
            | PeerMessage::CustodyHold { .. }
            | PeerMessage::CustodyLeft { .. }
            | PeerMessage::DelayTold { .. }
            | PeerMessage::CustodyEnded { .. }
            | PeerMessage::CustodyAsk { .. }
            | PeerMessage::Deposit { .. }
            | PeerMessage::Deposited { .. }
            | PeerMessage::OutsideAsk { .. }
            | PeerMessage::OutsideDone { .. }
            | PeerMessage::Hand(_)
            | PeerMessage::Handed { .. } => Self::Mail,
        }
    }
}

impl Queues {
    /// Both lanes with room for so many messages each.
    pub(crate) fn new(room: usize) -> (Self, QueueEnds) {
        let (quick, quick_end) = mpsc::channel(room);
        let (mail, mail_end) = mpsc::channel(room);
        let ends = QueueEnds {
            quick: quick_end,
            mail: mail_end,
        };
        (Self { quick, mail }, ends)
    }

    /// A lane.
    pub(crate) fn lane(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Quick => &self.quick,
            Lane::Mail => &self.mail,
        }
    }
}

impl QueueEnds {
    fn clear(&mut self) {
        while self.quick.try_recv().is_ok() {}
        while self.mail.try_recv().is_ok() {}
    }
}

impl Link {
    /// Keeps the connection until the server is gone.
    pub(crate) async fn run(self, mut ends: QueueEnds) {
        let mut pause = BACK_OFF_FIRST;
        let mut refused = Refused::default();
        while !self.gone.is_cancelled() {
            let outcome = tokio::select! {
                () = self.gone.cancelled() => return,
                outcome = self.talk(&mut ends, &mut refused) => outcome,
            };
            match &outcome {
                Ended::NotReached(why) => {
                    refused.note(&self.server, why);
                    tracing::debug!(server = %self.server, %why, "a server could not be reached");
                }
                Ended::Lost(why) => {
                    pause = BACK_OFF_FIRST;
                    refused.note(&self.server, why);
                    tracing::info!(server = %self.server, %why, "the connection to a server was lost");
                }
            }
            let server = self.server.clone();
            self.core.input(Input::PeerLost { server }).await;
            tokio::select! {
                () = self.gone.cancelled() => return,
                () = self.called.notified() => pause = BACK_OFF_FIRST,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(BACK_OFF_MOST),
            }
            ends.clear();
        }
    }

    /// Connects and sends until something ends it.
    async fn talk(&self, ends: &mut QueueEnds, refused: &mut Refused) -> Ended {
        let quick = match self.open().await {
            Ok(lane) => lane,
            Err(why) => return Ended::NotReached(why),
        };
        let mail = match self.open().await {
            Ok(lane) => lane,
            Err(why) => return Ended::NotReached(why),
        };
        *refused = Refused::default();
        tracing::info!(server = %self.server, "connected to a server");
        let (quick_frames, mut quick_answers) = quick;
        let (mail_frames, mut mail_answers) = mail;
        let why = tokio::select! {
            why = self.pump(&mut ends.quick, quick_frames) => why,
            why = self.pump(&mut ends.mail, mail_frames) => why,
            // The other side says nothing here; when that ends, so does the connection.
            why = until_end(&mut quick_answers) => why,
            why = until_end(&mut mail_answers) => why,
        };
        Ended::Lost(why)
    }

    async fn open(&self) -> Result<(mpsc::Sender<PeerFrame>, tonic::Streaming<PeerFrame>), String> {
        let (frames, stream) = mpsc::channel(FRAMES_AHEAD);
        let mut client = peers_client(self.channel.clone());
        let opening = client.exchange(ReceiverStream::new(stream));
        match tokio::time::timeout(OPEN_LIMIT, opening).await {
            Ok(Ok(answer)) => Ok((frames, answer.into_inner())),
            Ok(Err(status)) => Err(said(&status)),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    async fn pump(
        &self,
        queue: &mut mpsc::Receiver<PeerMessage>,
        frames: mpsc::Sender<PeerFrame>,
    ) -> String {
        while let Some(message) = queue.recv().await {
            let sent = match message {
                PeerMessage::Body { message, body } => self.send_body(&frames, message, body).await,
                other => frames.send(encode_peer(&other)).await.map_err(|_| closed()),
            };
            if let Err(why) = sent {
                return why;
            }
        }
        "it is no longer needed".to_owned()
    }

    /// Sends a body whole, or not at all: the receiver asks again for one that did not come.
    async fn send_body(
        &self,
        frames: &mpsc::Sender<PeerFrame>,
        message: MessageId,
        body: BodyInfo,
    ) -> Result<(), String> {
        let mut source = match self.core.open_body(message).await {
            Ok(Some(source)) if source.digest() == body.digest => source,
            Ok(_) => {
                tracing::debug!(%message, "a body that was to be sent is no longer here");
                return Ok(());
            }
            // Told where it was found; the receiver asks again.
            Err(_) => return Ok(()),
        };
        if let Some(frame) = inline_frame(message, body, &source) {
            return frames.send(frame).await.map_err(|_| closed());
        }
        let announced = encode_peer(&PeerMessage::Body { message, body });
        frames.send(announced).await.map_err(|_| closed())?;
        let mut left = source.len_bytes();
        while left > 0 {
            let Ok(Some(chunk)) = source.chunk().await else {
                // The receiver waits for chunks: only a new connection can tell it otherwise.
                tracing::error!(%message, "a body could not be read to its end");
                return Err("a body could not be read to its end".to_owned());
            };
            for piece in pieces(chunk) {
                left = left.saturating_sub(piece.len() as u64);
                let chunk = encode_chunk(piece, left == 0);
                frames.send(chunk).await.map_err(|_| closed())?;
            }
        }
        Ok(())
    }
}

/// For how long another server has not taken this one's key.
#[derive(Default)]
struct Refused {
    since: Option<Instant>,
    told: bool,
}

impl Refused {
    fn note(&mut self, server: &ServerName, why: &str) {
        // The alert may be lost with the connection: what comes after one counts until it is let in.
        if self.since.is_none() && !why.contains(KEY_REFUSED) {
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= REFUSED_TOLD && !self.told {
            self.told = true;
            tracing::error!(%server, "{server} has no such key on record for this server: its folder is from before a change of its key (an old backup?), or it was struck off; see 'Keys' in docs/operations.md for what to do");
        }
    }
}

/// How a connection ended.
enum Ended {
    /// It did not come about.
    NotReached(String),
    /// It was there.
    Lost(String),
}

fn inline_frame(message: MessageId, body: BodyInfo, source: &BodySource) -> Option<PeerFrame> {
    let bytes = source
        .inline()
        .filter(|bytes| bytes.len() <= MAX_INLINE_BODY_BYTES)?;
    encode_body(message, body, Bytes::copy_from_slice(bytes))
}

/// A chunk in pieces that fit into frames.
fn pieces(mut chunk: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let most = chunk.len().min(MAX_CHUNK_BYTES);
        (most > 0).then(|| chunk.split_to(most))
    })
}

async fn until_end(answers: &mut tonic::Streaming<PeerFrame>) -> String {
    loop {
        match answers.message().await {
            // A later release may answer; nothing is expected here.
            Ok(Some(_)) => {}
            Ok(None) => return "the other side ended it".to_owned(),
            Err(status) => return said(&status),
        }
    }
}

fn closed() -> String {
    "the connection was closed".to_owned()
}

/// A status in one line, with the cause that tonic hides in its sources.
pub(crate) fn said(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
