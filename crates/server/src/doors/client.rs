//! Doors with a fake server behind them, and a plain client, for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_model::Door;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fake::Fake;
use super::{DoorContext, DoorLimits, run_door, tls};

/// Longer than anything takes here; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// All doors of a server.
pub(super) struct Doors {
    pub(super) fake: Fake,
    pub(super) tls: tls::Reloadable,
    pub(super) shutdown: CancellationToken,
    tracker: TaskTracker,
    addresses: Vec<(Door, SocketAddr)>,
    connector: TlsConnector,
}

impl Doors {
    pub(super) async fn open() -> Self {
        Self::open_with(DoorLimits {
            wrong_password: Duration::from_millis(1),
            ..DoorLimits::default()
        })
        .await
    }

    pub(super) async fn open_with(limits: DoorLimits) -> Self {
        let fake = Fake::new();
        let made = tls::self_made(fake.dir(), fake.dir(), &[]).unwrap();
        let tls = tls::Reloadable::new(tls::load(&made.chain, &made.key).unwrap());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&made.ca).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let context = Arc::new(DoorContext {
            core: fake.clone(),
            hostname: "s1.example".to_owned(),
            posix: grapevine_doors::ldap::Posix::default(),
            limits,
            networks: Vec::new(),
            tls: Some(tls.clone()),
            shutdown: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        let mut addresses = Vec::new();
        for door in [
            Door::Smtp,
            Door::Submission,
            Door::Submissions,
            Door::Pop3,
            Door::Pop3s,
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push((door, listener.local_addr().unwrap()));
            context
                .tracker
                .spawn(run_door(door, listener, Arc::clone(&context)));
        }
        Self {
            fake,
            tls,
            shutdown: context.shutdown.clone(),
            tracker: context.tracker.clone(),
            addresses,
            connector: TlsConnector::from(Arc::new(trusting)),
        }
    }

    pub(super) fn port(&self, door: Door) -> u16 {
        let found = self.addresses.iter().find(|(one, _)| *one == door);
        found.unwrap().1.port()
    }

    pub(super) async fn connect(&self, door: Door) -> Client<TcpStream> {
        let address = self
            .addresses
            .iter()
            .find(|(one, _)| *one == door)
            .unwrap()
            .1;
        Client::new(TcpStream::connect(address).await.unwrap())
    }

    pub(super) async fn connect_tls(&self, door: Door) -> Client<TlsStream<TcpStream>> {
        self.start_tls(self.connect(door).await).await
    }

    pub(super) async fn start_tls(
        &self,
        client: Client<TcpStream>,
    ) -> Client<TlsStream<TcpStream>> {
        assert!(client.read.is_empty(), "{}", client.read.escape_ascii());
        let name = ServerName::try_from("localhost").unwrap();
        let shaken = self.connector.connect(name, client.stream);
        Client::new(timeout(PATIENCE, shaken).await.unwrap().unwrap())
    }

    /// A login at the submissions door.
    pub(super) async fn submission(&self) -> Client<TlsStream<TcpStream>> {
        let mut client = self.connect_tls(Door::Submissions).await;
        client.expect("220 ").await;
        client.ask("EHLO client.example", "250 HELP").await;
        client
            .ask(&plain("birrell@pa.example", super::fake::PASSWORD), "235 ")
            .await;
        client
    }

    /// A login at the pop3s door.
    pub(super) async fn inbox(&self) -> Client<TlsStream<TcpStream>> {
        let mut client = self.connect_tls(Door::Pop3s).await;
        client.expect("+OK ").await;
        client.ask("USER birrell@pa.example", "+OK").await;
        client
            .ask(&format!("PASS {}", super::fake::PASSWORD), "+OK ")
            .await;
        client
    }

    /// Waits until no connection and no door is left.
    pub(super) async fn wait_until_closed(&self) {
        self.tracker.close();
        timeout(PATIENCE, self.tracker.wait())
            .await
            .expect("something goes on");
    }

    /// Tasks that live: five doors and the connections.
    pub(super) fn tasks(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until there are so many connections.
    pub(super) async fn wait_for_connections(&self, count: usize) {
        wait_until(|| self.tasks() == count + self.addresses.len()).await;
    }
}

/// Waits for a state, with a limit.
pub(super) async fn wait_until(reached: impl Fn() -> bool) {
    timeout(PATIENCE, async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the state was not reached");
}

pub(super) fn plain(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("\0{name}\0{password}"));
    format!("AUTH PLAIN {encoded}")
}

/// A client that says lines and reads answers.
pub(super) struct Client<S> {
    pub(super) stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// A line, and an answer that ends with a line of that beginning.
    pub(super) async fn ask(&mut self, line: &str, beginning: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.expect(beginning).await
    }

    /// The next line must have that beginning; lines that announce another one (`250-`) are skipped.
    pub(super) async fn expect(&mut self, beginning: &str) -> String {
        loop {
            let line = self.line().await;
            if line.starts_with(beginning) {
                return line;
            }
            assert_eq!(
                line.as_bytes().get(3),
                Some(&b'-'),
                "{line:?} instead of {beginning:?}"
            );
        }
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n").await).unwrap()
    }

    /// What comes before the next such bytes.
    pub(super) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut looked_at = 0;
        loop {
            let found = memchr_find(self.read.get(looked_at..).unwrap_or_default(), end);
            if let Some(found) = found {
                let mut taken: Vec<u8> = self.read.drain(..looked_at + found + end.len()).collect();
                taken.truncate(looked_at + found);
                return taken;
            }
            looked_at = self.read.len().saturating_sub(end.len());
            assert!(
                self.more().await > 0,
                "closed after {}",
                self.read.escape_ascii()
            );
        }
    }

    /// All that comes until the server closes; a reset is an end too.
    pub(super) async fn rest(mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.read
    }

    async fn more(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer))
            .await
            .expect("no answer");
        let read = read.unwrap_or_default();
        self.read.extend_from_slice(&buffer[..read]);
        read
    }
}

fn memchr_find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}
