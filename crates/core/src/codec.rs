//! Rows as bytes: keys that sort as their parts do, values with a version in front.
//!
//! A value that can't be read is damage, never a default and never a panic.

use grapevine_model::{
    CellKey, CustodyRecord, EntryKind, Hlc, Incarnation, MailboxEntry, MessageId, OriginId, Quota,
    ServerName, SpaceId, Stamp, Usage,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tables::Damaged;

/// The first octet of every value; rows of an older version are still read.
const VALUE_VERSION: u8 = 1;
/// The same for the rows of spaces: since 2 they count what a mailbox holds.
const SPACE_ROW_VERSION: u8 = 2;

/// A value as it is stored.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising our own types to memory cannot fail; if it ever does, the empty row is damage
    // when it is read.
    postcard::to_extend(value, vec![VALUE_VERSION]).unwrap_or_default()
}

/// A space's row as it is stored.
pub(crate) fn encode_space_row(row: &SpaceRow) -> Vec<u8> {
    postcard::to_extend(row, vec![SPACE_ROW_VERSION]).unwrap_or_default()
}

/// A space's row; one of an older release has no count of what it holds.
pub(crate) fn decode_space_row(bytes: &[u8]) -> Result<SpaceRow, Damaged> {
    match bytes.split_first() {
        Some((&SPACE_ROW_VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|e| Damaged(format!("a space's row can't be read: {e}"))),
        Some(_) | None => {
            let old: SpaceRow1 = decode(bytes)?;
            Ok(SpaceRow {
                vector: old.vector,
                ready: old.ready,
                sites: old.sites,
                owner: old.owner,
                usage: None,
                quota: Quota::default(),
            })
        }
    }
}

/// A stored value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|e| Damaged(format!("a row can't be read: {e}")))
        }
        Some((version, _)) => Err(Damaged(format!("a row of unknown version {version}"))),
        None => Err(Damaged("an empty row".into())),
    }
}

/// What a mailbox keeps of a message; servers of older releases say nothing of copies, or of lists either.
pub(crate) fn decode_mailbox_entry(bytes: &[u8]) -> Result<MailboxEntry, Damaged> {
    #[derive(Deserialize)]
    struct WithoutSource {
        body: grapevine_model::BodyInfo,
        deposited_ms: u64,
        list: Option<grapevine_model::ListCopy>,
    }
    #[derive(Deserialize)]
    struct WithoutList {
        body: grapevine_model::BodyInfo,
        deposited_ms: u64,
    }
    if let Ok(entry) = decode(bytes) {
        return Ok(entry);
    }
    let old = decode::<WithoutSource>(bytes).or_else(|_| {
        let WithoutList { body, deposited_ms } = decode(bytes)?;
        Ok(WithoutSource {
            body,
            deposited_ms,
            list: None,
        })
    })?;
    Ok(MailboxEntry {
        body: old.body,
        deposited_ms: old.deposited_ms,
        list: old.list,
        source: None,
    })
}

/// The key prefix of a space: kind, then a registry's length and name or a mailbox's incarnation.
pub(crate) fn space_prefix(space: &SpaceId) -> Vec<u8> {
    match space {
        SpaceId::Registry(registry) => {
            let name = registry.as_str().as_bytes();
            let mut key = Vec::with_capacity(name.len() + 2 + 16);
            key.push(b'R');
            key.push(name.len().min(255) as u8);
            key.extend_from_slice(name);
            key
        }
        SpaceId::Mailbox(incarnation) => {
            let mut key = Vec::with_capacity(17 + 18 + 16);
            key.push(b'M');
            key.extend_from_slice(&incarnation.0.to_be_bytes());
            key
        }
    }
}

/// What the cells of a registry that is kept apart begin with in `Cells`: no space's prefix.
pub(crate) fn shelf_prefix(of: Incarnation) -> Vec<u8> {
    let mut key = vec![b'S'];
    key.extend_from_slice(&of.0.to_be_bytes());
    key
}

/// The space whose whole key this is.
pub(crate) fn space_of(key: &[u8]) -> Result<SpaceId, Damaged> {
    let bad = || Damaged("a space's key can't be read".into());
    match key.split_first() {
        Some((b'R', rest)) => {
            let (_, name) = rest.split_first().ok_or_else(bad)?;
            let name = std::str::from_utf8(name).map_err(|_| bad())?;
            Ok(SpaceId::Registry(name.parse().map_err(|_| bad())?))
        }
        Some((b'M', rest)) => {
            let bits: [u8; 16] = rest.try_into().map_err(|_| bad())?;
            Ok(SpaceId::Mailbox(Incarnation(u128::from_be_bytes(bits))))
        }
        _ => Err(bad()),
    }
}

/// The key of a cell.
pub(crate) fn cell_key(space: &SpaceId, key: &CellKey) -> Vec<u8> {
    let mut bytes = space_prefix(space);
    push_cell_key(&mut bytes, key);
    bytes
}

fn push_cell_key(bytes: &mut Vec<u8>, key: &CellKey) {
    bytes.extend_from_slice(&key.item.to_be_bytes());
    bytes.extend_from_slice(&key.field.to_be_bytes());
    bytes.extend_from_slice(&key.element);
}

/// A cell's key, written alone (the value of a `Dots` row).
pub(crate) fn bare_cell_key(key: &CellKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(18 + key.element.len());
    push_cell_key(&mut bytes, key);
    bytes
}

/// Reads what `bare_cell_key` wrote.
pub(crate) fn read_cell_key(bytes: &[u8]) -> Result<CellKey, Damaged> {
    let short = || Damaged("a cell's key is too short".into());
    let (item, rest) = bytes.split_first_chunk::<16>().ok_or_else(short)?;
    let (field, element) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    Ok(CellKey {
        item: u128::from_be_bytes(*item),
        field: u16::from_be_bytes(*field),
        element: element.to_vec(),
    })
}

/// The key of a dot: sorts by origin, then by time.
pub(crate) fn dot_key(space: &SpaceId, dot: Stamp) -> Vec<u8> {
    let mut bytes = space_prefix(space);
    bytes.extend_from_slice(&dot.origin.0.to_be_bytes());
    bytes.extend_from_slice(&dot.time.0.to_be_bytes());
    bytes
}

/// The dot at the end of such a key.
pub(crate) fn read_dot(key: &[u8]) -> Result<Stamp, Damaged> {
    let short = || Damaged("a dot's key is too short".into());
    let (rest, time) = key.split_last_chunk::<8>().ok_or_else(short)?;
    let (_, origin) = rest.split_last_chunk::<8>().ok_or_else(short)?;
    Ok(Stamp {
        time: Hlc(u64::from_be_bytes(*time)),
        origin: OriginId(u64::from_be_bytes(*origin)),
    })
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}

/// The key of a message held as deputy.
pub(crate) fn deputy_key(custodian: &ServerName, message: MessageId) -> Vec<u8> {
    let mut key = custodian.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&message.to_bytes());
    key
}

/// The value of an `Identity` cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) kind: EntryKind,
    /// The simple name as first given.
    pub(crate) simple: String,
    /// When it was created.
    pub(crate) created: Stamp,
    /// When it was given this name: of two that have one name the earlier keeps it.
    pub(crate) named: Stamp,
}

/// The same as the first servers wrote it: what was never renamed has had its name from the beginning.
#[derive(Deserialize)]
struct FirstIdentity {
    kind: EntryKind,
    simple: String,
    created: Stamp,
}

impl Identity {
    /// The value of an `Identity` cell, of whatever release.
    pub(crate) fn read(value: &[u8]) -> Result<Self, Damaged> {
        // The first form is the beginning of this one: it is too short to be taken for it.
        decode::<Self>(value).or_else(|damaged| {
            let FirstIdentity {
                kind,
                simple,
                created,
            } = decode::<FirstIdentity>(value).map_err(|_| damaged)?;
            Ok(Self {
                kind,
                simple,
                created,
                named: created,
            })
        })
    }
}

/// The value of a `Member`, `Owner` or `Friend` cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// As first given.
    pub(crate) spelling: String,
    /// What the name meant then; none for outside addresses and wildcards.
    pub(crate) incarnation: Option<Incarnation>,
    /// Whether it was a group then.
    pub(crate) group: bool,
}

/// The value of a `Vectors` row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceRow {
    pub(crate) vector: grapevine_model::VersionVector,
    /// Whether all of the space was fetched once (or it began here).
    pub(crate) ready: bool,
    /// A mailbox's ordered sites, as last known.
    pub(crate) sites: Vec<ServerName>,
    /// Whose mailbox it is.
    pub(crate) owner: Option<grapevine_model::Name>,
    /// What a mailbox holds; none where it must be counted first.
    pub(crate) usage: Option<Usage>,
    /// How much a mailbox may hold, as a holder last said where its owner's registry is elsewhere.
    pub(crate) quota: Quota,
}

/// The value of a `Vectors` row before its version 2.
#[derive(Debug, Serialize, Deserialize)]
struct SpaceRow1 {
    vector: grapevine_model::VersionVector,
    ready: bool,
    sites: Vec<ServerName>,
    owner: Option<grapevine_model::Name>,
}

/// The value of a `Messages` row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRow {
    pub(crate) body: grapevine_model::BodyInfo,
    /// Mailboxes and custodies that refer to the body here.
    pub(crate) references: u32,
}

/// A record as deputy, as stored.
pub(crate) type DeputyRow = CustodyRecord;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_an_older_server_keeps_of_a_message_is_still_read_and_the_other_way_round() {
        let body = grapevine_model::BodyInfo {
            len: 5,
            digest: [7; 32],
        };
        let entry = MailboxEntry {
            body,
            deposited_ms: 9,
            list: None,
            source: None,
        };
        assert_eq!(
            decode_mailbox_entry(&encode(&(body, 9u64))),
            Ok(entry.clone())
        );
        let list: Option<grapevine_model::ListCopy> = None;
        assert_eq!(
            decode_mailbox_entry(&encode(&(body, 9u64, list))),
            Ok(entry.clone()),
            "of the release before there were copies"
        );
        assert_eq!(decode(&encode(&entry)), Ok((body, 9u64)));
        assert!(decode_mailbox_entry(&encode(&body)).is_err());
    }

    /// What a row is taken for by its first octet: what is read can be written, and is then read as the same.
    fn row(input: &[u8]) {
        fn whole<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
            if let Ok(value) = decode::<T>(bytes) {
                assert_eq!(decode::<T>(&encode(&value)), Ok(value));
            }
        }
        let Some((kind, bytes)) = input.split_first() else {
            return;
        };
        match kind % 10 {
            0 => {
                if let Ok(row) = decode_space_row(bytes) {
                    assert_eq!(decode_space_row(&encode_space_row(&row)), Ok(row));
                }
            }
            1 => whole::<DeputyRow>(bytes),
            2 => whole::<grapevine_model::Cell>(bytes),
            3 => whole::<Listed>(bytes),
            4 => {
                if let Ok(identity) = Identity::read(bytes) {
                    assert_eq!(Identity::read(&encode(&identity)), Ok(identity));
                }
            }
            5 => {
                if let Ok(entry) = decode_mailbox_entry(bytes) {
                    assert_eq!(decode_mailbox_entry(&encode(&entry)), Ok(entry));
                }
            }
            6 => whole::<MessageRow>(bytes),
            7 => {
                if let Ok(space) = space_of(bytes) {
                    assert_eq!(space_of(&space_prefix(&space)), Ok(space));
                }
            }
            8 => {
                if let Ok(key) = read_cell_key(bytes) {
                    assert_eq!(bare_cell_key(&key), bytes, "a key has one form");
                }
            }
            _ => {
                if let Ok(dot) = read_dot(bytes) {
                    let space = SpaceId::Mailbox(Incarnation(1));
                    assert_eq!(read_dot(&dot_key(&space, dot)), Ok(dot));
                }
            }
        }
    }

    #[test]
    fn a_row_of_any_bytes_is_damage_or_a_value_that_can_be_written() {
        bolero::check!(name = "codec").for_each(|input: &[u8]| row(input));
    }

    #[test]
    fn spaces_and_cells_come_back_from_their_keys() {
        for space in [
            SpaceId::Registry("pa.example".parse().unwrap()),
            SpaceId::Mailbox(Incarnation(u128::MAX - 5)),
        ] {
            assert_eq!(space_of(&space_prefix(&space)), Ok(space.clone()));
            let dot = Stamp {
                time: Hlc(7),
                origin: OriginId(9),
            };
            assert_eq!(read_dot(&dot_key(&space, dot)), Ok(dot));
        }
        let key = CellKey {
            item: 3,
            field: 8,
            element: b"a@b".to_vec(),
        };
        assert_eq!(read_cell_key(&bare_cell_key(&key)), Ok(key));
    }

    #[test]
    fn a_spaces_row_of_the_release_before_is_read_and_has_no_count() {
        let old = SpaceRow1 {
            vector: Default::default(),
            ready: true,
            sites: vec!["s1".parse().unwrap()],
            owner: Some("birrell@pa".parse().unwrap()),
        };
        let row = decode_space_row(&encode(&old)).unwrap();
        assert!(row.ready && row.usage.is_none() && row.sites.len() == 1);
        let counted = SpaceRow {
            usage: Some(Usage::of(7)),
            ..row
        };
        assert_eq!(decode_space_row(&encode_space_row(&counted)), Ok(counted));
    }

    #[test]
    fn an_identity_of_the_first_servers_is_read_and_one_of_a_newer_release_too() {
        // Version 1, kind 0, "ada", created by origin 9 at 7: as they stored it.
        let created = Stamp {
            time: Hlc(7),
            origin: OriginId(9),
        };
        let first = encode(&(EntryKind::Individual, "ada", created));
        let read = Identity::read(&first).unwrap();
        assert_eq!((read.created, read.named), (created, created));
        let mut later = encode(&read);
        assert_ne!(first, later);
        later.extend_from_slice(b"what a newer release adds at the end");
        assert_eq!(Identity::read(&later), Ok(read));
        assert!(Identity::read(&first[..first.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn damaged_rows_are_errors(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_space_row(&bytes);
            let _ = decode::<CustodyRecord>(&bytes);
            let _ = space_of(&bytes);
            let _ = read_cell_key(&bytes);
        }

        #[test]
        fn the_end_of_a_prefix_is_after_all_that_begin_with_it(prefix in proptest::collection::vec(any::<u8>(), 1..6), more in proptest::collection::vec(any::<u8>(), 0..4)) {
            prop_assume!(prefix.iter().any(|b| *b < 255));
            let mut key = prefix.clone();
            key.extend(more);
            prop_assert!(key < after_prefix(&prefix));
        }
    }
}
