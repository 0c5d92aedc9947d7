//! Flags of a message: the five of the system, and keywords.
//!
//! Keywords are one whatever their case; the spelling that came first is shown.

use std::sync::Arc;

use super::limits::{FLAGS_IN_A_COMMAND, KEYWORD_BYTES};
use super::syntax::{Bad, Cursor, Read};

/// The flags of the system, in their order.
const SYSTEM: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
const DELETED: u8 = 1 << 2;
const SEEN: u8 = 1 << 3;

/// A message's flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    system: u8,
    keywords: Vec<Arc<str>>,
}

/// How STORE changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// These too.
    Add,
    /// These no more.
    Remove,
    /// These and no others.
    Replace,
}

impl PartialEq for Flags {
    fn eq(&self, other: &Self) -> bool {
        self.system == other.system
            && self.keywords.len() == other.keywords.len()
            && self
                .keywords
                .iter()
                .all(|keyword| other.has_keyword(keyword))
    }
}

impl Eq for Flags {}

impl Flags {
    /// From their names; what is none (`\Recent`, say) is left out.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = Self::default();
        for name in names {
            flags.insert(name);
        }
        flags
    }

    /// `\Seen` alone.
    pub fn seen() -> Self {
        Self {
            system: SEEN,
            keywords: Vec::new(),
        }
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let system = SYSTEM
            .iter()
            .enumerate()
            .filter(|(at, _)| self.system & (1 << at) != 0);
        system
            .map(|(_, name)| *name)
            .chain(self.keywords.iter().map(|keyword| &**keyword))
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_empty()
    }

    /// Whether `\Seen` is set.
    pub fn is_seen(&self) -> bool {
        self.system & SEEN != 0
    }

    /// Whether `\Deleted` is set.
    pub fn is_deleted(&self) -> bool {
        self.system & DELETED != 0
    }

    /// Whether this one is set.
    pub fn has(&self, name: &str) -> bool {
        match system(name) {
            Some(bit) => self.system & bit != 0,
            None => self.has_keyword(name),
        }
    }

    fn has_keyword(&self, name: &str) -> bool {
        self.keywords
            .iter()
            .any(|keyword| keyword.eq_ignore_ascii_case(name))
    }

    fn insert(&mut self, name: &str) {
        match system(name) {
            Some(bit) => self.system |= bit,
            None if !name.starts_with('\\') && !self.has_keyword(name) => {
                self.keywords.push(name.into())
            }
            None => {}
        }
    }

    /// What they are after a change.
    pub fn changed(&self, change: Change, by: &Self) -> Self {
        match change {
            Change::Replace => by.clone(),
            Change::Add => {
                let mut flags = self.clone();
                by.names().for_each(|name| flags.insert(name));
                flags
            }
            Change::Remove => Self {
                system: self.system & !by.system,
                keywords: self
                    .keywords
                    .iter()
                    .filter(|keyword| !by.has_keyword(keyword))
                    .cloned()
                    .collect(),
            },
        }
    }

    pub(super) fn keywords(&self) -> &[Arc<str>] {
        &self.keywords
    }

    /// `(\Seen x)`.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(b'(');
        for (at, name) in self.names().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(name.as_bytes());
        }
        out.push(b')');
    }

    /// `flag-list`.
    pub(super) fn read_list(cursor: &mut Cursor<'_>) -> Read<Self> {
        cursor.expect(b'(')?;
        let mut flags = Self::default();
        if cursor.eat(b')').is_some() {
            return Ok(flags);
        }
        flags.read_some(cursor)?;
        cursor.expect(b')')?;
        Ok(flags)
    }

    /// One or more, with spaces between them.
    pub(super) fn read_some(&mut self, cursor: &mut Cursor<'_>) -> Read<()> {
        let mut count = 0;
        loop {
            self.insert(&read_flag(cursor)?);
            count += 1;
            if count > FLAGS_IN_A_COMMAND {
                return Err(Bad("Too many flags in one command"));
            }
            if cursor.eat(b' ').is_none() {
                return Ok(());
            }
        }
    }
}

/// One flag: of the system, or a keyword.
pub(super) fn read_flag(cursor: &mut Cursor<'_>) -> Read<String> {
    if cursor.eat(b'\\').is_none() {
        return read_keyword(cursor);
    }
    let name = format!("\\{}", cursor.atom()?);
    match system(&name) {
        Some(_) => Ok(name),
        // A client says it now and then; it is the server's to set, and obsolete.
        None if name.eq_ignore_ascii_case("\\Recent") => Ok(name),
        None => Err(Bad("There is no such system flag")),
    }
}

pub(super) fn read_keyword(cursor: &mut Cursor<'_>) -> Read<String> {
    let keyword = cursor.atom()?;
    if keyword.len() > KEYWORD_BYTES {
        return Err(Bad("A keyword is too long"));
    }
    Ok(keyword.to_owned())
}

fn system(name: &str) -> Option<u8> {
    let at = SYSTEM
        .iter()
        .position(|one| one.eq_ignore_ascii_case(name))?;
    Some(1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_one_in_any_case() {
        let flags = Flags::of(["\\seen", "$Forwarded", "$FORWARDED", "\\Recent"]);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["\\Seen", "$Forwarded"]);
        assert_eq!(flags, Flags::of(["$forwarded", "\\Seen"]));
        let less = flags.changed(Change::Remove, &Flags::of(["$forwarded"]));
        assert_eq!(less, Flags::seen());
        assert_eq!(less.changed(Change::Add, &flags), flags);
        assert!(flags.changed(Change::Replace, &Flags::default()).is_empty());
    }

    #[test]
    fn a_flag_that_the_system_has_not_is_refused() {
        for bad in ["(\\Foo)", "(a", "a)", "(a  b)", "(\\*)"] {
            assert!(
                Flags::read_list(&mut Cursor::new(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
    }
}
