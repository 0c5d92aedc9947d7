//! `grapevine-sim`: plays seeds and says what it found, with the command that repeats it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use grapevine_core::Planted;
use grapevine_sim::{Report, Verbosity, run};

/// Plays simulated clusters under faults; exits with 1 when an invariant was violated.
#[derive(Debug, Parser)]
#[command(name = "grapevine-sim")]
struct Arguments {
    /// Seeds A..B (B not included).
    #[arg(long, default_value = "0..50")]
    seeds: String,
    /// One seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the trace.
    #[arg(long)]
    verbose: bool,
    /// A mistake to be found, by its name.
    #[arg(long)]
    planted: Option<String>,
    /// Goes on after the first seed with a violation.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let planted = arguments.planted.as_deref().map(planted).transpose()?;
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => range(&arguments.seeds)?,
    };
    let verbose = if arguments.verbose {
        Verbosity::Lines
    } else {
        Verbosity::Silent
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "to say how many events a second were played"
    )]
    let begun = std::time::Instant::now();
    let (mut events, mut bad, mut played) = (0, 0u64, 0u64);
    for seed in seeds {
        let report = run(seed, planted, verbose);
        events += report.events;
        played += 1;
        out.write_all(report.lines.as_bytes())?;
        if arguments.seed.is_some() {
            tell(&mut out, &report)?;
        }
        if !report.violations.is_empty() {
            bad += 1;
            for violation in report.violations.iter().take(20) {
                let at_s = violation.at_us as f64 / 1e6;
                writeln!(
                    out,
                    "seed {seed} at {at_s:.3} s: {}: {}",
                    violation.invariant, violation.what
                )?;
            }
            let planted = arguments
                .planted
                .as_ref()
                .map(|p| format!(" --planted {p}"))
                .unwrap_or_default();
            writeln!(
                out,
                "repeat: cargo run -p grapevine-sim -- --seed {seed}{planted} --verbose"
            )?;
            if !arguments.keep_going {
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        out,
        "{played} seeds, {bad} with violations, {events} events in {seconds:.1} s: {:.0} a second",
        events as f64 / seconds.max(1e-9)
    )?;
    Ok(if bad > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn tell(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    writeln!(
        out,
        "seed {}: {} events, {} s of virtual time, {} messages accepted, {} writes, trace {:016x}",
        report.seed,
        report.events,
        report.virtual_us / 1_000_000,
        report.accepted,
        report.written,
        report.trace_hash
    )
}

fn planted(name: &str) -> anyhow::Result<Planted> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let all = || Planted::ALL.into_iter();
    match all().find(|planted| plain(&format!("{planted:?}")) == plain(name)) {
        Some(planted) => Ok(planted),
        None => bail!("no such mistake; there are {:?}", all().collect::<Vec<_>>()),
    }
}

fn range(text: &str) -> anyhow::Result<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..").context("seeds are written A..B")?;
    Ok(from.trim().parse()?..to.trim().parse()?)
}
