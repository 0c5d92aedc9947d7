//! What FETCH asks for (RFC 9051 section 6.4.5, BINARY of RFC 3516, MODSEQ and VANISHED of RFC 7162, OBJECTID of RFC 8474).

use super::limits::{ITEMS_IN_A_COMMAND, PART_DEPTH};
use super::sets::Set;
use super::syntax::{Bad, Cursor, Read};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) set: Set,
    pub(super) items: Vec<Item>,
    pub(super) changed_since: Option<u64>,
    pub(super) vanished: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    ModSeq,
    EmailId,
    ThreadId,
    Envelope,
    Body,
    BodyStructure,
    Section(Section),
    /// A part's content, its transfer encoding undone.
    Binary {
        path: Vec<u32>,
        partial: Option<(u64, u64)>,
        peek: Peek,
    },
    BinarySize(Vec<u32>),
}

/// Whether reading marks the message as seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peek {
    Yes,
    No,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) path: Vec<u32>,
    pub(super) what: What,
    pub(super) partial: Option<(u64, u64)>,
    pub(super) peek: Peek,
    /// How it is called in the answer: `BODY[...]`, or as RFC822 has it.
    pub(super) called: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A message or a part, whole.
    All,
    Header,
    Fields(Vec<String>),
    FieldsNot(Vec<String>),
    Text,
    Mime,
}

pub(super) fn read(cursor: &mut Cursor<'_>) -> Read<Fetch> {
    let set = Set::read(cursor)?;
    cursor.space()?;
    let mut items = Vec::new();
    if cursor.eat(b'(').is_some() {
        loop {
            read_item(cursor, &mut items)?;
            if items.len() > ITEMS_IN_A_COMMAND {
                return Err(Bad("Too many items in one command"));
            }
            if cursor.eat(b' ').is_none() {
                cursor.expect(b')')?;
                break;
            }
        }
    } else {
        read_item(cursor, &mut items)?;
    }
    let mut fetch = Fetch {
        set,
        items,
        changed_since: None,
        vanished: false,
    };
    if cursor.eat_word(" (").is_some() {
        loop {
            if cursor.eat_word("CHANGEDSINCE ").is_some() {
                fetch.changed_since = Some(cursor.number64()?);
            } else if cursor.eat_word("VANISHED").is_some() {
                fetch.vanished = true;
            } else {
                return Err(Bad("No such modifier of FETCH"));
            }
            if cursor.eat(b' ').is_none() {
                cursor.expect(b')')?;
                break;
            }
        }
    }
    Ok(fetch)
}

fn read_item(cursor: &mut Cursor<'_>, items: &mut Vec<Item>) -> Read<()> {
    let word = cursor.word()?;
    let whole = |what, peek, called: &str| {
        Item::Section(Section {
            path: Vec::new(),
            what,
            partial: None,
            peek,
            called: called.to_owned(),
        })
    };
    items.push(match word.as_str() {
        "ALL" | "FAST" | "FULL" => {
            items.extend([Item::Flags, Item::InternalDate, Item::Size]);
            if word != "FAST" {
                items.push(Item::Envelope);
            }
            if word == "FULL" {
                items.push(Item::Body);
            }
            return Ok(());
        }
        "UID" => Item::Uid,
        "FLAGS" => Item::Flags,
        "INTERNALDATE" => Item::InternalDate,
        "RFC822.SIZE" => Item::Size,
        "MODSEQ" => Item::ModSeq,
        "EMAILID" => Item::EmailId,
        "THREADID" => Item::ThreadId,
        "ENVELOPE" => Item::Envelope,
        "BODYSTRUCTURE" => Item::BodyStructure,
        "RFC822" => whole(What::All, Peek::No, "RFC822"),
        "RFC822.HEADER" => whole(What::Header, Peek::Yes, "RFC822.HEADER"),
        "RFC822.TEXT" => whole(What::Text, Peek::No, "RFC822.TEXT"),
        "BODY" if cursor.peek() != Some(b'[') => Item::Body,
        "BODY" => read_section(cursor, Peek::No)?,
        "BODY.PEEK" => read_section(cursor, Peek::Yes)?,
        "BINARY" => read_binary(cursor, Peek::No)?,
        "BINARY.PEEK" => read_binary(cursor, Peek::Yes)?,
        "BINARY.SIZE" => {
            cursor.expect(b'[')?;
            let path = read_path(cursor)?.0;
            cursor.expect(b']')?;
            Item::BinarySize(path)
        }
        _ => return Err(Bad("FETCH has no such item")),
    });
    Ok(())
}

fn read_binary(cursor: &mut Cursor<'_>, peek: Peek) -> Read<Item> {
    cursor.expect(b'[')?;
    let path = read_path(cursor)?.0;
    cursor.expect(b']')?;
    Ok(Item::Binary {
        path,
        partial: read_partial(cursor)?,
        peek,
    })
}

/// The numbers, and whether a dot follows them.
fn read_path(cursor: &mut Cursor<'_>) -> Read<(Vec<u32>, bool)> {
    let mut path = Vec::new();
    while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        match cursor.number()? {
            0 => return Err(Bad("Parts are counted from 1")),
            number => path.push(number),
        }
        // More than any message has: no such part.
        if path.len() > 4 * PART_DEPTH {
            return Err(Bad("No part is as deep"));
        }
        if cursor.eat(b'.').is_none() {
            return Ok((path, false));
        }
    }
    let dotted = !path.is_empty();
    Ok((path, dotted))
}

fn read_section(cursor: &mut Cursor<'_>, peek: Peek) -> Read<Item> {
    const SECTION: Bad = Bad("BODY has no such section");
    cursor.expect(b'[')?;
    let (path, dotted) = read_path(cursor)?;
    let mut called = String::from("BODY[");
    called.push_str(
        &path
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join("."),
    );
    let what = if (path.is_empty() && cursor.peek() != Some(b']')) || dotted {
        if dotted {
            called.push('.');
        }
        let word = cursor.word().map_err(|_| SECTION)?;
        called.push_str(&word);
        match word.as_str() {
            "HEADER" => What::Header,
            "TEXT" => What::Text,
            "MIME" if dotted => What::Mime,
            "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
                cursor.space()?;
                let fields = read_fields(cursor)?;
                called.push_str(" (");
                for (at, field) in fields.iter().enumerate() {
                    if at > 0 {
                        called.push(' ');
                    }
                    called.push_str(field);
                }
                called.push(')');
                if word == "HEADER.FIELDS" {
                    What::Fields(fields)
                } else {
                    What::FieldsNot(fields)
                }
            }
            _ => return Err(SECTION),
        }
    } else {
        What::All
    };
    cursor.expect(b']').map_err(|_| SECTION)?;
    called.push(']');
    let partial = read_partial(cursor)?;
    if let Some((start, _)) = partial {
        called.push_str(&format!("<{start}>"));
    }
    Ok(Item::Section(Section {
        path,
        what,
        partial,
        peek,
        called,
    }))
}

fn read_fields(cursor: &mut Cursor<'_>) -> Read<Vec<String>> {
    cursor.expect(b'(')?;
    let mut fields = Vec::new();
    loop {
        let field = cursor.astring_text()?;
        // It is said again in the answer: only what is one can be.
        if field.is_empty()
            || !field.bytes().all(|byte| {
                byte.is_ascii_graphic()
                    && !matches!(
                        byte,
                        b'(' | b')' | b'{' | b'"' | b'\\' | b']' | b'%' | b'*' | b':'
                    )
            })
        {
            return Err(Bad("Not the name of a header field"));
        }
        fields.push(field);
        if fields.len() > ITEMS_IN_A_COMMAND {
            return Err(Bad("Too many items in one command"));
        }
        if cursor.eat(b' ').is_none() {
            cursor.expect(b')')?;
            return Ok(fields);
        }
    }
}

fn read_partial(cursor: &mut Cursor<'_>) -> Read<Option<(u64, u64)>> {
    if cursor.eat(b'<').is_none() {
        return Ok(None);
    }
    let start = cursor.number64()?;
    cursor.expect(b'.')?;
    let count = cursor.number64()?;
    cursor.expect(b'>')?;
    if count == 0 {
        return Err(Bad("A number is wrong"));
    }
    Ok(Some((start, count)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn called(text: &str) -> String {
        let mut cursor = Cursor::new(text.as_bytes());
        let fetch = read(&mut cursor).unwrap();
        cursor.end().unwrap();
        match fetch.items.as_slice() {
            [Item::Section(section)] => section.called.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_section_is_called_as_it_was_asked_for() {
        assert_eq!(called("1 BODY[]"), "BODY[]");
        assert_eq!(called("1 body.peek[1.2.mime]<0.10>"), "BODY[1.2.MIME]<0>");
        assert_eq!(
            called("1 BODY[HEADER.FIELDS (From \"To\")]"),
            "BODY[HEADER.FIELDS (From To)]"
        );
        assert_eq!(
            called("1 BODY[3.HEADER.FIELDS.NOT (X)]"),
            "BODY[3.HEADER.FIELDS.NOT (X)]"
        );
        assert_eq!(called("1 RFC822.TEXT"), "RFC822.TEXT");
        assert_eq!(called("1 FAST"), "[Flags, InternalDate, Size]");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "1 BODY[",
            "1 BODY[0]",
            "1 BODY[MIME]",
            "1 BODY[1.]",
            "1 BODY[X]",
            "1 BODY[]<1>",
            "1 BODY[]<1.0>",
            "1 ()",
            "1 (UID",
            "1 BODY[HEADER.FIELDS ()]",
            "1 BODY[HEADER.FIELDS (a\x0d)]",
            "1 BINARY[HEADER]",
            "1 UID (X)",
        ] {
            let mut cursor = Cursor::new(bad.as_bytes());
            assert!(
                read(&mut cursor).and_then(|_| cursor.end()).is_err(),
                "{bad}"
            );
        }
    }
}
