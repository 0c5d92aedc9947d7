//! `grapevine import`: mbox files and Maildirs into a mailbox, folder by folder, with flags and dates.
//!
//! Doing it again doubles nothing, also after a kill in its middle: `fill` says how. Into somebody else's inbox, mail
//! comes as mail does: it is delivered (`deliver`). What can't be taken is named; the rest goes on.

mod deliver;
pub(crate) mod fill;
mod imap;

use std::io;
use std::path::{Path, PathBuf};

use grapevine_model::{FolderPath, Name, SpecialUse};
use grapevine_user::import::{
    Found, Identified, Journal, Maildir, Mbox, MboxTree, Numbering, below,
};
use grapevine_user::{LineEnds, Quoting, Transform, wall_ms};
use serde_json::json;
use tokio::sync::mpsc;

use self::fill::{Filler, Mail, Sums};
use super::Globals;
use super::output::{count, print_json};
use super::session::{ConfigFolder, Need, Session};
use crate::out::{Failure, complain, say};

/// Messages measured ahead of those under way.
const AHEAD: usize = 32;

/// From what.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImportCommand {
    /// One file with many messages, or a folder of such files (NAME.mbox) with a mailbox's folders.
    Mbox {
        /// The file or folder.
        #[arg(value_name = "FILE|DIR")]
        file: PathBuf,
        /// `>From ` lines lose one `>` (the file was written as mboxrd).
        #[arg(long)]
        unquote: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A folder with one file a message, and the folders in it (Maildir++).
    Maildir {
        /// The folder that holds `cur` and `new`.
        folder: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// From a living IMAP server, folder by folder; nothing is changed there.
    Imap(imap::ImapArgs),
}

/// What both have.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(super) to: To,
    /// What becomes of line ends: as they are, or CRLF as mail travels (POP3 and IMAP programs
    /// want that).
    #[arg(long, value_enum, default_value = "as-is")]
    line_ends: LineEndsArg,
}

/// Where to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct To {
    /// Into whose mailbox; the speaker's own if nobody is named. Somebody else's: the messages are
    /// delivered to its inbox as mail is, unless an operator asks.
    #[arg(long, value_name = "NAME")]
    pub(super) to: Option<Name>,
    /// Into this folder and below it, instead of the folders as they are called.
    #[arg(long, value_name = "FOLDER")]
    pub(super) into: Option<FolderPath>,
    /// Put back what an earlier import has brought and what is not there any more.
    #[arg(long)]
    pub(super) again: bool,
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

/// What there is to import.
struct Source {
    messages: Messages,
    /// Folders that are there, which may be empty.
    made: Vec<(FolderPath, Option<SpecialUse>)>,
    subscribed: Vec<FolderPath>,
}

/// Imports.
pub(super) async fn run(command: ImportCommand, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let (source, to) = match open(command)? {
        Opened::Files(source, to) => (source, to),
        Opened::Imap(args) => return imap::run(*args, &session).await,
    };
    let speaker = session.user.login().map(|login| login.name);
    let target = match (&to.to, &speaker) {
        (Some(name), _) => name.clone(),
        (None, _) => session.speaker()?,
    };
    if speaker.is_some_and(|speaker| speaker != target) {
        return deliver::run(&session, target, source.messages).await;
    }
    let mut filler = Filler::open(&session.user, &target).await?;
    if let Some(journal) = journal(&session, &target, &to).await? {
        filler.remember(journal);
    }
    let into = to.into.as_ref();
    for (path, special_use) in source.made {
        filler.folder(&below(into, path), special_use).await?;
    }
    for path in source.subscribed.into_iter().filter(|_| into.is_none()) {
        session.user.subscribe(&target, &path).await?;
    }
    let (measured, mut queue) = mpsc::channel(AHEAD);
    let numbering = Numbering::new(target.clone(), wall_ms());
    let placed = to.into.clone();
    let measuring = tokio::task::spawn_blocking(move || {
        let place = |path| below(placed.as_ref(), path);
        measure(source.messages, numbering, place, &measured);
    });
    let filled = fill(&mut filler, &mut queue).await;
    // It has ended, or ends at once: nobody takes what it measures.
    drop(queue);
    let _ended = measuring.await;
    filled?;
    report(&session, &target, filler.finish().await?)
}

/// What was done before, by whoever imports here, into this very mailbox.
pub(super) async fn journal(
    session: &Session,
    target: &Name,
    to: &To,
) -> Result<Option<Journal>, Failure> {
    let folders = session.user.folders(target).await?.folders;
    // Another mailbox of that name has another one.
    let inbox = folders.iter().find(|folder| folder.path.is_inbox());
    let validity = inbox.map_or(0, |folder| folder.uid_validity);
    let text = format!("{} {validity}", target.key());
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let name = digest.get(..24).unwrap_or_default();
    let Some(file) = ConfigFolder::of_person().import_file(name) else {
        return Ok(None);
    };
    if to.again
        && let Err(error) = std::fs::remove_file(&file)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(Failure::new(format_args!("{}: {error}", file.display())));
    }
    match Journal::open(&file) {
        Ok(journal) => Ok(Some(journal)),
        Err(error) => {
            complain(format_args!(
                "note: {}: {error}; what is done is not remembered",
                file.display()
            ));
            Ok(None)
        }
    }
}

async fn fill(
    filler: &mut Filler,
    queue: &mut mpsc::Receiver<io::Result<Measured>>,
) -> Result<(), Failure> {
    while let Some(measured) = queue.recv().await {
        let Measured { found, identified } = measured.map_err(Failure::new)?;
        match identified {
            Ok(identified) => {
                let Identified {
                    origin,
                    info,
                    date_ms,
                    flags,
                } = identified;
                let mail = Mail {
                    place: found.place,
                    origin,
                    original: found.original,
                    folder: found.folder,
                    info,
                    flags,
                    date_ms,
                    body: found.body.into(),
                };
                filler.put(mail).await?;
            }
            Err(error) => filler.fail(&found.place, error),
        }
    }
    Ok(())
}

pub(super) fn report(session: &Session, target: &Name, sums: Sums) -> Result<(), Failure> {
    let Sums {
        new,
        already,
        gone,
        failed,
        fetched,
    } = sums;
    if session.json {
        print_json(&json!({
            "to": target,
            "accepted": new + already + gone,
            "new": new,
            "already": already,
            "gone": gone,
            "failed": failed,
            "fetched": fetched,
        }));
    } else {
        let all = count(new + already, "message", "messages");
        say(format_args!(
            "{all} for {target}: {new} new, {already} there before"
        ));
    }
    if gone > 0 {
        complain(format_args!(
            "note: {} imported before and not there any more: left out; --again brings them",
            count(gone, "message", "messages")
        ));
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format_args!(
            "{} could not be imported",
            count(failed, "message", "messages")
        ))),
    }
}

/// What the command line names.
enum Opened {
    Files(Source, To),
    Imap(Box<imap::ImapArgs>),
}

fn open(command: ImportCommand) -> Result<Opened, Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::new(format_args!("{}: {error}", path.display()))
    };
    Ok(match command {
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
            let source = if file.is_dir() {
                let tree = MboxTree::open(&file, transform).map_err(failed(&file))?;
                Source {
                    made: tree.made.clone(),
                    subscribed: tree.subscribed.clone(),
                    messages: Box::new(tree),
                }
            } else {
                let inbox = FolderPath::inbox();
                let mbox = Mbox::open(&file, inbox, transform).map_err(failed(&file))?;
                Source {
                    made: Vec::new(),
                    subscribed: Vec::new(),
                    messages: Box::new(mbox),
                }
            };
            Opened::Files(source, common.to)
        }
        ImportCommand::Imap(args) => Opened::Imap(Box::new(args)),
        ImportCommand::Maildir { folder, common } => {
            let transform = Transform {
                quoting: Quoting::AsIs,
                line_ends: common.line_ends.into(),
            };
            let maildir = Maildir::open(&folder, transform).map_err(failed(&folder))?;
            let source = Source {
                made: maildir.made.clone(),
                subscribed: maildir.subscribed.clone(),
                messages: Box::new(maildir),
            };
            Opened::Files(source, common.to)
        }
    })
}

struct Measured {
    found: Found,
    identified: io::Result<Identified>,
}

/// Reads each message once, in order, since ids depend on it. Blocks.
fn measure(
    messages: Messages,
    mut numbering: Numbering,
    place: impl Fn(FolderPath) -> FolderPath,
    to: &mpsc::Sender<io::Result<Measured>>,
) {
    for found in messages {
        let measured = found.map(|mut found| {
            found.folder = place(found.folder);
            let identified = numbering.identify(&found);
            Measured { found, identified }
        });
        let broken = measured.is_err();
        if to.blocking_send(measured).is_err() || broken {
            return;
        }
    }
}
