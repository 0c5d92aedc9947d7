//! The passwords that open an outbox while no server can be asked, as an attacker with the disk would see them: salts and seals.
//!
//! The data key is wrapped once for each credential that a server has taken: a key made from it by Argon2id (or, for a ticket, which
//! nobody guesses, by one hash) opens the wrap, or does not. That is also how a login is checked while no server can be reached. Must
//! never hold a password or anything that checks one cheaply, nor let in by a credential that a server has refused since.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{Aad, Nonce};
use data_encoding::BASE64;
use grapevine_model::{Authenticated, Secret};
use grapevine_rpc::is_ticket;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::remembered::write_private;
use crate::sealed::{DataKey, cipher};
use crate::submit::wall_ms;

/// Credentials of one person on one workstation: a password, and app passwords of some programs. The one that was good longest ago goes.
const WRAPS_MAX: usize = 8;
/// What a guess costs whoever has the disk (the servers' own standard: OWASP's 19 MiB, 2 passes).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// More is not taken from a file.
const MEMORY_KIB_MAX: u32 = 128 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 4;
const SALT_BYTES: usize = 16;
/// A file of keys has some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const TICKET_CONTEXT: &str = "grapevine 2026-11-23 wrap of an outbox's key by a ticket";

/// What a credential has opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The key.
    pub key: DataKey,
    /// Who it was, when a server took the credential last.
    pub who: Authenticated,
    /// Whether that still counts as a login.
    pub standing: Standing,
}

/// What a credential is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It was right when a server was asked last.
    Good,
    /// A server has refused it since: it opens what was sealed under it, and lets nobody in.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Argon2id,
    Ticket,
}

/// The wraps of one data key, and their file.
#[derive(Debug)]
pub struct KeyRing {
    path: PathBuf,
    wraps: Vec<Wrap>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wrap {
    kind: Kind,
    standing: Standing,
    good_ms: u64,
    who: Authenticated,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    wraps: Vec<Wrap>,
}

impl KeyRing {
    /// Reads the file; without one there are no wraps yet.
    ///
    /// # Errors
    /// It is there and can't be read: its keys are not to be written over.
    pub fn read(path: &Path) -> io::Result<Self> {
        let wraps = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
            Ok(file) if file.len() > FILE_BYTES_MAX => {
                return Err(io::Error::other("this is no file of keys"));
            }
            Ok(_) => {
                let read: KeyFile = serde_json::from_slice(&fs::read(path)?)?;
                if read.version != 1 {
                    return Err(io::Error::other("a newer release has written it"));
                }
                read.wraps
            }
        };
        Ok(Self {
            path: path.to_owned(),
            wraps,
        })
    }

    /// Whether no credential opens it.
    pub fn is_empty(&self) -> bool {
        self.wraps.is_empty()
    }

    /// What a credential opens, if anything. Takes as long as a hash takes, for each wrap: call it away from the async threads.
    pub fn open(&self, credential: &Secret) -> Option<Opened> {
        let opens = |wrap: &Wrap| {
            Some(Opened {
                key: wrap.open(credential)?,
                who: wrap.who.clone(),
                standing: wrap.standing,
            })
        };
        self.wraps.iter().find_map(opens)
    }

    /// A server has taken this credential: from now on it opens the key.
    ///
    /// # Errors
    /// It can't be written down.
    pub fn keep(
        &mut self,
        credential: &Secret,
        who: &Authenticated,
        key: &DataKey,
    ) -> io::Result<()> {
        let now_ms = wall_ms();
        let before = self.wraps.clone();
        // Its old wrap goes with its salt. Of what a ticket opens only the last one counts: tickets are renewed.
        let kind = kind_of(credential);
        self.wraps.retain(|wrap| match (wrap.kind, kind) {
            (Kind::Ticket, Kind::Ticket) => false,
            (one, other) => one != other || wrap.open(credential).is_none(),
        });
        self.wraps.push(Wrap::new(credential, who, key, now_ms)?);
        if self.wraps.len() > WRAPS_MAX {
            self.wraps.sort_by_key(|wrap| wrap.good_ms);
            let more = self.wraps.len() - WRAPS_MAX;
            self.wraps.drain(..more);
        }
        self.write().inspect_err(|_| self.wraps = before)
    }

    /// A server has refused this credential: it lets nobody in any more. What it opens is given back.
    ///
    /// # Errors
    /// It can't be written down.
    pub fn refuse(&mut self, credential: &Secret) -> io::Result<Option<Opened>> {
        let found = self
            .wraps
            .iter_mut()
            .find_map(|wrap| wrap.open(credential).map(|key| (wrap, key)));
        let Some((wrap, key)) = found else {
            return Ok(None);
        };
        let changed = wrap.standing != Standing::Refused;
        wrap.standing = Standing::Refused;
        let opened = Opened {
            key,
            who: wrap.who.clone(),
            standing: Standing::Refused,
        };
        if changed {
            self.write()?;
        }
        Ok(Some(opened))
    }

    fn write(&self) -> io::Result<()> {
        let file = KeyFile {
            version: 1,
            wraps: self.wraps.clone(),
        };
        write_private(&self.path, &serde_json::to_vec_pretty(&file)?)
    }
}

impl Wrap {
    fn new(
        credential: &Secret,
        who: &Authenticated,
        key: &DataKey,
        now_ms: u64,
    ) -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let mut wrap = Self {
            kind: kind_of(credential),
            standing: Standing::Good,
            good_ms: now_ms,
            who: who.clone(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: BASE64.encode(&salt),
            sealed: String::new(),
        };
        let with = wrap
            .key_from(credential)
            .ok_or_else(|| io::Error::other("no key could be made of the password"))?;
        let mut sealed = Zeroizing::new(key.octets().to_vec());
        cipher(&with)?
            .seal_in_place_append_tag(once(), Aad::from(wrap.name()), &mut *sealed)
            .map_err(|_| io::Error::other("the key could not be wrapped"))?;
        wrap.sealed = BASE64.encode(&sealed);
        Ok(wrap)
    }

    fn open(&self, credential: &Secret) -> Option<DataKey> {
        if self.kind != kind_of(credential) {
            return None;
        }
        let with = self.key_from(credential)?;
        let mut sealed = Zeroizing::new(BASE64.decode(self.sealed.as_bytes()).ok()?);
        let opened = cipher(&with)
            .ok()?
            .open_in_place(once(), Aad::from(self.name()), &mut sealed)
            .ok()?;
        DataKey::from_octets(opened)
    }

    /// What the wrap is bound to: nobody else's can be put in its place.
    fn name(&self) -> Vec<u8> {
        self.who.name.to_string().to_lowercase().into_bytes()
    }

    fn key_from(&self, credential: &Secret) -> Option<Zeroizing<[u8; 32]>> {
        let salt = BASE64.decode(self.salt.as_bytes()).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        match self.kind {
            Kind::Ticket => {
                let mut material = Zeroizing::new(salt);
                material.extend_from_slice(credential.0.as_bytes());
                *key = blake3::derive_key(TICKET_CONTEXT, &material);
                material.zeroize();
            }
            Kind::Argon2id => {
                let within = (8..=MEMORY_KIB_MAX).contains(&self.memory_kib)
                    && (1..=PASSES_MAX).contains(&self.passes)
                    && (1..=LANES_MAX).contains(&self.lanes);
                let params = within
                    .then(|| Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok())
                    .flatten()?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(credential.0.as_bytes(), &salt, key.as_mut())
                    .ok()?;
            }
        }
        Some(key)
    }
}

/// A wrapping key seals one thing, once: each wrap has a salt of its own.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn kind_of(credential: &Secret) -> Kind {
    match is_ticket(&credential.0) {
        true => Kind::Ticket,
        false => Kind::Argon2id,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{Hlc, Incarnation, OriginId, Stamp};

    use super::*;

    fn who() -> Authenticated {
        Authenticated {
            name: "birrell@pa.example".parse().unwrap(),
            incarnation: Incarnation(7),
            credentials: Stamp {
                time: Hlc(1),
                origin: OriginId(1),
            },
            app_password: None,
        }
    }

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[test]
    fn a_password_opens_the_key_and_no_other_does_and_nothing_of_it_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut ring = KeyRing::read(&path).unwrap();
        assert!(ring.is_empty() && ring.open(&secret("correct horse")).is_none());
        let key = DataKey::random().unwrap();
        ring.keep(&secret("correct horse"), &who(), &key).unwrap();
        let read = KeyRing::read(&path).unwrap();
        let opened = read.open(&secret("correct horse")).unwrap();
        assert_eq!(opened.key.octets(), key.octets());
        assert_eq!((opened.who, opened.standing), (who(), Standing::Good));
        for wrong in ["correct hors", "", "correct horse "] {
            assert!(read.open(&secret(wrong)).is_none());
        }
        let file = fs::read(&path).unwrap();
        let has = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
        assert!(!has(b"horse") && !has(BASE64.encode(key.octets()).as_bytes()));
    }

    #[test]
    fn what_a_server_has_refused_opens_and_lets_nobody_in_until_a_server_takes_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut ring = KeyRing::read(&path).unwrap();
        let key = DataKey::random().unwrap();
        ring.keep(&secret("the old one"), &who(), &key).unwrap();
        assert!(ring.refuse(&secret("a wrong one")).unwrap().is_none());
        assert!(ring.refuse(&secret("the old one")).unwrap().is_some());
        let read = KeyRing::read(&path).unwrap();
        let opened = read.open(&secret("the old one")).unwrap();
        assert_eq!(opened.standing, Standing::Refused);
        ring.keep(&secret("the old one"), &who(), &key).unwrap();
        assert_eq!(
            ring.open(&secret("the old one")).unwrap().standing,
            Standing::Good
        );
    }

    #[test]
    fn the_credential_good_longest_ago_goes_first_and_of_tickets_the_last_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = KeyRing::read(&folder.path().join("keys.json")).unwrap();
        let key = DataKey::random().unwrap();
        for number in 0..=WRAPS_MAX {
            let password = secret(&format!("password {number}"));
            ring.keep(&password, &who(), &key).unwrap();
        }
        assert_eq!(ring.wraps.len(), WRAPS_MAX);
        assert!(ring.open(&secret("password 0")).is_none());
        assert!(ring.open(&secret("password 8")).is_some());
        let ticket = |n: u8| secret(&format!("{}{n}", grapevine_model::TICKET_PREFIX));
        ring.keep(&ticket(1), &who(), &key).unwrap();
        ring.keep(&ticket(2), &who(), &key).unwrap();
        assert!(ring.open(&ticket(1)).is_none());
        assert!(ring.open(&ticket(2)).is_some());
    }
}
