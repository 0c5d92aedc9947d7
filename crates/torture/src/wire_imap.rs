//! IMAP as a mail program speaks it (RFC 9051), as far as this run needs it.
//!
//! Must never mend anything: a no, a refused login and an answer that did not come are told apart, and handed on as they came.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read as _, Write as _};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::wire::{Login, Stream, connect, line, odd};

/// A literal longer than this is none of this run's.
const LITERAL_BYTES: usize = 64 * 1024;

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// OK: its text, and what was said before it, literals included.
    Ok(String, Vec<String>),
    /// NO or BAD.
    No(String),
}

/// A mail as a folder shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its number.
    pub(crate) uid: u32,
    /// Its flags and keywords.
    pub(crate) flags: BTreeSet<String>,
    /// The value of its first field, which names it; empty if it lacks the field.
    pub(crate) token: String,
}

/// An IMAP session.
pub(crate) struct Imap {
    stream: BufReader<Stream>,
    commands: u32,
}

impl Imap {
    /// At a door with TLS from the first byte.
    ///
    /// # Errors
    /// Nobody answers, or not as IMAP does.
    pub(crate) fn open(at: &str, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut stream = connect(at, Some(tls))?;
        let greeting = line(&mut stream)?;
        match greeting.starts_with("* OK") {
            true => Ok(Self {
                stream,
                commands: 0,
            }),
            false => Err(odd(greeting)),
        }
    }

    /// LOGIN.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> io::Result<Login> {
        Ok(
            match self.command(&format!("LOGIN \"{name}\" \"{password}\""))? {
                Answer::Ok(..) => Login::Yes,
                Answer::No(text) if text.contains("[AUTHENTICATIONFAILED]") => Login::No(text),
                Answer::No(text) => Login::NotNow(text),
            },
        )
    }

    /// A command and its answer.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn command(&mut self, text: &str) -> io::Result<Answer> {
        let tag = self.begins(text)?;
        self.answer(&tag)
    }

    fn begins(&mut self, text: &str) -> io::Result<String> {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        let stream = self.stream.get_mut();
        stream.write_all(format!("{tag} {text}\r\n").as_bytes())?;
        stream.flush()?;
        Ok(tag)
    }

    fn answer(&mut self, tag: &str) -> io::Result<Answer> {
        let mut before = Vec::new();
        loop {
            let said = self.one()?;
            let Some(last) = said
                .strip_prefix(tag)
                .and_then(|said| said.strip_prefix(' '))
            else {
                before.push(said);
                continue;
            };
            return Ok(match last.strip_prefix("OK") {
                Some(text) => Answer::Ok(text.trim().to_owned(), before),
                None => Answer::No(last.trim().to_owned()),
            });
        }
    }

    /// A line with the literals in it.
    fn one(&mut self) -> io::Result<String> {
        let mut all = String::new();
        loop {
            let part = line(&mut self.stream)?;
            let part = part.trim_end_matches("\r\n");
            all.push_str(part);
            let Some(length) = literal(part) else {
                return Ok(all);
            };
            let length = length?;
            let mut bytes = vec![0; length];
            self.stream.read_exact(&mut bytes)?;
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// APPEND; the outer error: it was not sent whole, so nothing was done.
    ///
    /// # Errors
    /// The end of the message was not sent.
    pub(crate) fn append(
        &mut self,
        folder: &str,
        message: &[u8],
    ) -> io::Result<io::Result<Answer>> {
        let tag = self.begins(&format!("APPEND {folder} {{{}}}", message.len()))?;
        let go_on = self.one()?;
        if !go_on.starts_with('+') {
            let refused = go_on.split_once(' ').map_or("", |(_, text)| text);
            return Ok(Ok(Answer::No(refused.to_owned())));
        }
        let stream = self.stream.get_mut();
        stream.write_all(message)?;
        stream.flush()?;
        let ended = stream.write_all(b"\r\n").and_then(|()| stream.flush());
        Ok(ended.and_then(|()| self.answer(&tag)))
    }

    /// SELECT: how many mails there are, and under which UIDVALIDITY; none if it says no.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub(crate) fn select(&mut self, folder: &str) -> io::Result<Option<(u32, u32)>> {
        let Answer::Ok(_, said) = self.command(&format!("SELECT {folder}"))? else {
            return Ok(None);
        };
        let mails = said.iter().find_map(|said| {
            let number = said.strip_prefix("* ")?.strip_suffix(" EXISTS")?;
            number.parse().ok()
        });
        let validity = said.iter().find_map(|said| {
            let (_, rest) = said.split_once("[UIDVALIDITY ")?;
            rest.split_once(']')?.0.parse().ok()
        });
        match (mails, validity) {
            (Some(mails), Some(validity)) => Ok(Some((mails, validity))),
            _ => Err(odd(format!("SELECT: {said:?}"))),
        }
    }

    /// All mails of the folder that is selected; none if it says no.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub(crate) fn shown(&mut self, field: &str) -> io::Result<Option<Vec<Shown>>> {
        let fetch = format!("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS ({field})])");
        let Answer::Ok(_, said) = self.command(&fetch)? else {
            return Ok(None);
        };
        let rows = said
            .iter()
            .filter(|said| said.contains(" FETCH (") && said.contains("BODY["));
        rows.map(|row| shown_of(row, field).ok_or_else(|| odd(row.clone())))
            .collect::<io::Result<Vec<_>>>()
            .map(Some)
    }

    /// The folders; none if it says no.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn folders(&mut self) -> io::Result<Option<BTreeSet<String>>> {
        let Answer::Ok(_, said) = self.command("LIST \"\" \"*\"")? else {
            return Ok(None);
        };
        let names = said.iter().filter_map(|said| {
            let (_, name) = said.strip_prefix("* LIST ")?.rsplit_once(' ')?;
            Some(name.trim_matches('"').to_owned())
        });
        Ok(Some(names.collect()))
    }
}

/// How long the literal is that a line announces at its end.
fn literal(line: &str) -> Option<io::Result<usize>> {
    let (_, length) = line.strip_suffix('}')?.rsplit_once('{')?;
    let length = length.parse().ok()?;
    Some(match length > LITERAL_BYTES {
        true => Err(odd(format!("a literal of {length} octets"))),
        false => Ok(length),
    })
}

fn shown_of(row: &str, field: &str) -> Option<Shown> {
    let (_, uid) = row.split_once("UID ")?;
    let uid = uid
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    let (_, flags) = row.split_once("FLAGS (")?;
    let (flags, _) = flags.split_once(')')?;
    let begin = format!("{field}: ");
    // The field's name stands in the item's name too, without the colon.
    let token = match row.split_once(&begin) {
        Some((_, value)) => value.split(['\r', ')']).next()?.trim().to_owned(),
        None => String::new(),
    };
    Some(Shown {
        uid,
        flags: flags.split_whitespace().map(str::to_owned).collect(),
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_as_a_folder_shows_it_is_read() {
        let row = "* 3 FETCH (UID 4099 FLAGS (\\Seen $k7) BODY[HEADER.FIELDS (X-Torture)] {19}X-Torture: i0-12\r\n\r\n)";
        let shown = shown_of(row, "X-Torture").unwrap();
        assert_eq!((shown.uid, shown.token.as_str()), (4_099, "i0-12"));
        assert_eq!(
            shown.flags,
            BTreeSet::from(["\\Seen".to_owned(), "$k7".to_owned()])
        );
        assert_eq!(literal("BODY[] {19}").unwrap().unwrap(), 19);
        assert!(literal("BODY[]").is_none());
    }
}
