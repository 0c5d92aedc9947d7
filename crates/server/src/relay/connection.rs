//! One connection to another mail system: a socket, TLS over it, and the conversation.
//!
//! Must never wait without a limit: for the socket, the handshake, each answer, and each piece that the other side takes.

use std::io;
use std::time::Duration;

use grapevine_doors::READ_BYTES;
use grapevine_doors::smtp_client::{
    Client, Config, Failure, Fault, Mail, Outcome, Output, Protocol, StartTls,
};
use grapevine_model::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::tls::ClientTls;
use super::{At, Place};
use crate::body_source::BodySource;

/// A machine that is there answers within seconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// A few round trips over the slowest link.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(60);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub(super) struct Connection {
    /// None while a handshake has it, and after one that failed.
    stream: Option<Box<dyn Stream>>,
    client: Client,
    name: String,
    tls: Option<ClientTls>,
}

/// What a conversation has come to.
pub(super) enum Event {
    /// A message may be begun.
    Ready,
    /// Each recipient has an answer.
    Done(Vec<Outcome>),
    /// It is over.
    Failed(Failure),
}

/// A connection to be opened.
pub(super) struct Opening<'a> {
    pub(super) place: &'a Place,
    pub(super) protocol: Protocol,
    pub(super) hostname: &'a str,
    pub(super) starttls: StartTls,
    pub(super) tls_at_once: bool,
    pub(super) tls: Option<&'a ClientTls>,
    pub(super) login: Option<&'a (String, Secret)>,
}

impl Opening<'_> {
    /// Connects, greets, starts TLS and logs in, as far as wanted.
    pub(super) async fn open(&self) -> Result<Connection, Failure> {
        let name = &self.place.name;
        let connected = timeout(CONNECT_LIMIT, connect(&self.place.at)).await;
        let unreachable = |why: String| failure(Fault::Server, format!("{name}: {why}"));
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable("no connection in time".into())),
        };
        let client = Client::new(Config {
            protocol: self.protocol,
            hostname: self.hostname.to_owned(),
            server: name.clone(),
            starttls: self.starttls,
            tls: self.tls_at_once,
            login: self.login.cloned(),
        });
        let mut connection = Connection {
            stream: Some(stream),
            client,
            name: name.clone(),
            tls: self.tls.cloned(),
        };
        if self.tls_at_once {
            connection.shake_hands().await?;
        }
        match connection.next(None).await {
            Event::Ready => Ok(connection),
            Event::Failed(failure) => Err(failure),
            Event::Done(_) => Err(unreachable("it spoke of a message that it has not".into())),
        }
    }
}

async fn connect(at: &At) -> io::Result<Box<dyn Stream>> {
    Ok(match at {
        At::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Commands are written in one piece; waiting to fill packets would only cost time.
            let _ = stream.set_nodelay(true);
            Box::new(stream)
        }
        At::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

impl Connection {
    /// Begins a message.
    pub(super) fn begin(&mut self, mail: Mail) {
        self.client.begin(mail);
    }

    /// Goes on until there is something to tell.
    pub(super) async fn next(&mut self, mut body: Option<&mut BodySource>) -> Event {
        loop {
            match self.client.poll() {
                Some(Output::Send(bytes)) => {
                    if let Err(why) = self.write(&bytes).await {
                        self.client.broken(format!("{}: {why}", self.name));
                    }
                }
                Some(Output::StartTls) => match self.shake_hands().await {
                    Ok(()) => self.client.tls_started(),
                    Err(failure) => return Event::Failed(failure),
                },
                Some(Output::BodyWanted) => {
                    let piece = match &mut body {
                        Some(body) => body.chunk().await,
                        None => Ok(None),
                    };
                    match piece {
                        Ok(Some(piece)) => self.client.body(&piece),
                        Ok(None) => self.client.body_end(),
                        // Without the final dot it is no message.
                        Err(refusal) => self.client.broken(refusal.why),
                    }
                }
                Some(Output::Ready) => return Event::Ready,
                Some(Output::Done(outcomes)) => return Event::Done(outcomes),
                Some(Output::Failed(failure)) => return Event::Failed(failure),
                Some(Output::Close) => {
                    return Event::Failed(failure(Fault::Server, "closed".into()));
                }
                None => self.read().await,
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn quit(mut self) {
        self.client.quit();
        // However it takes it.
        let _ = self.next(None).await;
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(self.client.silence_ms())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let limit = self.silence();
        let stream = self.stream.as_mut().ok_or("the connection is gone")?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match timeout(limit, stream.write(rest)).await {
                Ok(Ok(0)) => return Err("it takes no more".into()),
                Ok(Ok(written)) => written,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("it takes nothing of what is written".into()),
            };
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    async fn read(&mut self) {
        let limit = self.silence();
        let Some(stream) = self.stream.as_mut() else {
            return self.client.eof();
        };
        let mut bytes = vec![0; READ_BYTES.min(4 * 1024)];
        let reading = async {
            stream.flush().await?;
            stream.read(&mut bytes).await
        };
        match timeout(limit, reading).await {
            Err(_) => self.client.timed_out(),
            Ok(Ok(0)) => self.client.eof(),
            Ok(Ok(read)) => self.client.receive(bytes.get(..read).unwrap_or_default()),
            Ok(Err(error)) => self.client.broken(format!("{}: {error}", self.name)),
        }
    }

    async fn shake_hands(&mut self) -> Result<(), Failure> {
        let say = |why: String| failure(Fault::Tls, format!("{}: TLS: {why}", self.name));
        let Some(tls) = &self.tls else {
            return Err(say("not set up".into()));
        };
        let stream = self.stream.take();
        let mut stream = stream.ok_or_else(|| say("the connection is gone".into()))?;
        // STARTTLS itself is still to be sent.
        stream
            .flush()
            .await
            .map_err(|error| say(error.to_string()))?;
        let shaken = timeout(HANDSHAKE_LIMIT, tls.connect(&self.name, stream)).await;
        match shaken {
            Ok(Ok(stream)) => {
                self.stream = Some(Box::new(stream));
                Ok(())
            }
            Ok(Err(error)) => Err(say(error.to_string())),
            Err(_) => Err(say("no handshake in time".into())),
        }
    }
}

fn failure(fault: Fault, why: String) -> Failure {
    Failure {
        fault,
        why,
        said_all: false,
        undecided: false,
    }
}
