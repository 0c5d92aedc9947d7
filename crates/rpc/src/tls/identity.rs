//! A server's key and the certificate around it, kept in two files of its data folder.
//!
//! The key is readable by its owner alone from its first byte on, and the two files
//! are never half written: each is renamed into place, the key first.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{key_of, provider};

/// The private key, PEM.
const KEY_FILE: &str = "server.key";
/// The certificate, PEM.
const CERTIFICATE_FILE: &str = "server.crt";
/// The private key that is going to be used, PEM, from its making until it is used.
const NEXT_KEY_FILE: &str = "server.next.key";
/// All of them: their owner reads and writes, nobody else does anything.
const FILE_MODE: u32 = 0o600;
/// The name in every certificate: nobody looks at it.
const CERTIFICATE_NAME: &str = "grapevine";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it ought to be, or the two do not belong together.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No key or certificate could be made.
    #[error("no server key could be made: {0}")]
    Make(String),
}

/// A server's key and the certificate around it.
pub struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    key_pem: String,
    certificate_pem: String,
    spki: Vec<u8>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone_key(),
            certificate: self.certificate.clone(),
            key_pem: self.key_pem.clone(),
            certificate_pem: self.certificate_pem.clone(),
            spki: self.spki.clone(),
        }
    }
}

/// Never the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity { .. }")
    }
}

impl Identity {
    /// A new key (ECDSA on P-256) with a certificate that it has signed itself.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(not_made)?;
        Self::around(&pair)
    }

    fn around(pair: &rcgen::KeyPair) -> Result<Self, IdentityError> {
        let mut parameters =
            rcgen::CertificateParams::new([CERTIFICATE_NAME.to_owned()]).map_err(not_made)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, CERTIFICATE_NAME);
        let certificate = parameters.self_signed(pair).map_err(not_made)?;
        Self::from_pem(pair.serialize_pem(), certificate.pem()).map_err(IdentityError::Make)
    }

    /// From the two files in a folder.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let key_pem = read(&folder.join(KEY_FILE))?;
        let path = folder.join(CERTIFICATE_FILE);
        let certificate_pem = read(&path)?;
        Self::from_pem(key_pem, certificate_pem)
            .map_err(|why| IdentityError::Unreadable { path, why })
    }

    /// Writes the two files, durably, over any that are there.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        for (file, text) in [
            (KEY_FILE, &self.key_pem),
            (CERTIFICATE_FILE, &self.certificate_pem),
        ] {
            let path = folder.join(file);
            write_private(folder, &path, text.as_bytes())
                .map_err(|source| IdentityError::File { path, source })?;
        }
        Ok(())
    }

    /// What is in the folder; a new identity, saved there, if none is. A key is never replaced:
    /// if its certificate alone is missing, it gets a new one.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let there = |file| folder.join(file).exists();
        if there(NEXT_KEY_FILE)
            && there(KEY_FILE)
            && raw_key(folder, NEXT_KEY_FILE)? == raw_key(folder, KEY_FILE)?
        {
            // It was on its way into use when the server was stopped.
            return Self::use_next(folder);
        }
        let identity = match (there(KEY_FILE), there(CERTIFICATE_FILE)) {
            (true, true) => return Self::load(folder),
            (false, true) => {
                return Err(IdentityError::Unreadable {
                    path: folder.join(KEY_FILE),
                    why: "is missing, and its certificate is there".into(),
                });
            }
            (true, false) => {
                let pair =
                    rcgen::KeyPair::from_pem(&read(&folder.join(KEY_FILE))?).map_err(not_made)?;
                Self::around(&pair)?
            }
            (false, false) => Self::generate()?,
        };
        identity.save(folder)?;
        Ok(identity)
    }

    /// The key in the folder that is going to be used, if there is one.
    ///
    /// # Errors
    /// It can't be read. It is not in use: without the file, another one is made.
    pub fn next(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(NEXT_KEY_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let unreadable = |error: rcgen::Error| IdentityError::Unreadable {
            path: path.clone(),
            why: format!("{error}; this key is not yet in use: remove the file"),
        };
        let pair = rcgen::KeyPair::from_pem(&read(&path)?).map_err(unreadable)?;
        Self::around(&pair).map(Some)
    }

    /// The next key, made and written durably if there is none.
    ///
    /// # Errors
    /// It can't be read, made or written.
    pub fn make_next(folder: &Path) -> Result<Self, IdentityError> {
        if let Some(next) = Self::next(folder)? {
            return Ok(next);
        }
        let next = Self::generate()?;
        let path = folder.join(NEXT_KEY_FILE);
        write_private(folder, &path, next.key_pem.as_bytes())
            .map_err(|source| IdentityError::File { path, source })?;
        Ok(next)
    }

    /// Puts the next key in the place of the present one, durably. Stopped at any step, it goes on with
    /// the old one or ends with the new one when the folder is opened.
    ///
    /// # Errors
    /// There is no next key; files can't be read or written.
    pub fn use_next(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(NEXT_KEY_FILE);
        let next = Self::next(folder)?.ok_or_else(|| IdentityError::Unreadable {
            path: path.clone(),
            why: "there is no next key".into(),
        })?;
        next.save(folder)?;
        std::fs::remove_file(&path)
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| IdentityError::File { path, source })?;
        Ok(next)
    }

    /// SubjectPublicKeyInfo, DER: what is recorded in `gv`.
    pub fn public_key(&self) -> Vec<u8> {
        self.spki.clone()
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    fn from_pem(key_pem: String, certificate_pem: String) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| format!("no private key: {error}"))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| format!("no certificate: {error}"))?;
        CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &provider())
            .map_err(|error| format!("key and certificate: {error}"))?;
        let spki = key_of(&certificate).map_err(|error| format!("the certificate: {error}"))?;
        Ok(Self {
            key,
            certificate,
            key_pem,
            certificate_pem,
            spki,
        })
    }
}

fn raw_key(folder: &Path, file: &str) -> Result<Vec<u8>, IdentityError> {
    let path = folder.join(file);
    let pair =
        rcgen::KeyPair::from_pem(&read(&path)?).map_err(|error| IdentityError::Unreadable {
            path,
            why: error.to_string(),
        })?;
    Ok(pair.public_key_raw().to_vec())
}

fn not_made(error: rcgen::Error) -> IdentityError {
    IdentityError::Make(error.to_string())
}

fn read(path: &Path) -> Result<String, IdentityError> {
    std::fs::read_to_string(path).map_err(|source| IdentityError::File {
        path: path.to_owned(),
        source,
    })
}

fn write_private(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_kept_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::open(folder.path()).unwrap();
        for file in [KEY_FILE, CERTIFICATE_FILE] {
            let mode = folder.path().join(file).metadata().unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, FILE_MODE, "{file}");
        }
        let read = Identity::open(folder.path()).unwrap();
        assert_eq!(made.public_key(), read.public_key());
        assert_ne!(
            Identity::generate().unwrap().public_key(),
            made.public_key()
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::open(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(CERTIFICATE_FILE)).unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!(made.public_key(), again.public_key());
        std::fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
        assert!(Identity::open(folder.path()).is_err());
    }

    #[test]
    fn a_change_of_key_that_is_stopped_at_any_step_leaves_one_of_the_two() {
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        let old = Identity::open(folder.path()).unwrap().public_key();
        let next = Identity::make_next(folder.path()).unwrap().public_key();
        let mode = at(NEXT_KEY_FILE).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, FILE_MODE);
        // Made, and not yet used.
        assert_eq!(Identity::open(folder.path()).unwrap().public_key(), old);
        let again = Identity::make_next(folder.path()).unwrap();
        assert_eq!(again.public_key(), next, "a second call makes no other one");
        // The key in place, its certificate not yet.
        std::fs::copy(at(NEXT_KEY_FILE), at(KEY_FILE)).unwrap();
        assert_eq!(Identity::open(folder.path()).unwrap().public_key(), next);
        assert!(!at(NEXT_KEY_FILE).exists());
        assert!(Identity::next(folder.path()).unwrap().is_none());
        // Both in place, the next one not yet removed.
        std::fs::copy(at(KEY_FILE), at(NEXT_KEY_FILE)).unwrap();
        assert_eq!(Identity::open(folder.path()).unwrap().public_key(), next);
        assert!(!at(NEXT_KEY_FILE).exists());
        assert!(Identity::use_next(folder.path()).is_err());
        // And all of it.
        let third = Identity::make_next(folder.path()).unwrap().public_key();
        assert_eq!(
            Identity::use_next(folder.path()).unwrap().public_key(),
            third
        );
        assert_eq!(Identity::open(folder.path()).unwrap().public_key(), third);
        std::fs::write(at(NEXT_KEY_FILE), b"half a").unwrap();
        assert!(Identity::next(folder.path()).is_err());
    }

    #[test]
    fn a_key_with_another_keys_certificate_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Identity::open(one.path()).unwrap();
        Identity::open(two.path()).unwrap();
        std::fs::copy(
            one.path().join(CERTIFICATE_FILE),
            two.path().join(CERTIFICATE_FILE),
        )
        .unwrap();
        assert!(matches!(
            Identity::load(two.path()),
            Err(IdentityError::Unreadable { .. })
        ));
        std::fs::write(two.path().join(KEY_FILE), b"\xffnot a key").unwrap();
        assert!(Identity::open(two.path()).is_err());
    }
}
