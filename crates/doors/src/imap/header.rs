//! Header fields of a message: found, unfolded, and Content-Type and its like taken apart (RFC 2045, 2183).
//!
//! Values stay as they were sent, encoded words included: IMAP hands them on so.

/// `type/subtype; attribute=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentType {
    pub(super) kind: String,
    pub(super) subtype: String,
    pub(super) parameters: Parameters,
}

/// Attributes with their values, as they were sent.
pub(super) type Parameters = Vec<(String, Vec<u8>)>;

/// How a body is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    EightBit,
    Binary,
    Base64,
    QuotedPrintable,
    Other(String),
}

/// The most parameters that are shown of one field.
const PARAMETERS: usize = 100;

impl ContentType {
    pub(super) fn plain() -> Self {
        Self {
            kind: "text".into(),
            subtype: "plain".into(),
            parameters: vec![("charset".into(), b"us-ascii".to_vec())],
        }
    }

    pub(super) fn message() -> Self {
        Self {
            kind: "message".into(),
            subtype: "rfc822".into(),
            parameters: Vec::new(),
        }
    }

    pub(super) fn is(&self, kind: &str, subtype: &str) -> bool {
        self.is_kind(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    pub(super) fn is_kind(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    pub(super) fn boundary(&self) -> Option<Vec<u8>> {
        let (_, boundary) = self
            .parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
        let boundary = boundary.trim_ascii_end();
        ((1..=200).contains(&boundary.len())).then(|| boundary.to_vec())
    }
}

impl Encoding {
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::SevenBit | Self::EightBit | Self::Binary)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBit => "8BIT",
            Self::Binary => "BINARY",
            Self::Base64 => "BASE64",
            Self::QuotedPrintable => "QUOTED-PRINTABLE",
            Self::Other(name) => name,
        }
    }
}

/// The fields of a header, each with its whole text: name, and everything from its first octet to its last line end.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            let field = rest
                .get(..field_end(rest))
                .filter(|field| !field.is_empty())?;
            rest = rest.get(field.len()..).unwrap_or_default();
            let name = field
                .iter()
                .position(|byte| *byte == b':')
                .and_then(|colon| field.get(..colon));
            match name.map(<[u8]>::trim_ascii_end) {
                Some(name) if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) => {
                    return Some((name, field));
                }
                // Not a field: the empty line, or what no program should have put there.
                _ => {}
            }
        }
    })
}

/// A line, and those after it that begin with white space.
fn field_end(rest: &[u8]) -> usize {
    let mut end = 0;
    loop {
        match memchr::memchr(b'\n', rest.get(end..).unwrap_or_default()) {
            None => return rest.len(),
            Some(line) => end += line + 1,
        }
        match rest.get(end) {
            // An empty line begins with no space, so it is not joined.
            Some(b' ' | b'\t') => {}
            _ => return end,
        }
    }
}

/// The first field of this name, unfolded, without the spaces around it.
pub(super) fn value(header: &[u8], name: &str) -> Option<Vec<u8>> {
    fields(header)
        .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, field)| unfolded(field))
}

/// What stands behind the colon, in one line.
pub(super) fn unfolded(field: &[u8]) -> Vec<u8> {
    let after = field
        .iter()
        .position(|byte| *byte == b':')
        .map_or(0, |colon| colon + 1);
    let value = field.get(after..).unwrap_or_default();
    let flat: Vec<u8> = value
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    flat.trim_ascii().to_vec()
}

pub(super) fn content_type(header: &[u8]) -> Option<ContentType> {
    let value = value(header, "Content-Type")?;
    let mut words = Words { rest: &value };
    let kind = words.token()?;
    words.skip();
    words.eat(b'/')?;
    words.skip();
    let subtype = words.token()?;
    Some(ContentType {
        kind,
        subtype,
        parameters: words.parameters(),
    })
}

/// Content-Disposition: the word and its parameters.
pub(super) fn disposition(header: &[u8]) -> Option<(String, Parameters)> {
    let value = value(header, "Content-Disposition")?;
    let mut words = Words { rest: &value };
    Some((words.token()?, words.parameters()))
}

pub(super) fn encoding(header: &[u8]) -> Encoding {
    let Some(value) = value(header, "Content-Transfer-Encoding") else {
        return Encoding::SevenBit;
    };
    let word = Words { rest: &value }
        .token()
        .unwrap_or_default()
        .to_ascii_uppercase();
    match word.as_str() {
        "" | "7BIT" => Encoding::SevenBit,
        "8BIT" => Encoding::EightBit,
        "BINARY" => Encoding::Binary,
        "BASE64" => Encoding::Base64,
        "QUOTED-PRINTABLE" => Encoding::QuotedPrintable,
        _ => Encoding::Other(word),
    }
}

/// The languages of Content-Language.
pub(super) fn languages(header: &[u8]) -> Vec<String> {
    let value = value(header, "Content-Language").unwrap_or_default();
    let text = String::from_utf8_lossy(&value).into_owned();
    let word = |word: &str| word.trim().to_owned();
    text.split(',')
        .map(word)
        .filter(|word| !word.is_empty() && word.is_ascii())
        .take(PARAMETERS)
        .collect()
}

struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn eat(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == byte).then(|| self.rest = rest)
    }

    /// White space and comments.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some((first, rest)) = self.rest.split_first() {
            match (first, depth) {
                (b'(', _) => depth += 1,
                (b')', 1..) => depth -= 1,
                (b'\\', 1..) => {
                    self.rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                (_, 1..) | (b' ' | b'\t', 0) => {}
                _ => return,
            }
            self.rest = rest;
        }
    }

    fn token(&mut self) -> Option<String> {
        self.skip();
        let good = |byte: &u8| {
            byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'(' | b')'
                        | b'<'
                        | b'>'
                        | b'@'
                        | b','
                        | b';'
                        | b':'
                        | b'\\'
                        | b'"'
                        | b'/'
                        | b'['
                        | b']'
                        | b'?'
                        | b'='
                )
        };
        let end = self
            .rest
            .iter()
            .position(|byte| !good(byte))
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!token.is_empty()).then(|| String::from_utf8_lossy(token).into_owned())
    }

    fn parameters(&mut self) -> Parameters {
        let mut found = Vec::new();
        while found.len() < PARAMETERS {
            let Some(semicolon) = memchr::memchr(b';', self.rest) else {
                break;
            };
            self.rest = self.rest.get(semicolon + 1..).unwrap_or_default();
            let Some(name) = self.token() else { continue };
            self.skip();
            if self.eat(b'=').is_none() {
                continue;
            }
            self.skip();
            found.push((name, self.parameter_value()));
        }
        found
    }

    fn parameter_value(&mut self) -> Vec<u8> {
        if self.eat(b'"').is_none() {
            // Some programs leave the quotes away: to the next semicolon or space.
            let end = self
                .rest
                .iter()
                .position(|byte| matches!(byte, b';' | b' ' | b'\t'))
                .unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
            self.rest = rest;
            return value.to_vec();
        }
        let mut value = Vec::new();
        while let Some((first, rest)) = self.rest.split_first() {
            self.rest = rest;
            match (first, rest.split_first()) {
                (b'"', _) => break,
                (b'\\', Some((escaped, rest))) => {
                    value.push(*escaped);
                    self.rest = rest;
                }
                _ => value.push(*first),
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_field_is_found_and_unfolded() {
        let header = b"A: 1\r\nSubject: one\r\n two\r\nBad line\r\nsubject: other\r\n\r\n";
        assert_eq!(value(header, "SUBJECT").unwrap(), b"one two");
        assert_eq!(fields(header).count(), 3);
        assert_eq!(value(b"X : y\n", "x").unwrap(), b"y");
        assert_eq!(value(b"", "x"), None);
    }

    #[test]
    fn a_content_type_is_taken_apart() {
        let read = |text: &str| content_type(format!("Content-Type: {text}\r\n").as_bytes());
        let content =
            read("Multipart/Mixed (a \\) comment); boundary=\"a;\\\"b\" ; charset=utf-8; x")
                .unwrap();
        assert!(content.is("multipart", "mixed"));
        assert_eq!(content.boundary().unwrap(), b"a;\"b");
        assert_eq!(content.parameters.len(), 2);
        assert_eq!(read("text"), None);
        assert_eq!(read(""), None);
        assert_eq!(
            read("text/plain; name=a b.txt").unwrap().parameters,
            [("name".to_owned(), b"a".to_vec())]
        );
        assert_eq!(
            encoding(b"content-transfer-encoding: Base64 \r\n"),
            Encoding::Base64
        );
        assert_eq!(
            disposition(b"Content-Disposition: attachment; filename=x\n")
                .unwrap()
                .0,
            "attachment"
        );
    }
}
