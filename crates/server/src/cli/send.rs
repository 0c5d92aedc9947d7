//! `grapevine send`: a message from stdin or a file; with `-t` in the place of
//! `sendmail -t`.
//!
//! The message has its id before the first server is asked, so a retry, also one by
//! hand with `--id`, is the same message.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use futures_util::stream::{StreamExt, iter};
use grapevine_model::{
    Envelope, EnvelopeRecipient, ErrorKind, MAX_MESSAGE_BYTES, MessageId, Name, Refusal, Request,
    ReturnContent,
};
use grapevine_user::{BodySource, SubmitError, new_message_id, wall_ms};
use serde_json::json;

use super::Globals;
use super::compose::{Stamping, before_the_dot, finished, recipients_of};
use super::output::print_json;
use super::session::{Need, Session};
use crate::out::{Failure, complain, say};

/// Recipients asked about at once.
const CHECKS_AT_ONCE: usize = 16;

/// Send a message.
#[derive(Debug, clap::Args)]
pub(crate) struct SendArgs {
    /// For whom: individuals and groups.
    #[arg(value_name = "RECIPIENT")]
    recipients: Vec<Name>,
    /// Take the recipients from the header (To, Cc, Bcc), as `sendmail -t` does.
    #[arg(short = 't')]
    from_header: bool,
    /// What it is about, if the text has no header.
    #[arg(short, long)]
    subject: Option<String>,
    /// In whose name: the speaker's own, an alias, or a group that the speaker owns.
    #[arg(short, long, value_name = "NAME")]
    from: Option<Name>,
    /// The sender's name for people.
    #[arg(short = 'F', value_name = "PHRASE")]
    phrase: Option<String>,
    /// With -t: a line with nothing but a dot does not end the message.
    #[arg(short = 'i')]
    ignore_dots: bool,
    /// For programs that call `sendmail`: `-oi` is `-i`; all others are taken and have no meaning.
    #[arg(short = 'o', value_name = "OPTION")]
    options: Vec<String>,
    /// The message, or its text; stdin if none is given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Send the octets exactly as they are: no header is added, no line end changed.
    #[arg(long)]
    as_is: bool,
    /// The id of an earlier try whose outcome is not known.
    #[arg(long, value_name = "MESSAGE")]
    id: Option<MessageId>,
}

/// Sends it.
pub(super) async fn run(args: SendArgs, globals: &Globals) -> Result<(), Failure> {
    if args.recipients.is_empty() && !args.from_header {
        return Err(Failure::usage(
            "for whom? name a recipient, or give -t to take them from the header",
        ));
    }
    let session = Session::open(globals, Need::Somebody).await?;
    let from = match &args.from {
        Some(from) => from.clone(),
        None => session.speaker()?,
    };
    let id = match args.id {
        Some(id) => id,
        None => new_message_id().map_err(Failure::new)?,
    };
    let (body, recipients) = message(&args, &from, id)?;
    if args.id.is_none() {
        check(&session, &recipients).await?;
    }
    let envelope = Envelope {
        return_path: Some(from),
        recipients: recipients
            .into_iter()
            .map(EnvelopeRecipient::from)
            .collect(),
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    let accepted = match session.user.submit(id, &envelope, &body).await {
        Ok(accepted) => accepted,
        Err(SubmitError::Refused(refusal)) => return Err(refusal.into()),
        Err(error @ SubmitError::Body(_)) => return Err(Failure::new(error)),
    };
    if session.json {
        print_json(&json!({
            "message": accepted.message,
            "copies": accepted.copies,
            "server": accepted.server,
        }));
    } else if !args.from_header {
        // In the place of sendmail nothing is said.
        say(format_args!("accepted as {}", accepted.message));
    }
    Ok(())
}

/// Names at once who does not exist. Who can't be asked about now is no reason to wait: the
/// message is accepted, and delivered or explained.
async fn check(session: &Session, recipients: &[Name]) -> Result<(), Failure> {
    let unknown: Vec<String> = iter(recipients)
        .map(|name| async move {
            let request = Request::CheckRecipient { name: name.clone() };
            match session.user.call(request).await {
                Err(refusal) if refusal.kind == ErrorKind::NotFound => Some(refusal.why),
                Ok(_) | Err(_) => None,
            }
        })
        .buffered(CHECKS_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(
            ErrorKind::NotFound,
            format!("nothing was sent: {}", unknown.join("; ")),
        )
        .into()),
    }
}

/// The body, and whom it is for.
fn message(
    args: &SendArgs,
    from: &Name,
    id: MessageId,
) -> Result<(BodySource, Vec<Name>), Failure> {
    if let (Some(file), true, false) = (&args.file, args.as_is, args.from_header) {
        // However long it is, it is never held in memory.
        let body = BodySource::file(file)
            .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?;
        return Ok((body, args.recipients.clone()));
    }
    let input = read(args.file.as_deref())?;
    let dots_are_text = args.ignore_dots
        || args.as_is
        || args.file.is_some()
        || args.options.iter().any(|option| option == "i");
    let input = match args.from_header && !dots_are_text {
        true => before_the_dot(&input),
        false => &input,
    };
    let mut recipients = args.recipients.clone();
    if args.from_header {
        for name in recipients_of(input).map_err(Failure::usage)? {
            if !recipients.contains(&name) {
                recipients.push(name);
            }
        }
        if recipients.is_empty() {
            return Err(Failure::usage("the header names no recipient"));
        }
    }
    if args.as_is {
        return Ok((BodySource::bytes(input), recipients));
    }
    let stamping = Stamping {
        id,
        from,
        from_phrase: args.phrase.as_deref(),
        to: &recipients,
        subject: args.subject.as_deref(),
        now_ms: wall_ms(),
    };
    Ok((BodySource::bytes(finished(input, &stamping)), recipients))
}

/// All of stdin or of a file, within the limit of a message.
fn read(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let most = MAX_MESSAGE_BYTES + 1;
    let result = match file {
        Some(file) => std::fs::File::open(file)
            .and_then(|opened| opened.take(most).read_to_end(&mut input))
            .map_err(|error| Failure::new(format_args!("{}: {error}", file.display()))),
        None => {
            if std::io::stdin().is_terminal() {
                complain("type the message; end it with Ctrl-D on a line of its own");
            }
            std::io::stdin()
                .lock()
                .take(most)
                .read_to_end(&mut input)
                .map_err(Failure::new)
        }
    };
    result?;
    if input.len() as u64 > MAX_MESSAGE_BYTES {
        return Err(Failure::new(format_args!(
            "the message is longer than {MAX_MESSAGE_BYTES} octets, the most that one may have"
        )));
    }
    Ok(input)
}
