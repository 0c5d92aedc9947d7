//! A server of a newer release among servers of this one, over real sockets: what they do not know of what
//! it says is passed over, what they do not know of what it writes is kept and passed on unharmed, and
//! one cell that is too large for them holds up nothing else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes};
use grapevine_model::{
    Beat, Cell, CellKey, Field, Hlc, MAX_CELL_VALUE_BYTES, OriginId, PeerMessage, Request,
    ServerName, SpaceId, Stamp, Update, VersionVector,
};
use grapevine_rpc::tls::{Identity, KeyExpectation, TrustedKeys, client_config, server_config};
use grapevine_rpc::v1::peers_server::Peers;
use grapevine_rpc::v1::{self, PeerFrame};
use grapevine_rpc::{
    Caller, Frame, Timeouts, connect, decode_frame, encode_call, peers_server, serve,
    server_builder,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::grapevine::{LIMIT, get, stderr, wait_for};
use crate::pair::{Process, as_operator, init, join, token};

/// The field number 1000 with one octet, of which this release knows nothing.
const UNKNOWN: &[u8] = &[0xc2, 0x3e, 0x01, 0x07];
/// A field of cells that this release does not know.
const NEW_FIELD: u16 = 60_000;
/// What is heard may be ahead of the test.
const HEARD_AHEAD: usize = 1_000;

/// Octets as they are: a generated type could not say what it does not know.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// It looks at nobody's key: it is the others' checks that are tried here.
struct Anyone;

impl TrustedKeys for Anyone {
    fn server_of(&self, _spki: &[u8]) -> Option<ServerName> {
        Some("s1".parse().unwrap())
    }
}

/// Hears what the others say.
#[derive(Clone)]
struct Ear(SyncSender<PeerMessage>);

#[tonic::async_trait]
impl Peers for Ear {
    type ExchangeStream = tokio_stream::Pending<Result<PeerFrame, Status>>;

    async fn exchange(
        &self,
        request: tonic::Request<Streaming<PeerFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (mut frames, heard) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                if let Ok(Frame::Message(message)) = decode_frame(frame) {
                    // The test may be over, or have heard enough: everything here is said again.
                    let _ = heard.try_send(message.bare().clone());
                }
            }
        });
        Ok(Response::new(tokio_stream::pending()))
    }
}

/// The server of the newer release: its key and its place are on record.
struct Newer {
    runtime: tokio::runtime::Runtime,
    identity: Identity,
    heard: Receiver<PeerMessage>,
    stop: CancellationToken,
}

impl Newer {
    fn started(dir: &std::path::Path, at: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let identity = Identity::open(dir).unwrap();
        let (sender, heard) = sync_channel(HEARD_AHEAD);
        let stop = CancellationToken::new();
        let config = server_config(&identity, Arc::new(Anyone)).unwrap();
        let listener = runtime.block_on(TcpListener::bind(at)).unwrap();
        let router = server_builder().add_service(peers_server(Ear(sender)));
        let over = stop.clone().cancelled_owned();
        runtime.spawn(serve(listener, config, Arc::new(Anyone), router, over));
        Self {
            runtime,
            identity,
            heard,
            stop,
        }
    }

    fn channel(&self, at: &str, identity: Option<&Identity>) -> Channel {
        let _runtime = self.runtime.enter();
        let config = client_config(identity, KeyExpectation::Any(Arc::new(Anyone))).unwrap();
        connect(at, config, Timeouts::default()).unwrap()
    }

    /// A stream of frames to a server.
    fn line(&self, at: &str) -> tokio::sync::mpsc::Sender<Vec<u8>> {
        let (frames, stream) = tokio::sync::mpsc::channel(64);
        let mut client = tonic::client::Grpc::new(self.channel(at, Some(&self.identity)));
        let answers = self.runtime.block_on(async {
            client.ready().await.unwrap();
            let path = "/grapevine.v1.Peers/Exchange".parse().unwrap();
            let opening = tonic::Request::new(ReceiverStream::new(stream));
            client.streaming(opening, path, Raw).await.unwrap()
        });
        let mut answers = answers.into_inner();
        self.runtime.spawn(async move {
            // Held open as long as the server wants.
            while let Ok(Some(_)) = answers.message().await {}
        });
        frames
    }

    /// A call with these octets, as a client that is nobody.
    fn call(&self, at: &str, request: Vec<u8>) -> Result<Bytes, Status> {
        let mut client = tonic::client::Grpc::new(self.channel(at, None));
        self.runtime.block_on(async {
            client.ready().await.unwrap();
            let path = "/grapevine.v1.Grapevine/Call".parse().unwrap();
            let answer = client
                .unary(tonic::Request::new(request), path, Raw)
                .await?;
            Ok(answer.into_inner())
        })
    }

    /// The cells of a server's copy, as it sends them.
    fn cells(&self, line: &tokio::sync::mpsc::Sender<Vec<u8>>) -> Vec<Update> {
        let known = VersionVector::default();
        let pull = PeerMessage::Pull { space: pa(), known };
        let begun = std::time::Instant::now();
        while begun.elapsed() < LIMIT {
            // The server may have to connect first: what it could not send is lost.
            line.blocking_send(framed(&pull)).unwrap();
            let asked = std::time::Instant::now();
            while asked.elapsed() < Duration::from_secs(2) {
                match self.heard.recv_timeout(Duration::from_secs(1)) {
                    Ok(PeerMessage::Page { space, updates, .. }) if space == pa() => {
                        return updates;
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        panic!("no page");
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn pa() -> SpaceId {
    SpaceId::Registry("pa.example".parse().unwrap())
}

/// A message in its frame, and something unknown inside each.
fn framed(message: &PeerMessage) -> Vec<u8> {
    let mut inner = v1::PeerMessage::from(message).encode_to_vec();
    inner.extend_from_slice(UNKNOWN);
    let mut frame = vec![0x0a];
    prost::encode_length_delimiter(inner.len(), &mut frame).unwrap();
    frame.extend_from_slice(&inner);
    frame.extend_from_slice(UNKNOWN);
    frame
}

fn update(field: u16, time: Hlc, origin: u64, value: &[u8]) -> Update {
    let stamp = Stamp {
        time,
        origin: OriginId(origin),
    };
    Update {
        key: CellKey {
            item: 0x6772_6170_6576,
            field,
            element: b"of the future".to_vec(),
        },
        cell: Cell {
            stamp,
            dot: stamp,
            value: Some(value.to_vec()),
        },
    }
}

fn push(updates: &[Update]) -> PeerMessage {
    PeerMessage::Push {
        space: pa(),
        previous: Stamp {
            time: Hlc(0),
            origin: updates[0].cell.dot.origin,
        },
        context: VersionVector::default(),
        updates: updates.to_vec(),
    }
}

fn rpc_of(dir: &std::path::Path) -> String {
    let text = std::fs::read_to_string(dir.join("grapevine.toml")).unwrap();
    let rpc = text.lines().find_map(|line| line.strip_prefix("rpc = "));
    rpc.unwrap().trim_matches('"').to_owned()
}

fn quarantined(process: &Process) -> String {
    let metrics = get(&process.http, "/metrics").unwrap().1;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("grapevine_updates_quarantined "));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn what_a_newer_release_says_and_writes_harms_nothing_and_arrives_through_servers_that_do_not_know_it()
 {
    let temp = tempfile::tempdir().unwrap();
    let first = Process::serve(&init(&temp));
    let (dir, joined) = join(&temp, &token(&first.dir), "s2");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let second = Process::serve(&dir);
    let (dir, joined) = join(&temp, &token(&first.dir), "s3");
    assert!(joined.status.success(), "{}", stderr(&joined));
    let newer = Newer::started(&dir, &rpc_of(&dir));
    let [to_first, to_second] = [&first, &second].map(|process| newer.line(&rpc_of(&process.dir)));
    let say = |frame: Vec<u8>| to_first.blocking_send(frame).unwrap();

    // A frame, a message and a beat with more to it than this release knows.
    say(UNKNOWN.to_vec());
    let mut message = vec![0x0a, u8::try_from(UNKNOWN.len()).unwrap()];
    message.extend_from_slice(UNKNOWN);
    say(message);
    let now_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Hlc::at_ms(u64::try_from(now_ms).unwrap());
    say(framed(&PeerMessage::Beat(Beat {
        origin: OriginId(77),
        time: now,
        pending: 0,
        accepts: false,
        digests: Vec::new(),
        seen: None,
        at: None,
    })));
    // A field, a value of a later version in a field that is known, and an element that is none here.
    let later = |count: u64| Hlc(now.0 + count);
    let written = [
        update(NEW_FIELD, later(1), 77, b"\xee\0new\xff"),
        update(
            Field::Remark.number(),
            later(2),
            77,
            b"\xeea later version's remark",
        ),
        update(Field::Identity.number(), later(3), 77, b"\xeewho knows"),
        update(
            Field::Posting.number(),
            later(4),
            77,
            &[0xee; MAX_CELL_VALUE_BYTES],
        ),
    ];
    say(framed(&push(&written)));
    let has = |line, wanted: &[Update]| {
        let cells = newer.cells(line);
        wanted.iter().all(|update| cells.contains(update))
    };
    wait_for(
        "what was written, at a third server, as it was written",
        || has(&to_second, &written),
    );

    // One that is too large, between two others.
    let beside = [
        update(NEW_FIELD + 1, later(5), 78, b"before"),
        update(NEW_FIELD + 3, later(7), 78, b"after"),
    ];
    let large = update(NEW_FIELD + 2, later(6), 78, &[7; MAX_CELL_VALUE_BYTES + 1]);
    say(framed(&push(&[
        beside[0].clone(),
        large,
        beside[1].clone(),
    ])));
    wait_for("the one to be kept apart", || quarantined(&first) == "1");
    assert!(first.log().contains("over the limit"), "{}", first.log());
    // It counts nowhere; the one before it has gone on, and so does everything else.
    wait_for("the good one", || has(&to_second, &beside[..1]));
    as_operator(&first.dir, &["group", "create", "club@pa.example"]);
    as_operator(
        &second.dir,
        &["group", "add", "club@pa.example", "x@example.org"],
    );
    wait_for("others' changes", || {
        let members = as_operator(&first.dir, &["group", "members", "club@pa.example"]);
        members.to_string().contains("x@example.org")
    });

    // Requests: one that is unknown is said to be, and one with more to it than is known is answered.
    let at = rpc_of(&second.dir);
    let mut unknown = vec![0x12, u8::try_from(UNKNOWN.len()).unwrap()];
    unknown.extend_from_slice(UNKNOWN);
    let refused = newer.call(&at, unknown).unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    assert!(refused.message().contains("another server"), "{refused:?}");
    let mut known = encode_call(&Caller::Connection, &Request::Servers).encode_to_vec();
    known.extend_from_slice(UNKNOWN);
    let answer = newer.call(&at, known).unwrap();
    assert!(v1::CallReply::decode(answer).unwrap().result.is_some());
    for process in [&first, &second] {
        assert_eq!(get(&process.http, "/readyz").unwrap().0, 200);
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
}
