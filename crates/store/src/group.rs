//! A group: what several commits change, as one batch of the engine, with the body files that go with it.
//!
//! Order is what makes it safe: a new body's file is synced, named by an intent, moved into place and its folder synced
//! *before* the batch; a dropped body's file is removed *after* it. So at any instant each row has its file.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::archive::{ArchiveSums, Candidate, ID_KEY, SUMS_KEY, Step, object_of};
use crate::contract::{MessageId, Op};
use crate::engine::{Change, Changes, Engine, Part, Sync};
use crate::error::CommitError;
use crate::folder::{Folder, remove_if_there, sync_folder};
use crate::index::{BodyFile, BodyRow, Place};
use crate::recovery::{is_owned, write_intent};
use crate::stage::{StagedBody, StagedContent};

/// A batch as one caller gave it, with the staged bodies it adopts.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
    /// In the order of their `AdoptBody`.
    pub(crate) adopted: Vec<StagedBody>,
    /// Steps of moves to the archive, after the changes.
    pub(crate) steps: Vec<Step>,
}

/// Commits on their way into one batch of the engine.
pub(crate) struct Group<'a> {
    folder: &'a Folder,
    engine: &'a Engine,
    changes: Changes,
    intents: Vec<PathBuf>,
    shelves: BTreeSet<PathBuf>,
    dropped: BTreeSet<BodyFile>,
    today: u32,
}

impl<'a> Group<'a> {
    /// Starts with changes of the store's own.
    pub(crate) fn new(
        folder: &'a Folder,
        engine: &'a Engine,
        changes: Changes,
        today: u32,
    ) -> Self {
        Self {
            folder,
            engine,
            changes,
            intents: Vec::new(),
            shelves: BTreeSet::new(),
            dropped: BTreeSet::new(),
            today,
        }
    }

    /// Adds a batch; later ones win over earlier ones. After an error nothing of the group may be written.
    pub(crate) fn add(&mut self, batch: Batch) -> Result<(), CommitError> {
        let mut adopted = batch.adopted.into_iter();
        for op in batch.ops {
            match op {
                Op::Put { table, key, value } => self.put(table.into(), key, Change::Put(value)),
                Op::Delete { table, key } => self.put(table.into(), key, Change::Delete),
                Op::AdoptBody { staged, message } => {
                    let body = adopted.next().ok_or_else(|| {
                        CommitError::Broken(format!("the staged body {staged} did not come along"))
                    })?;
                    self.adopt(message, body)?;
                }
                Op::DropBody { message } => self.drop_body(message)?,
            }
        }
        batch.steps.into_iter().try_for_each(|step| self.take(step))
    }

    /// Notes that bodies were fetched today.
    pub(crate) fn touch(&mut self, messages: Vec<MessageId>) -> Result<(), CommitError> {
        for message in messages {
            if let Some(row) = self.row(message)?.filter(|row| row.day != self.today) {
                let day = self.today;
                self.put_row(message, &BodyRow { day, ..row });
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), CommitError> {
        match step {
            Step::Intend(candidates) => {
                for candidate in candidates {
                    self.rubbish(candidate.body.object, Change::Put(Vec::new()));
                }
            }
            Step::Moved(candidates) => {
                for candidate in candidates {
                    self.move_out(&candidate)?;
                }
            }
            Step::Removed(objects) => {
                for object in objects {
                    self.rubbish(object, Change::Delete);
                }
            }
            Step::Name(id) => {
                let id = id.to_be_bytes().to_vec();
                self.put(Part::House, ID_KEY.to_vec(), Change::Put(id));
            }
        }
        Ok(())
    }

    fn move_out(&mut self, candidate: &Candidate) -> Result<(), CommitError> {
        let message = candidate.message;
        // Dropped, replaced or fetched meanwhile: it stays as it is, and the object is rubbish.
        if self.row(message)? != Some(candidate.row) {
            return Ok(());
        }
        self.drop_body(message)?;
        let row = BodyRow {
            place: Place::Archived,
            ..candidate.row
        };
        self.put_row(message, &row);
        self.rubbish(candidate.body.object.clone(), Change::Delete);
        self.count(|sums| ArchiveSums {
            bodies: sums.bodies.saturating_add(1),
            bytes: sums.bytes.saturating_add(row.len_bytes),
        })
    }

    fn rubbish(&mut self, object: String, change: Change) {
        self.put(Part::ArchiveRubbish, object.into_bytes(), change);
    }

    fn count(
        &mut self,
        change: impl FnOnce(ArchiveSums) -> ArchiveSums,
    ) -> Result<(), CommitError> {
        let place = (Part::House, SUMS_KEY.to_vec());
        let row = match self.changes.get(&place) {
            Some(Change::Put(row)) => Some(row.clone()),
            Some(Change::PutShared(_) | Change::Delete) => None,
            None => self
                .engine
                .get(Part::House, SUMS_KEY)
                .map_err(|e| CommitError::Broken(e.0))?,
        };
        let sums = row.and_then(|row| ArchiveSums::decode(&row));
        let sums = change(sums.unwrap_or_default());
        self.changes.insert(place, Change::Put(sums.encode()));
        Ok(())
    }

    fn put_row(&mut self, message: MessageId, row: &BodyRow) {
        self.put(
            Part::Bodies,
            message.to_bytes().to_vec(),
            Change::Put(row.encode()),
        );
    }

    /// Writes the group as commit number `commit`; gives the bytes written and what is left to do.
    pub(crate) fn write(self, commit: u64, sync: Sync) -> Result<(u64, Leftovers), CommitError> {
        for shelf in &self.shelves {
            sync_folder(shelf).map_err(|e| CommitError::from_io("sync a folder of bodies", &e))?;
        }
        let bytes = self.engine.write(self.changes, commit, sync)?;
        Ok((
            bytes,
            Leftovers {
                intents: self.intents,
                dropped: self.dropped,
            },
        ))
    }

    fn put(&mut self, part: Part, key: Vec<u8>, change: Change) {
        self.changes.insert((part, key), change);
    }

    fn adopt(&mut self, message: MessageId, body: StagedBody) -> Result<(), CommitError> {
        let row = body.row(self.today);
        match self.row(message)? {
            // The same body again: a retry. What is there stays, the staged one goes. What is in the archive
            // comes back: whoever brings it may know that it can't be read there.
            Some(held) if held.is_same_body(&row) && held.place != Place::Archived => {
                return Ok(());
            }
            Some(_) => self.drop_body(message)?,
            None => {}
        }
        match body.content {
            StagedContent::Inline(bytes) => {
                self.put(
                    Part::Inline,
                    message.to_bytes().to_vec(),
                    Change::PutShared(bytes),
                );
            }
            StagedContent::File(spool_file) => {
                if let Some(file) = row.file(message) {
                    self.move_in(&file, |target| spool_file.move_to(target))
                        .map_err(|e| CommitError::from_io("move a body into place", &e))?;
                }
            }
        }
        self.put_row(message, &row);
        Ok(())
    }

    fn move_in(
        &mut self,
        file: &BodyFile,
        move_to: impl Fn(&std::path::Path) -> io::Result<()>,
    ) -> io::Result<()> {
        self.intents.push(write_intent(self.folder, file)?);
        let target = self.folder.body(file);
        let shelf = self.folder.body_shelf(file);
        match move_to(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&shelf)?;
                sync_folder(&self.folder.bodies())?;
                move_to(&target)?;
            }
            moved => moved?,
        }
        self.shelves.insert(shelf);
        // Dropped earlier in this group, and here again.
        self.dropped.remove(file);
        self.put(Part::Trash, file.name().as_bytes().to_vec(), Change::Delete);
        Ok(())
    }

    fn drop_body(&mut self, message: MessageId) -> Result<(), CommitError> {
        let Some(row) = self.row(message)? else {
            return Ok(());
        };
        let key = message.to_bytes().to_vec();
        self.put(Part::Bodies, key.clone(), Change::Delete);
        match row.place {
            Place::Inline => self.put(Part::Inline, key, Change::Delete),
            Place::File => {
                if let Some(file) = row.file(message) {
                    let name = file.name().as_bytes().to_vec();
                    self.put(Part::Trash, name, Change::Put(Vec::new()));
                    self.dropped.insert(file);
                }
            }
            Place::Archived => {
                let object = object_of(&row.named(message));
                self.rubbish(object, Change::Put(Vec::new()));
                self.count(|sums| ArchiveSums {
                    bodies: sums.bodies.saturating_sub(1),
                    bytes: sums.bytes.saturating_sub(row.len_bytes),
                })?;
            }
        }
        Ok(())
    }

    /// The row of a message as this group has it so far.
    fn row(&self, message: MessageId) -> Result<Option<BodyRow>, CommitError> {
        let key = message.to_bytes();
        let row = match self.changes.get(&(Part::Bodies, key.to_vec())) {
            Some(Change::Put(row)) => BodyRow::decode(message, row).map(Some),
            Some(Change::PutShared(row)) => BodyRow::decode(message, row).map(Some),
            Some(Change::Delete) => Ok(None),
            None => self
                .engine
                .get(Part::Bodies, &key)
                .and_then(|row| row.map(|row| BodyRow::decode(message, &row)).transpose()),
        };
        row.map_err(|e| CommitError::Broken(e.0))
    }
}

/// Files that a written group no longer needs.
pub(crate) struct Leftovers {
    intents: Vec<PathBuf>,
    dropped: BTreeSet<BodyFile>,
}

impl Leftovers {
    /// Removes them. Gives the changes that say so, to go with the next batch. What fails stays written down,
    /// and the next start tries again.
    pub(crate) fn remove(self, folder: &Folder, engine: &Engine) -> Changes {
        for intent in self.intents {
            if let Err(error) = remove_if_there(&intent) {
                tracing::warn!(%error, "could not remove an intent from the spool");
            }
        }
        let mut emptied = Changes::new();
        for file in self.dropped {
            // A later commit may have brought the same body back; and when in doubt, it stays.
            if is_owned(engine, &file).unwrap_or(true) {
                continue;
            }
            match remove_if_there(&folder.body(&file)) {
                Ok(()) => {
                    emptied.insert(
                        (Part::Trash, file.name().as_bytes().to_vec()),
                        Change::Delete,
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, file = file.name(), "could not remove a dropped body");
                }
            }
        }
        emptied
    }
}
