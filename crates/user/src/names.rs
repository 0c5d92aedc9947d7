//! Names for composing while no server can be reached: those that mail went to from here, and a registry's as it was when it was last read.
//!
//! A help to whoever writes, never a promise: what is here may be gone, and what is not may be there; so every answer says as of when it
//! is. It lies sealed on the disk, as the messages do: whom somebody writes to is nobody else's business.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use grapevine_model::{EntryKind, EntryView, Name, RegistryName, Reply, Request};
use serde::{Deserialize, Serialize};

use crate::outbox::{finish_file, sealed_file};
use crate::sealed::{DataKey, SealedReader};
use crate::submit::wall_ms;
use crate::user::GrapevineUser;

const PURPOSE: &str = "names";
/// Names used that are remembered; those used longest ago go.
const USED_MAX: usize = 5_000;
/// Entries of a registry that are remembered: of a larger one, the first by name.
const ENTRIES_MAX: usize = 20_000;
/// Entries in one request.
const PAGE: u32 = 500;
/// Answers to one question.
const ANSWERS_MAX: usize = 50;
/// A file of so many names has some megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A name that is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownName {
    /// The name.
    pub name: Name,
    /// What it was; none if only mail went there.
    pub kind: Option<EntryKind>,
    /// What was said of it.
    pub remark: String,
    /// How often mail went there from here.
    pub times: u32,
    /// When last, milliseconds since 1970.
    pub used_ms: Option<u64>,
    /// When its registry was read, milliseconds since 1970.
    pub as_of_ms: Option<u64>,
}

/// The names known on one workstation to one person.
#[derive(Debug)]
pub struct NameBook {
    path: PathBuf,
    key: DataKey,
    book: Mutex<Book>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    used: BTreeMap<Name, Used>,
    registries: BTreeMap<RegistryName, Registry>,
    #[serde(skip)]
    changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Used {
    times: u32,
    last_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Registry {
    as_of_ms: u64,
    entries: BTreeMap<Name, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    kind: EntryKind,
    remark: String,
}

impl NameBook {
    /// What is in the file; what can't be read counts as empty.
    pub fn open(path: &Path, key: DataKey) -> Self {
        let book = std::fs::File::open(path).ok().and_then(|file| {
            let mut text = Vec::new();
            SealedReader::begin(std::io::BufReader::new(file), &key, PURPOSE)
                .ok()?
                .take(FILE_BYTES_MAX)
                .read_to_end(&mut text)
                .ok()?;
            serde_json::from_slice(&text).ok()
        });
        Self {
            path: path.to_owned(),
            key,
            book: Mutex::new(book.unwrap_or_default()),
        }
    }

    /// Mail went to these.
    pub fn used<'a>(&self, names: impl IntoIterator<Item = &'a Name>) {
        let now_ms = wall_ms();
        let mut book = self.book();
        for name in names {
            let used = book.used.entry(name.clone()).or_insert(Used {
                times: 0,
                last_ms: 0,
            });
            used.times = used.times.saturating_add(1);
            used.last_ms = now_ms;
            book.changed = true;
        }
        while book.used.len() > USED_MAX {
            let oldest = book.used.iter().min_by_key(|(_, used)| used.last_ms);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            book.used.remove(&oldest);
        }
    }

    /// Reads a registry's names from the servers, as far as they may be read and there is room.
    ///
    /// # Errors
    /// The servers' refusal; what was known stays.
    pub async fn refresh(
        &self,
        user: &GrapevineUser,
        registry: &RegistryName,
    ) -> Result<usize, grapevine_model::Refusal> {
        let mut entries = BTreeMap::new();
        let mut after = None;
        while entries.len() < ENTRIES_MAX {
            let request = Request::Entries {
                registry: registry.clone(),
                after: after.take(),
                limit: PAGE,
            };
            let Reply::Entries {
                entries: page,
                next,
            } = user.call(request).await?
            else {
                break;
            };
            entries.extend(page.into_iter().map(
                |EntryView {
                     name, kind, remark, ..
                 }| { (name, Entry { kind, remark }) },
            ));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let found = entries.len();
        let mut book = self.book();
        let as_of_ms = wall_ms();
        book.registries
            .insert(registry.clone(), Registry { as_of_ms, entries });
        book.changed = true;
        Ok(found)
    }

    /// When a registry was read last.
    pub fn as_of_ms(&self, registry: &RegistryName) -> Option<u64> {
        self.book().registries.get(registry).map(|one| one.as_of_ms)
    }

    /// The names that begin with this text, in whatever case, or whose remark has a word that does: those that mail goes to most first.
    pub fn complete(&self, text: &str) -> Vec<KnownName> {
        let text = text.to_lowercase();
        let book = self.book();
        let mut found: BTreeMap<Name, KnownName> = BTreeMap::new();
        for registry in book.registries.values() {
            for (name, entry) in &registry.entries {
                let remark = entry.remark.to_lowercase();
                let fits = begins(name, &text)
                    || (!text.is_empty()
                        && remark
                            .split_whitespace()
                            .any(|word| word.starts_with(&text)));
                if fits {
                    let known = KnownName {
                        name: name.clone(),
                        kind: Some(entry.kind),
                        remark: entry.remark.clone(),
                        times: 0,
                        used_ms: None,
                        as_of_ms: Some(registry.as_of_ms),
                    };
                    found.insert(name.clone(), known);
                }
            }
        }
        for (name, used) in &book.used {
            if !begins(name, &text) && !found.contains_key(name) {
                continue;
            }
            let known = found.entry(name.clone()).or_insert_with(|| KnownName {
                name: name.clone(),
                kind: None,
                remark: String::new(),
                times: 0,
                used_ms: None,
                as_of_ms: book
                    .registries
                    .get(name.registry())
                    .map(|registry| registry.as_of_ms),
            });
            known.times = used.times;
            known.used_ms = Some(used.last_ms);
        }
        let mut found: Vec<KnownName> = found.into_values().collect();
        found.sort_by(|one, other| {
            (other.times, other.used_ms)
                .cmp(&(one.times, one.used_ms))
                .then_with(|| one.name.cmp(&other.name))
        });
        found.truncate(ANSWERS_MAX);
        found
    }

    /// Writes it down, if there is anything new. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&self) -> std::io::Result<()> {
        let text = {
            let mut book = self.book();
            if !book.changed {
                return Ok(());
            }
            book.changed = false;
            serde_json::to_vec(&*book)?
        };
        let part = self.path.with_extension("part");
        let saved = sealed_file(&part, &self.key, PURPOSE)
            .and_then(|mut writer| {
                writer.write_all(&text)?;
                finish_file(writer)
            })
            .and_then(|()| std::fs::rename(&part, &self.path));
        if saved.is_err() {
            self.book().changed = true;
        }
        saved
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begins(name: &Name, text: &str) -> bool {
    name.to_string().to_lowercase().starts_with(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_come_by_use_say_as_of_when_and_are_there_after_a_restart_for_the_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.sealed");
        let key = DataKey::random().unwrap();
        {
            let book = NameBook::open(&path, key.clone());
            let entry = |remark: &str| Entry {
                kind: EntryKind::Individual,
                remark: remark.to_owned(),
            };
            let entries = [
                (name("needham@pa.example"), entry("Roger Needham")),
                (name("nobody@pa.example"), entry("")),
            ];
            book.book().registries.insert(
                "pa.example".parse().unwrap(),
                Registry {
                    as_of_ms: 7,
                    entries: entries.into(),
                },
            );
            book.used([&name("nelson@pa.example"), &name("needham@pa.example")]);
            book.used([&name("needham@pa.example")]);
            book.save().unwrap();
        }
        let book = NameBook::open(&path, key);
        let found = book.complete("NE");
        let names: Vec<_> = found.iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["needham@pa.example", "nelson@pa.example"]);
        assert_eq!((found[0].times, found[0].as_of_ms), (2, Some(7)));
        assert_eq!((found[1].kind, found[1].as_of_ms), (None, Some(7)));
        assert_eq!(book.complete("rog").len(), 1, "by what is said of it");
        assert_eq!(book.complete("").len(), 3);
        let text = std::fs::read(&path).unwrap();
        assert!(!text.windows(7).any(|part| part == b"needham"));
        let other = NameBook::open(&path, DataKey::random().unwrap());
        assert!(other.complete("").is_empty());
    }
}
