//! A server that takes another address is found there.

use grapevine_core::{Effect, Input};
use grapevine_model::{Beat, Door, PeerMessage, ServerName};

use crate::harness::{Cluster, server};

const ELSEWHERE: &str = "elsewhere.example:7101";

/// What a server says to the other in a beat.
fn beats(cluster: &Cluster, to: &ServerName) -> Vec<Beat> {
    let sent = cluster.effects.iter();
    sent.filter_map(|(_, effect)| match effect {
        Effect::Send {
            to: there,
            message: PeerMessage::Beat(beat),
        } if there == to => Some(beat.clone()),
        _ => None,
    })
    .collect()
}

/// Where the first server was last told to look for the second.
fn looked_for_at(cluster: &Cluster) -> Option<String> {
    let told = cluster.effects.iter().rev();
    let mut told = told.filter_map(|(at, effect)| match effect {
        Effect::Servers(servers) if *at == server("s1") => Some(servers),
        _ => None,
    });
    let second = told.next()?.iter().find(|info| info.name == server("s2"))?;
    second.doors.get(&Door::Rpc).cloned()
}

#[test]
fn a_server_says_where_it_is_only_to_those_that_it_does_not_hear() {
    let mut cluster = Cluster::new(2);
    cluster.pass(2_000);
    cluster.effects.clear();
    cluster.pass(2_000);
    let said = beats(&cluster, &server("s1"));
    assert!(!said.is_empty() && said.iter().all(|beat| beat.at.is_none()));
    cluster.kill("s1");
    cluster.effects.clear();
    cluster.pass(2_000);
    let said = beats(&cluster, &server("s1"));
    assert!(!said.is_empty() && said.iter().all(|beat| beat.at.is_some()));
}

#[test]
fn a_server_is_looked_for_where_it_says_that_it_is_until_its_record_says_so() {
    let mut cluster = Cluster::new(2);
    cluster.pass(2_000);
    cluster.effects.clear();
    let mut beat = {
        cluster.pass(1_500);
        beats(&cluster, &server("s1")).pop().unwrap()
    };
    let mut say = |cluster: &mut Cluster, at: &str| {
        beat.at = Some(at.to_owned());
        let message = PeerMessage::Beat(beat.clone());
        let from = server("s2");
        cluster.effects.clear();
        let heard = Input::Peer {
            from,
            message,
            staged: None,
        };
        cluster.input(&server("s1"), heard);
        cluster.pump();
        looked_for_at(cluster)
    };
    assert_eq!(say(&mut cluster, ELSEWHERE).as_deref(), Some(ELSEWHERE));
    // Said again it changes nothing, and what is no address is not followed.
    assert_eq!(say(&mut cluster, ELSEWHERE), None);
    let on_record = say(&mut cluster, &"x".repeat(300));
    assert!(on_record.is_some_and(|at| at != ELSEWHERE && at.len() < 300));
}
