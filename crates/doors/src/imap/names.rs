//! Folder names: UTF-8 within, modified UTF-7 to clients that have not enabled UTF8=ACCEPT or IMAP4rev2 (RFC 3501 section 5.1.3), and LIST's patterns.
//!
//! INBOX is INBOX in any case; no other name is folded. A name that a client could not send back as it is never leaves here.

use grapevine_model::FolderPath;

use super::syntax::Bad;

/// What stands between levels.
pub const DELIMITER: char = '/';

/// How names are written to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Utf7,
    Utf8,
}

const NAME: Bad = Bad("A folder's name is wrong");

/// A folder's path as the client means it.
pub(super) fn read(name: &[u8], spelling: Spelling) -> Result<String, Bad> {
    let text = std::str::from_utf8(name).map_err(|_| NAME)?;
    // What is no modified UTF-7 (UTF-8 unasked, say) is taken as it stands.
    let path = match spelling {
        Spelling::Utf7 if text.is_ascii() => from_utf7(text).ok_or(NAME)?,
        Spelling::Utf7 | Spelling::Utf8 => text.to_owned(),
    };
    Ok(match path.split_once(DELIMITER) {
        _ if path.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => format!("INBOX/{rest}"),
        Some(_) | None => path,
    })
}

/// Whether a folder may be made under this name.
pub(super) fn is_fit(path: &str) -> bool {
    let invisible = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    path.parse::<FolderPath>().is_ok()
        && path.split(DELIMITER).all(|level| level.trim() == level)
        && !path.chars().any(invisible)
}

/// As this client reads it.
pub(super) fn spell(path: &str, spelling: Spelling) -> Vec<u8> {
    match spelling {
        Spelling::Utf8 => path.as_bytes().to_vec(),
        Spelling::Utf7 => to_utf7(path).into_bytes(),
    }
}

/// Writes a name as an argument.
pub(super) fn put(out: &mut Vec<u8>, path: &str, spelling: Spelling) {
    let name = spell(path, spelling);
    let quotable = name.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
    if spelling == Spelling::Utf8 && quotable {
        out.push(b'"');
        for byte in name {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        super::syntax::put_string(out, &name);
    }
}

/// `%` is anything within a level, `*` anything. Without going back and forth: a table row a pattern character.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    // Which beginnings of the path the pattern so far can be.
    let mut reach = vec![false; path.len() + 1];
    if let Some(first) = reach.first_mut() {
        *first = true;
    }
    for wanted in pattern.chars() {
        let mut next = vec![false; path.len() + 1];
        let mut carried = false;
        for at in 0..=path.len() {
            let here = reach.get(at).copied().unwrap_or_default();
            let before = at.checked_sub(1).and_then(|at| path.get(at)).copied();
            let reached = match wanted {
                '*' => here || carried,
                '%' => here || (carried && before != Some(DELIMITER)),
                _ => {
                    at > 0
                        && before == Some(wanted)
                        && reach.get(at - 1).copied().unwrap_or_default()
                }
            };
            carried = reached;
            if let Some(slot) = next.get_mut(at) {
                *slot = reached;
            }
        }
        reach = next;
    }
    reach.last().copied().unwrap_or_default()
}

/// The names above this one, nearest last.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices(DELIMITER)
        .filter_map(|(at, _)| path.get(..at))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// In modified UTF-7 (RFC 3501 5.1.3).
pub fn to_utf7(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut run: Vec<u16> = Vec::new();
    for c in path.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            run.extend_from_slice(c.encode_utf16(&mut units));
        }
    }
    flush(&mut run, &mut out);
    out
}

fn flush(run: &mut Vec<u16>, out: &mut String) {
    if run.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut put = |six: u32| {
        out.push(char::from(
            BASE64.get(six as usize & 63).copied().unwrap_or(b'A'),
        ))
    };
    for unit in run.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            put(bits >> held);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        put(bits << (6 - held));
    }
    out.push('-');
}

/// From modified UTF-7; none where it is not.
pub fn from_utf7(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('&') {
        out.push_str(plain);
        let (coded, after) = after.split_once('-')?;
        rest = after;
        if coded.is_empty() {
            out.push('&');
            continue;
        }
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut units = Vec::new();
        for byte in coded.bytes() {
            let six = BASE64.iter().position(|one| *one == byte)?;
            bits = (bits << 6) | u32::try_from(six).ok()?;
            held += 6;
            if held >= 16 {
                held -= 16;
                units.push(u16::try_from((bits >> held) & 0xffff).ok()?);
                bits &= (1 << held) - 1;
            }
        }
        if held >= 6 || bits != 0 {
            return None;
        }
        for c in char::decode_utf16(units) {
            out.push(c.ok()?);
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_spelled_as_the_rfc_shows() {
        let text = "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!(to_utf7(text), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(from_utf7("~peter/mail/&U,BTFw-/&ZeVnLIqe-").unwrap(), text);
        assert_eq!(to_utf7("a&b"), "a&-b");
        assert_eq!(read(b"inbox", Spelling::Utf7).unwrap(), "INBOX");
        assert_eq!(read(b"Inbox/x", Spelling::Utf8).unwrap(), "INBOX/x");
        assert_eq!(read(b"inboxes", Spelling::Utf8).unwrap(), "inboxes");
        for bad in ["&", "&!-", "&AA", "&2AA-"] {
            assert!(read(bad.as_bytes(), Spelling::Utf7).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_levels_or_all() {
        for (pattern, path, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a/*", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("%/c", "a/b/c", false),
            ("%/%/c", "a/b/c", true),
            ("", "", true),
            ("", "a", false),
            ("INBOX", "INBOX", true),
            ("%x", "x", true),
            ("**", "a", true),
            ("%%", "a/", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        assert!(!matches(&"*a".repeat(2_000), &"b".repeat(300)));
    }

    #[test]
    fn a_name_that_would_harm_is_unfit() {
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a\r\nb",
            "a%",
            "a*",
            " a",
            &"x".repeat(501),
            &"a/".repeat(40),
        ] {
            assert!(!is_fit(bad), "{bad:?}");
        }
        assert!(is_fit("Archive/2026/\u{e9}t\u{e9}"));
    }

    proptest! {
        #[test]
        fn any_name_comes_back(path in "\\PC{0,40}") {
            prop_assert_eq!(from_utf7(&to_utf7(&path)), Some(path));
        }
    }
}
