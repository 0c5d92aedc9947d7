//! Frames between servers: one message, or one piece of a body, at a time.
//!
//! What a newer server says that this one does not know is passed over, never an
//! end of the stream; what breaks a limit is an error that says so.

use grapevine_model::{BodyInfo, MessageId, PeerMessage};
use prost::bytes::Bytes;

use crate::v1;

/// Most bytes of one message that is decoded or encoded, both ways: the sender bounds its pages
/// at 1 MiB, and a listing of a full inbox fits.
pub const MAX_DECODED_BYTES: usize = 4 * 1024 * 1024;
/// Longest piece of a body in one frame: small enough that beats between two bodies are not late.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Longest body inside the frame that announces it: most mail, in one frame.
pub const MAX_INLINE_BODY_BYTES: usize = 64 * 1024;

/// Why bytes are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A limit is broken or a value can't be.
    #[error("not understood: {0}")]
    Invalid(String),
    /// A kind that a newer release may know.
    #[error("of a kind that this release does not know: {0}")]
    Newer(&'static str),
}

impl WireError {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}

/// What one frame brings.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, made and taken apart at once"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message that is no body.
    Message(PeerMessage),
    /// A body is announced: here it is, or (none) its chunks are the next frames.
    Body {
        /// Whose body.
        message: MessageId,
        /// Its measure, as announced: check it.
        body: BodyInfo,
        /// The octets, as many as the measure says.
        inline: Option<Bytes>,
    },
    /// The next piece of the body announced last.
    Chunk {
        /// The octets.
        data: Bytes,
        /// Whether the body ends with it.
        last: bool,
    },
    /// A kind that a newer release may know: count it and go on.
    Unknown(&'static str),
}

/// A message as a frame. A `Body` announces chunks, which must follow; see also [`encode_body`].
pub fn encode_peer(message: &PeerMessage) -> v1::PeerFrame {
    v1::PeerFrame {
        frame: Some(v1::peer_frame::Frame::Message(message.into())),
        inline_body: None,
    }
}

/// A whole body, at most [`MAX_INLINE_BODY_BYTES`], in the frame that announces it; none if it is
/// longer and must go in chunks.
pub fn encode_body(message: MessageId, body: BodyInfo, octets: Bytes) -> Option<v1::PeerFrame> {
    (octets.len() <= MAX_INLINE_BODY_BYTES).then(|| v1::PeerFrame {
        inline_body: Some(octets),
        ..encode_peer(&PeerMessage::Body { message, body })
    })
}

/// A piece of the body announced last, at most [`MAX_CHUNK_BYTES`].
pub fn encode_chunk(data: Bytes, last: bool) -> v1::PeerFrame {
    v1::PeerFrame {
        frame: Some(v1::peer_frame::Frame::Chunk(v1::BodyChunk { data, last })),
        inline_body: None,
    }
}

/// What a frame brings. An error concerns this frame alone: the stream goes on.
pub fn decode_frame(frame: v1::PeerFrame) -> Result<Frame, WireError> {
    let inline = frame.inline_body;
    let message = match frame.frame {
        Some(v1::peer_frame::Frame::Message(message)) => message,
        Some(v1::peer_frame::Frame::Chunk(chunk)) if chunk.data.len() > MAX_CHUNK_BYTES => {
            return Err(WireError::invalid("a piece of a body longer than 256 KiB"));
        }
        Some(v1::peer_frame::Frame::Chunk(v1::BodyChunk { data, last })) => {
            return Ok(Frame::Chunk { data, last });
        }
        None => return Ok(Frame::Unknown("frame")),
    };
    match (PeerMessage::try_from(message), inline) {
        (Ok(PeerMessage::Body { message, body }), inline) => {
            if let Some(octets) = &inline {
                check_inline(octets, &body)?;
            }
            Ok(Frame::Body {
                message,
                body,
                inline,
            })
        }
        (Ok(message), _) => Ok(Frame::Message(message)),
        (Err(WireError::Newer(what)), _) => Ok(Frame::Unknown(what)),
        (Err(error), _) => Err(error),
    }
}

fn check_inline(octets: &Bytes, body: &BodyInfo) -> Result<(), WireError> {
    if octets.len() > MAX_INLINE_BODY_BYTES {
        Err(WireError::invalid("a body longer than 64 KiB in one frame"))
    } else if octets.len() as u64 != body.len {
        Err(WireError::invalid(
            "a body of another length than announced",
        ))
    } else {
        Ok(())
    }
}

/// The message of a frame; none for a chunk and for what a newer release may know.
pub fn decode_peer(frame: v1::PeerFrame) -> Result<Option<PeerMessage>, WireError> {
    Ok(match decode_frame(frame)? {
        Frame::Message(message) => Some(message),
        Frame::Body { message, body, .. } => Some(PeerMessage::Body { message, body }),
        Frame::Chunk { .. } | Frame::Unknown(_) => None,
    })
}
