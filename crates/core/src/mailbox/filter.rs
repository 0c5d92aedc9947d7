//! The owner's filter, before a message is put into his mailbox.
//!
//! A deposit into a mailbox with an active script waits for the shell, which runs the script over the message's header
//! and says what it wants. What goes out by that (redirected messages, answers) is in custody here before the mailbox is
//! written, under ids that follow from the message, the mailbox and the number of the action: however often, and at however
//! many sites, a filter runs for one message, each of them is one message. Then message, folder and flags are one write.
//!
//! Must never lose a message by a filter: one that can't be run, or says nothing in time, leaves it in the inbox. A mailbox
//! without an active script pays nothing.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    BodyInfo, CustodyRecord, DepositEnvelope, DepositOutcome, Envelope, EnvelopeRecipient, Field,
    Incarnation, ListCopy, MessageId, Name, Notify, OriginId, Refusal, Reply, ServerName, Speaker,
};

use crate::codec;
use crate::config::Alone;
use crate::effect::{
    Effect, FilterOrder, FilterOut, FilterPlace, FilterWay, Filtered, OutKind, Staged,
};
use crate::mailbox::folders::Folders;
use crate::mailbox::{BEHIND, Deposited, TOO_OLD};
use crate::registry::request::ReplyTo;
use crate::replication::waiters::Then;
use crate::server::{Server, Timer};
use crate::tables::Damaged;

/// A filter that has said nothing for so long is not waited for: reading a header takes milliseconds.
const WITHIN_MS: u64 = 30_000;
/// Filters run at one time; more have to wait: each is a task of the shell, with a header in memory.
const MOST_RUNNING: usize = 200;
/// Who waits for one filter: the custodian, its deputy, and both again.
const MOST_WAITING: usize = 16;
/// What one message may lead to that goes out: the interpreter's limit of redirects, and an answer.
const MOST_OUT: usize = 8;
/// The longest explanation of a refusal, in characters: some lines of a report.
const REASON_CHARS: usize = 2_000;
/// Why a message is not put into a mailbox yet.
pub(crate) const BUSY: &str = "the filters of other messages are being run first";

/// What a deposit is, beside the message.
pub(crate) struct Depositing {
    /// By which list it comes, if by one.
    pub(crate) list: Option<ListCopy>,
    /// What a filter may know; nothing where nobody has said it.
    pub(crate) envelope: Option<DepositEnvelope>,
    /// Who is to be told when a filter had to be asked first.
    pub(crate) waits: Waits,
}

/// Who waits for a deposit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A recipient of a message in custody here.
    Recipient(MessageId, String),
    /// Another custodian.
    Custodian(ServerName),
    /// Nobody: it is asked for again.
    Nobody,
}

/// Which filters are being run, and what is known of folders for them.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    running: BTreeMap<u64, Running>,
    of: BTreeMap<(Incarnation, MessageId), u64>,
    pub(super) folders: BTreeMap<Incarnation, Folders>,
}

impl Filters {
    /// A mailbox is here no more.
    pub(crate) fn forget(&mut self, inbox: Incarnation) {
        self.folders.remove(&inbox);
    }
}

/// A filter that is being run.
#[derive(Debug)]
struct Running {
    inbox: Incarnation,
    owner: Name,
    sites: Vec<ServerName>,
    message: MessageId,
    body: BodyInfo,
    list: Option<ListCopy>,
    envelope: Option<DepositEnvelope>,
    waiting: Vec<Waits>,
    /// What it wants, when it has said so.
    places: Option<Vec<FilterPlace>>,
    /// What goes out and is not yet in custody, by the numbers of the actions.
    going: BTreeSet<u32>,
}

/// A message of a filter that is to be put into its mailbox.
pub(super) struct Sorted<'a> {
    pub(super) inbox: Incarnation,
    pub(super) owner: &'a Name,
    pub(super) sites: &'a [ServerName],
    pub(super) message: MessageId,
    pub(super) body: BodyInfo,
    pub(super) list: Option<ListCopy>,
    /// Nowhere: it is discarded.
    pub(super) places: &'a [FilterPlace],
}

/// The id of what a filter makes of a message: the same at whichever site, however often.
pub fn filter_message_id(message: MessageId, inbox: Incarnation, number: u32) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("grapevine 2026-11-23 what a filter makes");
    hasher.update(&message.to_bytes());
    hasher.update(&inbox.0.to_be_bytes());
    hasher.update(&number.to_be_bytes());
    let mut bits = [0; 8];
    hasher.finalize_xof().fill(&mut bits);
    MessageId {
        time: message.time,
        // As a server's: no client can claim it before.
        origin: OriginId::server(u64::from_be_bytes(bits)),
    }
}

impl Server {
    /// Asks the owner's filter before a deposit; none if there is none to be asked.
    pub(super) fn ask_filter(
        &mut self,
        (inbox, owner, sites): (Incarnation, &Name, &[ServerName]),
        (message, body): (MessageId, BodyInfo),
        depositing: &Depositing,
    ) -> Result<Option<Deposited>, Damaged> {
        if !self.has_filter(inbox)? {
            return Ok(None);
        }
        let running = self.filters.of.get(&(inbox, message)).copied();
        if let Some(running) = running.and_then(|t| self.filters.running.get_mut(&t)) {
            if running.waiting.len() < MOST_WAITING && !running.waiting.contains(&depositing.waits)
            {
                running.waiting.push(depositing.waits.clone());
            }
            return Ok(Some(Deposited::Filtering));
        }
        let Some(script) = self.active_script(inbox)? else {
            return Ok(None);
        };
        if self.filters.running.len() >= MOST_RUNNING {
            return Ok(Some(Deposited::Busy));
        }
        let envelope = depositing.envelope.clone();
        let ticket = self.next_id();
        let order = FilterOrder {
            ticket,
            inbox,
            message,
            body,
            script,
            return_path: envelope.as_ref().and_then(|e| e.return_path.clone()),
            recipient: envelope
                .as_ref()
                .map_or_else(|| owner.clone(), |e| e.recipient.clone()),
            own: self.own_names(inbox, owner),
            way: match &depositing.list {
                Some(_) => FilterWay::List,
                None => FilterWay::Direct,
            },
            folders: self.folder_paths(inbox)?,
        };
        let running = Running {
            inbox,
            owner: owner.clone(),
            sites: sites.to_vec(),
            message,
            body,
            list: depositing.list.clone(),
            envelope,
            waiting: vec![depositing.waits.clone()],
            places: None,
            going: BTreeSet::new(),
        };
        self.filters.running.insert(ticket, running);
        self.filters.of.insert((inbox, message), ticket);
        self.timer(WITHIN_MS, Timer::Filter(ticket));
        self.ledger.emit(Effect::Filter(Box::new(order)));
        Ok(Some(Deposited::Filtering))
    }

    /// What an individual is called, first as now.
    fn own_names(&self, inbox: Incarnation, owner: &Name) -> Vec<Name> {
        let mut own = vec![owner.without_detail()];
        let entry = self.database(owner.registry()).and_then(|d| d.entry(inbox));
        if let Some(entry) = entry {
            own.splice(0..0, entry.name());
            own.extend(entry.aliases());
            own.extend(entry.former());
        }
        own.dedup();
        own
    }

    /// A filter has said what it wants.
    pub(crate) fn take_filtered(&mut self, filtered: Filtered) -> Result<(), Damaged> {
        let Filtered {
            ticket,
            places,
            out,
            rejected,
            notes,
        } = filtered;
        let running = self.filters.running.get_mut(&ticket);
        let Some(running) = running.filter(|running| running.places.is_none()) else {
            for out in out {
                self.discard(out.staged);
            }
            return Ok(());
        };
        let (message, inbox, owner) = (running.message, running.inbox, running.owner.clone());
        let return_path = running
            .envelope
            .as_ref()
            .and_then(|e| e.return_path.clone());
        let may_reject = return_path.is_some() && running.list.is_none();
        running.places = Some(places);
        for note in notes {
            self.note_info(format!("the filter of {owner}: {note}"), Some(message));
        }
        if let Some(why) = rejected.filter(|_| may_reject) {
            for out in out {
                self.discard(out.staged);
            }
            self.filter_rejects(ticket, &why)?;
            return Ok(());
        }
        let mut going = Vec::new();
        for (at, out) in out.into_iter().enumerate() {
            let is_wanted = at < MOST_OUT
                && match &out.kind {
                    OutKind::Redirect => true,
                    OutKind::Answer { handle, days } => {
                        self.may_answer((inbox, message), &out.to, (handle, *days))?
                    }
                };
            match is_wanted {
                true => going.push(out),
                false => self.discard(out.staged),
            }
        }
        if let Some(running) = self.filters.running.get_mut(&ticket) {
            running.going = going.iter().map(|out| out.number).collect();
        }
        for out in going {
            self.send_out(ticket, (message, inbox), &owner, return_path.clone(), out)?;
        }
        self.filter_goes_on(ticket)
    }

    fn discard(&mut self, staged: Staged) {
        self.ledger.emit(Effect::Discard {
            staged: staged.token,
        });
    }

    /// Takes custody of what a filter sends.
    fn send_out(
        &mut self,
        ticket: u64,
        (message, inbox): (MessageId, Incarnation),
        owner: &Name,
        return_path: Option<Name>,
        out: FilterOut,
    ) -> Result<(), Damaged> {
        let id = filter_message_id(message, inbox, out.number);
        let known = match self.message_row(id)? {
            // Made of another script, at another site: that one goes.
            Some(row) if row.body != out.staged.body => true,
            Some(_) | None => self.custodies.contains_key(&id) || self.was_accepted(id)?,
        };
        if known {
            self.discard(out.staged);
            self.out_is_safe(ticket, out.number);
            return Ok(());
        }
        let mut recipient = EnvelopeRecipient::from(out.to);
        let return_path = match out.kind {
            OutKind::Redirect => return_path,
            // Whatever becomes of it, nobody is to hear of it (RFC 5230 4.6).
            OutKind::Answer { .. } => {
                recipient.notify = Notify {
                    success: false,
                    failure: false,
                    delay: false,
                };
                None
            }
        };
        self.adopt(id, out.staged)?;
        let record = CustodyRecord {
            message: id,
            custodian: self.config.server.clone(),
            origin: self.clock.origin(),
            body: out.staged.body,
            envelope: Envelope {
                return_path,
                recipients: vec![recipient],
                content: Default::default(),
                envelope_id: None,
            },
            accepted_ms: self.now.wall_ms,
            // The filter may post where its owner may, and nowhere else.
            poster: Speaker::Individual {
                name: owner.clone(),
                incarnation: inbox,
            },
        };
        let to = ReplyTo::Filter(ticket, out.number);
        self.accept(record, Alone::Accept, Some(to), None)
    }

    /// What a filter sends is accepted, or not.
    pub(crate) fn out_is_answered(
        &mut self,
        ticket: u64,
        number: u32,
        result: Result<Reply, Refusal>,
    ) {
        match result {
            Ok(_) => {
                self.out_is_safe(ticket, number);
                if let Err(damaged) = self.filter_goes_on(ticket) {
                    self.damaged(damaged);
                }
            }
            // Whoever waits asks again, and it is made again under the same id.
            Err(refusal) => {
                if let Some(running) = self.end_filter(ticket) {
                    self.note_info(
                        format!("the filter of {} waits: {}", running.owner, refusal.why),
                        Some(running.message),
                    );
                    self.put_off(running, &refusal.why);
                }
            }
        }
    }

    fn out_is_safe(&mut self, ticket: u64, number: u32) {
        if let Some(running) = self.filters.running.get_mut(&ticket) {
            running.going.remove(&number);
        }
    }

    /// When all that goes out is safe, the mailbox is written.
    fn filter_goes_on(&mut self, ticket: u64) -> Result<(), Damaged> {
        let running = self.filters.running.get(&ticket);
        if !running.is_some_and(|r| r.places.is_some() && r.going.is_empty()) {
            return Ok(());
        }
        self.filter_ends(ticket)
    }

    fn filter_ends(&mut self, ticket: u64) -> Result<(), Damaged> {
        let Some(running) = self.end_filter(ticket) else {
            return Ok(());
        };
        let inbox_only = [FilterPlace::inbox()];
        let done = self.deposit_sorted(Sorted {
            inbox: running.inbox,
            owner: &running.owner,
            sites: &running.sites,
            message: running.message,
            body: running.body,
            list: running.list,
            places: running.places.as_deref().unwrap_or(&inbox_only),
        })?;
        for waits in running.waiting {
            self.tell_deposit(waits, (running.inbox, running.message), &done)?;
        }
        Ok(())
    }

    fn end_filter(&mut self, ticket: u64) -> Option<Running> {
        let running = self.filters.running.remove(&ticket)?;
        self.filters.of.remove(&(running.inbox, running.message));
        Some(running)
    }

    fn put_off(&mut self, running: Running, why: &str) {
        for waits in running.waiting {
            match waits {
                Waits::Recipient(message, key) => {
                    self.recipient_waits(message, &key, why.to_owned());
                }
                Waits::Custodian(from) => {
                    let told = self.deposited.entry((from, running.message)).or_default();
                    told.push((running.inbox, DepositOutcome::Later(why.to_owned())));
                }
                Waits::Nobody => {}
            }
        }
    }

    fn filter_rejects(&mut self, ticket: u64, why: &str) -> Result<(), Damaged> {
        let Some(running) = self.end_filter(ticket) else {
            return Ok(());
        };
        let words: String = why.chars().take(REASON_CHARS).collect();
        let why = format!("{} refuses this message: {words}", running.owner);
        for waits in running.waiting {
            match waits {
                Waits::Recipient(message, key) => {
                    self.recipient_failed(message, &key, "5.7.1", why.clone())?;
                }
                Waits::Custodian(from) => {
                    let told = self.deposited.entry((from, running.message)).or_default();
                    told.push((running.inbox, DepositOutcome::Rejected { why: why.clone() }));
                }
                Waits::Nobody => {}
            }
        }
        Ok(())
    }

    /// Whoever waited for a deposit hears what became of it.
    fn tell_deposit(
        &mut self,
        waits: Waits,
        (inbox, message): (Incarnation, MessageId),
        done: &Deposited,
    ) -> Result<(), Damaged> {
        let space = Self::mailbox_space(inbox);
        match waits {
            Waits::Recipient(message, key) => match done {
                Deposited::Stored(dot) => {
                    self.when_copied(space, *dot, Then::Recipient(message, key));
                }
                Deposited::Deleted => {
                    self.recipient_delivered(message, &key, "deleted by its owner since")?;
                }
                Deposited::TooOld => self.recipient_waits(message, &key, TOO_OLD.into()),
                Deposited::Behind => self.recipient_waits(message, &key, BEHIND.into()),
                Deposited::Full(full) => self.recipient_is_full(message, &key, full.clone())?,
                Deposited::Filtering => {}
                Deposited::Busy => self.recipient_waits(message, &key, BUSY.into()),
            },
            Waits::Custodian(from) => {
                let outcome = match done {
                    Deposited::Stored(dot) => {
                        let then = Then::Deposited(from, message, inbox);
                        self.when_copied(space, *dot, then);
                        return Ok(());
                    }
                    Deposited::Deleted => DepositOutcome::Stored { copies: u8::MAX },
                    Deposited::TooOld => DepositOutcome::Later(TOO_OLD.into()),
                    Deposited::Behind => DepositOutcome::Later(BEHIND.into()),
                    Deposited::Full(full) => DepositOutcome::OverQuota {
                        why: full.why.clone(),
                        policy: full.policy,
                    },
                    Deposited::Filtering => return Ok(()),
                    Deposited::Busy => DepositOutcome::Later(BUSY.into()),
                };
                let told = self.deposited.entry((from, message)).or_default();
                told.push((inbox, outcome));
            }
            Waits::Nobody => {}
        }
        Ok(())
    }

    /// A filter was given time enough.
    pub(crate) fn filter_is_late(&mut self, ticket: u64) -> Result<(), Damaged> {
        let Some(running) = self.filters.running.get(&ticket) else {
            return Ok(());
        };
        match &running.places {
            None => {
                let text = format!(
                    "the filter of {} said nothing in time: the message goes to the inbox",
                    running.owner
                );
                let message = running.message;
                self.note_info(text, Some(message));
                self.filter_ends(ticket)
            }
            // What goes out finds no second disk in time: that is said soon, one way or the other.
            Some(_) => {
                self.timer(WITHIN_MS, Timer::Filter(ticket));
                Ok(())
            }
        }
    }

    /// A cell of a mailbox changes here: what is remembered for filters follows.
    pub(super) fn filter_cell_changes(
        &mut self,
        inbox: Incarnation,
        key: &grapevine_model::CellKey,
        new: &grapevine_model::Cell,
    ) {
        if key.field == Field::ActiveScript.number()
            && let Some(state) = self.spaces.get_mut(&Self::mailbox_space(inbox))
        {
            state.has_filter = None;
        }
        if let Some(folders) = self.filters.folders.get_mut(&inbox)
            && folders.learn(key, new)
        {
            folders.derive();
        }
    }

    /// Whether this correspondent is to get this answer now; remembers it. The same message may always give it again.
    fn may_answer(
        &mut self,
        (inbox, message): (Incarnation, MessageId),
        to: &Name,
        (handle, days): (&str, u64),
    ) -> Result<bool, Damaged> {
        let space = Self::mailbox_space(inbox);
        let key = super::answers::answered_key(to, handle);
        let now_ms = self.now.wall_ms;
        if self.spaces.contains_key(&space)
            && let Some(value) = self.cell(&space, &key)?.and_then(|cell| cell.value)
        {
            let before: super::answers::Answer = codec::decode(&value)?;
            if before.message == message {
                return Ok(true);
            }
            if before.until_ms > now_ms {
                return Ok(false);
            }
        }
        let answer = super::answers::Answer::new(message, now_ms, days);
        self.remember_answer(inbox, key, &answer)?;
        Ok(true)
    }
}
