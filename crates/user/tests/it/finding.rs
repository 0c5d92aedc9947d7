//! From one address to all servers; whom to ask first; whom never to trust.

use std::time::Duration;

use grapevine_model::{Name, Request};
use grapevine_user::{
    ConnectError, FirstContact, GrapevineUser, Notice, Pin, Remembered, Seed, Seeds,
};

use crate::fake::{Behaviour, Cluster, me, patience, start_at};

fn at(cluster: &Cluster, server: usize, first_contact: FirstContact) -> Seeds {
    Seeds {
        servers: vec![Seed {
            address: cluster.servers[server].address.to_string(),
            pin: None,
        }],
        state_file: Some(cluster.folder.path().join("servers.json")),
        first_contact,
    }
}

async fn connect(seeds: Seeds) -> Result<GrapevineUser, ConnectError> {
    GrapevineUser::connect_with(seeds, None, patience()).await
}

fn show(name: Name) -> Request {
    Request::Show { name }
}

#[tokio::test]
async fn one_address_suffices_and_any_server_suffices_the_next_time() {
    let cluster = Cluster::of(3).await;
    let user = connect(cluster.seeds(&[1])).await.unwrap();
    assert_eq!(user.servers().len(), 3);
    for dead in [0, 1] {
        cluster.servers[dead].kill().await;
    }
    let nothing_given = Seeds {
        servers: Vec::new(),
        ..cluster.seeds(&[])
    };
    let user = connect(nothing_given).await.unwrap();
    assert!(user.call(show(me())).await.is_ok());
    // An address that is dead leads to the living ones, if it is remembered.
    let user = connect(at(&cluster, 0, FirstContact::Refuse))
        .await
        .unwrap();
    assert!(user.call(show(me())).await.is_ok());
}

#[tokio::test]
async fn a_read_fails_over_and_the_failed_server_is_asked_last() {
    for behaviour in [
        Behaviour::Die,
        Behaviour::DoThenHang,
        Behaviour::Unavailable,
    ] {
        let cluster = Cluster::of(2).await;
        let user = cluster.user().await;
        cluster.set(0, behaviour);
        assert!(user.call(show(me())).await.is_ok(), "{behaviour:?}");
        let first = user.servers()[0].name.clone();
        if behaviour == Behaviour::Unavailable {
            continue;
        }
        assert_eq!(first, cluster.servers[1].name, "{behaviour:?}");
        let asked = cluster.servers[0].calls();
        assert!(user.call(show(me())).await.is_ok());
        assert_eq!(cluster.servers[0].calls(), asked);
    }
}

#[tokio::test]
async fn a_server_that_moved_is_found_by_a_client_that_goes_on() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    let moved = cluster.servers[0].move_elsewhere().await;
    // It fails at its old address; the other one answers, and is asked where it is now.
    assert!(user.call(show(me())).await.is_ok());
    let learnt = async {
        let there = moved.address.to_string();
        while !user.servers().iter().any(|server| server.address == there) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, learnt).await.expect("learnt");
    cluster.servers[1].kill().await;
    assert!(user.call(show(me())).await.is_ok());
    assert_eq!(moved.calls(), 1);
}

#[tokio::test]
async fn a_server_that_is_mute_does_not_hold_up_the_finding_of_others() {
    let cluster = Cluster::of(2).await;
    cluster.set(0, Behaviour::Mute);
    let user = connect(cluster.seeds(&[0, 1])).await.unwrap();
    assert_eq!(user.servers()[0].name, cluster.servers[1].name);
    assert!(user.call(show(me())).await.is_ok());
}

#[tokio::test]
async fn each_server_is_asked_once_and_a_dead_one_is_said_to_be_so() {
    let cluster = Cluster::of(3).await;
    let user = cluster.user().await;
    cluster.servers[2].kill().await;
    let answers = user.ask_each(&show(me()), Duration::from_secs(2)).await;
    let up: Vec<_> = answers.iter().map(|(_, answer)| answer.is_ok()).collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(up.iter().filter(|up| **up).count(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_refused_without_a_pin_and_told_when_it_is_trusted() {
    let cluster = Cluster::of(2).await;
    let refused = connect(at(&cluster, 0, FirstContact::Refuse)).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted(_))));
    let user = connect(at(&cluster, 0, FirstContact::Trust)).await.unwrap();
    let told = Notice::FirstContact {
        address: cluster.servers[0].address.to_string(),
        server: cluster.servers[0].name.clone(),
        fingerprint: cluster.servers[0].key.fingerprint(),
    };
    assert_eq!(user.notices(), [told]);
    // It is remembered: the second time needs no trust, at neither server.
    for server in [0, 1] {
        let user = connect(at(&cluster, server, FirstContact::Refuse))
            .await
            .unwrap();
        assert!(user.notices().is_empty());
    }
}

#[tokio::test]
async fn a_pin_is_kept_to_the_digit() {
    let cluster = Cluster::of(2).await;
    let pinned = |server: usize, pin: usize| Seeds {
        servers: vec![Seed {
            address: cluster.servers[server].address.to_string(),
            pin: Some(Pin::Fingerprint(cluster.servers[pin].key.fingerprint())),
        }],
        state_file: None,
        first_contact: FirstContact::Trust,
    };
    assert!(connect(pinned(0, 0)).await.is_ok());
    match connect(pinned(0, 1)).await {
        Err(ConnectError::NotTrusted(why)) => {
            let shown = cluster.servers[0].key.fingerprint().to_string();
            assert!(why.contains(&shown), "{why}");
        }
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_unless_a_trusted_server_vouches_for_it() {
    let cluster = Cluster::of(2).await;
    let state = cluster.folder.path().join("servers.json");
    connect(at(&cluster, 0, FirstContact::Trust)).await.unwrap();
    // Both are gone, and somebody else listens where the first one was.
    let (old, address) = (Remembered::read(&state), cluster.servers[0].address);
    cluster.servers[0].kill().await;
    let impostor = start_at(address, "s1".parse().unwrap(), cluster.world.clone()).await;
    cluster.set(1, Behaviour::Mute);
    match connect(at(&cluster, 0, FirstContact::Trust)).await {
        Err(ConnectError::NotTrusted(why)) => {
            assert!(
                why.contains(&impostor.key.fingerprint().to_string()),
                "{why}"
            );
        }
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(Remembered::read(&state), old);
    assert_eq!(impostor.calls(), 0, "a stranger was asked something");
    // Now the second one is back and its list has the new key in it.
    cluster.set(1, Behaviour::Well);
    cluster.world(|world| world.servers.remove(0));
    let user = connect(at(&cluster, 0, FirstContact::Refuse))
        .await
        .unwrap();
    assert!(
        user.servers()
            .iter()
            .any(|server| server.key == impostor.key)
    );
    assert!(user.notices().is_empty());
}
