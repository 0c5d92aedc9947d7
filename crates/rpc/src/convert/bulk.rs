//! Many entries in one request, and what became of each.

use grapevine_model::{EntryKind, ImportDone, ImportOutcome, Imported, ImportedEntry, Secret};

use super::{Wire, all, all_parsed, enumerated, name, need, texts};
use crate::v1;
use crate::wire::WireError;

impl From<&ImportedEntry> for v1::ImportedEntry {
    fn from(entry: &ImportedEntry) -> Self {
        Self {
            name: entry.name.to_string(),
            kind: match entry.kind {
                EntryKind::Individual => v1::EntryKind::Individual.into(),
                EntryKind::Group => v1::EntryKind::Group.into(),
            },
            password: entry.password.as_ref().map(|secret| secret.0.clone()),
            remark: entry.remark.clone(),
            sites: texts(&entry.sites),
            forward: texts(&entry.forward),
            aliases: texts(&entry.aliases),
            members: texts(&entry.members),
            owners: texts(&entry.owners),
            friends: texts(&entry.friends),
        }
    }
}

impl TryFrom<v1::ImportedEntry> for ImportedEntry {
    type Error = WireError;

    fn try_from(entry: v1::ImportedEntry) -> Wire<Self> {
        Ok(Self {
            name: name(&entry.name)?,
            kind: match enumerated(entry.kind, "kind of entry")? {
                v1::EntryKind::Unspecified => {
                    return Err(WireError::invalid("an entry without a kind"));
                }
                v1::EntryKind::Individual => EntryKind::Individual,
                v1::EntryKind::Group => EntryKind::Group,
            },
            password: entry.password.map(Secret),
            remark: entry.remark,
            sites: all_parsed(&entry.sites)?,
            forward: all_parsed(&entry.forward)?,
            aliases: all_parsed(&entry.aliases)?,
            members: all_parsed(&entry.members)?,
            owners: all_parsed(&entry.owners)?,
            friends: all_parsed(&entry.friends)?,
        })
    }
}

impl From<&Imported> for v1::Imported {
    fn from(imported: &Imported) -> Self {
        let outcome = |outcome: &ImportOutcome| v1::ImportOutcome {
            done: match outcome.done {
                ImportDone::Created => v1::ImportDone::Created.into(),
                ImportDone::Changed => v1::ImportDone::Changed.into(),
                ImportDone::Unchanged => v1::ImportDone::Unchanged.into(),
                ImportDone::Refused => v1::ImportDone::Refused.into(),
            },
            left_out: outcome.left_out.iter().map(Into::into).collect(),
        };
        Self {
            written: Some((&imported.written).into()),
            outcomes: imported.outcomes.iter().map(outcome).collect(),
        }
    }
}

impl TryFrom<v1::ImportOutcome> for ImportOutcome {
    type Error = WireError;

    fn try_from(outcome: v1::ImportOutcome) -> Wire<Self> {
        Ok(Self {
            done: match enumerated(outcome.done, "outcome of an import")? {
                v1::ImportDone::Unspecified => {
                    return Err(WireError::invalid("an entry of an import without outcome"));
                }
                v1::ImportDone::Created => ImportDone::Created,
                v1::ImportDone::Changed => ImportDone::Changed,
                v1::ImportDone::Unchanged => ImportDone::Unchanged,
                v1::ImportDone::Refused => ImportDone::Refused,
            },
            left_out: outcome.left_out.into_iter().map(Into::into).collect(),
        })
    }
}

impl TryFrom<v1::Imported> for Imported {
    type Error = WireError;

    fn try_from(imported: v1::Imported) -> Wire<Self> {
        Ok(Self {
            written: need(imported.written, "a write")?.try_into()?,
            outcomes: all(imported.outcomes)?,
        })
    }
}
