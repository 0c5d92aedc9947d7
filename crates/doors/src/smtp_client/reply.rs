//! Replies of a server: a code, a status if it gives one, and its words; over several lines or one.
//!
//! It must never take half a reply for a whole one, keep more of one than the limits, nor let a control character of a server's words
//! through.

use super::limits::{REPLY_LINE_BYTES, REPLY_LINES, REPLY_TEXT_CHARS};
use crate::line::{Split, split};

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its code, 200 to 599.
    pub code: u16,
    /// Its words, on one line, without the code; with the status if it gives one.
    pub text: String,
}

/// What a reply is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Done.
    Yes,
    /// Go on.
    More,
    /// Not now.
    Later,
    /// Never.
    No,
}

impl Said {
    pub(super) fn class(&self) -> Class {
        match self.code / 100 {
            2 => Class::Yes,
            3 => Class::More,
            4 => Class::Later,
            _ => Class::No,
        }
    }

    /// The status of RFC 3463 that it begins with, if that fits its code.
    pub fn status(&self) -> Option<&str> {
        let first = self.text.split(' ').next()?;
        let mut parts = first.split('.');
        let class = parts.next()?;
        let sound =
            |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let (subject, detail) = (parts.next()?, parts.next()?);
        let fits = class.parse() == Ok(self.code / 100);
        (fits && sound(subject) && sound(detail) && parts.next().is_none()).then_some(first)
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// A reply as it comes in, line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    code: Option<u16>,
    lines: Vec<String>,
    chars: usize,
}

/// What the next line brought.
pub(super) enum Read {
    /// More bytes are needed.
    Incomplete,
    /// A line of more to come was taken.
    Line {
        /// So much of the input.
        taken: usize,
    },
    /// The reply is whole: all its lines.
    Whole {
        /// So much of the input.
        taken: usize,
        /// It.
        said: Said,
        /// Its lines, each without the code.
        lines: Vec<String>,
    },
    /// It is no SMTP.
    Garbage(&'static str),
}

impl Reader {
    /// Reads a line.
    pub(super) fn read(&mut self, input: &[u8]) -> Read {
        let (line, taken) = match split(input, REPLY_LINE_BYTES) {
            Split::Line { line, taken } => (line, taken),
            Split::Incomplete => return Read::Incomplete,
            Split::BareLineEnd => return Read::Garbage("a line that does not end with CRLF"),
            Split::TooLong => return Read::Garbage("a line that is too long"),
        };
        let Some((code, last, text)) = parse(line) else {
            return Read::Garbage("a line without a code");
        };
        if self.code.is_some_and(|before| before != code) {
            return Read::Garbage("a reply with two codes");
        }
        self.code = Some(code);
        if self.lines.len() >= REPLY_LINES {
            return Read::Garbage("a reply without end");
        }
        let text = words(text, REPLY_TEXT_CHARS.saturating_sub(self.chars));
        self.chars += text.chars().count();
        self.lines.push(text);
        if !last {
            return Read::Line { taken };
        }
        let lines = std::mem::take(&mut self.lines);
        *self = Self::default();
        let said = Said {
            code,
            text: joined(&lines),
        };
        Read::Whole { taken, said, lines }
    }

    /// Whether a reply has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.code.is_some()
    }
}

/// Lines that repeat the status say it once.
fn joined(lines: &[String]) -> String {
    let first = lines.first().map(String::as_str).unwrap_or_default();
    let status = first.split(' ').next().filter(|word| word.contains('.'));
    let mut text = first.to_owned();
    for line in lines.iter().skip(1) {
        let line = match status.and_then(|status| line.strip_prefix(status)) {
            Some(rest) => rest.trim_start(),
            None => line,
        };
        if !line.is_empty() {
            text.push(' ');
            text.push_str(line);
        }
    }
    text
}

fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let [class @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = code else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    let code = digit(class) * 100 + digit(tens) * 10 + digit(ones);
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// Printable text on one line; what is no UTF-8 as `?`.
fn words(text: &[u8], most: usize) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .take(most)
        .map(|c| match c {
            '\t' => ' ',
            char::REPLACEMENT_CHARACTER => '?',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn read(input: &[u8]) -> Result<(Said, Vec<String>), &'static str> {
        let (mut reader, mut at) = (Reader::default(), 0);
        loop {
            match reader.read(&input[at..]) {
                Read::Incomplete => return Err("incomplete"),
                Read::Line { taken } => at += taken,
                Read::Whole { taken, said, lines } => {
                    assert_eq!(at + taken, input.len());
                    assert!(!reader.is_inside());
                    return Ok((said, lines));
                }
                Read::Garbage(why) => return Err(why),
            }
        }
    }

    #[test]
    fn a_reply_of_several_lines_is_one() {
        let (said, lines) = read(b"250-mx.example\r\n250-SIZE 10\r\n250 HELP\r\n").unwrap();
        assert_eq!((said.code, lines.len()), (250, 3));
        assert_eq!(said.text, "mx.example SIZE 10 HELP");
        let (said, _) = read(b"550-5.7.1 We do\r\n550 5.7.1 not like you\r\n").unwrap();
        assert_eq!(said.to_string(), "550 5.7.1 We do not like you");
        assert_eq!(said.status(), Some("5.7.1"));
        assert_eq!(read(b"220\r\n").unwrap().0.text, "");
    }

    #[test]
    fn a_status_counts_only_where_it_fits_the_code() {
        for (line, status) in [
            ("550 5.1.1 no", Some("5.1.1")),
            ("550 4.1.1 no", None),
            ("550 5.1 no", None),
            ("550 5.1.1.1 no", None),
            ("550 5.1111.1 no", None),
            ("550 no", None),
        ] {
            let (said, _) = read(format!("{line}\r\n").as_bytes()).unwrap();
            assert_eq!(said.status(), status, "{line}");
        }
    }

    #[test]
    fn what_is_no_smtp_is_garbage_and_a_servers_words_stay_on_their_line() {
        for input in [
            &b"HTTP/1.1 400 Bad\r\n"[..],
            b"\r\n",
            b"25\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"250x\r\n",
            b"250 a\n250 b\r\n",
            b"250-a\r\n251 b\r\n",
        ] {
            assert!(read(input).is_err(), "{}", input.escape_ascii());
        }
        let long = vec![b'2'; REPLY_LINE_BYTES + 1];
        assert_eq!(read(&long), Err("a line that is too long"));
        let endless = b"250-a\r\n".repeat(REPLY_LINES + 1);
        assert_eq!(read(&endless), Err("a reply without end"));
        let (said, _) = read(b"550 a\x07b\xff\xc2\x85c\r\n").unwrap();
        assert_eq!(said.text, "a?b??c");
        let much = [&b"550 "[..], &vec![b'x'; 2_000], b"\r\n"].concat();
        assert_eq!(read(&much).unwrap().0.text.len(), REPLY_TEXT_CHARS);
    }
}
