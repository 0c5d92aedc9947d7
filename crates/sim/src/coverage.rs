//! Which kinds of inputs, effects, messages, requests and refusals a run has reached, and how often.
//!
//! Must never change what a run does: it counts what passes by.

use std::collections::BTreeMap;

use crate::kinds;

/// What happens to machines and the network; counted where it is done.
pub const EVENTS: &[&str] = &[
    "event crash",
    "event disk lost",
    "event blackout",
    "event clock jump",
    "event start from disk",
    "event start refused",
    "event message lost",
    "event message doubled",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Counts one.
    pub fn reach(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often something was reached.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Everything that there is to be reached, with how often it was.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let lists = [
            kinds::INPUTS,
            kinds::EFFECTS,
            kinds::MESSAGES,
            kinds::REQUESTS,
            kinds::REFUSALS,
            EVENTS,
        ];
        (lists.into_iter().flatten()).map(|what| (*what, self.count(what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reached_is_said() {
        let mut coverage = Coverage::default();
        coverage.reach("beat");
        let mut more = Coverage::default();
        more.reach("beat");
        coverage.add(&more);
        assert!(
            coverage
                .all()
                .any(|(what, count)| (what, count) == ("beat", 2))
        );
        assert!(
            coverage
                .all()
                .any(|(what, count)| (what, count) == ("push", 0))
        );
        let mut names: Vec<_> = coverage.all().map(|(what, _)| what).collect();
        let whole = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), whole, "one name stands for two things");
    }
}
