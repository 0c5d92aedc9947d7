//! `grapevine replay`: deliver once more from the copies that servers keep after delivery.
//!
//! What is in an inbox stays there once, and what its owner has deleted stays deleted; what an inbox has
//! lost comes back. Must never say that nothing was there while a server could not be asked.

use std::time::{SystemTime, UNIX_EPOCH};

use grapevine_model::{MessageId, Name, QueueAnswer, QueueAsk, Reply, Request, ServerName};
use serde_json::json;

use super::Globals;
use super::output::{count, print_json, printable};
use super::queue::LIMIT;
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// What to deliver once more.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = true)]
pub(crate) struct ReplayArgs {
    /// One message.
    #[arg(group = "which", conflicts_with_all = ["since", "mailbox"])]
    message: Option<MessageId>,
    /// All whose delivery ended within this time: `90m`, `12h`, `2d`.
    #[arg(long, group = "which", value_name = "TIME", value_parser = span_ms)]
    since: Option<u64>,
    /// Only those that were for this one, and to nobody else.
    #[arg(long, group = "which", value_name = "NAME")]
    mailbox: Option<Name>,
    /// To this one, instead of those they were for.
    #[arg(long, value_name = "NAME")]
    to: Option<Name>,
}

fn span_ms(text: &str) -> Result<u64, String> {
    let wrong = || "write a time: 90m, 12h, 2d".to_owned();
    let unit_ms = match text.chars().last() {
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len() - 1).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

/// Asks all servers: each has what it had in custody.
pub(super) async fn run(args: ReplayArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let since_ms = args.since.map_or(0, |ago| now_ms.saturating_sub(ago));
    let mut replayed: u64 = 0;
    let mut silent: Vec<(ServerName, String)> = Vec::new();
    let mut after = None;
    loop {
        let ask = QueueAsk::Replay {
            message: args.message,
            since_ms,
            of: args.mailbox.clone(),
            to: args.to.clone(),
            after,
        };
        let mut refused = None;
        let mut asked = 0;
        // The servers go through their copies in the order of their ids, each a stretch at a time.
        let mut next: Option<MessageId> = None;
        for (server, answer) in session.user.ask_each(&Request::Queue(ask), LIMIT).await {
            match answer {
                Ok(Reply::Queue(QueueAnswer::Replayed {
                    replayed: more,
                    next: beyond,
                })) => {
                    asked += 1;
                    replayed = replayed.saturating_add(more);
                    next = match (next, beyond) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                Ok(_) => silent.push((server, odd().why)),
                Err(refusal) => {
                    silent.push((server, refusal.why.clone()));
                    refused = Some(refusal);
                }
            }
        }
        if let Some(refusal) = refused.filter(|_| asked == 0) {
            return Err(refusal.into());
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    silent.sort();
    silent.dedup();
    if session.json {
        let silent: Vec<_> = silent
            .iter()
            .map(|(server, why)| json!({ "server": server, "why": why }))
            .collect();
        print_json(&json!({ "replayed": replayed, "unreachable": silent }));
    } else {
        let messages = count(replayed, "message is", "messages are");
        say(format_args!("{messages} on the way again"));
        for (server, why) in &silent {
            say(format_args!(
                "{server} could not be asked and may have more: {}",
                printable(why)
            ));
        }
    }
    match (replayed, silent.is_empty()) {
        (0, true) => Err(Failure::from(grapevine_model::Refusal::new(
            grapevine_model::ErrorKind::NotFound,
            "no server keeps a copy of such a message (any more)",
        ))),
        (0, false) => Err(Failure::unavailable(
            "the servers that answer keep no copy of such a message",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(span_ms("90m"), Ok(5_400_000));
        assert_eq!(span_ms("2d"), Ok(172_800_000));
        for wrong in ["", "2", "h", "2 h", "-1h", "99999999999999999999d", "2w"] {
            assert!(span_ms(wrong).is_err(), "{wrong}");
        }
    }
}
