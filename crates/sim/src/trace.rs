//! What happened, as one number: two runs that differ anywhere differ here.
//!
//! Must see every event and every effect; must never depend on an address or on the order of a
//! hash table. In a verbose run the same calls also print a line each.

use std::fmt::Write as _;

/// The running hash of a run, and its lines if they are wanted.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<String>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn verbose() -> Self {
        Self {
            hash: 0,
            lines: Some(String::new()),
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Writes a line, if lines are wanted.
    pub fn line(&mut self, at_us: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            // Writing to a string can't fail.
            let _ = writeln!(
                lines,
                "{:>6}.{:06} {}",
                at_us / 1_000_000,
                at_us % 1_000_000,
                line()
            );
        }
    }

    /// Whether lines are wanted.
    pub fn is_verbose(&self) -> bool {
        self.lines.is_some()
    }

    /// Takes the lines written so far.
    pub fn take_lines(&mut self) -> String {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
