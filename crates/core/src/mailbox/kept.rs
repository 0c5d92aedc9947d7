//! What a mailbox was, read from the rows of a server that is not running: a backup's.
//!
//! It follows from the cells as it does in a server that shows the mailbox. Must never take a row that can't be read for one that
//! is not there.

use grapevine_model::{
    BodyInfo, Cell, Flag, FolderId, FolderPath, Incarnation, ListCopy, MessageId, Name, SpaceId,
    SpecialUse,
};

use super::view::View;
use crate::codec;
use crate::registry::filling::Filling;
use crate::tables::{Damaged, Row, Table, Tables};

/// Rows read at a time.
const ROWS: usize = 4_096;

/// A mail.
#[derive(Debug, Clone)]
pub struct KeptMail {
    /// Its id.
    pub message: MessageId,
    /// In which folder.
    pub folder: FolderPath,
    /// Its flags.
    pub flags: Vec<Flag>,
    /// Its date for mail programs, milliseconds since 1970.
    pub date_ms: u64,
    /// Under which id its body is kept.
    pub body: MessageId,
    /// Measure of that.
    pub info: BodyInfo,
    /// By which list it came: its header fields are read in front of the body.
    pub list: Option<ListCopy>,
}

/// A mailbox.
#[derive(Debug, Clone)]
pub struct KeptMailbox {
    /// Its folders beside INBOX.
    pub folders: Vec<(FolderPath, Option<SpecialUse>)>,
    /// What is subscribed to.
    pub subscribed: Vec<FolderPath>,
    /// In order of their ids.
    pub mails: Vec<KeptMail>,
}

/// The mailbox of somebody; none if it was not at that server.
///
/// # Errors
/// A row can't be read.
pub fn kept_mailbox(tables: &dyn Tables, owner: &Name) -> Result<Option<KeptMailbox>, Damaged> {
    let Some(inbox) = whose(tables, owner)? else {
        return Ok(None);
    };
    let prefix = codec::space_prefix(&SpaceId::Mailbox(inbox));
    let mut view = View::default();
    let mut any = false;
    each(tables, Table::Cells, &prefix, |key, value| {
        let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
        view.learn(&key, &codec::decode::<Cell>(&value)?);
        any = true;
        Ok(())
    })?;
    if !any {
        return Ok(None);
    }
    view.folders.derive();
    let path_of = |folder: FolderId| match view.folders.get(folder) {
        Some((path, _)) => path.clone(),
        None => FolderPath::inbox(),
    };
    let mails = view.mails.iter().filter_map(|(message, mail)| {
        let content = mail.content.as_ref()?;
        let placed = mail.placed.unwrap_or(FolderId::INBOX);
        Some(KeptMail {
            message: *message,
            folder: path_of(view.folders.leads_to(placed)),
            flags: mail.flags.values().cloned().collect(),
            date_ms: content.date_ms,
            body: content.body,
            info: content.info,
            list: content.list.as_deref().cloned(),
        })
    });
    let shown = view.folders.shown().map(|(path, id)| {
        let special_use = view.folders.get(id).and_then(|(_, row)| row.special_use);
        (path.clone(), special_use)
    });
    Ok(Some(KeptMailbox {
        folders: shown.collect(),
        subscribed: view.folders.subscribed.iter().cloned().collect(),
        mails: mails.collect(),
    }))
}

/// Whose mailbox an owner's is: the registry says it if it was held there, else the mailboxes themselves.
fn whose(tables: &dyn Tables, owner: &Name) -> Result<Option<Incarnation>, Damaged> {
    let registry = owner.registry().clone();
    let prefix = codec::space_prefix(&SpaceId::Registry(registry.clone()));
    let (mut filling, mut held) = (Filling::new(registry), false);
    each(tables, Table::Cells, &prefix, |key, value| {
        let key = codec::read_cell_key(key.get(prefix.len()..).unwrap_or_default())?;
        filling.take(key, codec::decode::<Cell>(&value)?);
        held = true;
        Ok(())
    })?;
    if held {
        let database = filling.filled();
        return Ok(database.find(owner.folded()).map(|entry| entry.incarnation));
    }
    let mut found = None;
    each(tables, Table::Vectors, b"M", |key, value| {
        let row = codec::decode_space_row(&value)?;
        if let (Some(name), SpaceId::Mailbox(inbox)) = (row.owner, codec::space_of(&key)?)
            && name == *owner
        {
            found = Some(inbox);
        }
        Ok(())
    })?;
    Ok(found)
}

fn each(
    tables: &dyn Tables,
    table: Table,
    prefix: &[u8],
    mut each: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let (mut from, until) = (prefix.to_vec(), codec::after_prefix(prefix));
    loop {
        let page: Vec<Row> = tables.scan(table, &from, &until, ROWS)?;
        let is_last = page.len() < ROWS;
        if let Some((last, _)) = page.last() {
            from = [last.as_slice(), &[0]].concat();
        }
        for (key, value) in page {
            each(key, value)?;
        }
        if is_last {
            return Ok(());
        }
    }
}
