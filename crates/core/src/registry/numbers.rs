//! Numbers of entries for POSIX systems, which want a uidNumber and a gidNumber for everybody.
//!
//! Drawn from the incarnation: the same at every holder, never kept anywhere, never another one in an entry's life. Two entries of one
//! registry that draw the same are not given it both: the earlier has it, the later has none, as two people of one number would own each
//! other's files.

use grapevine_model::Incarnation;

/// The first: above what systems, containers' default ranges and people by hand use.
const FIRST: u32 = 1 << 30;
/// How many there are: up to 2^31 - 1, as some programs keep them signed. Of 10,000 entries two draw the same once in twenty times.
const COUNT: u128 = 1 << 30;

/// The number that an incarnation, which is random, draws.
pub(crate) fn drawn(incarnation: Incarnation) -> u32 {
    let within = u32::try_from(incarnation.0 % COUNT).unwrap_or_default();
    FIRST.saturating_add(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range() {
        for incarnation in [0, 1, u128::MAX, COUNT, COUNT - 1] {
            let number = drawn(Incarnation(incarnation));
            assert!(number >= FIRST && i32::try_from(number).is_ok());
        }
    }
}
