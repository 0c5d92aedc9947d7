//! The front doors' certificate while the server runs: read again when its files change, made anew before
//! it ends if it is our own.
//!
//! Must never leave the doors without one: what can't be read or made leaves the old one in force.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::doors::tls::{self, Front, TlsError};

/// A certificate of our own CA is made anew at this age: it lasts for 820 days.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(700 * 24 * 3_600);
/// The files are looked at this often: a renewal by somebody else is in force within it.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// Whose the certificate is.
#[derive(Debug, Clone)]
enum Kind {
    /// Files that somebody else makes.
    Given,
    /// Made by our own CA in the data folder, for this name.
    Own { dir: PathBuf, hostname: String },
}

/// The certificate's files.
pub(crate) struct FrontCertificate {
    chain: PathBuf,
    key: PathBuf,
    kind: Kind,
    /// When the files were written that are in force.
    seen: Option<[SystemTime; 2]>,
}

impl FrontCertificate {
    /// As the configuration says.
    pub(crate) fn new(config: &Config) -> Self {
        match &config.tls {
            Some(files) => Self {
                chain: files.certificate.clone(),
                key: files.key.clone(),
                kind: Kind::Given,
                seen: None,
            },
            None => Self {
                chain: config.data.join("front.pem"),
                key: config.data.join("front.key"),
                kind: Kind::Own {
                    dir: config.data.clone(),
                    hostname: config.hostname.clone(),
                },
                seen: None,
            },
        }
    }

    /// What is to be in force from now on, if that has changed.
    ///
    /// # Errors
    /// The files can't be read, do not belong together, or can't be made. They are looked at again.
    pub(crate) fn look(&mut self, now: SystemTime) -> Result<Option<Front>, TlsError> {
        if let Kind::Own { dir, hostname } = &self.kind
            && is_due(&self.chain, now)
        {
            tls::self_made(dir, dir, std::slice::from_ref(hostname))?;
        }
        // Asked before the reading: what is written meanwhile is read the next time.
        let written = self.written();
        if written.is_some() && written == self.seen {
            return Ok(None);
        }
        let front = tls::load(&self.chain, &self.key)?;
        self.seen = written;
        Ok(Some(front))
    }

    fn written(&self) -> Option<[SystemTime; 2]> {
        Some([modified(&self.chain)?, modified(&self.key)?])
    }
}

/// Whether a certificate of our own is old enough to be made anew.
pub(crate) fn is_due(chain: &Path, now: SystemTime) -> bool {
    let age = modified(chain).map(|made| now.duration_since(made).unwrap_or_default());
    age.is_none_or(|age| age >= RENEW_AFTER)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|file| file.modified())
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn given(dir: &Path) -> FrontCertificate {
        FrontCertificate {
            chain: dir.join("front.pem"),
            key: dir.join("front.key"),
            kind: Kind::Given,
            seen: None,
        }
    }

    /// Two writes within one tick of the file system's clock can't be told apart.
    fn written_later(dir: &Path, by: u64) {
        for file in ["front.pem", "front.key"] {
            let file = fs::File::options()
                .append(true)
                .open(dir.join(file))
                .unwrap();
            let at = SystemTime::now() + Duration::from_secs(by);
            file.set_modified(at).unwrap();
        }
    }

    #[test]
    fn our_own_certificate_is_made_anew_before_it_ends() {
        let temp = tempfile::tempdir().unwrap();
        let mut front = given(temp.path());
        front.kind = Kind::Own {
            dir: temp.path().to_path_buf(),
            hostname: "mail.example".into(),
        };
        let now = SystemTime::now();
        assert!(front.look(now).unwrap().is_some(), "there was none");
        let first = fs::read(&front.chain).unwrap();
        let ca = fs::read(temp.path().join("ca.pem")).unwrap();
        assert!(front.look(now + RENEW_AFTER / 2).unwrap().is_none());
        assert_eq!(fs::read(&front.chain).unwrap(), first);
        let later = now + RENEW_AFTER + Duration::from_secs(60);
        front.seen = Some([SystemTime::UNIX_EPOCH; 2]);
        assert!(front.look(later).unwrap().is_some());
        assert_ne!(fs::read(&front.chain).unwrap(), first);
        assert_eq!(fs::read(temp.path().join("ca.pem")).unwrap(), ca);
    }

    #[test]
    fn files_that_somebody_else_renews_are_read_again_and_half_a_renewal_changes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        tls::self_made(temp.path(), temp.path(), &[]).unwrap();
        let mut front = given(temp.path());
        let now = SystemTime::now();
        assert!(front.look(now).unwrap().is_some());
        assert!(front.look(now + RENEW_AFTER * 2).unwrap().is_none());
        let old_key = fs::read(&front.key).unwrap();
        tls::self_made(temp.path(), temp.path(), &[]).unwrap();
        let new_key = fs::read(&front.key).unwrap();
        fs::write(&front.key, old_key).unwrap();
        written_later(temp.path(), 10);
        assert!(front.look(now).is_err(), "the new certificate, the old key");
        assert!(front.look(now).is_err(), "and it is looked at again");
        fs::write(&front.key, new_key).unwrap();
        written_later(temp.path(), 20);
        assert!(front.look(now).unwrap().is_some());
        assert!(front.look(now).unwrap().is_none());
    }
}
