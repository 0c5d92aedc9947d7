//! What files say, and that what is written is read again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn registry() -> RegistryName {
    "pa.example".parse().unwrap()
}

fn found(format: Format, text: impl Into<Vec<u8>>) -> Vec<Found> {
    let input = Box::new(Cursor::new(text.into()));
    let records = read(format, input, &registry(), None).unwrap();
    records
        .map(|found| found.unwrap())
        .filter(|found| *found != Found::PassedOver)
        .collect()
}

fn entries(format: Format, text: impl Into<Vec<u8>>) -> Vec<ImportedEntry> {
    let entry = |found| match found {
        Found::Entry(record) => record.entry,
        other => panic!("{other:?}"),
    };
    found(format, text).into_iter().map(entry).collect()
}

fn written(format: Format, entries: &[ImportedEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(format, &mut bytes).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_table_from_a_spreadsheet_is_read() {
    let text = "\u{feff}Name,kind,remark,members\r\nbirrell,,\"Andrew, first\",\r\ncsl^,group,,birrell x@other.example *@pa.example\r\nb d,group,,\r\nshort\r\n";
    let found = found(Format::Csv, text);
    let Found::Entry(first) = &found[0] else {
        panic!("{found:?}")
    };
    assert_eq!(first.entry.name.to_string(), "birrell@pa.example");
    assert_eq!(first.entry.remark.as_deref(), Some("Andrew, first"));
    let Found::Entry(second) = &found[1] else {
        panic!("{found:?}")
    };
    assert_eq!((second.line, second.entry.kind), (3, EntryKind::Group));
    assert_eq!(second.entry.members.len(), 3);
    assert!(matches!(&found[2], Found::Bad { line: 4, .. }), "{found:?}");
    assert!(matches!(&found[3], Found::Bad { line: 5, .. }), "{found:?}");
}

#[test]
fn an_unknown_column_is_an_error_that_names_the_known_ones() {
    let input = Box::new(Cursor::new(b"name,shoe size\nx,4\n".to_vec()));
    let error = read(Format::Csv, input, &registry(), None).err().unwrap();
    assert!(error.to_string().contains("shoe size") && error.to_string().contains("remark"));
}

#[test]
fn json_lines_name_what_is_wrong_with_the_line() {
    let text = "{\"name\":\"birrell\"}\n\n{\"name\":\"x\",\"shoe\":1}\n{\"name\":\"g\",\"kind\":\"group\",\"owners\":[\"birrell\"]}\n";
    let found = found(Format::JsonLines, text);
    assert_eq!(found.len(), 3);
    assert!(
        matches!(&found[1], Found::Bad { line: 3, why } if why.contains("shoe")),
        "{found:?}"
    );
}

#[test]
fn a_directory_s_dump_is_read_with_its_people_and_groups() {
    let text = b"version: 1

dn: dc=pa,dc=example
objectClass: dcObject

# a person
dn: uid=Birrell,ou=People,dc=pa,dc=example
objectClass: inetOrgPerson
cn: Andrew
 Birrell
description:: SsO2cmc=
userPassword:: e0FSR09OMn0kYXJnb24yaWQkdj0xOQ==
jpegPhoto:: /9j/4A==
mailAlternateAddress: adb@pa.example
mailAlternateAddress: adb@elsewhere.example

dn: cn=csl,ou=Groups,dc=pa,dc=example
objectClass: groupOfNames
member: uid=Birrell,ou=People,dc=PA,dc=example
member: uid=needham,dc=cambridge,dc=example
owner: cn=a\\2cb,dc=pa,dc=example

dn: cn=staff,dc=pa,dc=example
objectClass: posixGroup
memberUid: birrell

dn: uid=x,dc=elsewhere
objectClass: account

dn: uid=y,dc=pa,dc=example
changetype: delete
";
    let found = found(Format::Ldif, text.to_vec());
    assert_eq!(found.len(), 5, "{found:?}");
    let entry = |at: usize| match &found[at] {
        Found::Entry(record) => &record.entry,
        other => panic!("{other:?}"),
    };
    assert_eq!(entry(0).name.to_string(), "Birrell@pa.example");
    assert_eq!(entry(0).remark.as_deref(), Some("Jörg"));
    assert_eq!(entry(0).password, Some(Secret("$argon2id$v=19".into())));
    assert_eq!(entry(0).aliases.len(), 1);
    // A comma is in no name: the whole group is named as what can't be read.
    assert!(
        matches!(&found[1], Found::Bad { line: 17, .. }),
        "{found:?}"
    );
    assert_eq!(entry(2).members[0].to_string(), "birrell@pa.example");
    assert!(matches!(&found[3], Found::Bad { why, .. } if why.contains("--suffix")));
    assert!(matches!(&found[4], Found::Bad { why, .. } if why.contains("change")));
}

#[test]
fn a_suffix_says_what_stands_for_the_registry() {
    let text = b"dn: uid=x,ou=p,o=Old Corp\nobjectClass: account\n".to_vec();
    let suffix = "ou=p, o=old corp".parse().unwrap();
    let input = Box::new(Cursor::new(text));
    let mut records = read(Format::Ldif, input, &registry(), Some(suffix)).unwrap();
    let found = records.next().unwrap().unwrap();
    assert!(matches!(found, Found::Entry(r) if r.entry.name.to_string() == "x@pa.example"));
}

#[test]
fn a_group_with_many_members_comes_in_parts_and_a_line_without_end_is_passed_over() {
    let mut text = "dn: cn=all,dc=pa,dc=example\nobjectClass: groupOfNames\n".to_owned();
    for n in 0..2_500 {
        text += &format!("member: uid=n{n},dc=pa,dc=example\n");
    }
    let parts = entries(Format::Ldif, text);
    let members: Vec<usize> = parts.iter().map(|e| e.members.len()).collect();
    assert_eq!(members, [1_000, 1_000, 500]);
    assert!(parts.iter().all(|e| e.name == parts[0].name));

    let mut endless = vec![b'x'; 3 * MAX_LINE_BYTES];
    endless.extend(b"\n{\"name\":\"ok\"}\n");
    let found = found(Format::JsonLines, endless);
    assert!(matches!(&found[0], Found::Bad { why, .. } if why.contains("longer")));
    assert!(matches!(&found[1], Found::Entry(_)));
}

fn entry() -> impl Strategy<Value = ImportedEntry> {
    let name =
        || "[A-Za-z0-9^#=+]{1,9}".prop_filter_map("a name", |s| Name::new(&s, registry()).ok());
    let member = || name().prop_map(Member::Name);
    let lists = (
        proptest::collection::vec(name(), 0..3),
        proptest::collection::vec(member(), 0..3),
    );
    let remark = proptest::option::of("\\PC{1,12}".prop_filter("kept", |r| r.trim() == r));
    (name(), any::<bool>(), remark, lists).prop_map(|(name, group, remark, (names, members))| {
        let mut entry = ImportedEntry::new(name, EntryKind::Individual);
        entry.remark = remark;
        if group {
            entry.kind = EntryKind::Group;
            entry.owners = members.clone();
            entry.members = members;
        } else {
            entry.aliases = names.clone();
            entry.forward = names;
            entry.sites = vec!["s1".parse().unwrap()];
        }
        entry
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(wanted in proptest::collection::vec(entry(), 0..4)) {
        for format in [Format::Csv, Format::JsonLines, Format::Ldif] {
            prop_assert_eq!(&entries(format, written(format, &wanted)), &wanted, "{:?}", format);
        }
    }

    #[test]
    fn any_bytes_are_entries_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..300), ldif in "(dn|member|objectClass|uid|:|::| |\n|=|,|\\\\|dc|cn|posixGroup|[a-z]){0,60}") {
        for format in [Format::Csv, Format::JsonLines, Format::Ldif] {
            for text in [bytes.clone(), ldif.clone().into_bytes()] {
                if let Ok(records) = read(format, Box::new(Cursor::new(text)), &registry(), None) {
                    prop_assert!(records.count() < 1_000);
                }
            }
        }
    }
}

/// The first octet chooses the format. What is read is written in each format, and read again as the same.
fn bulk(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else {
        return;
    };
    let format = [Format::Csv, Format::JsonLines, Format::Ldif][usize::from(kind % 3)];
    let Ok(records) = read(
        format,
        Box::new(Cursor::new(text.to_vec())),
        &registry(),
        None,
    ) else {
        return;
    };
    let mut entries = Vec::new();
    for (count, found) in records.enumerate() {
        assert!(count <= text.len(), "more is found than there is");
        match found {
            // One of another registry is refused by whoever it is imported to, and is in no export.
            Ok(Found::Entry(record)) if *record.entry.name.registry() != registry() => {}
            Ok(Found::Entry(record)) => entries.push(record.entry),
            Ok(Found::Bad { line, why }) => assert!(line > 0 && !why.is_empty()),
            Ok(Found::PassedOver) | Err(_) => {}
        }
    }
    for format in [Format::Csv, Format::JsonLines, Format::Ldif] {
        let again = self::found(format, written(format, &entries));
        let names = |entries: &[ImportedEntry]| -> std::collections::BTreeSet<String> {
            entries.iter().map(|entry| entry.name.to_string()).collect()
        };
        let again: Vec<_> = again
            .into_iter()
            .map(|found| match found {
                Found::Entry(record) => record.entry,
                other => panic!("{format:?} does not read what it wrote: {other:?}"),
            })
            .collect();
        // A file may hold an entry in parts; as many names come out as went in.
        assert_eq!(names(&again), names(&entries), "{format:?}");
    }
}

#[test]
fn what_any_file_says_can_be_written_in_every_format() {
    bolero::check!(name = "bulk").for_each(|input: &[u8]| bulk(input));
}
