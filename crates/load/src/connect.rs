//! A connection to what is measured: TCP without delay, TLS at once or later.
//!
//! Must never wait for good: a connection has a time limit, and so has every read (`lines`). Certificates are checked against the
//! file that was given; there is no way to skip that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::lines::Lines;

/// A server on the same machine or network answers in less, or is measured to be out of order.
const CONNECT: Duration = Duration::from_secs(30);

/// Whom to connect to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// Where the server listens
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// When TLS begins
    #[arg(long, value_enum, default_value_t = Tls::None)]
    tls: Tls,
    /// PEM file of the authority (or the very certificate) to trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name in the server's certificate, where it is not HOST
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tls {
    /// Never.
    None,
    /// After a command (STARTTLS, STLS).
    Starttls,
    /// With the first byte.
    Implicit,
}

/// Either kind of stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A checked target.
pub(crate) struct Connector {
    to: String,
    tls: Tls,
    handshake: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// A server without TLS.
    pub(crate) fn plain(to: String) -> Self {
        Self {
            to,
            tls: Tls::None,
            ca: None,
            server_name: None,
        }
    }

    /// The same at another address.
    pub(crate) fn elsewhere(&self, to: String) -> Self {
        Self { to, ..self.clone() }
    }

    pub(crate) fn check(self) -> anyhow::Result<Connector> {
        let handshake = match (self.tls, self.ca) {
            (Tls::None, _) => None,
            (Tls::Starttls | Tls::Implicit, None) => {
                bail!("--tls needs --ca FILE: whom to trust")
            }
            (Tls::Starttls | Tls::Implicit, Some(ca)) => {
                let mut roots = RootCertStore::empty();
                let shown = ca.display().to_string();
                for certificate in CertificateDer::pem_file_iter(&ca).context(shown.clone())? {
                    roots.add(certificate.context(shown.clone())?)?;
                }
                let config = ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let host = match self.server_name {
                    Some(name) => name,
                    None => match self.to.rsplit_once(':') {
                        Some((host, _)) => host.trim_matches(['[', ']']).to_owned(),
                        None => bail!("--to is HOST:PORT"),
                    },
                };
                Some((
                    TlsConnector::from(Arc::new(config)),
                    ServerName::try_from(host)?,
                ))
            }
        };
        Ok(Connector {
            to: self.to,
            tls: self.tls,
            handshake,
        })
    }
}

impl Connector {
    /// When TLS begins.
    pub(crate) fn tls(&self) -> Tls {
        self.tls
    }

    /// A new connection; with TLS, if it is implicit.
    pub(crate) async fn connect(&self) -> anyhow::Result<Lines> {
        let stream = timeout(CONNECT, TcpStream::connect(&self.to))
            .await
            .context("no connection in time")?
            .with_context(|| self.to.clone())?;
        // What is measured must not be this side's waiting for more to send.
        stream.set_nodelay(true)?;
        let lines = Lines::new(Box::new(stream));
        match self.tls {
            Tls::Implicit => self.start_tls(lines).await,
            Tls::None | Tls::Starttls => Ok(lines),
        }
    }

    /// TLS on a connection that has begun without.
    pub(crate) async fn start_tls(&self, lines: Lines) -> anyhow::Result<Lines> {
        let Some((connector, name)) = &self.handshake else {
            bail!("TLS was not asked for");
        };
        let stream = lines.into_stream()?;
        let secured = timeout(CONNECT, connector.connect(name.clone(), stream))
            .await
            .context("no handshake in time")?
            .context("TLS")?;
        Ok(Lines::new(Box::new(secured)))
    }
}
