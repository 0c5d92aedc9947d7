//! Signatures by a server's key over something else than a handshake, and their check by the key
//! that `gv` records.
//!
//! What is signed must begin with a context of its own, so that it can stand for nothing else.

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::{Identity, IdentityError, provider};

/// All servers' keys are on P-256 (see [`Identity::generate`]).
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
/// How the SubjectPublicKeyInfo of every P-256 key begins (RFC 5480): the point follows, uncompressed.
const P256_SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Identity {
    /// Signs these bytes (ECDSA on P-256 with SHA-256; DER).
    ///
    /// # Errors
    /// The key is of another kind, or the system has no randomness.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let failed = |error: rustls::Error| IdentityError::Make(error.to_string());
        CertifiedKey::from_der(vec![self.certificate()], self.key(), &provider())
            .map_err(failed)?
            .key
            .choose_scheme(&[SCHEME])
            .ok_or_else(|| IdentityError::Make("the server key is not on P-256".into()))?
            .sign(bytes)
            .map_err(failed)
    }
}

/// Whether the holder of a key (SubjectPublicKeyInfo, DER) has signed these bytes with [`Identity::sign`].
pub fn verify_by_key(spki: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    let Some(point) = spki.strip_prefix(&P256_SPKI_HEAD) else {
        return false;
    };
    let provider = provider();
    let mapping = provider.signature_verification_algorithms.mapping;
    mapping
        .iter()
        .filter(|(scheme, _)| *scheme == SCHEME)
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| algorithm.verify_signature(point, bytes, signature).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_over_one_text() {
        let (ours, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = ours.sign(b"a text").unwrap();
        assert!(verify_by_key(&ours.public_key(), b"a text", &signature));
        assert!(!verify_by_key(&ours.public_key(), b"another", &signature));
        assert!(!verify_by_key(&other.public_key(), b"a text", &signature));
        assert!(!verify_by_key(b"no key", b"a text", &signature));
        assert!(!verify_by_key(&ours.public_key(), b"a text", b""));
    }
}
