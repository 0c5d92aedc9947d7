//! Mutual TLS over loopback: who is let in, as whom, and what cannot stop the port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grapevine_model::{
    BodyInfo, Hlc, MessageId, OriginId, PeerMessage, Refusal, Reply, Request, ServerName,
};
use grapevine_rpc::tls::{
    CurrentIdentity, Identity, KeyExpectation, TrustedKeys, changing_client_config,
    changing_server_config, client_config, key_pin, server_config,
};
use grapevine_rpc::v1::grapevine_server::Grapevine;
use grapevine_rpc::v1::peers_server::Peers;
use grapevine_rpc::v1::{self, CallReply, CallRequest, PeerFrame};
use grapevine_rpc::{
    Caller, Frame, KEY_CHECK, PeerIdentity, Timeouts, connect, connect_watched, decode_frame,
    decode_reply, encode_body, encode_call, encode_chunk, encode_peer, encode_reply,
    grapevine_client, grapevine_server, peers_client, peers_server, serve, server_builder,
};
use prost::bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request as Rpc, Response, Status, Streaming};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// Says who called, and echoes frames.
#[derive(Clone)]
struct Echo;

#[tonic::async_trait]
impl Grapevine for Echo {
    async fn call(&self, request: Rpc<CallRequest>) -> Result<Response<CallReply>, Status> {
        let who = PeerIdentity::of(&request).map_or("anonymous".to_owned(), |s| s.to_string());
        Ok(Response::new(encode_reply(&Err(Refusal::not_found(who)))))
    }

    async fn submit(
        &self,
        _parts: Rpc<Streaming<v1::SubmitPart>>,
    ) -> Result<Response<CallReply>, Status> {
        Ok(Response::new(encode_reply(&Ok(Reply::Ok))))
    }

    type ReadBodyStream = ReceiverStream<Result<v1::BodyPart, Status>>;

    async fn read_body(
        &self,
        _request: Rpc<v1::ReadBodyRequest>,
    ) -> Result<Response<Self::ReadBodyStream>, Status> {
        Err(Status::not_found("no bodies here"))
    }

    type WatchStream = ReceiverStream<Result<CallReply, Status>>;

    async fn watch(
        &self,
        _request: Rpc<CallRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::not_found("nothing changes here"))
    }

    type BackupStream = ReceiverStream<Result<v1::BackupPart, Status>>;

    async fn backup(
        &self,
        _request: tonic::Request<v1::BackupRequest>,
    ) -> Result<tonic::Response<Self::BackupStream>, Status> {
        Err(Status::unimplemented("no backups here"))
    }

    type WatchMailboxStream = ReceiverStream<Result<v1::MailboxNews, Status>>;

    async fn watch_mailbox(
        &self,
        _request: Rpc<v1::WatchMailboxRequest>,
    ) -> Result<Response<Self::WatchMailboxStream>, Status> {
        Err(Status::unimplemented("no news here"))
    }
}

#[tonic::async_trait]
impl Peers for Echo {
    type ExchangeStream = ReceiverStream<Result<PeerFrame, Status>>;

    async fn exchange(
        &self,
        request: Rpc<Streaming<PeerFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        if PeerIdentity::of(&request).is_none() {
            return Err(Status::permission_denied("servers only"));
        }
        let mut frames = request.into_inner();
        let (send, receive) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                if send.send(Ok(frame)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

#[derive(Default)]
struct Keys(Mutex<BTreeMap<Vec<u8>, ServerName>>);

impl Keys {
    fn of(servers: &[(&str, &Identity)]) -> Arc<Self> {
        let keys = servers
            .iter()
            .map(|(name, identity)| (identity.public_key(), name.parse().unwrap()))
            .collect();
        Arc::new(Self(Mutex::new(keys)))
    }
}

impl TrustedKeys for Keys {
    fn server_of(&self, spki: &[u8]) -> Option<ServerName> {
        self.0.lock().unwrap().get(spki).cloned()
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn start(identity: &Identity, trusted: Arc<Keys>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = server_config(identity, trusted.clone()).unwrap();
    let router = server_builder()
        .add_service(grapevine_server(Echo))
        .add_service(peers_server(Echo));
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(
        listener,
        config,
        trusted,
        router,
        stop.clone().cancelled_owned(),
    ));
    Running {
        address,
        stop,
        ended,
    }
}

fn channel(address: SocketAddr, config: ClientConfig) -> Channel {
    connect(&address.to_string(), config, Timeouts::default()).unwrap()
}

/// Who the server says the caller is.
async fn who(address: SocketAddr, config: ClientConfig) -> Result<String, Status> {
    let call = encode_call(&Caller::Connection, &Request::Servers);
    let mut client = grapevine_client(channel(address, config));
    let reply = tokio::time::timeout(LIMIT, client.call(call))
        .await
        .unwrap()?;
    match decode_reply(reply.into_inner()).unwrap() {
        Err(refusal) => Ok(refusal.why.replace("no such name: ", "")),
        Ok(reply) => panic!("{reply:?}"),
    }
}

fn exactly(identity: &Identity) -> KeyExpectation {
    KeyExpectation::Exactly(identity.public_key())
}

#[tokio::test]
async fn a_recorded_key_is_its_server_and_no_key_is_anonymous() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let keys = Keys::of(&[("s1", &s1), ("s2", &s2)]);
    let server = start(&s1, keys.clone()).await;
    let as_s2 = client_config(Some(&s2), exactly(&s1)).unwrap();
    assert_eq!(who(server.address, as_s2).await.unwrap(), "s2");
    for expect in [
        exactly(&s1),
        KeyExpectation::Any(keys),
        KeyExpectation::Pinned(key_pin(&s1.public_key())),
    ] {
        let as_client = client_config(None, expect).unwrap();
        assert_eq!(who(server.address, as_client).await.unwrap(), "anonymous");
    }
}

#[tokio::test]
async fn an_unrecorded_key_is_refused_and_a_record_counts_at_once() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let keys = Keys::of(&[("s1", &s1)]);
    let server = start(&s1, keys.clone()).await;
    let as_s2 = client_config(Some(&s2), exactly(&s1)).unwrap();
    assert!(who(server.address, as_s2.clone()).await.is_err());
    let name: ServerName = "s2".parse().unwrap();
    keys.0.lock().unwrap().insert(s2.public_key(), name);
    assert_eq!(who(server.address, as_s2.clone()).await.unwrap(), "s2");
    keys.0.lock().unwrap().remove(&s2.public_key());
    // Nothing of the session before is resumed.
    assert!(who(server.address, as_s2).await.is_err());
}

#[tokio::test]
async fn a_server_with_another_key_than_expected_is_refused_by_its_caller() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server = start(&s1, Keys::of(&[("s1", &s1)])).await;
    for expect in [
        exactly(&s2),
        KeyExpectation::Any(Keys::of(&[("s2", &s2)])),
        KeyExpectation::Pinned(key_pin(&s2.public_key())),
    ] {
        let config = client_config(None, expect).unwrap();
        assert!(who(server.address, config).await.is_err());
    }
    let config = client_config(None, exactly(&s1)).unwrap();
    assert_eq!(who(server.address, config).await.unwrap(), "anonymous");
}

#[tokio::test]
async fn a_recorded_certificate_without_its_private_key_is_refused() {
    let (s1, s2, thief) = (
        Identity::generate().unwrap(),
        Identity::generate().unwrap(),
        Identity::generate().unwrap(),
    );
    let server = start(&s1, Keys::of(&[("s1", &s1), ("s2", &s2)])).await;
    let (stolen, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    s2.save(stolen.path()).unwrap();
    thief.save(own.path()).unwrap();
    let certificate = CertificateDer::from_pem_file(stolen.path().join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(own.path().join("server.key")).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let mut config = client_config(None, exactly(&s1)).unwrap();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
        vec![certificate],
        key,
    )));
    assert!(who(server.address, config).await.is_err());
}

#[tokio::test]
async fn garbage_silence_and_failed_handshakes_stop_nobody_else() {
    let (s1, stranger) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server = start(&s1, Keys::of(&[("s1", &s1)])).await;
    // Silent connections stay open all the while.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for garbage in [
        &b"EHLO example.org\r\n"[..],
        &[0xff; 2_000],
        &[22, 3, 1, 0xff],
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        // Hung up on, or at least no longer read after this side has hung up.
        let _gone = stream.shutdown().await;
        let mut answer = Vec::new();
        let _gone = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer))
            .await
            .unwrap();
    }
    let as_stranger = client_config(Some(&stranger), exactly(&s1)).unwrap();
    assert!(who(server.address, as_stranger).await.is_err());
    let config = client_config(None, exactly(&s1)).unwrap();
    assert_eq!(who(server.address, config).await.unwrap(), "anonymous");
    assert_eq!(silent.len(), 20);
}

#[tokio::test]
async fn frames_and_chunks_keep_their_order() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server = start(&s1, Keys::of(&[("s1", &s1), ("s2", &s2)])).await;
    let id = MessageId {
        time: Hlc(1),
        origin: OriginId(2),
    };
    let body = |len| BodyInfo {
        len,
        digest: [0; 32],
    };
    let large = PeerMessage::Body {
        message: id,
        body: body(3 << 18),
    };
    let chunk = |byte| Bytes::from(vec![byte; 1 << 18]);
    let sent = vec![
        encode_peer(&large),
        encode_chunk(chunk(1), false),
        encode_chunk(chunk(2), false),
        encode_chunk(chunk(3), true),
        encode_body(id, body(2), Bytes::from_static(b"hi")).unwrap(),
        encode_peer(&PeerMessage::CustodyHeld {
            message: id,
            recipients: Some(2),
        }),
    ];
    let config = client_config(Some(&s2), exactly(&s1)).unwrap();
    let mut client = peers_client(channel(server.address, config));
    let mut answers = client
        .exchange(tokio_stream::iter(sent.clone()))
        .await
        .unwrap()
        .into_inner();
    let mut received = Vec::new();
    while let Some(frame) = tokio::time::timeout(LIMIT, answers.message())
        .await
        .unwrap()
        .unwrap()
    {
        received.push(frame);
    }
    assert_eq!(received, sent);
    assert!(matches!(
        decode_frame(received.remove(4)),
        Ok(Frame::Body {
            inline: Some(_),
            ..
        })
    ));

    let config = client_config(None, exactly(&s1)).unwrap();
    let mut client = peers_client(channel(server.address, config));
    let refused = client.exchange(tokio_stream::iter(sent)).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_shutdown_ends_though_a_stream_stays_open() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let keys = Keys::of(&[("s1", &s1), ("s2", &s2)]);
    let server = start(&s1, keys.clone()).await;
    let config = client_config(Some(&s2), exactly(&s1)).unwrap();
    let mut client = peers_client(channel(server.address, config));
    let (keep_open, frames) = mpsc::channel(1);
    let mut answers = client
        .exchange(ReceiverStream::new(frames))
        .await
        .unwrap()
        .into_inner();
    server.stop.cancel();
    tokio::time::timeout(LIMIT, server.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(answers.message().await.is_err());
    assert!(TcpListener::bind(server.address).await.is_ok());
    drop(keep_open);
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_who_has_nothing_under_way() {
    let s1 = Identity::generate().unwrap();
    let server = start(&s1, Keys::of(&[("s1", &s1)])).await;
    let config = client_config(None, exactly(&s1)).unwrap();
    let mut idle = grapevine_client(channel(server.address, config));
    let call = encode_call(&Caller::Connection, &Request::Servers);
    idle.call(call).await.unwrap();
    let _silent = TcpStream::connect(server.address).await.unwrap();
    server.stop.cancel();
    // Less than the grace for calls under way.
    tokio::time::timeout(Duration::from_secs(4), server.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_server_proves_the_key_of_the_moment_on_new_connections_both_ways() {
    let (s1, old, new) = (
        Identity::generate().unwrap(),
        Identity::generate().unwrap(),
        Identity::generate().unwrap(),
    );
    let keys = Keys::of(&[("s1", &s1), ("s2", &old), ("s2", &new)]);
    let server = start(&s1, keys.clone()).await;
    let current = CurrentIdentity::new(old.clone()).unwrap();
    let as_s2 = changing_client_config(Some(&current), exactly(&s1)).unwrap();
    let strict = client_config(None, exactly(&new)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let changing = listener.local_addr().unwrap();
    let config = changing_server_config(&current, keys.clone()).unwrap();
    let router = server_builder().add_service(grapevine_server(Echo));
    let stop = CancellationToken::new();
    let _serving = tokio::spawn(serve(
        listener,
        config,
        keys.clone(),
        router,
        stop.clone().cancelled_owned(),
    ));
    assert_eq!(who(server.address, as_s2.clone()).await.unwrap(), "s2");
    assert!(who(changing, strict.clone()).await.is_err(), "not yet");
    current.replace(new).unwrap();
    // The old key is on record no more, so this is the new one.
    keys.0.lock().unwrap().remove(&old.public_key());
    assert_eq!(who(server.address, as_s2).await.unwrap(), "s2");
    assert_eq!(who(changing, strict).await.unwrap(), "anonymous");
    stop.cancel();
}

/// Ends when the stream over this connection ends.
async fn stream_end(address: SocketAddr, channel: Channel, open: oneshot::Sender<()>) {
    let (_keep_open, frames) = mpsc::channel(1);
    let mut client = peers_client(channel);
    let mut answers = client
        .exchange(ReceiverStream::new(frames))
        .await
        .unwrap_or_else(|status| panic!("{address}: {status}"))
        .into_inner();
    open.send(()).unwrap();
    let ended = answers.message().await;
    assert!(!matches!(ended, Ok(Some(_))), "nothing was sent");
}

#[tokio::test]
async fn a_connection_by_a_key_that_is_struck_off_is_cut_within_the_bound_from_either_side() {
    let (s1, s2) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    // Each side has records of its own.
    for struck_off in [&s1, &s2] {
        let at_s1 = Keys::of(&[("s1", &s1), ("s2", &s2)]);
        let at_s2 = Keys::of(&[("s1", &s1), ("s2", &s2)]);
        let server = start(&s1, at_s1.clone()).await;
        let expect = KeyExpectation::Any(at_s2.clone());
        let config = client_config(Some(&s2), expect).unwrap();
        let address = server.address.to_string();
        let timeouts = Timeouts::default();
        let channel = connect_watched(&address, config, timeouts, at_s2.clone()).unwrap();
        let (open, opened) = oneshot::channel();
        let stream = tokio::spawn(stream_end(server.address, channel, open));
        opened.await.unwrap();
        let begun = std::time::Instant::now();
        for keys in [&at_s1, &at_s2] {
            keys.0.lock().unwrap().remove(&struck_off.public_key());
        }
        tokio::time::timeout(LIMIT, stream).await.unwrap().unwrap();
        assert!(begun.elapsed() < KEY_CHECK * 2, "{:?}", begun.elapsed());
        server.stop.cancel();
        server.ended.await.unwrap().unwrap();
    }
}
