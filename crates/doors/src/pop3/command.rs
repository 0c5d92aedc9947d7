//! One command line into one command.
//!
//! Form only: whether the command is in order here and now is the session's business.

use super::reply::{BAD_ARGUMENT, MECHANISM, NOT_TEXT, Reply, UNKNOWN};
use crate::sasl::scram::{self, Variant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Capa,
    Stls,
    User(&'a str),
    Pass(&'a str),
    AuthPlain(Option<&'a str>),
    AuthScram(Variant, Option<&'a str>),
    Stat,
    List(Option<Number>),
    Uidl(Option<Number>),
    Retr(Number),
    Top(Number, u32),
    Dele(Number),
    Rset,
    Noop,
    Quit,
}

/// A message's number: 1 is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(u32);

impl Number {
    /// Its place in the mailbox.
    pub(super) fn index(self) -> usize {
        usize::try_from(self.0)
            .unwrap_or(usize::MAX)
            .wrapping_sub(1)
    }
}

/// Whether the line may be as long as AUTH lines are.
pub(super) fn is_auth(start: &[u8]) -> bool {
    start
        .get(..5)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

/// Whether the line holds a password.
pub(super) fn is_secret(line: &[u8]) -> bool {
    is_auth(line)
        || line
            .get(..5)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"PASS "))
}

pub(super) fn parse(line: &[u8]) -> Result<Command<'_>, Reply> {
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or(NOT_TEXT)?;
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let argument = rest.trim_matches(' ');
    let one = |argument| number(argument).ok_or(BAD_ARGUMENT);
    let maybe_one = |argument: &str| {
        if argument.is_empty() {
            Ok(None)
        } else {
            number(argument).map(Some).ok_or(BAD_ARGUMENT)
        }
    };
    match verb.to_ascii_uppercase().as_str() {
        "USER" if !argument.is_empty() => Ok(Command::User(argument)),
        // Spaces may be part of a password, at its ends too (RFC 1939 section 7).
        "PASS" if !rest.is_empty() => Ok(Command::Pass(rest)),
        "AUTH" => parse_auth(argument),
        "LIST" => maybe_one(argument).map(Command::List),
        "UIDL" => maybe_one(argument).map(Command::Uidl),
        "RETR" => one(argument).map(Command::Retr),
        "DELE" => one(argument).map(Command::Dele),
        "TOP" => parse_top(argument).ok_or(BAD_ARGUMENT),
        "CAPA" => alone(argument, Command::Capa),
        "STLS" => alone(argument, Command::Stls),
        "STAT" => alone(argument, Command::Stat),
        "RSET" => alone(argument, Command::Rset),
        "NOOP" => alone(argument, Command::Noop),
        "QUIT" => alone(argument, Command::Quit),
        "USER" | "PASS" => Err(BAD_ARGUMENT),
        _ => Err(UNKNOWN),
    }
}

fn alone<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(BAD_ARGUMENT)
    }
}

fn parse_auth(argument: &str) -> Result<Command<'_>, Reply> {
    let (mechanism, initial) = match argument.split_once(' ') {
        None => (argument, None),
        Some((mechanism, initial)) => (mechanism, Some(initial.trim_start_matches(' '))),
    };
    if mechanism.eq_ignore_ascii_case("PLAIN") {
        Ok(Command::AuthPlain(initial))
    } else if mechanism.eq_ignore_ascii_case(scram::MECHANISM) {
        Ok(Command::AuthScram(Variant::Plain, initial))
    } else if mechanism.eq_ignore_ascii_case(scram::MECHANISM_PLUS) {
        Ok(Command::AuthScram(Variant::Plus, initial))
    } else {
        Err(MECHANISM)
    }
}

fn parse_top(argument: &str) -> Option<Command<'_>> {
    let (message, lines) = argument.split_once(' ')?;
    Some(Command::Top(
        number(message)?,
        count(lines.trim_start_matches(' '))?,
    ))
}

fn number(digits: &str) -> Option<Number> {
    count(digits).filter(|number| *number > 0).map(Number)
}

/// Digits alone; more than a `u32` can hold is more than any message has.
fn count(digits: &str) -> Option<u32> {
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_any_case() {
        assert_eq!(parse(b"retr 2"), Ok(Command::Retr(Number(2))));
        assert_eq!(parse(b"TOP 1 0"), Ok(Command::Top(Number(1), 0)));
        assert_eq!(parse(b"List"), Ok(Command::List(None)));
        assert_eq!(parse(b"UIDL 007"), Ok(Command::Uidl(Some(Number(7)))));
        assert_eq!(
            parse(b"PASS  two spaces "),
            Ok(Command::Pass(" two spaces "))
        );
        assert_eq!(parse(b"user birrell@pa"), Ok(Command::User("birrell@pa")));
        assert_eq!(parse(b"AUTH plain"), Ok(Command::AuthPlain(None)));
        assert_eq!(parse(b"AUTH PLAIN ="), Ok(Command::AuthPlain(Some("="))));
        assert_eq!(
            parse(b"DELE 99999999999999999999"),
            Ok(Command::Dele(Number(u32::MAX)))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in [
            &b"RETR"[..],
            b"RETR 0",
            b"RETR -1",
            b"RETR +1",
            b"RETR x",
            b"RETR 1 2",
            b"TOP 1",
            b"TOP 1 -1",
            b"LIST 0",
            b"STAT 1",
            b"QUIT 1",
            b"USER",
            b"PASS",
        ] {
            assert_eq!(parse(line), Err(BAD_ARGUMENT));
        }
        for line in [&b""[..], b"LAST", b"APOP a b", b"GET / HTTP/1.1"] {
            assert_eq!(parse(line), Err(UNKNOWN));
        }
        for line in [&b"NOOP\0"[..], b"NOOP\xff", b"NOOP\t"] {
            assert_eq!(parse(line), Err(NOT_TEXT));
        }
        assert_eq!(parse(b"AUTH"), Err(MECHANISM));
        assert_eq!(parse(b"AUTH CRAM-MD5"), Err(MECHANISM));
    }
}
