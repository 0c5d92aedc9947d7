//! P1 and P2 at every step: the same message is sent again and again, and each time a server dies one
//! effect later, until it has died at each.

use grapevine_model::{MessageId, Request, Submission};
use grapevine_sim::{Doom, Fate, Moment, NodeIndex, Outcome, admit, server_name};

use crate::bench::Bench;

const FAR: &str = "ann@well.example";
const EVERYBODY: [&str; 4] = ["ann@pa", "bob@es", "cid@es", "reg@pa"];
/// A message has gone its way after so long, where nothing goes wrong.
const WAY_S: u64 = 3;

/// Three servers, each the only one that has nothing of something: a list of `es` with people of both
/// registries, nested in one of `pa`.
fn furnished() -> Bench {
    let mut bench = Bench::new(3);
    bench.registry("pa", &[0, 1]);
    bench.registry("es", &[1, 2]);
    bench.person("reg@pa", &[0, 2]);
    bench.person("ann@pa", &[0, 1]);
    bench.person("bob@es", &[1, 2]);
    bench.person("cid@es", &[2, 0]);
    bench.group("inner^@es", "reg@pa", &["bob@es", "ann@pa"]);
    bench.group("outer^@pa", "reg@pa", &["inner^@es", "cid@es"]);
    bench.pass_s(5);
    bench
}

fn letter(bench: &mut Bench) -> Submission {
    bench.letter("ann@pa", &["outer^@pa", "reg@pa", FAR])
}

/// How many effects each server has while the message goes its way.
fn effects() -> Vec<u32> {
    let mut bench = furnished();
    let before: Vec<u64> = bench.cluster.nodes().iter().map(|n| n.effects).collect();
    let letter = letter(&mut bench);
    bench.cluster.submit(0, letter);
    bench.pass_s(WAY_S);
    let after = bench.cluster.nodes().iter().map(|n| n.effects);
    after
        .zip(before)
        .map(|(after, before)| (after - before) as u32)
        .collect()
}

/// Sends it as a client does: again, under its id, until somebody says yes.
fn send(bench: &mut Bench, letter: &Submission) -> MessageId {
    for attempt in 0..20 {
        let node = attempt % 3;
        if let Outcome::Done(_) = bench.cluster.submit(node, letter.clone()) {
            return letter.id.unwrap();
        }
        bench.pass_s(1);
        for node in 0..3 {
            bench.cluster.restart(node);
        }
    }
    panic!("nobody takes the message");
}

fn dies(node: NodeIndex, effect: u32, fate: Fate) {
    let mut bench = furnished();
    let doom = Doom {
        after: Moment::Nth(effect),
        fate,
    };
    let letter = letter(&mut bench);
    bench.cluster.doom(node, Some(doom));
    let id = send(&mut bench, &letter);
    bench.pass_s(WAY_S);
    bench.cluster.doom(node, None);
    if fate == Fate::Destroy && !bench.cluster.nodes()[node].is_up() {
        bench.cluster.node_mut(node).gone = true;
        bench.pass_s(10);
        let helper = (node + 1) % 3;
        let lost = Request::Retire {
            server: server_name(node + 1),
        };
        let retired = bench.operator(helper, lost);
        assert!(matches!(retired, Outcome::Done(_)), "{retired:?}");
        let machine = bench.cluster.add_machine(server_name(4));
        admit(&mut bench.cluster, helper, machine, &mut bench.dice).unwrap();
    }
    for node in 0..3 {
        bench.cluster.restart(node);
    }
    let told = format!("node {node} dies ({fate:?}) after {effect} effects");
    bench.until(&told, |bench| {
        let up = bench.cluster.up();
        let mut asked = up.into_iter().flat_map(|at| EVERYBODY.map(|who| (at, who)));
        asked.all(|(at, who)| {
            let inbox = bench.inbox_if_told(at, who).unwrap_or_default();
            inbox.iter().filter(|message| **message == id).count() == 1
        })
    });
    bench.until_at_rest();
    let taken = bench.cluster.outside.taken.values().sum::<u32>();
    // Whoever comes to have it without having heard of the hand-over repeats it: the one that died and came back, its
    // deputy, and the one that the sender handed it to again. Nobody does so twice.
    assert!(
        (1..=3).contains(&taken),
        "{told}: taken {taken} times outside"
    );
    bench.assert_clean();
}

fn at_each_step(fate: Fate) {
    for (node, effects) in effects().into_iter().enumerate() {
        for effect in 0..effects {
            dies(node, effect, fate);
        }
    }
}

#[test]
fn a_message_survives_a_crash_at_any_step() {
    at_each_step(Fate::Crash);
}

#[test]
fn a_message_survives_a_blackout_at_any_step() {
    at_each_step(Fate::Blackout);
}

#[test]
fn a_message_survives_a_disk_lost_at_any_step() {
    at_each_step(Fate::Destroy);
}
