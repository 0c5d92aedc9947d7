//! `grapevine export`: a mailbox into a Maildir or mbox files, folder by folder, with flags and dates.
//!
//! Run again, also after a kill, it adds what is new; flags and folders that have changed follow. Nothing is removed
//! there, nor changed in the mailbox.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, StreamExt};
use grapevine_model::{ErrorKind, FolderId, FolderPath, MailRow, Name};
use grapevine_user::export::{Leaving, MaildirOut, MboxOut, Out, Present};
use grapevine_user::{GrapevineUser, ReadError};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::Globals;
use super::import::fill::patiently;
use super::output::{count, print_json};
use super::progress::Progress;
use super::session::{Need, Session};
use crate::out::{Exit, Failure, complain, say};

/// Bodies fetched at once.
const AT_ONCE: usize = 8;
/// Failures that are named one by one; after them only the sum.
const NAMED_FAILURES: u64 = 20;

/// Into what.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ExportCommand {
    /// One file a message, and folders in the folder (Maildir++).
    Maildir(To),
    /// One file for each folder, NAME.mbox; `>` is put before lines that begin with `From ` (mboxrd).
    Mbox(To),
}

/// Which mailbox, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct To {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// Whose mailbox; the speaker's own if nobody is named.
    #[arg(long, value_name = "NAME")]
    of: Option<Name>,
    /// Only these folders; each with --folder.
    #[arg(long, value_name = "FOLDER")]
    folder: Vec<FolderPath>,
}

#[derive(Debug, Default)]
struct Sums {
    new: u64,
    followed: u64,
    already: u64,
    failed: u64,
    unavailable: bool,
}

/// Exports.
pub(super) async fn run(command: ExportCommand, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let (args, open): (_, fn(PathBuf) -> io::Result<Out>) = match command {
        ExportCommand::Maildir(args) => (args, |dir| MaildirOut::open(dir).map(Out::Maildir)),
        ExportCommand::Mbox(args) => (args, |dir| MboxOut::open(dir).map(Out::Mbox)),
    };
    let owner = match args.of {
        Some(name) => name,
        None => session.speaker()?,
    };
    let user = &session.user;
    let seen = patiently(|| user.folders(&owner)).await?;
    let written =
        |error: io::Error| Failure::new(format_args!("{}: {error}", args.place.display()));
    let mut out = open(args.place.clone()).map_err(written)?;
    let mut export = Export {
        user,
        owner: &owner,
        sums: Sums::default(),
        progress: Progress::new(),
    };
    let mut partial = seen.partial;
    for wanted in &args.folder {
        if !seen.folders.iter().any(|folder| folder.path == *wanted) {
            return Err(Failure {
                exit: Exit::NoSuchName,
                why: format!("{owner} has no folder {wanted}"),
            });
        }
    }
    let all = args.folder.is_empty();
    for folder in &seen.folders {
        if !all && !args.folder.contains(&folder.path) {
            continue;
        }
        out.folder(&folder.path, folder.special_use)
            .map_err(written)?;
        let mails = patiently(|| user.folder_mails(&owner, folder.folder)).await?;
        partial |= mails.partial;
        let of = (folder.folder, &folder.path);
        (export.folder(&mut out, of, mails.rows).await).map_err(written)?;
    }
    if all {
        out.subscribed(&seen.subscribed).map_err(written)?;
    }
    out.finish().map_err(written)?;
    export.progress.clear();
    report(&session, &owner, export.sums, partial)
}

fn report(session: &Session, owner: &Name, sums: Sums, partial: bool) -> Result<(), Failure> {
    if session.json {
        print_json(&json!({
            "of": owner,
            "new": sums.new,
            "changed": sums.followed,
            "already": sums.already,
            "failed": sums.failed,
            "partial": partial,
        }));
    } else {
        say(format_args!(
            "{} of {owner}: {} there before, {} with other flags now",
            count(sums.new, "new message", "new messages"),
            sums.already + sums.followed,
            sums.followed,
        ));
    }
    if partial {
        complain(
            "note: a site of the mailbox can't be asked now and may have more; run it again later",
        );
    }
    let why = format!(
        "{} could not be written; run it again",
        count(sums.failed, "message", "messages")
    );
    match (sums.failed, sums.unavailable) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::unavailable(why)),
        (_, false) => Err(Failure::new(why)),
    }
}

struct Export<'a> {
    user: &'a GrapevineUser,
    owner: &'a Name,
    sums: Sums,
    progress: Progress,
}

type Fetched = (Leaving, PathBuf, Result<(), ReadError>);
type Fetching<'a> = Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;

impl<'a> Export<'a> {
    async fn folder(
        &mut self,
        out: &mut Out,
        (id, path): (FolderId, &FolderPath),
        rows: Vec<MailRow>,
    ) -> io::Result<()> {
        let mut under_way: FuturesUnordered<Fetching<'a>> = FuturesUnordered::new();
        for row in rows {
            let mail = Leaving {
                id: row.message,
                folder: path.clone(),
                date_ms: row.date_ms,
                flags: row.flags.clone(),
            };
            match out.look(&mail)? {
                Present::Yes => self.sums.already += 1,
                Present::Followed => self.sums.followed += 1,
                Present::No => {
                    let draft = out.draft()?;
                    under_way.push(Box::pin(fetch(
                        self.user,
                        self.owner,
                        (id, row),
                        mail,
                        draft,
                    )));
                }
            }
            if under_way.len() >= AT_ONCE
                && let Some(fetched) = under_way.next().await
            {
                self.take(out, fetched)?;
            }
            self.show();
        }
        while let Some(fetched) = under_way.next().await {
            self.take(out, fetched)?;
            self.show();
        }
        Ok(())
    }

    fn take(&mut self, out: &mut Out, (mail, draft, result): Fetched) -> io::Result<()> {
        let refusal = match result {
            Ok(()) => {
                out.take(&mail, &draft)?;
                self.sums.new += 1;
                return Ok(());
            }
            Err(ReadError::Write(error)) => return Err(error),
            Err(ReadError::Refused(refusal)) => refusal,
        };
        let _ = std::fs::remove_file(&draft);
        // It was expunged or moved meanwhile: the next run sees where it is.
        if refusal.kind == ErrorKind::NotFound {
            return Ok(());
        }
        self.sums.failed += 1;
        self.sums.unavailable |= refusal.kind == ErrorKind::Unavailable;
        if self.sums.failed <= NAMED_FAILURES {
            let line = format!("{} in {}: {refusal}", mail.id, mail.folder);
            self.progress.complain(line);
        }
        Ok(())
    }

    fn show(&mut self) {
        let sums = &self.sums;
        let (new, there) = (sums.new, sums.already + sums.followed);
        self.progress.show(|| {
            format!(
                "{}, {there} there before",
                count(new, "new message", "new messages")
            )
        });
    }
}

/// All of a mail, checked, into a draft.
async fn fetch(
    user: &GrapevineUser,
    owner: &Name,
    (folder, row): (FolderId, MailRow),
    mail: Leaving,
    draft: PathBuf,
) -> Fetched {
    let read = async {
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = (options.write(true).create_new(true).mode(0o600))
            .open(&draft)
            .await?;
        user.read_mail(owner, folder, &row, &mut file).await?;
        file.flush().await?;
        Ok(())
    };
    let result = read.await;
    (mail, draft, result)
}
