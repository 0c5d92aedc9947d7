//! Reports (RFC 3464) that the core orders: composed, staged and handed in like any message.
//!
//! A report that can't be handed in is not lost: its recipients stay in custody and the core orders
//! it again.

use std::sync::Arc;

use grapevine_core::{ReportKind, ReportOrder, Staged};
use grapevine_model::{MessageId, Refusal};
use grapevine_store::Store;

use crate::body_source::blocking;
use crate::clock::wall_ms;
use crate::core_task::{CoreHandle, measured};
use crate::held_notice;
use crate::report::{self, HEADER_MAX_BYTES, Original, Reporter, WHOLE_MAX_BYTES};

/// Composes the report and hands it in.
pub(crate) async fn hand_in(handle: CoreHandle, order: ReportOrder) {
    let about = order.about;
    match try_hand_in(&handle, order).await {
        Ok(()) => {}
        Err(refusal) => {
            tracing::warn!(%about, %refusal, "a report could not be handed in; it will be tried again");
        }
    }
}

async fn try_hand_in(handle: &CoreHandle, order: ReportOrder) -> Result<(), Refusal> {
    let store = Arc::clone(handle.store());
    let server = handle.server().clone();
    let hostname = handle.hostname().to_owned();
    let mut submission = order.submission.clone();
    let original = beginning(handle, order.about, order.full).await;
    let staged = blocking(move || {
        let reporter = Reporter {
            server: &server,
            hostname: &hostname,
        };
        let original = match &original {
            None => Original::Missing,
            Some((bytes, Extent::Beginning)) => Original::Beginning(bytes),
            Some((bytes, Extent::Whole)) => Original::Whole(bytes),
        };
        let bytes = match &order.kind {
            ReportKind::Delivery | ReportKind::Delay { .. } => {
                report::compose(&order, reporter, original, wall_ms())
            }
            ReportKind::Held { group, post } => {
                held_notice::compose(&order, (group, post), reporter, original, wall_ms())
            }
        };
        stage(&store, &bytes)
    })
    .await??;
    submission.body = staged.body;
    handle.submit(submission, staged).await.map(|_| ())
}

enum Extent {
    Beginning,
    Whole,
}

async fn beginning(
    handle: &CoreHandle,
    message: MessageId,
    full: bool,
) -> Option<(Vec<u8>, Extent)> {
    // A report goes out without the original rather than not at all.
    let mut source = handle.open_body(message).await.ok()??;
    let (limit, extent) = if full && source.len_bytes() <= WHOLE_MAX_BYTES as u64 {
        (WHOLE_MAX_BYTES, Extent::Whole)
    } else {
        (HEADER_MAX_BYTES, Extent::Beginning)
    };
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(chunk) = source.chunk().await.ok()?
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(limit);
    Some((bytes, extent))
}

fn stage(store: &Store, bytes: &[u8]) -> Result<Staged, Refusal> {
    let mut stage = store.stage();
    stage
        .write(bytes)
        .and_then(|()| stage.finish())
        .map(measured)
        .map_err(|error| Refusal::unavailable(format!("a report could not be stored: {error}")))
}
