//! What a command says: results on stdout, one line of complaint on stderr, and how it ends.
//!
//! The one place that writes to either, so that a closed pipe is never a panic.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use grapevine_model::{ErrorKind, Refusal};

/// How a command ends (interface.md; scripts depend on it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// The caller may not.
    NotAllowed = 3,
    /// No such name.
    NoSuchName = 4,
    /// Try again, or elsewhere.
    Unavailable = 5,
}

/// Why a command failed: one line that says what, why and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How to end.
    pub(crate) exit: Exit,
    /// The line.
    pub(crate) why: String,
}

impl Failure {
    /// It failed.
    pub(crate) fn new(why: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Failed,
            why: why.to_string(),
        }
    }

    /// It was called wrongly.
    pub(crate) fn usage(why: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            why: why.to_string(),
        }
    }

    /// Try again, or elsewhere.
    pub(crate) fn unavailable(why: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Unavailable,
            why: why.to_string(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.kind {
            ErrorKind::NotAuthenticated | ErrorKind::NotAllowed => Exit::NotAllowed,
            ErrorKind::NotFound => Exit::NoSuchName,
            ErrorKind::Unavailable => Exit::Unavailable,
            ErrorKind::Invalid
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Unknown
            | ErrorKind::Internal => Exit::Failed,
        };
        Self {
            exit,
            why: refusal.why,
        }
    }
}

/// Prints the complaint, if there is one, and gives the exit code.
pub(crate) fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.why);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Writes a line to stdout.
pub(crate) fn say(line: impl fmt::Display) {
    // A reader that has gone away needs no more lines.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes a line to stderr.
pub(crate) fn complain(line: impl fmt::Display) {
    let text = line.to_string();
    let one_line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr().lock(), "grapevine: {one_line}");
}
