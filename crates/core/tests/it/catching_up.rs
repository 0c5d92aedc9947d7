//! What travels between two holders for large changes, and for what one of them missed: everything once.

use grapevine_core::Effect;
use grapevine_model::{EntryKind, ImportedEntry, PeerMessage, Reply, Request, Speaker};

use crate::harness::{Cluster, name, server};

/// Items in one import.
const ITEMS: usize = 2_000;

fn import_members(cluster: &mut Cluster, from: usize) {
    let mut entry = ImportedEntry::new(name("g^@pa"), EntryKind::Group);
    let members = (from..from + ITEMS).map(|n| format!("person{n}@elsewhere.example"));
    entry.members = members.map(|member| member.parse().unwrap()).collect();
    let import = Request::Import {
        registry: "pa".parse().unwrap(),
        entries: vec![entry],
    };
    match cluster.ok("s1", Speaker::Operator, import) {
        Reply::Imported(_) => {}
        other => panic!("{other:?}"),
    }
}

/// Updates in each push and in each page that s1 has sent.
fn sent(cluster: &Cluster) -> (Vec<usize>, Vec<usize>) {
    let (mut pushes, mut pages) = (Vec::new(), Vec::new());
    for (at, effect) in &cluster.effects {
        match effect {
            Effect::Send { message, .. } if *at == server("s1") => match message.bare() {
                PeerMessage::Push { updates, .. } => pushes.push(updates.len()),
                PeerMessage::Pushes(some) => pushes.extend(some.iter().map(|p| p.updates.len())),
                PeerMessage::Page { updates, .. } => pages.push(updates.len()),
                _ => {}
            },
            _ => {}
        }
    }
    (pushes, pages)
}

#[test]
fn a_large_change_is_pushed_in_pieces_that_follow_one_another() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &[], &[]);
    cluster.effects.clear();
    import_members(&mut cluster, 0);
    let (pushes, pages) = sent(&cluster);
    assert!(pushes.len() > 1 && pushes.iter().all(|len| *len <= 1_000));
    assert_eq!(pushes.iter().sum::<usize>(), ITEMS);
    assert!(pages.is_empty(), "no session was needed: {pages:?}");
    cluster.pass(2_000);
    cluster.assert_settled();
}

#[test]
fn what_a_holder_missed_comes_to_it_once() {
    const MISSED: usize = 20 * ITEMS;
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &[], &[]);
    cluster.cut.insert(server("s2"));
    cluster.pass(5_000);
    for from in (0..MISSED).step_by(ITEMS) {
        import_members(&mut cluster, from);
    }
    cluster.effects.clear();
    cluster.cut.clear();
    cluster.pass(10_000);
    let (_, pages) = sent(&cluster);
    assert!(pages.len() > 5, "it takes more than a few pages");
    let all = pages.iter().sum::<usize>();
    // Either side may begin: a first page may come twice, and no other one.
    assert!(
        (MISSED..MISSED + MISSED / 4).contains(&all),
        "{all} updates for {MISSED}"
    );
    cluster.assert_settled();
}
