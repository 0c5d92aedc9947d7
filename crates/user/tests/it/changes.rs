//! Changes whose answers are lost: done once, and never called done when they are not.

use grapevine_model::{
    EntryChange, ErrorKind, GroupList, Member, Name, Refusal, Reply, Request, Secret,
};
use grapevine_user::GrapevineUser;

use crate::fake::{Behaviour, Cluster, PASSWORD, me};

fn group() -> Name {
    "csl^@pa.example".parse().unwrap()
}

fn create(remark: &str) -> Request {
    Request::GroupCreate {
        name: group(),
        remark: remark.to_owned(),
        owners: vec![Member::Name(me())],
    }
}

async fn kind(user: &GrapevineUser, request: Request) -> Result<(), ErrorKind> {
    match user.call(request).await {
        Ok(Reply::Written(_)) => Ok(()),
        Ok(other) => panic!("{other:?}"),
        Err(Refusal { kind, .. }) => Err(kind),
    }
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_done_and_not_a_conflict() {
    for behaviour in [Behaviour::DoThenDie, Behaviour::DoThenHang] {
        let cluster = Cluster::of(2).await;
        let user = cluster.user().await;
        cluster.set(0, behaviour);
        assert_eq!(kind(&user, create("laboratory")).await, Ok(()));
        cluster.world(|world| assert_eq!(world.entries[&group()].created, 1));
    }
}

#[tokio::test]
async fn a_creation_whose_name_somebody_else_took_is_no_success() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    assert_eq!(kind(&user, create("theirs")).await, Ok(()));
    // Without a doubt it is a conflict; with one it can't be told whose it is.
    assert_eq!(kind(&user, create("mine")).await, Err(ErrorKind::Conflict));
    cluster.set(0, Behaviour::DoThenDie);
    assert_eq!(kind(&user, create("mine")).await, Err(ErrorKind::Unknown));
    cluster.world(|world| assert_eq!(world.entries[&group()].remark, "theirs"));
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_done_and_not_a_missing_name() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    assert_eq!(kind(&user, create("")).await, Ok(()));
    cluster.set(0, Behaviour::DoThenDie);
    let delete = Request::Delete { name: group() };
    assert_eq!(kind(&user, delete.clone()).await, Ok(()));
    assert_eq!(kind(&user, delete).await, Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn ones_own_password_is_changed_although_the_old_one_is_then_refused() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    cluster.set(0, Behaviour::DoThenDie);
    let change = Request::Change {
        name: me(),
        change: EntryChange::Password(Secret("another horse".into())),
    };
    assert_eq!(kind(&user, change).await, Ok(()));
    assert_eq!(user.login().unwrap().password.0, "another horse");
    // And the user goes on with the new one.
    assert_eq!(kind(&user, create("")).await, Ok(()));
}

#[tokio::test]
async fn a_change_that_no_server_answers_is_unknown_and_a_refused_connection_is_unavailable() {
    let add = || Request::Change {
        name: group(),
        change: EntryChange::ListAdd(GroupList::Owners, "needham@pa.example".parse().unwrap()),
    };
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    assert_eq!(kind(&user, create("")).await, Ok(()));
    cluster.set(0, Behaviour::DoThenHang);
    cluster.set(1, Behaviour::Unavailable);
    assert_eq!(kind(&user, add()).await, Err(ErrorKind::Unknown));
    cluster.servers[0].kill().await;
    cluster.servers[1].kill().await;
    let fresh_doubt = kind(&user, add()).await;
    assert!(matches!(
        fresh_doubt,
        Err(ErrorKind::Unavailable | ErrorKind::Unknown)
    ));
    assert_eq!(kind(&user, add()).await, Err(ErrorKind::Unavailable));
}

#[tokio::test]
async fn an_addition_is_done_once_whoever_answers() {
    let cluster = Cluster::of(3).await;
    let user = cluster.user().await;
    assert_eq!(kind(&user, create("")).await, Ok(()));
    cluster.set(0, Behaviour::DoThenDie);
    cluster.set(1, Behaviour::DoThenHang);
    let add = Request::Change {
        name: group(),
        change: EntryChange::ListAdd(GroupList::Owners, "needham@pa.example".parse().unwrap()),
    };
    assert_eq!(kind(&user, add).await, Ok(()));
    cluster.world(|world| {
        assert_eq!(world.changes, 2);
        assert_eq!(world.entries[&group()].owners.len(), 2);
    });
}

#[tokio::test]
async fn a_clear_no_is_not_asked_for_elsewhere() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    let delete = Request::Delete { name: group() };
    assert_eq!(kind(&user, delete).await, Err(ErrorKind::NotFound));
    assert_eq!(cluster.servers[1].calls(), 0);
    assert!(
        user.login()
            .is_some_and(|login| login.password.0 == PASSWORD)
    );
}
