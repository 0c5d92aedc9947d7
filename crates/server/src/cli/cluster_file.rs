//! `cluster.json`: what `grapevine up` writes and every other command can read.
//!
//! Written whole, then renamed, so a reader never sees half of one. Keys may be
//! added to it, never changed (interface.md). It holds no secret: passwords stand
//! in files of their own, named here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use grapevine_model::{Door, Name, ServerName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Its name in the folder of `grapevine up`.
pub(crate) const CLUSTER_FILE: &str = "cluster.json";
/// The folder of `grapevine up` where none is given.
pub(crate) const DEFAULT_FOLDER: &str = "grapevine-data";
/// Largest file that is read: a thousand servers fit many times over.
const MAX_CLUSTER_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterFile {
    /// The servers on this machine.
    pub(crate) servers: Vec<ClusterServer>,
    /// The individuals that `up` created.
    pub(crate) individuals: Vec<ClusterIndividual>,
    /// The certificate authority of the front doors (PEM).
    pub(crate) ca: PathBuf,
}

/// A server of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterServer {
    /// Its name.
    pub(crate) name: ServerName,
    /// Its process.
    pub(crate) pid: u32,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Its public key (SubjectPublicKeyInfo, DER), in hexadecimal: what the rpc door must prove.
    #[serde(serialize_with = "as_hex", deserialize_with = "from_hex")]
    pub(crate) public_key: Vec<u8>,
    /// Its next key, while it has one, and the one that it used before.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "all_as_hex",
        deserialize_with = "all_from_hex"
    )]
    pub(crate) more_keys: Vec<Vec<u8>>,
    /// Where it listens, `host:port`.
    #[serde(deserialize_with = "known_doors")]
    pub(crate) doors: BTreeMap<Door, String>,
}

/// An individual of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterIndividual {
    /// Its name.
    pub(crate) name: Name,
    /// Where its password stands.
    pub(crate) password_file: PathBuf,
    /// Whether it administers its registry.
    #[serde(default)]
    pub(crate) registrar: bool,
}

impl ClusterFile {
    /// Reads the file; relative paths in it are left as they stand.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.len() > MAX_CLUSTER_FILE_BYTES {
            return Err(io::Error::other("too large for a cluster.json"));
        }
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
    }

    /// Writes the file beside itself, syncs it and renames it into place.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("json.new");
        let mut file = fs::File::create(&beside)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(io::Error::other)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

fn as_hex<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
}

fn all_as_hex<S: Serializer>(keys: &[Vec<u8>], into: S) -> Result<S::Ok, S::Error> {
    into.collect_seq(keys.iter().map(|key| data_encoding::HEXLOWER.encode(key)))
}

fn all_from_hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let keys = texts.iter().map(|text| {
        HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)
    });
    keys.collect()
}

impl ClusterServer {
    /// All keys that it may prove, the one in use first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        std::iter::once(&self.public_key).chain(&self.more_keys)
    }
}

fn from_hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(serde::de::Error::custom)
}

/// Doors of a later release are passed over, so that a file of theirs can be read.
fn known_doors<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Door, String>, D::Error> {
    let all = BTreeMap::<String, String>::deserialize(from)?;
    Ok(all
        .into_iter()
        .filter_map(|(name, at)| Some((Door::from_name(&name)?, at)))
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cluster_file_reads_back_and_tolerates_doors_of_a_later_release() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CLUSTER_FILE);
        let file = ClusterFile {
            servers: vec![ClusterServer {
                name: "s1".parse().unwrap(),
                pid: 4711,
                data: "D/s1".into(),
                config: "D/s1/grapevine.toml".into(),
                public_key: vec![0x30, 0x2a, 0xff],
                more_keys: vec![vec![0x30]],
                doors: [(Door::Rpc, "127.0.0.1:7101".to_owned())].into(),
            }],
            individuals: vec![ClusterIndividual {
                name: "registrar@pa.example".parse().unwrap(),
                password_file: "D/passwords/registrar".into(),
                registrar: true,
            }],
            ca: "D/ca.pem".into(),
        };
        file.write(&path).unwrap();
        assert_eq!(ClusterFile::read(&path).unwrap(), file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"public_key\": \"302aff\""), "{text}");
        let later = text.replace("\"rpc\":", "\"jmap\": \"127.0.0.1:1\", \"rpc\":");
        fs::write(&path, later).unwrap();
        assert_eq!(ClusterFile::read(&path).unwrap(), file);
    }
}
