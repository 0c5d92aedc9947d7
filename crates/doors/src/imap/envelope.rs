//! ENVELOPE: a header's dates, names and addresses in the form that IMAP has for them (RFC 9051 section 7.5.2).
//!
//! Addresses are taken apart leniently: whatever stands there, something readable comes out, and never more than a bound.

use super::header::value;
use super::syntax::{put_nstring, put_string};

/// Addresses that are shown of one field: a header is bounded as well.
const ADDRESSES: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Address {
    name: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
    mailbox: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

/// Writes the envelope of a header.
pub(super) fn put(out: &mut Vec<u8>, header: &[u8]) {
    let from = value(header, "From");
    out.push(b'(');
    put_nstring(out, value(header, "Date").as_deref());
    out.push(b' ');
    put_nstring(out, value(header, "Subject").as_deref());
    for field in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        out.push(b' ');
        // RFC 9051: Sender and Reply-To are From where they are not there or empty.
        let own = value(header, field).filter(|text| !text.is_empty());
        let text = match field {
            "Sender" | "Reply-To" => own.or_else(|| from.clone()),
            _ => own,
        };
        put_addresses(out, &text.map(|text| addresses(&text)).unwrap_or_default());
    }
    for field in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        put_nstring(out, value(header, field).as_deref());
    }
    out.push(b')');
}

/// What stands before the `@` of the first address of a field; nothing where there is none.
pub(super) fn first_mailbox(text: &[u8]) -> Vec<u8> {
    let first = addresses(text)
        .into_iter()
        .find(|address| address.host.is_some());
    first
        .and_then(|address| address.mailbox)
        .unwrap_or_default()
}

fn put_addresses(out: &mut Vec<u8>, addresses: &[Address]) {
    if addresses.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        for (at, part) in [
            &address.name,
            &address.route,
            &address.mailbox,
            &address.host,
        ]
        .into_iter()
        .enumerate()
        {
            if at > 0 {
                out.push(b' ');
            }
            match part {
                None => out.extend_from_slice(b"NIL"),
                Some(text) => put_string(out, text),
            }
        }
        out.push(b')');
    }
    out.push(b')');
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    Special(u8),
    Comment(Vec<u8>),
}

fn addresses(text: &[u8]) -> Vec<Address> {
    let mut found = Vec::new();
    let mut piece: Vec<Token> = Vec::new();
    let (mut in_group, mut in_angle) = (false, false);
    for token in tokens(text) {
        if found.len() >= ADDRESSES {
            break;
        }
        match token {
            Token::Special(b',') if !in_angle => found.extend(mailbox(&std::mem::take(&mut piece))),
            Token::Special(b':') if !in_angle && !in_group => {
                in_group = true;
                let name = phrase(&std::mem::take(&mut piece));
                found.push(Address {
                    mailbox: Some(name),
                    ..Address::default()
                });
            }
            Token::Special(b';') if !in_angle => {
                found.extend(mailbox(&std::mem::take(&mut piece)));
                if std::mem::take(&mut in_group) {
                    found.push(Address::default());
                }
            }
            token => {
                match token {
                    Token::Special(b'<') => in_angle = true,
                    Token::Special(b'>') => in_angle = false,
                    _ => {}
                }
                piece.push(token);
            }
        }
    }
    found.extend(mailbox(&piece));
    if in_group {
        found.push(Address::default());
    }
    found
}

/// One address out of its tokens.
fn mailbox(piece: &[Token]) -> Option<Address> {
    if piece.iter().all(|token| matches!(token, Token::Comment(_))) {
        return None;
    }
    let open = piece
        .iter()
        .position(|token| *token == Token::Special(b'<'));
    let (name, spec) = match open {
        Some(open) => {
            let after = piece.get(open + 1..).unwrap_or_default();
            let close = after
                .iter()
                .position(|token| *token == Token::Special(b'>'))
                .unwrap_or(after.len());
            let name = phrase(piece.get(..open).unwrap_or_default());
            (
                (!name.is_empty()).then_some(name),
                after.get(..close).unwrap_or_default(),
            )
        }
        None => {
            // `user@host (Name)`
            let comment = piece.iter().find_map(|token| match token {
                Token::Comment(text) if !text.is_empty() => Some(text.clone()),
                _ => None,
            });
            (comment, piece)
        }
    };
    let (route, spec) = match spec.first() {
        Some(Token::Special(b'@')) => {
            match spec.iter().position(|token| *token == Token::Special(b':')) {
                Some(colon) => (
                    Some(joined(spec.get(..colon).unwrap_or_default())),
                    spec.get(colon + 1..).unwrap_or_default(),
                ),
                None => (None, spec),
            }
        }
        _ => (None, spec),
    };
    let at = spec
        .iter()
        .rposition(|token| *token == Token::Special(b'@'));
    let (local, host) = match at {
        Some(at) => (
            joined(spec.get(..at).unwrap_or_default()),
            joined(spec.get(at + 1..).unwrap_or_default()),
        ),
        None => (joined(spec), Vec::new()),
    };
    // None of the two may be NIL: that would be a group.
    let host = if host.is_empty() {
        b"MISSING_DOMAIN".to_vec()
    } else {
        host
    };
    let local = if local.is_empty() {
        b"MISSING_MAILBOX".to_vec()
    } else {
        local
    };
    Some(Address {
        name,
        route,
        mailbox: Some(local),
        host: Some(host),
    })
}

fn phrase(tokens: &[Token]) -> Vec<u8> {
    let mut text = Vec::new();
    for token in tokens {
        match token {
            Token::Word(word) => {
                if !text.is_empty() {
                    text.push(b' ');
                }
                text.extend_from_slice(word);
            }
            Token::Special(byte) => text.push(*byte),
            Token::Comment(_) => {}
        }
    }
    text
}

fn joined(tokens: &[Token]) -> Vec<u8> {
    let mut text = Vec::new();
    for token in tokens {
        match token {
            Token::Word(word) => text.extend_from_slice(word),
            Token::Special(byte) => text.push(*byte),
            Token::Comment(_) => {}
        }
    }
    text
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b' ' | b'\t' | b'\r' | b'\n' => after,
            b'"' => {
                let (word, rest) = enclosed(after, None, b'"');
                found.push(Token::Word(word));
                rest
            }
            b'(' => {
                let (word, rest) = enclosed(after, Some(b'('), b')');
                found.push(Token::Comment(word));
                rest
            }
            b'<' | b'>' | b'@' | b',' | b';' | b':' | b'.' => {
                found.push(Token::Special(*first));
                after
            }
            _ => {
                let end = rest
                    .iter()
                    .position(|byte| {
                        matches!(
                            byte,
                            b' ' | b'\t'
                                | b'\r'
                                | b'\n'
                                | b'"'
                                | b'('
                                | b'<'
                                | b'>'
                                | b'@'
                                | b','
                                | b';'
                                | b':'
                                | b'.'
                        )
                    })
                    .unwrap_or(rest.len())
                    .max(1);
                let (word, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                found.push(Token::Word(word.to_vec()));
                rest
            }
        };
    }
    found
}

/// Up to the closing mark, backslashes undone.
fn enclosed(text: &[u8], open: Option<u8>, close: u8) -> (Vec<u8>, &[u8]) {
    let (mut inside, mut rest, mut depth) = (Vec::new(), text, 0_usize);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after.split_first()) {
            (b'\\', Some((escaped, after))) => {
                inside.push(*escaped);
                rest = after;
                continue;
            }
            (byte, _) if *byte == close && depth == 0 => break,
            (byte, _) if *byte == close => depth -= 1,
            (byte, _) if Some(*byte) == open => depth += 1,
            _ => {}
        }
        inside.push(*first);
    }
    (inside, rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(field: &str) -> String {
        let mut out = Vec::new();
        put_addresses(&mut out, &addresses(field.as_bytes()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_come_out_whatever_their_form() {
        assert_eq!(
            shown("Andrew Birrell <birrell@pa.example>"),
            "((\"Andrew Birrell\" NIL \"birrell\" \"pa.example\"))"
        );
        assert_eq!(
            shown("a@b, \"C, D\" <c.d@e>"),
            "((NIL NIL \"a\" \"b\")(\"C, D\" NIL \"c.d\" \"e\"))"
        );
        assert_eq!(
            shown("a@b (A (x) Name)"),
            "((\"A (x) Name\" NIL \"a\" \"b\"))"
        );
        assert_eq!(
            shown("Team: a@b, c@d;"),
            "((NIL NIL \"Team\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")(NIL NIL NIL NIL))"
        );
        assert_eq!(
            shown("undisclosed-recipients:;"),
            "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))"
        );
        assert_eq!(shown("<@r,@s:a@b>"), "((NIL \"@r,@s\" \"a\" \"b\"))");
        assert_eq!(
            shown("J. R. Hacker <j@x>"),
            "((\"J. R. Hacker\" NIL \"j\" \"x\"))"
        );
        assert_eq!(
            shown("nonsense"),
            "((NIL NIL \"nonsense\" \"MISSING_DOMAIN\"))"
        );
        assert_eq!(shown(""), "NIL");
        assert_eq!(
            shown("\"open <a@b"),
            "((NIL NIL \"open <a@b\" \"MISSING_DOMAIN\"))"
        );
    }

    #[test]
    fn an_envelope_has_ten_fields_always() {
        let mut out = Vec::new();
        put(
            &mut out,
            b"From: a@b\r\nSubject: =?utf-8?q?x?=\r\nMessage-ID: <1@b>\r\n\r\n",
        );
        let from = "((NIL NIL \"a\" \"b\"))";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("(NIL \"=?utf-8?q?x?=\" {from} {from} {from} NIL NIL NIL NIL \"<1@b>\")")
        );
        let mut out = Vec::new();
        put(&mut out, b"");
        assert_eq!(out, b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    }
}
