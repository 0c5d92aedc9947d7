//! Mailboxes: replicated spaces whose items are messages.
//!
//! A deposit's cell has the message id's stamp, a deletion a later one, so a
//! deposit repeated, at any site, after any crash, never brings back what its
//! owner has deleted (docs/decisions, deposit stamps).

mod answers;
mod asks;
pub(crate) mod blocks;
pub(crate) mod cells;
mod changes;
mod counts;
pub(crate) mod filter;
mod folder_changes;
mod folders;
pub(crate) mod kept;
pub(crate) mod numberer;
pub(crate) mod regain;
pub(crate) mod rounds;
mod scripts;
mod sites;
mod sorted;
mod usage;
mod view;
mod watched;

use std::collections::BTreeMap;

use grapevine_model::{
    Cell, CellKey, DepositFor, DepositOutcome, Field, FolderId, InboxListing, Incarnation,
    ListedMessage, MailboxEntry, MessageId, Name, PeerMessage, Refusal, Reply, Resolution,
    ServerName, SpaceId, Speaker, Stamp, Usage, Written,
};

pub(crate) use filter::{Depositing, Filters, Waits};
pub(crate) use sites::Sitings;
pub(crate) use usage::Full;

use self::cells::message_key;
use self::folders::Folders;
use crate::codec;
use crate::registry::directory::Memo;
use crate::registry::request::{Outcome, ReplyTo, Stop};
use crate::replication::push::{Change, Over};
use crate::replication::reap::horizon_key;
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Messages listed at most; more are listed when these are gone.
const MOST_LISTED: usize = 100_000;

/// Why a message is not deposited that the mailbox may have had and forgotten.
pub(crate) const TOO_OLD: &str = "the message is so old that the mailbox can't tell any more whether it was delivered and deleted";

/// Why an old message is not deposited yet.
pub(crate) const BEHIND: &str = "the message is old: the mailbox's other sites are asked first whether it was delivered and deleted";

/// What became of a deposit here.
pub(crate) enum Deposited {
    /// Its cell, now or already there, was written with this dot.
    Stored(Stamp),
    /// Its owner has deleted it since.
    Deleted,
    /// The mailbox may have had it, and forgotten that its owner deleted it.
    TooOld,
    /// The other sites are asked first whether it is too old.
    Behind,
    /// There is no room.
    Full(Full),
    /// Its owner's filter is asked first; whoever waits is told then.
    Filtering,
    /// Its owner's filter has to wait.
    Busy,
}

impl Server {
    /// Puts a message whose body is here into a mailbox of this site.
    pub(crate) fn deposit(
        &mut self,
        (inbox, owner, sites): (Incarnation, &Name, &[ServerName]),
        message: MessageId,
        body: grapevine_model::BodyInfo,
        depositing: Depositing,
    ) -> Result<Deposited, Damaged> {
        let space = Self::mailbox_space(inbox);
        let key = message_key(message);
        // Of a mailbox that is not here there is nothing to be read.
        let present = match self.spaces.contains_key(&space) {
            true => self.cell(&space, &key)?,
            false => None,
        };
        if present.is_none() && self.before_horizon(&space, message)? {
            return Ok(Deposited::TooOld);
        }
        let mut changes = self.open_mailbox(inbox, owner, sites)?;
        if present.is_none() && self.is_behind(&space, message) {
            self.write(&space, changes)?;
            return Ok(Deposited::Behind);
        }
        if let Some(present) = present.filter(|_| !self.planted_dedup_forgotten) {
            self.write(&space, changes)?;
            return Ok(match present.value {
                Some(_) => Deposited::Stored(present.dot),
                None => Deposited::Deleted,
            });
        }
        if let Some(full) = self.lacks_room(inbox, owner, Usage::of(body.len))? {
            self.write(&space, changes)?;
            return Ok(Deposited::Full(full));
        }
        let asked = self.ask_filter((inbox, owner, sites), (message, body), &depositing)?;
        if let Some(asked) = asked {
            self.write(&space, changes)?;
            return Ok(asked);
        }
        let entry = MailboxEntry {
            body,
            deposited_ms: self.now.wall_ms,
            list: depositing.list,
            source: None,
        };
        let mut stamp = Some(Stamp {
            time: message.time,
            origin: message.origin,
        });
        if self.planted_dedup_forgotten {
            stamp = None;
        }
        changes.push(Change {
            key,
            value: Some(codec::encode(&entry)),
            stamp,
            over: match self.planted_dedup_forgotten {
                true => Over::Whatever,
                false => Over::Nothing,
            },
        });
        Ok(match self.write(&space, changes)? {
            Some(dot) => Deposited::Stored(dot),
            None => Deposited::Deleted,
        })
    }

    /// Whether a message is in a mailbox of this site; none if it never was.
    pub(crate) fn in_mailbox(&self, inbox: Incarnation, message: MessageId) -> Option<bool> {
        let cell = self.cell(&Self::mailbox_space(inbox), &message_key(message));
        cell.ok().flatten().map(|cell| cell.value.is_some())
    }

    /// A cell of a mailbox is about to be replaced: references and sites follow.
    pub(crate) fn mailbox_cell_changes(
        &mut self,
        inbox: Incarnation,
        key: &CellKey,
        old: Option<&Cell>,
        new: &Cell,
    ) -> Result<(), Damaged> {
        if key.field == Field::Message.number() {
            let message = MessageId::from_u128(key.item);
            let body = |cell: &Cell| cells::body_of_cell(message, cell.value.as_ref());
            match (old.and_then(body), body(new)) {
                (None, Some(body)) => self.refer(body)?,
                (Some(body), None) => self.release(body)?,
                (Some(_), Some(_)) | (None, None) => {}
            }
            if !self.mistakes.usage_drifts || new.value.is_some() {
                self.usage_changes(inbox, key.field, (old, new));
            }
        }
        self.mailboxes.learn(inbox, key, new);
        self.filter_cell_changes(inbox, key, new);
        if *key == sites::sites_key() {
            self.sites_cell_changes(inbox, new);
        }
        if *key == horizon_key()
            && let Some(state) = self.spaces.get_mut(&Self::mailbox_space(inbox))
        {
            state.horizon = None;
        }
        Ok(())
    }

    /// Another server wants a message in inboxes of this site.
    pub(crate) fn take_deposit(
        &mut self,
        from: &ServerName,
        message: MessageId,
        body: grapevine_model::BodyInfo,
        inboxes: Vec<DepositFor>,
    ) -> Result<(), Damaged> {
        match self.message_row(message)? {
            Some(row) if row.body == body => {}
            Some(_) => {
                self.another_body(from, message);
                return Ok(());
            }
            None => {
                let said = PeerMessage::Deposit {
                    message,
                    body,
                    inboxes,
                };
                self.await_body(from, message, said);
                return Ok(());
            }
        }
        let mut outcomes = Vec::new();
        for to in inboxes.into_iter().take(grapevine_model::MAX_RECIPIENTS) {
            let DepositFor {
                inbox,
                name,
                sites: claimed,
                list,
                envelope,
            } = to;
            // The registry held here is the truth; for one held elsewhere the sender has asked.
            let sites = match self.database(name.registry()) {
                Some(database) => database.entry(inbox).map(|e| e.sites()).unwrap_or_default(),
                // What the mailbox itself knows is newer than a sender's hint.
                None => match self.spaces.get(&Self::mailbox_space(inbox)) {
                    Some(state) if !state.row.sites.is_empty() => state.row.sites.clone(),
                    Some(_) | None => claimed,
                },
            };
            if !sites.contains(&self.config.server) {
                outcomes.push((inbox, DepositOutcome::NotHere));
            } else if self.disk_nearly_full {
                outcomes.push((
                    inbox,
                    DepositOutcome::Later("the disk of the inbox site is nearly full".into()),
                ));
            } else if self.must_regain(inbox, &name, &sites)? {
                outcomes.push((inbox, DepositOutcome::Later(regain::REGAINING.into())));
            } else {
                let depositing = Depositing {
                    list,
                    envelope,
                    waits: Waits::Custodian(from.clone()),
                };
                match self.deposit((inbox, &name, &sites), message, body, depositing)? {
                    Deposited::Stored(dot) => {
                        let then = Then::Deposited(from.clone(), message, inbox);
                        self.when_copied(Self::mailbox_space(inbox), dot, then);
                    }
                    Deposited::Deleted => {
                        outcomes.push((inbox, DepositOutcome::Stored { copies: u8::MAX }));
                    }
                    Deposited::TooOld => {
                        outcomes.push((inbox, DepositOutcome::Later(TOO_OLD.into())));
                    }
                    Deposited::Behind => {
                        outcomes.push((inbox, DepositOutcome::Later(BEHIND.into())));
                    }
                    Deposited::Full(Full { why, policy }) => {
                        outcomes.push((inbox, DepositOutcome::OverQuota { why, policy }));
                    }
                    // The answer comes when the filter has spoken.
                    Deposited::Filtering => {}
                    Deposited::Busy => {
                        outcomes.push((inbox, DepositOutcome::Later(filter::BUSY.into())));
                    }
                }
            }
        }
        if !outcomes.is_empty() {
            let told = self.deposited.entry((from.clone(), message)).or_default();
            told.extend(outcomes);
        }
        Ok(())
    }

    /// Answers about the deposits of this turn: one message for each message and custodian.
    pub(crate) fn send_deposited(&mut self) {
        for ((to, message), outcomes) in std::mem::take(&mut self.deposited) {
            self.send(&to, PeerMessage::Deposited { message, outcomes });
        }
    }

    pub(crate) fn tell_deposited(
        &mut self,
        to: &ServerName,
        message: MessageId,
        inbox: Incarnation,
        copies: u8,
    ) {
        let space = Self::mailbox_space(inbox);
        if copies < 2 {
            for partner in self.partners(&space) {
                self.offer(&partner, &space);
            }
        }
        let told = self.deposited.entry((to.clone(), message)).or_default();
        told.push((inbox, DepositOutcome::Stored { copies }));
    }

    /// The mailbox that a request is about, and whether it is here.
    fn mailbox_of(
        &self,
        memo: &Memo,
        speaker: &Speaker,
        name: &Name,
    ) -> Result<Result<(Incarnation, Vec<ServerName>), Refusal>, Stop> {
        Ok(match self.resolve(memo, name)? {
            grapevine_model::Resolution::Individual {
                incarnation, sites, ..
            } if self.is_self(speaker, incarnation) => Ok((incarnation, sites)),
            Resolution::Individual { .. } => Err(Refusal::not_allowed(format!(
                "the inbox of {name} is not yours"
            ))),
            Resolution::Group { .. } => Err(Refusal::invalid(format!(
                "{name} is a group and has no inbox"
            ))),
            Resolution::NoSuch => Err(Refusal::not_found(name)),
        })
    }

    pub(crate) fn inbox_list(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        name: &Name,
    ) -> Result<Outcome, Stop> {
        let (inbox, sites) = match self.mailbox_of(memo, speaker, name)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        if !sites.contains(&self.config.server) {
            return Ok(if matches!(to, ReplyTo::Peer(..)) {
                Err(Refusal::unavailable(format!(
                    "this server is no inbox site of {name}"
                )))
                .into()
            } else {
                Outcome::PassOn(sites)
            });
        }
        let space = Self::mailbox_space(inbox);
        if !matches!(to, ReplyTo::Peer(..)) && self.is_regaining(&space)? {
            // What has come so far is older than what its owner does elsewhere meanwhile.
            let whole = sites
                .iter()
                .filter(|s| **s != self.config.server && self.is_up(s));
            let whole: Vec<ServerName> = whole.cloned().collect();
            if !whole.is_empty() {
                return Ok(Outcome::PassOn(whole));
            }
        }
        let (messages, damaged) = self.inbox_messages(&space)?;
        let others_up = sites
            .iter()
            .any(|s| *s != self.config.server && self.is_up(s));
        let fetched = self.spaces.get(&space).is_none_or(|s| s.row.ready);
        let unread = !damaged.is_empty();
        if unread && let Some(state) = self.spaces.get_mut(&space) {
            state.damaged.extend(damaged);
            self.compare_soon(&space);
        }
        let partial = unread || !fetched || (sites.len() > 1 && !others_up);
        let usage = self.usage_of(&space)?;
        Ok(Ok(Reply::Inbox(InboxListing {
            incarnation: inbox,
            messages,
            sites,
            partial,
            usage,
            quota: self.quota_of(inbox, name.registry()),
        }))
        .into())
    }

    /// The messages of a mailbox that are in INBOX, and the cells that can't be read.
    fn inbox_messages(
        &self,
        space: &SpaceId,
    ) -> Result<(Vec<ListedMessage>, Vec<CellKey>), Damaged> {
        let prefix = codec::space_prefix(space);
        let (mut messages, mut damaged) = (Vec::new(), Vec::new());
        let mut folders = Folders::default();
        let mut placed: BTreeMap<MessageId, FolderId> = BTreeMap::new();
        self.each_row(
            Table::Cells,
            &prefix,
            &codec::after_prefix(&prefix),
            |key, value| {
                let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                let Ok(cell) = codec::decode::<Cell>(&value) else {
                    // Another site may have it: shown as partial until it has given it back.
                    damaged.push(key);
                    return Ok(());
                };
                let message = MessageId::from_u128(key.item);
                if key.field == Field::Message.number() {
                    if let Some(value) = cell.value
                        && messages.len() < MOST_LISTED
                    {
                        let entry = codec::decode_mailbox_entry(&value)?;
                        messages.push(ListedMessage {
                            message,
                            body: entry.source.unwrap_or(message),
                            len: entry.len(),
                            deposited_ms: entry.deposited_ms,
                            list: entry.list,
                        });
                    }
                } else if key.field == Field::Placed.number() {
                    let folder = cell.value.and_then(|value| codec::decode(&value).ok());
                    placed.extend(folder.map(|folder| (message, folder)));
                } else {
                    folders.learn(&key, &cell);
                }
                Ok(())
            },
        )?;
        folders.derive();
        messages.retain(|listed| {
            let folder = placed.get(&listed.message);
            folder.is_none_or(|folder| folders.leads_to(*folder) == FolderId::INBOX)
        });
        Ok((messages, damaged))
    }

    pub(crate) fn inbox_delete(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        name: &Name,
        messages: &[MessageId],
    ) -> Result<Outcome, Stop> {
        let (inbox, sites) = match self.mailbox_of(memo, speaker, name)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        if !sites.contains(&self.config.server) {
            return Ok(if matches!(to, ReplyTo::Peer(..)) {
                Err(Refusal::unavailable(format!(
                    "this server is no inbox site of {name}"
                )))
                .into()
            } else {
                Outcome::PassOn(sites)
            });
        }
        if self.must_regain(inbox, name, &sites)? {
            let others = sites.into_iter().filter(|s| *s != self.config.server);
            return Ok(match to {
                ReplyTo::Peer(..) => Err(Refusal::unavailable(regain::REGAINING)).into(),
                _ => Outcome::PassOn(others.collect()),
            });
        }
        let space = Self::mailbox_space(inbox);
        let mut changes = self.open_mailbox(inbox, name, &sites)?;
        let limit_ms = self.now.wall_ms.saturating_add(self.config.times.drift_ms);
        let mut next = BTreeMap::new();
        for message in messages {
            match self.cell(&space, &message_key(*message))? {
                Some(cell) if cell.value.is_none() => {}
                Some(_) => {
                    changes.push(Change::delete(message_key(*message)));
                    self.number_goes(&space, *message, &mut next)?;
                }
                // Its owner has seen it at another site: here it is deleted before it comes. An id
                // from too far ahead would drag the clock along; no message can have it.
                None if message.time.wall_ms() <= limit_ms => {
                    self.tick(message.time);
                    changes.push(Change::delete(message_key(*message)));
                }
                None => {}
            }
        }
        for (folder, next) in next {
            let key = cells::uid_next_key(folder, &self.config.server);
            changes.push(Change::put(key, codec::encode(&next)));
        }
        match self.write(&space, changes)? {
            Some(dot) => {
                self.when_copied(
                    space,
                    dot,
                    Then::Written(
                        to.clone(),
                        Written {
                            stamp: Some(dot),
                            copies: 1,
                            seen: Vec::new(),
                        },
                    ),
                );
                Ok(Outcome::Later)
            }
            None => Ok(Ok(Reply::Written(Written {
                stamp: None,
                copies: 1,
                seen: Vec::new(),
            }))
            .into()),
        }
    }

    /// A message that has a number goes: its folder's next number stays above it. What else there is of it is tidied
    /// by whoever numbers.
    fn number_goes(
        &self,
        space: &SpaceId,
        message: MessageId,
        next: &mut BTreeMap<FolderId, u32>,
    ) -> Result<(), Damaged> {
        let Some(cell) = self.cell(space, &cells::uid_key(message))? else {
            return Ok(());
        };
        let row = cell
            .value
            .and_then(|value| codec::decode::<cells::UidRow>(&value).ok());
        let Some((folder, uid)) = row else {
            return Ok(());
        };
        let known = match next.get(&folder) {
            Some(known) => Some(*known),
            None => {
                let key = cells::uid_next_key(folder, &self.config.server);
                let value = self.cell(space, &key)?.and_then(|cell| cell.value);
                value.and_then(|value| codec::decode(&value).ok())
            }
        };
        if known.is_none_or(|known| known <= uid) {
            next.insert(folder, uid.saturating_add(1));
        }
        Ok(())
    }
}
