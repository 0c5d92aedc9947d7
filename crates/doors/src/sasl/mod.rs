//! Names and passwords as SASL PLAIN (RFC 4616) and the older LOGIN carry them.
//!
//! A password never stands in a plain `String`, is never shown by `Debug`, and is wiped when it is dropped. Whether it is right is the shell's question.

pub mod channel;
pub mod scram;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The longest name that is looked at: an address is at most 254 octets (RFC 5321 4.5.3.1.3).
pub const NAME_BYTES: usize = 256;

/// The longest password that is looked at: hashing a longer one only costs the server.
pub const PASSWORD_BYTES: usize = 1024;

/// A password: wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// What a client says to prove who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name, as the client wrote it.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// Why a SASL response is no pair of name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Not base64, not UTF-8, a part missing, or too long.
    #[error("the response cannot be read")]
    Malformed,
    /// It asks to act as somebody else.
    #[error("acting for another name is not supported")]
    OtherIdentity,
    /// It says that channel binding is not offered, and it is: somebody in between has taken the offer away.
    #[error("channel binding is offered, and the client was not told so")]
    Downgraded,
}

/// Reads a PLAIN response: base64 of `[act-as] NUL name NUL password`.
///
/// # Errors
/// [`SaslError`] for anything else.
pub fn decode_plain(response: &[u8]) -> Result<Credentials, SaslError> {
    let text = decode(response)?;
    let mut parts = text.splitn(3, '\0');
    let (Some(act_as), Some(name), Some(password)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    if !act_as.is_empty() && act_as != name {
        return Err(SaslError::OtherIdentity);
    }
    Credentials::new(name, password)
}

/// Reads one response of LOGIN: base64 of a name or a password.
///
/// # Errors
/// [`SaslError::Malformed`] when it is not that.
pub fn decode_login(response: &[u8]) -> Result<Secret, SaslError> {
    Ok(Secret(decode(response)?))
}

impl Credentials {
    /// A name and a password, if they can be one's.
    ///
    /// # Errors
    /// [`SaslError::Malformed`] when one is empty, too long, or holds a NUL, or the name a control character.
    pub fn new(name: &str, password: &str) -> Result<Self, SaslError> {
        let good_name =
            (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        let good_password =
            (1..=PASSWORD_BYTES).contains(&password.len()) && !password.contains('\0');
        if good_name && good_password {
            Ok(Self {
                name: name.to_owned(),
                password: Secret::new(password),
            })
        } else {
            Err(SaslError::Malformed)
        }
    }
}

impl Secret {
    /// Wraps a password.
    pub fn new(password: &str) -> Self {
        Self(Zeroizing::new(password.to_owned()))
    }

    /// The password itself: to be hashed and compared, nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Padding may be missing: some clients leave it out, and it carries nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(response: &[u8]) -> Result<Zeroizing<String>, SaslError> {
    // Sized first, so that no reallocation leaves a copy behind.
    let mut bytes = Zeroizing::new(vec![0_u8; base64::decoded_len_estimate(response.len())]);
    let length = BASE64
        .decode_slice(response, &mut bytes)
        .map_err(|_| SaslError::Malformed)?;
    let text = bytes
        .get(..length)
        .and_then(|used| std::str::from_utf8(used).ok())
        .ok_or(SaslError::Malformed)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plain(raw: &str) -> Result<(String, String), SaslError> {
        let encoded = base64::engine::general_purpose::STANDARD.encode(raw);
        decode_plain(encoded.as_bytes())
            .map(|got| (got.name.clone(), got.password.expose().to_owned()))
    }

    #[test]
    fn plain_carries_a_name_and_a_password() {
        let expected = Ok(("birrell@pa".to_owned(), "se same".to_owned()));
        assert_eq!(plain("\0birrell@pa\0se same"), expected);
        assert_eq!(plain("birrell@pa\0birrell@pa\0se same"), expected);
        assert_eq!(
            decode_plain(b"AGEAYg").unwrap().name,
            "a",
            "padding left out"
        );
    }

    #[test]
    fn acting_for_another_is_refused() {
        assert_eq!(
            plain("needham@pa\0birrell@pa\0x"),
            Err(SaslError::OtherIdentity)
        );
    }

    #[test]
    fn what_is_not_a_name_and_a_password_is_refused() {
        for raw in [
            "",
            "\0",
            "\0a",
            "a\0b",
            "\0\0x",
            "\0a\0",
            "\0a\nb\0x",
            "\0a\0x\0y",
        ] {
            assert_eq!(plain(raw), Err(SaslError::Malformed), "{raw:?}");
        }
        assert_eq!(
            plain(&format!("\0a\0{}", "x".repeat(PASSWORD_BYTES + 1))),
            Err(SaslError::Malformed)
        );
        for response in [&b"!"[..], b"AG E=", b"====", b"\xff", b"AP8A/w=="] {
            assert_eq!(
                decode_plain(response).map(|_| ()),
                Err(SaslError::Malformed)
            );
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Credentials::new("a", "sesame").unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
    }
}
