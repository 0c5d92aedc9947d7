//! Mailboxes at their limits: a block that is full, a quota, too many at once, sites that change.

use std::collections::BTreeSet;

use grapevine_model::{
    EntryChange, ErrorKind, Flag, FlagChange, FolderId, MAX_FLAGS_A_MAIL, MAX_MAILS_AN_ASK,
    MailboxAnswer, MailboxAsk, MessageId, Quota, Reply, Request, Speaker,
};

use crate::harness::{Cluster, name, server};
use crate::mailboxes::{ask, assert_alike, try_ask, two, view};

const INBOX: FolderId = FolderId::INBOX;

fn change(cluster: &mut Cluster, change: EntryChange) {
    let change = Request::Change {
        name: name("ann@pa"),
        change,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(5_000);
}

fn send(cluster: &mut Cluster, text: &str) -> MessageId {
    let message = cluster.submit("s1", "birrell@pa", &["ann@pa"], text);
    cluster.pass(3_000);
    message
}

/// All rows, page by page.
fn all(cluster: &mut Cluster, at: &str) -> Vec<(u32, MessageId)> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = MailboxAsk::View {
            folder: INBOX,
            since: None,
            after,
        };
        let MailboxAnswer::View(page) = ask(cluster, at, page) else {
            panic!("no view")
        };
        rows.extend(page.rows.iter().map(|row| (row.uid, row.message)));
        match page.next {
            Some(next) => after = next,
            None => return rows,
        }
    }
}

#[test]
fn a_full_block_is_followed_by_one_above_it_and_pages_show_all() {
    let mut cluster = two();
    cluster.keep_effects = false;
    send(&mut cluster, "one");
    let mut before: Vec<(u32, MessageId)> = Vec::new();
    while before.len() < 5_500 {
        before = all(&mut cluster, "s1");
        let mails = before
            .iter()
            .map(|(_, mail)| *mail)
            .take(MAX_MAILS_AN_ASK)
            .collect();
        let (from, to) = (INBOX, INBOX);
        ask(&mut cluster, "s1", MailboxAsk::Copy { from, mails, to });
        cluster.pass(200);
    }
    let after = all(&mut cluster, "s1");
    let numbers: BTreeSet<u32> = after.iter().map(|(uid, _)| *uid).collect();
    assert_eq!(numbers.len(), after.len(), "no number twice");
    assert!(after.is_sorted(), "in order");
    assert_eq!(after[..before.len()], before, "and none has changed");
    let blocks: BTreeSet<u32> = numbers.iter().map(|uid| uid / 4_096).collect();
    assert!(blocks.len() >= 2, "{blocks:?}");
    cluster.pass(10_000);
    assert_eq!(all(&mut cluster, "s2"), after);
}

#[test]
fn copies_count_in_the_quota() {
    let mut cluster = two();
    let one = send(&mut cluster, "one");
    let quota = Quota {
        octets: None,
        messages: Some(2),
    };
    change(&mut cluster, EntryChange::Quota(quota));
    let copy = MailboxAsk::Copy {
        from: INBOX,
        mails: vec![one],
        to: INBOX,
    };
    ask(&mut cluster, "s1", copy.clone());
    let refused = try_ask(&mut cluster, "s2", copy).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::TooLarge);
    assert_eq!(view(&mut cluster, "s1", INBOX).rows.len(), 2);
    let list = Request::InboxList {
        name: name("ann@pa"),
    };
    let Reply::Inbox(listing) = cluster.ok("s1", Speaker::Operator, list) else {
        panic!("no listing")
    };
    assert_eq!(listing.usage.messages, 2);
    assert!(
        listing.messages.iter().all(|listed| listed.body == one),
        "one body for both"
    );
}

#[test]
fn too_much_at_once_is_refused_and_changes_nothing() {
    let mut cluster = two();
    let one = send(&mut cluster, "one");
    let flags = |count: usize| -> Vec<Flag> {
        (0..count)
            .map(|n| format!("k{n}").parse().unwrap())
            .collect()
    };
    let add = |mails: Vec<MessageId>, flags: Vec<Flag>| MailboxAsk::ChangeFlags {
        folder: INBOX,
        mails,
        change: FlagChange::Add,
        flags,
        unchanged_since: None,
    };
    for refused in [
        add(vec![one], flags(MAX_FLAGS_A_MAIL + 1)),
        add(vec![one; MAX_MAILS_AN_ASK + 1], flags(1)),
        MailboxAsk::Expunge {
            folder: INBOX,
            mails: vec![one; MAX_MAILS_AN_ASK + 1],
        },
    ] {
        let refused = try_ask(&mut cluster, "s1", refused).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::TooLarge);
    }
    let now = view(&mut cluster, "s1", INBOX);
    assert!(now.rows.len() == 1 && now.rows[0].flags.is_empty());
    ask(&mut cluster, "s1", add(vec![one], flags(MAX_FLAGS_A_MAIL)));
    assert_eq!(
        view(&mut cluster, "s1", INBOX).rows[0].flags.len(),
        MAX_FLAGS_A_MAIL
    );
}

#[test]
fn numbers_stay_when_the_sites_of_a_mailbox_change() {
    let mut cluster = Cluster::new(3);
    cluster.individual("ann@pa");
    let sites = |of: [&str; 2]| EntryChange::Sites(of.map(server).to_vec());
    change(&mut cluster, sites(["s1", "s2"]));
    for n in 0..3 {
        send(&mut cluster, &format!("{n}"));
    }
    let before = all(&mut cluster, "s1");
    change(&mut cluster, sites(["s2", "s3"]));
    cluster.pass(60_000);
    for at in ["s1", "s2", "s3"] {
        assert_eq!(all(&mut cluster, at), before, "{at}");
    }
    send(&mut cluster, "after");
    let after = all(&mut cluster, "s3");
    assert_eq!(after[..3], before);
    assert!(after[3].0 > after[2].0);
    cluster.kill("s2");
    cluster.pass(6_000);
    send(&mut cluster, "alone");
    let alone = all(&mut cluster, "s3");
    assert_eq!(alone[..4], after);
}

#[test]
fn what_both_sites_show_alone_is_alike_after_many_moves() {
    let mut cluster = two();
    let folder = MailboxAsk::CreateFolder {
        path: "Away".parse().unwrap(),
        special_use: None,
    };
    let MailboxAnswer::Folder(away) = ask(&mut cluster, "s1", folder) else {
        panic!("no folder")
    };
    let one = send(&mut cluster, "one");
    for n in 0..6 {
        let (from, to) = match n % 2 {
            0 => (INBOX, away.folder),
            _ => (away.folder, INBOX),
        };
        let mails = vec![one];
        ask(
            &mut cluster,
            ["s1", "s2"][n % 2],
            MailboxAsk::Move { from, mails, to },
        );
    }
    assert_eq!(view(&mut cluster, "s1", INBOX).rows.len(), 1);
    assert_alike(&mut cluster);
}
