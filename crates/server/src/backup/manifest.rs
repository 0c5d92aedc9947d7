//! A backup's list of contents: written last, whole, with its own digest at its end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use grapevine_model::MessageId;
use serde::{Deserialize, Serialize};

use super::vault::{Digest, Vault};
use crate::folder::{create_private, write_private};

const MANIFESTS: &str = "manifests";
const END: &str = ".json";

/// What a backup is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Whose.
    pub(crate) server: String,
    /// When, milliseconds since 1970: what it is called by.
    pub(crate) taken_ms: u64,
    /// The rows of each table, by its number.
    pub(crate) tables: BTreeMap<u8, Vec<Chunk>>,
    /// Which bodies there are, as rows: message id, length and digest.
    pub(crate) bodies: Vec<Chunk>,
    /// How many, and their octets, each counted once for each message.
    pub(crate) body_count: u64,
    /// As said.
    pub(crate) body_octets: u64,
    /// Bodies that were dropped while the backup was made.
    pub(crate) gone: Vec<MessageId>,
    /// Small files of the data folder.
    pub(crate) files: BTreeMap<String, Object>,
}

/// Rows that follow one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk {
    /// The first one's key.
    #[serde(with = "hexadecimal")]
    pub(crate) first: Vec<u8>,
    /// How many.
    pub(crate) rows: u64,
    /// Where.
    #[serde(flatten)]
    pub(crate) object: Object,
}

/// An object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// Its digest.
    #[serde(with = "digits")]
    pub(crate) digest: Digest,
    /// Its octets.
    pub(crate) len: u64,
}

impl Manifest {
    /// All objects that it names but the bodies.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        let chunks = self.tables.values().flatten().chain(&self.bodies);
        chunks.map(|chunk| &chunk.object).chain(self.files.values())
    }

    /// Writes it: the backup counts from here on.
    pub(crate) fn write(&self, vault: &Vault) -> io::Result<PathBuf> {
        let dir = vault.dir().join(MANIFESTS);
        create_private(&dir)?;
        let mut text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let digest = blake3::hash(&text).to_hex();
        text.push(b'\n');
        text.extend_from_slice(digest.as_bytes());
        text.push(b'\n');
        let path = self.path(vault);
        write_private(&path, &text)?;
        Ok(path)
    }

    /// Removes it: the backup does not count any more.
    pub(super) fn remove(&self, vault: &Vault) -> io::Result<()> {
        fs::remove_file(self.path(vault))
    }

    fn path(&self, vault: &Vault) -> PathBuf {
        let name = format!("{:016}{END}", self.taken_ms);
        vault.dir().join(MANIFESTS).join(name)
    }

    fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read(path)?;
        let bad = || {
            let why = format!("{} is not whole", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let body = text.strip_suffix(b"\n").ok_or_else(bad)?;
        let at = body
            .iter()
            .rposition(|octet| *octet == b'\n')
            .ok_or_else(bad)?;
        let (json, digest) = body.split_at(at);
        if digest.get(1..) != Some(blake3::hash(json).to_hex().as_bytes()) {
            return Err(bad());
        }
        serde_json::from_slice(json).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}", path.display()),
            )
        })
    }
}

/// All backups in a vault, the oldest first, and what is no whole one.
pub(crate) fn all(vault: &Vault) -> io::Result<(Vec<Manifest>, Vec<String>)> {
    let entries = match fs::read_dir(vault.dir().join(MANIFESTS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    let (mut whole, mut torn) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry?.path();
        // What a kill has left under another name was none yet.
        if !path.to_string_lossy().ends_with(END) {
            continue;
        }
        match Manifest::read(&path) {
            Ok(manifest) => whole.push(manifest),
            Err(error) => torn.push(error.to_string()),
        }
    }
    whole.sort_by_key(|manifest| manifest.taken_ms);
    Ok((whole, torn))
}

/// The one that was taken then, or the latest.
pub(crate) fn chosen(vault: &Vault, at: Option<u64>) -> io::Result<Manifest> {
    let (mut whole, torn) = all(vault)?;
    let found = match at {
        Some(at) => whole.into_iter().find(|manifest| manifest.taken_ms == at),
        None => whole.pop(),
    };
    found.ok_or_else(|| {
        let why = match torn.first() {
            Some(why) => format!("no whole backup is there: {why}"),
            None => "no whole backup is there; `grapevine backup list` shows which are".to_owned(),
        };
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}

mod digits {
    use serde::{Deserializer, Serializer, de::Error};

    use crate::backup::vault::{Digest, hex};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let bytes = super::hexadecimal::deserialize(from)?;
        Digest::try_from(bytes).map_err(|_| D::Error::custom("no digest"))
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .map_err(D::Error::custom)
    }
}
