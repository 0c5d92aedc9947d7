//! The identity that a server proves now: it can be replaced while doors and calls are open.
//!
//! Each handshake takes the one that is current when it happens; connections that are open stay.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Identity, provider};

/// A server's identity as it is now. Cheap to clone; all clones see a replacement at once.
#[derive(Clone)]
pub struct CurrentIdentity {
    current: Arc<RwLock<Current>>,
}

struct Current {
    identity: Identity,
    certified: Arc<CertifiedKey>,
}

impl Current {
    fn new(identity: Identity) -> Result<Self, rustls::Error> {
        let certified =
            CertifiedKey::from_der(vec![identity.certificate()], identity.key(), &provider())?;
        Ok(Self {
            identity,
            certified: Arc::new(certified),
        })
    }
}

impl CurrentIdentity {
    /// Begins with this one.
    ///
    /// # Errors
    /// Its key can't be used.
    pub fn new(identity: Identity) -> Result<Self, rustls::Error> {
        Ok(Self {
            current: Arc::new(RwLock::new(Current::new(identity)?)),
        })
    }

    /// Proves this one from now on.
    ///
    /// # Errors
    /// Its key can't be used: the old one stays.
    pub fn replace(&self, identity: Identity) -> Result<(), rustls::Error> {
        let new = Current::new(identity)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// What is proved now.
    pub fn get(&self) -> Identity {
        self.read(|current| current.identity.clone())
    }

    /// Its SubjectPublicKeyInfo, DER.
    pub fn public_key(&self) -> Vec<u8> {
        self.read(|current| current.identity.public_key())
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        self.read(|current| Arc::clone(&current.certified))
    }

    fn read<T>(&self, look: impl FnOnce(&Current) -> T) -> T {
        look(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Never the key.
impl fmt::Debug for CurrentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentIdentity { .. }")
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for CurrentIdentity {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
