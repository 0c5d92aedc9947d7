//! Mails into the folders of a mailbox, each once.
//!
//! A mail is known again by the origin of its id, which follows from the mailbox, the folder and the content
//! (docs/decisions): what the mailbox has, in whatever folder by now, is not sent. What was begun before a kill goes on
//! under the id that the journal has. Must never send a mail whose id is not written down.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use grapevine_model::{
    BodyInfo, ErrorKind, Flag, FolderId, FolderPath, Hlc, MAX_FLAGS_A_MAIL, MessageId, Name,
    OriginId, Refusal, SpecialUse,
};
use grapevine_user::import::Journal;
use grapevine_user::{BodySource, GrapevineUser, NewMail, SubmitError, wall_ms};

use crate::cli::output::count;
use crate::cli::progress::Progress;
use crate::out::Failure;

/// Mails under way at once: enough for their waits for two disks to overlap.
const AT_ONCE: usize = 16;
/// Failures that are named one by one; after them only the sum.
const NAMED_FAILURES: u64 = 20;
/// For so long a mail is tried again: another server takes a mailbox over in less.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    /// Mails put into the mailbox.
    pub(crate) new: u64,
    /// Mails that it had.
    pub(crate) already: u64,
    /// Mails that it once had, and that are not there any more.
    pub(crate) gone: u64,
    /// Mails that could not be taken.
    pub(crate) failed: u64,
    /// Mails that were fetched from elsewhere.
    pub(crate) fetched: u64,
}

/// A mail that is found.
#[derive(Debug)]
pub(crate) struct Mail {
    /// Where, for a person.
    pub(crate) place: String,
    /// The origin of its id.
    pub(crate) origin: OriginId,
    /// Which mail it was before it went out, if that is known.
    pub(crate) original: Option<MessageId>,
    /// Into which folder.
    pub(crate) folder: FolderPath,
    /// Measure of its body.
    pub(crate) info: BodyInfo,
    /// Its flags.
    pub(crate) flags: Vec<Flag>,
    /// Its date for mail programs.
    pub(crate) date_ms: Option<u64>,
    /// Its body; what is spooled for it goes when it is dropped.
    pub(crate) body: Body,
}

/// A body, and what has to live as long.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// It.
    pub(crate) source: BodySource,
    /// A file that is removed after it.
    pub(crate) _spool: Option<std::sync::Arc<Spool>>,
}

impl From<BodySource> for Body {
    fn from(source: BodySource) -> Self {
        Self {
            source,
            _spool: None,
        }
    }
}

/// A file that goes when nobody needs it.
#[derive(Debug)]
pub(crate) struct Spool(pub(crate) std::path::PathBuf);

impl Drop for Spool {
    fn drop(&mut self) {
        // One that can't be removed is in the folder of temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

type UnderWay = Pin<Box<dyn Future<Output = (Mail, MessageId, Result<(), SubmitError>)> + Send>>;

/// A mailbox that is being filled.
pub(crate) struct Filler {
    user: GrapevineUser,
    owner: Name,
    journal: Journal,
    folders: BTreeMap<FolderPath, FolderId>,
    ids: HashSet<MessageId>,
    origins: HashSet<OriginId>,
    last: Hlc,
    under_way: FuturesUnordered<UnderWay>,
    /// How far it is.
    pub(crate) progress: Progress,
    /// What came of it so far.
    pub(crate) sums: Sums,
}

impl Filler {
    /// Looks at what the mailbox has.
    pub(crate) async fn open(user: &GrapevineUser, owner: &Name) -> Result<Self, Failure> {
        let mut progress = Progress::new();
        let seen = user.folders(owner).await?;
        let mut filler = Self {
            user: user.clone(),
            owner: owner.clone(),
            journal: Journal::default(),
            folders: BTreeMap::new(),
            ids: HashSet::new(),
            origins: HashSet::new(),
            last: Hlc(0),
            under_way: FuturesUnordered::new(),
            progress: Progress::new(),
            sums: Sums::default(),
        };
        let mut partial = seen.partial;
        for folder in seen.folders {
            filler.folders.insert(folder.path, folder.folder);
            if folder.messages == 0 {
                continue;
            }
            let mails = user.folder_mails(owner, folder.folder).await?;
            partial |= mails.partial;
            for row in mails.rows {
                filler.ids.insert(row.message);
                filler.origins.insert(row.message.origin);
            }
            let known = filler.ids.len();
            progress.show(|| format!("looking at what {owner} has: {known}"));
        }
        progress.clear();
        if partial {
            filler.progress.complain(
                "note: a site of the mailbox can't be asked now; what was imported there from another machine may come twice",
            );
        }
        Ok(filler)
    }

    /// From now on with what was done before.
    pub(crate) fn remember(&mut self, journal: Journal) {
        self.journal = journal;
    }

    /// What was done before.
    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Whether it has this mail.
    pub(crate) fn has(&self, origin: OriginId, original: Option<MessageId>) -> bool {
        self.origins.contains(&origin) || original.is_some_and(|id| self.ids.contains(&id))
    }

    /// Whether a mail needs nothing more; it is counted then.
    pub(crate) fn settled(&mut self, origin: OriginId, original: Option<MessageId>) -> bool {
        if self.has(origin, original) {
            self.sums.already += 1;
        } else if self.journal.is_done(origin) {
            self.sums.gone += 1;
        } else {
            return false;
        }
        self.show();
        true
    }

    /// A folder, made if it is not there.
    pub(crate) async fn folder(
        &mut self,
        path: &FolderPath,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderId, Failure> {
        if let Some(known) = self.folders.get(path) {
            return Ok(*known);
        }
        let made = patiently(|| self.user.make_folder(&self.owner, path, special_use)).await;
        let made = match (made, special_use) {
            // Another folder is for that.
            (Err(refusal), Some(_)) if refusal.kind == ErrorKind::Conflict => {
                self.user.make_folder(&self.owner, path, None).await
            }
            (made, _) => made,
        };
        let folder = made.map_err(|refusal| Failure {
            why: format!("folder {path}: {}", refusal.why),
            ..refusal.into()
        })?;
        self.folders.insert(path.clone(), folder);
        Ok(folder)
    }

    /// Puts a mail into its folder, if it is not there; with others at the same time.
    pub(crate) async fn put(&mut self, mail: Mail) -> Result<(), Failure> {
        if self.settled(mail.origin, mail.original) {
            return Ok(());
        }
        let folder = self.folder(&mail.folder, None).await?;
        let id = match self.journal.id(mail.origin) {
            Some(begun) => begun,
            None => self.fresh(mail.origin),
        };
        self.journal.begins(id).map_err(not_written)?;
        self.send(mail, folder, id);
        while self.under_way.len() >= AT_ONCE {
            self.settle_one().await?;
        }
        Ok(())
    }

    fn fresh(&mut self, origin: OriginId) -> MessageId {
        self.last = Hlc::at_ms(wall_ms()).max(self.last.next());
        MessageId {
            time: self.last,
            origin,
        }
    }

    fn send(&mut self, mail: Mail, folder: FolderId, id: MessageId) {
        let mut seen = HashSet::new();
        let flags = mail.flags.iter().filter(|flag| seen.insert(flag.folded()));
        let new = NewMail {
            folder,
            id,
            info: mail.info,
            flags: flags.take(MAX_FLAGS_A_MAIL).cloned().collect(),
            date_ms: mail.date_ms,
        };
        self.origins.insert(mail.origin);
        let (user, owner) = (self.user.clone(), self.owner.clone());
        self.under_way.push(Box::pin(async move {
            let begun = Instant::now();
            loop {
                match user.append_mail(&owner, &new, &mail.body.source).await {
                    Err(SubmitError::Refused(refusal))
                        if may_pass(&refusal) && begun.elapsed() < PATIENCE =>
                    {
                        tokio::time::sleep(PAUSE).await;
                    }
                    done => return (mail, id, done),
                }
            }
        }));
    }

    async fn settle_one(&mut self) -> Result<(), Failure> {
        let Some((mail, id, result)) = self.under_way.next().await else {
            return Ok(());
        };
        match result {
            Ok(()) => {
                self.journal.ends(id).map_err(not_written)?;
                self.sums.new += 1;
            }
            Err(SubmitError::Body(error)) => self.fail(&mail.place, error),
            Err(SubmitError::Refused(refusal)) => match refusal.kind {
                // It came in an earlier run, and was expunged since.
                ErrorKind::Conflict => {
                    self.journal.ends(id).map_err(not_written)?;
                    self.sums.gone += 1;
                }
                // Of an earlier run, and so old that nobody can tell whether it came. It is not there now.
                ErrorKind::Invalid if id.time < Hlc::at_ms(wall_ms().saturating_sub(MINUTE_MS)) => {
                    let again = self.fresh(mail.origin);
                    self.journal.begins(again).map_err(not_written)?;
                    let folder = self.folder(&mail.folder, None).await?;
                    self.send(mail, folder, again);
                }
                ErrorKind::TooLarge => self.fail(&mail.place, refusal),
                ErrorKind::Invalid
                | ErrorKind::NotAuthenticated
                | ErrorKind::NotAllowed
                | ErrorKind::NotFound
                | ErrorKind::Unavailable
                | ErrorKind::Unknown
                | ErrorKind::Internal => {
                    let failure = Failure::from(refusal);
                    self.progress.clear();
                    return Err(Failure {
                        why: format!(
                            "stopped at {} after {}: {}; run it again later, it goes on from there",
                            mail.place,
                            count(self.sums.new, "message", "messages"),
                            failure.why
                        ),
                        ..failure
                    });
                }
            },
        }
        self.show();
        Ok(())
    }

    /// A mail can't be taken; the rest goes on.
    pub(crate) fn fail(&mut self, place: &str, why: impl std::fmt::Display) {
        self.sums.failed += 1;
        if self.sums.failed <= NAMED_FAILURES {
            self.progress.complain(format_args!("{place}: {why}"));
        }
    }

    /// Waits for all that is under way.
    pub(crate) async fn finish(&mut self) -> Result<Sums, Failure> {
        while !self.under_way.is_empty() {
            self.settle_one().await?;
        }
        self.progress.clear();
        Ok(self.sums)
    }

    fn show(&mut self) {
        let sums = self.sums;
        self.progress.show(|| {
            let there = sums.already + sums.gone;
            format!(
                "{} new, {there} known before",
                count(sums.new, "message", "messages")
            )
        });
    }
}

const MINUTE_MS: u64 = 60_000;

fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal.kind,
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal
    )
}

/// Asks again while nobody can answer, for as long as a take-over may last.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Refusal>>>(
    ask: impl Fn() -> F,
) -> Result<T, Refusal> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(refusal) if may_pass(&refusal) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn not_written(error: std::io::Error) -> Failure {
    Failure::new(format_args!("what is done can't be written down: {error}"))
}
