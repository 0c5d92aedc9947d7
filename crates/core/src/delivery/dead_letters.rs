//! Dead letters: reports that led nowhere, kept until an operator looks.
//!
//! Guards P1: what can't be delivered and has no sender to hear of it is kept,
//! with its reason, and can be sent on its way again.

use grapevine_model::{
    CustodyRecord, DeadLetter, DeadLetterChange, Envelope, EnvelopeRecipient, MAX_QUEUE_PAGE,
    MessageId, Name, Notify, QueueAnswer, Refusal, ReturnContent, Speaker,
};

use crate::codec;
use crate::config::Alone;
use crate::delivery::custody::Pending;
use crate::effect::{Effect, Note, NoteLevel};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// For whom it was, why it failed, and when that was (milliseconds since 1970): the value of a row
/// under the message's id and the recipient's key.
type DeadLetterRow = (Name, String, u64);

impl Server {
    /// Keeps a message for a recipient that can't be served and nobody can be told of.
    pub(crate) fn keep_dead_letter(
        &mut self,
        message: MessageId,
        key: &str,
        pending: &Pending,
        reason: &str,
    ) -> Result<(), Damaged> {
        self.refer(message)?;
        let row: DeadLetterRow = (pending.name.clone(), reason.to_owned(), self.now.wall_ms);
        let mut row_key = message.to_bytes().to_vec();
        row_key.extend_from_slice(key.as_bytes());
        self.ledger
            .put(Table::DeadLetters, row_key, codec::encode(&row));
        self.dead_letters += 1;
        let text = format!(
            "a report for {} can't be delivered ({reason}); kept as dead letter",
            pending.name
        );
        self.ledger.emit(Effect::Note(Note {
            level: NoteLevel::Warn,
            text,
            message: Some(message),
        }));
        Ok(())
    }

    pub(super) fn dead_letter_page(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Result<QueueAnswer, Refusal>, Damaged> {
        let limit = limit.clamp(1, MAX_QUEUE_PAGE) as usize;
        let from = match after.map(read_place).transpose() {
            Ok(from) => from.unwrap_or_default(),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let rows = self
            .ledger
            .scan(Table::DeadLetters, &from, &[u8::MAX; 400], limit + 1)?;
        let next = match rows.len() > limit {
            true => rows.get(limit - 1).map(|(key, _)| place(key)),
            false => None,
        };
        let mut letters = Vec::new();
        for (key, value) in rows.iter().take(limit) {
            let message = message_of(key)?;
            let (name, reason, since_ms): DeadLetterRow = codec::decode(value)?;
            letters.push(DeadLetter {
                place: place(key),
                message,
                name,
                reason,
                since_ms,
                len: self.message_row(message)?.map_or(0, |row| row.body.len),
            });
        }
        Ok(Ok(QueueAnswer::DeadLetters { letters, next }))
    }

    pub(super) fn dead_letter_change(
        &mut self,
        message: MessageId,
        change: &DeadLetterChange,
    ) -> Result<Result<QueueAnswer, Refusal>, Damaged> {
        let prefix = message.to_bytes();
        let until = codec::after_prefix(&prefix);
        let rows = self
            .ledger
            .scan(Table::DeadLetters, &prefix, &until, usize::MAX)?;
        if rows.is_empty() {
            return Ok(Ok(QueueAnswer::Changed(0)));
        }
        if let DeadLetterChange::Resubmit { to } = change {
            let names: Vec<Name> = match to {
                Some(to) => vec![to.clone()],
                None => {
                    let decoded = rows
                        .iter()
                        .map(|(_, row)| codec::decode::<DeadLetterRow>(row));
                    decoded
                        .map(|row| row.map(|(name, _, _)| name))
                        .collect::<Result<_, _>>()?
                }
            };
            if let Err(refusal) = self.resubmit(message, names)? {
                return Ok(Err(refusal));
            }
        }
        for (key, _) in &rows {
            self.ledger.delete(Table::DeadLetters, key.clone());
            self.dead_letters = self.dead_letters.saturating_sub(1);
            self.release(message)?;
        }
        Ok(Ok(QueueAnswer::Changed(1)))
    }

    /// Takes a message that is kept here into custody again.
    fn resubmit(
        &mut self,
        message: MessageId,
        names: Vec<Name>,
    ) -> Result<Result<(), Refusal>, Damaged> {
        let Some(row) = self.message_row(message)? else {
            return Ok(Err(Refusal::not_found(message)));
        };
        let recipients: Vec<EnvelopeRecipient> = names
            .into_iter()
            .map(|name| EnvelopeRecipient {
                name,
                notify: Notify {
                    success: false,
                    failure: true,
                    delay: false,
                },
                original: None,
                meant: None,
            })
            .collect();
        if self.custodies.contains_key(&message) {
            for recipient in &recipients {
                self.add_pending(message, Pending::of(recipient));
            }
            self.saving.insert(message);
            return Ok(Ok(()));
        }
        let record = CustodyRecord {
            message,
            custodian: self.config.server.clone(),
            origin: self.clock.origin(),
            body: row.body,
            envelope: Envelope {
                // Never a bounce for a bounce.
                return_path: None,
                recipients,
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            accepted_ms: self.now.wall_ms,
            poster: Speaker::Server(self.config.server.clone()),
        };
        self.accept(record, Alone::Accept, None, None)?;
        Ok(Ok(()))
    }
}

fn message_of(key: &[u8]) -> Result<MessageId, Damaged> {
    key.first_chunk::<16>()
        .map(|id| MessageId::from_bytes(*id))
        .ok_or_else(|| Damaged("a dead letter's key is too short".into()))
}

/// Where a letter stands: its row's key, as hexadecimal digits.
fn place(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first key after such a place.
fn read_place(text: &str) -> Result<Vec<u8>, Refusal> {
    let bad = || Refusal::invalid("this is not where a page of dead letters has ended");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    let mut key: Vec<u8> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    key.push(0);
    Ok(key)
}
