//! What this person's commands have seen done, kept beside the saved login, so that the next command
//! is answered with at least that, by whichever server.
//!
//! A convenience: a damaged or missing file is an empty one. It holds no secret.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use grapevine_model::{Seen, SeenError};
use grapevine_user::write_private;
use serde::{Deserialize, Serialize};

/// Tokens kept, of all Grapevines; of more, the oldest go. GrapevineUser sends the newest 64.
const MOST_KEPT: usize = 256;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// In no order.
    seen: BTreeSet<Seen>,
}

/// What `--after` may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// A token that a change printed with `--json`.
    Token(Seen),
    /// Nothing: an older answer is welcome.
    Nothing,
}

impl FromStr for After {
    type Err = SeenError;

    fn from_str(text: &str) -> Result<Self, SeenError> {
        match text {
            "none" => Ok(Self::Nothing),
            token => token.parse().map(Self::Token),
        }
    }
}

/// The file where tokens are kept, if there is a place for it.
#[derive(Debug, Clone)]
pub(super) struct TokenFile(Option<PathBuf>);

impl TokenFile {
    /// At a path.
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    /// What is kept.
    pub(super) fn read(&self) -> BTreeSet<Seen> {
        let bytes = self.0.as_ref().and_then(|path| std::fs::read(path).ok());
        bytes
            .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok())
            .unwrap_or_default()
            .seen
    }

    /// Keeps these too, in the place of older ones from the same disks.
    pub(super) fn keep(&self, seen: &[Seen]) {
        let Some(path) = &self.0 else {
            return;
        };
        let mut kept: Vec<Seen> = self.read().into_iter().collect();
        kept.retain(|old| {
            let newer =
                |new: &Seen| new.registry == old.registry && new.stamp.origin == old.stamp.origin;
            !seen.iter().any(newer)
        });
        kept.extend(seen.iter().cloned());
        kept.sort_by_key(|seen| std::cmp::Reverse(seen.stamp.time));
        kept.truncate(MOST_KEPT);
        let kept = Kept {
            seen: kept.into_iter().collect(),
        };
        if let Ok(bytes) = serde_json::to_vec_pretty(&kept) {
            // What can't be kept costs an answer that may be older, and no more.
            if let Err(error) = write_private(path, &bytes) {
                crate::out::complain(format_args!(
                    "note: what was done is not remembered: {}: {error}",
                    path.display()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_are_kept_the_newest_of_each_disk_and_a_damaged_file_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let file = TokenFile::at(Some(path.clone()));
        let token = |time: u64, origin: u64| -> Seen {
            format!("pa:{time:016x}{origin:016x}").parse().unwrap()
        };
        file.keep(&[token(5, 1), token(3, 2)]);
        file.keep(&[token(9, 1)]);
        let kept: Vec<Seen> = file.read().into_iter().collect();
        assert_eq!(kept, [token(3, 2), token(9, 1)]);
        std::fs::write(&path, "{").unwrap();
        assert!(file.read().is_empty());
        assert_eq!("none".parse(), Ok(After::Nothing));
        assert!("pa".parse::<After>().is_err());
    }
}
