//! Where the tests have their mail from: real messages where they can be had, and odd ones that are made here.
//!
//! The real ones are people's: they are read where `.ci/real-mail` has put them, and never committed. Without them as many are
//! made, and said to be; a test never has less to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where `.ci/real-mail` says that the mail is.
const VARIABLE: &str = "GRAPEVINE_REAL_MAIL";
/// RFC 5322 2.1.1: no line should be longer.
const LONG_LINE_BYTES: usize = 998;
/// A large one, where the median is 4 KiB.
const LARGE_BYTES: usize = 32 * 1024;
/// Of the corpus at most so many with 8-bit text: 6 % of all mail has some.
const EIGHT_BIT_MESSAGES: usize = 150;

/// So many messages: real ones where they can be had.
pub(crate) fn messages(wanted: usize) -> Vec<Vec<u8>> {
    match folder().map(|folder| (real(&folder), folder)) {
        Some((real, folder)) if real.len() >= wanted => {
            eprintln!("{wanted} real messages of {}", folder.display());
            pick(real, wanted)
        }
        Some(_) | None => {
            eprintln!("no real mail here (.ci/real-mail fetches it): {wanted} messages are made");
            (0..wanted).map(made).collect()
        }
    }
}

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    let cache = || {
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(home)
    };
    given
        .filter(|given| !given.as_os_str().is_empty())
        .or_else(|| Some(cache()?.join("grapevine/real-mail")))
        .filter(|folder| folder.is_dir())
}

/// All there are, in the order of their names.
fn real(folder: &Path) -> Vec<Vec<u8>> {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(path)),
            }
        }
    }
    files
        .iter()
        .map(|file| without_from_line(fs::read(file).unwrap()))
        .filter(|message| !message.is_empty())
        .collect()
}

/// The line of the mbox that a message was cut out of is none of it.
fn without_from_line(mut message: Vec<u8>) -> Vec<u8> {
    if message.starts_with(b"From ") {
        let end = message.iter().position(|byte| *byte == b'\n');
        message.drain(..end.map_or(message.len(), |end| end + 1));
    }
    message
}

/// All that are odd, then the others evenly.
fn pick(all: Vec<Vec<u8>>, wanted: usize) -> Vec<Vec<u8>> {
    let (mut picked, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| is_odd(m));
    let (eight_bit, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|m| !m.is_ascii());
    picked.extend(eight_bit.into_iter().take(EIGHT_BIT_MESSAGES));
    let missing = wanted.saturating_sub(picked.len()).max(1);
    let stride = (rest.len() / missing).max(1);
    picked.extend(rest.into_iter().step_by(stride));
    picked.truncate(wanted);
    picked
}

fn is_odd(message: &[u8]) -> bool {
    message.len() > LARGE_BYTES
        || message.contains(&b'\r')
        || message.contains(&0)
        || !message.ends_with(b"\n")
        || message
            .split(|byte| *byte == b'\n')
            .any(|line| line.len() > LONG_LINE_BYTES)
}

/// What no archive has, and any program may send: every limit of a line, every byte, nothing at all.
pub(crate) fn odd() -> Vec<Vec<u8>> {
    let with = |subject: &str, body: &[u8]| {
        let head = format!("From: a@b.example\r\nSubject: {subject}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let mut all = vec![
        Vec::new(),
        b"\r\n".to_vec(),
        b"\n".to_vec(),
        b".".to_vec(),
        b".\r\n".to_vec(),
        b"no header at all".to_vec(),
        b"Subject: no body, no blank line\r\n".to_vec(),
        with("empty body", b""),
        with("nul", b"a\0b\0\0c\r\n\0\r\n"),
        with("every byte", &(0..=255).collect::<Vec<u8>>()),
        with("dots", b".\r\n..\r\n...\r\n. \r\n.\r\n"),
        with("no last line end", b"the end"),
        with("ends in CR", b"the end\r"),
        with("ends in LF", b"the end\n"),
        with(
            "bare ends",
            b"one\ntwo\rthree\r\r\nfour\n\r\n.\nfive\r.\r\n",
        ),
        with(
            "From lines",
            b"\r\nFrom me\r\n>From you\r\nFrom a Thu Jan  1 00:00:00 2004\r\n",
        ),
        with("latin-1", b"Gr\xfc\xdfe aus K\xf6ln\r\n"),
        with("utf-8", "Grüße, 你好, 🍇\r\n".as_bytes()),
        with("not utf-8", b"\xff\xfe\xc0\x80\xed\xa0\x80\r\n"),
    ];
    for length in [997, 998, 999, 1000, 1001, 2048, 8192, 65_536, 300_000] {
        let line = [b"x".repeat(length), b"\r\n".to_vec()].concat();
        all.push(with(&format!("a line of {length}"), &line));
    }
    all.push(with("attachment", &multipart(1 << 20, 7)));
    all
}

/// An everyday message of a kind that is decided by its number.
fn made(number: usize) -> Vec<u8> {
    // Half of all mail is below 4 KiB, a hundredth above 47 KiB.
    let size = match number % 100 {
        0 => 200_000,
        1..10 => 20_000,
        10..50 => 6_000,
        _ => 2_000,
    };
    let line_end = if number.is_multiple_of(3) {
        "\r\n"
    } else {
        "\n"
    };
    let mut text = format!("From: <{number}@made.example>\r\nSubject: made {number}\r\n");
    match number % 8 {
        0 => {
            let mut message = text.into_bytes();
            message.extend_from_slice(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n");
            message.extend_from_slice(&multipart(size, number));
            return message;
        }
        1 => text.push_str("Content-Transfer-Encoding: 8bit\r\n\r\nSchöne Grüße\r\n"),
        _ => text.push_str("\r\n"),
    }
    while text.len() < size {
        let words = "the grape vine heard it ".repeat(1 + (text.len() + number) % 5);
        text.push_str(&words);
        text.push_str("\r\n");
    }
    text.replace("\r\n", line_end).into_bytes()
}

/// Two parts, one of them base64 of about this size.
fn multipart(size: usize, seed: usize) -> Vec<u8> {
    let mut body = b"--b\r\n\r\nSee the attachment.\r\n--b\r\nContent-Type: application/octet-stream\r\n\
        Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.bin\r\n\r\n"
        .to_vec();
    let mut noise = Noise::new(seed as u64);
    while body.len() < size {
        body.extend_from_slice(&noise.line());
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

/// Base64 lines that no one can compress, the same for the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    /// The same seed, the same lines.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next line, with its CRLF.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut bytes = [0; 57];
        for eight in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            eight.copy_from_slice(&self.0.to_le_bytes()[..eight.len()]);
        }
        let mut line = data_encoding::BASE64.encode(&bytes).into_bytes();
        line.extend_from_slice(b"\r\n");
        line
    }
}
