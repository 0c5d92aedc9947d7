//! A message with the place that its owner's filter has found for it: message, folder and flags in one write.
//!
//! All of it has the message's own stamp, as any deposit has: whatever its owner does with the message later stays, also when another
//! site deposits it again.

use std::collections::BTreeSet;

use grapevine_model::{
    Cell, Field, Flag, FolderId, FolderPath, Hlc, Incarnation, MAX_FLAGS_A_MAIL, MAX_FOLDERS,
    MailboxEntry, MessageId, Stamp, Usage,
};

use crate::codec;
use crate::effect::{FilterPlace, MissingFolder};
use crate::mailbox::Deposited;
use crate::mailbox::cells::{self, FolderRow, message_key};
use crate::mailbox::filter::{Sorted, filter_message_id};
use crate::mailbox::folders::Folders;
use crate::replication::push::{Change, Over};
use crate::server::Server;
use crate::tables::{Damaged, Table};

/// Mailboxes whose folders are remembered for their filters: some kilobytes each.
const MOST_REMEMBERED: usize = 1_000;
/// From here on the copies of one message are numbered, behind all that goes out.
const FIRST_COPY: u32 = 1 << 16;

impl Server {
    /// The paths of a mailbox's folders.
    pub(super) fn folder_paths(&mut self, inbox: Incarnation) -> Result<BTreeSet<String>, Damaged> {
        let folders = self.folders_of(inbox)?;
        Ok(folders.shown().map(|(path, _)| path.to_string()).collect())
    }

    fn folders_of(&mut self, inbox: Incarnation) -> Result<&Folders, Damaged> {
        if !self.filters.folders.contains_key(&inbox) {
            let space = Self::mailbox_space(inbox);
            let prefix = codec::space_prefix(&space);
            let mut folders = Folders::default();
            let until = codec::after_prefix(&prefix);
            self.each_row(Table::Cells, &prefix, &until, |key, value| {
                let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
                let is_folder = [Field::Folder.number(), Field::FolderName.number()];
                if is_folder.contains(&key.field)
                    && let Ok(cell) = codec::decode::<Cell>(&value)
                {
                    folders.learn(&key, &cell);
                }
                Ok(())
            })?;
            folders.derive();
            if self.filters.folders.len() >= MOST_REMEMBERED {
                self.filters.folders.pop_first();
            }
            self.filters.folders.insert(inbox, folders);
        }
        Ok(self.filters.folders.entry(inbox).or_default())
    }

    /// Writes a message as its filter wants it; none of the places is: nowhere.
    pub(super) fn deposit_sorted(&mut self, sorted: Sorted<'_>) -> Result<Deposited, Damaged> {
        let Sorted {
            inbox,
            owner,
            sites,
            message,
            body,
            list,
            places,
        } = sorted;
        let space = Self::mailbox_space(inbox);
        let key = message_key(message);
        // Another site may have been first.
        let present = match self.spaces.contains_key(&space) {
            true => self.cell(&space, &key)?,
            false => None,
        };
        if present.is_none() && self.before_horizon(&space, message)? {
            return Ok(Deposited::TooOld);
        }
        let mut changes = self.open_mailbox(inbox, owner, sites)?;
        if let Some(present) = present {
            self.write(&space, changes)?;
            return Ok(match present.value {
                Some(_) => Deposited::Stored(present.dot),
                None => Deposited::Deleted,
            });
        }
        let more = places
            .iter()
            .fold(Usage::default(), |sum, _| sum.plus(Usage::of(body.len)));
        if !places.is_empty()
            && let Some(full) = self.lacks_room(inbox, owner, more)?
        {
            self.write(&space, changes)?;
            return Ok(Deposited::Full(full));
        }
        let stamp = Stamp {
            time: message.time,
            origin: message.origin,
        };
        let entry = MailboxEntry {
            body,
            deposited_ms: self.now.wall_ms,
            list,
            source: None,
        };
        if places.is_empty() {
            // Deleted before it was there, so that no other site brings it.
            changes.push(Change {
                key,
                value: None,
                stamp: Some(stamp),
                over: Over::Nothing,
            });
        }
        let mut seen = BTreeSet::new();
        let mut number = 0;
        for place in places {
            let folder = self.folder_for(inbox, place, &mut changes)?;
            if !seen.insert(folder) {
                continue;
            }
            let (mail, entry) = match number {
                0 => (message, entry.clone()),
                _ => {
                    let copy = filter_message_id(message, inbox, FIRST_COPY + number);
                    let source = Some(message);
                    (
                        copy,
                        MailboxEntry {
                            source,
                            ..entry.clone()
                        },
                    )
                }
            };
            number += 1;
            put_mail(&mut changes, mail, stamp, &entry, (folder, &place.flags));
        }
        Ok(match self.write(&space, changes)? {
            Some(dot) => Deposited::Stored(dot),
            None => Deposited::Deleted,
        })
    }

    /// The folder that a filter names: made if it wants that, else the inbox where there is none.
    fn folder_for(
        &mut self,
        inbox: Incarnation,
        place: &FilterPlace,
        changes: &mut Vec<Change>,
    ) -> Result<FolderId, Damaged> {
        let now_s = u32::try_from(self.now.wall_ms / 1_000).unwrap_or(u32::MAX);
        let folders = self.folders_of(inbox)?;
        if let Some(folder) = folders.at(&place.path) {
            return Ok(folder);
        }
        let has_room = folders.len() < MAX_FOLDERS;
        let uid_validity = folders.validity_of_new(inbox, &place.path, now_s);
        match place.if_missing {
            MissingFolder::Create if has_room => {}
            MissingFolder::Create | MissingFolder::Inbox => return Ok(FolderId::INBOX),
        }
        let made = MessageId {
            time: self.tick(Hlc(0)),
            origin: self.clock.origin(),
        };
        let folder = FolderId(made.to_u128());
        let row = FolderRow {
            uid_validity,
            special_use: None,
            into: None,
        };
        let name = codec::encode::<FolderPath>(&place.path);
        changes.push(Change::put(cells::folder_name_key(folder), name));
        changes.push(Change::put(cells::folder_key(folder), codec::encode(&row)));
        // A folder that is seen is found by those who show only what is subscribed to.
        let subscribed = cells::subscribed_key(place.path.as_str());
        changes.push(Change::put(subscribed, Vec::new()));
        Ok(folder)
    }
}

fn put_mail(
    changes: &mut Vec<Change>,
    mail: MessageId,
    stamp: Stamp,
    entry: &MailboxEntry,
    (folder, flags): (FolderId, &[Flag]),
) {
    let mut put = |key, value| {
        changes.push(Change {
            key,
            value: Some(value),
            stamp: Some(stamp),
            over: Over::Nothing,
        });
    };
    // Where it is and what it is marked with come first: whoever has the mail has them.
    if folder != FolderId::INBOX {
        put(cells::placed_key(mail), codec::encode(&folder));
    }
    let mut seen = BTreeSet::new();
    for flag in flags.iter().take(MAX_FLAGS_A_MAIL) {
        if seen.insert(flag.folded()) {
            put(cells::flag_key(mail, &flag.folded()), codec::encode(flag));
        }
    }
    put(message_key(mail), codec::encode(entry));
}
