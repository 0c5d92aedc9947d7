//! Connect sites, leases and pools: who may set them, when they end, and who finds them where.

use grapevine_core::{Effect, Start};
use grapevine_model::{
    EntryChange, ErrorKind, GroupList, Located, Reply, Request, SiteDoor, SiteOffer, Speaker, Zone,
};

use crate::harness::{Cluster, add, name, remove, server};

fn offer(place: &str) -> SiteOffer {
    SiteOffer {
        place: place.parse().unwrap(),
        priority: 0,
        weight: 0,
        note: Default::default(),
    }
}

fn register(who: &str, door: &str, places: &[&str], lease_ms: Option<u64>) -> Request {
    Request::Change {
        name: name(who),
        change: EntryChange::ConnectSites {
            door: door.parse().unwrap(),
            sites: places.iter().map(|place| offer(place)).collect(),
            lease_ms,
        },
    }
}

fn find(who: &str) -> Request {
    Request::Find {
        name: name(who),
        door: None,
        known: None,
    }
}

fn located(reply: Reply) -> Located {
    match reply {
        Reply::Located(located) => located,
        other => panic!("{other:?}"),
    }
}

fn places(cluster: &mut Cluster, at: &str, who: &str) -> Vec<String> {
    let found = located(cluster.ok(at, Speaker::Anonymous, find(who)));
    assert!(!found.partial);
    found
        .sites
        .iter()
        .map(|site| format!("{} {}", site.name, site.offer.place))
        .collect()
}

fn pool(servers: usize) -> Cluster {
    let mut cluster = Cluster::new(servers);
    cluster.individual("imap1@pa");
    cluster.individual("imap2@pa");
    cluster.group("imap@pa", &["imap1@pa", "imap2@pa"], &["needham@pa"]);
    cluster.pass(1_000);
    cluster
}

#[test]
fn what_is_registered_at_one_server_is_found_at_the_other_at_once() {
    let mut cluster = pool(2);
    let one = register("imap1@pa", "any", &["10.0.0.1:143"], Some(30_000));
    cluster.ok("s1", Speaker::Operator, one);
    assert_eq!(
        places(&mut cluster, "s2", "imap@pa"),
        ["imap1@pa 10.0.0.1:143"]
    );
    assert_eq!(
        places(&mut cluster, "s2", "imap1@pa"),
        ["imap1@pa 10.0.0.1:143"]
    );
    let moved = register("imap1@pa", "any", &["10.0.0.9:143"], Some(30_000));
    cluster.ok("s2", Speaker::Operator, moved);
    assert_eq!(
        places(&mut cluster, "s1", "imap@pa"),
        ["imap1@pa 10.0.0.9:143"]
    );
    cluster.kill("s2");
    assert_eq!(
        places(&mut cluster, "s1", "imap@pa"),
        ["imap1@pa 10.0.0.9:143"]
    );
}

#[test]
fn an_expired_lease_is_found_by_nobody_and_a_renewal_is_one_cell() {
    let mut cluster = pool(2);
    let renew = || register("imap1@pa", "any", &["10.0.0.1:143"], Some(10_000));
    cluster.ok("s1", Speaker::Operator, renew());
    let cells = |cluster: &Cluster| {
        let node = &cluster.nodes[&server("s2")];
        node.disk.0.lock().unwrap().len()
    };
    let before = cells(&cluster);
    for _ in 0..20 {
        cluster.pass(5_000);
        cluster.ok("s1", Speaker::Operator, renew());
        assert_eq!(places(&mut cluster, "s2", "imap@pa").len(), 1);
    }
    assert_eq!(cells(&cluster), before, "a renewal left something behind");
    cluster.pass(9_000);
    assert_eq!(places(&mut cluster, "s2", "imap@pa").len(), 1);
    cluster.pass(1_500);
    for at in ["s1", "s2"] {
        assert!(places(&mut cluster, at, "imap@pa").is_empty(), "{at}");
        assert!(places(&mut cluster, at, "imap1@pa").is_empty(), "{at}");
        let show = Request::Show {
            name: name("imap1@pa"),
        };
        let Reply::Entry(view) = cluster.ok(at, Speaker::Operator, show) else {
            panic!()
        };
        assert!(view.connect_sites.is_empty());
    }
}

#[test]
fn a_server_that_starts_again_ends_no_lease_early() {
    let mut cluster = pool(2);
    let renew = register("imap1@pa", "any", &["10.0.0.1:143"], Some(5_000));
    cluster.ok("s2", Speaker::Operator, renew);
    // Its stamps begin beyond whatever it may have given out before; its clock does not.
    cluster.kill("s1");
    cluster.start("s1", Start::Resume);
    cluster.pass(2_500);
    for at in ["s1", "s2"] {
        assert_eq!(places(&mut cluster, at, "imap@pa").len(), 1, "{at}");
    }
    cluster.pass(3_000);
    assert!(places(&mut cluster, "s2", "imap@pa").is_empty());
}

#[test]
fn the_cell_of_an_expired_site_is_removed_and_a_later_renewal_stands() {
    let mut cluster = pool(2);
    let renew = || register("imap1@pa", "any", &["10.0.0.1:143"], Some(5_000));
    cluster.ok("s1", Speaker::Operator, renew());
    let present = |cluster: &Cluster| {
        let node = &cluster.nodes[&server("s2")];
        let rows = node.disk.0.lock().unwrap();
        let place = b"10.0.0.1:143";
        rows.iter()
            .filter(|((table, key), value)| {
                *table == grapevine_core::Table::Cells
                    && key.windows(place.len()).any(|part| part == place)
                    && value.len() > 40
            })
            .count()
    };
    let with_value = present(&cluster);
    cluster.pass(11 * 60_000);
    assert!(present(&cluster) < with_value, "the expired cell is kept");
    cluster.ok("s2", Speaker::Operator, renew());
    assert_eq!(places(&mut cluster, "s1", "imap@pa").len(), 1);
    cluster.pass(2_000);
    cluster.assert_settled();
}

#[test]
fn a_pool_is_joined_by_its_friends_and_its_sites_set_by_themselves_or_a_registrar() {
    let mut cluster = pool(2);
    cluster.individual("imap3@pa");
    let instance = cluster.login("imap3@pa");
    let join = || add("imap@pa", GroupList::Members, "imap3@pa");
    let sites = || register("imap3@pa", "any", &["10.0.0.3:143"], Some(30_000));
    assert_eq!(
        cluster.refused("s1", instance.clone(), join()),
        ErrorKind::NotAllowed
    );
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("imap@pa", GroupList::Friends, "imap3@pa"),
    );
    cluster.ok("s2", instance.clone(), join());
    cluster.ok("s2", instance.clone(), sites());
    assert_eq!(
        places(&mut cluster, "s1", "imap@pa"),
        ["imap3@pa 10.0.0.3:143"]
    );
    let (stranger, registrar) = (cluster.login("birrell@pa"), cluster.login("registrar@pa"));
    for speaker in [stranger, Speaker::Anonymous] {
        assert_eq!(
            cluster.refused("s1", speaker, sites()),
            ErrorKind::NotAllowed
        );
    }
    cluster.ok("s1", registrar, register("imap3@pa", "any", &[], None));
    assert!(places(&mut cluster, "s2", "imap@pa").is_empty());
    // Left, but alive: found by its own name only.
    cluster.ok("s1", instance.clone(), sites());
    let leave = remove("imap@pa", GroupList::Members, "imap3@pa");
    cluster.ok("s1", instance, leave);
    assert!(places(&mut cluster, "s2", "imap@pa").is_empty());
    assert_eq!(places(&mut cluster, "s2", "imap3@pa").len(), 1);
}

#[test]
fn a_deleted_and_re_created_instance_is_not_in_the_pool() {
    let mut cluster = pool(2);
    let register = || register("imap1@pa", "any", &["10.0.0.1:143"], None);
    cluster.ok("s1", Speaker::Operator, register());
    assert_eq!(places(&mut cluster, "s2", "imap@pa").len(), 1);
    let delete = Request::Delete {
        name: name("imap1@pa"),
    };
    cluster.ok("s1", Speaker::Operator, delete);
    assert!(places(&mut cluster, "s2", "imap@pa").is_empty());
    cluster.individual("imap1@pa");
    cluster.ok("s1", Speaker::Operator, register());
    assert!(places(&mut cluster, "s2", "imap@pa").is_empty());
    assert_eq!(places(&mut cluster, "s2", "imap1@pa").len(), 1);
}

#[test]
fn doors_are_set_apart_and_found_apart() {
    let mut cluster = pool(1);
    for (door, place) in [("imap", "10.0.0.1:143"), ("http", "10.0.0.1:80")] {
        let sites = register("imap1@pa", door, &[place], None);
        cluster.ok("s1", Speaker::Operator, sites);
    }
    let mut at = |door: &str| {
        let find = Request::Find {
            name: name("imap@pa"),
            door: Some(door.parse::<SiteDoor>().unwrap()),
            known: None,
        };
        let found = located(cluster.ok("s1", Speaker::Anonymous, find));
        found
            .sites
            .iter()
            .map(|site| site.offer.place.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(at("imap"), ["10.0.0.1:143"]);
    assert_eq!(at("http"), ["10.0.0.1:80"]);
    assert!(at("ftp").is_empty());
}

#[test]
fn a_version_handed_in_is_answered_with_unchanged_until_something_changes() {
    let mut cluster = pool(2);
    let renew = |place: &str| register("imap1@pa", "any", &[place], Some(30_000));
    cluster.ok("s1", Speaker::Operator, renew("10.0.0.1:143"));
    let first = located(cluster.ok("s1", Speaker::Anonymous, find("imap@pa")));
    let again = || Request::Find {
        name: name("imap@pa"),
        door: None,
        known: Some(first.version),
    };
    cluster.ok("s1", Speaker::Operator, renew("10.0.0.1:143"));
    assert_eq!(
        cluster.ok("s2", Speaker::Anonymous, again()),
        Reply::Unchanged
    );
    cluster.ok("s1", Speaker::Operator, renew("10.0.0.2:143"));
    let moved = located(cluster.ok("s2", Speaker::Anonymous, again()));
    assert_ne!(moved.version, first.version);
}

#[test]
fn a_pool_over_registries_that_cannot_be_asked_is_unavailable_or_partial_never_empty() {
    let mut cluster = pool(2);
    let create = Request::RegistryCreate {
        registry: "es".parse().unwrap(),
        holders: vec![server("s2")],
        registrars: Vec::new(),
    };
    cluster.ok("s1", Speaker::Operator, create);
    cluster.pass(2_000);
    cluster.individual("far@es");
    let far = register("far@es", "any", &["10.9.9.9:143"], None);
    cluster.ok("s1", Speaker::Operator, far);
    cluster.ok(
        "s1",
        Speaker::Operator,
        add("imap@pa", GroupList::Members, "far@es"),
    );
    assert_eq!(
        places(&mut cluster, "s1", "imap@pa"),
        ["far@es 10.9.9.9:143"]
    );
    cluster.kill("s2");
    for who in ["imap@pa", "far@es"] {
        assert_eq!(
            cluster.refused("s1", Speaker::Anonymous, find(who)),
            ErrorKind::Unavailable,
            "{who}"
        );
    }
    let near = register("imap1@pa", "any", &["10.0.0.1:143"], None);
    cluster.ok("s1", Speaker::Operator, near);
    let found = located(cluster.ok("s1", Speaker::Anonymous, find("imap@pa")));
    assert!(found.partial && found.sites.len() == 1);
    assert_eq!(
        cluster.refused("s1", Speaker::Anonymous, find("nobody@pa")),
        ErrorKind::NotFound
    );
}

#[test]
fn what_cannot_be_a_registration_is_refused_without_effect() {
    let mut cluster = pool(1);
    let many: Vec<String> = (1..=33).map(|n| format!("10.0.0.{n}:143")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (request, kind) in [
        (
            register("imap1@pa", "any", &["a:1"], Some(0)),
            ErrorKind::Invalid,
        ),
        (
            register("imap1@pa", "any", &["a:1"], Some(u64::MAX)),
            ErrorKind::Invalid,
        ),
        (
            register("imap1@pa", "any", &many, None),
            ErrorKind::TooLarge,
        ),
        (
            register("imap@pa", "any", &["a:1"], None),
            ErrorKind::Invalid,
        ),
        (
            register("s1@gv", "rpc", &["a:1"], None),
            ErrorKind::NotAllowed,
        ),
        (
            register("nobody@pa", "any", &["a:1"], None),
            ErrorKind::NotFound,
        ),
    ] {
        assert_eq!(
            cluster.refused("s1", Speaker::Operator, request.clone()),
            kind,
            "{request:?}"
        );
    }
    assert!(places(&mut cluster, "s1", "imap1@pa").is_empty());
}

fn last_zone(cluster: &Cluster, at: &str, registry: &str) -> Zone {
    let zones = cluster.effects.iter().rev();
    zones
        .filter(|(server, _)| server.as_str() == at)
        .find_map(|(_, effect)| match effect {
            Effect::Zone(zone) if zone.registry.as_str() == registry => Some((**zone).clone()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_zone_shows_who_publishes_and_nobody_else() {
    let mut cluster = pool(1);
    cluster.join("dns1");
    cluster.pass(3_000);
    cluster.individual("private@pa");
    cluster.group("list^@pa", &["private@pa", "birrell@pa"], &[]);
    let hold = Request::HolderAdd {
        registry: "pa".parse().unwrap(),
        server: server("dns1"),
    };
    cluster.ok("s1", Speaker::Operator, hold);
    let one = register("imap1@pa", "imap", &["10.0.0.1:143"], Some(30_000));
    cluster.ok("s1", Speaker::Operator, one);
    cluster.pass(1_000);
    let zone = last_zone(&cluster, "dns1", "pa");
    assert!(zone.sound);
    assert_eq!(zone.names.keys().collect::<Vec<_>>(), ["imap", "imap1"]);
    assert_eq!(zone.names["imap"].sites, zone.names["imap1"].sites);
    assert_eq!(zone.servers.len(), 1);
    cluster.pass(40_000);
    assert!(last_zone(&cluster, "dns1", "pa").names.is_empty());
    // The servers themselves, and who is open for submission, are found in the same way.
    assert!(last_zone(&cluster, "dns1", "gv").names.contains_key("dns1"));
    assert_eq!(
        places(&mut cluster, "s1", "maildrop@ms"),
        ["dns1@gv 127.0.0.1:53", "dns1@gv 127.0.0.1:587"]
    );
    cluster.kill("dns1");
    assert!(places(&mut cluster, "s1", "maildrop@ms").is_empty());
}
