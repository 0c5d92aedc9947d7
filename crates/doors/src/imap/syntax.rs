//! The words that IMAP's grammar is made of (RFC 9051 section 9): atoms, strings, numbers.
//!
//! Works on a command that is complete, its literals in place. Nothing is guessed: what the grammar doesn't have is [`Bad`].

use std::borrow::Cow;

/// Why a command can't be read, for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad(pub(super) &'static str);

pub(super) type Read<T> = Result<T, Bad>;

const ARGUMENT: Bad = Bad("Wrong or missing argument");
const NUMBER: Bad = Bad("A number is wrong");
const STRING: Bad = Bad("A string is wrong");

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Read<()> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Bad("More arguments than the command has")),
        }
    }

    pub(super) fn eat(&mut self, byte: u8) -> Option<()> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Some(())
            }
            _ => None,
        }
    }

    pub(super) fn expect(&mut self, byte: u8) -> Read<()> {
        self.eat(byte).ok_or(ARGUMENT)
    }

    pub(super) fn space(&mut self) -> Read<()> {
        self.expect(b' ')
    }

    /// Takes a word of the grammar, in any case.
    pub(super) fn eat_word(&mut self, word: &str) -> Option<()> {
        let (start, rest) = self.rest.split_at_checked(word.len())?;
        start
            .eq_ignore_ascii_case(word.as_bytes())
            .then(|| self.rest = rest)
    }

    fn take_while(&mut self, good: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|byte| !good(*byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// As `atom` has it.
    pub(super) fn atom(&mut self) -> Read<&'a str> {
        text(self.take_while(is_atom_char)).ok_or(ARGUMENT)
    }

    pub(super) fn tag(&mut self) -> Read<&'a str> {
        text(self.take_while(|byte| is_astring_char(byte) && byte != b'+'))
            .ok_or(Bad("A command begins with a tag"))
    }

    /// A keyword of a response, a mechanism, a section: letters, digits, dots, hyphens.
    pub(super) fn word(&mut self) -> Read<String> {
        let word = self.take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'=' | b'_' | b'/' | b'8')
        });
        Ok(text(word).ok_or(ARGUMENT)?.to_ascii_uppercase())
    }

    pub(super) fn number64(&mut self) -> Read<u64> {
        let digits = text(self.take_while(|byte| byte.is_ascii_digit())).ok_or(NUMBER)?;
        digits.parse().map_err(|_| NUMBER)
    }

    pub(super) fn number(&mut self) -> Read<u32> {
        u32::try_from(self.number64()?).map_err(|_| NUMBER)
    }

    /// `astring`.
    pub(super) fn astring(&mut self) -> Read<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.take_while(is_astring_char) {
                [] => Err(ARGUMENT),
                atom => Ok(Cow::Borrowed(atom)),
            },
        }
    }

    pub(super) fn astring_text(&mut self) -> Read<String> {
        String::from_utf8(self.astring()?.into_owned()).map_err(|_| Bad("A text is not UTF-8"))
    }

    /// `nstring`: none for NIL.
    pub(super) fn nstring(&mut self) -> Read<Option<Cow<'a, [u8]>>> {
        if self.eat_word("NIL").is_some() {
            return Ok(None);
        }
        self.string().map(Some)
    }

    /// `list-mailbox`: wildcards may stand in it.
    pub(super) fn pattern(&mut self) -> Read<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.take_while(|byte| is_astring_char(byte) || matches!(byte, b'%' | b'*'))
            {
                [] => Err(ARGUMENT),
                atom => Ok(Cow::Borrowed(atom)),
            },
        }
    }

    /// `string`: quoted, or a literal.
    pub(super) fn string(&mut self) -> Read<Cow<'a, [u8]>> {
        if self.eat(b'"').is_some() {
            return self.quoted();
        }
        self.eat(b'~');
        self.expect(b'{')?;
        let length = usize::try_from(self.number64()?).map_err(|_| STRING)?;
        self.eat(b'+');
        self.eat_word("}\r\n").ok_or(STRING)?;
        let (literal, rest) = self.rest.split_at_checked(length).ok_or(STRING)?;
        self.rest = rest;
        if literal.contains(&0) {
            return Err(Bad("A NUL in a string"));
        }
        Ok(Cow::Borrowed(literal))
    }

    fn quoted(&mut self) -> Read<Cow<'a, [u8]>> {
        let plain = self.take_while(|byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"').is_some() {
            return Ok(Cow::Borrowed(plain));
        }
        let mut whole = plain.to_vec();
        loop {
            match self.rest.split_first() {
                Some((b'"', rest)) => {
                    self.rest = rest;
                    return Ok(Cow::Owned(whole));
                }
                Some((b'\\', [escaped @ (b'"' | b'\\'), rest @ ..])) => {
                    whole.push(*escaped);
                    self.rest = rest;
                }
                Some((byte, rest)) if !matches!(byte, b'\\' | b'\r' | b'\n' | 0) => {
                    whole.push(*byte);
                    self.rest = rest;
                }
                _ => return Err(STRING),
            }
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
}

/// `ATOM-CHAR`.
pub(super) fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR`; and bytes of UTF-8, which some programs send unquoted.
fn is_astring_char(byte: u8) -> bool {
    is_atom_char(byte) || byte == b']' || byte >= 0x80
}

/// What a line that has come announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// The command is complete.
    Complete,
    /// So many octets follow.
    Literal {
        /// How many.
        bytes: u64,
        /// Whether the client waits to be told to go on.
        waits: Waits,
        /// Where the announcement begins in the line.
        at: usize,
    },
    /// The length of a literal that no number can hold.
    Endless,
}

/// Whether a client waits before it sends a literal (RFC 7888).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Yes,
    No,
}

/// Looks at a line's end, without its CRLF. In a quoted string nothing is announced.
pub(super) fn line_end(line: &[u8]) -> LineEnd {
    let Some(inside) = line.strip_suffix(b"}") else {
        return LineEnd::Complete;
    };
    let (inside, waits) = match inside.strip_suffix(b"+") {
        Some(inside) => (inside, Waits::No),
        None => (inside, Waits::Yes),
    };
    let digits = inside
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (before, number) = inside
        .split_at_checked(inside.len() - digits)
        .unwrap_or((inside, &[]));
    let Some(before) = before.strip_suffix(b"{") else {
        return LineEnd::Complete;
    };
    if number.is_empty() || is_quote_open(before) {
        return LineEnd::Complete;
    }
    let before = before.strip_suffix(b"~").unwrap_or(before);
    match std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
    {
        Some(bytes) => LineEnd::Literal {
            bytes,
            waits,
            at: before.len(),
        },
        None => LineEnd::Endless,
    }
}

fn is_quote_open(line: &[u8]) -> bool {
    let (mut open, mut escaped) = (false, false);
    for byte in line {
        match (open, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => open = !open,
            _ => {}
        }
    }
    open
}

/// Writes a string so that any client reads it: quoted where that can be, as a literal where not.
pub(super) fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    let plain = text.len() <= 1_000 && text.iter().all(|byte| (b' '..=b'~').contains(byte));
    if plain {
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        // A NUL can't stand in a literal.
        out.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
        out.extend(
            text.iter()
                .map(|byte| if *byte == 0 { b'?' } else { *byte }),
        );
    }
}

/// The same, or NIL.
pub(super) fn put_nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        None => out.extend_from_slice(b"NIL"),
        Some(text) => put_string(out, text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_come_in_three_ways() {
        let mut cursor = Cursor::new(b"in]box \"a \\\"b\\\\\" {3}\r\nx\r\n {1+}\r\ny NIL");
        assert_eq!(&*cursor.astring().unwrap(), b"in]box");
        cursor.space().unwrap();
        assert_eq!(&*cursor.astring().unwrap(), b"a \"b\\");
        cursor.space().unwrap();
        assert_eq!(&*cursor.astring().unwrap(), b"x\r\n");
        cursor.space().unwrap();
        assert_eq!(&*cursor.astring().unwrap(), b"y");
        cursor.space().unwrap();
        assert_eq!(cursor.nstring().unwrap(), None);
        assert!(cursor.end().is_ok());
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for bad in [
            &b"\"a"[..],
            b"\"a\\b\"",
            b"{5}\r\nabc",
            b"{x}\r\n",
            b"",
            b"(",
            b"{99999999999999999999}\r\n",
            b"{3}\r\na\0b",
            b"\"a\r\nb\"",
        ] {
            assert!(Cursor::new(bad).astring().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_literal_is_announced_at_a_lines_end_and_not_within_quotes() {
        let literal = |bytes, waits, at| LineEnd::Literal { bytes, waits, at };
        assert_eq!(line_end(b"a LOGIN {5}"), literal(5, Waits::Yes, 8));
        assert_eq!(line_end(b"a LOGIN {5+}"), literal(5, Waits::No, 8));
        assert_eq!(line_end(b"a APPEND x ~{5}"), literal(5, Waits::Yes, 11));
        assert_eq!(line_end(b"a LOGIN \"x{5}"), LineEnd::Complete);
        assert_eq!(
            line_end(b"a LOGIN \"x\\\"\" {5}"),
            literal(5, Waits::Yes, 14)
        );
        assert_eq!(line_end(b"a X {}"), LineEnd::Complete);
        assert_eq!(line_end(b"a X {99999999999999999999}"), LineEnd::Endless);
        assert_eq!(line_end(b"a NOOP"), LineEnd::Complete);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [&b""[..], b"a b", b"a\"b\\c", b"\xc3\xa9", b"x\r\ny", b"{3}"] {
            let mut out = Vec::new();
            put_string(&mut out, text);
            assert_eq!(&*Cursor::new(&out).string().unwrap(), text);
        }
    }
}
