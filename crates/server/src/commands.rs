//! The program's subcommands, and how each is run.

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::out::{Exit, Failure, finish};
use crate::{backup_command, cli, init, join, operator, serve, up};

/// Threads that are still busy when a command has ended are not waited for longer than this.
const THREADS_LIMIT: Duration = Duration::from_millis(500);

/// Mail, names, log-ins and access lists that keep working while machines fail.
#[derive(Debug, Parser)]
#[command(name = "grapevine", version, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try Grapevine on this machine: some servers, three individuals, until Ctrl-C.
    Up(up::Args),
    /// Found a new Grapevine on this machine.
    Init(init::Args),
    /// Run a server.
    Serve(serve::Args),
    /// Let another machine in: print a token for one new server.
    Token(operator::TokenArgs),
    /// Make a server on this machine and let it into a Grapevine.
    Join(join::Args),
    /// Relieve a server of all it has, so that it can leave.
    Retire(operator::RetireArgs),
    /// Give a server on this machine a new key.
    RotateKey(operator::RotateKeyArgs),
    /// Back up a server, running or not: what is new since the last backup is written.
    Backup(backup_command::BackupArgs),
    /// Bring back what a backup has.
    #[command(subcommand)]
    Restore(backup_command::RestoreCommand),
    #[command(flatten)]
    Client(cli::Command),
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions {
        /// Which.
        shell: Shell,
    },
    /// Print the manual page, or those of all commands into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<std::path::PathBuf>,
    },
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let (program, globals) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // A closed pipe is no reason to fail differently.
            let _ = error.print();
            let usage = ExitCode::from(Exit::Usage as u8);
            return if error.use_stderr() {
                usage
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(Failure::new(format_args!("no threads: {error}")))),
    };
    let code = runtime.block_on(dispatch(program.command, &globals));
    runtime.shutdown_timeout(THREADS_LIMIT);
    code
}

/// The command line, read.
fn parse() -> Result<(Program, cli::Globals), clap::Error> {
    let matches = definition().try_get_matches()?;
    let program = Program::from_arg_matches(&matches)?;
    // What stands anywhere behind a client's command holds for it: the innermost has all of it.
    let mut innermost: &ArgMatches = &matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let globals = match &program.command {
        Command::Client(_) => cli::Globals::from_arg_matches(innermost)?,
        _ => cli::Globals::default(),
    };
    Ok((program, globals))
}

/// All commands; those of clients, and only those, take who speaks and to whom.
fn definition() -> clap::Command {
    let clients = cli::Command::augment_subcommands(clap::Command::new("clients"));
    let names: Vec<_> = clients
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.into_iter().fold(Program::command(), |all, name| {
        all.mut_subcommand(name, |command| {
            let about = command.get_about().cloned();
            let long_about = command.get_long_about().cloned();
            // Which brings its own description along.
            cli::Globals::augment_args(command)
                .about(about.unwrap_or_default())
                .long_about(long_about.unwrap_or_default())
        })
    })
}

async fn dispatch(command: Command, globals: &cli::Globals) -> ExitCode {
    match command {
        Command::Up(args) => finish(up::run(args).await),
        Command::Init(args) => finish(init::run(args).await),
        Command::Serve(args) => match serve::run(args).await {
            Ok(code) => code,
            Err(failure) => finish(Err(failure)),
        },
        Command::Token(args) => finish(operator::token(args).await),
        Command::Join(args) => finish(join::run(args).await),
        Command::Retire(args) => finish(operator::retire(args).await),
        Command::RotateKey(args) => finish(operator::rotate_key(args).await),
        Command::Backup(args) => finish(backup_command::backup(args).await),
        Command::Restore(command) => finish(backup_command::restore(command).await),
        Command::Client(command) => cli::run(command, globals).await,
        Command::Completions { shell } => finish(completions(shell)),
        Command::Man { dir } => finish(manual(dir.as_deref())),
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut definition(), "grapevine", &mut text);
    print(&text)
}

fn manual(dir: Option<&std::path::Path>) -> Result<(), Failure> {
    match dir {
        Some(dir) => clap_mangen::generate_to(definition(), dir)
            .map_err(|error| Failure::new(format_args!("{}: {error}", dir.display()))),
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(definition())
                .render(&mut text)
                .map_err(Failure::new)?;
            print(&text)
        }
    }
}

fn print(text: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    std::io::stdout()
        .lock()
        .write_all(text)
        .map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        definition().debug_assert();
    }
}
