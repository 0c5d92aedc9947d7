//! What an IMAP server says, token by token (RFC 3501 section 9), in bounded memory.
//!
//! A literal may be a whole message: it goes to a file when it is large, and is measured on its way. What is longer than
//! any message may be is read past, and said to be too long. Must never take a stream that broke off for an answer.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grapevine_model::{BodyInfo, MAX_MESSAGE_BYTES};
use grapevine_user::BodySource;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::cli::import::fill::{Body, Spool};

/// A line without its literals: a FETCH of flags has a hundredth of it, a CAPABILITY a thousandth.
const MAX_LINE_BYTES: usize = 1 << 20;
/// A longer literal goes to a file.
const IN_MEMORY_BYTES: u64 = 256 * 1024;
/// Lists within lists: an answer to what is asked here has three.
const DEEPEST: usize = 16;
/// Tokens in one answer.
const MOST_TOKENS: usize = 200_000;

/// A piece of an answer.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// Anything without quotes; flags and NIL, too.
    Atom(String),
    /// Something in quotes, or a short literal.
    Text(Vec<u8>),
    /// A literal.
    Literal(Literal),
    /// What stands in parentheses.
    List(Vec<Token>),
}

/// A literal.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    /// It is here.
    Here(Body, BodyInfo),
    /// It is longer than a message may be.
    TooLong(u64),
}

impl Token {
    /// Its text; none for a list.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Atom(text) => Some(text.clone()),
            Self::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Literal(Literal::Here(body, _)) => match &body.source {
                BodySource::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
                BodySource::File { .. } | BodySource::Other(_) => None,
            },
            Self::Literal(Literal::TooLong(_)) | Self::List(_) => None,
        }
    }

    /// Whether it is this atom.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Atom(text) if text.eq_ignore_ascii_case(word))
    }

    /// What is in it, if it is a list.
    pub(super) fn list(&self) -> Option<&[Token]> {
        match self {
            Self::List(tokens) => Some(tokens),
            Self::Atom(_) | Self::Text(_) | Self::Literal(_) => None,
        }
    }
}

/// Reads an answer: a line with its literals.
///
/// # Errors
/// The connection broke, or it is no IMAP.
pub(super) async fn read(
    stream: &mut (impl AsyncBufRead + Unpin),
    spool: &Path,
) -> io::Result<Vec<Token>> {
    let mut open: Vec<Vec<Token>> = vec![Vec::new()];
    let mut tokens = 0;
    loop {
        let mut line = line(stream).await?;
        let literal = literal_at_end(&mut line);
        tokenise(&line, &mut open, &mut tokens)?;
        match literal {
            Some(len) => {
                let literal = read_literal(stream, len, spool).await?;
                push(&mut open, Token::Literal(literal), &mut tokens)?;
            }
            None => {
                let last = open.pop();
                return match (last, open.is_empty()) {
                    (Some(tokens), true) => Ok(tokens),
                    _ => Err(bad("a parenthesis is not closed")),
                };
            }
        }
    }
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let most = MAX_LINE_BYTES as u64;
    (&mut *stream)
        .take(most)
        .read_until(b'\n', &mut line)
        .await?;
    match line.last() {
        Some(b'\n') => {}
        Some(_) if line.len() >= MAX_LINE_BYTES => return Err(bad("a line has no end")),
        Some(_) | None => {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended",
            ));
        }
    }
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Cuts `{123}` off; none where the line does not end so.
fn literal_at_end(line: &mut Vec<u8>) -> Option<u64> {
    let rest = line.strip_suffix(b"}")?;
    let at = rest.iter().rposition(|octet| *octet == b'{')?;
    let number = std::str::from_utf8(rest.get(at + 1..)?).ok()?;
    let len = number.trim_end_matches('+').parse().ok()?;
    let at = match at.checked_sub(1).and_then(|before| rest.get(before)) {
        // literal8
        Some(b'~') => at - 1,
        Some(_) | None => at,
    };
    line.truncate(at);
    Some(len)
}

async fn read_literal(
    stream: &mut (impl AsyncBufRead + Unpin),
    len: u64,
    spool: &Path,
) -> io::Result<Literal> {
    let mut rest = (&mut *stream).take(len);
    if len > MAX_MESSAGE_BYTES {
        if tokio::io::copy_buf(&mut rest, &mut tokio::io::sink()).await? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        return Ok(Literal::TooLong(len));
    }
    let mut hasher = blake3::Hasher::new();
    if len <= IN_MEMORY_BYTES {
        let mut bytes = Vec::new();
        rest.read_to_end(&mut bytes).await?;
        if (bytes.len() as u64) < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&bytes);
        let info = BodyInfo {
            len,
            digest: *hasher.finalize().as_bytes(),
        };
        return Ok(Literal::Here(BodySource::bytes(bytes).into(), info));
    }
    let path = fresh(spool)?;
    let mut file = std::fs::File::create_new(&path)?;
    let held = Arc::new(Spool(path.clone()));
    let mut done = 0;
    loop {
        let piece = rest.fill_buf().await?;
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        // The folder of temporary files: it is as fast as memory, or the way in is slower.
        file.write_all(piece)?;
        let taken = piece.len();
        done += taken as u64;
        rest.consume(taken);
    }
    if done < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let info = BodyInfo {
        len,
        digest: *hasher.finalize().as_bytes(),
    };
    let body = Body {
        source: BodySource::file(path)?,
        _spool: Some(held),
    };
    Ok(Literal::Here(body, info))
}

fn fresh(spool: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(spool.join(format!("{:016x}", u64::from_ne_bytes(random))))
}

fn push(open: &mut [Vec<Token>], token: Token, tokens: &mut usize) -> io::Result<()> {
    *tokens += 1;
    match open.last_mut() {
        Some(list) if *tokens <= MOST_TOKENS => list.push(token),
        Some(_) | None => return Err(bad("an answer has too many words")),
    }
    Ok(())
}

fn tokenise(line: &[u8], open: &mut Vec<Vec<Token>>, tokens: &mut usize) -> io::Result<()> {
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        match first {
            b' ' => rest = after,
            b'(' => {
                if open.len() > DEEPEST {
                    return Err(bad("lists in lists in lists"));
                }
                open.push(Vec::new());
                rest = after;
            }
            b')' => {
                let Some(list) = open.pop().filter(|_| !open.is_empty()) else {
                    return Err(bad("a parenthesis is closed that was not opened"));
                };
                push(open, Token::List(list), tokens)?;
                rest = after;
            }
            b'"' => {
                let mut text = Vec::new();
                let mut octets = after.iter();
                loop {
                    match octets.next() {
                        Some(b'\\') => text.extend(octets.next()),
                        Some(b'"') => break,
                        Some(octet) => text.push(*octet),
                        None => return Err(bad("a quote is not closed")),
                    }
                }
                rest = octets.as_slice();
                push(open, Token::Text(text), tokens)?;
            }
            _ => {
                // `BODY[HEADER.FIELDS (DATE)]` is one word.
                let mut brackets = 0_u32;
                let end = rest.iter().position(|octet| {
                    match octet {
                        b'[' => brackets += 1,
                        b']' => brackets = brackets.saturating_sub(1),
                        _ => {}
                    }
                    brackets == 0 && matches!(octet, b' ' | b'(' | b')' | b'"')
                });
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                let word = String::from_utf8_lossy(word).into_owned();
                push(open, Token::Atom(word), tokens)?;
                rest = after;
            }
        }
    }
    Ok(())
}

/// It is no IMAP that is understood here.
pub(super) fn bad(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the answer is not understood: {why}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    async fn all(bytes: &[u8]) -> io::Result<Vec<Token>> {
        let spool = tempfile::tempdir().unwrap();
        let mut stream = bytes;
        read(&mut stream, spool.path()).await
    }

    #[tokio::test]
    async fn answers_are_read_with_lists_quotes_and_literals() {
        let tokens = all(b"* 12 FETCH (UID 7 FLAGS (\\Seen $x) BODY[HEADER.FIELDS (DATE)] {5}\r\na)\r\nb X \"q\\\"\")\r\n")
            .await
            .unwrap();
        assert!(tokens[2].is("fetch"));
        let items = tokens[3].list().unwrap();
        assert_eq!(items[1].text().unwrap(), "7");
        assert_eq!(items[3].list().unwrap().len(), 2);
        assert_eq!(items[4].text().unwrap(), "BODY[HEADER.FIELDS (DATE)]");
        assert_eq!(items[5].text().unwrap(), "a)\r\nb");
        assert_eq!(items[7].text().unwrap(), "q\"");
    }

    #[tokio::test]
    async fn what_broke_off_or_is_no_imap_is_an_error_and_a_large_literal_a_file() {
        for bad in [
            &b"* OK"[..],
            b"* (\r\n",
            b"* )\r\n",
            b"* \"x\r\n",
            b"* {10}\r\nshort",
            b"* {300000}\r\nshort",
            b"",
        ] {
            assert!(all(bad).await.is_err(), "{bad:?}");
        }
        let deep = [vec![b'('; 100], b"\r\n".to_vec()].concat();
        assert!(all(&deep).await.is_err());
        assert!(all(&vec![b'x'; MAX_LINE_BYTES + 10]).await.is_err());
        let body = vec![b'y'; 300_000];
        let large = [b"* {300000}\r\n".to_vec(), body.clone(), b")\r\n".to_vec()].concat();
        assert!(all(&large).await.is_err(), "closed and not opened");
        let large = [b"* ({300000}\r\n".to_vec(), body.clone(), b")\r\n".to_vec()].concat();
        let tokens = all(&large).await.unwrap();
        match &tokens[1].list().unwrap()[0] {
            Token::Literal(Literal::Here(body, info)) => {
                assert_eq!(info.len, 300_000);
                assert!(matches!(body.source, BodySource::File { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
}
