//! What was done, and how long it took until it was: per verb.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Yes.
    Done,
    /// A no that is right: it was to be refused.
    Denied,
    /// No server could do it, when all had been tried.
    Unavailable,
    /// It may have been done.
    Unknown,
}

/// Of one verb.
#[derive(Debug, Default, Clone)]
struct Verb {
    came: BTreeMap<&'static str, u64>,
    /// When somebody first wished for what has not been done yet, for each client.
    wished: BTreeMap<usize, Instant>,
    longest: Duration,
    total: Duration,
    served: u64,
}

/// Of all verbs.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    verbs: BTreeMap<&'static str, Verb>,
    faults: BTreeMap<&'static str, u64>,
}

impl Figures {
    /// A client begins to want something. It goes on wanting until it is served.
    pub(crate) fn wishes(&mut self, client: usize, verb: &'static str) {
        let verb = self.verbs.entry(verb).or_default();
        verb.wished.entry(client).or_insert_with(Instant::now);
    }

    /// What came of a try.
    pub(crate) fn came(&mut self, client: usize, verb: &'static str, came: Came) {
        let verb = self.verbs.entry(verb).or_default();
        let name = match came {
            Came::Done => "done",
            Came::Denied => "denied",
            Came::Unavailable => "unavailable",
            Came::Unknown => "unknown",
        };
        *verb.came.entry(name).or_default() += 1;
        if matches!(came, Came::Done | Came::Denied)
            && let Some(wished) = verb.wished.remove(&client)
        {
            verb.longest = verb.longest.max(wished.elapsed());
            verb.total += wished.elapsed();
            verb.served += 1;
        }
    }

    /// Nobody wants anything: clients pause.
    pub(crate) fn nobody_wishes(&mut self) {
        self.verbs.values_mut().for_each(|verb| verb.wished.clear());
    }

    /// A fault was injected.
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// How many faults.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// The same as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| operation | done | denied | unavailable | unknown | mean wait | longest time without service |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for (name, verb) in &self.verbs {
            let came = |what: &str| verb.came.get(what).copied().unwrap_or(0);
            let mean_ms = u64::try_from(verb.total.as_millis()).unwrap_or(0) / verb.served.max(1);
            text.push_str(&format!(
                "| {name} | {} | {} | {} | {} | {mean_ms} ms | {:.1} s |\n",
                came("done"),
                came("denied"),
                came("unavailable"),
                came("unknown"),
                verb.longest.as_secs_f64(),
            ));
        }
        text.push_str("\n| fault | times |\n| --- | --- |\n");
        for (kind, times) in &self.faults {
            text.push_str(&format!("| {kind} | {times} |\n"));
        }
        text
    }

    /// A table for a person.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<28}{:>9}{:>9}{:>13}{:>9}{:>12}{:>14}\n",
            "operation", "done", "denied", "unavailable", "unknown", "mean wait", "longest wait"
        );
        for (name, verb) in &self.verbs {
            let came = |what: &str| verb.came.get(what).copied().unwrap_or(0);
            let mean_ms = u64::try_from(verb.total.as_millis()).unwrap_or(0) / verb.served.max(1);
            text.push_str(&format!(
                "{name:<28}{:>9}{:>9}{:>13}{:>9}{:>9} ms{:>12.1} s\n",
                came("done"),
                came("denied"),
                came("unavailable"),
                came("unknown"),
                mean_ms,
                verb.longest.as_secs_f64(),
            ));
        }
        text.push_str(&format!("\n{:<28}{:>9}\n", "fault", "times"));
        for (kind, times) in &self.faults {
            text.push_str(&format!("{kind:<28}{times:>9}\n"));
        }
        text
    }
}
