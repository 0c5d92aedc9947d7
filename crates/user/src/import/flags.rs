//! Flags as other programs write them: letters in Maildir file names, `dovecot-keywords`, `Status` fields in mboxes.
//!
//! What says nothing that is known here says nothing.

use std::fs;
use std::path::Path;

use grapevine_model::Flag;

/// What a letter after `:2,` means. A passed mail (`P`) was sent on.
pub(crate) const LETTERS: [(char, &str); 6] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('P', "$Forwarded"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];
/// Dovecot's letters for keywords.
pub(crate) const KEYWORDS_MAX: usize = 26;
/// Where it says what they mean.
pub(crate) const KEYWORDS_FILE: &str = "dovecot-keywords";

/// The keywords of a Maildir, by their letters' numbers.
pub(crate) fn keywords(folder: &Path) -> Vec<Option<Flag>> {
    let text = fs::read_to_string(folder.join(KEYWORDS_FILE)).unwrap_or_default();
    let mut keywords = vec![None; KEYWORDS_MAX];
    for line in text.lines() {
        if let Some((number, name)) = line.split_once(' ')
            && let Ok(number) = number.parse::<usize>()
            && let Some(place) = keywords.get_mut(number)
        {
            *place = name.parse().ok();
        }
    }
    keywords
}

/// The flags that a file's name says.
pub(crate) fn of_name(name: &str, keywords: &[Option<Flag>]) -> Vec<Flag> {
    let Some((_, letters)) = name.rsplit_once(":2,") else {
        return Vec::new();
    };
    let meant = letters.chars().filter_map(|letter| {
        if letter.is_ascii_lowercase() {
            let number = (letter as usize).checked_sub('a' as usize)?;
            return keywords.get(number)?.clone();
        }
        let (_, flag) = LETTERS.iter().find(|(known, _)| *known == letter)?;
        flag.parse().ok()
    });
    meant.collect()
}

/// The flags that a header's `Status`, `X-Status` and `X-Keywords` say.
pub(crate) fn of_header(header: &[u8]) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for line in header.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let known: &[(char, &str)] = if name.eq_ignore_ascii_case("Status") {
            &[('R', "\\Seen")]
        } else if name.eq_ignore_ascii_case("X-Status") {
            &[
                ('A', "\\Answered"),
                ('F', "\\Flagged"),
                ('T', "\\Draft"),
                ('D', "\\Deleted"),
            ]
        } else if name.eq_ignore_ascii_case("X-Keywords") {
            flags.extend(
                value
                    .split_ascii_whitespace()
                    .filter_map(|word| word.parse().ok()),
            );
            continue;
        } else {
            continue;
        };
        let meant = value.chars().filter_map(|letter| {
            let (_, flag) = known.iter().find(|(known, _)| *known == letter)?;
            flag.parse().ok()
        });
        flags.extend(meant);
    }
    flags
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(flags: &[Flag]) -> Vec<&str> {
        flags.iter().map(Flag::as_str).collect()
    }

    #[test]
    fn letters_and_keywords_are_flags_and_others_are_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(KEYWORDS_FILE),
            "0 $Label1\n2 Work\n99 x\nno\n1 a(b\n",
        )
        .unwrap();
        let keywords = keywords(folder.path());
        assert_eq!(
            texts(&of_name("1.x:2,FSXac", &keywords)),
            ["\\Flagged", "\\Seen", "$Label1", "Work"]
        );
        assert_eq!(texts(&of_name("1.x:2,bz", &keywords)), [""; 0]);
        assert_eq!(texts(&of_name("1.x", &keywords)), [""; 0]);
    }

    #[test]
    fn a_status_counts_in_the_header_alone() {
        let header = b"Status: RO\r\nX-Status: AF\r\nX-Keywords:  Work \r\nSubject: x\r\n\r\nX-Status: D\r\n";
        assert_eq!(
            texts(&of_header(header)),
            ["\\Seen", "\\Answered", "\\Flagged", "Work"]
        );
        assert!(of_header(b"\xff: x\nno colon\n").is_empty());
    }
}
