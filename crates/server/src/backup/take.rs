//! Making a backup: all rows of one moment, the bodies that are not there yet, the folder's small files, the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::manifest::{self, Chunk, Manifest, Object};
use super::rows::Piece;
use super::source::{Page, Source};
use super::vault::Vault;
use crate::cli::progress::Progress;
use crate::clock::wall_ms;
use crate::folder::{CONFIG_FILE, DataFolder};
use crate::out::Failure;

/// What of a data folder is not in its store. A new life of the disk marks itself anew.
const FILES: [&str; 9] = [
    "server.json",
    "server.key",
    "server.crt",
    "server.next.key",
    "front.pem",
    "front.key",
    "ca.pem",
    "ca.key",
    CONFIG_FILE,
];

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Objects that were not there.
    pub(crate) objects: u64,
    /// Their octets.
    pub(crate) octets: u64,
}

impl Written {
    fn count(&mut self, len: u64) {
        self.objects += 1;
        self.octets += len;
    }
}

/// Makes one.
pub(crate) async fn take(folder: &DataFolder, to: &Path) -> Result<(Manifest, Written), Failure> {
    let server = folder.record().map_err(Failure::new)?.name.to_string();
    let failed = |error: io::Error| Failure::new(format_args!("{}: {error}", to.display()));
    let mut vault = Vault::create(to).map_err(failed)?;
    vault.tidy().map_err(failed)?;
    let (before, _torn) = manifest::all(&vault).map_err(failed)?;
    if let Some(other) = before.iter().find(|manifest| manifest.server != server) {
        return Err(Failure::usage(format_args!(
            "{} has backups of {}; each server has a folder of its own",
            to.display(),
            other.server
        )));
    }
    let latest = before.last().map_or(0, |manifest| manifest.taken_ms);
    vault.trust(
        before
            .iter()
            .flat_map(Manifest::objects)
            .map(|object| object.digest),
    );
    trust_bodies(&mut vault, before.last()).map_err(failed)?;
    let mut source = Source::of(folder).await?;
    let (mut progress, mut written) = (Progress::new(), Written::default());
    let mut made = Manifest {
        server,
        taken_ms: wall_ms().max(latest + 1),
        tables: BTreeMap::new(),
        bodies: Vec::new(),
        body_count: 0,
        body_octets: 0,
        gone: Vec::new(),
        files: BTreeMap::new(),
    };
    // The files first: a key that is used by now is on record already.
    for name in FILES {
        match fs::read(folder.path().join(name)) {
            Ok(bytes) => {
                let object = put(&mut vault, &bytes, &mut written).map_err(failed)?;
                made.files.insert(name.to_owned(), object);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(format_args!("{name}: {error}"))),
        }
    }
    let mut reading = source.read().await?;
    let mut piece = Piece::default();
    let mut of: Option<u8> = None;
    let mut bodies = Vec::new();
    let mut rows_seen = 0_u64;
    while let Some(page) = reading.next().await? {
        match page {
            Page::Rows(table, rows) => {
                if of != Some(table) {
                    end(&mut vault, &mut made, (of, &mut piece), &mut written).map_err(failed)?;
                    of = Some(table);
                }
                rows_seen += rows.len() as u64;
                for (key, value) in rows {
                    if piece.take(&key, &value) {
                        end(&mut vault, &mut made, (of, &mut piece), &mut written)
                            .map_err(failed)?;
                    }
                }
                progress.show(|| format!("{rows_seen} rows"));
            }
            Page::Bodies(page) => bodies.extend(page),
        }
    }
    end(&mut vault, &mut made, (of, &mut piece), &mut written).map_err(failed)?;
    let all = bodies.len();
    let mut looked = BTreeSet::new();
    for (at, body) in bodies.iter().enumerate() {
        let is_there = !looked.insert(body.digest) || vault.has(&body.digest);
        if !is_there {
            if source.body(body, &mut vault).await?.is_none() {
                looked.remove(&body.digest);
                made.gone.push(body.message);
                continue;
            }
            written.count(body.len_bytes);
        }
        made.body_count += 1;
        made.body_octets += body.len_bytes;
        let mut value = body.len_bytes.to_be_bytes().to_vec();
        value.extend_from_slice(&body.digest);
        if piece.take(&body.message.to_bytes(), &value) {
            end(&mut vault, &mut made, (None, &mut piece), &mut written).map_err(failed)?;
        }
        progress.show(|| format!("{} of {all} messages", at + 1));
    }
    end(&mut vault, &mut made, (None, &mut piece), &mut written).map_err(failed)?;
    progress.clear();
    vault.sync().map_err(failed)?;
    made.write(&vault).map_err(failed)?;
    Ok((made, written))
}

/// Bodies of the last backup are durable, too.
fn trust_bodies(vault: &mut Vault, last: Option<&Manifest>) -> io::Result<()> {
    let Some(last) = last else { return Ok(()) };
    for chunk in &last.bodies {
        let Ok(bytes) = vault.get(&chunk.object.digest) else {
            // What is damaged is written anew, and its bodies looked at.
            continue;
        };
        let digests: Vec<_> = super::whole::bodies(&bytes)?
            .map(|body| body.digest)
            .collect();
        vault.trust(digests);
    }
    Ok(())
}

fn put(vault: &mut Vault, bytes: &[u8], written: &mut Written) -> io::Result<Object> {
    let (digest, is_new) = vault.put(bytes)?;
    let len = bytes.len() as u64;
    if is_new {
        written.count(len);
    }
    Ok(Object { digest, len })
}

/// Ends a piece: of a table, or of the list of bodies.
fn end(
    vault: &mut Vault,
    made: &mut Manifest,
    (of, piece): (Option<u8>, &mut Piece),
    written: &mut Written,
) -> io::Result<()> {
    let piece = std::mem::take(piece);
    if piece.rows == 0 {
        return Ok(());
    }
    let chunk = Chunk {
        object: put(vault, &piece.bytes, written)?,
        first: piece.first,
        rows: piece.rows,
    };
    match of {
        Some(table) => made.tables.entry(table).or_default().push(chunk),
        None => made.bodies.push(chunk),
    }
    Ok(())
}
