//! A server changes its key: announced, used, struck off, and nobody is cut off meanwhile.

use grapevine_core::Start;
use grapevine_model::{
    ErrorKind, GroupList, KeyWait, Reply, Request, ServerInfo, ServerName, Speaker,
};

use crate::harness::{Cluster, add, server};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn info(cluster: &mut Cluster, at: &str, of: &str) -> ServerInfo {
    let Reply::Servers(servers) = cluster.ok(at, Speaker::Anonymous, Request::Servers) else {
        panic!("no servers")
    };
    let named = |info: &ServerInfo| info.name == server(of);
    servers.into_iter().find(named).unwrap()
}

fn rotate(cluster: &mut Cluster, at: &str, wait: KeyWait) {
    cluster.ok(at, Speaker::Operator, Request::RotateKey { wait });
}

fn present(cluster: &Cluster, of: &str) -> Vec<u8> {
    cluster.keys[&server(of)].0.clone()
}

/// Days go by, a few beats of each are lived through.
fn days(cluster: &mut Cluster, days: u64) {
    for _ in 0..days {
        cluster.now.wall_ms += DAY_MS;
        cluster.now.mono_ms += DAY_MS;
        cluster.pass(12_000);
    }
}

/// Both servers take changes and have them from each other.
fn all_well(cluster: &mut Cluster, group: &str) {
    cluster.group(group, &["birrell@pa"], &[]);
    let reply = cluster.ok(
        "s2",
        Speaker::Operator,
        add(group, GroupList::Members, "needham@pa"),
    );
    assert!(matches!(reply, Reply::Written(written) if written.copies >= 2));
    cluster.pass(2_000);
    cluster.assert_settled();
}

#[test]
fn a_new_key_is_known_everywhere_before_it_is_used_and_the_old_one_ends_with_its_tickets() {
    let mut cluster = Cluster::new(2);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    rotate(&mut cluster, "s1", KeyWait::Servers);
    let next = cluster.keys[&server("s1")]
        .1
        .clone()
        .expect("made before the yes");
    let seen = info(&mut cluster, "s2", "s1");
    assert_eq!(
        (&seen.public_key, &seen.more_keys),
        (&old, &vec![next.clone()])
    );
    cluster.pass(12_000);
    assert_eq!(present(&cluster, "s1"), next);
    let seen = info(&mut cluster, "s2", "s1");
    assert_eq!(
        (&seen.public_key, &seen.more_keys),
        (&next, &vec![old.clone()])
    );
    all_well(&mut cluster, "g1^@pa");
    cluster.now.wall_ms += 9 * HOUR_MS;
    cluster.pass(12_000);
    let seen = info(&mut cluster, "s2", "s1");
    assert!(!seen.has_key(&old), "tickets signed by it have ended");
    all_well(&mut cluster, "g2^@pa");
}

#[test]
fn both_servers_change_their_keys_by_themselves_after_the_configured_age() {
    let mut cluster = Cluster::new(2);
    let first: Vec<_> = ["s1", "s2"].map(|at| present(&cluster, at)).into();
    days(&mut cluster, 89);
    assert_eq!(info(&mut cluster, "s2", "s1").more_keys, [] as [Vec<u8>; 0]);
    days(&mut cluster, 3);
    assert_eq!(
        present(&cluster, "s1"),
        first[0],
        "clients have a week's notice"
    );
    assert_eq!(info(&mut cluster, "s2", "s1").more_keys.len(), 1);
    days(&mut cluster, 7);
    for (at, old) in ["s1", "s2"].into_iter().zip(&first) {
        assert_ne!(present(&cluster, at), *old);
        assert!(!info(&mut cluster, "s1", at).has_key(old));
    }
    all_well(&mut cluster, "g^@pa");
    days(&mut cluster, 100);
    assert_ne!(present(&cluster, "s1"), first[0]);
    all_well(&mut cluster, "h^@pa");
}

#[test]
fn a_server_that_is_away_is_waited_for_and_meets_no_unknown_key() {
    let mut cluster = Cluster::new(2);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    cluster.kill("s2");
    rotate(&mut cluster, "s1", KeyWait::Servers);
    days(&mut cluster, 30);
    assert_eq!(present(&cluster, "s1"), old);
    cluster.start("s2", Start::Resume);
    cluster.pass(12_000);
    assert_ne!(present(&cluster, "s1"), old);
    all_well(&mut cluster, "g^@pa");
}

#[test]
fn a_server_that_is_away_for_months_holds_nobody_up_for_ever() {
    let mut cluster = Cluster::new(3);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    cluster.kill("s3");
    rotate(&mut cluster, "s1", KeyWait::Servers);
    days(&mut cluster, 89);
    assert_eq!(present(&cluster, "s1"), old);
    days(&mut cluster, 3);
    assert_ne!(present(&cluster, "s1"), old);
    // A third server tells it the new key.
    cluster.start("s3", Start::Resume);
    assert!(!cluster.lets_in(&server("s3"), &server("s1")));
    cluster.pass(12_000);
    assert!(cluster.lets_in(&server("s3"), &server("s1")));
    cluster.assert_settled();
}

#[test]
fn a_stolen_key_waits_for_no_absent_server_and_is_struck_off_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    cluster.kill("s3");
    rotate(&mut cluster, "s1", KeyWait::Nobody);
    cluster.pass(12_000);
    let seen = info(&mut cluster, "s2", "s1");
    assert_ne!(seen.public_key, old);
    assert!(!seen.has_key(&old));
    cluster.start("s3", Start::Resume);
    cluster.pass(12_000);
    cluster.assert_settled();
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_change_goes_on_with_it() {
    let mut cluster = Cluster::new(2);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    // Made and not on record.
    cluster
        .keys
        .insert(server("s1"), (old.clone(), Some(b"made".to_vec())));
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(3_000);
    assert_eq!(info(&mut cluster, "s2", "s1").more_keys, [b"made".to_vec()]);
    // On record, and in use in the folder before the core said so.
    cluster.kill("s1");
    cluster.keys.insert(server("s1"), (b"made".to_vec(), None));
    cluster.start("s1", Start::Resume);
    cluster.pass(12_000);
    let seen = info(&mut cluster, "s2", "s1");
    assert_eq!(
        (seen.public_key, seen.more_keys),
        (b"made".to_vec(), vec![old])
    );
    all_well(&mut cluster, "g^@pa");
    // A next key whose private half was lost with its file is struck off.
    cluster.keys.get_mut(&server("s1")).unwrap().1 = Some(b"lost".to_vec());
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(3_000);
    assert!(info(&mut cluster, "s2", "s1").has_key(b"lost"));
    cluster.kill("s1");
    cluster.keys.get_mut(&server("s1")).unwrap().1 = None;
    cluster.start("s1", Start::Resume);
    cluster.pass(3_000);
    assert!(!info(&mut cluster, "s2", "s1").has_key(b"lost"));
}

#[test]
fn an_old_folder_comes_back_while_its_key_is_on_record_and_not_after() {
    let mut cluster = Cluster::new(2);
    cluster.pass(12_000);
    let old = present(&cluster, "s1");
    let backup = cluster.nodes[&server("s1")].disk.0.lock().unwrap().clone();
    rotate(&mut cluster, "s1", KeyWait::Servers);
    cluster.pass(12_000);
    let new = present(&cluster, "s1");
    assert_ne!(new, old);
    cluster.kill("s1");
    cluster.keys.insert(server("s1"), (old.clone(), None));
    *cluster.nodes[&server("s1")].disk.0.lock().unwrap() = backup;
    cluster.alarms_expected = true;
    cluster.start("s1", Start::Restored);
    cluster.pass(12_000);
    let seen = info(&mut cluster, "s2", "s1");
    assert_eq!(
        seen.public_key, old,
        "what is in the folder is what it can prove"
    );
    all_well(&mut cluster, "g^@pa");
    // The other way round: the key is not on record any more, and it is let in nowhere.
    cluster.kill("s1");
    cluster
        .keys
        .insert(server("s1"), (b"forgotten".to_vec(), None));
    cluster.start("s1", Start::Resume);
    cluster.pass(12_000);
    let (s1, s2): (ServerName, ServerName) = (server("s1"), server("s2"));
    assert!(!cluster.lets_in(&s1, &s2) && !cluster.lets_in(&s2, &s1));
    assert_eq!(info(&mut cluster, "s2", "s1").public_key, old);
}

#[test]
fn only_the_operator_of_its_own_machine_changes_a_servers_key() {
    let mut cluster = Cluster::new(2);
    cluster.pass(3_000);
    let registrar = cluster.login("registrar@pa");
    for speaker in [Speaker::Anonymous, registrar, Speaker::Server(server("s2"))] {
        let wait = KeyWait::Servers;
        let refused = cluster.refused("s1", speaker, Request::RotateKey { wait });
        assert_eq!(refused, ErrorKind::NotAllowed);
    }
    assert!(cluster.keys[&server("s1")].1.is_none(), "no key was made");
}
