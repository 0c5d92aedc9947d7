//! Passwords: from the plain text that comes inside TLS to the Argon2id hash that is kept.
//!
//! The core and the database only ever see hashes (PHC strings). A client sends
//! the password itself and the server hashes it: a client that sent a hash could
//! choose a worthless one (P8). Both functions take tens of milliseconds and tens
//! of MiB by design: call them away from the threads that do I/O, few at a time.

use std::borrow::Cow;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use grapevine_core::{ScramKeys, ScramOrder};
use grapevine_model::{
    APP_PASSWORD_PREFIX, EntryChange, ErrorKind, Name, Refusal, Request, Secret, TICKET_PREFIX,
};
use zeroize::Zeroizing;

use crate::password_cost::{Cost, MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES};

/// Shortest password that is taken (NIST SP 800-63B 5.1.1.2).
pub(crate) const MIN_PASSWORD_BYTES: usize = 8;
/// Longest password that is taken: a sentence fits, a megabyte to be hashed does not.
pub(crate) const MAX_PASSWORD_BYTES: usize = 256;
/// What is checked when there is no hash, so that the time does not tell which names exist: any
/// well-formed hash with the cost of today.
const NOBODYS_SALT: &[u8; 16] = b"grapevine-nobody";

/// Replaces the plain password in a request that carries one by its hash; call it on everything
/// that a client sends, before it goes into the core.
pub(crate) fn hash_passwords_in(cost: Cost, request: Request) -> Result<Request, Refusal> {
    Ok(match request {
        Request::IndividualCreate {
            name,
            password,
            sites,
        } => Request::IndividualCreate {
            name,
            password: password.map(|plain| hash(cost, &plain)).transpose()?,
            sites,
        },
        Request::Change {
            name,
            change: EntryChange::Password(plain),
        } => Request::Change {
            name,
            change: EntryChange::Password(hash(cost, &plain)?),
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
pub(crate) fn hash(cost: Cost, plain: &Secret) -> Result<Secret, Refusal> {
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
    hasher(cost)
        .and_then(|argon| argon.hash_password(plain.0.as_bytes()).ok())
        .map(|hash| Secret(hash.to_string()))
        .ok_or_else(|| Refusal::new(ErrorKind::Internal, "the password could not be hashed"))
}

/// Whether a password is the one that was hashed. Without a hash, or with a damaged one, the
/// answer is no and takes the same time.
pub(crate) fn verify(cost: Cost, hash: Option<&Secret>, plain: &Secret) -> bool {
    if plain.0.len() > MAX_PASSWORD_BYTES {
        return false;
    }
    let parsed = hash
        .and_then(|hash| PasswordHash::new(&hash.0).ok())
        .filter(affordable);
    match (parsed, hasher(cost)) {
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
pub(crate) fn is_cheaper_than(cost: Cost, hash: &Secret) -> bool {
    PasswordHash::new(&hash.0)
        .is_ok_and(|hash| Params::try_from(&hash).is_ok_and(|params| cost.is_more_than(&params)))
}

/// Whether the cost that a stored hash asks for is within reason.
fn affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES
    })
}

fn hasher(cost: Cost) -> Option<Argon2<'static>> {
    let params = cost.params()?;
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
        let hashed = hash(Cost::STANDARD, &secret("correct horse")).unwrap();
        assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(
            Cost::STANDARD,
            Some(&hashed),
            &secret("correct horse")
        ));
        assert!(!verify(
            Cost::STANDARD,
            Some(&hashed),
            &secret("correct hors")
        ));
        assert_ne!(
            hashed,
            hash(Cost::STANDARD, &secret("correct horse")).unwrap(),
            "no salt"
        );
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
        let params = Params::new(8 * 1024, 2, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let old = Secret(argon.hash_password(b"correct horse").unwrap().to_string());
        assert!(verify(Cost::STANDARD, Some(&old), &secret("correct horse")));
        assert!(is_cheaper_than(Cost::STANDARD, &old));
        assert!(!is_cheaper_than(
            Cost::STANDARD,
            &hash(Cost::STANDARD, &secret("correct horse")).unwrap()
        ));
        assert!(!is_cheaper_than(Cost::STANDARD, &secret("no hash")));
    }

    #[test]
    fn where_the_cost_rises_old_hashes_still_serve_and_are_made_anew() {
        let dearer = Cost::new(32 * 1024, 3, 2).unwrap();
        let old = hash(Cost::STANDARD, &secret("correct horse")).unwrap();
        assert!(verify(dearer, Some(&old), &secret("correct horse")));
        assert!(is_cheaper_than(dearer, &old));
        let new = hash(dearer, &secret("correct horse")).unwrap();
        assert!(new.0.starts_with("$argon2id$v=19$m=32768,t=3,p=2$"));
        assert!(!is_cheaper_than(dearer, &new));
        // A server where less is spent checks it too, and leaves it as it is.
        assert!(verify(Cost::STANDARD, Some(&new), &secret("correct horse")));
        assert!(!is_cheaper_than(Cost::STANDARD, &new));
    }

    #[test]
    fn a_password_does_not_look_like_an_app_password_or_a_ticket() {
        for plain in ["gvap_something", "gvt1_something"] {
            assert_eq!(
                hash(Cost::STANDARD, &secret(plain)).unwrap_err().kind,
                ErrorKind::Invalid
            );
        }
    }

    #[test]
    fn too_short_and_too_long_are_refused_with_their_limits() {
        for (plain, says) in [("seven77".to_owned(), "8"), ("x".repeat(257), "256")] {
            let refusal = hash(Cost::STANDARD, &Secret(plain)).unwrap_err();
            assert_eq!(refusal.kind, ErrorKind::Invalid);
            assert!(refusal.why.contains(says), "{refusal}");
            assert!(!refusal.why.contains("seven77"));
        }
        hash(Cost::STANDARD, &Secret("x".repeat(256))).unwrap();
    }

    #[test]
    fn no_hash_a_damaged_one_and_one_that_costs_too_much_say_no() {
        assert!(!verify(Cost::STANDARD, None, &secret("anything")));
        for hash in [
            "",
            "plain",
            "$argon2id$v=19$m=4294967295,t=2,p=1$Z3JhcGV2aW5lLW5vYm9keQ$c2hvcnRzaG9ydHNob3J0",
        ] {
            assert!(
                !verify(Cost::STANDARD, Some(&secret(hash)), &secret("anything")),
                "{hash}"
            );
        }
    }

    #[test]
    fn requests_leave_with_hashes_and_without_plain_passwords() {
        let change = Request::Change {
            name: "birrell@pa.example".parse().unwrap(),
            change: EntryChange::Password(secret("correct horse")),
        };
        assert!(has_password(&change));
        match hash_passwords_in(Cost::STANDARD, change).unwrap() {
            Request::Change {
                change: EntryChange::Password(hash),
                ..
            } => assert!(verify(
                Cost::STANDARD,
                Some(&hash),
                &secret("correct horse")
            )),
            other => panic!("{other:?}"),
        }
        let login = Request::Authenticate {
            name: "birrell@pa.example".parse().unwrap(),
            password: secret("correct horse"),
            source: grapevine_model::Source::Local,
        };
        assert!(!has_password(&login));
        assert_eq!(hash_passwords_in(Cost::STANDARD, login.clone()), Ok(login));
    }
}
