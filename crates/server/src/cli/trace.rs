//! `grapevine trace MESSAGE`: asks all servers and puts together what each knows.
//!
//! A recipient's fate is what the server that knows most says: an inbox that has
//! the message counts before a custodian that has not yet heard of it. A server
//! that can't be asked is named, since it may know more.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_model::{ErrorKind, MessageId, Refusal, Reply, Request, ServerName, Trace};
use serde_json::{Value, json};

use super::Globals;
use super::output::{Table, count, print_json, printable, size, span};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// A server that takes longer is named as not asked.
const LIMIT: Duration = Duration::from_secs(2);

/// Which message.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceArgs {
    /// Its id: 32 hexadecimal digits.
    message: MessageId,
}

/// What all servers know together.
#[derive(Debug, Default)]
struct Merged {
    traces: Vec<Trace>,
    unreachable: Vec<(ServerName, String)>,
}

/// One recipient, as the server that knows most says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fate {
    state: String,
    reason: String,
    next_ms: Option<u64>,
    attempts: u32,
    told_by: ServerName,
}

/// Asks and prints.
pub(super) async fn run(args: TraceArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let request = Request::Trace {
        message: args.message,
    };
    let answers = session.user.ask_each(&request, LIMIT).await;
    let merged = merged(args.message, answers)?;
    if session.json {
        print_json(&as_json(args.message, &merged));
    } else {
        print(args.message, &merged);
    }
    Ok(())
}

fn merged(
    message: MessageId,
    answers: Vec<(ServerName, Result<Reply, Refusal>)>,
) -> Result<Merged, Failure> {
    let mut merged = Merged::default();
    let mut refused = None;
    for (server, answer) in answers {
        match answer {
            Ok(Reply::Trace(trace)) => merged.traces.push(*trace),
            Ok(_) => merged.unreachable.push((server, odd().why)),
            Err(refusal) => match refusal.kind {
                ErrorKind::NotFound => {}
                ErrorKind::NotAllowed | ErrorKind::NotAuthenticated => {
                    merged.unreachable.push((server, refusal.why.clone()));
                    refused = Some(refusal);
                }
                ErrorKind::Invalid
                | ErrorKind::Conflict
                | ErrorKind::TooLarge
                | ErrorKind::Unavailable
                | ErrorKind::Unknown
                | ErrorKind::Internal => merged.unreachable.push((server, refusal.why)),
            },
        }
    }
    merged.traces.sort_by(|a, b| a.server.cmp(&b.server));
    if !merged.traces.is_empty() {
        return Ok(merged);
    }
    if let Some(refusal) = refused {
        return Err(refusal.into());
    }
    Err(match merged.unreachable.first() {
        None => Refusal::new(
            ErrorKind::NotFound,
            format!("no server knows the message {message}"),
        ),
        Some((server, why)) => Refusal::unavailable(format!(
            "the servers that answer do not know the message {message}; {server} can't be asked: {why}"
        )),
    }
    .into())
}

impl Merged {
    /// Each recipient's fate, by name.
    fn fates(&self) -> BTreeMap<String, Fate> {
        let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
        for trace in &self.traces {
            for recipient in &trace.recipients {
                let fate = Fate {
                    state: recipient.state.clone(),
                    reason: recipient.reason.clone(),
                    next_ms: recipient.next_ms,
                    attempts: recipient.attempts,
                    told_by: trace.server.clone(),
                };
                let known = fates.get(&recipient.name.key());
                if known.is_none_or(|known| knows_more(&fate, known)) {
                    fates.insert(recipient.name.key(), fate);
                }
            }
        }
        fates
    }

    /// Servers that have the body.
    fn copies(&self) -> Vec<&ServerName> {
        self.traces
            .iter()
            .filter(|trace| trace.body.is_some())
            .map(|trace| &trace.server)
            .collect()
    }
}

/// A later state counts before an earlier one; of two that wait, the one that tries.
fn knows_more(new: &Fate, known: &Fate) -> bool {
    let rank = |fate: &Fate| match fate.state.as_str() {
        "deposited" => 4,
        "expanded" | "forwarded" => 3,
        "reported" => 2,
        _ => u8::from(fate.next_ms.is_some()),
    };
    rank(new) > rank(known)
}

fn print(message: MessageId, merged: &Merged) {
    let first = |field: fn(&Trace) -> Option<String>| merged.traces.iter().find_map(field);
    say(format_args!("message {message}"));
    if let Some(path) = first(|trace| Some(trace.return_path.as_ref()?.to_string())) {
        say(format_args!("  from     {}", printable(&path)));
    }
    if let Some(length) = first(|trace| Some(size(trace.body?.len))) {
        say(format_args!("  size     {length}"));
    }
    let copies: Vec<String> = merged
        .copies()
        .into_iter()
        .map(ToString::to_string)
        .collect();
    say(format_args!(
        "  body     {}",
        match copies.len() {
            0 => "on no server that answers".to_owned(),
            number => format!(
                "{}: {}",
                count(number as u64, "copy", "copies"),
                copies.join(", ")
            ),
        }
    ));
    say("");
    let mut table = Table::new(&["server", "is", "partner", "references"]);
    for trace in &merged.traces {
        table.row([
            trace.server.to_string(),
            trace.roles.join(", "),
            trace
                .partner
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
            trace.references.to_string(),
        ]);
    }
    table.print();
    say("");
    let mut table = Table::new(&["recipient", "state", "tried", "next in", "why, or where"]);
    for (name, fate) in merged.fates() {
        table.row([
            name,
            fate.state,
            fate.attempts.to_string(),
            fate.next_ms.map_or_else(|| "-".to_owned(), span),
            fate.reason,
        ]);
    }
    table.print();
    for (server, why) in &merged.unreachable {
        say(format_args!(
            "{server} could not be asked and may know more: {}",
            printable(why)
        ));
    }
}

fn as_json(message: MessageId, merged: &Merged) -> Value {
    let servers: Vec<Value> = merged
        .traces
        .iter()
        .map(|trace| {
            json!({
                "server": trace.server,
                "roles": trace.roles,
                "partner": trace.partner,
                "return_path": trace.return_path,
                "size": trace.body.map(|body| body.len),
                "has_body": trace.body.is_some(),
                "references": trace.references,
                "recipients": trace.recipients,
            })
        })
        .collect();
    let recipients: Vec<Value> = merged
        .fates()
        .into_iter()
        .map(|(name, fate)| {
            json!({
                "name": name,
                "state": fate.state,
                "reason": fate.reason,
                "next_ms": fate.next_ms,
                "attempts": fate.attempts,
                "told_by": fate.told_by,
            })
        })
        .collect();
    let unreachable: Vec<Value> = merged
        .unreachable
        .iter()
        .map(|(server, why)| json!({ "server": server, "why": why }))
        .collect();
    json!({
        "message": message,
        "copies": merged.copies(),
        "servers": servers,
        "recipients": recipients,
        "unreachable": unreachable,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::out::Exit;
    use grapevine_model::TraceRecipient;

    fn message() -> MessageId {
        MessageId::from_u128(7)
    }

    fn trace(
        server: &str,
        state: &str,
        next_ms: Option<u64>,
    ) -> (ServerName, Result<Reply, Refusal>) {
        let server: ServerName = server.parse().unwrap();
        let trace = Trace {
            message: message(),
            server: server.clone(),
            roles: vec!["custodian".into()],
            partner: None,
            return_path: None,
            body: None,
            references: 0,
            recipients: vec![TraceRecipient {
                name: "needham@pa.example".parse().unwrap(),
                state: state.into(),
                reason: String::new(),
                next_ms,
                attempts: 1,
            }],
        };
        (server, Ok(Reply::Trace(Box::new(trace))))
    }

    fn refused(kind: ErrorKind) -> (ServerName, Result<Reply, Refusal>) {
        ("s9".parse().unwrap(), Err(Refusal::new(kind, "why")))
    }

    #[test]
    fn the_server_that_knows_most_is_believed_whoever_answers_first() {
        for answers in [
            vec![
                trace("s1", "waiting", Some(5)),
                trace("s2", "deposited", None),
            ],
            vec![
                trace("s2", "deposited", None),
                trace("s1", "waiting", Some(5)),
            ],
        ] {
            let merged = merged(message(), answers).unwrap();
            let fates = merged.fates();
            assert_eq!(fates["needham@pa.example"].state, "deposited");
        }
        let answers = vec![
            trace("s1", "waiting", None),
            trace("s2", "waiting", Some(5)),
        ];
        let fates = merged(message(), answers).unwrap().fates();
        assert_eq!(fates["needham@pa.example"].next_ms, Some(5));
    }

    #[test]
    fn nowhere_is_only_said_when_all_were_asked() {
        let exit = |answers| merged(message(), answers).unwrap_err().exit;
        assert_eq!(exit(vec![refused(ErrorKind::NotFound)]), Exit::NoSuchName);
        assert_eq!(
            exit(vec![
                refused(ErrorKind::NotFound),
                refused(ErrorKind::Unavailable)
            ]),
            Exit::Unavailable
        );
        assert_eq!(exit(vec![refused(ErrorKind::NotAllowed)]), Exit::NotAllowed);
        let some = merged(
            message(),
            vec![
                trace("s1", "waiting", None),
                refused(ErrorKind::Unavailable),
            ],
        )
        .unwrap();
        assert_eq!(some.unreachable.len(), 1);
    }
}
