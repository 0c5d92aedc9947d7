//! `grapevine import`: mbox files and Maildirs into an inbox.
//!
//! Each message is submitted under an id that follows from the target and its
//! content, so that running an import again doubles nothing, also after a kill in
//! its middle. What can't be taken is named; the rest goes on.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use futures_util::stream::{FuturesUnordered, StreamExt};
use grapevine_model::{Envelope, ErrorKind, Name, ReturnContent};
use grapevine_user::import::{Found, Maildir, Mbox, Numbered, Numbering};
use grapevine_user::{GrapevineUser, LineEnds, Quoting, SubmitError, Transform, wall_ms};
use serde_json::json;
use tokio::sync::mpsc;

use super::Globals;
use super::output::{count, print_json};
use super::session::{Need, Session};
use crate::out::{Failure, complain, say};

/// Messages under way at once: enough for their waits for two disks to overlap.
const AT_ONCE: usize = 16;
/// Messages measured ahead of those.
const AHEAD: usize = 32;
/// Progress is written once per so many messages.
const PROGRESS_EVERY: u64 = 50;
/// Failures that are named one by one; after them only the sum.
const NAMED_FAILURES: u64 = 20;

/// From what.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImportCommand {
    /// One file with many messages.
    Mbox {
        /// The file.
        file: PathBuf,
        /// `>From ` lines lose one `>` (the file was written as mboxrd).
        #[arg(long)]
        unquote: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A folder with one file a message.
    Maildir {
        /// The folder that holds `cur` and `new`.
        folder: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

/// What both have.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Into whose inbox; the speaker's own if nobody is named.
    #[arg(long, value_name = "NAME")]
    to: Option<Name>,
    /// What becomes of line ends: as they are, or CRLF as mail travels (POP3 and IMAP programs
    /// want that).
    #[arg(long, value_enum, default_value = "as-is")]
    line_ends: LineEndsArg,
}

/// Line ends, on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum LineEndsArg {
    /// Byte for byte.
    AsIs,
    /// Each bare LF becomes CRLF.
    Crlf,
}

impl From<LineEndsArg> for LineEnds {
    fn from(arg: LineEndsArg) -> Self {
        match arg {
            LineEndsArg::AsIs => Self::AsIs,
            LineEndsArg::Crlf => Self::Crlf,
        }
    }
}

type Messages = Box<dyn Iterator<Item = io::Result<Found>> + Send>;
type Measured = io::Result<(Found, io::Result<Numbered>)>;

/// Imports.
pub(super) async fn run(command: ImportCommand, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let (messages, common) = open(command)?;
    let speaker = session.user.login().map(|login| login.name);
    let target = match (common.to, &speaker) {
        (Some(name), _) => name,
        (None, _) => session.speaker()?,
    };
    let envelope = Envelope {
        // Should one be undeliverable after all, whoever imports it hears of it.
        return_path: Some(speaker.unwrap_or_else(|| target.clone())),
        recipients: vec![target.clone().into()],
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    let (measured, queue) = mpsc::channel(AHEAD);
    let numbering = Numbering::new(target.clone(), wall_ms());
    let measuring = tokio::task::spawn_blocking(move || measure(messages, numbering, &measured));
    let sums = submit_all(&session.user, &envelope, queue).await;
    // It has ended, or ends at once: nobody takes what it measures.
    let _ended = measuring.await;
    let sums = sums?;
    if session.json {
        print_json(&json!({
            "to": target,
            "accepted": sums.accepted,
            "failed": sums.failed,
        }));
    } else {
        say(format_args!(
            "{} for {target}",
            count(sums.accepted, "message", "messages")
        ));
    }
    match sums.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format_args!(
            "{} could not be imported",
            count(failed, "message", "messages")
        ))),
    }
}

fn open(command: ImportCommand) -> Result<(Messages, Common), Failure> {
    match command {
        ImportCommand::Mbox {
            file,
            unquote,
            common,
        } => {
            let transform = Transform {
                quoting: match unquote {
                    true => Quoting::Mboxrd,
                    false => Quoting::AsIs,
                },
                line_ends: common.line_ends.into(),
            };
            if file.is_dir() {
                return Err(Failure::usage(format_args!(
                    "{}: a folder, not an mbox file; is it a Maildir?",
                    file.display()
                )));
            }
            let mbox = Mbox::open(&file, transform)
                .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?;
            Ok((Box::new(mbox), common))
        }
        ImportCommand::Maildir { folder, common } => {
            let transform = Transform {
                quoting: Quoting::AsIs,
                line_ends: common.line_ends.into(),
            };
            let maildir = Maildir::open(&folder, transform)
                .map_err(|error| Failure::new(format_args!("{}: {error}", folder.display())))?;
            if maildir.trashed > 0 {
                complain(format_args!(
                    "note: {} flagged as trashed left out",
                    count(maildir.trashed as u64, "message", "messages")
                ));
            }
            Ok((Box::new(maildir), common))
        }
    }
}

/// Reads each message once, in order, since ids depend on it. Blocks.
fn measure(messages: Messages, mut numbering: Numbering, to: &mpsc::Sender<Measured>) {
    for found in messages {
        let measured = found.map(|found| {
            let numbered = numbering.number(&found);
            (found, numbered)
        });
        let broken = measured.is_err();
        if to.blocking_send(measured).is_err() || broken {
            return;
        }
    }
}

#[derive(Default)]
struct Sums {
    accepted: u64,
    failed: u64,
}

impl Sums {
    fn fail(&mut self, place: &str, why: impl std::fmt::Display) {
        self.failed += 1;
        if self.failed <= NAMED_FAILURES {
            complain(format_args!("{place}: {why}"));
        }
    }

    fn progress(&self) {
        let done = self.accepted + self.failed;
        if done.is_multiple_of(PROGRESS_EVERY) && io::stderr().is_terminal() {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{done} messages").and_then(|()| stderr.flush());
        }
    }
}

async fn submit_all(
    user: &GrapevineUser,
    envelope: &Envelope,
    mut queue: mpsc::Receiver<Measured>,
) -> Result<Sums, Failure> {
    let mut sums = Sums::default();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            next = queue.recv(), if open && under_way.len() < AT_ONCE => match next {
                Some(Ok((found, Ok(numbered)))) => under_way.push(async move {
                    let result = user
                        .submit_measured(numbered.id, envelope, &found.body, numbered.info)
                        .await;
                    (found.place, result)
                }),
                Some(Ok((found, Err(error)))) => sums.fail(&found.place, error),
                Some(Err(error)) => return Err(stopped(&sums, "what can't be read", Failure::new(error))),
                None => open = false,
            },
            Some((place, result)) = under_way.next() => match result {
                Ok(_) => sums.accepted += 1,
                Err(SubmitError::Refused(refusal)) => match refusal.kind {
                    ErrorKind::TooLarge | ErrorKind::Conflict => sums.fail(&place, refusal),
                    // What is wrong with one is wrong with all, or gets better with time.
                    ErrorKind::Invalid
                    | ErrorKind::NotAuthenticated
                    | ErrorKind::NotAllowed
                    | ErrorKind::NotFound
                    | ErrorKind::Unavailable
                    | ErrorKind::Unknown
                    | ErrorKind::Internal => return Err(stopped(&sums, &place, refusal.into())),
                },
                Err(error @ SubmitError::Body(_)) => sums.fail(&place, error),
            },
        }
        sums.progress();
    }
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr().lock(), "\r");
    }
    Ok(sums)
}

fn stopped(sums: &Sums, place: &str, failure: Failure) -> Failure {
    Failure {
        exit: failure.exit,
        why: format!(
            "stopped at {place} after {}: {}; run it again later, it doubles nothing",
            count(sums.accepted, "message", "messages"),
            failure.why
        ),
    }
}
