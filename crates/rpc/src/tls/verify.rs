//! The two checks of a handshake: is this the key of a server that we know?
//!
//! Only the leaf's SubjectPublicKeyInfo and the handshake's signature by it count.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName as TlsName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};

use super::{KeyExpectation, TrustedKeys, key_pin};

/// The key in a certificate (SubjectPublicKeyInfo, DER).
pub fn key_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(parsed.subject_public_key_info().to_vec())
}

/// A key that is on record for no server, or not the one that was called.
fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// TLS 1.2 is not spoken here.
fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

/// At the server: a caller shows no certificate, or one with a recorded key.
pub(super) struct AnyKnownClient {
    algorithms: WebPkiSupportedAlgorithms,
    trusted: Arc<dyn TrustedKeys>,
}

impl AnyKnownClient {
    pub(super) fn new(provider: &CryptoProvider, trusted: Arc<dyn TrustedKeys>) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
            trusted,
        }
    }
}

impl fmt::Debug for AnyKnownClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyKnownClient")
    }
}

impl ClientCertVerifier for AnyKnownClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.trusted.server_of(&key_of(leaf)?) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(refused()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// At the caller: the called server proves the expected key.
pub(super) struct ExpectedServer {
    algorithms: WebPkiSupportedAlgorithms,
    expect: KeyExpectation,
}

impl ExpectedServer {
    pub(super) fn new(provider: &CryptoProvider, expect: KeyExpectation) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
            expect,
        }
    }
}

impl fmt::Debug for ExpectedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExpectedServer")
    }
}

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _name: &TlsName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let spki = key_of(leaf)?;
        let expected = match &self.expect {
            KeyExpectation::Exactly(key) => *key == spki,
            KeyExpectation::Any(trusted) => trusted.server_of(&spki).is_some(),
            KeyExpectation::Pinned(pin) => *pin == key_pin(&spki),
        };
        if expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
