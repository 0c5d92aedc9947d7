//! A message's bytes from whichever server has them, on their way to a mail program.
//!
//! Must never give out the last bytes before all were proved to be the message's, nor let a server that fails in the middle be noticed:
//! the next one goes on where it stopped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grapevine_model::{ErrorKind, MailPlace, MessageId, Name, Refusal};
use grapevine_user::{GrapevineUser, ListFields, ReadError};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::body_source::BodySource;

/// Pieces that a server may be ahead of the mail program.
const AHEAD: usize = 4;

type Piece = Result<Bytes, Refusal>;

/// Opens a body: the first piece, or the end, is there when this returns.
pub(super) async fn open(
    user: GrapevineUser,
    owner: Name,
    message: MessageId,
    place: Option<MailPlace>,
) -> Result<BodySource, Refusal> {
    let (sender, mut pieces) = mpsc::channel::<Piece>(AHEAD);
    let ends = sender.clone();
    tokio::spawn(async move {
        let mut pipe = Pipe {
            sender: PollSender::new(sender),
            held: None,
        };
        let read = user
            .read_body_at(&owner, message, place, ListFields::LeftOut, &mut pipe)
            .await;
        // The last piece goes out when all of it was proved; whoever reads may have gone away.
        let last = match read {
            Ok(_) => pipe.held.take().map(Ok),
            Err(error) => Some(Err(refusal(error))),
        };
        if let Some(last) = last {
            let _ = ends.send(last).await;
        }
    });
    match pieces.recv().await {
        Some(Err(refusal)) => Err(refusal),
        first => Ok(BodySource::proved(first.and_then(Result::ok), pieces)),
    }
}

fn refusal(error: ReadError) -> Refusal {
    match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Write(error) => Refusal::new(ErrorKind::Internal, error.to_string()),
    }
}

/// Passes pieces on, each when the next one comes.
struct Pipe {
    sender: PollSender<Piece>,
    held: Option<Bytes>,
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.is_some() {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            ready!(self.sender.poll_reserve(context)).map_err(gone)?;
            if let Some(held) = self.held.take() {
                self.sender.send_item(Ok(held)).map_err(gone)?;
            }
        }
        if !bytes.is_empty() {
            self.held = Some(Bytes::copy_from_slice(bytes));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held goes out when the rest was proved.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
