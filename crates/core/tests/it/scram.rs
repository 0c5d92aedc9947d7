//! SCRAM-SHA-256: who is let in by it, what of names it shows, and what is kept for it.

use grapevine_core::Effect;
use grapevine_model::{
    Authenticated, EntryChange, ErrorKind, PolicyChange, Refusal, Reply, Request, ScramPolicy,
    Secret, Source, Speaker,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::harness::{Cluster, name};

const SAID: &str = "n=birrell@pa,r=client,r=clientserver,s=x,i=1,c=biws,r=clientserver";

fn from(n: u8) -> Source {
    Source::of(std::net::IpAddr::from([192, 0, 2, n]))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// What a client sends that has this password (salted as the harness salts it).
fn proof(password: &str, said: &str) -> [u8; 32] {
    let salted = blake3::hash(password.as_bytes());
    let client_key = hmac(salted.as_bytes(), b"Client Key");
    let mut proof = hmac(&Sha256::digest(client_key), said.as_bytes());
    proof.iter_mut().zip(client_key).for_each(|(p, k)| *p ^= k);
    proof
}

fn switch(cluster: &mut Cluster, policy: ScramPolicy) {
    let change = Request::RegistryPolicy {
        registry: "pa".parse().unwrap(),
        change: PolicyChange::Scram(policy),
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pass(2_000);
}

fn by_password(cluster: &mut Cluster, at: &str, who: &str, password: &str, n: u8) -> bool {
    let request = Request::Authenticate {
        name: name(who),
        password: Secret(password.into()),
        source: from(n),
    };
    let answer = cluster.ask(at, Speaker::Anonymous, request);
    cluster.pump();
    answer.is_ok()
}

fn by_scram(
    cluster: &mut Cluster,
    at: &str,
    who: &str,
    password: &str,
    n: u8,
) -> Result<(Authenticated, [u8; 32]), Refusal> {
    let request = Request::ScramFinish {
        name: name(who),
        source: from(n),
        said: SAID.into(),
        proof: proof(password, SAID),
    };
    match cluster.ask(at, Speaker::Operator, request)? {
        Reply::ScramProved { who, signature } => Ok((who, signature)),
        other => panic!("{other:?}"),
    }
}

fn challenge(cluster: &mut Cluster, at: &str, who: &str) -> ([u8; 16], u32) {
    let request = Request::ScramBegin { name: name(who) };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::ScramChallenge { salt, iterations } => (salt, iterations),
        other => panic!("{other:?}"),
    }
}

fn set_password(cluster: &mut Cluster, who: &str, password: &str) {
    let change = EntryChange::Password(Secret(format!("hash of {password}")));
    let change = Request::Change {
        name: name(who),
        change,
    };
    cluster.ok("s1", Speaker::Operator, change);
    cluster.pump();
}

/// The passwords that were checked since the last look, and for how many of them SCRAM was to be served.
fn checked(cluster: &mut Cluster) -> (usize, usize) {
    let effects = std::mem::take(&mut cluster.effects);
    let orders = effects.iter().filter_map(|(_, effect)| match effect {
        Effect::Verify { scram, .. } => Some(scram.is_some()),
        _ => None,
    });
    let (wanted, not): (Vec<bool>, Vec<bool>) = orders.partition(|wanted| *wanted);
    (wanted.len() + not.len(), wanted.len())
}

#[test]
fn a_password_once_given_lets_in_by_scram_at_any_server_until_it_changes() {
    let mut cluster = Cluster::new(2);
    switch(&mut cluster, ScramPolicy::On);
    let who = "birrell@pa";
    assert!(
        by_scram(&mut cluster, "s1", who, who, 1).is_err(),
        "nothing is kept yet"
    );
    assert!(by_password(&mut cluster, "s1", who, who, 1));
    for at in ["s1", "s2"] {
        let (proved, signature) = by_scram(&mut cluster, at, who, who, 1).unwrap();
        assert_eq!(proved.name, name(who));
        let salted = blake3::hash(who.as_bytes());
        let server_key = hmac(salted.as_bytes(), b"Server Key");
        assert_eq!(signature, hmac(&server_key, SAID.as_bytes()));
        // The proof hangs on the same credentials as any other.
        let vouch = Request::Vouch { who: proved };
        assert!(cluster.ask(at, Speaker::Operator, vouch).is_ok());
    }
    set_password(&mut cluster, who, "new");
    for at in ["s1", "s2"] {
        assert!(
            by_scram(&mut cluster, at, who, who, 1).is_err(),
            "the old one at {at}"
        );
        assert!(
            by_scram(&mut cluster, at, who, "new", 1).is_err(),
            "not made yet at {at}"
        );
    }
    assert!(by_password(&mut cluster, "s2", who, "new", 1));
    assert!(by_scram(&mut cluster, "s1", who, "new", 1).is_ok());
    assert!(by_scram(&mut cluster, "s1", who, who, 1).is_err());
}

#[test]
fn a_challenge_does_not_tell_whether_there_is_such_a_name() {
    let mut cluster = Cluster::new(2);
    switch(&mut cluster, ScramPolicy::On);
    let names = ["birrell@pa", "needham@pa", "nobody@pa", "nobody@nowhere"];
    let before: Vec<_> = names.map(|who| challenge(&mut cluster, "s1", who)).into();
    assert!(by_password(
        &mut cluster,
        "s2",
        "birrell@pa",
        "birrell@pa",
        1
    ));
    for at in ["s1", "s2"] {
        let now: Vec<_> = names.map(|who| challenge(&mut cluster, at, who)).into();
        assert_eq!(now, before, "at {at}, and with something to check by");
    }
    set_password(&mut cluster, "birrell@pa", "new");
    assert!(by_password(&mut cluster, "s2", "birrell@pa", "new", 1));
    assert_eq!(challenge(&mut cluster, "s1", "birrell@pa"), before[0]);
    // Switching does not either.
    switch(&mut cluster, ScramPolicy::Off);
    switch(&mut cluster, ScramPolicy::On);
    assert_eq!(challenge(&mut cluster, "s1", "nobody@pa"), before[2]);
    let salts: std::collections::BTreeSet<_> = before.iter().map(|(salt, _)| salt).collect();
    assert_eq!(salts.len(), names.len(), "each name has its own");
    assert!(before.iter().all(|(_, iterations)| *iterations >= 4_096));
    let mut refusals = Vec::new();
    for who in names {
        refusals.push(by_scram(&mut cluster, "s1", who, "wrong", 2).unwrap_err());
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]));
}

#[test]
fn wrong_proofs_count_with_wrong_passwords_at_all_servers() {
    let mut cluster = Cluster::new(2);
    switch(&mut cluster, ScramPolicy::On);
    let who = "birrell@pa";
    assert!(by_password(&mut cluster, "s1", who, who, 1));
    for n in 0..5 {
        let guess = format!("guess {n}");
        assert!(!by_password(&mut cluster, "s1", who, &guess, 1));
        let wrong = Request::ScramFinish {
            name: name(who),
            source: from(1),
            said: format!("{SAID}{n}"),
            proof: [n; 32],
        };
        assert!(cluster.ask("s2", Speaker::Operator, wrong).is_err());
        cluster.pump();
    }
    // Ten were wrong: the right one is refused, either way, at both.
    for at in ["s1", "s2"] {
        assert!(by_scram(&mut cluster, at, who, who, 1).is_err());
        assert!(!by_password(&mut cluster, at, who, who, 1));
    }
    assert!(
        by_scram(&mut cluster, "s1", who, who, 2).is_ok(),
        "from elsewhere"
    );
}

#[test]
fn nothing_is_kept_for_a_registry_that_does_not_want_it() {
    let mut cluster = Cluster::new(2);
    let who = "birrell@pa";
    checked(&mut cluster);
    assert!(by_password(&mut cluster, "s1", who, who, 1));
    assert_eq!(checked(&mut cluster), (1, 0));
    switch(&mut cluster, ScramPolicy::On);
    assert!(by_password(&mut cluster, "s1", who, who, 1));
    assert!(by_password(&mut cluster, "s1", who, who, 1));
    assert!(!by_password(&mut cluster, "s1", who, "wrong", 1));
    assert_eq!(
        checked(&mut cluster),
        (3, 1),
        "made once, and for no wrong one"
    );
    switch(&mut cluster, ScramPolicy::Off);
    assert!(by_scram(&mut cluster, "s1", who, who, 1).is_err());
    // What was kept goes with the next login, so switched on again it is to be made again.
    assert!(by_password(&mut cluster, "s2", who, who, 1));
    switch(&mut cluster, ScramPolicy::On);
    assert!(by_scram(&mut cluster, "s1", who, who, 1).is_err());
}

#[test]
fn a_client_can_not_hold_the_dialogue_itself() {
    let mut cluster = Cluster::new(1);
    switch(&mut cluster, ScramPolicy::On);
    assert!(by_password(
        &mut cluster,
        "s1",
        "birrell@pa",
        "birrell@pa",
        1
    ));
    let (who, _) = by_scram(&mut cluster, "s1", "birrell@pa", "birrell@pa", 1).unwrap();
    let individual = Speaker::Individual {
        name: who.name,
        incarnation: who.incarnation,
    };
    for speaker in [Speaker::Anonymous, individual] {
        let begin = Request::ScramBegin {
            name: name("birrell@pa"),
        };
        let finish = Request::ScramFinish {
            name: name("birrell@pa"),
            source: from(1),
            said: SAID.into(),
            proof: proof("birrell@pa", SAID),
        };
        for request in [begin, finish] {
            let refusal = cluster.ask("s1", speaker.clone(), request).unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::NotAllowed);
        }
    }
}
