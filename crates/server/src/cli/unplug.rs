//! `grapevine unplug SERVER`: what would be lost, and what delayed, if that server
//! died now.
//!
//! "Safe" is only said when the server has itself answered: what it has alone,
//! nobody else can know (P7).

use std::time::Duration;

use grapevine_model::{QueueAnswer, QueueAsk, Refusal, Reply, Request, ServerName, UnplugView};
use serde_json::{Value, json};

use super::Globals;
use super::output::{count, print_json, printable, span};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// A server that takes longer is named as not asked.
const LIMIT: Duration = Duration::from_secs(5);

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct UnplugArgs {
    /// Its name.
    server: ServerName,
}

/// What all that answer say together.
#[derive(Debug, Default)]
struct Together {
    /// What the server says of itself; none if it can't be asked.
    itself: Option<UnplugView>,
    others: Vec<(ServerName, UnplugView)>,
    silent: Vec<(ServerName, String)>,
}

impl Together {
    fn is_safe(&self) -> bool {
        self.itself.as_ref().is_some_and(UnplugView::loses_nothing)
    }

    fn sum(&self, of: impl Fn(&UnplugView) -> u64) -> u64 {
        let views = self.others.iter().map(|(_, view)| of(view));
        views.fold(0, u64::saturating_add)
    }
}

/// Asks and prints; true when it is safe.
pub(super) async fn run(args: UnplugArgs, globals: &Globals) -> Result<bool, Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let ask = QueueAsk::Unplug {
        server: args.server.clone(),
    };
    let answers = session.user.ask_each(&Request::Queue(ask), LIMIT).await;
    let together = together(answers)?;
    match session.json {
        true => print_json(&as_json(&args.server, &together)),
        false => print(&args.server, &together),
    }
    Ok(together.is_safe())
}

fn together(answers: Vec<(ServerName, Result<Reply, Refusal>)>) -> Result<Together, Failure> {
    let mut together = Together::default();
    let mut refused = None;
    for (server, answer) in answers {
        match answer {
            Ok(Reply::Queue(QueueAnswer::Unplug(view))) if view.itself => {
                together.itself = Some(view);
            }
            Ok(Reply::Queue(QueueAnswer::Unplug(view))) => together.others.push((server, view)),
            Ok(_) => together.silent.push((server, odd().why)),
            Err(refusal) => {
                together.silent.push((server, refusal.why.clone()));
                refused = Some(refusal);
            }
        }
    }
    match refused {
        Some(refusal) if together.itself.is_none() && together.others.is_empty() => {
            Err(refusal.into())
        }
        Some(_) | None => Ok(together),
    }
}

fn print(server: &ServerName, together: &Together) {
    let Some(view) = &together.itself else {
        say(format_args!(
            "{server} can't be asked what it has alone. If it is gone for good:"
        ));
        let taken = together.sum(|view| view.messages_taken_over);
        say(format_args!(
            "  {} in its custody: the others deliver them",
            count(taken, "message", "messages")
        ));
        print_waiting(together);
        for registry in together
            .others
            .iter()
            .flat_map(|(_, v)| &v.registries_alone)
        {
            say(format_args!("  {registry} has no other holder: it is lost"));
        }
        print_silent(together);
        return;
    };
    if view.loses_nothing() {
        say(format_args!(
            "yes: nothing is on the disk of {server} alone"
        ));
    } else {
        say(format_args!("not now: {server} alone has"));
        if view.messages_alone > 0 {
            say(format_args!(
                "  {} accepted and not yet copied",
                count(view.messages_alone, "message", "messages")
            ));
        }
        for registry in &view.registries_alone {
            say(format_args!("  changes of {registry}, or all of it"));
        }
        if view.mailboxes_alone > 0 {
            let owners: Vec<String> = view.mailboxes_of.iter().map(ToString::to_string).collect();
            say(format_args!(
                "  mail in {}: {}{}",
                count(view.mailboxes_alone, "mailbox", "mailboxes"),
                printable(&owners.join(", ")),
                if view.mailboxes_alone > owners.len() as u64 {
                    ", ..."
                } else {
                    ""
                },
            ));
        }
    }
    if view.messages_delayed > 0 {
        say(format_args!(
            "{} would wait {} until another server delivers them",
            count(view.messages_delayed, "message", "messages"),
            span(view.take_over_ms)
        ));
    }
    print_waiting(together);
    print_silent(together);
}

fn print_waiting(together: &Together) {
    let waiting = together.sum(|view| view.recipients_waiting);
    if waiting > 0 {
        say(format_args!(
            "{} elsewhere can be served by it only",
            count(waiting, "recipient that waits", "recipients that wait")
        ));
    }
}

fn print_silent(together: &Together) {
    for (server, why) in &together.silent {
        say(format_args!(
            "{server} could not be asked: {}",
            printable(why)
        ));
    }
}

fn as_json(server: &ServerName, together: &Together) -> Value {
    let silent: Vec<Value> = together
        .silent
        .iter()
        .map(|(server, why)| json!({ "server": server, "why": why }))
        .collect();
    json!({
        "server": server,
        "safe": together.itself.as_ref().map(UnplugView::loses_nothing),
        "itself": together.itself,
        "taken_over_by_others": together.sum(|view| view.messages_taken_over),
        "recipients_waiting_for_it": together.sum(|view| view.recipients_waiting),
        "unreachable": silent,
    })
}
