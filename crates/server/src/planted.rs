//! Mistakes that a test has this process make, to show that the torture run sees them. Compiled with the feature
//! `planted-mistakes` only.
//!
//! Must never be in a program that is given to anybody: without the feature nothing here exists, and with it a server says loudly
//! what is wrong with it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use grapevine_core::{Config, Planted};

/// Which mistake is made: the core's name for it, as words joined with `-`.
const VARIABLE: &str = "GRAPEVINE_PLANTED";
/// A disk that keeps nothing of its last moments: a killed process leaves to the system what it has written, so what would
/// be lost with the power is held back for so long.
const UNSYNCED: Duration = Duration::from_millis(1_500);

/// Commits that wait at most: far more than a test's clients make in this time.
const HELD_BACK: usize = 10_000;

/// The mistake asked for.
///
/// # Errors
/// There is none of that name: a test that plants nothing would find nothing.
fn asked() -> Result<Option<Planted>, String> {
    let Ok(asked) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    match Planted::ALL.into_iter().find(|one| name(*one) == asked) {
        Some(planted) => Ok(Some(planted)),
        None => Err(format!("{VARIABLE}={asked}: no such mistake")),
    }
}

/// `FlagsDropped` is called `flags-dropped`.
fn name(planted: Planted) -> String {
    let mut name = String::new();
    for letter in format!("{planted:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Has the core make the mistake that is asked for.
///
/// # Errors
/// There is none of that name.
pub(crate) fn plant(config: &mut Config) -> Result<(), String> {
    config.planted = asked()?;
    if let Some(planted) = config.planted {
        tracing::warn!(mistake = %name(planted), "this program makes a mistake on purpose: it is a test's, and must not be used");
    }
    Ok(())
}

/// A commit that is on its way to the disk.
type Write = Box<dyn FnOnce() + Send>;

/// The way to a disk that keeps nothing of its last moments.
pub(crate) struct Forgetful(SyncSender<(Instant, Write)>);

impl Forgetful {
    /// One, where that is the mistake asked for.
    pub(crate) fn asked(config: &Config) -> Option<Self> {
        if config.planted != Some(Planted::ReplyBeforeDurable) {
            return None;
        }
        let (sender, held_back) = sync_channel::<(Instant, Write)>(HELD_BACK);
        std::thread::spawn(move || {
            for (since, write) in held_back {
                let (_never, waits) = sync_channel::<()>(0);
                let _ = waits.recv_timeout(UNSYNCED.saturating_sub(since.elapsed()));
                write();
            }
        });
        Some(Self(sender))
    }

    /// Writes it later; in order.
    pub(crate) fn write(&self, write: Write) {
        // Nobody hears when the whole server is gone.
        let _ = self.0.send((Instant::now(), write));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<String> =
            Planted::ALL.into_iter().map(name).collect();
        assert_eq!(names.len(), Planted::ALL.len());
        assert!(names.contains("accept-before-deputy"));
    }
}
