//! What a POP3 client may use up, and for how long it may be silent.

use crate::sasl::PASSWORD_BYTES;

/// A command line with its CRLF: 255 octets (RFC 2449 section 4) are too few for a long pass phrase after PASS, so that is added.
pub const COMMAND_LINE_BYTES: usize = 255 + PASSWORD_BYTES;

/// A line of an AUTH exchange with its CRLF: as SMTP has it (RFC 4954 section 4).
pub const AUTH_LINE_BYTES: usize = 12_288;

/// How long a client may be silent (RFC 1939 section 3: 10 minutes at least).
pub(super) const SILENCE_MS: u64 = 10 * 60 * 1000;

/// How long a client that has not logged in may be silent: it has no mailbox to hold, only a slot.
pub(super) const SILENCE_BEFORE_LOGIN_MS: u64 = 60 * 1000;

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that are wrong in form or order, before the session is closed. 10 by default: a person's typing errors fit in.
    pub errors: u32,
    /// Wrong passwords before the session is closed. 3 by default.
    pub auth_tries: u32,
    /// Commands before the login that lead nowhere (CAPA, USER). 100 by default: more is somebody holding a slot.
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
