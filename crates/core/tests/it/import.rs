//! Many entries in one request.

use grapevine_model::{
    EntryKind, ErrorKind, GroupList, ImportDone, Imported, ImportedEntry, MAX_IMPORTED_ENTRIES,
    Member, Reply, Request, Secret, Speaker,
};

use crate::harness::{Cluster, name};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Z3JhcGV2aW5lLW5vYm9keQ$c2hvcnQ";

fn individual(who: &str) -> ImportedEntry {
    ImportedEntry::new(name(who), EntryKind::Individual)
}

fn group(which: &str, members: &[&str]) -> ImportedEntry {
    ImportedEntry {
        members: members.iter().map(|m| m.parse().unwrap()).collect(),
        ..ImportedEntry::new(name(which), EntryKind::Group)
    }
}

fn import(entries: Vec<ImportedEntry>) -> Request {
    let registry = "pa".parse().unwrap();
    Request::Import { registry, entries }
}

fn imported(cluster: &mut Cluster, at: &str, entries: Vec<ImportedEntry>) -> Imported {
    match cluster.ok(at, Speaker::Operator, import(entries)) {
        Reply::Imported(imported) => imported,
        other => panic!("{other:?}"),
    }
}

fn done(imported: &Imported) -> Vec<ImportDone> {
    imported.outcomes.iter().map(|o| o.done).collect()
}

#[test]
fn an_import_makes_entries_on_two_disks_and_again_changes_nothing() {
    let mut cluster = Cluster::new(2);
    let lampson = ImportedEntry {
        password: Some(Secret(HASH.into())),
        remark: Some("Butler".into()),
        forward: vec![name("birrell@pa")],
        aliases: vec![name("bwl@pa")],
        ..individual("Lampson@pa")
    };
    let entries = vec![
        lampson,
        group(
            "all^@pa",
            &["Lampson@pa", "needham@pa", "*@gv", "x@outside.example"],
        ),
    ];
    let first = imported(&mut cluster, "s1", entries.clone());
    assert_eq!(done(&first), [ImportDone::Created, ImportDone::Created]);
    assert!(first.outcomes.iter().all(|o| o.left_out.is_empty()));
    assert_eq!(first.written.copies, 2);

    let again = imported(&mut cluster, "s2", entries);
    assert_eq!(done(&again), [ImportDone::Unchanged, ImportDone::Unchanged]);
    cluster.assert_settled();

    let show = |name| Request::Show { name };
    let Reply::Entry(view) = cluster.ok("s2", Speaker::Operator, show(name("bwl@pa"))) else {
        panic!("no entry")
    };
    assert_eq!(view.name.to_string(), "Lampson@pa", "the spelling is kept");
    assert_eq!(view.remark, "Butler");
    assert_eq!(view.forward, [name("birrell@pa")]);
    assert_eq!(view.sites.len(), 2, "an inbox has two sites");
    let check = Request::Check {
        group: name("all^@pa"),
        list: GroupList::Members,
        who: name("lampson@pa"),
    };
    let yes = Reply::Check(grapevine_model::Check::Yes);
    assert_eq!(cluster.ok("s2", Speaker::Operator, check), yes);
}

#[test]
fn what_can_not_be_imported_is_said_one_by_one_and_the_rest_goes_on() {
    let mut cluster = Cluster::new(1);
    let entries = vec![
        individual("birrell@pa"),
        ImportedEntry::new(name("needham@pa"), EntryKind::Group),
        individual("a@elsewhere"),
        group("g^@pa", &["birrell@pa", "nobody@pa"]),
        ImportedEntry {
            password: Some(Secret("plain".into())),
            aliases: vec![name("needham@pa"), name("ok@pa")],
            ..individual("b@pa")
        },
        individual("ok@pa"),
        individual("owners-g@pa"),
    ];
    let result = imported(&mut cluster, "s1", entries);
    use ImportDone::{Created, Refused, Unchanged};
    assert_eq!(
        done(&result),
        [
            Unchanged, Refused, Refused, Created, Created, Refused, Refused
        ]
    );
    let left_out: Vec<usize> = result.outcomes.iter().map(|o| o.left_out.len()).collect();
    assert_eq!(left_out, [0, 1, 1, 1, 2, 1, 1]);
    assert_eq!(result.outcomes[3].left_out[0].kind, ErrorKind::NotFound);
    assert!(!format!("{:?}", result.outcomes[4]).contains("plain\""));
}

#[test]
fn an_import_replaces_no_password_and_removes_no_member() {
    let mut cluster = Cluster::new(1);
    cluster.group("g^@pa", &["birrell@pa"], &["needham@pa"]);
    let entries = vec![
        group("g^@pa", &["needham@pa"]),
        ImportedEntry {
            password: Some(Secret(HASH.into())),
            ..individual("birrell@pa")
        },
    ];
    let result = imported(&mut cluster, "s1", entries);
    assert_eq!(done(&result), [ImportDone::Changed, ImportDone::Unchanged]);
    let members = Request::Members {
        group: name("g^@pa"),
        list: GroupList::Members,
        after: None,
        limit: 10,
    };
    let Reply::Members { members, .. } = cluster.ok("s1", Speaker::Operator, members) else {
        panic!("no members")
    };
    let names: Vec<String> = members.iter().map(Member::to_string).collect();
    assert_eq!(names, ["birrell@pa", "needham@pa"]);
    let old = Request::Authenticate {
        name: name("birrell@pa"),
        password: Secret("birrell@pa".into()),
        source: grapevine_model::Source::Local,
    };
    cluster.ok("s1", Speaker::Anonymous, old);
}

#[test]
fn only_a_registrar_imports_and_only_so_much_at_once() {
    let mut cluster = Cluster::new(1);
    let birrell = cluster.login("birrell@pa");
    let refused = cluster.refused("s1", birrell, import(vec![individual("x@pa")]));
    assert_eq!(refused, ErrorKind::NotAllowed);
    let many = (0..=MAX_IMPORTED_ENTRIES).map(|n| individual(&format!("n{n}@pa")));
    let many = import(many.collect());
    let refused = cluster.refused("s1", Speaker::Operator, many);
    assert_eq!(refused, ErrorKind::TooLarge);
    let system = Request::Import {
        registry: "gv".parse().unwrap(),
        entries: vec![individual("x@gv")],
    };
    let refused = cluster.refused("s1", Speaker::Operator, system);
    assert_eq!(refused, ErrorKind::NotAllowed);
}
