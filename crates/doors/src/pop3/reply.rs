//! Replies: `+OK` or `-ERR`, a response code (RFC 2449, 3206) where one fits, text.
//!
//! A reply is one line whatever its text holds: see `text.rs`.

use crate::text::push_safe;

/// A reply of the session's own: the whole line but its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply(pub(super) &'static str);

pub(super) const BYE: Reply = Reply("+OK Bye");
pub(super) const OK: Reply = Reply("+OK");
pub(super) const PASSWORD_PLEASE: Reply = Reply("+OK Password, please");
pub(super) const READY_FOR_TLS: Reply = Reply("+OK Ready to start TLS");

pub(super) const SHUTTING_DOWN: Reply =
    Reply("-ERR [SYS/TEMP] Server is shutting down, try again or at another server");
pub(super) const SILENT: Reply = Reply("-ERR [SYS/TEMP] Silent for too long, closing");
pub(super) const TOO_MANY_ERRORS: Reply = Reply("-ERR Too many errors, closing");
pub(super) const TOO_MANY_TRIES: Reply = Reply("-ERR Too many failed logins, closing");
pub(super) const TOO_MANY_IDLE: Reply = Reply("-ERR Too many commands without a login, closing");
pub(super) const TOO_MUCH_INPUT: Reply = Reply("-ERR Too much input ahead of its answers, closing");

pub(super) const UNKNOWN: Reply = Reply("-ERR Command not known");
pub(super) const NOT_TEXT: Reply = Reply("-ERR A command is printable UTF-8 text");
pub(super) const BARE_LINE_END: Reply =
    Reply("-ERR Lines end with CRLF, never with CR or LF alone");
pub(super) const LINE_TOO_LONG: Reply = Reply("-ERR Line too long");
pub(super) const BAD_ARGUMENT: Reply = Reply("-ERR Wrong or missing argument");
pub(super) const MECHANISM: Reply = Reply("-ERR Mechanism not offered; PLAIN is");
pub(super) const NOT_OFFERED: Reply = Reply("-ERR Not offered here");
pub(super) const TLS_ALREADY: Reply = Reply("-ERR TLS is on already");
pub(super) const TLS_FIRST: Reply = Reply("-ERR STLS first: no password without encryption");
pub(super) const LOGIN_FIRST: Reply = Reply("-ERR Log in first");
pub(super) const LOGIN_ALREADY: Reply = Reply("-ERR Logged in already");
pub(super) const USER_FIRST: Reply = Reply("-ERR USER first");
pub(super) const AUTH_CANCELLED: Reply = Reply("-ERR Authentication cancelled");
pub(super) const AUTH_MALFORMED: Reply = Reply("-ERR Authentication response cannot be read");
pub(super) const AUTH_OTHER: Reply = Reply("-ERR [AUTH] Acting for another name is not supported");
pub(super) const AUTH_DOWNGRADED: Reply = Reply(
    "-ERR [AUTH] Channel binding is offered here and your side was not told: somebody may be in between",
);
pub(super) const NO_SUCH_MESSAGE: Reply = Reply("-ERR No such message");
pub(super) const NO_MAILBOX: Reply = Reply("-ERR [SYS/TEMP] The mailbox cannot be read now");
pub(super) const DELETED_ALREADY: Reply = Reply("-ERR Message is marked as deleted");

/// Why the shell says no: decides the response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `[AUTH]`: name or password is wrong.
    Credentials,
    /// `[IN-USE]`: another session holds the mailbox.
    InUse,
    /// `[LOGIN-DELAY]`: too soon after the last login.
    LoginDelay,
    /// `[SYS/TEMP]`: trying again, or at another server, may help.
    Temporary,
    /// `[SYS/PERM]`: a person must act.
    Permanent,
}

/// The shell's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) reason: Reason,
    text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }

    /// One text for an unknown name and a wrong password.
    pub fn bad_credentials() -> Self {
        Self::new(Reason::Credentials, "Name or password is wrong")
    }

    /// Try again later.
    pub fn try_later(text: impl Into<String>) -> Self {
        Self::new(Reason::Temporary, text)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lead: &[u8] = match self.reason {
            Reason::Credentials => b"-ERR [AUTH] ",
            Reason::InUse => b"-ERR [IN-USE] ",
            Reason::LoginDelay => b"-ERR [LOGIN-DELAY] ",
            Reason::Temporary => b"-ERR [SYS/TEMP] ",
            Reason::Permanent => b"-ERR [SYS/PERM] ",
        };
        out.extend_from_slice(lead);
        push_safe(out, &self.text);
        out.extend_from_slice(b"\r\n");
    }
}

impl Reply {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// What to send to a connection that is not taken at all (too many sessions): send it and close.
pub fn greeting_of_refusal() -> Vec<u8> {
    b"-ERR [SYS/TEMP] Too many connections, try again later or at another server\r\n".to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_its_code() {
        let mut out = Vec::new();
        Refusal::new(Reason::InUse, "busy\r\n+OK").write(&mut out);
        assert_eq!(out, b"-ERR [IN-USE] busy??+OK\r\n");
    }
}
