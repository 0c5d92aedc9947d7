//! What SEARCH, SORT and THREAD ask for (RFC 9051 section 6.4.4, RFC 4731, 5256, 7162, 8474).

use super::dates::read_date;
use super::flags::read_keyword;
use super::limits::{ITEMS_IN_A_COMMAND, SEARCH_DEPTH};
use super::sets::{Ranges, Set};
use super::syntax::{Bad, Cursor, Read};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// None: the old answer.
    pub(super) returns: Option<Returns>,
    pub(super) key: Key,
}

/// ESEARCH: what is wanted of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Returns {
    pub(super) min: bool,
    pub(super) max: bool,
    pub(super) all: bool,
    pub(super) count: bool,
    pub(super) save: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Each with whether it is reversed.
    pub(super) criteria: Vec<(Criterion, Order)>,
    pub(super) returns: Option<Returns>,
    pub(super) key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rising,
    Falling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criterion {
    Arrival,
    Cc,
    Date,
    From,
    Size,
    Subject,
    To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    OrderedSubject,
    References,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Threaded {
    pub(super) algorithm: Algorithm,
    pub(super) key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Before,
    On,
    Since,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    All,
    And(Vec<Key>),
    Or(Box<(Key, Key)>),
    Not(Box<Key>),
    Flag(String),
    Sequence(Set),
    Uid(Set),
    /// The two, in numbers.
    Numbers(Ranges),
    Uids(Ranges),
    Larger(u64),
    Smaller(u64),
    /// Internal date, in days since 1970.
    Arrived(When, i64),
    /// The Date field.
    Sent(When, i64),
    /// A header field that holds this; the empty text: that is there.
    Header(String, String),
    Body(String),
    Text(String),
    ModSeq(u64),
    EmailId(String),
    ThreadId,
}

impl Key {
    /// Whether MODSEQ is asked for: the client is one that knows CONDSTORE.
    pub(super) fn has_modseq(&self) -> bool {
        match self {
            Self::ModSeq(_) => true,
            Self::And(keys) => keys.iter().any(Self::has_modseq),
            Self::Or(both) => both.0.has_modseq() || both.1.has_modseq(),
            Self::Not(key) => key.has_modseq(),
            Self::All
            | Self::Flag(_)
            | Self::Sequence(_)
            | Self::Uid(_)
            | Self::Numbers(_)
            | Self::Uids(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::Arrived(..)
            | Self::Sent(..)
            | Self::Header(..)
            | Self::Body(_)
            | Self::Text(_)
            | Self::EmailId(_)
            | Self::ThreadId => false,
        }
    }
}

/// The text of a charset that is not known: RFC 9051 has a code for it.
pub(super) const CHARSET: Bad = Bad("[BADCHARSET (US-ASCII UTF-8)] Only these are known");

pub(super) fn read_search(cursor: &mut Cursor<'_>) -> Read<Search> {
    let returns = read_returns(cursor)?;
    if cursor.eat_word("CHARSET ").is_some() {
        read_charset(cursor)?;
        cursor.space()?;
    }
    Ok(Search {
        returns,
        key: read_keys(cursor)?,
    })
}

pub(super) fn read_sort(cursor: &mut Cursor<'_>) -> Read<Sorted> {
    let returns = read_returns(cursor)?;
    cursor.expect(b'(')?;
    let mut criteria = Vec::new();
    loop {
        let order = if cursor.eat_word("REVERSE ").is_some() {
            Order::Falling
        } else {
            Order::Rising
        };
        criteria.push((
            match cursor.word()?.as_str() {
                "ARRIVAL" => Criterion::Arrival,
                "CC" => Criterion::Cc,
                "DATE" => Criterion::Date,
                "FROM" => Criterion::From,
                "SIZE" => Criterion::Size,
                "SUBJECT" => Criterion::Subject,
                "TO" => Criterion::To,
                _ => return Err(Bad("No such order")),
            },
            order,
        ));
        // There are no more than these.
        if criteria.len() > 14 {
            return Err(Bad("Too many orders"));
        }
        if cursor.eat(b' ').is_none() {
            cursor.expect(b')')?;
            break;
        }
    }
    cursor.space()?;
    read_charset(cursor)?;
    cursor.space()?;
    Ok(Sorted {
        criteria,
        returns,
        key: read_keys(cursor)?,
    })
}

pub(super) fn read_thread(cursor: &mut Cursor<'_>) -> Read<Threaded> {
    let algorithm = match cursor.word()?.as_str() {
        "ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        "REFERENCES" => Algorithm::References,
        _ => return Err(Bad("No such way of threading")),
    };
    cursor.space()?;
    read_charset(cursor)?;
    cursor.space()?;
    Ok(Threaded {
        algorithm,
        key: read_keys(cursor)?,
    })
}

fn read_returns(cursor: &mut Cursor<'_>) -> Read<Option<Returns>> {
    if cursor.eat_word("RETURN (").is_none() {
        return Ok(None);
    }
    let mut returns = Returns::default();
    if cursor.eat(b')').is_none() {
        loop {
            match cursor.word()?.as_str() {
                "MIN" => returns.min = true,
                "MAX" => returns.max = true,
                "ALL" => returns.all = true,
                "COUNT" => returns.count = true,
                "SAVE" => returns.save = true,
                _ => return Err(Bad("SEARCH can't return that")),
            }
            if cursor.eat(b' ').is_none() {
                cursor.expect(b')')?;
                break;
            }
        }
    }
    if returns == Returns::default() {
        returns.all = true;
    }
    cursor.space()?;
    Ok(Some(returns))
}

fn read_charset(cursor: &mut Cursor<'_>) -> Read<()> {
    let charset = cursor.astring_text()?;
    if charset.eq_ignore_ascii_case("UTF-8") || charset.eq_ignore_ascii_case("US-ASCII") {
        Ok(())
    } else {
        Err(CHARSET)
    }
}

fn read_keys(cursor: &mut Cursor<'_>) -> Read<Key> {
    let mut count = 0;
    read_all(cursor, SEARCH_DEPTH, &mut count)
}

fn read_all(cursor: &mut Cursor<'_>, depth: usize, count: &mut usize) -> Read<Key> {
    let mut keys = vec![read_key(cursor, depth, count)?];
    while cursor.eat(b' ').is_some() {
        keys.push(read_key(cursor, depth, count)?);
    }
    Ok(match keys.len() {
        1 => keys.pop().unwrap_or(Key::All),
        _ => Key::And(keys),
    })
}

fn read_key(cursor: &mut Cursor<'_>, depth: usize, count: &mut usize) -> Read<Key> {
    *count += 1;
    let Some(depth) = depth
        .checked_sub(1)
        .filter(|_| *count <= ITEMS_IN_A_COMMAND)
    else {
        return Err(Bad("The search is too large"));
    };
    if cursor.eat(b'(').is_some() {
        let key = read_all(cursor, depth, count)?;
        cursor.expect(b')')?;
        return Ok(key);
    }
    if cursor
        .peek()
        .is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'$'))
    {
        return Set::read(cursor).map(Key::Sequence);
    }
    let flag = |name: &str| Key::Flag(name.to_owned());
    let not = |key| Key::Not(Box::new(key));
    let word = cursor.word()?;
    Ok(match word.as_str() {
        "ALL" => Key::All,
        "ANSWERED" => flag("\\Answered"),
        "DELETED" => flag("\\Deleted"),
        "DRAFT" => flag("\\Draft"),
        "FLAGGED" => flag("\\Flagged"),
        "SEEN" => flag("\\Seen"),
        "UNANSWERED" => not(flag("\\Answered")),
        "UNDELETED" => not(flag("\\Deleted")),
        "UNDRAFT" => not(flag("\\Draft")),
        "UNFLAGGED" => not(flag("\\Flagged")),
        "UNSEEN" => not(flag("\\Seen")),
        // Nothing is \Recent here.
        "RECENT" | "NEW" => not(Key::All),
        "OLD" => Key::All,
        "KEYWORD" | "UNKEYWORD" => {
            cursor.space()?;
            let keyword = Key::Flag(read_keyword(cursor)?);
            if word == "KEYWORD" {
                keyword
            } else {
                not(keyword)
            }
        }
        "NOT" => {
            cursor.space()?;
            not(read_key(cursor, depth, count)?)
        }
        "OR" => {
            cursor.space()?;
            let first = read_key(cursor, depth, count)?;
            cursor.space()?;
            Key::Or(Box::new((first, read_key(cursor, depth, count)?)))
        }
        "UID" => {
            cursor.space()?;
            Key::Uid(Set::read(cursor)?)
        }
        "LARGER" => Key::Larger(after_space(cursor)?),
        "SMALLER" => Key::Smaller(after_space(cursor)?),
        "BEFORE" => Key::Arrived(When::Before, date(cursor)?),
        "ON" => Key::Arrived(When::On, date(cursor)?),
        "SINCE" => Key::Arrived(When::Since, date(cursor)?),
        "SENTBEFORE" => Key::Sent(When::Before, date(cursor)?),
        "SENTON" => Key::Sent(When::On, date(cursor)?),
        "SENTSINCE" => Key::Sent(When::Since, date(cursor)?),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => Key::Header(word, folded(cursor)?),
        "HEADER" => {
            cursor.space()?;
            let field = cursor.astring_text()?;
            Key::Header(field, folded(cursor)?)
        }
        "BODY" => Key::Body(folded(cursor)?),
        "TEXT" => Key::Text(folded(cursor)?),
        "MODSEQ" => {
            cursor.space()?;
            // `"/flags/\\Seen" all 620162338`: one mark counts for all of a message here.
            if cursor.peek() == Some(b'"') {
                cursor.string()?;
                cursor.space()?;
                cursor.word()?;
                cursor.space()?;
            }
            Key::ModSeq(cursor.number64()?)
        }
        "EMAILID" => {
            cursor.space()?;
            Key::EmailId(cursor.astring_text()?)
        }
        "THREADID" => {
            cursor.space()?;
            cursor.astring()?;
            Key::ThreadId
        }
        _ => return Err(Bad("No such search key")),
    })
}

fn after_space(cursor: &mut Cursor<'_>) -> Read<u64> {
    cursor.space()?;
    cursor.number64()
}

fn date(cursor: &mut Cursor<'_>) -> Read<i64> {
    cursor.space()?;
    let text = cursor.astring_text()?;
    read_date(&text).ok_or(Bad("A date is wrong"))
}

/// What is looked for, in lower case.
fn folded(cursor: &mut Cursor<'_>) -> Read<String> {
    cursor.space()?;
    Ok(cursor.astring_text()?.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read<Search> {
        let mut cursor = Cursor::new(text.as_bytes());
        let search = read_search(&mut cursor)?;
        cursor.end()?;
        Ok(search)
    }

    #[test]
    fn searches_are_read() {
        for good in [
            "ALL",
            "1:* NOT DELETED",
            "RETURN (MIN MAX) UNSEEN",
            "RETURN () ALL",
            "CHARSET UTF-8 TEXT {2}\r\n\u{e9}",
            "OR (FROM a TO b) NOT (SEEN FLAGGED)",
            "SINCE 1-Feb-1994 HEADER X-A \"\"",
            "MODSEQ \"/flags/\\\\draft\" all 620",
            "UID $ LARGER 5",
        ] {
            assert!(read(good).is_ok(), "{good} {:?}", read(good));
        }
    }

    #[test]
    fn nonsense_and_depth_are_refused() {
        assert_eq!(read("CHARSET KOI8-R ALL"), Err(CHARSET));
        let deep = format!("{}ALL{}", "(".repeat(100), ")".repeat(100));
        let nots = format!("{}ALL", "NOT ".repeat(10_000));
        let many = vec!["ALL"; 10_000].join(" ");
        for bad in [
            "",
            "FOO",
            "OR ALL",
            "NOT",
            "SINCE x",
            "()",
            "(ALL",
            "RETURN (X) ALL",
            "KEYWORD \\Seen",
            &deep,
            &nots,
            &many,
        ] {
            assert!(
                read(bad).is_err(),
                "{}",
                bad.chars().take(30).collect::<String>()
            );
        }
    }
}
