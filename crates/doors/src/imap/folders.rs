//! Commands about folders: LIST and LSUB with their extensions (RFC 5258, 5819, 6154), STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, GETQUOTA.
//!
//! Whichever names a folder, the list of all is asked for first: it is small, and it is what the client would see.

use std::collections::{BTreeMap, BTreeSet};

use super::append::Appending;
use super::command::{Access, List, SelectOptions, StatusItem};
use super::names::{self, DELIMITER, Spelling};
use super::select::Selecting;
use super::session::{Open, Placing, Running, Session};
use super::types::{Answer, Ask, Folder, FolderId, Folders, Quota};

/// What is done when the folders are known.
pub(super) enum Then {
    Select {
        tag: String,
        path: String,
        access: Access,
        options: SelectOptions,
    },
    Delete {
        tag: String,
        path: String,
    },
    Rename {
        tag: String,
        from: String,
        to: String,
    },
    Status {
        tag: String,
        path: String,
        items: Vec<StatusItem>,
    },
    List {
        tag: String,
        list: Box<List>,
    },
    Place {
        tag: String,
        places: Vec<usize>,
        path: String,
        verb: Placing,
    },
    Append(Box<Appending>),
}

/// A LIST on its way.
pub(super) struct Listing {
    tag: String,
    word: &'static str,
    rows: std::vec::IntoIter<Listed>,
    status: Vec<StatusItem>,
}

struct Listed {
    path: String,
    attributes: String,
    child_info: bool,
    folder: Option<Folder>,
}

const NO_FOLDER: &str = "[NONEXISTENT] There is no such folder";

impl Session {
    pub(super) fn ask_folders(&mut self, then: Then) {
        self.ask(Ask::Folders, Open::Folders(then));
    }

    pub(super) fn folders_answered(&mut self, then: Then, answer: Answer) {
        let folders = match answer {
            Answer::Folders(folders) => folders,
            other => {
                return match then {
                    Then::Append(appending) => self.append_refused(*appending, other),
                    Then::Select { tag, .. }
                    | Then::Delete { tag, .. }
                    | Then::Rename { tag, .. }
                    | Then::Status { tag, .. }
                    | Then::List { tag, .. }
                    | Then::Place { tag, .. } => self.refused(&tag, other),
                };
            }
        };
        let find = |path: &str| {
            folders
                .folders
                .iter()
                .find(|folder| folder.path == path)
                .cloned()
        };
        match then {
            Then::Select {
                tag,
                path,
                access,
                options,
            } => match find(&path) {
                None => self.no(&tag, NO_FOLDER),
                Some(folder) => self.open_folder(Selecting {
                    tag,
                    folder,
                    access,
                    options,
                }),
            },
            Then::Delete { tag, path } => match find(&path) {
                _ if path == "INBOX" => self.no(&tag, "[CANNOT] INBOX stays"),
                None => self.no(&tag, NO_FOLDER),
                Some(Folder { id: folder, .. }) => {
                    self.ask(Ask::Delete(folder), Open::Deleted { tag, folder });
                }
            },
            Then::Rename { tag, from, to } => self.rename(tag, &from, &to, &folders),
            Then::Status { tag, path, items } => match find(&path) {
                None => self.no(&tag, NO_FOLDER),
                Some(folder) => self.status_told(&tag, &folder, &items),
            },
            Then::List { tag, list } => self.list_found(tag, *list, &folders),
            Then::Place {
                tag,
                places,
                path,
                verb,
            } => match find(&path) {
                None => self.no(&tag, "[TRYCREATE] There is no such folder"),
                Some(folder) => self.place(tag, &places, folder.id, verb),
            },
            Then::Append(appending) => self.append_found(*appending, find),
        }
    }

    pub(super) fn create(&mut self, tag: String, path: String, special_use: Option<String>) {
        const USES: [&str; 6] = [
            "\\Archive",
            "\\Drafts",
            "\\Important",
            "\\Junk",
            "\\Sent",
            "\\Trash",
        ];
        // A delimiter at the end says that there will be folders below it.
        let path = path.strip_suffix(DELIMITER).unwrap_or(&path).to_owned();
        if path == "INBOX" {
            return self.no(&tag, "[ALREADYEXISTS] INBOX is always there");
        }
        if !names::is_fit(&path) {
            return self.no(&tag, "[CANNOT] No folder can be called so");
        }
        let special_use = match special_use {
            None => None,
            Some(given) => match USES
                .into_iter()
                .find(|one| one.eq_ignore_ascii_case(&given))
            {
                None => return self.no(&tag, "[USEATTR] There is no such use"),
                Some(known) => Some(known.to_owned()),
            },
        };
        self.ask(Ask::Create { path, special_use }, Open::Created { tag });
    }

    pub(super) fn created(&mut self, tag: &str, answer: Answer) {
        match answer {
            Answer::Created(folder) => {
                let text = format!("[MAILBOXID ({})] CREATE completed", mailbox_id(folder));
                self.complete(tag, &text);
            }
            other => self.refused(tag, other),
        }
    }

    pub(super) fn deleted(&mut self, tag: &str, folder: FolderId, answer: Answer) {
        match answer {
            Answer::Yes => {
                // Nothing can be said of what is in it any more.
                if self
                    .selected
                    .as_ref()
                    .is_some_and(|view| view.folder == folder)
                {
                    self.selected = None;
                    self.saved = super::sets::Ranges::default();
                }
                self.complete(tag, "DELETE completed");
            }
            other => self.refused(tag, other),
        }
    }

    fn rename(&mut self, tag: String, from: &str, to: &str, folders: &Folders) {
        let to = to.strip_suffix(DELIMITER).unwrap_or(to);
        if to == "INBOX" || !names::is_fit(to) {
            return self.no(&tag, "[CANNOT] No folder can be called so");
        }
        let below = format!("{from}{DELIMITER}");
        if to == from || to.starts_with(&below) {
            return self.no(&tag, "[CANNOT] A folder can't be put below itself");
        }
        if folders.folders.iter().any(|folder| folder.path == to) {
            return self.no(&tag, "[ALREADYEXISTS] There is a folder of this name");
        }
        // What lies below a folder goes with it. Where only something below is there, that is what is renamed.
        let rest_of = |path: &str| {
            let rest = path.strip_prefix(from)?;
            (rest.is_empty() || rest.starts_with(DELIMITER)).then(|| rest.to_owned())
        };
        let mut moving: Vec<(&Folder, String)> = folders
            .folders
            .iter()
            .filter_map(|folder| Some((folder, rest_of(&folder.path)?)))
            .collect();
        moving.sort_by_key(|(folder, _)| folder.path.len());
        let mut renamed: Vec<(FolderId, String)> = Vec::new();
        let mut tops: Vec<&str> = Vec::new();
        for (folder, rest) in &moving {
            let is_below = |top: &&str| {
                folder
                    .path
                    .strip_prefix(top)
                    .is_some_and(|rest| rest.starts_with(DELIMITER))
            };
            // INBOX gives its messages away, and what lies below it stays.
            if !tops.iter().any(is_below) && (from != "INBOX" || rest.is_empty()) {
                tops.push(&folder.path);
                renamed.push((folder.id, format!("{to}{rest}")));
            }
        }
        if renamed.is_empty() {
            return self.no(&tag, NO_FOLDER);
        }
        if !moving
            .iter()
            .all(|(_, rest)| names::is_fit(&format!("{to}{rest}")))
        {
            return self.no(
                &tag,
                "[CANNOT] A folder below it would have too long a name",
            );
        }
        self.ask(
            Ask::Rename { folders: renamed },
            Open::Simple {
                tag,
                done: "RENAME completed",
            },
        );
    }

    pub(super) fn subscribe(&mut self, tag: String, path: String) {
        if path != "INBOX" && !names::is_fit(&path) {
            return self.no(&tag, "[CANNOT] No folder can be called so");
        }
        self.ask(
            Ask::Subscribe(path),
            Open::Simple {
                tag,
                done: "SUBSCRIBE completed",
            },
        );
    }

    fn status_told(&mut self, tag: &str, folder: &Folder, items: &[StatusItem]) {
        let (spelling, limit) = (self.spelling(), self.config.limits.message_bytes);
        self.enabled.condstore |= items.contains(&StatusItem::HighestModSeq);
        self.write(|out| put_status(out, folder, items, spelling, limit));
        self.done_stale(tag, "STATUS completed");
    }

    /// Ends a command that is not about the selected folder; what is known to be new there is told.
    fn done_stale(&mut self, tag: &str, text: &str) {
        let last = format!("{tag} OK {text}\r\n").into_bytes();
        self.done(last, super::session::Expunges::Told);
    }

    pub(super) fn list(&mut self, tag: String, list: List) {
        // The empty pattern asks for the delimiter alone.
        if !list.extended && list.patterns.iter().all(String::is_empty) {
            let word = if list.lsub { "LSUB" } else { "LIST" };
            self.write(|out| {
                out.extend_from_slice(format!("* {word} (\\Noselect) \"/\" \"\"\r\n").as_bytes())
            });
            return self.complete(&tag, "completed");
        }
        self.ask_folders(Then::List {
            tag,
            list: Box::new(list),
        });
    }

    fn list_found(&mut self, tag: String, list: List, folders: &Folders) {
        let rows = listed(&list, folders);
        let word = if list.lsub { "LSUB" } else { "LIST" };
        let listing = Listing {
            tag,
            word,
            rows: rows.into_iter(),
            status: list.status,
        };
        self.running = Some(Running::List(Box::new(listing)));
    }

    pub(super) fn list_on(&mut self, mut listing: Box<Listing>) {
        let (spelling, room, limit) = (
            self.spelling(),
            self.room(),
            self.config.limits.message_bytes,
        );
        let mut out = Vec::new();
        loop {
            if out.len() >= room {
                self.running = Some(Running::List(listing));
                break;
            }
            let Some(row) = listing.rows.next() else {
                let tag = listing.tag;
                self.write(|all| all.extend_from_slice(&out));
                return self.done_stale(&tag, &format!("{} completed", listing.word));
            };
            out.extend_from_slice(
                format!("* {} ({}) \"/\" ", listing.word, row.attributes).as_bytes(),
            );
            names::put(&mut out, &row.path, spelling);
            if row.child_info {
                out.extend_from_slice(b" (CHILDINFO (\"SUBSCRIBED\"))");
            }
            out.extend_from_slice(b"\r\n");
            if let (Some(folder), false) = (&row.folder, listing.status.is_empty()) {
                put_status(&mut out, folder, &listing.status, spelling, limit);
            }
        }
        self.write(|all| all.extend_from_slice(&out));
    }

    pub(super) fn quota_answered(&mut self, tag: &str, root: Option<String>, answer: Answer) {
        let quota = match answer {
            Answer::Quota(quota) => quota,
            other => return self.refused(tag, other),
        };
        let spelling = self.spelling();
        let verb = if root.is_some() {
            "GETQUOTAROOT completed"
        } else {
            "GETQUOTA completed"
        };
        self.write(|out| {
            if let Some(path) = root {
                out.extend_from_slice(b"* QUOTAROOT ");
                names::put(out, &path, spelling);
                out.extend_from_slice(b" \"\"\r\n");
            }
            put_quota(out, quota);
        });
        self.complete(tag, verb);
    }
}

/// RFC 9208: storage in units of 1,024 octets.
fn put_quota(out: &mut Vec<u8>, quota: Quota) {
    let mut rows = Vec::new();
    if let Some(limit) = quota.limit_bytes {
        rows.push(format!(
            "STORAGE {} {}",
            quota.used_bytes.div_ceil(1024),
            limit.div_ceil(1024)
        ));
    }
    if let Some(limit) = quota.limit_messages {
        rows.push(format!("MESSAGE {} {limit}", quota.used_messages));
    }
    out.extend_from_slice(format!("* QUOTA \"\" ({})\r\n", rows.join(" ")).as_bytes());
}

/// An OBJECTID.
pub(super) fn mailbox_id(folder: FolderId) -> String {
    format!("f{:x}", folder.0)
}

fn put_status(
    out: &mut Vec<u8>,
    folder: &Folder,
    items: &[StatusItem],
    spelling: Spelling,
    limit: u64,
) {
    let mut said = Vec::new();
    for item in items {
        said.push(match item {
            StatusItem::Messages => format!("MESSAGES {}", folder.messages),
            StatusItem::Recent => "RECENT 0".to_owned(),
            StatusItem::UidNext => format!("UIDNEXT {}", folder.uidnext),
            StatusItem::UidValidity => format!("UIDVALIDITY {}", folder.uidvalidity),
            StatusItem::Unseen => format!("UNSEEN {}", folder.unseen),
            StatusItem::Deleted => format!("DELETED {}", folder.deleted),
            StatusItem::Size => format!("SIZE {}", folder.size_bytes),
            StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", folder.highest_modseq.max(1)),
            StatusItem::MailboxId => format!("MAILBOXID ({})", mailbox_id(folder.id)),
            StatusItem::AppendLimit => format!("APPENDLIMIT {limit}"),
        });
    }
    out.extend_from_slice(b"* STATUS ");
    names::put(out, &folder.path, spelling);
    out.extend_from_slice(format!(" ({})\r\n", said.join(" ")).as_bytes());
}

/// What a LIST or LSUB shows.
fn listed(list: &List, folders: &Folders) -> Vec<Listed> {
    let mut all: BTreeMap<&str, Option<&Folder>> = BTreeMap::new();
    let subscribed: BTreeSet<&str> = folders.subscribed.iter().map(String::as_str).collect();
    for folder in &folders.folders {
        all.insert(&folder.path, Some(folder));
    }
    let selects_subscribed = list.lsub || list.only_subscribed;
    if selects_subscribed {
        for path in &subscribed {
            all.entry(path).or_insert(None);
        }
    }
    // Names that are only there because something is below them.
    let parents: BTreeSet<&str> = all.keys().flat_map(|path| names::parents(path)).collect();
    let above_subscribed: BTreeSet<&str> = subscribed
        .iter()
        .flat_map(|path| names::parents(path))
        .collect();
    for parent in &parents {
        all.entry(parent).or_insert(None);
    }
    let has_children = |path: &str| parents.contains(path);
    let patterns: Vec<String> = list
        .patterns
        .iter()
        .map(|pattern| format!("{}{pattern}", list.reference))
        .collect();
    let wanted = |path: &str| {
        patterns.iter().any(|pattern| {
            names::matches(pattern, path)
                || (path == "INBOX" && names::matches(&pattern.to_ascii_uppercase(), path))
        })
    };
    let mut rows: Vec<Listed> = Vec::new();
    for (path, folder) in all {
        if !wanted(path) {
            continue;
        }
        let is_subscribed = subscribed.contains(path);
        let leads_to_subscribed = above_subscribed.contains(path);
        let special = folder.and_then(|folder| folder.special_use.as_deref());
        let shown = match (selects_subscribed, list.only_special) {
            (true, _) => {
                is_subscribed || (leads_to_subscribed && (list.lsub || list.recursive_match))
            }
            (false, true) => special.is_some(),
            (false, false) => true,
        };
        if !shown {
            continue;
        }
        let mut attributes: Vec<&str> = Vec::new();
        if folder.is_none() || (list.lsub && !is_subscribed) {
            attributes.push(if list.lsub {
                "\\Noselect"
            } else {
                "\\NonExistent \\Noselect"
            });
        }
        if !list.lsub {
            attributes.push(if has_children(path) {
                "\\HasChildren"
            } else {
                "\\HasNoChildren"
            });
            if is_subscribed && list.extended {
                attributes.push("\\Subscribed");
            }
            attributes.extend(special);
        }
        rows.push(Listed {
            path: path.to_owned(),
            attributes: attributes.join(" "),
            child_info: list.recursive_match && leads_to_subscribed,
            folder: folder.cloned(),
        });
    }
    rows.sort_by_key(|row| row.path != "INBOX");
    rows
}
