//! What mail programs change in a mailbox: flags, expunges, copies, moves, appended mails.
//!
//! Each is some cells, written in one commit with the numbers that follow from them. Must never take more than a
//! request may, nor let a mail be in two folders or in none.

use std::collections::BTreeSet;

use grapevine_model::{
    BodyInfo, CopiedMail, Flag, FlagChange, FlaggedMail, FolderId, Hlc, MAX_FLAGS_A_MAIL,
    MAX_MAILS_AN_ASK, MailboxAnswer, MailboxAsk, MailboxEntry, Mark, MessageId, Refusal, Stamp,
    Usage,
};

use super::asks::{Place, no_folder, validity};
use super::cells::{self, message_key};
use super::numberer::other_cells;
use super::usage::Full;
use crate::codec;
use crate::replication::push::{Change, Over};
use crate::server::Server;
use crate::tables::Damaged;

/// What a change brought: the answer, and the last dot of what was written if anything was.
pub(super) type Changed = Result<(MailboxAnswer, Option<Stamp>), Refusal>;

fn too_many(what: &str) -> Refusal {
    Refusal::new(grapevine_model::ErrorKind::TooLarge, what)
}

impl Server {
    /// Does what changes a mailbox that is shown here.
    pub(super) fn change_mailbox(
        &mut self,
        place: &Place<'_>,
        ask: &MailboxAsk,
    ) -> Result<Changed, Damaged> {
        let mails = match ask {
            MailboxAsk::ChangeFlags { mails, .. }
            | MailboxAsk::Expunge { mails, .. }
            | MailboxAsk::Copy { mails, .. }
            | MailboxAsk::Move { mails, .. } => mails.len(),
            _ => 0,
        };
        if mails > MAX_MAILS_AN_ASK {
            let why = format!("at most {MAX_MAILS_AN_ASK} mails at once");
            return Ok(Err(too_many(&why)));
        }
        match ask {
            MailboxAsk::ChangeFlags {
                folder,
                mails,
                change,
                flags,
                unchanged_since,
            } => self.change_flags(place, (*folder, mails), (*change, flags), *unchanged_since),
            MailboxAsk::Expunge { folder, mails } => self.expunge(place, *folder, mails),
            MailboxAsk::Copy { from, mails, to } => self.copy(place, (*from, mails), *to),
            MailboxAsk::Move { from, mails, to } => self.move_mails(place, (*from, mails), *to),
            MailboxAsk::Append {
                folder,
                message,
                body,
                flags,
                date_ms,
            } => self.append(place, *folder, (*message, *body), flags, *date_ms),
            MailboxAsk::CreateFolder { path, special_use } => {
                self.create_folder(place, path, *special_use)
            }
            MailboxAsk::DeleteFolder { folder } => self.delete_folder(place, *folder),
            MailboxAsk::RenameFolder { folder, to } => self.rename_folder(place, *folder, to),
            MailboxAsk::Subscribe { path } => self.subscribe(place, path),
            MailboxAsk::Unsubscribe { path } => self.unsubscribe(place, path),
            // No changes: they are answered where they are asked.
            MailboxAsk::Folders | MailboxAsk::Usage | MailboxAsk::View { .. } => {
                Ok(Ok((MailboxAnswer::Done, None)))
            }
        }
    }

    /// Writes changes of a mailbox that is shown here, and shows what comes of them.
    pub(super) fn write_mailbox(
        &mut self,
        place: &Place<'_>,
        changes: Vec<Change>,
    ) -> Result<Option<Stamp>, Damaged> {
        let space = Self::mailbox_space(place.inbox);
        let dot = self.write(&space, changes)?;
        self.tend_view(place.inbox)?;
        let state = self.spaces.get(&space);
        let last = state.map(|state| state.row.vector.get(self.clock.origin()));
        // The numbers that were given for it count too.
        Ok(dot.map(|dot| Stamp {
            time: last.unwrap_or_default().max(dot.time),
            ..dot
        }))
    }

    pub(super) fn done(
        &mut self,
        place: &Place<'_>,
        changes: Vec<Change>,
    ) -> Result<Changed, Damaged> {
        let dot = self.write_mailbox(place, changes)?;
        Ok(Ok((MailboxAnswer::Done, dot)))
    }

    fn has_folder(&self, place: &Place<'_>, folder: FolderId) -> bool {
        let view = self.mailboxes.views.get(&place.inbox);
        view.is_some_and(|view| view.shown.contains_key(&folder))
    }

    fn last_mark_of(&self, place: &Place<'_>) -> Mark {
        let view = self.mailboxes.views.get(&place.inbox);
        view.map(|view| view.last).unwrap_or_default()
    }

    fn change_flags(
        &mut self,
        place: &Place<'_>,
        (folder, mails): (FolderId, &[MessageId]),
        (change, flags): (FlagChange, &[Flag]),
        unchanged_since: Option<Mark>,
    ) -> Result<Changed, Damaged> {
        let Some(view) = (self.mailboxes.views.get(&place.inbox))
            .filter(|view| view.shown.contains_key(&folder))
        else {
            return Ok(Err(no_folder()));
        };
        let asked: BTreeSet<String> = flags.iter().map(Flag::folded).collect();
        let (mut changes, mut kept, mut there) = (Vec::new(), Vec::new(), Vec::new());
        for (uid, message) in view.in_folder(folder, mails) {
            let Some(mail) = view.mails.get(&message) else {
                continue;
            };
            // A moment of another view is before all of this one's.
            let changed = |since: Mark| mail.mark > since || !view.has_seen(since);
            if unchanged_since.is_some_and(changed) {
                kept.push(uid);
                continue;
            }
            there.push((uid, message));
            let adds = !matches!(change, FlagChange::Remove);
            let mut all = mail.flags.len();
            for flag in flags.iter().filter(|_| adds) {
                let folded = flag.folded();
                if !mail.has_flag(&folded) {
                    all += 1;
                    let key = cells::flag_key(message, &folded);
                    changes.push(Change::put(key, codec::encode(flag)));
                }
            }
            let goes = |folded: &str| match change {
                FlagChange::Add => false,
                FlagChange::Remove => asked.contains(folded),
                FlagChange::Replace => !asked.contains(folded),
            };
            for folded in mail.flags.keys().filter(|folded| goes(folded)) {
                all = all.saturating_sub(1);
                changes.push(Change::delete(cells::flag_key(message, folded)));
            }
            if adds && all > MAX_FLAGS_A_MAIL {
                let why = format!("a mail has at most {MAX_FLAGS_A_MAIL} flags");
                return Ok(Err(too_many(&why)));
            }
        }
        let dot = self.write_mailbox(place, changes)?;
        let view = self.mailboxes.views.get(&place.inbox);
        let now = there.into_iter().filter_map(|(uid, message)| {
            let mail = view?.mails.get(&message)?;
            Some(FlaggedMail {
                uid,
                message,
                mark: mail.mark,
                flags: mail.flags.values().cloned().collect(),
            })
        });
        let mails = now.collect();
        Ok(Ok((MailboxAnswer::Flagged { mails, kept }, dot)))
    }

    fn expunge(
        &mut self,
        place: &Place<'_>,
        folder: FolderId,
        mails: &[MessageId],
    ) -> Result<Changed, Damaged> {
        let Some(view) = (self.mailboxes.views.get(&place.inbox))
            .filter(|view| view.shown.contains_key(&folder))
        else {
            return Ok(Err(no_folder()));
        };
        let (mut changes, mut numbers) = (Vec::new(), Vec::new());
        for (uid, message) in view.in_folder(folder, mails) {
            changes.push(Change::delete(message_key(message)));
            if let Some(mail) = view.mails.get(&message) {
                changes.extend(other_cells(message, mail));
            }
            numbers.push(uid);
        }
        let dot = self.write_mailbox(place, changes)?;
        let mark = self.last_mark_of(place);
        Ok(Ok((MailboxAnswer::Expunged { numbers, mark }, dot)))
    }

    /// How mails are put into a folder: INBOX needs no cell, unless there is one that says otherwise.
    fn put_into(message: MessageId, before: Option<FolderId>, to: FolderId) -> Option<Change> {
        let key = cells::placed_key(message);
        match (before, to) {
            (None, FolderId::INBOX) => None,
            (Some(_), FolderId::INBOX) => Some(Change::delete(key)),
            (Some(_) | None, _) => Some(Change::put(key, codec::encode(&to))),
        }
    }

    fn copy(
        &mut self,
        place: &Place<'_>,
        (from, mails): (FolderId, &[MessageId]),
        to: FolderId,
    ) -> Result<Changed, Damaged> {
        if !self.has_folder(place, from) || !self.has_folder(place, to) {
            return Ok(Err(no_folder()));
        }
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        let mut sources = Vec::new();
        let mut more = Usage::default();
        for (uid, message) in view.in_folder(from, mails) {
            if let Some(mail) = view.mails.get(&message)
                && let Some(content) = mail.content.clone()
            {
                more = more.plus(Usage::of(content.info.len));
                let flags: Vec<Flag> = mail.flags.values().cloned().collect();
                sources.push((uid, content, flags));
            }
        }
        if let Some(Full { why, .. }) = self.lacks_room(place.inbox, place.owner, more)? {
            return Ok(Err(too_many(&why)));
        }
        let (mut changes, mut copies) = (Vec::new(), Vec::new());
        for (uid, content, flags) in sources {
            if self.message_row(content.body)?.is_none() {
                let why = "the body of a mail is not here yet; try again later";
                return Ok(Err(Refusal::unavailable(why)));
            }
            let copy = MessageId {
                time: self.tick(Hlc(0)),
                origin: self.clock.origin(),
            };
            let entry = MailboxEntry {
                body: content.info,
                deposited_ms: content.date_ms,
                list: content.list.map(|list| *list),
                source: Some(content.body),
            };
            new_mail(&mut changes, copy, &entry, (to, &flags));
            copies.push((uid, copy));
        }
        let dot = self.write_mailbox(place, changes)?;
        self.copied_answer(place, to, copies, dot)
    }

    fn move_mails(
        &mut self,
        place: &Place<'_>,
        (from, mails): (FolderId, &[MessageId]),
        to: FolderId,
    ) -> Result<Changed, Damaged> {
        if !self.has_folder(place, from) || !self.has_folder(place, to) {
            return Ok(Err(no_folder()));
        }
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        let moved = view.in_folder(from, mails);
        let mut changes = Vec::new();
        for (_, message) in &moved {
            let placed = view.mails.get(message).and_then(|mail| mail.placed);
            changes.extend(Self::put_into(*message, placed, to));
            // Elsewhere its number does not count; where it was there before, it gets a new one all the same.
            if from == to {
                changes.push(Change::delete(cells::uid_key(*message)));
            }
        }
        let dot = self.write_mailbox(place, changes)?;
        self.copied_answer(place, to, moved, dot)
    }

    fn copied_answer(
        &self,
        place: &Place<'_>,
        to: FolderId,
        mails: Vec<(u32, MessageId)>,
        dot: Option<Stamp>,
    ) -> Result<Changed, Damaged> {
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        let copied = mails.into_iter().filter_map(|(from_uid, message)| {
            let (_, uid) = view.mails.get(&message)?.shown?;
            Some(CopiedMail {
                from_uid,
                uid,
                message,
            })
        });
        let answer = MailboxAnswer::Copied {
            uid_validity: validity(view, place.inbox, to).unwrap_or_default(),
            mails: copied.collect(),
            mark: view.last,
        };
        Ok(Ok((answer, dot)))
    }

    fn append(
        &mut self,
        place: &Place<'_>,
        folder: FolderId,
        (message, body): (MessageId, BodyInfo),
        flags: &[Flag],
        date_ms: Option<u64>,
    ) -> Result<Changed, Damaged> {
        if !self.has_folder(place, folder) {
            return Ok(Err(no_folder()));
        }
        let drift_ms = self.config.times.drift_ms;
        let limit_ms = self.now.wall_ms.saturating_add(drift_ms);
        if !message.origin.is_client() || message.time.wall_ms() > limit_ms {
            return Ok(Err(Refusal::invalid("no client can have drawn this id")));
        }
        match self.message_row(message)? {
            Some(row) if row.body == body => {}
            Some(_) => return Ok(Err(Refusal::invalid("another message has this id"))),
            None => {
                let why = "the body of the mail is not here; try again";
                return Ok(Err(Refusal::unavailable(why)));
            }
        }
        let space = Self::mailbox_space(place.inbox);
        let mut dot = None;
        match self.cell(&space, &message_key(message))? {
            // It was done before.
            Some(present) if present.value.is_some() => {}
            Some(_) => {
                let why = "this mail was appended before, and expunged";
                return Ok(Err(Refusal::new(grapevine_model::ErrorKind::Conflict, why)));
            }
            None if self.before_horizon(&space, message)? => {
                return Ok(Err(Refusal::invalid(super::TOO_OLD)));
            }
            None => {
                let more = Usage::of(body.len);
                if let Some(Full { why, .. }) = self.lacks_room(place.inbox, place.owner, more)? {
                    return Ok(Err(too_many(&why)));
                }
                let entry = MailboxEntry {
                    body,
                    deposited_ms: date_ms.unwrap_or(self.now.wall_ms),
                    list: None,
                    source: None,
                };
                let mut changes = Vec::new();
                new_mail(&mut changes, message, &entry, (folder, flags));
                dot = self.write_mailbox(place, changes)?;
            }
        }
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        let shown = view.mails.get(&message).and_then(|mail| mail.shown);
        let answer = shown.and_then(|(folder, uid)| {
            Some(MailboxAnswer::Appended {
                uid_validity: validity(view, place.inbox, folder)?,
                uid,
            })
        });
        Ok(Ok((answer.unwrap_or(MailboxAnswer::Done), dot)))
    }
}

/// The cells of a new mail. It is last in its folder before it is there: no site ever sees it elsewhere.
fn new_mail(
    changes: &mut Vec<Change>,
    message: MessageId,
    entry: &MailboxEntry,
    (folder, flags): (FolderId, &[Flag]),
) {
    let fresh = |change: Change| Change {
        over: Over::Nothing,
        ..change
    };
    changes.extend(Server::put_into(message, None, folder).map(fresh));
    let mut seen = BTreeSet::new();
    for flag in flags.iter().filter(|flag| seen.insert(flag.folded())) {
        let key = cells::flag_key(message, &flag.folded());
        changes.push(fresh(Change::put(key, codec::encode(flag))));
    }
    changes.push(Change {
        key: message_key(message),
        value: Some(codec::encode(entry)),
        stamp: Some(Stamp {
            time: message.time,
            origin: message.origin,
        }),
        over: Over::Nothing,
    });
}
