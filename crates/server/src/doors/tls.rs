//! Certificates of the front doors: read from files, replaced while running, or made by a small CA of one's own.
//!
//! They are for mail programs only; servers know each other by the keys in `gv`. Must never serve a key that does not fit its
//! certificate, nor leave a private key readable by others. A reload that fails leaves what was there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use mail_parser::DateTime;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::end_point;
use crate::clock::wall_ms;

/// How long a certificate of our own CA lasts: 820 days, for some clients refuse more than 825. It is made anew at each start.
const LEAF_DAYS: u64 = 820;
/// How long our own CA lasts: nobody should have to install it twice in the life of a machine.
const CA_DAYS: u64 = 20 * 365;
/// Certificates are valid from the day before: clients' clocks stand behind.
const SLACK_DAYS: u64 = 1;
const DAY_MS: u64 = 24 * 3_600_000;
/// The longest common name (RFC 5280, ub-common-name).
const COMMON_NAME_MAX_CHARS: usize = 64;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate and key can't be used together.
    #[error("the certificate in {} can't be used: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate can't be made.
    #[error("a certificate can't be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// What the front doors show and do in TLS: one certificate, and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// For rustls.
    pub(crate) config: Arc<ServerConfig>,
    /// The certificate's hash, for logins that are bound to it.
    pub(crate) end_point: Option<Vec<u8>>,
}

/// What new connections get; clones see a replacement at once.
#[derive(Clone)]
pub(crate) struct Reloadable {
    current: Arc<RwLock<Front>>,
}

impl Reloadable {
    /// Starts with one.
    pub(crate) fn new(front: Front) -> Self {
        Self {
            current: Arc::new(RwLock::new(front)),
        }
    }

    /// What a new connection gets.
    pub(crate) fn current(&self) -> Front {
        // Whoever held it could not leave it half changed.
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, new connections get this one.
    pub(crate) fn replace(&self, front: Front) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = front;
    }
}

/// Reads a chain (leaf first) and its key, both PEM; they may be in one file.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn load(chain: &Path, key: &Path) -> Result<Front, TlsError> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_error(chain, error))?;
    let Some(leaf) = certificates.first() else {
        return Err(TlsError::Pem {
            path: chain.to_owned(),
            why: "there is no certificate in it (PEM)".to_owned(),
        });
    };
    let end_point = end_point::of(leaf);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_error(key, error))?;
    let unusable = |source| TlsError::Unusable {
        path: chain.to_owned(),
        source,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(unusable)?;
    Ok(Front {
        config: Arc::new(config),
        end_point,
    })
}

/// Files of a certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelfMade {
    /// The CA's certificate: what clients are given to trust.
    pub(crate) ca: PathBuf,
    /// The server's certificate.
    pub(crate) chain: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
}

/// Makes a certificate in `dir` (`front.pem`, `front.key`) for `names`, `localhost` and `127.0.0.1`, by the CA in `ca_dir` (`ca.pem`,
/// `ca.key`), which is made where there is none. The CA's folder may be shared by many servers.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn self_made(ca_dir: &Path, dir: &Path, names: &[String]) -> Result<SelfMade, TlsError> {
    let made = SelfMade {
        ca: ca_dir.join("ca.pem"),
        chain: dir.join("front.pem"),
        key: dir.join("front.key"),
    };
    for folder in [ca_dir, dir] {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
    }
    let ca_key_path = ca_dir.join("ca.key");
    let ca_key = match fs::read_to_string(&ca_key_path) {
        Ok(pem) => KeyPair::from_pem(&pem)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            write(&ca_key_path, &key.serialize_pem(), Mode::Secret)?;
            key
        }
        Err(error) => return Err(io_error(&ca_key_path)(error)),
    };
    let ca = ca_params(&ca_key);
    if !made.ca.exists() {
        write(&made.ca, &ca.self_signed(&ca_key)?.pem(), Mode::Public)?;
    }
    let key = KeyPair::generate()?;
    let leaf = leaf_params(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    write(&made.key, &key.serialize_pem(), Mode::Secret)?;
    write(&made.chain, &leaf.pem(), Mode::Public)?;
    Ok(made)
}

/// What names the CA follows from its key, so that the key alone is needed to sign.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let digest = blake3::hash(key.public_key_raw()).to_hex();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Grapevine CA {}", digest.get(..16).unwrap_or_default()),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    params
}

fn leaf_params(names: &[String]) -> Result<CertificateParams, TlsError> {
    let mut all = names.to_vec();
    all.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    all.sort();
    all.dedup();
    let common: String = names
        .first()
        .map_or("localhost", String::as_str)
        .chars()
        .take(COMMON_NAME_MAX_CHARS)
        .collect();
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, common);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid_for(&mut params, LEAF_DAYS);
    Ok(params)
}

fn valid_for(params: &mut CertificateParams, days: u64) {
    let date = |ms: u64| {
        let date = DateTime::from_timestamp(i64::try_from(ms / 1000).unwrap_or_default());
        (i32::from(date.year), date.month, date.day)
    };
    let (year, month, day) = date(wall_ms().saturating_sub(SLACK_DAYS * DAY_MS));
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(wall_ms() + days * DAY_MS);
    params.not_after = date_time_ymd(year, month, day);
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Mode {
    Public,
    Secret,
}

/// Writes beside and renames: a crash leaves a whole file or none.
fn write(path: &Path, text: &str, mode: Mode) -> Result<(), TlsError> {
    let draft = path.with_extension(format!("new.{}", std::process::id()));
    let bits = match mode {
        Mode::Public => 0o644,
        Mode::Secret => 0o600,
    };
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(&draft)(error));
        }
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(bits)
        .open(&draft)
        .map_err(io_error(&draft))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_error(&draft))?;
    fs::rename(&draft, path).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::Io { path, source }
}

fn pem_error(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Io { path, source },
        pem::Error::NoItemsFound => TlsError::Pem {
            path,
            why: "there is nothing of what is looked for in it (PEM)".to_owned(),
        },
        other => TlsError::Pem {
            path,
            why: format!("{other:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_ca_signs_for_many_servers_and_keys_are_secret() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["mail.example".to_owned()];
        let first = self_made(dir.path(), &dir.path().join("s1"), &names).unwrap();
        let ca = fs::read(&first.ca).unwrap();
        let second = self_made(dir.path(), &dir.path().join("s2"), &names).unwrap();
        assert_eq!(fs::read(&second.ca).unwrap(), ca, "the CA stays");
        for made in [&first, &second] {
            load(&made.chain, &made.key).unwrap();
            let mode = fs::metadata(&made.key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mode = fs::metadata(dir.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            matches!(
                load(&first.chain, &second.key),
                Err(TlsError::Unusable { .. })
            ),
            "another server's key"
        );
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let made = self_made(dir.path(), dir.path(), &[]).unwrap();
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let missing = dir.path().join("missing.pem");
        for (chain, key) in [
            (&empty, &made.key),
            (&made.chain, &empty),
            (&missing, &made.key),
        ] {
            let why = load(chain, key).map(|_| ()).unwrap_err().to_string();
            assert!(
                why.contains("empty.pem") || why.contains("missing.pem"),
                "{why}"
            );
        }
    }
}
