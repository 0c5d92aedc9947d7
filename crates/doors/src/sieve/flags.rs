//! Flags as a script writes them: several in one string, with blanks between them (RFC 5232 section 2).

use super::limits::{FLAG_BYTES, FLAGS};

/// Adds the flags that a string names; what is none is left out.
pub(super) fn add(flags: &mut Vec<String>, text: &str) {
    for flag in text.split_whitespace() {
        let present = flags.iter().any(|f| f.eq_ignore_ascii_case(flag));
        if flags.len() < FLAGS && !present && is_flag(flag) {
            flags.push(flag.to_owned());
        }
    }
}

/// A system flag that a client may set, or a keyword (RFC 3501, `flag`).
fn is_flag(flag: &str) -> bool {
    match flag.strip_prefix('\\') {
        Some(system) => ["answered", "flagged", "deleted", "seen", "draft"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(system)),
        None => {
            flag.len() <= FLAG_BYTES
                && flag
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kept_once_and_nonsense_is_left_out() {
        let mut flags = Vec::new();
        add(
            &mut flags,
            "\\Seen  $Work \\seen \\Recent a(b \\\\Deleted é",
        );
        assert_eq!(flags, ["\\Seen", "$Work"]);
        add(
            &mut flags,
            &(0..100).map(|n| format!("k{n} ")).collect::<String>(),
        );
        assert_eq!(flags.len(), FLAGS);
    }
}
