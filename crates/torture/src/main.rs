//! The torture run as a command.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use grapevine_torture::{Load, Options, STUCK, planted, run};

/// Faults of a round come in this time; then everything is checked.
const ROUND: Duration = Duration::from_secs(40);

/// Where nothing is said.
const SEED: u64 = 1;
const MINUTES: f64 = 5.0;

/// Copies in each inbox, where a server is retired.
const COPIES_EACH: usize = 10;

/// Real servers with real TLS under random faults, while clients send, read and administer; an oracle accounts for everything
/// that was acknowledged.
///
/// The program `grapevine` is built first, unless GRAPEVINE_BIN names one. Exit code 1: something was lost, doubled, changed, or
/// had an effect that it must not have; or, with `--planted`, the mistake was not found.
#[derive(Debug, clap::Parser)]
#[command(name = "grapevine-torture")]
struct Args {
    /// Rounds are begun for so long; 5, if nothing is said
    #[arg(long)]
    minutes: Option<f64>,
    /// Decides the faults: the same seed has the same schedule; 1, if nothing is said
    #[arg(long)]
    seed: Option<u64>,
    /// How many servers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    servers: u8,
    /// Instead of faults: retire a server with so many copies in a tenth as many inboxes, while mail arrives and people read
    #[arg(long, value_name = "COPIES", num_args = 0..=1, default_missing_value = "10000")]
    retire: Option<usize>,
    /// What servers are replaced by where the program is rolled: an older or newer one; default: the same
    #[arg(long, value_name = "PROGRAM")]
    other_binary: Option<PathBuf>,
    /// All servers make this mistake on purpose, and it must be found; `list` says which there are
    #[arg(long, value_name = "MISTAKE", conflicts_with_all = ["retire", "other_binary"])]
    planted: Option<String>,
    /// Writes the report there, too, as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
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
    let mistake = match args.planted.as_deref() {
        None => None,
        Some("list") => return Ok((planted::list(), ExitCode::SUCCESS)),
        Some(name) => Some(
            planted::named(name)
                .with_context(|| format!("there is no mistake {name}:\n{}", planted::list()))?,
        ),
    };
    let seed = mistake.map_or(SEED, |mistake| mistake.seed);
    let minutes = mistake.map_or(MINUTES, |mistake| f64::from(mistake.minutes));
    let minutes = args.minutes.unwrap_or(minutes);
    let options = Options {
        seed: args.seed.unwrap_or(seed),
        servers: usize::from(args.servers),
        length: Duration::from_secs_f64(minutes.max(0.0) * 60.0),
        round: ROUND,
        retire: args.retire.map(|copies| Load {
            inboxes: copies / COPIES_EACH,
            copies,
        }),
        program: match mistake {
            None => program(Features::AsReleased)?,
            Some(_) => program(Features::Planted)?,
        },
        other_program: args
            .other_binary
            .as_ref()
            .map(|path| {
                let whole = path.canonicalize();
                whole.with_context(|| path.display().to_string())
            })
            .transpose()?,
        planted: mistake.map(|mistake| mistake.name.to_owned()),
        tells: !args.quiet,
        keeps: args.keep,
    };
    let report = run(&options)?;
    if let Some(file) = &args.report {
        std::fs::write(file, &report.markdown).with_context(|| file.display().to_string())?;
    }
    let mut text = report.text;
    let is_right = match mistake {
        None => report.violations.is_empty(),
        Some(mistake) => {
            // That something went wrong with the run itself says nothing about the mistake.
            let mut violations = report.violations.iter();
            let is_found = violations.any(|what| !what.starts_with(STUCK));
            let found = if is_found {
                "was found"
            } else {
                "was NOT found"
            };
            text.push_str(&format!("planted: {} {found}\n", mistake.name));
            is_found
        }
    };
    let code = match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    Ok((text, code))
}

/// How the servers' program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Features {
    /// As it is given to people.
    AsReleased,
    /// It makes the mistake that it is told to make.
    Planted,
}

/// `GRAPEVINE_BIN`, or the one beside this program, built now.
fn program(features: Features) -> anyhow::Result<PathBuf> {
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
        if features == Features::Planted {
            build.args(["--features", "planted-mistakes"]);
        }
        ensure!(build.status()?.success(), "grapevine could not be built");
    }
    let built = beside
        .canonicalize()
        .with_context(|| format!("{}: build it, or give GRAPEVINE_BIN", beside.display()))?;
    match features {
        Features::AsReleased => Ok(built),
        Features::Planted => {
            // The next build puts another one in its place.
            let kept = beside.with_file_name("grapevine-planted");
            std::fs::copy(built, &kept)?;
            Ok(kept)
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program's result goes to stdout")]
fn say(text: &str) {
    println!("{text}");
}
