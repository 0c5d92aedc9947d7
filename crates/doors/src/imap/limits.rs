//! What an IMAP client may use up, and for how long it may be silent.

/// A command with its literals, but for those that are messages: a set of ten thousand UIDs without a gap in common fits in.
pub const COMMAND_BYTES: usize = 64 * 1024;

/// A command before the login: a name, a password and a SCRAM proof fit in.
pub const COMMAND_BYTES_BEFORE_LOGIN: usize = 12_288;

/// The longest message literal that is read to its end though it is not wanted: a longer one, already on its way, ends the connection.
pub(super) const UNWANTED_BYTES: u64 = 64 * 1024 * 1024;

/// How long a client may be silent (RFC 9051 section 5.4: 30 minutes at least), in IDLE too.
pub(super) const SILENCE_MS: u64 = 30 * 60 * 1000;

/// How long a client that has not logged in may be silent: it has no mailbox to hold, only a slot.
pub(super) const SILENCE_BEFORE_LOGIN_MS: u64 = 60 * 1000;

/// Messages in one APPEND (MULTIAPPEND): each is staged until all are there.
pub(super) const APPENDED_MESSAGES: usize = 100;

/// Flags and keywords in one command: programs have some tens.
pub(super) const FLAGS_IN_A_COMMAND: usize = 100;

/// The longest keyword.
pub(super) const KEYWORD_BYTES: usize = 100;

/// Items, or patterns, or search keys, in one command; a nested list counts with its contents.
pub(super) const ITEMS_IN_A_COMMAND: usize = 500;

/// How deep search keys may be nested: NOT and parentheses.
pub(super) const SEARCH_DEPTH: usize = 30;

/// What is held of one header, for ENVELOPE and the fields: more is on the wire only, never looked into.
pub(super) const HEADER_BYTES: usize = 64 * 1024;

/// What is held of all headers in one message.
pub(super) const HEADERS_BYTES: usize = 256 * 1024;

/// Parts of one message that are told apart; what follows belongs to the last.
pub(super) const PARTS: usize = 1_000;

/// How deep parts may be nested before they are taken for plain content.
pub(super) const PART_DEPTH: usize = 30;

/// A message that is small enough to be held while several of its parts are fetched.
pub(super) const SMALL_MESSAGE_BYTES: u64 = 64 * 1024;

/// How much of a message SEARCH looks into for BODY and TEXT.
pub(super) const SEARCHED_BYTES: usize = 1024 * 1024;

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Commands that are wrong in form or order, in a row, before the session is closed. 20 by default.
    pub errors: u32,
    /// Wrong passwords before the session is closed. 3 by default.
    pub auth_tries: u32,
    /// Commands before the login that lead nowhere (CAPABILITY, NOOP, ID). 100 by default: more is somebody holding a slot.
    pub idle_commands: u32,
    /// The longest message that APPEND takes, in octets.
    pub message_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            errors: 20,
            auth_tries: 3,
            idle_commands: 100,
            message_bytes: 50 * 1024 * 1024,
        }
    }
}
