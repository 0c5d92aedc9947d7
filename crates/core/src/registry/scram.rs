//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what a challenge says, and whether a proof is right.
//!
//! Must never tell by a challenge whether a name exists: salts are made of the name and a secret that
//! all servers share through `gv`, for those that exist too. A verifier hangs on the stamp of the
//! credentials that it was made from, so it is worth nothing once they change, and never leaves the
//! holders of its registry.

use grapevine_model::{
    Authenticated, ErrorKind, Field, LoginOutcome, Name, Refusal, RegistryName, Reply, ScramPolicy,
    Secret, Source, Speaker, Stamp,
};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec;
use crate::effect::Effect;
use crate::registry::database::{Entry, single};
use crate::registry::lockout::Verdict;
use crate::registry::login::{credentials_of, wrong};
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Iterations of PBKDF2 that a client spends at each login, and a thief of a disk at each guess. RFC
/// 7677 asks for 4,096 at least; so many take a mail program some tens of milliseconds.
pub const SCRAM_ITERATIONS: u32 = 100_000;
/// What makes a name's salt out of a registry's secret.
const SALT_CONTEXT: &[u8] = b"grapevine-scram-salt-1\0";

/// What is to be kept of a password that is being checked, should it be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScramOrder {
    /// The salt.
    pub salt: [u8; 16],
    /// The iterations of PBKDF2-HMAC-SHA-256.
    pub iterations: u32,
}

/// What a proof is checked by (RFC 5802 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramKeys {
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// An individual's verifier, as it is stored.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Verifier {
    salt: [u8; 16],
    iterations: u32,
    keys: ScramKeys,
    /// The stamp of the credentials that it was made from.
    credentials: Stamp,
}

/// A registry's switch, as `R@gv` holds it.
#[derive(Serialize, Deserialize)]
struct Switch {
    policy: ScramPolicy,
    secret: [u8; 32],
}

impl ScramKeys {
    /// Of a password as PBKDF2 has salted it.
    pub fn of(salted: &[u8; 32]) -> Self {
        Self {
            stored_key: sha256(&hmac(salted, b"Client Key")),
            server_key: hmac(salted, b"Server Key"),
        }
    }

    /// The server's signature, if the proof is right.
    fn check(&self, said: &str, proof: &[u8; 32]) -> Option<[u8; 32]> {
        let mut client_key = hmac(&self.stored_key, said.as_bytes());
        for (byte, proof) in client_key.iter_mut().zip(proof) {
            *byte ^= proof;
        }
        let signature = hmac(&self.server_key, said.as_bytes());
        // `blake3::Hash` compares in constant time.
        let right = blake3::Hash::from_bytes(sha256(&client_key))
            == blake3::Hash::from_bytes(self.stored_key);
        right.then_some(signature)
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Server {
    /// Tells the doors whether to offer it: the list of mechanisms comes before the name, so one
    /// registry suffices.
    pub(crate) fn offer_scram(&mut self) {
        let on = self.policies.values().any(|p| p.scram == ScramPolicy::On);
        let offered = if on {
            ScramPolicy::On
        } else {
            ScramPolicy::Off
        };
        if offered != self.scram_offered {
            self.scram_offered = offered;
            self.ledger.emit_now(Effect::Scram(offered));
        }
    }

    /// The cell of a registry's switch. Its secret stays the same, however often it is switched.
    pub(super) fn scram_switched(
        &mut self,
        registry: &RegistryName,
        policy: ScramPolicy,
    ) -> Vec<u8> {
        let secret = match self.entry(&registry.group()).and_then(|e| switch_of(&e)) {
            Some(switch) => switch.secret,
            None => {
                let mut secret = [0; 32];
                let (first, second) = secret.split_at_mut(16);
                first.copy_from_slice(&self.random_u128().to_be_bytes());
                second.copy_from_slice(&self.random_u128().to_be_bytes());
                secret
            }
        };
        codec::encode(&Switch { policy, secret })
    }

    /// What is to be made of a password that is being checked.
    pub(super) fn scram_order(&self, who: &Authenticated) -> Option<ScramOrder> {
        let registry = who.name.registry();
        if self.policy(registry).scram == ScramPolicy::Off || self.disk_nearly_full {
            return None;
        }
        let entry = self.database(registry)?.entry(who.incarnation)?;
        let there = verifier_of(&entry).is_some_and(|v| v.iterations >= SCRAM_ITERATIONS);
        if there {
            return None;
        }
        Some(ScramOrder {
            salt: self.scram_salt(&who.name)?,
            iterations: SCRAM_ITERATIONS,
        })
    }

    /// Keeps what was made of a right password; where the registry wants none any more, it goes.
    pub(super) fn keep_verifier(
        &mut self,
        who: &Authenticated,
        order: Option<ScramOrder>,
        keys: Option<ScramKeys>,
    ) -> Result<(), Damaged> {
        let registry = who.name.registry().clone();
        let key = single(who.incarnation, Field::ScramVerifier);
        let change = match (self.policy(&registry).scram, order, keys) {
            (ScramPolicy::On, Some(order), Some(keys)) => {
                let verifier = Verifier {
                    salt: order.salt,
                    iterations: order.iterations,
                    keys,
                    credentials: who.credentials,
                };
                Change::put(key, codec::encode(&verifier))
            }
            (ScramPolicy::On, _, _) => return Ok(()),
            (ScramPolicy::Off, _, _) => {
                let database = self.database(&registry);
                let there = database
                    .and_then(|db| db.cell(&key))
                    .is_some_and(|cell| cell.value.is_some());
                if !there {
                    return Ok(());
                }
                Change::delete(key)
            }
        };
        if !self.disk_nearly_full {
            let space = grapevine_model::SpaceId::Registry(registry);
            self.write(&space, vec![change])?;
        }
        Ok(())
    }

    /// Salt and iterations for a name, whether or not it exists.
    pub(crate) fn scram_begin(&self, speaker: &Speaker, name: &Name) -> Result<Reply, Refusal> {
        only_doors(speaker)?;
        let salt = self.scram_salt(name).ok_or_else(nobody_wants_it)?;
        let verifier = self.entry(name).and_then(|entry| self.usable(name, &entry));
        let (salt, iterations) =
            verifier.map_or((salt, SCRAM_ITERATIONS), |v| (v.salt, v.iterations));
        Ok(Reply::ScramChallenge { salt, iterations })
    }

    /// Checks a proof. A wrong one counts as a wrong password does; each is another one, as its
    /// nonces are, so a forgotten mail program counts too.
    pub(crate) fn scram_finish(
        &mut self,
        speaker: &Speaker,
        (name, source): (&Name, Source),
        said: &str,
        proof: &[u8; 32],
    ) -> Result<Reply, Refusal> {
        only_doors(speaker)?;
        // As much work for a name that does not exist.
        let nobody = ScramKeys::of(&[0; 32]);
        let found = self.entry(name).and_then(|entry| {
            let who = Authenticated {
                name: entry.name()?,
                incarnation: entry.incarnation,
                credentials: credentials_of(&entry)?,
                app_password: None,
            };
            Some((who, self.usable(name, &entry)?.keys))
        });
        let mark = self.lockout.mark(name, &Secret(said.to_owned()));
        let now_ms = self.now.mono_ms;
        let verdict = self.lockout.attempt(name, source, mark, now_ms);
        let (who, keys) = match found {
            Some((who, keys)) => (Some(who), keys),
            None => (None, nobody),
        };
        let signature = keys.check(said, proof);
        match (verdict, who, signature) {
            (Verdict::Open | Verdict::OpenAgain, Some(who), Some(signature)) => {
                if self.lockout.right(name, source, now_ms) {
                    self.tell_login(name.clone(), source, LoginOutcome::Right);
                }
                Ok(Reply::ScramProved { who, signature })
            }
            (Verdict::Open, _, _) => {
                self.lockout.wrong(name, source, mark);
                self.tell_login(name.clone(), source, LoginOutcome::Wrong);
                Err(wrong())
            }
            (Verdict::OpenAgain | Verdict::Shut, _, _) => Err(wrong()),
        }
    }

    /// The verifier of an entry whose registry lets in by it.
    fn usable(&self, name: &Name, entry: &Entry<'_>) -> Option<Verifier> {
        match self.policy(name.registry()).scram {
            ScramPolicy::On => verifier_of(entry),
            ScramPolicy::Off => None,
        }
    }

    /// The salt of a name: by its registry's secret, or by that of the first registry that has one;
    /// none if none has.
    fn scram_salt(&self, name: &Name) -> Option<[u8; 16]> {
        let secret_of = |registry: &RegistryName| {
            let entry = self.entry(&registry.group())?;
            switch_of(&entry).map(|switch| switch.secret)
        };
        let secret =
            secret_of(name.registry()).or_else(|| self.policies.keys().find_map(secret_of))?;
        let mut hasher = blake3::Hasher::new_keyed(&secret);
        hasher.update(SALT_CONTEXT);
        hasher.update(name.key().as_bytes());
        let mut salt = [0; 16];
        hasher.finalize_xof().fill(&mut salt);
        Some(salt)
    }
}

/// A registry's policy, as its entry in `gv` says.
pub(super) fn scram_policy_of(entry: &Entry<'_>) -> ScramPolicy {
    switch_of(entry).map_or(ScramPolicy::Off, |switch| switch.policy)
}

fn switch_of(entry: &Entry<'_>) -> Option<Switch> {
    codec::decode(entry.single(Field::Scram)?).ok()
}

/// The verifier of the present password.
fn verifier_of(entry: &Entry<'_>) -> Option<Verifier> {
    let verifier: Verifier = codec::decode(entry.single(Field::ScramVerifier)?).ok()?;
    (credentials_of(entry)? == verifier.credentials).then_some(verifier)
}

/// A client that could choose what was said could say again what it has overheard.
fn only_doors(speaker: &Speaker) -> Result<(), Refusal> {
    match speaker {
        Speaker::Server(_) | Speaker::Operator => Ok(()),
        Speaker::Anonymous | Speaker::Neighbour | Speaker::Individual { .. } => Err(
            Refusal::not_allowed("a login by SCRAM is for the doors for mail programs"),
        ),
    }
}

fn nobody_wants_it() -> Refusal {
    Refusal::new(ErrorKind::NotAuthenticated, "no registry lets in by SCRAM")
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("a key of HMAC has any length")
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of RFC 7677 section 3: `pencil` after 4,096 iterations, what was said, the client's
    /// proof and the server's signature.
    const SALTED: &str = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
    const SAID: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "747cdb65aa56224e2352137e52d7bdcad6a0f738df30782caa69a2cfb0277554";
    const SIGNATURE: &str = "eabae24d1062db75a9451ff0b6ea7e98c8546549ff741e672d3251b2397de46e";

    fn bytes(hex: &str) -> [u8; 32] {
        *blake3::Hash::from_hex(hex).unwrap().as_bytes()
    }

    #[test]
    fn the_example_of_rfc_7677_is_right_and_nothing_beside_it() {
        let keys = ScramKeys::of(&bytes(SALTED));
        assert_eq!(keys.check(SAID, &bytes(PROOF)), Some(bytes(SIGNATURE)));
        for bit in 0..256 {
            let mut proof = bytes(PROOF);
            proof[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.check(SAID, &proof), None, "bit {bit}");
        }
        assert_eq!(
            keys.check(&SAID.replace("i=4096", "i=4097"), &bytes(PROOF)),
            None
        );
        assert_eq!(ScramKeys::of(&[0; 32]).check(SAID, &bytes(PROOF)), None);
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", ScramKeys::of(&[7; 32])), "(secret)");
    }
}
