//! Distribution lists: one level at a time, where the registry is held.
//!
//! Guards P6 and P7: a group held here is expanded in pages (see `fanout`), once for a message; a
//! group held elsewhere is handed, with the message, to a server beside it. A group that can't be
//! reached waits; it is never taken for empty.

use grapevine_model::{
    CustodyRecord, Envelope, EnvelopeRecipient, Incarnation, MessageId, Name, PeerMessage,
    ServerName,
};

use crate::codec;
use crate::config::Alone;
use crate::delivery::custody::{Pending, recipient_key};
use crate::registry::directory::Held;
use crate::server::Server;
use crate::tables::{Damaged, Table};

fn passed_key(message: MessageId, incarnation: Incarnation) -> Vec<u8> {
    [message.to_bytes(), incarnation.0.to_be_bytes()].concat()
}

impl Server {
    /// Begins with a group among the recipients, or hands it on.
    pub(crate) fn expand(
        &mut self,
        message: MessageId,
        key: &str,
        pending: &Pending,
        group: &Name,
        incarnation: Incarnation,
    ) -> Result<(), Damaged> {
        if self.held(group.registry()) != Held::Here {
            self.hand(message, key, group);
            return Ok(());
        }
        if !self.pass_group(message, incarnation)? {
            let why = "already, for this message".into();
            return self.recipient_done(message, key, "expanded", why);
        }
        self.begin_group(message, pending, group, incarnation, None);
        self.recipient_delivered(message, key, "its members, page by page")
    }

    /// Notes that a group is expanded for this message; false when it was already. Remembered as long
    /// as the message is: a ring of lists over several servers ends even where custody has.
    fn pass_group(
        &mut self,
        message: MessageId,
        incarnation: Incarnation,
    ) -> Result<bool, Damaged> {
        let key = passed_key(message, incarnation);
        if self.ledger.get(Table::Passed, &key)?.is_some() {
            return Ok(false);
        }
        self.ledger.put(Table::Passed, key, codec::encode(&()));
        Ok(true)
    }

    /// A group was not expanded to its end here, and begins anew: elsewhere, or here again.
    pub(crate) fn unpass_group(&mut self, message: MessageId, incarnation: Incarnation) {
        self.ledger
            .delete(Table::Passed, passed_key(message, incarnation));
    }

    /// Forgets which groups were expanded for a message that is forgotten.
    pub(crate) fn forget_passed(&mut self, message: MessageId) -> Result<(), Damaged> {
        let prefix = message.to_bytes();
        let until = codec::after_prefix(&prefix);
        for (key, _) in self.all_rows(Table::Passed, &prefix, &until)? {
            self.ledger.delete_lazily(Table::Passed, key);
        }
        Ok(())
    }

    /// Hands a recipient to a server that holds its registry.
    pub(crate) fn hand(&mut self, message: MessageId, key: &str, name: &Name) {
        let holders = self.holders(name.registry());
        let Some(holder) = holders.iter().find(|s| self.is_up(s)).cloned() else {
            self.recipient_waits(
                message,
                key,
                format!("no holder of {} can be reached", name.registry()),
            );
            return;
        };
        self.hand_to_server(message, key, holder);
    }

    /// Hands a recipient to a server, whoever it is.
    pub(crate) fn hand_to_server(&mut self, message: MessageId, key: &str, holder: ServerName) {
        let me = self.config.server.clone();
        let Some(custody) = self.custodies.get_mut(&message) else {
            return;
        };
        let Some(pending) = custody.row.pending.get(key) else {
            return;
        };
        let recipient = EnvelopeRecipient {
            name: pending.name.clone(),
            notify: pending.notify,
            original: pending.original.clone(),
            meant: pending.meant,
        };
        if let Some(trying) = custody.trying.get_mut(key) {
            trying.handed_to.insert(holder.clone());
        }
        let known = custody.has_body(&holder);
        custody.got_body(&holder);
        let whole = &custody.row.record;
        let record = CustodyRecord {
            custodian: me,
            envelope: Envelope {
                recipients: vec![recipient],
                ..whole.envelope.clone()
            },
            ..whole.clone()
        };
        if !known {
            self.send_body(&holder, message);
        }
        self.send(&holder, PeerMessage::Hand(record));
    }

    /// Another server hands over recipients: the same message, in custody here from now on.
    pub(crate) fn take_hand(
        &mut self,
        from: &ServerName,
        mut record: CustodyRecord,
    ) -> Result<(), Damaged> {
        let message = record.message;
        match self.message_row(message)? {
            Some(row) if row.body == record.body => {}
            Some(_) => {
                self.another_body(from, message);
                return Ok(());
            }
            None => {
                self.await_body(from, message, PeerMessage::Hand(record));
                return Ok(());
            }
        }
        if self.disk_nearly_full {
            return Ok(());
        }
        record.custodian = self.config.server.clone();
        record.origin = self.clock.origin();
        let recipients: Vec<String> = record
            .envelope
            .recipients
            .iter()
            .map(|r| recipient_key(&r.name, r.meant))
            .collect();
        if self.custodies.contains_key(&message) {
            return self.take_more(from, &record, recipients);
        }
        let alone = self.alone_for_envelope(&record.envelope);
        self.accept(record, alone, None, Some((from.clone(), recipients)))
    }

    /// The message is in custody here already: these recipients come to it. The deputy is asked
    /// before they count as taken over, though it may have known them: it may have taken over from this server
    /// meanwhile and be done with them.
    fn take_more(
        &mut self,
        from: &ServerName,
        more: &CustodyRecord,
        recipients: Vec<String>,
    ) -> Result<(), Damaged> {
        let message = more.message;
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        if !custody.promised && custody.alone == Alone::Refuse {
            // It may still be refused, and these with it: they are handed again.
            return Ok(());
        }
        let whole = &mut custody.row.record.envelope.recipients;
        let new: Vec<EnvelopeRecipient> = (more.envelope.recipients.iter())
            .filter(|r| {
                let same =
                    |known: &EnvelopeRecipient| known.name == r.name && known.meant == r.meant;
                !whole.iter().any(same)
            })
            .cloned()
            .collect();
        whole.extend(new);
        custody.touch();
        self.saving.insert(message);
        // All of them: what was known may have been handed on from here, and come back.
        for pending in more.envelope.recipients.iter().map(Pending::of) {
            self.add_pending(message, pending);
        }
        let handed = (from.clone(), recipients);
        if let Some(custody) = self.custodies.get_mut(&message)
            && !custody.handed_by.contains(&handed)
        {
            custody.handed_by.push(handed);
        }
        self.find_deputy(message)?;
        self.await_deputy(message);
        Ok(())
    }

    /// Tells a server that these recipients, which it handed over, are in custody here. Not those that this server has
    /// handed to it: each would hear that the other has them, and nobody would.
    pub(crate) fn say_handed(
        &mut self,
        to: &ServerName,
        message: MessageId,
        mut recipients: Vec<String>,
    ) {
        if let Some(custody) = self.custodies.get(&message) {
            let trying = &custody.trying;
            recipients.retain(|key| !trying.get(key).is_some_and(|t| t.handed_to.contains(to)));
        }
        if !recipients.is_empty() {
            let handed = PeerMessage::Handed {
                message,
                recipients,
            };
            self.send(to, handed);
        }
    }

    /// Another server says that it has taken recipients over: those that this one has handed to it.
    pub(crate) fn take_handed(
        &mut self,
        from: &ServerName,
        message: MessageId,
        recipients: Vec<String>,
    ) -> Result<(), Damaged> {
        for key in recipients {
            let keys = match self.custodies.get(&message) {
                // A server of an older release took it over by its name alone.
                Some(custody) if !custody.row.pending.contains_key(&key) => {
                    let of_name = |pending: &Pending| recipient_key(&pending.name, None) == key;
                    let pending = custody.row.pending.iter();
                    pending
                        .filter(|(_, pending)| of_name(pending))
                        .map(|(key, _)| key.clone())
                        .collect()
                }
                Some(_) | None => vec![key],
            };
            for key in keys {
                let trying = self
                    .custodies
                    .get(&message)
                    .and_then(|c| c.trying.get(&key));
                if trying.is_some_and(|trying| trying.handed_to.contains(from)) {
                    self.recipient_done(message, &key, "handed on", format!("to {from}"))?;
                }
            }
        }
        Ok(())
    }
}
