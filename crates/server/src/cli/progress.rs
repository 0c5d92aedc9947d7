//! How far a long command has come, on stderr: one line that is written over on a terminal, a line now and then
//! elsewhere.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::out::complain;

/// A person sees it move.
const ON_TERMINAL: Duration = Duration::from_millis(200);
/// A log is not filled.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// The line.
pub(crate) struct Progress {
    terminal: bool,
    last: Instant,
    shown: usize,
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            last: Instant::now(),
            shown: 0,
        }
    }

    /// Shows how far it is, if it is time.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        let pause = if self.terminal {
            ON_TERMINAL
        } else {
            ELSEWHERE
        };
        if self.last.elapsed() < pause {
            return;
        }
        self.last = Instant::now();
        let line = line();
        if !self.terminal {
            complain(line);
            return;
        }
        let mut stderr = io::stderr().lock();
        let width = self.shown.max(line.chars().count());
        self.shown = line.chars().count();
        let _ = write!(stderr, "\r{line:<width$}").and_then(|()| stderr.flush());
    }

    /// The line gives way to what comes after it.
    pub(crate) fn clear(&mut self) {
        if self.terminal && self.shown > 0 {
            let blank = " ".repeat(self.shown);
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{blank}\r").and_then(|()| stderr.flush());
            self.shown = 0;
        }
    }

    /// A complaint, which the line makes room for.
    pub(crate) fn complain(&mut self, line: impl fmt::Display) {
        self.clear();
        complain(line);
    }
}
