//! One command line into one command.
//!
//! Form only: whether the command is in order here and now is the session's business.

use super::address::{Path, is_address_literal, parse_path};
use super::envelope::{Recipient, Sender};
use super::parameters::{parse_mail, parse_rcpt, parse_size};
use super::reply::{
    AUTH_MECHANISM, BAD_RECIPIENT, BAD_SENDER, HTTP, NEEDS_SMTPUTF8, NO_ARGUMENT, NOT_TEXT, Reply,
    SYNTAX_AUTH, SYNTAX_BDAT, SYNTAX_HELLO, SYNTAX_MAIL, SYNTAX_RCPT, UNKNOWN,
};
use crate::sasl::scram::{self, Variant};

/// The longest name after EHLO (a domain's limit).
const HELLO_BYTES: usize = 255;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Helo(&'a str),
    Ehlo(&'a str),
    Lhlo(&'a str),
    StartTls,
    Auth {
        mechanism: Mechanism,
        initial: Option<&'a str>,
    },
    Mail(Sender),
    Rcpt(Recipient),
    Data,
    Bdat {
        chunk_bytes: u64,
        place: Place,
    },
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Login,
    Scram(Variant),
}

/// Whether a chunk is the last of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    More,
    Last,
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Say so and go on.
    Refuse(Reply),
    /// Say so and close: what follows must not be read as commands.
    Close(Reply),
}

impl From<Reply> for Fault {
    fn from(reply: Reply) -> Self {
        Fault::Refuse(reply)
    }
}

/// Whether the line may be as long as AUTH lines are.
pub(super) fn is_auth(start: &[u8]) -> bool {
    start
        .get(..5)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

pub(super) fn parse(line: &[u8]) -> Result<Command<'_>, Fault> {
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or(NOT_TEXT)?;
    let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
    let argument = argument.trim_matches(' ');
    let command = match verb.to_ascii_uppercase().as_str() {
        "EHLO" => Command::Ehlo(parse_hello(argument)?),
        "LHLO" => Command::Lhlo(parse_hello(argument)?),
        "HELO" => Command::Helo(parse_hello(argument)?),
        "MAIL" => Command::Mail(parse_sender(argument)?),
        "RCPT" => Command::Rcpt(parse_recipient(argument)?),
        "BDAT" => parse_bdat(argument).ok_or(Fault::Close(SYNTAX_BDAT))?,
        "AUTH" => parse_auth(argument)?,
        "DATA" => alone(argument, Command::Data)?,
        "STARTTLS" => alone(argument, Command::StartTls)?,
        "RSET" => alone(argument, Command::Rset)?,
        "QUIT" => alone(argument, Command::Quit)?,
        "NOOP" => Command::Noop,
        "HELP" => Command::Help,
        "VRFY" => Command::Vrfy,
        // A browser that was tricked into speaking to this port must not get its body read as commands.
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" | "DELETE" | "PATCH" => {
            return Err(Fault::Close(HTTP));
        }
        _ => return Err(UNKNOWN.into()),
    };
    Ok(command)
}

fn alone<'a>(argument: &str, command: Command<'a>) -> Result<Command<'a>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(NO_ARGUMENT)
    }
}

/// The name is not checked against anything, but it goes into the trace header: letters, digits and what addresses need.
fn parse_hello(argument: &str) -> Result<&str, Reply> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name = (1..=HELLO_BYTES).contains(&argument.len()) && argument.chars().all(good);
    if name || is_address_literal(argument) {
        Ok(argument)
    } else {
        Err(SYNTAX_HELLO)
    }
}

fn parse_sender(argument: &str) -> Result<Sender, Reply> {
    let path = after_keyword(argument, "FROM:").ok_or(SYNTAX_MAIL)?;
    let (path, parameters) = parse_path(path).ok_or(BAD_SENDER)?;
    let address = match path {
        Path::Null => String::new(),
        Path::Full(address) => address,
        Path::Bare(_) => return Err(BAD_SENDER),
    };
    let parameters = spaced(parameters).ok_or(SYNTAX_MAIL)?;
    let sender = parse_mail(address, parameters)?;
    if sender.smtputf8 || sender.address.is_ascii() {
        Ok(sender)
    } else {
        Err(NEEDS_SMTPUTF8)
    }
}

fn parse_recipient(argument: &str) -> Result<Recipient, Reply> {
    let path = after_keyword(argument, "TO:").ok_or(SYNTAX_RCPT)?;
    let (path, parameters) = parse_path(path).ok_or(BAD_RECIPIENT)?;
    let address = match path {
        Path::Full(address) => address,
        Path::Bare(name) if name.eq_ignore_ascii_case("postmaster") => name,
        Path::Bare(_) | Path::Null => return Err(BAD_RECIPIENT),
    };
    parse_rcpt(address, spaced(parameters).ok_or(SYNTAX_RCPT)?)
}

/// A space after the colon is against the RFC, common, and harms nobody.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    found
        .eq_ignore_ascii_case(keyword)
        .then(|| rest.trim_start_matches(' '))
}

/// Parameters stand apart from the path.
fn spaced(parameters: &str) -> Option<&str> {
    (parameters.is_empty() || parameters.starts_with(' ')).then_some(parameters)
}

fn parse_bdat(argument: &str) -> Option<Command<'static>> {
    let (size, place) = match argument.split_once(' ') {
        None => (argument, Place::More),
        Some((size, last)) if last.trim_start_matches(' ').eq_ignore_ascii_case("LAST") => {
            (size, Place::Last)
        }
        Some(_) => return None,
    };
    Some(Command::Bdat {
        chunk_bytes: parse_size(size)?,
        place,
    })
}

fn parse_auth(argument: &str) -> Result<Command<'_>, Reply> {
    let (name, initial) = match argument.split_once(' ') {
        None => (argument, None),
        Some((name, initial)) => (name, Some(initial.trim_start_matches(' '))),
    };
    let mechanism = match name.to_ascii_uppercase().as_str() {
        "PLAIN" => Mechanism::Plain,
        "LOGIN" => Mechanism::Login,
        scram::MECHANISM => Mechanism::Scram(Variant::Plain),
        scram::MECHANISM_PLUS => Mechanism::Scram(Variant::Plus),
        "" => return Err(SYNTAX_AUTH),
        _ => return Err(AUTH_MECHANISM),
    };
    Ok(Command::Auth { mechanism, initial })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(line: &[u8]) -> Reply {
        match parse(line) {
            Err(Fault::Refuse(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_read_in_any_case() {
        assert_eq!(parse(b"ehlo a.example"), Ok(Command::Ehlo("a.example")));
        assert_eq!(parse(b"HELO [192.0.2.1]"), Ok(Command::Helo("[192.0.2.1]")));
        assert_eq!(parse(b"StartTLS"), Ok(Command::StartTls));
        assert_eq!(parse(b"QUIT "), Ok(Command::Quit));
        assert_eq!(parse(b"NOOP anything at all"), Ok(Command::Noop));
        assert_eq!(
            parse(b"auth plain ="),
            Ok(Command::Auth {
                mechanism: Mechanism::Plain,
                initial: Some("=")
            })
        );
        assert_eq!(
            parse(b"BDAT 86 last"),
            Ok(Command::Bdat {
                chunk_bytes: 86,
                place: Place::Last
            })
        );
        assert_eq!(
            parse(b"BDAT 0"),
            Ok(Command::Bdat {
                chunk_bytes: 0,
                place: Place::More
            })
        );
    }

    #[test]
    fn paths_are_told_apart_from_parameters() {
        let Ok(Command::Mail(sender)) = parse(b"MAIL FROM: <a@b> SIZE=7") else {
            panic!()
        };
        assert_eq!(
            (sender.address.as_str(), sender.declared_bytes),
            ("a@b", Some(7))
        );
        let Ok(Command::Mail(sender)) = parse(b"MAIL FROM:<>") else {
            panic!()
        };
        assert_eq!(sender.address, "");
        let Ok(Command::Rcpt(recipient)) = parse(b"RCPT TO:<Postmaster>") else {
            panic!()
        };
        assert_eq!(recipient.address, "Postmaster");
        assert_eq!(refused(b"MAIL FROM:<a@b>SIZE=7"), SYNTAX_MAIL);
        assert_eq!(refused(b"RCPT TO:<a@b>x"), SYNTAX_RCPT);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(refused(b"EHLO"), SYNTAX_HELLO);
        assert_eq!(refused(b"EHLO a)b"), SYNTAX_HELLO);
        assert_eq!(refused(b"MAIL a@b"), SYNTAX_MAIL);
        assert_eq!(refused(b"MAIL FROM:a@b"), BAD_SENDER);
        assert_eq!(refused(b"MAIL FROM:<a>"), BAD_SENDER);
        assert_eq!(refused(b"RCPT TO:<>"), BAD_RECIPIENT);
        assert_eq!(refused(b"RCPT TO:<a>"), BAD_RECIPIENT);
        assert_eq!(refused("MAIL FROM:<\u{e9}@b>".as_bytes()), NEEDS_SMTPUTF8);
        assert_eq!(refused(b"DATA now"), NO_ARGUMENT);
        assert_eq!(refused(b"AUTH"), SYNTAX_AUTH);
        assert_eq!(refused(b"AUTH NTLM"), AUTH_MECHANISM);
        assert_eq!(refused(b"NOOP\0"), NOT_TEXT);
        assert_eq!(refused(b"NOOP\xff"), NOT_TEXT);
        assert_eq!(refused(b"NOOP\tx"), NOT_TEXT);
        assert_eq!(refused(b""), UNKNOWN);
        assert_eq!(refused(b"EXPN list"), UNKNOWN);
    }

    #[test]
    fn a_chunk_of_unknown_length_closes() {
        for line in [
            &b"BDAT"[..],
            b"BDAT x",
            b"BDAT -1",
            b"BDAT 1 LOST",
            b"BDAT 1 LAST LAST",
            b"BDAT 999999999999999999999",
        ] {
            assert_eq!(parse(line), Err(Fault::Close(SYNTAX_BDAT)));
        }
        assert_eq!(parse(b"POST / HTTP/1.1"), Err(Fault::Close(HTTP)));
    }
}
