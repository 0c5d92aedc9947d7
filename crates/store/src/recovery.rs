//! What a crash may leave behind, and its removal when the store opens.
//!
//! Never walks all bodies: what could be left over is written down. An *intent* in the spool names a body file that
//! is about to be owned; a row in the trash names one that no longer is. So the time to open does not depend on
//! how much mail there is. Nothing the index names is ever removed.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use crate::contract::Damaged;
use crate::engine::{Change, Changes, Engine, Part};
use crate::error::{OpenError, open_io};
use crate::folder::{Folder, remove_if_there};
use crate::index::{BodyFile, BodyRow};

const INTENT_SUFFIX: &str = ".adopting";
/// Rows of the trash read at a time.
const TRASH_PAGE: usize = 1_000;

/// Says in the spool that a body file is about to appear; to be removed when the batch that names it is durable.
pub(crate) fn write_intent(folder: &Folder, file: &BodyFile) -> io::Result<PathBuf> {
    let path = intent_path(folder, file);
    File::create(&path)?;
    Ok(path)
}

/// Whether a commit that will own this body file is under way.
pub(crate) fn has_intent(folder: &Folder, file: &BodyFile) -> bool {
    intent_path(folder, file).exists()
}

fn intent_path(folder: &Folder, file: &BodyFile) -> PathBuf {
    folder
        .spool()
        .join(format!("{}{INTENT_SUFFIX}", file.name()))
}

/// Removes what no row names. Gives the changes that empty the trash, to go with the next commit.
pub(crate) fn clear_leftovers(folder: &Folder, engine: &Engine) -> Result<Changes, OpenError> {
    fs::create_dir_all(folder.bodies()).map_err(open_io("create the folder of bodies"))?;
    fs::create_dir_all(folder.spool()).map_err(open_io("create the spool"))?;
    clear_spool(folder, engine)?;
    clear_trash(folder, engine)
}

/// Whether the index names this file.
pub(crate) fn is_owned(engine: &Engine, file: &BodyFile) -> Result<bool, Damaged> {
    let message = file.message();
    let Some(row) = engine.get(Part::Bodies, &message.to_bytes())? else {
        return Ok(false);
    };
    Ok(BodyRow::decode(message, &row)?.file(message).as_ref() == Some(file))
}

fn clear_spool(folder: &Folder, engine: &Engine) -> Result<(), OpenError> {
    let entries = fs::read_dir(folder.spool()).map_err(open_io("list the spool"))?;
    for entry in entries {
        let entry = entry.map_err(open_io("list the spool"))?;
        let intended = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_suffix(INTENT_SUFFIX))
            .and_then(BodyFile::parse);
        if let Some(file) = intended {
            remove_unowned(folder, engine, &file)?;
        }
        remove_if_there(&entry.path()).map_err(open_io("remove a file from the spool"))?;
    }
    Ok(())
}

fn clear_trash(folder: &Folder, engine: &Engine) -> Result<Changes, OpenError> {
    let mut emptied = Changes::new();
    let mut from = Vec::new();
    loop {
        let page = engine
            .scan(Part::Trash, &from, None, TRASH_PAGE)
            .map_err(|e| OpenError::Damaged(e.0))?;
        let Some((last, _)) = page.last() else {
            return Ok(emptied);
        };
        from = last.clone();
        from.push(0);
        for (name, _) in page {
            if let Some(file) = std::str::from_utf8(&name).ok().and_then(BodyFile::parse) {
                remove_unowned(folder, engine, &file)?;
            }
            emptied.insert((Part::Trash, name), Change::Delete);
        }
    }
}

fn remove_unowned(folder: &Folder, engine: &Engine, file: &BodyFile) -> Result<(), OpenError> {
    if is_owned(engine, file).map_err(|e| OpenError::Damaged(e.0))? {
        return Ok(());
    }
    remove_if_there(&folder.body(file)).map_err(open_io("remove a body nobody owns"))
}
