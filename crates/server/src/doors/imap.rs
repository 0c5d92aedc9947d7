//! IMAP's questions, answered by the core: who logs in, what is in a folder, what is changed there, a message's bytes both ways.
//!
//! Must never tell an unknown name from a wrong password, nor end a message that broke off as if it were whole, nor say that something is done that
//! the core has not said to be done. What the session may ask at once and the core takes in pages is cut here, and put together again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_doors::Tls;
use grapevine_doors::imap::{
    Answer, Appended, Ask, Change, Config, Extent, Flags, Flow, Folder, FolderId, Folders, Limits,
    News, Output, Quota, Reason, Refusal, Row, Session,
};
use grapevine_doors::sasl::Credentials;
use grapevine_doors::sasl::channel::Channel;
use grapevine_doors::sasl::scram::Proof;
use grapevine_model::{
    Door, ErrorKind, Flag, FlagChange, FolderPath, ListCopy, MAX_MAILS_AN_ASK, MailboxAnswer,
    MailboxAsk, MailboxReply, Mark, MessageId, Name, Reply, Request, ServerName, Source, Speaker,
    SpecialUse,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::DoorContext;
use super::backend::{Backend, Wanted};
use super::drive::{Dialogue, Step};
use super::incoming::Incoming;
use super::login::{LoginFailure, Logins};
use crate::body_source::BodySource;

/// How often an idle client's folder is looked at though nothing was heard: a server that is no site of the mailbox hears nothing of its changes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Pages of one view at most: a folder of millions.
const PAGES_MAX: usize = 1_000;

type No = grapevine_model::Refusal;

/// An IMAP session with what answers it.
pub(super) struct Imap<B: Backend> {
    session: Session,
    context: Arc<DoorContext<B>>,
    door: Door,
    logins: Logins,
    mailbox: Option<Mailbox>,
    job: Option<Job>,
    body: Option<BodySource>,
    /// Messages of an APPEND that have come whole.
    staged: Vec<Incoming<B::Stage>>,
    incoming: Option<Incoming<B::Stage>>,
    looked: Instant,
}

/// Whose mailbox is open.
struct Mailbox {
    name: Name,
    speaker: Speaker,
    /// Says when something has changed in it.
    changes: watch::Receiver<u64>,
    /// Servers that have shown it: they have the bodies.
    sites: Vec<ServerName>,
    /// Under which id a message's body is kept, and what lists add to it, where one of the two is not plain.
    odd: BTreeMap<MessageId, (MessageId, Option<ListCopy>)>,
}

/// What has to wait for something.
enum Job {
    Ask(Ask),
    /// A piece of a body that goes to a file.
    Piece(Vec<u8>),
}

impl<B: Backend> Imap<B> {
    pub(super) fn new(context: Arc<DoorContext<B>>, door: Door, source: Source, tls: Tls) -> Self {
        let session = Session::new(Config {
            hostname: context.hostname.clone(),
            tls,
            scram: context.core.scram(),
            limits: Limits {
                message_bytes: context.limits.message_bytes,
                ..Limits::default()
            },
        });
        Self {
            session,
            logins: Logins::new(door, source, context.limits.wrong_password),
            context,
            door,
            mailbox: None,
            job: None,
            body: None,
            staged: Vec::new(),
            incoming: None,
            looked: Instant::now(),
        }
    }

    async fn log_in(&mut self, credentials: Credentials) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        match self.logins.try_login(core, credentials, limit).await {
            Ok((name, speaker)) => {
                self.open(name, speaker);
                Answer::Yes
            }
            Err(failure) => Answer::No(failed(failure)),
        }
    }

    async fn scram_finish(&mut self, proof: Proof) -> Answer {
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        match self.logins.scram_finish(core, proof, limit).await {
            Ok((speaker, signature)) => match &speaker {
                Speaker::Individual { name, .. } => {
                    self.open(name.clone(), speaker);
                    Answer::Proved { signature }
                }
                _ => Answer::No(failed(LoginFailure::NotNow)),
            },
            Err(failure) => Answer::No(failed(failure)),
        }
    }

    fn open(&mut self, name: Name, speaker: Speaker) {
        let changes = match &speaker {
            Speaker::Individual { incarnation, .. } => {
                self.context.core.mailbox_changes(*incarnation)
            }
            // Nobody else logs in here; then nothing is ever heard.
            _ => watch::channel(0).1,
        };
        self.mailbox = Some(Mailbox {
            name,
            speaker,
            changes,
            sites: Vec::new(),
            odd: BTreeMap::new(),
        });
    }

    async fn answer(&mut self, ask: Ask) -> Option<Answer> {
        match ask {
            Ask::Authenticate(credentials) => return Some(self.log_in(credentials).await),
            Ask::ScramBegin { name } => {
                let (core, limit) = (&self.context.core, self.context.limits.ask);
                return Some(match self.logins.scram_begin(core, &name, limit).await {
                    Ok(challenge) => Answer::Challenge(challenge),
                    Err(failure) => Answer::No(failed(failure)),
                });
            }
            Ask::ScramFinish(proof) => return Some(self.scram_finish(proof).await),
            _ => {}
        }
        let (core, limit) = (&self.context.core, self.context.limits.ask);
        if !self.logins.still_hold(core, limit).await {
            self.mailbox = None;
            if matches!(ask, Ask::Body { .. }) {
                self.session.body_failed();
                return None;
            }
            return Some(Answer::No(Refusal::bad_credentials()));
        }
        if let Ask::Body { mail, start } = ask {
            match self.open_body(mail, start).await {
                Some(body) => self.pass_on(body).await,
                None => self.session.body_failed(),
            }
            return None;
        }
        Some(
            self.ask_core(ask)
                .await
                .unwrap_or_else(|no| Answer::No(refused(&no))),
        )
    }

    async fn ask_core(&mut self, ask: Ask) -> Result<Answer, No> {
        match ask {
            Ask::Folders => self.folders().await,
            Ask::Create { path, special_use } => {
                let special_use = match special_use.as_deref().map(use_of) {
                    None => None,
                    Some(Some(known)) => Some(known),
                    Some(None) => return Err(No::invalid("there is no such use of a folder")),
                };
                let path = folder_path(&path)?;
                match self
                    .mailbox(MailboxAsk::CreateFolder { path, special_use })
                    .await?
                    .answer
                {
                    MailboxAnswer::Folder(folder) => Ok(Answer::Created(FolderId(folder.folder.0))),
                    other => Err(odd(&other)),
                }
            }
            Ask::Delete(folder) => {
                self.done(MailboxAsk::DeleteFolder { folder: id(folder) })
                    .await
            }
            Ask::Rename { folders } => {
                for (folder, to) in folders {
                    let to = folder_path(&to)?;
                    self.done(MailboxAsk::RenameFolder {
                        folder: id(folder),
                        to,
                    })
                    .await?;
                }
                Ok(Answer::Yes)
            }
            Ask::Subscribe(path) => {
                let path = folder_path(&path)?;
                self.done(MailboxAsk::Subscribe { path }).await
            }
            Ask::Unsubscribe(path) => {
                let path = folder_path(&path)?;
                self.done(MailboxAsk::Unsubscribe { path }).await
            }
            Ask::View { folder, since } => self.view(folder, since).await,
            Ask::ChangeFlags {
                folder,
                mails,
                change,
                flags,
                unchanged_since,
            } => {
                self.change_flags(folder, &mails, change, &flags, unchanged_since)
                    .await
            }
            Ask::Expunge { folder, mails } => {
                for mails in mails.chunks(MAX_MAILS_AN_ASK) {
                    let ask = MailboxAsk::Expunge {
                        folder: id(folder),
                        mails: mails.to_vec(),
                    };
                    match self.mailbox(ask).await?.answer {
                        MailboxAnswer::Expunged { .. } | MailboxAnswer::Done => {}
                        other => return Err(odd(&other)),
                    }
                }
                Ok(Answer::Yes)
            }
            Ask::Copy { from, mails, to } => {
                let ask = |mails: Vec<MessageId>| MailboxAsk::Copy {
                    from: id(from),
                    mails,
                    to: id(to),
                };
                self.place(&mails, ask).await
            }
            Ask::Move { from, mails, to } => {
                let ask = |mails: Vec<MessageId>| MailboxAsk::Move {
                    from: id(from),
                    mails,
                    to: id(to),
                };
                self.place(&mails, ask).await
            }
            Ask::Append { folder, messages } => self.append(folder, messages).await,
            Ask::Quota => self.quota().await,
            Ask::Authenticate(_)
            | Ask::ScramBegin { .. }
            | Ask::ScramFinish(_)
            | Ask::Body { .. } => Err(No::unavailable("asked in the wrong place")),
        }
    }

    async fn folders(&mut self) -> Result<Answer, No> {
        match self.mailbox(MailboxAsk::Folders).await?.answer {
            MailboxAnswer::Folders {
                folders,
                subscribed,
            } => Ok(Answer::Folders(Folders {
                folders: folders
                    .into_iter()
                    .map(|view| Folder {
                        id: FolderId(view.folder.0),
                        path: view.path.as_str().to_owned(),
                        uidvalidity: view.uid_validity,
                        uidnext: view.uid_next,
                        messages: view.messages,
                        unseen: view.unseen,
                        deleted: view.deleted,
                        size_bytes: view.size,
                        highest_modseq: view.mark.0,
                        special_use: view.special_use.map(|one| use_name(one).to_owned()),
                    })
                    .collect(),
                subscribed: subscribed
                    .iter()
                    .map(|path| path.as_str().to_owned())
                    .collect(),
            })),
            other => Err(odd(&other)),
        }
    }

    /// All pages of a view; its mark is that of the first one, so that nothing between is lost.
    async fn view(&mut self, folder: FolderId, since: Option<u64>) -> Result<Answer, No> {
        let mut news: Option<News> = None;
        if let (None, Some(mailbox)) = (since, &mut self.mailbox) {
            // A folder is opened: what was odd about the last one's messages is past.
            mailbox.odd.clear();
        }
        let mut after = 0;
        for _ in 0..PAGES_MAX {
            let since = since.map(Mark);
            let ask = MailboxAsk::View {
                folder: id(folder),
                since,
                after,
            };
            let reply = self.mailbox(ask).await?;
            let partial = reply.partial;
            let view = match reply.answer {
                MailboxAnswer::View(view) => view,
                other => return Err(odd(&other)),
            };
            let extent = match view.extent {
                grapevine_model::Extent::All => Extent::Whole,
                grapevine_model::Extent::Changes => Extent::Since,
            };
            let whole = news.get_or_insert_with(|| News {
                extent,
                rows: Vec::new(),
                vanished: view.vanished.clone(),
                uidvalidity: view.uid_validity,
                uidnext: view.uid_next,
                highest_modseq: view.mark.0,
                mark: view.mark.0,
                partial,
            });
            whole.partial |= partial;
            if whole.extent != extent || whole.uidvalidity != view.uid_validity {
                return Err(No::unavailable(
                    "the mailbox went to another server meanwhile; try again",
                ));
            }
            whole.uidnext = whole.uidnext.max(view.uid_next);
            if let Some(mailbox) = &mut self.mailbox {
                for row in &view.rows {
                    if row.body != row.message || row.list.is_some() {
                        mailbox
                            .odd
                            .insert(row.message, (row.body, row.list.clone()));
                    }
                }
            }
            whole.rows.extend(view.rows.into_iter().map(|row| Row {
                uid: row.uid,
                mail: row.message,
                content: row.body,
                size_bytes: row.len,
                date_ms: row.date_ms,
                modseq: row.mark.0,
                flags: Flags::of(row.flags.iter().map(Flag::as_str)),
            }));
            match view.next {
                Some(next) if next > after => after = next,
                Some(_) | None => break,
            }
        }
        news.map(Answer::News)
            .ok_or_else(|| No::unavailable("no view of the folder"))
    }

    async fn change_flags(
        &mut self,
        folder: FolderId,
        mails: &[MessageId],
        change: Change,
        flags: &Flags,
        unchanged_since: Option<u64>,
    ) -> Result<Answer, No> {
        let flags: Vec<Flag> = flags.names().filter_map(|name| name.parse().ok()).collect();
        let change = match change {
            Change::Add => FlagChange::Add,
            Change::Remove => FlagChange::Remove,
            Change::Replace => FlagChange::Replace,
        };
        let mut modified = Vec::new();
        for mails in mails.chunks(MAX_MAILS_AN_ASK) {
            let ask = MailboxAsk::ChangeFlags {
                folder: id(folder),
                mails: mails.to_vec(),
                change,
                flags: flags.clone(),
                unchanged_since: unchanged_since.map(Mark),
            };
            match self.mailbox(ask).await?.answer {
                MailboxAnswer::Flagged { mails: _, kept } => modified.extend(kept),
                other => return Err(odd(&other)),
            }
        }
        Ok(Answer::Stored { modified })
    }

    async fn place(
        &mut self,
        mails: &[MessageId],
        ask: impl Fn(Vec<MessageId>) -> MailboxAsk,
    ) -> Result<Answer, No> {
        let (mut uidvalidity, mut uids) = (0, Vec::new());
        for mails in mails.chunks(MAX_MAILS_AN_ASK) {
            match self.mailbox(ask(mails.to_vec())).await?.answer {
                MailboxAnswer::Copied {
                    uid_validity,
                    mails,
                    mark: _,
                } => {
                    uidvalidity = uid_validity;
                    uids.extend(mails.iter().map(|mail| (mail.from_uid, mail.uid)));
                }
                other => return Err(odd(&other)),
            }
        }
        Ok(Answer::Placed { uidvalidity, uids })
    }

    /// Puts the staged messages into a folder. If one can't be, those before it go again.
    async fn append(&mut self, folder: FolderId, messages: Vec<Appended>) -> Result<Answer, No> {
        let staged = std::mem::take(&mut self.staged);
        let (mut uidvalidity, mut uids, mut placed) = (0, Vec::new(), Vec::new());
        for (appended, incoming) in messages.into_iter().zip(staged) {
            match self
                .append_one(folder, appended, incoming, &mut placed)
                .await
            {
                Ok((validity, uid)) => {
                    uidvalidity = validity;
                    uids.push((0, uid));
                }
                Err(no) => {
                    if !placed.is_empty() {
                        let ask = MailboxAsk::Expunge {
                            folder: id(folder),
                            mails: placed,
                        };
                        if let Err(again) = self.mailbox(ask).await {
                            tracing::warn!(%again, "some messages of an APPEND that failed stay");
                        }
                    }
                    return Err(no);
                }
            }
        }
        Ok(Answer::Placed { uidvalidity, uids })
    }

    async fn append_one(
        &mut self,
        folder: FolderId,
        appended: Appended,
        incoming: Incoming<B::Stage>,
        placed: &mut Vec<MessageId>,
    ) -> Result<(u32, u32), No> {
        let core = self.context.core.clone();
        let (message, staged) = incoming.finish_mail(&core).await.map_err(|_| {
            No::unavailable("the message can't be stored now, try again or at another server")
        })?;
        let body = staged.body;
        let Appended { flags, date_ms } = appended;
        let flags = flags.names().filter_map(|name| name.parse().ok()).collect();
        let ask = MailboxAsk::Append {
            folder: id(folder),
            message,
            body,
            flags,
            date_ms,
        };
        let Some(mailbox) = &self.mailbox else {
            core.discard(staged);
            return Err(No::unavailable("no mailbox is open"));
        };
        let (speaker, request) = (
            mailbox.speaker.clone(),
            Request::Mailbox {
                name: mailbox.name.clone(),
                ask,
            },
        );
        let answer = timeout(
            self.context.limits.ask,
            core.append(speaker, request, staged),
        )
        .await;
        let answer = answer.unwrap_or_else(|_| Err(No::unavailable("no answer in time")));
        // Known to be in the folder, or not known to be out of it.
        if answer.is_ok() {
            placed.push(message);
        }
        match self.understood(answer)?.answer {
            MailboxAnswer::Appended { uid_validity, uid } => {
                metrics::counter!("grapevine_imap_messages_appended_total", "door" => self.door.as_str())
                    .increment(1);
                Ok((uid_validity, uid))
            }
            other => Err(odd(&other)),
        }
    }

    async fn quota(&mut self) -> Result<Answer, No> {
        match self.mailbox(MailboxAsk::Usage).await?.answer {
            MailboxAnswer::Usage { usage, quota } => Ok(Answer::Quota(Quota {
                used_bytes: usage.octets,
                limit_bytes: quota.octets,
                used_messages: usage.messages,
                limit_messages: quota.messages,
            })),
            other => Err(odd(&other)),
        }
    }

    async fn done(&mut self, ask: MailboxAsk) -> Result<Answer, No> {
        match self.mailbox(ask).await?.answer {
            MailboxAnswer::Done | MailboxAnswer::Folder(_) => Ok(Answer::Yes),
            other => Err(odd(&other)),
        }
    }

    async fn mailbox(&mut self, ask: MailboxAsk) -> Result<MailboxReply, No> {
        let Some(mailbox) = &self.mailbox else {
            return Err(No::unavailable("no mailbox is open"));
        };
        let request = Request::Mailbox {
            name: mailbox.name.clone(),
            ask,
        };
        let answer = self.request(mailbox.speaker.clone(), request).await;
        self.understood(answer)
    }

    fn understood(&mut self, answer: Result<Reply, No>) -> Result<MailboxReply, No> {
        match answer? {
            Reply::Mailbox(reply) => {
                if reply.partial {
                    metrics::counter!("grapevine_imap_partial_views_total").increment(1);
                }
                if let Some(mailbox) = &mut self.mailbox {
                    // The one that shows it now first: it has what is shown.
                    mailbox.sites.retain(|site| *site != reply.by);
                    mailbox.sites.insert(0, reply.by.clone());
                }
                Ok(reply)
            }
            other => {
                tracing::error!(?other, "the core gave an answer to another question");
                Err(No::unavailable("something is wrong here"))
            }
        }
    }

    async fn request(&self, speaker: Speaker, request: Request) -> Result<Reply, No> {
        let asked = self.context.core.request(speaker, request);
        match timeout(self.context.limits.ask, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(No::unavailable("no answer in time")),
        }
    }

    async fn open_body(&mut self, mail: MessageId, start: u64) -> Option<BodySource> {
        let mailbox = self.mailbox.as_ref()?;
        let (body, list) = match mailbox.odd.get(&mail) {
            Some((body, list)) => (*body, list.as_ref()),
            None => (mail, None),
        };
        let opened = timeout(
            self.context.limits.ask,
            self.context.core.read_body(Wanted {
                mail,
                body,
                sites: &mailbox.sites,
            }),
        )
        .await;
        match opened {
            Ok(Ok(source)) => Some(source.after(list).behind(start)),
            Ok(Err(refusal)) => {
                tracing::debug!(%mail, %refusal, "a message in a folder can't be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Hands one more piece of the body to the session.
    async fn pass_on(&mut self, mut body: BodySource) {
        match timeout(self.context.limits.ask, body.chunk()).await {
            Ok(Ok(Some(chunk))) => match self.session.body_chunk(&chunk) {
                Flow::More => self.body = Some(body),
                Flow::Enough => {}
            },
            Ok(Ok(None)) => self.session.body_end(),
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, "a message broke off while it was read");
                self.session.body_failed();
            }
            Err(_) => self.session.body_failed(),
        }
    }
}

impl<B: Backend> Dialogue for Imap<B> {
    fn poll(&mut self) -> Option<Step> {
        loop {
            match self.session.poll() {
                Some(Output::Send(bytes)) => return Some(Step::Send(bytes)),
                Some(Output::StartTls) => return Some(Step::StartTls),
                Some(Output::Ask(ask)) => {
                    self.job = Some(Job::Ask(ask));
                    return Some(Step::Work);
                }
                Some(Output::BodyStart { bytes: _ }) => {
                    self.incoming = Some(Incoming::mail(self.context.core.stage()));
                }
                Some(Output::BodyChunk(piece)) => {
                    let Some(incoming) = &mut self.incoming else {
                        continue;
                    };
                    if incoming.fits_in_memory(piece.len()) {
                        incoming.take(&piece);
                    } else {
                        self.job = Some(Job::Piece(piece));
                        return Some(Step::Work);
                    }
                }
                Some(Output::BodyEnd) => self.staged.extend(self.incoming.take()),
                Some(Output::BodyAbort) => {
                    self.incoming = None;
                    self.staged.clear();
                }
                Some(Output::Close) => {
                    self.body = None;
                    self.incoming = None;
                    self.staged.clear();
                    return Some(Step::Close);
                }
                // What the session made of the last piece has been taken: the next one.
                None => return self.body.is_some().then_some(Step::Work),
            }
        }
    }

    async fn work(&mut self) {
        match (self.job.take(), self.body.take()) {
            (Some(Job::Ask(ask)), _) => {
                if let Some(answer) = self.answer(ask).await {
                    self.session.answer(answer);
                }
            }
            (Some(Job::Piece(piece)), body) => {
                self.body = body;
                if let Some(incoming) = self.incoming.take() {
                    self.incoming = Some(incoming.take_large(piece).await);
                }
            }
            (None, Some(body)) => self.pass_on(body).await,
            (None, None) => {}
        }
    }

    /// When something has changed in the mailbox, or may have while nobody could tell.
    async fn news(&mut self) {
        if self.session.watches().is_none() {
            return std::future::pending().await;
        }
        let Some(mailbox) = &mut self.mailbox else {
            return std::future::pending().await;
        };
        let again = self.looked + LOOK_AGAIN;
        let idle = self.session.is_idle();
        tokio::select! {
            changed = mailbox.changes.changed() => {
                if changed.is_err() {
                    // The server is stopping.
                    std::future::pending::<()>().await;
                }
            }
            () = sleep_until(again), if idle => {}
        }
    }

    fn heard(&mut self) {
        self.looked = Instant::now();
        self.session.mailbox_changed();
    }

    fn wants_bytes(&self) -> bool {
        self.session.wants_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        // What was told while a command was worked on counts as well.
        if let Some(mailbox) = &mut self.mailbox
            && mailbox.changes.has_changed().unwrap_or(false)
        {
            mailbox.changes.mark_unchanged();
            self.session.mailbox_changed();
        }
        self.session.receive(bytes);
    }

    fn eof(&mut self) {
        self.session.eof();
    }

    fn timed_out(&mut self) {
        self.session.timed_out();
    }

    fn shut_down(&mut self) {
        self.session.shut_down();
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(self.session.silence_ms())
    }

    fn tls_started(&mut self) {
        self.session.tls_started();
    }

    fn channel_known(&mut self, channel: Channel) {
        self.session.channel_known(channel);
    }

    fn is_stranger(&self) -> bool {
        self.mailbox.is_none()
    }
}

fn id(folder: FolderId) -> grapevine_model::FolderId {
    grapevine_model::FolderId(folder.0)
}

fn folder_path(path: &str) -> Result<FolderPath, No> {
    path.parse()
        .map_err(|error: grapevine_model::FolderPathError| No::invalid(error.to_string()))
}

const USES: [(SpecialUse, &str); 6] = [
    (SpecialUse::Archive, "\\Archive"),
    (SpecialUse::Drafts, "\\Drafts"),
    (SpecialUse::Important, "\\Important"),
    (SpecialUse::Junk, "\\Junk"),
    (SpecialUse::Sent, "\\Sent"),
    (SpecialUse::Trash, "\\Trash"),
];

fn use_of(name: &str) -> Option<SpecialUse> {
    USES.into_iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name))
        .map(|(known, _)| known)
}

fn use_name(one: SpecialUse) -> &'static str {
    match one {
        SpecialUse::Archive => "\\Archive",
        SpecialUse::Drafts => "\\Drafts",
        SpecialUse::Important => "\\Important",
        SpecialUse::Junk => "\\Junk",
        SpecialUse::Sent => "\\Sent",
        SpecialUse::Trash => "\\Trash",
    }
}

fn refused(no: &No) -> Refusal {
    let reason = match no.kind {
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => Reason::Unavailable,
        ErrorKind::NotFound => Reason::NoSuchFolder,
        ErrorKind::Conflict => Reason::FolderExists,
        ErrorKind::TooLarge => Reason::Full,
        ErrorKind::NotAuthenticated => Reason::Credentials,
        ErrorKind::NotAllowed => Reason::NotAllowed,
        ErrorKind::Invalid => Reason::Cannot,
    };
    Refusal::new(reason, no.why.clone())
}

fn failed(failure: LoginFailure) -> Refusal {
    match failure {
        LoginFailure::Wrong => Refusal::bad_credentials(),
        LoginFailure::NotNow => {
            Refusal::try_later("Cannot check logins now, try again or at another server")
        }
    }
}

/// An answer to another question: a fault of ours.
fn odd(answer: &MailboxAnswer) -> No {
    tracing::error!(?answer, "the core gave an answer to another question");
    No::unavailable("something is wrong here, try again or at another server")
}
