//! What hashing a password costs: Argon2's memory, passes and lanes, as `[logins]` in the configuration says.
//!
//! Must never be less than what whoever has stolen the hashes is to be held up by ([`FLOOR`]), nor more than every server
//! of this Grapevine is ready to spend on a check: a hash made here is checked elsewhere.

use argon2::Params;

/// Most memory, passes and lanes that a stored hash may ask of a check: a hash comes from the
/// database, and a damaged one must not take the machine. No more is taken in the configuration.
pub(crate) const MAX_MEMORY_KIB: u32 = 128 * 1024;
/// See [`MAX_MEMORY_KIB`].
pub(crate) const MAX_PASSES: u32 = 16;
/// See [`MAX_MEMORY_KIB`].
pub(crate) const MAX_LANES: u32 = 4;

/// The least memory in KiB for 1, 2, 3, 4, and 5 or more passes (OWASP Password Storage Cheat Sheet: these are equally strong).
const FLOOR: [u32; 5] = [47_104, 19_456, 12_288, 9_216, 7_168];

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// What is spent when nothing is said: 19 MiB, 2 passes, 1 lane.
    pub(crate) const STANDARD: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// A cost within the bounds.
    ///
    /// # Errors
    /// What is wrong, and what may be given.
    pub(crate) fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, String> {
        if !(1..=MAX_PASSES).contains(&passes) {
            return Err(format!(
                "logins.argon2_passes = {passes}: give 1 to {MAX_PASSES}"
            ));
        }
        if !(1..=MAX_LANES).contains(&lanes) {
            return Err(format!(
                "logins.argon2_lanes = {lanes}: give 1 to {MAX_LANES}"
            ));
        }
        let floor = floor(passes);
        if !(floor..=MAX_MEMORY_KIB).contains(&memory_kib) {
            return Err(format!(
                "logins.argon2_memory_kib = {memory_kib}: with {passes} passes give {floor} to {MAX_MEMORY_KIB}"
            ));
        }
        Ok(Self {
            memory_kib,
            passes,
            lanes,
        })
    }

    /// Memory, in KiB.
    pub(crate) const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over it.
    pub(crate) const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes in it.
    pub(crate) const fn lanes(self) -> u32 {
        self.lanes
    }

    /// For the hash function; none only if its own bounds were others than ours.
    pub(crate) fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, None).ok()
    }

    /// Whether a hash of these parameters is to be made anew: below the floor, or less work than one of this cost. By the work and not by each
    /// parameter, so that two servers with different ones do not take turns for ever.
    pub(crate) fn is_more_than(self, made_with: &Params) -> bool {
        let work = |memory: u32, passes: u32| u64::from(memory) * u64::from(passes);
        made_with.m_cost() < floor(made_with.t_cost())
            || work(made_with.m_cost(), made_with.t_cost()) < work(self.memory_kib, self.passes)
    }
}

fn floor(passes: u32) -> u32 {
    let [one, two, three, four, five] = FLOOR;
    match passes {
        0 | 1 => one,
        2 => two,
        3 => three,
        4 => four,
        _ => five,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cost_below_the_floor_or_above_what_others_check_is_refused() {
        for (memory, passes, lanes, says) in [
            (19_455, 2, 1, "19456 to 131072"),
            (19_456, 1, 1, "47104 to 131072"),
            (7_167, 16, 1, "7168 to 131072"),
            (131_073, 2, 1, "19456 to 131072"),
            (19_456, 0, 1, "argon2_passes"),
            (19_456, 17, 1, "argon2_passes"),
            (19_456, 2, 0, "argon2_lanes"),
            (19_456, 2, 5, "argon2_lanes"),
        ] {
            let why = Cost::new(memory, passes, lanes).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        for (memory, passes) in [
            (47_104, 1),
            (19_456, 2),
            (12_288, 3),
            (9_216, 4),
            (7_168, 5),
        ] {
            Cost::new(memory, passes, 1).unwrap().params().unwrap();
        }
        let standard = Cost::STANDARD;
        assert_eq!(
            Cost::new(standard.memory_kib, standard.passes, standard.lanes),
            Ok(standard)
        );
    }

    #[test]
    fn of_two_servers_with_other_costs_at_most_one_makes_the_others_hashes_anew() {
        let costs = [
            Cost::STANDARD,
            Cost::new(47_104, 1, 1).unwrap(),
            Cost::new(7_168, 5, 4).unwrap(),
            Cost::new(65_536, 3, 2).unwrap(),
        ];
        for one in costs {
            assert!(!one.is_more_than(&one.params().unwrap()));
            for other in costs {
                let takes_turns = one.is_more_than(&other.params().unwrap())
                    && other.is_more_than(&one.params().unwrap());
                assert!(!takes_turns, "{one:?} {other:?}");
            }
        }
        // Much work and little memory is still below the floor.
        let below = Params::new(4_096, 16, 1, None).unwrap();
        assert!(Cost::STANDARD.is_more_than(&below));
    }
}
