//! The servers remembered from before, so that any one of them suffices next time.
//!
//! One small file (`servers.json`) holds the Grapevines that this person uses, with
//! each one's servers, addresses and keys. A damaged or missing file is an empty
//! one: it is a convenience, and what it held is found again. It holds no secret;
//! but it says whom to trust, so only its owner may write it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use grapevine_model::ServerName;
use serde::{Deserialize, Serialize};

use crate::trust::ServerKey;

/// Grapevines that are remembered: the one used longest ago is forgotten for a new one.
const MAX_GRAPEVINES: usize = 32;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Only the owner writes it.
const FILE_MODE: u32 = 0o600;

/// A server as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownServer {
    /// Its name.
    pub name: ServerName,
    /// Its public key.
    pub key: ServerKey,
    /// Other keys that are its own: the next one, and those before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_keys: Vec<ServerKey>,
    /// Its door for GrapevineUser, `host:port`.
    pub address: String,
    /// Other addresses at which this key was met: a name in place of a number, a forwarded port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_at: Vec<String>,
    /// How long an answer took when last measured, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

/// One Grapevine's servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownGrapevine {
    /// All of them.
    pub servers: Vec<KnownServer>,
}

impl KnownServer {
    /// All keys that it may prove.
    pub fn keys(&self) -> impl Iterator<Item = &ServerKey> {
        std::iter::once(&self.key).chain(&self.more_keys)
    }
}

impl KnownGrapevine {
    fn shares_a_key_with(&self, other: &Self) -> bool {
        let theirs = || other.servers.iter().flat_map(KnownServer::keys);
        let mut ours = self.servers.iter().flat_map(KnownServer::keys);
        ours.any(|mine| theirs().any(|key| key == mine))
    }

    /// Whether one of its servers is at this address.
    pub fn has_address(&self, address: &str) -> bool {
        self.servers.iter().any(|server| {
            server.address == address || server.also_at.iter().any(|other| other == address)
        })
    }
}

/// The whole file: the Grapevine used last stands first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// In order of their last use.
    #[serde(default)]
    pub grapevines: Vec<KnownGrapevine>,
}

impl Remembered {
    /// Reads the file; what can't be read counts as empty.
    pub fn read(path: &Path) -> Self {
        let fits = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MAX_FILE_BYTES);
        fits.then(|| fs::read(path).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The one with a server at this address.
    pub fn at_address(&self, address: &str) -> Option<&KnownGrapevine> {
        self.grapevines
            .iter()
            .find(|grapevine| grapevine.has_address(address))
    }

    /// The one used last.
    pub fn latest(&self) -> Option<&KnownGrapevine> {
        self.grapevines.first()
    }

    /// Puts a Grapevine first, in the place of what was known of it. Another one at the same
    /// addresses is gone: addresses lead to one Grapevine.
    pub fn remember(&mut self, grapevine: KnownGrapevine) {
        self.grapevines.retain(|known| {
            !known.shares_a_key_with(&grapevine)
                && !grapevine
                    .servers
                    .iter()
                    .any(|server| known.has_address(&server.address))
        });
        self.grapevines.insert(0, grapevine);
        self.grapevines.truncate(MAX_GRAPEVINES);
    }

    /// Writes the file beside itself and renames it into place.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_private(
            path,
            &serde_json::to_vec_pretty(self).map_err(io::Error::other)?,
        )
    }
}

/// Writes a file that only its owner may read or write, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Two commands at once each write a file of their own; the last rename counts.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Already failing: what is left behind harms nobody.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grapevine(servers: &[(&str, u8, &str)]) -> KnownGrapevine {
        KnownGrapevine {
            servers: servers
                .iter()
                .map(|(name, key, address)| KnownServer {
                    name: name.parse().unwrap(),
                    key: ServerKey::new(vec![*key]),
                    more_keys: Vec::new(),
                    address: (*address).to_owned(),
                    also_at: Vec::new(),
                    latency_us: None,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_remembered_reads_back_and_the_latest_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/servers.json");
        let mut remembered = Remembered::default();
        remembered.remember(grapevine(&[("s1", 1, "a:1"), ("s2", 2, "b:1")]));
        remembered.remember(grapevine(&[("s1", 7, "c:1")]));
        remembered.write(&path).unwrap();
        let read = Remembered::read(&path);
        assert_eq!(read, remembered);
        assert!(read.latest().unwrap().has_address("c:1"));
        assert_eq!(read.at_address("b:1").unwrap().servers.len(), 2);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_grapevine_takes_its_own_place_and_addresses_lead_to_one() {
        let mut remembered = Remembered::default();
        remembered.remember(grapevine(&[("s1", 1, "a:1"), ("s2", 2, "b:1")]));
        remembered.remember(grapevine(&[("s2", 2, "b:2"), ("s3", 3, "d:1")]));
        assert_eq!(remembered.grapevines.len(), 1);
        remembered.remember(grapevine(&[("s1", 9, "d:1")]));
        assert_eq!(remembered.grapevines.len(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.json");
        assert_eq!(Remembered::read(&path), Remembered::default());
        fs::write(&path, b"\0garbage").unwrap();
        assert_eq!(Remembered::read(&path), Remembered::default());
    }
}
