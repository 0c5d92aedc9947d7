//! Passwords checked away from the core: slow on purpose, bounded, and fast the second time.
//!
//! Must never tell by its time whether a name exists, never let a hash that somebody made up cost
//! more than a real one, and never take a changed password from the cache: what is remembered is
//! bound to the hash it was checked against.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use grapevine_model::Secret;
use tokio::sync::Semaphore;

/// Checks that are remembered: everybody's mail program at a large site, in less than a megabyte.
const REMEMBERED_MAX: usize = 10_000;
/// The dearest hash that is checked: a hash comes from whoever set the password, and 64 MiB and four
/// passes are beyond what anybody recommends.
const MEMORY_MAX_KIB: u32 = 64 * 1024;
const PASSES_MAX: u32 = 4;
const LANES_MAX: u32 = 4;

/// Checks passwords.
#[derive(Clone)]
pub(crate) struct Passwords {
    shared: Arc<Shared>,
}

struct Shared {
    /// Random, for this process: what is remembered means nothing outside it.
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    /// One check per core at a time, so that a flood of log-ins leaves room for mail.
    permits: Semaphore,
    /// Checked where there is no such individual.
    dummy: Secret,
}

#[derive(Default)]
struct Remembered {
    right: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

/// A password can't be hashed: the system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("a password can't be hashed: {0}")]
pub(crate) struct HashError(String);

/// The Argon2id hash of a password, in PHC form.
pub(crate) fn hash(password: &Secret) -> Result<Secret, HashError> {
    Argon2::default()
        .hash_password(password.0.as_bytes())
        .map(|hash| Secret(hash.to_string()))
        .map_err(|error| HashError(error.to_string()))
}

impl Passwords {
    /// A checker with nothing remembered.
    pub(crate) fn new() -> Result<Self, HashError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| HashError(error.to_string()))?;
        let dummy = hash(&Secret(data_encoding::HEXLOWER.encode(&key)))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shared: Arc::new(Shared {
                key,
                remembered: Mutex::default(),
                permits: Semaphore::new(cores),
                dummy,
            }),
        })
    }

    /// Whether the password is right. Without a hash it takes as long, and is wrong.
    pub(crate) async fn check(&self, hash: Option<Secret>, password: Secret) -> bool {
        let mark = hash.as_ref().map(|hash| self.mark(hash, &password));
        if mark.is_some_and(|mark| self.remembered(&mark)) {
            return true;
        }
        let against = hash.unwrap_or_else(|| self.shared.dummy.clone());
        let Ok(_permit) = self.shared.permits.acquire().await else {
            return false;
        };
        let right = tokio::task::spawn_blocking(move || verify(&against, &password))
            .await
            .unwrap_or(false);
        match mark {
            Some(mark) if right => {
                self.remember(mark);
                true
            }
            Some(_) | None => false,
        }
    }

    fn mark(&self, hash: &Secret, password: &Secret) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.shared.key);
        // The length first: no other pair gives the same bytes.
        hasher.update(&(hash.0.len() as u64).to_be_bytes());
        hasher.update(hash.0.as_bytes());
        hasher.update(password.0.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn remembered(&self, mark: &[u8; 32]) -> bool {
        let held = self.shared.remembered.lock();
        held.unwrap_or_else(PoisonError::into_inner)
            .right
            .contains(mark)
    }

    fn remember(&self, mark: [u8; 32]) {
        let held = self.shared.remembered.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if held.right.insert(mark) {
            held.order.push_back(mark);
        }
        while held.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = held.order.pop_front() {
                held.right.remove(&oldest);
            }
        }
    }
}

fn verify(hash: &Secret, password: &Secret) -> bool {
    let Ok(parsed) = PasswordHash::new(&hash.0) else {
        return false;
    };
    let Ok(params) = Params::try_from(&parsed) else {
        return false;
    };
    if params.m_cost() > MEMORY_MAX_KIB
        || params.t_cost() > PASSES_MAX
        || params.p_cost() > LANES_MAX
    {
        tracing::warn!("a password's hash asks for more work than is allowed; it was not checked");
        return false;
    }
    Argon2::default()
        .verify_password(password.0.as_bytes(), &parsed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[tokio::test]
    async fn a_right_password_is_right_twice_and_a_changed_one_misses_the_cache() {
        let passwords = Passwords::new().unwrap();
        let old = hash(&secret("violet")).unwrap();
        assert!(passwords.check(Some(old.clone()), secret("violet")).await);
        let mark = passwords.mark(&old, &secret("violet"));
        assert!(passwords.remembered(&mark));
        assert!(passwords.check(Some(old.clone()), secret("violet")).await);
        let new = hash(&secret("indigo")).unwrap();
        assert!(!passwords.check(Some(new.clone()), secret("violet")).await);
        assert!(passwords.check(Some(new), secret("indigo")).await);
        assert!(!passwords.check(Some(old), secret("violett")).await);
        assert!(!passwords.check(None, secret("violet")).await);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let passwords = Passwords::new().unwrap();
        for n in 0..=REMEMBERED_MAX {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&n.to_be_bytes());
            passwords.remember(mark);
        }
        assert!(!passwords.remembered(&[0; 32]));
        let held = passwords.shared.remembered.lock().unwrap();
        assert_eq!(held.right.len(), REMEMBERED_MAX);
        assert_eq!(held.order.len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_made_up_hash_can_not_ask_for_a_machine_full_of_memory() {
        let dear = "$argon2id$v=19$m=4194304,t=3,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(!verify(&secret(dear), &secret("x")));
        assert!(!verify(&secret("no hash at all"), &secret("x")));
    }
}
