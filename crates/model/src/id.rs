//! Identities: of servers, of writers, of entries, of messages.
//!
//! A message id that a client brings has the top bit of its origin set, one
//! that a server issues has it clear, so nobody can claim an id that a server
//! will issue (docs/decisions, message ids).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::name::{Name, RegistryName};
use crate::stamp::Hlc;

/// Marks the origins that clients draw for the ids they bring.
const CLIENT_BIT: u64 = 1 << 63;

/// The name of a server: one DNS label, the simple name of `S@gv`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(Arc<str>);

/// Why a text is no server's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a server's name is one DNS label: 1 to 63 letters, digits, hyphens inside")]
pub struct ServerNameError;

impl ServerName {
    /// Its text, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its entry in the registration database, `S@gv`.
    pub fn name(&self) -> Option<Name> {
        Name::new(&self.0, RegistryName::gv()).ok()
    }

    /// The server that a member of `R@gv` names.
    pub fn of(name: &Name) -> Option<Self> {
        (*name.registry() == RegistryName::gv())
            .then(|| name.folded().parse().ok())
            .flatten()
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        let text = text.strip_suffix("@gv").unwrap_or(text);
        match text.parse::<RegistryName>() {
            Ok(label) if !label.as_str().contains('.') => Ok(Self(label.as_str().into())),
            _ => Err(ServerNameError),
        }
    }
}

impl TryFrom<String> for ServerName {
    type Error = ServerNameError;
    fn try_from(text: String) -> Result<Self, ServerNameError> {
        text.parse()
    }
}
impl From<ServerName> for String {
    fn from(server: ServerName) -> String {
        server.as_str().to_owned()
    }
}
impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of one server's disk: 63 random bits, drawn anew when a data folder is founded or
/// restored, so that no dot is ever given out twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OriginId(pub u64);

impl OriginId {
    /// The origin of a server, from random bits.
    pub fn server(random: u64) -> Self {
        Self(random & !CLIENT_BIT)
    }

    /// The origin of one submission by a client, from random bits.
    pub fn client(random: u64) -> Self {
        Self(random | CLIENT_BIT)
    }

    /// Whether a client drew it.
    pub fn is_client(self) -> bool {
        self.0 & CLIENT_BIT != 0
    }
}

impl fmt::Debug for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What an entry is, whatever it is called: 128 random bits given at creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u128);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The identity of a message, everywhere and for ever: when it was submitted and by whom it was
/// numbered. Ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId {
    /// When it was numbered.
    pub time: Hlc,
    /// Who numbered it.
    pub origin: OriginId,
}

impl MessageId {
    /// As a number: the item of a mailbox's cells.
    pub fn to_u128(self) -> u128 {
        (u128::from(self.time.0) << 64) | u128::from(self.origin.0)
    }

    /// From such a number.
    pub fn from_u128(bits: u128) -> Self {
        Self {
            time: Hlc((bits >> 64) as u64),
            origin: OriginId(bits as u64),
        }
    }

    /// Sixteen bytes, ordered as the ids are.
    pub fn to_bytes(self) -> [u8; 16] {
        self.to_u128().to_be_bytes()
    }

    /// From sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_u128(u128::from_be_bytes(bytes))
    }
}

/// The text was not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message id is 32 hexadecimal digits")]
pub struct MessageIdError;

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let lower = text.trim().to_ascii_lowercase();
        let bytes = HEXLOWER
            .decode(lower.as_bytes())
            .map_err(|_| MessageIdError)?;
        Ok(Self::from_bytes(
            bytes.try_into().map_err(|_| MessageIdError)?,
        ))
    }
}
impl TryFrom<String> for MessageId {
    type Error = MessageIdError;
    fn try_from(text: String) -> Result<Self, MessageIdError> {
        text.parse()
    }
}
impl From<MessageId> for String {
    fn from(id: MessageId) -> String {
        id.to_string()
    }
}
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.to_u128())
    }
}
impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Joins a request with its reply, between one shell and its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_prints_and_parses_and_sorts_by_time() {
        let early = MessageId {
            time: Hlc(1),
            origin: OriginId(u64::MAX),
        };
        let late = MessageId {
            time: Hlc(2),
            origin: OriginId(0),
        };
        assert!(early < late && early.to_bytes() < late.to_bytes());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!("xyz".parse::<MessageId>().is_err());
    }

    #[test]
    fn a_server_is_one_label() {
        assert_eq!("S1@gv".parse::<ServerName>().unwrap().as_str(), "s1");
        assert!("a.b".parse::<ServerName>().is_err());
        assert!("".parse::<ServerName>().is_err());
    }
}
