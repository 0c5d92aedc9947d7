//! One command into one value that cannot hold nonsense (RFC 9051 section 6, and the extensions named at each).
//!
//! Form only: whether the command is in order here and now is the session's business.

use super::fetch_syntax::{self, Fetch};
use super::flags::{Change, Flags};
use super::limits::ITEMS_IN_A_COMMAND;
use super::names::{self, Spelling};
use super::search_syntax::{self, Search, Sorted, Threaded};
use super::sets::Set;
use super::syntax::{Bad, Cursor, Read};
use crate::sasl::Secret;

/// What numbers are: places in the folder, or UIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Sequence,
    Uid,
}

/// Whether a folder is opened for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
}

/// What SELECT asks beyond the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SelectOptions {
    /// CONDSTORE, or QRESYNC.
    pub(super) condstore: bool,
    pub(super) qresync: Option<Known>,
}

/// What the client knows of a folder (RFC 7162 section 3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) uidvalidity: u32,
    pub(super) modseq: u64,
    pub(super) uids: Option<Set>,
}

/// Whether STORE is answered with the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    Flags,
    Silent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    pub(super) set: Set,
    pub(super) by: By,
    pub(super) unchanged_since: Option<u64>,
    pub(super) change: Change,
    pub(super) echo: Echo,
    pub(super) flags: Flags,
}

/// LIST with its extensions (RFC 5258), or the plain one, or LSUB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) lsub: bool,
    pub(super) reference: String,
    pub(super) patterns: Vec<String>,
    pub(super) only_subscribed: bool,
    pub(super) only_special: bool,
    pub(super) recursive_match: bool,
    pub(super) extended: bool,
    pub(super) status: Vec<StatusItem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
    MailboxId,
    AppendLimit,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Capability,
    Noop,
    Logout,
    StartTls,
    Id,
    Authenticate {
        mechanism: String,
        initial: Option<String>,
    },
    Login {
        name: String,
        password: Secret,
    },
    Enable(Vec<String>),
    Select {
        path: String,
        access: Access,
        options: SelectOptions,
    },
    Create {
        path: String,
        special_use: Option<String>,
    },
    Delete(String),
    Rename {
        from: String,
        to: String,
    },
    Subscribe(String),
    Unsubscribe(String),
    List(List),
    Namespace,
    Status {
        path: String,
        items: Vec<StatusItem>,
    },
    GetQuota(String),
    GetQuotaRoot(String),
    SetQuota,
    Idle,
    Compress(String),
    Check,
    Close,
    Unselect,
    Expunge(Option<Set>),
    Search {
        search: Search,
        by: By,
    },
    Sort {
        sorted: Sorted,
        by: By,
    },
    Thread {
        threaded: Threaded,
        by: By,
    },
    Fetch {
        fetch: Fetch,
        by: By,
    },
    Store(Store),
    Copy {
        set: Set,
        path: String,
        by: By,
    },
    Move {
        set: Set,
        path: String,
        by: By,
    },
}

/// Reads what follows the tag and its space.
pub(super) fn parse(cursor: &mut Cursor<'_>, spelling: Spelling) -> Read<Command> {
    let verb = cursor.word().map_err(|_| UNKNOWN)?;
    let command = match verb.as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge(None),
        "UID" => {
            cursor.space()?;
            let verb = cursor.word()?;
            if verb == "EXPUNGE" {
                cursor.space()?;
                Command::Expunge(Some(Set::read(cursor)?))
            } else {
                numbered(&verb, cursor, By::Uid, spelling)?
            }
        }
        "SEARCH" | "SORT" | "THREAD" | "FETCH" | "STORE" | "COPY" | "MOVE" => {
            numbered(&verb, cursor, By::Sequence, spelling)?
        }
        _ => with_arguments(&verb, cursor, spelling)?,
    };
    cursor.end()?;
    Ok(command)
}

const UNKNOWN: Bad = Bad("Command not known");

fn with_arguments(verb: &str, cursor: &mut Cursor<'_>, spelling: Spelling) -> Read<Command> {
    let known = [
        "ID",
        "AUTHENTICATE",
        "LOGIN",
        "ENABLE",
        "SELECT",
        "EXAMINE",
        "CREATE",
        "DELETE",
        "RENAME",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "LIST",
        "LSUB",
        "STATUS",
        "GETQUOTA",
        "GETQUOTAROOT",
        "SETQUOTA",
        "COMPRESS",
    ];
    if !known.contains(&verb) {
        return Err(UNKNOWN);
    }
    cursor.space()?;
    match verb {
        "ID" => read_id(cursor).map(|()| Command::Id),
        "AUTHENTICATE" => {
            let mechanism = cursor.word()?;
            let initial = match cursor.eat(b' ') {
                None => None,
                Some(()) => Some(cursor.astring_text()?),
            };
            Ok(Command::Authenticate { mechanism, initial })
        }
        "LOGIN" => {
            let name = cursor.astring_text()?;
            cursor.space()?;
            let password = Secret::new(
                std::str::from_utf8(&cursor.astring()?).map_err(|_| Bad("A password is UTF-8"))?,
            );
            Ok(Command::Login { name, password })
        }
        "ENABLE" => {
            let mut wanted = vec![cursor.word()?];
            while cursor.eat(b' ').is_some() {
                wanted.push(cursor.word()?);
                few(wanted.len())?;
            }
            Ok(Command::Enable(wanted))
        }
        "SELECT" | "EXAMINE" => {
            let access = if verb == "SELECT" {
                Access::ReadWrite
            } else {
                Access::ReadOnly
            };
            let path = path(cursor, spelling)?;
            Ok(Command::Select {
                path,
                access,
                options: read_select_options(cursor)?,
            })
        }
        "CREATE" => {
            let path = path(cursor, spelling)?;
            let mut special_use = None;
            if cursor.eat_word(" (USE (").is_some() {
                cursor.expect(b'\\')?;
                special_use = Some(format!("\\{}", cursor.atom()?));
                if cursor.eat_word("))").is_none() {
                    return Err(Bad("A folder has one use at most"));
                }
            }
            Ok(Command::Create { path, special_use })
        }
        "DELETE" => path(cursor, spelling).map(Command::Delete),
        "RENAME" => {
            let from = path(cursor, spelling)?;
            cursor.space()?;
            Ok(Command::Rename {
                from,
                to: path(cursor, spelling)?,
            })
        }
        "SUBSCRIBE" => path(cursor, spelling).map(Command::Subscribe),
        "UNSUBSCRIBE" => path(cursor, spelling).map(Command::Unsubscribe),
        "LIST" => read_list(cursor, spelling).map(Command::List),
        "LSUB" => {
            let reference = pattern(cursor, spelling)?;
            cursor.space()?;
            let patterns = vec![pattern(cursor, spelling)?];
            Ok(Command::List(List {
                lsub: true,
                reference,
                patterns,
                ..List::default()
            }))
        }
        "STATUS" => {
            let path = path(cursor, spelling)?;
            cursor.space()?;
            Ok(Command::Status {
                path,
                items: read_status_items(cursor)?,
            })
        }
        "GETQUOTA" => cursor.astring_text().map(Command::GetQuota),
        "GETQUOTAROOT" => path(cursor, spelling).map(Command::GetQuotaRoot),
        "SETQUOTA" => {
            *cursor = Cursor::new(b"");
            Ok(Command::SetQuota)
        }
        "COMPRESS" => cursor.word().map(Command::Compress),
        _ => Err(UNKNOWN),
    }
}

fn numbered(verb: &str, cursor: &mut Cursor<'_>, by: By, spelling: Spelling) -> Read<Command> {
    if !["SEARCH", "SORT", "THREAD", "FETCH", "STORE", "COPY", "MOVE"].contains(&verb) {
        return Err(UNKNOWN);
    }
    cursor.space()?;
    match verb {
        "SEARCH" => Ok(Command::Search {
            search: search_syntax::read_search(cursor)?,
            by,
        }),
        "SORT" => Ok(Command::Sort {
            sorted: search_syntax::read_sort(cursor)?,
            by,
        }),
        "THREAD" => Ok(Command::Thread {
            threaded: search_syntax::read_thread(cursor)?,
            by,
        }),
        "FETCH" => Ok(Command::Fetch {
            fetch: fetch_syntax::read(cursor)?,
            by,
        }),
        "STORE" => read_store(cursor, by).map(Command::Store),
        _ => {
            let set = Set::read(cursor)?;
            cursor.space()?;
            let path = path(cursor, spelling)?;
            Ok(if verb == "COPY" {
                Command::Copy { set, path, by }
            } else {
                Command::Move { set, path, by }
            })
        }
    }
}

pub(super) fn path(cursor: &mut Cursor<'_>, spelling: Spelling) -> Read<String> {
    names::read(&cursor.astring()?, spelling)
}

fn pattern(cursor: &mut Cursor<'_>, spelling: Spelling) -> Read<String> {
    names::read(&cursor.pattern()?, spelling)
}

fn few(count: usize) -> Read<()> {
    if count > ITEMS_IN_A_COMMAND {
        Err(Bad("Too many items in one command"))
    } else {
        Ok(())
    }
}

/// RFC 2971: what a program says of itself is nobody's business here.
fn read_id(cursor: &mut Cursor<'_>) -> Read<()> {
    if cursor.eat_word("NIL").is_some() {
        return Ok(());
    }
    cursor.expect(b'(')?;
    if cursor.eat(b')').is_some() {
        return Ok(());
    }
    let mut count = 0;
    loop {
        cursor.string()?;
        cursor.space()?;
        cursor.nstring()?;
        count += 1;
        few(count)?;
        match cursor.eat(b' ') {
            Some(()) => {}
            None => return cursor.expect(b')'),
        }
    }
}

/// `(CONDSTORE)`, `(QRESYNC (uidvalidity modseq [known-uids] [(known-sequence-set known-uid-set)]))`.
fn read_select_options(cursor: &mut Cursor<'_>) -> Read<SelectOptions> {
    let mut options = SelectOptions::default();
    if cursor.eat(b' ').is_none() {
        return Ok(options);
    }
    cursor.expect(b'(')?;
    loop {
        if cursor.eat_word("CONDSTORE").is_some() {
            options.condstore = true;
        } else if cursor.eat_word("QRESYNC (").is_some() {
            options.condstore = true;
            let uidvalidity = cursor.number()?;
            cursor.space()?;
            let modseq = cursor.number64()?;
            let mut uids = None;
            if cursor.eat(b' ').is_some() {
                if cursor.peek() != Some(b'(') {
                    uids = Some(Set::read(cursor)?);
                    cursor.eat(b' ');
                }
                // It only narrows what is told to be gone; everything is told.
                if cursor.eat(b'(').is_some() {
                    Set::read(cursor)?;
                    cursor.space()?;
                    Set::read(cursor)?;
                    cursor.expect(b')')?;
                }
            }
            cursor.expect(b')')?;
            options.qresync = Some(Known {
                uidvalidity,
                modseq,
                uids,
            });
        } else {
            return Err(Bad("No such option of SELECT"));
        }
        if cursor.eat(b' ').is_none() {
            cursor.expect(b')')?;
            return Ok(options);
        }
    }
}

fn read_status_items(cursor: &mut Cursor<'_>) -> Read<Vec<StatusItem>> {
    cursor.expect(b'(')?;
    let mut items = Vec::new();
    loop {
        items.push(match cursor.word()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            "MAILBOXID" => StatusItem::MailboxId,
            "APPENDLIMIT" => StatusItem::AppendLimit,
            _ => return Err(Bad("No such item of STATUS")),
        });
        few(items.len())?;
        if cursor.eat(b' ').is_none() {
            cursor.expect(b')')?;
            return Ok(items);
        }
    }
}

fn read_list(cursor: &mut Cursor<'_>, spelling: Spelling) -> Read<List> {
    let mut list = List::default();
    if cursor.eat(b'(').is_some() {
        list.extended = true;
        if cursor.eat(b')').is_none() {
            loop {
                match cursor.word()?.as_str() {
                    "SUBSCRIBED" => list.only_subscribed = true,
                    "SPECIAL-USE" => list.only_special = true,
                    "RECURSIVEMATCH" => list.recursive_match = true,
                    // There are no others.
                    "REMOTE" => {}
                    _ => return Err(Bad("No such selection of LIST")),
                }
                if cursor.eat(b' ').is_none() {
                    cursor.expect(b')')?;
                    break;
                }
            }
        }
        if list.recursive_match && !list.only_subscribed {
            return Err(Bad("RECURSIVEMATCH selects nothing by itself"));
        }
        cursor.space()?;
    }
    list.reference = names::read(
        &cursor
            .astring()
            .or_else(|_| Ok::<_, Bad>(Vec::new().into()))?,
        spelling,
    )?;
    cursor.space()?;
    if cursor.eat(b'(').is_some() {
        list.extended = true;
        loop {
            list.patterns.push(pattern(cursor, spelling)?);
            few(list.patterns.len())?;
            if cursor.eat(b' ').is_none() {
                cursor.expect(b')')?;
                break;
            }
        }
    } else {
        list.patterns.push(pattern(cursor, spelling)?);
    }
    if cursor.eat_word(" RETURN (").is_some() {
        list.extended = true;
        if cursor.eat(b')').is_some() {
            return Ok(list);
        }
        loop {
            match cursor.word()?.as_str() {
                // All three are said in any case.
                "SUBSCRIBED" | "CHILDREN" | "SPECIAL-USE" => {}
                "STATUS" => {
                    cursor.space()?;
                    list.status = read_status_items(cursor)?;
                }
                _ => return Err(Bad("LIST can't return that")),
            }
            if cursor.eat(b' ').is_none() {
                cursor.expect(b')')?;
                break;
            }
        }
    }
    Ok(list)
}

fn read_store(cursor: &mut Cursor<'_>, by: By) -> Read<Store> {
    let set = Set::read(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.eat_word("(UNCHANGEDSINCE ").is_some() {
        unchanged_since = Some(cursor.number64()?);
        cursor.expect(b')')?;
        cursor.space()?;
    }
    let change = if cursor.eat(b'+').is_some() {
        Change::Add
    } else if cursor.eat(b'-').is_some() {
        Change::Remove
    } else {
        Change::Replace
    };
    let echo = match cursor.word()?.as_str() {
        "FLAGS" => Echo::Flags,
        "FLAGS.SILENT" => Echo::Silent,
        _ => return Err(Bad("STORE changes flags")),
    };
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') {
        Flags::read_list(cursor)?
    } else {
        let mut flags = Flags::default();
        flags.read_some(cursor)?;
        flags
    };
    Ok(Store {
        set,
        by,
        unchanged_since,
        change,
        echo,
        flags,
    })
}

/// What stands before a message's literal in APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) flags: Flags,
    pub(super) date_ms: Option<u64>,
    /// `UTF8 (` stands before it, and `)` behind (RFC 6855).
    pub(super) utf8: bool,
}

/// Reads `[flags SP] [date-time SP] ["UTF8 ("]`, up to where the literal is announced.
pub(super) fn read_prefix(cursor: &mut Cursor<'_>) -> Read<Prefix> {
    let mut prefix = Prefix {
        flags: Flags::default(),
        date_ms: None,
        utf8: false,
    };
    if cursor.peek() == Some(b'(') {
        prefix.flags = Flags::read_list(cursor)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        let date = cursor.string()?;
        prefix.date_ms = Some(super::dates::read_date_time(&date).ok_or(Bad("A date is wrong"))?);
        cursor.space()?;
    }
    prefix.utf8 = cursor.eat_word("UTF8 (").is_some();
    cursor.end()?;
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Read<Command> {
        parse(&mut Cursor::new(text.as_bytes()), Spelling::Utf7)
    }

    #[test]
    fn commands_are_read_in_any_case() {
        assert_eq!(read("noop"), Ok(Command::Noop));
        assert_eq!(read("Delete \"a b\""), Ok(Command::Delete("a b".into())));
        assert!(matches!(
            read("uid expunge 1:3"),
            Ok(Command::Expunge(Some(_)))
        ));
        assert!(matches!(
            read("LIST \"\" %"),
            Ok(Command::List(List {
                extended: false,
                ..
            }))
        ));
        assert!(
            matches!(read("LIST (SUBSCRIBED) \"\" (a b*) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))"), Ok(Command::List(list)) if list.status.len() == 2 && list.patterns.len() == 2)
        );
        assert!(
            matches!(read("select inbox (QRESYNC (1 20 1:9 (1 2)) CONDSTORE)"), Ok(Command::Select { options, .. }) if options.qresync.is_some())
        );
        assert!(matches!(
            read("STORE 1 (UNCHANGEDSINCE 5) +FLAGS.SILENT \\Seen x"),
            Ok(Command::Store(Store {
                unchanged_since: Some(5),
                change: Change::Add,
                echo: Echo::Silent,
                ..
            }))
        ));
        assert!(matches!(
            read("CREATE x (USE (\\Sent))"),
            Ok(Command::Create {
                special_use: Some(_),
                ..
            })
        ));
        assert_eq!(read("ID (\"name\" NIL \"v\" \"1\")"), Ok(Command::Id));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in [
            "",
            "FOO",
            "NOOP x",
            "SELECT",
            "SELECT a b",
            "SELECT a (X)",
            "FETCH 1",
            "UID NOOP",
            "UID",
            "STORE 1 FLAGS",
            "STORE 1 X (a)",
            "STATUS a ()",
            "LIST",
            "LIST (RECURSIVEMATCH) a b",
            "COPY 1",
            "ID x",
            "ENABLE",
            "CREATE x (USE (\\A \\B))",
            "LOGIN a",
            "RENAME a",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_of_append_has_flags_and_a_date() {
        let read = |text: &str| read_prefix(&mut Cursor::new(text.as_bytes()));
        assert!(!read("").unwrap().utf8);
        let prefix = read("(\\Seen) \"17-Jul-1996 02:44:25 -0700\" UTF8 (").unwrap();
        assert_eq!((prefix.date_ms, prefix.utf8), (Some(837_596_665_000), true));
        assert!(read("x").is_err());
    }
}
