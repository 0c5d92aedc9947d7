//! Passwords: from the plain text that comes inside TLS to the Argon2id hash that is kept.
//!
//! The core and the database only ever see hashes (PHC strings). A client sends
//! the password itself and the server hashes it: a client that sent a hash could
//! choose a worthless one (P8). Both functions take tens of milliseconds and 19
//! MiB by design: call them away from the threads that do I/O, few at a time.

use std::borrow::Cow;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use grapevine_core::{ScramKeys, ScramOrder};
use grapevine_model::{
    APP_PASSWORD_PREFIX, EntryChange, ErrorKind, Name, Refusal, Request, Secret, TICKET_PREFIX,
};
use zeroize::Zeroizing;

/// Shortest password that is taken (NIST SP 800-63B 5.1.1.2).
pub(crate) const MIN_PASSWORD_BYTES: usize = 8;
/// Longest password that is taken: a sentence fits, a megabyte to be hashed does not.
pub(crate) const MAX_PASSWORD_BYTES: usize = 256;
/// Memory of one hash in KiB, and passes over it (OWASP Password Storage Cheat Sheet: 19 MiB, 2, 1).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Most memory, passes and lanes that a stored hash may ask of a check: a hash comes from the
/// database, and a damaged one must not take the machine.
const MAX_CHECK_MEMORY_KIB: u32 = 128 * 1024;
const MAX_CHECK_PASSES: u32 = 16;
const MAX_CHECK_LANES: u32 = 4;
/// What is checked when there is no hash, so that the time does not tell which names exist: any
/// well-formed hash with the cost above.
const NOBODYS_SALT: &[u8; 16] = b"grapevine-nobody";

/// Replaces the plain password in a request that carries one by its hash; call it on everything
/// that a client sends, before it goes into the core.
pub(crate) fn hash_passwords_in(request: Request) -> Result<Request, Refusal> {
    Ok(match request {
        Request::IndividualCreate {
            name,
            password,
            sites,
        } => Request::IndividualCreate {
            name,
            password: password.map(|plain| hash(&plain)).transpose()?,
            sites,
        },
        Request::Change {
            name,
            change: EntryChange::Password(plain),
        } => Request::Change {
            name,
            change: EntryChange::Password(hash(&plain)?),
        },
        // `Authenticate` keeps its plain password: the core hands it out again to be checked.
        other => other,
    })
}

/// Whether a request makes [`hash_passwords_in`] do slow work.
pub(crate) fn has_password(request: &Request) -> bool {
    matches!(
        request,
        Request::IndividualCreate {
            password: Some(_),
            ..
        } | Request::Change {
            change: EntryChange::Password(_),
            ..
        }
    )
}

/// Whose password a request sets, and which.
pub(crate) fn password_of(request: &Request) -> Option<(Name, Secret)> {
    match request {
        Request::IndividualCreate {
            name,
            password: Some(password),
            ..
        }
        | Request::Change {
            name,
            change: EntryChange::Password(password),
        } => Some((name.clone(), password.clone())),
        _ => None,
    }
}

/// The Argon2id hash of a password, with a salt of its own; refuses what is too short or too long.
pub(crate) fn hash(plain: &Secret) -> Result<Secret, Refusal> {
    let len = plain.0.len();
    if len < MIN_PASSWORD_BYTES {
        return Err(Refusal::invalid(format!(
            "the password has {len} octets; it must have {MIN_PASSWORD_BYTES} at least"
        )));
    }
    if len > MAX_PASSWORD_BYTES {
        return Err(Refusal::invalid(format!(
            "the password has {len} octets; it may have {MAX_PASSWORD_BYTES} at most"
        )));
    }
    if [APP_PASSWORD_PREFIX, TICKET_PREFIX]
        .iter()
        .any(|prefix| plain.0.starts_with(prefix))
    {
        // It would be taken for one, and never be right.
        return Err(Refusal::invalid(format!(
            "a password may not begin with {APP_PASSWORD_PREFIX} or {TICKET_PREFIX}: so do app passwords and tickets"
        )));
    }
    hasher()
        .and_then(|argon| argon.hash_password(plain.0.as_bytes()).ok())
        .map(|hash| Secret(hash.to_string()))
        .ok_or_else(|| Refusal::new(ErrorKind::Internal, "the password could not be hashed"))
}

/// Whether a password is the one that was hashed. Without a hash, or with a damaged one, the
/// answer is no and takes the same time.
pub(crate) fn verify(hash: Option<&Secret>, plain: &Secret) -> bool {
    if plain.0.len() > MAX_PASSWORD_BYTES {
        return false;
    }
    let parsed = hash
        .and_then(|hash| PasswordHash::new(&hash.0).ok())
        .filter(affordable);
    match (parsed, hasher()) {
        (Some(parsed), Some(argon)) => argon.verify_password(plain.0.as_bytes(), &parsed).is_ok(),
        (None, Some(argon)) => {
            let _spent: Result<PasswordHash, _> =
                argon.hash_password_with_salt(plain.0.as_bytes(), NOBODYS_SALT);
            false
        }
        (_, None) => false,
    }
}

/// What SCRAM checks a password by: PBKDF2 of the password as its clients prepare it (SASLprep, RFC
/// 4013). Slow, as [`hash`] is.
pub(crate) fn scram_keys(plain: &Secret, order: &ScramOrder) -> ScramKeys {
    // What SASLprep does not take is taken as it is, as clients do.
    let prepared = stringprep::saslprep(&plain.0).unwrap_or(Cow::Borrowed(&plain.0));
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
        prepared.as_bytes(),
        &order.salt,
        order.iterations,
        &mut *salted,
    );
    ScramKeys::of(&salted)
}

/// Whether a stored hash is cheaper to attack than one made now would be.
pub(crate) fn is_cheaper_than_now(hash: &Secret) -> bool {
    PasswordHash::new(&hash.0).is_ok_and(|hash| {
        Params::try_from(&hash)
            .is_ok_and(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES)
    })
}

/// Whether the cost that a stored hash asks for is within reason.
fn affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MAX_CHECK_MEMORY_KIB
            && params.t_cost() <= MAX_CHECK_PASSES
            && params.p_cost() <= MAX_CHECK_LANES
    })
}

fn hasher() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[test]
    fn a_hash_is_argon2id_with_the_stated_cost_and_knows_its_password_only() {
        let hashed = hash(&secret("correct horse")).unwrap();
        assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(Some(&hashed), &secret("correct horse")));
        assert!(!verify(Some(&hashed), &secret("correct hors")));
        assert_ne!(hashed, hash(&secret("correct horse")).unwrap(), "no salt");
    }

    #[test]
    fn scram_keys_are_those_of_rfc_7677() {
        let order = ScramOrder {
            salt: *b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81",
            iterations: 4096,
        };
        // PBKDF2 of `pencil` with that salt, by another hand (Python's hashlib).
        let salted = *blake3::Hash::from_hex(
            "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d",
        )
        .unwrap()
        .as_bytes();
        assert_eq!(
            scram_keys(&secret("pencil"), &order),
            ScramKeys::of(&salted)
        );
        // A soft hyphen is nothing, and a Roman numeral nine two letters (RFC 4013 section 3).
        assert_eq!(
            scram_keys(&secret("I\u{ad}X"), &order),
            scram_keys(&secret("\u{2168}"), &order)
        );
    }

    #[test]
    fn a_hash_of_older_parameters_is_cheaper_than_now_and_one_of_today_is_not() {
        let params = Params::new(MEMORY_KIB / 2, PASSES, LANES, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let old = Secret(argon.hash_password(b"correct horse").unwrap().to_string());
        assert!(verify(Some(&old), &secret("correct horse")));
        assert!(is_cheaper_than_now(&old));
        assert!(!is_cheaper_than_now(
            &hash(&secret("correct horse")).unwrap()
        ));
        assert!(!is_cheaper_than_now(&secret("no hash")));
    }

    #[test]
    fn a_password_does_not_look_like_an_app_password_or_a_ticket() {
        for plain in ["gvap_something", "gvt1_something"] {
            assert_eq!(hash(&secret(plain)).unwrap_err().kind, ErrorKind::Invalid);
        }
    }

    #[test]
    fn too_short_and_too_long_are_refused_with_their_limits() {
        for (plain, says) in [("seven77".to_owned(), "8"), ("x".repeat(257), "256")] {
            let refusal = hash(&Secret(plain)).unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::Invalid);
            assert!(refusal.why.contains(says), "{refusal}");
            assert!(!refusal.why.contains("seven77"));
        }
        hash(&Secret("x".repeat(256))).unwrap();
    }

    #[test]
    fn no_hash_a_damaged_one_and_one_that_costs_too_much_say_no() {
        assert!(!verify(None, &secret("anything")));
        for hash in [
            "",
            "plain",
            "$argon2id$v=19$m=4294967295,t=2,p=1$Z3JhcGV2aW5lLW5vYm9keQ$c2hvcnRzaG9ydHNob3J0",
        ] {
            assert!(!verify(Some(&secret(hash)), &secret("anything")), "{hash}");
        }
    }

    #[test]
    fn requests_leave_with_hashes_and_without_plain_passwords() {
        let change = Request::Change {
            name: "birrell@pa.example".parse().unwrap(),
            change: EntryChange::Password(secret("correct horse")),
        };
        assert!(has_password(&change));
        match hash_passwords_in(change).unwrap() {
            Request::Change {
                change: EntryChange::Password(hash),
                ..
            } => assert!(verify(Some(&hash), &secret("correct horse"))),
            other => panic!("{other:?}"),
        }
        let login = Request::Authenticate {
            name: "birrell@pa.example".parse().unwrap(),
            password: secret("correct horse"),
            source: grapevine_model::Source::Local,
        };
        assert!(!has_password(&login));
        assert_eq!(hash_passwords_in(login.clone()), Ok(login));
    }
}
