//! The doctor's walk: reads every table and every body, and says what is damaged. Changes nothing.

use std::fmt;
use std::io;

use crate::committer::Inner;
use crate::contract::MessageId;
use crate::engine::Part;
use crate::index::{BodyFile, BodyRow, Place};
use crate::recovery::is_owned;
use crate::store::{Body, open_body};

/// Rows read at a time. Small bodies are up to 64 KiB each, so this is 4 MiB at most.
const PAGE: usize = 64;
/// A folder can be damaged in very many places; the first ones tell what to do.
const DAMAGES_MAX: usize = 10_000;

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A part of the tables can't be read.
    Tables {
        /// What and why.
        what: String,
    },
    /// A body is missing or not what was stored.
    Body {
        /// Its message.
        message: MessageId,
        /// Why.
        what: String,
    },
    /// A body that belongs to no message: lost space, not lost mail.
    Unowned {
        /// Its name below `bodies/`, or the message id it is stored under.
        name: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables { what } => f.write_str(what),
            Self::Body { message, what } => write!(f, "body of {message}: {what}"),
            Self::Unowned { name } => write!(f, "{name} belongs to no message"),
        }
    }
}

pub(crate) fn verify(inner: &Inner) -> Vec<Damage> {
    let mut damages = Vec::new();
    for part in Part::all() {
        walk(
            inner,
            part,
            &mut damages,
            |key, value, damages| match part {
                Part::Bodies => check_body(inner, key, value, damages),
                Part::Inline => check_inline(inner, key, damages),
                Part::House | Part::Trash | Part::ArchiveRubbish | Part::Table(_) => {}
            },
        );
    }
    if let Err(error) = check_files(inner, &mut damages) {
        damages.push(Damage::Tables {
            what: format!("the folder of bodies: {error}"),
        });
    }
    damages
}

fn walk(
    inner: &Inner,
    part: Part,
    damages: &mut Vec<Damage>,
    mut check: impl FnMut(&[u8], &[u8], &mut Vec<Damage>),
) {
    let mut from = Vec::new();
    while damages.len() < DAMAGES_MAX {
        let page = match inner.engine.scan(part, &from, None, PAGE) {
            Ok(page) => page,
            Err(damaged) => {
                damages.push(Damage::Tables { what: damaged.0 });
                return;
            }
        };
        let Some((last, _)) = page.last() else { return };
        from = last.clone();
        from.push(0);
        for (key, value) in &page {
            check(key, value, damages);
        }
    }
}

fn check_body(inner: &Inner, key: &[u8], row: &[u8], damages: &mut Vec<Damage>) {
    let Ok(id) = <[u8; 16]>::try_from(key) else {
        damages.push(Damage::Tables {
            what: "the index of bodies has a key that is no message id".to_owned(),
        });
        return;
    };
    let message = MessageId::from_bytes(id);
    let archived = BodyRow::decode(message, row).is_ok_and(|row| row.place == Place::Archived);
    if archived {
        // Whoever reads it checks it; the doctor looks at this disk.
        return;
    }
    let read = open_body(inner, message)
        .map_err(|damaged| damaged.0)
        .and_then(|body| match body {
            // Dropped since the row was read.
            None | Some(Body::Archived(_)) => Ok(()),
            Some(Body::Here(mut body)) => io::copy(&mut body, &mut io::sink())
                .map(drop)
                .map_err(|error| error.to_string()),
        });
    let row_is_bad = BodyRow::decode(message, row).err().map(|damaged| damaged.0);
    if let Some(what) = read.err().or(row_is_bad) {
        damages.push(Damage::Body { message, what });
    }
}

fn check_inline(inner: &Inner, key: &[u8], damages: &mut Vec<Damage>) {
    let owned = <[u8; 16]>::try_from(key).is_ok_and(|id| {
        let row = inner.engine.get(Part::Bodies, &id).ok().flatten();
        let row = row.and_then(|row| BodyRow::decode(MessageId::from_bytes(id), &row).ok());
        row.is_some_and(|row| row.place == Place::Inline)
    });
    // Dropped since the page was read?
    let still_there = || matches!(inner.engine.get(Part::Inline, key), Ok(Some(_)));
    if !owned && still_there() {
        let name = key.iter().map(|byte| format!("{byte:02x}")).collect();
        damages.push(Damage::Unowned { name });
    }
}

fn check_files(inner: &Inner, damages: &mut Vec<Damage>) -> io::Result<()> {
    for shelf in std::fs::read_dir(inner.folder.bodies())? {
        let shelf = shelf?;
        for entry in std::fs::read_dir(shelf.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let owned = BodyFile::parse(&name).is_some_and(|file| {
                is_owned(&inner.engine, &file).unwrap_or(true) || in_flight(inner, &file)
            });
            if !owned && entry.path().exists() {
                damages.push(Damage::Unowned {
                    name: format!("{}/{name}", shelf.file_name().to_string_lossy()),
                });
            }
        }
    }
    Ok(())
}

/// Whether a commit is about to own this file, or has dropped it and not removed it yet.
fn in_flight(inner: &Inner, file: &BodyFile) -> bool {
    let in_trash = inner.engine.get(Part::Trash, file.name().as_bytes());
    matches!(in_trash, Ok(Some(_))) || crate::recovery::has_intent(&inner.folder, file)
}
