//! HTTP/1.1 as a program speaks it to the API, one request a connection.
//!
//! Must never mend anything: no answer after the request was sent is neither yes nor no.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::wire::{connect, line, odd};

/// A longer answer is none to these questions.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A request.
pub(crate) struct Ask<'a> {
    /// GET, PUT, POST or DELETE.
    pub(crate) verb: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Who, and his password.
    pub(crate) who: Option<(&'a str, &'a str)>,
    /// What was seen before.
    pub(crate) seen: Option<&'a str>,
    /// A body and its kind.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Came {
    /// An answer.
    Answer(Answer),
    /// The request was not sent whole.
    Not,
    /// It was, and no answer came.
    Unknown,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// What its reader has seen now.
    pub(crate) seen: Option<String>,
    /// Its body.
    pub(crate) body: String,
}

impl Answer {
    /// The text of a field of the body, which is JSON in one object: what stands behind `"name":`.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":"))?;
        let rest = rest.trim_start();
        match rest.strip_prefix('"') {
            Some(text) => Some(text.split_once('"')?.0),
            None => rest.split([',', '}', ']']).next().map(str::trim),
        }
    }
}

/// Asks.
pub(crate) fn ask(at: &str, tls: &Arc<ClientConfig>, ask: &Ask<'_>) -> Came {
    let Ok(mut stream) = connect(at, Some(tls)) else {
        return Came::Not;
    };
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
        ask.verb, ask.path
    );
    if let Some((who, password)) = ask.who {
        let basic = data_encoding::BASE64.encode(format!("{who}:{password}").as_bytes());
        head.push_str(&format!("Authorization: Basic {basic}\r\n"));
    }
    if let Some(seen) = ask.seen {
        head.push_str(&format!("Grapevine-Seen: {seen}\r\n"));
    }
    let (kind, body) = ask.body.unwrap_or(("", b""));
    if !kind.is_empty() {
        head.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let sink = stream.get_mut();
    // Without the last octet nothing is done.
    let (begin, last) = match body.split_last() {
        Some((last, begin)) => ([head.as_bytes(), begin].concat(), vec![*last]),
        None => {
            let last = head.pop().map(|letter| letter as u8);
            (head.into_bytes(), last.into_iter().collect())
        }
    };
    if sink.write_all(&begin).and_then(|()| sink.flush()).is_err() {
        return Came::Not;
    }
    let sent = sink.write_all(&last).and_then(|()| sink.flush());
    match sent.and_then(|()| answer(&mut stream)) {
        Ok(answer) => Came::Answer(answer),
        Err(_) => Came::Unknown,
    }
}

fn answer(stream: &mut io::BufReader<crate::wire::Stream>) -> io::Result<Answer> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| odd(first))?;
    let mut seen = None;
    let mut length = None;
    loop {
        let field = line(stream)?;
        let field = field.trim_end();
        let Some((name, value)) = field.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "grapevine-seen" => seen = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse::<usize>().ok(),
            _ => {}
        }
    }
    let length = length.ok_or_else(|| odd("an answer without a length"))?;
    if length > ANSWER_BYTES {
        return Err(odd(format!("an answer of {length} octets")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer {
        status,
        seen,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_an_answer_is_found() {
        let answer = Answer {
            status: 200,
            seen: None,
            body: r#"{"done":true,"copies":2,"stamp":"00ff"}"#.to_owned(),
        };
        assert_eq!(answer.field("copies"), Some("2"));
        assert_eq!(answer.field("stamp"), Some("00ff"));
        assert_eq!(answer.field("done"), Some("true"));
        assert_eq!(answer.field("answer"), None);
    }
}
