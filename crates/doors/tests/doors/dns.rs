//! The DNS door: queries in, answers out, and whatever else a stranger sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_doors::dns::{MAX_UDP_ANSWER_BYTES, Over, ServedZone, Zones, respond};
use grapevine_model::{SiteDoor, Zone, ZoneName, ZoneSite};
use proptest::prelude::*;

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;
pub(crate) const NOW_MS: u64 = 5_000;

fn site(name: &str, door: &str, place: &str, until_ms: Option<u64>) -> Arc<ZoneSite> {
    Arc::new(ZoneSite {
        name: name.parse().unwrap(),
        door: door.parse::<SiteDoor>().unwrap(),
        place: place.parse().unwrap(),
        priority: 10,
        weight: 5,
        until_ms,
    })
}

fn published(sites: &[Arc<ZoneSite>], partial: bool) -> Arc<ZoneName> {
    Arc::new(ZoneName {
        remark: "the second floor".into(),
        sites: sites.to_vec(),
        partial,
    })
}

/// The lease clock stands at 1,000,000 when the snapshot is made, and 5 s later when it is asked.
pub(crate) fn zone() -> Zone {
    let one = site("imap1@pa.example", "any", "10.0.0.1:143", Some(1_020_000));
    let two = site("imap2@pa.example", "imap", "[2001:db8::2]:143", None);
    let gone = site("old@pa.example", "any", "10.0.0.9:143", Some(1_004_000));
    let named = site("www@pa.example", "http", "www.example.org:80", None);
    let mut names = BTreeMap::new();
    names.insert("imap1".into(), published(std::slice::from_ref(&one), false));
    names.insert("imap2".into(), published(std::slice::from_ref(&two), false));
    names.insert("old".into(), published(std::slice::from_ref(&gone), false));
    names.insert("www".into(), published(&[named], false));
    names.insert("imap".into(), published(&[one, two, gone], false));
    names.insert("far".into(), published(&[], true));
    names.insert("a.b".into(), names["imap1"].clone());
    let many: Vec<_> = (0..200)
        .map(|n| {
            site(
                "many@pa.example",
                "any",
                &format!("10.1.0.{n}:{}", n + 1),
                None,
            )
        })
        .collect();
    names.insert("many".into(), published(&many, false));
    Zone {
        registry: "pa.example".parse().unwrap(),
        sound: true,
        names,
        servers: vec![("s1".parse().unwrap(), "127.0.0.1:53".parse().unwrap())],
        serial: 7,
        made_ms: 1_000_000,
    }
}

pub(crate) fn zones(zone: &Zone) -> Zones {
    Zones::default().with(ServedZone::new(zone, 0))
}

fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend(1u16.to_be_bytes());
    if let Some(size) = edns {
        packet[11] = 1;
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0; 6]);
    }
    packet
}

#[derive(Debug)]
struct Answer {
    rcode: u8,
    authoritative: bool,
    truncated: bool,
    counts: [u16; 3],
    len: usize,
    bytes: Vec<u8>,
}

fn ask_at(zones: &Zones, packet: &[u8], over: Over) -> Option<Answer> {
    let mut out = Vec::new();
    respond(packet, over, zones, NOW_MS, &mut out).then(|| Answer {
        rcode: out[3] & 0xf,
        authoritative: out[2] & 4 != 0,
        truncated: out[2] & 2 != 0,
        counts: [6, 8, 10].map(|at| u16::from_be_bytes([out[at], out[at + 1]])),
        len: out.len(),
        bytes: out.clone(),
    })
}

fn ask(name: &str, kind: u16) -> Answer {
    ask_at(&zones(&zone()), &query(name, kind, None), Over::Udp).unwrap()
}

fn holds(answer: &Answer, part: &[u8]) -> bool {
    answer
        .bytes
        .windows(part.len())
        .any(|window| window == part)
}

#[test]
fn a_service_is_found_with_its_targets_and_their_addresses() {
    for name in ["_imap._tcp.pa.example", "_IMAP._tcp.Pa.Example"] {
        let answer = ask(name, SRV);
        assert_eq!((answer.rcode, answer.counts), (0, [2, 0, 2]));
        assert!(answer.authoritative && !answer.truncated);
        assert!(holds(
            &answer,
            b"\x00\x0a\x00\x05\x00\x8f\x05imap1\x02pa\x07example\x00"
        ));
        assert!(!holds(&answer, b"old"), "an expired lease was given");
    }
    // Of one instance, and only what is spoken there.
    assert_eq!(ask("_imap._tcp.imap2.pa.example", SRV).counts[0], 1);
    assert_eq!(ask("_http._tcp.imap2.pa.example", SRV).rcode, 3);
    assert!(holds(
        &ask("_http._tcp.www.pa.example", SRV),
        b"\x03www\x07example\x03org\x00"
    ));
}

#[test]
fn addresses_and_text_belong_to_who_publishes() {
    assert_eq!(ask("imap1.pa.example", A).counts, [1, 0, 0]);
    assert_eq!(ask("imap2.pa.example", AAAA).counts, [1, 0, 0]);
    assert_eq!(ask("a.b.pa.example", A).counts, [1, 0, 0]);
    let text = ask("imap1.pa.example", TXT);
    assert!(holds(&text, b"\x10the second floor"));
    // Something there, but not of this kind: the SOA says how long that is believed.
    let nothing = ask("imap1.pa.example", AAAA);
    assert_eq!((nothing.rcode, nothing.counts), (0, [0, 1, 0]));
}

#[test]
fn no_such_name_and_nothing_between_are_told_apart() {
    for name in [
        "nobody.pa.example",
        "old.pa.example",
        "_imap._udp.pa.example",
    ] {
        let answer = ask(name, A);
        assert_eq!((answer.rcode, answer.counts), (3, [0, 1, 0]), "{name}");
        assert!(answer.authoritative);
    }
    for name in [
        "_tcp.pa.example",
        "b.pa.example",
        "_tcp.imap1.pa.example",
        "gv.pa.example",
    ] {
        assert_eq!(ask(name, A).rcode, 0, "{name}");
    }
}

#[test]
fn a_ttl_never_outlives_the_lease() {
    // 15 s are left of 20.
    let answer = ask("imap1.pa.example", A);
    assert!(holds(
        &answer,
        b"\x00\x01\x00\x01\x00\x00\x00\x0f\x00\x04\x0a\x00\x00\x01"
    ));
    let forever = ask("imap2.pa.example", AAAA);
    assert!(holds(&forever, b"\x00\x1c\x00\x01\x00\x00\x00\x1e\x00\x10"));
}

#[test]
fn the_zone_itself_names_its_servers() {
    assert_eq!(ask("pa.example", SOA).counts, [1, 0, 0]);
    let servers = ask("pa.example", NS);
    assert_eq!(servers.counts, [1, 0, 1]);
    assert_eq!(ask("s1.gv.pa.example", A).counts, [1, 0, 0]);
    let any = ask("pa.example", ANY);
    assert!(any.counts[0] == 1 && holds(&any, b"\x07RFC8482"));
}

#[test]
fn what_is_not_ours_or_not_offered_is_refused() {
    assert_eq!(ask("example.org", A).rcode, 5);
    assert_eq!(ask("example", A).rcode, 5);
    assert_eq!(ask("pa.example", 252).rcode, 5);
    let mut chaos = query("pa.example", TXT, None);
    let at = chaos.len() - 1;
    chaos[at] = 3;
    let ours = zones(&zone());
    assert_eq!(ask_at(&ours, &chaos, Over::Udp).unwrap().rcode, 5);
    let mut notify = query("pa.example", SOA, None);
    notify[2] = 0x20;
    assert_eq!(ask_at(&ours, &notify, Over::Udp).unwrap().rcode, 4);
    let mut version = query("pa.example", SOA, Some(1_232));
    let at = version.len() - 5;
    version[at] = 1;
    let answer = ask_at(&ours, &version, Over::Udp).unwrap();
    assert!(holds(&answer, b"\x00\x00\x29\x04\xd0\x01"));
}

#[test]
fn unknown_is_a_server_failure_and_never_no_such_name() {
    assert_eq!(ask("far.pa.example", A).rcode, 2);
    assert_eq!(ask("_x._tcp.far.pa.example", SRV).rcode, 2);
    let mut unsound = zone();
    unsound.sound = false;
    let packet = query("imap1.pa.example", A, None);
    let answer = ask_at(&zones(&unsound), &packet, Over::Udp).unwrap();
    assert_eq!((answer.rcode, answer.counts), (2, [0, 0, 0]));
    let mut out = Vec::new();
    assert!(respond(
        &packet,
        Over::Udp,
        &zones(&zone()),
        61_000,
        &mut out
    ));
    assert_eq!(
        out[3] & 0xf,
        2,
        "a snapshot that is too old was answered from"
    );
}

#[test]
fn an_answer_that_is_too_long_is_cut_over_udp_and_whole_over_tcp() {
    let ours = zones(&zone());
    for (edns, most) in [
        (None, 512),
        (Some(100), 512),
        (Some(4_096), MAX_UDP_ANSWER_BYTES),
    ] {
        let packet = query("many.pa.example", A, edns);
        let answer = ask_at(&ours, &packet, Over::Udp).unwrap();
        assert!(answer.truncated && answer.len <= most, "{edns:?}");
        assert_eq!(answer.counts[0], 0);
    }
    let whole = ask_at(&ours, &query("many.pa.example", A, None), Over::Tcp).unwrap();
    assert_eq!((whole.truncated, whole.counts[0]), (false, 200));
    let limited = query("imap1.pa.example", A, None);
    let limited = ask_at(&ours, &limited, Over::UdpOnlyTruncated).unwrap();
    assert!(limited.truncated && limited.counts == [0, 0, 0]);
}

#[test]
fn answers_are_never_answered() {
    let ours = zones(&zone());
    let mut answer = query("pa.example", SOA, None);
    answer[2] |= 0x80;
    assert!(ask_at(&ours, &answer, Over::Udp).is_none());
    assert!(ask_at(&ours, &answer[..11], Over::Udp).is_none());
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_shortly_or_not_at_all(
        mut packet in proptest::collection::vec(any::<u8>(), 0..600),
        good in any::<bool>(), at in 0usize..60, octet in any::<u8>(),
    ) {
        let ours = zones(&zone());
        if good {
            packet = query("_imap._tcp.pa.example", SRV, Some(1_232));
            let at = at % packet.len();
            packet[at] = octet;
        }
        let mut out = Vec::new();
        if respond(&packet, Over::Udp, &ours, NOW_MS, &mut out) {
            prop_assert!(out.len() >= 12 && out.len() <= MAX_UDP_ANSWER_BYTES);
            prop_assert_eq!(&out[..2], &packet[..2]);
            prop_assert!(out[2] & 0x80 != 0);
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
