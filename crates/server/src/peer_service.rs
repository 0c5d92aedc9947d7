//! What other servers say: frames of an ordered stream, bodies staged as they come.
//!
//! Must never take a server's word for who it is (TLS has proved it and `gv` names it), nor its word
//! for a body's measure: that is taken here. Nothing that a peer sends ends more than its own stream.

use std::pin::Pin;

use grapevine_model::{BodyInfo, MAX_MESSAGE_BYTES, MessageId, PeerMessage, ServerName};
use grapevine_rpc::v1::{PeerFrame, peers_server};
use grapevine_rpc::{Frame, PeerIdentity, decode_frame};
use grapevine_store::{INLINE_BODY_MAX_BYTES, Stage};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::body_source::blocking;
use crate::core_task::{CoreHandle, measured};
use crate::peers::Peers;

/// A body is never longer than the largest message and what servers put before it.
const BODY_MAX_BYTES: u64 = MAX_MESSAGE_BYTES + 1024 * 1024;

/// The service for other servers.
pub(crate) struct PeerService {
    /// The core.
    pub(crate) core: CoreHandle,
    /// Who they are.
    pub(crate) peers: Peers,
    /// Ends all streams.
    pub(crate) stop: CancellationToken,
}

/// The answering direction: nothing, until the stream is over.
type Silence = Pin<Box<dyn Stream<Item = Result<PeerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl peers_server::Peers for PeerService {
    type ExchangeStream = Silence;

    async fn exchange(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<Silence>, Status> {
        let from = PeerIdentity::of(&request)
            .ok_or_else(|| Status::unauthenticated("for servers, with their key"))?;
        let gone = self
            .peers
            .known(&from)
            .ok_or_else(|| Status::permission_denied("no longer a server of this Grapevine"))?;
        self.peers.has_called(&from);
        let over = CancellationToken::new();
        let incoming = Incoming {
            core: self.core.clone(),
            from,
            receiving: Receiving::Nothing,
        };
        let (frames, ended) = (request.into_inner(), over.clone().drop_guard());
        let (removed, stop) = (gone, self.stop.clone());
        tokio::spawn(async move {
            let _ended = ended;
            tokio::select! {
                () = removed.cancelled() => {}
                () = stop.cancelled() => {}
                () = incoming.run(frames) => {}
            }
        });
        let silence = futures_util::stream::once(async move {
            over.cancelled().await;
            Err(Status::unavailable("this stream is over"))
        });
        Ok(Response::new(Box::pin(silence)))
    }
}

/// One stream of one server.
struct Incoming {
    core: CoreHandle,
    from: ServerName,
    receiving: Receiving,
}

/// The body that is being received in chunks.
enum Receiving {
    /// None.
    Nothing,
    /// One.
    Body {
        message: MessageId,
        announced: BodyInfo,
        stage: Box<Stage>,
        received_bytes: u64,
    },
    /// One that can't be taken: its chunks are passed over.
    Unwanted,
}

impl Incoming {
    async fn run(mut self, mut frames: Streaming<PeerFrame>) {
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(server = %self.from, %status, "a server's stream ended");
                    return;
                }
            };
            match decode_frame(frame) {
                Ok(frame) => self.take(frame).await,
                Err(error) => {
                    tracing::warn!(server = %self.from, %error, "a frame of a server was not understood");
                    metrics::counter!("grapevine_peer_frames_refused_total").increment(1);
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Message(message) => {
                self.core.peer(self.from.clone(), message, None).await;
            }
            Frame::Body {
                message,
                body,
                inline: Some(octets),
            } => {
                let mut stage = self.core.store().stage();
                let received_bytes = octets.len() as u64;
                match stage.write(&octets) {
                    Ok(()) => {
                        self.finish(message, body, Box::new(stage), received_bytes)
                            .await;
                    }
                    Err(error) => self.refuse(message, &error),
                }
            }
            Frame::Body {
                message,
                body,
                inline: None,
            } => {
                self.receiving = if body.len > BODY_MAX_BYTES {
                    tracing::warn!(server = %self.from, %message, len = body.len, "a body is too long");
                    Receiving::Unwanted
                } else {
                    Receiving::Body {
                        message,
                        announced: body,
                        stage: Box::new(self.core.store().stage()),
                        received_bytes: 0,
                    }
                };
            }
            Frame::Chunk { data, last } => self.chunk(data, last).await,
            Frame::Unknown(what) => {
                tracing::debug!(server = %self.from, what, "passed over: a newer release may know it");
            }
        }
    }

    async fn chunk(&mut self, data: bytes::Bytes, last: bool) {
        let receiving = std::mem::replace(&mut self.receiving, Receiving::Unwanted);
        let Receiving::Body {
            message,
            announced,
            mut stage,
            received_bytes,
        } = receiving
        else {
            return;
        };
        let received_bytes = received_bytes.saturating_add(data.len() as u64);
        if received_bytes > announced.len {
            tracing::warn!(server = %self.from, %message, "a body is longer than was announced");
            return;
        }
        let written = blocking(move || stage.write(&data).map(|()| stage)).await;
        match written {
            Ok(Ok(stage)) if last => {
                self.receiving = Receiving::Nothing;
                self.finish(message, announced, stage, received_bytes).await;
            }
            Ok(Ok(stage)) => {
                self.receiving = Receiving::Body {
                    message,
                    announced,
                    stage,
                    received_bytes,
                };
            }
            Ok(Err(error)) => self.refuse(message, &error),
            Err(stopping) => tracing::debug!(%stopping, "a body was not taken"),
        }
    }

    async fn finish(
        &mut self,
        message: MessageId,
        announced: BodyInfo,
        stage: Box<Stage>,
        received_bytes: u64,
    ) {
        // A small one is in memory: handing it to another thread and back costs more than all else that is done with it.
        let finished = if received_bytes <= INLINE_BODY_MAX_BYTES as u64 {
            Ok(stage.finish())
        } else {
            blocking(move || stage.finish()).await
        };
        let staged = match finished {
            Ok(Ok(staged)) => measured(staged),
            Ok(Err(error)) => return self.refuse(message, &error),
            Err(_stopping) => return,
        };
        let held = self.core.hold(staged);
        if staged.body != announced {
            drop(held);
            tracing::warn!(server = %self.from, %message, "a body is not what was announced; it was not taken");
            return;
        }
        let body = PeerMessage::Body {
            message,
            body: announced,
        };
        self.core.peer(self.from.clone(), body, Some(held)).await;
    }

    fn refuse(&self, message: MessageId, error: &std::io::Error) {
        tracing::warn!(server = %self.from, %message, %error, "a body could not be stored; it will be asked for again");
    }
}
