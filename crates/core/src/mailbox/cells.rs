//! The cells of a mailbox beside its messages: what they are called and what stands in them.
//!
//! docs/mailboxes.md says for each of them how it merges. A value that can't be read is damage, never a default.

use grapevine_model::{
    CellKey, Field, FolderId, MailboxEntry, MessageId, OriginId, ServerName, SpecialUse,
};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::tables::Damaged;

/// The value of a `Folder` cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderRow {
    pub(crate) uid_validity: u32,
    pub(crate) special_use: Option<SpecialUse>,
    /// It was found to be the same as this earlier one, and all that is put into it is there.
    pub(crate) into: Option<FolderId>,
}

/// The value of a `UidBlock` cell: numbers are given out in it by one life of one server's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRow {
    pub(crate) owner: OriginId,
    pub(crate) server: ServerName,
    /// The first number, counted within the block, that was never given out.
    pub(crate) next: u32,
    /// The highest block that was known when this one was opened, and up to where its numbers were.
    pub(crate) prev: Option<(u32, u32)>,
    /// Lower blocks of which less was known than whoever opened a block between them and this one knew.
    pub(crate) less: Vec<(u32, u32)>,
}

/// The value of a `Uid` cell: a number counts only while the mail is in that folder.
pub(crate) type UidRow = (FolderId, u32);

fn key(item: u128, field: Field, element: Vec<u8>) -> CellKey {
    CellKey {
        item,
        field: field.number(),
        element,
    }
}

pub(super) fn message_key(message: MessageId) -> CellKey {
    key(message.to_u128(), Field::Message, Vec::new())
}

pub(super) fn placed_key(message: MessageId) -> CellKey {
    key(message.to_u128(), Field::Placed, Vec::new())
}

pub(super) fn flag_key(message: MessageId, folded: &str) -> CellKey {
    key(message.to_u128(), Field::Flag, folded.as_bytes().to_vec())
}

pub(super) fn uid_key(message: MessageId) -> CellKey {
    key(message.to_u128(), Field::Uid, Vec::new())
}

pub(super) fn block_key(block: u32) -> CellKey {
    key(0, Field::UidBlock, block.to_be_bytes().to_vec())
}

/// Which block a `UidBlock` cell is about.
pub(super) fn block_of(key: &CellKey) -> Result<u32, Damaged> {
    let element = key.element.as_slice().try_into();
    element
        .map(u32::from_be_bytes)
        .map_err(|_| Damaged("a block of numbers has no number itself".into()))
}

pub(super) fn uid_next_key(folder: FolderId, by: &ServerName) -> CellKey {
    key(folder.0, Field::UidNext, by.as_str().as_bytes().to_vec())
}

pub(super) fn folder_key(folder: FolderId) -> CellKey {
    key(folder.0, Field::Folder, Vec::new())
}

pub(super) fn folder_name_key(folder: FolderId) -> CellKey {
    key(folder.0, Field::FolderName, Vec::new())
}

pub(super) fn subscribed_key(path: &str) -> CellKey {
    key(0, Field::Subscribed, path.as_bytes().to_vec())
}

/// Under which id the body of a mail is kept, as its `Message` cell says.
pub(crate) fn body_of(message: MessageId, value: &[u8]) -> Result<MessageId, Damaged> {
    let MailboxEntry { source, .. } = codec::decode_mailbox_entry(value)?;
    Ok(source.unwrap_or(message))
}

/// The same for a cell: none where it is a tombstone, or can't be read.
pub(crate) fn body_of_cell(message: MessageId, value: Option<&Vec<u8>>) -> Option<MessageId> {
    body_of(message, value?).ok()
}
