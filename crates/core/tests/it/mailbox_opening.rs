//! Mailboxes that are opened: for the first time, nowhere used yet, and counted instead of read.

use std::collections::BTreeMap;

use grapevine_core::{Effect, Op, Table};
use grapevine_model::{
    EntryChange, ErrorKind, Flag, FlagChange, FolderId, MailboxAnswer, MailboxAsk, MessageId,
    Quota, Request, Speaker,
};

use crate::harness::{Cluster, name, server};
use crate::mailboxes::{ask, try_ask, two, view};

const INBOX: FolderId = FolderId::INBOX;

fn change(cluster: &mut Cluster, change: EntryChange) {
    let change = Request::Change {
        name: name("ann@pa"),
        change,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(5_000);
}

fn three() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.individual("ann@pa");
    let sites = ["s1", "s2", "s3"].map(server).to_vec();
    change(&mut cluster, EntryChange::Sites(sites));
    cluster
}

fn create(path: &str) -> MailboxAsk {
    MailboxAsk::CreateFolder {
        path: path.parse().unwrap(),
        special_use: None,
    }
}

fn paths(cluster: &mut Cluster, at: &str) -> Vec<String> {
    match ask(cluster, at, MailboxAsk::Folders) {
        MailboxAnswer::Folders { folders, .. } => {
            folders.iter().map(|view| view.path.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mailbox_of_three_sites_that_nobody_used_yet_is_opened_at_any_server() {
    for at in ["s1", "s2", "s3"] {
        let mut cluster = three();
        assert_eq!(paths(&mut cluster, at), ["INBOX"], "{at}");
        ask(&mut cluster, at, create("Drafts"));
        cluster.pass(5_000);
        for at in ["s1", "s2", "s3"] {
            assert_eq!(paths(&mut cluster, at), ["Drafts", "INBOX"], "{at}");
        }
    }
    // A server that is no site of it finds one that shows it.
    let mut cluster = Cluster::new(4);
    cluster.individual("ann@pa");
    let sites = ["s1", "s2", "s3"].map(server).to_vec();
    change(&mut cluster, EntryChange::Sites(sites));
    assert_eq!(paths(&mut cluster, "s4"), ["INBOX"]);
}

/// What a site has that can't be heard nobody knows: a mail program that is shown an empty mailbox deletes its copies.
#[test]
fn a_mailbox_is_not_taken_for_empty_while_a_site_that_may_have_it_is_away() {
    let mut cluster = three();
    cluster.part("s3", "s1");
    cluster.part("s3", "s2");
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        let refused = try_ask(&mut cluster, at, MailboxAsk::Folders).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable, "{at}");
    }
}

#[test]
fn what_is_held_is_answered_without_opening_the_mailbox() {
    let mut cluster = two();
    let quota = Quota {
        octets: Some(1_000_000),
        messages: None,
    };
    change(&mut cluster, EntryChange::Quota(quota));
    for n in 0..3 {
        cluster.submit("s1", "birrell@pa", &["ann@pa"], &format!("mail {n}"));
    }
    cluster.pass(5_000);
    for at in ["s1", "s2"] {
        let answer = ask(&mut cluster, at, MailboxAsk::Usage);
        let MailboxAnswer::Usage { usage, quota: said } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(said, quota);
        assert_eq!(usage.messages, 3);
    }
    let rows = cluster.nodes[&server("s1")].disk.0.lock().unwrap();
    let cells = rows.keys().filter(|(table, key)| {
        *table == grapevine_core::Table::Cells && key.first() == Some(&b'M')
    });
    assert_eq!(cells.count(), 4, "its sites, and the messages: no numbers");
}

/// More than a turn numbers: who opened it waits, and is shown all of it.
#[test]
fn the_first_opening_of_a_large_mailbox_goes_on_over_turns_and_shows_all() {
    let mut cluster = two();
    let mut sent = Vec::new();
    for n in 0..4_500 {
        sent.push(cluster.submit("s1", "birrell@pa", &["ann@pa"], &format!("{n}")));
    }
    cluster.pass(20_000);
    let reply = try_ask(&mut cluster, "s2", MailboxAsk::Folders).unwrap();
    assert!(!reply.partial);
    let MailboxAnswer::Folders { folders, .. } = reply.answer else {
        panic!("no folders")
    };
    assert_eq!(folders[0].messages as usize, sent.len());
    let cells = |op: &&Op| {
        matches!(
            op,
            Op::Put {
                table: Table::Cells,
                ..
            }
        )
    };
    let commits = cluster
        .effects
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::Commit { ops, .. } => Some(ops.iter().filter(cells).count()),
            _ => None,
        });
    let most = commits.max().unwrap();
    assert!(most < 4_100, "{most} cells in one commit");
    let shown = view(&mut cluster, "s1", INBOX);
    let seen: Vec<MessageId> = shown.rows.iter().map(|row| row.message).collect();
    sent.sort_unstable();
    assert_eq!(seen, sent, "all of them, in the order of their ids");
}

#[test]
fn the_counts_of_folders_are_those_of_their_mails() {
    let mut cluster = two();
    for n in 0..6 {
        cluster.submit("s1", "birrell@pa", &["ann@pa"], &format!("mail {n}"));
    }
    cluster.pass(5_000);
    let MailboxAnswer::Folder(made) = ask(&mut cluster, "s1", create("Work")) else {
        panic!("no folder")
    };
    let flags: Vec<Flag> = ["\\Seen", "\\Deleted", "$Later"]
        .map(|flag| flag.parse().unwrap())
        .to_vec();
    let both = [INBOX, made.folder];
    // Any row of numbers that does not soon repeat itself.
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for step in 0..120 {
        let at = ["s1", "s2"][next(2)];
        let (folder, other) = match next(2) {
            0 => (both[0], both[1]),
            _ => (both[1], both[0]),
        };
        let mut mails: Vec<MessageId> = view(&mut cluster, at, folder)
            .rows
            .iter()
            .map(|row| row.message)
            .collect();
        mails.retain(|_| next(3) == 0);
        let doing = match next(8) {
            0 => MailboxAsk::Copy {
                from: folder,
                mails,
                to: other,
            },
            1 | 2 => MailboxAsk::Move {
                from: folder,
                mails,
                to: other,
            },
            3 => MailboxAsk::Expunge {
                folder,
                mails: mails.into_iter().take(1).collect(),
            },
            n => MailboxAsk::ChangeFlags {
                folder,
                mails,
                change: [FlagChange::Add, FlagChange::Remove][n % 2],
                flags: vec![flags[next(3)].clone()],
                unchanged_since: None,
            },
        };
        let _ = try_ask(&mut cluster, at, doing);
        if step % 10 == 9 {
            // The other one shows it from here on, and then the first again.
            cluster.part("s1", "s2");
            cluster.pass(10_000);
            compare(&mut cluster, "s2", &both);
            cluster.broken.clear();
            cluster.pass(10_000);
        }
        compare(&mut cluster, at, &both);
    }
}

fn compare(cluster: &mut Cluster, at: &str, folders: &[FolderId]) {
    let MailboxAnswer::Folders { folders: said, .. } = ask(cluster, at, MailboxAsk::Folders) else {
        panic!("no folders")
    };
    let said: BTreeMap<FolderId, _> = said.into_iter().map(|view| (view.folder, view)).collect();
    for folder in folders {
        let rows = view(cluster, at, *folder).rows;
        let with = |flag: &str| {
            let flagged = rows
                .iter()
                .filter(|row| row.flags.iter().any(|f| f.as_str() == flag));
            flagged.count()
        };
        let counted = &said[folder];
        assert_eq!(
            (
                counted.messages as usize,
                counted.unseen as usize,
                counted.deleted as usize,
                counted.size
            ),
            (
                rows.len(),
                rows.len() - with("\\Seen"),
                with("\\Deleted"),
                rows.iter().map(|row| row.len).sum::<u64>()
            ),
            "{at}"
        );
    }
}
