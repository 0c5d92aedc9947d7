//! `grapevine sieve`: a person's mail filters (docs/sieve.md).
//!
//! Whatever is put was looked at here before, so that a mistake is told with its line, and not when mail comes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use grapevine_doors::sieve::Script;
use grapevine_model::{
    MAX_SCRIPT_BYTES, Name, Reply, Request, ScriptName, ScriptText, SieveAsk, SieveReply,
};
use serde_json::json;

use super::Globals;
use super::output::{Table, print_json, print_written, printable_lines, size};
use super::session::{Need, Session, odd};
use crate::out::{Failure, say};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum SieveCommand {
    /// List the scripts, and which one is active.
    List(WhoseArgs),
    /// Print a script.
    Get(ScriptArgs),
    /// Put a script there, or another one in its place; `-` reads it from stdin.
    Put(PutArgs),
    /// Run this script over all mail from now on, and no other.
    Activate(ScriptArgs),
    /// Run none.
    Deactivate(WhoseArgs),
    /// Delete a script that is not active.
    Delete(ScriptArgs),
    /// Look a script over, without a server.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct WhoseArgs {
    /// Whose scripts; the speaker's own if not given.
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScriptArgs {
    /// The script's name.
    script: ScriptName,
    #[command(flatten)]
    whose: WhoseArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The script's name.
    script: ScriptName,
    /// The file with the script.
    file: PathBuf,
    /// Activate it, too.
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    whose: WhoseArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The file with the script.
    file: PathBuf,
}

pub(super) async fn run(command: SieveCommand, globals: &Globals) -> Result<(), Failure> {
    match command {
        SieveCommand::Check(args) => {
            checked(&args.file)?;
            match globals.json {
                true => print_json(&json!({ "ok": true })),
                false => say(format_args!("{}: no mistakes", args.file.display())),
            }
            Ok(())
        }
        SieveCommand::List(whose) => list(whose, globals).await,
        SieveCommand::Get(args) => get(args, globals).await,
        SieveCommand::Put(args) => put(args, globals).await,
        SieveCommand::Activate(args) => {
            let what = format!("the script \"{}\" is active", args.script);
            change(
                args.whose,
                SieveAsk::Activate(Some(args.script)),
                &what,
                globals,
            )
            .await
        }
        SieveCommand::Deactivate(whose) => {
            change(
                whose,
                SieveAsk::Activate(None),
                "no script is active",
                globals,
            )
            .await
        }
        SieveCommand::Delete(args) => {
            let what = format!("the script \"{}\" is deleted", args.script);
            change(args.whose, SieveAsk::Delete(args.script), &what, globals).await
        }
    }
}

/// The text of a script that could be run.
fn checked(file: &Path) -> Result<ScriptText, Failure> {
    let mut bytes = Vec::new();
    let limit = MAX_SCRIPT_BYTES as u64 + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|f| f.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Script::compile(&bytes)
        .map_err(|mistake| Failure::usage(format!("{}: {mistake}", file.display())))?;
    String::from_utf8(bytes)
        .ok()
        .and_then(|text| text.try_into().ok())
        .ok_or_else(|| Failure::usage(format!("{}: no script", file.display())))
}

async fn opened(whose: WhoseArgs, globals: &Globals) -> Result<(Session, Name), Failure> {
    let session = Session::open(globals, Need::Somebody).await?;
    let name = match whose.name {
        Some(name) => name,
        None => session.speaker()?,
    };
    Ok((session, name))
}

async fn list(whose: WhoseArgs, globals: &Globals) -> Result<(), Failure> {
    let (session, name) = opened(whose, globals).await?;
    let ask = SieveAsk::List;
    let answered = session.ask(Request::Sieve { name, ask }).await?;
    let Reply::Sieve(SieveReply::Scripts(views)) = answered.reply else {
        return Err(odd());
    };
    if session.json {
        print_json(&json!({ "scripts": views }));
        return Ok(());
    }
    if views.is_empty() {
        say(format_args!("no scripts"));
        return Ok(());
    }
    let mut table = Table::new(&["script", "size", "active"]);
    for view in views {
        table.row([
            view.script.to_string(),
            size(view.len),
            if view.active { "yes" } else { "" }.to_owned(),
        ]);
    }
    table.print();
    Ok(())
}

async fn get(args: ScriptArgs, globals: &Globals) -> Result<(), Failure> {
    let (session, name) = opened(args.whose, globals).await?;
    let ask = SieveAsk::Get(args.script);
    let answered = session.ask(Request::Sieve { name, ask }).await?;
    let Reply::Sieve(SieveReply::Text(text)) = answered.reply else {
        return Err(odd());
    };
    match session.json {
        true => print_json(&json!({ "text": text })),
        false => say(format_args!(
            "{}",
            printable_lines(text.as_str().trim_end())
        )),
    }
    Ok(())
}

async fn put(args: PutArgs, globals: &Globals) -> Result<(), Failure> {
    let text = checked(&args.file)?;
    let script = args.script;
    let (session, name) = opened(args.whose, globals).await?;
    let ask = SieveAsk::Put {
        script: script.clone(),
        text,
    };
    let request = Request::Sieve {
        name: name.clone(),
        ask,
    };
    let mut written = session.change(request).await?;
    let mut what = format!("the script \"{script}\" is there");
    if args.activate {
        let ask = SieveAsk::Activate(Some(script));
        written = session.change(Request::Sieve { name, ask }).await?;
        what.push_str(", and active");
    }
    print_written(session.json, &what, &written);
    Ok(())
}

async fn change(
    whose: WhoseArgs,
    ask: SieveAsk,
    what: &str,
    globals: &Globals,
) -> Result<(), Failure> {
    let (session, name) = opened(whose, globals).await?;
    let written = session.change(Request::Sieve { name, ask }).await?;
    print_written(session.json, what, &written);
    Ok(())
}
