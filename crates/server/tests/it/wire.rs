//! SMTP and POP3 spoken byte by byte: for what no mail client would send, and for comparing every byte that comes back.
//!
//! Must never mend anything: what a server says is handed on as it came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::Digest as _;

use crate::grapevine::{Grapevine, LIMIT};

/// How this client calls itself: it stands in the trace field of what it hands in.
pub(crate) const HELLO: &str = "client.example";
/// RETR commands sent ahead of their answers.
const AHEAD: usize = 32;

/// A connection, in clear or not.
pub(crate) enum Stream {
    Clear(TcpStream),
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

/// What RFC 9266 has both ends of a channel work out.
fn exported(stream: &BufReader<Stream>) -> [u8; 32] {
    let Stream::Tls(tls) = stream.get_ref() else {
        unreachable!("not in clear")
    };
    tls.conn
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))
        .unwrap()
}

/// The server's certificate, which is hashed with SHA-256 by its signature (RFC 5929 section 4).
fn end_point(stream: &BufReader<Stream>) -> [u8; 32] {
    let Stream::Tls(tls) = stream.get_ref() else {
        unreachable!("not in clear")
    };
    sha2::Sha256::digest(&tls.conn.peer_certificates().unwrap()[0]).into()
}

pub(crate) fn connect(at: &str) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn encrypt(grapevine: &Grapevine, stream: TcpStream) -> Stream {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(grapevine.dir.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    Stream::Tls(Box::new(StreamOwned::new(tls, stream)))
}

/// What SMTP answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its code.
    pub(crate) code: u16,
    /// All its lines.
    pub(crate) text: String,
}

/// An SMTP session.
pub(crate) struct Smtp {
    stream: BufReader<Stream>,
}

impl Smtp {
    /// At a server's receiving door, greeted.
    pub(crate) fn receiving(grapevine: &Grapevine, server: usize) -> Self {
        Self::greeted(&grapevine.doors(server)["smtp"])
    }

    /// At a server's submission door, with TLS, not logged in.
    pub(crate) fn stranger(grapevine: &Grapevine, server: usize) -> Self {
        let mut smtp = Self::greeted(&grapevine.doors(server)["submission"]);
        assert_eq!(smtp.command("STARTTLS").code, 220);
        let Stream::Clear(stream) = smtp.stream.into_inner() else {
            unreachable!()
        };
        smtp = Self {
            stream: BufReader::new(encrypt(grapevine, stream)),
        };
        smtp.hello();
        smtp
    }

    /// At a server's submission door, with TLS, logged in.
    pub(crate) fn submission(grapevine: &Grapevine, server: usize, simple: &str) -> Self {
        let mut smtp = Self::stranger(grapevine, server);
        let password = grapevine.password(simple);
        let reply = smtp.log_in(&format!("{simple}@pa.example"), &password);
        assert_eq!(reply.code, 235, "{reply:?}");
        smtp
    }

    fn greeted(at: &str) -> Self {
        let mut smtp = Self {
            stream: BufReader::new(Stream::Clear(connect(at))),
        };
        assert_eq!(smtp.reply().code, 220);
        smtp.hello();
        smtp
    }

    fn hello(&mut self) {
        assert_eq!(self.command(&format!("EHLO {HELLO}")).code, 250);
    }

    /// AUTH PLAIN.
    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> Reply {
        let plain = format!("\0{name}\0{password}");
        let response = data_encoding::BASE64.encode(plain.as_bytes());
        self.command(&format!("AUTH PLAIN {response}"))
    }

    /// A command and its answer.
    pub(crate) fn command(&mut self, line: &str) -> Reply {
        self.write(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// What this channel has that no other has: by its keys, and by the certificate.
    pub(crate) fn channel(&self) -> [[u8; 32]; 2] {
        [exported(&self.stream), end_point(&self.stream)]
    }

    /// Bytes, as they are. Where the connection has ended, the next answer says so.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// The next answer; code 0 where the connection ended.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if !matches!(self.stream.read_line(&mut line), Ok(1..)) {
                return Reply { code: 0, text };
            }
            text.push_str(&line);
            if line.as_bytes().get(3) == Some(&b' ') {
                let code = line[..3].parse().unwrap();
                return Reply { code, text };
            }
        }
    }

    /// A message by DATA, its lines ended with CRLF, in two round trips.
    pub(crate) fn data(&mut self, from: &str, to: &str, message: &[u8]) -> Reply {
        assert!(message.ends_with(b"\r\n"), "DATA ends with a line");
        let head = format!("MAIL FROM:<{from}> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.write(head.as_bytes());
        for code in [250, 250, 354] {
            let reply = self.reply();
            if reply.code != code {
                return reply;
            }
        }
        let mut body = Vec::with_capacity(message.len() + 64);
        for line in lines(message) {
            if line.starts_with(b".") {
                body.push(b'.');
            }
            body.extend_from_slice(line);
        }
        body.extend_from_slice(b".\r\n");
        self.write(&body);
        self.reply()
    }

    /// Any bytes by BDAT, in one round trip.
    pub(crate) fn bdat(&mut self, from: &str, to: &str, message: &[u8]) -> Reply {
        let head = format!(
            "MAIL FROM:<{from}> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nBDAT {} LAST\r\n",
            message.len()
        );
        self.write(&[head.as_bytes(), message].concat());
        for _ in ["MAIL", "RCPT"] {
            let reply = self.reply();
            if reply.code != 250 {
                return reply;
            }
        }
        self.reply()
    }
}

/// Lines with their CRLF; a bare CR or LF ends none.
fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 2));
        rest = after;
        Some(line)
    })
}

/// A POP3 session over TLS.
pub(crate) struct Pop {
    stream: BufReader<Stream>,
}

impl Pop {
    /// At a server's POP3S door, not logged in.
    pub(crate) fn stranger(grapevine: &Grapevine, server: usize) -> Self {
        let stream = connect(&grapevine.doors(server)["pop3s"]);
        let mut pop = Self {
            stream: BufReader::new(encrypt(grapevine, stream)),
        };
        let greeting = pop.line();
        assert!(greeting.starts_with("+OK"), "{greeting}");
        pop
    }

    /// At a server's POP3S door, logged in.
    pub(crate) fn open(grapevine: &Grapevine, server: usize, simple: &str) -> Self {
        let mut pop = Self::stranger(grapevine, server);
        pop.ok(&format!("USER {simple}@pa.example"));
        pop.ok(&format!("PASS {}", grapevine.password(simple)));
        pop
    }

    /// A command and its answer's first line.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.write(&format!("{line}\r\n"));
        self.line()
    }

    /// A command that must succeed.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let answer = self.command(line);
        assert!(answer.starts_with("+OK"), "{answer}");
        answer
    }

    /// What this channel has that no other has: by its keys, and by the certificate.
    pub(crate) fn channel(&self) -> [[u8; 32]; 2] {
        [exported(&self.stream), end_point(&self.stream)]
    }

    /// How many messages there are.
    pub(crate) fn count(&mut self) -> usize {
        let stat = self.ok("STAT");
        stat.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// All unique ids, in order.
    pub(crate) fn uidl(&mut self) -> Vec<String> {
        self.ok("UIDL");
        let mut listing = Vec::new();
        self.body(|piece| listing.extend_from_slice(piece));
        let listing = String::from_utf8(listing).unwrap();
        listing
            .lines()
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect()
    }

    /// Every message, byte for byte.
    pub(crate) fn all(&mut self) -> Vec<Vec<u8>> {
        let count = self.count();
        let numbers: Vec<usize> = (1..=count).collect();
        let mut messages = Vec::with_capacity(count);
        for some in numbers.chunks(AHEAD) {
            let commands: String = some.iter().map(|n| format!("RETR {n}\r\n")).collect();
            self.write(&commands);
            for _ in some {
                let mut message = Vec::new();
                let answer = self.line();
                assert!(answer.starts_with("+OK"), "{answer}");
                self.body(|piece| message.extend_from_slice(piece));
                messages.push(message);
            }
        }
        messages
    }

    /// A message; none if the server says no, or breaks off before its end.
    pub(crate) fn try_retrieve(&mut self, number: usize) -> Option<Vec<u8>> {
        if !self.command(&format!("RETR {number}")).starts_with("+OK") {
            return None;
        }
        let mut message = Vec::new();
        self.try_body(|piece| message.extend_from_slice(piece))
            .ok()?;
        Some(message)
    }

    /// What follows an answer, up to the dot, in pieces.
    pub(crate) fn body(&mut self, piece: impl FnMut(&[u8])) {
        self.try_body(piece).unwrap();
    }

    fn try_body(&mut self, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
        let mut line = Vec::new();
        // Only CRLF ends a line; what LF alone ends is a part of one.
        let mut at_line_start = true;
        loop {
            line.clear();
            let read = self.stream.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if at_line_start && line == b".\r\n" {
                return Ok(());
            }
            let stuffed = at_line_start && line.starts_with(b".");
            piece(&line[usize::from(stuffed)..]);
            at_line_start = line.ends_with(b"\r\n");
        }
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }
}
