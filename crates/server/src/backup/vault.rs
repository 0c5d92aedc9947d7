//! The folder of a backup: objects by their digests, for its owner's eyes only.
//!
//! Writing is cheap and not durable at once: `sync` makes all of it durable, before the manifest that names it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::folder::{create_private, write_private};

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_LINE: &str = "grapevine-backup 1\n";
const LOCK_FILE: &str = "LOCK";
const OBJECTS: &str = "objects";
/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What an object is known by.
pub(crate) type Digest = [u8; 32];

/// The folder.
#[derive(Debug)]
pub(crate) struct Vault {
    dir: PathBuf,
    /// Objects that a whole backup names: they were durable before it was.
    known: HashSet<Digest>,
    _lock: Option<File>,
}

/// An object that is being written: its digest is known at its end.
pub(crate) struct Draft {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    len: u64,
}

impl Vault {
    /// Opens one that is there, for reading.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        check_format(dir)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            known: HashSet::new(),
            _lock: None,
        })
    }

    /// Opens one for writing, made if the folder is empty or not there. One process at a time.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        create_private(dir)?;
        if !dir.join(FORMAT_FILE).exists() {
            if fs::read_dir(dir)?.next().is_some() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the folder holds something that is no backup; choose another one",
                ));
            }
            write_private(&dir.join(FORMAT_FILE), FORMAT_LINE.as_bytes())?;
        }
        let mut vault = Self::open(dir)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(dir.join(LOCK_FILE))?;
        lock.try_lock().map_err(|_| {
            io::Error::new(
                io::ErrorKind::WouldBlock,
                "another backup is writing there now",
            )
        })?;
        vault._lock = Some(lock);
        create_private(&dir.join(OBJECTS))?;
        Ok(vault)
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// These are named by a whole backup.
    pub(crate) fn trust(&mut self, digests: impl IntoIterator<Item = Digest>) {
        self.known.extend(digests);
    }

    /// Whether an object is there, whole. One that no whole backup names is read to be sure: a power cut may have left
    /// its name and not its octets.
    pub(crate) fn has(&mut self, digest: &Digest) -> bool {
        let path = self.path(digest);
        if self.known.contains(digest) {
            return path.exists();
        }
        let whole = path.exists() && self.check(digest).is_ok();
        if whole {
            self.known.insert(*digest);
        }
        whole
    }

    /// Writes bytes, if they are not there; whether they were written.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<(Digest, bool)> {
        let digest = *blake3::hash(bytes).as_bytes();
        if self.has(&digest) {
            return Ok((digest, false));
        }
        let mut draft = self.draft()?;
        draft.write(bytes)?;
        self.keep(draft)?;
        Ok((digest, true))
    }

    /// Begins an object.
    pub(crate) fn draft(&self) -> io::Result<Draft> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("draft-{:016x}", u64::from_ne_bytes(random));
        let path = self.dir.join(OBJECTS).join(name);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Draft {
            path,
            file,
            hasher: blake3::Hasher::new(),
            len: 0,
        })
    }

    /// Ends an object: its digest and length.
    pub(crate) fn keep(&mut self, draft: Draft) -> io::Result<(Digest, u64)> {
        let digest = *draft.hasher.finalize().as_bytes();
        let path = self.path(&digest);
        if let Some(shelf) = path.parent() {
            create_private(shelf)?;
        }
        fs::rename(&draft.path, &path)?;
        self.known.insert(digest);
        Ok((digest, draft.len))
    }

    /// Makes all that was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        nix::unistd::syncfs(File::open(&self.dir)?).map_err(io::Error::from)
    }

    /// Removes what interrupted runs have begun.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.dir.join(OBJECTS))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("draft-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Every object, with its length. What has another name than an object's is left alone.
    pub(super) fn each(
        &self,
        mut look: impl FnMut(&Digest, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        for shelf in fs::read_dir(self.dir.join(OBJECTS))? {
            let shelf = shelf?;
            if !shelf.file_type()?.is_dir() {
                continue;
            }
            for object in fs::read_dir(shelf.path())? {
                let object = object?;
                let name = object.file_name();
                let digest = name
                    .to_str()
                    .and_then(|name| data_encoding::HEXLOWER.decode(name.as_bytes()).ok())
                    .and_then(|bytes| Digest::try_from(bytes).ok());
                if let Some(digest) = digest {
                    look(&digest, object.metadata()?.len())?;
                }
            }
        }
        Ok(())
    }

    /// Removes an object, which no backup may name.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<()> {
        fs::remove_file(self.path(digest))
    }

    /// The octets of an object, checked. For those that fit into memory.
    pub(crate) fn get(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|error| told(&path, error))?;
        if blake3::hash(&bytes).as_bytes() != digest {
            return Err(not_its_digest(&path));
        }
        Ok(bytes)
    }

    /// Reads an object and checks it; its length.
    pub(crate) fn check(&self, digest: &Digest) -> io::Result<u64> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|error| told(&path, error))?;
        let (mut hasher, mut len) = (blake3::Hasher::new(), 0);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
                break;
            };
            hasher.update(piece);
            len += read as u64;
        }
        if hasher.finalize().as_bytes() != digest {
            return Err(not_its_digest(&path));
        }
        Ok(len)
    }

    /// Where an object is.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let name = hex(digest);
        let shelf = name.get(..2).unwrap_or_default();
        self.dir.join(OBJECTS).join(shelf).join(&name)
    }
}

impl Draft {
    /// Goes on.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// In hexadecimal digits.
pub(crate) fn hex(digest: &Digest) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

fn check_format(dir: &Path) -> io::Result<()> {
    let path = dir.join(FORMAT_FILE);
    match fs::read_to_string(&path) {
        Ok(line) if line == FORMAT_LINE => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the backup has a form that this release does not read",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no backup in this folder",
        )),
        Err(error) => Err(told(&path, error)),
    }
}

fn told(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn not_its_digest(path: &Path) -> io::Error {
    let why = format!("{} is not what was written there", path.display());
    io::Error::new(io::ErrorKind::InvalidData, why)
}
