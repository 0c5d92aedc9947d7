//! Bodies by reference: one per message and server, counted.
//!
//! The count stands in the `Messages` row and changes in the same commit as what
//! refers to it. A body without references is an orphan and goes after a while.

use grapevine_model::{BodyInfo, MessageId, PeerMessage, ServerName};

use crate::codec::{self, MessageRow};
use crate::delivery::awaited::MOST_BODIES;
use crate::effect::{Effect, Staged};
use crate::server::Server;
use crate::tables::{Damaged, Op, Table};

/// The row whose references change most just now: a page of a list refers to one body hundreds of times in one turn,
/// and the row is written once, at its end.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    row: Option<(MessageId, MessageRow)>,
    changed: bool,
}

impl Server {
    pub(crate) fn message_row(&self, message: MessageId) -> Result<Option<MessageRow>, Damaged> {
        match self.counting.row {
            Some((of, row)) if of == message => Ok(Some(row)),
            Some(_) | None => self
                .ledger
                .get(Table::Messages, &message.to_bytes())?
                .map(|bytes| codec::decode(&bytes))
                .transpose(),
        }
    }

    /// Writes the row that is counted in, if it changed. Call before anything else touches a row, and at the end of a turn.
    pub(crate) fn write_counted(&mut self) {
        if let Some((message, row)) = self.counting.row.take()
            && std::mem::take(&mut self.counting.changed)
        {
            self.ledger.put(
                Table::Messages,
                message.to_bytes().to_vec(),
                codec::encode(&row),
            );
        }
    }

    /// Keeps a staged body, if it is not here already. Nothing refers to it yet.
    pub(crate) fn adopt(&mut self, message: MessageId, staged: Staged) -> Result<(), Damaged> {
        if self.message_row(message)?.is_some() {
            self.ledger.emit_now(Effect::Discard {
                staged: staged.token,
            });
            return Ok(());
        }
        self.ledger.body(Op::AdoptBody {
            staged: staged.token,
            message,
        });
        let row = MessageRow {
            body: staged.body,
            references: 0,
        };
        self.ledger.put(
            Table::Messages,
            message.to_bytes().to_vec(),
            codec::encode(&row),
        );
        self.orphan(message);
        Ok(())
    }

    fn orphan(&mut self, message: MessageId) {
        self.ledger.put_lazily(
            Table::Orphans,
            message.to_bytes().to_vec(),
            codec::encode(&()),
        );
        let due = self.now.mono_ms.saturating_add(self.config.times.orphan_ms);
        self.orphans.insert(message, due);
    }

    /// One reference more.
    pub(crate) fn refer(&mut self, message: MessageId) -> Result<(), Damaged> {
        if let Some(mut row) = self.message_row(message)? {
            if self.counting.row.is_none_or(|(of, _)| of != message) {
                self.write_counted();
            }
            row.references = row.references.saturating_add(1);
            self.counting.row = Some((message, row));
            self.counting.changed = true;
            if self.orphans.remove(&message).is_some() {
                self.ledger
                    .delete_lazily(Table::Orphans, message.to_bytes().to_vec());
            }
        }
        Ok(())
    }

    /// One reference fewer.
    pub(crate) fn release(&mut self, message: MessageId) -> Result<(), Damaged> {
        self.write_counted();
        if let Some(mut row) = self.message_row(message)? {
            row.references = row.references.saturating_sub(1);
            self.ledger.put_lazily(
                Table::Messages,
                message.to_bytes().to_vec(),
                codec::encode(&row),
            );
            if row.references == 0 {
                self.orphan(message);
            }
        }
        Ok(())
    }

    /// Removes the bodies that nothing has referred to for long enough.
    pub(crate) fn remove_orphans(&mut self) -> Result<(), Damaged> {
        self.write_counted();
        let now = self.now.mono_ms;
        let due: Vec<MessageId> = self
            .orphans
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(m, _)| *m)
            .collect();
        for message in due {
            self.orphans.remove(&message);
            self.ledger
                .delete_lazily(Table::Orphans, message.to_bytes().to_vec());
            if self
                .message_row(message)?
                .is_some_and(|row| row.references == 0)
            {
                self.ledger
                    .delete_lazily(Table::Messages, message.to_bytes().to_vec());
                self.ledger.body(Op::DropBody { message });
            }
        }
        Ok(())
    }

    /// Sends a body that is here; one that is not costs the receiver a question, no more.
    pub(crate) fn send_body(&mut self, to: &ServerName, message: MessageId) {
        if let Ok(Some(row)) = self.message_row(message) {
            self.send(
                to,
                PeerMessage::Body {
                    message,
                    body: row.body,
                },
            );
        }
    }

    /// A body comes from another server.
    pub(crate) fn take_body(
        &mut self,
        message: MessageId,
        body: BodyInfo,
        staged: Option<Staged>,
    ) -> Result<(), Damaged> {
        match staged {
            // The shell measured it itself: what came is what was meant, or it is not kept.
            Some(staged) if staged.body == body => {
                self.adopt(message, staged)?;
                self.body_came(message)
            }
            Some(staged) => {
                self.ledger.emit_now(Effect::Discard {
                    staged: staged.token,
                });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Another server lacks bodies for what this one sent.
    pub(crate) fn take_need(&mut self, from: &ServerName, messages: Vec<MessageId>) {
        for message in messages.into_iter().take(MOST_BODIES) {
            self.send_body(from, message);
            self.refill_needed(from, message);
            let Some(custody) = self.custodies.get_mut(&message) else {
                continue;
            };
            custody.got_body(from);
            // What needed the body came before it, and was not kept: it is said again.
            if custody.deputy.as_ref() == Some(from) && !custody.held {
                let record = custody.row.record.clone();
                self.send(from, PeerMessage::Custody(record));
            }
            self.wake(message);
            self.wake_pages(message);
        }
    }
}
