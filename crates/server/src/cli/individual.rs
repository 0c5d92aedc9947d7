//! `grapevine individual`: create, delete, show, rename, passwd, sites, forward,
//! alias, remark, quota.
//!
//! A new password comes from a file or from the terminal, and travels inside TLS;
//! the server that takes it hashes it.

use std::path::PathBuf;

use grapevine_model::{EntryChange, Name, Reply, Request, Secret, ServerName, WatchTarget};

use serde_json::json;

use super::Globals;
use super::app_password::{self, AppPasswordCommand};
use super::names::{self, QuotaArgs, RenameArgs, ShowArgs};
use super::output::{print_json, print_written};
use super::session::{Need, Session, odd};
use super::view::{entry_json, print_entry};
use super::watch::{self, WatchArgs};
use crate::ask;
use crate::out::Failure;

/// What to do with individuals.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum IndividualCommand {
    /// Create an individual.
    Create {
        /// Its name.
        name: Name,
        #[command(flatten)]
        password: NewPassword,
        /// A server for its inbox, the first one first; two are chosen if none is given.
        #[arg(long = "site", value_name = "SERVER")]
        sites: Vec<ServerName>,
    },
    /// Delete an individual.
    Delete {
        /// Whom.
        name: Name,
    },
    /// Show an individual.
    Show(ShowArgs),
    /// Give an individual another name: its mail, mailbox and memberships stay.
    Rename(RenameArgs),
    /// Show or set how much an inbox may hold.
    Quota(QuotaArgs),
    /// Tell what changes in an individual, as it comes.
    Watch {
        /// Whom.
        name: Name,
        #[command(flatten)]
        args: WatchArgs,
    },
    /// Set a password: one's own, or as registrar anybody's.
    Passwd {
        /// Whose.
        name: Name,
        /// The new password: the first line of a file.
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// App passwords: for one program or device each, for mail and reading the directory only.
    #[command(subcommand)]
    AppPassword(AppPasswordCommand),
    /// Show or set the servers of an inbox, the first one first.
    Sites {
        /// Whose.
        name: Name,
        /// The servers.
        sites: Vec<ServerName>,
    },
    /// Show or set where mail goes instead.
    Forward {
        /// Whose.
        name: Name,
        /// To these names.
        #[arg(conflicts_with = "nowhere")]
        to: Vec<Name>,
        /// Nowhere else any more: into the inbox.
        #[arg(long)]
        nowhere: bool,
    },
    /// Show or change further names.
    Alias {
        /// Whose.
        name: Name,
        /// One more.
        #[arg(long, value_name = "NAME")]
        add: Vec<Name>,
        /// One fewer.
        #[arg(long, value_name = "NAME")]
        remove: Vec<Name>,
    },
    /// Set the remark.
    Remark {
        /// Whose.
        name: Name,
        /// Free text.
        text: String,
    },
}

/// Where a new password comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct NewPassword {
    /// The password: the first line of a file; asked for at the terminal if none is given.
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    new_password_file: Option<PathBuf>,
    /// No password: nobody can log in until a registrar sets one.
    #[arg(long)]
    no_password: bool,
}

/// Does it.
pub(super) async fn run(command: IndividualCommand, globals: &Globals) -> Result<(), Failure> {
    match command {
        IndividualCommand::Create {
            name,
            password,
            sites,
        } => {
            let password = match password.no_password {
                true => None,
                false => Some(new_password(password.new_password_file, &name)?),
            };
            let what = name.to_string();
            let request = Request::IndividualCreate {
                name,
                password,
                sites,
            };
            change(globals, &what, [request]).await
        }
        IndividualCommand::Delete { name } => delete(globals, name).await,
        IndividualCommand::Show(args) => names::show_entry(globals, args).await,
        IndividualCommand::Rename(args) => names::rename(globals, args).await,
        IndividualCommand::Quota(args) => names::quota(globals, args).await,
        IndividualCommand::Watch { name, args } => {
            watch::run(globals, WatchTarget::Entry(name), args).await
        }
        IndividualCommand::Passwd {
            name,
            new_password_file,
        } => {
            let password = new_password(new_password_file, &name)?;
            one(globals, name, EntryChange::Password(password)).await
        }
        IndividualCommand::AppPassword(command) => app_password::run(command, globals).await,
        IndividualCommand::Sites { name, sites } if sites.is_empty() => {
            let session = Session::open(globals, Need::Somebody).await?;
            show(&session, name).await
        }
        IndividualCommand::Sites { name, sites } => {
            one(globals, name, EntryChange::Sites(sites)).await
        }
        IndividualCommand::Forward { name, to, nowhere } if to.is_empty() && !nowhere => {
            let session = Session::open(globals, Need::Somebody).await?;
            show(&session, name).await
        }
        IndividualCommand::Forward { name, to, .. } => {
            one(globals, name, EntryChange::Forward(to)).await
        }
        IndividualCommand::Alias { name, add, remove } => {
            let added = add.into_iter().map(EntryChange::AliasAdd);
            let changes: Vec<EntryChange> = added
                .chain(remove.into_iter().map(EntryChange::AliasRemove))
                .collect();
            if changes.is_empty() {
                let session = Session::open(globals, Need::Somebody).await?;
                return show(&session, name).await;
            }
            let what = name.to_string();
            let requests = changes.into_iter().map(|change| Request::Change {
                name: name.clone(),
                change,
            });
            change(globals, &what, requests).await
        }
        IndividualCommand::Remark { name, text } => {
            one(globals, name, EntryChange::Remark(text)).await
        }
    }
}

/// Deletes an entry of either kind.
pub(super) async fn delete(globals: &Globals, name: Name) -> Result<(), Failure> {
    let what = name.to_string();
    change(globals, &what, [Request::Delete { name }]).await
}

/// One change of one entry.
pub(super) async fn one(globals: &Globals, name: Name, how: EntryChange) -> Result<(), Failure> {
    let what = name.to_string();
    change(globals, &what, [Request::Change { name, change: how }]).await
}

/// Changes in their order; stops at the first that is refused.
pub(super) async fn change(
    globals: &Globals,
    what: &str,
    requests: impl IntoIterator<Item = Request>,
) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let mut last = None;
    for request in requests {
        last = Some(session.change(request).await?);
    }
    if let Some(written) = last {
        print_written(session.json, what, &written);
    }
    Ok(())
}

/// Shows an entry of either kind.
pub(super) async fn show(session: &Session, name: Name) -> Result<(), Failure> {
    let answered = session.ask(Request::Show { name }).await?;
    let Reply::Entry(view) = answered.reply else {
        return Err(odd());
    };
    if session.json {
        let mut json = entry_json(&view);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("as_of".to_owned(), json!(answered.as_of));
        }
        print_json(&json);
    } else {
        print_entry(&view);
    }
    Ok(())
}

fn new_password(file: Option<PathBuf>, name: &Name) -> Result<Secret, Failure> {
    match file {
        Some(file) => ask::password_file(&file),
        None if ask::can_ask() => ask::new_password(None, &name.to_string()),
        None => Err(Failure::usage(format_args!(
            "no new password for {name}: give --new-password-file FILE"
        ))),
    }
}
