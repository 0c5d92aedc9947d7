//! Mail so old that mailboxes may have forgotten its deletion, handed to a server that has only just become a site.

use grapevine_core::{Effect, Input};
use grapevine_model::{
    DepositFor, DepositOutcome, EntryChange, Incarnation, MessageId, PeerMessage, Reply, Request,
    Speaker,
};

use crate::harness::{Cluster, body, name, server, times};

/// Mail is tried for so long, and a silent server waited for.
const PATIENCE_MS: u64 = 20_000;
const TEXT: &str = "for both";

fn sites(cluster: &mut Cluster, who: &str, at: &[&str]) {
    let change = Request::Change {
        name: name(who),
        change: EntryChange::Sites(at.iter().map(|at| server(at)).collect()),
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(3_000);
}

/// What the third server answers when the fourth wants an old message in ann's inbox there.
fn deposit(
    cluster: &mut Cluster,
    inbox: Incarnation,
    message: MessageId,
) -> Option<DepositOutcome> {
    let wanted = DepositFor {
        inbox,
        name: name("ann@pa"),
        sites: vec![server("s2"), server("s3")],
        list: None,
        envelope: None,
    };
    let said = cluster.effects.len();
    let input = Input::Peer {
        from: server("s4"),
        message: PeerMessage::Deposit {
            message,
            body: body(TEXT),
            inboxes: vec![wanted],
        },
        staged: None,
    };
    cluster.input(&server("s3"), input);
    cluster.pump();
    cluster.effects[said..]
        .iter()
        .find_map(|(at, effect)| match effect {
            Effect::Send { to, message } if *at == server("s3") && *to == server("s4") => {
                match message.bare() {
                    PeerMessage::Deposited { outcomes, .. } => outcomes
                        .iter()
                        .find(|(whose, _)| *whose == inbox)
                        .map(|(_, outcome)| outcome.clone()),
                    _ => None,
                }
            }
            _ => None,
        })
}

#[test]
fn a_new_site_of_a_mailbox_does_not_bring_back_what_the_others_have_forgotten_that_it_was_deleted()
{
    let mut cluster = Cluster::with(
        4,
        grapevine_core::Times {
            give_up_ms: PATIENCE_MS,
            retention_ms: PATIENCE_MS,
            tombstone_ms: 0,
            ..times()
        },
    );
    cluster.individual("ann@pa");
    cluster.individual("bob@pa");
    sites(&mut cluster, "ann@pa", &["s1", "s2"]);
    sites(&mut cluster, "bob@pa", &["s3", "s4"]);
    let message = cluster.submit("s1", "birrell@pa", &["ann@pa", "bob@pa"], TEXT);
    cluster.pass(3_000);
    let delete = Request::InboxDelete {
        name: name("ann@pa"),
        messages: vec![message],
    };
    let list = Request::InboxList {
        name: name("ann@pa"),
    };
    let Reply::Inbox(listing) = cluster.ok("s1", Speaker::Operator, list) else {
        panic!("no inbox")
    };
    let ann = listing.incarnation;
    assert_eq!(cluster.inbox("s1", "ann@pa"), [message]);
    cluster.ok("s1", Speaker::Operator, delete);
    // Long enough for the deletion to be forgotten, by both sites.
    cluster.pass(5 * PATIENCE_MS);

    // Another server becomes a site, and cannot hear yet what the old one has.
    cluster.part("s3", "s1");
    cluster.part("s3", "s2");
    sites(&mut cluster, "ann@pa", &["s2", "s3"]);
    let said = deposit(&mut cluster, ann, message);
    assert!(
        matches!(&said, Some(DepositOutcome::Later(why)) if why.contains("other sites")),
        "{said:?}"
    );
    assert_eq!(cluster.inbox("s3", "ann@pa"), []);

    // It has heard: the message is older than what they remember, and stays away.
    cluster.broken.clear();
    cluster.pass(10_000);
    let said = deposit(&mut cluster, ann, message);
    assert!(
        matches!(&said, Some(DepositOutcome::Later(why)) if why.contains("so old")),
        "{said:?}"
    );
    // New mail comes as always.
    let new = cluster.submit("s4", "birrell@pa", &["ann@pa"], "new");
    cluster.pass(10_000);
    for at in ["s2", "s3"] {
        assert_eq!(cluster.inbox(at, "ann@pa"), [new], "{at}");
    }
}
