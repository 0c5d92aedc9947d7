//! The port between servers: who is no server is not heard there; and what a server says wrongly, with a key that is on record, harms none
//! of the others' registries, mail or processes.

use grapevine_model::{
    BodyInfo, Cell, CellKey, DepositFor, Hlc, Incarnation, MessageId, OriginId, PeerMessage,
    SpaceId, Stamp, Update, VersionVector,
};
use grapevine_rpc::tls::Identity;
use grapevine_rpc::{encode_peer, peers_client, v1};

use crate::attacks::{MESSAGE, unharmed};
use crate::grapevine::{Grapevine, get, wait_for};
use crate::strangers::channel_to;
use crate::wire::{Pop, Smtp};

fn space(registry: &str) -> SpaceId {
    SpaceId::Registry(registry.parse().unwrap())
}

fn stamp(time: u64) -> Stamp {
    Stamp {
        time: Hlc(time),
        origin: OriginId(77),
    }
}

fn vector(time: u64) -> VersionVector {
    let mut vector = VersionVector::default();
    vector.raise(OriginId(77), Hlc(time));
    vector
}

fn push(registry: &str, time: u64, field: u16, value: &[u8]) -> PeerMessage {
    let update = Update {
        key: CellKey {
            item: 7,
            field,
            element: vec![0xff; 40],
        },
        cell: Cell {
            stamp: stamp(time),
            dot: stamp(time),
            value: Some(value.to_vec()),
        },
    };
    PeerMessage::Push {
        space: space(registry),
        previous: stamp(0),
        context: VersionVector::default(),
        updates: vec![update],
    }
}

/// What a server that is broken, or somebody with its key, might say.
fn lies() -> Vec<v1::PeerFrame> {
    let id = MessageId {
        time: Hlc(1),
        origin: OriginId(77),
    };
    let body = BodyInfo {
        len: u64::MAX,
        digest: [7; 32],
    };
    let deposit = DepositFor {
        inbox: Incarnation(7),
        name: "needham@pa.example".parse().unwrap(),
        sites: vec!["s1".parse().unwrap()],
        list: None,
        envelope: None,
    };
    let words = [
        // A registry that there is not; values of the far future, of unknown fields, of broken text.
        push("no.such.example", 1, 0, b"x"),
        push("pa.example", u64::MAX, 0, b"\xee\xee"),
        push("pa.example", 3, 60_000, &[0xff; 10_000]),
        push("gv", u64::MAX - 1, 1, b"\x01"),
        // Promises about what nobody has.
        PeerMessage::Have {
            space: space("pa.example"),
            vector: vector(u64::MAX),
        },
        PeerMessage::Vectors(vec![(space("pa.example"), vector(u64::MAX))]),
        PeerMessage::Page {
            space: space("pa.example"),
            from: vector(9),
            progress: vector(u64::MAX),
            complete: true,
            updates: Vec::new(),
        },
        PeerMessage::Refresh {
            space: space("gv"),
            floor: vector(u64::MAX),
        },
        // Mail that is in nobody's custody, bodies that never come, answers to nothing.
        PeerMessage::Deposit {
            message: id,
            body,
            inboxes: vec![deposit],
        },
        PeerMessage::Need {
            messages: vec![id; 1_000],
        },
        PeerMessage::CustodyHeld {
            message: id,
            recipients: None,
        },
        PeerMessage::Handed {
            message: id,
            recipients: vec!["needham@pa.example".into(); 1_000],
        },
        PeerMessage::CustodyEnded {
            origin: OriginId(1),
            messages: vec![id],
        },
        PeerMessage::Body { message: id, body },
    ];
    let mut frames: Vec<_> = words.iter().map(encode_peer).collect();
    // A frame of nothing, and a body that nobody announced.
    frames.push(v1::PeerFrame::default());
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_wrongly_harms_no_mail_and_stops_nobody() {
    let grapevine = Grapevine::up(3);
    // The third one's place is taken by somebody who has its key.
    let identity = Identity::open(&grapevine.dir.join("s3")).unwrap();
    grapevine.kill(2);
    for frame in lies() {
        let channel = channel_to(&grapevine, 0, Some(&identity));
        let said = format!("{frame:?}");
        // One lie a connection: a server may end one over it.
        let frames = tokio_stream_of(vec![frame; 3]);
        match tokio::time::timeout(
            crate::grapevine::LIMIT,
            peers_client(channel).exchange(frames),
        )
        .await
        {
            Ok(Ok(answers)) => drop(answers),
            Ok(Err(status)) => assert_ne!(status.code(), tonic::Code::Internal, "{said:.80}"),
            Err(_) => panic!("no answer to {said:.80}"),
        }
    }
    let grapevine = &grapevine;
    tokio::task::block_in_place(|| {
        let mut smtp = Smtp::submission(grapevine, 0, "birrell");
        let reply = smtp.data("birrell@pa.example", "needham@pa.example", MESSAGE);
        assert_eq!(reply.code, 250, "{reply:?}");
        for server in [0, 1] {
            wait_for("the message, and no other", || {
                Pop::open(grapevine, server, "needham").count() == 1
            });
            let http = grapevine.doors(server)["http"].clone();
            // It may have been made to look again whether it has everything.
            wait_for("it to be ready", || {
                get(&http, "/readyz").is_some_and(|(status, _)| status == 200)
            });
        }
        assert!(!grapevine.logs().contains("panicked"), "a server panicked");
    });
}

fn tokio_stream_of(
    frames: Vec<v1::PeerFrame>,
) -> impl futures_util::Stream<Item = v1::PeerFrame> + Send + 'static {
    futures_util::stream::iter(frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_a_stranger_or_of_a_client_reaches_no_core() {
    let grapevine = Grapevine::up(1);
    let server = Identity::open(&grapevine.dir.join("s1")).unwrap();
    // Nobody's key, none at all, and the server's own: it is not its own peer.
    for identity in [None, Some(Identity::generate().unwrap()), Some(server)] {
        let channel = channel_to(&grapevine, 0, identity.as_ref());
        let answer = peers_client(channel)
            .exchange(tokio_stream_of(lies()))
            .await;
        if let Ok(answers) = answer {
            let mut answers = answers.into_inner();
            let next = tokio::time::timeout(crate::grapevine::LIMIT, answers.message()).await;
            assert!(
                !matches!(next, Ok(Ok(Some(_)))),
                "somebody who is no other server was answered"
            );
        }
    }
    unharmed(&grapevine);
}
