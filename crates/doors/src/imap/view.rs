//! A folder as this client sees it: rows by sequence number, and what it has not been told yet.
//!
//! A sequence number moves only when an EXPUNGE says so, and a row is never put before one that the client has seen. Whoever is gone stays in its
//! place until that can be said.

use std::collections::BTreeSet;

use super::command::Access;
use super::flags::{Change, Flags};
use super::sets::Ranges;
use super::types::{Extent, FolderId, News, Row};

/// One row with what is to be told of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) row: Row,
    pub(super) gone: bool,
    pub(super) owes: Owes,
}

/// What the client has not been told of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owes {
    Nothing,
    /// Its mod-sequence: the flags are as the client has set them.
    ModSeq,
    Flags,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) folder: FolderId,
    pub(super) access: Access,
    pub(super) rows: Vec<Seen>,
    /// How many rows the client knows to be there.
    pub(super) announced: usize,
    pub(super) uidvalidity: u32,
    pub(super) uidnext: u32,
    pub(super) highest_modseq: u64,
    pub(super) mark: u64,
    /// Something has changed that the view does not have.
    pub(super) stale: bool,
}

/// What this session has just stored, so that it need not be told.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) uids: Ranges,
    pub(super) change: Change,
    pub(super) flags: Flags,
}

impl View {
    pub(super) fn new(folder: FolderId, access: Access, news: News) -> Self {
        let mut view = Self {
            folder,
            access,
            rows: Vec::new(),
            announced: 0,
            uidvalidity: news.uidvalidity,
            uidnext: 0,
            highest_modseq: 0,
            mark: 0,
            stale: false,
        };
        view.apply(news, None);
        view
    }

    /// Takes in what has changed. Flags as `stored` made them are known to the client.
    pub(super) fn apply(&mut self, news: News, stored: Option<&Stored>) {
        self.stale = false;
        self.uidnext = self.uidnext.max(news.uidnext);
        self.highest_modseq = self.highest_modseq.max(news.highest_modseq);
        self.mark = news.mark;
        match news.extent {
            Extent::Whole => {
                let mut present = news.rows.iter().map(|row| row.uid).peekable();
                for seen in &mut self.rows {
                    while present.next_if(|uid| *uid < seen.row.uid).is_some() {}
                    if present.peek() != Some(&seen.row.uid) {
                        seen.gone = true;
                    }
                }
            }
            Extent::Since => {
                for uid in &news.vanished {
                    if let Some(seen) = self.find(*uid).and_then(|at| self.rows.get_mut(at)) {
                        seen.gone = true;
                    }
                }
            }
        }
        for row in news.rows {
            match self.find(row.uid) {
                Some(at) => self.change(at, row, stored),
                // Below what the client has seen nothing may appear: it is shown when the folder is opened again.
                None if self.rows.last().is_some_and(|last| last.row.uid > row.uid) => {}
                None => self.rows.push(Seen {
                    row,
                    gone: false,
                    owes: Owes::Nothing,
                }),
            }
        }
        let last = self.rows.last().map_or(0, |last| last.row.uid);
        self.uidnext = self.uidnext.max(last.saturating_add(1));
    }

    fn change(&mut self, at: usize, row: Row, stored: Option<&Stored>) {
        let Some(seen) = self.rows.get_mut(at) else {
            return;
        };
        // A number has one content, whoever says otherwise.
        if seen.row.mail != row.mail {
            return;
        }
        if seen.row.flags != row.flags || seen.row.modseq != row.modseq {
            let expected = stored.filter(|stored| stored.uids.contains(row.uid));
            let expected =
                expected.map(|stored| seen.row.flags.changed(stored.change, &stored.flags));
            let owed = if expected.as_ref() == Some(&row.flags)
                || (expected.is_none() && seen.row.flags == row.flags)
            {
                Owes::ModSeq
            } else {
                Owes::Flags
            };
            if seen.owes != Owes::Flags {
                seen.owes = owed;
            }
            seen.row = row;
        }
    }

    /// The place of a UID.
    pub(super) fn find(&self, uid: u32) -> Option<usize> {
        self.rows
            .binary_search_by_key(&uid, |seen| seen.row.uid)
            .ok()
    }

    pub(super) fn last_uid(&self) -> u32 {
        self.rows
            .get(..self.announced)
            .and_then(|rows| rows.last())
            .map_or(0, |last| last.row.uid)
    }

    pub(super) fn last_number(&self) -> u32 {
        u32::try_from(self.announced).unwrap_or(u32::MAX)
    }

    /// Places of these UIDs, of rows that the client knows.
    pub(super) fn places_of_uids<'a>(
        &'a self,
        uids: &'a Ranges,
    ) -> impl Iterator<Item = usize> + 'a {
        uids.iter().flat_map(move |(first, last)| {
            let begin = self.rows.partition_point(|seen| seen.row.uid < first);
            let end = self
                .rows
                .partition_point(|seen| seen.row.uid <= last)
                .min(self.announced);
            begin..end.max(begin)
        })
    }

    /// Places of these sequence numbers; none if one of them is not there.
    pub(super) fn places_of_numbers(&self, numbers: &Ranges) -> Option<Vec<usize>> {
        if numbers.last().is_some_and(|last| last > self.last_number()) {
            return None;
        }
        Some(
            numbers
                .iter()
                .flat_map(|(first, last)| first..=last)
                .filter_map(|number| usize::try_from(number).ok()?.checked_sub(1))
                .collect(),
        )
    }

    pub(super) fn row(&self, at: usize) -> Option<&Row> {
        self.rows.get(at).map(|seen| &seen.row)
    }

    /// Forgets rows that the client has been told to be gone.
    pub(super) fn forget_gone(&mut self) {
        let known = self.rows.get(..self.announced).unwrap_or(&self.rows);
        self.announced = known.iter().filter(|seen| !seen.gone).count();
        self.rows.retain(|seen| !seen.gone);
    }

    pub(super) fn has_gone(&self) -> bool {
        self.rows.iter().any(|seen| seen.gone)
    }

    /// All keywords in the folder, each once.
    pub(super) fn keywords(&self) -> Vec<std::sync::Arc<str>> {
        /// As many as a client is shown.
        const SHOWN: usize = 200;
        let mut folded = BTreeSet::new();
        let all = self.rows.iter().flat_map(|seen| seen.row.flags.keywords());
        all.filter(|keyword| folded.insert(keyword.to_ascii_lowercase()))
            .take(SHOWN)
            .cloned()
            .collect()
    }
}
