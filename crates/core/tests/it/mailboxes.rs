//! Mailboxes as mail programs see them: numbers, flags, folders, at two sites that may not hear each other.

use std::collections::BTreeMap;

use grapevine_core::{Effect, Input, Start};
use grapevine_model::{
    ErrorKind, Extent, Flag, FlagChange, FolderId, FolderView, Hlc, MailRow, MailboxAnswer,
    MailboxAsk, MailboxReply, MailboxView, Mark, MessageId, OriginId, Refusal, Reply, Request,
    Speaker,
};

use crate::harness::{Cluster, body, name, server, times};
use crate::retained::lose_disk;

const ANN: &str = "ann@pa";
const INBOX: FolderId = FolderId::INBOX;

/// Two servers, and somebody whose mailbox is at both.
pub(crate) fn two() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.individual(ANN);
    cluster.pass(5_000);
    cluster
}

pub(crate) fn try_ask(
    cluster: &mut Cluster,
    at: &str,
    ask: MailboxAsk,
) -> Result<MailboxReply, Refusal> {
    let name = name(ANN);
    match cluster.ask(at, Speaker::Operator, Request::Mailbox { name, ask })? {
        Reply::Mailbox(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn ask(cluster: &mut Cluster, at: &str, ask: MailboxAsk) -> MailboxAnswer {
    try_ask(cluster, at, ask).unwrap().answer
}

/// The first of them numbers first.
fn sites(cluster: &mut Cluster, sites: &[&str]) {
    let sites = sites.iter().map(|site| server(site)).collect();
    let change = Request::Change {
        name: name(ANN),
        change: grapevine_model::EntryChange::Sites(sites),
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(5_000);
}

fn view_since(
    cluster: &mut Cluster,
    at: &str,
    folder: FolderId,
    since: Option<Mark>,
) -> MailboxView {
    let view = MailboxAsk::View {
        folder,
        since,
        after: 0,
    };
    match ask(cluster, at, view) {
        MailboxAnswer::View(view) => view,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn view(cluster: &mut Cluster, at: &str, folder: FolderId) -> MailboxView {
    view_since(cluster, at, folder, None)
}

/// What a mail program would remember of a folder.
fn numbers(cluster: &mut Cluster, at: &str, folder: FolderId) -> BTreeMap<u32, MessageId> {
    let rows = view(cluster, at, folder).rows;
    rows.iter().map(|row| (row.uid, row.message)).collect()
}

fn row(view: &MailboxView, message: MessageId) -> &MailRow {
    view.rows.iter().find(|row| row.message == message).unwrap()
}

fn send(cluster: &mut Cluster, at: &str, text: &str) -> MessageId {
    let message = cluster.submit(at, "birrell@pa", &[ANN], text);
    cluster.pass(2_000);
    message
}

fn flags(texts: &[&str]) -> Vec<Flag> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn add_flags(cluster: &mut Cluster, at: &str, mails: &[MessageId], texts: &[&str]) {
    let change = MailboxAsk::ChangeFlags {
        folder: INBOX,
        mails: mails.to_vec(),
        change: FlagChange::Add,
        flags: flags(texts),
        unchanged_since: None,
    };
    let answer = ask(cluster, at, change);
    assert!(
        matches!(answer, MailboxAnswer::Flagged { .. }),
        "{answer:?}"
    );
}

fn flags_of(cluster: &mut Cluster, at: &str, message: MessageId) -> Vec<String> {
    let view = view(cluster, at, INBOX);
    let flags = &row(&view, message).flags;
    flags.iter().map(ToString::to_string).collect()
}

fn create(cluster: &mut Cluster, at: &str, path: &str) -> FolderId {
    let create = MailboxAsk::CreateFolder {
        path: path.parse().unwrap(),
        special_use: None,
    };
    match ask(cluster, at, create) {
        MailboxAnswer::Folder(view) => view.folder,
        other => panic!("{other:?}"),
    }
}

fn folders(cluster: &mut Cluster, at: &str) -> BTreeMap<String, FolderView> {
    match ask(cluster, at, MailboxAsk::Folders) {
        MailboxAnswer::Folders { folders, .. } => {
            let by_path = folders
                .into_iter()
                .map(|folder| (folder.path.to_string(), folder));
            by_path.collect()
        }
        other => panic!("{other:?}"),
    }
}

fn move_to(cluster: &mut Cluster, at: &str, from: FolderId, mail: MessageId, to: FolderId) {
    let mails = vec![mail];
    let answer = ask(cluster, at, MailboxAsk::Move { from, mails, to });
    let MailboxAnswer::Copied { mails, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].message, mail);
}

fn expunge(cluster: &mut Cluster, at: &str, folder: FolderId, mail: MessageId) -> Vec<u32> {
    let mails = vec![mail];
    match ask(cluster, at, MailboxAsk::Expunge { folder, mails }) {
        MailboxAnswer::Expunged { numbers, .. } => numbers,
        other => panic!("{other:?}"),
    }
}

/// The two can't hear each other, and have noticed.
fn part(cluster: &mut Cluster) {
    cluster.part("s1", "s2");
    cluster.pass(6_000);
}

fn heal(cluster: &mut Cluster) {
    cluster.broken.clear();
    cluster.pass(20_000);
}

/// Both sites show the same folders, numbers and flags. Modseqs are each one's own.
pub(crate) fn assert_alike(cluster: &mut Cluster) {
    let shown = |cluster: &mut Cluster, at: &str| {
        let folders = folders(cluster, at);
        let views: Vec<_> = folders
            .iter()
            .map(|(path, folder)| {
                let view = view(cluster, at, folder.folder);
                let rows = view.rows.into_iter();
                let rows: Vec<_> = rows.map(|row| (row.uid, row.message, row.flags)).collect();
                (path.clone(), view.uid_validity, view.uid_next, rows)
            })
            .collect();
        views
    };
    let one = shown(cluster, "s1");
    // Asked alone: what it itself has, not what the other shows.
    cluster.part("s1", "s2");
    cluster.pass(6_000);
    let (first, second) = (shown(cluster, "s1"), shown(cluster, "s2"));
    cluster.broken.clear();
    cluster.pass(10_000);
    assert_eq!(first, second);
    assert_eq!(one, first);
}

#[test]
fn mails_have_ascending_numbers_which_both_sites_show_alike() {
    let mut cluster = two();
    let sent: Vec<_> = (0..3)
        .map(|n| send(&mut cluster, "s1", &format!("{n}")))
        .collect();
    let seen = numbers(&mut cluster, "s2", INBOX);
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), sent);
    assert_eq!(numbers(&mut cluster, "s1", INBOX), seen);
    let later = send(&mut cluster, "s2", "later");
    let now = numbers(&mut cluster, "s1", INBOX);
    assert_eq!(now.last_key_value().map(|(_, m)| *m), Some(later));
    assert!(
        seen.iter()
            .all(|(uid, message)| now.get(uid) == Some(message))
    );
    assert_alike(&mut cluster);
}

#[test]
fn a_mailbox_that_nobody_opens_has_no_cell_more() {
    let mut cluster = two();
    send(&mut cluster, "s1", "one");
    let cells = |cluster: &Cluster| {
        let rows = cluster.nodes[&server("s1")].disk.0.lock().unwrap();
        let cells = rows.keys().filter(|(table, key)| {
            *table == grapevine_core::Table::Cells && key.first() == Some(&b'M')
        });
        cells.count()
    };
    assert_eq!(cells(&cluster), 2, "its sites, and the message");
    view(&mut cluster, "s1", INBOX);
    cluster.pass(2_000);
    assert_eq!(cells(&cluster), 4, "a block, and a number");
}

#[test]
fn what_changed_since_a_mark_is_told_and_no_more() {
    let mut cluster = two();
    let one = send(&mut cluster, "s1", "one");
    let two = send(&mut cluster, "s1", "two");
    let first = view(&mut cluster, "s1", INBOX);
    assert_eq!((first.extent, first.rows.len()), (Extent::All, 2));
    let none = view_since(&mut cluster, "s1", INBOX, Some(first.mark));
    assert_eq!((none.extent, none.rows.len()), (Extent::Changes, 0));
    add_flags(&mut cluster, "s2", &[two], &["\\Seen", "$Work"]);
    let flagged = view_since(&mut cluster, "s1", INBOX, Some(first.mark));
    assert_eq!(flagged.rows.len(), 1);
    assert_eq!(row(&flagged, two).flags, flags(&["$Work", "\\Seen"]));
    let gone = expunge(&mut cluster, "s1", INBOX, one);
    let third = view_since(&mut cluster, "s2", INBOX, Some(flagged.mark));
    assert_eq!(third.vanished, gone);
    assert!(third.rows.is_empty());
    assert_eq!(third.uid_next, first.uid_next);
    // A mark of nobody: everything.
    let foreign = view_since(&mut cluster, "s1", INBOX, Some(Mark(7)));
    assert_eq!((foreign.extent, foreign.rows.len()), (Extent::All, 1));
    let mut status = first.mark;
    for at in ["s1", "s2"] {
        let now = view(&mut cluster, at, INBOX).mark;
        assert!(now >= status);
        status = now;
    }
}

#[test]
fn flags_are_changed_only_where_nothing_has_changed_since_if_so_asked() {
    let mut cluster = two();
    let one = send(&mut cluster, "s1", "one");
    let before = view(&mut cluster, "s1", INBOX).mark;
    add_flags(&mut cluster, "s1", &[one], &["\\Seen"]);
    let replace = |since| MailboxAsk::ChangeFlags {
        folder: INBOX,
        mails: vec![one],
        change: FlagChange::Replace,
        flags: flags(&["\\Flagged"]),
        unchanged_since: Some(since),
    };
    let answer = ask(&mut cluster, "s1", replace(before));
    let MailboxAnswer::Flagged { mails, kept } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((mails.len(), kept.len()), (0, 1));
    let now = view(&mut cluster, "s1", INBOX);
    let answer = ask(&mut cluster, "s2", replace(row(&now, one).mark));
    assert!(matches!(answer, MailboxAnswer::Flagged { kept, .. } if kept.is_empty()));
    assert_eq!(flags_of(&mut cluster, "s1", one), ["\\Flagged"]);
}

#[test]
fn folders_are_made_renamed_with_what_is_below_and_deleted() {
    let mut cluster = two();
    let work = create(&mut cluster, "s1", "Work");
    create(&mut cluster, "s2", "Work/Old");
    assert_eq!(
        try_ask(
            &mut cluster,
            "s1",
            MailboxAsk::CreateFolder {
                path: "Work".parse().unwrap(),
                special_use: None
            }
        )
        .unwrap_err()
        .kind,
        ErrorKind::Conflict
    );
    let one = send(&mut cluster, "s1", "one");
    move_to(&mut cluster, "s1", INBOX, one, work);
    assert!(numbers(&mut cluster, "s2", INBOX).is_empty());
    let inside = numbers(&mut cluster, "s2", work);
    assert_eq!(inside.values().copied().collect::<Vec<_>>(), [one]);
    assert!(cluster.inbox("s1", ANN).is_empty(), "POP3 sees INBOX");
    let to = "Job".parse().unwrap();
    let before = folders(&mut cluster, "s1")["Work"].clone();
    ask(
        &mut cluster,
        "s2",
        MailboxAsk::RenameFolder { folder: work, to },
    );
    let all = folders(&mut cluster, "s1");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["INBOX", "Job", "Job/Old"]);
    assert_eq!(all["Job"].uid_validity, before.uid_validity);
    assert_eq!(all["Job"].uid_next, before.uid_next);
    assert_eq!(numbers(&mut cluster, "s1", work), inside);
    ask(
        &mut cluster,
        "s1",
        MailboxAsk::DeleteFolder { folder: work },
    );
    assert_eq!(
        folders(&mut cluster, "s2").keys().collect::<Vec<_>>(),
        ["INBOX", "Job/Old"]
    );
    assert!(
        numbers(&mut cluster, "s2", INBOX).is_empty(),
        "its mails went with it"
    );
    assert_alike(&mut cluster);
}

#[test]
fn a_copy_shares_the_body_and_has_a_life_of_its_own() {
    // Else its custodian keeps the body for some days.
    let times = grapevine_core::Times {
        retain_ms: 0,
        ..times()
    };
    let mut cluster = Cluster::with(2, times);
    cluster.individual(ANN);
    cluster.pass(5_000);
    let keep = create(&mut cluster, "s1", "Keep");
    let one = send(&mut cluster, "s1", "one");
    add_flags(&mut cluster, "s1", &[one], &["\\Seen"]);
    let copy = MailboxAsk::Copy {
        from: INBOX,
        mails: vec![one],
        to: keep,
    };
    let answer = ask(&mut cluster, "s2", copy);
    let MailboxAnswer::Copied { mails, .. } = answer else {
        panic!("{answer:?}")
    };
    let copied = mails[0].message;
    assert_ne!(copied, one);
    let there = view(&mut cluster, "s2", keep);
    let row = row(&there, copied);
    assert_eq!((row.body, row.len, row.uid), (one, 3, mails[0].uid));
    assert_eq!(row.flags, flags(&["\\Seen"]));
    cluster.pass(5_000);
    expunge(&mut cluster, "s1", INBOX, one);
    // Long after: the orphans were looked for.
    cluster.pass(20 * 60_000);
    for at in ["s1", "s2"] {
        assert!(cluster.nodes[&server(at)].bodies.contains_key(&one), "{at}");
        assert!(
            !cluster.nodes[&server(at)].bodies.contains_key(&copied),
            "{at}"
        );
    }
    expunge(&mut cluster, "s1", keep, copied);
    cluster.pass(20 * 60_000);
    for at in ["s1", "s2"] {
        assert!(
            !cluster.nodes[&server(at)].bodies.contains_key(&one),
            "{at}"
        );
    }
}

/// A mail program hands in a mail.
fn append(cluster: &mut Cluster, at: &str, folder: FolderId, n: u64, text: &str) -> MailboxAnswer {
    let message = MessageId {
        time: Hlc::at_ms(cluster.now.wall_ms),
        origin: OriginId::client(n),
    };
    let info = body(text);
    let staged = cluster.stage(&server(at), info);
    let request = Request::Mailbox {
        name: name(ANN),
        ask: MailboxAsk::Append {
            folder,
            message,
            body: info,
            flags: flags(&["\\Draft"]),
            date_ms: Some(5),
        },
    };
    let (_, result) = cluster.answer_to(at, |id| Input::Append {
        id,
        speaker: Speaker::Operator,
        request,
        staged,
    });
    match result {
        Ok(Reply::Mailbox(reply)) => reply.answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mail_is_appended_wherever_it_comes_in() {
    let mut cluster = Cluster::new(3);
    cluster.individual(ANN);
    sites(&mut cluster, &["s1", "s2"]);
    send(&mut cluster, "s1", "one");
    let drafts = create(&mut cluster, "s3", "Drafts");
    for (n, at) in ["s1", "s2", "s3"].into_iter().enumerate() {
        let answer = append(
            &mut cluster,
            at,
            drafts,
            n as u64,
            &format!("draft at {at}"),
        );
        assert!(
            matches!(answer, MailboxAnswer::Appended { .. }),
            "{at}: {answer:?}"
        );
    }
    let there = view(&mut cluster, "s3", drafts);
    assert_eq!(there.rows.len(), 3);
    assert!(
        there
            .rows
            .iter()
            .all(|row| row.date_ms == 5 && row.flags == flags(&["\\Draft"]))
    );
    // The same again is the same mail.
    let message = there.rows[0].message;
    let again = append_again(&mut cluster, "s2", drafts, message);
    let uid = there.rows[0].uid;
    assert!(matches!(again, MailboxAnswer::Appended { uid: same, .. } if same == uid));
    assert_eq!(view(&mut cluster, "s1", drafts).rows.len(), 3);
    cluster.pass(20 * 60_000);
    for at in ["s1", "s2"] {
        assert!(
            cluster.nodes[&server(at)].bodies.contains_key(&message),
            "{at}"
        );
    }
}

fn append_again(
    cluster: &mut Cluster,
    at: &str,
    folder: FolderId,
    message: MessageId,
) -> MailboxAnswer {
    let info = cluster.nodes[&server("s1")].bodies[&message];
    let ask = MailboxAsk::Append {
        folder,
        message,
        body: info,
        flags: Vec::new(),
        date_ms: None,
    };
    self::ask(cluster, at, ask)
}

#[test]
fn both_sides_of_a_partition_go_on_and_the_merge_is_as_written() {
    let mut cluster = two();
    let kept = send(&mut cluster, "s1", "kept");
    let read = send(&mut cluster, "s1", "read");
    let gone = send(&mut cluster, "s1", "gone");
    let before = numbers(&mut cluster, "s1", INBOX);
    part(&mut cluster);
    // Each side reads, flags, expunges, gets mail.
    add_flags(&mut cluster, "s1", &[read], &["\\Seen"]);
    add_flags(&mut cluster, "s2", &[read, gone], &["\\Flagged"]);
    expunge(&mut cluster, "s1", INBOX, gone);
    let here = send(&mut cluster, "s1", "at one");
    let there = send(&mut cluster, "s2", "at two");
    let (one, two) = (
        numbers(&mut cluster, "s1", INBOX),
        numbers(&mut cluster, "s2", INBOX),
    );
    assert!(one.values().any(|m| *m == here) && !one.values().any(|m| *m == there));
    assert!(two.values().any(|m| *m == there) && !two.values().any(|m| *m == here));
    let clash = one
        .keys()
        .filter(|uid| two.get(uid).is_some_and(|m| one.get(uid) != Some(m)));
    assert_eq!(clash.count(), 0, "no number for two mails");
    heal(&mut cluster);
    let merged = numbers(&mut cluster, "s1", INBOX);
    assert_eq!(numbers(&mut cluster, "s2", INBOX), merged);
    let mails: Vec<_> = merged.values().copied().collect();
    assert!(mails.contains(&here) && mails.contains(&there) && mails.contains(&kept));
    assert!(!mails.contains(&gone), "an expunge wins");
    for (uid, message) in &merged {
        for seen in [&before, &one, &two] {
            assert!(seen.get(uid).is_none_or(|m| m == message), "{uid}");
            // What a mail program has not seen yet comes above all that it has.
            if !seen.values().any(|m| m == message) {
                assert!(seen.keys().all(|known| known < uid), "{uid} comes late");
            }
        }
    }
    assert_eq!(flags_of(&mut cluster, "s1", read), ["\\Flagged", "\\Seen"]);
    assert_alike(&mut cluster);
}

#[test]
fn folders_of_one_name_become_one_and_nothing_is_lost_in_a_deleted_one() {
    let mut cluster = two();
    let (one, two) = (
        send(&mut cluster, "s1", "one"),
        send(&mut cluster, "s1", "two"),
    );
    let old = create(&mut cluster, "s1", "Old");
    part(&mut cluster);
    let here = create(&mut cluster, "s1", "Work");
    cluster.pass(1_000);
    let there = create(&mut cluster, "s2", "Work");
    let validity = folders(&mut cluster, "s1")["Work"].uid_validity;
    assert_eq!(folders(&mut cluster, "s2")["Work"].uid_validity, validity);
    move_to(&mut cluster, "s1", INBOX, one, here);
    move_to(&mut cluster, "s2", INBOX, two, there);
    // What programs at both sides have seen of it, by the path and its validity.
    let seen = [("s1", here), ("s2", there)].map(|(at, folder)| view(&mut cluster, at, folder));
    ask(&mut cluster, "s1", MailboxAsk::DeleteFolder { folder: old });
    let late = send(&mut cluster, "s2", "late");
    move_to(&mut cluster, "s2", INBOX, late, old);
    heal(&mut cluster);
    let all = folders(&mut cluster, "s2");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["INBOX", "Work"]);
    let mut inside: Vec<_> = numbers(&mut cluster, "s1", here).into_values().collect();
    inside.sort();
    assert_eq!(inside, [one, two]);
    assert_eq!(all["Work"].uid_validity, validity);
    for uid in numbers(&mut cluster, "s1", here).into_keys() {
        for shown in &seen {
            let is_known = shown.rows.iter().any(|row| row.uid == uid);
            assert!(is_known || uid >= shown.uid_next, "{uid} is late");
        }
    }
    let inbox: Vec<_> = numbers(&mut cluster, "s1", INBOX).into_values().collect();
    assert_eq!(inbox, [late]);
    assert_alike(&mut cluster);
}

/// One site numbers what nobody else ever hears of, and its disk is lost. Gives what a mail program that was there
/// sees wrong afterwards.
fn seen_wrong_after_a_lost_disk(mut cluster: Cluster) -> Option<String> {
    cluster.individual(ANN);
    sites(&mut cluster, &["s1", "s2"]);
    send(&mut cluster, "s1", "one");
    let shown = numbers(&mut cluster, "s1", INBOX);
    part(&mut cluster);
    let mut seen = shown.clone();
    for n in 0..3 {
        send(&mut cluster, "s1", &format!("lost {n}"));
        seen.extend(numbers(&mut cluster, "s1", INBOX));
    }
    let highest = *seen.keys().max().unwrap();
    lose_disk(&mut cluster, "s1");
    heal(&mut cluster);
    for n in 0..4 {
        send(&mut cluster, ["s1", "s2"][n % 2], &format!("after {n}"));
        for at in ["s1", "s2"] {
            for (uid, message) in numbers(&mut cluster, at, INBOX) {
                if seen.get(&uid).is_some_and(|m| *m != message) {
                    return Some(format!("{uid} is another mail"));
                }
                if !seen.contains_key(&uid) && uid <= highest {
                    return Some(format!("{uid} comes late"));
                }
            }
        }
    }
    assert_alike(&mut cluster);
    None
}

#[test]
fn a_lost_disk_gives_no_number_out_again() {
    assert_eq!(seen_wrong_after_a_lost_disk(Cluster::new(2)), None);
}

/// Both sides of a partition number what comes. Gives what a mail program of the side that numbered anew sees late.
fn seen_late_after_a_partition(mut cluster: Cluster) -> Option<String> {
    cluster.individual(ANN);
    cluster.pass(5_000);
    send(&mut cluster, "s1", "one");
    assert_eq!(numbers(&mut cluster, "s1", INBOX).len(), 1);
    part(&mut cluster);
    for at in ["s1", "s2"] {
        send(&mut cluster, at, &format!("at {at}"));
        numbers(&mut cluster, at, INBOX);
    }
    let seen = [
        numbers(&mut cluster, "s1", INBOX),
        numbers(&mut cluster, "s2", INBOX),
    ];
    heal(&mut cluster);
    let merged = numbers(&mut cluster, "s1", INBOX);
    let late = |uid: &u32, seen: &BTreeMap<u32, MessageId>| {
        !seen.contains_key(uid) && seen.keys().any(|known| known > uid)
    };
    let late = merged
        .keys()
        .find(|uid| seen.iter().any(|seen| late(uid, seen)));
    late.map(|uid| format!("{uid} comes late"))
}

#[test]
fn no_number_comes_late_after_a_partition() {
    assert_eq!(seen_late_after_a_partition(Cluster::new(2)), None);
}

#[cfg(feature = "planted-faults")]
#[test]
fn numbers_of_a_lost_disk_given_out_again_and_late_ones_are_found() {
    use grapevine_core::Planted;
    // Of the servers started from now on, one makes the mistake.
    let planted = |mistake| {
        let mut cluster = Cluster::new(1);
        cluster.planted = Some(mistake);
        cluster.join("s2");
        cluster.kill("s1");
        cluster.start("s1", Start::Resume);
        cluster.pass(10_000);
        cluster
    };
    let found = seen_wrong_after_a_lost_disk(planted(Planted::BlockReused));
    assert!(found.is_some_and(|found| found.contains("another mail")));
    let found = seen_late_after_a_partition(planted(Planted::LateNumbersKept));
    assert!(found.is_some());
}

#[test]
fn the_other_site_takes_over_when_the_numberer_is_gone() {
    let mut cluster = two();
    let one = send(&mut cluster, "s1", "one");
    let by = |cluster: &mut Cluster, at: &str| {
        let view = MailboxAsk::View {
            folder: INBOX,
            since: None,
            after: 0,
        };
        try_ask(cluster, at, view).unwrap()
    };
    let first = by(&mut cluster, "s2");
    let (numberer, other) = match first.by.as_str() {
        "s1" => ("s1", "s2"),
        _ => ("s2", "s1"),
    };
    assert!(!first.partial);
    cluster.pass(5_000);
    cluster.kill(numberer);
    cluster.pass(6_000);
    let alone = by(&mut cluster, other);
    assert!(alone.partial && alone.by == server(other), "{alone:?}");
    let two = cluster.submit(other, "birrell@pa", &[ANN], "two");
    cluster.pass(3_000);
    let seen = numbers(&mut cluster, other, INBOX);
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [one, two]);
    cluster.start(numberer, Start::Resume);
    cluster.pass(20_000);
    assert_eq!(numbers(&mut cluster, numberer, INBOX), seen);
    assert_eq!(
        by(&mut cluster, numberer).by,
        server(other),
        "whoever took over stays"
    );
    assert_alike(&mut cluster);
}

#[test]
fn who_looks_at_a_mailbox_hears_of_changes_a_few_times_a_second() {
    let mut cluster = two();
    let one = send(&mut cluster, "s1", "one");
    let told = |cluster: &Cluster, at: &str| {
        let told = cluster.effects.iter().filter(|(by, effect)| {
            by.as_str() == at && matches!(effect, Effect::MailboxChanged(_))
        });
        told.count()
    };
    assert_eq!((told(&cluster, "s1"), told(&cluster, "s2")), (0, 0));
    view(&mut cluster, "s1", INBOX);
    view(&mut cluster, "s2", INBOX);
    cluster.pass(1_000);
    let before = (told(&cluster, "s1"), told(&cluster, "s2"));
    for n in 0..20 {
        add_flags(&mut cluster, "s1", &[one], &[&format!("k{n}")]);
    }
    cluster.pass(1_000);
    for (at, before) in [("s1", before.0), ("s2", before.1)] {
        let more = told(&cluster, at) - before;
        assert!((1..=12).contains(&more), "{at}: {more}");
    }
}

#[test]
fn a_message_that_was_moved_or_copied_is_still_delivered_once() {
    let mut cluster = two();
    let one = MessageId {
        time: Hlc::at_ms(cluster.now.wall_ms),
        origin: OriginId::client(5),
    };
    let again = |cluster: &mut Cluster, at: &str| {
        let who = cluster.login("birrell@pa");
        let id = Some(one);
        let sent = cluster.begin_submit(at, who, Some("birrell@pa"), &[ANN], "one", id);
        cluster.pass(5_000);
        assert!(cluster.result(sent).is_ok());
    };
    again(&mut cluster, "s1");
    let keep = create(&mut cluster, "s1", "Keep");
    move_to(&mut cluster, "s1", INBOX, one, keep);
    again(&mut cluster, "s2");
    assert_eq!(numbers(&mut cluster, "s2", keep).len(), 1);
    assert!(numbers(&mut cluster, "s2", INBOX).is_empty());
    expunge(&mut cluster, "s2", keep, one);
    again(&mut cluster, "s1");
    assert!(numbers(&mut cluster, "s1", INBOX).is_empty());
}
