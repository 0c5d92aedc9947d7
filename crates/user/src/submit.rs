//! Handing in a message: accepted once, whatever fails on the way.
//!
//! The message has its id before the first server is tried, so a retry at another
//! server is the same message, and depositing is idempotent by that id: a lost
//! answer needs no doubt, only another try. What is sent is what was measured: a
//! file that changes meanwhile, or can't be read to its end, is given up before the
//! server sees an end of it.

use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::{Either, select};
use grapevine_model::{
    BodyInfo, Envelope, ErrorKind, Hlc, MAX_MESSAGE_BYTES, MailboxAsk, MailboxReply, MessageId,
    Name, OriginId, Refusal, Reply, Request,
};
use grapevine_rpc::v1::{SubmitPart, submit_part};
use grapevine_rpc::{AppendHead, Caller, SubmitHead, encode_append_head, encode_submit_head};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::body::{BodySource, CHUNK_BYTES};
use crate::link::{Attempt, Link, caller};
use crate::user::GrapevineUser;

/// Chunks read ahead of the connection: 256 KiB.
const CHUNKS_AHEAD: usize = 4;

/// A message is accepted: it will be delivered, or its sender told why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub message: MessageId,
    /// On how many servers' disks it is.
    pub copies: u8,
    /// The server that said so.
    pub server: String,
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// No server took it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Its body could not be read.
    #[error("the message can't be read: {0}")]
    Body(#[from] io::Error),
}

/// Why a feed ended early; holds the stream open, so that the server sees no end of the body.
struct GaveUp {
    why: io::Error,
    _stream: mpsc::Sender<SubmitPart>,
}

/// A new message's id: now, and 63 random bits.
pub fn new_message_id() -> io::Result<MessageId> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(MessageId {
        time: Hlc::at_ms(wall_ms()),
        origin: OriginId::client(u64::from_ne_bytes(random)),
    })
}

/// Milliseconds since 1970 as this machine believes.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

impl GrapevineUser {
    /// Hands in a message under an id that was drawn before ([`new_message_id`]): doing it again
    /// with the same id, even another day, is the same message.
    pub async fn submit(
        &self,
        id: MessageId,
        envelope: &Envelope,
        body: &BodySource,
    ) -> Result<Accepted, SubmitError> {
        let source = body.clone();
        let info = tokio::task::spawn_blocking(move || source.measure())
            .await
            .map_err(io::Error::other)??;
        self.submit_measured(id, envelope, body, info).await
    }

    /// The same for a body that has been measured.
    pub async fn submit_measured(
        &self,
        id: MessageId,
        envelope: &Envelope,
        body: &BodySource,
        info: BodyInfo,
    ) -> Result<Accepted, SubmitError> {
        let head = |caller| {
            encode_submit_head(&SubmitHead {
                caller,
                id: Some(id),
                envelope: envelope.clone(),
            })
        };
        match self.hand_in(head, body, info, id).await? {
            (Reply::Accepted { message, copies }, server) => Ok(Accepted {
                message,
                copies,
                server,
            }),
            (_, server) => {
                Err(unknown(id, &format!("{server}: its answer is none to a message")).into())
            }
        }
    }

    /// Puts a mail into a folder of the login's own mailbox, under an id that was drawn before: doing it
    /// again with the same id is the same mail. `ask` must be a `MailboxAsk::Append` of that id and body.
    ///
    /// # Errors
    /// The servers' refusal; `Unknown` where it may have been done.
    pub async fn append(
        &self,
        owner: &Name,
        ask: MailboxAsk,
        body: &BodySource,
    ) -> Result<MailboxReply, SubmitError> {
        let MailboxAsk::Append {
            message,
            body: info,
            ..
        } = &ask
        else {
            return Err(Refusal::invalid("only an append has a body").into());
        };
        let (message, info) = (*message, *info);
        let request = Request::Mailbox {
            name: owner.clone(),
            ask,
        };
        let head = |caller| {
            encode_append_head(&AppendHead {
                caller,
                request: request.clone(),
            })
        };
        match self.hand_in(head, body, info, message).await? {
            (Reply::Mailbox(reply), _) => Ok(reply),
            (_, server) => {
                Err(unknown(message, &format!("{server}: its answer is none to a mail")).into())
            }
        }
    }

    /// Hands in a body at one server after the other, until one says yes or no.
    async fn hand_in(
        &self,
        head: impl Fn(Caller) -> SubmitPart,
        body: &BodySource,
        info: BodyInfo,
        id: MessageId,
    ) -> Result<(Reply, String), SubmitError> {
        if info.len > MAX_MESSAGE_BYTES {
            let why = format!(
                "the message has {} octets; a message may have {MAX_MESSAGE_BYTES}",
                info.len
            );
            return Err(Refusal::new(ErrorKind::TooLarge, why).into());
        }
        let mut why = "no server is known".to_owned();
        let mut lost = false;
        let mut tries = self.tries();
        while let Some(next) = tries.next().await {
            let login = self.login();
            let first = head(caller(login.as_ref()));
            let sending = Sending {
                patience: self.inner.patience.stall,
                answer: self.inner.patience.call,
            };
            match sending.once(&next.link, first, body, info).await? {
                Attempt::Done(reply) => {
                    self.well(&next, None);
                    return Ok((reply, next.name));
                }
                Attempt::Refused(refusal) => match refusal.kind {
                    ErrorKind::Unavailable => why = format!("{}: {refusal}", next.name),
                    ErrorKind::Unknown | ErrorKind::Internal => {
                        lost = true;
                        why = format!("{}: {refusal}", next.name);
                    }
                    ErrorKind::Invalid
                    | ErrorKind::NotAuthenticated
                    | ErrorKind::NotAllowed
                    | ErrorKind::NotFound
                    | ErrorKind::Conflict
                    | ErrorKind::TooLarge => return Err(refusal.into()),
                },
                Attempt::NotSent(reason) => {
                    self.failed(&next, &reason);
                    why = format!("{}: {reason}", next.name);
                }
                Attempt::Lost(reason) => {
                    self.failed(&next, &reason);
                    lost = true;
                    why = format!("{}: {reason}", next.name);
                }
            }
        }
        Err(match lost {
            true => unknown(id, &why).into(),
            false => Refusal::unavailable(why).into(),
        })
    }
}

fn unknown(id: MessageId, why: &str) -> Refusal {
    Refusal::new(
        ErrorKind::Unknown,
        format!(
            "message {id} may have been accepted; handing it in again under this id is safe ({why})"
        ),
    )
}

/// One attempt at one server.
struct Sending {
    /// For any progress.
    patience: Duration,
    /// For the answer once all is sent.
    answer: Duration,
}

impl Sending {
    async fn once(
        &self,
        link: &Link,
        head: SubmitPart,
        body: &BodySource,
        info: BodyInfo,
    ) -> io::Result<Attempt<Reply>> {
        let (parts, stream) = mpsc::channel(CHUNKS_AHEAD);
        let (gave_up, giving_up) = oneshot::channel();
        let (progress, mut progressed) = watch::channel(0u64);
        // The channel is new and has room.
        let _ = parts.try_send(head);
        let source = body.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(why) = feed(&source, info, &parts, &progress) {
                let _ = gave_up.send(GaveUp {
                    why,
                    _stream: parts,
                });
            }
        });
        let call = Box::pin(link.submit(ReceiverStream::new(stream)));
        let mut both = select(call, Box::pin(given_up(giving_up)));
        loop {
            let limit = if progressed.has_changed().is_err() {
                self.answer
            } else {
                self.patience
            };
            tokio::select! {
                biased;
                ended = &mut both => return match ended {
                    Either::Left((attempt, _)) => Ok(attempt),
                    Either::Right((gave_up, call)) => {
                        // First the call, which resets the stream; only then the stream's sender.
                        drop(call);
                        Err(gave_up.why)
                    }
                },
                // An end of the feed changes the limit; the guard then keeps this arm still.
                _ = progressed.changed(), if progressed.has_changed().is_ok() => {}
                () = tokio::time::sleep(limit) => {
                    return Ok(Attempt::Lost(format!("no progress within {} ms", limit.as_millis())));
                }
            }
        }
    }
}

/// Why the feed gave up; never, if it did not.
async fn given_up(giving_up: oneshot::Receiver<GaveUp>) -> GaveUp {
    match giving_up.await {
        Ok(gave_up) => gave_up,
        Err(_) => std::future::pending().await,
    }
}

/// Sends a body in chunks; the last one only if all of it is what was measured. Blocks.
fn feed(
    source: &BodySource,
    info: BodyInfo,
    parts: &mpsc::Sender<SubmitPart>,
    progress: &watch::Sender<u64>,
) -> io::Result<()> {
    let mut reader = source.open()?;
    let mut hasher = blake3::Hasher::new();
    let mut left = info.len;
    while left > 0 {
        let want = left.min(CHUNK_BYTES as u64);
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        reader.by_ref().take(want).read_to_end(&mut chunk)?;
        left -= chunk.len() as u64;
        hasher.update(&chunk);
        let short = (chunk.len() as u64) < want;
        if short || (left == 0 && !is_the_end(&mut reader, &hasher, info)?) {
            return Err(io::Error::other("it changed while it was read"));
        }
        let part = SubmitPart {
            part: Some(submit_part::Part::Chunk(Bytes::from(chunk))),
        };
        if parts.blocking_send(part).is_err() {
            // The call is over: whoever waits for it knows.
            return Ok(());
        }
        progress.send_modify(|sent| *sent += want);
    }
    Ok(())
}

fn is_the_end(reader: &mut impl Read, hasher: &blake3::Hasher, info: BodyInfo) -> io::Result<bool> {
    let mut more = [0];
    Ok(reader.read(&mut more)? == 0 && *hasher.finalize().as_bytes() == info.digest)
}
