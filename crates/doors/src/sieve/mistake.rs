//! What is wrong in a script, and where: said to the person who wrote it.

use std::fmt;

/// A place in a script; both count from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Mistake {
    /// Where.
    pub at: Position,
    /// What, in words for its author; no line ends.
    pub what: String,
}

impl Mistake {
    pub(super) fn new(at: Position, what: impl Into<String>) -> Self {
        let what: String = what.into();
        // Words of the script may stand in it.
        let what = what
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(400)
            .collect();
        Self { at, what }
    }
}
