//! Copies that differ although their vectors say that they do not, disks that were set back,
//! updates that must wait, and cells that this release does not know.

use std::collections::BTreeSet;

use grapevine_core::{Effect, Input, Start, Table};
use grapevine_model::{
    Cell, CellKey, Check, CompareStep, CompareView, ComparedWith, Course, GroupList, Hlc, OriginId,
    PeerMessage, Reply, Request, Since, SpaceId, Speaker, Stamp, Update, VersionVector,
};

use crate::harness::{Cluster, add, name, remove, server};
use crate::watch;

fn pa() -> SpaceId {
    SpaceId::Registry("pa".parse().unwrap())
}

fn compare(cluster: &mut Cluster, at: &str) -> CompareView {
    let registry = "pa".parse().unwrap();
    match cluster.ok(at, Speaker::Operator, Request::Compare { registry }) {
        Reply::Compared(view) => view,
        other => panic!("{other:?}"),
    }
}

fn status(cluster: &mut Cluster, at: &str) -> grapevine_model::ServerStatus {
    match cluster.ok(at, Speaker::Operator, Request::Status) {
        Reply::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

fn is_member(cluster: &mut Cluster, at: &str, who: &str) -> Check {
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name(who),
    };
    match cluster.ok(at, Speaker::Operator, check) {
        Reply::Check(check) => check,
        other => panic!("{other:?}"),
    }
}

/// Rows of a table whose key holds this text, at a server.
fn rows(cluster: &Cluster, at: &str, table: Table, text: &str) -> Vec<Vec<u8>> {
    let disk = cluster.nodes[&server(at)].disk.0.lock().unwrap();
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    disk.iter()
        .filter(|((of, key), _)| *of == table && has(key))
        .map(|((_, key), _)| key.clone())
        .collect()
}

/// Changes a server's disk while it is down.
fn tamper(cluster: &mut Cluster, at: &str, table: Table, key: &[u8], value: Option<Vec<u8>>) {
    let mut disk = cluster.nodes[&server(at)].disk.0.lock().unwrap();
    match value {
        Some(value) => disk.insert((table, key.to_vec()), value),
        None => disk.remove(&(table, key.to_vec())),
    };
}

fn update(item: u128, field: u16, time: u64, origin: u64, value: &[u8]) -> Update {
    let stamp = Stamp {
        time: Hlc(time),
        origin: OriginId(origin),
    };
    Update {
        key: CellKey {
            item,
            field,
            element: Vec::new(),
        },
        cell: Cell {
            stamp,
            dot: stamp,
            value: Some(value.to_vec()),
        },
    }
}

fn say(cluster: &mut Cluster, from: &str, to: &str, message: PeerMessage) {
    cluster.input(
        &server(to),
        Input::Peer {
            from: server(from),
            message,
            staged: None,
        },
    );
    cluster.pump();
}

fn push(updates: Vec<Update>) -> PeerMessage {
    let origin = updates[0].cell.dot.origin;
    PeerMessage::Push {
        space: pa(),
        previous: Stamp {
            time: Hlc(0),
            origin,
        },
        context: VersionVector::default(),
        updates,
    }
}

#[test]
fn equal_copies_are_equal_in_one_round_trip_of_some_bytes() {
    let mut cluster = Cluster::new(2);
    cluster.pass(5_000);
    let view = compare(&mut cluster, "s2");
    assert_eq!((view.rebuilt, view.with.len()), (0, 1));
    let with = &view.with[0];
    assert_eq!(
        (with.differed, with.healed_here, with.healed_there),
        (0, 0, 0)
    );
    assert!(with.failure.is_none() && with.bytes < 64, "{with:?}");
    assert_eq!(status(&mut cluster, "s2").compare.compared, 1);
}

#[test]
fn cells_lost_by_a_disk_come_back_from_the_other_side() {
    for asker in ["s1", "s2"] {
        let mut cluster = Cluster::new(2);
        cluster.alarms_expected = true;
        cluster.group("g^@pa", &["birrell@pa", "needham@pa"], &[]);
        for n in 0..600 {
            cluster.individual(&format!("person{n}@pa"));
        }
        cluster.pass(3_000);
        cluster.kill("s2");
        // Both the cell and its dot: nothing on this disk tells of it.
        for key in rows(&cluster, "s2", Table::Cells, "needham@pa") {
            tamper(&mut cluster, "s2", Table::Cells, &key, None);
        }
        cluster.start("s2", Start::Resume);
        cluster.pass(5_000);
        assert_eq!(is_member(&mut cluster, "s2", "needham@pa"), Check::No);
        let view = compare(&mut cluster, asker);
        let ComparedWith {
            differed,
            healed_here,
            healed_there,
            failure,
            bytes,
            ..
        } = view.with[0].clone();
        assert_eq!((differed, failure), (1, None));
        let expected = if asker == "s2" { (1, 0) } else { (0, 1) };
        assert_eq!((healed_here, healed_there), expected);
        assert!(bytes < 8_192, "{bytes} for one cell of some thousands");
        assert_eq!(is_member(&mut cluster, "s2", "needham@pa"), Check::Yes);
        assert_eq!(status(&mut cluster, "s2").compare.healed, 1);
        assert!(!status(&mut cluster, "s2").alarms.is_empty());
        cluster.assert_settled();
    }
}

#[test]
fn a_value_changed_on_a_disk_is_found_by_the_plan_alone() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.pass(3_000);
    let before = rows(&cluster, "s2", Table::Cells, "birrell@pa");
    let key = before[0].clone();
    let place = (Table::Cells, key.clone());
    let value = cluster.nodes[&server("s2")].disk.0.lock().unwrap()[&place].clone();
    cluster.ok(
        "s1",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "birrell@pa"),
    );
    cluster.pass(3_000);
    cluster.kill("s2");
    // The write of the removal was lost; its vector was not.
    tamper(&mut cluster, "s2", Table::Cells, &key, Some(value));
    cluster.start("s2", Start::Resume);
    cluster.pass(3_000);
    assert_eq!(is_member(&mut cluster, "s2", "birrell@pa"), Check::Yes);
    cluster.pass(7 * 3_600_000);
    assert_eq!(
        is_member(&mut cluster, "s2", "birrell@pa"),
        Check::No,
        "the removal's tombstone wins"
    );
    assert_eq!(is_member(&mut cluster, "s1", "birrell@pa"), Check::No);
    cluster.assert_settled();
}

#[test]
fn a_registry_with_a_cell_that_cannot_be_read_answers_nothing_until_it_is_back() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.group("g^@pa", &["birrell@pa", "needham@pa"], &[]);
    cluster.ok(
        "s1",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "needham@pa"),
    );
    cluster.pass(3_000);
    cluster.kill("s2");
    cluster.kill("s1");
    for who in ["birrell@pa", "needham@pa"] {
        for key in rows(&cluster, "s2", Table::Cells, who) {
            tamper(&mut cluster, "s2", Table::Cells, &key, Some(vec![9, 9]));
        }
    }
    cluster.start("s2", Start::Resume);
    cluster.pass(3_000);
    let check = Request::Check {
        group: name("g^@pa"),
        list: GroupList::Members,
        who: name("birrell@pa"),
    };
    assert_eq!(
        cluster.refused("s2", Speaker::Operator, check),
        grapevine_model::ErrorKind::Unavailable
    );
    assert_eq!(status(&mut cluster, "s2").fetching.len(), 1);
    cluster.start("s1", Start::Resume);
    cluster.pass(20_000);
    assert_eq!(is_member(&mut cluster, "s2", "birrell@pa"), Check::Yes);
    assert_eq!(is_member(&mut cluster, "s2", "needham@pa"), Check::No);
    assert!(status(&mut cluster, "s2").fetching.is_empty());
    // And the disk is whole again.
    cluster.start("s2", Start::Resume);
    cluster.pass(3_000);
    assert!(status(&mut cluster, "s2").alarms.is_empty());
    cluster.assert_settled();
}

#[test]
fn a_lone_server_with_a_damaged_cell_does_not_start() {
    let mut cluster = Cluster::new(1);
    let key = rows(&cluster, "s1", Table::Cells, "pa")[0].clone();
    tamper(&mut cluster, "s1", Table::Cells, &key, Some(vec![9]));
    let disk = cluster.nodes[&server("s1")].disk.clone();
    assert!(crate::harness::recover("s1", Start::Resume, disk, cluster.now).is_err());
}

#[test]
fn a_missing_row_of_the_dot_index_is_built_anew() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.pass(3_000);
    let dots = |cluster: &Cluster| {
        let disk = cluster.nodes[&server("s2")].disk.0.lock().unwrap();
        let pa = |key: &[u8]| key.starts_with(b"R\x02pa");
        disk.iter()
            .filter(|((table, key), _)| *table == Table::Dots && pa(key))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    let whole = dots(&cluster);
    tamper(&mut cluster, "s2", Table::Dots, &whole[0].0, None);
    tamper(
        &mut cluster,
        "s2",
        Table::Dots,
        &whole[1].0,
        Some(vec![0; 18]),
    );
    let view = compare(&mut cluster, "s2");
    assert_eq!((view.rebuilt, view.with[0].differed), (2, 0));
    assert_eq!(dots(&cluster), whole);
    assert_eq!(compare(&mut cluster, "s2").rebuilt, 0);
}

#[test]
fn a_message_that_one_site_lost_comes_back_with_its_body() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    let kept = cluster.submit("s1", "birrell@pa", &["needham@pa"], "kept");
    let lost = cluster.submit("s1", "birrell@pa", &["needham@pa"], "lost");
    cluster.pass(3_000);
    cluster.kill("s2");
    let id = lost.to_bytes();
    let of_lost = |key: &[u8]| key.windows(16).any(|w| w == id);
    {
        let node = cluster.nodes.get_mut(&server("s2")).unwrap();
        let mut disk = node.disk.0.lock().unwrap();
        disk.retain(|(table, key), _| {
            !(matches!(table, Table::Cells | Table::Messages) && of_lost(key))
        });
        node.bodies.remove(&lost);
    }
    cluster.start("s2", Start::Resume);
    cluster.pass(3_000);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [kept]);
    cluster.pass(13 * 3_600_000);
    assert_eq!(cluster.inbox("s2", "needham@pa"), [kept, lost]);
    assert!(cluster.nodes[&server("s2")].bodies.contains_key(&lost));
}

#[test]
fn only_registrars_and_operators_have_a_registry_compared() {
    let mut cluster = Cluster::new(2);
    let registry: grapevine_model::RegistryName = "pa".parse().unwrap();
    let request = Request::Compare { registry };
    let speaker = cluster.login("birrell@pa");
    assert_eq!(
        cluster.refused("s1", speaker, request.clone()),
        grapevine_model::ErrorKind::NotAllowed
    );
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, request.clone()),
        grapevine_model::ErrorKind::NotAllowed
    );
    let registrar = cluster.login("registrar@pa");
    cluster.ok("s1", registrar, request);
}

#[test]
fn a_restored_backup_writes_under_a_new_origin_and_loses_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.pass(3_000);
    let backup = cluster.nodes[&server("s2")].disk.0.lock().unwrap().clone();
    // Both write on; s2 gives out times that the backup will not know.
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "needham@pa"),
    );
    cluster.ok(
        "s2",
        Speaker::Operator,
        remove("g^@pa", GroupList::Members, "birrell@pa"),
    );
    cluster.pass(3_000);
    let old = origin_of(&mut cluster, "s2");
    cluster.kill("s2");
    *cluster.nodes[&server("s2")].disk.0.lock().unwrap() = backup;
    cluster.start("s2", Start::Restored);
    cluster.pass(5_000);
    assert_ne!(origin_of(&mut cluster, "s2"), old);
    assert_eq!(is_member(&mut cluster, "s2", "needham@pa"), Check::Yes);
    assert_eq!(is_member(&mut cluster, "s2", "birrell@pa"), Check::No);
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "registrar@pa"),
    );
    cluster.pass(3_000);
    assert_eq!(is_member(&mut cluster, "s1", "registrar@pa"), Check::Yes);
    cluster.assert_settled();
}

fn origin_of(cluster: &mut Cluster, of: &str) -> OriginId {
    let Reply::Servers(servers) = cluster.ok("s1", Speaker::Anonymous, Request::Servers) else {
        panic!()
    };
    let found = servers.iter().find(|s| s.name == server(of));
    found.unwrap().origin
}

#[test]
fn a_disk_that_was_rolled_back_beneath_its_server_is_noticed_and_made_good() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.pass(3_000);
    let snapshot = cluster.nodes[&server("s2")].disk.0.lock().unwrap().clone();
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "needham@pa"),
    );
    cluster.pass(3_000);
    let old = origin_of(&mut cluster, "s2");
    cluster.kill("s2");
    *cluster.nodes[&server("s2")].disk.0.lock().unwrap() = snapshot;
    cluster.start("s2", Start::Resume);
    // It writes over the gap before anybody has said a word.
    cluster.ok(
        "s2",
        Speaker::Operator,
        add("g^@pa", GroupList::Members, "registrar@pa"),
    );
    cluster.pass(8_000);
    assert_ne!(origin_of(&mut cluster, "s2"), old);
    for at in ["s1", "s2"] {
        for who in ["birrell@pa", "needham@pa", "registrar@pa"] {
            assert_eq!(
                is_member(&mut cluster, at, who),
                Check::Yes,
                "{who} at {at}"
            );
        }
    }
    let view = compare(&mut cluster, "s1");
    assert_eq!(view.with[0].differed, 0);
    cluster.assert_settled();
}

#[test]
fn of_two_servers_with_one_name_the_older_stops() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.pass(3_000);
    // What the restored copy of s2's folder says in gv, as s1 tells it to the old one.
    let entry = match cluster.ok(
        "s1",
        Speaker::Operator,
        Request::Show {
            name: name("s2@gv"),
        },
    ) {
        Reply::Entry(entry) => entry,
        other => panic!("{other:?}"),
    };
    let other = OriginId::server(77);
    let time = cluster.now.wall_ms << 16;
    let mut origin = update(entry.incarnation.0, 15, time, other.0, &[]);
    let mut value = vec![1];
    value.extend(postcard_u64(other.0));
    origin.cell.value = Some(value);
    let push = PeerMessage::Push {
        space: SpaceId::Registry("gv".parse().unwrap()),
        previous: Stamp {
            time: Hlc(0),
            origin: other,
        },
        context: VersionVector::default(),
        updates: vec![origin],
    };
    say(&mut cluster, "s1", "s2", push);
    cluster.pass(2_000);
    assert_eq!(
        cluster.refused("s2", Speaker::Operator, Request::RegistryList),
        grapevine_model::ErrorKind::Unavailable
    );
    assert!(!status(&mut cluster, "s2").alarms.is_empty());
    cluster.ok("s1", Speaker::Operator, Request::RegistryList);
}

/// A number as the stored values have it.
fn postcard_u64(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn one_update_from_next_year_holds_up_nothing_else() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.pass(3_000);
    let now = cluster.now.wall_ms << 16;
    let year = 365 * 24 * 3_600_000u64;
    let next_year = (cluster.now.wall_ms + year) << 16;
    let origin = 4242;
    let updates = vec![
        update(1, 2, now, origin, b"good"),
        update(2, 2, next_year, origin, b"early"),
        update(3, 2, next_year + 1, origin, b"early too"),
    ];
    say(&mut cluster, "s1", "s2", push(updates.clone()));
    let counts = status(&mut cluster, "s2").compare;
    assert_eq!(counts.quarantined, 2);
    assert!(counts.quarantine[0].contains("ahead"), "{counts:?}");
    // As a page too, and its vector is not believed.
    let mut progress = VersionVector::default();
    progress.raise(OriginId(origin), Hlc(next_year + 1));
    say(
        &mut cluster,
        "s1",
        "s2",
        PeerMessage::Page {
            space: pa(),
            from: VersionVector::default(),
            progress,
            complete: true,
            updates,
        },
    );
    // Nothing else waits.
    cluster.individual("wheeler@pa");
    cluster.pass(3_000);
    cluster.ok(
        "s2",
        Speaker::Operator,
        Request::Show {
            name: name("wheeler@pa"),
        },
    );
    assert_eq!(status(&mut cluster, "s2").compare.quarantined, 2);
    // A change here is stamped with today's time, not with next year's.
    let Reply::Written(written) = cluster.ok(
        "s2",
        Speaker::Operator,
        Request::GroupCreate {
            name: name("h^@pa"),
            remark: String::new(),
            owners: vec![],
        },
    ) else {
        panic!()
    };
    assert!(written.stamp.unwrap().time.0 < next_year);
    // When the time has come they are taken in, by themselves.
    cluster.now.wall_ms += year;
    cluster.pass(20_000);
    assert_eq!(status(&mut cluster, "s2").compare.quarantined, 0);
    let field = |key: &[u8]| key.starts_with(b"R\x02pa") && key.ends_with(&[3, 0, 2]);
    let disk = cluster.nodes[&server("s2")].disk.0.lock().unwrap();
    assert!(
        disk.keys()
            .any(|(table, key)| *table == Table::Cells && field(key))
    );
}

#[test]
fn a_cell_over_the_limit_and_one_of_a_registry_not_held_have_no_effect() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.pass(3_000);
    let now = cluster.now.wall_ms << 16;
    let large = vec![0; grapevine_model::MAX_CELL_VALUE_BYTES + 1];
    say(
        &mut cluster,
        "s1",
        "s2",
        push(vec![update(1, 2, now, 4242, &large)]),
    );
    assert_eq!(status(&mut cluster, "s2").compare.quarantined, 1);
    let strange = SpaceId::Registry("elsewhere".parse().unwrap());
    let PeerMessage::Push {
        previous, updates, ..
    } = push(vec![update(1, 2, now, 4242, b"x")])
    else {
        panic!()
    };
    say(
        &mut cluster,
        "s1",
        "s2",
        PeerMessage::Push {
            space: strange,
            previous,
            context: VersionVector::default(),
            updates,
        },
    );
    assert!(rows(&cluster, "s2", Table::Cells, "elsewhere").is_empty());
    assert!(rows(&cluster, "s2", Table::Vectors, "elsewhere").is_empty());
    cluster.individual("wheeler@pa");
    cluster.assert_settled();
}

#[test]
fn the_good_cells_beside_one_over_the_limit_count_and_its_replacement_ends_the_matter() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.pass(3_000);
    let now = cluster.now.wall_ms << 16;
    let large = vec![0; grapevine_model::MAX_CELL_VALUE_BYTES + 1];
    let frame = |cell: Update| {
        let mut updates = vec![
            update(1, 44, now, 4242, b"before"),
            update(1, 46, now + 2, 4242, b"beside"),
            cell,
        ];
        updates.sort_by_key(|update| update.cell.dot.time);
        push(updates)
    };
    let over = update(1, 45, now + 1, 4242, &large);
    let small = update(1, 45, now + 3, 4242, b"small again");
    for _ in 0..3 {
        say(&mut cluster, "s1", "s2", frame(over.clone()));
    }
    let has = |cluster: &Cluster, at: &str, value: &[u8]| {
        let disk = cluster.nodes[&server(at)].disk.0.lock().unwrap();
        let has = |bytes: &[u8]| bytes.windows(value.len()).any(|w| w == value);
        disk.iter().any(|((t, _), v)| *t == Table::Cells && has(v))
    };
    assert!(has(&cluster, "s2", b"before") && has(&cluster, "s2", b"beside"));
    let kept = status(&mut cluster, "s2").compare;
    assert_eq!(kept.quarantined, 1, "one, however often it comes");
    assert!(kept.quarantine[0].contains("over the limit"), "{kept:?}");
    // Others' changes go on meanwhile.
    cluster.individual("wheeler@pa");
    say(&mut cluster, "s1", "s2", frame(small.clone()));
    assert_eq!(status(&mut cluster, "s2").compare.quarantined, 0);
    // The vector was held back; what is asked for again now counts as a whole.
    cluster.pass(30_000);
    say(&mut cluster, "s1", "s2", frame(small.clone()));
    cluster.pass(10_000);
    for at in ["s1", "s2"] {
        assert!(has(&cluster, at, b"small again"), "{at}");
    }
    cluster.assert_settled();
}

#[test]
fn a_cell_of_a_field_that_nobody_here_knows_travels_through_and_is_compared() {
    let mut cluster = Cluster::new(3);
    cluster.alarms_expected = true;
    cluster.pass(3_000);
    let now = cluster.now.wall_ms << 16;
    // Somebody newer has written fields 44 and 60,000; s2 and s3 get them through s1 alone.
    let updates = vec![
        update(7, 44, now, 4242, b"new"),
        update(7, 60_000, now + 1, 4242, b"newer"),
    ];
    say(&mut cluster, "s2", "s1", push(updates));
    cluster.pass(5_000);
    for at in ["s1", "s2", "s3"] {
        let disk = cluster.nodes[&server(at)].disk.0.lock().unwrap();
        for value in [&b"new"[..], b"newer"] {
            let has = |bytes: &[u8]| bytes.windows(value.len()).any(|w| w == value);
            assert!(
                disk.iter().any(|((t, _), v)| *t == Table::Cells && has(v)),
                "{at}"
            );
        }
    }
    cluster.assert_settled();
    let view = compare(&mut cluster, "s3");
    assert!(
        view.with
            .iter()
            .all(|with| with.differed == 0 && with.failure.is_none())
    );
}

#[cfg(feature = "planted-faults")]
#[test]
fn copies_taken_for_equal_unseen_are_found() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.planted = Some(grapevine_core::Planted::CompareTrusts);
    cluster.group("g^@pa", &["birrell@pa"], &[]);
    cluster.pass(3_000);
    cluster.kill("s2");
    for key in rows(&cluster, "s2", Table::Cells, "birrell@pa") {
        tamper(&mut cluster, "s2", Table::Cells, &key, None);
    }
    cluster.start("s2", Start::Resume);
    cluster.start("s1", Start::Resume);
    cluster.pass(5_000);
    let view = compare(&mut cluster, "s2");
    assert_eq!(view.with[0].differed, 0, "the mistake");
    assert_eq!(
        is_member(&mut cluster, "s2", "birrell@pa"),
        Check::No,
        "and it shows"
    );
}

#[test]
fn whoever_watched_a_copy_that_lacked_something_is_told_all_of_it_when_it_is_mended() {
    let mut cluster = Cluster::new(2);
    cluster.alarms_expected = true;
    cluster.group("g^@pa", &["birrell@pa", "needham@pa"], &[]);
    cluster.pass(3_000);
    cluster.kill("s2");
    for key in rows(&cluster, "s2", Table::Cells, "needham@pa") {
        tamper(&mut cluster, "s2", Table::Cells, &key, None);
    }
    cluster.start("s2", Start::Resume);
    cluster.pass(5_000);
    let who = cluster.login("birrell@pa");
    let target = watch::entry("g^@pa");
    let (told, token, _) = watch::all(&mut cluster, "s2", &who, &target, Since::Beginning);
    let needham = "g^@pa members+needham@pa".to_owned();
    assert!(!watch::short(&told).contains(&needham));
    let waits = watch::watch(&target, Since::Token(token), 10_000);
    let waits = cluster.begin("s2", who.clone(), waits);
    compare(&mut cluster, "s1");
    let Some(Ok(Reply::Changes(changes))) = cluster.result_now(waits) else {
        panic!("a watcher that waits is not told");
    };
    assert!(matches!(changes.course, Course::StartsOver { .. }));
    let told = watch::short(&changes.events);
    assert!(told.contains(&needham), "{told:?}");
    // Once is enough.
    let (more, _, over) = watch::all(
        &mut cluster,
        "s2",
        &who,
        &target,
        Since::Token(changes.token),
    );
    assert!(more.is_empty() && !over);
}

#[test]
fn what_is_heard_of_an_entry_before_its_creation_is_told_with_the_creation() {
    let mut cluster = Cluster::new(2);
    cluster.group("g^@pa", &[], &[]);
    cluster.pass(3_000);
    // The identity of an entry as a server writes it, for one that another server has created.
    let identity: Vec<u8> = {
        let disk = cluster.nodes[&server("s2")].disk.0.lock().unwrap();
        let names_it = |cell: &Cell| {
            let value = cell.value.as_deref().unwrap_or_default();
            value.windows(2).any(|w| w == b"g^")
        };
        let mut cells = disk
            .iter()
            .filter(|((of, key), _)| *of == Table::Cells && key.ends_with(&[0, 1]))
            .map(|(_, row)| postcard::from_bytes::<Cell>(&row[1..]).unwrap());
        cells.find(names_it).unwrap().value.unwrap()
    };
    let at = identity.windows(2).position(|w| w == b"g^").unwrap();
    let identity = [&identity[..at], b"x^", &identity[at + 2..]].concat();
    let who = cluster.login("registrar@pa");
    let target = grapevine_model::WatchTarget::Registry("pa".parse().unwrap());
    let since = watch::now(&mut cluster, "s2", &who, &target);
    let now = cluster.now.wall_ms << 16;
    let remark = update(77, 2, now, 4242, b"said by the second");
    say(&mut cluster, "s1", "s2", push(vec![remark]));
    let (told, token, _) = watch::all(&mut cluster, "s2", &who, &target, since);
    assert_eq!(watch::short(&told), Vec::<String>::new());
    let created = update(77, 1, now - 1, 4343, &identity);
    say(&mut cluster, "s1", "s2", push(vec![created]));
    let (told, _, _) = watch::all(&mut cluster, "s2", &who, &target, Since::Token(token));
    assert_eq!(
        BTreeSet::from_iter(watch::short(&told)),
        BTreeSet::from([
            "x^@pa created".to_owned(),
            "x^@pa remark=said by the second".to_owned()
        ])
    );
}

#[test]
fn copies_that_become_equal_while_they_are_compared_end_the_comparison_at_once() {
    let mut cluster = Cluster::new(2);
    cluster.individual("ann@pa");
    cluster.pass(5_000);
    let space = SpaceId::Registry("pa".parse().unwrap());
    let hear = |cluster: &mut Cluster, at: &str, from: &str, id: u64, step: CompareStep| {
        let space = space.clone();
        let message = PeerMessage::Compare { id, space, step };
        let from = server(from);
        let input = Input::Peer {
            from,
            message,
            staged: None,
        };
        cluster.input(&server(at), input);
        cluster.pump();
    };
    let said = |cluster: &Cluster, by: &str, wanted: fn(&CompareStep) -> bool| {
        let sent = cluster.effects.iter().filter(|(at, _)| *at == server(by));
        let mut steps = sent.filter_map(|(_, effect)| match effect {
            Effect::Send { message, .. } => match message.bare() {
                PeerMessage::Compare { id, step, .. } if wanted(step) => Some((*id, step.clone())),
                _ => None,
            },
            _ => None,
        });
        steps.next().unwrap()
    };
    // What the second server says of its copy, which is the same.
    let other = CompareStep::Begin {
        cells: 0,
        digest: 1,
        levels: 1,
    };
    hear(&mut cluster, "s2", "s1", u64::MAX, other);
    let (_, digests) = said(&cluster, "s2", |step| {
        matches!(step, CompareStep::Digests { .. })
    });
    // It says so after it was asked whether all is the same, and it was not.
    cluster.broken.insert((server("s1"), server("s2")));
    let compare = Request::Compare {
        registry: "pa".parse().unwrap(),
    };
    cluster.effects.clear();
    let request = cluster.begin("s1", Speaker::Operator, compare);
    cluster.pass(1_000);
    let (id, _) = said(&cluster, "s1", |step| {
        matches!(step, CompareStep::Begin { .. })
    });
    hear(&mut cluster, "s1", "s2", id, digests);
    cluster.pass(1_000);
    let Some(Ok(Reply::Compared(view))) = cluster.result_now(request) else {
        panic!("it goes on")
    };
    assert_eq!((view.with.len(), view.with[0].differed), (1, 0));
    assert_eq!(view.with[0].failure, None);
}
