//! What an SMTP client may use up, and for how long it may be silent.

/// A command line with its CRLF. RFC 5321 asks for 512; parameters (DSN, SMTPUTF8 addresses) add to that, so four times as much.
pub const COMMAND_LINE_BYTES: usize = 2048;

/// A line of an AUTH exchange with its CRLF (RFC 4954 section 4).
pub const AUTH_LINE_BYTES: usize = 12_288;

/// How long a client may be silent between commands (RFC 5321 4.5.3.2.7: 5 minutes).
pub(super) const COMMAND_SILENCE_MS: u64 = 5 * 60 * 1000;

/// How long a client may be silent inside a body (RFC 5321 4.5.3.2.5: 3 minutes).
pub(super) const BODY_SILENCE_MS: u64 = 3 * 60 * 1000;

/// How much of a body is worked on at a time: one read of the shell.
pub(super) const BODY_STEP_BYTES: usize = crate::READ_BYTES;

/// What is read of a body beyond twice the message limit before the connection is closed: stuffing at most adds a third, and a client that
/// sends a little too much should read why.
pub(super) const OVERRUN_BYTES: u64 = 64 * 1024;

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body. 100 MiB by default: what large providers take at most is 25 to 150 MB.
    pub message_bytes: u64,
    /// Recipients of one message. 1,000 by default: RFC 5321 4.5.3.1.8 asks for 100 at least, and each costs a question.
    pub recipients: usize,
    /// Commands that are wrong in form or order, before the session is closed. 10 by default: a person's typing errors fit in.
    pub errors: u32,
    /// Recipients that a stranger named and that were refused for good, since its last accepted message, before the session is closed. 100 by
    /// default: what a list of another system has that is out of date fits in; more is somebody trying names.
    pub refused_recipients: u32,
    /// Wrong passwords before the session is closed. 3 by default.
    pub auth_tries: u32,
    /// Commands of a client that has not logged in, since its last accepted message, that lead nowhere (NOOP, RSET, VRFY, HELP, EHLO).
    /// 250 by default: more is somebody holding a slot.
    pub idle_commands: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 100 * 1024 * 1024,
            recipients: 1000,
            errors: 10,
            refused_recipients: 100,
            auth_tries: 3,
            idle_commands: 250,
        }
    }
}
