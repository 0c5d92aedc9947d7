//! The data folder of one server: who it is, how it began, its key, its store, its admin socket.
//!
//! | name | what |
//! | --- | --- |
//! | `server.json` | the server's name and the life of this disk |
//! | `server.key`, `server.crt` | what it proves to other servers |
//! | `this-disk.json` | which file it is itself: a copy of the folder is known by it |
//! | `start.json` | how its Grapevine begins, until the first start has made it durable |
//! | `store/` | the store; locked by the one process that runs the server |
//! | `admin.sock` | the operator's door: the file's permissions decide |
//! | `front.pem`, `front.key`, `ca.pem`, `ca.key` | the made certificate of the doors for mail programs |
//!
//! Nothing in it is ever half written: files are renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use grapevine_core::Start;
use grapevine_model::{Name, OriginId, ServerName, Welcome};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The configuration's usual name, in the data folder.
pub(crate) const CONFIG_FILE: &str = "grapevine.toml";
const SERVER_FILE: &str = "server.json";
const START_FILE: &str = "start.json";
const MARKER_FILE: &str = "this-disk.json";

/// A server's data folder.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    dir: PathBuf,
}

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    /// Its name.
    pub(crate) name: ServerName,
    /// The life of this disk.
    pub(crate) origin: OriginId,
}

/// What the marker file says of itself. A copy, a restored backup, says the same of another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    inode: u64,
    /// Nanoseconds since 1970 when the file was made; none where the file system does not say.
    born_ns: Option<u64>,
}

/// Whether a folder is the one that its server wrote last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// It is, as far as can be told.
    Own,
    /// It was copied from somewhere else.
    Copied,
}

/// How a server's Grapevine begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Beginning {
    /// It founds one.
    Found {
        /// The owners of `gv@gv`.
        owners: Vec<Name>,
    },
    /// It was let into one.
    Join(Welcome),
}

impl From<Beginning> for Start {
    fn from(beginning: Beginning) -> Self {
        match beginning {
            Beginning::Found { owners } => Self::Found { owners },
            Beginning::Join(welcome) => Self::Join(welcome),
        }
    }
}

/// Why a folder can't be used, in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// There is a server in it already.
    #[error("{} holds a server already; choose another folder, or run it with `grapevine serve`", .0.display())]
    Taken(PathBuf),
    /// There is none in it.
    #[error("{} holds no server; make one with `grapevine init` or `grapevine join`", .0.display())]
    Empty(PathBuf),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataFolder {
    /// Names a folder.
    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Makes sure that there is no server in it.
    ///
    /// # Errors
    /// There is one.
    pub(crate) fn check_free(&self) -> Result<(), FolderError> {
        if self.dir.join(SERVER_FILE).exists() {
            return Err(FolderError::Taken(self.dir.clone()));
        }
        Ok(())
    }

    /// Makes the folder of a new server, for its owner alone.
    ///
    /// # Errors
    /// There is a server in it, or it can't be written.
    pub(crate) fn create(&self, record: &ServerRecord) -> Result<(), FolderError> {
        self.check_free()?;
        create_private(&self.dir).map_err(at(&self.dir))?;
        self.write_json(SERVER_FILE, record)
    }

    /// Who the server in it is.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub(crate) fn record(&self) -> Result<ServerRecord, FolderError> {
        self.read_json(SERVER_FILE)?
            .ok_or_else(|| FolderError::Empty(self.dir.clone()))
    }

    /// Notes how the server's Grapevine begins.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn set_beginning(&self, beginning: &Beginning) -> Result<(), FolderError> {
        self.write_json(START_FILE, beginning)
    }

    /// How the server's Grapevine begins, where that was noted.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn beginning(&self) -> Result<Option<Beginning>, FolderError> {
        self.read_json(START_FILE)
    }

    /// Forgets how it began: the store has it.
    pub(crate) fn forget_beginning(&self) {
        let path = self.dir.join(START_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "a file that is no longer needed could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether this folder was copied, as from a backup. A folder that was moved within its file
    /// system was not; an image of the whole file system can't be told from it (the other servers
    /// notice that).
    ///
    /// # Errors
    /// The marker can't be read.
    pub(crate) fn provenance(&self) -> Result<Provenance, FolderError> {
        let path = self.dir.join(MARKER_FILE);
        let said = match self.read_json::<Marker>(MARKER_FILE) {
            // Of an older release, or cut short by a crash: nothing is known against it.
            Ok(None) | Err(_) => return Ok(Provenance::Own),
            Ok(Some(said)) => said,
        };
        let is = marker_of(&path).map_err(at(&path))?;
        let same_birth =
            said.born_ns.is_none() || is.born_ns.is_none() || said.born_ns == is.born_ns;
        Ok(if said.inode == is.inode && same_birth {
            Provenance::Own
        } else {
            Provenance::Copied
        })
    }

    /// Marks the folder as its server's own. Only when what follows from a copy is durable.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn mark(&self) -> Result<(), FolderError> {
        let path = self.dir.join(MARKER_FILE);
        let marked = || {
            // The file says which one it is itself: it is written in place, after it is there.
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            let marker = marker_of(&path)?;
            file.write_all(&serde_json::to_vec(&marker).map_err(io::Error::other)?)?;
            file.sync_all()
        };
        marked().map_err(at(&path))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The store's folder.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The operator's socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| at(&path)(io::Error::other(error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), FolderError> {
        let path = self.dir.join(name);
        serde_json::to_vec_pretty(value)
            .map_err(io::Error::other)
            .and_then(|bytes| write_private(&path, &bytes))
            .map_err(at(&path))
    }
}

fn marker_of(path: &Path) -> io::Result<Marker> {
    let metadata = fs::metadata(path)?;
    let born = metadata.created().ok();
    let since = born.and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(Marker {
        inode: metadata.ino(),
        born_ns: since.and_then(|since| u64::try_from(since.as_nanos()).ok()),
    })
}

/// Makes a folder that nobody else on the machine can look into.
pub(crate) fn create_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Writes a file that only its owner can read: whole, durable, and under its name only then.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft_name = path.as_os_str().to_owned();
    draft_name.push(".new");
    let draft = PathBuf::from(draft_name);
    // One left by a crash may have had other permissions.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_path_buf();
    move |source| FolderError::File { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_its_owners_alone_and_takes_one_server() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(temp.path().join("s1"));
        assert!(matches!(folder.record(), Err(FolderError::Empty(_))));
        let record = ServerRecord {
            name: "s1".parse().unwrap(),
            origin: OriginId::server(7),
        };
        folder.create(&record).unwrap();
        assert_eq!(folder.record().unwrap(), record);
        assert!(matches!(folder.create(&record), Err(FolderError::Taken(_))));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join(SERVER_FILE)), 0o600);
    }

    #[test]
    fn a_copied_folder_is_known_as_one_and_a_moved_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let (here, moved) = (temp.path().join("s1"), temp.path().join("moved"));
        let copy = temp.path().join("copy");
        for dir in [&here, &copy] {
            fs::create_dir(dir).unwrap();
        }
        let folder = DataFolder::at(&here);
        assert_eq!(folder.provenance().unwrap(), Provenance::Own, "no marker");
        folder.mark().unwrap();
        folder.mark().unwrap();
        assert_eq!(folder.provenance().unwrap(), Provenance::Own);
        fs::copy(here.join(MARKER_FILE), copy.join(MARKER_FILE)).unwrap();
        let copied = DataFolder::at(&copy);
        assert_eq!(copied.provenance().unwrap(), Provenance::Copied);
        copied.mark().unwrap();
        assert_eq!(copied.provenance().unwrap(), Provenance::Own);
        fs::rename(&here, &moved).unwrap();
        let folder = DataFolder::at(&moved);
        assert_eq!(folder.provenance().unwrap(), Provenance::Own);
        fs::write(moved.join(MARKER_FILE), b"").unwrap();
        assert_eq!(folder.provenance().unwrap(), Provenance::Own, "cut short");
    }

    #[test]
    fn a_beginning_is_kept_until_it_is_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(temp.path());
        assert_eq!(folder.beginning().unwrap(), None);
        let beginning = Beginning::Found {
            owners: vec!["registrar@pa.example".parse().unwrap()],
        };
        folder.set_beginning(&beginning).unwrap();
        assert_eq!(folder.beginning().unwrap(), Some(beginning));
        folder.forget_beginning();
        assert_eq!(folder.beginning().unwrap(), None);
    }
}
