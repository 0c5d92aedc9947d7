//! A server brought back from a backup, into an empty folder.
//!
//! The file that makes the folder a server's comes last, so that an interrupted restore is no server, and is begun anew. Its marker
//! is that of no file: at its first start the server takes a new origin before its first word to anybody.

use std::fs;
use std::io;
use std::path::Path;

use grapevine_model::MessageId;
use grapevine_store::{Durability, KeptBody, Op, Options, Store, Table};

use super::manifest::Manifest;
use super::rows;
use super::vault::Vault;
use crate::cli::progress::Progress;
use crate::folder::{DataFolder, create_private, write_private};
use crate::out::Failure;

/// What a folder has while it is being filled.
const UNFINISHED: &str = "restore.unfinished";
const SERVER_FILE: &str = "server.json";
const MARKER_FILE: &str = "this-disk.json";
/// The marker of a file that is not this one.
const ANOTHER_DISK: &[u8] = b"{\"inode\":0,\"born_ns\":0}";
/// Rows and octets in one commit.
const ROWS_A_COMMIT: usize = 5_000;
const OCTETS_A_COMMIT: u64 = 8 * 1024 * 1024;

/// Restores it.
pub(crate) fn restore(vault: &Vault, manifest: &Manifest, dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format_args!("{}: {error}", dir.display()));
    create_private(dir).map_err(failed)?;
    let unfinished = dir.join(UNFINISHED);
    if unfinished.exists() {
        match fs::remove_dir_all(dir.join("store")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    } else if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Failure::usage(format_args!(
            "{} is not empty: a server is restored into an empty folder",
            dir.display()
        )));
    }
    write_private(&unfinished, b"").map_err(failed)?;
    let folder = DataFolder::at(dir);
    let store = Store::open(folder.store(), &Options::default()).map_err(Failure::new)?;
    fill(vault, manifest, &store)?;
    store.close();
    write_private(&dir.join(MARKER_FILE), ANOTHER_DISK).map_err(failed)?;
    let last = |name: &&String| *name == SERVER_FILE;
    let names = manifest.files.keys().filter(|name| !last(name));
    for name in names.chain(manifest.files.keys().filter(last)) {
        let Some(object) = manifest.files.get(name) else {
            continue;
        };
        // Nothing but a name: a backup may be somebody else's work.
        if name.contains('/') || name.starts_with('.') {
            return Err(Failure::new(format_args!(
                "{name:?} is no file of a server"
            )));
        }
        let bytes = vault.get(&object.digest).map_err(Failure::new)?;
        write_private(&dir.join(name), &bytes).map_err(failed)?;
    }
    fs::remove_file(&unfinished).map_err(failed)
}

fn fill(vault: &Vault, manifest: &Manifest, store: &Store) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut batch = Batch::new(store);
    let mut rows_done = 0_u64;
    for (number, chunks) in &manifest.tables {
        let Some(table) = Table::ALL.into_iter().find(|table| *table as u8 == *number) else {
            return Err(Failure::new(
                "the backup is of a newer release: restore it with that",
            ));
        };
        for chunk in chunks {
            let bytes = vault.get(&chunk.object.digest).map_err(Failure::new)?;
            for (key, value) in rows::read(&bytes).map_err(Failure::new)? {
                let len = (key.len() + value.len()) as u64;
                batch.add(Op::Put { table, key, value }, len)?;
                rows_done += 1;
            }
            progress.show(|| format!("{rows_done} rows"));
        }
    }
    let mut bodies_done = 0_u64;
    for chunk in &manifest.bodies {
        let bytes = vault.get(&chunk.object.digest).map_err(Failure::new)?;
        for body in bodies(&bytes).map_err(Failure::new)? {
            let mut stage = store.stage();
            let mut file = fs::File::open(vault.path(&body.digest)).map_err(Failure::new)?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = io::Read::read(&mut file, &mut buffer).map_err(Failure::new)?;
                let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
                    break;
                };
                stage.write(piece).map_err(Failure::new)?;
            }
            let staged = stage.finish().map_err(Failure::new)?;
            if staged.digest != body.digest {
                return Err(Failure::new(format_args!(
                    "the body of {} is damaged in the backup; `grapevine backup verify` says what else is",
                    body.message
                )));
            }
            let op = Op::AdoptBody {
                staged: staged.token,
                message: body.message,
            };
            batch.add(op, body.len_bytes)?;
            bodies_done += 1;
            progress.show(|| format!("{bodies_done} of {} messages", manifest.body_count));
        }
    }
    batch.commit(Durability::Synced)?;
    progress.clear();
    Ok(())
}

struct Batch<'a> {
    store: &'a Store,
    ops: Vec<Op>,
    octets: u64,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            store,
            ops: Vec::new(),
            octets: 0,
        }
    }

    fn add(&mut self, op: Op, octets: u64) -> Result<(), Failure> {
        self.ops.push(op);
        self.octets += octets;
        if self.ops.len() >= ROWS_A_COMMIT || self.octets >= OCTETS_A_COMMIT {
            self.commit(Durability::Synced)?;
        }
        Ok(())
    }

    fn commit(&mut self, durability: Durability) -> Result<(), Failure> {
        self.octets = 0;
        let ops = std::mem::take(&mut self.ops);
        self.store
            .commit_and_wait(ops, durability)
            .map_err(Failure::new)
    }
}

/// The bodies that a piece of the list names.
pub(super) fn bodies(bytes: &[u8]) -> io::Result<impl Iterator<Item = KeptBody>> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a backup's list of bodies can't be read",
        )
    };
    let rows = rows::read(bytes)?.into_iter().map(|(key, value)| {
        let (len, digest) = value.split_first_chunk::<8>()?;
        Some(KeptBody {
            message: MessageId::from_bytes(key.try_into().ok()?),
            len_bytes: u64::from_be_bytes(*len),
            digest: digest.try_into().ok()?,
        })
    });
    let all: Option<Vec<KeptBody>> = rows.collect();
    Ok(all.ok_or_else(bad)?.into_iter())
}
