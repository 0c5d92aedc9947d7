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
    /// SMTP submission with STARTTLS.
    Submission,
    /// SMTP submission, TLS from the first byte.
    Submissions,
    /// POP3 with STLS.
    Pop3,
    /// POP3, TLS from the first byte.
    Pop3s,
    /// LDAP with StartTLS.
    Ldap,
    /// LDAP, TLS from the first byte.
    Ldaps,
    /// DNS, authoritative for the registries held.
    Dns,
}

impl Door {
    /// All doors.
    pub const ALL: [Self; 11] = [
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
    ];

    /// Its name in files and connect sites.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Http => "http",
            Self::Https => "https",
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Ldap => "ldap",
            Self::Ldaps => "ldaps",
            Self::Dns => "dns",
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
    /// Its public key (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// The life of the disk it writes with.
    pub origin: OriginId,
    /// What it does.
    pub role: ServerRole,
    /// Where it is reached, `host:port`, by door.
    pub doors: BTreeMap<Door, String>,
}
