//! A body on its way through: DATA or BDAT, piece by piece, never held whole.
//!
//! DATA with a CR or LF alone is refused: it is what end-of-data smuggling is made of, and no client means it. BDAT counts its bytes, so it may
//! carry any. A body that was refused is still read to its end, so that nothing of it is taken for a command; one that goes on for more than
//! twice the limit of a message is cut off with its connection.

use std::collections::VecDeque;

use super::command::Place;
use super::limits::{BODY_STEP_BYTES, OVERRUN_BYTES};
use super::reply::{self, Reply};
use super::session::{Ask, Open, Output, Phase, Session};
use crate::dot::DotDecoder;
use crate::hops::HopCount;

/// The message that is coming in. It lasts over the commands between the chunks of BDAT.
pub(super) enum Body {
    None,
    /// It goes to the shell.
    Taken(Progress),
    /// It is read and forgotten.
    Refused(Progress, Reply),
}

/// How far the message has come.
pub(super) struct Progress {
    framing: Framing,
    hops: HopCount,
    /// Of the message, stuffing removed.
    size_bytes: u64,
    /// As they came.
    read_bytes: u64,
}

/// How the end of the body, or of its chunk, is told.
pub(super) enum Framing {
    Data(Box<DotDecoder>),
    Chunk {
        left_bytes: u64,
        chunk_bytes: u64,
        place: Place,
    },
}

impl Body {
    pub(super) fn taken(framing: Framing) -> Self {
        Body::Taken(Progress::new(framing))
    }

    pub(super) fn refused(framing: Framing, why: Reply) -> Self {
        Body::Refused(Progress::new(framing), why)
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Body::None)
    }

    /// Goes on with the next chunk, if a message is under way.
    pub(super) fn resume(&mut self, next: Framing) -> Result<(), Framing> {
        match (self, next) {
            (Body::Taken(progress), next @ Framing::Chunk { .. }) => {
                progress.framing = next;
                Ok(())
            }
            (_, next) => Err(next),
        }
    }
}

impl Progress {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            hops: HopCount::default(),
            size_bytes: 0,
            read_bytes: 0,
        }
    }

    /// Appends what is data in `input` to `out`; returns how much of `input` was used.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let before = out.len();
        let used = self.framing.decode(input, out);
        self.size_bytes += (out.len() - before) as u64;
        self.hops.look(out.get(before..).unwrap_or_default());
        self.read_bytes += used as u64;
        used
    }
}

impl Framing {
    pub(super) fn data() -> Self {
        Framing::Data(Box::default())
    }

    /// Appends what is data in `input` to `out`, and says how much of `input` was used.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        match self {
            Framing::Data(decoder) => decoder.decode(input, out),
            Framing::Chunk { left_bytes, .. } => {
                let most = usize::try_from(*left_bytes).unwrap_or(usize::MAX);
                let piece = input.get(..most).unwrap_or(input);
                out.extend_from_slice(piece);
                *left_bytes -= piece.len() as u64;
                piece.len()
            }
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Framing::Data(decoder) => decoder.is_done(),
            Framing::Chunk { left_bytes, .. } => *left_bytes == 0,
        }
    }

    fn has_bare_line_end(&self) -> bool {
        match self {
            Framing::Data(decoder) => decoder.has_bare_line_end(),
            Framing::Chunk { .. } => false,
        }
    }
}

impl Session {
    /// A chunk says its size beforehand, so one that is too large is refused before it comes.
    pub(super) fn begin_chunk(&mut self, chunk_bytes: u64) {
        let limit = self.config.limits.message_bytes;
        if let Body::Taken(progress) = &self.body
            && progress.size_bytes.saturating_add(chunk_bytes) > limit
        {
            self.refuse_body(reply::TOO_LARGE);
        }
        match &self.body {
            Body::Refused(_, why) if chunk_bytes > limit => {
                let why = *why;
                self.close_with(why);
            }
            Body::Taken(progress) | Body::Refused(progress, _) if progress.framing.is_done() => {
                self.end_body()
            }
            Body::Taken(_) | Body::Refused(..) | Body::None => {}
        }
    }

    /// One piece of the body; returns how much was used.
    pub(super) fn step_body(&mut self, input: &[u8]) -> usize {
        let limit = self.config.limits.message_bytes;
        let Some(read_left) = self.read_left() else {
            self.phase = Phase::Command;
            return 0;
        };
        let step = BODY_STEP_BYTES.min(usize::try_from(read_left).unwrap_or(usize::MAX));
        let window = input.get(..step).unwrap_or(input);
        let (used, done, fault) = match &mut self.body {
            Body::None => (0, false, None),
            Body::Taken(progress) => {
                let mut chunk = take_chunk(&mut self.outbox, window.len());
                let before = chunk.len();
                let used = progress.decode(window, &mut chunk);
                self.queued_bytes += chunk.len() - before;
                if !chunk.is_empty() {
                    self.outbox.push_back(Output::BodyChunk(chunk));
                }
                let fault = if progress.framing.has_bare_line_end() {
                    Some(reply::BARE_IN_DATA)
                } else if progress.size_bytes > limit {
                    Some(reply::TOO_LARGE)
                } else if progress.hops.is_in_a_circle() {
                    Some(reply::CIRCLE)
                } else {
                    None
                };
                (used, progress.framing.is_done(), fault)
            }
            Body::Refused(progress, _) => {
                let used = progress.decode(window, &mut Vec::new());
                (used, progress.framing.is_done(), None)
            }
        };
        if let Some(why) = fault {
            self.refuse_body(why);
        }
        if done {
            self.end_body();
        } else if self.read_left() == Some(0) {
            self.end_body();
            self.close();
        }
        used
    }

    /// How much may still be read of this body. Counted over the whole of it, so that it doesn't matter where a fault was noticed.
    fn read_left(&self) -> Option<u64> {
        let most = self
            .config
            .limits
            .message_bytes
            .saturating_mul(2)
            .saturating_add(OVERRUN_BYTES);
        match &self.body {
            Body::None => None,
            Body::Taken(progress) | Body::Refused(progress, _) => {
                Some(most.saturating_sub(progress.read_bytes))
            }
        }
    }

    /// Gives up a body that the shell has begun to take.
    pub(super) fn abort_body(&mut self) {
        if let Body::Taken(_) = std::mem::replace(&mut self.body, Body::None) {
            self.drop_queued_chunk();
            self.push(Output::BodyAbort);
        }
    }

    fn refuse_body(&mut self, why: Reply) {
        if let Body::Taken(progress) = std::mem::replace(&mut self.body, Body::None) {
            self.drop_queued_chunk();
            self.push(Output::BodyAbort);
            self.body = Body::Refused(progress, why);
        }
    }

    /// The shell has no use for bytes that it is told to forget in the same breath.
    fn drop_queued_chunk(&mut self) {
        if let Some(Output::BodyChunk(chunk)) = self.outbox.back() {
            self.queued_bytes -= chunk.len();
            self.outbox.pop_back();
        }
    }

    /// The body, or a chunk of it, is complete, or has come to the most that is read of one.
    fn end_body(&mut self) {
        self.phase = Phase::Command;
        match std::mem::replace(&mut self.body, Body::None) {
            Body::None => {}
            // Of two faults this one is told, whichever was noticed first.
            Body::Refused(progress, _) if progress.framing.has_bare_line_end() => {
                self.fault_of_message(reply::BARE_IN_DATA)
            }
            Body::Refused(_, why) => self.fault_of_message(why),
            Body::Taken(progress) => match progress.framing {
                Framing::Chunk {
                    chunk_bytes,
                    place: Place::More,
                    ..
                } => {
                    self.body = Body::Taken(progress);
                    self.write(|out| {
                        reply::OK.write_with(out, &format!("{chunk_bytes} octets received"))
                    });
                }
                Framing::Data(_)
                | Framing::Chunk {
                    place: Place::Last, ..
                } => {
                    self.ask(
                        Ask::Accept {
                            size_bytes: progress.size_bytes,
                        },
                        Open::Accept,
                    );
                }
            },
        }
    }
}

/// The chunk at the queue's end, to be added to, or a new one.
fn take_chunk(outbox: &mut VecDeque<Output>, room: usize) -> Vec<u8> {
    match outbox.pop_back() {
        Some(Output::BodyChunk(chunk)) => chunk,
        Some(other) => {
            outbox.push_back(other);
            Vec::with_capacity(room)
        }
        None => Vec::with_capacity(room),
    }
}
