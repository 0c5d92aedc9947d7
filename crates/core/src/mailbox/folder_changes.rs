//! Folders made, deleted and renamed, and what is subscribed to.
//!
//! Must never take mails along into nothing that whoever deletes a folder has not seen in it.

use grapevine_model::{
    ErrorKind, FolderId, FolderPath, Hlc, MAX_FOLDERS, MailboxAnswer, MessageId, Refusal,
    SpecialUse,
};

use super::asks::{Place, folder_view, no_folder};
use super::cells::{self, FolderRow, message_key};
use super::changes::Changed;
use super::numberer::other_cells;
use crate::codec;
use crate::replication::push::Change;
use crate::server::Server;
use crate::tables::Damaged;

/// Mails that go with a folder, or to another one, in one request: some seconds of writing would be felt by all.
const MOST_MAILS_AT_ONCE: usize = 10_000;

fn too_large(why: String) -> Refusal {
    Refusal::new(ErrorKind::TooLarge, why)
}

impl Server {
    pub(super) fn create_folder(
        &mut self,
        place: &Place<'_>,
        path: &FolderPath,
        special_use: Option<SpecialUse>,
    ) -> Result<Changed, Damaged> {
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        if view.folders.at(path).is_some() {
            return Ok(Err(taken(path)));
        }
        if view.folders.len() >= MAX_FOLDERS {
            let why = format!("a mailbox has at most {MAX_FOLDERS} folders");
            return Ok(Err(too_large(why)));
        }
        let (folder, changes) = self.new_folder(place, path, special_use);
        let dot = self.write_mailbox(place, changes)?;
        Ok(self
            .folder_answer(place, folder)
            .map(|answer| (answer, dot)))
    }

    fn new_folder(
        &mut self,
        place: &Place<'_>,
        path: &FolderPath,
        special_use: Option<SpecialUse>,
    ) -> (FolderId, Vec<Change>) {
        let made = MessageId {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        let folder = FolderId(made.to_u128());
        let now_s = u32::try_from(self.now.wall_ms / 1_000).unwrap_or(u32::MAX);
        let view = self.mailboxes.views.get(&place.inbox);
        let validity = view.map(|view| view.folders.validity_of_new(place.inbox, path, now_s));
        let row = FolderRow {
            uid_validity: validity.unwrap_or(now_s),
            special_use,
            into: None,
        };
        // Its name first: whoever has the folder can show it.
        let changes = vec![
            Change::put(cells::folder_name_key(folder), codec::encode(path)),
            Change::put(cells::folder_key(folder), codec::encode(&row)),
        ];
        (folder, changes)
    }

    fn folder_answer(&self, place: &Place<'_>, folder: FolderId) -> Result<MailboxAnswer, Refusal> {
        let view = self.mailboxes.views.get(&place.inbox);
        let shown = view.and_then(|view| folder_view(view, place.inbox, folder));
        shown.map(MailboxAnswer::Folder).ok_or_else(no_folder)
    }

    pub(super) fn delete_folder(
        &mut self,
        place: &Place<'_>,
        folder: FolderId,
    ) -> Result<Changed, Damaged> {
        if folder == FolderId::INBOX {
            return Ok(Err(Refusal::invalid("INBOX can't be deleted")));
        }
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        let Some(shown) = view.shown.get(&folder) else {
            return Ok(Err(no_folder()));
        };
        if shown.rows.len() > MOST_MAILS_AT_ONCE {
            let why = format!(
                "the folder has more than {MOST_MAILS_AT_ONCE} mails: expunge or move them first"
            );
            return Ok(Err(too_large(why)));
        }
        let mut changes = Vec::new();
        // What this view has not shown in it stays, and is in INBOX.
        for message in shown.rows.values() {
            changes.push(Change::delete(message_key(*message)));
            if let Some(mail) = view.mails.get(message) {
                changes.extend(other_cells(*message, mail));
            }
        }
        for same in view.folders.leading_to(folder) {
            changes.push(Change::delete(cells::folder_name_key(same)));
            changes.push(Change::delete(cells::folder_key(same)));
        }
        self.done(place, changes)
    }

    pub(super) fn rename_folder(
        &mut self,
        place: &Place<'_>,
        folder: FolderId,
        to: &FolderPath,
    ) -> Result<Changed, Damaged> {
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        if folder == FolderId::INBOX {
            return self.rename_inbox(place, to);
        }
        let Some((from, _)) = view.folders.get(folder) else {
            return Ok(Err(no_folder()));
        };
        let mut changes = Vec::new();
        for (path, id) in view.folders.shown() {
            let Some(path) = path.moved(from, to) else {
                continue;
            };
            let path = match path {
                Ok(path) => path,
                Err(error) => return Ok(Err(Refusal::invalid(error.to_string()))),
            };
            let there = view.folders.at(&path);
            // What is renamed with it is no obstacle.
            let goes = |there: FolderId| {
                view.folders
                    .get(there)
                    .is_some_and(|(path, _)| path.moved(from, to).is_some())
            };
            if there.is_some_and(|there| !goes(there)) {
                return Ok(Err(taken(&path)));
            }
            changes.push(Change::put(
                cells::folder_name_key(id),
                codec::encode(&path),
            ));
        }
        let dot = self.write_mailbox(place, changes)?;
        Ok(self
            .folder_answer(place, folder)
            .map(|answer| (answer, dot)))
    }

    /// INBOX stays, and is empty; its mails are in a new folder (RFC 9051 6.3.6).
    fn rename_inbox(&mut self, place: &Place<'_>, to: &FolderPath) -> Result<Changed, Damaged> {
        let Some(view) = self.mailboxes.views.get(&place.inbox) else {
            return Ok(Err(no_folder()));
        };
        if view.folders.at(to).is_some() {
            return Ok(Err(taken(to)));
        }
        let shown = view.shown.get(&FolderId::INBOX);
        let mails: Vec<MessageId> =
            shown.map_or_else(Vec::new, |shown| shown.rows.values().copied().collect());
        if mails.len() > MOST_MAILS_AT_ONCE || view.folders.len() >= MAX_FOLDERS {
            let why = format!("INBOX has more than {MOST_MAILS_AT_ONCE} mails: move them");
            return Ok(Err(too_large(why)));
        }
        let (folder, mut changes) = self.new_folder(place, to, None);
        for message in mails {
            let key = cells::placed_key(message);
            changes.push(Change::put(key, codec::encode(&folder)));
        }
        let dot = self.write_mailbox(place, changes)?;
        Ok(self
            .folder_answer(place, folder)
            .map(|answer| (answer, dot)))
    }

    pub(super) fn subscribe(
        &mut self,
        place: &Place<'_>,
        path: &FolderPath,
    ) -> Result<Changed, Damaged> {
        let view = self.mailboxes.views.get(&place.inbox);
        let subscribed = view.map(|view| &view.folders.subscribed);
        if subscribed.is_some_and(|all| all.contains(path)) {
            return Ok(Ok((MailboxAnswer::Done, None)));
        }
        if subscribed.is_some_and(|all| all.len() >= MAX_FOLDERS) {
            let why = format!("at most {MAX_FOLDERS} folders can be subscribed to");
            return Ok(Err(too_large(why)));
        }
        let key = cells::subscribed_key(path.as_str());
        self.done(place, vec![Change::put(key, Vec::new())])
    }

    pub(super) fn unsubscribe(
        &mut self,
        place: &Place<'_>,
        path: &FolderPath,
    ) -> Result<Changed, Damaged> {
        let view = self.mailboxes.views.get(&place.inbox);
        let is_subscribed = view.is_some_and(|view| view.folders.subscribed.contains(path));
        let key = cells::subscribed_key(path.as_str());
        let changes = is_subscribed.then(|| Change::delete(key));
        self.done(place, changes.into_iter().collect())
    }
}

fn taken(path: &FolderPath) -> Refusal {
    Refusal::new(
        ErrorKind::Conflict,
        format!("there is a folder {path} already"),
    )
}
