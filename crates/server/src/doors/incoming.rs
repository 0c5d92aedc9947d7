//! A message on its way from a client into the store.
//!
//! Must never block the async threads with a file, nor leave anything behind when the client goes away: what is not handed in is
//! dropped, and its file with it.

use std::io;

use grapevine_core::Staged;
use grapevine_doors::smtp;
use grapevine_model::{Envelope, Hlc, MessageId, OriginId, Speaker, Submission};
use grapevine_store::INLINE_BODY_MAX_BYTES;

use super::backend::{Backend, BodyStage, Held};
use super::envelope::envelope;
use crate::clock::wall_ms;
use crate::report::mail_date;

/// A message that comes in.
pub(super) struct Incoming<S> {
    id: MessageId,
    envelope: Option<Envelope>,
    len_bytes: usize,
    body: Result<S, Lost>,
}

/// Why a message can't be handed in though all of it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// No room.
    DiskFull,
    /// Something else, told in the log.
    Broken,
}

impl<S: BodyStage> Incoming<S> {
    /// Begins with the trace field.
    ///
    /// The message's id is drawn here, as a client's would be, so that the id in the field is the one that `trace` knows.
    pub(super) fn begin(stage: S, given: &smtp::Envelope, speaker: &Speaker) -> Self {
        let now_ms = wall_ms();
        let (id, body) = match getrandom::u64() {
            Ok(random) => (message_id(now_ms, random), Ok(stage)),
            Err(error) => {
                tracing::error!(%error, "the system gives no random bits");
                (message_id(now_ms, 0), Err(Lost::Broken))
            }
        };
        let envelope = envelope(given, speaker)
            .inspect_err(|no| tracing::error!(why = no.0, "an address that had its yes is no name"))
            .ok();
        let mut incoming = Self {
            id,
            envelope,
            len_bytes: 0,
            body,
        };
        let field = given.trace.received(&id.to_string(), &mail_date(now_ms));
        incoming.take(field.as_bytes());
        incoming
    }

    /// A mail that a mail program puts into a folder itself: nothing is added to it.
    pub(super) fn mail(stage: S) -> Self {
        let now_ms = wall_ms();
        let (id, body) = match getrandom::u64() {
            Ok(random) => (message_id(now_ms, random), Ok(stage)),
            Err(error) => {
                tracing::error!(%error, "the system gives no random bits");
                (message_id(now_ms, 0), Err(Lost::Broken))
            }
        };
        Self {
            id,
            envelope: None,
            len_bytes: 0,
            body,
        }
    }

    /// Whether another piece stays in memory, so that taking it doesn't wait for a disk.
    pub(super) fn fits_in_memory(&self, more_bytes: usize) -> bool {
        self.len_bytes + more_bytes <= INLINE_BODY_MAX_BYTES || self.body.is_err()
    }

    /// Takes a piece that fits in memory.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.len_bytes += piece.len();
        if let Ok(stage) = &mut self.body
            && let Err(error) = stage.write(piece)
        {
            self.body = Err(why(&error));
        }
    }

    /// Takes a piece that goes to a file.
    pub(super) async fn take_large(mut self, piece: Vec<u8>) -> Self {
        self.len_bytes += piece.len();
        self.body = match self.body {
            Err(lost) => Err(lost),
            Ok(mut stage) => away(move || stage.write(&piece).map(|()| stage)).await,
        };
        self
    }

    /// All of it came: a large one is durable in the spool now.
    pub(super) async fn finish<B: Backend>(
        self,
        core: &B,
        speaker: Speaker,
    ) -> Result<(Submission, Staged), Lost> {
        let (id, envelope) = (self.id, self.envelope.clone().ok_or(Lost::Broken)?);
        let staged = self.staged(core).await?;
        let submission = Submission {
            id: Some(id),
            speaker,
            envelope,
            body: staged.body,
            reports: None,
        };
        Ok((submission, staged))
    }

    /// The same of a mail for a folder: its id, and its body.
    pub(super) async fn finish_mail<B: Backend>(
        self,
        core: &B,
    ) -> Result<(MessageId, Staged), Lost> {
        let id = self.id;
        Ok((id, self.staged(core).await?))
    }

    async fn staged<B: Backend>(self, core: &B) -> Result<Staged, Lost> {
        let stage = self.body?;
        let held = if self.len_bytes <= INLINE_BODY_MAX_BYTES {
            let staged = stage.finish().map_err(|error| why(&error))?;
            Held::new(core.clone(), staged)
        } else {
            let core = core.clone();
            // Held from its first moment: the client may go away while the disk works.
            away(move || stage.finish().map(|staged| Held::new(core, staged))).await?
        };
        held.release().ok_or(Lost::Broken)
    }
}

fn message_id(now_ms: u64, random: u64) -> MessageId {
    MessageId {
        time: Hlc::at_ms(now_ms),
        origin: OriginId::client(random),
    }
}

/// Runs what waits for a disk away from the async threads.
async fn away<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Lost> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(why(&error)),
        // The runtime is stopping.
        Err(_) => Err(Lost::Broken),
    }
}

fn why(error: &io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            tracing::warn!(%error, "no room for a message");
            Lost::DiskFull
        }
        _ => {
            tracing::error!(%error, "a message can't be stored");
            Lost::Broken
        }
    }
}
