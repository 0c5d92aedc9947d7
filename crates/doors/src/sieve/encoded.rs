//! Encoded words of a header (RFC 2047) as text. What can't be decoded stays as it is.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Mailers forget the padding, and some leave bits over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A field's value as text: its encoded words decoded, and raw octets taken for UTF-8 or else for Latin-1.
pub(super) fn decode(value: &[u8]) -> String {
    let value = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|b| char::from(*b)).collect(),
    };
    if !value.contains("=?") {
        return value;
    }
    let mut text = String::with_capacity(value.len());
    // Octets of words in one charset that follow each other: a character may be cut between two words, against the rules.
    let mut run: Option<(String, Vec<u8>)> = None;
    let mut rest = value.as_str();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !matches!(c, ' ' | '\t'))
            .unwrap_or(rest.len());
        let (space, from) = rest.split_at(end);
        let next = from.find([' ', '\t']).unwrap_or(from.len());
        let (word, after) = from.split_at(next);
        match encoded_words(word) {
            Some(words) => {
                // Blanks between two encoded words are not meant (RFC 2047 6.2).
                if run.is_none() {
                    text.push_str(space);
                }
                for (charset, octets) in words {
                    match &mut run {
                        Some((of, so_far)) if *of == charset => so_far.extend(octets),
                        _ => {
                            end_run(&mut text, run.take());
                            run = Some((charset, octets));
                        }
                    }
                }
            }
            None => {
                end_run(&mut text, run.take());
                text.push_str(space);
                text.push_str(word);
            }
        }
        rest = after;
    }
    end_run(&mut text, run.take());
    text
}

fn end_run(text: &mut String, run: Option<(String, Vec<u8>)>) {
    if let Some((charset, octets)) = run {
        text.push_str(&in_charset(&charset, &octets));
    }
}

/// The words that a stretch without blanks is made of, if it is nothing but encoded words.
fn encoded_words(stretch: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let mut words = Vec::new();
    let mut rest = stretch;
    while !rest.is_empty() {
        let inner = rest.strip_prefix("=?")?;
        let (charset, inner) = inner.split_once('?')?;
        let (encoding, inner) = inner.split_once('?')?;
        let (encoded, after) = inner.split_once("?=")?;
        // A language may follow the charset (RFC 2231).
        let charset = charset.split_once('*').map_or(charset, |(c, _)| c);
        let charset = charset.to_ascii_lowercase();
        if !is_known(&charset) {
            return None;
        }
        let octets = match encoding {
            "B" | "b" => BASE64.decode(encoded).ok()?,
            "Q" | "q" => quoted(encoded)?,
            _ => return None,
        };
        words.push((charset, octets));
        rest = after;
    }
    Some(words)
}

/// RFC 2047 4.2.
fn quoted(encoded: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'_' => b' ',
            b'=' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(octets)
}

fn is_known(charset: &str) -> bool {
    matches!(
        charset,
        "utf-8"
            | "utf8"
            | "us-ascii"
            | "ascii"
            | "iso-8859-1"
            | "latin1"
            | "iso-8859-15"
            | "windows-1252"
            | "cp1252"
    )
}

fn in_charset(charset: &str, octets: &[u8]) -> String {
    match charset {
        "iso-8859-1" | "latin1" => octets.iter().map(|b| char::from(*b)).collect(),
        "iso-8859-15" => octets.iter().map(|b| latin_9(*b)).collect(),
        "windows-1252" | "cp1252" => octets.iter().map(|b| windows(*b)).collect(),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

fn latin_9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        byte => char::from(byte),
    }
}

fn windows(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    let special = byte
        .checked_sub(0x80)
        .and_then(|at| FROM_80.get(usize::from(at)));
    special.copied().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 2047 section 8, and what mailers do.
    #[test]
    fn encoded_words_are_decoded_and_what_is_none_stays() {
        for (value, text) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=   \t =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?utf-8?Q?_b?=", "a b"),
            ("=?utf-8?B?w6k=?= x  y", "é x  y"),
            ("=?utf-8?B?w6k?=", "é"),
            ("Re: =?utf-8*de?q?=c3=A9?=", "Re: é"),
            ("=?utf-8?Q?=c3?= =?utf-8?Q?=a9?=", "é"),
            ("=?windows-1252?Q?=80?=", "€"),
            ("=?koi8-r?Q?=80?= a", "=?koi8-r?Q?=80?= a"),
            ("=?utf-8?Q?=zz?=", "=?utf-8?Q?=zz?="),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
            ("a =? b", "a =? b"),
            ("=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
        ] {
            assert_eq!(decode(value.as_bytes()), text, "{value}");
        }
        assert_eq!(decode(b"caf\xe9"), "café");
        assert_eq!(decode("café".as_bytes()), "café");
    }
}
