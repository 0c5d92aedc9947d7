//! The store's folder: names, the lock, the format version, syncing of folders.
//!
//! Guards two promises: one process per folder, and a folder of a format that isn't understood is never
//! touched. Nothing else is written before the lock is held and the format is known.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{OpenError, open_io};
use crate::index::BodyFile;

/// Version of the layout this code writes, and the only one it reads so far.
const FORMAT_LINE: &str = "grapevine-store 1\n";
/// More of an unknown FORMAT file is of no use in an error.
const FORMAT_READ_MAX_BYTES: u64 = 80;

/// Where things are in a store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    dir: PathBuf,
}

/// The held lock of a store's folder.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is just being started has the file open too.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "could not unlock the store's folder");
        }
    }
}

impl Folder {
    /// Names a folder, which need not exist.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
        }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The engine's files.
    pub(crate) fn tables(&self) -> PathBuf {
        self.dir.join("tables")
    }

    /// The engine's files while they are made for the first time.
    pub(crate) fn tables_in_the_making(&self) -> PathBuf {
        self.dir.join("tables.new")
    }

    /// The witness file.
    pub(crate) fn witness(&self) -> PathBuf {
        self.dir.join("WITNESS")
    }

    /// Large bodies.
    pub(crate) fn bodies(&self) -> PathBuf {
        self.dir.join("bodies")
    }

    /// The folder one large body is in: 256 of them, so that none gets too long.
    pub(crate) fn body_shelf(&self, file: &BodyFile) -> PathBuf {
        self.bodies().join(file.shelf())
    }

    /// One large body.
    pub(crate) fn body(&self, file: &BodyFile) -> PathBuf {
        self.body_shelf(file).join(file.name())
    }

    /// Bodies that nobody owns yet.
    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    fn format(&self) -> PathBuf {
        self.dir.join("FORMAT")
    }

    /// Creates the folder and takes the lock, for as long as what it returns lives.
    pub(crate) fn lock(&self) -> Result<Lock, OpenError> {
        create_private(&self.dir).map_err(open_io("create the store's folder"))?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.dir.join("LOCK"))
            .map_err(open_io("open the lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    dir: self.dir.clone(),
                    holder: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(open_io("lock the store's folder")(error));
            }
        }
        // Only a hint for people, so a full disk must not keep a store from opening.
        let noted = write_pid(&mut file);
        if let Err(error) = noted {
            tracing::warn!(%error, "could not note the pid in the lock file");
        }
        Ok(Lock(file))
    }

    /// Checks the format version; writes it where there is no store yet.
    pub(crate) fn check_or_write_format(&self) -> Result<(), OpenError> {
        match File::open(self.format()) {
            Ok(file) => check_format(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.tables().exists() || self.bodies().exists() || self.witness().exists() {
                    return Err(OpenError::NotAStore {
                        dir: self.dir.clone(),
                    });
                }
                write_whole(&self.dir, "FORMAT", FORMAT_LINE.as_bytes())
                    .map_err(open_io("write the FORMAT file"))
            }
            Err(error) => Err(open_io("open the FORMAT file")(error)),
        }
    }
}

/// Makes a folder that nobody else on the machine can look into: it will have everybody's mail.
fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(name))?;
    sync_folder(dir)
}

/// Makes names created, renamed or removed in a folder survive a power cut.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_format(file: File) -> Result<(), OpenError> {
    let mut found = Vec::new();
    file.take(FORMAT_READ_MAX_BYTES)
        .read_to_end(&mut found)
        .map_err(open_io("read the FORMAT file"))?;
    if found == FORMAT_LINE.as_bytes() {
        return Ok(());
    }
    Err(OpenError::UnknownFormat {
        found: String::from_utf8_lossy(&found).trim_end().to_owned(),
        supported: FORMAT_LINE.trim_end().to_owned(),
    })
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
