//! Parameters of MAIL and RCPT: SIZE, BODY, SMTPUTF8, AUTH, and those of DSN (RFC 3461).
//!
//! A value that is given twice, or is not what its RFC allows, is refused, not guessed. What xtext hides is decoded and must be printable:
//! it is written into reports later, where a hidden CRLF would forge headers.

use super::envelope::{BodyKind, Notify, Recipient, Return, Sender};
use super::reply::{BAD_PARAMETER, Reply, UNKNOWN_PARAMETER};

/// RFC 3461 4.4.
const ENVELOPE_ID_BYTES: usize = 100;

/// RFC 3461 4.2.
const ORIGINAL_BYTES: usize = 500;

/// RFC 1870 allows 20 digits.
const SIZE_DIGITS: usize = 20;

/// Reads what follows the path of MAIL.
pub(super) fn parse_mail(address: String, input: &str) -> Result<Sender, Reply> {
    let mut sender = Sender {
        address,
        declared_bytes: None,
        body: BodyKind::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
    };
    let (mut body, mut auth) = (None, None);
    for (keyword, value) in words(input) {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(value)) => once(&mut sender.declared_bytes, parse_size(value))?,
            ("BODY", Some(value)) => once(&mut body, parse_body(value))?,
            ("SMTPUTF8", None) if !sender.smtputf8 => sender.smtputf8 = true,
            ("RET", Some(value)) => once(&mut sender.ret, parse_return(value))?,
            ("ENVID", Some(value)) if value.len() <= ENVELOPE_ID_BYTES => {
                once(&mut sender.envelope_id, decode_xtext(value))?
            }
            // Nobody is trusted to speak for another (RFC 4954 section 5), so it is read and forgotten.
            ("AUTH", Some(value)) => once(&mut auth, decode_xtext(value))?,
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => {
                return Err(BAD_PARAMETER);
            }
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    sender.body = body.unwrap_or_default();
    Ok(sender)
}

/// Reads what follows the path of RCPT.
pub(super) fn parse_rcpt(address: String, input: &str) -> Result<Recipient, Reply> {
    let mut recipient = Recipient {
        address,
        notify: None,
        original: None,
    };
    for (keyword, value) in words(input) {
        match (keyword.to_ascii_uppercase().as_str(), value) {
            ("NOTIFY", Some(value)) => once(&mut recipient.notify, parse_notify(value))?,
            ("ORCPT", Some(value)) => once(&mut recipient.original, parse_original(value))?,
            ("NOTIFY" | "ORCPT", None) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    Ok(recipient)
}

fn words(input: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let split = |word| match str::split_once(word, '=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    input.split(' ').filter(|word| !word.is_empty()).map(split)
}

fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), Reply> {
    match (value, &slot) {
        (Some(value), None) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(BAD_PARAMETER),
    }
}

/// Digits alone. Too many for a `u64` is a size too, a large one.
pub(super) fn parse_size(value: &str) -> Option<u64> {
    let digits =
        (1..=SIZE_DIGITS).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn parse_body(value: &str) -> Option<BodyKind> {
    if value.eq_ignore_ascii_case("7BIT") {
        Some(BodyKind::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Some(BodyKind::EightBit)
    } else {
        None
    }
}

fn parse_return(value: &str) -> Option<Return> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Return::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(Return::Headers)
    } else {
        None
    }
}

fn parse_notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut success,
            "FAILURE" => &mut failure,
            "DELAY" => &mut delay,
            _ => return None,
        };
        if std::mem::replace(flag, true) {
            return None;
        }
    }
    Some(Notify::On {
        success,
        failure,
        delay,
    })
}

fn parse_original(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    let good_kind = !kind.is_empty()
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !good_kind || value.len() > ORIGINAL_BYTES {
        return None;
    }
    let address = decode_xtext(address).filter(|address| !address.is_empty())?;
    Some(format!("{kind};{address}"))
}

/// RFC 3461 section 4, with UTF-8 let through as RFC 6533 does. `None` when it is malformed or hides what is not printable.
fn decode_xtext(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
            b'=' | 0..=0x20 | 0x7f => return None,
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
}

/// Capital letters only, as the RFC says.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mail_parameters_are_read() {
        let sender = parse_mail(
            "a@b".into(),
            " size=100  BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B314+3D AUTH=<>",
        )
        .unwrap();
        assert_eq!(sender.declared_bytes, Some(100));
        assert_eq!(sender.body, BodyKind::EightBit);
        assert!(sender.smtputf8);
        assert_eq!(sender.ret, Some(Return::Headers));
        assert_eq!(sender.envelope_id.as_deref(), Some("QQ+314="));
        assert_eq!(
            parse_mail(String::new(), "SIZE=99999999999999999999")
                .unwrap()
                .declared_bytes,
            Some(u64::MAX)
        );
    }

    #[test]
    fn rcpt_parameters_are_read() {
        let recipient =
            parse_rcpt("a@b".into(), "NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c").unwrap();
        assert_eq!(
            recipient.notify,
            Some(Notify::On {
                success: true,
                failure: false,
                delay: true
            })
        );
        assert_eq!(recipient.original.as_deref(), Some("rfc822;a+b@c"));
        assert_eq!(
            parse_rcpt(String::new(), "NOTIFY=NEVER").unwrap().notify,
            Some(Notify::Never)
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for input in [
            "SIZE",
            "SIZE=",
            "SIZE=-1",
            "SIZE=+1",
            "SIZE=1x",
            "SIZE=1 SIZE=1",
            "SIZE=123456789012345678901",
            "BODY",
            "BODY=BINARYMIME",
            "SMTPUTF8=1",
            "SMTPUTF8 SMTPUTF8",
            "RET=SOME",
            "ENVID=a+0D+0AX:b",
            "ENVID=a+2b",
            "ENVID=+2",
            "ENVID=a=b",
            "ENVID=+FF",
            "AUTH=+",
        ] {
            assert_eq!(
                parse_mail(String::new(), input),
                Err(BAD_PARAMETER),
                "{input}"
            );
        }
        for input in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY,DELAY",
            "NOTIFY=x",
            "ORCPT",
            "ORCPT=a@b",
            "ORCPT=;a",
            "ORCPT=rfc822;",
            "ORCPT=rf c;a",
            "ORCPT=rfc822;a+0Ab",
        ] {
            assert!(parse_rcpt(String::new(), input).is_err(), "{input}");
        }
        assert_eq!(parse_mail(String::new(), "FOO=1"), Err(UNKNOWN_PARAMETER));
        assert_eq!(parse_rcpt(String::new(), "SIZE=1"), Err(UNKNOWN_PARAMETER));
        assert_eq!(
            parse_mail(String::new(), &format!("ENVID={}", "x".repeat(101))),
            Err(BAD_PARAMETER)
        );
    }
}
