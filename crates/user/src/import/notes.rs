//! What an export writes beside the mails, since Maildir and mbox have no place for it, and an import reads again.
//!
//! It is for Grapevine alone: other programs pass it over, and without it the mails are still there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use grapevine_model::{Flag, FolderPath, MessageId, SpecialUse};
use serde::{Deserialize, Serialize};

/// In the folder of each Maildir.
pub(crate) const FOLDER_FILE: &str = "grapevine-folder.json";
/// In the outermost folder.
pub(crate) const MAILBOX_FILE: &str = "grapevine-mailbox.json";
/// Beside each mbox: after its name.
pub(crate) const MBOX_NOTES: &str = ".grapevine.jsonl";
/// A longer file is none of ours.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderNotes {
    /// Where it is.
    pub(crate) path: FolderPath,
    /// What for.
    #[serde(default)]
    pub(crate) special_use: Option<SpecialUse>,
    /// Flags of mails that letters can't say.
    #[serde(default)]
    pub(crate) flags: BTreeMap<MessageId, Vec<Flag>>,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct MailboxNotes {
    /// What is subscribed to.
    pub(crate) subscribed: Vec<FolderPath>,
    /// Folders, in mboxes, by their files' names.
    #[serde(default)]
    pub(crate) folders: BTreeMap<String, FolderNotes>,
}

/// A mail in an mbox, a line each; a later line about the same one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MboxNote {
    /// Its id.
    pub(crate) id: MessageId,
    /// Its flags.
    pub(crate) flags: Vec<Flag>,
    /// Its date.
    pub(crate) date_ms: u64,
    /// Up to where the file was whole after it.
    pub(crate) end: u64,
    /// Whether its last line had no end, and was given one.
    #[serde(default)]
    pub(crate) unended: bool,
}

/// Reads a file of notes; none where there is none.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<Option<T>> {
    match fs::metadata(path) {
        Ok(file) if file.len() > MOST_BYTES => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let text = fs::read(path)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    })
}

/// The notes beside an mbox: the last of each mail. A torn last line counts as not written.
pub(crate) fn mbox_notes(mbox: &Path) -> io::Result<BTreeMap<MessageId, MboxNote>> {
    let text = match fs::read_to_string(mbox_notes_file(mbox)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let notes = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let notes = notes.filter_map(|line| serde_json::from_str::<MboxNote>(line).ok());
    Ok(notes.map(|note| (note.id, note)).collect())
}

/// Where they are.
pub(crate) fn mbox_notes_file(mbox: &Path) -> std::path::PathBuf {
    let mut name = mbox.as_os_str().to_owned();
    name.push(MBOX_NOTES);
    name.into()
}
