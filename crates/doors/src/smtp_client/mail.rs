//! One message in the client's hands: its commands, and what each recipient was told.

use grapevine_model::{Name, Notify, ReturnContent};

use super::content::Content;
use super::extensions::Extensions;
use super::reply::{Class, Said};

/// RFC 3461 4.4 and 4.2: longer ones are left out, as no server needs to take them.
const ENVELOPE_ID_BYTES: usize = 100;
const ORIGINAL_BYTES: usize = 500;

/// A message to be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Where reports go; none for the null path.
    pub return_path: Option<Name>,
    /// For whom, at least one.
    pub recipients: Vec<Rcpt>,
    /// What a scan found in it.
    pub content: Content,
    /// What comes back with a report.
    pub ret: ReturnContent,
    /// The sender's own name for it, in xtext.
    pub envelope_id: Option<String>,
}

/// A recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The address.
    pub name: Name,
    /// When the sender wants to hear of it.
    pub notify: Notify,
    /// The original recipient, in xtext.
    pub original: Option<String>,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has said yes after the final dot.
    Taken {
        /// Its words.
        said: Said,
        /// It sees to the reports that the sender wants.
        reports: bool,
    },
    /// For good.
    Refused {
        /// RFC 3463.
        status: String,
        /// The server's words; none where it was not asked.
        said: Option<Said>,
        /// Why, where it was not asked.
        why: String,
    },
    /// Not now, and why.
    Later(String),
}

impl Outcome {
    /// A server's no.
    pub(super) fn refused(said: &Said) -> Self {
        Self::Refused {
            status: said.status().unwrap_or("5.0.0").to_owned(),
            said: Some(said.clone()),
            why: String::new(),
        }
    }

    /// What an answer that is no yes means.
    pub(super) fn of(said: &Said) -> Self {
        match said.class() {
            Class::No => Self::refused(said),
            Class::Later | Class::Yes | Class::More => Self::Later(said.to_string()),
        }
    }

    /// What an answer to RCPT means that is no yes.
    pub(super) fn of_rcpt(said: &Said) -> Self {
        // RFC 5321 4.5.3.1.10: 552 was once said for too many recipients, and is to be read as 452.
        let too_many = said.code == 552 && matches!(said.status(), None | Some("5.5.3"));
        if too_many {
            Self::Later(said.to_string())
        } else {
            Self::of(said)
        }
    }

    fn unasked(status: &str, why: String) -> Self {
        Self::Refused {
            status: status.to_owned(),
            said: None,
            why,
        }
    }
}

impl Mail {
    /// Why this server can't have it at all, from what it offers.
    pub(super) fn obstacle(&self, server: &str, offers: &Extensions) -> Option<Outcome> {
        let utf8 = self.needs_utf8();
        if let Some(most) = offers.most_bytes
            && self.content.bytes > most
        {
            let why = format!(
                "the message has {} octets, and {server} takes at most {most}",
                self.content.bytes
            );
            return Some(Outcome::unasked("5.3.4", why));
        }
        if utf8 && !offers.utf8 {
            let why = format!("an address is not ASCII, and {server} takes no others (SMTPUTF8)");
            return Some(Outcome::unasked("5.6.7", why));
        }
        if self.content.eight_bit && !offers.eight_bit {
            let why = format!(
                "the message has characters that are not ASCII, and {server} takes no others (8BITMIME)"
            );
            return Some(Outcome::unasked("5.6.3", why));
        }
        None
    }

    fn needs_utf8(&self) -> bool {
        let names = self.recipients.iter().map(|rcpt| &rcpt.name);
        names
            .chain(&self.return_path)
            .any(|name| !name.simple().is_ascii())
    }

    /// The MAIL command.
    pub(super) fn mail_command(&self, offers: &Extensions) -> String {
        let mut command = match &self.return_path {
            Some(path) => format!("MAIL FROM:<{path}>"),
            None => "MAIL FROM:<>".to_owned(),
        };
        if offers.size {
            command.push_str(&format!(" SIZE={}", self.content.bytes));
        }
        if offers.eight_bit && self.content.eight_bit {
            command.push_str(" BODY=8BITMIME");
        }
        if self.needs_utf8() {
            command.push_str(" SMTPUTF8");
        }
        if offers.dsn {
            command.push_str(match self.ret {
                ReturnContent::Headers => " RET=HDRS",
                ReturnContent::Full => " RET=FULL",
            });
            if let Some(id) = sound(self.envelope_id.as_deref(), ENVELOPE_ID_BYTES) {
                command.push_str(&format!(" ENVID={id}"));
            }
        }
        command.push_str("\r\n");
        command
    }
}

impl Rcpt {
    /// The RCPT command.
    pub(super) fn command(&self, offers: &Extensions) -> String {
        let mut command = format!("RCPT TO:<{}>", self.name);
        if offers.dsn {
            let Notify {
                success,
                failure,
                delay,
            } = self.notify;
            let wanted: Vec<&str> = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")]
                .into_iter()
                .filter_map(|(wanted, word)| wanted.then_some(word))
                .collect();
            let wanted = if wanted.is_empty() {
                "NEVER".to_owned()
            } else {
                wanted.join(",")
            };
            command.push_str(&format!(" NOTIFY={wanted}"));
            if let Some(original) = sound(self.original.as_deref(), ORIGINAL_BYTES) {
                command.push_str(&format!(" ORCPT={original}"));
            }
        }
        command.push_str("\r\n");
        command
    }
}

/// A parameter that can't break out of its command: what came by another door than SMTP was not checked.
fn sound(value: Option<&str>, most: usize) -> Option<&str> {
    value.filter(|value| {
        (1..=most).contains(&value.len()) && value.bytes().all(|b| (b'!'..=b'~').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parameter_can_not_break_out_of_its_command() {
        let rcpt = Rcpt {
            name: "a@b".parse().unwrap(),
            notify: Notify::default(),
            original: Some("rfc822;a@b\r\nDATA".into()),
        };
        let dsn = Extensions {
            dsn: true,
            ..Extensions::default()
        };
        assert_eq!(rcpt.command(&dsn), "RCPT TO:<a@b> NOTIFY=FAILURE,DELAY\r\n");
        assert_eq!(rcpt.command(&Extensions::default()), "RCPT TO:<a@b>\r\n");
    }
}
