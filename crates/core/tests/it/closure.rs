//! Memberships: what is remembered is what would be worked out afresh, at every moment.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Check, EntryChange, EntryKind, ErrorKind, GroupList, ImportedEntry, MAX_IMPORTED_ENTRIES, Name,
    Reply, Request, Speaker,
};
use proptest::prelude::*;

use crate::harness::{CLOSURE_GROUPS, Cluster, add, name, remove};

fn check(cluster: &mut Cluster, at: &str, group: &str, who: &str) -> bool {
    let request = Request::Check {
        group: name(group),
        list: GroupList::Members,
        who: name(who),
    };
    match cluster.ok(at, Speaker::Operator, request) {
        Reply::Check(Check::Yes) => true,
        Reply::Check(Check::No) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closure_beyond_its_bound_is_cannot_tell_and_never_a_no() {
    let mut cluster = Cluster::new(1);
    let groups = CLOSURE_GROUPS + 1;
    // A chain of groups, each in the one before it: all are made first, so that each knows what it lists.
    for with_members in [false, true] {
        for some in (0..groups).collect::<Vec<_>>().chunks(MAX_IMPORTED_ENTRIES) {
            let entries = some.iter().map(|n| {
                let group = name(&format!("c{n}@pa"));
                let mut entry = ImportedEntry::new(group, EntryKind::Group);
                if with_members && n + 1 < groups {
                    entry.members = vec![format!("c{}@pa", n + 1).parse().unwrap()];
                }
                entry
            });
            let import = Request::Import {
                registry: "pa".parse().unwrap(),
                entries: entries.collect(),
            };
            cluster.ok("s1", Speaker::Operator, import);
        }
    }
    let last = format!("c{}@pa", groups - 1);
    let add_last = add(&last, GroupList::Members, "birrell@pa");
    cluster.ok("s1", Speaker::Operator, add_last);
    // One group fewer is within the bound, and he is found at its end; another who is nowhere is surely not.
    assert!(check(&mut cluster, "s1", "c1@pa", "birrell@pa"));
    assert!(!check(&mut cluster, "s1", "c1@pa", "needham@pa"));
    // Over the bound nothing is said that was not seen.
    let ask = |who| Request::Check {
        group: name("c0@pa"),
        list: GroupList::Members,
        who: name(who),
    };
    for who in ["birrell@pa", "needham@pa"] {
        let refused = cluster.refused("s1", Speaker::Operator, ask(who));
        assert_eq!(refused, ErrorKind::Unavailable, "{who}");
    }
    // Who is in what was visited is in.
    let add_first = add("c0@pa", GroupList::Members, "needham@pa");
    cluster.ok("s1", Speaker::Operator, add_first);
    assert!(check(&mut cluster, "s1", "c0@pa", "needham@pa"));
}

const GROUPS: [&str; 6] = ["g0@pa", "g1@pa", "g2@pa", "g3@es", "g4@es", "g5@es"];
const PEOPLE: [&str; 3] = ["birrell@pa", "needham@pa", "bob@es"];

/// Two registries on both servers, with groups and people.
fn world() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.ok(
        "s1",
        Speaker::Operator,
        Request::RegistryCreate {
            registry: "es".parse().unwrap(),
            holders: Vec::new(),
            registrars: vec![name("registrar@pa")],
        },
    );
    cluster.individual("bob@es");
    for group in GROUPS {
        cluster.group(group, &[], &["registrar@pa"]);
    }
    cluster.pass(2_000);
    cluster
}

/// The truth, by the plainest means.
fn reaches(lists: &BTreeMap<&str, BTreeSet<&str>>, group: &str, who: &str) -> bool {
    let mut visited = BTreeSet::new();
    let mut frontier = vec![group];
    while let Some(group) = frontier.pop() {
        if !visited.insert(group.to_owned()) {
            continue;
        }
        for member in lists.get(group).into_iter().flatten() {
            if *member == who || (*member == "*@es" && who.ends_with("@es")) {
                return true;
            }
            frontier.push(member);
        }
    }
    false
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Add(usize, usize),
    Remove(usize, usize),
    /// Deleted and made anew: it inherits nothing, not even its place in other groups.
    Anew(usize),
}

fn member(number: usize) -> &'static str {
    let all = [
        "birrell@pa",
        "needham@pa",
        "bob@es",
        "*@es",
        "g0@pa",
        "g1@pa",
        "g2@pa",
        "g3@es",
        "g4@es",
        "g5@es",
    ];
    all[number % all.len()]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        5 => (0..6usize, 0..10usize).prop_map(|(g, m)| Edit::Add(g, m)),
        3 => (0..6usize, 0..10usize).prop_map(|(g, m)| Edit::Remove(g, m)),
        1 => (0..6usize).prop_map(Edit::Anew),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_remembered_is_what_would_be_worked_out_afresh(
        edits in proptest::collection::vec((edit(), any::<bool>()), 1..40)
    ) {
        let mut cluster = world();
        let mut lists: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (edit, second) in edits {
            let at = if second { "s2" } else { "s1" };
            match edit {
                Edit::Add(g, m) => {
                    cluster.ok(at, Speaker::Operator, add(GROUPS[g], GroupList::Members, member(m)));
                    lists.entry(GROUPS[g]).or_default().insert(member(m));
                }
                Edit::Remove(g, m) => {
                    cluster.ok(at, Speaker::Operator, remove(GROUPS[g], GroupList::Members, member(m)));
                    lists.entry(GROUPS[g]).or_default().remove(member(m));
                }
                Edit::Anew(g) => {
                    cluster.ok(at, Speaker::Operator, Request::Delete { name: name(GROUPS[g]) });
                    let create = Request::GroupCreate {
                        name: name(GROUPS[g]),
                        remark: String::new(),
                        owners: vec![name("registrar@pa").into()],
                    };
                    cluster.ok(at, Speaker::Operator, create);
                    lists.remove(GROUPS[g]);
                    for members in lists.values_mut() {
                        members.remove(GROUPS[g]);
                    }
                }
            }
            cluster.pump();
            // Asked at both, and each twice: worked out, and remembered.
            for at in ["s1", "s2", "s1", "s2"] {
                for group in GROUPS {
                    for who in PEOPLE {
                        let is = check(&mut cluster, at, group, who);
                        prop_assert_eq!(is, reaches(&lists, group, who), "{} in {} at {} after {:?}", who, group, at, edit);
                    }
                }
            }
        }
    }
}

#[test]
fn many_are_checked_in_one_question_and_too_many_are_refused() {
    let mut cluster = world();
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g0@pa", GroupList::Members, "g3@es"),
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("g3@es", GroupList::Members, "bob@es"),
    );
    let question = |who: Vec<Name>| Request::CheckMany {
        group: name("g0@pa"),
        list: GroupList::Members,
        who,
    };
    let who = [
        "bob@es",
        "birrell@pa",
        "nobody@pa",
        "nobody@elsewhere.example",
    ];
    let asked = question(who.iter().map(|who| name(who)).collect());
    let answers = cluster.ok("s2", Speaker::Operator, asked);
    let (yes, no) = (Some(Check::Yes), Some(Check::No));
    assert_eq!(answers, Reply::Checks(vec![yes, no, no, no]));
    let most = vec![name("bob@es"); grapevine_model::MAX_CHECKS];
    let all = cluster.ok("s1", Speaker::Operator, question(most.clone()));
    assert_eq!(all, Reply::Checks(vec![yes; grapevine_model::MAX_CHECKS]));
    let more = [most, vec![name("bob@es")]].concat();
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, question(more)),
        ErrorKind::TooLarge
    );
}

#[test]
fn a_change_in_a_registry_held_elsewhere_is_seen_within_the_stated_time() {
    let mut cluster = Cluster::new(3);
    for (registry, holder) in [("es", "s2"), ("fr", "s3")] {
        cluster.ok(
            "s1",
            Speaker::Operator,
            Request::RegistryCreate {
                registry: registry.parse().unwrap(),
                holders: vec![holder.parse().unwrap()],
                registrars: vec![name("registrar@pa")],
            },
        );
    }
    cluster.pass(2_000);
    cluster.group("near@pa", &[], &[]);
    cluster.group("far@es", &["birrell@pa"], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("near@pa", GroupList::Members, "far@es"),
    );
    cluster.pass(1_000);
    assert!(check(&mut cluster, "s1", "near@pa", "birrell@pa"));
    let written = cluster.ok(
        "s2",
        Speaker::Operator,
        remove("far@es", GroupList::Members, "birrell@pa"),
    );
    // Whoever knows of the change sees it at once.
    let Reply::Written(written) = written else {
        panic!()
    };
    let request = Request::Check {
        group: name("near@pa"),
        list: GroupList::Members,
        who: name("birrell@pa"),
    };
    let told = cluster.ask_after("s1", Speaker::Operator, request, &written.seen);
    assert_eq!(told, Ok(Reply::Check(Check::No)));
    // Everybody else when what was said has grown old.
    cluster.pass(grapevine_core::Times::default().closure_ms);
    assert!(!check(&mut cluster, "s1", "near@pa", "birrell@pa"));
    // And when nobody can be asked any more, it is neither.
    cluster.pass(10_000);
    cluster.kill("s2");
    let request = Request::Check {
        group: name("near@pa"),
        list: GroupList::Members,
        who: name("birrell@pa"),
    };
    assert_eq!(
        cluster.refused("s1", Speaker::Operator, request),
        ErrorKind::Unavailable
    );
}

#[test]
fn who_is_taken_out_under_one_of_his_names_is_out_under_all_of_them() {
    let mut cluster = world();
    let alias = Request::Change {
        name: name("needham@pa"),
        change: EntryChange::AliasAdd(name("roger@pa")),
    };
    cluster.ok("s1", Speaker::Operator, alias);
    let of = ["needham@pa", "roger@pa"];
    for listed in of {
        let change = add("g0@pa", GroupList::Members, listed);
        cluster.ok("s1", Speaker::Operator, change);
        // Both answers are remembered now.
        for who in of {
            assert!(check(&mut cluster, "s1", "g0@pa", who), "{listed} {who}");
        }
        let change = remove("g0@pa", GroupList::Members, "needham@pa");
        cluster.ok("s1", Speaker::Operator, change);
        for who in of {
            assert!(!check(&mut cluster, "s1", "g0@pa", who), "{listed} {who}");
        }
    }
}
