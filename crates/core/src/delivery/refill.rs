//! Mailboxes filled again from retained copies, when a server has lost its disk: by themselves where a message was
//! for individuals, and by an operator (`replay`) in all cases.
//!
//! Deposits are idempotent, so what is there stays once, and what its owner has deleted stays deleted wherever a site
//! still knows of that. Must never ask a site that is still fetching a mailbox while one that has all of it lives: hence
//! a site whose disk has kept its life is preferred, and waited for.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    CustodyRecord, DepositFor, DepositOutcome, EnvelopeRecipient, Incarnation, MessageId, Name,
    Notify, PeerMessage, QueueAnswer, Refusal, Resolution, ServerName,
};

use crate::codec;
use crate::config::Alone;
use crate::delivery::retain::RetainedRow;
use crate::mailbox::{Deposited, Depositing, Waits};
use crate::registry::directory::Memo;
use crate::registry::request::{Job, Stop};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Retained rows looked at in one beat of a pass.
const LOOKED_AT_A_BEAT: usize = 200;
/// Messages being offered at one time: more wait for the next beat.
const MOST_OFFERED: usize = 500;
/// What was not answered is offered again with a pass this much later.
const AGAIN_MS: u64 = 60_000;
/// Messages replayed by one request; more are named by the next one.
const MOST_REPLAYED: usize = 1_000;

/// A mailbox that a message is offered to.
#[derive(Debug, Clone)]
struct Offer {
    name: Name,
    sites: Vec<ServerName>,
    at: ServerName,
}

/// Which retained messages are being offered, and to whom.
#[derive(Debug, Default)]
pub(crate) struct Refills {
    /// Where the pass goes on; none while there is none.
    cursor: Option<Vec<u8>>,
    /// When the next pass begins.
    again_ms: Option<u64>,
    offers: BTreeMap<MessageId, BTreeMap<Incarnation, Offer>>,
    /// Recipients that have to be resolved before a message is done.
    resolving: BTreeMap<MessageId, BTreeSet<String>>,
    /// Messages of which somebody could not be reached in this pass.
    late: BTreeSet<MessageId>,
}

impl Refills {
    /// Servers have other disks than before: everything retained is looked at.
    pub(crate) fn begin(&mut self) {
        self.cursor = Some(Vec::new());
    }

    pub(crate) fn forget(&mut self, message: MessageId) {
        self.offers.remove(&message);
        self.resolving.remove(&message);
        self.late.remove(&message);
    }

    fn is_under_way(&self, message: MessageId) -> bool {
        self.offers.contains_key(&message) || self.resolving.contains_key(&message)
    }
}

impl Server {
    /// A server is heard with this life of its disk.
    pub(crate) fn life_heard(
        &mut self,
        before: Option<grapevine_model::OriginId>,
        now: grapevine_model::OriginId,
    ) {
        // The first word after this server's own start may be the first of a new disk.
        if before != Some(now) {
            self.refills.begin();
        }
    }

    /// Once a beat: some more of a pass.
    pub(crate) fn refill_on(&mut self) -> Result<(), Damaged> {
        if self
            .refills
            .again_ms
            .is_some_and(|at_ms| at_ms <= self.now.mono_ms)
        {
            self.refills.again_ms = None;
            self.refills.offers.clear();
            self.refills.resolving.clear();
            self.refills.begin();
        }
        let room = MOST_OFFERED.saturating_sub(self.refills.offers.len());
        let (Some(from), true) = (self.refills.cursor.clone(), room > 0) else {
            return Ok(());
        };
        let limit = LOOKED_AT_A_BEAT.min(room);
        let rows = self
            .ledger
            .scan(Table::Retained, &from, &[u8::MAX; 17], limit)?;
        self.refills.cursor = match rows.last() {
            Some((last, _)) if rows.len() == limit => {
                let mut next = last.clone();
                next.push(0);
                Some(next)
            }
            Some(_) | None => None,
        };
        let lives = self.disk_lives();
        for (_, value) in rows {
            let Ok(row) = codec::decode::<RetainedRow>(&value) else {
                continue;
            };
            let lost = row.lives.iter().any(|(server, life)| {
                // Who is not heard may come back with all it has.
                lives.get(server).is_some_and(|now| now != life)
                    || !self.servers.contains_key(server)
            });
            let message = row.record.message;
            let busy = self.custodies.contains_key(&message) || self.refills.is_under_way(message);
            if lost && !busy {
                self.refill(&row);
            }
        }
        if self.refills.cursor.is_none()
            && !(self.refills.offers.is_empty() && self.refills.late.is_empty())
        {
            self.refills.again_ms = Some(self.now.mono_ms.saturating_add(AGAIN_MS));
            self.refills.late.clear();
        }
        Ok(())
    }

    fn refill(&mut self, row: &RetainedRow) {
        let message = row.record.message;
        let mut resolving = BTreeSet::new();
        for recipient in &row.record.envelope.recipients {
            let name = recipient.name.without_detail();
            if resolving.insert(name.key()) {
                self.runnable
                    .push_back((Job::Refill { message, name }, Memo::new()));
            }
        }
        self.refills.resolving.insert(message, resolving);
    }

    /// Offers a retained message to one of those it was for.
    pub(crate) fn refill_one(
        &mut self,
        memo: &Memo,
        message: MessageId,
        name: &Name,
    ) -> Result<(), Stop> {
        let Some(row) = self.retained_row(message)? else {
            self.refills.forget(message);
            return Ok(());
        };
        match self.resolve(memo, name)? {
            Resolution::Individual {
                name: now,
                incarnation,
                sites,
                forward,
                ..
            } if forward.is_empty() && !sites.is_empty() => {
                self.offer_again(&row, now, incarnation, sites)?;
            }
            // Lists and what is forwarded: an operator replays them. Nobody: nothing.
            Resolution::Individual { .. } | Resolution::Group { .. } | Resolution::NoSuch => {}
        }
        self.refill_resolved(message, name)?;
        Ok(())
    }

    /// It can't be told now where this one's mailbox is.
    pub(crate) fn refill_waits(&mut self, message: MessageId, name: &Name) {
        self.refills.late.insert(message);
        if let Err(damaged) = self.refill_resolved(message, name) {
            self.damaged(damaged);
        }
    }

    fn refill_resolved(&mut self, message: MessageId, name: &Name) -> Result<(), Damaged> {
        if let Some(resolving) = self.refills.resolving.get_mut(&message) {
            resolving.remove(&name.key());
            if resolving.is_empty() {
                self.refills.resolving.remove(&message);
            }
        }
        self.refill_ends(message)
    }

    fn offer_again(
        &mut self,
        row: &RetainedRow,
        name: Name,
        inbox: Incarnation,
        sites: Vec<ServerName>,
    ) -> Result<(), Damaged> {
        let message = row.record.message;
        let me = &self.config.server;
        let lives = self.disk_lives();
        let kept = |site: &&ServerName| {
            let then = row.lives.get(*site);
            then.is_some() && (!lives.contains_key(*site) || lives.get(*site) == then)
        };
        let up = |site: &&ServerName| *site == me || self.is_up(site);
        let survivors: Vec<&ServerName> = sites.iter().filter(kept).collect();
        let at = match survivors.is_empty() {
            false => survivors.into_iter().find(up),
            true => sites.iter().find(up),
        };
        let Some(at) = at.cloned() else {
            self.refills.late.insert(message);
            return Ok(());
        };
        if at == *me {
            if self.disk_nearly_full {
                return Ok(());
            }
            if self.must_regain(inbox, &name, &sites)? {
                self.refills.late.insert(message);
                return Ok(());
            }
            let depositing = Depositing {
                list: None,
                envelope: None,
                waits: Waits::Nobody,
            };
            let body = row.record.body;
            let done = self.deposit((inbox, &name, &sites), message, body, depositing)?;
            // What a filter has to be asked for first is there when it is offered again.
            if matches!(
                done,
                Deposited::Behind | Deposited::Full(_) | Deposited::Filtering | Deposited::Busy
            ) {
                self.refills.late.insert(message);
            }
            return Ok(());
        }
        let offer = Offer { name, sites, at };
        self.send_offer(message, row.record.body, inbox, &offer);
        let offers = self.refills.offers.entry(message).or_default();
        offers.insert(inbox, offer);
        Ok(())
    }

    fn send_offer(
        &mut self,
        message: MessageId,
        body: grapevine_model::BodyInfo,
        inbox: Incarnation,
        offer: &Offer,
    ) {
        // Without its body: who lacks that says so.
        let inboxes = vec![DepositFor {
            inbox,
            name: offer.name.clone(),
            sites: offer.sites.clone(),
            list: None,
            envelope: None,
        }];
        let deposit = PeerMessage::Deposit {
            message,
            body,
            inboxes,
        };
        self.send(&offer.at, deposit);
    }

    /// A server lacks the body of what it was offered: it was just sent.
    pub(crate) fn refill_needed(&mut self, from: &ServerName, message: MessageId) {
        let Some(body) = self.message_row(message).ok().flatten().map(|row| row.body) else {
            return;
        };
        let offers = self.refills.offers.get(&message).cloned();
        for (inbox, offer) in offers.unwrap_or_default() {
            if offer.at == *from {
                self.send_offer(message, body, inbox, &offer);
            }
        }
    }

    /// A site answers about what it was offered; whether that was it.
    pub(crate) fn refill_answered(
        &mut self,
        message: MessageId,
        inbox: Incarnation,
        outcome: &DepositOutcome,
    ) -> Result<bool, Damaged> {
        let Some(offers) = self.refills.offers.get_mut(&message) else {
            return Ok(false);
        };
        if offers.remove(&inbox).is_none() {
            return Ok(false);
        }
        if offers.is_empty() {
            self.refills.offers.remove(&message);
        }
        match outcome {
            DepositOutcome::Stored { .. } | DepositOutcome::Rejected { .. } => {}
            DepositOutcome::Later(why) if why == crate::mailbox::TOO_OLD => {}
            DepositOutcome::NotHere
            | DepositOutcome::OverQuota { .. }
            | DepositOutcome::Later(_) => {
                self.refills.late.insert(message);
                let at_ms = self.now.mono_ms.saturating_add(AGAIN_MS);
                self.refills.again_ms.get_or_insert(at_ms);
            }
        }
        self.refill_ends(message)?;
        Ok(true)
    }

    /// When everybody has it, the row says so: from now on these lives count.
    fn refill_ends(&mut self, message: MessageId) -> Result<(), Damaged> {
        if self.refills.is_under_way(message) || self.refills.late.contains(&message) {
            return Ok(());
        }
        if let Some(mut row) = self.retained_row(message)? {
            row.lives = self.disk_lives();
            self.save_retained(message, &row);
        }
        Ok(())
    }

    /// An operator wants retained messages delivered once more: one, or those that ended since a time; to those they
    /// were for, or to somebody else. Gives how many, and where to go on.
    pub(crate) fn replay(
        &mut self,
        message: Option<MessageId>,
        (since_ms, of): (u64, Option<&Name>),
        to: Option<&Name>,
        after: Option<MessageId>,
    ) -> Result<Result<QueueAnswer, Refusal>, Damaged> {
        let from = match (message, after) {
            (Some(message), _) => message.to_bytes().to_vec(),
            (None, Some(after)) => {
                let mut from = after.to_bytes().to_vec();
                from.push(0);
                from
            }
            (None, None) => Vec::new(),
        };
        let limit = message.map_or(MOST_REPLAYED, |_| 1);
        let rows = self
            .ledger
            .scan(Table::Retained, &from, &[u8::MAX; 17], limit)?;
        let full = rows.len() == MOST_REPLAYED;
        let (mut replayed, mut last) = (0, None);
        for (_, value) in rows {
            let Ok(row) = codec::decode::<RetainedRow>(&value) else {
                continue;
            };
            let this = row.record.message;
            last = Some(this);
            let was_for = |name: &Name| {
                let name = name.without_detail().key();
                let recipients = &row.record.envelope.recipients;
                recipients
                    .iter()
                    .any(|r| r.name.without_detail().key() == name)
            };
            let wanted = message.is_none_or(|wanted| wanted == this)
                && row.ended_ms >= since_ms
                && of.is_none_or(was_for);
            if wanted && self.replay_one(row.record, of, to)? {
                replayed += 1;
            }
        }
        self.work()?;
        let next = last.filter(|_| full && message.is_none());
        Ok(Ok(QueueAnswer::Replayed { replayed, next }))
    }

    fn replay_one(
        &mut self,
        record: CustodyRecord,
        of: Option<&Name>,
        to: Option<&Name>,
    ) -> Result<bool, Damaged> {
        let message = record.message;
        if self.custodies.contains_key(&message) {
            // It is on its way anyway.
            return Ok(false);
        }
        // Its sender was told once what became of it.
        let quietly = Notify {
            success: false,
            failure: false,
            delay: false,
        };
        let mut recipients: Vec<EnvelopeRecipient> = match to.or(of) {
            Some(name) => vec![name.clone().into()],
            None => record.envelope.recipients.clone(),
        };
        for recipient in &mut recipients {
            recipient.notify = quietly;
        }
        let mut envelope = record.envelope.clone();
        envelope.recipients = recipients;
        let record = CustodyRecord {
            custodian: self.config.server.clone(),
            origin: self.clock.origin(),
            // Its time begins anew.
            accepted_ms: self.now.wall_ms,
            envelope,
            ..record
        };
        self.note_info("replayed by an operator".into(), Some(message));
        self.accept(record, Alone::Accept, None, None)?;
        Ok(true)
    }
}
