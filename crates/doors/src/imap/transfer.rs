//! Transfer encodings undone while they pass by, for BINARY (RFC 3516): base64, quoted-printable, or none.
//!
//! Never fails: what does not belong there is passed over in base64, and left as it is in quoted-printable.

use super::header::Encoding;

#[derive(Clone, Debug)]
pub(super) enum Decoder {
    Identity,
    Base64 {
        bits: u32,
        held: u32,
        over: bool,
    },
    /// What may still become an escape, or white space before a line's end.
    Quoted {
        held: Vec<u8>,
    },
}

/// White space at a line's end that is held: more than any line should have.
const HELD_BYTES: usize = 1_000;

impl Decoder {
    /// None for an encoding that is not known.
    pub(super) fn new(encoding: &Encoding) -> Option<Self> {
        match encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => Some(Self::Identity),
            Encoding::Base64 => Some(Self::Base64 {
                bits: 0,
                held: 0,
                over: false,
            }),
            Encoding::QuotedPrintable => Some(Self::Quoted { held: Vec::new() }),
            Encoding::Other(_) => None,
        }
    }

    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Identity => out.extend_from_slice(bytes),
            Self::Base64 { bits, held, over } => {
                for byte in bytes {
                    if *byte == b'=' {
                        *over = true;
                    }
                    let (Some(six), false) = (six_bits(*byte), *over) else {
                        continue;
                    };
                    *bits = ((*bits << 6) | six) & 0xff_ffff;
                    *held += 6;
                    if *held >= 8 {
                        *held -= 8;
                        out.push(u8::try_from((*bits >> *held) & 0xff).unwrap_or_default());
                    }
                }
            }
            Self::Quoted { held } => {
                for byte in bytes {
                    quoted(held, *byte, out);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Self::Quoted { held } = self {
            let held = std::mem::take(held);
            if held.first() == Some(&b'=') {
                out.extend_from_slice(&held);
            }
        }
    }
}

fn quoted(held: &mut Vec<u8>, byte: u8, out: &mut Vec<u8>) {
    match (held.as_slice(), byte) {
        ([], b'=' | b' ' | b'\t') => held.push(byte),
        ([], _) => out.push(byte),
        ([b'='], b'\r' | b' ' | b'\t') | ([b'='], b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
            held.push(byte)
        }
        // A soft line break, with or without its CR.
        ([b'=', ..], b'\n')
            if held
                .iter()
                .skip(1)
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) =>
        {
            held.clear()
        }
        ([b'=', high], _) if hex(*high).is_some() && hex(byte).is_some() => {
            let (high, low) = (
                hex(*high).unwrap_or_default(),
                hex(byte).unwrap_or_default(),
            );
            held.clear();
            out.push(high * 16 + low);
        }
        ([b'=', b' ' | b'\t', ..], b' ' | b'\t' | b'\r') if held.len() < HELD_BYTES => {
            held.push(byte)
        }
        ([b' ' | b'\t', ..], b' ' | b'\t') if held.len() < HELD_BYTES => held.push(byte),
        // White space at a line's end was put there on the way.
        ([b' ' | b'\t', ..], b'\r' | b'\n') => {
            held.clear();
            out.push(byte);
        }
        _ => {
            out.append(held);
            quoted(held, byte, out);
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn six_bits(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decoded(encoding: &Encoding, text: &[u8], step: usize) -> Vec<u8> {
        let mut decoder = Decoder::new(encoding).unwrap();
        let mut out = Vec::new();
        for piece in text.chunks(step) {
            decoder.decode(piece, &mut out);
        }
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn encodings_are_undone_however_they_are_cut() {
        for step in 1..12 {
            assert_eq!(
                decoded(&Encoding::Base64, b"aGVs\r\nbG8=\r\n", step),
                b"hello"
            );
            assert_eq!(
                decoded(
                    &Encoding::QuotedPrintable,
                    b"a=20b =\r\nc=3D\t \r\nd=zz= \n",
                    step
                ),
                b"a b c=\r\nd=zz"
            );
            assert_eq!(decoded(&Encoding::SevenBit, b"a=\0", step), b"a=\0");
        }
        assert!(Decoder::new(&Encoding::Other("X".into())).is_none());
    }
}
