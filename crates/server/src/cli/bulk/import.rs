//! `grapevine registry import`: entries from a file.
//!
//! It adds and sets, removes nothing and replaces no password; what is there is passed over. So
//! one that was interrupted is simply run again. Entries come first and their lists second,
//! since a list may name an entry that stands after it.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use grapevine_model::{
    EntryKind, ErrorKind, ImportDone, Imported, ImportedEntry, MAX_IMPORTED_ENTRIES,
    MAX_IMPORTED_ITEMS, Refusal, RegistryName, Reply, Request, Secret,
};
use grapevine_user::GrapevineUser;
use grapevine_user::bulk::{self, Found, MAX_ITEMS_AT_ONCE, Record, Records, Suffix};
use serde_json::json;
use tokio::sync::mpsc;

use super::super::Globals;
use super::super::output::{count, print_json};
use super::super::session::{Need, Session};
use super::{FormatArg, format_of};
use crate::out::{Failure, complain, say};
use crate::password_cost::Cost;
use crate::passwords;

/// Requests under way at once: their waits for two disks overlap.
const AT_ONCE: usize = 4;
/// Batches read ahead of those.
const AHEAD: usize = 4;
/// A server that can't be reached is tried again so often, each time after twice as long.
const TRIES: u32 = 6;
/// The first of these waits.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Complaints that are written one by one; after them only the sum.
const NAMED_FAILURES: u64 = 20;
/// Between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What to import.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Into which registry.
    registry: RegistryName,
    /// The file; it is read twice, so it can't be a pipe.
    file: PathBuf,
    /// How it is written, if its name does not end in .csv, .jsonl or .ldif.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// The end of the LDIF's distinguished names that stands for the registry, if that is not
    /// `dc=` and its labels.
    #[arg(long, value_name = "DN")]
    suffix: Option<Suffix>,
    /// Only read the file and say what is wrong with it.
    #[arg(long)]
    check: bool,
}

/// A file that counts what has been read of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// A file to be imported.
struct Source {
    path: PathBuf,
    format: bulk::Format,
    registry: RegistryName,
    suffix: Option<Suffix>,
    len: u64,
    read: Arc<AtomicU64>,
}

impl Source {
    fn open(args: &ImportArgs) -> Result<Self, Failure> {
        let format = format_of(args.format, Some(&args.file))?;
        let about = std::fs::metadata(&args.file)
            .map_err(|error| Failure::new(format_args!("{}: {error}", args.file.display())))?;
        if !about.is_file() {
            return Err(Failure::usage(format_args!(
                "{}: not a file; an import reads twice, so it needs one",
                args.file.display()
            )));
        }
        Ok(Self {
            path: args.file.clone(),
            format,
            registry: args.registry.clone(),
            suffix: args.suffix.clone(),
            len: about.len(),
            read: Arc::default(),
        })
    }

    fn records(&self) -> io::Result<Records> {
        let file = File::open(&self.path)?;
        self.read.store(0, Ordering::Relaxed);
        let read = Arc::clone(&self.read);
        let input = Box::new(BufReader::new(Counted { file, read }));
        bulk::read(self.format, input, &self.registry, self.suffix.clone())
    }

    fn percent(&self) -> u64 {
        let read = self.read.load(Ordering::Relaxed);
        (read * 100).checked_div(self.len).unwrap_or(100).min(100)
    }
}

/// What a walk through the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// To see whether it can be read.
    Check,
    /// To make the entries be there.
    Entries,
    /// To fill the groups' lists.
    Lists,
}

impl Walk {
    /// What of a record this walk takes.
    fn part(self, mut record: Record) -> Option<Record> {
        match (self, record.entry.kind) {
            (Self::Check, _) => None,
            (Self::Entries, EntryKind::Individual) => Some(record),
            (Self::Entries, EntryKind::Group) => {
                record.entry.members = Vec::new();
                record.entry.owners = Vec::new();
                record.entry.friends = Vec::new();
                Some(record)
            }
            (Self::Lists, EntryKind::Individual) => None,
            (Self::Lists, EntryKind::Group) => {
                record.entry.remark = None;
                (record.entry.items() > 0).then_some(record)
            }
        }
    }
}

/// What was read: a batch, or something to complain of.
enum Next {
    Batch(Vec<Record>),
    Bad { line: u64, why: String },
    Broken(io::Error),
}

/// Reads the file in batches, as far as anybody takes them. Blocks.
fn read_batches(source: &Source, walk: Walk, to: &mpsc::Sender<Next>) {
    let records = match source.records() {
        Ok(records) => records,
        Err(error) => {
            let _nobody = to.blocking_send(Next::Broken(error));
            return;
        }
    };
    let (mut batch, mut items) = (Vec::new(), 0);
    for found in records {
        let next = match found {
            Ok(Found::PassedOver) => continue,
            Ok(Found::Bad { line, why }) if walk != Walk::Lists => Next::Bad { line, why },
            // Said by the first walk.
            Ok(Found::Bad { .. }) => continue,
            Err(error) => {
                let _nobody = to.blocking_send(Next::Broken(error));
                return;
            }
            Ok(Found::Entry(record)) => {
                let parts = walk.part(*record).map(in_parts);
                let mut full = Vec::new();
                for part in parts.into_iter().flatten() {
                    let more = part.entry.items();
                    if batch.len() >= MAX_IMPORTED_ENTRIES || items + more > MAX_IMPORTED_ITEMS {
                        full.push(std::mem::take(&mut batch));
                        items = 0;
                    }
                    items += more;
                    batch.push(part);
                }
                for batch in full {
                    if to.blocking_send(Next::Batch(batch)).is_err() {
                        return;
                    }
                }
                continue;
            }
        };
        if to.blocking_send(next).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        let _nobody = to.blocking_send(Next::Batch(batch));
    }
}

/// A record whose lists are longer than a request takes, in parts that fit.
fn in_parts(record: Record) -> Vec<Record> {
    if record.entry.items() <= MAX_ITEMS_AT_ONCE {
        return vec![record];
    }
    let (line, name, kind) = (record.line, record.entry.name.clone(), record.entry.kind);
    let Record {
        mut entry, plain, ..
    } = record;
    let lists = [&mut entry.members, &mut entry.owners, &mut entry.friends];
    let lists = lists.map(std::mem::take);
    let mut parts = vec![Record { line, entry, plain }];
    for (list, members) in lists.into_iter().enumerate() {
        for some in members.chunks(MAX_ITEMS_AT_ONCE) {
            let mut entry = ImportedEntry::new(name.clone(), kind);
            let lists = [&mut entry.members, &mut entry.owners, &mut entry.friends];
            if let Some(to) = lists.into_iter().nth(list) {
                *to = some.to_vec();
            }
            parts.push(Record {
                line,
                entry,
                plain: None,
            });
        }
    }
    parts
}

#[derive(Default)]
struct Sums {
    created: u64,
    changed: u64,
    unchanged: u64,
    refused: u64,
    left_out: u64,
    complaints: u64,
}

impl Sums {
    fn complain(&mut self, line: u64, why: impl std::fmt::Display) {
        self.complaints += 1;
        if self.complaints <= NAMED_FAILURES {
            complain(format_args!("line {line}: {why}"));
        }
    }

    fn take(&mut self, walk: Walk, lines: &[u64], imported: Imported) {
        for (line, outcome) in lines.iter().zip(imported.outcomes) {
            let refused = outcome.done == ImportDone::Refused;
            // A group is counted once, and not again with its lists.
            match outcome.done {
                _ if walk == Walk::Lists => {}
                ImportDone::Created => self.created += 1,
                ImportDone::Changed => self.changed += 1,
                ImportDone::Unchanged => self.unchanged += 1,
                ImportDone::Refused => self.refused += 1,
            }
            if walk == Walk::Lists && refused {
                // Its entry was refused before, and that was said.
                continue;
            }
            for refusal in outcome.left_out {
                self.left_out += u64::from(!refused);
                self.complain(*line, refusal);
            }
        }
    }

    fn done(&self) -> u64 {
        self.created + self.changed + self.unchanged + self.refused
    }
}

/// Imports.
pub(in super::super) async fn import(args: ImportArgs, globals: &Globals) -> Result<(), Failure> {
    let source = Arc::new(Source::open(&args)?);
    let mut sums = Sums::default();
    if args.check {
        walk_through(None, &source, Walk::Check, &mut sums).await?;
        return ended(globals.json, &args.registry, &sums, "read");
    }
    let session = Session::open(globals, Need::Somebody).await?;
    for walk in [Walk::Entries, Walk::Lists] {
        let walked = walk_through(Some(&session.user), &source, walk, &mut sums).await;
        // Also what was done before it stopped: it is run again, perhaps at another server.
        session.keep_what_was_done();
        walked?;
    }
    ended(session.json, &args.registry, &sums, "imported")
}

fn ended(json: bool, registry: &RegistryName, sums: &Sums, what: &str) -> Result<(), Failure> {
    if json {
        print_json(&json!({
            "registry": registry,
            "created": sums.created,
            "changed": sums.changed,
            "unchanged": sums.unchanged,
            "refused": sums.refused,
            "left_out": sums.left_out,
            "complaints": sums.complaints,
        }));
    } else if what == "imported" {
        say(format_args!(
            "{registry}: {} created, {} changed, {} unchanged, {} refused",
            sums.created, sums.changed, sums.unchanged, sums.refused
        ));
    }
    match sums.complaints {
        0 => Ok(()),
        complaints => Err(Failure::new(format_args!(
            "{} not be {what}",
            count(complaints, "thing could", "things could")
        ))),
    }
}

async fn walk_through(
    user: Option<&GrapevineUser>,
    source: &Arc<Source>,
    walk: Walk,
    sums: &mut Sums,
) -> Result<(), Failure> {
    let (to, mut batches) = mpsc::channel(AHEAD);
    let reading = {
        let source = Arc::clone(source);
        tokio::task::spawn_blocking(move || read_batches(&source, walk, &to))
    };
    let mut under_way = stream::FuturesUnordered::new();
    let mut progress = Progress::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            next = batches.recv(), if open && under_way.len() < AT_ONCE => match next {
                Some(Next::Batch(batch)) => if let Some(user) = user {
                    under_way.push(send(user, &source.registry, batch));
                },
                Some(Next::Bad { line, why }) => sums.complain(line, why),
                Some(Next::Broken(error)) => {
                    return Err(Failure::new(format_args!("{}: {error}", source.path.display())));
                }
                None => open = false,
            },
            Some((lines, result)) = under_way.next() => match result {
                Ok(imported) => sums.take(walk, &lines, imported),
                Err(refusal) => {
                    let line = lines.first().copied().unwrap_or_default();
                    let failure = Failure::from(refusal);
                    return Err(Failure {
                        why: format!(
                            "stopped near line {line}: {}; run it again later, what is there is passed over",
                            failure.why
                        ),
                        ..failure
                    });
                }
            },
        }
        progress.report(source, walk, sums.done());
    }
    progress.end();
    // It has ended: nothing more came.
    let _ended = reading.await;
    Ok(())
}

/// Sends a batch; when no server can take it now, again after a while.
async fn send(
    user: &GrapevineUser,
    registry: &RegistryName,
    batch: Vec<Record>,
) -> (Vec<u64>, Result<Imported, Refusal>) {
    let lines: Vec<u64> = batch.iter().map(|record| record.line).collect();
    let hashing = tokio::task::spawn_blocking(move || batch.into_iter().map(hashed).collect());
    let entries: Result<Vec<ImportedEntry>, Refusal> = match hashing.await {
        Ok(entries) => entries,
        Err(_) => Err(Refusal::new(
            ErrorKind::Internal,
            "the passwords were not hashed",
        )),
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(refusal) => return (lines, Err(refusal)),
    };
    let request = Request::Import {
        registry: registry.clone(),
        entries,
    };
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match user.call(request.clone()).await {
            Err(refusal) if matches!(refusal.kind, ErrorKind::Unavailable | ErrorKind::Unknown) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            result => return (lines, result.and_then(imported)),
        }
    }
    let last = user.call(request).await.and_then(imported);
    (lines, last)
}

fn imported(reply: Reply) -> Result<Imported, Refusal> {
    match reply {
        Reply::Imported(imported) => Ok(imported),
        _ => Err(Refusal::new(
            ErrorKind::Internal,
            "the server answered something else",
        )),
    }
}

/// A record whose plain password, if it has one, is hashed.
fn hashed(record: Record) -> Result<ImportedEntry, Refusal> {
    let mut entry = record.entry;
    if let Some(plain) = record.plain {
        entry.password = Some(match passwords::hash(Cost::STANDARD, &plain) {
            Ok(hash) => hash,
            // Its place is taken by something that the server leaves out and names.
            Err(refusal) if refusal.kind == ErrorKind::Invalid => Secret(String::new()),
            Err(refusal) => return Err(refusal),
        });
    }
    Ok(entry)
}

/// A line on a terminal that tells how far it has come.
struct Progress {
    last: Instant,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            shown: false,
        }
    }

    fn report(&mut self, source: &Source, walk: Walk, done: u64) {
        if self.last.elapsed() < PROGRESS_EVERY || !io::stderr().is_terminal() {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let what = match walk {
            Walk::Check => "read",
            Walk::Entries => "entries",
            Walk::Lists => "lists",
        };
        let mut stderr = io::stderr().lock();
        let percent = source.percent();
        let _closed = write!(stderr, "\r{what}: {percent}% of the file, {done} done ")
            .and_then(|()| stderr.flush());
    }

    fn end(&self) {
        if self.shown {
            let _closed = writeln!(io::stderr().lock());
        }
    }
}
