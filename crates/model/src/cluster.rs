//! A server as `gv` records it: its key, where it is reached, what it does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{OriginId, ServerName};

/// A listening place of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Servers and GrapevineUser.
    Rpc,
    /// The console, `/metrics`, `/healthz`, `/readyz`.
    Http,
    /// The API inside TLS.
    Https,
    /// SMTP receiving.
    Smtp,
    /// LMTP, for a mail server that hands over what is for this Grapevine.
    Lmtp,
    /// SMTP submission with STARTTLS.
    Submission,
    /// SMTP submission, TLS from the first byte.
    Submissions,
    /// POP3 with STLS.
    Pop3,
    /// POP3, TLS from the first byte.
    Pop3s,
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP, TLS from the first byte.
    Imaps,
    /// LDAP with StartTLS.
    Ldap,
    /// LDAP, TLS from the first byte.
    Ldaps,
    /// DNS, authoritative for the registries held.
    Dns,
    /// ManageSieve with STARTTLS.
    Sieve,
}

impl Door {
    /// All doors.
    pub const ALL: [Self; 15] = [
        Self::Rpc,
        Self::Http,
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Pop3,
        Self::Pop3s,
        Self::Ldap,
        Self::Ldaps,
        Self::Dns,
        Self::Https,
        // `up` gives ports in this order: new ones come last.
        Self::Lmtp,
        Self::Imap,
        Self::Imaps,
        Self::Sieve,
    ];

    /// Its name in files and connect sites.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Http => "http",
            Self::Https => "https",
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Ldap => "ldap",
            Self::Ldaps => "ldaps",
            Self::Dns => "dns",
            Self::Sieve => "sieve",
        }
    }

    /// The door of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.as_str() == name)
    }
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// Registration and message server, takes part in everything.
    Full,
    /// Being retired: takes no new holdings, inboxes or custody.
    Retiring,
}

/// A server as the registration database describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Its name.
    pub name: ServerName,
    /// The public key that it uses (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// Other keys that are its own: the one that it uses next, those that it used before.
    #[serde(default)]
    pub more_keys: Vec<Vec<u8>>,
    /// The life of the disk it writes with.
    pub origin: OriginId,
    /// What it does.
    pub role: ServerRole,
    /// Where it is reached, `host:port`, by door.
    pub doors: BTreeMap<Door, String>,
}

impl ServerInfo {
    /// All keys on record for it, the one that it uses first.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.public_key)
            .chain(&self.more_keys)
            .map(Vec::as_slice)
    }

    /// Whether a key is on record for it.
    pub fn has_key(&self, spki: &[u8]) -> bool {
        self.keys().any(|key| key == spki)
    }
}

/// For whom a server that changes its key waits before it uses the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyWait {
    /// For all servers, and for clients that ask rarely: the key is announced for days.
    Everybody,
    /// For all servers.
    Servers,
    /// For the servers that can be reached now; then the old key is worth nothing at once. For a key
    /// that somebody else may have.
    Nobody,
}
