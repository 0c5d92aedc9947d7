//! The torture run as a command.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use grapevine_torture::{Load, Options, run};

/// Faults of a round come in this time; then everything is checked.
const ROUND: Duration = Duration::from_secs(40);

/// Copies in each inbox, where a server is retired.
const COPIES_EACH: usize = 10;

/// Real servers with real TLS under random faults, while clients send, read and administer; an oracle accounts for everything
/// that was acknowledged.
///
/// The program `grapevine` is built first, unless GRAPEVINE_BIN names one. Exit code 1: something was lost, doubled, changed, or
/// had an effect that it must not have.
#[derive(Debug, clap::Parser)]
#[command(name = "grapevine-torture")]
struct Args {
    /// Rounds are begun for so long
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Decides the faults: the same seed has the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many servers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    servers: u8,
    /// Instead of faults: retire a server with so many copies in a tenth as many inboxes, while mail arrives and people read
    #[arg(long, value_name = "COPIES", num_args = 0..=1, default_missing_value = "10000")]
    retire: Option<usize>,
    /// Says only what came of it
    #[arg(long)]
    quiet: bool,
    /// Keeps the servers' folders, with their logs
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let said = tortured(&Args::parse());
    match said {
        Ok((text, code)) => {
            say(&text);
            code
        }
        Err(error) => {
            say(&format!("grapevine-torture: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn tortured(args: &Args) -> anyhow::Result<(String, ExitCode)> {
    let options = Options {
        seed: args.seed,
        servers: usize::from(args.servers),
        length: Duration::from_secs_f64(args.minutes.max(0.0) * 60.0),
        round: ROUND,
        retire: args.retire.map(|copies| Load {
            inboxes: copies / COPIES_EACH,
            copies,
        }),
        program: program()?,
        tells: !args.quiet,
        keeps: args.keep,
    };
    let report = run(&options)?;
    let code = match report.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    Ok((report.text, code))
}

/// `GRAPEVINE_BIN`, or the one beside this program, built now.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("GRAPEVINE_BIN") {
        return Ok(given.into());
    }
    let beside = std::env::current_exe()?.with_file_name("grapevine");
    // Where cargo has started this, it can build the other.
    if let Some(cargo) = std::env::var_os("CARGO") {
        let release = beside
            .components()
            .any(|part| part.as_os_str() == "release");
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "grapevine-server"]);
        if release {
            build.arg("--release");
        }
        ensure!(build.status()?.success(), "grapevine could not be built");
    }
    beside
        .canonicalize()
        .with_context(|| format!("{}: build it, or give GRAPEVINE_BIN", beside.display()))
}

#[expect(clippy::print_stdout, reason = "a program's result goes to stdout")]
fn say(text: &str) {
    println!("{text}");
}
