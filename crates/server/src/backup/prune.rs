//! Old backups removed, and what no backup names any more.
//!
//! Lists of contents go first, durably; then what none of those that stay names. So a kill in the middle leaves whole backups and some
//! objects too many, which the next run removes. Must never remove what a backup that stays is made of: where it can't be known what that
//! is, nothing is removed.

use std::collections::HashSet;
use std::io;

use super::manifest::{self, Manifest};
use super::vault::{Digest, Vault};
use super::whole::bodies;
use crate::out::Failure;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Which stay. The latest one does in any case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    /// So many of the latest.
    pub(crate) latest: Option<usize>,
    /// Those of so many last days.
    pub(crate) days: Option<u32>,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is said.
    Say,
    /// It is removed.
    Remove,
}

/// What was removed, or would be.
#[derive(Debug)]
pub(crate) struct Pruned {
    pub(crate) removed: Vec<Manifest>,
    pub(crate) stay: Vec<Manifest>,
    pub(crate) objects: u64,
    pub(crate) octets: u64,
}

/// Removes old backups.
pub(crate) fn prune(vault: &Vault, stay: Stay, now_ms: u64, mode: Mode) -> Result<Pruned, Failure> {
    let failed =
        |error: io::Error| Failure::new(format_args!("{}: {error}", vault.dir().display()));
    let (all, torn) = manifest::all(vault).map_err(failed)?;
    if let Some(why) = torn.first() {
        return Err(Failure::new(format_args!(
            "{why}: what it is made of can't be known, so nothing is removed; bring that file back, or remove it if it is of no use"
        )));
    }
    let (removed, stay) = parted(all, stay, now_ms);
    let mut named = HashSet::new();
    for manifest in &stay {
        names(vault, manifest, &mut named).map_err(|error| {
            Failure::new(format_args!(
                "backup {} is damaged, so nothing is removed: {error}",
                manifest.taken_ms
            ))
        })?;
    }
    if mode == Mode::Remove {
        for manifest in &removed {
            manifest.remove(vault).map_err(failed)?;
        }
        vault.sync().map_err(failed)?;
    }
    let (mut objects, mut octets) = (0, 0);
    vault
        .each(|digest, len| {
            if named.contains(digest) {
                return Ok(());
            }
            objects += 1;
            octets += len;
            match mode {
                Mode::Say => Ok(()),
                Mode::Remove => vault.remove(digest),
            }
        })
        .map_err(failed)?;
    Ok(Pruned {
        removed,
        stay,
        objects,
        octets,
    })
}

/// Those that go and those that stay, of all, the oldest first.
fn parted(mut all: Vec<Manifest>, stay: Stay, now_ms: u64) -> (Vec<Manifest>, Vec<Manifest>) {
    let count = all.len();
    let of_latest = |at: usize| stay.latest.is_some_and(|latest| at + latest >= count);
    let of_days = |manifest: &Manifest| {
        stay.days.is_some_and(|days| {
            manifest.taken_ms.saturating_add(u64::from(days) * DAY_MS) >= now_ms
        })
    };
    let stays: Vec<bool> = all
        .iter()
        .enumerate()
        .map(|(at, manifest)| at + 1 == count || of_latest(at) || of_days(manifest))
        .collect();
    let mut stays = stays.into_iter();
    let staying: Vec<Manifest> = all
        .extract_if(.., |_| stays.next().unwrap_or(true))
        .collect();
    (all, staying)
}

/// All that a backup is made of.
fn names(vault: &Vault, manifest: &Manifest, named: &mut HashSet<Digest>) -> io::Result<()> {
    named.extend(manifest.objects().map(|object| object.digest));
    for chunk in &manifest.bodies {
        let bytes = vault.get(&chunk.object.digest)?;
        named.extend(bodies(&bytes)?.map(|body| body.digest));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::backup::manifest::{Chunk, Object};
    use crate::backup::rows::Piece;

    const NOW_MS: u64 = 100 * DAY_MS;

    /// A backup with these bodies, taken so many days ago.
    fn backup(vault: &mut Vault, days_ago: u64, texts: &[&str]) -> Manifest {
        let mut piece = Piece::default();
        for (n, text) in texts.iter().enumerate() {
            let (digest, _) = vault.put(text.as_bytes()).unwrap();
            let value = [&(text.len() as u64).to_be_bytes()[..], &digest].concat();
            piece.take(&(n as u128).to_be_bytes(), &value);
        }
        let (digest, _) = vault.put(&piece.bytes).unwrap();
        let len = piece.bytes.len() as u64;
        let (key, _) = vault.put(b"the key").unwrap();
        let manifest = Manifest {
            server: "s1".into(),
            taken_ms: NOW_MS - days_ago * DAY_MS,
            tables: BTreeMap::new(),
            bodies: vec![Chunk {
                first: piece.first,
                rows: piece.rows,
                object: Object { digest, len },
            }],
            body_count: texts.len() as u64,
            body_octets: 0,
            gone: Vec::new(),
            files: BTreeMap::from([(
                "server.key".into(),
                Object {
                    digest: key,
                    len: 7,
                },
            )]),
        };
        manifest.write(vault).unwrap();
        manifest
    }

    fn is_there(vault: &Vault, text: &str) -> bool {
        vault
            .path(blake3::hash(text.as_bytes()).as_bytes())
            .exists()
    }

    fn filled() -> (tempfile::TempDir, Vault) {
        let temp = tempfile::tempdir().unwrap();
        let mut vault = Vault::create(&temp.path().join("v")).unwrap();
        backup(&mut vault, 30, &["first", "both"]);
        backup(&mut vault, 20, &["both", "second"]);
        backup(&mut vault, 10, &["both", "third"]);
        vault.put(b"of an interrupted one").unwrap();
        (temp, vault)
    }

    #[test]
    fn what_a_backup_that_stays_is_made_of_is_never_removed() {
        let (_temp, vault) = filled();
        let two = Stay {
            latest: Some(2),
            days: None,
        };
        let said = prune(&vault, two, NOW_MS, Mode::Say).unwrap();
        assert_eq!((said.removed.len(), said.stay.len()), (1, 2));
        assert!(is_there(&vault, "first"), "it was only to be said");
        let done = prune(&vault, two, NOW_MS, Mode::Remove).unwrap();
        assert_eq!((done.objects, done.octets), (said.objects, said.octets));
        // The first one's own mail and list of bodies, and what no backup named.
        assert_eq!(done.objects, 3);
        for text in ["both", "second", "third", "the key"] {
            assert!(is_there(&vault, text), "{text}");
        }
        assert!(!is_there(&vault, "first") && !is_there(&vault, "of an interrupted one"));
        let (left, torn) = manifest::all(&vault).unwrap();
        assert_eq!((left.len(), torn.len()), (2, 0));
        for manifest in &left {
            assert_eq!(
                crate::backup::verify::verify(&vault, manifest).damaged,
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn the_latest_backup_stays_whatever_is_asked_for() {
        let (_temp, vault) = filled();
        let none = Stay {
            latest: Some(0),
            days: Some(0),
        };
        let done = prune(&vault, none, NOW_MS, Mode::Remove).unwrap();
        assert_eq!((done.removed.len(), done.stay.len()), (2, 1));
        assert!(is_there(&vault, "third") && is_there(&vault, "both"));
    }

    #[test]
    fn a_backup_stays_for_its_age_or_for_its_place() {
        let (_temp, vault) = filled();
        let days = |days| Stay {
            latest: None,
            days: Some(days),
        };
        let stay = |stay| prune(&vault, stay, NOW_MS, Mode::Say).unwrap().stay.len();
        assert_eq!([5, 15, 25, 35].map(days).map(stay), [1, 1, 2, 3]);
        assert_eq!(
            stay(Stay {
                latest: Some(2),
                days: Some(35)
            }),
            3
        );
        assert_eq!(
            stay(Stay {
                latest: Some(9),
                days: None
            }),
            3
        );
    }

    #[test]
    fn nothing_is_removed_where_a_backup_cannot_be_read() {
        let (_temp, mut vault) = filled();
        let one = Stay {
            latest: Some(1),
            days: None,
        };
        // The list of bodies of the one that stays.
        let last = backup(&mut vault, 5, &["both", "fourth"]);
        let list = vault.path(&last.bodies[0].object.digest);
        let whole = std::fs::read(&list).unwrap();
        std::fs::write(&list, &whole[1..]).unwrap();
        assert!(prune(&vault, one, NOW_MS, Mode::Remove).is_err());
        std::fs::write(&list, whole).unwrap();
        // A torn list of contents, of which nobody knows what it named.
        let path = last.write(&vault).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(prune(&vault, one, NOW_MS, Mode::Remove).is_err());
        for text in ["first", "both", "second", "third", "fourth"] {
            assert!(is_there(&vault, text), "{text}");
        }
        std::fs::write(&path, whole).unwrap();
        assert!(prune(&vault, one, NOW_MS, Mode::Remove).is_ok());
        assert!(is_there(&vault, "fourth") && !is_there(&vault, "third"));
    }
}
