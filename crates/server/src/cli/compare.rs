//! `grapevine compare`: are a registry's copies the same, cell by cell? What differs is mended.
//!
//! A copy that could not be compared is said so, never counted as equal.

use grapevine_model::{CompareView, RegistryName, Reply, Request};
use serde_json::json;

use super::Globals;
use super::output::{Table, print_json, printable, size};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Which registries; all if none is given.
    #[arg(value_name = "REGISTRY")]
    registries: Vec<RegistryName>,
}

/// Compares and prints.
pub(super) async fn run(args: CompareArgs, globals: &Globals) -> Result<(), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let mut registries = args.registries;
    if registries.is_empty() {
        let Reply::Registries(all) = session.user.call(Request::RegistryList).await? else {
            return Err(odd());
        };
        registries = all;
    }
    let mut views = Vec::new();
    for registry in registries {
        let request = Request::Compare { registry };
        let Reply::Compared(view) = session.user.call(request).await? else {
            return Err(odd());
        };
        views.push(view);
    }
    if session.json {
        print_json(&json!(views));
    } else {
        print(&views);
    }
    let open = views
        .iter()
        .flat_map(|view| &view.with)
        .filter(|with| with.failure.is_some());
    match open.count() {
        0 => Ok(()),
        open => Err(Failure::unavailable(format_args!(
            "{open} copies could not be compared"
        ))),
    }
}

fn print(views: &[CompareView]) {
    let mut table = Table::new(&[
        "registry",
        "cells",
        "at",
        "with",
        "differed",
        "mended",
        "exchanged",
    ]);
    for view in views {
        for with in &view.with {
            table.row([
                view.registry.to_string(),
                view.cells.to_string(),
                view.server.to_string(),
                with.server.to_string(),
                match &with.failure {
                    None => with.differed.to_string(),
                    Some(_) => "?".to_owned(),
                },
                with.healed_here
                    .saturating_add(with.healed_there)
                    .to_string(),
                size(with.bytes),
            ]);
        }
    }
    table.print();
    for view in views {
        let registry = &view.registry;
        if view.rebuilt > 0 {
            say(format_args!(
                "{registry}: {} rows of {}'s disk were damaged or missing and were written anew",
                view.rebuilt, view.server
            ));
        }
        for with in &view.with {
            if let Some(why) = &with.failure {
                say(format_args!(
                    "{registry}: not compared with {}: {}",
                    with.server,
                    printable(why)
                ));
            }
        }
    }
}
