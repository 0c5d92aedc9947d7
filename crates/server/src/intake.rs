//! A message's body on its way from a client's connection into the store, chunk by chunk.
//!
//! Must never block the async threads with a file, nor leave anything behind when the client goes
//! away: what is not finished is dropped, and its file with it.

use grapevine_model::{ErrorKind, Refusal};
use grapevine_store::{INLINE_BODY_MAX_BYTES, Stage};

use crate::body_source::blocking;
use crate::core_task::{CoreHandle, HeldStage, measured};

/// A body that comes in.
pub(crate) struct Intake {
    core: CoreHandle,
    stage: Stage,
    len_bytes: u64,
    most_bytes: u64,
}

impl Intake {
    /// Of at most so many octets.
    pub(crate) fn new(core: &CoreHandle, most_bytes: u64) -> Self {
        Self {
            core: core.clone(),
            stage: core.store().stage(),
            len_bytes: 0,
            most_bytes,
        }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// The message is too long, or there is no room for it.
    pub(crate) async fn take(
        mut self,
        chunk: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Self, Refusal> {
        self.len_bytes = self.len_bytes.saturating_add(chunk.as_ref().len() as u64);
        if self.len_bytes > self.most_bytes {
            let most_bytes = self.most_bytes;
            return Err(Refusal::new(
                ErrorKind::TooLarge,
                format!("the message is longer than this server takes ({most_bytes} bytes)"),
            ));
        }
        let mut stage = self.stage;
        // What stays in memory is not worth a way to another thread and back.
        let written = if self.len_bytes <= INLINE_BODY_MAX_BYTES as u64 {
            stage.write(chunk.as_ref()).map(|()| stage)
        } else {
            blocking(move || stage.write(chunk.as_ref()).map(|()| stage)).await?
        };
        let stage = written.map_err(|error| not_stored(&error))?;
        Ok(Self { stage, ..self })
    }

    /// All of it came: a large one is durable in the spool now.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) async fn finish(self) -> Result<HeldStage, Refusal> {
        let (stage, core) = (self.stage, self.core);
        let held = if self.len_bytes <= INLINE_BODY_MAX_BYTES as u64 {
            stage.finish().map(|staged| core.hold(measured(staged)))
        } else {
            // Held from its first moment: the client may go away while the disk works.
            let finish = move || stage.finish().map(|staged| core.hold(measured(staged)));
            blocking(finish).await?
        };
        held.map_err(|error| not_stored(&error))
    }
}

fn not_stored(error: &std::io::Error) -> Refusal {
    tracing::warn!(%error, "a message could not be stored");
    Refusal::unavailable(format!("the message could not be stored here: {error}"))
}
