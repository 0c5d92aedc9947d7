//! Where each recipient's copy goes: resolved, forwarded, expanded, deposited here
//! or asked of an inbox site.
//!
//! A wrong hint costs a round trip, never a message: the receiving site is the
//! truth.

use std::collections::BTreeMap;

use grapevine_model::{
    DepositEnvelope, DepositFor, DepositOutcome, Incarnation, MessageId, Name, PeerMessage,
    Resolution, ServerName, Speaker,
};

use crate::delivery::custody::{Pending, Stage};
use crate::delivery::held::Moderated;
use crate::mailbox::filter::BUSY;
use crate::mailbox::{Deposited, Depositing, Full, Waits};
use crate::registry::directory::{Held, Memo, Need};
use crate::registry::request::Stop;
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::Damaged;

/// Forwardings and expansions one after the other at most (RFC 5321 6.3 speaks of 100 hops over
/// SMTP; within one Grapevine twenty is a loop).
pub(super) const MOST_HOPS: u8 = 20;
/// A recipient is done when its copy is on so many inbox sites, or on all if there are fewer.
pub(crate) const INBOX_COPIES: usize = 2;

/// Deposits asked of one site for one message in this turn.
pub(crate) type Deposits = BTreeMap<(ServerName, MessageId), Vec<DepositFor>>;

impl Server {
    /// Takes one recipient a step further.
    pub(crate) fn steer(&mut self, memo: &Memo, message: MessageId, key: &str) -> Result<(), Stop> {
        let Some(pending) = self
            .custodies
            .get(&message)
            .and_then(|c| c.row.pending.get(key))
            .cloned()
        else {
            return Ok(());
        };
        if matches!(
            pending.stage,
            Stage::Failed(..) | Stage::Delivered | Stage::Outside(_)
        ) {
            return Ok(());
        }
        if let Some(destination) = self.routed_whole(&pending.name) {
            self.relay(message, key, destination)?;
            return Ok(());
        }
        let name = pending.name.without_detail();
        let resolution = match self.resolve(memo, &name) {
            Err(Need::Unavailable(_)) if self.planted_sublist_empty && pending.hops > 0 => {
                self.recipient_done(message, key, "expanded", String::new())?;
                return Ok(());
            }
            resolution => resolution?,
        };
        if !self.is_still_meant(memo, message, key, &pending, &resolution)? {
            return Ok(());
        }
        match resolution {
            Resolution::Individual {
                name: now,
                incarnation,
                sites,
                forward,
                quota: _,
                created_ms: _,
            } => {
                if forward.is_empty() {
                    self.steer_to_inbox(message, key, &now, incarnation, sites)?;
                } else {
                    self.steer_to_forward(message, key, &pending, incarnation, forward)?;
                }
            }
            Resolution::Group {
                name: group,
                incarnation,
                ..
            } => {
                if self.held(group.registry()) == Held::Here {
                    let poster = self.custodies.get(&message).map(|c| &c.row.record.poster);
                    let poster = poster.cloned().unwrap_or(Speaker::Anonymous);
                    if let Err(refusal) = self.may_post(memo, &poster, &group)? {
                        self.recipient_failed(message, key, "5.7.2", refusal.why)?;
                        return Ok(());
                    }
                    let moderated = match self.mistakes.moderation_skipped {
                        true => Moderated::Goes,
                        false => self.moderate(memo, message, &poster, &group)?,
                    };
                    match moderated {
                        Moderated::Goes => {
                            if self.held_posts.remove(&(message, key.to_owned())).is_some() {
                                self.posted_now(message)?;
                            }
                        }
                        Moderated::Back(why) => {
                            self.held_posts.remove(&(message, key.to_owned()));
                            return Ok(self.recipient_failed(message, key, "5.7.2", why)?);
                        }
                        Moderated::Waits => {
                            let of = (message, key.to_owned());
                            self.held_posts.insert(of, group.registry().clone());
                            let why = format!("held for the owners of {group}");
                            self.recipient_waits(message, key, why);
                            return Ok(());
                        }
                    }
                }
                self.expand(message, key, &pending, &group, incarnation)?;
            }
            Resolution::NoSuch => match name.group_of_owners() {
                Some(group) if matches!(self.resolve(memo, &group)?, Resolution::Group { .. }) => {
                    self.steer_to_owners(message, key, &pending, &group)?;
                }
                _ => match self.routed(&name) {
                    Some(destination) => self.relay(message, key, destination)?,
                    None if self.caught(memo, (message, key), &pending)? => {}
                    None => self.no_way(message, key, &name)?,
                },
            },
        }
        Ok(())
    }

    /// No such name, and no route for it.
    fn no_way(&mut self, message: MessageId, key: &str, name: &Name) -> Result<(), Damaged> {
        if self.held(name.registry()) == Held::Unknown {
            let why = format!(
                "{} is no registry of this Grapevine, and no route leads there",
                name.registry()
            );
            return self.recipient_failed(message, key, "5.1.2", why);
        }
        self.recipient_failed(message, key, "5.1.1", format!("there is no {name}"))
    }

    fn steer_to_inbox(
        &mut self,
        message: MessageId,
        key: &str,
        name: &Name,
        inbox: Incarnation,
        sites: Vec<ServerName>,
    ) -> Result<(), Damaged> {
        if sites.is_empty() {
            return self.recipient_failed(message, key, "5.2.1", format!("{name} has no inbox"));
        }
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        let body = custody.row.record.body;
        let pending = custody.row.pending.get(key);
        let envelope = pending.map(|pending| DepositEnvelope {
            return_path: custody.row.record.envelope.return_path.clone(),
            recipient: pending.name.clone(),
        });
        let of = pending.and_then(|p| p.list.clone());
        let mut attempts = 0;
        if let Some(trying) = custody.trying.get_mut(key) {
            trying.inbox = Some(inbox);
            attempts = trying.attempts;
        }
        let of_list = of.map(|of| self.list_stamp(&of.list, of.incarnation).copy(of.member));
        let here = sites.contains(&self.config.server) && !self.disk_nearly_full;
        if here && !self.must_regain(inbox, name, &sites)? {
            let depositing = Depositing {
                list: of_list,
                envelope,
                waits: Waits::Recipient(message, key.to_owned()),
            };
            match self.deposit((inbox, name, &sites), message, body, depositing)? {
                Deposited::Stored(dot) => {
                    let then = Then::Recipient(message, key.to_owned());
                    self.when_copied(Self::mailbox_space(inbox), dot, then);
                }
                Deposited::Deleted => {
                    self.recipient_delivered(message, key, "deleted by its owner since")?;
                }
                Deposited::TooOld => {
                    self.recipient_waits(message, key, crate::mailbox::TOO_OLD.into());
                }
                Deposited::Behind => {
                    self.recipient_waits(message, key, crate::mailbox::BEHIND.into());
                }
                Deposited::Full(full) => self.recipient_is_full(message, key, full)?,
                // Tried again if nothing is heard of it.
                Deposited::Filtering => {}
                Deposited::Busy => self.recipient_waits(message, key, BUSY.into()),
            }
            return Ok(());
        }
        // In their order at first; one that could not take it is not asked again before the others.
        let up: Vec<&ServerName> = sites.iter().filter(|s| self.is_up(s)).collect();
        let turn = attempts.saturating_sub(1) as usize % up.len().max(1);
        match up.get(turn).map(|site| (*site).clone()) {
            Some(site) => self
                .deposits
                .entry((site, message))
                .or_default()
                .push(DepositFor {
                    inbox,
                    name: name.clone(),
                    sites,
                    list: of_list,
                    envelope,
                }),
            None => self.recipient_waits(
                message,
                key,
                format!("no inbox site of {name} can be reached ({})", list(&sites)),
            ),
        }
        Ok(())
    }

    /// Sends the deposits of this turn: one message and one body per site.
    pub(crate) fn send_deposits(&mut self) {
        for ((site, message), inboxes) in std::mem::take(&mut self.deposits) {
            let Some(custody) = self.custodies.get_mut(&message) else {
                continue;
            };
            let body = custody.row.record.body;
            let known = custody.has_body(&site);
            custody.got_body(&site);
            if !known {
                self.send_body(&site, message);
            }
            self.send(
                &site,
                PeerMessage::Deposit {
                    message,
                    body,
                    inboxes,
                },
            );
        }
    }

    /// A deposit made here has its copies, or waited for them long enough.
    pub(crate) fn recipient_copied(&mut self, message: MessageId, key: &str, copies: u8) {
        let sites = match self
            .custodies
            .get(&message)
            .and_then(|c| c.trying.get(key))
            .and_then(|t| t.inbox)
        {
            Some(inbox) => {
                let space = Self::mailbox_space(inbox);
                if copies < 2 {
                    for partner in self.partners(&space) {
                        self.offer(&partner, &space);
                    }
                }
                let mut sites = vec![self.config.server.clone()];
                sites.extend(self.partners(&space));
                sites
            }
            None => return,
        };
        self.recipient_stored(message, key, copies, &sites);
    }

    fn recipient_stored(
        &mut self,
        message: MessageId,
        key: &str,
        copies: u8,
        sites: &[ServerName],
    ) {
        // No site is known where nobody can say now which they are.
        let needed = if sites.is_empty() {
            INBOX_COPIES
        } else {
            INBOX_COPIES.min(sites.len())
        };
        let enough = usize::from(copies) >= needed || self.planted_one_copy;
        if !enough {
            let custody = self.custodies.get_mut(&message);
            if let Some(trying) = custody.and_then(|custody| custody.trying.get_mut(key)) {
                trying.readable = true;
            }
            self.recipient_waits(
                message,
                key,
                "in one inbox site; the second copy is still to be made".into(),
            );
        } else if let Err(damaged) = self.recipient_delivered(message, key, &places(copies, sites))
        {
            self.damaged(damaged);
        }
    }

    /// An inbox site answers.
    pub(crate) fn take_deposited(
        &mut self,
        from: &ServerName,
        message: MessageId,
        outcomes: Vec<(Incarnation, DepositOutcome)>,
    ) {
        for (inbox, outcome) in outcomes {
            if self.page_deposited(from, message, inbox, &outcome) {
                continue;
            }
            match self.refill_answered(message, inbox, &outcome) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(damaged) => self.damaged(damaged),
            }
            let Some(custody) = self.custodies.get(&message) else {
                continue;
            };
            // Several names of one individual may be among the recipients.
            let keys: Vec<String> = (custody.trying.iter())
                .filter(|(_, t)| t.inbox == Some(inbox))
                .map(|(key, _)| key.clone())
                .collect();
            for key in keys {
                self.take_outcome(from, message, &key, outcome.clone());
            }
        }
    }

    fn take_outcome(
        &mut self,
        from: &ServerName,
        message: MessageId,
        key: &str,
        outcome: DepositOutcome,
    ) {
        let Some(custody) = self.custodies.get(&message) else {
            return;
        };
        let name = custody
            .row
            .pending
            .get(key)
            .map(|p| p.name.without_detail());
        match outcome {
            DepositOutcome::Stored { copies } => {
                // How many sites there are is known where the deposit was steered from.
                let sites = name
                    .and_then(|n| match self.resolve(&Memo::new(), &n) {
                        Ok(Resolution::Individual { sites, .. }) => Some(sites),
                        _ => None,
                    })
                    .unwrap_or_default();
                self.recipient_stored(message, key, copies, &sites);
            }
            DepositOutcome::NotHere => {
                if let Some(name) = name {
                    self.forget_hint(&name);
                }
                self.recipient_waits(
                    message,
                    key,
                    format!("{from} is no inbox site of it any more; asking again"),
                );
            }
            DepositOutcome::OverQuota { why, policy } => {
                if let Err(damaged) = self.recipient_is_full(message, key, Full { why, policy }) {
                    self.damaged(damaged);
                }
            }
            DepositOutcome::Later(why) => self.recipient_waits(message, key, why),
            DepositOutcome::Rejected { why } => {
                if let Err(damaged) = self.recipient_failed(message, key, "5.7.1", why) {
                    self.damaged(damaged);
                }
            }
        }
    }

    fn steer_to_forward(
        &mut self,
        message: MessageId,
        key: &str,
        pending: &Pending,
        from: Incarnation,
        forward: Vec<Name>,
    ) -> Result<(), Damaged> {
        if !self.pass(message, from) {
            return self.recipient_done(
                message,
                key,
                "forwarded",
                "already, for this message".into(),
            );
        }
        self.lead_on(message, key, pending, forward, "forwarded")
    }

    fn steer_to_owners(
        &mut self,
        message: MessageId,
        key: &str,
        pending: &Pending,
        group: &Name,
    ) -> Result<(), Damaged> {
        if self.entry(group).is_none() {
            // Held elsewhere: a holder goes on with it.
            self.hand(message, key, group);
            return Ok(());
        }
        let mut owners = self.owners(group);
        if owners.is_empty() {
            owners = self.owners(&group.registry().group());
        }
        self.lead_on(message, key, pending, owners, "sent to the owners")
    }

    /// The owners of a group held here, as they are called now.
    fn owners(&self, group: &Name) -> Vec<Name> {
        let Some(entry) = self.entry(group) else {
            return Vec::new();
        };
        let owners = entry.members(grapevine_model::GroupList::Owners, None);
        owners
            .filter_map(|(member, listed)| match member {
                grapevine_model::Member::Name(name) => self.called_now(&name, listed.incarnation),
                grapevine_model::Member::Anyone | grapevine_model::Member::AnyoneIn(_) => None,
            })
            .collect()
    }

    /// Replaces a recipient by others.
    pub(crate) fn lead_on(
        &mut self,
        message: MessageId,
        key: &str,
        pending: &Pending,
        to: Vec<Name>,
        how: &str,
    ) -> Result<(), Damaged> {
        if pending.hops >= MOST_HOPS {
            return self.recipient_failed(
                message,
                key,
                "5.4.6",
                format!("forwarded more than {MOST_HOPS} times: a loop"),
            );
        }
        if to.is_empty() {
            return self.recipient_failed(
                message,
                key,
                "5.2.4",
                format!("{} leads to nobody", pending.name),
            );
        }
        let whereto = format!("{} address(es)", to.len());
        for name in to {
            let next = Pending {
                name,
                notify: pending.notify,
                original: None,
                hops: pending.hops + 1,
                stage: Stage::Steer,
                meant: None,
                list: pending.list.clone(),
            };
            self.add_pending(message, next);
        }
        self.recipient_done(message, key, how, whereto)
    }

    /// Notes that an entry was passed for this message; false when it was already.
    pub(crate) fn pass(&mut self, message: MessageId, incarnation: Incarnation) -> bool {
        self.custodies.get_mut(&message).is_some_and(|custody| {
            custody.touch();
            custody.row.passed.insert(incarnation)
        })
    }

    /// A recipient can't be served, for good.
    pub(crate) fn recipient_failed(
        &mut self,
        message: MessageId,
        key: &str,
        status: &str,
        reason: String,
    ) -> Result<(), Damaged> {
        let Some(custody) = self.custodies.get_mut(&message) else {
            return Ok(());
        };
        let Some(pending) = custody.row.pending.get_mut(key) else {
            return Ok(());
        };
        pending.stage = Stage::Failed(status.to_owned(), reason);
        custody.touch();
        self.to_report.insert(message);
        Ok(())
    }

    /// Damage met on the way: logged once; what was under way is tried again later.
    pub(crate) fn damaged(&mut self, damaged: Damaged) {
        self.alarm(damaged.to_string());
    }
}

/// Where the copies are, for whoever traces the message: its sender may be shown nothing there.
fn places(copies: u8, sites: &[ServerName]) -> String {
    match usize::from(copies) {
        // The answer of a site that had it already.
        _ if sites.is_empty() => "its inbox sites".into(),
        copies if copies < sites.len() => format!("{copies} of {}", list(sites)),
        _ => list(sites),
    }
}

fn list(servers: &[ServerName]) -> String {
    servers
        .iter()
        .map(ServerName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
