//! Another mail system for tests: takes mail by SMTP or LMTP, refuses, puts off, goes away; and a DNS server that names it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A message that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    pub(crate) tls: bool,
    pub(crate) login: bool,
}

/// What a sink is like.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    pub(crate) lmtp: bool,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// AUTH PLAIN with this name and password, or nothing.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// How often `later@` is put off.
    pub(crate) put_off: usize,
}

struct Shared {
    manner: Manner,
    taken: Mutex<Vec<Taken>>,
    put_off: Mutex<usize>,
    connections: Mutex<usize>,
    gone: AtomicBool,
}

/// Another mail system.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

impl Sink {
    pub(crate) fn open(manner: Manner) -> Self {
        Self::open_at(0, manner)
    }

    pub(crate) fn open_at(port: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            manner,
            taken: Mutex::default(),
            put_off: Mutex::default(),
            connections: Mutex::default(),
            gone: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.gone.load(Ordering::SeqCst) {
                    return;
                }
                *accepting.connections.lock().unwrap() += 1;
                let shared = Arc::clone(&accepting);
                // A client that goes away ends its thread.
                std::thread::spawn(move || {
                    let _ = serve(&shared, stream);
                });
            }
        });
        Self { shared, port }
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// How often a message with this in it was taken for somebody.
    pub(crate) fn copies(&self, to: &str, part: &str) -> usize {
        self.taken()
            .iter()
            .filter(|one| one.to.iter().any(|name| name == to) && one.data.contains(part))
            .count()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        // Wakes the thread that listens, so that the port is free again.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A certificate that is its own authority, for `localhost` and the names given; and a file with it.
pub(crate) fn certificate(names: &[&str], file: &Path) -> Arc<ServerConfig> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(file, made.cert.pem()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

trait Both: Read + Write {}
impl<S: Read + Write> Both for S {}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let mut stream: BufReader<Box<dyn Both>> = BufReader::new(Box::new(stream));
    let (mut tls, mut login) = (false, false);
    let (mut from, mut to) = (String::new(), Vec::<String>::new());
    let manner = &shared.manner;
    say(&mut stream, "220 sink.example")?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        let path = || {
            let start = line.find('<').map_or(0, |at| at + 1);
            let end = line.find('>').unwrap_or(line.len());
            line[start..end].to_owned()
        };
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                assert_eq!(verb == "LHLO", manner.lmtp, "{line}");
                say(&mut stream, "250-sink.example")?;
                if manner.tls.is_some() && !tls {
                    say(&mut stream, "250-STARTTLS")?;
                }
                if manner.login.is_some() && tls {
                    say(&mut stream, "250-AUTH PLAIN")?;
                }
                say(
                    &mut stream,
                    "250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000",
                )?;
            }
            "STARTTLS" => {
                say(&mut stream, "220 go")?;
                let connection = ServerConnection::new(manner.tls.clone().unwrap()).unwrap();
                let inner = stream.into_inner();
                let over: Box<dyn Both> = Box::new(StreamOwned::new(connection, inner));
                stream = BufReader::new(over);
                tls = true;
            }
            "AUTH" => {
                let (name, password) = manner.login.unwrap();
                let plain =
                    data_encoding::BASE64.encode(format!("\0{name}\0{password}").as_bytes());
                login = line == format!("AUTH PLAIN {plain}");
                let answer = if login {
                    "235 2.7.0 ok"
                } else {
                    "535 5.7.8 no"
                };
                say(&mut stream, answer)?;
            }
            "MAIL" if manner.login.is_some() && !login => {
                say(&mut stream, "530 5.7.0 log in")?;
            }
            "MAIL" => {
                (from, to) = (path(), Vec::new());
                say(&mut stream, "250 2.1.0 ok")?;
            }
            "RCPT" => {
                let name = path();
                let mut put_off = shared.put_off.lock().unwrap();
                if name.starts_with("nobody@") {
                    say(&mut stream, "550-5.1.1 We have\r\n550 5.1.1 no such person")?;
                } else if name.starts_with("later@") && *put_off < manner.put_off {
                    *put_off += 1;
                    say(&mut stream, "451 4.7.1 greylisted")?;
                } else {
                    to.push(name);
                    say(&mut stream, "250 2.1.5 ok")?;
                }
            }
            "DATA" => {
                say(&mut stream, "354 go")?;
                let mut data = Vec::new();
                while !data.ends_with(b"\r\n.\r\n") {
                    if stream.read_until(b'\n', &mut data)? == 0 {
                        return Ok(());
                    }
                }
                data.truncate(data.len() - 3);
                let data = String::from_utf8(data).unwrap().replace("\r\n..", "\r\n.");
                let kept: Vec<String> = (to.iter())
                    .filter(|name| !name.starts_with("full@"))
                    .cloned()
                    .collect();
                shared.taken.lock().unwrap().push(Taken {
                    from: from.clone(),
                    to: kept,
                    data,
                    tls,
                    login,
                });
                if manner.lmtp {
                    for name in &to {
                        let full = name.starts_with("full@");
                        let no = "552 5.2.2 mailbox is full";
                        say(&mut stream, if full { no } else { "250 2.0.0 stored" })?;
                    }
                } else {
                    say(&mut stream, "250 2.0.0 taken")?;
                }
            }
            "RSET" => say(&mut stream, "250 2.0.0 ok")?,
            "QUIT" => return say(&mut stream, "221 2.0.0 bye"),
            _ => say(&mut stream, "500 5.5.1 what?")?,
        }
    }
}

fn say(stream: &mut BufReader<Box<dyn Both>>, line: &str) -> std::io::Result<()> {
    let stream = stream.get_mut();
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    stream.flush()
}

/// What a name has: addresses (in the last octet of 127.0.0.x) or exchangers.
#[derive(Clone)]
pub(crate) enum Zone {
    Exchangers(Vec<(u16, &'static str)>),
    Address(u8),
}

/// A DNS server; names that it lacks do not exist.
pub(crate) fn dns(zones: BTreeMap<&'static str, Zone>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            if let Some(answer) = answer(&zones, &packet[..len]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    at
}

fn answer(zones: &BTreeMap<&'static str, Zone>, query: &[u8]) -> Option<Vec<u8>> {
    const MX: u16 = 15;
    const A: u16 = 1;
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(len) = query
        .get(at)
        .map(|len| usize::from(*len))
        .filter(|len| *len > 0)
    {
        let label = query.get(at + 1..at + 1 + len)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += len + 1;
    }
    let asked = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let question = query.get(12..at + 5)?;
    let zone = zones.get(labels.join(".").as_str());
    let records: Vec<(u16, Vec<u8>)> = match (zone, asked) {
        (Some(Zone::Exchangers(hosts)), MX) => hosts
            .iter()
            .map(|(preference, host)| {
                let mut data = preference.to_be_bytes().to_vec();
                for label in host.split('.').filter(|label| !label.is_empty()) {
                    data.push(u8::try_from(label.len()).unwrap());
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                (MX, data)
            })
            .collect(),
        (Some(Zone::Address(last)), A) => vec![(A, vec![127, 0, 0, *last])],
        _ => Vec::new(),
    };
    let code = if zone.is_some() { 0 } else { 3 };
    let mut out = query.get(..2)?.to_vec();
    let count = u8::try_from(records.len()).unwrap();
    out.extend_from_slice(&[0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    out.extend_from_slice(question);
    for (kind, data) in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 1]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}
