//! SMTP and POP3 as a client speaks them, with everything that can happen to a connection told apart: said no, not sent, and
//! sent without an answer, which is neither yes nor no.
//!
//! Must never mend anything: what a server says is handed on as it came.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How this client calls itself.
const HELLO: &str = "client.example";
/// For a connection on loopback: a stopped server's system answers, its process does not.
const CONNECT: Duration = Duration::from_secs(2);
/// Longer than a server waits for its second disk and for others' answers.
const ANSWER: Duration = Duration::from_secs(8);

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handed {
    /// 250: the text.
    Yes(String),
    /// Said no; the code.
    Refused(u16, String),
    /// The end of the message was not sent: nothing was done.
    Not(String),
    /// Its end was sent, and no answer came.
    Unknown(String),
}

/// A connection, in clear or inside TLS.
pub(crate) enum Stream {
    /// In clear.
    Clear(TcpStream),
    /// Inside TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// At a door, with limits on every wait.
///
/// # Errors
/// Nobody answers.
pub(crate) fn connect(at: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<BufReader<Stream>> {
    let at = at.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&at, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(match tls {
        None => Stream::Clear(stream),
        Some(tls) => {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let client = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(client, stream)))
        }
    }))
}

/// A line with its end.
///
/// # Errors
/// The connection ends before, or nothing comes in time.
pub(crate) fn line(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    match line.ends_with(b"\r\n") {
        true => Ok(String::from_utf8_lossy(&line).into_owned()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What no server should say.
pub(crate) fn odd(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

/// An SMTP session.
pub(crate) struct Smtp(BufReader<Stream>);

impl Smtp {
    /// At a door, in clear or with TLS from the first byte.
    ///
    /// # Errors
    /// Nobody answers, or not as SMTP does.
    pub(crate) fn open(at: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut smtp = Self(connect(at, tls)?);
        match smtp.reply()? {
            (220, _) => {}
            (code, text) => return Err(odd(format!("greeted with {code} {text}"))),
        }
        smtp.says_hello("EHLO")
    }

    /// At a door for mail servers beside it, which answers for each recipient (RFC 2033).
    ///
    /// # Errors
    /// Nobody answers, or not as LMTP does.
    pub(crate) fn open_lmtp(at: &str) -> io::Result<Self> {
        let mut lmtp = Self(connect(at, None)?);
        match lmtp.reply()? {
            (220, _) => lmtp.says_hello("LHLO"),
            (code, text) => Err(odd(format!("greeted with {code} {text}"))),
        }
    }

    fn says_hello(mut self, verb: &str) -> io::Result<Self> {
        match self.command(&format!("{verb} {HELLO}"))? {
            (250, _) => Ok(self),
            (code, text) => Err(odd(format!("{verb}: {code} {text}"))),
        }
    }

    /// A message by LMTP: what became of it for each recipient that was taken at first.
    pub(crate) fn hands_over(
        &mut self,
        from: &str,
        to: &[String],
        message: &[u8],
    ) -> (Vec<(String, Handed)>, Option<Handed>) {
        let (first, taken) = self.send(from, to, message);
        let mut answers = Vec::new();
        let mut broken = None;
        for (place, name) in taken.into_iter().enumerate() {
            let answer = match (&first, place, &broken) {
                // One answer for all: it did not come so far.
                (Handed::Not(_) | Handed::Unknown(_), ..) | (_, 0, _) => first.clone(),
                (_, _, Some(broken)) => Handed::Unknown(String::clone(broken)),
                (..) => match self.reply() {
                    Ok((250, text)) => Handed::Yes(text),
                    Ok((code, text)) => Handed::Refused(code, text),
                    Err(error) => {
                        let why = error.to_string();
                        broken = Some(why.clone());
                        Handed::Unknown(why)
                    }
                },
            };
            answers.push((name, answer));
        }
        let of_all = answers.is_empty().then_some(first);
        (answers, of_all)
    }

    /// AUTH PLAIN; the code and text.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> io::Result<(u16, String)> {
        let plain = format!("\0{name}\0{password}");
        let response = data_encoding::BASE64.encode(plain.as_bytes());
        self.command(&format!("AUTH PLAIN {response}"))
    }

    /// A command and its answer.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn command(&mut self, line: &str) -> io::Result<(u16, String)> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<(u16, String)> {
        let mut text = String::new();
        loop {
            let line = line(&mut self.0)?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| odd(format!("no answer of SMTP: {line}")))?;
            text.push_str(line.get(4..).unwrap_or_default().trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, text));
            }
            text.push('\n');
        }
    }

    /// A message, its lines ended with CRLF; and to which of the recipients it was taken.
    pub(crate) fn send(
        &mut self,
        from: &str,
        to: &[String],
        message: &[u8],
    ) -> (Handed, Vec<String>) {
        let mut taken = Vec::new();
        let begun = self.envelope(from, to, &mut taken);
        match begun {
            Err(error) => return (Handed::Not(error.to_string()), taken),
            Ok(Err(no)) => return (no, taken),
            Ok(Ok(())) => {}
        }
        let mut stuffed = Vec::with_capacity(message.len() + 64);
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        let stream = self.0.get_mut();
        if let Err(error) = stream.write_all(&stuffed).and_then(|()| stream.flush()) {
            return (Handed::Not(error.to_string()), taken);
        }
        let ended = stream.write_all(b".\r\n").and_then(|()| stream.flush());
        let sent = match ended.and_then(|()| self.reply()) {
            Ok((250, text)) => Handed::Yes(text),
            Ok((code, text)) => Handed::Refused(code, text),
            Err(error) => Handed::Unknown(error.to_string()),
        };
        (sent, taken)
    }

    fn envelope(
        &mut self,
        from: &str,
        to: &[String],
        taken: &mut Vec<String>,
    ) -> io::Result<Result<(), Handed>> {
        match self.command(&format!("MAIL FROM:<{from}> BODY=8BITMIME"))? {
            (250, _) => {}
            (code, text) => return Ok(Err(Handed::Refused(code, text))),
        }
        let mut last = (554, String::new());
        for name in to {
            match self.command(&format!("RCPT TO:<{name}>"))? {
                (250, _) => taken.push(name.clone()),
                no => last = no,
            }
        }
        if taken.is_empty() {
            self.command("RSET")?;
            return Ok(Err(Handed::Refused(last.0, last.1)));
        }
        match self.command("DATA")? {
            (354, _) => Ok(Ok(())),
            (code, text) => Ok(Err(Handed::Refused(code, text))),
        }
    }
}

/// A POP3 session.
pub(crate) struct Pop(BufReader<Stream>);

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// It was right.
    Yes,
    /// It was not, it was said.
    No(String),
    /// Cannot be told now.
    NotNow(String),
}

impl Pop {
    /// At a door with TLS from the first byte.
    ///
    /// # Errors
    /// Nobody answers, or not as POP3 does.
    pub(crate) fn open(at: &str, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut pop = Self(connect(at, Some(tls))?);
        let greeting = line(&mut pop.0)?;
        match greeting.starts_with("+OK") {
            true => Ok(pop),
            false => Err(odd(greeting)),
        }
    }

    /// USER and PASS.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> io::Result<Login> {
        let user = self.command(&format!("USER {name}"))?;
        if !user.starts_with("+OK") {
            return Ok(Login::NotNow(user));
        }
        let answer = self.command(&format!("PASS {password}"))?;
        Ok(if answer.starts_with("+OK") {
            Login::Yes
        } else if answer.contains("[AUTH]") {
            Login::No(answer)
        } else {
            Login::NotNow(answer)
        })
    }

    /// A command and the first line of its answer.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn command(&mut self, text: &str) -> io::Result<String> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        stream.flush()?;
        line(&mut self.0)
    }

    /// All messages: number and unique id.
    ///
    /// # Errors
    /// No answer, or a no.
    pub(crate) fn listing(&mut self) -> io::Result<Vec<(usize, String)>> {
        let answer = self.command("UIDL")?;
        if !answer.starts_with("+OK") {
            return Err(odd(answer));
        }
        let listing = self.body()?;
        let text = String::from_utf8_lossy(&listing).into_owned();
        text.lines()
            .map(|line| {
                let (number, id) = line.split_once(' ').ok_or_else(|| odd(line))?;
                let number = number.parse().map_err(|_| odd(line))?;
                Ok((number, id.to_owned()))
            })
            .collect()
    }

    /// A message; none if the server says no.
    ///
    /// # Errors
    /// No answer, or it breaks off.
    pub(crate) fn retrieve(&mut self, number: usize) -> io::Result<Option<Vec<u8>>> {
        match self.command(&format!("RETR {number}"))?.starts_with("+OK") {
            true => self.body().map(Some),
            false => Ok(None),
        }
    }

    /// What follows an answer, up to the dot.
    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut line = Vec::new();
        let mut at_line_start = true;
        loop {
            line.clear();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if at_line_start && line == b".\r\n" {
                return Ok(all);
            }
            let stuffed = at_line_start && line.starts_with(b".");
            all.extend_from_slice(line.get(usize::from(stuffed)..).unwrap_or_default());
            at_line_start = line.ends_with(b"\r\n");
        }
    }
}
