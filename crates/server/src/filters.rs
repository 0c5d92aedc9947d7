//! Owners' filters, run for the core: a message's header is read, the script is run over it, and what it sends is composed and staged.
//!
//! Must never let a filter that can't be run hold a message up: then the message goes to the inbox, and a note says why. Nothing is
//! decided here; the core knows who waits, and sends what is staged, once.

use grapevine_core::{
    FilterOrder, FilterOut, FilterPlace, FilterWay, Filtered, Input, MissingFolder, OutKind,
    Staged, filter_message_id,
};
use grapevine_doors::sieve::limits::HEADER_BYTES;
use grapevine_doors::sieve::{
    Action, Header, IfMissing, Message, Outcome, Script, Sent, Way, guard,
};
use grapevine_model::Refusal;

use crate::body_source::blocking;
use crate::core_task::{CoreHandle, measured};
use crate::report::mail_date;

/// Runs a filter and tells the core what it wants.
pub(crate) async fn run(handle: CoreHandle, order: FilterOrder) {
    let ticket = order.ticket;
    let message = order.message;
    let filtered = match try_run(&handle, order).await {
        Ok(filtered) => filtered,
        Err(refusal) => {
            tracing::warn!(%message, %refusal, "a filter could not be run; the message goes to the inbox");
            Filtered {
                ticket,
                places: vec![FilterPlace::inbox()],
                out: Vec::new(),
                rejected: None,
                notes: Vec::new(),
            }
        }
    };
    metrics::counter!("grapevine_filters_run_total").increment(1);
    handle.input(Input::Filtered(Box::new(filtered))).await;
}

async fn try_run(handle: &CoreHandle, order: FilterOrder) -> Result<Filtered, Refusal> {
    let head = beginning(handle, &order).await?;
    // Some tens of milliseconds at worst: not on a thread that serves connections.
    let (order, outcome) = blocking(move || {
        let outcome = decide(&order, &head);
        (order, outcome)
    })
    .await?;
    let mut filtered = Filtered {
        ticket: order.ticket,
        places: Vec::new(),
        out: Vec::new(),
        rejected: None,
        notes: outcome.notes,
    };
    for (number, action) in (0u32..).zip(outcome.actions) {
        let (to, kind, staged) = match action {
            Action::Keep { flags } => {
                filtered.places.push(FilterPlace {
                    flags,
                    ..FilterPlace::inbox()
                });
                continue;
            }
            Action::FileInto {
                path,
                flags,
                if_missing,
            } => {
                filtered.places.push(FilterPlace {
                    path,
                    flags,
                    if_missing: match if_missing {
                        IfMissing::Inbox => MissingFolder::Inbox,
                        IfMissing::Create => MissingFolder::Create,
                    },
                });
                continue;
            }
            Action::Reject { reason } => {
                filtered.rejected = Some(reason);
                continue;
            }
            Action::Redirect { to } => {
                let staged = stage_redirected(handle, &order).await;
                (to, OutKind::Redirect, staged)
            }
            Action::Vacation(answer) => {
                // Of the message's time, so that the answer made again is the same one.
                let id = filter_message_id(order.message, order.inbox, number);
                let date = mail_date(order.message.time.wall_ms());
                let bytes = answer.compose(Sent {
                    id: &format!("{id}@{}", handle.hostname()),
                    date: &date,
                });
                let staged = stage(handle, vec![bytes.into()]).await;
                let kind = OutKind::Answer {
                    handle: answer.handle.clone(),
                    days: answer.days,
                };
                (answer.to.clone(), kind, staged)
            }
        };
        match staged {
            Ok(staged) => filtered.out.push(FilterOut {
                number,
                to,
                kind,
                staged,
            }),
            Err(refusal) => {
                // All or nothing: else a message would be neither sent on nor kept.
                for out in filtered.out {
                    handle.store().discard(out.staged.token);
                }
                return Err(refusal);
            }
        }
    }
    Ok(filtered)
}

/// What the script says. A script that is not understood (it was put by a newer release, or by hand) keeps everything.
fn decide(order: &FilterOrder, head: &[u8]) -> Outcome {
    let script = match Script::compile(order.script.as_str().as_bytes()) {
        Ok(script) => script,
        Err(mistake) => return Outcome::kept(format!("it can't be run: {mistake}")),
    };
    let header = Header::parse(head);
    script.run(Message {
        header: &header,
        size: order.body.len,
        from: order.return_path.as_ref(),
        to: &order.recipient,
        way: match order.way {
            FilterWay::Direct => Way::Direct,
            FilterWay::List => Way::List,
        },
        own: &order.own,
        folders: &order.folders,
    })
}

async fn beginning(handle: &CoreHandle, order: &FilterOrder) -> Result<Vec<u8>, Refusal> {
    let mut source = open(handle, order).await?;
    let mut head = Vec::new();
    while head.len() < HEADER_BYTES
        && let Some(chunk) = source.chunk().await?
    {
        head.extend_from_slice(&chunk);
    }
    head.truncate(HEADER_BYTES);
    Ok(head)
}

async fn open(
    handle: &CoreHandle,
    order: &FilterOrder,
) -> Result<crate::body_source::BodySource, Refusal> {
    handle
        .open_body(order.message)
        .await?
        .ok_or_else(|| Refusal::unavailable("the body is not here"))
}

/// The message as it was, with one line in front that says who has sent it on.
async fn stage_redirected(handle: &CoreHandle, order: &FilterOrder) -> Result<Staged, Refusal> {
    let by = order.own.first().unwrap_or(&order.recipient);
    let mut source = open(handle, order).await?;
    let mut stage = handle.store().stage();
    let mut chunk = Some(bytes::Bytes::from(guard(by)));
    while let Some(bytes) = chunk {
        stage = blocking(move || stage.write(&bytes).map(|()| stage))
            .await?
            .map_err(unstored)?;
        chunk = source.chunk().await?;
    }
    blocking(move || stage.finish().map(measured))
        .await?
        .map_err(unstored)
}

async fn stage(handle: &CoreHandle, pieces: Vec<bytes::Bytes>) -> Result<Staged, Refusal> {
    let mut stage = handle.store().stage();
    blocking(move || {
        for piece in &pieces {
            stage.write(piece)?;
        }
        stage.finish().map(measured)
    })
    .await?
    .map_err(unstored)
}

fn unstored(error: std::io::Error) -> Refusal {
    Refusal::unavailable(format!("what a filter sends could not be stored: {error}"))
}
