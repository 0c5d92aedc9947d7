//! Two servers fed with whatever can be said to them: calls of clients and frames of a hostile server, as they are on the wire, and faults
//! between them. No panic; nobody in particular changes a registry; and when all are well again, they agree.
//!
//! An input is a string of steps, each of four octets, `kind, who, length, length`, and what is said. Seeds and finds are in
//! `__fuzz__/core/corpus`; `fuzz/README.md` says how to run for longer.

use grapevine_core::{Effect, Input, Start};
use grapevine_model::{
    Incarnation, PeerMessage, Reply, Request, RequestId, ServerName, Speaker, Submission,
};
use grapevine_rpc::{
    decode_call_after, decode_peer, decode_submit_head, encode_call, encode_peer, v1,
};
use prost::Message as _;

use crate::harness::{Cluster, body, name, server};
use crate::matrix_samples;

/// Steps of one input: more find little more, and slowly.
const STEPS: usize = 24;
/// A step's time at most.
const STEP_MS: u64 = 60_000;
/// In which all is well again: between two that are well that takes seconds.
const HEALING_MS: u64 = 90_000;

#[test]
fn two_servers_survive_whatever_is_said_to_them() {
    bolero::check!(name = "core")
        // Two servers are founded each time.
        .with_iterations(60)
        .for_each(|input: &[u8]| run(input));
}

/// What a step is.
enum Step<'a> {
    Frame(&'a [u8]),
    Call(&'a [u8]),
    Submit(&'a [u8]),
    Pass(u64),
    Lost,
    Restart,
    Cut,
    Heal,
}

fn steps(mut input: &[u8]) -> Vec<(Step<'_>, u8)> {
    let mut steps = Vec::new();
    while let [kind, who, high, low, rest @ ..] = input
        && steps.len() < STEPS
    {
        let number = u16::from_be_bytes([*high, *low]);
        let (said, after) = rest.split_at(usize::from(number).min(rest.len()));
        let (step, after) = match kind % 8 {
            0 => (Step::Frame(said), after),
            1 => (Step::Call(said), after),
            2 => (Step::Submit(said), after),
            3 => (Step::Pass(u64::from(number) % STEP_MS), rest),
            4 => (Step::Lost, rest),
            5 => (Step::Restart, rest),
            6 => (Step::Cut, rest),
            _ => (Step::Heal, rest),
        };
        steps.push((step, *who));
        input = after;
    }
    steps
}

/// Who asks: by bits of the step's octet.
fn speaker(cluster: &mut Cluster, who: u8) -> Speaker {
    match (who >> 1) % 8 {
        0 | 1 => Speaker::Anonymous,
        2 => Speaker::Neighbour,
        3 => cluster.login("birrell@pa"),
        4 => cluster.login("registrar@pa"),
        5 => Speaker::Server(server("s2")),
        6 => Speaker::Individual {
            name: name("needham@pa"),
            incarnation: Incarnation(7),
        },
        _ => Speaker::Operator,
    }
}

fn at(who: u8) -> ServerName {
    server(if who & 1 == 0 { "s1" } else { "s2" })
}

fn digests(cluster: &mut Cluster, at: &str) -> Vec<(String, u64)> {
    let Ok(Reply::Status(status)) = cluster.ask(at, Speaker::Operator, Request::Status) else {
        panic!("{at} does not say how it is");
    };
    let registries = status.registries.into_iter();
    registries
        .map(|(registry, _, digest)| (registry.to_string(), digest))
        .collect()
}

fn run(input: &[u8]) {
    let Some((mode, input)) = input.split_first() else {
        return;
    };
    // Only clients who are nobody; clients of all kinds; and a hostile server too.
    let mode = mode % 3;
    let mut cluster = Cluster::new(2);
    cluster.keep_effects = false;
    cluster.alarms_expected = true;
    cluster.scripts_do_nothing = true;
    let before = digests(&mut cluster, "s1");
    for (step, who) in steps(input) {
        match step {
            Step::Frame(bytes) if mode == 2 => frame(&mut cluster, bytes, who),
            Step::Frame(_) => {}
            Step::Call(bytes) => {
                let who = if mode == 0 { who % 6 } else { who };
                call(&mut cluster, bytes, who);
            }
            Step::Submit(bytes) => submit(&mut cluster, bytes, who),
            Step::Pass(ms) => cluster.pass(ms),
            Step::Lost => {
                let lost = at(who ^ 1);
                cluster.input(&at(who), Input::PeerLost { server: lost });
            }
            Step::Restart => cluster.start(at(who).as_str(), Start::Resume),
            Step::Cut => {
                cluster.cut.insert(at(who));
            }
            Step::Heal => cluster.cut.clear(),
        }
        cluster.pump();
    }
    cluster.cut.clear();
    if mode == 2 {
        // Whom a hostile server has told what is not so is not held to agree; but it still answers.
        cluster.pass(1_000);
        let _ = digests(&mut cluster, "s1");
        return;
    }
    cluster.pass(HEALING_MS);
    let after = digests(&mut cluster, "s1");
    assert_eq!(after, digests(&mut cluster, "s2"), "they don't agree");
    if mode == 0 {
        assert_eq!(before, after, "nobody in particular changed a registry");
    }
}

/// The other server says this, or the server itself seems to, or one that nobody knows.
fn frame(cluster: &mut Cluster, bytes: &[u8], who: u8) {
    let Ok(frame) = v1::PeerFrame::decode(bytes) else {
        return;
    };
    let Ok(Some(message)) = decode_peer(frame) else {
        return;
    };
    let from = match who & 6 {
        0 => at(who),
        2 => server("s9"),
        _ => at(who ^ 1),
    };
    let staged = match &message {
        PeerMessage::Body { body, .. } => Some(cluster.stage(&at(who), *body)),
        _ => None,
    };
    let input = Input::Peer {
        from,
        message,
        staged,
    };
    cluster.input(&at(who), input);
}

fn call(cluster: &mut Cluster, bytes: &[u8], who: u8) {
    let Ok(call) = v1::CallRequest::decode(bytes) else {
        return;
    };
    let Ok(call) = decode_call_after(call) else {
        return;
    };
    // The shell answers for the operator of a machine: he may end the server, and takes what he gets.
    let speaker = speaker(cluster, who);
    cluster.next += 1;
    let id = RequestId(cluster.next);
    let input = Input::Request {
        id,
        speaker,
        request: call.request,
        seen: call.seen,
    };
    cluster.input(&at(who), input);
}

fn submit(cluster: &mut Cluster, bytes: &[u8], who: u8) {
    let Ok(head) = v1::SubmitHead::decode(bytes) else {
        return;
    };
    let Ok(head) = decode_submit_head(head) else {
        return;
    };
    let speaker = speaker(cluster, who);
    let staged = cluster.stage(&at(who), body("hello"));
    cluster.next += 1;
    let submission = Submission {
        id: head.id,
        speaker,
        envelope: head.envelope,
        body: staged.body,
        reports: None,
    };
    let input = Input::Submit {
        id: RequestId(cluster.next),
        submission,
        staged,
    };
    cluster.input(&at(who), input);
}

/// What `run` is fed with at first: each request, and what two servers said to each other.
#[test]
#[ignore = "writes the seeds; by hand, after the alphabet has grown"]
#[expect(
    clippy::disallowed_methods,
    reason = "the core does no I/O; this writes the files that its fuzzing begins with"
)]
fn seeds_are_made_of_what_is_said() {
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/__fuzz__/core/corpus");
    std::fs::create_dir_all(home).unwrap();
    let word =
        |shown: String| -> String { shown.chars().take_while(|c| c.is_alphanumeric()).collect() };
    let step = |kind: u8, who: u8, said: &[u8]| {
        let length = u16::try_from(said.len()).unwrap().to_be_bytes();
        [&[kind, who], &length[..], said].concat()
    };
    let write = |name: &str, bytes: Vec<u8>| {
        let file = format!("{home}/{name}");
        if bytes.len() < 500 && !std::fs::exists(&file).unwrap() {
            std::fs::write(file, bytes).unwrap();
        }
    };
    let caller = grapevine_rpc::Caller::Connection;
    for request in matrix_samples::samples() {
        let said = encode_call(&caller, &request).encode_to_vec();
        // As nobody, and as the operator.
        for (mode, who) in [(0, 0), (1, 14)] {
            let bytes = [&[mode][..], &step(1, who, &said)].concat();
            write(
                &format!("call_{mode}_{}", word(format!("{request:?}"))),
                bytes,
            );
        }
    }
    let mut cluster = Cluster::new(2);
    cluster.submit("s1", "birrell@pa", &["needham@pa"], "hello");
    cluster.pass(5_000);
    cluster.cut.insert(server("s2"));
    cluster.individual("late@pa");
    cluster.pass(30_000);
    cluster.cut.clear();
    cluster.pass(60_000);
    for (_, effect) in std::mem::take(&mut cluster.effects) {
        if let Effect::Send { message, .. } = effect {
            let said = encode_peer(&message).encode_to_vec();
            let bytes = [&[2][..], &step(0, 4, &said)].concat();
            write(&format!("frame_{}", word(format!("{message:?}"))), bytes);
        }
    }
    write(
        "faults",
        [
            &[1][..],
            &[6, 1, 0, 0],
            &[3, 0, 200, 0],
            &[5, 0, 0, 0],
            &[7, 0, 0, 0],
            &[4, 0, 0, 0],
        ]
        .concat(),
    );
}
