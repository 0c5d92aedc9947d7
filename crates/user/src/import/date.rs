//! Dates in old mail: the `Date` field of a header, and the one in an mbox's
//! `From ` line. A date that can't be read is no date, never an error.

use mail_parser::DateTime;

/// The `Date` field of a message's header (RFC 5322 3.6.1), in milliseconds since 1970.
pub(crate) fn header_date_ms(message: &[u8]) -> Option<u64> {
    let mut value: Option<Vec<u8>> = None;
    for line in message.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        match (&mut value, folded) {
            (Some(value), true) => value.extend_from_slice(line),
            (Some(_), false) => break,
            (None, _) => {
                if let Some((name, rest)) = line.split_at_checked(5)
                    && name.eq_ignore_ascii_case(b"date:")
                {
                    value = Some(rest.to_vec());
                }
            }
        }
    }
    let text = String::from_utf8(value?).ok()?;
    ms(DateTime::parse_rfc822(text.trim())?)
}

/// The date at the end of an mbox's `From ` line, as asctime(3) writes it, taken for UTC.
pub(crate) fn from_line_date_ms(line: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let clock_at = words.iter().rposition(|word| clock(word).is_some())?;
    let (hour, minute, second) = clock(words.get(clock_at)?)?;
    let day = words.get(clock_at.checked_sub(1)?)?.parse().ok()?;
    let month = month(words.get(clock_at.checked_sub(2)?)?)?;
    // After the clock stands the year, perhaps with a time zone's name before or after it.
    let year = words
        .iter()
        .skip(clock_at + 1)
        .find_map(|word| year(word))?;
    ms(DateTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
        tz_before_gmt: false,
        tz_hour: 0,
        tz_minute: 0,
    })
}

fn clock(word: &str) -> Option<(u8, u8, u8)> {
    let mut parts = word.split(':');
    let hour = two_digits(parts.next()?)?;
    let minute = two_digits(parts.next()?)?;
    let second = parts.next().map_or(Some(0), two_digits)?;
    (parts.next().is_none() && hour < 24 && minute < 60 && second < 61)
        .then_some((hour, minute, second))
}

fn two_digits(word: &str) -> Option<u8> {
    (matches!(word.len(), 1 | 2) && word.bytes().all(|octet| octet.is_ascii_digit()))
        .then(|| word.parse().ok())
        .flatten()
}

fn month(word: &str) -> Option<u8> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let lower = word.to_ascii_lowercase();
    let at = MONTHS.iter().position(|month| *month == lower)?;
    u8::try_from(at + 1).ok()
}

fn year(word: &str) -> Option<u16> {
    let year = word.parse().ok().filter(|_| word.len() == 4)?;
    (1970..=2999).contains(&year).then_some(year)
}

fn ms(date: DateTime) -> Option<u64> {
    if !date.is_valid() {
        return None;
    }
    u64::try_from(date.to_timestamp()).ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers_are_read_folded_and_in_any_case_and_only_from_the_header() {
        for (text, expected) in [
            (
                "DATE: Thu, 1 Jan 2004 01:00:00 +0100\n",
                Some(1_072_915_200_000),
            ),
            (
                "A: b\r\ndate:\r\n Thu, 1 Jan 2004\r\n 00:00:00 +0000\r\nX: y\r\n",
                Some(1_072_915_200_000),
            ),
            ("Dates: Thu, 1 Jan 2004 00:00:00 +0000\n", None),
            ("Date: soon\n\n", None),
            ("Date: Thu, 1 Jan 1904 00:00:00 +0000\n", None),
            ("Date:", None),
            ("\nDate: Thu, 1 Jan 2004 00:00:00 +0000\n", None),
            ("", None),
        ] {
            assert_eq!(header_date_ms(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn dates_of_from_lines_are_read_as_programs_write_them() {
        for (line, expected) in [
            (
                "From birrell@pa Thu Jan  1 00:00:00 2004",
                Some(1_072_915_200_000),
            ),
            (
                "From birrell at pa  Thu Jan  1 00:00:00 2004",
                Some(1_072_915_200_000),
            ),
            (
                "From - Thu Jan  1 00:00:00 UTC 2004",
                Some(1_072_915_200_000),
            ),
            (
                "From x Thu Jan 1 00:00:00 2004 +0000",
                Some(1_072_915_200_000),
            ),
            ("From x Thu Jan 99 00:00:00 2004", None),
            ("From the beginning at 10:30 it was clear", None),
            ("From \u{fffd}", None),
        ] {
            assert_eq!(from_line_date_ms(line.as_bytes()), expected, "{line:?}");
        }
    }
}
