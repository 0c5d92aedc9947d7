//! Pages of folders' views that were looked at a moment ago, so that reading a thousand mails of a folder does not show the folder a
//! thousand times.
//!
//! Must never give one speaker another one's page, nor say that a mail is *not* there: what is missing from a remembered page is asked for
//! anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grapevine_model::{
    FolderId, MailPlace, MailRow, MailboxAnswer, MailboxReply, MessageId, Name, ServerName, Speaker,
};

/// A mail that was expunged, or a right that was taken away, is read no more after this.
const FRESH: Duration = Duration::from_secs(2);
/// Readers at work at the same time on one server, about; a page has at most `MAX_ROWS_A_PAGE` rows.
const KEPT_MAX: usize = 32;

/// The pages.
#[derive(Default)]
pub(crate) struct RecentViews {
    kept: Mutex<VecDeque<Kept>>,
}

/// A mail, and who has shown it.
pub(crate) struct Found {
    /// The mail.
    pub(crate) row: MailRow,
    /// Who has its body.
    pub(crate) sites: Vec<ServerName>,
}

struct Kept {
    since: Instant,
    speaker: Speaker,
    owner: Name,
    folder: FolderId,
    by: ServerName,
    /// In order of their numbers.
    rows: Arc<[MailRow]>,
}

impl RecentViews {
    /// A mail of a fresh page.
    pub(crate) fn with(
        &self,
        speaker: &Speaker,
        owner: &Name,
        message: MessageId,
        place: MailPlace,
    ) -> Option<Found> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.since.elapsed() < FRESH);
        kept.iter()
            .filter(|one| {
                one.folder == place.folder && one.speaker == *speaker && one.owner == *owner
            })
            .find_map(|one| found(&one.rows, &one.by, message, place.uid))
    }

    /// Remembers a page, and gives a mail of it.
    pub(crate) fn keep(
        &self,
        (speaker, owner): (Speaker, Name),
        reply: MailboxReply,
        message: MessageId,
        place: MailPlace,
    ) -> Option<Found> {
        let MailboxAnswer::View(view) = reply.answer else {
            return None;
        };
        let rows: Arc<[MailRow]> = view.rows.into();
        let wanted = found(&rows, &reply.by, message, place.uid);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Kept {
            since: Instant::now(),
            speaker,
            owner,
            folder: place.folder,
            by: reply.by,
            rows,
        });
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        wanted
    }
}

fn found(rows: &[MailRow], by: &ServerName, message: MessageId, uid: u32) -> Option<Found> {
    let at = rows.binary_search_by_key(&uid, |row| row.uid).ok()?;
    let row = rows.get(at).filter(|row| row.message == message)?.clone();
    Some(Found {
        row,
        sites: vec![by.clone()],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use grapevine_model::{Extent, Incarnation, MailboxView, Mark};

    use super::*;

    fn row(uid: u32) -> MailRow {
        let message = MessageId::from_u128(uid.into());
        MailRow {
            uid,
            message,
            body: message,
            len: 1,
            date_ms: 0,
            mark: Mark(1),
            flags: Vec::new(),
            list: None,
        }
    }

    #[test]
    fn a_page_is_its_speakers_alone_and_a_number_alone_opens_nothing() {
        let views = RecentViews::default();
        let owner: Name = "needham@pa.example".parse().unwrap();
        let needham = Speaker::Individual {
            name: owner.clone(),
            incarnation: Incarnation(7),
        };
        let folder = FolderId(5);
        let at = |uid| MailPlace { folder, uid };
        let id = |n: u128| MessageId::from_u128(n);
        let reply = MailboxReply {
            by: "s1".parse().unwrap(),
            partial: false,
            copies: 0,
            answer: MailboxAnswer::View(MailboxView {
                folder,
                extent: Extent::All,
                rows: vec![row(2), row(5), row(9)],
                vanished: Vec::new(),
                uid_validity: 1,
                uid_next: 10,
                mark: Mark(1),
                next: None,
            }),
        };
        let kept = views.keep((needham.clone(), owner.clone()), reply, id(5), at(5));
        assert_eq!(kept.unwrap().row.uid, 5);
        let with = |speaker: &Speaker, owner: &Name, message, place| {
            views.with(speaker, owner, message, place).is_some()
        };
        assert!(with(&needham, &owner, id(9), at(9)));
        assert!(!with(&needham, &owner, id(8), at(9)), "another mail");
        assert!(!with(&needham, &owner, id(8), at(8)));
        let elsewhere = MailPlace {
            folder: FolderId(6),
            uid: 9,
        };
        assert!(!with(&needham, &owner, id(9), elsewhere));
        assert!(!with(&Speaker::Anonymous, &owner, id(9), at(9)));
        let other: Name = "birrell@pa.example".parse().unwrap();
        assert!(!with(&needham, &other, id(9), at(9)));
    }
}
