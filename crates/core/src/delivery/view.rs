//! What can be seen: the state of this server, and what it knows of a message.
//!
//! Guards P9: every waiting recipient has a reason and a next time.

use grapevine_model::{
    CustodyRecord, MessageId, Name, PeerView, QueueView, Refusal, RegistryName, Reply, Resolution,
    ServerStatus, SpaceId, Speaker, StorageView, Trace, TraceRecipient, Usage,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::delivery::custody::{Custody, OutsideEnd, Stage};
use crate::registry::directory::{Eval, Memo};
use crate::replication::space::Space;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Recipients whose end is remembered with a message at most; a list's are countless.
const MOST_OUTCOMES: usize = 50;

/// What is remembered of a message for some days: the value of a `History` row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryRow {
    pub(crate) return_path: Option<Name>,
    pub(crate) accepted_ms: u64,
    /// Name, what became of it, why or where.
    pub(crate) outcomes: Vec<(Name, String, String)>,
    pub(crate) more: u64,
    /// Whether this server answers, or answered, for all recipients of the submission: only then
    /// is a submission that comes again already accepted.
    pub(crate) whole: bool,
}

impl Server {
    fn history(&self, message: MessageId) -> Result<Option<HistoryRow>, Damaged> {
        self.ledger
            .get(Table::History, &message.to_bytes())?
            .map(|bytes| codec::decode(&bytes))
            .transpose()
    }

    pub(crate) fn remember_accepted(&mut self, record: &CustodyRecord, whole: bool) {
        let row = HistoryRow {
            return_path: record.envelope.return_path.clone(),
            accepted_ms: record.accepted_ms,
            outcomes: Vec::new(),
            more: 0,
            whole,
        };
        self.ledger.put(
            Table::History,
            record.message.to_bytes().to_vec(),
            codec::encode(&row),
        );
    }

    pub(crate) fn forget_accepted(&mut self, message: MessageId) {
        self.ledger
            .delete(Table::History, message.to_bytes().to_vec());
    }

    pub(crate) fn was_accepted(&self, message: MessageId) -> Result<bool, Damaged> {
        Ok(self.history(message)?.is_some_and(|row| row.whole))
    }

    pub(crate) fn remember_outcome(
        &mut self,
        message: MessageId,
        name: &Name,
        how: &str,
        reason: String,
    ) {
        if let Ok(Some(mut row)) = self.history(message) {
            if row.outcomes.len() < MOST_OUTCOMES {
                row.outcomes.push((name.clone(), how.to_owned(), reason));
            } else {
                row.more = row.more.saturating_add(1);
            }
            self.ledger.put_lazily(
                Table::History,
                message.to_bytes().to_vec(),
                codec::encode(&row),
            );
        }
    }

    /// So many members of lists have their copies: counted, not named.
    pub(crate) fn remember_outcomes(&mut self, message: MessageId, count: u64) {
        if let Ok(Some(mut row)) = self.history(message) {
            row.more = row.more.saturating_add(count);
            self.ledger.put_lazily(
                Table::History,
                message.to_bytes().to_vec(),
                codec::encode(&row),
            );
        }
    }

    /// Forgets what is older than the history's time, a few at a time.
    pub(crate) fn forget_history(&mut self) -> Result<(), Damaged> {
        const MOST_FORGOTTEN: usize = 200;
        let before = self
            .now
            .wall_ms
            .saturating_sub(self.config.times.history_ms);
        let until = MessageId {
            time: grapevine_model::Hlc::at_ms(before),
            origin: grapevine_model::OriginId(0),
        };
        for (key, _) in
            self.ledger
                .scan(Table::History, &[0; 16], &until.to_bytes(), MOST_FORGOTTEN)?
        {
            let id: Option<[u8; 16]> = key.as_slice().try_into().ok();
            let message = id.map(MessageId::from_bytes);
            if message.is_some_and(|message| self.custodies.contains_key(&message)) {
                continue;
            }
            self.ledger.delete_lazily(Table::History, key);
            if let Some(message) = message {
                self.forget_passed(message)?;
            }
        }
        Ok(())
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let registries = self
            .databases
            .iter()
            .map(|(name, db)| (name.clone(), db.living(), db.digest()))
            .collect();
        let whole = |registry: &RegistryName| {
            let space = SpaceId::Registry(registry.clone());
            self.spaces.get(&space).is_some_and(Space::is_whole)
        };
        let held = self.databases.keys();
        let fetching = held.filter(|held| !whole(held)).cloned().collect();
        let oldest = self
            .custodies
            .values()
            .map(|c| c.row.record.accepted_ms)
            .min();
        ServerStatus {
            server: self.config.server.clone(),
            role: self.role(),
            registries,
            mailboxes: self.spaces.len().saturating_sub(self.databases.len()) as u64,
            queue: QueueView {
                messages: self.custodies.len() as u64,
                recipients: self
                    .custodies
                    .values()
                    .map(|c| c.row.pending.len() as u64)
                    .sum::<u64>()
                    .saturating_add(self.fanouts.waiting()),
                deputy_for: self.deputies.len() as u64,
                without_deputy: self.custodies.values().filter(|c| !c.held).count() as u64,
                dead_letters: self.dead_letters,
                oldest_ms: oldest.map_or(0, |ms| self.now.wall_ms.saturating_sub(ms)),
            },
            peers: self
                .peers
                .iter()
                .map(|(server, peer)| PeerView {
                    server: server.clone(),
                    up: self.is_up(server),
                    silent_ms: peer
                        .heard_ms
                        .map(|heard| self.now.mono_ms.saturating_sub(heard)),
                    behind: peer.behind,
                })
                .collect(),
            alarms: self.alarms.iter().cloned().collect(),
            fetching,
            compare: self.compare_counts(),
            tombstones: self.tombstones,
            storage: self.storage(),
        }
    }

    fn storage(&self) -> StorageView {
        let counts = self.registry_usage.values().copied();
        StorageView {
            mail: counts.fold(Usage::default(), Usage::plus),
            full_mailboxes: self.rounds.full_mailboxes,
            disk_nearly_full: self.disk_nearly_full,
            retained: self.retained.usage,
            uids_reissued: self.mailboxes.reissued,
            ..StorageView::default()
        }
    }

    /// What this server knows of a message, for its sender, its recipients, the registrars
    /// concerned and the operators; for nobody else.
    pub(crate) fn trace(
        &mut self,
        memo: &Memo,
        speaker: &Speaker,
        message: MessageId,
    ) -> Eval<Result<Reply, Refusal>> {
        let unknown = || {
            Refusal::new(
                grapevine_model::ErrorKind::NotFound,
                format!("nothing is known here of {message}"),
            )
        };
        let history = match self.history(message) {
            Ok(history) => history,
            Err(damaged) => {
                return Ok(Err(Refusal::new(
                    grapevine_model::ErrorKind::Internal,
                    damaged.to_string(),
                )));
            }
        };
        let row = self.message_row(message).ok().flatten();
        let custody = self.custodies.get(&message);
        let held = self
            .deputies
            .iter()
            .find(|((_, m), _)| *m == message)
            .map(|((custodian, _), held)| (custodian.clone(), &held.record));
        if history.is_none() && row.is_none() && custody.is_none() && held.is_none() {
            return Ok(Err(unknown()));
        }
        let mut roles = Vec::new();
        let mut partner = None;
        let mut recipients = Vec::new();
        let mut return_path = history.as_ref().and_then(|h| h.return_path.clone());
        // When it was handed in: by whichever clock says the later time, the id's own included.
        let handed_in_ms = (history.as_ref().map(|h| h.accepted_ms).into_iter())
            .chain(custody.map(|custody| custody.row.record.accepted_ms))
            .chain(held.as_ref().map(|(_, record)| record.accepted_ms))
            .fold(message.time.wall_ms(), u64::max);
        if let Some(custody) = custody {
            roles.push("custodian".to_owned());
            partner = custody.deputy.clone().filter(|_| custody.held);
            return_path = custody.row.record.envelope.return_path.clone();
            let keys = custody.row.pending.keys();
            recipients.extend(keys.filter_map(|key| self.waiting_recipient(custody, key)));
            recipients.extend(self.waiting_lists(message));
        }
        if let Some((custodian, record)) = &held {
            roles.push("deputy".into());
            partner = partner.or_else(|| Some(custodian.clone()));
            return_path = return_path.or_else(|| record.envelope.return_path.clone());
            if custody.is_none() {
                recipients.extend(record.envelope.recipients.iter().map(|r| TraceRecipient {
                    name: r.name.clone(),
                    state: "in custody".into(),
                    reason: format!("of {custodian}"),
                    next_ms: None,
                    attempts: 0,
                }));
            }
        }
        for (name, how, reason) in history.map(|h| h.outcomes).unwrap_or_default() {
            recipients.push(TraceRecipient {
                name,
                state: how,
                reason,
                next_ms: None,
                attempts: 0,
            });
        }
        let mine = match speaker {
            Speaker::Individual { name, incarnation } => self
                .in_mailbox(*incarnation, message)
                .map(|there| (name.clone(), there)),
            Speaker::Anonymous | Speaker::Neighbour | Speaker::Operator | Speaker::Server(_) => {
                None
            }
        };
        let is_in_my_mailbox = mine.is_some();
        if let Some((name, there)) = mine {
            let state = if there {
                "deposited"
            } else {
                "deleted by its owner"
            };
            if !recipients.iter().any(|r| r.name == name) {
                recipients.push(TraceRecipient {
                    name,
                    state: state.into(),
                    reason: format!("here, at {}", self.config.server),
                    next_ms: None,
                    attempts: 0,
                });
            }
        }
        if matches!(self.retained_row(message), Ok(Some(_))) {
            roles.push("keeps a copy".into());
        }
        if row.is_some_and(|r| r.references > 0) && roles.is_empty() {
            roles.push("inbox site".into());
        }
        let concerned = (return_path.as_ref(), recipients.as_slice(), handed_in_ms);
        if !is_in_my_mailbox && !self.may_trace(memo, speaker, concerned)? {
            return Ok(Err(unknown()));
        }
        Ok(Ok(Reply::Trace(Box::new(Trace {
            message,
            server: self.config.server.clone(),
            roles,
            partner,
            return_path,
            body: row.map(|r| r.body),
            references: row.map_or(0, |r| r.references),
            recipients,
        }))))
    }

    /// One who waits, as it is shown.
    pub(super) fn waiting_recipient(&self, custody: &Custody, key: &str) -> Option<TraceRecipient> {
        let pending = custody.row.pending.get(key)?;
        let trying = custody.trying.get(key).cloned().unwrap_or_default();
        let held = self.holds.contains(&custody.row.record.message);
        let (state, reason) = match &pending.stage {
            Stage::Failed(status, reason) => {
                ("failed, being reported", format!("{status} {reason}"))
            }
            Stage::Delivered => ("deposited, being reported", String::new()),
            Stage::Outside(OutsideEnd::Refused { status, by, reason }) => (
                "failed, being reported",
                format!("{status} {by} said: {reason}"),
            ),
            Stage::Outside(OutsideEnd::Relayed { by }) => {
                ("handed over, being reported", format!("to {by}"))
            }
            Stage::Steer if held => ("held", "by an operator".into()),
            Stage::Steer => ("waiting", trying.reason),
        };
        let waits = !held || pending.stage != Stage::Steer;
        Some(TraceRecipient {
            name: pending.name.clone(),
            state: state.into(),
            reason,
            next_ms: waits.then(|| trying.due_ms.saturating_sub(self.now.mono_ms)),
            attempts: trying.attempts,
        })
    }

    fn may_trace(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        (sender, recipients, handed_in_ms): (Option<&Name>, &[TraceRecipient], u64),
    ) -> Eval<bool> {
        let Speaker::Individual { name, incarnation } = speaker else {
            return Ok(matches!(speaker, Speaker::Operator | Speaker::Server(_)));
        };
        let named =
            sender == Some(name) || recipients.iter().any(|r| r.name.without_detail() == *name);
        // A name that is used again has another one's messages behind it.
        if named
            && let Resolution::Individual {
                incarnation: is,
                created_ms: Some(created_ms),
                ..
            } = self.resolve(memo, name)?
            && is == *incarnation
            && created_ms <= handed_in_ms
        {
            return Ok(true);
        }
        let mut registries: std::collections::BTreeSet<_> = recipients
            .iter()
            .map(|r| r.name.registry().clone())
            .collect();
        registries.extend(sender.map(|s| s.registry().clone()));
        registries.insert(grapevine_model::RegistryName::gv());
        for registry in registries {
            if self.is_registrar(memo, speaker, &registry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
