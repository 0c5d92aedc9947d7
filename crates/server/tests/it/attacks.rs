//! What the attacks share: a connection that says any bytes and hears what comes, and how much memory a server holds meanwhile.
//!
//! The attacks themselves are in `attacks_*.rs`; docs/threat-model.md says who would make them, and what stops them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use nix::unistd::Pid;

use crate::grapevine::{Grapevine, LIMIT, get};
use crate::wire::{Stream, connect, encrypt};

/// A message in order, for whoever wants one.
pub(crate) const MESSAGE: &[u8] = b"Subject: in order\r\n\r\nNothing wrong with this.\r\n";
/// What a server may grow by under one attack. Generous: an attack that works takes gigabytes, and a test's build is wasteful.
const GROWTH_KIB: u64 = 256 * 1024;

/// A connection to any door.
pub(crate) struct Line {
    stream: BufReader<Stream>,
}

impl Line {
    /// In clear.
    pub(crate) fn clear(at: &str) -> Self {
        Self {
            stream: BufReader::new(Stream::Clear(connect(at))),
        }
    }

    /// With TLS from the first byte.
    pub(crate) fn tls(grapevine: &Grapevine, at: &str) -> Self {
        Self {
            stream: BufReader::new(encrypt(grapevine, connect(at))),
        }
    }

    /// TLS from here on; what was read ahead of it would be an answer that came too early.
    pub(crate) fn upgrade(self, grapevine: &Grapevine) -> Self {
        assert_eq!(self.stream.buffer(), b"", "said before TLS was on");
        let Stream::Clear(stream) = self.stream.into_inner() else {
            unreachable!("TLS is on")
        };
        Self {
            stream: BufReader::new(encrypt(grapevine, stream)),
        }
    }

    /// Bytes, as they are; whether they could be sent.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref()).is_ok() && stream.flush().is_ok()
    }

    /// Nothing more is said.
    pub(crate) fn half_close(&mut self) {
        if let Stream::Clear(stream) = self.stream.get_mut() {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// How long one write may take.
    pub(crate) fn patience(&mut self, time: Duration) {
        let stream = match self.stream.get_ref() {
            Stream::Clear(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        };
        stream.set_write_timeout(Some(time)).unwrap();
    }

    /// The next line without its end; empty where the connection has ended.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.stream.read_until(b'\n', &mut line);
        let text = String::from_utf8_lossy(&line).into_owned();
        text.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// A line is said, and one heard.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\r\n"));
        self.line()
    }

    /// Lines up to one that begins so, itself among them; or to the end.
    pub(crate) fn until(&mut self, begin: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let last = line.is_empty() || line.starts_with(begin);
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// So many octets; fewer where the connection has ended.
    pub(crate) fn octets(&mut self, count: u64) -> Vec<u8> {
        let mut octets = Vec::new();
        let _ = (&mut self.stream).take(count).read_to_end(&mut octets);
        octets
    }
}

/// A connection from another address of this machine; none where the server has no room in its queue.
pub(crate) fn from_address(address: [u8; 4], at: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(at.parse().unwrap()).await.unwrap()
    });
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Memory that a process holds.
pub(crate) fn resident_kib(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// Before an attack; afterwards the server is to be as it was.
pub(crate) struct Before {
    resident_kib: u64,
}

impl Before {
    /// What the first server is like now.
    pub(crate) fn of(grapevine: &Grapevine) -> Self {
        Self {
            resident_kib: resident_kib(grapevine.pid(0)),
        }
    }

    /// It holds little more now.
    #[track_caller]
    pub(crate) fn bounded(&self, grapevine: &Grapevine, what: &str) {
        let now = resident_kib(grapevine.pid(0));
        let before = self.resident_kib;
        assert!(
            now < before + GROWTH_KIB,
            "{what}: {before} KiB became {now} KiB"
        );
    }
}

/// All servers answer, and none has called for a person.
#[track_caller]
pub(crate) fn unharmed(grapevine: &Grapevine) {
    let servers = grapevine.cluster()["servers"].as_array().unwrap().len();
    for server in 0..servers {
        let http = grapevine.doors(server)["http"].clone();
        assert_eq!(get(&http, "/readyz").unwrap().0, 200, "server {server}");
    }
    grapevine.expect_no_errors();
}

/// The sum of a counter's values that have this in their labels.
pub(crate) fn counted(grapevine: &Grapevine, name: &str, label: &str) -> u64 {
    let (_, metrics) = get(&grapevine.doors(0)["http"], "/metrics").unwrap();
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// base64 of what PLAIN says.
pub(crate) fn plain(name: &str, password: &str) -> String {
    data_encoding::BASE64.encode(format!("\0{name}\0{password}").as_bytes())
}

/// One element of LDAP's encoding, its length in the long form.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], content].concat()
}

/// A message of LDAP.
pub(crate) fn ldap(id: u8, operation: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x02, &[id]), operation].concat())
}

/// A simple bind.
pub(crate) fn bind(id: u8, name: &str, password: &str) -> Vec<u8> {
    let body = [
        tlv(0x02, &[3]),
        tlv(0x04, name.as_bytes()),
        tlv(0x80, password.as_bytes()),
    ]
    .concat();
    ldap(id, &tlv(0x60, &body))
}

/// What LDAP answers: id, tag and result code; none at the end.
pub(crate) fn ldap_answer(line: &mut Line) -> Option<(u8, u8, u8)> {
    let element = |line: &mut Line| -> Option<(u8, Vec<u8>)> {
        let head = line.octets(2);
        let [tag, short] = head[..] else {
            return None;
        };
        let long = match short {
            0x80.. => line.octets(u64::from(short & 0x7f)),
            _ => vec![short],
        };
        let length = long
            .iter()
            .fold(0, |all, octet| all << 8 | u64::from(*octet));
        Some((tag, line.octets(length)))
    };
    fn inner(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
        let (length, from) = match bytes[1] {
            long @ 0x80.. => {
                let count = usize::from(long & 0x7f);
                let length = bytes[2..2 + count]
                    .iter()
                    .fold(0, |all, octet| all << 8 | usize::from(*octet));
                (length, 2 + count)
            }
            short => (usize::from(short), 2),
        };
        (
            bytes[0],
            &bytes[from..from + length],
            &bytes[from + length..],
        )
    }
    let (tag, content) = element(line)?;
    assert_eq!(tag, 0x30);
    let (_, id, rest) = inner(&content);
    let (tag, body, _) = inner(rest);
    let (_, code, _) = inner(body);
    Some((*id.last().unwrap(), tag, *code.last().unwrap_or(&0)))
}
