//! The oracle sees what it is there to see: each kind of wrong, shown to it.

use std::collections::BTreeSet;
use std::time::Instant;

use grapevine_model::{Hlc, OriginId, Stamp};

use super::{Fate, Found, Key, Message, Oracle, WriteFate, Yes};

const OWNER: &str = "p0@pa.example";
const BODY: &[u8] = b"X-Torture: c0-1\r\nSubject: c0-1\r\n\r\nhello\r\n";

fn yes(copies: u8) -> Yes {
    Yes {
        copies: Some(copies),
        lost_before: 0,
    }
}

/// One message to one person, with this fate.
fn told(fate: Fate) -> Oracle {
    let mut oracle = Oracle::default();
    let message = Message {
        from: "p1@pa.example".to_owned(),
        must: BTreeSet::from([OWNER.to_owned()]),
        ghosts: BTreeSet::new(),
        digest: *blake3::hash(BODY).as_bytes(),
        fate: Fate::Unknown,
        asked: Instant::now(),
    };
    oracle.sends("c0-1", message);
    oracle.sent("c0-1", fate, None);
    oracle
}

fn sees(oracle: &mut Oracle, owner: &str, id: &str, bytes: &[u8]) -> Option<String> {
    let found = Found {
        id,
        bytes: Some(bytes),
    };
    oracle.found(owner, &found)
}

#[track_caller]
fn assert_one(oracle: &Oracle, part: &str) {
    assert_eq!(oracle.violations.len(), 1, "{:?}", oracle.violations);
    assert!(
        oracle.violations.iter().all(|what| what.contains(part)),
        "{:?}",
        oracle.violations
    );
}

#[test]
fn what_is_right_is_no_violation() {
    let mut oracle = told(Fate::Accepted(yes(2)));
    let traced = [b"Received: from a (b)\r\n\tby c\r\n", BODY].concat();
    let token = sees(&mut oracle, OWNER, "17", &traced);
    assert_eq!(token.as_deref(), Some("c0-1"));
    oracle.settled("s1", OWNER, &token.into_iter().collect());
    // Not accepted: it may be nowhere.
    told(Fate::Unknown).settled("s1", OWNER, &BTreeSet::new());
    assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);
}

#[test]
fn a_lost_a_doubled_a_changed_and_a_stray_message_are_seen() {
    let mut oracle = told(Fate::Accepted(yes(2)));
    oracle.settled("s1", OWNER, &BTreeSet::new());
    assert_one(&oracle, "lacks c0-1");

    let mut oracle = told(Fate::Accepted(yes(2)));
    sees(&mut oracle, OWNER, "17", BODY);
    sees(&mut oracle, OWNER, "18", BODY);
    assert_one(&oracle, "twice");

    let mut oracle = told(Fate::Accepted(yes(2)));
    sees(&mut oracle, OWNER, "17", &[BODY, b"."].concat());
    assert_one(&oracle, "byte for byte");

    let mut oracle = told(Fate::Accepted(yes(2)));
    sees(
        &mut oracle,
        OWNER,
        "17",
        &[b"Bcc: everybody\r\n", BODY].concat(),
    );
    assert_one(&oracle, "stands");

    let mut oracle = told(Fate::Accepted(yes(2)));
    sees(&mut oracle, "p2@pa.example", "17", BODY);
    assert_one(&oracle, "not for him");

    let mut oracle = told(Fate::Refused);
    sees(&mut oracle, OWNER, "17", BODY);
    assert_one(&oracle, "refused");

    let mut oracle = told(Fate::Accepted(yes(2)));
    sees(&mut oracle, OWNER, "17", b"Subject: buy\r\n\r\nnow\r\n");
    assert_one(&oracle, "nobody sent");
}

#[test]
fn one_copy_may_be_lost_with_its_disk_and_two_may_not() {
    for (copies, violations) in [(1, 0), (2, 1)] {
        let mut oracle = told(Fate::Accepted(yes(copies)));
        oracle.lost = 1;
        oracle.settled("s1", OWNER, &BTreeSet::new());
        assert_eq!(
            oracle.violations.len(),
            violations,
            "{:?}",
            oracle.violations
        );
    }
}

#[test]
fn a_deleted_message_that_is_there_again_is_seen() {
    let mut oracle = told(Fate::Accepted(yes(2)));
    let tokens = ["c0-1".to_owned()];
    oracle.deletes(OWNER, &tokens);
    // Not acknowledged: it may be there.
    oracle.settled("s1", OWNER, &tokens.iter().cloned().collect());
    assert!(oracle.violations.is_empty());
    oracle.deleted(OWNER, &tokens, yes(2));
    oracle.settled("s1", OWNER, &tokens.iter().cloned().collect());
    assert_one(&oracle, "again");
}

#[test]
fn an_explanation_excuses_for_nobody_only_and_must_come_for_him() {
    let report = "Content-Type: multipart/report\r\n\r\nFinal-Recipient: rfc822; ghost@pa.example\r\nAction: failed\r\n\r\nX-Torture: c0-1\r\n";
    let ghosts = BTreeSet::from(["ghost@pa.example".to_owned()]);
    let mut oracle = told(Fate::Accepted(yes(2)));
    oracle.sent(
        "c0-1",
        Fate::Accepted(yes(2)),
        Some((BTreeSet::new(), ghosts)),
    );
    oracle.explained();
    assert_one(&oracle, "never told");
    oracle.violations.clear();
    sees(&mut oracle, "p1@pa.example", "19", report.as_bytes());
    oracle.explained();
    assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);

    // The same about somebody who is there.
    let mut oracle = told(Fate::Accepted(yes(2)));
    let wrong = report.replace("ghost@pa.example", OWNER);
    sees(&mut oracle, "p1@pa.example", "19", wrong.as_bytes());
    assert_one(&oracle, "who exists");
}

#[test]
fn the_last_acknowledged_write_stands_and_a_denied_one_never_does() {
    let stamp = |time| Stamp {
        time: Hlc(time),
        origin: OriginId(1),
    };
    let key = Key::Member(
        "club^@pa.example".to_owned(),
        "m@outside.example".to_owned(),
    );
    let mut oracle = Oracle::default();
    let first = oracle.writes(&key, "in");
    oracle.written(&key, first, WriteFate::Done(Some(stamp(1)), yes(2)));
    oracle.stands("s1", &key, "in");
    let second = oracle.writes(&key, "out");
    oracle.stands("s1", &key, "in");
    oracle.stands("s1", &key, "out");
    assert!(oracle.violations.is_empty(), "unknown is neither");
    oracle.written(&key, second, WriteFate::Done(Some(stamp(2)), yes(2)));
    oracle.stands("s1", &key, "in");
    assert_one(&oracle, "is \"in\"");

    let mut oracle = Oracle::default();
    let denied = oracle.writes(&key, "in");
    oracle.written(&key, denied, WriteFate::Refused);
    oracle.stands("s1", &key, "out");
    assert!(oracle.violations.is_empty());
    oracle.stands("s1", &key, "in");
    assert_one(&oracle, "is \"in\"");
}

#[test]
fn a_word_that_nothing_had_to_be_done_is_outdated_by_a_later_change() {
    let mut oracle = Oracle::default();
    let key = Key::Member(
        "club^@pa.example".to_owned(),
        "m1@outside.example".to_owned(),
    );
    let stamp = |time| Stamp {
        time: Hlc(time),
        origin: OriginId(1),
    };
    for (value, fate) in [
        ("in", WriteFate::Done(Some(stamp(1)), yes(2))),
        ("in", WriteFate::Done(None, yes(2))),
        ("out", WriteFate::Done(Some(stamp(2)), yes(2))),
    ] {
        let attempt = oracle.writes(&key, value);
        oracle.written(&key, attempt, fate);
    }
    oracle.stands("s1", &key, "out");
    assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);
    oracle.stands("s1", &key, "in");
    assert_one(&oracle, "after 3 writes");
}
