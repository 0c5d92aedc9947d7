//! A script's characters as tokens (RFC 5228 section 2 and 8.1).

use super::limits::SCRIPT_BYTES;
use super::mistake::{Mistake, Position};

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, in lower case.
    Word(String),
    /// `:word`, in lower case, without the colon.
    Tag(String),
    /// A number, its K, M or G counted in.
    Number(u64),
    /// A string, quoted or multi-line, its escapes resolved.
    Text(String),
    /// One of `; , ( ) [ ] { }`.
    Mark(char),
}

/// A token and where it begins.
pub(super) type Placed = (Token, Position);

/// All tokens of a script, and where it ends.
pub(super) fn tokens(script: &[u8]) -> Result<(Vec<Placed>, Position), Mistake> {
    let start = Position { line: 1, column: 1 };
    if script.len() > SCRIPT_BYTES {
        return Err(Mistake::new(
            start,
            format!(
                "the script has {} octets; {SCRIPT_BYTES} are the most",
                script.len()
            ),
        ));
    }
    let text = match std::str::from_utf8(script) {
        Ok(text) => text,
        Err(error) => {
            let good = script.get(..error.valid_up_to()).unwrap_or_default();
            let at = after(String::from_utf8_lossy(good).chars(), start);
            return Err(Mistake::new(
                at,
                "this is no UTF-8: save the script in that encoding",
            ));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lexer = Lexer {
        rest: text,
        at: start,
    };
    let mut found = Vec::new();
    while let Some(token) = lexer.next()? {
        found.push(token);
    }
    Ok((found, lexer.at))
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.at = step(c, self.at);
        Some(c)
    }

    fn next(&mut self) -> Result<Option<Placed>, Mistake> {
        self.skip_blanks()?;
        let at = self.at;
        let Some(c) = self.peek() else {
            return Ok(None);
        };
        let token = match c {
            ';' | ',' | '(' | ')' | '[' | ']' | '{' | '}' => {
                self.bump();
                Token::Mark(c)
            }
            '"' => self.quoted()?,
            ':' => {
                self.bump();
                match self.word() {
                    word if word.is_empty() => {
                        return Err(Mistake::new(at, "a word like \":is\" must follow a colon"));
                    }
                    word => Token::Tag(word),
                }
            }
            '0'..='9' => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let word = self.word();
                if word == "text" && self.peek() == Some(':') {
                    self.bump();
                    self.multi_line(at)?
                } else {
                    Token::Word(word)
                }
            }
            _ => {
                return Err(Mistake::new(
                    at,
                    format!("\"{c}\" can't stand here; is a quotation mark missing?"),
                ));
            }
        };
        Ok(Some((token, at)))
    }

    fn skip_blanks(&mut self) -> Result<(), Mistake> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.bump();
                }
                Some('#') => self.rest_of_line(),
                Some('/') if self.rest.starts_with("/*") => {
                    let at = self.at;
                    self.bump();
                    self.bump();
                    while !self.rest.starts_with("*/") {
                        if self.bump().is_none() {
                            return Err(Mistake::new(
                                at,
                                "this comment has no end: \"*/\" is missing",
                            ));
                        }
                    }
                    self.bump();
                    self.bump();
                }
                _ => return Ok(()),
            }
        }
    }

    fn rest_of_line(&mut self) {
        while self.bump().is_some_and(|c| c != '\n') {}
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if !c.is_ascii_alphanumeric() && c != '_' {
                break;
            }
            word.push(c.to_ascii_lowercase());
            self.bump();
        }
        word
    }

    fn number(&mut self) -> Result<Token, Mistake> {
        let at = self.at;
        let too_large = || Mistake::new(at, "this number is too large");
        let mut number = 0u64;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            number = number
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit)))
                .ok_or_else(too_large)?;
            self.bump();
        }
        let unit = match self.word().as_str() {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => {
                return Err(Mistake::new(
                    at,
                    "a number may end in K, M or G, and in nothing else",
                ));
            }
        };
        Ok(Token::Number(
            number.checked_mul(unit).ok_or_else(too_large)?,
        ))
    }

    fn quoted(&mut self) -> Result<Token, Mistake> {
        let at = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.extend(self.bump()),
                Some('\0') => return Err(Mistake::new(at, "a string may not have a NUL")),
                Some(c) => text.push(c),
                None => {
                    return Err(Mistake::new(
                        at,
                        "this string has no end: a quotation mark is missing",
                    ));
                }
            }
        }
    }

    /// After `text:` (RFC 5228 2.4.2).
    fn multi_line(&mut self, at: Position) -> Result<Token, Mistake> {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.bump();
        }
        match self.peek() {
            Some('\r' | '\n' | '#') => self.rest_of_line(),
            _ => {
                return Err(Mistake::new(
                    self.at,
                    "after \"text:\" the line must end; the text begins on the next one",
                ));
            }
        }
        let mut text = String::new();
        loop {
            let (line, ended) = match self.rest.split_once('\n') {
                Some((line, _)) => (line, true),
                None => (self.rest, false),
            };
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line == "." {
                self.bump();
                return Ok(Token::Text(text));
            }
            if !ended {
                return Err(Mistake::new(
                    at,
                    "this text has no end: a line with a single dot is missing",
                ));
            }
            if line.contains('\0') {
                return Err(Mistake::new(at, "a text may not have a NUL"));
            }
            text.push_str(match line.strip_prefix("..") {
                Some(_) => line.get(1..).unwrap_or_default(),
                None => line,
            });
            text.push_str("\r\n");
            self.rest_of_line();
        }
    }
}

fn step(c: char, at: Position) -> Position {
    match c {
        '\n' => Position {
            line: at.line.saturating_add(1),
            column: 1,
        },
        _ => Position {
            column: at.column.saturating_add(1),
            ..at
        },
    }
}

fn after(text: impl Iterator<Item = char>, start: Position) -> Position {
    text.fold(start, |at, c| step(c, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(script: &str) -> Vec<Token> {
        let (found, _) = tokens(script.as_bytes()).unwrap();
        found.into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn comments_numbers_and_escapes_are_read() {
        assert_eq!(
            kinds("if /* x ; */ size :over 2K # y\n { \"a\\\"\\\\\\b\" }"),
            [
                Token::Word("if".into()),
                Token::Word("size".into()),
                Token::Tag("over".into()),
                Token::Number(2048),
                Token::Mark('{'),
                Token::Text("a\"\\b".into()),
                Token::Mark('}'),
            ]
        );
    }

    #[test]
    fn a_multi_line_text_loses_its_stuffed_dots_and_ends_at_a_dot() {
        for ends in ["\r\n", "\n"] {
            let script = format!("text: # so{ends}a{ends}..b{ends}.c{ends}{ends}.{ends};");
            assert_eq!(
                kinds(&script),
                [
                    Token::Text("a\r\n.b\r\n.c\r\n\r\n".into()),
                    Token::Mark(';')
                ]
            );
        }
    }

    #[test]
    fn what_can_not_be_read_says_where() {
        for (script, line, column) in [
            ("keep;\n  \"abc", 2, 3),
            ("keep;\n/* abc", 2, 1),
            ("text:\nabc\n", 1, 1),
            ("99999999999999999999", 1, 1),
            ("12q", 1, 1),
            ("text: abc\n.\n", 1, 7),
            ("é", 1, 1),
            (" ::", 1, 2),
        ] {
            let mistake = tokens(script.as_bytes()).unwrap_err();
            assert_eq!(mistake.at, Position { line, column }, "{script}: {mistake}");
        }
        assert!(
            tokens(&[b'a', b'\n', 0xff])
                .unwrap_err()
                .to_string()
                .starts_with("line 2, column 1")
        );
        assert!(tokens(&vec![b' '; SCRIPT_BYTES + 1]).is_err());
    }
}
