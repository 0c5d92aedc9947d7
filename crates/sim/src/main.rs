//! `grapevine-sim`: plays seeds and says what it found, with the command that repeats it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use grapevine_core::Planted;
use grapevine_sim::scale::{self, DaySettings, Faults, Size, Work};
use grapevine_sim::{Coverage, Report, Verbosity, run};

/// Plays simulated clusters under faults; exits with 1 when an invariant was violated.
#[derive(Debug, Parser)]
#[command(name = "grapevine-sim", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
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
    /// Says in the end which kinds of inputs, effects, messages, requests and faults were reached, and which never.
    #[arg(long)]
    coverage: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts what work costs as servers and names grow; prints Markdown.
    Scale(ScaleArguments),
    /// Plays 1983's load, or a multiple of it; prints Markdown.
    Year1983(DayArguments),
}

#[derive(Debug, clap::Args)]
struct ScaleArguments {
    /// How many servers, one run for each.
    #[arg(long, value_delimiter = ',', default_value = "3,10,30,100")]
    servers: Vec<usize>,
    /// How many names: one for all runs, or one for each.
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    names: Vec<u64>,
    /// Holders of each registry.
    #[arg(long, default_value_t = 2)]
    holders: usize,
    /// Registries for each server.
    #[arg(long, default_value_t = 1.0)]
    registries_a_server: f64,
    /// Registries that really have their names, at most; the work is done in these.
    #[arg(long, default_value_t = usize::MAX)]
    filled: usize,
    /// Messages and updates for each server.
    #[arg(long, default_value_t = 20)]
    work: u64,
    /// Messages and updates at most, over all servers.
    #[arg(long, default_value_t = 2_000)]
    most: u64,
    /// Virtual seconds of each kind of work.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Members of a list that gets one message.
    #[arg(long)]
    list: Option<u64>,
    /// Messages between servers are lost, and servers fall, while mail is on its way.
    #[arg(long)]
    faults: bool,
    /// All chance comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the trace.
    #[arg(long)]
    verbose: bool,
    /// Writes plots into this folder.
    #[arg(long)]
    plot: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
struct DayArguments {
    /// So many times its messages.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// Virtual hours.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// The hour of the day at which it begins.
    #[arg(long, default_value_t = 0)]
    from_hour: u64,
    /// All chance comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.command {
        None => seeds(&arguments),
        Some(Command::Scale(arguments)) => scale(arguments),
        Some(Command::Year1983(arguments)) => year_1983(arguments),
    }
}

fn scale(arguments: &ScaleArguments) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut all = Vec::new();
    for (at, servers) in arguments.servers.iter().copied().enumerate() {
        let names = arguments.names.get(at).or(arguments.names.last());
        let wanted = (servers as f64 * arguments.registries_a_server).round();
        let registries = (wanted as usize).max(1);
        let size = Size {
            servers,
            names: names.copied().unwrap_or(0),
            registries,
            holders: arguments.holders,
            filled: arguments.filled.clamp(1, registries),
            seed: arguments.seed,
            verbose: lines_wanted(arguments.verbose),
        };
        let work = Work {
            a_server: arguments.work,
            most: arguments.most,
            seconds: arguments.seconds,
            list: arguments.list,
            faults: match arguments.faults {
                true => Faults::Some,
                false => Faults::None,
            },
        };
        let costs = scale::measure(&size, &work).map_err(|failed| anyhow::anyhow!(failed.0))?;
        let (table, _) = scale::markdown(std::slice::from_ref(&costs));
        std::io::stderr().write_all(table.as_bytes())?;
        out.write_all(costs.lines.as_bytes())?;
        all.push(costs);
    }
    let (tables, plots) = scale::markdown(&all);
    out.write_all(tables.as_bytes())?;
    if let Some(folder) = &arguments.plot {
        std::fs::create_dir_all(folder)?;
        for (file, svg) in plots {
            std::fs::write(folder.join(file), svg)?;
        }
    }
    let mut bad = 0u64;
    for (costs, violation) in all
        .iter()
        .flat_map(|c| c.violations.iter().map(move |v| (c, v)))
    {
        bad += 1;
        writeln!(out, "{} servers: {violation}", costs.size.servers)?;
    }
    bad += all
        .iter()
        .flat_map(|c| &c.phases)
        .map(|phase| phase.missing)
        .sum::<u64>();
    Ok(if bad > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn year_1983(arguments: &DayArguments) -> anyhow::Result<ExitCode> {
    let settings = DaySettings {
        minutes: (arguments.hours * 60.0).round() as u64,
        from_hour: arguments.from_hour,
        seed: arguments.seed,
        ..DaySettings::year_1983(arguments.times)
    };
    let day = scale::day(&settings).map_err(|failed| anyhow::anyhow!(failed.0))?;
    let mut out = std::io::stdout().lock();
    out.write_all(scale::day_table(&day).as_bytes())?;
    for violation in day.violations.iter().take(20) {
        writeln!(out, "{violation}")?;
    }
    let bad = !day.violations.is_empty() || day.missing > 0 || day.doubled > 0;
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn seeds(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let planted = arguments.planted.as_deref().map(planted).transpose()?;
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => range(&arguments.seeds)?,
    };
    let verbose = lines_wanted(arguments.verbose);
    #[expect(
        clippy::disallowed_methods,
        reason = "to say how many events a second were played"
    )]
    let begun = std::time::Instant::now();
    let (mut events, mut bad, mut played) = (0, 0u64, 0u64);
    let mut coverage = Coverage::default();
    for seed in seeds {
        let report = run(seed, planted, verbose);
        events += report.events;
        coverage.add(&report.coverage);
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
    if arguments.coverage {
        tell_coverage(&mut out, &coverage)?;
    }
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

fn tell_coverage(out: &mut impl Write, coverage: &Coverage) -> std::io::Result<()> {
    for (what, count) in coverage.all().filter(|(_, count)| *count > 0) {
        writeln!(out, "{count:>12} {what}")?;
    }
    let never = coverage.all().filter(|(_, count)| *count == 0);
    let never: Vec<&str> = never.map(|(what, _)| what).collect();
    writeln!(out, "never reached: {}", never.join(", "))
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

fn lines_wanted(verbose: bool) -> Verbosity {
    match verbose {
        true => Verbosity::Lines,
        false => Verbosity::Silent,
    }
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
