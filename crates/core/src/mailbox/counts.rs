//! How many mails of each folder are unseen or deleted, and their octets: counted with each mail that is settled, so that a
//! list of all folders walks none of them.
//!
//! Must never differ from what walking the mails would give: what a mail counts for is remembered, and taken back as it was.

use std::collections::BTreeMap;

use grapevine_model::{FolderId, MessageId};

use super::view::Mail;

/// What is counted of a folder, or what one mail counts for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) unseen: u32,
    pub(super) deleted: u32,
    pub(super) octets: u64,
}

/// The counts of a mailbox that is in memory.
#[derive(Debug, Default)]
pub(super) struct Counts {
    folders: BTreeMap<FolderId, Counted>,
    mails: BTreeMap<MessageId, (FolderId, Counted)>,
}

impl Counts {
    pub(super) fn of(&self, folder: FolderId) -> Counted {
        self.folders.get(&folder).copied().unwrap_or_default()
    }

    /// A mail is now as it is; none where there is nothing left of it.
    pub(super) fn count(&mut self, message: MessageId, mail: Option<&Mail>) {
        let now = mail.and_then(|mail| {
            let (folder, _) = mail.shown?;
            let counted = Counted {
                unseen: u32::from(!mail.has_flag("\\seen")),
                deleted: u32::from(mail.has_flag("\\deleted")),
                octets: mail.content.as_ref()?.len,
            };
            Some((folder, counted))
        });
        let before = match now {
            Some(now) => self.mails.insert(message, now),
            None => self.mails.remove(&message),
        };
        if before == now {
            return;
        }
        if let Some((folder, less)) = before
            && let Some(sum) = self.folders.get_mut(&folder)
        {
            sum.unseen = sum.unseen.saturating_sub(less.unseen);
            sum.deleted = sum.deleted.saturating_sub(less.deleted);
            sum.octets = sum.octets.saturating_sub(less.octets);
            if *sum == Counted::default() {
                self.folders.remove(&folder);
            }
        }
        if let Some((folder, more)) = now {
            let sum = self.folders.entry(folder).or_default();
            sum.unseen = sum.unseen.saturating_add(more.unseen);
            sum.deleted = sum.deleted.saturating_add(more.deleted);
            sum.octets = sum.octets.saturating_add(more.octets);
        }
    }
}
