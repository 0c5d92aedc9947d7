//! CAPA, STAT, LIST, UIDL.
//!
//! A listing of a large mailbox is written in pieces, as the shell takes them, so that it never stands whole in memory.

use super::command::Number;
use super::mailbox::Entry;
use super::reply::{self, Reply};
use super::session::{Phase, Session};
use crate::sasl::scram::Variant;
use crate::{OUTBOX_BYTES, Tls};

/// What is listed of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Size,
    Uidl,
}

impl Session {
    pub(super) fn capa(&mut self) {
        if !self.count_idle() {
            return;
        }
        let mut list = String::from(
            "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n",
        );
        match (self.config.tls, &self.mailbox) {
            (Tls::Active | Tls::Local, _) => list.push_str(
                match (self.offers(Variant::Plus), self.offers(Variant::Plain)) {
                    (true, _) => "USER\r\nSASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN\r\n",
                    (false, true) => "USER\r\nSASL SCRAM-SHA-256 PLAIN\r\n",
                    (false, false) => "USER\r\nSASL PLAIN\r\n",
                },
            ),
            (Tls::Offered, None) => list.push_str("STLS\r\n"),
            (Tls::Offered, Some(_)) | (Tls::Unavailable, _) => {}
        }
        list.push_str("EXPIRE NEVER\r\nIMPLEMENTATION Grapevine\r\n.\r\n");
        self.write(|out| out.extend_from_slice(list.as_bytes()));
    }

    pub(super) fn stat(&mut self) {
        match &self.mailbox {
            None => self.fault(reply::LOGIN_FIRST),
            Some(mailbox) => {
                let (messages, bytes) = mailbox.totals();
                self.write(|out| {
                    out.extend_from_slice(format!("+OK {messages} {bytes}\r\n").as_bytes())
                });
            }
        }
    }

    pub(super) fn list(&mut self, column: Column, number: Option<Number>) {
        let Some(mailbox) = &self.mailbox else {
            return self.fault(reply::LOGIN_FIRST);
        };
        match number {
            Some(number) => match mailbox.get(number) {
                Err(why) => self.refuse_message(why),
                Ok(entry) => {
                    let mut line = b"+OK ".to_vec();
                    write_row(&mut line, number.index(), entry, column);
                    self.write(|out| out.extend_from_slice(&line));
                }
            },
            None => {
                let (messages, bytes) = mailbox.totals();
                self.write(|out| {
                    out.extend_from_slice(
                        format!("+OK {messages} messages ({bytes} octets)\r\n").as_bytes(),
                    )
                });
                self.phase = Phase::Listing { column, next: 0 };
            }
        }
    }

    /// Goes on with the listing, as far as the bound on outputs lets it.
    pub(super) fn step_listing(&mut self, column: Column, next: usize) {
        let (mut next, room) = (next, OUTBOX_BYTES.saturating_sub(self.queued_bytes));
        let mut rows = Vec::new();
        self.phase = Phase::Command;
        loop {
            let Some((index, entry)) = self
                .mailbox
                .as_ref()
                .and_then(|mailbox| mailbox.kept_from(next))
            else {
                rows.extend_from_slice(b".\r\n");
                break;
            };
            write_row(&mut rows, index, entry, column);
            next = index + 1;
            if rows.len() >= room {
                self.phase = Phase::Listing { column, next };
                break;
            }
        }
        self.write(|out| out.extend_from_slice(&rows));
    }

    /// A number that is not there is no fault of form: a client that deletes twice is not thrown out.
    pub(super) fn refuse_message(&mut self, why: Reply) {
        self.reply(why);
    }
}

fn write_row(out: &mut Vec<u8>, index: usize, entry: &Entry, column: Column) {
    let row = match column {
        Column::Size => format!("{} {}\r\n", index + 1, entry.size_bytes()),
        Column::Uidl => format!("{} {}\r\n", index + 1, entry.uidl()),
    };
    out.extend_from_slice(row.as_bytes());
}
