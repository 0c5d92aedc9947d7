//! Wrong passwords counted: per name, per source, and per both, in windows that slide.
//!
//! Guards that guessing gets nowhere and that the owner is not locked out by strangers: where he has
//! lately been let in, only what comes from there counts. Everything is in memory, bounded, and shared
//! with the other servers softly; nothing here may ever be told to whoever logs in.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{LoginNews, LoginOutcome, Name, Secret, Source};

/// Wrong passwords for one name from one source in its window: more than a person needs to remember
/// which of his passwords it was.
pub(crate) const MOST_BY_PAIR: u64 = 10;
/// Of one name, from all sources where it is a stranger: a million sources together get these only.
pub(crate) const MOST_BY_NAME: u64 = 100;
/// From one source, for all names that are strangers there: a large office behind one address stays
/// below it.
pub(crate) const MOST_BY_SOURCE: u64 = 100;
/// The window of pairs and of sources.
const SHORT_WINDOW_MS: u64 = 15 * 60_000;
/// The window of names: 100 in an hour is less than a million guesses in a year.
const LONG_WINDOW_MS: u64 = 60 * 60_000;
/// Who was let in from a source is no stranger there for a week.
const KNOWN_MS: u64 = 7 * 24 * 60 * 60_000;
/// The other servers are told again after this that somebody is no stranger somewhere.
const TELL_AGAIN_MS: u64 = 60 * 60_000;
/// Keys in each of the tables: some megabytes. The one that was quiet longest goes first; to push one
/// out takes as many attempts, and each source has only its hundred.
const MOST_KEYS: usize = 20_000;

/// Whether a password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Yes; the attempt is counted, as if it were wrong, until it proves right.
    Open,
    /// Yes, and it is not counted: the very password that was wrong last time, or that is being checked
    /// now. That is a forgotten mail program, or one with many connections, and not another guess.
    OpenAgain,
    /// No.
    Shut,
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Lockout {
    pairs: Counts<(String, Source)>,
    names: Counts<String>,
    sources: Counts<Source>,
    /// When the pair was let in last, and when the others were told last.
    known: Recent<(String, Source), u64>,
    /// Counted attempts that are being checked, by pair and mark: the same password at the same time is
    /// one guess. As many as there are checks under way.
    under_way: BTreeSet<((String, Source), u64)>,
    /// The last wrong password of a pair, as a mark that means nothing outside this process.
    last_wrong: Recent<(String, Source), u64>,
    key: [u8; 32],
}

impl Lockout {
    /// Nothing counted. `key` is random.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            pairs: Counts::new(SHORT_WINDOW_MS),
            names: Counts::new(LONG_WINDOW_MS),
            sources: Counts::new(SHORT_WINDOW_MS),
            known: Recent::default(),
            under_way: BTreeSet::new(),
            last_wrong: Recent::default(),
            key,
        }
    }

    /// A mark of a name and a password.
    pub(crate) fn mark(&self, name: &Name, password: &Secret) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.key().as_bytes());
        hasher.update(&[0]);
        hasher.update(password.0.as_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_be_bytes(first)
    }

    /// Somebody tries a password. It is counted at once, so that a thousand at the same moment are
    /// a thousand.
    pub(crate) fn attempt(
        &mut self,
        name: &Name,
        source: Source,
        mark: u64,
        now_ms: u64,
    ) -> Verdict {
        let same = ((name.key(), source), mark);
        if self.under_way.contains(&same) {
            return Verdict::OpenAgain;
        }
        let pair = &same.0;
        if self.is_shut(pair, now_ms) {
            return Verdict::Shut;
        }
        if self.last_wrong.get(pair) == Some(&mark) {
            return Verdict::OpenAgain;
        }
        self.count(pair.clone(), now_ms);
        self.under_way.insert(same);
        Verdict::Open
    }

    /// A counted attempt has been checked.
    pub(crate) fn checked(&mut self, name: &Name, source: Source, mark: u64) {
        self.under_way.remove(&((name.key(), source), mark));
    }

    /// It was wrong.
    pub(crate) fn wrong(&mut self, name: &Name, source: Source, mark: u64) {
        // Its time does not matter: it is forgotten by being the oldest.
        let turn = self.last_wrong.next_turn();
        self.last_wrong.put((name.key(), source), mark, turn);
    }

    /// A counted attempt was right: it was no guess.
    pub(crate) fn uncount(&mut self, name: &Name, source: Source, now_ms: u64) {
        self.names.take_one(&name.key(), now_ms);
        self.sources.take_one(&source, now_ms);
    }

    /// It was right: says whether the others should hear of it.
    pub(crate) fn right(&mut self, name: &Name, source: Source, now_ms: u64) -> bool {
        let pair = (name.key(), source);
        let told_ms = self.known.get(&pair).copied();
        let tell = told_ms.is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= TELL_AGAIN_MS);
        self.let_in(
            pair,
            if tell {
                now_ms
            } else {
                told_ms.unwrap_or(now_ms)
            },
            now_ms,
        );
        tell
    }

    /// What another server has seen.
    pub(crate) fn told(&mut self, news: &LoginNews, now_ms: u64) {
        let pair = (news.name.key(), news.source);
        match news.outcome {
            LoginOutcome::Wrong => self.count(pair, now_ms),
            LoginOutcome::Right => self.let_in(pair, now_ms, now_ms),
        }
    }

    fn is_shut(&self, pair: &(String, Source), now_ms: u64) -> bool {
        let (name, source) = pair;
        match source {
            // The operator of the machine has the disk: there is nothing to guess.
            Source::Local => return false,
            Source::Unknown | Source::Address(_) => {}
        }
        let known = *source != Source::Unknown
            && self
                .known
                .at(pair)
                .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < KNOWN_MS);
        let by_pair = *source != Source::Unknown && self.pairs.count(pair, now_ms) >= MOST_BY_PAIR;
        let as_stranger = !known
            && (self.names.count(name, now_ms) >= MOST_BY_NAME
                || (*source != Source::Unknown
                    && self.sources.count(source, now_ms) >= MOST_BY_SOURCE));
        by_pair || as_stranger
    }

    fn count(&mut self, pair: (String, Source), now_ms: u64) {
        if pair.1 == Source::Local {
            return;
        }
        self.names.add(pair.0.clone(), now_ms);
        self.sources.add(pair.1, now_ms);
        self.pairs.add(pair, now_ms);
    }

    /// Takes back the pair's own mistakes, and knows it from now on.
    fn let_in(&mut self, pair: (String, Source), told_ms: u64, now_ms: u64) {
        self.pairs.forget(&pair);
        self.last_wrong.forget(&pair);
        if let Source::Address(_) = pair.1 {
            self.known.put(pair, told_ms, now_ms);
        }
    }
}

/// Values by key, the oldest of which goes when there are too many.
#[derive(Debug)]
struct Recent<K, V> {
    values: BTreeMap<K, (u64, V)>,
    order: BTreeSet<(u64, K)>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone, V> Recent<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    fn at(&self, key: &K) -> Option<u64> {
        self.values.get(key).map(|(at, _)| *at)
    }

    fn put(&mut self, key: K, value: V, at: u64) {
        self.forget(&key);
        self.order.insert((at, key.clone()));
        self.values.insert(key, (at, value));
        while self.values.len() > MOST_KEYS {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            self.values.remove(&oldest);
        }
    }

    fn forget(&mut self, key: &K) {
        if let Some((at, _)) = self.values.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// After all that are there.
    fn next_turn(&self) -> u64 {
        self.order.last().map_or(0, |(at, _)| at.saturating_add(1))
    }
}

/// Counts in a sliding window: this stretch's, and the last one's as far as it still reaches in.
#[derive(Debug)]
struct Counts<K> {
    window_ms: u64,
    counts: Recent<K, Counted>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// The number of the stretch that `now` counts.
    stretch: u64,
    now: u64,
    before: u64,
}

impl Counted {
    fn at(self, stretch: u64) -> Self {
        match stretch.saturating_sub(self.stretch) {
            0 => self,
            1 => Self {
                stretch,
                now: 0,
                before: self.now,
            },
            _ => Self {
                stretch,
                ..Self::default()
            },
        }
    }
}

impl<K: Ord + Clone> Counts<K> {
    fn new(window_ms: u64) -> Self {
        Self {
            window_ms,
            counts: Recent::default(),
        }
    }

    fn held(&self, key: &K, now_ms: u64) -> Counted {
        let held = self.counts.get(key).copied().unwrap_or_default();
        held.at(now_ms / self.window_ms)
    }

    /// How many in the last window, the older stretch by the part of it that is still inside.
    fn count(&self, key: &K, now_ms: u64) -> u64 {
        let held = self.held(key, now_ms);
        let left_ms = self.window_ms - now_ms % self.window_ms;
        held.now + held.before.saturating_mul(left_ms).div_ceil(self.window_ms)
    }

    fn add(&mut self, key: K, now_ms: u64) {
        let mut held = self.held(&key, now_ms);
        held.now = held.now.saturating_add(1);
        self.counts.put(key, held, now_ms);
    }

    fn take_one(&mut self, key: &K, now_ms: u64) {
        let mut held = self.held(key, now_ms);
        held.now = held.now.saturating_sub(1);
        if held.now == 0 && held.before == 0 {
            self.counts.forget(key);
        } else {
            self.counts.put(key.clone(), held, now_ms);
        }
    }

    fn forget(&mut self, key: &K) {
        self.counts.forget(key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn name(n: u32) -> Name {
        format!("n{n}@pa").parse().unwrap()
    }

    fn from(n: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from(n)))
    }

    /// Tries a wrong password, another one each time.
    fn guess(lockout: &mut Lockout, who: u32, source: u32, n: u64, now_ms: u64) -> Verdict {
        let verdict = lockout.attempt(&name(who), from(source), n, now_ms);
        if verdict == Verdict::Open {
            lockout.checked(&name(who), from(source), n);
            lockout.wrong(&name(who), from(source), n);
        }
        verdict
    }

    #[test]
    fn a_pair_is_shut_after_its_mistakes_and_open_again_when_the_window_has_slid_over_them() {
        let mut lockout = Lockout::new([7; 32]);
        for n in 0..MOST_BY_PAIR {
            assert_eq!(guess(&mut lockout, 1, 1, n, 0), Verdict::Open);
        }
        assert_eq!(guess(&mut lockout, 1, 1, 99, 0), Verdict::Shut);
        assert_eq!(guess(&mut lockout, 1, 2, 99, 0), Verdict::Open, "elsewhere");
        assert_eq!(
            guess(&mut lockout, 1, 1, 99, SHORT_WINDOW_MS - 1),
            Verdict::Shut
        );
        // Half of the next stretch on, half of them still count.
        let later = SHORT_WINDOW_MS + SHORT_WINDOW_MS / 2;
        let open = (0..MOST_BY_PAIR)
            .filter(|n| guess(&mut lockout, 1, 1, 100 + n, later) == Verdict::Open)
            .count();
        assert_eq!(open as u64, MOST_BY_PAIR / 2);
        assert_eq!(
            guess(&mut lockout, 1, 1, 500, 5 * SHORT_WINDOW_MS),
            Verdict::Open
        );
    }

    /// The owner of the first name logs in from where he always does.
    fn log_in(lockout: &mut Lockout, mark: u64, now_ms: u64) -> bool {
        let (name, source) = (name(1), from(9));
        assert_eq!(lockout.attempt(&name, source, mark, now_ms), Verdict::Open);
        lockout.checked(&name, source, mark);
        lockout.uncount(&name, source, now_ms);
        lockout.right(&name, source, now_ms)
    }

    #[test]
    fn one_password_over_many_connections_at_once_is_one_guess() {
        let mut lockout = Lockout::new([7; 32]);
        let mut attempt = |mark| lockout.attempt(&name(1), from(9), mark, 0);
        assert_eq!(attempt(5), Verdict::Open);
        for _ in 0..1_000 {
            assert_eq!(attempt(5), Verdict::OpenAgain);
        }
        for n in 1..MOST_BY_PAIR {
            assert_eq!(attempt(50 + n), Verdict::Open);
        }
        assert_eq!(attempt(99), Verdict::Shut);
        assert_eq!(
            attempt(5),
            Verdict::OpenAgain,
            "what is being checked stays so"
        );
        lockout.checked(&name(1), from(9), 5);
        lockout.right(&name(1), from(9), 0);
        assert_eq!(lockout.attempt(&name(1), from(9), 5, 0), Verdict::Open);
    }

    #[test]
    fn many_sources_shut_a_name_for_strangers_and_not_for_its_owner() {
        let mut lockout = Lockout::new([7; 32]);
        assert!(log_in(&mut lockout, 0, 0), "the others hear of it");
        assert!(!lockout.right(&name(1), from(9), 1), "once");
        let mut open = 0;
        for source in 100..1_000 {
            open += u64::from(guess(&mut lockout, 1, source, 5, 2) == Verdict::Open);
        }
        assert_eq!(open, MOST_BY_NAME);
        assert_eq!(guess(&mut lockout, 1, 8, 5, 3), Verdict::Shut);
        assert!(!log_in(&mut lockout, 6, 3));
        // From the owner's own source too, guessing gets no further than anywhere.
        for n in 0..MOST_BY_PAIR {
            assert_eq!(guess(&mut lockout, 1, 9, 50 + n, 4), Verdict::Open);
        }
        assert_eq!(guess(&mut lockout, 1, 9, 99, 4), Verdict::Shut);
    }

    #[test]
    fn one_source_gets_its_guesses_over_all_names() {
        let mut lockout = Lockout::new([7; 32]);
        let open = (0..1_000)
            .filter(|n| guess(&mut lockout, *n, 1, 5, 0) == Verdict::Open)
            .count();
        assert_eq!(open as u64, MOST_BY_SOURCE);
    }

    #[test]
    fn the_same_wrong_password_again_is_no_guess() {
        let mut lockout = Lockout::new([7; 32]);
        assert_eq!(guess(&mut lockout, 1, 1, 5, 0), Verdict::Open);
        for _ in 0..1_000 {
            assert_eq!(guess(&mut lockout, 1, 1, 5, 0), Verdict::OpenAgain);
        }
        for n in 1..MOST_BY_PAIR {
            assert_eq!(guess(&mut lockout, 1, 1, 50 + n, 0), Verdict::Open);
        }
        assert_eq!(guess(&mut lockout, 1, 1, 5, 0), Verdict::Shut);
    }

    #[test]
    fn attempts_of_one_moment_count_before_any_has_failed() {
        let mut lockout = Lockout::new([7; 32]);
        let open = (0..1_000)
            .filter(|n| lockout.attempt(&name(1), from(1), *n, 0) == Verdict::Open)
            .count();
        assert_eq!(open as u64, MOST_BY_PAIR);
    }

    #[test]
    fn what_another_server_saw_counts_here() {
        let (mut here, mut there) = (Lockout::new([1; 32]), Lockout::new([2; 32]));
        let mut open = 0;
        for n in 0..100 {
            let (one, other) = if n % 2 == 0 {
                (&mut here, &mut there)
            } else {
                (&mut there, &mut here)
            };
            if guess(one, 1, 1, n, 0) == Verdict::Open {
                open += 1;
                let news = LoginNews {
                    name: name(1),
                    source: from(1),
                    outcome: LoginOutcome::Wrong,
                };
                other.told(&news, 0);
            }
        }
        assert_eq!(open, MOST_BY_PAIR, "no more at two servers than at one");
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mut lockout = Lockout::new([7; 32]);
        for n in 0..2 * u32::try_from(MOST_KEYS).unwrap() {
            let news = LoginNews {
                name: name(n),
                source: from(n),
                outcome: LoginOutcome::Wrong,
            };
            lockout.told(&news, u64::from(n));
            lockout.right(&name(n), from(n + 1), u64::from(n));
            lockout.wrong(&name(n), from(n), 1);
        }
        for len in [
            lockout.pairs.counts.values.len(),
            lockout.names.counts.values.len(),
            lockout.sources.counts.values.len(),
            lockout.known.values.len(),
            lockout.last_wrong.values.len(),
        ] {
            assert!(len <= MOST_KEYS);
        }
        assert_eq!(
            lockout.pairs.counts.values.len(),
            lockout.pairs.counts.order.len()
        );
    }
}
