//! Who has proved to be who, from where, and what that proof hangs on.
//!
//! A proof is never worth more than the credentials that it was made with: it carries their stamp,
//! and whoever relies on it later asks again whether they are still the same ([`Request::Vouch`]).
//!
//! [`Request::Vouch`]: crate::Request::Vouch

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, ServerName};
use crate::name::Name;
use crate::stamp::Stamp;

/// What every app password begins with: so that one is known by its form, and never costs a slow hash.
pub const APP_PASSWORD_PREFIX: &str = "gvap_";
/// What every ticket's text begins with.
pub const TICKET_PREFIX: &str = "gvt1_";
/// Longest label of an app password in octets: the name of a device fits.
pub const MAX_LABEL_BYTES: usize = 64;

/// Where a login comes from: every door says so with each one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A server of an older release did not say.
    Unknown,
    /// This server's own machine, by a way that only its operator opens.
    Local,
    /// An address on the network.
    Address(IpAddr),
}

impl Source {
    /// The address of a connection. Of an IPv6 address the network counts (64 bits): that much
    /// anybody has to himself.
    pub fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

/// An individual that has proved to be itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Authenticated {
    /// The name, in the spelling of its entry.
    pub name: Name,
    /// What the name means now.
    pub incarnation: Incarnation,
    /// The stamp of the credentials that it was proved by: when they change, the proof is worth
    /// nothing.
    pub credentials: Stamp,
    /// The id of the app password that it was proved by; none for the password itself. An app
    /// password reads and sends mail and reads the directory, and does nothing else.
    pub app_password: Option<String>,
}

/// What a ticket says; a server's signature stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Of which Grapevine: the incarnation of its `gv`.
    pub grapevine: Incarnation,
    /// The server that has signed it.
    pub issuer: ServerName,
    /// Whose it is.
    pub who: Authenticated,
    /// When the password was checked, milliseconds since 1970: renewing leaves it as it is.
    pub proved_ms: u64,
    /// When this ticket was issued, milliseconds since 1970.
    pub issued_ms: u64,
    /// Until when it serves, milliseconds since 1970.
    pub expires_ms: u64,
}

/// An app password as it is kept: what is typed is random, so a fast hash suffices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPassword {
    /// Which: its first part, no secret.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// BLAKE3 of the whole app password.
    pub digest: [u8; 32],
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Until when it serves, milliseconds since 1970; none for until it is removed.
    pub expires_ms: Option<u64>,
}

/// An app password, for its owner to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPasswordView {
    /// Which.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Milliseconds since 1970; none for until it is removed.
    pub expires_ms: Option<u64>,
}

/// How a login ended, for the other servers' counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LoginOutcome {
    /// The password was wrong, or there is no such name.
    Wrong,
    /// The password was right: whoever comes from there is no stranger.
    Right,
}

/// One login elsewhere, told softly: it may be lost, and lives in memory only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginNews {
    /// The name that was given, whether or not it exists.
    pub name: Name,
    /// From where.
    pub source: Source,
    /// How it ended.
    pub outcome: LoginOutcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
