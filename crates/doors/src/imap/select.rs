//! SELECT and EXAMINE, with CONDSTORE and QRESYNC (RFC 7162); CLOSE.

use super::command::{Access, Known, SelectOptions};
use super::folders::{Then, mailbox_id};
use super::session::{AfterExpunge, Expunges, Open, Session};
use super::sets::Ranges;
use super::telling::put_exists;
use super::types::{Answer, Ask, Folder};
use super::view::{Owes, View};

/// A folder that is being opened.
pub(super) struct Selecting {
    pub(super) tag: String,
    pub(super) folder: Folder,
    pub(super) access: Access,
    pub(super) options: SelectOptions,
}

/// Said at each SELECT of a mailbox of which a site cannot be heard.
const PARTIAL: &[u8] = b"* OK [UNAVAILABLE] Another server with this mailbox cannot be reached now: it may have more\r\n";

impl Session {
    pub(super) fn select(
        &mut self,
        tag: String,
        path: String,
        access: Access,
        options: SelectOptions,
    ) {
        if options.qresync.is_some() && !self.enabled.qresync {
            return self.fault(Some(&tag), "ENABLE QRESYNC first");
        }
        self.enabled.condstore |= options.condstore;
        // Whether or not the new one can be opened, the old one is closed (RFC 9051 section 6.3.2).
        if self.selected.take().is_some() {
            self.write(|out| {
                out.extend_from_slice(b"* OK [CLOSED] The folder before is closed\r\n")
            });
        }
        self.saved = Ranges::default();
        self.ask_folders(Then::Select {
            tag,
            path,
            access,
            options,
        });
    }

    pub(super) fn open_folder(&mut self, selecting: Selecting) {
        let ask = Ask::View {
            folder: selecting.folder.id,
            since: None,
        };
        self.ask(ask, Open::Select(selecting));
    }

    pub(super) fn select_answered(&mut self, selecting: Selecting, answer: Answer) {
        let Selecting {
            tag,
            folder,
            access,
            options,
        } = selecting;
        let news = match answer {
            Answer::News(news) => news,
            other => return self.refused(&tag, other),
        };
        let partial = news.partial;
        let mut view = View::new(folder.id, access, news);
        view.announced = view.rows.len();
        let rev2 = self.enabled.rev2;
        let keywords = view.keywords();
        let first_unseen = view.rows.iter().position(|seen| !seen.row.flags.is_seen());
        let known = options
            .qresync
            .filter(|known| known.uidvalidity == view.uidvalidity);
        self.write(|out| {
            let mut flags = String::from("(\\Answered \\Flagged \\Deleted \\Seen \\Draft");
            for keyword in &keywords {
                flags.push(' ');
                flags.push_str(keyword);
            }
            out.extend_from_slice(format!("* FLAGS {flags})\r\n").as_bytes());
            match access {
                Access::ReadWrite => out.extend_from_slice(
                    format!("* OK [PERMANENTFLAGS {flags} \\*)] Any flags may be set\r\n")
                        .as_bytes(),
                ),
                Access::ReadOnly => {
                    out.extend_from_slice(b"* OK [PERMANENTFLAGS ()] Read only\r\n")
                }
            }
            put_exists(out, &view, rev2);
            if let (Some(at), false) = (first_unseen, rev2) {
                out.extend_from_slice(
                    format!("* OK [UNSEEN {}] The first one unseen\r\n", at + 1).as_bytes(),
                );
            }
            out.extend_from_slice(
                format!(
                    "* OK [UIDVALIDITY {}] UIDs are valid\r\n* OK [UIDNEXT {}] The next UID\r\n",
                    view.uidvalidity, view.uidnext
                )
                .as_bytes(),
            );
            out.extend_from_slice(
                format!(
                    "* OK [HIGHESTMODSEQ {}] The highest\r\n* OK [MAILBOXID ({})] The folder\r\n",
                    view.highest_modseq.max(1),
                    mailbox_id(folder.id)
                )
                .as_bytes(),
            );
            if rev2 {
                out.extend_from_slice(b"* LIST () \"/\" ");
                super::names::put(out, &folder.path, super::names::Spelling::Utf8);
                out.extend_from_slice(b"\r\n");
            }
            if partial {
                // A warning (RFC 9051 section 7.1.2), with a code for programs (RFC 5530): the command is done all the same.
                out.extend_from_slice(PARTIAL);
            }
        });
        if let Some(known) = known {
            self.tell_earlier(&mut view, &known);
        }
        self.selected = Some(view);
        let last = match access {
            Access::ReadWrite => format!("{tag} OK [READ-WRITE] SELECT completed\r\n"),
            Access::ReadOnly => format!("{tag} OK [READ-ONLY] EXAMINE completed\r\n"),
        };
        self.done(last.into_bytes(), Expunges::Held);
    }

    /// What has gone, and what has changed, since the client was here: the second is told row by row.
    fn tell_earlier(&mut self, view: &mut View, known: &Known) {
        let all = Ranges::all_below(view.uidnext);
        let uids = match &known.uids {
            Some(set) => set.resolve(view.uidnext.saturating_sub(1), &Ranges::default()),
            None => all,
        };
        let gone = uids.without(view.rows.iter().map(|seen| seen.row.uid));
        if !gone.is_empty() {
            self.write(|out| {
                out.extend_from_slice(b"* VANISHED (EARLIER) ");
                gone.put(out);
                out.extend_from_slice(b"\r\n");
            });
        }
        for seen in &mut view.rows {
            if seen.row.modseq > known.modseq {
                seen.owes = Owes::Flags;
            }
        }
    }

    /// CLOSE: what is marked as deleted goes, and nothing is said of it.
    pub(super) fn close_folder(&mut self, tag: String) {
        let Some(view) = self.selected.take() else {
            return;
        };
        self.saved = Ranges::default();
        let deleted = |seen: &&super::view::Seen| !seen.gone && seen.row.flags.is_deleted();
        let mails: Vec<_> = view
            .rows
            .iter()
            .filter(deleted)
            .map(|seen| seen.row.mail)
            .collect();
        match view.access {
            Access::ReadWrite if !mails.is_empty() => self.ask(
                Ask::Expunge {
                    folder: view.folder,
                    mails,
                },
                Open::Expunge {
                    tag,
                    then: AfterExpunge::Close,
                },
            ),
            Access::ReadWrite | Access::ReadOnly => self.complete(&tag, "CLOSE completed"),
        }
    }
}
