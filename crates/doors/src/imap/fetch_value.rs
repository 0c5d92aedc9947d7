//! What the items of FETCH are made of: the row, the header, or octets of the message from here to there.

use grapevine_model::MessageId;

use super::dates::put_date_time;
use super::fetch_syntax::{Item, Section, What};
use super::header::fields;
use super::mime::{Depth, Part, Span, Structure};
use super::transfer::Decoder;
use super::types::Row;

/// Where an item's value is.
pub(super) enum Source {
    Nil,
    Bytes(Vec<u8>),
    Span(Span),
}

/// How much of a message an item needs to be known.
pub(super) fn needs(item: &Item) -> Option<Depth> {
    match item {
        Item::Uid
        | Item::Flags
        | Item::InternalDate
        | Item::Size
        | Item::ModSeq
        | Item::EmailId
        | Item::ThreadId => None,
        Item::Envelope => Some(Depth::Header),
        Item::Body | Item::BodyStructure => Some(Depth::Parts),
        Item::Section(section) if !section.path.is_empty() => Some(Depth::Parts),
        Item::Section(section) if section.what == What::All => None,
        Item::Section(_) => Some(Depth::Header),
        Item::Binary { path, .. } | Item::BinarySize(path) => {
            (!path.is_empty()).then_some(Depth::Parts)
        }
    }
}

pub(super) fn is_simple(item: &Item) -> bool {
    matches!(
        item,
        Item::Uid
            | Item::Flags
            | Item::InternalDate
            | Item::Size
            | Item::ModSeq
            | Item::EmailId
            | Item::ThreadId
    )
}

/// What stands in the row.
pub(super) fn put_simple(out: &mut Vec<u8>, items: &[Item], row: &Row) {
    for (at, item) in items.iter().filter(|item| is_simple(item)).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        match item {
            Item::Uid => out.extend_from_slice(format!("UID {}", row.uid).as_bytes()),
            Item::Flags => {
                out.extend_from_slice(b"FLAGS ");
                row.flags.put(out);
            }
            Item::InternalDate => {
                out.extend_from_slice(b"INTERNALDATE ");
                put_date_time(out, row.date_ms);
            }
            Item::Size => {
                out.extend_from_slice(format!("RFC822.SIZE {}", row.size_bytes).as_bytes())
            }
            Item::ModSeq => out.extend_from_slice(format!("MODSEQ ({})", row.modseq).as_bytes()),
            Item::EmailId => {
                out.extend_from_slice(format!("EMAILID ({})", email_id(row.content)).as_bytes())
            }
            Item::ThreadId => out.extend_from_slice(b"THREADID NIL"),
            _ => {}
        }
    }
}

/// An OBJECTID.
pub(super) fn email_id(content: MessageId) -> String {
    format!("m{:x}", content.to_u128())
}

pub(super) fn put_literal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn slice(bytes: &[u8], span: Span) -> &[u8] {
    let at = |offset: u64| {
        usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len())
    };
    bytes.get(at(span.start)..at(span.end)).unwrap_or_default()
}

pub(super) fn source_of(section: &Section, structure: Option<&Structure>, row: &Row) -> Source {
    if section.path.is_empty() && section.what == What::All {
        return Source::Span(Span {
            start: 0,
            end: row.size_bytes,
        });
    }
    let Some(structure) = structure else {
        return Source::Nil;
    };
    let Some(part) = structure.part(&section.path) else {
        return Source::Nil;
    };
    // HEADER and TEXT are a message's: the whole one, or one within.
    let message: Option<&Part> = if section.path.is_empty() {
        Some(part)
    } else {
        structure.message_in(part)
    };
    match &section.what {
        What::All => Source::Span(part.body_span()),
        What::Mime => Source::Span(part.header_span()),
        What::Header => message.map_or(Source::Nil, |message| Source::Span(message.header_span())),
        What::Text => match message {
            None => Source::Nil,
            Some(message) if section.path.is_empty() => Source::Span(Span {
                start: message.body_start,
                end: row.size_bytes.max(message.body_start),
            }),
            Some(message) => Source::Span(message.body_span()),
        },
        What::Fields(names) => message.map_or(Source::Nil, |message| {
            Source::Bytes(some_fields(&message.header, |name| has(names, name)))
        }),
        What::FieldsNot(names) => message.map_or(Source::Nil, |message| {
            Source::Bytes(some_fields(&message.header, |name| !has(names, name)))
        }),
    }
}

fn has(names: &[String], name: &[u8]) -> bool {
    names
        .iter()
        .any(|one| one.as_bytes().eq_ignore_ascii_case(name))
}

fn some_fields(header: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, field) in fields(header).filter(|(name, _)| wanted(name)) {
        out.extend_from_slice(field);
        if !field.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

pub(super) fn cut(source: Source, partial: Option<(u64, u64)>) -> Source {
    let Some((start, count)) = partial else {
        return source;
    };
    match source {
        Source::Nil => Source::Nil,
        Source::Bytes(bytes) => Source::Bytes(
            slice(
                &bytes,
                Span {
                    start,
                    end: start.saturating_add(count),
                },
            )
            .to_vec(),
        ),
        Source::Span(span) => {
            let begin = span.start.saturating_add(start).min(span.end);
            Source::Span(Span {
                start: begin,
                end: begin.saturating_add(count).min(span.end),
            })
        }
    }
}

pub(super) fn binary_source(
    path: &[u32],
    structure: Option<&Structure>,
    row: &Row,
) -> Option<(Span, Option<Decoder>)> {
    if path.is_empty() {
        return Some((
            Span {
                start: 0,
                end: row.size_bytes,
            },
            Some(Decoder::Identity),
        ));
    }
    let part = structure?.part(path)?;
    Some((part.body_span(), Decoder::new(&part.encoding)))
}
