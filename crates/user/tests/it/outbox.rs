//! Mail that waits on the workstation, and what must not be asked twice.

use std::sync::Arc;

use grapevine_model::{
    Envelope, EnvelopeRecipient, ErrorKind, FolderId, MailboxAsk, MessageId, Refusal, Request,
    ReturnContent, Secret,
};
use grapevine_user::{
    ConnectError, DataKey, Delivered, GrapevineUser, Login, Outbox, OutboxLimits, OutgoingState,
    new_message_id,
};

use crate::fake::{Behaviour, Cluster, PASSWORD, me, patience};

fn outbox(cluster: &Cluster, key: &DataKey) -> Arc<Outbox> {
    let dir = cluster.folder.path().join("outbox");
    Arc::new(Outbox::open(&dir, key.clone(), OutboxLimits::default()).unwrap())
}

fn keep(outbox: &Outbox, text: &[u8]) -> MessageId {
    let id = new_message_id().unwrap();
    let mut body = outbox.stage();
    body.write(text).unwrap();
    let envelope = Envelope {
        return_path: Some(me()),
        recipients: vec![EnvelopeRecipient::from(me())],
        content: ReturnContent::Headers,
        envelope_id: None,
    };
    outbox
        .keep(id, &me(), &envelope, body.finish().unwrap())
        .unwrap();
    id
}

#[tokio::test]
async fn what_waits_is_handed_in_under_its_id_also_when_a_yes_was_lost() {
    for behaviour in [Behaviour::DoThenDie, Behaviour::DoThenHang, Behaviour::Die] {
        let cluster = Cluster::of(2).await;
        let user = cluster.user().await;
        let key = DataKey::random().unwrap();
        let outbox = outbox(&cluster, &key);
        let large = vec![b'x'; 200_000];
        let ids = [keep(&outbox, b"small"), keep(&outbox, &large)];
        cluster.set(0, behaviour);
        for id in ids {
            let delivered = outbox.deliver_next(&user, &[]).await.unwrap();
            assert_eq!(delivered, Delivered::Accepted(id));
        }
        let delivered = outbox.deliver_next(&user, &[]).await.unwrap();
        assert_eq!(delivered, Delivered::Nothing);
        assert!(outbox.list().is_empty());
        cluster.world(|world| {
            let accepted: Vec<_> = world.accepted.keys().copied().collect();
            assert_eq!(accepted, ids);
            assert_eq!(world.accepted[&ids[1]].0, large);
        });
    }
}

#[tokio::test]
async fn what_no_server_can_take_now_stays_and_one_that_needs_a_better_login_too() {
    let cluster = Cluster::of(2).await;
    let user = cluster.user().await;
    let key = DataKey::random().unwrap();
    let outbox = outbox(&cluster, &key);
    let id = keep(&outbox, b"text");
    for server in [0, 1] {
        cluster.set(server, Behaviour::Unavailable);
    }
    let delivered = outbox.deliver_next(&user, &[]).await.unwrap();
    assert!(
        matches!(delivered, Delivered::Unreachable(_)),
        "{delivered:?}"
    );
    assert!(matches!(
        &outbox.list()[0].state,
        OutgoingState::Waiting { why: Some(why) } if why.contains("not now")
    ));
    // That one is put off; nothing else waits.
    let delivered = outbox.deliver_next(&user, &[id]).await.unwrap();
    assert_eq!(delivered, Delivered::Nothing);
    assert!(outbox.has_work());
}

#[tokio::test]
async fn a_copy_whose_answer_was_lost_is_not_asked_for_again() {
    for behaviour in [Behaviour::DoThenDie, Behaviour::DoThenHang] {
        let cluster = Cluster::of(2).await;
        let user = cluster.user().await;
        let copy = MailboxAsk::Copy {
            from: FolderId::INBOX,
            mails: vec![new_message_id().unwrap()],
            to: FolderId(7),
        };
        cluster.set(0, behaviour);
        let Err(Refusal { kind, why }) = user.mailbox(&me(), copy).await else {
            panic!("a lost answer is no yes");
        };
        assert_eq!(kind, ErrorKind::Unknown, "{why}");
        cluster.world(|world| assert_eq!(world.copies, 1));
    }
}

#[tokio::test]
async fn who_starts_while_no_server_answers_finds_them_later_if_it_knew_them() {
    let cluster = Cluster::of(2).await;
    drop(cluster.user().await);
    let login = Login {
        name: me(),
        password: Secret(PASSWORD.into()),
    };
    for server in [0, 1] {
        cluster.set(server, Behaviour::Mute);
    }
    let user =
        GrapevineUser::connect_or_recall(cluster.seeds(&[0]), Some(login.clone()), patience())
            .await
            .unwrap();
    let show = Request::Show { name: me() };
    let refused = user.call(show.clone()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    cluster.set(1, Behaviour::Well);
    // Somebody else on the same connections.
    assert!(user.with_login(None).call(show.clone()).await.is_ok());
    let wrong = Login {
        password: Secret("wrong".into()),
        ..login
    };
    let refused = user.with_login(Some(wrong)).call(show.clone()).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::NotAuthenticated);
    assert!(
        user.call(show).await.is_ok(),
        "the first one's login is its own"
    );
    // Who never knew any says so.
    cluster.set(1, Behaviour::Mute);
    let mut seeds = cluster.seeds(&[0]);
    seeds.state_file = None;
    let unknown = GrapevineUser::connect_or_recall(seeds, None, patience()).await;
    assert!(matches!(unknown, Err(ConnectError::NoAnswer(_))));
}
