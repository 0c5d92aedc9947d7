//! Messages of LDAP (RFC 4511 section 4) from their bytes, and results to theirs.
//!
//! A message that exists obeys the limits of `limits`. What could not be read keeps its id where that could be read, so that the client learns
//! which of its requests was wrong.

use super::ber::{self, Malformed, OCTETS, Read, Reader};
use super::filter::{self, Filter};
use super::limits::{ATTRIBUTES, CONTROLS};

/// StartTLS (RFC 4511 section 4.14).
pub(super) const STARTTLS: &str = "1.3.6.1.4.1.1466.20037";
/// Who am I? (RFC 4532).
pub(super) const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// Simple paged results (RFC 2696).
pub(super) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// The notice of disconnection (RFC 4511 section 4.4.1).
const DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";

const BIND: u8 = 0x60;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const MODIFY: u8 = 0x66;
const ADD: u8 = 0x68;
const DELETE: u8 = 0x4a;
const MODIFY_DN: u8 = 0x6c;
const COMPARE: u8 = 0x6e;
const ABANDON: u8 = 0x50;
const EXTENDED: u8 = 0x77;
const CONTROLS_TAG: u8 = 0xa0;

const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const EXTENDED_DONE: u8 = 0x78;

/// A request.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) id: i32,
    pub(super) operation: Operation<'a>,
    pub(super) controls: Vec<Control<'a>>,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Operation<'a> {
    Bind {
        version: i32,
        name: &'a str,
        by: Proof<'a>,
    },
    Unbind,
    Search(Box<Search>),
    Compare {
        name: &'a str,
        attribute: &'a str,
        value: &'a [u8],
    },
    /// A change, and the tag of its response: this directory is read-only.
    Change(u8),
    Abandon,
    Extended {
        name: &'a str,
    },
}

/// How a client proves who it is.
#[derive(Debug)]
pub(super) enum Proof<'a> {
    Simple(&'a [u8]),
    Other,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Base,
    One,
    Subtree,
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: Scope,
    /// 0 for none.
    pub(super) size_limit: usize,
    /// 0 for none.
    pub(super) time_limit_s: u32,
    pub(super) types_only: bool,
    pub(super) filter: Filter,
    pub(super) attributes: Vec<String>,
}

/// Something that a client adds to a request.
#[derive(Debug)]
pub(super) struct Control<'a> {
    pub(super) name: &'a str,
    pub(super) critical: bool,
    pub(super) value: Option<&'a [u8]>,
}

/// The value of the paged results control.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) size: usize,
    pub(super) cookie: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not even an id: nobody can be answered.
    NoMessage,
    /// A request that is answered with this result.
    Request {
        id: i32,
        /// The tag of its response; none where it has none, or none is known.
        response: Option<u8>,
        code: Code,
        why: &'static str,
    },
}

/// Result codes (RFC 4511 appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Code {
    Success = 0,
    OperationsError = 1,
    ProtocolError = 2,
    TimeLimitExceeded = 3,
    SizeLimitExceeded = 4,
    CompareFalse = 5,
    CompareTrue = 6,
    AuthMethodNotSupported = 7,
    AdminLimitExceeded = 11,
    UnavailableCriticalExtension = 12,
    ConfidentialityRequired = 13,
    NoSuchAttribute = 16,
    UndefinedAttributeType = 17,
    InappropriateMatching = 18,
    InvalidAttributeSyntax = 21,
    NoSuchObject = 32,
    InvalidDnSyntax = 34,
    InvalidCredentials = 49,
    InsufficientAccessRights = 50,
    Busy = 51,
    Unavailable = 52,
    UnwillingToPerform = 53,
    Other = 80,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: Code,
    /// With noSuchObject: how far the name leads.
    pub(super) matched: String,
    pub(super) why: String,
}

impl Outcome {
    pub(super) fn new(code: Code, why: impl Into<String>) -> Self {
        Self {
            code,
            matched: String::new(),
            why: why.into(),
        }
    }

    pub(super) fn success() -> Self {
        Self::new(Code::Success, "")
    }
}

/// The responses' tags.
pub(super) const BIND_DONE: u8 = 0x61;
pub(super) const COMPARE_DONE: u8 = 0x6f;

/// Reads the content of one message.
pub(super) fn parse(content: &[u8]) -> Result<Message<'_>, Unreadable> {
    let mut reader = Reader::new(content);
    let id = match reader.integer(ber::INTEGER) {
        // 0 is for notices of the server's own.
        Ok(id) if id > 0 => id,
        Ok(_) | Err(Malformed) => return Err(Unreadable::NoMessage),
    };
    let Ok((tag, body)) = reader.element() else {
        return Err(Unreadable::NoMessage);
    };
    let refuse = |code, why| Unreadable::Request {
        id,
        response: response(tag),
        code,
        why,
    };
    let operation = match operation(tag, body) {
        Ok(operation) => operation,
        Err(Wrong::Malformed) => {
            return Err(refuse(Code::ProtocolError, "the request can't be read"));
        }
        Err(Wrong::Refused(code, why)) => return Err(refuse(code, why)),
    };
    let controls =
        controls(reader).map_err(|_| refuse(Code::ProtocolError, "the controls can't be read"))?;
    Ok(Message {
        id,
        operation,
        controls,
    })
}

/// What is wrong with a request.
pub(super) enum Wrong {
    Malformed,
    Refused(Code, &'static str),
}

impl From<Malformed> for Wrong {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The tag of the response to a request.
fn response(request: u8) -> Option<u8> {
    match request {
        BIND => Some(BIND_DONE),
        SEARCH => Some(SEARCH_DONE),
        MODIFY => Some(0x67),
        ADD => Some(0x69),
        DELETE => Some(0x6b),
        MODIFY_DN => Some(0x6d),
        COMPARE => Some(COMPARE_DONE),
        EXTENDED => Some(EXTENDED_DONE),
        _ => None,
    }
}

fn operation(tag: u8, body: &[u8]) -> Result<Operation<'_>, Wrong> {
    let mut reader = Reader::new(body);
    Ok(match tag {
        BIND => {
            let version = reader.integer(ber::INTEGER)?;
            let name = reader.text(OCTETS)?;
            let by = match reader.element()? {
                (0x80, password) => Proof::Simple(password),
                _ => Proof::Other,
            };
            Operation::Bind { version, name, by }
        }
        UNBIND => Operation::Unbind,
        SEARCH => Operation::Search(Box::new(search(reader)?)),
        COMPARE => {
            let name = reader.text(OCTETS)?;
            let mut assertion = reader.inside(ber::SEQUENCE)?;
            let attribute = assertion.text(OCTETS)?;
            let value = assertion.expect(OCTETS)?;
            assertion.end()?;
            reader.end()?;
            Operation::Compare {
                name,
                attribute,
                value,
            }
        }
        MODIFY | ADD | DELETE | MODIFY_DN => match response(tag) {
            Some(response) => Operation::Change(response),
            None => return Err(Wrong::Malformed),
        },
        ABANDON => Operation::Abandon,
        EXTENDED => {
            let name = reader.text(0x80)?;
            reader.optional(0x81)?;
            reader.end()?;
            Operation::Extended { name }
        }
        _ => return Err(Wrong::Malformed),
    })
}

fn search(mut reader: Reader<'_>) -> Result<Search, Wrong> {
    let base = reader.text(OCTETS)?.to_owned();
    let scope = match reader.integer(ber::ENUMERATED)? {
        0 => Scope::Base,
        1 => Scope::One,
        2 => Scope::Subtree,
        _ => {
            return Err(Wrong::Refused(
                Code::ProtocolError,
                "there is no such scope",
            ));
        }
    };
    // There are no aliases in this directory, so it is all the same what is to be done with them.
    let _dereference = reader.integer(ber::ENUMERATED)?;
    let size_limit = usize::try_from(reader.integer(ber::INTEGER)?).map_err(|_| Malformed)?;
    let time_limit_s = u32::try_from(reader.integer(ber::INTEGER)?).map_err(|_| Malformed)?;
    let types_only = reader.boolean()?;
    let filter = filter::parse(&mut reader)?;
    let mut list = reader.inside(ber::SEQUENCE)?;
    let mut attributes = Vec::new();
    while !list.is_empty() {
        if attributes.len() >= ATTRIBUTES {
            return Err(Wrong::Refused(
                Code::AdminLimitExceeded,
                "too many attributes are named",
            ));
        }
        attributes.push(list.text(OCTETS)?.to_owned());
    }
    reader.end()?;
    Ok(Search {
        base,
        scope,
        size_limit,
        time_limit_s,
        types_only,
        filter,
        attributes,
    })
}

fn controls(mut reader: Reader<'_>) -> Read<Vec<Control<'_>>> {
    let Some(content) = reader.optional(CONTROLS_TAG)? else {
        return Ok(Vec::new());
    };
    let mut list = Reader::new(content);
    let mut controls = Vec::new();
    while !list.is_empty() {
        if controls.len() >= CONTROLS {
            return Err(Malformed);
        }
        let mut control = list.inside(ber::SEQUENCE)?;
        let name = control.text(OCTETS)?;
        let critical = match control.optional(ber::BOOLEAN)? {
            Some(content) => ber::boolean(content)?,
            None => false,
        };
        let value = control.optional(OCTETS)?;
        control.end()?;
        controls.push(Control {
            name,
            critical,
            value,
        });
    }
    Ok(controls)
}

impl Control<'_> {
    /// The value of a paged results control.
    pub(super) fn paging(&self) -> Read<Paging> {
        let mut value = Reader::new(self.value.ok_or(Malformed)?).inside(ber::SEQUENCE)?;
        let size = usize::try_from(value.integer(ber::INTEGER)?).map_err(|_| Malformed)?;
        let cookie = value.expect(OCTETS)?.to_vec();
        value.end()?;
        Ok(Paging { size, cookie })
    }
}

/// Appends a response that is a result and no more.
pub(super) fn put_result(out: &mut Vec<u8>, id: i32, tag: u8, outcome: &Outcome) {
    put_message(out, id, |out| {
        ber::put_inside(out, tag, |out| put_outcome(out, outcome));
    });
}

/// Appends the end of a search, with the cookie of its next page where it was asked for in pages.
pub(super) fn put_search_done(
    out: &mut Vec<u8>,
    id: i32,
    outcome: &Outcome,
    cookie: Option<&[u8]>,
) {
    ber::put_inside(out, ber::SEQUENCE, |out| {
        ber::put_integer(out, ber::INTEGER, id);
        ber::put_inside(out, SEARCH_DONE, |out| put_outcome(out, outcome));
        if let Some(cookie) = cookie {
            let mut value = Vec::new();
            ber::put_inside(&mut value, ber::SEQUENCE, |value| {
                // How many there are in all is not known.
                ber::put_integer(value, ber::INTEGER, 0);
                ber::put(value, OCTETS, cookie);
            });
            ber::put_inside(out, CONTROLS_TAG, |out| {
                ber::put_inside(out, ber::SEQUENCE, |out| {
                    ber::put(out, OCTETS, PAGED_RESULTS.as_bytes());
                    ber::put(out, OCTETS, &value);
                });
            });
        }
    });
}

/// Appends an entry that was found: its name, its attributes with their values.
pub(super) fn put_entry<'v>(
    out: &mut Vec<u8>,
    id: i32,
    name: &str,
    attributes: impl Iterator<Item = (&'v str, Vec<String>)>,
) {
    put_message(out, id, |out| {
        ber::put_inside(out, SEARCH_ENTRY, |out| {
            ber::put(out, OCTETS, name.as_bytes());
            ber::put_inside(out, ber::SEQUENCE, |out| {
                for (attribute, values) in attributes {
                    ber::put_inside(out, ber::SEQUENCE, |out| {
                        ber::put(out, OCTETS, attribute.as_bytes());
                        ber::put_inside(out, ber::SET, |out| {
                            for value in values {
                                ber::put(out, OCTETS, value.as_bytes());
                            }
                        });
                    });
                }
            });
        });
    });
}

/// Appends the response to an extended operation.
pub(super) fn put_extended(
    out: &mut Vec<u8>,
    id: i32,
    outcome: &Outcome,
    name: Option<&str>,
    value: Option<&str>,
) {
    put_message(out, id, |out| {
        ber::put_inside(out, EXTENDED_DONE, |out| {
            put_outcome(out, outcome);
            if let Some(name) = name {
                ber::put(out, 0x8a, name.as_bytes());
            }
            if let Some(value) = value {
                ber::put(out, 0x8b, value.as_bytes());
            }
        });
    });
}

/// The notice that the server closes the connection, and why.
pub(super) fn notice_of_disconnection(code: Code, why: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_extended(
        &mut out,
        0,
        &Outcome::new(code, why),
        Some(DISCONNECTION),
        None,
    );
    out
}

fn put_message(out: &mut Vec<u8>, id: i32, operation: impl FnOnce(&mut Vec<u8>)) {
    ber::put_inside(out, ber::SEQUENCE, |out| {
        ber::put_integer(out, ber::INTEGER, id);
        operation(out);
    });
}

fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    ber::put_integer(out, ber::ENUMERATED, outcome.code as i32);
    ber::put(out, OCTETS, outcome.matched.as_bytes());
    ber::put(out, OCTETS, outcome.why.as_bytes());
}
