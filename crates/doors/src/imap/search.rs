//! SEARCH, SORT and THREAD: row by row; a message is read only where its row does not decide.
//!
//! What could not be read is said to be missing (`NO`), never taken for a message that does not match.

use super::change::{expunges, put_in_order};
use super::command::By;
use super::dates::day_of;
use super::fetch_value::email_id;
use super::limits::{HEADER_BYTES, SEARCHED_BYTES};
use super::mime::{Depth, Scanner};
use super::readable::Readable;
use super::search_syntax::{
    Algorithm, Criterion, Key, Order, Returns, Search, Sorted, Threaded, When,
};
use super::session::{Numbers, Open, Running, Session};
use super::sets::{Ranges, Set};
use super::thread::{self, Member};
use super::types::{Ask, Flow, Row};
use super::view::View;

/// What the result is for.
enum Purpose {
    Search(Option<Returns>),
    Sort(Vec<(Criterion, Order)>, Option<Returns>),
    Thread(Algorithm),
}

/// A search on its way.
pub(super) struct Searching {
    tag: String,
    by: By,
    purpose: Purpose,
    key: Key,
    next: usize,
    end: usize,
    found: Vec<Found>,
    /// What is being read of the message at `next`.
    reading: Option<Reading>,
    missing: bool,
}

struct Reading {
    bytes: Vec<u8>,
    depth: Depth,
    scanner: Scanner,
}

struct Found {
    at: usize,
    order: Vec<Value>,
    member: Option<Member>,
}

/// What messages are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(String),
}

impl Session {
    pub(super) fn search(&mut self, tag: String, search: Search, by: By) {
        let returns = match search.returns {
            // IMAP4rev2 has the new answer only.
            None if self.enabled.rev2 => Some(Returns {
                all: true,
                ..Returns::default()
            }),
            given => given,
        };
        self.begin_search(tag, search.key, by, Purpose::Search(returns));
    }

    pub(super) fn sort(&mut self, tag: String, sorted: Sorted, by: By) {
        self.begin_search(
            tag,
            sorted.key,
            by,
            Purpose::Sort(sorted.criteria, sorted.returns),
        );
    }

    pub(super) fn thread(&mut self, tag: String, threaded: Threaded, by: By) {
        self.begin_search(tag, threaded.key, by, Purpose::Thread(threaded.algorithm));
    }

    fn begin_search(&mut self, tag: String, key: Key, by: By, purpose: Purpose) {
        self.enabled.condstore |= key.has_modseq();
        let Some(view) = &self.selected else { return };
        let key = resolved(key, view, &self.saved);
        let end = view.announced;
        self.running = Some(Running::Search(Box::new(Searching {
            tag,
            by,
            purpose,
            key,
            next: 0,
            end,
            found: Vec::new(),
            reading: None,
            missing: false,
        })));
    }

    pub(super) fn search_on(&mut self, mut searching: Box<Searching>) {
        while searching.next < searching.end {
            let Some(seen) = self
                .selected
                .as_ref()
                .and_then(|view| view.rows.get(searching.next))
            else {
                break;
            };
            if seen.gone {
                searching.next += 1;
                continue;
            }
            let row = &seen.row;
            let number = u32::try_from(searching.next + 1).unwrap_or(u32::MAX);
            let readable = searching
                .reading
                .take()
                .map(|reading| Readable::new(reading.bytes, reading.depth));
            let matches = evaluate(&searching.key, number, row, readable.as_ref());
            let wanted = match matches {
                Some(false) => None,
                Some(true) if readable.is_none() && searching.purpose.needs_header() => {
                    Some(Depth::Header)
                }
                Some(true) => {
                    let found = searching
                        .purpose
                        .found(searching.next, row, readable.as_ref());
                    searching.found.push(found);
                    None
                }
                None => Some(if looks_into(&searching.key) {
                    Depth::Parts
                } else {
                    Depth::Header
                }),
            };
            match wanted {
                None => searching.next += 1,
                Some(depth) => {
                    let mail = row.mail;
                    searching.reading = Some(Reading {
                        bytes: Vec::new(),
                        depth,
                        scanner: Scanner::new(depth),
                    });
                    self.ask(
                        Ask::Body { mail, start: 0 },
                        Open::Body(Box::new(Running::Search(searching))),
                    );
                    return;
                }
            }
        }
        self.search_done(*searching);
    }

    pub(super) fn search_chunk(&mut self, mut searching: Box<Searching>, bytes: &[u8]) -> Flow {
        let enough = match &mut searching.reading {
            None => true,
            Some(reading) => {
                let most = match reading.depth {
                    Depth::Header => HEADER_BYTES,
                    Depth::Parts => SEARCHED_BYTES,
                };
                let taken = bytes.len().min(most - reading.bytes.len().min(most));
                let bytes = bytes.get(..taken).unwrap_or_default();
                reading.bytes.extend_from_slice(bytes);
                if reading.depth == Depth::Header {
                    reading.scanner.take(bytes);
                }
                reading.bytes.len() >= most || reading.scanner.is_done()
            }
        };
        if enough {
            self.search_end(searching);
            Flow::Enough
        } else {
            self.open = Some(Open::Body(Box::new(Running::Search(searching))));
            Flow::More
        }
    }

    pub(super) fn search_end(&mut self, searching: Box<Searching>) {
        self.running = Some(Running::Search(searching));
        self.pump();
    }

    pub(super) fn search_failed(&mut self, mut searching: Box<Searching>) {
        searching.reading = None;
        searching.missing = true;
        searching.next += 1;
        self.search_end(searching);
    }

    fn search_done(&mut self, mut searching: Searching) {
        let verb = match &searching.purpose {
            Purpose::Search(_) => "SEARCH",
            Purpose::Sort(..) => "SORT",
            Purpose::Thread(_) => "THREAD",
        };
        let (tag, by) = (searching.tag.clone(), searching.by);
        let expunges = expunges(by);
        let last = if searching.missing {
            format!(
                "{tag} NO [UNAVAILABLE] Some messages cannot be read now: the result may lack them\r\n"
            )
        } else {
            format!("{tag} OK {verb} completed\r\n")
        };
        let Some(view) = &self.selected else { return };
        let number = |at: usize| match by {
            By::Uid => view.row(at).map_or(0, |row| row.uid),
            By::Sequence => u32::try_from(at + 1).unwrap_or(u32::MAX),
        };
        let Searching { purpose, found, .. } = &mut searching;
        if let Purpose::Sort(criteria, _) = purpose {
            sort(found, criteria);
        }
        let highest = searching
            .key
            .has_modseq()
            .then(|| {
                searching
                    .found
                    .iter()
                    .filter_map(|found| view.row(found.at))
                    .map(|row| row.modseq)
                    .max()
            })
            .flatten();
        let numbers: Vec<u32> = searching
            .found
            .iter()
            .map(|found| number(found.at))
            .collect();
        let uids: Vec<u32> = searching
            .found
            .iter()
            .filter_map(|found| view.row(found.at))
            .map(|row| row.uid)
            .collect();
        let (head, rest, tail) = match &searching.purpose {
            Purpose::Thread(algorithm) => {
                let members = searching
                    .found
                    .iter_mut()
                    .filter_map(|found| Some((number(found.at), found.member.take()?)))
                    .collect();
                let text = thread::threads(*algorithm, members);
                let line = if text.is_empty() {
                    "* THREAD".to_owned()
                } else {
                    format!("* THREAD {text}")
                };
                (line.into_bytes(), Vec::new(), None)
            }
            Purpose::Search(Some(returns)) | Purpose::Sort(_, Some(returns)) => {
                let is_sort = matches!(searching.purpose, Purpose::Sort(..));
                if returns.save {
                    self.saved = kept(*returns, &uids);
                }
                (
                    esearch(&tag, by, *returns, &numbers, is_sort, highest),
                    Vec::new(),
                    None,
                )
            }
            Purpose::Search(None) | Purpose::Sort(_, None) => {
                (format!("* {verb}").into_bytes(), numbers, highest)
            }
        };
        let mut line_end = tail
            .map(|highest| format!(" (MODSEQ {highest})"))
            .unwrap_or_default()
            .into_bytes();
        line_end.extend_from_slice(b"\r\n");
        line_end.extend_from_slice(last.as_bytes());
        // Asked only to keep: nothing is said.
        if !head.is_empty() {
            self.write(|out| out.extend_from_slice(&head));
        } else {
            line_end = last.into_bytes();
        }
        self.running = Some(Running::Numbers(Numbers {
            rest: rest.into_iter(),
            last: line_end,
            expunges,
        }));
    }

    pub(super) fn numbers_on(&mut self, mut numbers: Numbers) {
        let room = self.room();
        let mut out = Vec::new();
        while out.len() < room {
            let Some(number) = numbers.rest.next() else {
                self.write(|all| all.extend_from_slice(&out));
                // The line has to be ended before news are told.
                let split = numbers
                    .last
                    .windows(2)
                    .position(|two| two == b"\r\n")
                    .map_or(0, |end| end + 2);
                let has_line = numbers.last.len() > split;
                if has_line {
                    let (line, last) = numbers
                        .last
                        .split_at_checked(split)
                        .unwrap_or((&[], &numbers.last));
                    let (line, last) = (line.to_vec(), last.to_vec());
                    self.write(|all| all.extend_from_slice(&line));
                    return self.done(last, numbers.expunges);
                }
                return self.done(numbers.last, numbers.expunges);
            };
            out.extend_from_slice(format!(" {number}").as_bytes());
        }
        self.write(|all| all.extend_from_slice(&out));
        self.running = Some(Running::Numbers(numbers));
    }
}

impl Searching {
    pub(super) fn held_bytes(&self) -> usize {
        self.reading
            .as_ref()
            .map_or(0, |reading| reading.bytes.len())
    }
}

impl Purpose {
    fn needs_header(&self) -> bool {
        match self {
            Self::Search(_) => false,
            Self::Sort(criteria, _) => criteria
                .iter()
                .any(|(criterion, _)| !matches!(criterion, Criterion::Arrival | Criterion::Size)),
            Self::Thread(_) => true,
        }
    }

    fn found(&self, at: usize, row: &Row, readable: Option<&Readable>) -> Found {
        let arrived = i64::try_from(row.date_ms / 1000).unwrap_or(i64::MAX);
        let mut found = Found {
            at,
            order: Vec::new(),
            member: None,
        };
        match (self, readable) {
            (Self::Search(_), _) => {}
            (Self::Sort(criteria, _), readable) => {
                let text = |read: &dyn Fn(&Readable) -> String| {
                    Value::Text(readable.map(read).unwrap_or_default())
                };
                found.order = criteria
                    .iter()
                    .map(|(criterion, _)| match criterion {
                        Criterion::Arrival => Value::Number(arrived),
                        Criterion::Size => {
                            Value::Number(i64::try_from(row.size_bytes).unwrap_or(i64::MAX))
                        }
                        Criterion::Date => {
                            Value::Number(readable.and_then(Readable::sent_at).unwrap_or(arrived))
                        }
                        Criterion::Cc => text(&|message| message.first_mailbox("Cc")),
                        Criterion::From => text(&|message| message.first_mailbox("From")),
                        Criterion::To => text(&|message| message.first_mailbox("To")),
                        Criterion::Subject => text(&Readable::base_subject),
                    })
                    .collect();
            }
            (Self::Thread(_), Some(message)) => {
                found.member = Some(Member {
                    id: message.message_id(),
                    references: message.references(),
                    subject: message.base_subject(),
                    is_reply: message.is_reply(),
                    sent: message.sent_at().unwrap_or(arrived),
                });
            }
            (Self::Thread(_), None) => {}
        }
        found
    }
}

fn sort(found: &mut [Found], criteria: &[(Criterion, Order)]) {
    found.sort_by(|a, b| {
        for ((a, b), (_, order)) in a.order.iter().zip(&b.order).zip(criteria) {
            let compared = match order {
                Order::Rising => a.cmp(b),
                Order::Falling => b.cmp(a),
            };
            if compared.is_ne() {
                return compared;
            }
        }
        a.at.cmp(&b.at)
    });
}

/// SEARCHRES: MIN and MAX alone keep only these.
fn kept(returns: Returns, uids: &[u32]) -> Ranges {
    if returns.all || returns.count || (!returns.min && !returns.max) {
        return Ranges::of_numbers(uids.iter().copied());
    }
    let first = uids.iter().min().filter(|_| returns.min);
    let last = uids.iter().max().filter(|_| returns.max);
    Ranges::of_numbers(first.into_iter().chain(last).copied())
}

/// RFC 4731; nothing where SAVE alone was asked for.
fn esearch(
    tag: &str,
    by: By,
    returns: Returns,
    numbers: &[u32],
    in_order: bool,
    highest: Option<u64>,
) -> Vec<u8> {
    let Returns {
        min,
        max,
        all,
        count,
        save,
    } = returns;
    if save && !min && !max && !all && !count {
        return Vec::new();
    }
    let mut out = b"* ESEARCH (TAG ".to_vec();
    super::syntax::put_string(&mut out, tag.as_bytes());
    out.push(b')');
    if by == By::Uid {
        out.extend_from_slice(b" UID");
    }
    // Of a sorted result the first and the last.
    let (first, last) = if in_order {
        (numbers.first(), numbers.last())
    } else {
        (numbers.iter().min(), numbers.iter().max())
    };
    if let (true, Some(first)) = (min, first) {
        out.extend_from_slice(format!(" MIN {first}").as_bytes());
    }
    if let (true, Some(last)) = (max, last) {
        out.extend_from_slice(format!(" MAX {last}").as_bytes());
    }
    if count {
        out.extend_from_slice(format!(" COUNT {}", numbers.len()).as_bytes());
    }
    if all && !numbers.is_empty() {
        out.extend_from_slice(b" ALL ");
        put_in_order(&mut out, numbers.iter().copied());
    }
    if let Some(highest) = highest {
        out.extend_from_slice(format!(" MODSEQ {highest}").as_bytes());
    }
    out
}

/// Sets in numbers, once for all rows.
fn resolved(key: Key, view: &View, saved: &Ranges) -> Key {
    match key {
        Key::Sequence(set @ Set::Ranges(_)) => Key::Numbers(set.resolve(view.last_number(), saved)),
        Key::Sequence(set @ Set::Saved) | Key::Uid(set) => {
            Key::Uids(set.resolve(view.last_uid(), saved))
        }
        Key::And(keys) => Key::And(
            keys.into_iter()
                .map(|key| resolved(key, view, saved))
                .collect(),
        ),
        Key::Or(both) => {
            let (first, second) = *both;
            Key::Or(Box::new((
                resolved(first, view, saved),
                resolved(second, view, saved),
            )))
        }
        Key::Not(key) => Key::Not(Box::new(resolved(*key, view, saved))),
        other => other,
    }
}

/// Whether more than the header is needed.
fn looks_into(key: &Key) -> bool {
    match key {
        Key::Body(_) | Key::Text(_) => true,
        Key::And(keys) => keys.iter().any(looks_into),
        Key::Or(both) => looks_into(&both.0) || looks_into(&both.1),
        Key::Not(key) => looks_into(key),
        Key::All
        | Key::Flag(_)
        | Key::Sequence(_)
        | Key::Uid(_)
        | Key::Numbers(_)
        | Key::Uids(_)
        | Key::Larger(_)
        | Key::Smaller(_)
        | Key::Arrived(..)
        | Key::Sent(..)
        | Key::Header(..)
        | Key::ModSeq(_)
        | Key::EmailId(_)
        | Key::ThreadId => false,
    }
}

/// None: the message has to be read first.
fn evaluate(key: &Key, number: u32, row: &Row, readable: Option<&Readable>) -> Option<bool> {
    match key {
        Key::All => Some(true),
        Key::And(keys) => {
            let mut all = Some(true);
            for key in keys {
                match evaluate(key, number, row, readable) {
                    Some(false) => return Some(false),
                    None => all = None,
                    Some(true) => {}
                }
            }
            all
        }
        Key::Or(both) => match (
            evaluate(&both.0, number, row, readable),
            evaluate(&both.1, number, row, readable),
        ) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Key::Not(key) => evaluate(key, number, row, readable).map(|matches| !matches),
        Key::Flag(name) => Some(row.flags.has(name)),
        // Resolved before.
        Key::Sequence(_) | Key::Uid(_) => Some(false),
        Key::Numbers(numbers) => Some(numbers.contains(number)),
        Key::Uids(uids) => Some(uids.contains(row.uid)),
        Key::Larger(size) => Some(row.size_bytes > *size),
        Key::Smaller(size) => Some(row.size_bytes < *size),
        Key::Arrived(when, day) => Some(is_when(*when, day_of(row.date_ms), *day)),
        Key::Sent(when, day) => readable.map(|message| {
            is_when(
                *when,
                message.sent_day().unwrap_or_else(|| day_of(row.date_ms)),
                *day,
            )
        }),
        Key::Header(name, text) => readable.map(|message| message.field_has(name, text)),
        Key::Body(text) => readable.map(|message| message.body_has(text)),
        Key::Text(text) => readable.map(|message| message.has(text)),
        Key::ModSeq(modseq) => Some(row.modseq >= *modseq),
        Key::EmailId(id) => Some(email_id(row.content) == *id),
        // No message belongs to a thread here.
        Key::ThreadId => Some(false),
    }
}

fn is_when(when: When, day: i64, wanted: i64) -> bool {
    match when {
        When::Before => day < wanted,
        When::On => day == wanted,
        When::Since => day >= wanted,
    }
}
