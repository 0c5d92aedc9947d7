//! Whether a backup is as it was written: each object read, and its digest taken.

use std::collections::BTreeSet;
use std::io;

use super::manifest::Manifest;
use super::vault::Vault;
use super::whole::bodies;
use crate::cli::progress::Progress;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Objects that are as they were written.
    pub(crate) whole: u64,
    /// Their octets.
    pub(crate) octets: u64,
    /// What is not, and why.
    pub(crate) damaged: Vec<String>,
}

/// Reads all of a backup.
pub(crate) fn verify(vault: &Vault, manifest: &Manifest) -> Found {
    let (mut found, mut progress) = (Found::default(), Progress::new());
    let mut seen = BTreeSet::new();
    let mut look = |digest, len, found: &mut Found| {
        if !seen.insert(digest) {
            return;
        }
        match vault.check(&digest) {
            Ok(there) if there == len => {
                found.whole += 1;
                found.octets += len;
            }
            Ok(there) => found
                .damaged
                .push(format!("{there} octets instead of {len}")),
            Err(error) => found.damaged.push(error.to_string()),
        }
        let whole = found.whole;
        progress.show(|| format!("{whole} objects are whole"));
    };
    for object in manifest.objects() {
        look(object.digest, object.len, &mut found);
    }
    for chunk in &manifest.bodies {
        let listed: io::Result<Vec<_>> = vault
            .get(&chunk.object.digest)
            .and_then(|bytes| Ok(bodies(&bytes)?.collect()));
        // A list that can't be read was counted above.
        for body in listed.unwrap_or_default() {
            look(body.digest, body.len_bytes, &mut found);
        }
    }
    progress.clear();
    found
}
