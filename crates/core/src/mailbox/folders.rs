//! The folders of a mailbox: which there are, what they are called, and where mails put into them are shown.
//!
//! All of it follows from the cells alone, so that every site shows the same. Must never lose what was put into a
//! folder: of two with one path the one made first is shown and has the mails of both, and what was put into a folder
//! that another site had deleted is in INBOX.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{Cell, CellKey, Field, FolderId, FolderPath, Incarnation};

use super::cells::FolderRow;
use crate::codec;

/// A folder's cells.
#[derive(Debug, Clone, Default)]
struct Folder {
    /// None where it is not known to be there, or is known to be gone.
    row: Option<FolderRow>,
    path: Option<FolderPath>,
    /// There is a path for one that is gone.
    has_name: bool,
}

/// The folders of a mailbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folders {
    known: BTreeMap<FolderId, Folder>,
    /// Those that are shown.
    shown: BTreeMap<FolderPath, FolderId>,
    /// Where mails are shown that were put into a folder; what is not here leads to INBOX.
    leads: BTreeMap<FolderId, FolderId>,
    pub(crate) subscribed: BTreeSet<FolderPath>,
}

impl Folders {
    /// Takes in a cell; whether it is about folders. Call `derive` when all are in.
    pub(crate) fn learn(&mut self, key: &CellKey, cell: &Cell) -> bool {
        let value = cell.value.as_deref();
        let folder = FolderId(key.item);
        if key.field == Field::Folder.number() {
            let row = value.and_then(|value| codec::decode(value).ok());
            self.known.entry(folder).or_default().row = row;
        } else if key.field == Field::FolderName.number() {
            let known = self.known.entry(folder).or_default();
            known.has_name = value.is_some();
            known.path = value.and_then(|value| codec::decode(value).ok());
        } else if key.field == Field::Subscribed.number() {
            let path = std::str::from_utf8(&key.element);
            let Some(path) = path.ok().and_then(|path| path.parse::<FolderPath>().ok()) else {
                return false;
            };
            match value {
                Some(_) => self.subscribed.insert(path),
                None => self.subscribed.remove(&path),
            };
            return false;
        } else {
            return false;
        }
        true
    }

    /// Works out what is shown, and what leads where. In order of their ids, which is that of their making.
    pub(crate) fn derive(&mut self) {
        let (mut shown, mut leads) = (BTreeMap::new(), BTreeMap::new());
        for (id, folder) in &self.known {
            let (Some(row), Some(path)) = (&folder.row, &folder.path) else {
                continue;
            };
            // Into a later one nothing is ever put: such a word is none.
            let into = row.into.filter(|into| into < id);
            let to = match into {
                Some(into) => leads.get(&into).copied().unwrap_or(FolderId::INBOX),
                None if path.is_inbox() => FolderId::INBOX,
                None => *shown.entry(path.clone()).or_insert(*id),
            };
            leads.insert(*id, to);
        }
        (self.shown, self.leads) = (shown, leads);
    }

    /// Where a mail is shown that was put into a folder.
    pub(crate) fn leads_to(&self, folder: FolderId) -> FolderId {
        self.leads.get(&folder).copied().unwrap_or(FolderId::INBOX)
    }

    /// Those that are shown but INBOX, in order of their paths.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&FolderPath, FolderId)> {
        self.shown.iter().map(|(path, id)| (path, *id))
    }

    /// How many there are beside INBOX.
    pub(crate) fn len(&self) -> usize {
        self.shown.len()
    }

    pub(crate) fn at(&self, path: &FolderPath) -> Option<FolderId> {
        match path.is_inbox() {
            true => Some(FolderId::INBOX),
            false => self.shown.get(path).copied(),
        }
    }

    /// A folder that is shown, by its id.
    pub(crate) fn get(&self, folder: FolderId) -> Option<(&FolderPath, FolderRow)> {
        let known = self.known.get(&folder)?;
        let path = known.path.as_ref()?;
        (self.shown.get(path) == Some(&folder)).then_some((path, known.row?))
    }

    /// All that leads to one, itself included.
    pub(crate) fn leading_to(&self, folder: FolderId) -> Vec<FolderId> {
        let all = self.leads.iter().filter(|(_, to)| **to == folder);
        all.map(|(id, _)| *id).collect()
    }

    /// Folders that were found to be the same as an earlier one, and do not say so yet.
    pub(crate) fn unsaid(&self) -> Vec<(FolderId, FolderRow)> {
        let same = self.leads.iter().filter(|(id, to)| id != to);
        let unsaid = same.filter_map(|(id, to)| {
            let row = self.known.get(id)?.row?;
            let said = row.into.is_some_and(|into| into < *id) || *to == FolderId::INBOX;
            (!said).then_some((
                *id,
                FolderRow {
                    into: Some(*to),
                    ..row
                },
            ))
        });
        unsaid.collect()
    }

    /// Folders that are gone, of which the path is left.
    pub(crate) fn nameless(&self) -> Vec<FolderId> {
        let gone = self
            .known
            .iter()
            .filter(|(_, f)| f.row.is_none() && f.has_name);
        gone.map(|(id, _)| *id).collect()
    }

    /// The UIDVALIDITY of a folder that is made now under a path: that of the path, so that a folder which both sides of a
    /// partition make is the same one to a mail program. It may be had again, as no number of a mailbox is given twice, nor a
    /// lower one after a higher. But a folder that had the path and was renamed keeps it: then it is a greater one.
    pub(crate) fn validity_of_new(&self, inbox: Incarnation, path: &FolderPath, now_s: u32) -> u32 {
        let of_path = validity_of_path(inbox, path);
        let rows = self.known.values().filter_map(|folder| folder.row);
        let given: Vec<u32> = rows.map(|row| row.uid_validity).collect();
        if !given.contains(&of_path) {
            return of_path;
        }
        let last = given.into_iter().max().unwrap_or(of_path);
        now_s.max(last.saturating_add(1))
    }
}

/// Below every second of the clock in this century: what is taken from the clock is greater.
const PATH_VALIDITIES: u32 = 1 << 30;

fn validity_of_path(inbox: Incarnation, path: &FolderPath) -> u32 {
    let mut hasher = blake3::Hasher::new_derive_key("grapevine 2026-11-24 UIDVALIDITY of a path");
    hasher.update(&inbox.0.to_be_bytes());
    hasher.update(path.as_str().as_bytes());
    let first = hasher.finalize().as_bytes().first_chunk::<4>().copied();
    (u32::from_be_bytes(first.unwrap_or_default()) % PATH_VALIDITIES).max(1)
}

#[cfg(test)]
mod tests {
    use grapevine_model::{Hlc, OriginId, Stamp};

    use super::super::cells::{folder_key, folder_name_key};
    use super::*;

    fn cell(value: Option<Vec<u8>>) -> Cell {
        let stamp = Stamp {
            time: Hlc(1),
            origin: OriginId(1),
        };
        Cell {
            stamp,
            dot: stamp,
            value,
        }
    }

    fn put(folders: &mut Folders, id: u128, path: &str, into: Option<u128>) {
        let row = FolderRow {
            uid_validity: 7,
            special_use: None,
            into: into.map(FolderId),
        };
        let path: FolderPath = path.parse().unwrap();
        folders.learn(
            &folder_name_key(FolderId(id)),
            &cell(Some(codec::encode(&path))),
        );
        folders.learn(&folder_key(FolderId(id)), &cell(Some(codec::encode(&row))));
        folders.derive();
    }

    #[test]
    fn of_two_folders_with_one_path_the_first_is_shown_and_has_the_mails_of_both() {
        let mut folders = Folders::default();
        put(&mut folders, 5, "Work", None);
        put(&mut folders, 9, "Work", None);
        put(&mut folders, 3, "Play", None);
        assert_eq!(folders.leads_to(FolderId(9)), FolderId(5));
        assert_eq!(folders.shown().count(), 2);
        let unsaid = folders.unsaid();
        assert_eq!(unsaid.len(), 1);
        put(&mut folders, 9, "Work", Some(5));
        assert!(folders.unsaid().is_empty());
        // The first one is renamed later: the other's mails go with it.
        put(&mut folders, 5, "Job", None);
        assert_eq!(folders.leads_to(FolderId(9)), FolderId(5));
        assert_eq!(folders.at(&"Work".parse().unwrap()), None);
    }

    #[test]
    fn a_path_gives_its_folder_the_same_validity_everywhere_unless_a_renamed_one_has_it() {
        let (inbox, path) = (Incarnation(1), "Work".parse::<FolderPath>().unwrap());
        let now_s = 1_800_000_000;
        let mut folders = Folders::default();
        let here = folders.validity_of_new(inbox, &path, now_s);
        assert_eq!(folders.validity_of_new(inbox, &path, now_s + 9), here);
        assert_ne!(
            folders.validity_of_new(Incarnation(2), &path, now_s),
            here,
            "of another owner"
        );
        assert_ne!(
            folders.validity_of_new(inbox, &"Play".parse().unwrap(), now_s),
            here
        );
        let row = FolderRow {
            uid_validity: here,
            special_use: None,
            into: None,
        };
        let elsewhere: FolderPath = "Job".parse().unwrap();
        folders.learn(
            &folder_name_key(FolderId(5)),
            &cell(Some(codec::encode(&elsewhere))),
        );
        folders.learn(&folder_key(FolderId(5)), &cell(Some(codec::encode(&row))));
        folders.derive();
        let another = folders.validity_of_new(inbox, &path, now_s);
        assert_eq!(another, now_s);
        assert!(another > here);
    }

    #[test]
    fn what_was_put_into_a_folder_that_is_gone_is_in_inbox() {
        let mut folders = Folders::default();
        put(&mut folders, 5, "Work", None);
        folders.learn(&folder_key(FolderId(5)), &cell(None));
        folders.derive();
        assert_eq!(folders.leads_to(FolderId(5)), FolderId::INBOX);
        assert_eq!(
            folders.leads_to(FolderId(77)),
            FolderId::INBOX,
            "never heard of"
        );
        assert_eq!(folders.nameless(), vec![FolderId(5)]);
    }

    #[test]
    fn a_folder_never_leads_to_a_later_one_nor_in_a_circle() {
        let mut folders = Folders::default();
        put(&mut folders, 5, "A", Some(9));
        put(&mut folders, 9, "B", Some(5));
        assert_eq!(folders.leads_to(FolderId(5)), FolderId(5));
        assert_eq!(folders.leads_to(FolderId(9)), FolderId(5));
    }
}
