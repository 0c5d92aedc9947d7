//! Mailboxes with their folders: seen, filled, read, at whichever server can.
//!
//! A mail that is appended has its id before the first server is tried, so that a try at another server is the same
//! mail. Must never take a partial answer for a whole one: whoever asks is told.

use grapevine_model::{
    BodyInfo, ErrorKind, Extent, Flag, FolderId, FolderPath, FolderView, MailPlace, MailRow,
    MailboxAnswer, MailboxAsk, MessageId, Name, Refusal, SpecialUse,
};
use tokio::io::AsyncWrite;

use crate::body::BodySource;
use crate::inbox::{ListFields, ReadError, odd};
use crate::submit::SubmitError;
use crate::user::GrapevineUser;

/// Pages of one folder at most: five million mails.
const PAGES_MAX: usize = 1_000;
/// How often a folder is looked at again that went to another server between two pages.
const VIEWS_MAX: usize = 3;

/// All folders of a mailbox.
#[derive(Debug, Clone)]
pub struct Folders {
    /// In order of their paths.
    pub folders: Vec<FolderView>,
    /// Paths that are subscribed to.
    pub subscribed: Vec<FolderPath>,
    /// Whether a site that could not be reached may have more.
    pub partial: bool,
}

/// All mails of a folder.
#[derive(Debug, Clone)]
pub struct FolderMails {
    /// In order of their numbers.
    pub rows: Vec<MailRow>,
    /// Whether a site that could not be reached may have more.
    pub partial: bool,
}

/// A mail for a folder.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Into which folder.
    pub folder: FolderId,
    /// Its id, drawn by whoever brings it.
    pub id: MessageId,
    /// Measure of its body.
    pub info: BodyInfo,
    /// Its flags.
    pub flags: Vec<Flag>,
    /// Its date for mail programs; none for now.
    pub date_ms: Option<u64>,
}

impl GrapevineUser {
    /// All folders.
    pub async fn folders(&self, owner: &Name) -> Result<Folders, Refusal> {
        let reply = self.mailbox(owner, MailboxAsk::Folders).await?;
        match reply.answer {
            MailboxAnswer::Folders {
                folders,
                subscribed,
            } => Ok(Folders {
                folders,
                subscribed,
                partial: reply.partial,
            }),
            _ => Err(odd("folders")),
        }
    }

    /// All mails of a folder, in as many pages as it has.
    pub async fn folder_mails(
        &self,
        owner: &Name,
        folder: FolderId,
    ) -> Result<FolderMails, Refusal> {
        for _ in 0..VIEWS_MAX {
            if let Some(mails) = self.all_pages(owner, folder).await? {
                return Ok(mails);
            }
        }
        Err(Refusal::unavailable(
            "the mailbox goes from server to server; try again later",
        ))
    }

    /// None when another server has shown a later page: its numbers may be others.
    async fn all_pages(
        &self,
        owner: &Name,
        folder: FolderId,
    ) -> Result<Option<FolderMails>, Refusal> {
        let mut all = FolderMails {
            rows: Vec::new(),
            partial: false,
        };
        let (mut after, mut by) = (0, None);
        for _ in 0..PAGES_MAX {
            let ask = MailboxAsk::View {
                folder,
                since: None,
                after,
            };
            let reply = self.mailbox(owner, ask).await?;
            let MailboxAnswer::View(view) = reply.answer else {
                return Err(odd("a folder"));
            };
            if view.extent != Extent::All || by.get_or_insert(reply.by.clone()) != &reply.by {
                return Ok(None);
            }
            all.partial |= reply.partial;
            all.rows.extend(view.rows);
            match view.next.filter(|next| *next > after) {
                Some(next) => after = next,
                None => return Ok(Some(all)),
            }
        }
        Err(Refusal::unavailable("the folder has no end"))
    }

    /// A folder by its path, made if it is not there.
    pub async fn make_folder(
        &self,
        owner: &Name,
        path: &FolderPath,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderId, Refusal> {
        let ask = MailboxAsk::CreateFolder {
            path: path.clone(),
            special_use,
        };
        let refusal = match self.mailbox(owner, ask).await {
            Ok(reply) => match reply.answer {
                MailboxAnswer::Folder(folder) => return Ok(folder.folder),
                _ => odd("a new folder"),
            },
            Err(refusal) => refusal,
        };
        // It may be there, by this very try or somebody else's.
        let folders = self.folders(owner).await?.folders;
        let there = folders.iter().find(|folder| folder.path == *path);
        match there {
            Some(folder) => Ok(folder.folder),
            None => Err(refusal),
        }
    }

    /// Puts a mail into a folder. Doing it again under the same id is doing it once.
    ///
    /// # Errors
    /// Of kind `Conflict` when it was there and its owner has expunged it since.
    pub async fn append_mail(
        &self,
        owner: &Name,
        mail: &NewMail,
        body: &BodySource,
    ) -> Result<(), SubmitError> {
        let ask = MailboxAsk::Append {
            folder: mail.folder,
            message: mail.id,
            body: mail.info,
            flags: mail.flags.clone(),
            date_ms: mail.date_ms,
        };
        self.append(owner, ask, body).await.map(drop)
    }

    /// Reads the body of a mail of any folder into a writer, as [`GrapevineUser::read_body`] does.
    ///
    /// # Errors
    /// No server could give it, or it can't be written.
    pub async fn read_mail<W: AsyncWrite + Unpin>(
        &self,
        owner: &Name,
        folder: FolderId,
        mail: &MailRow,
        to: &mut W,
    ) -> Result<BodyInfo, ReadError> {
        let place = MailPlace {
            folder,
            uid: mail.uid,
        };
        self.read_body_at(owner, mail.message, Some(place), ListFields::Written, to)
            .await
    }

    /// Shows a path to mail programs that show what was chosen.
    pub async fn subscribe(&self, owner: &Name, path: &FolderPath) -> Result<(), Refusal> {
        let ask = MailboxAsk::Subscribe { path: path.clone() };
        match self.mailbox(owner, ask).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.kind == ErrorKind::Conflict => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}
