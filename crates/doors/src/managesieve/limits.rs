//! What a ManageSieve client may use up, and for how long it may be silent.

use grapevine_model::{MAX_SCRIPT_BYTES, MAX_SCRIPT_NAME_BYTES};

use crate::sasl::{NAME_BYTES, PASSWORD_BYTES};

/// A line without what stands in literals: a command with two names, each character of them escaped, or a SASL response in base64.
pub(super) const LINE_BYTES: usize = {
    let names = 4 * MAX_SCRIPT_NAME_BYTES + 100;
    let response = 2 * (2 * NAME_BYTES + PASSWORD_BYTES) + 100;
    // A script may stand in quotation marks, too.
    let script = 2 * MAX_SCRIPT_BYTES + 2 * MAX_SCRIPT_NAME_BYTES + 100;
    let longest = if names > response { names } else { response };
    if longest > script { longest } else { script }
};

/// A literal: a script, or a little more, so that one that is too long is told so by its own words.
pub(super) const LITERAL_BYTES: usize = MAX_SCRIPT_BYTES;

/// A literal that is longer than a script is read and dropped up to here; whoever sends more is cut off.
pub(super) const DROPPED_BYTES: u64 = 1024 * 1024;

/// How long a client may be silent (RFC 5804 1.3: 30 minutes at least).
pub(super) const SILENCE_MS: u64 = 30 * 60 * 1000;

/// How long a client that has not logged in may be silent: it holds only a slot.
pub(super) const SILENCE_BEFORE_LOGIN_MS: u64 = 60 * 1000;

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that are wrong in form or order, before the session is closed. 10 by default: a person's typing errors fit in.
    pub errors: u32,
    /// Wrong passwords before the session is closed. 3 by default.
    pub auth_tries: u32,
    /// Commands before the login that lead nowhere. 100 by default: more is somebody holding a slot.
    pub idle_commands: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            errors: 10,
            auth_tries: 3,
            idle_commands: 100,
        }
    }
}
