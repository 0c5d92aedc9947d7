//! Recipients that servers hand to each other, and what their deputies know of them: whatever order words come in,
//! somebody keeps each.

use grapevine_core::{DiskRoom, Effect, Input, Start};
use grapevine_model::{
    CustodyRecord, EntryChange, GroupList, MessageId, PeerMessage, Request, Speaker,
};

use crate::harness::{Cluster, add, name, server};

/// What one server has said to another, in order.
fn said(cluster: &Cluster, from: &str, to: &str) -> Vec<PeerMessage> {
    let (by, whom) = (server(from), server(to));
    let sent = cluster.effects.iter().filter(|(at, _)| *at == by);
    let sent = sent.filter_map(|(_, effect)| match effect {
        Effect::Send { to, message } if *to == whom => Some(message.clone()),
        _ => None,
    });
    sent.map(|message| match message {
        PeerMessage::About { message, .. } => *message,
        message => message,
    })
    .collect()
}

fn hear(cluster: &mut Cluster, at: &str, from: &str, message: PeerMessage) {
    let input = Input::Peer {
        from: server(from),
        message,
        staged: None,
    };
    cluster.input(&server(at), input);
    cluster.pump();
}

#[test]
fn an_older_record_of_custody_takes_no_recipient_away() {
    let mut cluster = Cluster::new(3);
    for who in ["ann@pa", "bob@pa"] {
        cluster.individual(who);
        let change = EntryChange::Sites(vec![server("s3")]);
        let name = name(who);
        cluster.ok("s1", Speaker::Operator, Request::Change { name, change });
    }
    cluster.pass(3_000);
    cluster.kill("s3");
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["ann@pa", "bob@pa"], "hello");
    let records = said(&cluster, "s1", "s2").into_iter();
    let whole: CustodyRecord = records
        .filter_map(|message| match message {
            PeerMessage::Custody(record) => Some(record),
            _ => None,
        })
        .next_back()
        .unwrap();
    assert_eq!(whole.envelope.recipients.len(), 2);
    let mut older = whole;
    older.envelope.recipients.truncate(1);
    cluster.effects.clear();
    hear(&mut cluster, "s2", "s1", PeerMessage::Custody(older));
    let answers = said(&cluster, "s2", "s1");
    let held = |n| PeerMessage::CustodyHeld {
        message,
        recipients: Some(n),
    };
    assert!(answers.contains(&held(2)), "{answers:?}");
    cluster.alarms_expected = true;
    cluster.kill("s1");
    cluster.pass(60_000);
    cluster.start("s3", Start::Resume);
    cluster.pass(60_000);
    for who in ["ann@pa", "bob@pa"] {
        assert_eq!(cluster.inbox("s3", who), [message], "{who}");
    }
}

/// Found by the simulator: the deputy had taken over from a custodian that was cut off, and was done with what then came
/// back to the custodian; that one took the deputy's word of long ago, said yes, and was destroyed.
#[test]
fn a_custodian_asks_its_deputy_anew_before_it_takes_back_what_it_had() {
    let mut cluster = Cluster::new(3);
    cluster.individual("ann@pa");
    let change = EntryChange::Sites(vec![server("s3")]);
    let ann = name("ann@pa");
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Change { name: ann, change },
    );
    cluster.pass(3_000);
    cluster.kill("s3");
    cluster.effects.clear();
    let message = cluster.submit("s1", "birrell@pa", &["ann@pa"], "hello");
    let records = said(&cluster, "s1", "s2").into_iter();
    let mut back: CustodyRecord = records
        .filter_map(|message| match message {
            PeerMessage::Custody(record) => Some(record),
            _ => None,
        })
        .next_back()
        .unwrap();
    back.custodian = server("s2");
    let ended = PeerMessage::CustodyEnded {
        origin: back.origin,
        messages: vec![message],
    };
    hear(&mut cluster, "s2", "s1", ended);
    cluster.effects.clear();
    hear(&mut cluster, "s1", "s2", PeerMessage::Hand(back));
    let words = said(&cluster, "s1", "s2");
    let at = |is: fn(&PeerMessage) -> bool| words.iter().position(is);
    let asked = at(|word| matches!(word, PeerMessage::Custody(_)));
    let handed = at(|word| matches!(word, PeerMessage::Handed { .. }));
    assert!(asked.is_some() && asked < handed, "{words:?}");
    cluster.alarms_expected = true;
    cluster.kill("s1");
    cluster.pass(60_000);
    cluster.start("s3", Start::Resume);
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s3", "ann@pa"), [message]);
}

#[test]
fn the_answer_to_an_older_record_of_custody_is_not_taken_for_that_to_a_newer_one() {
    let mut cluster = Cluster::new(2);
    let speaker = cluster.login("birrell@pa");
    cluster.cut.insert(server("s2"));
    let to = ["needham@pa", "birrell@pa"];
    let request = cluster.begin_submit("s1", speaker, Some("birrell@pa"), &to, "hello", None);
    cluster.pump();
    let records = said(&cluster, "s1", "s2").into_iter();
    let message: MessageId = records
        .filter_map(|message| match message {
            PeerMessage::Custody(record) => Some(record.message),
            _ => None,
        })
        .next_back()
        .unwrap();
    let held = |recipients| PeerMessage::CustodyHeld {
        message,
        recipients,
    };
    hear(&mut cluster, "s1", "s2", held(Some(1)));
    assert!(!cluster.replies.contains_key(&request), "of one of two");
    hear(&mut cluster, "s1", "s2", held(Some(2)));
    assert!(cluster.replies[&request].is_ok());
}

/// Found by the simulator: each heard that the other one had it, and nobody had.
#[test]
fn of_two_servers_that_hand_a_recipient_to_each_other_one_keeps_it() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "far".parse().unwrap(),
        holders: vec![server("s2")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(3_000);
    cluster.group("all^@far", &[], &[]);
    let member = add("all^@far", GroupList::Members, "needham@pa");
    cluster.ok("s1", Speaker::Operator, member);
    cluster.pass(3_000);
    // So that it is known here what the name is.
    let first = cluster.submit("s1", "birrell@pa", &["all^@far"], "hello");
    cluster.pass(3_000);
    cluster.effects.clear();
    cluster.part("s1", "s2");
    let message = cluster.submit("s1", "birrell@pa", &["all^@far"], "again");
    let hands = |cluster: &Cluster| -> Vec<CustodyRecord> {
        let said = said(cluster, "s1", "s2").into_iter();
        said.filter_map(|message| match message {
            PeerMessage::Hand(record) => Some(record),
            _ => None,
        })
        .collect()
    };
    let mut back = hands(&cluster).pop().unwrap();
    back.custodian = server("s2");
    hear(&mut cluster, "s1", "s2", PeerMessage::Hand(back));
    let is_handed = |message: &PeerMessage| matches!(message, PeerMessage::Handed { .. });
    assert!(!said(&cluster, "s1", "s2").iter().any(is_handed));
    cluster.broken.clear();
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [first, message]);
    cluster.assert_settled();
}

/// Found by the simulator: what was on two disks was handed to a server that found no second one, and was destroyed.
#[test]
fn what_is_on_two_disks_is_handed_over_to_two() {
    let mut cluster = Cluster::new(3);
    let create = Request::RegistryCreate {
        registry: "far".parse().unwrap(),
        holders: vec![server("s2")],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(3_000);
    cluster.individual("ann@pa");
    cluster.group("all^@far", &[], &[]);
    let sites = Request::Change {
        name: name("ann@pa"),
        change: EntryChange::Sites(vec![server("s3")]),
    };
    for change in [sites, add("all^@far", GroupList::Members, "ann@pa")] {
        cluster.ok("s1", Speaker::Operator, change);
        cluster.pass(3_000);
    }
    cluster.alarms_expected = true;
    cluster.part("s1", "s2");
    cluster.part("s2", "s3");
    let message = cluster.submit("s1", "birrell@pa", &["all^@far"], "hello");
    // From now on s1 is nobody's deputy, and s2 finds no other one.
    cluster.input(&server("s1"), Input::DiskRoom(DiskRoom::NearlyFull));
    cluster.pass(3_000);
    cluster.effects.clear();
    cluster.broken.clear();
    cluster.cut.insert(server("s3"));
    cluster.pass(90_000);
    let hands = |word: &PeerMessage| matches!(word, PeerMessage::Hand(_));
    assert!(said(&cluster, "s1", "s2").iter().any(hands));
    let handed = |word: &PeerMessage| matches!(word, PeerMessage::Handed { .. });
    assert!(!said(&cluster, "s2", "s1").iter().any(handed));
    cluster.cut.clear();
    cluster.input(&server("s1"), Input::DiskRoom(DiskRoom::Enough));
    cluster.pass(120_000);
    assert!(said(&cluster, "s2", "s1").iter().any(handed));
    assert_eq!(cluster.inbox("s3", "ann@pa"), [message]);
}
