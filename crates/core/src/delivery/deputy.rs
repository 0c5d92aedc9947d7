//! The second copy: who has it, and who takes over when the custodian is gone.
//!
//! Guards P1 and P2. The deputy drives the delivery when the custodian is
//! silent, is no longer in `gv`, or writes with another disk than the one that
//! knew of the message. Both driving at once is harmless: deposits are idempotent.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{CustodyRecord, MessageId, OriginId, PeerMessage, ServerName};

use crate::codec::{self, DeputyRow};
use crate::delivery::custody::{CustodyRow, Pending};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// A record held as deputy.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) record: CustodyRecord,
    /// When it came, or was last asked about, monotonic.
    pub(crate) since_ms: u64,
}

/// A deputy asks about a message that it has held for so long.
const ASK_AFTER_MS: u64 = 60_000;
/// Messages named in one question at most.
const MOST_ASKED: usize = 1_000;

/// How busy a server is that has so many messages in custody. What it said is as old as its last beat: were the least
/// busy one chosen to the message, all others would choose it at once.
fn load_class(pending: u64) -> u32 {
    /// With fewer messages than these nobody is busy.
    const FEW: u64 = 16;
    u64::BITS - (pending / FEW).leading_zeros()
}

impl Server {
    /// Chooses a deputy and sends it the message.
    pub(crate) fn find_deputy(&mut self, message: MessageId) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get(&message) else {
            return Ok(());
        };
        // An inbox site of a recipient has the body sooner or later anyway.
        let mut sites: BTreeSet<ServerName> = BTreeSet::new();
        for pending in custody.row.pending.values() {
            if let Some(entry) = self.entry(&pending.name.without_detail()) {
                sites.extend(entry.sites());
            }
        }
        let best = self
            .peers
            .iter()
            .filter(|(server, peer)| peer.accepts && self.is_up(server))
            .min_by_key(|(server, peer)| {
                (
                    custody.silent.contains(*server),
                    custody.deputy.as_ref() != Some(*server),
                    !sites.contains(*server),
                    load_class(peer.pending),
                    // The next ones in the ring of names: not all servers ask the same one.
                    **server < self.config.server,
                    *server,
                )
            })
            .map(|(server, _)| server.clone());
        let Some(deputy) = best else { return Ok(()) };
        let record = custody.row.record.clone();
        let has_body = custody.has_body(&deputy);
        if let Some(custody) = self.custodies.get_mut(&message) {
            custody.deputy = Some(deputy.clone());
            custody.held = false;
            custody.got_body(&deputy);
        }
        if !has_body {
            self.send_body(&deputy, message);
        }
        self.send(&deputy, PeerMessage::Custody(record));
        Ok(())
    }

    /// Another server wants this one as deputy.
    pub(crate) fn take_custody_record(
        &mut self,
        from: &ServerName,
        mut record: CustodyRecord,
    ) -> Result<(), Damaged> {
        let message = record.message;
        if record.custodian != *from {
            return Ok(());
        }
        match self.message_row(message)? {
            Some(row) if row.body == record.body => {}
            Some(_) => {
                self.another_body(from, message);
                return Ok(());
            }
            None => {
                self.await_body(from, message, PeerMessage::Custody(record));
                return Ok(());
            }
        }
        let key = (from.clone(), message);
        if let Some(held) = self.deputies.get(&key) {
            // An older record may come after a newer one. Recipients come to a message and never go.
            let known = &held.record.envelope.recipients;
            let record = &mut record.envelope.recipients;
            let more = known.iter().filter(|r| !record.contains(r)).cloned();
            record.extend(more.collect::<Vec<_>>());
        }
        let recipients = u32::try_from(record.envelope.recipients.len()).ok();
        if self
            .deputies
            .get(&key)
            .is_none_or(|held| held.record != record)
        {
            if self.disk_nearly_full {
                return Ok(());
            }
            if !self.deputies.contains_key(&key) {
                self.refer(message)?;
            }
            self.ledger.put(
                Table::Deputies,
                codec::deputy_key(from, message),
                codec::encode::<DeputyRow>(&record),
            );
            self.deputies.insert(
                key,
                Held {
                    record,
                    since_ms: self.now.mono_ms,
                },
            );
        }
        self.send(
            from,
            PeerMessage::CustodyHeld {
                message,
                recipients,
            },
        );
        Ok(())
    }

    pub(crate) fn take_custody_held(
        &mut self,
        from: &ServerName,
        message: MessageId,
        recipients: Option<u32>,
    ) {
        let Some(custody) = self.custodies.get_mut(&message) else {
            // Ended meanwhile.
            self.ended.entry(from.clone()).or_default().push(message);
            return;
        };
        custody.got_body(from);
        let whole = custody.row.record.envelope.recipients.len();
        if recipients.is_some_and(|held| (held as usize) < whole) {
            // Of the record as it was before more recipients came to it: the answer to the newer one counts.
            return;
        }
        if custody.deputy.is_none() {
            custody.deputy = Some(from.clone());
        }
        if custody.deputy.as_ref() == Some(from) {
            custody.held = true;
            custody.silent.clear();
            self.say_yes(message, 2);
            if self.holds.contains(&message) {
                self.tell_hold(from, message);
            }
        } else {
            self.ended.entry(from.clone()).or_default().push(message);
        }
    }

    pub(crate) fn take_custody_ended(
        &mut self,
        from: &ServerName,
        origin: OriginId,
        messages: Vec<MessageId>,
    ) -> Result<(), Damaged> {
        for message in messages.into_iter().take(MOST_ASKED * 10) {
            let key = (from.clone(), message);
            // Only the life of the disk that took custody knows that it has ended.
            if self
                .deputies
                .get(&key)
                .is_some_and(|held| held.record.origin == origin)
            {
                self.drop_deputy(&key)?;
            }
        }
        Ok(())
    }

    fn drop_deputy(&mut self, key: &(ServerName, MessageId)) -> Result<(), Damaged> {
        if self.deputies.remove(key).is_some() {
            self.ledger
                .delete_lazily(Table::Deputies, codec::deputy_key(&key.0, key.1));
            self.release(key.1)?;
            self.forget_hold(key.1);
        }
        Ok(())
    }

    pub(crate) fn take_custody_ask(
        &mut self,
        from: &ServerName,
        origin: OriginId,
        messages: Vec<MessageId>,
    ) {
        if origin != self.clock.origin() {
            return;
        }
        let ended: Vec<MessageId> = messages
            .into_iter()
            .filter(|m| {
                self.custodies
                    .get(m)
                    .is_none_or(|c| c.deputy.as_ref() != Some(from))
            })
            .collect();
        if !ended.is_empty() {
            self.send(
                from,
                PeerMessage::CustodyEnded {
                    origin,
                    messages: ended,
                },
            );
        }
    }

    /// Once a second: whose custodian is gone, which custody lacks a deputy, what to ask about.
    pub(crate) fn look_after_custody(&mut self) -> Result<(), Damaged> {
        let take_over_ms = self.config.times.take_over_ms;
        let mut orphaned = Vec::new();
        let mut ask: BTreeMap<(ServerName, OriginId), Vec<MessageId>> = BTreeMap::new();
        for ((custodian, message), held) in &mut self.deputies {
            let peer = self.peers.get(custodian);
            let other_life = peer
                .and_then(|p| p.origin)
                .is_some_and(|origin| origin != held.record.origin);
            let silent =
                peer.is_none_or(|p| p.silent_ms(self.now.mono_ms, self.started_ms) > take_over_ms);
            if peer.is_none() || other_life || silent {
                orphaned.push((custodian.clone(), *message));
            } else if self.now.mono_ms.saturating_sub(held.since_ms) > ASK_AFTER_MS {
                held.since_ms = self.now.mono_ms;
                let asked = ask
                    .entry((custodian.clone(), held.record.origin))
                    .or_default();
                if asked.len() < MOST_ASKED {
                    asked.push(*message);
                }
            }
        }
        for ((custodian, origin), messages) in ask {
            self.send(&custodian, PeerMessage::CustodyAsk { origin, messages });
        }
        if !self.planted_no_take_over {
            self.take_over(orphaned)?;
        }
        if !self
            .peers
            .iter()
            .any(|(server, peer)| peer.accepts && self.is_up(server))
        {
            return Ok(());
        }
        let without: Vec<MessageId> = self
            .custodies
            .iter()
            .filter(|(_, c)| match &c.deputy {
                None => true,
                Some(deputy) if !c.held => !self.is_up(deputy) || c.waiting.is_empty(),
                Some(deputy) => self.peers.get(deputy).is_none_or(|p| {
                    p.silent_ms(self.now.mono_ms, self.started_ms) > take_over_ms || !p.accepts
                }),
            })
            .map(|(message, _)| *message)
            .collect();
        for message in without {
            if let Some(custody) = self.custodies.get_mut(&message)
                && !custody.held
            {
                // Asked a beat ago or more.
                let silent = custody.deputy.clone();
                custody.silent.extend(silent);
            }
            self.find_deputy(message)?;
        }
        Ok(())
    }

    /// This server is stopped in order: the deputies go on at once, not after its silence.
    pub(crate) fn leave_in_order(&mut self) {
        let mut left: BTreeMap<ServerName, Vec<MessageId>> = BTreeMap::new();
        for (message, custody) in &self.custodies {
            if let Some(deputy) = custody.deputy.as_ref().filter(|_| custody.held) {
                left.entry(deputy.clone()).or_default().push(*message);
            }
        }
        let origin = self.clock.origin();
        for (deputy, messages) in left {
            for messages in messages.chunks(MOST_ASKED) {
                let messages = messages.to_vec();
                self.send(&deputy, PeerMessage::CustodyLeft { origin, messages });
            }
        }
    }

    /// A custodian that is being stopped leaves these to this server, its deputy.
    pub(crate) fn take_custody_left(
        &mut self,
        from: &ServerName,
        origin: OriginId,
        messages: Vec<MessageId>,
    ) -> Result<(), Damaged> {
        let of_this_life = |message: &MessageId| {
            let held = self.deputies.get(&(from.clone(), *message));
            held.is_some_and(|held| held.record.origin == origin)
        };
        let left = messages.into_iter().filter(of_this_life);
        let left: Vec<_> = left.map(|message| (from.clone(), message)).collect();
        let count = left.len();
        self.note_info(
            format!("{from} stops in order: {count} of its messages go on here"),
            None,
        );
        if let Some(peer) = self.peers.get_mut(from) {
            // No deputy any more, until it says otherwise.
            peer.accepts = false;
        }
        self.take_over(left)
    }

    fn take_over(&mut self, orphaned: Vec<(ServerName, MessageId)>) -> Result<(), Damaged> {
        for key in orphaned {
            let Some(held) = self.deputies.get(&key) else {
                continue;
            };
            let mut record = held.record.clone();
            self.note_info(format!("took over from {}", key.0), Some(key.1));
            record.custodian = self.config.server.clone();
            record.origin = self.clock.origin();
            let pending: Vec<Pending> =
                record.envelope.recipients.iter().map(Pending::of).collect();
            if self.custodies.contains_key(&key.1) {
                for recipient in pending {
                    self.add_pending(key.1, recipient);
                }
                self.saving.insert(key.1);
            } else {
                let pending = pending.into_iter().map(|p| (p.key(), p)).collect();
                self.remember_accepted(&record, true);
                self.take_custody(CustodyRow {
                    record,
                    pending,
                    passed: Default::default(),
                })?;
                self.find_deputy(key.1)?;
            }
            if let Some(custody) = self.custodies.get_mut(&key.1) {
                // It may have handed some of it over.
                custody.fresh = false;
                custody.taken_from = Some(key.0.clone());
            }
            self.drop_deputy(&key)?;
        }
        Ok(())
    }
}
