//! A query as it comes in: header, one question, perhaps EDNS (RFC 6891).
//!
//! Must never trust a length: what does not parse is a format error, or nothing at all.

/// A longer query is none: a name has 255 octets, EDNS options some tens.
pub const MAX_QUERY_BYTES: usize = 4_096;
/// The header's length.
pub(super) const HEADER_BYTES: usize = 12;
/// Longest name on the wire (RFC 1035 2.3.4).
const MAX_WIRE_NAME: usize = 255;
/// The pseudo record of EDNS.
pub(super) const OPT: u16 = 41;

/// Why a query is not answered from a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is no query: an answer to it could be an answer to an answer. Silence.
    NotAQuery,
    /// Format error.
    Format,
    /// An operation that is not offered.
    NotImplemented,
    /// A later version of EDNS.
    Version,
}

/// The first two header words, which an answer repeats in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
}

/// A question, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) header: Header,
    /// The question's octets, as they came.
    pub(super) question: &'a [u8],
    /// The name asked for, lower case, labels with dots between.
    pub(super) name: String,
    /// Where each label begins in the packet.
    pub(super) labels: Vec<u16>,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The client's size, if it speaks EDNS.
    pub(super) edns_size: Option<u16>,
}

/// What can be said of a packet's header, if it is a query at all.
pub(super) fn header(packet: &[u8]) -> Result<Header, Bad> {
    let id = word(packet, 0).ok_or(Bad::NotAQuery)?;
    let flags = word(packet, 2).ok_or(Bad::NotAQuery)?;
    if packet.len() < HEADER_BYTES || flags & 0x8000 != 0 {
        return Err(Bad::NotAQuery);
    }
    Ok(Header { id, flags })
}

pub(super) fn parse(packet: &[u8]) -> Result<Query<'_>, Bad> {
    let header = header(packet)?;
    if (header.flags >> 11) & 0xf != 0 {
        return Err(Bad::NotImplemented);
    }
    let count = |at| word(packet, at).ok_or(Bad::Format);
    if packet.len() > MAX_QUERY_BYTES || count(4)? != 1 || count(6)? != 0 || count(8)? != 0 {
        return Err(Bad::Format);
    }
    let (name, labels, mut at) = read_name(packet)?;
    let kind = word(packet, at).ok_or(Bad::Format)?;
    let class = word(packet, at + 2).ok_or(Bad::Format)?;
    at += 4;
    let question = packet.get(HEADER_BYTES..at).ok_or(Bad::Format)?;
    let edns_size = match count(10)? {
        0 => None,
        1 => {
            // The root's name, OPT, size, flags with the version, options.
            let opt = packet.get(at..).ok_or(Bad::Format)?;
            if opt.first() != Some(&0) || word(opt, 1) != Some(OPT) {
                return Err(Bad::Format);
            }
            let size = word(opt, 3).ok_or(Bad::Format)?;
            let version = *opt.get(6).ok_or(Bad::Format)?;
            let options = usize::from(word(opt, 9).ok_or(Bad::Format)?);
            at += 11 + options;
            if at > packet.len() {
                return Err(Bad::Format);
            }
            if version != 0 {
                return Err(Bad::Version);
            }
            Some(size)
        }
        _ => return Err(Bad::Format),
    };
    if at != packet.len() {
        return Err(Bad::Format);
    }
    Ok(Query {
        header,
        question,
        name,
        labels,
        kind,
        class,
        edns_size,
    })
}

/// The question's name; there is nothing before it that it could point to.
fn read_name(packet: &[u8]) -> Result<(String, Vec<u16>, usize), Bad> {
    let mut name = String::new();
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let len = usize::from(*packet.get(at).ok_or(Bad::Format)?);
        if len == 0 {
            return Ok((name, labels, at + 1));
        }
        let label = packet.get(at + 1..at + 1 + len).ok_or(Bad::Format)?;
        if len > 63 || at + len + 2 - HEADER_BYTES > MAX_WIRE_NAME {
            return Err(Bad::Format);
        }
        if !labels.is_empty() {
            name.push('.');
        }
        labels.push(u16::try_from(at).map_err(|_| Bad::Format)?);
        for octet in label {
            // A dot inside a label, or what is no ASCII, is in no name of ours.
            name.push(match octet {
                b'.' | 128.. => '\u{1}',
                octet => char::from(octet.to_ascii_lowercase()),
            });
        }
        at += 1 + len;
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}
