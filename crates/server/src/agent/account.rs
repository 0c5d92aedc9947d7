//! One person at this workstation: what opens the outbox, the outbox itself, and with which login it is sent.
//!
//! Must never let anybody in: it says what was right when a server was asked last, and whoever asks decides what that is worth. What tries a
//! credential blocks (hashes, files) and is called away from the async threads; looking at what is open never waits for that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grapevine_model::{Authenticated, Name, Secret};
use grapevine_user::{
    DataKey, KeyRing, Login, NameBook, Opened, Outbox, OutboxLimits, Standing, is_ticket,
    make_private,
};
use tokio::sync::Notify;

/// Where the keys of a vault are.
const KEYS: &str = "keys.json";
const OUTBOX: &str = "outbox";
const NAMES: &str = "names.sealed";
/// Vaults of one person at most: a new one is made only when a password was changed elsewhere while something lay in the old one.
const VAULTS_MAX: usize = 100;

/// One person.
pub(super) struct Account {
    name: Name,
    dir: PathBuf,
    limits: OutboxLimits,
    /// Fingerprints of credentials need a key that is in memory only.
    fingerprint_key: [u8; 32],
    /// Held while hashes are made: only by what may block.
    state: Mutex<State>,
    /// What comes of it: held for a moment, by everybody.
    shown: Mutex<Shown>,
    /// The outbox has something to do.
    pub(super) wake: Notify,
}

#[derive(Default)]
struct State {
    vaults: Vec<Vault>,
    /// Credentials that every open vault is wrapped with already.
    wrapped: Vec<[u8; 32]>,
}

/// An account as others see it.
#[derive(Default)]
struct Shown {
    login: Option<Login>,
    open: Vec<OpenVault>,
    locked: usize,
}

/// What lies under one data key.
struct Vault {
    dir: PathBuf,
    ring: KeyRing,
    open: Option<OpenVault>,
}

/// A vault that a credential has opened.
#[derive(Clone)]
pub(super) struct OpenVault {
    key: DataKey,
    pub(super) outbox: Arc<Outbox>,
    pub(super) names: Arc<NameBook>,
}

impl Account {
    /// The account in a folder of its own, which need not be there.
    pub(super) fn at(dir: &Path, name: &Name, limits: OutboxLimits) -> io::Result<Self> {
        let mut fingerprint_key = [0; 32];
        getrandom::fill(&mut fingerprint_key).map_err(io::Error::other)?;
        let mut vaults = Vec::new();
        for number in 0..VAULTS_MAX {
            let dir = vault_dir(dir, number);
            if !dir.exists() {
                break;
            }
            vaults.push(Vault {
                ring: KeyRing::read(&dir.join(KEYS))?,
                dir,
                open: None,
            });
        }
        let account = Self {
            name: name.clone(),
            dir: dir.to_owned(),
            limits,
            fingerprint_key,
            state: Mutex::new(State {
                vaults,
                ..State::default()
            }),
            shown: Mutex::default(),
            wake: Notify::new(),
        };
        account.show(&account.state());
        Ok(account)
    }

    /// Whose it is.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// With what the outbox is sent: the last login that was right.
    pub(super) fn login(&self) -> Option<Login> {
        self.shown().login.clone()
    }

    /// What is open, the oldest first.
    pub(super) fn open_vaults(&self) -> Vec<OpenVault> {
        self.shown().open.clone()
    }

    /// How many vaults no credential has opened yet, and have something in them.
    pub(super) fn locked(&self) -> usize {
        self.shown().locked
    }

    /// Whether anybody has ever logged in by this name here.
    pub(super) fn is_known(&self) -> bool {
        let shown = self.shown();
        shown.locked > 0 || !shown.open.is_empty()
    }

    /// A server has taken this credential. From now on it opens what is here, and what it opens already is open.
    pub(super) fn learned(&self, credential: &Secret, who: &Authenticated) -> io::Result<()> {
        let mut state = self.state();
        self.shown().login = Some(Login {
            name: who.name.clone(),
            password: credential.clone(),
        });
        let fingerprint = self.fingerprint(credential);
        let is_open = state.vaults.iter().any(|vault| vault.open.is_some());
        if !is_open || !state.wrapped.contains(&fingerprint) {
            self.open_all(&mut state, credential);
            if !state.vaults.iter().any(|vault| vault.open.is_some()) {
                let vault = self.new_vault(state.vaults.len())?;
                state.vaults.push(vault);
            }
            for vault in &mut state.vaults {
                if let Some(open) = &vault.open {
                    vault.ring.keep(credential, who, &open.key)?;
                }
            }
            state.wrapped.push(fingerprint);
            self.show(&state);
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// A server has refused this credential. What it opens is open, for whoever comes with a better one.
    pub(super) fn refused(&self, credential: &Secret) -> io::Result<()> {
        let mut state = self.state();
        let fingerprint = self.fingerprint(credential);
        state.wrapped.retain(|one| *one != fingerprint);
        {
            let mut shown = self.shown();
            let was = shown.login.as_ref();
            if was.is_some_and(|login| login.password == *credential) {
                shown.login = None;
            }
        }
        for vault in &mut state.vaults {
            let opened = vault.ring.refuse(credential)?;
            if let (Some(opened), None) = (opened, &vault.open) {
                vault.open = self.unlock(&vault.dir, opened.key);
            }
        }
        self.show(&state);
        Ok(())
    }

    /// Whose login this was when a server was asked last; none if it was nobody's.
    pub(super) fn was_right(&self, credential: &Secret) -> Option<Authenticated> {
        let mut state = self.state();
        let who = self.open_all(&mut state, credential);
        self.show(&state);
        let who = who?;
        self.shown().login.get_or_insert_with(|| Login {
            name: who.name.clone(),
            password: credential.clone(),
        });
        drop(state);
        self.wake.notify_one();
        Some(who)
    }

    /// Opens every vault that this credential opens; says whose it was, if it still counts as a login.
    fn open_all(&self, state: &mut State, credential: &Secret) -> Option<Authenticated> {
        let mut good = None;
        for vault in &mut state.vaults {
            let Some(Opened { key, who, standing }) = vault.ring.open(credential) else {
                continue;
            };
            if vault.open.is_none() {
                vault.open = self.unlock(&vault.dir, key);
            }
            match standing {
                Standing::Good => good = Some(who),
                Standing::Refused => {}
            }
        }
        good
    }

    fn unlock(&self, dir: &Path, key: DataKey) -> Option<OpenVault> {
        match self.open_vault(dir, key) {
            Ok(open) => Some(open),
            Err(error) => {
                tracing::error!(%error, name = %self.name, folder = %dir.display(), "an outbox can't be opened: look at its folder");
                None
            }
        }
    }

    fn open_vault(&self, dir: &Path, key: DataKey) -> io::Result<OpenVault> {
        let outbox = Outbox::open(&dir.join(OUTBOX), key.clone(), self.limits)?;
        for damaged in outbox.damaged() {
            tracing::error!(
                damaged,
                "a message in the outbox can't be read: it is left where it is"
            );
        }
        Ok(OpenVault {
            names: Arc::new(NameBook::open(&dir.join(NAMES), key.clone())),
            outbox: Arc::new(outbox),
            key,
        })
    }

    fn new_vault(&self, number: usize) -> io::Result<Vault> {
        if number >= VAULTS_MAX {
            let why = "too many outboxes that no password opens: remove some of their folders";
            return Err(io::Error::other(why));
        }
        let dir = vault_dir(&self.dir, number);
        make_private(&dir)?;
        Ok(Vault {
            ring: KeyRing::read(&dir.join(KEYS))?,
            open: Some(self.open_vault(&dir, DataKey::random()?)?),
            dir,
        })
    }

    fn fingerprint(&self, credential: &Secret) -> [u8; 32] {
        *blake3::keyed_hash(&self.fingerprint_key, credential.0.as_bytes()).as_bytes()
    }

    /// What others see from now on.
    fn show(&self, state: &State) {
        let vaults = &state.vaults;
        let locked = vaults.iter().filter(|vault| vault.open.is_none());
        let mut shown = self.shown();
        shown.open = vaults.iter().filter_map(|one| one.open.clone()).collect();
        shown.locked = locked.filter(|vault| !vault.ring.is_empty()).count();
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn vault_dir(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("vault-{number}"))
}

/// The folder of a person: any name is a file's name here, and no two names have one.
pub(super) fn account_dir(state: &Path, name: &Name) -> PathBuf {
    let text = name.to_string().to_lowercase();
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"@-_".contains(&octet);
    let file: String = text
        .bytes()
        .map(|octet| match plain(octet) {
            true => char::from(octet).to_string(),
            false => format!("%{octet:02x}"),
        })
        .collect();
    state.join("people").join(file)
}

/// The names of all people who have a folder.
pub(super) fn known_names(state: &Path) -> Vec<Name> {
    let Ok(folders) = fs::read_dir(state.join("people")) else {
        return Vec::new();
    };
    let names = folders.flatten().filter_map(|folder| {
        let file = folder.file_name().into_string().ok()?;
        unescaped(&file)?.parse().ok()
    });
    names.collect()
}

fn unescaped(file: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = file.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(octets).ok()
}

/// Whether a credential is for a moment only, and not what a person types.
pub(super) fn is_saved_login(credential: &Secret) -> bool {
    is_ticket(&credential.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{
        Envelope, EnvelopeRecipient, Hlc, Incarnation, OriginId, ReturnContent, Stamp,
    };

    use super::*;

    fn birrell() -> Authenticated {
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

    fn account(dir: &Path) -> Account {
        Account::at(dir, &birrell().name, OutboxLimits::default()).unwrap()
    }

    fn keep_one(account: &Account) {
        let outbox = Arc::clone(&account.open_vaults()[0].outbox);
        let envelope = Envelope {
            return_path: Some(birrell().name),
            recipients: vec![EnvelopeRecipient::from(birrell().name)],
            content: ReturnContent::Headers,
            envelope_id: None,
        };
        let id = grapevine_user::new_message_id().unwrap();
        let body = outbox.stage().finish().unwrap();
        outbox.keep(id, &birrell().name, &envelope, body).unwrap();
    }

    #[test]
    fn the_last_good_password_is_known_after_a_restart_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        {
            let account = account(folder.path());
            assert!(account.was_right(&secret("correct horse")).is_none());
            account
                .learned(&secret("correct horse"), &birrell())
                .unwrap();
            keep_one(&account);
        }
        let account = account(folder.path());
        assert!(account.was_right(&secret("wrong horse")).is_none());
        assert!(account.login().is_none() && account.open_vaults().is_empty());
        assert_eq!(account.locked(), 1);
        assert_eq!(account.was_right(&secret("correct horse")), Some(birrell()));
        assert_eq!(account.open_vaults()[0].outbox.list().len(), 1);
        assert_eq!(account.login().unwrap().password, secret("correct horse"));
    }

    #[test]
    fn a_password_changed_elsewhere_loses_nothing_of_the_outbox_and_the_old_one_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        {
            let account = account(folder.path());
            account.learned(&secret("the old one"), &birrell()).unwrap();
            keep_one(&account);
        }
        {
            // The program comes with the old one first, as programs do.
            let account = account(folder.path());
            account.refused(&secret("the old one")).unwrap();
            account.learned(&secret("the new one"), &birrell()).unwrap();
            assert_eq!(account.open_vaults().len(), 1);
            assert_eq!(account.open_vaults()[0].outbox.list().len(), 1);
        }
        {
            let account = account(folder.path());
            assert!(account.was_right(&secret("the old one")).is_none());
            assert!(account.was_right(&secret("the new one")).is_some());
        }
        // And when it comes with the new one at once, what lies under the old one waits for it.
        let folder = tempfile::tempdir().unwrap();
        {
            let account = account(folder.path());
            account.learned(&secret("the old one"), &birrell()).unwrap();
            keep_one(&account);
        }
        let account = account(folder.path());
        account.learned(&secret("the new one"), &birrell()).unwrap();
        assert_eq!((account.open_vaults().len(), account.locked()), (1, 1));
        account.refused(&secret("the old one")).unwrap();
        assert_eq!((account.open_vaults().len(), account.locked()), (2, 0));
    }

    #[test]
    fn every_name_has_a_folder_of_its_own_that_leads_back_to_it() {
        let state = tempfile::tempdir().unwrap();
        for name in [
            "birrell@pa.example",
            "j\u{f6}rg.x+y@pa.example",
            "a%b@c.example",
        ] {
            let Ok(name) = name.parse::<Name>() else {
                continue;
            };
            let dir = account_dir(state.path(), &name);
            assert_eq!(dir.parent(), Some(state.path().join("people").as_path()));
            fs::create_dir_all(&dir).unwrap();
            assert!(known_names(state.path()).contains(&name));
        }
    }
}
