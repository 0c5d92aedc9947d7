//! Mail that is meant to hurt: endless lists, an envelope for everybody, a deposit at the wrong server, a server that nobody knows.

use grapevine_core::{Effect, Input};
use grapevine_model::{
    DepositFor, DepositOutcome, EntryChange, ErrorKind, GroupList, Incarnation, MAX_RECIPIENTS,
    PeerMessage, Reply, Request, Speaker,
};

use crate::harness::{Cluster, add, body, name, server};

fn mailboxes(cluster: &mut Cluster, at: &str) -> u64 {
    match cluster.ok(at, Speaker::Operator, Request::Status) {
        Reply::Status(status) => status.mailboxes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_that_contains_itself_gives_its_members_one_copy() {
    let mut cluster = Cluster::new(2);
    cluster.group("self^@pa", &["needham@pa"], &[]);
    let itself = add("self^@pa", GroupList::Members, "self^@pa");
    cluster.ok("s1", Speaker::Operator, itself);
    let message = cluster.submit("s2", "birrell@pa", &["self^@pa"], "hello");
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
    assert!(cluster.reports.is_empty());
    cluster.assert_settled();
}

#[test]
fn a_server_that_says_it_has_forgotten_the_future_puts_nobodys_copy_off() {
    let mut cluster = Cluster::new(2);
    let mut floor = grapevine_model::VersionVector::default();
    floor.raise(
        grapevine_model::OriginId(77),
        grapevine_model::Hlc(u64::MAX),
    );
    for registry in ["gv", "pa"] {
        let lie = Input::Peer {
            from: server("s2"),
            message: PeerMessage::Refresh {
                space: grapevine_model::SpaceId::Registry(registry.parse().unwrap()),
                floor: floor.clone(),
            },
            staged: None,
        };
        cluster.input(&server("s1"), lie);
        // Before the other one could be asked for a copy.
        let Reply::Status(status) = cluster.ok("s1", Speaker::Operator, Request::Status) else {
            panic!("no status")
        };
        assert!(status.fetching.is_empty(), "{:?}", status.fetching);
    }
    cluster.kill("s2");
    cluster.individual("late@pa");
    let message = cluster.submit("s1", "birrell@pa", &["late@pa"], "hello");
    cluster.pass(10_000);
    assert_eq!(cluster.inbox("s1", "late@pa"), [message]);
}

#[test]
fn ten_lists_in_a_ring_over_two_registries_give_each_member_one_copy() {
    const LISTS: usize = 10;
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s2"), server("s3")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("hertz@es");
    let list = |n: usize| {
        let registry = if n.is_multiple_of(2) { "pa" } else { "es" };
        format!("ring{n}^@{registry}")
    };
    for n in 0..LISTS {
        cluster.group(&list(n), &["needham@pa", "hertz@es"], &[]);
    }
    for n in 0..LISTS {
        let next = list((n + 1) % LISTS);
        let request = add(&list(n), GroupList::Members, &next);
        cluster.ok("s2", Speaker::Operator, request);
    }
    cluster.pass(2_000);
    let message = cluster.submit("s1", "birrell@pa", &[&list(0)], "round and round");
    cluster.pass(60_000);
    for who in ["needham@pa", "hertz@es"] {
        assert_eq!(cluster.inbox("s1", who), [message], "{who}");
    }
    assert!(cluster.reports.is_empty(), "{:?}", cluster.reports);
    cluster.assert_settled();
}

#[test]
fn an_envelope_for_a_hundred_thousand_is_refused_with_the_limit_and_nothing_of_it_is_kept() {
    const MANY: usize = 100_000;
    let mut cluster = Cluster::new(2);
    let speaker = cluster.login("birrell@pa");
    for many in [MANY, MAX_RECIPIENTS + 1] {
        let to: Vec<String> = (0..many).map(|n| format!("r{n}@pa")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let request = cluster.begin_submit(
            "s1",
            speaker.clone(),
            Some("birrell@pa"),
            &to,
            "to everybody",
            None,
        );
        let refusal = cluster.result(request).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::TooLarge, "{refusal:?}");
        assert!(
            refusal.why.contains(&MAX_RECIPIENTS.to_string()),
            "{refusal:?}"
        );
    }
    cluster.pass(3_000);
    assert!(cluster.nodes[&server("s1")].bodies.is_empty());
    assert!(cluster.nodes[&server("s1")].staged.is_empty());
    cluster.assert_settled();
}

#[test]
fn a_deposit_at_a_server_that_is_no_inbox_site_is_not_taken_whatever_its_sender_claims() {
    let mut cluster = Cluster::new(3);
    let sites = |who: &str, sites: &[&str]| Request::Change {
        name: name(who),
        change: EntryChange::Sites(sites.iter().map(|site| server(site)).collect()),
    };
    cluster.ok("s1", Speaker::Operator, sites("needham@pa", &["s1", "s2"]));
    cluster.ok("s1", Speaker::Operator, sites("birrell@pa", &["s3"]));
    cluster.pass(3_000);
    // Its body is at s3, as a part of a message that is there by right.
    let message = cluster.submit("s3", "birrell@pa", &["birrell@pa"], "hello");
    cluster.pass(3_000);
    let Reply::Inbox(listing) = cluster.ok(
        "s1",
        Speaker::Operator,
        Request::InboxList {
            name: name("needham@pa"),
        },
    ) else {
        panic!("no inbox")
    };
    let before = mailboxes(&mut cluster, "s3");
    cluster.effects.clear();
    let unknown = Incarnation(7);
    let inboxes = [listing.incarnation, unknown].map(|inbox| DepositFor {
        inbox,
        name: name("needham@pa"),
        sites: vec![server("s3")],
        list: None,
        envelope: None,
    });
    let forged = Input::Peer {
        from: server("s2"),
        message: PeerMessage::Deposit {
            message,
            body: body("hello"),
            inboxes: inboxes.to_vec(),
        },
        staged: None,
    };
    cluster.input(&server("s3"), forged);
    cluster.pass(3_000);
    let outcomes: Vec<DepositOutcome> = (cluster.effects.iter())
        .filter(|(at, _)| *at == server("s3"))
        .filter_map(|(_, effect)| match effect {
            Effect::Send {
                message: PeerMessage::Deposited { outcomes, .. },
                ..
            } => Some(outcomes.iter().map(|(_, outcome)| outcome.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(outcomes, [DepositOutcome::NotHere, DepositOutcome::NotHere]);
    assert_eq!(mailboxes(&mut cluster, "s3"), before);
    for at in ["s1", "s2", "s3"] {
        assert!(cluster.inbox(at, "needham@pa").is_empty(), "at {at}");
    }
}

#[test]
fn who_is_no_server_of_ours_is_not_heard_whatever_he_says() {
    let mut cluster = Cluster::new(2);
    let message = cluster.submit("s1", "birrell@pa", &["birrell@pa"], "hello");
    cluster.pass(3_000);
    cluster.effects.clear();
    let said = [
        PeerMessage::Haves(Vec::new()),
        PeerMessage::Deposit {
            message,
            body: body("hello"),
            inboxes: Vec::new(),
        },
        PeerMessage::Forward {
            id: 1,
            speaker: Speaker::Operator,
            request: Request::Delete {
                name: name("needham@pa"),
            },
            seen: Vec::new(),
            nothing_at: Vec::new(),
        },
        PeerMessage::CustodyEnded {
            origin: message.origin,
            messages: vec![message],
        },
    ];
    for message in said {
        let stranger = Input::Peer {
            from: server("s9"),
            message,
            staged: None,
        };
        cluster.input(&server("s1"), stranger);
    }
    cluster.pass(3_000);
    let answered = |(_, effect): &(_, Effect)| matches!(effect, Effect::Send { to, .. } if *to == server("s9"));
    assert!(!cluster.effects.iter().any(answered));
    let request = Request::Show {
        name: name("needham@pa"),
    };
    cluster.ok("s1", Speaker::Operator, request);
}
