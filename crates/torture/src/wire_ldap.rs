//! LDAP as a directory client speaks it (RFC 4511), as far as this run needs it: a bind, and a search for one value.
//!
//! Must never mend anything: whatever result code comes is handed on.

use std::io::{self, BufReader, Read as _, Write as _};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::wire::{Stream, connect, odd};

/// An answer longer than this is none to these questions.
const ANSWER_BYTES: usize = 1024 * 1024;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
/// What a search finds, one by one.
const ENTRY: u8 = 0x64;
/// Where else to search.
const ELSEWHERE: u8 = 0x73;

/// An LDAP session.
pub(crate) struct Ldap {
    stream: BufReader<Stream>,
    asked: u8,
}

/// What came of a question: the result code, and the entries before it as they came.
pub(crate) struct Answer {
    /// 0 is success, 49 a wrong password (RFC 4511 appendix A).
    pub(crate) code: u8,
    /// The entries.
    pub(crate) entries: Vec<Vec<u8>>,
}

impl Ldap {
    /// At a door with TLS from the first byte.
    ///
    /// # Errors
    /// Nobody answers.
    pub(crate) fn open(at: &str, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        Ok(Self {
            stream: connect(at, Some(tls))?,
            asked: 0,
        })
    }

    /// A simple bind.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn bind(&mut self, who: &str, password: &str) -> io::Result<u8> {
        let bind = [
            element(INTEGER, &[3]),
            element(OCTETS, who.as_bytes()),
            element(0x80, password.as_bytes()),
        ];
        Ok(self.ask(&element(0x60, &bind.concat()))?.code)
    }

    /// Everything below a base that has this value.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn search(
        &mut self,
        base: &str,
        (attribute, value): (&str, &str),
    ) -> io::Result<Answer> {
        let equal = [
            element(OCTETS, attribute.as_bytes()),
            element(OCTETS, value.as_bytes()),
        ];
        let search = [
            element(OCTETS, base.as_bytes()),
            // The whole subtree; aliases are not followed; no limits of ours; values too.
            element(ENUMERATED, &[2]),
            element(ENUMERATED, &[0]),
            element(INTEGER, &[0]),
            element(INTEGER, &[0]),
            element(0x01, &[0]),
            element(0xa3, &equal.concat()),
            element(SEQUENCE, &element(OCTETS, b"mail")),
        ];
        self.ask(&element(0x63, &search.concat()))
    }

    fn ask(&mut self, operation: &[u8]) -> io::Result<Answer> {
        self.asked = (self.asked + 1) & 0x7f;
        let message = [&element(INTEGER, &[self.asked]), operation].concat();
        let stream = self.stream.get_mut();
        stream.write_all(&element(SEQUENCE, &message))?;
        stream.flush()?;
        let mut entries = Vec::new();
        loop {
            let message = self.message()?;
            // Behind the message's number.
            let (tag, content) = message
                .get(1)
                .and_then(|length| message.get(2 + usize::from(*length)..))
                .and_then(first)
                .ok_or_else(|| odd("no message of LDAP"))?;
            match tag {
                ENTRY => entries.push(content.to_vec()),
                ELSEWHERE => {}
                _ => {
                    let code = match first(content) {
                        Some((ENUMERATED, [code])) => *code,
                        _ => return Err(odd("an answer without a result code")),
                    };
                    return Ok(Answer { code, entries });
                }
            }
        }
    }

    /// The content of the next message.
    fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let [_, short] = head;
        let mut length = usize::from(short);
        if short >= 0x80 {
            let mut octets = vec![0; usize::from(short & 0x7f)];
            self.stream.read_exact(&mut octets)?;
            let longer = |length: usize, octet: &u8| (length << 8) | usize::from(*octet);
            length = octets.iter().take(4).fold(0, longer);
        }
        if length > ANSWER_BYTES {
            return Err(odd(format!("an answer of {length} octets")));
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content)?;
        Ok(content)
    }
}

/// Tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => all.push(short),
        _ => {
            // This run asks nothing longer than 64 KiB.
            let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
            all.push(0x82);
            all.extend_from_slice(&length.to_be_bytes());
        }
    }
    all.extend_from_slice(content);
    all
}

/// The first element of these: its tag and content.
fn first(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (length, rest) = match short & 0x80 {
        0 => (usize::from(*short), rest),
        _ => {
            let (octets, rest) = rest.split_at_checked(usize::from(short & 0x7f).min(4))?;
            let longer = |length: usize, octet: &u8| (length << 8) | usize::from(*octet);
            (octets.iter().fold(0, longer), rest)
        }
    };
    Some((*tag, rest.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        for length in [0, 1, 127, 128, 300, 40_000] {
            let content = vec![7; length];
            let written = element(OCTETS, &content);
            assert_eq!(first(&written), Some((OCTETS, content.as_slice())));
            assert_eq!(first(written.get(..written.len() - 1).unwrap()), None);
        }
    }
}
