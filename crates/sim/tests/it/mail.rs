//! P1, P2 and P6, one story each.

use grapevine_model::{ErrorKind, Request};
use grapevine_sim::{Cut, Doom, Fate, Moment};

use crate::bench::{Bench, accepted, list_add, name_of, options, written};

/// Three servers; `pa` at the first two, `es` at the last two; mailboxes on different pairs.
fn three() -> Bench {
    let mut bench = Bench::new(3);
    furnish(&mut bench);
    bench
}

fn furnish(bench: &mut Bench) {
    bench.registry("pa", &[0, 1]);
    bench.registry("es", &[1, 2]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.person("bob@es", &[1, 2]);
    bench.person("cid@es", &[2]);
    bench.pass_s(5);
}

#[test]
fn a_message_accepted_is_in_the_mailbox_of_every_site() {
    let mut bench = three();
    let (id, copies) = bench.send(0, "ann@pa", &["bob@es", "ann@pa"]);
    assert_eq!(copies, 2);
    bench.until_at_rest();
    for node in 0..3 {
        assert_eq!(bench.inbox(node, "bob@es"), [id], "at node {node}");
        assert_eq!(bench.inbox(node, "ann@pa"), [id], "at node {node}");
    }
    bench.assert_clean();
}

#[test]
fn what_was_accepted_survives_the_accepting_server_and_its_disk() {
    let mut bench = three();
    let doom = Doom {
        after: Moment::Accepted,
        fate: Fate::Destroy,
    };
    bench.cluster.doom(0, Some(doom));
    let (id, copies) = bench.send(0, "ann@pa", &["bob@es"]);
    assert_eq!(copies, 2);
    assert!(!bench.cluster.nodes()[0].is_up());
    bench.until("bob has it", |bench| bench.inbox(1, "bob@es") == [id]);
    bench.until("the other site has it", |bench| {
        bench.inbox(2, "bob@es") == [id]
    });
    bench.assert_clean();
}

#[test]
fn what_was_accepted_survives_a_blackout_at_the_moment_of_the_yes() {
    let mut bench = three();
    let doom = Doom {
        after: Moment::Accepted,
        fate: Fate::Blackout,
    };
    bench.cluster.doom(0, Some(doom));
    let (id, _) = bench.send(0, "ann@pa", &["bob@es"]);
    assert!(bench.cluster.up().is_empty());
    bench.pass_s(5);
    for node in 0..3 {
        bench.cluster.restart(node);
    }
    bench.until("bob has it", |bench| bench.inbox(1, "bob@es") == [id]);
    bench.assert_clean();
}

#[test]
fn the_deputy_delivers_when_the_custodian_is_silent() {
    let mut bench = three();
    bench.cluster.crash(2);
    let (id, copies) = bench.send(0, "ann@pa", &["cid@es"]);
    assert_eq!(copies, 2);
    bench.pass_s(3);
    bench.cluster.crash(0);
    bench.pass_s(30);
    bench.cluster.restart(2);
    bench.until("cid has it", |bench| bench.inbox(2, "cid@es") == [id]);
    // The old custodian comes back and finds its work done: still one copy.
    bench.cluster.restart(0);
    bench.until_at_rest();
    assert_eq!(bench.inbox(2, "cid@es"), [id]);
    bench.assert_clean();
}

#[test]
fn a_submission_repeated_at_another_server_is_one_copy() {
    let mut bench = three();
    let letter = bench.letter("ann@pa", &["bob@es", "cid@es"]);
    for node in [0, 1, 2, 0] {
        assert_eq!(
            Some(accepted(&bench.cluster.submit(node, letter.clone())).0),
            letter.id
        );
    }
    bench.until_at_rest();
    assert_eq!(bench.inbox(1, "bob@es").len(), 1);
    assert_eq!(bench.inbox(2, "cid@es").len(), 1);
    bench.assert_clean();
}

#[test]
fn a_deleted_message_is_not_brought_back_by_a_repeated_submission() {
    let mut bench = three();
    let letter = bench.letter("ann@pa", &["bob@es"]);
    let (id, _) = accepted(&bench.cluster.submit(0, letter.clone()));
    bench.until("bob has it", |bench| bench.inbox(2, "bob@es") == [id]);
    let delete = Request::InboxDelete {
        name: name_of("bob@es"),
        messages: vec![id],
    };
    written(&bench.ask(2, "bob@es", delete));
    accepted(&bench.cluster.submit(1, letter));
    bench.until_at_rest();
    bench.pass_s(10);
    for node in 0..3 {
        assert_eq!(bench.inbox(node, "bob@es"), [], "at node {node}");
    }
    bench.assert_clean();
}

#[test]
fn both_sides_of_a_partition_take_and_deliver_mail() {
    let mut bench = three();
    bench.cluster.network.cut(&[0], &[1, 2], Cut::BothWays);
    bench.pass_s(10);
    let (alone, copies) = bench.send(0, "ann@pa", &["ann@pa"]);
    assert_eq!(copies, 1, "it says that there is one copy only");
    let (other, copies) = bench.send(1, "bob@es", &["ann@pa"]);
    assert_eq!(copies, 2);
    bench.until("each side reads its own", |bench| {
        bench.inbox(0, "ann@pa") == [alone] && bench.inbox(1, "ann@pa") == [other]
    });
    bench.cluster.network.heal();
    bench.until("both read both", |bench| {
        (0..3).all(|node| bench.inbox(node, "ann@pa") == [alone, other])
    });
    bench.until_at_rest();
    bench.assert_clean();
}

#[test]
fn a_list_nested_over_registries_reaches_everybody_once_and_its_cycle_ends() {
    let mut bench = three();
    bench.group("all^@es", "reg@pa", &["bob@es", "cid@es"]);
    bench.group(
        "all^@pa",
        "reg@pa",
        &["ann@pa", "reg@pa", "bob@es", "all^@es"],
    );
    let cycle = list_add("all^@es", "all^@pa");
    written(&bench.operator(1, cycle));
    bench.pass_s(5);
    let mut expected = Vec::new();
    for node in 0..3 {
        expected.push(
            bench
                .send(node, "ann@pa", &["all^@es", "all^@pa", "cid@es"])
                .0,
        );
    }
    bench.until_at_rest();
    for who in ["ann@pa", "reg@pa", "bob@es", "cid@es"] {
        assert_eq!(bench.inbox(1, who), expected, "{who}");
    }
    bench.assert_clean();
}

#[test]
fn who_cannot_be_reached_for_long_is_reported_to_the_sender() {
    let mut options = options();
    options.times.give_up_ms = 30_000;
    let mut bench = Bench::with(3, options);
    furnish(&mut bench);
    bench.cluster.crash(2);
    let (id, _) = bench.send(0, "ann@pa", &["cid@es", "ann@pa"]);
    bench.until("ann has message and report", |bench| {
        bench.inbox(0, "ann@pa").len() == 2
    });
    let report = bench.cluster.reports.first().cloned().unwrap();
    assert_eq!(report.about, id);
    let failed: Vec<_> = report.failed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(failed, [name_of("cid@es")]);
    assert!(bench.inbox(0, "ann@pa").contains(&report.report));
    bench.assert_clean();
}

#[test]
fn a_report_that_cannot_be_delivered_becomes_a_dead_letter_and_no_loop() {
    let mut options = options();
    options.times.give_up_ms = 20_000;
    let mut bench = Bench::with(3, options);
    furnish(&mut bench);
    bench.cluster.crash(2);
    bench.send(0, "cid@es", &["cid@es"]);
    bench.until("a dead letter is kept", |bench| {
        bench.status(0).queue.dead_letters + bench.status(1).queue.dead_letters >= 1
    });
    bench.until_at_rest();
    let accepted = bench
        .cluster
        .reports
        .iter()
        .filter(|report| report.accepted);
    assert_eq!(accepted.count(), 1, "no report about a report");
    bench.assert_clean();
}

#[test]
fn a_name_that_did_not_exist_gets_its_mail_once_it_does() {
    let mut bench = three();
    let early = bench.letter("ann@pa", &["dan@es"]);
    bench.cluster.submit(0, early);
    bench.pass_s(3);
    bench.person("dan@es", &[1, 2]);
    bench.pass_s(3);
    let late = bench.letter("ann@pa", &["dan@es"]);
    bench.cluster.submit(0, late);
    // Longer than any hint is believed.
    bench.pass_s(120);
    let (id, _) = bench.send(0, "ann@pa", &["dan@es"]);
    bench.until("dan has it", |bench| bench.inbox(1, "dan@es").contains(&id));
    bench.assert_clean();
}

#[test]
fn a_nearly_full_disk_refuses_new_mail_and_still_reads_and_hands_over() {
    let mut bench = three();
    bench.cluster.crash(2);
    let (id, _) = bench.send(0, "ann@pa", &["cid@es"]);
    bench.cluster.disk_nearly_full(0, true);
    let letter = bench.letter("ann@pa", &["bob@es"]);
    assert_eq!(
        bench.cluster.submit(0, letter).refusal(),
        Some(ErrorKind::Unavailable)
    );
    assert_eq!(bench.inbox(0, "ann@pa"), []);
    bench.cluster.restart(2);
    bench.until("cid has it", |bench| bench.inbox(2, "cid@es") == [id]);
    bench.cluster.disk_nearly_full(0, false);
    bench.send(0, "ann@pa", &["bob@es"]);
    bench.until_at_rest();
    bench.assert_clean();
}
