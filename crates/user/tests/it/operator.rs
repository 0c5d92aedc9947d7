//! The operator's door: one server's socket, no password, and the others by their own doors.

use std::time::Duration;

use grapevine_model::{ErrorKind, Refusal, Request};
use grapevine_rpc::{grapevine_server, server_builder};
use grapevine_user::GrapevineUser;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::fake::{Behaviour, Cluster, me};

#[tokio::test]
async fn an_operator_asks_at_the_socket_and_nowhere_else() {
    let cluster = Cluster::of(2).await;
    let socket = cluster.folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let service = grapevine_server(cluster.servers[0].clone());
    tokio::spawn(
        server_builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    let user = GrapevineUser::operator(&socket);
    let show = Request::Show { name: me() };
    assert!(user.call(show.clone()).await.is_ok());
    cluster.set(0, Behaviour::Unavailable);
    let refused = user.call(show.clone()).await;
    assert!(matches!(
        refused,
        Err(Refusal {
            kind: ErrorKind::Unavailable,
            ..
        })
    ));
    assert_eq!(cluster.servers[1].calls(), 0);
    cluster.set(0, Behaviour::Well);
    let answers = user.ask_each(&show, Duration::from_secs(2)).await;
    assert_eq!(answers.len(), 2);
    let own = answers.iter().filter(|(name, _)| name.as_str() == "s1");
    assert_eq!(own.count(), 1);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_at_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let user = GrapevineUser::operator(&folder.path().join("admin.sock"));
    let refused = user.call(Request::Servers).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
}
