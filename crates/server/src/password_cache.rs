//! Passwords checked away from the core: bounded, and fast the second time.
//!
//! Must never tell by its time whether a name exists, and never take a changed password from the
//! cache: what is remembered is bound to the hash it was checked against, and is worth nothing
//! outside this process.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_model::{Refusal, Secret};
use tokio::sync::Semaphore;

use crate::body_source::blocking;
use crate::password_cost::Cost;
use crate::passwords::{hash as make_hash, is_cheaper_than, verify};

/// Checks that are remembered: everybody's mail program at a large site, in less than a megabyte.
const REMEMBERED_MAX: usize = 10_000;

/// Checks passwords.
#[derive(Clone)]
pub(crate) struct Passwords {
    shared: Arc<Shared>,
}

struct Shared {
    /// What a hash made now costs.
    cost: Cost,
    /// Random, for this process: what is remembered means nothing outside it.
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    /// One check per core at a time, so that a flood of log-ins leaves room for mail.
    permits: Semaphore,
}

#[derive(Default)]
struct Remembered {
    right: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Passwords {
    /// A checker with nothing remembered.
    pub(crate) fn new(cost: Cost) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shared: Arc::new(Shared {
                cost,
                key,
                remembered: Mutex::default(),
                permits: Semaphore::new(cores),
            }),
        })
    }

    /// Whether the password is right. Without a hash it takes as long, and is wrong.
    #[cfg(test)]
    async fn check(&self, hash: Option<Secret>, password: Secret) -> bool {
        self.check_and_rehash(hash, password).await.0
    }

    /// Whether it was checked against this hash before, and right: a keyed hash, no work to speak of.
    pub(crate) fn knows(&self, stored: Option<&Secret>, password: &Secret) -> bool {
        stored.is_some_and(|hash| self.remembered(&self.mark(hash, password)))
    }

    /// The same; where it is right and its hash is cheaper than one made now, a new one too.
    pub(crate) async fn check_and_rehash(
        &self,
        stored: Option<Secret>,
        password: Secret,
    ) -> (bool, Option<Secret>) {
        let mark = stored.as_ref().map(|hash| self.mark(hash, &password));
        if mark.is_some_and(|mark| self.remembered(&mark)) {
            return (true, None);
        }
        let Ok(_permit) = self.shared.permits.acquire().await else {
            return (false, None);
        };
        let cost = self.shared.cost;
        let checked = tokio::task::spawn_blocking(move || {
            let right = verify(cost, stored.as_ref(), &password);
            let old = stored.filter(|stored| right && is_cheaper_than(cost, stored));
            (right, old.and_then(|_| make_hash(cost, &password).ok()))
        });
        let (right, rehashed) = checked.await.unwrap_or((false, None));
        match mark {
            Some(mark) if right => {
                self.remember(mark);
                (true, rehashed)
            }
            Some(_) | None => (false, None),
        }
    }

    /// Hashes passwords, under the same bound as checks.
    ///
    /// # Errors
    /// The server is stopping.
    pub(crate) async fn hashed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let _permit = self.shared.permits.acquire().await;
        blocking(work).await
    }

    /// What a hash made now costs.
    pub(crate) fn cost(&self) -> Cost {
        self.shared.cost
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::passwords::hash;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[tokio::test]
    async fn a_right_password_is_right_twice_and_a_changed_one_misses_the_cache() {
        let passwords = Passwords::new(Cost::STANDARD).unwrap();
        let old = hash(Cost::STANDARD, &secret("violet-0")).unwrap();
        assert!(passwords.check(Some(old.clone()), secret("violet-0")).await);
        assert!(passwords.knows(Some(&old), &secret("violet-0")));
        assert!(!passwords.knows(Some(&old), &secret("violet-1")));
        assert!(!passwords.knows(None, &secret("violet-0")));
        assert!(passwords.check(Some(old.clone()), secret("violet-0")).await);
        let new = hash(Cost::STANDARD, &secret("indigo-0")).unwrap();
        assert!(!passwords.knows(Some(&new), &secret("violet-0")));
        assert!(!passwords.check(Some(new.clone()), secret("violet-0")).await);
        assert!(passwords.check(Some(new), secret("indigo-0")).await);
        assert!(!passwords.check(Some(old), secret("violet-1")).await);
        assert!(!passwords.check(None, secret("violet-0")).await);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let passwords = Passwords::new(Cost::STANDARD).unwrap();
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
}
