//! Comparing a message's strings with a script's (RFC 5228 2.7, RFC 5231), in bounded time.
//!
//! `:matches` never tries more than (length of the value) x (length of the pattern) steps: only the last `*` is ever lengthened, which
//! is enough, and finds the shortest stretches from the left as RFC 5229 3.2 wants them.

use std::cmp::Ordering;

use super::limits::WORK;
use super::script::{Captures, Comparator, Comparison, MatchKind};

/// Wildcards of a pattern whose stretches are kept (RFC 5229 3.2 asks for 9 at least).
const MOST_CAPTURES: usize = 32;

/// The work that may still be done.
#[derive(Debug)]
pub(super) struct Work(u64);

/// The work is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuchWork;

impl Default for Work {
    fn default() -> Self {
        Self(WORK)
    }
}

impl Work {
    /// Counts steps.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooMuchWork> {
        self.0 = self.0.checked_sub(steps as u64).ok_or(TooMuchWork)?;
        Ok(())
    }
}

/// Whether a value is what a key asks for. What wildcards stood for, and the whole value first, is added to `captured` when asked for.
pub(super) fn matches(
    how: Comparison,
    value: &str,
    key: &str,
    captured: &mut Vec<String>,
    work: &mut Work,
) -> Result<bool, TooMuchWork> {
    work.spend(value.len().saturating_add(key.len()).saturating_add(1))?;
    Ok(match how.kind {
        MatchKind::Is => compare(how.comparator, value, key).is_eq(),
        MatchKind::Value(relation) => relation.holds(compare(how.comparator, value, key)),
        // The number was taken by the caller, as a value.
        MatchKind::Count(relation) => relation.holds(compare(Comparator::AsciiNumeric, value, key)),
        MatchKind::Contains => {
            let (value, key) = (folded(how.comparator, value), folded(how.comparator, key));
            memchr::memmem::find(value.as_bytes(), key.as_bytes()).is_some()
        }
        MatchKind::Matches => {
            let found = glob(how.comparator, value, key, work)?;
            let is_match = found.is_some();
            if let (Some(stretches), Captures::Kept) = (found, how.captures) {
                captured.clear();
                captured.push(value.to_owned());
                captured.extend(stretches);
            }
            is_match
        }
    })
}

fn folded(comparator: Comparator, text: &str) -> String {
    match comparator {
        Comparator::AsciiCasemap => text.to_ascii_lowercase(),
        Comparator::Octet | Comparator::AsciiNumeric => text.to_owned(),
    }
}

fn compare(comparator: Comparator, value: &str, key: &str) -> Ordering {
    match comparator {
        Comparator::Octet => value.as_bytes().cmp(key.as_bytes()),
        Comparator::AsciiCasemap => {
            let lower = |text: &str| text.to_ascii_lowercase();
            lower(value).cmp(&lower(key))
        }
        Comparator::AsciiNumeric => numeric(value).cmp(&numeric(key)),
    }
}

/// The number that a text begins with, as something that is ordered as numbers are; what begins with no digit is beyond all numbers
/// (RFC 4790 9.1).
fn numeric(text: &str) -> (bool, usize, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .map_or(text, |end| text.get(..end).unwrap_or_default());
    let significant = digits.trim_start_matches('0');
    match digits.is_empty() {
        true => (true, 0, ""),
        false => (false, significant.len(), significant),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    This(char),
    One,
    Any,
}

/// What the wildcards stand for, if the pattern fits the whole value.
fn glob(
    comparator: Comparator,
    value: &str,
    pattern: &str,
    work: &mut Work,
) -> Result<Option<Vec<String>>, TooMuchWork> {
    let fold = |c: char| match comparator {
        Comparator::AsciiCasemap => c.to_ascii_lowercase(),
        Comparator::Octet | Comparator::AsciiNumeric => c,
    };
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::This(fold(chars.next().unwrap_or('\\'))),
            c => Part::This(fold(c)),
        });
    }
    let value: Vec<char> = value.chars().collect();
    // Stretches of the wildcards so far, and the last `*`: its part, where its stretch ends now, and how many wildcards were before it.
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<(usize, usize, usize)> = None;
    let (mut at, mut part) = (0, 0);
    loop {
        work.spend(1)?;
        let fits = match (parts.get(part), value.get(at)) {
            (Some(Part::Any), _) => {
                last = Some((part, at, stretches.len()));
                stretches.push((at, at));
                part += 1;
                continue;
            }
            (Some(Part::One), Some(_)) => {
                stretches.push((at, at + 1));
                true
            }
            (Some(Part::This(wanted)), Some(is)) => *wanted == fold(*is),
            (None, None) => break,
            (None, Some(_)) | (Some(Part::One | Part::This(_)), None) => false,
        };
        if fits {
            at += 1;
            part += 1;
            continue;
        }
        // The last `*` takes one more, if there is one.
        let Some((star, end, before)) = last else {
            return Ok(None);
        };
        if end >= value.len() {
            return Ok(None);
        }
        stretches.truncate(before + 1);
        if let Some(stretch) = stretches.last_mut() {
            stretch.1 = end + 1;
        }
        last = Some((star, end + 1, before));
        at = end + 1;
        part = star + 1;
    }
    Ok(Some(
        stretches
            .into_iter()
            .take(MOST_CAPTURES)
            .map(|(from, to)| value.get(from..to).unwrap_or_default().iter().collect())
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::script::Relation;
    use super::*;
    use proptest::prelude::*;

    fn stretches(value: &str, pattern: &str) -> Option<Vec<String>> {
        glob(Comparator::Octet, value, pattern, &mut Work::default()).unwrap()
    }

    fn is(kind: MatchKind, comparator: Comparator, value: &str, key: &str) -> bool {
        let how = Comparison {
            comparator,
            kind,
            captures: Captures::NotKept,
        };
        matches(how, value, key, &mut Vec::new(), &mut Work::default()).unwrap()
    }

    #[test]
    fn wildcards_take_the_shortest_stretches_from_the_left() {
        assert_eq!(stretches("frop", "*"), Some(vec!["frop".into()]));
        assert_eq!(
            stretches("[acme-users] [fwd]: version 1.0", "[*] *"),
            Some(vec!["acme-users".into(), "[fwd]: version 1.0".into()])
        );
        assert_eq!(
            stretches("aXbXc", "*X*"),
            Some(vec!["a".into(), "bXc".into()])
        );
        assert_eq!(stretches("abcabd", "*ab?d"), None);
        assert_eq!(
            stretches("abcabxd", "*ab?d"),
            Some(vec!["abc".into(), "x".into()])
        );
        assert_eq!(stretches("é", "?"), Some(vec!["é".into()]));
        assert_eq!(stretches("", "*"), Some(vec!["".into()]));
        assert_eq!(stretches("a*b", "a\\*b"), Some(vec![]));
        assert_eq!(stretches("axb", "a\\*b"), None);
        assert_eq!(stretches("", "?"), None);
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let value = "a".repeat(4_000);
        let pattern = format!("{}b", "*a".repeat(40));
        let mut work = Work::default();
        assert_eq!(
            glob(Comparator::Octet, &value, &pattern, &mut work),
            Ok(None)
        );
        assert!(WORK - work.0 < 4_000 * 90, "{}", WORK - work.0);
        assert_eq!(
            glob(Comparator::Octet, &value, &pattern, &mut Work(100)),
            Err(TooMuchWork)
        );
    }

    #[test]
    fn numbers_are_compared_as_numbers_however_long() {
        let value = |a, relation, b| is(MatchKind::Value(relation), Comparator::AsciiNumeric, a, b);
        assert!(value("10", Relation::Greater, "9"));
        assert!(value("010", Relation::Equal, "10 apples"));
        assert!(value(
            "99999999999999999999999",
            Relation::Less,
            "100000000000000000000000"
        ));
        assert!(value("x", Relation::Greater, "99999999999"));
        assert!(value("x", Relation::Equal, "y"));
        assert!(is(MatchKind::Is, Comparator::AsciiNumeric, "007", "7"));
    }

    #[test]
    fn case_counts_only_for_octets() {
        for kind in [MatchKind::Is, MatchKind::Contains, MatchKind::Matches] {
            assert!(is(kind, Comparator::AsciiCasemap, "ABC", "abc"));
            assert!(!is(kind, Comparator::Octet, "ABC", "abc"));
            assert!(!is(kind, Comparator::AsciiCasemap, "É", "é"));
        }
        assert!(is(MatchKind::Contains, Comparator::Octet, "abc", ""));
    }

    /// The plain definition, which takes its time.
    fn slowly(value: &[char], parts: &[char]) -> bool {
        match (parts.split_first(), value.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), None) => slowly(value, rest),
            (Some(('*', rest)), Some((_, after))) => slowly(value, rest) || slowly(after, parts),
            (Some(('?', rest)), Some((_, after))) => slowly(after, rest),
            (Some((c, rest)), Some((v, after))) => c == v && slowly(after, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(value in "[ab]{0,9}", pattern in "[ab*?]{0,7}") {
            let (v, p): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
            let found = stretches(&value, &pattern);
            prop_assert_eq!(found.is_some(), slowly(&v, &p));
            if let Some(found) = found {
                // The stretches put into the pattern give the value back.
                let mut found = found.into_iter();
                let back: String = pattern.chars().map(|c| match c {
                    '*' | '?' => found.next().unwrap(),
                    c => c.to_string(),
                }).collect();
                prop_assert_eq!(back, value);
            }
        }
    }
}
