//! Replies: code, enhanced code (RFC 3463), text.
//!
//! A reply is one line whatever its text holds: see `text.rs`. The class of the enhanced code always is the class of the code.

use crate::text::push_safe;

/// A reply of the session's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) enhanced: &'static str,
    pub(super) text: &'static str,
}

const fn reply(code: u16, enhanced: &'static str, text: &'static str) -> Reply {
    Reply {
        code,
        enhanced,
        text,
    }
}

pub(super) const AUTH_OK: Reply = reply(235, "2.7.0", "Authentication successful");
pub(super) const BYE: Reply = reply(221, "2.0.0", "Bye");
pub(super) const OK: Reply = reply(250, "2.0.0", "OK");
pub(super) const SENDER_OK: Reply = reply(250, "2.1.0", "Sender OK");
pub(super) const RECIPIENT_OK: Reply = reply(250, "2.1.5", "Recipient OK");
pub(super) const READY_FOR_TLS: Reply = reply(220, "2.0.0", "Ready to start TLS");
pub(super) const VRFY: Reply = reply(
    252,
    "2.0.0",
    "Cannot verify, but will take a message for it and try",
);
pub(super) const HELP: Reply = reply(214, "2.0.0", "See RFC 5321, RFC 6409");

pub(super) const SHUTTING_DOWN: Reply = reply(
    421,
    "4.3.2",
    "Server is shutting down, try again or at another server",
);
pub(super) const SILENT: Reply = reply(421, "4.4.2", "Silent for too long, closing");
pub(super) const TOO_MANY_ERRORS: Reply = reply(421, "4.7.0", "Too many errors, closing");
pub(super) const TOO_MANY_REFUSED: Reply = reply(
    421,
    "4.7.0",
    "Too many recipients that are not here, closing",
);
pub(super) const TOO_MANY_TRIES: Reply = reply(421, "4.7.0", "Too many failed logins, closing");
pub(super) const TOO_MANY_IDLE: Reply =
    reply(421, "4.7.0", "Too many commands without a message, closing");
pub(super) const TOO_MUCH_INPUT: Reply =
    reply(421, "4.3.0", "Too much input ahead of its answers, closing");
pub(super) const TOO_MANY_RECIPIENTS: Reply = reply(
    452,
    "4.5.3",
    "Too many recipients, send the rest in another message",
);

pub(super) const UNKNOWN: Reply = reply(500, "5.5.1", "Command not known");
pub(super) const HTTP: Reply = reply(500, "5.5.1", "This is not HTTP, closing");
pub(super) const NOT_TEXT: Reply = reply(500, "5.5.2", "A command is printable UTF-8 text");
pub(super) const BARE_LINE_END: Reply = reply(
    500,
    "5.5.2",
    "Lines end with CRLF, never with CR or LF alone",
);
pub(super) const LINE_TOO_LONG: Reply = reply(500, "5.5.6", "Line too long");
pub(super) const NO_ARGUMENT: Reply = reply(501, "5.5.4", "This command takes no argument");
pub(super) const SYNTAX_HELLO: Reply = reply(501, "5.5.4", "Syntax: EHLO name-or-[address]");
pub(super) const SYNTAX_MAIL: Reply =
    reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]");
pub(super) const SYNTAX_RCPT: Reply = reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]");
pub(super) const SYNTAX_BDAT: Reply = reply(
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]; closing, for the rest cannot be told apart",
);
pub(super) const SYNTAX_AUTH: Reply =
    reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]");
pub(super) const BAD_SENDER: Reply = reply(501, "5.1.7", "Sender address cannot be read");
pub(super) const BAD_RECIPIENT: Reply = reply(501, "5.1.3", "Recipient address cannot be read");
pub(super) const BAD_PARAMETER: Reply = reply(
    501,
    "5.5.4",
    "A parameter has a wrong value, or is given twice",
);
pub(super) const UNKNOWN_PARAMETER: Reply = reply(555, "5.5.4", "A parameter is not known");
pub(super) const NEEDS_SMTPUTF8: Reply = reply(
    553,
    "5.6.7",
    "An address that is not ASCII needs MAIL ... SMTPUTF8",
);
pub(super) const AUTH_CANCELLED: Reply = reply(501, "5.7.0", "Authentication cancelled");
pub(super) const AUTH_MALFORMED: Reply =
    reply(501, "5.5.2", "Authentication response cannot be read");
pub(super) const AUTH_DOWNGRADED: Reply = reply(
    535,
    "5.7.8",
    "Channel binding is offered here and your side was not told: somebody may be in between",
);
pub(super) const AUTH_MECHANISM: Reply =
    reply(504, "5.5.4", "Mechanism not offered; PLAIN and LOGIN are");
pub(super) const NOT_OFFERED: Reply = reply(502, "5.5.1", "Not offered here");
pub(super) const HELLO_FIRST: Reply = reply(503, "5.5.1", "EHLO first");
pub(super) const LHLO_ONLY: Reply = reply(500, "5.5.1", "This is LMTP: LHLO first");
pub(super) const MAIL_FIRST: Reply = reply(503, "5.5.1", "MAIL first");
pub(super) const MAIL_TWICE: Reply =
    reply(503, "5.5.1", "A message is under way; RSET gives it up");
pub(super) const BDAT_UNDER_WAY: Reply = reply(
    503,
    "5.5.1",
    "BDAT is under way; end it with BDAT ... LAST or RSET",
);
pub(super) const TLS_ALREADY: Reply = reply(503, "5.5.1", "TLS is on already");
pub(super) const AUTH_ALREADY: Reply = reply(503, "5.5.1", "Logged in already");
pub(super) const AUTH_FIRST: Reply = reply(530, "5.7.0", "Log in first");
pub(super) const TLS_FIRST: Reply = reply(530, "5.7.0", "STARTTLS first, then log in");
pub(super) const AUTH_NEEDS_TLS: Reply = reply(
    538,
    "5.7.11",
    "STARTTLS first: no password without encryption",
);
pub(super) const AUTH_OTHER: Reply =
    reply(535, "5.7.8", "Acting for another name is not supported");
pub(super) const NO_RECIPIENTS: Reply = reply(554, "5.5.1", "No recipient was accepted");
pub(super) const TOO_LARGE: Reply = reply(552, "5.3.4", "Message is larger than this server takes");
pub(super) const CIRCLE: Reply = reply(
    554,
    "5.4.6",
    "Message has passed more than a hundred servers: it goes in a circle",
);
pub(super) const BARE_IN_DATA: Reply = reply(
    550,
    "5.6.0",
    "Message has a CR or LF alone; lines end with CRLF",
);

/// Codes a shell may refuse with. 421 is not among them: closing is the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 450: the mailbox can't be written now.
    MailboxBusy,
    /// 451: something here doesn't work now.
    LocalError,
    /// 452: no room now.
    NoStorage,
    /// 454: logins can't be checked now.
    AuthUnavailable,
    /// 535: wrong name or password.
    AuthFailed,
    /// 550: no such mailbox, or not for you.
    MailboxUnavailable,
    /// 551: not here.
    NotLocal,
    /// 552: too large, or the mailbox is full for good.
    TooLarge,
    /// 553: not an address that may be used here.
    BadMailbox,
    /// 554: never.
    Failed,
}

/// The shell's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    subject: u16,
    detail: u16,
    text: String,
}

impl Refusal {
    /// A refusal with the enhanced code `class.subject.detail` (RFC 3463), the class being that of `code`.
    pub fn new(code: Code, subject: u16, detail: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            subject: subject.min(999),
            detail: detail.min(999),
            text: text.into(),
        }
    }

    /// 451 4.3.0: try again later.
    pub fn try_later(text: impl Into<String>) -> Self {
        Self::new(Code::LocalError, 3, 0, text)
    }

    /// An answer to another question than was asked.
    pub(super) fn no_answer() -> Self {
        Self::try_later("Something is wrong here, try again or at another server")
    }

    /// 452 4.3.1: this server's disk has no room.
    pub fn storage_full() -> Self {
        Self::new(
            Code::NoStorage,
            3,
            1,
            "Server has no room now, try again or at another server",
        )
    }

    /// 452 4.2.2: the recipient's mailbox is full.
    pub fn mailbox_full() -> Self {
        Self::new(Code::NoStorage, 2, 2, "Mailbox is full")
    }

    /// 552 5.2.2: the same, where the registry does not want it tried again.
    pub fn mailbox_stays_full() -> Self {
        Self::new(Code::TooLarge, 2, 2, "Mailbox is full")
    }

    /// 550 5.1.1: there is no such name.
    pub fn no_such_mailbox() -> Self {
        Self::new(Code::MailboxUnavailable, 1, 1, "No such mailbox")
    }

    /// Whether asking again later is of no use.
    pub(super) fn is_for_good(&self) -> bool {
        match self.code {
            Code::MailboxBusy | Code::LocalError | Code::NoStorage | Code::AuthUnavailable => false,
            Code::AuthFailed
            | Code::MailboxUnavailable
            | Code::NotLocal
            | Code::TooLarge
            | Code::BadMailbox
            | Code::Failed => true,
        }
    }

    /// 550 5.7.1: not for strangers.
    pub fn no_relay() -> Self {
        Self::new(
            Code::MailboxUnavailable,
            7,
            1,
            "Relaying denied: not a name of this system",
        )
    }

    /// 553 5.7.1: the sender is not who has logged in.
    pub fn not_your_address() -> Self {
        Self::new(Code::BadMailbox, 7, 1, "Sender address is not yours to use")
    }

    /// 535 5.7.8: one text for an unknown name and a wrong password.
    pub fn bad_credentials() -> Self {
        Self::new(Code::AuthFailed, 7, 8, "Name or password is wrong")
    }

    /// 454 4.7.0: logins cannot be checked now.
    pub fn auth_unavailable() -> Self {
        Self::new(
            Code::AuthUnavailable,
            7,
            0,
            "Cannot check logins now, try again or at another server",
        )
    }

    /// Whether trying again may help.
    pub fn is_temporary(&self) -> bool {
        self.code.number() < 500
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let code = self.code.number();
        let head = format!("{code} {}.{}.{} ", code / 100, self.subject, self.detail);
        out.extend_from_slice(head.as_bytes());
        push_safe(out, &self.text);
        out.extend_from_slice(b"\r\n");
    }
}

impl Code {
    fn number(self) -> u16 {
        match self {
            Code::MailboxBusy => 450,
            Code::LocalError => 451,
            Code::NoStorage => 452,
            Code::AuthUnavailable => 454,
            Code::AuthFailed => 535,
            Code::MailboxUnavailable => 550,
            Code::NotLocal => 551,
            Code::TooLarge => 552,
            Code::BadMailbox => 553,
            Code::Failed => 554,
        }
    }
}

impl Reply {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.write_with(out, self.text);
    }

    /// With another text than its own.
    pub(super) fn write_with(&self, out: &mut Vec<u8>, text: &str) {
        push_number(out, self.code);
        out.push(b' ');
        out.extend_from_slice(self.enhanced.as_bytes());
        out.push(b' ');
        push_safe(out, text);
        out.extend_from_slice(b"\r\n");
    }
}

/// What to send to a connection that is not taken at all (too many sessions): send it and close.
pub fn greeting_of_refusal(hostname: &str) -> Vec<u8> {
    let mut out = b"421 ".to_vec();
    push_safe(&mut out, hostname);
    out.extend_from_slice(b" 4.7.0 Too many connections, try again later or at another server\r\n");
    out
}

fn push_number(out: &mut Vec<u8>, code: u16) {
    for divisor in [100, 10, 1] {
        out.push(b'0' + u8::try_from(code / divisor % 10).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_of_its_class() {
        let mut out = Vec::new();
        Refusal::new(Code::NoStorage, 3, 1, "full\r\n250 OK").write(&mut out);
        assert_eq!(out, b"452 4.3.1 full??250 OK\r\n");
        out.clear();
        Refusal::new(Code::Failed, 6, 0, "").write(&mut out);
        assert_eq!(out, b"554 5.6.0 \r\n");
        assert!(Refusal::try_later("x").is_temporary() && !Refusal::no_relay().is_temporary());
    }

    #[test]
    fn a_reply_is_code_enhanced_code_and_text() {
        let mut out = Vec::new();
        AUTH_NEEDS_TLS.write(&mut out);
        assert!(out.starts_with(b"538 5.7.11 STARTTLS first"));
    }
}
