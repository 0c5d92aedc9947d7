//! P1 for recipients in other mail systems: delivered or explained, and not twice without need.

use grapevine_core::{NextHop, Planted, Route, RoutedNames};
use grapevine_model::{ErrorKind, MessageId, Reply, Request, Speaker};
use grapevine_sim::{Mood, Options, Outcome};

use crate::bench::{Bench, name_of, options};

const FAR: &str = "ann@well.example";

fn two() -> Bench {
    let mut bench = Bench::with(2, options());
    furnish(&mut bench);
    bench
}

fn furnish(bench: &mut Bench) {
    bench.registry("pa", &[0, 1]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.pass_s(5);
}

fn taken(bench: &Bench, message: MessageId, who: &str) -> u32 {
    let taken = &bench.cluster.outside.taken;
    taken.get(&(message, name_of(who))).copied().unwrap_or(0)
}

/// Whether a report about this message names the recipient and says this.
fn is_reported(bench: &Bench, message: MessageId, who: &str, why: &str) -> bool {
    let reports = bench.cluster.reports.iter();
    let mut failed = reports
        .filter(|report| report.about == message && report.accepted)
        .flat_map(|report| &report.failed);
    failed.any(|(name, reason)| *name == name_of(who) && reason.contains(why))
}

#[test]
fn mail_to_another_system_is_handed_over_once_or_explained_in_its_words() {
    let mut bench = two();
    let to = [FAR, "nobody@well.example", "bob@closed.example", "ann@pa"];
    let (id, copies) = bench.send(0, "ann@pa", &to);
    assert_eq!(copies, 2);
    bench.until_at_rest();
    assert_eq!(taken(&bench, id, FAR), 1);
    for who in ["nobody@well.example", "bob@closed.example"] {
        assert_eq!(taken(&bench, id, who), 0);
        assert!(is_reported(&bench, id, who, "550 5.1.1 no such user"));
    }
    assert!(bench.inbox(0, "ann@pa").contains(&id));
    bench.assert_clean();
}

#[test]
fn two_details_of_one_address_outside_are_two_recipients() {
    let mut bench = two();
    let (id, _) = bench.send(0, "ann@pa", &["bob+x@well.example", "bob+y@well.example"]);
    bench.until_at_rest();
    assert_eq!(taken(&bench, id, "bob+x@well.example"), 1);
    assert_eq!(taken(&bench, id, "bob+y@well.example"), 1);
    bench.assert_clean();
}

#[test]
fn a_destination_that_is_gone_holds_up_no_other_and_says_why_and_when() {
    let mut bench = two();
    bench.cluster.outside.set("well.example", Mood::Gone);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(bench.send(0, "ann@pa", &[FAR]).0);
    }
    bench.cluster.outside.set("fickle.example", Mood::Well);
    let (other, _) = bench.send(0, "ann@pa", &["bob@fickle.example"]);
    bench.pass_s(3);
    assert_eq!(taken(&bench, other, "bob@fickle.example"), 1);
    bench.pass_s(30);
    let trace = Request::Trace {
        message: waiting[3],
    };
    match bench.operator(0, trace) {
        Outcome::Done(Reply::Trace(trace)) => {
            let [one] = trace.recipients.as_slice() else {
                panic!("{trace:?}")
            };
            assert_eq!(
                (one.state.as_str(), one.reason.as_str()),
                ("waiting", "no answer")
            );
            assert!(one.next_ms.is_some_and(|ms| ms <= 13_000), "{one:?}");
        }
        other => panic!("{other:?}"),
    }
    bench.cluster.outside.set("well.example", Mood::Well);
    bench.until_at_rest();
    for id in waiting {
        assert_eq!(taken(&bench, id, FAR), 1);
    }
    bench.assert_clean();
}

#[test]
fn the_deputy_hands_over_what_waited_and_the_old_custodian_does_not_do_it_again() {
    let mut bench = two();
    let id = custodian_dies_while_mail_waits(&mut bench);
    assert_eq!(taken(&bench, id, FAR), 1);
    bench.assert_clean();
}

#[test]
fn who_does_not_ask_the_others_hands_over_twice() {
    let mut careless = options();
    careless.planted = Some(Planted::OutsideNotAsked);
    let mut bench = Bench::with(2, careless);
    furnish(&mut bench);
    let id = custodian_dies_while_mail_waits(&mut bench);
    assert!(taken(&bench, id, FAR) > 1, "the mistake shows");
}

fn custodian_dies_while_mail_waits(bench: &mut Bench) -> MessageId {
    bench.cluster.outside.set("well.example", Mood::Gone);
    let (id, copies) = bench.send(0, "ann@pa", &[FAR]);
    assert_eq!(copies, 2);
    bench.pass_s(10);
    bench.cluster.crash(0);
    bench.pass_s(20);
    bench.cluster.outside.set("well.example", Mood::Well);
    bench.until("the deputy hands it over", |bench| {
        taken(bench, id, FAR) == 1
    });
    bench.cluster.restart(0);
    bench.until_at_rest();
    bench.pass_s(60);
    id
}

#[test]
fn what_a_destination_never_takes_is_reported_in_the_end() {
    let mut short = options();
    short.times.give_up_ms = 60_000;
    let mut bench = Bench::with(2, short);
    furnish(&mut bench);
    bench.cluster.outside.set("well.example", Mood::Later);
    let (id, _) = bench.send(0, "ann@pa", &[FAR]);
    bench.until("it is reported", |bench| {
        is_reported(bench, id, FAR, "451 4.7.1 greylisted")
    });
    bench.until_at_rest();
    assert_eq!(taken(&bench, id, FAR), 0);
    bench.assert_clean();
}

/// All mail for these names of `pa` goes to an old server.
fn with_old_server(names: RoutedNames) -> Options {
    let mut options = options();
    let old = Route {
        domain: "pa".parse().unwrap(),
        names,
        next: NextHop::Place("old".into()),
        at_once: 1,
    };
    options.routes.0.insert(0, old);
    options
}

#[test]
fn names_that_one_side_of_a_split_domain_lacks_go_to_the_other() {
    let mut bench = Bench::with(2, with_old_server(RoutedNames::Unknown));
    furnish(&mut bench);
    bench.cluster.outside.set("pa", Mood::Well);
    bench.registry("es", &[0, 1]);
    let (id, _) = bench.send(1, "ann@pa", &["oldtimer+x@pa", "ann@pa"]);
    bench.until_at_rest();
    assert_eq!(taken(&bench, id, "oldtimer+x@pa"), 1);
    assert_eq!(taken(&bench, id, "ann@pa"), 0);
    assert_eq!(bench.inbox(0, "ann@pa"), [id]);
    // Strangers may write there, for it is ours; nowhere else.
    let check = |name: &str| Request::CheckRecipient {
        name: name_of(name),
    };
    let stranger =
        |bench: &mut Bench, name: &str| bench.cluster.ask(0, Speaker::Anonymous, check(name));
    assert_eq!(
        stranger(&mut bench, "oldtimer@pa"),
        Outcome::Done(Reply::Ok)
    );
    let refused = stranger(&mut bench, FAR).refusal();
    assert_eq!(refused, Some(ErrorKind::NotAllowed));
    assert_eq!(
        stranger(&mut bench, "nobody@es").refusal(),
        Some(ErrorKind::NotFound)
    );
    let near = bench.cluster.ask(0, Speaker::Neighbour, check(FAR));
    assert_eq!(near, Outcome::Done(Reply::Ok));
    bench.assert_clean();
}

#[test]
fn a_registry_that_receives_nothing_yet_sends_all_to_the_old_server() {
    let mut bench = Bench::with(2, with_old_server(RoutedNames::All));
    furnish(&mut bench);
    bench.cluster.outside.set("pa", Mood::Well);
    bench.registry("es", &[0, 1]);
    bench.group("list^@es", "reg@pa", &["ann@pa"]);
    bench.person("bob@es", &[0, 1]);
    let (one, _) = bench.send(0, "bob@es", &["ann@pa", "who@pa", "bob@es"]);
    let (other, _) = bench.send(1, "bob@es", &["list^@es"]);
    bench.until_at_rest();
    assert_eq!(taken(&bench, one, "ann@pa"), 1);
    assert_eq!(taken(&bench, one, "who@pa"), 1);
    assert_eq!(taken(&bench, other, "ann@pa"), 1);
    assert_eq!(bench.inbox(0, "ann@pa"), []);
    assert_eq!(bench.inbox(0, "bob@es"), [one]);
    bench.assert_clean();
}

#[test]
fn a_server_that_is_retired_leaves_mail_for_a_dead_destination_to_another() {
    let mut bench = Bench::with(3, options());
    bench.registry("pa", &[0, 1, 2]);
    bench.person("reg@pa", &[0, 1]);
    bench.person("ann@pa", &[0, 1]);
    bench.pass_s(5);
    bench.cluster.outside.set("well.example", Mood::Gone);
    let (id, _) = bench.send(2, "ann@pa", &[FAR]);
    bench.pass_s(10);
    let server = bench.cluster.nodes()[2].name.clone();
    let retire = Request::Retire {
        server: server.clone(),
    };
    assert!(matches!(bench.operator(0, retire), Outcome::Done(_)));
    bench.until("the server has left", |bench| {
        match bench.operator(0, Request::Servers) {
            Outcome::Done(Reply::Servers(servers)) => {
                !servers.iter().any(|info| info.name == server)
            }
            _ => false,
        }
    });
    assert_eq!(taken(&bench, id, FAR), 0);
    bench.cluster.outside.set("well.example", Mood::Well);
    bench.until("another hands it over", |bench| taken(bench, id, FAR) > 0);
    bench.pass_s(60);
    assert_eq!(taken(&bench, id, FAR), 1);
    bench.assert_clean();
}
