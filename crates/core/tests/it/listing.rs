//! A registry's entries, page by page.

use grapevine_model::{
    EntryView, ErrorKind, GroupList, Member, MemberKind, Reply, Request, Speaker,
};

use crate::harness::{Cluster, add, name, remove};

fn page(after: Option<&str>, limit: u32) -> Request {
    Request::Entries {
        registry: "pa".parse().unwrap(),
        after: after.map(str::to_owned),
        limit,
    }
}

fn read(
    cluster: &mut Cluster,
    at: &str,
    speaker: &Speaker,
    limit: u32,
) -> (Vec<EntryView>, Vec<usize>) {
    let (mut all, mut sizes, mut after) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let Reply::Entries { entries, next } =
            cluster.ok(at, speaker.clone(), page(after.as_deref(), limit))
        else {
            panic!("no page");
        };
        sizes.push(entries.len());
        all.extend(entries);
        match next {
            Some(next) => after = Some(next),
            None => return (all, sizes),
        }
    }
}

#[test]
fn pages_give_each_entry_once_in_order_of_names() {
    let mut cluster = Cluster::new(2);
    for n in 0..700 {
        cluster.individual(&format!("P{n}@pa"));
    }
    let speaker = cluster.login("birrell@pa");
    let (all, sizes) = read(&mut cluster, "s2", &speaker, 7);
    let names: Vec<_> = all.iter().map(|e| e.name.folded().to_owned()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 703);
    assert!(sizes.iter().all(|size| *size <= 7));
    assert!(all.iter().all(|e| e.created_ms > 1_600_000_000_000));
    let (whole, sizes) = read(&mut cluster, "s1", &speaker, u32::MAX);
    assert_eq!(whole, all);
    assert!(
        sizes.len() > 1,
        "a page is bounded whatever is asked: {sizes:?}"
    );
}

#[test]
fn a_page_is_bounded_in_octets_too() {
    let mut cluster = Cluster::new(1);
    let speaker = cluster.login("birrell@pa");
    for group in 0..60 {
        let group = format!("g{group}^@pa");
        cluster.group(&group, &[], &[]);
        for owner in 0..60 {
            let owner = format!("{}{owner}@elsewhere.example", "o".repeat(60));
            cluster.ok(
                "s1",
                Speaker::Operator,
                add(&group, GroupList::Owners, &owner),
            );
        }
    }
    let before = read(&mut cluster, "s1", &speaker, 500).1;
    assert_eq!(
        before.len(),
        1,
        "60 groups of 60 owners of some 80 octets fit"
    );
    for group in 60..180 {
        let group = format!("g{group}^@pa");
        cluster.group(&group, &[], &[]);
        for owner in 0..60 {
            let owner = format!("{}{owner}@elsewhere.example", "o".repeat(60));
            cluster.ok(
                "s1",
                Speaker::Operator,
                add(&group, GroupList::Owners, &owner),
            );
        }
    }
    let (all, sizes) = read(&mut cluster, "s1", &speaker, 500);
    assert!(sizes.len() > 1, "{sizes:?}");
    assert_eq!(all.len(), 183);
}

#[test]
fn who_is_not_logged_in_lists_nothing() {
    let mut cluster = Cluster::new(1);
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, page(None, 10)),
        ErrorKind::NotAuthenticated
    );
}

#[test]
fn a_registry_held_elsewhere_is_read_from_its_holder_and_unavailable_without_it() {
    let mut cluster = Cluster::new(2);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec!["s1".parse().unwrap()],
        registrars: vec![name("birrell@pa")],
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.individual("levin@es");
    cluster.pass(2_000);
    let speaker = cluster.login("birrell@pa");
    let es = Request::Entries {
        registry: "es".parse().unwrap(),
        after: None,
        limit: 10,
    };
    let Reply::Entries { entries, next } = cluster.ok("s2", speaker.clone(), es.clone()) else {
        panic!("no page");
    };
    assert_eq!((entries.len(), next), (1, None));
    cluster.kill("s1");
    cluster.pass(10_000);
    assert_eq!(
        cluster.refused("s2", speaker.clone(), es),
        ErrorKind::Unavailable
    );
    let unknown = Request::Entries {
        registry: "nowhere".parse().unwrap(),
        after: None,
        limit: 10,
    };
    assert_eq!(cluster.refused("s2", speaker, unknown), ErrorKind::NotFound);
}

#[test]
fn the_number_of_members_follows_every_change() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &["birrell@pa", "needham@pa"], &[]);
    let members = |cluster: &mut Cluster, at: &str| {
        let show = Request::Show {
            name: name("g^@pa"),
        };
        match cluster.ok(at, Speaker::Operator, show) {
            Reply::Entry(view) => view.members,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(members(&mut cluster, "s2"), 2);
    for _ in 0..2 {
        cluster.ok(
            "s2",
            Speaker::Operator,
            remove("g^@pa", GroupList::Members, "needham@pa"),
        );
    }
    assert_eq!(members(&mut cluster, "s1"), 1);
    cluster.start("s1", grapevine_core::Start::Resume);
    cluster.pass(2_000);
    assert_eq!(members(&mut cluster, "s1"), 1);
}

#[test]
fn a_number_finds_its_entry_at_every_holder_and_only_there() {
    let mut cluster = Cluster::new(2);
    let speaker = cluster.login("birrell@pa");
    let (all, _) = read(&mut cluster, "s1", &speaker, 100);
    for entry in all {
        let ask = Request::EntryOfNumber {
            registry: "pa".parse().unwrap(),
            number: entry.number.unwrap(),
        };
        assert_eq!(
            cluster.ok("s2", speaker.clone(), ask.clone()),
            Reply::Entry(Box::new(entry.clone()))
        );
        assert_eq!(
            cluster.refused("s2", Speaker::Anonymous, ask.clone()),
            ErrorKind::NotAuthenticated
        );
        if entry.name == name("needham@pa") {
            let delete = Request::Delete {
                name: entry.name.clone(),
            };
            cluster.ok("s1", Speaker::Operator, delete);
            assert_eq!(
                cluster.refused("s2", speaker.clone(), ask),
                ErrorKind::NotFound
            );
        }
    }
}

#[test]
fn a_page_of_members_says_what_each_is() {
    let mut cluster = Cluster::new(1);
    cluster.group("inner^@pa", &[], &[]);
    cluster.group(
        "g^@pa",
        &["birrell@pa", "inner^@pa", "somebody@elsewhere.example"],
        &[],
    );
    let ask = Request::Members {
        group: name("g^@pa"),
        list: GroupList::Members,
        after: None,
        limit: 10,
    };
    let Reply::Members { members, kinds, .. } = cluster.ok("s1", Speaker::Operator, ask) else {
        panic!("no members");
    };
    let said: Vec<_> = members.iter().map(Member::key).zip(kinds).collect();
    assert_eq!(
        said,
        [
            ("birrell@pa".to_owned(), MemberKind::Individual),
            ("inner^@pa".to_owned(), MemberKind::Group),
            ("somebody@elsewhere.example".to_owned(), MemberKind::Outside),
        ]
    );
}
