//! What a message travels with: sender, recipients, and where it came in.

use crate::text::push_safe_str;

/// MAIL FROM and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The return path, as written; empty for the null path `<>`.
    pub address: String,
    /// SIZE, when given: never larger than the limit.
    pub declared_bytes: Option<u64>,
    /// BODY.
    pub body: BodyKind,
    /// SMTPUTF8 was asked for: addresses and headers may be UTF-8.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Return>,
    /// ENVID, decoded: printable text.
    pub envelope_id: Option<String>,
}

/// BODY of RFC 6152.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Not said, or 7BIT.
    #[default]
    SevenBit,
    /// 8BITMIME.
    EightBit,
}

/// RET of RFC 3461: what a report of failure carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// RCPT TO and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address, as written; `postmaster` may stand without a domain.
    pub address: String,
    /// NOTIFY, when given.
    pub notify: Option<Notify>,
    /// ORCPT, `type;address`, decoded: printable text.
    pub original: Option<String>,
}

/// NOTIFY of RFC 3461.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// No report whatever happens.
    Never,
    /// A report in these cases.
    On {
        /// When it was delivered.
        success: bool,
        /// When it never will be.
        failure: bool,
        /// When it takes long.
        delay: bool,
    },
}

/// Everything but the body. Its recipients all had the shell's yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub sender: Sender,
    /// The accepted recipients, in order, repetitions included.
    pub recipients: Vec<Recipient>,
    /// The name that logged in; `None` for strangers.
    pub authenticated: Option<String>,
    /// How it came in.
    pub trace: Trace,
}

/// What the `Received:` header is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub(super) hello: String,
    pub(super) client: String,
    pub(super) hostname: String,
    pub(super) protocol: &'static str,
}

impl Trace {
    /// The `Received:` field (RFC 5321 4.4), CRLF included, to stand before the body. `date` is an RFC 5322 date.
    pub fn received(&self, id: &str, date: &str) -> String {
        let mut field = String::with_capacity(256);
        for (lead, value) in [
            ("Received: from ", self.hello.as_str()),
            (" (", self.client.as_str()),
            (")\r\n\tby ", self.hostname.as_str()),
            (" with ", self.protocol),
            (" id ", id),
            (";\r\n\t", date),
            ("\r\n", ""),
        ] {
            field.push_str(lead);
            push_safe_str(&mut field, value);
        }
        field
    }

    /// The name of RFC 3848 or 6531 for how it came: `ESMTPSA`, `UTF8SMTPS`, ...
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_field_cannot_be_broken_out_of() {
        let trace = Trace {
            hello: "a.example".into(),
            client: "192.0.2.1".into(),
            hostname: "s1.example".into(),
            protocol: "ESMTPS",
        };
        assert_eq!(
            trace.received("17.s1", "Mon, 23 Nov 2026 03:46:00 +0000"),
            "Received: from a.example (192.0.2.1)\r\n\tby s1.example with ESMTPS id 17.s1;\r\n\tMon, 23 Nov 2026 03:46:00 +0000\r\n"
        );
        assert_eq!(
            trace.received("x\r\nBcc: y", "z").matches("\r\n").count(),
            3
        );
    }
}
