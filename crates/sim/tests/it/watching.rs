//! Watchers and what is forgotten: one story each.

use grapevine_model::{Changes, Course, Reply, Request, Since, Speaker, WatchTarget};
use grapevine_sim::{Cut, Known, Outcome, registry_name};

use crate::bench::{Bench, list_add, list_remove, no, options, written, yes};

/// Longer than the retention of these tests.
const LONG_S: u64 = 60;

fn club() -> Bench {
    let mut options = options();
    options.times.retention_ms = 20_000;
    let mut bench = Bench::with(3, options);
    bench.registry("pa", &[0, 1]);
    for person in ["reg@pa", "ann@pa", "bob@pa"] {
        bench.person(person, &[0, 1]);
    }
    bench.group("club@pa", "ann@pa", &["ann@pa", "bob@pa"]);
    bench.pass_s(5);
    bench
}

/// Somebody who watches the registry, wherever he likes.
#[derive(Default)]
struct Watcher {
    known: Known,
    token: Option<String>,
}

impl Watcher {
    /// Hears all that there is now; how it began.
    fn hear(&mut self, bench: &mut Bench, node: usize) -> Course {
        let mut first = None;
        loop {
            let token = self.token.clone();
            let request = Request::Watch {
                target: WatchTarget::Registry(registry_name("pa")),
                since: token.map_or(Since::Beginning, Since::Token),
                wait_ms: 0,
            };
            let changes: Changes = match bench.cluster.ask(node, Speaker::Operator, request) {
                Outcome::Done(Reply::Changes(changes)) => changes,
                other => panic!("{other:?}"),
            };
            self.known.take(&changes);
            self.token = Some(changes.token);
            let course = first.get_or_insert(changes.course).clone();
            if !changes.more {
                return course;
            }
        }
    }

    fn has_in_the_club(&self, who: &str) -> bool {
        let standing = self.known.standing();
        standing
            .keys()
            .any(|(_, list, item)| list == "members" && item == who)
    }
}

fn forgotten(bench: &mut Bench, node: usize) -> bool {
    bench.status(node).tombstones.kept == 0
}

#[test]
fn a_watcher_who_was_away_while_a_deletion_was_forgotten_starts_over_and_misses_nothing() {
    let mut bench = club();
    let (mut early, mut late) = (Watcher::default(), Watcher::default());
    early.hear(&mut bench, 0);
    assert!(early.has_in_the_club("bob@pa"));
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "bob@pa")));
    late.hear(&mut bench, 1);
    bench.until("both holders have forgotten it", |bench| {
        forgotten(bench, 0) && forgotten(bench, 1)
    });
    // No batch holds it any more, at either server; nor after a restart.
    bench.cluster.crash(1);
    bench.pass_s(2);
    bench.cluster.restart(1);
    bench.pass_s(10);
    for node in 0..2 {
        let mut goes_on = Watcher {
            known: early.known.clone(),
            token: early.token.clone(),
        };
        let course = goes_on.hear(&mut bench, node);
        assert!(matches!(course, Course::StartsOver { .. }), "node {node}");
        assert!(!goes_on.has_in_the_club("bob@pa"), "node {node}");
        assert_eq!(goes_on.hear(&mut bench, node), Course::Continues);
    }
    // Who was told of it goes on.
    assert_eq!(late.hear(&mut bench, 1), Course::Continues);
    assert_eq!(late.hear(&mut bench, 0), Course::Continues);
    bench.assert_clean();
}

#[test]
fn a_value_that_stands_against_a_forgotten_deletion_is_told_to_who_knows_of_the_deletion() {
    let mut bench = club();
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    // Only the one that is cut off has this addition; the removal is the later one.
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "bob@pa")));
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "bob@pa")));
    bench.pass_s(5);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "bob@pa")));
    let mut watcher = Watcher::default();
    watcher.hear(&mut bench, 0);
    assert!(!watcher.has_in_the_club("bob@pa"));
    bench.pass_s(LONG_S);
    assert!(forgotten(&mut bench, 0), "it waits for the absent one");
    watcher.hear(&mut bench, 0);
    bench.cluster.network.heal();
    bench.pass_s(60);
    for node in 0..2 {
        // Nobody knows of the removal any more.
        assert_eq!(bench.check(node, "club@pa", "bob@pa"), yes());
        let mut goes_on = Watcher {
            known: watcher.known.clone(),
            token: watcher.token.clone(),
        };
        goes_on.hear(&mut bench, node);
        assert!(goes_on.has_in_the_club("bob@pa"), "node {node}");
    }
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "bob@pa")));
    watcher.hear(&mut bench, 1);
    assert!(!watcher.has_in_the_club("bob@pa"));
    assert_eq!(bench.check(0, "club@pa", "bob@pa"), no());
    bench.assert_clean();
}

#[test]
fn what_a_server_tells_that_knows_less_is_put_right_when_it_knows_more() {
    let mut bench = Bench::new(3);
    bench.registry("pa", &[0, 1]);
    for person in ["reg@pa", "ann@pa", "bob@pa"] {
        bench.person(person, &[0, 1]);
    }
    bench.group("club@pa", "ann@pa", &["ann@pa", "bob@pa"]);
    bench.pass_s(5);
    bench.cluster.network.cut(&[0, 2], &[1], Cut::BothWays);
    bench.pass_s(10);
    written(&bench.ask(1, "ann@pa", list_remove("club@pa", "bob@pa")));
    written(&bench.ask(1, "ann@pa", list_add("club@pa", "bob@pa")));
    bench.pass_s(5);
    written(&bench.ask(0, "ann@pa", list_remove("club@pa", "bob@pa")));
    // He is told what is there, which a removal is not, and goes on where it is not known.
    let mut watcher = Watcher::default();
    watcher.hear(&mut bench, 0);
    watcher.hear(&mut bench, 1);
    assert!(watcher.has_in_the_club("bob@pa"), "so it is said there");
    bench.cluster.network.heal();
    bench.until("both know of the removal", |bench| {
        (0..2).all(|node| bench.check(node, "club@pa", "bob@pa") == no())
    });
    for node in 0..2 {
        let mut goes_on = Watcher {
            known: watcher.known.clone(),
            token: watcher.token.clone(),
        };
        goes_on.hear(&mut bench, node);
        assert!(!goes_on.has_in_the_club("bob@pa"), "node {node}");
    }
    bench.assert_clean();
}
