//! The filters that a mailbox's owner writes for himself (Sieve, RFC 5228), as they are kept and asked for.
//!
//! A script is text here: what it means is known to the doors. A name or a text that exists is within its limits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest script in octets. It is one cell of its owner's mailbox (`MAX_CELL_VALUE_BYTES` is 16 KiB), so that it
/// changes as a whole on all sites; a filter of 200 rules has about 12 KiB.
pub const MAX_SCRIPT_BYTES: usize = 15 * 1024;
/// The longest name of a script in octets: it is the element of a cell. RFC 5804 1.6 asks for 128 characters at least.
pub const MAX_SCRIPT_NAME_BYTES: usize = 512;
/// So many scripts one mailbox has at most. RFC 5804 names no number; people have one, and some old ones.
pub const MAX_SCRIPTS: usize = 16;

/// What a script is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScriptName(Arc<str>);

/// Why a text is no name of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a script's name has 1 to {MAX_SCRIPT_NAME_BYTES} octets and no control characters")]
pub struct ScriptNameError;

impl ScriptName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScriptName {
    type Err = ScriptNameError;

    fn from_str(text: &str) -> Result<Self, ScriptNameError> {
        // RFC 5804 1.6.
        let is_odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        match (1..=MAX_SCRIPT_NAME_BYTES).contains(&text.len()) && !text.contains(is_odd) {
            true => Ok(Self(text.into())),
            false => Err(ScriptNameError),
        }
    }
}
impl TryFrom<String> for ScriptName {
    type Error = ScriptNameError;
    fn try_from(text: String) -> Result<Self, ScriptNameError> {
        text.parse()
    }
}
impl From<ScriptName> for String {
    fn from(name: ScriptName) -> String {
        name.as_str().to_owned()
    }
}
impl fmt::Display for ScriptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ScriptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The text of a script.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScriptText(Arc<str>);

/// A text is too long for a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a script has at most {MAX_SCRIPT_BYTES} octets")]
pub struct ScriptTextError;

impl ScriptText {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ScriptText {
    type Error = ScriptTextError;
    fn try_from(text: String) -> Result<Self, ScriptTextError> {
        match text.len() <= MAX_SCRIPT_BYTES {
            true => Ok(Self(text.into())),
            false => Err(ScriptTextError),
        }
    }
}
impl From<ScriptText> for String {
    fn from(text: ScriptText) -> String {
        text.as_str().to_owned()
    }
}
impl fmt::Debug for ScriptText {
    /// Filters are private: their length is enough for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a script of {} octets", self.0.len())
    }
}

/// What is asked of the scripts of a mailbox, by its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SieveAsk {
    /// All of them.
    List,
    /// The text of one.
    Get(ScriptName),
    /// A script is new, or another one. Whoever passes it on has seen that it can be run.
    Put {
        /// Which.
        script: ScriptName,
        /// Its text.
        text: ScriptText,
    },
    /// This one is run from now on; none of them, if none.
    Activate(Option<ScriptName>),
    /// One is no more; not the active one.
    Delete(ScriptName),
    /// One is called otherwise; active it stays.
    Rename {
        /// Which.
        script: ScriptName,
        /// How.
        to: ScriptName,
    },
    /// Whether a script of so many octets would be taken.
    HaveSpace {
        /// Under which name.
        script: ScriptName,
        /// Octets.
        len: u64,
    },
}

impl SieveAsk {
    /// Whether doing it twice, or not knowing whether it was done, makes a difference.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::List | Self::Get(_) | Self::HaveSpace { .. } => false,
            Self::Put { .. } | Self::Activate(_) | Self::Delete(_) | Self::Rename { .. } => true,
        }
    }
}

/// What is told of scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SieveReply {
    /// All of them, in order of their names.
    Scripts(Vec<ScriptView>),
    /// The text of one.
    Text(ScriptText),
    /// There is room.
    Fits,
}

/// One script in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptView {
    /// What it is called.
    pub script: ScriptName,
    /// Whether it is the one that is run.
    pub active: bool,
    /// Octets.
    pub len: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_names_that_can_be_shown_and_texts_that_fit_in_a_cell() {
        assert_eq!("main".parse::<ScriptName>().unwrap().as_str(), "main");
        for bad in ["", "a\nb", "a\u{7f}", "a\u{2028}", &"x".repeat(513)] {
            assert!(bad.parse::<ScriptName>().is_err(), "{bad:?}");
        }
        assert!(ScriptText::try_from("x".repeat(MAX_SCRIPT_BYTES)).is_ok());
        assert!(ScriptText::try_from("x".repeat(MAX_SCRIPT_BYTES + 1)).is_err());
        const { assert!(MAX_SCRIPT_BYTES < crate::MAX_CELL_VALUE_BYTES) };
        const { assert!(MAX_SCRIPT_NAME_BYTES <= crate::MAX_CELL_ELEMENT_BYTES) };
    }
}
