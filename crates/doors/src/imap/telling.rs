//! What the client is told beside its answers: EXPUNGE or VANISHED, EXISTS, changed flags (RFC 9051 section 7.5); step by step, so that
//! a folder in which everything has changed never stands whole in memory.

use super::session::{Afterwards, Expunges, Open, Running, Session};
use super::sets::Ranges;
use super::types::{Answer, Ask, Reason};
use super::view::{Owes, View};

/// How far the news have been told.
pub(super) struct Telling {
    stage: Stage,
    expunges: Expunges,
    /// Written at the end.
    last: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Rows from here down.
    Gone(usize),
    Exists,
    /// Rows from here up.
    Flags(usize),
}

impl Session {
    /// Ends a command with all news that there are.
    pub(super) fn done_fresh(&mut self, tag: &str, text: &str) {
        let last = format!("{tag} OK {text}\r\n").into_bytes();
        match &self.selected {
            None => self.write(|out| out.extend_from_slice(&last)),
            Some(_) => self.refresh(last, Expunges::Told),
        }
    }

    /// Ends a command with what news are at hand; asks for them only if there are said to be some.
    pub(super) fn done(&mut self, last: Vec<u8>, expunges: Expunges) {
        match &self.selected {
            None => self.write(|out| out.extend_from_slice(&last)),
            Some(view) if view.stale => self.refresh(last, expunges),
            Some(_) => self.tell_from_start(last, expunges),
        }
    }

    pub(super) fn refresh(&mut self, last: Vec<u8>, expunges: Expunges) {
        self.refresh_after(Afterwards {
            last,
            expunges,
            stored: None,
            shown: None,
            highest: None,
        });
    }

    pub(super) fn refresh_after(&mut self, afterwards: Afterwards) {
        match &mut self.selected {
            None => self.write(|out| out.extend_from_slice(&afterwards.last)),
            Some(view) => {
                // What changes from here on is asked for again.
                view.stale = false;
                let ask = Ask::View {
                    folder: view.folder,
                    since: Some(view.mark),
                };
                self.ask(ask, Open::Refresh(Box::new(afterwards)));
            }
        }
    }

    pub(super) fn refreshed(&mut self, afterwards: Afterwards, answer: Answer) {
        let Some(view) = &mut self.selected else {
            return self.write(|out| out.extend_from_slice(&afterwards.last));
        };
        match answer {
            Answer::News(news) if news.uidvalidity == view.uidvalidity => {
                view.apply(news, afterwards.stored.as_ref());
            }
            Answer::News(_) => return self.bye("The folder has been made anew: open it again"),
            Answer::No(refusal) if refusal.reason == Reason::NoSuchFolder => {
                return self.bye("The folder has been deleted");
            }
            Answer::No(refusal)
                if matches!(refusal.reason, Reason::Credentials | Reason::NotAllowed) =>
            {
                return self.bye("[AUTHENTICATIONFAILED] The login does not hold any more");
            }
            // What is new can't be told now; the command's own work is done. In IDLE the shell says when to ask again.
            _ => {}
        }
        let mut last = afterwards.last;
        if let Some(view) = &mut self.selected {
            if let Some(shown) = &afterwards.shown {
                let places: Vec<usize> = view.places_of_uids(shown).collect();
                for at in places {
                    if let Some(seen) = view.rows.get_mut(at) {
                        seen.owes = Owes::Flags;
                    }
                }
            }
            if let Some((tag, text)) = afterwards.highest {
                last = format!(
                    "{tag} OK [HIGHESTMODSEQ {}] {text}\r\n",
                    view.highest_modseq.max(1)
                )
                .into_bytes();
            }
        }
        self.tell_from_start(last, afterwards.expunges);
    }

    fn tell_from_start(&mut self, last: Vec<u8>, expunges: Expunges) {
        let rows = self.selected.as_ref().map_or(0, |view| view.announced);
        self.running = Some(Running::Tell(Telling {
            stage: Stage::Gone(rows),
            expunges,
            last,
        }));
    }

    pub(super) fn tell(&mut self, mut telling: Telling) {
        let room = self.room();
        let enabled = self.enabled;
        let Some(view) = &mut self.selected else {
            return self.write(|out| out.extend_from_slice(&telling.last));
        };
        let mut out = Vec::new();
        loop {
            if out.len() >= room {
                break;
            }
            telling.stage = match telling.stage {
                Stage::Gone(_) if telling.expunges == Expunges::Held || !view.has_gone() => {
                    Stage::Exists
                }
                Stage::Gone(_) if enabled.qresync => {
                    let known = view.rows.get(..view.announced).unwrap_or_default();
                    let gone = Ranges::of_numbers(
                        known
                            .iter()
                            .filter(|seen| seen.gone)
                            .map(|seen| seen.row.uid),
                    );
                    if !gone.is_empty() {
                        out.extend_from_slice(b"* VANISHED ");
                        gone.put(&mut out);
                        out.extend_from_slice(b"\r\n");
                    }
                    view.forget_gone();
                    Stage::Exists
                }
                Stage::Gone(0) => {
                    view.forget_gone();
                    Stage::Exists
                }
                // From the end: no number moves before it has been told.
                Stage::Gone(number) => {
                    if view.rows.get(number - 1).is_some_and(|seen| seen.gone) {
                        out.extend_from_slice(format!("* {number} EXPUNGE\r\n").as_bytes());
                    }
                    Stage::Gone(number - 1)
                }
                Stage::Exists => {
                    if view.announced != view.rows.len() {
                        view.announced = view.rows.len();
                        put_exists(&mut out, view, enabled.rev2);
                    }
                    Stage::Flags(0)
                }
                Stage::Flags(at) => match view.rows.get_mut(at) {
                    Some(seen) => {
                        let owes = std::mem::replace(&mut seen.owes, Owes::Nothing);
                        let number = at + 1;
                        let told = match owes {
                            _ if seen.gone => None,
                            Owes::Nothing => None,
                            Owes::ModSeq if enabled.condstore => Some(Vec::new()),
                            Owes::ModSeq => None,
                            Owes::Flags => {
                                let mut flags = b"FLAGS ".to_vec();
                                seen.row.flags.put(&mut flags);
                                Some(flags)
                            }
                        };
                        if let Some(flags) = told {
                            out.extend_from_slice(
                                format!("* {number} FETCH (UID {}", seen.row.uid).as_bytes(),
                            );
                            if !flags.is_empty() {
                                out.push(b' ');
                                out.extend_from_slice(&flags);
                            }
                            if enabled.condstore {
                                out.extend_from_slice(
                                    format!(" MODSEQ ({})", seen.row.modseq).as_bytes(),
                                );
                            }
                            out.extend_from_slice(b")\r\n");
                        }
                        Stage::Flags(at + 1)
                    }
                    None => {
                        out.extend_from_slice(&telling.last);
                        self.write(|all| all.extend_from_slice(&out));
                        return;
                    }
                },
            };
        }
        self.write(|all| all.extend_from_slice(&out));
        self.running = Some(Running::Tell(telling));
    }
}

pub(super) fn put_exists(out: &mut Vec<u8>, view: &View, rev2: bool) {
    out.extend_from_slice(format!("* {} EXISTS\r\n", view.announced).as_bytes());
    if !rev2 {
        out.extend_from_slice(b"* 0 RECENT\r\n");
    }
}
