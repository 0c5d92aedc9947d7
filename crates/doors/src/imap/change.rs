//! STORE, EXPUNGE, COPY and MOVE (UIDPLUS, RFC 6851, CONDSTORE).
//!
//! Nothing is told to be done before the shell has said so; what has changed comes with the refresh after it, as everybody else's changes do.

use super::command::{Access, By, Echo, Store};
use super::folders::Then;
use super::session::{AfterExpunge, Afterwards, Expunges, Open, Placing, Session};
use super::sets::{Ranges, Set};
use super::types::{Answer, Ask, FolderId};
use super::view::Stored;

impl Session {
    /// The places that a set means; says BAD and gives none where it means what is not there.
    pub(super) fn places(&mut self, tag: &str, set: &Set, by: By) -> Option<Vec<usize>> {
        let view = self.selected.as_ref()?;
        let places = match (by, set) {
            (By::Uid, _) | (By::Sequence, Set::Saved) => {
                let uids = set.resolve(view.last_uid(), &self.saved);
                Some(view.places_of_uids(&uids).collect())
            }
            (By::Sequence, Set::Ranges(_)) => {
                let numbers = set.resolve(view.last_number(), &Ranges::default());
                view.places_of_numbers(&numbers)
            }
        };
        if places.is_none() {
            self.fault(Some(tag), "There is no message of this number");
        }
        places
    }

    fn may_change(&mut self, tag: &str) -> bool {
        let writable = self
            .selected
            .as_ref()
            .is_some_and(|view| view.access == Access::ReadWrite);
        if !writable {
            self.no(tag, "[NOPERM] The folder is open for reading only");
        }
        writable
    }

    pub(super) fn store(&mut self, tag: String, store: Store) {
        let Some(places) = self.places(&tag, &store.set, store.by) else {
            return;
        };
        if !self.may_change(&tag) {
            return;
        }
        self.enabled.condstore |= store.unchanged_since.is_some();
        let Some(view) = &self.selected else { return };
        let there: Vec<_> = places
            .iter()
            .filter_map(|at| view.rows.get(*at))
            .filter(|seen| !seen.gone)
            .collect();
        let mails: Vec<_> = there.iter().map(|seen| seen.row.mail).collect();
        let uids = Ranges::of_numbers(there.iter().map(|seen| seen.row.uid));
        if mails.is_empty() {
            let last = format!("{tag} OK STORE completed\r\n");
            return self.done(last.into_bytes(), expunges(store.by));
        }
        let ask = Ask::ChangeFlags {
            folder: view.folder,
            mails,
            change: store.change,
            flags: store.flags.clone(),
            unchanged_since: store.unchanged_since,
        };
        let stored = Stored {
            uids,
            change: store.change,
            flags: store.flags,
        };
        self.ask(
            ask,
            Open::Store {
                tag,
                stored,
                echo: store.echo,
                by: store.by,
            },
        );
    }

    pub(super) fn store_answered(
        &mut self,
        tag: String,
        stored: Stored,
        echo: Echo,
        by: By,
        answer: Answer,
    ) {
        let modified = match answer {
            Answer::Stored { modified } => modified,
            other => return self.refused(&tag, other),
        };
        let Some(view) = &self.selected else { return };
        let mut last = format!("{tag} OK ").into_bytes();
        if !modified.is_empty() {
            let is_modified =
                |at: &usize| view.row(*at).is_some_and(|row| modified.contains(&row.uid));
            let places: Vec<usize> = view
                .places_of_uids(&stored.uids)
                .filter(is_modified)
                .collect();
            let number = |at: &usize| match by {
                By::Uid => view.row(*at).map(|row| row.uid),
                By::Sequence => u32::try_from(at + 1).ok(),
            };
            last.extend_from_slice(b"[MODIFIED ");
            Ranges::of_numbers(places.iter().filter_map(number)).put(&mut last);
            last.extend_from_slice(b"] ");
        }
        last.extend_from_slice(b"STORE completed\r\n");
        let (quiet, shown) = match echo {
            Echo::Silent => (Some(stored), None),
            Echo::Flags => (None, Some(stored.uids)),
        };
        self.refresh_after(Afterwards {
            last,
            expunges: expunges(by),
            stored: quiet,
            shown,
            highest: None,
        });
    }

    pub(super) fn expunge(&mut self, tag: String, set: Option<&Set>) {
        let among = match set {
            None => None,
            Some(set) => match self.places(&tag, set, By::Uid) {
                None => return,
                Some(places) => Some(places),
            },
        };
        if !self.may_change(&tag) {
            return;
        }
        let Some(view) = &self.selected else { return };
        let places = among.unwrap_or_else(|| (0..view.announced).collect());
        let there = places.iter().filter_map(|at| view.rows.get(*at));
        let mails: Vec<_> = there
            .filter(|seen| !seen.gone && seen.row.flags.is_deleted())
            .map(|seen| seen.row.mail)
            .collect();
        if mails.is_empty() {
            return self.expunged(tag);
        }
        let folder = view.folder;
        self.ask(
            Ask::Expunge { folder, mails },
            Open::Expunge {
                tag,
                then: AfterExpunge::Tell,
            },
        );
    }

    pub(super) fn expunge_answered(&mut self, tag: String, then: AfterExpunge, answer: Answer) {
        match (answer, then) {
            (Answer::Yes, AfterExpunge::Tell) => self.expunged(tag),
            (Answer::Yes, AfterExpunge::Close) => self.complete(&tag, "CLOSE completed"),
            (other, _) => self.refused(&tag, other),
        }
    }

    fn expunged(&mut self, tag: String) {
        let highest = self
            .enabled
            .condstore
            .then(|| (tag.clone(), "EXPUNGE completed"));
        let last = format!("{tag} OK EXPUNGE completed\r\n").into_bytes();
        self.refresh_after(Afterwards {
            last,
            expunges: Expunges::Told,
            stored: None,
            shown: None,
            highest,
        });
    }

    pub(super) fn copy(&mut self, tag: String, set: &Set, path: String, by: By, verb: Placing) {
        let Some(places) = self.places(&tag, set, by) else {
            return;
        };
        if verb == Placing::Move && !self.may_change(&tag) {
            return;
        }
        self.ask_folders(Then::Place {
            tag,
            places,
            path,
            verb,
        });
    }

    /// The target is there.
    pub(super) fn place(&mut self, tag: String, places: &[usize], to: FolderId, verb: Placing) {
        let Some(view) = &self.selected else { return };
        let there = places
            .iter()
            .filter_map(|at| view.rows.get(*at))
            .filter(|seen| !seen.gone);
        let mails: Vec<_> = there.map(|seen| seen.row.mail).collect();
        let from = view.folder;
        let mails_missing = mails.len() < places.len();
        if mails.is_empty() {
            return match verb {
                _ if mails_missing => self.no(&tag, "[EXPUNGEISSUED] These messages are gone"),
                Placing::Move => self.complete(&tag, "MOVE completed"),
                Placing::Copy | Placing::Append => self.complete(&tag, "COPY completed"),
            };
        }
        match verb {
            Placing::Move if to == from => self.no(&tag, "[CANNOT] They are in this folder"),
            Placing::Move => self.ask(
                Ask::Move { from, mails, to },
                Open::Placed { tag, verb, to },
            ),
            Placing::Copy | Placing::Append => self.ask(
                Ask::Copy { from, mails, to },
                Open::Placed { tag, verb, to },
            ),
        }
    }

    pub(super) fn placed(&mut self, tag: &str, verb: Placing, to: FolderId, answer: Answer) {
        let (uidvalidity, mut uids) = match answer {
            Answer::Placed { uidvalidity, uids } => (uidvalidity, uids),
            other => return self.refused(tag, other),
        };
        if verb != Placing::Append {
            uids.sort_unstable();
        }
        let mut code = Vec::new();
        if !uids.is_empty() {
            let word = if verb == Placing::Append {
                "APPENDUID"
            } else {
                "COPYUID"
            };
            code.extend_from_slice(format!("[{word} {uidvalidity} ").as_bytes());
            if verb != Placing::Append {
                put_in_order(&mut code, uids.iter().map(|(old, _)| *old));
                code.push(b' ');
            }
            put_in_order(&mut code, uids.iter().map(|(_, new)| *new));
            code.extend_from_slice(b"] ");
        }
        let is_here = self.selected.as_ref().is_some_and(|view| view.folder == to);
        match verb {
            Placing::Move => {
                // RFC 6851 section 4.3: before the messages are told to be gone.
                self.write(|out| {
                    out.extend_from_slice(b"* OK ");
                    out.extend_from_slice(&code);
                    out.extend_from_slice(b"Moved\r\n");
                });
                let highest = self
                    .enabled
                    .condstore
                    .then(|| (tag.to_owned(), "MOVE completed"));
                let last = format!("{tag} OK MOVE completed\r\n").into_bytes();
                self.refresh_after(Afterwards {
                    last,
                    expunges: Expunges::Told,
                    stored: None,
                    shown: None,
                    highest,
                });
            }
            Placing::Copy | Placing::Append => {
                let mut last = format!("{tag} OK ").into_bytes();
                last.extend_from_slice(&code);
                last.extend_from_slice(if verb == Placing::Copy {
                    b"COPY completed\r\n"
                } else {
                    b"APPEND completed\r\n"
                });
                if is_here {
                    self.refresh(last, Expunges::Told);
                } else {
                    self.done(last, Expunges::Told);
                }
            }
        }
    }
}

/// Whether what has gone may be told with such a command (RFC 9051 section 7.5.1).
pub(super) fn expunges(by: By) -> Expunges {
    match by {
        By::Sequence => Expunges::Held,
        By::Uid => Expunges::Told,
    }
}

/// Numbers in this order, those that follow each other as a range.
pub(super) fn put_in_order(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32>) {
    let mut run: Option<(u32, u32)> = None;
    let mut begun = false;
    let mut put = |(first, last): (u32, u32)| {
        if begun {
            out.push(b',');
        }
        begun = true;
        out.extend_from_slice(first.to_string().as_bytes());
        if first != last {
            out.extend_from_slice(format!(":{last}").as_bytes());
        }
    };
    for number in numbers {
        run = Some(match run {
            Some((first, last)) if last.checked_add(1) == Some(number) => (first, number),
            Some(done) => {
                put(done);
                (number, number)
            }
            None => (number, number),
        });
    }
    if let Some(done) = run {
        put(done);
    }
}
