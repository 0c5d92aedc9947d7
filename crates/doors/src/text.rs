//! Text from the shell or a client, made safe to stand in one line of an answer or a header.
//!
//! It must never let a line end, a control character or a non-ASCII byte through: whoever can put CRLF into an answer can forge the next one.

/// The most text that is put into one line of an answer: RFC 5321 4.5.3.1.5 and RFC 1939 allow 512 octets a line in all.
pub(crate) const TEXT_BYTES: usize = 400;

/// Appends `text` to `out`, with `?` for whatever is not printable ASCII, cut at [`TEXT_BYTES`].
pub(crate) fn push_safe(out: &mut Vec<u8>, text: &str) {
    out.extend(text.chars().take(TEXT_BYTES).map(safe_byte));
}

/// As [`push_safe`], for a `String`.
pub(crate) fn push_safe_str(out: &mut String, text: &str) {
    out.extend(
        text.chars()
            .take(TEXT_BYTES)
            .map(|c| char::from(safe_byte(c))),
    );
}

fn safe_byte(c: char) -> u8 {
    u8::try_from(c)
        .ok()
        .filter(|byte| (b' '..=b'~').contains(byte))
        .unwrap_or(b'?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_in_a_text_never_reaches_the_wire() {
        let mut out = Vec::new();
        push_safe(&mut out, "no\r\n250 yes\u{85}\u{e9}\0");
        assert_eq!(out, b"no??250 yes???");
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut out = Vec::new();
        push_safe(&mut out, &"x".repeat(5_000));
        assert_eq!(out.len(), TEXT_BYTES);
    }
}
