//! Guessing: shut out by name and source, the same at n servers as at one, and never to be seen.

use grapevine_core::Effect;
use grapevine_model::{Refusal, Reply, Request, Secret, Source, Speaker};

use crate::harness::{Cluster, name};

fn from(n: u8) -> Source {
    Source::of(std::net::IpAddr::from([192, 0, 2, n]))
}

fn login(
    cluster: &mut Cluster,
    at: &str,
    who: &str,
    password: &str,
    source: Source,
) -> Result<Reply, Refusal> {
    let request = Request::Authenticate {
        name: name(who),
        password: Secret(password.into()),
        source,
    };
    cluster.ask(at, Speaker::Anonymous, request)
}

/// The slow checks since the last look: with a hash that may be right, and without.
fn checks(cluster: &mut Cluster) -> (usize, usize) {
    let effects = std::mem::take(&mut cluster.effects);
    let verify = effects.iter().filter_map(|(_, effect)| match effect {
        Effect::Verify { hash, .. } => Some(hash.is_some()),
        _ => None,
    });
    let (real, blind): (Vec<bool>, Vec<bool>) = verify.partition(|real| *real);
    (real.len(), blind.len())
}

#[test]
fn guessing_at_two_servers_gets_no_more_tries_than_at_one() {
    for servers in [1, 2, 3] {
        let mut cluster = Cluster::new(servers);
        checks(&mut cluster);
        for n in 0..60 {
            let at = format!("s{}", n % servers + 1);
            let guess = format!("guess {n}");
            assert!(login(&mut cluster, &at, "birrell@pa", &guess, from(1)).is_err());
        }
        let (real, blind) = checks(&mut cluster);
        assert_eq!(real, 10, "at {servers} servers");
        assert_eq!(blind, 50, "each refusal costs as much work");
    }
}

#[test]
fn a_locked_name_an_unknown_one_and_a_wrong_password_can_not_be_told_apart() {
    let mut cluster = Cluster::new(2);
    for n in 0..20 {
        let guess = format!("guess {n}");
        let _wrong = login(&mut cluster, "s1", "birrell@pa", &guess, from(1));
        let _unknown = login(&mut cluster, "s1", "nobody@pa", &guess, from(1));
    }
    checks(&mut cluster);
    let mut answers = Vec::new();
    for (who, password, source) in [
        // Locked, with the right password and a wrong one; unknown, locked and not; wrong.
        ("birrell@pa", "birrell@pa", from(1)),
        ("birrell@pa", "wrong", from(1)),
        ("nobody@pa", "wrong", from(1)),
        ("nobody@pa", "wrong", from(2)),
        ("nobody@nowhere", "wrong", from(2)),
        ("needham@pa", "wrong", from(2)),
    ] {
        answers.push(login(&mut cluster, "s2", who, password, source).unwrap_err());
        let (real, blind) = checks(&mut cluster);
        assert_eq!(real + blind, 1, "{who}: one slow check, whatever is known");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn strangers_do_not_lock_the_owner_out_from_where_he_was_let_in_at_any_server() {
    let mut cluster = Cluster::new(2);
    assert!(login(&mut cluster, "s1", "birrell@pa", "birrell@pa", from(9)).is_ok());
    cluster.pump();
    for n in 10..=250 {
        let guess = format!("guess {n}");
        assert!(login(&mut cluster, "s1", "birrell@pa", &guess, from(n)).is_err());
    }
    for at in ["s1", "s2"] {
        let elsewhere = login(&mut cluster, at, "birrell@pa", "birrell@pa", from(8));
        assert!(elsewhere.is_err(), "locked for strangers at {at}");
        let at_home = login(&mut cluster, at, "birrell@pa", "birrell@pa", from(9));
        assert!(at_home.is_ok(), "not for its owner at {at}");
    }
    // Others are not touched.
    assert!(login(&mut cluster, "s2", "needham@pa", "needham@pa", from(8)).is_ok());
    cluster.pass(2 * 3_600_000);
    assert!(login(&mut cluster, "s2", "birrell@pa", "birrell@pa", from(8)).is_ok());
}

#[test]
fn a_right_password_forgives_the_mistakes_before_it() {
    let mut cluster = Cluster::new(2);
    for round in 0..5 {
        for n in 0..9 {
            let typo = format!("typo {round} {n}");
            assert!(login(&mut cluster, "s1", "birrell@pa", &typo, from(1)).is_err());
        }
        assert!(login(&mut cluster, "s2", "birrell@pa", "birrell@pa", from(1)).is_ok());
    }
}

#[test]
fn a_locked_name_is_open_to_an_app_password_that_nobody_can_guess() {
    let mut cluster = Cluster::new(1);
    let birrell = cluster.login("birrell@pa");
    let secret = "gvap_id_secret";
    let app = grapevine_model::AppPassword {
        id: "id".into(),
        label: "phone".into(),
        digest: *blake3::hash(secret.as_bytes()).as_bytes(),
        created_ms: 0,
        expires_ms: None,
    };
    let add = Request::Change {
        name: name("birrell@pa"),
        change: grapevine_model::EntryChange::AppPasswordAdd(app),
    };
    cluster.ok("s1", birrell, add);
    for n in 0..20 {
        let guess = format!("guess {n}");
        let _wrong = login(&mut cluster, "s1", "birrell@pa", &guess, from(1));
    }
    assert!(login(&mut cluster, "s1", "birrell@pa", "birrell@pa", from(1)).is_err());
    assert!(login(&mut cluster, "s1", "birrell@pa", secret, from(1)).is_ok());
}
