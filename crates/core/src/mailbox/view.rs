//! What a mailbox looks like to mail programs: in memory, at whoever shows it, kept up cell by cell.
//!
//! Everything in it follows from the cells, but for the moments of changes (MODSEQ), which are of this view. Must never
//! show a number twice for two mails, nor one below those that it has shown for a mail that was not there: such a mail
//! gets a new number at the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use grapevine_model::{Cell, CellKey, Field, Flag, FolderId, ListCopy, Mark, MessageId};

use super::blocks::Blocks;
use super::cells::{self, BlockRow, UidRow};
use super::counts::Counts;
use super::folders::Folders;
use crate::codec;

/// Numbers of a folder that are remembered to be no more: who asks since before hears all that is there.
const MOST_VANISHED: usize = 10_000;

/// What a mail is read from.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) body: MessageId,
    pub(super) info: grapevine_model::BodyInfo,
    pub(super) len: u64,
    pub(super) date_ms: u64,
    pub(super) list: Option<Box<ListCopy>>,
}

/// A mail, or what is left of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Mail {
    /// None where its message cell is a tombstone, or has not come.
    pub(super) content: Option<Content>,
    /// It is known to be expunged.
    pub(super) is_dead: bool,
    /// Where it was put last; none without a cell.
    pub(super) placed: Option<FolderId>,
    pub(super) uid: Option<UidRow>,
    pub(super) flags: BTreeMap<String, Flag>,
    /// In which folder it is shown, under which number.
    pub(super) shown: Option<UidRow>,
    pub(super) mark: Mark,
    changed: bool,
}

impl Mail {
    fn has_cells(&self) -> bool {
        self.placed.is_some() || self.uid.is_some() || !self.flags.is_empty()
    }

    pub(super) fn has_flag(&self, folded: &str) -> bool {
        self.flags.contains_key(folded)
    }
}

/// A folder as it is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) rows: BTreeMap<u32, MessageId>,
    /// Above every number that was shown.
    pub(super) next: u32,
    pub(super) mark: Mark,
    /// Numbers that are no more, and since when.
    vanished: VecDeque<(Mark, u32)>,
    /// Of what vanished up to then it is not remembered what it was.
    forgotten: Mark,
}

impl Shown {
    /// The numbers that are no more since a moment; none where that is not remembered.
    pub(super) fn vanished_since(&self, since: Mark) -> Option<Vec<u32>> {
        if since < self.forgotten {
            return None;
        }
        let since = self.vanished.iter().filter(|(mark, _)| *mark > since);
        let mut numbers: Vec<u32> = since.map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    fn vanishes(&mut self, number: u32, mark: Mark) {
        self.rows.remove(&number);
        self.vanished.push_back((mark, number));
        self.mark = mark;
        if self.vanished.len() > MOST_VANISHED
            && let Some((mark, _)) = self.vanished.pop_front()
        {
            self.forgotten = mark;
        }
    }
}

/// A mailbox in memory.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) mails: BTreeMap<MessageId, Mail>,
    pub(super) folders: Folders,
    pub(super) blocks: Blocks,
    pub(super) shown: BTreeMap<FolderId, Shown>,
    pub(super) counts: Counts,
    /// What the cells say of each folder's next number.
    pub(super) uid_next: BTreeMap<FolderId, u32>,
    /// Mails that are there and have no number that counts.
    pub(super) unnumbered: BTreeSet<MessageId>,
    /// Mails that are dead, of which cells are left.
    pub(super) left_over: BTreeSet<MessageId>,
    /// The moment of its loading, and of its last change.
    pub(super) loaded: Mark,
    pub(super) last: Mark,
    /// Above every number that any cell has named, whether or not it counts.
    pub(super) above_all: u32,
    /// What wrote its last numbers.
    pub(super) numbered: Option<grapevine_model::Stamp>,
    /// When somebody asked last.
    pub(super) used_ms: u64,
    touched: BTreeSet<MessageId>,
    folders_touched: bool,
    blocks_touched: bool,
}

impl View {
    /// Takes in a cell of the mailbox, which is now as it says. What cannot be read is as if it were not there.
    pub(crate) fn learn(&mut self, key: &CellKey, cell: &Cell) {
        let value = cell.value.as_deref();
        let field = key.field;
        if field == Field::UidBlock.number() {
            let row = value.and_then(|value| codec::decode::<BlockRow>(value).ok());
            if let (Ok(block), Some(row)) = (cells::block_of(key), row) {
                self.blocks_touched |= self.blocks.learn(block, row);
            }
            return;
        }
        if field == Field::UidNext.number() {
            if let Some(next) = value.and_then(|value| codec::decode::<u32>(value).ok()) {
                let known = self.uid_next.entry(FolderId(key.item)).or_default();
                *known = next.max(*known);
            }
            return;
        }
        let message = MessageId::from_u128(key.item);
        let is_mail = [
            Field::Message.number(),
            Field::Placed.number(),
            Field::Flag.number(),
            Field::Uid.number(),
        ];
        if !is_mail.contains(&field) {
            self.folders_touched |= self.folders.learn(key, cell);
            return;
        }
        let mail = self.mails.entry(message).or_default();
        if field == Field::Message.number() {
            let entry = value.and_then(|value| codec::decode_mailbox_entry(value).ok());
            mail.is_dead = value.is_none();
            mail.content = entry.map(|entry| Content {
                body: entry.source.unwrap_or(message),
                len: entry.len(),
                info: entry.body,
                date_ms: entry.deposited_ms,
                list: entry.list.map(Box::new),
            });
        } else if field == Field::Placed.number() {
            mail.placed = value.and_then(|value| codec::decode(value).ok());
        } else if field == Field::Uid.number() {
            mail.uid = value.and_then(|value| codec::decode(value).ok());
            let above = mail.uid.map_or(0, |(_, uid): UidRow| uid.saturating_add(1));
            self.above_all = above.max(self.above_all);
        } else {
            let flag = value.and_then(|value| codec::decode::<Flag>(value).ok());
            let Ok(folded) = std::str::from_utf8(&key.element) else {
                return;
            };
            let before = match flag {
                Some(flag) => self.set_flag(message, folded, flag),
                None => self.clear_flag(message, folded),
            };
            if !before {
                return;
            }
        }
        self.touched.insert(message);
    }

    fn set_flag(&mut self, message: MessageId, folded: &str, flag: Flag) -> bool {
        let mail = self.mails.entry(message).or_default();
        let before = mail.flags.insert(folded.to_owned(), flag.clone());
        let changed = before != Some(flag);
        mail.changed |= changed;
        changed
    }

    fn clear_flag(&mut self, message: MessageId, folded: &str) -> bool {
        let mail = self.mails.entry(message).or_default();
        let changed = mail.flags.remove(folded).is_some();
        mail.changed |= changed;
        changed
    }

    /// Whether there is anything to settle.
    pub(super) fn is_touched(&self) -> bool {
        self.folders_touched || self.blocks_touched || !self.touched.is_empty()
    }

    /// The first settling: every number that counts is shown.
    pub(super) fn load(&mut self, mark: Mark) {
        (self.loaded, self.last) = (mark, mark);
        self.shown.insert(FolderId::INBOX, Shown::default());
        self.folders_touched = true;
        self.settle(mark, Arrivals::Anywhere);
        for (folder, shown) in &mut self.shown {
            shown.mark = mark;
            shown.forgotten = mark;
            shown.next = shown
                .next
                .max(self.uid_next.get(folder).copied().unwrap_or(1));
        }
    }

    /// Shows what has come in since, at the moment `mark`.
    pub(super) fn settle(&mut self, mark: Mark, arrivals: Arrivals) {
        if std::mem::take(&mut self.folders_touched) {
            self.folders.derive();
            self.follow_folders(mark);
            self.touched.extend(self.mails.keys().copied());
        }
        if std::mem::take(&mut self.blocks_touched) {
            self.touched.extend(self.mails.keys().copied());
        }
        // In order of their numbers: each is to be above those before it.
        let mut touched: Vec<(u32, MessageId)> = std::mem::take(&mut self.touched)
            .into_iter()
            .map(|message| {
                let uid = self.mails.get(&message).and_then(|mail| mail.uid);
                (uid.map_or(0, |(_, uid)| uid), message)
            })
            .collect();
        touched.sort_unstable();
        for (_, message) in &touched {
            self.leave(*message, mark);
        }
        for (_, message) in touched {
            self.arrive(message, mark, arrivals);
            self.counts.count(message, self.mails.get(&message));
        }
        self.last = self.last.max(mark);
    }

    /// Folders that are shown now, and not before, or the other way round.
    fn follow_folders(&mut self, mark: Mark) {
        let there: BTreeSet<FolderId> = self.folders.shown().map(|(_, id)| id).collect();
        let is_there = |id: &FolderId| *id == FolderId::INBOX || there.contains(id);
        self.shown.retain(|id, _| is_there(id));
        for mail in self.mails.values_mut() {
            if mail.shown.is_some_and(|(folder, _)| !is_there(&folder)) {
                mail.shown = None;
            }
        }
        for id in there {
            let next = self.uid_next.get(&id).copied().unwrap_or(1);
            self.shown.entry(id).or_insert_with(|| Shown {
                next,
                mark,
                forgotten: mark,
                ..Shown::default()
            });
        }
    }

    /// Where a mail is to be shown, and under which number if it has one that counts there.
    fn wanted(&self, mail: &Mail) -> Option<(FolderId, Option<u32>)> {
        mail.content.as_ref()?;
        let folder = self
            .folders
            .leads_to(mail.placed.unwrap_or(FolderId::INBOX));
        let number = mail
            .uid
            .filter(|(of, uid)| *of == folder && self.blocks.counts(*uid));
        Some((folder, number.map(|(_, uid)| uid)))
    }

    /// A mail that is not where it was shown is shown there no more.
    fn leave(&mut self, message: MessageId, mark: Mark) {
        let Some(mail) = self.mails.get(&message) else {
            return;
        };
        let stays = self
            .wanted(mail)
            .and_then(|(folder, uid)| Some((folder, uid?)));
        if let Some((folder, uid)) = mail.shown
            && stays != Some((folder, uid))
        {
            if let Some(shown) = self.shown.get_mut(&folder) {
                shown.vanishes(uid, mark);
            }
            if let Some(mail) = self.mails.get_mut(&message) {
                mail.shown = None;
            }
        }
    }

    fn arrive(&mut self, message: MessageId, mark: Mark, arrivals: Arrivals) {
        let Some(mail) = self.mails.get(&message) else {
            return;
        };
        let wanted = self.wanted(mail);
        if mail.is_dead && mail.has_cells() {
            self.left_over.insert(message);
        } else {
            self.left_over.remove(&message);
        }
        let Some((folder, uid)) = wanted else {
            self.unnumbered.remove(&message);
            if !mail.has_cells() {
                self.mails.remove(&message);
            }
            return;
        };
        let before = mail.shown;
        let Some(shown) = self.shown.get_mut(&folder) else {
            return;
        };
        let uid = uid.filter(|uid| match arrivals {
            Arrivals::Anywhere => shown.rows.get(uid).is_none_or(|other| *other == message),
            Arrivals::AtTheEnd => before == Some((folder, *uid)) || *uid >= shown.next,
        });
        let Some(mail) = self.mails.get_mut(&message) else {
            return;
        };
        match uid {
            Some(uid) => {
                self.unnumbered.remove(&message);
                shown.rows.insert(uid, message);
                shown.next = shown.next.max(uid.saturating_add(1));
                if mail.shown.is_none() || std::mem::take(&mut mail.changed) {
                    mail.mark = mark;
                    shown.mark = mark;
                }
                mail.changed = false;
                mail.shown = Some((folder, uid));
            }
            None => {
                if let Some((_, uid)) = mail.shown.take() {
                    shown.vanishes(uid, mark);
                }
                self.unnumbered.insert(message);
            }
        }
    }

    /// The mails shown in a folder under these ids, in order of their numbers.
    pub(super) fn in_folder(&self, folder: FolderId, mails: &[MessageId]) -> Vec<(u32, MessageId)> {
        let mut found: Vec<(u32, MessageId)> = mails
            .iter()
            .filter_map(|message| {
                let (of, uid) = self.mails.get(message)?.shown?;
                (of == folder).then_some((uid, *message))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// In which folder a mail is to be that is there.
    pub(super) fn folder_of(&self, message: MessageId) -> Option<FolderId> {
        let mail = self.mails.get(&message)?;
        Some(self.wanted(mail)?.0)
    }

    /// Folders whose next number no row and no cell witnesses any more.
    pub(super) fn unwitnessed(&self) -> Vec<(FolderId, u32)> {
        let unwitnessed = self.shown.iter().filter(|(folder, shown)| {
            let of_rows = shown
                .rows
                .last_key_value()
                .map_or(0, |(uid, _)| uid.saturating_add(1));
            let of_cell = self.uid_next.get(folder).copied().unwrap_or(1);
            of_rows.max(of_cell) < shown.next
        });
        unwitnessed
            .map(|(folder, shown)| (*folder, shown.next))
            .collect()
    }

    /// Whether a moment is one of this view: by its slot and its time.
    pub(super) fn has_seen(&self, mark: Mark) -> bool {
        let slots = u64::from(super::blocks::SLOTS);
        mark.0 % slots == self.loaded.0 % slots && (self.loaded..=self.last).contains(&mark)
    }

    /// How much memory it takes, in mails and what is like one.
    pub(super) fn weight(&self) -> usize {
        self.mails.len() + self.shown.len() + 1
    }
}

/// Where a mail may turn up that was not shown in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrivals {
    /// Nobody has seen anything.
    Anywhere,
    /// Only above every number that was shown.
    AtTheEnd,
}
