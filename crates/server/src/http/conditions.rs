//! Changes that are made only of what their author has seen: `If-Match` (RFC 9110 section 13.1.1) for changes of one entry.
//!
//! Must never make a change whose condition does not hold, nor pass over one that can't be checked. At one server changes of one entry by
//! HTTP are made one after another, so of two authors who saw the same only one is heard. Changes by another door or at another server come in between as they always do: there the later one stays.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use grapevine_model::Name;
use tokio::sync::{Mutex, MutexGuard};

use super::problem::Problem;

/// Entries share turns: more of them than changes that are under way at one time.
const TURNS: usize = 256;

/// Whose turn it is to change an entry.
#[derive(Clone)]
pub(crate) struct Turns {
    shared: Arc<Vec<Mutex<()>>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            shared: Arc::new((0..TURNS).map(|_| Mutex::default()).collect()),
        }
    }
}

impl Turns {
    /// Waits until nobody else changes this entry; held while it is changed.
    pub(super) async fn of(&self, name: &Name) -> Option<MutexGuard<'_, ()>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name.key());
        let turn = usize::try_from(hash % TURNS as u64).unwrap_or_default();
        Some(self.shared.get(turn)?.lock().await)
    }
}

/// What `If-Match` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing is said.
    None,
    /// `*`: that there is such an entry.
    Exists,
    /// That the entry is one of these.
    OneOf(Vec<String>),
}

impl Condition {
    /// From the header.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        let mut given = false;
        for value in headers.get_all(header::IF_MATCH) {
            given = true;
            let text = value.to_str().map_err(|_| unreadable())?;
            for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                let strong = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
                match tag {
                    "*" => return Ok(Self::Exists),
                    _ if strong => tags.push(tag.to_owned()),
                    // A weak tag never matches here (RFC 9110 section 8.8.3.2).
                    _ if tag.starts_with("W/\"") => {}
                    _ => return Err(unreadable()),
                }
            }
        }
        Ok(if given { Self::OneOf(tags) } else { Self::None })
    }

    /// Whether it holds of what an entry is now.
    pub(super) fn check(&self, tag: &str) -> Result<(), Problem> {
        match self {
            Self::OneOf(tags) if !tags.iter().any(|known| known == tag) => Err(Problem::changed()),
            Self::None | Self::Exists | Self::OneOf(_) => Ok(()),
        }
    }
}

fn unreadable() -> Problem {
    Problem::invalid("If-Match: give the ETag of the entry as it was shown, in its quotes, or *")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn condition(values: &[&str]) -> Result<Condition, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        Condition::of(&headers)
    }

    #[test]
    fn what_is_said_is_read_and_what_can_not_be_read_is_refused() {
        assert_eq!(condition(&[]).unwrap(), Condition::None);
        assert_eq!(condition(&["*"]).unwrap(), Condition::Exists);
        let several = condition(&["\"a\", W/\"b\"", "\"c\""]).unwrap();
        assert_eq!(
            several,
            Condition::OneOf(vec!["\"a\"".into(), "\"c\"".into()])
        );
        assert!(several.check("\"c\"").is_ok());
        assert!(several.check("\"b\"").is_err(), "weak");
        // A condition without a tag holds of nothing.
        assert!(condition(&[""]).unwrap().check("\"a\"").is_err());
        for wrong in ["a", "\"", "\"a", "W/a"] {
            assert!(condition(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn one_entry_is_changed_by_one_at_a_time() {
        let turns = Turns::default();
        let name: Name = "birrell@pa.example".parse().unwrap();
        let mine = turns.of(&name).await.unwrap();
        let upper: Name = "BIRRELL@pa.example".parse().unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), turns.of(&upper));
        assert!(waiting.await.is_err());
        drop(mine);
        assert!(turns.of(&upper).await.is_some());
    }
}
