//! What a mail program does in a mailbox, on the wire.

use grapevine_model::{
    CopiedMail, Extent, Flag, FlagChange, FlaggedMail, FolderId, FolderView, MAX_FLAGS_A_MAIL,
    MAX_MAILS_AN_ASK, MailRow, MailboxAnswer, MailboxAsk, MailboxReply, MailboxView, Mark,
    MessageId, Name, Quota, SpecialUse, Usage,
};

use super::view::{body_of, other_body};
use super::{
    Wire, all, all_parsed, chosen, enumerated, id_bytes, ids_bytes, message_id, message_ids, name,
    need, number, parsed, server, small, texts,
};
use crate::v1;
use crate::wire::WireError;

fn folder_bytes(folder: FolderId) -> Vec<u8> {
    folder.0.to_be_bytes().to_vec()
}

fn folder(bytes: &[u8]) -> Wire<FolderId> {
    number(bytes).map(FolderId)
}

/// The mails of an ask: no more than one commit has room for.
fn mails(list: &[Vec<u8>]) -> Wire<Vec<MessageId>> {
    match list.len() <= MAX_MAILS_AN_ASK {
        true => message_ids(list),
        false => Err(WireError::invalid(format!(
            "at most {MAX_MAILS_AN_ASK} mails at once"
        ))),
    }
}

fn flags(list: &[String]) -> Wire<Vec<Flag>> {
    match list.len() <= MAX_FLAGS_A_MAIL {
        true => all_parsed(list),
        false => Err(WireError::invalid(format!(
            "at most {MAX_FLAGS_A_MAIL} flags"
        ))),
    }
}

fn encode_use(special_use: Option<SpecialUse>) -> i32 {
    let wired = match special_use {
        None => v1::SpecialUse::Unspecified,
        Some(SpecialUse::Archive) => v1::SpecialUse::Archive,
        Some(SpecialUse::Drafts) => v1::SpecialUse::Drafts,
        Some(SpecialUse::Important) => v1::SpecialUse::Important,
        Some(SpecialUse::Junk) => v1::SpecialUse::Junk,
        Some(SpecialUse::Sent) => v1::SpecialUse::Sent,
        Some(SpecialUse::Trash) => v1::SpecialUse::Trash,
    };
    wired.into()
}

fn decode_use(number: i32) -> Wire<Option<SpecialUse>> {
    Ok(match enumerated(number, "use of a folder")? {
        v1::SpecialUse::Unspecified => None,
        v1::SpecialUse::Archive => Some(SpecialUse::Archive),
        v1::SpecialUse::Drafts => Some(SpecialUse::Drafts),
        v1::SpecialUse::Important => Some(SpecialUse::Important),
        v1::SpecialUse::Junk => Some(SpecialUse::Junk),
        v1::SpecialUse::Sent => Some(SpecialUse::Sent),
        v1::SpecialUse::Trash => Some(SpecialUse::Trash),
    })
}

fn encode_change(change: FlagChange) -> i32 {
    let wired = match change {
        FlagChange::Add => v1::FlagChange::Add,
        FlagChange::Remove => v1::FlagChange::Remove,
        FlagChange::Replace => v1::FlagChange::Replace,
    };
    wired.into()
}

fn decode_change(number: i32) -> Wire<FlagChange> {
    match enumerated(number, "change of flags")? {
        v1::FlagChange::Unspecified => Err(WireError::invalid("a change of flags that is none")),
        v1::FlagChange::Add => Ok(FlagChange::Add),
        v1::FlagChange::Remove => Ok(FlagChange::Remove),
        v1::FlagChange::Replace => Ok(FlagChange::Replace),
    }
}

pub(super) fn encode_mailbox_ask(name: &Name, ask: &MailboxAsk) -> v1::MailboxAsk {
    use v1::mailbox_ask::Ask;
    let to = |from: FolderId, mails: &[MessageId], to: FolderId| v1::MailsTo {
        from: folder_bytes(from),
        mails: ids_bytes(mails),
        to: folder_bytes(to),
    };
    let ask = match ask {
        MailboxAsk::Folders => Ask::Folders(v1::MailboxNothing {}),
        MailboxAsk::Usage => Ask::Usage(v1::MailboxNothing {}),
        MailboxAsk::CreateFolder { path, special_use } => Ask::CreateFolder(v1::FolderCreate {
            path: path.to_string(),
            special_use: encode_use(*special_use),
        }),
        MailboxAsk::DeleteFolder { folder } => Ask::DeleteFolder(folder_bytes(*folder)),
        MailboxAsk::RenameFolder { folder, to } => Ask::RenameFolder(v1::FolderRename {
            folder: folder_bytes(*folder),
            to: to.to_string(),
        }),
        MailboxAsk::Subscribe { path } => Ask::Subscribe(path.to_string()),
        MailboxAsk::Unsubscribe { path } => Ask::Unsubscribe(path.to_string()),
        MailboxAsk::View {
            folder,
            since,
            after,
        } => Ask::View(v1::ViewAsk {
            folder: folder_bytes(*folder),
            since: since.map(|mark| mark.0),
            after: *after,
        }),
        MailboxAsk::ChangeFlags {
            folder,
            mails,
            change,
            flags,
            unchanged_since,
        } => Ask::ChangeFlags(v1::FlagsChange {
            folder: folder_bytes(*folder),
            mails: ids_bytes(mails),
            change: encode_change(*change),
            flags: texts(flags),
            unchanged_since: unchanged_since.map(|mark| mark.0),
        }),
        MailboxAsk::Expunge { folder, mails } => Ask::Expunge(v1::MailsIn {
            folder: folder_bytes(*folder),
            mails: ids_bytes(mails),
        }),
        MailboxAsk::Copy {
            from,
            mails,
            to: into,
        } => Ask::Copy(to(*from, mails, *into)),
        MailboxAsk::Move {
            from,
            mails,
            to: into,
        } => Ask::Move(to(*from, mails, *into)),
        MailboxAsk::Append {
            folder,
            message,
            body,
            flags,
            date_ms,
        } => Ask::Append(v1::MailAppend {
            folder: folder_bytes(*folder),
            message: id_bytes(*message),
            body: Some(body.into()),
            flags: texts(flags),
            date_ms: *date_ms,
        }),
    };
    v1::MailboxAsk {
        name: name.to_string(),
        ask: Some(ask),
    }
}

pub(super) fn decode_mailbox_ask(wired: v1::MailboxAsk) -> Wire<(Name, MailboxAsk)> {
    use v1::mailbox_ask::Ask;
    let ask = match chosen(wired.ask, "question about a mailbox")? {
        Ask::Folders(_) => MailboxAsk::Folders,
        Ask::Usage(_) => MailboxAsk::Usage,
        Ask::CreateFolder(create) => MailboxAsk::CreateFolder {
            path: parsed(&create.path)?,
            special_use: decode_use(create.special_use)?,
        },
        Ask::DeleteFolder(bytes) => MailboxAsk::DeleteFolder {
            folder: folder(&bytes)?,
        },
        Ask::RenameFolder(rename) => MailboxAsk::RenameFolder {
            folder: folder(&rename.folder)?,
            to: parsed(&rename.to)?,
        },
        Ask::Subscribe(path) => MailboxAsk::Subscribe {
            path: parsed(&path)?,
        },
        Ask::Unsubscribe(path) => MailboxAsk::Unsubscribe {
            path: parsed(&path)?,
        },
        Ask::View(view) => MailboxAsk::View {
            folder: folder(&view.folder)?,
            since: view.since.map(Mark),
            after: view.after,
        },
        Ask::ChangeFlags(change) => MailboxAsk::ChangeFlags {
            folder: folder(&change.folder)?,
            mails: mails(&change.mails)?,
            change: decode_change(change.change)?,
            flags: flags(&change.flags)?,
            unchanged_since: change.unchanged_since.map(Mark),
        },
        Ask::Expunge(which) => MailboxAsk::Expunge {
            folder: folder(&which.folder)?,
            mails: mails(&which.mails)?,
        },
        Ask::Copy(which) => MailboxAsk::Copy {
            from: folder(&which.from)?,
            mails: mails(&which.mails)?,
            to: folder(&which.to)?,
        },
        Ask::Move(which) => MailboxAsk::Move {
            from: folder(&which.from)?,
            mails: mails(&which.mails)?,
            to: folder(&which.to)?,
        },
        Ask::Append(append) => MailboxAsk::Append {
            folder: folder(&append.folder)?,
            message: message_id(&append.message)?,
            body: need(append.body, "the measure of a body")?.try_into()?,
            flags: flags(&append.flags)?,
            date_ms: append.date_ms,
        },
    };
    Ok((name(&wired.name)?, ask))
}

impl From<&FolderView> for v1::FolderView {
    fn from(view: &FolderView) -> Self {
        Self {
            folder: folder_bytes(view.folder),
            path: view.path.to_string(),
            special_use: encode_use(view.special_use),
            uid_validity: view.uid_validity,
            uid_next: view.uid_next,
            messages: view.messages,
            unseen: view.unseen,
            deleted: view.deleted,
            size: view.size,
            mark: view.mark.0,
        }
    }
}

impl TryFrom<v1::FolderView> for FolderView {
    type Error = WireError;

    fn try_from(view: v1::FolderView) -> Wire<Self> {
        Ok(Self {
            folder: folder(&view.folder)?,
            path: parsed(&view.path)?,
            // A use that only a newer release knows is none here.
            special_use: decode_use(view.special_use).unwrap_or(None),
            uid_validity: view.uid_validity,
            uid_next: view.uid_next,
            messages: view.messages,
            unseen: view.unseen,
            deleted: view.deleted,
            size: view.size,
            mark: Mark(view.mark),
        })
    }
}

impl From<&MailRow> for v1::MailRow {
    fn from(row: &MailRow) -> Self {
        Self {
            uid: row.uid,
            message: id_bytes(row.message),
            body: other_body(row.message, row.body),
            len: row.len,
            date_ms: row.date_ms,
            mark: row.mark.0,
            flags: texts(&row.flags),
            list: row.list.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::MailRow> for MailRow {
    type Error = WireError;

    fn try_from(row: v1::MailRow) -> Wire<Self> {
        let message = message_id(&row.message)?;
        Ok(Self {
            uid: row.uid,
            message,
            body: body_of(message, row.body.as_deref())?,
            len: row.len,
            date_ms: row.date_ms,
            mark: Mark(row.mark),
            flags: all_parsed(&row.flags)?,
            list: row.list.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&MailboxView> for v1::MailboxView {
    fn from(view: &MailboxView) -> Self {
        Self {
            folder: folder_bytes(view.folder),
            changes: matches!(view.extent, Extent::Changes),
            uid_validity: view.uid_validity,
            uid_next: view.uid_next,
            mark: view.mark.0,
            rows: view.rows.iter().map(Into::into).collect(),
            vanished: view.vanished.clone(),
            next: view.next,
        }
    }
}

impl TryFrom<v1::MailboxView> for MailboxView {
    type Error = WireError;

    fn try_from(view: v1::MailboxView) -> Wire<Self> {
        Ok(Self {
            folder: folder(&view.folder)?,
            extent: match view.changes {
                true => Extent::Changes,
                false => Extent::All,
            },
            uid_validity: view.uid_validity,
            uid_next: view.uid_next,
            mark: Mark(view.mark),
            rows: all(view.rows)?,
            vanished: view.vanished,
            next: view.next,
        })
    }
}

impl From<&FlaggedMail> for v1::FlaggedMail {
    fn from(mail: &FlaggedMail) -> Self {
        Self {
            uid: mail.uid,
            message: id_bytes(mail.message),
            mark: mail.mark.0,
            flags: texts(&mail.flags),
        }
    }
}

impl TryFrom<v1::FlaggedMail> for FlaggedMail {
    type Error = WireError;

    fn try_from(mail: v1::FlaggedMail) -> Wire<Self> {
        Ok(Self {
            uid: mail.uid,
            message: message_id(&mail.message)?,
            mark: Mark(mail.mark),
            flags: all_parsed(&mail.flags)?,
        })
    }
}

impl From<&CopiedMail> for v1::CopiedMail {
    fn from(mail: &CopiedMail) -> Self {
        Self {
            from_uid: mail.from_uid,
            uid: mail.uid,
            message: id_bytes(mail.message),
        }
    }
}

impl TryFrom<v1::CopiedMail> for CopiedMail {
    type Error = WireError;

    fn try_from(mail: v1::CopiedMail) -> Wire<Self> {
        Ok(Self {
            from_uid: mail.from_uid,
            uid: mail.uid,
            message: message_id(&mail.message)?,
        })
    }
}

impl From<&MailboxReply> for v1::MailboxReply {
    fn from(reply: &MailboxReply) -> Self {
        use v1::mailbox_reply::Answer;
        let answer = match &reply.answer {
            MailboxAnswer::Folders {
                folders,
                subscribed,
            } => Answer::Folders(v1::FolderList {
                folders: folders.iter().map(Into::into).collect(),
                subscribed: texts(subscribed),
            }),
            MailboxAnswer::Folder(view) => Answer::Folder(view.into()),
            MailboxAnswer::Usage { usage, quota } => Answer::Usage(v1::MailboxUsage {
                octets: usage.octets,
                messages: usage.messages,
                octets_at_most: quota.octets,
                messages_at_most: quota.messages,
            }),
            MailboxAnswer::Done => Answer::Done(v1::MailboxNothing {}),
            MailboxAnswer::View(view) => Answer::View(view.into()),
            MailboxAnswer::Flagged { mails, kept } => Answer::Flagged(v1::FlaggedMails {
                mails: mails.iter().map(Into::into).collect(),
                kept: kept.clone(),
            }),
            MailboxAnswer::Expunged { numbers, mark } => Answer::Expunged(v1::ExpungedMails {
                numbers: numbers.clone(),
                mark: mark.0,
            }),
            MailboxAnswer::Copied {
                uid_validity,
                mails,
                mark,
            } => Answer::Copied(v1::CopiedMails {
                uid_validity: *uid_validity,
                mails: mails.iter().map(Into::into).collect(),
                mark: mark.0,
            }),
            MailboxAnswer::Appended { uid_validity, uid } => Answer::Appended(v1::AppendedMail {
                uid_validity: *uid_validity,
                uid: *uid,
            }),
        };
        Self {
            by: reply.by.to_string(),
            partial: reply.partial,
            copies: reply.copies.into(),
            answer: Some(answer),
        }
    }
}

impl TryFrom<v1::MailboxReply> for MailboxReply {
    type Error = WireError;

    fn try_from(reply: v1::MailboxReply) -> Wire<Self> {
        use v1::mailbox_reply::Answer;
        let answer = match chosen(reply.answer, "answer about a mailbox")? {
            Answer::Folders(list) => MailboxAnswer::Folders {
                folders: all(list.folders)?,
                subscribed: all_parsed(&list.subscribed)?,
            },
            Answer::Folder(view) => MailboxAnswer::Folder(view.try_into()?),
            Answer::Usage(counted) => MailboxAnswer::Usage {
                usage: Usage {
                    octets: counted.octets,
                    messages: counted.messages,
                },
                quota: Quota {
                    octets: counted.octets_at_most,
                    messages: counted.messages_at_most,
                },
            },
            Answer::Done(_) => MailboxAnswer::Done,
            Answer::View(view) => MailboxAnswer::View(view.try_into()?),
            Answer::Flagged(flagged) => MailboxAnswer::Flagged {
                mails: all(flagged.mails)?,
                kept: flagged.kept,
            },
            Answer::Expunged(expunged) => MailboxAnswer::Expunged {
                numbers: expunged.numbers,
                mark: Mark(expunged.mark),
            },
            Answer::Copied(copied) => MailboxAnswer::Copied {
                uid_validity: copied.uid_validity,
                mails: all(copied.mails)?,
                mark: Mark(copied.mark),
            },
            Answer::Appended(appended) => MailboxAnswer::Appended {
                uid_validity: appended.uid_validity,
                uid: appended.uid,
            },
        };
        Ok(Self {
            by: server(&reply.by)?,
            partial: reply.partial,
            copies: small(reply.copies)?,
            answer,
        })
    }
}
