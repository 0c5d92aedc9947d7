//! RETR and TOP: a message from the shell to the client, piece by piece.
//!
//! The bytes go as they are stored, but for the stuffing and a last CRLF where there is none. A message that breaks off is never ended as if it were
//! whole: the connection is closed instead.

use super::command::Number;
use super::reply::{self, Refusal};
use super::session::{Ask, Open, Session};
use super::top::Top;
use crate::dot::DotEncoder;

/// A message on its way.
pub(super) struct Retrieval {
    encoder: DotEncoder,
    extent: Extent,
    size_bytes: u64,
    started: Started,
}

enum Extent {
    Whole,
    Top(Top),
}

/// Whether the client has been told that the message follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Started {
    No,
    Yes,
}

/// Whether the session wants more of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Take the outputs, then hand in the next piece or the end.
    More,
    /// Nothing more of this body is wanted: stop reading it. It is ended already.
    Enough,
}

impl Session {
    /// Hands in the next bytes of the body that [`Ask::Body`] asked for.
    pub fn body_chunk(&mut self, bytes: &[u8]) -> Flow {
        let Some(Open::Body(mut retrieval)) = self.open.take() else {
            return Flow::Enough;
        };
        self.write(|out| {
            out.reserve(bytes.len() + 64);
            retrieval.start(out);
            retrieval.pass(bytes, out);
        });
        if retrieval.is_over() {
            self.end_retrieval(*retrieval);
            return Flow::Enough;
        }
        self.open = Some(Open::Body(retrieval));
        Flow::More
    }

    /// The body is complete.
    pub fn body_end(&mut self) {
        if let Some(Open::Body(retrieval)) = self.take_if_body() {
            self.end_retrieval(*retrieval);
        }
    }

    /// The body can't be read (any further).
    pub fn body_failed(&mut self) {
        if let Some(Open::Body(retrieval)) = self.take_if_body() {
            match retrieval.started {
                Started::No => {
                    self.write(|out| {
                        Refusal::try_later(
                            "Message cannot be read now, try again or at another server",
                        )
                        .write(out)
                    });
                    self.pump();
                }
                Started::Yes => self.close(),
            }
        }
    }

    pub(super) fn retrieve(&mut self, number: Number, top_lines: Option<u32>) {
        let Some(mailbox) = &self.mailbox else {
            return self.fault(reply::LOGIN_FIRST);
        };
        match mailbox.get(number) {
            Err(why) => self.refuse_message(why),
            Ok(entry) => {
                let extent = match top_lines {
                    None => Extent::Whole,
                    Some(lines) => Extent::Top(Top::new(lines)),
                };
                let retrieval = Retrieval {
                    encoder: DotEncoder::default(),
                    extent,
                    size_bytes: entry.size_bytes(),
                    started: Started::No,
                };
                let uidl = entry.uidl().to_owned();
                self.ask(
                    Ask::Body { uidl, top_lines },
                    Open::Body(Box::new(retrieval)),
                );
            }
        }
    }

    fn take_if_body(&mut self) -> Option<Open> {
        self.open.take_if(|open| matches!(open, Open::Body(_)))
    }

    fn end_retrieval(&mut self, mut retrieval: Retrieval) {
        self.write(|out| {
            retrieval.start(out);
            retrieval.encoder.finish(out);
        });
        self.pump();
    }
}

impl Retrieval {
    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, Started::Yes) == Started::Yes {
            return;
        }
        match self.extent {
            Extent::Whole => {
                out.extend_from_slice(format!("+OK {} octets\r\n", self.size_bytes).as_bytes())
            }
            Extent::Top(_) => out.extend_from_slice(b"+OK Top of message follows\r\n"),
        }
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let wanted = match &mut self.extent {
            Extent::Whole => bytes,
            Extent::Top(top) => {
                let taken = top.take(bytes);
                bytes.get(..taken).unwrap_or_default()
            }
        };
        self.encoder.encode(wanted, out);
    }

    fn is_over(&self) -> bool {
        match &self.extent {
            Extent::Whole => false,
            Extent::Top(top) => top.is_over(),
        }
    }
}
