//! Where TOP ends: after the header, its empty line, and some lines of the body.
//!
//! Lines are counted by LF here, with or without its CR: a message that came in without CRs has a header too, and nothing but the length of an
//! excerpt hangs on it.

use memchr::memchr;

/// Counts what belongs to the excerpt.
#[derive(Debug)]
pub(super) struct Top {
    part: Part,
    line: Line,
    lines_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Body,
    Over,
}

/// What the line at hand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Cr,
    Text,
}

impl Top {
    pub(super) fn new(lines: u32) -> Self {
        Self {
            part: Part::Header,
            line: Line::Empty,
            lines_left: lines,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.part == Part::Over
    }

    /// How much of the next bytes of the message belongs to the excerpt.
    pub(super) fn take(&mut self, chunk: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..)
            && !rest.is_empty()
            && !self.is_over()
        {
            match memchr(b'\n', rest) {
                None => {
                    self.see(rest);
                    return chunk.len();
                }
                Some(end) => {
                    self.see(rest.get(..end).unwrap_or_default());
                    self.end_line();
                    at += end + 1;
                }
            }
        }
        at
    }

    fn see(&mut self, text: &[u8]) {
        self.line = match (self.line, text) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::Cr,
            _ => Line::Text,
        };
    }

    fn end_line(&mut self) {
        let line = std::mem::replace(&mut self.line, Line::Empty);
        match self.part {
            Part::Header if line != Line::Text => self.part = Part::Body,
            Part::Header | Part::Over => return,
            Part::Body => self.lines_left = self.lines_left.saturating_sub(1),
        }
        if self.lines_left == 0 {
            self.part = Part::Over;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_excerpt_is_the_header_and_so_many_lines_however_it_is_cut() {
        let message = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n";
        for (lines, expected) in [(0, 14), (1, 19), (2, 21), (3, 28), (4, 28)] {
            for step in 1..=message.len() {
                let mut top = Top::new(lines);
                let taken: usize = message.chunks(step).map(|chunk| top.take(chunk)).sum();
                assert_eq!(taken, expected, "{lines} lines in steps of {step}");
                assert_eq!(top.is_over(), lines < 4);
            }
        }
    }

    #[test]
    fn a_message_without_crs_or_without_a_header_has_an_excerpt() {
        assert_eq!(Top::new(1).take(b"A: 1\n\none\ntwo\n"), 10);
        assert_eq!(Top::new(1).take(b"\r\none\r\ntwo\r\n"), 7);
        assert_eq!(Top::new(9).take(b"no end"), 6);
    }
}
