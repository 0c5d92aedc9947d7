//! What must be known of a message before it goes out: does it need eight bits, has it gone in a circle; and its line ends made right.
//!
//! A message that came in by BDAT or an API may have a CR or LF alone. On the wire of SMTP only CRLF is a line end (RFC 5321 2.3.8), and
//! servers that disagree about it let a second message be smuggled in the first. So each such one becomes CRLF on the way out.

use memchr::memchr2;

use crate::hops::HopCount;

/// What a scan has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Octets, as the message stands.
    pub bytes: u64,
    /// Some are not ASCII.
    pub eight_bit: bool,
    /// It has passed so many servers that it goes in a circle.
    pub in_a_circle: bool,
}

/// Looks through a message, piece by piece.
#[derive(Debug, Default)]
pub struct ContentScan {
    found: Content,
    hops: HopCount,
}

impl ContentScan {
    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        self.found.bytes = self.found.bytes.saturating_add(piece.len() as u64);
        self.found.eight_bit |= !piece.is_ascii();
        self.hops.look(piece);
    }

    /// What was found.
    pub fn end(self) -> Content {
        Content {
            in_a_circle: self.hops.is_in_a_circle(),
            ..self.found
        }
    }
}

/// Makes every line end CRLF.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    after_cr: bool,
}

impl LineEnds {
    /// Appends the next piece to `out`.
    pub(super) fn mend(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) {
                out.extend_from_slice(b"\r\n");
                if *first == b'\n' {
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
            }
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (text, tail) = rest.split_at(end);
            out.extend_from_slice(text);
            rest = match tail.split_first() {
                Some((b'\r', tail)) => {
                    self.after_cr = true;
                    tail
                }
                Some((_, tail)) => {
                    out.extend_from_slice(b"\r\n");
                    tail
                }
                None => tail,
            };
        }
    }

    /// Appends what is still owed.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) {
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn mended(message: &[u8], step: usize) -> Vec<u8> {
        let (mut ends, mut out) = (LineEnds::default(), Vec::new());
        for piece in message.chunks(step) {
            ends.mend(piece, &mut out);
        }
        ends.end(&mut out);
        out
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        for (message, wire) in [
            (&b"a\nb"[..], &b"a\r\nb"[..]),
            (b"a\rb", b"a\r\nb"),
            (b"a\r\nb\r\n", b"a\r\nb\r\n"),
            (b"a\r", b"a\r\n"),
            (b"\r\r\n\n", b"\r\n\r\n\r\n"),
            (b"\n.\n", b"\r\n.\r\n"),
        ] {
            for step in 1..=message.len() {
                assert_eq!(mended(message, step), wire, "{}", message.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_right_stays_and_what_is_mended_is_right(message in "[a.\\r\\n]{0,60}", step in 1_usize..9) {
            let once = mended(message.as_bytes(), step);
            prop_assert_eq!(&mended(&once, 7), &once);
            let text = String::from_utf8(once).unwrap();
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        }
    }

    #[test]
    fn hops_are_counted_in_the_header_alone() {
        let message = b"Received: a\r\n by b\r\nX: y\r\nRECEIVED: c\r\nReceivedX: d\r\n received: e\r\n\r\nReceived: f\r\n";
        for step in [1, 3, 1_000] {
            let (mut count, mut scan) = (HopCount::default(), ContentScan::default());
            for piece in message.chunks(step) {
                count.look(piece);
                scan.look(piece);
            }
            assert_eq!(count.hops(), 2);
            let found = scan.end();
            assert!(!found.eight_bit && !found.in_a_circle);
            assert_eq!(found.bytes, message.len() as u64);
        }
        let mut scan = ContentScan::default();
        scan.look("Received: x\r\n".repeat(101).as_bytes());
        scan.look("\r\n\u{e9}".as_bytes());
        let found = scan.end();
        assert!(found.in_a_circle && found.eight_bit);
    }
}
