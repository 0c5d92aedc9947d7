//! Mails put back from a backup into a living mailbox: what is missing, where it was. What is there is not touched, and a
//! deletion stays one: a mail that comes back is another one, with the same octets, flags and date.

use std::collections::BTreeMap;

use grapevine_core::{KeptMail, kept_mailbox};
use grapevine_model::{BodyInfo, FolderPath, MessageId, Name, OriginId};
use grapevine_user::{BodySource, GrapevineUser};

use super::manifest::Manifest;
use super::tables::BackupTables;
use super::vault::{Digest, Vault};
use super::whole::bodies;
use crate::cli::import::fill::{Filler, Mail, Sums};
use crate::out::{Exit, Failure};

/// What is wanted.
pub(crate) struct Wanted<'a> {
    /// Whose mailbox.
    pub(crate) name: &'a Name,
    /// Only this mail.
    pub(crate) message: Option<MessageId>,
    /// Only what was in this folder.
    pub(crate) folder: Option<FolderPath>,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is said.
    Say,
    /// It is put back.
    PutBack,
}

/// What came of it.
pub(crate) struct Back {
    /// What was missing, and where it was.
    pub(crate) missing: Vec<(MessageId, FolderPath)>,
    /// What was done about it.
    pub(crate) sums: Sums,
}

/// Puts back what is missing; or only says what is.
pub(crate) async fn restore(
    vault: &Vault,
    manifest: &Manifest,
    user: &GrapevineUser,
    wanted: &Wanted<'_>,
    mode: Mode,
) -> Result<Back, Failure> {
    let none = |why: String| Failure {
        exit: Exit::NoSuchName,
        why,
    };
    let kept = {
        let tables = BackupTables::of(vault, manifest);
        kept_mailbox(&tables, wanted.name).map_err(Failure::new)?
    };
    let Some(kept) = kept else {
        return Err(none(format!(
            "the backup has no mailbox of {}",
            wanted.name
        )));
    };
    let is_wanted = |mail: &&KeptMail| {
        wanted.message.is_none_or(|message| message == mail.message)
            && (wanted.folder.as_ref()).is_none_or(|folder| *folder == mail.folder)
    };
    let mails: Vec<&KeptMail> = kept.mails.iter().filter(is_wanted).collect();
    if let (Some(message), true) = (wanted.message, mails.is_empty()) {
        return Err(none(format!("the backup has no message {message} there")));
    }
    let mut filler = Filler::open(user, wanted.name).await?;
    let mut missing = Vec::new();
    let mut left = Vec::new();
    for mail in mails {
        let origin = origin_of(wanted.name, mail.message);
        if filler.has(origin, Some(mail.message)) {
            filler.sums.already += 1;
        } else {
            missing.push((mail.message, mail.folder.clone()));
            left.push((mail, origin));
        }
    }
    if mode == Mode::PutBack && !left.is_empty() {
        let there = digests(vault, manifest)?;
        for (path, special_use) in &kept.folders {
            // Where something comes back to.
            if left.iter().any(|(mail, _)| mail.folder == *path) {
                filler.folder(path, *special_use).await?;
            }
        }
        for (mail, origin) in left {
            let place = format!("{} in {}", mail.message, mail.folder);
            let Some(digest) = there.get(&mail.body) else {
                filler.fail(&place, "the backup does not have its body");
                continue;
            };
            let mail = mail_of(vault, mail, (place, origin, digest))?;
            filler.put(mail).await?;
        }
    }
    let sums = filler.finish().await?;
    Ok(Back { missing, sums })
}

fn mail_of(
    vault: &Vault,
    mail: &KeptMail,
    (place, origin, digest): (String, OriginId, &Digest),
) -> Result<Mail, Failure> {
    let (source, info) = match &mail.list {
        None => {
            let source = BodySource::file(vault.path(digest)).map_err(Failure::new)?;
            (source, mail.info)
        }
        // As it was read: what the list says stands in front.
        Some(list) => {
            let mut bytes = list.header().into_bytes();
            bytes.extend(vault.get(digest).map_err(Failure::new)?);
            let info = BodyInfo {
                len: bytes.len() as u64,
                digest: *blake3::hash(&bytes).as_bytes(),
            };
            (BodySource::bytes(bytes), info)
        }
    };
    Ok(Mail {
        place,
        origin,
        original: None,
        folder: mail.folder.clone(),
        info,
        flags: mail.flags.clone(),
        date_ms: Some(mail.date_ms),
        body: source.into(),
    })
}

/// The same each time, so that what was put back is known again.
fn origin_of(name: &Name, message: MessageId) -> OriginId {
    let mut hasher = blake3::Hasher::new_derive_key("grapevine restore 2026-11 mail put back");
    hasher.update(&message.to_bytes());
    hasher.update(name.key().as_bytes());
    let mut bits = [0; 8];
    hasher.finalize_xof().fill(&mut bits);
    OriginId::client(u64::from_be_bytes(bits))
}

fn digests(vault: &Vault, manifest: &Manifest) -> Result<BTreeMap<MessageId, Digest>, Failure> {
    let mut all = BTreeMap::new();
    for chunk in &manifest.bodies {
        let bytes = vault.get(&chunk.object.digest).map_err(Failure::new)?;
        let listed = bodies(&bytes).map_err(Failure::new)?;
        all.extend(listed.map(|body| (body.message, body.digest)));
    }
    Ok(all)
}
