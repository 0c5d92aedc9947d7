//! `grapevine registry`: create, delete, list, show, holders.

use grapevine_model::{Name, RegistryName, Reply, Request, ServerName, WatchTarget};
use serde_json::json;

use super::Globals;
use super::bulk;
use super::names::{self, ConflictsArgs, DanglingArgs, SettleArgs};
use super::output::{print_json, print_written};
use super::session::{Need, Session, odd};
use super::view::{print_registry, registry_json};
use super::watch::{self, WatchArgs};
use crate::out::{Failure, say};

/// What to do with registries.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RegistryCommand {
    /// Create a registry.
    Create {
        /// Its name: DNS labels joined by dots.
        registry: RegistryName,
        /// A server that is to hold it; all servers if none is given.
        #[arg(long = "holder", value_name = "SERVER")]
        holders: Vec<ServerName>,
        /// Who administers it; the speaker if nobody is given.
        #[arg(long = "registrar", value_name = "NAME")]
        registrars: Vec<Name>,
    },
    /// Delete a registry with all its entries.
    Delete {
        /// Which.
        registry: RegistryName,
    },
    /// List the registries.
    List,
    /// Show a registry.
    Show {
        /// Which.
        registry: RegistryName,
    },
    /// Tell what changes in a registry, as it comes; for its registrars.
    Watch {
        /// Which.
        registry: RegistryName,
        #[command(flatten)]
        args: WatchArgs,
    },
    /// Bring entries in from a file: CSV, JSON lines or LDIF; doing it again changes nothing.
    Import(bulk::ImportArgs),
    /// Write all entries to a file, without secrets.
    Export(bulk::ExportArgs),
    /// List the entries that stand aside because an earlier one has their name.
    Conflicts(ConflictsArgs),
    /// Delete or rename an entry that stands aside.
    Settle(SettleArgs),
    /// List members, owners and friends that point at nobody, and remove them if asked to.
    Dangling(DanglingArgs),
    /// Show or change which servers hold a registry.
    Holders {
        /// Which.
        registry: RegistryName,
        /// One more server.
        #[arg(long, value_name = "SERVER")]
        add: Vec<ServerName>,
        /// One server fewer.
        #[arg(long, value_name = "SERVER")]
        remove: Vec<ServerName>,
    },
}

/// Does it.
pub(super) async fn run(command: RegistryCommand, globals: &Globals) -> Result<(), Failure> {
    match command {
        RegistryCommand::Create {
            registry,
            holders,
            mut registrars,
        } => {
            let session = Session::open(globals, Need::Somebody).await?;
            if registrars.is_empty() {
                registrars.push(session.speaker().map_err(|_| {
                    Failure::usage("who is to administer it? give --registrar NAME")
                })?);
            }
            let what = registry.to_string();
            let request = Request::RegistryCreate {
                registry,
                holders,
                registrars,
            };
            let written = session.change(request).await?;
            print_written(session.json, &what, &written);
        }
        RegistryCommand::Delete { registry } => {
            let session = Session::open(globals, Need::Somebody).await?;
            let what = registry.to_string();
            let written = session.change(Request::RegistryDelete { registry }).await?;
            print_written(session.json, &what, &written);
        }
        RegistryCommand::Conflicts(args) => names::conflicts(globals, args).await?,
        RegistryCommand::Settle(args) => names::settle(globals, args).await?,
        RegistryCommand::Dangling(args) => names::dangling(globals, args).await?,
        RegistryCommand::List => {
            let session = Session::open(globals, Need::Anybody).await?;
            let Reply::Registries(registries) = session.user.call(Request::RegistryList).await?
            else {
                return Err(odd());
            };
            if session.json {
                print_json(&json!(registries));
            } else {
                registries.iter().for_each(say);
            }
        }
        RegistryCommand::Show { registry } => {
            let session = Session::open(globals, Need::Anybody).await?;
            show(&session, registry).await?;
        }
        RegistryCommand::Watch { registry, args } => {
            watch::run(globals, WatchTarget::Registry(registry), args).await?;
        }
        RegistryCommand::Import(args) => bulk::import(args, globals).await?,
        RegistryCommand::Export(args) => bulk::export(args, globals).await?,
        RegistryCommand::Holders {
            registry,
            add,
            remove,
        } => holders(globals, registry, add, remove).await?,
    }
    Ok(())
}

async fn show(session: &Session, registry: RegistryName) -> Result<(), Failure> {
    let request = Request::RegistryShow { registry };
    let Reply::Registry(view) = session.user.call(request).await? else {
        return Err(odd());
    };
    if session.json {
        print_json(&registry_json(&view));
    } else {
        print_registry(&view);
    }
    Ok(())
}

async fn holders(
    globals: &Globals,
    registry: RegistryName,
    add: Vec<ServerName>,
    remove: Vec<ServerName>,
) -> Result<(), Failure> {
    let need = match (add.is_empty(), remove.is_empty()) {
        (true, true) => Need::Anybody,
        _ => Need::Somebody,
    };
    let session = Session::open(globals, need).await?;
    // First more, then fewer: never without a holder in between.
    for server in add {
        let registry = registry.clone();
        session
            .change(Request::HolderAdd { registry, server })
            .await?;
    }
    for server in remove {
        let registry = registry.clone();
        session
            .change(Request::HolderRemove { registry, server })
            .await?;
    }
    show(&session, registry).await
}
