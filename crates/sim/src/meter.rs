//! What a cluster's work costs: messages and octets between servers, rows, syncs, processor time, and when mail came where.
//!
//! Must never change what a run does. Octets are those of the real wire schema (`encode_peer`), a frame's length octets
//! included, a body's own included; TLS's and HTTP/2's own are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use grapevine_core::{Op, Table};
use grapevine_model::{Field, MessageId, PeerMessage};

use crate::event::NodeIndex;
use crate::kinds;

/// The octets that gRPC puts before a message.
const FRAME_BYTES: u64 = 5;
/// Beats are much alike: one of so many is encoded, the others count as the last one that was.
const BEATS_A_MEASURE: u64 = 64;
/// Where a mailbox's cell key has its message: after a letter and the mailbox.
const ITEM_AT: std::ops::Range<usize> = 17..33;
/// Where it has its field.
const FIELD_AT: std::ops::Range<usize> = 33..35;

/// How many, and how large together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// How many octets.
    pub octets: u64,
}

/// What one server did.
#[derive(Debug, Clone, Default)]
pub struct ServerCost {
    /// What it said to others.
    pub sent: Tally,
    /// What others said to it.
    pub received: Tally,
    /// Custodies that it keeps the second copy of.
    pub deputy_for: u64,
    /// Rows that its commits wrote or removed, with their octets.
    pub rows: Tally,
    /// Times that its disk synced.
    pub syncs: u64,
    /// Time in its core.
    pub core: Duration,
    /// With whom it spoke.
    pub spoke_with: BTreeSet<NodeIndex>,
}

/// A message's way.
#[derive(Debug, Clone)]
pub struct Journey {
    /// When it was handed in.
    pub submitted_us: u64,
    /// Whether its sender was told yes: only then is anything promised.
    pub accepted: bool,
    /// When its first copy was durable in a mailbox.
    pub first_us: Option<u64>,
    /// When the last one so far was.
    pub last_us: u64,
    /// Copies durable in mailboxes.
    pub copies: u64,
    /// Copies that there will be.
    pub expected: u64,
}

impl Journey {
    /// Whether it was accepted, and has not come to all whom it is for.
    pub fn lacks(&self) -> bool {
        self.accepted && self.copies < self.expected
    }
}

/// The meter of a cluster.
#[derive(Debug, Default)]
pub struct Meter {
    /// By kind of message between servers.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// By server.
    pub servers: BTreeMap<NodeIndex, ServerCost>,
    /// The messages that are followed.
    pub journeys: BTreeMap<u128, Journey>,
    /// Deposits in commits that are not durable yet.
    depositing: BTreeMap<(NodeIndex, u64), Vec<u128>>,
    beats: u64,
    beat_octets: u64,
}

impl Meter {
    /// Forgets what was counted; journeys go on.
    pub fn begin(&mut self) {
        self.kinds.clear();
        self.servers.clear();
    }

    /// A message is about to be handed in, of which so many copies are to come.
    pub fn follow(&mut self, message: MessageId, now_us: u64, expected: u64) {
        let journey = Journey {
            submitted_us: now_us,
            accepted: false,
            first_us: None,
            last_us: now_us,
            copies: 0,
            expected,
        };
        self.journeys.insert(message.to_u128(), journey);
    }

    /// All servers' costs together, but for whom they spoke with.
    pub fn sum(&self) -> ServerCost {
        let mut sum = ServerCost::default();
        for cost in self.servers.values() {
            sum.sent.add(cost.sent);
            sum.received.add(cost.received);
            sum.deputy_for += cost.deputy_for;
            sum.rows.add(cost.rows);
            sum.syncs += cost.syncs;
            sum.core += cost.core;
        }
        sum
    }

    pub(crate) fn sent(&mut self, from: NodeIndex, to: NodeIndex, message: &PeerMessage) {
        let octets = self.octets(message);
        let said = Tally { count: 1, octets };
        let kind = kinds::message(kinds::inner(message));
        self.kinds.entry(kind).or_default().add(said);
        let sender = self.servers.entry(from).or_default();
        sender.sent.add(said);
        sender.spoke_with.insert(to);
        let receiver = self.servers.entry(to).or_default();
        receiver.received.add(said);
        receiver.deputy_for += u64::from(kind == "custody");
    }

    fn octets(&mut self, message: &PeerMessage) -> u64 {
        let is_beat = matches!(message, PeerMessage::Beat(_));
        if is_beat {
            self.beats += 1;
            if self.beats % BEATS_A_MEASURE != 1 {
                return self.beat_octets;
            }
        }
        let body = match kinds::inner(message) {
            PeerMessage::Body { body, .. } => body.len,
            _ => 0,
        };
        let frame = grapevine_rpc::encode_peer(message);
        let octets = prost::Message::encoded_len(&frame) as u64 + FRAME_BYTES + body;
        if is_beat {
            self.beat_octets = octets;
        }
        octets
    }

    pub(crate) fn commits(&mut self, node: NodeIndex, seq: u64, ops: &[Op]) {
        let mut deposits = Vec::new();
        let mut rows = Tally::default();
        for op in ops {
            let octets = match op {
                Op::Put { table, key, value } => {
                    let deposited = deposited(*table, key);
                    deposits.extend(deposited.filter(|item| self.journeys.contains_key(item)));
                    key.len() + value.len()
                }
                Op::Delete { key, .. } => key.len(),
                Op::AdoptBody { .. } | Op::DropBody { .. } => continue,
            };
            rows.add(Tally {
                count: 1,
                octets: octets as u64,
            });
        }
        self.servers.entry(node).or_default().rows.add(rows);
        if !deposits.is_empty() {
            self.depositing.insert((node, seq), deposits);
        }
    }

    pub(crate) fn synced(&mut self, node: NodeIndex, now_us: u64, durable: &[u64]) {
        if durable.is_empty() {
            return;
        }
        self.servers.entry(node).or_default().syncs += 1;
        for seq in durable {
            for item in self.depositing.remove(&(node, *seq)).unwrap_or_default() {
                if let Some(journey) = self.journeys.get_mut(&item) {
                    journey.first_us.get_or_insert(now_us);
                    journey.last_us = now_us;
                    journey.copies += 1;
                }
            }
        }
    }

    /// A sender is told yes.
    pub(crate) fn accepted(&mut self, message: MessageId) {
        if let Some(journey) = self.journeys.get_mut(&message.to_u128()) {
            journey.accepted = true;
        }
    }

    /// What was not durable is gone.
    pub(crate) fn crashed(&mut self, node: NodeIndex) {
        self.depositing.retain(|(at, _), _| *at != node);
    }

    pub(crate) fn worked(&mut self, node: NodeIndex, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.servers.entry(node).or_default().core += begun.elapsed();
        }
    }
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.octets += other.octets;
    }
}

/// Which message a row puts into a mailbox, if it does.
fn deposited(table: Table, key: &[u8]) -> Option<u128> {
    let is_message = table == Table::Cells
        && key.first() == Some(&b'M')
        && key.get(FIELD_AT) == Some(&Field::Message.number().to_be_bytes()[..]);
    let item = key.get(ITEM_AT).filter(|_| is_message)?;
    Some(u128::from_be_bytes(item.try_into().ok()?))
}

/// The real time; none for nobody who measures.
#[expect(
    clippy::disallowed_methods,
    reason = "what a core costs is measured in real time; nothing of a run depends on it"
)]
pub(crate) fn stopwatch(meter: Option<&Meter>) -> Option<Instant> {
    meter.map(|_| Instant::now())
}
