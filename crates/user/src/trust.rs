//! Which keys this user takes for servers' keys, and how that came about.
//!
//! A password is only ever sent to a server whose key was expected: named by a
//! cluster file, a pin or the servers remembered from before. A key that nobody
//! vouches for is met once, at first contact, without saying who we are; then it is
//! remembered, and told to the person with its fingerprint. A known server that
//! shows another key is refused, unless a server that is already trusted says that
//! the key has changed (its answer to `Servers`).

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use grapevine_model::ServerName;
use grapevine_rpc::tls::{KeyExpectation, TrustedKeys, key_pin};
use serde::{Deserialize, Serialize};

/// A server's public key (SubjectPublicKeyInfo, DER).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerKey(Vec<u8>);

impl ServerKey {
    /// From its DER form.
    pub fn new(spki: Vec<u8>) -> Self {
        Self(spki)
    }

    /// Its DER form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a person can compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(key_pin(&self.0))
    }
}

impl TryFrom<String> for ServerKey {
    type Error = data_encoding::DecodeError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Self)
    }
}
impl From<ServerKey> for String {
    fn from(key: ServerKey) -> String {
        HEXLOWER.encode(&key.0)
    }
}
impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint().fmt(f)
    }
}

/// BLAKE3 of a server's key, as 64 hexadecimal digits: what a pin says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// The text was no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key's fingerprint is 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.trim().as_bytes())
            .map_err(|_| FingerprintError)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_: Vec<u8>| FingerprintError)
    }
}
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a server at an address must prove.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// One of these keys.
    Keys(Vec<ServerKey>),
    /// The key with this fingerprint.
    Pin(Fingerprint),
    /// Any: first contact.
    Anything,
}

impl Expected {
    fn allows(&self, spki: &[u8]) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().any(|key| key.as_bytes() == spki),
            Self::Pin(pin) => pin.0 == key_pin(spki),
            Self::Anything => true,
        }
    }
}

/// Checks one handshake and remembers which key was shown, so that a refusal can name it.
pub(crate) struct Handshake {
    expected: Expected,
    shown: Mutex<Option<ServerKey>>,
}

impl Handshake {
    pub(crate) fn expecting(expected: Expected) -> Arc<Self> {
        Arc::new(Self {
            expected,
            shown: Mutex::new(None),
        })
    }

    pub(crate) fn expectation(self: &Arc<Self>) -> KeyExpectation {
        KeyExpectation::Any(Arc::clone(self) as Arc<dyn TrustedKeys>)
    }

    /// The key that the server showed; with a finished handshake it has proved it.
    pub(crate) fn shown(&self) -> Option<ServerKey> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The key that was shown and is not the expected one.
    pub(crate) fn refused(&self) -> Option<ServerKey> {
        self.shown()
            .filter(|key| !self.expected.allows(key.as_bytes()))
    }
}

impl TrustedKeys for Handshake {
    fn server_of(&self, spki: &[u8]) -> Option<ServerName> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(ServerKey(spki.to_vec()));
        // Which server it is, is the caller's affair: the name only says yes.
        self.expected
            .allows(spki)
            .then(|| "expected".parse().ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_handshake_takes_the_expected_key_only_and_names_the_other() {
        let (right, wrong) = (ServerKey(vec![1, 2]), ServerKey(vec![3]));
        for expected in [
            Expected::Keys(vec![right.clone()]),
            Expected::Pin(right.fingerprint()),
        ] {
            let handshake = Handshake::expecting(expected);
            assert!(handshake.server_of(&[1, 2]).is_some());
            assert_eq!(handshake.refused(), None);
            assert!(handshake.server_of(&[3]).is_none());
            assert_eq!(handshake.refused(), Some(wrong.clone()));
        }
        let first = Handshake::expecting(Expected::Anything);
        assert!(first.server_of(&[3]).is_some());
        assert_eq!((first.shown(), first.refused()), (Some(wrong), None));
    }

    #[test]
    fn keys_and_fingerprints_are_written_in_hexadecimal() {
        let key = ServerKey(vec![0x30, 0xff]);
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"30ff\"");
        assert_eq!(serde_json::from_str::<ServerKey>("\"30FF\"").unwrap(), key);
        let pin = key.fingerprint();
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!("30ff".parse::<Fingerprint>(), Err(FingerprintError));
    }
}
