//! Strings of a script: characters given by number are put in when it is compiled (RFC 5228 2.4.2.4), variables when it runs (RFC 5229).

use super::mistake::{Mistake, Position};

/// A string with holes for variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Variable(String),
    /// What the so-manieth wildcard of the last `:matches` stood for; 0 is all of it.
    Match(usize),
}

/// What variables are.
pub(super) trait Variables {
    /// A variable by its name in lower case.
    fn variable(&self, name: &str) -> &str;
    /// What a wildcard stood for.
    fn matched(&self, number: usize) -> &str;
}

impl Template {
    /// A string without holes.
    pub(super) fn plain(text: String) -> Self {
        Self(vec![Piece::Plain(text)])
    }

    /// A string of a script that uses variables.
    pub(super) fn with_variables(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(found) = rest.find("${") {
            let (before, from) = rest.split_at(found);
            plain.push_str(before);
            let inner = from.get(2..).unwrap_or_default();
            match inner
                .split_once('}')
                .and_then(|(name, after)| Some((hole(name)?, after)))
            {
                Some((piece, after)) => {
                    pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                    pieces.push(piece);
                    rest = after;
                }
                // No hole: as it stands (RFC 5229 section 3).
                None => {
                    plain.push_str("${");
                    rest = inner;
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Plain(plain));
        pieces.retain(|piece| !matches!(piece, Piece::Plain(text) if text.is_empty()));
        Self(pieces)
    }

    /// The string, if it has no holes.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// The string, its holes filled, cut at `most` octets.
    pub(super) fn filled(&self, variables: &impl Variables, most: usize) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Plain(plain) => plain,
                Piece::Variable(name) => variables.variable(name),
                Piece::Match(number) => variables.matched(*number),
            });
            if text.len() > most {
                cut(&mut text, most);
                break;
            }
        }
        text
    }
}

/// What stands between `${` and `}`, if that is a hole.
fn hole(name: &str) -> Option<Piece> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Piece::Match(name.parse().unwrap_or(usize::MAX)));
    }
    is_variable(name).then(|| Piece::Variable(name.to_ascii_lowercase()))
}

/// Whether it may be a variable's name.
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Cuts a text at so many octets, or just before.
pub(super) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.truncate(end);
    }
}

/// Puts in the characters that are given by their numbers: `${hex: 40 41}` and `${unicode: 40 e9}`.
pub(super) fn decode_characters(text: &str, at: Position) -> Result<String, Mistake> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(found) = rest.find("${") {
        let (before, from) = rest.split_at(found);
        bytes.extend_from_slice(before.as_bytes());
        let inner = from.get(2..).unwrap_or_default();
        let numbered = inner
            .split_once('}')
            .and_then(|(inside, after)| Some((inside.split_once(':')?, after)));
        let known = match numbered {
            Some(((word, numbers), after)) if word.eq_ignore_ascii_case("hex") => {
                octets(numbers).map(|found| (found, after))
            }
            Some(((word, numbers), after)) if word.eq_ignore_ascii_case("unicode") => {
                characters(numbers, at)?.map(|found| (found.into_bytes(), after))
            }
            _ => None,
        };
        match known {
            Some((found, after)) => {
                bytes.extend(found);
                rest = after;
            }
            // Not of that form: as it stands, but for what may stand in it.
            None => {
                bytes.extend_from_slice(b"${");
                rest = inner;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes)
        .map_err(|_| Mistake::new(at, "the octets of \"${hex:...}\" make no UTF-8"))
}

/// None if it is not of that form: then it stands for itself.
fn octets(numbers: &str) -> Option<Vec<u8>> {
    let octets: Option<Vec<u8>> = numbers
        .split_ascii_whitespace()
        .map(|n| {
            let fits = n.len() <= 2 && n.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then(|| u8::from_str_radix(n, 16).ok()).flatten()
        })
        .collect();
    octets.filter(|octets| !octets.is_empty())
}

fn characters(numbers: &str, at: Position) -> Result<Option<String>, Mistake> {
    let mut text = String::new();
    for number in numbers.split_ascii_whitespace() {
        if !number.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        match u32::from_str_radix(number, 16)
            .ok()
            .and_then(char::from_u32)
        {
            Some(c) => text.push(c),
            None => {
                return Err(Mistake::new(
                    at,
                    format!("there is no character with the number {number}"),
                ));
            }
        }
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { line: 1, column: 1 };

    struct Known;
    impl Variables for Known {
        fn variable(&self, name: &str) -> &str {
            match name {
                "company" => "ACME",
                _ => "",
            }
        }
        fn matched(&self, number: usize) -> &str {
            match number {
                0 => "all",
                1 => "one",
                _ => "",
            }
        }
    }

    /// The examples of RFC 5229 section 3, and some more.
    #[test]
    fn variables_are_put_in_and_what_is_none_stands_as_it_is() {
        for (text, is) in [
            ("${full}", ""),
            ("&%${}!", "&%${}!"),
            ("${doh!}", "${doh!}"),
            ("${President, ${Company} Inc.}", "${President, ACME Inc.}"),
            ("${company", "${company"),
            ("${1}-${0}-${2}-${99999999999999999999999}", "one-all--"),
            ("$${company}", "$ACME"),
            ("${a.b}", "${a.b}"),
        ] {
            assert_eq!(
                Template::with_variables(text).filled(&Known, 100),
                is,
                "{text}"
            );
        }
        assert_eq!(
            Template::with_variables("éé${company}").filled(&Known, 3),
            "é"
        );
    }

    /// The examples of RFC 5228 2.4.2.4.
    #[test]
    fn characters_by_number_are_put_in_and_bad_ones_stand_as_they_are() {
        for (text, is) in [
            ("$${hex:40}", "$@"),
            ("${hex: 40 }", "@"),
            ("${HEX: 40}", "@"),
            ("${hex:40", "${hex:40"),
            ("${hex:400}", "${hex:400}"),
            ("${hex:4${hex:30}}", "${hex:40}"),
            ("${unicode:40}", "@"),
            ("${ unicode:40}", "${ unicode:40}"),
            ("${UNICODE:40}", "@"),
            ("${UnICoDE:0000040}", "@"),
            ("${Unicode:cool}", "${Unicode:cool}"),
            ("${hex:}", "${hex:}"),
            ("${hex:c3 a9}", "é"),
        ] {
            assert_eq!(decode_characters(text, AT).as_deref(), Ok(is), "{text}");
        }
        assert!(decode_characters("${unicode:200000}", AT).is_err());
        assert!(decode_characters("${unicode:d800}", AT).is_err());
        assert!(decode_characters("${hex:ff}", AT).is_err());
    }
}
