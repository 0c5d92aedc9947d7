//! Who may post to a group: at the door, by submission, and where nested groups are expanded.

use grapevine_model::{EntryChange, ErrorKind, GroupList, PostingRule, Reply, Request, Speaker};

use crate::harness::{Cluster, add, name};

fn rule(group: &str, rule: PostingRule) -> Request {
    Request::Change {
        name: name(group),
        change: EntryChange::Posting(rule),
    }
}

/// `g^@pa` with a member and an owner; `es` at the third server alone, with `far^@es`.
fn groups() -> Cluster {
    let mut cluster = Cluster::new(3);
    for who in ["member@pa", "owner@pa", "stranger@pa"] {
        cluster.individual(who);
    }
    cluster.group("g^@pa", &["member@pa"], &["owner@pa"]);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec!["s3".parse().unwrap()],
        registrars: vec![name("registrar@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.group("far^@es", &["needham@pa"], &["owner@pa"]);
    cluster.pass(2_000);
    cluster
}

#[test]
fn each_rule_lets_in_whom_it_says_and_always_the_owners() {
    let mut cluster = groups();
    cluster.group("posters^@pa", &["stranger@pa"], &[]);
    let speakers: Vec<(&str, Speaker)> = ["member@pa", "owner@pa", "stranger@pa", "needham@pa"]
        .into_iter()
        .map(|who| (who, cluster.login(who)))
        .chain([("nobody", Speaker::Anonymous)])
        .collect();
    let table: [(PostingRule, &[&str]); 5] = [
        (
            PostingRule::Anyone,
            &[
                "member@pa",
                "owner@pa",
                "stranger@pa",
                "needham@pa",
                "nobody",
            ],
        ),
        (
            PostingRule::Authenticated,
            &["member@pa", "owner@pa", "stranger@pa", "needham@pa"],
        ),
        (PostingRule::Members, &["member@pa", "owner@pa"]),
        (PostingRule::Owners, &["owner@pa"]),
        (
            PostingRule::Group(name("posters^@pa")),
            &["owner@pa", "stranger@pa"],
        ),
    ];
    for (group, members) in [("g^@pa", "member@pa"), ("far^@es", "needham@pa")] {
        for (posting, allowed) in &table {
            let owner = cluster.login("owner@pa");
            cluster.ok("s2", owner, rule(group, posting.clone()));
            // A server that does not hold the registry remembers the rule for a minute.
            cluster.pass(61_000);
            for (who, speaker) in &speakers {
                for at in ["s1", "s2", "s3"] {
                    let check = Request::CheckRecipient { name: name(group) };
                    let result = cluster.ask(at, speaker.clone(), check);
                    let mut expected = allowed.contains(who);
                    if *posting == PostingRule::Members && *who != "owner@pa" {
                        expected = *who == members;
                    }
                    match result {
                        Ok(Reply::Ok) => assert!(expected, "{who} {posting:?} {group} {at}"),
                        Err(refusal) => {
                            assert!(!expected, "{who} {posting:?} {group} {at}");
                            assert_eq!(refusal.kind, ErrorKind::NotAllowed);
                            assert!(refusal.why.contains("may post"), "{refusal:?}");
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn who_may_not_post_is_refused_before_the_message_is_taken() {
    let mut cluster = groups();
    let owner = cluster.login("owner@pa");
    cluster.ok("s1", owner, rule("g^@pa", PostingRule::Members));
    let stranger = cluster.login("stranger@pa");
    let to = ["birrell@pa", "g^@pa"];
    let id = cluster.begin_submit("s2", stranger, Some("stranger@pa"), &to, "no", None);
    let refusal = cluster.result(id).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::NotAllowed);
    let message = cluster.submit("s2", "member@pa", &["g^@pa"], "yes");
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s1", "member@pa"), [message]);
    assert!(cluster.inbox("s1", "birrell@pa").is_empty());
    cluster.assert_settled();
}

#[test]
fn a_nested_group_that_the_sender_may_not_post_to_is_reported_to_him() {
    let mut cluster = groups();
    let owner = cluster.login("owner@pa");
    cluster.ok("s1", owner, rule("far^@es", PostingRule::Owners));
    cluster.group("all^@pa", &["birrell@pa"], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("all^@pa", GroupList::Members, "far^@es"),
    );
    cluster.pass(2_000);
    let message = cluster.submit("s1", "stranger@pa", &["all^@pa"], "to all");
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [message]);
    assert!(cluster.inbox("s1", "needham@pa").is_empty());
    let lines: Vec<String> = cluster
        .reports
        .iter()
        .flat_map(|report| &report.lines)
        .map(|line| format!("{} {} {}", line.name, line.status, line.reason))
        .collect();
    assert_eq!(
        lines,
        ["far^@es 5.7.2 only its owners may post to far^@es"],
        "one report, with a clear reason"
    );
    let message = cluster.submit("s1", "owner@pa", &["all^@pa"], "from its owner");
    cluster.pass(60_000);
    assert_eq!(cluster.inbox("s1", "needham@pa"), [message]);
}

#[test]
fn a_rule_that_cannot_be_told_defers_the_message() {
    let mut cluster = groups();
    let owner = cluster.login("owner@pa");
    cluster.ok(
        "s1",
        owner,
        rule("g^@pa", PostingRule::Group(name("far^@es"))),
    );
    cluster.pass(2_000);
    cluster.kill("s3");
    let check = Request::CheckRecipient {
        name: name("g^@pa"),
    };
    let needham = cluster.login("needham@pa");
    assert_eq!(
        cluster.refused("s1", needham, check),
        ErrorKind::Unavailable
    );
    let message = cluster.submit("s1", "needham@pa", &["g^@pa"], "later");
    cluster.pass(60_000);
    assert!(cluster.inbox("s1", "member@pa").is_empty());
    assert!(cluster.reports.is_empty());
    cluster.start("s3", grapevine_core::Start::Resume);
    cluster.pass(20 * 60_000);
    assert_eq!(cluster.inbox("s1", "member@pa"), [message]);
}

#[test]
fn only_owners_set_the_rule() {
    let mut cluster = groups();
    for (who, may) in [
        ("owner@pa", true),
        ("member@pa", false),
        ("registrar@pa", false),
    ] {
        let speaker = cluster.login(who);
        let result = cluster.ask("s1", speaker, rule("g^@pa", PostingRule::Owners));
        assert_eq!(result.is_ok(), may, "{who}: {result:?}");
    }
}

#[test]
fn a_group_that_is_named_by_a_rule_gives_nothing_to_a_later_one_of_its_name() {
    let mut cluster = groups();
    cluster.group("posters^@pa", &["stranger@pa"], &[]);
    cluster.pass(2_000);
    for group in ["g^@pa", "far^@es"] {
        let owner = cluster.login("owner@pa");
        cluster.ok(
            "s1",
            owner,
            rule(group, PostingRule::Group(name("posters^@pa"))),
        );
    }
    cluster.pass(61_000);
    let may = |cluster: &mut Cluster, at: &str, who: &str, group: &str| {
        let speaker = cluster.login(who);
        let check = Request::CheckRecipient { name: name(group) };
        cluster.ask(at, speaker, check).is_ok()
    };
    for group in ["g^@pa", "far^@es"] {
        for at in ["s1", "s3"] {
            assert!(may(&mut cluster, at, "stranger@pa", group), "{group} {at}");
        }
    }
    let delete = Request::Delete {
        name: name("posters^@pa"),
    };
    cluster.ok("s1", Speaker::Operator, delete);
    cluster.pass(2_000);
    cluster.group("posters^@pa", &["needham@pa"], &[]);
    cluster.pass(61_000);
    for group in ["g^@pa", "far^@es"] {
        for at in ["s1", "s3"] {
            for who in ["needham@pa", "stranger@pa"] {
                assert!(!may(&mut cluster, at, who, group), "{who} {group} {at}");
            }
            assert!(may(&mut cluster, at, "owner@pa", group), "{group} {at}");
        }
    }
    // Who means the new one says so.
    let owner = cluster.login("owner@pa");
    cluster.ok(
        "s1",
        owner,
        rule("g^@pa", PostingRule::Group(name("posters^@pa"))),
    );
    cluster.pass(61_000);
    assert!(may(&mut cluster, "s3", "needham@pa", "g^@pa"));
}
