//! Sets of numbers: `1:4,7,9:*`, by sequence or by UID (RFC 9051 section 9, `sequence-set`), and `$`, what the last search kept (SEARCHRES).

use super::limits::COMMAND_BYTES;
use super::syntax::{Bad, Cursor, Read};

/// A set as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Ranges(Vec<(Point, Point)>),
    /// `$`.
    Saved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Number(u32),
    /// `*`: the highest there is.
    Last,
}

/// Ranges in ascending order that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u32, u32)>);

const SET: Bad = Bad("A set of numbers is wrong");

impl Set {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Read<Self> {
        if cursor.eat(b'$').is_some() {
            return Ok(Self::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            let first = point(cursor)?;
            let last = if cursor.eat(b':').is_some() {
                point(cursor)?
            } else {
                first
            };
            ranges.push((first, last));
            if ranges.len() > COMMAND_BYTES {
                return Err(SET);
            }
            if cursor.eat(b',').is_none() {
                return Ok(Self::Ranges(ranges));
            }
        }
    }

    /// In numbers, where the highest is `last`. `*` of nothing is nothing.
    pub(super) fn resolve(&self, last: u32, saved: &Ranges) -> Ranges {
        match self {
            Self::Saved => saved.clone(),
            Self::Ranges(ranges) => {
                let at = |point: Point| match point {
                    Point::Number(number) => number,
                    Point::Last => last,
                };
                Ranges::of(
                    ranges
                        .iter()
                        .filter(|(a, b)| last > 0 || (*a != Point::Last && *b != Point::Last))
                        .map(|(a, b)| (at(*a).min(at(*b)), at(*a).max(at(*b))))
                        .collect(),
                )
            }
        }
    }
}

fn point(cursor: &mut Cursor<'_>) -> Read<Point> {
    if cursor.eat(b'*').is_some() {
        return Ok(Point::Last);
    }
    match cursor.number().map_err(|_| SET)? {
        0 => Err(SET),
        number => Ok(Point::Number(number)),
    }
}

impl Ranges {
    pub(super) fn of(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Of numbers in any order.
    pub(super) fn of_numbers(numbers: impl IntoIterator<Item = u32>) -> Self {
        Self::of(numbers.into_iter().map(|number| (number, number)).collect())
    }

    pub(super) fn all_below(end: u32) -> Self {
        Self(if end > 1 {
            vec![(1, end - 1)]
        } else {
            Vec::new()
        })
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, last)| number <= *last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn last(&self) -> Option<u32> {
        self.0.last().map(|(_, last)| *last)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// What of these is not among `present`, which ascends.
    pub(super) fn without(&self, present: impl Iterator<Item = u32>) -> Self {
        let mut left = Vec::new();
        let mut present = present.peekable();
        for (first, last) in self.iter() {
            let mut from = u64::from(first);
            while let Some(number) = present.next_if(|number| *number <= last) {
                if number < first {
                    continue;
                }
                if u64::from(number) > from {
                    left.push((u32::try_from(from).unwrap_or(u32::MAX), number - 1));
                }
                from = u64::from(number) + 1;
            }
            if from <= u64::from(last) {
                left.push((u32::try_from(from).unwrap_or(u32::MAX), last));
            }
        }
        Self(left)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for (at, (first, last)) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(first.to_string().as_bytes());
            if first != last {
                out.extend_from_slice(format!(":{last}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ranges(text: &str, last: u32) -> Vec<(u32, u32)> {
        Set::read(&mut Cursor::new(text.as_bytes()))
            .unwrap()
            .resolve(last, &Ranges::default())
            .0
    }

    #[test]
    fn a_set_is_its_numbers_however_it_is_written() {
        assert_eq!(ranges("1:4,7", 9), [(1, 4), (7, 7)]);
        assert_eq!(ranges("7,4:1,2:5,6", 9), [(1, 7)]);
        assert_eq!(ranges("*", 9), [(9, 9)]);
        assert_eq!(ranges("12:*", 9), [(9, 12)]);
        assert_eq!(ranges("1:*", 0), []);
        assert_eq!(ranges("4294967295:*,1", 3), [(1, 1), (3, u32::MAX)]);
        for bad in ["", "0", "1:", "a", "4294967296", ",1", "1,,2"] {
            assert!(
                Set::read(&mut Cursor::new(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_missing_of_a_set_is_told_in_ranges() {
        let set = Ranges::of(vec![(1, 5), (8, 9)]);
        let without = |present: &[u32]| set.without(present.iter().copied()).0;
        assert_eq!(without(&[]), [(1, 5), (8, 9)]);
        assert_eq!(without(&[1, 3, 6, 9]), [(2, 2), (4, 5), (8, 8)]);
        assert_eq!(without(&[1, 2, 3, 4, 5, 8, 9]), []);
        assert!(set.contains(5) && !set.contains(6) && set.contains(8) && !set.contains(0));
    }
}
