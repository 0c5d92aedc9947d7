//! This server's keys: the one that it proves, and the next one, in memory and in the folder.
//!
//! Which is used when, is the core's to say. Must never use a key that is not durably in the folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_core::Input;
use grapevine_rpc::tls::{CurrentIdentity, Identity, IdentityError};

/// The keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeyRing {
    folder: PathBuf,
    current: CurrentIdentity,
    /// Also held while the folder is written.
    next: Arc<Mutex<Option<Identity>>>,
}

impl KeyRing {
    /// Those in a data folder.
    ///
    /// # Errors
    /// They can't be read.
    pub(crate) fn open(folder: impl Into<PathBuf>) -> Result<Self, IdentityError> {
        let folder = folder.into();
        let identity = Identity::open(&folder)?;
        let current = CurrentIdentity::new(identity)
            .map_err(|error| IdentityError::Make(error.to_string()))?;
        let next = Identity::next(&folder)?;
        Ok(Self {
            folder,
            current,
            next: Arc::new(Mutex::new(next)),
        })
    }

    /// The one that is proved now.
    pub(crate) fn current(&self) -> &CurrentIdentity {
        &self.current
    }

    /// What the core is to know of them.
    pub(crate) fn told(&self) -> Input {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        Input::Keys {
            present: self.current.public_key(),
            next: next.as_ref().map(Identity::public_key),
        }
    }

    /// Makes the next one, if there is none. Blocks.
    ///
    /// # Errors
    /// It can't be made or written.
    pub(crate) fn make_next(&self) -> Result<(), IdentityError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none() {
            *next = Some(Identity::make_next(&self.folder)?);
        }
        Ok(())
    }

    /// Proves the next one from now on, if it is this one. Blocks.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn use_next(&self, key: &[u8]) -> Result<(), IdentityError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.as_ref().map(Identity::public_key).as_deref() != Some(key) {
            return Ok(());
        }
        let identity = Identity::use_next(&self.folder)?;
        self.current
            .replace(identity)
            .map_err(|error| IdentityError::Make(error.to_string()))?;
        *next = None;
        Ok(())
    }
}
