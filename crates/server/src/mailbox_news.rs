//! A client of the RPC door hears of changes in its own mailbox, as the doors for mail programs do.
//!
//! Must never run ahead of a slow client (who sees the last count only), nor go on for somebody whose login holds no more.

use std::time::Duration;

use grapevine_model::{ErrorKind, Request, Speaker};
use grapevine_rpc::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::client_calls::Proved;
use crate::core_task::CoreHandle;

/// A client that has heard nothing for so long is told that it is still listened for.
const STILL_HERE: Duration = Duration::from_secs(15);
/// A stream ends after so long, and its client shows its credentials anew when it goes on.
const STREAM_LIFE: Duration = Duration::from_secs(10 * 60);
/// Words that are said ahead of the client: the last count is all that matters.
const AHEAD: usize = 1;

/// The news of one's own mailbox.
pub(crate) fn follow(
    core: CoreHandle,
    proved: Proved,
    stop: CancellationToken,
) -> mpsc::Receiver<Result<v1::MailboxNews, Status>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut changes = core.mailboxes().watch(proved.who.incarnation);
    let told = async move {
        // The first word comes at once: from here on nothing is missed.
        loop {
            let news = v1::MailboxNews {
                changes: *changes.borrow_and_update(),
            };
            if sender.send(Ok(news)).await.is_err() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(STILL_HERE) => {}
                () = stop.cancelled() => return,
                () = sender.closed() => return,
            }
            let vouch = Request::Vouch {
                who: proved.who.clone(),
            };
            match core.request(Speaker::Operator, vouch).await {
                Err(refusal) if refusal.kind == ErrorKind::NotAuthenticated => {
                    // Whether it is heard is the client's affair.
                    let _ = sender.send(Err(Status::unauthenticated(refusal.why))).await;
                    return;
                }
                Ok(_) | Err(_) => {}
            }
        }
    };
    tokio::spawn(tokio::time::timeout(STREAM_LIFE, told));
    receiver
}
