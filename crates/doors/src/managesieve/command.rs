//! A client's command out of bytes (RFC 5804 section 4): words, strings, numbers, literals.
//!
//! Only CRLF ends a line. A literal that is too long is announced as such before any of it is taken.

use super::limits::{LINE_BYTES, LITERAL_BYTES};

/// One argument.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Number(u64),
}

impl std::fmt::Debug for Argument {
    /// It may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(argument)")
    }
}

/// A command as it came: what it means is seen later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In upper case; empty for a line that is a string only (a SASL response).
    pub(super) word: String,
    pub(super) arguments: Vec<Argument>,
}

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A whole command, and how much of the input it was.
    Whole(Line, usize),
    /// More is needed; not before there is so much is it worth another look.
    Incomplete(usize),
    /// A literal of so many octets, which is too long; so much of the input came before it.
    TooLong(u64, usize),
    /// It can't be read; drop up to the next line end from there.
    Bad(&'static str, usize),
}

/// Reads one command.
pub(super) fn read(input: &[u8]) -> Read {
    let mut reader = Reader { input, at: 0 };
    match reader.line() {
        Ok(line) => Read::Whole(line, reader.at),
        Err(read) => read,
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

/// Arguments of a command at most: RENAMESCRIPT and HAVESPACE have two.
const MOST_ARGUMENTS: usize = 4;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn more(&self) -> Read {
        match self.at >= LINE_BYTES + LITERAL_BYTES {
            true => self.bad("the line is too long"),
            false => Read::Incomplete(self.input.len() + 1),
        }
    }

    fn bad(&self, why: &'static str) -> Read {
        Read::Bad(why, self.at)
    }

    fn line(&mut self) -> Result<Line, Read> {
        let mut word = String::new();
        while let Some(byte) = self.peek().filter(u8::is_ascii_alphabetic) {
            word.push(char::from(byte.to_ascii_uppercase()));
            self.at += 1;
            if word.len() > 32 {
                return Err(self.bad("no command is that long"));
            }
        }
        let mut line = Line {
            word,
            arguments: Vec::new(),
        };
        // A response begins with its string.
        let mut is_first = line.word.is_empty();
        loop {
            match self.peek() {
                None => return Err(self.more()),
                Some(b'\r') => match self.input.get(self.at + 1) {
                    None => return Err(self.more()),
                    Some(b'\n') => {
                        self.at += 2;
                        return Ok(line);
                    }
                    Some(_) => return Err(self.bad("a line ends with CRLF")),
                },
                Some(b' ') => {
                    self.at += 1;
                    continue;
                }
                Some(_) if line.arguments.len() >= MOST_ARGUMENTS => {
                    return Err(self.bad("too many arguments"));
                }
                Some(_) if !is_first && self.input.get(self.at.wrapping_sub(1)) != Some(&b' ') => {
                    return Err(self.bad("a blank is missing between arguments"));
                }
                Some(b'"') => {
                    let text = self.quoted()?;
                    line.arguments.push(Argument::Text(text));
                }
                Some(b'{') => {
                    let text = self.literal()?;
                    line.arguments.push(Argument::Text(text));
                }
                Some(byte) if byte.is_ascii_digit() => {
                    let number = self.number()?;
                    line.arguments.push(Argument::Number(number));
                }
                Some(_) => {
                    return Err(self.bad(
                        "an argument is a string in quotation marks, a literal, or a number",
                    ));
                }
            }
            is_first = false;
        }
    }

    fn quoted(&mut self) -> Result<String, Read> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let byte = self.peek().ok_or_else(|| self.more())?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return self.text(bytes);
                }
                b'\\' => {
                    let escaped = self.input.get(self.at + 1).copied();
                    bytes.push(escaped.ok_or_else(|| self.more())?);
                    self.at += 2;
                }
                // RFC 5804 section 4: not in quotation marks. Clients that put scripts there are understood all the same,
                // but a line end of another kind is none.
                0 => return Err(self.bad("a string may not have a NUL")),
                byte => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
            if bytes.len() > LINE_BYTES {
                return Err(self.bad("the string is too long"));
            }
        }
    }

    fn number(&mut self) -> Result<u64, Read> {
        let mut number = 0u64;
        while let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(10)) {
            number = number
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit)))
                .filter(|n| *n <= u64::from(u32::MAX))
                .ok_or_else(|| self.bad("the number is too large"))?;
            self.at += 1;
        }
        Ok(number)
    }

    fn literal(&mut self) -> Result<String, Read> {
        self.at += 1;
        if self.peek().is_none() {
            return Err(self.more());
        }
        let len = self.number()?;
        // The client must not wait for leave (`+`); one that would wait would wait for ever.
        for expected in *b"+}\r\n" {
            match self.peek() {
                None => return Err(self.more()),
                Some(byte) if byte == expected => self.at += 1,
                Some(_) => return Err(self.bad("a literal is announced as {12+}")),
            }
        }
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        if wanted > LITERAL_BYTES {
            return Err(Read::TooLong(len, self.at));
        }
        let end = self.at + wanted;
        match self.input.get(self.at..end) {
            Some(bytes) => {
                let bytes = bytes.to_vec();
                self.at = end;
                self.text(bytes)
            }
            None => Err(Read::Incomplete(end)),
        }
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, Read> {
        String::from_utf8(bytes).map_err(|_| self.bad("a string is UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &str) -> (Line, usize) {
        match read(input.as_bytes()) {
            Read::Whole(line, taken) => (line, taken),
            other => panic!("{input}: {other:?}"),
        }
    }

    #[test]
    fn words_strings_numbers_and_literals_are_read() {
        let command = "putscript \"a\\\"\\\\b\" {3+}\r\nx\r\n\r\n";
        let (line, taken) = whole(&format!("{command}NOOP\r\n"));
        assert_eq!(line.word, "PUTSCRIPT");
        let texts = [
            Argument::Text("a\"\\b".into()),
            Argument::Text("x\r\n".into()),
        ];
        assert!(line.arguments == texts);
        assert_eq!(taken, command.len());
        let (line, _) = whole("HAVESPACE \"x\" 99\r\n");
        assert!(line.arguments[1] == Argument::Number(99));
        let (line, _) = whole("\"AGEAYg==\"\r\n");
        assert_eq!((line.word.as_str(), line.arguments.len()), ("", 1));
    }

    #[test]
    fn what_is_cut_anywhere_is_incomplete_and_never_something_else() {
        let input = "PUTSCRIPT \"a\\\"b\" {5+}\r\nab\r\nc\r\n";
        for end in 0..input.len() {
            let read = read(input.as_bytes().get(..end).unwrap());
            assert!(
                matches!(read, Read::Incomplete(more) if more > end),
                "{end}: {read:?}"
            );
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        for input in [
            "NOOP\n",
            "NOOP\rX",
            "NOOP x\r\n",
            "NOOP\"x\"\r\n",
            "X {3}\r\n",
            "X {99999999999+}\r\n",
            "X \"\u{0}\"\r\n",
            "X 1 2 3 4 5\r\n",
            &"X".repeat(40),
            &format!("X \"{}", "a".repeat(LINE_BYTES + 10)),
        ] {
            assert!(matches!(read(input.as_bytes()), Read::Bad(..)), "{input}");
        }
        assert!(matches!(read(b"X \"\xff\"\r\n"), Read::Bad(..)));
        assert!(matches!(read(b"X {20000+}\r\n"), Read::TooLong(20_000, 12)));
    }
}
