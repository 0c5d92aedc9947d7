//! What came out of a run: times, errors by kind, and the lines that are printed.
//!
//! Must never round a latency away: every one is kept, so that percentiles are those of the messages and not of buckets.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// Latencies of one run, in microseconds: four bytes for each message, so that a million take 4 MB.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    us: Vec<u32>,
}

impl Latencies {
    pub(crate) fn note(&mut self, took: Duration) {
        self.us
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.us.extend(other.us);
    }

    pub(crate) fn count(&self) -> usize {
        self.us.len()
    }

    /// The latency in milliseconds that `part` in a thousand do not exceed (nearest rank); 0 without any.
    pub(crate) fn permille_ms(&mut self, part: usize) -> f64 {
        self.us.sort_unstable();
        let rank = (self.us.len() * part).div_ceil(1000).max(1);
        self.us
            .get(rank - 1)
            .map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

/// How often what went wrong: by reply code, or the kind of the fault.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    by_kind: BTreeMap<String, u64>,
}

impl Errors {
    pub(crate) fn note(&mut self, kind: impl fmt::Display) {
        *self.by_kind.entry(kind.to_string()).or_default() += 1;
    }

    pub(crate) fn join(&mut self, other: Self) {
        for (kind, count) in other.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
    }
}

/// Lines of `key=value`, in the order in which they were said.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    lines: Vec<(String, String)>,
}

impl Figures {
    pub(crate) fn say(&mut self, key: &str, value: impl fmt::Display) {
        self.lines.push((key.to_owned(), value.to_string()));
    }

    /// A number with a decimal place or two: more would be noise.
    pub(crate) fn say_number(&mut self, key: &str, value: f64) {
        self.say(key, format_args!("{value:.2}"));
    }

    pub(crate) fn say_errors(&mut self, errors: &Errors) {
        self.say("errors", errors.by_kind.values().sum::<u64>());
        for (kind, count) in &errors.by_kind {
            self.say(&format!("error_{kind}"), count);
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.lines {
            writeln!(f, "{key}={value}")?;
        }
        Ok(())
    }
}

/// What came of clients that each asked one question after another from `begun` on.
pub(crate) async fn gathered(
    mut clients: JoinSet<(Latencies, Errors)>,
    begun: Instant,
) -> anyhow::Result<Figures> {
    let (mut latencies, mut errors) = (Latencies::default(), Errors::default());
    while let Some(done) = clients.join_next().await {
        let (more, wrong) = done?;
        latencies.join(more);
        errors.join(wrong);
    }
    let took = begun.elapsed();
    let mut figures = Figures::default();
    figures.say("answers", latencies.count());
    figures.say_number("seconds", took.as_secs_f64());
    figures.say_number("answers_per_s", rate(latencies.count() as f64, took));
    figures.say_number("p50_ms", latencies.permille_ms(500));
    figures.say_number("p99_ms", latencies.permille_ms(990));
    figures.say_errors(&errors);
    Ok(figures)
}

/// `count` in `time`, a second.
pub(crate) fn rate(count: f64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank_of_what_was_measured() {
        let mut latencies = Latencies::default();
        for ms in (1..=100).rev() {
            latencies.note(Duration::from_millis(ms));
        }
        assert_eq!(latencies.permille_ms(500), 50.0);
        assert_eq!(latencies.permille_ms(990), 99.0);
        assert_eq!(latencies.permille_ms(1000), 100.0);
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Latencies::default().permille_ms(500), 0.0);
        assert_eq!(rate(5.0, Duration::ZERO), 0.0);
    }
}
