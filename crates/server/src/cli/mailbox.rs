//! `grapevine inbox` and `grapevine read`.
//!
//! A message stays in the inbox until it is deleted; `--delete` deletes it after all
//! of it has been written out, and the server's answer says that this is durable.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{StreamExt, iter};
use grapevine_model::{InboxListing, ListedMessage, MessageId, Name};
use grapevine_user::ReadError;
use mail_parser::{DateTime, MessageParser};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;

use super::Globals;
use super::output::{Table, count, print_json, printable, printable_lines, size};
use super::session::{Need, Session};
use crate::out::{Failure, complain, say};

/// Messages shown unless all are wanted.
const SHOWN: usize = 20;
/// Headers fetched at once.
const HEADS_AT_ONCE: usize = 8;
/// As much of a message as is read for its subject.
const HEAD_BYTES: u64 = 16 * 1024;
/// A longer message is not shown as text: it is written out with `--raw`.
const SHOWN_BYTES: u64 = 4 * 1024 * 1024;

/// Which inbox.
#[derive(Debug, clap::Args)]
pub(crate) struct InboxArgs {
    /// Whose; the speaker's own if nobody is named.
    name: Option<Name>,
    /// Show all messages, not only the latest.
    #[arg(long)]
    all: bool,
}

/// Which message.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadArgs {
    /// Its number as `grapevine inbox` shows it, or its id; the oldest if none is given.
    #[arg(value_name = "N|MESSAGE")]
    which: Option<String>,
    /// In whose inbox; the speaker's own if nobody is named.
    #[arg(long, value_name = "NAME")]
    of: Option<Name>,
    /// Delete it once it has been read.
    #[arg(long)]
    delete: bool,
    /// Write the octets of the message as they are.
    #[arg(long)]
    raw: bool,
}

/// Lists an inbox.
pub(super) async fn inbox(args: InboxArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let owner = owner(&session, args.name)?;
    let listing = session.user.inbox(&owner).await?;
    if session.json {
        print_json(&listing_json(&owner, &listing));
        return Ok(());
    }
    let total = listing.messages.len();
    let octets = listing.messages.iter().map(|listed| listed.len).sum();
    let skipped = match args.all {
        true => 0,
        false => total.saturating_sub(SHOWN),
    };
    let shown = listing.messages.get(skipped..).unwrap_or_default();
    let heads: Vec<Head> = iter(shown)
        .map(|listed| head(&session, &owner, listed))
        .buffered(HEADS_AT_ONCE)
        .collect()
        .await;
    let mut table = Table::new(&["N", "message", "size", "arrived", "from", "subject"]);
    for (at, (listed, head)) in shown.iter().zip(heads).enumerate() {
        table.row([
            (skipped + at + 1).to_string(),
            listed.message.to_string(),
            size(listed.len),
            date(listed.deposited_ms),
            head.from,
            head.subject,
        ]);
    }
    if total > 0 {
        table.print();
    }
    say(format_args!(
        "{}, {}{}",
        count(total as u64, "message", "messages"),
        size(octets),
        of_quota(&listing)
    ));
    if skipped > 0 {
        say(format_args!(
            "the {SHOWN} latest are shown; --all shows all"
        ));
    }
    warn_if_partial(&listing);
    Ok(())
}

/// Reads a message.
pub(super) async fn read(args: ReadArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let owner = owner(&session, args.of)?;
    let listing = session.user.inbox(&owner).await?;
    let listed = chosen(&listing, args.which.as_deref())?;
    let message = listed.message;
    if args.raw {
        let mut stdout = Stdout;
        session
            .user
            .read_body(&owner, message, &mut stdout)
            .await
            .map_err(failure)?;
    } else {
        if listed.len > SHOWN_BYTES {
            return Err(Failure::new(format_args!(
                "the message has {}: too long to be shown; write it to a file with --raw",
                size(listed.len)
            )));
        }
        let mut body = Vec::new();
        session
            .user
            .read_body(&owner, message, &mut body)
            .await
            .map_err(failure)?;
        show(&session, listed, &body);
    }
    warn_if_partial(&listing);
    if args.delete {
        // Not before all of it has left this process.
        io::stdout().flush().map_err(Failure::new)?;
        session.user.delete(&owner, &[message]).await?;
    }
    Ok(())
}

/// Stdout for the octets of a message. Writing blocks, and nobody else is waiting.
struct Stdout;

impl AsyncWrite for Stdout {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(io::stdout().lock().write(octets))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(io::stdout().lock().flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn owner(session: &Session, named: Option<Name>) -> Result<Name, Failure> {
    match named {
        Some(name) => Ok(name),
        None => session.speaker(),
    }
}

fn chosen<'a>(
    listing: &'a InboxListing,
    which: Option<&str>,
) -> Result<&'a ListedMessage, Failure> {
    let not_there = |what: &str| {
        Failure::from(grapevine_model::Refusal::new(
            grapevine_model::ErrorKind::NotFound,
            format!(
                "no message {what} in the inbox; it has {}",
                count(listing.messages.len() as u64, "message", "messages")
            ),
        ))
    };
    let Some(which) = which else {
        return listing.messages.first().ok_or_else(|| not_there("1"));
    };
    if let Ok(number) = which.parse::<usize>()
        && which.len() < 32
    {
        let at = number
            .checked_sub(1)
            .and_then(|at| listing.messages.get(at));
        return at.ok_or_else(|| not_there(which));
    }
    let id: MessageId = which.parse().map_err(|_| {
        Failure::usage(format_args!(
            "{which:?} is neither a number in the inbox nor a message id"
        ))
    })?;
    listing
        .messages
        .iter()
        .find(|listed| listed.message == id)
        .ok_or_else(|| not_there(which))
}

struct Head {
    from: String,
    subject: String,
}

/// Sender and subject; a message that can't be read now is listed all the same.
async fn head(session: &Session, owner: &Name, listed: &ListedMessage) -> Head {
    let read = session
        .user
        .read_head(owner, listed.message, HEAD_BYTES)
        .await;
    match read {
        Ok(octets) => {
            let parsed = MessageParser::default().parse_headers(octets.as_slice());
            let parsed = parsed.as_ref();
            Head {
                from: parsed
                    .and_then(|message| message.from()?.first()?.address.as_deref())
                    .unwrap_or_default()
                    .to_owned(),
                subject: parsed
                    .and_then(|message| message.subject())
                    .unwrap_or_default()
                    .to_owned(),
            }
        }
        Err(error) => Head {
            from: String::new(),
            subject: format!("({error})"),
        },
    }
}

fn show(session: &Session, listed: &ListedMessage, body: &[u8]) {
    let parsed = MessageParser::default().parse(body);
    let header = |name: &'static str| {
        let value = parsed.as_ref()?.header_raw(name)?;
        Some(value.trim().to_owned())
    };
    let subject = parsed.as_ref().and_then(|message| message.subject());
    let text = parsed
        .as_ref()
        .and_then(|message| message.body_text(0))
        .unwrap_or_default();
    if session.json {
        print_json(&json!({
            "message": listed.message,
            "size": listed.len,
            "deposited_ms": listed.deposited_ms,
            "from": header("From"),
            "to": header("To"),
            "date": header("Date"),
            "subject": subject,
            "text": text,
        }));
        return;
    }
    for name in ["From", "To", "Cc", "Date"] {
        if let Some(value) = header(name) {
            say(format_args!("{name}: {}", printable(&value)));
        }
    }
    if let Some(subject) = subject {
        say(format_args!("Subject: {}", printable(subject)));
    }
    say("");
    say(printable_lines(&text).trim_end_matches('\n'));
    let attached = parsed
        .as_ref()
        .map_or(0, |message| message.attachment_count());
    if attached > 0 {
        say("");
        say(format_args!(
            "({}; `grapevine read {} --raw` writes all of it)",
            count(attached as u64, "attachment", "attachments"),
            listed.message
        ));
    }
}

pub(crate) fn listing_json(owner: &Name, listing: &InboxListing) -> Value {
    let messages: Vec<Value> = listing
        .messages
        .iter()
        .map(|listed| {
            json!({
                "message": listed.message,
                "size": listed.len,
                "deposited_ms": listed.deposited_ms,
            })
        })
        .collect();
    json!({
        "name": owner,
        "incarnation": listing.incarnation.to_string(),
        "sites": listing.sites,
        "partial": listing.partial,
        "usage": listing.usage,
        "quota": listing.quota,
        "messages": messages,
    })
}

fn of_quota(listing: &InboxListing) -> String {
    let octets = listing.quota.octets.map(size);
    let messages = listing.quota.messages;
    let messages = messages.map(|most| count(most, "message", "messages"));
    let limits: Vec<String> = messages.into_iter().chain(octets).collect();
    if limits.is_empty() {
        String::new()
    } else {
        format!(" (quota: {})", limits.join(", "))
    }
}

fn warn_if_partial(listing: &InboxListing) {
    if listing.partial {
        complain("note: an inbox site can't be reached now and may have more messages");
    }
}

fn date(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(0);
    let at = DateTime::from_timestamp(seconds);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}Z",
        at.year, at.month, at.day, at.hour, at.minute
    )
}

fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Refused(refusal) => refusal.into(),
        error @ ReadError::Write(_) => Failure::new(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::out::Exit;
    use grapevine_model::Incarnation;

    #[test]
    fn a_message_is_chosen_by_number_or_id_and_a_wrong_choice_says_which() {
        let listed = |n: u128| ListedMessage {
            message: MessageId::from_u128(n),
            body: MessageId::from_u128(n),
            len: 1,
            deposited_ms: 0,
            list: None,
        };
        let listing = InboxListing {
            incarnation: Incarnation(1),
            messages: vec![listed(10), listed(20)],
            sites: Vec::new(),
            partial: false,
            usage: Default::default(),
            quota: Default::default(),
        };
        let id = |which| chosen(&listing, which).map(|listed| listed.message.to_u128());
        assert_eq!(id(None).unwrap(), 10);
        assert_eq!(id(Some("2")).unwrap(), 20);
        let text = MessageId::from_u128(20).to_string();
        assert_eq!(id(Some(&text)).unwrap(), 20);
        for (which, exit) in [
            ("0", Exit::NoSuchName),
            ("3", Exit::NoSuchName),
            ("00000000000000000000000000000099", Exit::NoSuchName),
            ("first", Exit::Usage),
        ] {
            assert_eq!(id(Some(which)).unwrap_err().exit, exit, "{which}");
        }
    }

    #[test]
    fn dates_are_in_universal_time() {
        assert_eq!(date(1_072_915_200_000), "2004-01-01 00:00Z");
        assert_eq!(date(0), "1970-01-01 00:00Z");
    }
}
