//! A Grapevine of so many servers and names, made quickly, and what its users do.
//!
//! The servers are let in by the real requests; but `gv` and `ms` are put on their disks as copies, since a thousand joins one after
//! the other are not what is looked at here. Names come in by the real import. Must never tell a core anything that a shell could not.

use std::collections::BTreeMap;

use grapevine_core::{Alone, Table, Times};
use grapevine_model::{
    BodyInfo, EntryKind, Envelope, EnvelopeRecipient, Hlc, ImportedEntry, MAX_IMPORTED_ENTRIES,
    MAX_IMPORTED_ITEMS, Member, MessageId, Name, OriginId, Reply, Request, ReturnContent,
    ServerName, Speaker, Submission, Welcome,
};

use crate::clock::EPOCH_MS;
use crate::cluster::{Cluster, NOBODY, Options, Skew, Verbosity, everywhere};
use crate::dice::Dice;
use crate::effects::hash;
use crate::event::{Ask, CallId, NodeIndex, Occurrence, Outcome};
use crate::meter::Meter;
use crate::network::Weather;
use crate::world::{SetupFailed, insist, name, registry_name, server_name};

/// The tables in which a registry is.
const REGISTRY_TABLES: [Table; 5] = [
    Table::Cells,
    Table::Dots,
    Table::Vectors,
    Table::Tombstones,
    Table::Floors,
];
/// With more servers than this none of the copies writes its own record: each such write is a change of `gv` at all others, and
/// the squares of thousands are not what a start is measured for. `gv`'s vector then has few origins (the docs say so).
const OWN_RECORDS: usize = 100;
/// Imports under way at one time.
const IMPORTS_AT_ONCE: usize = 8;
/// A token to join is good for so long.
const TOKEN_MS: u64 = 24 * 3_600_000;
/// Octets of each body.
const BODY_BYTES: u64 = 4_096;
/// Between two servers runs one stream: what was said first comes first, after half a millisecond.
pub(super) const STREAMS: Weather = Weather {
    least_us: 500,
    most_us: 500,
    ..Weather::FAIR
};
/// Until all have heard each other.
const MEET_MS: u64 = 4_000;

/// How large.
#[derive(Debug, Clone)]
pub struct Size {
    /// Servers.
    pub servers: usize,
    /// Names, over all registries.
    pub names: u64,
    /// Registries.
    pub registries: usize,
    /// Holders of each.
    pub holders: usize,
    /// Registries that really have their names: the others are there and empty, and nobody writes to them.
    pub filled: usize,
    /// All chance comes from it.
    pub seed: u64,
    /// Whether the trace keeps its lines.
    pub verbose: Verbosity,
}

impl Size {
    /// Names of one registry.
    pub fn names_a_registry(&self) -> u64 {
        (self.names / self.registries.max(1) as u64).max(1)
    }

    /// Names that are really there.
    pub fn present(&self) -> u64 {
        self.names_a_registry() * self.filled as u64
    }
}

/// What somebody does at a time.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) at_us: u64,
    pub(super) node: NodeIndex,
    pub(super) speaker: Speaker,
    pub(super) ask: Ask,
    /// The message that it hands in, and how many copies of it are to come.
    pub(super) follow: Option<(MessageId, u64)>,
}

/// How what was asked ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// Done.
    pub done: u64,
    /// Refused.
    pub refused: u64,
    /// No answer, or no server.
    pub unanswered: u64,
}

/// The cluster with its inhabitants.
pub struct Model {
    /// The cluster.
    pub cluster: Cluster,
    /// How large.
    pub size: Size,
    pub(super) dice: Dice,
    /// Who is reading his mail, by his call, and where.
    pub(super) readers: BTreeMap<CallId, (NodeIndex, Speaker, Name)>,
}

impl Model {
    /// Makes it, without names.
    pub fn new(size: Size) -> Result<Self, SetupFailed> {
        let options = Options {
            seed: size.seed,
            times: Times::default(),
            routes: everywhere(),
            alone: Alone::Accept,
            rows_a_turn: grapevine_core::ROWS_A_TURN,
            planted: None,
            skewed: Skew::None,
            verbose: size.verbose,
        };
        let mut model = Self {
            cluster: Cluster::new(options),
            dice: Dice::new(size.seed).fork(2),
            size,
            readers: BTreeMap::new(),
        };
        model.cluster.network.set_weather(STREAMS);
        model.found()?;
        Ok(model)
    }

    fn found(&mut self) -> Result<(), SetupFailed> {
        for number in 1..=self.size.servers {
            self.cluster.add_machine(server_name(number));
        }
        self.cluster.found(0, vec![name("reg@r0")]);
        self.cluster.run_for(1_000);
        let mut welcome = None;
        for machine in 1..self.size.servers {
            welcome = Some(self.admit(machine)?);
        }
        for registry in 0..self.size.registries {
            let holders = (0..self.size.holders.min(self.size.servers))
                .map(|nth| self.server(registry * self.size.holders + nth));
            let create = Request::RegistryCreate {
                registry: registry_name(&format!("r{registry}")),
                holders: holders.collect(),
                registrars: vec![name(&format!("reg@r{registry}"))],
            };
            insist(&mut self.cluster, 0, &Speaker::Operator, &create)?;
        }
        self.cluster.run_for(1_000);
        for machine in 1..self.size.servers {
            self.install(machine);
        }
        // Its own list of servers is as of its turn; all are in `gv` by now.
        if let Some(welcome) = welcome {
            for machine in 1..self.size.servers {
                self.cluster.join(machine, welcome.clone());
            }
        }
        self.cluster.run_for(MEET_MS);
        Ok(())
    }

    fn admit(&mut self, machine: NodeIndex) -> Result<Welcome, SetupFailed> {
        let digest = self.dice.bytes32().to_vec();
        let token = Request::TokenCreate {
            digest: digest.clone(),
            expires_ms: EPOCH_MS + TOKEN_MS,
        };
        insist(&mut self.cluster, 0, &Speaker::Operator, &token)?;
        let server = self.cluster.nodes()[machine].info.clone();
        let join = Request::Join { digest, server };
        match insist(&mut self.cluster, 0, &Speaker::Anonymous, &join)? {
            Reply::Welcome(welcome) => Ok(welcome),
            other => Err(SetupFailed(format!("a join is answered {other:?}"))),
        }
    }

    /// Puts `gv` and `ms` on a machine's disk.
    fn install(&mut self, machine: NodeIndex) {
        let (first, others) = self.cluster.nodes.split_at_mut(1);
        let (first, machine) = (&first[0], &mut others[machine - 1]);
        for registry in ["gv", "ms"] {
            let mut prefix = vec![b'R', registry.len() as u8];
            prefix.extend_from_slice(registry.as_bytes());
            machine
                .disk
                .copy_rows(&first.disk, &REGISTRY_TABLES, &prefix);
        }
        if self.size.servers > OWN_RECORDS {
            machine.disk.copy_origin(&first.disk, machine.info.origin);
        }
    }

    /// Some server, round and round.
    pub(super) fn server(&self, number: usize) -> ServerName {
        server_name(number % self.size.servers + 1)
    }

    /// The name of somebody.
    pub(super) fn person(&self, number: u64) -> Name {
        let registry = number % self.size.filled.max(1) as u64;
        name(&format!("u{number}@r{registry}"))
    }

    /// Somebody.
    pub(super) fn anybody(&mut self) -> u64 {
        self.dice.below(self.size.present())
    }

    /// Some server that runs.
    pub(super) fn anywhere(&mut self) -> NodeIndex {
        let up = self.cluster.up();
        self.dice.pick(&up).copied().unwrap_or(0)
    }

    /// The names, by import: each with a mailbox at two servers.
    pub fn populate(&mut self) -> Result<(), SetupFailed> {
        for registry in 0..self.size.filled {
            let filled = self.size.filled as u64;
            let numbers = (0..self.size.names_a_registry()).map(|n| n * filled + registry as u64);
            let mut entries: Vec<ImportedEntry> = vec![ImportedEntry::new(
                name(&format!("reg@r{registry}")),
                EntryKind::Individual,
            )];
            for number in numbers {
                let first = self.dice.index(self.size.servers);
                let other = first + 1 + self.dice.index(self.size.servers.saturating_sub(1));
                let mut sites = vec![self.server(first), self.server(other)];
                sites.dedup();
                entries.push(ImportedEntry {
                    password: Some(hash("pw")),
                    sites,
                    ..ImportedEntry::new(self.person(number), EntryKind::Individual)
                });
            }
            self.import(registry, &entries, MAX_IMPORTED_ENTRIES)?;
        }
        self.cluster.run_for(10_000);
        Ok(())
    }

    /// A group with these members.
    pub(super) fn group(&mut self, group: &Name, members: &[u64]) -> Result<(), SetupFailed> {
        let registry = group.registry().as_str().trim_start_matches('r').parse();
        let Ok(registry) = registry else {
            return Err(SetupFailed(format!(
                "{group} is in no registry of the model"
            )));
        };
        let names = |chunk: &[u64]| {
            chunk
                .iter()
                .map(|n| Member::Name(self.person(*n)))
                .collect()
        };
        let entries: Vec<ImportedEntry> = members
            .chunks(MAX_IMPORTED_ITEMS)
            .map(|chunk| ImportedEntry {
                members: names(chunk),
                ..ImportedEntry::new(group.clone(), EntryKind::Group)
            })
            .collect();
        self.import(registry, &entries, 1)
    }

    /// Imports at the first holder, some at a time.
    pub(super) fn import(
        &mut self,
        registry: usize,
        entries: &[ImportedEntry],
        together: usize,
    ) -> Result<(), SetupFailed> {
        let node = registry * self.size.holders % self.size.servers;
        let requests: Vec<Request> = entries
            .chunks(together)
            .map(|entries| Request::Import {
                registry: registry_name(&format!("r{registry}")),
                entries: entries.to_vec(),
            })
            .collect();
        for requests in requests.chunks(IMPORTS_AT_ONCE) {
            let asks = requests.iter().cloned();
            let asks = asks
                .map(|request| (node, Speaker::Operator, request))
                .collect();
            for (outcome, request) in self.cluster.ask_all(asks).into_iter().zip(requests) {
                if !matches!(outcome, Outcome::Done(_)) {
                    insist(&mut self.cluster, node, &Speaker::Operator, request)?;
                }
            }
        }
        Ok(())
    }

    /// A message from somebody.
    pub(super) fn letter(&mut self, at_us: u64, to: Vec<Name>) -> (MessageId, Submission) {
        let id = MessageId {
            time: Hlc::at_ms(EPOCH_MS + at_us / 1000),
            origin: OriginId::client(self.dice.next()),
        };
        let from = self.anybody();
        let submission = Submission {
            id: Some(id),
            speaker: Speaker::Operator,
            envelope: Envelope {
                return_path: Some(self.person(from)),
                recipients: to.into_iter().map(EnvelopeRecipient::from).collect(),
                content: ReturnContent::Headers,
                envelope_id: None,
            },
            body: BodyInfo {
                len: BODY_BYTES,
                digest: self.dice.bytes32(),
            },
            reports: None,
        };
        (id, submission)
    }

    /// Begins to count anew.
    pub(super) fn measure(&mut self) -> &mut Meter {
        let meter = self.cluster.meter.get_or_insert_default();
        meter.begin();
        meter
    }

    /// Does these things in their order, and then lets time pass.
    pub(super) fn play(&mut self, deeds: Vec<Deed>, until_us: u64, ends: &mut Ends) {
        for deed in deeds {
            self.pass_until(deed.at_us, ends);
            if let (Some((message, copies)), Some(meter)) = (deed.follow, &mut self.cluster.meter) {
                meter.follow(message, deed.at_us, copies);
            }
            self.cluster.call(NOBODY, deed.node, deed.speaker, deed.ask);
        }
        self.pass_until(until_us, ends);
    }

    pub(super) fn pass_until(&mut self, until_us: u64, ends: &mut Ends) {
        while (self.cluster.queue.next_us()).is_some_and(|next_us| next_us <= until_us) {
            if let Some(Occurrence::Ended { call, outcome, .. }) = self.cluster.step() {
                match &outcome {
                    Outcome::Done(_) => ends.done += 1,
                    Outcome::Refused(_) => ends.refused += 1,
                    Outcome::NotSent | Outcome::Unknown => ends.unanswered += 1,
                }
                self.ended(call, outcome);
            }
        }
        self.cluster.queue.pass_until(until_us);
    }

    /// Whoever has read his mail removes it.
    fn ended(&mut self, call: CallId, outcome: Outcome) {
        let Some((node, speaker, name)) = self.readers.remove(&call) else {
            return;
        };
        if let Outcome::Done(Reply::Inbox(inbox)) = outcome {
            let messages: Vec<MessageId> = inbox.messages.iter().map(|m| m.message).collect();
            if !messages.is_empty() {
                let ask = Ask::Request(Request::InboxDelete { name, messages });
                self.cluster.call(NOBODY, node, speaker, ask);
            }
        }
    }

    /// Somebody's mail is listed, and then removed.
    pub(super) fn read_mail(&mut self, node: NodeIndex, speaker: Speaker, name: Name) {
        let ask = Ask::Request(Request::InboxList { name: name.clone() });
        let call = self.cluster.call(NOBODY, node, speaker.clone(), ask);
        self.readers.insert(call, (node, speaker, name));
    }
}
