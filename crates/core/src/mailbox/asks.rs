//! What a mail program asks of a mailbox: who may, which server answers, and what it looks like.
//!
//! Only its owner may, as with the inbox's list. The numberer answers, and a server asked passes on to it: so everybody
//! sees one view as long as the servers hear each other. Must never answer from a mailbox that is not whole here: a
//! mail program that is shown too little deletes its own copies.

use grapevine_model::{
    Extent, FolderId, FolderPath, FolderView, Incarnation, MAX_ROWS_A_PAGE, MailRow, MailboxAnswer,
    MailboxAsk, MailboxReply, MailboxView, Mark, MessageId, Name, PeerMessage, Refusal, Reply,
    Request, RequestId, ServerName, Speaker,
};

use super::numberer::Waits;
use super::regain;
use super::view::{Mail, Shown, View};
use crate::effect::{Effect, Staged};
use crate::registry::directory::Memo;
use crate::registry::request::{Job, Outcome, ReplyTo, Stop};
use crate::replication::waiters::Then;
use crate::server::Server;
use crate::tables::Damaged;

/// Why a mailbox is not shown here.
const NOT_WHOLE: &str = "the mailbox is not whole here yet";

/// Why a mailbox is not shown now.
const NUMBERING: &str =
    "the mailbox is being opened for the first time, and too many wait for it; try again later";

/// A mailbox, and where it is.
pub(super) struct Place<'a> {
    pub(super) inbox: Incarnation,
    pub(super) owner: &'a Name,
    pub(super) sites: &'a [ServerName],
}

impl Server {
    /// A mail comes in with its body, for a folder of a mailbox that may be elsewhere.
    pub(crate) fn take_append(
        &mut self,
        id: RequestId,
        speaker: Speaker,
        request: Request,
        staged: Staged,
    ) -> Result<(), Damaged> {
        let to = ReplyTo::Client(id);
        let refusal = match &request {
            Request::Mailbox {
                ask: MailboxAsk::Append { message, body, .. },
                ..
            } if *body == staged.body => {
                // An id stands for one body: a client draws its own, and a server's own are never taken from one.
                match self.message_row(*message)? {
                    Some(row) if row.body != *body => {
                        Some(Refusal::invalid("another message has this id"))
                    }
                    Some(_) | None if !message.origin.is_client() => {
                        Some(Refusal::invalid("this id is for servers to give"))
                    }
                    Some(_) | None if self.disk_nearly_full => Some(Refusal::unavailable(
                        "the disk of this server is nearly full; try another server, or later",
                    )),
                    Some(_) | None => None,
                }
            }
            _ => Some(Refusal::invalid("no mail to append")),
        };
        if let Some(refusal) = refusal {
            self.ledger.emit(Effect::Discard {
                staged: staged.token,
            });
            self.reply(to, Err(refusal));
            return Ok(());
        }
        if let Request::Mailbox {
            ask: MailboxAsk::Append { message, .. },
            ..
        } = &request
        {
            self.adopt(*message, staged)?;
        }
        let job = Job::Request {
            to,
            speaker,
            request,
        };
        self.run(job, Memo::new())
    }

    pub(crate) fn mailbox(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        speaker: &Speaker,
        name: &Name,
        ask: &MailboxAsk,
    ) -> Result<Outcome, Stop> {
        let (inbox, sites) = match self.mailbox_of(memo, speaker, name)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal).into()),
        };
        if let (ReplyTo::Peer(from, id), MailboxAsk::Append { message, .. }) = (to, ask)
            && self.message_row(*message)?.is_none()
        {
            // Its body is where it came in. What waits for it is taken up again when it is here.
            let said = PeerMessage::Forward {
                id: *id,
                speaker: speaker.clone(),
                request: Request::Mailbox {
                    name: name.clone(),
                    ask: ask.clone(),
                },
                seen: memo.seen().to_vec(),
                nothing_at: memo.has_nothing().to_vec(),
            };
            self.taken_over.remove(&(from.clone(), *id));
            self.await_body(&from.clone(), *message, said);
            return Ok(Outcome::Later);
        }
        if let ReplyTo::Client(_) = to {
            self.mailboxes.watched.looks(inbox, self.now.mono_ms);
        }
        if let Some(elsewhere) = self.shown_elsewhere(memo, to, (inbox, name, &sites))? {
            return Ok(elsewhere);
        }
        let place = Place {
            inbox,
            owner: name,
            sites: &sites,
        };
        let space = Self::mailbox_space(inbox);
        if *ask == MailboxAsk::Usage {
            // Counted with each change: nothing is read for it.
            let answer = MailboxAnswer::Usage {
                usage: self.usage_of(&space)?,
                quota: self.quota_of(inbox, name.registry()),
            };
            return Ok(Ok(self.mailbox_reply(&place, answer)).into());
        }
        let changes = self.open_mailbox(inbox, name, &sites)?;
        if !changes.is_empty() {
            self.write(&space, changes)?;
        }
        self.load_view(inbox)?;
        if !self.mailboxes.is_numbering(inbox) {
            self.tend_view(inbox)?;
        }
        if self.mailboxes.is_numbering(inbox) {
            let job = Job::Request {
                to: to.clone(),
                speaker: speaker.clone(),
                request: Request::Mailbox {
                    name: name.clone(),
                    ask: ask.clone(),
                },
            };
            let waits = self.mailboxes.wait_for_numbers(inbox, job, memo.clone());
            return Ok(match waits {
                Waits::Yes => Outcome::Later,
                Waits::TooMany => Err(Refusal::unavailable(NUMBERING)).into(),
            });
        }
        Ok(match ask {
            MailboxAsk::Folders => {
                let answer = self.folders_answer(inbox);
                self.show_numbers(&place, to, answer)
            }
            MailboxAsk::View {
                folder,
                since,
                after,
            } => {
                let view = self.mailboxes.views.get(&inbox);
                match view.and_then(|view| view_answer(view, inbox, *folder, (*since, *after))) {
                    Some(answer) => self.show_numbers(&place, to, answer),
                    None => Err(no_folder()).into(),
                }
            }
            change => match self.change_mailbox(&place, change)? {
                Err(refusal) => Err(refusal).into(),
                Ok((answer, None)) => Ok(self.mailbox_reply(&place, answer)).into(),
                Ok((answer, Some(dot))) => {
                    if let Reply::Mailbox(reply) = self.mailbox_reply(&place, answer) {
                        let then = Then::Mailbox(to.clone(), Box::new(reply));
                        self.when_copied(space, dot, then);
                    }
                    Outcome::Later
                }
            },
        })
    }

    /// Where else a mailbox is to be asked for, or why it can't be now; none when it is shown here.
    fn shown_elsewhere(
        &mut self,
        memo: &Memo,
        to: &ReplyTo,
        (inbox, name, sites): (Incarnation, &Name, &[ServerName]),
    ) -> Result<Option<Outcome>, Stop> {
        let me = self.config.server.clone();
        let others: Vec<ServerName> = sites.iter().filter(|site| **site != me).cloned().collect();
        if !sites.contains(&me) {
            return Ok(Some(match to {
                ReplyTo::Peer(..) | ReplyTo::Filter(..) => Err(Refusal::unavailable(format!(
                    "this server is no inbox site of {name}"
                )))
                .into(),
                ReplyTo::Client(_) => Outcome::PassOn(others),
            }));
        }
        let not_here = |others: Vec<ServerName>, why: &str| -> Outcome {
            match to {
                ReplyTo::Client(_) if !others.is_empty() => Outcome::PassOn(others),
                ReplyTo::Client(_) | ReplyTo::Peer(..) | ReplyTo::Filter(..) => {
                    Err(Refusal::unavailable(why)).into()
                }
            }
        };
        if self.must_regain(inbox, name, sites)? {
            return Ok(Some(not_here(others, regain::REGAINING)));
        }
        let space = Self::mailbox_space(inbox);
        let here = self.spaces.get(&space).map(|state| state.is_whole());
        match (here, to) {
            (Some(true), _) => {}
            (Some(false), _) => return Ok(Some(not_here(others, NOT_WHOLE))),
            // Nothing was ever put into it here. The others may have some: it is shown when each of them has said that it has nothing, too.
            (None, ReplyTo::Client(_) | ReplyTo::Peer(..)) => {
                let has_none = |other: &ServerName| {
                    memo.has_nothing().contains(other)
                        || matches!(to, ReplyTo::Peer(from, _) if from == other)
                };
                let (_, unasked): (Vec<_>, Vec<_>) = others.into_iter().partition(has_none);
                return Ok((!unasked.is_empty()).then_some(Outcome::PassOnEmpty(unasked)));
            }
            (None, ReplyTo::Filter(..)) => return Ok(None),
        }
        let numberer = self.numberer(inbox, sites)?;
        let Some(numberer) = numberer.filter(|numberer| *numberer != me) else {
            return Ok(None);
        };
        let rest = others.into_iter().filter(|other| *other != numberer);
        Ok(match to {
            ReplyTo::Client(_) => {
                let order = std::iter::once(numberer.clone()).chain(rest).collect();
                Some(Outcome::PassOn(order))
            }
            // It asks because it can't itself.
            ReplyTo::Peer(from, _) if *from == numberer => None,
            ReplyTo::Peer(from, _) if sites.contains(from) => Some(
                Err(Refusal::unavailable(format!(
                    "the mailbox is shown by {numberer}"
                )))
                .into(),
            ),
            // Once more, as whoever asks is no site and can't know.
            ReplyTo::Peer(..) | ReplyTo::Filter(..) => Some(Outcome::PassOn(vec![numberer])),
        })
    }

    /// Numbers are shown when they are on two disks, if a second one can be had: what a mail program has seen is not
    /// to be forgotten with one.
    fn show_numbers(&mut self, place: &Place<'_>, to: &ReplyTo, answer: MailboxAnswer) -> Outcome {
        let view = self.mailboxes.views.get(&place.inbox);
        let numbered = view.and_then(|view| view.numbered);
        match (self.mailbox_reply(place, answer), numbered) {
            (Reply::Mailbox(reply), Some(dot)) => {
                let then = Then::Mailbox(to.clone(), Box::new(reply));
                self.when_copied(Self::mailbox_space(place.inbox), dot, then);
                Outcome::Later
            }
            (reply, _) => Ok(reply).into(),
        }
    }

    pub(super) fn mailbox_reply(&self, place: &Place<'_>, answer: MailboxAnswer) -> Reply {
        let me = &self.config.server;
        let others_up = place
            .sites
            .iter()
            .any(|site| site != me && self.is_up(site));
        let view = self.mailboxes.views.get(&place.inbox);
        let unnumbered = view.is_some_and(|view| !view.unnumbered.is_empty());
        let state = self.spaces.get(&Self::mailbox_space(place.inbox));
        let unread = state.is_some_and(|state| !state.damaged.is_empty());
        Reply::Mailbox(MailboxReply {
            by: me.clone(),
            partial: unnumbered || unread || (place.sites.len() > 1 && !others_up),
            copies: 0,
            answer,
        })
    }

    fn folders_answer(&self, inbox: Incarnation) -> MailboxAnswer {
        let Some(view) = self.mailboxes.views.get(&inbox) else {
            return MailboxAnswer::Done;
        };
        let inbox_first = std::iter::once(FolderId::INBOX);
        let all = inbox_first.chain(view.folders.shown().map(|(_, id)| id));
        let mut folders: Vec<FolderView> =
            all.filter_map(|id| folder_view(view, inbox, id)).collect();
        folders.sort_by(|one, other| one.path.cmp(&other.path));
        MailboxAnswer::Folders {
            folders,
            subscribed: view.folders.subscribed.iter().cloned().collect(),
        }
    }
}

pub(super) fn no_folder() -> Refusal {
    Refusal::new(
        grapevine_model::ErrorKind::NotFound,
        "there is no such folder",
    )
}

/// The UIDVALIDITY of INBOX, which has no cell: the same at all sites, and another one for another owner of its name.
pub(super) fn inbox_validity(inbox: Incarnation) -> u32 {
    let hash = blake3::hash(&inbox.0.to_be_bytes());
    let first = hash.as_bytes().first_chunk::<4>().copied();
    (u32::from_be_bytes(first.unwrap_or_default()) >> 1).max(1)
}

pub(super) fn validity(view: &View, inbox: Incarnation, folder: FolderId) -> Option<u32> {
    match folder {
        FolderId::INBOX => Some(inbox_validity(inbox)),
        other => view.folders.get(other).map(|(_, row)| row.uid_validity),
    }
}

pub(super) fn folder_view(view: &View, inbox: Incarnation, folder: FolderId) -> Option<FolderView> {
    let shown = view.shown.get(&folder)?;
    let (path, special_use) = match folder {
        FolderId::INBOX => (FolderPath::inbox(), None),
        other => {
            let (path, row) = view.folders.get(other)?;
            (path.clone(), row.special_use)
        }
    };
    let counted = view.counts.of(folder);
    Some(FolderView {
        folder,
        path,
        special_use,
        uid_validity: validity(view, inbox, folder)?,
        uid_next: shown.next,
        messages: shown.rows.len() as u32,
        unseen: counted.unseen,
        deleted: counted.deleted,
        size: counted.octets,
        mark: shown.mark,
    })
}

fn row(uid: u32, message: MessageId, mail: &Mail) -> Option<MailRow> {
    let content = mail.content.as_ref()?;
    Some(MailRow {
        uid,
        message,
        body: content.body,
        len: content.len,
        date_ms: content.date_ms,
        mark: mail.mark,
        flags: mail.flags.values().cloned().collect(),
        list: content.list.as_deref().cloned(),
    })
}

/// What a folder looks like, or what has changed in it since.
fn view_answer(
    view: &View,
    inbox: Incarnation,
    folder: FolderId,
    (since, after): (Option<Mark>, u32),
) -> Option<MailboxAnswer> {
    let shown: &Shown = view.shown.get(&folder)?;
    let since = since.filter(|since| view.has_seen(*since));
    let vanished = since.and_then(|since| shown.vanished_since(since));
    let (extent, since) = match &vanished {
        Some(_) => (Extent::Changes, since.unwrap_or_default()),
        None => (Extent::All, Mark(0)),
    };
    let all = shown.rows.range(after.saturating_add(1)..);
    let rows = all.filter_map(|(uid, message)| {
        let mail = view.mails.get(message)?;
        (mail.mark > since).then(|| row(*uid, *message, mail))?
    });
    let mut rows: Vec<MailRow> = rows.take(MAX_ROWS_A_PAGE + 1).collect();
    let is_last = rows.len() <= MAX_ROWS_A_PAGE;
    rows.truncate(MAX_ROWS_A_PAGE);
    Some(MailboxAnswer::View(MailboxView {
        folder,
        extent,
        uid_validity: validity(view, inbox, folder)?,
        uid_next: shown.next,
        mark: shown.mark,
        next: rows.last().map(|row| row.uid).filter(|_| !is_last),
        rows,
        vanished: vanished.filter(|_| after == 0).unwrap_or_default(),
    }))
}
