//! What SEARCH, SORT and THREAD look at: header fields and texts of a message as a person reads them, encodings undone, in lower case.
//!
//! Never fails: what can't be decoded is looked at as it stands.

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::parsers::fields::thread::thread_name;
use mail_parser::{DateTime, HeaderValue};

use super::dates::days_of;
use super::header;
use super::mime::{Depth, Inside, Scanner, Structure};
use super::transfer::Decoder;

/// A message, or as much of it as has been read.
pub(super) struct Readable {
    bytes: Vec<u8>,
    structure: Structure,
}

/// The most references of a message that threads are made by.
const REFERENCES: usize = 100;

impl Readable {
    pub(super) fn new(bytes: Vec<u8>, depth: Depth) -> Self {
        let mut scanner = Scanner::new(depth);
        scanner.take(&bytes);
        Self {
            structure: scanner.finish(),
            bytes,
        }
    }

    fn header(&self) -> &[u8] {
        self.structure
            .root()
            .map_or(&[], |root| root.header.as_slice())
    }

    /// Whether a field of this name holds the text (in lower case).
    pub(super) fn field_has(&self, name: &str, text: &str) -> bool {
        header::fields(self.header())
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .any(|(_, field)| {
                decoded(&header::unfolded(field))
                    .to_lowercase()
                    .contains(text)
            })
    }

    fn header_has(&self, text: &str) -> bool {
        header::fields(self.header()).any(|(name, field)| {
            let name = String::from_utf8_lossy(name);
            format!("{name}: {}", decoded(&header::unfolded(field)))
                .to_lowercase()
                .contains(text)
        })
    }

    /// Whether a text part holds it.
    pub(super) fn body_has(&self, text: &str) -> bool {
        self.structure.parts.iter().enumerate().any(|(at, part)| {
            let inner_header = at > 0
                && header::fields(&part.header).any(|(_, field)| {
                    decoded(&header::unfolded(field))
                        .to_lowercase()
                        .contains(text)
                });
            let is_text = part.inside == Inside::Content && part.content.is_kind("text");
            inner_header || (is_text && self.text_of(part).to_lowercase().contains(text))
        })
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.header_has(text) || self.body_has(text)
    }

    fn text_of(&self, part: &super::mime::Part) -> String {
        let span = part.body_span();
        let at = |offset: u64| {
            usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(self.bytes.len())
        };
        let raw = self
            .bytes
            .get(at(span.start)..at(span.end))
            .unwrap_or_default();
        let content = match Decoder::new(&part.encoding) {
            None => raw.to_vec(),
            Some(mut decoder) => {
                let mut content = Vec::with_capacity(raw.len());
                decoder.decode(raw, &mut content);
                decoder.finish(&mut content);
                content
            }
        };
        let charset = part
            .content
            .parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("charset"));
        match charset.and_then(|(_, charset)| charset_decoder(charset)) {
            // UTF-8 is not broken by a charset that was only assumed.
            Some(decode)
                if std::str::from_utf8(&content).is_err()
                    || !content.is_ascii()
                        && charset
                            .is_some_and(|(_, name)| !name.eq_ignore_ascii_case(b"us-ascii")) =>
            {
                decode(&content)
            }
            _ => String::from_utf8_lossy(&content).into_owned(),
        }
    }

    pub(super) fn field(&self, name: &str) -> String {
        header::value(self.header(), name)
            .map(|value| decoded(&value))
            .unwrap_or_default()
    }

    fn date(&self) -> Option<DateTime> {
        let value = header::value(self.header(), "Date")?;
        let text = String::from_utf8_lossy(&value).into_owned();
        DateTime::parse_rfc822(&text).filter(DateTime::is_valid)
    }

    /// The day that the Date field names, in its own zone; in days since 1970.
    pub(super) fn sent_day(&self) -> Option<i64> {
        self.date()
            .map(|date| days_of(date.year.into(), date.month.into(), date.day.into()))
    }

    /// Seconds since 1970.
    pub(super) fn sent_at(&self) -> Option<i64> {
        self.date().map(|date| date.to_timestamp())
    }

    /// The subject without what replies put before it (RFC 5256 section 2.1).
    pub(super) fn base_subject(&self) -> String {
        let subject = self.field("Subject");
        let words: Vec<&str> = thread_name(&subject).split_whitespace().collect();
        words.join(" ").to_lowercase()
    }

    /// Whether the subject says that this is a reply or was handed on.
    pub(super) fn is_reply(&self) -> bool {
        let subject = self.field("Subject");
        let words: Vec<&str> = subject.split_whitespace().collect();
        words.join(" ").to_lowercase() != self.base_subject()
    }

    /// The first address of a field: what stands before its `@`.
    pub(super) fn first_mailbox(&self, name: &str) -> String {
        let value = header::value(self.header(), name).unwrap_or_default();
        let mailbox = super::envelope::first_mailbox(&value);
        String::from_utf8_lossy(&mailbox).to_lowercase()
    }

    pub(super) fn message_id(&self) -> Option<String> {
        self.ids("Message-ID").into_iter().next()
    }

    /// The messages that this one refers to, the nearest last.
    pub(super) fn references(&self) -> Vec<String> {
        let references = self.ids("References");
        if references.is_empty() {
            return self.ids("In-Reply-To").into_iter().take(1).collect();
        }
        let from = references.len().saturating_sub(REFERENCES);
        references.into_iter().skip(from).collect()
    }

    fn ids(&self, name: &str) -> Vec<String> {
        let value = header::value(self.header(), name).unwrap_or_default();
        let text = String::from_utf8_lossy(&value).into_owned();
        let mut found = Vec::new();
        for piece in text.split('<').skip(1) {
            if let Some((id, _)) = piece.split_once('>') {
                let id: String = id.chars().filter(|c| !c.is_whitespace()).collect();
                if !id.is_empty() {
                    found.push(id);
                }
            }
        }
        found
    }
}

/// Encoded words undone (RFC 2047).
fn decoded(value: &[u8]) -> String {
    if value.is_ascii() && memchr::memmem::find(value, b"=?").is_none() {
        return String::from_utf8_lossy(value).into_owned();
    }
    let line = [value, b"\r\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(text: &str) -> Readable {
        Readable::new(text.as_bytes().to_vec(), Depth::Parts)
    }

    #[test]
    fn what_is_encoded_is_found_as_it_is_read() {
        let message = readable(
            "Subject: Re: =?utf-8?q?caf=C3=A9?=\r\nDate: Tue, 2 Jan 2024 00:30:00 +0100\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nna=EFve\r\n--b\r\nContent-Type: image/png\r\n\r\nsecret\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b--\r\n",
        );
        assert!(
            message.field_has("subject", "caf\u{e9}")
                && !message.field_has("subject", "na\u{ef}ve")
        );
        assert!(
            message.body_has("na\u{ef}ve")
                && message.body_has("hello")
                && !message.body_has("secret")
        );
        assert!(message.has("caf\u{e9}") && message.field_has("date", ""));
        assert_eq!(message.base_subject(), "caf\u{e9}");
        assert!(message.is_reply());
        assert_eq!(message.sent_day(), Some(19_724));
        assert_eq!(message.sent_at(), Some(1_704_151_800));
    }

    #[test]
    fn references_are_ids() {
        let message = readable("References: <a@b> junk <c@\r\n d>\r\nMessage-ID: <e@f> \r\n\r\n");
        assert_eq!(message.references(), ["a@b", "c@d"]);
        assert_eq!(message.message_id().as_deref(), Some("e@f"));
        assert_eq!(readable("In-Reply-To: <x> <y>\r\n\r\n").references(), ["x"]);
        assert!(readable("").references().is_empty());
    }
}
