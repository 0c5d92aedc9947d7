//! A body read from another server, checked against its measure on the way.
//!
//! Must never give out the last bytes of a body whose digest is wrong.

use std::time::Duration;

use bytes::Bytes;
use grapevine_model::{BodyInfo, ErrorKind, MAX_MESSAGE_BYTES, MessageId, Refusal};
use grapevine_rpc::v1::{self, body_part::Part};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::body_source::{BodySource, REMOTE_CHUNKS_MAX};

/// A server that has the body begins to send it within this, and goes on within it.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// Opens a body at a server, on this server's own behalf.
///
/// # Errors
/// It is not there, or the server can't be reached.
pub(crate) async fn open(channel: Channel, message: MessageId) -> Result<BodySource, Refusal> {
    let request = v1::ReadBodyRequest {
        caller: None,
        // A server asks for itself, not for an inbox's owner.
        owner: String::new(),
        message: message.to_bytes().to_vec(),
        ..Default::default()
    };
    let mut client = grapevine_rpc::grapevine_client(channel);
    let opening = async {
        let mut parts = client.read_body(request).await?.into_inner();
        let head = parts.message().await?;
        Ok::<_, tonic::Status>((parts, head))
    };
    let (parts, head) = match tokio::time::timeout(SILENCE_LIMIT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
            return Err(Refusal::new(
                ErrorKind::NotFound,
                "the message is not there",
            ));
        }
        Ok(Err(status)) => return Err(lost(status.message())),
        Err(_) => return Err(lost("it did not answer")),
    };
    let Some(Part::Head(head)) = head.and_then(|part| part.part) else {
        return Err(lost("it did not begin with the measure"));
    };
    let body = BodyInfo {
        len: head.len,
        digest: head
            .digest
            .try_into()
            .map_err(|_| lost("its digest is none"))?,
    };
    if body.len > MAX_MESSAGE_BYTES {
        return Err(lost("it is too long for a message"));
    }
    let (sender, chunks) = mpsc::channel(REMOTE_CHUNKS_MAX);
    tokio::spawn(async move {
        if let Err(refusal) = copy(parts, body, &sender).await {
            // The reader may have gone away.
            let _ = sender.send(Err(refusal)).await;
        }
    });
    Ok(BodySource::remote(body, chunks))
}

async fn copy(
    mut parts: tonic::Streaming<v1::BodyPart>,
    body: BodyInfo,
    to: &mpsc::Sender<Result<Bytes, Refusal>>,
) -> Result<(), Refusal> {
    let mut hasher = blake3::Hasher::new();
    let mut left = body.len;
    while left > 0 {
        let part = match tokio::time::timeout(SILENCE_LIMIT, parts.message()).await {
            Ok(Ok(Some(part))) => part,
            Ok(Ok(None)) => return Err(lost("it ended too soon")),
            Ok(Err(status)) => return Err(lost(status.message())),
            Err(_) => return Err(lost("it stopped in the middle")),
        };
        let Some(Part::Chunk(chunk)) = part.part else {
            continue;
        };
        hasher.update(&chunk);
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| lost("it is longer than it said"))?;
        if left == 0 && *hasher.finalize().as_bytes() != body.digest {
            return Err(lost("its digest is wrong"));
        }
        if to.send(Ok(chunk)).await.is_err() {
            // Nobody reads it any more.
            return Ok(());
        }
    }
    Ok(())
}

fn lost(why: &str) -> Refusal {
    Refusal::unavailable(format!(
        "the message could not be read from another server: {why}"
    ))
}
