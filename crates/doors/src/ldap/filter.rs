//! Search filters (RFC 4511 section 4.5.1.7): read from bytes, and what of an entry they need.
//!
//! Their depth and size are bounded while they are read, so that whatever walks one afterwards, or drops it, may recurse.

use super::ber::{OCTETS, Reader, SEQUENCE};
use super::limits::{FILTER_DEPTH, FILTER_ITEMS, FILTER_PARTS};
use super::message::{Code, Wrong};
use super::schema::{Attribute, attribute};

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    /// One of a closed list of attributes; what is not in it is [`Filter::Undefined`].
    Equal(Attribute, String),
    /// Initial, any, final.
    Substrings(Attribute, Substrings),
    AtLeast(Attribute, String),
    AtMost(Attribute, String),
    Present(Attribute),
    /// It is neither true nor false of any entry: an attribute that nobody knows, or a value that is no text.
    Undefined,
}

/// What a value must begin with, contain in this order, and end with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Substrings {
    pub(super) initial: Option<String>,
    pub(super) any: Vec<String>,
    pub(super) last: Option<String>,
}

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const APPROXIMATE: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

/// Reads a filter.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Filter, Wrong> {
    let mut items = 0;
    nested(reader, FILTER_DEPTH, &mut items)
}

fn nested(reader: &mut Reader<'_>, depth: usize, items: &mut usize) -> Result<Filter, Wrong> {
    let Some(below) = depth.checked_sub(1) else {
        return Err(Wrong::Refused(
            Code::AdminLimitExceeded,
            "the filter is nested too deeply",
        ));
    };
    *items += 1;
    if *items > FILTER_ITEMS {
        return Err(Wrong::Refused(
            Code::AdminLimitExceeded,
            "the filter has too many items",
        ));
    }
    let (tag, content) = reader.element()?;
    let mut inside = Reader::new(content);
    Ok(match tag {
        AND | OR => {
            let mut all = Vec::new();
            while !inside.is_empty() {
                all.push(nested(&mut inside, below, items)?);
            }
            if tag == AND {
                Filter::And(all)
            } else {
                Filter::Or(all)
            }
        }
        NOT => {
            let filter = nested(&mut inside, below, items)?;
            inside.end()?;
            Filter::Not(Box::new(filter))
        }
        EQUAL | AT_LEAST | AT_MOST | APPROXIMATE => {
            let described = inside.text(OCTETS)?;
            let value = inside.expect(OCTETS)?;
            inside.end()?;
            match (attribute(described), std::str::from_utf8(value)) {
                (Some(attribute), Ok(value)) => {
                    let value = value.to_owned();
                    match tag {
                        AT_LEAST => Filter::AtLeast(attribute, value),
                        AT_MOST => Filter::AtMost(attribute, value),
                        // RFC 4511 4.5.1.7.6: what knows no other likeness takes equality.
                        _ => Filter::Equal(attribute, value),
                    }
                }
                (None, _) | (_, Err(_)) => Filter::Undefined,
            }
        }
        SUBSTRINGS => substrings(inside)?,
        PRESENT => match std::str::from_utf8(content).ok().and_then(attribute) {
            Some(attribute) => Filter::Present(attribute),
            None => Filter::Undefined,
        },
        EXTENSIBLE => {
            return Err(Wrong::Refused(
                Code::InappropriateMatching,
                "filters with matching rules of their own are not known here",
            ));
        }
        _ => return Err(Wrong::Malformed),
    })
}

fn substrings(mut inside: Reader<'_>) -> Result<Filter, Wrong> {
    let described = attribute(inside.text(OCTETS)?);
    let mut parts = inside.inside(SEQUENCE)?;
    inside.end()?;
    if parts.is_empty() {
        return Err(Wrong::Malformed);
    }
    let mut found = Substrings::default();
    let mut readable = true;
    while !parts.is_empty() {
        let (tag, content) = parts.element()?;
        let Ok(text) = std::str::from_utf8(content).map(str::to_owned) else {
            readable = false;
            continue;
        };
        match tag {
            // First, and last, as RFC 4511 4.5.1.7.2 has it.
            0x80 if found == Substrings::default() => found.initial = Some(text),
            0x81 if found.last.is_none() && found.any.len() < FILTER_PARTS => {
                found.any.push(text);
            }
            0x82 if found.last.is_none() => found.last = Some(text),
            _ => return Err(Wrong::Malformed),
        }
    }
    Ok(match described.filter(|_| readable) {
        Some(attribute) => Filter::Substrings(attribute, found),
        None => Filter::Undefined,
    })
}
