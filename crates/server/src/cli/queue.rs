//! `grapevine queue`: what waits at each server, why, and until when; and what an
//! operator can do about it.
//!
//! Each server has its own queue, and all are asked at once. One that can't be asked
//! is named: its queue may have more.

use std::time::Duration;

use grapevine_model::{
    DeadLetter, DeadLetterChange, ErrorKind, MessageId, Name, QueueAnswer, QueueAsk, QueueChange,
    QueueItem, Refusal, Reply, Request, ServerName,
};
use serde_json::{Value, json};

use super::Globals;
use super::output::{Table, count, print_json, printable, size, span};
use super::session::{Need, Session, odd};
use crate::out::{Exit, Failure, say};

/// A server that takes longer is named as not asked.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Rows asked for at a time.
const PAGE: u32 = 200;

/// What waits, and what to do about it.
#[derive(Debug, clap::Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// Only the recipients of this message.
    #[arg(long)]
    message: Option<MessageId>,
}

/// What to do about it.
#[derive(Debug, clap::Subcommand)]
enum QueueCommand {
    /// List the recipients that wait, with reasons and next times (the default).
    List,
    /// List the other mail systems that there is mail for: how much, when they are tried next, and why not yet.
    Destinations,
    /// Try a message, or all of them, now.
    Retry {
        /// Which; all without it.
        message: Option<MessageId>,
    },
    /// Do not deliver a message until it is released; nor give it up.
    Hold {
        /// Which.
        message: MessageId,
    },
    /// Deliver what was held.
    Release {
        /// Which; all without it.
        message: Option<MessageId>,
    },
    /// Give a message up, and explain that to its sender.
    Refuse {
        /// Which.
        message: MessageId,
    },
    /// Give a message up, and say nothing.
    Drop {
        /// Which.
        message: MessageId,
    },
    /// List the dead letters: reports that led nowhere.
    Dead,
    /// Deliver a dead letter after all.
    Resubmit {
        /// Which.
        message: MessageId,
        /// To somebody else than it was for.
        #[arg(long)]
        to: Option<Name>,
    },
    /// Forget a dead letter.
    Forget {
        /// Which.
        message: MessageId,
    },
}

/// Carries it out.
pub(super) async fn run(args: QueueArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let change = |message, change| QueueAsk::Change { message, change };
    let letter = |message, change| QueueAsk::DeadLetter { message, change };
    match args.command.unwrap_or(QueueCommand::List) {
        QueueCommand::List => list(&session, args.message).await,
        QueueCommand::Destinations => destinations(&session).await,
        QueueCommand::Retry { message } => {
            let ask = change(message, QueueChange::Retry);
            done(&session, ask, message, "tried now").await
        }
        QueueCommand::Hold { message } => {
            let ask = change(Some(message), QueueChange::Hold);
            done(&session, ask, Some(message), "held").await
        }
        QueueCommand::Release { message } => {
            let ask = change(message, QueueChange::Release);
            done(&session, ask, message, "released").await
        }
        QueueCommand::Refuse { message } => {
            let ask = change(Some(message), QueueChange::Refuse);
            let what = "given up; its sender is told";
            done(&session, ask, Some(message), what).await
        }
        QueueCommand::Drop { message } => {
            let ask = change(Some(message), QueueChange::Drop);
            done(&session, ask, Some(message), "given up, unexplained").await
        }
        QueueCommand::Dead => dead(&session).await,
        QueueCommand::Resubmit { message, to } => {
            let ask = letter(message, DeadLetterChange::Resubmit { to });
            done(&session, ask, Some(message), "on its way again").await
        }
        QueueCommand::Forget { message } => {
            let ask = letter(message, DeadLetterChange::Drop);
            done(&session, ask, Some(message), "forgotten").await
        }
    }
}

/// The servers' answers, and those that could not be asked.
#[derive(Debug, Default)]
struct Answers {
    told: Vec<(ServerName, QueueAnswer)>,
    silent: Vec<(ServerName, String)>,
}

async fn ask_all(session: &Session, ask: QueueAsk) -> Result<Answers, Failure> {
    let mut answers = Answers::default();
    let mut refused: Option<Refusal> = None;
    for (server, answer) in session.user.ask_each(&Request::Queue(ask), LIMIT).await {
        match answer {
            Ok(Reply::Queue(answer)) => answers.told.push((server, answer)),
            Ok(_) => answers.silent.push((server, odd().why)),
            Err(refusal) => {
                answers.silent.push((server, refusal.why.clone()));
                let graver = refused
                    .as_ref()
                    .is_none_or(|known| known.kind == ErrorKind::Unavailable);
                if graver {
                    refused = Some(refusal);
                }
            }
        }
    }
    match refused {
        Some(refusal) if answers.told.is_empty() => Err(refusal.into()),
        Some(_) | None => Ok(answers),
    }
}

fn say_silent(silent: &[(ServerName, String)]) {
    for (server, why) in silent {
        say(format_args!(
            "{server} could not be asked and may have more: {}",
            printable(why)
        ));
    }
}

fn silent_json(silent: &[(ServerName, String)]) -> Vec<Value> {
    let one = |(server, why): &(ServerName, String)| json!({ "server": server, "why": why });
    silent.iter().map(one).collect()
}

/// Gathers all pages of all servers, in the order of their places.
async fn pages<T>(
    session: &Session,
    ask: impl Fn(Option<String>) -> QueueAsk,
    rows: impl Fn(QueueAnswer) -> Option<(Vec<T>, Option<String>)>,
    place: impl Fn(&T) -> &str,
) -> Result<(Vec<(ServerName, T)>, Vec<(ServerName, String)>), Failure> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let answers = ask_all(session, ask(after)).await?;
        let mut told = Vec::new();
        // Up to here every server has told all: what lies beyond comes with the next page.
        let mut until: Option<String> = None;
        for (server, answer) in answers.told {
            let Some((page, next)) = rows(answer) else {
                return Err(odd());
            };
            until = match (until, next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            told.extend(page.into_iter().map(|row| (server.clone(), row)));
        }
        if let Some(until) = &until {
            told.retain(|(_, row)| place(row) <= until.as_str());
        }
        told.sort_by(|a, b| place(&a.1).cmp(place(&b.1)));
        found.extend(told);
        match until {
            Some(until) => after = Some(until),
            None => return Ok((found, answers.silent)),
        }
    }
}

async fn list(session: &Session, message: Option<MessageId>) -> Result<(), Failure> {
    let ask = |after| QueueAsk::List {
        message,
        after,
        limit: PAGE,
    };
    let rows = |answer| match answer {
        QueueAnswer::Items { items, next } => Some((items, next)),
        _ => None,
    };
    let (found, silent) = pages(session, ask, rows, |item: &QueueItem| &item.place).await?;
    if session.json {
        let waiting: Vec<Value> = found
            .iter()
            .map(|(server, item)| told_by(server, item_json(item)))
            .collect();
        print_json(&json!({ "waiting": waiting, "unreachable": silent_json(&silent) }));
        return Ok(());
    }
    if found.is_empty() {
        say("nothing waits");
    } else {
        let header = [
            "message",
            "at",
            "recipient",
            "state",
            "tried",
            "next in",
            "why",
        ];
        let mut table = Table::new(&header);
        for (server, item) in &found {
            let recipient = &item.recipient;
            table.row([
                item.message.to_string(),
                server.to_string(),
                printable(&recipient.name.to_string()),
                recipient.state.clone(),
                recipient.attempts.to_string(),
                recipient.next_ms.map_or_else(|| "-".to_owned(), span),
                printable(&recipient.reason),
            ]);
        }
        table.print();
        say(count(
            found.len() as u64,
            "recipient waits",
            "recipients wait",
        ));
    }
    say_silent(&silent);
    Ok(())
}

fn told_by(server: &ServerName, mut row: Value) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.insert("server".into(), json!(server));
    }
    row
}

/// A row of the queue.
pub(crate) fn item_json(item: &QueueItem) -> Value {
    json!({
        "message": item.message,
        "recipient": item.recipient.name,
        "state": item.recipient.state,
        "reason": item.recipient.reason,
        "next_ms": item.recipient.next_ms,
        "attempts": item.recipient.attempts,
        "return_path": item.return_path,
        "accepted_ms": item.accepted_ms,
        "size": item.len,
        "held": item.held,
        "deputy": item.deputy,
    })
}

async fn destinations(session: &Session) -> Result<(), Failure> {
    let answers = ask_all(session, QueueAsk::Destinations).await?;
    let mut found = Vec::new();
    for (server, answer) in answers.told {
        let QueueAnswer::Destinations(all) = answer else {
            return Err(odd());
        };
        found.extend(all.into_iter().map(|view| (server.clone(), view)));
    }
    found.sort_by(|a, b| a.1.destination.cmp(&b.1.destination));
    if session.json {
        let rows = found
            .iter()
            .map(|(server, view)| told_by(server, json!(view)));
        let rows: Vec<Value> = rows.collect();
        print_json(&json!({ "destinations": rows, "unreachable": silent_json(&answers.silent) }));
        return Ok(());
    }
    if found.is_empty() {
        say("nothing waits for other mail systems");
    } else {
        let header = [
            "destination",
            "at",
            "messages",
            "recipients",
            "failed",
            "next in",
            "why",
        ];
        let mut table = Table::new(&header);
        for (server, view) in &found {
            let next = view.next_ms.map_or_else(|| "under way".to_owned(), span);
            table.row([
                printable(&view.destination),
                server.to_string(),
                view.messages.to_string(),
                view.recipients.to_string(),
                view.failures.to_string(),
                next,
                printable(&view.reason),
            ]);
        }
        table.print();
    }
    say_silent(&answers.silent);
    Ok(())
}

async fn dead(session: &Session) -> Result<(), Failure> {
    let ask = |after| QueueAsk::DeadLetters { after, limit: PAGE };
    let rows = |answer| match answer {
        QueueAnswer::DeadLetters { letters, next } => Some((letters, next)),
        _ => None,
    };
    let (found, silent) = pages(session, ask, rows, |letter: &DeadLetter| &letter.place).await?;
    if session.json {
        let letters: Vec<Value> = found
            .iter()
            .map(|(server, letter)| told_by(server, dead_letter_json(letter)))
            .collect();
        print_json(&json!({ "dead_letters": letters, "unreachable": silent_json(&silent) }));
        return Ok(());
    }
    if found.is_empty() {
        say("no dead letters");
    } else {
        let mut table = Table::new(&["message", "at", "for", "size", "why"]);
        for (server, letter) in &found {
            table.row([
                letter.message.to_string(),
                server.to_string(),
                printable(&letter.name.to_string()),
                size(letter.len),
                printable(&letter.reason),
            ]);
        }
        table.print();
    }
    say_silent(&silent);
    Ok(())
}

/// A dead letter.
pub(crate) fn dead_letter_json(letter: &DeadLetter) -> Value {
    json!({
        "message": letter.message,
        "for": letter.name,
        "reason": letter.reason,
        "since_ms": letter.since_ms,
        "size": letter.len,
    })
}

async fn done(
    session: &Session,
    ask: QueueAsk,
    message: Option<MessageId>,
    what: &str,
) -> Result<(), Failure> {
    let answers = ask_all(session, ask).await?;
    let mut changed = 0u64;
    for (_, answer) in &answers.told {
        match answer {
            QueueAnswer::Changed(number) => changed = changed.saturating_add(*number),
            _ => return Err(odd()),
        }
    }
    if let Some(message) = message.filter(|_| changed == 0) {
        if let Some((server, why)) = answers.silent.first() {
            return Err(Failure::unavailable(format_args!(
                "the servers that answer have nothing to change of {message}; {server} can't be asked: {why}"
            )));
        }
        return Err(Failure {
            exit: Exit::NoSuchName,
            why: format!("no server has {message} waiting so that this would change it"),
        });
    }
    if session.json {
        print_json(&json!({ "changed": changed, "unreachable": silent_json(&answers.silent) }));
    } else {
        say(format_args!(
            "{}: {what}",
            count(changed, "message", "messages")
        ));
        say_silent(&answers.silent);
    }
    Ok(())
}
