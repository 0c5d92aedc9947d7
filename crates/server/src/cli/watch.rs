//! `watch`: changes of a name, a group or a registry, as they come.
//!
//! Ends with the token by which it goes on later, at any server. Nothing is missed when a server
//! dies; something may be told twice.

use std::time::Duration;

use grapevine_model::{
    Changes, Course, ErrorKind, Happened, Refusal, Since, WatchEvent, WatchTarget,
};
use serde_json::{Value, json};

use super::Globals;
use super::output::printable;
use super::session::{Need, Session};
use crate::out::{Failure, complain, say};

/// Before all servers are asked again, when none could answer.
const PAUSE: Duration = Duration::from_secs(1);

/// From where on.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Go on after the token that an earlier watch ended with.
    #[arg(long, value_name = "TOKEN", conflicts_with = "from_beginning")]
    since: Option<String>,
    /// Tell first all that is there.
    #[arg(long)]
    from_beginning: bool,
    /// End when nothing more is there, instead of waiting for changes.
    #[arg(long)]
    once: bool,
}

/// Watches until Ctrl-C, or until there is nothing more to watch.
pub(super) async fn run(
    globals: &Globals,
    target: WatchTarget,
    args: WatchArgs,
) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let since = match args {
        WatchArgs {
            since: Some(token), ..
        } => Since::Token(token),
        WatchArgs {
            from_beginning: true,
            ..
        } => Since::Beginning,
        WatchArgs { .. } => Since::Now,
    };
    let mut watch = session.user.watch(target.clone(), since);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut waiting, mut told) = (false, false);
    let ended = loop {
        let batch = tokio::select! {
            batch = watch.next() => batch,
            _ = &mut interrupted => break Ok(()),
        };
        match batch {
            Ok(changes) => {
                (waiting, told) = (false, true);
                print_batch(session.json, &changes);
                if args.once && !changes.more && changes.course == Course::Continues {
                    break Ok(());
                }
            }
            Err(refusal) if refusal.kind == ErrorKind::Unavailable && !args.once => {
                if !std::mem::replace(&mut waiting, true) {
                    complain(format_args!("{refusal}; waiting"));
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = &mut interrupted => break Ok(()),
                }
            }
            Err(refusal) => break Err(refusal),
        }
    };
    if let Some(token) = watch.token().filter(|_| told) {
        if session.json {
            say(json!({ "token": token }));
        } else {
            say(format_args!("token {token}"));
        }
    }
    ended.map_err(|refusal: Refusal| refusal.into())
}

fn print_batch(as_json: bool, changes: &Changes) {
    if let Course::StartsOver { why } = &changes.course {
        if as_json {
            say(json!({ "event": "start-over", "why": why }));
        } else {
            say(format_args!("start over: {}", printable(why)));
        }
    }
    for event in &changes.events {
        if as_json {
            say(event_json(event));
        } else {
            say(event_text(event));
        }
    }
}

/// An event for programs.
pub(crate) fn event_json(event: &WatchEvent) -> Value {
    let mut value = match &event.what {
        Happened::Created { kind } => json!({ "event": "created", "kind": kind }),
        Happened::Deleted => json!({ "event": "deleted" }),
        Happened::Set { field, value } => {
            json!({ "event": "set", "field": field, "value": value })
        }
        Happened::Cleared { field } => json!({ "event": "cleared", "field": field }),
        Happened::Added { list, item } => json!({ "event": "added", "list": list, "item": item }),
        Happened::Removed { list, item } => {
            json!({ "event": "removed", "list": list, "item": item })
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("name".to_owned(), json!(event.name));
        let incarnation = event.incarnation.to_string();
        object.insert("incarnation".to_owned(), json!(incarnation));
        object.insert("stamp".to_owned(), json!(event.stamp.to_string()));
        object.insert("time_ms".to_owned(), json!(event.stamp.time.wall_ms()));
    }
    value
}

fn event_text(event: &WatchEvent) -> String {
    let name = match &event.name {
        Some(name) => name.to_string(),
        None => format!("an entry ({})", event.incarnation),
    };
    let what = match &event.what {
        Happened::Created { kind } => format!("is there ({kind:?})").to_lowercase(),
        Happened::Deleted => "is deleted".to_owned(),
        Happened::Set { field, value } => format!("{field}: {value}"),
        Happened::Cleared { field } => format!("{field}: none"),
        Happened::Added { list, item } => format!("{list} + {item}"),
        Happened::Removed { list, item } => format!("{list} - {item}"),
    };
    printable(&format!("{name}  {what}"))
}
