//! Dates as IMAP writes them, on days since 1970: `17-Jul-1996 02:44:25 -0700` and `1-Feb-1994`.

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_MS: u64 = 86_400_000;

/// Milliseconds since 1970; before it is 0.
pub(super) fn read_date_time(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let mut parts = text.split(' ');
    let (date, time, zone) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let day = read_date(date)?;
    let mut clock = time
        .split(':')
        .map(|part| (part.len() == 2).then(|| number(part)).flatten());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 || zone.len() != 5 {
        return None;
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let (hours, minutes) = digits.split_at_checked(2)?;
    let offset = (number(hours)? * 60 + number(minutes)?) * 60;
    let offset = match sign {
        "+" => -offset,
        "-" => offset,
        _ => return None,
    };
    let seconds = day * 86_400 + hour * 3_600 + minute * 60 + second + offset;
    u64::try_from(seconds).map_or(Some(0), |seconds| seconds.checked_mul(1000))
}

/// Days since 1970.
pub(super) fn read_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || day.len() > 2 {
        return None;
    }
    let month = MONTHS
        .iter()
        .position(|one| one.eq_ignore_ascii_case(month))?;
    let (day, year) = (number(day)?, number(year)?);
    if !(1..=31).contains(&day) {
        return None;
    }
    Some(days_of(year, i64::try_from(month).ok()? + 1, day))
}

/// Of a moment, in UTC.
pub(super) fn day_of(ms: u64) -> i64 {
    i64::try_from(ms / DAY_MS).unwrap_or(i64::MAX)
}

/// `"17-Jul-1996 09:44:25 +0000"`.
pub(super) fn put_date_time(out: &mut Vec<u8>, ms: u64) {
    let (year, month, day) = date_of(day_of(ms));
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .unwrap_or(&"Jan");
    let seconds = ms / 1000 % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    out.extend_from_slice(
        format!("\"{day:02}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} +0000\"")
            .as_bytes(),
    );
}

fn number(text: &str) -> Option<i64> {
    let good =
        !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

/// Days from civil (Howard Hinnant's algorithm).
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_date_comes_back() {
        for (text, ms) in [
            ("01-Jan-1970 00:00:00 +0000", 0),
            ("17-Jul-1996 09:44:25 +0000", 837_596_665_000),
            ("29-Feb-2024 23:59:59 +0000", 1_709_251_199_000),
        ] {
            assert_eq!(read_date_time(text.as_bytes()), Some(ms));
            let mut out = Vec::new();
            put_date_time(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
        }
        assert_eq!(
            read_date_time(b" 7-Jul-1996 02:44:25 -0700"),
            Some(836_732_665_000)
        );
        put_date_time(&mut Vec::new(), u64::MAX);
    }

    #[test]
    fn what_is_no_date_is_none() {
        for bad in [
            "",
            "1-Foo-1994",
            "0-Jan-1994",
            "1-Jan-94",
            "1-Jan-1994-2",
            "a-Jan-1994",
        ] {
            assert_eq!(read_date(bad), None, "{bad}");
        }
        for bad in [
            "1-Jan-1994",
            "1-Jan-1994 1:2:3 +0000",
            "01-Jan-1994 00:00:00 0000",
            "01-Jan-1994 25:00:00 +0000",
            "01-Jan-1994 00:00:00 +0000 x",
        ] {
            assert_eq!(read_date_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
