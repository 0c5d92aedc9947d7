//! Watches: nothing is missed, whichever server goes on; nothing is shown that is not to be seen.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Changes, Course, EntryChange, ErrorKind, GroupList, Happened, PostingRule, Quota, Reply,
    Request, Secret, Since, Speaker, WatchEvent, WatchTarget,
};

use crate::harness::{Cluster, add, name, remove, server};

fn registry(text: &str) -> WatchTarget {
    WatchTarget::Registry(text.parse().unwrap())
}

pub(crate) fn entry(text: &str) -> WatchTarget {
    WatchTarget::Entry(name(text))
}

pub(crate) fn watch(target: &WatchTarget, since: Since, wait_ms: u32) -> Request {
    Request::Watch {
        target: target.clone(),
        since,
        wait_ms,
    }
}

fn batch(
    cluster: &mut Cluster,
    at: &str,
    speaker: &Speaker,
    target: &WatchTarget,
    since: Since,
) -> Changes {
    match cluster.ok(at, speaker.clone(), watch(target, since, 0)) {
        Reply::Changes(changes) => changes,
        other => panic!("{other:?}"),
    }
}

/// All events up to now, and the token after them.
pub(crate) fn all(
    cluster: &mut Cluster,
    at: &str,
    speaker: &Speaker,
    target: &WatchTarget,
    since: Since,
) -> (Vec<WatchEvent>, String, bool) {
    let mut events = Vec::new();
    let mut over = false;
    let mut since = since;
    loop {
        let changes = batch(cluster, at, speaker, target, since);
        over |= changes.course != Course::Continues;
        events.extend(changes.events);
        if !changes.more {
            return (events, changes.token, over);
        }
        since = Since::Token(changes.token);
    }
}

pub(crate) fn now(
    cluster: &mut Cluster,
    at: &str,
    speaker: &Speaker,
    target: &WatchTarget,
) -> Since {
    Since::Token(batch(cluster, at, speaker, target, Since::Now).token)
}

pub(crate) fn short(events: &[WatchEvent]) -> Vec<String> {
    let text = |event: &WatchEvent| {
        let name = event
            .name
            .as_ref()
            .map_or("?".to_owned(), ToString::to_string);
        match &event.what {
            Happened::Created { .. } => format!("{name} created"),
            Happened::Deleted => format!("{name} deleted"),
            Happened::Set { field, value } => format!("{name} {field}={value}"),
            Happened::Cleared { field } => format!("{name} {field} cleared"),
            Happened::Added { list, item } => format!("{name} {list}+{item}"),
            Happened::Removed { list, item } => format!("{name} {list}-{item}"),
        }
    };
    events.iter().map(text).collect()
}

#[test]
fn a_watch_is_told_what_changed_since_its_token_and_only_that() {
    let mut cluster = Cluster::new(1);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.group("other^@pa", &[], &[]);
    let who = cluster.login("birrell@pa");
    let since = now(&mut cluster, "s1", &who, &entry("g^@pa"));
    let (nothing, _, _) = all(&mut cluster, "s1", &who, &entry("g^@pa"), since.clone());
    assert_eq!(short(&nothing), Vec::<String>::new());
    for request in [
        add("g^@pa", GroupList::Members, "needham@pa"),
        add("other^@pa", GroupList::Members, "needham@pa"),
        remove("g^@pa", GroupList::Members, "birrell@pa"),
        Request::Change {
            name: name("g^@pa"),
            change: EntryChange::Remark("hello".into()),
        },
    ] {
        cluster.ok("s1", Speaker::Operator, request);
    }
    let (events, token, over) = all(&mut cluster, "s1", &who, &entry("g^@pa"), since);
    assert_eq!(
        short(&events),
        [
            "g^@pa members+needham@pa",
            "g^@pa members-birrell@pa",
            "g^@pa remark=hello"
        ]
    );
    assert!(!over);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Delete {
            name: name("g^@pa"),
        },
    );
    let (events, token, _) = all(
        &mut cluster,
        "s1",
        &who,
        &entry("g^@pa"),
        Since::Token(token),
    );
    assert_eq!(short(&events), ["g^@pa deleted"]);
    let again = watch(&entry("g^@pa"), Since::Token(token.clone()), 0);
    assert_eq!(
        cluster.refused("s1", who.clone(), again),
        ErrorKind::NotFound
    );
    cluster.group("g^@pa", &["needham@pa"], &[]);
    let (events, _, over) = all(
        &mut cluster,
        "s1",
        &who,
        &entry("g^@pa"),
        Since::Token(token),
    );
    assert!(over, "another entry has the name");
    assert!(short(&events).contains(&"g^@pa members+needham@pa".to_owned()));
}

#[test]
fn a_waiting_watch_is_told_at_once_and_otherwise_when_its_time_is_over() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &[], &[]);
    cluster.pass(2_000);
    let who = cluster.login("birrell@pa");
    let target = entry("g^@pa");
    let since = now(&mut cluster, "s2", &who, &target);
    let waits = cluster.begin("s2", who.clone(), watch(&target, since, 10_000));
    cluster.pass(1_000);
    assert!(cluster.result_now(waits).is_none(), "nothing has changed");
    let begun = cluster.now.mono_ms;
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "needham@pa"),
    );
    let Some(Ok(Reply::Changes(told))) = cluster.result_now(waits) else {
        panic!("the change was not told");
    };
    assert_eq!(short(&told.events), ["g^@pa members+needham@pa"]);
    assert!(cluster.now.mono_ms - begun < 100);
    let since = Since::Token(told.token);
    let waits = cluster.begin("s2", who, watch(&target, since, 5_000));
    // What is of no concern does not end it.
    cluster.group("other^@pa", &[], &[]);
    cluster.pass(4_000);
    assert!(cluster.result_now(waits).is_none());
    cluster.pass(1_100);
    let Some(Ok(Reply::Changes(told))) = cluster.result_now(waits) else {
        panic!("its time is over");
    };
    assert_eq!(told.events, []);
}

#[test]
fn what_is_there_comes_in_pages_and_then_what_changed_meanwhile() {
    let mut cluster = Cluster::new(2);
    cluster.group("big^@pa", &[], &[]);
    for n in 0..4_000 {
        cluster.ok(
            "s1",
            Speaker::Operator,
            add(
                "big^@pa",
                GroupList::Members,
                &format!("member{n}@outside.example"),
            ),
        );
    }
    cluster.pass(3_000);
    let who = cluster.login("birrell@pa");
    let target = entry("big^@pa");
    let first = batch(&mut cluster, "s1", &who, &target, Since::Beginning);
    assert!(first.more && matches!(first.course, Course::StartsOver { .. }));
    assert!(first.events.len() < 4_000);
    cluster.ok(
        "s1",
        Speaker::Operator,
        remove("big^@pa", GroupList::Members, "member0@outside.example"),
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("big^@pa", GroupList::Members, "late@outside.example"),
    );
    cluster.pass(2_000);
    // The other half from the other server.
    let (rest, _, over) = all(&mut cluster, "s2", &who, &target, Since::Token(first.token));
    assert!(!over);
    let mut members = BTreeSet::new();
    for event in first.events.into_iter().chain(rest) {
        match event.what {
            Happened::Added { list, item } if list == "members" => members.insert(item),
            Happened::Removed { list, item } if list == "members" => members.remove(&item),
            _ => true,
        };
    }
    assert_eq!(members.len(), 4_000);
    assert!(members.contains("late@outside.example"));
    assert!(!members.contains("member0@outside.example"));
}

#[test]
fn a_watch_goes_on_at_any_server_without_a_gap() {
    let mut cluster = Cluster::new(3);
    cluster.group("g^@pa", &[], &[]);
    cluster.pass(2_000);
    let who = cluster.login("birrell@pa");
    let target = entry("g^@pa");
    let mut since = now(&mut cluster, "s1", &who, &target);
    let mut seen = BTreeSet::new();
    for round in 0..30 {
        // Written at one server and read at another, some of which are behind or gone.
        let at = ["s1", "s2", "s3"][round % 3];
        let down = ["s2", "s3", "s1"][(round / 3) % 3];
        let other = ["s1", "s2", "s3"]
            .into_iter()
            .find(|s| *s != at && *s != down)
            .unwrap();
        cluster.kill(down);
        let writer = if at == down { other } else { at };
        cluster.ok(
            writer,
            Speaker::Operator,
            add(
                "g^@pa",
                GroupList::Members,
                &format!("m{round}@outside.example"),
            ),
        );
        let (events, token, over) = all(&mut cluster, other, &who, &target, since);
        assert!(!over);
        seen.extend(short(&events));
        since = Since::Token(token);
        cluster.start(down, grapevine_core::Start::Resume);
        if round % 4 == 0 {
            cluster.pass(3_000);
        }
    }
    cluster.pass(5_000);
    let (events, _, _) = all(&mut cluster, "s2", &who, &target, since);
    seen.extend(short(&events));
    let wanted: BTreeSet<String> = (0..30)
        .map(|n| format!("g^@pa members+m{n}@outside.example"))
        .collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_server_that_does_not_hold_the_registry_asks_a_holder_and_then_the_next() {
    let mut cluster = Cluster::new(3);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::RegistryCreate {
            registry: "lab".parse().unwrap(),
            holders: vec![server("s1"), server("s2")],
            registrars: vec![name("registrar@pa")],
        },
    );
    cluster.pass(2_000);
    cluster.group("g^@lab", &[], &[]);
    cluster.pass(2_000);
    let who = cluster.login("birrell@pa");
    let target = entry("g^@lab");
    let since = now(&mut cluster, "s3", &who, &target);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g^@lab", GroupList::Members, "needham@pa"),
    );
    let (events, token, _) = all(&mut cluster, "s3", &who, &target, since);
    assert_eq!(short(&events), ["g^@lab members+needham@pa"]);
    cluster.kill("s1");
    let waits = cluster.begin("s3", who, watch(&target, Since::Token(token), 10_000));
    cluster.pass(500);
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@lab", GroupList::Members, "birrell@pa"),
    );
    cluster.pass(10_000);
    let Some(Ok(Reply::Changes(told))) = cluster.result_now(waits) else {
        panic!("no answer");
    };
    assert_eq!(short(&told.events), ["g^@lab members+birrell@pa"]);
}

#[test]
fn nobody_watches_what_he_may_not_see_and_a_right_taken_away_ends_it() {
    let mut cluster = Cluster::new(1);
    cluster.group("g^@pa", &[], &[]);
    let (pa, group) = (registry("pa"), entry("g^@pa"));
    let registrar = cluster.login("registrar@pa");
    let birrell = cluster.login("birrell@pa");
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, watch(&group, Since::Now, 0)),
        ErrorKind::NotAuthenticated
    );
    assert_eq!(
        cluster.refused("s1", birrell.clone(), watch(&pa, Since::Beginning, 0)),
        ErrorKind::NotAllowed
    );
    // A token gives no right.
    let since = now(&mut cluster, "s1", &registrar, &pa);
    assert_eq!(
        cluster.refused("s1", birrell.clone(), watch(&pa, since.clone(), 0)),
        ErrorKind::NotAllowed
    );
    let waits = cluster.begin("s1", registrar.clone(), watch(&pa, since, 10_000));
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("pa@gv", GroupList::Owners, "birrell@pa"),
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        remove("pa@gv", GroupList::Owners, "registrar@pa"),
    );
    cluster.pump();
    assert!(
        matches!(cluster.result_now(waits), Some(Err(refusal)) if refusal.kind == ErrorKind::NotAllowed)
    );
    let since = now(&mut cluster, "s1", &birrell, &group);
    let waits = cluster.begin("s1", birrell, watch(&group, since.clone(), 10_000));
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Delete {
            name: name("birrell@pa"),
        },
    );
    cluster.pass(10_100);
    assert!(
        matches!(cluster.result_now(waits), Some(Err(refusal)) if refusal.kind == ErrorKind::NotAuthenticated)
    );
}

#[test]
fn no_secret_is_ever_an_event() {
    let mut cluster = Cluster::new(1);
    let registrar = cluster.login("registrar@pa");
    let since = now(&mut cluster, "s1", &registrar, &registry("pa"));
    cluster.ok(
        "s1",
        registrar.clone(),
        Request::Change {
            name: name("birrell@pa"),
            change: EntryChange::Password(Secret("hash of new".into())),
        },
    );
    let (changed, _, _) = all(&mut cluster, "s1", &registrar, &registry("pa"), since);
    assert_eq!(changed, []);
    for target in [registry("pa"), registry("gv")] {
        let (there, _, _) = all(
            &mut cluster,
            "s1",
            &Speaker::Operator,
            &target,
            Since::Beginning,
        );
        assert!(!there.is_empty());
        let shown = format!("{there:?}");
        assert!(!shown.contains("hash of"), "{shown}");
    }
}

#[test]
fn a_token_stranger_life_starts_over_and_a_bad_one_is_refused() {
    let mut cluster = Cluster::new(1);
    let mut other = Cluster::new(2);
    let registrar = cluster.login("registrar@pa");
    // Of the same name, in another Grapevine.
    let stranger = now(&mut other, "s2", &Speaker::Operator, &registry("pa"));
    let (events, token, over) = all(&mut cluster, "s1", &registrar, &registry("pa"), stranger);
    assert!(over);
    let created: BTreeMap<_, _> = events
        .iter()
        .filter(|event| matches!(event.what, Happened::Created { .. }))
        .map(|event| (event.name.clone().unwrap().to_string(), ()))
        .collect();
    assert_eq!(
        created.into_keys().collect::<Vec<_>>(),
        ["birrell@pa", "needham@pa", "registrar@pa"]
    );
    for bad in [
        "".to_owned(),
        "token".to_owned(),
        token[1..].to_owned(),
        "A".repeat(70_000),
    ] {
        let request = watch(&registry("pa"), Since::Token(bad), 0);
        assert_eq!(
            cluster.refused("s1", registrar.clone(), request),
            ErrorKind::Invalid
        );
    }
    let mixed = watch(&entry("birrell@pa"), Since::Token(token), 0);
    assert_eq!(cluster.refused("s1", registrar, mixed), ErrorKind::Invalid);
    let nobody = watch(&entry("nobody@pa"), Since::Now, 0);
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, nobody),
        ErrorKind::NotFound
    );
}

#[test]
fn one_speaker_waits_for_so_many_things_and_no_more() {
    let mut cluster = Cluster::new(1);
    let who = cluster.login("birrell@pa");
    let target = entry("needham@pa");
    let since = now(&mut cluster, "s1", &who, &target);
    let waiting: Vec<_> = (0..256)
        .map(|_| cluster.begin("s1", who.clone(), watch(&target, since.clone(), 10_000)))
        .collect();
    cluster.pump();
    assert!(waiting.iter().all(|id| cluster.result_now(*id).is_none()));
    assert_eq!(
        cluster.refused("s1", who.clone(), watch(&target, since.clone(), 10_000)),
        ErrorKind::TooLarge
    );
    cluster.pass(10_100);
    for id in waiting {
        assert!(matches!(
            cluster.result_now(id),
            Some(Ok(Reply::Changes(_)))
        ));
    }
    let waits = cluster.begin("s1", who, watch(&target, since, 10_000));
    cluster.pump();
    assert!(cluster.result_now(waits).is_none(), "there is room again");
}

#[test]
fn what_is_decided_about_an_entry_is_told_as_on_the_command_line() {
    let mut cluster = Cluster::new(1);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    let registrar = cluster.login("registrar@pa");
    let target = registry("pa");
    let since = now(&mut cluster, "s1", &registrar, &target);
    let change = |who: &str, change| Request::Change {
        name: name(who),
        change,
    };
    let quota = |octets, messages| EntryChange::Quota(Quota { octets, messages });
    for request in [
        change("g^@pa", EntryChange::Posting(PostingRule::Members)),
        change(
            "g^@pa",
            EntryChange::Posting(PostingRule::Group(name("g^@pa"))),
        ),
        change("birrell@pa", quota(Some(1_000), Some(5))),
        change("needham@pa", quota(None, None)),
        change("g^@pa", EntryChange::Rename(name("h^@pa"))),
    ] {
        cluster.ok("s1", Speaker::Operator, request);
    }
    let (events, token, _) = all(&mut cluster, "s1", &registrar, &target, since);
    let told: BTreeSet<String> = short(&events).into_iter().collect();
    for wanted in [
        "h^@pa posting=g^@pa",
        "birrell@pa quota=octets=1000 messages=5",
        "needham@pa quota cleared",
        "h^@pa former+g^",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told:?}");
    }
    let forget = change("h^@pa", EntryChange::FormerRemove(name("g^@pa")));
    cluster.ok("s1", Speaker::Operator, forget);
    let since = Since::Token(token);
    let (events, _, _) = all(&mut cluster, "s1", &registrar, &target, since);
    assert_eq!(short(&events), ["h^@pa former-g^"]);
}
