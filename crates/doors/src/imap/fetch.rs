//! FETCH: message by message, piece by piece; octets of bodies go through and are not kept.
//!
//! A literal is never longer or shorter than it was said to be: if a body breaks off in the middle, so does the connection. A message is marked as
//! seen when it has been sent, not before.

use grapevine_model::MessageId;

use super::change::expunges;
use super::command::{Access, By};
use super::envelope;
use super::fetch_syntax::{Fetch, Item, Peek, What};
use super::fetch_value::{
    Source, binary_source, cut, is_simple, needs, put_literal, put_simple, slice, source_of,
};
use super::flags::{Change, Flags};
use super::limits::SMALL_MESSAGE_BYTES;
use super::mime::{Depth, Scanner, Span, Structure};
use super::session::{Afterwards, Open, Running, Session};
use super::sets::{Ranges, Set};
use super::structure::{self, Extent};
use super::transfer::Decoder;
use super::types::{Answer, Ask, Flow, Row};

/// A FETCH on its way.
pub(super) struct Fetching {
    tag: String,
    by: By,
    items: Vec<Item>,
    changed_since: Option<u64>,
    depth: Option<Depth>,
    places: std::vec::IntoIter<usize>,
    current: Option<Current>,
    reader: Reader,
    seen: Vec<MessageId>,
    missing: Missing,
}

/// What could not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Nothing,
    /// Messages that are gone.
    Gone,
    /// Bodies that can't be read now.
    Bodies,
    /// Parts in an encoding that is not known.
    Encoding,
}

/// The message at hand.
struct Current {
    at: usize,
    begun: bool,
    next: usize,
    structure: Option<Structure>,
    /// All of it, where it is small and more than one piece of it is wanted.
    small: Option<Vec<u8>>,
}

/// What is done with the octets that the shell hands in.
enum Reader {
    Idle,
    Scan {
        scanner: Box<Scanner>,
        small: Option<Vec<u8>>,
    },
    Literal {
        left: u64,
        head: Option<Vec<u8>>,
    },
    /// Decodes once to count, once to send.
    Count {
        decoder: Decoder,
        left: u64,
        count: u64,
    },
    Decode {
        decoder: Decoder,
        raw_left: u64,
        skip: u64,
        left: u64,
    },
}

impl Session {
    pub(super) fn fetch(&mut self, tag: String, fetch: Fetch, by: By) {
        let Fetch {
            set,
            mut items,
            changed_since,
            vanished,
        } = fetch;
        if vanished && (by == By::Sequence || changed_since.is_none() || !self.enabled.qresync) {
            return self.fault(
                Some(&tag),
                "VANISHED goes with UID FETCH, CHANGEDSINCE and QRESYNC",
            );
        }
        let Some(places) = self.places(&tag, &set, by) else {
            return;
        };
        if changed_since.is_some() && !items.contains(&Item::ModSeq) {
            items.push(Item::ModSeq);
        }
        if by == By::Uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        self.enabled.condstore |= items.contains(&Item::ModSeq);
        if vanished {
            self.tell_vanished(&set);
        }
        let depth = items
            .iter()
            .filter_map(needs)
            .max_by_key(|depth| *depth == Depth::Parts);
        self.running = Some(Running::Fetch(Box::new(Fetching {
            tag,
            by,
            items,
            changed_since,
            depth,
            places: places.into_iter(),
            current: None,
            reader: Reader::Idle,
            seen: Vec::new(),
            missing: Missing::Nothing,
        })));
    }

    fn tell_vanished(&mut self, set: &Set) {
        let Some(view) = &self.selected else { return };
        let asked = set.resolve(view.uidnext.saturating_sub(1), &self.saved);
        let below = Ranges::all_below(view.uidnext);
        let there = view
            .rows
            .iter()
            .filter(|seen| !seen.gone)
            .map(|seen| seen.row.uid);
        let gone: Vec<(u32, u32)> = asked
            .without(there)
            .iter()
            .filter(|(first, _)| below.contains(*first))
            .map(|(first, last)| (first, last.min(view.uidnext.saturating_sub(1))))
            .collect();
        if gone.is_empty() {
            return;
        }
        let gone = Ranges::of(gone);
        self.write(|out| {
            out.extend_from_slice(b"* VANISHED (EARLIER) ");
            gone.put(out);
            out.extend_from_slice(b"\r\n");
        });
    }

    pub(super) fn fetch_on(&mut self, mut fetching: Box<Fetching>) {
        loop {
            if self.room() == 0 {
                self.running = Some(Running::Fetch(fetching));
                return;
            }
            match fetching.current.take() {
                Some(current) => match self.fetch_message(fetching, current) {
                    Some(rest) => fetching = rest,
                    None => return,
                },
                None => {
                    let Some(at) = fetching.places.next() else {
                        return self.fetch_done(*fetching);
                    };
                    let Some(seen) = self.selected.as_ref().and_then(|view| view.rows.get(at))
                    else {
                        continue;
                    };
                    if seen.gone {
                        fetching.missing = fetching.missing.max(Missing::Gone);
                    } else if fetching
                        .changed_since
                        .is_none_or(|modseq| seen.row.modseq > modseq)
                    {
                        fetching.current = Some(Current {
                            at,
                            begun: false,
                            next: 0,
                            structure: None,
                            small: None,
                        });
                    }
                }
            }
        }
    }

    /// Goes on with one message; none where the shell is asked for its octets.
    fn fetch_message(
        &mut self,
        mut fetching: Box<Fetching>,
        mut current: Current,
    ) -> Option<Box<Fetching>> {
        let view = self.selected.as_ref()?;
        let row = view.row(current.at)?.clone();
        if let (Some(depth), None) = (fetching.depth, &current.structure) {
            let small =
                (row.size_bytes <= SMALL_MESSAGE_BYTES && fetching.wants_octets()).then(Vec::new);
            fetching.reader = Reader::Scan {
                scanner: Box::new(Scanner::new(depth)),
                small,
            };
            fetching.current = Some(current);
            self.ask(
                Ask::Body {
                    mail: row.mail,
                    start: 0,
                },
                Open::Body(Box::new(Running::Fetch(fetching))),
            );
            return None;
        }
        if !current.begun {
            current.begun = true;
            let mut out = format!("* {} FETCH (", current.at + 1).into_bytes();
            put_simple(&mut out, &fetching.items, &row);
            self.write(|all| all.extend_from_slice(&out));
        }
        while let Some(item) = fetching.items.get(current.next).cloned() {
            if self.room() == 0 {
                fetching.current = Some(current);
                return Some(fetching);
            }
            // Behind what was written before it.
            let first = current.next == 0 && !fetching.items.iter().any(is_simple);
            let mut out = if first { Vec::new() } else { b" ".to_vec() };
            let structure = current.structure.as_ref();
            current.next += 1;
            match &item {
                item if is_simple(item) => continue,
                Item::Envelope => {
                    out.extend_from_slice(b"ENVELOPE ");
                    envelope::put(
                        &mut out,
                        structure
                            .and_then(Structure::root)
                            .map_or(&[], |root| root.header.as_slice()),
                    );
                }
                Item::Body | Item::BodyStructure => {
                    let extent = if item == Item::Body {
                        Extent::Basic
                    } else {
                        Extent::Extended
                    };
                    out.extend_from_slice(if item == Item::Body {
                        b"BODY "
                    } else {
                        b"BODYSTRUCTURE "
                    });
                    if let Some(structure) = structure {
                        structure::put(&mut out, structure, extent);
                    }
                }
                Item::Section(section) => {
                    out.extend_from_slice(section.called.as_bytes());
                    out.push(b' ');
                    let source = source_of(section, structure, &row);
                    if section.peek == Peek::No {
                        fetching.sees(&row, view_access(self));
                    }
                    let source = cut(source, section.partial);
                    match (source, &current.small) {
                        (Source::Nil, _) => out.extend_from_slice(b"NIL"),
                        (Source::Bytes(bytes), _) => put_literal(&mut out, &bytes),
                        (Source::Span(span), Some(small)) => {
                            put_literal(&mut out, slice(small, span))
                        }
                        (Source::Span(span), None) if span.len() == 0 => {
                            out.extend_from_slice(b"\"\"")
                        }
                        (Source::Span(span), None) => {
                            let head =
                                [out.as_slice(), format!("{{{}}}\r\n", span.len()).as_bytes()]
                                    .concat();
                            fetching.reader = Reader::Literal {
                                left: span.len(),
                                head: Some(head),
                            };
                            fetching.current = Some(current);
                            self.ask(
                                Ask::Body {
                                    mail: row.mail,
                                    start: span.start,
                                },
                                Open::Body(Box::new(Running::Fetch(fetching))),
                            );
                            return None;
                        }
                    }
                }
                Item::Binary {
                    path,
                    partial,
                    peek,
                } => {
                    let (path, partial, peek) = (path.clone(), *partial, *peek);
                    if peek == Peek::No {
                        fetching.sees(&row, view_access(self));
                    }
                    let name = |start: Option<u64>| {
                        let path = path
                            .iter()
                            .map(u32::to_string)
                            .collect::<Vec<_>>()
                            .join(".");
                        format!(
                            "BINARY[{path}]{} ",
                            start.map(|start| format!("<{start}>")).unwrap_or_default()
                        )
                    };
                    out.extend_from_slice(name(partial.map(|(start, _)| start)).as_bytes());
                    match binary_source(&path, structure, &row) {
                        None => out.extend_from_slice(b"NIL"),
                        Some((_, None)) => {
                            out.extend_from_slice(b"NIL");
                            fetching.missing = fetching.missing.max(Missing::Encoding);
                        }
                        Some((span, Some(mut decoder))) => match &current.small {
                            Some(small) => {
                                let mut content = Vec::new();
                                decoder.decode(slice(small, span), &mut content);
                                decoder.finish(&mut content);
                                let source = cut(Source::Bytes(content), partial);
                                let Source::Bytes(content) = source else {
                                    continue;
                                };
                                out.extend_from_slice(
                                    format!("~{{{}}}\r\n", content.len()).as_bytes(),
                                );
                                out.extend_from_slice(&content);
                            }
                            None => {
                                // Counted first; then it comes back here with the count.
                                current.next -= 1;
                                return self
                                    .fetch_binary(fetching, current, &row, span, decoder, &out);
                            }
                        },
                    }
                }
                Item::BinarySize(path) => {
                    let name = path
                        .iter()
                        .map(u32::to_string)
                        .collect::<Vec<_>>()
                        .join(".");
                    out.extend_from_slice(format!("BINARY.SIZE[{name}] ").as_bytes());
                    match binary_source(path, structure, &row) {
                        Some((span, Some(mut decoder))) => match (&current.small, &decoder) {
                            (_, Decoder::Identity) => {
                                out.extend_from_slice(span.len().to_string().as_bytes())
                            }
                            (Some(small), _) => {
                                let mut content = Vec::new();
                                decoder.decode(slice(small, span), &mut content);
                                decoder.finish(&mut content);
                                out.extend_from_slice(content.len().to_string().as_bytes());
                            }
                            (None, _) => {
                                current.next -= 1;
                                return self
                                    .fetch_binary(fetching, current, &row, span, decoder, &out);
                            }
                        },
                        None => out.extend_from_slice(b"0"),
                        Some((_, None)) => {
                            out.extend_from_slice(b"0");
                            fetching.missing = fetching.missing.max(Missing::Encoding);
                        }
                    }
                }
                _ => continue,
            }
            self.write(|all| all.extend_from_slice(&out));
        }
        self.write(|out| out.extend_from_slice(b")\r\n"));
        Some(fetching)
    }

    /// A part that is decoded while it passes by: once to count, and for BINARY once more to send.
    fn fetch_binary(
        &mut self,
        mut fetching: Box<Fetching>,
        current: Current,
        row: &Row,
        span: Span,
        decoder: Decoder,
        head: &[u8],
    ) -> Option<Box<Fetching>> {
        match std::mem::replace(&mut fetching.reader, Reader::Idle) {
            Reader::Count { count, .. } => {
                let mut current = current;
                let item = fetching.items.get(current.next).cloned();
                let mut out = head.to_vec();
                if let Some(Item::Binary { partial, .. }) = item {
                    let (skip, most) = partial.unwrap_or((0, u64::MAX));
                    let left = count.saturating_sub(skip).min(most);
                    out.extend_from_slice(format!("~{{{left}}}\r\n").as_bytes());
                    current.next += 1;
                    fetching.current = Some(current);
                    self.write(|all| all.extend_from_slice(&out));
                    if left > 0 {
                        fetching.reader = Reader::Decode {
                            decoder,
                            raw_left: span.len(),
                            skip: skip.min(count),
                            left,
                        };
                        self.ask(
                            Ask::Body {
                                mail: row.mail,
                                start: span.start,
                            },
                            Open::Body(Box::new(Running::Fetch(fetching))),
                        );
                        return None;
                    }
                } else {
                    out.extend_from_slice(count.to_string().as_bytes());
                    current.next += 1;
                    fetching.current = Some(current);
                    self.write(|all| all.extend_from_slice(&out));
                }
                Some(fetching)
            }
            _ => {
                fetching.reader = Reader::Count {
                    decoder,
                    left: span.len(),
                    count: 0,
                };
                fetching.current = Some(current);
                self.ask(
                    Ask::Body {
                        mail: row.mail,
                        start: span.start,
                    },
                    Open::Body(Box::new(Running::Fetch(fetching))),
                );
                None
            }
        }
    }

    /// Octets of a body for a FETCH.
    pub(super) fn fetch_chunk(&mut self, mut fetching: Box<Fetching>, bytes: &[u8]) -> Flow {
        let enough = match &mut fetching.reader {
            Reader::Idle => true,
            Reader::Scan { scanner, small } => {
                scanner.take(bytes);
                if let Some(small) = small {
                    small.extend_from_slice(bytes);
                    if small.len() as u64 > 2 * SMALL_MESSAGE_BYTES {
                        // Longer than it was said to be.
                        self.close();
                        return Flow::Enough;
                    }
                    false
                } else {
                    scanner.is_done()
                }
            }
            Reader::Literal { left, head } => {
                let taken = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                let (enough, head) = (*left == 0, head.take());
                self.write(|out| {
                    out.extend_from_slice(head.as_deref().unwrap_or_default());
                    out.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                });
                enough
            }
            Reader::Count {
                decoder,
                left,
                count,
            } => {
                let taken = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                let mut content = Vec::new();
                decoder.decode(bytes.get(..taken).unwrap_or_default(), &mut content);
                *left -= taken as u64;
                if *left == 0 {
                    decoder.finish(&mut content);
                }
                *count += content.len() as u64;
                *left == 0
            }
            Reader::Decode {
                decoder,
                raw_left,
                skip,
                left,
            } => {
                let taken = bytes
                    .len()
                    .min(usize::try_from(*raw_left).unwrap_or(usize::MAX));
                let mut content = Vec::new();
                decoder.decode(bytes.get(..taken).unwrap_or_default(), &mut content);
                *raw_left -= taken as u64;
                if *raw_left == 0 {
                    decoder.finish(&mut content);
                }
                let dropped = content
                    .len()
                    .min(usize::try_from(*skip).unwrap_or(usize::MAX));
                *skip -= dropped as u64;
                let content = content.get(dropped..).unwrap_or_default();
                let kept = content
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= kept as u64;
                let enough = *left == 0 || *raw_left == 0;
                self.write(|out| out.extend_from_slice(content.get(..kept).unwrap_or_default()));
                enough
            }
        };
        if enough {
            self.fetch_end(fetching);
            Flow::Enough
        } else {
            self.open = Some(Open::Body(Box::new(Running::Fetch(fetching))));
            Flow::More
        }
    }

    /// The octets are complete, as far as they are wanted.
    pub(super) fn fetch_end(&mut self, mut fetching: Box<Fetching>) {
        match std::mem::replace(&mut fetching.reader, Reader::Idle) {
            Reader::Idle => {}
            Reader::Scan { scanner, small } => {
                if let Some(current) = &mut fetching.current {
                    current.structure = Some(scanner.finish());
                    // Only what is whole can be cut from.
                    let size = self
                        .selected
                        .as_ref()
                        .and_then(|view| view.row(current.at))
                        .map(|row| row.size_bytes);
                    current.small = small.filter(|small| Some(small.len() as u64) == size);
                }
            }
            Reader::Literal { left, .. } | Reader::Decode { left, .. } if left > 0 => {
                return self.close();
            }
            Reader::Literal { .. } | Reader::Decode { .. } => {}
            // It is asked for again with the count.
            count @ Reader::Count { .. } => fetching.reader = count,
        }
        self.running = Some(Running::Fetch(fetching));
        self.pump();
    }

    /// The octets can't be read (any further).
    pub(super) fn fetch_failed(&mut self, mut fetching: Box<Fetching>) {
        let gone = fetching
            .current
            .as_ref()
            .and_then(|current| self.selected.as_ref()?.rows.get(current.at))
            .is_some_and(|seen| seen.gone);
        fetching.missing = fetching
            .missing
            .max(if gone { Missing::Gone } else { Missing::Bodies });
        match std::mem::replace(&mut fetching.reader, Reader::Idle) {
            // Nothing has been said of this message.
            Reader::Scan { .. } | Reader::Idle => fetching.current = None,
            Reader::Literal {
                head: Some(head), ..
            } => {
                let name = head
                    .iter()
                    .rposition(|byte| *byte == b'{')
                    .and_then(|end| head.get(..end))
                    .unwrap_or_default()
                    .to_vec();
                self.write(|out| {
                    out.extend_from_slice(&name);
                    out.extend_from_slice(b"NIL");
                });
                if let Some(current) = &mut fetching.current {
                    current.next = current.next.max(1);
                }
            }
            Reader::Count { .. } => {
                if let Some(current) = &mut fetching.current {
                    current.next += 1;
                }
            }
            Reader::Literal { head: None, .. } | Reader::Decode { .. } => return self.close(),
        }
        self.running = Some(Running::Fetch(fetching));
        self.pump();
    }

    fn fetch_done(&mut self, fetching: Fetching) {
        let Fetching {
            tag,
            by,
            seen,
            missing,
            ..
        } = fetching;
        let text = match missing {
            Missing::Nothing => "OK FETCH completed",
            Missing::Gone => "NO [EXPUNGEISSUED] Some messages are gone",
            Missing::Bodies => {
                "NO [UNAVAILABLE] Some messages cannot be read now, try again or at another server"
            }
            Missing::Encoding => "NO [UNKNOWN-CTE] An encoding is not known",
        };
        let last = format!("{tag} {text}\r\n").into_bytes();
        let Some(view) = self.selected.as_ref().filter(|_| !seen.is_empty()) else {
            return self.done(last, expunges(by));
        };
        let ask = Ask::ChangeFlags {
            folder: view.folder,
            mails: seen,
            change: Change::Add,
            flags: Flags::seen(),
            unchanged_since: None,
        };
        let afterwards = Afterwards {
            last,
            expunges: expunges(by),
            stored: None,
            shown: None,
            highest: None,
        };
        self.ask(ask, Open::Seen(Box::new(afterwards)));
    }

    /// Whether or not they could be marked: the messages have been sent.
    pub(super) fn seen_answered(&mut self, afterwards: Afterwards, answer: Answer) {
        match answer {
            Answer::Stored { .. } => self.refresh_after(afterwards),
            _ => self.done(afterwards.last, afterwards.expunges),
        }
    }
}

impl Fetching {
    fn wants_octets(&self) -> bool {
        self.items.iter().any(|item| match item {
            Item::Section(section) => !matches!(section.what, What::Fields(_) | What::FieldsNot(_)),
            Item::Binary { .. } | Item::BinarySize(_) => true,
            _ => false,
        })
    }

    fn sees(&mut self, row: &Row, access: Access) {
        if access == Access::ReadWrite
            && !row.flags.is_seen()
            && self.seen.last() != Some(&row.mail)
        {
            self.seen.push(row.mail);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let scanned = match &self.reader {
            Reader::Scan { small, .. } => small.as_ref().map_or(0, Vec::len),
            _ => 0,
        };
        scanned
            + self
                .current
                .as_ref()
                .and_then(|current| current.small.as_ref())
                .map_or(0, Vec::len)
    }
}

fn view_access(session: &Session) -> Access {
    session
        .selected
        .as_ref()
        .map_or(Access::ReadOnly, |view| view.access)
}
