//! Dot-stuffing (RFC 5321 4.5.2, RFC 1939 3), both ways, over bytes in pieces of any size.
//!
//! Only CRLF "." CRLF ends a message: a bare CR or LF is data and is reported, never a line end. This is the guard against smuggling a second
//! message inside a first one.

use memchr::{memchr2, memmem};

/// Takes the stuffing out of what follows DATA, and finds its end.
#[derive(Debug, Default)]
pub struct DotDecoder {
    place: Place,
    bare: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// After CRLF, or before anything.
    #[default]
    LineStart,
    /// After a dot that opens a line; it is not data.
    Dot,
    /// After such a dot and a CR; the CR is data unless LF follows.
    DotCr,
    Inside,
    /// After a CR that is data already.
    Cr,
    End,
}

impl DotDecoder {
    /// Appends to `out` what is data in `input`. Returns how much of `input` was used: less than all of it only at the end.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0_usize;
        while let Some(rest) = input.get(at..)
            && let Some(first) = rest.first()
        {
            match (self.place, first) {
                (Place::End, _) => break,
                (Place::LineStart, b'.') => {
                    self.place = Place::Dot;
                    at += 1;
                }
                (Place::Dot, b'\r') => {
                    self.place = Place::DotCr;
                    at += 1;
                }
                (Place::DotCr, b'\n') => {
                    self.place = Place::End;
                    at += 1;
                }
                (Place::DotCr, _) => {
                    out.push(b'\r');
                    self.bare = true;
                    self.place = Place::Inside;
                }
                (Place::Cr, b'\n') => {
                    out.push(b'\n');
                    self.place = Place::LineStart;
                    at += 1;
                }
                (Place::Cr, _) => {
                    self.bare = true;
                    self.place = Place::Inside;
                }
                (Place::LineStart | Place::Dot | Place::Inside, _) => at += self.run(rest, out),
            }
        }
        at
    }

    /// The end came.
    pub fn is_done(&self) -> bool {
        self.place == Place::End
    }

    /// A CR without its LF, or an LF without its CR, was among the data.
    pub fn has_bare_line_end(&self) -> bool {
        self.bare
    }

    /// Copies in one piece up to the next place where a dot may matter; `text` is not at a line's start any more.
    fn run(&mut self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0_usize;
        let (end, place) = loop {
            let Some(found) = text.get(at..).and_then(|rest| memchr2(b'\r', b'\n', rest)) else {
                break (text.len(), Place::Inside);
            };
            let end = at + found;
            match text.get(end..).unwrap_or_default() {
                [b'\r'] => break (text.len(), Place::Cr),
                [b'\r', b'\n'] | [b'\r', b'\n', b'.', ..] => break (end + 2, Place::LineStart),
                [b'\r', b'\n', ..] => at = end + 2,
                _ => {
                    self.bare = true;
                    at = end + 1;
                }
            }
        };
        self.place = place;
        out.extend_from_slice(text.get(..end).unwrap_or_default());
        end
    }
}

/// Stuffs a message and ends it.
#[derive(Debug, Default)]
pub struct DotEncoder {
    place: Sent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    LineStart,
    Inside,
    Cr,
}

impl DotEncoder {
    /// Appends the stuffed form of `input` to `out`.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        if self.place == Sent::Cr
            && let Some((b'\n', tail)) = rest.split_first()
        {
            out.push(b'\n');
            rest = tail;
            self.place = Sent::LineStart;
        }
        if rest.is_empty() {
            return;
        }
        if self.place == Sent::LineStart && rest.first() == Some(&b'.') {
            out.push(b'.');
        }
        self.place = match rest {
            [.., b'\r', b'\n'] => Sent::LineStart,
            [.., b'\r'] => Sent::Cr,
            _ => Sent::Inside,
        };
        while let Some(found) = memmem::find(rest, b"\r\n.") {
            let (line, tail) = rest.split_at((found + 2).min(rest.len()));
            out.extend_from_slice(line);
            out.push(b'.');
            // The dot itself goes with the tail: step over it, or it would be looked at again.
            let (dot, tail) = tail.split_at(tail.len().min(1));
            out.extend_from_slice(dot);
            rest = tail;
        }
        out.extend_from_slice(rest);
    }

    /// Appends what ends the message: CRLF if it did not end in one, and the dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.place {
            Sent::LineStart => out.extend_from_slice(b".\r\n"),
            Sent::Inside | Sent::Cr => out.extend_from_slice(b"\r\n.\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    struct Decoded {
        data: Vec<u8>,
        used: usize,
        done: bool,
        bare: bool,
    }

    fn decode(input: &[u8], step: usize) -> Decoded {
        let (mut decoder, mut data, mut used) = (DotDecoder::default(), Vec::new(), 0);
        for piece in input.chunks(step) {
            used += decoder.decode(piece, &mut data);
        }
        Decoded {
            data,
            used,
            done: decoder.is_done(),
            bare: decoder.has_bare_line_end(),
        }
    }

    fn encode(message: &[u8], step: usize) -> Vec<u8> {
        let (mut encoder, mut out) = (DotEncoder::default(), Vec::new());
        for piece in message.chunks(step) {
            encoder.encode(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn an_empty_message_is_a_dot_alone() {
        let got = decode(b".\r\nQUIT\r\n", 64);
        assert_eq!(
            (got.data.as_slice(), got.used, got.done, got.bare),
            (&b""[..], 3, true, false)
        );
        assert_eq!(encode(b"", 1), b".\r\n");
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_a_message() {
        for fake in [
            &b"a\n.\n"[..],
            b"a\n.\r\n",
            b"a\r.\r\n",
            b"a\r.\r",
            b"a\r\n.\n",
            b"a\r\n.\r",
            b"a\r\n.\rb\n",
            b"a\r\n.\r\r\n",
            b"a\r\r\n.\r\r\n",
            b"a\n\r.\r\n",
            b"a\r\n\0.\r\n",
            b"a\r\n. \r\n",
        ] {
            for step in 1..=fake.len() {
                assert!(
                    !decode(fake, step).done,
                    "{:?} in steps of {step}",
                    fake.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn bare_line_ends_are_data_and_are_reported() {
        for (input, data) in [
            (&b"a\nb\r\n.\r\n"[..], &b"a\nb\r\n"[..]),
            (b"a\rb\r\n.\r\n", b"a\rb\r\n"),
            (b"a\r\r\n.\r\n", b"a\r\r\n"),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n"),
            (b".\nb\r\n.\r\n", b"\nb\r\n"),
            (b"\r\n.\r\r\n.\r\n", b"\r\n\r\r\n"),
        ] {
            for step in 1..=input.len() {
                let got = decode(input, step);
                assert_eq!(got.data, data);
                assert!(got.done && got.bare && got.used == input.len());
            }
        }
    }

    #[test]
    fn clean_text_is_not_reported() {
        let got = decode(b"a\r\n..b\r\n\r\n..\r\n.\r\n", 1);
        assert_eq!(got.data, b"a\r\n.b\r\n\r\n.\r\n");
        assert!(got.done && !got.bare);
    }

    fn spiky_bytes() -> impl Strategy<Value = Vec<u8>> {
        let spike = prop_oneof![
            Just(b'\r'),
            Just(b'\n'),
            Just(b'.'),
            Just(b'a'),
            any::<u8>()
        ];
        proptest::collection::vec(spike, 0..200)
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_went(message in spiky_bytes(), out in 1_usize..50, back in 1_usize..50) {
            let wire = encode(&message, out);
            prop_assert_eq!(&wire, &encode(&message, 1000));
            let got = decode(&wire, back);
            let mut expected = message;
            if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert!(got.done);
            prop_assert_eq!(got.used, wire.len());
            prop_assert_eq!(got.data, expected);
        }

        #[test]
        fn decoding_does_not_depend_on_the_cuts(wire in spiky_bytes(), step in 1_usize..50) {
            let (whole, cut) = (decode(&wire, 1000), decode(&wire, step));
            prop_assert_eq!(whole.data, cut.data);
            prop_assert_eq!((whole.done, whole.bare, whole.used), (cut.done, cut.bare, cut.used));
        }
    }
}
