//! Paths: `<address>` of MAIL and RCPT (RFC 5321 4.1.2, RFC 6531 3.3).
//!
//! An address that comes out has one `@` with something on each side (but for `postmaster` and the null path), no control character, and a
//! local part that is quoted only where it has to be, so that equal addresses are written alike.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest path, brackets included (RFC 5321 4.5.3.1.3).
const PATH_BYTES: usize = 256;

/// The longest label of a domain (RFC 1035).
const LABEL_BYTES: usize = 63;

/// What stood between the brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// `<>`.
    Null,
    /// A name without a domain.
    Bare(String),
    /// `local@domain`.
    Full(String),
}

/// Reads a path at the start of `input`; returns what follows it.
pub(super) fn parse_path(input: &str) -> Option<(Path, &str)> {
    let inside = input.strip_prefix('<')?;
    if let Some(rest) = inside.strip_prefix('>') {
        return Some((Path::Null, rest));
    }
    let (mut address, rest) = parse_local(skip_route(inside)?)?;
    let (path, rest) = match rest.strip_prefix('@') {
        None => (Path::Bare(address), rest),
        Some(domain) => {
            let (domain, rest) = parse_domain(domain)?;
            address.push('@');
            address.push_str(domain);
            (Path::Full(address), rest)
        }
    };
    let rest = rest.strip_prefix('>')?;
    (input.len() - rest.len() <= PATH_BYTES).then_some((path, rest))
}

/// A route (`@a,@b:`) is to be taken and forgotten (RFC 5321 appendix C).
fn skip_route(input: &str) -> Option<&str> {
    if !input.starts_with('@') {
        return Some(input);
    }
    let (route, rest) = input.split_once(':')?;
    let good = route.split(',').all(|hop| {
        hop.strip_prefix('@')
            .and_then(parse_domain)
            .is_some_and(|(_, rest)| rest.is_empty())
    });
    good.then_some(rest)
}

fn parse_local(input: &str) -> Option<(String, &str)> {
    match input.strip_prefix('"') {
        Some(quoted) => parse_quoted(quoted),
        None => {
            let end = input.find(|c| !is_atext(c) && c != '.')?;
            let (local, rest) = input.split_at_checked(end)?;
            is_dot_string(local).then(|| (local.to_owned(), rest))
        }
    }
}

fn parse_quoted(input: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut chars = input.char_indices();
    loop {
        let (at, c) = chars.next()?;
        match c {
            '"' => {
                let rest = input.get(at + 1..)?;
                return Some((write_local(&content), rest));
            }
            '\\' => content.push(
                chars
                    .next()
                    .map(|(_, c)| c)
                    .filter(|c| matches!(c, ' '..='~'))?,
            ),
            c if c.is_control() => return None,
            c => content.push(c),
        }
    }
}

fn write_local(content: &str) -> String {
    if is_dot_string(content) {
        return content.to_owned();
    }
    let mut local = String::with_capacity(content.len() + 2);
    local.push('"');
    for c in content.chars() {
        if matches!(c, '"' | '\\') {
            local.push('\\');
        }
        local.push(c);
    }
    local.push('"');
    local
}

fn parse_domain(input: &str) -> Option<(&str, &str)> {
    if input.starts_with('[') {
        let end = input.find(']')?;
        let (literal, rest) = input.split_at_checked(end + 1)?;
        return is_address_literal(literal).then_some((literal, rest));
    }
    let end = input.find(['>', ',', ':']).unwrap_or(input.len());
    let (domain, rest) = input.split_at_checked(end)?;
    domain.split('.').all(is_label).then_some((domain, rest))
}

/// `[192.0.2.1]` or `[IPv6:...]`.
pub(super) fn is_address_literal(literal: &str) -> bool {
    let Some(inside) = literal
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return false;
    };
    match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

/// An underscore is no letter of a host name, but registries of old have it.
fn is_label(label: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_utf8_text(c);
    (1..=LABEL_BYTES).contains(&label.len())
        && label.chars().all(good)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_dot_string(local: &str) -> bool {
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 atext, and RFC 6531's addition to it.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c)
}

fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(input: &str) -> Option<String> {
        match parse_path(input) {
            Some((Path::Full(address), "")) => Some(address),
            _ => None,
        }
    }

    #[test]
    fn addresses_are_read() {
        for (input, address) in [
            ("<birrell@pa.example>", "birrell@pa.example"),
            ("<a.b+c=d@x>", "a.b+c=d@x"),
            ("<@one,@two:birrell@pa>", "birrell@pa"),
            ("<\"birrell\"@pa>", "birrell@pa"),
            ("<\"a b\"@pa>", "\"a b\"@pa"),
            ("<\"a>b@c\"@pa>", "\"a>b@c\"@pa"),
            ("<\"a\\b\\\"\"@pa>", "\"ab\\\"\"@pa"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            (
                "<jos\u{e9}@\u{e9}cole.example>",
                "jos\u{e9}@\u{e9}cole.example",
            ),
        ] {
            assert_eq!(full(input).as_deref(), Some(address), "{input}");
        }
        assert_eq!(parse_path("<> SIZE=1"), Some((Path::Null, " SIZE=1")));
        assert_eq!(
            parse_path("<postmaster>"),
            Some((Path::Bare("postmaster".into()), ""))
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for input in [
            "",
            "<",
            "a@b",
            "<a@b",
            "<@b>",
            "<a@>",
            "<a@b@c>",
            "<a b@c>",
            "<.a@b>",
            "<a.@b>",
            "<a..b@c>",
            "<a@b..c>",
            "<a@.b>",
            "<a@b.>",
            "<a@-b>",
            "<a@b c>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<a@[1.2.3]>",
            "<a@[x]>",
            "<a@[IPv6:1]>",
            "<@a:>",
            "<@a b:c@d>",
            "<<a@b>>",
            "<a@b>>",
            "<a,b@c>",
            "<\"\u{85}\"@c>",
            "<a\u{2028}@c>",
        ] {
            assert_eq!(full(input), None, "{input}");
        }
        assert_eq!(full(&format!("<{}@b>", "a".repeat(260))), None);
        assert_eq!(full(&format!("<a@{}>", "b".repeat(64))), None);
    }
}
