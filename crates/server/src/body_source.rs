//! A body being read, wherever it is: from this server's disk or from another server.
//!
//! Must never give out the last bytes of a body whose digest is wrong; both kinds check it before.

use std::io::Read;

use bytes::Bytes;
use grapevine_doors::Via;
use grapevine_model::{BodyInfo, ListCopy, Refusal};
use grapevine_store::BodyReader;
use tokio::sync::mpsc;

/// What is read and sent in one go: small enough to be fair, large enough to be fast.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that another server may be ahead of the reader.
pub(crate) const REMOTE_CHUNKS_MAX: usize = 4;

/// A body, chunk by chunk.
pub(crate) struct BodySource {
    len_bytes: u64,
    digest: [u8; 32],
    from: From,
    /// What stands in front of the body and is yet to be given out.
    before: Option<Bytes>,
    /// What changes its header on the way out.
    via: Option<Via>,
    /// How many octets are left out at the start.
    skip_bytes: u64,
}

enum From {
    /// This server's disk; none when all of it was read.
    Local(Option<BodyReader>),
    /// Another server: a task feeds it and has checked it.
    Remote(mpsc::Receiver<Result<Bytes, Refusal>>),
    /// The same, with the first piece.
    Proved(Option<Bytes>, mpsc::Receiver<Result<Bytes, Refusal>>),
}

impl BodySource {
    /// From this server's disk.
    pub(crate) fn local(reader: BodyReader) -> Self {
        Self {
            len_bytes: reader.len(),
            digest: reader.digest(),
            from: From::Local(Some(reader)),
            before: None,
            via: None,
            skip_bytes: 0,
        }
    }

    /// From another server.
    pub(crate) fn remote(body: BodyInfo, chunks: mpsc::Receiver<Result<Bytes, Refusal>>) -> Self {
        Self {
            len_bytes: body.len,
            digest: body.digest,
            from: From::Remote(chunks),
            before: None,
            via: None,
            skip_bytes: 0,
        }
    }

    /// From somebody who gives out the last piece when all was proved, and who may have given the first one already. What it
    /// measures is not told here.
    pub(crate) fn proved(
        first: Option<Bytes>,
        chunks: mpsc::Receiver<Result<Bytes, Refusal>>,
    ) -> Self {
        Self {
            len_bytes: 0,
            digest: [0; 32],
            from: From::Proved(first, chunks),
            before: None,
            via: None,
            skip_bytes: 0,
        }
    }

    /// As a copy of a list leaves for outside: with its fields in front, and from the list. Neither length nor
    /// digest is that of what comes.
    pub(crate) fn leaving(self, list: Option<&ListCopy>) -> Self {
        let via = list.map(|list| Via::new(list.list.clone()));
        Self {
            via,
            ..self.after(list)
        }
    }

    /// What a list adds, in front: of its length and of what comes, not of its digest.
    pub(crate) fn after(mut self, list: Option<&ListCopy>) -> Self {
        self.before = list.map(|list| Bytes::from(list.header()));
        self
    }

    /// Only what stands behind so many octets. Neither length nor digest is that of what comes.
    pub(crate) fn behind(self, skip_bytes: u64) -> Self {
        Self { skip_bytes, ..self }
    }

    /// Takes what stands in front, for those who send it by itself.
    pub(crate) fn take_before(&mut self) -> Bytes {
        self.before.take().unwrap_or_default()
    }

    /// Its length.
    pub(crate) fn len_bytes(&self) -> u64 {
        let before = self.before.as_ref().map_or(0, |before| before.len() as u64);
        self.len_bytes.saturating_add(before)
    }

    /// Its BLAKE3 digest.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// All of it, where it is in memory and was checked.
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        match &self.from {
            From::Local(Some(reader)) => reader.inline(),
            From::Local(None) | From::Remote(_) | From::Proved(..) => None,
        }
    }

    /// The next piece; none after the last.
    ///
    /// # Errors
    /// Damage, or the other server was lost on the way: what was given out is not the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some(mut chunk) = self.next_chunk().await? else {
                return Ok(None);
            };
            let skipped = usize::try_from(self.skip_bytes)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            self.skip_bytes -= skipped as u64;
            let rest = chunk.split_off(skipped);
            if !rest.is_empty() || skipped == 0 {
                return Ok(Some(rest));
            }
        }
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        if let Some(before) = self.before.take() {
            return Ok(Some(before));
        }
        loop {
            let piece = self.piece().await?;
            let Some(via) = &mut self.via else {
                return Ok(piece);
            };
            let changed = match &piece {
                Some(piece) => via.pass(piece),
                None => via.end(),
            };
            if !changed.is_empty() {
                return Ok(Some(changed.into()));
            }
            if piece.is_none() {
                return Ok(None);
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        match &mut self.from {
            From::Remote(chunks) => chunks.recv().await.transpose(),
            From::Proved(first, chunks) => match first.take() {
                Some(first) => Ok(Some(first)),
                None => chunks.recv().await.transpose(),
            },
            From::Local(held) => {
                let Some(reader) = held.take() else {
                    return Ok(None);
                };
                if let Some(bytes) = reader.inline() {
                    return Ok((!bytes.is_empty()).then(|| Bytes::copy_from_slice(bytes)));
                }
                let (reader, chunk) = blocking(move || read_chunk(reader)).await??;
                // A reader is only given back while there is more.
                *held = reader;
                Ok(chunk)
            }
        }
    }
}

/// Runs something that reads a disk away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::unavailable(format!("this server is stopping: {error}")))
}

type Read1 = (Option<BodyReader>, Option<Bytes>);

fn read_chunk(mut reader: BodyReader) -> Result<Read1, Refusal> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let read = (&mut reader)
        .take(CHUNK_BYTES as u64)
        .read_to_end(&mut chunk)
        .map_err(|error| {
            tracing::error!(%error, "a body on this server's disk can't be read");
            Refusal::new(
                grapevine_model::ErrorKind::Internal,
                format!("a body on this server's disk can't be read: {error}"),
            )
        })?;
    Ok(if read == 0 {
        (None, None)
    } else {
        (Some(reader), Some(chunk.into()))
    })
}
