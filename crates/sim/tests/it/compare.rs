//! P4 with disks that lie: what a server's disk has silently lost comes back by comparing.

use grapevine_core::{Planted, Table};
use grapevine_model::{Reply, Request};
use grapevine_sim::Outcome;

use crate::bench::{Bench, list_remove, no, options, written, yes};

fn compared_often(planted: Option<Planted>) -> Bench {
    let mut options = options();
    options.times.compare_ms = 20_000;
    options.times.tombstone_ms = 40_000;
    options.planted = planted;
    let mut bench = Bench::with(3, options);
    bench.registry("pa", &[0, 1, 2]);
    for person in ["reg@pa", "ann@pa", "bob@pa"] {
        bench.person(person, &[0, 1]);
    }
    bench.group("club@pa", "ann@pa", &["ann@pa", "bob@pa"]);
    bench.pass_s(5);
    bench.cluster.expect_errors();
    bench
}

fn has(key: &[u8], text: &str) -> bool {
    key.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Rows of `pa` whose key names somebody.
fn rows(bench: &Bench, node: usize, table: Table, text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = bench.cluster.nodes()[node].disk.rows(table);
    rows.into_iter().filter(|(key, _)| has(key, text)).collect()
}

/// What a whole disk of lost rows does: every third cell, half of the dots, and one old value.
fn damage(bench: &mut Bench) {
    let old = rows(bench, 1, Table::Cells, "bob@pa");
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "bob@pa")));
    bench.pass_s(10);
    bench.cluster.crash(1);
    let cells = rows(bench, 1, Table::Cells, "R\x02pa");
    let dots = rows(bench, 1, Table::Dots, "R\x02pa");
    let disk = &mut bench.cluster.node_mut(1).disk;
    for (key, _) in cells.iter().step_by(3) {
        disk.lose(Table::Cells, key, None);
    }
    for (key, _) in dots.iter().step_by(2) {
        disk.lose(Table::Dots, key, None);
    }
    for (key, value) in old {
        disk.lose(Table::Cells, &key, Some(value));
    }
    bench.cluster.restart(1);
}

fn agree(bench: &mut Bench) -> bool {
    let mut digests = (0..3).map(|node| {
        let status = bench.status(node);
        let found = status
            .registries
            .into_iter()
            .find(|(r, _, _)| r.as_str() == "pa");
        found.map(|(_, entries, digest)| (entries, digest))
    });
    let first = digests.next().flatten();
    first.is_some() && digests.all(|digest| digest == first)
}

#[test]
fn a_disk_that_lost_rows_silently_is_healed_by_comparing_and_nothing_returns() {
    let mut bench = compared_often(None);
    damage(&mut bench);
    bench.pass_s(5);
    assert!(!agree(&mut bench), "the damage is there");
    bench.until("all copies are equal", agree);
    bench.pass_s(60);
    for node in 0..3 {
        assert_eq!(bench.check(node, "club@pa", "ann@pa"), yes());
        assert_eq!(bench.check(node, "club@pa", "bob@pa"), no(), "at {node}");
    }
    let counts = bench.status(1).compare;
    assert!(counts.healed > 0 && counts.rebuilt > 0, "{counts:?}");
    // Nothing is left to heal, and the others had nothing.
    let registry = "pa".parse().unwrap();
    let outcome = bench.operator(2, Request::Compare { registry });
    let Outcome::Done(Reply::Compared(view)) = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(view.with.iter().all(|with| with.differed == 0), "{view:?}");
    assert_eq!(bench.status(0).compare.healed, 0);
}

#[test]
fn copies_taken_for_equal_unseen_stay_different_and_are_seen_to() {
    let mut bench = compared_often(Some(Planted::CompareTrusts));
    damage(&mut bench);
    bench.pass_s(120);
    assert!(!agree(&mut bench), "the mistake heals nothing");
}
