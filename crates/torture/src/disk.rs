//! A small disk for a server's folder, which can be filled and freed again.
//!
//! Where none can be mounted (that takes root), there is none, and the run says so. Must unmount what it mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room for what an hour leaves there (45 MiB a minute and server), far above the reserve below which a server takes no new mail.
const DISK_MIB: u64 = 5_120;
/// A disk with more than this is not full.
const MOST_LEFT_BYTES: u64 = 8 << 20;
/// What fills a disk.
const FILLER: &str = "filler";

/// How full a disk gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Below the server's reserve: it takes no new mail, and all else goes on.
    Reserve,
    /// To the last page: it can write no more, stops, and the others take over.
    Whole,
}

impl Full {
    /// What is left.
    fn leaves_bytes(self) -> u64 {
        match self {
            Self::Reserve => 100 << 20,
            Self::Whole => 64 << 10,
        }
    }
}

/// Where servers' folders are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    /// Each on a small disk of its own, where one can be mounted.
    Small,
    /// In the run's folder, which is kept.
    Kept,
}

/// One, mounted.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one there, if that may be done here.
    pub(crate) fn mounted(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m,mode=700")])
            .arg("grapevine-torture")
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_path_buf()))
    }

    /// Fills it.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn fill(&self, full: Full) -> anyhow::Result<()> {
        let file = fs::File::create(self.0.join(FILLER))?;
        let mut leaves_bytes = full.leaves_bytes();
        loop {
            let stat = nix::sys::statvfs::statvfs(&self.0)?;
            let free = stat.blocks_available() * stat.fragment_size();
            let length = i64::try_from(free.saturating_sub(leaves_bytes))?;
            if length == 0 {
                return Ok(());
            }
            match nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, length) {
                Ok(()) => return Ok(()),
                // Its server has written meanwhile, and will write what is left.
                Err(nix::errno::Errno::ENOSPC) if leaves_bytes < MOST_LEFT_BYTES => {
                    leaves_bytes *= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Frees it again.
    pub(crate) fn relieve(&self) {
        // There is none where it was full already.
        let _ = fs::remove_file(self.0.join(FILLER));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that has just been killed may hold it for a moment more.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
