//! `grapevine registry export`: all entries of a registry into a file, without secrets.
//!
//! What it writes, `registry import` reads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use grapevine_model::{
    EntryKind, EntryView, GroupList, ImportedEntry, Member, Name, RegistryName, Reply, Request,
};
use grapevine_user::GrapevineUser;
use grapevine_user::bulk::{self, MAX_ITEMS_AT_ONCE, Writer};
use serde_json::json;

use super::super::Globals;
use super::super::output::{count, print_json};
use super::super::session::{Need, Session, odd};
use super::{FormatArg, format_of};
use crate::out::{Failure, say};

/// What to export.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Which registry.
    registry: RegistryName,
    /// Into this file, which must not exist; to stdout if none is given.
    file: Option<PathBuf>,
    /// How, if the file's name does not end in .csv, .jsonl or .ldif; JSON lines on stdout.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
}

/// Exports.
pub(in super::super) async fn export(args: ExportArgs, globals: &Globals) -> Result<(), Failure> {
    let format = format_of(args.format, args.file.as_deref())?;
    let session = Session::open(globals, Need::Somebody).await?;
    let output: Box<dyn Write + Send> = match &args.file {
        Some(file) => Box::new(
            File::create_new(file)
                .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?,
        ),
        None => Box::new(io::stdout()),
    };
    let written = write_all(&session.user, &args.registry, format, output).await;
    match (written, &args.file) {
        (Ok(entries), Some(file)) if session.json => {
            print_json(&json!({ "registry": args.registry, "entries": entries, "file": file }));
            Ok(())
        }
        (Ok(entries), Some(file)) => {
            let entries = count(entries, "entry", "entries");
            say(format_args!(
                "{}: {entries} in {}",
                args.registry,
                file.display()
            ));
            Ok(())
        }
        (Ok(_), None) => Ok(()),
        (Err(failure), Some(file)) => {
            // Half a file is worse than none.
            let _gone = std::fs::remove_file(file);
            Err(failure)
        }
        (Err(failure), None) => Err(failure),
    }
}

async fn write_all(
    user: &GrapevineUser,
    registry: &RegistryName,
    format: bulk::Format,
    output: Box<dyn Write + Send>,
) -> Result<u64, Failure> {
    let broken = |error: io::Error| Failure::new(format_args!("writing: {error}"));
    let mut writer = Writer::new(format, BufWriter::new(output)).map_err(broken)?;
    let (mut after, mut entries) = (None, 0);
    loop {
        let request = Request::Entries {
            registry: registry.clone(),
            after: after.take(),
            limit: u32::MAX,
        };
        let Reply::Entries {
            entries: page,
            next,
        } = user.call(request).await?
        else {
            return Err(odd());
        };
        for view in page {
            entries += 1;
            let group = (view.kind == EntryKind::Group).then(|| view.name.clone());
            writer.entry(&entry_of(view)).map_err(broken)?;
            if let Some(group) = group {
                for list in [GroupList::Members, GroupList::Owners, GroupList::Friends] {
                    write_list(user, &group, list, &mut writer).await?;
                }
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    writer.finish().map_err(broken)?;
    Ok(entries)
}

async fn write_list(
    user: &GrapevineUser,
    group: &Name,
    list: GroupList,
    writer: &mut Writer<BufWriter<Box<dyn Write + Send>>>,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let request = Request::Members {
            group: group.clone(),
            list,
            after: after.take(),
            limit: u32::try_from(MAX_ITEMS_AT_ONCE).unwrap_or(u32::MAX),
        };
        let Reply::Members { members, next, .. } = user.call(request).await? else {
            return Err(odd());
        };
        if !members.is_empty() {
            let part = with_list(group, list, members);
            writer
                .more(&part)
                .map_err(|error| Failure::new(format_args!("writing: {error}")))?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn with_list(group: &Name, list: GroupList, members: Vec<Member>) -> ImportedEntry {
    let mut entry = ImportedEntry::new(group.clone(), EntryKind::Group);
    match list {
        GroupList::Members => entry.members = members,
        GroupList::Owners => entry.owners = members,
        GroupList::Friends => entry.friends = members,
    }
    entry
}

/// What an import needs of an entry, without its lists of members.
fn entry_of(view: EntryView) -> ImportedEntry {
    ImportedEntry {
        remark: (!view.remark.is_empty()).then_some(view.remark),
        sites: view.sites,
        forward: view.forward,
        aliases: view.aliases,
        ..ImportedEntry::new(view.name, view.kind)
    }
}
