//! How many servers a message has passed: the `Received:` fields of its header.

/// So many servers in a row are a circle (RFC 5321 6.3: at least 100).
const MOST_HOPS: u32 = 100;
/// The field's name, with its colon.
const FIELD: &[u8] = b"received:";

/// Counts, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct HopCount {
    found: u32,
    past_header: bool,
    /// The beginning of the present line, as far as it matters.
    line: Vec<u8>,
}

impl HopCount {
    /// Looks at the next piece.
    pub(crate) fn look(&mut self, piece: &[u8]) {
        if self.past_header {
            return;
        }
        for byte in piece {
            self.byte(*byte);
        }
    }

    /// How many so far; whole when the message has ended, or its header.
    pub(crate) fn hops(&self) -> u32 {
        let last = self.line.eq_ignore_ascii_case(FIELD) && !self.past_header;
        self.found.saturating_add(u32::from(last))
    }

    /// Whether it goes in a circle.
    pub(crate) fn is_in_a_circle(&self) -> bool {
        self.hops() > MOST_HOPS
    }

    fn byte(&mut self, byte: u8) {
        match byte {
            _ if self.past_header => {}
            b'\n' => {
                let line = std::mem::take(&mut self.line);
                self.past_header = line.is_empty();
                if line.eq_ignore_ascii_case(FIELD) {
                    self.found = self.found.saturating_add(1);
                }
            }
            b'\r' => {}
            _ if self.line.len() < FIELD.len() => self.line.push(byte),
            _ => {}
        }
    }
}
