//! The committer: one thread that drains all waiting commits into one batch and syncs once for all of them.
//!
//! Promises: a commit that asked to be synced is answered after the sync that covers it; answers come in the order of the
//! commits; after the first failure nothing more is written, because nobody knows what the disk kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::archive::Fetched;
use crate::engine::{Changes, Engine, Sync};
use crate::error::CommitError;
use crate::folder::{Folder, Lock};
use crate::group::{Batch, Group, Leftovers};
use crate::stage::Spool;
use crate::stats::StoreStats;
use crate::witness::Witness;

/// Commits that may wait before `commit` blocks. Their small bodies are in memory: 64 KiB each at worst.
const QUEUE_MAX_COMMITS: usize = 1_024;
/// Commits in one batch of the engine.
const GROUP_MAX_COMMITS: usize = 1_024;
/// Bytes after which a group takes no more: about what this kind of disk writes in 20 ms, so that those
/// in the group don't wait long for each other, and bounded memory.
const GROUP_MAX_BYTES: usize = 4 << 20;

/// How long a deferred commit waits for others to share a sync with: long enough to cost an idle disk nothing, short
/// enough that what depends on it is not held up for a person to notice.
const DEFERRED_MAX: Duration = Duration::from_millis(200);

/// How durable a commit has to be when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    Synced,
    /// It survives a power cut, and nobody waits for that: it rides along with the next sync, and gets one of its
    /// own only after 200 ms. Its answer, and those of all that come after it, wait as long.
    Deferred,
    /// It survives this process. A power cut may take it, whole, with all that came after it, until the next
    /// synced commit.
    Lazy,
}

/// What a caller wants to be told, once.
pub(crate) type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// One commit on its way.
pub(crate) struct Job {
    /// What to write, or why it can't be.
    pub(crate) batch: Result<Batch, CommitError>,
    pub(crate) bytes: usize,
    pub(crate) durability: Durability,
    pub(crate) done: Answer,
}

/// Makes sure that each commit is answered: one that is lost on the way is told that the store is closed.
pub(crate) struct Answer(Option<Done>);

/// All that is shared between the committer and those who read.
pub(crate) struct Inner {
    pub(crate) folder: Folder,
    pub(crate) engine: Engine,
    pub(crate) spool: Arc<Spool>,
    pub(crate) stats: StoreStats,
    pub(crate) failure: OnceLock<CommitError>,
    pub(crate) fetched: Fetched,
    /// Last, so that the folder is free only when the engine has closed.
    pub(crate) _lock: Lock,
}

/// What the committer's thread is told.
pub(crate) enum Message {
    Commit(Job),
    Stop,
}

/// The committer's own state.
pub(crate) struct Committer {
    pub(crate) inner: Arc<Inner>,
    pub(crate) witness: Witness,
    /// Number of the last commit written.
    pub(crate) commit: u64,
    /// Changes of the store's own that go with the next batch.
    pub(crate) own_changes: Changes,
    /// Whether something was written since the last sync.
    pub(crate) unsynced: bool,
    /// Files to be removed after the next sync.
    pub(crate) leftovers: Vec<Leftovers>,
    /// Answers that wait for the next sync, and until when at the latest.
    pub(crate) held: Held,
}

/// Answers that wait for a sync, in order; each with its refusal, if it has one.
#[derive(Default)]
pub(crate) struct Held {
    answers: Vec<(Answer, Option<CommitError>)>,
    until: Option<Instant>,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(self) -> std::io::Result<(SyncSender<Message>, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel(QUEUE_MAX_COMMITS);
        let thread = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || self.run(&receiver))?;
        Ok((sender, thread))
    }

    fn run(mut self, receiver: &Receiver<Message>) {
        let mut stopping = false;
        while !stopping {
            let mut jobs = Vec::new();
            let mut bytes = 0;
            let mut next = match self.wait(receiver) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(message) = next {
                match message {
                    Message::Commit(job) => {
                        bytes += job.bytes;
                        jobs.push(job);
                    }
                    Message::Stop => {
                        stopping = true;
                        break;
                    }
                }
                if jobs.len() >= GROUP_MAX_COMMITS || bytes >= GROUP_MAX_BYTES {
                    break;
                }
                next = receiver.try_recv().ok();
            }
            if !jobs.is_empty() {
                self.commit_group(jobs);
            }
        }
        self.sync();
    }

    /// The next message; times out when held answers have waited long enough.
    fn wait(&self, receiver: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.held.until {
            Some(until) => receiver.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn commit_group(&mut self, jobs: Vec<Job>) {
        let holds = jobs
            .iter()
            .any(|job| job.durability == Durability::Deferred);
        let mut answers = Vec::with_capacity(jobs.len());
        let written = match self.inner.failure.get() {
            Some(failure) => {
                answers.extend(jobs.into_iter().map(|job| (job.done, None)));
                Err(failure.clone())
            }
            None => self.write_group(jobs, &mut answers),
        };
        self.held.answers.extend(answers);
        match written {
            Err(failure) => self.fail(failure),
            Ok(Sync::Yes) => self.give_held(&Ok(())),
            Ok(Sync::No) if holds => {
                let until = Instant::now() + DEFERRED_MAX;
                self.held.until.get_or_insert(until);
            }
            Ok(Sync::No) if self.held.until.is_none() => self.give_held(&Ok(())),
            Ok(Sync::No) => {}
        }
    }

    /// Syncs what was written and not synced, and answers who waits for it.
    fn sync(&mut self) {
        let synced = match self.inner.failure.get() {
            Some(failure) => Err(failure.clone()),
            None if self.unsynced => {
                let started = Instant::now();
                let synced = self.inner.engine.sync();
                self.inner.stats.count_sync(started.elapsed());
                synced
            }
            None => Ok(()),
        };
        match synced {
            Ok(()) => {
                self.synced();
                self.give_held(&Ok(()));
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: CommitError) {
        if self.inner.failure.set(failure.clone()).is_ok() {
            tracing::error!(error = %failure, "the store has failed and takes no more commits");
        }
        self.give_held(&Err(failure));
    }

    fn give_held(&mut self, outcome: &Result<(), CommitError>) {
        let held = std::mem::take(&mut self.held);
        for (answer, refusal) in held.answers {
            let outcome = refusal.map_or_else(|| outcome.clone(), Err);
            if outcome.is_err() {
                self.inner.stats.count_failed();
            }
            answer.give(outcome);
        }
    }

    /// Writes what can be written; puts each commit's answer, with its refusal if it has one, into `answers`.
    fn write_group(
        &mut self,
        jobs: Vec<Job>,
        answers: &mut Vec<(Answer, Option<CommitError>)>,
    ) -> Result<Sync, CommitError> {
        let inner = Arc::clone(&self.inner);
        let mut group = Group::new(
            &inner.folder,
            &inner.engine,
            std::mem::take(&mut self.own_changes),
            inner.fetched.today(),
        );
        let mut sync = Sync::No;
        let mut commits = 0;
        let mut added = Ok(());
        for job in jobs {
            let refusal = match job.batch {
                Err(refusal) => Some(refusal),
                Ok(batch) => {
                    if job.durability == Durability::Synced {
                        sync = Sync::Yes;
                    }
                    commits += 1;
                    added = added.and_then(|()| group.add(batch));
                    None
                }
            };
            answers.push((job.done, refusal));
        }
        added?;
        if commits == 0 {
            return Ok(Sync::No);
        }
        group.touch(inner.fetched.take_touched())?;
        let started = Instant::now();
        let (bytes, leftovers) = group.write(self.commit + 1, sync)?;
        self.commit += 1;
        inner.stats.count_batch(commits, bytes);
        self.leftovers.push(leftovers);
        match sync {
            Sync::Yes => {
                inner.stats.count_sync(started.elapsed());
                self.synced();
            }
            Sync::No => self.unsynced = true,
        }
        Ok(sync)
    }

    fn synced(&mut self) {
        self.unsynced = false;
        // Not before the sync: a power cut may bring back the rows that were dropped, and they want their files.
        for leftovers in std::mem::take(&mut self.leftovers) {
            let emptied = leftovers.remove(&self.inner.folder, &self.inner.engine);
            self.own_changes.extend(emptied);
        }
        if let Err(error) = self.witness.note(self.commit) {
            tracing::warn!(%error, "could not write the witness; a loss at the journal's end may go unnoticed");
        }
    }
}

impl Answer {
    pub(crate) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    fn give(mut self, outcome: Result<(), CommitError>) {
        self.call(outcome);
    }

    fn call(&mut self, outcome: Result<(), CommitError>) {
        if let Some(done) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err()
        {
            // The committer serves everybody and must outlive one caller's mistake.
            tracing::error!("the answer to a commit panicked in its caller");
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.call(Err(CommitError::Closed));
    }
}
