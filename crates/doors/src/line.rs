//! Command lines out of bytes: only CRLF ends a line.
//!
//! It must never take a bare CR or a bare LF for a line end: two programs that disagree on where a line ends is how commands are smuggled.
//! A line that is too long or badly ended is answered once, at the moment it shows, and dropped up to the next CRLF. What is decided depends
//! on the first `limit` bytes of a line alone, never on how they arrived.

use memchr::{memchr, memchr2};

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split<'a> {
    /// A whole line, without its CRLF; `taken` counts it in.
    Line {
        /// The line.
        line: &'a [u8],
        /// How much of the input it was.
        taken: usize,
    },
    /// No line yet.
    Incomplete,
    /// A bare CR or LF; from here on drop with [`Skip`].
    BareLineEnd,
    /// More than `limit` bytes without an end; from here on drop with [`Skip`].
    TooLong,
}

/// Looks for a line of at most `limit` bytes, its CRLF included.
pub(crate) fn split(input: &[u8], limit: usize) -> Split<'_> {
    let window = input.get(..limit).unwrap_or(input);
    let unfinished = if window.len() >= limit {
        Split::TooLong
    } else {
        Split::Incomplete
    };
    let Some(end) = memchr2(b'\r', b'\n', window) else {
        return unfinished;
    };
    let (line, ending) = window.split_at(end);
    match ending {
        [b'\r'] => unfinished,
        [b'\r', b'\n', ..] => Split::Line {
            line,
            taken: end + 2,
        },
        _ => Split::BareLineEnd,
    }
}

/// Drops bytes up to and with the next CRLF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Not dropping.
    #[default]
    Off,
    /// Dropping; the last byte was not a CR.
    Inside,
    /// Dropping; the last byte was a CR.
    AfterCr,
}

impl Skip {
    /// Drops from `input`; returns how many bytes are gone. It is [`Skip::Off`] again when the CRLF came.
    pub(crate) fn skip(&mut self, input: &[u8]) -> usize {
        let mut taken = 0_usize;
        while let Some((first, rest)) = input.get(taken..).and_then(<[u8]>::split_first) {
            match self {
                Skip::Off => break,
                Skip::AfterCr => {
                    taken += 1;
                    *self = match first {
                        b'\n' => Skip::Off,
                        b'\r' => Skip::AfterCr,
                        _ => Skip::Inside,
                    };
                }
                Skip::Inside if *first == b'\r' => {
                    taken += 1;
                    *self = Skip::AfterCr;
                }
                Skip::Inside => taken += 1 + memchr(b'\r', rest).unwrap_or(rest.len()),
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn line(input: &[u8]) -> Split<'_> {
        split(input, 16)
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(
            line(b"NOOP\r\nQUIT"),
            Split::Line {
                line: b"NOOP",
                taken: 6
            }
        );
        assert_eq!(
            line(b"\r\n"),
            Split::Line {
                line: b"",
                taken: 2
            }
        );
        assert_eq!(line(b"NOOP\nQUIT\r\n"), Split::BareLineEnd);
        assert_eq!(line(b"NOOP\rQUIT\r\n"), Split::BareLineEnd);
        assert_eq!(line(b"NOOP\r\r\n"), Split::BareLineEnd);
        assert_eq!(line(b"NOOP\r"), Split::Incomplete);
        assert_eq!(line(b""), Split::Incomplete);
    }

    #[test]
    fn the_limit_counts_the_line_end_in() {
        assert_eq!(
            line(b"12345678901234\r\n"),
            Split::Line {
                line: b"12345678901234",
                taken: 16
            }
        );
        assert_eq!(line(b"123456789012345\r\n"), Split::TooLong);
        assert_eq!(line(b"123456789012345\r"), Split::TooLong);
        assert_eq!(line(b"1234567890123456"), Split::TooLong);
        assert_eq!(line(b"123456789012345"), Split::Incomplete);
    }

    #[test]
    fn skipping_ends_at_the_first_crlf_however_it_is_cut() {
        let input = b"abc\rdef\n\r\r\nNOOP\r\n";
        for cut in 0..input.len() {
            let mut skip = Skip::Inside;
            let first = skip.skip(&input[..cut]);
            let second = if skip == Skip::Off {
                0
            } else {
                skip.skip(&input[cut..])
            };
            assert_eq!(first + second, 11, "cut at {cut}");
            assert_eq!(skip, Skip::Off);
        }
    }
}
