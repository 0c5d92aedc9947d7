//! The simulation's only source of chance: SplitMix64 (Steele, Lea, Flood 2014).
//!
//! Must never be seeded by anything but the run's seed. Each part of a run has dice of its own, so
//! that a change in one part leaves the others' throws as they were.

/// A seeded, reproducible source of numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice for a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Self { state: seed };
        // Neighbouring seeds should not throw neighbouring numbers.
        dice.state = dice.next() ^ seed.rotate_left(32);
        dice
    }

    /// Dice of their own for a part of the run.
    pub fn fork(&self, part: u64) -> Self {
        Self::new(self.state ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Any number.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless source is no iterator here"
    )]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; zero when `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        // The bias of the multiplication is far below anything a run could notice.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Yes, so many times out of a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.index(of.len());
        of.get(index)
    }

    /// Some order of these.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Thirty-two bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_and_another_does_not() {
        let throw = |seed| {
            let mut dice = Dice::new(seed);
            (0..20).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
    }

    #[test]
    fn every_face_comes_up() {
        let mut dice = Dice::new(1);
        let seen: std::collections::BTreeSet<_> = (0..200).map(|_| dice.between(3, 7)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
    }
}
