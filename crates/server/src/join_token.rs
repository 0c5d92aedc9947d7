//! The text that lets one new server in: where to call, which keys to expect there, and a secret.
//!
//! Only the secret's BLAKE3 is kept in `gv`, so who can read `gv` can't come in. The keys are pinned:
//! whoever carries the token to the new machine is the only one who has to be trusted.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use grapevine_model::{Door, ServerInfo};
use grapevine_rpc::tls::key_pin;

/// Before the rest, so that people and scanners of leaked secrets know what it is.
const PREFIX: &str = "grapevine-join-1.";
const SECRET_BYTES: usize = 16;
const PIN_BYTES: usize = 32;
/// A few bytes of digest tell a mangled token from a refused one.
const CHECK_BYTES: usize = 4;
/// More servers than these are not needed to find one that is up.
pub(crate) const SERVERS_MAX: usize = 3;
/// Places and pins in one token, in octets: so that its text can be read again.
const PLACES_MAX_BYTES: usize = 1_400;
/// Longest text that is read at all.
const TEXT_MAX_BYTES: usize = 2_048;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    secret: [u8; SECRET_BYTES],
    /// Where to call, and the pin of the key to expect.
    pub(crate) servers: Vec<(String, [u8; PIN_BYTES])>,
}

/// The text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// Something else.
    #[error("this is no join token: one begins with {PREFIX:?}; `grapevine token` prints one")]
    NoToken,
    /// Something is missing or was changed.
    #[error("the join token is not whole: copy all of it, or get a new one with `grapevine token`")]
    Mangled,
    /// The servers can't be put into one.
    #[error("no server of this Grapevine has an rpc door to call")]
    NoServers,
}

impl JoinToken {
    /// A token with a new secret, for calling these servers.
    ///
    /// # Errors
    /// None of them can be called; no random bytes.
    pub(crate) fn new(servers: &[ServerInfo]) -> Result<Self, TokenError> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|_| TokenError::NoServers)?;
        let callable = servers.iter().filter_map(|server| {
            let at = server.doors.get(&Door::Rpc)?;
            Some((at.clone(), server))
        });
        let callable: Vec<_> = callable.take(SERVERS_MAX).collect();
        let present = callable
            .iter()
            .map(|(at, server)| (at.clone(), key_pin(&server.public_key)));
        // A server may change to its next key while the token is on its way.
        let more = callable.iter().flat_map(|(at, server)| {
            let pins = server.more_keys.iter().map(|key| key_pin(key));
            pins.map(move |pin| (at.clone(), pin))
        });
        let mut room = PLACES_MAX_BYTES;
        let fits = |(at, _): &(String, [u8; PIN_BYTES])| {
            let left = room.checked_sub(1 + at.len() + PIN_BYTES);
            room = left.unwrap_or(room);
            left.is_some()
        };
        let servers: Vec<_> = present.chain(more).filter(fits).collect();
        if servers.is_empty() {
            return Err(TokenError::NoServers);
        }
        Ok(Self { secret, servers })
    }

    /// BLAKE3 of the secret: what `gv` keeps.
    pub(crate) fn digest(&self) -> Vec<u8> {
        blake3::hash(&self.secret).as_bytes().to_vec()
    }
}

/// Never the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken for {} places", self.servers.len())
    }
}

/// The token itself: secret.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.secret.to_vec();
        for (at, pin) in &self.servers {
            let len = u8::try_from(at.len()).map_err(|_| fmt::Error)?;
            bytes.push(len);
            bytes.extend_from_slice(at.as_bytes());
            bytes.extend_from_slice(pin);
        }
        let check = blake3::hash(&bytes);
        bytes.extend(check.as_bytes().iter().take(CHECK_BYTES));
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::NoToken)?;
        if text.len() > TEXT_MAX_BYTES {
            return Err(TokenError::Mangled);
        }
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| TokenError::Mangled)?;
        parse(&bytes).ok_or(TokenError::Mangled)
    }
}

fn parse(bytes: &[u8]) -> Option<JoinToken> {
    let (content, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if !blake3::hash(content).as_bytes().starts_with(check) {
        return None;
    }
    let (secret, mut rest) = content.split_first_chunk::<SECRET_BYTES>()?;
    let mut servers = Vec::new();
    while let Some((len, after)) = rest.split_first() {
        let (at, after) = after.split_at_checked(usize::from(*len))?;
        let (pin, after) = after.split_first_chunk::<PIN_BYTES>()?;
        servers.push((String::from_utf8(at.to_vec()).ok()?, *pin));
        rest = after;
    }
    (!servers.is_empty()).then_some(JoinToken {
        secret: *secret,
        servers,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{OriginId, ServerRole};

    use super::*;

    fn server(n: u8) -> ServerInfo {
        ServerInfo {
            name: format!("s{n}").parse().unwrap(),
            public_key: vec![n; 91],
            more_keys: vec![vec![n ^ 0x80; 91]],
            origin: OriginId::server(u64::from(n)),
            role: ServerRole::Full,
            doors: [(Door::Rpc, format!("s{n}.example.org:7101"))].into(),
        }
    }

    #[test]
    fn a_token_reads_back_and_any_changed_letter_is_noticed() {
        let token = JoinToken::new(&[server(1), server(2), server(3), server(4)]).unwrap();
        assert_eq!(token.servers.len(), 2 * SERVERS_MAX, "their next keys, too");
        assert_eq!(
            token.servers[3],
            ("s1.example.org:7101".into(), key_pin(&[0x81; 91]))
        );
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!("  {text}\n").parse::<JoinToken>().unwrap(), token);
        for at in PREFIX.len()..text.len() {
            let mut mangled = text.clone().into_bytes();
            mangled[at] = if mangled[at] == b'A' { b'B' } else { b'A' };
            let mangled = String::from_utf8(mangled).unwrap();
            assert!(mangled.parse::<JoinToken>().is_err(), "{at}");
        }
        assert_eq!(
            text[..text.len() - 9].parse::<JoinToken>(),
            Err(TokenError::Mangled)
        );
    }

    #[test]
    fn two_tokens_have_two_secrets_and_none_is_printed_by_debug() {
        let (one, two) = (
            JoinToken::new(&[server(1)]).unwrap(),
            JoinToken::new(&[server(1)]).unwrap(),
        );
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.digest().len(), 32);
        assert_eq!(format!("{one:?}"), "JoinToken for 2 places");
        assert_eq!(JoinToken::new(&[]), Err(TokenError::NoServers));
        assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::NoToken));
    }
}
