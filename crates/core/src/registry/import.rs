//! Many entries of one registry in one request and one commit.
//!
//! An import only adds and sets: it never removes anything, and never replaces a password that
//! is there, so that doing it again changes nothing. What cannot be taken of an entry is left
//! out and said; the others go on.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    EntryKind, ErrorKind, Field, GroupList, ImportDone, ImportOutcome, ImportedEntry, Incarnation,
    MAX_IMPORTED_ENTRIES, MAX_IMPORTED_ITEMS, Member, Name, Refusal, RegistryName, SpaceId,
    Speaker,
};

use crate::codec::{self, Listed};
use crate::registry::change::{MAX_PLACES, MAX_REMARK_BYTES, site_changes};
use crate::registry::database::{element, list_field, single};
use crate::registry::directory::{Eval, Held, Memo};
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::push::Change;
use crate::replication::waiters::Then;
use crate::server::Server;

/// What an Argon2id hash begins with; nothing else is taken for a password.
const HASH_PREFIX: &str = "$argon2id$";
/// Longest hash taken, in octets: salt and hash of 64 octets each fit.
const MAX_HASH_BYTES: usize = 512;

/// What the entries before have claimed.
#[derive(Default)]
struct Claimed {
    entries: BTreeMap<String, (Incarnation, EntryKind)>,
    aliases: BTreeSet<String>,
}

/// What is to be done for one entry.
struct Prepared {
    done: ImportDone,
    changes: Vec<Change>,
    left_out: Vec<Refusal>,
}

impl Prepared {
    fn refused(refusal: Refusal) -> Self {
        Self {
            done: ImportDone::Refused,
            changes: Vec::new(),
            left_out: vec![refusal],
        }
    }
}

impl Server {
    /// Makes entries be there.
    pub(super) fn import(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        registry: &RegistryName,
        entries: &[ImportedEntry],
    ) -> Result<Outcome, Stop> {
        let items: usize = entries.iter().map(ImportedEntry::items).sum();
        if entries.len() > MAX_IMPORTED_ENTRIES || items > MAX_IMPORTED_ITEMS {
            let why = format!(
                "an import has at most {MAX_IMPORTED_ENTRIES} entries with {MAX_IMPORTED_ITEMS} items in their lists"
            );
            return Ok(Err(Refusal::new(ErrorKind::TooLarge, why)).into());
        }
        if registry.is_system() {
            let why =
                format!("{registry} is the system's own: use the registry and server commands");
            return Ok(Err(Refusal::not_allowed(why)).into());
        }
        if !self.is_registrar(memo, speaker, registry)? {
            let why = format!("only a registrar of {registry} may import into it");
            return Ok(Err(Refusal::not_allowed(why)).into());
        }
        let mut claimed = Claimed::default();
        let (mut changes, mut outcomes) = (Vec::new(), Vec::with_capacity(entries.len()));
        for entry in entries {
            let prepared = if entry.name.registry() == registry {
                self.prepare_import(memo, &mut claimed, entry)?
            } else {
                let why = format!("{} is not a name of {registry}", entry.name);
                Prepared::refused(Refusal::invalid(why))
            };
            changes.extend(prepared.changes);
            outcomes.push(ImportOutcome {
                done: prepared.done,
                left_out: prepared.left_out,
            });
        }
        let created = entries.iter().zip(&outcomes).filter(|(entry, outcome)| {
            outcome.done == ImportDone::Created && self.unbound_registrar(&entry.name)
        });
        let registrars: Vec<Name> = created.map(|(entry, _)| entry.name.clone()).collect();
        let space = SpaceId::Registry(registry.clone());
        let to = to.clone();
        let outcome = self.write_then(space, changes, move |stamp| {
            Then::Imported(to, stamp, outcomes)
        })?;
        for name in registrars {
            self.bind_registrar(&name)?;
        }
        Ok(outcome)
    }

    fn prepare_import(
        &mut self,
        memo: &Memo,
        claimed: &mut Claimed,
        entry: &ImportedEntry,
    ) -> Eval<Prepared> {
        let folded = entry.name.folded().to_owned();
        let present = self
            .entry(&entry.name)
            .map(|found| (found.incarnation, found.kind(), found.folded() == folded));
        let (incarnation, mut changes, mut done) = match (claimed.entries.get(&folded), present) {
            (Some((incarnation, kind)), _) if *kind == entry.kind => {
                (*incarnation, Vec::new(), ImportDone::Unchanged)
            }
            (None, Some((incarnation, kind, true))) if kind == entry.kind => {
                (incarnation, Vec::new(), ImportDone::Unchanged)
            }
            (Some(_), _) | (None, Some(_)) => {
                let why = format!("{} is there as something else, or as an alias", entry.name);
                return Ok(Prepared::refused(Refusal::conflict(why)));
            }
            (None, None) => {
                let free = self.name_is_free(&entry.name).and_then(|()| {
                    match claimed.aliases.contains(&folded) {
                        true => Err(Refusal::conflict(format!("{} is an alias", entry.name))),
                        false => Ok(()),
                    }
                });
                if let Err(refusal) = free {
                    return Ok(Prepared::refused(refusal));
                }
                let (incarnation, mut changes) = self.new_entry(&entry.name, entry.kind);
                if entry.kind == EntryKind::Individual {
                    let sites = match entry.sites.as_slice() {
                        [] => self.choose_sites(&entry.name),
                        sites => sites.to_vec(),
                    };
                    if let Some(unknown) = sites.iter().find(|s| !self.servers.contains_key(*s)) {
                        let refusal = Refusal::not_found(format!("{unknown}@gv"));
                        return Ok(Prepared::refused(refusal));
                    }
                    changes.extend(site_changes(incarnation, &sites));
                }
                claimed
                    .entries
                    .insert(folded.clone(), (incarnation, entry.kind));
                (incarnation, changes, ImportDone::Created)
            }
        };
        let mut left_out = Vec::new();
        let more = match entry.kind {
            EntryKind::Individual => {
                self.imported_individual(claimed, entry, incarnation, &mut left_out)
            }
            EntryKind::Group => {
                self.imported_lists(memo, claimed, entry, incarnation, &mut left_out)?
            }
        };
        let remark = entry.remark.as_ref().filter(|remark| {
            let fits = remark.len() <= MAX_REMARK_BYTES;
            if !fits {
                let why = format!(
                    "{}: a remark has at most {MAX_REMARK_BYTES} octets",
                    entry.name
                );
                left_out.push(Refusal::new(ErrorKind::TooLarge, why));
            }
            fits
        });
        let remark = remark.map(|remark| {
            Change::put(
                single(incarnation, Field::Remark),
                remark.as_bytes().to_vec(),
            )
        });
        let more = self.only_news(entry.name.registry(), more.into_iter().chain(remark));
        if done == ImportDone::Unchanged && !more.is_empty() {
            done = ImportDone::Changed;
        }
        changes.extend(more);
        Ok(Prepared {
            done,
            changes,
            left_out,
        })
    }

    /// What an individual is to have.
    fn imported_individual(
        &self,
        claimed: &mut Claimed,
        entry: &ImportedEntry,
        incarnation: Incarnation,
        left_out: &mut Vec<Refusal>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let database = self.database(entry.name.registry());
        let present = database.and_then(|db| db.entry(incarnation));
        if let Some(hash) = &entry.password {
            let key = single(incarnation, Field::Password);
            let there = present
                .as_ref()
                .is_some_and(|e| e.single(Field::Password).is_some());
            if !hash.0.starts_with(HASH_PREFIX) || hash.0.len() > MAX_HASH_BYTES {
                let why = format!("{}: the password is no Argon2id hash", entry.name);
                left_out.push(Refusal::invalid(why));
            } else if !there {
                changes.push(Change::put(key, hash.0.as_bytes().to_vec()));
            }
        }
        if entry.forward.len() > MAX_PLACES {
            let why = format!("{}: at most {MAX_PLACES} forwarding addresses", entry.name);
            left_out.push(Refusal::new(ErrorKind::TooLarge, why));
        } else {
            changes.extend(entry.forward.iter().map(|name| {
                Change::put(
                    element(incarnation, Field::Forward, name.key()),
                    name.to_string().into_bytes(),
                )
            }));
        }
        let mut have: BTreeSet<String> = present
            .iter()
            .flat_map(|e| e.aliases())
            .map(|alias| alias.folded().to_owned())
            .collect();
        for alias in &entry.aliases {
            let folded = alias.folded();
            if have.contains(folded) {
                continue;
            }
            let taken = claimed.entries.contains_key(folded) || claimed.aliases.contains(folded);
            let refusal = if alias.registry() != entry.name.registry() {
                Err(Refusal::invalid(format!(
                    "{alias}: an alias is a name of the same registry"
                )))
            } else if have.len() >= MAX_PLACES {
                Err(Refusal::new(
                    ErrorKind::TooLarge,
                    format!("{}: at most {MAX_PLACES} aliases", entry.name),
                ))
            } else if taken {
                Err(Refusal::conflict(format!("{alias} exists already")))
            } else {
                self.name_is_free(alias)
            };
            match refusal {
                Err(refusal) => left_out.push(refusal),
                Ok(()) => {
                    have.insert(folded.to_owned());
                    claimed.aliases.insert(folded.to_owned());
                    changes.extend(self.take_over_name(alias));
                    changes.push(Change::put(
                        element(incarnation, Field::Alias, folded),
                        alias.simple().as_bytes().to_vec(),
                    ));
                }
            }
        }
        changes
    }

    /// What a group's lists are to have.
    fn imported_lists(
        &self,
        memo: &Memo,
        claimed: &Claimed,
        entry: &ImportedEntry,
        incarnation: Incarnation,
        left_out: &mut Vec<Refusal>,
    ) -> Eval<Vec<Change>> {
        let lists = [
            (GroupList::Members, &entry.members),
            (GroupList::Owners, &entry.owners),
            (GroupList::Friends, &entry.friends),
        ];
        let mut changes = Vec::with_capacity(entry.items());
        for (list, members) in lists {
            for member in members {
                let listed = self.listed_after(memo, claimed, entry, member)?;
                let known = match member {
                    Member::Name(name) => {
                        listed.incarnation.is_some() || self.held(name.registry()) == Held::Unknown
                    }
                    Member::Anyone | Member::AnyoneIn(_) => true,
                };
                if !known {
                    left_out.push(Refusal::not_found(member));
                    continue;
                }
                changes.push(Change::put(
                    element(incarnation, list_field(list), member.key()),
                    codec::encode(&listed),
                ));
            }
        }
        Ok(changes)
    }

    /// What a member means, once the entries before it are there.
    fn listed_after(
        &self,
        memo: &Memo,
        claimed: &Claimed,
        entry: &ImportedEntry,
        member: &Member,
    ) -> Eval<Listed> {
        if let Member::Name(name) = member
            && name.registry() == entry.name.registry()
            && let Some((incarnation, kind)) = claimed.entries.get(name.folded())
        {
            return Ok(Listed {
                spelling: member.to_string(),
                incarnation: Some(*incarnation),
                group: *kind == EntryKind::Group,
            });
        }
        self.listed(memo, member)
    }

    /// The changes that make a difference.
    fn only_news(
        &self,
        registry: &RegistryName,
        changes: impl Iterator<Item = Change>,
    ) -> Vec<Change> {
        let database = self.database(registry);
        let same = |change: &Change| {
            let cell = database.and_then(|db| db.cell(&change.key));
            cell.is_some_and(|cell| cell.value == change.value)
        };
        changes.filter(|change| !same(change)).collect()
    }
}
