//! Messages out: listed, read, deleted, at whichever server has them.
//!
//! A body whose server dies in the middle goes on from another server at the octet
//! where it stopped. What comes out is checked against length and digest, and is
//! only called read when both are right. Deleting is acknowledged: the answer comes
//! when it is durable, and doing it twice is doing it once.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use grapevine_model::{
    BodyInfo, ErrorKind, InboxListing, MailPlace, MessageId, Name, Refusal, Reply, Request, Written,
};
use grapevine_rpc::v1::{BodyPart, body_part};
use grapevine_rpc::{ReadBodyRequest, encode_read_body};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::Streaming;

use crate::link::{Attempt, Link, caller};
use crate::user::GrapevineUser;

/// What is left of a message of which only the beginning was wanted is taken in up to this: about what is on its way already.
const RUN_OUT_BYTES: usize = 256 * 1024;
/// And for so long.
const RUN_OUT: Duration = Duration::from_secs(1);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No server could give it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It could not be written where it was to go.
    #[error("the message can't be written: {0}")]
    Write(#[from] io::Error),
}

/// What of the fields that a list puts in front of a message, which are no part of what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFields {
    /// They are written, as the message is read.
    Written,
    /// They are not: the caller has them from a view.
    LeftOut,
}

/// Which body, and how much of it.
struct Wanted<'a> {
    owner: &'a Name,
    message: MessageId,
    place: Option<MailPlace>,
    list_fields: ListFields,
    most_bytes: u64,
}

/// How much of a body has come, over all servers.
struct Progress {
    info: Option<BodyInfo>,
    hasher: blake3::Hasher,
    done: u64,
    /// Whether what stands in front of the body is written.
    begun: bool,
    /// Enough is enough, for whoever wants the beginning only.
    want: u64,
}

impl Progress {
    fn is_enough(&self) -> bool {
        self.info
            .is_some_and(|info| self.done >= info.len.min(self.want))
    }
}

impl GrapevineUser {
    /// The messages in an inbox.
    pub async fn inbox(&self, name: &Name) -> Result<InboxListing, Refusal> {
        let request = Request::InboxList { name: name.clone() };
        match self.call(request).await? {
            Reply::Inbox(listing) => Ok(listing),
            _ => Err(odd("an inbox")),
        }
    }

    /// Deletes messages; what is gone already stays gone.
    pub async fn delete(&self, owner: &Name, messages: &[MessageId]) -> Result<Written, Refusal> {
        let request = Request::InboxDelete {
            name: owner.clone(),
            messages: messages.to_vec(),
        };
        match self.call(request).await? {
            Reply::Written(written) => Ok(written),
            _ => Err(odd("a deletion")),
        }
    }

    /// Reads a body into a writer. An error after the first octet leaves a part of it there.
    pub async fn read_body<W: AsyncWrite + Unpin>(
        &self,
        owner: &Name,
        message: MessageId,
        to: &mut W,
    ) -> Result<BodyInfo, ReadError> {
        self.read_body_at(owner, message, None, ListFields::Written, to)
            .await
    }

    /// The same of a mail in any folder of one's own mailbox: the folder and the number come from a view.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub async fn read_body_at<W: AsyncWrite + Unpin>(
        &self,
        owner: &Name,
        message: MessageId,
        place: Option<MailPlace>,
        list_fields: ListFields,
        to: &mut W,
    ) -> Result<BodyInfo, ReadError> {
        let wanted = Wanted {
            owner,
            message,
            place,
            list_fields,
            most_bytes: u64::MAX,
        };
        let progress = self.read(wanted, to).await?;
        let info = progress.info.ok_or_else(|| odd("a body"))?;
        if *progress.hasher.finalize().as_bytes() != info.digest {
            return Err(Refusal::new(
                ErrorKind::Internal,
                "the message that came is not the one that was deposited (digests differ)",
            )
            .into());
        }
        to.flush().await?;
        Ok(info)
    }

    /// Reads the beginning of a body: so many octets, or all if it is shorter.
    pub async fn read_head(
        &self,
        owner: &Name,
        message: MessageId,
        at_most_bytes: u64,
    ) -> Result<Vec<u8>, ReadError> {
        let mut head = Vec::new();
        let wanted = Wanted {
            owner,
            message,
            place: None,
            list_fields: ListFields::Written,
            most_bytes: at_most_bytes,
        };
        self.read(wanted, &mut head).await?;
        Ok(head)
    }

    async fn read<W: AsyncWrite + Unpin>(
        &self,
        wanted: Wanted<'_>,
        to: &mut W,
    ) -> Result<Progress, ReadError> {
        let mut progress = Progress {
            info: None,
            hasher: blake3::Hasher::new(),
            done: 0,
            begun: wanted.list_fields == ListFields::LeftOut,
            want: wanted.most_bytes,
        };
        let mut why = "no server is known".to_owned();
        let mut not_found = None;
        let mut tries = self.tries();
        while let Some(next) = tries.next().await {
            let login = self.login();
            let request = encode_read_body(&ReadBodyRequest {
                caller: caller(login.as_ref()),
                owner: wanted.owner.clone(),
                message: wanted.message,
                place: wanted.place,
            });
            let opened =
                tokio::time::timeout(self.inner.patience.call, next.link.read_body(request))
                    .await
                    .unwrap_or_else(|_| Attempt::Lost("no answer in time".to_owned()));
            match opened {
                Attempt::Done(stream) => {
                    match self.go_on(&next.link, stream, &mut progress, to).await? {
                        None => {
                            self.well(&next, None);
                            return Ok(progress);
                        }
                        Some(reason) => {
                            self.failed(&next, &reason);
                            why = format!("{}: {reason}", next.name);
                        }
                    }
                }
                // Here it is not; another inbox site may have it already.
                Attempt::Refused(refusal) if refusal.kind == ErrorKind::NotFound => {
                    not_found = Some(refusal);
                }
                Attempt::Refused(refusal) => match refusal.kind {
                    ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => {
                        why = format!("{}: {refusal}", next.name);
                        not_found = None;
                    }
                    ErrorKind::Invalid
                    | ErrorKind::NotAuthenticated
                    | ErrorKind::NotAllowed
                    | ErrorKind::NotFound
                    | ErrorKind::Conflict
                    | ErrorKind::TooLarge => return Err(refusal.into()),
                },
                Attempt::NotSent(reason) | Attempt::Lost(reason) => {
                    self.failed(&next, &reason);
                    why = format!("{}: {reason}", next.name);
                    not_found = None;
                }
            }
            if tries.round_is_over()
                && let Some(refusal) = not_found.take()
            {
                return Err(refusal.into());
            }
        }
        Err(Refusal::unavailable(why).into())
    }

    /// Reads on from one server; says why it stopped if more is wanted.
    async fn go_on<W: AsyncWrite + Unpin>(
        &self,
        link: &Link,
        mut stream: Streaming<BodyPart>,
        progress: &mut Progress,
        to: &mut W,
    ) -> io::Result<Option<String>> {
        let mut at = 0;
        let mut head = None;
        loop {
            let part = tokio::time::timeout(self.inner.patience.stall, stream.message()).await;
            let part = match part {
                Ok(Ok(Some(part))) => {
                    // What a list adds: in front, once, and no part of what is checked.
                    if !part.before.is_empty() && !std::mem::replace(&mut progress.begun, true) {
                        to.write_all(&part.before).await?;
                    }
                    part.part
                }
                Ok(Ok(None)) if progress.is_enough() => return Ok(None),
                Ok(Ok(None)) => return Ok(Some("the message ended too early".into())),
                Ok(Err(status)) => return Ok(Some(reason(link, &status))),
                Err(_) => return Ok(Some("the message stopped coming".into())),
            };
            match (part, head) {
                (Some(body_part::Part::Head(info)), None) => {
                    let Ok(info) = BodyInfo::try_from(info) else {
                        return Ok(Some("its answer was not understood".into()));
                    };
                    if progress.info.is_some_and(|known| known != info) {
                        return Ok(Some("it has another message under this id".into()));
                    }
                    progress.info = Some(info);
                    head = Some(info);
                }
                (Some(body_part::Part::Chunk(chunk)), Some(info)) => {
                    let fresh = beyond(&chunk, at, progress.done);
                    at += chunk.len() as u64;
                    if at > info.len {
                        return Ok(Some("more came than the message has".into()));
                    }
                    let room = progress.want.saturating_sub(progress.done);
                    let fresh = fresh.slice(..cut(fresh.len(), room));
                    to.write_all(&fresh).await?;
                    progress.hasher.update(&fresh);
                    progress.done += fresh.len() as u64;
                }
                (Some(body_part::Part::Head(_)), Some(_))
                | (Some(body_part::Part::Chunk(_)), None) => {
                    return Ok(Some("its answer was out of order".into()));
                }
                // A part that a later release knows.
                (None, _) => {}
            }
            if progress.is_enough() {
                run_out(stream).await;
                return Ok(None);
            }
        }
    }
}

/// Lets a stream come to its end where that is near. One that is dropped before is reset, and after a thousand of these HTTP/2
/// takes the connection for an attack and ends it, with everything else on it.
async fn run_out(mut stream: Streaming<BodyPart>) {
    let mut left = RUN_OUT_BYTES;
    let ended = tokio::time::timeout(RUN_OUT, async {
        while let Ok(Some(part)) = stream.message().await {
            if let Some(body_part::Part::Chunk(chunk)) = part.part {
                match left.checked_sub(chunk.len()) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        }
    });
    // Whether it came in time is nothing to the reader, who has what was wanted.
    let _ = ended.await;
}

/// What of a chunk that begins at `at` lies beyond what is done.
fn beyond(chunk: &Bytes, at: u64, done: u64) -> Bytes {
    chunk.slice(cut(chunk.len(), done.saturating_sub(at))..)
}

fn cut(len: usize, most: u64) -> usize {
    usize::try_from(most).map_or(len, |most| most.min(len))
}

fn reason(link: &Link, status: &tonic::Status) -> String {
    match link.failed::<()>(status) {
        Attempt::Refused(refusal) => refusal.why,
        Attempt::NotSent(why) | Attempt::Lost(why) => why,
        Attempt::Done(()) => "it stopped".to_owned(),
    }
}

pub(crate) fn odd(what: &str) -> Refusal {
    Refusal::new(
        ErrorKind::Internal,
        format!("the server's answer is none to a question about {what}"),
    )
}
