//! The RPC door and those who are not what they say: what a client can't prove, it does not get.

use std::time::{Duration, Instant};

use grapevine_model::{
    Envelope, ErrorKind, Incarnation, MessageId, Name, Refusal, Reply, Request, ReturnContent,
    Secret, ServerName, Speaker,
};
use grapevine_rpc::tls::{Identity, KeyExpectation, client_config};
use grapevine_rpc::v1::{self, submit_part};
use grapevine_rpc::{
    Caller, Credentials, ReadBodyRequest, SubmitHead, Timeouts, decode_reply, encode_call,
    encode_peer, encode_read_body, encode_submit_head, grapevine_client, peers_client,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::grapevine::Grapevine;

/// The promised pause after a wrong password.
const PAUSE: Duration = Duration::from_secs(1);

/// A channel to a server's RPC door, with or without a key of one's own.
fn channel(grapevine: &Grapevine, identity: Option<&Identity>) -> Channel {
    channel_to(grapevine, 0, identity)
}

pub(crate) fn channel_to(
    grapevine: &Grapevine,
    server: usize,
    identity: Option<&Identity>,
) -> Channel {
    let cluster = grapevine.cluster();
    let key = cluster["servers"][server]["public_key"].as_str().unwrap();
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let tls = client_config(identity, KeyExpectation::Exactly(key)).unwrap();
    grapevine_rpc::connect(&grapevine.doors(server)["rpc"], tls, Timeouts::default()).unwrap()
}

fn name(simple: &str) -> Name {
    format!("{simple}@pa.example").parse().unwrap()
}

fn credentials(simple: &str, password: &str) -> Caller {
    Caller::Individual(Credentials {
        name: name(simple),
        password: Secret(password.to_owned()),
    })
}

pub(crate) async fn call(
    channel: &Channel,
    caller: Caller,
    request: Request,
) -> Result<Reply, Refusal> {
    let call = encode_call(&caller, &request);
    let reply = grapevine_client(channel.clone()).call(call).await.unwrap();
    decode_reply(reply.into_inner()).unwrap()
}

async fn submit(channel: &Channel, caller: Caller) -> Result<Reply, Refusal> {
    let head = encode_submit_head(&SubmitHead {
        caller,
        id: None,
        envelope: Envelope {
            return_path: Some(name("birrell")),
            recipients: vec![name("needham").into()],
            content: ReturnContent::default(),
            envelope_id: None,
        },
    });
    let body = v1::SubmitPart {
        part: Some(submit_part::Part::Chunk(
            b"Subject: hi\r\n\r\nhi\r\n".to_vec().into(),
        )),
    };
    let parts = futures_util::stream::iter([head, body]);
    let reply = grapevine_client(channel.clone())
        .submit(parts)
        .await
        .unwrap();
    decode_reply(reply.into_inner()).unwrap()
}

async fn read(channel: &Channel, caller: Caller, owner: &str, message: MessageId) -> Option<Code> {
    let request = encode_read_body(&ReadBodyRequest {
        caller,
        owner: name(owner),
        message,
        place: None,
    });
    match grapevine_client(channel.clone()).read_body(request).await {
        Ok(parts) => parts
            .into_inner()
            .message()
            .await
            .err()
            .map(|status| status.code()),
        Err(status) => Some(status.code()),
    }
}

#[tokio::test]
async fn who_proves_nothing_is_nobody() {
    let grapevine = Grapevine::up(1);
    let channel = channel(&grapevine, None);
    let create = Request::RegistryCreate {
        registry: "evil.example".parse().unwrap(),
        holders: Vec::new(),
        registrars: Vec::new(),
    };
    let refused = call(&channel, Caller::Connection, create.clone())
        .await
        .unwrap_err();
    assert!(matches!(
        refused.kind,
        ErrorKind::NotAuthenticated | ErrorKind::NotAllowed
    ));
    let speakers = [
        Speaker::Operator,
        Speaker::Server("s1".parse::<ServerName>().unwrap()),
        Speaker::Individual {
            name: name("registrar"),
            incarnation: Incarnation(0),
        },
    ];
    for speaker in speakers {
        let refused = call(&channel, Caller::OnBehalf(speaker), create.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotAllowed, "{refused}");
    }
    let refused = submit(&channel, Caller::Connection).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthenticated);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer_after_a_pause() {
    let grapevine = Grapevine::up(1);
    let channel = channel(&grapevine, None);
    let mut answers = Vec::new();
    for caller in [
        credentials("birrell", "wrong"),
        credentials("nobody-at-all", "wrong"),
    ] {
        let begun = Instant::now();
        answers.push(call(&channel, caller, Request::Status).await.unwrap_err());
        assert!(begun.elapsed() >= PAUSE);
    }
    assert_eq!(answers[0].kind, ErrorKind::NotAuthenticated);
    assert_eq!(answers[0], answers[1]);
    let right = credentials("birrell", &grapevine.password("birrell"));
    call(&channel, right, Request::Servers).await.unwrap();
}

#[tokio::test]
async fn the_peers_door_is_shut_to_clients_and_to_unknown_keys() {
    let grapevine = Grapevine::up(1);
    let beat = encode_peer(&grapevine_model::PeerMessage::Need {
        messages: Vec::new(),
    });
    let client = channel(&grapevine, None);
    let refused = peers_client(client)
        .exchange(futures_util::stream::iter([beat.clone()]))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let stranger = channel(&grapevine, Some(&Identity::generate().unwrap()));
    let refused = peers_client(stranger)
        .exchange(futures_util::stream::iter([beat]))
        .await;
    // The handshake itself fails: it is not known whether the caller notices before or after.
    refused.unwrap_err();
    grapevine.expect_no_errors();
}

#[tokio::test]
async fn a_message_is_read_by_its_owner_and_by_nobody_else() {
    let grapevine = Grapevine::up(1);
    let channel = channel(&grapevine, None);
    let birrell = credentials("birrell", &grapevine.password("birrell"));
    let needham = credentials("needham", &grapevine.password("needham"));
    let Ok(Reply::Accepted { message, .. }) = submit(&channel, birrell.clone()).await else {
        panic!("not accepted");
    };
    let begun = Instant::now();
    while read(&channel, needham.clone(), "needham", message)
        .await
        .is_some()
    {
        assert!(begun.elapsed() < crate::grapevine::LIMIT, "it never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (caller, owner) in [
        (birrell.clone(), "needham"),
        (birrell, "birrell"),
        (Caller::Connection, "needham"),
    ] {
        let refused = read(&channel, caller, owner, message).await;
        assert!(
            matches!(
                refused,
                Some(Code::PermissionDenied | Code::Unauthenticated | Code::NotFound)
            ),
            "{refused:?}"
        );
    }
    // As servers ask, by the id alone.
    let bare = v1::ReadBodyRequest {
        caller: None,
        owner: String::new(),
        message: message.to_bytes().to_vec(),
        ..Default::default()
    };
    let refused = grapevine_client(channel).read_body(bare).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
