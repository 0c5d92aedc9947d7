//! The parts of a message, found while it passes by: where each header and each body begins and ends.
//!
//! No body is held, only headers, up to a bound. Any bytes are a message: what is no MIME is one part. Offsets are of the stored octets, with whatever
//! line ends they have.

use memchr::memchr;

use super::header::{ContentType, Encoding, content_type, encoding};
use super::limits::{HEADER_BYTES, HEADERS_BYTES, PART_DEPTH, PARTS};

/// What of a line is looked at: a boundary has 70 octets at most (RFC 2046), some programs' are longer.
const LINE_HEAD_BYTES: usize = 300;

/// One part: the message itself, a part of a multipart, or the message in a `message/rfc822`.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) header_start: u64,
    pub(super) body_start: u64,
    pub(super) end: u64,
    /// Lines of the body.
    pub(super) lines: u64,
    /// The header with its empty line, as far as it is held.
    pub(super) header: Vec<u8>,
    pub(super) content: ContentType,
    pub(super) encoding: Encoding,
    pub(super) inside: Inside,
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Content,
    /// Parts, by their places.
    Parts(Vec<usize>),
    /// A message, by its place.
    Message(usize),
}

/// How far a scan has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// To the end of the message's own header.
    Header,
    /// To the end.
    Parts,
}

/// A message's parts; the first is the message.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) struct Scanner {
    depth: Depth,
    parts: Vec<Part>,
    frames: Vec<Frame>,
    place: Place,
    at: u64,
    line_start: u64,
    line: Vec<u8>,
    line_bytes: u64,
    last_byte: u8,
    /// How many octets the last line's end had.
    last_end: u64,
    held: usize,
    done: bool,
}

#[derive(Debug)]
struct Frame {
    part: usize,
    /// None for a `message/rfc822`.
    boundary: Option<Vec<u8>>,
    digest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header(usize),
    Body(usize),
}

impl Scanner {
    pub(super) fn new(depth: Depth) -> Self {
        let mut scanner = Self {
            depth,
            parts: Vec::new(),
            frames: Vec::new(),
            place: Place::Header(0),
            at: 0,
            line_start: 0,
            line: Vec::new(),
            line_bytes: 0,
            last_byte: 0,
            last_end: 0,
            held: 0,
            done: false,
        };
        scanner.begin(0, ContentType::plain());
        scanner
    }

    /// Whether it has seen what it is for.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !self.done && !bytes.is_empty() {
            let (piece, ended) = match memchr(b'\n', bytes) {
                Some(end) => (bytes.get(..=end).unwrap_or(bytes), true),
                None => (bytes, false),
            };
            bytes = bytes.get(piece.len()..).unwrap_or_default();
            let room = self.room();
            self.line
                .extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            let before = match piece {
                [.., before, b'\n'] => *before,
                _ => self.last_byte,
            };
            self.last_byte = piece.last().copied().unwrap_or_default();
            self.at += piece.len() as u64;
            self.line_bytes += piece.len() as u64;
            if ended {
                let end_bytes = if before == b'\r' && self.line_bytes > 1 {
                    2
                } else {
                    1
                };
                self.line_ended(end_bytes);
            }
        }
    }

    pub(super) fn finish(mut self) -> Structure {
        if !self.done && self.line_bytes > 0 {
            self.line_ended(0);
        }
        if !self.done {
            if let Place::Header(part) = self.place {
                // A header without an end: nothing follows it.
                self.set_body_start(part, self.at);
            }
            let at = self.at;
            self.close_frames(0, at);
            self.close_current(at);
        }
        for part in &mut self.parts {
            part.end = part.end.max(part.body_start);
        }
        Structure { parts: self.parts }
    }

    /// How much of this line is still wanted.
    fn room(&self) -> usize {
        let limit = match self.place {
            Place::Header(part) => {
                let header = self.parts.get(part).map_or(0, |part| part.header.len());
                HEADER_BYTES
                    .saturating_sub(header)
                    .min(HEADERS_BYTES.saturating_sub(self.held))
                    .max(LINE_HEAD_BYTES)
            }
            Place::Body(_) => LINE_HEAD_BYTES,
        };
        limit.saturating_sub(self.line.len())
    }

    fn begin(&mut self, header_start: u64, content: ContentType) -> usize {
        self.parts.push(Part {
            header_start,
            body_start: header_start,
            end: header_start,
            lines: 0,
            header: Vec::new(),
            content,
            encoding: Encoding::SevenBit,
            inside: Inside::Content,
        });
        self.parts.len() - 1
    }

    fn line_ended(&mut self, end_bytes: u64) {
        let line = std::mem::take(&mut self.line);
        let text_bytes = self.line_bytes - end_bytes;
        if line.starts_with(b"--") && self.is_boundary(&line) {
            self.last_end = end_bytes;
        } else {
            match self.place {
                Place::Header(part) => self.header_line(part, &line, text_bytes),
                Place::Body(_) => self.count_line(),
            }
            self.last_end = end_bytes;
        }
        self.line = line;
        self.line.clear();
        self.line_bytes = 0;
        self.line_start = self.at;
    }

    fn count_line(&mut self) {
        // Every open message, and the part at hand, has this line.
        if let Place::Body(part) = self.place
            && let Some(part) = self.parts.get_mut(part)
        {
            part.lines += 1;
        }
        self.count_in_frames();
    }

    fn count_in_frames(&mut self) {
        for frame in &self.frames {
            if Place::Body(frame.part) != self.place
                && let Some(part) = self.parts.get_mut(frame.part)
            {
                part.lines += 1;
            }
        }
    }

    fn header_line(&mut self, at: usize, line: &[u8], text_bytes: u64) {
        self.count_in_frames();
        let room = HEADERS_BYTES.saturating_sub(self.held);
        if let Some(part) = self.parts.get_mut(at) {
            let keep = line
                .len()
                .min(room)
                .min(HEADER_BYTES.saturating_sub(part.header.len()));
            part.header
                .extend_from_slice(line.get(..keep).unwrap_or_default());
            self.held += keep;
        }
        if text_bytes == 0 {
            self.header_ended(at);
        }
    }

    fn set_body_start(&mut self, at: usize, start: u64) {
        if let Some(part) = self.parts.get_mut(at) {
            part.body_start = start;
            part.end = start;
        }
    }

    fn header_ended(&mut self, at: usize) {
        self.set_body_start(at, self.at);
        self.place = Place::Body(at);
        if self.depth == Depth::Header {
            self.done = true;
            return;
        }
        let may_nest = self.frames.len() < PART_DEPTH && self.parts.len() < PARTS;
        let Some(part) = self.parts.get_mut(at) else {
            return;
        };
        part.encoding = encoding(&part.header);
        part.content = content_type(&part.header).unwrap_or_else(|| part.content.clone());
        let is_message =
            part.content.is("message", "rfc822") || part.content.is("message", "global");
        let boundary = part.content.boundary();
        if part.content.is_kind("multipart")
            && may_nest
            && let Some(boundary) = boundary
        {
            part.inside = Inside::Parts(Vec::new());
            let digest = part.content.is("multipart", "digest");
            self.frames.push(Frame {
                part: at,
                boundary: Some(boundary),
                digest,
            });
        } else if is_message && may_nest && part.encoding.is_identity() {
            let start = self.at;
            let child = self.begin(start, ContentType::plain());
            if let Some(part) = self.parts.get_mut(at) {
                part.inside = Inside::Message(child);
            }
            self.frames.push(Frame {
                part: at,
                boundary: None,
                digest: false,
            });
            self.place = Place::Header(child);
        }
    }

    /// Ends what a boundary ends, and begins what it begins.
    fn is_boundary(&mut self, line: &[u8]) -> bool {
        let text = line.trim_ascii_end();
        let text = text.get(2..).unwrap_or_default();
        let found = self
            .frames
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, frame)| {
                let rest = text.strip_prefix(frame.boundary.as_deref()?)?;
                match rest {
                    b"" => Some((at, false)),
                    b"--" => Some((at, true)),
                    _ => None,
                }
            });
        let Some((at, last)) = found else {
            return false;
        };
        if let Place::Header(part) = self.place {
            self.set_body_start(part, self.line_start);
        }
        // The line end before a boundary is the boundary's (RFC 2046 section 5.1.1).
        let end = self.line_start.saturating_sub(self.last_end);
        self.close_frames(at + 1, end);
        let owner = self.frames.get(at).map_or(0, |frame| frame.part);
        if self.place != Place::Body(owner) {
            self.close_current(end);
        }
        for frame in self.frames.iter().take(at + 1) {
            if let Some(part) = self.parts.get_mut(frame.part) {
                part.lines += 1;
            }
        }
        if last {
            self.frames.truncate(at);
            self.place = Place::Body(owner);
            return true;
        }
        if self.parts.len() >= PARTS {
            self.place = Place::Body(owner);
            return true;
        }
        let digest = self.frames.get(at).is_some_and(|frame| frame.digest);
        let content = if digest {
            ContentType::message()
        } else {
            ContentType::plain()
        };
        let child = self.begin(self.at, content);
        if let Some(Inside::Parts(children)) =
            self.parts.get_mut(owner).map(|part| &mut part.inside)
        {
            children.push(child);
        }
        self.place = Place::Header(child);
        true
    }

    fn close_frames(&mut self, from: usize, end: u64) {
        for frame in self.frames.drain(from.min(self.frames.len())..) {
            if let Some(part) = self.parts.get_mut(frame.part) {
                part.end = end;
            }
        }
    }

    fn close_current(&mut self, end: u64) {
        let (Place::Header(at) | Place::Body(at)) = self.place;
        if let Some(part) = self.parts.get_mut(at) {
            part.end = end;
        }
        // The whole message ends with the last octet.
        if at != 0
            && self.frames.is_empty()
            && let Some(root) = self.parts.first_mut()
        {
            root.end = end;
        }
    }
}

/// Where something stands in the stored octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    pub(super) fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl Part {
    pub(super) fn header_span(&self) -> Span {
        Span {
            start: self.header_start,
            end: self.body_start,
        }
    }

    pub(super) fn body_span(&self) -> Span {
        Span {
            start: self.body_start,
            end: self.end,
        }
    }
}

impl Structure {
    pub(super) fn root(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// The part of a path (RFC 9051 section 6.4.5.1); of the empty path the message.
    pub(super) fn part(&self, path: &[u32]) -> Option<&Part> {
        let mut at = 0;
        // Whether `at` is a message, whose parts the next number counts, or a part in its own right.
        let mut is_message = true;
        for number in path {
            if !is_message {
                match self.parts.get(at)?.inside {
                    Inside::Message(child) => at = child,
                    Inside::Parts(_) => {}
                    Inside::Content => return None,
                }
            }
            match &self.parts.get(at)?.inside {
                Inside::Parts(children) => {
                    at = *children.get(usize::try_from(*number).ok()?.checked_sub(1)?)?
                }
                // What is no multipart has one part, itself.
                Inside::Content | Inside::Message(_) => {
                    if *number != 1 {
                        return None;
                    }
                }
            }
            is_message = false;
        }
        self.parts.get(at)
    }

    /// The message in a `message/rfc822`.
    pub(super) fn message_in(&self, part: &Part) -> Option<&Part> {
        match part.inside {
            Inside::Message(child) => self.parts.get(child),
            Inside::Content | Inside::Parts(_) => None,
        }
    }
}

#[cfg(test)]
pub(super) fn scan(message: &[u8], step: usize) -> Structure {
    let mut scanner = Scanner::new(Depth::Parts);
    for piece in message.chunks(step.max(1)) {
        scanner.take(piece);
    }
    scanner.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const NESTED: &[u8] = b"Subject: a\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain\r\n\r\nx\r\ny\r\n--c\r\nContent-Type: text/html\r\n\r\n<x>\r\n--c--\r\n--b--\r\nepilogue\r\n";

    fn body<'a>(message: &'a [u8], structure: &Structure, path: &[u32]) -> &'a [u8] {
        let span = structure.part(path).unwrap().body_span();
        &message[span.start as usize..span.end as usize]
    }

    #[test]
    fn parts_are_found_however_the_message_is_cut() {
        for step in 1..=NESTED.len() {
            let structure = scan(NESTED, step);
            assert_eq!(body(NESTED, &structure, &[1]), b"one", "{step}");
            assert_eq!(body(NESTED, &structure, &[2, 1]), b"x\r\ny");
            assert_eq!(body(NESTED, &structure, &[2, 2]), b"<x>");
            assert!(body(NESTED, &structure, &[2]).starts_with(b"Subject: in\r\n"));
            assert!(body(NESTED, &structure, &[2]).ends_with(b"--c--"));
            assert!(body(NESTED, &structure, &[]).ends_with(b"epilogue\r\n"));
            assert_eq!(structure.part(&[2, 1]).unwrap().lines, 2);
            assert!(structure.part(&[3]).is_none() && structure.part(&[1, 1]).is_none());
        }
    }

    #[test]
    fn a_plain_message_is_its_own_first_part() {
        let message = b"A: 1\r\n\r\nhello\r\n";
        let structure = scan(message, 3);
        assert_eq!(body(message, &structure, &[1]), b"hello\r\n");
        assert_eq!(structure.part(&[1]).unwrap().lines, 1);
        assert!(structure.part(&[2]).is_none());
        for odd in [
            &b""[..],
            b"no header end",
            b"\n",
            b"A: 1\nB: 2\n\nx",
            b"\r\n\r\n",
        ] {
            let structure = scan(odd, 1);
            assert_eq!(structure.root().unwrap().end, odd.len() as u64, "{odd:?}");
        }
    }

    #[test]
    fn nesting_and_numbers_of_parts_have_an_end() {
        let mut deep = Vec::new();
        for level in 0..200 {
            deep.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")
                    .as_bytes(),
            );
        }
        assert!(scan(&deep, 1000).parts.len() <= PART_DEPTH + 2);
        let mut wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
        for _ in 0..5_000 {
            wide.extend_from_slice(b"--b\r\n\r\nx\r\n");
        }
        assert_eq!(scan(&wide, 1000).parts.len(), PARTS);
        let endless = [
            b"X: ".to_vec(),
            vec![b'y'; 3 * HEADER_BYTES],
            b"\r\n\r\nbody".to_vec(),
        ]
        .concat();
        let structure = scan(&endless, 1000);
        assert!(structure.root().unwrap().header.len() <= HEADER_BYTES);
        assert_eq!(body(&endless, &structure, &[1]), b"body");
    }

    proptest! {
        #[test]
        fn spans_lie_in_each_other_whatever_comes(words in proptest::collection::vec(proptest::sample::select(vec!["--b\r\n", "--b--\r\n", "--c\n", "\r\n", "\n", "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: multipart/digest; boundary=c\r\n", "Content-Type: message/rfc822\r\n\r\n", "text", "\r", "-"]), 0..40), step in 1_usize..9) {
            let message = words.concat();
            let structure = scan(message.as_bytes(), step);
            let whole = scan(message.as_bytes(), message.len());
            prop_assert_eq!(structure.parts.len(), whole.parts.len());
            for (part, other) in structure.parts.iter().zip(&whole.parts) {
                prop_assert!(part.header_start <= part.body_start && part.body_start <= part.end && part.end <= message.len() as u64);
                prop_assert_eq!((part.header_start, part.body_start, part.end, part.lines), (other.header_start, other.body_start, other.end, other.lines));
            }
            prop_assert_eq!(structure.parts[0].end, message.len() as u64);
        }
    }
}
