//! Servers in one process: tables in memory, commits durable at once, messages delivered in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use grapevine_core::{
    Config, Damaged, Effect, Input, Op, ReportOrder, Row, Server, Staged, Start, Table, Tables,
};
use grapevine_model::{
    AsOf, BodyInfo, Door, EntryChange, GroupList, Member, MessageId, Name, Now, OriginId,
    PeerMessage, Refusal, RegistryName, Reply, Request, RequestId, Secret, ServerInfo, ServerName,
    ServerRole, Speaker, Ticket,
};

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Rows>>);

impl Tables for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        Ok(self.0.lock().unwrap().get(&(table, key.to_vec())).cloned())
    }
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, Damaged> {
        let rows = self.0.lock().unwrap();
        let range = rows.range((table, from.to_vec())..(table, until.to_vec()));
        Ok(range
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }
}

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) disk: Memory,
    pub(crate) bodies: BTreeMap<MessageId, BodyInfo>,
    pub(crate) staged: BTreeMap<u64, BodyInfo>,
    pub(crate) alive: bool,
}

/// A Grapevine without faults but the ones that a test makes.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<ServerName, Node>,
    pub(crate) now: Now,
    network: VecDeque<(ServerName, ServerName, PeerMessage)>,
    pub(crate) replies: BTreeMap<RequestId, Result<Reply, Refusal>>,
    /// Tickets that were to be signed.
    pub(crate) signed: BTreeMap<RequestId, Ticket>,
    /// Servers that the others can't reach, though their clients can.
    pub(crate) cut: BTreeSet<ServerName>,
    /// Pairs of servers of which the first does not reach the second.
    pub(crate) broken: BTreeSet<(ServerName, ServerName)>,
    pub(crate) reports: Vec<ReportOrder>,
    /// As of when the last reply was.
    pub(crate) as_of: Option<AsOf>,
    /// Effects in the order that they came out, by server, for tests of transitions.
    pub(crate) effects: Vec<(ServerName, Effect)>,
    /// Whether they are kept; not where there are millions of them.
    pub(crate) keep_effects: bool,
    /// The keys in each server's folder: the one that it proves, and the next one.
    pub(crate) keys: BTreeMap<ServerName, (Vec<u8>, Option<Vec<u8>>)>,
    /// The keys that each server has on record for the others.
    known: BTreeMap<ServerName, BTreeMap<ServerName, Vec<Vec<u8>>>>,
    /// The number of the last request.
    pub(crate) next: u64,
    /// The test makes what a person must act on.
    pub(crate) alarms_expected: bool,
    /// A mistake that servers started from now on make.
    #[cfg(feature = "planted-faults")]
    pub(crate) planted: Option<grapevine_core::Planted>,
    /// Where mail for other systems goes, of servers started from now on.
    pub(crate) routes: grapevine_core::Routes,
    /// What was handed over to them, in order.
    pub(crate) handed: Vec<grapevine_core::HandOver>,
    /// Addresses there that are refused, and with what status.
    pub(crate) refuses: BTreeMap<Name, String>,
    /// Pages of sessions that still get through to a server; all where nothing is said.
    pub(crate) pages_left: BTreeMap<ServerName, usize>,
    /// Addresses there that are put off.
    pub(crate) later: BTreeSet<Name>,
    /// Domains that do not answer.
    pub(crate) silent: BTreeSet<RegistryName>,
    /// Filters that were run, and where.
    pub(crate) filtered: Vec<(ServerName, grapevine_core::FilterOrder)>,
    /// Filters are not looked at, and want nothing.
    pub(crate) scripts_do_nothing: bool,
    /// How patient servers started from now on are.
    pub(crate) times: grapevine_core::Times,
}

/// How long mail for a full inbox is tried here.
pub(crate) const OVER_QUOTA_MS: u64 = 10 * 60_000;

/// A hundredth of what it is in earnest.
pub(crate) const CLOSURE_GROUPS: usize = 1_000;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn server(text: &str) -> ServerName {
    text.parse().unwrap()
}

pub(crate) fn body(text: &str) -> BodyInfo {
    BodyInfo {
        len: text.len() as u64,
        digest: *blake3::hash(text.as_bytes()).as_bytes(),
    }
}

/// Servers called `dns...` have a DNS door and one for submission.
fn doors(name: &str) -> BTreeMap<Door, String> {
    if name.starts_with("dns") {
        let at = |port: u16| format!("127.0.0.1:{port}");
        [(Door::Dns, at(53)), (Door::Submission, at(587))].into()
    } else {
        [(Door::Rpc, format!("{name}.example:7101"))].into()
    }
}

pub(crate) fn times() -> grapevine_core::Times {
    grapevine_core::Times {
        // Ten minutes instead of a day: passed beat by beat.
        over_quota_ms: OVER_QUOTA_MS,
        ..Default::default()
    }
}

fn config(name: &str) -> Config {
    let info = ServerInfo {
        name: server(name),
        public_key: name.as_bytes().to_vec(),
        more_keys: Vec::new(),
        origin: OriginId(0),
        role: ServerRole::Full,
        doors: doors(name),
    };
    Config {
        server: server(name),
        info,
        times: times(),
        alone: grapevine_core::Alone::Accept,
        rows_a_turn: grapevine_core::ROWS_A_TURN,
        closure_groups: CLOSURE_GROUPS,
        routes: Default::default(),
        #[cfg(feature = "planted-faults")]
        planted: None,
    }
}

/// A server by itself, from a disk.
pub(crate) fn recover(at: &str, start: Start, disk: Memory, now: Now) -> Result<Server, Damaged> {
    Server::recover(config(at), start, Box::new(disk), [7; 32], now)
}

impl Cluster {
    /// Servers s1..sn, founded and joined, with the registry `pa` on all of them, its registrar and
    /// two individuals.
    pub(crate) fn new(servers: usize) -> Self {
        Self::with(servers, times())
    }

    /// The same, more or less patient.
    pub(crate) fn with(servers: usize, times: grapevine_core::Times) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            now: Now {
                mono_ms: 1_000,
                wall_ms: 1_700_000_000_000,
            },
            network: VecDeque::new(),
            replies: BTreeMap::new(),
            signed: BTreeMap::new(),
            cut: BTreeSet::new(),
            broken: BTreeSet::new(),
            reports: Vec::new(),
            as_of: None,
            effects: Vec::new(),
            keep_effects: true,
            keys: BTreeMap::new(),
            known: BTreeMap::new(),
            next: 0,
            alarms_expected: false,
            #[cfg(feature = "planted-faults")]
            planted: None,
            routes: Default::default(),
            handed: Vec::new(),
            refuses: BTreeMap::new(),
            pages_left: BTreeMap::new(),
            later: BTreeSet::new(),
            silent: BTreeSet::new(),
            filtered: Vec::new(),
            scripts_do_nothing: false,
            times,
        };
        cluster.start(
            "s1",
            Start::Found {
                owners: vec![name("registrar@pa")],
            },
        );
        cluster.pump();
        for n in 2..=servers {
            cluster.join(&format!("s{n}"));
        }
        cluster.pass(3_000);
        cluster.ok(
            "s1",
            Speaker::Operator,
            Request::RegistryCreate {
                registry: "pa".parse().unwrap(),
                holders: Vec::new(),
                registrars: vec![name("registrar@pa")],
            },
        );
        for who in ["registrar@pa", "birrell@pa", "needham@pa"] {
            cluster.individual(who);
        }
        cluster.pass(2_000);
        cluster
    }

    pub(crate) fn join(&mut self, name: &str) {
        let digest = blake3::hash(name.as_bytes()).as_bytes().to_vec();
        let expires_ms = self.now.wall_ms + 60_000;
        self.ok(
            "s1",
            Speaker::Operator,
            Request::TokenCreate {
                digest: digest.clone(),
                expires_ms,
            },
        );
        let joining = Request::Join {
            digest,
            server: config(name).info,
        };
        let Reply::Welcome(welcome) = self.ok("s1", Speaker::Anonymous, joining) else {
            panic!("no welcome")
        };
        self.start(name, Start::Join(welcome));
    }

    pub(crate) fn individual(&mut self, who: &str) {
        let password = Some(Secret(format!("hash of {who}")));
        self.ok(
            "s1",
            Speaker::Operator,
            Request::IndividualCreate {
                name: name(who),
                password,
                sites: Vec::new(),
            },
        );
    }

    pub(crate) fn group(&mut self, group: &str, members: &[&str], owners: &[&str]) {
        let owners = owners.iter().map(|o| o.parse().unwrap()).collect();
        self.ok(
            "s1",
            Speaker::Operator,
            Request::GroupCreate {
                name: name(group),
                remark: String::new(),
                owners,
            },
        );
        for member in members {
            self.ok(
                "s1",
                Speaker::Operator,
                add(group, GroupList::Members, member),
            );
        }
    }

    pub(crate) fn start(&mut self, name: &str, start: Start) {
        let disk = self
            .nodes
            .get(&server(name))
            .map(|n| n.disk.clone())
            .unwrap_or_default();
        let bodies = self
            .nodes
            .remove(&server(name))
            .map(|n| n.bodies)
            .unwrap_or_default();
        let mut config = config(name);
        let own = (name.as_bytes().to_vec(), None);
        let keys = self.keys.entry(server(name)).or_insert(own).clone();
        config.info.public_key = keys.0;
        config.times = self.times;
        config.routes = self.routes.clone();
        #[cfg(feature = "planted-faults")]
        {
            config.planted = self.planted;
        }
        // Another life has other chances.
        let seed = format!("{name} {}", self.now.mono_ms);
        let core = Server::recover(
            config,
            start,
            Box::new(disk.clone()),
            *blake3::hash(seed.as_bytes()).as_bytes(),
            self.now,
        )
        .unwrap();
        let node = Node {
            server: core,
            disk,
            bodies,
            staged: BTreeMap::new(),
            alive: true,
        };
        self.nodes.insert(server(name), node);
        self.tell_keys(&server(name));
        self.pump();
    }

    /// The core hears what keys are in the folder.
    fn tell_keys(&mut self, at: &ServerName) {
        let (present, next) = self.keys[at].clone();
        self.input(at, Input::Keys { present, next });
    }

    /// Whether a connection comes about: each side proves a key that the other has on record.
    pub(crate) fn lets_in(&self, from: &ServerName, to: &ServerName) -> bool {
        let knows = |at: &ServerName, whom: &ServerName| {
            let known = self.known.get(at).and_then(|known| known.get(whom));
            known.is_some_and(|keys| keys.contains(&self.keys[whom].0))
        };
        knows(to, from) && knows(from, to)
    }

    pub(crate) fn kill(&mut self, name: &str) {
        self.nodes.get_mut(&server(name)).unwrap().alive = false;
        let others: Vec<ServerName> = self
            .nodes
            .keys()
            .filter(|s| **s != server(name))
            .cloned()
            .collect();
        for other in others {
            self.input(
                &other,
                Input::PeerLost {
                    server: server(name),
                },
            );
        }
        self.pump();
    }

    fn is_lost_page(&mut self, to: &ServerName, message: &PeerMessage) -> bool {
        let counted = matches!(message, PeerMessage::Page { .. })
            .then(|| self.pages_left.get_mut(to))
            .flatten();
        let Some(left) = counted else {
            return false;
        };
        let lost = *left == 0;
        *left = left.saturating_sub(1);
        lost
    }

    /// Two servers don't reach each other any more; each still reaches the others.
    pub(crate) fn part(&mut self, one: &str, other: &str) {
        let (one, other) = (server(one), server(other));
        self.broken.insert((one.clone(), other.clone()));
        self.broken.insert((other, one));
    }

    pub(crate) fn input(&mut self, to: &ServerName, input: Input) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(to).filter(|n| n.alive) {
            node.server.handle(now, input);
        }
    }

    /// Carries out everything that is to be done now.
    pub(crate) fn pump(&mut self) {
        for _ in 0..1_000_000 {
            let mut quiet = true;
            for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
                let node = self.nodes.get_mut(&name).unwrap();
                if !node.alive {
                    continue;
                }
                node.server.flush();
                while let Some(effect) = self.nodes.get_mut(&name).unwrap().server.poll_effect() {
                    quiet = false;
                    if self.keep_effects {
                        self.effects.push((name.clone(), effect.clone()));
                    }
                    self.carry_out(&name, effect);
                }
            }
            if let Some((from, to, message)) = self.network.pop_front() {
                quiet = false;
                let staged = match &message {
                    PeerMessage::Body { message, .. } => {
                        let body = self
                            .nodes
                            .get(&from)
                            .and_then(|n| n.bodies.get(message))
                            .copied();
                        body.map(|body| self.stage(&to, body))
                    }
                    _ => None,
                };
                self.input(
                    &to,
                    Input::Peer {
                        from,
                        message,
                        staged,
                    },
                );
            }
            if quiet {
                return;
            }
        }
        panic!("the servers talk for ever");
    }

    pub(crate) fn stage(&mut self, at: &ServerName, body: BodyInfo) -> Staged {
        self.next += 1;
        if let Some(node) = self.nodes.get_mut(at) {
            node.staged.insert(self.next, body);
        }
        Staged {
            token: self.next,
            body,
        }
    }

    fn carry_out(&mut self, at: &ServerName, effect: Effect) {
        match effect {
            Effect::Commit { seq, ops, .. } => {
                let node = self.nodes.get_mut(at).unwrap();
                for op in ops {
                    match op {
                        Op::Put { table, key, value } => {
                            node.disk.0.lock().unwrap().insert((table, key), value);
                        }
                        Op::Delete { table, key } => {
                            node.disk.0.lock().unwrap().remove(&(table, key));
                        }
                        Op::AdoptBody { staged, message } => {
                            let body = node.staged.remove(&staged).expect("adopted once");
                            node.bodies.insert(message, body);
                        }
                        Op::DropBody { message } => {
                            node.bodies.remove(&message);
                        }
                    }
                }
                self.input(at, Input::Committed { seq });
            }
            Effect::Send { to, message } => {
                let broken = self.broken.contains(&(at.clone(), to.clone()));
                let cut = broken || self.cut.contains(&to) || self.cut.contains(at);
                let cut = cut || self.is_lost_page(&to, &message);
                if !cut && self.lets_in(at, &to) && self.nodes.get(&to).is_some_and(|n| n.alive) {
                    self.network.push_back((at.clone(), to, message));
                }
            }
            Effect::Reply { id, result, as_of } => {
                self.as_of = as_of;
                self.replies.insert(id, result);
            }
            Effect::Verify {
                ticket,
                hash,
                password,
                scram,
            } => {
                let right = hash.is_some_and(|hash| hash.0 == format!("hash of {}", password.0));
                self.input(
                    at,
                    Input::Verified {
                        ticket,
                        right,
                        rehashed: None,
                        scram: scram.filter(|_| right).map(|_| scram_keys(&password.0)),
                    },
                );
            }
            Effect::Sign { id, ticket } => {
                let expires_ms = ticket.expires_ms;
                self.signed.insert(id, ticket);
                let ticket = Secret(String::new());
                self.replies
                    .insert(id, Ok(Reply::Ticket { ticket, expires_ms }));
            }
            Effect::Report(order) => {
                let mut submission = order.submission.clone();
                submission.body = body(&format!("report on {}", order.about));
                self.reports.push(*order);
                let staged = self.stage(at, submission.body);
                self.next += 1;
                let id = RequestId(self.next);
                self.input(
                    at,
                    Input::Submit {
                        id,
                        submission,
                        staged,
                    },
                );
            }
            Effect::Discard { staged } => {
                self.nodes.get_mut(at).unwrap().staged.remove(&staged);
            }
            Effect::MakeKey => {
                self.next += 1;
                let fresh = format!("key {} of {at}", self.next).into_bytes();
                let (_, next) = self.keys.get_mut(at).unwrap();
                next.get_or_insert(fresh);
                self.tell_keys(at);
            }
            Effect::UseKey(key) => {
                let (present, next) = self.keys.get_mut(at).unwrap();
                if next.as_ref() == Some(&key) {
                    (*present, *next) = (key, None);
                }
                self.tell_keys(at);
            }
            Effect::Servers(servers) => {
                let known = servers.into_iter().map(|info| {
                    let keys = info.keys().map(<[u8]>::to_vec).collect();
                    (info.name, keys)
                });
                self.known.insert(at.clone(), known.collect());
            }
            Effect::HandOver(order) => self.hand_over(at, *order),
            Effect::Filter(order) => self.filter(at, *order),
            Effect::Scram(_) | Effect::Zone(_) | Effect::ZoneGone(_) => {}
            Effect::MailboxChanged(_) => {}
            Effect::Note(note) => {
                assert!(
                    self.alarms_expected || note.level != grapevine_core::NoteLevel::Error,
                    "{at}: {}",
                    note.text
                );
            }
        }
    }

    /// A filter as tests write it: one action a line. `silent` says nothing at all.
    fn filter(&mut self, at: &ServerName, order: grapevine_core::FilterOrder) {
        use grapevine_core::{FilterOut, FilterPlace, Filtered, MissingFolder, OutKind};
        self.filtered.push((at.clone(), order.clone()));
        let mut filtered = Filtered {
            ticket: order.ticket,
            places: Vec::new(),
            out: Vec::new(),
            rejected: None,
            notes: Vec::new(),
        };
        if self.scripts_do_nothing {
            return self.input(at, Input::Filtered(Box::new(filtered)));
        }
        for (number, line) in (0u32..).zip(order.script.as_str().lines()) {
            let mut words = line.split(' ');
            let verb = words.next().unwrap();
            let object = words.next().unwrap_or("");
            let flags = words.filter_map(|flag| flag.parse().ok()).collect();
            let text = format!("{verb} {number} of {}", order.message);
            let staged = self.stage(at, body(&text));
            let kind = match verb {
                "silent" => return,
                "discard" => continue,
                "into" | "create" => {
                    filtered.places.push(FilterPlace {
                        path: object.parse().unwrap(),
                        flags,
                        if_missing: match verb {
                            "create" => MissingFolder::Create,
                            _ => MissingFolder::Inbox,
                        },
                    });
                    continue;
                }
                "reject" => {
                    filtered.rejected = Some(object.to_owned());
                    filtered.places.push(FilterPlace::inbox());
                    continue;
                }
                "redirect" => OutKind::Redirect,
                "answer" => OutKind::Answer {
                    handle: "away".into(),
                    days: 7,
                },
                other => panic!("{other}"),
            };
            let to = match verb {
                "answer" => order.return_path.clone().unwrap(),
                _ => name(object),
            };
            filtered.out.push(FilterOut {
                number,
                to,
                kind,
                staged,
            });
        }
        self.input(at, Input::Filtered(Box::new(filtered)));
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now.mono_ms + ms;
        loop {
            self.pump();
            let next = self
                .nodes
                .values()
                .filter(|n| n.alive)
                .map(|n| n.server.next_timeout())
                .min()
                .unwrap_or(u64::MAX);
            let at = next.max(self.now.mono_ms + 1).min(until);
            self.now.wall_ms += at - self.now.mono_ms;
            self.now.mono_ms = at;
            let now = self.now;
            for node in self.nodes.values_mut().filter(|n| n.alive) {
                node.server.handle_timeout(now);
            }
            self.pump();
            if at == until {
                return;
            }
        }
    }

    /// All living servers agree about every registry, and nothing is in custody.
    pub(crate) fn assert_settled(&mut self) {
        let mut digests = BTreeMap::new();
        for at in self
            .nodes
            .iter()
            .filter(|(_, n)| n.alive)
            .map(|(s, _)| s.to_string())
            .collect::<Vec<_>>()
        {
            let Reply::Status(status) = self.ok(&at, Speaker::Operator, Request::Status) else {
                panic!()
            };
            assert_eq!(
                (status.queue.messages, status.queue.deputy_for),
                (0, 0),
                "{at} has work left"
            );
            for (registry, living, digest) in &status.registries {
                let first = digests
                    .entry(registry.clone())
                    .or_insert((*living, *digest));
                assert_eq!(*first, (*living, *digest), "{registry} differs at {at}");
            }
        }
    }
}

pub(crate) fn add(group: &str, list: GroupList, member: &str) -> Request {
    let member: Member = member.parse().unwrap();
    Request::Change {
        name: name(group),
        change: EntryChange::ListAdd(list, member),
    }
}

pub(crate) fn remove(group: &str, list: GroupList, member: &str) -> Request {
    let member: Member = member.parse().unwrap();
    Request::Change {
        name: name(group),
        change: EntryChange::ListRemove(list, member),
    }
}

/// What SCRAM checks a password by, as the shell would make it but for the price.
pub(crate) fn scram_keys(password: &str) -> grapevine_core::ScramKeys {
    grapevine_core::ScramKeys::of(blake3::hash(password.as_bytes()).as_bytes())
}
