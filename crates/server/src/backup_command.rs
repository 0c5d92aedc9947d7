//! `grapevine backup` and `grapevine restore`: on the machine of a server, by whoever can read its data folder.

use std::path::PathBuf;

use grapevine_model::{FolderPath, MessageId, Name};
use grapevine_user::GrapevineUser;
use serde_json::json;

use crate::backup::mailbox::{self, Mode, Wanted};
use crate::backup::manifest::{self, Manifest};
use crate::backup::prune::{self, Stay, prune};
use crate::backup::take::{Written, take};
use crate::backup::vault::Vault;
use crate::backup::verify::verify;
use crate::backup::whole;
use crate::clock::wall_ms;
use crate::folder::DataFolder;
use crate::out::{Exit, Failure, complain, say};

/// What of a damaged backup is named; after that only the sum.
const NAMED_DAMAGES: usize = 20;

/// Back up a server, running or not: what is new since the last backup is written.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The server's data folder.
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// The folder of its backups; made if it is not there. It is as secret as the server.
    #[arg(long, value_name = "FOLDER", required = true)]
    to: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum BackupCommand {
    /// Read a backup whole, and say whether it is as it was written.
    Verify(Which),
    /// Which backups a folder has.
    List(Which),
    /// Remove old backups, and what no other one needs. The latest one stays in any case.
    Prune(PruneArgs),
}

/// Which backups stay.
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// The folder of the backups.
    #[arg(value_name = "FOLDER")]
    from: PathBuf,
    /// So many of the latest stay.
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Those of the last so many days stay.
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A backup.
#[derive(Debug, clap::Args)]
struct Which {
    /// The folder of the backups.
    #[arg(value_name = "FOLDER")]
    from: PathBuf,
    /// The one that was taken then, as `backup list` says; the latest if none is named.
    #[arg(long, value_name = "TAKEN")]
    at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Bring back what a backup has.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RestoreCommand {
    /// A whole server, into an empty folder. It goes on under a new origin, and fetches from the others what it lacks.
    Server {
        #[command(flatten)]
        which: From,
        /// The empty folder.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// What is missing in a mailbox, into the folders where it was, with its flags. Nothing else is touched.
    Mailbox {
        /// Whose.
        name: Name,
        #[command(flatten)]
        what: MailboxArgs,
    },
    /// One message of a mailbox, if it is missing.
    Message {
        /// Its id.
        message: MessageId,
        /// In whose mailbox it was.
        #[arg(long, value_name = "NAME")]
        of: Name,
        #[command(flatten)]
        what: MailboxArgs,
    },
}

/// From which backup, and through which server.
#[derive(Debug, clap::Args)]
pub(crate) struct MailboxArgs {
    #[command(flatten)]
    which: From,
    /// The data folder of a running server that has the mailbox.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Only what was in this folder.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<FolderPath>,
    /// Only say what is missing.
    #[arg(long)]
    dry_run: bool,
}

/// From which backup.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// The folder of the backups.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// The one that was taken then, as `backup list` says; the latest if none is named.
    #[arg(long, value_name = "TAKEN")]
    at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Backs up.
pub(crate) async fn backup(args: BackupArgs) -> Result<(), Failure> {
    match args.command {
        Some(BackupCommand::Verify(which)) => return verified(&which),
        Some(BackupCommand::List(which)) => return listed(&which),
        Some(BackupCommand::Prune(which)) => return pruned(&which),
        None => {}
    }
    let (Some(dir), Some(to)) = (args.dir, args.to) else {
        return Err(Failure::usage("give --dir DIR and --to FOLDER"));
    };
    let (made, written) = take(&DataFolder::at(dir), &to).await?;
    let Written { objects, octets } = written;
    if args.json {
        let mut value = shown(&made);
        if let Some(fields) = value.as_object_mut() {
            fields.insert(
                "written".into(),
                json!({ "objects": objects, "octets": octets }),
            );
        }
        say(format_args!("{value:#}"));
    } else {
        say(format_args!(
            "{}: backup {} with {} messages; {objects} new objects, {octets} octets written",
            made.server, made.taken_ms, made.body_count
        ));
    }
    Ok(())
}

/// Puts mails back.
async fn mails(name: &Name, message: Option<MessageId>, what: MailboxArgs) -> Result<(), Failure> {
    let (vault, manifest) = open(&what.which.from, what.which.at)?;
    let socket = DataFolder::at(&what.dir).admin_socket();
    let user = GrapevineUser::operator(&socket);
    let wanted = Wanted {
        name,
        message,
        folder: what.folder,
    };
    let mode = match what.dry_run {
        true => Mode::Say,
        false => Mode::PutBack,
    };
    let back = mailbox::restore(&vault, &manifest, &user, &wanted, mode).await?;
    let (missing, sums) = (back.missing.len(), back.sums);
    if what.which.json {
        let missing: Vec<_> = (back.missing.iter())
            .map(|(message, folder)| json!({ "message": message, "folder": folder.as_str() }))
            .collect();
        say(format_args!(
            "{:#}",
            json!({
                "of": name,
                "taken": manifest.taken_ms,
                "missing": missing,
                "restored": sums.new,
                "already": sums.already,
                "failed": sums.failed,
            })
        ));
    } else if what.dry_run {
        for (message, folder) in &back.missing {
            say(format_args!("{message}  {folder}"));
        }
        say(format_args!(
            "{missing} are missing, {} are there",
            sums.already
        ));
    } else {
        say(format_args!(
            "{name}: {} put back, {} were there",
            sums.new, sums.already
        ));
    }
    match sums.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format_args!("{failed} could not be put back"))),
    }
}

/// Restores.
pub(crate) async fn restore(command: RestoreCommand) -> Result<(), Failure> {
    match command {
        RestoreCommand::Mailbox { name, what } => mails(&name, None, what).await,
        RestoreCommand::Message { message, of, what } => mails(&of, Some(message), what).await,
        RestoreCommand::Server { which, into } => {
            let (vault, manifest) = open(&which.from, which.at)?;
            whole::restore(&vault, &manifest, &into)?;
            if which.json {
                say(format_args!("{:#}", shown(&manifest)));
            } else {
                say(format_args!(
                    "{} is in {} as it was at {}, with {} messages",
                    manifest.server,
                    into.display(),
                    manifest.taken_ms,
                    manifest.body_count
                ));
                say(format_args!(
                    "next: look at the paths in {0}/grapevine.toml, then `grapevine serve --config {0}/grapevine.toml`",
                    into.display()
                ));
            }
            Ok(())
        }
    }
}

fn open(from: &std::path::Path, at: Option<u64>) -> Result<(Vault, Manifest), Failure> {
    let failed = |error: std::io::Error| Failure {
        exit: match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NoSuchName,
            _ => Exit::Failed,
        },
        why: format!("{}: {error}", from.display()),
    };
    let vault = Vault::open(from).map_err(failed)?;
    let manifest = manifest::chosen(&vault, at).map_err(failed)?;
    Ok((vault, manifest))
}

fn verified(which: &Which) -> Result<(), Failure> {
    let (vault, manifest) = open(&which.from, which.at)?;
    let found = verify(&vault, &manifest);
    for what in found.damaged.iter().take(NAMED_DAMAGES) {
        complain(what);
    }
    if which.json {
        let mut value = shown(&manifest);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("whole".into(), json!(found.whole));
            fields.insert("damaged".into(), json!(found.damaged));
        }
        say(format_args!("{value:#}"));
    } else if found.damaged.is_empty() {
        say(format_args!(
            "backup {} of {}: {} objects, {} octets, all as they were written",
            manifest.taken_ms, manifest.server, found.whole, found.octets
        ));
    }
    match found.damaged.len() {
        0 => Ok(()),
        damaged => Err(Failure::new(format_args!(
            "{damaged} objects are damaged; back up again into another folder"
        ))),
    }
}

fn pruned(which: &PruneArgs) -> Result<(), Failure> {
    if which.keep.is_none() && which.days.is_none() {
        return Err(Failure::usage(
            "give --keep N or --days DAYS: which backups stay",
        ));
    }
    // A wrong path is not made a folder of backups.
    open(&which.from, None)?;
    let failed = |error| Failure::new(format_args!("{}: {error}", which.from.display()));
    let vault = Vault::create(&which.from).map_err(failed)?;
    let stay = Stay {
        latest: which.keep,
        days: which.days,
    };
    let mode = match which.dry_run {
        true => prune::Mode::Say,
        false => prune::Mode::Remove,
    };
    let done = prune(&vault, stay, wall_ms(), mode)?;
    if which.json {
        let taken = |all: &[Manifest]| -> Vec<u64> { all.iter().map(|m| m.taken_ms).collect() };
        say(format_args!(
            "{:#}",
            json!({
                "removed": taken(&done.removed),
                "stay": taken(&done.stay),
                "objects": done.objects,
                "octets": done.octets,
                "dry_run": which.dry_run,
            })
        ));
        return Ok(());
    }
    let (goes, went) = match mode {
        prune::Mode::Say => ("would go", "would be removed"),
        prune::Mode::Remove => ("is removed", "removed"),
    };
    for manifest in &done.removed {
        say(format_args!("{}  {goes}", manifest.taken_ms));
    }
    say(format_args!(
        "{} backups {went}, {} stay; {} objects, {} octets {went}",
        done.removed.len(),
        done.stay.len(),
        done.objects,
        done.octets
    ));
    Ok(())
}

fn listed(which: &Which) -> Result<(), Failure> {
    let failed = |error| Failure::new(format_args!("{}: {error}", which.from.display()));
    let vault = Vault::open(&which.from).map_err(failed)?;
    let (whole, torn) = manifest::all(&vault).map_err(failed)?;
    if which.json {
        let all: Vec<_> = whole.iter().map(shown).collect();
        say(format_args!(
            "{:#}",
            json!({ "backups": all, "torn": torn })
        ));
    } else {
        for manifest in &whole {
            say(format_args!(
                "{}  {}  {} messages, {} octets",
                manifest.taken_ms, manifest.server, manifest.body_count, manifest.body_octets
            ));
        }
    }
    for why in &torn {
        complain(format_args!("note: {why}: it does not count"));
    }
    Ok(())
}

fn shown(manifest: &Manifest) -> serde_json::Value {
    json!({
        "server": manifest.server,
        "taken": manifest.taken_ms,
        "messages": manifest.body_count,
        "octets": manifest.body_octets,
        "gone": manifest.gone,
    })
}
