//! The stream of a watch by RPC, as a client in another language sees it: one answer after the other.

use std::time::Duration;

use grapevine_model::{
    EntryChange, ErrorKind, GroupList, Happened, Name, Refusal, Reply, Request, Secret, Since,
    WatchTarget,
};
use grapevine_rpc::tls::{KeyExpectation, client_config};
use grapevine_rpc::v1;
use grapevine_rpc::{Caller, Credentials, Timeouts, decode_reply, encode_call, grapevine_client};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::grapevine::{Grapevine, LIMIT};

/// As it is documented: a stream outlives the password that it was begun with by so much at most.
const OUTLIVES: Duration = Duration::from_secs(20);

fn channel(grapevine: &Grapevine, server: usize) -> Channel {
    let cluster = grapevine.cluster();
    let key = cluster["servers"][server]["public_key"].as_str().unwrap();
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let tls = client_config(None, KeyExpectation::Exactly(key)).unwrap();
    grapevine_rpc::connect(&grapevine.doors(server)["rpc"], tls, Timeouts::default()).unwrap()
}

fn name(simple: &str) -> Name {
    format!("{simple}@pa.example").parse().unwrap()
}

fn caller(grapevine: &Grapevine, simple: &str) -> Caller {
    Caller::Individual(Credentials {
        name: name(simple),
        password: Secret(grapevine.password(simple)),
    })
}

async fn call(channel: &Channel, caller: &Caller, request: Request) -> Result<Reply, Refusal> {
    let call = encode_call(caller, &request);
    let reply = grapevine_client(channel.clone()).call(call).await.unwrap();
    decode_reply(reply.into_inner()).unwrap()
}

async fn watch(channel: &Channel, caller: &Caller, since: Since) -> Streaming<v1::CallReply> {
    let request = Request::Watch {
        target: WatchTarget::Entry(name("g^")),
        since,
        wait_ms: 0,
    };
    let call = encode_call(caller, &request);
    grapevine_client(channel.clone())
        .watch(call)
        .await
        .unwrap()
        .into_inner()
}

/// The next answer; none at the end of the stream.
async fn next(stream: &mut Streaming<v1::CallReply>) -> Option<Result<Reply, Refusal>> {
    let message = tokio::time::timeout(LIMIT, stream.message()).await.unwrap();
    message.unwrap().map(|reply| decode_reply(reply).unwrap())
}

/// Waits for this member, and gives the token after it.
async fn wait_for(stream: &mut Streaming<v1::CallReply>, member: &str) -> String {
    loop {
        let Some(Ok(Reply::Changes(changes))) = next(stream).await else {
            panic!("the stream has ended");
        };
        let told = changes.events.iter().any(
            |event| matches!(&event.what, Happened::Added { item, .. } if item.as_str() == member),
        );
        if told {
            return changes.token;
        }
    }
}

fn add(member: &str) -> Request {
    Request::Change {
        name: name("g^"),
        change: EntryChange::ListAdd(GroupList::Members, member.parse().unwrap()),
    }
}

#[tokio::test]
async fn a_stream_tells_each_change_goes_on_elsewhere_and_ends_with_its_password() {
    let grapevine = Grapevine::up(2);
    let (first, second) = (channel(&grapevine, 0), channel(&grapevine, 1));
    let registrar = caller(&grapevine, "registrar");
    let create = Request::GroupCreate {
        name: name("g^"),
        remark: String::new(),
        owners: Vec::new(),
    };
    call(&first, &registrar, create).await.unwrap();
    // Nobody in particular gets a refusal, and a question that is no watch an error.
    let mut stream = watch(&first, &Caller::Connection, Since::Now).await;
    let refused = next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthenticated);
    assert!(next(&mut stream).await.is_none(), "and then it ends");
    let other = encode_call(&registrar, &Request::Status);
    let status = grapevine_client(first.clone()).watch(other).await;
    assert_eq!(status.unwrap_err().code(), Code::InvalidArgument);
    // Told as it happens, and from the token on at the other server.
    let needham = caller(&grapevine, "needham");
    let mut stream = watch(&first, &needham, Since::Now).await;
    assert!(matches!(
        next(&mut stream).await,
        Some(Ok(Reply::Changes(_)))
    ));
    call(&second, &registrar, add("m0@outside.example"))
        .await
        .unwrap();
    let token = wait_for(&mut stream, "m0@outside.example").await;
    call(&first, &registrar, add("m1@outside.example"))
        .await
        .unwrap();
    let mut other = watch(&second, &needham, Since::Token(token)).await;
    let token = wait_for(&mut other, "m1@outside.example").await;
    // The password changes: what begins with the old one is refused, what has begun ends.
    let changed = Request::Change {
        name: name("needham"),
        change: EntryChange::Password(Secret("another password".into())),
    };
    call(&first, &needham, changed).await.unwrap();
    let ended = tokio::time::timeout(OUTLIVES + Duration::from_secs(10), async {
        loop {
            match next(&mut other).await {
                Some(Ok(_)) => {}
                Some(Err(refusal)) => return refusal,
                None => panic!("it ends without a reason"),
            }
        }
    });
    assert_eq!(ended.await.unwrap().kind, ErrorKind::NotAuthenticated);
    let mut late = watch(&second, &needham, Since::Token(token)).await;
    let refused = next(&mut late).await.unwrap().unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthenticated);
    grapevine.expect_no_errors();
}
