//! An IMAP client that reads: it logs in inside TLS, lists folders, and fetches. It changes nothing there.
//!
//! Must never send a password before the server has proved its name.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use grapevine_model::{Name, Secret};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _, BufReader, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::{Token, bad, read};
use crate::relay::tls::ClientTls;

/// For a connection, and for each answer: a server that lists a large folder takes its time.
const SILENCE: Duration = Duration::from_secs(120);
/// Read ahead.
const BUFFER_BYTES: usize = 64 * 1024;

trait Stream: AsyncBufRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncBufRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to come to the server.
pub(super) struct Way {
    /// `host:port`
    pub(super) address: String,
    /// What its certificate must say.
    pub(super) host: String,
    /// Whether TLS begins after a greeting in clear.
    pub(super) starttls: bool,
    /// TLS.
    pub(super) tls: ClientTls,
    /// Who logs in there.
    pub(super) user: String,
    /// With what.
    pub(super) password: Secret,
    /// Where long messages are on their way.
    pub(super) spool: PathBuf,
}

/// Why it did not come to an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The connection; another one may do.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The server says no.
    #[error("{0}")]
    No(String),
    /// The server says no to the login.
    #[error("the login is refused: {0}")]
    Login(String),
}

/// A connection that is logged in.
pub(super) struct Client {
    stream: Pin<Box<dyn Stream>>,
    spool: PathBuf,
    tag: u32,
}

impl Client {
    /// Connects and logs in.
    pub(super) async fn connect(way: &Way) -> Result<Self, ClientError> {
        let connecting = async {
            let tcp = TcpStream::connect(&way.address).await?;
            let tcp = match way.starttls {
                true => start_tls(tcp, &way.spool).await?,
                false => tcp,
            };
            Ok::<_, ClientError>(way.tls.connect(&way.host, tcp).await?)
        };
        let tls = (timeout(SILENCE, connecting).await).map_err(|_| silent())??;
        let mut client = Self {
            stream: Box::pin(BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, tls)),
            spool: way.spool.clone(),
            tag: 0,
        };
        if !way.starttls {
            client.greeting().await?;
        }
        client.log_in(&way.user, &way.password).await?;
        Ok(client)
    }

    async fn greeting(&mut self) -> Result<(), ClientError> {
        let greeting = self.answer().await?;
        match greeting.get(1) {
            Some(word) if word.is("OK") => Ok(()),
            _ => Err(ClientError::No("the server does not want to talk".into())),
        }
    }

    async fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), ClientError> {
        let mut capabilities = Vec::new();
        self.command("CAPABILITY", |answer| {
            if answer.get(1).is_some_and(|word| word.is("CAPABILITY")) {
                capabilities.extend(answer.iter().filter_map(Token::text));
            }
        })
        .await?;
        let can = |what: &str| {
            capabilities
                .iter()
                .any(|one| one.eq_ignore_ascii_case(what))
        };
        let said = if can("AUTH=PLAIN") {
            let plain = format!("\0{user}\0{}", password.0);
            let plain = data_encoding::BASE64.encode(plain.as_bytes());
            match can("SASL-IR") {
                true => {
                    self.command(&format!("AUTHENTICATE PLAIN {plain}"), |_| {})
                        .await
                }
                false => {
                    let tag = self.send("AUTHENTICATE PLAIN").await?;
                    let asked = self.answer().await?;
                    if !asked.first().is_some_and(|word| word.is("+")) {
                        return Err(ClientError::Login(words(&asked, 2)));
                    }
                    self.raw(&format!("{plain}\r\n")).await?;
                    self.until(&tag, |_| {}).await
                }
            }
        } else {
            let login = format!("LOGIN {} {}", quoted(user)?, quoted(&password.0)?);
            self.command(&login, |_| {}).await
        };
        said.map_err(|error| match error {
            ClientError::No(why) => ClientError::Login(why),
            other => other,
        })
    }

    /// A command; each untagged answer is shown. It says OK, or it is an error.
    pub(super) async fn command(
        &mut self,
        text: &str,
        each: impl FnMut(&[Token]),
    ) -> Result<(), ClientError> {
        let tag = self.send(text).await?;
        self.until(&tag, each).await
    }

    /// Begins a command whose answers are taken one by one.
    pub(super) async fn send(&mut self, text: &str) -> Result<String, ClientError> {
        self.tag += 1;
        let tag = format!("g{}", self.tag);
        self.raw(&format!("{tag} {text}\r\n")).await?;
        Ok(tag)
    }

    /// The next untagged answer to a command; none at its end, if that is OK.
    pub(super) async fn next(&mut self, tag: &str) -> Result<Option<Vec<Token>>, ClientError> {
        let answer = self.answer().await?;
        match answer.first() {
            Some(first) if first.is(tag) => match answer.get(1) {
                Some(word) if word.is("OK") => Ok(None),
                Some(_) => Err(ClientError::No(words(&answer, 1))),
                None => Err(bad("an end without a word").into()),
            },
            Some(first) if first.is("*") => match answer.get(1) {
                Some(word) if word.is("BYE") => {
                    let why = words(&answer, 2);
                    Err(io::Error::new(io::ErrorKind::ConnectionReset, why).into())
                }
                _ => Ok(Some(answer)),
            },
            Some(_) | None => Ok(Some(Vec::new())),
        }
    }

    async fn until(
        &mut self,
        tag: &str,
        mut each: impl FnMut(&[Token]),
    ) -> Result<(), ClientError> {
        while let Some(answer) = self.next(tag).await? {
            each(&answer);
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<Vec<Token>, ClientError> {
        let answer = timeout(SILENCE, read(&mut self.stream, &self.spool)).await;
        Ok(answer.map_err(|_| silent())??)
    }

    async fn raw(&mut self, text: &str) -> Result<(), ClientError> {
        self.stream.write_all(text.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }
}

/// In clear there is nothing but the wish for TLS.
async fn start_tls(tcp: TcpStream, spool: &Path) -> Result<TcpStream, ClientError> {
    // One octet ahead at most, so that nothing that was said in clear is taken for what is inside.
    let mut stream = BufReader::with_capacity(1, tcp);
    read(&mut stream, spool).await?;
    stream.write_all(b"g0 STARTTLS\r\n").await?;
    loop {
        let answer = read(&mut stream, spool).await?;
        match (answer.first(), answer.get(1)) {
            (Some(tag), Some(word)) if tag.is("g0") && word.is("OK") => break,
            (Some(tag), _) if tag.is("g0") => {
                let why = "the server has no STARTTLS here, and no password goes out without TLS";
                return Err(ClientError::No(why.into()));
            }
            _ => {}
        }
    }
    Ok(stream.into_inner())
}

/// A string as an argument.
pub(super) fn quoted(text: &str) -> Result<String, ClientError> {
    if !text.is_ascii() || text.chars().any(|c| c.is_control()) {
        let why = "only ASCII can be said to this server without SASL";
        return Err(ClientError::No(why.into()));
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("\"{text}\""))
}

fn words(answer: &[Token], from: usize) -> String {
    let words: Vec<String> = answer.iter().skip(from).filter_map(Token::text).collect();
    words.join(" ")
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// The host of `host:port`.
pub(super) fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some(host)
}

/// Who logs in where nobody is named: whoever it is for.
pub(super) fn same_user(target: &Name) -> String {
    target.to_string()
}
