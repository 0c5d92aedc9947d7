//! Tombstones, and who has what: one story each.

use grapevine_core::{Planted, Table};
use grapevine_model::{EntryChange, ErrorKind, HolderSays, Reply, Request, Stamp};
use grapevine_sim::{Cut, Options, Outcome, hash, registry_name, server_name};

use crate::bench::{Bench, list_add, list_remove, name_of, no, options, written, yes};

fn pair() -> Bench {
    let mut bench = Bench::new(3);
    bench.registry("pa", &[0, 1]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.group("club@pa", "ann@pa", &[]);
    bench.pass_s(5);
    bench
}

fn stamp(outcome: &Outcome) -> Stamp {
    match outcome {
        Outcome::Done(Reply::Written(written)) => written.stamp.unwrap(),
        other => panic!("not written: {other:?}"),
    }
}

fn seen(bench: &mut Bench, node: usize, stamp: Option<Stamp>) -> Vec<HolderSays> {
    let registry = registry_name("pa");
    match bench.operator(node, Request::RegistrySeen { registry, stamp }) {
        Outcome::Done(Reply::Seen(view)) => {
            let servers: Vec<_> = view.holders.iter().map(|h| h.0.clone()).collect();
            assert_eq!(servers, [server_name(1), server_name(2)]);
            view.holders.iter().map(|h| h.1).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_a_change_is_asked_of_each_holder_and_silence_is_no_answer() {
    let mut bench = pair();
    let at = stamp(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa")));
    // Asked at a holder, at the other one, and at a server that has to pass the question on.
    for node in 0..3 {
        assert_eq!(
            seen(&mut bench, node, Some(at)),
            [HolderSays::Has, HolderSays::Has]
        );
        assert_eq!(
            seen(&mut bench, node, None),
            [HolderSays::Has, HolderSays::Has]
        );
    }
    bench.cluster.network.cut(&[0], &[1], Cut::BothWays);
    bench.pass_s(10);
    let alone = stamp(&bench.ask(0, "ann@pa", list_add("club@pa", "ann@pa")));
    assert_eq!(
        seen(&mut bench, 0, Some(alone)),
        [HolderSays::Has, HolderSays::Silent]
    );
    assert_eq!(
        seen(&mut bench, 1, Some(alone)),
        [HolderSays::Silent, HolderSays::Lacks]
    );
    bench.cluster.network.heal();
    bench.until("it is everywhere", |bench| {
        seen(bench, 1, Some(alone)) == [HolderSays::Has, HolderSays::Has]
    });
    bench.assert_clean();
}

#[test]
fn what_a_holder_had_before_it_lost_its_disk_is_not_said_of_it_again() {
    let mut bench = pair();
    let at = stamp(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa")));
    assert_eq!(
        seen(&mut bench, 0, Some(at)),
        [HolderSays::Has, HolderSays::Has]
    );
    bench.cluster.destroy(1);
    assert_eq!(
        seen(&mut bench, 0, Some(at)),
        [HolderSays::Has, HolderSays::Silent]
    );
    bench.assert_clean();
}

/// Times in which "three times the retention" is a minute.
fn short(planted: Option<Planted>) -> Options {
    let mut options = options();
    options.times.retention_ms = 20_000;
    options.planted = planted;
    options
}

const LONG_S: u64 = 60;

fn club(options: Options) -> Bench {
    let mut bench = Bench::with(3, options);
    bench.registry("pa", &[0, 1]);
    for person in ["reg@pa", "ann@pa", "bob@pa", "cat@pa", "eve@pa"] {
        bench.person(person, &[0, 1]);
    }
    bench.group("club@pa", "ann@pa", &["ann@pa", "cat@pa"]);
    bench.group("gone@pa", "ann@pa", &["bob@pa", "cat@pa"]);
    bench.pass_s(5);
    bench
}

fn forgotten(bench: &mut Bench, node: usize) -> bool {
    bench.status(node).tombstones.kept == 0
}

fn digests_agree(bench: &mut Bench) -> bool {
    let digest = |bench: &mut Bench, node| {
        let registries = bench.status(node).registries;
        registries.into_iter().find(|(r, _, _)| r.as_str() == "pa")
    };
    let first = digest(bench, 0);
    first.is_some() && first == digest(bench, 1)
}

fn delete(name: &str) -> Request {
    Request::Delete {
        name: name_of(name),
    }
}

fn is_there(bench: &mut Bench, node: usize, name: &str) -> bool {
    let show = Request::Show {
        name: name_of(name),
    };
    match bench.operator(node, show) {
        Outcome::Done(Reply::Entry(_)) => true,
        other => {
            assert_eq!(other.refusal(), Some(ErrorKind::NotFound), "{name}");
            false
        }
    }
}

fn passwd(name: &str, password: &str) -> Request {
    Request::Change {
        name: name_of(name),
        change: EntryChange::Password(hash(password)),
    }
}

#[test]
fn a_deletion_is_forgotten_when_every_holder_has_it_and_what_was_deleted_can_come_again() {
    let mut bench = club(options());
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    written(&bench.operator(1, delete("gone@pa")));
    bench.until("both holders have forgotten it", |bench| {
        forgotten(bench, 0) && forgotten(bench, 1)
    });
    let reaped = |bench: &mut Bench, node| bench.status(node).tombstones.reaped;
    // The member, the group's identity, its password that never was, remark, owner, two members.
    assert!(reaped(&mut bench, 0) >= 6 && reaped(&mut bench, 1) >= 6);
    for node in 0..2 {
        bench.cluster.crash(node);
        bench.pass_s(2);
        bench.cluster.restart(node);
        bench.pass_s(10);
    }
    for node in 0..2 {
        assert_eq!(bench.check(node, "club@pa", "cat@pa"), no());
        assert!(!is_there(&mut bench, node, "gone@pa"));
        assert!(forgotten(&mut bench, node));
    }
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "cat@pa")));
    bench.until("the member is back, by his owner's will", |bench| {
        bench.check(0, "club@pa", "cat@pa") == yes() && digests_agree(bench)
    });
    bench.assert_clean();
}

/// A holder is away for a while, shorter than the retention. Says whether the removed one is back.
fn away_for_a_while(planted: Option<Planted>) -> bool {
    let mut bench = club(Options {
        planted,
        ..options()
    });
    bench.cluster.crash(1);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    bench.pass_s(LONG_S);
    let kept = bench.status(0).tombstones.kept;
    bench.cluster.restart(1);
    bench.pass_s(30);
    let back = (0..2).any(|node| bench.check(node, "club@pa", "cat@pa") == yes());
    if planted.is_none() {
        assert!(kept > 0, "it was forgotten while a holder lacked it");
        bench.until("all have forgotten it", |bench| {
            forgotten(bench, 0) && forgotten(bench, 1)
        });
        assert!(digests_agree(&mut bench));
        assert_eq!(bench.status(1).tombstones.refreshed, 0);
        bench.assert_clean();
    }
    back
}

#[test]
fn a_deletion_is_kept_as_long_as_a_holder_lacks_it() {
    assert!(!away_for_a_while(None));
}

#[test]
fn forgetting_by_a_timer_brings_back_a_removed_member_and_is_seen() {
    assert!(away_for_a_while(Some(Planted::ReapOnTimer)));
}

/// A holder is cut off for three times the retention, and people go on changing things at it.
/// Says whether anything that was deleted is back.
fn away_too_long(planted: Option<Planted>) -> bool {
    let mut bench = club(short(planted));
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    written(&bench.operator(0, delete("gone@pa")));
    written(&bench.operator(0, delete("eve@pa")));
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "bob@pa")));
    // What is changed of an entry that is dead elsewhere does not bring it back.
    written(&bench.ask(1, "eve@pa", passwd("eve@pa", "new")));
    written(&bench.ask(1, "ann@pa", passwd("ann@pa", "new")));
    bench.pass_s(LONG_S);
    assert!(forgotten(&mut bench, 0), "it waits for the absent one");
    bench.cluster.network.heal();
    bench.pass_s(60);
    let back = (0..2).any(|node| {
        bench.check(node, "club@pa", "cat@pa") == yes()
            || is_there(&mut bench, node, "gone@pa")
            || is_there(&mut bench, node, "eve@pa")
    });
    if planted.is_none() {
        for node in 0..3 {
            // What only the absent one had is not lost.
            assert_eq!(bench.check(node, "club@pa", "bob@pa"), yes());
            assert!(matches!(
                bench.login(node, "ann@pa", "new"),
                Outcome::Done(Reply::Authenticated(_))
            ));
        }
        assert!(bench.status(1).tombstones.refreshed > 0);
        assert!(digests_agree(&mut bench));
        bench.assert_clean();
    }
    back
}

#[test]
fn a_holder_absent_three_times_the_retention_resurrects_nothing_and_loses_nothing() {
    assert!(!away_too_long(None));
}

#[test]
fn a_return_without_a_refresh_brings_back_what_was_deleted_and_is_seen() {
    assert!(away_too_long(Some(Planted::RefreshSkipped)));
}

#[test]
fn two_sides_that_each_forgot_deletions_of_their_own_agree_afterwards() {
    let mut bench = club(short(None));
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    written(&bench.ask(0, "ann@pa", list_add("club@pa", "reg@pa")));
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "ann@pa")));
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "bob@pa")));
    written(&bench.operator(1, delete("gone@pa")));
    bench.pass_s(LONG_S);
    assert!(forgotten(&mut bench, 0) && forgotten(&mut bench, 1));
    bench.cluster.network.heal();
    bench.until("both have both sides' deletions", |bench| {
        (0..2).all(|node| {
            bench.check(node, "club@pa", "cat@pa") == no()
                && bench.check(node, "club@pa", "ann@pa") == no()
                && bench.check(node, "club@pa", "reg@pa") == yes()
                && bench.check(node, "club@pa", "bob@pa") == yes()
                && !is_there(bench, node, "gone@pa")
        })
    });
    bench.pass_s(30);
    assert!(digests_agree(&mut bench));
    bench.assert_clean();
}

#[test]
fn a_message_deleted_and_forgotten_is_not_delivered_again_by_a_custodian_that_heard_nothing() {
    let mut options = short(None);
    // Longer than it takes to forget: the custodian still tries. It is told that it is too late to tell.
    options.times.give_up_ms = options.times.retention_ms;
    let mut bench = club(options);
    let (first, _) = bench.send(2, "ann@pa", &["bob@pa"]);
    bench.until("the first one is there", |bench| {
        bench.inbox(0, "bob@pa") == [first] && bench.inbox(1, "bob@pa") == [first]
    });
    // Nothing that the sites say reaches the custodian any more: its deposit is not acknowledged.
    bench.cluster.network.cut(&[0, 1], &[2], Cut::OneWay);
    let (message, _) = bench.send(2, "ann@pa", &["bob@pa"]);
    bench.until("it is there", |bench| {
        bench.inbox(0, "bob@pa").contains(&message) && bench.inbox(1, "bob@pa").contains(&message)
    });
    let name = name_of("bob@pa");
    let messages = vec![first, message];
    written(&bench.ask(0, "bob@pa", Request::InboxDelete { name, messages }));
    bench.until("it is forgotten", |bench| {
        forgotten(bench, 0) && forgotten(bench, 1)
    });
    bench.cluster.network.heal();
    bench.pass_s(LONG_S);
    assert!(bench.inbox(0, "bob@pa").is_empty() && bench.inbox(1, "bob@pa").is_empty());
    // Newer mail comes as ever.
    let (newer, _) = bench.send(2, "ann@pa", &["bob@pa"]);
    bench.until("the next one is there", |bench| {
        bench.inbox(0, "bob@pa") == [newer]
    });
    bench.assert_clean();
}

#[test]
fn deletions_from_before_the_index_are_forgotten_too() {
    let mut options = options();
    options.rows_a_turn = 3;
    let mut bench = club(options);
    bench.cluster.network.cut(&[0], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    written(&bench.operator(0, delete("gone@pa")));
    bench.pass_s(5);
    let kept = bench.status(0).tombstones.kept;
    assert!(kept > 0);
    // A folder of a release that had no index.
    bench.cluster.crash(0);
    let disk = &mut bench.cluster.node_mut(0).disk;
    for (row, _) in disk.rows(Table::Tombstones) {
        disk.lose(Table::Tombstones, &row, None);
    }
    disk.lose(Table::Meta, b"tombstones-indexed", None);
    bench.cluster.restart(0);
    bench.until("they are found again", |bench| {
        bench.status(0).tombstones.kept == kept
    });
    // It is done once.
    bench.cluster.crash(0);
    bench.cluster.restart(0);
    bench.pass_s(5);
    assert_eq!(bench.status(0).tombstones.kept, kept);
    bench.cluster.network.heal();
    bench.until("both holders have forgotten them", |bench| {
        forgotten(bench, 0) && forgotten(bench, 1)
    });
    for node in 0..2 {
        assert_eq!(bench.check(node, "club@pa", "cat@pa"), no());
        assert!(!is_there(&mut bench, node, "gone@pa"));
    }
    bench.assert_clean();
}

#[test]
fn a_refresh_that_is_stopped_on_every_page_of_its_end_resurrects_nothing_and_loses_nothing() {
    let mut options = short(None);
    options.rows_a_turn = 1;
    let mut bench = club(options);
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "cat@pa")));
    written(&bench.operator(0, delete("gone@pa")));
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "bob@pa")));
    written(&bench.ask(1, "ann@pa", passwd("ann@pa", "new")));
    bench.pass_s(LONG_S);
    assert!(forgotten(&mut bench, 0), "it waits for the absent one");
    bench.cluster.network.heal();
    // The power goes whenever one cell more has gone from the disk.
    let cells = |bench: &Bench| bench.cluster.nodes()[1].disk.rows(Table::Cells).len();
    let (mut crashes, mut least) = (0, cells(&bench));
    let until_us = bench.cluster.now_us() + 60_000_000;
    while bench.cluster.now_us() < until_us && bench.cluster.step().is_some() {
        let now = cells(&bench);
        if now < least {
            least = now;
            crashes += 1;
            bench.cluster.crash(1);
            bench.cluster.restart(1);
        }
    }
    assert!(crashes > 2, "the end of the refresh was seen: {crashes}");
    bench.until("the copies are equal", digests_agree);
    for node in 0..3 {
        assert_eq!(bench.check(node, "club@pa", "cat@pa"), no());
        assert!(!is_there(&mut bench, node, "gone@pa"));
        assert_eq!(bench.check(node, "club@pa", "bob@pa"), yes());
        assert!(matches!(
            bench.login(node, "ann@pa", "new"),
            Outcome::Done(Reply::Authenticated(_))
        ));
    }
    bench.assert_clean();
}

#[test]
fn a_mailbox_whose_deletions_are_forgotten_moves_to_a_site_that_has_nothing_of_it() {
    let mut options = short(None);
    // A mailbox's deletions are kept as long as messages are tried.
    options.times.give_up_ms = options.times.retention_ms;
    let mut bench = club(options);
    let (kept, _) = bench.send(2, "ann@pa", &["bob@pa"]);
    let (gone, _) = bench.send(2, "ann@pa", &["bob@pa"]);
    bench.until("both are there", |bench| {
        (0..2).all(|node| bench.inbox(node, "bob@pa").len() == 2)
    });
    let name = name_of("bob@pa");
    let messages = vec![gone];
    let delete = Request::InboxDelete { name, messages };
    written(&bench.ask(0, "bob@pa", delete));
    bench.until("it is forgotten", |bench| {
        forgotten(bench, 0) && forgotten(bench, 1)
    });
    // The new site hears nothing of its new mailbox when it is told.
    bench.cluster.network.cut(&[0, 1], &[2], Cut::BothWays);
    let sites = Request::Change {
        name: name_of("bob@pa"),
        change: EntryChange::Sites(crate::bench::servers(&[0, 2])),
    };
    written(&bench.operator(0, sites));
    bench.pass_s(10);
    bench.cluster.network.heal();
    bench.until("the new site has it", |bench| {
        bench.cluster.nodes()[2].disk.body(kept).is_some()
            && (bench.inbox_if_told(2, "bob@pa")).is_some_and(|inbox| inbox == [kept])
            && (bench.inbox_if_told(0, "bob@pa")).is_some_and(|inbox| inbox == [kept])
    });
    bench.assert_clean();
}
