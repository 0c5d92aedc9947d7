//! Moderated groups: what waits, who may say yes or no, and what becomes of it.

use grapevine_core::{ReportKind, Start};
use grapevine_model::{
    EntryChange, ErrorKind, HeldPost, MessageId, PostingRule, Reply, Request, Speaker, Verdict,
};

use crate::harness::{Cluster, name};

fn judge(message: MessageId, verdict: Verdict) -> Request {
    Request::Change {
        name: name("csl^@pa"),
        change: EntryChange::Judge { message, verdict },
    }
}

fn held(cluster: &mut Cluster, at: &str) -> Vec<HeldPost> {
    let group = name("csl^@pa");
    match cluster.ok(at, Speaker::Operator, Request::Held { group }) {
        Reply::Held(posts) => posts,
        other => panic!("{other:?}"),
    }
}

/// A list of one member, moderated by needham.
fn moderated(servers: usize) -> Cluster {
    let mut cluster = Cluster::new(servers);
    cluster.individual("guest@pa");
    cluster.group("csl^@pa", &["birrell@pa"], &["needham@pa"]);
    let rule = Request::Change {
        name: name("csl^@pa"),
        change: EntryChange::Posting(PostingRule::Moderated),
    };
    cluster.ok("s1", Speaker::Operator, rule);
    cluster.pass(1_000);
    cluster
}

#[test]
fn a_post_to_a_moderated_group_waits_and_goes_on_with_an_owners_yes_at_any_holder() {
    let mut cluster = moderated(2);
    let message = cluster.submit("s1", "guest@pa", &["csl^@pa", "needham@pa"], "may I?");
    cluster.pass(60_000);
    assert!(
        cluster.inbox("s1", "birrell@pa").is_empty(),
        "silence is no yes"
    );
    let posts = held(&mut cluster, "s2");
    assert_eq!(posts.len(), 1);
    assert_eq!((posts[0].message, posts[0].octets), (message, 6));
    assert_eq!(posts[0].from, Some(name("guest@pa")));
    assert_eq!(
        cluster.reports.len(),
        1,
        "one notice, however often it is tried"
    );
    let notice = &cluster.reports[0];
    assert!(matches!(&notice.kind, ReportKind::Held { post, .. } if *post == posts[0]));
    let notice = notice.submission.id.unwrap();
    let mut inbox = cluster.inbox("s1", "needham@pa");
    inbox.sort();
    assert_eq!(inbox, [message, notice], "other recipients do not wait");

    let guest = cluster.login("guest@pa");
    let yes = || judge(message, Verdict::Approve);
    assert_eq!(cluster.refused("s2", guest, yes()), ErrorKind::NotAllowed);
    let owner = cluster.login("needham@pa");
    cluster.ok("s2", owner.clone(), yes());
    cluster.pass(2_000);
    assert_eq!(cluster.inbox("s2", "birrell@pa"), [message]);
    assert!(held(&mut cluster, "s1").is_empty());
    cluster.ok("s1", owner.clone(), yes());
    let no = judge(message, Verdict::Reject(String::new()));
    assert_eq!(cluster.refused("s1", owner, no), ErrorKind::Conflict);
    cluster.assert_settled();
}

#[test]
fn a_rejected_post_goes_back_with_the_reason_and_an_owners_own_is_not_held() {
    let mut cluster = moderated(2);
    let own = cluster.submit("s2", "needham@pa", &["csl^@pa"], "mine");
    let message = cluster.submit("s1", "guest@pa", &["csl^@pa"], "buy this");
    cluster.pass(2_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [own]);
    cluster.reports.clear();
    let registrar = cluster.login("registrar@pa");
    let no = judge(message, Verdict::Reject("no advertisements".into()));
    cluster.ok("s2", registrar, no);
    cluster.pass(3_000);
    let line = &cluster.reports[0].lines[0];
    assert_eq!(
        (line.name.clone(), line.status.as_str()),
        (name("csl^@pa"), "5.7.2")
    );
    assert!(line.reason.contains("no advertisements"), "{}", line.reason);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [own]);
    cluster.assert_settled();
}

#[test]
fn what_nobody_approves_goes_back_when_its_time_is_over() {
    let mut cluster = moderated(2);
    let message = cluster.submit("s1", "guest@pa", &["csl^@pa"], "may I?");
    cluster.pass(2_000);
    let expires_ms = held(&mut cluster, "s1")[0].expires_ms;
    cluster.reports.clear();
    cluster.keep_effects = false;
    cluster.pass(expires_ms - cluster.now.wall_ms - 3_600_000);
    let told = cluster.reports.remove(0);
    assert!(matches!(told.kind, ReportKind::Delay { .. }), "{told:?}");
    assert!(cluster.reports.is_empty(), "not before it was said");
    cluster.pass(2 * 3_600_000);
    assert!(
        cluster.reports[0].lines[0]
            .reason
            .contains("held for the owners of csl^@pa")
    );
    assert_eq!(cluster.reports[0].about, message);
    assert!(held(&mut cluster, "s2").is_empty());
    assert!(cluster.inbox("s1", "birrell@pa").is_empty());
    cluster.assert_settled();
}

#[test]
fn a_held_post_outlives_its_custodian_and_its_owner_is_asked_once() {
    let mut cluster = moderated(2);
    let message = cluster.submit("s1", "guest@pa", &["csl^@pa"], "may I?");
    cluster.pass(2_000);
    cluster.kill("s1");
    cluster.pass(30_000);
    assert_eq!(held(&mut cluster, "s2").len(), 1);
    assert_eq!(cluster.reports.len(), 1, "the deputy asks nobody again");
    cluster.ok("s2", Speaker::Operator, judge(message, Verdict::Approve));
    cluster.pass(2_000);
    assert_eq!(cluster.inbox("s2", "birrell@pa"), [message]);
    cluster.start("s1", Start::Resume);
    cluster.pass(90_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [message]);
    cluster.assert_settled();
}
