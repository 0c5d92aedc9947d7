//! BER as RFC 4511 section 5.1 restricts it: definite lengths, tags of one octet.
//!
//! Reads from a slice without copying and without recursion; must never panic, nor believe a length beyond the bytes that are there. Our own,
//! as the codec crates at hand bring a runtime with them, copy every value, and turn what is no UTF-8 into another text.

/// Tags of the universal class that LDAP uses.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The octets of a length are at most four: no message comes near 4 GiB.
const LENGTH_OCTETS_MAX: usize = 4;

/// Bytes that are no BER, or not the BER that was expected here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Read<T> = Result<T, Malformed>;

/// What stands at the beginning of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// More bytes are needed.
    Incomplete,
    /// The content of one element, and the octets that it takes in all.
    Whole { content: &'a [u8], taken: usize },
    /// It announces more than may be.
    TooLong,
    /// It is no element with that tag.
    Malformed,
}

/// Looks for one element with a tag, of at most so many octets.
pub(super) fn frame(bytes: &[u8], tag: u8, octets_max: usize) -> Frame<'_> {
    match bytes.first() {
        None => return Frame::Incomplete,
        Some(first) if *first != tag => return Frame::Malformed,
        Some(_) => {}
    }
    let rest = bytes.get(1..).unwrap_or_default();
    let (length, header) = match length(rest) {
        Length::Is { length, octets } => (length, 1 + octets),
        Length::Incomplete => return Frame::Incomplete,
        Length::Malformed => return Frame::Malformed,
    };
    let taken = header.saturating_add(length);
    if taken > octets_max {
        return Frame::TooLong;
    }
    match bytes.get(header..taken) {
        Some(content) => Frame::Whole { content, taken },
        None => Frame::Incomplete,
    }
}

enum Length {
    Incomplete,
    Malformed,
    Is { length: usize, octets: usize },
}

fn length(bytes: &[u8]) -> Length {
    let Some(first) = bytes.first() else {
        return Length::Incomplete;
    };
    if *first < 0x80 {
        return Length::Is {
            length: usize::from(*first),
            octets: 1,
        };
    }
    let count = usize::from(*first & 0x7f);
    // 0x80 is the indefinite form, which LDAP does not have.
    if count == 0 || count > LENGTH_OCTETS_MAX {
        return Length::Malformed;
    }
    match bytes.get(1..=count) {
        None => Length::Incomplete,
        Some(octets) => Length::Is {
            length: octets
                .iter()
                .fold(0, |length, octet| (length << 8) | usize::from(*octet)),
            octets: 1 + count,
        },
    }
}

/// Reads elements one after another.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self { rest: content }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag of the next element, if there is one.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element: its tag and content.
    pub(super) fn element(&mut self) -> Read<(u8, &'a [u8])> {
        let (tag, rest) = self.rest.split_first().ok_or(Malformed)?;
        // Tags of more octets are not in LDAP.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let Length::Is { length, octets } = length(rest) else {
            return Err(Malformed);
        };
        let end = octets.checked_add(length).ok_or(Malformed)?;
        let content = rest.get(octets..end).ok_or(Malformed)?;
        self.rest = rest.get(end..).unwrap_or_default();
        Ok((*tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Read<&'a [u8]> {
        match self.element()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Read<Option<&'a [u8]>> {
        if self.peek() == Some(tag) {
            self.expect(tag).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn inside(&mut self, tag: u8) -> Read<Reader<'a>> {
        self.expect(tag).map(Reader::new)
    }

    pub(super) fn text(&mut self, tag: u8) -> Read<&'a str> {
        std::str::from_utf8(self.expect(tag)?).map_err(|_| Malformed)
    }

    pub(super) fn integer(&mut self, tag: u8) -> Read<i32> {
        integer(self.expect(tag)?)
    }

    pub(super) fn boolean(&mut self) -> Read<bool> {
        boolean(self.expect(BOOLEAN)?)
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Read<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// An integer of at most four octets: every number in LDAP is at most 2^31 - 1.
pub(super) fn integer(content: &[u8]) -> Read<i32> {
    let first = content.first().ok_or(Malformed)?;
    if content.len() > 4 {
        return Err(Malformed);
    }
    let sign = if first & 0x80 == 0 { 0_i32 } else { -1 };
    Ok(content
        .iter()
        .fold(sign, |number, octet| (number << 8) | i32::from(*octet)))
}

/// Anything but zero is yes.
pub(super) fn boolean(content: &[u8]) -> Read<bool> {
    match content {
        [octet] => Ok(*octet != 0),
        _ => Err(Malformed),
    }
}

/// Appends an element with content.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_length(out, content.len());
    out.extend_from_slice(content);
}

/// Appends a number, in as few octets as it takes.
pub(super) fn put_integer(out: &mut Vec<u8>, tag: u8, number: i32) {
    let octets = number.to_be_bytes();
    let needless = octets
        .windows(2)
        .take_while(|pair| {
            matches!(pair, [0, next] if next & 0x80 == 0)
                || matches!(pair, [0xff, next] if next & 0x80 != 0)
        })
        .count();
    put(out, tag, octets.get(needless..).unwrap_or(&octets));
}

/// Appends an element whose content is written by `inside`. Its length takes five octets whatever it is, which BER allows, so that nothing
/// is moved afterwards.
pub(super) fn put_inside(out: &mut Vec<u8>, tag: u8, inside: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    out.push(0x84);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    inside(out);
    let length = u32::try_from(out.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(octet) => out.extend_from_slice(&[0x81, octet]),
        Err(_) => {
            let long = u32::try_from(length).unwrap_or(u32::MAX);
            out.push(0x84);
            out.extend_from_slice(&long.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read() {
        for number in [
            0,
            1,
            127,
            128,
            255,
            256,
            65_535,
            i32::MAX,
            -1,
            -128,
            -129,
            i32::MIN,
        ] {
            let mut out = Vec::new();
            put_integer(&mut out, INTEGER, number);
            assert_eq!(Reader::new(&out).integer(INTEGER), Ok(number));
        }
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let mut out = Vec::new();
            put_inside(&mut out, SEQUENCE, |out| {
                put(out, OCTETS, &vec![b'x'; length])
            });
            let Frame::Whole { content, taken } = frame(&out, SEQUENCE, usize::MAX) else {
                panic!("{length}");
            };
            assert_eq!(taken, out.len());
            assert_eq!(
                Reader::new(content).expect(OCTETS).map(<[u8]>::len),
                Ok(length)
            );
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_waited_for_or_refused() {
        assert_eq!(frame(&[], SEQUENCE, 100), Frame::Incomplete);
        assert_eq!(frame(&[0x30], SEQUENCE, 100), Frame::Incomplete);
        assert_eq!(frame(&[0x30, 0x82, 0], SEQUENCE, 100), Frame::Incomplete);
        assert_eq!(frame(&[0x30, 5, 0], SEQUENCE, 100), Frame::Incomplete);
        assert_eq!(frame(&[0x30, 99, 0], SEQUENCE, 100), Frame::TooLong);
        assert_eq!(
            frame(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], SEQUENCE, 100),
            Frame::TooLong
        );
        assert_eq!(frame(&[0x30, 0x80], SEQUENCE, 100), Frame::Malformed);
        assert_eq!(
            frame(&[0x30, 0x85, 0, 0, 0, 0, 0], SEQUENCE, 100),
            Frame::Malformed
        );
        assert_eq!(frame(b"GET / HTTP/1.1", SEQUENCE, 100), Frame::Malformed);
        assert_eq!(Reader::new(&[0x04, 9, 1]).element(), Err(Malformed));
        assert_eq!(Reader::new(&[0x1f, 1, 1]).element(), Err(Malformed));
        assert_eq!(integer(&[1, 2, 3, 4, 5]), Err(Malformed));
    }
}
