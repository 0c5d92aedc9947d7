//! A mail program of one person, as IMAP programs are: it remembers numbers and believes that they stay what they are.
//!
//! Two of them share each mailbox, each at a server of its own choice. They list, flag, move, copy, expunge and append;
//! what they were shown is held against `invariants::numbers`. Must never look at anything but answers.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_model::{
    Envelope, EnvelopeRecipient, Flag, FlagChange, FolderId, FolderPath, Hlc, MailboxAnswer,
    MailboxAsk, MailboxReply, MailboxView, Mark, MessageId, OriginId, Reply, Request,
    ReturnContent, ServerName, Submission,
};

use crate::client::any_server;
use crate::clock::EPOCH_MS;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::event::{ActorIndex, Ask, CallId, NodeIndex, Outcome};
use crate::invariants::numbers::{NAME, Shown, is_late};
use crate::world::Person;

/// Names that folders get, by both programs: so on both sides of a cut there is one of a name.
const PATHS: [&str; 4] = ["Work", "Work/Old", "Play", "Sent"];

/// What is known of the mailbox by all programs together.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// Which mail was shown to anybody under a number.
    numbers: BTreeMap<(u32, u32), MessageId>,
    /// Mails that somebody has tried to expunge, or that were in a folder that somebody has tried to delete.
    gone: BTreeSet<MessageId>,
    /// Mails that must be there, unless they are among those.
    kept: BTreeSet<MessageId>,
}

/// What a program remembers of a folder.
#[derive(Debug, Default)]
struct Folder {
    path: Option<FolderPath>,
    mails: BTreeMap<u32, MessageId>,
    mark: Option<Mark>,
}

impl Folder {
    /// Under another path it is another folder to a mail program, which begins with nothing.
    fn is_at(&mut self, path: FolderPath) {
        if self.path.as_ref() != Some(&path) {
            *self = Self {
                path: Some(path),
                ..Self::default()
            };
        }
    }
}

/// What a program believes of the numbers of a folder: it knows that by its path and its UIDVALIDITY, also after it was gone.
#[derive(Debug, Default)]
struct Believed {
    shown: Shown,
    by: Option<ServerName>,
    /// What that one has shown without a break.
    by_it: Shown,
}

#[derive(Debug, PartialEq, Eq)]
enum Doing {
    Folders,
    DeleteFolder,
    View(FolderId),
    Append(MessageId),
    Submit(MessageId),
    Whatever,
}

/// One mail program.
#[derive(Debug)]
struct Program {
    server: NodeIndex,
    folders: BTreeMap<FolderId, Folder>,
    believed: BTreeMap<(FolderPath, u32), Believed>,
    call: Option<(CallId, Doing)>,
}

/// The mail programs of one person.
#[derive(Debug)]
pub(crate) struct Reader {
    me: ActorIndex,
    person: Person,
    dice: Dice,
    mailbox: Mailbox,
    programs: [Program; 2],
    working: bool,
    pace_us: u64,
}

impl Reader {
    /// Programs that have seen nothing yet.
    pub(crate) fn new(me: ActorIndex, person: Person, dice: Dice, pace_us: u64) -> Self {
        let program = |server| Program {
            server,
            folders: BTreeMap::new(),
            believed: BTreeMap::new(),
            call: None,
        };
        Self {
            me,
            person,
            dice,
            mailbox: Mailbox::default(),
            programs: [program(0), program(1)],
            working: true,
            pace_us,
        }
    }

    /// Whether none of them waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.programs.iter().all(|program| program.call.is_none())
    }

    /// They begin nothing more.
    pub(crate) fn stop(&mut self) {
        self.working = false;
    }

    /// Their time has come.
    pub(crate) fn woken(&mut self, cluster: &mut Cluster) {
        if !self.working {
            return;
        }
        for at in 0..self.programs.len() {
            if self.programs[at].call.is_none() {
                self.begin(cluster, at);
            }
        }
        let pause_us = self.dice.between(self.pace_us, self.pace_us * 4);
        cluster.wake_in(self.me, pause_us);
    }

    fn fresh_id(&mut self, cluster: &Cluster) -> MessageId {
        MessageId {
            time: Hlc::at_ms(EPOCH_MS + cluster.now_us() / 1000),
            origin: OriginId::client(self.dice.next()),
        }
    }

    fn begin(&mut self, cluster: &mut Cluster, at: usize) {
        if self.dice.chance(200) {
            self.programs[at].server = any_server(cluster, &mut self.dice);
        }
        let known: Vec<FolderId> = self.programs[at].folders.keys().copied().collect();
        let folder = self.dice.pick(&known).copied().unwrap_or(FolderId::INBOX);
        let other = self.dice.pick(&known).copied().unwrap_or(FolderId::INBOX);
        let remembered = self.programs[at].folders.get(&folder);
        let mails: Vec<MessageId> =
            remembered.map_or_else(Vec::new, |folder| folder.mails.values().copied().collect());
        let since = remembered.and_then(|folder| folder.mark);
        let some: Vec<MessageId> = self.dice.pick(&mails).copied().into_iter().collect();
        let path = PATHS[self.dice.below(PATHS.len() as u64) as usize];
        let path = path.parse().ok();
        let (ask, doing) = match (self.dice.below(20), path) {
            (0..2, _) => (MailboxAsk::Folders, Doing::Folders),
            (2..8, _) => {
                let view = MailboxAsk::View {
                    folder,
                    since,
                    after: 0,
                };
                (view, Doing::View(folder))
            }
            (8..11, _) => {
                let flag = ["\\Seen", "\\Flagged", "$Work"][self.dice.below(3) as usize];
                let change = MailboxAsk::ChangeFlags {
                    folder,
                    mails: some,
                    change: match self.dice.below(3) {
                        0 => FlagChange::Remove,
                        1 => FlagChange::Replace,
                        _ => FlagChange::Add,
                    },
                    flags: flag.parse::<Flag>().into_iter().collect(),
                    unchanged_since: None,
                };
                (change, Doing::Whatever)
            }
            (11..13, _) => {
                let mails = some;
                let (from, to) = (folder, other);
                (MailboxAsk::Move { from, mails, to }, Doing::Whatever)
            }
            (13, _) => {
                let mails = some;
                let (from, to) = (folder, other);
                (MailboxAsk::Copy { from, mails, to }, Doing::Whatever)
            }
            (14, _) if self.dice.chance(500) => {
                self.mailbox.gone.extend(&some);
                let mails = some;
                (MailboxAsk::Expunge { folder, mails }, Doing::Whatever)
            }
            (15, Some(path)) => {
                let special_use = None;
                (
                    MailboxAsk::CreateFolder { path, special_use },
                    Doing::Folders,
                )
            }
            (16, Some(to)) if folder != FolderId::INBOX && self.dice.chance(500) => {
                (MailboxAsk::RenameFolder { folder, to }, Doing::Folders)
            }
            (17, _) if folder != FolderId::INBOX && self.dice.chance(200) => {
                // Whatever may be in it by now goes with it.
                self.mailbox.gone.extend(self.mailbox.numbers.values());
                let appended = self.mailbox.kept.clone();
                self.mailbox.gone.extend(appended);
                // And what the other program puts into it meanwhile, whichever comes first.
                let other = self
                    .programs
                    .iter()
                    .filter_map(|program| program.call.as_ref());
                self.mailbox
                    .gone
                    .extend(other.filter_map(|(_, doing)| match doing {
                        Doing::Append(message) => Some(*message),
                        _ => None,
                    }));
                (MailboxAsk::DeleteFolder { folder }, Doing::DeleteFolder)
            }
            (18, _) => {
                self.append(cluster, at, folder);
                return;
            }
            _ => {
                self.submit(cluster, at);
                return;
            }
        };
        self.call(cluster, at, Ask::Request(self.request(ask)), doing);
    }

    fn request(&self, ask: MailboxAsk) -> Request {
        Request::Mailbox {
            name: self.person.name.clone(),
            ask,
        }
    }

    fn call(&mut self, cluster: &mut Cluster, at: usize, ask: Ask, doing: Doing) {
        let server = self.programs[at].server;
        let call = cluster.call(self.me, server, self.person.speaker(), ask);
        self.programs[at].call = Some((call, doing));
    }

    fn append(&mut self, cluster: &mut Cluster, at: usize, folder: FolderId) {
        let (message, body) = (self.fresh_id(cluster), cluster.new_body());
        let mut others = self
            .programs
            .iter()
            .filter_map(|program| program.call.as_ref());
        if others.any(|(_, doing)| *doing == Doing::DeleteFolder) {
            self.mailbox.gone.insert(message);
        }
        let request = self.request(MailboxAsk::Append {
            folder,
            message,
            body,
            flags: Vec::new(),
            date_ms: None,
        });
        self.call(
            cluster,
            at,
            Ask::Append(request, body),
            Doing::Append(message),
        );
    }

    /// To himself, as anybody might.
    fn submit(&mut self, cluster: &mut Cluster, at: usize) {
        let (message, body) = (self.fresh_id(cluster), cluster.new_body());
        let name = self.person.name.clone();
        let submission = Submission {
            id: Some(message),
            speaker: self.person.speaker(),
            envelope: Envelope {
                return_path: Some(name.clone()),
                recipients: vec![EnvelopeRecipient::from(name)],
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body,
            reports: None,
        };
        self.call(
            cluster,
            at,
            Ask::Submit(Box::new(submission)),
            Doing::Submit(message),
        );
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, cluster: &mut Cluster, call: CallId, outcome: &Outcome) {
        let is_it = |program: &Program| program.call.as_ref().is_some_and(|(own, _)| *own == call);
        let Some(at) = self.programs.iter().position(is_it) else {
            return;
        };
        let Some((_, doing)) = self.programs[at].call.take() else {
            return;
        };
        match (doing, outcome) {
            (Doing::View(folder), Outcome::Done(Reply::Mailbox(reply))) => {
                self.shown(cluster, at, folder, reply);
            }
            (Doing::View(folder), Outcome::Refused(refusal))
                if refusal.kind == grapevine_model::ErrorKind::NotFound =>
            {
                let program = &mut self.programs[at];
                // Where it is there again, that is by another word of the numberer's.
                if let Some(path) = program.folders.remove(&folder).and_then(|was| was.path) {
                    for (_, believed) in program.believed.iter_mut().filter(|(of, _)| of.0 == path)
                    {
                        believed.by = None;
                    }
                }
            }
            (Doing::Folders | Doing::DeleteFolder, Outcome::Done(Reply::Mailbox(reply))) => {
                self.listed(at, &reply.answer);
            }
            // With one copy it may be lost with its disk.
            (Doing::Append(message), Outcome::Done(Reply::Mailbox(reply))) if reply.copies > 1 => {
                self.mailbox.kept.insert(message);
            }
            (Doing::Submit(message), Outcome::Done(Reply::Accepted { copies, .. }))
                if *copies > 1 =>
            {
                self.mailbox.kept.insert(message);
            }
            (_, Outcome::NotSent | Outcome::Unknown) => {
                self.programs[at].server = any_server(cluster, &mut self.dice);
            }
            _ => {}
        }
    }

    fn listed(&mut self, at: usize, answer: &MailboxAnswer) {
        let program = &mut self.programs[at];
        match answer {
            MailboxAnswer::Folders { folders, .. } => {
                let there: BTreeMap<FolderId, FolderPath> = folders
                    .iter()
                    .map(|folder| (folder.folder, folder.path.clone()))
                    .collect();
                program
                    .folders
                    .retain(|folder, _| there.contains_key(folder));
                for (folder, path) in there {
                    program.folders.entry(folder).or_default().is_at(path);
                }
            }
            MailboxAnswer::Folder(view) => {
                let folder = program.folders.entry(view.folder).or_default();
                folder.is_at(view.path.clone());
            }
            _ => {}
        }
    }

    fn shown(&mut self, cluster: &mut Cluster, at: usize, folder: FolderId, reply: &MailboxReply) {
        let MailboxAnswer::View(view) = &reply.answer else {
            return;
        };
        let who = self.person.name.clone();
        for what in self.mailbox.learn(view) {
            cluster.violation(NAME, format!("{who}: {what}"));
        }
        let program = &mut self.programs[at];
        let remembered = program.folders.entry(folder).or_default();
        let inbox = (folder == FolderId::INBOX).then(FolderPath::inbox);
        // A name that is not known is none that it could have believed anything of.
        if let Some(path) = inbox.or_else(|| remembered.path.clone()) {
            let named = (path, view.uid_validity);
            let believed = program.believed.entry(named).or_default();
            // One numberer never shows a number late; two that can't hear each other may, until they do.
            if believed.by.as_ref() != Some(&reply.by) {
                believed.by_it = Shown::default();
            }
            for row in &view.rows {
                let uid = row.uid;
                // One that another has shown before is not new, though this one says so only now that it has changed.
                if is_late(&believed.by_it, uid, cluster.disks_lost())
                    && !believed.shown.has_shown(uid)
                {
                    let what = format!("{who}: {} shows {uid} late in {folder}", reply.by);
                    cluster.violation(NAME, what);
                }
            }
            believed.shown.learn(reply, view);
            believed.by_it.learn(reply, view);
            believed.by = Some(reply.by.clone());
        }
        if view.extent == grapevine_model::Extent::All {
            remembered.mails.clear();
        }
        for uid in &view.vanished {
            remembered.mails.remove(uid);
        }
        for row in &view.rows {
            remembered.mails.insert(row.uid, row.message);
        }
        remembered.mark = Some(view.mark);
    }

    /// When all is healed and at rest: everybody shows the same, none of it late, twice or missing.
    pub(crate) fn at_end(&mut self, cluster: &mut Cluster, strict: bool) {
        let who = self.person.name.clone();
        let mut first = None;
        for node in cluster.up() {
            let all = match self.everything(cluster, node) {
                Ok(all) => all,
                Err(why) => {
                    cluster.violation(NAME, format!("{who} at node {node}: {why}"));
                    continue;
                }
            };
            let mut where_is: BTreeMap<MessageId, FolderId> = BTreeMap::new();
            for (path, view) in &all {
                for what in self.mailbox.learn(view) {
                    cluster.violation(NAME, format!("{who} at node {node}: {what}"));
                }
                for row in &view.rows {
                    if let Some(other) = where_is.insert(row.message, view.folder) {
                        let (mail, folder) = (row.message, view.folder);
                        let what = format!("{who}: {mail} is in {other} and in {folder}");
                        cluster.violation(NAME, what);
                    }
                    for program in &self.programs {
                        let seen = program.believed.get(&(path.clone(), view.uid_validity));
                        let lost = cluster.disks_lost();
                        if seen.is_some_and(|seen| is_late(&seen.shown, row.uid, lost)) {
                            let (uid, folder) = (row.uid, view.folder);
                            let what = format!("{who} at node {node}: {uid} in {folder} is late");
                            cluster.violation(NAME, what);
                        }
                    }
                }
            }
            let lost =
                self.mailbox.kept.iter().filter(|mail| {
                    !where_is.contains_key(mail) && !self.mailbox.gone.contains(mail)
                });
            let lost: Vec<_> = lost.collect();
            if strict && !lost.is_empty() {
                cluster.violation(NAME, format!("{who} at node {node}: lost {lost:?}"));
            }
            // Moments are each numberer's own.
            let plain: Vec<_> = all
                .into_iter()
                .map(|(_, view)| {
                    let rows = view.rows.into_iter();
                    let rows: Vec<_> = rows.map(|row| (row.uid, row.message, row.flags)).collect();
                    (view.folder, view.uid_validity, view.uid_next, rows)
                })
                .collect();
            match &first {
                None => first = Some((node, plain)),
                Some((other, shown)) if *shown != plain => {
                    let what = format!("{who}: node {other} shows {shown:?}, {node} {plain:?}");
                    cluster.violation(NAME, what);
                }
                Some(_) => {}
            }
        }
    }

    fn everything(
        &self,
        cluster: &mut Cluster,
        node: NodeIndex,
    ) -> Result<Vec<(FolderPath, MailboxView)>, String> {
        let list = self.request(MailboxAsk::Folders);
        let mut folders = match cluster.ask(node, self.person.speaker(), list) {
            Outcome::Done(Reply::Mailbox(MailboxReply {
                answer: MailboxAnswer::Folders { folders, .. },
                ..
            })) => folders,
            other => return Err(format!("no folders: {other:?}")),
        };
        folders.sort_by_key(|folder| folder.folder);
        let mut views = Vec::new();
        for folder in folders {
            let view = self.request(MailboxAsk::View {
                folder: folder.folder,
                since: None,
                after: 0,
            });
            match cluster.ask(node, self.person.speaker(), view) {
                Outcome::Done(Reply::Mailbox(MailboxReply {
                    answer: MailboxAnswer::View(view),
                    partial: false,
                    ..
                })) => views.push((folder.path, view)),
                other => return Err(format!("{} is not shown: {other:?}", folder.path)),
            }
        }
        Ok(views)
    }
}

impl Mailbox {
    /// A folder is shown to somebody; what is wrong with its numbers.
    fn learn(&mut self, view: &MailboxView) -> Vec<String> {
        let mut found = Vec::new();
        for row in &view.rows {
            let number = (view.uid_validity, row.uid);
            let before = self.numbers.insert(number, row.message);
            if let Some(other) = before.filter(|other| *other != row.message) {
                let (uid, message, folder) = (row.uid, row.message, view.folder);
                found.push(format!("{uid} in {folder} is {message} and was {other}"));
            }
        }
        found
    }
}
