//! LDAP sessions: what is asked and what is answered.

use grapevine_doors::ldap::limits::{ENTRIES, MESSAGE_BYTES, VALUES, WRONG_PASSWORDS};
use grapevine_doors::{READ_BYTES, Tls};
use grapevine_model::Request;

use crate::ldap_client::{
    Client, Mood, PASSWORD, bind, control, equal, message, octets, paged, present, search, tlv,
};

const BASE: &str = "dc=pa,dc=example";
const P0: &str = "uid=p0,dc=pa,dc=example";
const CSL: &str = "cn=csl^,dc=pa,dc=example";

const PROTOCOL_ERROR: i64 = 2;
const SIZE_LIMIT: i64 = 4;
const FALSE: i64 = 5;
const TRUE: i64 = 6;
const ADMIN_LIMIT: i64 = 11;
const CRITICAL: i64 = 12;
const CONFIDENTIALITY: i64 = 13;
const MATCHING: i64 = 18;
const NO_SUCH_OBJECT: i64 = 32;
const INVALID_DN: i64 = 34;
const CREDENTIALS: i64 = 49;
const ACCESS: i64 = 50;
const UNAVAILABLE: i64 = 52;
const UNWILLING: i64 = 53;

fn compare(id: u8, name: &str, attribute: &str, value: &str) -> Vec<u8> {
    let assertion = tlv(0x30, &[octets(attribute), octets(value)].concat());
    message(id, &tlv(0x6e, &[octets(name), assertion].concat()), &[])
}

fn extended(id: u8, name: &str) -> Vec<u8> {
    message(id, &tlv(0x77, &tlv(0x80, name.as_bytes())), &[])
}

fn codes(client: &mut Client, bytes: &[u8]) -> Vec<i64> {
    client.say(bytes).iter().map(|said| said.code).collect()
}

/// The names found, which must be the whole of an answer.
fn found(client: &mut Client, base: &str, scope: u8, filter: &[u8]) -> Vec<String> {
    let mut said = client.say(&search(9, base, scope, filter, &["1.1"], &[]));
    let done = said.pop().unwrap();
    assert_eq!((done.tag, done.code), (0x65, 0), "{done:?}");
    said.into_iter()
        .map(|entry| entry.texts[0].clone())
        .collect()
}

#[test]
fn a_password_is_not_looked_at_before_tls() {
    for tls in [Tls::Offered, Tls::Unavailable] {
        let mut client = Client::new(tls);
        assert_eq!(
            codes(&mut client, &bind(1, P0, PASSWORD)),
            [CONFIDENTIALITY]
        );
        assert_eq!(codes(&mut client, &bind(2, P0, "wrong")), [CONFIDENTIALITY]);
        assert!(client.logins.is_empty());
    }
}

#[test]
fn after_starttls_a_password_counts_and_what_came_before_it_does_not() {
    let mut client = Client::new(Tls::Offered);
    let both = [
        extended(1, "1.3.6.1.4.1.1466.20037"),
        search(2, "", 0, &present("objectClass"), &[], &[]),
    ]
    .concat();
    let said = client.say(&both);
    assert_eq!(
        said.len(),
        1,
        "what was sent ahead of TLS is dropped: {said:?}"
    );
    assert!(client.shook);
    assert_eq!(codes(&mut client, &bind(3, P0, PASSWORD)), [0]);
    assert_eq!(
        codes(&mut client, &extended(4, "1.3.6.1.4.1.1466.20037")),
        [1]
    );
}

#[test]
fn a_bind_is_by_place_in_the_tree_or_by_name() {
    let mut client = Client::new(Tls::Active);
    for name in [P0, "UID=P0, DC=pa, DC=example", "p0@pa.example"] {
        assert_eq!(codes(&mut client, &bind(1, name, PASSWORD)), [0], "{name}");
    }
    let who = client.say(&extended(2, "1.3.6.1.4.1.4203.1.11.3"));
    assert_eq!(who[0].texts[2], "dn:uid=p0,dc=pa,dc=example");
}

#[test]
fn whatever_is_wrong_with_a_bind_says_the_same_and_leaves_nobody_logged_in() {
    for (name, password) in [
        (P0, "wrong"),
        ("uid=nobody,dc=pa,dc=example", PASSWORD),
        ("uid=p0,dc=elsewhere", PASSWORD),
        (CSL, PASSWORD),
        ("o=Xerox", PASSWORD),
        ("no dn", PASSWORD),
        ("", PASSWORD),
    ] {
        let mut client = Client::logged_in();
        let said = client.say(&bind(2, name, password));
        assert_eq!(said[0].code, CREDENTIALS, "{name}");
        assert_eq!(said[0].texts, ["", ""], "{name}");
        let read = search(3, P0, 0, &present("objectClass"), &[], &[]);
        assert_eq!(codes(&mut client, &read), [ACCESS]);
    }
}

#[test]
fn a_name_without_a_password_is_not_taken_for_a_login() {
    let mut client = Client::new(Tls::Active);
    assert_eq!(codes(&mut client, &bind(1, P0, "")), [UNWILLING]);
    assert_eq!(codes(&mut client, &bind(2, "", "")), [0]);
}

#[test]
fn wrong_passwords_end_the_session() {
    let mut client = Client::new(Tls::Active);
    for id in 1..=WRONG_PASSWORDS {
        assert!(!client.closed);
        client.feed(&bind(u8::try_from(id).unwrap(), P0, "wrong"));
    }
    assert!(client.closed);
}

#[test]
fn a_login_that_has_ended_is_answered_nothing_more_and_the_session_closes() {
    let mut client = Client::logged_in();
    client.mood = Mood::Changed;
    let who_is = equal("uid", "p1");
    let request = search(2, BASE, 2, &who_is, &["mail"], &[]);
    let said = client.say(&[request.clone(), request].concat());
    let ids: Vec<_> = said.iter().map(|response| response.id).collect();
    assert_eq!(ids, [0], "the notice of disconnection, and no answer");
    assert!(client.closed && client.asked.is_empty());
}

#[test]
fn a_login_that_can_not_be_checked_is_unavailable_and_not_wrong() {
    let mut client = Client::new(Tls::Active);
    client.mood = Mood::CutOff;
    assert_eq!(codes(&mut client, &bind(1, P0, PASSWORD)), [UNAVAILABLE]);
}

#[test]
fn a_stranger_reads_the_root_and_nothing_else() {
    let mut client = Client::new(Tls::Offered);
    let said = client.say(&search(1, "", 0, &present("objectClass"), &["*", "+"], &[]));
    assert_eq!(said.len(), 2);
    assert!(said[0].texts.contains(&"dc=pa,dc=example".to_owned()));
    for request in [
        search(2, BASE, 2, &present("objectClass"), &[], &[]),
        search(3, P0, 0, &present("objectClass"), &[], &[]),
        search(4, "cn=subschema", 0, &present("objectClass"), &[], &[]),
        compare(5, CSL, "member", P0),
    ] {
        assert_eq!(codes(&mut client, &request), [ACCESS]);
    }
    assert_eq!(client.asked, [Request::RegistryList]);
}

#[test]
fn searches_find_what_their_filters_say() {
    let mut client = Client::logged_in();
    let person = |n: u8| format!("uid=P{n},dc=pa,dc=example");
    let all = |kind: u8, filters: &[Vec<u8>]| tlv(kind, &filters.concat());
    let substring = |attribute: &str, parts: &[(u8, &str)]| {
        let parts: Vec<u8> = parts
            .iter()
            .flat_map(|(tag, text)| tlv(*tag, text.as_bytes()))
            .collect();
        tlv(0xa4, &[octets(attribute), tlv(0x30, &parts)].concat())
    };
    let typed = |tag: u8, attribute: &str, value: &str| {
        tlv(tag, &[octets(attribute), octets(value)].concat())
    };
    let people: Vec<String> = (0..3).map(person).collect();
    let csl = vec![CSL.to_owned()];
    let cases: Vec<(Vec<u8>, Vec<String>)> = vec![
        (equal("uid", "P1"), vec![person(1)]),
        (equal("UID", " p1 "), vec![person(1)]),
        (equal("uid", "alias"), vec![]),
        (equal("mail", "alias@pa.example"), vec![person(0)]),
        (equal("mail", "p1@elsewhere.example"), vec![]),
        (equal("cn", "csl^"), csl.clone()),
        (equal("uid", "csl^"), vec![]),
        (equal("uidNumber", "2000002"), vec![person(2)]),
        (equal("uidNumber", "two"), vec![]),
        (equal("objectClass", "posixAccount"), people.clone()),
        (typed(0xa8, "uid", "p2"), vec![person(2)]),
        (
            typed(0xa5, "uidNumber", "2000001"),
            vec![person(1), person(2)],
        ),
        (typed(0xa6, "uidNumber", "2000000"), vec![person(0)]),
        (typed(0xa5, "createTimestamp", "20990101000000Z"), vec![]),
        (substring("uid", &[(0x80, "p")]), people.clone()),
        (
            substring("mail", &[(0x81, "1@"), (0x82, "example")]),
            vec![person(1)],
        ),
        (substring("member", &[(0x80, "uid")]), vec![]),
        (equal("member", P0), csl.clone()),
        (equal("member", "uid=p2,dc=pa,dc=example"), vec![]),
        (equal("memberUid", "p1"), csl.clone()),
        (equal("memberOf", CSL), vec![person(0), person(1)]),
        (present("member"), csl.clone()),
        (present("nosuchattribute"), vec![]),
        (all(0xa2, &[present("nosuchattribute")]), vec![]),
        (
            all(0xa2, &[equal("objectClass", "posixAccount")]),
            vec![BASE.to_owned(), CSL.to_owned()],
        ),
        (
            all(0xa0, &[equal("objectClass", "person"), equal("uid", "p2")]),
            vec![person(2)],
        ),
        (
            all(
                0xa1,
                &[
                    equal("uid", "p2"),
                    equal("mail", "p2@pa.example"),
                    equal("uid", "p0"),
                ],
            ),
            vec![person(2), person(0)],
        ),
        (
            all(0xa0, &[equal("uid", "p2"), equal("memberOf", CSL)]),
            vec![],
        ),
        // RFC 4526: nothing to fail, nothing to fit.
        (
            all(0xa0, &[]),
            vec![
                BASE.to_owned(),
                CSL.to_owned(),
                person(0),
                person(1),
                person(2),
            ],
        ),
        (all(0xa1, &[]), vec![]),
        (equal("dc", "pa"), vec![BASE.to_owned()]),
    ];
    for (filter, expected) in cases {
        let said = found(&mut client, BASE, 2, &filter);
        assert_eq!(said, expected, "{}", filter.escape_ascii());
    }
    assert_eq!(
        found(&mut client, BASE, 1, &present("objectClass")).len(),
        4
    );
    assert_eq!(found(&mut client, BASE, 0, &present("objectClass")), [BASE]);
    assert_eq!(
        found(&mut client, P0, 2, &present("uid")),
        ["uid=P0,dc=pa,dc=example"]
    );
    assert_eq!(found(&mut client, P0, 1, &present("uid")), [""; 0]);
    assert_eq!(found(&mut client, P0, 0, &equal("memberOf", CSL)).len(), 1);
}

#[test]
fn an_equality_by_name_looks_at_nobody_else() {
    let mut client = Client::logged_in();
    for filter in [
        equal("uid", "p1"),
        equal("mail", "p1@pa.example"),
        equal("uidNumber", "2000001"),
        tlv(
            0xa0,
            &[equal("objectClass", "posixAccount"), equal("uid", "p1")].concat(),
        ),
    ] {
        client.asked.clear();
        assert_eq!(found(&mut client, BASE, 2, &filter).len(), 1);
        assert_eq!(client.asked.len(), 1, "{:?}", client.asked);
        assert!(matches!(
            client.asked[0],
            Request::Show { .. } | Request::EntryOfNumber { .. }
        ));
    }
}

#[test]
fn an_entry_shows_what_is_asked_for() {
    let mut client = Client::logged_in();
    let said = client.say(&search(1, P0, 0, &present("uid"), &[], &[]));
    for text in [
        "inetOrgPerson",
        "posixAccount",
        "P0",
        "P0@pa.example",
        "alias@pa.example",
        "2000000",
        "/home/p0",
        "/bin/bash",
    ] {
        assert!(said[0].texts.contains(&text.to_owned()), "{text}: {said:?}");
    }
    assert!(!said[0].texts.contains(&"entryUUID".to_owned()));
    let said = client.say(&search(
        2,
        P0,
        0,
        &present("uid"),
        &["EntryUUID", "createTimestamp"],
        &[],
    ));
    assert_eq!(
        said[0].texts,
        [
            "uid=P0,dc=pa,dc=example",
            "entryUUID",
            "00000000-0000-0000-0000-000000000000",
            "createTimestamp",
            "20231114221320Z"
        ]
    );
    let said = client.say(&search(
        3,
        CSL,
        0,
        &present("cn"),
        &["member", "memberUid"],
        &[],
    ));
    assert_eq!(
        said[0].texts,
        [
            CSL,
            "member",
            "uid=P0,dc=pa,dc=example",
            "uid=P1,dc=pa,dc=example",
            "memberUid",
            "P0",
            "P1"
        ]
    );
}

#[test]
fn the_groups_of_a_person_are_found_without_a_look_at_others() {
    let mut client = Client::logged_in();
    client.asked.clear();
    assert_eq!(found(&mut client, BASE, 2, &equal("member", P0)), [CSL]);
    assert_eq!(client.asked.len(), 2, "{:?}", client.asked);
    let said = client.say(&search(3, P0, 0, &present("uid"), &["memberOf"], &[]));
    assert_eq!(
        said[0].texts[1..],
        ["memberOf", CSL, "cn=all^,dc=other,dc=example"]
    );
    assert_eq!(found(&mut client, BASE, 2, &present("memberOf")).len(), 2);
}

#[test]
fn entries_that_are_looked_up_by_name_are_asked_for_together_and_never_too_many() {
    let mut client = Client::logged_in();
    client.people = 21;
    client.turns.clear();
    let several: Vec<u8> = (0..20)
        .flat_map(|n| equal("uid", &format!("p{n}")))
        .collect();
    let people = found(&mut client, BASE, 2, &tlv(0xa1, &several));
    let expected: Vec<String> = (0..20)
        .map(|n| format!("uid=P{n},dc=pa,dc=example"))
        .collect();
    assert_eq!(people, expected);
    assert_eq!(client.turns, [16, 4]);
    // One that is not there hides none of the others; one that can't be asked about ends it.
    let some = [equal("uid", "p3"), equal("uid", "p99"), equal("uid", "p4")].concat();
    assert_eq!(found(&mut client, BASE, 2, &tlv(0xa1, &some)).len(), 2);
    client.mood = Mood::CutOff;
    let cut_off = search(1, BASE, 2, &tlv(0xa1, &some), &[], &[]);
    assert_eq!(codes(&mut client, &cut_off), [UNAVAILABLE]);
}

#[test]
fn the_people_of_a_group_are_found_by_its_list_and_not_by_a_look_at_everybody() {
    let mut client = Client::logged_in();
    client.people = 5_000;
    client.asked.clear();
    let mut people = found(&mut client, BASE, 2, &equal("memberOf", CSL));
    people.sort();
    assert_eq!(
        people,
        ["uid=P0,dc=pa,dc=example", "uid=P1,dc=pa,dc=example"]
    );
    assert!(client.asked.len() <= 6, "{:?}", client.asked);
    assert!(
        !client
            .asked
            .iter()
            .any(|asked| matches!(asked, Request::Entries { .. }))
    );
    // Where the list lets in everybody, everybody is asked about, and nobody comes twice.
    client.people = 20;
    let all = "cn=everybody^,dc=pa,dc=example";
    let mut people = found(&mut client, BASE, 2, &equal("memberOf", all));
    people.sort();
    assert_eq!(people.len(), 21, "{people:?}");
    people.dedup();
    assert_eq!(people.len(), 21);
    let none = equal("memberOf", "cn=none^,dc=pa,dc=example");
    assert_eq!(found(&mut client, BASE, 2, &none), [""; 0]);
    client.mood = Mood::CutOff;
    let cut_off = search(1, BASE, 2, &equal("memberOf", CSL), &[], &[]);
    assert_eq!(codes(&mut client, &cut_off), [UNAVAILABLE]);
}

#[test]
fn the_schema_is_an_entry_and_the_root_and_every_entry_say_where() {
    let mut client = Client::logged_in();
    let asked = ["subschemaSubentry"];
    for base in ["", P0, CSL, BASE] {
        let said = client.say(&search(1, base, 0, &present("objectClass"), &asked, &[]));
        assert_eq!(
            said[0].texts[1..],
            ["subschemaSubentry", "cn=subschema"],
            "{base}"
        );
    }
    for filter in [present("objectClass"), equal("objectClass", "subschema")] {
        let asked = ["attributeTypes", "objectClasses"];
        let said = client.say(&search(2, "CN=Subschema", 0, &filter, &asked, &[]));
        assert_eq!(said.len(), 2, "{said:?}");
        let texts = &said[0].texts;
        assert!(
            texts
                .iter()
                .any(|text| text.starts_with("( 2.5.4.31 NAME 'member' "))
        );
        assert!(
            texts
                .iter()
                .any(|text| text.contains("NAME 'inetOrgPerson'"))
        );
    }
    let all = client.say(&search(
        3,
        "cn=subschema",
        0,
        &present("objectClass"),
        &[],
        &paged(9, b""),
    ));
    assert_eq!(
        all[0].texts[1..],
        [
            "objectClass",
            "top",
            "subentry",
            "subschema",
            "cn",
            "subschema"
        ]
    );
    assert_eq!(all[1].cookie.as_deref(), Some(&b""[..]));
    let below = search(4, "cn=subschema", 2, &present("objectClass"), &[], &[]);
    assert_eq!(codes(&mut client, &below), [NO_SUCH_OBJECT]);
}

#[test]
fn what_is_not_there_is_no_such_object_and_never_an_empty_answer() {
    let mut client = Client::logged_in();
    for (base, code) in [
        ("dc=nowhere", NO_SUCH_OBJECT),
        ("o=Xerox", NO_SUCH_OBJECT),
        ("uid=nobody,dc=pa,dc=example", NO_SUCH_OBJECT),
        ("uid=csl^,dc=pa,dc=example", NO_SUCH_OBJECT),
        ("uid=alias,dc=pa,dc=example", NO_SUCH_OBJECT),
        ("ou=people,dc=pa,dc=example", NO_SUCH_OBJECT),
        ("birrell", INVALID_DN),
        (r"uid=\zz,dc=pa", INVALID_DN),
    ] {
        for filter in [present("objectClass"), equal("uid", "p0")] {
            let asked = search(2, base, 2, &filter, &[], &[]);
            assert_eq!(codes(&mut client, &asked), [code], "{base}");
        }
    }
    let root = search(3, "", 2, &present("objectClass"), &[], &[]);
    assert_eq!(codes(&mut client, &root), [UNWILLING]);
}

#[test]
fn where_no_holder_can_be_asked_the_answer_is_unavailable() {
    let mut client = Client::logged_in();
    client.mood = Mood::CutOff;
    for request in [
        search(1, BASE, 2, &present("objectClass"), &[], &[]),
        search(2, BASE, 2, &equal("uid", "p0"), &[], &[]),
        search(3, P0, 0, &present("uid"), &[], &[]),
        search(4, CSL, 0, &equal("member", P0), &[], &[]),
        compare(5, CSL, "member", P0),
        compare(6, P0, "uid", "p0"),
        search(7, "", 0, &present("objectClass"), &[], &[]),
    ] {
        assert_eq!(codes(&mut client, &request), [UNAVAILABLE]);
    }
}

#[test]
fn a_compare_of_a_member_is_one_question() {
    let mut client = Client::logged_in();
    for (name, attribute, value, code) in [
        (CSL, "member", P0, TRUE),
        (CSL, "member", "uid=p2,dc=pa,dc=example", FALSE),
        (CSL, "member", "dc=pa", FALSE),
        (CSL, "memberUid", "p1", TRUE),
        ("cn=none^,dc=pa,dc=example", "member", P0, NO_SUCH_OBJECT),
    ] {
        client.asked.clear();
        assert_eq!(
            codes(&mut client, &compare(1, name, attribute, value)),
            [code]
        );
        assert!(client.asked.len() <= 1, "{:?}", client.asked);
    }
    for (name, attribute, value, code) in [
        (P0, "memberOf", CSL, TRUE),
        (P0, "memberOf", "cn=none^,dc=pa,dc=example", FALSE),
        (P0, "uid", "P0", TRUE),
        (P0, "uid", "p1", FALSE),
        (P0, "member", P0, FALSE),
        (P0, "dc", "pa", 16),
        (P0, "userPassword", PASSWORD, 17),
        (CSL, "member", "no dn", 21),
        (BASE, "dc", "PA", TRUE),
        ("x", "uid", "p0", INVALID_DN),
    ] {
        assert_eq!(
            codes(&mut client, &compare(1, name, attribute, value)),
            [code],
            "{name} {attribute}={value}"
        );
    }
}

#[test]
fn nothing_is_ever_changed() {
    let mut client = Client::logged_in();
    client.asked.clear();
    for (tag, response) in [(0x66, 0x67), (0x68, 0x69), (0x4a, 0x6b), (0x6c, 0x6d)] {
        let said = client.say(&message(1, &tlv(tag, b"uid=p0,dc=pa,dc=example"), &[]));
        assert_eq!((said[0].tag, said[0].code), (response, UNWILLING));
    }
    assert!(client.asked.is_empty());
}

#[test]
fn an_unknown_critical_control_is_refused_and_another_passed_over() {
    let mut client = Client::logged_in();
    let with = |critical| {
        let control = control("1.2.3.4", critical, None);
        search(1, P0, 0, &present("uid"), &["uid"], &control)
    };
    assert_eq!(codes(&mut client, &with(true)), [CRITICAL]);
    assert_eq!(codes(&mut client, &with(false)), [-1, 0]);
}

#[test]
fn pages_give_everything_once_and_their_cookies_are_the_sessions_own() {
    let mut client = Client::logged_in();
    client.people = 250;
    let page = |cookie: &[u8]| search(1, BASE, 1, &present("uid"), &["1.1"], &paged(40, cookie));
    let (mut names, mut cookie, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut said = client.say(&page(&cookie));
        let done = said.pop().unwrap();
        assert_eq!(done.code, 0);
        assert!(said.len() <= 40);
        names.extend(said.into_iter().map(|entry| entry.texts[0].clone()));
        pages += 1;
        let used = std::mem::replace(&mut cookie, done.cookie.unwrap());
        if cookie.is_empty() {
            break;
        }
        if pages == 3 {
            // Another session's, and one that was used.
            let mut other = Client::logged_in();
            assert_eq!(codes(&mut other, &page(&cookie)), [UNWILLING]);
            assert_ne!(used, cookie);
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 250);
    let first = client.say(&page(&[])).pop().unwrap().cookie.unwrap();
    let other_filter = search(1, BASE, 1, &present("cn"), &["1.1"], &paged(40, &first));
    assert_eq!(codes(&mut client, &other_filter), [UNWILLING]);
    assert_eq!(
        codes(&mut client, &page(&first)),
        [UNWILLING],
        "it was given up"
    );
}

#[test]
fn a_search_that_finds_too_much_says_so() {
    let mut client = Client::logged_in();
    client.people = u32::try_from(ENTRIES).unwrap() + 1;
    let said = client.say(&search(1, BASE, 1, &present("uid"), &["1.1"], &[]));
    assert_eq!(said.len(), ENTRIES + 1);
    assert_eq!(said.last().unwrap().code, SIZE_LIMIT);
    assert!(
        client.held_most < 4 * READ_BYTES + MESSAGE_BYTES,
        "{}",
        client.held_most
    );
    let limited = |limit: u8| {
        let body = [
            octets(BASE),
            tlv(0x0a, &[1]),
            tlv(0x0a, &[0]),
            tlv(0x02, &[limit]),
            tlv(0x02, &[0]),
            tlv(0x01, &[0]),
            present("uid"),
            tlv(0x30, &[]),
        ]
        .concat();
        message(2, &tlv(0x63, &body), &[])
    };
    assert_eq!(codes(&mut client, &limited(2)), [-1, -1, SIZE_LIMIT]);
    let _ = VALUES;
}

#[test]
fn a_search_without_an_index_looks_at_so_many_and_no_more() {
    let mut client = Client::logged_in();
    client.people = 300_000;
    let none = equal("gecos", "nobody at all");
    let said = client.say(&search(1, BASE, 2, &none, &[], &[]));
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].code, ADMIN_LIMIT);
}

#[test]
fn a_filter_of_any_depth_is_refused_without_harm() {
    let mut client = Client::logged_in();
    for depth in [33, 1_000, 10_000] {
        let mut filter = present("uid");
        for _ in 0..depth {
            // The shortest form that there is for its length.
            let length = filter.len();
            let mut outer = vec![0xa2];
            match length {
                0..=127 => outer.push(u8::try_from(length).unwrap()),
                128..=255 => outer.extend([0x81, u8::try_from(length).unwrap()]),
                _ => {
                    outer.push(0x82);
                    outer.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
            }
            outer.append(&mut filter);
            filter = outer;
        }
        let said = client.say(&search(1, BASE, 2, &filter, &[], &[]));
        assert_eq!(said[0].code, ADMIN_LIMIT, "{depth}");
    }
    let wide = tlv(0xa1, &present("uid").repeat(2_000));
    let said = client.say(&search(1, BASE, 2, &wide, &[], &[]));
    assert_eq!(said[0].code, ADMIN_LIMIT);
    let extensible = tlv(0xa9, &tlv(0x83, b"x"));
    let said = client.say(&search(1, BASE, 2, &extensible, &[], &[]));
    assert_eq!(said[0].code, MATCHING);
    assert!(!client.closed);
}

#[test]
fn what_is_not_ldap_is_told_so_and_closed() {
    let huge = [&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &[0; 100]].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        huge,
        tlv(0x30, &[0x02, 0x01, 0x00]),
        tlv(0x30, b""),
        message(1, &tlv(0x7e, b""), &[]),
        vec![0x30, 0x80, 0, 0],
    ] {
        let mut client = Client::new(Tls::Offered);
        let said = client.say(&bytes);
        assert!(client.closed, "{}", bytes.escape_ascii());
        assert_eq!((said[0].id, said[0].code), (0, PROTOCOL_ERROR));
    }
    let mut client = Client::logged_in();
    let broken = message(7, &tlv(0x63, b"nonsense"), &[]);
    let said = client.say(&broken);
    assert_eq!(
        (said[0].id, said[0].tag, said[0].code),
        (7, 0x65, PROTOCOL_ERROR)
    );
    assert!(!client.closed, "the next message is found all the same");
}

#[test]
fn many_requests_in_one_packet_are_answered_in_order() {
    let mut client = Client::logged_in();
    let batch: Vec<u8> = (1..=100)
        .flat_map(|id| search(id, P0, 0, &present("uid"), &["uid"], &[]))
        .collect();
    let said = client.say(&batch);
    let ids: Vec<u32> = said.iter().map(|said| said.id).collect();
    let expected: Vec<u32> = (1..=100).flat_map(|id| [id, id]).collect();
    assert_eq!(ids, expected);
}

#[test]
fn however_bytes_are_cut_the_answers_are_the_same() {
    let requests = [
        bind(1, P0, PASSWORD),
        search(2, BASE, 2, &present("objectClass"), &["*", "+"], &[]),
        compare(3, CSL, "member", P0),
        extended(4, "1.3.6.1.4.1.4203.1.11.3"),
        message(5, &[0x42, 0], &[]),
    ]
    .concat();
    let mut whole = Client::new(Tls::Active);
    whole.feed(&requests);
    for size in [1, 2, 3, 7, 64] {
        let mut cut = Client::new(Tls::Active);
        for piece in requests.chunks(size) {
            cut.feed(piece);
        }
        assert_eq!(cut.sent, whole.sent, "{size}");
        assert!(cut.closed);
    }
}
