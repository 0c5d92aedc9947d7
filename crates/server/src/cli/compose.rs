//! From what stands on stdin to a message as it travels (RFC 5322).
//!
//! Text gets the header it lacks and CRLF line ends; `send -t` takes its recipients
//! from the header and removes `Bcc`, as `sendmail -t` does. Nothing else of the
//! content is touched, and with `--as-is` nothing at all.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grapevine_model::{MessageId, Name};
use mail_parser::{Address, DateTime, MessageParser};

/// Octets of UTF-8 in one encoded word: with its frame it has 75 characters (RFC 2047 2).
const ENCODED_WORD_BYTES: usize = 45;
/// A header line is folded before it is longer than this (RFC 5322 2.1.1).
const FOLD_AT: usize = 76;

/// What a message is given if it has it not.
pub(super) struct Stamping<'a> {
    /// Its id in Grapevine.
    pub(super) id: MessageId,
    /// Who it is from.
    pub(super) from: &'a Name,
    /// The sender's name for people (`-F`).
    pub(super) from_phrase: Option<&'a str>,
    /// Whom it is for, when there is no header that says so.
    pub(super) to: &'a [Name],
    /// What it is about, when there is no header.
    pub(super) subject: Option<&'a str>,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
}

/// The recipients in a header: `To`, `Cc` and `Bcc`, each once.
pub(super) fn recipients_of(message: &[u8]) -> Result<Vec<Name>, String> {
    let parsed = MessageParser::default().parse_headers(message);
    let mut names: Vec<Name> = Vec::new();
    let fields: [Option<&Address<'_>>; 3] = match &parsed {
        Some(parsed) => [parsed.to(), parsed.cc(), parsed.bcc()],
        None => [None, None, None],
    };
    for address in fields.into_iter().flatten().flat_map(Address::iter) {
        // What has no `@` in it is read as a name for people.
        let text = address.address.as_deref().or(address.name.as_deref());
        let text = text.unwrap_or_default();
        let name: Name = text
            .parse()
            .map_err(|error| format!("{text:?} in the header: {error}"))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What comes before a line with nothing but a dot (what `sendmail` without `-i` reads).
pub(super) fn before_the_dot(input: &[u8]) -> &[u8] {
    let mut at = 0;
    for line in input.split_inclusive(|octet| *octet == b'\n') {
        if matches!(line, b".\n" | b".\r\n") || (line == b"." && at + 1 == input.len()) {
            return input.get(..at).unwrap_or(input);
        }
        at += line.len();
    }
    input
}

/// Whether a text begins with a header.
pub(super) fn has_header(input: &[u8]) -> bool {
    let first = input.split(|octet| *octet == b'\n').next();
    first.is_some_and(|line| field_name(line).is_some())
}

/// The message as it travels.
pub(super) fn finished(input: &[u8], stamping: &Stamping<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() + 512);
    let mut field = |name: &str, value: &str| {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    };
    let header = has_header(input);
    let names = if header {
        field_names(input)
    } else {
        Vec::new()
    };
    let has = |name: &str| names.iter().any(|there| there == name);
    if !has("date") {
        let seconds = i64::try_from(stamping.now_ms / 1_000).unwrap_or(0);
        field("Date", &DateTime::from_timestamp(seconds).to_rfc822());
    }
    if !has("from") {
        match stamping.from_phrase {
            Some(phrase) => field(
                "From",
                &format!("{} <{}>", phrase_text(phrase), stamping.from),
            ),
            None => field("From", &stamping.from.to_string()),
        }
    }
    if !has("message-id") {
        let at = stamping.from.registry();
        field("Message-ID", &format!("<{}@{at}>", stamping.id));
    }
    if header {
        push_crlf(&without_bcc(input), &mut out);
        return out;
    }
    let to: Vec<String> = stamping.to.iter().map(Name::to_string).collect();
    field("To", &folded(&to));
    if let Some(subject) = stamping.subject {
        field("Subject", &unstructured(subject));
    }
    field("MIME-Version", "1.0");
    let (charset, encoding) = match (input.is_ascii(), std::str::from_utf8(input)) {
        (true, _) => ("us-ascii", "7bit"),
        (false, Ok(_)) => ("utf-8", "8bit"),
        (false, Err(_)) => ("unknown-8bit", "8bit"),
    };
    field("Content-Type", &format!("text/plain; charset={charset}"));
    field("Content-Transfer-Encoding", encoding);
    out.extend_from_slice(b"\r\n");
    push_crlf(input, &mut out);
    out
}

/// Lines with their ends as they travel; a last line without an end gets one.
fn push_crlf(input: &[u8], out: &mut Vec<u8>) {
    for line in input.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
        out.extend_from_slice(b"\r\n");
    }
}

/// The message without its `Bcc` fields.
fn without_bcc(input: &[u8]) -> Cow<'_, [u8]> {
    if !field_names(input).iter().any(|name| name == "bcc") {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    let mut in_header = true;
    let mut dropping = false;
    for line in input.split_inclusive(|octet| *octet == b'\n') {
        if in_header {
            in_header = !matches!(line, b"\n" | b"\r\n");
            let folded = line.starts_with(b" ") || line.starts_with(b"\t");
            if !folded {
                dropping = field_name(line).is_some_and(|name| name == "bcc");
            }
            if in_header && dropping {
                continue;
            }
        }
        out.extend_from_slice(line);
    }
    Cow::Owned(out)
}

/// The names of the header's fields, lower case.
fn field_names(input: &[u8]) -> Vec<String> {
    input
        .split(|octet| *octet == b'\n')
        .take_while(|line| !matches!(*line, b"" | b"\r"))
        .filter_map(field_name)
        .collect()
}

/// The name of a field, lower case, if a line begins one (RFC 5322 2.2).
fn field_name(line: &[u8]) -> Option<String> {
    let end = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..end)?;
    let legal = !name.is_empty() && name.iter().all(|octet| (33..=126).contains(octet));
    legal.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// Addresses over as many lines as they need.
fn folded(addresses: &[String]) -> String {
    let mut out = String::new();
    let mut column = "To: ".len();
    for (at, address) in addresses.iter().enumerate() {
        if at > 0 {
            out.push(',');
            if column + address.len() > FOLD_AT {
                out.push_str("\r\n ");
                column = 1;
            } else {
                out.push(' ');
            }
        }
        out.push_str(address);
        column += address.len() + 2;
    }
    out
}

/// Free text for a header: as it is, or in encoded words (RFC 2047).
fn unstructured(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.is_ascii() && line.len() <= FOLD_AT {
        return line;
    }
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in line.chars() {
        if word.len() + c.len_utf8() > ENCODED_WORD_BYTES {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encoded: Vec<String> = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    encoded.join("\r\n ")
}

/// A person's name before an address.
fn phrase_text(phrase: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if phrase.chars().all(plain) {
        phrase.to_owned()
    } else {
        // An encoded word needs no quoting, whatever is in it; its length is no ASCII matter.
        let encoded = STANDARD.encode(phrase.replace(['\r', '\n'], " "));
        format!("=?utf-8?B?{encoded}?=")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn finished_text(input: &[u8], subject: Option<&str>) -> String {
        let from = "birrell@pa.example".parse().unwrap();
        let to = ["needham@pa.example".parse().unwrap()];
        let stamping = Stamping {
            id: MessageId::from_u128(7),
            from: &from,
            from_phrase: None,
            to: &to,
            subject,
            now_ms: 1_072_915_200_000,
        };
        String::from_utf8(finished(input, &stamping)).unwrap()
    }

    #[test]
    fn a_text_becomes_a_message_with_all_that_one_must_have() {
        let message = finished_text(b"hello\nthere", Some("Grüße\r\nBcc: evil@x"));
        let (header, body) = message.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "hello\r\nthere\r\n");
        let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
        assert_eq!(parsed.subject(), Some("Grüße  Bcc: evil@x"));
        assert_eq!(parsed.date().unwrap().to_timestamp(), 1_072_915_200);
        assert_eq!(recipients_of(message.as_bytes()).unwrap().len(), 1);
        assert!(header.contains("From: birrell@pa.example\r\n"), "{header}");
        assert!(parsed.message_id().unwrap().ends_with("7@pa.example"));
        assert!(header.is_ascii());
    }

    #[test]
    fn a_header_is_kept_completed_and_loses_its_bcc() {
        let input = b"From: birrell@pa.example\nTo: A <a@pa.example>, b@pa.example\nBcc: c@pa.example,\n\td@pa.example\nSubject: x\n\nBcc: stays\n\r\n.\n";
        assert_eq!(recipients_of(input).unwrap().len(), 4);
        let message = finished_text(input, None);
        assert!(message.contains("Date: "));
        assert_eq!(message.matches("From: ").count(), 1);
        assert!(!message.contains("c@pa.example") && !message.contains("d@pa.example"));
        assert!(message.ends_with("Subject: x\r\n\r\nBcc: stays\r\n\r\n.\r\n"));
    }

    #[test]
    fn what_is_no_address_in_a_header_is_named() {
        let wrong = recipients_of(b"To: nobody\n\n").unwrap_err();
        assert!(wrong.contains("nobody"), "{wrong}");
        assert!(recipients_of(b"").unwrap().is_empty());
    }

    #[test]
    fn a_line_with_a_dot_alone_ends_what_sendmail_reads() {
        assert_eq!(before_the_dot(b"a\n.\nb\n"), b"a\n");
        assert_eq!(before_the_dot(b"a\r\n.\r\nb"), b"a\r\n");
        assert_eq!(before_the_dot(b"a\n."), b"a\n");
        assert_eq!(before_the_dot(b"a.\n..\n. \n"), b"a.\n..\n. \n");
        assert_eq!(before_the_dot(b""), b"");
    }

    #[test]
    fn a_text_that_begins_with_a_word_and_a_colon_has_a_header_and_others_have_none() {
        assert!(has_header(b"Subject: x\n\n"));
        assert!(has_header(b"Subject:\n"));
        assert!(!has_header(b"Dear all: this\n"));
        assert!(!has_header(b": x\n"));
        assert!(!has_header(b""));
        assert!(!has_header(b"\nSubject: x\n"));
    }

    #[test]
    fn long_lists_of_recipients_and_long_subjects_are_folded() {
        let many: Vec<String> = (0..40).map(|n| format!("person{n}@pa.example")).collect();
        let text = folded(&many);
        assert!(text.split("\r\n").all(|line| line.len() <= FOLD_AT + 2));
        let subject = unstructured(&"ü".repeat(100));
        assert!(subject.split("\r\n ").all(|word| word.len() <= 75));
    }
}
