//! What a list adds to the copies of its members: the header fields of RFC 2369, 2919 and 8058.
//!
//! A body stays one for all recipients, so these stand in front of it when a copy is read and are never
//! stored with it. The same value gives the same octets for ever: sizes that a mail program
//! has seen hold.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::id::Incarnation;
use crate::name::Name;

/// Octets of a token's proof.
pub const UNSUBSCRIBE_PROOF_BYTES: usize = 16;

/// A member's way out of a list, with a proof that the list's holders made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The list, whatever it is called now.
    pub group: Incarnation,
    /// Who leaves.
    pub member: Incarnation,
    /// Keyed by a secret of the list's registry.
    pub proof: [u8; UNSUBSCRIBE_PROOF_BYTES],
}

/// Whose copy, of which list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListCopy {
    /// The list of which the recipient is a member himself.
    pub list: Name,
    /// Where the API of a server that knows the list is reached, as `host:port`, if it is.
    pub https: Option<String>,
    /// None where the copy did not go to the member himself.
    pub unsubscribe: Option<Unsubscribe>,
}

impl Unsubscribe {
    /// As it stands in an address: hexadecimal, list, member and proof.
    pub fn token(&self) -> String {
        let mut token = format!("{:032x}{:032x}", self.group.0, self.member.0);
        for byte in self.proof {
            // Writing to a string cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// Read from an address.
    pub fn from_token(token: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(token.as_bytes()).ok()?;
        let (group, rest) = bytes.split_first_chunk::<16>()?;
        let (member, proof) = rest.split_first_chunk::<16>()?;
        Some(Self {
            group: Incarnation(u128::from_be_bytes(*group)),
            member: Incarnation(u128::from_be_bytes(*member)),
            proof: proof.try_into().ok()?,
        })
    }
}

impl ListCopy {
    /// The header fields, in front of the message.
    pub fn header(&self) -> String {
        let (simple, registry) = (escaped(self.list.simple()), self.list.registry().as_str());
        let owners = format!("<mailto:owners-{simple}@{registry}>");
        let mut header = format!(
            "List-Id: <{simple}.{registry}>\r\n\
             List-Post:\r\n\t<mailto:{simple}@{registry}>\r\n\
             List-Owner:\r\n\t{owners}\r\n"
        );
        let by_mail = format!("<mailto:owners-{simple}@{registry}?subject=unsubscribe>");
        match (&self.https, &self.unsubscribe) {
            (Some(https), Some(unsubscribe)) => {
                let token = unsubscribe.token();
                header.push_str(&format!(
                    "List-Unsubscribe:\r\n\t<https://{https}/unsubscribe/{simple}@{registry}/{token}>,\r\n\t{by_mail}\r\n\
                     List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
                ));
            }
            _ => header.push_str(&format!("List-Unsubscribe:\r\n\t{by_mail}\r\n")),
        }
        header
    }
}

/// A simple name as it may stand in an address of RFC 3986.
fn escaped(simple: &str) -> String {
    let mut escaped = String::with_capacity(simple.len());
    for byte in simple.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(https: Option<&str>) -> ListCopy {
        ListCopy {
            list: "csl^@pa.example".parse().unwrap(),
            https: https.map(ToOwned::to_owned),
            unsubscribe: Some(Unsubscribe {
                group: Incarnation(1),
                member: Incarnation(2),
                proof: [3; UNSUBSCRIBE_PROOF_BYTES],
            }),
        }
    }

    #[test]
    fn the_fields_of_a_list_are_those_of_the_rfcs() {
        let header = copy(Some("a.example:443")).header();
        let token = copy(None).unsubscribe.unwrap().token();
        let expected = format!(
            "List-Id: <csl%5E.pa.example>\r\nList-Post:\r\n\t<mailto:csl%5E@pa.example>\r\n\
             List-Owner:\r\n\t<mailto:owners-csl%5E@pa.example>\r\nList-Unsubscribe:\r\n\
             \t<https://a.example:443/unsubscribe/csl%5E@pa.example/{token}>,\r\n\
             \t<mailto:owners-csl%5E@pa.example?subject=unsubscribe>\r\n\
             List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        );
        assert_eq!(header, expected);
        let mail_only = copy(None).header();
        assert!(!mail_only.contains("One-Click") && mail_only.contains("mailto:owners-"));
    }

    #[test]
    fn a_token_comes_back_and_another_text_is_none() {
        let unsubscribe = copy(None).unsubscribe.unwrap();
        let token = unsubscribe.token();
        assert_eq!(Unsubscribe::from_token(&token), Some(unsubscribe));
        for bad in [
            "",
            "00",
            &token[1..],
            &format!("{token}00"),
            &token.replace('0', "g"),
        ] {
            assert_eq!(Unsubscribe::from_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_long_name_beyond_ascii_makes_lines_that_mail_may_have() {
        let list = format!("{}@pa.example", "\u{e9}".repeat(32));
        let copy = ListCopy {
            list: list.parse().unwrap(),
            ..copy(Some("a.example:443"))
        };
        let header = copy.header();
        assert!(header.is_ascii());
        assert!(header.split("\r\n").all(|line| line.len() < 998));
    }
}
