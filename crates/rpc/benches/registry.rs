//! What registries cost, in process: two cores in one thread, joined by frames encoded and decoded as on the wire, over tables in memory.
//!
//! No socket and no disk: what is measured here is the core's own work and the bytes that two servers exchange. Rates are by the processor
//! time of this thread, so that others on the machine change them little. Prints `key=value` lines, one a line. It is a benchmark: it judges
//! nothing, and no gate runs it.
//!
//! ```text
//! cargo bench -p grapevine-rpc --bench registry -- [checks] [compare] [catch-up] [start] [--cells N]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at the first thing that it did not expect, and prints what it found"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grapevine_core::{
    Alone, Config, Damaged, Effect, Input, Op, Row, Server, Start, Table, Tables,
};
use grapevine_model::{
    Check, EntryChange, EntryKind, GroupList, ImportedEntry, MAX_CHECKS, MAX_IMPORTED_ENTRIES,
    MAX_IMPORTED_ITEMS, Name, Now, OriginId, PeerMessage, Refusal, RegistryName, Reply, Request,
    RequestId, ServerInfo, ServerName, ServerRole, Speaker,
};
use grapevine_rpc::{decode_peer, encode_peer, v1};
use prost::Message as _;

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REGISTRY: &str = "pa.example";
/// People of the registry: each has an identity, a remark and two inbox sites.
const PEOPLE: usize = 10_000;
/// Members of each group.
const GROUP: usize = 10_000;
/// Groups nested one in the other, the last of which has the members.
const DEEP: usize = 5;
/// Nothing takes longer than this; a run that does is broken.
const PATIENCE_MS: u64 = 600_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    let cells: usize = after("--cells").map_or(1_000_000, |text| text.parse().unwrap());
    let works = ["checks", "compare", "catch-up", "start"];
    let named: Vec<&str> = works
        .into_iter()
        .filter(|work| arguments.iter().any(|argument| argument == work))
        .collect();
    let wanted = |work: &str| named.is_empty() || named.contains(&work);

    if wanted("checks") {
        checks();
    }
    if !(wanted("compare") || wanted("catch-up") || wanted("start")) {
        return;
    }
    let mut pair = filled(cells);
    if wanted("start") {
        pair.measure_start();
    }
    if wanted("compare") {
        for differing in [0, 1, 100, 10_000] {
            pair.measure_compare(differing);
        }
    }
    if wanted("catch-up") {
        for missed in [100, 10_000] {
            pair.measure_catch_up(missed);
        }
    }
}

// --- questions -------------------------------------------------------------------------------------------------------------

/// May-it questions at one server: by one and by many, direct and over nested groups.
fn checks() {
    const ROUNDS: usize = 20;
    let mut pair = Pair::new(1);
    let mut entries = people();
    entries.push(group("all", (0..GROUP).map(person)));
    entries.push(group(&format!("deep{DEEP}"), (0..GROUP).map(person)));
    // From the inside: a member that is not there yet would be left out.
    for depth in (0..DEEP).rev() {
        let inner = format!("deep{}@{REGISTRY}", depth + 1);
        entries.push(group(&format!("deep{depth}"), [inner]));
    }
    entries.push(group("few", (0..10).map(person)));
    pair.import(entries);

    let who: Vec<Name> = (0..PEOPLE).map(|n| name(&person(n))).collect();
    for (what, group) in [("direct", "all"), ("nested", "deep0"), ("mostly_no", "few")] {
        let group = name(&format!("{group}@{REGISTRY}"));
        // Somebody must not be: what is remembered is made first.
        for round in 0..=ROUNDS {
            let begun = processor_time();
            let mut yes = 0;
            for who in &who {
                let check = Request::Check {
                    group: group.clone(),
                    list: GroupList::Members,
                    who: who.clone(),
                };
                match pair.ask(0, check).unwrap() {
                    Reply::Check(Check::Yes) => yes += 1,
                    Reply::Check(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            let expected = if what == "mostly_no" { 10 } else { PEOPLE };
            assert_eq!(yes, expected, "{what}");
            match round {
                0 => print_rate(
                    &format!("check_{what}_first"),
                    who.len(),
                    processor_time() - begun,
                ),
                ROUNDS => print_rate(
                    &format!("check_{what}"),
                    who.len(),
                    processor_time() - begun,
                ),
                _ => {}
            }
        }
        let begun = processor_time();
        let mut answered = 0;
        for _ in 0..ROUNDS {
            for who in who.chunks(MAX_CHECKS) {
                let check = Request::CheckMany {
                    group: group.clone(),
                    list: GroupList::Members,
                    who: who.to_vec(),
                };
                match pair.ask(0, check).unwrap() {
                    Reply::Checks(answers) => answered += answers.len(),
                    other => panic!("{other:?}"),
                }
            }
        }
        print_rate(
            &format!("check_{what}_batched"),
            answered,
            processor_time() - begun,
        );
    }
}

fn print_rate(what: &str, count: usize, took: Duration) {
    println!("{what}_per_s={:.0}", count as f64 / took.as_secs_f64());
}

// --- two servers ------------------------------------------------------------------------------------------------------------

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Tables in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<Table, Rows>>>);

impl Tables for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        let tables = self.0.lock().unwrap();
        Ok(tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        let tables = self.0.lock().unwrap();
        let Some(rows) = tables.get(&table) else {
            return Ok(Vec::new());
        };
        let range = rows.range(from.to_vec()..until.to_vec()).take(limit);
        Ok(range
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

struct Node {
    server: Option<Server>,
    disk: Memory,
    name: ServerName,
}

impl Node {
    fn new(number: usize) -> Self {
        Self {
            server: None,
            disk: Memory::default(),
            name: format!("s{}", number + 1).parse().unwrap(),
        }
    }

    fn core(&mut self) -> &mut Server {
        self.server.as_mut().expect("it runs")
    }

    fn info(&self) -> ServerInfo {
        ServerInfo {
            name: self.name.clone(),
            public_key: self.name.as_str().as_bytes().to_vec(),
            more_keys: Vec::new(),
            origin: OriginId(0),
            role: ServerRole::Full,
            doors: BTreeMap::new(),
        }
    }

    fn start(&mut self, start: Start, now: Now) {
        let config = Config::new(self.info(), Alone::Accept);
        let disk = Box::new(self.disk.clone());
        let seed = *blake3::hash(format!("{} {}", self.name, now.mono_ms).as_bytes()).as_bytes();
        let mut server = Server::recover(config, start, disk, seed, now).unwrap();
        let present = self.info().public_key;
        server.handle(
            now,
            Input::Keys {
                present,
                next: None,
            },
        );
        self.server = Some(server);
    }
}

/// Two servers at most. Their time is real, but where both have nothing to do it leaps to the next thing that is due.
struct Pair {
    nodes: Vec<Node>,
    begun: Instant,
    leapt: Duration,
    network: VecDeque<(usize, usize, Vec<u8>)>,
    cut: bool,
    /// Frames since the last look, their bytes, and when the last one of the kind looked for went.
    frames: u64,
    bytes: u64,
    last_sent: Duration,
    /// When the first of them went, and how long this thread had been on a processor then.
    first_sent: Option<(Duration, Duration)>,
    counted: fn(&PeerMessage) -> bool,
    replies: BTreeMap<RequestId, Result<Reply, Refusal>>,
    next: u64,
}

impl Pair {
    /// So many servers, with an empty registry at each.
    fn new(servers: usize) -> Self {
        let mut pair = Self {
            nodes: vec![Node::new(0)],
            begun: Instant::now(),
            leapt: Duration::ZERO,
            network: VecDeque::new(),
            cut: false,
            frames: 0,
            bytes: 0,
            last_sent: Duration::ZERO,
            first_sent: None,
            counted: |_| false,
            replies: BTreeMap::new(),
            next: 0,
        };
        let owners = vec![name(&format!("registrar@{REGISTRY}"))];
        let now = pair.now();
        let found = Start::Found {
            owners: owners.clone(),
        };
        pair.nodes[0].start(found, now);
        for number in 1..servers {
            pair.join(Node::new(number));
        }
        let create = Request::RegistryCreate {
            registry: registry(),
            holders: Vec::new(),
            registrars: owners,
        };
        pair.ask(0, create).unwrap();
        pair.pass(3_000);
        pair
    }

    fn join(&mut self, node: Node) {
        let digest = blake3::hash(b"a token").as_bytes().to_vec();
        let token = Request::TokenCreate {
            digest: digest.clone(),
            expires_ms: self.now().wall_ms + PATIENCE_MS,
        };
        self.ask(0, token).unwrap();
        let server = node.info();
        let Reply::Welcome(welcome) = self.ask(0, Request::Join { digest, server }).unwrap() else {
            panic!("no welcome")
        };
        self.nodes.push(node);
        let (at, now) = (self.nodes.len() - 1, self.now());
        self.nodes[at].start(Start::Join(welcome), now);
        self.pass(3_000);
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed() + self.leapt
    }

    fn now(&self) -> Now {
        let ms = self.elapsed().as_millis() as u64;
        Now {
            mono_ms: 1_000 + ms,
            wall_ms: 1_700_000_000_000 + ms,
        }
    }

    /// Carries out what there is to be done; false when there was nothing.
    fn turn(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.nodes.len() {
            let now = self.now();
            if self.nodes[at].server.is_none() {
                continue;
            }
            if self.nodes[at].core().next_timeout() <= now.mono_ms {
                self.nodes[at].core().handle_timeout(now);
            }
            self.nodes[at].core().flush();
            while let Some(effect) = self.nodes[at].core().poll_effect() {
                busy = true;
                self.carry_out(at, effect);
            }
        }
        if let Some((from, to, frame)) = self.network.pop_front() {
            busy = true;
            let frame = v1::PeerFrame::decode(frame.as_slice()).unwrap();
            let now = self.now();
            if let Some(message) = decode_peer(frame).unwrap() {
                let from = self.nodes[from].name.clone();
                let input = Input::Peer {
                    from,
                    message,
                    staged: None,
                };
                self.nodes[to].core().handle(now, input);
            }
        }
        busy
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Commit { seq, ops, .. } => {
                let mut tables = self.nodes[at].disk.0.lock().unwrap();
                for op in ops {
                    match op {
                        Op::Put { table, key, value } => {
                            tables.entry(table).or_default().insert(key, value);
                        }
                        Op::Delete { table, key } => {
                            tables.entry(table).or_default().remove(&key);
                        }
                        Op::AdoptBody { .. } | Op::DropBody { .. } => {}
                    }
                }
                drop(tables);
                let now = self.now();
                self.nodes[at].core().handle(now, Input::Committed { seq });
            }
            Effect::Send { to, message } => {
                let to = self.nodes.iter().position(|node| node.name == to);
                if let Some(to) = to.filter(|to| !self.cut && self.nodes[*to].server.is_some()) {
                    let frame = encode_peer(&message).encode_to_vec();
                    if (self.counted)(&message) {
                        self.frames += 1;
                        self.bytes += frame.len() as u64;
                        self.last_sent = self.elapsed();
                        self.first_sent.get_or_insert_with(|| {
                            (self.begun.elapsed() + self.leapt, processor_time())
                        });
                    }
                    self.network.push_back((at, to, frame));
                }
            }
            Effect::Reply { id, result, .. } => {
                self.replies.insert(id, result);
            }
            _ => {}
        }
    }

    /// Until something is so; time leaps where there is nothing to do.
    fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let begun = self.elapsed();
        loop {
            while self.turn() {}
            if is_so(self) {
                return;
            }
            assert!(
                (self.elapsed() - begun).as_millis() < u128::from(PATIENCE_MS),
                "not in time: {what}"
            );
            let cores = self.nodes.iter().filter_map(|node| node.server.as_ref());
            let due = cores.map(Server::next_timeout).min().unwrap_or(0);
            let now = self.now().mono_ms;
            self.leapt += Duration::from_millis(due.saturating_sub(now).clamp(1, 1_000));
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.elapsed() + Duration::from_millis(ms);
        self.until("time passes", move |pair| pair.elapsed() >= until);
    }

    fn begin(&mut self, at: usize, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        let input = Input::Request {
            id,
            speaker: Speaker::Operator,
            request,
            seen: Vec::new(),
        };
        let now = self.now();
        self.nodes[at].core().handle(now, input);
        id
    }

    fn ask(&mut self, at: usize, request: Request) -> Result<Reply, Refusal> {
        let id = self.begin(at, request);
        // Questions are answered in the same turn.
        self.turn();
        if !self.replies.contains_key(&id) {
            self.until("an answer", move |pair| pair.replies.contains_key(&id));
        }
        self.replies.remove(&id).unwrap()
    }

    fn import(&mut self, entries: Vec<ImportedEntry>) {
        let mut batch: Vec<ImportedEntry> = Vec::new();
        for entry in entries.into_iter().flat_map(pieces) {
            let items: usize = batch.iter().map(ImportedEntry::items).sum();
            if batch.len() == MAX_IMPORTED_ENTRIES || items + entry.items() > MAX_IMPORTED_ITEMS {
                self.import_batch(std::mem::take(&mut batch));
            }
            batch.push(entry);
        }
        self.import_batch(batch);
    }

    fn import_batch(&mut self, entries: Vec<ImportedEntry>) {
        let import = Request::Import {
            registry: registry(),
            entries,
        };
        match self.ask(0, import).unwrap() {
            Reply::Imported(imported) => {
                let left_out = imported
                    .outcomes
                    .iter()
                    .flat_map(|outcome| &outcome.left_out);
                assert_eq!(left_out.count(), 0);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The registry's digest at a server, if it has it whole.
    fn digests(&mut self, at: usize) -> Option<u64> {
        let id = self.begin(at, Request::Status);
        self.turn();
        match self.replies.remove(&id)? {
            Ok(Reply::Status(status)) => {
                let registry = registry();
                let whole = !status.fetching.contains(&registry);
                let found = status.registries.iter().find(|(of, _, _)| *of == registry);
                found.filter(|_| whole).map(|(_, _, digest)| *digest)
            }
            other => panic!("{other:?}"),
        }
    }

    fn until_equal(&mut self) {
        self.until("equal copies", |pair| {
            let first = pair.digests(0);
            first.is_some() && first == pair.digests(1)
        });
    }

    fn cells(&self, at: usize) -> usize {
        let tables = self.nodes[at].disk.0.lock().unwrap();
        tables.get(&Table::Cells).map_or(0, BTreeMap::len)
    }

    /// Starts the second server again from its disk.
    fn measure_start(&mut self) {
        self.nodes[1].server = None;
        let cells = self.cells(1);
        let (before, now) = (resident_bytes(), self.now());
        let (begun, busy) = (Instant::now(), processor_time());
        self.nodes[1].start(Start::Resume, now);
        let (took, busy) = (begun.elapsed(), processor_time() - busy);
        let grown = resident_bytes().saturating_sub(before);
        println!("start_cells={cells}");
        println!("start_ms={}", took.as_millis());
        println!("start_processor_ms={}", busy.as_millis());
        println!(
            "resident_bytes_per_cell_at_least={}",
            grown / cells.max(1) as u64
        );
        self.until_equal();
    }

    /// The second server's copy loses cells without knowing it, and is compared.
    fn measure_compare(&mut self, differing: usize) {
        self.pass(5_000);
        self.until_equal();
        self.nodes[1].server = None;
        self.network.clear();
        {
            let mut tables = self.nodes[1].disk.0.lock().unwrap();
            let rows = tables.get_mut(&Table::Cells).unwrap();
            let prefix = [b"R", &[REGISTRY.len() as u8][..], REGISTRY.as_bytes()].concat();
            let member = b"@pa.example";
            let keys: Vec<Vec<u8>> = rows
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .filter(|(key, _)| key.ends_with(member) && key.len() > prefix.len() + 20)
                .map(|(key, _)| key.clone())
                .collect();
            let step = (keys.len() / differing.max(1)).max(1);
            for key in keys.iter().step_by(step).take(differing) {
                rows.remove(key);
            }
        }
        let now = self.now();
        self.nodes[1].start(Start::Resume, now);
        self.pass(5_000);
        self.counted = |message| matches!(meant(message), PeerMessage::Compare { .. });
        (self.frames, self.bytes) = (0, 0);
        let (begun, busy) = (self.elapsed(), processor_time());
        self.last_sent = begun;
        let compare = Request::Compare {
            registry: registry(),
        };
        let Reply::Compared(view) = self.ask(0, compare).unwrap() else {
            panic!("not compared")
        };
        let with = &view.with[0];
        assert_eq!(with.failure, None);
        let healed = with.healed_here + with.healed_there;
        println!("compare_{differing}_cells={}", view.cells);
        println!("compare_{differing}_healed={healed}");
        println!("compare_{differing}_frames={}", self.frames);
        println!("compare_{differing}_bytes={}", self.bytes);
        let healed_ms = (self.last_sent - begun).as_millis();
        println!("compare_{differing}_ms={healed_ms}");
        println!(
            "compare_{differing}_and_disk_checked_ms={}",
            (self.elapsed() - begun).as_millis()
        );
        println!(
            "compare_{differing}_both_processors_ms={}",
            (processor_time() - busy).as_millis()
        );
        self.until_equal();
        self.counted = |_| false;
    }

    /// The second server can't be reached, misses changes, and is reached again.
    fn measure_catch_up(&mut self, missed: usize) {
        self.pass(5_000);
        self.cut = true;
        self.pass(5_000);
        let mut update_bytes = 0;
        for n in 0..missed {
            let change = EntryChange::Remark(format!("Person {n} has moved to room {missed}"));
            let name = name(&person(n % PEOPLE));
            update_bytes += 100;
            self.ask(0, Request::Change { name, change }).unwrap();
        }
        self.pass(5_000);
        self.counted = |message| !matches!(meant(message), PeerMessage::Beat(_));
        (self.frames, self.bytes) = (0, 0);
        self.cut = false;
        let first = self.digests(0).unwrap();
        self.first_sent = None;
        // The first beat is waited for and not counted.
        self.until("caught up", move |pair| pair.digests(1) == Some(first));
        let (begun, busy) = self.first_sent.unwrap();
        println!("catch_up_{missed}_frames={}", self.frames);
        println!("catch_up_{missed}_bytes={}", self.bytes);
        println!("catch_up_{missed}_about_bytes_of_updates={update_bytes}");
        println!(
            "catch_up_{missed}_ms={}",
            (self.last_sent - begun).as_millis()
        );
        println!(
            "catch_up_{missed}_both_processors_ms={}",
            (processor_time() - busy).as_millis()
        );
        self.counted = |_| false;
    }
}

/// Two servers with a registry of about so many cells.
fn filled(cells: usize) -> Pair {
    let begun = Instant::now();
    let mut pair = Pair::new(2);
    let mut entries = people();
    let groups = cells.saturating_sub(PEOPLE * 4) / GROUP;
    entries.extend((0..groups).map(|g| group(&format!("g{g}"), (0..GROUP).map(person))));
    pair.import(entries);
    pair.until_equal();
    println!("filled_cells={}", pair.cells(1));
    println!("filled_ms={}", begun.elapsed().as_millis());
    pair
}

fn people() -> Vec<ImportedEntry> {
    let person = |n: usize| {
        let mut entry = ImportedEntry::new(name(&person(n)), EntryKind::Individual);
        entry.remark = Some(format!("Person {n}"));
        entry
    };
    (0..PEOPLE).map(person).collect()
}

fn group(simple: &str, members: impl IntoIterator<Item = String>) -> ImportedEntry {
    let mut entry = ImportedEntry::new(name(&format!("{simple}@{REGISTRY}")), EntryKind::Group);
    entry.members = members.into_iter().map(|m| m.parse().unwrap()).collect();
    entry
}

/// An entry, with at most as many members as one import takes.
fn pieces(mut entry: ImportedEntry) -> Vec<ImportedEntry> {
    let members = std::mem::take(&mut entry.members);
    let mut all = vec![entry.clone()];
    all.extend(members.chunks(MAX_IMPORTED_ITEMS).map(|some| {
        let mut piece = ImportedEntry::new(entry.name.clone(), entry.kind);
        piece.members = some.to_vec();
        piece
    }));
    all
}

fn person(number: usize) -> String {
    format!("person{number}@{REGISTRY}")
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn registry() -> RegistryName {
    REGISTRY.parse().unwrap()
}

/// A message without the word which incarnation of a registry it is about.
fn meant(message: &PeerMessage) -> &PeerMessage {
    match message {
        PeerMessage::About { message, .. } => message,
        other => other,
    }
}

/// How long this thread has been on a processor; by the clock where the system does not say.
fn processor_time() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = said.split(' ').next().and_then(|text| text.parse().ok());
    spent.map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap(),
        Duration::from_nanos,
    )
}

/// What the system says that this process has in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
