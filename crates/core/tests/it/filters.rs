//! Filters: kept in their owner's mailbox, changed at any site, run at the deposit.

use std::collections::BTreeMap;

use grapevine_core::{FilterWay, Input, Start};
use grapevine_model::{
    DepositEnvelope, DepositFor, EntryChange, ErrorKind, MAX_SCRIPTS, MailboxAnswer, MailboxAsk,
    MessageId, PeerMessage, Reply, Request, ScriptText, SieveAsk, SieveReply, Speaker,
};

use crate::harness::{Cluster, body, name, server};

fn ask(ask: SieveAsk) -> Request {
    Request::Sieve {
        name: name("birrell@pa"),
        ask,
    }
}

fn put(script: &str, text: &str) -> Request {
    ask(SieveAsk::Put {
        script: script.parse().unwrap(),
        text: ScriptText::try_from(text.to_owned()).unwrap(),
    })
}

fn activate(script: &str) -> Request {
    ask(SieveAsk::Activate(Some(script.parse().unwrap())))
}

/// The names of the scripts, the active one with a star.
fn scripts(cluster: &mut Cluster, at: &str, speaker: &Speaker) -> Vec<String> {
    match cluster.ok(at, speaker.clone(), ask(SieveAsk::List)) {
        Reply::Sieve(SieveReply::Scripts(views)) => views
            .iter()
            .map(|view| format!("{}{}", view.script, if view.active { "*" } else { "" }))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn text(cluster: &mut Cluster, at: &str, speaker: &Speaker, script: &str) -> String {
    let get = ask(SieveAsk::Get(script.parse().unwrap()));
    match cluster.ok(at, speaker.clone(), get) {
        Reply::Sieve(SieveReply::Text(text)) => text.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_script_put_at_one_site_is_the_same_at_the_other_and_at_a_server_that_is_no_site() {
    let mut cluster = Cluster::new(3);
    let me = cluster.login("birrell@pa");
    let sites = EntryChange::Sites(vec![server("s1"), server("s2")]);
    let change = Request::Change {
        name: name("birrell@pa"),
        change: sites,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(2_000);
    let Reply::Written(written) = cluster.ok("s3", me.clone(), put("main", "keep;")) else {
        panic!("not written")
    };
    assert_eq!(written.copies, 2, "on two disks before the yes");
    cluster.ok("s2", me.clone(), put("old", "discard;"));
    cluster.ok("s1", me.clone(), activate("main"));
    for at in ["s1", "s2", "s3"] {
        assert_eq!(scripts(&mut cluster, at, &me), ["main*", "old"], "{at}");
        assert_eq!(text(&mut cluster, at, &me, "main"), "keep;", "{at}");
    }
    // Changed on both sides of a partition: the later change stays.
    cluster.part("s1", "s2");
    cluster.pass(5_000);
    cluster.ok("s1", me.clone(), put("main", "stop;"));
    cluster.pass(1_000);
    cluster.ok("s2", me.clone(), put("main", "discard;"));
    cluster.broken.clear();
    cluster.pass(20_000);
    for at in ["s1", "s2"] {
        assert_eq!(text(&mut cluster, at, &me, "main"), "discard;", "{at}");
    }
    cluster.ok(
        "s2",
        me.clone(),
        ask(SieveAsk::Rename {
            script: "main".parse().unwrap(),
            to: "new".parse().unwrap(),
        }),
    );
    assert_eq!(scripts(&mut cluster, "s1", &me), ["new*", "old"]);
}

#[test]
fn scripts_are_changed_by_their_owner_alone_and_within_limits() {
    let mut cluster = Cluster::new(2);
    let me = cluster.login("birrell@pa");
    let other = cluster.login("needham@pa");
    for request in [put("x", "keep;"), ask(SieveAsk::List), activate("x")] {
        assert_eq!(
            cluster.refused("s1", other.clone(), request),
            ErrorKind::NotAllowed
        );
    }
    assert_eq!(
        cluster.refused("s1", me.clone(), activate("none")),
        ErrorKind::NotFound
    );
    for n in 0..MAX_SCRIPTS {
        cluster.ok("s1", me.clone(), put(&format!("n{n}"), "keep;"));
    }
    assert_eq!(
        cluster.refused("s1", me.clone(), put("one too many", "keep;")),
        ErrorKind::TooLarge
    );
    let room = |script: &str, len| {
        ask(SieveAsk::HaveSpace {
            script: script.parse().unwrap(),
            len,
        })
    };
    let fits = Reply::Sieve(SieveReply::Fits);
    assert_eq!(cluster.ok("s2", me.clone(), room("n1", 100)), fits);
    for (script, len) in [("n1", 1 << 20), ("new", 100)] {
        assert_eq!(
            cluster.refused("s2", me.clone(), room(script, len)),
            ErrorKind::TooLarge
        );
    }
    cluster.ok("s1", me.clone(), put("n1", "stop;"));
    cluster.ok("s1", me.clone(), activate("n1"));
    let delete = |script: &str| ask(SieveAsk::Delete(script.parse().unwrap()));
    assert_eq!(
        cluster.refused("s2", me.clone(), delete("n1")),
        ErrorKind::Conflict,
        "the active one stays"
    );
    cluster.ok("s2", me.clone(), ask(SieveAsk::Activate(None)));
    cluster.ok("s2", me.clone(), delete("n1"));
    assert_eq!(
        cluster.refused("s1", me.clone(), delete("n1")),
        ErrorKind::NotFound
    );
    assert_eq!(scripts(&mut cluster, "s1", &me).len(), MAX_SCRIPTS - 1);
    cluster.assert_settled();
}

/// `birrell@pa` has this filter. Both sites know it.
fn with_filter(servers: usize, filter: &str) -> Cluster {
    let mut cluster = Cluster::new(servers);
    let me = cluster.login("birrell@pa");
    let sites = EntryChange::Sites(vec![server("s1"), server("s2")]);
    let change = Request::Change {
        name: name("birrell@pa"),
        change: sites,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(2_000);
    cluster.ok("s1", me.clone(), put("main", filter));
    cluster.ok("s1", me, activate("main"));
    cluster.pass(2_000);
    cluster
}

/// What is in each folder of `birrell@pa`: message and flags.
fn folders(cluster: &mut Cluster, at: &str) -> BTreeMap<String, Vec<(MessageId, Vec<String>)>> {
    let me = cluster.login("birrell@pa");
    let ask = |ask| Request::Mailbox {
        name: name("birrell@pa"),
        ask,
    };
    let Reply::Mailbox(reply) = cluster.ok(at, me.clone(), ask(MailboxAsk::Folders)) else {
        panic!("no folders")
    };
    let MailboxAnswer::Folders { folders, .. } = reply.answer else {
        panic!("{:?}", reply.answer)
    };
    let mut found = BTreeMap::new();
    for folder in folders {
        let view = MailboxAsk::View {
            folder: folder.folder,
            since: None,
            after: 0,
        };
        let Reply::Mailbox(reply) = cluster.ok(at, me.clone(), ask(view)) else {
            panic!("no view")
        };
        let MailboxAnswer::View(view) = reply.answer else {
            panic!("{:?}", reply.answer)
        };
        let rows = view.rows.iter().map(|row| {
            let flags = row.flags.iter().map(ToString::to_string).collect();
            (row.body, flags)
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            found.insert(folder.path.to_string(), rows);
        }
    }
    found
}

/// Another custodian deposits the message at a site, too, as it would after a take-over.
fn deposit_again(cluster: &mut Cluster, at: &str, message: MessageId, text: &str) {
    let Reply::Inbox(listing) = cluster.ok(
        at,
        Speaker::Operator,
        Request::InboxList {
            name: name("birrell@pa"),
        },
    ) else {
        panic!("no inbox")
    };
    let deposit = Input::Peer {
        from: server("s3"),
        message: PeerMessage::Deposit {
            message,
            body: body(text),
            inboxes: vec![DepositFor {
                inbox: listing.incarnation,
                name: name("birrell@pa"),
                sites: vec![server("s1"), server("s2")],
                list: None,
                envelope: Some(DepositEnvelope {
                    return_path: Some(name("needham@pa")),
                    recipient: name("birrell@pa"),
                }),
            }],
        },
        staged: None,
    };
    cluster.input(&server(at), deposit);
    cluster.pass(5_000);
}

#[test]
fn a_message_is_where_its_filter_puts_it_with_its_flags_at_both_sites() {
    let filter = "create Lists/Rust \\Seen work\ninto INBOX\ninto Nowhere later";
    let mut cluster = with_filter(2, filter);
    let message = cluster.submit("s2", "needham@pa", &["birrell@pa"], "hello");
    cluster.pass(5_000);
    for at in ["s1", "s2"] {
        let found = folders(&mut cluster, at);
        assert_eq!(found.len(), 2, "{at}: {found:?}");
        let mut flags = found["Lists/Rust"][0].1.clone();
        flags.sort();
        assert_eq!(flags, ["\\Seen", "work"], "{at}");
        // No such folder: in the inbox, and once.
        assert_eq!(found["INBOX"], [(message, vec![])], "{at}: the same body");
    }
    assert_eq!(cluster.filtered.len(), 1, "run once");
    assert_eq!(cluster.filtered[0].1.way, FilterWay::Direct);
    assert_eq!(cluster.filtered[0].1.return_path, Some(name("needham@pa")));
    // The folder is there now, and found.
    cluster.submit("s1", "needham@pa", &["birrell+x@pa"], "again");
    cluster.pass(5_000);
    let order = cluster.filtered.last().unwrap().1.clone();
    assert!(order.folders.contains("Lists/Rust"));
    assert_eq!(order.recipient, name("birrell+x@pa"));
    assert_eq!(folders(&mut cluster, "s2")["Lists/Rust"].len(), 2);
    cluster.assert_settled();
}

#[test]
fn a_mailbox_without_an_active_script_is_not_asked_about() {
    let mut cluster = with_filter(2, "discard");
    let me = cluster.login("birrell@pa");
    cluster.ok("s2", me, ask(SieveAsk::Activate(None)));
    cluster.pass(2_000);
    for at in ["s1", "s2"] {
        cluster.submit(at, "needham@pa", &["birrell@pa", "needham@pa"], at);
    }
    cluster.pass(5_000);
    assert!(cluster.filtered.is_empty());
    assert_eq!(cluster.inbox("s1", "birrell@pa").len(), 2);
}

#[test]
fn what_a_filter_sends_on_arrives_once_however_often_and_wherever_it_runs() {
    let mut cluster = with_filter(3, "redirect needham@pa\ndiscard");
    // Neither site hears of the other's filter.
    cluster.part("s1", "s2");
    cluster.pass(5_000);
    let message = cluster.submit("s1", "registrar@pa", &["birrell@pa"], "hello");
    let needed = PeerMessage::Body {
        message,
        body: body("hello"),
    };
    cluster.pass(3_000);
    let staged = Some(cluster.stage(&server("s2"), body("hello")));
    cluster.input(
        &server("s2"),
        Input::Peer {
            from: server("s3"),
            message: needed,
            staged,
        },
    );
    deposit_again(&mut cluster, "s2", message, "hello");
    let sites: Vec<&str> = cluster.filtered.iter().map(|(at, _)| at.as_str()).collect();
    assert!(sites.contains(&"s1") && sites.contains(&"s2"), "{sites:?}");
    cluster.broken.clear();
    cluster.pass(60_000);
    deposit_again(&mut cluster, "s1", message, "hello");
    deposit_again(&mut cluster, "s2", message, "hello");
    for at in ["s1", "s2", "s3"] {
        assert_eq!(cluster.inbox(at, "needham@pa").len(), 1, "{at}");
        assert_eq!(cluster.inbox(at, "birrell@pa"), [], "{at}: discarded");
    }
    cluster.pass(60_000);
    cluster.assert_settled();
}

#[test]
fn an_owner_who_moves_or_deletes_a_message_is_not_overruled_by_a_filter_that_runs_late() {
    let mut cluster = with_filter(3, "create Work");
    let message = cluster.submit("s1", "needham@pa", &["birrell@pa"], "hello");
    cluster.pass(5_000);
    let me = cluster.login("birrell@pa");
    let delete = Request::InboxDelete {
        name: name("birrell@pa"),
        messages: vec![message],
    };
    cluster.ok("s2", me, delete);
    deposit_again(&mut cluster, "s1", message, "hello");
    assert!(folders(&mut cluster, "s2").is_empty());
    assert_eq!(cluster.filtered.len(), 1);
}

#[test]
fn a_server_that_dies_while_a_filter_runs_loses_and_doubles_nothing() {
    let mut cluster = with_filter(2, "silent");
    let message = cluster.submit("s1", "needham@pa", &["birrell@pa"], "hello");
    cluster.pass(1_000);
    assert_eq!(cluster.inbox("s1", "birrell@pa"), [], "it waits");
    let me = cluster.login("birrell@pa");
    cluster.ok(
        "s2",
        me.clone(),
        put("main", "redirect needham@pa\ninto INBOX"),
    );
    cluster.pass(1_000);
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(120_000);
    assert_eq!(cluster.inbox("s2", "birrell@pa"), [message]);
    assert_eq!(cluster.inbox("s2", "needham@pa").len(), 1);
    cluster.assert_settled();
}

#[test]
fn a_filter_that_says_nothing_leaves_the_message_in_the_inbox() {
    let mut cluster = with_filter(2, "silent");
    let message = cluster.submit("s1", "needham@pa", &["birrell@pa"], "hello");
    cluster.pass(120_000);
    assert_eq!(cluster.inbox("s2", "birrell@pa"), [message]);
    cluster.assert_settled();
}

#[test]
fn who_is_refused_by_a_filter_is_told_and_a_list_or_nobody_is_not() {
    let mut cluster = with_filter(2, "reject busy");
    cluster.submit("s1", "needham@pa", &["birrell@pa"], "hello");
    cluster.pass(5_000);
    assert_eq!(cluster.reports.len(), 1);
    let line = &cluster.reports[0].lines[0];
    assert_eq!((line.status.as_str(), line.delivered), ("5.7.1", false));
    assert!(line.reason.contains("busy"), "{}", line.reason);
    assert_eq!(cluster.inbox("s2", "birrell@pa"), []);
    assert_eq!(cluster.inbox("s2", "needham@pa").len(), 1, "the report");
    cluster.group("all@pa", &["birrell@pa"], &["registrar@pa"]);
    cluster.pass(2_000);
    let listed = cluster.submit("s2", "needham@pa", &["all@pa"], "to all");
    let report = cluster.begin_submit(
        "s1",
        Speaker::Operator,
        None,
        &["birrell@pa"],
        "a report",
        None,
    );
    cluster.result(report).unwrap();
    cluster.pass(20_000);
    let inbox = cluster.inbox("s2", "birrell@pa");
    assert_eq!(inbox.len(), 2, "kept");
    assert!(inbox.contains(&listed));
    assert_eq!(cluster.reports.len(), 1);
    cluster.assert_settled();
}

#[test]
fn an_absence_answers_somebody_once_at_whichever_site_his_mail_arrives() {
    let mut cluster = with_filter(2, "answer\ninto INBOX");
    for (n, at) in ["s1", "s2", "s1"].into_iter().enumerate() {
        cluster.submit(at, "needham@pa", &["birrell@pa"], &format!("hello {n}"));
        cluster.pass(5_000);
    }
    assert_eq!(cluster.inbox("s1", "birrell@pa").len(), 3);
    assert_eq!(cluster.inbox("s1", "needham@pa").len(), 1, "one answer");
    cluster.submit("s2", "registrar@pa", &["birrell@pa"], "me too");
    cluster.pass(5_000);
    assert_eq!(cluster.inbox("s1", "registrar@pa").len(), 1);
    // Nobody hears of an answer that can't be delivered, and no dead letter is made of it.
    let gone = cluster.begin_submit(
        "s1",
        Speaker::Operator,
        Some("nobody@pa"),
        &["birrell@pa"],
        "from nowhere",
        None,
    );
    cluster.result(gone).unwrap();
    cluster.pass(20_000);
    assert!(cluster.reports.is_empty());
    let Reply::Status(status) = cluster.ok("s1", Speaker::Operator, Request::Status) else {
        panic!()
    };
    assert_eq!(status.queue.dead_letters, 0);
    cluster.assert_settled();
}

#[test]
fn a_filter_posts_where_its_owner_may_and_nowhere_else() {
    let mut cluster = with_filter(2, "redirect secret@pa\ndiscard");
    cluster.group("secret@pa", &["registrar@pa"], &["registrar@pa"]);
    let rule = EntryChange::Posting(grapevine_model::PostingRule::Members);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Change {
            name: name("secret@pa"),
            change: rule,
        },
    );
    cluster.pass(2_000);
    // Who may post there himself does not lend his right to the filter.
    cluster.submit("s1", "registrar@pa", &["birrell@pa"], "hello");
    cluster.pass(10_000);
    let reported = |cluster: &Cluster| cluster.reports.len();
    assert_eq!(reported(&cluster), 1, "the sender hears of it");
    assert_eq!(
        cluster.inbox("s1", "registrar@pa").len(),
        1,
        "the report alone"
    );
}
