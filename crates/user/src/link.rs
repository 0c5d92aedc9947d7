//! One connection to one server, and what came of one attempt on it.
//!
//! The only file that speaks the wire's words. It never decides whether to try
//! again: it says exactly how far an attempt came, above all whether a lost answer
//! may have been a yes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grapevine_model::{ErrorKind, Refusal, Reply, Request, Seen};
use grapevine_rpc::tls::client_config;
use grapevine_rpc::v1::grapevine_client::GrapevineClient;
use grapevine_rpc::v1::{BodyPart, MailboxNews, ReadBodyRequest, SubmitPart};
use grapevine_rpc::{
    Caller, Credentials, Timeouts, WireError, connect, decode_reply_as_of, encode_call_after,
    encode_watch_mailbox, grapevine_client, is_ticket,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

use crate::call::Answered;
use crate::trust::{Expected, Handshake};
use crate::user::Login;

/// What came of one attempt at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt<T> {
    /// Answered.
    Done(T),
    /// Answered with a no.
    Refused(Refusal),
    /// Nothing was asked: another server may be.
    NotSent(String),
    /// Asked, and no answer came: it may have been done.
    Lost(String),
}

/// A connection to one server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    client: GrapevineClient<Channel>,
    handshake: Option<Arc<Handshake>>,
}

impl Link {
    /// To a server that must prove its key. Connects when first used.
    pub(crate) fn to_server(
        address: &str,
        expected: Expected,
        limit: Duration,
    ) -> Result<Self, String> {
        let handshake = Handshake::expecting(expected);
        let config =
            client_config(None, handshake.expectation()).map_err(|error| error.to_string())?;
        let timeouts = Timeouts {
            connect: limit.min(Timeouts::default().connect),
            ..Timeouts::default()
        };
        let channel =
            connect(address, config, timeouts).map_err(|_| format!("{address} is no host:port"))?;
        Ok(Self {
            client: grapevine_client(channel),
            handshake: Some(handshake),
        })
    }

    /// To the admin socket in a server's data folder.
    pub(crate) fn to_socket(path: &Path) -> Self {
        let path: Arc<Path> = path.into();
        // The address is never looked at: the connector knows the socket.
        let endpoint = Endpoint::from_static("http://admin.socket");
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let path = Arc::clone(&path);
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Self {
            client: grapevine_client(channel),
            handshake: None,
        }
    }

    /// What the handshake showed.
    pub(crate) fn handshake(&self) -> Option<&Arc<Handshake>> {
        self.handshake.as_ref()
    }

    /// One request, one answer, within a limit.
    pub(crate) async fn call(
        &self,
        login: Option<&Login>,
        request: &Request,
        limit: Duration,
    ) -> Attempt<Reply> {
        match self.call_after(login, request, &[], limit).await {
            Attempt::Done(answered) => Attempt::Done(answered.reply),
            Attempt::Refused(refusal) => Attempt::Refused(refusal),
            Attempt::NotSent(why) => Attempt::NotSent(why),
            Attempt::Lost(why) => Attempt::Lost(why),
        }
    }

    /// The same of a client that has seen this.
    pub(crate) async fn call_after(
        &self,
        login: Option<&Login>,
        request: &Request,
        seen: &[Seen],
        limit: Duration,
    ) -> Attempt<Answered> {
        let call = encode_call_after(&caller(login), request, seen);
        let mut client = self.client.clone();
        match tokio::time::timeout(limit, client.call(call)).await {
            Ok(answer) => self.answered(answer.map(tonic::Response::into_inner)),
            Err(_) => Attempt::Lost(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    /// Hands in a message. The body ends with the stream, so whoever gives a body up must drop
    /// this future before the stream can end.
    pub(crate) async fn submit(
        &self,
        parts: impl Stream<Item = SubmitPart> + Send + 'static,
    ) -> Attempt<Reply> {
        let answer = self.client.clone().submit(parts).await;
        self.reply(answer.map(tonic::Response::into_inner))
    }

    /// Opens a body for reading.
    pub(crate) async fn read_body(&self, request: ReadBodyRequest) -> Attempt<Streaming<BodyPart>> {
        match self.client.clone().read_body(request).await {
            Ok(answer) => Attempt::Done(answer.into_inner()),
            Err(status) => self.failed(&status),
        }
    }

    /// Opens the news of the login's own mailbox.
    pub(crate) async fn watch_mailbox(
        &self,
        login: Option<&Login>,
    ) -> Attempt<Streaming<MailboxNews>> {
        let request = encode_watch_mailbox(&caller(login));
        match self.client.clone().watch_mailbox(request).await {
            Ok(answer) => Attempt::Done(answer.into_inner()),
            Err(status) => self.failed(&status),
        }
    }

    fn reply(&self, answer: Result<grapevine_rpc::v1::CallReply, Status>) -> Attempt<Reply> {
        match self.answered(answer) {
            Attempt::Done(answered) => Attempt::Done(answered.reply),
            Attempt::Refused(refusal) => Attempt::Refused(refusal),
            Attempt::NotSent(why) => Attempt::NotSent(why),
            Attempt::Lost(why) => Attempt::Lost(why),
        }
    }

    fn answered(&self, answer: Result<grapevine_rpc::v1::CallReply, Status>) -> Attempt<Answered> {
        match answer.map(decode_reply_as_of) {
            Ok(Ok((Ok(reply), as_of))) => Attempt::Done(Answered { reply, as_of }),
            Ok(Ok((Err(refusal), _))) => Attempt::Refused(refusal),
            Ok(Err(error @ (WireError::Invalid(_) | WireError::Newer(_)))) => {
                Attempt::Lost(format!("its answer was {error}"))
            }
            Err(status) => self.failed(&status),
        }
    }

    /// What a failed call means. Refusals travel in replies; a status is the transport's word.
    pub(crate) fn failed<T>(&self, status: &Status) -> Attempt<T> {
        let stranger = self.handshake.as_ref().and_then(|shake| shake.refused());
        if let Some(key) = stranger {
            return Attempt::NotSent(format!(
                "it shows another key than is known for it (fingerprint {})",
                key.fingerprint()
            ));
        }
        let why = reason(status);
        if never_connected(status) {
            return Attempt::NotSent(why);
        }
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => {
                Attempt::Refused(Refusal::new(ErrorKind::Invalid, why))
            }
            Code::Unauthenticated => {
                Attempt::Refused(Refusal::new(ErrorKind::NotAuthenticated, why))
            }
            Code::PermissionDenied => Attempt::Refused(Refusal::new(ErrorKind::NotAllowed, why)),
            Code::NotFound => Attempt::Refused(Refusal::new(ErrorKind::NotFound, why)),
            Code::Unimplemented => Attempt::Refused(Refusal::new(
                ErrorKind::Unavailable,
                "this server does not know the request yet",
            )),
            Code::ResourceExhausted => Attempt::Refused(Refusal::new(ErrorKind::TooLarge, why)),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Attempt::Lost(why),
        }
    }
}

/// Who calls, as the wire says it.
pub(crate) fn caller(login: Option<&Login>) -> Caller {
    match login {
        Some(login) if is_ticket(&login.password.0) => Caller::Ticket(login.password.clone()),
        Some(login) => Caller::Individual(Credentials {
            name: login.name.clone(),
            password: login.password.clone(),
        }),
        None => Caller::Connection,
    }
}

/// Whether the request surely never left: the connection itself could not be made.
fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<tonic::ConnectError>().is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The deepest cause says most: "connection refused" rather than "transport error".
fn reason(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut deepest = None;
    while let Some(error) = cause {
        deepest = Some(error.to_string());
        cause = error.source();
    }
    deepest.unwrap_or_else(|| status.message().to_owned())
}
