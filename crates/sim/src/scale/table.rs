//! What was measured as Markdown, with the lines of the plots.

use std::fmt::Write as _;

use crate::meter::ServerCost;
use crate::scale::day::Day;
use crate::scale::measure::{Costs, Phase};
use crate::scale::plot::{Line, plot};

const MIB: f64 = 1_048_576.0;

/// The tables, and the plots with their file names.
pub fn markdown(all: &[Costs]) -> (String, Vec<(&'static str, String)>) {
    let mut out = String::new();
    idle(&mut out, all);
    let mut titles: Vec<&'static str> = Vec::new();
    for phase in all.iter().flat_map(|costs| &costs.phases) {
        if phase.what != "idle" && !titles.contains(&phase.what) {
            titles.push(phase.what);
        }
    }
    for what in titles {
        works(&mut out, all, what);
    }
    (out, plots(all))
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn idle(out: &mut String, all: &[Costs]) {
    line(out, "Idle, each server:\n");
    line(
        out,
        "| servers | names (there) | beats a second | KiB a second, out | other messages a minute | rows a minute | syncs a minute | connections | processor, % | MiB a server, without and with names |",
    );
    line(
        out,
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    );
    for costs in all {
        let Some(phase) = costs.phase("idle") else {
            continue;
        };
        let beats = phase.kinds.get("beat").copied().unwrap_or_default();
        let minute = |whole: u64| phase.each(whole) * 60.0;
        let servers = costs.size.servers as f64;
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| {} | {} ({}) | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {} | {:.3} | {:.1}, {:.1} |",
            costs.size.servers,
            costs.size.names,
            costs.size.present(),
            phase.each(beats.count),
            phase.each(phase.cost.sent.octets) / 1024.0,
            minute(phase.said().count),
            minute(phase.cost.rows.count),
            minute(phase.cost.syncs),
            phase.spoke_with,
            phase.processor.as_secs_f64() / phase.operations.max(1) as f64 * 100.0,
            costs.memory.0 as f64 / servers / MIB,
            costs.memory.1 as f64 / servers / MIB,
        );
    }
    out.push('\n');
}

fn works(out: &mut String, all: &[Costs], what: &'static str) {
    let _ = writeln!(out, "Each {what}, all servers together, beats apart:\n");
    line(
        out,
        "| servers | names | how many | done, refused, unanswered | messages between servers | octets | rows | syncs | processor, us | last copy, ms, median and p99 | second copies at one server, most and mean | not whole |",
    );
    line(
        out,
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    );
    for costs in all {
        let Some(phase) = costs.phase(what) else {
            continue;
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {}, {}, {} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} | {} | {}, {:.1} | {} |",
            costs.size.servers,
            costs.size.names,
            phase.operations,
            phase.ends.done,
            phase.ends.refused,
            phase.ends.unanswered,
            costs.added(phase, &|p| p.said().count as f64),
            costs.added(phase, &|p| p.said().octets as f64),
            costs.added(phase, &|p| p.cost.rows.count as f64),
            costs.added(phase, &|p| p.cost.syncs as f64),
            costs.added(phase, &|p| p.processor.as_secs_f64() * 1e6),
            percentiles(&phase.latency_us),
            phase.deputy.0,
            phase.deputy.1 as f64 / costs.size.servers as f64,
            phase.missing,
        );
    }
    out.push('\n');
    for costs in all {
        if let Some(phase) = costs.phase(what) {
            let kinds = phase.kinds.keys().filter(|kind| **kind != "beat");
            let mut kinds: Vec<(&str, f64, f64)> = kinds
                .map(|kind| {
                    let tally = |p: &Phase| p.kinds.get(kind).copied().unwrap_or_default();
                    let count = costs.added(phase, &|p| tally(p).count as f64);
                    (
                        *kind,
                        count,
                        costs.added(phase, &|p| tally(p).octets as f64),
                    )
                })
                .collect();
            kinds.sort_by(|one, other| other.2.total_cmp(&one.2));
            let kinds = kinds.into_iter().filter(|(_, count, _)| *count >= 0.01);
            let kinds =
                kinds.map(|(kind, count, octets)| format!("{kind} {count:.2} ({octets:.0})"));
            let kinds: Vec<String> = kinds.collect();
            let _ = writeln!(
                out,
                "- {} servers: {}",
                costs.size.servers,
                kinds.join(", ")
            );
        }
    }
    out.push('\n');
}

fn percentiles(sorted_us: &[u64]) -> String {
    let at =
        |permille: usize| sorted_us.get((sorted_us.len().saturating_sub(1)) * permille / 1_000);
    match (at(500), at(990)) {
        (Some(median), Some(most)) => {
            format!("{:.1}, {:.1}", *median as f64 / 1e3, *most as f64 / 1e3)
        }
        (None, _) | (_, None) => "-".to_owned(),
    }
}

fn plots(all: &[Costs]) -> Vec<(&'static str, String)> {
    let over = |name: &str, value: &dyn Fn(&Costs) -> Option<f64>| {
        let points = all
            .iter()
            .filter_map(|costs| Some((costs.size.servers as f64, value(costs)?)));
        Line {
            name: name.to_owned(),
            points: points.collect(),
        }
    };
    let said = |what: &'static str| {
        move |costs: &Costs| {
            costs
                .phase(what)
                .map(|phase| costs.added(phase, &|p| p.said().count as f64))
        }
    };
    let octets = |what: &'static str| {
        move |costs: &Costs| costs.phase(what).map(|p| p.each(p.said().octets))
    };
    let rows = |what: &'static str| {
        move |costs: &Costs| costs.phase(what).map(|p| p.each(p.cost.rows.count))
    };
    let works = ["message", "update", "login", "gv update", "join"];
    let lines =
        |of: &dyn Fn(&'static str) -> Line| works.iter().map(|what| of(what)).collect::<Vec<_>>();
    let idle = [
        over("octets a second", &|costs| {
            costs.phase("idle").map(|p| p.each(p.cost.sent.octets))
        }),
        over("beats a second", &|costs| {
            costs
                .phase("idle")
                .map(|p| p.each(p.kinds.get("beat").map_or(0, |beats| beats.count)))
        }),
        over("rows a minute", &|costs| {
            costs
                .phase("idle")
                .map(|p| p.each(p.cost.rows.count) * 60.0)
        }),
    ];
    vec![
        (
            "messages.svg",
            plot(
                "Messages between servers for one operation",
                "servers",
                &lines(&|what| over(what, &said(what))),
            ),
        ),
        (
            "octets.svg",
            plot(
                "Octets between servers for one operation",
                "servers",
                &lines(&|what| over(what, &octets(what))),
            ),
        ),
        (
            "rows.svg",
            plot(
                "Rows written for one operation, all servers",
                "servers",
                &lines(&|what| over(what, &rows(what))),
            ),
        ),
        ("idle.svg", plot("One idle server", "servers", &idle)),
    ]
}

/// A day's table.
pub fn day_table(day: &Day) -> String {
    let mut out = String::new();
    let settings = &day.settings;
    let _ = writeln!(
        out,
        "{} servers, {} people, {} groups, {} messages a day: {:.2} virtual hours from {}:00, {} messages handed in, {} copies in mailboxes to come.\n",
        settings.servers,
        settings.people,
        settings.groups,
        settings.messages_a_day,
        day.virtual_us as f64 / 3.6e9,
        settings.from_hour,
        day.messages,
        day.copies,
    );
    let _ = writeln!(
        out,
        "Done {}, refused {}, unanswered {}; messages not whole {}, doubled {}; violations {}; {} events; memory of the whole process {:.0} MiB.\n",
        day.ends.done,
        day.ends.refused,
        day.ends.unanswered,
        day.missing,
        day.doubled,
        day.violations.len(),
        day.events,
        day.memory as f64 / MIB,
    );
    let hours = day.virtual_us as f64 / 3.6e9;
    line(&mut out, "| each server | least | median | most |");
    line(&mut out, "| --- | --- | --- | --- |");
    let mut row = |what: &str, value: &dyn Fn(&ServerCost) -> f64| {
        let mut values: Vec<f64> = day.servers.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let _ = writeln!(
            out,
            "| {what} | {:.1} | {:.1} | {:.1} |",
            at(0),
            at(values.len() / 2),
            at(values.len().saturating_sub(1))
        );
    };
    row("messages to others a second", &|cost| {
        cost.sent.count as f64 / hours / 3_600.0
    });
    row("KiB to others a second", &|cost| {
        cost.sent.octets as f64 / hours / 3_600.0 / 1_024.0
    });
    row("rows a minute", &|cost| {
        cost.rows.count as f64 / hours / 60.0
    });
    row("syncs a minute", &|cost| cost.syncs as f64 / hours / 60.0);
    row("second copies kept an hour", &|cost| {
        cost.deputy_for as f64 / hours
    });
    let share = day.processor.as_secs_f64() / (day.virtual_us as f64 / 1e6);
    let _ = writeln!(
        out,
        "\nFirst copy durable after (ms, median and p99): {}; last copy: {}. Processor of all cores together: {:.1} s of {:.0} s, {:.3} % of one processor.",
        percentiles(&day.first_us),
        percentiles(&day.last_us),
        day.processor.as_secs_f64(),
        day.virtual_us as f64 / 1e6,
        share * 100.0
    );
    out
}
