//! Taking mail out: a mailbox becomes a Maildir with its folders, or mbox files.
//!
//! What is there already is known by the ids in file names and `From ` lines, so that an export that is run again adds
//! what is new, and nothing else is read from a server. Must never call a mail written before all of it is, under its
//! name and checked; nor remove one that is no more in the mailbox.

pub mod maildir;
pub mod mbox;

use std::io;

use grapevine_model::{Flag, FolderPath, MessageId, SpecialUse};

pub use maildir::MaildirOut;
pub use mbox::MboxOut;

/// A mail to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Its id.
    pub id: MessageId,
    /// In which folder it is.
    pub folder: FolderPath,
    /// Its date for mail programs, milliseconds since 1970.
    pub date_ms: u64,
    /// Its flags.
    pub flags: Vec<Flag>,
}

/// What is to be done about a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Its body is to be read.
    No,
    /// It is there as it should be.
    Yes,
    /// It was there, and its flags or its folder were not as they are now: they are.
    Followed,
}

/// Where mail goes.
#[derive(Debug)]
pub enum Out {
    /// A Maildir.
    Maildir(MaildirOut),
    /// mbox files.
    Mbox(MboxOut),
}

impl Out {
    /// Makes sure that a folder is there.
    ///
    /// # Errors
    /// It can't be written.
    pub fn folder(&mut self, path: &FolderPath, use_: Option<SpecialUse>) -> io::Result<()> {
        match self {
            Self::Maildir(out) => out.folder(path, use_),
            Self::Mbox(out) => out.folder(path, use_),
        }
    }

    /// Notes what is subscribed to.
    ///
    /// # Errors
    /// It can't be written.
    pub fn subscribed(&mut self, paths: &[FolderPath]) -> io::Result<()> {
        match self {
            Self::Maildir(out) => out.subscribed(paths),
            Self::Mbox(out) => out.subscribed(paths),
        }
    }

    /// Whether a mail is there; if it is, its flags and its folder follow.
    ///
    /// # Errors
    /// It can't be written.
    pub fn look(&mut self, mail: &Leaving) -> io::Result<Present> {
        match self {
            Self::Maildir(out) => out.look(mail),
            Self::Mbox(out) => out.look(mail),
        }
    }

    /// Where the next mail's octets go first.
    ///
    /// # Errors
    /// It can't be made.
    pub fn draft(&self) -> io::Result<std::path::PathBuf> {
        match self {
            Self::Maildir(out) => out.draft(),
            Self::Mbox(out) => out.draft(),
        }
    }

    /// Takes a draft, which is whole, as this mail.
    ///
    /// # Errors
    /// It can't be written.
    pub fn take(&mut self, mail: &Leaving, draft: &std::path::Path) -> io::Result<()> {
        match self {
            Self::Maildir(out) => out.take(mail, draft),
            Self::Mbox(out) => out.take(mail, draft),
        }
    }

    /// Makes all durable, and writes what is noted beside the mails.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Maildir(out) => out.finish(),
            Self::Mbox(out) => out.finish(),
        }
    }
}
