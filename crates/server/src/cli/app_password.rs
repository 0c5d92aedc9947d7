//! `grapevine individual app-password`: add, list, remove.
//!
//! The server makes it, and it is shown once: it is never kept here.

use grapevine_model::{EntryChange, Name, Reply, Request};
use serde_json::json;

use super::Globals;
use super::output::{print_json, print_written};
use super::session::{Need, Session, odd};
use crate::clock::wall_ms;
use crate::out::{Failure, say};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// What to do with app passwords.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AppPasswordCommand {
    /// Make one for a program or a device: it is shown once.
    Add {
        /// Whose: your own name.
        name: Name,
        /// What it is for.
        #[arg(long)]
        label: String,
        /// It serves so many days; without it, until it is removed.
        #[arg(long, value_name = "DAYS")]
        expires: Option<u64>,
    },
    /// List them, without the secrets.
    List {
        /// Whose.
        name: Name,
    },
    /// Remove one: what it has opened is closed within seconds.
    Remove {
        /// Whose.
        name: Name,
        /// Its id, as the list shows it.
        id: String,
    },
}

/// Does it.
pub(super) async fn run(command: AppPasswordCommand, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    match command {
        AppPasswordCommand::Add {
            name,
            label,
            expires,
        } => {
            let expires_ms =
                expires.map(|days| wall_ms().saturating_add(days.saturating_mul(DAY_MS)));
            let request = Request::AppPasswordCreate {
                name,
                label,
                expires_ms,
            };
            let Reply::AppPassword { password, id } = session.user.call(request).await? else {
                return Err(odd());
            };
            if session.json {
                print_json(&json!({ "id": id, "password": password.0, "expires_ms": expires_ms }));
            } else {
                say(format_args!("{}", password.0));
            }
        }
        AppPasswordCommand::List { name } => {
            let request = Request::AppPasswords { name };
            let Reply::AppPasswords(list) = session.user.call(request).await? else {
                return Err(odd());
            };
            if session.json {
                print_json(&json!(list));
            } else {
                for app in list {
                    let until = match app.expires_ms {
                        Some(until_ms) if until_ms <= wall_ms() => "  expired".to_owned(),
                        Some(until_ms) => {
                            format!("  {} days left", (until_ms - wall_ms()).div_ceil(DAY_MS))
                        }
                        None => String::new(),
                    };
                    say(format_args!("{}  {}{until}", app.id, app.label));
                }
            }
        }
        AppPasswordCommand::Remove { name, id } => {
            let what = name.to_string();
            let change = Request::Change {
                name,
                change: EntryChange::AppPasswordRemove(id),
            };
            let written = session.change(change).await?;
            print_written(session.json, &what, &written);
        }
    }
    Ok(())
}
