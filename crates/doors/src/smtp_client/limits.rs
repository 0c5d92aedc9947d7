//! What a server may use up of ours, and how long it may be silent.

/// A reply line with its CRLF. RFC 5321 4.5.3.1.5 has 512; some write more, and none needs four times as much.
pub const REPLY_LINE_BYTES: usize = 2_048;

/// Lines of one reply: the longest list of extensions that is known has some thirty.
pub(super) const REPLY_LINES: usize = 128;

/// What is kept of a reply's text: enough for a person to see why.
pub(super) const REPLY_TEXT_CHARS: usize = 500;

/// How long a server may be silent before its greeting, and after MAIL and RCPT (RFC 5321 4.5.3.2.1 to 4.5.3.2.3).
pub(super) const COMMAND_SILENCE_MS: u64 = 5 * 60 * 1000;

/// After DATA (4.5.3.2.4).
pub(super) const DATA_SILENCE_MS: u64 = 2 * 60 * 1000;

/// For one piece of the body (4.5.3.2.5).
pub(super) const BODY_SILENCE_MS: u64 = 3 * 60 * 1000;

/// After the final dot (4.5.3.2.6): who gives up earlier sends the message twice.
pub(super) const FINAL_SILENCE_MS: u64 = 10 * 60 * 1000;

/// After QUIT: nothing depends on its answer.
pub(super) const QUIT_SILENCE_MS: u64 = 2 * 1000;
